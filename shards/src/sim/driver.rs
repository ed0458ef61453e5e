//! Carries jobs out on the simulated disk, in any order a real driver might. May import `disk`,
//! `random`, and from `log` jobs and file operations.
//!
//! Commits go in order among themselves, all other jobs in order among themselves, the two beside
//! each other. A reading job may pass others, as it may have waited for none of them: whoever begins it
//! knows that what it reads is there. A step takes up what is first in one of the two; between any two file operations of a
//! job that is no commit, commits may be written and synced, and between a commit's write and its
//! sync whole jobs may be done. What cannot happen is that something is begun in the midst of a job
//! that is no commit: whoever begins it cannot know of that midst, and the same operations happen if
//! the job starts later.

use std::collections::VecDeque;
use std::io;

use super::disk::SimDisk;
use super::random::Random;
use crate::log::planted;
use crate::log::{DiskError, Done, Entry, Files, Job, Mapped};

/// Steps a job waits at most before it may start, and its outcome before it may be told.
const DELAY_STEPS_MAX: u64 = 6;
/// Chances in a hundred that a commit goes on before a file operation of another job.
const BESIDE_CHANCE: u64 = 25;

/// Carries out a job of a shard by file operations: what the simulation has in common with the real
/// driver.
pub type RunJob = fn(Job, u32, &mut dyn Files) -> Done;

/// Takes the jobs of one shard, carries them out step by step, and tells what became of them.
#[derive(Debug)]
pub struct SimDriver {
    disk: SimDisk,
    run: RunJob,
    shard: u32,
    random: Random,
    /// Steps so far.
    now: u64,
    commits: Commits,
    others: VecDeque<Waiting>,
    others_done: VecDeque<Told>,
}

/// A job, and the step before which it does not start.
#[derive(Debug)]
struct Waiting {
    job: Job,
    from: u64,
}

/// An outcome, and the step before which it is not told.
#[derive(Debug)]
struct Told {
    done: Done,
    from: u64,
}

impl SimDriver {
    /// A driver of a shard with nothing to do.
    #[must_use]
    pub fn new(seed: u64, shard: u32, disk: SimDisk, run: RunJob) -> Self {
        let mut random = Random::new(seed);
        let commits = Commits::new(random.fork());
        let (others, others_done) = (VecDeque::new(), VecDeque::new());
        Self { disk, run, shard, random, now: 0, commits, others, others_done }
    }

    /// Takes a job; it starts in some later step.
    pub fn begin(&mut self, job: Job) {
        let waiting = |job, random: &mut Random| {
            let delay = if random.chance(50) { 0 } else { random.below(DELAY_STEPS_MAX + 1) };
            Waiting { job, from: self.now + delay }
        };
        if matches!(job, Job::Commit { .. }) {
            self.commits.waiting.push_back(waiting(job, &mut self.random));
        } else {
            self.others.push_back(waiting(job, &mut self.random));
        }
    }

    /// Lets a little time pass: perhaps a commit is written, or synced, or another job carried out.
    /// `false` if there is nothing to do or to tell any more, or the process has ended.
    pub fn step(&mut self) -> bool {
        if self.disk.is_cut() {
            return false;
        }
        self.now += 1;
        let is_commit_ready = self.commits.is_ready(self.now);
        let is_other_ready = self.others.front().is_some_and(|first| first.from <= self.now);
        if is_commit_ready && (!is_other_ready || self.random.chance(50)) {
            self.commits.step(&mut self.disk, self.run, self.shard, self.now);
        } else if is_other_ready {
            self.carry_out();
        }
        !self.is_idle() && !self.disk.is_cut()
    }

    /// There is nothing to do or to tell.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.commits.is_idle() && self.others.is_empty() && self.others_done.is_empty()
    }

    /// Moves what is done and may be told to `into`. A process that has ended is told nothing.
    pub fn finished(&mut self, into: &mut Vec<Done>) {
        if self.disk.is_cut() {
            return;
        }
        let mut lanes = [&mut self.commits.done, &mut self.others_done];
        if self.random.chance(50) {
            lanes.reverse();
        }
        for lane in lanes {
            while lane.front().is_some_and(|first| first.from <= self.now) {
                into.extend(lane.pop_front().map(|told| told.done));
            }
        }
    }

    /// The first of the jobs that are no commits, or the first that reads.
    fn carry_out(&mut self) {
        let reading = self.others.iter().position(|other| matches!(other.job, Job::Map { .. }));
        let at = reading.filter(|at| *at > 0 && self.random.chance(50)).unwrap_or(0);
        let Some(Waiting { job, .. }) = self.others.remove(at) else { return };
        let mut beside = Beside {
            disk: &mut self.disk,
            commits: &mut self.commits,
            random: &mut self.random,
            run: self.run,
            shard: self.shard,
            now: self.now,
        };
        let done = (self.run)(job, self.shard, &mut beside);
        let from = self.now + self.random.below(DELAY_STEPS_MAX + 1);
        self.others_done.push_back(Told { done, from });
    }
}

