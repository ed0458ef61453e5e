//! Consumers of a channel: qos, consume, cancel, get (P42 to P46; abuse rows 29, 30).
//! May import the files of this folder, `command`, `ids`.

use std::collections::HashMap;

use ahash::RandomState;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::command::{self, Answer, Command};
use crate::ids::{ConsumerKey, ConsumerRef};
use crate::protocol::Context;

use super::REPLY_QUEUE;
use super::channel::{Channel, Flow, Replies, Then, unanswered};
use super::link::{Link, channel_id};
use super::reply_code::{Fault, ReplyCode};
use super::wire::method::{Basic, Method, basic};

/// One consumer as its client knows it.
#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) tag: Box<str>,
    /// Known once the broker has answered; never for direct replies.
    pub(super) reference: Option<ConsumerRef>,
    pub(super) no_ack: bool,
    /// It was cancelled, and the broker could not be told: what still comes for it is dropped.
    pub(super) is_retired: bool,
    /// How long it may keep a delivery.
    pub(super) timeout_ms: Option<u64>,
}

/// The consumers of a channel: by key for each delivery, by tag when the client names one.
#[derive(Debug, Default)]
pub(super) struct Consumers {
    slots: Vec<Option<Consumer>>,
    free: Vec<ConsumerKey>,
    by_tag: HashMap<Box<str>, ConsumerKey, RandomState>,
    timeout_ms_min: Option<u64>,
}

impl Consumers {
    pub(super) fn get(&self, key: ConsumerKey) -> Option<&Consumer> {
        self.slots.get(usize::try_from(key.0).ok()?)?.as_ref()
    }

    pub(super) fn find(&self, tag: &str) -> Option<ConsumerKey> {
        self.by_tag.get(tag).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.by_tag.len()
    }

    /// The strictest timeout that any of them ever had.
    pub(super) const fn timeout_ms_min(&self) -> Option<u64> {
        self.timeout_ms_min
    }

