//! Deliveries to the client as PUBLISH and PUBREL (3.3.1-1 to 3.3.1-13, 4.3, 4.4.0-1; H-05, H-07,
//! H-18, H-25). May import the files of this folder, `broker`, `command`.

use std::num::NonZeroU64;

use crate::command::{Delivery, Outcome, Published};
use crate::ids::{DeliveryId, PublishSeq, QueueRef};
use crate::message::Message;
use crate::protocol::Context;
use crate::subscriber::{Assurance, RETAINED, group_of};

use super::alias::Said;
use super::block::Block;
use super::foreign;
use super::interest::Wanted;
use super::outgoing::{Out, Stage, packet_id};
use super::session::{KEPT, Mqtt, SESSION};
use super::wire::ack::AckKind;
use super::wire::publish::{Promise, PublishHead};
use super::wire::reason_code::ReasonCode;
use super::wire::{PacketId, Version};

/// How a message goes to the client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) assurance: Assurance,
    pub(super) retain: bool,
    /// Seconds that are left of its life.
    pub(super) expiry_s: Option<u32>,
}

/// Seconds that are left of a message's life, rounded up; `None` in `Some`: it has no end.
/// `None`: it is over.
pub(super) fn rest_of_life(message: &Message, wall_ms: u64) -> Option<Option<u32>> {
    let Some(life_ms) = message.traits().expiration_ms else { return Some(None) };
    let left_ms = message.received_ms().saturating_add(life_ms).saturating_sub(wall_ms);
    if left_ms == 0 {
        return None;
    }
    Some(Some(u32::try_from(left_ms.div_ceil(1000)).unwrap_or(u32::MAX)))
}

impl Mqtt {
    /// A message for the session.
    pub(super) fn on_delivery(&mut self, mut delivery: Delivery, cx: &mut Context<'_>) {
        if !self.is_open() {
            // What is out when the connection ends goes back by itself.
            return;
        }
        // One that was received comes without its message.
        if !delivery.received && !foreign::is_own(&delivery.message) {
            let Some(message) = foreign::translated(&delivery.message, cx.broker.crossing()) else {
                // Its key is no topic: it cannot be shown.
                return self.accept(delivery.queue, delivery.id, cx);
            };
            delivery.message = message;
        }
        if delivery.id == DeliveryId::SETTLED {
            let plan = self.plan(&delivery.message, false, cx);
            if let Some(plan) = plan {
                self.note_shown(&delivery.message);
                let plan = Plan { assurance: Assurance::AtMostOnce, ..plan };
                self.put_publish(&delivery.message, plan, None, false, cx);
            }
        } else {
            let wait = self.wait_until_kept(&delivery, cx);
            let position = delivery.position;
            if wait == 0 && self.outgoing.admits(position) && self.has_room(position) {
                self.send(&delivery, cx);
            } else {
                self.outgoing.hold(delivery, wait);
            }
        }
    }

    /// A client remembers the packet id of a message with QoS 2 until it is released. Were that
    /// message sent before it is sure to be there after a crash, the client would have it a second
    /// time when its publisher repeats it, and the packet id for ever (4.3.3-1; in version 5
    /// 4.3.3-6). The number of what it waits for, 0 for nothing.
    fn wait_until_kept(&mut self, delivery: &Delivery, cx: &mut Context<'_>) -> u64 {
        let is_upgraded = self.link.limits.upgrade_outgoing_qos;
        let published = Block::of(&delivery.message).assurance;
        if delivery.received || (published < Assurance::ExactlyOnce && !is_upgraded) {
            return 0;
        }
        let wanted = self.wanted(&delivery.message);
        // What nobody wants any more is finished as it was published: see `plan`.
        if wanted.is_some_and(|wanted| wanted.assurance < Assurance::ExactlyOnce) {
            return 0;
        }
        let number = self.outgoing.next_wait();
        match cx.broker.when_kept(self.link.id(), KEPT, PublishSeq(number)) {
            Published::Pending => number,
            Published::Stored | Published::Unroutable | Published::Overflowed => 0,
        }
    }

