//! Publishers: persistent messages by some of the routes, with confirms or in transactions, until
//! the connection ends or they are told to stop.

use std::time::{Duration, Instant};

use ringmq::protocol::amqp091::wire::method::{Basic, Method, Tx};

use crate::body::{Id, any_size, make};
use crate::ledger::Note;
use crate::link::{Answer, Link, Next, closed};
use crate::random::Random;
use crate::topology::ROUTES;

/// No publisher lives longer. Arbitrary: a broker that neither answers nor ends is a finding.
const LIFE_MAX: Duration = Duration::from_secs(60);

/// What a publisher does.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Its number in the ledger.
    pub(crate) publisher: u32,
    /// Indices of routes that it uses.
    pub(crate) routes: Vec<usize>,
    /// Messages on their way at once.
    pub(crate) window: usize,
    /// Messages at most; then it waits for the end.
    pub(crate) messages_max: u32,
    /// Transactions, no confirms.
    pub(crate) is_transactional: bool,
    /// It leaves as soon as all messages are confirmed, and all must be.
    pub(crate) leaves: bool,
}

impl Plan {
    /// Any.
    pub(crate) fn any(publisher: u32, random: &mut Random) -> Self {
        let routes = (0..random.between(1, 4)).map(|_| random.below(ROUTES.len() as u64));
        Self {
            publisher,
            routes: routes.map(|route| usize::try_from(route).expect("an index")).collect(),
            window: usize::try_from(random.between(1, 200)).expect("a window"),
            messages_max: u32::try_from(random.between(200, 1500)).expect("a count"),
            is_transactional: random.percent(20),
            leaves: false,
        }
    }
}

#[derive(Debug)]
struct Publisher {
    link: Link,
    plan: Plan,
    random: Random,
    notes: Vec<Note>,
    next_seq: u32,
    /// Not confirmed yet, in order; the tag of `seq` is `seq + 1`.
    open: std::collections::BTreeSet<u32>,
}

/// Publishes; the notes of what became of it.
pub(crate) fn publish(link: Link, plan: Plan, random: Random) -> Vec<Note> {
    let (notes, open) = (Vec::new(), std::collections::BTreeSet::new());
    let mut it = Publisher { link, plan, random, notes, next_seq: 0, open };
    let is_ready = if it.plan.is_transactional {
        it.link.ask(&Tx::Select, |method| matches!(method, Method::Tx(_)).then_some(()))
    } else {
        it.link.confirm_select()
    };
    if is_ready == Answer::Done(()) {
        if it.plan.is_transactional { it.in_transactions() } else { it.with_confirms() }
    }
    it.notes
}

impl Publisher {
    fn id(&self, seq: u32) -> Id {
        Id { publisher: self.plan.publisher, seq }
    }

    fn send_one(&mut self) {
        let seq = self.next_seq;
        self.next_seq += 1;
        let id = self.id(seq);
        let route = *self.random.pick(&self.plan.routes);
        let priority = u8::try_from(self.random.below(6)).expect("below 6");
        // Priorities count in queues that have them; in others order must be that of publishing.
        let counts = ROUTES[route].key == "priority";
        let noted = if counts { priority } else { 0 };
        self.notes.push(Note::Sent { id, route, priority: noted });
        self.open.insert(seq);
        let body = make(id, any_size(&mut self.random));
        let Some(there) = ROUTES.get(route) else { return };
        let priority = (counts || self.random.percent(50)).then_some(priority);
        self.link.publish(there.exchange, there.key, priority, false, &body);
    }

    fn with_confirms(&mut self) {
        let deadline = Instant::now() + LIFE_MAX;
        loop {
            let room = self.plan.window.saturating_sub(self.open.len());
            let burst = room.min(usize::try_from(self.random.between(1, 20)).unwrap_or(1));
            for _ in 0..burst {
                if self.next_seq < self.plan.messages_max {
                    self.send_one();
                }
            }
            let is_done = self.next_seq >= self.plan.messages_max;
            if is_done && self.plan.leaves && self.open.is_empty() {
                return;
            }
            if Instant::now() > deadline {
                let what =
                    format!("{} of a publisher still open after {LIFE_MAX:?}", self.open.len());
                self.notes.push(Note::Wrong("stuck", what));
                return;
            }
            // With a full window there is nothing to do but to wait.
            let is_full = is_done || self.open.len() >= self.plan.window;
            let wait = Duration::from_millis(if is_full { 50 } else { 1 });
            if !self.read(wait) {
                return;
            }
        }
    }

    /// Reads what has come; whether the connection goes on.
    fn read(&mut self, mut wait: Duration) -> bool {
        // Bounded, so that a publisher publishes also while confirms come without end.
        for _ in 0..256 {
            match self.link.next(wait) {
                Next::Silence => return true,
                Next::End => return false,
                Next::Message(_) => {
                    let what = "a message came that was neither mandatory nor consumed".into();
                    self.notes.push(Note::Wrong("unasked", what));
                }
                Next::Method(received) => match received.method() {
                    Some(Method::Basic(Basic::Ack(ack))) => {
                        self.settle(ack.delivery_tag, ack.multiple, true);
                    }
                    Some(Method::Basic(Basic::Nack(nack))) => {
                        self.settle(nack.delivery_tag, nack.multiple, false);
                    }
                    _ => {
                        if closed(&received).is_some() {
                            let what = format!("a publisher got {}", received.describe());
                            self.notes.push(Note::Wrong("refused", what));
                            return false;
                        }
                    }
                },
            }
            wait = Duration::ZERO;
        }
        true
    }

    fn settle(&mut self, tag: u64, is_multiple: bool, is_confirmed: bool) {
        let last = u32::try_from(tag.saturating_sub(1)).unwrap_or(u32::MAX);
        let settled: Vec<u32> = if is_multiple {
            self.open.range(..=last).copied().collect()
        } else {
            self.open.get(&last).copied().into_iter().collect()
        };
        if tag == 0 || settled.is_empty() {
            let what = format!("{tag}, multiple {is_multiple}, settles nothing");
            self.notes.push(Note::Wrong("confirm", what));
        }
        for seq in settled {
            self.open.remove(&seq);
            // A message that was refused may come or not.
            if is_confirmed {
                self.notes.push(Note::Confirmed(self.id(seq)));
            }
        }
    }

    /// A few messages, tx.commit, and so on: what a commit-ok covers is confirmed.
    fn in_transactions(&mut self) {
        while self.next_seq < self.plan.messages_max {
            for _ in 0..self.random.between(1, 20) {
                self.send_one();
            }
            let committed = self.link.ask(&Tx::Commit, |method| {
                matches!(method, Method::Tx(Tx::CommitOk)).then_some(())
            });
            match committed {
                Answer::Done(()) => {
                    for seq in std::mem::take(&mut self.open) {
                        self.notes.push(Note::Confirmed(self.id(seq)));
                    }
                }
                Answer::Refused(code) => {
                    let what = format!("tx.commit was answered with {code}");
                    self.notes.push(Note::Wrong("refused", what));
                    return;
                }
                Answer::Unknown => return,
            }
        }
    }
}
