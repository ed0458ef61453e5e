//! How deliveries end, and how messages die.
//!
//! May import the queue's parts, `command` and `message`.

use super::arguments::DeliveryLimit;
use super::dead_letter;
use super::fifo::Returned;
use super::ready::Front;
use super::unsettled::Unsettled;
use super::{Counts, DeadLetter, Effect, Queue};
use crate::command::{Now, Outcome};
use crate::ids::DeliveryId;
use crate::message::{DeathReason, Message};

impl Queue {
    /// Ends a delivery; false when it is not out (any more). Its consumer's credit is free at once.
    pub(crate) fn settle(
        &mut self,
        id: DeliveryId,
        outcome: Outcome,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Some(delivery) = self.unsettled.remove(id) else { return false };
        if let Some(consumer) = delivery.consumer {
            self.consumers.settled(consumer);
        }
        match outcome {
            Outcome::Accept => self.store.settle(delivery.position),
            Outcome::Reject => self.kill(delivery, DeathReason::Rejected, now, effects),
            Outcome::Requeue { failed } => self.give_back(delivery, failed, now, effects),
        }
        true
    }

    fn give_back(
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
            return self.kill(delivery, DeathReason::DeliveryLimit, now, effects);
        }
        let Some(kept) = self.store.read(delivery.position).here() else {
            return self.store.settle(delivery.position);
        };
        let body_bytes = kept.message.body().len() as u64;
        let place = (delivery.position, delivery.level);
        self.ready.give_back(place, Returned { count }, body_bytes);
        self.enforce_length(now, effects);
    }

    fn kill(
        &mut self,
        delivery: Unsettled,
        reason: DeathReason,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(kept) = self.store.read(delivery.position).here() {
            self.bury(&kept.message, reason, now, effects);
        }
        self.store.settle(delivery.position);
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
        self.ready.pop(front, message.body().len() as u64);
        self.bury(message, reason, now, effects);
        self.store.settle(front.position);
    }

    /// The store lost it: nothing can be delivered or dead-lettered.
    pub(super) fn forget_unreadable(&mut self, front: Front, effects: &mut Vec<Effect>) {
        self.ready.pop(front, 0);
        self.store.settle(front.position);
        effects.push(Effect::Unreadable(front.position));
    }

    /// Sends a dead message on its way, if there is one.
    pub(super) fn bury(
        &self,
        message: &Message,
        reason: DeathReason,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let Some(target) = &self.settings.dead_letter else {
            effects.push(Effect::Dropped(reason));
            return;
        };
        let mut message = dead_letter::buried(message, &self.name, reason, now.wall_ms);
        if target.routing_key.is_some() && !message.extra_keys().is_empty() {
            message = message.with(|inner| inner.extra_keys = None);
        }
        effects.push(Effect::DeadLetter(DeadLetter { message, target: target.clone(), reason }));
    }

    /// Drops what is too much: ready messages only (P57).
    pub(super) fn enforce_length(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.settings.overflow != super::arguments::Overflow::DropHead {
            return;
        }
        // Ends: every round takes a message out of the queue.
        while self.exceeds(self.ready.count(), self.ready.body_bytes()) {
            let Some(front) = self.ready.least() else { return };
            match self.store.read(front.position).here() {
                Some(kept) => {
                    self.kill_ready(front, &kept.message, DeathReason::MaxLength, now, effects);
                }
                None => self.forget_unreadable(front, effects),
            }
        }
    }

    pub(super) fn exceeds(&self, count: u64, body_bytes: u64) -> bool {
        self.settings.length_max.is_some_and(|max| count > max)
            || self.settings.body_bytes_max.is_some_and(|max| body_bytes > max)
    }
}
