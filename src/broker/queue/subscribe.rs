//! Consumers come, go, pause and get credit.
//!
//! May import the queue's parts, `broker::consumer`, `command::Now` and `ids`.

use super::{Effect, Queue, WhyDeleted};
use crate::broker::consumer::{
    ChannelShare, ConsumeRefused, Consumer, ConsumerArguments, Consuming, NewConsumer,
};
use crate::command::Now;
use crate::ids::{ChannelId, ConnectionRef, ConsumerId};

/// A consumer that is gone.
#[derive(Debug)]
pub(crate) struct Removed {
    /// It was the last one.
    #[cfg_attr(not(test), expect(dead_code, reason = "events for operators say it later"))]
    pub(crate) last: bool,
    /// Deliveries of it that are still out, and may still be settled.
    #[cfg_attr(not(test), expect(dead_code, reason = "events for operators say it later"))]
    pub(crate) unsettled: u32,
    /// Tokens of its channel's limit that it did not use.
    #[cfg_attr(not(test), expect(dead_code, reason = "the channel takes them back by itself"))]
    pub(crate) tokens: u32,
}

impl Queue {
    /// Takes a consumer in; nothing is delivered before the next [`Queue::deliver`].
    pub(crate) fn add_consumer(
        &mut self,
        new: &NewConsumer<'_>,
    ) -> Result<Consuming, ConsumeRefused> {
        let own = ConsumerArguments::read(new.arguments).map_err(ConsumeRefused::BadArgument)?;
        let alone = self.consumers.count() == 0;
        // A queue that chooses its active consumer can not promise one to be alone (R15).
        let refused = new.exclusive && (!alone || self.is_single_active());
        if refused || self.consumers.has_exclusive() {
            return Err(ConsumeRefused::ExclusiveUse);
        }
        let full = ConsumeRefused::LimitReached { consumers_max: self.consumers_max };
        if self.consumers.count() >= self.consumers_max {
            return Err(full);
        }
        let prefetch = if new.prefetch == 0 { self.prefetch_default } else { new.prefetch };
        let consumer = Consumer {
            at: new.at,
            key: new.key,
            tag: new.tag.into(),
            no_settle: new.no_settle,
            exclusive: new.exclusive,
            priority: own.priority,
            prefetch: prefetch.max(1),
            unsettled: 0,
            joined: 0,
            share: ChannelShare::Unlimited,
            no_room: false,
            paused: false,
            active: false,
        };
        let id = self.consumers.add(consumer).ok_or(full)?;
        Ok(Consuming { id, timeout_ms: own.timeout_ms.or(self.settings.consumer_timeout_ms) })
    }

    /// Lets a consumer go; `None` when it is gone already. What it has out stays out and may
    /// still be settled (P44, P69). With the last one an auto-delete queue goes (P38).
    pub(crate) fn remove_consumer(
        &mut self,
        id: ConsumerId,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<Removed> {
        let consumer = self.consumers.remove(id)?;
        let last = self.consumers.count() == 0;
        if last {
            self.touch(now);
            if self.auto_delete {
                self.ask_to_delete(WhyDeleted::LastConsumerLeft, effects);
            }
        }
        let tokens = match consumer.share {
            ChannelShare::Tokens(tokens) => tokens,
            ChannelShare::Unlimited | ChannelShare::Asked => 0,
        };
        Some(Removed { last, unsettled: consumer.unsettled, tokens })
    }

    /// [`Queue::remove_consumer`] for all of a connection, or of one of its channels. Tells how
    /// many there were. Looks at that connection's consumers only.
    pub(crate) fn remove_consumers_of(
        &mut self,
        connection: ConnectionRef,
        channel: Option<ChannelId>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> u32 {
        let mut removed = 0;
        for id in self.consumers.of(connection, channel) {
            removed += u32::from(self.remove_consumer(id, now, effects).is_some());
        }
        removed
    }

    /// The connection has room again: deliver afterwards.
    pub(crate) fn resume(&mut self, connection: ConnectionRef) {
        self.consumers.resume(connection);
    }

    /// Its channel stops or goes on taking deliveries.
    pub(crate) fn set_consumer_paused(&mut self, id: ConsumerId, paused: bool) {
        self.consumers.set_paused(id, paused);
    }

    /// Its channel has a limit over all its consumers (or not any more): it sends nothing without
    /// a token. Without meaning for types that know no such limit (R2), and for consumers
    /// that settle nothing.
    pub(crate) fn set_limited(&mut self, id: ConsumerId, limited: bool) {
        let settles = self.consumers.get(id).is_some_and(|consumer| !consumer.no_settle);
        if self.kind.channel_limits && settles {
            self.consumers.set_limited(id, limited);
        }
    }

    /// Answers [`super::Outlet::want`]: deliver afterwards. False: it can not use them (gone, or
    /// not limited any more), so they are free again.
    pub(crate) fn grant(&mut self, id: ConsumerId, tokens: u32) -> bool {
        self.consumers.grant(id, tokens)
    }
}
