//! Names that cross: dots within levels, topics that messages name themselves, exchanges and queues
//! by name. mqtt.md X-03, X-04, X-06, X-08, X-13.

use ringmq::protocol::amqp091::wire::method::{basic, queue};
use ringmq::value::Value;

use crate::mqtt::client::Client as Subscriber;
use crate::mqtt::octets::{BOTH, Hello, Letter, V4, V5, Will};
use crate::support::broker::{Ending, Options};
use crate::support::content::properties;
use crate::support::methods::{arguments, consume, declare, publish};
use crate::support::setup::Stage;
use crate::support::siege::{definitions, unique};

use super::{TOPICS, listening, listening_at, service, subscriber, subscriber_at};

on_every_setup!(
    a_dot_within_a_level_crosses_both_ways_when_it_is_escaped,
    a_message_that_names_its_topic_has_that_topic,
    what_dies_on_its_way_from_a_topic_has_a_key,
    a_topic_may_name_an_exchange_where_it_is_set,
    the_queue_of_a_session_is_there_to_be_seen_purged_and_deleted,
    who_may_not_use_a_key_is_told_so,
    a_will_is_there_after_a_crash_once_its_client_is_connected,
);

/// X-03, X-04
fn a_dot_within_a_level_crosses_both_ways_when_it_is_escaped(stage: &Stage) {
    let broker = stage.setup.own("[mqtt]\ntopic_translation = escaped");
    let (mut service, queue) = listening_at(broker.addr(), "a.#");
    for version in BOTH {
        let mut client = subscriber_at(broker.mqtt_addr(), version);
        client.subscribe("a/#", 1);
        let mut publisher = subscriber_at(broker.mqtt_addr(), version);
        for (topic, key) in [("a/b.c/d", "a.b%2Ec.d"), ("a/.", "a.%2E"), ("a//b", "a..b")] {
            publisher.tell_surely(topic, topic);
            assert_eq!(client.expect_text(topic).topic, topic);
            let got = service.get_when_there(1, &queue);
            assert_eq!((&*got.exchange, &*got.routing_key), (TOPICS, key));
            service.publish(1, TOPICS, key, key.as_bytes());
            assert_eq!(client.expect_text(key).topic, topic);
            assert_eq!(service.get_when_there(1, &queue).routing_key, key);
        }
        client.ping();
        client.leave();
    }
    broker.terminate();
}

/// A property block with a topic.
fn named(topic: &str) -> Vec<u8> {
    let headers = arguments(&[("x-mqtt-topic", Value::text(topic))]);
    properties(|p| p.headers = Some(headers.view()))
}

/// X-03, X-04
fn a_message_that_names_its_topic_has_that_topic(stage: &Stage) {
    let base = unique("base");
    let (mut service, queue) = listening(stage, &format!("{base}.#"));
    let mut exact = subscriber(stage, V5);
    exact.subscribe(&format!("{base}/b.c"), 1);
    let mut plain = subscriber(stage, V4);
    plain.subscribe(&format!("{base}/b/c"), 1);
    let key = format!("{base}.b.c");
    // One after the other by the same key: what was found for one does not hold for the next.
    for n in 0..3 {
        service.publish_with(1, TOPICS, &key, &named(&format!("{base}/b.c")), b"exact");
        assert_eq!(exact.expect_text("exact").topic, format!("{base}/b.c"), "{n}");
        service.publish(1, TOPICS, &key, b"plain");
        assert_eq!(plain.expect_text("plain").topic, format!("{base}/b/c"));
        service.publish_with(1, TOPICS, &key, &named("#"), b"none");
        assert_eq!(plain.expect_text("none").topic, format!("{base}/b/c"));
        for body in [&b"exact"[..], b"plain", b"none"] {
            let got = service.get_when_there(1, &queue);
            assert_eq!((got.routing_key, &*got.body), (key.clone(), body));
        }
    }
    // What came from a topic goes back to it, whoever hands it on.
    let mut publisher = subscriber(stage, V5);
    publisher.tell_surely(&format!("{base}/b.c"), "there");
    exact.expect_text("there");
    let got = service.get_when_there(1, &queue);
    service.publish_with(1, TOPICS, &got.routing_key, &got.properties, b"back");
    assert_eq!(exact.expect_text("back").topic, format!("{base}/b.c"));
    exact.ping();
    plain.ping();
}

