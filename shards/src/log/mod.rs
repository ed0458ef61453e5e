//! Storage of one shard: an append-only log of opaque records, segments per queue for what outlives
//! the log, and the jobs by which both reach the disk. It knows no message, only numbers and octets.
//!
//! Everything that decides is a state machine without I/O: it hands out [`Job`]s and is told of
//! [`Done`]s. On a shard a driver carries jobs out (commits through the ring, everything slow on a
//! thread of its own); in a test a simulated disk does, with losses and errors by seed.
//!
//! # Layout of the data directory
//!
//! ```text
//! LOCK  BOOT  RESERVE                 one process; format, groups, boot number, clean mark; ballast
//! shards/NN/log.BBBBBBBB-NNNNNNNN     log file N of boot B of shard NN: a header block, then batches
//! shards/NN/check.BBBBBBBB-NNNNNNNN   checkpoint: what of the retired log files still counts
//! queues/UUUUUUUUUUUUUUUU/seg.N       segment N of the queue with that uid: written once, synced, then mapped
//! queues/UUUUUUUUUUUUUUUU/settled.N   which of its entries are done with
//! quarantine/                         copies of damaged files
//! ```
//!
//! # Numbers that are never used twice
//!
//! Each start of the process takes the next boot number, synced in BOOT before anything else is
//! written. Log sequence numbers, positions in queues, queue uids and file numbers all begin anew
//! at `boot << 44` (uids and files `boot << 32`), so whatever a crash made of the numbers before, none
//! comes again (reliability.md 2.4, step 6, without having to know the highest). A directory has
//! 1,048,575 boots, each of them numbers for 203 days of a million records a second.

mod boot;
mod data_dir;
mod dir_id;
mod dir_lock;
mod direct;
mod driver;
pub mod file_header;
mod file_system;
pub mod files;
pub mod ids;
mod inspect;
pub mod job;
mod mapped;
pub mod paths;
#[cfg(test)]
mod plain_disk;
#[cfg(any(test, feature = "sim"))]
pub mod planted;
mod real_files;
pub mod record;
pub mod recover;
mod reserve;
mod ring;
mod run_job;
mod run_job_tests;
mod segment;
mod segment_error;
pub mod segment_fuzzing;
mod segment_index;
mod segment_outline;
#[cfg(test)]
mod segment_tests;
mod segment_verify;
mod segment_writer;
mod settled;
mod warm;
mod worker;
pub mod writer;

#[cfg(any(test, feature = "sim"))]
pub use data_dir::begin_boot_on;
pub use data_dir::{DataDir, DataDirError};
pub use dir_id::dir_id_of_logs;
pub use driver::Driver;
pub use file_header::{BLOCK_BYTES, FileHeader, HeaderError};
pub use files::{Entry, Files};
pub use ids::{LogFile, Lsn, QueueUid, SegmentId};
pub use inspect::{BootFound, BootInfo, Inspected};
pub use job::{DiskError, Done, Job, Mapped, Space};
pub use mapped::map_file;
pub use real_files::RealFiles;
pub use record::{Head, Key, Record};
pub use recover::{Finding, Image, Known, Report, recover};
pub use reserve::{RESERVE_BYTES, make_reserve, release_reserve};
pub use run_job::run_job;
pub use segment::{Entry as SegmentEntry, Segment};
pub use segment_error::{SegmentError, SettledError};
pub use segment_index::{Run, SegmentSummary};
pub use segment_outline::{Outline, ReadAt};
pub use segment_verify::{VerifyReport, salvage, verify};
pub use segment_writer::{EntryHead, GONE_AFTER_RESTART, SegmentWriter};
pub use settled::Settled;
pub use warm::warm_segments;
pub use writer::{FileInfo, Log, LogSetup};
