//! What the properties of a publish must be, and what the broker is told of them
//! (P50 to P52, P71; abuse rows 26, 40, 42). May import `wire`, `message`, `auth`.

use std::borrow::Cow;

use crate::auth::Identity;
use crate::message::Traits;

use super::foreign::RETAIN;
use super::reply_code::{Fault, ReplyCode};
use super::wire::field_table::TableRef;
use super::wire::field_value::FieldRef;
use super::wire::properties::{Properties, PropertyScan, expiration_ms};
use super::wire::table_buffer::TableBuffer;
use super::{REPLY_QUEUE, TAG};

/// Who may publish under another name (L61).
const IMPERSONATOR: &str = "impersonator";
/// Header with further routing keys that every consumer sees.
const CC: &str = "CC";
/// Header with further routing keys that nobody sees.
const BCC: &str = "BCC";

/// Delivery mode 2 survives a restart (P54).
const PERSISTENT: u8 = 2;

/// A publish whose properties are in order.
#[derive(Debug)]
pub(super) struct Vetted<'a> {
    pub(super) traits: Traits,
    /// The block to store: as it came, unless something had to be taken out or replaced.
    pub(super) block: Cow<'a, [u8]>,
    pub(super) visible_keys: Vec<&'a str>,
    pub(super) hidden_keys: Vec<&'a str>,
    /// A header asks for it to be retained (mqtt.md X-11).
    pub(super) retains: bool,
}

/// Who publishes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Publisher<'a> {
    pub(super) identity: Option<&'a Identity>,
    /// Where replies to this channel go, if it consumes them.
    pub(super) reply_address: Option<&'a str>,
}

/// Looks at what was found in `block`.
#[inline]
pub(super) fn vet<'a>(
    scan: &PropertyScan<'a>,
    block: &'a [u8],
    publisher: Publisher<'_>,
) -> Result<Vetted<'a>, Fault> {
    let mut vetted = Vetted {
        traits: Traits {
            protocol: TAG,
            persistent: scan.delivery_mode == Some(PERSISTENT),
            priority: scan.priority,
            expiration_ms: None,
        },
        block: Cow::Borrowed(block),
        visible_keys: Vec::new(),
        hidden_keys: Vec::new(),
        retains: false,
    };
    if let Some(text) = scan.expiration {
        vetted.traits.expiration_ms = Some(expiration(text)?);
    }
    if let Some(claimed) = scan.user_id {
        check_user(claimed, publisher.identity)?;
    }
    let is_hidden = match scan.headers {
        Some(headers) => take_keys(headers, &mut vetted)?,
        None => false,
    };
    let wants_reply = scan.reply_to == Some(REPLY_QUEUE.as_bytes());
    if is_hidden || wants_reply {
        vetted.block = Cow::Owned(rewritten(block, is_hidden, wants_reply, publisher)?);
    }
    Ok(vetted)
}

fn refused(detail: impl Into<Cow<'static, str>>) -> Fault {
    Fault::new(ReplyCode::PreconditionFailed, detail)
}

fn expiration(text: &[u8]) -> Result<u64, Fault> {
    expiration_ms(text).ok_or_else(|| {
        refused(format!("invalid expiration '{}': not a number", String::from_utf8_lossy(text)))
    })
}

/// Abuse row 42
fn check_user(claimed: &[u8], identity: Option<&Identity>) -> Result<(), Fault> {
    let actual = identity.map_or("", Identity::name);
    if claimed == actual.as_bytes() || identity.is_some_and(|i| i.has_tag(IMPERSONATOR)) {
        return Ok(());
    }
    let claimed = String::from_utf8_lossy(claimed);
    Err(refused(format!(
        "user_id property set to '{claimed}' but authenticated user was '{actual}'"
    )))
}

/// Collects the sender's further routing keys and whether it is to be retained; tells whether some must stay hidden.
fn take_keys<'a>(headers: TableRef<'a>, vetted: &mut Vetted<'a>) -> Result<bool, Fault> {
    let mut is_hidden = false;
    for (name, value) in headers.iter() {
        match name {
            CC => vetted.visible_keys = keys(CC, value)?,
            BCC => {
                vetted.hidden_keys = keys(BCC, value)?;
                is_hidden = true;
            }
            RETAIN => vetted.retains = value == FieldRef::Bool(true),
            _ => {}
        }
    }
    Ok(is_hidden)
}

fn keys<'a>(header: &str, value: FieldRef<'a>) -> Result<Vec<&'a str>, Fault> {
    let wrong = || refused(format!("the {header} header must be an array of strings"));
    let FieldRef::Array(items) = value else { return Err(wrong()) };
    items.iter().map(|item| item.as_text().ok_or_else(wrong)).collect()
}

