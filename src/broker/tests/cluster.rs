//! A node of several shards in one thread: lanes are queues of envelopes, first in first out per
//! pair of shards and else in an order that a seed chooses; time is moved by hand.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::broker::storage::Storage;

use super::client::{Client, Seat};
use super::disk_machine::Machine;
use crate::auth::password::PasswordHash;
use crate::auth::permission::{Pattern, Permission};
use crate::auth::user::User;
use crate::auth::{Identity, Users};
use crate::broker::placement::Placement;
use crate::broker::{Broker, Envelope, NodeLimits, Setup, StorageSetup};
use crate::command::{Command, Event, Now, Outcome, Refusal};
use crate::ids::{ConnectionId, ShardId};
use crate::message::PropertyReader;
use crate::value::{Table, Value};

pub(super) const VHOST: &str = "/";

/// xorshift64*.
#[derive(Debug)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next()).unwrap() % n
    }
}

/// How a node is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) shards: u16,
    pub(super) apart: bool,
    pub(super) seed: u64,
    pub(super) memory_bytes_max: u64,
}

pub(super) struct Cluster {
    pub(super) brokers: Vec<Broker>,
    lanes: Vec<VecDeque<Envelope>>,
    touched: Vec<bool>,
    pub(super) rng: Rng,
    pub(super) now: Now,
    pub(super) seats: Vec<Seat>,
    by_connection: HashMap<(ShardId, ConnectionId), usize>,
    pub(super) placement: Placement,
    names: u32,
    pub(super) keys: u32,
    /// Disks make durable what was logged, some time, without being told to.
    pub(super) syncs: bool,
    /// Real storage on a simulated disk.
    pub(super) machine: Option<Machine>,
}

/// Says which node failed.
pub(super) struct Told(pub(super) Shape);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with {:?}", self.0);
        }
    }
}

/// Runs a test on nodes of several sizes, placements and orders of mail; looks for leaks after.
pub(super) fn on_every_node(seeds: u64, test: impl Fn(&mut Cluster)) {
    for (shards, apart) in [(1, false), (2, false), (5, false), (2, true), (5, true)] {
        for seed in 1..=seeds {
            let shape = Shape { shards, apart, seed, memory_bytes_max: u64::MAX };
            on_node(shape, &test);
        }
    }
}

pub(super) fn on_node(shape: Shape, test: impl Fn(&mut Cluster)) {
    let _told = Told(shape);
    let mut cluster = Cluster::new(shape);
    test(&mut cluster);
    cluster.end();
}

impl Cluster {
    pub(super) fn new(shape: Shape) -> Self {
        Self::booted(shape, 0)
    }

    /// The nth start.
    pub(super) fn booted(shape: Shape, boot: u32) -> Self {
        Self::made(shape, boot, None)
    }

