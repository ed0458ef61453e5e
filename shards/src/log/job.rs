//! What storage asks of the disk, and what it is told. May import `ids`.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::ids::{LogFile, QueueUid, SegmentId};

/// One piece of work for the disk. Jobs of one shard are begun in the order they are given. Commits
/// and other jobs run beside each other; a commit to a file comes only after the file was made.
#[derive(Debug)]
pub enum Job {
    /// Write a batch to a log file, and sync it if asked. At most one is under way. An unsynced one
    /// is done when the system has taken it; a synced one makes everything before it in the file
    /// durable too.
    Commit {
        /// Which.
        file: LogFile,
        /// Where: a multiple of the block size.
        offset: u64,
        /// What: a multiple of the block size.
        bytes: Vec<u8>,
        /// Whether it has to be durable when it is done.
        sync: bool,
    },
    /// Make a log file: `recycle` an old one if given (by renaming; what stands in it stays), else
    /// create it; write the header block, sync the file and its directory.
    MakeLog {
        /// Which.
        file: LogFile,
        /// The retired file to use again.
        recycle: Option<LogFile>,
        /// The header block.
        header: Vec<u8>,
        /// Length of the file in octets, header included.
        bytes: u64,
    },
    /// Remove a retired log file.
    DropLog {
        /// Which.
        file: LogFile,
    },
    /// Write a segment: under another name first, synced, with its file of settled entries
    /// (preallocated, `settled_bytes` long), then renamed and its directory synced; then mapped.
    WriteSegment {
        /// Which.
        segment: SegmentId,
        /// Its whole content.
        bytes: Vec<u8>,
        /// Length of the file of settled entries.
        settled_bytes: u64,
        /// `false`: it need not outlive the process: written, mapped, and removed at once.
        durable: bool,
    },
    /// Replace a part of a segment's file of settled entries, and sync it.
    WriteSettled {
        /// Which.
        segment: SegmentId,
        /// Where.
        offset: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// Remove a segment, then its file of settled entries.
    DropSegment {
        /// Which.
        segment: SegmentId,
    },
    /// Remove all segments of a queue and its directory.
    DropQueue {
        /// Which.
        queue: QueueUid,
    },
    /// Map a segment for reading and make it resident.
    Map {
        /// Which.
        segment: SegmentId,
    },
    /// Write a checkpoint (under another name, synced, renamed, directory synced), then remove older
    /// ones of the same boot.
    WriteCheckpoint {
        /// Named after the first log file that is needed besides it.
        file: LogFile,
        /// Its whole content.
        bytes: Vec<u8>,
    },
    /// Remove all log files and checkpoints of boots before this one, of all shards.
    DropEarlierBoots {
        /// The present boot.
        boot: u32,
    },
    /// Measure the free space.
    Measure,
    /// Give the ballast file back to the file system.
    ReleaseReserve,
    /// Make the ballast file anew.
    MakeReserve,
}

/// What became of a [`Job`].
#[derive(Debug)]
pub enum Done {
    /// See [`Job::Commit`]. The buffer comes back for reuse.
    Commit {
        /// Which.
        file: LogFile,
        /// Where.
        offset: u64,
        /// The buffer.
        bytes: Vec<u8>,
        /// Whether it was synced.
        sync: bool,
        /// How it went.
        result: Result<(), DiskError>,
    },
    /// See [`Job::MakeLog`].
    MakeLog {
        /// Which.
        file: LogFile,
        /// How it went.
        result: Result<(), DiskError>,
    },
    /// See [`Job::DropLog`].
    DropLog {
        /// Which.
        file: LogFile,
        /// How it went.
        result: Result<(), DiskError>,
    },
    /// See [`Job::WriteSegment`]. The buffer comes back for reuse.
    WriteSegment {
        /// Which.
        segment: SegmentId,
        /// The buffer.
        bytes: Vec<u8>,
        /// How it went.
        result: Result<Mapped, DiskError>,
    },
    /// See [`Job::WriteSettled`].
    WriteSettled {
        /// Which.
        segment: SegmentId,
        /// How it went.
        result: Result<(), DiskError>,
    },
    /// See [`Job::DropSegment`].
    DropSegment {
        /// Which.
        segment: SegmentId,
        /// How it went.
        result: Result<(), DiskError>,
    },
    /// See [`Job::DropQueue`].
    DropQueue {
        /// Which.
        queue: QueueUid,
        /// How it went.
        result: Result<(), DiskError>,
    },
    /// See [`Job::Map`].
    Map {
        /// Which.
        segment: SegmentId,
        /// How it went.
        result: Result<Mapped, DiskError>,
    },
    /// See [`Job::WriteCheckpoint`].
    WriteCheckpoint {
        /// Which.
        file: LogFile,
        /// How it went.
        result: Result<(), DiskError>,
    },
    /// See [`Job::DropEarlierBoots`].
    DropEarlierBoots {
        /// How it went.
        result: Result<(), DiskError>,
    },
    /// See [`Job::Measure`].
    Measure {
        /// How it went.
        result: Result<Space, DiskError>,
    },
    /// See [`Job::ReleaseReserve`] and [`Job::MakeReserve`].
    Reserve {
        /// Whether the ballast is there now.
        held: bool,
        /// How it went.
        result: Result<(), DiskError>,
    },
}

/// Free space of the file system under the data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Octets free for us.
    pub free_bytes: u64,
    /// The ballast file is there: whoever gave it up, what it held is not for all.
    pub reserve: bool,
}

/// What the system said, and about what.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{what} {path}: {cause}")]
pub struct DiskError {
    /// Doing what.
    pub what: &'static str,
    /// With which file, below the data directory.
    pub path: String,
    /// Why not.
    pub cause: Arc<io::Error>,
}

impl DiskError {
    /// An error of one step.
    #[must_use]
    pub fn new(what: &'static str, path: &str, cause: io::Error) -> Self {
        Self { what, path: path.to_owned(), cause: Arc::new(cause) }
    }

    /// A sync failed: what it should have made durable may be lost although later ones go well
    /// (reliability.md 2.1, F7 and F9).
    #[must_use]
    pub fn is_failed_sync(&self) -> bool {
        self.what.starts_with("sync")
    }

    /// The disk, a quota or the number of files is full: it may become better. Not if a sync says so:
    /// that is final.
    #[must_use]
    pub fn is_full(&self) -> bool {
        !self.is_failed_sync()
            && matches!(
                self.cause.kind(),
                io::ErrorKind::StorageFull
                    | io::ErrorKind::QuotaExceeded
                    | io::ErrorKind::FileTooLarge
            )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_no_excuse_for_a_sync_that_failed() {
        let full = |what| DiskError::new(what, "x", io::ErrorKind::StorageFull.into());
        assert!(full("create").is_full() && full("write").is_full());
        assert!(!full("sync").is_full() && !full("sync directory").is_full());
    }
}

/// A file's content for reading: a mapping, or in a simulation a copy.
#[derive(Clone)]
pub struct Mapped(pub Arc<dyn AsRef<[u8]> + Send + Sync>);

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}

impl fmt::Debug for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapped").field("bytes", &self.as_ref().len()).finish()
    }
}
