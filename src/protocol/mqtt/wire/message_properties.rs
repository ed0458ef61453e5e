//! What a message says beside its body, in PUBLISH and in a will, and the part of it that a broker
//! hands on unaltered: those octets are the property block of a message inside the broker. May
//! import `properties`, `property_table`, `encode`, `fault`.

use super::encode::{Block, Sink};
use super::fault::Fault;
use super::properties::{
    SubscriptionIds, UserProperties, Value, iter, put_binary, put_byte, put_four, put_text,
    put_two, scan,
};
use super::property_table::{self as table, Place};

/// What PUBLISH and a will have in common.
#[derive(Debug, Clone, Copy, Default)]
pub struct MessageProperties<'a> {
    /// `Some(true)`: the body is UTF-8, `Some(false)`: it is any octets.
    pub is_text: Option<bool>,
    /// Seconds after which nobody wants it.
    pub expiry_s: Option<u32>,
    /// What the body is.
    pub content_type: Option<&'a str>,
    /// Where an answer is to go.
    pub response_topic: Option<&'a str>,
    /// What an answer is to carry.
    pub correlation: Option<&'a [u8]>,
    /// Pairs.
    pub user_properties: UserProperties<'a>,
    /// The block it was read from.
    block: &'a [u8],
    forward: Forward,
}

/// What of a block is handed on.
#[derive(Debug, Clone, Copy, Default)]
struct Forward {
    /// How far the block was read.
    read: usize,
    /// From the first that is handed on to the last.
    start: usize,
    end: usize,
    /// Something else lies between.
    scattered: bool,
}

impl Forward {
    /// The next property has so many octets.
    #[inline]
    fn add(&mut self, octets: usize, is_forwarded: bool) {
        let start = self.read;
        self.read = start.saturating_add(octets);
        if is_forwarded {
            if self.end == 0 {
                self.start = start;
            } else if self.end != start {
                self.scattered = true;
            }
            self.end = self.read;
        }
    }
}

/// Whether a broker hands it on unaltered (MQTT-3.3.2-4, -15 to -18, -20).
const fn is_forwarded(id: u8) -> bool {
    matches!(
        id,
        table::PAYLOAD_FORMAT
            | table::CONTENT_TYPE
            | table::RESPONSE_TOPIC
            | table::CORRELATION_DATA
            | table::USER_PROPERTY
    )
}

impl<'a> MessageProperties<'a> {
    const fn of(block: &'a [u8]) -> Self {
        Self {
            is_text: None,
            expiry_s: None,
            content_type: None,
            response_topic: None,
            correlation: None,
            user_properties: UserProperties::of(block),
            block,
            forward: Forward { read: 0, start: 0, end: 0, scattered: false },
        }
    }

    #[inline]
    fn take(&mut self, id: u8, value: Value<'a>, octets: usize) {
        match id {
            table::PAYLOAD_FORMAT => self.is_text = Some(value.is_set()),
            table::MESSAGE_EXPIRY => self.expiry_s = Some(value.number()),
            table::CONTENT_TYPE => self.content_type = Some(value.text()),
            table::RESPONSE_TOPIC => self.response_topic = Some(value.text()),
            table::CORRELATION_DATA => self.correlation = Some(value.binary()),
            _ => {}
        }
        self.forward.add(octets, is_forwarded(id));
    }

    /// Reads the property block of a message inside the broker, or of a PUBLISH without its length.
    ///
    /// # Errors
    /// Neither a block that [`MessageProperties::forwarded`] has given nor one written by
    /// [`Block::write`] has any.
    pub fn read(block: &'a [u8]) -> Result<Self, Fault> {
        let mut found = Self::of(block);
        scan(block, Place::Publish, |id, value, octets| found.take(id, value, octets))?;
        Ok(found)
    }

