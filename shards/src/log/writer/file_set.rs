//! Which files a shard's log has: those with records, one made ahead of time, spare ones for reuse.
//! No I/O. May import `ids`, `job` and `file_header`.
//!
//! Files are left on disk as a run without holes: what is removed is always the oldest, what is used
//! again too. So a crash never leaves a gap that could be taken for a lost file.

use std::collections::VecDeque;

use crate::log::file_header::{BLOCK_BYTES, FileHeader};
use crate::log::ids::{LogFile, Lsn};
use crate::log::job::{DiskError, Job};

/// Retired files that are kept for reuse: overwriting costs the file system no metadata.
pub const SPARES_MAX: usize = 2;

const BLOCK: u64 = BLOCK_BYTES as u64;

/// What all headers of a log have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity {
    pub(super) shard: u32,
    pub(super) dir_id: u64,
    pub(super) boot: u32,
}

/// What is known of a file with records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileInfo {
    /// Which.
    pub file: LogFile,
    /// Its octets.
    pub bytes: u64,
    /// Its first record.
    pub first: Lsn,
    /// Its last record up to now.
    pub last: Lsn,
}

/// How far the making of a file has got: wanted, asked for; then made, or the disk was full and it is
/// asked for again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Making {
    Wanted,
    Asked,
    Full,
    AskedAgain,
    Made,
}

#[derive(Debug)]
struct Slot {
    info: FileInfo,
    /// The spare file that it is made of.
    recycle: Option<LogFile>,
    making: Making,
    /// Octets of the header and of closed batches.
    used: u64,
    /// Its latest commit was not synced.
    is_unsynced: bool,
}

/// See the head of this file. One per log.
#[derive(Debug)]
pub(super) struct FileSet {
    identity: Identity,
    /// Octets of an ordinary file.
    file_bytes: u64,
    now_ms: u64,
    /// The number that the next new file gets.
    next: LogFile,
    /// Files with records, oldest first. New records go to the last.
    slots: VecDeque<Slot>,
    /// Ordinary, without records, younger than all of `slots`.
    ahead: Option<Slot>,
    /// Were made ahead, then a record came that they could not hold; still being made.
    passed_over: Vec<LogFile>,
    /// Ordinary, oldest first.
    spares: VecDeque<LogFile>,
    /// Have to be removed at the next opportunity.
    to_drop: Vec<LogFile>,
}

