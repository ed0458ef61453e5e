//! What is in a message's body and how a consumer checks it; imports nothing.
//!
//! | octets | content |
//! |---|---|
//! | 0..2 | token of the run: messages of an earlier run are recognised |
//! | 2..4 | producer |
//! | 4..8 | low half of the sequence number, which counts from 0 per producer |
//! | 8..10 | checksum of all of 0..16 |
//! | 10..16 | nanoseconds from the run's start to the intended time of sending |
//! | 16..24 | in bodies of 32 octets and more: the whole sequence number |
//! | 24..28 | the same: `shift`, where in the pattern the rest begins |
//! | 28..32 | the same: checksum of 0..28 |
//! | from there | pattern, from `shift` on (0 in bodies under 32 octets) |
//!
//! All big-endian. The pattern is random, so that octets of another message, or octets of this
//! one in the wrong place, do not fit; it is the same in every run.

/// Octets of the shortest body.
pub(crate) const BODY_BYTES_MIN: usize = 16;
/// Octets before the pattern in bodies that have room for them.
pub(crate) const LONG_HEAD_BYTES: usize = 32;
/// Shifts of the pattern; prime, so that they do not fall in step with buffer sizes.
const SHIFTS: usize = 251;
const TIME_BITS: u32 = 48;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;

/// Octets before the pattern in a body of `body_bytes`.
pub(crate) const fn head_bytes(body_bytes: usize) -> usize {
    if body_bytes >= LONG_HEAD_BYTES { LONG_HEAD_BYTES } else { BODY_BYTES_MIN }
}

/// What a producer writes into one body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Token of the run.
    pub(crate) run: u16,
    /// Number of the producer.
    pub(crate) producer: u16,
    /// Sequence number, from 0.
    pub(crate) sequence: u64,
    /// Intended time of sending.
    pub(crate) time_ns: u64,
    /// Where in the pattern the rest begins.
    pub(crate) shift: u32,
}

impl Stamp {
    /// The head of a body of `LONG_HEAD_BYTES` and more; a shorter one takes the first
    /// `BODY_BYTES_MIN` octets.
    #[inline]
    pub(crate) fn to_octets(self) -> [u8; LONG_HEAD_BYTES] {
        let (who, when) = self.first_words();
        let shift = u64::from(self.shift) << 32;
        let tail = shift | (mix(when ^ self.sequence, shift) >> 32);
        let mut octets = [0; LONG_HEAD_BYTES];
        let words = [who, when, self.sequence, tail];
        for (octets, word) in octets.chunks_exact_mut(8).zip(words) {
            octets.copy_from_slice(&word.to_be_bytes());
        }
        octets
    }

    /// The head of a body shorter than `LONG_HEAD_BYTES`.
    #[inline]
    pub(crate) fn to_short_octets(self) -> [u8; BODY_BYTES_MIN] {
        let (who, when) = self.first_words();
        let mut octets = [0; BODY_BYTES_MIN];
        for (octets, word) in octets.chunks_exact_mut(8).zip([who, when]) {
            octets.copy_from_slice(&word.to_be_bytes());
        }
        octets
    }

    #[inline]
    fn first_words(self) -> (u64, u64) {
        let who = u64::from(self.run) << 48
            | u64::from(self.producer) << 32
            | self.sequence & u64::from(u32::MAX);
        let time = self.time_ns & TIME_MASK;
        (who, mix(who, time) & !TIME_MASK | time)
    }
}

/// What a consumer reads from one body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// Token of the run.
    pub(crate) run: u16,
    /// Number of the producer.
    pub(crate) producer: u16,
    /// The sequence number or, from a short body, its low half.
    pub(crate) sequence: Sequence,
    /// Intended time of sending.
    pub(crate) time_ns: u64,
    /// Where in the pattern the rest begins.
    pub(crate) shift: usize,
}

/// A sequence number as it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sequence {
    /// In a long body.
    Whole(u64),
    /// In a short body.
    LowHalf(u32),
}

impl Sequence {
    /// The sequence number, given another that is less than 2^31 away from it.
    #[inline]
    pub(crate) fn near(self, other: u64) -> u64 {
        match self {
            Self::Whole(sequence) => sequence,
            Self::LowHalf(low) => {
                let [_, _, _, _, low_of_other @ ..] = other.to_be_bytes();
                let distance = low.wrapping_sub(u32::from_be_bytes(low_of_other)).cast_signed();
                other.wrapping_add_signed(i64::from(distance))
            }
        }
    }
}

impl Head {
    /// Reads the first `head_bytes` octets of a body; `None` if a checksum is wrong or octets
    /// are missing.
    #[inline]
    pub(crate) fn read(octets: &[u8]) -> Option<Self> {
        let ([who, when], rest) = words::<2>(octets)?;
        let time_ns = when & TIME_MASK;
        if mix(who, time_ns) & !TIME_MASK != when & !TIME_MASK {
            return None;
        }
        let [run_high, run_low, producer_high, producer_low, low @ ..] = who.to_be_bytes();
        let mut head = Self {
            run: u16::from_be_bytes([run_high, run_low]),
            producer: u16::from_be_bytes([producer_high, producer_low]),
            sequence: Sequence::LowHalf(u32::from_be_bytes(low)),
            time_ns,
            shift: 0,
        };
        if let Some(([sequence, tail], _)) = words::<2>(rest) {
            let shift = tail & !u64::from(u32::MAX);
            if mix(when ^ sequence, shift) >> 32 != tail & u64::from(u32::MAX) {
                return None;
            }
            head.sequence = Sequence::Whole(sequence);
            head.shift = usize::try_from(shift >> 32).ok()?;
        }
        Some(head)
    }
}

