//! What of this shard outlives the process: the shard's log, the stores of its queues, and what
//! waits for them. State only: [`Job`]s go out and [`Done`]s come back.
//!
//! # When is a message safe?
//!
//! A publish is a record of the log. Once per turn [`Broker::flush_storage`] hands what has
//! gathered to the disk if no commit is under way; the next batch fills meanwhile (group commit).
//! When the commit is done, whoever waited for it is told. Who waits for nothing (no confirms, a
//! transient message) is told at once and its record goes with the next commit or after
//! [`LAZY_MS`].
//!
//! # What happens when the log grows
//!
//! Above `log_bytes_max` its oldest file is left: each queue with something in it moves that into a
//! segment or writes it again, segments save which of their entries are settled, definitions go
//! into a checkpoint; when all that is durable, the file is used again. See `leave.rs`. Delayed
//! messages are written again and again, and the log may be longer by twice what they take: see
//! `delayed.rs`.
//!
//! May import the rest of the broker and of `ringmq_shards` the log.

#[cfg(test)]
mod by_hand;
pub(crate) mod delayed;
pub(crate) mod durable;
pub(crate) mod entry;
mod failure;
mod hot;
mod keep_house;
mod latest;
pub(crate) mod leave;
mod notes;
pub(crate) mod origin;
pub(crate) mod queues;
pub(crate) mod recovery;
mod restore;
pub(crate) mod shelf;
mod space;
mod spill;
mod stall;
mod unread;
pub(crate) mod waits;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

#[cfg(test)]
use ringmq_shards::log::planted::{Bug, is_planted};
use ringmq_shards::log::{DiskError, Done, Job, Log, LogSetup, Lsn, QueueUid};

use self::durable::{DurableStore, Keeps, StoreSpec};
use self::shelf::{Shelf, Sizes};
use self::waits::{Waiter, Waits};
use super::Broker;
use super::calls::Then;
use super::clockwork::Alarm;
use super::mail::{CallId, Mail, PlainAnswer};
use super::queue::store::Safe;
use crate::command::{Event, Now, Refusal};
use crate::durability::Durability;
use crate::ids::{ChannelRef, QueueId, ShardId};

/// Records that nobody waits for are written after this, milliseconds, or when there are many, and
/// those of queues that promise it are durable after it.
const LAZY_MS: u64 = 50;

/// Octets of such records that make a commit of their own.
const LAZY_BYTES: usize = 256 * 1024;

/// After so long without a commit the log notes how much of it is durable, milliseconds
/// (reliability.md 2.3, "residual hole").
const IDLE_MS: u64 = 100;

/// Octets waiting to be written above which publishers are held back.
const BEHIND_BYTES: usize = 8 << 20;

/// What a shard's storage is made with.
#[derive(Debug, Clone)]
pub struct StorageSetup {
    /// Number of the data directory.
    pub dir_id: u64,
    /// Number of this start of the process.
    pub boot: u32,
    /// Groups of the data directory.
    pub groups: u16,
    /// Sizes an operator chooses.
    pub sizes: Sizes,
    /// Free disk space below which publishing is refused, octets.
    pub free_disk_min: u64,
    /// Free disk space below which the log warns, octets.
    pub free_disk_warn: u64,
}

/// See the module. One per shard.
#[derive(Debug)]
pub(crate) struct Storage {
    shelf: Rc<RefCell<Shelf>>,
    boot: u32,
    /// Queues by their name on disk.
    queues: HashMap<QueueUid, QueueId, ahash::RandomState>,
    waits: Waits,
    /// Those that wait for settlements that are not in the log yet.
    settling: Vec<Waiter>,
    leaving: Option<leave::Leaving>,
    /// Segments that the disk does not give.
    unread: Vec<unread::Unread>,
    /// The first definition that no checkpoint has.
    new_definition: Option<Lsn>,
    last_definition: Lsn,
    /// The node stops.
    closing: bool,
    space: space::SpaceWatch,
    /// The disk has failed: nothing is stored any more.
    failed: Option<DiskError>,
    /// When what nobody waits for is durable at the latest, and when it is written.
    due_ms: Option<u64>,
    write_ms: Option<u64>,
    /// How long the commit under way takes.
    stall: stall::Stall,
    /// When the log was last busy, for the mark of an idle log.
    busy_ms: u64,
    marked: bool,
    timer_ms: Option<u64>,
    /// Something was finished since queues were asked to leave a file.
    progress: bool,
    /// Nothing of earlier boots is needed any more once this says so.
    adopted: bool,
    /// No file of an earlier boot is left. Before, no file of this boot may go: what it says of
    /// things that those say too would be forgotten first.
    alone: bool,
    /// Tests of definitions play the disk themselves.
    #[cfg(test)]
    by_hand: Option<by_hand::ByHand>,
}

