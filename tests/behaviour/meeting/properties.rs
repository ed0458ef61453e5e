//! Properties that cross: the table of mqtt.md 5.3, X-09, X-12.

use ringmq::value::{Table, Value};

use crate::mqtt::client::{Client as Subscriber, Message};
use crate::mqtt::octets::{Hello, Letter, V4, V5, Will, binary, message_expiry, numbered, text};
use crate::support::content::{Content, properties};
use crate::support::methods::arguments;
use crate::support::setup::Stage;
use crate::support::siege::unique;

use super::{TOPICS, listening, subscriber};

on_every_setup!(
    properties_of_a_publish_are_properties_and_headers,
    properties_and_headers_are_properties_of_a_publish,
    what_crosses_twice_is_what_it_was,
    how_surely_follows_from_persistence_and_its_header,
    a_will_is_a_message_like_others,
);

fn pair(name: &str, value: &str) -> Vec<u8> {
    [vec![0x26], text(name), text(value)].concat()
}

fn of(id: u8, value: &[u8]) -> Vec<u8> {
    [vec![id], binary(value)].concat()
}

/// The user properties of a message.
pub(super) fn pairs(message: &Message) -> Vec<(String, String)> {
    let all = message.properties.iter().filter(|(id, _)| *id == 0x26);
    all.map(|(_, octets)| {
        let split = 2 + usize::from(u16::from_be_bytes([octets[0], octets[1]]));
        let (name, value) = octets.split_at(split);
        let read = |octets: &[u8]| String::from_utf8(octets[2..].to_vec()).expect("a text");
        (read(name), read(value))
    })
    .collect()
}

/// Publishes from MQTT and gets it from a queue.
fn crossed(stage: &Stage, letter: &Letter<'_>) -> Content {
    let (mut service, queue) = listening(stage, &letter.topic.replace('/', "."));
    let mut publisher = subscriber(stage, V5);
    if letter.qos == 0 {
        publisher.publish(letter);
    } else {
        publisher.publish(letter);
        publisher.expect_answer(if letter.qos == 1 { 0x40 } else { 0x50 }, letter.id);
    }
    service.get_when_there(1, &queue)
}

/// The table of 5.3, left to right
fn properties_of_a_publish_are_properties_and_headers(stage: &Stage) {
    let topic = unique("props/a");
    let all = [
        vec![0x01, 1],
        message_expiry(600),
        of(0x03, b"text/plain"),
        of(0x08, b"answers/here"),
        of(0x09, b"c1"),
        pair("a", "1"),
        pair("b", "2"),
        pair("a", "3"),
    ]
    .concat();
    let letter = Letter { topic: &topic, payload: b"body", properties: &all, ..Letter::default() };
    let got = crossed(stage, &Letter { qos: 1, id: 5, retain: false, ..letter.clone() });
    let decoded = got.decoded();
    assert_eq!(decoded.content_type, Some(&b"text/plain"[..]));
    assert_eq!(decoded.content_encoding, None);
    assert_eq!(decoded.delivery_mode, Some(2));
    assert_eq!(decoded.correlation_id, Some(&b"c1"[..]));
    assert_eq!(decoded.reply_to, Some(&b"answers.here"[..]));
    assert!(decoded.expiration.is_some_and(|ms| ms.len() == 6 && ms[0] == b'5' || ms == b"600000"));
    assert_eq!((decoded.priority, decoded.app_id, decoded.message_id), (None, None, None));
    let headers = got.headers();
    let both = Value::Array(vec![Value::text("1"), Value::text("3")]);
    for (name, value) in [
        ("a", both),
        ("b", Value::text("2")),
        ("x-mqtt-topic", Value::text(&topic)),
        ("x-mqtt-publish-qos", Value::U8(1)),
        ("x-mqtt-payload-format", Value::U8(1)),
        ("x-reply-to-topic", Value::text("answers/here")),
    ] {
        assert_eq!(headers.get(name), Some(&value), "{name}");
    }
    assert_eq!(headers.0.len(), 6, "{headers:?}");
    // What is too long for a property, or no text, is a header.
    let long = "t".repeat(300);
    let all = [of(0x03, long.as_bytes()), of(0x08, long.as_bytes()), of(0x09, &[0xff, 0])].concat();
    let got = crossed(stage, &Letter { properties: &all, ..letter.clone() });
    let decoded = got.decoded();
    let short = (decoded.content_type, decoded.reply_to, decoded.correlation_id);
    assert_eq!(short, (None, None, None));
    assert_eq!(decoded.delivery_mode, Some(1));
    let headers = got.headers();
    assert_eq!(headers.get("x-mqtt-content-type"), Some(&Value::text(&long)));
    assert_eq!(headers.get("x-reply-to-topic"), Some(&Value::text(&long)));
    let Some(Value::Bytes(octets)) = headers.get("x-correlation-id") else { panic!("{headers:?}") };
    assert_eq!(**octets, [0xff, 0]);
    // who listens hears that it is retained.
    let got = crossed(stage, &Letter { properties: &[], retain: true, ..letter });
    assert_eq!(got.headers().get("x-mqtt-retain"), Some(&Value::Bool(true)));
}

/// Publishes from AMQP and takes it from a subscriber of version 5.
fn crossed_back(stage: &Stage, block: &[u8]) -> Message {
    crossed_back_to(stage, &unique("props/b"), block)
}

