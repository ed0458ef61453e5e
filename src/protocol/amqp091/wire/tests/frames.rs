//! Frames: round trip, cut at every octet, refused values.

use proptest::prelude::*;

use crate::protocol::amqp091::wire::frame::{self, Frame, FrameError, decode};
use crate::protocol::amqp091::wire::method::{Basic, Connection, basic};
use crate::protocol::octets::Decoded;

/// Frames at the front of `input`, and what stopped: the octets left, or the error.
fn all(mut input: &[u8], max: u32) -> (Vec<Frame<'_>>, Result<usize, FrameError>) {
    let mut frames = Vec::new();
    loop {
        match decode(input, max) {
            Ok(Decoded::Frame { frame, taken }) => {
                frames.push(frame);
                input = &input[taken..];
            }
            Ok(Decoded::NeedMore { bytes_min }) => {
                assert!(bytes_min > input.len());
                return (frames, Ok(input.len()));
            }
            Err(error) => return (frames, Err(error)),
        }
    }
}

fn head(kind: u8, size: u32) -> Vec<u8> {
    let mut head = vec![kind, 0, 1];
    head.extend_from_slice(&size.to_be_bytes());
    head
}

const PUBLISH: basic::Publish<'_> = basic::Publish {
    ticket: 0,
    exchange: "logs",
    routing_key: "a.b",
    mandatory: true,
    immediate: false,
};

/// P4: a body larger than frame_max - 8 is split, an empty one has no frame.
#[test]
fn a_content_is_a_method_a_header_and_as_many_bodies_as_it_takes() {
    let body = vec![7; 10_000];
    let mut wire = Vec::new();
    frame::put_content(&mut wire, 3, &PUBLISH, &[0, 0], &body, 4096);
    let (frames, left) = all(&wire, 4096);
    assert_eq!(left, Ok(0));
    let pieces: Vec<usize> = frames[2..]
        .iter()
        .map(|f| if let Frame::Body { channel: 3, payload } = f { payload.len() } else { 0 })
        .collect();
    assert_eq!(pieces, [4088, 4088, 1824]);

    wire.clear();
    frame::put_content(&mut wire, 3, &PUBLISH, &[0, 0], b"", 4096);
    assert_eq!(all(&wire, 4096).0.len(), 2);
}

#[test]
fn without_a_limit_a_body_is_one_frame() {
    let body = vec![7; 1 << 20];
    let mut wire = Vec::new();
    frame::put_body_frames(&mut wire, 1, &body, 0);
    assert_eq!(wire.len(), body.len() + frame::OVERHEAD_BYTES);
    assert_eq!(all(&wire, 0).0, [Frame::Body { channel: 1, payload: &body }]);
}

#[test]
fn a_stream_cut_at_any_octet_yields_a_front_of_its_frames_and_waits() {
    let mut wire = Vec::new();
    frame::put_method(&mut wire, 0, &Connection::CloseOk);
    frame::put_content(&mut wire, 9, &PUBLISH, &[0x10, 0, 2], &[1; 40], 32);
    frame::put_heartbeat(&mut wire);
    let (whole, left) = all(&wire, 4096);
    assert_eq!((whole.len(), left), (6, Ok(0)));
    for cut in 0..wire.len() {
        let (frames, left) = all(&wire[..cut], 4096);
        assert!(left.is_ok());
        assert_eq!(frames[..], whole[..frames.len()]);
    }
}

#[test]
fn need_more_says_exactly_how_much() {
    let mut wire = Vec::new();
    frame::put_method(&mut wire, 1, &Basic::QosOk);
    assert_eq!(decode(&wire[..1], 4096), Ok(Decoded::NeedMore { bytes_min: 7 }));
    assert_eq!(decode(&wire[..7], 4096), Ok(Decoded::NeedMore { bytes_min: wire.len() }));
    assert_eq!(decode(b"", 4096), Ok(Decoded::NeedMore { bytes_min: 7 }));
}

/// Abuse rows 5, 6, 7: refused by the head alone.
#[test]
fn a_frame_over_the_limit_is_refused_before_its_payload_came() {
    for size in [4097, u32::MAX - 8, u32::MAX - 7, u32::MAX] {
        let too_large = Err(FrameError::TooLarge { size, max: 4096 });
        assert_eq!(decode(&head(frame::BODY, size), 4096), too_large);
    }
    let unlimited = Ok(Decoded::NeedMore { bytes_min: 4_294_967_303 });
    assert_eq!(decode(&head(frame::BODY, u32::MAX), 0), unlimited);
}

/// P5: RabbitMQ tolerates 8 octets more, for clients that count the payload alone.
#[test]
fn a_payload_as_long_as_the_limit_is_tolerated() {
    let mut wire = head(frame::BODY, 4096);
    wire.extend_from_slice(&[0; 4096]);
    wire.push(frame::END);
    assert_eq!(all(&wire, 4096).0, [Frame::Body { channel: 1, payload: &[0; 4096] }]);
}

/// Abuse rows 8, 9, 12.
#[test]
fn a_bad_end_an_unknown_type_and_a_heartbeat_with_payload_are_refused() {
    let mut wire = head(frame::BODY, 1);
    wire.extend_from_slice(&[0, 0xCF]);
    assert_eq!(decode(&wire, 4096), Err(FrameError::BadEnd { have: 0xCF }));
    for kind in [0, 4, 5, 7, 9, 255] {
        assert_eq!(decode(&[kind], 4096), Err(FrameError::UnknownType(kind)));
        assert_eq!(decode(&head(kind, 0), 4096), Err(FrameError::UnknownType(kind)));
    }
    let size = 1;
    assert_eq!(
        decode(&head(frame::HEARTBEAT, size), 4096),
        Err(FrameError::HeartbeatPayload { size })
    );
}

/// P10: the session answers 505, so the channel must be seen.
#[test]
fn a_heartbeat_tells_its_channel() {
    let mut wire = head(frame::HEARTBEAT, 0);
    wire.push(frame::END);
    assert_eq!(all(&wire, 4096).0, [Frame::Heartbeat { channel: 1 }]);
}

proptest! {
    #[test]
    fn any_content_comes_back_whole(
        channel: u16,
        body in prop::collection::vec(any::<u8>(), 0..3000),
        max in 9_u32..1000,
    ) {
        let mut wire = Vec::new();
        frame::put_header_frame(&mut wire, channel, body.len() as u64, &[0, 0]);
        let header = wire.len();
        frame::put_body_frames(&mut wire, channel, &body, max);
        let (frames, left) = all(&wire[header..], max);
        prop_assert_eq!(left, Ok(0));
        let mut again = Vec::new();
        for frame in frames {
            let Frame::Body { channel: c, payload } = frame else { panic!("{frame:?}") };
            prop_assert_eq!(c, channel);
            prop_assert!(!payload.is_empty() && payload.len() + 8 <= max as usize);
            again.extend_from_slice(payload);
        }
        prop_assert_eq!(again, body);
    }

    #[test]
    fn any_octets_are_frames_or_refused(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        crate::protocol::amqp091::wire::fuzzing::amqp_frame(&octets);
    }
}
