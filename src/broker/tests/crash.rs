//! Random declarations, deletions and bindings, and crashes between them: what was answered holds
//! after the crash, what was not answered has happened or has not.

use std::collections::{BTreeMap, BTreeSet};

use super::client::*;
use super::cluster::{Cluster, Rng, Shape, Told, on_every_node};
use super::restart::{catalogue, comes_back};
use crate::broker::definitions::Definition;
use crate::command::{Answer, Command, Event, Refusal};
use crate::value::Table;

const ACTORS: usize = 4;
const OPERATIONS: usize = 150;
const BOOTS: u32 = 4;
const CRASH_SEEDS: u64 = 40;

const KINDS: [&str; 2] = ["direct", "x-consistent-hash"];
const KEYS: [&str; 2] = ["1", "2"];

fn unlink(source: &str, destination: &str, key: &str) -> Command {
    Command::UnbindExchange {
        source: source.into(),
        destination: destination.into(),
        key: key.into(),
        arguments: Table::default(),
    }
}

/// What one actor has: nobody else touches the names of its own. Values: whether it is durable.
#[derive(Debug, Clone, Default, PartialEq)]
struct World {
    exchanges: BTreeMap<String, bool>,
    queues: BTreeMap<String, bool>,
    /// Queue, exchange, key.
    bindings: BTreeSet<(String, String, String)>,
    /// Source, destination, key.
    links: BTreeSet<(String, String, String)>,
}

impl World {
    fn exchange(&self, name: &str) -> Option<bool> {
        if name.starts_with("amq.") { Some(true) } else { self.exchanges.get(name).copied() }
    }

    /// The world after a command, if it is carried out.
    fn after(&self, command: &Command) -> Self {
        let mut next = self.clone();
        match command {
            Command::DeclareQueue { name, durable, .. } => {
                next.queues.entry(name.to_string()).or_insert(*durable);
            }
            Command::DeclareExchange { name, durable, .. } => {
                next.exchanges.entry(name.to_string()).or_insert(*durable);
            }
            Command::DeleteQueue { name, .. } => {
                next.queues.remove(&**name);
                next.bindings.retain(|(queue, ..)| **queue != **name);
            }
            Command::DeleteExchange { name, .. } => {
                next.exchanges.remove(&**name);
                next.bindings.retain(|(_, exchange, _)| **exchange != **name);
                next.links.retain(|(from, to, _)| **from != **name && **to != **name);
            }
            Command::BindQueue { queue, exchange, key, .. } => {
                if self.queues.contains_key(&**queue) && self.exchange(exchange).is_some() {
                    let (queue, exchange) = (queue.to_string(), exchange.to_string());
                    next.bindings.insert((queue, exchange, key.to_string()));
                }
            }
            Command::UnbindQueue { queue, exchange, key, .. } => {
                let (queue, exchange) = (queue.to_string(), exchange.to_string());
                next.bindings.remove(&(queue, exchange, key.to_string()));
            }
            Command::BindExchange { source, destination, key, .. } => {
                if self.exchange(source).is_some() && self.exchange(destination).is_some() {
                    let (source, destination) = (source.to_string(), destination.to_string());
                    next.links.insert((source, destination, key.to_string()));
                }
            }
            Command::UnbindExchange { source, destination, key, .. } => {
                let (source, destination) = (source.to_string(), destination.to_string());
                next.links.remove(&(source, destination, key.to_string()));
            }
            other => panic!("{other:?}"),
        }
        next
    }

    /// What of it a restart leaves.
    fn durable(mut self) -> Self {
        self.exchanges.retain(|_, durable| *durable);
        self.queues.retain(|_, durable| *durable);
        let mut bindings = std::mem::take(&mut self.bindings);
        bindings.retain(|(q, x, _)| self.queues.contains_key(q) && self.exchange(x).is_some());
        let mut links = std::mem::take(&mut self.links);
        links.retain(|(a, b, _)| self.exchange(a).is_some() && self.exchange(b).is_some());
        Self { bindings, links, ..self }
    }

