//! Queues as topics: mqtt.md X-07.

use ringmq::protocol::amqp091::wire::method::{basic, queue};

use crate::mqtt::client::Client as Subscriber;
use crate::mqtt::octets::{BOTH, Hello, Letter, V4, V5, numbered, packet, two};
use crate::support::Client;
use crate::support::broker::Ending;
use crate::support::content::properties;
use crate::support::methods::{consume, declare};
use crate::support::setup::Stage;
use crate::support::siege::{definitions, unique};

use super::{TOPICS, listening, service, subscriber};

on_every_setup!(
    a_queue_is_consumed_and_settled_by_answers,
    what_was_not_answered_goes_back_with_the_connection,
    a_refusing_answer_puts_a_message_back,
    a_publish_to_a_queue_by_name_is_in_it_when_it_is_answered,
    a_subscription_to_a_queue_ends_by_unsubscribing,
    subscribers_and_consumers_share_a_queue,
    queues_and_the_session_share_what_the_client_takes,
    a_message_of_a_queue_has_its_own_topic_and_properties,
    queues_that_are_not_there_are_refused,
    a_queue_that_is_deleted_leaves_its_subscriber_alone,
    a_subscription_to_a_queue_is_not_remembered,
    a_queue_is_for_those_who_have_a_right_on_it,
    a_service_that_asks_by_key_is_answered_by_a_subscriber,
    a_client_that_asks_by_topic_is_answered_by_a_service,
);

/// A service and a queue that anybody may use, which it has to delete.
fn with_queue(stage: &Stage) -> (Client, String, String) {
    let (mut service, queue) = (stage.with_channel(), unique("q"));
    service.declare(1, &queue);
    let filter = format!("$q/{queue}");
    (service, queue, filter)
}

/// Takes a message and says that it has it, as its QoS asks.
fn take(client: &mut Subscriber, text: &str) {
    let message = client.expect_text(text);
    if message.qos == 2 {
        client.send(&numbered(0x50, message.id));
        assert_eq!(client.expect_answer(0x62, message.id), 0);
        client.send(&numbered(0x70, message.id));
    }
}

fn a_queue_is_consumed_and_settled_by_answers(stage: &Stage) {
    for version in BOTH {
        for qos in [0, 1, 2] {
            let (mut service, queue, filter) = with_queue(stage);
            service.publish(1, "", &queue, b"before");
            let mut client = subscriber(stage, version);
            client.subscribe(&filter, qos);
            service.publish(1, "", &queue, b"after");
            let both = ["before", "after"].map(|text| (text, client.expect_message()));
            for (n, (text, message)) in both.into_iter().enumerate() {
                assert_eq!((&*message.topic, message.text()), (&*filter, text));
                assert_eq!((message.qos, message.dup, message.retain), (qos, false, false));
                match qos {
                    1 => client.send(&numbered(0x40, message.id)),
                    2 => {
                        client.send(&numbered(0x50, message.id));
                        assert_eq!(client.expect_answer(0x62, message.id), 0);
                        if n == 1 {
                            client.send(&numbered(0x50, message.id));
                            assert_eq!(client.expect_answer(0x62, message.id), 0);
                        }
                        client.send(&numbered(0x70, message.id));
                    }
                    _ => {}
                }
            }
            client.ping();
            client.leave();
            service.wait_ready(1, &queue, 0);
            assert_eq!(service.delete(1, &queue), 0);
        }
    }
}

fn what_was_not_answered_goes_back_with_the_connection(stage: &Stage) {
    for version in BOTH {
        for qos in [1, 2] {
            for in_order in [false, true] {
                let (mut service, queue, filter) = with_queue(stage);
                for text in ["a", "b", "c"] {
                    service.publish(1, "", &queue, text.as_bytes());
                }
                let mut client = subscriber(stage, version);
                client.subscribe(&filter, qos);
                let all = [(); 3].map(|()| client.expect_message());
                if qos == 2 {
                    // It has the first, but has not let it go.
                    client.send(&numbered(0x50, all[0].id));
                    client.expect_answer(0x62, all[0].id);
                }
                client.ping();
                assert_eq!(service.counts(1, &queue), (0, 1));
                if in_order {
                    client.leave();
                } else {
                    client.vanish();
                }
                service.wait_ready(1, &queue, 3);
                for text in ["a", "b", "c"] {
                    let got = service.get_when_there(1, &queue);
                    assert_eq!((&*got.body, got.redelivered), (text.as_bytes(), true));
                }
                assert_eq!(service.counts(1, &queue), (0, 0));
                service.delete(1, &queue);
            }
        }
    }
}

