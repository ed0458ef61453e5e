//! The first octets of a connection: whose are they? (AMQP 0-9-1 4.2.2; P9; abuse rows 1 to 3).
//! May import `octets`.

use crate::protocol::octets::Decoded;

/// What a client sends first and a server answers to any other header.
pub const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\0\0\x09\x01";
/// Octets that decide; never more are kept (abuse row 1).
pub const PROTOCOL_HEADER_BYTES: usize = 8;

/// What the first octets announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// AMQP 0-9-1: `AMQP 0 0 9 1`.
    Amqp091,
    /// AMQP 0-9, which RabbitMQ and LavinMQ serve as 0-9-1: `AMQP 1 1 0 9`.
    Amqp09,
    /// AMQP 1.0: `AMQP n 1 0 0`; n is 0 for AMQP, 2 for TLS, 3 for SASL.
    Amqp10 {
        /// Which layer of it.
        layer: u8,
    },
    /// Another version of AMQP.
    AmqpOther,
    /// A TLS hello on a plain port (abuse row 2).
    Tls,
    /// An HTTP request (abuse row 2).
    Http,
    /// None of them.
    Unknown,
}

/// Decides as early as the octets allow; `taken` is 8 for AMQP and 0 for all else.
pub fn recognise(input: &[u8]) -> Decoded<Opening> {
    if let Some((&[b'A', b'M', b'Q', b'P', version @ ..], _)) = input.split_first_chunk::<8>() {
        let frame = match version {
            [0, 0, 9, 1] => Opening::Amqp091,
            [1, 1, 0, 9] => Opening::Amqp09,
            [layer @ (0 | 2 | 3), 1, 0, 0] => Opening::Amqp10 { layer },
            _ => Opening::AmqpOther,
        };
        return Decoded::Frame { frame, taken: PROTOCOL_HEADER_BYTES };
    }
    let signs: [(&[u8], Opening); 5] = [
        (&[0x16, 0x03], Opening::Tls),
        (b"GET ", Opening::Http),
        (b"POST", Opening::Http),
        (b"HEAD", Opening::Http),
        (b"PUT ", Opening::Http),
    ];
    if let Some((_, opening)) = signs.iter().find(|(sign, _)| input.starts_with(sign)) {
        return Decoded::Frame { frame: *opening, taken: 0 };
    }
    // What is still the start of something waits for exactly that.
    if input.is_empty() {
        return Decoded::NeedMore { bytes_min: 1 };
    }
    if b"AMQP".starts_with(input) || input.starts_with(b"AMQP") {
        return Decoded::NeedMore { bytes_min: PROTOCOL_HEADER_BYTES };
    }
    match signs.iter().find(|(sign, _)| sign.starts_with(input)) {
        Some((sign, _)) => Decoded::NeedMore { bytes_min: sign.len() },
        None => Decoded::Frame { frame: Opening::Unknown, taken: 0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(input: &[u8]) -> Decoded<Opening> {
        recognise(input)
    }

    #[test]
    fn the_headers_of_amqp_are_told_apart() {
        let amqp = |frame| Decoded::Frame { frame, taken: 8 };
        assert_eq!(opening(b"AMQP\0\0\x09\x01rest"), amqp(Opening::Amqp091));
        assert_eq!(opening(b"AMQP\x01\x01\0\x09"), amqp(Opening::Amqp09));
        assert_eq!(opening(b"AMQP\0\x01\0\0"), amqp(Opening::Amqp10 { layer: 0 }));
        assert_eq!(opening(b"AMQP\x03\x01\0\0"), amqp(Opening::Amqp10 { layer: 3 }));
        assert_eq!(opening(b"AMQP\x01\x01\x08\0"), amqp(Opening::AmqpOther));
    }

    #[test]
    fn tls_and_http_are_named_and_anything_else_is_refused_at_once() {
        let other = |frame| Decoded::Frame { frame, taken: 0 };
        assert_eq!(opening(&[0x16, 0x03, 0x01]), other(Opening::Tls));
        assert_eq!(opening(b"GET / HTTP/1.1\r\n"), other(Opening::Http));
        assert_eq!(opening(b"PUT /"), other(Opening::Http));
        assert_eq!(opening(b"X"), other(Opening::Unknown));
        assert_eq!(opening(b"AMQX"), other(Opening::Unknown));
        assert_eq!(opening(b"PUSH"), other(Opening::Unknown));
    }

    #[test]
    fn a_header_cut_anywhere_waits_for_the_rest() {
        for cut in 1..8 {
            assert_eq!(opening(&PROTOCOL_HEADER[..cut]), Decoded::NeedMore { bytes_min: 8 });
        }
        assert_eq!(opening(b""), Decoded::NeedMore { bytes_min: 1 });
        assert_eq!(opening(&[0x16]), Decoded::NeedMore { bytes_min: 2 });
        assert_eq!(opening(b"GE"), Decoded::NeedMore { bytes_min: 4 });
    }
}
