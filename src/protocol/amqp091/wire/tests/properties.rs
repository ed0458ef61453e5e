//! Content headers and properties: round trip, cut at every octet, refused values.

use proptest::prelude::*;

use super::tables::any_table;
use crate::protocol::amqp091::wire::fuzzing;
use crate::protocol::amqp091::wire::properties::{
    ContentHeader, Properties, PropertyScan, expiration_ms,
};
use crate::protocol::amqp091::wire::table_buffer::TableBuffer;
use crate::protocol::octets::WireError;
use crate::value::Value;

/// All fourteen, by hand: a text property is one letter, `n` of the wire's order.
const ALL: &[u8] = b"\xFF\xFC\x01a\x01b\0\0\0\x04\x01cb\x03\x02\x05\x01f\x01g\x01h\x01i\
    \0\0\0\0\0\0\0\x0A\x01k\x01l\x01m\x01n";

#[test]
fn all_fourteen_properties_are_read_in_their_order() {
    let properties = Properties::decode(ALL).unwrap();
    assert_eq!(properties.content_type, Some(&b"a"[..]));
    assert_eq!(properties.content_encoding, Some(&b"b"[..]));
    assert_eq!(properties.headers.unwrap().as_bytes(), b"\x01cb\x03");
    assert_eq!((properties.delivery_mode, properties.priority), (Some(2), Some(5)));
    assert_eq!(properties.correlation_id, Some(&b"f"[..]));
    assert_eq!(properties.reply_to, Some(&b"g"[..]));
    assert_eq!(properties.expiration, Some(&b"h"[..]));
    assert_eq!(properties.message_id, Some(&b"i"[..]));
    assert_eq!(properties.timestamp, Some(10));
    assert_eq!(properties.kind, Some(&b"k"[..]));
    assert_eq!(properties.user_id, Some(&b"l"[..]));
    assert_eq!(properties.app_id, Some(&b"m"[..]));
    assert_eq!(properties.cluster_id, Some(&b"n"[..]));
    assert_eq!(properties.to_block(), ALL);
}

#[test]
fn the_scan_finds_what_publishing_needs() {
    let scan = PropertyScan::of(ALL).unwrap();
    assert_eq!((scan.delivery_mode, scan.priority), (Some(2), Some(5)));
    assert_eq!(scan.reply_to, Some(&b"g"[..]));
    assert_eq!(scan.expiration, Some(&b"h"[..]));
    assert_eq!(scan.user_id, Some(&b"l"[..]));
    assert_eq!(scan.headers.unwrap().as_bytes(), b"\x01cb\x03");
    assert_eq!(scan.headers_at, 10);
    assert_eq!(PropertyScan::of(&[0, 0]), Ok(PropertyScan::default()));
}

#[test]
fn a_block_cut_at_any_octet_is_refused() {
    for cut in 0..ALL.len() {
        assert!(matches!(PropertyScan::of(&ALL[..cut]), Err(WireError::Short { .. })));
        assert!(Properties::decode(&ALL[..cut]).is_err());
    }
}

#[test]
fn octets_behind_the_last_property_are_refused() {
    let trailing = WireError::Trailing { offset: 3, have: 1 };
    assert_eq!(PropertyScan::of(&[0x10, 0, 2, 0]), Err(trailing));
}

/// Abuse row 25.
#[test]
fn flags_may_continue_once_if_there_is_nothing_to_say() {
    assert_eq!(Properties::decode(&[0x10, 1, 0, 0, 2]).unwrap().delivery_mode, Some(2));
    for flags in [&[0, 1, 0, 1, 0, 1, 0, 1][..], &[0, 1, 0, 1], &[0, 1, 0x80, 0], &[0, 2]] {
        assert!(matches!(PropertyScan::of(flags), Err(WireError::Refused { .. })), "{flags:?}");
    }
    assert!(matches!(PropertyScan::of(&[0, 1]), Err(WireError::Short { .. })));
}

