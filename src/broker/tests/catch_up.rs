//! A client subscribes and another publishes before the answer: whatever the order in which shards
//! get round to their sockets, the message arrives.

use super::client::*;
use super::cluster::{Cluster, on_every_node};
use super::subscriber::*;
use crate::command::{Command, Event};
use crate::limits::CATCH_UP_MS_MAX;
use crate::subscriber::*;

/// What a socket has received and no connection has read.
enum Said {
    Subscribe(String),
    Publish(String),
}

/// Sockets of a node, which its shards read when they get round to it.
#[derive(Default)]
struct Sockets {
    unread: Vec<(Client, Said)>,
    /// Per shard: the look that it has begun is over when nothing of this is left.
    looks: Vec<Option<Vec<Client>>>,
    /// Publishes that are held back.
    held: Vec<(Client, String)>,
}

impl Sockets {
    fn new(c: &Cluster) -> Self {
        Self { looks: c.brokers.iter().map(|_| None).collect(), ..Self::default() }
    }

    fn shard(c: &Cluster, client: Client) -> usize {
        usize::from(c.seats[client.0].at.shard.0)
    }

    /// The connection takes in what its socket has received.
    fn read(&mut self, c: &mut Cluster, client: Client) {
        while let Some(place) = self.unread.iter().position(|(of, _)| *of == client) {
            match self.unread.remove(place).1 {
                Said::Subscribe(topic) => {
                    let subscriptions = vec![subscription(&topic, LEAST)];
                    c.start(client, ZERO, Command::Subscribe { subscriptions });
                }
                Said::Publish(topic) => self.publish(c, client, topic),
            }
        }
    }

    fn publish(&mut self, c: &mut Cluster, client: Client, topic: String) {
        let (at, now) = (c.seats[client.0].at, c.now);
        if c.broker_of(client).publish_waits(at.connection, &topic, now) {
            self.held.push((client, topic));
        } else {
            c.send(client, &kept(&topic, "m")).unwrap();
        }
    }

    /// One thing happens somewhere; sockets are read in any order, and all before the end of a look.
    fn step(&mut self, c: &mut Cluster) -> bool {
        let resumed = |(client, _): &(Client, String)| {
            c.events(*client).iter().any(|event| matches!(event, Event::PublishResumed))
        };
        if let Some(place) = self.held.iter().position(resumed) {
            let (client, topic) = self.held.remove(place);
            c.seats[client.0].log.retain(|event| !matches!(event, Event::PublishResumed));
            self.publish(c, client, topic);
            return true;
        }
        let asked = c.brokers.iter().position(|broker| broker.must_catch_up());
        let looking = self.looks.iter().position(Option::is_some);
        match c.rng.below(4) {
            0 if !self.unread.is_empty() => {
                let client = self.unread[c.rng.below(self.unread.len())].0;
                self.read(c, client);
            }
            1 if asked.is_some_and(|shard| self.looks[shard].is_none()) => {
                let shard = asked.unwrap();
                assert!(c.brokers[shard].begin_catching_up());
                let here = self.unread.iter().map(|(client, _)| *client);
                let here = here.filter(|client| Self::shard(c, *client) == shard).collect();
                self.looks[shard] = Some(here);
            }
            2 if looking.is_some() => {
                let shard = looking.unwrap();
                match self.looks[shard].as_mut().unwrap().pop() {
                    Some(client) => self.read(c, client),
                    None => {
                        self.looks[shard] = None;
                        c.brokers[shard].caught_up(c.now);
                        c.touch(shard);
                    }
                }
            }
            _ => return c.step() || !self.is_idle() || asked.is_some(),
        }
        true
    }

    fn is_idle(&self) -> bool {
        self.unread.is_empty() && self.held.is_empty() && self.looks.iter().all(Option::is_none)
    }

    fn rest(&mut self, c: &mut Cluster) {
        for _ in 0..1_000_000 {
            if !self.step(c) {
                return;
            }
        }
        panic!("it never comes to rest");
    }
}

#[test]
fn a_message_reaches_who_subscribed_before_it_was_sent_on_whichever_shard() {
    on_every_node(40, |c| {
        let mut sockets = Sockets::new(c);
        let mut pairs = Vec::new();
        for n in 0..6 {
            let (subscriber, _) = c.open(&session(&format!("s{n}"), Lasts::Connection));
            // On another shard, or (n = 5) one that hears its own topic but not itself.
            let publisher = if n < 5 {
                c.connect(n)
            } else {
                let (publisher, _) = c.open(&session("p", Lasts::Connection));
                let mut own = subscription("5", LEAST);
                own.not_own = true;
                assert_eq!(c.subscribe_all(publisher, vec![own]), [Ok(true)]);
                publisher
            };
            pairs.push((subscriber, publisher));
        }
        c.rest();
        for (n, (subscriber, publisher)) in pairs.iter().enumerate() {
            sockets.unread.push((*subscriber, Said::Subscribe(n.to_string())));
            sockets.unread.push((*publisher, Said::Publish(n.to_string())));
            for _ in 0..c.rng.below(4) {
                sockets.step(c);
            }
        }
        sockets.rest(c);
        assert!(sockets.is_idle());
        for (subscriber, _) in pairs {
            let got = c.take(subscriber);
            assert_eq!(bodies(&got), ["m"]);
            c.accept(subscriber, &got);
            c.seats[subscriber.0].log.clear();
        }
    });
}

#[test]
fn whoever_goes_on_publishing_to_nobody_waits_once() {
    on_every_node(1, |c| {
        let client = c.connect(0);
        let waits = |c: &mut Cluster, topic: &str| {
            let (at, now) = (c.seats[client.0].at, c.now);
            c.broker_of(client).publish_waits(at.connection, topic, now)
        };
        assert!(waits(c, "a"));
        // A shard has ended, or never gets its core.
        c.pass(CATCH_UP_MS_MAX);
        let resumed = c.events(client).iter().filter(|e| matches!(e, Event::PublishResumed));
        assert_eq!(resumed.count(), 1);
        assert!(!waits(c, "a"), "it has waited");
        assert!(!waits(c, "b"), "of a stream");
        c.pass(2);
        assert!(waits(c, "a"));
        c.drop_connection(client);
        c.pass(CATCH_UP_MS_MAX);
        let (listener, _) = c.open(&session("s", Lasts::Connection));
        c.subscribe(listener, "a", ONCE);
        let client = c.connect(0);
        let (at, now) = (c.seats[client.0].at, c.now);
        assert!(!c.broker_of(client).publish_waits(at.connection, "a", now), "somebody hears it");
    });
}
