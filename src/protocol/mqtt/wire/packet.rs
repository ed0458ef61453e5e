//! All packets as one enum, for those who do not treat each kind apart. May import the words of
//! `wire`.

use super::ack::{Ack, AckKind};
use super::auth::Auth;
use super::connack::Connack;
use super::connect::Connect;
use super::disconnect::Disconnect;
use super::encode::{Block, Unsendable, put};
use super::fault::Fault;
use super::header::{Kind, Raw};
use super::input::Input;
use super::publish::{Publish, PublishHead};
use super::suback::{AnswerKind, Suback};
use super::subscribe::Subscribe;
use super::unsubscribe::Unsubscribe;
use super::{Sender, Version};

/// One packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet<'a> {
    /// CONNECT.
    Connect(Connect<'a>),
    /// CONNACK.
    Connack(Connack<'a>),
    /// PUBLISH.
    Publish(Publish<'a>),
    /// PUBACK, PUBREC, PUBREL, PUBCOMP.
    Ack(Ack<'a>),
    /// SUBSCRIBE.
    Subscribe(Subscribe<'a>),
    /// SUBACK, UNSUBACK.
    Suback(Suback<'a>),
    /// UNSUBSCRIBE.
    Unsubscribe(Unsubscribe<'a>),
    /// PINGREQ.
    Pingreq,
    /// PINGRESP.
    Pingresp,
    /// DISCONNECT.
    Disconnect(Disconnect<'a>),
    /// AUTH.
    Auth(Auth<'a>),
}

/// PINGREQ as it is sent.
pub const PINGREQ: [u8; 2] = [Kind::Pingreq.first_octet(0), 0];
/// PINGRESP as it is sent.
pub const PINGRESP: [u8; 2] = [Kind::Pingresp.first_octet(0), 0];

impl<'a> Packet<'a> {
    /// What a packet says. CONNECT says itself which version it is.
    ///
    /// # Errors
    /// See [`super`].
    pub fn decode(raw: &Raw<'a>, version: Version, from: Sender) -> Result<Self, Fault> {
        raw.header.check(version, from)?;
        let body = raw.body;
        let ack = |kind| Ack::decode(kind, body, version).map(Self::Ack);
        let suback = |kind| Suback::decode(kind, body, version).map(Self::Suback);
        let empty = |packet| Input::new(body).finish().map(|()| packet);
        match raw.header.kind {
            Kind::Connect => {
                Connect::decode(body).map(Self::Connect).map_err(|refused| refused.fault)
            }
            Kind::Connack => Connack::decode(body, version).map(Self::Connack),
            Kind::Publish => {
                Publish::decode(raw.header.flags, body, version, from).map(Self::Publish)
            }
            Kind::Puback => ack(AckKind::Puback),
            Kind::Pubrec => ack(AckKind::Pubrec),
            Kind::Pubrel => ack(AckKind::Pubrel),
            Kind::Pubcomp => ack(AckKind::Pubcomp),
            Kind::Subscribe => Subscribe::decode(body, version).map(Self::Subscribe),
            Kind::Suback => suback(AnswerKind::Suback),
            Kind::Unsubscribe => Unsubscribe::decode(body, version).map(Self::Unsubscribe),
            Kind::Unsuback => suback(AnswerKind::Unsuback),
            Kind::Pingreq => empty(Self::Pingreq),
            Kind::Pingresp => empty(Self::Pingresp),
            Kind::Disconnect => Disconnect::decode(body, version, from).map(Self::Disconnect),
            Kind::Auth => Auth::decode(body, from).map(Self::Auth),
        }
    }

    /// Appends it.
    ///
    /// # Errors
    /// It is larger than `packet_bytes_max`, or the version has no such packet; nothing is appended.
    pub fn put(
        &self,
        out: &mut Vec<u8>,
        version: Version,
        packet_bytes_max: u32,
    ) -> Result<(), Unsendable> {
        match self {
            Self::Connect(packet) => put(out, packet, packet.version, packet_bytes_max),
            Self::Connack(packet) => put(out, packet, version, packet_bytes_max),
            Self::Publish(packet) => put_publish(out, packet, version, packet_bytes_max),
            Self::Ack(packet) => put(out, packet, version, packet_bytes_max),
            Self::Subscribe(packet) => put(out, packet, version, packet_bytes_max),
            Self::Suback(packet) => put(out, packet, version, packet_bytes_max),
            Self::Unsubscribe(packet) => put(out, packet, version, packet_bytes_max),
            Self::Pingreq => {
                out.extend_from_slice(&PINGREQ);
                Ok(())
            }
            Self::Pingresp => {
                out.extend_from_slice(&PINGRESP);
                Ok(())
            }
            Self::Disconnect(packet) => put(out, packet, version, packet_bytes_max),
            Self::Auth(packet) => put(out, packet, version, packet_bytes_max),
        }
    }
}

/// Properties that were read and those that somebody has put together are written alike.
fn put_publish(
    out: &mut Vec<u8>,
    packet: &Publish<'_>,
    version: Version,
    packet_bytes_max: u32,
) -> Result<(), Unsendable> {
    let ids: Vec<u32> = packet.properties.subscription_ids.iter().collect();
    let mut message = packet.properties.message;
    let expiry_s = message.expiry_s.take();
    let mut forwarded = Vec::new();
    message.write(&mut forwarded);
    let head = PublishHead {
        dup: packet.dup,
        retain: packet.retain,
        promise: packet.promise,
        topic: packet.topic,
        alias: packet.properties.topic_alias,
        expiry_s,
        subscription_ids: &ids,
        forwarded: &forwarded,
    };
    head.put(out, version, packet.payload, packet_bytes_max)
}
