//! Where a broker is and who asks: amqp://user:password@host:port/vhost, and mqtt://... without
//! a virtual host; amqps://, mqtts:// through TLS, ws://, wss:// through a WebSocket. Imports std
//! only.

use super::error::ClientError;

/// What an address of a protocol begins with, and what is meant by the parts left out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scheme {
    name: &'static str,
    port: u16,
    tls_port: u16,
    login: &'static str,
    web_path: &'static str,
    /// What a WebSocket is asked for (RFC 6455, 1.9).
    pub(crate) web_name: &'static str,
}

/// AMQP 0-9-1: every broker has a guest.
pub(crate) const AMQP: Scheme = Scheme {
    name: "amqp",
    port: 5672,
    tls_port: 5671,
    login: "guest:guest",
    web_path: "/ws/amqp",
    web_name: "amqp",
};
/// MQTT: without a login none is sent.
pub(crate) const MQTT: Scheme = Scheme {
    name: "mqtt",
    port: 1883,
    tls_port: 8883,
    login: "",
    web_path: "/mqtt",
    web_name: "mqtt",
};
/// Port of WebSockets, of every protocol: the HTTP API's.
const WEB_PORT: u16 = 15672;
const WEB_TLS_PORT: u16 = 15671;

/// What is between a protocol and TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Wrapping {
    /// TLS.
    pub(crate) is_tls: bool,
    /// A WebSocket, within TLS if there is both.
    pub(crate) is_web: bool,
}

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
    /// What is between.
    pub(crate) wrapping: Wrapping,
    /// Path of the WebSocket, if there is one.
    pub(crate) web_path: String,
}

impl Uri {
    /// Reads an address; what is left out is as the scheme says, and virtual host "/". `wanted` is
    /// between whatever the address says.
    ///
    /// # Errors
    /// `Uri` says what is wrong.
    pub(crate) fn parse(text: &str, scheme: Scheme, wanted: Wrapping) -> Result<Self, ClientError> {
        let wrong = |what: &str| ClientError::Uri(format!("{text}: {what}"));
        let begins = |name: &str| text.strip_prefix(name).and_then(|r| r.strip_prefix("://"));
        let secured = format!("{}s", scheme.name);
        let known = [
            (scheme.name, false, false),
            (&secured, true, false),
            ("ws", false, true),
            ("wss", true, true),
        ];
        let (rest, is_tls, is_web_address) = known
            .iter()
            .find_map(|&(name, is_tls, is_web)| Some((begins(name)?, is_tls, is_web)))
            .ok_or_else(|| {
                let name = scheme.name;
                wrong(&format!("must begin with {name}://, {name}s://, ws:// or wss://"))
            })?;
        let wrapping =
            Wrapping { is_tls: is_tls || wanted.is_tls, is_web: is_web_address || wanted.is_web };
        let usual_port = match wrapping {
            Wrapping { is_web: true, is_tls: false } => WEB_PORT,
            Wrapping { is_web: true, is_tls: true } => WEB_TLS_PORT,
            Wrapping { is_web: false, is_tls: true } => scheme.tls_port,
            Wrapping { is_web: false, is_tls: false } => scheme.port,
        };
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
            Some(_) | None => (place, usual_port),
        };
        let decode = |part: &str| decode(part).ok_or_else(|| wrong("wrong percent encoding"));
        // The path of a WebSocket's address says where the WebSocket is, and of AMQP nothing.
        let virtual_host = if is_web_address { String::new() } else { decode(path)? };
        let web_path = match path {
            "" => scheme.web_path.to_owned(),
            path if is_web_address => format!("/{path}"),
            _ => scheme.web_path.to_owned(),
        };
        Ok(Self {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port,
            user: decode(user)?,
            password: decode(password)?,
            virtual_host: if virtual_host.is_empty() { "/".to_owned() } else { virtual_host },
            wrapping,
            web_path,
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

    const NOTHING: Wrapping = Wrapping { is_tls: false, is_web: false };

    fn uri(host: &str, port: u16, login: (&str, &str), virtual_host: &str) -> Uri {
        let [host, user, password, virtual_host] =
            [host, login.0, login.1, virtual_host].map(str::to_owned);
        let web_path = "/ws/amqp".to_owned();
        Uri { host, port, user, password, virtual_host, wrapping: NOTHING, web_path }
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
            assert_eq!(Uri::parse(text, AMQP, NOTHING).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn an_address_of_mqtt_has_no_guest() {
        let parts = |text| {
            let Uri { host, port, user, password, .. } = Uri::parse(text, MQTT, NOTHING).unwrap();
            (host, port, user, password)
        };
        let expected = |port, user: &str, password: &str| {
            ("h".to_owned(), port, user.to_owned(), password.to_owned())
        };
        assert_eq!(parts("mqtt://h"), expected(1883, "", ""));
        assert_eq!(parts("mqtt://u:p@h:1"), expected(1, "u", "p"));
        assert!(Uri::parse("amqp://h", MQTT, NOTHING).is_err());
    }

    #[test]
    fn address_and_options_say_what_is_between_and_the_port_follows() {
        let parts = |text, scheme, is_tls, is_web| {
            let Uri { port, wrapping, web_path, virtual_host, .. } =
                Uri::parse(text, scheme, Wrapping { is_tls, is_web }).unwrap();
            (port, wrapping.is_tls, wrapping.is_web, web_path, virtual_host)
        };
        for (text, scheme, wanted, expected) in [
            ("amqps://h/v", AMQP, (false, false), (5671, true, false, "/ws/amqp", "v")),
            ("mqtts://h", MQTT, (false, false), (8883, true, false, "/mqtt", "/")),
            ("mqtt://h", MQTT, (true, false), (8883, true, false, "/mqtt", "/")),
            ("ws://h", MQTT, (false, false), (15672, false, true, "/mqtt", "/")),
            ("wss://h/a/b", AMQP, (false, false), (15671, true, true, "/a/b", "/")),
            ("ws://h:8/a", AMQP, (true, false), (8, true, true, "/a", "/")),
            ("amqp://h:8/v", AMQP, (true, true), (8, true, true, "/ws/amqp", "v")),
        ] {
            let (port, is_tls, is_web, path, vhost) = expected;
            let expected = (port, is_tls, is_web, path.to_owned(), vhost.to_owned());
            assert_eq!(parts(text, scheme, wanted.0, wanted.1), expected, "{text}");
        }
    }

    #[test]
    fn wrong_addresses_are_refused() {
        for text in ["http://x", "amqp://h:port/", "amqp://h/%g0", "amqp://h/%2", "amqp://h/%ff"] {
            assert!(Uri::parse(text, AMQP, NOTHING).is_err(), "{text}");
        }
    }
}