/// Abuse row 14, 15: class, weight and size are the session's to judge.
#[test]
fn a_header_tells_class_weight_and_size_as_they_are() {
    let wire = b"\0\x3C\0\x01\x80\0\0\0\0\0\0\0\x10\0\x02";
    let header = ContentHeader::decode(wire).unwrap();
    assert_eq!((header.class, header.weight, header.body_bytes), (60, 1, 1 << 63));
    assert_eq!(header.properties, [0x10, 0, 2]);
    // The properties of another class are unknown: that is 505, not 502.
    let other = b"\0\x32\0\0\0\0\0\0\0\0\0\0\xFF\xFF";
    assert_eq!(ContentHeader::decode(other).unwrap().class, 50);
    assert!(ContentHeader::decode(&wire[..11]).is_err());
}

/// Abuse row 24: what an application wrote leaves as it came.
#[test]
fn texts_may_be_any_octets() {
    let block = [0x04, 0, 3, 0xFF, 0, 0xFE];
    let properties = Properties::decode(&block).unwrap();
    assert_eq!(properties.correlation_id, Some(&[0xFF, 0, 0xFE][..]));
    assert_eq!(properties.to_block(), block);
}

/// P71: dead-lettering takes the expiration away and adds a header; all else stays, letters too.
#[test]
fn a_change_of_properties_leaves_the_others_as_they_came() {
    let block = b"\x21\0\0\0\0\x0B\x01aL\0\0\0\0\0\0\0\x07\x0260";
    let mut properties = Properties::decode(block).unwrap();
    let mut headers = TableBuffer::from(properties.headers.unwrap());
    headers.set("x", &Value::Bool(true)).unwrap();
    properties.headers = Some(headers.view());
    properties.expiration = None;
    properties.reply_to = Some(b"r");
    assert_eq!(properties.to_block(), b"\x22\0\0\0\0\x0F\x01aL\0\0\0\0\0\0\0\x07\x01xt\x01\x01r");
}

/// Abuse row 26.
#[test]
fn an_expiration_is_digits_and_fits() {
    assert_eq!(expiration_ms(b"0"), Some(0));
    assert_eq!(expiration_ms(b"0060000"), Some(60_000));
    assert_eq!(expiration_ms(b"18446744073709551615"), Some(u64::MAX));
    for bad in [&b""[..], b"-1", b"+1", b"1e9", b" 1", b"1.0", b"99999999999999999999", b"\xFF"] {
        assert_eq!(expiration_ms(bad), None);
    }
}

type Texts = [Option<Vec<u8>>; 10];

fn any_texts() -> impl Strategy<Value = Texts> {
    let text = || prop::option::of(prop::collection::vec(any::<u8>(), 0..30));
    prop::array::uniform10(text())
}

proptest! {
    #[test]
    fn any_properties_come_back_the_same(
        texts in any_texts(),
        headers in prop::option::of(any_table()),
        delivery_mode: Option<u8>,
        priority: Option<u8>,
        timestamp: Option<u64>,
    ) {
        let headers = headers.map(|table| TableBuffer::from_table(&table).unwrap());
        let text = |n: usize| texts[n].as_deref();
        let properties = Properties {
            content_type: text(0),
            content_encoding: text(1),
            headers: headers.as_ref().map(TableBuffer::view),
            delivery_mode,
            priority,
            correlation_id: text(2),
            reply_to: text(3),
            expiration: text(4),
            message_id: text(5),
            timestamp,
            kind: text(6),
            user_id: text(7),
            app_id: text(8),
            cluster_id: text(9),
        };
        let block = properties.to_block();
        prop_assert_eq!(Properties::decode(&block), Ok(properties));
        let payload = [&b"\0\x3C\0\0\0\0\0\0\0\0\0\0"[..], &block].concat();
        fuzzing::amqp_properties(&payload);
        for cut in 0..block.len() {
            prop_assert!(PropertyScan::of(&block[..cut]).is_err());
        }
    }

    #[test]
    fn any_octets_are_properties_or_refused(octets in prop::collection::vec(any::<u8>(), 0..60)) {
        fuzzing::amqp_properties(&[&b"\0\x3C\0\0\0\0\0\0\0\0\0\0"[..], &octets].concat());
    }
}
