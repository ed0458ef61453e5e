//! Packets and the octets that they are.

use super::super::ack::{Ack, AckKind};
use super::super::auth::Auth;
use super::super::connack::{Connack, ConnackProperties};
use super::super::connect::{Connect, ConnectProperties, Will};
use super::super::disconnect::Disconnect;
use super::super::message_properties::WillProperties;
use super::super::packet::{PINGREQ, PINGRESP, Packet};
use super::super::properties::{Diagnostics, UserProperties};
use super::super::publish::{Promise, PublishHead};
use super::super::reason_code::ReasonCode;
use super::super::suback::{AnswerKind, Suback};
use super::super::subscribe::{Filters, Options, RetainHandling, Subscribe, put_filter};
use super::super::unsubscribe::{FilterTexts, Unsubscribe, put_filter_text};
use super::super::{PACKET_BYTES_MAX, Qos, Sender, Version};
use super::{decode, id};

use Version::{V3, V4, V5};

/// Reads as `packet` and is written from it.
fn same(packet: &Packet<'_>, version: Version, from: Sender, wire: &[u8]) {
    let mut written = Vec::new();
    assert_eq!(packet.put(&mut written, version, PACKET_BYTES_MAX), Ok(()));
    assert_eq!(written, wire, "{packet:?}");
    assert_eq!(decode(wire, version, from).as_ref(), Ok(packet));
}

fn connect(version: Version) -> Connect<'static> {
    Connect {
        version,
        is_bridge: false,
        clean_start: false,
        keep_alive_s: 60,
        client_id: "c",
        will: None,
        user_name: None,
        password: None,
        properties: ConnectProperties::default(),
    }
}

fn will() -> Will<'static> {
    Will {
        topic: "w",
        payload: &[0xFF],
        qos: Qos::ExactlyOnce,
        retain: true,
        properties: WillProperties::default(),
    }
}

/// 3.1 (3.1, 3.1.1 and 5.0); mqtt.md 2.2 for the mark of a bridge.
#[test]
fn connect_is_written_as_its_version_says() {
    let send = |packet: Connect<'_>, wire: &[u8]| {
        same(&Packet::Connect(packet), packet.version, Sender::Client, wire);
    };
    send(connect(V3), b"\x10\x0f\0\x06MQIsdp\x03\0\0\x3c\0\x01c");
    let bridge = Connect { is_bridge: true, clean_start: true, ..connect(V3) };
    send(bridge, b"\x10\x0f\0\x06MQIsdp\x83\x02\0\x3c\0\x01c");
    send(connect(V4), b"\x10\x0d\0\x04MQTT\x04\0\0\x3c\0\x01c");
    let full = Connect {
        clean_start: true,
        will: Some(will()),
        user_name: Some("u"),
        password: Some(b"\0p"),
        ..connect(V4)
    };
    send(full, b"\x10\x1a\0\x04MQTT\x04\xf6\0\x3c\0\x01c\0\x01w\0\x01\xff\0\x01u\0\x02\0p");
    send(connect(V5), b"\x10\x0e\0\x04MQTT\x05\0\0\x3c\0\0\x01c");
    let will = Will {
        properties: WillProperties { delay_s: 5, ..WillProperties::default() },
        qos: Qos::AtLeastOnce,
        retain: false,
        ..will()
    };
    let full = Connect {
        will: Some(will),
        // MQTT-3.1.2-18 of 5.0 and after: without a user name.
        password: Some(b"p"),
        properties: ConnectProperties {
            session_expiry_s: u32::MAX,
            receive_max: 1,
            request_problem: Some(false),
            ..ConnectProperties::default()
        },
        ..connect(V5)
    };
    send(
        full,
        b"\x10\x27\0\x04MQTT\x05\x4c\0\x3c\x0a\x11\xff\xff\xff\xff\x21\0\x01\x17\0\0\x01c\
          \x05\x18\0\0\0\x05\0\x01w\0\x01\xff\0\x01p",
    );
}

/// 3.2 (3.1, 3.1.1 and 5.0)
#[test]
fn connack_is_written_as_its_version_says() {
    let connack = |session_present, code| Connack {
        session_present,
        code,
        properties: ConnackProperties::default(),
    };
    let send = |packet: Connack<'_>, version, wire: &[u8]| {
        same(&Packet::Connack(packet), version, Sender::Server, wire);
    };
    send(connack(false, ReasonCode::Success), V3, b"\x20\x02\0\0");
    send(connack(true, ReasonCode::Success), V4, b"\x20\x02\x01\0");
    send(connack(false, ReasonCode::NotAuthorized), V4, b"\x20\x02\0\x05");
    send(connack(true, ReasonCode::Success), V5, b"\x20\x03\x01\0\0");
    let full = Connack {
        properties: ConnackProperties {
            qos_max: Qos::AtLeastOnce,
            assigned_client_id: Some("i"),
            server_keep_alive_s: Some(60),
            ..ConnackProperties::default()
        },
        ..connack(false, ReasonCode::ServerBusy)
    };
    send(full, V5, b"\x20\x0c\0\x89\x09\x24\x01\x12\0\x01i\x13\0\x3c");
    // MQTT 3.1 has no such flag.
    let mut wire = Vec::new();
    let present = Packet::Connack(connack(true, ReasonCode::Success));
    present.put(&mut wire, V3, PACKET_BYTES_MAX).unwrap();
    assert_eq!(wire, b"\x20\x02\0\0");
}