/// The commits of one shard.
#[derive(Debug)]
struct Commits {
    random: Random,
    waiting: VecDeque<Waiting>,
    /// Written, and the file that is to be synced.
    written: Option<(Done, String)>,
    done: VecDeque<Told>,
}

impl Commits {
    const fn new(random: Random) -> Self {
        Self { random, waiting: VecDeque::new(), written: None, done: VecDeque::new() }
    }

    fn is_ready(&self, now: u64) -> bool {
        self.written.is_some() || self.waiting.front().is_some_and(|first| first.from <= now)
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.written.is_none() && self.done.is_empty()
    }

    /// Syncs what is written, or writes the next.
    fn step(&mut self, disk: &mut SimDisk, run: RunJob, shard: u32, now: u64) {
        if let Some((done, path)) = self.written.take() {
            let mut result = disk.sync(&path);
            if planted::is_planted(planted::Bug::RetrySync) {
                result = result.or_else(|_| disk.sync(&path));
            }
            let result = result.map_err(|cause| DiskError::new("sync", &path, cause));
            self.tell(with_result(done, result), now);
            return;
        }
        if self.waiting.front().is_none_or(|first| first.from > now) {
            return;
        }
        let Some(Waiting { job, .. }) = self.waiting.pop_front() else { return };
        let mut files = SyncLater { disk, path: None };
        let done = run(job, shard, &mut files);
        match files.path {
            Some(path) => self.written = Some((done, path)),
            None => self.tell(done, now),
        }
    }

    fn tell(&mut self, done: Done, now: u64) {
        let from = now + self.random.below(DELAY_STEPS_MAX + 1);
        self.done.push_back(Told { done, from });
    }
}

/// A commit's outcome with that of its sync, if it went well until then.
fn with_result(done: Done, synced: Result<(), DiskError>) -> Done {
    if let Done::Commit { file, offset, bytes, sync, result } = done {
        Done::Commit { file, offset, bytes, sync, result: result.and(synced) }
    } else {
        done
    }
}

/// The file operations of a job that is no commit: commits may go on before each.
struct Beside<'a> {
    disk: &'a mut SimDisk,
    commits: &'a mut Commits,
    random: &'a mut Random,
    run: RunJob,
    shard: u32,
    now: u64,
}

impl Beside<'_> {
    fn disk(&mut self) -> &mut SimDisk {
        while self.commits.is_ready(self.now) && self.random.chance(BESIDE_CHANCE) {
            self.commits.step(self.disk, self.run, self.shard, self.now);
        }
        self.disk
    }
}

/// The file operations of a commit, but that its sync waits for another step.
struct SyncLater<'a> {
    disk: &'a mut SimDisk,
    path: Option<String>,
}

impl SyncLater<'_> {
    const fn disk(&mut self) -> &mut SimDisk {
        self.disk
    }
}

/// All file operations but `sync`, passed on to `self.disk()`.
macro_rules! pass_on {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $result:ty;)*) => {
        $(fn $name(&mut self, $($argument: $kind),*) -> io::Result<$result> {
            self.disk().$name($($argument),*)
        })*
    };
}

/// The operations that both kinds of jobs pass on alike.
macro_rules! pass_on_all_but_sync {
    () => {
        pass_on! {
            create(path: &str, bytes: u64) -> ();
            write(path: &str, offset: u64, bytes: &[u8]) -> ();
            sync_dir(path: &str) -> ();
            rename(from: &str, to: &str) -> ();
            remove(path: &str) -> ();
            make_dir(path: &str) -> ();
            remove_dir(path: &str) -> ();
            list(path: &str) -> Vec<Entry>;
            read(path: &str) -> Vec<u8>;
            free_bytes() -> u64;
            map(path: &str) -> Mapped;
        }
    };
}

impl Files for Beside<'_> {
    pass_on_all_but_sync!();

    fn sync(&mut self, path: &str) -> io::Result<()> {
        self.disk().sync(path)
    }
}

impl Files for SyncLater<'_> {
    pass_on_all_but_sync!();

    fn sync(&mut self, path: &str) -> io::Result<()> {
        self.path = Some(path.to_owned());
        Ok(())
    }
}