    /// A message that is settled, and whose packet id is free.
    fn send(&mut self, delivery: &Delivery, cx: &mut Context<'_>) {
        let id = packet_id(delivery.position);
        let mut out = Out {
            position: delivery.position,
            queue: delivery.queue,
            id: delivery.id,
            stage: Stage::Released,
            is_replay: false,
            sent_ms: cx.now.mono_ms,
            message: None,
        };
        if delivery.received {
            // The client has it and is not to see it again (4.3.3-1; in version 5 4.3.3-6).
            self.link.put_ack(AckKind::Pubrel, id, ReasonCode::Success, cx);
            self.note_sent(out, cx);
            return;
        }
        let message = &delivery.message;
        out.is_replay = message.exchange() == RETAINED;
        self.note_replay(out.is_replay);
        let Some(plan) = self.plan(message, delivery.redelivered, cx) else {
            return self.accept(delivery.queue, delivery.id, cx);
        };
        out.stage = match plan.assurance {
            Assurance::AtMostOnce => Stage::Done,
            Assurance::AtLeastOnce => Stage::AtLeastOnce,
            Assurance::ExactlyOnce => Stage::ExactlyOnce,
        };
        if !delivery.redelivered {
            self.note_shown(message);
        }
        let is_sent = self.put_publish(message, plan, PacketId::new(id), delivery.redelivered, cx);
        if !is_sent || out.stage == Stage::Done {
            // Too large for the client: as if it had it (3.1.2-25).
            return self.accept(delivery.queue, delivery.id, cx);
        }
        if self.link.retry_ms().is_some() {
            out.message = Some(message.clone());
        }
        self.note_sent(out, cx);
    }

    fn note_sent(&mut self, out: Out, cx: &Context<'_>) {
        self.outgoing.insert(out);
        if self.retry_at_ms.is_none()
            && let Some(retry_ms) = self.link.retry_ms()
        {
            self.retry_at_ms = NonZeroU64::new(cx.now.mono_ms.saturating_add(retry_ms));
        }
    }

    /// What the client's subscriptions want of a message; their numbers are in `self.numbers`.
    #[inline]
    fn wanted(&mut self, message: &Message) -> Option<Wanted> {
        self.numbers.clear();
        match group_of(message.exchange()) {
            Some(member) => self.interest.of_group(member, &mut self.numbers),
            None => self.interest.of(message.routing_key(), &mut self.numbers),
        }
    }

    /// How a message goes to the client; `None`: not at all. The numbers of subscriptions that want
    /// it are in `self.numbers`.
    #[inline]
    fn plan(&mut self, message: &Message, redelivered: bool, cx: &Context<'_>) -> Option<Plan> {
        if cx.broker.denies_topic(self.link.id(), message.routing_key()) {
            return None;
        }
        let block = Block::of(message);
        let wanted = self.wanted(message);
        let expiry_s = match rest_of_life(message, cx.now.wall_ms) {
            Some(rest) => rest,
            // It was sent before, so it is finished (4.3.3-7, H-18).
            None if redelivered => Some(1),
            None => return None,
        };
        let Some(wanted) = wanted else {
            // Nobody wants it any more; what was begun is finished (3.10.4-3).
            return redelivered.then_some(Plan {
                assurance: block.assurance,
                retain: false,
                expiry_s,
            });
        };
        if wanted.not_own && block.publisher == self.link.publisher {
            return None;
        }
        let is_upgraded = self.link.limits.upgrade_outgoing_qos;
        let assurance =
            if is_upgraded { wanted.assurance } else { block.assurance.min(wanted.assurance) };
        let is_replay = message.exchange() == RETAINED;
        let retain = is_replay || (block.retain && (wanted.as_published || self.link.is_bridge));
        Some(Plan { assurance, retain, expiry_s })
    }

