//! Random clients doing random things in random order, held against what every broker owes: what
//! is confirmed is delivered, nothing is invented or doubled, order is kept, nothing is left.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::client::*;
use super::cluster::{Cluster, on_every_node};
use crate::broker::deliver::SETTLED;
use crate::command::{
    Answer, Command, Delivery, Entity, Event, Outcome, Publish, Published, Refusal,
};
use crate::ids::{ConsumerKey, ConsumerRef, PublishSeq, QueueRef};
use crate::value::{Table, Value};

const CLIENTS: usize = 4;
const OPERATIONS: usize = 400;

/// What one client has and waits for.
#[derive(Debug)]
struct Actor {
    client: Client,
    out: Vec<Delivery>,
    consumers: Vec<ConsumerRef>,
    /// Publishes whose fate it has not heard.
    unconfirmed: BTreeMap<u64, String>,
    /// Highest number of each publisher per queue among what it got the first time.
    seen: HashMap<(QueueRef, String), u64>,
}

#[derive(Debug, Default)]
struct Oracle {
    sent: HashSet<String>,
    /// Confirmed publishes that the lasting queues must have.
    owed: BTreeSet<String>,
    /// Who has which message of which queue.
    held: HashMap<(QueueRef, String), usize>,
    /// Delivered to somebody for good.
    gone: HashSet<(QueueRef, String)>,
    first: HashSet<(QueueRef, String)>,
}

struct Chaos<'a> {
    c: &'a mut Cluster,
    actors: Vec<Actor>,
    oracle: Oracle,
    /// Queues and an exchange that stay, and others that come and go.
    lasting: Vec<String>,
    fleeting: Vec<String>,
    published: u64,
}

fn text(delivery: &Delivery) -> String {
    bodies(std::slice::from_ref(delivery)).remove(0)
}

impl Actor {
    fn new(client: Client) -> Self {
        Self {
            client,
            out: Vec::new(),
            consumers: Vec::new(),
            unconfirmed: BTreeMap::new(),
            seen: HashMap::new(),
        }
    }
}

impl Oracle {
    /// A delivery has reached a client.
    fn delivered(&mut self, who: usize, actor: &mut Actor, delivery: Delivery) {
        let body = text(&delivery);
        assert!(self.sent.contains(&body), "{body} was never sent");
        let which = (delivery.queue, body.clone());
        assert!(!self.gone.contains(&which), "{which:?} was accepted and comes again");
        if !delivery.redelivered {
            assert!(self.first.insert(which.clone()), "{which:?} comes twice");
            if delivery.consumer.is_some() {
                let (publisher, number) = body.split_once(' ').unwrap();
                let number: u64 = number.parse().unwrap();
                let last = actor.seen.insert((delivery.queue, publisher.into()), number);
                assert!(last.is_none_or(|last| last < number), "{body} after {last:?}");
            }
        }
        if delivery.id == SETTLED {
            self.gone.insert(which);
            return;
        }
        let other = self.held.insert(which.clone(), who);
        assert_eq!(other, None, "{which:?} is with two");
        actor.out.push(delivery);
    }

    fn given_back(&mut self, who: usize) {
        self.held.retain(|_, holder| *holder != who);
    }
}

