//! What ends on the shard that owns a queue: consumers that are cancelled or may not read any more,
//! channels and connections that are over. May import what `owner` may.

use super::Broker;
use super::calls::Then;
use super::mail::CallId;
use super::queue::Effect;
use crate::command::{Answer, Now};
use crate::ids::{ChannelRef, ConsumerId, QueueId};

impl Broker {
    /// Stops one consumer; what it has unsettled stays out.
    pub(super) fn cancel(&mut self, at: ChannelRef, id: QueueId, consumer: ConsumerId, now: Now) {
        let Some(entry) = self.queues.get_mut(id) else {
            // The cancellation and the deletion of the queue have crossed.
            self.answer_when_known(at, Answer::Done);
            return;
        };
        let removed = entry.queue.remove_consumer(consumer, now, &mut self.effects_now);
        if removed.is_some() {
            self.lift_footprint(at.connection, id, 1);
        }
        let then = Then::Answer { to: at, answer: Answer::Done };
        if let Some(call) = self.open_call(then) {
            self.after_removal(id, call, now);
            self.release(call, true);
        }
    }

    /// The user of a consumer may not read this queue any more: it ends as if the queue were gone.
    pub(super) fn revoke(&mut self, at: ChannelRef, id: QueueId, consumer: ConsumerId, now: Now) {
        let Some(entry) = self.queues.get_mut(id) else { return };
        let Some(key) = entry.queue.consumer(consumer).map(|consumer| consumer.key) else { return };
        entry.queue.remove_consumer(consumer, now, &mut self.effects_now);
        self.lift_footprint(at.connection, id, 1);
        if let Some(call) = self.open_call(Then::Nothing) {
            self.after_removal(id, call, now);
            self.release(call, true);
        }
        self.consumer_gone(at, key);
    }

    /// Consumers left: an auto-delete queue may go (within the call), another consumer may be next.
    pub(super) fn after_removal(&mut self, id: QueueId, call: CallId, now: Now) {
        let asked = self.effects_now.iter().any(|effect| matches!(effect, Effect::Delete(_)));
        if asked {
            self.effects_now.retain(|effect| !matches!(effect, Effect::Delete(_)));
            self.queue_effects(id);
            self.delete_queue(id, call, None);
            return;
        }
        self.queue_effects(id);
        self.mark_dirty(id);
        self.arm(id, now);
    }
}
