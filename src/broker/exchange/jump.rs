//! Weighted lots in an order that is the same on every shard, and jump consistent hashing over
//! them (Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm", 2014).
//!
//! May import its siblings.

use std::rc::Rc;

use super::Binding;
use super::place::Place;

/// A binding that can be drawn.
#[derive(Debug)]
struct Lot {
    name: Rc<str>,
    place: Place,
    weight: u64,
    /// Sum of the weights up to and with this one.
    up_to: u64,
}

/// Bindings that can be drawn, shorter names first, then by name. Bindings reach the shards in
/// different orders, so the order of arrival cannot decide; and with names like `work.9`,
/// `work.10` a new queue comes last, where it moves the fewest keys.
#[derive(Debug, Default)]
pub(super) struct Lots(Vec<Lot>);

impl Lots {
    /// Takes a binding in. The weight counts at most 2^32, so that sums stay far from overflow.
    pub(super) fn insert(&mut self, binding: &Binding<'_>, weight: u64) {
        let (name, place) = (Rc::clone(binding.lot), binding.place);
        let order = (name.len(), &*name, weight);
        let position =
            self.0.partition_point(|lot| (lot.name.len(), &*lot.name, lot.weight) < order);
        let weight = weight.min(1 << 32);
        self.0.insert(position, Lot { name, place, weight, up_to: 0 });
        self.sum_up();
    }

    /// Forgets a binding.
    pub(super) fn remove(&mut self, place: Place) {
        self.0.retain(|lot| lot.place != place);
        self.sum_up();
    }

    /// The binding that a hash falls to: each in proportion to its weight, and when one is added
    /// at the end only the keys it takes over move.
    pub(super) fn jump(&self, hash: u64) -> Option<Place> {
        let total = self.0.last()?.up_to;
        let bucket = jump(hash, total);
        self.0.get(self.0.partition_point(|lot| lot.up_to <= bucket)).map(|lot| lot.place)
    }

    /// The binding that a hash falls to by its remainder, whatever the weights.
    pub(super) fn modulus(&self, hash: u64) -> Option<Place> {
        let remainder = hash.checked_rem(self.0.len() as u64)?;
        self.0.get(usize::try_from(remainder).ok()?).map(|lot| lot.place)
    }

    fn sum_up(&mut self) {
        let mut sum = 0u64;
        for lot in &mut self.0 {
            sum = sum.saturating_add(lot.weight);
            lot.up_to = sum;
        }
    }
}

/// The bucket out of `buckets`, at least one, by about ln(buckets) jumps.
fn jump(mut hash: u64, buckets: u64) -> u64 {
    let (mut bucket, mut next) = (0, 0);
    while next < buckets {
        bucket = next;
        hash = hash.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        // In integers, so that no machine rounds otherwise.
        let far = ((u128::from(bucket) + 1) << 31) / (u128::from(hash >> 33) + 1);
        next = u64::try_from(far).unwrap_or(u64::MAX);
    }
    bucket
}

#[cfg(test)]
mod tests {
    use super::super::canonical::mix;
    use super::*;

    #[test]
    fn one_more_bucket_only_takes_keys_over() {
        let hashes: Vec<u64> = (0..10_000).map(mix).collect();
        for buckets in 1..20 {
            let mut moved = 0u64;
            for &hash in &hashes {
                let (before, after) = (jump(hash, buckets), jump(hash, buckets + 1));
                assert!(before < buckets);
                assert!(after == before || after == buckets);
                moved += u64::from(after != before);
            }
            let fair = 10_000 / (buckets + 1);
            assert!(moved > fair * 8 / 10 && moved < fair * 12 / 10, "{moved} of {fair}");
        }
    }

    #[test]
    fn a_huge_number_of_buckets_takes_few_jumps() {
        for hash in 0..100 {
            assert!(jump(mix(hash), u64::MAX) < u64::MAX);
        }
    }
}
