//! The request that opens a WebSocket (RFC 6455 4.2): octets in, an answer out. Nothing else is
//! served here; whoever asks for anything else is told so and leaves.
//!
//! The origin is not looked at: what keeps strangers out is the login, of which a browser knows
//! nothing by itself.
//! May import httparse, sha1, base64.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use httparse::{Header, Request, Status};
use sha1::{Digest as _, Sha1};

/// Octets of a request (abuse row 111).
pub(crate) const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Fields of a request: a browser sends some fifteen.
const FIELDS_MAX: usize = 64;

/// What every server adds to the key (RFC 6455 1.3).
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Octets of a key before base64.
const KEY_BYTES: usize = 16;

/// A path that is served.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Route<'a> {
    /// What is asked for, without a query.
    pub(crate) path: &'a str,
    /// What is spoken there.
    pub(crate) speaks: Subprotocol,
}

/// What the client has to say of what it will speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subprotocol {
    /// One of these names (mqtt.md 6.0.0-3).
    OneOf(&'static [&'static str]),
    /// Nothing, as amqp-client.js does, or a name that begins like this.
    NoneOr(&'static str),
}

impl Subprotocol {
    fn accepts(self, name: &str) -> bool {
        match self {
            Self::OneOf(names) => names.contains(&name),
            Self::NoneOr(start) => {
                name.get(..start.len()).is_some_and(|begins| begins.eq_ignore_ascii_case(start))
            }
        }
    }
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is not complete.
    NeedMore,
    /// This is said, then the connection is closed.
    Refuse(Refusal),
    /// The WebSocket is open.
    Accept {
        /// Octets of the request; what follows are frames.
        taken: usize,
        /// The place among the routes.
        route: usize,
        /// What is said.
        response: Vec<u8>,
    },
}

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Not HTTP.
    Malformed,
    /// Another method than GET.
    Method,
    /// A path that is none of the routes.
    Path,
    /// It asks for a page, or for another version of WebSockets.
    NoUpgrade,
    /// The key is missing or wrong.
    Key,
    /// It names no protocol that is spoken there.
    Subprotocol,
    /// The head does not end.
    TooLong,
    /// It took too long.
    Slow,
    /// The server stops.
    Stopping,
}

impl Refusal {
    const fn status(self) -> &'static str {
        match self {
            Self::Malformed | Self::Key | Self::Subprotocol => "400 Bad Request",
            Self::Method => "405 Method Not Allowed\r\nAllow: GET",
            Self::Path => "404 Not Found",
            Self::NoUpgrade => {
                "426 Upgrade Required\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13"
            }
            Self::TooLong => "431 Request Header Fields Too Large",
            Self::Slow => "408 Request Timeout",
            Self::Stopping => "503 Service Unavailable",
        }
    }

    /// The whole response.
    pub(crate) fn response(self) -> String {
        let (status, text) = (self.status(), self.to_string());
        let length = text.len() + 1;
        // The field of an upgrade has to be announced as the connection's own.
        let connection = if self == Self::NoUpgrade { "Upgrade, close" } else { "close" };
        format!(
            "HTTP/1.1 {status}\r\nConnection: {connection}\r\nContent-Type: text/plain\r\n\
             Content-Length: {length}\r\n\r\n{text}\n"
        )
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "this is no HTTP request",
            Self::Method => "only GET is served",
            Self::Path => "there is nothing at this path",
            Self::NoUpgrade => "only WebSockets of version 13 are served",
            Self::Key => "Sec-WebSocket-Key is missing or wrong",
            Self::Subprotocol => "Sec-WebSocket-Protocol names nothing that is spoken here",
            Self::TooLong => "the request is too long",
            Self::Slow => "the request took too long",
            Self::Stopping => "the server stops",
        })
    }
}

