//! Exchanges, queues and bindings that would go round for ever, grow without end or are
//! refused (abuse rows 33 to 39).

use std::time::{Duration, Instant};

use ringmq::protocol::amqp091::wire::method::{
    Basic, Exchange, Method, Queue, basic, exchange, queue,
};
use ringmq::protocol::amqp091::wire::table_buffer::TableBuffer;
use ringmq::value::Value;

use crate::support::broker::{Options, Placement};
use crate::support::client::GLANCE;
use crate::support::methods::{arguments, consume, declare, declare_exchange};
use crate::support::setup::Setup;
use crate::support::siege::{NOTHING_MIB, Siege, unique};
use crate::support::{Client, properties};

fn siege() -> Siege {
    Siege::shared(Setup::Apart)
}

/// A queue with arguments.
fn declare_queue(client: &mut Client, name: &str, table: &TableBuffer) {
    client.declare_with(1, &queue::Declare { arguments: table.view(), ..declare(name) });
}

fn bind_exchange(client: &mut Client, source: &str, destination: &str, routing_key: &str) {
    client.send_bind_exchange(1, source, destination, routing_key);
    client.expect(1, "exchange.bind-ok", |method| {
        matches!(method, Method::Exchange(Exchange::BindOk)).then_some(())
    });
}

/// Abuse row 33
#[test]
fn a_delivery_tag_that_is_not_out_costs_its_channel() {
    let siege = siege();
    let mut client = siege.attacker();
    let queue = unique("queue");
    client.declare_exclusive(1, &queue);
    client.open_channel(2);
    client.publish(1, "", &queue, b"x");
    client.wait_ready(1, &queue, 1);
    let held = client.get(1, &queue, false).expect("a message").delivery_tag;
    let settle = |tag: u64, kind: u8| -> Method<'static> {
        Method::Basic(match kind {
            0 => Basic::Ack(basic::Ack { delivery_tag: tag, multiple: false }),
            1 => Basic::Nack(basic::Nack { delivery_tag: tag, multiple: false, requeue: true }),
            2 => Basic::Reject(basic::Reject { delivery_tag: tag, requeue: false }),
            _ => Basic::Ack(basic::Ack { delivery_tag: tag, multiple: true }),
        })
    };
    for kind in 0..4 {
        // 0 without multiple, one that was never given, the highest, that of another channel.
        for tag in [0, 2, u64::MAX, held] {
            if (tag, kind) == (0, 3) {
                continue;
            }
            client.send(2, &settle(tag, kind));
            client.expect_channel_close(2, 406, "unknown delivery tag");
            client.open_channel(2);
        }
    }
    // Once is right, twice is not.
    client.ack(1, held, false);
    assert_eq!(client.counts(1, &queue), (0, 0));
    client.ack(1, held, false);
    client.expect_channel_close(1, 406, "PRECONDITION_FAILED - unknown delivery tag 1");
    client.close();
    siege.lift(NOTHING_MIB);
}

/// Abuse row 34: a queue that counts deliveries ends the circle.
#[test]
fn a_message_that_is_returned_for_ever_dies() {
    let siege = siege();
    let mut client = siege.attacker();
    let (queue, dead) = (unique("queue"), unique("dead"));
    client.declare_exclusive(1, &dead);
    let table = arguments(&[
        ("x-queue-type", Value::text("quorum")),
        ("x-dead-letter-exchange", Value::text("")),
        ("x-dead-letter-routing-key", Value::text(&dead)),
    ]);
    client.declare_with(
        1,
        &queue::Declare { durable: true, arguments: table.view(), ..declare(&queue) },
    );
    client.publish(1, "", &queue, b"poison");
    client.prefetch(1, 1);
    client.consume_with(1, &consume(&queue, "victim"));
    for round in 0..=20 {
        let delivery = client.expect_delivery(1);
        assert_eq!((delivery.body.as_slice(), delivery.redelivered), (&b"poison"[..], round > 0));
        client.nack(1, delivery.delivery_tag, true);
    }
    client.expect_silence();
    client.cancel(1, "victim");
    let buried = client.get_when_there(1, &dead);
    assert_eq!(buried.headers().get("x-first-death-reason"), Some(&Value::text("delivery_limit")));
    assert_eq!(client.delete(1, &queue), 0);
    client.close();
    siege.lift(NOTHING_MIB);
}

