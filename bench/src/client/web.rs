//! A WebSocket as a client speaks it (RFC 6455): octets in, octets out. Imports httparse.

use super::error::ClientError;

/// What the broker mixes with a constant of its own to show that it knows WebSockets: any 16
/// octets will do, and those of RFC 6455 1.3 have their answer beside them.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// Octets of the broker's answer to the request.
const RESPONSE_BYTES_MAX: usize = 8 * 1024;
/// Lines of it.
const HEADERS_MAX: usize = 64;
/// Payload of a ping or close at most (RFC 6455 5.5).
const CONTROL_BYTES_MAX: usize = 125;
/// A frame's head: two octets, eight of length; only ours have a mask.
const HEAD_BYTES_MAX: usize = 10;

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
const BINARY: u8 = 0x02;
const CLOSE: u8 = 0x08;
const PING: u8 = 0x09;
const PONG: u8 = 0x0A;

/// ```text
/// Unasked -> Asked -> Head <-> Payload
/// ```
#[derive(Debug)]
enum Stage {
    /// The request is to be written.
    Unasked(Box<[u8]>),
    /// So much of the answer has come.
    Asked(Vec<u8>),
    /// So many octets of the next frame's head have come.
    Head([u8; HEAD_BYTES_MAX], usize),
    /// So much is missing of a frame's payload.
    Payload(Kind, u64),
}

#[derive(Debug)]
enum Kind {
    Data,
    /// A ping, with what is to come back.
    Ping(Vec<u8>),
    Pong,
}

/// One per connection.
#[derive(Debug)]
pub(crate) struct Web {
    stage: Stage,
    /// Where the next mask comes from: nobody has to be kept from guessing it here.
    mask_seed: u32,
    /// Answers to pings.
    pub(crate) answers: Vec<u8>,
}

impl Web {
    /// A connection that is to be asked for.
    pub(crate) fn new(host: &str, path: &str, name: &str) -> Self {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Protocol: {name}\r\n\r\n"
        );
        let stage = Stage::Unasked(request.into_bytes().into());
        Self { stage, mask_seed: 0x9E37_79B9, answers: Vec::new() }
    }

    /// The request, once.
    pub(crate) fn request(&mut self) -> Option<Box<[u8]>> {
        let Stage::Unasked(request) = &mut self.stage else { return None };
        let request = std::mem::take(request);
        self.stage = Stage::Asked(Vec::new());
        Some(request)
    }

    /// Whether the broker has consented.
    pub(crate) const fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Head(..) | Stage::Payload(..))
    }

    /// Takes all of `input`; gives what is inside to `put`.
    ///
    /// # Errors
    /// `Ended` at the broker's close; what is no WebSocket.
    pub(crate) fn decode(
        &mut self,
        input: &[u8],
        mut put: impl FnMut(&[u8]) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        let mut rest = input;
        while !rest.is_empty() {
            match &mut self.stage {
                Stage::Unasked(_) => return Err(ClientError::Unexpected("answer to no request")),
                Stage::Asked(response) => {
                    let before = response.len();
                    response.extend_from_slice(rest);
                    let Some(taken) = response_bytes(response)? else { return Ok(()) };
                    rest = rest.get(taken.saturating_sub(before)..).unwrap_or_default();
                    self.stage = Stage::Head([0; HEAD_BYTES_MAX], 0);
                }
                Stage::Head(head, have) => {
                    if let (Some(place), Some((octet, behind))) =
                        (head.get_mut(*have), rest.split_first())
                    {
                        (*place, rest) = (*octet, behind);
                        *have += 1;
                    }
                    if let Some((kind, bytes)) = read_head(head.get(..*have).unwrap_or_default())? {
                        self.stage = Stage::Payload(kind, bytes);
                        self.finish_frame();
                    }
                }
                Stage::Payload(kind, missing) => {
                    let count = usize::try_from(*missing).unwrap_or(usize::MAX).min(rest.len());
                    let (piece, behind) = rest.split_at(count);
                    match kind {
                        Kind::Data => put(piece)?,
                        Kind::Ping(payload) => payload.extend_from_slice(piece),
                        Kind::Pong => {}
                    }
                    *missing = missing.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
                    rest = behind;
                    self.finish_frame();
                }
            }
        }
        Ok(())
    }

    /// Goes on to the next frame if this one is complete.
    fn finish_frame(&mut self) {
        let Stage::Payload(kind, 0) = &mut self.stage else { return };
        let ping =
            if let Kind::Ping(payload) = kind { Some(std::mem::take(payload)) } else { None };
        self.stage = Stage::Head([0; HEAD_BYTES_MAX], 0);
        if let Some(payload) = ping {
            let mask = self.next_mask();
            put_frame(PONG, &payload, mask, &mut self.answers);
        }
    }

    /// One frame with these octets, behind `out`.
    pub(crate) fn put_data(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        let mask = self.next_mask();
        put_frame(BINARY, octets, mask, out);
    }

    /// Xorshift.
    const fn next_mask(&mut self) -> [u8; 4] {
        let mut x = self.mask_seed;
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        self.mask_seed = x;
        x.to_be_bytes()
    }
}

