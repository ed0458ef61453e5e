//! The number of a shard. Imports nothing.

/// Shards of one process at most: ids and lane tables stay small.
pub const SHARDS_MAX: usize = 256;

/// A shard: one executor on one core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

impl ShardId {
    /// The place of this shard in tables that have one entry per shard.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The shard at a place of such a table; `None` beyond [`SHARDS_MAX`].
    #[must_use]
    pub fn from_index(index: usize) -> Option<Self> {
        if index < SHARDS_MAX { u16::try_from(index).ok().map(Self) } else { None }
    }
}

impl std::fmt::Display for ShardId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_becomes_a_shard_only_below_the_limit() {
        assert_eq!(ShardId::from_index(0), Some(ShardId(0)));
        assert_eq!(ShardId::from_index(SHARDS_MAX - 1).map(ShardId::index), Some(SHARDS_MAX - 1));
        assert_eq!(ShardId::from_index(SHARDS_MAX), None);
    }
}
