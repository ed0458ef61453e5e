//! Wills on nodes that crash: one that the disk has is published when its time has come, on whatever
//! number of shards the next node has; one that was taken back for good is not.
//!
//! May import the cluster, its clients and the simulated disk.

use std::collections::BTreeMap;

use ringmq_shards::sim::{Faults, SimDisk};

use super::client::*;
use super::cluster::{Cluster, Rng, Shape, identity};
use super::disk::on_seeds;
use super::disk_machine::start;
use super::disk_notes::ask;
use super::subscriber::*;
use super::wills::{HOUR, TOPIC, will};
use crate::broker::Sizes;
use crate::command::{Answer, Command, Event, Now};
use crate::subscriber::Will;

const SEEDS: u64 = 300;
const CLIENTS: [&str; 4] = ["c0", "c1", "c2", "c3"];
const DELAY_MAX_MS: usize = 400;

/// What its client has done about a will.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It is connected, or was when the process ended.
    Parked,
    /// It went at this time.
    Left(u64),
    TakenBack,
    /// A crash may have forgotten it, or that it was taken back.
    Perhaps,
}

#[derive(Debug)]
struct Left {
    delay_ms: u64,
    state: State,
    /// When the first process started after that in which it was set.
    found_wall_ms: Option<u64>,
    /// A crash does not forget it: it has to come.
    owed: bool,
    came: bool,
    /// It has come or was taken back, and a crash does not forget that.
    over: bool,
}

