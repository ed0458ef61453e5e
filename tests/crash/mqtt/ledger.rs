//! The oracle for MQTT: what was sent, acknowledged and received, and what of that must not be. It
//! knows no broker, only notes of what clients did and saw.
//!
//! A message with QoS 2 reaches an application once, also when its publisher repeats it after a crash
//! that came between the syncs of several shards.

use std::collections::{BTreeMap, HashMap};

use ringmq::protocol::mqtt::wire::Qos;

use super::topology::{
    MARK_TOPIC, MARKS, PUBLISHERS, PublisherIndex, SUBSCRIBERS, SubscriberIndex, Topic, granted,
    is_shared, place, will_topic,
};
use crate::body::Id;

/// Examples kept of each kind of violation.
const EXAMPLES_MAX: usize = 5;

/// What a client did or saw, in its order.
#[derive(Debug, Clone)]
pub(crate) enum Note {
    /// A message left for the first time.
    Sent { id: Id, topic: String, qos: Qos },
    /// It left again.
    Repeated(Id),
    /// It was acknowledged: PUBACK, PUBREC, or a will that was safe before the end.
    Confirmed(Id),
    /// An application got a message.
    Arrived { subscriber: SubscriberIndex, id: Result<Id, String>, topic: String, qos: Qos },
    /// A repetition that a client kept from its application.
    Suppressed,
    /// A repetition that does not say that it is one.
    Unmarked { subscriber: SubscriberIndex, id: Id },
    /// The last message of a topic, as a new subscriber sees it.
    Kept { topic: String, id: Result<Id, String> },
    /// Something that must not be, of this kind.
    Wrong(&'static str, String),
}

/// One life of the broker.
#[derive(Debug, Clone, Copy, Default)]
struct Life {
    number: u32,
    /// It ends by a crash.
    crashes: bool,
}

#[derive(Debug)]
struct Sent {
    topic: String,
    qos: Qos,
    is_confirmed: bool,
    is_evaluated: bool,
    /// How often it was sent.
    times: u32,
    /// The lives in which it was sent first and last.
    lives: (u32, u32),
}

/// A message at a subscriber.
#[derive(Debug, Default)]
struct Seen {
    life: u32,
    /// In that life.
    times: u32,
    /// The life in which it came first.
    first: u32,
}

/// Sums over a run.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Messages published.
    pub(crate) sent: u64,
    /// Messages published again.
    pub(crate) repeated: u64,
    /// Messages acknowledged.
    pub(crate) confirmed: u64,
    /// Messages that came to a subscriber for the first time.
    pub(crate) arrived: u64,
    /// Of these, wills.
    pub(crate) wills: u64,
    /// Messages with QoS 1 that came again.
    pub(crate) again: u64,
    /// Repetitions that clients kept from their applications.
    pub(crate) suppressed: u64,
    /// Repetitions after a crash that do not say that they are: tolerated.
    pub(crate) unmarked: u64,
    /// Last messages seen.
    pub(crate) kept: u64,
    /// Acknowledged messages that did not come, once per subscriber.
    pub(crate) lost: u64,
    /// All violations but the lost.
    pub(crate) unexpected: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Ledger {
    life: Life,
    /// How the life before ended.
    before: Life,
    /// By number.
    publishers: Vec<Vec<Sent>>,
    seen: Vec<HashMap<Id, Seen>>,
    /// The highest number that has come, by subscriber, publisher, topic and QoS.
    highest: HashMap<(SubscriberIndex, u32, String, Qos), u32>,
    totals: Totals,
    /// Number and examples, by kind.
    wrongs: BTreeMap<&'static str, (u64, Vec<String>)>,
}

impl Ledger {
    /// Nothing has happened.
    pub(crate) fn new() -> Self {
        Self {
            life: Life::default(),
            before: Life::default(),
            publishers: (0..=MARKS).map(|_| Vec::new()).collect(),
            seen: SUBSCRIBERS.iter().map(|_| HashMap::new()).collect(),
            highest: HashMap::new(),
            totals: Totals::default(),
            wrongs: BTreeMap::new(),
        }
    }

