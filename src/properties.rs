//! Properties of a message in no protocol's words: what one protocol's publisher says to the
//! subscribers of another (the property table of mqtt.md 5.3).
//!
//! Made only when a message leaves by another protocol than it came by; the same protocol in and out
//! copies its own block. May import `message`, `subscriber`, `value`.

use crate::message::Message;
use crate::subscriber::{Assurance, FILTERS, RETAINED, group_of};
use crate::value::Value;

/// The exchange by which services meet topics: keys are words between dots (mqtt.md X-02).
pub const TOPICS: &str = "amq.topic";

/// What stands before the name of a queue where a topic is wanted (mqtt.md X-07).
pub const QUEUES: &str = "$q/";

/// What becomes of a dot within a level of a topic that becomes a key (mqtt.md X-03).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dots {
    /// It stays, as in RabbitMQ, and cannot be told from a slash afterwards.
    #[default]
    Kept,
    /// It is written `%2E`.
    Escaped,
}

/// How messages cross between topics and keys: settings of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Crossing {
    /// See there.
    pub dots: Dots,
    /// Topics that begin with `$` become keys as well (mqtt.md X-05).
    pub dollar_topics: bool,
    /// What the other side has no place for goes along: see [`Origin`] (mqtt.md X-12).
    pub shows_origin: bool,
}

/// The queue that a topic or a filter stands for.
#[inline]
pub fn queue_of(name: &str) -> Option<&str> {
    name.strip_prefix(QUEUES).filter(|queue| !queue.is_empty())
}

/// What stands before the name of an exchange and a topic where a topic is wanted (mqtt.md X-08).
pub const EXCHANGES: &str = "$exchange/";

/// The exchange and the topic that a topic stands for.
pub fn exchange_of(name: &str) -> Option<(&str, &str)> {
    let (exchange, topic) = name.strip_prefix(EXCHANGES)?.split_once('/')?;
    (!exchange.is_empty() && !topic.is_empty()).then_some((exchange, topic))
}

/// Where answers go, as a topic, if it is given by a queue's name or a key. What the broker itself
/// has named is a queue: its keys begin otherwise.
pub fn topic_of_answers(key: &str, dots: Dots) -> Option<String> {
    const NAMED: [&str; 2] = ["amq.gen-", "amq.rabbitmq.reply-to."];
    if NAMED.iter().any(|prefix| key.starts_with(prefix)) {
        return Some(format!("{QUEUES}{key}"));
    }
    topic_of_key(key, dots)
}

/// The other way round.
pub fn key_of_answers(topic: &str, dots: Dots) -> String {
    queue_of(topic).map_or_else(|| key_of_topic(topic, dots), str::to_owned)
}

/// What a publisher says besides the fields that the broker reads itself (persistence, priority,
/// time to live, which are in [`crate::message::Traits`]).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Properties {
    /// The exact topic, where a key does not say it.
    pub topic: Option<Box<str>>,
    /// How surely it was to arrive, where that is more than persistence says.
    pub assurance: Option<Assurance>,
    /// It is, or is to be, the retained message of its topic.
    pub retain: bool,
    /// A connection left it behind when it broke.
    pub will: bool,
    /// The body is UTF-8 text.
    pub is_text: bool,
    /// MIME type of the body.
    pub content_type: Option<Box<[u8]>>,
    /// Where answers should go: a topic.
    pub response_topic: Option<Box<str>>,
    /// The same as a key or a queue's name, where no topic is given.
    pub response_key: Option<Box<str>>,
    /// Goes with the answer, any octets.
    pub correlation: Option<Box<[u8]>>,
    /// Headers and user properties, in order; names may repeat.
    pub pairs: Vec<(Box<str>, Value)>,
    /// Who wrote it, and as what.
    pub origin: Origin,
}

/// What a publisher says of itself and of the message, for people and other programs: nothing here
/// has a meaning for the broker. It crosses where [`Crossing::shows_origin`] says so.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    /// The user that published it.
    pub user: Option<Box<str>>,
    /// The publisher's name for the message.
    pub message_id: Option<Box<str>>,
    /// What kind of message it is.
    pub kind: Option<Box<str>>,
    /// The program that wrote it.
    pub app_id: Option<Box<str>>,
    /// When it was written, seconds since 1970-01-01 UTC.
    pub timestamp_s: Option<u64>,
}

impl Origin {
    /// As pairs of text, the names with this before them.
    pub fn pairs(&self, prefix: &str, priority: Option<u8>) -> Vec<(String, String)> {
        let texts = [
            ("message-id", &self.message_id),
            ("type", &self.kind),
            ("app-id", &self.app_id),
            ("user-id", &self.user),
        ];
        let texts =
            texts.into_iter().filter_map(|(name, text)| Some((name, text.as_deref()?.to_owned())));
        let time = self.timestamp_s.and_then(timestamp).map(|text| ("timestamp", text));
        let priority = priority.map(|level| ("priority", level.to_string()));
        let all = texts.chain(time).chain(priority);
        all.map(|(name, text)| (format!("{prefix}{name}"), text)).collect()
    }
}

