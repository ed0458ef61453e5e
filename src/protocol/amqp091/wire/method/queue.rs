//! Methods of class queue (50).
//! May import `octets` and `field_table`. Written by generate_method_table.py: change that.

use super::{Encode, MethodError, put_id};
use crate::protocol::amqp091::wire::field_table::TableRef;
use crate::protocol::octets::{Reader, WireError, put_short_str, put_u16, put_u32};

/// A method of class queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue<'a> {
    /// queue.declare (50, 10).
    Declare(Declare<'a>),
    /// queue.declare-ok (50, 11).
    DeclareOk(DeclareOk<'a>),
    /// queue.bind (50, 20).
    Bind(Bind<'a>),
    /// queue.bind-ok (50, 21).
    BindOk,
    /// queue.purge (50, 30).
    Purge(Purge<'a>),
    /// queue.purge-ok (50, 31).
    PurgeOk(PurgeOk),
    /// queue.delete (50, 40).
    Delete(Delete<'a>),
    /// queue.delete-ok (50, 41).
    DeleteOk(DeleteOk),
    /// queue.unbind (50, 50).
    Unbind(Unbind<'a>),
    /// queue.unbind-ok (50, 51).
    UnbindOk,
}

impl<'a> Queue<'a> {
    /// Reads what follows the ids.
    #[inline]
    pub(super) fn read(method: u16, input: &mut Reader<'a>) -> Result<Self, MethodError> {
        Ok(match method {
            10 => Self::Declare(Declare::read(input)?),
            11 => Self::DeclareOk(DeclareOk::read(input)?),
            20 => Self::Bind(Bind::read(input)?),
            21 => Self::BindOk,
            30 => Self::Purge(Purge::read(input)?),
            31 => Self::PurgeOk(PurgeOk::read(input)?),
            40 => Self::Delete(Delete::read(input)?),
            41 => Self::DeleteOk(DeleteOk::read(input)?),
            50 => Self::Unbind(Unbind::read(input)?),
            51 => Self::UnbindOk,
            _ => return Err(MethodError::Unknown { class: 50, method }),
        })
    }

    /// Number of the method within its class.
    pub const fn method_id(&self) -> u16 {
        match self {
            Self::Declare(_) => 10,
            Self::DeclareOk(_) => 11,
            Self::Bind(_) => 20,
            Self::BindOk => 21,
            Self::Purge(_) => 30,
            Self::PurgeOk(_) => 31,
            Self::Delete(_) => 40,
            Self::DeleteOk(_) => 41,
            Self::Unbind(_) => 50,
            Self::UnbindOk => 51,
        }
    }
}

impl Encode for Queue<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Declare(method) => method.encode(out),
            Self::DeclareOk(method) => method.encode(out),
            Self::Bind(method) => method.encode(out),
            Self::BindOk => put_id(out, 50, 21),
            Self::Purge(method) => method.encode(out),
            Self::PurgeOk(method) => method.encode(out),
            Self::Delete(method) => method.encode(out),
            Self::DeleteOk(method) => method.encode(out),
            Self::Unbind(method) => method.encode(out),
            Self::UnbindOk => put_id(out, 50, 51),
        }
    }
}

/// queue.declare (50, 10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Declare<'a> {
    /// Reserved since 0-9-1.
    pub ticket: u16,
    /// Name of the queue; empty for the last declared or a new one.
    pub queue: &'a str,
    /// Only ask whether it exists.
    pub passive: bool,
    /// Whether it survives a restart.
    pub durable: bool,
    /// Whether others are kept out.
    pub exclusive: bool,
    /// Whether it goes when its last user does.
    pub auto_delete: bool,
    /// Whether no answer is wanted.
    pub no_wait: bool,
    /// What extensions ask for.
    pub arguments: TableRef<'a>,
}

impl<'a> Declare<'a> {
    #[inline]
    pub(super) fn read(input: &mut Reader<'a>) -> Result<Self, WireError> {
        let ticket = input.u16()?;
        let queue = input.short_str()?;
        let bits = input.u8()?;
        Ok(Self {
            ticket,
            queue,
            passive: bits & 1 != 0,
            durable: bits & 2 != 0,
            exclusive: bits & 4 != 0,
            auto_delete: bits & 8 != 0,
            no_wait: bits & 16 != 0,
            arguments: TableRef::read(input)?,
        })
    }
}

impl Encode for Declare<'_> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 50, 10);
        put_u16(out, self.ticket);
        put_short_str(out, self.queue);
        out.push(
            u8::from(self.passive)
                | u8::from(self.durable) << 1
                | u8::from(self.exclusive) << 2
                | u8::from(self.auto_delete) << 3
                | u8::from(self.no_wait) << 4,
        );
        self.arguments.put(out);
    }
}

/// queue.declare-ok (50, 11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeclareOk<'a> {
    /// Name of the queue; empty for the last declared or a new one.
    pub queue: &'a str,
    /// Messages that are ready, or that were removed.
    pub message_count: u32,
    /// Active consumers of the queue.
    pub consumer_count: u32,
}

impl<'a> DeclareOk<'a> {
    #[inline]
    pub(super) fn read(input: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self {
            queue: input.short_str()?,
            message_count: input.u32()?,
            consumer_count: input.u32()?,
        })
    }
}

