//! What sessions remember besides messages, on nodes that crash: a number that was reported held is
//! there, one that was reported let go is not, and what was received is not sent again.
//!
//! May import the cluster, its clients and the simulated disk.

use std::collections::BTreeMap;

use ringmq_shards::sim::{Faults, SimDisk};

use super::client::*;
use super::cluster::{Cluster, Rng, Shape};
use super::disk::on_seeds;
use super::disk_machine::start;
use crate::broker::Sizes;
use crate::broker::queue::store::{Position, Read};
use crate::command::{Event, Now, Published};
use crate::ids::{DeliveryId, PublishSeq, QueueId, QueueRef};
use crate::value::Value;

const SEEDS: u64 = 100;
const SESSIONS: [&str; 3] = ["session0", "session1", "session2"];
const NUMBERS: usize = 12;

/// What something can be after a crash: what it was when that was last reported, or whatever it
/// became since.
#[derive(Debug, Clone)]
struct Possible(Vec<(u64, bool)>);

impl Possible {
    fn only(value: bool) -> Self {
        Self(vec![(0, value)])
    }

    fn becomes(&mut self, seq: u64, value: bool) {
        self.0.push((seq, value));
    }

    fn reported(&mut self, seq: u64) {
        let place = self.0.iter().position(|(known, _)| *known == seq);
        // A later one was reported before.
        if let Some(place) = place {
            self.0.drain(..place);
        }
    }

    fn found(&mut self, value: bool) -> bool {
        let may_be = self.0.iter().any(|(_, possible)| *possible == value);
        *self = Self::only(value);
        may_be
    }

    fn now(&self) -> bool {
        self.0.last().unwrap().1
    }
}

/// What a report is about.
#[derive(Debug, Clone, Copy)]
enum About {
    Number(usize, u16),
    Message(usize, u64),
}

/// A message of a session.
#[derive(Debug, Clone, Default)]
struct Sent {
    received: bool,
    /// It was reported that it is.
    surely: bool,
    ended: bool,
    over: bool,
}

