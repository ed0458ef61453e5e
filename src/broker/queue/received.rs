//! Messages that a session's subscriber has received and is not done with, and what becomes of all
//! that is out when a session changes hands.
//!
//! May import the queue's parts, `ids` and `message`.

use std::rc::Rc;

use super::deliver::{OutDelivery, Outlet, Step};
use super::store::{Position, Read};
use super::unsettled::Unsettled;
use super::{Effect, Queue};
use crate::command::Now;
use crate::ids::DeliveryId;
use crate::message::{Body, DeathReason, Message, ProtocolTag, Traits};

/// What [`Queue::take_oldest`] finds.
#[derive(Debug)]
pub(crate) enum Oldest {
    Message {
        at: Position,
        message: Message,
        was_out: bool,
    },
    /// It has to be read first: ask again after [`Queue::loaded`].
    Later,
    /// Nothing is ready.
    None,
}

impl Queue {
    /// The consumer has it: it stays out and keeps its credit.
    pub(super) fn note_received(&mut self, id: DeliveryId) -> bool {
        let Some(delivery) = self.unsettled.get_mut(id) else { return false };
        if !std::mem::replace(&mut delivery.received, true) {
            // Who has to wait until that is safe asks the store itself.
            let _ = self.store.received(delivery.position);
        }
        true
    }

    /// Nobody has what is out any more: it comes back in order, as one return of the queue's own.
    /// What was received stays apart, to be delivered before all else.
    pub(crate) fn take_all_back(&mut self, now: Now, effects: &mut Vec<Effect>) {
        for id in self.unsettled.ids() {
            let Some(delivery) = self.unsettled.remove(id) else { continue };
            if let Some(consumer) = delivery.consumer {
                self.consumers.settled(consumer);
            }
            if delivery.received {
                self.received.insert(delivery.position);
            } else {
                self.give_back(delivery, true, now, effects);
            }
        }
    }

    /// After [`Queue::restore`]: what was received before the restart.
    pub(crate) fn restore_received(&mut self) {
        for at in self.store.received_positions() {
            if self.ready.take_out(at) {
                self.received.insert(at);
            }
        }
    }

    /// Delivers what was received: nothing but its position is of use to its consumer, so it is
    /// not read.
    pub(super) fn step_received<O: Outlet>(&mut self, outlet: &mut O) -> Step {
        let Some(id) = self.consumers.next() else { return Step::Idle };
        let Some(consumer) = self.consumers.get(id) else { return Step::Idle };
        let (channel, key) = (consumer.at, consumer.key);
        if !outlet.has_room(channel.connection) {
            self.consumers.no_room(id);
            outlet.waits_for_room(channel.connection);
            return Step::Busy;
        }
        let (Some(position), Some(message)) = (self.received.pop_first(), nothing()) else {
            return Step::Idle;
        };
        let delivery = Unsettled {
            position,
            level: 0,
            consumer: Some(id),
            returned: 0,
            body_bytes: 0,
            received: true,
        };
        let Some(delivery) = self.unsettled.insert(delivery) else { return Step::Idle };
        self.consumers.served(id);
        outlet.deliver(OutDelivery {
            channel,
            key,
            id: delivery,
            position: position.get(),
            received: true,
            no_settle: false,
            message: &message,
            redelivered: true,
            delivery_count: None,
        });
        Step::Busy
    }

    /// Takes the oldest ready message out of a queue that is about to go; it lies in the store until
    /// [`Queue::gone_on`]. What has expired goes where dead messages go.
    pub(crate) fn take_oldest(&mut self, now: Now, effects: &mut Vec<Effect>) -> Oldest {
        // Ends: every round takes a message out of the queue.
        while let Some(front) = self.front() {
            let kept = match self.store.read(front.position) {
                Read::Here(kept) => kept,
                Read::Later => return Oldest::Later,
                Read::Gone => {
                    self.forget_unreadable(front, effects);
                    continue;
                }
            };
            if self.deadline(&kept).is_some_and(|at| at <= now.mono_ms) {
                self.kill_ready(front, &kept.message, DeathReason::Expired, now, effects);
                continue;
            }
            self.pop(front, kept.message.body().len() as u64);
            let was_out = front.returned.is_some();
            return Oldest::Message { at: front.position, message: kept.message, was_out };
        }
        Oldest::None
    }

    /// Drops the oldest ready message, which goes where dead ones go; false when there is none.
    pub(crate) fn drop_oldest(&mut self, now: Now, effects: &mut Vec<Effect>) -> bool {
        let Some(front) = self.front() else { return false };
        let body_bytes = match self.store.read(front.position) {
            Read::Here(kept) => kept.message.body().len() as u64,
            Read::Later | Read::Gone => 0,
        };
        self.pop(front, body_bytes);
        self.kill(front.position, DeathReason::MaxLength, now, effects);
        true
    }

    /// There is no room for a message: it goes where dead ones go.
    pub(crate) fn turn_away(&mut self, message: &Message, now: Now, effects: &mut Vec<Effect>) {
        self.bury(message, DeathReason::MaxLength, None, now, effects);
    }
}

/// The message of a delivery that was received.
fn nothing() -> Option<Message> {
    let traits =
        Traits { protocol: ProtocolTag(0), persistent: true, priority: None, expiration_ms: None };
    Message::new(Rc::from(""), "", traits, &[], Body::Slice(&[]), 0)
}
