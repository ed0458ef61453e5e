//! What sessions remember besides messages, on nodes that crash: a number that was reported held is
//! there, one that was reported let go is not, and what was received is not sent again.
//!
//! May import the cluster, its clients and the simulated disk.

use std::collections::BTreeMap;

use ringmq_shards::sim::{Faults, SimDisk};

use super::client::*;
use super::cluster::{Cluster, Rng, Shape, identity, on_every_node};
use super::disk::on_seeds;
use super::disk_machine::start;
use super::subscriber::*;
use crate::broker::Sizes;
use crate::command::{Answer, Command, Delivery, Event, Now, Outcome, Publish, Published};
use crate::ids::PublishSeq;
use crate::subscriber::{Lasts, OpenSession, OpenedSession};

const SEEDS: u64 = 300;
const SESSIONS: [&str; 3] = ["s0", "s1", "s2"];
const NUMBERS: usize = 12;

/// What something can be after a crash: what it was when that was last reported, or whatever it
/// became since.
#[derive(Debug, Clone)]
struct Possible(Vec<(u64, bool)>);

impl Possible {
    fn only(value: bool) -> Self {
        Self(vec![(0, value)])
    }

    fn becomes(&mut self, seq: u64, value: bool) {
        self.0.push((seq, value));
    }

    fn reported(&mut self, seq: u64) {
        let place = self.0.iter().position(|(known, _)| *known == seq);
        // A later one was reported before.
        if let Some(place) = place {
            self.0.drain(..place);
        }
    }

    fn found(&mut self, value: bool) -> bool {
        let may_be = self.0.iter().any(|(_, possible)| *possible == value);
        *self = Self::only(value);
        may_be
    }

    fn now(&self) -> bool {
        self.0.last().unwrap().1
    }
}

/// What a report is about.
#[derive(Debug, Clone, Copy)]
enum About {
    Number(usize, u16),
    Message(usize, u64),
    Publish(usize, u64),
}

/// A message of a session.
#[derive(Debug, Clone, Default)]
struct Sent {
    confirmed: bool,
    delivered: bool,
    /// The subscriber said that it has it, and was told that this is durable.
    received: bool,
    surely: bool,
    ended: bool,
    over: bool,
}

/// A session and its client.
#[derive(Debug, Default)]
struct Subscriber {
    numbers: Vec<Possible>,
    /// By the number that their bodies begin with.
    messages: BTreeMap<u64, Sent>,
    /// By position.
    positions: BTreeMap<u64, u64>,
    /// It was told that its session is open, and subscribed.
    opened: bool,
    client: Option<Client>,
    held: Vec<Delivery>,
}