/// Abuse row 34: where nothing is counted it goes on, but others have their turn.
#[test]
fn a_requeue_loop_leaves_time_for_others() {
    let mut siege = siege();
    let mut client = siege.attacker();
    let queue = unique("queue");
    client.declare_exclusive(1, &queue);
    for _ in 0..100 {
        client.publish(1, "", &queue, b"again");
    }
    client.consume_with(1, &consume(&queue, "loop"));
    let end = Instant::now() + Duration::from_secs(1);
    let looping = std::thread::spawn(move || {
        let mut rounds = 0;
        while Instant::now() < end {
            let delivery = client.expect_delivery(1);
            client.nack(1, delivery.delivery_tag, true);
            rounds += 1;
        }
        rounds
    });
    while Instant::now() < end {
        siege.canary_sings();
    }
    let rounds = looping.join().expect("the loop ran");
    assert!(rounds > 100, "{rounds} rounds are no loop");
    siege.lift(NOTHING_MIB);
}

/// Abuse row 35
#[test]
fn dead_letters_do_not_go_in_circles() {
    let siege = siege();
    let mut client = siege.attacker();
    let (one, two, itself) = (unique("one"), unique("two"), unique("itself"));
    for (name, next) in [(&one, &two), (&two, &one), (&itself, &itself)] {
        let table = arguments(&[
            ("x-message-ttl", Value::I32(5)),
            ("x-dead-letter-exchange", Value::text("")),
            ("x-dead-letter-routing-key", Value::text(next)),
        ]);
        declare_queue(&mut client, name, &table);
    }
    for _ in 0..50 {
        client.publish(1, "", &one, b"x");
        client.publish(1, "", &itself, b"x");
    }
    for name in [&one, &two, &itself] {
        client.wait_ready(1, name, 0);
    }
    // A circle would keep it moving: look again and again.
    let end = Instant::now() + GLANCE;
    while Instant::now() < end {
        client.wait_ready(1, &one, 0);
        client.wait_ready(1, &two, 0);
    }
    assert!(client.get(1, &two, true).is_none() && client.get(1, &itself, true).is_none());
    // A length of 0 with no way out but itself ends as well.
    let full = unique("full");
    let table = arguments(&[
        ("x-max-length", Value::I32(0)),
        ("x-dead-letter-exchange", Value::text("")),
        ("x-dead-letter-routing-key", Value::text(&full)),
    ]);
    declare_queue(&mut client, &full, &table);
    client.confirm_select(1);
    for _ in 0..50 {
        client.publish(1, "", &full, b"x");
    }
    client.expect_confirms(1, 1, 50);
    assert_eq!(client.counts(1, &full), (0, 0));
    for name in [&one, &two, &itself, &full] {
        client.delete(1, name);
    }
    client.close();
    siege.lift(NOTHING_MIB);
}

/// Abuse row 35: by rejection it may go round, for somebody asks for each round; but its history
/// does not grow.
#[test]
fn the_history_of_a_message_is_as_long_as_its_way() {
    let siege = siege();
    let mut client = siege.attacker();
    let (one, two) = (unique("one"), unique("two"));
    for (name, next) in [(&one, &two), (&two, &one)] {
        let table = arguments(&[
            ("x-dead-letter-exchange", Value::text("")),
            ("x-dead-letter-routing-key", Value::text(next)),
        ]);
        declare_queue(&mut client, name, &table);
    }
    for name in [&one, &two] {
        client.consume_with(1, &consume(name, name));
    }
    client.publish(1, "", &one, b"x");
    for round in 0..200 {
        let delivery = client.expect_delivery(1);
        let deaths = match delivery.headers().get("x-death") {
            Some(Value::Array(deaths)) => deaths.len(),
            _ => 0,
        };
        assert_eq!(deaths, round.min(2), "round {round}");
        client.nack(1, delivery.delivery_tag, false);
    }
    for name in [&one, &two] {
        client.cancel(1, name);
        client.delete(1, name);
    }
    client.close();
    siege.lift(NOTHING_MIB);
}

