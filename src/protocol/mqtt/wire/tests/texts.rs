//! Texts on the wire.

use super::super::encode::{Sink, fit};
use super::super::input::Input;
use super::super::reason_code::ReasonCode;
use super::super::{Sender, Version};
use super::{packet, refusal};

const BAD: &[&[u8]] = &[
    b"\xed\xa0\x80",     // U+D800
    b"\xed\xbf\xbf",     // U+DFFF
    b"\0",               // U+0000
    b"a\0b",             // the same within
    b"\xc0\x80",         // U+0000, over-long
    b"\xff",             // no octet of UTF-8
    b"\xc3",             // cut
    b"\xf4\x90\x80\x80", // beyond U+10FFFF
];

fn text(octets: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    wire.binary(octets);
    wire
}

/// MQTT-1.5.3-1, -2 (3.1.1), MQTT-1.5.4-1, -2 (5.0)
#[test]
fn a_text_is_utf_8_without_surrogates_and_nul() {
    for bad in BAD {
        let wire = text(bad);
        let code = Input::new(&wire).text().map_err(|fault| fault.code);
        assert_eq!(code, Err(ReasonCode::MalformedPacket), "{bad:02x?}");
    }
}

/// MQTT-1.5.3-3 (3.1.1), MQTT-1.5.4-3 (5.0)
#[test]
fn a_byte_order_mark_is_text() {
    let wire = text(b"\xef\xbb\xbfa");
    assert_eq!(Input::new(&wire).text(), Ok("\u{feff}a"));
}

/// MQTT-3.1.3-4, -10, -11, MQTT-3.3.2-1, MQTT-3.8.3-1, MQTT-3.10.3-1 (3.1.1), MQTT-3.1.3-4, -11,
/// -12, MQTT-3.3.2-1, MQTT-3.8.3-1, MQTT-3.10.3-1, MQTT-1.5.7-1 (5.0)
#[test]
fn every_text_of_every_packet_is_looked_at() {
    for bad in BAD {
        let bad = text(bad);
        let connect = |flags: u8, before: &[u8], after: &[u8]| {
            packet(0x10, &[b"\0\x04MQTT\x04", &[flags, 0, 0][..], before, &bad, after].concat())
        };
        let v4 = [
            connect(0x02, b"", b""),
            connect(0x06, b"\0\x01c", b"\0\0"),
            connect(0x82, b"\0\x01c", b""),
            packet(0x30, &bad),
            packet(0x82, &[b"\0\x01", &bad[..], b"\0"].concat()),
            packet(0xa2, &[b"\0\x01", &bad[..]].concat()),
        ];
        for wire in &v4 {
            let refused = refusal(wire, Version::V4, Sender::Client);
            assert_eq!(refused, Some(ReasonCode::MalformedPacket), "{wire:02x?}");
        }
        for properties in [
            [b"\x26", &bad[..], b"\0\0"].concat(),
            [b"\x26\0\0", &bad[..]].concat(),
            [b"\x03", &bad[..]].concat(),
            [b"\x08", &bad[..]].concat(),
        ] {
            let mut block = vec![0, 1, b't'];
            block.variable(u32::try_from(properties.len()).unwrap());
            block.extend_from_slice(&properties);
            let wire = packet(0x30, &block);
            let refused = refusal(&wire, Version::V5, Sender::Client);
            assert_eq!(refused, Some(ReasonCode::MalformedPacket), "{wire:02x?}");
        }
    }
}

/// MQTT-1.5.5-1 (5.0)
#[test]
fn a_number_of_variable_length_is_as_short_as_it_can_be() {
    for n in [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 268_435_455] {
        let mut wire = Vec::new();
        wire.variable(n);
        assert_eq!(wire.len(), super::super::encode::variable_bytes(n));
        assert_eq!(Input::new(&wire).variable(), Ok(n));
    }
    for bad in [
        &b"\x80\0"[..],
        b"\x81\0",
        b"\xff\x80\0",
        b"\x80\x80\x80\0",
        b"\xff\xff\xff\xff",
        b"\x80\x80\x80\x80\x01",
        b"\x80",
        b"",
    ] {
        assert!(Input::new(bad).variable().is_err(), "{bad:02x?}");
    }
}

#[test]
fn a_text_that_is_too_long_is_cut_between_letters() {
    let long = format!("{}\u{e9}", "a".repeat(65_534));
    assert_eq!(fit(&long).len(), 65_534);
    assert_eq!(fit("short"), "short");
    let mut wire = Vec::new();
    wire.text(&long);
    assert_eq!(Input::new(&wire).text(), Ok(fit(&long)));
}
