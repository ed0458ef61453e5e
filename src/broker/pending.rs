//! What several places have to store before somebody hears of it: how many have still to say so.
//!
//! May import `mail`, `queue`, `storage`, `subscriber`.

use super::Broker;
use super::mail::{Mail, PendingId, Reported};
use super::queue::store::Position;
use super::storage::waits::{Put, Waiter};
use super::subscriber::once::Use;
use crate::command::Event;
use crate::ids::{ChannelId, ConnectionId, QueueId, ShardId};
use crate::message::Message;

/// A publish that other shards, or the storage, have still to report.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) report: Report,
    pub(super) left: u32,
    pub(super) accepted: bool,
    /// Goes back to its publisher unless a queue is found.
    pub(super) unrouted: Option<Box<Unrouted>>,
}

/// Who hears of it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Report {
    /// Nobody.
    Nobody,
    /// The publisher.
    Publisher(Reported),
    /// The publisher, when the end of the use is noted.
    Once(Use),
    /// The queue of this shard where it died and lies until then.
    Dead { queue: QueueId, at: Position },
    /// The queue of this shard where its subscriber has left it and it lies until then.
    Moved { queue: QueueId, at: Position },
    /// Another shard that waits for it.
    Shard { shard: ShardId, pending: PendingId },
    /// The log that keeps it as one that waits until then; its number among those of this shard.
    Delayed(u64),
}

/// A mandatory message of which several shards have to say whether they know a queue for it.
#[derive(Debug)]
pub(super) struct Unrouted {
    pub(super) connection: ConnectionId,
    pub(super) channel: ChannelId,
    pub(super) message: Message,
}

impl Broker {
    /// Something is about to be stored in several places; [`Self::stored`] once ends the waiting for
    /// this one.
    pub(super) fn await_stored(&mut self, report: Report) -> Option<PendingId> {
        self.pending.insert(Pending { report, left: 1, accepted: true, unrouted: None })
    }

    /// One more place will report.
    pub(super) fn one_more_place(&mut self, id: PendingId) {
        if let Some(pending) = self.pending.get_mut(id) {
            pending.left += 1;
        }
    }

    /// The place that opened the waiting has done so, or will have when it is safe.
    pub(super) fn stored_as(&mut self, id: PendingId, put: Put) {
        if !(put.accepted && self.wait_for(put.safe, Waiter::Pending(id))) {
            self.stored(id, put.accepted, true);
        }
    }

    /// One more place has stored (or refused) a pending publish.
    pub(super) fn stored(&mut self, id: PendingId, accepted: bool, found: bool) {
        let Some(pending) = self.pending.get_mut(id) else { return };
        pending.accepted &= accepted;
        if found {
            pending.unrouted = None;
        }
        pending.left = pending.left.saturating_sub(1);
        if pending.left > 0 {
            return;
        }
        let Some(Pending { report, accepted, unrouted, .. }) = self.pending.remove(id) else {
            return;
        };
        if let Some(unrouted) = unrouted {
            let Unrouted { connection, channel, message } = *unrouted;
            self.tell(connection, Event::Returned { channel, message });
        }
        match report {
            Report::Nobody => {}
            Report::Publisher(Reported { connection, channel, seq }) => {
                self.tell(connection, Event::Stored { channel, seq, accepted });
            }
            // Also when it was refused there: a dead message has no other place.
            Report::Dead { queue, at } => self.gone_on(queue, at),
            Report::Moved { queue, at } => self.moved(queue, at),
            Report::Once(this) => self.use_stored(this, accepted),
            Report::Shard { shard, pending } => {
                self.post.send(shard, Mail::Stored { pending, accepted, found: true });
            }
            Report::Delayed(number) => self.delayed_gone(number),
        }
    }

    /// Whether a message that is to come exactly once has come to places on this shard only: one
    /// wait is enough for all of them and for its end.
    pub(super) fn is_all_here(&mut self, pending: PendingId, put: Put) -> bool {
        let waiting = self.pending.get(pending);
        let is_all_here = waiting.is_some_and(|it| it.left == 1 && it.unrouted.is_none())
            && put.accepted
            && self.ends_behind(put);
        if is_all_here {
            self.pending.remove(pending);
        }
        is_all_here
    }
}