impl FileSet {
    pub(super) fn new(identity: Identity, file_bytes: u64) -> Self {
        let file_bytes = file_bytes.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX - BLOCK + 1);
        Self {
            identity,
            file_bytes: file_bytes.max(2 * BLOCK),
            now_ms: 0,
            next: LogFile::first_of(identity.boot),
            slots: VecDeque::new(),
            ahead: None,
            passed_over: Vec::new(),
            spares: VecDeque::new(),
            to_drop: Vec::new(),
        }
    }

    pub(super) fn set_now(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    /// Octets left behind the closed batches of the last file.
    pub(super) fn rest(&self) -> u64 {
        self.slots.back().map_or(0, |slot| slot.info.bytes.saturating_sub(slot.used))
    }

    /// The file that new records go to, or will.
    pub(super) fn last_file(&self) -> LogFile {
        let begun = self.slots.back().or(self.ahead.as_ref());
        begun.map_or(self.next, |slot| slot.info.file)
    }

    /// The latest commit to the last file was not synced.
    pub(super) fn is_unsynced(&self) -> bool {
        self.slots.back().is_some_and(|slot| slot.is_unsynced)
    }

    /// Begins the next file, one with room for `bytes`, with the record `first`.
    pub(super) fn advance(&mut self, bytes: u64, first: Lsn) {
        let needed = bytes.saturating_add(BLOCK);
        let mut ahead = self.ahead.take();
        if needed > self.file_bytes
            && let Some(slot) = ahead.take()
        {
            self.pass_over(&slot);
        }
        let mut slot = ahead.unwrap_or_else(|| self.new_slot(needed.max(self.file_bytes)));
        slot.info.first = first;
        self.slots.push_back(slot);
    }

    /// Takes room for a closed batch in the last file, and says where.
    pub(super) fn take(&mut self, bytes: u64) -> u64 {
        let Some(slot) = self.slots.back_mut() else { return BLOCK };
        let offset = slot.used;
        slot.used += bytes;
        debug_assert!(slot.used <= slot.info.bytes, "a batch beyond the end of its file");
        offset
    }

    /// A record was appended to the last file.
    pub(super) fn note(&mut self, lsn: Lsn) {
        if let Some(slot) = self.slots.back_mut() {
            slot.info.last = lsn;
        }
    }

    /// A commit to a file begins.
    pub(super) fn committing(&mut self, file: LogFile, sync: bool) {
        if let Some(slot) = self.slots.iter_mut().rev().find(|slot| slot.info.file == file) {
            slot.is_unsynced = !sync;
        }
    }

    pub(super) fn is_made(&self, file: LogFile) -> bool {
        let slot = self.slots.iter().rev().find(|slot| slot.info.file == file);
        slot.is_some_and(|slot| slot.making == Making::Made)
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.slots
            .iter()
            .chain(&self.ahead)
            .any(|slot| matches!(slot.making, Making::Full | Making::AskedAgain))
    }

    /// Asks for the files that are wanted, and for one ahead of time when the last is half full.
    /// `next`: the record that will be appended next.
    pub(super) fn ask(&mut self, next: Lsn, jobs: &mut Vec<Job>) {
        jobs.extend(self.to_drop.drain(..).map(|file| Job::DropLog { file }));
        let is_half_full = |slot: &Slot| slot.used.saturating_mul(2) >= slot.info.bytes;
        if self.ahead.is_none() && self.slots.back().is_some_and(is_half_full) {
            self.ahead = Some(self.new_slot(self.file_bytes));
        }
        if let Some(slot) = &mut self.ahead {
            slot.info.first = next;
        }
        self.send(Making::Wanted, Making::Asked, jobs);
    }

    /// Asks for the first file before there is a record.
    pub(super) fn prepare(&mut self, next: Lsn, jobs: &mut Vec<Job>) {
        if self.slots.is_empty() && self.ahead.is_none() {
            self.ahead = Some(self.new_slot(self.file_bytes));
        }
        self.ask(next, jobs);
    }

    /// Asks once more for files for which the disk was too full.
    pub(super) fn retry(&mut self, next: Lsn, jobs: &mut Vec<Job>) {
        if let Some(slot) = &mut self.ahead {
            slot.info.first = next;
        }
        self.send(Making::Full, Making::AskedAgain, jobs);
    }

    /// A file was made, or not.
    pub(super) fn made(
        &mut self,
        file: LogFile,
        result: Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        let making = match result {
            Ok(()) => Making::Made,
            Err(error) if error.is_full() => Making::Full,
            Err(error) => return Err(error),
        };
        if let Some(at) = self.passed_over.iter().position(|passed| *passed == file) {
            self.passed_over.swap_remove(at);
            if making == Making::Made {
                self.keep_spare(file);
            } else {
                self.to_drop.push(file);
            }
            return Ok(());
        }
        let slot = self.slots.iter_mut().chain(&mut self.ahead);
        if let Some(slot) = slot.into_iter().find(|slot| slot.info.file == file) {
            slot.making = making;
        }
        Ok(())
    }

    /// See [`super::Log::retire`].
    pub(super) fn retire(&mut self, file: LogFile, written: Lsn, jobs: &mut Vec<Job>) -> bool {
        let is_done = |slot: &Slot| slot.info.file == file && slot.info.last <= written;
        if self.slots.len() < 2 || !self.slots.front().is_some_and(is_done) {
            return false;
        }
        let Some(slot) = self.slots.pop_front() else { return false };
        if slot.info.bytes == self.file_bytes {
            self.keep_spare(file);
        } else {
            // Its spare elders would stand before a gap.
            self.to_drop.extend(self.spares.drain(..));
            self.to_drop.push(file);
        }
        jobs.extend(self.to_drop.drain(..).map(|file| Job::DropLog { file }));
        true
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = FileInfo> + '_ {
        self.slots.iter().map(|slot| slot.info)
    }

    pub(super) fn total_bytes(&self) -> u64 {
        let idle = self.spares.len() + self.passed_over.len();
        let idle = u64::try_from(idle).unwrap_or(u64::MAX).saturating_mul(self.file_bytes);
        let used = self.slots.iter().chain(&self.ahead).map(|slot| slot.info.bytes);
        used.fold(idle, u64::saturating_add)
    }

    fn new_slot(&mut self, bytes: u64) -> Slot {
        let file = self.next;
        self.next = file.next();
        let recycle = if bytes == self.file_bytes { self.spares.pop_front() } else { None };
        let info = FileInfo { file, bytes, first: Lsn::default(), last: Lsn::default() };
        Slot { info, recycle, making: Making::Wanted, used: BLOCK, is_unsynced: false }
    }

    /// A record is too long for the file that was made ahead; a later one gets it, since records and
    /// files have the same order.
    fn pass_over(&mut self, slot: &Slot) {
        match slot.making {
            Making::Made => self.keep_spare(slot.info.file),
            Making::Asked | Making::AskedAgain => self.passed_over.push(slot.info.file),
            Making::Wanted => {
                if let Some(spare) = slot.recycle {
                    self.spares.push_front(spare);
                }
            }
            // How far it got, and under which name, nobody knows.
            Making::Full => {
                self.to_drop.extend(slot.recycle);
                self.to_drop.push(slot.info.file);
            }
        }
    }

    fn keep_spare(&mut self, file: LogFile) {
        self.spares.push_back(file);
        if self.spares.len() > SPARES_MAX {
            self.to_drop.extend(self.spares.pop_front());
        }
    }

    /// Sends a job for each file in one state, and puts it in another.
    fn send(&mut self, from: Making, to: Making, jobs: &mut Vec<Job>) {
        let Identity { shard, dir_id, boot } = self.identity;
        let created_ms = self.now_ms;
        let slots = self.slots.iter_mut().chain(&mut self.ahead);
        for slot in slots.filter(|slot| slot.making == from) {
            slot.making = to;
            let FileInfo { file, bytes, first, last: _ } = slot.info;
            let header = FileHeader { shard, dir_id, file, first, boot, created_ms }.encode();
            jobs.push(Job::MakeLog { file, recycle: slot.recycle, header, bytes });
        }
    }
}
