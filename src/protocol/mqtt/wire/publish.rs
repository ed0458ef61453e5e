//! PUBLISH. May import the words of `wire`.

use super::encode::{Block, Count, Sink, Unsendable, lengths, variable_bytes};
use super::fault::Fault;
use super::header::Kind;
use super::input::Input;
use super::message_properties::{PublishProperties, put_added};
use super::topic::check_name;
use super::{PacketId, Qos, Sender, Version};

const DUP: u8 = 0b1000;
const RETAIN: u8 = 0b0001;

/// How surely a message is sent, and the number with which that is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Promise {
    /// QoS 0.
    AtMostOnce,
    /// QoS 1.
    AtLeastOnce(PacketId),
    /// QoS 2.
    ExactlyOnce(PacketId),
}

impl Promise {
    /// Without the number.
    #[must_use]
    #[inline]
    pub const fn qos(self) -> Qos {
        match self {
            Self::AtMostOnce => Qos::AtMostOnce,
            Self::AtLeastOnce(_) => Qos::AtLeastOnce,
            Self::ExactlyOnce(_) => Qos::ExactlyOnce,
        }
    }

    /// The number.
    #[must_use]
    #[inline]
    pub const fn packet_id(self) -> Option<PacketId> {
        match self {
            Self::AtMostOnce => None,
            Self::AtLeastOnce(id) | Self::ExactlyOnce(id) => Some(id),
        }
    }
}

/// A message as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    /// It may have come before.
    pub dup: bool,
    /// It is, or is to become, the retained message of its topic.
    pub retain: bool,
    /// How surely, and its number.
    pub promise: Promise,
    /// Where it goes; empty only if an alias stands for it.
    pub topic: &'a str,
    /// Empty before MQTT 5.0.
    pub properties: PublishProperties<'a>,
    /// The body.
    pub payload: &'a [u8],
}

impl<'a> Publish<'a> {
    /// From the flags of the fixed header and what follows it.
    ///
    /// # Errors
    /// See [`super`]; 0x90 for a bad topic, 0x82 for none.
    #[inline]
    pub fn decode(
        flags: u8,
        body: &'a [u8],
        version: Version,
        from: Sender,
    ) -> Result<Self, Fault> {
        let mut input = Input::new(body);
        // MQTT-3.3.1-4.
        let qos = Qos::from_bits((flags >> 1) & 3).ok_or(Fault::malformed("QoS 3"))?;
        let dup = flags & DUP != 0;
        // MQTT-3.3.1-2.
        if dup && qos == Qos::AtMostOnce && version != Version::V3 {
            return Err(Fault::malformed("DUP with QoS 0"));
        }
        let topic = input.text()?;
        let promise = match qos {
            Qos::AtMostOnce => Promise::AtMostOnce,
            Qos::AtLeastOnce => Promise::AtLeastOnce(input.packet_id()?),
            Qos::ExactlyOnce => Promise::ExactlyOnce(input.packet_id()?),
        };
        let mut properties = PublishProperties::default();
        if version.is_v5() {
            let block = input.block()?;
            if !block.is_empty() {
                properties = PublishProperties::read(block)?;
                // MQTT-3.3.4-6.
                if from == Sender::Client && properties.subscription_ids.iter().next().is_some() {
                    return Err(Fault::protocol("a subscription identifier from a client"));
                }
            }
        }
        if !topic.is_empty() || !version.is_v5() {
            check_name(topic)?;
        } else if properties.topic_alias.is_none() {
            return Err(Fault::protocol("neither a topic name nor an alias"));
        }
        let retain = flags & RETAIN != 0;
        Ok(Self { dup, retain, promise, topic, properties, payload: input.rest() })
    }
}

/// A message as it goes: all but the body.
#[derive(Debug, Clone, Copy)]
pub struct PublishHead<'a> {
    /// It may have been sent before.
    pub dup: bool,
    /// See [`Publish::retain`].
    pub retain: bool,
    /// How surely, and its number.
    pub promise: Promise,
    /// Where it goes; may be empty if the alias is known.
    pub topic: &'a str,
    /// Stands for the topic; not before MQTT 5.0, so for all below.
    pub alias: Option<u16>,
    /// Seconds that are left of its life.
    pub expiry_s: Option<u32>,
    /// Numbers of the subscriptions that match.
    pub subscription_ids: &'a [u32],
    /// What [`super::message_properties::MessageProperties::forwarded`] has given.
    pub forwarded: &'a [u8],
}

impl PublishHead<'_> {
    /// Octets of the whole packet with a body of that size.
    ///
    /// # Errors
    /// It is larger than `packet_bytes_max` or than a packet can be.
    pub fn packet_bytes(
        &self,
        version: Version,
        body_bytes: usize,
        packet_bytes_max: u32,
    ) -> Result<usize, Unsendable> {
        let (head_bytes, _) = self.counted(version);
        lengths(head_bytes.saturating_add(body_bytes), packet_bytes_max).map(|(_, bytes)| bytes)
    }

    /// Appends everything but the body, which must follow.
    ///
    /// # Errors
    /// It would be larger than `packet_bytes_max`; nothing is appended.
    #[inline]
    pub fn put_head(
        &self,
        out: &mut Vec<u8>,
        version: Version,
        body_bytes: usize,
        packet_bytes_max: u32,
    ) -> Result<(), Unsendable> {
        let (head_bytes, property_bytes) = self.counted(version);
        let (length, _) = lengths(head_bytes.saturating_add(body_bytes), packet_bytes_max)?;
        // The fixed header has five octets at most.
        out.reserve(head_bytes.saturating_add(5));
        out.push(self.first_octet());
        out.variable(length);
        self.write_start(out);
        if version.is_v5() {
            out.variable(property_bytes);
            self.write(out);
        }
        Ok(())
    }

    /// Appends the whole packet.
    ///
    /// # Errors
    /// It would be larger than `packet_bytes_max`; nothing is appended.
    #[inline]
    pub fn put(
        &self,
        out: &mut Vec<u8>,
        version: Version,
        body: &[u8],
        packet_bytes_max: u32,
    ) -> Result<(), Unsendable> {
        self.put_head(out, version, body.len(), packet_bytes_max)?;
        out.extend_from_slice(body);
        Ok(())
    }

    fn first_octet(&self) -> u8 {
        let set = |is: bool, flag: u8| if is { flag } else { 0 };
        let flags =
            set(self.dup, DUP) | (self.promise.qos().bits() << 1) | set(self.retain, RETAIN);
        Kind::Publish.first_octet(flags)
    }

    /// Octets between fixed header and body, and of the properties among them.
    #[inline]
    fn counted(&self, version: Version) -> (usize, u32) {
        let mut start = Count(0);
        self.write_start(&mut start);
        if !version.is_v5() {
            return (start.0, 0);
        }
        let mut properties = Count(0);
        self.write(&mut properties);
        let property_bytes = properties.as_u32();
        let length_bytes = variable_bytes(property_bytes);
        (start.0.saturating_add(length_bytes).saturating_add(properties.0), property_bytes)
    }

    #[inline]
    fn write_start<S: Sink>(&self, sink: &mut S) {
        sink.text(self.topic);
        if let Some(id) = self.promise.packet_id() {
            sink.packet_id(id);
        }
    }
}

impl Block for PublishHead<'_> {
    #[inline]
    fn write<S: Sink>(&self, sink: &mut S) {
        put_added(sink, self.alias, self.expiry_s, self.subscription_ids);
        sink.octets(self.forwarded);
    }
}