impl Storage {
    /// Octets free on the disk, and those below which publishing is refused.
    pub(super) const fn free_and_least(&self) -> (u64, u64) {
        self.space.free_and_least()
    }

    pub(super) fn new(shard: ShardId, setup: &StorageSetup) -> Self {
        let log = Log::new(LogSetup {
            shard: u32::from(shard.0),
            dir_id: setup.dir_id,
            boot: setup.boot,
            file_bytes: setup.sizes.log_file_bytes,
            groups: u32::from(setup.groups),
        });
        Self {
            shelf: Rc::new(RefCell::new(Shelf::new(log, setup.boot, setup.sizes))),
            boot: setup.boot,
            queues: HashMap::default(),
            waits: Waits::default(),
            settling: Vec::new(),
            leaving: None,
            unread: Vec::new(),
            new_definition: None,
            last_definition: Lsn(0),
            closing: false,
            space: space::SpaceWatch::new(setup),
            failed: None,
            due_ms: None,
            write_ms: None,
            stall: stall::Stall::default(),
            busy_ms: 0,
            marked: true,
            timer_ms: None,
            progress: false,
            adopted: true,
            alone: true,
            #[cfg(test)]
            by_hand: None,
        }
    }

    /// Appends a definition (`broker::definitions` wrote it) for a group.
    pub(super) fn append_definition(&mut self, group: u16, definition: &[u8]) -> Lsn {
        let mut shelf = self.shelf.borrow_mut();
        let lsn = shelf.log.append(u32::from(group), entry::DEFINITION, 0, |out| {
            out.extend_from_slice(definition);
        });
        self.new_definition.get_or_insert(lsn);
        self.last_definition = lsn;
        #[cfg(test)]
        if let Some(by_hand) = &mut self.by_hand {
            by_hand.log(lsn, definition);
        }
        lsn
    }

    /// A store for a queue of this shard.
    pub(super) fn make_store(
        &self,
        uid: QueueUid,
        group: u16,
        keeps: Keeps,
        durability: Durability,
    ) -> DurableStore {
        let first = u64::from(self.boot) << ringmq_shards::log::ids::BOOT_SHIFT;
        #[cfg(test)]
        let first = if is_planted(Bug::ReusePositions) {
            1 << ringmq_shards::log::ids::BOOT_SHIFT
        } else {
            first
        };
        let spec = StoreSpec { uid, group, keeps, durability, first };
        DurableStore::new(self.shelf.clone(), spec)
    }

    /// Says which queue has the store.
    pub(super) fn attach(&mut self, uid: QueueUid, queue: QueueId) {
        self.queues.insert(uid, queue);
    }

    /// The queue is gone; its files go when that is durable.
    pub(super) fn detach(&mut self, uid: QueueUid, kept: bool) {
        self.queues.remove(&uid);
        // Of a queue that does not outlive the process nothing is left but mappings.
        if kept && self.failed.is_none() {
            let gone = self.shelf.borrow().log.last();
            self.waits.add(Safe::Synced(gone), Waiter::Files(uid));
        }
    }

    /// The last definition, if it is not durable yet.
    pub(super) fn undurable_definition(&self) -> Option<Lsn> {
        #[cfg(test)]
        if let Some(by_hand) = &self.by_hand {
            return by_hand.undurable();
        }
        let durable = self.shelf.borrow().log.durable();
        (self.last_definition > durable).then_some(self.last_definition)
    }

    /// Whether publishers are to wait for the disk.
    pub(super) fn is_behind(&self) -> bool {
        self.shelf.borrow().log.waiting_bytes() > BEHIND_BYTES
    }

    /// Whether the disk has too little space to take more.
    pub(super) const fn is_full(&self) -> bool {
        self.space.is_low()
    }
}

