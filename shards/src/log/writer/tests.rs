//! What the writer does with batches, files, syncs and errors.
#![cfg(test)]

use std::io;

use super::*;
use crate::log::ids::BOOT_MAX;
use crate::log::plain_disk::{PlainDisk, error};
use crate::log::record::{Decoded, decode};

const FILE_BYTES: u64 = 16 * 4096;

fn log() -> Log {
    Log::new(LogSetup { shard: 1, dir_id: 2, boot: 3, file_bytes: FILE_BYTES, groups: 4 })
}

fn lsn(count: u64) -> Lsn {
    Lsn((3 << BOOT_SHIFT) + count)
}

fn file(count: u64) -> LogFile {
    LogFile(LogFile::first_of(3).0 + count)
}

fn put(log: &mut Log, bytes: usize) -> Lsn {
    log.append(1, 1, 0, |out| out.resize(out.len() + bytes, 0xAB))
}

/// The heads of all records in a file, batch by batch.
fn heads(bytes: &[u8]) -> Vec<Head> {
    let mut found: Vec<Head> = Vec::new();
    let mut at = BLOCK_BYTES;
    while at < bytes.len() {
        match decode(&bytes[at..], Key::of(2, 1)) {
            Decoded::Record { record, taken } => {
                found.push(record.head);
                at += taken;
            }
            Decoded::End if !at.is_multiple_of(BLOCK_BYTES) => {
                at = at.next_multiple_of(BLOCK_BYTES);
            }
            Decoded::End | Decoded::Invalid(_) => break,
        }
    }
    found
}

#[test]
fn a_batch_is_written_once_its_file_is_made() {
    let (mut log, mut disk, mut jobs) = (log(), PlainDisk::default(), Vec::new());
    log.flush(true, &mut jobs);
    assert!(jobs.is_empty(), "nothing to be done for nothing");
    assert_eq!(put(&mut log, 100), lsn(1));
    assert_eq!(log.file_of_open_batch(), file(0));
    log.flush(true, &mut jobs);
    assert!(matches!(jobs[..], [Job::MakeLog { recycle: None, bytes: FILE_BYTES, .. }]));
    // It goes on filling while the file is made.
    assert_eq!(put(&mut log, 100), lsn(2));
    let mut more = Vec::new();
    log.flush(true, &mut more);
    assert!(more.is_empty(), "asked for twice: {more:?}");
    disk.run_all(&mut log, &mut jobs);
    log.flush(true, &mut jobs);
    assert!(matches!(jobs[..], [Job::Commit { offset: 4096, sync: true, .. }]));
    assert_eq!((log.written(), log.durable(), log.last()), (lsn(0), lsn(0), lsn(2)));
    disk.run_all(&mut log, &mut jobs);
    assert_eq!((log.written(), log.durable(), log.last()), (lsn(2), lsn(2), lsn(2)));
    assert_eq!(disk.commits, [(file(0), 4096, 4096, true)]);
    log.flush(true, &mut jobs);
    assert!(jobs.is_empty(), "everything is durable");
}

#[test]
fn one_commit_is_under_way_at_a_time() {
    let (mut log, mut disk, mut jobs) = (log(), PlainDisk::default(), Vec::new());
    log.prepare(&mut jobs);
    disk.run_all(&mut log, &mut jobs);
    put(&mut log, 10);
    log.flush(false, &mut jobs);
    put(&mut log, 10);
    let mut more = Vec::new();
    log.flush(false, &mut more);
    assert!(more.is_empty());
    disk.run_all(&mut log, &mut jobs);
    assert_eq!((log.written(), log.durable()), (lsn(1), lsn(0)));
    log.flush(false, &mut jobs);
    assert!(matches!(jobs[..], [Job::Commit { offset: 8192, sync: false, .. }]));
}

#[test]
fn what_was_written_unsynced_becomes_durable_with_a_mark() {
    let (mut log, mut disk) = (log(), PlainDisk::default());
    put(&mut log, 10);
    disk.flush(&mut log, false);
    assert!(log.needs_sync());
    disk.flush(&mut log, true);
    assert!(!log.needs_sync());
    assert_eq!(log.durable(), lsn(2));
    let found = heads(&disk.files[&file(0)]);
    assert_eq!(found.iter().map(|head| head.kind).collect::<Vec<_>>(), [1, KIND_MARK]);
}