/// One node after the other on one disk.
struct History {
    rng: Rng,
    disk: SimDisk,
    sizes: Sizes,
    now: Now,
    sessions: Vec<Subscriber>,
    asked: BTreeMap<u64, About>,
    seq: u64,
    reports: u64,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let sizes = Sizes {
            log_file_bytes: 16 << 10,
            log_bytes_max: 64 << 10,
            segment_bytes: 8 << 10,
            queue_memory_max: (4 << 10) << rng.below(4),
        };
        let numbers = vec![Possible::only(false); NUMBERS];
        let session = || Subscriber { numbers: numbers.clone(), ..Subscriber::default() };
        Self {
            disk: SimDisk::new(rng.next(), Faults::none()),
            rng,
            sizes,
            now: Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 },
            sessions: SESSIONS.iter().map(|_| session()).collect(),
            asked: BTreeMap::new(),
            seq: 0,
            reports: 0,
        }
    }

    /// The next node; starts may end early, too.
    fn start(&mut self) -> Cluster {
        self.asked.clear();
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

    fn next(&mut self, about: About) -> PublishSeq {
        self.seq += 1;
        self.asked.insert(self.seq, about);
        PublishSeq(self.seq)
    }

    /// Clients come back to their sessions. False: the process has ended.
    fn open_all(&mut self, c: &mut Cluster) -> bool {
        for (n, name) in SESSIONS.into_iter().enumerate() {
            let open = session(name, Lasts::Forever);
            let client = c.connect_at(c.session_home(&open), &identity(".*", ".*", ".*"));
            let answer = ask(c, client, Command::OpenSession(Box::new(open)));
            let Some(Answer::SessionOpened(opened)) = answer else { return false };
            self.opened(n, &opened);
            if opened.subscriptions.is_empty() {
                let subscriptions = vec![subscription(name, EXACTLY)];
                if ask(c, client, Command::Subscribe { subscriptions }).is_none() {
                    return false;
                }
            }
            let of = &mut self.sessions[n];
            (of.opened, of.client) = (true, Some(client));
        }
        true
    }

    fn opened(&mut self, n: usize, opened: &OpenedSession) {
        let of = &mut self.sessions[n];
        of.held.clear();
        assert!(opened.resumed || !of.opened, "session {n} is gone");
        let held = &opened.receipts;
        assert!(held.iter().all(|number| usize::from(*number) < NUMBERS), "{held:?}");
        for (number, possible) in of.numbers.iter_mut().enumerate() {
            let there = held.contains(&u16::try_from(number).unwrap());
            let shown = format!("{number} of session {n}: {possible:?}");
            assert!(possible.found(there), "held: {there}, but {shown}");
        }
    }

    fn number(&mut self, c: &mut Cluster, n: usize) {
        let number = self.rng.below(NUMBERS);
        let possible = &mut self.sessions[n].numbers[number];
        // Now and then again what was said before.
        let held = if self.rng.below(6) == 0 { possible.now() } else { !possible.now() };
        let wire = u16::try_from(number).unwrap();
        let seq = self.next(About::Number(n, wire));
        self.sessions[n].numbers[number].becomes(seq.0, held);
        let client = self.sessions[n].client.unwrap();
        let connection = c.seats[client.0].at.connection;
        let broker = c.broker_of(client);
        let published = if held {
            broker.hold_receipt(connection, ONE, wire, Some(seq))
        } else {
            broker.drop_receipt(connection, ONE, wire, Some(seq))
        };
        match published {
            Published::Pending => {}
            // It was said before, and all is on the disk.
            Published::Stored => self.reported(seq),
            Published::Unroutable | Published::Overflowed => panic!("{published:?}"),
        }
    }

    fn publish(&mut self, c: &mut Cluster, n: usize) {
        let from = self.sessions[self.rng.below(SESSIONS.len())].client.unwrap();
        let id = self.seq + 1;
        let seq = self.next(About::Publish(n, id));
        let filling = "x".repeat(self.rng.below(1_500));
        let body = format!("{id} {filling}");
        let publish = Publish { seq: Some(seq), ..kept(SESSIONS[n], &body) };
        assert_eq!(c.send(from, &publish), Ok(Published::Pending));
        self.sessions[n].messages.insert(id, Sent::default());
    }

    /// The subscriber says that it has one that it was sent.
    fn receive(&mut self, c: &mut Cluster, n: usize) {
        let of = &self.sessions[n];
        let fresh = of.held.iter().filter(|d| !of.messages[&of.positions[&d.position]].received);
        let fresh: Vec<Delivery> = fresh.cloned().collect();
        if fresh.is_empty() {
            return;
        }
        let delivery = &fresh[self.rng.below(fresh.len())];
        let id = self.sessions[n].positions[&delivery.position];
        let seq = self.next(About::Message(n, id));
        let of = &mut self.sessions[n];
        of.messages.get_mut(&id).unwrap().received = true;
        let (client, now) = (of.client.unwrap(), c.now);
        let connection = c.seats[client.0].at.connection;
        let which = (delivery.queue, delivery.id);
        let broker = c.broker_of(client);
        let published = broker.settle_received(connection, ZERO, which, Some(seq), now);
        assert_eq!(published, Published::Pending);
    }

    /// It lets go what it was told to let go.
    fn accept(&mut self, c: &mut Cluster, n: usize) {
        let of = &mut self.sessions[n];
        let is_ready = |d: &Delivery| of.messages[&of.positions[&d.position]].surely;
        let Some(place) = of.held.iter().position(is_ready) else { return };
        let delivery = of.held.remove(place);
        of.messages.get_mut(&of.positions[&delivery.position]).unwrap().ended = true;
        c.settle(of.client.unwrap(), &delivery, Outcome::Accept);
    }

    fn delivered(&mut self, n: usize, delivery: Delivery) {
        let of = &mut self.sessions[n];
        let id = if delivery.received {
            *of.positions.get(&delivery.position).expect("it was sent before")
        } else {
            let body = String::from_utf8(delivery.message.body().to_vec()).unwrap();
            let id = body.split(' ').next().unwrap().parse().unwrap();
            let known = of.positions.insert(delivery.position, id);
            assert!(known.is_none_or(|known| known == id), "it has another position");
            id
        };
        let sent = of.messages.get_mut(&id).expect("it was sent");
        let shown = format!("{id} of session {n}: {sent:?}");
        assert!(!sent.over, "it comes back: {shown}");
        assert!(delivery.received || !sent.surely, "it is sent again: {shown}");
        assert!(!delivery.received || sent.received, "it was never received: {shown}");
        (sent.delivered, sent.ended) = (true, false);
        (sent.received, sent.surely) = (delivery.received, delivery.received);
        of.held.push(delivery);
    }

    fn hear(&mut self, c: &mut Cluster) {
        for n in 0..SESSIONS.len() {
            let Some(client) = self.sessions[n].client else { continue };
            for event in std::mem::take(&mut c.seats[client.0].log) {
                match event {
                    Event::Delivery(delivery) => self.delivered(n, delivery),
                    Event::Stored { seq, accepted: true, .. } => self.reported(seq),
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    fn reported(&mut self, seq: PublishSeq) {
        self.reports += 1;
        match self.asked.remove(&seq.0).expect("it is reported twice") {
            About::Number(n, number) => {
                self.sessions[n].numbers[usize::from(number)].reported(seq.0);
            }
            About::Message(n, id) => {
                self.sessions[n].messages.get_mut(&id).unwrap().surely = true;
            }
            About::Publish(n, id) => {
                self.sessions[n].messages.get_mut(&id).unwrap().confirmed = true;
            }
        }
    }

    fn all_messages(&mut self) -> impl Iterator<Item = &mut Sent> {
        self.sessions.iter_mut().flat_map(|of| of.messages.values_mut())
    }

    /// A node works until it ends somewhere.
    fn live(&mut self, c: &mut Cluster, acts: usize) {
        self.sessions.iter_mut().for_each(|of| of.client = None);
        if self.open_all(c) {
            self.hear(c);
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
        let n = self.rng.below(SESSIONS.len());
        match self.rng.below(20) {
            0 => c.pass(self.rng.below(80) as u64),
            1..=3 => {
                for _ in 0..self.rng.below(40) {
                    c.step();
                }
            }
            4 if self.rng.below(4) == 0 && c.settle_down() => {
                self.hear(c);
                self.all_messages().for_each(|sent| sent.over = sent.ended);
            }
            4..=7 => self.number(c, n),
            8..=11 => self.receive(c, n),
            12..=14 => self.accept(c, n),
            _ => self.publish(c, n),
        }
    }
}

/// Executes a command; `None`: the process ended before the answer.
pub(super) fn ask(c: &mut Cluster, client: Client, command: Command) -> Option<Answer> {
    c.start(client, ZERO, command);
    for _ in 0..1_000_000 {
        let log = &mut c.seats[client.0].log;
        if let Some(place) = log.iter().position(|e| matches!(e, Event::Answer { .. }))
            && let Event::Answer { answer, .. } = log.remove(place)
        {
            return Some(answer);
        }
        if !c.step() {
            assert!(c.is_cut(), "no answer comes");
            return None;
        }
    }
    panic!("no answer comes");
}

/// How many reports there were.
pub(super) fn remember_and_crash(seed: u64) -> u64 {
    let mut history = History::new(seed);
    let mut c = history.start();
    for _ in 0..3 + history.rng.below(4) {
        if history.rng.below(2) == 0 {
            let count = 1 + history.rng.below(300) as u64;
            history.disk.crash_at(count);
        }
        let acts = history.rng.below(250);
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
    history.live(&mut c, 0);
    // All earlier files go, and nothing with them.
    assert!(c.settle_down());
    history.hear(&mut c);
    for sent in history.all_messages() {
        assert!(sent.delivered || !sent.confirmed, "it is lost: {sent:?}");
        sent.over |= sent.ended;
    }
    history.now = c.now;
    history.disk.crash();
    let mut c = history.start();
    for possible in history.sessions.iter_mut().flat_map(|of| &mut of.numbers) {
        *possible = Possible::only(possible.now());
    }
    history.live(&mut c, 0);
    history.reports
}

#[test]
fn what_was_reported_of_numbers_and_received_messages_outlives_any_crash() {
    let mut reports = 0;
    on_seeds(SEEDS, |seed| reports += remember_and_crash(seed));
    eprintln!("{reports} reports");
}

#[test]
fn numbers_stay_with_a_session_that_lasts_and_go_with_it() {
    on_every_node(1, |c| {
        let (client, _) = c.open(&session("s", Lasts::Forever));
        let connection = c.seats[client.0].at.connection;
        for number in [7, 65_535] {
            let held = c.broker_of(client).hold_receipt(connection, ONE, number, None);
            assert_eq!(held, Published::Stored);
        }
        c.broker_of(client).drop_receipt(connection, ONE, 7, None);
        c.drop_connection(client);
        let (client, opened) = c.open(&session("s", Lasts::Forever));
        assert_eq!(opened.receipts, [65_535]);
        c.drop_connection(client);
        let fresh = OpenSession { fresh: true, ..session("s", Lasts::Forever) };
        assert!(c.open(&fresh).1.receipts.is_empty());
        c.forget_sessions();
    });
}

#[test]
fn numbers_do_not_outlive_the_session_of_that_name() {
    let mut history = History::new(1);
    let mut c = history.start();
    assert!(history.open_all(&mut c));
    let client = history.sessions[0].client.unwrap();
    let connection = c.seats[client.0].at.connection;
    assert_eq!(c.broker_of(client).hold_receipt(connection, ONE, 7, None), Published::Stored);
    let fresh = OpenSession { fresh: true, ..session(SESSIONS[0], Lasts::Forever) };
    assert!(c.open(&fresh).1.receipts.is_empty());
    assert!(c.settle_down());
    history.now = c.now;
    history.disk.crash();
    let mut c = history.start();
    assert!(history.open_all(&mut c));
}

#[test]
fn a_session_that_does_not_last_waits_for_nothing() {
    let mut history = History::new(1);
    let mut c = history.start();
    let (client, _) = c.open(&session("s", Lasts::Connection));
    let connection = c.seats[client.0].at.connection;
    for subscribed in [false, true] {
        if subscribed {
            c.subscribe(client, "a", EXACTLY);
        }
        let (seq, broker) = (Some(PublishSeq(1)), c.broker_of(client));
        assert_eq!(broker.hold_receipt(connection, ONE, 7, seq), Published::Stored);
        assert_eq!(broker.drop_receipt(connection, ONE, 8, seq), Published::Stored);
    }
    c.send(client, &kept("a", "1")).unwrap();
    let got = c.take(client);
    let (which, now) = ((got[0].queue, got[0].id), c.now);
    let seq = Some(PublishSeq(2));
    let received = c.broker_of(client).settle_received(connection, ZERO, which, seq, now);
    assert_eq!(received, Published::Stored);
}
