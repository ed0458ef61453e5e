//! The log of one shard as its writer sees it: records go into batches, batches into files. A state
//! machine without I/O or clock: it hands out jobs and is told how they went. May import `ids`, `job`,
//! `record`, `file_header` and its own `file_set`.
//!
//! # Where a record goes
//!
//! A record is appended to the open batch, and the open batch belongs to a known file from its first
//! record on. When a record does not fit into the rest of that file, the open batch is closed, and
//! the record is the first of a new batch in the next file; when it does not fit into
//! [`BATCH_BYTES_MAX`], the batch is closed too and the next one follows it in the same file. Closed
//! batches wait in a queue; [`Log::flush`] gives one of them to the disk at a time. So the file of
//! every record is known when [`Log::append`] returns, whatever becomes of the disk.
//!
//! # What is durable
//!
//! A synced commit makes everything before it in its own file durable. So that it means everything
//! before it in the log, the last batch of each file is synced whether anybody asked or not; if that
//! batch is out already, a mark of our own is written behind it and synced.

mod file_set;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::mem;

use self::file_set::{FileSet, Identity};
use super::file_header::BLOCK_BYTES;
use super::ids::{BOOT_SHIFT, LogFile, Lsn};
use super::job::{DiskError, Done, Job};
#[cfg(any(test, feature = "sim"))]
use super::planted;
use super::record::{self, Head, KIND_MARK, Key};

pub use self::file_set::{FileInfo, SPARES_MAX};

/// A batch is closed before it gets longer than this, unless it is a single record: what is one write
/// for the disk, and one wait for whoever is in it. Arbitrary.
pub const BATCH_BYTES_MAX: usize = 1 << 20;

/// Buffers kept for reuse: one fills while one is written.
const BUFFERS_MAX: usize = 2;
/// A buffer that one huge record has made longer than this is not kept.
const BUFFER_BYTES_MAX: usize = 8 << 20;
/// Who leads the writing of a group; there is one node only.
const EPOCH: u32 = 0;

/// What a log has to know at first.
#[derive(Debug, Clone, Copy)]
pub struct LogSetup {
    /// Whose log it is.
    pub shard: u32,
    /// Which data directory.
    pub dir_id: u64,
    /// The boot number, never used before.
    pub boot: u32,
    /// Octets of a log file, header included; made a multiple of the block size, and two at least.
    pub file_bytes: u64,
    /// Groups there are: `0..groups`.
    pub groups: u32,
}

/// Closed, waiting for the disk.
#[derive(Debug)]
struct Batch {
    file: LogFile,
    offset: u64,
    bytes: Vec<u8>,
    last: Lsn,
    /// It has to be synced, since it is the last of its file.
    is_last_of_file: bool,
}

/// Given to the disk.
#[derive(Debug)]
struct UnderWay {
    file: LogFile,
    offset: u64,
    last: Lsn,
    sync: bool,
}

/// The log of one shard. One per shard.
#[derive(Debug)]
pub struct Log {
    boot: u32,
    key: Key,
    files: FileSet,
    /// The last `gseq` of each group.
    groups: Vec<u64>,
    /// The open batch: whole records.
    open: Vec<u8>,
    closed: VecDeque<Batch>,
    under_way: Option<UnderWay>,
    current: LogFile,
    last: Lsn,
    /// The last that is no mark.
    last_content: Lsn,
    written: Lsn,
    durable: Lsn,
    /// What the last record claims to be durable.
    claimed: Lsn,
    buffers: Vec<Vec<u8>>,
    is_dead: bool,
}

impl Log {
    /// A log with nothing on disk yet.
    #[must_use]
    pub fn new(setup: LogSetup) -> Self {
        let before = Lsn(u64::from(setup.boot) << BOOT_SHIFT);
        let groups = usize::try_from(setup.groups).unwrap_or(usize::MAX);
        let identity = Identity { shard: setup.shard, dir_id: setup.dir_id, boot: setup.boot };
        Self {
            boot: setup.boot,
            key: Key::of(setup.dir_id, setup.shard),
            files: FileSet::new(identity, setup.file_bytes),
            groups: vec![before.0; groups],
            open: Vec::new(),
            closed: VecDeque::new(),
            under_way: None,
            current: LogFile::first_of(setup.boot),
            last: before,
            last_content: before,
            written: before,
            durable: before,
            claimed: before,
            buffers: Vec::new(),
            is_dead: false,
        }
    }

