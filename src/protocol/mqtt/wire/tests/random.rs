//! Random packets and random octets. proptest prints what it has found, its seed among it.

use proptest::prelude::*;

use super::super::ack::{Ack, AckKind};
use super::super::auth::Auth;
use super::super::connack::{Connack, ConnackProperties};
use super::super::connect::{Connect, ConnectProperties, Will};
use super::super::disconnect::Disconnect;
use super::super::encode::Sink;
use super::super::fuzzing::{mqtt_packet, mqtt_stream};
use super::super::header::split;
use super::super::message_properties::{MessageProperties, WillProperties};
use super::super::packet::Packet;
use super::super::properties::{Diagnostics, UserProperties, put_user_property};
use super::super::property_table::Place;
use super::super::publish::{Promise, PublishHead};
use super::super::reason_code::ReasonCode;
use super::super::suback::{AnswerKind, Suback};
use super::super::subscribe::{Filters, Options, RetainHandling, Subscribe, put_filter};
use super::super::unsubscribe::{FilterTexts, Unsubscribe, put_filter_text};
use super::super::{PACKET_BYTES_MAX, PacketId, Qos, Sender, Version};
use super::samples::SAMPLES;
use crate::protocol::octets::Decoded;

/// Choices from a seed (splitmix64).
struct Choices(u64);

const TEXTS: [&str; 6] = ["", "a", "topic/name", "\u{feff}\u{1F600}", "x y", "$SYS/\u{e9}"];
const OCTETS: [&[u8]; 4] = [b"", b"\0", b"\xff\0\xff", b"0123456789"];

