//! PUBLISH from the client (3.3; V-041, H-24, H-28). May import the files of this folder, `broker`,
//! `command`, `message`.

use std::borrow::Cow;
use std::rc::Rc;

use crate::command::{self, Once, Published, Refusal};
use crate::ids::{ChannelId, PublishSeq};
use crate::message::{Body, Traits};
use crate::properties::{TOPICS, exchange_of, key_of_topic, queue_of};
use crate::protocol::Context;
use crate::subscriber::{Assurance, FILTERS, Keep};

use super::acks::Owed;
use super::block::{Block, TAG};
use super::limits::TOO_DEEP;
use super::reason::code_of;
use super::session::{Flow, Mqtt, ONCE, TWICE};
use super::wire::PacketId;
use super::wire::fault::Fault;
use super::wire::publish::{Promise, Publish};
use super::wire::reason_code::ReasonCode;

/// Topics that are the broker's, up to the first slash (H-28).
const RESERVED: [&str; 8] =
    ["$SYS", "$share", "$queue", "$delayed", "$exclusive", "$q", "$s", "$exchange"];
/// Under which a bridge of Mosquitto says at its other broker whether it is connected.
const BRIDGES: &str = "$SYS/broker/connection/";
/// What is said there.
const BRIDGE_STATE: &str = "/state";
/// Longest key of an exchange.
const KEY_BYTES_MAX: usize = 255;

/// Whether a client may publish to this topic, as far as the name tells.
pub(super) fn check_topic(topic: &str) -> Result<(), ReasonCode> {
    if topic.starts_with('$') {
        let first = topic.split('/').next().unwrap_or_default();
        if RESERVED.contains(&first) && !is_state_of_a_bridge(topic) {
            return Err(ReasonCode::NotAuthorized);
        }
    }
    Ok(())
}

/// `$SYS/broker/connection/{name}/state`: a bridge of 3.1.1 that may not say it would be closed, and
/// would come back at once to say it again.
fn is_state_of_a_bridge(topic: &str) -> bool {
    let name = topic.strip_prefix(BRIDGES).and_then(|rest| rest.strip_suffix(BRIDGE_STATE));
    name.is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

/// The assurance of a publish.
const fn assurance(promise: Promise) -> Assurance {
    match promise {
        Promise::AtMostOnce => Assurance::AtMostOnce,
        Promise::AtLeastOnce(_) => Assurance::AtLeastOnce,
        Promise::ExactlyOnce(_) => Assurance::ExactlyOnce,
    }
}

/// Where a publish goes.
struct Target<'a> {
    exchange: &'a str,
    key: Cow<'a, str>,
    /// It is a topic, and not a queue or an exchange under the name of one.
    is_topic: bool,
}

impl Mqtt {
    /// What a topic stands for (mqtt.md ).
    #[inline]
    fn place_of<'a>(&self, topic: &'a str, cx: &Context<'_>) -> Result<Target<'a>, ReasonCode> {
        if let Some(queue) = queue_of(topic) {
            return Ok(Target { exchange: "", key: Cow::Borrowed(queue), is_topic: false });
        }
        if self.link.limits.publish_to_exchanges
            && let Some((exchange, topic)) = exchange_of(topic)
        {
            if matches!(exchange, FILTERS | TOPICS) {
                // Rights on topics are asked for topics.
                return Err(ReasonCode::NotAuthorized);
            }
            let key = key_of_topic(topic, cx.broker.dots());
            if key.len() > KEY_BYTES_MAX {
                return Err(ReasonCode::TopicNameInvalid);
            }
            return Ok(Target { exchange, key: Cow::Owned(key), is_topic: false });
        }
        check_topic(topic)?;
        Ok(Target { exchange: FILTERS, key: Cow::Borrowed(topic), is_topic: true })
    }

    /// Whether a publish has to wait.
    pub(super) fn holds_publish(&mut self, cx: &mut Context<'_>) -> bool {
        if cx.broker.publish_paused(self.link.id()) {
            self.is_paused = true;
            return true;
        }
        let max = self.link.limits.messages_per_second_max;
        if max > 0 {
            self.held_until_ms = self.live.count_publish(max, cx.now.mono_ms);
        }
        self.held_until_ms.is_some()
    }

