//! Messages to the client: deliver, get-ok, return; and how the client settles them
//! (P4, P45 to P49, P53, P69, P71). May import the files of this folder, `command`, `message`.

use crate::command::{Answer, Delivery, Outcome};
use crate::ids::{DeliveryId, QueueRef};
use crate::limits::TRANSACTION_ENTRIES_MAX;
use crate::message::Message;
use crate::protocol::Context;

use super::answer::count;
use super::channel::{Channel, Flow, Mode, Phase, settle_one, unanswered};
use super::death;
use super::foreign;
use super::link::Link;
use super::reply_code::{Fault, ReplyCode};
use super::wire::frame;
use super::wire::method::{Basic, Encode, Method, basic};

/// Appends a message: method, header, body in as many frames as it takes, in one pass.
pub(super) fn put_message(
    cx: &mut Context<'_>,
    channel: u16,
    method: &impl Encode,
    message: &Message,
    delivery_count: Option<u64>,
    frame_bytes_max: u32,
) {
    let changed = death::changed_block(message, delivery_count, (cx.broker.crossing(), cx.now));
    let out = &mut *cx.out;
    let block = changed.as_deref().unwrap_or_else(|| message.properties());
    let Some(body) = message.body_apart() else {
        let buffer = out.buffer();
        frame::put_content(buffer, channel, method, block, message.body(), frame_bytes_max);
        return;
    };
    let buffer = out.buffer();
    frame::put_method(buffer, channel, method);
    let body_bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
    frame::put_header_frame(buffer, channel, body_bytes, block);
    let piece_bytes = frame::payload_bytes_max(frame_bytes_max);
    let mut rest = body.clone();
    while !rest.is_empty() {
        let piece = rest.split_to(piece_bytes.min(rest.len()));
        let buffer = out.buffer();
        buffer.push(frame::BODY);
        buffer.extend_from_slice(&channel.to_be_bytes());
        let size = u32::try_from(piece.len()).unwrap_or(u32::MAX);
        buffer.extend_from_slice(&size.to_be_bytes());
        out.put_shared(piece);
        out.buffer().push(frame::END);
    }
}

/// Back to its queue: it was not sent.
pub(super) fn send_back(delivery: &Delivery, link: &Link, cx: &mut Context<'_>) {
    let outcome = Outcome::Requeue { failed: false };
    let which = (delivery.queue, delivery.id);
    let is_counted = delivery.consumer.is_some();
    cx.broker.settle(link.id(), delivery.channel, which, outcome, is_counted, cx.now);
}

impl Channel {
    /// A message for a consumer.
    #[inline]
    pub(super) fn deliver(&mut self, delivery: &Delivery, link: &Link, cx: &mut Context<'_>) {
        let consumer = delivery.consumer.and_then(|key| self.consumers.get(key));
        let is_open = self.phase == Phase::Open;
        let Some(consumer) = consumer.filter(|c| is_open && !c.is_retired) else {
            if consumer.is_none_or(|c| !c.no_ack) {
                send_back(delivery, link, cx);
            }
            return;
        };
        let now_ms = cx.now.mono_ms;
        self.counts.redelivered += u64::from(delivery.redelivered);
        let delivery_tag = if consumer.no_ack {
            self.counts.delivered_settled += 1;
            self.unacked.pass()
        } else {
            self.counts.delivered += 1;
            self.unacked.push(delivery.queue, delivery.id, delivery.consumer, now_ms)
        };
        let message = &delivery.message;
        let (exchange, routing_key) = foreign::address(message, cx.broker.dots());
        let method = basic::Deliver {
            consumer_tag: &consumer.tag,
            delivery_tag,
            redelivered: delivery.redelivered,
            exchange,
            routing_key: &routing_key,
        };
        let count = delivery.delivery_count;
        put_message(cx, self.number, &method, message, count, link.frame_bytes_max);
    }

