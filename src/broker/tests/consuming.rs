//! Deliveries: who gets what, what comes back when a consumer goes.

use super::client::*;
use super::cluster::on_every_node;
use crate::command::{Answer, Command, Event, Outcome, Refusal};
use crate::value::Value;

const SEEDS: u64 = 4;

fn numbers(n: usize) -> Vec<String> {
    (0..n).map(|n| format!("{n:03}")).collect()
}

#[test]
fn what_comes_back_goes_to_its_old_place() {
    on_every_node(SEEDS, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        let name = c.queue_on(1);
        c.done(a, queue(&name, &[]));
        c.send_all(a, "", &name, &numbers(10));
        let consumer = c.consume(b, &name, 6);
        let mut got = c.take(b);
        assert_eq!(bodies(&got), numbers(6));
        c.done(b, Command::Cancel { consumer });
        c.accept(b, &got[2..3]);
        got.remove(2);
        for n in 0..got.len() {
            let place = c.rng.below(got.len());
            let delivery = got.swap_remove(place);
            c.settle(b, &delivery, Outcome::Requeue { failed: n % 2 == 0 });
        }
        c.rest();
        let mut expected = numbers(10);
        expected.remove(2);
        assert_eq!(c.drain(a, &name), expected);
    });
}

#[test]
fn what_was_on_its_way_to_a_lost_connection_is_neither_lost_nor_doubled() {
    on_every_node(12, |c| {
        let (a, b) = (c.connect(0), c.connect(2));
        let name = c.queue_on(1);
        c.done(a, queue(&name, &[]));
        for round in 0..4 {
            let client = c.connect(round + 1);
            c.consume(client, &name, 7);
            if round == 0 {
                c.send_all(a, "", &name, &numbers(40));
            }
            for _ in 0..c.rng.below(12) {
                c.step();
            }
            c.drop_connection(client);
        }
        c.rest();
        assert_eq!(c.ready(a, &name), 40);
        c.consume(b, &name, 0);
        let got = c.take(b);
        assert_eq!(bodies(&got), numbers(40));
        c.accept(b, &got);
    });
}

#[test]
fn what_a_closed_channel_had_is_back_when_the_close_is_answered() {
    on_every_node(8, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        let name = c.queue_on(0);
        c.done(a, queue(&name, &[]));
        c.send_all(a, "", &name, &numbers(20));
        c.consume(b, &name, 5);
        c.consume_with(b, TWO, &name, |consume| consume.prefetch = 4);
        for _ in 0..c.rng.below(10) {
            c.step();
        }
        c.done(b, Command::CloseChannel);
        c.rest();
        let mut two = c.take(b);
        two.retain(|d| d.channel == TWO);
        assert_eq!(two.len(), 4);
        assert_eq!(c.ready(a, &name), 16);
        c.accept(b, &two);
        assert_eq!(c.take(b).len(), 4);
    });
}

#[test]
fn exclusive_queues_are_gone_when_the_close_is_answered() {
    on_every_node(SEEDS, |c| {
        let a = c.connect(0);
        for n in 0..5 {
            let b = c.connect(n);
            let names: Vec<_> = (0..5).map(|n| c.queue_on(n)).collect();
            for name in &names {
                c.done(b, exclusive(name));
                c.done(b, bind(name, "amq.fanout", ""));
                assert_eq!(c.refused(a, queue(name, &[])), Refusal::Locked(name.as_str().into()));
            }
            c.done(b, Command::CloseConnection);
            assert_eq!(c.offer(a, "amq.fanout", "", "m"), Fate::Returned);
            for name in &names {
                assert_eq!(c.offer(a, "", name, "m"), Fate::Returned);
                c.done(a, exclusive(name));
                c.done(a, delete_queue(name));
            }
            c.drop_connection(b);
        }
    });
}

#[test]
fn exclusive_queues_go_with_a_lost_connection() {
    on_every_node(SEEDS, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        let name = c.queue_on(1);
        c.done(b, exclusive(&name));
        c.done(b, bind(&name, "amq.fanout", ""));
        c.drop_connection(b);
        c.rest();
        assert_eq!(c.offer(a, "amq.fanout", "", "m"), Fate::Returned);
        c.done(a, queue(&name, &[]));
    });
}

