//! Disks that fail, are full, or rot under a node.

use ringmq_shards::sim::{FaultKind, Operation};

use super::client::ONE;
use super::cluster::Cluster;
use super::disk::{History, close, on_seeds};
use super::disk_machine::names_on;
use super::disk_oracle::{End, KINDS};
use crate::command::{Answer, Command, Event};

const SEEDS: u64 = 200;

const BREAKABLE: [Operation; 6] = [
    Operation::Write,
    Operation::Sync,
    Operation::SyncDir,
    Operation::Create,
    Operation::Rename,
    Operation::MakeDir,
];

#[test]
fn a_disk_that_fails_once_stops_the_node_and_loses_nothing() {
    let mut failed = 0;
    on_seeds(SEEDS, |seed| failed += fail_once(seed));
    assert!(std::env::var("RINGMQ_DISK_SEED").is_ok() || failed > SEEDS, "{failed} failures");
}

/// How often its disks failed.
pub(super) fn fail_once(seed: u64) -> u64 {
    let mut failed = 0;
    let mut history = History::new(seed);
    let mut c = history.start(End::Stopped);
    history.world.furnish(&mut c);
    let mut end = history.live(&mut c, 20);
    for _ in 0..3 {
        let mut c = history.start(end);
        history.world.may_fail = true;
        history.world.arrive(&mut c);
        let on = BREAKABLE[history.rng.below(BREAKABLE.len())];
        let most = if matches!(on, Operation::Write | Operation::Sync) { 60 } else { 10 };
        let after = history.rng.below(most) as u64;
        let is_sync = matches!(on, Operation::Sync | Operation::SyncDir);
        let full = is_sync && history.rng.below(3) == 0;
        let kind = if full { FaultKind::Full } else { FaultKind::Io };
        history.disk.fail_after(on, after, kind);
        for _ in 0..60 {
            if c.has_failed() {
                failed += 1;
                history.world.check_refused(&mut c);
                break;
            }
            history.world.act(&mut c);
        }
        end = history.end(&mut c);
        if on == Operation::Sync {
            // The next process reads what the disk has, past the cache (reliability.md 2.1, F8).
            history.disk.crash();
            end = End::PowerCut;
        }
        history.disk.clear_faults();
        history.world.may_fail = false;
    }
    close(&mut history, end);
    failed
}

/// Nodes whose disk fails, or fails for a moment, when it is read.
fn fail_reading(seed: u64, fail: impl Fn(&mut History)) -> u64 {
    let mut failed = 0;
    let mut history = History::new(seed);
    history.sizes.queue_memory_max = 4 << 10;
    let mut c = history.start(End::Stopped);
    history.world.furnish(&mut c);
    let mut end = history.live(&mut c, 60);
    for _ in 0..3 {
        let mut c = history.start(end);
        history.world.may_fail = true;
        history.world.arrive(&mut c);
        fail(&mut history);
        for _ in 0..60 {
            history.world.act(&mut c);
        }
        failed += u64::from(c.has_failed());
        history.world.finish(&mut c);
        history.world.oracle.check_none_passed();
        end = history.end(&mut c);
        if c.has_failed() {
            history.disk.crash();
            end = End::PowerCut;
        }
        history.disk.clear_faults();
        history.world.may_fail = false;
    }
    close(&mut history, end);
    failed
}

/// What cannot be read for want of a disk is not damaged: whatever comes after it waits for it.
#[test]
fn a_disk_that_dies_when_it_is_read_stops_the_node_and_nothing_is_skipped() {
    let mut failed = 0;
    on_seeds(SEEDS, |seed| {
        failed += fail_reading(seed, |history| {
            history.disk.die_after(Operation::Map, history.rng.below(4) as u64);
        });
    });
    assert!(std::env::var("RINGMQ_DISK_SEED").is_ok() || failed > SEEDS / 4, "{failed} failures");
}

#[test]
fn what_cannot_be_read_for_a_moment_is_read_later_and_nothing_is_skipped() {
    on_seeds(SEEDS, |seed| {
        fail_reading(seed, |history| {
            for _ in 0..history.rng.below(4) {
                let after = history.rng.below(4) as u64;
                history.disk.fail_after(Operation::Map, after, FaultKind::Io);
            }
        });
    });
}

#[test]
fn a_segment_that_is_never_given_keeps_its_queue_waiting_and_is_left_out_in_the_end() {
    let mut history = History::new(1);
    history.sizes.queue_memory_max = 4 << 10;
    history.sizes.segment_bytes = 8 << 10;
    let mut c = history.start(End::Stopped);
    history.world.furnish(&mut c);
    history.world.arrive(&mut c);
    for _ in 0..40 {
        history.world.publish_to(&mut c, (0, 1_000), ("", KINDS[0].name, &[0]));
    }
    assert!(c.settle_down());
    let end = history.end(&mut c);
    let mut c = history.start(end);
    history.world.arrive(&mut c);
    let of_it = |path: &str| path.starts_with("queues/") && path.contains("/seg.");
    let files = history.disk.files();
    let first = files.iter().map(|(path, _)| path).find(|path| of_it(path)).unwrap();
    assert!(history.disk.fail_reading(first, 100));
    history.world.oracle.spoilt[0] = true;

    let client = c.connect(0);
    c.start(client, ONE, Command::Get { queue: KINDS[0].name.into(), no_settle: true });
    c.pass(1_000);
    assert!(c.seats[client.0].log.is_empty(), "it waits");
    for _ in 0..40 {
        c.pass(100);
    }
    let events = std::mem::take(&mut c.seats[client.0].log);
    let [Event::Answer { answer: Answer::Got { delivery, .. }, .. }] = &*events else {
        panic!("{events:?}");
    };
    let got = history.world.oracle.delivered((0, 0), delivery, false);
    history.world.oracle.ended(got, 0);
    history.world.drain(&mut c);
    history.world.oracle.check_all_came();
    // Some of those before it were not to outlive the process.
    let missing = usize::try_from(history.world.oracle.missing).unwrap();
    assert!(0 < missing && missing <= got && got < 20, "{missing} before {got} are left out");
}

