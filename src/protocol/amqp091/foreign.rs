//! Messages that cross between this protocol and others: their properties in neutral words and
//! back (mqtt.md and the table of 5.3). May import `broker`, `command`,
//! `message`, `properties`, `subscriber`, `value`, `wire` and the table of protocols.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::command::{self, Now, Published, Refusal};
use crate::ids::{ChannelId, ConnectionId};
use crate::message::Message;
use crate::properties::{
    self, Crossing, Dots, Origin, TOPICS, key_of_answers, key_of_topic, topic_of_key,
};
use crate::protocol::{Context, neutral_properties};
use crate::subscriber::{Assurance, FILTERS};
use crate::value::{Table, Value};

use super::wire::properties::Properties;
use super::wire::table_buffer::TableBuffer;

/// Headers that say what this protocol has no property for.
const TOPIC: &str = "x-mqtt-topic";
const ASSURANCE: &str = "x-mqtt-publish-qos";
pub(super) const RETAIN: &str = "x-mqtt-retain";
const WILL: &str = "x-mqtt-will";
const IS_TEXT: &str = "x-mqtt-payload-format";
const CONTENT_TYPE: &str = "x-mqtt-content-type";
const RESPONSE_TOPIC: &str = "x-reply-to-topic";
const CORRELATION: &str = "x-correlation-id";

/// Longest text of a property.
const SHORT_BYTES_MAX: usize = 255;

/// The exchange and routing key that a client of this protocol is shown.
pub(super) fn address(message: &Message, dots: Dots) -> (&str, Cow<'_, str>) {
    if properties::is_by_topic(message) {
        (TOPICS, Cow::Owned(key_of_topic(message.routing_key(), dots)))
    } else {
        (message.exchange(), Cow::Borrowed(message.routing_key()))
    }
}

/// What of a message goes into its property block, where another protocol's publisher wrote it;
/// the block borrows from it.
#[derive(Debug, Default)]
pub(super) struct Translated {
    neutral: properties::Properties,
    headers: TableBuffer,
    expiration: Option<String>,
    reply_to: Option<String>,
}

impl Translated {
    pub(super) fn of(message: &Message, crossing: Crossing, now: Now) -> Self {
        let mut neutral = neutral_properties(message);
        if crossing.shows_origin {
            neutral.origin.timestamp_s = Some(now.wall_of(message.received_ms()) / 1000);
        } else {
            neutral.origin = Origin::default();
        }
        let topic = properties::is_by_topic(message).then(|| message.routing_key());
        let mut headers = TableBuffer::new();
        for (name, value) in headers_of(&neutral, topic) {
            // A name that is too long for a table has no place in one.
            let _ = headers.set(name, &value);
        }
        let reply_to =
            neutral.response_topic.as_deref().map(|topic| key_of_answers(topic, crossing.dots));
        let waited_ms = now.mono_ms.saturating_sub(message.received_ms());
        let left_ms = message.traits().expiration_ms.map(|ms| ms.saturating_sub(waited_ms));
        Self {
            headers,
            expiration: left_ms.map(|ms| ms.to_string()),
            reply_to: reply_to.filter(|key| key.len() <= SHORT_BYTES_MAX),
            neutral,
        }
    }

    pub(super) fn properties(&self, message: &Message) -> Properties<'_> {
        let traits = message.traits();
        let headers = self.headers.view();
        let origin = &self.neutral.origin;
        let content_type = self.neutral.content_type.as_deref();
        Properties {
            content_type: content_type.filter(|text| text.len() <= SHORT_BYTES_MAX),
            headers: (!headers.is_empty()).then_some(headers),
            delivery_mode: Some(if traits.persistent { 2 } else { 1 }),
            priority: traits.priority,
            correlation_id: self.neutral.correlation.as_deref().filter(|c| is_short_text(c)),
            reply_to: self.reply_to.as_deref().map(str::as_bytes),
            user_id: origin.user.as_deref().map(str::as_bytes),
            timestamp: origin.timestamp_s,
            expiration: self.expiration.as_deref().map(str::as_bytes),
            ..Properties::default()
        }
    }
}

