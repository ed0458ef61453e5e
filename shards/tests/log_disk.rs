//! Files and jobs on the real disk, below the build's own directory.
#![cfg(test)]

#[path = "support/temp_dir.rs"]
mod temp_dir;

use ringmq_shards::log::{
    Done, Files, Job, LogFile, QueueUid, RESERVE_BYTES, RealFiles, SegmentId, paths, run_job,
};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use temp_dir::TempDir;

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().expect("it is there").permissions().mode() & 0o7777
}

#[test]
fn a_new_file_has_all_its_place_on_the_disk_and_is_ours_alone() {
    let temp = TempDir::new("create");
    let mut files = RealFiles::new(temp.path());
    files.make_dir("a/b").expect("makes both");
    files.create("a/b/file", 1_000_000).expect("creates");

    let data = temp.path().join("a/b/file").metadata().expect("it is there");
    assert_eq!(data.len(), 1_000_000);
    assert!(data.blocks() * 512 >= 1_000_000, "no hole: {} blocks", data.blocks());
    assert_eq!(files.read("a/b/file").expect("reads"), vec![0; 1_000_000]);
    assert_eq!(mode(&temp.path().join("a/b/file")), 0o600);
    assert_eq!((mode(&temp.path().join("a")), mode(&temp.path().join("a/b"))), (0o700, 0o700));
    files.make_dir("a/b").expect("one that is there is fine");
    files.create("a/empty", 0).expect("creates");

    let again = files.create("a/b/file", 1).expect_err("it is there");
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    let nowhere = files.create("a/c/file", 1).expect_err("no directory");
    assert_eq!(nowhere.kind(), ErrorKind::NotFound);
}

#[test]
fn a_file_that_finds_no_place_leaves_nothing() {
    let temp = TempDir::new("no-place");
    let mut files = RealFiles::new(temp.path());
    for bytes in [1 << 62, u64::MAX] {
        let error = files.create("huge", bytes).expect_err("no file system holds it");
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
    }
    assert!(files.list("").expect("lists").is_empty());
}

#[test]
fn a_full_disk_is_known_by_its_kind() {
    // A device whose every write finds no space. It has no length, so `Files` would not try.
    let full =
        std::fs::OpenOptions::new().write(true).open("/dev/full").expect("every Linux has it");
    let error = full.write_all_at(b"x", 0).expect_err("full");
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    for (number, kind) in [
        (libc::ENOSPC, ErrorKind::StorageFull),
        (libc::EDQUOT, ErrorKind::QuotaExceeded),
        (libc::EFBIG, ErrorKind::FileTooLarge),
    ] {
        assert_eq!(std::io::Error::from_raw_os_error(number).kind(), kind);
    }
}