#[test]
fn a_queue_can_be_deleted_while_its_deliveries_are_out() {
    on_every_node(SEEDS, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        let name = c.queue_on(1);
        c.done(a, queue(&name, &[]));
        c.send_all(a, "", &name, &numbers(10));
        c.consume(b, &name, 4);
        let got = c.take(b);
        let removed = c.execute(a, delete_queue(&name));
        assert!(matches!(removed, Answer::Removed { messages: 6 }), "{removed:?}");
        c.rest();
        assert!(matches!(c.events(b), [Event::ConsumerGone { .. }]), "{:?}", c.events(b));
        c.done(a, queue(&name, &[]));
        c.send_all(a, "", &name, &numbers(2));
        c.accept(b, &got[..2]);
        c.settle(b, &got[2], Outcome::Requeue { failed: true });
        c.settle(b, &got[3], Outcome::Reject);
        c.rest();
        assert_eq!(c.drain(a, &name), numbers(2));
    });
}

#[test]
fn late_mail_is_not_delivered_to_the_next_tenant_of_a_connections_place() {
    on_every_node(12, |c| {
        let a = c.connect(0);
        let name = c.queue_on(0);
        c.done(a, queue(&name, &[]));
        let mut old = c.connect(1);
        c.send_all(a, "", &name, &numbers(20));
        for round in 0..6 {
            if round % 2 == 0 {
                c.consume(old, &name, 3);
                let seq = Some(crate::ids::PublishSeq(1));
                let pending = crate::command::Publish { seq, ..publish("", &name, "more") };
                c.send(old, &pending).unwrap();
            } else {
                c.start(old, ONE, Command::Get { queue: name.as_str().into(), no_settle: false });
            }
            for _ in 0..c.rng.below(6) {
                c.step();
            }
            c.drop_connection(old);
            let new = c.connect(1);
            let (was, is) = (c.seats[old.0].at.connection, c.seats[new.0].at.connection);
            assert_eq!(was.index(), is.index());
            c.rest();
            assert!(c.events(new).is_empty(), "{:?}", c.events(new));
            old = new;
        }
        assert_eq!(c.ready(a, &name), 23);
    });
}

#[test]
fn an_answer_to_consume_comes_before_the_first_delivery_and_deliveries_before_the_cancel() {
    on_every_node(8, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        let name = c.queue_on(1);
        c.done(a, queue(&name, &[]));
        c.send_all(a, "", &name, &numbers(10));
        c.rest();
        let consume = crate::command::Consume {
            queue: name.as_str().into(),
            key: crate::ids::ConsumerKey(1),
            tag: "t".into(),
            prefetch: 4,
            no_settle: false,
            exclusive: false,
            arguments: table(&[]),
        };
        c.start(b, ONE, Command::Consume(Box::new(consume)));
        c.rest();
        let Event::Answer { answer: Answer::Consuming { consumer, .. }, .. } = c.events(b)[0]
        else {
            panic!("{:?}", c.events(b));
        };
        assert_eq!(c.events(b).len(), 5);
        c.finish(b, ONE);
        let got = c.take(b);
        c.accept(b, &got);
        c.start(b, ONE, Command::Cancel { consumer });
        c.rest();
        assert!(matches!(c.events(b).last(), Some(Event::Answer { .. })));
        c.finish(b, ONE);
        let left = c.take(b);
        c.send_all(a, "", &name, &numbers(3));
        assert!(c.take(b).is_empty());
        assert_eq!(c.ready(a, &name) + left.len() as u64, 9);
    });
}

#[test]
fn a_connection_leaves_no_trace_on_queues_it_stopped_consuming_from() {
    on_every_node(1, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        for n in 0..20 {
            let name = c.queue_on(n);
            c.done(a, if n % 2 == 0 { auto_delete(&name) } else { queue(&name, &[]) });
            let consumer = c.consume(b, &name, 0);
            let other = c.consume_with(b, TWO, &name, |_| {});
            c.done(b, Command::Cancel { consumer });
            match n % 3 {
                0 => c.done(b, Command::Cancel { consumer: other }),
                1 => {
                    c.start(b, TWO, Command::CloseChannel);
                    c.finish(b, TWO);
                }
                _ => c.done(a, delete_queue(&name)),
            }
            c.done(a, delete_queue(&name));
        }
        c.rest();
        for broker in &c.brokers {
            assert!(broker.footprints.values().all(|f| f.queues.first().is_none()));
        }
    });
}