/// Octets of the answer if it is complete and a consent.
fn response_bytes(response: &[u8]) -> Result<Option<usize>, ClientError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut answer = httparse::Response::new(&mut headers);
    let status = answer.parse(response);
    let status = status.map_err(|_| ClientError::Unexpected("answer that is no HTTP"))?;
    let httparse::Status::Complete(taken) = status else {
        let is_long = response.len() > RESPONSE_BYTES_MAX;
        let long = ClientError::Unexpected("long answer to the request for a WebSocket");
        return if is_long { Err(long) } else { Ok(None) };
    };
    if answer.code != Some(101) {
        let (code, text) = (answer.code.unwrap_or(0), answer.reason.unwrap_or("").to_owned());
        return Err(ClientError::Closed { code, text });
    }
    let is_accept = |header: &&httparse::Header<'_>| {
        header.name.eq_ignore_ascii_case("Sec-WebSocket-Accept") && header.value == ACCEPT
    };
    if answer.headers.iter().find(is_accept).is_none() {
        return Err(ClientError::Unexpected("answer to another WebSocket's key"));
    }
    Ok(Some(taken))
}

/// Kind and length of a frame, if its head is complete.
fn read_head(head: &[u8]) -> Result<Option<(Kind, u64)>, ClientError> {
    let [first, second, rest @ ..] = head else { return Ok(None) };
    let bytes = match (second & !MASKED, rest) {
        (126, [high, low]) => u64::from(u16::from_be_bytes([*high, *low])),
        (127, &[a, b, c, d, e, f, g, h]) => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
        (126 | 127, _) => return Ok(None),
        (bytes, _) => u64::from(bytes),
    };
    if second & MASKED != 0 {
        return Err(ClientError::Unexpected("masked frame from a server"));
    }
    let is_short = usize::try_from(bytes).is_ok_and(|bytes| bytes <= CONTROL_BYTES_MAX);
    match first & 0x0F {
        0 | BINARY => Ok(Some((Kind::Data, bytes))),
        PING if is_short => Ok(Some((Kind::Ping(Vec::new()), bytes))),
        PONG if is_short => Ok(Some((Kind::Pong, bytes))),
        CLOSE => Err(ClientError::Ended),
        _ => Err(ClientError::Unexpected("kind of frame")),
    }
}

