//! Fixed headers.

use super::super::header::{Header, Kind, header};
use super::super::reason_code::ReasonCode;
use super::super::{PACKET_BYTES_MAX, Sender, Version};
use super::refusal;
use crate::protocol::octets::Decoded;

fn length(wire: &[u8]) -> Option<usize> {
    match header(wire, PACKET_BYTES_MAX) {
        Ok(Decoded::Frame { frame, .. }) => Some(frame.body_bytes),
        Ok(Decoded::NeedMore { .. }) | Err(_) => None,
    }
}

/// 2.2.3 (3.1.1), 2.1.4 (5.0): the table of sizes.
#[test]
fn a_remaining_length_has_one_to_four_octets() {
    for (octets, value) in [
        (&b"\x30\0"[..], 0),
        (b"\x30\x7f", 127),
        (b"\x30\x80\x01", 128),
        (b"\x30\xff\x7f", 16_383),
        (b"\x30\x80\x80\x01", 16_384),
        (b"\x30\xff\xff\x7f", 2_097_151),
        (b"\x30\x80\x80\x80\x01", 2_097_152),
        (b"\x30\xff\xff\xff\x7f", 268_435_455),
    ] {
        assert_eq!(length(octets), Some(value));
    }
    for octets in [&b""[..], b"\x30", b"\x30\x80", b"\x30\xff\xff\xff"] {
        assert!(matches!(header(octets, PACKET_BYTES_MAX), Ok(Decoded::NeedMore { .. })));
    }
    let fifth = header(b"\x30\xff\xff\xff\xff", PACKET_BYTES_MAX);
    assert_eq!(fifth.map_err(|fault| fault.code), Err(ReasonCode::MalformedPacket));
}

/// MQTT-1.5.5-1 (5.0); 3.1 and 3.1.1 do not ask for it.
#[test]
fn a_remaining_length_that_is_longer_than_it_needs_is_refused_in_version_5_only() {
    let wire = b"\xc0\x80\0";
    assert_eq!(refusal(wire, Version::V4, Sender::Client), None);
    assert_eq!(refusal(wire, Version::V5, Sender::Client), Some(ReasonCode::MalformedPacket));
}

/// MQTT-3.2.2-15 (5.0): the header alone is enough.
#[test]
fn a_packet_that_is_too_large_is_refused_at_its_header() {
    let wire = b"\x30\x80\x01";
    let too_large = header(wire, 130).map_err(|fault| fault.code);
    assert_eq!(too_large, Err(ReasonCode::PacketTooLarge));
    let fits = Header { kind: Kind::Publish, flags: 0, head_bytes: 3, body_bytes: 128 };
    assert_eq!(header(wire, 131), Ok(Decoded::Frame { frame: fits, taken: 3 }));
}

/// MQTT-2.1.2 (5.0): type 0 is forbidden.
#[test]
fn packet_type_0_is_refused_at_its_first_octet() {
    for first in 0..16 {
        assert!(header(&[first], PACKET_BYTES_MAX).is_err());
    }
    for first in 16..=255 {
        assert_eq!(header(&[first], PACKET_BYTES_MAX), Ok(Decoded::NeedMore { bytes_min: 2 }));
    }
}
