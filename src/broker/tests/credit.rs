//! A limit over all consumers of a channel is kept exactly, whatever shards their queues are on.

use super::client::*;
use super::cluster::{Cluster, on_every_node};
use crate::command::{Command, Outcome};

const SEEDS: u64 = 6;

fn limit(c: &mut Cluster, client: Client, limit: u32) {
    let at = c.seats[client.0].at.connection;
    c.broker_of(client).limit_channel(at, ONE, limit);
}

/// Queues on several shards with so many messages each.
fn queues(c: &mut Cluster, by: Client, count: usize, messages: usize) -> Vec<String> {
    let names: Vec<_> = (0..count).map(|n| c.queue_on(n)).collect();
    let bodies: Vec<_> = (0..messages).map(|n| format!("{n}")).collect();
    for name in &names {
        c.done(by, queue(name, &[]));
        c.send_all(by, "", name, &bodies);
    }
    c.rest();
    names
}

/// Takes and settles in random order to the end; never is more out than the limit says.
fn consume_all(c: &mut Cluster, client: Client, limit: usize) -> usize {
    let (mut out, mut total) = (Vec::new(), 0);
    loop {
        for _ in 0..c.rng.below(8) {
            c.step();
        }
        assert!(c.seats[client.0].held.len() <= limit, "{}", c.seats[client.0].held.len());
        if c.rng.below(3) == 0 {
            out.extend(c.take(client));
            if out.is_empty() {
                return total;
            }
        }
        if !out.is_empty() {
            let place = c.rng.below(out.len());
            let delivery = out.swap_remove(place);
            let again = c.rng.below(5) == 0;
            total += usize::from(!again);
            let outcome = if again { Outcome::Requeue { failed: true } } else { Outcome::Accept };
            c.settle(client, &delivery, outcome);
        }
    }
}

#[test]
fn never_more_than_the_limit_is_out_and_nobody_starves() {
    on_every_node(SEEDS, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        let names = queues(c, a, 5, 20);
        limit(c, b, 4);
        for (n, name) in names.iter().enumerate() {
            c.consume(b, name, if n % 2 == 0 { 0 } else { 2 });
        }
        assert_eq!(consume_all(c, b, 4), 100);
    });
}

#[test]
fn a_limit_set_later_counts_what_is_out_already() {
    on_every_node(SEEDS, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        let names = queues(c, a, 3, 20);
        for name in &names {
            c.consume(b, name, 3);
        }
        let got = c.take(b);
        assert_eq!(got.len(), 9);
        limit(c, b, 5);
        c.accept(b, &got[..4]);
        assert!(c.take(b).is_empty());
        c.accept(b, &got[4..5]);
        assert_eq!(c.take(b).len(), 1);
        limit(c, b, 0);
        assert_eq!(c.take(b).len(), 4);
        limit(c, b, 2);
        let held = std::mem::take(&mut c.seats[b.0].held);
        for held in held {
            c.give_back(b, &held);
        }
        assert_eq!(consume_all(c, b, 2), 55);
    });
}

#[test]
fn consumers_that_settle_nothing_do_not_use_the_limit_up() {
    on_every_node(SEEDS, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        let names = queues(c, a, 2, 30);
        limit(c, b, 2);
        c.consume_with(b, ONE, &names[0], |consume| consume.no_settle = true);
        c.consume(b, &names[1], 0);
        let got = c.take(b);
        assert_eq!(got.len(), 32);
        c.accept(
            b,
            &got[got.len() - 1..].iter().filter(|d| d.id.0 != 0).cloned().collect::<Vec<_>>(),
        );
        c.rest();
        let held = c.seats[b.0].held.len();
        assert_eq!(held, 2, "the limit is used fully");
    });
}

/// One consumer's own bound must not keep what the channel allows from the others.
#[test]
fn what_one_consumer_cannot_use_is_left_to_the_others() {
    on_every_node(SEEDS, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        let names = queues(c, a, 2, 30);
        limit(c, b, 15);
        c.consume(b, &names[0], 10);
        assert_eq!(c.take(b).len(), 10);
        c.consume(b, &names[1], 10);
        assert_eq!(c.take(b).len(), 5);
    });
}

#[test]
fn tokens_are_not_lost_when_consumers_queues_and_messages_go() {
    on_every_node(12, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        limit(c, b, 3);
        for round in 0..12 {
            let names = queues(c, a, 3, 4);
            let mut consumers: Vec<_> = names.iter().map(|name| c.consume(b, name, 1)).collect();
            for _ in 0..c.rng.below(10) {
                c.step();
            }
            match round % 4 {
                0 => c.done(a, delete_queue(&names[0])),
                1 => c.done(a, Command::PurgeQueue { name: names[0].as_str().into() }),
                2 => c.done(b, Command::Cancel { consumer: consumers.remove(0) }),
                _ => assert!(!c.drain(a, &names[0]).is_empty() || !c.seats[b.0].held.is_empty()),
            }
            consume_all(c, b, 3);
            for name in &names {
                c.done(a, delete_queue(name));
            }
            c.rest();
        }
        let names = queues(c, a, 1, 10);
        c.consume(b, &names[0], 0);
        assert_eq!(c.take(b).len(), 3, "all three are free again");
    });
}

#[test]
fn a_channel_that_opens_again_has_its_whole_limit() {
    on_every_node(SEEDS, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        let names = queues(c, a, 3, 20);
        for _ in 0..5 {
            limit(c, b, 4);
            for name in &names {
                c.consume(b, name, 0);
            }
            for _ in 0..c.rng.below(30) {
                c.step();
            }
            c.done(b, Command::CloseChannel);
            c.seats[b.0].log.clear();
        }
        c.rest();
        limit(c, b, 4);
        for name in &names {
            c.consume(b, name, 0);
        }
        c.rest();
        assert_eq!(c.seats[b.0].held.len(), 4);
        assert_eq!(consume_all(c, b, 4), 60);
    });
}