    /// A life begins that will end by a crash or not.
    pub(crate) const fn next_life(&mut self, crashes: bool) {
        self.before = self.life;
        self.life = Life { number: self.life.number + 1, crashes };
    }

    /// The sums so far.
    pub(crate) const fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Takes notes in; those of publishers before those of subscribers.
    pub(crate) fn take(&mut self, notes: Vec<Note>) {
        for note in notes {
            match note {
                Note::Sent { id, topic, qos } => self.sent(id, topic, qos),
                Note::Repeated(id) => self.repeated(id),
                Note::Confirmed(id) => self.confirmed(id),
                Note::Arrived { subscriber, id: Ok(id), topic, qos } => {
                    self.arrived(subscriber, id, &topic, qos);
                }
                Note::Arrived { subscriber, id: Err(what), topic, .. } => {
                    self.wrong("body", format!("{} of {topic}: {what}", name(subscriber)));
                }
                Note::Suppressed => self.totals.suppressed += 1,
                Note::Unmarked { subscriber, id } if self.life.crashes || self.before.crashes => {
                    let _ = (subscriber, id);
                    self.totals.unmarked += 1;
                }
                Note::Unmarked { subscriber, id } => {
                    let what = format!("{id} came to {} again as if new", name(subscriber));
                    self.wrong("unmarked", what);
                }
                Note::Kept { topic, id } => self.kept(&topic, id),
                Note::Wrong(kind, what) => self.wrong(kind, what),
            }
        }
    }

    /// Something that must not be.
    pub(crate) fn wrong(&mut self, kind: &'static str, what: impl AsRef<str>) {
        self.totals.unexpected += 1;
        self.example(kind, what.as_ref());
    }

    fn example(&mut self, kind: &'static str, what: &str) {
        let (count, examples) = self.wrongs.entry(kind).or_default();
        *count += 1;
        if examples.len() < EXAMPLES_MAX {
            examples.push(format!("life {}: {what}", self.life.number));
        }
    }

    fn sent(&mut self, id: Id, topic: String, qos: Qos) {
        self.totals.sent += 1;
        let sent = &mut self.publishers[id.publisher as usize];
        assert_eq!(sent.len(), id.seq as usize, "a publisher of ours counts from 0");
        sent.push(Sent {
            topic,
            qos,
            is_confirmed: false,
            is_evaluated: false,
            times: 1,
            lives: (self.life.number, self.life.number),
        });
    }

    fn repeated(&mut self, id: Id) {
        self.totals.repeated += 1;
        let sent = &mut self.publishers[id.publisher as usize][id.seq as usize];
        sent.times += 1;
        sent.lives.1 = self.life.number;
    }

    fn confirmed(&mut self, id: Id) {
        let sent = &mut self.publishers[id.publisher as usize][id.seq as usize];
        if std::mem::replace(&mut sent.is_confirmed, true) {
            self.wrong("confirm", format!("{id} was acknowledged twice"));
        } else {
            self.totals.confirmed += 1;
        }
    }

    fn find(&self, id: Id) -> Option<&Sent> {
        self.publishers.get(id.publisher as usize)?.get(id.seq as usize)
    }