impl Choices {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(n).unwrap()).unwrap()
    }

    fn is(&mut self) -> bool {
        self.below(2) == 1
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.is() { Some(make(self)) } else { None }
    }

    fn two(&mut self) -> u16 {
        [0, 1, 255, 256, u16::MAX][self.below(5)]
    }

    fn four(&mut self) -> u32 {
        [0, 1, 65_536, u32::MAX][self.below(4)]
    }

    fn text(&mut self) -> &'static str {
        TEXTS[self.below(TEXTS.len())]
    }

    fn name(&mut self) -> &'static str {
        TEXTS[1 + self.below(TEXTS.len() - 1)]
    }

    fn octets(&mut self) -> &'static [u8] {
        OCTETS[self.below(OCTETS.len())]
    }

    fn id(&mut self) -> PacketId {
        PacketId::new(self.two().max(1)).unwrap()
    }

    fn qos(&mut self) -> Qos {
        Qos::from_bits(u8::try_from(self.below(3)).unwrap()).unwrap()
    }

    fn code(&mut self, place: Place) -> ReasonCode {
        let may: Vec<_> =
            ReasonCode::ALL.iter().filter(|code| code.may_stand_in(place)).copied().collect();
        may[self.below(may.len())]
    }

    /// User properties as octets.
    fn pairs(&mut self) -> Vec<u8> {
        let mut pairs = Vec::new();
        for _ in 0..self.below(4) {
            put_user_property(&mut pairs, self.text(), self.text());
        }
        pairs
    }

    fn diagnostics<'a>(&mut self, pairs: &'a [u8]) -> Diagnostics<'a> {
        let reason = self.maybe(Self::text);
        Diagnostics { reason, user_properties: UserProperties::written(pairs) }
    }

    fn message<'a>(&mut self, pairs: &'a [u8]) -> MessageProperties<'a> {
        let mut message = MessageProperties::default();
        message.is_text = self.maybe(Self::is);
        message.expiry_s = self.maybe(Self::four);
        message.content_type = self.maybe(Self::text);
        message.response_topic = self.maybe(Self::name);
        message.correlation = self.maybe(Self::octets);
        message.user_properties = UserProperties::written(pairs);
        message
    }

    fn connect<'a>(&mut self, version: Version, pairs: &'a [u8]) -> Connect<'a> {
        let v5 = version.is_v5();
        let mut properties = ConnectProperties::default();
        if v5 {
            properties.session_expiry_s = self.four();
            properties.receive_max = self.two().max(1);
            properties.packet_bytes_max = self.maybe(|c| c.four().max(1));
            properties.topic_alias_max = self.two();
            properties.request_response = self.is();
            properties.request_problem = self.maybe(Self::is);
            properties.auth_method = self.maybe(Self::text);
            properties.auth_data = properties.auth_method.and_then(|_| self.maybe(Self::octets));
            properties.user_properties = UserProperties::written(pairs);
        }
        let will = self.maybe(|c| {
            let mut properties = WillProperties::default();
            if v5 {
                properties = WillProperties { message: c.message(pairs), delay_s: c.four() };
            }
            let (topic, payload) = (c.name(), c.octets());
            Will { topic, payload, qos: c.qos(), retain: c.is(), properties }
        });
        let user_name = self.maybe(Self::text);
        let password = if v5 || user_name.is_some() { self.maybe(Self::octets) } else { None };
        Connect {
            version,
            is_bridge: self.is(),
            clean_start: self.is(),
            keep_alive_s: self.two(),
            client_id: self.text(),
            will,
            user_name,
            password,
            properties,
        }
    }

    fn connack<'a>(&mut self, version: Version, pairs: &'a [u8]) -> Connack<'a> {
        let mut properties = ConnackProperties::default();
        if !version.is_v5() {
            let code = u8::try_from(self.below(6)).unwrap();
            let code = ReasonCode::from_connack_return_code(code).unwrap();
            return Connack {
                session_present: version == Version::V4 && self.is(),
                code,
                properties,
            };
        }
        properties.session_expiry_s = self.maybe(Self::four);
        properties.receive_max = self.two().max(1);
        properties.qos_max = self.qos();
        properties.retain_available = self.is();
        properties.packet_bytes_max = self.maybe(|c| c.four().max(1));
        properties.assigned_client_id = self.maybe(Self::text);
        properties.topic_alias_max = self.two();
        properties.diagnostics = self.diagnostics(pairs);
        properties.wildcards_available = self.is();
        properties.ids_available = self.is();
        properties.shared_available = self.is();
        properties.server_keep_alive_s = self.maybe(Self::two);
        properties.response_information = self.maybe(Self::text);
        properties.server_reference = self.maybe(Self::text);
        properties.auth_method = self.maybe(Self::text);
        properties.auth_data = properties.auth_method.and_then(|_| self.maybe(Self::octets));
        Connack { session_present: self.is(), code: self.code(Place::Connack), properties }
    }

    /// A PUBLISH as octets.
    fn publish(&mut self, version: Version, from: Sender) -> Vec<u8> {
        let mut forwarded = Vec::new();
        for _ in 0..self.below(3) {
            put_user_property(&mut forwarded, self.text(), self.text());
        }
        if self.is() {
            forwarded.extend_from_slice(b"\x03\0\x01t");
        }
        let promise = match self.qos() {
            Qos::AtMostOnce => Promise::AtMostOnce,
            Qos::AtLeastOnce => Promise::AtLeastOnce(self.id()),
            Qos::ExactlyOnce => Promise::ExactlyOnce(self.id()),
        };
        let alias = self.maybe(|c| c.two().max(1));
        let topic = if alias.is_some() && version.is_v5() { self.text() } else { self.name() };
        let ids: &[u32] = if from == Sender::Server && self.is() { &[1, 268_435_455] } else { &[] };
        let head = PublishHead {
            dup: promise != Promise::AtMostOnce && self.is(),
            retain: self.is(),
            promise,
            topic,
            alias,
            expiry_s: self.maybe(Self::four),
            subscription_ids: ids,
            forwarded: &forwarded,
        };
        let body = vec![7; self.below(300)];
        let mut wire = Vec::new();
        head.put(&mut wire, version, &body, PACKET_BYTES_MAX).unwrap();
        let bytes = head.packet_bytes(version, body.len(), PACKET_BYTES_MAX);
        assert_eq!(bytes, Ok(wire.len()));
        wire
    }

    fn answer(&mut self, kind: AnswerKind, version: Version, pairs: &[u8], wire: &mut Vec<u8>) {
        let place = if kind == AnswerKind::Suback { Place::Suback } else { Place::Unsuback };
        let mut codes = Vec::new();
        if version.is_v5() {
            codes.extend((0..=self.below(5)).map(|_| self.code(place).octet()));
        } else if kind == AnswerKind::Suback {
            codes.extend((0..=self.below(5)).map(|_| [0, 1, 2, 0x80][self.below(4)]));
        }
        let mut diagnostics = Diagnostics::default();
        if version.is_v5() {
            diagnostics = self.diagnostics(pairs);
        }
        let packet = Suback { kind, packet_id: self.id(), diagnostics, codes: &codes };
        goes_round(&Packet::Suback(packet), version, Sender::Server, wire);
    }

    fn questions(&mut self, version: Version, pairs: &[u8], wire: &mut Vec<u8>) {
        let user_properties = UserProperties::written(if version.is_v5() { pairs } else { &[] });
        let (mut filters, mut texts) = (Vec::new(), Vec::new());
        for _ in 0..=self.below(4) {
            let mut options = Options { qos: self.qos(), ..Options::default() };
            if version.is_v5() {
                options.no_local = self.is();
                options.retain_as_published = self.is();
                options.retain_handling =
                    if self.is() { RetainHandling::IfNew } else { RetainHandling::Never };
            }
            put_filter(&mut filters, self.text(), options, version);
            put_filter_text(&mut texts, self.text());
        }
        let subscription_id = if version.is_v5() { self.maybe(|_| 16_384) } else { None };
        let filters = Filters::written(&filters, version);
        let packet_id = self.id();
        let subscribe = Subscribe { packet_id, subscription_id, user_properties, filters };
        goes_round(&Packet::Subscribe(subscribe), version, Sender::Client, wire);
        let filters = FilterTexts::written(&texts);
        let unsubscribe = Unsubscribe { packet_id, user_properties, filters };
        goes_round(&Packet::Unsubscribe(unsubscribe), version, Sender::Client, wire);
    }
}