/// 3.3 (3.1.1 and 5.0)
#[test]
fn publish_is_written_as_its_version_says() {
    let head = PublishHead {
        dup: true,
        retain: true,
        promise: Promise::AtLeastOnce(id(0x102)),
        topic: "a/b",
        alias: Some(3),
        expiry_s: Some(7),
        subscription_ids: &[1, 200],
        forwarded: b"\x01\x01",
    };
    for version in [V3, V4] {
        let mut wire = Vec::new();
        head.put(&mut wire, version, b"xy", PACKET_BYTES_MAX).unwrap();
        assert_eq!(wire, b"\x3b\x09\0\x03a/b\x01\x02xy");
    }
    let mut wire = Vec::new();
    head.put(&mut wire, V5, b"xy", PACKET_BYTES_MAX).unwrap();
    let expected =
        b"\x3b\x19\0\x03a/b\x01\x02\x0f\x02\0\0\0\x07\x23\0\x03\x0b\x01\x0b\xc8\x01\x01\x01xy";
    assert_eq!(wire, expected);
    let mut front = Vec::new();
    head.put_head(&mut front, V5, 2, PACKET_BYTES_MAX).unwrap();
    assert_eq!([&front[..], b"xy"].concat(), wire);
    assert_eq!(head.packet_bytes(V5, 2, PACKET_BYTES_MAX), Ok(wire.len()));
    let Ok(Packet::Publish(read)) = decode(&wire, V5, Sender::Server) else { panic!("a PUBLISH") };
    assert_eq!((read.dup, read.retain, read.topic, read.payload), (true, true, "a/b", &b"xy"[..]));
    assert_eq!(read.promise, head.promise);
    assert_eq!(read.properties.topic_alias, Some(3));
    assert_eq!(read.properties.message.expiry_s, Some(7));
    assert_eq!(read.properties.message.is_text, Some(true));
    assert_eq!(read.properties.subscription_ids.iter().collect::<Vec<_>>(), [1, 200]);
    let plain = PublishHead {
        dup: false,
        retain: false,
        promise: Promise::AtMostOnce,
        alias: None,
        expiry_s: None,
        subscription_ids: &[],
        forwarded: &[],
        ..head
    };
    let mut wire = Vec::new();
    plain.put(&mut wire, V5, b"", PACKET_BYTES_MAX).unwrap();
    assert_eq!(wire, b"\x30\x06\0\x03a/b\0");
}

/// 3.4 to 3.7 (3.1.1 and 5.0); the shortest form of 5.0.
#[test]
fn answers_to_publish_are_as_short_as_they_can_be() {
    for (kind, first) in [
        (AckKind::Puback, 0x40),
        (AckKind::Pubrec, 0x50),
        (AckKind::Pubrel, 0x62),
        (AckKind::Pubcomp, 0x70),
    ] {
        let ack = Ack::new(kind, id(9), ReasonCode::Success);
        for version in Version::ALL {
            same(&Packet::Ack(ack), version, Sender::Client, &[first, 2, 0, 9]);
        }
        for wire in [&[first, 3, 0, 9, 0][..], &[first, 4, 0, 9, 0, 0]] {
            assert_eq!(decode(wire, V5, Sender::Client), Ok(Packet::Ack(ack)));
            assert!(decode(wire, V4, Sender::Client).is_err());
        }
        let reason = Diagnostics { reason: Some("r"), ..Diagnostics::default() };
        let explained = Ack { diagnostics: reason, ..ack };
        same(
            &Packet::Ack(explained),
            V5,
            Sender::Server,
            &[first, 8, 0, 9, 0, 4, 0x1f, 0, 1, b'r'],
        );
    }
    let refused = Ack::new(AckKind::Puback, id(9), ReasonCode::NotAuthorized);
    same(&Packet::Ack(refused), V5, Sender::Server, &[0x40, 3, 0, 9, 0x87]);
}

