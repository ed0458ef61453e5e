//! One frame from a byte slice or "need n more", and frames onto a byte vector (AMQP 0-9-1 2.3.5,
//! 4.2.3; P1, P4, P5). May import `octets` and the traits of `method`.
//!
//! `frame_bytes_max` is the negotiated frame_max everywhere: octets of a whole frame, 0 for no
//! limit. A sender that counts the payload alone is tolerated on the way in, as RabbitMQ does
//! for old clients (P5): a payload may have `frame_bytes_max` octets, so a buffer for one frame
//! needs [`OVERHEAD_BYTES`] more. What we send keeps to the limit exactly.

use std::fmt;

use super::method::Encode;
use crate::protocol::octets::{Decoded, put_long_with, put_u16, put_u32, put_u64};

/// Type octet of a method frame.
pub const METHOD: u8 = 1;
/// Type octet of a content header frame.
pub const HEADER: u8 = 2;
/// Type octet of a content body frame.
pub const BODY: u8 = 3;
/// Type octet of a heartbeat.
pub const HEARTBEAT: u8 = 8;
/// The last octet of every frame.
pub const END: u8 = 0xCE;
/// Octets of a frame that are not payload: 7 before it, 1 behind.
pub const OVERHEAD_BYTES: usize = 8;
/// Class of the only content there is: basic.
pub const CONTENT_CLASS: u16 = 60;
/// The frame_max that no peer may go below (AMQP 0-9-1 4.2.3 frame-min-size).
pub const FRAME_BYTES_MIN: u32 = 4096;
/// A heartbeat as it is sent.
pub const HEARTBEAT_FRAME: [u8; 8] = [HEARTBEAT, 0, 0, 0, 0, 0, 0, END];

/// One frame; payloads are not looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// For [`super::method::Method::decode`].
    Method {
        /// Channel number.
        channel: u16,
        /// Class id, method id, arguments.
        payload: &'a [u8],
    },
    /// For [`super::properties::ContentHeader::decode`].
    Header {
        /// Channel number.
        channel: u16,
        /// Class, weight, body size, properties.
        payload: &'a [u8],
    },
    /// A piece of a body.
    Body {
        /// Channel number.
        channel: u16,
        /// The piece; may be empty (abuse row 18).
        payload: &'a [u8],
    },
    /// A sign of life.
    Heartbeat {
        /// Must be 0, else 505 (P10).
        channel: u16,
    },
}

/// Why octets are no frame. All of them are 501 FRAME_ERROR on the connection (P5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// Larger than negotiated; known from the first 7 octets (abuse rows 5, 6, 7).
    TooLarge {
        /// Octets of payload announced.
        size: u32,
        /// The negotiated frame_max.
        max: u32,
    },
    /// The octet behind the payload is not [`END`] (abuse row 8).
    BadEnd {
        /// What it is.
        have: u8,
    },
    /// No type we know (abuse row 9).
    UnknownType(u8),
    /// A heartbeat with a payload (abuse row 12).
    HeartbeatPayload {
        /// Octets of payload announced.
        size: u32,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooLarge { size, max } => {
                write!(f, "frame of {size} octets of payload is larger than frame_max {max}")
            }
            Self::BadEnd { have } => write!(f, "frame ends with octet {have} instead of {END}"),
            Self::UnknownType(octet) => write!(f, "unknown frame type {octet}"),
            Self::HeartbeatPayload { size } => write!(f, "heartbeat with {size} octets of payload"),
        }
    }
}

impl std::error::Error for FrameError {}

/// The frame at the front of `input`.
///
/// # Errors
/// As soon as it is certain that no further octet makes a frame of it.
#[inline]
pub fn decode(input: &[u8], frame_bytes_max: u32) -> Result<Decoded<Frame<'_>>, FrameError> {
    let Some((head, rest)) = input.split_first_chunk::<7>() else {
        return decode_start(input);
    };
    let [kind, channel_high, channel_low, size @ ..] = *head;
    let channel = u16::from_be_bytes([channel_high, channel_low]);
    let size = u32::from_be_bytes(size);
    // In this order: the type decides whether the rest means anything. The size is only
    // compared, never added to, so 0xFFFFFFFF cannot wrap (abuse row 6).
    if !is_known(kind) {
        return Err(FrameError::UnknownType(kind));
    }
    if frame_bytes_max != 0 && size > frame_bytes_max {
        return Err(FrameError::TooLarge { size, max: frame_bytes_max });
    }
    if kind == HEARTBEAT && size != 0 {
        return Err(FrameError::HeartbeatPayload { size });
    }
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let taken = size.saturating_add(OVERHEAD_BYTES);
    let Some((payload, [end, ..])) = rest.split_at_checked(size) else {
        return Ok(Decoded::NeedMore { bytes_min: taken });
    };
    if *end != END {
        return Err(FrameError::BadEnd { have: *end });
    }
    let frame = match kind {
        METHOD => Frame::Method { channel, payload },
        HEADER => Frame::Header { channel, payload },
        BODY => Frame::Body { channel, payload },
        _ => Frame::Heartbeat { channel },
    };
    Ok(Decoded::Frame { frame, taken })
}

