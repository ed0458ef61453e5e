//! Clients of a node on a simulated disk: what they do by seed, and what they tell the oracle.
//! May import the cluster, its clients and the oracle.

use std::collections::HashMap;

use super::client::*;
use super::cluster::Cluster;
use super::disk_definitions::{Change, Definitions, Known};
use super::disk_oracle::*;
use crate::broker::deliver::SETTLED;
use crate::command::{
    Answer, Command, Consume, Delivery, Event, Outcome, Publish, Published, Refusal,
};
use crate::ids::{ConsumerKey, ConsumerRef, PublishSeq};
use crate::value::{Table, Value};

const CLIENTS: usize = 3;

/// Goes to these queues.
pub(super) const FAN: &str = "fan";
pub(super) const FAN_QUEUES: [usize; 4] = [0, 1, 2, 6];

/// What a client waits for an answer to.
#[derive(Debug, Clone)]
pub(super) enum Asked {
    Consume(ConsumerKey),
    Get(usize),
    /// A queue, and how many messages had been sent when it was asked: later ones may stay.
    Purge(usize, usize),
    Delete,
    Declare,
    Cancel,
    Definition(Change),
}

#[derive(Debug)]
pub(super) struct Actor {
    client: Client,
    out: Vec<(Delivery, usize, usize)>,
    consumers: Vec<(ConsumerKey, ConsumerRef)>,
    queues: HashMap<ConsumerKey, usize>,
    unconfirmed: HashMap<u64, usize>,
    pub(super) asked: Option<Asked>,
}

/// See the module. Outlives the node.
#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) oracle: Oracle,
    pub(super) actors: Vec<Actor>,
    publishes: u64,
    pub(super) definitions: Definitions,
    fleeting: Known,
    pub(super) refused_for_space: u64,
    /// Clients may ask for messages without settling them.
    hasty: bool,
    /// The disk is told to fail.
    pub(super) may_fail: bool,
    /// The disk is full: whatever waits for it waits long.
    pub(super) full: bool,
}

fn declaration(queue_index: usize) -> Command {
    let kind = KINDS[queue_index];
    let mut arguments = Vec::new();
    if kind.quorum {
        arguments.push(("x-queue-type", Value::text("quorum")));
        arguments.push(("x-delivery-limit", Value::I32(1_000_000)));
    }
    if kind.priorities {
        arguments.push(("x-max-priority", Value::I32(3)));
    }
    if let Some(durability) = kind.durability {
        arguments.push(("x-durability", Value::text(durability)));
    }
    if queue_index == DYING {
        arguments.push(("x-dead-letter-exchange", Value::text("")));
        arguments.push(("x-dead-letter-routing-key", Value::text(KINDS[DEAD].name)));
    }
    let command = queue(kind.name, &arguments);
    if kind.durable { durable(command) } else { command }
}

impl World {
    pub(super) fn new(hasty: bool) -> Self {
        Self { hasty, ..Self::default() }
    }

    /// The first boot: declares what stays.
    pub(super) fn furnish(&mut self, c: &mut Cluster) {
        let client = c.connect(0);
        for queue in 0..QUEUES {
            c.done(client, declaration(queue));
        }
        c.done(client, durable(exchange(FAN, "fanout", &[])));
        for queue in FAN_QUEUES {
            c.done(client, bind(KINDS[queue].name, FAN, ""));
        }
        self.fleeting = Known::Yes;
        c.drop_connection(client);
        c.rest();
    }

