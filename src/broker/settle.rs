//! How deliveries end: accepted, back to the queue, rejected; told to the owner of the queue.

use super::Broker;
use super::mail::{Mail, Reported};
use super::pending::Report;
use super::storage::waits::Waiter;
use crate::command::{Now, Outcome, Published};
use crate::ids::{ChannelId, ConnectionId, DeliveryId, PublishSeq, QueueId, QueueRef};

impl Broker {
    #[expect(
        clippy::too_many_arguments,
        reason = "one call per delivery; a struct would only rename them"
    )]
    /// Ends one delivery. `counted`: it went to a consumer (was not fetched by a get), so it counts
    /// against the channel's limit.
    pub fn settle(
        &mut self,
        connection: ConnectionId,
        channel: ChannelId,
        (queue, id): (QueueRef, DeliveryId),
        outcome: Outcome,
        counted: bool,
        now: Now,
    ) {
        if outcome == Outcome::Accept {
            self.counters.accepted += 1;
        }
        if counted {
            self.channel_settled(connection, channel);
        }
        self.settle_at(queue, id, outcome, now);
    }

    /// All settlements so far are to be durable before [`crate::command::Event::Stored`] says so
    /// for this number, as for a publish. [`Published::Stored`]: there is nothing to wait for.
    pub fn await_settlements(
        &mut self,
        connection: ConnectionId,
        channel: ChannelId,
        seq: PublishSeq,
    ) -> Published {
        if self.storage.is_none() {
            return Published::Stored;
        }
        let report = Report::Publisher(Reported { connection, channel, seq });
        let Some(pending) = self.await_stored(report) else { return Published::Stored };
        for shard in self.post.others() {
            self.post.send(shard, Mail::Settled { pending });
            self.one_more_place(pending);
        }
        self.wait_for_settlements(Waiter::Pending(pending));
        Published::Pending
    }

    /// To the owner, wherever it is.
    pub(super) fn settle_at(
        &mut self,
        queue: QueueRef,
        id: DeliveryId,
        outcome: Outcome,
        now: Now,
    ) {
        if id == super::deliver::SETTLED {
            return;
        }
        if queue.shard == self.shard {
            self.settle_here(queue.queue, id, outcome, now);
        } else {
            self.post.send(queue.shard, Mail::Settle { queue: queue.queue, id, outcome });
        }
    }

    /// On the owner. A queue that is gone, or a delivery that ended before, is nothing to complain
    /// about: both happen when a deletion and a settlement cross.
    pub(super) fn settle_here(
        &mut self,
        queue: QueueId,
        id: DeliveryId,
        outcome: Outcome,
        now: Now,
    ) {
        let Some(entry) = self.queues.get_mut(queue) else { return };
        let before = entry.queue.memory_bytes();
        entry.queue.settle(id, outcome, now, &mut self.effects_now);
        self.memory.moved(before, entry.queue.memory_bytes());
        if !entry.dirty {
            entry.dirty = true;
            self.dirty.push(queue);
        }
        if !self.effects_now.is_empty() {
            self.queue_effects(queue);
        }
    }

    /// Drops all ready messages.
    pub(super) fn purge(&mut self, queue: QueueId, now: Now) -> u64 {
        let Some(entry) = self.queues.get_mut(queue) else { return 0 };
        let before = entry.queue.memory_bytes();
        let purged = entry.queue.purge();
        self.memory.moved(before, entry.queue.memory_bytes());
        // Tokens of a channel's limit that nobody needs now go back.
        self.mark_dirty(queue);
        self.arm(queue, now);
        purged
    }
}
