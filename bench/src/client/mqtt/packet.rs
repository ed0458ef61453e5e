//! Packets as a client writes and reads them: RingMQ's codec, and a short way for messages without
//! properties and for answers in their shortest form. Imports the codec, the client's errors.

use ringmq::protocol::mqtt::wire::ack::{Ack, AckKind};
use ringmq::protocol::mqtt::wire::connack::Connack;
use ringmq::protocol::mqtt::wire::connect::{self, ConnectProperties};
use ringmq::protocol::mqtt::wire::encode::put;
use ringmq::protocol::mqtt::wire::header;
use ringmq::protocol::mqtt::wire::packet::Packet as Spoken;
use ringmq::protocol::mqtt::wire::properties::UserProperties;
use ringmq::protocol::mqtt::wire::publish::{self, Promise, PublishHead};
use ringmq::protocol::mqtt::wire::subscribe::{Filters, Options, Subscribe, put_filter};
use ringmq::protocol::mqtt::wire::{PACKET_BYTES_MAX, PacketId, Qos, Sender};
use ringmq::protocol::octets::Decoded;

use super::Version;
use crate::client::ClientError;

/// Keep-alive.
pub(crate) const PINGREQ: [u8; 2] = ringmq::protocol::mqtt::wire::packet::PINGREQ;
/// A farewell without a reason.
pub(crate) const DISCONNECT: [u8; 2] = [header::Kind::Disconnect.first_octet(0), 0];

/// Answers that have a packet identifier.
pub(crate) type Answer = AckKind;

const fn first_octet(answer: Answer) -> u8 {
    match answer {
        Answer::Puback => header::Kind::Puback.first_octet(0),
        Answer::Pubrec => header::Kind::Pubrec.first_octet(0),
        Answer::Pubrel => header::Kind::Pubrel.first_octet(2),
        Answer::Pubcomp => header::Kind::Pubcomp.first_octet(0),
    }
}

/// What a CONNECT says; no will.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Connect<'a> {
    /// What is spoken.
    pub(crate) version: Version,
    /// Client identifier.
    pub(crate) client_id: &'a str,
    /// User name and password; an empty user is none.
    pub(crate) login: (&'a str, &'a str),
    /// Clean session, clean start.
    pub(crate) is_clean: bool,
    /// How long the session lives without a connection, in seconds; 5.0 only.
    pub(crate) expiry_s: u32,
    /// Keep alive in seconds; 0 for none.
    pub(crate) keep_alive_s: u16,
}

/// What a PUBLISH says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Publish<'a> {
    /// What is spoken.
    pub(crate) version: Version,
    /// Topic name.
    pub(crate) topic: &'a str,
    /// Quality of service.
    pub(crate) qos: u8,
    /// To be retained, or retained.
    pub(crate) is_retained: bool,
    /// Packet identifier; nothing in QoS 0.
    pub(crate) packet_id: u16,
    /// The payload.
    pub(crate) body: &'a [u8],
}

/// What a broker can do (5.0, 3.2.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Messages of QoS 1 and 2 in flight.
    pub(crate) receive_max: u16,
    /// Highest quality of service.
    pub(crate) qos_max: u8,
    /// Whether messages are retained.
    pub(crate) can_retain: bool,
    /// Octets of a packet.
    pub(crate) packet_bytes_max: u32,
}

#[cfg(test)]
impl Limits {
    /// A broker without limits.
    pub(crate) const NONE: Self =
        Self { receive_max: u16::MAX, qos_max: 2, can_retain: true, packet_bytes_max: u32::MAX };
}

