//! Queues as topics: `$q/<queue>` is the queue of that name, for who publishes and for who
//! subscribes (mqtt.md X-07). A subscriber is one consumer among others: what it gets is settled as
//! it answers, and goes back when it does not. Such a subscription ends with its connection.
//! May import the files of this folder, `broker`, `command`, `properties`.
//!
//! A message is called by its own topic, or `$q/<queue>` where it was published to the queue by name
//! or its key is no topic. It comes with the QoS of the subscription: the queue is its publisher.
//! That is 1 at most where the session outlives the connection: what is not answered goes back to
//! the queue, so its packet id means something else afterwards, which a client that remembers it
//! from QoS 2 would not know.

use std::collections::{BTreeMap, VecDeque};

use crate::command::{Answer, Command, Consume, Delivery, Outcome, Published, Refusal};
use crate::ids::{ConsumerKey, ConsumerRef, DeliveryId, QueueRef};
use crate::message::Message;
use crate::properties::{Crossing, QUEUES as QUEUES_PREFIX};
use crate::protocol::Context;
use crate::subscriber::Assurance;
use crate::value::Table;

use super::block::TAG;
use super::deliver::{Plan, rest_of_life};
use super::foreign;
use super::link::tell;
use super::outgoing::packet_id;
use super::reason::code_of;
use super::session::{Mqtt, QUEUES};
use super::wire::PacketId;
use super::wire::ack::{Ack, AckKind};
use super::wire::fault::Fault;
use super::wire::reason_code::ReasonCode;
use super::wire::topic::check_name;

/// A subscription to a queue.
#[derive(Debug)]
struct Consumer {
    key: ConsumerKey,
    queue: Box<str>,
    /// Once the broker has answered.
    reference: Option<ConsumerRef>,
    /// What comes is settled before it comes.
    is_settled: bool,
    assurance: Assurance,
    /// The number that the client gave it; 0: none.
    number: u32,
}

/// A message of a queue that waits for an answer of the client.
#[derive(Debug)]
struct Out {
    queue: QueueRef,
    id: DeliveryId,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// PUBLISH with QoS 1 was sent.
    AtLeastOnce,
    /// PUBLISH with QoS 2 was sent.
    ExactlyOnce,
    /// PUBREL was sent.
    Released,
}

/// What was asked of the broker.
#[derive(Debug)]
enum Asked {
    Consume(ConsumerKey),
    Cancel(ConsumerKey),
}

/// See the module. Only for clients that use it.
#[derive(Debug, Default)]
pub(super) struct Queues {
    consumers: Vec<Consumer>,
    last_key: u32,
    asked: Option<Asked>,
    /// By packet id.
    outs: BTreeMap<u16, Out>,
    /// What came while the client had as much as it takes.
    held: VecDeque<Delivery>,
    last_id: u16,
}

impl Queues {
    /// How many messages the client has not answered.
    pub(super) fn out(&self) -> usize {
        self.outs.len()
    }

    /// How many subscriptions.
    pub(super) const fn len(&self) -> usize {
        self.consumers.len()
    }

    /// The QoS with which messages of a queue come.
    pub(super) fn granted(&self, queue: &str) -> Option<Assurance> {
        let mut all = self.consumers.iter();
        all.find(|consumer| *consumer.queue == *queue).map(|consumer| consumer.assurance)
    }

    fn find(&mut self, queue: &str) -> Option<&mut Consumer> {
        self.consumers.iter_mut().find(|consumer| *consumer.queue == *queue)
    }

    fn of(&self, key: ConsumerKey) -> Option<&Consumer> {
        self.consumers.iter().find(|consumer| consumer.key == key)
    }
}

/// What became of a wish for a queue.
#[derive(Debug)]
pub(super) enum Begun {
    /// The broker has answered, or need not be asked.
    Done(Result<(), Refusal>),
    /// The answer is awaited.
    Waits,
}

impl Mqtt {
    /// Whether a message of the session may go to the client beside those of queues: its packet id
    /// is free, and the client takes one more (3.3.4-9).
    #[inline]
    pub(super) fn has_room(&self, position: u64) -> bool {
        let Some(queues) = &self.queues else { return true };
        let out = queues.outs.len().saturating_add(self.outgoing.len());
        out < usize::from(self.link.window) && !queues.outs.contains_key(&packet_id(position))
    }

