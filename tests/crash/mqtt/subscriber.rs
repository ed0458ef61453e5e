//! Subscribers: correct clients whose sessions, and what they remember of them, outlive the
//! connection and the broker.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ringmq::protocol::mqtt::wire::Qos;
use ringmq::protocol::mqtt::wire::Version;
use ringmq::protocol::mqtt::wire::ack::AckKind;

use super::ledger::Note;
use super::link::{Hello, Incoming, Link, Next, PATIENCE};
use super::topology::{MARKS, SUBSCRIBERS, SubscriberIndex};
use crate::body::{Id, check};
use crate::random::Random;

/// No subscriber lives longer. Arbitrary: a broker that neither sends nor ends is a finding.
const LIFE_MAX: Duration = Duration::from_secs(20);
/// Messages that are left unanswered in a life at most: below what a broker leaves unanswered.
const HELD_MAX: u32 = 5;
/// How long after its last message a subscriber waits for more that must not come.
const QUIET: Duration = Duration::from_millis(150);

/// What to do in one life.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// So many of a hundred are left unanswered, at each step.
    pub(crate) held_percent: u64,
    /// Most unanswered messages.
    pub(crate) receive_max: u16,
    /// It leaves after this mark, when all is dealt with.
    pub(crate) until: Option<u32>,
}

/// What it remembers while the broker is away.
#[derive(Debug)]
pub(crate) struct Subscriber {
    index: SubscriberIndex,
    /// QoS 2: its application has them, and PUBREL has not come.
    received: HashMap<u16, Id>,
    /// QoS 1: its application has them, and they were not answered.
    unanswered: HashMap<u16, Id>,
    has_session: bool,
    held: u32,
    has_mark: bool,
    notes: Vec<Note>,
}

impl Subscriber {
    /// It has never connected.
    pub(crate) fn new(index: SubscriberIndex) -> Self {
        Self {
            index,
            received: HashMap::new(),
            unanswered: HashMap::new(),
            has_session: false,
            held: 0,
            has_mark: false,
            notes: Vec::new(),
        }
    }

    /// The notes since the last time.
    pub(crate) fn notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    fn wrong(&mut self, kind: &'static str, what: &str) {
        let client_id = SUBSCRIBERS[self.index].client_id;
        self.notes.push(Note::Wrong(kind, format!("{client_id}: {what}")));
    }

    /// Makes the session, and leaves it.
    pub(crate) fn subscribe(&mut self, addr: SocketAddr) {
        let version = SUBSCRIBERS[self.index].version;
        let mut link = Link::connect(addr, version).expect("a broker that listens");
        if self.open(&mut link, 10) {
            link.goodbye();
        }
    }

    /// Connects, and subscribes if there is no session; whether the connection goes on.
    fn open(&mut self, link: &mut Link, receive_max: u16) -> bool {
        let member = &SUBSCRIBERS[self.index];
        let (version, client_id) = (member.version, member.client_id);
        let hello = Hello { version, client_id, is_persistent: true, receive_max, will: None };
        let is_present = match link.hello(hello) {
            Ok(Some(is_present)) => is_present,
            Ok(None) => return false,
            Err(what) => {
                self.wrong("refused", &what);
                return false;
            }
        };
        if is_present {
            return true;
        }
        if self.has_session {
            self.wrong("session", "it is not there any more");
        }
        // MQTT-3.2.2-5 (v5): the client forgets too.
        self.received.clear();
        self.unanswered.clear();
        link.subscribe(member.filters);
        loop {
            match link.next(PATIENCE) {
                Next::Suback(codes) => {
                    let wanted: Vec<u8> =
                        member.filters.iter().map(|(_, qos)| qos.bits()).collect();
                    if codes != wanted {
                        self.wrong("refused", &format!("SUBACK {codes:?}"));
                    }
                    self.has_session = true;
                    return true;
                }
                Next::Publish(message) => self.on_publish(link, &message, false),
                Next::End => return false,
                other => {
                    self.wrong("refused", &format!("SUBSCRIBE was answered {}", other.describe()));
                    return false;
                }
            }
        }
    }

    /// Receives until the connection ends, or the mark has come.
    pub(crate) fn run(mut self, mut link: Link, plan: Plan, mut random: Random) -> Self {
        (self.held, self.has_mark) = (0, false);
        if !self.open(&mut link, plan.receive_max) {
            return self;
        }
        let deadline = Instant::now() + LIFE_MAX;
        while Instant::now() < deadline {
            let is_held = self.held < HELD_MAX && random.percent(plan.held_percent);
            match link.next(QUIET) {
                Next::Publish(message) => self.on_publish(&mut link, &message, is_held),
                Next::Ack(AckKind::Pubrel, packet_id, _) => {
                    // What a crash has made the broker say again is answered again.
                    self.received.remove(&packet_id);
                    self.answer(&mut link, AckKind::Pubcomp, packet_id, is_held);
                }
                Next::Silence => {
                    if self.has_mark && plan.until.is_some() && self.received.is_empty() {
                        link.goodbye();
                        return self;
                    }
                }
                Next::End => return self,
                other => {
                    self.wrong("refused", &format!("got {}", other.describe()));
                    return self;
                }
            }
            self.has_mark |= self.is_mark(plan.until);
        }
        let (mark, open) = (self.has_mark, std::mem::take(&mut self.received));
        let open: Vec<_> = open.iter().map(|(number, id)| format!("{id} as {number}")).collect();
        let what = format!("after {LIFE_MAX:?}: mark {mark}, not released: {}", open.join(", "));
        self.wrong("stuck", &what);
        self
    }

