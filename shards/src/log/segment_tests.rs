//! Tests of segments: what is written is read, and damage is never taken for an entry.
#![cfg(test)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use proptest::prelude::*;

use super::segment_index::{FOOTER_BYTES, HEADER_BYTES};
use super::*;

const ID: SegmentId = SegmentId { queue: QueueUid(0x1_0000_0007), number: 3 };

type Payload = Vec<u8>;

fn head(position: u64, class: u16, flags: u16) -> EntryHead {
    let weight = u32::try_from(position % 1000).unwrap() + 1;
    EntryHead { position, arrived_ms: 1_700_000_000_000 - position % 77, class, flags, weight }
}

fn write(id: SegmentId, entries: &[(EntryHead, Payload)]) -> Vec<u8> {
    let mut writer = SegmentWriter::new(id, 9, vec![0xff; 33]);
    for (head, payload) in entries {
        writer.push(*head, |out| out.extend_from_slice(payload));
    }
    let bytes = writer.bytes();
    let file = writer.finish();
    assert_eq!(file.len(), bytes);
    file
}

fn mapped(bytes: &[u8]) -> Mapped {
    Mapped(Arc::new(bytes.to_vec()))
}

fn open(bytes: &[u8]) -> Result<Segment, SegmentError> {
    Segment::open(ID, mapped(bytes))
}

/// Entries with gaps, several classes and flags, and payloads of every padding.
fn some_entries() -> Vec<(EntryHead, Payload)> {
    let boot = 5_u64 << ids::BOOT_SHIFT;
    let places = [
        (7, 0, 0, 0),
        (8, 0, 0, 1),
        (9, 0, 0, 2),
        (11, 0, 0, 3),
        (12, 1, 0, 4),
        (13, 1, 2, 5),
        (14, 1, 2, 12),
        (boot, 1, 2, 31),
        (boot + 1, 1, GONE_AFTER_RESTART | 2, 100),
    ];
    places
        .into_iter()
        .map(|(position, class, flags, len)| {
            (head(position, class, flags), (0..len).map(|at: u8| at ^ 0xa5).collect())
        })
        .collect()
}

fn outline_of(bytes: &[u8]) -> Result<Outline, SegmentError> {
    Outline::read(ID, bytes.len() as u64, &mut |at, len| read_at(bytes, at, len))
}

fn read_at(bytes: &[u8], at: u64, len: usize) -> io::Result<Vec<u8>> {
    let at = usize::try_from(at).map_err(io::Error::other)?;
    bytes.get(at..at + len).map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// Runs, made the simple way.
fn runs_of<'a>(entries: impl Iterator<Item = (usize, &'a EntryHead)>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (index, head) in entries {
        let index = u32::try_from(index).unwrap();
        match runs.last_mut() {
            Some(run)
                if run.to == head.position
                    && run.first_index + run.count == index
                    && (run.class, run.flags) == (head.class, head.flags) =>
            {
                run.to += 1;
                run.count += 1;
                run.weight += u64::from(head.weight);
            }
            _ => runs.push(Run {
                from: head.position,
                to: head.position + 1,
                first_index: index,
                count: 1,
                class: head.class,
                flags: head.flags,
                weight: u64::from(head.weight),
            }),
        }
    }
    runs
}

#[test]
fn what_was_written_is_read() {
    let entries = some_entries();
    let file = write(ID, &entries);
    let segment = open(&file).expect("a good segment");
    assert_eq!(segment.count() as usize, entries.len());
    assert_eq!(segment.boot(), 9);
    for (index, (head, payload)) in (0..).zip(&entries) {
        assert_eq!(segment.head(index).expect("a good head"), *head);
        assert_eq!(segment.read(index).expect("a good entry"), payload);
        assert_eq!(segment.position(index), Some(head.position));
        assert_eq!(segment.find(head.position), Some(index));
        for hint in [0, 1, index, index + 1, index.saturating_sub(1), 100, u32::MAX] {
            assert_eq!(segment.find_near(hint, head.position), Some(index), "hint {hint}");
        }
    }
    assert!(matches!(segment.read(9), Err(SegmentError::NoEntry { index: 9 })));
    assert!(matches!(segment.head(u32::MAX), Err(SegmentError::NoEntry { .. })));
    let report = verify(ID, &file);
    assert!(report.is_good(), "{report:?}");
    assert_eq!(report.payload_bytes, 158);
}