    fn arrived(&mut self, subscriber: SubscriberIndex, id: Id, topic: &str, qos: Qos) {
        let name = name(subscriber);
        let Some(sent) = self.find(id).filter(|sent| sent.topic == topic) else {
            return self.wrong("never sent", format!("{id} came to {name} from {topic}"));
        };
        let (published, times) = (sent.qos, sent.times);
        if granted(subscriber, topic, published) != Some(qos) {
            let what =
                format!("{id} from {topic}, sent with {published:?}, to {name} with {qos:?}");
            self.wrong("never asked for", what);
        }
        let life = self.life.number;
        let place = place(subscriber, topic);
        let seen = self.seen[place].entry(id).or_default();
        let is_first = seen.times == 0;
        if seen.life != life {
            let first = if is_first { life } else { seen.first };
            *seen = Seen { life, times: 0, first };
        }
        seen.times += 1;
        let in_this_life = seen.times;
        if is_first {
            self.totals.arrived += 1;
            // A group has no order: its members read at their own pace.
            if !is_shared(subscriber, topic) {
                self.check_order(subscriber, id, topic, published);
            }
            return;
        }
        if qos == Qos::ExactlyOnce {
            let what = format!("{id} from {topic}, sent {times} times, came to {name} again");
            self.wrong("twice", what);
        } else {
            self.totals.again += 1;
            if in_this_life > times && !is_will(id) {
                let what = format!("{id} came to {name} {in_this_life} times, sent {times} times");
                self.wrong("too often", what);
            }
        }
    }

    /// First arrivals of one publisher's messages of a topic and a QoS come in their order
    /// (MQTT-4.6.0-5 and -6). Wills come when they come.
    fn check_order(&mut self, subscriber: SubscriberIndex, id: Id, topic: &str, qos: Qos) {
        if is_will(id) {
            self.totals.wills += 1;
            return;
        }
        let place = (subscriber, id.publisher, topic.to_owned(), qos);
        let highest = self.highest.entry(place).or_insert(id.seq);
        if id.seq >= *highest {
            *highest = id.seq;
        } else {
            let later = Id { seq: *highest, ..id };
            let (this, that) = (self.history(id), self.history(later));
            let to = name(subscriber);
            let then = self.seen[subscriber].get(&later).map_or(0, |seen| seen.first);
            let what = format!(
                "{this} from {topic} with {qos:?} came to {to} after {that}, which came in life {then}"
            );
            self.wrong("order", what);
        }
    }

    /// A message, for people.
    fn history(&self, id: Id) -> String {
        let Some(sent) = self.find(id) else { return id.to_string() };
        let Sent { times, lives: (first, last), is_confirmed, .. } = sent;
        let confirmed = if *is_confirmed { "" } else { "not " };
        format!("{id} (sent {times} times in lives {first} to {last}, {confirmed}acknowledged)")
    }

    /// The topics that must have a last message by now: their name, publisher and the number of the
    /// last message that was acknowledged.
    pub(crate) fn must_be_kept(&self) -> BTreeMap<String, (PublisherIndex, u32)> {
        let mut all = BTreeMap::new();
        for publisher in 0..PUBLISHERS.len() {
            for topic in Topic::of_publisher(publisher).into_iter().filter(|it| it.is_kept) {
                let sent = (0_u32..).zip(&self.publishers[publisher]);
                let last = sent.filter(|(_, it)| it.is_confirmed && it.topic == topic.name).last();
                all.extend(last.map(|(seq, _)| (topic.name, (publisher, seq))));
            }
        }
        all
    }

    fn kept(&mut self, topic: &str, id: Result<Id, String>) {
        self.totals.kept += 1;
        let id = match id {
            Ok(id) => id,
            Err(what) => return self.wrong("kept", format!("{topic}: {what}")),
        };
        if self.find(id).is_none_or(|sent| sent.topic != topic) {
            return self.wrong("kept", format!("{topic} has {id}, which was not sent there"));
        }
        if let Some((_, last)) = self.must_be_kept().get(topic)
            && id.seq < *last
        {
            self.wrong("kept", format!("{topic} has {id}, and {last} was acknowledged"));
        }
    }

