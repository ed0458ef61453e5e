//! Records that are intact, and of another log: a message that looks like one, a block or a file that
//! a disk or a person has put in the wrong place.

use super::*;

/// Another shard of the same directory, and the same shard of another.
const OTHERS: [Known; 2] =
    [Known::of(OURS.dir_id, OURS.shard + 1), Known::of(OURS.dir_id ^ 1, OURS.shard)];

/// A log with the same boot, numbers and file names as [`Story::of_one_file`], and other records.
pub(super) fn elsewhere(whose: Known) -> Story {
    let mut story = Story::of(whose, 1, 16 * 4096);
    for _ in 0..100 {
        story.put(401);
        if story.log.batch_bytes() > 3600 {
            story.flush(true);
        }
    }
    story.flush(true);
    story.idle();
    assert_eq!(story.log.files().count(), 1);
    story
}

/// The only file of a log.
fn only(story: &Story) -> (LogFile, Vec<u8>) {
    let (file, bytes) = story.disk.files.iter().next().expect("a file");
    (*file, bytes.clone())
}

/// Recovers a log with a message that contains a record with the message's own number, made with a
/// key, behind a damaged head of the message: whether that record is taken for one.
fn is_forged_with(key: Key) -> bool {
    let mut story = Story::new(1, 16 * 4096);
    story.put(10);
    let guessed = lsn(1, 2);
    let mut forged = Vec::new();
    let start = crate::log::record::begin(&mut forged);
    forged.extend_from_slice(b"forged");
    let (boot, gseq) = (1, lsn(1, 1).0);
    let head =
        Head { lsn: guessed, durable: Lsn(0), boot, group: 1, gseq, epoch: 0, kind: 1, flags: 0 };
    crate::log::record::finish(&mut forged, start, &head, key);
    let written = story.log.append(1, 1, 1, |out| out.extend_from_slice(&forged));
    assert_eq!(written, guessed);
    story.put(20);
    story.flush(true);
    story.idle();
    let (file, mut bytes) = only(&story);
    let (at, _) = places(&bytes)[1];
    bytes[at + 1] ^= 4;
    let found = recover_files(&[(file, &bytes)], OURS);
    let is_there = found.records.iter().any(|(_, record)| record.payload == b"forged");
    assert_eq!(found.records.len(), if is_there { 3 } else { 2 });
    assert_eq!(found.report.lost(), if is_there { 0 } else { 1 });
    is_there
}

#[test]
fn a_record_that_a_publisher_has_guessed_is_none() {
    // Nothing but the key keeps it out.
    assert!(is_forged_with(OURS.key()));
    for other in OTHERS {
        assert!(!is_forged_with(other.key()));
    }
}

#[test]
fn a_block_of_another_log_loses_what_it_replaces_and_brings_nothing() {
    let story = Story::of_one_file();
    let known = Known { durable: Some(story.log.durable()), ..OURS };
    let total = story.log.last().0 - lsn(1, 0).0;
    let (file, ours) = only(&story);
    for theirs in OTHERS.map(|whose| only(&elsewhere(whose)).1) {
        for at in (BLOCK..ours.len()).step_by(BLOCK) {
            for from in (BLOCK..theirs.len()).step_by(BLOCK) {
                let mut bytes = ours.clone();
                bytes[at..at + BLOCK].copy_from_slice(&theirs[from..from + BLOCK]);
                let found = recover_files(&[(file, &bytes)], known);
                found.must_be_true(&story.written);
                let counted = found.counted() + found.report.lost();
                assert_eq!(counted, total, "block {from} at {at}");
            }
        }
    }
}

#[test]
fn a_file_of_another_log_is_reported_and_nothing_is_taken_of_it() {
    let story = Story::of_one_file();
    for whose in OTHERS {
        let theirs = elsewhere(whose);
        let (file, bytes) = only(&theirs);
        let Known { dir_id, shard, .. } = whose;
        let foreign = Finding::Foreign { file, shard, dir_id };
        let found = recover_files(&[(file, &bytes)], OURS);
        assert_eq!(found.report.findings, [foreign]);
        assert_eq!((found.records.len(), found.report.is_sound()), (0, false));
        assert!(foreign.to_string().contains("shard"), "{foreign}");
        // In its own place it is whole.
        assert_eq!(recover_files(&[(file, &bytes)], whose).records.len(), theirs.written.len());
        // In the place of one of ours it is a loss that is counted, if something is known of it.
        let known = Known { durable: Some(story.log.durable()), ..OURS };
        let found = recover_files(&[(file, &bytes)], known);
        assert!(found.records.is_empty());
        assert_eq!(found.report.lost(), story.log.durable().0 - lsn(1, 0).0);
        // Behind ours it does no harm.
        let (own, ours) = only(&story);
        let later = file.next();
        let found = recover_files(&[(own, &ours), (later, &bytes)], OURS);
        assert_eq!(found.report.findings, [Finding::Foreign { file: later, shard, dir_id }]);
        assert_eq!(found.records.len(), story.written.len());
    }
}

#[test]
fn a_header_of_another_log_costs_no_record() {
    let story = Story::of_one_file();
    for whose in OTHERS {
        let (file, mut bytes) = only(&story);
        bytes[..BLOCK].copy_from_slice(&only(&elsewhere(whose)).1[..BLOCK]);
        let found = recover_files(&[(file, &bytes)], OURS);
        let Known { dir_id, shard, .. } = whose;
        assert_eq!(found.report.findings, [Finding::Foreign { file, shard, dir_id }]);
        assert_eq!(found.records.len(), story.written.len());
        assert_eq!(found.report.lost(), 0);
    }
}
