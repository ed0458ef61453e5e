//! From the queue to whoever has credit and room, and to those who fetch one by one.
//!
//! May import the queue's parts, `command::Now`, `ids` and `message`.

use super::fifo::Returned;
use super::ready::Front;
use super::settle::DYING_MAX;
use super::store::Read;
use super::unsettled::{SETTLED_AT_ONCE, Unsettled};
use super::{Effect, Queue, arguments::DeliveryLimit};
use crate::broker::consumer::ChannelShare;
use crate::command::Now;
use crate::ids::{ChannelRef, ConnectionRef, ConsumerId, ConsumerKey, DeliveryId};
use crate::message::{DeathReason, Message};

/// A message on its way to a consumer. The outlet copies what it needs.
#[derive(Debug)]
pub(crate) struct OutDelivery<'a> {
    /// The conversation it goes to.
    pub(crate) channel: ChannelRef,
    /// The session's number for the consumer.
    pub(crate) key: ConsumerKey,
    /// Settle with this; means nothing when nothing is to be settled.
    pub(crate) id: DeliveryId,
    /// Where it stands in the queue of its session; 0 in other queues.
    pub(crate) position: u64,
    /// Its consumer, or the one before, has received it: only how it ends is missing.
    pub(crate) received: bool,
    /// Nothing is to be settled.
    pub(crate) no_settle: bool,
    /// The message.
    pub(crate) message: &'a Message,
    /// It was out before.
    pub(crate) redelivered: bool,
    /// How often it came back, if this queue counts that and it did.
    pub(crate) delivery_count: Option<u64>,
}

/// Where deliveries go: connections of this shard and lanes to the others.
pub(crate) trait Outlet {
    /// Whether the connection takes another delivery now.
    fn has_room(&self, to: ConnectionRef) -> bool;

    /// A consumer of that connection waits for room: [`Queue::resume`] must follow when there is
    /// some. Said once per consumer and waiting.
    fn waits_for_room(&mut self, to: ConnectionRef);

    /// Takes a delivery; must not fail.
    fn deliver(&mut self, delivery: OutDelivery<'_>);

    /// A consumer under a channel-wide limit could take a message. Returns the tokens it gets at
    /// once; with 0, [`Queue::grant`] follows when the limit allows, and it is not asked again
    /// before.
    fn want(&mut self, channel: ChannelRef, consumer: ConsumerId) -> u32;

    /// Tokens come back, since the queue has nothing to send for them.
    fn unneeded(&mut self, channel: ChannelRef, consumer: ConsumerId, tokens: u32);
}

/// Whether [`Queue::deliver`] did all there was to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum More {
    /// Nothing is ready, or nobody can take it.
    No,
    /// The budget is used up: call again next turn.
    Yes,
}

/// A message fetched one by one.
#[derive(Debug)]
pub(crate) struct Taken {
    /// Settle with this, unless nothing is to be settled.
    pub(crate) id: DeliveryId,
    /// The message.
    pub(crate) message: Message,
    /// It was out before.
    pub(crate) redelivered: bool,
    /// See [`OutDelivery::delivery_count`].
    pub(crate) delivery_count: Option<u64>,
    /// Ready messages left.
    pub(crate) left: u64,
}

/// What became of the wish for one message.
#[derive(Debug)]
pub(crate) enum Fetched {
    /// Here it is.
    Message(Taken),
    /// There is none.
    Empty,
    /// The next one has to be read first: ask again after [`Queue::loaded`].
    Later,
}

/// The front of the queue, taken out.
enum Head {
    Message(Message),
    /// It was dead, or lost: the next one is the front.
    Dead,
    /// It stays where it is until it has been read.
    Later,
}

/// What one step of handing out did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Idle,
    Busy,
}

impl Queue {
    /// Hands out ready messages until none is left, nobody can take one, or `budget` steps are
    /// done (a step delivers, expires or passes over one consumer).
    pub(crate) fn deliver<O: Outlet>(
        &mut self,
        now: Now,
        budget: usize,
        outlet: &mut O,
        effects: &mut Vec<Effect>,
    ) -> More {
        self.hand_out(now, budget, false, outlet, effects)
    }

    /// `just_come`: a message that came in this very call has not expired, even with no time to
    /// live at all (P55).
    pub(super) fn hand_out<O: Outlet>(
        &mut self,
        now: Now,
        budget: usize,
        just_come: bool,
        outlet: &mut O,
        effects: &mut Vec<Effect>,
    ) -> More {
        for _ in 0..budget {
            if self.step(now, just_come, outlet, effects) == Step::Idle {
                let nothing_to_send = self.paused || self.ready.count() == 0;
                if nothing_to_send && self.consumers.has_holders() {
                    self.consumers.take_tokens(|id, c, tokens| outlet.unneeded(c.at, id, tokens));
                }
                return More::No;
            }
        }
        More::Yes
    }