fn a_refusing_answer_puts_a_message_back(stage: &Stage) {
    for (qos, first) in [(1, 0x40), (2, 0x50)] {
        let (mut service, queue, filter) = with_queue(stage);
        let mut client = subscriber(stage, V5);
        client.subscribe(&filter, qos);
        service.publish(1, "", &queue, b"m");
        let message = client.expect_text_unanswered("m");
        let [high, low] = message.id.to_be_bytes();
        client.send(&packet(first, &[high, low, 0x80]));
        let again = client.expect_text_unanswered("m");
        assert!(!again.dup);
        client.vanish();
        service.wait_ready(1, &queue, 1);
        assert_eq!(service.delete(1, &queue), 1);
    }
}

/// MQTT-3.4.2-1 (v5)
fn a_publish_to_a_queue_by_name_is_in_it_when_it_is_answered(stage: &Stage) {
    let broker = stage.setup.own("");
    let mut owner = service(broker.addr());
    owner.declare_with(1, &queue::Declare { durable: true, ..declare("kept/q") });
    let mut publisher = Subscriber::connect(broker.mqtt_addr(), &Hello::new(V5, "publisher"));
    let letter = Letter { topic: "$q/kept/q", retain: true, ..Letter::default() };
    assert_eq!(publisher.publish_surely(&Letter { payload: b"one", ..letter.clone() }), 0);
    publisher.publish(&Letter { payload: b"two", qos: 2, id: 77, ..letter });
    assert_eq!(publisher.expect_answer(0x50, 77), 0);
    publisher.send(&numbered(0x62, 77));
    assert_eq!(publisher.expect_answer(0x70, 77), 0);
    let nobody = Letter { topic: "$q/missing", payload: b"m", ..Letter::default() };
    assert_eq!(publisher.publish_surely(&nobody), 0x10);
    assert_eq!(publisher.publish_surely(&Letter { topic: "$q/", ..nobody }), 0x87);
    let broker = broker.again(Ending::Kill, stage.setup.next().options());
    let mut owner = service(broker.addr());
    for body in [b"one", b"two"] {
        let got = owner.get_when_there(1, "kept/q");
        assert_eq!((&*got.exchange, &*got.routing_key), ("", "kept/q"));
        assert_eq!((&*got.body, got.decoded().delivery_mode), (&body[..], Some(2)));
        assert_eq!(got.headers().get("x-mqtt-retain"), None);
    }
    let mut late = Subscriber::connect(broker.mqtt_addr(), &Hello::new(V4, "late"));
    late.subscribe("$q/kept/q", 1);
    late.tell("$q/kept/q", "three");
    assert_eq!(late.expect_text("three").topic, "$q/kept/q");
    late.ping();
    broker.terminate();
}

/// MQTT-3.10.4-1 to -3 (v3.1.1), MQTT-3.10.4-1 to -3 (v5)
fn a_subscription_to_a_queue_ends_by_unsubscribing(stage: &Stage) {
    let (mut service, queue, filter) = with_queue(stage);
    let mut client = subscriber(stage, V5);
    client.subscribe(&filter, 1);
    service.publish(1, "", &queue, b"m");
    let message = client.expect_text_unanswered("m");
    let other = unique("other");
    client.subscribe(&other, 0);
    assert_eq!(client.unsubscribe(&["$q/no", &filter, &other, &filter]), [0x11, 0, 0, 0x11]);
    service.publish(1, "", &queue, b"later");
    service.wait_ready(1, &queue, 1);
    // What it has may still be answered.
    client.send(&numbered(0x40, message.id));
    client.ping();
    client.leave();
    assert_eq!(service.get_when_there(1, &queue).body, b"later");
    assert_eq!(service.delete(1, &queue), 0);
}

