//! Consumers of a queue, on its owner: they come, go, and lose their right to read. May import
//! `owner` and what that may.

use super::super::calls::Then;
use super::super::consumer::{ConsumeRefused, NewConsumer};
use super::super::mail::{CallId, Mail, PlainAnswer};
use super::super::queue::Effect;
use super::Broker;
use crate::auth::Access;
use crate::command::{Answer, Consume, Entity, Event, Now, Refusal};
use crate::ids::{ChannelRef, ConsumerId, ConsumerKey, ConsumerRef, QueueId, QueueRef, VhostId};

impl Broker {
    pub(super) fn add_consumer(
        &mut self,
        at: ChannelRef,
        vhost: VhostId,
        consume: &Consume,
        limited: bool,
    ) -> Result<PlainAnswer, Refusal> {
        let id = self.ordinary(at, vhost, &consume.queue, Access::Read)?;
        let Some(entry) = self.queues.get_mut(id) else { return Ok(Answer::Done) };
        let new = NewConsumer {
            at,
            key: consume.key,
            tag: &consume.tag,
            prefetch: consume.prefetch,
            no_settle: consume.no_settle,
            exclusive: consume.exclusive,
            arguments: &consume.arguments,
        };
        let consuming = entry.queue.add_consumer(&new).map_err(|refused| match refused {
            ConsumeRefused::ExclusiveUse => Refusal::ExclusiveUse(consume.queue.clone()),
            ConsumeRefused::LimitReached { consumers_max } => {
                let text = format!("a queue has at most {consumers_max} consumers");
                Refusal::LimitReached(text.into())
            }
            ConsumeRefused::BadArgument(bad) => Refusal::InvalidArgument {
                entity: Entity::Queue,
                name: consume.queue.clone(),
                argument: bad.argument,
                reason: bad.reason,
            },
        })?;
        if limited {
            entry.queue.set_limited(consuming.id, true);
        }
        if !entry.dirty {
            entry.dirty = true;
            self.dirty.push(id);
        }
        self.leave_footprint(at.connection, id);
        let queue = QueueRef { shard: self.shard, queue: id };
        let consumer = ConsumerRef { queue, consumer: consuming.id };
        Ok(Answer::Consuming { consumer, timeout_ms: consuming.timeout_ms })
    }

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
    pub(in crate::broker) fn revoke(
        &mut self,
        at: ChannelRef,
        id: QueueId,
        consumer: ConsumerId,
        now: Now,
    ) {
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

    pub(super) fn consumer_gone(&mut self, at: ChannelRef, consumer: ConsumerKey) {
        let connection = at.connection.connection;
        if at.connection.shard == self.shard {
            self.consumer_lost(connection, at.channel, consumer);
            self.tell(connection, Event::ConsumerGone { channel: at.channel, consumer });
        } else {
            let mail = Mail::ConsumerGone { connection, channel: at.channel, consumer };
            self.post.send(at.connection.shard, mail);
        }
    }
}
