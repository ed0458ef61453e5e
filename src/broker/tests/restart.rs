//! What was logged makes the same node again: with as many shards, with more and with fewer.

use std::collections::BTreeSet;

use super::client::*;
use super::cluster::{Cluster, Shape, Told, on_every_node};
use crate::broker::Broker;
use crate::broker::definitions::Definition;
use crate::broker::definitions::catalogue::Catalogue;
use crate::broker::exchange::Destination;
use crate::broker::queue::memory::MemoryStore;
use crate::ids::{ExchangeId, QueueRef};
use crate::value::{Table, Value};

/// Shards after a restart, and whether queues and connections live apart.
const AFTER: [(u16, bool); 4] = [(1, false), (2, true), (3, false), (6, false)];

impl Cluster {
    /// What each shard has logged.
    pub(super) fn records(&self) -> Vec<Vec<Definition>> {
        self.records_kept(|_, records, _| records)
    }

    /// What a crash leaves of each log, from (shard, records, durable ones).
    pub(super) fn records_kept(
        &self,
        mut kept: impl FnMut(usize, usize, usize) -> usize,
    ) -> Vec<Vec<Definition>> {
        let mut all = Vec::new();
        for (shard, broker) in self.brokers.iter().enumerate() {
            let (records, durable) = broker.storage.as_ref().unwrap().logged();
            let kept = kept(shard, records.len(), durable);
            assert!((durable..=records.len()).contains(&kept));
            let read = |record: &Vec<u8>| Definition::read(record).unwrap();
            all.push(records[..kept].iter().map(read).collect());
        }
        all
    }

    /// A new node from a catalogue.
    pub(super) fn restarted(shape: Shape, boot: u32, catalogue: &Catalogue) -> Self {
        let mut cluster = Self::booted(shape, boot);
        cluster.use_storage();
        let now = cluster.now;
        for broker in &mut cluster.brokers {
            let mut stores = Vec::new();
            let restored = broker.restore(
                catalogue,
                &mut |uid, queue| {
                    stores.push((uid, queue.name.clone()));
                    Box::<MemoryStore>::default()
                },
                now,
            );
            assert_eq!(restored.skipped, 0);
            assert_eq!(restored.queues.len(), stores.len());
            for ((uid, id), (given, name)) in restored.queues.iter().zip(&stores) {
                assert_eq!(uid, given);
                assert_eq!(broker.queues.get(*id).unwrap().queue.name(), &**name);
            }
        }
        cluster.rest();
        cluster.audit();
        cluster
    }

    /// Everything durable, as text, from the tables of the shards that decide it.
    pub(super) fn durable_topology(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        for broker in &self.brokers {
            if broker.shard.0 == 0 {
                durable_exchanges(broker, &mut all);
            }
            durable_queues(broker, &mut all);
        }
        all
    }

    /// Where messages go: by exchange and key, published on every shard, the queues that get them.
    fn routing(&mut self, exchanges: &[&str], keys: &[&str]) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        let publishers: Vec<_> =
            (0..usize::from(self.placement.shards())).map(|n| self.connect(n)).collect();
        let queues: BTreeSet<Box<str>> =
            self.brokers.iter().flat_map(|b| b.vhosts[0].queues.keys().cloned()).collect();
        for (client, name) in publishers.iter().cycle().zip(&queues) {
            self.consume_with(*client, ONE, name, |consume| consume.no_settle = true);
        }
        for exchange in exchanges {
            for key in keys {
                for publisher in &publishers {
                    if self.send(*publisher, &publish(exchange, key, "m")).is_err() {
                        all.insert(format!("no {exchange}"));
                    }
                }
                let mut got = Vec::new();
                for client in &publishers {
                    for delivery in self.take(*client) {
                        let at = delivery.queue;
                        let broker = &self.brokers[usize::from(at.shard.0)];
                        got.push(broker.queues.get(at.queue).unwrap().queue.name().to_owned());
                    }
                }
                got.sort_unstable();
                // Every publisher reached the same queues.
                let count = got.len();
                got.dedup();
                assert_eq!(count, got.len() * publishers.len(), "{exchange} {key}: {got:?}");
                all.insert(format!("{exchange} {key} -> {got:?}"));
            }
        }
        for client in publishers {
            self.drop_connection(client);
        }
        self.rest();
        all
    }
}

