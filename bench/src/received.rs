//! Which messages of one producer have come out of one queue: a bitmap that forgets its full
//! front; imports nothing.

use std::collections::VecDeque;
use std::ops::Range;

/// Sequence numbers further than this ahead of the first missing one are not believed: the
/// bitmap would be as large as a wrong number says. These take 128 MiB.
const AHEAD_MAX: u64 = 1 << 30;

/// What became of a sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Insert {
    /// Seen for the first time.
    New,
    /// Seen before.
    Again,
    /// Not believed.
    TooFar,
}

/// The set of sequence numbers received.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// Everything below has been received; a multiple of 64.
    base: u64,
    /// Bits from `base` on. The front word is never full.
    words: VecDeque<u64>,
    count: u64,
}

impl Received {
    /// Everything below has been received.
    #[inline]
    pub(crate) const fn base(&self) -> u64 {
        self.base
    }

    /// Adds a number.
    #[inline]
    pub(crate) fn insert(&mut self, sequence: u64) -> Insert {
        let Some(ahead) = sequence.checked_sub(self.base) else { return Insert::Again };
        if ahead > AHEAD_MAX {
            return Insert::TooFar;
        }
        let Ok(index) = usize::try_from(ahead / 64) else { return Insert::TooFar };
        if index >= self.words.len() {
            self.words.resize(index.saturating_add(1), 0);
        }
        let Some(word) = self.words.get_mut(index) else { return Insert::TooFar };
        let bit = 1 << (ahead % 64);
        if *word & bit != 0 {
            return Insert::Again;
        }
        *word |= bit;
        self.count = self.count.saturating_add(1);
        while self.words.front() == Some(&u64::MAX) {
            self.words.pop_front();
            self.base = self.base.saturating_add(64);
        }
        Insert::New
    }

    /// How many numbers are in the set.
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// One more than the highest number; 0 for an empty set.
    pub(crate) fn end(&self) -> u64 {
        let full_words = self.words.iter().rposition(|word| *word != 0);
        let Some((index, word)) = full_words.and_then(|at| Some((at, self.words.get(at)?))) else {
            return self.base;
        };
        let bits_before = u64::try_from(index).unwrap_or(u64::MAX).saturating_mul(64);
        let bits = u64::from(u64::BITS - word.leading_zeros());
        self.base.saturating_add(bits_before).saturating_add(bits)
    }

    /// The numbers under `end` that are missing, as ranges in order.
    pub(crate) fn missing(&self, end: u64) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        let bits = self.words.iter().flat_map(|word| (0..64).map(move |bit| word >> bit & 1 != 0));
        let mut past_bits = self.base;
        for (sequence, is_received) in (self.base..end).zip(bits) {
            past_bits = sequence.saturating_add(1);
            if is_received {
                continue;
            }
            match ranges.last_mut() {
                Some(range) if range.end == sequence => range.end = past_bits,
                Some(_) | None => ranges.push(sequence..past_bits),
            }
        }
        if past_bits < end {
            match ranges.last_mut() {
                Some(range) if range.end == past_bits => range.end = end,
                Some(_) | None => ranges.push(past_bits..end),
            }
        }
        ranges
    }

    /// How many numbers from `end` on are in the set.
    pub(crate) fn count_from(&self, end: u64) -> u64 {
        let missing: u64 = self.missing(end).iter().map(|range| range.end - range.start).sum();
        self.count.saturating_sub(end.saturating_sub(missing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_front_is_forgotten() {
        let mut received = Received::default();
        for sequence in 0..1_000_000 {
            assert_eq!(received.insert(sequence), Insert::New);
        }
        assert!(received.words.len() <= 1);
        assert!(received.missing(1_000_000).is_empty());
        assert_eq!(received.count_from(0), 1_000_000);
    }

    #[test]
    fn a_number_is_new_once() {
        let mut received = Received::default();
        for sequence in [70, 3, 64] {
            assert_eq!(received.insert(sequence), Insert::New);
            assert_eq!(received.insert(sequence), Insert::Again);
        }
        for sequence in 0..64 {
            received.insert(sequence);
        }
        assert_eq!(received.insert(5), Insert::Again);
    }

    #[test]
    fn missing_numbers_are_listed_as_ranges() {
        let mut received = Received::default();
        for sequence in (0..300).filter(|n| !(100..103).contains(n) && *n != 200) {
            received.insert(sequence);
        }
        assert_eq!(received.missing(300), [100..103, 200..201]);
        assert_eq!(received.missing(500), [100..103, 200..201, 300..500]);
        assert_eq!(received.missing(101), vec![100..101]);
        assert_eq!(Received::default().missing(7), vec![0..7]);
    }

    #[test]
    fn numbers_beyond_the_end_are_counted() {
        let mut received = Received::default();
        for sequence in 0..80 {
            received.insert(sequence);
        }
        assert_eq!(received.count_from(80), 0);
        assert_eq!(received.count_from(78), 2);
        assert_eq!(received.count_from(10), 70);
    }

    #[test]
    fn the_end_lies_behind_the_highest_number() {
        let mut received = Received::default();
        assert_eq!((received.end(), received.count()), (0, 0));
        for (sequence, end) in [(5, 6), (3, 6), (63, 64), (64, 65), (1000, 1001)] {
            received.insert(sequence);
            assert_eq!(received.end(), end);
        }
        let mut full = Received::default();
        for sequence in 0..128 {
            full.insert(sequence);
        }
        assert_eq!((full.end(), full.count()), (128, 128));
    }

    #[test]
    fn an_absurd_number_takes_no_memory() {
        let mut received = Received::default();
        assert_eq!(received.insert(u64::MAX), Insert::TooFar);
        assert_eq!(received.words.len(), 0);
    }
}
