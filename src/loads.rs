//! How many connections each shard has through each listener, as far as one shard knows: where the
//! next one should live, and whether it may.
//!
//! May import `ids`, `broker::placement`.

use crate::broker::placement::Placement;
use crate::ids::ShardId;

/// The place of a listener among those of the node; the same on every shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListenerId(pub(crate) u16);

impl ListenerId {
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One per shard.
#[derive(Debug)]
pub(crate) struct Loads {
    here: ShardId,
    /// By shard, then by listener.
    shards: Vec<Vec<Load>>,
    /// By listener: what the others were told of this shard.
    told: Vec<u32>,
}

/// Connections of a shard through one listener.
#[derive(Debug, Clone, Copy, Default)]
struct Load {
    /// As the shard said last.
    told: u32,
    /// Sent there since.
    sent: u32,
}

impl Load {
    const fn total(self) -> u32 {
        self.told.saturating_add(self.sent)
    }
}

impl Loads {
    pub(crate) fn new(here: ShardId, shards: usize, listeners: usize) -> Self {
        let shards = vec![vec![Load::default(); listeners]; shards];
        Self { here, shards, told: vec![0; listeners] }
    }

    fn load_mut(&mut self, shard: ShardId, listener: ListenerId) -> Option<&mut Load> {
        self.shards.get_mut(shard.index())?.get_mut(listener.index())
    }

    /// A connection begins here.
    pub(crate) fn came(&mut self, listener: ListenerId) {
        if let Some(load) = self.load_mut(self.here, listener) {
            load.told = load.told.saturating_add(1);
        }
    }

    /// A connection that was here is over, or elsewhere.
    pub(crate) fn left(&mut self, listener: ListenerId) {
        if let Some(load) = self.load_mut(self.here, listener) {
            load.told = load.told.saturating_sub(1);
        }
    }

    /// A connection is on its way to another shard. Counted at once, so that the next newcomer goes
    /// elsewhere.
    pub(crate) fn sent(&mut self, to: ShardId, listener: ListenerId) {
        if let Some(load) = self.load_mut(to, listener) {
            load.sent = load.sent.saturating_add(1);
        }
    }

    /// Another shard says how many it has.
    pub(crate) fn heard(&mut self, from: ShardId, listener: ListenerId, count: u32) {
        if let Some(load) = self.load_mut(from, listener) {
            *load = Load { told: count, sent: 0 };
        }
    }

    /// What to tell the others, if it matters to them: exact while there are few, within a
    /// sixteenth when there are many.
    pub(crate) fn news(&mut self, listener: ListenerId) -> Option<u32> {
        let count = self.here(listener);
        let told = self.told.get_mut(listener.index())?;
        (count.abs_diff(*told) > count / 16).then(|| {
            *told = count;
            count
        })
    }

    /// What to tell the others in any case.
    pub(crate) fn report(&mut self, listener: ListenerId) -> u32 {
        let count = self.here(listener);
        if let Some(told) = self.told.get_mut(listener.index()) {
            *told = count;
        }
        count
    }

    fn here(&self, listener: ListenerId) -> u32 {
        let here = self.shards.get(self.here.index());
        here.and_then(|loads| loads.get(listener.index())).map_or(0, |load| load.told)
    }

    /// Connections of all shards and listeners.
    pub(crate) fn everywhere(&self) -> u64 {
        self.shards.iter().flatten().map(|load| u64::from(load.total())).sum()
    }

    /// Connections of all shards through one listener.
    pub(crate) fn through(&self, listener: ListenerId) -> u64 {
        let loads = self.shards.iter().filter_map(|loads| loads.get(listener.index()));
        loads.map(|load| u64::from(load.total())).sum()
    }

    /// Whether no shard has said that it has connections. That the last one is gone is always told.
    pub(crate) fn is_deserted(&self) -> bool {
        self.shards.iter().flatten().all(|load| load.told == 0)
    }

    fn of_shard(&self, shard: ShardId) -> u32 {
        let loads = self.shards.get(shard.index()).into_iter().flatten();
        loads.fold(0, |sum, load| sum.saturating_add(load.total()))
    }

    /// Where a new connection should live: here, unless this shard is clearly more crowded than
    /// another (SO_REUSEPORT spreads few connections badly).
    pub(crate) fn place(&self, placement: Placement) -> ShardId {
        let here = self.here;
        let candidates = (0..self.shards.len()).filter_map(|index| {
            let shard = ShardId::from_index(index)?;
            placement.takes_connections(shard).then(|| (self.of_shard(shard), shard))
        });
        let Some((least, shard)) = candidates.min() else { return here };
        let crowded = self.of_shard(here) > least + least / 8;
        if placement.takes_connections(here) && !crowded { here } else { shard }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ListenerId = ListenerId(0);
    const B: ListenerId = ListenerId(1);

    #[test]
    fn connections_count_for_the_listener_they_came_through_and_for_the_node() {
        let mut loads = Loads::new(ShardId(0), 2, 2);
        loads.came(A);
        loads.came(B);
        loads.sent(ShardId(1), B);
        assert_eq!((loads.through(A), loads.through(B), loads.everywhere()), (1, 2, 3));
        loads.heard(ShardId(1), B, 4);
        assert_eq!((loads.through(B), loads.everywhere()), (5, 6), "what was sent is among them");
        assert!(!loads.is_deserted());
        loads.left(A);
        loads.left(B);
        loads.heard(ShardId(1), B, 0);
        assert!(loads.is_deserted());
    }

    #[test]
    fn few_connections_are_told_exactly_and_many_roughly() {
        let mut loads = Loads::new(ShardId(0), 2, 1);
        assert_eq!(loads.news(A), None);
        loads.came(A);
        assert_eq!(loads.news(A), Some(1));
        (0..99).for_each(|_| loads.came(A));
        assert_eq!(loads.news(A), Some(100));
        loads.left(A);
        assert_eq!(loads.news(A), None);
        assert_eq!(loads.report(A), 99, "whoever asks is told");
        (0..98).for_each(|_| loads.left(A));
        assert_eq!(loads.news(A), Some(1));
        loads.left(A);
        assert_eq!(loads.news(A), Some(0), "the last one is always told");
    }

    #[test]
    fn a_newcomer_goes_where_fewer_are() {
        let placement = Placement::new(2, 256, false);
        let mut loads = Loads::new(ShardId(0), 2, 2);
        assert_eq!(loads.place(placement), ShardId(0));
        loads.came(B);
        assert_eq!(loads.place(placement), ShardId(1));
        loads.sent(ShardId(1), A);
        assert_eq!(loads.place(placement), ShardId(0), "equal: it stays");
    }
}
