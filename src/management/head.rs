//! The first request of a connection, before HTTP reads it: one that asks for a WebSocket belongs to
//! a protocol, and goes to a shard with all that was read.
//!
//! May import httparse.

/// Octets of a head (abuse row 111; the shards read no longer ones either).
pub(super) const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Fields of a head.
pub(super) const FIELDS_MAX: usize = 64;

/// What the first octets of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    /// The head is not complete.
    NeedMore,
    /// A WebSocket is asked for.
    WebSocket,
    /// Something that the HTTP server answers, if only with a refusal.
    Http,
}

/// Looks at what has been read so far.
pub(super) fn first(input: &[u8]) -> First {
    // What begins otherwise is no request; it need not wait for the rest.
    if input.first().is_some_and(|octet| *octet != b'G') {
        return First::Http;
    }
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(input) {
        Ok(httparse::Status::Partial) if input.len() < HEAD_BYTES_MAX => First::NeedMore,
        Ok(httparse::Status::Partial) | Err(_) => First::Http,
        Ok(httparse::Status::Complete(_)) => {
            let asks = request.headers.iter().any(|field| {
                field.name.eq_ignore_ascii_case("upgrade")
                    && std::str::from_utf8(field.value)
                        .is_ok_and(|value| value.to_ascii_lowercase().contains("websocket"))
            });
            if asks { First::WebSocket } else { First::Http }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_known_when_its_head_is_whole() {
        let web = b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: WebSocket\r\n\r\n";
        assert_eq!(first(web), First::WebSocket);
        for length in 0..web.len() {
            assert_eq!(first(&web[..length]), First::NeedMore, "{length}");
        }
        assert_eq!(first(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), First::Http);
        assert_eq!(first(b"PUT"), First::Http);
        assert_eq!(first(b"\x16\x03\x01"), First::Http);
        assert_eq!(first(b"GET / HTTP/1.1\r\n bad"), First::Http);
        let long = [b"GET /".as_slice(), &[b'a'; HEAD_BYTES_MAX]].concat();
        assert_eq!(first(&long), First::Http);
    }
}
