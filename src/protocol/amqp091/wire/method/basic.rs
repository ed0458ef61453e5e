//! Methods of class basic (60).
//! May import `octets` and `field_table`. Written by generate_method_table.py: change that.

pub use super::content::{Deliver, GetOk, Publish, Return};
use super::{Encode, MethodError, put_id};
use crate::protocol::amqp091::wire::field_table::TableRef;
use crate::protocol::octets::{Reader, WireError, put_short_str, put_u16, put_u32, put_u64};

/// A method of class basic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basic<'a> {
    /// basic.qos (60, 10).
    Qos(Qos),
    /// basic.qos-ok (60, 11).
    QosOk,
    /// basic.consume (60, 20).
    Consume(Consume<'a>),
    /// basic.consume-ok (60, 21).
    ConsumeOk(ConsumeOk<'a>),
    /// basic.cancel (60, 30).
    Cancel(Cancel<'a>),
    /// basic.cancel-ok (60, 31).
    CancelOk(CancelOk<'a>),
    /// basic.publish (60, 40).
    Publish(Publish<'a>),
    /// basic.return (60, 50).
    Return(Return<'a>),
    /// basic.deliver (60, 60).
    Deliver(Deliver<'a>),
    /// basic.get (60, 70).
    Get(Get<'a>),
    /// basic.get-ok (60, 71).
    GetOk(GetOk<'a>),
    /// basic.get-empty (60, 72).
    GetEmpty(GetEmpty<'a>),
    /// basic.ack (60, 80).
    Ack(Ack),
    /// basic.reject (60, 90).
    Reject(Reject),
    /// basic.recover-async (60, 100).
    RecoverAsync(RecoverAsync),
    /// basic.recover (60, 110).
    Recover(Recover),
    /// basic.recover-ok (60, 111).
    RecoverOk,
    /// basic.nack (60, 120).
    Nack(Nack),
}

impl<'a> Basic<'a> {
    /// Reads what follows the ids.
    #[inline]
    pub(super) fn read(method: u16, input: &mut Reader<'a>) -> Result<Self, MethodError> {
        Ok(match method {
            10 => Self::Qos(Qos::read(input)?),
            11 => Self::QosOk,
            20 => Self::Consume(Consume::read(input)?),
            21 => Self::ConsumeOk(ConsumeOk::read(input)?),
            30 => Self::Cancel(Cancel::read(input)?),
            31 => Self::CancelOk(CancelOk::read(input)?),
            40 => Self::Publish(Publish::read(input)?),
            50 => Self::Return(Return::read(input)?),
            60 => Self::Deliver(Deliver::read(input)?),
            70 => Self::Get(Get::read(input)?),
            71 => Self::GetOk(GetOk::read(input)?),
            72 => Self::GetEmpty(GetEmpty::read(input)?),
            80 => Self::Ack(Ack::read(input)?),
            90 => Self::Reject(Reject::read(input)?),
            100 => Self::RecoverAsync(RecoverAsync::read(input)?),
            110 => Self::Recover(Recover::read(input)?),
            111 => Self::RecoverOk,
            120 => Self::Nack(Nack::read(input)?),
            _ => return Err(MethodError::Unknown { class: 60, method }),
        })
    }

    /// Number of the method within its class.
    pub const fn method_id(&self) -> u16 {
        match self {
            Self::Qos(_) => 10,
            Self::QosOk => 11,
            Self::Consume(_) => 20,
            Self::ConsumeOk(_) => 21,
            Self::Cancel(_) => 30,
            Self::CancelOk(_) => 31,
            Self::Publish(_) => 40,
            Self::Return(_) => 50,
            Self::Deliver(_) => 60,
            Self::Get(_) => 70,
            Self::GetOk(_) => 71,
            Self::GetEmpty(_) => 72,
            Self::Ack(_) => 80,
            Self::Reject(_) => 90,
            Self::RecoverAsync(_) => 100,
            Self::Recover(_) => 110,
            Self::RecoverOk => 111,
            Self::Nack(_) => 120,
        }
    }
}

impl Encode for Basic<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Qos(method) => method.encode(out),
            Self::QosOk => put_id(out, 60, 11),
            Self::Consume(method) => method.encode(out),
            Self::ConsumeOk(method) => method.encode(out),
            Self::Cancel(method) => method.encode(out),
            Self::CancelOk(method) => method.encode(out),
            Self::Publish(method) => method.encode(out),
            Self::Return(method) => method.encode(out),
            Self::Deliver(method) => method.encode(out),
            Self::Get(method) => method.encode(out),
            Self::GetOk(method) => method.encode(out),
            Self::GetEmpty(method) => method.encode(out),
            Self::Ack(method) => method.encode(out),
            Self::Reject(method) => method.encode(out),
            Self::RecoverAsync(method) => method.encode(out),
            Self::Recover(method) => method.encode(out),
            Self::RecoverOk => put_id(out, 60, 111),
            Self::Nack(method) => method.encode(out),
        }
    }
}

/// basic.qos (60, 10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Qos {
    /// Octets that may be unacknowledged; 0 for no limit.
    pub prefetch_size: u32,
    /// Messages that may be unacknowledged; 0 for no limit.
    pub prefetch_count: u16,
    /// Whether for all consumers of the channel together.
    pub global: bool,
}

impl Qos {
    #[inline]
    pub(super) fn read(input: &mut Reader<'_>) -> Result<Self, WireError> {
        let prefetch_size = input.u32()?;
        let prefetch_count = input.u16()?;
        let bits = input.u8()?;
        Ok(Self { prefetch_size, prefetch_count, global: bits & 1 != 0 })
    }
}

impl Encode for Qos {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 60, 10);
        put_u32(out, self.prefetch_size);
        put_u16(out, self.prefetch_count);
        out.push(u8::from(self.global));
    }
}

/// basic.consume (60, 20).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consume<'a> {
    /// Reserved since 0-9-1.
    pub ticket: u16,
    /// Name of the queue; empty for the last declared or a new one.
    pub queue: &'a str,
    /// Name of the consumer on its channel.
    pub consumer_tag: &'a str,
    /// Whether one's own messages are left out.
    pub no_local: bool,
    /// Whether deliveries count as acknowledged.
    pub no_ack: bool,
    /// Whether others are kept out.
    pub exclusive: bool,
    /// Whether no answer is wanted.
    pub no_wait: bool,
    /// What extensions ask for.
    pub arguments: TableRef<'a>,
}

impl<'a> Consume<'a> {
    #[inline]
    pub(super) fn read(input: &mut Reader<'a>) -> Result<Self, WireError> {
        let ticket = input.u16()?;
        let queue = input.short_str()?;
        let consumer_tag = input.short_str()?;
        let bits = input.u8()?;
        Ok(Self {
            ticket,
            queue,
            consumer_tag,
            no_local: bits & 1 != 0,
            no_ack: bits & 2 != 0,
            exclusive: bits & 4 != 0,
            no_wait: bits & 8 != 0,
            arguments: TableRef::read(input)?,
        })
    }
}

impl Encode for Consume<'_> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 60, 20);
        put_u16(out, self.ticket);
        put_short_str(out, self.queue);
        put_short_str(out, self.consumer_tag);
        out.push(
            u8::from(self.no_local)
                | u8::from(self.no_ack) << 1
                | u8::from(self.exclusive) << 2
                | u8::from(self.no_wait) << 3,
        );
        self.arguments.put(out);
    }
}

