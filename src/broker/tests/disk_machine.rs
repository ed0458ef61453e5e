//! The machine under a node of the simulation: one disk, a driver per shard, and how a node starts
//! on what the one before it has left. May import the cluster and the simulated disk.

use std::collections::BTreeMap;

use ringmq_shards::log::{Done, Job, begin_boot_on, run_job};
use ringmq_shards::sim::{SimDisk, SimDriver};

use super::cluster::{Cluster, Shape, VHOST};
use crate::broker::placement::Placement;
use crate::broker::{Recovery, RecoveryReport, Sizes, StorageSetup};
use crate::command::Now;

pub(super) const GROUPS: u16 = 256;

/// Turns of the loop in which a node has to become quiet, each [`TICK_MS`] long.
const TICKS_MAX: usize = 200;
const TICK_MS: u64 = 60;

/// The disk of a node and what carries out its jobs.
pub(super) struct Machine {
    pub(super) disk: SimDisk,
    drivers: Vec<SimDriver>,
    finished: Vec<Done>,
    /// The disk of this shard does nothing for now.
    pub(super) stuck: Option<usize>,
}

impl Machine {
    pub(super) fn new(seed: u64, shards: u16, disk: SimDisk) -> Self {
        let driver = |shard: u16| {
            let seed = seed.wrapping_add(u64::from(shard) << 48);
            SimDriver::new(seed, u32::from(shard), disk.clone(), run_job)
        };
        Self { drivers: (0..shards).map(driver).collect(), disk, finished: Vec::new(), stuck: None }
    }

    pub(super) fn is_cut(&self) -> bool {
        self.disk.is_cut()
    }

    pub(super) fn has_work(&self, shard: usize) -> bool {
        self.stuck != Some(shard) && !self.drivers[shard].is_idle()
    }

    pub(super) fn begin(&mut self, shard: usize, job: Job) {
        self.drivers[shard].begin(job);
    }
}

/// What a start has found.
pub(super) struct Started {
    pub(super) cluster: Cluster,
    pub(super) report: RecoveryReport,
    pub(super) boot: u32,
}

/// What the queues are called on a disk, and their names.
pub(super) fn names_on(disk: &SimDisk) -> Vec<(String, String)> {
    let read = Recovery::read(&mut disk.clone(), 1, u32::MAX, &mut |_, _, _| {});
    let Ok(recovery) = read else { return Vec::new() };
    let queues = recovery.catalogue.queues().iter();
    queues.map(|queue| (queue.uid.to_string(), queue.name.to_string())).collect()
}

/// Starts a node on a disk as `node::restart` does. `Err`: the process ended before it was there.
pub(super) fn start(
    shape: Shape,
    disk: &SimDisk,
    limits: (Sizes, u64),
    now: Now,
) -> std::io::Result<Started> {
    start_after(shape, disk, limits, now, true)
}

/// The same, as a node does it that knows whether the last one was stopped in order.
pub(super) fn start_after(
    shape: Shape,
    disk: &SimDisk,
    (sizes, free_disk_min): (Sizes, u64),
    now: Now,
    was_clean: bool,
) -> std::io::Result<Started> {
    let mut files = disk.clone();
    let boot = begin_boot_on(&mut files, GROUPS)?;
    let mut recovery = Recovery::read(&mut files, 1, boot, &mut |_, _, _| {})?;
    let report = std::mem::take(&mut recovery.report);
    if shape.seed.is_multiple_of(4) {
        let twice = Recovery::read(&mut files, 1, boot, &mut |_, _, _| {})?;
        let all = |recovery: &Recovery| {
            let queues: BTreeMap<_, _> = recovery.queues.iter().collect();
            format!("{:?} {queues:?}", recovery.catalogue)
        };
        assert!(disk.is_cut() || all(&twice) == all(&recovery), "it is read differently again");
    }
    let before = disk.files().len();
    // What can not be removed does no harm.
    let _ = recovery.sweep(&mut files);
    let swept = disk.files().len() != before;
    assert!(!swept || !report.definitions_damaged, "an unknown queue may be a forgotten one");
    if !was_clean {
        recovery.assume_deliveries();
    }
    let placement = Placement::new(shape.shards, GROUPS, shape.apart);
    let (catalogue, remains) = recovery.split(placement);
    if disk.is_cut() {
        // Whatever it has not read looks like damage.
        return Err(std::io::Error::other("the process has ended"));
    }
    let setup = StorageSetup {
        dir_id: 1,
        boot,
        groups: GROUPS,
        sizes,
        free_disk_min,
        free_disk_warn: free_disk_min,
    };
    let mut cluster = Cluster::made(shape, boot, Some(&setup));
    cluster.now = now;
    cluster.machine = Some(Machine::new(shape.seed, shape.shards, disk.clone()));
    for (shard, remains) in remains.into_iter().enumerate() {
        let seed = cluster.rng.next();
        cluster.brokers[shard].seed = seed | 1;
        cluster.brokers[shard].restore_all(&catalogue, remains, now);
        cluster.touch(shard);
    }
    Ok(Started { cluster, report, boot })
}

impl Cluster {
    /// A little happens on the disk of one shard.
    pub(super) fn step_disk(&mut self, shard: usize) {
        let Some(machine) = &mut self.machine else { return };
        machine.drivers[shard].step();
        let mut finished = std::mem::take(&mut machine.finished);
        machine.drivers[shard].finished(&mut finished);
        for done in finished.drain(..) {
            self.brokers[shard].on_disk(done, self.now);
            self.touch(shard);
        }
        if let Some(machine) = &mut self.machine {
            machine.finished = finished;
        }
    }

    pub(super) fn is_cut(&self) -> bool {
        self.machine.as_ref().is_some_and(Machine::is_cut)
    }

    /// All logs are durable and nothing of earlier boots is needed any more.
    fn is_quiet(&self) -> bool {
        let mut storages = self.brokers.iter().filter_map(|broker| broker.storage.as_ref());
        storages.all(|storage| storage.is_quiet())
    }

    /// Lets time pass until everything that was logged is durable. False: the process has ended, or
    /// the disk has failed.
    pub(super) fn settle_down(&mut self) -> bool {
        for _ in 0..TICKS_MAX {
            self.pass(TICK_MS);
            if self.is_cut() || self.has_failed() {
                return false;
            }
            if self.is_quiet() {
                return true;
            }
        }
        let storages = self.brokers.iter().map(|b| &b.storage);
        panic!("it never becomes quiet: {:#?}", storages.collect::<Vec<_>>());
    }

    pub(super) fn has_failed(&self) -> bool {
        self.brokers.iter().any(|broker| broker.storage_failure().is_some())
    }

    /// The node stops in order. False: the process ended, or the disk failed, before it had.
    pub(super) fn stop(&mut self) -> bool {
        // What goes out later is only noted in steps.
        self.rest();
        for shard in 0..self.brokers.len() {
            self.brokers[shard].close_storage();
            self.touch(shard);
        }
        for _ in 0..TICKS_MAX {
            self.rest();
            if self.is_cut() || self.has_failed() {
                return false;
            }
            if self.brokers.iter().all(crate::broker::Broker::is_stored) {
                return true;
            }
            self.pass(TICK_MS);
        }
        panic!("it never has stored everything");
    }

    /// The shard that owns a queue.
    pub(super) fn owner_of(&self, queue: &str) -> u16 {
        self.placement.owner(VHOST, queue).0
    }
}
