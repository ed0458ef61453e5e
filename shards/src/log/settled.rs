//! Which entries of a segment are settled, in memory and in the file beside the segment. May import
//! `segment_error` and the octet readers of `segment_index`.
//!
//! The file holds two states, each with a generation and a checksum; the older one is replaced, so a
//! write that a power cut tears costs only what was settled since the one before. The place of a
//! generation is fixed (even: the first, odd: the second). A generation is never 0, so the zeros of a
//! new file say that nothing is settled.

use super::segment_error::SettledError;
use super::segment_index::{u32_at, u64_at};

/// Octets of a state before its bits: checksum, count, generation, number of settled entries, zeros.
const SLOT_HEAD_BYTES: usize = 24;

/// States begin at multiples of this: a block of the disk that is lost with a torn write of one
/// state has nothing of the other.
const SLOT_ALIGNMENT: u64 = 4096;

/// Generations beyond this were never written by us; below it, counting on never overflows.
const GENERATION_MAX: u64 = u64::MAX >> 1;

const WORD_BITS: u32 = u64::BITS;

/// The settled entries of one segment. One per segment, on the shard of its queue.
///
/// Usually entries are settled in order, then it is two numbers. Otherwise it is a bit per entry,
/// until the gaps are closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    count: u32,
    /// Settled ones, wherever they are.
    settled: u32,
    /// All below are settled, this one is not (or there is none).
    prefix: u32,
    /// A bit per entry, the prefix included; empty when nothing beyond the prefix is settled.
    words: Vec<u64>,
    /// Of the newest state in the file.
    generation: u64,
    is_dirty: bool,
}

impl Settled {
    /// Nothing of `count` entries is settled.
    #[must_use]
    pub const fn new(count: u32) -> Self {
        Self { count, settled: 0, prefix: 0, words: Vec::new(), generation: 0, is_dirty: false }
    }

    /// Settles an entry. True: it was not. One that does not exist is never settled.
    pub fn settle(&mut self, index: u32) -> bool {
        index < self.count && self.settle_range(index, index + 1) == 1
    }

    /// Settles the entries from `from` until before `to`, as far as there are any; how many were
    /// not settled before.
    pub fn settle_range(&mut self, from: u32, to: u32) -> u32 {
        let from = from.max(self.prefix);
        let to = to.min(self.count);
        if from >= to {
            return 0;
        }
        let newly = if self.words.is_empty() && from == self.prefix {
            self.prefix = to;
            to - from
        } else {
            if self.words.is_empty() {
                self.words = self.to_words();
            }
            let newly = set_range(&mut self.words, from, to);
            self.prefix = self.next_unsettled(self.prefix).unwrap_or(self.count);
            newly
        };
        self.settled += newly;
        if self.settled == self.prefix {
            self.words = Vec::new();
        }
        self.is_dirty |= newly > 0;
        debug_assert!(self.settled >= self.prefix);
        newly
    }

    /// Whether an entry is settled. One that does not exist is not.
    #[must_use]
    pub fn is_settled(&self, index: u32) -> bool {
        index < self.prefix || (index < self.count && self.next_settled(index) == index)
    }

    /// Entries, settled or not.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Entries that are not settled.
    #[must_use]
    pub const fn left(&self) -> u32 {
        self.count - self.settled
    }

    /// Something was settled that [`Self::encode`] has not given out.
    #[must_use]
    pub const fn is_dirty(&self) -> bool {
        self.is_dirty
    }

    /// The first entry from `from` on that is not settled.
    #[must_use]
    pub fn next_unsettled(&self, from: u32) -> Option<u32> {
        let from = from.max(self.prefix);
        let found = if self.words.is_empty() { from } else { next_bit(&self.words, from, false) };
        (found < self.count).then_some(found)
    }

    /// The first entry from `from` on that is settled; the count if there is none.
    #[must_use]
    pub fn next_settled(&self, from: u32) -> u32 {
        if from < self.prefix {
            return from;
        }
        let found =
            if self.words.is_empty() { self.count } else { next_bit(&self.words, from, true) };
        found.min(self.count)
    }

    /// Octets of memory beyond the value itself.
    #[must_use]
    pub const fn heap_bytes(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }

    /// Octets of the file for a segment of `count` entries.
    #[must_use]
    pub const fn file_bytes(count: u32) -> u64 {
        2 * slot_bytes(count)
    }

