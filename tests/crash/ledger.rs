//! The oracle: what was sent, confirmed, delivered and settled, and what of that must not be
//! (reliability.md 2.11). It knows no broker, only notes of what clients did and saw, so it is
//! tested like any function.

use std::collections::{BTreeMap, HashMap};

use crate::body::Id;
use crate::topology::{DEAD, QUEUES, QueueIndex, REJECTED, ROUTES};

/// Examples kept of each kind of violation.
const EXAMPLES_MAX: usize = 5;

/// How a delivery was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Done with.
    Accept,
    /// Back to its queue.
    Requeue,
    /// To where the dead go, if its queue has such a place.
    Reject,
}

/// What a client did or saw, in its order.
#[derive(Debug, Clone)]
pub(crate) enum Note {
    /// A publish left, by [`ROUTES`]'s route of that index.
    Sent { id: Id, route: usize, priority: u8 },
    /// It was confirmed.
    Confirmed(Id),
    /// A message came.
    Delivered { queue: QueueIndex, id: Result<Id, String>, is_again: bool },
    /// A settlement left.
    Settled { queue: QueueIndex, id: Id, outcome: Outcome },
    /// Something that must not be, of this kind.
    Wrong(&'static str, String),
}

/// Which part of which life of the broker: connections end with it, and give back what they hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Epoch {
    /// Counts starts.
    pub(crate) boot: u32,
    /// Counts within one start.
    pub(crate) part: u32,
}

#[derive(Debug)]
struct Sent {
    route: usize,
    priority: u8,
    is_confirmed: bool,
}

/// A message in a queue.
#[derive(Debug, Default)]
struct Place {
    /// When it was delivered last.
    delivered: Option<Epoch>,
    /// It was given back since.
    is_returned: bool,
    /// When it was accepted or rejected last.
    settled: Option<u32>,
    /// It has been accepted.
    is_accepted: bool,
    /// It was purged, and the purge was answered.
    is_purged: bool,
    /// How often it has been rejected.
    rejections: u32,
}

/// Sums over a run.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Messages published.
    pub(crate) attempts: u64,
    /// Of these, confirmed.
    pub(crate) confirmed: u64,
    /// Messages delivered for the first time in a queue.
    pub(crate) delivered: u64,
    /// Of these, not confirmed.
    pub(crate) recovered: u64,
    /// Deliveries of what was accepted or rejected in an earlier life, which is allowed.
    pub(crate) duplicated: u64,
    /// Other deliveries that are not the first.
    pub(crate) again: u64,
    /// Of these, held by us when the broker died and not marked as delivered again: tolerated.
    pub(crate) unmarked: u64,
    /// Settlements sent.
    pub(crate) settled: u64,
    /// Confirmed messages that are in no queue any more, once per queue.
    pub(crate) lost: u64,
    /// All violations but the lost.
    pub(crate) unexpected: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Ledger {
    epoch: Epoch,
    /// By number.
    publishers: Vec<Vec<Sent>>,
    /// Publishers whose messages have all been accounted for.
    evaluated: usize,
    places: Vec<HashMap<Id, Place>>,
    /// The highest sequence number delivered so far, by queue, publisher and priority.
    highest: HashMap<(QueueIndex, u32, u8), u32>,
    /// Lost messages since the last call of [`Self::take_lost`].
    lost: Vec<(QueueIndex, Id)>,
    totals: Totals,
    /// Number and examples, by kind.
    wrongs: BTreeMap<&'static str, (u64, Vec<String>)>,
}

impl Ledger {
    /// Nothing has happened.
    pub(crate) fn new() -> Self {
        Self {
            epoch: Epoch::default(),
            publishers: Vec::new(),
            evaluated: 0,
            places: QUEUES.iter().map(|_| HashMap::new()).collect(),
            highest: HashMap::new(),
            lost: Vec::new(),
            totals: Totals::default(),
            wrongs: BTreeMap::new(),
        }
    }

