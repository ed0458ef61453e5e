//! Publishers: messages with QoS 1 and 2 over a session that outlives the connection and the
//! broker, until the connection ends or they are told to stop.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ringmq::protocol::mqtt::wire::Qos;
use ringmq::protocol::mqtt::wire::ack::AckKind;
use ringmq::protocol::mqtt::wire::reason_code::ReasonCode;

use super::ledger::Note;
use super::link::{Hello, Link, Next, PATIENCE, promise};
use super::topology::{MARK_TOPIC, MARKS, PUBLISHERS, PublisherIndex, Topic, will_topic};
use crate::body::{Id, any_size, make};
use crate::random::Random;

/// No publisher lives longer. Arbitrary: a broker that neither answers nor ends is a finding.
const LIFE_MAX: Duration = Duration::from_secs(60);

/// A message that is not dealt with.
#[derive(Debug)]
struct Open {
    seq: u32,
    packet_id: u16,
    topic: usize,
    qos: Qos,
    bytes: usize,
    /// PUBREC came: PUBCOMP is awaited.
    is_received: bool,
}

/// What to do in one life.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Messages on their way at once.
    pub(crate) window: usize,
    /// New messages at most; then it waits for the end.
    pub(crate) messages_max: u32,
    /// It leaves as soon as all is dealt with, and all must be; and it has no will.
    pub(crate) leaves: bool,
}

impl Plan {
    /// Any.
    pub(crate) fn any(random: &mut Random) -> Self {
        Self {
            window: usize::try_from(random.between(1, 100)).expect("a window"),
            messages_max: u32::try_from(random.between(100, 1000)).expect("a count"),
            leaves: false,
        }
    }

    /// Nothing new.
    pub(crate) const fn finish() -> Self {
        Self { window: 0, messages_max: 0, leaves: true }
    }
}

/// What it remembers while the broker is away.
#[derive(Debug)]
pub(crate) struct Publisher {
    index: PublisherIndex,
    topics: Vec<Topic>,
    client_id: String,
    next_seq: u32,
    next_will: u32,
    last_packet_id: u16,
    /// In order of publishing.
    open: VecDeque<Open>,
    /// The broker has said that there is a session.
    has_session: bool,
    /// The first message of this life.
    first_seq: u32,
    /// The will of this life, once the broker must have it.
    will: Option<Id>,
    notes: Vec<Note>,
}

impl Publisher {
    /// It has never connected.
    pub(crate) fn new(index: PublisherIndex) -> Self {
        Self {
            index,
            topics: Topic::of_publisher(index),
            client_id: format!("pub-{index}"),
            next_seq: 0,
            next_will: 0,
            last_packet_id: 0,
            open: VecDeque::new(),
            has_session: false,
            first_seq: 0,
            will: None,
            notes: Vec::new(),
        }
    }

    /// The notes since the last time. The will of the life that has ended must come if the broker
    /// had it and has not taken leave.
    pub(crate) fn notes(&mut self, is_planned: bool) -> Vec<Note> {
        let will = self.will.take().filter(|_| !is_planned);
        self.notes.extend(will.map(Note::Confirmed));
        std::mem::take(&mut self.notes)
    }

    fn wrong(&mut self, kind: &'static str, what: &str) {
        self.notes.push(Note::Wrong(kind, format!("{}: {what}", self.client_id)));
    }

    fn id(&self, seq: u32) -> Id {
        Id { publisher: u32::try_from(self.index).expect("few publishers"), seq }
    }

    /// Connects, repeats what is open, publishes.
    pub(crate) fn run(mut self, mut link: Link, plan: &Plan, mut random: Random) -> Self {
        let Some((is_present, will)) = self.open(&mut link, plan) else { return self };
        self.resume(&mut link, is_present);
        let (deadline, mut new) = (Instant::now() + LIFE_MAX, 0);
        loop {
            let room = plan.window.saturating_sub(self.open.len());
            let burst = room.min(usize::try_from(random.between(1, 20)).unwrap_or(1));
            for _ in 0..burst {
                if new < plan.messages_max {
                    new += 1;
                    self.send_new(&mut link, &mut random);
                }
            }
            let is_done = new >= plan.messages_max;
            if is_done && plan.leaves && self.open.is_empty() {
                link.goodbye();
                return self;
            }
            if Instant::now() > deadline {
                let what = format!("{} still open after {LIFE_MAX:?}", self.open.len());
                self.wrong("stuck", &what);
                return self;
            }
            let is_full = is_done || self.open.len() >= plan.window;
            let wait = Duration::from_millis(if is_full { 50 } else { 1 });
            if !self.read(&mut link, wait, will) {
                return self;
            }
        }
    }

    /// CONNECT; whether the session goes on, and the will.
    fn open(&mut self, link: &mut Link, plan: &Plan) -> Option<(bool, Option<Id>)> {
        self.first_seq = self.next_seq;
        let will = (!plan.leaves).then(|| {
            let number = PUBLISHERS.len() + self.index;
            let publisher = u32::try_from(number).expect("few publishers");
            let id = Id { publisher, seq: self.next_will };
            self.next_will += 1;
            id
        });
        let topic = will_topic(self.index);
        if let Some(id) = will {
            let qos = Qos::AtLeastOnce;
            self.notes.push(Note::Sent { id, topic: topic.clone(), qos });
        }
        let body = will.map(|id| make(id, 40));
        let hello = Hello {
            version: PUBLISHERS[self.index],
            client_id: &self.client_id,
            is_persistent: true,
            receive_max: 10,
            will: body.as_ref().map(|body| (&*topic, &**body)),
        };
        match link.hello(hello) {
            Ok(is_present) => is_present.map(|is_present| (is_present, will)),
            Err(what) => {
                self.notes.push(Note::Wrong("refused", what));
                None
            }
        }
    }

