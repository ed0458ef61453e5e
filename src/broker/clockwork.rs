//! What happens by itself: queues whose head or whose own time is over, delayed messages that are
//! due. One store of deadlines per shard; the loop asks when to come back.

#[cfg(test)]
use ringmq_shards::log::planted::{Bug, is_planted};

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

use ringmq_shards::log::LogFile;

use super::Broker;
use super::mail::MoreKeys;
use super::pending::Report;
use super::storage::delayed::{Lasting, Logged};
use super::storage::entry::PARKED;
use super::storage::waits::Put;
use super::subscriber::session::SessionId;
use super::subscriber::wills::KeptWill;
use crate::command::Now;
use crate::ids::{ExchangeId, QueueId};
use crate::message::Message;

/// Messages that are published in one turn because their time has come: after a start all that
/// came due meanwhile are.
const DUE_PER_TURN: usize = 4_096;

/// For so long after the process has stood still nobody is too silent, milliseconds: what came
/// meanwhile is read first, and what a machine that stood still has missed is sent again.
const UNHEARD_MS: u64 = 2_000;

/// A deadline's owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alarm {
    Queue(QueueId),
    Delayed,
    Storage,
    Session(SessionId),
    Retained,
    CatchUp,
}

/// Deadlines of messages that do not wait any more, kept until they come or there are more of them
/// than of others.
const STALE_MAX: usize = 1_024;

/// A message that waits for its time, kept by the shard that owns its exchange's group; a will by
/// that of its session.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Monotonic milliseconds, as in the log.
    pub(super) due_ms: u64,
    pub(super) exchange: ExchangeId,
    pub(super) keys: MoreKeys,
    pub(super) message: Message,
    /// Where the log has it, if it outlives the process.
    pub(super) logged: Option<Logged>,
    /// It is one; while its client is connected it is due at [`PARKED`].
    pub(super) will: Option<Box<KeptWill>>,
}

/// The delayed messages of a shard, all in memory.
#[derive(Debug, Default)]
pub(super) struct Delayed {
    /// By number, until they are stored where they go.
    pub(super) waiting: HashMap<u64, Waiting, ahash::RandomState>,
    /// When they are due, and their numbers: those due at the same time leave in the order they
    /// came.
    times: BinaryHeap<Reverse<(u64, u64)>>,
    /// The number of the last.
    pub(super) number: u64,
    /// The earliest deadline a timer stands for: one is enough, however many wait.
    timer_ms: Option<u64>,
    /// The numbers of those in each file of the log, also of some that are gone.
    pub(super) files: BTreeMap<LogFile, Vec<u64>>,
    /// Octets that those in the log take there.
    pub(super) logged_bytes: u64,
}

impl Delayed {
    /// How many times are kept.
    #[cfg(test)]
    pub(super) fn deadlines(&self) -> usize {
        self.times.len()
    }

    /// Without it.
    fn remove(&mut self, number: u64) -> Option<Waiting> {
        let gone = self.waiting.remove(&number)?;
        let logged = gone.logged.map_or(0, |logged| logged.bytes);
        self.logged_bytes = self.logged_bytes.saturating_sub(logged);
        Some(gone)
    }
}

impl Broker {
    /// The process did not run for a while, stopped or on a machine that was.
    pub const fn has_resumed(&mut self, now: Now) {
        self.resumed_ms = Some(now.mono_ms);
    }

    /// Whether what peers have sent may not have come yet: their silence means nothing (abuse row 117).
    pub fn has_stood_still(&self, now: Now) -> bool {
        self.resumed_ms.is_some_and(|at| now.mono_ms < at.saturating_add(UNHEARD_MS))
    }