    /// A node is there again: is everything that was answered?
    pub(super) fn arrive(&mut self, c: &mut Cluster) {
        self.actors.clear();
        self.definitions.busy = false;
        self.look_at_definitions(c);
        let mut here = Vec::new();
        for kind in KINDS {
            let owner = usize::from(c.owner_of(kind.name));
            here.push(c.brokers[owner].vhosts[0].queues.contains_key(kind.name));
        }
        for queue in 0..QUEUES {
            let wanted = queue != FLEETING || self.fleeting == Known::Yes;
            if KINDS[queue].durable && wanted && !self.oracle.spoilt[queue] {
                assert!(here[queue], "{} is gone", KINDS[queue].name);
            }
        }
        if !here[FLEETING] {
            self.oracle.deleted(FLEETING);
        }
        let comes_back = self.fleeting == Known::No && here[FLEETING];
        assert!(!comes_back || self.oracle.spoilt[FLEETING], "it is deleted and comes back");
        self.fleeting = if here[FLEETING] { Known::Yes } else { Known::No };
        self.count(c);
        if c.is_cut() {
            return;
        }
        for _ in 0..CLIENTS {
            let place = c.rng.below(8);
            let client = c.connect(place);
            self.actors.push(Actor {
                client,
                out: Vec::new(),
                consumers: Vec::new(),
                queues: HashMap::new(),
                unconfirmed: HashMap::new(),
                asked: None,
            });
        }
        let transient = KINDS.iter().position(|kind| !kind.durable).unwrap();
        if self.is_all_spoilt() {
            self.finish(c);
            self.furnish(c);
        }
        self.ask(c, 0, declaration(transient), Asked::Declare);
        self.finish(c);
    }

    /// Right after a start: each queue has what it has to have, and no more than it can have.
    fn count(&self, c: &Cluster) {
        for (queue, kind) in KINDS.iter().enumerate().filter(|(_, kind)| kind.durable) {
            let owner = usize::from(c.owner_of(kind.name));
            let id = c.brokers[owner].vhosts[0].queues.get(kind.name);
            let entry = id.and_then(|id| c.brokers[owner].queues.get(*id));
            let ready = entry.map_or(0, |entry| entry.queue.ready());
            let (owed, possible) = self.oracle.counts(queue);
            let name = kind.name;
            if self.oracle.spoilt[queue] {
                continue;
            }
            assert!(ready >= owed, "{name} has {ready} messages, it owes {owed}");
            let bounded = queue != DEAD;
            assert!(!bounded || ready <= possible, "{name} has {ready} of {possible} messages");
        }
    }

    pub(super) fn ask(&mut self, c: &mut Cluster, who: usize, command: Command, asked: Asked) {
        if self.actors[who].asked.is_none() {
            self.actors[who].asked = Some(asked);
            c.start(self.actors[who].client, ONE, command);
        }
    }

    /// Until nothing happens without time passing.
    pub(super) fn finish(&mut self, c: &mut Cluster) {
        c.rest();
        self.hear_all(c);
    }

    pub(super) fn hear_all(&mut self, c: &mut Cluster) {
        (0..self.actors.len()).for_each(|who| self.hear(c, who));
    }

