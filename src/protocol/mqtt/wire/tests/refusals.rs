//! Packets that are refused, and with which code.

use super::super::connect::Connect;
use super::super::reason_code::ReasonCode;
use super::super::{Sender, Version};
use super::{packet, refusal};

use ReasonCode::{MalformedPacket, ProtocolError, TopicNameInvalid, UnsupportedProtocolVersion};
use Sender::{Client, Server};
use Version::{V3, V4, V5};

/// The code and the version of the answer.
fn refused(body: &[u8]) -> Option<(ReasonCode, Option<Version>)> {
    Connect::decode(body).err().map(|refused| (refused.fault.code, refused.answer))
}

/// MQTT-3.1.2-1, MQTT-3.1.2-2 (3.1.1 and 5.0); mqtt.md 2.2
#[test]
fn a_version_that_is_not_spoken_is_told_apart_from_octets_that_cannot_be_read() {
    for (body, answer) in [
        (&b"\0\x04MQTT\x03\x02\0\0\0\x01c"[..], Some(V4)),
        (b"\0\x04MQTT\0\x02\0\0\0\x01c", Some(V4)),
        (b"\0\x06MQIsdp\x04\x02\0\0\0\x01c", Some(V3)),
        (b"\0\x06MQIsdp\x05", Some(V3)),
        (b"\0\x04MQTT\x06", Some(V5)),
        (b"\0\x04MQTT\x7f", Some(V5)),
        (b"\0\x04mqtt\x04\x02\0\0\0\x01c", None),
        (b"\0\x05MQTTT\x04\x02\0\0\0\x01c", None),
        (b"\0\0\x04\x02\0\0\0\x01c", None),
        (b"\0\x01\xff\x04\x02\0\0\0\x01c", None),
    ] {
        assert_eq!(refused(body), Some((UnsupportedProtocolVersion, answer)), "{body:02x?}");
    }
    for (body, answer) in [
        (&b""[..], None),
        (b"\0\x04MQT", None),
        (b"\0\x04MQTT", None),
        (b"\0\x04MQTT\x04", Some(V4)),
        (b"\0\x04MQTT\x05\x02\0\0\0", Some(V5)),
        (b"\0\x06MQIsdp\x03\x02\0\0\0\x02c", Some(V3)),
    ] {
        assert_eq!(refused(body), Some((MalformedPacket, answer)), "{body:02x?}");
    }
}

/// mqtt.md 2.2
#[test]
fn a_bridge_says_so_in_its_level() {
    for body in [
        &b"\0\x06MQIsdp\x83\x02\0\0\0\x01c"[..],
        b"\0\x04MQTT\x84\x02\0\0\0\x01c",
        b"\0\x04MQTT\x85\x02\0\0\0\0\x01c",
    ] {
        assert!(Connect::decode(body).is_ok_and(|connect| connect.is_bridge));
    }
}

/// MQTT-3.1.2-3, -11, -13, -14, -15, -22 (3.1.1), MQTT-3.1.2-3, -11, -12, -13 (5.0)
#[test]
fn every_combination_of_connect_flags_is_taken_or_refused() {
    for (version, front) in
        [(V3, &b"\0\x06MQIsdp\x03"[..]), (V4, b"\0\x04MQTT\x04"), (V5, b"\0\x04MQTT\x05")]
    {
        for flags in 0..=255_u8 {
            let is = |flag: u8| flags & flag != 0;
            let mut body = [front, &[flags, 0, 0]].concat();
            let block = if version == V5 { &b"\0"[..] } else { b"" };
            body.extend_from_slice(block);
            body.extend_from_slice(b"\0\x01c");
            if is(0x04) {
                body.extend_from_slice(block);
                body.extend_from_slice(b"\0\x01w\0\0");
            }
            if is(0x80) {
                body.extend_from_slice(b"\0\x01u");
            }
            if is(0x40) {
                body.extend_from_slice(b"\0\x01p");
            }
            // 3.1 says of these that they are not used, and of a will's without a will that they
            // are disregarded.
            let is_good = (!is(0x01) || version == V3)
                && (is(0x04) || !is(0x38) || version == V3)
                && (flags & 0x18 != 0x18 || (version == V3 && !is(0x04)))
                && (version == V5 || is(0x80) || !is(0x40));
            let expected = (!is_good).then_some((MalformedPacket, Some(version)));
            assert_eq!(refused(&body), expected, "{version:?} {flags:#x}");
            let Ok(connect) = Connect::decode(&body) else { continue };
            assert_eq!(connect.clean_start, is(0x02));
            assert_eq!(connect.will.map(|will| (will.qos.bits(), will.retain)), {
                is(0x04).then_some(((flags >> 3) & 3, is(0x20)))
            });
            assert_eq!(
                (connect.user_name.is_some(), connect.password.is_some()),
                (is(0x80), is(0x40))
            );
            body.push(0);
            assert_eq!(refused(&body), Some((MalformedPacket, Some(version))));
        }
    }
}

