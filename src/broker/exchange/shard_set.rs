//! A set of shards as bits: copied and merged without allocation.
//!
//! May import `ids`.

use crate::ids::ShardId;

/// Shards a set can name; the configuration refuses more.
pub(crate) const SHARDS_MAX: u16 = 256;

const WORDS: usize = 4;
const _: () = assert!(SHARDS_MAX as usize == WORDS * 64, "one bit per shard");

/// Which shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ShardSet([u64; WORDS]);

impl ShardSet {
    /// No shard.
    pub(crate) const EMPTY: Self = Self([0; WORDS]);

    /// Adds a shard; tells whether it was missing. A shard beyond [`SHARDS_MAX`] cannot be added.
    pub(crate) fn insert(&mut self, shard: ShardId) -> bool {
        debug_assert!(shard.0 < SHARDS_MAX);
        let Some((word, bit)) = self.word_of(shard) else { return false };
        let missing = *word & bit == 0;
        *word |= bit;
        missing
    }

    /// Takes a shard out; tells whether it was there.
    pub(crate) fn remove(&mut self, shard: ShardId) -> bool {
        let Some((word, bit)) = self.word_of(shard) else { return false };
        let present = *word & bit != 0;
        *word &= !bit;
        present
    }

    /// Whether the shard is in it.
    pub(crate) fn contains(&self, shard: ShardId) -> bool {
        self.0.get(usize::from(shard.0 / 64)).is_some_and(|word| word & (1 << (shard.0 % 64)) != 0)
    }

    /// Adds every shard of the other set.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine |= theirs;
        }
    }

    /// Whether no shard is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.0 == [0; WORDS]
    }

    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "listings for operators come with the management API")
    )]
    /// How many shards are in it.
    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The shards in ascending order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = ShardId> + use<> {
        let words = [0u16, 64, 128, 192].into_iter().zip(self.0);
        words.flat_map(|(base, mut word)| {
            std::iter::from_fn(move || {
                let bit = u16::try_from(word.trailing_zeros()).ok().filter(|_| word != 0)?;
                word &= word - 1;
                Some(ShardId(base + bit))
            })
        })
    }

    fn word_of(&mut self, shard: ShardId) -> Option<(&mut u64, u64)> {
        let word = self.0.get_mut(usize::from(shard.0 / 64))?;
        Some((word, 1 << (shard.0 % 64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_come_out_in_order_once_each() {
        let mut set = ShardSet::EMPTY;
        for shard in [255, 0, 63, 64, 128, 0] {
            set.insert(ShardId(shard));
        }
        let shards: Vec<u16> = set.iter().map(|s| s.0).collect();
        assert_eq!(shards, [0, 63, 64, 128, 255]);
        assert_eq!(set.len(), 5);
    }

    #[test]
    fn inserting_and_removing_tell_whether_something_changed() {
        let mut set = ShardSet::default();
        assert!(set.insert(ShardId(7)));
        assert!(!set.insert(ShardId(7)));
        assert!(set.contains(ShardId(7)) && !set.contains(ShardId(8)));
        assert!(set.remove(ShardId(7)));
        assert!(!set.remove(ShardId(7)));
        assert!(set.is_empty());
    }

    #[test]
    fn merging_keeps_the_shards_of_both() {
        let (mut a, mut b) = (ShardSet::EMPTY, ShardSet::EMPTY);
        a.insert(ShardId(1));
        b.insert(ShardId(200));
        a.merge(&b);
        assert!(a.contains(ShardId(1)) && a.contains(ShardId(200)));
    }
}
