//! The disk of a running shard: commits through its ring, the rest on its threads.
#![cfg(test)]

mod support;
#[path = "support/temp_dir.rs"]
mod temp_dir;

use ringmq_shards::Shard;
use ringmq_shards::log::{
    Done, Driver, Files, Job, LogFile, QueueUid, RealFiles, SegmentId, paths,
};
use std::future::{Future, poll_fn};
use std::path::{Path, PathBuf};
use support::{Watchdog, run};
use temp_dir::TempDir;

const BLOCK: u64 = 4096;
const FILE: LogFile = LogFile::first_of(1);

/// Runs `act` on a shard with its driver and the data directory.
fn with_driver<Fut: Future<Output = ()> + 'static>(
    what: &'static str,
    act: impl Fn(Shard<()>, Driver, PathBuf) -> Fut + Clone + Send + 'static,
) {
    let _watchdog = Watchdog::new(what);
    let temp = TempDir::new(what);
    let root = temp.path().to_owned();
    run(1, move |shard: Shard<()>| {
        let driver = Driver::start(&shard, 0, &root).expect("starts");
        act(shard, driver, root.clone())
    });
}

/// Sleeps until something has finished, and takes it.
async fn next(driver: &Driver) -> Vec<Done> {
    let mut done = Vec::new();
    while done.is_empty() {
        poll_fn(|context| driver.poll_finished(context)).await;
        driver.finished(&mut done);
    }
    done
}

/// Begins one job and waits for it alone.
async fn complete(driver: &Driver, job: Job) -> Done {
    driver.begin(job);
    let mut done = next(driver).await;
    assert_eq!((done.len(), driver.under_way()), (1, 0));
    done.remove(0)
}

fn make_log(file: LogFile, recycle: Option<LogFile>, bytes: u64) -> Job {
    Job::MakeLog { file, recycle, header: vec![0xee; 4096], bytes }
}

fn commit(file: LogFile, block: u64, blocks: usize, sync: bool) -> Job {
    let octet = u8::try_from(block % 251).expect("below 251");
    Job::Commit { file, offset: block * BLOCK, bytes: vec![octet; blocks * 4096], sync }
}

async fn commit_well(driver: &Driver, job: Job) {
    let done = complete(driver, job).await;
    let Done::Commit { result: Ok(()), bytes, .. } = done else { panic!("{done:?}") };
    assert!(!bytes.is_empty(), "comes back");
}

async fn make_well(driver: &Driver, job: Job) {
    let done = complete(driver, job).await;
    assert!(matches!(done, Done::MakeLog { result: Ok(()), .. }), "{done:?}");
}

/// The first octet of each block of a log file.
fn blocks(root: &Path, file: LogFile) -> Vec<u8> {
    let content = RealFiles::new(root).read(&paths::log(0, file)).expect("reads");
    content.chunks(4096).map(|block| block[0]).collect()
}

/// The flags of all handles this process has of a file, by the kernel's own account.
fn handles(path: &Path) -> Vec<i32> {
    let open = std::fs::read_dir("/proc/self/fd").expect("Linux").filter_map(|entry| {
        let entry = entry.expect("readable");
        (std::fs::read_link(entry.path()).ok()? == path).then(|| entry.file_name())
    });
    let flags = open.map(|number| {
        let info = Path::new("/proc/self/fdinfo").join(number);
        let text = std::fs::read_to_string(info).expect("readable");
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:")).expect("has flags");
        i32::from_str_radix(flags.trim(), 8).expect("octal")
    });
    let mut flags: Vec<i32> = flags.collect();
    flags.sort_unstable();
    flags
}

#[test]
fn a_thousand_commits_stand_where_they_were_put() {
    with_driver("thousand-commits", |_shard, driver, root| async move {
        make_well(&driver, make_log(FILE, None, 1001 * BLOCK)).await;
        for block in 1..=1000 {
            // Both ways to sync, and none.
            commit_well(&driver, commit(FILE, block, 1, block % 3 != 0)).await;
        }
        assert!(driver.stop().await.is_empty());
        let expected: Vec<u8> =
            (1..=1000_u64).map(|block| u8::try_from(block % 251).expect("below 251")).collect();
        let found = blocks(&root, FILE);
        assert_eq!(found.first(), Some(&0xee));
        assert_eq!(found.get(1..), Some(expected.as_slice()));
    });
}

#[test]
fn large_batches_go_in_pieces_and_arrive_whole() {
    with_driver("large-batches", |_shard, driver, root| async move {
        make_well(&driver, make_log(FILE, None, 4000 * BLOCK)).await;
        let mut block = 1;
        // One piece; a piece and a block; more than is written at once.
        for (blocks, sync) in [(256, true), (257, true), (257, false), (1500, true), (1, true)] {
            commit_well(&driver, commit(FILE, block, blocks, sync)).await;
            block += u64::try_from(blocks).expect("small");
        }
        assert!(driver.stop().await.is_empty());
        let found = blocks(&root, FILE);
        let mut at = 1;
        for blocks in [256, 257, 257, 1500, 1] {
            let octet = u8::try_from(at % 251).expect("below 251");
            assert!(found[at..at + blocks].iter().all(|found| *found == octet), "block {at}");
            at += blocks;
        }
        assert!(found[at..].iter().all(|octet| *octet == 0), "nothing stands behind the last");
    });
}