    /// What to write, and where, so that the file says what is settled now. At most one of these
    /// writes may be under way: two would tear both states at once.
    pub fn encode(&mut self) -> (u64, Vec<u8>) {
        self.generation += 1;
        self.is_dirty = false;
        let words = if self.words.is_empty() { self.to_words() } else { self.words.clone() };
        let mut body = Vec::with_capacity(SLOT_HEAD_BYTES + words.len() * size_of::<u64>());
        body.extend_from_slice(&[0; 4]);
        body.extend_from_slice(&self.count.to_le_bytes());
        body.extend_from_slice(&self.generation.to_le_bytes());
        body.extend_from_slice(&self.settled.to_le_bytes());
        body.extend_from_slice(&[0; 4]);
        for word in words {
            body.extend_from_slice(&word.to_le_bytes());
        }
        let checksum = checksum_of(&body);
        if let Some(place) = body.first_chunk_mut() {
            *place = checksum.to_le_bytes();
        }
        ((self.generation & 1) * slot_bytes(self.count), body)
    }

    /// What a file says about a segment of `count` entries: its newest state that is whole.
    ///
    /// # Errors
    /// [`SettledError`]: the file says nothing. Begin with [`Self::new`], and report it.
    pub fn decode(bytes: &[u8], count: u32) -> Result<Self, SettledError> {
        let need = Self::file_bytes(count);
        let have = bytes.len() as u64;
        if have != need {
            return Err(SettledError::Length { have, need });
        }
        let (first, second) = bytes.split_at_checked(bytes.len() / 2).unwrap_or_default();
        match (Slot::read(first, count, 0), Slot::read(second, count, 1)) {
            (Slot::Whole(first), Slot::Whole(second)) => {
                Ok(if first.generation > second.generation { first } else { second })
            }
            (Slot::Whole(state), Slot::Unused | Slot::Damaged)
            | (Slot::Unused | Slot::Damaged, Slot::Whole(state)) => Ok(state),
            // The second is written first: it was torn while nothing else was known.
            (Slot::Unused, Slot::Unused | Slot::Damaged) => Ok(Self::new(count)),
            (Slot::Damaged, Slot::Unused | Slot::Damaged) => Err(SettledError::Damaged),
        }
    }

    /// The bits of all entries.
    fn to_words(&self) -> Vec<u64> {
        let mut words = vec![0; word_count(self.count)];
        set_range(&mut words, 0, self.prefix);
        words
    }
}

/// One of the two states in a file.
enum Slot {
    /// Only zeros: never written.
    Unused,
    /// As it was written.
    Whole(Settled),
    /// Anything else.
    Damaged,
}

impl Slot {
    fn read(bytes: &[u8], count: u32, parity: u64) -> Self {
        if bytes.iter().all(|octet| *octet == 0) {
            return Self::Unused;
        }
        Self::read_state(bytes, count, parity).map_or(Self::Damaged, Self::Whole)
    }

    fn read_state(bytes: &[u8], count: u32, parity: u64) -> Option<Settled> {
        let body_bytes = SLOT_HEAD_BYTES + word_count(count) * size_of::<u64>();
        let body = bytes.get(..body_bytes)?;
        let (generation, settled) = (u64_at(body, 8)?, u32_at(body, 16)?);
        let is_whole = u32_at(body, 0)? == checksum_of(body)
            && u32_at(body, 4)? == count
            && (1..=GENERATION_MAX).contains(&generation)
            && generation & 1 == parity;
        let octets = body.get(SLOT_HEAD_BYTES..)?;
        let words: Vec<u64> = octets
            .chunks_exact(size_of::<u64>())
            .filter_map(|word| word.first_chunk().map(|word| u64::from_le_bytes(*word)))
            .collect();
        let bits: u32 = words.iter().map(|word| word.count_ones()).sum();
        if !is_whole || bits != settled || next_bit(&words, count, true) != u32::MAX {
            return None;
        }
        let prefix = next_bit(&words, 0, false).min(count);
        let words = if prefix == settled { Vec::new() } else { words };
        Some(Settled { count, settled, prefix, words, generation, is_dirty: false })
    }
}

/// Of a state, its own place left out.
fn checksum_of(body: &[u8]) -> u32 {
    crc32c::crc32c(body.get(4..).unwrap_or_default())
}

const fn word_count(count: u32) -> usize {
    count.div_ceil(WORD_BITS) as usize
}

const fn slot_bytes(count: u32) -> u64 {
    let bytes = SLOT_HEAD_BYTES + word_count(count) * size_of::<u64>();
    (bytes as u64).next_multiple_of(SLOT_ALIGNMENT)
}

/// The bits of word number `word` that lie in `from..to`.
fn mask(word: u32, from: u32, to: u32) -> u64 {
    let low = from.saturating_sub(word.saturating_mul(WORD_BITS)).min(WORD_BITS);
    let high = to.saturating_sub(word.saturating_mul(WORD_BITS)).min(WORD_BITS);
    let below = |bits: u32| 1_u64.checked_shl(bits).map_or(u64::MAX, |bit| bit - 1);
    below(high) & !below(low)
}