    /// How many subscriptions to queues there are.
    pub(super) fn queues_len(&self) -> usize {
        self.queues.as_ref().map_or(0, |queues| queues.len())
    }

    /// Subscribes to a queue. The QoS that is granted is told afterwards by [`Self::granted`].
    pub(super) fn begin_queue(
        &mut self,
        queue: &str,
        assurance: Assurance,
        number: u32,
        cx: &mut Context<'_>,
    ) -> Begun {
        let window = self.link.window;
        let assurance =
            if self.link.is_lasting { assurance.min(Assurance::AtLeastOnce) } else { assurance };
        let queues = self.queues.get_or_insert_default();
        if let Some(consumer) = queues.find(queue) {
            consumer.number = number;
            consumer.assurance =
                if consumer.is_settled { Assurance::AtMostOnce } else { assurance };
            return Begun::Done(Ok(()));
        }
        queues.last_key = queues.last_key.wrapping_add(1);
        let key = ConsumerKey(queues.last_key);
        let is_settled = assurance == Assurance::AtMostOnce;
        queues.consumers.push(Consumer {
            key,
            queue: queue.into(),
            reference: None,
            is_settled,
            assurance,
            number,
        });
        queues.asked = Some(Asked::Consume(key));
        let command = Command::Consume(Box::new(Consume {
            queue: queue.into(),
            key,
            tag: self.link.client.clone(),
            prefetch: window.into(),
            no_settle: is_settled,
            exclusive: false,
            arguments: Table::default(),
        }));
        match cx.broker.execute(self.link.id(), QUEUES, command, cx.now) {
            Some(answer) => Begun::Done(self.queue_answered(answer, cx)),
            None => Begun::Waits,
        }
    }

    /// The QoS with which messages of a queue come.
    pub(super) fn granted(&self, queue: &str) -> Option<Assurance> {
        self.queues.as_ref()?.granted(queue)
    }

    /// Unsubscribes from a queue; `None`: there is no such subscription.
    pub(super) fn end_queue(&mut self, queue: &str, cx: &mut Context<'_>) -> Option<Begun> {
        let queues = self.queues.as_mut()?;
        let consumer = queues.find(queue)?;
        let (key, consumer) = (consumer.key, consumer.reference?);
        queues.asked = Some(Asked::Cancel(key));
        let command = Command::Cancel { consumer };
        Some(match cx.broker.execute(self.link.id(), QUEUES, command, cx.now) {
            Some(answer) => Begun::Done(self.queue_answered(answer, cx)),
            None => Begun::Waits,
        })
    }

    /// The broker has answered what was asked about a queue.
    pub(super) fn queue_answered(
        &mut self,
        answer: Answer,
        cx: &mut Context<'_>,
    ) -> Result<(), Refusal> {
        let Some(queues) = &mut self.queues else { return Ok(()) };
        match (queues.asked.take(), answer) {
            (Some(Asked::Consume(key)), Answer::Consuming { consumer, .. }) => {
                let mut all = queues.consumers.iter_mut();
                if let Some(entry) = all.find(|entry| entry.key == key) {
                    entry.reference = Some(consumer);
                }
                Ok(())
            }
            (Some(Asked::Consume(key)), Answer::Refused(refusal)) => {
                tell!(info, self.link, ?refusal, "no consumer of a queue");
                queues.consumers.retain(|entry| entry.key != key);
                Err(refusal)
            }
            (Some(Asked::Cancel(key)), _) => {
                self.forget_consumer(key, cx);
                Ok(())
            }
            (Some(Asked::Consume(_)) | None, _) => Ok(()),
        }
    }