impl Broker {
    /// A call is not ended before this record is durable.
    pub(super) fn hold_until_durable(&mut self, call: CallId, lsn: Lsn) {
        self.expect(call);
        if let Some(storage) = &mut self.storage {
            storage.waits.add(Safe::Synced(lsn), Waiter::Call(call));
        }
    }

    /// Tells `waiter` when everything settled so far is durable.
    pub(super) fn wait_for_settlements(&mut self, waiter: Waiter) {
        match &mut self.storage {
            Some(storage) => storage.settling.push(waiter),
            None => self.serve(waiter, true),
        }
    }

    /// Answers when everything settled so far is durable.
    pub(super) fn answer_when_settled(&mut self, to: ChannelRef, answer: PlainAnswer) {
        if self.storage.is_none() {
            return self.answer(to, answer);
        }
        if let Some(call) = self.open_call(Then::Answer { to, answer }) {
            self.wait_for_settlements(Waiter::Call(call));
        }
    }

    /// Tells `waiter` when a record is as safe as was promised; false: it is already.
    pub(super) fn wait_for(&mut self, safe: Safe, waiter: Waiter) -> bool {
        let Some(storage) = &mut self.storage else { return false };
        // Whoever asks later than the disk has answered would wait for somebody else's record.
        let is_done = {
            let shelf = storage.shelf.borrow();
            match safe {
                Safe::Now => true,
                Safe::Synced(lsn) => lsn <= shelf.log.durable(),
                Safe::Written(lsn) => lsn <= shelf.log.written(),
            }
        };
        !is_done && storage.waits.add(safe, waiter)
    }

    /// Whether a publish can be stored at all (S-rows of amqp.md section 1: refused, not held back,
    /// while the disk is nearly full).
    pub(super) fn check_storage(&self) -> Result<(), Refusal> {
        match &self.storage {
            Some(storage) if storage.failed.is_some() => {
                Err(Refusal::Unavailable("the disk has failed".into()))
            }
            Some(storage) if storage.space.is_low() => Err(Refusal::NoSpace),
            Some(_) | None => Ok(()),
        }
    }

    pub(super) fn disk_is_full(&self) -> bool {
        self.storage.as_ref().is_some_and(|storage| storage.space.is_low())
    }

    pub(super) fn storage_is_behind(&self) -> bool {
        self.storage.as_ref().is_some_and(|storage| storage.is_behind())
    }

    fn serve(&mut self, waiter: Waiter, accepted: bool) {
        match waiter {
            Waiter::Publish(report) => {
                let event = Event::Stored { channel: report.channel, seq: report.seq, accepted };
                self.tell(report.connection, event);
            }
            Waiter::Pending(pending) => self.stored(pending, accepted, false),
            Waiter::Once { this, accepted: taken } => self.tell_use(this, accepted && taken),
            // A shard whose disk works would settle a dead message that this one has not stored, and
            // that is on its disk before the process ends: it hears nothing any more.
            Waiter::Remote { .. } if !accepted => {}
            Waiter::Remote { shard, pending, found } => {
                self.post.send(shard, Mail::Stored { pending, accepted, found });
            }
            Waiter::Call(call) => {
                // What could not be stored is not answered: the process ends.
                if accepted {
                    self.release(call, true);
                }
            }
            Waiter::Segment(segment) => {
                if accepted && let Some(storage) = &self.storage {
                    storage.shelf.borrow_mut().jobs.push(Job::DropSegment { segment });
                }
            }
            Waiter::Unread(segment) => {
                if accepted {
                    self.disk_works(segment);
                }
            }
            Waiter::Files(queue) => {
                if accepted && let Some(storage) = &self.storage {
                    storage.shelf.borrow_mut().jobs.push(Job::DropQueue { queue });
                }
            }
        }
    }

    /// Tells those whose records are safe now.
    fn serve_waits(&mut self) {
        while let Some(storage) = &mut self.storage {
            let (durable, written) = {
                let shelf = storage.shelf.borrow();
                (shelf.log.durable(), shelf.log.written())
            };
            let Some(waiter) = storage.waits.next(durable, written) else { break };
            self.serve(waiter, true);
        }
    }