/// Looks at what has come so far, of which `seen` octets were shown before.
pub(crate) fn answer(input: &[u8], seen: usize, routes: &[Route<'_>]) -> Answer {
    // Whoever speaks something else need not wait for the time limit.
    if input.first().is_some_and(|octet| !octet.is_ascii_uppercase()) {
        return Answer::Refuse(Refusal::Malformed);
    }
    let head = input.get(..HEAD_BYTES_MAX).unwrap_or(input);
    // Parsed once, when it is whole: a request in single octets costs no more than another.
    let fresh = head.get(seen.saturating_sub(3)..).unwrap_or_default();
    if !fresh.windows(4).any(|end| end == b"\r\n\r\n") {
        let is_long = input.len() >= HEAD_BYTES_MAX;
        return if is_long { Answer::Refuse(Refusal::TooLong) } else { Answer::NeedMore };
    }
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = Request::new(&mut fields);
    match request.parse(head) {
        Ok(Status::Complete(taken)) => match accept(&request, routes) {
            Ok((route, response)) => Answer::Accept { taken, route, response },
            Err(refusal) => Answer::Refuse(refusal),
        },
        Err(httparse::Error::TooManyHeaders) => Answer::Refuse(Refusal::TooLong),
        Ok(Status::Partial) | Err(_) => Answer::Refuse(Refusal::Malformed),
    }
}

fn accept(request: &Request<'_, '_>, routes: &[Route<'_>]) -> Result<(usize, Vec<u8>), Refusal> {
    if request.method != Some("GET") {
        return Err(Refusal::Method);
    }
    let target = request.path.unwrap_or_default();
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    let found = routes.iter().enumerate().find(|(_, route)| route.path == path);
    let Some((place, route)) = found else { return Err(Refusal::Path) };
    let fields = &*request.headers;
    let asks =
        has_word(fields, "Upgrade", "websocket") && has_word(fields, "Connection", "upgrade");
    if !asks || !has_word(fields, "Sec-WebSocket-Version", "13") || request.version != Some(1) {
        return Err(Refusal::NoUpgrade);
    }
    let key = the_only(fields, "Sec-WebSocket-Key").ok_or(Refusal::Key)?;
    if !STANDARD.decode(key).is_ok_and(|key| key.len() == KEY_BYTES) {
        return Err(Refusal::Key);
    }
    let mut offered = words(fields, "Sec-WebSocket-Protocol").peekable();
    let offers_none = offered.peek().is_none();
    let chosen = offered.find(|name| route.speaks.accepts(name));
    if chosen.is_none() && !(offers_none && matches!(route.speaks, Subprotocol::NoneOr(_))) {
        return Err(Refusal::Subprotocol);
    }
    let hash = Sha1::new().chain_update(key).chain_update(KEY_SUFFIX).finalize();
    let mut response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n",
        STANDARD.encode(hash)
    );
    if let Some(chosen) = chosen {
        // mqtt.md 6.0.0-4. It is one of ours, or begins like it and is a word.
        response.push_str("Sec-WebSocket-Protocol: ");
        response.push_str(chosen);
        response.push_str("\r\n");
    }
    response.push_str("\r\n");
    Ok((place, response.into_bytes()))
}

/// Values of a field that may come several times.
fn values<'a>(fields: &'a [Header<'a>], name: &'a str) -> impl Iterator<Item = &'a str> {
    fields
        .iter()
        .filter(move |field| field.name.eq_ignore_ascii_case(name))
        .filter_map(|field| std::str::from_utf8(field.value).ok())
        .map(str::trim)
}

/// Words of a field that is a list.
fn words<'a>(fields: &'a [Header<'a>], name: &'a str) -> impl Iterator<Item = &'a str> {
    values(fields, name).flat_map(|list| list.split(',')).map(str::trim).filter(|w| !w.is_empty())
}