/// What a broker sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    /// Answer to CONNECT.
    Connack {
        /// The broker had a session.
        has_session: bool,
        /// 0 for success.
        code: u8,
        /// What the broker can do.
        limits: Limits,
    },
    /// A message.
    Publish(Delivery<'a>),
    /// Word on a message or a step of QoS 2; code 0 in 3.1.1.
    Answer(Answer, u16, u8),
    /// Answer to SUBSCRIBE: a code for each filter.
    Suback(&'a [u8]),
    /// Answer to PINGREQ.
    Pingresp,
    /// The broker's farewell and why (5.0).
    Disconnect(u8),
}

/// A message as it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delivery<'a> {
    /// Topic name.
    pub(crate) topic: &'a [u8],
    /// Quality of service.
    pub(crate) qos: u8,
    /// Retained.
    pub(crate) is_retained: bool,
    /// Sent again.
    pub(crate) is_again: bool,
    /// Packet identifier; 0 for QoS 0.
    pub(crate) packet_id: u16,
    /// The payload.
    pub(crate) body: &'a [u8],
}

/// Writes a CONNECT.
pub(crate) fn put_connect(out: &mut Vec<u8>, connect: &Connect<'_>) {
    let (user, password) = connect.login;
    let has_login = !user.is_empty();
    let session_expiry_s = connect.expiry_s;
    let packet = connect::Connect {
        version: connect.version,
        is_bridge: false,
        clean_start: connect.is_clean,
        keep_alive_s: connect.keep_alive_s,
        client_id: connect.client_id,
        will: None,
        user_name: has_login.then_some(user),
        password: has_login.then_some(password.as_bytes()),
        properties: ConnectProperties { session_expiry_s, ..ConnectProperties::default() },
    };
    // Options allow nothing that does not fit, here and below.
    let _ = put(out, &packet, connect.version, PACKET_BYTES_MAX);
}

/// Writes a SUBSCRIBE.
pub(crate) fn put_subscribe(
    out: &mut Vec<u8>,
    version: Version,
    packet_id: u16,
    filters: &[String],
    qos: u8,
) {
    let mut written = Vec::new();
    let options = Options { qos: level(qos), ..Options::default() };
    for filter in filters {
        put_filter(&mut written, filter, options, version);
    }
    let Some(packet_id) = PacketId::new(packet_id) else { return };
    let packet = Subscribe {
        packet_id,
        subscription_id: None,
        user_properties: UserProperties::NONE,
        filters: Filters::written(&written, version),
    };
    let _ = put(out, &packet, version, PACKET_BYTES_MAX);
}

/// Writes a PUBLISH; behind its topic stand the packet identifier (not in QoS 0), in 5.0 an
/// octet for no properties, and the body.
pub(crate) fn put_publish(out: &mut Vec<u8>, publish: &Publish<'_>) {
    let promise = match (level(publish.qos), PacketId::new(publish.packet_id)) {
        (Qos::AtLeastOnce, Some(id)) => Promise::AtLeastOnce(id),
        (Qos::ExactlyOnce, Some(id)) => Promise::ExactlyOnce(id),
        (Qos::AtMostOnce | Qos::AtLeastOnce | Qos::ExactlyOnce, _) => Promise::AtMostOnce,
    };
    let head = PublishHead {
        dup: false,
        retain: publish.is_retained,
        promise,
        topic: publish.topic,
        alias: None,
        expiry_s: None,
        subscription_ids: &[],
        forwarded: &[],
    };
    let _ = head.put(out, publish.version, publish.body, PACKET_BYTES_MAX);
}

/// Writes an answer in its shortest form, which is the same in all versions.
#[inline]
pub(crate) fn put_answer(out: &mut Vec<u8>, answer: Answer, packet_id: u16) {
    let [high, low] = packet_id.to_be_bytes();
    out.extend_from_slice(&[first_octet(answer), 2, high, low]);
}

/// Options take 0, 1 and 2.
fn level(qos: u8) -> Qos {
    Qos::from_bits(qos).unwrap_or_default()
}

/// The packet at the front and what follows; `None` if its end has not come.
///
/// # Errors
/// `Fault` for what no broker may send to a client.
#[inline]
pub(crate) fn split(
    input: &[u8],
    version: Version,
) -> Result<Option<(Packet<'_>, &[u8])>, ClientError> {
    match split_plain(input, version) {
        Some(found) => Ok(Some(found)),
        None => split_any(input, version),
    }
}