    fn step<O: Outlet>(
        &mut self,
        now: Now,
        just_come: bool,
        outlet: &mut O,
        effects: &mut Vec<Effect>,
    ) -> Step {
        if self.paused || self.unsettled.is_full() || self.dying.len() >= DYING_MAX {
            return Step::Idle;
        }
        if !self.received.is_empty() {
            return self.step_received(outlet);
        }
        let Some(front) = self.front() else { return Step::Idle };
        let Some(id) = self.consumers.next() else { return Step::Idle };
        let Some(consumer) = self.consumers.get(id) else { return Step::Idle };
        let (channel, key, no_settle) = (consumer.at, consumer.key, consumer.no_settle);
        if !outlet.has_room(channel.connection) {
            self.consumers.no_room(id);
            outlet.waits_for_room(channel.connection);
            return Step::Busy;
        }
        if consumer.share == ChannelShare::Tokens(0) && !no_settle {
            match outlet.want(channel, id) {
                0 => self.consumers.asked(id),
                tokens => {
                    self.consumers.grant(id, tokens);
                }
            }
            return Step::Busy;
        }
        let message = match self.take_front(front, now, just_come, effects) {
            Head::Message(message) => message,
            Head::Dead => return Step::Busy,
            Head::Later => return Step::Idle,
        };
        let Some(delivery) = self.send_out(front, &message, (!no_settle).then_some(Some(id)))
        else {
            return Step::Idle;
        };
        self.consumers.served(id);
        outlet.deliver(OutDelivery {
            channel,
            key,
            id: delivery,
            position: if self.kind.of_session { front.position.get() } else { 0 },
            received: false,
            no_settle,
            message: &message,
            redelivered: front.returned.is_some(),
            delivery_count: self.shown_count(front.returned),
        });
        Step::Busy
    }

    /// Fetches one message. It takes nobody's credit (P68). Counts as use of the queue.
    pub(crate) fn take(&mut self, now: Now, no_settle: bool, effects: &mut Vec<Effect>) -> Fetched {
        self.touch(now);
        if self.unsettled.is_full() {
            return Fetched::Empty;
        }
        if self.dying.len() >= DYING_MAX {
            return Fetched::Later;
        }
        // Ends: every round takes a message out of the queue.
        while let Some(front) = self.front() {
            let message = match self.take_front(front, now, false, effects) {
                Head::Message(message) => message,
                Head::Dead => continue,
                Head::Later => return Fetched::Later,
            };
            let Some(id) = self.send_out(front, &message, (!no_settle).then_some(None)) else {
                return Fetched::Empty;
            };
            return Fetched::Message(Taken {
                id,
                message,
                redelivered: front.returned.is_some(),
                delivery_count: self.shown_count(front.returned),
                left: self.ready.count(),
            });
        }
        Fetched::Empty
    }

    /// Takes the front out of the ready ones.
    fn take_front(
        &mut self,
        front: Front,
        now: Now,
        just_come: bool,
        effects: &mut Vec<Effect>,
    ) -> Head {
        let kept = match self.store.read(front.position) {
            Read::Here(kept) => kept,
            Read::Later => return Head::Later,
            Read::Gone => {
                self.forget_unreadable(front, effects);
                return Head::Dead;
            }
        };
        let arrived_now = just_come && self.store.tail() == front.position.next();
        if !arrived_now
            && self.may_expire(front)
            && self.deadline(&kept).is_some_and(|at| at <= now.mono_ms)
        {
            self.kill_ready(front, &kept.message, DeathReason::Expired, now, effects);
            return Head::Dead;
        }
        self.pop(front, kept.message.body().len() as u64);
        Head::Message(kept.message)
    }

    /// Notes who has it: `None`: nobody will settle it, so it is settled now.
    fn send_out(
        &mut self,
        front: Front,
        message: &Message,
        to: Option<Option<ConsumerId>>,
    ) -> Option<DeliveryId> {
        let Some(consumer) = to else {
            self.store.settle(front.position);
            return Some(SETTLED_AT_ONCE);
        };
        self.store.handed_out(front.position);
        self.unsettled.insert(Unsettled {
            position: front.position,
            level: front.level,
            consumer,
            returned: front.returned.unwrap_or_default().count,
            received: false,
            // No protocol has bodies of 4 GiB.
            body_bytes: u32::try_from(message.body().len()).unwrap_or(u32::MAX),
        })
    }

    fn shown_count(&self, returned: Option<Returned>) -> Option<u64> {
        match self.settings.delivery_limit {
            DeliveryLimit::Uncounted => None,
            DeliveryLimit::Unlimited | DeliveryLimit::Times(_) => {
                returned.map(|returned| u64::from(returned.count))
            }
        }
    }
}