    /// Whether the last message that came is this mark.
    fn is_mark(&self, mark: Option<u32>) -> bool {
        let Some(Note::Arrived { id: Ok(id), .. }) = self.notes.last() else { return false };
        id.publisher as usize == MARKS && Some(id.seq) == mark
    }

    fn answer(&mut self, link: &mut Link, kind: AckKind, packet_id: u16, is_held: bool) {
        if is_held {
            self.held += 1;
        } else {
            link.ack(kind, packet_id);
        }
    }

    fn on_publish(&mut self, link: &mut Link, message: &Incoming, is_held: bool) {
        let packet_id = message.packet_id;
        match message.qos {
            Qos::AtMostOnce => self.wrong("never asked for", "a message with QoS 0"),
            Qos::AtLeastOnce => {
                let id = check(&message.body);
                let before = self.unanswered.remove(&packet_id);
                self.check_repetition(message, before, id.as_ref().ok());
                self.arrived(message, id.clone());
                if let (true, Ok(id)) = (is_held, id) {
                    self.unanswered.insert(packet_id, id);
                }
                self.answer(link, AckKind::Puback, packet_id, is_held);
            }
            Qos::ExactlyOnce => {
                let id = check(&message.body);
                if let Some(before) = self.received.get(&packet_id).copied() {
                    self.check_repetition(message, Some(before), id.as_ref().ok());
                    self.notes.push(Note::Suppressed);
                } else {
                    // Damaged or not, the packet id is taken.
                    let none = Id { publisher: u32::MAX, seq: 0 };
                    self.received.insert(packet_id, id.clone().unwrap_or(none));
                    self.arrived(message, id);
                }
                self.answer(link, AckKind::Pubrec, packet_id, is_held);
            }
        }
    }

    fn arrived(&mut self, message: &Incoming, id: Result<Id, String>) {
        // What a new subscription shows was there before it.
        if !message.is_retained {
            let (subscriber, topic, qos) = (self.index, message.topic.clone(), message.qos);
            self.notes.push(Note::Arrived { subscriber, id, topic, qos });
        }
    }

    /// A message with a packet id that was not settled is the same as before (MQTT-4.4.0-1), and
    /// says so (MQTT-3.3.1-1).
    fn check_repetition(&mut self, message: &Incoming, before: Option<Id>, id: Option<&Id>) {
        let (Some(before), Some(id)) = (before, id) else { return };
        if before != *id {
            let packet_id = message.packet_id;
            let what = format!("packet id {packet_id} was {before}'s, unsettled, and is {id}'s");
            self.wrong("packet id", &what);
        } else if !message.is_again {
            self.notes.push(Note::Unmarked { subscriber: self.index, id: before });
        }
    }
}

/// What a new subscriber is shown of topics that keep their last message, of which these must be
/// there.
pub(crate) fn kept(
    addr: SocketAddr,
    version: Version,
    wanted: &BTreeMap<String, (usize, u32)>,
) -> Vec<Note> {
    let hello = Hello {
        version,
        client_id: "looker",
        is_persistent: false,
        receive_max: u16::MAX,
        will: None,
    };
    let mut link = Link::connect(addr, version).expect("a broker that listens");
    assert_eq!(link.hello(hello), Ok(Some(false)), "a session that nobody had");
    link.subscribe(&[("kept/#", Qos::AtLeastOnce)]);
    let (mut notes, mut missing) = (Vec::new(), wanted.clone());
    let (deadline, mut is_granted) = (Instant::now() + PATIENCE, false);
    while !is_granted || !missing.is_empty() {
        match link.next(deadline.saturating_duration_since(Instant::now()).min(PATIENCE / 4)) {
            Next::Suback(_) => is_granted = true,
            Next::Publish(message) => {
                link.ack(AckKind::Puback, message.packet_id);
                missing.remove(&message.topic);
                if message.is_retained {
                    notes.push(Note::Kept { id: check(&message.body), topic: message.topic });
                }
            }
            other => {
                for (topic, (publisher, seq)) in &missing {
                    let what = format!("{topic} had {publisher}:{seq} or later; then {other:?}");
                    notes.push(Note::Wrong("kept", what));
                }
                break;
            }
        }
    }
    link.goodbye();
    notes
}
