//! What routing found; reused, so that a message allocates nothing.
//!
//! May import `ids` and `shard_set`.

use super::shard_set::ShardSet;
use crate::ids::{ExchangeId, QueueId, QueueRef};

/// Where a message goes. One binding names a destination once; several bindings, or several
/// exchanges routed into the same value, may repeat it: the walk over exchanges leaves it once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    /// Queues of this shard.
    pub(crate) queues: Vec<QueueId>,
    /// Other shards that have queues for it.
    pub(crate) shards: ShardSet,
    /// Exchanges to route it through next.
    pub(crate) exchanges: Vec<ExchangeId>,
    /// The queue that an exchange picked, on whatever shard.
    pub(crate) named: Vec<QueueRef>,
}

impl Found {
    /// Empties it, keeping its memory.
    pub(crate) fn clear(&mut self) {
        self.queues.clear();
        self.shards = ShardSet::EMPTY;
        self.exchanges.clear();
        self.named.clear();
    }

    /// Whether the message is unroutable so far.
    pub(crate) fn is_empty(&self) -> bool {
        self.queues.is_empty()
            && self.shards.is_empty()
            && self.exchanges.is_empty()
            && self.named.is_empty()
    }

    /// Leaves every destination once, in ascending order.
    #[cfg(test)]
    pub(crate) fn dedup(&mut self) {
        self.queues.sort_unstable();
        self.queues.dedup();
        self.exchanges.sort_unstable();
        self.exchanges.dedup();
        self.named.sort_unstable();
        self.named.dedup();
    }
}