/// Sets the bits `from..to`; how many were not set.
fn set_range(words: &mut [u64], from: u32, to: u32) -> u32 {
    let first = from / WORD_BITS;
    let mut newly = 0;
    for (number, word) in (first..to.div_ceil(WORD_BITS)).zip(words.iter_mut().skip(first as usize))
    {
        let bits = mask(number, from, to) & !*word;
        *word |= bits;
        newly += bits.count_ones();
    }
    newly
}

/// The first bit from `from` on that is set (or not set); `u32::MAX` if there is none.
fn next_bit(words: &[u64], from: u32, set: bool) -> u32 {
    let first = from / WORD_BITS;
    for (number, word) in (first..).zip(words.iter().skip(first as usize)) {
        let wanted = if set { *word } else { !*word };
        let wanted = wanted & mask(number, from, u32::MAX);
        if wanted != 0 {
            return number.saturating_mul(WORD_BITS).saturating_add(wanted.trailing_zeros());
        }
    }
    u32::MAX
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// A file as the disk has it, and writes to it that may be torn.
    struct File(Vec<u8>);

    impl File {
        fn new(count: u32) -> Self {
            Self(vec![0; usize::try_from(Settled::file_bytes(count)).unwrap()])
        }

        fn write(&mut self, (offset, bytes): (u64, Vec<u8>)) {
            self.write_some((offset, &bytes));
        }

        fn write_some(&mut self, (offset, bytes): (u64, &[u8])) {
            let offset = usize::try_from(offset).unwrap();
            self.0[offset..offset + bytes.len()].copy_from_slice(bytes);
        }
    }

    #[test]
    fn a_new_file_says_that_nothing_is_settled() {
        for count in [0, 1, 63, 64, 65, 40_000] {
            assert_eq!(Settled::decode(&File::new(count).0, count), Ok(Settled::new(count)));
        }
    }

    #[test]
    fn settled_in_order_it_needs_no_memory() {
        let mut settled = Settled::new(1000);
        for index in 0..1000 {
            assert!(settled.settle(index));
            assert!(!settled.settle(index));
            assert_eq!(settled.heap_bytes(), 0);
        }
        assert_eq!(settled.left(), 0);
        assert!(!settled.settle(1000));
    }

    #[test]
    fn it_gives_memory_back_when_the_gaps_are_closed() {
        let mut settled = Settled::new(1000);
        assert_eq!(settled.settle_range(500, 600), 100);
        assert!(settled.heap_bytes() > 0);
        assert_eq!(settled.settle_range(0, 550), 500);
        assert_eq!(settled.heap_bytes(), 0);
        assert_eq!(settled.next_unsettled(0), Some(600));
    }

    #[test]
    fn a_write_torn_anywhere_leaves_the_state_before_or_after() {
        for count in [1, 64, 130] {
            let mut file = File::new(count);
            let mut settled = Settled::new(count);
            for step in 0..count.min(6) {
                let before = Settled::decode(&file.0, count).expect("a whole state");
                settled.settle(count - 1 - step);
                let (offset, bytes) = settled.encode();
                let old = file.0.clone();
                for cut in 0..=bytes.len() {
                    for tail_first in [false, true] {
                        file.0.clone_from(&old);
                        if tail_first {
                            let from = offset + cut as u64;
                            file.write_some((from, &bytes[cut..]));
                        } else {
                            file.write_some((offset, &bytes[..cut]));
                        }
                        let found = Settled::decode(&file.0, count).expect("one whole state");
                        assert!(found == before || found == settled, "cut {cut}: {found:?}");
                    }
                }
                file.0.clone_from(&old);
                file.write((offset, bytes));
                assert_eq!(Settled::decode(&file.0, count).as_ref(), Ok(&settled));
            }
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_never_settles_more() {
        let count = 70;
        let mut file = File::new(count);
        let mut settled = Settled::new(count);
        settled.settle(69);
        file.write(settled.encode());
        let older = settled.clone();
        settled.settle_range(3, 20);
        file.write(settled.encode());
        // What stands behind a state is zeros all alike: a few of them will do.
        let half = file.0.len() / 2;
        let used = SLOT_HEAD_BYTES + 16;
        let is_tried = |octet: &usize| octet % half < used || octet.is_multiple_of(509);
        for bit in (0..file.0.len()).filter(is_tried).flat_map(|octet| octet * 8..octet * 8 + 8) {
            file.0[bit / 8] ^= 1 << (bit % 8);
            let found = Settled::decode(&file.0, count).expect("the other state is whole");
            assert!(found == older || found == settled, "bit {bit}: {found:?}");
            file.0[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn with_both_states_damaged_it_says_so() {
        let count = 70;
        let mut file = File::new(count);
        let mut settled = Settled::new(count);
        settled.settle(1);
        file.write(settled.encode());
        settled.settle(2);
        file.write(settled.encode());
        let half = file.0.len() / 2;
        file.0[9] ^= 1;
        file.0[half + 9] ^= 1;
        assert_eq!(Settled::decode(&file.0, count), Err(SettledError::Damaged));
        // Beginning anew, the next state is found whatever stands in the other place.
        let mut settled = Settled::new(count);
        settled.settle(5);
        file.write(settled.encode());
        assert_eq!(Settled::decode(&file.0, count), Ok(settled));
    }

    #[test]
    fn the_state_of_another_count_is_damage() {
        let mut file = File::new(70);
        let mut settled = Settled::new(70);
        settled.settle(1);
        file.write(settled.encode());
        settled.settle(2);
        file.write(settled.encode());
        assert_eq!(Settled::decode(&file.0, 71), Err(SettledError::Damaged));
        file.0.pop();
        assert!(matches!(Settled::decode(&file.0, 70), Err(SettledError::Length { .. })));
    }

    #[test]
    fn the_largest_count_overflows_nothing() {
        let mut settled = Settled::new(u32::MAX);
        assert_eq!(settled.settle_range(0, u32::MAX), u32::MAX);
        assert_eq!(settled.next_unsettled(u32::MAX), None);
        assert_eq!(settled.left(), 0);
        assert_eq!(mask(u32::MAX / 64, u32::MAX - 1, u32::MAX), 1 << 62);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Settle(u32),
        Range(u32, u32),
        Save,
        Restart,
    }

    fn steps() -> impl Strategy<Value = (u32, Vec<Step>)> {
        (0_u32..300).prop_flat_map(|count| {
            let index = 0..count + 3;
            let step = prop_oneof![
                6 => index.clone().prop_map(Step::Settle),
                3 => (index.clone(), index).prop_map(|(a, b)| Step::Range(a, b)),
                2 => Just(Step::Save),
                1 => Just(Step::Restart),
            ];
            (Just(count), prop::collection::vec(step, 0..120))
        })
    }

    fn agrees(settled: &Settled, model: &BTreeSet<u32>, count: u32) {
        assert_eq!(settled.left(), count - u32::try_from(model.len()).unwrap());
        for index in 0..count + 2 {
            assert_eq!(settled.is_settled(index), model.contains(&index), "{index}");
            let unsettled = (index..count).find(|at| !model.contains(at));
            assert_eq!(settled.next_unsettled(index), unsettled, "from {index}");
            let next = model.range(index..).next().copied().unwrap_or(count);
            assert_eq!(settled.next_settled(index), next, "from {index}");
        }
    }

    proptest! {
        #[test]
        fn it_is_a_set_that_outlives_the_process_as_it_was_saved((count, steps) in steps()) {
            let mut settled = Settled::new(count);
            let (mut model, mut saved) = (BTreeSet::new(), BTreeSet::new());
            let mut file = File::new(count);
            for step in steps {
                match step {
                    Step::Settle(index) => {
                        let is_new = index < count && model.insert(index);
                        prop_assert_eq!(settled.settle(index), is_new);
                    }
                    Step::Range(from, to) => {
                        let before = model.len();
                        model.extend(from..to.min(count).max(from));
                        let newly = u32::try_from(model.len() - before).unwrap();
                        prop_assert_eq!(settled.settle_range(from, to), newly);
                    }
                    Step::Save => {
                        file.write(settled.encode());
                        saved.clone_from(&model);
                    }
                    Step::Restart => {
                        settled = Settled::decode(&file.0, count).expect("a whole file");
                        model.clone_from(&saved);
                    }
                }
                prop_assert_eq!(settled.is_dirty(), model != saved);
                prop_assert_eq!(settled.left() as usize, count as usize - model.len());
            }
            agrees(&settled, &model, count);
        }

        #[test]
        fn any_octets_are_a_state_or_an_error(
            octets in prop::collection::vec(any::<u8>(), 0..200), count in 0_u32..100
        ) {
            let mut file = File::new(count);
            for (place, octet) in file.0.iter_mut().zip(octets.iter().chain(octets.iter().rev())) {
                *place = *octet;
            }
            if let Ok(settled) = Settled::decode(&file.0, count) {
                prop_assert_eq!(settled.count(), count);
            }
        }
    }
}