/// basic.consume-ok (60, 21).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsumeOk<'a> {
    /// Name of the consumer on its channel.
    pub consumer_tag: &'a str,
}

impl<'a> ConsumeOk<'a> {
    #[inline]
    pub(super) fn read(input: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self { consumer_tag: input.short_str()? })
    }
}

impl Encode for ConsumeOk<'_> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 60, 21);
        put_short_str(out, self.consumer_tag);
    }
}

/// basic.cancel (60, 30).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cancel<'a> {
    /// Name of the consumer on its channel.
    pub consumer_tag: &'a str,
    /// Whether no answer is wanted.
    pub no_wait: bool,
}

impl<'a> Cancel<'a> {
    #[inline]
    pub(super) fn read(input: &mut Reader<'a>) -> Result<Self, WireError> {
        let consumer_tag = input.short_str()?;
        let bits = input.u8()?;
        Ok(Self { consumer_tag, no_wait: bits & 1 != 0 })
    }
}

impl Encode for Cancel<'_> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 60, 30);
        put_short_str(out, self.consumer_tag);
        out.push(u8::from(self.no_wait));
    }
}

/// basic.cancel-ok (60, 31).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CancelOk<'a> {
    /// Name of the consumer on its channel.
    pub consumer_tag: &'a str,
}

impl<'a> CancelOk<'a> {
    #[inline]
    pub(super) fn read(input: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self { consumer_tag: input.short_str()? })
    }
}

