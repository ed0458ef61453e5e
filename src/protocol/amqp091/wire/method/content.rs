//! Methods of class basic (60) that carry content.
//! May import `octets` and `field_table`. Written by generate_method_table.py: change that.

use super::{Encode, put_id};
use crate::protocol::octets::{Reader, WireError, put_short_str, put_u16, put_u32, put_u64};

/// basic.publish (60, 40), with content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Reserved since 0-9-1.
    pub ticket: u16,
    /// Name of the exchange; empty for the default one.
    pub exchange: &'a str,
    /// Routing key.
    pub routing_key: &'a str,
    /// Return what reaches no queue.
    pub mandatory: bool,
    /// Return what no consumer can take at once.
    pub immediate: bool,
}

impl<'a> Publish<'a> {
    #[inline]
    pub(super) fn read(input: &mut Reader<'a>) -> Result<Self, WireError> {
        let ticket = input.u16()?;
        let exchange = input.short_str()?;
        let routing_key = input.short_str()?;
        let bits = input.u8()?;
        Ok(Self {
            ticket,
            exchange,
            routing_key,
            mandatory: bits & 1 != 0,
            immediate: bits & 2 != 0,
        })
    }
}

impl Encode for Publish<'_> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 60, 40);
        put_u16(out, self.ticket);
        put_short_str(out, self.exchange);
        put_short_str(out, self.routing_key);
        out.push(u8::from(self.mandatory) | u8::from(self.immediate) << 1);
    }
}

/// basic.return (60, 50), with content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Return<'a> {
    /// The cause as a number.
    pub reply_code: u16,
    /// The cause for people.
    pub reply_text: &'a str,
    /// Name of the exchange; empty for the default one.
    pub exchange: &'a str,
    /// Routing key.
    pub routing_key: &'a str,
}

impl<'a> Return<'a> {
    #[inline]
    pub(super) fn read(input: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self {
            reply_code: input.u16()?,
            reply_text: input.short_str()?,
            exchange: input.short_str()?,
            routing_key: input.short_str()?,
        })
    }
}

impl Encode for Return<'_> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 60, 50);
        put_u16(out, self.reply_code);
        put_short_str(out, self.reply_text);
        put_short_str(out, self.exchange);
        put_short_str(out, self.routing_key);
    }
}

/// basic.deliver (60, 60), with content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deliver<'a> {
    /// Name of the consumer on its channel.
    pub consumer_tag: &'a str,
    /// Number of the delivery, or of the publish, on its channel.
    pub delivery_tag: u64,
    /// Whether it may have been delivered before.
    pub redelivered: bool,
    /// Name of the exchange; empty for the default one.
    pub exchange: &'a str,
    /// Routing key.
    pub routing_key: &'a str,
}

impl<'a> Deliver<'a> {
    #[inline]
    pub(super) fn read(input: &mut Reader<'a>) -> Result<Self, WireError> {
        let consumer_tag = input.short_str()?;
        let delivery_tag = input.u64()?;
        let bits = input.u8()?;
        Ok(Self {
            consumer_tag,
            delivery_tag,
            redelivered: bits & 1 != 0,
            exchange: input.short_str()?,
            routing_key: input.short_str()?,
        })
    }
}

impl Encode for Deliver<'_> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 60, 60);
        put_short_str(out, self.consumer_tag);
        put_u64(out, self.delivery_tag);
        out.push(u8::from(self.redelivered));
        put_short_str(out, self.exchange);
        put_short_str(out, self.routing_key);
    }
}

/// basic.get-ok (60, 71), with content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetOk<'a> {
    /// Number of the delivery, or of the publish, on its channel.
    pub delivery_tag: u64,
    /// Whether it may have been delivered before.
    pub redelivered: bool,
    /// Name of the exchange; empty for the default one.
    pub exchange: &'a str,
    /// Routing key.
    pub routing_key: &'a str,
    /// Messages that are ready, or that were removed.
    pub message_count: u32,
}

impl<'a> GetOk<'a> {
    #[inline]
    pub(super) fn read(input: &mut Reader<'a>) -> Result<Self, WireError> {
        let delivery_tag = input.u64()?;
        let bits = input.u8()?;
        Ok(Self {
            delivery_tag,
            redelivered: bits & 1 != 0,
            exchange: input.short_str()?,
            routing_key: input.short_str()?,
            message_count: input.u32()?,
        })
    }
}

impl Encode for GetOk<'_> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 60, 71);
        put_u64(out, self.delivery_tag);
        out.push(u8::from(self.redelivered));
        put_short_str(out, self.exchange);
        put_short_str(out, self.routing_key);
        put_u32(out, self.message_count);
    }
}
