//! Carries out one job by file operations, step by step in the order that makes a power cut between
//! any two of them harmless. May import `files`, `ids`, `job`, `paths` and `reserve`.
//!
//! The thread of a shard and the simulated disk both use it, so what the simulation proves about the
//! order holds for the real disk.

use std::io;

use super::files::Files;
use super::ids::{LogFile, QueueUid, SegmentId};
use super::job::{DiskError, Done, Job, Mapped, Space};
use super::paths;
#[cfg(any(test, feature = "sim"))]
use super::planted;
use super::reserve::{make_reserve, release_reserve};

/// Does `job` for a shard and says how it went.
///
/// A file operation that fails is not tried again. A failed job removes what it left, as far as the disk
/// lets us, so that the same job can be given again.
pub fn run_job(job: Job, shard: u32, files: &mut dyn Files) -> Done {
    let mut steps = Steps { files };
    match job {
        Job::Commit { file, offset, bytes, sync } => {
            let result = steps.commit(&paths::log(shard, file), offset, &bytes, sync);
            Done::Commit { file, offset, bytes, sync, result }
        }
        Job::MakeLog { file, recycle, header, bytes } => {
            let old = recycle.map(|old| paths::log(shard, old));
            let new = NewLog { dir: paths::shard_dir(shard), path: paths::log(shard, file), bytes };
            Done::MakeLog { file, result: steps.make_log(&new, old.as_deref(), &header) }
        }
        Job::DropLog { file } => {
            Done::DropLog { file, result: steps.remove_if_there(&paths::log(shard, file)) }
        }
        Job::WriteSegment { segment, bytes, settled_bytes, durable } => {
            let result = if durable {
                steps.write_segment(segment, &bytes, settled_bytes)
            } else {
                steps.write_volatile(segment, &bytes)
            };
            Done::WriteSegment { segment, bytes, result }
        }
        Job::WriteSettled { segment, offset, bytes } => {
            let result = steps.commit(&paths::settled(segment), offset, &bytes, true);
            Done::WriteSettled { segment, result }
        }
        Job::DropSegment { segment } => {
            Done::DropSegment { segment, result: steps.drop_segment(segment) }
        }
        Job::DropQueue { queue } => Done::DropQueue { queue, result: steps.drop_queue(queue) },
        Job::Map { segment } => Done::Map { segment, result: steps.map(&paths::segment(segment)) },
        Job::WriteCheckpoint { file, bytes } => {
            Done::WriteCheckpoint { file, result: steps.write_checkpoint(shard, file, &bytes) }
        }
        Job::DropEarlierBoots { boot } => {
            Done::DropEarlierBoots { result: steps.drop_earlier_boots(boot) }
        }
        Job::Measure => {
            let measured = steps.measure();
            Done::Measure { result: named("measure the free space of", ".", measured) }
        }
        Job::ReleaseReserve => {
            let result = release_reserve(steps.files);
            Done::Reserve { held: result.is_err(), result }
        }
        Job::MakeReserve => {
            let result = make_reserve(steps.files);
            Done::Reserve { held: result.is_ok(), result }
        }
    }
}

/// A log file that is to be.
struct NewLog {
    dir: String,
    path: String,
    /// Its length.
    bytes: u64,
}

/// File operations whose errors say what was done to what.
struct Steps<'a> {
    files: &'a mut dyn Files,
}

