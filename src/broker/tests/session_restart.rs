//! Sessions outlive the process: what was answered is there on any number of shards, and time goes
//! on while nobody runs.

use ringmq_shards::sim::{Faults, SimDisk};

use super::client::*;
use super::cluster::{Cluster, Rng, Shape};
use super::disk_machine::start_after;
use super::subscriber::*;
use crate::broker::Sizes;
use crate::command::{Command, Now, Outcome};
use crate::subscriber::*;

const SIZES: Sizes = Sizes {
    log_file_bytes: 64 << 10,
    log_bytes_max: 256 << 10,
    segment_bytes: 32 << 10,
    queue_memory_max: 16 << 10,
};

/// One node after the other on one disk.
struct Nodes {
    disk: SimDisk,
    rng: Rng,
    now: Now,
    /// The last one was stopped in order.
    was_clean: bool,
}

impl Nodes {
    fn new(seed: u64) -> Self {
        let now = Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 };
        let disk = SimDisk::new(seed, Faults::none());
        Self { disk, rng: Rng::new(seed), now, was_clean: true }
    }

    fn start(&mut self) -> Cluster {
        let shards = u16::try_from(1 + self.rng.below(4)).unwrap();
        let seed = self.rng.next();
        let shape = Shape { shards, apart: false, seed, memory_bytes_max: u64::MAX };
        let limits = (SIZES, 0);
        let started = start_after(shape, &self.disk, limits, self.now, self.was_clean).unwrap();
        assert_eq!(started.report.lost, 0);
        started.cluster
    }

    /// The power goes, or the process ends in order; so long nobody runs.
    fn end(&mut self, c: &mut Cluster, in_order: bool, pause_ms: u64) {
        if in_order {
            assert!(c.stop());
            self.disk.kill();
        } else {
            self.disk.crash();
        }
        self.was_clean = in_order;
        self.now = c.now;
        // The clock of the next process begins at the wall clock's time.
        self.now.wall_ms += pause_ms;
        self.now.mono_ms += pause_ms;
    }
}

fn on_seeds(test: impl Fn(&mut Nodes, bool)) {
    for seed in 1..=12 {
        for in_order in [false, true] {
            let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                test(&mut Nodes::new(seed), in_order);
            }));
            if let Err(panic) = told {
                eprintln!("failed with seed {seed}, in order: {in_order}");
                std::panic::resume_unwind(panic);
            }
        }
    }
}

fn sessions(c: &Cluster) -> usize {
    c.brokers.iter().map(|b| b.sessions.all().len()).sum()
}

fn queues(c: &Cluster) -> usize {
    c.brokers.iter().map(|b| b.queues.len()).sum()
}

#[test]
fn subscriptions_and_messages_of_a_lasting_session_are_there_after_a_restart() {
    on_seeds(|nodes, in_order| {
        let mut c = nodes.start();
        let (client, _) = c.open(&session("s", Lasts::Forever));
        let mut wanted = subscription("a/#", EXACTLY);
        (wanted.number, wanted.not_own, wanted.as_published) = (268_435_455, true, true);
        let all = [wanted, subscription("b", LEAST), subscription("c/+", ONCE)];
        c.subscribe_all(client, all.to_vec());
        c.subscribe(client, "gone", LEAST);
        c.unsubscribe(client, &["gone"]);
        let (fleeting_one, _) = c.open(&session("fleeting", Lasts::Connection));
        c.subscribe(fleeting_one, "a/b", LEAST);
        let publisher = c.connect(1);
        for n in 0..20 {
            assert_eq!(c.fate(publisher, kept("a/b", &n.to_string())), Fate::Stored);
        }
        let got = c.take(client);
        c.accept(client, &got[..5]);
        assert!(c.settle_down());
        nodes.end(&mut c, in_order, 10_000);
        let mut c = nodes.start();
        assert_eq!((sessions(&c), queues(&c)), (1, 1));
        let publisher = c.connect(0);
        assert_eq!(c.fate(publisher, kept("b", "20")), Fate::Stored);
        let (client, opened) = c.open(&session("s", Lasts::Forever));
        assert!(opened.resumed);
        assert_eq!(opened.subscriptions, all);
        let again = c.take(client);
        assert_eq!(bodies(&again), (5..=20).map(|n| n.to_string()).collect::<Vec<_>>());
        for (before, after) in got[5..].iter().zip(&again) {
            assert_eq!((before.position, after.redelivered), (after.position, true));
        }
        assert!(!c.brokers.iter().any(|b| b.messages_dropped() > 0));
        assert_eq!(c.offer(publisher, FILTERS, "gone", "m"), Fate::Returned);
        c.accept(client, &again);
        assert!(c.settle_down());
        nodes.end(&mut c, in_order, 0);
        let mut c = nodes.start();
        let (client, _) = c.open(&session("s", Lasts::Forever));
        assert_eq!(c.got(client).len(), 0);
    });
}

