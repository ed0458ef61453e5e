//! The payload of a method frame ⇄ [`Method`] (AMQP 0-9-1 4.2.4). May import `octets`; the
//! classes' structs are in `method/`, written by `generate_method_table.py`.

use std::fmt;

use super::method_table as table;
use crate::protocol::octets::{Reader, WireError, put_u16};

pub mod access;
pub mod basic;
pub mod channel;
pub mod confirm;
pub mod connection;
mod content;
pub mod exchange;
pub mod queue;
pub mod tx;

pub use access::Access;
pub use basic::Basic;
pub use channel::Channel;
pub use confirm::Confirm;
pub use connection::Connection;
pub use exchange::Exchange;
pub use queue::Queue;
pub use tx::Tx;

/// What can be written as the payload of a method frame: class id, method id, arguments.
pub trait Encode {
    /// Appends it.
    fn encode(&self, out: &mut Vec<u8>);
}

/// A method, its texts borrowed from the payload. In two steps, class and method, so that a
/// session hands each class to who knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method<'a> {
    /// Class 10.
    Connection(Connection<'a>),
    /// Class 20.
    Channel(Channel<'a>),
    /// Class 30.
    Access(Access<'a>),
    /// Class 40.
    Exchange(Exchange<'a>),
    /// Class 50.
    Queue(Queue<'a>),
    /// Class 60.
    Basic(Basic<'a>),
    /// Class 85.
    Confirm(Confirm),
    /// Class 90.
    Tx(Tx),
}

/// Why a payload is no method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MethodError {
    /// Nobody implements it (P10).
    Unknown {
        /// Class id.
        class: u16,
        /// Method id.
        method: u16,
    },
    /// Its arguments are wrong: 502 (abuse rows 21 to 24).
    Syntax(WireError),
}

impl fmt::Display for MethodError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { class, method } => write!(f, "unknown method {class}.{method}"),
            Self::Syntax(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for MethodError {}

impl From<WireError> for MethodError {
    fn from(error: WireError) -> Self {
        Self::Syntax(error)
    }
}

impl<'a> Method<'a> {
    /// Reads the payload of a method frame, all of it.
    ///
    /// # Errors
    /// `Unknown` for ids of no method, whatever follows them; `Syntax` for wrong arguments.
    #[inline]
    pub fn decode(payload: &'a [u8]) -> Result<Self, MethodError> {
        let mut input = Reader::new(payload);
        let class = input.u16()?;
        let id = input.u16()?;
        let method = match class {
            table::BASIC => Self::Basic(Basic::read(id, &mut input)?),
            table::CONNECTION => Self::Connection(Connection::read(id, &mut input)?),
            table::CHANNEL => Self::Channel(Channel::read(id, &mut input)?),
            table::ACCESS => Self::Access(Access::read(id, &mut input)?),
            table::EXCHANGE => Self::Exchange(Exchange::read(id, &mut input)?),
            table::QUEUE => Self::Queue(Queue::read(id, &mut input)?),
            table::CONFIRM => Self::Confirm(Confirm::read(id, &mut input)?),
            table::TX => Self::Tx(Tx::read(id)?),
            _ => return Err(MethodError::Unknown { class, method: id }),
        };
        input.finish()?;
        Ok(method)
    }

    /// Class id and method id, as close methods name a cause.
    pub const fn id(&self) -> (u16, u16) {
        match self {
            Self::Connection(method) => (table::CONNECTION, method.method_id()),
            Self::Channel(method) => (table::CHANNEL, method.method_id()),
            Self::Access(method) => (table::ACCESS, method.method_id()),
            Self::Exchange(method) => (table::EXCHANGE, method.method_id()),
            Self::Queue(method) => (table::QUEUE, method.method_id()),
            Self::Basic(method) => (table::BASIC, method.method_id()),
            Self::Confirm(method) => (table::CONFIRM, method.method_id()),
            Self::Tx(method) => (table::TX, method.method_id()),
        }
    }

    /// Class and method name, for logs.
    pub fn name(&self) -> &'static str {
        let (class, method) = self.id();
        table::find(class, method).map_or("", |row| row.name)
    }
}

impl Encode for Method<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Connection(method) => method.encode(out),
            Self::Channel(method) => method.encode(out),
            Self::Access(method) => method.encode(out),
            Self::Exchange(method) => method.encode(out),
            Self::Queue(method) => method.encode(out),
            Self::Basic(method) => method.encode(out),
            Self::Confirm(method) => method.encode(out),
            Self::Tx(method) => method.encode(out),
        }
    }
}

/// Appends class id and method id.
#[inline]
fn put_id(out: &mut Vec<u8>, class: u16, method: u16) {
    put_u16(out, class);
    put_u16(out, method);
}
