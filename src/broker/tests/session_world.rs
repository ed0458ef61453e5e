//! Clients with sessions on a node that may end at any step: what they do by seed, and what they tell
//! the oracle. May import the cluster, its clients and the oracle.

use std::collections::BTreeMap;

use super::client::*;
use super::cluster::{Cluster, identity};
use super::session_oracle::*;
use super::subscriber::*;
use crate::broker::deliver::SETTLED;
use crate::command::{Answer, Command, Delivery, Event, Outcome, Publish, Published};
use crate::ids::PublishSeq;
use crate::subscriber::{Assurance, OpenSession, Will};

/// Connections without a session, which only publish.
pub(super) const PUBLISHERS: usize = 2;

/// What a connection waits for an answer to.
#[derive(Debug)]
pub(super) enum Asked {
    Open { fresh: bool },
    Filters(Vec<&'static str>),
}

/// What a report is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum About {
    Publish(usize, Option<u16>),
    /// The number of a message is kept for a session.
    Kept(usize, u16),
    LetGo(usize, u16),
    Received(usize, u64),
    Retained(usize, u64),
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) session: Option<usize>,
    pub(super) open: bool,
    /// Another one has asked for its session.
    pub(super) replaced: bool,
    pub(super) asked: Option<Asked>,
    pub(super) held: Vec<Delivery>,
    pub(super) publisher: usize,
    pub(super) last: u64,
    pub(super) will: Option<usize>,
}

/// How far a message that is to arrive exactly once has come, as its publisher sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outgoing {
    pub(super) id: usize,
    pub(super) kept: bool,
    pub(super) letting_go: bool,
}