/// S1
fn subscribers_and_consumers_share_a_queue(stage: &Stage) {
    let (mut service, queue, filter) = with_queue(stage);
    let mut clients = BOTH.map(|version| subscriber(stage, version));
    for client in &mut clients {
        client.subscribe(&filter, 1);
    }
    let tag = service.consume(1, &queue);
    for n in 0..30_u8 {
        service.publish(1, "", &queue, &[n]);
    }
    let mut all: Vec<u8> = service.expect_deliveries(1, 10).iter().map(|got| got.body[0]).collect();
    for client in &mut clients {
        for _ in 0..10 {
            let message = client.expect_message();
            client.send(&numbered(0x40, message.id));
            all.push(message.payload[0]);
        }
        client.ping();
    }
    all.sort_unstable();
    assert_eq!(all, (0..30).collect::<Vec<u8>>());
    service.cancel(1, &tag);
    service.delete(1, &queue);
}

/// MQTT-3.3.4-9 (v5): whatever it has subscribed to, together.
fn queues_and_the_session_share_what_the_client_takes(stage: &Stage) {
    let (mut service, queue, filter) = with_queue(stage);
    let hello = Hello::new(V5, &unique("few")).with(&two(0x21, 2));
    let mut client = Subscriber::connect(stage.setup.shared().mqtt_addr(), &hello);
    let topic = unique("few");
    client.subscribe(&filter, 2);
    client.subscribe(&topic, 1);
    let mut publisher = subscriber(stage, V4);
    for _ in 0..4 {
        service.publish(1, "", &queue, b"queue");
        publisher.tell_surely(&topic, "session");
    }
    let (mut out, mut counts) = (Vec::new(), [0, 0]);
    for n in 0..8 {
        while out.len() < 2.min(8 - n) {
            let message = client.expect_message();
            counts[usize::from(message.text() == "session")] += 1;
            out.push((message.qos, message.id));
        }
        assert_ne!(out[0].1, out.get(1).map_or(0, |out| out.1), "packet ids differ");
        client.ping();
        let (qos, id) = out.remove(0);
        if qos == 1 {
            client.send(&numbered(0x40, id));
        } else {
            client.send(&numbered(0x50, id));
            assert_eq!(client.expect_answer(0x62, id), 0);
            client.ping();
            client.send(&numbered(0x70, id));
        }
    }
    assert_eq!(counts, [4, 4]);
    client.ping();
    client.leave();
    assert_eq!(service.delete(1, &queue), 0);
}

fn a_message_of_a_queue_has_its_own_topic_and_properties(stage: &Stage) {
    let (mut service, queue, filter) = with_queue(stage);
    let base = unique("base");
    service.bind(1, &queue, TOPICS, &format!("{base}.#"));
    let mut client = subscriber(stage, V5);
    client.subscribe_with(&filter, 1, &[0x0B, 9]);
    let mut publisher = subscriber(stage, V5);
    let topic = format!("{base}/a.b");
    let typed = [&[0x03, 0, 1][..], b"t"].concat();
    publisher.publish(&Letter { topic: &topic, properties: &typed, ..Letter::default() });
    let message = client.expect_text("");
    assert_eq!((&*message.topic, message.subscription_ids()), (&*topic, vec![9]));
    assert_eq!(message.property(0x03), Some(&b"t"[..]));
    let block = properties(|p| p.content_type = Some(b"s"));
    service.publish_with(1, TOPICS, &format!("{base}.c"), &block, b"key");
    let message = client.expect_text("key");
    assert_eq!((message.topic, message.qos), (format!("{base}/c"), 1));
    assert_eq!(message.properties.iter().filter(|(id, _)| *id == 0x03).count(), 1);
    service.publish(1, TOPICS, &format!("{base}.#"), b"no topic");
    assert_eq!(client.expect_text("no topic").topic, filter);
    client.ping();
    client.leave();
    service.delete(1, &queue);
}

