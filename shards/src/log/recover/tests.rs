//! Recovery of logs as the writer makes them, of all kinds of crashes.
#![cfg(test)]

mod damage;
mod foreign;
mod random;

use std::collections::BTreeMap;

use super::*;
use crate::log::plain_disk::PlainDisk;
use crate::log::record::{Decoded, Head, decode};
use crate::log::{FileInfo, Log, LogSetup};

pub(super) const BLOCK: usize = BLOCK_BYTES;

/// Of the log that all stories are about.
pub(super) const OURS: Known = Known::of(77, 1);

/// A record as it was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) group: u32,
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) payload: Vec<u8>,
}

/// A log, its disk, and what was appended.
#[derive(Debug)]
pub(super) struct Story {
    pub(super) log: Log,
    pub(super) disk: PlainDisk,
    pub(super) written: BTreeMap<Lsn, Written>,
}

impl Story {
    pub(super) fn new(boot: u32, file_bytes: u64) -> Self {
        Self::of(OURS, boot, file_bytes)
    }

    pub(super) fn of(whose: Known, boot: u32, file_bytes: u64) -> Self {
        let Known { shard, dir_id, .. } = whose;
        let setup = LogSetup { shard, dir_id, boot, file_bytes, groups: 4 };
        let (disk, written) = (PlainDisk::default(), BTreeMap::new());
        Self { log: Log::new(setup), disk, written }
    }

    pub(super) fn put(&mut self, bytes: usize) -> Lsn {
        let seed = self.written.len();
        let octet = u8::try_from(seed % 251).unwrap() + 1;
        let record = Written {
            group: u32::try_from(seed % 4).unwrap(),
            kind: u16::try_from(seed % 7).unwrap() + 1,
            flags: u16::try_from(seed % 65_536).unwrap(),
            payload: vec![octet; bytes],
        };
        let Written { group, kind, flags, ref payload } = record;
        let lsn = self.log.append(group, kind, flags, |out| out.extend_from_slice(payload));
        self.written.insert(lsn, record);
        lsn
    }

    pub(super) fn flush(&mut self, sync: bool) {
        self.disk.flush(&mut self.log, sync);
    }

    pub(super) fn idle(&mut self) {
        let mut jobs = Vec::new();
        self.log.idle_mark(&mut jobs);
        self.disk.run_all(&mut self.log, &mut jobs);
    }

    pub(super) fn retire_oldest(&mut self) {
        let mut jobs = Vec::new();
        let oldest = self.log.files().next().expect("a file").file;
        self.log.retire(oldest, &mut jobs);
        self.disk.run_all(&mut self.log, &mut jobs);
    }

    /// The first record that the log still has to have.
    pub(super) fn first(&self) -> Lsn {
        self.log.files().next().map_or(Lsn::first_of(1), |info| info.first)
    }

    /// A log of 16 blocks with a header that is nearly full: batches of several sizes, all but the
    /// last of them synced and claimed.
    pub(super) fn of_one_file() -> Self {
        let mut story = Self::new(1, 16 * 4096);
        for (count, bytes) in (0..190).map(|count| (count, (count * 37) % 401)) {
            story.put(bytes);
            // Batches of one block and of two.
            if story.log.batch_bytes() > if count < 90 { 3600 } else { 7600 } {
                story.flush(true);
            }
        }
        story.flush(true);
        story.idle();
        assert_eq!(story.log.files().count(), 1);
        story
    }
}

/// What recovery gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Recovered {
    pub(super) records: Vec<(Lsn, Written)>,
    pub(super) report: Report,
}

impl Recovered {
    /// Numbers that count, marks included.
    pub(super) fn counted(&self) -> u64 {
        self.report.files.iter().map(|file| file.records).sum()
    }

    /// Whatever happened: nothing is given that was not written, and each record once.
    pub(super) fn must_be_true(&self, written: &BTreeMap<Lsn, Written>) {
        assert!(self.records.is_sorted_by(|a, b| a.0 < b.0), "out of order or twice");
        for (lsn, record) in &self.records {
            assert_eq!(written.get(lsn), Some(record), "{lsn:?} was not written so");
        }
    }
}

pub(super) fn recover_files(files: &[(LogFile, &[u8])], known: Known) -> Recovered {
    let images: Vec<Image<'_>> =
        files.iter().map(|(file, bytes)| Image { file: *file, bytes }).collect();
    let mut records = Vec::new();
    let report = recover(&images, known, &mut |record: &Record<'_>, _| {
        let Head { lsn, group, kind, flags, .. } = record.head;
        records.push((lsn, Written { group, kind, flags, payload: record.payload.to_vec() }));
    });
    Recovered { records, report }
}

pub(super) fn recover_disk(disk: &PlainDisk, known: Known) -> Recovered {
    let files: Vec<(LogFile, &[u8])> =
        disk.files.iter().map(|(file, bytes)| (*file, bytes.as_slice())).collect();
    recover_files(&files, known)
}