/// A message that comes for the first time and without properties, or an answer in its shortest
/// form; `None` for all else.
#[inline]
fn split_plain(input: &[u8], version: Version) -> Option<(Packet<'_>, &[u8])> {
    let (&first, behind) = input.split_first()?;
    if let (0x40 | 0x50 | 0x62 | 0x70, [2, high, low, rest @ ..]) = (first, behind) {
        let answer = match first {
            0x40 => Answer::Puback,
            0x50 => Answer::Pubrec,
            0x62 => Answer::Pubrel,
            _ => Answer::Pubcomp,
        };
        return Some((Packet::Answer(answer, u16::from_be_bytes([*high, *low]), 0), rest));
    }
    let (qos, is_retained) = (first >> 1 & 3, first & 1 != 0);
    if first & 0xF8 != 0x30 || qos == 3 {
        return None;
    }
    let (length, behind) = split_length(behind)?;
    let (content, rest) = behind.split_at_checked(length)?;
    let (topic_bytes, content) = content.split_first_chunk::<2>()?;
    let (topic, content) = content.split_at_checked(u16::from_be_bytes(*topic_bytes).into())?;
    let (packet_id, content) = match qos {
        0 => (0, content),
        _ => content.split_first_chunk().map(|(id, rest)| (u16::from_be_bytes(*id), rest))?,
    };
    let body = if version.is_v5() { content.strip_prefix(&[0])? } else { content };
    if topic.is_empty() || (qos > 0 && packet_id == 0) {
        return None;
    }
    let is_again = false;
    let delivery = Delivery { topic, qos, is_retained, is_again, packet_id, body };
    Some((Packet::Publish(delivery), rest))
}

/// A remaining length that has come whole, and what follows.
#[inline]
fn split_length(input: &[u8]) -> Option<(usize, &[u8])> {
    let mut length = 0_usize;
    let mut rest = input;
    for shift in [0, 7, 14, 21] {
        let (&octet, behind) = rest.split_first()?;
        length |= usize::from(octet & 0x7F) << shift;
        rest = behind;
        if octet & 0x80 == 0 {
            return Some((length, rest));
        }
    }
    None
}

/// Any packet of a broker.
fn split_any(input: &[u8], version: Version) -> Result<Option<(Packet<'_>, &[u8])>, ClientError> {
    let (raw, taken) = match header::split(input, PACKET_BYTES_MAX)? {
        Decoded::Frame { frame, taken } => (frame, taken),
        Decoded::NeedMore { .. } => return Ok(None),
    };
    let packet = match Spoken::decode(&raw, version, Sender::Server)? {
        Spoken::Connack(connack) => of_connack(&connack),
        Spoken::Publish(publish) => Packet::Publish(of_publish(&publish)),
        Spoken::Ack(Ack { kind, packet_id, code, .. }) => {
            Packet::Answer(kind, packet_id.get(), code.octet())
        }
        Spoken::Suback(suback) => Packet::Suback(suback.codes),
        Spoken::Pingresp => Packet::Pingresp,
        Spoken::Disconnect(disconnect) => Packet::Disconnect(disconnect.code.octet()),
        Spoken::Connect(_)
        | Spoken::Subscribe(_)
        | Spoken::Unsubscribe(_)
        | Spoken::Pingreq
        | Spoken::Auth(_) => return Err(ClientError::Unexpected("packet of a client, or AUTH")),
    };
    Ok(Some((packet, input.get(taken..).unwrap_or_default())))
}

fn of_connack<'a>(connack: &Connack<'_>) -> Packet<'a> {
    let properties = &connack.properties;
    let limits = Limits {
        receive_max: properties.receive_max,
        qos_max: properties.qos_max.bits(),
        can_retain: properties.retain_available,
        packet_bytes_max: properties.packet_bytes_max.unwrap_or(u32::MAX),
    };
    Packet::Connack { has_session: connack.session_present, code: connack.code.octet(), limits }
}