    /// Keeps a message until it is due: any delay that fits 64 bits of milliseconds. Tells when it
    /// is as safe as it will be.
    pub(super) fn delay(
        &mut self,
        mut waiting: Waiting,
        lasting: Option<Lasting>,
        now: Now,
    ) -> Put {
        let mut put = Put::DONE;
        if let Some(lasting) = lasting {
            put = self.log_delayed(&mut waiting, lasting);
        }
        if put.accepted {
            self.keep_waiting(waiting, now);
        }
        put
    }

    /// Puts a message in the table.
    pub(super) fn keep_waiting(&mut self, waiting: Waiting, now: Now) {
        self.delayed.number += 1;
        let number = self.delayed.number;
        self.memory.moved(0, waiting.message.memory_bytes() as u64);
        if let Some(logged) = waiting.logged {
            self.delayed.logged_bytes += logged.bytes;
            self.delayed.files.entry(logged.file).or_default().push(number);
        }
        if let Some(will) = &waiting.will {
            self.wills.insert(number, will);
        }
        self.delayed.waiting.insert(number, waiting);
        self.await_due(number, now);
    }

    /// Something in the table has got its time.
    pub(super) fn await_due(&mut self, number: u64, now: Now) {
        let Some(waiting) = self.delayed.waiting.get(&number) else { return };
        let due_ms = waiting.due_ms;
        if due_ms < PARKED || waiting.will.is_none() {
            self.delayed.times.push(Reverse((due_ms, number)));
            self.arm_delayed(due_ms, now);
        }
    }

    /// What was to be published is not. Its deadline is left behind, but not for ever: clients may
    /// come and go often before any of theirs is reached.
    pub(super) fn withdraw(&mut self, number: u64) {
        self.delayed_gone(number);
        let Delayed { times, waiting, .. } = &mut self.delayed;
        if times.len() > STALE_MAX.saturating_add(waiting.len().saturating_mul(2)) {
            times.retain(|Reverse((_, number))| waiting.contains_key(number));
        }
    }

    fn arm_delayed(&mut self, due_ms: u64, now: Now) {
        let deadline = due_ms.max(now.mono_ms);
        if self.delayed.timer_ms.is_none_or(|set| deadline < set) {
            self.delayed.timer_ms = Some(deadline);
            self.timers.insert(deadline, Alarm::Delayed);
        }
    }

    /// The messages of an exchange go with it. The log is not told: a start knows them by the
    /// exchange that is gone, and if a crash brings that back its messages come back, too.
    pub(super) fn forget_delayed(&mut self, exchange: ExchangeId) {
        let waiting = self.delayed.waiting.iter();
        let gone: Vec<u64> =
            waiting.filter(|(_, w)| w.exchange == exchange).map(|(number, _)| *number).collect();
        if gone.is_empty() {
            return;
        }
        for number in gone {
            self.drop_waiting(number);
        }
        let Delayed { times, waiting, .. } = &mut self.delayed;
        times.retain(|Reverse((_, number))| waiting.contains_key(number));
    }

    fn drop_waiting(&mut self, number: u64) -> Option<Waiting> {
        let gone = self.delayed.remove(number)?;
        if let Some(will) = &gone.will {
            self.wills.remove(number, will);
        }
        self.memory.moved(gone.message.memory_bytes() as u64, 0);
        Some(gone)
    }

    /// A message that was due is stored where it went.
    pub(super) fn delayed_gone(&mut self, number: u64) {
        if let Some(logged) = self.drop_waiting(number).and_then(|gone| gone.logged) {
            self.settle_delayed(logged);
        }
    }

    fn publish_due(&mut self, now: Now) {
        // A timer that an earlier one replaced has nothing to do.
        if self.delayed.timer_ms.is_some_and(|set| set > now.mono_ms) {
            return;
        }
        self.delayed.timer_ms = None;
        for _ in 0..DUE_PER_TURN {
            let Some(Reverse((due_ms, number))) = self.delayed.times.peek().copied() else {
                return;
            };
            if due_ms > now.mono_ms {
                break;
            }
            self.delayed.times.pop();
            self.publish_waiting(number, now);
        }
        // The wall clock may have been set back: look again when the next should be due.
        if let Some(Reverse((due_ms, _))) = self.delayed.times.peek() {
            let due_ms = *due_ms;
            self.arm_delayed(due_ms, now);
        }
    }