/// What was never sent does not say that it was, if its client was away when the power went (3.3.1-1 and
/// 3.3.1-2 of mqtt.md 2.1, H-07).
#[test]
fn after_a_crash_only_what_may_have_been_out_says_so() {
    on_seeds(|nodes, in_order| {
        let mut c = nodes.start();
        let publisher = c.connect(0);
        let small = |name: &str| OpenSession { window: 5, ..session(name, Lasts::Forever) };
        for name in ["never", "gone", "here"] {
            let (client, _) = c.open(&small(name));
            c.subscribe(client, "a", LEAST);
            c.vanish(client);
        }
        let publish = |c: &mut Cluster, numbers: std::ops::Range<u32>| {
            for n in numbers {
                assert_eq!(c.fate(publisher, kept("a", &n.to_string())), Fate::Stored);
            }
        };
        publish(&mut c, 0..20);
        let (gone, _) = c.open(&small("gone"));
        assert_eq!(c.take(gone).len(), 5);
        c.vanish(gone);
        let (here, _) = c.open(&small("here"));
        let out = c.take(here).len();
        // Everybody who is away has been for a while; who is here has just come.
        assert!(c.settle_down());
        nodes.end(&mut c, in_order, 0);
        for boot in 0..3 {
            let mut c = nodes.start();
            for (name, was_out) in [("never", 0), ("gone", 5), ("here", out)] {
                let wide = OpenSession { window: 100, ..session(name, Lasts::Forever) };
                if boot < 2 && name != "here" {
                    // Only looked at in the end: it stays as it is, whoever dies meanwhile.
                    continue;
                }
                let (client, _) = c.open(&wide);
                let got = c.take(client);
                assert_eq!(got.len(), 20, "{name}");
                let again = got.iter().filter(|d| d.redelivered).count();
                let all_may = name == "here" && (boot > 0 || !in_order);
                let fits = again == was_out || (all_may && again >= was_out);
                assert!(fits, "{name} in boot {boot}: {again} of {was_out}");
            }
            assert!(c.settle_down());
            nodes.end(&mut c, in_order && boot > 0, 0);
        }
    });
}

/// The answer to a client that comes back waits for the note that messages may be out from now on.
#[test]
fn whatever_was_out_says_so_however_soon_the_power_goes() {
    for seed in 1..=40 {
        let mut nodes = Nodes::new(seed);
        let mut c = nodes.start();
        let publisher = c.connect(0);
        let (client, _) = c.open(&session("s", Lasts::Forever));
        c.subscribe(client, "a", LEAST);
        c.vanish(client);
        for n in 0..20 {
            assert_eq!(c.fate(publisher, kept("a", &n.to_string())), Fate::Stored);
        }
        assert!(c.settle_down());
        let (client, _) = c.open(&session("s", Lasts::Forever));
        let out: Vec<_> = c.take(client).iter().map(|d| d.position).collect();
        if seed % 2 == 0 {
            // That it leaves may be known or not.
            c.vanish(client);
        }
        nodes.end(&mut c, false, 0);
        let mut c = nodes.start();
        let (client, _) = c.open(&session("s", Lasts::Forever));
        for delivery in c.take(client) {
            let was_out = out.contains(&delivery.position);
            assert!(delivery.redelivered || !was_out, "seed {seed}: {delivery:?}");
        }
    }
}