#[test]
fn a_full_disk_refuses_publishes_and_recovers_by_itself() {
    let mut refused = 0;
    on_seeds(SEEDS, |seed| {
        let mut history = History::new(seed);
        history.free_disk_min = 64 << 10;
        let mut c = history.start(End::Stopped);
        history.world.furnish(&mut c);
        let mut end = history.live(&mut c, 30);
        for _ in 0..2 {
            let mut c = history.start(end);
            history.world.arrive(&mut c);
            let used: u64 = history.disk.files().iter().map(|(_, bytes)| bytes).sum();
            let room = (history.rng.below(256) as u64) << 10;
            history.disk.set_capacity(used + room);
            history.world.full = true;
            for _ in 0..80 {
                history.world.act(&mut c);
                assert!(!c.has_failed(), "a full disk is no broken disk");
            }
            history.disk.set_capacity(1 << 30);
            for _ in 0..3 {
                c.pass(1_100);
            }
            history.world.hear_all(&mut c);
            history.world.full = false;
            let before = history.world.refused_for_space;
            refused += before;
            for _ in 0..20 {
                history.world.publish(&mut c, 0);
                history.world.finish(&mut c);
            }
            assert_eq!(history.world.refused_for_space, before, "there is space again");
            end = history.end(&mut c);
        }
        close(&mut history, end);
    });
    assert!(refused > 0);
}

impl History {
    /// So long that the logs say how much of them is durable: what nobody says was durable may go
    /// without a word (reliability.md 2.3, "residual hole").
    fn live_and_rest(&mut self, c: &mut Cluster, acts: usize) -> End {
        self.world.arrive(c);
        for _ in 0..acts {
            self.world.act(c);
        }
        assert!(c.settle_down());
        for _ in 0..3 {
            c.pass(150);
        }
        self.world.hear_all(c);
        self.world.oracle.durable();
        self.end(c)
    }

    /// Some bits of files of one queue turn. Which queue.
    fn rot(&mut self, of_logs: bool) -> Option<String> {
        let files = self.disk.files();
        let part = if of_logs { "shards/" } else { "queues/" };
        let files: Vec<_> = files.iter().filter(|(path, _)| path.starts_with(part)).collect();
        let (path, _) = files.get(self.rng.below(files.len().max(1)))?;
        let dir = path.rsplit_once('/')?.0;
        for (path, bytes) in files.iter().filter(|(path, _)| path.starts_with(dir)) {
            for _ in 0..self.rng.below(4) {
                let bit = self.rng.below(usize::try_from(*bytes * 8).unwrap().max(1));
                // An empty file has no bits.
                let _ = self.disk.flip(path, bit as u64);
            }
        }
        Some(dir.rsplit_once('/')?.1.to_owned())
    }
}

#[test]
fn what_rots_is_told_and_spoils_nothing_else() {
    let (mut missing, mut findings) = (0, 0);
    on_seeds(SEEDS, |seed| {
        let (m, f) = rot_twice(seed);
        (missing, findings) = (missing + m, findings + f);
    });
    eprintln!("{missing} messages missing, {findings} findings");
}

/// How many messages are missing, and what was said of it.
pub(super) fn rot_twice(seed: u64) -> (u64, usize) {
    let mut history = History::new(seed);
    history.sizes.queue_memory_max = 4 << 10;
    let mut c = history.start(End::Stopped);
    history.world.furnish(&mut c);
    let mut end = history.live_and_rest(&mut c, 60);
    let mut lazily = false;
    for _ in 0..2 {
        let names = names_on(&history.disk);
        let of_logs = history.rng.below(2) == 0;
        if let Some(rotten) = history.rot(of_logs) {
            lazily |= !of_logs;
            for (queue, kind) in KINDS.iter().enumerate() {
                let is_it = |(uid, name): &(String, String)| *uid == rotten && name == kind.name;
                history.world.oracle.spoilt[queue] |= of_logs || names.iter().any(is_it);
            }
        }
        let mut c = history.start(end);
        let acts = history.rng.below(60);
        end = history.live_and_rest(&mut c, acts);
    }
    close(&mut history, end);
    let lost = history.world.oracle.missing;
    // Bodies in segments are read, and found damaged, when they are wanted.
    let told = lazily || history.findings > 0;
    assert!(lost == 0 || told, "{lost} are missing and nothing is said");
    (lost, history.findings)
}
