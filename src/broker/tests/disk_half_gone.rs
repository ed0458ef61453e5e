//! An exchange that is being deleted when the power goes: the keeper's disk does not know of it yet,
//! those of the others have forgotten what hung on it. May import what `disk` may.

use ringmq_shards::sim::{Faults, SimDisk};

use super::client::*;
use super::cluster::{Cluster, Rng, Shape, identity};
use super::disk_machine::start;
use crate::broker::Sizes;
use crate::command::{Now, Publish};
use crate::ids::{PublishSeq, ShardId};
use crate::message::Traits;
use crate::value::Value;

const SEEDS: u64 = 60;
const QUEUE: &str = "bound";

const SIZES: Sizes = Sizes {
    log_file_bytes: 16 << 10,
    log_bytes_max: 32 << 10,
    segment_bytes: 16 << 10,
    queue_memory_max: 16 << 10,
};

/// Exchanges of which one at least has its messages on another shard than the keeper.
const LATER: [&str; 4] = ["later0", "later1", "later2", "later3"];

struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with seed {}", self.0);
        }
    }
}

fn delayed(body: &str) -> Publish<'_> {
    let usual = publish("", "k", body);
    let traits = Traits { persistent: true, ..usual.traits };
    Publish { properties: b"x-delay=10000000", traits, seq: Some(PublishSeq(1)), ..usual }
}

fn waiting(c: &Cluster) -> usize {
    c.brokers.iter().map(|broker| broker.delayed.waiting.len()).sum()
}

/// Every shard but the keeper writes so much that its oldest files go.
fn write_much(c: &mut Cluster, rounds: usize) {
    let shards = u16::try_from(c.brokers.len()).unwrap();
    let filling = "x".repeat(1_000);
    for shard in 1..shards {
        let client = c.connect_at(ShardId(shard), &identity(".*", ".*", ".*"));
        let own = (0..).map(|n| format!("fill{n}")).find(|name| c.owner_of(name) == shard).unwrap();
        c.start(client, ONE, durable(queue(&own, &[("x-max-length", Value::I32(10))])));
        c.pass(60);
        for _ in 0..rounds {
            for _ in 0..10 {
                let usual = publish("", &own, &filling);
                let traits = Traits { persistent: true, ..usual.traits };
                c.send(client, &Publish { traits, ..usual }).unwrap();
            }
            c.pass(60);
        }
    }
}

fn has(c: &Cluster, text: &str) -> bool {
    c.durable_topology().iter().any(|line| line.starts_with(text))
}

fn delete_half(seed: u64) {
    let _told = Told(seed);
    let mut rng = Rng::new(seed);
    let mut disk = SimDisk::new(rng.next(), Faults::none());
    let now = Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 };
    let mut shape = || {
        let shards = u16::try_from(2 + rng.below(3)).unwrap();
        Shape { shards, apart: false, seed: rng.next(), memory_bytes_max: u64::MAX }
    };
    let mut c = start(shape(), &disk, (SIZES, 0), now).unwrap().cluster;
    let client = c.connect_at(ShardId(0), &identity(".*", ".*", ".*"));
    c.done(client, durable(queue(QUEUE, &[])));
    c.done(client, durable(exchange("fan", "fanout", &[])));
    c.done(client, bind(QUEUE, "fan", "k"));
    for name in LATER {
        let kind = ("x-delayed-type", Value::text("direct"));
        c.done(client, durable(exchange(name, "x-delayed-message", &[kind])));
        c.done(client, bind(QUEUE, name, "k"));
        c.send(client, &Publish { exchange: name, ..delayed("later") }).unwrap();
    }
    assert!(c.settle_down());
    // Nothing of what the keeper decides from now on reaches its disk.
    c.machine.as_mut().unwrap().stuck = Some(0);
    for (channel, name) in [(ONE, "fan"), (TWO, LATER[0])] {
        c.start(client, channel, delete_exchange(name));
    }
    c.rest();
    assert_eq!(waiting(&c), LATER.len() - 1, "it is gone for whoever is connected");
    write_much(&mut c, 12);

    disk.crash();
    let mut c = start(shape(), &disk, (SIZES, 0), c.now).unwrap().cluster;
    assert!(has(&c, "/ exchange fan ") && has(&c, "/ exchange later0 "), "nobody forgot them");
    assert!(has(&c, "/ binding fan -> bound "), "the binding of an exchange that is there is lost");
    assert_eq!(waiting(&c), LATER.len(), "a message of an exchange that is there is lost");

    // The same with a disk that works: all of it goes, and so do files.
    assert!(c.settle_down());
    let client = c.connect(0);
    c.done(client, delete_exchange("fan"));
    c.done(client, delete_exchange(LATER[0]));
    write_much(&mut c, 12);
    assert!(c.settle_down());
    let files = disk.files();
    let logs: u64 =
        files.iter().filter(|(path, _)| path.contains("/log.")).map(|(_, bytes)| bytes).sum();
    let most = (SIZES.log_bytes_max + 4 * SIZES.log_file_bytes) * c.brokers.len() as u64;
    assert!(logs <= most, "the logs have {logs} octets, not {most}");
    disk.crash();
    let c = start(shape(), &disk, (SIZES, 0), c.now).unwrap().cluster;
    assert!(!has(&c, "/ exchange fan ") && !has(&c, "/ binding fan "), "what is deleted stays so");
    assert_eq!(waiting(&c), LATER.len() - 1);
}

#[test]
fn an_exchange_that_outlives_its_deletion_has_its_bindings_and_messages() {
    (1..=SEEDS).for_each(delete_half);
}