/// Hands a publish to the broker. One that asks for it becomes the retained message of its topic as
/// well, if its exchange is one of those where both meet and its key is a topic.
#[inline]
pub(super) fn hand_over(
    publish: &command::Publish<'_>,
    retains: bool,
    (connection, channel): (ConnectionId, ChannelId),
    cx: &mut Context<'_>,
) -> Result<Published, Refusal> {
    let dots = cx.broker.dots();
    let own = || topic(publish.properties).map(String::from);
    let topic = || match publish.exchange {
        TOPICS => own().or_else(|| topic_of_key(publish.routing_key, dots)),
        FILTERS => Some(publish.routing_key.to_owned()),
        _ => None,
    };
    if retains && let Some(topic) = topic() {
        return cx.broker.publish_retained(connection, channel, publish, &topic, cx.now);
    }
    cx.broker.publish(connection, channel, publish, cx.now)
}

/// The headers that carry what this protocol has no property for.
fn headers_of<'a>(
    neutral: &'a properties::Properties,
    topic: Option<&str>,
) -> Vec<(&'a str, Value)> {
    let mut headers = joined(&neutral.pairs);
    headers.extend(topic.map(|topic| (TOPIC, Value::text(topic))));
    headers.extend(neutral.assurance.map(|a| (ASSURANCE, Value::U8(level(a)))));
    headers.extend(neutral.retain.then_some((RETAIN, Value::Bool(true))));
    headers.extend(neutral.will.then_some((WILL, Value::Bool(true))));
    headers.extend(neutral.is_text.then_some((IS_TEXT, Value::U8(1))));
    let long_type = neutral.content_type.as_deref().filter(|text| text.len() > SHORT_BYTES_MAX);
    headers.extend(long_type.map(|text| (CONTENT_TYPE, Value::Text(text.into()))));
    let answers = neutral.response_topic.as_deref();
    headers.extend(answers.map(|topic| (RESPONSE_TOPIC, Value::text(topic))));
    let octets = neutral.correlation.as_deref().filter(|octets| !is_short_text(octets));
    headers.extend(octets.map(|octets| (CORRELATION, Value::Bytes(octets.into()))));
    headers
}

/// The topic that a publisher names in a header, since the key does not say it exactly. Asked for
/// messages that cross only, so most blocks are looked through and not read.
pub(super) fn topic(block: &[u8]) -> Option<Box<str>> {
    if !block.windows(TOPIC.len()).any(|octets| octets == TOPIC.as_bytes()) {
        return None;
    }
    let headers = Properties::decode(block).ok()?.headers?.to_value();
    headers.get(TOPIC).and_then(Value::as_text).map(Into::into)
}

/// A block of this protocol in neutral words.
pub(super) fn neutral(block: &[u8]) -> properties::Properties {
    let all = Properties::decode(block).unwrap_or_default();
    let headers = all.headers.map(|headers| headers.to_value()).unwrap_or_default();
    let text = |name: &str| headers.get(name).and_then(Value::as_text).map(Box::<str>::from);
    let assurance = match headers.get(ASSURANCE).and_then(Value::as_integer) {
        Some(0) => Some(Assurance::AtMostOnce),
        Some(1) => Some(Assurance::AtLeastOnce),
        Some(2) => Some(Assurance::ExactlyOnce),
        Some(_) | None => None,
    };
    let response_key = || std::str::from_utf8(all.reply_to?).ok().map(Into::into);
    let response_topic = text(RESPONSE_TOPIC);
    let long_type = || text(CONTENT_TYPE).map(|text| text.into_boxed_bytes());
    properties::Properties {
        topic: text(TOPIC),
        assurance,
        retain: headers.get(RETAIN).and_then(Value::as_bool) == Some(true),
        will: false,
        is_text: headers.get(IS_TEXT).and_then(Value::as_integer) == Some(1),
        content_type: all.content_type.map(Into::into).or_else(long_type),
        response_key: if response_topic.is_none() { response_key() } else { None },
        response_topic,
        correlation: all.correlation_id.map(Into::into).or_else(|| {
            match headers.get(CORRELATION) {
                Some(Value::Text(octets) | Value::Bytes(octets)) => Some(octets.clone()),
                Some(_) | None => None,
            }
        }),
        origin: Origin {
            user: word(all.user_id),
            message_id: word(all.message_id),
            kind: word(all.kind),
            app_id: word(all.app_id),
            timestamp_s: all.timestamp,
        },
        pairs: pairs(headers),
    }
}

