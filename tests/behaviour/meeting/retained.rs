//! Retained messages that are published by key: mqtt.md X-11.

use ringmq::protocol::amqp091::wire::method::queue;
use ringmq::value::Value;

use crate::mqtt::client::Client as Subscriber;
use crate::mqtt::octets::{BOTH, Hello, Letter, V5};
use crate::support::Client;
use crate::support::broker::Ending;
use crate::support::content::properties;
use crate::support::methods::{arguments, declare};
use crate::support::setup::Stage;
use crate::support::siege::unique;

use super::{TOPICS, listening, service, subscriber};

on_every_setup!(
    a_publish_by_key_is_retained_where_its_header_says_so,
    what_a_transaction_retains_is_there_after_its_commit,
    what_was_retained_by_key_is_there_after_a_crash,
    a_queue_that_is_bound_so_is_shown_what_is_retained_once,
    what_a_binding_has_shown_is_there_after_a_crash,
);

/// A property block with the header.
fn to_retain(retain: bool) -> Vec<u8> {
    let headers = arguments(&[("x-mqtt-retain", Value::Bool(retain))]);
    properties(|p| {
        p.delivery_mode = Some(2);
        p.headers = Some(headers.view());
    })
}

/// Publishes and waits for the confirm.
fn confirmed(client: &mut Client, number: &mut u64, key: &str, block: &[u8], body: &[u8]) {
    client.publish_with(1, TOPICS, key, block, body);
    *number += 1;
    client.expect_confirms(1, *number, *number);
}

///
fn a_publish_by_key_is_retained_where_its_header_says_so(stage: &Stage) {
    for version in BOTH {
        let base = unique("kept");
        let (topic, key) = (format!("{base}/a"), format!("{base}.a"));
        let (mut service, queue) = listening(stage, &key);
        service.confirm_select(1);
        let mut number = 0;
        let mut present = subscriber(stage, version);
        present.subscribe(&topic, 1);
        let shown = |body: Option<&str>| {
            let mut late = subscriber(stage, version);
            late.subscribe(&format!("{base}/#"), 1);
            if let Some(body) = body {
                let message = late.expect_text(body);
                assert_eq!((&*message.topic, message.retain, message.qos), (&*topic, true, 1));
            }
            late.tell(&format!("{base}/last"), "last");
            late.expect_text("last");
            late.leave();
        };
        confirmed(&mut service, &mut number, &key, &to_retain(false), b"not");
        shown(None);
        for body in ["one", "two"] {
            confirmed(&mut service, &mut number, &key, &to_retain(true), body.as_bytes());
            shown(Some(body));
        }
        confirmed(&mut service, &mut number, &key, &to_retain(false), b"fleeting");
        shown(Some("two"));
        // Who was there had each as it came, and so had the queue.
        for body in ["not", "one", "two", "fleeting"] {
            assert!(!present.expect_text(body).retain);
            assert_eq!(service.get_when_there(1, &queue).body, body.as_bytes());
        }
        confirmed(&mut service, &mut number, &key, &to_retain(true), b"");
        present.expect_text("");
        assert_eq!(service.get_when_there(1, &queue).body, b"");
        shown(None);
        // The exchange of filters has topics for keys.
        service.publish_with(1, "amq.filter", &topic, &to_retain(true), b"three");
        number += 1;
        service.expect_confirms(1, number, number);
        shown(Some("three"));
        present.expect_text("three");
        assert_eq!(service.get_when_there(1, &queue).body, b"three");
        confirmed(&mut service, &mut number, &key, &to_retain(true), b"");
        present.expect_text("");
        assert_eq!(service.get_when_there(1, &queue).body, b"");
        // Neither a key that is no topic nor another exchange retains anything.
        confirmed(&mut service, &mut number, &format!("{base}.#"), &to_retain(true), b"no");
        service.publish_with(1, "amq.direct", &key, &to_retain(true), b"no");
        number += 1;
        service.expect_confirms(1, number, number);
        shown(None);
        present.ping();
    }
}

///
fn what_a_transaction_retains_is_there_after_its_commit(stage: &Stage) {
    let base = unique("kept");
    let (topic, key) = (format!("{base}/a"), format!("{base}.a"));
    let mut service = stage.with_channel();
    service.tx_select(1);
    service.publish_with(1, TOPICS, &key, &to_retain(true), b"dropped");
    service.tx_rollback(1);
    service.publish_with(1, TOPICS, &key, &to_retain(true), b"kept");
    service.tx_commit(1);
    let mut late = subscriber(stage, V5);
    late.subscribe(&topic, 1);
    assert!(late.expect_text("kept").retain);
    late.tell_retained(&topic, "");
    late.expect_text("");
    late.ping();
}

/// Binds a queue and has it shown what is retained.
fn bind_and_show(client: &mut Client, queue: &str, exchange: &str, key: &str) {
    let arguments = arguments(&[("x-mqtt-retained", Value::Bool(true))]);
    let method = queue::Bind {
        ticket: 0,
        queue,
        exchange,
        routing_key: key,
        no_wait: false,
        arguments: arguments.view(),
    };
    client.send(1, &method);
    client.expect(1, "queue.bind-ok", |method| {
        use ringmq::protocol::amqp091::wire::method::{Method, Queue};
        matches!(method, Method::Queue(Queue::BindOk)).then_some(())
    });
}