/// A topic as a routing key: `/` becomes `.` (mqtt.md X-03). The exact topic goes along with the
/// message, since a dot that is kept does not come back.
pub fn key_of_topic(topic: &str, dots: Dots) -> String {
    match dots {
        Dots::Kept => topic.replace('/', "."),
        Dots::Escaped => topic.replace('.', "%2E").replace('/', "."),
    }
}

/// A routing key as a topic (mqtt.md X-04). `None`: there is no such topic.
pub fn topic_of_key(key: &str, dots: Dots) -> Option<String> {
    let impossible = key.is_empty() || key.contains(['+', '#', '\0']);
    (!impossible).then(|| match dots {
        Dots::Kept => key.replace('.', "/"),
        Dots::Escaped => key.replace('.', "/").replace("%2E", "."),
    })
}

/// Whether the exchange that a message names has topics for keys.
pub fn is_by_topic(message: &Message) -> bool {
    matches!(message.exchange(), FILTERS | RETAINED) || group_of(message.exchange()).is_some()
}

/// A value as the text of a user property; `None`: it has no such form and is left out.
pub fn as_text(value: &Value) -> Option<String> {
    let text = match value {
        Value::Void => String::new(),
        Value::Bool(truth) => truth.to_string(),
        Value::I8(_)
        | Value::U8(_)
        | Value::I16(_)
        | Value::U16(_)
        | Value::I32(_)
        | Value::U32(_)
        | Value::I64(_) => value.as_integer()?.to_string(),
        Value::F32(number) => number.to_string(),
        Value::F64(number) => number.to_string(),
        Value::Text(_) => value.as_text()?.to_owned(),
        Value::Timestamp(seconds) => timestamp(*seconds)?,
        Value::Decimal(..) | Value::Bytes(_) | Value::Array(_) | Value::Table(_) => return None,
    };
    Some(text)
}

/// Seconds since 1970 as RFC 3339 writes them; `None` beyond the year 9999, which it cannot.
fn timestamp(seconds: u64) -> Option<String> {
    const LAST: u64 = 253_402_300_799;
    if seconds > LAST {
        return None;
    }
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Years of 400 have 146,097 days; counted from March a leap day is the last of its year.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(timestamp(seconds).as_deref(), Some(text));
        }
        assert_eq!(timestamp(253_402_300_800), None);
        assert_eq!(timestamp(u64::MAX), None);
    }

    ///
    #[test]
    fn keys_and_topics_are_translated_by_their_separators() {
        assert_eq!(key_of_topic("a/b//c.d", Dots::Kept), "a.b..c.d");
        assert_eq!(topic_of_key("a.b..*", Dots::Kept).as_deref(), Some("a/b//*"));
        assert_eq!(topic_of_key("a%2Eb", Dots::Kept).as_deref(), Some("a%2Eb"));
        for topic in ["a/b//c.d", "/.", "..", "a.b/\u{fc}"] {
            let key = key_of_topic(topic, Dots::Escaped);
            assert_eq!(topic_of_key(&key, Dots::Escaped).as_deref(), Some(topic), "{key}");
        }
        assert_eq!(key_of_topic("a.b/c", Dots::Escaped), "a%2Eb.c");
        for impossible in ["", "a.+", "#", "a\0"] {
            for dots in [Dots::Kept, Dots::Escaped] {
                assert_eq!(topic_of_key(impossible, dots), None, "{impossible:?}");
            }
        }
    }

    /// The table of mqtt.md 5.3, Response Topic
    #[test]
    fn answers_go_to_queues_that_the_broker_has_named_or_to_topics() {
        for (key, topic) in [
            ("amq.gen-x.y", "$q/amq.gen-x.y"),
            ("amq.rabbitmq.reply-to.x", "$q/amq.rabbitmq.reply-to.x"),
            ("answers.here", "answers/here"),
        ] {
            assert_eq!(topic_of_answers(key, Dots::Kept).as_deref(), Some(topic));
            assert_eq!(key_of_answers(topic, Dots::Kept), key);
        }
        assert_eq!(key_of_answers("$q/jobs/x", Dots::Kept), "jobs/x");
        assert_eq!(key_of_answers("$q/", Dots::Kept), "$q.");
        assert_eq!(topic_of_answers("a.#", Dots::Kept), None);
    }

    #[test]
    fn values_without_a_text_form_are_left_out() {
        assert_eq!(as_text(&Value::I8(-3)).as_deref(), Some("-3"));
        assert_eq!(as_text(&Value::Void).as_deref(), Some(""));
        assert_eq!(as_text(&Value::Text((*b"\xff").into())), None);
        assert_eq!(as_text(&Value::Array(Vec::new())), None);
    }
}
