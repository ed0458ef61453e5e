//! Carries out the jobs of one shard on the real disk without blocking it. May import `direct`, `job`,
//! `ring`, `worker`, the doorbell and the shard.
//!
//! # Who does what
//!
//! | where | jobs |
//! |---|---|
//! | the ring of the shard | `Commit` |
//! | its urgent thread | `Commit` where the file system takes no direct writes, `MakeLog`, `DropLog`, `WriteCheckpoint`, `Measure`, `ReleaseReserve`, `MakeReserve` |
//! | its reading thread | `Map` |
//! | its bulk thread | all else that is about a queue, and `DropEarlierBoots` |
//!
//! Each does its jobs in the order they were begun. So the jobs of one segment keep their order, a new
//! log file waits for no segment, and a consumer waits for no segment but its own: a segment is mapped
//! only after it was written, and if it is dropped meanwhile nobody asks for it. Between the four there is no order: whoever needs one (log files
//! are dropped only after what is left of them was written elsewhere) begins the second job when it has
//! been told of the end of the first, as it must anyway, because the first can fail.

use crossbeam_channel::Receiver;
use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::direct;
use super::job::{Done, Job};
use super::ring::Ring;
use super::worker::{Results, Worker};
use crate::doorbell::Doorbell;
use crate::shard::Shard;

/// The disk of one shard. One per shard, on it; used by one task.
pub struct Driver {
    /// Dropped first: with it goes the last other sender to the urgent thread.
    ring: RingEnd,
    urgent: Worker,
    reading: Worker,
    bulk: Worker,
    done: Receiver<Done>,
    bell: Arc<Doorbell>,
    under_way: Cell<usize>,
}

impl Driver {
    /// Starts the threads and the task that work for this shard below `root`, an absolute path.
    ///
    /// # Errors
    /// No thread can be made.
    pub fn start<M: 'static>(shard: &Shard<M>, shard_no: u32, root: &Path) -> io::Result<Self> {
        Self::start_with(shard, shard_no, root, direct::can_be_tried(root))
    }

    fn start_with<M: 'static>(
        shard: &Shard<M>,
        shard_no: u32,
        root: &Path,
        direct: bool,
    ) -> io::Result<Self> {
        let bell = Arc::new(Doorbell::default());
        // No bound: there are never more results than jobs under way.
        let (sender, done) = crossbeam_channel::unbounded();
        let results = Results { done: sender, bell: Arc::clone(&bell) };
        let worker = |kind: &str| {
            Worker::start(format!("disk-{shard_no}-{kind}"), shard_no, root, results.clone())
        };
        let (urgent, reading, bulk) = (worker("urgent")?, worker("read")?, worker("bulk")?);
        let ring =
            Rc::new(Ring::new((root.to_owned(), shard_no), direct, results.clone(), urgent.jobs()));
        shard.spawn(Rc::clone(&ring).serve());
        Ok(Self { ring: RingEnd(ring), urgent, reading, bulk, done, bell, under_way: Cell::new(0) })
    }

    /// Begins a job. Its result comes through [`Driver::finished`].
    ///
    /// # Panics
    /// A thread of the disk has died, by a panic of its own: nothing could be confirmed any more.
    pub fn begin(&self, job: Job) {
        self.under_way.set(self.under_way.get() + 1);
        match job {
            Job::Commit { file, offset, bytes, sync } => {
                self.ring.0.commit(file, offset, bytes, sync);
            }
            Job::MakeLog { recycle, .. } => {
                // It is about to get another name, under which it is opened again.
                recycle.iter().for_each(|old| self.ring.0.close(*old));
                self.urgent.begin(job);
            }
            Job::DropLog { file } => {
                self.ring.0.close(file);
                self.urgent.begin(job);
            }
            Job::WriteCheckpoint { .. } | Job::Measure | Job::ReleaseReserve | Job::MakeReserve => {
                self.urgent.begin(job);
            }
            Job::Map { .. } => self.reading.begin(job),
            Job::WriteSegment { .. }
            | Job::WriteSettled { .. }
            | Job::DropSegment { .. }
            | Job::DropQueue { .. }
            | Job::DropEarlierBoots { .. } => self.bulk.begin(job),
        }
    }

    /// Appends what has finished since the last call. One plain load when nothing has.
    pub fn finished(&self, done: &mut Vec<Done>) {
        if !self.bell.answer() {
            return;
        }
        for finished in self.done.try_iter() {
            if let Done::MakeLog { file, result: Ok(()) } = &finished {
                self.ring.0.open(*file);
            }
            self.under_way.set(self.under_way.get().saturating_sub(1));
            done.push(finished);
        }
    }

    /// Ready when [`Driver::finished`] has something to tell; else the task is woken when it has.
    pub fn poll_finished(&self, context: &Context<'_>) -> Poll<()> {
        self.bell.poll_rung(context)
    }

    /// Jobs that were begun and not yet told of by [`Driver::finished`].
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.under_way.get()
    }

    /// Waits for everything that is under way, closes all files and ends the threads; the results that
    /// were not told yet.
    pub async fn stop(self) -> Vec<Done> {
        let mut done = Vec::new();
        self.finished(&mut done);
        while self.under_way.get() > 0 {
            poll_fn(|context| self.poll_finished(context)).await;
            self.finished(&mut done);
        }
        let Self { ring, urgent, reading, bulk, done: _, bell: _, under_way: _ } = self;
        ring.0.ended().await;
        drop(ring);
        urgent.join();
        reading.join();
        bulk.join();
        done
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("under_way", &self.under_way).finish_non_exhaustive()
    }
}

