//! Headers that the broker adds when a message is sent: where it died, how often it was out
//! (R3, R45b, L43, P71). May import `message`, `value`, `wire`.

use crate::command::Now;
use crate::message::{Death, DeathHistory, DeathReason, Message};
use crate::properties::Crossing;
use crate::value::{Table, Value};

use super::TAG;
use super::foreign::Translated;
use super::wire::properties::Properties;
use super::wire::table_buffer::TableBuffer;

const DELIVERY_COUNT: &str = "x-delivery-count";
const DEATHS: &str = "x-death";

/// The property block to send instead of the stored one; `None` when that is right as it is.
#[inline]
pub(super) fn changed_block(
    message: &Message,
    delivery_count: Option<u64>,
    at: (Crossing, Now),
) -> Option<Vec<u8>> {
    let count = delivery_count.filter(|count| *count > 0);
    if message.deaths().is_none() && count.is_none() && message.traits().protocol == TAG {
        return None;
    }
    Some(changed(message, count, at))
}

#[cold]
fn changed(message: &Message, count: Option<u64>, (crossing, now): (Crossing, Now)) -> Vec<u8> {
    if message.traits().protocol != TAG {
        let translated = Translated::of(message, crossing, now);
        return with_headers(message, translated.properties(message), count);
    }
    // A block that cannot be read was never accepted; should there be one, it leaves as it is.
    let Ok(properties) = Properties::decode(message.properties()) else {
        return message.properties().into();
    };
    with_headers(message, properties, count)
}

fn with_headers(message: &Message, stored: Properties<'_>, count: Option<u64>) -> Vec<u8> {
    let mut headers = TableBuffer::from(stored.headers.unwrap_or_default());
    if let Some(count) = count {
        set(&mut headers, DELIVERY_COUNT, &Value::I64(signed(count)));
    }
    if let Some(history) = message.deaths() {
        put_history(&mut headers, history);
    }
    let mut sent = stored;
    if message.deaths().is_some() {
        // Its time to live ended with its first death (P71); x-death keeps it.
        sent.expiration = None;
    }
    if !headers.view().is_empty() {
        sent.headers = Some(headers.view());
    }
    sent.to_block()
}

fn put_history(headers: &mut TableBuffer, history: &DeathHistory) {
    let deaths = history.deaths.iter().map(|death| Value::Table(table(death))).collect();
    set(headers, DEATHS, &Value::Array(deaths));
    // The first death is written once: a message that its consumer published anew keeps it.
    let is_known = headers.view().get("x-first-death-queue").is_some();
    let first = Some(("first", &history.first)).filter(|_| !is_known);
    for (which, (queue, why, exchange)) in first.into_iter().chain([("last", &history.last)]) {
        set(headers, &format!("x-{which}-death-reason"), &Value::text(reason(*why)));
        set(headers, &format!("x-{which}-death-queue"), &Value::text(queue));
        set(headers, &format!("x-{which}-death-exchange"), &Value::text(exchange));
    }
}

/// One entry of x-death, fields in RabbitMQ's order and types.
fn table(death: &Death) -> Table {
    let keys = death.routing_keys.iter().map(|key| Value::text(key)).collect();
    let mut fields = vec![
        ("count".into(), Value::I64(signed(death.count))),
        ("reason".into(), Value::text(reason(death.reason))),
        ("queue".into(), Value::text(&death.queue)),
        ("time".into(), Value::Timestamp(death.at_ms / 1000)),
        ("exchange".into(), Value::text(&death.exchange)),
        ("routing-keys".into(), Value::Array(keys)),
    ];
    if let Some(ms) = death.original_expiration_ms {
        fields.push(("original-expiration".into(), Value::text(&ms.to_string())));
    }
    Table(fields)
}

