//! Messages that wait for their time on nodes that crash: what was confirmed comes, when it is due
//! and not before, on whatever number of shards the next node has.

use std::collections::{BTreeMap, BTreeSet};

use ringmq_shards::log::Lsn;
use ringmq_shards::sim::{Faults, SimDisk};

use super::client::*;
use super::cluster::{Cluster, Rng, Shape};
use super::disk_machine::start;
use crate::broker::Sizes;
use crate::command::{Event, Now, Publish, Published};
use crate::ids::PublishSeq;
use crate::message::Traits;
use crate::value::Value;

const SEEDS: u64 = 100;
const EXCHANGES: [&str; 3] = ["later0", "later1", "later2"];
const QUEUES: [&str; 3] = ["due0", "due1", "due2"];

/// Says how to find a seed that failed again.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with seed {}", self.0);
        }
    }
}

/// A message as its publisher knows it.
#[derive(Debug)]
struct Sent {
    due_ms: u64,
    confirmed: bool,
    came: bool,
}

/// One node after the other on one disk.
struct History {
    rng: Rng,
    disk: SimDisk,
    sizes: Sizes,
    now: Now,
    sent: BTreeMap<u64, Sent>,
    asked: BTreeMap<u64, u64>,
}

fn delayed_exchange(name: &str) -> crate::command::Command {
    durable(exchange(name, "x-delayed-message", &[("x-delayed-type", Value::text("direct"))]))
}

/// A body begins with a number.
fn number_of(body: &str) -> u64 {
    body.split(' ').next().unwrap().parse().unwrap()
}