    /// Everybody has got all that there is: what was acknowledged and did not come is lost.
    pub(crate) fn evaluate(&mut self) {
        let mut lost = Vec::new();
        for (publisher, all) in (0_u32..).zip(&mut self.publishers) {
            for (seq, sent) in (0_u32..).zip(all) {
                if !sent.is_confirmed || std::mem::replace(&mut sent.is_evaluated, true) {
                    continue;
                }
                let id = Id { publisher, seq };
                for (subscriber, seen) in self.seen.iter().enumerate() {
                    let is_asked_for = granted(subscriber, &sent.topic, sent.qos).is_some();
                    // Of a group one has it.
                    let is_asked_for = is_asked_for && place(subscriber, &sent.topic) == subscriber;
                    if is_asked_for && !seen.contains_key(&id) {
                        let (topic, qos) = (&sent.topic, sent.qos);
                        lost.push(format!("{id} from {topic}, {qos:?}, for {}", name(subscriber)));
                    }
                }
            }
        }
        for what in lost {
            self.totals.lost += 1;
            self.example("lost", &what);
        }
    }

    /// Kinds of violation with their numbers and examples; empty when all is well.
    pub(crate) fn report(&self) -> String {
        let mut text = String::new();
        for (kind, (count, examples)) in &self.wrongs {
            text.push_str(&format!("{kind}: {count}\n"));
            for example in examples {
                text.push_str(&format!("    {example}\n"));
            }
        }
        text
    }
}

fn name(subscriber: SubscriberIndex) -> &'static str {
    SUBSCRIBERS[subscriber].client_id
}