#[test]
fn what_is_written_is_read_again_and_nothing_grows() {
    let temp = TempDir::new("write");
    let mut files = RealFiles::new(temp.path());
    files.create("file", 100).expect("creates");
    files.write("file", 10, b"hello").expect("writes");
    files.write("file", 15, b" you").expect("writes");
    files.sync("file").expect("syncs");
    files.sync("file").expect("syncs what is synced");
    files.write("file", 95, b"12345").expect("up to the end");
    assert_eq!(files.read("file").expect("reads").get(10..19), Some(b"hello you".as_slice()));
    assert_eq!(files.map("file").expect("maps").as_ref().get(95..), Some(b"12345".as_slice()));

    for (offset, bytes) in [(96, b"12345".as_slice()), (101, b""), (u64::MAX, b"1")] {
        let error = files.write("file", offset, bytes).expect_err("beyond the end");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(files.read("file").expect("reads").len(), 100);
    assert_eq!(files.write("other", 0, b"x").expect_err("absent").kind(), ErrorKind::NotFound);
    assert_eq!(files.sync("other").expect_err("absent").kind(), ErrorKind::NotFound);
    assert_eq!(files.read("other").expect_err("absent").kind(), ErrorKind::NotFound);
    assert_eq!(files.map("other").expect_err("absent").kind(), ErrorKind::NotFound);
}

#[test]
fn more_files_than_handles_are_kept_may_wait_for_their_sync() {
    let temp = TempDir::new("many");
    let mut files = RealFiles::new(temp.path());
    for number in 0..20 {
        files.create(&format!("{number}"), 1).expect("creates");
        files.write(&format!("{number}"), 0, &[number]).expect("writes");
    }
    for number in 0..20 {
        files.sync(&format!("{number}")).expect("syncs");
        assert_eq!(files.read(&format!("{number}")).expect("reads"), [number]);
    }
}

#[test]
fn names_move_and_go() {
    let temp = TempDir::new("names");
    let mut files = RealFiles::new(temp.path());
    files.make_dir("dir").expect("makes");
    for (name, content) in [("one", b'1'), ("two", b'2')] {
        files.create(name, 1).expect("creates");
        files.write(name, 0, &[content]).expect("writes");
    }
    files.rename("one", "two").expect("replaces");
    files.write("two", 0, b"3").expect("writes to the file that moved");
    files.sync("two").expect("syncs");
    assert_eq!(files.read("two").expect("reads"), b"3");
    files.rename("two", "dir/two").expect("moves");
    files.rename("dir", "place").expect("moves a directory");
    files.sync_dir("place").expect("syncs");
    files.sync_dir("").expect("syncs");

    let listed = files.list("").expect("lists");
    assert_eq!(listed.len(), 1);
    assert!(listed.iter().all(|entry| entry.is_dir && entry.name == "place"));
    let listed = files.list("place").expect("lists");
    assert!(listed.iter().all(|entry| !entry.is_dir && entry.name == "two" && entry.bytes == 1));
    assert!(files.list("nothing").expect("no directory is an empty one").is_empty());

    assert!(files.remove_dir("place").is_err(), "not empty");
    files.remove("place/two").expect("removes");
    assert_eq!(files.remove("place/two").expect_err("gone").kind(), ErrorKind::NotFound);
    files.remove_dir("place").expect("removes");
    assert_eq!(files.remove_dir("place").expect_err("gone").kind(), ErrorKind::NotFound);
    assert!(files.free_bytes().expect("measures") > 0);
}

#[test]
fn no_path_leads_out_of_the_directory() {
    let temp = TempDir::new("paths");
    std::fs::write(temp.path().join("outside"), b"x").expect("writes");
    std::fs::create_dir(temp.path().join("root")).expect("makes");
    symlink("../outside", temp.path().join("root/link")).expect("links");
    let mut files = RealFiles::new(&temp.path().join("root"));
    for path in ["../outside", "a/../../outside", "/etc/passwd", "", "a//b", ".", "a\0b"] {
        assert_eq!(files.read(path).expect_err(path).kind(), ErrorKind::InvalidInput);
        assert_eq!(files.remove(path).expect_err(path).kind(), ErrorKind::InvalidInput);
    }
    assert!(files.read("link").is_err(), "no link is followed");
    assert!(files.write("link", 0, b"y").is_err(), "no link is followed");
    assert_eq!(std::fs::read(temp.path().join("outside")).expect("reads"), b"x");
}

#[test]
fn reading_a_directory_is_an_error() {
    let temp = TempDir::new("directory");
    let mut files = RealFiles::new(temp.path());
    files.make_dir("log.00000001-00000000").expect("makes");
    assert!(files.read("log.00000001-00000000").is_err());
    assert!(files.map("log.00000001-00000000").is_err());
}

/// Runs a job of shard 3 and says whether it went well.
fn done(files: &mut RealFiles, job: Job) -> Done {
    run_job(job, 3, files)
}

const SEGMENT: SegmentId = SegmentId { queue: QueueUid(0xabc), number: 2 };

fn write_segment(durable: bool) -> Job {
    Job::WriteSegment { segment: SEGMENT, bytes: vec![9; 5000], settled_bytes: 4096, durable }
}

#[test]
fn log_jobs_do_what_they_say() {
    let temp = TempDir::new("log-jobs");
    let mut files = RealFiles::new(temp.path());
    let (first, second) = (LogFile::first_of(2), LogFile::first_of(2).next());
    let make = |file, recycle| Job::MakeLog { file, recycle, header: vec![7; 4096], bytes: 65_536 };
    let made = done(&mut files, make(first, None));
    assert!(matches!(made, Done::MakeLog { result: Ok(()), .. }), "{made:?}");
    for sync in [false, true] {
        let commit = Job::Commit { file: first, offset: 4096, bytes: vec![1; 8192], sync };
        let committed = done(&mut files, commit);
        assert!(matches!(committed, Done::Commit { result: Ok(()), .. }), "{committed:?}");
    }
    let beyond = Job::Commit { file: first, offset: 65_536, bytes: vec![1; 4096], sync: true };
    assert!(matches!(done(&mut files, beyond), Done::Commit { result: Err(_), .. }));

    let recycled = done(&mut files, make(second, Some(first)));
    assert!(matches!(recycled, Done::MakeLog { result: Ok(()), .. }), "{recycled:?}");
    let content = files.read(&paths::log(3, second)).expect("reads");
    assert_eq!(content.len(), 65_536);
    assert!(content.iter().take(4096).all(|octet| *octet == 7));
    assert!(content.iter().skip(4096).take(8192).all(|octet| *octet == 1), "old content stays");

    for file in [first, second] {
        let check = done(&mut files, Job::WriteCheckpoint { file, bytes: vec![5; 10] });
        assert!(matches!(check, Done::WriteCheckpoint { result: Ok(()), .. }), "{check:?}");
    }
    let names = |files: &mut RealFiles| -> Vec<String> {
        files.list("shards/03").expect("lists").into_iter().map(|entry| entry.name).collect()
    };
    assert_eq!(names(&mut files), [second.checkpoint_name(), second.name()]);
    for boot in [2, 3] {
        let dropped = done(&mut files, Job::DropEarlierBoots { boot });
        assert!(matches!(dropped, Done::DropEarlierBoots { result: Ok(()) }), "{dropped:?}");
        assert_eq!(names(&mut files).is_empty(), boot == 3);
    }
    for _ in 0..2 {
        let dropped = done(&mut files, Job::DropLog { file: second });
        assert!(matches!(dropped, Done::DropLog { result: Ok(()), .. }), "{dropped:?}");
    }
}

#[test]
fn segment_jobs_do_what_they_say() {
    let temp = TempDir::new("segment-jobs");
    let mut files = RealFiles::new(temp.path());
    let dir = paths::queue_dir(SEGMENT.queue);
    let Done::WriteSegment { result: Ok(mapped), bytes, .. } =
        done(&mut files, write_segment(true))
    else {
        panic!("a segment is written")
    };
    assert_eq!(mapped.as_ref(), bytes);
    let names: Vec<String> =
        files.list(&dir).expect("lists").into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["seg.2", "settled.2"]);

    let settle = Job::WriteSettled { segment: SEGMENT, offset: 4000, bytes: vec![3; 96] };
    assert!(matches!(done(&mut files, settle), Done::WriteSettled { result: Ok(()), .. }));
    let settled = files.read(&paths::settled(SEGMENT)).expect("reads");
    assert_eq!((settled.len(), settled.last()), (4096, Some(&3)));

    let Done::Map { result: Ok(again), .. } = done(&mut files, Job::Map { segment: SEGMENT })
    else {
        panic!("a segment is mapped")
    };
    let dropped = done(&mut files, Job::DropSegment { segment: SEGMENT });
    assert!(matches!(dropped, Done::DropSegment { result: Ok(()), .. }), "{dropped:?}");
    assert!(files.list(&dir).expect("lists").is_empty());
    assert_eq!(again.as_ref(), bytes, "a mapping outlives its file");

    let Done::WriteSegment { result: Ok(volatile), .. } = done(&mut files, write_segment(false))
    else {
        panic!("a segment is written")
    };
    assert_eq!(volatile.as_ref(), bytes);
    assert!(files.list(&dir).expect("lists").is_empty(), "nothing has a name");

    done(&mut files, write_segment(true));
    for _ in 0..2 {
        let dropped = done(&mut files, Job::DropQueue { queue: SEGMENT.queue });
        assert!(matches!(dropped, Done::DropQueue { result: Ok(()), .. }), "{dropped:?}");
    }
    assert!(files.list("queues").expect("lists").is_empty());
}

#[test]
fn space_jobs_do_what_they_say() {
    let temp = TempDir::new("space-jobs");
    let mut files = RealFiles::new(temp.path());
    let made = done(&mut files, Job::MakeReserve);
    assert!(matches!(made, Done::Reserve { held: true, result: Ok(()) }), "{made:?}");
    let ballast = temp.path().join(paths::RESERVE).metadata().expect("it is there");
    assert!(ballast.blocks() * 512 >= RESERVE_BYTES, "{} blocks", ballast.blocks());
    let released = done(&mut files, Job::ReleaseReserve);
    assert!(matches!(released, Done::Reserve { held: false, result: Ok(()) }), "{released:?}");
    let Done::Measure { result: Ok(space) } = done(&mut files, Job::Measure) else {
        panic!("space is measured")
    };
    assert!(space.free_bytes > 0);
}
