//! The order of steps of each job, and what is left when one of them fails.
#![cfg(test)]

use super::files::{Entry, Files};
use super::ids::{FILE_BOOT_SHIFT, LogFile, QueueUid, SegmentId};
use super::job::{Done, Job, Mapped};
use super::paths;
use super::run_job::run_job;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

/// Keeps names and lengths, writes down what it is asked for, and fails at one step.
#[derive(Default)]
struct Notebook {
    files: BTreeMap<String, u64>,
    dirs: BTreeSet<String>,
    asked: Vec<String>,
    fail_at: Option<usize>,
}

impl Notebook {
    fn note(&mut self, what: &str, path: &str) -> io::Result<()> {
        self.asked.push(format!("{what} {path}"));
        if self.fail_at == Some(self.asked.len()) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn file(&mut self, path: &str) -> io::Result<()> {
        self.files.get(path).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Files for Notebook {
    fn create(&mut self, path: &str, bytes: u64) -> io::Result<()> {
        self.note("create", path)?;
        let (dir, _) = path.rsplit_once('/').unwrap_or(("", path));
        if !dir.is_empty() && !self.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if self.files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.files.insert(path.to_owned(), bytes);
        Ok(())
    }
    fn write(&mut self, path: &str, _: u64, _: &[u8]) -> io::Result<()> {
        self.note("write", path)?;
        self.file(path)
    }
    fn sync(&mut self, path: &str) -> io::Result<()> {
        self.note("sync", path)?;
        self.file(path)
    }
    fn sync_dir(&mut self, path: &str) -> io::Result<()> {
        self.note("sync_dir", path)
    }
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.note("rename", from)?;
        let bytes = self.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        self.files.insert(to.to_owned(), bytes);
        Ok(())
    }
    fn remove(&mut self, path: &str) -> io::Result<()> {
        self.note("remove", path)?;
        self.files.remove(path).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
    fn make_dir(&mut self, path: &str) -> io::Result<()> {
        self.note("make_dir", path)?;
        self.dirs.insert(path.to_owned());
        Ok(())
    }
    fn remove_dir(&mut self, path: &str) -> io::Result<()> {
        self.note("remove_dir", path)?;
        if self.dirs.remove(path) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }
    fn list(&mut self, path: &str) -> io::Result<Vec<Entry>> {
        let below = format!("{path}/");
        let entry = |path: &String, is_dir, bytes| {
            let name = path.strip_prefix(&below).filter(|name| !name.contains('/'))?;
            Some(Entry { name: name.to_owned(), is_dir, bytes })
        };
        let files = self.files.iter().filter_map(|(path, bytes)| entry(path, false, *bytes));
        let dirs = self.dirs.iter().filter_map(|path| entry(path, true, 0));
        Ok(files.chain(dirs).collect())
    }
    fn read(&mut self, _: &str) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn free_bytes(&mut self) -> io::Result<u64> {
        Ok(7)
    }
    fn map(&mut self, path: &str) -> io::Result<Mapped> {
        self.note("map", path)?;
        self.file(path)?;
        Ok(Mapped(Arc::new(Vec::new())))
    }
}

const SEGMENT: SegmentId = SegmentId { queue: QueueUid(1), number: 5 };
const DIR: &str = "queues/0000000000000001";

fn write_segment(durable: bool) -> Job {
    Job::WriteSegment { segment: SEGMENT, bytes: vec![1; 10], settled_bytes: 64, durable }
}

fn asked(files: &mut Notebook, job: Job) -> Vec<String> {
    files.asked.clear();
    run_job(job, 0, files);
    files.asked.iter().map(|line| line.replace(DIR, "Q")).collect()
}

#[test]
fn a_segment_gets_its_name_when_all_of_it_is_on_the_disk() {
    let mut files = Notebook::default();
    assert_eq!(
        asked(&mut files, write_segment(true)),
        [
            "create Q/seg.5.tmp",
            "make_dir Q",
            "sync_dir queues",
            "sync_dir ",
            "create Q/seg.5.tmp",
            "write Q/seg.5.tmp",
            "sync Q/seg.5.tmp",
            "create Q/settled.5",
            "sync Q/settled.5",
            "rename Q/seg.5.tmp",
            "sync_dir Q",
            "map Q/seg.5",
        ]
    );
}

#[test]
fn a_segment_is_gone_for_good_before_what_settles_its_entries() {
    let mut files = Notebook::default();
    run_job(write_segment(true), 0, &mut files);
    assert_eq!(
        asked(&mut files, Job::DropSegment { segment: SEGMENT }),
        ["remove Q/seg.5", "sync_dir Q", "remove Q/settled.5"]
    );
    assert!(files.files.is_empty());
    let again = run_job(Job::DropSegment { segment: SEGMENT }, 0, &mut files);
    assert!(matches!(again, Done::DropSegment { result: Ok(()), .. }));

    run_job(write_segment(true), 0, &mut files);
    files.asked.clear();
    files.fail_at = Some(2);
    run_job(Job::DropSegment { segment: SEGMENT }, 0, &mut files);
    files.fail_at = None;
    let settled = paths::settled(SEGMENT);
    assert!(files.files.contains_key(&settled), "the removal may not be on the disk");
    run_job(Job::DropSegment { segment: SEGMENT }, 0, &mut files);
    assert_eq!(files.asked.get(3), Some(&format!("sync_dir {DIR}")));
    assert!(files.files.is_empty());
}

#[test]
fn whatever_step_fails_a_segment_is_whole_or_not_there_and_can_be_written_again() {
    for fail_at in 1..=12 {
        let mut files = Notebook { fail_at: Some(fail_at), ..Notebook::default() };
        let done = run_job(write_segment(true), 0, &mut files);
        let Done::WriteSegment { result: Err(error), bytes, .. } = done else {
            panic!("step {fail_at} failed")
        };
        assert!(error.is_full() || error.is_failed_sync());
        assert_eq!(bytes.len(), 10);
        let left: Vec<&String> = files.files.keys().collect();
        match fail_at {
            ..=10 => assert!(left.is_empty(), "step {fail_at}: {left:?}"),
            // Whoever finds a segment takes it for durable, so that it must not be found.
            11 => assert_eq!(left.len(), 1, "step {fail_at}: {left:?}"),
            _ => assert_eq!(left.len(), 2, "step {fail_at}: {left:?}"),
        }
        files.fail_at = None;
        files.asked.clear();
        let done = run_job(write_segment(true), 0, &mut files);
        let makes_dir = files.asked.contains(&"sync_dir queues".to_owned());
        assert_eq!(makes_dir, fail_at <= 4, "a directory that is there is durable: {fail_at}");
        assert!(matches!(done, Done::WriteSegment { result: Ok(_), .. }), "step {fail_at}");
    }
}

#[test]
fn a_volatile_segment_never_has_a_name_that_counts() {
    let mut files = Notebook { dirs: BTreeSet::from([DIR.to_owned()]), ..Notebook::default() };
    assert_eq!(
        asked(&mut files, write_segment(false)),
        ["create Q/seg.5.tmp", "write Q/seg.5.tmp", "map Q/seg.5.tmp", "remove Q/seg.5.tmp"]
    );
}

#[test]
fn a_log_file_is_synced_before_its_directory() {
    let mut files = Notebook::default();
    let make = |number, recycle| Job::MakeLog {
        file: LogFile(number),
        recycle,
        header: vec![0; 4096],
        bytes: 8192,
    };
    let first = asked(&mut files, make(1, None));
    assert_eq!(first.first(), first.get(4), "tried again in the new directory");
    let log = |number| paths::log(0, LogFile(number));
    assert_eq!(files.files.get(&log(1)), Some(&8192));
    assert_eq!(
        asked(&mut files, make(2, Some(LogFile(1)))),
        [
            format!("rename {}", log(1)),
            format!("write {}", log(2)),
            format!("sync {}", log(2)),
            "sync_dir shards/00".to_owned(),
        ]
    );
    files.fail_at = Some(2);
    asked(&mut files, make(3, None));
    files.fail_at = None;
    assert_eq!(files.files.len(), 1, "a file without a header does not stay");
}

#[test]
fn a_new_checkpoint_replaces_those_of_its_boot_only() {
    let mut files = Notebook::default();
    let check = |number| Job::WriteCheckpoint { file: LogFile(number), bytes: vec![1] };
    let boot = 1 << FILE_BOOT_SHIFT;
    for number in [7, boot + 1, boot + 3, boot + 2] {
        run_job(check(number), 0, &mut files);
    }
    let left: Vec<&str> = files.files.keys().map(String::as_str).collect();
    let name = |number| paths::checkpoint(0, LogFile(number));
    assert_eq!(left, [name(7), name(boot + 2), name(boot + 3)], "3 is not older than 2");
}

#[test]
fn earlier_boots_go_from_the_oldest_to_the_newest_over_all_shards() {
    let mut files = Notebook::default();
    let boot = |boot: u64, count: u64| LogFile((boot << 32) + count);
    let all = [
        paths::log(0, boot(1, 9)),
        paths::checkpoint(1, boot(1, 4)),
        paths::log(1, boot(1, 10)),
        paths::checkpoint(0, boot(2, 1)),
        paths::log(0, boot(2, 1)),
        paths::log(0, boot(3, 0)),
    ];
    for path in all.iter().rev() {
        files.dirs.insert(path.rsplit_once('/').unwrap().0.to_owned());
        files.files.insert(path.clone(), 0);
    }
    let asked = asked(&mut files, Job::DropEarlierBoots { boot: 3 });
    let removed: Vec<&str> = asked.iter().filter_map(|line| line.strip_prefix("remove ")).collect();
    // The checkpoint of boot 1 first.
    let expected = [&all[1], &all[0], &all[2], &all[3], &all[4]];
    assert_eq!(removed, expected);
    assert_eq!(asked.len(), 10, "each removal is on the disk before the next: {asked:?}");
    assert_eq!(files.files.len(), 1);
}

#[test]
fn the_ballast_can_be_made_and_released_twice() {
    let mut files = Notebook::default();
    for _ in 0..2 {
        let made = run_job(Job::MakeReserve, 0, &mut files);
        assert!(matches!(made, Done::Reserve { held: true, result: Ok(()) }));
    }
    for _ in 0..2 {
        let released = run_job(Job::ReleaseReserve, 0, &mut files);
        assert!(matches!(released, Done::Reserve { held: false, result: Ok(()) }));
    }
    files.fail_at = Some(files.asked.len() + 1);
    let full = run_job(Job::MakeReserve, 0, &mut files);
    assert!(matches!(full, Done::Reserve { held: false, result: Err(_) }));
}
