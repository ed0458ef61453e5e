//! Sessions on nodes of several shards that end and start again on a simulated disk: takeovers,
//! connections lost at any step, sessions that run out, power cuts.
//!
//! May import the cluster, its clients and the simulated disk.

use ringmq_shards::sim::{Faults, SimDisk};

use super::cluster::{Cluster, Rng, Shape};
use super::disk::on_seeds;
use super::disk_machine::start;
use super::session_acts::steps;
use super::session_world::SessionWorld;
use crate::broker::Sizes;
use crate::command::Now;

const SEEDS: u64 = 400;

/// One node after the other on one disk.
struct History {
    rng: Rng,
    disk: SimDisk,
    sizes: Sizes,
    now: Now,
    world: SessionWorld,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        Self {
            disk: SimDisk::new(rng.next(), Faults::none()),
            sizes: Sizes {
                log_file_bytes: 16 << 10,
                log_bytes_max: 64 << 10,
                segment_bytes: 8 << 10,
                queue_memory_max: (2 << 10) << rng.below(5),
            },
            rng,
            now: Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 },
            world: SessionWorld::new(),
        }
    }

    /// The next node; starts may end early, too.
    fn start(&mut self) -> Cluster {
        for _ in 0..100 {
            let shards = u16::try_from(1 + self.rng.below(4)).unwrap();
            let seed = self.rng.next();
            let shape = Shape { shards, apart: false, seed, memory_bytes_max: u64::MAX };
            match start(shape, &self.disk, (self.sizes, 0), self.now) {
                Ok(started) if !self.disk.is_cut() => {
                    assert_eq!(started.report.lost, 0, "{:?}", started.report.findings);
                    return started.cluster;
                }
                Ok(_) => self.cut(),
                Err(error) => {
                    assert!(self.disk.is_cut(), "recovery fails: {error}");
                    self.cut();
                }
            }
        }
        panic!("it never starts");
    }

    /// The process ends in the middle of something, or in order.
    fn cut(&mut self) {
        if self.rng.below(2) == 0 { self.disk.kill() } else { self.disk.crash() }
    }

    /// A node ends, and another one starts some time later.
    fn next(&mut self, c: &mut Cluster) -> Cluster {
        if !c.is_cut() && self.rng.below(4) == 0 && c.stop() {
            self.world.hear_all(c);
            self.disk.kill();
        } else {
            self.world.hear_all(c);
            self.cut();
        }
        let ms = self.rng.below(400) as u64;
        self.now = Now { mono_ms: c.now.mono_ms + ms, wall_ms: c.now.wall_ms + ms };
        if self.rng.below(3) == 0 {
            self.disk.crash_at(1 + self.rng.below(60) as u64);
        }
        let started = self.start();
        self.disk.crash_at(u64::MAX);
        self.world.restarted(self.now.wall_ms);
        started
    }
}

/// How many deliveries, and wills that came.
pub(super) fn come_go_and_crash(seed: u64) -> (u64, u64) {
    let mut history = History::new(seed);
    let mut c = history.start();
    history.world.arrive(&mut c, true);
    for _ in 0..2 + history.rng.below(3) {
        if history.rng.below(2) == 0 {
            history.disk.crash_at(steps(&mut history.rng));
        }
        for _ in 0..history.rng.below(160) {
            if c.is_cut() {
                break;
            }
            history.world.act(&mut c);
        }
        c = history.next(&mut c);
        history.world.arrive(&mut c, false);
        history.world.check_retained(&mut c);
    }
    history.world.conclude(&mut c);
    check_empty(&c);
    history.now = c.now;
    history.disk.crash();
    let c = history.start();
    check_empty(&c);
    (history.world.oracle.deliveries, history.world.wills_came)
}

/// Everybody has left, and nothing is kept for anybody.
fn check_empty(c: &Cluster) {
    c.audit();
    c.no_wills();
    for broker in &c.brokers {
        let shard = broker.shard;
        assert_eq!(broker.connections.len(), 0, "connections of {shard:?}");
        assert_eq!(broker.sessions.all(), [], "sessions of {shard:?}");
        assert!(broker.vhosts.iter().all(|v| v.queues.is_empty()), "{shard:?}");
        assert!(broker.footprints.is_empty(), "{shard:?}: {:?}", broker.footprints);
        assert!(broker.exchanges.values().all(|e| e.bindings.is_empty()), "{shard:?}");
        assert_eq!(broker.bindings, 0, "bindings of {shard:?}");
        assert_eq!(broker.delayed.logged_bytes, 0, "{shard:?}");
        for (_, entry) in broker.queues.iter() {
            assert_eq!(entry.queue.ready(), 0, "{} on {shard:?}", entry.queue.name());
        }
    }
}

#[test]
fn sessions_get_what_they_are_owed_whatever_comes_and_goes() {
    let (mut deliveries, mut wills) = (0, 0);
    on_seeds(SEEDS, |seed| {
        let (d, w) = come_go_and_crash(seed);
        (deliveries, wills) = (deliveries + d, wills + w);
    });
    eprintln!("{deliveries} deliveries, {wills} wills");
}