#[test]
fn a_position_in_a_gap_is_not_found_but_the_one_behind_it_is() {
    let segment = open(&write(ID, &some_entries())).expect("a good segment");
    for position in [0, 6, 10, 15, u64::MAX] {
        assert_eq!(segment.find(position), None, "{position}");
        assert_eq!(segment.find_near(3, position), None, "{position}");
    }
    assert_eq!(segment.find_from(0), Some(0));
    assert_eq!(segment.find_from(10), Some(3));
    assert_eq!(segment.find_from(11), Some(3));
    assert_eq!(segment.find_from(15), Some(7));
    assert_eq!(segment.find_from(segment.last() + 1), None);
}

#[test]
fn a_gap_a_class_and_a_flag_each_end_a_run() {
    let entries = some_entries();
    let file = write(ID, &entries);
    let segment = open(&file).expect("a good segment");
    let runs: Vec<Run> = segment.runs().collect();
    assert_eq!(runs, runs_of(entries.iter().map(|(head, _)| head).enumerate()));
    let counts: Vec<u32> = runs.iter().map(|run| run.count).collect();
    assert_eq!(counts, [3, 1, 1, 2, 1, 1]);
    assert!(runs.iter().all(|run| run.to - run.from == u64::from(run.count)));
    assert_eq!(outline_of(&file).expect("a good outline").runs().collect::<Vec<_>>(), runs);
}

#[test]
fn the_summary_says_what_all_and_any_entries_have() {
    let file = write(ID, &some_entries());
    let summary = open(&file).expect("a good segment").summary();
    assert_eq!(summary.id, ID);
    assert_eq!((summary.first, summary.last), (7, (5 << ids::BOOT_SHIFT) + 1));
    assert_eq!(summary.count, 9);
    assert_eq!(summary.file_bytes, file.len() as u64);
    let entries = some_entries();
    let weights = entries.iter().map(|(head, _)| u64::from(head.weight));
    assert_eq!(summary.weight, weights.sum::<u64>());
    let arrivals = entries.iter().map(|(head, _)| head.arrived_ms);
    assert_eq!(Some(summary.arrived_min_ms), arrivals.min());
    assert_eq!((summary.flags_all, summary.flags_any), (0, 3));
    assert_eq!(outline_of(&file).expect("a good outline").summary(), summary);
}

#[test]
fn a_buffer_serves_again_for_the_next_segment() {
    let first = write(ID, &some_entries());
    let mut writer = SegmentWriter::new(ID, 9, first.clone());
    for (head, payload) in &some_entries() {
        writer.push(*head, |out| out.extend_from_slice(payload));
    }
    assert_eq!(writer.finish(), first);
}

#[test]
fn a_restart_reads_no_entry_and_the_index_only_when_it_must() {
    let entries: Vec<_> = (1..=500_u64).map(|at| (head(at, 0, 0), vec![7; 200])).collect();
    let file = write(ID, &entries);
    let index_at = HEADER_BYTES + 500 * 240;
    let read = RefCell::new(Vec::new());
    let mut reader = |at: u64, len: usize| {
        read.borrow_mut().push((usize::try_from(at).unwrap(), len));
        read_at(&file, at, len)
    };
    let outline = Outline::read(ID, file.len() as u64, &mut reader).expect("a good outline");
    let mut settled = Settled::new(500);
    assert_eq!(outline.unsettled_runs(&settled, &mut reader).expect("one run").len(), 1);
    let all: Vec<_> = read.borrow_mut().drain(..).collect();
    assert_eq!(all, [(0, HEADER_BYTES), (file.len() - 4096, 4096)]);
    settled.settle_range(0, 100);
    let runs = outline.unsettled_runs(&settled, &mut reader).expect("one run");
    let weight: u64 = entries.iter().skip(100).map(|(head, _)| u64::from(head.weight)).sum();
    assert_eq!((runs[0].from, runs[0].to, runs[0].weight), (101, 501, weight));
    assert_eq!(*read.borrow(), [(index_at, 500 * 16)]);
    settled.settle_range(0, 500);
    assert!(outline.unsettled_runs(&settled, &mut reader).expect("nothing").is_empty());
    let other = Settled::new(499);
    assert!(outline.unsettled_runs(&other, &mut reader).is_err(), "of another segment");
}

#[test]
fn a_disk_that_gives_nothing_or_too_little_is_an_error() {
    let file = write(ID, &some_entries());
    let len = file.len() as u64;
    let failing = &mut |_, _| Err(io::ErrorKind::Other.into());
    assert!(matches!(Outline::read(ID, len, failing), Err(SegmentError::Unreadable(_))));
    let short = &mut |at, len: usize| read_at(&file, at, len - 1);
    assert!(matches!(Outline::read(ID, len, short), Err(SegmentError::Unreadable(_))));
}

