//! A thread that does what would block a shard: opening, removing, writing of whole files. May import
//! `job`, `real_files`, `run_job`, the channel, the doorbell and libc.
#![expect(unsafe_code, reason = "scheduler affinity has no safe wrapper in the standard library")]

use crossbeam_channel::{Receiver, Sender};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::ids::LogFile;
use super::job::{DiskError, Done, Job};
use super::real_files::RealFiles;
use super::run_job::run_job;
use crate::doorbell::Doorbell;

/// Where finished jobs of all threads of a shard go.
#[derive(Debug, Clone)]
pub(super) struct Results {
    /// What became of them, in the order they finished.
    pub(super) done: Sender<Done>,
    /// Rung after each.
    pub(super) bell: Arc<Doorbell>,
}

impl Results {
    /// Hands a result to the shard. Fails only if the shard has dropped its driver.
    pub(super) fn hand_over(&self, done: Done) {
        let _ = self.done.send(done);
        self.bell.ring();
    }
}

/// A thread that does its jobs one after another. Ends when this is dropped, after what it was given.
#[derive(Debug)]
pub(super) struct Worker {
    jobs: Sender<Job>,
    thread: JoinHandle<()>,
}

impl Worker {
    /// Starts the thread, which works on the files below `root` for one shard.
    pub(super) fn start(
        name: String,
        shard_no: u32,
        root: &Path,
        results: Results,
    ) -> io::Result<Self> {
        // No bound: whoever begins jobs has one batch, a few segments and a checkpoint under way.
        let (jobs, given) = crossbeam_channel::unbounded();
        let files = RealFiles::new(root);
        let work = move || work(&given, shard_no, files, &results);
        let thread = std::thread::Builder::new().name(name).spawn(work)?;
        Ok(Self { jobs, thread })
    }

    /// Does a job after those before it.
    ///
    /// # Panics
    /// The thread has died, by a panic of its own: nothing could be made durable any more.
    pub(super) fn begin(&self, job: Job) {
        let sent = self.jobs.send(job);
        assert!(sent.is_ok(), "a thread of the disk has died");
    }

    /// For who hands jobs over later.
    pub(super) fn jobs(&self) -> Sender<Job> {
        self.jobs.clone()
    }

    /// To be called when nothing is under way and no other sender is left, so that the thread is about
    /// to end and this does not wait for a disk.
    pub(super) fn join(self) {
        drop(self.jobs);
        // A panic of it has ended the process or the test already.
        let _ = self.thread.join();
    }
}

/// The life of the thread.
fn work(given: &Receiver<Job>, shard_no: u32, mut files: RealFiles, results: &Results) {
    leave_the_core();
    let mut broken = Broken::default();
    for job in given {
        results.hand_over(broken.run(job, shard_no, &mut files));
    }
}

/// Log files that a commit has failed for, while this thread does the commits. After a failed sync the
/// next one says that all is well, about octets that the disk does not have (reliability.md F7).
#[derive(Debug, Default)]
struct Broken {
    files: Vec<(LogFile, DiskError)>,
}

impl Broken {
    fn run(&mut self, job: Job, shard_no: u32, files: &mut RealFiles) -> Done {
        if let Job::Commit { file, offset, bytes, sync } = job {
            if let Some((_, error)) = self.files.iter().find(|(broken, _)| *broken == file) {
                return Done::Commit { file, offset, bytes, sync, result: Err(error.clone()) };
            }
            let done = run_job(Job::Commit { file, offset, bytes, sync }, shard_no, files);
            if let Done::Commit { file, result: Err(error), .. } = &done {
                self.files.push((*file, error.clone()));
            }
            return done;
        }
        run_job(job, shard_no, files)
    }
}

/// Cores in a mask that the kernel may fill; see `cores.rs`.
const MASK_WORDS: usize = 64;

/// A new thread inherits the one core of the shard that made it, which it would then take turns with.
/// It may run wherever the first thread of the process may, which is pinned to nothing.
fn leave_the_core() {
    let mut mask = [0_u64; MASK_WORDS];
    // SAFETY: it only returns a number.
    let process = unsafe { libc::getpid() };
    // SAFETY: the kernel writes at most the given number of bytes into the mask, which is ours.
    let result =
        unsafe { libc::sched_getaffinity(process, size_of_val(&mask), mask.as_mut_ptr().cast()) };
    if result == 0 {
        // SAFETY: the kernel reads the given number of bytes from the mask, which is initialised.
        let _moved =
            unsafe { libc::sched_setaffinity(0, size_of_val(&mask), mask.as_ptr().cast()) };
        // If it fails we share the core: slower, not wrong.
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_thread_made_by_a_pinned_one_may_use_all_cores_again() {
        let allowed = crate::allowed_cores().unwrap();
        let core = allowed[0];
        let pinned = std::thread::Builder::new().spawn(move || {
            crate::cores::pin_to(core).unwrap();
            let inner = std::thread::Builder::new().spawn(|| {
                leave_the_core();
                crate::allowed_cores().unwrap()
            });
            inner.unwrap().join().unwrap()
        });
        assert_eq!(pinned.unwrap().join().unwrap(), allowed);
    }

    #[test]
    fn a_log_file_whose_commit_failed_takes_no_other() {
        let root = Path::new("/dev");
        let mut files = RealFiles::new(root);
        let mut broken = Broken::default();
        let commit = |count: u8| Job::Commit {
            file: LogFile(u64::from(count)),
            offset: 0,
            bytes: vec![count],
            sync: true,
        };
        // No such file.
        let first = broken.run(commit(1), 0, &mut files);
        let again = broken.run(commit(1), 0, &mut files);
        let (Done::Commit { result: Err(first), .. }, Done::Commit { result: Err(again), .. }) =
            (first, again)
        else {
            panic!("both fail");
        };
        assert!(Arc::ptr_eq(&first.cause, &again.cause), "the disk was not asked again");
    }
}