fn is_will(id: Id) -> bool {
    (PUBLISHERS.len()..MARKS).contains(&(id.publisher as usize))
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "sent {}, repeated {}, confirmed {}, arrived {} (wills {}), again {}, suppressed {}, \
             unmarked {}, kept {}, lost {}, unexpected {}",
            self.sent,
            self.repeated,
            self.confirmed,
            self.arrived,
            self.wills,
            self.again,
            self.suppressed,
            self.unmarked,
            self.kept,
            self.lost,
            self.unexpected
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONCE: Qos = Qos::AtLeastOnce;
    const TWICE: Qos = Qos::ExactlyOnce;
    /// Gets `crash/3/a` with QoS 1 at most.
    const ALL: SubscriberIndex = 0;
    /// The same with QoS 2, as number 1 does.
    const OVERLAPPING: SubscriberIndex = 2;
    const TOPIC: &str = "crash/3/a";

    fn id(seq: u32) -> Id {
        Id { publisher: 3, seq }
    }

    fn sent(seq: u32, qos: Qos) -> Vec<Note> {
        let id = id(seq);
        vec![Note::Sent { id, topic: TOPIC.into(), qos }, Note::Confirmed(id)]
    }

    fn came(subscriber: SubscriberIndex, seq: u32, qos: Qos) -> Note {
        Note::Arrived { subscriber, id: Ok(id(seq)), topic: TOPIC.into(), qos }
    }

    /// In a life, messages 0 to 2 with this QoS.
    fn ledger(qos: Qos) -> Ledger {
        let mut ledger = Ledger::new();
        ledger.next_life(true);
        for seq in 0..3 {
            ledger.take(sent(seq, qos));
        }
        ledger
    }

    fn kinds(ledger: &Ledger) -> Vec<(&'static str, u64)> {
        ledger.wrongs.iter().map(|(kind, (count, _))| (*kind, *count)).collect()
    }

    #[test]
    fn what_comes_to_everybody_is_in_order_and_what_does_not_is_lost() {
        let mut ledger = ledger(TWICE);
        for seq in 0..3 {
            let all = [came(ALL, seq, ONCE), came(1, seq, TWICE), came(OVERLAPPING, seq, TWICE)];
            ledger.take(all.to_vec());
            // The first three come to one of the group each, in any order.
            ledger.take(vec![came(5 + seq as usize % 2, 2 - seq, TWICE)]);
        }
        ledger.evaluate();
        assert_eq!(kinds(&ledger), []);
        ledger.take(sent(3, ONCE));
        ledger.take(vec![came(ALL, 3, ONCE)]);
        ledger.evaluate();
        ledger.evaluate();
        assert_eq!((kinds(&ledger), ledger.totals.lost), (vec![("lost", 3)], 3));
    }

    #[test]
    fn a_message_with_qos_2_comes_once_also_if_it_is_repeated_after_a_crash() {
        for is_repeated in [false, true] {
            let mut ledger = ledger(TWICE);
            ledger.take(vec![came(OVERLAPPING, 2, TWICE)]);
            ledger.next_life(true);
            if is_repeated {
                ledger.take(vec![Note::Repeated(id(2))]);
            }
            ledger.take(vec![came(OVERLAPPING, 2, TWICE)]);
            assert_eq!(kinds(&ledger), [("twice", 1)]);
        }
    }

    #[test]
    fn a_message_with_qos_1_comes_again_in_a_life_only_if_it_was_sent_again() {
        let mut ledger = ledger(ONCE);
        ledger.take(vec![came(ALL, 0, ONCE)]);
        ledger.next_life(true);
        ledger.take(vec![came(ALL, 0, ONCE)]);
        assert_eq!((kinds(&ledger), ledger.totals.again), (vec![], 1));
        ledger.take(vec![came(ALL, 0, ONCE)]);
        assert_eq!((kinds(&ledger), ledger.totals.again), (vec![("too often", 1)], 2));
    }

    #[test]
    fn first_arrivals_come_in_order_for_each_qos() {
        let mut ledger = ledger(ONCE);
        ledger.take(sent(3, TWICE));
        let come = [(3, TWICE), (0, ONCE), (2, ONCE), (0, ONCE)];
        ledger.take(come.map(|(seq, qos)| came(OVERLAPPING, seq, qos)).to_vec());
        assert_eq!(kinds(&ledger), [("too often", 1)]);
        ledger.take(vec![came(OVERLAPPING, 1, ONCE)]);
        assert_eq!(kinds(&ledger), [("order", 1), ("too often", 1)]);
    }

    #[test]
    fn what_comes_from_elsewhere_or_nowhere_or_damaged_or_otherwise_is_found() {
        let mut ledger = ledger(ONCE);
        let elsewhere =
            Note::Arrived { subscriber: ALL, id: Ok(id(0)), topic: "crash/3/b".into(), qos: ONCE };
        let damaged = Note::Arrived {
            subscriber: ALL,
            id: Err("not as it was sent".into()),
            topic: TOPIC.into(),
            qos: ONCE,
        };
        ledger.take(vec![came(ALL, 9, ONCE), elsewhere, damaged, came(3, 0, ONCE)]);
        ledger.take(vec![came(ALL, 1, TWICE)]);
        let wrongs = [("body", 1), ("never asked for", 2), ("never sent", 2)];
        assert_eq!(kinds(&ledger), wrongs);
    }

    #[test]
    fn the_last_message_is_the_last_acknowledged_or_a_later_one() {
        let mut ledger = Ledger::new();
        let topic = || "kept/3/a".to_owned();
        for seq in 0..3 {
            ledger.take(vec![Note::Sent { id: id(seq), topic: topic(), qos: ONCE }]);
        }
        ledger.take(vec![Note::Confirmed(id(0)), Note::Confirmed(id(1))]);
        assert_eq!(ledger.must_be_kept(), BTreeMap::from([(topic(), (3, 1))]));
        for seq in [1, 2] {
            ledger.take(vec![Note::Kept { topic: topic(), id: Ok(id(seq)) }]);
        }
        assert_eq!(kinds(&ledger), []);
        for seq in [0, 3] {
            ledger.take(vec![Note::Kept { topic: topic(), id: Ok(id(seq)) }]);
        }
        assert_eq!(kinds(&ledger), [("kept", 2)]);
    }

    #[test]
    fn every_will_has_a_topic_that_somebody_wants() {
        for publisher in 0..PUBLISHERS.len() {
            let topic = will_topic(publisher);
            assert!((0..SUBSCRIBERS.len()).any(|it| granted(it, &topic, ONCE).is_some()));
        }
        assert!(granted(ALL, MARK_TOPIC, ONCE).is_some());
    }
}