impl Encode for DeclareOk<'_> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 50, 11);
        put_short_str(out, self.queue);
        put_u32(out, self.message_count);
        put_u32(out, self.consumer_count);
    }
}

/// queue.bind (50, 20).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bind<'a> {
    /// Reserved since 0-9-1.
    pub ticket: u16,
    /// Name of the queue; empty for the last declared or a new one.
    pub queue: &'a str,
    /// Name of the exchange; empty for the default one.
    pub exchange: &'a str,
    /// Routing key.
    pub routing_key: &'a str,
    /// Whether no answer is wanted.
    pub no_wait: bool,
    /// What extensions ask for.
    pub arguments: TableRef<'a>,
}

impl<'a> Bind<'a> {
    #[inline]
    pub(super) fn read(input: &mut Reader<'a>) -> Result<Self, WireError> {
        let ticket = input.u16()?;
        let queue = input.short_str()?;
        let exchange = input.short_str()?;
        let routing_key = input.short_str()?;
        let bits = input.u8()?;
        Ok(Self {
            ticket,
            queue,
            exchange,
            routing_key,
            no_wait: bits & 1 != 0,
            arguments: TableRef::read(input)?,
        })
    }
}

impl Encode for Bind<'_> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 50, 20);
        put_u16(out, self.ticket);
        put_short_str(out, self.queue);
        put_short_str(out, self.exchange);
        put_short_str(out, self.routing_key);
        out.push(u8::from(self.no_wait));
        self.arguments.put(out);
    }
}

/// queue.purge (50, 30).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purge<'a> {
    /// Reserved since 0-9-1.
    pub ticket: u16,
    /// Name of the queue; empty for the last declared or a new one.
    pub queue: &'a str,
    /// Whether no answer is wanted.
    pub no_wait: bool,
}

impl<'a> Purge<'a> {
    #[inline]
    pub(super) fn read(input: &mut Reader<'a>) -> Result<Self, WireError> {
        let ticket = input.u16()?;
        let queue = input.short_str()?;
        let bits = input.u8()?;
        Ok(Self { ticket, queue, no_wait: bits & 1 != 0 })
    }
}

impl Encode for Purge<'_> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 50, 30);
        put_u16(out, self.ticket);
        put_short_str(out, self.queue);
        out.push(u8::from(self.no_wait));
    }
}

/// queue.purge-ok (50, 31).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PurgeOk {
    /// Messages that are ready, or that were removed.
    pub message_count: u32,
}

impl PurgeOk {
    #[inline]
    pub(super) fn read(input: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self { message_count: input.u32()? })
    }
}

impl Encode for PurgeOk {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 50, 31);
        put_u32(out, self.message_count);
    }
}

/// queue.delete (50, 40).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delete<'a> {
    /// Reserved since 0-9-1.
    pub ticket: u16,
    /// Name of the queue; empty for the last declared or a new one.
    pub queue: &'a str,
    /// Only if nobody uses it.
    pub if_unused: bool,
    /// Only if it has no messages.
    pub if_empty: bool,
    /// Whether no answer is wanted.
    pub no_wait: bool,
}

impl<'a> Delete<'a> {
    #[inline]
    pub(super) fn read(input: &mut Reader<'a>) -> Result<Self, WireError> {
        let ticket = input.u16()?;
        let queue = input.short_str()?;
        let bits = input.u8()?;
        Ok(Self {
            ticket,
            queue,
            if_unused: bits & 1 != 0,
            if_empty: bits & 2 != 0,
            no_wait: bits & 4 != 0,
        })
    }
}

impl Encode for Delete<'_> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 50, 40);
        put_u16(out, self.ticket);
        put_short_str(out, self.queue);
        out.push(
            u8::from(self.if_unused) | u8::from(self.if_empty) << 1 | u8::from(self.no_wait) << 2,
        );
    }
}

/// queue.delete-ok (50, 41).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeleteOk {
    /// Messages that are ready, or that were removed.
    pub message_count: u32,
}

impl DeleteOk {
    #[inline]
    pub(super) fn read(input: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self { message_count: input.u32()? })
    }
}

impl Encode for DeleteOk {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 50, 41);
        put_u32(out, self.message_count);
    }
}

/// queue.unbind (50, 50).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unbind<'a> {
    /// Reserved since 0-9-1.
    pub ticket: u16,
    /// Name of the queue; empty for the last declared or a new one.
    pub queue: &'a str,
    /// Name of the exchange; empty for the default one.
    pub exchange: &'a str,
    /// Routing key.
    pub routing_key: &'a str,
    /// What extensions ask for.
    pub arguments: TableRef<'a>,
}

impl<'a> Unbind<'a> {
    #[inline]
    pub(super) fn read(input: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self {
            ticket: input.u16()?,
            queue: input.short_str()?,
            exchange: input.short_str()?,
            routing_key: input.short_str()?,
            arguments: TableRef::read(input)?,
        })
    }
}

impl Encode for Unbind<'_> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 50, 50);
        put_u16(out, self.ticket);
        put_short_str(out, self.queue);
        put_short_str(out, self.exchange);
        put_short_str(out, self.routing_key);
        self.arguments.put(out);
    }
}
