//! Nodes that crash on a simulated disk, again and again, with other numbers of shards each time:
//! what was confirmed comes back, what was settled does not.

use ringmq_shards::sim::{Faults, SimDisk};

use super::cluster::{Cluster, Rng, Shape};
use super::disk_machine::{Started, start};
use super::disk_oracle::{End, KINDS, Oracle, QUEUES};
use super::disk_world::World;
use crate::broker::Sizes;
use crate::command::Now;

/// Seeds that are run without being asked for more (RINGMQ_DISK_SEEDS).
const SEEDS: u64 = 800;

/// Says how to run a seed that failed again.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.0;
            eprintln!("failed with RINGMQ_DISK_SEED={seed}");
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

pub(super) fn on_seeds(count: u64, mut test: impl FnMut(u64)) {
    if let Some(seed) = number("RINGMQ_DISK_SEED") {
        let _told = Told(seed);
        test(seed);
        return;
    }
    let from = number("RINGMQ_DISK_FROM").unwrap_or(1);
    for seed in from..from + number("RINGMQ_DISK_SEEDS").unwrap_or(count) {
        if std::env::var("RINGMQ_DISK_ALL").is_ok() {
            // To see how often what fails.
            let run = std::panic::AssertUnwindSafe(|| {
                let _told = Told(seed);
                test(seed);
            });
            let _ = std::panic::catch_unwind(run);
            continue;
        }
        let _told = Told(seed);
        test(seed);
    }
}

/// One node after the other on the same disk.
pub(super) struct History {
    pub(super) rng: Rng,
    pub(super) disk: SimDisk,
    pub(super) sizes: Sizes,
    now: Now,
    pub(super) world: World,
    pub(super) free_disk_min: u64,
    /// Of all recoveries.
    pub(super) findings: usize,
}

impl History {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let kib = |n: usize| (n as u64) << 10;
        let log_file_bytes = kib(16 << rng.below(3));
        let sizes = Sizes {
            log_file_bytes,
            log_bytes_max: 4 * log_file_bytes,
            segment_bytes: kib(8 << rng.below(3)),
            queue_memory_max: kib(4 << rng.below(5)),
        };
        Self {
            disk: SimDisk::new(rng.next(), Faults::none()),
            world: World::new(rng.below(4) == 0),
            rng,
            sizes,
            now: Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 },
            free_disk_min: 0,
            findings: 0,
        }
    }

    fn shape(&mut self) -> Shape {
        let shards = u16::try_from(1 + self.rng.below(4)).unwrap();
        let apart = shards > 1 && self.rng.below(3) == 0;
        Shape { shards, apart, seed: self.rng.next(), memory_bytes_max: u64::MAX }
    }

    /// The next node. It may take several starts.
    pub(super) fn start(&mut self, mut end: End) -> Cluster {
        for _ in 0..100 {
            let shape = self.shape();
            match start(shape, &self.disk, (self.sizes, self.free_disk_min), self.now) {
                Ok(Started { cluster, report, boot }) => {
                    if number("RINGMQ_DISK_SEED").is_some() {
                        eprintln!(
                            "boot {boot} after {end:?} with {shape:?}: {:?}",
                            report.findings
                        );
                    }
                    if !self.world.oracle.is_damaged() {
                        assert_eq!(report.lost, 0, "{:?}", report.findings);
                    }
                    self.findings += report.findings.len();
                    self.world.oracle.restarted(end, boot);
                    return cluster;
                }
                Err(error) => {
                    assert!(self.disk.is_cut(), "recovery fails: {error}");
                    let cut = self.end_cut();
                    end = if end == End::PowerCut { end } else { cut };
                }
            }
        }
        panic!("it never starts");
    }

    /// How a process ended within an operation.
    fn end_cut(&mut self) -> End {
        if self.rng.below(3) == 0 {
            self.disk.kill();
            End::Killed
        } else {
            self.disk.crash();
            End::PowerCut
        }
    }

    /// A node does its work for a while.
    pub(super) fn live(&mut self, c: &mut Cluster, acts: usize) -> End {
        self.world.arrive(c);
        for _ in 0..acts {
            if c.is_cut() || c.has_failed() {
                break;
            }
            self.world.act(c);
        }
        self.end(c)
    }

    pub(super) fn end(&mut self, c: &mut Cluster) -> End {
        let mut end = if c.is_cut() || c.has_failed() { 2 } else { self.rng.below(4) };
        if end == 0 {
            if c.stop() {
                self.world.hear_all(c);
                self.world.oracle.stopped();
                end = 1;
            } else {
                end = 2;
            }
        } else {
            self.world.hear_all(c);
        }
        self.now = c.now;
        if end == 1 {
            self.disk.kill();
            End::Killed
        } else {
            self.end_cut()
        }
    }
}

