//! Queues whose messages have to be read first: who asked is answered when they are there.

use super::client::{Client, ONE, TWO, bodies, delete_queue, exclusive, publish, queue};
use super::cluster::{Cluster, VHOST, on_every_node};
use crate::broker::queue::slow_store::{Disk, SlowStore};
use crate::broker::queue::{Queue, QueueDefaults, QueueSpec};
use crate::command::{Answer, Command, Entity, Event, Outcome, Refusal};
use crate::ids::{ChannelId, QueueId};
use crate::value::Table;

/// A queue over a slow store in place of the one of this name.
struct Slow {
    name: String,
    shard: usize,
    id: QueueId,
    disk: Disk,
}

impl Slow {
    fn declared(c: &mut Cluster, by: Client, command: Command) -> Self {
        let Command::DeclareQueue { name, exclusive, .. } = &command else { panic!("{command:?}") };
        let (name, exclusive) = (name.to_string(), *exclusive);
        c.done(by, command);
        let shard = usize::from(c.placement.owner(VHOST, &name).0);
        let id = c.brokers[shard].vhosts[0].queues[&*name];
        let (store, disk) = SlowStore::new(2);
        let spec = QueueSpec {
            name: &name,
            durable: false,
            exclusive: exclusive.then(|| c.seats[by.0].at),
            auto_delete: false,
            arguments: &Table::default(),
            server_named: false,
        };
        let queue = Queue::declare_on(&spec, &QueueDefaults::default(), Box::new(store), c.now);
        c.brokers[shard].queues.get_mut(id).unwrap().queue = queue.unwrap();
        Self { name, shard, id, disk }
    }

    fn get(&self) -> Command {
        Command::Get { queue: self.name.as_str().into(), no_settle: false }
    }

    /// All that is asked for is read.
    fn load(&self, c: &mut Cluster) {
        c.rest();
        for _ in 0..10_000 {
            if !self.disk.is_busy() {
                return;
            }
            if self.disk.load() {
                let now = c.now;
                c.brokers[self.shard].loaded(self.id, now);
                c.end_turn(self.shard);
                c.rest();
            }
        }
        panic!("it asks for ever");
    }

    /// Gets everything and accepts it: bodies, and whether they were out before.
    fn drain(&self, c: &mut Cluster, client: Client) -> Vec<(String, bool)> {
        let mut all = Vec::new();
        loop {
            c.start(client, TWO, self.get());
            self.load(c);
            match c.finish(client, TWO) {
                Answer::Got { delivery, .. } => {
                    all.push((bodies(&[(*delivery).clone()]).remove(0), delivery.redelivered));
                    c.accept(client, &[*delivery]);
                }
                Answer::Empty => return all,
                other => panic!("{other:?}"),
            }
        }
    }
}

fn numbers(n: u32) -> Vec<String> {
    (0..n).map(|n| n.to_string()).collect()
}