#[inline]
fn words<const N: usize>(octets: &[u8]) -> Option<([u64; N], &[u8])> {
    let (front, rest) = octets.split_at_checked(N.checked_mul(8)?)?;
    let mut words = [0; N];
    for (word, octets) in words.iter_mut().zip(front.as_chunks::<8>().0) {
        *word = u64::from_be_bytes(*octets);
    }
    Some((words, rest))
}

/// Mixes two words so that every bit of both reaches the upper half: the finisher of SplitMix64.
/// Not against an enemy, against mistakes.
#[inline]
const fn mix(a: u64, b: u64) -> u64 {
    let mut word = a.wrapping_add(b.rotate_left(32)) ^ 0x9E37_79B9_7F4A_7C15;
    word = (word ^ word >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ word >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ word >> 31
}

/// What fills bodies behind their heads; one per thread.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    octets: Vec<u8>,
}

impl Pattern {
    /// Enough for bodies of `body_bytes`.
    pub(crate) fn new(body_bytes: usize) -> Self {
        let mut octets = Vec::with_capacity(body_bytes.saturating_add(SHIFTS).saturating_add(8));
        let mut counter = 0;
        while octets.len() < body_bytes.saturating_add(SHIFTS) {
            counter += 1;
            octets.extend_from_slice(&mix(counter, 0x0BAD_CAFE).to_be_bytes());
        }
        Self { octets }
    }

    /// The shift for the message in place `slot` of a batch.
    pub(crate) fn shift_of(slot: usize) -> u32 {
        u32::try_from(slot.checked_rem(SHIFTS).unwrap_or(0)).unwrap_or(0)
    }

    /// `count` octets of a body with `shift`, `position` octets behind its head.
    #[inline]
    pub(crate) fn part(&self, shift: usize, position: usize, count: usize) -> Option<&[u8]> {
        let start = shift.checked_add(position)?;
        self.octets.get(start..start.checked_add(count)?)
    }

    /// Whether `octets` are those of a body with `shift`, `position` octets behind its head.
    #[inline]
    pub(crate) fn fits(&self, shift: usize, position: usize, octets: &[u8]) -> bool {
        self.part(shift, position, octets.len()) == Some(octets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(sequence: u64) -> Stamp {
        Stamp { run: 0xBEEF, producer: 77, sequence, time_ns: 123_456_789_012, shift: 250 }
    }

    #[test]
    fn a_head_comes_back_as_it_was_written() {
        let head = Head::read(&stamp(u64::MAX - 3).to_octets()).unwrap();
        assert_eq!((head.run, head.producer, head.shift), (0xBEEF, 77, 250));
        assert_eq!(head.time_ns, 123_456_789_012);
        assert_eq!(head.sequence, Sequence::Whole(u64::MAX - 3));
    }

    #[test]
    fn a_short_head_is_the_start_of_a_long_one() {
        let long = stamp(5).to_octets();
        let short = stamp(5).to_short_octets();
        assert_eq!(long[..BODY_BYTES_MIN], short);
        assert_eq!(Head::read(&short).unwrap().sequence, Sequence::LowHalf(5));
        assert_eq!(Head::read(&short[..15]), None);
    }

    #[test]
    fn any_changed_bit_of_a_head_is_noticed() {
        let octets = stamp(1_000_000).to_octets();
        let changed = |length: usize| {
            (0..length * 8).filter(move |bit| {
                let mut octets = octets;
                octets[bit / 8] ^= 1 << (bit % 8);
                Head::read(&octets[..length]).is_some()
            })
        };
        assert_eq!(changed(LONG_HEAD_BYTES).count(), 0);
        assert_eq!(changed(BODY_BYTES_MIN).count(), 0);
    }

    #[test]
    fn half_a_sequence_number_is_completed_from_a_near_one() {
        let edge = 1 << 32;
        assert_eq!(Sequence::LowHalf(2).near(edge - 5), edge + 2);
        assert_eq!(Sequence::LowHalf(u32::MAX).near(edge + 5), edge - 1);
        assert_eq!(Sequence::LowHalf(9).near(0), 9);
    }

    #[test]
    fn a_pattern_fits_in_its_own_place_only() {
        let pattern = Pattern::new(1024);
        let part = pattern.part(7, 100, 64).unwrap().to_vec();
        assert!(pattern.fits(7, 100, &part));
        assert!(!pattern.fits(8, 100, &part));
        assert!(!pattern.fits(7, 101, &part));
        assert!(pattern.part(250, 0, 1024).is_some());
    }
}
