//! Leaving the oldest file of the log, so that the log keeps to its size.
//!
//! ```text
//!   too large ──> queues and delayed messages leave ──> the keeper is asked ──> checkpoint
//!             ──> all of it durable ──> the file is used again
//! ```
//!
//! What hung on an exchange goes when the keeper tells that the exchange is gone, and no record of
//! this shard says so. So before anything that this shard leaves out is forgotten on the disk too, what
//! the keeper told has to be durable there: else a crash would bring the exchange back without its
//! bindings and delayed messages.
//!
//! After a start all files of earlier boots are left in the same way, as if they were one.

#[cfg(test)]
use ringmq_shards::log::planted::{Bug, is_planted};
use ringmq_shards::log::{DiskError, Job, LogFile, Lsn, QueueUid};

use super::entry;
use super::origin::write_line;
use super::{Broker, Storage};
use crate::broker::calls::Then;
use crate::broker::mail::Mail;
use crate::broker::topology::KEEPER;

/// Queues asked in one turn.
const QUEUES_PER_TURN: usize = 256;

/// Definitions that are about to be written.
#[derive(Debug)]
pub(in crate::broker) struct NewCheckpoint {
    /// The first log file that is needed besides.
    file: LogFile,
    bytes: Vec<u8>,
}

/// One at a time.
#[derive(Debug)]
pub(super) struct Leaving {
    file: LogFile,
    /// Queues that still need it.
    queues: Vec<QueueUid>,
    /// Those of them that have to be asked again when the disk has done something.
    waiting: Vec<QueueUid>,
    /// Definitions in it stand nowhere else.
    has_definitions: bool,
    step: Step,
    /// Set when all have left: what they wrote has to be durable.
    last: Option<Lsn>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Queues and delayed messages leave.
    Emptying,
    /// The keeper is asked whether what it told is durable.
    Asking,
    /// The definitions are written.
    Writing,
    Done,
}

impl Leaving {
    /// Whether the log has to be synced for it.
    pub(super) const fn wants_sync(&self) -> bool {
        self.last.is_some()
    }
}

impl Storage {
    /// Everything that recovery found in the log moves into this boot's files. `queues`: those
    /// with something in it.
    pub(super) fn adopt(&mut self, queues: Vec<QueueUid>) {
        self.adopted = false;
        self.alone = false;
        self.shelf.borrow_mut().carry_left = u64::MAX;
        self.leaving = Some(Leaving {
            file: earlier_boots(self.boot),
            queues,
            waiting: Vec::new(),
            has_definitions: true,
            step: Step::Emptying,
            last: None,
        });
    }

    /// `delayed`: octets of messages that wait for their time. They are only ever written again,
    /// so the log may be longer by them: otherwise it would be written round and round for nothing.
    /// Twice as much, as a file may be half empty for the sake of a record that did not fit.
    fn start_leaving(&mut self, delayed: u64) {
        let mut shelf = self.shelf.borrow_mut();
        let alone = self.alone;
        #[cfg(test)]
        let alone = alone || is_planted(Bug::ForgetEarlierBoots);
        let max = shelf.sizes.log_bytes_max.saturating_add(delayed.saturating_mul(2));
        if !alone || shelf.log.total_bytes() <= max {
            return;
        }
        let current = shelf.log.file_of_open_batch();
        let Some(oldest) = shelf.log.files().next().filter(|oldest| oldest.file < current) else {
            return;
        };
        if shelf.log.written() < oldest.last {
            return;
        }
        let queues = shelf.touched.remove(&oldest.file).unwrap_or_default();
        shelf.carry_left = shelf.sizes.log_file_bytes / 8;
        let has_definitions = self.new_definition.is_some_and(|lsn| lsn <= oldest.last);
        self.leaving = Some(Leaving {
            file: oldest.file,
            queues,
            waiting: Vec::new(),
            has_definitions,
            step: Step::Emptying,
            last: None,
        });
    }
}

/// The number that all files of earlier boots are below or at.
pub(super) const fn earlier_boots(boot: u32) -> LogFile {
    LogFile(LogFile::first_of(boot).0.saturating_sub(1))
}