    /// The disk has done something.
    pub fn on_disk(&mut self, done: Done, now: Now) {
        let Some(storage) = &mut self.storage else { return };
        storage.progress = true;
        match done {
            Done::Commit { .. } | Done::MakeLog { .. } | Done::DropLog { .. } => {
                let made = matches!(done, Done::MakeLog { .. });
                let mut shelf = storage.shelf.borrow_mut();
                let result = shelf.log.finished(done);
                if made {
                    shelf.jobs.push(Job::Measure);
                }
                drop(shelf);
                storage.busy_ms = now.mono_ms;
                storage.stall.end();
                match result {
                    Ok(()) => self.serve_waits(),
                    Err(error) => self.fail_storage(error),
                }
            }
            Done::WriteSegment { segment, bytes, result } => {
                let mut shelf = storage.shelf.borrow_mut();
                shelf.spare = Some(bytes);
                shelf.jobs.push(Job::Measure);
                drop(shelf);
                self.segment_written(segment, result);
            }
            // It says nothing of the segment, and what comes after it is not to pass it by.
            Done::Map { result: Err(_), .. } if storage.failed.is_some() => {}
            Done::Map { segment, result: Err(error) } => self.segment_unread(segment, error),
            Done::Map { segment, result: Ok(mapped) } => {
                self.segment_given(segment);
                self.segment_mapped(segment, Ok(mapped), now);
            }
            Done::WriteSettled { segment, result } => match result {
                Ok(()) => {
                    self.with_store(segment.queue, |store| store.settled_saved(segment));
                }
                Err(error) => self.fail_storage(error),
            },
            Done::WriteCheckpoint { result, .. } => self.checkpoint_written(result),
            Done::DropEarlierBoots { result } => match result {
                Ok(()) => {
                    for shard in self.post.others() {
                        self.post.send(shard, Mail::EarlierGone);
                    }
                    self.earlier_gone();
                }
                // Later files in the same directories would be lost with it.
                Err(error) if error.is_failed_sync() => self.fail_storage(error),
                Err(error) => {
                    tracing::error!(%error, "files of earlier boots stay, and the log grows");
                }
            },
            // Its settled messages would come again once the log has forgotten them, and a directory
            // whose sync has failed takes no later segment durably.
            Done::DropSegment { result: Err(error), .. } => self.fail_storage(error),
            Done::DropSegment { result: Ok(()), .. } => {
                let mut shelf = storage.shelf.borrow_mut();
                shelf.dropping = shelf.dropping.saturating_sub(1);
            }
            Done::DropQueue { result, .. } => {
                if let Err(error) = result {
                    tracing::warn!(%error, "a file that nobody needs stays");
                }
            }
            Done::Measure { result } => self.space_measured(result),
            Done::Reserve { held, result } => {
                storage.space.reserve(held, &result);
            }
        }
    }

    /// Calls with the store of a queue; its memory is counted anew.
    fn with_store<T>(
        &mut self,
        uid: QueueUid,
        act: impl FnOnce(&mut DurableStore) -> T,
    ) -> Option<T> {
        let id = self.storage.as_ref()?.queues.get(&uid).copied()?;
        let entry = self.queues.get_mut(id)?;
        let before = entry.queue.memory_bytes();
        let result = act(entry.queue.store_mut().as_durable()?);
        let after = entry.queue.memory_bytes();
        self.memory.moved(before, after);
        Some(result)
    }

    /// Once per turn, after all else: what has gathered goes to the disk if it is time.
    pub fn flush_storage(&mut self, now: Now) {
        if self.storage.as_ref().is_none_or(|storage| storage.failed.is_some()) {
            self.refuse_waits();
            return;
        }
        self.watch_commit(now);
        self.keep_house(now);
        self.write_out(now);
        // Who waits for settlements may find them durable already.
        self.serve_waits();
    }