#[test]
fn the_dead_go_to_a_queue_of_another_shard_with_their_history() {
    on_every_node(SEEDS, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        for n in 0..3 {
            let (from, to) = (c.queue_on(n), c.queue_on(n + 1));
            let grave = format!("grave{n}");
            c.done(a, exchange("dead", "direct", &[]));
            c.done(a, queue(&to, &[]));
            c.done(a, bind(&to, "dead", &grave));
            let entries = [
                ("x-dead-letter-exchange", Value::text("dead")),
                ("x-dead-letter-routing-key", Value::text(&grave)),
                ("x-message-ttl", Value::I32(100)),
            ];
            c.done(a, queue(&from, &entries));
            c.send_all(a, "", &from, &numbers(3));
            let consumer = c.consume(b, &from, 1);
            let got = c.take(b);
            c.settle(b, &got[0], Outcome::Reject);
            let got = c.take(b);
            c.done(b, Command::Cancel { consumer });
            c.settle(b, &got[0], Outcome::Requeue { failed: true });
            c.rest();
            assert_eq!(c.ready(a, &to), 1);
            c.pass(100);
            assert_eq!((c.ready(a, &from), c.ready(a, &to)), (0, 3));
            c.consume(b, &to, 0);
            let got = c.take(b);
            assert_eq!(bodies(&got)[0], "000");
            for delivery in &got {
                let deaths = &delivery.message.deaths().unwrap().deaths;
                assert_eq!((&*deaths[0].queue, deaths[0].count), (&*from, 1));
                assert_eq!(delivery.message.routing_key(), grave);
            }
            c.accept(b, &got);
        }
    });
}

#[test]
fn a_circle_of_dead_letters_ends() {
    on_every_node(SEEDS, |c| {
        let a = c.connect(0);
        let names: Vec<_> = (0..3).map(|n| c.queue_on(n)).collect();
        for (n, name) in names.iter().enumerate() {
            let entries = [
                ("x-dead-letter-exchange", Value::text("")),
                ("x-dead-letter-routing-key", Value::text(&names[(n + 1) % 3])),
                ("x-message-ttl", Value::I32(10)),
            ];
            c.done(a, queue(name, &entries));
        }
        c.send_all(a, "", &names[0], &numbers(5));
        c.pass(10);
        assert_eq!(c.ready(a, &names[1]), 5);
        for _ in 0..10 {
            c.pass(10);
        }
        assert!(names.iter().all(|name| c.ready(a, name) == 0));
    });
}

#[test]
fn what_is_rejected_before_its_queue_goes_is_still_dead_lettered() {
    on_every_node(8, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        let (from, to) = (c.queue_on(1), c.queue_on(0));
        c.done(a, queue(&to, &[]));
        let entries = [
            ("x-dead-letter-exchange", Value::text("")),
            ("x-dead-letter-routing-key", Value::text(&to)),
        ];
        let mut declare = queue(&from, &entries);
        if let Command::DeclareQueue { exclusive, .. } = &mut declare {
            *exclusive = true;
        }
        c.done(b, declare);
        c.send_all(a, "", &from, &numbers(1));
        c.consume(b, &from, 0);
        let got = c.take(b);
        c.settle(b, &got[0], Outcome::Reject);
        c.drop_connection(b);
        c.rest();
        assert_eq!(c.drain(a, &to), numbers(1));
    });
}

#[test]
fn an_unused_queue_goes_at_its_time() {
    on_every_node(SEEDS, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        let name = c.queue_on(1);
        c.done(a, queue(&name, &[("x-expires", Value::I32(100))]));
        c.done(a, bind(&name, "amq.fanout", ""));
        c.pass(60);
        assert_eq!(c.offer(b, "amq.fanout", "", "m"), Fate::Stored);
        let consumer = c.consume(b, &name, 0);
        c.pass(1_000);
        assert_eq!(c.offer(b, "amq.fanout", "", "m"), Fate::Stored);
        c.done(b, Command::Cancel { consumer });
        c.pass(99);
        assert_eq!(c.offer(a, "amq.fanout", "", "m"), Fate::Stored);
        c.pass(1);
        assert_eq!(c.offer(a, "amq.fanout", "", "m"), Fate::Returned);
    });
}

#[test]
fn a_message_goes_to_the_consumer_and_not_to_whoever_looks_in_the_same_turn() {
    on_every_node(SEEDS, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        let name = c.queue_on(1);
        c.done(a, queue(&name, &[]));
        c.consume(b, &name, 0);
        c.send_all(a, "", &name, &numbers(1));
        let get = Command::Get { queue: name.as_str().into(), no_settle: true };
        assert!(matches!(c.execute(a, get), Answer::Empty));
        c.send_all(a, "", &name, &numbers(1));
        assert_eq!(c.ready(a, &name), 0);
        c.send_all(a, "", &name, &numbers(1));
        let purge = Command::PurgeQueue { name: name.as_str().into() };
        assert!(matches!(c.execute(a, purge), Answer::Removed { messages: 0 }));
        c.send_all(a, "", &name, &numbers(1));
        assert!(matches!(c.execute(a, delete_queue(&name)), Answer::Removed { messages: 0 }));
        assert_eq!(c.take(b).len(), 4);
    });
}