/// The bodies of all that is in a queue, sorted.
fn bodies(client: &mut Client, queue: &str) -> Vec<String> {
    let all = std::iter::from_fn(|| client.get(1, queue, true));
    let mut all: Vec<String> =
        all.map(|got| String::from_utf8_lossy(&got.body).into_owned()).collect();
    all.sort_unstable();
    all
}

///
fn a_queue_that_is_bound_so_is_shown_what_is_retained_once(stage: &Stage) {
    let base = unique("shown");
    let (mut service, by_key) = listening(stage, &unique("none"));
    let mut device = subscriber(stage, V5);
    let mut number = 0;
    service.confirm_select(1);
    for (topic, payload) in [("a/1", "one"), ("a/2", "two"), ("b/1", "other"), ("a/x/3", "deep")] {
        let topic = format!("{base}/{topic}");
        let letter = Letter {
            topic: &topic,
            payload: payload.as_bytes(),
            retain: true,
            ..Letter::default()
        };
        assert_eq!(device.publish_surely(&letter), 0x10);
    }
    confirmed(&mut service, &mut number, &format!("{base}.a.4"), &to_retain(true), b"by key");
    // What is in the queue when bind-ok comes is all there is, with what was bound first.
    bind_and_show(&mut service, &by_key, TOPICS, &format!("{base}.a.*"));
    let got = service.get_when_there(1, &by_key);
    assert_eq!(got.exchange, TOPICS);
    assert_eq!(got.headers().get("x-mqtt-retain"), Some(&Value::Bool(true)));
    let mut rest = bodies(&mut service, &by_key);
    rest.push(String::from_utf8_lossy(&got.body).into_owned());
    rest.sort_unstable();
    assert_eq!(rest, ["by key", "one", "two"]);
    // Bound again it has been shown that, and new messages come as they come.
    bind_and_show(&mut service, &by_key, TOPICS, &format!("{base}.a.*"));
    assert!(bodies(&mut service, &by_key).is_empty());
    device.tell_surely(&format!("{base}/a/1"), "live");
    assert_eq!(service.get_when_there(1, &by_key).body, b"live");
    // Any number of words anywhere, and filters where keys are topics.
    for (exchange, key, expected) in [
        (TOPICS, format!("{base}.#.3"), &["deep"][..]),
        (TOPICS, format!("#.{base}.b.#"), &["other"]),
        ("amq.filter", format!("{base}/a/+"), &["by key", "one", "two"]),
        ("amq.filter", format!("{base}/b/1"), &["other"]),
        ("amq.direct", format!("{base}.b.1"), &[]),
    ] {
        let queue = unique("shown");
        service.declare_exclusive(1, &queue);
        bind_and_show(&mut service, &queue, exchange, &key);
        assert_eq!(bodies(&mut service, &queue), expected, "{exchange} {key}");
    }
    // Without the argument nothing is shown.
    let queue = unique("shown");
    service.declare_exclusive(1, &queue);
    service.bind(1, &queue, TOPICS, &format!("{base}.#"));
    assert!(bodies(&mut service, &queue).is_empty());
    for topic in ["a/1", "a/2", "b/1", "a/x/3", "a/4"] {
        device.tell_retained(&format!("{base}/{topic}"), "");
    }
    device.ping();
}

/// bind-ok says that they are stored.
fn what_a_binding_has_shown_is_there_after_a_crash(stage: &Stage) {
    const COUNT: u16 = 500;
    let broker = stage.setup.own("");
    let mut device = Subscriber::connect(broker.mqtt_addr(), &Hello::new(V5, "device"));
    for id in 1..=COUNT {
        let topic = format!("r/{id}");
        let letter = Letter {
            topic: &topic,
            payload: &[b'm'; 500],
            qos: 1,
            id,
            retain: true,
            ..Letter::default()
        };
        device.publish(&letter);
    }
    for id in 1..=COUNT {
        device.expect_answer(0x40, id);
    }
    let mut owner = service(broker.addr());
    let lasting = queue::Declare { durable: true, ..declare("lasting") };
    owner.declare_with(1, &lasting);
    bind_and_show(&mut owner, "lasting", TOPICS, "r.#");
    assert_eq!(owner.counts(1, "lasting"), (COUNT.into(), 0));
    let broker = broker.again(Ending::Kill, stage.setup.next().options());
    let mut owner = service(broker.addr());
    assert_eq!(owner.counts(1, "lasting"), (COUNT.into(), 0));
    broker.terminate();
}

///
fn what_was_retained_by_key_is_there_after_a_crash(stage: &Stage) {
    let broker = stage.setup.own("");
    let mut owner = service(broker.addr());
    owner.confirm_select(1);
    for n in 1..=5_u64 {
        let key = format!("r.{n}");
        owner.publish_with(1, TOPICS, &key, &to_retain(true), key.as_bytes());
    }
    owner.publish_with(1, TOPICS, "r.5", &to_retain(true), b"");
    owner.expect_confirms(1, 1, 6);
    let broker = broker.again(Ending::Kill, stage.setup.next().options());
    let mut client = Subscriber::connect(broker.mqtt_addr(), &Hello::new(V5, "late"));
    client.subscribe("r/+", 1);
    let mut got: Vec<String> = (0..4)
        .map(|_| {
            let message = client.expect_message();
            assert!(message.retain);
            client.send(&crate::mqtt::octets::numbered(0x40, message.id));
            message.text().to_owned()
        })
        .collect();
    got.sort_unstable();
    assert_eq!(got, ["r.1", "r.2", "r.3", "r.4"]);
    client.ping();
    broker.terminate();
}