/// Written and read it is the same; `wire` gets it too.
fn goes_round(packet: &Packet<'_>, version: Version, from: Sender, wire: &mut Vec<u8>) {
    let start = wire.len();
    assert_eq!(packet.put(wire, version, PACKET_BYTES_MAX), Ok(()));
    assert_eq!(super::decode(&wire[start..], version, from).as_ref(), Ok(packet));
}

/// One of each kind, read again; all of it as octets.
fn conversation(seed: u64, version: Version) -> (Vec<u8>, Vec<u8>) {
    let mut choices = Choices(seed);
    let (mut up, mut down) = (Vec::new(), Vec::new());
    let pairs = choices.pairs();
    let connect = choices.connect(version, &pairs);
    goes_round(&Packet::Connect(connect), version, Sender::Client, &mut up);
    let connack = choices.connack(version, &pairs);
    goes_round(&Packet::Connack(connack), version, Sender::Server, &mut down);
    choices.questions(version, &pairs, &mut up);
    choices.answer(AnswerKind::Suback, version, &pairs, &mut down);
    choices.answer(AnswerKind::Unsuback, version, &pairs, &mut down);
    for (from, wire) in [(Sender::Client, &mut up), (Sender::Server, &mut down)] {
        wire.extend(choices.publish(version, from));
        for kind in [AckKind::Puback, AckKind::Pubrec, AckKind::Pubrel, AckKind::Pubcomp] {
            let mut ack = Ack::new(kind, choices.id(), ReasonCode::Success);
            if version.is_v5() {
                ack.code = choices.code(kind.place());
                ack.diagnostics = choices.diagnostics(&pairs);
            }
            goes_round(&Packet::Ack(ack), version, from, wire);
        }
        if version.is_v5() {
            let code = ReasonCode::ContinueAuthentication;
            let (method, data) = (Some(choices.text()), choices.maybe(Choices::octets));
            let auth = Auth { code, method, data, diagnostics: choices.diagnostics(&pairs) };
            goes_round(&Packet::Auth(auth), version, from, wire);
            let goodbye = Disconnect {
                code: ReasonCode::UseAnotherServer,
                session_expiry_s: None,
                server_reference: choices.maybe(Choices::text),
                diagnostics: choices.diagnostics(&pairs),
            };
            goes_round(&Packet::Disconnect(goodbye), version, from, wire);
        }
    }
    (up, down)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn packets_of_every_kind_are_read_as_they_were_written(seed in any::<u64>()) {
        for version in Version::ALL {
            let (up, down) = conversation(seed, version);
            for (from, wire) in [(Sender::Client, up), (Sender::Server, down)] {
                let mut rest = &wire[..];
                while let Ok(Decoded::Frame { frame, taken }) = split(rest, PACKET_BYTES_MAX) {
                    prop_assert!(Packet::decode(&frame, version, from).is_ok());
                    mqtt_packet(&rest[..taken]);
                    rest = &rest[taken..];
                }
                prop_assert!(rest.is_empty());
            }
        }
    }

    #[test]
    fn octets_do_no_harm(input in prop::collection::vec(any::<u8>(), 0..200)) {
        mqtt_packet(&input);
        mqtt_stream(&input);
    }

    #[test]
    fn bodies_of_any_octets_do_no_harm(
        first in any::<u8>(),
        body in prop::collection::vec(prop_oneof![any::<u8>(), 0_u8..4], 0..60),
    ) {
        mqtt_packet(&super::packet(first, &body));
    }

    #[test]
    fn samples_with_other_octets_do_no_harm(
        sample in 0..SAMPLES.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let mut wire = SAMPLES[sample].2.to_vec();
        for (at, octet) in changes {
            let at = at.index(wire.len());
            wire[at] = octet;
        }
        mqtt_packet(&wire);
        let mut body = Vec::new();
        body.octets(wire.get(2..).unwrap_or_default());
        mqtt_packet(&super::packet(wire[0], &body));
    }
}