/// The retained message of a topic: confirmed last, and what came later. Empty: none.
#[derive(Debug, Default)]
pub(super) struct Topic {
    pub(super) confirmed: String,
    pub(super) later: Vec<(u64, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum WillState {
    Parked,
    Left,
    Withdrawn,
    Unsure,
}

#[derive(Debug)]
pub(super) struct Left {
    pub(super) session: usize,
    pub(super) delay_ms: u64,
    pub(super) state: WillState,
    pub(super) due: u64,
    pub(super) came: bool,
    /// It has to come, whatever happens.
    pub(super) owed: bool,
    pub(super) over: bool,
}

/// See the module. Outlives the node.
#[derive(Debug)]
pub(super) struct SessionWorld {
    pub(super) oracle: SessionOracle,
    pub(super) connections: Vec<Connection>,
    pub(super) asked: BTreeMap<u64, About>,
    pub(super) seq: u64,
    pub(super) publishers: usize,
    pub(super) outgoing: [BTreeMap<u16, Outgoing>; SESSIONS.len()],
    pub(super) wills: BTreeMap<usize, Left>,
    pub(super) topics: BTreeMap<usize, Topic>,
    pub(super) wills_came: u64,
}

/// What is retained is judged by who reads it.
pub(super) fn is_retained(delivery: &Delivery) -> bool {
    !delivery.received && delivery.message.routing_key().starts_with("r/")
}

impl SessionWorld {
    pub(super) fn new() -> Self {
        Self {
            oracle: SessionOracle::new(),
            connections: Vec::new(),
            asked: BTreeMap::new(),
            seq: 0,
            publishers: 0,
            outgoing: Default::default(),
            wills: BTreeMap::new(),
            topics: BTreeMap::new(),
            wills_came: 0,
        }
    }

    /// A node is there: those that always publish and hear come. The first one of all subscribes to
    /// what always stays.
    pub(super) fn arrive(&mut self, c: &mut Cluster, first: bool) {
        self.connections.clear();
        self.asked.clear();
        // What is due by now happens before any client is there.
        c.pass(0);
        for n in 0..PUBLISHERS {
            let client = c.connect(n);
            self.connected(client, None, None);
        }
        for s in [MOURNER].into_iter().chain(MEMBERS) {
            self.open(c, s, false);
            if first {
                self.finish(c);
                let filter = if s == MOURNER { WILLS } else { MEMBERS_FILTER };
                let at = self.connections.len() - 1;
                self.subscribe(c, at, &[(filter, LEAST)]);
                self.finish(c);
            }
        }
    }

    pub(super) fn restarted(&mut self, now: u64) {
        self.oracle.restarted(now);
        for left in self.wills.values_mut() {
            match left.state {
                WillState::Parked => {
                    left.state = WillState::Left;
                    let session = self.oracle.ends_ms(left.session).unwrap_or(u64::MAX);
                    left.due = (now + left.delay_ms).min(session.max(now));
                }
                WillState::Left | WillState::Unsure => {}
                WillState::Withdrawn => left.state = WillState::Unsure,
            }
            if !left.owed || left.came {
                // One that came is done with, or comes anew.
                left.state = WillState::Unsure;
                left.owed = false;
            }
            left.came &= left.over;
        }
    }

    pub(super) fn connected(
        &mut self,
        client: Client,
        session: Option<usize>,
        asked: Option<Asked>,
    ) {
        self.publishers += 1;
        self.connections.push(Connection {
            client,
            session,
            open: false,
            replaced: false,
            asked,
            held: Vec::new(),
            publisher: self.publishers,
            last: 0,
            will: None,
        });
    }

    pub(super) fn open(&mut self, c: &mut Cluster, s: usize, fresh: bool) {
        for connection in self.connections.iter_mut().filter(|other| other.session == Some(s)) {
            connection.replaced = true;
        }
        let window = 1 + u32::try_from(c.rng.below(20)).unwrap();
        let open = OpenSession { fresh, window, ..session(&format!("s{s}"), SESSIONS[s]) };
        let client = c.connect_at(c.session_home(&open), &identity(".*", ".*", ".*"));
        if fresh || self.oracle.known[s].exists != Exists::Yes {
            // Whoever comes next may find a session that knows nothing of it.
            self.outgoing[s].values_mut().for_each(|out| out.kept = false);
        }
        self.oracle.opening(s, fresh, c.now.wall_ms);
        for left in self.wills.values_mut().filter(|left| left.session == s && !left.came) {
            // It is withdrawn, or published since the session is over.
            if left.delay_ms > 0 || left.state == WillState::Unsure {
                (left.state, left.owed) = (WillState::Unsure, false);
            }
        }
        self.connected(client, Some(s), Some(Asked::Open { fresh }));
        c.start(client, ZERO, Command::OpenSession(Box::new(open)));
    }

    pub(super) fn subscribe(
        &mut self,
        c: &mut Cluster,
        at: usize,
        all: &[(&'static str, Assurance)],
    ) {
        let connection = &mut self.connections[at];
        let s = connection.session.unwrap();
        all.iter().for_each(|(filter, level)| self.oracle.asks(s, filter, Some(*level)));
        connection.asked = Some(Asked::Filters(all.iter().map(|(filter, _)| *filter).collect()));
        let subscriptions = all.iter().map(|(filter, level)| subscription(filter, *level));
        let subscriptions = subscriptions.collect();
        c.start(connection.client, ZERO, Command::Subscribe { subscriptions });
    }

    pub(super) fn unsubscribe(&mut self, c: &mut Cluster, at: usize, name: &'static str) {
        let connection = &mut self.connections[at];
        self.oracle.asks(connection.session.unwrap(), name, None);
        connection.asked = Some(Asked::Filters(vec![name]));
        c.start(connection.client, ZERO, Command::Unsubscribe { filters: vec![filter(name)] });
    }

    pub(super) fn next(&mut self, about: About) -> PublishSeq {
        self.seq += 1;
        self.asked.insert(self.seq, about);
        PublishSeq(self.seq)
    }

    pub(super) fn reported(&mut self, seq: PublishSeq, published: Published) {
        match published {
            Published::Pending => {}
            Published::Stored | Published::Unroutable => self.stored(seq.0),
            Published::Overflowed => panic!("{seq:?} is refused"),
        }
    }

    pub(super) fn publish(&mut self, c: &mut Cluster, at: usize) {
        let topic = TOPICS_TRIED[c.rng.below(TOPICS_TRIED.len())];
        let persistent = c.rng.below(4) > 0;
        let publisher = self.connections[at].publisher;
        let id = self.oracle.publish(topic, persistent, (publisher, false));
        let with_number = persistent && c.rng.below(3) == 0;
        let s = self.connections[at].session.filter(|_| with_number && self.connections[at].open);
        // Each number is used once, so that it is known whose it is.
        let number = s.map(|s| (s, u16::try_from(id % 65_535 + 1).unwrap()));
        if let Some((s, number)) = number {
            let outgoing = Outgoing { id, kept: false, letting_go: false };
            self.outgoing[s].insert(number, outgoing);
        }
        self.send(c, at, id, number);
    }

    pub(super) fn send(
        &mut self,
        c: &mut Cluster,
        at: usize,
        id: usize,
        number: Option<(usize, u16)>,
    ) {
        let client = self.connections[at].client;
        let sent = &self.oracle.sent[id];
        let body = format!("{id} {}", "x".repeat(id * 37 % 700));
        let message =
            if sent.persistent { kept(&sent.topic, &body) } else { fleeting(&sent.topic, &body) };
        if !sent.persistent {
            let published = c.send(client, &message).unwrap();
            assert_ne!(published, Published::Overflowed);
            return;
        }
        let topic = sent.topic.clone();
        let seq = self.next(About::Publish(id, number.map(|(_, number)| number)));
        let message = Publish { seq: Some(seq), ..kept(&topic, &body) };
        let published = c.send(client, &message).unwrap();
        self.reported(seq, published);
    }

    /// What a client that publishes exactly once is told only after this.
    pub(super) fn keep(&mut self, c: &mut Cluster, at: usize, (s, number): (usize, u16)) {
        let client = self.connections[at].client;
        let connection = c.seats[client.0].at.connection;
        let seq = self.next(About::Kept(s, number));
        let published = c.broker_of(client).hold_receipt(connection, ONE, number, Some(seq));
        self.reported(seq, published);
    }

    pub(super) fn let_go(&mut self, c: &mut Cluster, at: usize) {
        let Some(s) = self.connections[at].session.filter(|_| self.connections[at].open) else {
            return;
        };
        let ready = self.outgoing[s].iter_mut().find(|(_, out)| out.kept && !out.letting_go);
        let Some((number, outgoing)) = ready else { return };
        outgoing.letting_go = true;
        let number = *number;
        let client = self.connections[at].client;
        let connection = c.seats[client.0].at.connection;
        let seq = self.next(About::LetGo(s, number));
        let published = c.broker_of(client).drop_receipt(connection, ONE, number, Some(seq));
        self.reported(seq, published);
    }

    pub(super) fn retain(&mut self, c: &mut Cluster, n: usize) {
        let body = if c.rng.below(3) == 0 { String::new() } else { format!("{} r", self.seq) };
        let seq = self.next(About::Retained(n, self.seq));
        self.asked.insert(seq.0, About::Retained(n, seq.0));
        self.topics.entry(n).or_default().later.push((seq.0, body.clone()));
        let name = format!("r/{n}");
        let message = Publish { seq: Some(seq), ..kept(&name, &body) };
        let client = self.connections[n].client;
        let published = c.retain_as(client, &message);
        self.reported(seq, published);
    }

    pub(super) fn stored(&mut self, seq: u64) {
        let about = self.asked.remove(&seq).expect("it is reported twice");
        self.oracle.tell(|| format!("stored: {about:?}"));
        match about {
            About::Publish(id, None) => self.oracle.confirmed(id),
            // It goes on where there is a node to go on with.
            About::Publish(id, Some(number)) => {
                self.asked.insert(u64::MAX - id as u64, About::Publish(id, Some(number)));
                self.oracle.confirmed(id);
            }
            About::Kept(s, number) => {
                if let Some(outgoing) = self.outgoing[s].get_mut(&number) {
                    outgoing.kept = true;
                    let id = outgoing.id;
                    self.oracle.confirmed(id);
                }
            }
            About::LetGo(s, number) => {
                self.outgoing[s].remove(&number);
            }
            About::Received(s, at) => self.oracle.surely(s, at),
            About::Retained(n, seq) => {
                let topic = self.topics.entry(n).or_default();
                let place = topic.later.iter().position(|(known, _)| *known == seq);
                if let Some(place) = place {
                    topic.confirmed = topic.later.drain(..=place).next_back().unwrap().1;
                }
            }
        }
    }

    /// Numbers of messages that are stored are kept, if their connection is still there.
    pub(super) fn keep_stored(&mut self, c: &mut Cluster) {
        let from = u64::MAX - self.oracle.sent.len() as u64;
        let ready: Vec<u64> = self.asked.range(from..).map(|(key, _)| *key).collect();
        for key in ready {
            let Some(About::Publish(id, Some(number))) = self.asked.remove(&key) else { continue };
            let of = |s: &usize| self.outgoing[*s].get(&number).is_some_and(|out| out.id == id);
            let Some(s) = (0..SESSIONS.len()).find(of) else { continue };
            let own = |at: &Connection| at.session == Some(s) && at.open && !at.replaced;
            if let Some(at) = self.connections.iter().position(own) {
                self.keep(c, at, (s, number));
            }
        }
    }

    pub(super) fn hear_all(&mut self, c: &mut Cluster) {
        let mut at = 0;
        while at < self.connections.len() {
            let client = self.connections[at].client;
            let mut gone = false;
            for event in std::mem::take(&mut c.seats[client.0].log) {
                gone |= self.hear(c, at, event);
            }
            if gone {
                self.vanish(c, at);
            } else {
                at += 1;
            }
        }
        self.keep_stored(c);
    }

    /// True: the connection is of no use any more.
    pub(super) fn hear(&mut self, c: &mut Cluster, at: usize, event: Event) -> bool {
        match event {
            Event::Delivery(delivery) => self.delivered(c, at, delivery),
            Event::Stored { seq, accepted, .. } => {
                assert!(accepted, "{seq:?} is refused");
                // Of a connection before the restart nothing comes.
                self.stored(seq.0);
            }
            Event::Answer { answer, .. } => return self.answered(c, at, answer),
            Event::TakenOver => return true,
            Event::Alarm(_) | Event::PublishResumed | Event::Returned { .. } => {}
            other => panic!("{other:?}"),
        }
        false
    }

    pub(super) fn answered(&mut self, c: &mut Cluster, at: usize, answer: Answer) -> bool {
        let s = self.connections[at].session.expect("nothing was asked");
        match (self.connections[at].asked.take(), answer) {
            (Some(Asked::Open { fresh }), Answer::SessionOpened(opened)) => {
                if self.connections[at].replaced {
                    return false;
                }
                self.oracle.opened(s, fresh, &opened, c.now.wall_ms);
                self.connections[at].open = true;
                self.resume(c, at, (s, opened.resumed), &opened.receipts);
            }
            (Some(Asked::Open { .. }), Answer::Refused(_)) => return true,
            (Some(Asked::Filters(all)), Answer::Subscribed(_) | Answer::Unsubscribed(_)) => {
                if !self.connections[at].replaced {
                    all.into_iter().for_each(|filter| self.oracle.answered(s, filter));
                }
            }
            // It was taken over.
            (Some(Asked::Filters(_)), Answer::Refused(_)) => return true,
            (asked, answer) => panic!("{asked:?}: {answer:?}"),
        }
        false
    }

    /// What its client was in the middle of goes on.
    pub(super) fn resume(
        &mut self,
        c: &mut Cluster,
        at: usize,
        (s, resumed): (usize, bool),
        held: &[u16],
    ) {
        let all = std::mem::take(&mut self.outgoing[s]);
        for (number, mut outgoing) in all {
            let there = resumed && held.contains(&number);
            assert!(
                !resumed || !outgoing.kept || outgoing.letting_go || there,
                "{number} of session {s} was kept and is not"
            );
            if outgoing.letting_go && !there {
                continue;
            }
            (outgoing.kept, outgoing.letting_go) = (false, false);
            self.outgoing[s].insert(number, outgoing);
            if there {
                // It hears that again when it is safe.
                self.keep(c, at, (s, number));
            } else {
                self.oracle.again(outgoing.id);
                self.send(c, at, outgoing.id, Some((s, number)));
            }
        }
        self.leave_will(c, at, s);
    }

    pub(super) fn leave_will(&mut self, c: &mut Cluster, at: usize, s: usize) {
        if c.rng.below(2) == 0 {
            return;
        }
        let topic = format!("w/{s}");
        let id = self.oracle.publish(&topic, true, (0, true));
        let delay_ms = [0, 40, 500][c.rng.below(3)];
        let body = format!("{id} will");
        let will = Will { topic: &topic, ..super::wills::will(&body, delay_ms) };
        let client = self.connections[at].client;
        c.set_will(client, Some(&will));
        let (state, due) = (WillState::Parked, u64::MAX);
        let left = Left { session: s, delay_ms, state, due, came: false, owed: false, over: false };
        self.wills.insert(id, left);
        self.connections[at].will = Some(id);
    }

    pub(super) fn delivered(&mut self, c: &Cluster, at: usize, delivery: Delivery) {
        let connection = &mut self.connections[at];
        let s = connection.session.unwrap();
        if connection.replaced && !connection.open {
            // Its client was gone before it read that its session is open.
            return;
        }
        assert!(connection.open, "it comes before the session is open");
        if is_retained(&delivery) {
            connection.held.extend((delivery.id != SETTLED).then_some(delivery));
            return;
        }
        self.oracle.delivered(s, &delivery, &mut connection.last);
        if !delivery.received
            && let Some(left) = self.wills.get_mut(&id_of(&delivery))
        {
            let shown = format!("at {}: {left:?}", c.now.wall_ms);
            let over = left.over && s == MOURNER;
            assert!(!over || delivery.redelivered, "it comes again: {shown}");
            match left.state {
                WillState::Parked => panic!("its client is there: {shown}"),
                WillState::Withdrawn => panic!("it was taken back: {shown}"),
                WillState::Left => assert!(left.due <= c.now.wall_ms, "it comes early: {shown}"),
                WillState::Unsure => {}
            }
            left.came |= s == MOURNER;
            self.wills_came += u64::from(s == MOURNER);
        }
        if delivery.id != SETTLED {
            connection.held.push(delivery);
        }
    }

    /// Its client says that it has one, or is done with it.
    pub(super) fn settle(&mut self, c: &mut Cluster, at: usize) {
        let connection = &mut self.connections[at];
        let Some(s) = connection.session.filter(|_| connection.open && !connection.replaced) else {
            return;
        };
        if connection.held.is_empty() {
            return;
        }
        let (client, now) = (connection.client, c.now);
        if c.rng.below(4) == 0
            && let Some(delivery) =
                connection.held.iter_mut().find(|d| !d.received && !is_retained(d))
        {
            delivery.received = true;
            let (which, position) = ((delivery.queue, delivery.id), delivery.position);
            self.oracle.received(s, position);
            let seq = self.next(About::Received(s, position));
            let by = c.seats[client.0].at.connection;
            let broker = c.broker_of(client);
            let published = broker.settle_received(by, ZERO, which, Some(seq), now);
            self.reported(seq, published);
            return;
        }
        let delivery = connection.held.remove(0);
        if !is_retained(&delivery) {
            self.oracle.accepted(s, delivery.position);
        }
        c.settle(client, &delivery, Outcome::Accept);
    }

    /// The socket breaks.
    pub(super) fn vanish(&mut self, c: &mut Cluster, at: usize) {
        let connection = self.connections.remove(at);
        let now = c.now.wall_ms;
        if let Some(s) = connection.session.filter(|_| !connection.replaced) {
            self.oracle.left(s, now);
        }
        if let Some(left) = connection.will.and_then(|id| self.wills.get_mut(&id))
            && left.state == WillState::Parked
        {
            let ends = self.oracle.ends_ms(left.session).unwrap_or(u64::MAX);
            left.state = WillState::Left;
            left.due = (now + left.delay_ms).min(ends);
            if connection.replaced {
                // Its session may be over.
                left.due = now;
            }
        }
        c.vanish(connection.client);
        // What it had asked is never answered.
        if connection.session.is_none() {
            let client = c.connect(connection.publisher);
            self.connected(client, None, None);
            let last = self.connections.pop().unwrap();
            self.connections.insert(at, last);
        }
    }

    /// It says goodbye first.
    pub(super) fn leave(&mut self, c: &mut Cluster, at: usize) {
        let connection = &self.connections[at];
        if !connection.open || connection.replaced {
            return;
        }
        c.set_will(connection.client, None);
        if let Some(left) = connection.will.and_then(|id| self.wills.get_mut(&id)) {
            if left.state == WillState::Parked {
                left.state = WillState::Withdrawn;
            }
            left.owed = false;
        }
        self.vanish(c, at);
    }
}