/// X-03
fn what_dies_on_its_way_from_a_topic_has_a_key(stage: &Stage) {
    let base = unique("base");
    let (mut service, dead) = listening(stage, &unique("none"));
    service.bind(1, &dead, "amq.direct", &format!("{base}.a"));
    let queue = stage.name("dies");
    let table = arguments(&[
        ("x-message-ttl", Value::I32(0)),
        ("x-dead-letter-exchange", Value::text("amq.direct")),
    ]);
    let dies = queue::Declare { exclusive: true, arguments: table.view(), ..declare(&queue) };
    service.declare_with(1, &dies);
    service.bind(1, &queue, TOPICS, &format!("{base}.*"));
    subscriber(stage, V5).tell_surely(&format!("{base}/a"), "m");
    let got = service.get_when_there(1, &dead);
    assert_eq!((got.routing_key, &*got.body), (format!("{base}.a"), &b"m"[..]));
    service.delete(1, &queue);
}

/// X-08
fn a_topic_may_name_an_exchange_where_it_is_set(stage: &Stage) {
    let own = "^(|amq.direct|mqtt-subscription-.*)$";
    let file = definitions(&[("eve", [own, own, own])]);
    let config =
        format!("load_definitions = {}\n[mqtt]\npublish_to_exchanges = on", file.display());
    let broker = stage.setup.own(&config);
    let mut service = service(broker.addr());
    service.declare_exclusive(1, "q");
    service.bind(1, "q", "amq.direct", "a.b");
    service.declare_exchange(1, "news", "fanout");
    service.bind(1, "q", "news", "");
    service.bind_exchange("news", TOPICS, "");
    let mut reader = subscriber_at(broker.mqtt_addr(), V4);
    reader.subscribe("a/#", 1);
    let hello = Hello { user: b"eve".to_vec(), ..Hello::new(V5, "eve") };
    let mut eve = Subscriber::connect(broker.mqtt_addr(), &hello);
    let mut guest = subscriber_at(broker.mqtt_addr(), V5);
    let letter = |topic| Letter { topic, payload: b"m", ..Letter::default() };
    assert_eq!(eve.publish_surely(&letter("$exchange/amq.direct/a/b")), 0);
    let got = service.get_when_there(1, "q");
    assert_eq!((&*got.exchange, &*got.routing_key, &*got.body), ("amq.direct", "a.b", &b"m"[..]));
    assert_eq!(eve.publish_surely(&letter("$exchange/amq.direct/a")), 0x10);
    assert_eq!(eve.publish_surely(&letter("$exchange/news/a")), 0x87);
    assert_eq!(guest.publish_surely(&letter("$exchange/news/a/c")), 0);
    assert_eq!(service.get_when_there(1, "q").routing_key, "a.c");
    assert_eq!(reader.expect_text("m").topic, "a/c", "by way of an exchange");
    for nowhere in ["none/a", "amq.topic/a", "amq.filter/a", "amq.group/a"] {
        let topic = format!("$exchange/{nowhere}");
        let letter = Letter { topic: &topic, payload: b"m", ..Letter::default() };
        assert_eq!(guest.publish_surely(&letter), 0x87);
    }
    reader.ping();
    broker.terminate();
    drop(std::fs::remove_file(file));
    // It is off where nobody has asked for it.
    let mut guest = subscriber(stage, V5);
    assert_eq!(guest.publish_surely(&letter("$exchange/amq.direct/a/b")), 0x87);
}