    /// The properties that a broker hands on unaltered, in their order, as octets of MQTT 5.0 without
    /// a length. They are borrowed as they came unless something else stands between them; then they
    /// are written to `scratch`, which is cleared for it. Only of properties that were read: those
    /// that somebody has put together are written with [`Block::write`].
    #[must_use]
    pub fn forwarded<'b>(&self, scratch: &'b mut Vec<u8>) -> &'b [u8]
    where
        'a: 'b,
    {
        if !self.forward.scattered {
            return self.block.get(self.forward.start..self.forward.end).unwrap_or_default();
        }
        scratch.clear();
        for property in iter(self.block) {
            if is_forwarded(property.definition.id) {
                scratch.extend_from_slice(property.octets);
            }
        }
        scratch
    }
}

impl Block for MessageProperties<'_> {
    fn write<S: Sink>(&self, sink: &mut S) {
        put_byte(sink, table::PAYLOAD_FORMAT, self.is_text.map(u8::from));
        put_four(sink, table::MESSAGE_EXPIRY, self.expiry_s);
        put_text(sink, table::CONTENT_TYPE, self.content_type);
        put_text(sink, table::RESPONSE_TOPIC, self.response_topic);
        put_binary(sink, table::CORRELATION_DATA, self.correlation);
        self.user_properties.write(sink);
    }
}

impl PartialEq for MessageProperties<'_> {
    /// What they say, in whatever order.
    fn eq(&self, other: &Self) -> bool {
        self.is_text == other.is_text
            && self.expiry_s == other.expiry_s
            && self.content_type == other.content_type
            && self.response_topic == other.response_topic
            && self.correlation == other.correlation
            && self.user_properties == other.user_properties
    }
}

impl Eq for MessageProperties<'_> {}

/// The properties of a PUBLISH.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PublishProperties<'a> {
    /// What a will has too.
    pub message: MessageProperties<'a>,
    /// Stands for the topic.
    pub topic_alias: Option<u16>,
    /// The numbers of the subscriptions that match.
    pub subscription_ids: SubscriptionIds<'a>,
}

impl<'a> PublishProperties<'a> {
    /// Reads a block without its length.
    ///
    /// # Errors
    /// See [`super`].
    #[inline]
    pub fn read(block: &'a [u8]) -> Result<Self, Fault> {
        let mut found = Self { message: MessageProperties::of(block), ..Self::default() };
        scan(block, Place::Publish, |id, value, octets| {
            match id {
                table::TOPIC_ALIAS => found.topic_alias = Some(value.two()),
                // Only a block that has some is looked through again for them.
                table::SUBSCRIPTION_ID => found.subscription_ids = SubscriptionIds::of(block),
                _ => {}
            }
            found.message.take(id, value, octets);
        })?;
        Ok(found)
    }
}

/// The properties of a will.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WillProperties<'a> {
    /// What a PUBLISH has too.
    pub message: MessageProperties<'a>,
    /// Seconds that it waits for the client to come back.
    pub delay_s: u32,
}

impl<'a> WillProperties<'a> {
    /// Reads a block without its length.
    ///
    /// # Errors
    /// See [`super`].
    pub fn read(block: &'a [u8]) -> Result<Self, Fault> {
        let mut found = Self { message: MessageProperties::of(block), delay_s: 0 };
        scan(block, Place::Will, |id, value, octets| {
            if id == table::WILL_DELAY {
                found.delay_s = value.number();
            }
            found.message.take(id, value, octets);
        })?;
        Ok(found)
    }
}

impl Block for WillProperties<'_> {
    fn write<S: Sink>(&self, sink: &mut S) {
        put_four(sink, table::WILL_DELAY, Some(self.delay_s).filter(|&delay| delay != 0));
        self.message.write(sink);
    }
}

/// What is added to forwarded properties on their way out.
pub(super) fn put_added<S: Sink>(
    sink: &mut S,
    alias: Option<u16>,
    expiry_s: Option<u32>,
    subscription_ids: &[u32],
) {
    put_four(sink, table::MESSAGE_EXPIRY, expiry_s);
    put_two(sink, table::TOPIC_ALIAS, alias);
    for &id in subscription_ids {
        sink.u8(table::SUBSCRIPTION_ID);
        sink.variable(id);
    }
}