/// Ends the task of the ring when the driver is dropped, which then closes the files.
struct RingEnd(Rc<Ring>);

impl Drop for RingEnd {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[cfg(test)]
mod tests {
    use super::super::ids::LogFile;
    use super::super::{Files, RealFiles, paths};
    use super::*;
    use crate::{Options, start};

    async fn complete(driver: &Driver, job: Job) -> Done {
        let mut done = Vec::new();
        driver.begin(job);
        while done.is_empty() {
            poll_fn(|context| driver.poll_finished(context)).await;
            driver.finished(&mut done);
        }
        done.remove(0)
    }

    #[test]
    fn without_direct_writes_a_thread_commits() {
        let root = std::env::temp_dir().join(format!("ringmq-threaded-{}", std::process::id()));
        std::fs::create_dir(&root).unwrap();
        let (below, file) = (root.clone(), LogFile::first_of(1));
        let options = Options { shards: 1, ..Options::default() };
        let running = start(&options, move |shard: Shard<()>| {
            let root = below.clone();
            async move {
                let driver = Driver::start_with(&shard, 0, &root, false).unwrap();
                let make =
                    Job::MakeLog { file, recycle: None, header: vec![9; 4096], bytes: 40_960 };
                assert!(matches!(
                    complete(&driver, make).await,
                    Done::MakeLog { result: Ok(()), .. }
                ));
                for (offset, sync) in [(4096, false), (8192, true), (12_288, true)] {
                    let commit = Job::Commit { file, offset, bytes: vec![7; 4096], sync };
                    let done = complete(&driver, commit).await;
                    assert!(matches!(done, Done::Commit { result: Ok(()), .. }), "{done:?}");
                }
                for offset in [40_960, 4096] {
                    let commit = Job::Commit { file, offset, bytes: vec![8; 4096], sync: true };
                    let done = complete(&driver, commit).await;
                    assert!(matches!(done, Done::Commit { result: Err(_), .. }), "{done:?}");
                }
                assert!(driver.stop().await.is_empty());
            }
        });
        running.unwrap().join().unwrap();
        let content = RealFiles::new(&root).read(&paths::log(0, file)).unwrap();
        std::fs::remove_dir_all(&root).unwrap();
        let expected = [vec![9; 4096], vec![7; 12_288], vec![0; 24_576]].concat();
        assert!(content == expected, "nothing was written after the failure");
    }
}