/// 3.8 to 3.11 (3.1.1 and 5.0)
#[test]
fn subscriptions_and_their_answers_are_written_as_their_version_says() {
    let options = Options {
        qos: Qos::AtLeastOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::Never,
    };
    for (version, wire) in [
        (V4, &b"\x82\x0a\0\x05\0\x01#\x01\0\x01+\0"[..]),
        (V5, b"\x82\x0d\0\x05\x02\x0b\x07\0\x01#\x2d\0\x01+\0"),
    ] {
        let mut filters = Vec::new();
        put_filter(&mut filters, "#", options, version);
        put_filter(&mut filters, "+", Options::default(), version);
        let subscribe = Subscribe {
            packet_id: id(5),
            subscription_id: version.is_v5().then_some(7),
            user_properties: UserProperties::NONE,
            filters: Filters::written(&filters, version),
        };
        same(&Packet::Subscribe(subscribe), version, Sender::Client, wire);
        let read: Vec<_> = subscribe.filters.iter().collect();
        let kept = if version.is_v5() {
            options
        } else {
            Options { qos: options.qos, ..Options::default() }
        };
        assert_eq!(read, [("#", kept), ("+", Options::default())]);
    }
    let mut texts = Vec::new();
    put_filter_text(&mut texts, "a");
    put_filter_text(&mut texts, "b");
    let filters = FilterTexts::written(&texts);
    let unsubscribe =
        Unsubscribe { packet_id: id(6), user_properties: UserProperties::NONE, filters };
    assert_eq!(filters.iter().collect::<Vec<_>>(), ["a", "b"]);
    let packet = Packet::Unsubscribe(unsubscribe);
    same(&packet, V4, Sender::Client, b"\xa2\x08\0\x06\0\x01a\0\x01b");
    same(&packet, V5, Sender::Client, b"\xa2\x09\0\x06\0\0\x01a\0\x01b");
    let answer =
        |kind, codes| Suback { kind, packet_id: id(6), diagnostics: Diagnostics::default(), codes };
    let suback = Packet::Suback(answer(AnswerKind::Suback, &[2, 0x80]));
    same(&suback, V4, Sender::Server, b"\x90\x04\0\x06\x02\x80");
    same(&suback, V5, Sender::Server, b"\x90\x05\0\x06\0\x02\x80");
    let unsuback = answer(AnswerKind::Unsuback, &[]);
    same(&Packet::Suback(unsuback), V4, Sender::Server, b"\xb0\x02\0\x06");
    let unsuback = answer(AnswerKind::Unsuback, &[0, 0x11]);
    same(&Packet::Suback(unsuback), V5, Sender::Server, b"\xb0\x05\0\x06\0\0\x11");
    assert_eq!(unsuback.codes().last(), Some(ReasonCode::NoSubscriptionExisted));
}

/// MQTT-3.9.3-2 (3.1.1)
#[test]
fn every_failure_of_a_subscription_is_0x80_before_version_5() {
    let suback = Suback {
        kind: AnswerKind::Suback,
        packet_id: id(1),
        diagnostics: Diagnostics { reason: Some("r"), ..Diagnostics::default() },
        codes: &[1, 0x87, 0xA1],
    };
    let mut wire = Vec::new();
    Packet::Suback(suback).put(&mut wire, V4, PACKET_BYTES_MAX).unwrap();
    assert_eq!(wire, b"\x90\x05\0\x01\x01\x80\x80");
}

/// 3.12 to 3.15 (3.1.1 and 5.0)
#[test]
fn pings_and_farewells_are_written_as_their_version_says() {
    for version in Version::ALL {
        same(&Packet::Pingreq, version, Sender::Client, &PINGREQ);
        same(&Packet::Pingresp, version, Sender::Server, &PINGRESP);
        let goodbye = Disconnect::new(ReasonCode::Success, None);
        same(&Packet::Disconnect(goodbye), version, Sender::Client, &[0xe0, 0]);
    }
    let bad = Disconnect::new(ReasonCode::SessionTakenOver, None);
    same(&Packet::Disconnect(bad), V5, Sender::Server, &[0xe0, 1, 0x8e]);
    let later =
        Disconnect { session_expiry_s: Some(9), ..Disconnect::new(ReasonCode::Success, None) };
    same(&Packet::Disconnect(later), V5, Sender::Client, b"\xe0\x07\0\x05\x11\0\0\0\x09");
    let auth = Auth {
        code: ReasonCode::ContinueAuthentication,
        method: Some("m"),
        data: Some(b"\0"),
        diagnostics: Diagnostics::default(),
    };
    same(&Packet::Auth(auth), V5, Sender::Client, b"\xf0\x0a\x18\x08\x15\0\x01m\x16\0\x01\0");
    let done = Auth { code: ReasonCode::Success, method: None, data: None, ..auth };
    same(&Packet::Auth(done), V5, Sender::Server, &[0xf0, 0]);
}