/// Where every record stands in a sound file: offset and head.
pub(super) fn places(bytes: &[u8]) -> Vec<(usize, Head)> {
    let mut found: Vec<(usize, Head)> = Vec::new();
    let mut at = BLOCK;
    while at < bytes.len() {
        match decode(&bytes[at..], OURS.key()) {
            Decoded::Record { record, taken } => {
                found.push((at, record.head));
                at += taken;
            }
            Decoded::End if !at.is_multiple_of(BLOCK) => {
                at = at.next_multiple_of(BLOCK);
            }
            Decoded::End | Decoded::Invalid(_) => break,
        }
    }
    found
}

fn lsn(boot: u32, count: u64) -> Lsn {
    Lsn(Lsn::first_of(boot).0 - 1 + count)
}

#[test]
fn everything_that_was_written_is_recovered() {
    let mut story = Story::new(1, 8 * 4096);
    for bytes in 0..600 {
        story.put((bytes * 31) % 3000);
        if bytes % 5 == 0 {
            story.flush(bytes % 2 == 0);
        }
    }
    story.put(50_000);
    story.flush(false);
    let found = recover_disk(&story.disk, OURS);
    assert_eq!(found.records, story.written.into_iter().collect::<Vec<_>>());
    assert_eq!(found.report.findings, []);
    assert_eq!(found.report.boots.len(), 1);
    assert_eq!(found.report.boots[0].last, story.log.last());
    let octets: u64 = found.report.files.iter().map(|file| file.octets).sum();
    assert!(octets > 600 * 56);
}

#[test]
fn nothing_is_recovered_from_nothing() {
    let found = recover_files(&[], OURS);
    assert_eq!(found.report, Report::default());
    let blank = vec![0; 8 * 4096];
    let file = LogFile::first_of(2).next();
    let found = recover_files(&[(file, &blank), (LogFile::first_of(3), &[])], OURS);
    let cut = Finding::BadHeader { file: LogFile::first_of(3), why: Some(HeaderError::Cut) };
    assert_eq!(found.report.findings, [Finding::NotBegun { file }, cut]);
}

#[test]
fn files_left_over_and_used_again_bring_nothing_back() {
    let mut story = Story::new(1, 8 * 4096);
    for round in 0..40 {
        story.put(round * 300);
        story.put(9000);
        story.flush(true);
        let known =
            Known { first: Some(story.first()), durable: Some(story.log.durable()), ..OURS };
        let found = recover_disk(&story.disk, known);
        assert_eq!(found.report.findings, [], "round {round}");
        let live = story.written.range(story.first()..);
        assert!(found.records.iter().map(|(lsn, _)| lsn).eq(live.map(|(lsn, _)| lsn)));
        // Spare files hold what is not needed any more: known or not, it is no damage.
        let found = recover_disk(&story.disk, OURS);
        assert_eq!(found.report.findings, [], "round {round}");
        found.must_be_true(&story.written);
        if story.log.files().count() > 3 {
            story.retire_oldest();
        }
    }
    assert!(story.disk.recycled.len() > 5);
}

#[test]
fn a_file_whose_reuse_was_cut_short_is_not_begun() {
    let mut story = Story::new(1, 8 * 4096);
    for _ in 0..4 {
        story.put(6 * 4096);
        story.flush(true);
    }
    let before = story.disk.clone();
    story.retire_oldest();
    let first = Known { first: Some(story.first()), durable: Some(story.log.durable()), ..OURS };
    let (old, new) = (LogFile::first_of(1), LogFile(LogFile::first_of(1).0 + 9));
    let mut disk = before;
    let renamed = disk.files.remove(&old).expect("the oldest");
    disk.files.insert(new, renamed);
    for known in [first, OURS] {
        let found = recover_disk(&disk, known);
        assert_eq!(found.report.findings, [Finding::NotBegun { file: new }]);
        assert_eq!(found.records.len(), 3);
    }
    // Also when the files are gone that would show how old its records are.
    disk.files.retain(|file, _| *file == new);
    let found = recover_disk(&disk, OURS);
    assert_eq!(found.report.findings, [Finding::NotBegun { file: new }]);
    assert_eq!(found.records.len(), 0);
}

#[test]
fn boots_are_judged_one_by_one() {
    let mut first = Story::of_one_file();
    let mut second = Story::new(2, 16 * 4096);
    second.put(100);
    second.flush(true);
    second.idle();
    let torn = first.put(100);
    first.flush(false);
    let (name, bytes) = first.disk.files.iter_mut().next().expect("a file");
    let (at, _) = places(bytes).into_iter().find(|(_, head)| head.lsn == torn).expect("there");
    bytes[at + 60] ^= 1;
    let (later, later_bytes) = second.disk.files.iter().next().expect("a file");
    // In any order.
    let found = recover_files(&[(*later, later_bytes), (*name, bytes)], OURS);
    assert_eq!(found.records.len(), first.written.len() - 1 + 1);
    assert_eq!(found.report.boots.len(), 2);
    assert_eq!(found.report.boots[1].last, lsn(2, 2));
    let torn_tail = |finding: &Finding| matches!(finding, Finding::TornTail { .. });
    assert_eq!(found.report.findings.len(), 1);
    assert!(found.report.findings.iter().all(torn_tail));
    assert!(found.report.is_sound());
}

