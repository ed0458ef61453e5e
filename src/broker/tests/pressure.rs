//! Bounds: what a slow consumer, a full lane or a full memory holds back, and what not.

use super::client::*;
use super::cluster::{Cluster, Shape, on_every_node, on_node};
use crate::command::{AlarmReason, Event, Publish};
use crate::limits;
use crate::message::Body;

const SEEDS: u64 = 3;

fn large(c: &mut Cluster, by: Client, name: &str, count: usize, bytes: usize) {
    let body = vec![7; bytes];
    for _ in 0..count {
        let publish = Publish { body: Body::Slice(&body), ..publish("", name, "") };
        c.send(by, &publish).unwrap();
    }
    c.rest();
}

/// The socket of a client has taken everything.
fn drained(c: &mut Cluster, client: Client) {
    let at = c.seats[client.0].at.connection;
    c.broker_of(client).drained(at);
}

#[test]
fn a_connection_that_reads_nothing_gets_a_window_from_each_owner_and_goes_on_later() {
    on_every_node(SEEDS, |c| {
        let (a, slow, quick) = (c.connect(0), c.connect(1), c.connect(2));
        let (one, two) = (c.queue_on(0), c.queue_on(0));
        for name in [&one, &two] {
            c.done(a, queue(name, &[]));
        }
        c.seats[slow.0].drains = false;
        c.consume(slow, &one, 0);
        c.consume_with(slow, TWO, &two, |_| {});
        large(c, a, &one, 60, 30_000);
        large(c, a, &two, 60, 30_000);
        let window = usize::try_from(limits::LINK_BYTES_MAX).unwrap();
        let mut got = c.take(slow);
        let bytes: usize = got.iter().map(|d| d.message.body().len()).sum();
        assert!(bytes > window - 60_000 && bytes <= window + 30_000, "{bytes}");
        c.consume(quick, &one, 0);
        assert!(!c.take(quick).is_empty(), "others are served");
        let served = c.seats[quick.0].held.len();
        for _ in 0..20 {
            drained(c, slow);
            got.extend(c.take(slow));
        }
        assert_eq!(got.len() + served, 120);
    });
}

#[test]
fn replies_do_not_widen_the_window_of_queues() {
    on_every_node(1, |c| {
        let (a, slow) = (c.connect(0), c.connect(0));
        let name = c.queue_on(0);
        c.done(a, queue(&name, &[]));
        let crate::command::Answer::ReplyTo { address } = c.execute(
            slow,
            crate::command::Command::ConsumeReplies { key: crate::ids::ConsumerKey(900) },
        ) else {
            panic!();
        };
        large(c, a, &address, 50, 30_000);
        c.seats[slow.0].drains = false;
        c.consume_with(slow, TWO, &name, |_| {});
        large(c, a, &name, 100, 30_000);
        let got = c.take(slow);
        let held = got.iter().filter(|d| d.channel == TWO).count();
        assert!((30..=36).contains(&held), "{held}");
    });
}

#[test]
fn a_full_lane_holds_publishers_back_until_the_other_side_has_taken_it() {
    for seed in 1..=5 {
        let shape = Shape { shards: 2, apart: true, seed, memory_bytes_max: u64::MAX };
        on_node(shape, |c| {
            let (a, b) = (c.connect(0), c.connect(0));
            let name = c.queue_on(0);
            c.done(a, queue(&name, &[]));
            let at = c.seats[a.0].at.connection;
            let body = vec![7; 100_000];
            let mut sent = 0;
            // The other side reads nothing: only this shard's turns end.
            while !c.broker_of(a).publish_paused(at) {
                let publish = Publish { body: Body::Slice(&body), ..publish("", &name, "") };
                c.send(a, &publish).unwrap();
                c.end_turn(1);
                sent += 1;
                assert!(sent < 200, "the lane has no bound");
            }
            assert!(sent >= 80);
            let other = c.seats[b.0].at.connection;
            assert!(c.broker_of(b).publish_paused(other));
            c.end_turn(1);
            assert!(c.events(a).is_empty());
            c.rest();
            for client in [a, b] {
                assert!(matches!(c.events(client), [Event::PublishResumed]));
                let at = c.seats[client.0].at.connection;
                assert!(!c.broker_of(client).publish_paused(at));
            }
            assert_eq!(c.ready_after(b, &name), sent);
        });
    }
}

#[test]
fn full_memory_holds_all_publishers_back_and_all_hear_of_it() {
    for (shards, apart) in [(1, false), (2, false), (5, true)] {
        let shape = Shape { shards, apart, seed: 1, memory_bytes_max: 1_000_000 };
        on_node(shape, |c| {
            let clients: Vec<_> = (0..5).map(|n| c.connect(n)).collect();
            let name = c.queue_on(1);
            c.done(clients[0], queue(&name, &[]));
            large(c, clients[0], &name, 95, 10_000);
            assert!(c.brokers.iter().all(|b| b.alarm().is_none()));
            large(c, clients[0], &name, 8, 10_000);
            for client in &clients {
                let heard = c.events(*client);
                assert!(matches!(heard, [Event::Alarm(Some(AlarmReason::Memory))]), "{heard:?}");
                let at = c.seats[client.0].at.connection;
                assert!(c.broker_of(*client).publish_paused(at));
                c.seats[client.0].log.clear();
            }
            c.drain(clients[4], &name);
            c.rest();
            for client in &clients {
                let heard = c.events(*client);
                assert!(matches!(heard, [Event::Alarm(None), Event::PublishResumed]), "{heard:?}");
            }
        });
    }
}

#[test]
fn a_lost_connection_that_waited_to_publish_is_forgotten() {
    let shape = Shape { shards: 2, apart: false, seed: 1, memory_bytes_max: 1_000 };
    on_node(shape, |c| {
        let (a, b) = (c.connect(0), c.connect(0));
        let name = c.queue_on(1);
        c.done(a, queue(&name, &[]));
        large(c, a, &name, 1, 2_000);
        let at = c.seats[b.0].at.connection;
        assert!(c.broker_of(b).publish_paused(at));
        c.drop_connection(b);
        let new = c.connect(0);
        c.drain(a, &name);
        c.rest();
        assert!(!c.events(new).iter().any(|e| matches!(e, Event::PublishResumed)));
    });
}

impl Cluster {
    fn ready_after(&mut self, client: Client, name: &str) -> u64 {
        self.rest();
        self.ready(client, name)
    }
}