    /// The number of a new publisher.
    pub(crate) fn new_publisher(&mut self) -> u32 {
        self.publishers.push(Vec::new());
        u32::try_from(self.publishers.len() - 1).expect("few publishers")
    }

    /// The broker was started.
    pub(crate) const fn next_boot(&mut self) {
        self.epoch = Epoch { boot: self.epoch.boot + 1, part: 0 };
    }

    /// All consumers have left in good order.
    pub(crate) const fn next_part(&mut self) {
        self.epoch.part += 1;
    }

    /// The sums so far.
    pub(crate) const fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Takes notes in; those of publishers before those of consumers, those of a queue before those
    /// of the queue where its dead go.
    pub(crate) fn take(&mut self, notes: Vec<Note>) {
        for note in notes {
            match note {
                Note::Sent { id, route, priority } => self.sent(id, route, priority),
                Note::Confirmed(id) => self.confirmed(id),
                Note::Delivered { queue, id: Ok(id), is_again } => {
                    self.delivered(queue, id, is_again);
                }
                Note::Delivered { queue, id: Err(what), .. } => {
                    self.wrong("body", format!("{}: {what}", QUEUES[queue]));
                }
                Note::Settled { queue, id, outcome } => self.settled(queue, id, outcome),
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
            examples.push(format!("boot {}: {what}", self.epoch.boot));
        }
    }

    fn sent(&mut self, id: Id, route: usize, priority: u8) {
        self.totals.attempts += 1;
        let sent = &mut self.publishers[id.publisher as usize];
        assert_eq!(sent.len(), id.seq as usize, "a publisher of ours counts from 0");
        sent.push(Sent { route, priority, is_confirmed: false });
    }

    fn confirmed(&mut self, id: Id) {
        let sent = &mut self.publishers[id.publisher as usize][id.seq as usize];
        if std::mem::replace(&mut sent.is_confirmed, true) {
            self.wrong("confirm", format!("{id} was confirmed twice"));
        } else {
            self.totals.confirmed += 1;
        }
    }

    fn find(&self, id: Id) -> Option<&Sent> {
        self.publishers.get(id.publisher as usize)?.get(id.seq as usize)
    }

    fn delivered(&mut self, queue: QueueIndex, id: Id, is_again: bool) {
        let name = QUEUES[queue];
        let is_addressed = if queue == DEAD {
            self.places[REJECTED].get(&id).is_some_and(|place| place.rejections > 0)
        } else {
            self.find(id).is_some_and(|sent| ROUTES[sent.route].queues.contains(&queue))
        };
        let Some(sent) = self.find(id).filter(|_| is_addressed) else {
            self.wrong("never sent", format!("{id} came from {name}, where it was not sent"));
            return;
        };
        let (priority, is_confirmed) = (sent.priority, sent.is_confirmed);
        let now = self.epoch;
        // A rejection that the crash undid is repeated, and then it may be dead twice.
        let rejections = self.places[REJECTED].get(&id).map_or(0, |place| place.rejections);
        let place = self.places[queue].entry(id).or_default();
        let before = place.delivered.replace(now);
        let is_returned = std::mem::take(&mut place.is_returned);
        let settled = place.settled;
        if place.is_purged {
            self.wrong("purged", format!("{id} came from {name}, which was purged"));
        }
        let Some(before) = before else {
            self.totals.delivered += 1;
            self.totals.recovered += u64::from(!is_confirmed);
            self.check_order(queue, id, priority);
            return;
        };
        if queue == DEAD && rejections > 1 {
            self.totals.duplicated += 1;
            return;
        }
        if let Some(boot) = settled {
            self.totals.duplicated += 1;
            if boot == now.boot {
                self.wrong("settled", format!("{id} came from {name} after it was settled"));
            } else if !is_again {
                let what = format!("{id}, settled in boot {boot}, came from {name} as if new");
                self.wrong("unmarked", what);
            }
            return;
        }
        self.totals.again += 1;
        if before == now && !is_returned {
            self.wrong("twice", format!("{id} came from {name} while it was held"));
        } else if before.boot == now.boot && !is_again {
            self.wrong("unmarked", format!("{id} was given back and came from {name} as if new"));
        } else if !is_again {
            self.totals.unmarked += 1;
        }
    }

    /// First deliveries of one publisher's messages come in their order. The dead come in any.
    fn check_order(&mut self, queue: QueueIndex, id: Id, priority: u8) {
        if queue == DEAD {
            return;
        }
        let highest = self.highest.entry((queue, id.publisher, priority)).or_insert(id.seq);
        let before = *highest;
        *highest = before.max(id.seq);
        if id.seq < before {
            let what = format!("{id} came from {} after {}:{before}", QUEUES[queue], id.publisher);
            self.wrong("order", what);
        }
    }

    fn settled(&mut self, queue: QueueIndex, id: Id, outcome: Outcome) {
        self.totals.settled += 1;
        let boot = self.epoch.boot;
        let place = self.places[queue].entry(id).or_default();
        match outcome {
            Outcome::Requeue => place.is_returned = true,
            Outcome::Accept => {
                place.settled = Some(boot);
                place.is_accepted = true;
            }
            Outcome::Reject => {
                place.settled = Some(boot);
                place.rejections += 1;
            }
        }
    }

    /// A queue was purged: nothing that was sent to it so far need come.
    pub(crate) fn purged(&mut self, queue: QueueIndex) {
        for (publisher, sent) in (0_u32..).zip(&self.publishers) {
            let there = (0_u32..).zip(sent);
            let there = there.filter(|(_, sent)| ROUTES[sent.route].queues.contains(&queue));
            for (seq, _) in there {
                let place = self.places[queue].entry(Id { publisher, seq }).or_default();
                place.is_purged = true;
                place.is_accepted = true;
            }
        }
    }

    /// Every queue has been emptied: what was confirmed and has not been settled by us is lost.
    pub(crate) fn evaluate(&mut self) {
        let mut lost = Vec::new();
        for (publisher, sent) in (0_u32..).zip(&self.publishers).skip(self.evaluated) {
            for (seq, sent) in (0_u32..).zip(sent).filter(|(_, sent)| sent.is_confirmed) {
                let id = Id { publisher, seq };
                let gone = ROUTES[sent.route].queues.iter();
                lost.extend(gone.filter(|queue| !self.is_kept(**queue, id)).map(|it| (*it, id)));
            }
        }
        self.evaluated = self.publishers.len();
        for (queue, id) in lost {
            self.totals.lost += 1;
            // The second kind is what a broker loses that removes a message from its queue before
            // the queue of the dead has it (RabbitMQ does, and says so).
            let (kind, history) = match self.places[queue].get(&id) {
                Some(place) if place.rejections > 0 => ("lost in dying", "rejected"),
                Some(_) => ("lost", "delivered before, not settled"),
                None => ("lost", "never delivered"),
            };
            self.example(kind, &format!("{id} from {} ({history})", QUEUES[queue]));
            self.lost.push((queue, id));
        }
    }

    /// A confirmed message is delivered, or settled by us before.
    fn is_kept(&self, queue: QueueIndex, id: Id) -> bool {
        let is_in = |queue: QueueIndex| self.places[queue].get(&id);
        let is_accepted = is_in(queue).is_some_and(|place| place.is_accepted);
        let is_dead = queue == REJECTED && is_in(DEAD).is_some_and(|place| place.is_accepted);
        is_accepted || is_dead
    }

    /// The messages lost since the last call.
    pub(crate) fn take_lost(&mut self) -> Vec<(QueueIndex, Id)> {
        std::mem::take(&mut self.lost)
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

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "attempts {}, confirmed {}, delivered {} (recovered {}), settled {}, again {} \
             (unmarked {}), duplicated {}, lost {}, unexpected {}",
            self.attempts,
            self.confirmed,
            self.delivered,
            self.recovered,
            self.settled,
            self.again,
            self.unmarked,
            self.duplicated,
            self.lost,
            self.unexpected
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIRECT: usize = 0;
    const FAN: usize = 3;
    const REJECTABLE: usize = 8;

    fn id(seq: u32) -> Id {
        Id { publisher: 0, seq }
    }

    /// A ledger with messages 0 to 4, sent by this route and confirmed.
    fn ledger(route: usize) -> Ledger {
        let mut ledger = Ledger::new();
        ledger.new_publisher();
        for seq in 0..5 {
            ledger.take(vec![
                Note::Sent { id: id(seq), route, priority: 0 },
                Note::Confirmed(id(seq)),
            ]);
        }
        ledger.next_boot();
        ledger
    }

    fn came(queue: QueueIndex, seq: u32, is_again: bool) -> Note {
        Note::Delivered { queue, id: Ok(id(seq)), is_again }
    }

    fn settled(queue: QueueIndex, seq: u32, outcome: Outcome) -> Note {
        Note::Settled { queue, id: id(seq), outcome }
    }

    /// Delivers and accepts these.
    fn accepted(queue: QueueIndex, seqs: &[u32]) -> Vec<Note> {
        let both = |seq: &u32| [came(queue, *seq, false), settled(queue, *seq, Outcome::Accept)];
        seqs.iter().flat_map(both).collect()
    }

    fn kinds(ledger: &Ledger) -> Vec<(&'static str, u64)> {
        ledger.wrongs.iter().map(|(kind, (count, _))| (*kind, *count)).collect()
    }

    #[test]
    fn what_is_all_delivered_and_settled_is_in_order() {
        let mut ledger = ledger(DIRECT);
        ledger.take(accepted(0, &[0, 1, 2, 3, 4]));
        ledger.evaluate();
        assert_eq!(kinds(&ledger), []);
        assert_eq!((ledger.totals.delivered, ledger.totals.lost), (5, 0));
    }

    #[test]
    fn a_confirmed_message_that_never_comes_is_lost_once_for_each_queue() {
        let mut ledger = ledger(FAN);
        ledger.take(accepted(3, &[0, 1, 2, 4]));
        ledger.take(accepted(4, &[0, 1, 2]));
        ledger.evaluate();
        ledger.evaluate();
        assert_eq!(kinds(&ledger), [("lost", 3)]);
        assert_eq!(ledger.take_lost(), [(3, id(3)), (4, id(3)), (4, id(4))]);
    }

    #[test]
    fn a_message_that_was_delivered_and_not_settled_must_come_again() {
        let mut ledger = ledger(DIRECT);
        ledger.take(accepted(0, &[0, 1, 2, 3]));
        ledger.take(vec![came(0, 4, false)]);
        ledger.next_boot();
        ledger.evaluate();
        assert_eq!(kinds(&ledger), [("lost", 1)]);
    }

    #[test]
    fn an_unconfirmed_message_may_be_lost_and_may_come() {
        let mut ledger = ledger(DIRECT);
        for seq in 5..7 {
            ledger.take(vec![Note::Sent { id: id(seq), route: DIRECT, priority: 0 }]);
        }
        ledger.take(accepted(0, &[0, 1, 2, 3, 4, 6]));
        ledger.evaluate();
        assert_eq!((kinds(&ledger), ledger.totals.recovered), (vec![], 1));
    }

    #[test]
    fn a_settled_message_comes_again_only_after_a_crash_and_marked() {
        for (is_crashed, is_again, wrongs) in [
            (true, true, vec![]),
            (true, false, vec![("unmarked", 1)]),
            (false, true, vec![("settled", 1)]),
        ] {
            let mut ledger = ledger(DIRECT);
            ledger.take(accepted(0, &[0, 1]));
            if is_crashed {
                ledger.next_boot();
            }
            ledger.take(vec![came(0, 1, is_again)]);
            assert_eq!((kinds(&ledger), ledger.totals.duplicated), (wrongs, 1));
        }
    }

    #[test]
    fn a_message_that_is_held_comes_to_nobody_else_until_it_is_given_back() {
        let mut ledger = ledger(DIRECT);
        ledger.take(vec![came(0, 0, false), settled(0, 0, Outcome::Requeue), came(0, 0, true)]);
        ledger.next_part();
        ledger.take(vec![came(0, 0, true)]);
        assert_eq!((kinds(&ledger), ledger.totals.again), (vec![], 2));
        ledger.take(vec![came(0, 0, true)]);
        assert_eq!(kinds(&ledger), [("twice", 1)]);
        ledger.next_part();
        ledger.take(vec![came(0, 0, false)]);
        assert_eq!(kinds(&ledger), [("twice", 1), ("unmarked", 1)]);
    }

    #[test]
    fn first_deliveries_come_in_the_order_of_publishing() {
        let mut ledger = ledger(DIRECT);
        ledger.take(accepted(0, &[0, 2, 3]));
        ledger.next_boot();
        ledger.take(vec![came(0, 3, true), came(0, 4, false)]);
        assert_eq!(kinds(&ledger), []);
        ledger.take(vec![came(0, 1, false)]);
        assert_eq!(kinds(&ledger), [("order", 1)]);
    }

    #[test]
    fn what_comes_from_elsewhere_or_nowhere_or_damaged_is_found() {
        let mut ledger = ledger(DIRECT);
        let strange = Id { publisher: 9, seq: 0 };
        ledger.take(vec![
            came(1, 0, false),
            came(0, 5, false),
            Note::Delivered { queue: 0, id: Ok(strange), is_again: false },
            Note::Delivered { queue: 0, id: Err("not as it was sent".into()), is_again: false },
        ]);
        assert_eq!(kinds(&ledger), [("body", 1), ("never sent", 3)]);
    }

    #[test]
    fn a_rejected_message_is_among_the_dead_or_where_it_was() {
        let mut ledger = ledger(REJECTABLE);
        ledger.take(accepted(REJECTED, &[0]));
        ledger.take((1..5).map(|seq| came(REJECTED, seq, false)).collect());
        ledger.take((1..4).map(|seq| settled(REJECTED, seq, Outcome::Reject)).collect());
        ledger.next_boot();
        let mut notes = accepted(DEAD, &[1]);
        for seq in [2, 4] {
            notes.extend([came(REJECTED, seq, true), settled(REJECTED, seq, Outcome::Accept)]);
        }
        ledger.take(notes);
        ledger.evaluate();
        assert_eq!(kinds(&ledger), [("lost in dying", 1)]);
        assert_eq!(ledger.take_lost(), [(REJECTED, id(3))]);
        ledger.take(vec![came(DEAD, 0, false)]);
        assert_eq!(kinds(&ledger), [("lost in dying", 1), ("never sent", 1)]);
    }

    #[test]
    fn a_purged_message_does_not_come_again() {
        let mut ledger = ledger(DIRECT);
        ledger.take(accepted(0, &[0]));
        ledger.purged(0);
        ledger.evaluate();
        assert_eq!(kinds(&ledger), []);
        ledger.next_boot();
        ledger.take(vec![came(0, 3, true)]);
        assert_eq!(kinds(&ledger), [("purged", 1)]);
    }

    #[test]
    fn a_confirm_that_comes_twice_is_found() {
        let mut ledger = ledger(DIRECT);
        ledger.take(vec![Note::Confirmed(id(2))]);
        assert_eq!(kinds(&ledger), [("confirm", 1)]);
    }
}