impl Steps<'_> {
    fn commit(
        &mut self,
        path: &str,
        offset: u64,
        bytes: &[u8],
        sync: bool,
    ) -> Result<(), DiskError> {
        self.write(path, offset, bytes)?;
        if sync { self.sync(path) } else { Ok(()) }
    }

    fn make_log(
        &mut self,
        new: &NewLog,
        old: Option<&str>,
        header: &[u8],
    ) -> Result<(), DiskError> {
        match old {
            Some(old) => self.rename(old, &new.path)?,
            None => self.create(&new.dir, &new.path, new.bytes)?,
        }
        let made = self.write(&new.path, 0, header).and_then(|()| self.sync(&new.path));
        if made.is_err() {
            // So that the same file can be made again. Nothing that counts was ever in it.
            let _ = self.files.remove(&new.path);
        }
        made?;
        self.sync_dir(&new.dir)
    }

    /// The ballast last: should another shard give it up in between, it does not count as free.
    fn measure(&mut self) -> io::Result<Space> {
        let free_bytes = self.files.free_bytes()?;
        let reserve = self.files.list("")?.iter().any(|entry| entry.name == paths::RESERVE);
        Ok(Space { free_bytes, reserve })
    }

    fn write_segment(
        &mut self,
        segment: SegmentId,
        bytes: &[u8],
        settled_bytes: u64,
    ) -> Result<Mapped, DiskError> {
        let dir = paths::queue_dir(segment.queue);
        let path = paths::segment(segment);
        let (unfinished, settled) = (paths::unfinished(&path), paths::settled(segment));
        let written = self
            .write_new(&dir, &unfinished, bytes)
            .and_then(|()| self.create_anew(&dir, &settled, settled_bytes))
            .and_then(|()| self.sync(&settled))
            .and_then(|()| self.rename(&unfinished, &path));
        if written.is_err() {
            let _ = self.files.remove(&unfinished);
            let _ = self.files.remove(&settled);
        }
        written?;
        let synced = self.sync_dir(&dir);
        if synced.is_err() {
            // The next process would find it, forget the log for it, and lose it in a power cut.
            let _ = self.files.remove(&path);
        }
        synced?;
        self.map(&path)
    }

    /// What need not outlive the process keeps its unfinished name: should the process end before the
    /// removal, it goes with the next start.
    fn write_volatile(&mut self, segment: SegmentId, bytes: &[u8]) -> Result<Mapped, DiskError> {
        let dir = paths::queue_dir(segment.queue);
        let path = paths::unfinished(&paths::segment(segment));
        self.create_anew(&dir, &path, length(bytes))?;
        let mapped = self.write(&path, 0, bytes).and_then(|()| self.map(&path));
        let removed = self.remove_if_there(&path);
        let mapped = mapped?;
        removed?;
        Ok(mapped)
    }

    /// The segment goes first, and for good, before what says which of its entries are settled: the
    /// other way round a power cut between the two would bring settled messages back.
    fn drop_segment(&mut self, segment: SegmentId) -> Result<(), DiskError> {
        let dir = paths::queue_dir(segment.queue);
        self.remove_if_there(&paths::segment(segment))?;
        // Also when it was not there: an earlier attempt may have removed it and failed here.
        match self.files.sync_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            synced => named("sync directory", &dir, synced)?,
        }
        self.remove_if_there(&paths::settled(segment))
    }

    /// In no order that matters: nobody knows this queue any more, and its number never comes again.
    fn drop_queue(&mut self, queue: QueueUid) -> Result<(), DiskError> {
        let dir = paths::queue_dir(queue);
        for entry in named("list", &dir, self.files.list(&dir))? {
            self.remove_if_there(&format!("{dir}/{}", entry.name))?;
        }
        match self.files.remove_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => named("remove directory", &dir, removed),
        }
    }

    fn write_checkpoint(
        &mut self,
        shard: u32,
        file: LogFile,
        bytes: &[u8],
    ) -> Result<(), DiskError> {
        let dir = paths::shard_dir(shard);
        let path = paths::checkpoint(shard, file);
        let unfinished = paths::unfinished(&path);
        let written =
            self.write_new(&dir, &unfinished, bytes).and_then(|()| self.rename(&unfinished, &path));
        if written.is_err() {
            let _ = self.files.remove(&unfinished);
        }
        written?;
        let synced = self.sync_dir(&dir);
        if synced.is_err() {
            // As in `write_segment`.
            let _ = self.files.remove(&path);
        }
        synced?;
        for entry in named("list", &dir, self.files.list(&dir))? {
            let older = LogFile::from_name(&entry.name, "check.")
                .is_some_and(|other| other.boot() == file.boot() && other < file);
            if older {
                self.remove_if_there(&format!("{dir}/{}", entry.name))?;
            }
        }
        Ok(())
    }

    /// From the oldest to the newest, a checkpoint before the log files it goes with, each removal on
    /// the disk before the next. What a message was settled by stands behind the message, so whatever
    /// a power cut leaves has no message without the record that settled it.
    fn drop_earlier_boots(&mut self, boot: u32) -> Result<(), DiskError> {
        let mut found = Vec::new();
        for shard in named("list", paths::SHARDS, self.files.list(paths::SHARDS))? {
            if !shard.is_dir {
                continue;
            }
            let dir = format!("{}/{}", paths::SHARDS, shard.name);
            for entry in named("list", &dir, self.files.list(&dir))? {
                if let Some(age) = age(&entry.name).filter(|age| age.boot < u64::from(boot)) {
                    found.push((age, dir.clone(), entry.name));
                }
            }
        }
        found.sort_unstable();
        for (_, dir, name) in found {
            // Another shard may have been asked to do the same.
            if self.remove(&format!("{dir}/{name}"))? {
                self.sync_dir(&dir)?;
            }
        }
        Ok(())
    }

    /// A whole new file under an unfinished name, synced.
    fn write_new(&mut self, dir: &str, path: &str, bytes: &[u8]) -> Result<(), DiskError> {
        self.create_anew(dir, path, length(bytes))?;
        self.write(path, 0, bytes)?;
        self.sync(path)
    }

    /// Creates what only an earlier attempt at the same job can have left: that one goes.
    fn create_anew(&mut self, dir: &str, path: &str, bytes: u64) -> Result<(), DiskError> {
        match self.create(dir, path, bytes) {
            Err(error) if error.cause.kind() == io::ErrorKind::AlreadyExists => {
                self.remove_if_there(path)?;
                self.create(dir, path, bytes)
            }
            created => created,
        }
    }

    /// Creates a file, and its directory if that is missing. Directories that are there are durable:
    /// they were synced when they were made, and all of them again when the data directory was opened.
    fn create(&mut self, dir: &str, path: &str, bytes: u64) -> Result<(), DiskError> {
        let mut created = self.files.create(path, bytes);
        if created.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            self.make_dir(dir)?;
            created = self.files.create(path, bytes);
        }
        named("create", path, created)
    }

    /// A directory and those above it, all durable; or not there, so that the next attempt makes it.
    fn make_dir(&mut self, dir: &str) -> Result<(), DiskError> {
        named("make directory", dir, self.files.make_dir(dir))?;
        let synced = self.sync_above(dir);
        if synced.is_err() {
            let _ = self.files.remove_dir(dir);
        }
        synced
    }

    fn sync_above(&mut self, dir: &str) -> Result<(), DiskError> {
        let mut below = dir;
        while let Some((above, _)) = below.rsplit_once('/') {
            self.sync_dir(above)?;
            below = above;
        }
        self.sync_dir("")
    }

    fn write(&mut self, path: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        named("write", path, self.files.write(path, offset, bytes))
    }

    fn sync(&mut self, path: &str) -> Result<(), DiskError> {
        named("sync", path, self.files.sync(path))
    }

    fn sync_dir(&mut self, path: &str) -> Result<(), DiskError> {
        #[cfg(any(test, feature = "sim"))]
        if planted::is_planted(planted::Bug::SkipDirSync) {
            return Ok(());
        }
        let shown = if path.is_empty() { "." } else { path };
        named("sync directory", shown, self.files.sync_dir(path))
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        named("rename", from, self.files.rename(from, to))
    }

    fn map(&mut self, path: &str) -> Result<Mapped, DiskError> {
        named("map", path, self.files.map(path))
    }

    /// Whether it was there.
    fn remove(&mut self, path: &str) -> Result<bool, DiskError> {
        match self.files.remove(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(DiskError::new("remove", path, error)),
        }
    }

    fn remove_if_there(&mut self, path: &str) -> Result<(), DiskError> {
        self.remove(path).map(|_was_there| ())
    }
}

/// How old a log file or checkpoint is; sorts in the order of removal.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Age {
    boot: u64,
    /// Checkpoints of a boot go before its log files.
    is_log: bool,
    file: LogFile,
}

fn age(name: &str) -> Option<Age> {
    let log = LogFile::from_name(name, "log.").map(|file| (true, file));
    let (is_log, file) = log.or_else(|| Some((false, LogFile::from_name(name, "check.")?)))?;
    Some(Age { boot: file.boot(), is_log, file })
}

fn named<T>(what: &'static str, path: &str, result: io::Result<T>) -> Result<T, DiskError> {
    result.map_err(|cause| DiskError::new(what, path, cause))
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
