//! How deliveries end, and how messages die.
//!
//! May import the queue's parts, `command` and `message`.

#[cfg(test)]
use ringmq_shards::log::planted::{Bug, is_planted};

use super::arguments::DeliveryLimit;
use super::dead_letter;
use super::fifo::Returned;
use super::ready::Front;
use super::store::{Position, Read};
use super::unsettled::Unsettled;
use super::{Counts, DeadLetter, Effect, HAND_OUT_BUDGET, Outlet, Queue};
use crate::command::{Now, Outcome};
use crate::ids::DeliveryId;
use crate::message::{DeathReason, Message};

/// Dead messages that may wait to be read; above, nothing goes out, so no more can die than are
/// out already. 16 octets each: 1 MiB.
pub(super) const DYING_MAX: usize = 65_536;

impl Queue {
    /// Something the store had asked for has come ([`Read::Later`]): does what had to wait for it.
    /// Deliver afterwards, and look at [`Queue::next_deadline`] again.
    pub(crate) fn loaded<O: Outlet>(
        &mut self,
        now: Now,
        outlet: &mut O,
        effects: &mut Vec<Effect>,
    ) {
        for _ in 0..self.dying.len() {
            let Some((at, reason)) = self.dying.pop_front() else { break };
            if !self.bury_at(at, reason, now, effects) {
                // In the order of death: the others were asked for as well and come behind it.
                self.dying.push_front((at, reason));
                break;
            }
        }
        if self.drops_heads() && self.exceeds(self.ready.count(), self.ready.body_bytes()) {
            // A limit counts what nobody takes (P57), and consumers had to wait for the disk.
            let _more = self.hand_out(now, HAND_OUT_BUDGET, false, outlet, effects);
        }
        self.expire_heads(now, effects);
        self.enforce_length(now, effects);
    }

    /// Ends a delivery; false when it is not out (any more). Its consumer's credit is free at once.
    pub(crate) fn settle(
        &mut self,
        id: DeliveryId,
        outcome: Outcome,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> bool {
        if outcome == Outcome::Received && self.kind.of_session {
            return self.note_received(id);
        }
        let Some(delivery) = self.unsettled.remove(id) else { return false };
        if let Some(consumer) = delivery.consumer {
            self.consumers.settled(consumer);
        }
        match outcome {
            // Only queues of sessions know the difference.
            Outcome::Accept | Outcome::Received => self.store.settle(delivery.position),
            Outcome::Reject => self.kill(delivery.position, DeathReason::Rejected, now, effects),
            Outcome::Requeue { .. } if delivery.received => {
                self.received.insert(delivery.position);
            }
            Outcome::Requeue { failed } => self.give_back(delivery, failed, now, effects),
        }
        true
    }

    pub(super) fn give_back(
        &mut self,
        delivery: Unsettled,
        failed: bool,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let counts = match (self.settings.delivery_limit, self.kind.counts) {
            (DeliveryLimit::Uncounted, _) => false,
            (DeliveryLimit::Unlimited | DeliveryLimit::Times(_), Counts::Every) => true,
            (DeliveryLimit::Unlimited | DeliveryLimit::Times(_), Counts::Failed) => failed,
        };
        let count = delivery.returned.saturating_add(u32::from(counts));
        if let DeliveryLimit::Times(limit) = self.settings.delivery_limit
            && counts
            && count > limit
        {
            return self.kill(delivery.position, DeathReason::DeliveryLimit, now, effects);
        }
        self.store.returned(delivery.position, count);
        let body_bytes = u64::from(delivery.body_bytes);
        let place = (delivery.position, delivery.level);
        self.ready.give_back(place, Returned { count }, body_bytes);
        self.enforce_length(now, effects);
    }

    /// A message that was out dies.
    pub(super) fn kill(
        &mut self,
        at: Position,
        reason: DeathReason,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if self.settings.dead_letter.is_none() {
            effects.push(Effect::Dropped(reason));
            self.store.settle(at);
        } else if !self.bury_at(at, reason, now, effects) {
            self.dying.push_back((at, reason));
        }
    }

    /// Ends a message that is not ready any more. False: it has to be read first.
    fn bury_at(
        &mut self,
        at: Position,
        reason: DeathReason,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> bool {
        match self.store.read(at) {
            Read::Here(kept) => self.bury(&kept.message, reason, Some(at), now, effects),
            Read::Gone => {
                effects.push(Effect::Unreadable(at));
                self.store.settle(at);
            }
            Read::Later => return false,
        }
        true
    }

    /// A dead message is safe where it went: it need not lie here any more. Until then a crash
    /// finds it here, so it is in one of the two queues at least.
    pub(crate) fn gone_on(&mut self, at: Position) {
        self.store.settle(at);
    }

    /// A ready message dies.
    pub(super) fn kill_ready(
        &mut self,
        front: Front,
        message: &Message,
        reason: DeathReason,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        self.pop(front, message.body().len() as u64);
        self.bury(message, reason, Some(front.position), now, effects);
    }

    /// The store lost it: nothing can be delivered or dead-lettered.
    pub(super) fn forget_unreadable(&mut self, front: Front, effects: &mut Vec<Effect>) {
        self.pop(front, 0);
        self.store.settle(front.position);
        effects.push(Effect::Unreadable(front.position));
    }

    /// Sends a dead message on its way, if there is one; what lies at `from` lies there until it has
    /// arrived.
    pub(super) fn bury(
        &mut self,
        message: &Message,
        reason: DeathReason,
        from: Option<Position>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let Some(target) = &self.settings.dead_letter else {
            effects.push(Effect::Dropped(reason));
            if let Some(at) = from {
                self.store.settle(at);
            }
            return;
        };
        let target = target.clone();
        #[cfg(test)]
        let from = if is_planted(Bug::SettleFirst) {
            from.into_iter().for_each(|at| self.store.settle(at));
            None
        } else {
            from
        };
        let mut message = dead_letter::buried(message, &self.name, reason, now.wall_ms);
        if target.routing_key.is_some() && !message.extra_keys().is_empty() {
            message = message.with(|inner| inner.extra_keys = None);
        }
        effects.push(Effect::DeadLetter(DeadLetter { message, target, reason, from }));
    }

    fn drops_heads(&self) -> bool {
        self.settings.overflow == super::arguments::Overflow::DropHead
    }

    /// Drops what is too much: ready messages only (P57). One that has to be read first, for its
    /// octets or to send it on, is dropped when it is there; until then there are too many.
    pub(super) fn enforce_length(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if !self.drops_heads() {
            return;
        }
        // Ends: every round takes a message out of the queue.
        while self.exceeds(self.ready.count(), self.ready.body_bytes()) {
            let Some(front) = self.ready.least() else { return };
            match self.store.read(front.position) {
                Read::Here(kept) => {
                    self.kill_ready(front, &kept.message, DeathReason::MaxLength, now, effects);
                }
                Read::Gone => self.forget_unreadable(front, effects),
                Read::Later => return,
            }
        }
    }

    pub(super) fn exceeds(&self, count: u64, body_bytes: u64) -> bool {
        self.settings.length_max.is_some_and(|max| count > max)
            || self.settings.body_bytes_max.is_some_and(|max| body_bytes > max)
    }
}