/// Less than a frame's head: its first octet may be enough to refuse it.
fn decode_start<'a>(input: &'a [u8]) -> Result<Decoded<Frame<'a>>, FrameError> {
    match input.first() {
        Some(&kind) if !is_known(kind) => Err(FrameError::UnknownType(kind)),
        Some(_) | None => Ok(Decoded::NeedMore { bytes_min: 7 }),
    }
}

const fn is_known(kind: u8) -> bool {
    matches!(kind, METHOD | HEADER | BODY | HEARTBEAT)
}

/// Octets of payload a frame of ours may have.
pub fn payload_bytes_max(frame_bytes_max: u32) -> usize {
    let max = if frame_bytes_max == 0 { u32::MAX } else { frame_bytes_max };
    // At least one, or a body would never be sent; no session negotiates less than 4096.
    usize::try_from(max).unwrap_or(usize::MAX).saturating_sub(OVERHEAD_BYTES).max(1)
}

/// Appends a frame with what `payload` writes.
#[inline]
fn put_frame(out: &mut Vec<u8>, kind: u8, channel: u16, payload: impl FnOnce(&mut Vec<u8>)) {
    out.push(kind);
    put_u16(out, channel);
    put_long_with(out, payload);
    out.push(END);
}

/// Appends a method frame; `payload` writes class id, method id and arguments.
#[inline]
pub fn put_method_frame(out: &mut Vec<u8>, channel: u16, payload: impl FnOnce(&mut Vec<u8>)) {
    put_frame(out, METHOD, channel, payload);
}

/// Appends a method as a frame.
#[inline]
pub fn put_method(out: &mut Vec<u8>, channel: u16, method: &impl Encode) {
    put_frame(out, METHOD, channel, |out| method.encode(out));
}

/// Appends the header of a content of `body_bytes` octets; `properties` is a property block,
/// flags and values.
#[inline]
pub fn put_header_frame(out: &mut Vec<u8>, channel: u16, body_bytes: u64, properties: &[u8]) {
    put_frame(out, HEADER, channel, |out| {
        put_u16(out, CONTENT_CLASS);
        put_u16(out, 0);
        put_u64(out, body_bytes);
        out.extend_from_slice(properties);
    });
}

/// Appends a body in as many frames as it takes, none for an empty one (P4).
#[inline]
pub fn put_body_frames(out: &mut Vec<u8>, channel: u16, body: &[u8], frame_bytes_max: u32) {
    for piece in body.chunks(payload_bytes_max(frame_bytes_max)) {
        out.push(BODY);
        put_u16(out, channel);
        // A piece is at most u32::MAX - 8 octets.
        put_u32(out, u32::try_from(piece.len()).unwrap_or(u32::MAX));
        out.extend_from_slice(piece);
        out.push(END);
    }
}

/// Appends a method with content (basic.publish, deliver, get-ok, return): method, header and
/// body frames. `properties` is a property block, flags and values.
#[inline]
pub fn put_content(
    out: &mut Vec<u8>,
    channel: u16,
    method: &impl Encode,
    properties: &[u8],
    body: &[u8],
    frame_bytes_max: u32,
) {
    // Method with its strings, header, one frame of body: one growth of the vector, not many.
    const USUAL_BYTES: usize = 128;
    out.reserve(USUAL_BYTES.saturating_add(properties.len()).saturating_add(body.len()));
    put_method(out, channel, method);
    let body_bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
    put_header_frame(out, channel, body_bytes, properties);
    put_body_frames(out, channel, body, frame_bytes_max);
}

/// Appends a heartbeat.
pub fn put_heartbeat(out: &mut Vec<u8>) {
    out.extend_from_slice(&HEARTBEAT_FRAME);
}
