//! Publishing: what becomes of a message, how often it is reported, in what order it arrives.

use std::collections::BTreeSet;

use super::client::*;
use super::cluster::on_every_node;
use crate::command::{Command, Event, Publish, Published, Refusal};
use crate::ids::PublishSeq;
use crate::value::Value;

const SEEDS: u64 = 4;

#[test]
fn a_message_is_declared_bound_published_consumed_and_accepted_across_shards() {
    on_every_node(SEEDS, |c| {
        let clients: Vec<_> = (0..5).map(|n| c.connect(n)).collect();
        for n in 0..5 {
            let name = c.queue_on(n);
            c.done(clients[0], queue(&name, &[]));
            c.done(clients[1], bind(&name, "amq.topic", "a.*"));
            let (consumer, publisher) = (clients[n], clients[(n + 2) % 5]);
            c.consume(consumer, &name, 10);
            let bodies: Vec<String> = (0..30).map(|m| format!("{n} {m}")).collect();
            c.send_all(publisher, "amq.topic", "a.b", &bodies);
            let mut got = Vec::new();
            while got.len() < 30 {
                let some = c.take(consumer);
                assert!(!some.is_empty() && some.len() <= 10, "{}", some.len());
                got.extend(self::bodies(&some));
                c.accept(consumer, &some);
            }
            assert_eq!(got, bodies);
            assert!(c.take(consumer).is_empty());
            c.done(clients[0], delete_queue(&name));
        }
    });
}

#[test]
fn a_mandatory_message_to_a_queue_that_is_not_there_is_returned_before_it_is_stored() {
    on_every_node(SEEDS, |c| {
        let clients: Vec<_> = (0..5).map(|n| c.connect(n)).collect();
        for client in &clients {
            for (n, other) in clients.iter().enumerate() {
                let name = c.queue_on(n);
                assert_eq!(c.offer(*client, "", &name, "m"), Fate::Returned);
                assert_eq!(c.fate(*client, publish("", &name, "m")), Fate::Stored);
                c.done(*other, queue(&name, &[]));
                assert_eq!(c.offer(*client, "", &name, "m"), Fate::Stored);
                c.done(*other, delete_queue(&name));
                assert_eq!(c.offer(*client, "", &name, "m"), Fate::Returned);
            }
            for event in c.events(*client) {
                if let Event::Returned { message, .. } = event {
                    assert_eq!((message.exchange(), message.body()), ("", &b"m"[..]));
                }
            }
        }
    });
}

#[test]
fn a_publish_to_queues_of_several_shards_is_confirmed_once() {
    on_every_node(SEEDS, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        for destinations in 1..=3 {
            let names: Vec<_> = (0..destinations).map(|n| c.queue_on(n)).collect();
            let key = format!("k{destinations}");
            for name in &names {
                c.done(b, queue(name, &[]));
                c.done(b, bind(name, "amq.direct", &key));
            }
            for n in 0..50 {
                let seq = Some(PublishSeq(1_000 * (destinations as u64) + n));
                let publish = Publish { seq, ..publish("amq.direct", &key, "m") };
                let published = c.send(a, &publish).unwrap();
                assert!(matches!(published, Published::Stored | Published::Pending));
                if published == Published::Stored {
                    continue;
                }
                c.rest();
                let log = &mut c.seats[a.0].log;
                let stored = log.iter().filter(|e| {
                    matches!(e, Event::Stored { seq: s, accepted: true, .. } if Some(*s) == seq)
                });
                assert_eq!((stored.count(), log.len()), (1, 1));
                log.clear();
            }
            for name in &names {
                assert_eq!(c.drain(a, name).len(), 50);
            }
        }
    });
}

#[test]
fn one_full_queue_among_several_refuses_for_all() {
    on_every_node(SEEDS, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        let (full, open) = (c.queue_on(0), c.queue_on(1));
        let refuse =
            [("x-max-length", Value::I32(1)), ("x-overflow", Value::text("reject-publish"))];
        c.done(a, queue(&full, &refuse));
        c.done(a, queue(&open, &[]));
        for name in [&full, &open] {
            c.done(a, bind(name, "amq.fanout", ""));
        }
        assert_eq!(c.fate(b, publish("amq.fanout", "", "1")), Fate::Stored);
        assert_eq!(c.fate(b, publish("amq.fanout", "", "2")), Fate::Overflowed);
        assert_eq!(c.fate(a, publish("amq.fanout", "", "3")), Fate::Overflowed);
        assert_eq!((c.drain(a, &full).len(), c.drain(a, &open).len()), (1, 3));
    });
}

