//! The simulated driver keeps the orders it must and no other. May import `sim` and `log`.

use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::log::{DiskError, Done, Files, Job, LogFile, Space};
use crate::sim::{FaultKind, Faults, Operation, SimDisk, SimDriver};

const SEEDS: u64 = 300;
const STEPS_MAX: u32 = 1000;
const FILE_BYTES: u64 = 8192;
const FILE: LogFile = LogFile(1);

thread_local! {
    /// What `run` did on this thread, in short.
    static TRACE: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    /// The disk whose syncs of files the trace counts.
    static TRACED: RefCell<Option<SimDisk>> = const { RefCell::new(None) };
}

fn trace(what: &str) {
    let disk = TRACED.with_borrow(Clone::clone);
    let syncs = disk.map_or(0, |disk| disk.counters().of(Operation::Sync));
    TRACE.with_borrow_mut(|trace| trace.push(format!("{what} {syncs}")));
}

/// Carries out what the tests need of the real function for this.
fn run(job: Job, shard: u32, files: &mut dyn Files) -> Done {
    assert_eq!(shard, 3);
    let told = |path: &str, result: std::io::Result<()>| {
        result.map_err(|cause| DiskError::new("use", path, cause))
    };
    match job {
        Job::Commit { file, offset, bytes, sync } => {
            let path = file.name();
            trace("commit");
            let mut result = files.write(&path, offset, &bytes);
            if sync && result.is_ok() {
                result = files.sync(&path);
            }
            Done::Commit { file, offset, bytes, sync, result: told(&path, result) }
        }
        Job::MakeLog { file, header, bytes, .. } => {
            let path = file.name();
            let result = files
                .create(&path, bytes)
                .inspect(|()| trace("created"))
                .and_then(|()| files.write(&path, 0, &header))
                .and_then(|()| files.sync(&path))
                .and_then(|()| files.sync_dir(""));
            trace("made");
            Done::MakeLog { file, result: told(&path, result) }
        }
        Job::DropLog { .. }
        | Job::WriteSegment { .. }
        | Job::WriteSettled { .. }
        | Job::DropSegment { .. }
        | Job::DropQueue { .. }
        | Job::Map { .. }
        | Job::WriteCheckpoint { .. }
        | Job::DropEarlierBoots { .. }
        | Job::Measure
        | Job::ReleaseReserve
        | Job::MakeReserve => {
            let free = files.free_bytes().map(|free_bytes| Space { free_bytes, reserve: false });
            Done::Measure { result: free.map_err(|cause| DiskError::new("measure", "", cause)) }
        }
    }
}

fn make(number: u64) -> Job {
    let header = vec![1; 512];
    Job::MakeLog { file: LogFile(number), recycle: None, header, bytes: FILE_BYTES }
}

fn commit(block: u64, sync: bool) -> Job {
    Job::Commit { file: FILE, offset: block * 512, bytes: vec![2; 512], sync }
}

/// A disk with [`FILE`] made, and a driver over it.
fn start(seed: u64) -> (SimDisk, SimDriver) {
    let mut disk = SimDisk::new(seed, Faults::none());
    disk.create(&FILE.name(), FILE_BYTES).unwrap();
    disk.sync(&FILE.name()).unwrap();
    disk.sync_dir("").unwrap();
    let driver = SimDriver::new(seed, 3, disk.clone(), run);
    (disk, driver)
}

/// Steps until nothing is left; what was told.
fn tell_all(driver: &mut SimDriver) -> Vec<Done> {
    let mut told = Vec::new();
    for _ in 0..STEPS_MAX {
        driver.finished(&mut told);
        if !driver.step() {
            driver.finished(&mut told);
            return told;
        }
    }
    panic!("not idle after {STEPS_MAX} steps: {driver:?}");
}

