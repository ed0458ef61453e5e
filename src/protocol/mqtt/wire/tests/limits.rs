//! The peer's maximum packet size.

use super::super::ack::{Ack, AckKind};
use super::super::auth::Auth;
use super::super::connack::{Connack, ConnackProperties};
use super::super::disconnect::Disconnect;
use super::super::encode::{Explained, Unsendable, put, put_explained};
use super::super::properties::{Diagnostics, UserProperties, put_user_property};
use super::super::publish::{Promise, PublishHead};
use super::super::reason_code::ReasonCode;
use super::super::suback::{AnswerKind, Suback};
use super::super::{PACKET_BYTES_MAX, Version};
use super::id;

/// Octets of the packet in each of its three forms: all, without reason, bare.
fn three_forms<'a, P: Explained<'a>>(packet: P) -> [Vec<u8>; 3] {
    let mut forms = [const { Vec::new() }; 3];
    let mut packet = packet;
    put(&mut forms[0], &packet, Version::V5, PACKET_BYTES_MAX).unwrap();
    packet.diagnostics().reason = None;
    put(&mut forms[1], &packet, Version::V5, PACKET_BYTES_MAX).unwrap();
    packet.diagnostics().user_properties = UserProperties::NONE;
    put(&mut forms[2], &packet, Version::V5, PACKET_BYTES_MAX).unwrap();
    forms
}

fn every_limit<'a, P: Explained<'a>>(packet: P) {
    let forms = three_forms(packet);
    assert!(forms[0].len() > forms[1].len() && forms[1].len() > forms[2].len());
    for max in 0..=forms[0].len() + 1 {
        let mut out = vec![0xAA];
        let sent = put_explained(&mut out, &packet, Version::V5, u32::try_from(max).unwrap());
        let expected = forms.iter().find(|form| form.len() <= max);
        assert_eq!(sent.err(), expected.is_none().then_some(Unsendable::TooLarge));
        assert_eq!(&out[1..], expected.map_or(&[][..], |form| form), "at most {max}");
    }
}

/// MQTT-3.2.2-19, -20, MQTT-3.4.2-2, -3, MQTT-3.5.2-2, -3, MQTT-3.6.2-2, -3, MQTT-3.7.2-2, -3,
/// MQTT-3.9.2-1, -2, MQTT-3.11.2-1, -2, MQTT-3.14.2-3, -4,
/// MQTT-3.15.2-2, -3 (5.0)
#[test]
fn explanations_are_left_out_before_a_packet_is_too_large() {
    let mut pairs = Vec::new();
    put_user_property(&mut pairs, "name", "value");
    let user_properties = UserProperties::written(&pairs);
    let diagnostics = Diagnostics { reason: Some("a sentence"), user_properties };
    for kind in [AckKind::Puback, AckKind::Pubrec, AckKind::Pubrel, AckKind::Pubcomp] {
        every_limit(Ack { diagnostics, ..Ack::new(kind, id(1), ReasonCode::Success) });
    }
    every_limit(Disconnect { diagnostics, ..Disconnect::new(ReasonCode::ServerBusy, None) });
    for kind in [AnswerKind::Suback, AnswerKind::Unsuback] {
        every_limit(Suback { kind, packet_id: id(1), diagnostics, codes: &[0, 0x80] });
    }
    let code = ReasonCode::ContinueAuthentication;
    every_limit(Auth { code, method: Some("m"), data: None, diagnostics });
    let properties = ConnackProperties { diagnostics, ..ConnackProperties::default() };
    every_limit(Connack { session_present: false, code: ReasonCode::Banned, properties });
}

/// MQTT-3.1.2-24 (5.0)
#[test]
fn a_message_that_is_too_large_is_not_written_at_all() {
    let head = PublishHead {
        dup: false,
        retain: false,
        promise: Promise::AtMostOnce,
        topic: "t",
        alias: None,
        expiry_s: None,
        subscription_ids: &[],
        forwarded: &[],
    };
    let body = [7; 200];
    let mut out = Vec::new();
    let bytes = head.packet_bytes(Version::V4, body.len(), PACKET_BYTES_MAX).unwrap();
    assert_eq!(bytes, 3 + 3 + 200);
    let max = u32::try_from(bytes).unwrap();
    let refused = head.put(&mut out, Version::V4, &body, max - 1);
    assert_eq!((refused, out.len()), (Err(Unsendable::TooLarge), 0));
    assert_eq!(head.put(&mut out, Version::V4, &body, max), Ok(()));
    assert_eq!(out.len(), bytes);
    // 268,435,455 octets can follow a fixed header, whatever the peer takes.
    let most = 268_435_455 - 3;
    assert!(head.put_head(&mut out, Version::V4, most, u32::MAX).is_ok());
    let refused = head.put_head(&mut out, Version::V4, most + 1, u32::MAX);
    assert_eq!(refused, Err(Unsendable::TooLarge));
    assert!(head.put_head(&mut out, Version::V5, usize::MAX, u32::MAX).is_err());
}

#[test]
fn what_a_version_cannot_say_is_not_written() {
    let mut out = Vec::new();
    let properties = ConnackProperties::default();
    let connack = Connack { session_present: false, code: ReasonCode::ProtocolError, properties };
    let refused = put_explained(&mut out, &connack, Version::V4, PACKET_BYTES_MAX);
    assert_eq!(refused, Err(Unsendable::NotInVersion));
    let bad = Disconnect::new(ReasonCode::ServerBusy, None);
    let refused = put_explained(&mut out, &bad, Version::V3, PACKET_BYTES_MAX);
    assert_eq!((refused, out.len()), (Err(Unsendable::NotInVersion), 0));
}