#[test]
fn groups_are_there_after_a_restart_and_prefer_who_has_come_back() {
    on_seeds(|nodes, in_order| {
        let mut c = nodes.start();
        for n in 0..3 {
            let (client, _) = c.open(&session(&format!("m{n}"), Lasts::Forever));
            c.subscribe(client, "group:g:a/+", LEAST);
        }
        assert!(c.settle_down());
        nodes.end(&mut c, in_order, 0);
        let mut c = nodes.start();
        let publisher = c.connect(1);
        for n in 0..30 {
            assert_eq!(c.fate(publisher, kept("a/b", &n.to_string())), Fate::Stored);
        }
        let (one, opened) = c.open(&session("m1", Lasts::Forever));
        assert_eq!(opened.subscriptions, [subscription("group:g:a/+", LEAST)]);
        c.rest();
        let waited = c.accept_all(one).len();
        assert!((1..30).contains(&waited), "{waited}");
        for n in 30..60 {
            c.send(publisher, &kept("a/b", &n.to_string())).unwrap();
        }
        assert_eq!(c.accept_all(one).len(), 30);
        let mut others = 0;
        for name in ["m0", "m2"] {
            let (client, _) = c.open(&session(name, Lasts::Forever));
            others += c.accept_all(client).len();
        }
        assert_eq!(waited + others, 30);
    });
}

#[test]
fn what_was_received_and_what_is_held_of_the_publisher_is_known_after_a_restart() {
    on_seeds(|nodes, in_order| {
        let mut c = nodes.start();
        let (client, _) = c.open(&session("s", Lasts::Forever));
        c.subscribe(client, "a", EXACTLY);
        let publisher = c.connect(1);
        for n in 0..4 {
            assert_eq!(c.fate(publisher, kept("a", &n.to_string())), Fate::Stored);
        }
        let got = c.take(client);
        let (at, now) = (c.seats[client.0].at.connection, c.now);
        for (number, received) in [(7, &got[2]), (9, &got[0])] {
            let which = (received.queue, received.id);
            let broker = c.broker_of(client);
            let _ = broker.settle_received(at, ZERO, which, None, now);
            let _ = broker.hold_receipt(at, ZERO, number, None);
        }
        let _ = c.broker_of(client).drop_receipt(at, ZERO, 7, None);
        assert!(c.settle_down());
        nodes.end(&mut c, in_order, 0);
        let mut c = nodes.start();
        let (client, opened) = c.open(&session("s", Lasts::Forever));
        assert_eq!(opened.receipts, [9]);
        let again = c.take(client);
        let seen: Vec<_> = again.iter().map(|d| (d.position, d.received)).collect();
        let at = |n: usize| got[n].position;
        assert_eq!(seen, [(at(0), true), (at(2), true), (at(1), false), (at(3), false)]);
        c.accept(client, &again[..3]);
        c.vanish(client);
        let (client, opened) = c.open(&session("s", Lasts::Forever));
        assert_eq!((opened.receipts, c.accept_all(client)), (vec![9], vec!["3".to_owned()]));
        let fresh = OpenSession { fresh: true, ..session("s", Lasts::Forever) };
        assert!(c.open(&fresh).1.receipts.is_empty());
    });
}