/// Abuse row 36
#[test]
fn exchanges_bound_in_a_circle_route_once() {
    let siege = siege();
    let mut client = siege.attacker();
    let queue = unique("queue");
    client.declare_exclusive(1, &queue);
    let ring: Vec<String> = (0..5).map(|_| unique("ring")).collect();
    for exchange in &ring {
        client.declare_exchange(1, exchange, "fanout");
        client.bind(1, &queue, exchange, "");
    }
    for (at, exchange) in ring.iter().enumerate() {
        bind_exchange(&mut client, exchange, &ring[(at + 1) % ring.len()], "");
        bind_exchange(&mut client, exchange, exchange, "");
    }
    client.confirm_select(1);
    for _ in 0..10 {
        client.publish(1, &ring[0], "", b"round");
    }
    client.expect_confirms(1, 1, 10);
    assert_eq!(client.counts(1, &queue), (10, 0), "one copy of each");
    // The circle of alternate exchanges that match nothing.
    let (a, b) = (unique("a"), unique("b"));
    for (name, other) in [(&a, &b), (&b, &a)] {
        let table = arguments(&[("alternate-exchange", Value::text(other))]);
        client.send(
            1,
            &exchange::Declare { arguments: table.view(), ..declare_exchange(name, "direct") },
        );
        client.expect(1, "exchange.declare-ok", |method| {
            matches!(method, Method::Exchange(Exchange::DeclareOk)).then_some(())
        });
    }
    client.publish(1, &a, "nowhere", b"lost");
    client.expect_confirms(1, 11, 11);
    client.close();
    siege.lift(NOTHING_MIB);
}

/// Abuse row 36: after 64 steps from exchange to exchange a message has gone far enough.
#[test]
fn a_chain_of_a_thousand_exchanges_ends_after_64() {
    let siege = Siege::own(Options { placement: Placement::Apart, ..Options::default() });
    let mut client = siege.attacker();
    let chain: Vec<String> = (0..1000).map(|number| format!("chain-{number}")).collect();
    for exchange in &chain {
        client.declare_exchange(1, exchange, "fanout");
    }
    for pair in chain.windows(2) {
        bind_exchange(&mut client, &pair[0], &pair[1], "");
    }
    client.declare_exclusive(1, "near");
    client.declare_exclusive(1, "far");
    client.bind(1, "near", &chain[64], "");
    client.bind(1, "far", &chain[65], "");
    client.confirm_select(1);
    for _ in 0..100 {
        client.publish(1, &chain[0], "", b"x");
    }
    client.expect_confirms(1, 1, 100);
    assert_eq!((client.counts(1, "near").0, client.counts(1, "far").0), (100, 0));
    client.close();
    siege.lift(NOTHING_MIB);
}