    /// There is no such consumer any more: what waits for the client goes back, what it has may
    /// still be answered.
    pub(super) fn forget_consumer(&mut self, key: ConsumerKey, cx: &mut Context<'_>) {
        let Some(queues) = &mut self.queues else { return };
        queues.consumers.retain(|entry| entry.key != key);
        let held = std::mem::take(&mut queues.held);
        let (back, kept) = held.into_iter().partition(|delivery| delivery.consumer == Some(key));
        queues.held = kept;
        let back: VecDeque<Delivery> = back;
        for delivery in back {
            self.settle_queued(
                (delivery.queue, delivery.id),
                Outcome::Requeue { failed: false },
                cx,
            );
        }
    }

    fn settle_queued(&self, which: (QueueRef, DeliveryId), how: Outcome, cx: &mut Context<'_>) {
        if which.1 == DeliveryId::SETTLED {
            return;
        }
        cx.broker.settle(self.link.id(), QUEUES, which, how, true, cx.now);
    }

    /// A message of a queue.
    pub(super) fn on_queue_delivery(&mut self, delivery: Delivery, cx: &mut Context<'_>) {
        if self.is_open()
            && let Some(queues) = &mut self.queues
        {
            queues.held.push_back(delivery);
            return self.send_queued(cx);
        }
        self.settle_queued((delivery.queue, delivery.id), Outcome::Requeue { failed: false }, cx);
    }

    /// Sends what waits, as long as the client takes it.
    fn send_queued(&mut self, cx: &mut Context<'_>) {
        while let Some(queues) = &mut self.queues {
            let out = queues.outs.len().saturating_add(self.outgoing.len());
            let Some(first) = queues.held.front() else { return };
            let is_free = first.id == DeliveryId::SETTLED || out < usize::from(self.link.window);
            let Some(delivery) = is_free.then(|| queues.held.pop_front()).flatten() else { return };
            self.send_one_queued(&delivery, cx);
        }
    }

    fn send_one_queued(&mut self, delivery: &Delivery, cx: &mut Context<'_>) {
        let which = (delivery.queue, delivery.id);
        let consumer = delivery.consumer.and_then(|key| self.queues.as_ref()?.of(key));
        let Some(Consumer { queue, assurance, number, .. }) = consumer else {
            return self.settle_queued(which, Outcome::Requeue { failed: false }, cx);
        };
        let (assurance, number) = (*assurance, *number);
        let Some(message) = named(&delivery.message, queue, cx.broker.crossing()) else {
            return self.settle_queued(which, Outcome::Reject, cx);
        };
        self.numbers.clear();
        self.numbers.extend((number != 0).then_some(number));
        let stage = match assurance {
            Assurance::AtMostOnce => None,
            Assurance::AtLeastOnce => Some(Stage::AtLeastOnce),
            Assurance::ExactlyOnce => Some(Stage::ExactlyOnce),
        };
        let id = stage.and_then(|_| self.free_id());
        // One that is over is for the queue to drop: it was not yet when it left.
        let expiry_s = rest_of_life(&message, cx.now.wall_ms).unwrap_or(Some(1));
        let plan = Plan { assurance, retain: false, expiry_s };
        let is_sent = self.put_publish(&message, plan, id, false, cx);
        match (stage, id) {
            // It is larger than the client takes: it would come for ever.
            _ if !is_sent => self.settle_queued(which, Outcome::Reject, cx),
            (Some(stage), Some(id)) => {
                if let Some(queues) = &mut self.queues {
                    let (queue, id_there) = which;
                    queues.outs.insert(id.get(), Out { queue, id: id_there, stage });
                }
            }
            (None, _) | (_, None) => self.settle_queued(which, Outcome::Accept, cx),
        }
    }

    /// A packet id that nothing uses, far from those that the session uses next: they go up, these
    /// go down.
    fn free_id(&mut self) -> Option<PacketId> {
        let queues = self.queues.as_mut()?;
        for _ in 0..u16::MAX {
            let id = queues.last_id.checked_sub(1).filter(|id| *id > 0).unwrap_or(u16::MAX);
            queues.last_id = id;
            if !queues.outs.contains_key(&id) && self.outgoing.get_mut(id).is_none() {
                return PacketId::new(id);
            }
        }
        None
    }

