//! What happens by itself: queues whose head or whose own time is over, delayed messages that are
//! due. One store of deadlines per shard; the loop asks when to come back.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Broker;
use super::mail::MoreKeys;
use crate::command::Now;
use crate::ids::{ExchangeId, QueueId};
use crate::message::Message;

/// A deadline's owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alarm {
    Queue(QueueId),
    Delayed,
    Storage,
}

/// A message that waits for its time, kept by the shard that owns its exchange's group.
#[derive(Debug)]
struct Waiting {
    due_wall_ms: u64,
    /// Messages due at the same time leave in the order they came.
    order: u64,
    exchange: ExchangeId,
    keys: MoreKeys,
    message: Message,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        (self.due_wall_ms, self.order) == (other.due_wall_ms, other.order)
    }
}
impl Eq for Waiting {}
impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due_wall_ms, self.order).cmp(&(other.due_wall_ms, other.order))
    }
}

/// The delayed messages of a shard.
#[derive(Debug, Default)]
pub(super) struct Delayed {
    heap: BinaryHeap<Reverse<Waiting>>,
    order: u64,
    /// The earliest deadline a timer stands for: one is enough, however many wait.
    timer_ms: Option<u64>,
}

impl Broker {
    /// Keeps a message until it is due: any delay that fits 64 bits of milliseconds.
    pub(super) fn delay(
        &mut self,
        exchange: ExchangeId,
        due_wall_ms: u64,
        keys: MoreKeys,
        message: Message,
        now: Now,
    ) {
        self.delayed.order += 1;
        let order = self.delayed.order;
        let bytes = message.memory_bytes() as u64;
        self.memory.moved(0, bytes);
        self.delayed.heap.push(Reverse(Waiting { due_wall_ms, order, exchange, keys, message }));
        self.arm_delayed(due_wall_ms, now);
    }

    fn arm_delayed(&mut self, due_wall_ms: u64, now: Now) {
        let wait = due_wall_ms.saturating_sub(now.wall_ms);
        let deadline = now.mono_ms.saturating_add(wait);
        if self.delayed.timer_ms.is_none_or(|set| deadline < set) {
            self.delayed.timer_ms = Some(deadline);
            self.timers.insert(deadline, Alarm::Delayed);
        }
    }

    /// The messages of an exchange go with it.
    pub(super) fn forget_delayed(&mut self, exchange: ExchangeId) {
        let memory = &mut self.memory;
        self.delayed.heap.retain(|Reverse(waiting)| {
            let stays = waiting.exchange != exchange;
            if !stays {
                memory.moved(waiting.message.memory_bytes() as u64, 0);
            }
            stays
        });
    }

    fn publish_due(&mut self, now: Now) {
        // A timer that an earlier one replaced has nothing to do.
        if self.delayed.timer_ms.is_some_and(|set| set > now.mono_ms) {
            return;
        }
        self.delayed.timer_ms = None;
        while let Some(Reverse(first)) = self.delayed.heap.peek() {
            if first.due_wall_ms > now.wall_ms {
                // The wall clock may have been set back: look again when it should be due.
                let due_wall_ms = first.due_wall_ms;
                self.arm_delayed(due_wall_ms, now);
                return;
            }
            let Some(Reverse(due)) = self.delayed.heap.pop() else { return };
            self.memory.moved(due.message.memory_bytes() as u64, 0);
            self.publish_internal(due.exchange, &due.message, due.keys.as_deref(), None, now);
        }
    }

    /// Sets the timer of a queue to its next deadline, if that is earlier than the one set.
    pub(super) fn arm(&mut self, id: QueueId, _now: Now) {
        let Some(entry) = self.queues.get_mut(id) else { return };
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
                Alarm::Queue(id) => self.queue_time(id, now),
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