#[test]
fn messages_of_one_channel_to_one_queue_stay_in_order_on_every_path() {
    on_every_node(8, |c| {
        let clients: Vec<_> = (0..3).map(|n| c.connect(n)).collect();
        let names: Vec<_> = (0..3).map(|n| c.queue_on(n)).collect();
        c.done(clients[0], exchange("hash", "x-consistent-hash", &[]));
        for name in &names {
            c.done(clients[0], queue(name, &[]));
            for source in ["amq.fanout", "amq.topic", "amq.direct"] {
                c.done(clients[0], bind(name, source, "k"));
            }
        }
        c.done(clients[0], bind(&names[1], "hash", "1"));
        for name in &names {
            c.consume(clients[2], name, 0);
        }
        for n in 0..60 {
            for (who, client) in clients.iter().enumerate() {
                let body = format!("{who} {n:03}");
                let way = c.rng.below(5);
                let (exchange, key) = match way {
                    0 => ("amq.fanout", "k"),
                    1 => ("amq.topic", "k"),
                    2 => ("amq.direct", "k"),
                    3 => ("hash", "k"),
                    _ => ("", &*names[1]),
                };
                c.send(*client, &publish(exchange, key, &body)).unwrap();
                if c.rng.below(3) == 0 {
                    c.step();
                }
            }
        }
        let got = c.take(clients[2]);
        let queues: BTreeSet<_> = got.iter().map(|d| d.queue).collect();
        for queue in queues {
            let of_queue = got.iter().filter(|d| d.queue == queue).cloned();
            let bodies = bodies(&of_queue.collect::<Vec<_>>());
            for who in ["0", "1", "2"] {
                let of_one: Vec<_> = bodies.iter().filter(|b| b.starts_with(who)).collect();
                assert!(of_one.is_sorted() && !of_one.is_empty(), "{of_one:?}");
            }
        }
    });
}

#[test]
fn a_route_is_not_remembered_longer_than_it_is_right() {
    on_every_node(SEEDS, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        let (one, two) = (c.queue_on(0), c.queue_on(1));
        c.done(a, exchange("x", "direct", &[]));
        c.done(a, exchange("y", "direct", &[]));
        c.done(a, link("x", "y", "k"));
        for (name, source) in [(&one, "x"), (&two, "y")] {
            c.done(a, queue(name, &[]));
            assert_eq!(
                c.offer(b, "x", "k", "m"),
                if name == &one { Fate::Returned } else { Fate::Stored }
            );
            c.done(a, bind(name, source, "k"));
            assert_eq!(c.offer(b, "x", "k", "m"), Fate::Stored);
        }
        assert_eq!((c.drain(a, &one).len(), c.drain(a, &two).len()), (3, 1));
        let unlink = Command::UnbindExchange {
            source: "x".into(),
            destination: "y".into(),
            key: "k".into(),
            arguments: table(&[]),
        };
        c.done(b, unlink);
        assert_eq!(c.offer(a, "x", "k", "m"), Fate::Stored);
        assert_eq!((c.drain(a, &one).len(), c.drain(a, &two).len()), (1, 0));
        c.done(b, delete_exchange("x"));
        c.done(b, exchange("x", "fanout", &[]));
        assert_eq!(c.offer(a, "x", "k", "m"), Fate::Returned);
    });
}

#[test]
fn an_internal_exchange_takes_nothing_from_clients() {
    on_every_node(1, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        let mut internal = exchange("in", "fanout", &[]);
        if let Command::DeclareExchange { internal, .. } = &mut internal {
            *internal = true;
        }
        c.done(a, internal);
        let refused = c.send(b, &publish("in", "", "m"));
        assert_eq!(refused, Err(Refusal::InternalExchange("in".into())));
        c.done(a, exchange("out", "fanout", &[]));
        c.done(a, link("out", "in", ""));
        let name = c.queue_on(1);
        c.done(a, queue(&name, &[]));
        c.done(a, bind(&name, "in", ""));
        assert_eq!(c.offer(b, "out", "", "m"), Fate::Stored);
    });
}

#[test]
fn delayed_messages_are_routed_when_they_are_due() {
    on_every_node(SEEDS, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        let name = c.queue_on(1);
        c.done(a, exchange("x", "x-delayed-message", &[("x-delayed-type", Value::text("direct"))]));
        c.done(a, queue(&name, &[]));
        c.done(a, bind(&name, "x", "k"));
        for (delay, client) in [(300, a), (100, b), (200, a), (0, b)] {
            let (block, body) = (format!("x-delay={delay}"), format!("{delay}"));
            let delayed = Publish { properties: block.as_bytes(), ..publish("x", "k", &body) };
            assert_eq!(c.fate(client, delayed), Fate::Stored);
        }
        assert_eq!(c.drain(a, &name), ["0"]);
        c.pass(99);
        assert!(c.drain(a, &name).is_empty());
        c.pass(1);
        assert_eq!(c.drain(a, &name), ["100"]);
        c.pass(500);
        assert_eq!(c.drain(a, &name), ["200", "300"]);
        let never =
            Publish { properties: b"x-delay=9000000000000000000", ..publish("x", "k", "m") };
        assert_eq!(c.fate(b, never), Fate::Stored);
    });
}

/// Each due message must not leave a timer behind for every later one.
#[test]
fn many_delayed_messages_need_few_timers() {
    on_every_node(1, |c| {
        let a = c.connect(0);
        let name = c.queue_on(0);
        c.done(a, exchange("x", "x-delayed-message", &[("x-delayed-type", Value::text("fanout"))]));
        c.done(a, queue(&name, &[]));
        c.done(a, bind(&name, "x", ""));
        for n in 1..=500 {
            let block = format!("x-delay={n}");
            let delayed = Publish { properties: block.as_bytes(), ..publish("x", "k", "m") };
            c.send(a, &delayed).unwrap();
        }
        c.rest();
        for n in 1..=500 {
            c.pass(1);
            let timers: usize = c.brokers.iter().map(|b| b.timers.len()).sum();
            assert!(timers <= 1, "{timers} timers after {n}");
        }
        assert_eq!(c.drain(a, &name).len(), 500);
    });
}