/// Abuse row 37
#[test]
fn a_topic_with_many_wildcards_is_matched_in_linear_time() {
    let mut siege = siege();
    let mut client = siege.attacker();
    let (queue, exchange) = (unique("queue"), unique("exchange"));
    client.declare_exclusive(1, &queue);
    client.declare_exchange(1, &exchange, "topic");
    let hashes = vec!["#"; 128].join(".");
    let mixed = vec!["#.*"; 63].join(".");
    let never = format!("{}.never", vec!["#.a"; 60].join("."));
    for key in ["#.#.#.#.#.#.*.#", "#.a.#.a.#.a.#.a.#.a.#.b.#.c", &hashes, &mixed, &never] {
        client.bind(1, &queue, &exchange, key);
    }
    let words = vec!["a"; 128].join(".");
    let dots = ".".repeat(255);
    client.confirm_select(1);
    let start = Instant::now();
    for _ in 0..50 {
        client.publish(1, &exchange, &words, b"x");
        client.publish(1, &exchange, &dots, b"x");
    }
    client.expect_confirms(1, 1, 100);
    // 2^60 steps would not end; a debug build on a busy machine may take its time.
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    siege.canary_sings();
    assert_eq!(client.counts(1, &queue), (100, 0));
    client.close();
    siege.lift(NOTHING_MIB);
}

/// Abuse row 38: bindings cost memory by their number, and time only where they match.
#[test]
fn twenty_thousand_bindings_of_one_exchange_harm_nobody() {
    let mut siege = Siege::own(Options::default());
    let mut client = siege.attacker();
    client.declare_exclusive(1, "queue");
    for kind in ["topic", "direct"] {
        client.declare_exchange(1, kind, kind);
        for number in 0..9_000 {
            let (ticket, no_wait) = (0, number % 100 != 0);
            let routing_key = &format!("key.{number}.*");
            let table = arguments(&[]);
            let arguments = table.view();
            let (queue, exchange) = ("queue", kind);
            let bind = queue::Bind { ticket, queue, exchange, routing_key, no_wait, arguments };
            client.send(1, &bind);
            if !no_wait {
                client.expect(1, "queue.bind-ok", |method| {
                    matches!(method, Method::Queue(Queue::BindOk)).then_some(())
                });
            }
            if number % 3_000 == 0 {
                siege.canary_sings();
            }
        }
    }
    client.publish(1, "topic", "key.77.x", b"x");
    client.publish(1, "direct", "key.77.*", b"x");
    client.publish(1, "topic", "key.9001.x", b"x");
    client.wait_ready(1, "queue", 2);
    client.close();
    // Some 2 KiB for each of 18,000.
    siege.lift(40 + NOTHING_MIB);
}

/// Abuse row 38
#[test]
fn bindings_of_the_whole_broker_are_limited() {
    let config = "max_bindings = 100";
    let siege = Siege::own(Options { config, ..Options::default() });
    let mut client = siege.attacker();
    client.declare_exclusive(1, "queue");
    for number in 0..200 {
        let (ticket, no_wait, table) = (0, false, arguments(&[]));
        let (queue, exchange, routing_key) = ("queue", "amq.direct", &*format!("key.{number}"));
        let arguments = table.view();
        let bind = queue::Bind { ticket, queue, exchange, routing_key, no_wait, arguments };
        client.send(1, &bind);
        let received = client.next("queue.bind-ok or channel.close");
        if !matches!(received.method(), Some(Method::Queue(Queue::BindOk))) {
            assert!(received.describe().contains("limit"), "{}", received.describe());
            assert!(number > 50, "refused at {number} already");
            client.send(1, &ringmq::protocol::amqp091::wire::method::Channel::CloseOk);
            client.close();
            siege.lift(NOTHING_MIB);
            return;
        }
    }
    panic!("more than max_bindings bindings are taken");
}