    /// The answer to basic.get.
    pub(super) fn on_got(
        &mut self,
        answer: Answer,
        no_ack: bool,
        link: &Link,
        cx: &mut Context<'_>,
    ) -> Result<(), Fault> {
        let (delivery, left) = match answer {
            Answer::Got { delivery, left } => (delivery, left),
            Answer::Empty => {
                self.counts.fetched_none += 1;
                let method = basic::GetEmpty { cluster_id: "" };
                self.reply(&Method::Basic(Basic::GetEmpty(method)), cx);
                return Ok(());
            }
            Answer::Done
            | Answer::Bound { .. }
            | Answer::QueueDeclared { .. }
            | Answer::Removed { .. }
            | Answer::Consuming { .. }
            | Answer::ReplyTo { .. }
            | Answer::SessionOpened(_)
            | Answer::Subscribed(_)
            | Answer::Unsubscribed(_)
            | Answer::RetainedRead { .. }
            | Answer::Refused(_) => return Err(unanswered(&answer)),
        };
        let message = &delivery.message;
        self.counts.redelivered += u64::from(delivery.redelivered);
        let (exchange, routing_key) = foreign::address(message, cx.broker.dots());
        let method = basic::GetOk {
            delivery_tag: self.tag_of_got(delivery.queue, delivery.id, no_ack, cx),
            redelivered: delivery.redelivered,
            exchange,
            routing_key: &routing_key,
            message_count: count(left),
        };
        let count = delivery.delivery_count;
        put_message(cx, self.number, &method, message, count, link.frame_bytes_max);
        Ok(())
    }

    fn tag_of_got(
        &mut self,
        queue: QueueRef,
        id: DeliveryId,
        no_ack: bool,
        cx: &Context<'_>,
    ) -> u64 {
        if no_ack {
            self.counts.fetched_settled += 1;
            self.unacked.pass()
        } else {
            self.counts.fetched += 1;
            self.unacked.push(queue, id, None, cx.now.mono_ms)
        }
    }

    /// A mandatory message that no queue took, some time after it was published.
    pub(super) fn on_returned(&mut self, message: &Message, link: &Link, cx: &mut Context<'_>) {
        self.counts.returned += 1;
        let method = no_route(message.exchange(), message.routing_key());
        put_message(cx, self.number, &method, message, None, link.frame_bytes_max);
    }

    /// ack, nack and reject (P47).
    pub(super) fn settle(
        &mut self,
        tag: u64,
        multiple: bool,
        outcome: Outcome,
        link: &Link,
        cx: &mut Context<'_>,
    ) -> Result<Flow, Fault> {
        let number = self.number;
        let unknown = || {
            let detail = format!("unknown delivery tag {tag}");
            Err(Fault::new(ReplyCode::PreconditionFailed, detail))
        };
        if let Mode::Transaction(transaction) = &mut self.mode {
            let before = transaction.settled.len();
            let settled = &mut transaction.settled;
            let is_known = if multiple {
                self.unacked.take_through(tag, |out| settled.push((out, outcome)))
            } else {
                self.unacked.take(tag).map(|out| settled.push((out, outcome))).is_some()
            };
            if settled.len() > TRANSACTION_ENTRIES_MAX && settled.len() > before {
                return Err(Fault::new(ReplyCode::PreconditionFailed, "transaction is too large"));
            }
            return if is_known { Ok(Flow::Go) } else { unknown() };
        }
        let accepted = u64::from(outcome == Outcome::Accept);
        let Self { unacked, counts, .. } = self;
        let is_known = if multiple {
            unacked.take_through(tag, |out| {
                counts.accepted += accepted;
                settle_one(&out, number, outcome, link, cx);
            })
        } else {
            match unacked.take(tag) {
                Some(out) => {
                    counts.accepted += accepted;
                    settle_one(&out, number, outcome, link, cx);
                    true
                }
                None => false,
            }
        };
        if is_known { Ok(Flow::Go) } else { unknown() }
    }

    /// Everything that is out goes back to its queues; any consumer may get it (P49).
    pub(super) fn recover(
        &mut self,
        requeue: bool,
        link: &Link,
        cx: &mut Context<'_>,
    ) -> Result<Flow, Fault> {
        if !requeue {
            return Err(Fault::new(ReplyCode::NotImplemented, "requeue=false"));
        }
        let number = self.number;
        let outcome = Outcome::Requeue { failed: true };
        self.unacked.take_through(0, |out| settle_one(&out, number, outcome, link, cx));
        Ok(Flow::Go)
    }
}

/// The method that gives a message back (P50).
pub(super) const fn no_route<'a>(exchange: &'a str, routing_key: &'a str) -> basic::Return<'a> {
    basic::Return {
        reply_code: ReplyCode::NoRoute.number(),
        reply_text: ReplyCode::NoRoute.name(),
        exchange,
        routing_key,
    }
}
