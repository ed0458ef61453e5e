//! A disk for tests that does at once what it is told, and keeps every file as octets. May import
//! the types of `log`.
#![cfg(test)]

use std::collections::BTreeMap;
use std::io;

use super::file_header::BLOCK_BYTES;
use super::{DiskError, Done, Job, Log, LogFile};

/// Files by number, as they would be read back.
#[derive(Debug, Default, Clone)]
pub(super) struct PlainDisk {
    pub(super) files: BTreeMap<LogFile, Vec<u8>>,
    /// Files that were made of others, and those that were removed.
    pub(super) recycled: Vec<(LogFile, LogFile)>,
    pub(super) dropped: Vec<LogFile>,
    /// Commits: file, offset, octets, synced.
    pub(super) commits: Vec<(LogFile, u64, usize, bool)>,
    /// No file can be made.
    pub(super) is_full: bool,
}

pub(super) fn error(kind: io::ErrorKind) -> DiskError {
    DiskError::new("write", "log", kind.into())
}

impl PlainDisk {
    #[expect(clippy::wildcard_enum_match_arm, reason = "anything else is a mistake")]
    pub(super) fn run(&mut self, job: Job) -> Done {
        match job {
            Job::Commit { file, offset, bytes, sync } => {
                assert_eq!(bytes.len() % BLOCK_BYTES, 0);
                let at = usize::try_from(offset).unwrap();
                assert!(at >= BLOCK_BYTES && at % BLOCK_BYTES == 0, "offset {at}");
                let place = &mut self.files.get_mut(&file).expect("a file that was made")[at..];
                place[..bytes.len()].copy_from_slice(&bytes);
                self.commits.push((file, offset, bytes.len(), sync));
                Done::Commit { file, offset, bytes, sync, result: Ok(()) }
            }
            Job::MakeLog { file, .. } if self.is_full => {
                Done::MakeLog { file, result: Err(error(io::ErrorKind::StorageFull)) }
            }
            Job::MakeLog { file, recycle, header, bytes } => {
                let bytes = usize::try_from(bytes).unwrap();
                let mut content = vec![0; bytes];
                if let Some(old) = recycle {
                    content = self.files.remove(&old).expect("a retired file");
                    assert_eq!(content.len(), bytes);
                    self.recycled.push((old, file));
                }
                content[..BLOCK_BYTES].copy_from_slice(&header);
                assert!(self.files.insert(file, content).is_none(), "{file} is there already");
                Done::MakeLog { file, result: Ok(()) }
            }
            Job::DropLog { file } => {
                assert!(self.files.remove(&file).is_some(), "{file} is not there");
                self.dropped.push(file);
                Done::DropLog { file, result: Ok(()) }
            }
            other => panic!("not a job of the log: {other:?}"),
        }
    }

    /// Carries out the jobs and tells the log.
    pub(super) fn run_all(&mut self, log: &mut Log, jobs: &mut Vec<Job>) {
        for job in jobs.drain(..) {
            log.finished(self.run(job)).expect("a disk without errors");
        }
    }

    /// Until nothing waits: at most so many turns that a hang is found out.
    pub(super) fn flush(&mut self, log: &mut Log, sync: bool) {
        let mut jobs = Vec::new();
        for _ in 0..10_000 {
            log.flush(sync, &mut jobs);
            if jobs.is_empty() {
                return;
            }
            self.run_all(log, &mut jobs);
        }
        panic!("flushing has no end");
    }
}