impl Encode for CancelOk<'_> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 60, 31);
        put_short_str(out, self.consumer_tag);
    }
}

/// basic.get (60, 70).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Get<'a> {
    /// Reserved since 0-9-1.
    pub ticket: u16,
    /// Name of the queue; empty for the last declared or a new one.
    pub queue: &'a str,
    /// Whether deliveries count as acknowledged.
    pub no_ack: bool,
}

impl<'a> Get<'a> {
    #[inline]
    pub(super) fn read(input: &mut Reader<'a>) -> Result<Self, WireError> {
        let ticket = input.u16()?;
        let queue = input.short_str()?;
        let bits = input.u8()?;
        Ok(Self { ticket, queue, no_ack: bits & 1 != 0 })
    }
}

impl Encode for Get<'_> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 60, 70);
        put_u16(out, self.ticket);
        put_short_str(out, self.queue);
        out.push(u8::from(self.no_ack));
    }
}

/// basic.get-empty (60, 72).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetEmpty<'a> {
    /// Reserved.
    pub cluster_id: &'a str,
}

impl<'a> GetEmpty<'a> {
    #[inline]
    pub(super) fn read(input: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self { cluster_id: input.short_str()? })
    }
}

impl Encode for GetEmpty<'_> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 60, 72);
        put_short_str(out, self.cluster_id);
    }
}

/// basic.ack (60, 80).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// Number of the delivery, or of the publish, on its channel.
    pub delivery_tag: u64,
    /// Whether for all up to and including that one.
    pub multiple: bool,
}

impl Ack {
    #[inline]
    pub(super) fn read(input: &mut Reader<'_>) -> Result<Self, WireError> {
        let delivery_tag = input.u64()?;
        let bits = input.u8()?;
        Ok(Self { delivery_tag, multiple: bits & 1 != 0 })
    }
}

impl Encode for Ack {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 60, 80);
        put_u64(out, self.delivery_tag);
        out.push(u8::from(self.multiple));
    }
}

/// basic.reject (60, 90).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reject {
    /// Number of the delivery, or of the publish, on its channel.
    pub delivery_tag: u64,
    /// Whether it goes back to its queue.
    pub requeue: bool,
}

impl Reject {
    #[inline]
    pub(super) fn read(input: &mut Reader<'_>) -> Result<Self, WireError> {
        let delivery_tag = input.u64()?;
        let bits = input.u8()?;
        Ok(Self { delivery_tag, requeue: bits & 1 != 0 })
    }
}

impl Encode for Reject {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 60, 90);
        put_u64(out, self.delivery_tag);
        out.push(u8::from(self.requeue));
    }
}

/// basic.recover-async (60, 100).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecoverAsync {
    /// Whether it goes back to its queue.
    pub requeue: bool,
}

impl RecoverAsync {
    #[inline]
    pub(super) fn read(input: &mut Reader<'_>) -> Result<Self, WireError> {
        let bits = input.u8()?;
        Ok(Self { requeue: bits & 1 != 0 })
    }
}

impl Encode for RecoverAsync {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 60, 100);
        out.push(u8::from(self.requeue));
    }
}

/// basic.recover (60, 110).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recover {
    /// Whether it goes back to its queue.
    pub requeue: bool,
}

impl Recover {
    #[inline]
    pub(super) fn read(input: &mut Reader<'_>) -> Result<Self, WireError> {
        let bits = input.u8()?;
        Ok(Self { requeue: bits & 1 != 0 })
    }
}

impl Encode for Recover {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 60, 110);
        out.push(u8::from(self.requeue));
    }
}

/// basic.nack (60, 120).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nack {
    /// Number of the delivery, or of the publish, on its channel.
    pub delivery_tag: u64,
    /// Whether for all up to and including that one.
    pub multiple: bool,
    /// Whether it goes back to its queue.
    pub requeue: bool,
}

impl Nack {
    #[inline]
    pub(super) fn read(input: &mut Reader<'_>) -> Result<Self, WireError> {
        let delivery_tag = input.u64()?;
        let bits = input.u8()?;
        Ok(Self { delivery_tag, multiple: bits & 1 != 0, requeue: bits & 2 != 0 })
    }
}

impl Encode for Nack {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 60, 120);
        put_u64(out, self.delivery_tag);
        out.push(u8::from(self.multiple) | u8::from(self.requeue) << 1);
    }
}