#[test]
fn another_segments_file_is_not_opened() {
    let entries = some_entries();
    for id in [SegmentId { number: 4, ..ID }, SegmentId { queue: QueueUid(ID.queue.0 + 1), ..ID }] {
        let file = write(id, &entries);
        assert!(matches!(open(&file), Err(SegmentError::AnotherSegment { found }) if found == id));
        // Nor are its octets taken for this one's when they stand behind this one's header.
        let mut mixed = write(ID, &entries);
        mixed[HEADER_BYTES..].copy_from_slice(&file[HEADER_BYTES..]);
        assert!(open(&mixed).is_err());
        let mut mixed = write(ID, &entries);
        let tables = HEADER_BYTES + 40;
        mixed[HEADER_BYTES..tables].copy_from_slice(&file[HEADER_BYTES..tables]);
        let segment = open(&mixed).expect("header, tables and footer are good");
        assert!(matches!(segment.read(0), Err(SegmentError::EntryDamaged { index: 0 })));
    }
}

/// Reads all there is of a segment that may be damaged: what is good must be what was written.
/// Whether everything was.
fn nothing_false(bytes: &[u8], entries: &[(EntryHead, Payload)]) -> bool {
    let report = verify(ID, bytes);
    let good: Vec<_> =
        salvage(ID, bytes).map(|entry| (entry.head, entry.payload.to_vec())).collect();
    assert!(good.iter().all(|found| entries.contains(found)));
    let Ok(segment) = open(bytes) else {
        assert!(!report.is_good());
        assert_eq!(report.entries_good as usize, good.len());
        return false;
    };
    assert_eq!(segment.count() as usize, entries.len());
    let mut read = 0;
    for (index, (head, payload)) in (0..).zip(entries) {
        if let Ok(found) = segment.head(index) {
            assert_eq!(found, *head);
        }
        match segment.read(index) {
            Ok(found) => {
                assert_eq!(found, payload);
                read += 1;
            }
            Err(error) => assert!(matches!(error, SegmentError::EntryDamaged { .. }), "{error}"),
        }
    }
    assert_eq!(report.is_good(), read == entries.len());
    read == entries.len()
}

#[test]
fn cut_at_every_octet_it_is_not_opened_and_what_is_left_is_found() {
    let entries = some_entries();
    let file = write(ID, &entries);
    for len in 0..file.len() {
        assert!(!nothing_false(&file[..len], &entries), "cut at {len}");
        assert!(outline_of(&file[..len]).is_err(), "cut at {len}");
    }
    // All entries are in front of the index, the footer is not needed to find them.
    let index_at = file.len() - FOOTER_BYTES - 6 * 32 - 9 * 16;
    assert_eq!(salvage(ID, &file[..index_at]).count(), 9);
    assert_eq!(verify(ID, &file[..index_at]).entries_good, 9);
    assert_eq!(salvage(ID, &file[..index_at - 1]).count(), 8);
}

#[test]
fn a_flipped_bit_anywhere_is_noticed_and_costs_one_entry_at_most() {
    let entries = some_entries();
    let mut file = write(ID, &entries);
    for bit in 0..file.len() * 8 {
        file[bit / 8] ^= 1 << (bit % 8);
        assert!(!nothing_false(&file, &entries), "bit {bit}");
        let report = verify(ID, &file);
        assert!(report.entries_good >= 8, "bit {bit}: {report:?}");
        file[bit / 8] ^= 1 << (bit % 8);
    }
    assert!(nothing_false(&file, &entries));
}

#[test]
fn octets_behind_the_footer_are_not_taken_for_a_segment() {
    let entries = some_entries();
    let mut file = write(ID, &entries);
    file.push(0);
    assert!(!nothing_false(&file, &entries));
    let mut twice = write(ID, &entries);
    twice.extend_from_slice(&write(ID, &entries));
    assert!(!nothing_false(&twice, &entries));
}

#[test]
fn a_zeroed_block_is_noticed() {
    let entries = some_entries();
    let file = write(ID, &entries);
    for at in (0..file.len() - 32).step_by(8) {
        let mut damaged = file.clone();
        damaged[at..at + 32].fill(0);
        assert!(damaged == file || !nothing_false(&damaged, &entries), "at {at}");
    }
}