/// One node after the other on one disk.
struct History {
    rng: Rng,
    disk: SimDisk,
    sizes: Sizes,
    now: Now,
    numbers: Vec<Vec<Possible>>,
    messages: Vec<BTreeMap<u64, Sent>>,
    asked: BTreeMap<u64, About>,
    seq: u64,
    reports: u64,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let sizes = Sizes {
            log_file_bytes: 16 << 10,
            log_bytes_max: 64 << 10,
            segment_bytes: 8 << 10,
            queue_memory_max: (4 << 10) << rng.below(4),
        };
        Self {
            disk: SimDisk::new(rng.next(), Faults::none()),
            rng,
            sizes,
            now: Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 },
            numbers: vec![vec![Possible::only(false); NUMBERS]; SESSIONS.len()],
            messages: vec![BTreeMap::new(); SESSIONS.len()],
            asked: BTreeMap::new(),
            seq: 0,
            reports: 0,
        }
    }

    /// The next node; starts may end early, too.
    fn start(&mut self) -> Cluster {
        self.asked.clear();
        for _ in 0..100 {
            let shards = u16::try_from(1 + self.rng.below(4)).unwrap();
            let seed = self.rng.next();
            let shape = Shape { shards, apart: false, seed, memory_bytes_max: u64::MAX };
            match start(shape, &self.disk, (self.sizes, 0), self.now) {
                Ok(started) => {
                    assert_eq!(started.report.lost, 0, "{:?}", started.report.findings);
                    return started.cluster;
                }
                Err(error) => {
                    assert!(self.disk.is_cut(), "recovery fails: {error}");
                    self.cut();
                }
            }
        }
        panic!("it never starts");
    }

    /// The process ends in the middle of something.
    fn cut(&mut self) {
        if self.rng.below(2) == 0 { self.disk.kill() } else { self.disk.crash() }
    }

    fn next(&mut self, about: About) -> PublishSeq {
        self.seq += 1;
        self.asked.insert(self.seq, about);
        PublishSeq(self.seq)
    }

    /// What a node that has just started knows.
    fn look(&mut self, c: &mut Cluster) {
        for session in 0..SESSIONS.len() {
            let (shard, queue) = place(c, session);
            let store = c.brokers[shard].queues.get_mut(queue).unwrap().queue.store_mut();
            let held = store.receipts();
            assert!(held.iter().all(|number| usize::from(*number) < NUMBERS), "{held:?}");
            for (number, possible) in self.numbers[session].iter_mut().enumerate() {
                let there = held.contains(&u16::try_from(number).unwrap());
                let shown = format!("{number} of session {session}: {possible:?}");
                assert!(possible.found(there), "held: {there}, but {shown}");
            }
            let received = store.received_positions();
            assert!(received.is_sorted(), "{received:?}");
            if self.map_all(c, session) {
                self.look_at_messages(c, session, &received);
            }
        }
    }

    /// What lies in segments is known when they are mapped. False: the process has ended.
    fn map_all(&self, c: &mut Cluster, session: usize) -> bool {
        let (shard, queue) = place(c, session);
        for _ in 0..100 {
            let store = c.brokers[shard].queues.get_mut(queue).unwrap().queue.store_mut();
            let all = self.messages[session].keys();
            let later = |at: &&u64| store.read(Position::new(**at)) == Read::Later;
            if all.filter(later).count() == 0 {
                return true;
            }
            c.touch(shard);
            c.rest();
            if c.is_cut() {
                return false;
            }
        }
        panic!("segments are never mapped");
    }

    fn look_at_messages(&mut self, c: &mut Cluster, session: usize, received: &[Position]) {
        let (shard, queue) = place(c, session);
        let store = c.brokers[shard].queues.get_mut(queue).unwrap().queue.store_mut();
        for at in received {
            assert!(self.messages[session].contains_key(&at.get()), "{at:?} was never sent");
        }
        for (at, sent) in &mut self.messages[session] {
            let at = Position::new(*at);
            let read = store.read(at);
            assert_ne!(read, Read::Later);
            let (there, noted) = (read != Read::Gone, received.contains(&at));
            let shown = format!("{at:?} of session {session}: {sent:?}");
            assert!(there || !noted, "what is gone counts as received: {shown}");
            assert!(!noted || sent.received, "it was never received: {shown}");
            assert!(!there || noted || !sent.surely, "it is sent again: {shown}");
            assert!(!there || !sent.over, "it comes back: {shown}");
            (sent.received, sent.surely) = (noted, noted);
            (sent.ended, sent.over) = (!there, !there);
        }
    }

    fn clients(c: &mut Cluster) -> Vec<Client> {
        let mut clients = Vec::new();
        for session in 0..SESSIONS.len() {
            let (shard, queue) = place(c, session);
            let client = c.connect(shard);
            let connection = c.seats[client.0].at.connection;
            c.broker_of(client).session_queues.insert(connection, queue);
            clients.push(client);
        }
        clients
    }

    fn number(&mut self, c: &mut Cluster, client: Client, session: usize) {
        let number = self.rng.below(NUMBERS);
        let possible = &mut self.numbers[session][number];
        // Now and then again what was said before.
        let held = if self.rng.below(6) == 0 { possible.now() } else { !possible.now() };
        let wire = u16::try_from(number).unwrap();
        let seq = self.next(About::Number(session, wire));
        self.numbers[session][number].becomes(seq.0, held);
        let connection = c.seats[client.0].at.connection;
        let broker = c.broker_of(client);
        let published = if held {
            broker.hold_receipt(connection, ONE, wire, Some(seq))
        } else {
            broker.drop_receipt(connection, ONE, wire, Some(seq))
        };
        assert_eq!(published, Published::Pending);
    }

    fn publish(&mut self, c: &mut Cluster, client: Client, session: usize) {
        let (shard, queue) = place(c, session);
        let entry = c.brokers[shard].queues.get_mut(queue).unwrap();
        let at = entry.queue.store_mut().tail().get();
        let body = "x".repeat(self.rng.below(1_500));
        let mut publish = publish("", SESSIONS[session], &body);
        publish.traits.persistent = true;
        assert_eq!(c.send(client, &publish), Ok(Published::Stored));
        self.messages[session].insert(at, Sent::default());
    }

    /// A message that is not done with.
    fn some_message(&mut self, session: usize) -> Option<u64> {
        let only_surely = self.rng.below(2) == 0;
        let there = self.messages[session].iter();
        let there = there.filter(|(_, sent)| !sent.ended && (sent.surely || !only_surely));
        let there: Vec<u64> = there.map(|(at, _)| *at).collect();
        (!there.is_empty()).then(|| there[self.rng.below(there.len())])
    }

    fn receive(&mut self, c: &mut Cluster, client: Client, session: usize) {
        let Some(at) = self.some_message(session) else { return };
        let (shard, queue) = place(c, session);
        let store = c.brokers[shard].queues.get_mut(queue).unwrap().queue.store_mut();
        store.received(Position::new(at));
        self.messages[session].get_mut(&at).unwrap().received = true;
        let seq = self.next(About::Message(session, at));
        let (connection, now) = (c.seats[client.0].at.connection, c.now);
        let shard = c.seats[client.0].at.shard;
        // The store was told by hand: this is a delivery that the queue does not know.
        let which = (QueueRef { shard, queue }, DeliveryId(u64::MAX));
        let broker = c.broker_of(client);
        let published = broker.settle_received(connection, ONE, which, Some(seq), now);
        assert_eq!(published, Published::Pending);
    }

    fn settle(&mut self, c: &mut Cluster, session: usize) {
        let Some(at) = self.some_message(session) else { return };
        let (shard, queue) = place(c, session);
        let store = c.brokers[shard].queues.get_mut(queue).unwrap().queue.store_mut();
        if self.rng.below(5) > 0 {
            store.settle(Position::new(at));
            self.messages[session].get_mut(&at).unwrap().ended = true;
        } else {
            let to = at + 1 + self.rng.below(4) as u64;
            store.settle_run(Position::new(at), Position::new(to));
            let gone = self.messages[session].range_mut(at..to);
            gone.for_each(|(_, sent)| sent.ended = true);
        }
        c.touch(shard);
    }

    fn hear(&mut self, c: &mut Cluster, clients: &[Client]) {
        for client in clients {
            for event in std::mem::take(&mut c.seats[client.0].log) {
                let Event::Stored { seq, accepted, .. } = event else { panic!("{event:?}") };
                assert!(accepted);
                self.reports += 1;
                match self.asked.remove(&seq.0).expect("it is reported twice") {
                    About::Number(session, number) => {
                        self.numbers[session][usize::from(number)].reported(seq.0);
                    }
                    About::Message(session, at) => {
                        self.messages[session].get_mut(&at).unwrap().surely = true;
                    }
                }
            }
        }
    }

    /// A node works until it ends somewhere.
    fn live(&mut self, c: &mut Cluster, acts: usize) {
        self.look(c);
        let clients = Self::clients(c);
        for _ in 0..acts {
            if c.is_cut() {
                break;
            }
            let session = self.rng.below(SESSIONS.len());
            let client = clients[session];
            match self.rng.below(16) {
                0 => c.pass(self.rng.below(80) as u64),
                1..=3 => {
                    for _ in 0..self.rng.below(40) {
                        c.step();
                    }
                }
                4 if self.rng.below(4) == 0 && c.settle_down() => {
                    for sent in self.messages.iter_mut().flat_map(BTreeMap::values_mut) {
                        sent.over = sent.ended;
                    }
                }
                4..=6 => self.number(c, client, session),
                7..=9 => self.receive(c, client, session),
                10 | 11 => self.settle(c, session),
                _ => self.publish(c, client, session),
            }
            self.hear(c, &clients);
        }
        self.hear(c, &clients);
        self.now = c.now;
    }
}

