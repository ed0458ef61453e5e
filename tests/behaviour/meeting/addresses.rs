//! Topics and routing keys: mqtt.md, and who counts as reached, X-10.

use crate::mqtt::octets::{BOTH, Letter, V4, V5};
use crate::support::content::properties;
use crate::support::setup::Stage;
use crate::support::siege::unique;
use ringmq::value::Value;

use super::{TOPICS, listening, listening_at, service, subscriber, subscriber_at};

on_every_setup!(
    a_topic_is_a_key_and_a_key_is_a_topic,
    what_cannot_be_named_at_the_other_side_stays,
    exchanges_before_and_behind_topics_take_part,
    who_asks_hears_whether_anybody_at_either_side_was_reached,
);

///
fn a_topic_is_a_key_and_a_key_is_a_topic(stage: &Stage) {
    for version in BOTH {
        let base = unique("base");
        let (mut service, queue) = listening(stage, &format!("{base}.#"));
        let mut client = subscriber(stage, version);
        client.subscribe(&format!("{base}/#"), 1);
        let mut publisher = subscriber(stage, version);
        for rest in ["a", "a/b", "a//b", "a/b.c", "", "*", "\u{fc}/\u{1f600}"] {
            let topic = format!("{base}/{rest}");
            publisher.tell_surely(&topic, rest);
            assert_eq!(client.expect_text(rest).topic, topic);
            let got = service.get_when_there(1, &queue);
            assert_eq!(got.exchange, TOPICS);
            assert_eq!(got.routing_key, topic.replace('/', "."));
            assert_eq!(got.headers().get("x-mqtt-topic"), Some(&Value::text(&topic)));
            assert_eq!(got.body, rest.as_bytes());
        }
        for rest in ["a", "a.b", "a..b", "*", ".", "\u{fc}.\u{1f600}"] {
            let key = format!("{base}.{rest}");
            let block = properties(|p| p.delivery_mode = Some(2));
            service.publish_with(1, TOPICS, &key, &block, rest.as_bytes());
            let message = client.expect_text(rest);
            assert_eq!(message.topic, key.replace('.', "/"));
            assert_eq!((message.qos, message.retain, message.dup), (1, false, false));
            let got = service.get_when_there(1, &queue);
            assert_eq!((got.routing_key, got.properties), (key, block), "as it was published");
        }
        client.ping();
    }
}

///
fn what_cannot_be_named_at_the_other_side_stays(stage: &Stage) {
    let (base, broker) = (unique("base"), stage.setup.own(""));
    let (mut service, queue) = listening_at(broker.addr(), "#");
    let mut client = subscriber_at(broker.mqtt_addr(), V5);
    client.subscribe(&format!("{base}/#"), 0);
    client.subscribe(&format!("${base}/#"), 0);
    let mut publisher = subscriber_at(broker.mqtt_addr(), V4);
    // 255 octets fit into a key.
    let fill = |count: usize| format!("{base}/{}", "x".repeat(count - base.len() - 1));
    let (fits, too_long) = (fill(255), fill(256));
    let topics = [too_long, format!("${base}/a"), fits.clone()];
    for topic in &topics {
        publisher.tell(topic, topic);
        assert_eq!(client.expect_text(topic).topic, *topic);
    }
    let mut mine = || service.get_when_there(1, &queue).routing_key;
    assert_eq!(mine(), fits.replace('/', "."), "the others are not here");
    let mut other = super::service(broker.addr());
    let keys = ["a.+", "a.#", "#", "a+b", "a.b"].map(|rest| format!("{base}.{rest}"));
    for key in &keys {
        other.publish(1, TOPICS, key, key.as_bytes());
    }
    for key in &keys {
        assert_eq!(mine(), *key);
    }
    assert_eq!(client.expect_text(&keys[4]).topic, format!("{base}/a/b"));
    other.publish(1, TOPICS, &format!("${base}.a"), b"dollar");
    assert_eq!(client.expect_text("dollar").topic, format!("${base}/a"));
    client.ping();
    broker.terminate();
}

///
fn exchanges_before_and_behind_topics_take_part(stage: &Stage) {
    let (base, before, behind) = (unique("base"), unique("before"), unique("behind"));
    let mut service = service(stage.addr());
    let queue = stage.name("behind");
    service.declare_exclusive(1, &queue);
    service.declare_passing_exchange(&before, "fanout");
    service.declare_passing_exchange(&behind, "direct");
    service.bind_exchange(&before, TOPICS, "");
    service.bind_exchange(TOPICS, &behind, &format!("{base}.#"));
    service.bind(1, &queue, &behind, &format!("{base}.a"));
    let mut client = subscriber(stage, V5);
    client.subscribe(&format!("{base}/+"), 1);
    let mut publisher = subscriber(stage, V4);
    service.publish(1, &before, &format!("{base}.a"), b"one");
    client.expect_text("one");
    publisher.tell_surely(&format!("{base}/a"), "two");
    client.expect_text("two");
    publisher.tell_surely(&format!("{base}/b"), "three");
    client.expect_text("three");
    for body in [b"one", b"two"] {
        assert_eq!(service.get_when_there(1, &queue).body, body);
    }
    assert!(service.get(1, &queue, true).is_none());
    service.delete(1, &queue);
    client.ping();
}

/// X-10; MQTT-3.4.2-1 (v5)
fn who_asks_hears_whether_anybody_at_either_side_was_reached(stage: &Stage) {
    // Nobody else is there who wants everything.
    let (base, broker) = (unique("base"), stage.setup.own(""));
    let (topic, key) = (format!("{base}/a"), format!("{base}.a"));
    let mut publisher = subscriber_at(broker.mqtt_addr(), V5);
    let letter = Letter { topic: &topic, payload: b"m", ..Letter::default() };
    assert_eq!(publisher.publish_surely(&letter), 0x10, "nobody");
    let (mut service, queue) = listening_at(broker.addr(), &key);
    assert_eq!(publisher.publish_surely(&letter), 0, "a queue");
    service.get_when_there(1, &queue);
    service.offer(&key, &properties(|_| {}), b"m");
    service.get_when_there(1, &queue);
    service.delete(1, &queue);
    service.offer(&key, &properties(|_| {}), b"back");
    let returned = service.expect_return(1);
    assert_eq!((&*returned.routing_key, &*returned.body), (&*key, &b"back"[..]));
    assert_eq!(publisher.publish_surely(&letter), 0x10, "nobody again");
    let mut client = subscriber_at(broker.mqtt_addr(), V4);
    client.subscribe(&format!("{base}/+"), 0);
    service.offer(&key, &properties(|_| {}), b"taken");
    client.expect_text("taken");
    assert_eq!(publisher.publish_surely(&letter), 0, "a subscriber");
    client.expect_text("m");
    service.confirm_select(1);
    service.offer(&key, &properties(|_| {}), b"taken");
    service.expect_confirms(1, 1, 1);
    client.expect_text("taken");
    broker.terminate();
}
