//! Messages that are to come exactly once, on nodes of several shards: the publisher's connection
//! ends at any step, another takes its session, the process is killed or the power cut, and whatever
//! was not confirmed is published again with its number. In the end every session that asked has
//! each message once, and each group as well.
//!
//! May import the cluster, its clients and the simulated disk.

use std::collections::{BTreeMap, VecDeque};

use ringmq_shards::sim::{Faults, SimDisk};

use super::client::*;
use super::cluster::{Cluster, Rng, Shape, identity};
use super::disk::on_seeds;
use super::disk_machine::start;
use super::disk_notes::ask;
use super::subscriber::*;
use crate::broker::Sizes;
use crate::command::{Answer, Command, Event, Now, Once, Publish, Published};
use crate::ids::PublishSeq;
use crate::subscriber::{Lasts, OpenedSession};

const SEEDS: u64 = 150;
const PUBLISHER: &str = "publisher";
/// Numbers that the publisher uses.
const NUMBERS: u16 = 6;
const TOPICS: [&str; 3] = ["a", "b", "c"];

/// Sessions with what they have subscribed to; the last two share a group.
const SESSIONS: [(&str, &[&str]); 5] = [
    ("s0", &["a", "b"]),
    ("s1", &["a", "c"]),
    ("s2", &["#"]),
    ("g0", &["group:g:#"]),
    ("g1", &["group:g:#", "b"]),
];

/// A message whose number is in use.
#[derive(Debug, Clone)]
struct Open {
    number: u16,
    body: u64,
    /// It is stored: its publisher was told so.
    held: bool,
    /// Who is asked to forget the number.
    drop: Option<u64>,
    seq: u64,
}

/// One node after the other on one disk.
struct History {
    rng: Rng,
    disk: SimDisk,
    sizes: Sizes,
    now: Now,
    /// In the order in which they were published.
    open: VecDeque<Open>,
    client: Option<Client>,
    subscribed: usize,
    opened: bool,
    seq: u64,
    /// By body: its topic, and whether it was confirmed.
    sent: Vec<(usize, bool)>,
    again: u64,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let sizes = Sizes {
            log_file_bytes: 64 << 10,
            log_bytes_max: 256 << 10,
            segment_bytes: 8 << 10,
            queue_memory_max: 1 << 20,
        };
        Self {
            disk: SimDisk::new(rng.next(), Faults::none()),
            rng,
            sizes,
            now: Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 },
            open: VecDeque::new(),
            client: None,
            subscribed: 0,
            opened: false,
            seq: 0,
            sent: Vec::new(),
            again: 0,
        }
    }

    fn cut(&mut self) {
        if self.rng.below(2) == 0 { self.disk.kill() } else { self.disk.crash() }
    }

    /// The next node; starts may end early, too.
    fn start(&mut self) -> Cluster {
        self.client = None;
        for _ in 0..100 {
            let shards = u16::try_from(1 + self.rng.below(4)).unwrap();
            let seed = self.rng.next();
            let shape = Shape { shards, apart: false, seed, memory_bytes_max: u64::MAX };
            match start(shape, &self.disk, (self.sizes, 0), self.now) {
                Ok(started) => return started.cluster,
                Err(error) => {
                    assert!(self.disk.is_cut(), "recovery fails: {error}");
                    self.cut();
                }
            }
        }
        panic!("it never starts");
    }

    fn open_session(c: &mut Cluster, name: &str) -> Option<(Client, OpenedSession)> {
        let open = session(name, Lasts::Forever);
        let client = c.connect_at(c.session_home(&open), &identity(".*", ".*", ".*"));
        match ask(c, client, Command::OpenSession(Box::new(open)))? {
            Answer::SessionOpened(opened) => Some((client, *opened)),
            other => panic!("{other:?}"),
        }
    }

    /// All sessions are there before anything is published. False: the process has ended.
    fn prepare(&mut self, c: &mut Cluster) -> bool {
        while let Some((name, filters)) = SESSIONS.get(self.subscribed) {
            let Some((client, _)) = Self::open_session(c, name) else { return false };
            let subscriptions = filters.iter().map(|name| subscription(name, EXACTLY)).collect();
            if ask(c, client, Command::Subscribe { subscriptions }).is_none() {
                return false;
            }
            c.drop_connection(client);
            self.subscribed += 1;
        }
        true
    }

    /// The publisher comes, perhaps while the connection before is still there, and says again what
    /// it was not told about.
    fn come(&mut self, c: &mut Cluster) -> bool {
        let Some((client, opened)) = Self::open_session(c, PUBLISHER) else { return false };
        assert!(opened.resumed || !self.opened, "the session is gone");
        self.opened = true;
        if let Some(before) = self.client.replace(client) {
            c.vanish(before);
        }
        for place in 0..self.open.len() {
            let open = self.open[place].clone();
            if open.held {
                self.forget(c, place);
            } else if opened.receipts.contains(&open.number) {
                self.confirmed(place);
            } else {
                self.again += 1;
                self.publish(c, place, true);
            }
        }
        let known = |number: &u16| self.open.iter().any(|open| open.number == *number);
        assert!(opened.receipts.iter().all(known), "numbers that nobody uses: {opened:?}");
        true
    }

    fn publish(&mut self, c: &mut Cluster, place: usize, again: bool) {
        self.seq += 1;
        let open = &mut self.open[place];
        open.seq = self.seq;
        let body = open.body.to_string();
        let topic = TOPICS[self.sent[usize::try_from(open.body).unwrap()].0];
        let once = Some(Once { number: open.number, again });
        let publish = Publish { once, seq: Some(PublishSeq(self.seq)), ..kept(topic, &body) };
        match c.send(self.client.unwrap(), &publish) {
            Ok(Published::Pending) => {}
            Ok(Published::Stored) => self.confirmed(place),
            other => panic!("{other:?}"),
        }
    }

    fn confirmed(&mut self, place: usize) {
        let open = &mut self.open[place];
        open.held = true;
        self.sent[usize::try_from(open.body).unwrap()].1 = true;
    }

    /// The publisher lets a number go.
    fn forget(&mut self, c: &mut Cluster, place: usize) {
        self.seq += 1;
        self.open[place].drop = Some(self.seq);
        let client = self.client.unwrap();
        let connection = c.seats[client.0].at.connection;
        let (number, seq) = (self.open[place].number, Some(PublishSeq(self.seq)));
        let _ = c.broker_of(client).drop_receipt(connection, ZERO, number, seq);
    }

    fn hear(&mut self, c: &mut Cluster) {
        let Some(client) = self.client else { return };
        for event in std::mem::take(&mut c.seats[client.0].log) {
            let Event::Stored { seq, accepted: true, .. } = event else { panic!("{event:?}") };
            if let Some(place) = self.open.iter().position(|open| open.seq == seq.0) {
                self.confirmed(place);
            }
            self.open.retain(|open| open.drop != Some(seq.0));
        }
    }

    fn new_message(&mut self, c: &mut Cluster) {
        let is_free = |number: &u16| self.open.iter().all(|open| open.number != *number);
        let Some(number) = (0..NUMBERS).find(is_free) else { return };
        let body = self.sent.len() as u64;
        self.sent.push((self.rng.below(TOPICS.len()), false));
        self.open.push_back(Open { number, body, held: false, drop: None, seq: 0 });
        self.publish(c, self.open.len() - 1, false);
    }

    fn act(&mut self, c: &mut Cluster) {
        match self.rng.below(12) {
            0 => c.pass(self.rng.below(80) as u64),
            1..=3 => {
                for _ in 0..self.rng.below(20) {
                    c.step();
                }
            }
            4 => {
                // The connection ends, now or when the next one is there.
                if self.rng.below(2) == 0
                    && let Some(client) = self.client.take()
                {
                    c.vanish(client);
                }
                for _ in 0..self.rng.below(12) {
                    c.step();
                }
                self.come(c);
            }
            5..=7 => {
                let ready = |open: &Open| open.held && open.drop.is_none();
                if let Some(place) = self.open.iter().position(ready) {
                    self.forget(c, place);
                }
            }
            _ => self.new_message(c),
        }
    }

    /// A node works until it ends somewhere.
    fn live(&mut self, c: &mut Cluster, acts: usize) {
        if self.prepare(c) && self.come(c) {
            for _ in 0..acts {
                if c.is_cut() || self.client.is_none() {
                    break;
                }
                self.hear(c);
                self.act(c);
            }
        }
        if !c.is_cut() {
            self.hear(c);
        }
        self.now = c.now;
    }

    /// Who has what, and how often; of a group all have it together.
    fn count(c: &mut Cluster) -> BTreeMap<(&'static str, u64), u32> {
        let mut counts = BTreeMap::new();
        for (name, _) in SESSIONS {
            let (client, _) = c.open(&session(name, Lasts::Forever));
            loop {
                let all = c.take(client);
                if all.is_empty() {
                    break;
                }
                for delivery in &all {
                    let body = std::str::from_utf8(delivery.message.body()).unwrap();
                    let is_shared = delivery.message.exchange().starts_with("amq.group");
                    let place = if is_shared { "group" } else { name };
                    *counts.entry((place, body.parse().unwrap())).or_default() += 1;
                }
                c.accept(client, &all);
            }
        }
        counts
    }
}