    fn write_out(&mut self, now: Now) {
        let Some(storage) = &mut self.storage else { return };
        let next_reading_ms = storage.next_reading_ms();
        let mut shelf = storage.shelf.borrow_mut();
        let shelf = &mut *shelf;
        shelf.log_settled();
        let log = &mut shelf.log;
        for waiter in storage.settling.drain(..) {
            storage.waits.add(Safe::Synced(log.last()), waiter);
        }
        if log.has_waiting() || log.needs_sync() {
            storage.marked = false;
        }
        for segment in shelf.emptied.drain(..) {
            // A log without a file may be waiting for the very space that this gives back.
            if log.last() > log.durable() && !log.is_stalled() {
                storage.waits.add(Safe::Synced(log.last()), Waiter::Segment(segment));
            } else {
                shelf.jobs.push(Job::DropSegment { segment });
            }
        }
        let leaves = storage.leaving.as_ref().is_some_and(leave::Leaving::wants_sync);
        if storage.waits.for_sync() || leaves || storage.closing {
            log.flush(true, &mut shelf.jobs);
        } else if storage.waits.for_write() || shelf.hurry {
            log.flush(false, &mut shelf.jobs);
            shelf.hurry = log.has_waiting();
        }
        if let Some(within) = shelf.sync_within_ms.take() {
            let due = now.mono_ms.saturating_add(within);
            storage.due_ms = Some(storage.due_ms.map_or(due, |set| set.min(due)));
        }
        if storage.due_ms.is_some_and(|due| now.mono_ms >= due) {
            if log.last() > log.durable() {
                log.flush(true, &mut shelf.jobs);
            }
            // The commit under way may be one without a sync: looked at again when it is done.
            storage.due_ms = (log.last() > log.durable()).then_some(now.mono_ms);
        }
        let gathered = log.waiting_bytes();
        if gathered > 0 {
            let due = *storage.write_ms.get_or_insert(now.mono_ms + LAZY_MS);
            if now.mono_ms >= due || gathered >= LAZY_BYTES {
                log.flush(false, &mut shelf.jobs);
                storage.write_ms = None;
            }
        } else {
            storage.write_ms = None;
        }
        let idle = !log.has_waiting() && !log.is_busy();
        if idle && !storage.marked && now.mono_ms >= storage.busy_ms + IDLE_MS {
            if log.needs_sync() {
                // What nobody was promised anything about: a moment without work costs nobody.
                log.flush(true, &mut shelf.jobs);
            } else {
                storage.marked = true;
                log.idle_mark(&mut shelf.jobs);
            }
        }
        let due = storage.due_ms.filter(|due| *due > now.mono_ms);
        let earliest = [due, storage.write_ms, next_reading_ms];
        let mut deadline = earliest.into_iter().flatten().min();
        if !storage.marked {
            let mark = storage.busy_ms.max(now.mono_ms) + IDLE_MS;
            deadline = Some(deadline.map_or(mark, |due| due.min(mark)));
        }
        if let Some(next) = storage.space.deadline() {
            deadline = Some(deadline.map_or(next, |due| due.min(next)));
        }
        if let Some(deadline) = deadline
            && storage.timer_ms.is_none_or(|set| deadline < set || set <= now.mono_ms)
        {
            storage.timer_ms = Some(deadline);
            self.timers.insert(deadline, Alarm::Storage);
        }
    }

    /// A timer of the storage has come: the flush at the end of this turn does the work.
    pub(super) fn storage_time(&mut self) {
        if let Some(storage) = &mut self.storage {
            storage.timer_ms = None;
        }
    }

    /// The node stops in order: what was out is noted exactly, everything is synced.
    pub fn close_storage(&mut self) {
        let Some(storage) = &mut self.storage else { return };
        if storage.failed.is_some() || std::mem::replace(&mut storage.closing, true) {
            return;
        }
        let ids: Vec<QueueId> = storage.queues.values().copied().collect();
        for id in ids {
            if let Some(entry) = self.queues.get_mut(id)
                && let Some(store) = entry.queue.store_mut().as_durable()
            {
                store.log_exact_mark();
            }
        }
    }

    /// Everything is on the disk, after [`Broker::close_storage`].
    pub fn is_stored(&self) -> bool {
        let Some(storage) = &self.storage else { return true };
        let shelf = storage.shelf.borrow();
        let log = &shelf.log;
        storage.failed.is_none() && !log.has_waiting() && !log.is_busy() && !log.needs_sync()
    }

    /// What the disk is to do, in order.
    pub fn collect_jobs(&mut self, mut begin: impl FnMut(Job)) {
        if let Some(storage) = &mut self.storage {
            storage.shelf.borrow_mut().jobs.drain(..).for_each(&mut begin);
        }
    }
}
