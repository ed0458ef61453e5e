//! Where a broker is and who asks: amqp://user:password@host:port/vhost, and mqtt://... without
//! a virtual host. Imports std only.

use super::error::ClientError;

/// What an address of a protocol begins with, and what is meant by the parts left out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scheme {
    start: &'static str,
    port: u16,
    login: &'static str,
}

/// AMQP 0-9-1: every broker has a guest.
pub(crate) const AMQP: Scheme = Scheme { start: "amqp://", port: 5672, login: "guest:guest" };
/// MQTT: without a login none is sent.
pub(crate) const MQTT: Scheme = Scheme { start: "mqtt://", port: 1883, login: "" };

/// The parts of an address, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Uri {
    /// Name or address.
    pub(crate) host: String,
    /// TCP port.
    pub(crate) port: u16,
    /// User name; empty for none.
    pub(crate) user: String,
    /// Password.
    pub(crate) password: String,
    /// Virtual host.
    pub(crate) virtual_host: String,
}

impl Uri {
    /// Reads an address; what is left out is as the scheme says, and virtual host "/".
    ///
    /// # Errors
    /// `Uri` says what is wrong.
    pub(crate) fn parse(text: &str, scheme: Scheme) -> Result<Self, ClientError> {
        let wrong = |what: &str| ClientError::Uri(format!("{text}: {what}"));
        let rest = text
            .strip_prefix(scheme.start)
            .ok_or_else(|| wrong(&format!("must begin with {}", scheme.start)))?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, place) = match authority.rsplit_once('@') {
            Some((login, place)) => (login, place),
            None => (scheme.login, authority),
        };
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let (host, port) = match place.rsplit_once(':') {
            // A colon within brackets belongs to an IPv6 address.
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| wrong("the port is no number"))?)
            }
            Some(_) | None => (place, scheme.port),
        };
        let decode = |part: &str| decode(part).ok_or_else(|| wrong("wrong percent encoding"));
        let virtual_host = decode(path)?;
        Ok(Self {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port,
            user: decode(user)?,
            password: decode(password)?,
            virtual_host: if virtual_host.is_empty() { "/".to_owned() } else { virtual_host },
        })
    }
}

/// Replaces %XX by octets.
fn decode(part: &str) -> Option<String> {
    let mut pieces = part.split('%');
    let mut octets = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2)?;
        octets.push(u8::from_str_radix(digits, 16).ok()?);
        octets.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(octets).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(host: &str, port: u16, login: (&str, &str), virtual_host: &str) -> Uri {
        let [host, user, password, virtual_host] =
            [host, login.0, login.1, virtual_host].map(str::to_owned);
        Uri { host, port, user, password, virtual_host }
    }

    #[test]
    fn every_part_may_be_given_or_left_out() {
        let guest = ("guest", "guest");
        for (text, expected) in [
            ("amqp://localhost", uri("localhost", 5672, guest, "/")),
            ("amqp://127.0.0.1:5673/", uri("127.0.0.1", 5673, guest, "/")),
            ("amqp://a:b%40c@h:1/v%2fw", uri("h", 1, ("a", "b@c"), "v/w")),
            ("amqp://[::1]/x", uri("::1", 5672, guest, "x")),
            ("amqp://[::1]:99/%2f", uri("::1", 99, guest, "/")),
        ] {
            assert_eq!(Uri::parse(text, AMQP).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn an_address_of_mqtt_has_no_guest() {
        assert_eq!(Uri::parse("mqtt://h", MQTT).unwrap(), uri("h", 1883, ("", ""), "/"));
        assert_eq!(Uri::parse("mqtt://u:p@h:1", MQTT).unwrap(), uri("h", 1, ("u", "p"), "/"));
        assert!(Uri::parse("amqp://h", MQTT).is_err());
    }

    #[test]
    fn wrong_addresses_are_refused() {
        for text in ["http://x", "amqp://h:port/", "amqp://h/%g0", "amqp://h/%2", "amqp://h/%ff"] {
            assert!(Uri::parse(text, AMQP).is_err(), "{text}");
        }
    }
}