/// MQTT 3.1, CONNECT: "it is valid" when the user name is missing.
#[test]
fn a_user_name_that_is_announced_may_be_missing_in_version_3_1_only() {
    let old = Connect::decode(b"\0\x06MQIsdp\x03\xc2\0\0\0\x01c").unwrap();
    assert_eq!((old.user_name, old.password), (None, None));
    let old = Connect::decode(b"\0\x06MQIsdp\x03\xc2\0\0\0\x01c\0\x01u").unwrap();
    assert_eq!((old.user_name, old.password), (Some("u"), None));
    let new = b"\0\x04MQTT\x04\xc2\0\0\0\x01c\0\x01u";
    assert_eq!(refused(new), Some((MalformedPacket, Some(V4))));
}

/// MQTT-3.3.2-2, MQTT-4.7.1-1, MQTT-4.7.3-1 (3.1.1 and 5.0); mqtt.md 2.3 for CONNACK 0x90
#[test]
fn the_topic_of_a_will_is_a_topic_name() {
    for topic in [&b"\0\0"[..], b"\0\x01#", b"\0\x02a+"] {
        let body = [&b"\0\x04MQTT\x05\x06\0\0\0\0\x01c\0"[..], topic, b"\0\0"].concat();
        assert_eq!(refused(&body), Some((TopicNameInvalid, Some(V5))));
    }
}

/// Each packet as its first octet and its body, and the code it is refused with.
fn all_refused(version: Version, from: Sender, table: &[(u8, &[u8], ReasonCode)]) {
    for (first, body, code) in table {
        let wire = packet(*first, body);
        assert_eq!(refusal(&wire, version, from), Some(*code), "{version:?} {wire:02x?}");
    }
}

/// MQTT-3.3.2-1, -2, MQTT-3.3.4-6, MQTT-2.2.1-3 (5.0), MQTT-2.3.1-1 (3.1.1)
#[test]
fn a_publish_without_a_topic_or_with_a_bad_one_is_refused() {
    for version in Version::ALL {
        let end: &[u8] = if version.is_v5() { b"\0" } else { b"" };
        for (first, body, code) in [
            (0x30, &b"\0\x03a/#"[..], TopicNameInvalid),
            (0x30, b"\0\x01+", TopicNameInvalid),
            (0x32, b"\0\x01t\0\0", ProtocolError),
            (0x34, b"\0\x01t\0\0", ProtocolError),
        ] {
            all_refused(version, Client, &[(first, &[body, end].concat(), code)]);
        }
        all_refused(version, Client, &[(0x30, b"\0\x02t", MalformedPacket)]);
    }
    for version in [V3, V4] {
        all_refused(version, Client, &[(0x30, b"\0\0body", TopicNameInvalid)]);
    }
    all_refused(
        V5,
        Client,
        &[
            (0x30, b"\0\0\0body", ProtocolError),
            (0x30, b"\0\0\x03\x23\0\0", ReasonCode::TopicAliasInvalid),
            (0x30, b"\0\x01t\x02\x0b\x01", ProtocolError),
            (0x30, b"\0\x01t\x05\x01", MalformedPacket),
            (0x30, b"\0\x01t\x81\0\x01", MalformedPacket),
            (0x30, b"\0\x01t\x02\x1f\0", MalformedPacket),
        ],
    );
    assert_eq!(refusal(b"\x30\x06\0\0\x03\x23\0\x01", V5, Client), None);
}

