//! What the two sides of an exchange that delivers exactly once have to remember of each other, and
//! when it is safe.
//!
//! May import what `broker::subscriber` does.

use crate::broker::Broker;
use crate::broker::mail::Reported;
use crate::broker::queue::store::Safe;
use crate::broker::storage::waits::Waiter;
use crate::command::{Now, Outcome, Published};
use crate::ids::{ChannelId, ConnectionId, DeliveryId, PublishSeq, QueueRef};

impl Broker {
    /// See [`Broker::receive`].
    pub(super) fn note_received(
        &mut self,
        (connection, channel): (ConnectionId, ChannelId),
        (queue, id): (QueueRef, DeliveryId),
        seq: Option<PublishSeq>,
        now: Now,
    ) -> Published {
        // Its place is not free yet, so nothing is counted.
        self.settle(connection, channel, (queue, id), Outcome::Received, false, now);
        if queue.shard != self.shard {
            // Sessions live where their connections are: somebody else's queue notes nothing.
            return Published::Stored;
        }
        let safe = self.queues.get_mut(queue.queue).map(|e| e.queue.store_mut().promise());
        self.when_safe(safe.unwrap_or(Safe::Now), (connection, channel), seq)
    }

    /// See [`Broker::hold_receipt`] (`held`) and [`Broker::drop_receipt`].
    pub(super) fn note_receipt(
        &mut self,
        at: (ConnectionId, ChannelId),
        number: u16,
        held: bool,
        seq: Option<PublishSeq>,
    ) -> Published {
        let used = self.next_use();
        // Without a queue the session ends with its connection, which remembers by itself.
        let queue = self.session_queue_of(at.0).and_then(|queue| self.queues.get_mut(queue));
        let Some(entry) = queue else { return Published::Stored };
        let store = entry.queue.store_mut();
        let safe =
            if held { store.end_use(number, used, true) } else { store.drop_receipt(number) };
        self.when_safe(safe, at, seq)
    }

    /// See [`Broker::when_kept`].
    pub(super) fn wait_until_kept(
        &mut self,
        at: (ConnectionId, ChannelId),
        seq: PublishSeq,
    ) -> Published {
        let queue = self.session_queue_of(at.0).and_then(|queue| self.queues.get_mut(queue));
        let safe = queue.map_or(Safe::Now, |entry| entry.queue.store_mut().promise());
        self.when_safe(safe, at, Some(seq))
    }

    /// What a client hears of something that was noted for its session.
    fn when_safe(
        &mut self,
        safe: Safe,
        (connection, channel): (ConnectionId, ChannelId),
        seq: Option<PublishSeq>,
    ) -> Published {
        let report = seq.map(|seq| Waiter::Publish(Reported { connection, channel, seq }));
        match report {
            Some(waiter) if self.wait_for(safe, waiter) => Published::Pending,
            Some(_) | None => Published::Stored,
        }
    }
}