/// The shard of a session, and its queue there.
fn place(c: &Cluster, session: usize) -> (usize, QueueId) {
    let name = SESSIONS[session];
    let shard = usize::from(c.owner_of(name));
    (shard, c.brokers[shard].vhosts[0].queues[name])
}

fn furnish(c: &mut Cluster) {
    let client = c.connect(0);
    for name in SESSIONS {
        c.done(client, durable(queue(name, &[("x-queue-type", Value::text("quorum"))])));
    }
    c.drop_connection(client);
}

/// How many reports there were.
pub(super) fn remember_and_crash(seed: u64) -> u64 {
    let mut history = History::new(seed);
    let mut c = history.start();
    furnish(&mut c);
    for _ in 0..3 + history.rng.below(4) {
        if history.rng.below(2) == 0 {
            let count = 1 + history.rng.below(300) as u64;
            history.disk.crash_at(count);
        }
        let acts = history.rng.below(250);
        history.live(&mut c, acts);
        history.cut();
        if history.rng.below(3) == 0 {
            let count = 1 + history.rng.below(60) as u64;
            history.disk.crash_at(count);
        }
        c = history.start();
        // The next node may be there before the one that is to end early.
        if c.is_cut() {
            history.cut();
            c = history.start();
        }
        history.disk.crash_at(u64::MAX);
    }
    // All earlier files go, and nothing with them.
    history.look(&mut c);
    assert!(c.settle_down());
    history.now = c.now;
    history.disk.crash();
    let mut c = history.start();
    for numbers in &mut history.numbers {
        numbers.iter_mut().for_each(|possible| *possible = Possible::only(possible.now()));
    }
    history.look(&mut c);
    history.reports
}

