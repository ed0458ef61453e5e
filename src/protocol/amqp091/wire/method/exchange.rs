//! Methods of class exchange (40).
//! May import `octets` and `field_table`. Written by generate_method_table.py: change that.

use super::{Encode, MethodError, put_id};
use crate::protocol::amqp091::wire::field_table::TableRef;
use crate::protocol::octets::{Reader, WireError, put_short_str, put_u16};

/// A method of class exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exchange<'a> {
    /// exchange.declare (40, 10).
    Declare(Declare<'a>),
    /// exchange.declare-ok (40, 11).
    DeclareOk,
    /// exchange.delete (40, 20).
    Delete(Delete<'a>),
    /// exchange.delete-ok (40, 21).
    DeleteOk,
    /// exchange.bind (40, 30).
    Bind(Bind<'a>),
    /// exchange.bind-ok (40, 31).
    BindOk,
    /// exchange.unbind (40, 40).
    Unbind(Unbind<'a>),
    /// exchange.unbind-ok (40, 51).
    UnbindOk,
}

impl<'a> Exchange<'a> {
    /// Reads what follows the ids.
    #[inline]
    pub(super) fn read(method: u16, input: &mut Reader<'a>) -> Result<Self, MethodError> {
        Ok(match method {
            10 => Self::Declare(Declare::read(input)?),
            11 => Self::DeclareOk,
            20 => Self::Delete(Delete::read(input)?),
            21 => Self::DeleteOk,
            30 => Self::Bind(Bind::read(input)?),
            31 => Self::BindOk,
            40 => Self::Unbind(Unbind::read(input)?),
            51 => Self::UnbindOk,
            _ => return Err(MethodError::Unknown { class: 40, method }),
        })
    }

    /// Number of the method within its class.
    pub const fn method_id(&self) -> u16 {
        match self {
            Self::Declare(_) => 10,
            Self::DeclareOk => 11,
            Self::Delete(_) => 20,
            Self::DeleteOk => 21,
            Self::Bind(_) => 30,
            Self::BindOk => 31,
            Self::Unbind(_) => 40,
            Self::UnbindOk => 51,
        }
    }
}

impl Encode for Exchange<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Declare(method) => method.encode(out),
            Self::DeclareOk => put_id(out, 40, 11),
            Self::Delete(method) => method.encode(out),
            Self::DeleteOk => put_id(out, 40, 21),
            Self::Bind(method) => method.encode(out),
            Self::BindOk => put_id(out, 40, 31),
            Self::Unbind(method) => method.encode(out),
            Self::UnbindOk => put_id(out, 40, 51),
        }
    }
}

/// exchange.declare (40, 10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Declare<'a> {
    /// Reserved since 0-9-1.
    pub ticket: u16,
    /// Name of the exchange; empty for the default one.
    pub exchange: &'a str,
    /// Exchange type.
    pub kind: &'a str,
    /// Only ask whether it exists.
    pub passive: bool,
    /// Whether it survives a restart.
    pub durable: bool,
    /// Whether it goes when its last user does.
    pub auto_delete: bool,
    /// Whether clients may not publish to it.
    pub internal: bool,
    /// Whether no answer is wanted.
    pub no_wait: bool,
    /// What extensions ask for.
    pub arguments: TableRef<'a>,
}

impl<'a> Declare<'a> {
    #[inline]
    pub(super) fn read(input: &mut Reader<'a>) -> Result<Self, WireError> {
        let ticket = input.u16()?;
        let exchange = input.short_str()?;
        let kind = input.short_str()?;
        let bits = input.u8()?;
        Ok(Self {
            ticket,
            exchange,
            kind,
            passive: bits & 1 != 0,
            durable: bits & 2 != 0,
            auto_delete: bits & 4 != 0,
            internal: bits & 8 != 0,
            no_wait: bits & 16 != 0,
            arguments: TableRef::read(input)?,
        })
    }
}

impl Encode for Declare<'_> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 40, 10);
        put_u16(out, self.ticket);
        put_short_str(out, self.exchange);
        put_short_str(out, self.kind);
        out.push(
            u8::from(self.passive)
                | u8::from(self.durable) << 1
                | u8::from(self.auto_delete) << 2
                | u8::from(self.internal) << 3
                | u8::from(self.no_wait) << 4,
        );
        self.arguments.put(out);
    }
}

/// exchange.delete (40, 20).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delete<'a> {
    /// Reserved since 0-9-1.
    pub ticket: u16,
    /// Name of the exchange; empty for the default one.
    pub exchange: &'a str,
    /// Only if nobody uses it.
    pub if_unused: bool,
    /// Whether no answer is wanted.
    pub no_wait: bool,
}

impl<'a> Delete<'a> {
    #[inline]
    pub(super) fn read(input: &mut Reader<'a>) -> Result<Self, WireError> {
        let ticket = input.u16()?;
        let exchange = input.short_str()?;
        let bits = input.u8()?;
        Ok(Self { ticket, exchange, if_unused: bits & 1 != 0, no_wait: bits & 2 != 0 })
    }
}

impl Encode for Delete<'_> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 40, 20);
        put_u16(out, self.ticket);
        put_short_str(out, self.exchange);
        out.push(u8::from(self.if_unused) | u8::from(self.no_wait) << 1);
    }
}

/// exchange.bind (40, 30).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bind<'a> {
    /// Reserved since 0-9-1.
    pub ticket: u16,
    /// Exchange that gets the messages.
    pub destination: &'a str,
    /// Exchange that the messages come from.
    pub source: &'a str,
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
        let destination = input.short_str()?;
        let source = input.short_str()?;
        let routing_key = input.short_str()?;
        let bits = input.u8()?;
        Ok(Self {
            ticket,
            destination,
            source,
            routing_key,
            no_wait: bits & 1 != 0,
            arguments: TableRef::read(input)?,
        })
    }
}

impl Encode for Bind<'_> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 40, 30);
        put_u16(out, self.ticket);
        put_short_str(out, self.destination);
        put_short_str(out, self.source);
        put_short_str(out, self.routing_key);
        out.push(u8::from(self.no_wait));
        self.arguments.put(out);
    }
}

/// exchange.unbind (40, 40).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unbind<'a> {
    /// Reserved since 0-9-1.
    pub ticket: u16,
    /// Exchange that gets the messages.
    pub destination: &'a str,
    /// Exchange that the messages come from.
    pub source: &'a str,
    /// Routing key.
    pub routing_key: &'a str,
    /// Whether no answer is wanted.
    pub no_wait: bool,
    /// What extensions ask for.
    pub arguments: TableRef<'a>,
}

impl<'a> Unbind<'a> {
    #[inline]
    pub(super) fn read(input: &mut Reader<'a>) -> Result<Self, WireError> {
        let ticket = input.u16()?;
        let destination = input.short_str()?;
        let source = input.short_str()?;
        let routing_key = input.short_str()?;
        let bits = input.u8()?;
        Ok(Self {
            ticket,
            destination,
            source,
            routing_key,
            no_wait: bits & 1 != 0,
            arguments: TableRef::read(input)?,
        })
    }
}

impl Encode for Unbind<'_> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 40, 40);
        put_u16(out, self.ticket);
        put_short_str(out, self.destination);
        put_short_str(out, self.source);
        put_short_str(out, self.routing_key);
        out.push(u8::from(self.no_wait));
        self.arguments.put(out);
    }
}
