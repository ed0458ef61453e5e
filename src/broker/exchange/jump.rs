//! Weighted lots in an order that is the same on every shard, and jump consistent hashing over
//! them (Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm", 2014).
//!
//! May import its siblings.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use super::Binding;
use super::place::Place;

/// A binding that can be drawn, ordered by the length of its name, then by its name. Bindings
/// reach the shards in different orders, so the order of arrival cannot decide; and with names
/// like `work.9`, `work.10` a new queue comes last, where it moves the fewest keys.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Lot {
    name_bytes: usize,
    name: Rc<str>,
    weight: u64,
    /// Last: shards give different places. What is equal up to here is the same queue twice.
    place: Place,
}

/// Bindings that can be drawn.
#[derive(Debug, Default)]
pub(super) struct Lots {
    ordered: BTreeSet<Lot>,
    wheel: RefCell<Wheel>,
}

/// The lots in a row, made by the first draw after a change, so that many changes cost one.
#[derive(Debug, Default)]
struct Wheel {
    is_current: bool,
    /// Each with the sum of the weights up to and with it.
    lots: Vec<(u64, Place)>,
}

impl Lots {
    /// Takes a binding in.
    pub(super) fn insert(&mut self, binding: &Binding<'_>, weight: u64) {
        self.ordered.insert(Lot::of(binding, weight));
        self.wheel.get_mut().is_current = false;
    }

    /// Forgets a binding; the weight as it was inserted.
    pub(super) fn remove(&mut self, binding: &Binding<'_>, weight: u64) {
        self.ordered.remove(&Lot::of(binding, weight));
        self.wheel.get_mut().is_current = false;
    }

    /// The binding that a hash falls to: each in proportion to its weight, and when one is added
    /// at the end only the keys it takes over move.
    pub(super) fn jump(&self, hash: u64) -> Option<Place> {
        self.draw(|lots| {
            let (total, _) = lots.last()?;
            let bucket = jump(hash, *total);
            Some(lots.partition_point(|(up_to, _)| *up_to <= bucket))
        })
    }

    /// The binding that a hash falls to by its remainder, whatever the weights.
    pub(super) fn modulus(&self, hash: u64) -> Option<Place> {
        self.draw(|lots| usize::try_from(hash.checked_rem(lots.len() as u64)?).ok())
    }

    fn draw(&self, pick: impl FnOnce(&[(u64, Place)]) -> Option<usize>) -> Option<Place> {
        let mut wheel = self.wheel.borrow_mut();
        if !wheel.is_current {
            wheel.turn(&self.ordered);
        }
        let position = pick(&wheel.lots)?;
        wheel.lots.get(position).map(|(_, place)| *place)
    }
}

impl Lot {
    /// A weight counts at most 2^32, so that sums stay far from overflow.
    fn of(binding: &Binding<'_>, weight: u64) -> Self {
        Self {
            name_bytes: binding.lot.len(),
            name: Rc::clone(binding.lot),
            weight: weight.min(1 << 32),
            place: binding.place,
        }
    }
}

impl Wheel {
    fn turn(&mut self, ordered: &BTreeSet<Lot>) {
        let mut sum = 0u64;
        self.lots.clear();
        self.lots.extend(ordered.iter().map(|lot| {
            sum = sum.saturating_add(lot.weight);
            (sum, lot.place)
        }));
        self.is_current = true;
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