#[test]
fn what_was_reported_of_numbers_and_received_messages_outlives_any_crash() {
    let mut reports = 0;
    on_seeds(SEEDS, |seed| reports += remember_and_crash(seed));
    eprintln!("{reports} reports");
}

#[test]
fn numbers_do_not_outlive_the_session_of_that_name() {
    let mut history = History::new(1);
    let mut c = history.start();
    furnish(&mut c);
    let clients = History::clients(&mut c);
    let connection = c.seats[clients[0].0].at.connection;
    let broker = c.broker_of(clients[0]);
    assert_eq!(broker.hold_receipt(connection, ONE, 7, None), Published::Stored);
    c.done(clients[0], delete_queue(SESSIONS[0]));
    c.done(clients[0], durable(queue(SESSIONS[0], &[("x-queue-type", Value::text("quorum"))])));
    assert!(c.settle_down());
    history.now = c.now;
    history.disk.crash();
    let mut c = history.start();
    history.look(&mut c);
}

#[test]
fn a_connection_without_a_session_that_lasts_waits_for_nothing() {
    let mut history = History::new(1);
    let mut c = history.start();
    let client = c.connect(0);
    c.done(client, queue("short", &[]));
    let owner = usize::from(c.owner_of("short"));
    let client = c.connect(owner);
    let connection = c.seats[client.0].at.connection;
    let queue = c.brokers[owner].vhosts[0].queues["short"];
    let broker = c.broker_of(client);
    for known in [false, true] {
        if known {
            broker.session_queues.insert(connection, queue);
        }
        let seq = Some(PublishSeq(1));
        assert_eq!(broker.hold_receipt(connection, ONE, 7, seq), Published::Stored);
        assert_eq!(broker.drop_receipt(connection, ONE, 8, seq), Published::Stored);
    }
    let store = broker.queues.get_mut(queue).unwrap().queue.store_mut();
    assert_eq!(store.receipts(), [7]);
}