#[test]
fn what_was_confirmed_outlives_any_crash_and_what_was_settled_does_not() {
    let (mut deliveries, mut confirmed) = (0, 0);
    on_seeds(SEEDS, |seed| {
        let (d, k) = crash_again_and_again(seed);
        (deliveries, confirmed) = (deliveries + d, confirmed + k);
    });
    eprintln!("{deliveries} deliveries of {confirmed} confirmed messages");
}

/// How many deliveries, and confirmed messages.
pub(super) fn crash_again_and_again(seed: u64) -> (u64, u64) {
    let mut history = History::new(seed);
    let mut c = history.start(End::Stopped);
    history.world.furnish(&mut c);
    let boots = 2 + history.rng.below(4);
    let mut end = history.live(&mut c, 60);
    for _ in 0..boots {
        let mut c = history.start(end);
        if history.rng.below(2) == 0 {
            let count = 1 + history.rng.below(400) as u64;
            history.disk.crash_at(count);
        }
        let acts = history.rng.below(80);
        end = history.live(&mut c, acts);
        if history.rng.below(4) == 0 {
            // The next start may end early too.
            history.disk.crash_at(1 + history.rng.below(60) as u64);
        }
    }
    close(&mut history, end);
    let Oracle { deliveries, confirmed, .. } = history.world.oracle;
    (deliveries, confirmed)
}

/// Large messages die, and the power goes while that is written. How many died.
pub(super) fn die_and_crash(seed: u64) -> u64 {
    let mut history = History::new(seed);
    let mut c = history.start(End::Stopped);
    history.world.furnish(&mut c);
    history.world.arrive(&mut c);
    let died = history.world.kill_some(&mut c);
    for _ in 0..history.rng.below(40) {
        c.step();
    }
    history.world.hear_all(&mut c);
    history.now = c.now;
    history.disk.crash();
    close(&mut history, End::PowerCut);
    died
}

#[test]
fn what_dies_is_in_one_of_the_two_queues_after_a_power_cut() {
    let mut died = 0;
    on_seeds(SEEDS, |seed| died += die_and_crash(seed));
    assert!(died > 0);
}

/// A shard whose disk is slow still needs what the last node has left when others write much.
pub(super) fn one_lags(seed: u64) {
    let mut history = History::new(seed);
    history.sizes.log_file_bytes = 16 << 10;
    history.sizes.log_bytes_max = 64 << 10;
    let mut c = history.start(End::Stopped);
    history.world.furnish(&mut c);
    let end = history.live(&mut c, 40);
    let mut c = history.start(end);
    let shards = c.brokers.len();
    let slow = shards - 1;
    if slow > 0
        && let Some(machine) = &mut c.machine
    {
        machine.stuck = Some(slow);
    }
    history.world.full = true;
    history.world.arrive(&mut c);
    for _ in 0..80 {
        history.world.act(&mut c);
    }
    for _ in 0..4 {
        c.pass(60);
    }
    history.world.hear_all(&mut c);
    let is_fast = |queue: &usize| slow == 0 || usize::from(c.owner_of(KINDS[*queue].name)) != slow;
    let fast: Vec<usize> = (0..QUEUES).filter(is_fast).collect();
    history.world.oracle.durable_in(&fast);
    history.world.full = false;
    history.now = c.now;
    history.disk.crash();
    close(&mut history, End::PowerCut);
}

#[test]
fn a_shard_that_lags_behind_brings_nothing_back() {
    on_seeds(SEEDS / 3, one_lags);
}

/// The last nodes: everything comes, and nothing comes again.
pub(super) fn close(history: &mut History, mut end: End) {
    let mut c = loop {
        let mut c = history.start(end);
        history.world.arrive(&mut c);
        if !c.is_cut() {
            break c;
        }
        end = history.end_cut();
    };
    history.disk.crash_at(u64::MAX);
    history.world.drain(&mut c);
    history.world.oracle.check_all_came();
    assert!(c.settle_down());
    history.world.oracle.durable();
    history.world.check_empty(&mut c);
    history.now = c.now;
    let end = history.end_cut();
    let mut c = history.start(end);
    history.world.arrive(&mut c);
    history.world.check_empty(&mut c);
}