    /// Says again what was not answered, in its order (MQTT-4.4.0-1, MQTT-4.6.0-1).
    fn resume(&mut self, link: &mut Link, is_present: bool) {
        if self.has_session && !is_present {
            self.wrong("session", "it is not there any more");
        }
        self.has_session = true;
        if !is_present {
            // MQTT-3.2.2-5 (v5): what was received is the broker's matter now.
            self.open.retain(|open| !open.is_received);
        }
        for open in &self.open {
            if open.is_received {
                link.ack(AckKind::Pubrel, open.packet_id);
                continue;
            }
            let id = self.id(open.seq);
            self.notes.push(Note::Repeated(id));
            let topic = &self.topics[open.topic];
            let promise = promise(open.qos, open.packet_id);
            let body = make(id, open.bytes);
            link.publish(&topic.name, promise, topic.is_kept, is_present, &body);
        }
    }

    fn send_new(&mut self, link: &mut Link, random: &mut Random) {
        let seq = self.next_seq;
        self.next_seq += 1;
        let packet_id = self.free_packet_id();
        let place = usize::try_from(random.below(self.topics.len() as u64)).expect("an index");
        let topic = &self.topics[place];
        let any = if random.percent(50) { Qos::AtLeastOnce } else { Qos::ExactlyOnce };
        let (qos, bytes) = (topic.qos.unwrap_or(any), any_size(random));
        let id = self.id(seq);
        self.notes.push(Note::Sent { id, topic: topic.name.clone(), qos });
        let body = make(id, bytes);
        link.publish(&topic.name, promise(qos, packet_id), topic.is_kept, false, &body);
        self.open.push_back(Open { seq, packet_id, topic: place, qos, bytes, is_received: false });
    }

    fn free_packet_id(&mut self) -> u16 {
        loop {
            self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
            let number = self.last_packet_id;
            if self.open.iter().all(|open| open.packet_id != number) {
                return number;
            }
        }
    }

    /// Reads what has come; whether the connection goes on.
    fn read(&mut self, link: &mut Link, mut wait: Duration, will: Option<Id>) -> bool {
        // Bounded, so that a publisher publishes also while answers come without end.
        for _ in 0..256 {
            match link.next(wait) {
                Next::Silence => return true,
                Next::End => return false,
                Next::Ack(kind, packet_id, code) => {
                    let open = self.open.iter().find(|open| open.packet_id == packet_id);
                    let is_new = open.is_some_and(|open| open.seq >= self.first_seq);
                    self.answered(link, kind, packet_id, code);
                    if is_new && kind == AckKind::Pubrec && !code.is_failure() {
                        // The will was written down before the receipt, and in the same place. The
                        // receipt of a repeated message may be older than it.
                        self.will = will;
                    }
                }
                other => {
                    self.wrong("refused", &format!("got {}", other.describe()));
                    return false;
                }
            }
            wait = Duration::ZERO;
        }
        true
    }

    fn answered(&mut self, link: &mut Link, kind: AckKind, packet_id: u16, code: ReasonCode) {
        let place = self.open.iter().position(|open| open.packet_id == packet_id);
        let Some(place) = place else {
            return self.wrong("confirm", &format!("{kind:?} of {packet_id} answers nothing"));
        };
        let (seq, qos) = (self.open[place].seq, self.open[place].qos);
        let id = self.id(seq);
        if code == ReasonCode::NoMatchingSubscribers {
            self.wrong("nobody", &format!("{id} was published to nobody"));
        }
        match (qos, kind) {
            (Qos::AtLeastOnce, AckKind::Puback) | (Qos::ExactlyOnce, AckKind::Pubrec)
                if code.is_failure() =>
            {
                // It may come or not.
                self.open.remove(place);
                self.wrong("refused", &format!("{id} was answered with {code:?}"));
            }
            (Qos::AtLeastOnce, AckKind::Puback) => {
                self.open.remove(place);
                self.notes.push(Note::Confirmed(id));
            }
            (Qos::ExactlyOnce, AckKind::Pubrec) => {
                if !std::mem::replace(&mut self.open[place].is_received, true) {
                    self.notes.push(Note::Confirmed(id));
                }
                link.ack(AckKind::Pubrel, packet_id);
            }
            (Qos::ExactlyOnce, AckKind::Pubcomp) if self.open[place].is_received => {
                self.open.remove(place);
            }
            _ => self.wrong("confirm", &format!("{kind:?} answers {id}, which is {qos:?}")),
        }
    }
}

/// Publishes a mark that says to every subscriber that all before it has come.
pub(crate) fn mark(addr: SocketAddr, seq: u32) -> Vec<Note> {
    let id = Id { publisher: u32::try_from(MARKS).expect("few publishers"), seq };
    let hello = Hello {
        version: PUBLISHERS[0],
        client_id: "marker",
        is_persistent: false,
        receive_max: 10,
        will: None,
    };
    let mut link = Link::connect(addr, hello.version).expect("a broker that listens");
    assert_eq!(link.hello(hello), Ok(Some(false)), "a session that nobody had");
    let mut notes = vec![Note::Sent { id, topic: MARK_TOPIC.to_owned(), qos: Qos::AtLeastOnce }];
    link.publish(MARK_TOPIC, promise(Qos::AtLeastOnce, 1), false, false, &make(id, 16));
    match link.next(PATIENCE) {
        Next::Ack(AckKind::Puback, 1, ReasonCode::Success) => notes.push(Note::Confirmed(id)),
        other => notes.push(Note::Wrong("refused", format!("a mark was answered {other:?}"))),
    }
    link.goodbye();
    notes
}
