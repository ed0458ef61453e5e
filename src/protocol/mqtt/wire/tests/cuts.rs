//! Packets that end too early.

use super::super::header::{Kind, header, split};
use super::super::packet::Packet;
use super::super::{PACKET_BYTES_MAX, Version};
use super::samples::SAMPLES;
use super::{decode, packet, whole};
use crate::protocol::octets::Decoded;

#[test]
fn every_sample_is_a_packet_and_is_written_as_it_was() {
    for (version, from, wire) in SAMPLES {
        let packet = decode(wire, *version, *from);
        assert!(packet.is_ok(), "{version:?} {wire:02x?}: {packet:?}");
        super::super::fuzzing::mqtt_packet(wire);
        let mut again = Vec::new();
        assert_eq!(packet.unwrap().put(&mut again, *version, PACKET_BYTES_MAX), Ok(()));
        assert_eq!(again.len(), wire.len(), "{version:?} {wire:02x?} {again:02x?}");
    }
}

#[test]
fn a_packet_that_is_not_whole_needs_more_octets() {
    for (_, _, wire) in SAMPLES {
        for cut in 0..wire.len() {
            let bytes_min = match split(&wire[..cut], PACKET_BYTES_MAX) {
                Ok(Decoded::NeedMore { bytes_min }) => bytes_min,
                other => panic!("{wire:02x?} cut at {cut}: {other:?}"),
            };
            assert!(bytes_min > cut && bytes_min <= wire.len());
        }
    }
}

/// A body that ends at any octet is refused unless what is left is a packet too, and then it is
/// written as just that.
#[test]
fn a_body_that_ends_too_early_is_never_taken_for_the_whole_one() {
    for (version, from, wire) in SAMPLES {
        let body = whole(wire).unwrap().body;
        for cut in 0..body.len() {
            let shorter = packet(wire[0], &body[..cut]);
            let Ok(read) = decode(&shorter, *version, *from) else { continue };
            let kind = whole(&shorter).unwrap().header.kind;
            let may_be_shorter = match read {
                Packet::Publish(_)
                | Packet::Ack(_)
                | Packet::Subscribe(_)
                | Packet::Unsubscribe(_)
                | Packet::Suback(_)
                | Packet::Disconnect(_)
                | Packet::Auth(_) => true,
                Packet::Connect(_) => *version == Version::V3,
                Packet::Connack(_) | Packet::Pingreq | Packet::Pingresp => false,
            };
            assert!(may_be_shorter, "{kind:?} {version:?} cut at {cut}");
            assert_ne!(Ok(read), decode(wire, *version, *from), "{kind:?} cut at {cut}");
            let mut again = Vec::new();
            read.put(&mut again, *version, PACKET_BYTES_MAX).unwrap();
            assert_eq!(again.len(), shorter.len(), "{kind:?} cut at {cut}");
        }
    }
}

#[test]
fn octets_behind_the_end_of_a_packet_are_refused_where_nothing_may_follow() {
    for (version, from, wire) in SAMPLES {
        let raw = whole(wire).unwrap();
        let ends_with_a_list = match raw.header.kind {
            Kind::Publish | Kind::Subscribe | Kind::Unsubscribe | Kind::Suback => true,
            Kind::Unsuback => *version == Version::V5,
            Kind::Connect
            | Kind::Connack
            | Kind::Puback
            | Kind::Pubrec
            | Kind::Pubrel
            | Kind::Pubcomp
            | Kind::Pingreq
            | Kind::Pingresp
            | Kind::Disconnect
            | Kind::Auth => false,
        };
        // A result without properties may have some: zero octets of them, or a code.
        let mut body = raw.body.to_vec();
        body.extend_from_slice(&[0xFF; 3]);
        let longer = packet(wire[0], &body);
        assert!(ends_with_a_list || decode(&longer, *version, *from).is_err(), "{longer:02x?}");
    }
}

#[test]
fn the_header_is_known_before_the_body_is_there() {
    let Ok(Decoded::Frame { frame, taken }) = header(b"\x32\x80\x01", PACKET_BYTES_MAX) else {
        panic!("a header")
    };
    assert_eq!(
        (frame.kind, frame.flags, frame.head_bytes, frame.body_bytes),
        (Kind::Publish, 2, 3, 128)
    );
    assert_eq!((taken, frame.packet_bytes()), (3, 131));
}