    /// The nth start, with storage or without.
    pub(super) fn made(shape: Shape, boot: u32, storage: Option<&StorageSetup>) -> Self {
        let placement = Placement::new(shape.shards, 256, shape.apart);
        let shards = usize::from(shape.shards);
        let broker = |shard| {
            Broker::new(Setup {
                shard: ShardId(shard),
                placement,
                vhosts: vec![VHOST.into(), "other".into()],
                readers: vec![READER],
                boot,
                storage: storage.cloned(),
                durabilities: Vec::new(),
                secret: [7; 32],
                limits: NodeLimits {
                    memory_bytes_max: shape.memory_bytes_max,
                    queues_max: 100_000,
                    exchanges_max: 10_000,
                    bindings_max: 1_000_000,
                    prefetch_default: 65_535,
                    consumer_timeout_ms: None,
                    durability: crate::durability::Durability::Sync,
                    retained_max: crate::limits::RETAINED_MAX,
                    retained_bytes_max: crate::limits::RETAINED_BYTES_MAX,
                    near_members_first: false,
                    members_in_turn: false,
                },
            })
        };
        Self {
            brokers: (0..shape.shards).map(broker).collect(),
            lanes: (0..shards * shards).map(|_| VecDeque::new()).collect(),
            touched: vec![false; shards],
            rng: Rng::new(shape.seed),
            now: Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 },
            seats: Vec::new(),
            by_connection: HashMap::new(),
            placement,
            names: 0,
            keys: 0,
            syncs: true,
            machine: None,
        }
    }

    /// The nth shard, counted round, of those where connections live.
    pub(super) fn home(&self, n: usize) -> ShardId {
        let all = (0..self.placement.shards()).map(ShardId);
        let homes: Vec<_> = all.filter(|s| self.placement.takes_connections(*s)).collect();
        homes[n % homes.len()]
    }

    /// A new queue name whose owner is the nth shard, counted round, of those that own queues.
    pub(super) fn queue_on(&mut self, n: usize) -> String {
        let all = (0..self.placement.shards()).map(ShardId);
        let owners: Vec<_> = all.filter(|s| self.placement.owns_queues(*s)).collect();
        loop {
            self.names += 1;
            let name = format!("q{}", self.names);
            if self.placement.owner(VHOST, &name) == owners[n % owners.len()] {
                return name;
            }
        }
    }

    /// A connection on the nth shard where connections live.
    pub(super) fn connect(&mut self, n: usize) -> Client {
        self.connect_as(n, &identity(".*", ".*", ".*"))
    }

    pub(super) fn connect_as(&mut self, n: usize, who: &Identity) -> Client {
        self.connect_at(self.home(n), who)
    }

    /// A connection on just this shard.
    pub(super) fn connect_at(&mut self, shard: ShardId, who: &Identity) -> Client {
        self.connect_in(shard, who, VHOST).unwrap()
    }

    /// The same in any virtual host, if it may be entered.
    pub(super) fn connect_in(
        &mut self,
        shard: ShardId,
        who: &Identity,
        vhost: &str,
    ) -> Result<Client, Refusal> {
        let now = self.now;
        let broker = &mut self.brokers[usize::from(shard.0)];
        let at = broker.attach().unwrap();
        self.touched[usize::from(shard.0)] = true;
        if let Err(refusal) = broker.enter(at.connection, who, vhost) {
            broker.detach(at.connection, now);
            return Err(refusal);
        }
        self.by_connection.insert((shard, at.connection), self.seats.len());
        self.seats.push(Seat::new(at));
        Ok(Client(self.seats.len() - 1))
    }

    /// The broker of a client's shard, about to be called.
    pub(super) fn broker_of(&mut self, client: Client) -> &mut Broker {
        let shard = usize::from(self.seats[client.0].at.shard.0);
        self.touched[shard] = true;
        &mut self.brokers[shard]
    }

    /// One thing happens somewhere. False: there is nothing left to happen.
    pub(super) fn step(&mut self) -> bool {
        if self.machine.as_ref().is_some_and(Machine::is_cut) {
            return false;
        }
        // Counted and looked for again: this is called too often for lists.
        let lanes = self.lanes.iter().filter(|lane| !lane.is_empty()).count();
        let touched = self.touched.iter().filter(|touched| **touched).count();
        let disks = (0..self.brokers.len()).filter(|shard| self.has_disk_work(*shard)).count();
        if lanes + touched + disks == 0 {
            return false;
        }
        let pick = self.rng.below(lanes + touched + disks);
        if pick < lanes {
            let mut filled = self.lanes.iter().enumerate().filter(|(_, lane)| !lane.is_empty());
            let lane = filled.nth(pick).unwrap().0;
            let envelope = self.lanes[lane].pop_front().unwrap();
            let (from, to) = (lane / self.brokers.len(), lane % self.brokers.len());
            let from = ShardId(u16::try_from(from).unwrap());
            self.brokers[to].receive(from, envelope, self.now);
            self.touched[to] = true;
        } else if pick < lanes + touched {
            let mut all = self.touched.iter().enumerate().filter(|(_, touched)| **touched);
            let shard = all.nth(pick - lanes).unwrap().0;
            self.end_turn(shard);
        } else {
            let mut all = (0..self.brokers.len()).filter(|shard| self.has_disk_work(*shard));
            let shard = all.nth(pick - lanes - touched).unwrap();
            if self.machine.is_some() {
                self.step_disk(shard);
                return true;
            }
            let count = 1 + self.rng.below(self.undurable(shard));
            self.sync(shard, count);
        }
        true
    }

    fn has_disk_work(&self, shard: usize) -> bool {
        match &self.machine {
            Some(machine) => machine.has_work(shard),
            None => self.syncs && self.undurable(shard) > 0,
        }
    }

    /// A shard has something to do in a turn.
    pub(super) fn touch(&mut self, shard: usize) {
        self.touched[shard] = true;
    }

    /// From now on definitions are logged.
    pub(super) fn use_storage(&mut self) {
        for broker in &mut self.brokers {
            let storage = Storage::by_hand(broker.shard, broker.boot);
            broker.storage = Some(Box::new(storage));
        }
    }

    /// Records of a shard that a crash may lose.
    pub(super) fn undurable(&self, shard: usize) -> usize {
        let logged = self.brokers[shard].storage.as_ref().map(|storage| storage.logged());
        logged.map_or(0, |(records, durable)| records.len() - durable)
    }

    /// The next so many records of a shard become durable.
    pub(super) fn sync(&mut self, shard: usize, count: usize) {
        let Some(storage) = &self.brokers[shard].storage else { return };
        let upto = storage.logged().1 + count.min(self.undurable(shard));
        self.brokers[shard].durable(upto);
        self.touched[shard] = true;
    }

    /// All records of all shards become durable.
    pub(super) fn sync_all(&mut self) {
        (0..self.brokers.len()).for_each(|shard| self.sync(shard, usize::MAX));
    }

    pub(super) fn end_turn(&mut self, shard: usize) {
        self.touched[shard] = false;
        let shards = self.brokers.len();
        let (broker, lanes) = (&mut self.brokers[shard], &mut self.lanes);
        broker.end_turn(self.now);
        self.touched[shard] |= broker.has_more();
        if let Some(machine) = &mut self.machine {
            broker.flush_storage(self.now);
            broker.collect_jobs(|job| machine.begin(shard, job));
        }
        broker.collect(|to, envelope| {
            lanes[shard * shards + usize::from(to.0)].push_back(envelope);
        });
        let mut ready = Vec::new();
        broker.take_ready(&mut ready);
        let shard = ShardId(u16::try_from(shard).unwrap());
        for connection in ready {
            if let Some(seat) = self.by_connection.get(&(shard, connection)) {
                self.pump(Client(*seat));
            }
        }
    }

    /// Moves what waits for a client to its log, as its session would take it.
    pub(super) fn pump(&mut self, client: Client) {
        let seat = &mut self.seats[client.0];
        if !seat.open || !seat.reads {
            return;
        }
        let (at, drains, mut events) = (seat.at, seat.drains, Vec::new());
        let shard = usize::from(at.shard.0);
        self.brokers[shard].take_events(at.connection, &mut events);
        let late = self.seats[client.0].note(events);
        for delivery in late {
            self.give_back(client, &delivery);
        }
        if drains {
            self.brokers[shard].drained(at.connection);
            self.touched[shard] = true;
        }
    }

    /// Until nothing happens any more.
    pub(super) fn rest(&mut self) {
        for _ in 0..5_000_000 {
            if !self.step() {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// Time passes; what is due happens.
    pub(super) fn pass(&mut self, ms: u64) {
        self.rest();
        self.now.mono_ms += ms;
        self.now.wall_ms += ms;
        for _ in 0..10_000 {
            let now = self.now;
            let due =
                |broker: &mut Broker| broker.next_deadline().is_some_and(|d| d <= now.mono_ms);
            let Some(shard) = self.brokers.iter_mut().position(due) else { return };
            self.brokers[shard].on_time(now);
            self.touched[shard] = true;
            self.rest();
        }
        panic!("deadlines never end");
    }

    /// The socket of a client breaks: its session gives back what it has.
    pub(super) fn drop_connection(&mut self, client: Client) {
        let seat = &mut self.seats[client.0];
        if !std::mem::take(&mut seat.open) {
            return;
        }
        let at = seat.at;
        for held in std::mem::take(&mut seat.held) {
            self.give_back(client, &held);
        }
        let now = self.now;
        self.broker_of(client).detach(at.connection, now);
    }

    pub(super) fn give_back(&mut self, client: Client, held: &super::client::Held) {
        let (at, now) = (self.seats[client.0].at, self.now);
        let outcome = Outcome::Requeue { failed: true };
        let (which, counted) = ((held.queue, held.id), held.counted);
        let broker = self.broker_of(client);
        broker.settle(at.connection, held.channel, which, outcome, counted, now);
    }

    /// Everybody leaves, everything is deleted: nothing may be left anywhere.
    fn end(&mut self) {
        self.syncs = true;
        self.rest();
        self.audit();
        for client in (0..self.seats.len()).map(Client) {
            self.drop_connection(client);
        }
        self.rest();
        self.audit();
        self.forget_sessions();
        let admin = self.connect(0);
        let names: HashSet<Box<str>> =
            self.brokers.iter().flat_map(|b| b.vhosts[0].queues.keys().cloned()).collect();
        for name in names {
            let delete = Command::DeleteQueue { name, if_unused: false, if_empty: false };
            self.execute(admin, delete);
        }
        let exchanges: Vec<Box<str>> =
            self.brokers[0].vhosts[0].exchanges.keys().cloned().collect();
        for name in exchanges.into_iter().filter(|name| !name.starts_with("amq.")) {
            self.execute(admin, Command::DeleteExchange { name, if_unused: false });
        }
        self.drop_connection(admin);
        self.rest();
        self.audit();
        self.audit_empty();
    }

    pub(super) fn events(&self, client: Client) -> &[Event] {
        &self.seats[client.0].log
    }
}

pub(super) fn identity(configure: &str, write: &str, read: &str) -> Identity {
    const GUEST: &str = "UmluZ5mS4j6M3LeniS9RrNj1OHl+7xS5VnElz8P5tNz2+TN+";
    let permission = Permission {
        configure: Pattern::parse(configure).unwrap(),
        write: Pattern::parse(write).unwrap(),
        read: Pattern::parse(read).unwrap(),
    };
    let password = Some(PasswordHash::parse(GUEST, None).unwrap());
    let permissions = vec![(VHOST.into(), permission)];
    let user = User { name: "u".into(), password, tags: vec![], permissions };
    let loopback = std::net::Ipv4Addr::LOCALHOST.into();
    Users::new([user], None).login("u", b"guest", loopback).unwrap()
}

/// A property block for tests: lines of `name=value`.
const READER: PropertyReader = PropertyReader {
    headers: |block| {
        let text = std::str::from_utf8(block).unwrap_or_default();
        let pair = |line: &str| {
            let (name, value) = line.split_once('=')?;
            let value = value.parse().map_or_else(|_| Value::text(value), Value::I64);
            Some((name.into(), value))
        };
        Table(text.lines().filter_map(pair).collect())
    },
    property: |_, _| None,
    topic: |block| {
        let text = std::str::from_utf8(block).unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix("topic=")).map(Into::into)
    },
    neutral: |_| crate::properties::Properties::default(),
};