    /// Appends a record with what `fill` adds to the buffer as its payload, and gives its number. It
    /// is in [`Log::file_of_open_batch`]. A dead log takes it for nothing, and gives a number that is
    /// never durable.
    ///
    /// # Panics
    /// If there is no such group, or the payload is longer than a record can be: our own mistake.
    pub fn append(
        &mut self,
        group: u32,
        kind: u16,
        flags: u16,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Lsn {
        // The numbers of a boot are at an end: the next process gets new ones.
        self.is_dead |= self.last.is_last_of_boot();
        if self.is_dead {
            return Lsn(u64::MAX);
        }
        debug_assert!(kind != KIND_MARK, "kind {KIND_MARK} is the log's own");
        let start = record::begin(&mut self.open);
        fill(&mut self.open);
        let start = self.place(start);
        let counter = usize::try_from(group).ok().and_then(|group| self.groups.get_mut(group));
        assert!(counter.is_some(), "a record of a group that there is");
        let gseq = counter.map_or(0, |last| {
            *last += 1;
            *last
        });
        self.finish_record(start, Number { group, gseq, kind, flags });
        self.last_content = self.last;
        self.last
    }

    /// What its records are made with; the checkpoints of its shard have the same.
    #[must_use]
    pub fn key(&self) -> Key {
        self.key
    }

    /// Octets in the open batch.
    #[must_use]
    pub fn batch_bytes(&self) -> usize {
        self.open.len()
    }

    /// Octets that were not given to the disk yet: the open batch and closed ones.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.closed.iter().map(|batch| batch.bytes.len()).sum::<usize>() + self.open.len()
    }

    /// Gives the next batch to the disk if none is under way and its file has been made; asks for
    /// files in time. `sync`: it has to be durable when it is done, with everything before it, also
    /// if nothing is new. To be called again when something has finished.
    pub fn flush(&mut self, sync: bool, jobs: &mut Vec<Job>) {
        if self.is_dead {
            return;
        }
        if self.under_way.is_none() {
            self.commit_next(sync, jobs);
        }
        self.files.ask(self.last.next(), jobs);
    }

    /// Asks for the first file before there is anything to be written.
    pub fn prepare(&mut self, jobs: &mut Vec<Job>) {
        if !self.is_dead {
            self.files.prepare(self.last.next(), jobs);
        }
    }

    /// Takes note of how a job went, and its buffer. Jobs that are not the log's are ignored.
    ///
    /// # Errors
    /// If the log is dead from now on: nothing is retried, since a write or sync that failed once
    /// says nothing about the disk when it succeeds the next time.
    pub fn finished(&mut self, done: Done) -> Result<(), DiskError> {
        match done {
            Done::Commit { file, offset, bytes, sync: _, result } => {
                self.keep_buffer(bytes);
                self.committed(file, offset, result)
            }
            Done::MakeLog { file, result } => {
                let result = self.files.made(file, result);
                self.is_dead |= result.is_err();
                result
            }
            // What stays while later files go brings back messages that those had settled.
            Done::DropLog { result, .. } => {
                self.is_dead |= result.is_err();
                result
            }
            Done::WriteSegment { .. }
            | Done::WriteSettled { .. }
            | Done::DropSegment { .. }
            | Done::DropQueue { .. }
            | Done::Map { .. }
            | Done::WriteCheckpoint { .. }
            | Done::DropEarlierBoots { .. }
            | Done::Measure { .. }
            | Done::Reserve { .. } => Ok(()),
        }
    }

    /// Number of the last record that was appended.
    #[must_use]
    pub fn last(&self) -> Lsn {
        self.last
    }

    /// Everything up to here has been taken by the system.
    #[must_use]
    pub fn written(&self) -> Lsn {
        self.written
    }