fn queues_that_are_not_there_are_refused(stage: &Stage) {
    let (mut service, queue, filter) = with_queue(stage);
    let (_owner, private) = listening(stage, &unique("never"));
    let (missing, private) = (format!("$q/{}", unique("no")), format!("$q/{private}"));
    let mut client = subscriber(stage, V5);
    let topic = unique("topic");
    let all = [(&*missing, 1), (&*filter, 2), (&*topic, 1), (&*private, 0), ("$q/+", 1)];
    let codes = client.ask(&all, &[]);
    assert_eq!(codes, [0x87, 2, 1, 0x80, 0x87]);
    // The same once more changes its QoS, except that a queue cannot be settled later.
    assert_eq!(client.ask(&[(&filter, 1)], &[]), [1]);
    service.publish(1, "", &queue, b"m");
    assert_eq!(client.expect_text("m").qos, 1);
    let mut old = subscriber(stage, V4);
    assert_eq!(old.ask(&[(&missing, 1), (&topic, 0)], &[]), [0x80, 0]);
    service.publish(1, TOPICS, &topic, b"still here");
    old.expect_text("still here");
    client.expect_text("still here");
    client.leave();
    service.delete(1, &queue);
    // The queue of a session is nobody else's.
    let hello = Hello::lasting(V5, &unique("has"));
    let mut other = Subscriber::connect(stage.setup.shared().mqtt_addr(), &hello);
    let name = String::from_utf8_lossy(&hello.client).into_owned();
    let own = format!("$q/mqtt-subscription-{name}qos1");
    assert_eq!(other.ask(&[(&own, 1)], &[]), [0x87]);
    other.leave();
}

fn a_queue_that_is_deleted_leaves_its_subscriber_alone(stage: &Stage) {
    let (mut service, queue, filter) = with_queue(stage);
    let mut client = subscriber(stage, V5);
    client.subscribe(&filter, 1);
    service.publish(1, "", &queue, b"m");
    let message = client.expect_text_unanswered("m");
    service.delete(1, &queue);
    client.send(&numbered(0x40, message.id));
    client.ping();
    service.declare(1, &queue);
    client.subscribe(&filter, 2);
    service.publish(1, "", &queue, b"new");
    take(&mut client, "new");
    client.ping();
    client.leave();
    assert_eq!(service.delete(1, &queue), 0);
}

fn a_subscription_to_a_queue_is_not_remembered(stage: &Stage) {
    let (mut service, queue, filter) = with_queue(stage);
    let hello = Hello::lasting(V4, &unique("back"));
    let addr = stage.setup.shared().mqtt_addr();
    let mut client = Subscriber::connect(addr, &hello);
    // A client that remembers a packet id of QoS 2 would take another message for a repetition.
    assert_eq!(client.ask(&[(&filter, 2)], &[]), [1]);
    client.leave();
    service.publish(1, "", &queue, b"m");
    let (mut client, is_present) = Subscriber::resume(addr, &hello);
    assert!(is_present);
    client.ping();
    assert_eq!(service.counts(1, &queue), (1, 0));
    client.subscribe(&filter, 1);
    client.expect_text("m");
    client.leave();
    service.delete(1, &queue);
}

///
fn a_queue_is_for_those_who_have_a_right_on_it(stage: &Stage) {
    let own = "^(|amq.default|mine|mqtt-subscription-.*)$";
    let file = definitions(&[("eve", [own, own, own])]);
    let broker = stage.setup.own(&format!("load_definitions = {}", file.display()));
    let mut owner = service(broker.addr());
    owner.declare(1, "mine");
    owner.declare(1, "secret");
    let hello = Hello { user: b"eve".to_vec(), ..Hello::new(V5, "eve") };
    let mut eve = Subscriber::connect(broker.mqtt_addr(), &hello);
    assert_eq!(eve.ask(&[("$q/secret", 1), ("$q/mine", 1)], &[]), [0x87, 1]);
    let letter = Letter { topic: "$q/secret", payload: b"m", ..Letter::default() };
    assert_eq!(eve.publish_surely(&letter), 0x87);
    let id = eve.id();
    eve.publish(&Letter { topic: "$q/mine", qos: 1, id, ..letter });
    // Its own message may come before the answer.
    let (mut is_answered, mut has_come) = (false, false);
    while !(is_answered && has_come) {
        let came = eve.expect_packet();
        if came.first == 0x40 {
            assert_eq!(came.body.get(2).copied().unwrap_or_default(), 0);
            is_answered = true;
        } else {
            let message = eve.message_of(&came);
            eve.send(&numbered(0x40, message.id));
            has_come = true;
        }
    }
    assert_eq!(owner.counts(1, "secret"), (0, 0));
    eve.ping();
    broker.terminate();
    drop(std::fs::remove_file(file));
}