/// A property as text; what is none is left out.
fn word(octets: Option<&[u8]>) -> Option<Box<str>> {
    std::str::from_utf8(octets?).ok().map(Into::into)
}

/// Headers, those of an array one by one, without those that say a property.
fn pairs(headers: Table) -> Vec<(Box<str>, Value)> {
    const SPECIAL: [&str; 7] =
        [TOPIC, ASSURANCE, RETAIN, IS_TEXT, CONTENT_TYPE, RESPONSE_TOPIC, CORRELATION];
    let mut pairs = Vec::new();
    for (name, value) in headers.0 {
        if SPECIAL.contains(&&*name) {
            continue;
        }
        if let Value::Array(values) = value {
            pairs.extend(values.into_iter().map(|value| (name.clone(), value)));
        } else {
            pairs.push((name, value));
        }
    }
    pairs
}

/// Pairs by name, in the order in which the names came first: repeated ones become an array.
fn joined(pairs: &[(Box<str>, Value)]) -> Vec<(&str, Value)> {
    let mut joined: Vec<(&str, Value)> = Vec::with_capacity(pairs.len());
    let mut places: HashMap<&str, usize, ahash::RandomState> = HashMap::default();
    for (name, value) in pairs {
        let place = *places.entry(name).or_insert(joined.len());
        match joined.get_mut(place) {
            None => joined.push((name, value.clone())),
            Some((_, Value::Array(values))) => values.push(value.clone()),
            Some((_, first)) => *first = Value::Array(vec![first.clone(), value.clone()]),
        }
    }
    joined
}

fn is_short_text(octets: &[u8]) -> bool {
    octets.len() <= SHORT_BYTES_MAX && std::str::from_utf8(octets).is_ok()
}

const fn level(assurance: Assurance) -> u8 {
    match assurance {
        Assurance::AtMostOnce => 0,
        Assurance::AtLeastOnce => 1,
        Assurance::ExactlyOnce => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(neutral: &properties::Properties) -> Vec<u8> {
        let headers = headers_of(neutral, None);
        let mut expected = TableBuffer::new();
        for (name, value) in &headers {
            expected.set(name, value).unwrap();
        }
        Properties {
            headers: Some(expected.view()),
            content_type: neutral.content_type.as_deref().filter(|t| t.len() <= SHORT_BYTES_MAX),
            ..Properties::default()
        }
        .to_block()
    }

    /// The table of mqtt.md 5.3: what goes over comes back.
    #[test]
    fn properties_cross_and_come_back() {
        let there = properties::Properties {
            topic: None,
            assurance: Some(Assurance::ExactlyOnce),
            retain: true,
            will: false,
            is_text: true,
            content_type: Some([b'x'; 300].into()),
            response_topic: Some("answers/here".into()),
            response_key: None,
            correlation: Some([0xff, 0].into()),
            pairs: vec![
                ("a".into(), Value::text("1")),
                ("b".into(), Value::text("2")),
                ("a".into(), Value::text("3")),
            ],
            origin: Origin::default(),
        };
        let mut expected = there.clone();
        // Repeated names stand together afterwards.
        expected.pairs.swap(1, 2);
        assert_eq!(neutral(&translated(&there)), expected);
    }

    #[test]
    fn a_reply_queue_is_a_key_to_answer_to() {
        let block = Properties {
            reply_to: Some(b"answers.here"),
            correlation_id: Some(b"c"),
            ..Properties::default()
        }
        .to_block();
        let neutral = neutral(&block);
        assert_eq!(neutral.response_key.as_deref(), Some("answers.here"));
        assert_eq!(neutral.correlation.as_deref(), Some(&b"c"[..]));
    }

    #[test]
    fn a_block_that_is_none_says_nothing() {
        assert_eq!(neutral(b"nonsense"), properties::Properties::default());
    }
}
