//! Retained messages on nodes that stop, crash and start with other numbers of shards: what was
//! confirmed is there and what was confirmed gone is not.

use std::collections::{BTreeMap, BTreeSet};

use ringmq_shards::sim::{Faults, SimDisk};

use super::client::*;
use super::cluster::{Cluster, Rng, Shape, Told};
use super::disk_machine::{Started, start};
use super::retained::{Found, message, shape};
use crate::broker::Sizes;
use crate::command::{Answer, Command, Now, Published};
use crate::ids::VhostId;
use crate::subscriber::RetainedCursor;

const SIZES: Sizes = Sizes {
    log_file_bytes: 64 << 10,
    log_bytes_max: 256 << 10,
    segment_bytes: 16 << 10,
    queue_memory_max: 4 << 10,
};

/// So many topics that two of the parts hold them all, so that those have more than memory takes.
fn crowded(count: usize) -> Vec<String> {
    let c = Cluster::new(shape((1, false), 1));
    let topics = (0..).map(|n| format!("t/{}/{n}", n % 10));
    topics.filter(|topic| c.brokers[0].part_of(VhostId(0), topic) < 2).take(count).collect()
}

/// A node on a disk, and the time at which the next one starts.
struct Disk {
    files: SimDisk,
    now: Now,
}

impl Disk {
    fn new(seed: u64) -> Self {
        let now = Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 };
        Self { files: SimDisk::new(seed, Faults::none()), now }
    }

    fn start(&self, shape: Shape) -> Cluster {
        let started = start(shape, &self.files, (SIZES, 0), self.now);
        let Started { mut cluster, report, .. } = started.unwrap();
        assert_eq!(report.lost, 0, "{:?}", report.findings);
        cluster.pass(0);
        cluster
    }

    /// In order.
    fn stop(&mut self, mut cluster: Cluster) {
        assert!(cluster.stop());
        self.now = cluster.now;
        self.files.kill();
    }

    /// The power goes, or only the process: what is not durable may be lost.
    fn crash(&mut self, cluster: &Cluster, power: bool) {
        self.now = cluster.now;
        if power { self.files.crash() } else { self.files.kill() }
    }
}

#[test]
fn a_restart_with_other_shards_finds_all_of_them() {
    let topics = crowded(1_000);
    for seed in 1..=3 {
        let mut disk = Disk::new(seed);
        let mut expected = Found::new();
        for (boot, node) in [(3, false), (1, false), (5, true), (2, false)].into_iter().enumerate()
        {
            let shape = shape(node, seed + boot as u64);
            let _told = Told(shape);
            let mut c = disk.start(shape);
            let client = c.connect(0);
            assert_eq!(c.read(client, "#"), expected, "boot {boot}");
            for n in 0..600 {
                let n = (n * 7 + boot * 150) % 1_000;
                let (topic, body) = (topics[n].clone(), format!("{boot} {n:0>200}"));
                if n % 4 == 3 {
                    c.retain_as(client, &message(&topic, "", None));
                    expected.remove(&topic);
                } else {
                    c.retain_as(client, &message(&topic, &body, None));
                    expected.insert(topic, body);
                }
                for _ in 0..4 {
                    c.step();
                }
            }
            assert_eq!(c.read(client, "#"), expected, "boot {boot}");
            for _ in 0..5 {
                c.pass(60);
            }
            disk.stop(c);
        }
    }
}

/// Reads and writes before everything from before the restart is known.
#[test]
fn whoever_comes_while_parts_are_loaded_sees_the_latest() {
    let topics = crowded(800);
    for seed in 1..=3 {
        let mut disk = Disk::new(seed);
        let shape = shape((2, false), seed);
        let _told = Told(shape);
        let mut c = disk.start(shape);
        let client = c.connect(0);
        let mut expected = Found::new();
        for (n, topic) in topics.iter().enumerate() {
            let (topic, body) = (topic.clone(), format!("{n:0>200}"));
            c.retain_as(client, &message(&topic, &body, None));
            expected.insert(topic, body);
        }
        disk.stop(c);
        let started = start(shape, &disk.files, (SIZES, 0), disk.now);
        let mut c = started.unwrap().cluster;
        let (writer, reader) = (c.connect(0), c.connect(1));
        let all = Command::ReadRetained {
            filter: "#".into(),
            pattern: None,
            from: RetainedCursor::default(),
            bytes_max: 100,
        };
        c.start(reader, ONE, all);
        for (n, topic) in topics.iter().enumerate() {
            let topic = topic.clone();
            match n % 3 {
                0 => {
                    c.retain_as(writer, &message(&topic, "", None));
                    expected.remove(&topic);
                }
                1 => {
                    c.retain_as(writer, &message(&topic, "new", None));
                    expected.insert(topic, "new".into());
                }
                _ => {}
            }
            if n % 40 == 0 {
                c.step();
            }
        }
        c.pass(0);
        let Answer::RetainedRead { next: Some(_) } = c.finish(reader, ONE) else { panic!() };
        c.seats[reader.0].log.clear();
        assert_eq!(c.read(reader, "#"), expected);
        for _ in 0..5 {
            c.pass(60);
        }
        disk.stop(c);
        let mut c = disk.start(shape);
        let reader = c.connect(1);
        assert_eq!(c.read(reader, "#"), expected);
    }
}