    /// As [`Cluster::durable_topology`] shows it.
    fn shown(&self) -> BTreeSet<String> {
        let none = Table::default();
        let mut all = BTreeSet::new();
        for name in self.exchanges.keys() {
            let kind = kind_of(name);
            let flags = (false, false, None::<Box<str>>, &none);
            all.insert(format!("/ exchange {name} {kind} {flags:?}"));
        }
        for name in self.queues.keys() {
            all.insert(format!("/ queue {name} classic {:?}", (false, &none)));
        }
        for (queue, exchange, key) in &self.bindings {
            all.insert(format!("/ binding {exchange} -> {queue} {key} {none:?}"));
        }
        for (source, destination, key) in &self.links {
            all.insert(format!("/ link {source} -> {destination} {key} {none:?}"));
        }
        all
    }
}

/// The last letter says which.
fn kind_of(name: &str) -> &'static str {
    KINDS[usize::from(name.ends_with('1'))]
}

/// A client with names of its own.
struct Actor {
    client: Client,
    names: (Vec<String>, Vec<String>),
    world: World,
    /// Not answered yet.
    asked: Option<Command>,
}

impl Actor {
    fn command(&self, rng: &mut Rng) -> Command {
        let (queues, exchanges) = &self.names;
        let queue_name = &queues[rng.below(queues.len())];
        let own = &exchanges[rng.below(exchanges.len())];
        let any = if rng.below(3) == 0 { "amq.direct" } else { own.as_str() };
        let other = if rng.below(3) == 0 { "amq.fanout" } else { &exchanges[rng.below(2)] };
        let key = KEYS[rng.below(2)];
        let lasting = |command| durable(command);
        match rng.below(16) {
            0 | 1 => lasting(queue(queue_name, &[])),
            2 => queue(queue_name, &[]),
            3 | 4 => lasting(exchange(own, kind_of(own), &[])),
            5 => exchange(own, kind_of(own), &[]),
            6 => delete_queue(queue_name),
            7 => delete_exchange(own),
            8..=10 => bind(queue_name, any, key),
            11 => unbind(queue_name, any, key),
            12..=14 => link(any, other, key),
            _ => unlink(any, other, key),
        }
    }

    /// Takes in what became of the command.
    fn hear(&mut self, c: &mut Cluster) {
        for event in std::mem::take(&mut c.seats[self.client.0].log) {
            let Event::Answer { answer, .. } = event else { panic!("{event:?}") };
            let asked = self.asked.take().expect("an answer to nothing");
            match answer {
                Answer::Done
                | Answer::Bound { .. }
                | Answer::QueueDeclared { .. }
                | Answer::Removed { .. } => {
                    self.world = self.world.after(&asked);
                }
                Answer::Refused(Refusal::NotFound(..)) => {
                    assert_eq!(self.world.after(&asked), self.world, "{asked:?}");
                }
                Answer::Refused(Refusal::Mismatch { .. }) => {}
                other => panic!("{asked:?}: {other:?}"),
            }
        }
    }
}

fn operate(c: &mut Cluster, actors: &mut [Actor]) {
    let who = c.rng.below(actors.len());
    let actor = &mut actors[who];
    actor.hear(c);
    if actor.asked.is_none() {
        let command = actor.command(&mut c.rng);
        actor.asked = Some(command.clone());
        c.start(actor.client, ONE, command);
    }
    for _ in 0..c.rng.below(8) {
        c.step();
    }
}

fn names_of(c: &mut Cluster, actor: usize) -> (Vec<String>, Vec<String>) {
    let queues = (0..3).map(|n| format!("a{actor}-{}", c.queue_on(n))).collect();
    (queues, (0..2).map(|n| format!("a{actor}-x{n}")).collect())
}

/// What a crash now leaves: what is durable, and some of the rest.
fn crash(c: &mut Cluster, records: &mut Vec<Vec<Definition>>) {
    let mut rng = Rng::new(c.rng.next());
    records.extend(c.records_kept(|_, logged, durable| durable + rng.below(logged - durable + 1)));
}

/// Compares an actor's world with what is there again.
fn recognise(actor: &mut Actor, who: usize, there: &BTreeSet<String>) {
    let mark = format!("a{who}-");
    let own: BTreeSet<String> = there.iter().filter(|l| l.contains(&mark)).cloned().collect();
    // Nobody's own: links between predeclared exchanges, which all actors make.
    let shown = |world: &World| -> BTreeSet<String> {
        world.shown().into_iter().filter(|l| l.contains(&mark)).collect()
    };
    let before = actor.world.clone().durable();
    let asked = actor.asked.take();
    let after = asked.as_ref().map(|asked| actor.world.after(asked).durable());
    if own == shown(&before) {
        actor.world = before;
        return;
    }
    let happened = after.filter(|after| own == shown(after));
    actor.world = happened.unwrap_or_else(|| {
        let lost: Vec<_> = shown(&before).difference(&own).cloned().collect();
        let more: Vec<_> = own.difference(&shown(&before)).cloned().collect();
        panic!("actor {who}, {asked:?} unanswered: lost {lost:?}, there {more:?}");
    });
}