fn crossed_back_to(stage: &Stage, topic: &str, block: &[u8]) -> Message {
    let mut client = subscriber(stage, V5);
    client.subscribe(topic, 2);
    let mut service = stage.with_channel();
    service.publish_with(1, TOPICS, &topic.replace('/', "."), block, b"body");
    let message = client.expect_text("body");
    if message.qos == 2 {
        client.send(&numbered(0x50, message.id));
        client.expect_answer(0x62, message.id);
        client.send(&numbered(0x70, message.id));
    }
    client.ping();
    message
}

/// The table of 5.3, right to left
fn properties_and_headers_are_properties_of_a_publish(stage: &Stage) {
    let headers = arguments(&[
        ("text", Value::text("red")),
        ("number", Value::I32(-3)),
        ("truth", Value::Bool(true)),
        ("many", Value::Array(vec![Value::text("1"), Value::text("2")])),
        ("when", Value::Timestamp(1_700_000_000)),
        ("table", Value::Table(Table::default())),
        ("octets", Value::Bytes([1, 2].into())),
        ("x-mqtt-payload-format", Value::U8(1)),
    ]);
    let block = properties(|p| {
        p.content_type = Some(b"text/plain");
        p.correlation_id = Some(b"c1");
        p.reply_to = Some(b"answers.here");
        p.expiration = Some(b"600000");
        p.priority = Some(3);
        p.message_id = Some(b"id");
        p.headers = Some(headers.view());
    });
    let message = crossed_back(stage, &block);
    assert_eq!((message.qos, message.retain, message.dup), (0, false, false));
    assert_eq!(message.property(0x01), Some(&[1][..]));
    assert_eq!(message.property(0x03), Some(&b"text/plain"[..]));
    assert_eq!(message.property(0x08), Some(&b"answers/here"[..]));
    assert_eq!(message.property(0x09), Some(&b"c1"[..]));
    assert!(message.property(0x02).is_some());
    let expected = [
        ("text", "red"),
        ("number", "-3"),
        ("truth", "true"),
        ("many", "1"),
        ("many", "2"),
        ("when", "2023-11-14T22:13:20Z"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(pairs(&message), expected);
    let headers = arguments(&[
        ("x-reply-to-topic", Value::text("a.b/c")),
        ("x-correlation-id", Value::Bytes([0xff, 0].into())),
        ("x-mqtt-content-type", Value::text("long")),
    ]);
    let message = crossed_back(stage, &properties(|p| p.headers = Some(headers.view())));
    assert_eq!(message.property(0x08), Some(&b"a.b/c"[..]));
    assert_eq!(message.property(0x09), Some(&[0xff, 0][..]));
    assert_eq!(message.property(0x03), Some(&b"long"[..]));
    // What no subscriber could read is left out.
    let block = properties(|p| {
        p.content_type = Some(b"\xff");
        p.reply_to = Some(b"a.#");
    });
    assert_eq!(crossed_back(stage, &block).properties, []);
}

fn what_crosses_twice_is_what_it_was(stage: &Stage) {
    let topic = unique("props/c");
    let all = [
        vec![0x01, 1],
        of(0x03, b"text/plain"),
        of(0x08, b"answers.x/here"),
        of(0x09, b"c\xff"),
        pair("a", "1"),
        pair("a", "2"),
        pair("b", ""),
    ]
    .concat();
    let letter = Letter { topic: &topic, payload: b"body", properties: &all, ..Letter::default() };
    let got = crossed(stage, &Letter { qos: 2, id: 5, ..letter });
    // It names its topic.
    let back = crossed_back_to(stage, &topic, &got.properties);
    assert_eq!(back.qos, 2);
    for (id, value) in
        [(0x01, &b"\x01"[..]), (0x03, b"text/plain"), (0x08, b"answers.x/here"), (0x09, b"c\xff")]
    {
        assert_eq!(back.property(id), Some(value), "{id:#x}");
    }
    let expected = [("a", "1"), ("a", "2"), ("b", "")];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(pairs(&back), expected);
}

///
fn how_surely_follows_from_persistence_and_its_header(stage: &Stage) {
    for (qos, mode) in [(0, 1), (1, 2), (2, 2)] {
        let topic = unique("props/d");
        let letter = Letter { topic: &topic, qos, id: 3, ..Letter::default() };
        let got = crossed(stage, &letter);
        assert_eq!(got.decoded().delivery_mode, Some(mode));
        assert_eq!(got.headers().get("x-mqtt-publish-qos"), Some(&Value::U8(qos)));
    }
    for (mode, header, qos) in
        [(None, None, 0), (Some(1), None, 0), (Some(2), None, 1), (Some(2), Some(2), 2)]
    {
        let headers: Vec<_> =
            header.iter().map(|level| ("x-mqtt-publish-qos", Value::U8(*level))).collect();
        let headers = arguments(&headers);
        let block = properties(|p| {
            p.delivery_mode = mode;
            p.headers = Some(headers.view());
        });
        assert_eq!(crossed_back(stage, &block).qos, qos, "{mode:?} {header:?}");
    }
}

///
fn a_will_is_a_message_like_others(stage: &Stage) {
    for version in [V4, V5] {
        let topic = unique("props/will");
        let (mut service, queue) = listening(stage, &topic.replace('/', "."));
        let hello = Hello::new(version, &unique("dies")).leaving(Will::sure(&topic, "farewell"));
        Subscriber::connect(stage.setup.shared().mqtt_addr(), &hello).vanish();
        let got = service.get_when_there(1, &queue);
        assert_eq!((&*got.body, got.decoded().delivery_mode), (&b"farewell"[..], Some(2)));
        let headers = got.headers();
        assert_eq!(headers.get("x-mqtt-will"), Some(&Value::Bool(true)));
        assert_eq!(headers.get("x-mqtt-topic"), Some(&Value::text(&topic)));
    }
}
