//! What was answered is kept at the other side (mqtt.md X-10), and what has waited there has less
//! time left.

use std::thread::sleep;
use std::time::Duration;

use ringmq::protocol::amqp091::wire::method::queue;

use crate::mqtt::client::Client as Subscriber;
use crate::mqtt::octets::{BOTH, Hello, Letter, V4, V5, message_expiry};
use crate::support::broker::{Ending, Options};
use crate::support::content::properties;
use crate::support::methods::declare;
use crate::support::setup::Stage;
use crate::support::siege::unique;

use super::{TOPICS, listening, service, subscriber};

on_every_setup!(
    what_was_answered_is_at_the_other_side_after_a_crash,
    what_waits_at_the_other_side_has_less_time_left,
);

///
fn what_was_answered_is_at_the_other_side_after_a_crash(stage: &Stage) {
    let broker = stage.setup.own("");
    let mut owner = service(broker.addr());
    owner.declare_with(1, &queue::Declare { durable: true, ..declare("kept") });
    owner.bind(1, "kept", TOPICS, "q.*");
    let hellos = BOTH.map(|version| Hello::lasting(version, &unique("away")));
    for hello in &hellos {
        let mut client = Subscriber::connect(broker.mqtt_addr(), hello);
        client.subscribe("s/+", 1);
        client.leave();
    }
    let mut publisher = Subscriber::connect(broker.mqtt_addr(), &Hello::new(V5, "publisher"));
    let letter = Letter { topic: "q/a", payload: b"topic", ..Letter::default() };
    assert_eq!(publisher.publish_surely(&letter), 0);
    publisher.publish(&Letter { qos: 2, id: 9, ..letter });
    assert_eq!(publisher.expect_answer(0x50, 9), 0);
    owner.confirm_select(1);
    owner.publish_with(1, TOPICS, "s.a", &properties(|p| p.delivery_mode = Some(2)), b"key");
    owner.expect_confirms(1, 1, 1);
    let setup = stage.setup.next();
    let broker = broker.again(Ending::Kill, Options { ..setup.options() });
    let mut owner = service(broker.addr());
    for qos in [1, 2] {
        let got = owner.get_when_there(1, "kept");
        assert_eq!((&*got.routing_key, &*got.body), ("q.a", &b"topic"[..]));
        assert_eq!(got.decoded().delivery_mode, Some(2));
        let level = got.headers().get("x-mqtt-publish-qos").and_then(|v| v.as_integer());
        assert_eq!(level, Some(qos));
    }
    assert!(owner.get(1, "kept", true).is_none());
    for hello in &hellos {
        let (mut client, is_present) = Subscriber::resume(broker.mqtt_addr(), hello);
        assert!(is_present);
        assert_eq!(client.expect_text("key").topic, "s/a");
        client.ping();
    }
    broker.terminate();
}

///
fn what_waits_at_the_other_side_has_less_time_left(stage: &Stage) {
    let base = unique("base");
    let (mut service, queue) = listening(stage, &format!("{base}.queue"));
    let hello = Hello::lasting(V5, &unique("away"));
    let addr = stage.setup.shared().mqtt_addr();
    let mut client = Subscriber::connect(addr, &hello);
    client.subscribe(&format!("{base}/session"), 1);
    client.leave();
    let mut publisher = subscriber(stage, V5);
    let topic = format!("{base}/queue");
    let expiry = message_expiry(600);
    let letter = Letter { topic: &topic, payload: b"m", properties: &expiry, ..Letter::default() };
    assert_eq!(publisher.publish_surely(&letter), 0);
    let gone = message_expiry(1);
    publisher.publish_surely(&Letter { payload: b"gone", properties: &gone, ..letter });
    let lasts = |ms: &'static [u8]| {
        properties(move |p| {
            p.delivery_mode = Some(2);
            p.expiration = Some(ms);
        })
    };
    service.confirm_select(1);
    let key = format!("{base}.session");
    service.publish_with(1, TOPICS, &key, &lasts(b"600000"), b"m");
    service.publish_with(1, TOPICS, &key, &lasts(b"900"), b"gone");
    service.expect_confirms(1, 1, 2);
    // Nothing shorter than the time itself makes time pass.
    sleep(Duration::from_millis(1_200));
    let got = service.get_when_there(1, &queue);
    assert_eq!(got.body, b"m");
    let left = std::str::from_utf8(got.decoded().expiration.expect("it ends")).expect("digits");
    let left_ms: u64 = left.parse().expect("a number");
    assert!((1..=598_800).contains(&left_ms), "{left_ms}");
    assert!(service.get(1, &queue, true).is_none());
    let (mut client, _) = Subscriber::resume(addr, &hello);
    let message = client.expect_text("m");
    let left = message.property(0x02).expect("it ends");
    let left_s = u32::from_be_bytes(left.try_into().expect("four octets"));
    assert!((1..=599).contains(&left_s), "{left_s}");
    client.ping();
    let mut late = subscriber(stage, V4);
    late.subscribe(&format!("{base}/session"), 0);
    // Also a time that is no whole number of seconds is not over before its end.
    service.publish_with(1, TOPICS, &key, &lasts(b"90000"), b"short");
    late.expect_text("short");
    client.expect_text("short");
    client.leave();
}
