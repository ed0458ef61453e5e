//! The frames of a WebSocket, server side (RFC 6455): octets in, octets out, whatever pieces they
//! come in. The stream inside knows nothing of frames: a packet may span several, and several may
//! share one (mqtt.md 6.0.0-2).
//!
//! May import `ringmq_shards` (buffers).

use ringmq_shards::{Output, ReadBuffer};

/// The largest frame that is taken in (VerneMQ's `max_ws_frame_size`). Frames are never gathered:
/// what is inside passes on as it comes.
const FRAME_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Frames in a row that bring no octet (as abuse row 18).
const EMPTY_FRAMES_MAX: u32 = 1000;

/// Octets of a control frame (RFC 6455 5.5).
const CONTROL_BYTES_MAX: usize = 125;

/// Head of a frame: two octets, eight of length, four of mask.
const HEAD_BYTES_MAX: usize = 14;

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Why a WebSocket ends, as its last frame says it (RFC 6455 7.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    /// What the close frame carries; `None`: nothing, since the peer's carried nothing.
    pub(crate) code: Option<u16>,
    /// For the log.
    pub(crate) why: &'static str,
}

impl Ended {
    /// The session has said its last word.
    pub(crate) const NORMAL: Self = Self::new(1000, "closed");

    const fn new(code: u16, why: &'static str) -> Self {
        Self { code: Some(code), why }
    }

    const fn wrong(why: &'static str) -> Self {
        Self::new(1002, why)
    }
}

/// What has come of the stream so far. One per connection, moves with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decoder {
    state: State,
    /// The message under way goes on in the next data frame.
    is_fragmented: bool,
    empty_frames: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// A head of which this much is here.
    Head(Bits<HEAD_BYTES_MAX>),
    /// What is inside a data frame: this much is to come.
    Data { left: u64, mask: Mask },
    /// What is inside a control frame of this length.
    Control { opcode: u8, length: usize, mask: Mask, octets: Bits<CONTROL_BYTES_MAX> },
}

impl State {
    const START: Self = Self::Head(Bits::EMPTY);
}

/// A few octets that come in pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bits<const MAX: usize> {
    octets: [u8; MAX],
    count: usize,
}

impl<const MAX: usize> Bits<MAX> {
    const EMPTY: Self = Self { octets: [0; MAX], count: 0 };

    fn get(&self) -> &[u8] {
        self.octets.get(..self.count).unwrap_or_default()
    }

    /// Takes octets until there are `wanted`; true when there are.
    fn fill(&mut self, wanted: usize, from: &mut &[u8]) -> bool {
        let count = wanted.saturating_sub(self.count).min(from.len());
        let Some((piece, rest)) = from.split_at_checked(count) else { return false };
        if let Some(room) = self.octets.get_mut(self.count..self.count + count) {
            room.copy_from_slice(piece);
            self.count += count;
        }
        *from = rest;
        self.count >= wanted
    }
}

/// Four octets that are laid over what is inside a frame, again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mask([u8; 4]);

impl Mask {
    /// Unmasks `from` into `to`; afterwards the mask begins where the next piece does.
    fn lift(&mut self, from: &[u8], to: &mut [u8]) {
        // Eight at a time: this is what every octet of a client passes through.
        let [a, b, c, d] = self.0;
        let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
        let (words, tail) = from.as_chunks::<8>();
        let (to_words, to_tail) = to.as_chunks_mut::<8>();
        for (word, to) in words.iter().zip(to_words) {
            *to = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
        }
        for ((octet, to), mask) in tail.iter().zip(to_tail).zip([a, b, c, d].into_iter().cycle()) {
            *to = octet ^ mask;
        }
        self.0.rotate_left(from.len() % 4);
    }
}

impl Decoder {
    /// Of a stream that begins.
    pub(crate) const fn new() -> Self {
        Self { state: State::START, is_fragmented: false, empty_frames: 0 }
    }

    /// Takes all of `octets`: what is inside goes behind `input`, answers to control frames to
    /// `reply`.
    ///
    /// # Errors
    /// The stream has ended, by the peer's wish or fault. Nothing is to be shown any more.
    pub(crate) fn decode(
        &mut self,
        mut octets: &[u8],
        input: &mut ReadBuffer,
        reply: &mut Output,
    ) -> Result<(), Ended> {
        while !octets.is_empty() {
            match &mut self.state {
                State::Head(bits) => {
                    let wanted = head_bytes(bits.get());
                    if bits.fill(wanted, &mut octets) && bits.count >= head_bytes(bits.get()) {
                        let head = bits.clone();
                        self.state = self.on_head(head.get())?;
                    }
                }
                State::Data { left, mask } => {
                    take_data(left, mask, &mut octets, input);
                    if *left == 0 {
                        self.state = State::START;
                    }
                }
                State::Control { length, octets: bits, .. } => {
                    bits.fill(*length, &mut octets);
                }
            }
            // Also right behind the head, since a control frame may be empty.
            if let State::Control { opcode, length, mask, octets: bits } = &mut self.state
                && bits.count == *length
            {
                let mut inside = Bits::<CONTROL_BYTES_MAX>::EMPTY;
                inside.count = bits.count;
                mask.lift(bits.get(), inside.octets.get_mut(..bits.count).unwrap_or_default());
                let opcode = *opcode;
                self.state = State::START;
                on_control(opcode, inside.get(), reply)?;
            }
        }
        Ok(())
    }