    /// PUBACK, PUBREC or PUBCOMP. `false`: it is not for a message of a queue.
    pub(super) fn answers_queued(
        &mut self,
        ack: &Ack<'_>,
        cx: &mut Context<'_>,
    ) -> Result<bool, Fault> {
        let id = ack.packet_id.get();
        let queues = self.queues.as_mut();
        let Some((queues, out)) = queues.and_then(|queues| {
            let out = queues.outs.get(&id)?;
            let out = Out { queue: out.queue, id: out.id, stage: out.stage };
            Some((queues, out))
        }) else {
            return Ok(false);
        };
        match (ack.kind, out.stage) {
            (AckKind::Puback, Stage::AtLeastOnce) | (AckKind::Pubcomp, Stage::Released) => {}
            (AckKind::Pubrec, Stage::ExactlyOnce) if ack.code.is_failure() => {}
            (AckKind::Pubrec, Stage::ExactlyOnce | Stage::Released) => {
                queues.outs.insert(id, Out { stage: Stage::Released, ..out });
                self.link.put_ack(AckKind::Pubrel, id, ReasonCode::Success, cx);
                return Ok(true);
            }
            (AckKind::Puback | AckKind::Pubrec | AckKind::Pubcomp | AckKind::Pubrel, _) => {
                return Err(Fault::protocol("an answer that belongs to another QoS"));
            }
        }
        queues.outs.remove(&id);
        let is_refused = ack.code.is_failure() && ack.kind != AckKind::Pubcomp;
        let how = if is_refused { Outcome::Requeue { failed: true } } else { Outcome::Accept };
        self.settle_queued((out.queue, out.id), how, cx);
        self.counts().accepted += u64::from(how == Outcome::Accept);
        self.send_queued(cx);
        self.send_held(cx);
        Ok(true)
    }

    /// A message of the session is done with: one of a queue may go, if none of them is out.
    pub(super) fn give_queues_a_turn(&mut self, cx: &mut Context<'_>) {
        if self.queues.as_ref().is_some_and(|queues| queues.out() == 0) {
            self.send_queued(cx);
        }
    }

    /// The session has sent what it could.
    pub(super) fn fill_from_queues(&mut self, cx: &mut Context<'_>) {
        if self.queues.is_some() {
            self.send_queued(cx);
        }
    }

    /// The connection ends: everything goes back.
    pub(super) fn give_back_queued(&mut self, cx: &mut Context<'_>) {
        let Some(queues) = self.queues.take() else { return };
        for out in queues.outs.values() {
            self.settle_queued((out.queue, out.id), Outcome::Requeue { failed: true }, cx);
        }
        for delivery in &queues.held {
            let which = (delivery.queue, delivery.id);
            self.settle_queued(which, Outcome::Requeue { failed: false }, cx);
        }
        // Nobody waits for the answer.
        let _ = cx.broker.execute(self.link.id(), QUEUES, Command::CloseChannel, cx.now);
    }

    /// Publishes to a queue by its name, or to an exchange.
    pub(super) fn publish_elsewhere(
        &self,
        publish: &crate::command::Publish<'_>,
        channel: crate::ids::ChannelId,
        cx: &mut Context<'_>,
    ) -> Result<Published, ReasonCode> {
        let id = self.link.id();
        // The right on an exchange is asked for by the broker.
        let is_queue = publish.exchange.is_empty();
        let permitted =
            if is_queue { cx.broker.permit_queue(id, publish.routing_key) } else { Ok(()) };
        permitted.and_then(|()| cx.broker.publish(id, channel, publish, cx.now)).map_err(
            |refusal| {
                tracing::debug!(client = &*self.link.client, ?refusal, "publish refused");
                code_of(&refusal)
            },
        )
    }
}

/// A message of a queue as this protocol has it, by the name that the client is told.
fn named(message: &Message, queue: &str, crossing: Crossing) -> Option<Message> {
    let own = if message.exchange().is_empty() {
        None
    } else if foreign::is_own(message) {
        check_name(message.routing_key()).is_ok().then(|| message.clone())
    } else {
        foreign::translated(message, crossing)
    };
    own.or_else(|| {
        let topic = format!("{QUEUES_PREFIX}{queue}");
        if message.traits().protocol == TAG {
            return message.readdressed("".into(), &topic);
        }
        foreign::translated_as(message, &topic, crossing)
    })
}