#[test]
fn idleness_writes_down_what_is_durable_once() {
    let (mut log, mut disk, mut jobs) = (log(), PlainDisk::default(), Vec::new());
    log.idle_mark(&mut jobs);
    assert!(jobs.is_empty(), "nothing is durable");
    put(&mut log, 10);
    log.idle_mark(&mut jobs);
    assert!(jobs.is_empty(), "not idle");
    disk.flush(&mut log, true);
    log.idle_mark(&mut jobs);
    assert_eq!(jobs.len(), 1);
    disk.run_all(&mut log, &mut jobs);
    assert_eq!(heads(&disk.files[&file(0)])[1].durable, lsn(1));
    log.idle_mark(&mut jobs);
    assert!(jobs.is_empty(), "a mark for a mark");
    assert_eq!((log.written(), log.durable()), (lsn(2), lsn(2)));
}

#[test]
fn a_record_that_does_not_fit_begins_the_next_file() {
    let (mut log, mut disk) = (log(), PlainDisk::default());
    // Heads of 56 octets; 14 blocks of the 15 there are.
    put(&mut log, 14 * 4096 - 56);
    assert_eq!(log.file_of_open_batch(), file(0));
    put(&mut log, 4096 - 56);
    assert_eq!(log.file_of_open_batch(), file(0), "it fits exactly");
    put(&mut log, 1);
    assert_eq!(log.file_of_open_batch(), file(1));
    disk.flush(&mut log, false);
    assert_eq!(
        disk.commits,
        [(file(0), 4096, 15 * 4096, true), (file(1), 4096, 4096, false)],
        "the last batch of a file is always synced"
    );
    assert_eq!((log.written(), log.durable()), (lsn(3), lsn(2)));
    let infos: Vec<FileInfo> = log.files().collect();
    assert_eq!(
        infos[0],
        FileInfo { file: file(0), bytes: FILE_BYTES, first: lsn(1), last: lsn(2) }
    );
    assert_eq!(
        infos[1],
        FileInfo { file: file(1), bytes: FILE_BYTES, first: lsn(3), last: lsn(3) }
    );
}

#[test]
fn a_file_left_with_unsynced_batches_is_synced_by_a_mark() {
    let (mut log, mut disk) = (log(), PlainDisk::default());
    put(&mut log, 14 * 4096 - 56);
    disk.flush(&mut log, false);
    assert_eq!(log.durable(), lsn(0));
    assert_eq!(put(&mut log, 4096), lsn(3), "the mark took a number");
    assert_eq!(log.file_of_open_batch(), file(1));
    let (mut jobs, mut synced) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        log.flush(false, &mut jobs);
        disk.run_all(&mut log, &mut jobs);
        synced.push(log.durable());
    }
    assert_eq!(synced, [lsn(2); 4]);
    assert_eq!(log.written(), lsn(3));
    let old = heads(&disk.files[&file(0)]);
    assert_eq!(old.last().map(|head| (head.lsn, head.kind)), Some((lsn(2), KIND_MARK)));
    assert_eq!(heads(&disk.files[&file(1)])[0].lsn, lsn(3));
}

#[test]
fn a_huge_record_gets_a_file_of_its_own_size_and_order_is_kept() {
    let (mut log, mut disk) = (log(), PlainDisk::default());
    put(&mut log, 9 * 4096);
    disk.flush(&mut log, true);
    assert_eq!(disk.files.len(), 2, "one is made ahead when the first is half full");
    put(&mut log, 40 * 4096);
    assert_eq!(log.file_of_open_batch(), file(2));
    put(&mut log, 4096);
    assert_eq!(log.file_of_open_batch(), file(3));
    disk.flush(&mut log, true);
    assert_eq!(disk.files[&file(2)].len(), 42 * 4096);
    assert_eq!(log.files().map(|info| info.file).collect::<Vec<_>>(), [file(0), file(2), file(3)]);
    assert!(disk.recycled.contains(&(file(1), file(3))), "what was passed over is not lost");
    let all: u64 = disk.files.values().map(|bytes| bytes.len() as u64).sum();
    assert_eq!(log.total_bytes(), all);
}

#[test]
fn batches_keep_to_their_size() {
    let setup = LogSetup { shard: 1, dir_id: 2, boot: 3, file_bytes: 64 << 20, groups: 4 };
    let (mut log, mut disk) = (Log::new(setup), PlainDisk::default());
    for _ in 0..5 {
        put(&mut log, 400 << 10);
    }
    put(&mut log, 3 << 20);
    put(&mut log, 10);
    assert!(log.waiting_bytes() > 4 << 20);
    disk.flush(&mut log, true);
    let sizes: Vec<usize> = disk.commits.iter().map(|commit| commit.2 >> 10).collect();
    assert_eq!(sizes, [804, 804, 404, 3076, 4], "KiB");
    let found = heads(&disk.files[&file(0)]);
    assert_eq!(
        found.iter().map(|head| head.lsn.0 & 0xff).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5, 6, 7]
    );
    assert!(log.buffers.iter().all(|buffer| buffer.capacity() <= BUFFER_BYTES_MAX));
    assert!(log.buffers.len() <= BUFFERS_MAX);
}