impl Chaos<'_> {
    /// Takes in what a client has heard.
    fn hear(&mut self, who: usize) {
        let actor = &mut self.actors[who];
        for event in std::mem::take(&mut self.c.seats[actor.client.0].log) {
            match event {
                Event::Delivery(delivery) => self.oracle.delivered(who, actor, delivery),
                Event::Answer { answer: Answer::Got { delivery, .. }, .. } => {
                    self.oracle.delivered(who, actor, *delivery);
                }
                Event::Answer { answer: Answer::Consuming { consumer, .. }, .. } => {
                    actor.consumers.push(consumer);
                }
                Event::Answer { answer: Answer::Refused(refusal), .. } => {
                    let missing =
                        matches!(refusal, Refusal::NotFound(Entity::Queue | Entity::Exchange, _));
                    assert!(missing, "{refusal:?}");
                }
                Event::Stored { seq, accepted, .. } => {
                    let body = actor.unconfirmed.remove(&seq.0).expect("it is reported twice");
                    assert!(accepted);
                    if body.starts_with("lasting") {
                        self.oracle.owed.insert(body);
                    }
                }
                Event::Answer { .. } | Event::Returned { .. } | Event::ConsumerGone { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn hear_all(&mut self) {
        (0..self.actors.len()).for_each(|who| self.hear(who));
    }

    fn publish(&mut self, who: usize) {
        self.published += 1;
        let lasts = self.c.rng.below(2) == 0;
        // Order is promised to one connection, so that is whom the message names.
        let (kind, by) = (if lasts { "lasting" } else { "fleeting" }, self.actors[who].client.0);
        let body = format!("{kind}-{by} {}", self.published);
        let (exchange, key) = match (lasts, self.c.rng.below(3)) {
            (true, _) => ("amq.topic", "lasting.k".to_owned()),
            (false, 0) => ("", self.any_fleeting()),
            (false, 1) => ("x0", "1".to_owned()),
            (false, _) => ("x1", "1".to_owned()),
        };
        let seq = Some(PublishSeq(self.published));
        let mandatory = self.c.rng.below(2) == 0;
        let publish = Publish { seq, mandatory, ..publish(exchange, &key, &body) };
        let client = self.actors[who].client;
        self.oracle.sent.insert(body.clone());
        match self.c.send(client, &publish) {
            Ok(Published::Pending) => {
                self.actors[who].unconfirmed.insert(self.published, body);
            }
            Ok(Published::Stored) if lasts => {
                self.oracle.owed.insert(body);
            }
            Ok(Published::Stored | Published::Unroutable) if !lasts => {}
            Err(Refusal::NotFound(..)) if !lasts => {}
            other => panic!("{other:?}"),
        }
    }

    fn any_fleeting(&mut self) -> String {
        let place = self.c.rng.below(self.fleeting.len());
        self.fleeting[place].clone()
    }

    fn any_queue(&mut self) -> String {
        let place = self.c.rng.below(self.lasting.len());
        if self.c.rng.below(2) == 0 { self.lasting[place].clone() } else { self.any_fleeting() }
    }

    fn command(&mut self, who: usize) -> Option<Command> {
        let source = ["x0", "x1"][self.c.rng.below(2)];
        let kind = if source == "x0" { "direct" } else { "x-consistent-hash" };
        let fleeting = self.any_fleeting();
        Some(match self.c.rng.below(14) {
            0 => exchange(source, kind, &[]),
            1 => delete_exchange(source),
            2 | 3 => queue(&fleeting, &[]),
            4 => delete_queue(&fleeting),
            5 | 6 => bind(&fleeting, source, "1"),
            7 => unbind(&fleeting, source, "1"),
            8 => Command::PurgeQueue { name: fleeting.as_str().into() },
            9 => Command::Get { queue: fleeting.as_str().into(), no_settle: true },
            10 => Command::Get { queue: self.any_queue().as_str().into(), no_settle: false },
            11 => {
                let consumers = &mut self.actors[who].consumers;
                Command::Cancel { consumer: consumers.pop()? }
            }
            _ => {
                let queue = self.any_queue();
                self.c.keys += 1;
                Command::Consume(Box::new(crate::command::Consume {
                    no_settle: queue == fleeting && self.c.rng.below(2) == 0,
                    queue: queue.as_str().into(),
                    key: ConsumerKey(self.c.keys),
                    tag: "tag".into(),
                    prefetch: u32::try_from(self.c.rng.below(5)).unwrap(),
                    exclusive: false,
                    arguments: Table::default(),
                }))
            }
        })
    }

    fn settle(&mut self, who: usize) {
        let actor = &mut self.actors[who];
        if actor.out.is_empty() {
            return;
        }
        let delivery = actor.out.swap_remove(self.c.rng.below(actor.out.len()));
        let which = (delivery.queue, text(&delivery));
        self.oracle.held.remove(&which);
        let outcome = match self.c.rng.below(4) {
            0 => Outcome::Requeue { failed: true },
            1 => Outcome::Reject,
            _ => Outcome::Accept,
        };
        if outcome != (Outcome::Requeue { failed: true }) {
            self.oracle.gone.insert(which);
        }
        self.c.settle(actor.client, &delivery, outcome);
    }

    /// The client is forgotten, whatever it had goes back; another takes its place.
    fn replace(&mut self, who: usize) {
        let client = self.actors[who].client;
        if self.c.rng.below(2) == 0 && !self.c.seats[client.0].is_waiting() {
            self.oracle.given_back(who);
            self.actors[who].out.clear();
            self.c.start(client, ONE, Command::CloseConnection);
            while self.c.seats[client.0].is_waiting() {
                assert!(self.c.step(), "the close is never answered");
            }
            self.hear(who);
        }
        self.oracle.given_back(who);
        self.c.drop_connection(client);
        let home = self.c.rng.below(5);
        self.actors[who] = Actor::new(self.c.connect(home));
    }

    fn close_channel(&mut self, who: usize) {
        let actor = &mut self.actors[who];
        self.oracle.given_back(who);
        actor.out.clear();
        actor.consumers.clear();
        self.c.start(actor.client, ONE, Command::CloseChannel);
    }

    fn operate(&mut self) {
        let who = self.c.rng.below(CLIENTS);
        self.hear_all();
        let client = self.actors[who].client;
        let idle = !self.c.seats[client.0].is_waiting();
        match self.c.rng.below(40) {
            0..12 => self.publish(who),
            12..22 => self.settle(who),
            22..36 if idle => {
                if let Some(command) = self.command(who) {
                    self.c.start(client, ONE, command);
                }
            }
            36 if idle => self.close_channel(who),
            37 => self.replace(who),
            38 if idle => {
                let limit = u32::try_from(self.c.rng.below(4)).unwrap();
                let at = self.c.seats[client.0].at.connection;
                self.c.broker_of(client).limit_channel(at, ONE, limit);
            }
            _ => {}
        }
        for _ in 0..self.c.rng.below(4) {
            self.c.step();
        }
    }

    /// Everybody leaves; the lasting queues are read to the end.
    fn conclude(&mut self) {
        self.c.rest();
        self.hear_all();
        for actor in &self.actors {
            assert!(actor.unconfirmed.is_empty(), "never reported: {:?}", actor.unconfirmed);
            assert!(!self.c.seats[actor.client.0].is_waiting(), "never answered");
        }
        self.c.audit();
        for who in 0..CLIENTS {
            self.oracle.given_back(who);
            self.c.drop_connection(self.actors[who].client);
        }
        let reader = self.c.connect(1);
        self.actors.push(Actor::new(reader));
        for name in self.lasting.clone() {
            self.c.consume(reader, &name, 0);
        }
        self.c.rest();
        self.hear(CLIENTS);
        let mut got: HashMap<QueueRef, BTreeSet<String>> = HashMap::new();
        for (queue, body) in self.oracle.held.keys().chain(&self.oracle.gone) {
            if body.starts_with("lasting") {
                got.entry(*queue).or_default().insert(body.clone());
            }
        }
        for name in &self.lasting {
            let shard = self.c.placement.owner(super::cluster::VHOST, name);
            let queue = self.c.brokers[usize::from(shard.0)].vhosts[0].queues[name.as_str()];
            let got = got.remove(&QueueRef { shard, queue }).unwrap_or_default();
            let lost: Vec<_> = self.oracle.owed.difference(&got).collect();
            assert!(lost.is_empty(), "{name} lost {lost:?}");
        }
        let out = std::mem::take(&mut self.actors[CLIENTS].out);
        self.c.accept(reader, &out);
    }
}

#[test]
fn whatever_happens_nothing_confirmed_is_lost_nothing_is_doubled_and_nothing_is_left() {
    on_every_node(30, |c| {
        let admin = c.connect(0);
        let lasting: Vec<_> = (0..3).map(|n| c.queue_on(n)).collect();
        for name in &lasting {
            c.done(admin, queue(name, &[("x-max-priority", Value::I32(1))]));
            c.done(admin, bind(name, "amq.topic", "lasting.#"));
        }
        let fleeting = (0..4).map(|n| c.queue_on(n)).collect();
        let actors = (0..CLIENTS).map(|n| Actor::new(c.connect(n))).collect();
        let oracle = Oracle::default();
        let mut chaos = Chaos { c, actors, oracle, lasting, fleeting, published: 0 };
        for _ in 0..OPERATIONS {
            chaos.operate();
        }
        chaos.conclude();
    });
}