#[test]
fn the_time_of_a_session_goes_on_while_nobody_runs() {
    on_seeds(|nodes, in_order| {
        let mut c = nodes.start();
        for (name, lasts_ms) in [("long", 60_000), ("short", 10_000)] {
            let (client, _) = c.open(&session(name, Lasts::Ms(lasts_ms)));
            c.subscribe(client, name, LEAST);
            c.vanish(client);
        }
        assert!(c.settle_down());
        nodes.end(&mut c, in_order, 8_000);
        let mut c = nodes.start();
        assert_eq!(sessions(&c), 2, "8 of 10 seconds");
        assert!(c.settle_down());
        c.pass(1_000);
        nodes.end(&mut c, in_order, 2_000);
        let mut c = nodes.start();
        c.pass(0);
        assert_eq!((sessions(&c), queues(&c)), (1, 1));
        let publisher = c.connect(0);
        assert_eq!(c.offer(publisher, FILTERS, "short", "m"), Fate::Returned);
        assert_eq!(c.offer(publisher, FILTERS, "long", "m"), Fate::Stored);
        assert!(c.settle_down());
        nodes.end(&mut c, in_order, 60_000);
        let mut c = nodes.start();
        c.pass(0);
        assert_eq!((sessions(&c), queues(&c)), (0, 0));
        assert!(c.settle_down());
        nodes.end(&mut c, in_order, 0);
        let c = nodes.start();
        assert_eq!((sessions(&c), queues(&c)), (0, 0), "it is gone durably");
    });
}

#[test]
fn a_session_that_was_connected_when_the_process_died_counts_from_the_start() {
    on_seeds(|nodes, _| {
        let mut c = nodes.start();
        let (client, _) = c.open(&session("s", Lasts::Ms(10_000)));
        c.subscribe(client, "a", LEAST);
        // Back in time: the client left once and came again.
        c.vanish(client);
        let (client, _) = c.open(&session("s", Lasts::Ms(10_000)));
        assert!(c.settle_down());
        nodes.end(&mut c, false, 100_000);
        let mut c = nodes.start();
        c.pass(9_000);
        assert_eq!(sessions(&c), 1);
        assert!(c.settle_down());
        nodes.end(&mut c, false, 2_000);
        let mut c = nodes.start();
        c.pass(0);
        assert_eq!(sessions(&c), 0, "the start before counts, not this one");
        let _ = client;
    });
}

#[test]
fn a_session_that_is_forgotten_stays_forgotten() {
    on_seeds(|nodes, in_order| {
        let mut c = nodes.start();
        let publisher = c.connect(0);
        let (client, _) = c.open(&session("s", Lasts::Forever));
        c.subscribe(client, "a", LEAST);
        c.vanish(client);
        assert_eq!(c.fate(publisher, kept("a", "old")), Fate::Stored);
        let fresh = OpenSession { fresh: true, ..session("s", Lasts::Forever) };
        let (client, _) = c.open(&fresh);
        // Answered, so it is durable.
        nodes.end(&mut c, false, 0);
        let _ = (client, in_order);
        let mut c = nodes.start();
        let (client, opened) = c.open(&session("s", Lasts::Forever));
        assert!(opened.resumed && opened.subscriptions.is_empty());
        assert_eq!(c.got(client).len(), 0);
        // As long as its connection: gone when that ends, durably.
        let (client, _) = c.open(&session("s", Lasts::Connection));
        c.start(client, ZERO, Command::CloseConnection);
        c.finish(client, ZERO);
        nodes.end(&mut c, false, 0);
        let c = nodes.start();
        assert_eq!(sessions(&c), 0);
    });
}

/// What the history knows of one session.
#[derive(Default)]
struct Known {
    client: Option<Client>,
    /// Numbers that must still come.
    owed: Vec<u32>,
    /// Numbers that were accepted, perhaps not durably.
    accepted: Vec<u32>,
    /// Accepted when a node crashed: they are there or not.
    unsure: Vec<u32>,
    /// Accepted and durable.
    gone: Vec<u32>,
}