    /// Everything up to here is durable.
    #[must_use]
    pub fn durable(&self) -> Lsn {
        self.durable
    }

    /// Something has been written, but not synced.
    #[must_use]
    pub fn needs_sync(&self) -> bool {
        self.written > self.durable
    }

    /// A commit is under way.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.under_way.is_some()
    }

    /// Something was appended and not given to the disk yet.
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        !self.open.is_empty() || !self.closed.is_empty()
    }

    /// It failed, or its numbers are at an end: nothing is written any more.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.is_dead
    }

    /// The next file could not be made, since the disk is full, and has not been made since.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.files.is_stalled()
    }

    /// Tries once more to make the files for which the disk was too full.
    pub fn retry_make(&mut self, jobs: &mut Vec<Job>) {
        if !self.is_dead {
            self.files.retry(self.last.next(), jobs);
        }
    }

    /// Appends a record that says nothing, and gives its number: once that is durable, the disk has
    /// taken a write and a sync that were begun after this call. A dead log gives a number that is
    /// never durable.
    pub fn mark(&mut self) -> Lsn {
        if !self.is_dead {
            self.append_mark();
        }
        if self.is_dead { Lsn(u64::MAX) } else { self.last }
    }

    /// Writes down what is durable, if no record does: otherwise damage to the last synced batch
    /// would look as if the batch had never been finished. For moments of idleness.
    pub fn idle_mark(&mut self, jobs: &mut Vec<Job>) {
        let is_idle = !self.is_dead && !self.is_busy() && !self.has_waiting();
        // A mark needs no mark of its own, or there would be no end to it.
        if is_idle && self.durable.min(self.last_content) > self.claimed {
            self.append_mark();
            // Synced, since a mark that a power cut takes away has told nobody anything.
            self.flush(true, jobs);
        }
    }

    /// The file that the latest commit went to.
    #[must_use]
    pub fn current(&self) -> LogFile {
        self.current
    }

    /// The file that the last appended record is in. Exact after [`Log::append`]; the next record may
    /// turn out not to fit any more.
    #[must_use]
    pub fn file_of_open_batch(&self) -> LogFile {
        self.files.last_file()
    }

    /// All files with records, oldest first, also those whose records still wait.
    pub fn files(&self) -> impl Iterator<Item = FileInfo> + '_ {
        self.files.iter()
    }

    /// The oldest file is not needed any more: it is used again later or removed. `false`, and
    /// nothing happens, if it is not the oldest, or is still written to.
    pub fn retire(&mut self, file: LogFile, jobs: &mut Vec<Job>) -> bool {
        !self.is_dead && self.files.retire(file, self.written, jobs)
    }

    /// Octets of all files on disk or about to be there.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.files.total_bytes()
    }

    /// Milliseconds since 1970, for the headers of files that are made from now on.
    pub fn set_now(&mut self, now_ms: u64) {
        self.files.set_now(now_ms);
    }

    /// Finds the place of the record that begins at `start` of the open batch and is not finished:
    /// there, or as the first of a new batch. Says where it begins now.
    fn place(&mut self, start: usize) -> usize {
        let payload_bytes = self.open.len().saturating_sub(start + record::HEAD_BYTES);
        let bytes = record::record_bytes(payload_bytes);
        let is_batch_full = start > 0 && start + bytes > BATCH_BYTES_MAX;
        if !is_batch_full && self.files.rest() >= blocks(start + bytes) {
            return start;
        }
        let mut moved = self.buffers.pop().unwrap_or_default();
        if start == 0 {
            mem::swap(&mut moved, &mut self.open);
        } else {
            moved.extend_from_slice(self.open.get(start..).unwrap_or_default());
            self.open.truncate(start);
            self.close();
        }
        if self.files.rest() < blocks(bytes) {
            self.leave_file();
            self.files.advance(blocks(bytes), self.last.next());
        }
        let unused = mem::replace(&mut self.open, moved);
        self.keep_buffer(unused);
        0
    }

    /// Sees to it that the last batch of the file is synced, before another file is begun.
    fn leave_file(&mut self) {
        let file = self.files.last_file();
        let is_out = self.closed.back().is_none_or(|batch| batch.file != file);
        if is_out && self.files.is_unsynced() {
            // There is a block left for it: a batch that fills its file is always synced.
            self.append_mark();
            self.close();
        }
        if let Some(batch) = self.closed.back_mut().filter(|batch| batch.file == file) {
            batch.is_last_of_file = true;
        }
    }

    /// Closes the open batch and puts it behind the others.
    fn close(&mut self) {
        let mut bytes = mem::replace(&mut self.open, self.buffers.pop().unwrap_or_default());
        bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
        let offset = self.files.take(blocks(bytes.len()));
        self.closed.push_back(Batch {
            file: self.files.last_file(),
            offset,
            bytes,
            last: self.last,
            is_last_of_file: self.files.rest() == 0,
        });
    }

    fn append_mark(&mut self) {
        if self.last.is_last_of_boot() {
            self.is_dead = true;
            return;
        }
        let start = record::begin(&mut self.open);
        let start =
            if self.files.rest() >= blocks(self.open.len()) { start } else { self.place(start) };
        self.finish_record(start, Number { group: 0, gseq: 0, kind: KIND_MARK, flags: 0 });
    }

    /// Gives the record that begins at `start` its number.
    fn finish_record(&mut self, start: usize, number: Number) {
        let Number { group, gseq, kind, flags } = number;
        let lsn = self.last.next();
        let durable = self.durable;
        let boot = self.boot;
        let head = Head { lsn, durable, boot, group, gseq, epoch: EPOCH, kind, flags };
        record::finish(&mut self.open, start, &head, self.key);
        self.files.note(lsn);
        self.last = lsn;
        self.claimed = durable;
    }

    fn commit_next(&mut self, sync: bool, jobs: &mut Vec<Job>) {
        if !self.has_waiting() {
            if !(sync && self.needs_sync()) {
                return;
            }
            self.append_mark();
        }
        // While its file is being made a batch goes on filling.
        let file = self.closed.front().map_or_else(|| self.files.last_file(), |batch| batch.file);
        if !self.files.is_made(file) {
            return;
        }
        if self.closed.is_empty() {
            self.close();
        }
        let Some(batch) = self.closed.pop_front() else { return };
        let Batch { file, offset, bytes, last, is_last_of_file } = batch;
        let sync = sync || is_last_of_file;
        self.files.committing(file, sync);
        self.current = file;
        self.under_way = Some(UnderWay { file, offset, last, sync });
        #[cfg(any(test, feature = "sim"))]
        let sync = sync && !planted::is_planted(planted::Bug::ConfirmBeforeSync);
        jobs.push(Job::Commit { file, offset, bytes, sync });
    }

    fn committed(
        &mut self,
        file: LogFile,
        offset: u64,
        result: Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        let is_ours = |way: &mut UnderWay| way.file == file && way.offset == offset;
        let Some(way) = self.under_way.take_if(is_ours) else {
            debug_assert!(false, "a commit has finished that was not under way");
            return Ok(());
        };
        #[cfg(any(test, feature = "sim"))]
        let result = result
            .or_else(|e| planted::is_planted(planted::Bug::SwallowError).then_some(()).ok_or(e));
        if let Err(error) = result {
            self.is_dead = true;
            return Err(error);
        }
        if self.is_dead {
            // Another job has failed meanwhile: nothing is promised any more.
            return Ok(());
        }
        self.written = way.last;
        if way.sync {
            self.durable = way.last;
        }
        Ok(())
    }

    fn keep_buffer(&mut self, mut buffer: Vec<u8>) {
        let is_useful = buffer.capacity() > 0 && buffer.capacity() <= BUFFER_BYTES_MAX;
        if is_useful && self.buffers.len() < BUFFERS_MAX {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }
}

/// What distinguishes a record besides its place.
#[derive(Clone, Copy)]
struct Number {
    group: u32,
    gseq: u64,
    kind: u16,
    flags: u16,
}

/// Octets of the blocks that so many octets take.
fn blocks(bytes: usize) -> u64 {
    u64::try_from(bytes.next_multiple_of(BLOCK_BYTES)).unwrap_or(u64::MAX)
}