/// A commit by its block, another job by its number of file, and whether it went well.
fn in_short(done: &Done) -> (char, u64, bool) {
    if let Done::Commit { offset, result, .. } = done {
        ('c', offset / 512, result.is_ok())
    } else if let Done::MakeLog { file, result } = done {
        ('m', file.0, result.is_ok())
    } else {
        ('o', 0, true)
    }
}

#[test]
fn commits_and_other_jobs_each_keep_their_order_and_mix() {
    let mut orders = BTreeSet::new();
    for seed in 0..SEEDS {
        let (_disk, mut driver) = start(seed);
        for number in 1..4 {
            driver.begin(make(number + 1));
            driver.begin(commit(number, number % 2 == 0));
        }
        let told: Vec<_> = tell_all(&mut driver).iter().map(in_short).collect();
        assert!(driver.is_idle(), "seed {seed}");
        assert!(told.iter().all(|(.., is_ok)| *is_ok), "seed {seed}: {told:?}");
        let of = |kind| told.iter().filter(|t| t.0 == kind).map(|t| t.1).collect::<Vec<_>>();
        assert_eq!(of('c'), [1, 2, 3], "seed {seed}");
        assert_eq!(of('m'), [2, 3, 4], "seed {seed}");
        orders.insert(told.iter().map(|told| told.0).collect::<String>());
    }
    // 3 and 3 things can be mixed in 20 ways.
    assert!(orders.len() >= 15, "{orders:?}");
}

#[test]
fn a_commit_is_written_and_synced_beside_any_operation_of_another_job() {
    let mut traces = BTreeSet::new();
    for seed in 0..SEEDS {
        let (disk, mut driver) = start(seed);
        TRACED.set(Some(disk));
        driver.begin(make(2));
        driver.begin(commit(0, true));
        TRACE.take();
        assert_eq!(tell_all(&mut driver).len(), 2, "seed {seed}");
        traces.insert(TRACE.take().join(", "));
    }
    // With the syncs of files so far: one before, one of the commit, one of the new file.
    let expected = [
        "commit 1, created 1, made 2",
        "commit 1, created 1, made 3",
        "commit 1, created 2, made 3",
        "created 1, commit 1, made 2",
        "created 1, commit 1, made 3",
        "created 1, commit 2, made 2",
        "created 1, commit 2, made 3",
        "created 1, made 2, commit 2",
    ];
    assert_eq!(traces, BTreeSet::from(expected.map(str::to_owned)));
}

#[test]
fn an_outcome_is_told_at_once_or_some_steps_later() {
    let mut delays = BTreeSet::new();
    for seed in 0..SEEDS {
        let (disk, mut driver) = start(seed);
        driver.begin(if seed % 2 == 0 { commit(0, false) } else { make(2) });
        let mut told = Vec::new();
        let mut steps_since = 0;
        for _ in 0..STEPS_MAX {
            driver.step();
            driver.finished(&mut told);
            if !told.is_empty() {
                break;
            }
            steps_since += u32::from(disk.counters().of(Operation::Write) > 0);
        }
        assert_eq!(told.len(), 1, "seed {seed}");
        delays.insert((seed % 2, steps_since));
    }
    for kind in [0, 1] {
        assert!(delays.contains(&(kind, 0)) && delays.contains(&(kind, 5)), "{delays:?}");
    }
}

#[test]
fn a_cut_falls_between_the_write_and_the_sync_of_a_commit_too() {
    let mut states = BTreeSet::new();
    for seed in 0..SEEDS {
        for cut in 1..7 {
            let (mut disk, mut driver) = start(seed);
            disk.crash_at(cut);
            driver.begin(make(2));
            driver.begin(commit(0, true));
            assert!(tell_all(&mut driver).len() < 2, "seed {seed}, cut {cut}");
            let is_made = disk.counters().of(Operation::SyncDir) == 2;
            let is_written = disk.peek(&FILE.name()).unwrap()[..512] == [2; 512];
            disk.crash();
            let is_durable = disk.peek(&FILE.name()).unwrap()[..512] == [2; 512];
            states.insert((is_made, is_written, is_durable));
        }
    }
    let (yes, no) = (true, false);
    for state in [(no, no, no), (no, yes, no), (no, yes, yes), (yes, yes, no), (yes, yes, yes)] {
        assert!(states.contains(&state), "{state:?} is not in {states:?}");
    }
}