/// One node after the other on one disk.
struct History {
    rng: Rng,
    disk: SimDisk,
    now: Now,
    wills: BTreeMap<u64, Left>,
    clients: [Option<(Client, Option<u64>)>; CLIENTS.len()],
    mourner: Option<Client>,
    came: usize,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        Self {
            disk: SimDisk::new(rng.next(), Faults::none()),
            rng,
            now: Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 },
            wills: BTreeMap::new(),
            clients: [None; CLIENTS.len()],
            mourner: None,
            came: 0,
        }
    }

    /// The next node; starts may end early, too.
    fn start(&mut self) -> Cluster {
        let sizes = Sizes {
            log_file_bytes: 16 << 10,
            log_bytes_max: 64 << 10,
            segment_bytes: 8 << 10,
            queue_memory_max: 16 << 10,
        };
        for _ in 0..100 {
            let shards = u16::try_from(1 + self.rng.below(4)).unwrap();
            let seed = self.rng.next();
            let shape = Shape { shards, apart: false, seed, memory_bytes_max: u64::MAX };
            match start(shape, &self.disk, (sizes, 0), self.now) {
                Ok(started) => {
                    assert_eq!(started.report.lost, 0, "{:?}", started.report.findings);
                    for left in self.wills.values_mut() {
                        left.found_wall_ms.get_or_insert(self.now.wall_ms);
                        if left.state == State::TakenBack || !left.owed {
                            left.state = State::Perhaps;
                        }
                    }
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

    fn open(
        &mut self,
        c: &mut Cluster,
        name: &str,
        announced: Option<&Will<'_>>,
    ) -> Option<(Client, bool)> {
        let open = session(name, HOUR);
        let client = c.connect_at(c.session_home(&open), &identity(".*", ".*", ".*"));
        if announced.is_some() {
            c.set_will(client, announced);
        }
        match ask(c, client, Command::OpenSession(Box::new(open)))? {
            Answer::SessionOpened(opened) => Some((client, !opened.subscriptions.is_empty())),
            other => panic!("{other:?}"),
        }
    }

    /// A node is there. False: it has ended again.
    fn arrive(&mut self, c: &mut Cluster) -> bool {
        self.clients = [None; CLIENTS.len()];
        self.mourner = None;
        let Some((client, subscribed)) = self.open(c, "mourner", None) else { return false };
        let subscriptions = vec![subscription(TOPIC, LEAST)];
        if !subscribed && ask(c, client, Command::Subscribe { subscriptions }).is_none() {
            return false;
        }
        self.mourner = Some(client);
        true
    }

    fn connect(&mut self, c: &mut Cluster, n: usize) {
        let (before, is_early) = (c.now, self.rng.below(2) == 0);
        let (id, delay_ms) = (self.wills.len() as u64, self.rng.below(DELAY_MAX_MS) as u64);
        let id = id * CLIENTS.len() as u64 + n as u64;
        let body = format!("{id} {}", "x".repeat(self.rng.below(2_000)));
        let will = will(&body, delay_ms);
        let opened = self.open(c, CLIENTS[n], is_early.then_some(&will));
        assert_eq!(c.now, before, "answers take no time");
        // What waited for this client waits no longer; who knows, if there was no answer.
        let state = if opened.is_some() { State::TakenBack } else { State::Perhaps };
        let of_client = |id: &u64| usize::try_from(*id).unwrap() % CLIENTS.len() == n;
        for (_, left) in self.wills.iter_mut().filter(|(id, _)| of_client(id)) {
            if left.state != State::TakenBack && !left.came && left.delay_ms > 0 {
                (left.state, left.owed) = (state, false);
            }
        }
        if opened.is_none() && !is_early {
            return;
        }
        // Who was told that the session is open has left it for sure.
        let owed = is_early && opened.is_some();
        let state = if opened.is_some() { State::Parked } else { State::Perhaps };
        let left = Left { delay_ms, state, found_wall_ms: None, owed, came: false, over: false };
        self.wills.insert(id, left);
        let Some((client, _)) = opened else { return };
        if !is_early {
            c.set_will(client, Some(&will));
        }
        self.clients[n] = Some((client, Some(id)));
    }

    fn leave(&mut self, c: &mut Cluster, n: usize, goodbye: bool) {
        let Some((client, id)) = self.clients[n].take() else { return };
        if let Some(left) = id.and_then(|id| self.wills.get_mut(&id)) {
            left.state = State::Left(c.now.wall_ms);
            if goodbye {
                left.state = State::TakenBack;
                left.owed = false;
            }
        }
        if goodbye {
            c.set_will(client, None);
        }
        c.drop_connection(client);
    }

    fn hear(&mut self, c: &mut Cluster) {
        let Some(mourner) = self.mourner else { return };
        for event in std::mem::take(&mut c.seats[mourner.0].log) {
            let Event::Delivery(delivery) = event else { panic!("{event:?}") };
            let body = String::from_utf8(delivery.message.body().to_vec()).unwrap();
            let id: u64 = body.split(' ').next().unwrap().parse().unwrap();
            let left = self.wills.get_mut(&id).expect("nobody has left it");
            let shown = format!("{id} at {}: {left:?}", c.now.wall_ms);
            assert!(!left.over, "it comes again: {shown}");
            let due = match (left.state, left.found_wall_ms) {
                (State::Parked, None) => panic!("its client is there: {shown}"),
                (State::Parked, Some(from)) | (State::Left(from), _) => from + left.delay_ms,
                (State::TakenBack | State::Perhaps, _) => 0,
            };
            assert!(left.came || due <= c.now.wall_ms, "it comes early: {shown}");
            left.came = true;
            self.came += 1;
            c.settle(mourner, &delivery, crate::command::Outcome::Accept);
        }
    }

    /// All that was logged is durable.
    fn note_durable(&mut self) {
        for left in self.wills.values_mut() {
            match left.state {
                _ if left.came => left.over = true,
                State::Parked | State::Left(_) => left.owed = true,
                State::TakenBack => left.over = true,
                State::Perhaps => {}
            }
        }
    }

    fn live(&mut self, c: &mut Cluster, acts: usize) {
        if self.arrive(c) {
            for _ in 0..acts {
                if c.is_cut() {
                    break;
                }
                self.act(c);
                self.hear(c);
            }
        }
        self.hear(c);
        self.now = c.now;
    }

    fn act(&mut self, c: &mut Cluster) {
        let n = self.rng.below(CLIENTS.len());
        match self.rng.below(16) {
            0..=2 => c.pass(self.rng.below(120) as u64),
            3..=5 => {
                for _ in 0..self.rng.below(40) {
                    c.step();
                }
            }
            6 if c.settle_down() => {
                self.hear(c);
                // What was just accepted has to be durable, too.
                if c.settle_down() {
                    self.note_durable();
                }
            }
            6 | 7 => self.leave(c, n, true),
            8..=10 => self.leave(c, n, false),
            _ if self.clients[n].is_none() => self.connect(c, n),
            _ => {}
        }
    }
}

/// How many came.
fn leave_and_crash(seed: u64) -> usize {
    let mut history = History::new(seed);
    let mut c = history.start();
    for _ in 0..3 + history.rng.below(4) {
        if history.rng.below(2) == 0 {
            let count = 1 + history.rng.below(200) as u64;
            history.disk.crash_at(count);
        }
        let acts = history.rng.below(200);
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
    assert!(history.arrive(&mut c));
    c.pass(1_000);
    for _ in 0..2 {
        assert!(c.settle_down());
        history.hear(&mut c);
    }
    for (id, left) in &mut history.wills {
        assert!(left.came || !left.owed, "{id} is lost: {left:?}");
        left.over = true;
    }
    assert!(c.settle_down());
    c.no_wills();
    let bytes: u64 = c.brokers.iter().map(|b| b.delayed.logged_bytes).sum();
    assert_eq!(bytes, 0);
    history.now = c.now;
    history.disk.crash();
    let mut c = history.start();
    assert!(history.arrive(&mut c));
    c.pass(1_000);
    history.hear(&mut c);
    history.came
}

/// H-13.
#[test]
fn a_will_that_the_disk_has_comes_after_any_crash() {
    let mut came = 0;
    on_seeds(SEEDS, |seed| came += leave_and_crash(seed));
    eprintln!("{came} came");
    assert!(came > 0);
}
