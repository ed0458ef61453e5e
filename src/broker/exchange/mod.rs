//! Exchange types: which bindings does a message match?
//!
//! An exchange type indexes the places of its exchange's binding table and knows nothing of
//! queues, shards or storage: `broker::binding` turns places into destinations. One type = one
//! file here + one line in [`EXCHANGE_TYPES`]. Every shard has a copy of every exchange.
//! May import `ids`, `value` and `broker::topic_tree`.

pub(crate) mod arguments;
pub(crate) mod canonical;
pub(crate) mod consistent_hash;
#[cfg(test)]
pub(crate) mod contract;
mod delayed;
mod direct;
mod fanout;
pub(crate) mod few;
mod filter;
pub(crate) mod found;
mod group;
mod headers;
mod jump;
mod modulus_hash;
pub(crate) mod place;
mod random;
pub(crate) mod shard_set;
mod topic;

use std::fmt::Debug;
use std::rc::Rc;

use self::arguments::BadArgument;
use self::place::Place;
use crate::ids::{ExchangeId, QueueId, QueueRef, ShardId};
use crate::value::{Table, Value};

/// What routing reads of a message.
pub(crate) struct Routed<'a> {
    /// The routing key.
    pub(crate) key: &'a str,
    /// The rest, decoded only if an exchange asks.
    pub(crate) headers: &'a dyn Headers,
    /// A random number, drawn per message, for exchanges that choose at random.
    pub(crate) choice: u64,
    /// Members of a group have their turns instead.
    pub(crate) in_turn: bool,
}

/// Headers and properties of a message, decoded when first asked for and then kept.
pub(crate) trait Headers {
    /// The headers; empty when there are none.
    fn headers(&self) -> &Table;

    /// A property by its neutral name, one of [`consistent_hash::HASH_PROPERTIES`].
    fn property(&self, name: &str) -> Option<Value>;
}

/// What a binding leads to, as this shard sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Destination {
    /// A queue of this shard.
    Queue(QueueId),
    /// Another shard, which has at least one queue bound so.
    Shard(ShardId),
    /// Another exchange.
    Exchange(ExchangeId),
    /// A queue of any shard; only where the exchange picks one among all.
    Named(QueueRef),
}

/// A binding as an exchange type sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Binding<'a> {
    /// What to find.
    pub(crate) place: Place,
    /// The binding key.
    pub(crate) key: &'a Rc<str>,
    /// The binding's arguments.
    pub(crate) arguments: &'a Table,
    /// Where the exchange picks one: the name to draw lots with, the same on every shard and
    /// after every restart. Empty otherwise.
    pub(crate) lot: &'a Rc<str>,
}

/// Chooses bindings.
pub(crate) trait Exchange: Debug {
    /// Whether a client may bind so. Bindings that come from other shards or from the log are
    /// not asked about: what was accepted once stays accepted.
    fn validate_binding(&self, _key: &str, _arguments: &Table) -> Result<(), BadArgument> {
        Ok(())
    }

    /// Takes in a binding that it does not have.
    fn insert(&mut self, binding: &Binding<'_>);

    /// Forgets a binding that it has.
    fn remove(&mut self, binding: &Binding<'_>);

    /// Appends the place of each binding that the message matches, each once.
    fn route(&self, message: &Routed<'_>, places: &mut Vec<Place>);

    /// Whether messages with the same key always go the same way, so that a caller may keep the
    /// result until a binding changes.
    fn depends_on_key_only(&self) -> bool;

    /// Whether it picks one binding among all: every shard then must have every binding, each
    /// with its queue by name, and no interest stands for a shard.
    fn picks_one(&self) -> bool {
        false
    }

    /// Where it picks one of each of several groups: one of the group with this key.
    fn pick(&self, _key: &str, _choice: u64) -> Option<Place> {
        None
    }

    /// Where it picks one: this binding's queue has nobody who reads it for now, or has again.
    fn set_away(&mut self, _place: Place, _away: bool) {}

    /// Where it picks one: this binding's queue comes before the others unless nobody reads it.
    fn set_near(&mut self, _place: Place) {}

    /// Whether messages wait before they are routed (L29); the waiting is done by the caller.
    fn delays(&self) -> bool {
        false
    }
}

/// A kind of exchange.
#[derive(Debug)]
pub(crate) struct ExchangeType {
    /// The name that clients declare.
    pub(crate) name: &'static str,
    /// Other names for the same.
    pub(crate) aliases: &'static [&'static str],
    /// Makes an empty one from the arguments of its declaration.
    pub(crate) make: fn(&Table) -> Result<Box<dyn Exchange>, BadArgument>,
}

impl ExchangeType {
    /// The type of that name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        EXCHANGE_TYPES.iter().find(|t| t.name == name || t.aliases.contains(&name))
    }
}

/// Every exchange type.
pub(crate) const EXCHANGE_TYPES: &[ExchangeType] = &[
    direct::TYPE,
    fanout::TYPE,
    topic::TYPE,
    headers::TYPE,
    consistent_hash::TYPE,
    delayed::TYPE,
    filter::TYPE,
    group::TYPE,
    modulus_hash::TYPE,
    random::TYPE,
];