#[test]
fn retired_files_are_used_again_oldest_first_and_too_many_are_removed() {
    let (mut log, mut disk, mut jobs) = (log(), PlainDisk::default(), Vec::new());
    for _ in 0..5 {
        put(&mut log, 15 * 4096 - 56);
        disk.flush(&mut log, true);
    }
    assert!(!log.retire(file(1), &mut jobs), "not the oldest");
    for number in 0..3 {
        assert!(log.retire(file(number), &mut jobs));
    }
    disk.run_all(&mut log, &mut jobs);
    assert_eq!(disk.dropped, [file(0)], "the oldest, so that there is no gap");
    put(&mut log, 15 * 4096 - 56);
    disk.flush(&mut log, true);
    assert_eq!(disk.recycled, [(file(1), file(6))]);
    // What stands there from before is older than the header says.
    let header = crate::log::FileHeader::decode(&disk.files[&file(6)]).expect("a header");
    let stale = heads(&disk.files[&file(6)]);
    assert!(!stale.is_empty());
    assert!(stale.iter().all(|head| head.lsn < header.first));
    let all: u64 = disk.files.values().map(|bytes| bytes.len() as u64).sum();
    assert_eq!(log.total_bytes(), all);
}

#[test]
fn a_file_is_not_retired_before_its_records_are_written() {
    let (mut log, mut jobs) = (log(), Vec::new());
    put(&mut log, 15 * 4096 - 56);
    put(&mut log, 10);
    assert!(!log.retire(file(0), &mut jobs));
    assert!(jobs.is_empty());
}

#[test]
fn a_full_disk_stalls_the_log_until_a_file_is_made() {
    let (mut log, mut disk, mut jobs) = (log(), PlainDisk::default(), Vec::new());
    disk.is_full = true;
    put(&mut log, 10);
    disk.flush(&mut log, true);
    assert!(log.is_stalled() && !log.is_dead());
    log.retry_make(&mut jobs);
    disk.run_all(&mut log, &mut jobs);
    assert!(log.is_stalled());
    disk.is_full = false;
    log.retry_make(&mut jobs);
    disk.run_all(&mut log, &mut jobs);
    assert!(!log.is_stalled());
    disk.flush(&mut log, true);
    assert_eq!(log.durable(), lsn(1));
}

#[test]
#[expect(clippy::wildcard_enum_match_arm, reason = "anything else is a mistake")]
fn after_an_error_nothing_is_written_any_more() {
    for is_commit in [true, false] {
        let (mut log, mut disk, mut jobs) = (log(), PlainDisk::default(), Vec::new());
        put(&mut log, 10);
        if is_commit {
            log.flush(true, &mut jobs);
            disk.run_all(&mut log, &mut jobs);
        }
        log.flush(true, &mut jobs);
        let result = Err(error(io::ErrorKind::Other));
        let done = match disk.run(jobs.remove(0)) {
            Done::Commit { file, offset, bytes, sync, .. } => {
                Done::Commit { file, offset, bytes, sync, result }
            }
            Done::MakeLog { file, .. } => Done::MakeLog { file, result },
            other => panic!("{other:?}"),
        };
        assert!(log.finished(done).is_err());
        assert!(log.is_dead());
        assert_eq!(put(&mut log, 10), Lsn(u64::MAX));
        log.flush(true, &mut jobs);
        log.idle_mark(&mut jobs);
        assert!(jobs.is_empty());
        assert_eq!(log.durable(), lsn(0));
    }
}

#[test]
fn the_numbers_of_a_boot_end_before_those_of_the_next_begin() {
    for boot in [3, BOOT_MAX] {
        let mut log =
            Log::new(LogSetup { shard: 1, dir_id: 2, boot, file_bytes: FILE_BYTES, groups: 4 });
        let end = u64::from(boot) << BOOT_SHIFT | ((1 << BOOT_SHIFT) - 1);
        log.last = Lsn(end - 2);
        assert_eq!(put(&mut log, 1), Lsn(end - 1));
        assert!(!log.is_dead());
        let mut disk = PlainDisk::default();
        disk.flush(&mut log, true);
        assert_eq!(log.durable(), Lsn(end - 1));
        assert_eq!(put(&mut log, 1), Lsn(u64::MAX));
        assert!(log.is_dead());
    }
}

#[test]
fn groups_count_for_themselves() {
    let (mut log, mut disk) = (log(), PlainDisk::default());
    for group in [0, 1, 1, 0, 3] {
        log.append(group, 1, 0, |_| ());
    }
    disk.flush(&mut log, true);
    let found = heads(&disk.files[&file(0)]);
    let numbers: Vec<u64> = found.iter().map(|head| head.gseq & 0xff).collect();
    assert_eq!(numbers, [1, 1, 2, 2, 1]);
}