/// MQTT-3.8.3-3, MQTT-3.10.3-2, MQTT-3-8.3-4 (3.1.1), MQTT-3.8.3-2, -4, -5, MQTT-3.10.3-2 (5.0)
#[test]
fn a_subscribe_without_filters_or_with_bad_options_is_refused() {
    all_refused(
        V4,
        Client,
        &[
            (0x82, b"\0\x01", ProtocolError),
            (0x82, b"\0\0\0\x01a\0", MalformedPacket),
            (0x82, b"\0\x01\0\x01a", MalformedPacket),
            (0x82, b"\0\x01\0\x01a\x03", ProtocolError),
            (0xa2, b"\0\x01", ProtocolError),
            (0xa2, b"\0\0\0\x01a", MalformedPacket),
            (0xa2, b"\0\x01\0\x02a", MalformedPacket),
        ],
    );
    all_refused(
        V5,
        Client,
        &[
            (0x82, b"\0\x01\0", ProtocolError),
            (0x82, b"\0\x01\0\0\x08$share/a\x04", ProtocolError),
            (0x82, b"\0\x01\x04\x0b\x01\x0b\x02\0\x01a\0", ProtocolError),
            (0x82, b"\0\x01\x03\x1f\0\0\0\x01a\0", MalformedPacket),
            (0xa2, b"\0\x01\0", ProtocolError),
            (0xa2, b"\0\x01\x02\x0b\x01\0\x01a", MalformedPacket),
        ],
    );
    for options in 0..=255_u8 {
        let v4 = packet(0x82, &[0, 1, 0, 1, b'a', options]);
        let v5 = packet(0x82, &[0, 1, 0, 0, 1, b'a', options]);
        let has_qos = options & 3 != 3;
        assert_eq!(refusal(&v4, V3, Client).is_none(), has_qos);
        assert_eq!(refusal(&v4, V4, Client).is_none(), options < 3);
        // Reserved bits are malformed (MQTT-3.8.3-5), values that mean nothing are not (5.0, 3.8.3.1).
        let wrong = match options {
            64.. => Some(MalformedPacket),
            _ if !has_qos || options & 0x30 == 0x30 => Some(ProtocolError),
            _ => None,
        };
        assert_eq!(refusal(&v5, V5, Client), wrong);
    }
}

/// MQTT-3.2.2-1, MQTT-3.2.2-8, MQTT-3.4.2-1, MQTT-3.9.3-2, MQTT-3.11.3-2, MQTT-3.14.2-1, -2,
/// MQTT-3.15.2-1 (5.0), MQTT-3.9.3-2 (3.1.1); mqtt.md 2.4 for authentication data
#[test]
fn answers_and_farewells_say_only_what_they_may() {
    all_refused(
        V5,
        Server,
        &[
            (0x20, b"\x02\0\0", MalformedPacket),
            (0x20, b"\0\x01\0", ProtocolError),
            (0x20, b"\0\0\x04\x16\0\x01d", ProtocolError),
            (0x40, b"\0\x01\x92", ProtocolError),
            (0x40, b"\0\0", ProtocolError),
            (0x40, b"\0\x01\0\0\0", MalformedPacket),
            (0x62, b"\0\x01\x80", ProtocolError),
            (0x90, b"\0\x01\0\x03", ProtocolError),
            (0x90, b"\0\x01\0", ProtocolError),
            (0xb0, b"\0\x01\0\x01", ProtocolError),
            (0xe0, b"\x04", ProtocolError),
            (0xe0, b"\0\x05\x11\0\0\0\0", ProtocolError),
            (0xe0, b"\x01", ProtocolError),
            (0xf0, b"\x19\x04\x15\0\x01m", ProtocolError),
            (0xf0, b"\x18", ProtocolError),
            (0xd0, b"\0", MalformedPacket),
        ],
    );
    all_refused(
        V5,
        Client,
        &[
            (0xf0, b"", ProtocolError),
            (0xf0, b"\x18\x04\x16\0\x01d", ProtocolError),
            (0xf0, b"\x01", ProtocolError),
            (0x10, b"\0\x04MQTT\x05\x02\0\0\x04\x16\0\x01d\0\0", ProtocolError),
        ],
    );
    all_refused(
        V4,
        Server,
        &[
            (0x20, b"\0\x06", ProtocolError),
            (0x20, b"\x02\0", MalformedPacket),
            (0x40, b"\0\x01\0", MalformedPacket),
            (0x90, b"\0\x01\x87", ProtocolError),
            (0xb0, b"\0\x01\0", MalformedPacket),
        ],
    );
    all_refused(V4, Client, &[(0xe0, b"\0", MalformedPacket), (0xc0, b"\0", MalformedPacket)]);
}
