//! What routing found; reused, so that a message allocates nothing.
//!
//! May import `ids` and `shard_set`.

use super::shard_set::ShardSet;
use crate::ids::{ExchangeId, QueueId, QueueRef};

/// Where a message goes. One binding names a destination once; several bindings, or several
/// exchanges routed into the same value, may repeat it: see [`Found::dedup`].
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
    /// Bindings that matched; what came from one binding needs no deduplication.
    matched: usize,
}

impl Found {
    /// Empties it, keeping its memory.
    pub(crate) fn clear(&mut self) {
        self.queues.clear();
        self.shards = ShardSet::EMPTY;
        self.exchanges.clear();
        self.named.clear();
        self.matched = 0;
    }

    /// Whether the message is unroutable so far.
    pub(crate) fn is_empty(&self) -> bool {
        self.queues.is_empty()
            && self.shards.is_empty()
            && self.exchanges.is_empty()
            && self.named.is_empty()
    }

    /// Leaves every destination once, in ascending order; free when one binding matched.
    pub(crate) fn dedup(&mut self) {
        if self.matched < 2 {
            return;
        }
        sort_dedup(&mut self.queues);
        sort_dedup(&mut self.exchanges);
        sort_dedup(&mut self.named);
        self.matched = 1;
    }

    /// Counts one more binding that matched.
    pub(crate) fn count_binding(&mut self) {
        self.matched += 1;
    }
}

fn sort_dedup<T: Ord>(items: &mut Vec<T>) {
    if items.len() > 1 {
        items.sort_unstable();
        items.dedup();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_found_by_two_bindings_is_left_once() {
        let (a, b) = (QueueId::new(1, 0), QueueId::new(2, 0));
        let mut found = Found::default();
        found.queues.extend([b, a]);
        found.count_binding();
        found.dedup();
        assert_eq!(found.queues, [b, a]);
        found.queues.push(b);
        found.count_binding();
        found.dedup();
        assert_eq!(found.queues, [a, b]);
        found.clear();
        assert!(found.is_empty());
    }
}
