//! Members of a group that end on nodes that crash: whatever was confirmed to a publisher is accepted
//! by somebody in the end, however much of it lay in segments, and nothing that was accepted for
//! good comes again.
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
use crate::broker::Sizes;
use crate::command::{Answer, Command, Delivery, Event, Now, Outcome, Publish, Published};
use crate::ids::PublishSeq;
use crate::subscriber::{Lasts, OpenSession};

const SEEDS: u64 = 100;
/// The first never ends, so there is always somebody.
const MEMBERS: [(&str, Lasts); 4] = [
    ("anchor", Lasts::Forever),
    ("m1", Lasts::Forever),
    ("m2", Lasts::Ms(200)),
    ("m3", Lasts::Forever),
];
const FILTER: &str = "group:g:a/+";

#[derive(Debug, Default)]
struct Sent {
    confirmed: bool,
    accepted: bool,
    over: bool,
}

struct History {
    rng: Rng,
    disk: SimDisk,
    sizes: Sizes,
    now: Now,
    messages: BTreeMap<u64, Sent>,
    clients: [Option<Client>; MEMBERS.len()],
    held: [Vec<Delivery>; MEMBERS.len()],
    publisher: Option<Client>,
    /// Sessions that were ended with something in their queues.
    left: usize,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let sizes = Sizes {
            log_file_bytes: 16 << 10,
            log_bytes_max: 64 << 10,
            segment_bytes: 8 << 10,
            queue_memory_max: (2 << 10) << rng.below(3),
        };
        Self {
            disk: SimDisk::new(rng.next(), Faults::none()),
            rng,
            sizes,
            now: Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 },
            messages: BTreeMap::new(),
            clients: [None; MEMBERS.len()],
            held: Default::default(),
            publisher: None,
            left: 0,
        }
    }

    /// The next node; starts may end early, too.
    fn start(&mut self) -> Cluster {
        (self.clients, self.publisher) = ([None; MEMBERS.len()], None);
        self.held = Default::default();
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

    /// `None`: the process has ended.
    fn join(&mut self, c: &mut Cluster, n: usize, fresh: bool) -> Option<()> {
        self.hear(c);
        let (name, lasts) = MEMBERS[n];
        let open = OpenSession { fresh, window: 5, ..session(name, lasts) };
        let client = c.connect_at(c.session_home(&open), &identity(".*", ".*", ".*"));
        // What it had is another's from now on, or comes again.
        self.held[n].clear();
        let before = self.clients[n].replace(client);
        let answer = ask(c, client, Command::OpenSession(Box::new(open)))?;
        let Answer::SessionOpened(opened) = answer else { panic!("{answer:?}") };
        assert!(!fresh || !opened.resumed);
        if let Some(before) = before {
            c.vanish(before);
        }
        if opened.subscriptions.is_empty() {
            let subscriptions = vec![subscription(FILTER, LEAST)];
            ask(c, client, Command::Subscribe { subscriptions })?;
        }
        Some(())
    }

    fn join_all(&mut self, c: &mut Cluster) -> Option<()> {
        for n in 0..MEMBERS.len() {
            self.join(c, n, false)?;
        }
        self.publisher = Some(c.connect(self.rng.below(4)));
        Some(())
    }

    fn hear(&mut self, c: &mut Cluster) {
        for n in 0..MEMBERS.len() {
            let Some(client) = self.clients[n] else { continue };
            let log = std::mem::take(&mut c.seats[client.0].log);
            for event in log {
                match event {
                    Event::Delivery(delivery) => self.held[n].push(delivery),
                    // `ask` has not seen it: it is about to.
                    Event::Answer { .. } => c.seats[client.0].log.push(event),
                    Event::TakenOver | Event::ConsumerGone { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
        }
        let Some(publisher) = self.publisher else { return };
        for event in std::mem::take(&mut c.seats[publisher.0].log) {
            let Event::Stored { seq, accepted: true, .. } = event else { panic!("{event:?}") };
            self.messages.get_mut(&seq.0).unwrap().confirmed = true;
        }
    }

    fn publish(&mut self, c: &mut Cluster) {
        let id = self.messages.len() as u64 + 1;
        let body = format!("{id} {}", "x".repeat(self.rng.below(1_500)));
        let publish = Publish { seq: Some(PublishSeq(id)), ..kept("a/b", &body) };
        let confirmed = match c.send(self.publisher.unwrap(), &publish) {
            Ok(Published::Stored) => true,
            Ok(Published::Pending) => false,
            other => panic!("{other:?}"),
        };
        assert!(!confirmed, "somebody keeps it");
        self.messages.insert(id, Sent::default());
    }

    fn accept(&mut self, c: &mut Cluster, n: usize) {
        let Some(client) = self.clients[n] else { return };
        for delivery in std::mem::take(&mut self.held[n]) {
            let body = String::from_utf8(delivery.message.body().to_vec()).unwrap();
            let id: u64 = body.split(' ').next().unwrap().parse().unwrap();
            let sent = self.messages.get_mut(&id).expect("nobody has published it");
            assert!(!sent.over, "{id} comes again");
            sent.accepted = true;
            c.settle(client, &delivery, Outcome::Accept);
        }
    }

    fn act(&mut self, c: &mut Cluster) -> Option<()> {
        let n = self.rng.below(MEMBERS.len());
        match self.rng.below(24) {
            0 => c.pass(self.rng.below(300) as u64),
            1..=4 => {
                for _ in 0..self.rng.below(40) {
                    c.step();
                }
            }
            5 => {
                c.settle_down();
            }
            6 | 7 => self.accept(c, n),
            8 => {
                if let Some(client) = self.clients[n].take() {
                    self.held[n].clear();
                    c.vanish(client);
                }
            }
            9 | 10 => {
                let fresh = n > 0 && self.rng.below(2) == 0;
                self.left += usize::from(fresh);
                self.join(c, n, fresh)?;
            }
            _ => self.publish(c),
        }
        Some(())
    }

    fn live(&mut self, c: &mut Cluster, acts: usize) {
        if self.join_all(c).is_some() {
            for _ in 0..acts {
                if c.is_cut() || self.act(c).is_none() {
                    break;
                }
                self.hear(c);
            }
        }
        self.hear(c);
        self.publisher = None;
        self.now = c.now;
    }

    /// Everything comes.
    fn drain(&mut self, c: &mut Cluster) {
        assert!(self.join_all(c).is_some());
        for _ in 0..1_000 {
            c.pass(1);
            self.hear(c);
            if self.held.iter().all(Vec::is_empty) {
                break;
            }
            for n in 0..MEMBERS.len() {
                self.accept(c, n);
            }
        }
        assert!(self.held.iter().all(Vec::is_empty));
    }
}

fn end_and_crash(seed: u64) -> usize {
    let mut history = History::new(seed);
    let mut c = history.start();
    for _ in 0..3 + history.rng.below(4) {
        if history.rng.below(2) == 0 {
            let count = 1 + history.rng.below(400) as u64;
            history.disk.crash_at(count);
        }
        let acts = history.rng.below(150);
        history.live(&mut c, acts);
        history.cut();
        if history.rng.below(3) == 0 {
            let count = 1 + history.rng.below(60) as u64;
            history.disk.crash_at(count);
        }
        c = history.start();
        if c.is_cut() {
            history.cut();
            c = history.start();
        }
        history.disk.crash_at(u64::MAX);
    }
    history.drain(&mut c);
    for (id, sent) in &mut history.messages {
        assert!(sent.accepted || !sent.confirmed, "{id} is lost");
        sent.over = true;
    }
    assert!(c.settle_down());
    for broker in &c.brokers {
        assert_eq!(broker.queues.iter().filter(|(_, entry)| entry.leaving.is_some()).count(), 0);
    }
    history.now = c.now;
    history.disk.crash();
    let mut c = history.start();
    history.drain(&mut c);
    history.left
}

/// H-27: nothing that was confirmed is lost with a member's session.
#[test]
fn what_a_group_was_given_outlives_its_members_and_any_crash() {
    let mut left = 0;
    on_seeds(SEEDS, |seed| left += end_and_crash(seed));
    assert!(left > 0);
}
