//! Every cut and every flipped bit of one log file.

use super::*;

/// A log file, where its records are, and what they are.
struct Sound {
    file: LogFile,
    bytes: Vec<u8>,
    places: Vec<(usize, Head)>,
    written: BTreeMap<Lsn, Written>,
}

impl Sound {
    fn new() -> Self {
        let story = Story::of_one_file();
        let (file, bytes) = story.disk.files.into_iter().next().expect("a file");
        let places = places(&bytes);
        assert_eq!(bytes.len(), 65_536);
        Self { file, bytes, places, written: story.written }
    }

    fn end(&self, index: usize) -> usize {
        let (at, head) = self.places[index];
        let payload = self.written.get(&head.lsn).map_or(0, |record| record.payload.len());
        at + crate::log::record::HEAD_BYTES + payload
    }

    /// What has to come out if the records from `lost` on to `upto` (exclusive) cannot be read.
    fn check(&self, found: &Recovered, lost: usize, upto: usize, what: &str) {
        found.must_be_true(&self.written);
        let left = self.places.iter().enumerate().filter(|(at, _)| *at < lost || *at >= upto);
        let claimed = left.map(|(_, (_, head))| head.durable).max().unwrap_or_default();
        let is_corruption = upto > lost && self.places[lost].1.lsn <= claimed;
        let missing = self.places[lost..upto].iter().filter(|(_, head)| head.lsn <= claimed);
        let missing = missing.count() as u64;
        assert_eq!(found.report.lost(), missing, "{what}: {:?}", found.report.findings);
        let last_torn = self.places[lost..upto].last().is_some_and(|(_, head)| head.lsn > claimed);
        let ends = if last_torn { lost } else { self.places.len() };
        let delivered = self.places[..ends].iter().enumerate().filter(|(at, (_, head))| {
            let is_left = *at < lost || *at >= upto;
            is_left && head.kind != KIND_MARK
        });
        let delivered: Vec<Lsn> = delivered.map(|(_, (_, head))| head.lsn).collect();
        let given: Vec<Lsn> = found.records.iter().map(|(lsn, _)| *lsn).collect();
        assert_eq!(given, delivered, "{what}: {:?}", found.report.findings);
        assert!(!is_corruption || !found.report.is_sound(), "{what}");
    }

    fn flip(&mut self, bit: usize) {
        self.bytes[bit / 8] ^= 1 << (bit % 8);
        let found = recover_files(&[(self.file, &self.bytes)], OURS);
        self.bytes[bit / 8] ^= 1 << (bit % 8);
        let what = format!("bit {bit} (octet {})", bit / 8);
        let at = bit / 8;
        let hit = (0..self.places.len())
            .find(|index| at >= self.places[*index].0 && at < self.end(*index));
        let (lost, upto) = hit.map_or((0, 0), |index| (index, index + 1));
        self.check(&found, lost, upto, &what);
        if at < 56 {
            let bad = |finding: &Finding| matches!(finding, Finding::BadHeader { .. });
            assert_eq!(found.report.findings.iter().filter(|finding| bad(finding)).count(), 1);
        }
    }
}

/// Octets from one tried place to the next, where trying all takes minutes without optimisation. No
/// divisor of the places where records begin, so that every part of one is met.
const STRIDE: usize = 13;

fn cut_at(places: impl Iterator<Item = usize>) {
    let sound = Sound::new();
    let durable = sound.places.last().expect("records").1.lsn;
    let first = sound.places[0].1.lsn;
    for length in places.take_while(|length| *length < sound.bytes.len()) {
        let files = [(sound.file, &sound.bytes[..length])];
        let whole = (0..sound.places.len()).take_while(|index| sound.end(*index) <= length).count();
        let found = recover_files(&files, OURS);
        found.must_be_true(&sound.written);
        assert_eq!(found.counted(), whole as u64, "cut at {length}");
        // Nothing before the cut says that anything was durable behind it, a checkpoint does.
        let claimed = sound.places[..whole].iter().map(|(_, head)| head.durable).max();
        assert!(claimed.is_none_or(|claimed| claimed < Lsn(first.0 + whole as u64)));
        assert_eq!(found.report.lost(), 0, "cut at {length}");
        let found = recover_files(&files, Known { durable: Some(durable), ..OURS });
        assert_eq!(found.report.lost(), (sound.places.len() - whole) as u64, "cut at {length}");
    }
}

#[test]
fn a_cut_file_gives_what_is_before() {
    cut_at((0..).step_by(STRIDE));
}

#[test]
#[ignore = "takes minutes: run it in release when the format or recovery changes"]
fn a_file_cut_at_any_octet_gives_what_is_before() {
    cut_at(0..);
}

#[test]
fn a_flipped_bit_loses_one_record_and_says_so() {
    let mut sound = Sound::new();
    for bit in (0..sound.bytes.len() * 8).step_by(8 * STRIDE + 1) {
        sound.flip(bit);
    }
}

#[test]
#[ignore = "half a million recoveries: run it in release when the format or recovery changes"]
fn any_flipped_bit_loses_one_record_and_says_so() {
    let mut sound = Sound::new();
    for bit in 0..sound.bytes.len() * 8 {
        sound.flip(bit);
    }
}

#[test]
fn zeroed_octets_anywhere_lose_what_they_hit() {
    let mut sound = Sound::new();
    for (round, length) in [8, 56, 100, 512, 4096, 9000].into_iter().enumerate() {
        for at in (BLOCK..sound.bytes.len() - length).step_by(1048 + 8 * round) {
            let kept = sound.bytes.clone();
            sound.bytes[at..at + length].fill(0);
            let found = recover_files(&[(sound.file, &sound.bytes)], OURS);
            let is_hit = |index: &usize| {
                let (from, to) = (sound.places[*index].0, sound.end(*index));
                sound.bytes[from..to] != kept[from..to]
            };
            let hit: Vec<usize> = (0..sound.places.len()).filter(is_hit).collect();
            sound.bytes = kept;
            let lost = hit.first().copied().unwrap_or(0);
            sound.check(&found, lost, lost + hit.len(), &format!("{length} zeros at {at}"));
        }
    }
}
