//! Messages of other protocols' publishers, made into ones of this protocol when they are delivered,
//! and ours in neutral words (mqtt.md and the table of 5.3). May import `message`,
//! `properties`, `value`, `wire` and the table of protocols.

use std::rc::Rc;

use crate::message::{Body, Message};
use crate::properties::{
    self, Crossing, Dots, Origin, Properties, as_text, topic_of_answers, topic_of_key,
};
use crate::protocol::neutral_properties;
use crate::subscriber::{Assurance, FILTERS};
use crate::value::{Table, Value};

use super::block::{Block, TAG};
use super::wire::encode::{Block as _, TEXT_BYTES_MAX};
use super::wire::message_properties::MessageProperties;
use super::wire::properties::{UserProperties, put_user_property};
use super::wire::topic::check_name;

/// What the names of user properties begin with that say what this protocol has no property for.
const ORIGIN: &str = "amqp-";

/// Whether a message is one that clients can be shown as it is.
#[inline]
pub(super) fn is_own(message: &Message) -> bool {
    message.traits().protocol == TAG && properties::is_by_topic(message)
}

/// The same message as a publisher of this protocol would have written it; `None`: its key is no
/// topic, and it names none.
pub(super) fn translated(message: &Message, crossing: Crossing) -> Option<Message> {
    if message.traits().protocol == TAG {
        // It was published here, and has come by the key of an exchange.
        let topic = topic_of_key(message.routing_key(), crossing.dots)?;
        check_name(&topic).ok()?;
        return message.readdressed(Rc::from(FILTERS), &topic);
    }
    let neutral = neutral_properties(message);
    let own = neutral.topic.as_deref().filter(|topic| check_name(topic).is_ok());
    let topic = if properties::is_by_topic(message) {
        message.routing_key().to_owned()
    } else if let Some(own) = own {
        own.to_owned()
    } else {
        topic_of_key(message.routing_key(), crossing.dots)?
    };
    written(message, &topic, &neutral, crossing)
}

/// The same under this topic.
pub(super) fn translated_as(message: &Message, topic: &str, crossing: Crossing) -> Option<Message> {
    written(message, topic, &neutral_properties(message), crossing)
}

fn written(
    message: &Message,
    topic: &str,
    neutral: &Properties,
    crossing: Crossing,
) -> Option<Message> {
    check_name(topic).ok()?;
    let traits = message.traits();
    let usual = if traits.persistent { Assurance::AtLeastOnce } else { Assurance::AtMostOnce };
    let forwarded = forwarded(neutral, traits.priority, crossing);
    let mut block = Vec::new();
    Block {
        assurance: neutral.assurance.unwrap_or(usual),
        retain: neutral.retain,
        will: false,
        publisher: 0,
        user: "",
        source: None,
        forwarded: &forwarded,
    }
    .write(&mut block);
    let exchange = if properties::is_by_topic(message) { message.exchange() } else { FILTERS };
    let body = match message.body_apart() {
        Some(body) => Body::Owned(body.clone()),
        None => Body::Slice(message.body()),
    };
    let traits = crate::message::Traits { protocol: TAG, ..traits };
    Message::new(Rc::from(exchange), topic, traits, &block, body, message.received_ms())
}

/// What is forwarded of neutral properties, as version 5 writes it. What does not fit there is left
/// out.
fn forwarded(neutral: &Properties, priority: Option<u8>, crossing: Crossing) -> Vec<u8> {
    let is_text = |text: &str| text.len() <= TEXT_BYTES_MAX && !text.contains('\0');
    let content_type = neutral.content_type.as_deref();
    let content_type = content_type.and_then(|octets| std::str::from_utf8(octets).ok());
    let by_key = || topic_of_answers(neutral.response_key.as_deref()?, crossing.dots);
    let by_key = if neutral.response_topic.is_none() { by_key() } else { None };
    let response_topic = neutral.response_topic.as_deref().or(by_key.as_deref());
    let correlation = neutral.correlation.as_deref();
    let mut pairs = Vec::new();
    for (name, value) in &neutral.pairs {
        if let Some(value) = as_text(value)
            && is_text(name)
            && is_text(&value)
        {
            put_user_property(&mut pairs, name, &value);
        }
    }
    if crossing.shows_origin {
        for (name, value) in neutral.origin.pairs(ORIGIN, priority) {
            if is_text(&value) {
                put_user_property(&mut pairs, &name, &value);
            }
        }
    }
    let mut octets = Vec::new();
    let mut properties = MessageProperties::default();
    properties.is_text = neutral.is_text.then_some(true);
    properties.content_type = content_type.filter(|text| is_text(text));
    properties.response_topic = response_topic.filter(|topic| check_name(topic).is_ok());
    properties.correlation = correlation.filter(|octets| octets.len() <= TEXT_BYTES_MAX);
    properties.user_properties = UserProperties::written(&pairs);
    properties.write(&mut octets);
    octets
}