/// A message that was published; without a body: a removal.
#[derive(Debug, Clone, Default, PartialEq)]
struct Said {
    body: String,
    expires: bool,
}

impl Said {
    /// Whether this is what there is.
    fn is(&self, body: &str) -> bool {
        self.body == body || (self.expires && body.is_empty())
    }
}

/// What a crash may leave of a topic: what was confirmed last, or something that came later.
#[derive(Debug, Default)]
struct Topic {
    confirmed: Said,
    open: Vec<(u64, Said)>,
}

impl Topic {
    /// In the order of their one publisher: the last one that was confirmed.
    fn hear(&mut self, heard: &BTreeSet<u64>) {
        if let Some(last) = self.open.iter().rposition(|(seq, _)| heard.contains(seq)) {
            self.confirmed = self.open[last].1.clone();
            self.open.drain(..=last);
        }
    }

    /// What is there after a crash is from now on all there is.
    fn find(&mut self, body: &str) -> bool {
        let open = self.open.iter().map(|(_, said)| said);
        let Some(said) = open.chain([&self.confirmed]).find(|said| said.is(body)) else {
            return false;
        };
        let said = if body.is_empty() { Said::default() } else { said.clone() };
        *self = Self { confirmed: said, open: Vec::new() };
        true
    }
}

/// A node publishes for a while, until it stops or is cut.
fn publish_some(
    c: &mut Cluster,
    rng: &mut Rng,
    names: &[String],
    all: &mut BTreeMap<String, Topic>,
) {
    let client = c.connect(0);
    for n in 0..rng.below(400) {
        if c.is_cut() {
            break;
        }
        let name = &names[rng.below(names.len())];
        let body = if rng.below(3) == 0 { String::new() } else { format!("{n:0>300}") };
        let expires = !body.is_empty() && rng.below(6) == 0;
        let said = Said { body: format!("{body}{}", rng.next()), expires };
        let said = if body.is_empty() { Said::default() } else { said };
        c.keys += 1;
        let seq = u64::from(c.keys);
        let mut message = message(name, &said.body, Some(seq));
        message.traits.expiration_ms = said.expires.then_some(50);
        let published = c.retain_as(client, &message);
        let topic = all.entry(name.clone()).or_default();
        topic.open.push((seq, said));
        if published == Published::Stored {
            topic.hear(&BTreeSet::from([seq]));
        }
        for _ in 0..rng.below(12) {
            c.step();
        }
        if rng.below(30) == 0 {
            c.pass(60);
        }
    }
    let heard = c.heard(client);
    all.values_mut().for_each(|topic| topic.hear(&heard));
}

#[test]
fn what_was_confirmed_is_there_after_a_crash_and_what_was_confirmed_gone_is_not() {
    let names = crowded(60);
    for seed in disk_seeds(60) {
        let mut rng = Rng::new(seed);
        let mut disk = Disk::new(seed);
        let mut topics: BTreeMap<String, Topic> = BTreeMap::new();
        for boot in 0..5 {
            let shards = u16::try_from(1 + rng.below(4)).unwrap();
            let shape = shape((shards, shards > 1 && rng.below(3) == 0), rng.next());
            let _told = Told(Shape { seed, ..shape });
            let mut c = disk.start(shape);
            let client = c.connect(0);
            let there = c.read(client, "#");
            for (name, topic) in &mut topics {
                let body = there.get(name).map_or("", String::as_str);
                assert!(topic.find(body), "seed {seed} boot {boot} {name}: {body}, not {topic:?}");
            }
            assert!(there.keys().all(|name| topics.contains_key(name)), "seed {seed}");
            if rng.below(2) == 0 {
                disk.files.crash_at(1 + rng.below(300) as u64);
            }
            publish_some(&mut c, &mut rng, &names, &mut topics);
            disk.crash(&c, rng.below(4) > 0);
        }
    }
}

/// More or others where somebody looks for them.
fn disk_seeds(count: u64) -> std::ops::RangeInclusive<u64> {
    let number = |name| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    match number("RINGMQ_DISK_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("RINGMQ_DISK_SEEDS").unwrap_or(count),
    }
}

/// Topics that never change between others that always do: without care each would keep its segment.
#[test]
fn segments_with_little_left_in_them_go() {
    let mut disk = Disk::new(5);
    let shape = shape((1, false), 5);
    let _told = Told(shape);
    let names = crowded(400);
    let mut c = disk.start(shape);
    let client = c.connect(0);
    let mut expected = Found::new();
    let is_segment = |name: &str| name.contains("/seg.");
    let mut most = 0;
    for round in 0..200 {
        for (n, name) in names.iter().enumerate() {
            // Half of them are published only once, each in a round of its own.
            if n.is_multiple_of(2) && n / 2 != round {
                continue;
            }
            let body = format!("{round} {n:0>100}");
            c.retain_as(client, &message(name, &body, None));
            expected.insert(name.clone(), body);
        }
        for _ in 0..4 {
            c.pass(60);
        }
        most = most.max(disk.files.files().iter().filter(|(name, _)| is_segment(name)).count());
    }
    // They hold some 80 KiB in segments of 16.
    assert!((4..60).contains(&most), "{most} segments");
    assert_eq!(c.read(client, "#"), expected);
    disk.stop(c);
    let mut c = disk.start(shape);
    let client = c.connect(0);
    assert_eq!(c.read(client, "#"), expected);
}