fn got(c: &mut Cluster, client: Client, channel: ChannelId) -> (String, u64) {
    match c.finish(client, channel) {
        Answer::Got { delivery, left } => {
            let body = bodies(&[(*delivery).clone()]).remove(0);
            c.accept(client, &[*delivery]);
            (body, left)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn those_who_ask_are_answered_in_order_when_their_messages_are_there() {
    on_every_node(6, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        let name = c.queue_on(1);
        let slow = Slow::declared(c, a, queue(&name, &[]));
        c.send_all(a, "", &name, &numbers(3));
        c.rest();
        for (client, channel) in [(a, ONE), (b, ONE), (a, TWO), (b, TWO)] {
            c.start(client, channel, slow.get());
            c.rest();
        }
        assert!(c.events(a).is_empty() && c.events(b).is_empty());
        slow.load(c);
        assert_eq!(got(c, a, ONE), ("0".into(), 2));
        assert_eq!(got(c, b, ONE), ("1".into(), 1));
        assert_eq!(got(c, a, TWO), ("2".into(), 0));
        assert!(matches!(c.finish(b, TWO), Answer::Empty));
    });
}

#[test]
fn a_message_that_is_there_is_not_given_to_whoever_asks_last() {
    on_every_node(3, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        let name = c.queue_on(0);
        let slow = Slow::declared(c, a, queue(&name, &[]));
        c.send_all(a, "", &name, &numbers(2));
        c.rest();
        c.start(a, ONE, slow.get());
        c.rest();
        // It has come, and the broker has not been told yet.
        while !slow.disk.load() {}
        c.start(b, ONE, slow.get());
        slow.load(c);
        assert_eq!(got(c, a, ONE).0, "0");
        assert_eq!(got(c, b, ONE).0, "1");
    });
}

#[test]
fn a_channel_or_connection_that_went_is_not_answered_and_its_message_stays() {
    on_every_node(6, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        let name = c.queue_on(1);
        let slow = Slow::declared(c, a, queue(&name, &[]));
        c.send_all(a, "", &name, &numbers(4));
        c.rest();
        let gone = c.connect(1);
        c.start(gone, ONE, slow.get());
        c.start(gone, TWO, slow.get());
        c.start(b, ONE, slow.get());
        c.start(b, TWO, slow.get());
        c.rest();
        c.drop_connection(gone);
        c.start(b, TWO, Command::CloseChannel);
        c.rest();
        assert!(matches!(c.finish(b, TWO), Answer::Done));
        slow.load(c);
        assert!(c.events(gone).is_empty());
        assert_eq!(got(c, b, ONE).0, "0");
        assert!(c.events(b).is_empty(), "{:?}", c.events(b));
        let rest: Vec<_> = ["1", "2", "3"].map(|body| (body.to_owned(), false)).into();
        assert_eq!(slow.drain(c, a), rest);
    });
}

#[test]
fn a_connection_that_goes_while_its_answer_is_on_its_way_loses_nothing() {
    on_every_node(12, |c| {
        let a = c.connect(0);
        let name = c.queue_on(1);
        let slow = Slow::declared(c, a, queue(&name, &[]));
        c.send_all(a, "", &name, &numbers(5));
        c.rest();
        for round in 0..6 {
            let old = c.connect(1);
            c.start(old, ONE, slow.get());
            c.start(old, TWO, slow.get());
            for _ in 0..c.rng.below(6) {
                c.step();
            }
            if round % 2 == 0 && slow.disk.load() {
                let now = c.now;
                c.brokers[slow.shard].loaded(slow.id, now);
                c.end_turn(slow.shard);
            }
            c.drop_connection(old);
        }
        c.rest();
        let mut left: Vec<_> = slow.drain(c, a).into_iter().map(|(body, _)| body).collect();
        left.sort();
        assert_eq!(left, numbers(5));
    });
}

#[test]
fn a_deletion_refuses_those_who_wait_and_a_purge_answers_them() {
    on_every_node(6, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        let name = c.queue_on(1);
        let slow = Slow::declared(c, a, queue(&name, &[]));
        c.send_all(a, "", &name, &numbers(3));
        c.rest();
        c.start(b, ONE, slow.get());
        c.rest();
        let purge = Command::PurgeQueue { name: name.as_str().into() };
        assert!(matches!(c.execute(a, purge), Answer::Removed { messages: 3 }));
        assert!(matches!(c.finish(b, ONE), Answer::Empty));
        c.send_all(a, "", &name, &numbers(3));
        c.rest();
        c.start(b, ONE, slow.get());
        c.rest();
        c.done(a, delete_queue(&name));
        let refused = c.finish(b, ONE);
        let expected = Refusal::NotFound(Entity::Queue, name.as_str().into());
        assert!(matches!(&refused, Answer::Refused(r) if *r == expected), "{refused:?}");
    });
}

#[test]
fn an_exclusive_queue_goes_with_the_connection_that_waits_at_it() {
    on_every_node(6, |c| {
        let a = c.connect(1);
        let name = c.queue_on(0);
        let slow = Slow::declared(c, a, exclusive(&name));
        c.send_all(a, "", &name, &numbers(2));
        c.rest();
        c.start(a, ONE, slow.get());
        c.rest();
        c.drop_connection(a);
        c.rest();
        assert!(c.events(a).is_empty());
    });
}