const fn reason(reason: DeathReason) -> &'static str {
    match reason {
        DeathReason::Rejected => "rejected",
        DeathReason::Expired => "expired",
        DeathReason::MaxLength => "maxlen",
        DeathReason::DeliveryLimit => "delivery_limit",
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The names are short and the values flat: it cannot fail.
fn set(headers: &mut TableBuffer, name: &str, value: &Value) {
    let result = headers.set(name, value);
    debug_assert_eq!(result, Ok(()), "header {name}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Body, ProtocolTag, Traits};

    const NOW: Now = Now { mono_ms: 2, wall_ms: 2 };

    fn message(block: &[u8], protocol: ProtocolTag) -> Message {
        let traits = Traits { protocol, persistent: true, priority: None, expiration_ms: Some(5) };
        Message::new("x".into(), "key", traits, block, Body::Slice(b"body"), 0).unwrap()
    }

    fn headers(block: &[u8]) -> Table {
        Properties::decode(block).unwrap().headers.unwrap().to_value()
    }

    #[test]
    fn a_plain_message_leaves_as_it_came() {
        let message = message(&[0, 0], TAG);
        assert_eq!(changed_block(&message, None, (Crossing::default(), NOW)), None);
        assert_eq!(changed_block(&message, Some(0), (Crossing::default(), NOW)), None);
    }

    #[test]
    fn a_count_is_added_and_other_headers_stay() {
        let mut own = TableBuffer::new();
        own.set("mine", &Value::Bool(true)).unwrap();
        let block = Properties { headers: Some(own.view()), ..Properties::default() }.to_block();
        let sent =
            changed_block(&message(&block, TAG), Some(3), (Crossing::default(), NOW)).unwrap();
        assert_eq!(
            headers(&sent),
            Table(vec![
                ("mine".into(), Value::Bool(true)),
                ("x-delivery-count".into(), Value::I64(3)),
            ])
        );
    }

    /// R45b
    #[test]
    fn a_dead_message_carries_its_history_and_no_expiration() {
        let block = Properties { expiration: Some(b"5"), ..Properties::default() }.to_block();
        let death = Death {
            queue: "q".into(),
            reason: DeathReason::Expired,
            count: 2,
            at_ms: 1_700_000_000_999,
            exchange: "x".into(),
            routing_keys: vec!["key".into(), "cc".into()],
            original_expiration_ms: Some(5),
        };
        let place = ("q".into(), DeathReason::Expired, "x".into());
        let history = DeathHistory { deaths: vec![death], first: place.clone(), last: place };
        let message = message(&block, TAG).with(|inner| inner.deaths = Some(Box::new(history)));
        let sent = changed_block(&message, None, (Crossing::default(), NOW)).unwrap();
        assert_eq!(Properties::decode(&sent).unwrap().expiration, None);
        let sent = headers(&sent);
        let entry = Table(vec![
            ("count".into(), Value::I64(2)),
            ("reason".into(), Value::text("expired")),
            ("queue".into(), Value::text("q")),
            ("time".into(), Value::Timestamp(1_700_000_000)),
            ("exchange".into(), Value::text("x")),
            ("routing-keys".into(), Value::Array(vec![Value::text("key"), Value::text("cc")])),
            ("original-expiration".into(), Value::text("5")),
        ]);
        assert_eq!(sent.get("x-death"), Some(&Value::Array(vec![Value::Table(entry)])));
        assert_eq!(sent.get("x-first-death-reason"), Some(&Value::text("expired")));
        assert_eq!(sent.get("x-last-death-queue"), Some(&Value::text("q")));
        assert_eq!(sent.0.len(), 7);
    }

    #[test]
    fn a_message_of_another_protocol_is_described_in_our_words() {
        let sent =
            changed_block(&message(b"theirs", ProtocolTag(99)), None, (Crossing::default(), NOW))
                .unwrap();
        let properties = Properties::decode(&sent).unwrap();
        assert_eq!(properties.delivery_mode, Some(2));
        // What is left of it.
        assert_eq!(properties.expiration, Some(&b"3"[..]));
    }
}