    /// A publish that need not wait.
    #[inline]
    pub(super) fn on_publish(
        &mut self,
        publish: &Publish<'_>,
        cx: &mut Context<'_>,
    ) -> Result<Flow, Fault> {
        let bytes_max = self.link.limits.message_bytes_max;
        if bytes_max > 0 && publish.payload.len() > bytes_max {
            return Err(Fault::new(ReasonCode::PacketTooLarge, "the payload is too large"));
        }
        self.check_offer(publish)?;
        let aliased = self.resolve(publish)?;
        let topic = aliased.as_deref().unwrap_or(publish.topic);
        if !self.link.limits.allows_levels(topic) {
            // V-040.
            return Err(TOO_DEEP);
        }
        // What is retained is there for a subscriber that comes a moment later, and must not be lost
        // with its connection if its client closes that at once and comes again.
        if !publish.retain && self.waits_for_subscribers(topic, cx) {
            return Ok(Flow::Hold);
        }
        if publish.promise != Promise::AtMostOnce
            && self.incoming.as_ref().is_some_and(|incoming| incoming.takes_no_more())
        {
            return Ok(Flow::Go);
        }
        match publish.promise {
            Promise::AtMostOnce => {
                match self.hand_over(topic, publish, ONCE, None, cx) {
                    // Nobody waits for it (H-31).
                    Ok(_) => self.counts().published += 1,
                    Err(code) => tracing::debug!(
                        peer = %self.link.peer.remote,
                        code = code.octet(),
                        "a publish was refused"
                    ),
                }
            }
            Promise::AtLeastOnce(id) => self.publish_once(topic, publish, id, cx)?,
            Promise::ExactlyOnce(id) => self.publish_twice(topic, publish, id, cx)?,
        }
        Ok(Flow::Go)
    }

    /// Whether it keeps to what CONNACK has said.
    #[inline]
    fn check_offer(&self, publish: &Publish<'_>) -> Result<(), Fault> {
        let limits = &self.link.limits;
        if publish.promise.qos() > limits.qos_max {
            // 3.2.2-11 of 5.0.
            return Err(Fault::new(ReasonCode::QosNotSupported, "a QoS above the maximum"));
        }
        if publish.retain && !limits.retain_available {
            // 3.2.2-14 of 5.0.
            return Err(Fault::new(ReasonCode::RetainNotSupported, "nothing is retained here"));
        }
        Ok(())
    }

    /// Whether a publish that would reach nobody has to wait until what other clients sent before it
    /// is known: a client need not wait for SUBACK before another one publishes. The packet is shown
    /// again afterwards.
    #[inline]
    fn waits_for_subscribers(&mut self, topic: &str, cx: &mut Context<'_>) -> bool {
        let waits =
            queue_of(topic).is_none() && cx.broker.publish_waits(self.link.id(), topic, cx.now);
        if waits {
            self.is_paused = true;
            self.live.uncount_publish();
        }
        waits
    }

    /// The topic that an alias stands for (3.3.2-7 to 3.3.2-12).
    #[inline]
    fn resolve(&mut self, publish: &Publish<'_>) -> Result<Option<Rc<str>>, Fault> {
        let Some(alias) = publish.properties.topic_alias else { return Ok(None) };
        let max = self.link.limits.topic_alias_max_in;
        if alias == 0 || alias > max {
            let text = "a topic alias above the maximum";
            return Err(Fault::new(ReasonCode::TopicAliasInvalid, text));
        }
        let inbound = &mut self.aliases.get_or_insert_default().inbound;
        if publish.topic.is_empty() {
            let text = "a topic alias that stands for nothing";
            return match inbound.get(alias) {
                Some(topic) => Ok(Some(topic)),
                None => Err(Fault::protocol(text)),
            };
        }
        if inbound.set(alias, publish.topic) {
            return Ok(None);
        }
        Err(Fault::new(ReasonCode::QuotaExceeded, "too many octets of topics with aliases"))
    }

    fn publish_once(
        &mut self,
        topic: &str,
        publish: &Publish<'_>,
        id: PacketId,
        cx: &mut Context<'_>,
    ) -> Result<(), Fault> {
        let seq = self.begin()?.once.next();
        let result = self.hand_over(topic, publish, ONCE, Some(PublishSeq(seq)), cx);
        self.counts().published += u64::from(result.is_ok());
        let owed = match result {
            Ok(published) => self.owed(published, ReasonCode::Success, cx.now.mono_ms)?,
            Err(code) => self.refused(code, cx.now.mono_ms)?,
        };
        let incoming = self.incoming.get_or_insert_default();
        if publish.retain && owed == Owed::Waiting {
            incoming.keep(seq, topic);
        }
        incoming.once.push(id.get(), owed);
        self.answer_publishes(cx);
        Ok(())
    }

