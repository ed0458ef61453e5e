//! The four flags of every kind of packet, and who may send it.

use super::super::header::{Header, Kind};
use super::super::reason_code::ReasonCode;
use super::super::{Sender, Version};

fn check(kind: Kind, flags: u8, version: Version, from: Sender) -> Option<ReasonCode> {
    let header = Header { kind, flags, head_bytes: 2, body_bytes: 0 };
    header.check(version, from).err().map(|fault| fault.code)
}

fn sender_of(kind: Kind) -> Sender {
    match kind {
        Kind::Connack | Kind::Suback | Kind::Unsuback | Kind::Pingresp => Sender::Server,
        Kind::Connect
        | Kind::Publish
        | Kind::Puback
        | Kind::Pubrec
        | Kind::Pubrel
        | Kind::Pubcomp
        | Kind::Subscribe
        | Kind::Unsubscribe
        | Kind::Pingreq
        | Kind::Disconnect
        | Kind::Auth => Sender::Client,
    }
}

/// MQTT-2.2.2-1, -2, MQTT-3.6.1-1, MQTT-3.8.1-1, MQTT-3.10.1-1, MQTT-3.14.1-1 (3.1.1),
/// MQTT-2.1.3-1, MQTT-3.15.1-1 (5.0); mqtt.md 2.2 for 3.1.
#[test]
fn every_kind_has_the_flags_it_must_have() {
    for kind in Kind::ALL {
        for version in Version::ALL {
            if kind == Kind::Auth && version != Version::V5 {
                continue;
            }
            for flags in 0..16 {
                let expected = match kind {
                    Kind::Publish => true,
                    _ if version == Version::V3 => true,
                    Kind::Pubrel | Kind::Subscribe | Kind::Unsubscribe => flags == 2,
                    Kind::Connect
                    | Kind::Connack
                    | Kind::Puback
                    | Kind::Pubrec
                    | Kind::Pubcomp
                    | Kind::Suback
                    | Kind::Unsuback
                    | Kind::Pingreq
                    | Kind::Pingresp
                    | Kind::Disconnect
                    | Kind::Auth => flags == 0,
                };
                let refused = check(kind, flags, version, sender_of(kind));
                assert_eq!(refused.is_none(), expected, "{kind:?} {version:?} {flags}");
                assert!(expected || refused == Some(ReasonCode::MalformedPacket));
            }
        }
    }
}

/// mqtt.md 2.0: what only a server says is a violation from a client, and the other way round.
#[test]
fn a_packet_of_the_other_end_is_a_protocol_error() {
    for kind in Kind::ALL {
        for version in Version::ALL {
            let either = match kind {
                Kind::Publish | Kind::Puback | Kind::Pubrec | Kind::Pubrel | Kind::Pubcomp => true,
                Kind::Disconnect | Kind::Auth => version == Version::V5,
                Kind::Connect
                | Kind::Connack
                | Kind::Subscribe
                | Kind::Suback
                | Kind::Unsubscribe
                | Kind::Unsuback
                | Kind::Pingreq
                | Kind::Pingresp => false,
            };
            let other = match sender_of(kind) {
                Sender::Client => Sender::Server,
                Sender::Server => Sender::Client,
            };
            let refused = check(kind, kind.flags(), version, other);
            let expected = (!either).then_some(ReasonCode::ProtocolError);
            assert_eq!(refused, expected, "{kind:?} {version:?}");
        }
    }
}

/// mqtt.md 2.0: type 15 came with 5.0.
#[test]
fn there_is_no_auth_before_version_5() {
    for version in [Version::V3, Version::V4] {
        for from in [Sender::Client, Sender::Server] {
            assert_eq!(check(Kind::Auth, 0, version, from), Some(ReasonCode::ProtocolError));
        }
    }
    assert_eq!(check(Kind::Auth, 0, Version::V5, Sender::Client), None);
}

/// MQTT-3.3.1-2, MQTT-3.3.1-4 (3.1.1 and 5.0)
#[test]
fn the_flags_of_publish_say_what_they_may() {
    for flags in 0..16_u8 {
        let qos = (flags >> 1) & 3;
        let wire = [0x30 | flags, 6, 0, 1, b't', 0, 1, 0];
        for version in Version::ALL {
            let expected = qos != 3 && (qos != 0 || flags & 8 == 0 || version == Version::V3);
            let refused = super::refusal(&wire, version, Sender::Client);
            assert_eq!(refused.is_none(), expected, "{flags} {version:?}");
            assert!(expected || refused == Some(ReasonCode::MalformedPacket));
        }
    }
}
