//! Who a client says it is: the mechanisms PLAIN and AMQPLAIN (RFC 4616; P11, abuse row 48). What a
//! certificate says (EXTERNAL, S43) has been checked before the first octet.
//! May import `wire`.

use super::wire::field_table::TableRef;
use super::wire::field_value::FieldRef;
use crate::protocol::octets::{Reader, put_long_bytes};

/// What connection.start offers.
pub(super) const MECHANISMS: &[u8] = b"PLAIN AMQPLAIN";

/// What it offers to a client with a certificate that names somebody.
pub(super) const MECHANISMS_CERTIFIED: &[u8] = b"PLAIN AMQPLAIN EXTERNAL";

/// The mechanism by which the certificate counts; what the response says does not.
pub(super) const EXTERNAL: &str = "EXTERNAL";

/// A name and a password, as they came.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) user: Box<str>,
    pub(super) password: Box<[u8]>,
}

impl std::fmt::Debug for Credentials {
    /// Without the password: this may end up in a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Reads the response of start-ok; `None` when the mechanism is not offered or the response is not
/// what it asks for. Whoever cannot say it right is refused like whoever does not know the
/// password.
pub(super) fn credentials(mechanism: &str, response: &[u8]) -> Option<Credentials> {
    match mechanism {
        "PLAIN" => plain(response),
        "AMQPLAIN" => amqplain(response),
        _ => None,
    }
}

/// An identity to act as, NUL, name, NUL, password. To act as somebody else is not offered.
fn plain(response: &[u8]) -> Option<Credentials> {
    let mut parts = response.splitn(3, |octet| *octet == 0);
    let (act_as, user, password) = (parts.next()?, parts.next()?, parts.next()?);
    if password.contains(&0) || !(act_as.is_empty() || act_as == user) {
        return None;
    }
    named(user, password)
}

/// The entries of a field table without its length: LOGIN and PASSWORD.
fn amqplain(response: &[u8]) -> Option<Credentials> {
    let mut table = Vec::with_capacity(response.len().saturating_add(4));
    put_long_bytes(&mut table, response);
    let table = TableRef::read(&mut Reader::new(&table))
        .ok()
        .map(|t| (text(t, "LOGIN"), text(t, "PASSWORD")));
    match table {
        Some((Some(user), Some(password))) => named(&user, &password),
        Some((Some(_) | None, None) | (None, Some(_))) | None => None,
    }
}

fn text(table: TableRef<'_>, name: &str) -> Option<Vec<u8>> {
    match table.get(name) {
        Some(FieldRef::Text(text)) => Some(text.to_vec()),
        Some(_) | None => None,
    }
}

fn named(user: &[u8], password: &[u8]) -> Option<Credentials> {
    let user = std::str::from_utf8(user).ok().filter(|u| !u.is_empty())?;
    Some(Credentials { user: user.into(), password: password.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(mechanism: &str, response: &[u8]) -> Option<(String, Vec<u8>)> {
        credentials(mechanism, response).map(|c| (c.user.into(), c.password.into()))
    }

    #[test]
    fn plain_is_an_identity_a_name_and_a_password_parted_by_nul() {
        let guest = Some(("guest".to_owned(), b"secret".to_vec()));
        assert_eq!(parsed("PLAIN", b"\0guest\0secret"), guest);
        assert_eq!(parsed("PLAIN", b"guest\0guest\0secret"), guest);
        assert_eq!(parsed("PLAIN", b"\0guest\0"), Some(("guest".to_owned(), vec![])));
    }

    #[test]
    fn amqplain_is_a_table_without_its_length() {
        let response = b"\x05LOGINS\0\0\0\x05guest\x08PASSWORDS\0\0\0\x06secret";
        assert_eq!(parsed("AMQPLAIN", response), Some(("guest".to_owned(), b"secret".to_vec())));
        assert_eq!(parsed("AMQPLAIN", b"\x05LOGINS\0\0\0\x05guest"), None);
        assert_eq!(parsed("AMQPLAIN", b"\x05LOGINt\x01\x08PASSWORDS\0\0\0\x01x"), None);
    }

    /// Abuse row 48
    #[test]
    fn what_is_not_said_right_is_nobody() {
        for response in [&b""[..], b"guest", b"\0guest", b"\0\0secret", b"\0gu\xFFest\0x"] {
            assert_eq!(parsed("PLAIN", response), None, "{response:?}");
        }
        assert_eq!(parsed("PLAIN", b"root\0guest\0secret"), None, "acting as somebody else");
        assert_eq!(parsed("PLAIN", b"\0guest\0sec\0ret"), None);
        assert_eq!(parsed("AMQPLAIN", b"\xFFgarbage"), None);
        assert_eq!(parsed("EXTERNAL", b"\0guest\0secret"), None);
    }

    #[test]
    fn a_password_is_not_shown() {
        let shown = format!("{:?}", credentials("PLAIN", b"\0guest\0secret"));
        assert!(shown.contains("guest") && !shown.contains("secret"));
    }
}