fn is_lasting(broker: &Broker, id: ExchangeId) -> bool {
    broker.exchanges.get(&id).is_some_and(|entry| entry.uid.is_some())
}

fn durable_exchanges(broker: &Broker, all: &mut BTreeSet<String>) {
    for (id, e) in broker.exchanges.iter().filter(|(id, _)| is_lasting(broker, **id)) {
        let vhost = &broker.vhosts[e.vhost.0 as usize].name;
        let flags = (e.auto_delete, e.internal, &e.alternate, &e.arguments);
        all.insert(format!("{vhost} exchange {} {} {flags:?}", e.name, e.kind));
        if e.auto_delete && !e.bindings.is_empty() {
            assert!(e.was_bound, "{} would stay when its last binding goes", e.name);
        }
        for bound in e.bindings.iter() {
            if let Destination::Exchange(to) = bound.to
                && is_lasting(broker, to)
                && is_lasting(broker, *id)
            {
                let to = &broker.exchanges[&to].name;
                let (key, arguments) = (bound.key, bound.arguments);
                all.insert(format!("{vhost} link {} -> {to} {key} {arguments:?}", e.name));
            }
        }
    }
}

fn durable_queues(broker: &Broker, all: &mut BTreeSet<String>) {
    for (id, entry) in broker.queues.iter() {
        let queue = &entry.queue;
        if !queue.is_durable() || queue.exclusive().is_some() {
            continue;
        }
        let vhost = &broker.vhosts[entry.vhost.0 as usize].name;
        let (kind, flags) = (queue.kind().name, (queue.is_auto_delete(), queue.arguments()));
        all.insert(format!("{vhost} queue {} {kind} {flags:?}", queue.name()));
        let me = QueueRef { shard: broker.shard, queue: id };
        for exchange in broker.exchanges.iter().filter(|(id, _)| is_lasting(broker, **id)) {
            let bindings = &exchange.1.bindings;
            for to in [Destination::Queue(id), Destination::Named(me)] {
                for bound in bindings.bindings_of(to) {
                    let from = &exchange.1.name;
                    let (key, arguments) = (bound.key, bound.arguments);
                    let name = queue.name();
                    all.insert(format!("{vhost} binding {from} -> {name} {key} {arguments:?}"));
                }
            }
        }
    }
}

/// Compares what a catalogue makes with what there was, on nodes of other sizes.
pub(super) fn comes_back(catalogue: &Catalogue, expected: &BTreeSet<String>, seed: u64, boot: u32) {
    for (shards, apart) in AFTER {
        let shape = Shape { shards, apart, seed, memory_bytes_max: u64::MAX };
        let _told = Told(shape);
        let again = Cluster::restarted(shape, boot, catalogue);
        assert_eq!(&again.durable_topology(), expected);
        // What the shards would write in a checkpoint makes the same again.
        let mut checkpoint = Vec::new();
        for broker in &again.brokers {
            broker.definitions(&mut |_, definition| checkpoint.push(definition.clone()));
        }
        let twice = Catalogue::of(checkpoint);
        assert_eq!(twice.dangling(), 0);
        let shape = Shape { shards: 2, apart: false, seed, memory_bytes_max: u64::MAX };
        assert_eq!(&Cluster::restarted(shape, boot, &twice).durable_topology(), expected);
    }
}

pub(super) fn catalogue(records: Vec<Vec<Definition>>) -> Catalogue {
    Catalogue::of(records.into_iter().flatten())
}