#[test]
fn what_a_payload_contains_is_not_taken_for_an_entry_of_the_segment() {
    let inner = write(ID, &[(head(1, 0, 0), vec![1; 8])]);
    let file = write(ID, &[(head(1, 0, 0), inner), (head(2, 0, 0), vec![2; 8])]);
    let without_footer = &file[..file.len() - 1];
    let found: Vec<u64> = salvage(ID, without_footer).map(|entry| entry.head.position).collect();
    assert_eq!(found, [1, 2]);
    let lens: Vec<usize> = salvage(ID, without_footer).map(|entry| entry.payload.len()).collect();
    assert_eq!(lens[1], 8);
}

#[test]
#[should_panic(expected = "positions ascend")]
fn a_position_that_does_not_ascend_is_never_written() {
    write(ID, &[(head(5, 0, 0), vec![]), (head(5, 0, 0), vec![])]);
}

#[test]
#[should_panic(expected = "a segment has entries")]
fn a_segment_without_entries_is_never_written() {
    write(ID, &[]);
}

#[test]
fn a_file_of_a_directory_is_mapped_and_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("seg.3");
    let entries: Vec<_> = (1..200_u64).map(|at| (head(at, 0, 0), vec![3; 100])).collect();
    std::fs::write(&path, write(ID, &entries)).expect("a file");
    let mut options = std::fs::OpenOptions::new();
    let file = options.read(true).open(&path).expect("the file");
    let segment = Segment::open(ID, map_file(&file).expect("a mapping")).expect("a good segment");
    drop(file);
    std::fs::remove_file(&path).expect("its name removed");
    assert_eq!(segment.read(198).expect("a good entry"), [3; 100]);
}

fn entries() -> impl Strategy<Value = Vec<(EntryHead, Payload)>> {
    let entry = (
        prop_oneof![4 => Just(1_u64), 1 => 2_u64..5, 1 => Just(1 << ids::BOOT_SHIFT)],
        prop_oneof![6 => Just((0_u16, 0_u16)), 1 => (0_u16..3, 0_u16..3)],
        any::<u32>(),
        prop::collection::vec(any::<u8>(), 0..40),
    );
    prop::collection::vec(entry, 1..60).prop_map(|entries| {
        let mut position = 0;
        let place = |(step, (class, flags), weight, payload)| {
            position += step;
            (EntryHead { position, arrived_ms: 5, class, flags, weight }, payload)
        };
        entries.into_iter().map(place).collect()
    })
}

proptest! {
    #[test]
    fn any_octets_pass_the_fuzz_target(
        mode in 0_u8..3,
        changes in 0_u8..6,
        octets in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut input = vec![mode, changes];
        input.extend_from_slice(&octets);
        segment_fuzzing::segment_open(&input);
    }

    #[test]
    fn it_is_a_map_from_positions_to_payloads(entries in entries(), asked in 0_u64..200) {
        let segment = open(&write(ID, &entries)).expect("a good segment");
        let model: BTreeMap<u64, &Payload> =
            entries.iter().map(|(head, payload)| (head.position, payload)).collect();
        let found = segment.find(asked).map(|index| segment.read(index).expect("good").to_vec());
        prop_assert_eq!(found.as_ref(), model.get(&asked).copied());
        let from = segment.find_from(asked).and_then(|index| segment.position(index));
        prop_assert_eq!(from, model.range(asked..).next().map(|(position, _)| *position));
    }

    #[test]
    fn what_is_not_settled_is_told_as_runs_with_exact_weights(
        entries in entries(),
        settle in prop::collection::vec((0_u32..60, 0_u32..60), 0..6),
    ) {
        let file = write(ID, &entries);
        let segment = open(&file).expect("a good segment");
        let mut settled = Settled::new(segment.count());
        for (from, to) in settle {
            settled.settle_range(from, to);
        }
        let is_left = |(index, _): &(usize, &EntryHead)| {
            !settled.is_settled(u32::try_from(*index).unwrap())
        };
        let heads = entries.iter().map(|(head, _)| head).enumerate();
        let expected = runs_of(heads.filter(is_left));
        prop_assert_eq!(&segment.unsettled_runs(&settled).collect::<Vec<_>>(), &expected);
        let outline = outline_of(&file).expect("a good outline");
        let found = outline.unsettled_runs(&settled, &mut |at, len| read_at(&file, at, len));
        prop_assert_eq!(found.expect("a good index"), expected);
    }
}