fn has_word(fields: &[Header<'_>], name: &str, word: &str) -> bool {
    words(fields, name).any(|found| found.eq_ignore_ascii_case(word))
}

fn the_only<'a>(fields: &'a [Header<'a>], name: &'a str) -> Option<&'a str> {
    let mut values = values(fields, name);
    let first = values.next()?;
    values.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: &[Route<'_>] = &[
        Route { path: "/mqtt", speaks: Subprotocol::OneOf(&["mqtt", "mqttv3.1"]) },
        Route { path: "/ws/amqp", speaks: Subprotocol::NoneOr("amqp") },
    ];

    const GOOD: &[(&str, &str)] = &[
        ("Host", "localhost"),
        ("Upgrade", "websocket"),
        ("Connection", "keep-alive, Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
        ("Origin", "https://elsewhere.example"),
    ];

    fn request(line: &str, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut text = format!("{line}\r\n");
        for (name, value) in fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        text.into_bytes()
    }

    fn with<'a>(name: &'a str, value: &'a str) -> Vec<(&'a str, &'a str)> {
        let others = GOOD.iter().copied().filter(|(other, _)| *other != name);
        others.chain((!value.is_empty()).then_some((name, value))).collect()
    }

    fn refused(input: &[u8]) -> Refusal {
        let answer = answer(input, 0, ROUTES);
        let Answer::Refuse(refusal) = answer else { panic!("{answer:?}") };
        refusal
    }

    /// The example of RFC 6455 1.3
    #[test]
    fn the_key_is_answered_and_the_protocol_repeated() {
        let fields = with("Sec-WebSocket-Protocol", "chat, mqtt, mqttv3.1");
        let mut input = request("GET /mqtt?token=1 HTTP/1.1", &fields);
        let head = input.len();
        input.extend_from_slice(b"frames");
        let Answer::Accept { taken, route, response } = answer(&input, 0, ROUTES) else { panic!() };
        assert_eq!((taken, route), (head, 0));
        let text = String::from_utf8(response).unwrap();
        assert!(text.starts_with("HTTP/1.1 101 "), "{text}");
        assert!(text.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert!(text.ends_with("\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"), "{text}");
    }

    /// MQTT-6.0.0-3, MQTT-6.0.0-4
    #[test]
    fn mqtt_is_named_and_amqp_may_be() {
        for (path, offered, said) in [
            ("/mqtt", "mqttv3.1", Some("mqttv3.1")),
            ("/mqtt", "", None),
            ("/mqtt", "amqp", None),
            ("/mqtt", "mqttv5", None),
            ("/ws/amqp", "", Some("")),
            ("/ws/amqp", "AMQP", Some("AMQP")),
            ("/ws/amqp", "mqtt, amqp091", Some("amqp091")),
            ("/ws/amqp", "mqtt", None),
        ] {
            let fields = with("Sec-WebSocket-Protocol", offered);
            let input = request(&format!("GET {path} HTTP/1.1"), &fields);
            match (answer(&input, 0, ROUTES), said) {
                (Answer::Accept { response, .. }, Some(said)) => {
                    let text = String::from_utf8(response).unwrap();
                    let field = format!("\r\nSec-WebSocket-Protocol: {said}\r\n");
                    assert_eq!(text.contains(&field), !said.is_empty(), "{text}");
                }
                (Answer::Refuse(refusal), None) => assert_eq!(refusal, Refusal::Subprotocol),
                (other, _) => panic!("{path} {offered}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_is_no_upgrade_is_refused_with_its_reason() {
        let get = "GET /ws/amqp HTTP/1.1";
        for (line, name, value, refusal) in [
            ("POST /ws/amqp HTTP/1.1", "Host", "x", Refusal::Method),
            ("GET / HTTP/1.1", "Host", "x", Refusal::Path),
            ("GET /ws/amqp/ HTTP/1.1", "Host", "x", Refusal::Path),
            ("GET /ws/amqp HTTP/1.0", "Host", "x", Refusal::NoUpgrade),
            (get, "Upgrade", "", Refusal::NoUpgrade),
            (get, "Upgrade", "h2c", Refusal::NoUpgrade),
            (get, "Connection", "close", Refusal::NoUpgrade),
            (get, "Sec-WebSocket-Version", "8", Refusal::NoUpgrade),
            (get, "Sec-WebSocket-Key", "", Refusal::Key),
            (get, "Sec-WebSocket-Key", "short", Refusal::Key),
            ("GET nonsense", "Host", "x", Refusal::Malformed),
            ("GET /ws/amqp HTTP/1.1", "Bad name", "x", Refusal::Malformed),
        ] {
            assert_eq!(refused(&request(line, &with(name, value))), refusal, "{line} {name}");
        }
        let mut twice = GOOD.to_vec();
        twice.push(("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="));
        assert_eq!(refused(&request(get, &twice)), Refusal::Key);
        assert_eq!(refused(b"\x16\x03\x01"), Refusal::Malformed, "TLS is told at once");
        assert_eq!(refused(b"AMQP\0\0\x09\x01\r\n\r\n"), Refusal::Malformed);
        assert!(Refusal::NoUpgrade.response().contains("\r\nSec-WebSocket-Version: 13\r\n"));
        assert!(Refusal::Path.response().starts_with("HTTP/1.1 404 Not Found\r\n"));
    }

    /// Abuse row 111
    #[test]
    fn a_request_that_does_not_end_is_too_long() {
        let mut input = b"GET /ws/amqp HTTP/1.1\r\nX: ".to_vec();
        input.resize(HEAD_BYTES_MAX - 1, b'x');
        assert_eq!(answer(&input, 0, ROUTES), Answer::NeedMore);
        input.push(b'x');
        assert_eq!(refused(&input), Refusal::TooLong);
        input.resize(10 * HEAD_BYTES_MAX, b'x');
        input.extend_from_slice(b"\r\n\r\n");
        assert_eq!(refused(&input), Refusal::TooLong);
        let many = vec![("X", "y"); FIELDS_MAX + 1];
        assert_eq!(refused(&request("GET /ws/amqp HTTP/1.1", &many)), Refusal::TooLong);
    }

    #[test]
    fn a_request_may_come_in_any_two_pieces_and_octet_by_octet() {
        let input = request("GET /ws/amqp HTTP/1.1", GOOD);
        let whole = answer(&input, 0, ROUTES);
        assert!(matches!(whole, Answer::Accept { .. }));
        for cut in 1..input.len() {
            assert_eq!(answer(&input[..cut], cut - 1, ROUTES), Answer::NeedMore, "{cut}");
            assert_eq!(answer(&input, cut, ROUTES), whole, "{cut}");
        }
    }
}