#[test]
fn consumers_and_those_who_ask_share_what_comes() {
    on_every_node(6, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        let name = c.queue_on(1);
        let slow = Slow::declared(c, a, queue(&name, &[]));
        c.send_all(a, "", &name, &numbers(6));
        c.rest();
        c.start(a, ONE, slow.get());
        c.rest();
        c.consume(b, &name, 2);
        slow.load(c);
        let (first, _) = got(c, a, ONE);
        assert_eq!(first, "0");
        let mut seen = Vec::new();
        for _ in 0..5 {
            let deliveries = c.take(b);
            seen.extend(bodies(&deliveries));
            c.accept(b, &deliveries);
            slow.load(c);
        }
        assert_eq!(seen, ["1", "2", "3", "4", "5"]);
    });
}

#[test]
fn a_returned_message_answers_whoever_waits_if_it_comes_first() {
    on_every_node(3, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        let name = c.queue_on(1);
        let slow = Slow::declared(c, a, queue(&name, &[]));
        c.send_all(a, "", &name, &numbers(3));
        c.rest();
        c.start(a, ONE, slow.get());
        slow.load(c);
        let Answer::Got { delivery, .. } = c.finish(a, ONE) else { panic!("one is there") };
        c.start(b, ONE, slow.get());
        c.rest();
        c.settle(a, &delivery, Outcome::Requeue { failed: true });
        slow.load(c);
        assert_eq!(got(c, b, ONE), ("0".into(), 2));
    });
}

#[test]
fn what_expired_while_it_was_read_is_no_answer() {
    on_every_node(3, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        let name = c.queue_on(1);
        let slow = Slow::declared(c, a, queue(&name, &[]));
        for body in numbers(2) {
            let mut short = publish("", &name, &body);
            short.traits.expiration_ms = Some(100);
            c.send(a, &short).unwrap();
        }
        c.rest();
        c.start(b, ONE, slow.get());
        c.pass(200);
        assert!(!c.events(b).iter().any(|e| matches!(e, Event::Answer { .. })));
        slow.load(c);
        assert!(matches!(c.finish(b, ONE), Answer::Empty));
        assert_eq!(c.ready(a, &name), 0);
    });
}

#[test]
fn whatever_happens_meanwhile_every_message_stays_somewhere() {
    on_every_node(12, |c| {
        let a = c.connect(0);
        let name = c.queue_on(1);
        let slow = Slow::declared(c, a, queue(&name, &[]));
        let mut clients: Vec<Client> = (0..3).map(|n| c.connect(n)).collect();
        let mut sent = 0;
        for _ in 0..300 {
            let which = c.rng.below(clients.len());
            let client = clients[which];
            match c.rng.below(9) {
                0 | 1 => {
                    c.send_all(a, "", &name, &[sent.to_string()]);
                    sent += 1;
                }
                2 | 3 if !c.seats[client.0].is_waiting() => c.start(client, ONE, slow.get()),
                4 if !c.seats[client.0].is_waiting() && c.rng.below(3) == 0 => {
                    c.consume_with(client, TWO, &name, |consume| consume.prefetch = 2);
                }
                5 if c.rng.below(4) == 0 => {
                    c.drop_connection(client);
                    clients[which] = c.connect(which);
                }
                6 => {
                    if let Some(held) = c.seats[client.0].held.pop() {
                        c.give_back(client, &held);
                    }
                }
                7 if slow.disk.load() => {
                    let now = c.now;
                    c.brokers[slow.shard].loaded(slow.id, now);
                    c.end_turn(slow.shard);
                }
                _ => {
                    c.step();
                }
            }
        }
        for client in clients {
            c.drop_connection(client);
        }
        let drained = slow.drain(c, a).into_iter().map(|(body, _)| body.parse().unwrap());
        let mut left: Vec<u32> = drained.collect();
        left.sort_unstable();
        assert_eq!(left, (0..sent).collect::<Vec<_>>());
    });
}
