//! Properties against mqtt.md 2.4: every one in every place.

use super::super::properties::scan;
use super::super::property_table::{DEFINITIONS, Definition, Place, Rule, Type, definition};
use super::super::reason_code::ReasonCode;

use Place::{
    Auth, Connack, Connect, Disconnect, Puback, Pubcomp, Publish, Pubrec, Pubrel, Suback,
    Subscribe, Unsuback, Unsubscribe, Will,
};

const RESULTS: &[Place] =
    &[Connack, Puback, Pubrec, Pubrel, Pubcomp, Suback, Unsuback, Disconnect, Auth];

/// 2.2.2.2 (5.0): number, a value in octets, where it may stand.
const TABLE: &[(u8, &[u8], &[Place])] = &[
    (0x01, b"\x01", &[Publish, Will]),
    (0x02, b"\0\0\0\0", &[Publish, Will]),
    (0x03, b"\0\x01t", &[Publish, Will]),
    (0x08, b"\0\x01r", &[Publish, Will]),
    (0x09, b"\0\x01\xff", &[Publish, Will]),
    (0x0B, b"\x01", &[Publish, Subscribe]),
    (0x11, b"\xff\xff\xff\xff", &[Connect, Connack, Disconnect]),
    (0x12, b"\0\x01i", &[Connack]),
    (0x13, b"\0\0", &[Connack]),
    (0x15, b"\0\x01m", &[Connect, Connack, Auth]),
    (0x16, b"\0\x01\0", &[Connect, Connack, Auth]),
    (0x17, b"\0", &[Connect]),
    (0x18, b"\0\0\0\0", &[Will]),
    (0x19, b"\x01", &[Connect]),
    (0x1A, b"\0\0", &[Connack]),
    (0x1C, b"\0\x01s", &[Connack, Disconnect]),
    (0x1F, b"\0\x01r", RESULTS),
    (0x21, b"\0\x01", &[Connect, Connack]),
    (0x22, b"\0\0", &[Connect, Connack]),
    (0x23, b"\0\x01", &[Publish]),
    (0x24, b"\0", &[Connack]),
    (0x25, b"\0", &[Connack]),
    (0x26, b"\0\x01a\0\x01b", &Place::ALL),
    (0x27, b"\0\0\0\x01", &[Connect, Connack]),
    (0x28, b"\0", &[Connack]),
    (0x29, b"\x01", &[Connack]),
    (0x2A, b"\0", &[Connack]),
];

fn read(block: &[u8], place: Place) -> Result<Vec<u8>, ReasonCode> {
    let mut found = Vec::new();
    scan(block, place, |id, _, octets| {
        assert!(octets >= 2);
        found.push(id);
    })
    .map(|()| found)
    .map_err(|fault| fault.code)
}

fn with(id: u8, value: &[u8]) -> Vec<u8> {
    [&[id], value].concat()
}

/// 2.2.2.2 (5.0): one of another packet is malformed; other chapters and abuse row 72 call it a
/// protocol error.
#[test]
fn every_property_stands_where_it_may_and_nowhere_else() {
    assert_eq!(TABLE.len(), DEFINITIONS.len());
    for (id, value, places) in TABLE {
        for place in Place::ALL {
            let expected = if places.contains(&place) {
                Ok(vec![*id])
            } else if matches!(place, Subscribe | Unsubscribe) {
                Err(ReasonCode::MalformedPacket)
            } else {
                Err(ReasonCode::ProtocolError)
            };
            assert_eq!(read(&with(*id, value), place), expected, "{id:#x} in {place:?}");
        }
    }
}

#[test]
fn what_is_no_property_is_malformed() {
    let known: Vec<u8> = TABLE.iter().map(|(id, _, _)| *id).collect();
    for id in 0..=127_u8 {
        assert_eq!(definition(id.into()).is_some(), known.contains(&id));
        if !known.contains(&id) {
            assert_eq!(read(&with(id, &[0; 8]), Publish), Err(ReasonCode::MalformedPacket));
        }
    }
    for id in [128, 0x8000, u32::MAX] {
        assert_eq!(definition(id), None);
    }
    // The number of a property is one of variable length too (MQTT-1.5.5-1).
    assert_eq!(read(b"\x81\0\x01", Publish), Err(ReasonCode::MalformedPacket));
}

/// 3.1.2.11, 3.3.2.3 and so on (5.0): a protocol error to include it more than once.
#[test]
fn a_property_stands_once_unless_it_may_repeat() {
    for (id, value, places) in TABLE {
        let twice = [with(*id, value), with(0x26, b"\0\0\0\0"), with(*id, value)].concat();
        for &place in *places {
            let may_repeat = *id == 0x26 || (*id == 0x0B && place == Publish);
            let expected =
                if may_repeat { Ok(vec![*id, 0x26, *id]) } else { Err(ReasonCode::ProtocolError) };
            assert_eq!(read(&twice, place), expected, "{id:#x} in {place:?}");
        }
    }
}

#[test]
fn a_property_that_ends_too_early_is_malformed() {
    for (id, value, places) in TABLE {
        let whole = with(*id, value);
        for cut in 1..whole.len() {
            let code = read(&whole[..cut], places[0]);
            assert_eq!(code, Err(ReasonCode::MalformedPacket), "{id:#x} cut at {cut}");
        }
    }
}

/// MQTT-3.3.2-8, MQTT-3.3.2-13, -14 (5.0); mqtt.md 2.4
#[test]
fn a_value_that_a_property_cannot_have_is_refused() {
    use ReasonCode::{ProtocolError, TopicAliasInvalid};
    for (id, value, place, code) in [
        (0x01, &b"\x02"[..], Publish, ProtocolError),
        (0x17, b"\x02", Connect, ProtocolError),
        (0x19, b"\xff", Connect, ProtocolError),
        (0x24, b"\x02", Connack, ProtocolError),
        (0x25, b"\x02", Connack, ProtocolError),
        (0x28, b"\x02", Connack, ProtocolError),
        (0x29, b"\x02", Connack, ProtocolError),
        (0x2A, b"\x02", Connack, ProtocolError),
        (0x21, b"\0\0", Connect, ProtocolError),
        (0x27, b"\0\0\0\0", Connect, ProtocolError),
        (0x0B, b"\0", Subscribe, ProtocolError),
        (0x0B, b"\0", Publish, ProtocolError),
        (0x23, b"\0\0", Publish, TopicAliasInvalid),
        (0x08, b"\0\x03a/#", Publish, ProtocolError),
        (0x08, b"\0\x03+/a", Will, ProtocolError),
        (0x08, b"\0\0", Publish, ProtocolError),
        (0x08, b"\0\0", Will, ProtocolError),
    ] {
        assert_eq!(read(&with(id, value), place), Err(code), "{id:#x} {value:02x?}");
    }
}

#[test]
fn the_table_is_in_order_and_says_what_values_are() {
    assert!(DEFINITIONS.is_sorted_by(|a, b| a.id < b.id));
    for Definition { id, name, value, rule, .. } in DEFINITIONS {
        assert!(!name.is_empty());
        let is_number = matches!(value, Type::Byte | Type::Two | Type::Four | Type::Variable);
        match rule {
            Rule::Any => {}
            Rule::ZeroOrOne => assert_eq!(*value, Type::Byte, "{id:#x}"),
            Rule::NotZero | Rule::Alias => assert!(is_number, "{id:#x}"),
            Rule::TopicName => assert_eq!(*value, Type::Text, "{id:#x}"),
        }
        assert!(*value != Type::Byte || *rule == Rule::ZeroOrOne, "{id:#x}");
    }
}