fn put_frame(kind: u8, payload: &[u8], mask: [u8; 4], out: &mut Vec<u8>) {
    out.push(FIN | kind);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(bytes @ ..126), _) => out.push(MASKED | bytes),
        (_, Ok(bytes)) => {
            out.push(MASKED | 126);
            out.extend_from_slice(&bytes.to_be_bytes());
        }
        (_, Err(_)) => {
            out.push(MASKED | 127);
            let bytes = u64::try_from(payload.len()).unwrap_or(u64::MAX);
            out.extend_from_slice(&bytes.to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    let (words, rest) = out.get_mut(start..).unwrap_or_default().as_chunks_mut::<4>();
    let mask_word = u32::from_ne_bytes(mask);
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ mask_word).to_ne_bytes();
    }
    rest.iter_mut().zip(mask).for_each(|(octet, mask)| *octet ^= mask);
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSENT: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

    fn asked() -> Web {
        let mut web = Web::new("h:1", "/mqtt", "mqtt");
        let request = web.request().unwrap();
        assert!(request.starts_with(b"GET /mqtt HTTP/1.1\r\nHost: h:1\r\n"));
        assert!(web.request().is_none());
        web
    }

    /// Octets inside `input`, which comes in pieces of `piece` octets.
    fn inside(web: &mut Web, input: &[u8], piece: usize) -> Result<Vec<u8>, ClientError> {
        let mut inside = Vec::new();
        for piece in input.chunks(piece) {
            web.decode(piece, |octets| {
                inside.extend_from_slice(octets);
                Ok(())
            })?;
        }
        Ok(inside)
    }

    #[test]
    fn what_is_in_frames_comes_out_however_it_is_cut() {
        let long = vec![7; 300];
        let frames = [
            CONSENT,
            b"\x82\x03abc\x89\x02hi\x82\x00\x8A\x00",
            b"\x82\x7E\x01\x2C",
            &long,
            b"\x02\x01d\x80\x01e",
        ]
        .concat();
        for piece in [1, 2, 3, 7, 64, 1000] {
            let mut web = asked();
            let inside = inside(&mut web, &frames, piece).unwrap();
            assert_eq!(inside, [&b"abc"[..], &long, b"de"].concat(), "{piece}");
            assert!(web.is_open());
            assert_eq!(web.answers.get(..2), Some(&[0x8A, 0x82][..]), "the ping is answered");
        }
    }

    #[test]
    fn what_is_written_is_masked_and_says_how_long_it_is() {
        for (bytes, head) in [
            (3, &b"\x82\x83"[..]),
            (300, b"\x82\xFE\x01\x2C"),
            (70_000, b"\x82\xFF\0\0\0\0\0\x01\x11\x70"),
        ] {
            let octets: Vec<u8> = (0..bytes).map(|n: u32| n.to_be_bytes()[3]).collect();
            let (mut web, mut out) = (asked(), Vec::new());
            web.put_data(&octets, &mut out);
            let rest = out.strip_prefix(head).unwrap();
            let (mask, masked) = rest.split_first_chunk::<4>().unwrap();
            let unmask = |(n, octet): (usize, &u8)| octet ^ mask[n % 4];
            let unmasked: Vec<u8> = masked.iter().enumerate().map(unmask).collect();
            assert!(unmasked == octets && *mask != [0; 4], "{bytes}");
        }
    }

    #[test]
    fn a_refusal_a_close_and_what_is_no_websocket_are_told_apart() {
        let refused = inside(&mut asked(), b"HTTP/1.1 404 Not Found\r\n\r\n", 100);
        assert!(matches!(refused, Err(ClientError::Closed { code: 404, .. })), "{refused:?}");
        let ended = inside(&mut asked(), &[CONSENT, b"\x88\x00"].concat(), 9);
        assert!(matches!(ended, Err(ClientError::Ended)), "{ended:?}");
        for wrong in [&b"\0\x01"[..], b"HTTP/1.1 101 x\r\n\r\n"] {
            let result = inside(&mut asked(), wrong, 100);
            assert!(matches!(result, Err(ClientError::Unexpected(_))), "{result:?}");
        }
        let masked = [CONSENT, b"\x82\x81\0\0\0\0x"].concat();
        assert!(matches!(inside(&mut asked(), &masked, 100), Err(ClientError::Unexpected(_))));
    }
}