    fn hear(&mut self, c: &mut Cluster, who: usize) {
        let client = self.actors[who].client;
        for event in std::mem::take(&mut c.seats[client.0].log) {
            match event {
                Event::Delivery(delivery) => {
                    let key = delivery.consumer.unwrap();
                    let queue = self.actors[who].queues[&key];
                    self.delivered(who, queue, delivery, true);
                }
                Event::Answer { answer, .. } => self.answered(who, answer),
                Event::Stored { seq, accepted, .. } => {
                    let id = self.actors[who].unconfirmed.remove(&seq.0);
                    let id = id.expect("it is reported twice");
                    if accepted {
                        self.oracle.confirmed(id);
                    } else {
                        assert!(self.may_fail, "{id} is refused");
                    }
                }
                Event::ConsumerGone { consumer, .. } => {
                    self.actors[who].consumers.retain(|(key, _)| *key != consumer);
                }
                Event::Alarm(_) | Event::PublishResumed => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn delivered(&mut self, who: usize, queue: usize, delivery: Delivery, consumed: bool) {
        let id = self.oracle.delivered((who, queue), &delivery, consumed);
        if delivery.id == SETTLED {
            self.oracle.ended(id, queue);
        } else {
            self.actors[who].out.push((delivery, id, queue));
        }
    }

    fn answered(&mut self, who: usize, answer: Answer) {
        let asked = self.actors[who].asked.take().expect("nothing was asked");
        match (asked, answer) {
            (Asked::Consume(key), Answer::Consuming { consumer, .. }) => {
                self.actors[who].consumers.push((key, consumer));
            }
            (Asked::Get(queue), Answer::Got { delivery, .. }) => {
                self.delivered(who, queue, *delivery, false);
            }
            (Asked::Get(_), Answer::Empty) | (Asked::Cancel, Answer::Done) => {}
            (Asked::Purge(queue, sent), Answer::Removed { .. }) => {
                self.oracle.purged(queue, sent);
            }
            (Asked::Delete, Answer::Removed { .. }) => {
                self.fleeting = Known::No;
                self.oracle.deleted(FLEETING);
                for actor in &mut self.actors {
                    actor.out.retain(|(_, _, queue)| *queue != FLEETING);
                }
            }
            (Asked::Declare, Answer::QueueDeclared { name, .. }) => {
                if *name == *KINDS[FLEETING].name {
                    self.fleeting = Known::Yes;
                }
            }
            (Asked::Definition(change), answer) => {
                self.changed(change, &answer);
            }
            // Its queue has gone.
            (Asked::Consume(_) | Asked::Get(_) | Asked::Cancel, Answer::Refused(_)) => {}
            (asked, answer) => panic!("{asked:?}: {answer:?}"),
        }
    }

    /// Somebody does something.
    pub(super) fn act(&mut self, c: &mut Cluster) {
        let who = c.rng.below(CLIENTS);
        let what = c.rng.below(64);
        match what {
            51..=55 | 61 | 62 if self.full => self.finish(c),
            0..=19 => {
                for _ in 0..=c.rng.below(6) {
                    self.publish(c, who);
                }
            }
            20..=37 => {
                for _ in 0..=c.rng.below(8) {
                    self.settle(c, who);
                }
            }
            38..=41 => self.consume(c, who),
            42..=47 => self.get(c, who),
            48..=50 => {
                if let Some((_, consumer)) = self.actors[who].consumers.pop() {
                    self.ask(c, who, Command::Cancel { consumer }, Asked::Cancel);
                }
            }
            51..=55 => self.define(c, who),
            56..=59 => {
                let ms = [1, 20, 60, 300, 1_100][c.rng.below(5)];
                c.pass(ms);
            }
            60 => self.purge(c, who),
            61 => self.come_and_go(c, who),
            62 => {
                if c.settle_down() {
                    self.hear_all(c);
                    self.oracle.durable();
                }
            }
            _ => self.finish(c),
        }
        for _ in 0..c.rng.below(12) {
            c.step();
        }
        self.hear_all(c);
    }

    pub(super) fn publish(&mut self, c: &mut Cluster, who: usize) {
        let queue = c.rng.below(QUEUES);
        let (exchange, key, queues) = match queue {
            DEAD => (FAN, "", &FAN_QUEUES[..]),
            FLEETING if self.fleeting != Known::Yes => return,
            _ => ("", KINDS[queue].name, &[queue][..]),
        };
        let len = match c.rng.below(20) {
            0 => 1_000 + c.rng.below(8_000),
            1..=3 => 200 + c.rng.below(800),
            4..=19 => c.rng.below(120),
            _ => 20_000,
        };
        self.publish_to(c, (who, len), (exchange, key, queues));
    }

    pub(super) fn publish_to(
        &mut self,
        c: &mut Cluster,
        (who, len): (usize, usize),
        (exchange, key, queues): (&str, &str, &[usize]),
    ) {
        let persistent = c.rng.below(6) > 0;
        let priority = (c.rng.below(3) == 0).then(|| u8::try_from(c.rng.below(5)).unwrap());
        let publisher = usize::try_from(self.oracle.boot).unwrap() * CLIENTS + who;
        let id = self.oracle.publish(publisher, persistent, priority, (len, queues));
        let body = self.oracle.sent[id].body.clone();
        self.publishes += 1;
        let seq = self.publishes;
        let mut publish = Publish { seq: Some(PublishSeq(seq)), ..publish(exchange, key, &body) };
        publish.traits.persistent = persistent;
        publish.traits.priority = priority;
        match c.send(self.actors[who].client, &publish) {
            Ok(Published::Pending) => {
                self.actors[who].unconfirmed.insert(seq, id);
            }
            Ok(Published::Stored) => {
                for queue in queues {
                    assert!(self.oracle.is_live(id, *queue), "{id} is confirmed at once");
                }
                self.oracle.confirmed(id);
            }
            Err(Refusal::NoSpace) => {
                self.refused_for_space += 1;
                self.oracle.refused(id);
            }
            Err(Refusal::Unavailable(_)) if self.may_fail => self.oracle.refused(id),
            other => panic!("{other:?}"),
        }
    }

    /// On the shard whose disk has failed nothing is taken any more.
    pub(super) fn check_refused(&mut self, c: &mut Cluster) {
        c.rest();
        for who in 0..self.actors.len() {
            let client = self.actors[who].client;
            let shard = usize::from(c.seats[client.0].at.shard.0);
            if c.brokers[shard].storage_failure().is_some() {
                let refused = c.send(client, &publish("", KINDS[0].name, "refused"));
                assert!(matches!(refused, Err(Refusal::Unavailable(_))), "{refused:?}");
            }
        }
        self.hear_all(c);
    }

    fn settle(&mut self, c: &mut Cluster, who: usize) {
        let count = self.actors[who].out.len();
        if count == 0 {
            return;
        }
        // Mostly in order.
        let place = if c.rng.below(3) > 0 { 0 } else { c.rng.below(count) };
        let (delivery, id, queue) = self.actors[who].out.remove(place);
        let outcome = match c.rng.below(8) {
            0 => Outcome::Requeue { failed: true },
            1 => Outcome::Requeue { failed: false },
            2 | 3 => Outcome::Reject,
            _ => Outcome::Accept,
        };
        match outcome {
            Outcome::Accept | Outcome::Received => self.oracle.ended(id, queue),
            Outcome::Reject => self.oracle.rejected(id, queue),
            Outcome::Requeue { failed } => self.oracle.requeued(id, queue, failed),
        }
        c.settle(self.actors[who].client, &delivery, outcome);
    }

    fn consume(&mut self, c: &mut Cluster, who: usize) {
        let queue = c.rng.below(QUEUES);
        let there = queue != FLEETING || self.fleeting == Known::Yes;
        if there && self.actors[who].consumers.len() < 4 {
            self.consume_from(c, who, queue);
        }
    }

    fn consume_from(&mut self, c: &mut Cluster, who: usize, queue: usize) {
        if self.actors[who].asked.is_some() {
            return;
        }
        c.keys += 1;
        let key = ConsumerKey(c.keys);
        let consume = Consume {
            queue: KINDS[queue].name.into(),
            key,
            tag: "tag".into(),
            prefetch: u32::try_from(1 + c.rng.below(20)).unwrap(),
            no_settle: self.hasty && c.rng.below(4) == 0,
            exclusive: false,
            arguments: Table::default(),
        };
        self.oracle.hasty[queue] |= consume.no_settle;
        self.actors[who].queues.insert(key, queue);
        self.ask(c, who, Command::Consume(Box::new(consume)), Asked::Consume(key));
    }

    fn get(&mut self, c: &mut Cluster, who: usize) {
        let queue = c.rng.below(QUEUES);
        let no_settle = self.hasty && c.rng.below(3) == 0;
        self.oracle.hasty[queue] |= no_settle;
        let name = KINDS[queue].name.into();
        self.ask(c, who, Command::Get { queue: name, no_settle }, Asked::Get(queue));
    }

    /// Nothing else happens meanwhile, so that it is known what goes.
    fn purge(&mut self, c: &mut Cluster, who: usize) {
        self.finish(c);
        let pending = !self.actors.iter().all(|a| a.unconfirmed.is_empty());
        if self.actors[who].asked.is_some() || pending {
            return;
        }
        let queue = c.rng.below(QUEUES);
        if queue == FLEETING && self.fleeting != Known::Yes {
            return;
        }
        let name = KINDS[queue].name.into();
        // Should the process end now.
        self.oracle.may_go(queue);
        self.ask(c, who, Command::PurgeQueue { name }, Asked::Purge(queue, self.oracle.sent.len()));
        self.finish(c);
    }

    fn come_and_go(&mut self, c: &mut Cluster, who: usize) {
        self.finish(c);
        let idle = |actor: &Actor| actor.asked.is_none() && actor.unconfirmed.is_empty();
        if !self.actors.iter().all(idle) {
            return;
        }
        let there = self.fleeting;
        self.fleeting = Known::Unsure;
        match there {
            Known::Yes => {
                let delete = delete_queue(KINDS[FLEETING].name);
                self.ask(c, who, delete, Asked::Delete);
            }
            Known::No | Known::Unsure => self.ask(c, who, declaration(FLEETING), Asked::Declare),
        }
        self.finish(c);
    }

    /// Large messages come into the queue whose messages do not just vanish, and are rejected. How
    /// many.
    pub(super) fn kill_some(&mut self, c: &mut Cluster) -> u64 {
        self.finish(c);
        for _ in 0..=c.rng.below(8) {
            let len = 500 + c.rng.below(4_000);
            self.publish_to(c, (0, len), ("", KINDS[DYING].name, &[DYING]));
        }
        self.finish(c);
        self.consume_from(c, 0, DYING);
        self.finish(c);
        for (delivery, id, queue) in std::mem::take(&mut self.actors[0].out) {
            self.oracle.rejected(id, queue);
            c.settle(self.actors[0].client, &delivery, Outcome::Reject);
        }
        self.oracle.deliveries
    }

    /// Takes everything out of every queue of a node that has just started.
    pub(super) fn drain(&mut self, c: &mut Cluster) {
        let client = c.connect(0);
        let mut last: HashMap<(usize, Option<u8>, usize), usize> = HashMap::new();
        for (queue, kind) in KINDS.iter().enumerate() {
            if queue == FLEETING && self.fleeting != Known::Yes {
                continue;
            }
            loop {
                let name = kind.name.into();
                let delivery =
                    match c.execute(client, Command::Get { queue: name, no_settle: true }) {
                        Answer::Got { delivery, .. } => *delivery,
                        Answer::Empty => break,
                        other => panic!("{other:?}"),
                    };
                let id = self.oracle.delivered((CLIENTS, queue), &delivery, false);
                self.oracle.ended(id, queue);
                let sent = &self.oracle.sent[id];
                let place = (queue, sent.priority, sent.publisher);
                let before = last.insert(place, id);
                if queue != DEAD && !self.oracle.spoilt[queue] {
                    let name = kind.name;
                    assert!(before.is_none_or(|b| b < id), "{name}: {id} after {before:?}");
                }
            }
        }
    }

    /// Nothing is left in any queue.
    pub(super) fn check_empty(&mut self, c: &mut Cluster) {
        for broker in &c.brokers {
            for (_, entry) in broker.queues.iter() {
                let (name, ready) = (entry.queue.name(), entry.queue.ready());
                let queue = KINDS.iter().position(|kind| kind.name == name);
                let spoilt = queue.is_some_and(|queue| self.oracle.spoilt[queue]);
                assert!(spoilt || ready == 0, "{name} is not empty: {ready}");
            }
        }
    }
}
