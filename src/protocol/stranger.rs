//! What the first octets of a connection look like that speaks nothing its port knows: for the line
//! in the log by which a person finds the wrong port or the missing TLS.
//!
//! May import `protocol`.

use super::{PROTOCOLS, Recognised};

/// In the words of a log line.
pub fn looks_like(octets: &[u8]) -> &'static str {
    const HTTP: [&[u8]; 7] =
        [b"GET ", b"POST ", b"HEAD ", b"PUT ", b"DELETE ", b"OPTIONS ", b"CONNECT "];
    if is_tls(octets) {
        return "TLS, on a port without it";
    }
    if octets.starts_with(b"PRI * HTTP/2") || HTTP.iter().any(|method| octets.starts_with(method)) {
        return "HTTP, perhaps a WebSocket: those have a port of their own";
    }
    if octets.starts_with(b"PROXY ") || octets.starts_with(b"\r\n\r\n\0\r\nQUIT\n") {
        return "a PROXY header, which is not expected here";
    }
    if octets.starts_with(b"AMQP") {
        return "AMQP";
    }
    let known = PROTOCOLS.iter().find(|p| (p.recognises)(octets) == Recognised::Yes);
    known.map_or("nothing that is known", |protocol| protocol.name)
}

/// Whether they begin a handshake of TLS.
pub fn is_tls(octets: &[u8]) -> bool {
    octets.starts_with(&[0x16, 0x03])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_send_to_the_wrong_port_is_named() {
        for (octets, name) in [
            (&b"GET /mqtt HTTP/1.1\r\n"[..], "HTTP"),
            (b"\x16\x03\x01\x02\0\x01", "TLS"),
            (b"AMQP\0\0\x09\x01", "AMQP"),
            (b"AMQP\0\x01\0\0", "AMQP"),
            (b"PROXY TCP4 192.0.2.1", "a PROXY header"),
            (b"", "nothing"),
            (b"\xFF\xFF", "nothing"),
        ] {
            assert!(looks_like(octets).starts_with(name), "{octets:?}");
        }
    }

    #[cfg(feature = "mqtt")]
    #[test]
    fn a_connect_is_named_where_it_is_not_spoken() {
        assert_eq!(looks_like(b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01c"), "mqtt");
    }
}