    /// Adds one; its key. Keys are used again: the broker says when a consumer is over.
    fn insert(&mut self, consumer: Consumer) -> ConsumerKey {
        let next = ConsumerKey(u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
        let key = self.free.pop().unwrap_or(next);
        self.by_tag.insert(consumer.tag.clone(), key);
        match usize::try_from(key.0).ok().and_then(|index| self.slots.get_mut(index)) {
            Some(slot) => *slot = Some(consumer),
            None => self.slots.push(Some(consumer)),
        }
        key
    }

    pub(super) fn remove(&mut self, key: ConsumerKey) -> Option<Consumer> {
        let consumer = self.slots.get_mut(usize::try_from(key.0).ok()?)?.take()?;
        if !consumer.is_retired {
            self.by_tag.remove(&consumer.tag);
        }
        self.free.push(key);
        Some(consumer)
    }

    /// Forgets the tag and drops what still comes for the consumer.
    fn retire(&mut self, key: ConsumerKey) {
        let slot = usize::try_from(key.0).ok().and_then(|index| self.slots.get_mut(index));
        if let Some(Some(consumer)) = slot {
            self.by_tag.remove(&consumer.tag);
            consumer.is_retired = true;
        }
    }

    fn start(&mut self, key: ConsumerKey, reference: ConsumerRef, timeout_ms: Option<u64>) {
        let slot = usize::try_from(key.0).ok().and_then(|index| self.slots.get_mut(index));
        if let Some(Some(consumer)) = slot {
            consumer.reference = Some(reference);
            consumer.timeout_ms = timeout_ms;
        }
        self.timeout_ms_min = match (self.timeout_ms_min, timeout_ms) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
}

impl Channel {
    pub(super) fn qos(
        &mut self,
        qos: basic::Qos,
        link: &Link,
        cx: &mut Context<'_>,
    ) -> Result<Flow, Fault> {
        if qos.prefetch_size != 0 {
            let detail = format!("prefetch_size!=0 ({})", qos.prefetch_size);
            return Err(Fault::new(ReplyCode::NotImplemented, detail));
        }
        if qos.global {
            let limit = qos.prefetch_count.into();
            cx.broker.limit_channel(link.id(), channel_id(self.number), limit);
        } else {
            self.prefetch = qos.prefetch_count.into();
        }
        self.reply(&Method::Basic(Basic::QosOk), cx);
        Ok(Flow::Go)
    }

    pub(super) fn consume(
        &mut self,
        consume: &basic::Consume<'_>,
        link: &mut Link,
        cx: &mut Context<'_>,
    ) -> Result<Flow, Fault> {
        let tag = match consume.consumer_tag {
            "" => generated_tag(),
            given => given.into(),
        };
        if self.consumers.find(&tag).is_some() {
            let detail = format!("attempt to reuse consumer tag '{tag}'");
            return Err(Fault::new(ReplyCode::NotAllowed, detail));
        }
        let max = link.peer.config.amqp.consumers_per_channel_max;
        let count = u32::try_from(self.consumers.len()).unwrap_or(u32::MAX);
        if max != 0 && count >= max {
            let detail = format!("reached maximum ({max}) of consumers per channel");
            return Err(Fault::new(ReplyCode::NotAllowed, detail));
        }
        let is_silent = consume.no_wait;
        if consume.queue == REPLY_QUEUE {
            return self.consume_replies(tag, consume.no_ack, is_silent, link, cx);
        }
        let queue = self.queue_name(consume.queue)?;
        let key = self.consumers.insert(Consumer {
            tag: tag.clone(),
            reference: None,
            no_ack: consume.no_ack,
            is_retired: false,
            timeout_ms: None,
        });
        let command = Command::Consume(Box::new(command::Consume {
            queue,
            key,
            tag,
            prefetch: self.prefetch,
            no_settle: consume.no_ack,
            exclusive: consume.exclusive,
            arguments: consume.arguments.to_value(),
        }));
        self.execute(command, Then::Consuming { key, is_silent }, link, cx)
    }

    /// Direct replies: no queue, nothing to settle, once per channel (P52).
    fn consume_replies(
        &mut self,
        tag: Box<str>,
        no_ack: bool,
        is_silent: bool,
        link: &mut Link,
        cx: &mut Context<'_>,
    ) -> Result<Flow, Fault> {
        let refused = |detail| Err(Fault::new(ReplyCode::PreconditionFailed, detail));
        let old = self.replies.as_ref().map(|replies| replies.key);
        let is_retired = old.and_then(|key| self.consumers.get(key)).map(|c| c.is_retired);
        if is_retired == Some(false) {
            return refused("reply consumer already set");
        }
        if !no_ack {
            return refused("reply consumer cannot acknowledge");
        }
        if let Some(old) = old {
            // It comes back to the same place, and may get replies to its former self.
            self.consumers.remove(old);
        }
        let consumer =
            Consumer { tag, reference: None, no_ack, is_retired: false, timeout_ms: None };
        let key = self.consumers.insert(consumer);
        self.replies = Some(Replies { key, address: None });
        let command = Command::ConsumeReplies { key };
        self.execute(command, Then::Replying { key, is_silent }, link, cx)
    }

    pub(super) fn on_consuming(
        &mut self,
        key: ConsumerKey,
        answer: &Answer,
        is_silent: bool,
        link: &mut Link,
        cx: &mut Context<'_>,
    ) -> Result<(), Fault> {
        let Answer::Consuming { consumer, timeout_ms } = *answer else {
            return Err(unanswered(answer));
        };
        link.has_timeouts |= timeout_ms.is_some();
        self.consumers.start(key, consumer, timeout_ms);
        self.consume_ok(key, is_silent, cx);
        Ok(())
    }

    pub(super) fn on_replying(
        &mut self,
        key: ConsumerKey,
        answer: Answer,
        is_silent: bool,
        cx: &mut Context<'_>,
    ) -> Result<(), Fault> {
        let Answer::ReplyTo { address } = answer else { return Err(unanswered(&answer)) };
        self.replies = Some(Replies { key, address: Some(address) });
        self.consume_ok(key, is_silent, cx);
        Ok(())
    }

    fn consume_ok(&self, key: ConsumerKey, is_silent: bool, cx: &mut Context<'_>) {
        if let Some(consumer) = self.consumers.get(key).filter(|_| !is_silent) {
            self.reply(&basic::ConsumeOk { consumer_tag: &consumer.tag }, cx);
        }
    }

    pub(super) fn cancel(
        &mut self,
        cancel: &basic::Cancel<'_>,
        link: &mut Link,
        cx: &mut Context<'_>,
    ) -> Result<Flow, Fault> {
        let (tag, is_silent) = (cancel.consumer_tag, cancel.no_wait);
        let key = self.consumers.find(tag);
        let reference = key.and_then(|key| self.consumers.get(key)).and_then(|c| c.reference);
        if let (Some(key), Some(consumer)) = (key, reference) {
            // It stays known until the broker has answered: deliveries may be on their way.
            let then = Then::Cancelled { key, tag: tag.into(), is_silent };
            return self.execute(Command::Cancel { consumer }, then, link, cx);
        }
        if let Some(key) = key {
            self.consumers.retire(key);
            if let Some(replies) = &mut self.replies {
                replies.address = None;
                cx.broker.cancel_replies(link.id(), channel_id(self.number));
            }
        }
        // An unknown tag is fine (P44): its queue may have just been deleted.
        if !is_silent {
            self.reply(&basic::CancelOk { consumer_tag: tag }, cx);
        }
        Ok(Flow::Go)
    }

    /// The broker ended a consumer. Clients that do not know basic.cancel from a server are not
    /// told (S72).
    pub(super) fn on_consumer_gone(&mut self, key: ConsumerKey, link: &Link, cx: &mut Context<'_>) {
        let Some(consumer) = self.consumers.remove(key) else { return };
        if link.capabilities.consumer_cancel_notify {
            self.reply(&basic::Cancel { consumer_tag: &consumer.tag, no_wait: true }, cx);
        }
    }

    pub(super) fn get(
        &mut self,
        get: &basic::Get<'_>,
        link: &mut Link,
        cx: &mut Context<'_>,
    ) -> Result<Flow, Fault> {
        let no_ack = get.no_ack;
        let command = Command::Get { queue: self.queue_name(get.queue)?, no_settle: no_ack };
        self.execute(command, Then::Got { no_ack }, link, cx)
    }
}

/// A tag that no client would choose (P43).
fn generated_tag() -> Box<str> {
    let mut octets = [0; 16];
    if getrandom::fill(&mut octets).is_err() {
        // Without randomness a tag can only clash with one made the same way on this channel,
        // which is refused.
        tracing::warn!("no random octets for a consumer tag");
    }
    format!("amq.ctag-{}", URL_SAFE_NO_PAD.encode(octets)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consumer(tag: &str) -> Consumer {
        Consumer {
            tag: tag.into(),
            reference: None,
            no_ack: false,
            is_retired: false,
            timeout_ms: None,
        }
    }

    #[test]
    fn a_consumer_is_found_by_key_and_by_tag_until_it_is_removed() {
        let mut consumers = Consumers::default();
        let (a, b) = (consumers.insert(consumer("a")), consumers.insert(consumer("b")));
        assert_ne!(a, b);
        assert_eq!(consumers.find("a"), Some(a));
        assert_eq!(&*consumers.remove(a).unwrap().tag, "a");
        assert!(consumers.remove(a).is_none() && consumers.get(a).is_none());
        assert_eq!(consumers.insert(consumer("c")), a, "the place is used again");
        assert_eq!(consumers.len(), 2);
    }

    #[test]
    fn generated_tags_differ() {
        let (a, b) = (generated_tag(), generated_tag());
        assert!(a.starts_with("amq.ctag-") && a != b);
        assert_eq!(a.len(), "amq.ctag-".len() + 22);
    }
}