    /// One that the log has stays in the table until it is stored elsewhere: until then a crash
    /// must find it, and a file of the log that is left must not go without it.
    pub(super) fn publish_waiting(&mut self, number: u64, now: Now) {
        let Some(due) = self.delayed.waiting.get_mut(&number) else { return };
        let will = due.will.as_mut().map(|will| {
            self.wills.remove(number, will);
            (will.vhost, will.retain, std::mem::replace(&mut will.published, true))
        });
        let (exchange, message, keys) = (due.exchange, due.message.clone(), due.keys.clone());
        let is_logged = due.logged.is_some();
        #[cfg(test)]
        let is_logged = is_logged && !is_planted(Bug::SettleWillFirst);
        if will.is_some_and(|(_, _, published)| published) {
            // Its session has ended before its time came.
            return;
        }
        let wanted = if is_logged { self.await_stored(Report::Delayed(number)) } else { None };
        #[cfg(test)]
        if is_planted(Bug::SettleWillFirst) {
            self.delayed_gone(number);
        }
        match will {
            Some((vhost, retain, _)) => {
                self.publish_will((vhost, exchange), &message, retain, wanted, now);
            }
            None => self.publish_internal(exchange, &message, keys.as_deref(), wanted, now),
        }
        match wanted {
            // What is stored on this shard stands before the settlement in its log.
            Some(wanted) => self.stored(wanted, true, true),
            None => self.delayed_gone(number),
        }
    }

    /// Sets the timer of a queue to its next deadline, if that is earlier than the one set.
    pub(super) fn arm(&mut self, id: QueueId, _now: Now) {
        let Some(entry) = self.queues.get_mut(id) else { return };
        // What waits for somebody who is away is looked at when they are back, or all is full; unless
        // others wait for it to expire.
        let goes_nowhere = self.queue_defaults.session_dead_letter.is_none();
        if entry.session.is_some() && entry.queue.consumers() == 0 && goes_nowhere {
            return;
        }
        let Some(deadline) = entry.queue.next_deadline() else { return };
        if entry.timer_ms.is_none_or(|set| deadline < set) {
            entry.timer_ms = Some(deadline);
            self.timers.insert(deadline, Alarm::Queue(id));
        }
    }

    /// When to call [`Broker::on_time`] next, monotonic milliseconds.
    pub fn next_deadline(&mut self) -> Option<u64> {
        self.timers.next()
    }

    /// Time has passed.
    pub fn on_time(&mut self, now: Now) {
        let mut expired = std::mem::take(&mut self.expired);
        self.timers.expired(now.mono_ms, &mut expired);
        for alarm in expired.drain(..) {
            match alarm {
                Alarm::Delayed => self.publish_due(now),
                Alarm::Storage => self.storage_time(),
                Alarm::Retained => self.retained_time(now),
                Alarm::CatchUp => self.give_up_round(now),
                Alarm::Queue(id) => self.queue_time(id, now),
                Alarm::Session(id) => self.session_time(id, now),
            }
        }
        self.expired = expired;
    }

    fn queue_time(&mut self, id: QueueId, now: Now) {
        let Some(entry) = self.queues.get_mut(id) else { return };
        // A timer that a later, earlier one replaced: that one did the work.
        if entry.timer_ms.is_some_and(|set| set > now.mono_ms) {
            return;
        }
        entry.timer_ms = None;
        let before = entry.queue.memory_bytes();
        entry.queue.on_time(now, &mut self.effects_now);
        self.memory.moved(before, entry.queue.memory_bytes());
        self.queue_effects(id);
        self.mark_dirty(id);
        self.arm(id, now);
    }
}