/// A header that nothing but a headers exchange reads.
fn headers() -> [(&'static str, Value); 2] {
    [("x-match", Value::text("all")), ("a", Value::I64(1))]
}

/// Durable things of all kinds, and others between them.
fn furnish(c: &mut Cluster) {
    let client = c.connect(0);
    for (name, kind) in [
        ("direct", "direct"),
        ("fan", "fanout"),
        ("topic", "topic"),
        ("headers", "headers"),
        ("hash", "x-consistent-hash"),
        ("modulus", "x-modulus-hash"),
    ] {
        c.done(client, durable(exchange(name, kind, &[("comment", Value::F64(0.5))])));
    }
    let alternate = [("alternate-exchange", Value::text("fan"))];
    c.done(client, durable(exchange("alternate", "direct", &alternate)));
    c.done(client, exchange("fleeting", "direct", &[]));
    c.done(client, durable(auto_delete_exchange("leaves", "direct")));
    c.done(client, link("topic", "direct", "a.#"));
    c.done(client, link("amq.topic", "hash", "#"));
    c.done(client, link("direct", "amq.fanout", "a.b"));
    c.done(client, link("fleeting", "direct", "a.b"));
    for n in 0..8 {
        let name = format!("lasting{n}");
        let arguments = [("x-max-length", Value::I32(n)), ("x-other", Value::Void)];
        c.done(client, durable(queue(&name, &arguments)));
        let key = ["a.b", "a.c", "3"][usize::try_from(n).unwrap() % 3];
        for from in ["direct", "fan", "topic", "amq.topic", "amq.fanout", "alternate", "fleeting"] {
            c.done(client, bind(&name, from, key));
        }
        c.done(client, bind_with(&name, "headers", "", &headers()));
        c.done(client, bind(&name, "hash", &format!("{}", n + 1)));
        c.done(client, bind(&name, "modulus", ""));
        if n == 3 {
            c.done(client, bind(&name, "leaves", "x"));
        }
        let fleeting = format!("fleeting{n}");
        c.done(client, queue(&fleeting, &[]));
        c.done(client, bind(&fleeting, "direct", "a.c"));
    }
    c.done(client, durable(queue("typed", &[("x-queue-type", Value::text("quorum"))])));
    c.done(client, durable(auto_delete("goes")));
    c.done(client, delete_queue("lasting6"));
    c.done(client, unbind("lasting5", "fan", "3"));
    c.done(client, delete_exchange("alternate"));
    c.done(client, durable(exchange("alternate", "topic", &[])));
    c.done(client, delete_queue("lasting7"));
    c.done(client, durable(queue("lasting7", &[])));
    c.drop_connection(client);
    c.rest();
}

#[test]
fn everything_durable_comes_back_on_any_number_of_shards() {
    on_every_node(2, |c| {
        c.use_storage();
        furnish(c);
        let expected = c.durable_topology();
        assert!(expected.len() > 70, "{}", expected.len());
        comes_back(&catalogue(c.records()), &expected, 1, 1);
    });
}

#[test]
fn keys_reach_the_same_queues_after_a_restart() {
    const EXCHANGES: [&str; 11] = [
        "",
        "direct",
        "fan",
        "topic",
        "headers",
        "hash",
        "modulus",
        "amq.topic",
        "amq.fanout",
        "alternate",
        "leaves",
    ];
    on_every_node(1, |c| {
        c.use_storage();
        furnish(c);
        let records = c.records();
        let keys: Vec<String> = (0..12).map(|n| format!("key{n}")).collect();
        let mut keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        keys.extend(["a.b", "a.c", "3", "lasting1", "lasting7"]);
        let lasting = |all: BTreeSet<String>| -> BTreeSet<String> {
            let of = |line: &String| line.replace("\"fleeting", "\"-");
            all.iter().map(of).collect()
        };
        let before = lasting(without_fleeting(c, &EXCHANGES, &keys));
        for (shards, apart) in AFTER {
            let shape = Shape { shards, apart, seed: 1, memory_bytes_max: u64::MAX };
            let _told = Told(shape);
            let mut again = Cluster::restarted(shape, 1, &catalogue(records.clone()));
            assert_eq!(lasting(again.routing(&EXCHANGES, &keys)), before);
        }
    });
}

/// The routing when what does not last is gone.
fn without_fleeting(c: &mut Cluster, exchanges: &[&str], keys: &[&str]) -> BTreeSet<String> {
    let client = c.connect(0);
    for n in 0..8 {
        c.done(client, delete_queue(&format!("fleeting{n}")));
    }
    c.done(client, delete_exchange("fleeting"));
    c.drop_connection(client);
    c.routing(exchanges, keys)
}

#[test]
fn a_restored_node_goes_on_where_the_old_one_stopped() {
    on_every_node(1, |c| {
        c.use_storage();
        furnish(c);
        let mut records = c.records();
        for (boot, (shards, apart)) in (1..).zip(AFTER) {
            let shape = Shape { shards, apart, seed: 1, memory_bytes_max: u64::MAX };
            let _told = Told(shape);
            let mut again = Cluster::restarted(shape, boot, &catalogue(records.clone()));
            let client = again.connect(0);
            // What is there is there, what is new has uids of its own, what goes goes everywhere.
            let arguments = [("x-max-length", Value::I32(1)), ("x-other", Value::Void)];
            again.done(client, durable(queue("lasting1", &arguments)));
            again.done(client, delete_queue("lasting2"));
            again.done(client, durable(queue("lasting2", &[])));
            again.done(client, bind("lasting2", "direct", &format!("boot{boot}")));
            again.done(client, delete_exchange("topic"));
            again.done(client, durable(exchange("topic", "topic", &[])));
            again.done(client, link("topic", "fan", "#"));
            again.drop_connection(client);
            again.rest();
            again.audit();
            records.extend(again.records());
            let expected = again.durable_topology();
            comes_back(&catalogue(records.clone()), &expected, 1, boot + 1);
        }
    });
}

#[test]
fn a_restored_auto_delete_exchange_goes_with_its_last_binding() {
    on_every_node(1, |c| {
        c.use_storage();
        furnish(c);
        for (shards, apart) in AFTER {
            let shape = Shape { shards, apart, seed: 1, memory_bytes_max: u64::MAX };
            let _told = Told(shape);
            let mut again = Cluster::restarted(shape, 1, &catalogue(c.records()));
            let client = again.connect(0);
            assert_eq!(again.offer(client, "leaves", "x", "m"), Fate::Stored);
            again.done(client, unbind("lasting3", "leaves", "x"));
            assert!(again.send(client, &publish("leaves", "x", "m")).is_err());
        }
    });
}

#[test]
fn what_this_process_can_not_take_is_left_out_alike_on_every_shard() {
    let shape = Shape { shards: 3, apart: false, seed: 1, memory_bytes_max: u64::MAX };
    let mut c = Cluster::new(shape);
    c.use_storage();
    let client = c.connect(0);
    for n in 0..10 {
        let name = format!("q{n}");
        c.done(client, durable(queue(&name, &[])));
        c.done(client, bind(&name, "amq.direct", "k"));
    }
    c.done(client, durable(exchange("x", "direct", &[])));
    c.done(client, bind("q1", "x", "k"));
    c.rest();
    let mut all: Vec<_> = c.records().into_iter().flatten().collect();
    for definition in &mut all {
        match definition {
            Definition::Queue(queue) if &*queue.name == "q1" => queue.kind = "lost".into(),
            Definition::Queue(queue) if &*queue.name == "q2" => {
                queue.arguments = Table(vec![("x-max-length".into(), Value::Void)]);
            }
            Definition::Queue(queue) if &*queue.name == "q3" => queue.vhost = "gone".into(),
            Definition::Exchange(exchange) => exchange.spec.kind = "lost".into(),
            _ => {}
        }
    }
    let catalogue = Catalogue::of(all);
    assert_eq!(catalogue.dangling(), 1, "a binding does not agree with its queue");
    let mut cluster = Cluster::booted(shape, 1);
    let now = cluster.now;
    for broker in &mut cluster.brokers {
        let mut make = |_, _: &_| Box::<MemoryStore>::default() as Box<_>;
        let restored = broker.restore(&catalogue, &mut make, now);
        // Three queues, an exchange, the bindings of two of the queues, one of them to both.
        assert_eq!(restored.skipped, 7);
    }
    cluster.audit();
    assert_eq!(cluster.brokers.iter().map(|b| b.queues.len()).sum::<usize>(), 7);
}