#[test]
fn what_was_told_as_synced_survives_any_cut() {
    let mut told_count = 0;
    for seed in 0..SEEDS {
        let (mut disk, mut driver) = start(seed);
        // There are 44 operations: 12 for the commits, 4 for each file.
        disk.crash_at(1 + seed % 44);
        for block in 0..8 {
            driver.begin(commit(block, block % 2 == 1));
            driver.begin(make(block + 2));
        }
        let mut told = Vec::new();
        for _ in 0..STEPS_MAX {
            if !driver.step() {
                break;
            }
            driver.finished(&mut told);
        }
        assert!(disk.is_cut(), "seed {seed}");
        assert!(!driver.step(), "seed {seed}");
        let before = told.len();
        driver.finished(&mut told);
        assert_eq!(told.len(), before, "seed {seed}: a process that has ended is told nothing");
        disk.crash();
        for done in &told {
            let (kind, number, is_ok) = in_short(done);
            assert!(is_ok, "seed {seed}");
            // Every second commit is synced, and makes the one before it durable.
            let synced = if number % 2 == 1 { number + 1 } else { number };
            let (name, range) = if kind == 'c' {
                (FILE.name(), 0..usize::try_from(synced).unwrap() * 512)
            } else {
                (LogFile(number).name(), 0..512)
            };
            let bytes = disk.peek(&name).unwrap_or_else(|| panic!("seed {seed}: no {name}"));
            let octet = if kind == 'c' { 2 } else { 1 };
            assert!(bytes[range].iter().all(|o| *o == octet), "seed {seed}: {name}");
            told_count += 1;
        }
    }
    assert!(told_count > 500, "{told_count}");
}

#[test]
fn a_commit_tells_of_a_failed_write_and_of_a_failed_sync() {
    for seed in 0..SEEDS {
        for operation in [Operation::Write, Operation::Sync] {
            let (disk, mut driver) = start(seed);
            disk.fail_after(operation, 0, FaultKind::Full);
            driver.begin(commit(0, true));
            driver.begin(commit(1, true));
            let told = tell_all(&mut driver);
            let [Done::Commit { result, bytes, .. }, second] = &told[..] else {
                panic!("seed {seed}: {told:?}")
            };
            let error = result.as_ref().unwrap_err();
            assert_eq!(error.is_full(), operation == Operation::Write, "seed {seed}");
            assert_eq!(error.is_failed_sync(), operation == Operation::Sync, "seed {seed}");
            assert_eq!(bytes.len(), 512, "seed {seed}: the buffer comes back");
            assert!(in_short(second).2, "seed {seed}");
        }
    }
}

#[test]
fn a_commit_that_needs_no_sync_gets_none() {
    let (disk, mut driver) = start(1);
    let before = disk.counters().syncs();
    driver.begin(commit(0, false));
    driver.begin(Job::Measure);
    assert_eq!(tell_all(&mut driver).len(), 2);
    assert_eq!(disk.counters().syncs(), before);
}

#[test]
fn the_same_seed_drives_the_same_way() {
    let drive = |seed| {
        let (disk, mut driver) = start(seed);
        let mut told = Vec::new();
        for block in 0..10 {
            driver.begin(commit(block, true));
            driver.begin(make(block + 2));
            driver.step();
            driver.finished(&mut told);
            told.push(Done::DropEarlierBoots { result: Ok(()) });
        }
        told.extend(tell_all(&mut driver));
        (told.iter().map(in_short).collect::<Vec<_>>(), disk.counters())
    };
    for seed in 0..SEEDS {
        assert_eq!(drive(seed), drive(seed), "seed {seed}");
    }
    assert_ne!(drive(1), drive(2));
}