#[test]
fn a_lost_file_is_reported_with_what_was_in_it() {
    let mut story = Story::new(1, 8 * 4096);
    for _ in 0..14 {
        story.put(2 * 4096);
    }
    story.flush(true);
    story.idle();
    let files: Vec<FileInfo> = story.log.files().collect();
    assert_eq!(files.len(), 5);
    let all = Known { first: Some(files[0].first), durable: Some(story.log.durable()), ..OURS };
    for (index, lost) in files.iter().enumerate() {
        let mut disk = story.disk.clone();
        disk.files.remove(&lost.file);
        let found = recover_disk(&disk, all);
        let count = lost.last.0 - lost.first.0 + 1;
        assert_eq!(found.report.lost(), count, "file {index}");
        assert_eq!(found.report.findings.len(), 1);
        if index > 0 && index < 4 {
            let (after, before) = (files[index - 1].file, files[index + 1].file);
            let (lost_from, lost_to) = (lost.first, lost.last);
            let wanted = Finding::MissingFile { after, before, lost_from, lost_to, lost: count };
            assert_eq!(found.report.findings, [wanted]);
        }
    }
    let found = recover_files(&[], all);
    assert_eq!(found.report.lost(), story.log.durable().0 - files[0].first.0 + 1);
}

#[test]
fn numbers_that_contradict_each_other_are_reported() {
    let story = Story::of_one_file();
    let (file, mut bytes) = story.disk.files.into_iter().next().expect("a file");
    let (at, mut head) = places(&bytes)[9];
    let Decoded::Record { record, taken } = decode(&bytes[at..], OURS.key()) else {
        panic!("no record")
    };
    let mut forged = Vec::new();
    let start = crate::log::record::begin(&mut forged);
    forged.extend_from_slice(record.payload);
    head.gseq += 5;
    crate::log::record::finish(&mut forged, start, &head, OURS.key());
    bytes[at..at + taken].copy_from_slice(&forged);
    let found = recover_files(&[(file, &bytes)], OURS);
    let is_this =
        |finding: &&Finding| matches!(finding, Finding::Sequence { lsn, .. } if *lsn == head.lsn);
    assert_eq!(found.report.findings.iter().filter(is_this).count(), 1);
    assert_eq!(found.report.findings.len(), 2, "it is one too high, and the next one too low");
    assert_eq!(found.records.len(), 190, "reported, not fatal");
}

#[test]
fn heads_nested_on_purpose_do_not_make_it_slow() {
    let file = LogFile::first_of(1);
    let Known { dir_id, shard, .. } = OURS;
    let first = Lsn::first_of(1);
    let header = FileHeader { shard, dir_id, file, first, boot: 1, created_ms: 0 };
    let mut bytes = header.encode();
    let total = 1 << 20;
    // Each is intact and leads everything that follows; its content is not intact.
    while bytes.len() + 64 < total {
        let mut record = Vec::new();
        let start = crate::log::record::begin(&mut record);
        record.resize(total - bytes.len(), 1);
        let lsn = lsn(1, 5 + octets(bytes.len()));
        let (durable, boot) = (first, 1);
        let head = Head { lsn, durable, boot, group: 0, gseq: 1, epoch: 0, kind: 1, flags: 0 };
        crate::log::record::finish(&mut record, start, &head, OURS.key());
        // Some are enough: making them takes as long.
        let end = if bytes.len() < 24 * 400 { 32 } else { record.len() };
        bytes.extend_from_slice(&record[..end]);
    }
    let found = recover_files(&[(file, &bytes)], OURS);
    let gave_up = |finding: &Finding| matches!(finding, Finding::ScanGivenUp { .. });
    assert!(found.report.findings.iter().any(gave_up), "{:?}", found.report.findings);
    assert!(!found.report.is_sound());
}

#[test]
fn a_record_within_a_damaged_message_is_not_taken_for_one() {
    let mut story = Story::new(1, 16 * 4096);
    story.put(10);
    // A message that contains a log: its last record will have the number 3 too.
    let mut inner = Story::new(1, 16 * 4096);
    (0..6).for_each(|_| {
        inner.put(70);
    });
    inner.flush(true);
    let content = inner.disk.files.values().next().expect("a file")[BLOCK..2 * BLOCK].to_vec();
    let lsn = story.log.append(1, 1, 1, |out| out.extend_from_slice(&content));
    story.written.insert(lsn, Written { group: 1, kind: 1, flags: 1, payload: content });
    story.put(20);
    story.flush(true);
    story.idle();
    let (file, bytes) = story.disk.files.iter_mut().next().expect("a file");
    let (at, _) = places(bytes)[1];
    bytes[at + 56 + 4000] ^= 4;
    let found = recover_files(&[(*file, bytes)], OURS);
    found.must_be_true(&story.written);
    assert_eq!(found.records.len(), 2);
    assert_eq!(found.report.lost(), 1);
}