fn asks_for(name: &str, topic: &str) -> bool {
    let of = SESSIONS.iter().find(|(known, _)| *known == name);
    of.is_none_or(|(_, filters)| filters.iter().any(|it| *it == topic || *it == "#"))
}

/// How many messages were published again.
pub(super) fn publish_and_crash(seed: u64) -> u64 {
    let mut history = History::new(seed);
    let mut c = history.start();
    for _ in 0..2 + history.rng.below(4) {
        if history.rng.below(2) == 0 {
            let count = 1 + history.rng.below(200) as u64;
            history.disk.crash_at(count);
        }
        let acts = history.rng.below(120);
        history.live(&mut c, acts);
        history.cut();
        history.disk.crash_at(u64::MAX);
        c = history.start();
    }
    history.live(&mut c, 0);
    assert!(c.settle_down());
    history.hear(&mut c);
    assert!(history.open.iter().all(|open| open.held), "not confirmed: {:?}", history.open);
    let counts = History::count(&mut c);
    for (body, (topic, confirmed)) in history.sent.iter().enumerate() {
        let (body, topic) = (body as u64, TOPICS[*topic]);
        assert!(confirmed, "the publisher gave up {body}");
        for place in ["s0", "s1", "s2", "g1", "group"] {
            let wanted = if place == "g1" { topic == "b" } else { asks_for(place, topic) };
            let found = counts.get(&(place, body)).copied().unwrap_or(0);
            assert_eq!(found, u32::from(wanted), "{body} of {topic} in {place}");
        }
    }
    history.again
}

#[test]
fn what_is_published_with_a_number_comes_once_whatever_ends_before_it_is_confirmed() {
    let mut again = 0;
    on_seeds(SEEDS, |seed| again += publish_and_crash(seed));
    eprintln!("{again} published again");
}