impl Broker {
    pub(super) fn leave_oldest(&mut self) {
        let Some(storage) = &mut self.storage else { return };
        if storage.leaving.is_none() {
            storage.start_leaving(self.delayed.logged_bytes);
        }
        let Some(mut leaving) = storage.leaving.take() else { return };
        if std::mem::take(&mut storage.progress) {
            leaving.queues.append(&mut leaving.waiting);
        }
        #[cfg(test)]
        if is_planted(Bug::RetireTooSoon) {
            leaving.queues.clear();
        }
        let part = leaving.queues.len().saturating_sub(QUEUES_PER_TURN);
        for uid in leaving.queues.split_off(part) {
            let file = leaving.file;
            // A queue that is gone needs nothing.
            if self.with_store(uid, |store| store.leave(file)) == Some(false) {
                leaving.waiting.push(uid);
            }
        }
        let no_delayed = self.leave_delayed(leaving.file);
        let none_left = leaving.queues.is_empty() && leaving.waiting.is_empty();
        if none_left && no_delayed && leaving.step == Step::Emptying {
            leaving.step = Step::Asking;
            let definitions = leaving.has_definitions.then(|| self.checkpoint_after(leaving.file));
            if let Some(storage) = &mut self.storage {
                storage.leaving = Some(leaving);
            }
            return self.ask_keeper(definitions);
        }
        let line = self.line_of_uses();
        let Some(storage) = &mut self.storage else { return };
        let mut shelf = storage.shelf.borrow_mut();
        // What is settled in a segment that is to go may be said in logs of earlier boots only, and
        // those another shard removes.
        let dropped = storage.adopted || shelf.dropping == 0;
        if dropped && leaving.step == Step::Done && leaving.last.is_none() {
            // What is noted of a message goes with the file when the message is settled. Should that
            // be forgotten and the message come back, so must what was noted: first the settlements.
            shelf.log_settled();
            if let Some(line) = &line {
                shelf.log.append(0, entry::LINE, 0, |out| write_line(line, out));
            }
            leaving.last = Some(shelf.log.last());
        }
        if leaving.last.is_none_or(|last| last > shelf.log.durable()) {
            drop(shelf);
            storage.leaving = Some(leaving);
            return;
        }
        if storage.adopted {
            let shelf = &mut *shelf;
            shelf.log.retire(leaving.file, &mut shelf.jobs);
            return;
        }
        drop(shelf);
        storage.adopted = true;
        let shard = self.shard;
        if shard == KEEPER {
            self.adopted_by(shard);
        } else {
            self.post.send(KEEPER, Mail::Adopted);
        }
    }

    /// Keeper: a shard needs nothing of earlier boots any more.
    pub(in crate::broker) fn adopted_by(&mut self, _shard: crate::ids::ShardId) {
        self.adopters += 1;
        if self.adopters < u32::from(self.placement.shards()) || self.keeps_earlier {
            return;
        }
        if let Some(storage) = &self.storage {
            let boot = storage.boot;
            storage.shelf.borrow_mut().jobs.push(Job::DropEarlierBoots { boot });
        }
    }

    /// No file of an earlier boot is left.
    pub(in crate::broker) fn earlier_gone(&mut self) {
        if let Some(storage) = &mut self.storage {
            storage.alone = true;
        }
    }

    /// Goes on when what the keeper has told this shard so far is durable.
    fn ask_keeper(&mut self, definitions: Option<NewCheckpoint>) {
        if let Some(call) = self.open_call(Then::Forgettable { definitions }) {
            self.hold_for_keeper(call);
            self.release(call, true);
        }
    }

    /// It is.
    pub(in crate::broker) fn forgettable(&mut self, definitions: Option<NewCheckpoint>) {
        let Some(storage) = &mut self.storage else { return };
        let Some(leaving) = &mut storage.leaving else { return };
        leaving.step = Step::Done;
        if let Some(NewCheckpoint { file, bytes }) = definitions {
            leaving.step = Step::Writing;
            storage.shelf.borrow_mut().jobs.push(Job::WriteCheckpoint { file, bytes });
        }
    }

    /// Everything durable that this shard owns, for when the records that made it are gone.
    fn checkpoint_after(&mut self, oldest: LogFile) -> NewCheckpoint {
        let boot = self.boot;
        let first = LogFile::first_of(boot);
        let file = if oldest < first { first } else { oldest.next() };
        let mut bytes = Vec::new();
        if let Some(storage) = &mut self.storage {
            storage.new_definition = None;
            let key = storage.shelf.borrow().log.key();
            let mut writer = super::recovery::CheckpointWriter::new(boot, key);
            self.definitions(&mut |group, definition| writer.add(group, definition));
            bytes = writer.finish();
        }
        NewCheckpoint { file, bytes }
    }

    pub(super) fn checkpoint_written(&mut self, result: Result<(), DiskError>) {
        match result {
            Ok(()) => {
                if let Some(leaving) = self.storage.as_mut().and_then(|s| s.leaving.as_mut()) {
                    leaving.step = Step::Done;
                }
            }
            Err(error) if error.is_full() => {
                // Again when there is space; until then the log grows.
                if let Some(leaving) = self.storage.as_mut().and_then(|s| s.leaving.as_mut()) {
                    leaving.step = Step::Emptying;
                }
            }
            Err(error) => self.fail_storage(error),
        }
    }
}