#[cold]
fn rewritten(
    block: &[u8],
    is_hidden: bool,
    wants_reply: bool,
    publisher: Publisher<'_>,
) -> Result<Vec<u8>, Fault> {
    let syntax = |error| Fault::new(ReplyCode::SyntaxError, format!("{error}"));
    let mut properties = Properties::decode(block).map_err(syntax)?;
    let mut headers = TableBuffer::from(properties.headers.unwrap_or_default());
    if is_hidden {
        headers.remove(BCC);
        properties.headers = Some(headers.view());
    }
    if wants_reply {
        // Only this channel's own address: whoever replies cannot tell who else listens.
        let Some(address) = publisher.reply_address else {
            return Err(refused("fast reply consumer does not exist"));
        };
        properties.reply_to = Some(address.as_bytes());
    }
    Ok(properties.to_block())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Table, Value};

    const NOBODY: Publisher<'static> = Publisher { identity: None, reply_address: None };

    fn vetted(block: &[u8], publisher: Publisher<'_>) -> Result<(Traits, Vec<u8>), String> {
        let scan = PropertyScan::of(block).unwrap_or_default();
        vet(&scan, block, publisher)
            .map(|v| (v.traits, v.block.into_owned()))
            .map_err(|fault| fault.text())
    }

    fn with_headers(headers: &TableBuffer) -> Vec<u8> {
        Properties { headers: Some(headers.view()), ..Properties::default() }.to_block()
    }

    #[test]
    fn mode_priority_and_expiration_are_told_in_neutral_words() {
        let block = Properties {
            delivery_mode: Some(2),
            priority: Some(255),
            expiration: Some(b"60000"),
            ..Properties::default()
        }
        .to_block();
        let (traits, stored) = vetted(&block, NOBODY).unwrap();
        assert!(traits.persistent);
        assert_eq!((traits.priority, traits.expiration_ms), (Some(255), Some(60_000)));
        assert_eq!(stored, block);
    }

    /// Abuse row 26
    #[test]
    fn an_expiration_is_decimal_digits_and_nothing_else() {
        for text in ["", "-1", "1e9", "99999999999999999999", " 1"] {
            let block = Properties { expiration: Some(text.as_bytes()), ..Properties::default() }
                .to_block();
            let error = vetted(&block, NOBODY).unwrap_err();
            assert!(error.starts_with("PRECONDITION_FAILED - invalid expiration"), "{error}");
        }
    }

    /// Abuse row 42
    #[test]
    fn a_user_id_must_be_the_login() {
        let block = Properties { user_id: Some(b"root"), ..Properties::default() }.to_block();
        assert_eq!(
            vetted(&block, NOBODY).unwrap_err(),
            "PRECONDITION_FAILED - user_id property set to 'root' but authenticated user was ''"
        );
    }

    /// P52, P71
    #[test]
    fn hidden_keys_are_taken_out_and_visible_ones_stay() {
        let list = |key: &str| Value::Array(vec![Value::text(key)]);
        let both = Table(vec![(BCC.into(), list("b")), (CC.into(), list("c"))]);
        let block = with_headers(&TableBuffer::from_table(&both).unwrap());
        let scan = PropertyScan::of(&block).unwrap();
        let vetted = vet(&scan, &block, NOBODY).unwrap();
        assert_eq!((vetted.visible_keys, vetted.hidden_keys), (vec!["c"], vec!["b"]));
        let left = Table(vec![(CC.into(), list("c"))]);
        assert_eq!(vetted.block, with_headers(&TableBuffer::from_table(&left).unwrap()));
    }

    #[test]
    fn keys_must_be_an_array_of_texts() {
        for value in [Value::text("k"), Value::Array(vec![Value::I32(1)])] {
            let table = Table(vec![(CC.into(), value)]);
            let block = with_headers(&TableBuffer::from_table(&table).unwrap());
            assert!(vetted(&block, NOBODY).is_err());
        }
    }

    /// P52
    #[test]
    fn replies_go_to_the_address_of_the_channel_or_the_publish_is_refused() {
        let request =
            Properties { reply_to: Some(REPLY_QUEUE.as_bytes()), ..Properties::default() };
        let block = request.to_block();
        assert_eq!(
            vetted(&block, NOBODY).unwrap_err(),
            "PRECONDITION_FAILED - fast reply consumer does not exist"
        );
        let consuming = Publisher { reply_address: Some("secret"), ..NOBODY };
        let (_, stored) = vetted(&block, consuming).unwrap();
        assert_eq!(Properties::decode(&stored).unwrap().reply_to, Some(&b"secret"[..]));
    }
}