/// The table of 5.3, Response Topic: also where the answer goes to no queue at all.
fn a_service_that_asks_by_key_is_answered_by_a_subscriber(stage: &Stage) {
    let base = unique("rpc");
    let mut server = subscriber(stage, V5);
    server.subscribe(&format!("{base}/+"), 1);
    let mut asks = stage.with_channel();
    let no_ack = basic::Consume { no_ack: true, ..consume("amq.rabbitmq.reply-to", "") };
    asks.consume_with(1, &no_ack);
    asks.send(1, &queue::Declare { exclusive: true, ..declare("") });
    let (named, _) = asks.expect_declared(1);
    asks.consume_with(1, &basic::Consume { no_ack: true, ..consume(&named, "") });
    for reply_to in ["amq.rabbitmq.reply-to", &named] {
        let block = properties(|p| {
            p.reply_to = Some(reply_to.as_bytes());
            p.correlation_id = Some(b"7");
        });
        asks.publish_with(1, TOPICS, &format!("{base}.add"), &block, b"1+1");
        let question = server.expect_text("1+1");
        let answers = question.property(0x08).expect("where answers go");
        let answers = std::str::from_utf8(answers).expect("a topic");
        assert!(answers.starts_with(&format!("$q/{reply_to}")), "{answers}");
        let correlation = [&[0x09, 0, 1][..], b"7"].concat();
        let letter =
            Letter { topic: answers, payload: b"2", properties: &correlation, ..Letter::default() };
        assert_eq!(server.publish_surely(&letter), 0);
        let answer = asks.expect_delivery(1);
        assert_eq!((&*answer.body, answer.decoded().correlation_id), (&b"2"[..], Some(&b"7"[..])));
    }
    server.ping();
}

/// The table of 5.3, Response Topic
fn a_client_that_asks_by_topic_is_answered_by_a_service(stage: &Stage) {
    let base = unique("rpc");
    let (mut server, queue) = listening(stage, &format!("{base}.ask"));
    let mut client = subscriber(stage, V5);
    let answers = format!("{base}/answers");
    client.subscribe(&answers, 1);
    let response = [vec![0x08], crate::mqtt::octets::text(&answers)].concat();
    let topic = format!("{base}/ask");
    client.publish(&Letter {
        topic: &topic,
        payload: b"?",
        properties: &response,
        ..Letter::default()
    });
    let question = server.get_when_there(1, &queue);
    let key = question.decoded().reply_to.map(String::from_utf8_lossy).expect("where answers go");
    server.publish(1, TOPICS, &key, b"!");
    client.expect_text("!");
    // A queue of its own choice is one, by its name.
    let (mut owner, named, filter) = with_queue(stage);
    let response = [vec![0x08], crate::mqtt::octets::text(&filter)].concat();
    client.publish(&Letter {
        topic: &topic,
        payload: b"?",
        properties: &response,
        ..Letter::default()
    });
    let question = server.get_when_there(1, &queue);
    assert_eq!(question.decoded().reply_to, Some(named.as_bytes()));
    client.ping();
    owner.delete(1, &named);
}

impl Subscriber {
    /// A message with this payload, which waits for its answer.
    fn expect_text_unanswered(&mut self, text: &str) -> crate::mqtt::client::Message {
        let message = self.expect_message();
        assert_eq!(message.text(), text);
        message
    }
}