impl History {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let sizes = Sizes {
            log_file_bytes: 16 << 10,
            log_bytes_max: 64 << 10,
            segment_bytes: 16 << 10,
            queue_memory_max: 16 << 10,
        };
        Self {
            disk: SimDisk::new(rng.next(), Faults::none()),
            rng,
            sizes,
            now: Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 },
            sent: BTreeMap::new(),
            asked: BTreeMap::new(),
        }
    }

    fn shape(&mut self) -> Shape {
        let shards = u16::try_from(1 + self.rng.below(4)).unwrap();
        let apart = shards > 1 && self.rng.below(3) == 0;
        Shape { shards, apart, seed: self.rng.next(), memory_bytes_max: u64::MAX }
    }

    /// The next node; starts may end early, too.
    fn start(&mut self) -> Cluster {
        self.asked.clear();
        for _ in 0..100 {
            let shape = self.shape();
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

    fn furnish(c: &mut Cluster) {
        let client = c.connect(0);
        for (name, to) in EXCHANGES.iter().zip(QUEUES) {
            c.done(client, delayed_exchange(name));
            c.done(client, durable(queue(to, &[])));
            c.done(client, bind(to, name, "k"));
        }
        c.drop_connection(client);
    }

    fn publish(&mut self, c: &mut Cluster, client: Client) {
        let id = self.sent.len() as u64 + 1;
        let delay_ms = 1 + self.rng.below(600) as u64;
        let due_ms = c.now.wall_ms + delay_ms;
        let filling = "x".repeat(self.rng.below(1_500));
        let body = format!("{id} {filling}");
        let block = format!("x-delay={delay_ms}");
        let usual = publish(EXCHANGES[self.rng.below(3)], "k", &body);
        let traits = Traits { persistent: true, ..usual.traits };
        let seq = Some(PublishSeq(id));
        let delayed = Publish { properties: block.as_bytes(), traits, seq, ..usual };
        let confirmed = match c.send(client, &delayed).unwrap() {
            Published::Stored => panic!("it is confirmed before it is on the disk"),
            Published::Pending => false,
            other => panic!("{other:?}"),
        };
        self.sent.insert(id, Sent { due_ms, confirmed, came: false });
        self.asked.insert(id, id);
    }

    fn hear(&mut self, c: &mut Cluster, clients: &[Client]) {
        for client in clients {
            for event in std::mem::take(&mut c.seats[client.0].log) {
                let Event::Stored { seq, accepted, .. } = event else { panic!("{event:?}") };
                assert!(accepted);
                let id = self.asked.remove(&seq.0).expect("it is confirmed twice");
                self.sent.get_mut(&id).unwrap().confirmed = true;
            }
        }
    }

    /// A node takes messages until it ends somewhere.
    fn live(&mut self, c: &mut Cluster, acts: usize) {
        let clients: Vec<Client> = (0..3).map(|n| c.connect(n)).collect();
        for _ in 0..acts {
            if c.is_cut() {
                break;
            }
            match self.rng.below(4) {
                0 => {
                    let ms = self.rng.below(80) as u64;
                    c.pass(ms);
                }
                1 => {
                    for _ in 0..self.rng.below(40) {
                        c.step();
                    }
                }
                _ => {
                    let client = clients[self.rng.below(3)];
                    self.publish(c, client);
                }
            }
            self.hear(c, &clients);
        }
        self.hear(c, &clients);
        self.now = c.now;
        self.cut();
    }

    /// Takes what has come; only on a disk that does not end.
    fn take(&mut self, c: &mut Cluster) -> usize {
        let client = c.connect(0);
        let mut count = 0;
        for queue in QUEUES {
            for body in c.drain(client, queue) {
                let sent = self.sent.get_mut(&number_of(&body)).expect("it was never sent");
                assert!(sent.due_ms <= c.now.wall_ms, "{body} comes early");
                sent.came = true;
                count += 1;
            }
        }
        c.drop_connection(client);
        count
    }
}

#[test]
fn what_was_confirmed_comes_when_it_is_due_after_any_crash() {
    let (mut confirmed, mut again) = (0, 0);
    for seed in 1..=SEEDS {
        let _told = Told(seed);
        let mut history = History::new(seed);
        let mut c = history.start();
        History::furnish(&mut c);
        for _ in 0..2 + history.rng.below(4) {
            if history.rng.below(2) == 0 {
                again += history.take(&mut c);
            }
            if history.rng.below(2) == 0 {
                let count = 1 + history.rng.below(300) as u64;
                history.disk.crash_at(count);
            }
            let acts = history.rng.below(200);
            history.live(&mut c, acts);
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
        c.pass(1_000);
        assert!(c.settle_down());
        again += history.take(&mut c);
        for (id, sent) in &history.sent {
            assert!(sent.came || !sent.confirmed, "{id} is lost: {sent:?}");
            confirmed += usize::from(sent.confirmed);
        }
        assert!(c.settle_down());
        let waiting: usize = c.brokers.iter().map(|b| b.delayed.waiting.len()).sum();
        let bytes: u64 = c.brokers.iter().map(|b| b.delayed.logged_bytes).sum();
        assert_eq!((waiting, bytes), (0, 0));
        history.now = c.now;
        history.disk.crash();
        let mut c = history.start();
        c.pass(1_000);
        assert_eq!(history.take(&mut c), 0, "what has come and is settled comes again");
    }
    eprintln!("{confirmed} confirmed messages came, {again} deliveries in all");
}

/// Turns without work write nothing, but for a few at first.
fn rests(c: &mut Cluster) {
    let records = |c: &Cluster| -> Vec<Lsn> {
        c.brokers.iter().map(|b| b.storage.as_ref().unwrap().last_record()).collect()
    };
    let turns = |c: &mut Cluster| {
        for _ in 0..100 {
            (0..c.brokers.len()).for_each(|shard| c.touch(shard));
            c.pass(10);
        }
    };
    turns(c);
    let before = records(c);
    turns(c);
    assert_eq!(records(c), before, "the log is written without need");
}

/// More wait than the log is to hold: it becomes as long as that and no more, and it rests.
#[test]
fn a_log_that_is_full_of_waiting_messages_is_not_written_round_and_round() {
    let mut history = History::new(1);
    let mut c = history.start();
    History::furnish(&mut c);
    let client = c.connect(0);
    let filling = "x".repeat(1_000);
    let mut ids = BTreeSet::new();
    for id in 0..600_u64 {
        let (body, block) = (format!("{id} {filling}"), b"x-delay=1000000");
        let usual = publish(EXCHANGES[0], "k", &body);
        let traits = Traits { persistent: true, ..usual.traits };
        assert_eq!(c.fate(client, Publish { properties: block, traits, ..usual }), Fate::Stored);
        ids.insert(id);
    }
    assert!(c.settle_down());
    rests(&mut c);
    for n in 0..3 {
        history.now = c.now;
        history.disk.crash();
        c = history.start();
        assert!(c.settle_down(), "start {n}");
        rests(&mut c);
    }
    c.pass(1_000_000);
    assert!(c.settle_down());
    let client = c.connect(0);
    let came: Vec<u64> = c.drain(client, QUEUES[0]).iter().map(|body| number_of(body)).collect();
    assert!(came.iter().copied().eq(ids), "in the order they were sent: {came:?}");
    assert!(c.settle_down());
}

#[test]
fn only_persistent_messages_of_durable_exchanges_outlive_the_process() {
    let mut history = History::new(2);
    let mut c = history.start();
    History::furnish(&mut c);
    let client = c.connect(0);
    let kind = [("x-delayed-type", Value::text("direct"))];
    c.done(client, exchange("fleeting", "x-delayed-message", &kind));
    c.done(client, bind(QUEUES[0], "fleeting", "k"));
    for (name, persistent, body) in
        [("fleeting", true, "1"), (EXCHANGES[0], false, "2"), (EXCHANGES[0], true, "3")]
    {
        let usual = publish(name, "k", body);
        let traits = Traits { persistent, ..usual.traits };
        let keys: [&str; 2] = ["more", "keys"];
        let delayed = Publish { properties: b"x-delay=500", traits, extra_keys: &keys, ..usual };
        assert_eq!(c.fate(client, delayed), Fate::Stored);
    }
    c.done(client, bind(QUEUES[1], EXCHANGES[0], "keys"));
    history.now = c.now;
    history.disk.crash();
    let mut c = history.start();
    c.pass(499);
    let client = c.connect(0);
    assert!(c.drain(client, QUEUES[0]).is_empty());
    c.pass(1);
    assert_eq!(c.drain(client, QUEUES[0]), ["3"]);
    assert_eq!(c.drain(client, QUEUES[1]), ["3"]);
}

#[test]
fn messages_of_an_exchange_that_was_deleted_do_not_wait_for_the_next_of_its_name() {
    for kills in [true, false] {
        let mut history = History::new(3);
        let mut c = history.start();
        History::furnish(&mut c);
        let client = c.connect(0);
        for name in [EXCHANGES[0], EXCHANGES[1]] {
            let usual = publish(name, "k", name);
            let traits = Traits { persistent: true, ..usual.traits };
            let delayed = Publish { properties: b"x-delay=500", traits, ..usual };
            assert_eq!(c.fate(client, delayed), Fate::Stored);
        }
        c.done(client, delete_exchange(EXCHANGES[0]));
        c.done(client, delayed_exchange(EXCHANGES[0]));
        c.done(client, bind(QUEUES[0], EXCHANGES[0], "k"));
        if kills {
            history.now = c.now;
            history.disk.kill();
            c = history.start();
        }
        c.pass(1_000);
        let client = c.connect(0);
        assert!(c.drain(client, QUEUES[0]).is_empty());
        assert_eq!(c.drain(client, QUEUES[1]), [EXCHANGES[1]]);
    }
}
