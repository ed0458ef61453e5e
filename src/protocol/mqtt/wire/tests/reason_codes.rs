//! Reason codes against the tables of the specification.

use super::super::property_table::Place;
use super::super::reason_code::ReasonCode;

/// The codes of each packet, from its own chapter (3.2.2.2, 3.4.2.1, 3.5.2.1, 3.6.2.1, 3.7.2.1,
/// 3.9.3, 3.11.3, 3.14.2.1, 3.15.2.1 of 5.0); 0x8A in DISCONNECT is from the errata.
const TABLE: &[(Place, &[u8])] = &[
    (
        Place::Connack,
        &[
            0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90,
            0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
        ],
    ),
    (Place::Puback, &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]),
    (Place::Pubrec, &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]),
    (Place::Pubrel, &[0x00, 0x92]),
    (Place::Pubcomp, &[0x00, 0x92]),
    (Place::Suback, &[0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2]),
    (Place::Unsuback, &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91]),
    (
        Place::Disconnect,
        &[
            0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8A, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F,
            0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F,
            0xA0, 0xA1, 0xA2,
        ],
    ),
    (Place::Auth, &[0x00, 0x18, 0x19]),
    (Place::Connect, &[]),
    (Place::Will, &[]),
    (Place::Publish, &[]),
    (Place::Subscribe, &[]),
    (Place::Unsubscribe, &[]),
];

/// MQTT-3.2.2-8, MQTT-3.4.2-1, MQTT-3.5.2-1, MQTT-3.6.2-1, MQTT-3.7.2-1, MQTT-3.9.3-2,
/// MQTT-3.11.3-2, MQTT-3.14.2-1, MQTT-3.15.2-1 (5.0)
#[test]
fn every_packet_may_carry_its_codes_and_no_other() {
    assert_eq!(TABLE.len(), Place::ALL.len());
    for (place, expected) in TABLE {
        let allowed: Vec<u8> = (0..=255)
            .filter_map(ReasonCode::from_octet)
            .filter(|code| code.may_stand_in(*place))
            .map(ReasonCode::octet)
            .collect();
        assert_eq!(allowed, *expected, "{place:?}");
    }
}

#[test]
fn every_code_has_its_number_and_a_place() {
    for &code in ReasonCode::ALL {
        assert_eq!(ReasonCode::from_octet(code.octet()), Some(code));
        assert!(Place::ALL.iter().any(|&place| code.may_stand_in(place)));
        assert_eq!(code.is_failure(), code.octet() >= 0x80);
    }
    assert_eq!(ReasonCode::ALL.len(), 43);
    assert_eq!((0..=255).filter_map(ReasonCode::from_octet).count(), 43);
}

/// mqtt.md 2.3: what older clients are told.
#[test]
fn older_clients_hear_one_of_five_reasons_or_none() {
    let mut told = [0; 6];
    for &code in ReasonCode::ALL {
        if let Some(old) = code.connack_return_code() {
            told[usize::from(old)] += 1;
            assert!(code.may_stand_in(Place::Connack));
        }
    }
    assert_eq!(told, [1, 1, 1, 7, 1, 2]);
    for old in 0..6 {
        let code = ReasonCode::from_connack_return_code(old).unwrap();
        assert_eq!(code.connack_return_code(), Some(old));
    }
    assert_eq!(ReasonCode::from_connack_return_code(6), None);
    assert_eq!(ReasonCode::MalformedPacket.connack_return_code(), None);
}