    /// The one place where PUBLISH is written. `false`: it is larger than the client takes.
    #[inline]
    pub(super) fn put_publish(
        &mut self,
        message: &Message,
        plan: Plan,
        id: Option<PacketId>,
        dup: bool,
        cx: &mut Context<'_>,
    ) -> bool {
        let promise = match (plan.assurance, id) {
            (Assurance::AtLeastOnce, Some(id)) => Promise::AtLeastOnce(id),
            (Assurance::ExactlyOnce, Some(id)) => Promise::ExactlyOnce(id),
            (Assurance::AtMostOnce, _) | (_, None) => Promise::AtMostOnce,
        };
        let block = Block::of(message);
        let version = self.link.version;
        let topic = message.routing_key();
        let said = match &self.aliases {
            Some(aliases) if version == Version::V5 => aliases.outbound.say(topic),
            Some(_) | None => Said::Name,
        };
        let (name, alias) = match said {
            Said::Name => (topic, None),
            Said::Both(alias) => (topic, Some(alias)),
            Said::Alias(alias) => ("", Some(alias)),
        };
        let head = PublishHead {
            dup: dup && promise != Promise::AtMostOnce,
            retain: plan.retain,
            promise,
            topic: name,
            alias,
            expiry_s: plan.expiry_s,
            subscription_ids: &self.numbers,
            forwarded: block.forwarded,
        };
        let max = self.link.packet_bytes_max;
        let put = match message.body_apart() {
            None => head.put(cx.out.buffer(), version, message.body(), max),
            Some(body) => head
                .put_head(cx.out.buffer(), version, body.len(), max)
                .map(|()| cx.out.put_shared(body.clone())),
        };
        if put.is_err() {
            tracing::debug!(
                client = &*self.link.client,
                topic,
                "a message is larger than the client takes"
            );
            return false;
        }
        if let (Said::Both(_), Some(aliases)) = (said, &mut self.aliases) {
            aliases.outbound.said(topic, said);
        }
        let is_again = head.dup;
        let counts = self.counts();
        match promise {
            Promise::AtMostOnce => counts.delivered_settled += 1,
            Promise::AtLeastOnce(_) | Promise::ExactlyOnce(_) => counts.delivered += 1,
        }
        counts.redelivered += u64::from(is_again);
        true
    }

    /// The session is done with a delivery.
    pub(super) fn accept(&self, queue: QueueRef, id: DeliveryId, cx: &mut Context<'_>) {
        let which = (queue, id);
        cx.broker.settle(self.link.id(), SESSION, which, Outcome::Accept, true, cx.now);
    }

    /// A packet id is free: what waited for it goes on.
    pub(super) fn send_held(&mut self, cx: &mut Context<'_>) {
        self.give_queues_a_turn(cx);
        while let Some(position) = self.outgoing.first_held()
            && self.has_room(position)
            && let Some(delivery) = self.outgoing.unhold()
        {
            self.send(&delivery, cx);
        }
        self.fill_from_queues(cx);
    }

    /// Sends again what a client of version 3 has not answered for long (V-030, H-08).
    pub(super) fn retry(&mut self, cx: &mut Context<'_>) {
        let Some(retry_ms) = self.link.retry_ms() else {
            self.retry_at_ms = None;
            return;
        };
        let now_ms = cx.now.mono_ms;
        let mut due = Vec::new();
        let mut next_ms = None;
        for out in self.outgoing.iter_mut() {
            if out.sent_ms.saturating_add(retry_ms) <= now_ms {
                out.sent_ms = now_ms;
                due.push((out.position, out.stage, out.message.clone()));
            }
            let at_ms = out.sent_ms.saturating_add(retry_ms);
            next_ms = Some(next_ms.map_or(at_ms, |next: u64| next.min(at_ms)));
        }
        self.retry_at_ms = next_ms.and_then(NonZeroU64::new);
        for (position, stage, message) in due {
            let id = packet_id(position);
            match (stage, message) {
                (Stage::AtLeastOnce | Stage::ExactlyOnce, Some(message)) => {
                    if let Some(plan) = self.plan(&message, true, cx) {
                        let assurance = if stage == Stage::AtLeastOnce {
                            Assurance::AtLeastOnce
                        } else {
                            Assurance::ExactlyOnce
                        };
                        let plan = Plan { assurance, ..plan };
                        self.put_publish(&message, plan, PacketId::new(id), true, cx);
                    }
                }
                (Stage::Released, _) => {
                    self.link.put_ack(AckKind::Pubrel, id, ReasonCode::Success, cx);
                }
                (Stage::AtLeastOnce | Stage::ExactlyOnce | Stage::Receiving | Stage::Done, _) => {}
            }
        }
    }
}
