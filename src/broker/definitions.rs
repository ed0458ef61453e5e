//! Definitions that outlive the process: durable exchanges and the bindings between them, durable
//! queues and their bindings to durable exchanges. Each is a record in the log of the shard that
//! decides it (the keeper, or the queue's owner); at the next start the records of all shards make
//! a [`catalogue::Catalogue`], from which every shard builds its tables before a client is there.
//!
//! `octets`: definition <-> record. `logging`: what is logged when, and who waits for it. `catalogue`:
//! from records to what is there. `restore`: from that to the tables of one shard.
//!
//! What comes and goes under one name has another uid each time, so no record needs to say that the
//! bindings of a deleted exchange or queue are gone: they name a uid that never comes again.
//!
//! May import `ids`, `value`, `mail` and of `ringmq_shards` the log's numbers.

pub(crate) mod catalogue;
mod logging;
mod octets;
pub(crate) mod restore;
#[cfg(test)]
mod tests;

use ringmq_shards::log::QueueUid;
use ringmq_shards::log::ids::FILE_BOOT_SHIFT;

use super::mail::ExchangeSpec;
use super::queue::session;
use super::subscriber::keep::LEAVING;
use crate::value::Table;

/// What a durable exchange is called in records: one that is deleted and declared again has
/// another. The keeper gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ExchangeUid(pub(crate) u64);

impl ExchangeUid {
    /// All exchanges that are there from the start: they are found by virtual host and name.
    pub(crate) const PREDECLARED: Self = Self(0);

    /// Whether it is there from the start.
    pub(crate) fn is_predeclared(self) -> bool {
        self == Self::PREDECLARED
    }

    /// The nth of a boot, counted from 1.
    pub(super) fn nth(boot: u32, n: u32) -> Self {
        Self((u64::from(boot) << FILE_BOOT_SHIFT) | u64::from(n))
    }
}

/// A durable exchange.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ExchangeDefinition {
    pub(crate) uid: ExchangeUid,
    /// Name of its virtual host.
    pub(crate) vhost: Box<str>,
    /// As it was declared.
    pub(crate) spec: ExchangeSpec,
}

/// An exchange as bindings name it: the uid decides, the name serves predeclared ones and readers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NamedExchange {
    pub(crate) uid: ExchangeUid,
    pub(crate) name: Box<str>,
}

/// A binding of a durable exchange to a durable exchange.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LinkDefinition {
    /// Name of the virtual host of both.
    pub(crate) vhost: Box<str>,
    pub(crate) source: NamedExchange,
    pub(crate) destination: NamedExchange,
    pub(crate) key: Box<str>,
    pub(crate) arguments: Table,
}

/// A durable queue that is nobody's own.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct QueueDefinition {
    pub(crate) uid: QueueUid,
    /// Name of its virtual host.
    pub(crate) vhost: Box<str>,
    pub(crate) name: Box<str>,
    /// The name of its type; the default type may be another one at the next start.
    pub(crate) kind: Box<str>,
    pub(crate) auto_delete: bool,
    pub(crate) arguments: Table,
}

impl QueueDefinition {
    /// Its session is over and its name free for another: it is there until it is empty.
    pub(crate) fn is_leaving(&self) -> bool {
        *self.kind == *session::NAME && self.arguments.get(LEAVING).is_some()
    }
}

/// A binding of a durable queue to a durable exchange.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BindingDefinition {
    pub(crate) queue: QueueUid,
    /// Name of the virtual host of both.
    pub(crate) vhost: Box<str>,
    pub(crate) exchange: NamedExchange,
    pub(crate) key: Box<str>,
    pub(crate) arguments: Table,
}

/// One record.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Definition {
    /// An exchange is there.
    Exchange(ExchangeDefinition),
    /// It is gone for good, with all bindings from it and to it.
    ExchangeGone(ExchangeUid),
    /// Exchange bound to (or unbound from) exchange.
    Link { link: LinkDefinition, on: bool },
    /// A queue is there.
    Queue(QueueDefinition),
    /// It is gone for good, with all its bindings.
    QueueGone(QueueUid),
    /// Queue bound to (or unbound from) exchange.
    Binding { binding: BindingDefinition, on: bool },
}