/// Sessions come and go, nodes crash, and what was confirmed arrives until it was accepted.
#[test]
fn confirmed_messages_arrive_whatever_happens_to_nodes_and_connections() {
    for seed in 1..=60 {
        let run = std::panic::AssertUnwindSafe(|| history(seed));
        if let Err(panic) = std::panic::catch_unwind(run) {
            eprintln!("failed with seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

const COUNT: usize = 3;

fn history(seed: u64) {
    let mut nodes = Nodes::new(seed);
    let mut rng = Rng::new(seed ^ 0x5e55);
    let mut known: Vec<Known> = (0..COUNT).map(|_| Known::default()).collect();
    let mut published = 0;
    for boot in 0..4 {
        let mut c = nodes.start();
        let publisher = c.connect(0);
        for (n, known) in known.iter_mut().enumerate() {
            known.client = None;
            if boot == 0 {
                enter(&mut c, n, known);
            }
        }
        for _ in 0..rng.below(60) {
            let n = rng.below(COUNT);
            match rng.below(10) {
                0..5 => {
                    published += 1;
                    let body = published.to_string();
                    let topic = format!("{}/t", ["all", "0", "1", "2"][rng.below(4)]);
                    assert_eq!(c.fate(publisher, kept(&topic, &body)), Fate::Stored);
                    for (n, known) in known.iter_mut().enumerate() {
                        if topic == "all/t" || topic == format!("{n}/t") {
                            known.owed.push(published);
                        }
                    }
                }
                5..7 => take_some(&mut c, &mut known[n], &mut rng),
                7 => {
                    if let Some(client) = known[n].client.take() {
                        c.vanish(client);
                    }
                }
                8 => enter(&mut c, n, &mut known[n]),
                _ => c.pass(20),
            }
        }
        let in_order = rng.below(3) == 0;
        if in_order || rng.below(3) == 0 {
            assert!(c.settle_down());
            for known in &mut known {
                let accepted = std::mem::take(&mut known.accepted);
                known.gone.extend(accepted);
            }
        }
        for known in &mut known {
            known.unsure.append(&mut known.accepted);
        }
        nodes.end(&mut c, in_order, 1_000);
    }
    let mut c = nodes.start();
    for (n, known) in known.iter_mut().enumerate() {
        known.client = None;
        enter(&mut c, n, known);
        for _ in 0..1_000 {
            take_some(&mut c, known, &mut rng);
        }
        assert!(known.owed.is_empty(), "session {n} never got {:?}", known.owed);
    }
}

/// Opens a session, or takes it over.
fn enter(c: &mut Cluster, n: usize, known: &mut Known) {
    let window = 1 + u32::try_from(c.rng.below(9)).unwrap();
    let open = OpenSession { window, ..session(&format!("h{n}"), Lasts::Forever) };
    let (client, opened) = c.open(&open);
    if opened.subscriptions.is_empty() {
        assert!(!opened.resumed);
        let both = vec![subscription("all/+", LEAST), subscription(&format!("{n}/#"), EXACTLY)];
        c.subscribe_all(client, both);
    }
    known.client = Some(client);
}

/// Takes what came; accepts some of it and gives nothing back.
fn take_some(c: &mut Cluster, known: &mut Known, rng: &mut Rng) {
    let Some(client) = known.client else { return };
    let got = c.take(client);
    assert!(got.is_sorted_by_key(|d| d.position), "in order");
    for delivery in got {
        let number: u32 = bodies(std::slice::from_ref(&delivery))[0].parse().unwrap();
        assert!(!known.gone.contains(&number), "{number} comes after its end was durable");
        assert!(!known.accepted.contains(&number), "{number} comes after its end");
        let again = known.unsure.contains(&number);
        assert!(again || known.owed.contains(&number), "{number} was never owed");
        // That it was out is not waited for: after a power cut it may come as if it never was.
        known.owed.retain(|owed| *owed != number);
        known.unsure.retain(|unsure| *unsure != number);
        if rng.below(4) > 0 {
            c.settle(client, &delivery, Outcome::Accept);
            known.accepted.push(number);
        } else {
            // Left alone: it comes again with the next connection.
            known.owed.push(number);
            c.settle(client, &delivery, Outcome::Requeue { failed: false });
        }
    }
}