    /// A whole head.
    fn on_head(&mut self, head: &[u8]) -> Result<State, Ended> {
        let &[first, second, ref rest @ ..] = head else { return Ok(State::START) };
        let opcode = first & 0x0F;
        if first & 0x70 != 0 {
            return Err(Ended::wrong("a reserved bit is set"));
        }
        if second & MASKED == 0 {
            return Err(Ended::wrong("a frame of a client is not masked"));
        }
        let short = second & 0x7F;
        let (length, mask) = match (short, rest) {
            (126, &[a, b, ref mask @ ..]) => (u64::from(u16::from_be_bytes([a, b])), mask),
            (127, &[a, b, c, d, e, f, g, h, ref mask @ ..]) => {
                (u64::from_be_bytes([a, b, c, d, e, f, g, h]), mask)
            }
            (short, mask) => (u64::from(short), mask),
        };
        let is_longer_than_needed = match short {
            126 => length < 126,
            127 => length <= u64::from(u16::MAX),
            _ => false,
        };
        if is_longer_than_needed || length > u64::MAX / 2 {
            return Err(Ended::wrong("a length is not written as it should be"));
        }
        let mask = Mask(mask.try_into().unwrap_or_default());
        let is_last = first & FIN != 0;
        match opcode {
            CONTINUATION | BINARY => {
                if (opcode == CONTINUATION) != self.is_fragmented {
                    return Err(Ended::wrong("a fragment is out of place"));
                }
                self.is_fragmented = !is_last;
                self.on_data(length, mask)
            }
            // mqtt.md 6.0.0-1
            TEXT => Err(Ended::new(1003, "a text frame")),
            CLOSE | PING | PONG => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                if !is_last || length > CONTROL_BYTES_MAX {
                    return Err(Ended::wrong("a control frame is too large or in fragments"));
                }
                Ok(State::Control { opcode, length, mask, octets: Bits::EMPTY })
            }
            _ => Err(Ended::wrong("a reserved opcode")),
        }
    }

    fn on_data(&mut self, length: u64, mask: Mask) -> Result<State, Ended> {
        if length > FRAME_BYTES_MAX {
            return Err(Ended::new(1009, "a frame is too large"));
        }
        if length > 0 {
            self.empty_frames = 0;
            return Ok(State::Data { left: length, mask });
        }
        self.empty_frames += 1;
        if self.empty_frames > EMPTY_FRAMES_MAX {
            return Err(Ended::new(1008, "nothing but empty frames"));
        }
        Ok(State::START)
    }
}

/// Octets of a head that begins like this, as far as that can be said.
fn head_bytes(head: &[u8]) -> usize {
    let Some(second) = head.get(1) else { return 2 };
    let length = match second & 0x7F {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    // Without a mask it is refused: there is nothing more to wait for.
    if second & MASKED == 0 { 2 } else { 2 + length + 4 }
}

fn take_data(left: &mut u64, mask: &mut Mask, octets: &mut &[u8], input: &mut ReadBuffer) {
    while *left > 0 && !octets.is_empty() {
        let room = input.unfilled();
        let count = usize::try_from(*left).unwrap_or(usize::MAX).min(octets.len()).min(room.len());
        let Some((piece, rest)) = octets.split_at_checked(count) else { return };
        mask.lift(piece, room.get_mut(..count).unwrap_or_default());
        input.advance(count);
        *octets = rest;
        *left = left.saturating_sub(count as u64);
    }
}

fn on_control(opcode: u8, inside: &[u8], reply: &mut Output) -> Result<(), Ended> {
    match opcode {
        PING => {
            put_head(PONG, inside.len(), reply);
            reply.put(inside);
            Ok(())
        }
        CLOSE => Err(on_close(inside)),
        // Nobody asked, but that is allowed (RFC 6455 5.5.3).
        _ => Ok(()),
    }
}

/// The peer says goodbye: what is said in return.
fn on_close(inside: &[u8]) -> Ended {
    let why = "the peer closed the WebSocket";
    match inside {
        [] => Ended { code: None, why },
        &[a, b, ref reason @ ..] => match u16::from_be_bytes([a, b]) {
            code @ (1000..=1003 | 1007..=1014 | 3000..=4999)
                if std::str::from_utf8(reason).is_ok() =>
            {
                Ended::new(code, why)
            }
            _ => Ended::wrong("a close frame with no good code or reason"),
        },
        [_] => Ended::wrong("a close frame with half a code"),
    }
}

/// The head of a data frame that holds what comes next in `out`.
pub(crate) fn put_data_head(length: usize, out: &mut Output) {
    put_head(BINARY, length, out);
}

/// The last frame.
pub(crate) fn put_close(ended: Ended, out: &mut Output) {
    let code = ended.code.map(u16::to_be_bytes);
    put_head(CLOSE, code.map_or(0, |code| code.len()), out);
    out.put(code.as_ref().map_or(&[], |code| code));
}

fn put_head(opcode: u8, length: usize, out: &mut Output) {
    let first = FIN | opcode;
    if let Some(length) = u8::try_from(length).ok().filter(|length| *length < 126) {
        out.put(&[first, length]);
    } else if let Ok(length) = u16::try_from(length) {
        let [a, b] = length.to_be_bytes();
        out.put(&[first, 126, a, b]);
    } else {
        out.put(&[first, 127]);
        out.put(&(length as u64).to_be_bytes());
    }
}

#[cfg(test)]
#[path = "websocket_tests.rs"]
mod tests;
