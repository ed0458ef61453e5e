//! The octets around the bodies of a consumer's deliveries, which hardly ever change: comparing
//! them costs less than reading them. Imports the codec.

use ringmq::protocol::amqp091::wire::frame::{self, Frame};
use ringmq::protocol::amqp091::wire::method::{Basic, Method};
use ringmq::protocol::amqp091::wire::properties::ContentHeader;
use ringmq::protocol::octets::Decoded;

/// basic.deliver, header and body, each in one frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// From the start to the delivery tag.
    before_tag: Vec<u8>,
    /// From behind `redelivered` to the body.
    before_body: Vec<u8>,
    /// Octets of the body and the frame's end.
    body_and_end_bytes: usize,
}

/// Octets of class, method and the length of the consumer tag.
const BEFORE_CONSUMER_TAG_BYTES: usize = 5;
/// Octets of a delivery tag and `redelivered`.
const TAG_AND_REDELIVERED_BYTES: usize = 9;
/// Octets of a frame before its payload.
const FRAME_HEAD_BYTES: usize = 7;

/// A delivery that has the shape.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shaped<'a> {
    /// The delivery tag.
    pub(crate) tag: u64,
    /// The body.
    pub(crate) body: &'a [u8],
    /// What follows.
    pub(crate) rest: &'a [u8],
}

impl Shape {
    /// The shape of the delivery at the front of `input`, if it is there as a whole and its body
    /// in one frame.
    pub(crate) fn learn(input: &[u8], frame_bytes_max: u32) -> Option<Self> {
        let next = |input| match frame::decode(input, frame_bytes_max) {
            Ok(Decoded::Frame { frame, taken }) => Some((frame, input.get(taken..)?)),
            Ok(Decoded::NeedMore { .. }) | Err(_) => None,
        };
        let (Frame::Method { payload, .. }, rest) = next(input)? else { return None };
        let Ok(Method::Basic(Basic::Deliver(deliver))) = Method::decode(payload) else {
            return None;
        };
        let (Frame::Header { payload, .. }, rest) = next(rest)? else { return None };
        let header = ContentHeader::decode(payload).ok()?;
        let before_body_end = input.len().checked_sub(rest.len())?.checked_add(FRAME_HEAD_BYTES)?;
        let (Frame::Body { payload, .. }, _) = next(rest)? else { return None };
        if u64::try_from(payload.len()) != Ok(header.body_bytes) {
            return None;
        }
        let tag_at = FRAME_HEAD_BYTES
            .checked_add(BEFORE_CONSUMER_TAG_BYTES)?
            .checked_add(deliver.consumer_tag.len())?;
        let behind_redelivered = tag_at.checked_add(TAG_AND_REDELIVERED_BYTES)?;
        Some(Self {
            before_tag: input.get(..tag_at)?.to_vec(),
            before_body: input.get(behind_redelivered..before_body_end)?.to_vec(),
            body_and_end_bytes: payload.len().checked_add(1)?,
        })
    }

    /// Octets of a delivery with all its frames.
    pub(crate) fn message_bytes(&self) -> usize {
        let fixed = self.before_tag.len().saturating_add(self.before_body.len());
        fixed.saturating_add(TAG_AND_REDELIVERED_BYTES).saturating_add(self.body_and_end_bytes)
    }

    /// The delivery at the front of `input` if it is whole, is not a redelivery and has this
    /// shape.
    #[inline]
    pub(crate) fn split<'a>(&self, input: &'a [u8]) -> Option<Shaped<'a>> {
        let rest = input.strip_prefix(self.before_tag.as_slice())?;
        let (tag, rest) = rest.split_first_chunk::<8>()?;
        let rest = rest.strip_prefix(&[0])?.strip_prefix(self.before_body.as_slice())?;
        let (body_and_end, rest) = rest.split_at_checked(self.body_and_end_bytes)?;
        let (&frame::END, body) = body_and_end.split_last()? else { return None };
        Some(Shaped { tag: u64::from_be_bytes(*tag), body, rest })
    }
}

#[cfg(test)]
mod tests {
    use ringmq::protocol::amqp091::wire::method::basic::Deliver;

    use super::*;

    fn delivery(delivery_tag: u64, key: &str, body: &[u8]) -> Vec<u8> {
        let deliver = Deliver {
            consumer_tag: "c0",
            delivery_tag,
            redelivered: false,
            exchange: "x",
            routing_key: key,
        };
        let mut out = Vec::new();
        frame::put_content(&mut out, 1, &deliver, &[0x10, 0, 2], body, 4096);
        out
    }

    #[test]
    fn the_next_delivery_has_the_shape_of_the_last() {
        let shape = Shape::learn(&delivery(1, "key", b"first"), 4096).unwrap();
        let next = [delivery(0x0102_0304, "key", b"other"), b"rest".to_vec()].concat();
        let expected = Shaped { tag: 0x0102_0304, body: b"other", rest: b"rest" };
        assert_eq!(shape.split(&next), Some(expected));
        assert_eq!(shape.message_bytes(), next.len() - b"rest".len());
    }

    #[test]
    fn other_shapes_are_left_to_the_codec() {
        let shape = Shape::learn(&delivery(1, "key", b"first"), 4096).unwrap();
        assert_eq!(shape.split(&delivery(2, "kex", b"first")), None);
        assert_eq!(shape.split(&delivery(2, "key", b"longer")), None);
        let whole = delivery(2, "key", b"other");
        for end in 0..whole.len() {
            assert_eq!(shape.split(&whole[..end]), None);
        }
        let mut wrong_end = whole;
        *wrong_end.last_mut().unwrap() = 0;
        assert_eq!(shape.split(&wrong_end), None);
    }

    #[test]
    fn a_delivery_that_is_not_whole_or_in_several_frames_teaches_nothing() {
        let whole = delivery(1, "key", b"first");
        for end in 0..whole.len() {
            assert_eq!(Shape::learn(&whole[..end], 4096), None);
        }
        assert_eq!(Shape::learn(&delivery(1, "key", &[7; 5000]), 4096), None);
    }
}