    fn publish_twice(
        &mut self,
        topic: &str,
        publish: &Publish<'_>,
        id: PacketId,
        cx: &mut Context<'_>,
    ) -> Result<(), Fault> {
        let incoming = self.incoming.get_or_insert_default();
        if incoming.receipts.contains(&id.get()) {
            // A repetition (4.3.3-2; in version 5 4.3.3-10). If PUBREC still waits, it is under way; else
            // the receipt may be of the connection before, and not durable yet.
            if !incoming.twice.has(id.get()) {
                let number = incoming.twice.next();
                incoming.twice.push(id.get(), Owed::Waiting);
                self.keep_number(number, cx);
            }
            self.answer_publishes(cx);
            return Ok(());
        }
        if publish.dup && incoming.twice.has(id.get()) {
            return Ok(());
        }
        let seq = self.begin()?.twice.next();
        let result = self.hand_over(topic, publish, TWICE, Some(PublishSeq(seq)), cx);
        self.counts().published += u64::from(result.is_ok());
        let is_for_nobody = matches!(result, Ok(Published::Unroutable));
        let is_stored = matches!(result, Ok(Published::Stored));
        let owed = match result {
            Ok(Published::Unroutable) => Owed::Waiting,
            Ok(published) => self.owed(published, ReasonCode::Success, cx.now.mono_ms)?,
            Err(code) => self.refused(code, cx.now.mono_ms)?,
        };
        let incoming = self.incoming.get_or_insert_default();
        if is_stored {
            incoming.receipts.insert(id.get());
        }
        incoming.twice.push(id.get(), owed);
        if is_for_nobody {
            self.keep_number(seq, cx);
        }
        self.answer_publishes(cx);
        Ok(())
    }

    /// Counts a publish that is answered (3.3.4-7, H-09).
    fn begin(&mut self) -> Result<&mut super::receive::Incoming, Fault> {
        let incoming = self.incoming.get_or_insert_default();
        let is_within = incoming.begin(self.link.limits.receive_max_in);
        if is_within || !self.link.version.is_v5() {
            return Ok(incoming);
        }
        let text = "more unanswered publishes than the receive maximum";
        Err(Fault::new(ReasonCode::ReceiveMaximumExceeded, text))
    }

    /// To the broker.
    #[inline]
    fn hand_over(
        &self,
        topic: &str,
        publish: &Publish<'_>,
        channel: ChannelId,
        seq: Option<PublishSeq>,
        cx: &mut Context<'_>,
    ) -> Result<Published, ReasonCode> {
        let bytes_max = self.link.limits.message_bytes_dropped_above;
        if bytes_max > 0 && publish.payload.len() > bytes_max {
            // Only version 5 has a word for it.
            let is_v5 = self.link.version.is_v5();
            return if is_v5 { Err(ReasonCode::QuotaExceeded) } else { Ok(Published::Stored) };
        }
        let place = self.place_of(topic, cx)?;
        let retain = publish.retain && place.is_topic;
        let assurance = assurance(publish.promise);
        let properties = &publish.properties.message;
        let mut scratch = Vec::new();
        let block = Block {
            assurance,
            retain,
            will: false,
            publisher: self.link.publisher,
            user: cx.broker.shown_user(self.link.id()),
            source: if retain { self.link.source() } else { None },
            forwarded: properties.forwarded(&mut scratch),
        };
        let is_surer = assurance > Assurance::AtMostOnce;
        let traits = Traits {
            protocol: TAG,
            persistent: is_surer || self.link.limits.upgrade_outgoing_qos,
            priority: None,
            expiration_ms: properties.expiry_s.map(|s| u64::from(s).saturating_mul(1000)),
        };
        let once = match publish.promise {
            Promise::AtMostOnce | Promise::AtLeastOnce(_) => None,
            Promise::ExactlyOnce(id) => Some(Once { number: id.get(), again: publish.dup }),
        };
        let mut long = Vec::new();
        let short = block.short();
        let octets = match &short {
            Some(short) => &short[..],
            None => {
                block.write(&mut long);
                &long[..]
            }
        };
        let message = command::Publish {
            exchange: place.exchange,
            routing_key: &place.key,
            extra_keys: &[],
            hidden_keys: &[],
            // Whether anybody took it is said with PUBACK alone (H-03).
            mandatory: assurance == Assurance::AtLeastOnce && self.link.version.is_v5(),
            traits,
            properties: octets,
            body: Body::Slice(publish.payload),
            seq,
            once,
        };
        if !place.is_topic {
            return self.publish_elsewhere(&message, channel, cx);
        }
        let id = self.link.id();
        // Before version 5 there is no way to say that it was delivered and not kept.
        let keep = match (retain, is_surer && self.link.version.is_v5()) {
            (false, _) => Keep::Not,
            (true, false) => Keep::IfRoom,
            (true, true) => Keep::Must,
        };
        cx.broker.publish_topic(id, channel, &message, keep, cx.now).map_err(|refusal: Refusal| {
            tracing::debug!(peer = %self.link.peer.remote, ?refusal, "publish refused");
            code_of(&refusal)
        })
    }
}