/// X-06
fn the_queue_of_a_session_is_there_to_be_seen_purged_and_deleted(stage: &Stage) {
    let (name, topic) = (unique("client"), unique("topic"));
    let queue = format!("mqtt-subscription-{name}qos1");
    let hello = Hello::lasting(V5, &name);
    let mqtt = stage.setup.shared().mqtt_addr();
    let mut client = Subscriber::connect(mqtt, &hello);
    client.subscribe(&topic, 1);
    client.leave();
    let mut service = stage.with_channel();
    service.publish_with(1, TOPICS, &topic, &properties(|p| p.delivery_mode = Some(2)), b"m");
    service.wait_ready(1, &queue, 1);
    let method = basic::Publish { mandatory: true, ..publish("", &queue) };
    service.send_content(1, &method, &properties(|_| {}), b"by name");
    assert_eq!(service.expect_return(1).body, b"by name");
    for n in 2..6 {
        service.open_channel(n);
        match n {
            2 => service.send(n, &consume(&queue, "")),
            3 => service.send_bind(n, &queue, TOPICS, "#"),
            4 => service.send(n, &basic::Get { ticket: 0, queue: &queue, no_ack: true }),
            _ => service.send(n, &queue::Declare { durable: true, ..declare(&queue) }),
        }
        service.expect_channel_close(n, 403, "refused for user");
    }
    assert_eq!(service.counts(1, &queue), (1, 0));
    assert_eq!(service.purge(1, &queue), 1);
    let (mut client, is_present) = Subscriber::resume(mqtt, &hello);
    assert!(is_present);
    client.ping();
    assert_eq!(service.delete(1, &queue), 0);
    client.expect_closed(0x98);
    let (mut client, is_present) = Subscriber::resume(mqtt, &hello);
    assert!(!is_present);
    client.ping();
    assert_eq!(service.delete(1, &queue), 0);
}

/// X-13
fn who_may_not_use_a_key_is_told_so(stage: &Stage) {
    let file = definitions(&[("eve", [".*", ".*", ".*"])]);
    let text = std::fs::read_to_string(&file).expect("it was just written");
    let right =
        r#"{"user": "eve", "vhost": "/", "exchange": "amq.topic", "write": "^w", "read": "^r"}"#;
    let text = text.replacen('{', &format!(r#"{{"topic_permissions": [{right}], "#), 1);
    std::fs::write(&file, text).expect("a file under target/");
    let broker = stage.setup.own(&format!("load_definitions = {}", file.display()));
    let mut client = crate::support::Client::connect(broker.addr());
    client.log_in(&crate::support::Login { user: "eve", ..Default::default() });
    client.open_channel(1);
    client.declare_exclusive(1, "q");
    client.bind(1, "q", TOPICS, "r.#");
    client.publish(1, TOPICS, "w.a", b"m");
    client.publish(1, TOPICS, "secret", b"m");
    client.expect_channel_close(
        1,
        403,
        "write access to topic 'secret' in exchange 'amq.topic' in vhost '/' refused for user 'eve'",
    );
    client.open_channel(1);
    client.send_bind(1, "q", TOPICS, "#");
    client.expect_channel_close(1, 403, "read access to topic '#'");
    client.open_channel(1);
    // Neither by the topic that a message names.
    client.publish_with(1, TOPICS, "w.a", &named("secret"), b"m");
    client.expect_channel_close(1, 403, "write access to topic 'secret'");
    broker.terminate();
    drop(std::fs::remove_file(file));
}

/// MQTT-3.1.2-8 (v3.1.1), MQTT-3.1.2-7 (v5)
fn a_will_is_there_after_a_crash_once_its_client_is_connected(stage: &Stage) {
    let broker = stage.setup.own("");
    let hello = Hello::lasting(V5, "witness");
    let mut witness = Subscriber::connect(broker.mqtt_addr(), &hello);
    witness.subscribe("left", 1);
    let clients = BOTH.map(|version| {
        let hello = Hello::new(version, &unique("leaves")).leaving(Will::sure("left", "will"));
        Subscriber::connect(broker.mqtt_addr(), &hello)
    });
    let broker = broker.again(Ending::Kill, Options { ..stage.setup.next().options() });
    drop(clients);
    let (mut witness, is_present) = Subscriber::resume(broker.mqtt_addr(), &hello);
    assert!(is_present);
    witness.expect_text("will");
    witness.expect_text("will");
    witness.ping();
    broker.terminate();
}