#[test]
fn a_log_file_is_open_from_its_making_to_its_end() {
    with_driver("open-files", |shard, driver, root| async move {
        let path = |file| root.join(paths::log(0, file));
        let (first, second) = (FILE, FILE.next());
        make_well(&driver, make_log(first, None, 8 * BLOCK)).await;
        // Opening goes on by itself: a commit after it shows that it is done.
        commit_well(&driver, commit(first, 1, 1, true)).await;
        let flags = handles(&path(first));
        if flags.iter().all(|flags| flags & libc::O_DIRECT != 0) {
            assert_eq!(flags.len(), 2);
            let durable = flags.iter().filter(|flags| **flags & libc::O_DSYNC != 0);
            assert_eq!(durable.count(), 1, "{flags:?}");
        }
        make_well(&driver, make_log(second, Some(first), 8 * BLOCK)).await;
        commit_well(&driver, commit(second, 2, 1, true)).await;
        assert_eq!(handles(&path(first)), [0; 0]);
        assert_eq!(handles(&path(second)).len(), flags.len());
        let done = complete(&driver, Job::DropLog { file: second }).await;
        assert!(matches!(done, Done::DropLog { result: Ok(()), .. }), "{done:?}");
        assert!(driver.stop().await.is_empty());
        let removed = path(second).with_file_name(format!("{} (deleted)", second.name()));
        assert_eq!(handles(&removed), [0; 0]);
        assert_eq!(shard.task_count(), 1, "the task of the ring has ended");
    });
}

#[test]
fn an_idle_shard_is_woken_for_every_result_of_another_thread() {
    with_driver("wake-ups", |_shard, driver, _root| async move {
        for _ in 0..1000 {
            let done = complete(&driver, Job::Measure).await;
            let Done::Measure { result: Ok(space) } = done else { panic!("{done:?}") };
            assert!(space.free_bytes > 0);
        }
        assert!(driver.stop().await.is_empty());
    });
}

#[test]
fn a_failed_commit_is_final_for_its_file_alone() {
    with_driver("failed-commit", |_shard, driver, root| async move {
        let other = FILE.next();
        make_well(&driver, make_log(FILE, None, 8 * BLOCK)).await;
        make_well(&driver, make_log(other, None, 8 * BLOCK)).await;
        commit_well(&driver, commit(FILE, 1, 1, true)).await;
        // Not where a direct write can begin, and beyond the end for a thread.
        let wrong =
            Job::Commit { file: FILE, offset: 8 * BLOCK + 1, bytes: vec![1; 4096], sync: true };
        let failed = complete(&driver, wrong).await;
        let Done::Commit { result: Err(first), bytes, .. } = failed else { panic!("{failed:?}") };
        assert_eq!(bytes.len(), 4096);
        assert!(first.to_string().contains("log.00000001-00000000"), "{first}");
        let again = complete(&driver, commit(FILE, 2, 1, true)).await;
        let Done::Commit { result: Err(second), .. } = again else { panic!("{again:?}") };
        assert_eq!(first.to_string(), second.to_string());
        commit_well(&driver, commit(other, 1, 1, true)).await;
        let nowhere = complete(&driver, commit(LogFile(77), 1, 1, true)).await;
        let Done::Commit { result: Err(error), .. } = nowhere else { panic!("{nowhere:?}") };
        assert_eq!(error.cause.kind(), std::io::ErrorKind::NotFound);
        assert!(driver.stop().await.is_empty());
        assert_eq!(blocks(&root, FILE).get(..3), Some([0xee, 1, 0].as_slice()));
    });
}

#[test]
fn stopping_waits_for_all_that_is_under_way_and_tells_of_it() {
    with_driver("stopping", |_shard, driver, root| async move {
        make_well(&driver, make_log(FILE, None, 64 * BLOCK)).await;
        let segment = |number| SegmentId { queue: QueueUid(1), number };
        for number in 0..20 {
            driver.begin(Job::WriteSegment {
                segment: segment(number),
                bytes: vec![1; 10_000],
                settled_bytes: 64,
                durable: true,
            });
            driver.begin(Job::WriteSettled { segment: segment(number), offset: 0, bytes: vec![2] });
            if number % 2 == 0 {
                driver.begin(Job::DropSegment { segment: segment(number) });
            }
        }
        driver.begin(commit(FILE, 1, 1, true));
        driver.begin(Job::WriteCheckpoint { file: FILE, bytes: vec![3; 100] });
        assert_eq!(driver.under_way(), 52);

        let done = driver.stop().await;

        assert_eq!(done.len(), 52);
        for done in &done {
            let is_well = match done {
                Done::Commit { result, .. }
                | Done::MakeLog { result, .. }
                | Done::DropLog { result, .. }
                | Done::WriteSettled { result, .. }
                | Done::DropSegment { result, .. }
                | Done::DropQueue { result, .. }
                | Done::WriteCheckpoint { result, .. }
                | Done::DropEarlierBoots { result }
                | Done::Reserve { result, .. } => result.is_ok(),
                Done::WriteSegment { result, .. } | Done::Map { result, .. } => result.is_ok(),
                Done::Measure { result } => result.is_ok(),
            };
            assert!(is_well, "jobs of one segment keep their order: {done:?}");
        }
        let left = RealFiles::new(&root).list(&paths::queue_dir(QueueUid(1))).expect("lists");
        assert_eq!(left.len(), 20, "ten segments, each with its file of settled entries");
        assert_eq!(blocks(&root, FILE).get(1), Some(&1));
    });
}

#[test]
fn a_driver_that_is_dropped_takes_its_threads_and_files_with_it() {
    with_driver("dropped", |shard, driver, root| async move {
        make_well(&driver, make_log(FILE, None, 8 * BLOCK)).await;
        commit_well(&driver, commit(FILE, 1, 1, true)).await;
        drop(driver);
        while shard.task_count() > 1 {
            shard.yield_now().await;
            shard.sleep(1).await;
        }
        assert_eq!(handles(&root.join(paths::log(0, FILE))), [0; 0]);
    });
}
