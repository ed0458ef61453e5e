//! One message on request: at once, or when the queue's store has read it.
//!
//! Whoever asks waits in the queue's entry, in order; waiting, it counts in its connection's
//! footprint, so that it is found when its channel or connection goes.

use std::collections::VecDeque;

use super::Broker;
use super::deliver::SETTLED;
use super::mail::Mail;
use super::owner::QueueEntry;
use super::queue::{Fetched, Taken};
use crate::auth::Access;
use crate::command::{Answer, Delivery, Entity, Event, Now, Refusal};
use crate::ids::{ChannelId, ChannelRef, ConnectionRef, QueueId, QueueRef, VhostId};

/// Fetches that may wait at one queue. A channel has one at a time, so it takes many connections
/// to get here; the next one is refused.
const GETS_WAITING_MAX: usize = 65_536;

/// Somebody who asked for one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Get {
    at: ChannelRef,
    no_settle: bool,
}

/// The fetches that wait at one queue, oldest first.
#[derive(Debug, Default)]
pub(super) struct Gets(VecDeque<Get>);

impl Gets {
    /// Nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those of a connection, or of one of its channels, are not answered any more. Tells how many.
    pub(super) fn forget(&mut self, connection: ConnectionRef, channel: Option<ChannelId>) -> u32 {
        let before = self.0.len();
        self.0.retain(|get| {
            get.at.connection != connection || channel.is_some_and(|gone| get.at.channel != gone)
        });
        u32::try_from(before - self.0.len()).unwrap_or(u32::MAX)
    }
}

impl Broker {
    /// One message on request.
    pub(super) fn request_get(
        &mut self,
        at: ChannelRef,
        vhost: VhostId,
        name: &str,
        no_settle: bool,
        now: Now,
    ) {
        let id = match self.ordinary(at, vhost, name, Access::Read) {
            Ok(id) => id,
            Err(refusal) => {
                self.answer(at, Answer::Refused(refusal));
                return;
            }
        };
        self.deliver_first(id, now);
        let Some(entry) = self.queues.get_mut(id) else { return };
        if entry.queue.is_single_active() {
            self.answer(at, Answer::Refused(Refusal::SingleActiveConsumer(name.into())));
            return;
        }
        let get = Get { at, no_settle };
        // Nobody is answered before those who wait already.
        if !entry.gets.is_empty() || !self.fetch(id, get, now) {
            self.wait(id, get);
        }
        self.mark_dirty(id);
        self.arm(id, now);
    }

    fn wait(&mut self, id: QueueId, get: Get) {
        let Some(entry) = self.queues.get_mut(id) else { return };
        if entry.gets.0.len() >= GETS_WAITING_MAX {
            let refusal = Refusal::LimitReached("too many wait for a message of this queue".into());
            self.answer(get.at, Answer::Refused(refusal));
            return;
        }
        entry.gets.0.push_back(get);
        self.leave_footprint(get.at.connection, id);
    }

    /// Answers those who wait, as far as there is an answer.
    pub(super) fn answer_gets(&mut self, id: QueueId, now: Now) {
        // Ends: every round takes one out.
        while let Some(get) = self.queues.get(id).and_then(|entry| entry.gets.0.front().copied()) {
            if !self.fetch(id, get, now) {
                break;
            }
            if let Some(entry) = self.queues.get_mut(id) {
                entry.gets.0.pop_front();
            }
            self.lift_footprint(get.at.connection, id, 1);
        }
    }

    /// The queue is deleted: whoever waits there is told so, but for a connection that ends.
    pub(super) fn refuse_gets(
        &mut self,
        id: QueueId,
        entry: &QueueEntry,
        leaving: Option<ConnectionRef>,
    ) {
        for get in &entry.gets.0 {
            self.lift_footprint(get.at.connection, id, 1);
            if Some(get.at.connection) != leaving {
                let gone = Refusal::NotFound(Entity::Queue, entry.queue.name().into());
                self.answer(get.at, Answer::Refused(gone));
            }
        }
    }

    /// Takes a message out and sends it. False: it has to be read first.
    fn fetch(&mut self, id: QueueId, get: Get, now: Now) -> bool {
        let Some(entry) = self.queues.get_mut(id) else { return true };
        let before = entry.queue.memory_bytes();
        let fetched = entry.queue.take(now, get.no_settle, &mut self.effects_now);
        self.memory.moved(before, entry.queue.memory_bytes());
        self.queue_effects(id);
        match fetched {
            Fetched::Message(taken) => self.send_taken(id, get, taken),
            Fetched::Empty => self.answer(get.at, Answer::Empty),
            Fetched::Later => return false,
        }
        true
    }

    fn send_taken(&mut self, id: QueueId, Get { at, no_settle }: Get, taken: Taken) {
        let delivery = if no_settle { SETTLED } else { taken.id };
        if no_settle {
            self.counters.fetched_settled += 1;
        } else {
            self.counters.fetched += 1;
        }
        self.counters.redelivered += u64::from(taken.redelivered);
        let left = taken.left;
        if at.connection.shard == self.shard {
            let delivery = Box::new(Delivery {
                channel: at.channel,
                consumer: None,
                queue: QueueRef { shard: self.shard, queue: id },
                id: delivery,
                redelivered: taken.redelivered,
                delivery_count: taken.delivery_count,
                position: 0,
                received: false,
                message: taken.message,
            });
            let answer = Answer::Got { delivery, left };
            self.tell(at.connection.connection, Event::Answer { channel: at.channel, answer });
            return;
        }
        self.post.send_message(at.connection.shard, &taken.message, |parcel| Mail::Deliver {
            connection: at.connection.connection,
            channel: at.channel,
            consumer: None,
            queue: id,
            id: delivery,
            redelivered: taken.redelivered,
            delivery_count: taken.delivery_count,
            left: Some(left),
            parcel,
        });
    }
}