fn of_publish<'a>(publish: &publish::Publish<'a>) -> Delivery<'a> {
    Delivery {
        topic: publish.topic.as_bytes(),
        qos: publish.promise.qos().bits(),
        is_retained: publish.retain,
        is_again: publish.dup,
        packet_id: publish.promise.packet_id().map_or(0, PacketId::get),
        body: publish.payload,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(version: Version, login: (&'static str, &'static str)) -> Connect<'static> {
        Connect { version, client_id: "c", login, is_clean: true, expiry_s: 0, keep_alive_s: 60 }
    }

    #[test]
    fn packets_are_written_as_the_specification_says() {
        let mut out = Vec::new();
        put_connect(&mut out, &connect(Version::V4, ("", "")));
        assert_eq!(out, b"\x10\x0D\0\x04MQTT\x04\x02\0\x3C\0\x01c");
        out.clear();
        let login = Connect { expiry_s: 9, is_clean: false, ..connect(Version::V5, ("u", "p")) };
        put_connect(&mut out, &login);
        assert_eq!(out, b"\x10\x19\0\x04MQTT\x05\xC0\0\x3C\x05\x11\0\0\0\x09\0\x01c\0\x01u\0\x01p");
        out.clear();
        put_subscribe(&mut out, Version::V5, 7, &["a".to_owned(), "b/#".to_owned()], 1);
        assert_eq!(out, b"\x82\x0D\0\x07\0\0\x01a\x01\0\x03b/#\x01");
        out.clear();
        put_answer(&mut out, Answer::Pubrel, 258);
        assert_eq!(out, b"\x62\x02\x01\x02");
    }

    #[test]
    fn a_message_comes_back_as_it_was_written_however_long() {
        for (version, qos, body_bytes) in
            [(Version::V4, 0, 0), (Version::V4, 2, 120), (Version::V5, 1, 16_400)]
        {
            let body = vec![7; body_bytes];
            let packet_id = if qos > 0 { 513 } else { 0 };
            let (is_retained, is_again) = (qos == 1, false);
            let mut out = Vec::new();
            let publish =
                Publish { version, topic: "a/b", qos, is_retained, packet_id, body: &body };
            put_publish(&mut out, &publish);
            let delivery =
                Delivery { topic: b"a/b", qos, is_retained, is_again, packet_id, body: &body };
            for cut in 0..out.len() {
                assert!(split(&out[..cut], version).unwrap().is_none(), "cut at {cut}");
            }
            let (packet, rest) = split(&out, version).unwrap().unwrap();
            assert_eq!((packet, rest), (Packet::Publish(delivery), &[][..]));
        }
    }

    #[test]
    fn what_a_broker_can_do_is_read() {
        let octets = b"\x20\x14\x01\x00\x11\x21\0\x14\x26\0\x01a\0\x01b\x24\x01\x25\0\x22\0\x0A";
        let (packet, _) = split(octets, Version::V5).unwrap().unwrap();
        let limits = Limits { receive_max: 20, qos_max: 1, can_retain: false, ..Limits::NONE };
        assert_eq!(packet, Packet::Connack { has_session: true, code: 0, limits });
    }

    #[test]
    fn nonsense_is_an_error_and_no_panic() {
        for octets in [
            &b"\x30\x80\x80\x80\x80\x01"[..],
            b"\x36\x05\0\x01a\0\x01",
            b"\x32\x05\0\x01a\0\0",
            b"\x30\x02\0\x09",
            b"\x10\0",
            b"\x20\x01\0",
            b"\x20\x05\0\0\x02\x7F\0",
            b"\x40\x01\0",
        ] {
            assert!(split(octets, Version::V5).is_err(), "{octets:?}");
        }
    }
}