#[test]
fn what_was_answered_holds_after_a_crash() {
    for seed in 1..=CRASH_SEEDS {
        let mut rng = Rng::new(seed);
        let mut shape = any_shape(&mut rng, seed);
        let mut c = Cluster::booted(shape, 0);
        c.use_storage();
        let mut actors: Vec<Actor> = Vec::new();
        for n in 0..ACTORS {
            let names = names_of(&mut c, n);
            let client = c.connect(n);
            actors.push(Actor { client, names, world: World::default(), asked: None });
        }
        let mut records: Vec<Vec<Definition>> = Vec::new();
        for boot in 1..=BOOTS {
            let _told = Told(shape);
            for _ in 0..OPERATIONS {
                operate(&mut c, &mut actors);
            }
            actors.iter_mut().for_each(|actor| actor.hear(&mut c));
            crash(&mut c, &mut records);
            let survived = catalogue(records.clone());
            shape = any_shape(&mut rng, seed);
            c = Cluster::restarted(shape, boot, &survived);
            let there = c.durable_topology();
            for (who, actor) in actors.iter_mut().enumerate() {
                recognise(actor, who, &there);
                actor.client = c.connect(who);
            }
            if rng.below(2) == 0 {
                // The old logs go, a checkpoint takes their place.
                records.clear();
                for broker in &c.brokers {
                    let mut checkpoint = Vec::new();
                    broker.definitions(&mut |_, d| checkpoint.push(d.clone()));
                    records.push(checkpoint);
                }
            }
        }
    }
}

fn any_shape(rng: &mut Rng, seed: u64) -> Shape {
    let shards = [1, 2, 3, 5][rng.below(4)];
    Shape { shards, apart: rng.below(3) == 0, seed, memory_bytes_max: u64::MAX }
}

/// One of few things, that everybody declares, deletes and binds.
fn shared_command(rng: &mut Rng) -> Command {
    let source = ["x0", "x1", "x2", "amq.direct"][rng.below(4)];
    let destination = ["x0", "x1", "x2", "amq.fanout"][rng.below(4)];
    let name = format!("q{}", rng.below(6));
    let key = KEYS[rng.below(2)];
    match rng.below(16) {
        0..=2 => durable(queue(&name, &[])),
        3 => durable(auto_delete(&name)),
        4 => queue(&name, &[]),
        5 => durable(exchange("x0", KINDS[0], &[])),
        6 => durable(exchange("x1", KINDS[1], &[])),
        7 => durable(auto_delete_exchange("x2", "topic")),
        8 => exchange("x0", KINDS[0], &[]),
        9 => delete_queue(&name),
        10 => delete_exchange(["x0", "x1", "x2"][rng.below(3)]),
        11 | 12 => bind(&name, source, key),
        13 => unbind(&name, source, key),
        14 => link(source, destination, key),
        _ => unlink(source, destination, key),
    }
}

#[test]
fn what_all_do_to_the_same_things_comes_back_as_it_was() {
    on_every_node(12, |c| {
        c.use_storage();
        let clients: Vec<_> = (0..ACTORS).map(|n| c.connect(n)).collect();
        for _ in 0..OPERATIONS * 2 {
            let client = clients[c.rng.below(ACTORS)];
            if !c.seats[client.0].is_waiting() {
                let command = shared_command(&mut c.rng);
                c.start(client, ONE, command);
            }
            for _ in 0..c.rng.below(6) {
                c.step();
            }
        }
        c.rest();
        for client in clients {
            assert!(!c.seats[client.0].is_waiting(), "never answered");
            c.seats[client.0].log.clear();
        }
        let admin = c.connect(0);
        for key in KEYS {
            c.done(admin, unlink("amq.direct", "amq.fanout", key));
        }
        c.rest();
        let expected = c.durable_topology();
        let mut checkpoint = Vec::new();
        for broker in &c.brokers {
            broker.definitions(&mut |_, definition| checkpoint.push(definition.clone()));
        }
        comes_back(&catalogue(vec![checkpoint]), &expected, 1, 1);
        comes_back(&catalogue(c.records()), &expected, 1, 1);
    });
}