/// A block of this protocol in neutral words.
pub(super) fn neutral(block: &[u8]) -> Properties {
    let Some(block) = Block::read(block) else { return Properties::default() };
    let read = MessageProperties::read(block.forwarded).unwrap_or_default();
    let pairs = read.user_properties.iter();
    let user = Some(block.user).filter(|user| !user.is_empty()).map(Into::into);
    Properties {
        topic: None,
        assurance: Some(block.assurance),
        retain: block.retain,
        will: block.will,
        is_text: read.is_text == Some(true),
        content_type: read.content_type.map(|text| text.as_bytes().into()),
        response_topic: read.response_topic.map(Into::into),
        response_key: None,
        correlation: read.correlation.map(Into::into),
        pairs: pairs.map(|(name, value)| (name.into(), Value::text(value))).collect(),
        origin: Origin { user, ..Origin::default() },
    }
}

/// User properties as headers, for exchanges that ask for them.
pub(super) fn headers(block: &[u8]) -> Table {
    let Some(block) = Block::read(block) else { return Table::default() };
    let read = MessageProperties::read(block.forwarded).unwrap_or_default();
    let pairs = read.user_properties.iter();
    Table(pairs.map(|(name, value)| (name.into(), Value::text(value))).collect())
}

/// A property by its neutral name.
pub(super) fn property(block: &[u8], name: &str) -> Option<Value> {
    let block = Block::read(block)?;
    let read = MessageProperties::read(block.forwarded).ok()?;
    match name {
        "content_type" => read.content_type.map(Value::text),
        "correlation_id" => read.correlation.map(|octets| Value::Text(octets.into())),
        "reply_to" => {
            let topic = read.response_topic?;
            Some(Value::text(&properties::key_of_answers(topic, Dots::Kept)))
        }
        "delivery_mode" => {
            Some(Value::U8(if block.assurance > Assurance::AtMostOnce { 2 } else { 1 }))
        }
        _ => None,
    }
}

#[cfg(test)]
#[cfg(feature = "amqp091")]
mod tests {
    use super::*;
    use crate::message::Traits;
    use crate::properties::TOPICS;
    use crate::protocol::amqp091;
    use crate::protocol::amqp091::wire::properties::Properties as Wire;
    use crate::protocol::amqp091::wire::table_buffer::TableBuffer;

    fn message(key: &str, block: &[u8]) -> Message {
        let traits = Traits {
            protocol: amqp091::TAG,
            persistent: true,
            priority: None,
            expiration_ms: Some(500),
        };
        Message::new(Rc::from(TOPICS), key, traits, block, Body::Slice(b"body"), 7).unwrap()
    }

    /// and the table of mqtt.md 5.3
    #[test]
    fn a_message_of_another_protocol_becomes_one_of_ours() {
        let mut headers = TableBuffer::new();
        headers.set("colour", &Value::text("red")).unwrap();
        headers.set("count", &Value::I32(-3)).unwrap();
        let block = Wire {
            content_type: Some(b"text/plain"),
            correlation_id: Some(b"c1"),
            reply_to: Some(b"answers.here"),
            headers: Some(headers.view()),
            ..Wire::default()
        }
        .to_block();
        let ours = translated(&message("a.b..c", &block), Crossing::default()).unwrap();
        assert_eq!((ours.exchange(), ours.routing_key()), (FILTERS, "a/b//c"));
        assert_eq!((ours.body(), ours.received_ms()), (&b"body"[..], 7));
        assert_eq!((ours.traits().protocol, ours.traits().expiration_ms), (TAG, Some(500)));
        let block = Block::of(&ours);
        assert_eq!((block.assurance, block.publisher), (Assurance::AtLeastOnce, 0));
        let read = MessageProperties::read(block.forwarded).unwrap();
        assert_eq!(read.content_type, Some("text/plain"));
        assert_eq!(read.response_topic, Some("answers/here"));
        assert_eq!(read.correlation, Some(&b"c1"[..]));
        let pairs: Vec<_> = read.user_properties.iter().collect();
        assert_eq!(pairs, [("colour", "red"), ("count", "-3")]);
    }

    ///
    #[test]
    fn a_key_that_is_no_topic_is_not_shown() {
        for key in ["", "a.+", "#", "a\0b"] {
            assert!(translated(&message(key, &[0, 0]), Crossing::default()).is_none(), "{key}");
        }
    }

    /// The table of mqtt.md 5.3: what goes over comes back.
    #[test]
    fn our_block_is_told_in_neutral_words_and_back() {
        let neutral_words = Properties {
            response_key: None,
            topic: None,
            assurance: Some(Assurance::ExactlyOnce),
            retain: true,
            will: false,
            is_text: true,
            content_type: Some(b"x".as_slice().into()),
            response_topic: Some("r/t".into()),
            correlation: Some([0xff, 0].into()),
            pairs: vec![("a".into(), Value::text("1")), ("a".into(), Value::text("2"))],
            origin: Origin { user: Some("u".into()), ..Origin::default() },
        };
        let forwarded = forwarded(&neutral_words, None, Crossing::default());
        let mut block = Vec::new();
        let forwarded = &forwarded[..];
        let assurance = Assurance::ExactlyOnce;
        Block {
            assurance,
            retain: true,
            will: false,
            publisher: 1,
            user: "u",
            source: None,
            forwarded,
        }
        .write(&mut block);
        assert_eq!(neutral(&block), neutral_words);
        assert_eq!(headers(&block).get("a").and_then(Value::as_text), Some("2"));
        assert_eq!(property(&block, "reply_to"), Some(Value::text("r.t")));
        assert_eq!(property(&block, "delivery_mode"), Some(Value::U8(2)));
        assert_eq!(property(b"", "reply_to"), None);
    }
}