/// Abuse row 38
#[test]
fn bindings_with_bombs_in_their_arguments_are_refused_or_harmless() {
    let mut siege = siege();
    let mut client = siege.attacker();
    let (queue, headers) = (unique("queue"), unique("headers"));
    let (hash, hash_queue) = (unique("hash"), unique("weighed"));
    client.declare_exclusive(1, &queue);
    client.declare_exclusive(1, &hash_queue);
    client.declare_exchange(1, &headers, "headers");
    client.declare_exchange(1, &hash, "x-consistent-hash");
    let names: Vec<String> = (0..1000).map(|number| format!("name-{number}")).collect();
    let mut wanted: Vec<(&str, Value)> = vec![("x-match", Value::text("any"))];
    wanted.extend(names.iter().map(|name| (name.as_str(), Value::I32(1))));
    let table = arguments(&wanted);
    let (ticket, no_wait) = (0, false);
    for number in 0..20 {
        let routing_key = &number.to_string();
        let (queue, exchange, arguments) = (queue.as_str(), headers.as_str(), table.view());
        client.send(1, &queue::Bind { ticket, queue, exchange, routing_key, no_wait, arguments });
        client.expect(1, "queue.bind-ok", |method| {
            matches!(method, Method::Queue(Queue::BindOk)).then_some(())
        });
    }
    let mut sent = wanted[1..].to_vec();
    sent.iter_mut().for_each(|(_, value)| *value = Value::I32(2));
    let all_others = arguments(&sent);
    let block = properties(|p| p.headers = Some(all_others.view()));
    client.confirm_select(1);
    for _ in 0..20 {
        client.publish_with(1, &headers, "", &block, b"x");
    }
    client.expect_confirms(1, 1, 20);
    assert_eq!(client.counts(1, &queue), (0, 0));
    siege.canary_sings();
    // Weights are places on a ring: as many as are good for something.
    client.open_channel(2);
    for weight in ["1000000000", "18446744073709551616", "-1", "1e9", ""] {
        let empty = arguments(&[]);
        let (queue, exchange) = (hash_queue.as_str(), hash.as_str());
        let (routing_key, arguments) = (weight, empty.view());
        client.send(2, &queue::Bind { ticket, queue, exchange, routing_key, no_wait, arguments });
        let received = client.next("queue.bind-ok or channel.close");
        if !matches!(received.method(), Some(Method::Queue(Queue::BindOk))) {
            assert!(received.describe().contains("reply_code: 40"), "{}", received.describe());
            client.send(2, &ringmq::protocol::amqp091::wire::method::Channel::CloseOk);
            client.open_channel(2);
        }
    }
    client.close();
    siege.lift(NOTHING_MIB);
}

/// Abuse row 39
#[test]
fn arguments_of_queues_are_checked() {
    let siege = siege();
    let mut client = siege.attacker();
    // 2^63 as it goes over the wire.
    let huge = Value::I64(i64::MIN);
    let mut wrong: Vec<(&str, Value)> = Vec::new();
    for name in ["x-max-length", "x-max-length-bytes", "x-expires", "x-message-ttl"] {
        let values =
            [Value::I32(-1), huge.clone(), Value::text("10"), Value::Bool(true), Value::F64(1.5)];
        wrong.extend(values.map(|value| (name, value)));
    }
    wrong.extend([
        ("x-expires", Value::I32(0)),
        ("x-max-priority", Value::I32(256)),
        ("x-max-priority", Value::I32(-1)),
        ("x-overflow", Value::text("explode")),
        ("x-dead-letter-exchange", Value::I32(1)),
        ("x-dead-letter-routing-key", Value::text("without exchange")),
        ("x-queue-type", Value::text("imaginary")),
        ("x-single-active-consumer", Value::text("true")),
        ("x-delivery-limit", Value::text("3")),
        ("x-consumer-timeout", Value::I32(-1)),
    ]);
    let queue = unique("queue");
    for (name, value) in &wrong {
        let table = arguments(&[(name, value.clone())]);
        client.send(1, &queue::Declare { arguments: table.view(), ..declare(&queue) });
        let text = client.expect_channel_close(1, 406, "PRECONDITION_FAILED");
        assert!(text.contains(name), "{name} = {value:?}: {text}");
        client.open_channel(1);
    }
    // Unknown ones mean nothing.
    let table = arguments(&[("x-unheard-of", Value::I32(-1)), ("color", Value::text("red"))]);
    client.declare_with(
        1,
        &queue::Declare { exclusive: true, arguments: table.view(), ..declare(&queue) },
    );
    client.close();
    siege.lift(NOTHING_MIB);
}
