//! Definitions that come and go: what was answered must be true after a crash, what was not may be
//! either. Names are used again and again, so that a new queue could meet what an old one left.

use std::thread;
use std::time::{Duration, Instant};

use ringmq::protocol::amqp091::wire::method::{Basic, Exchange, Method, Queue, exchange, queue};

use crate::ledger::Note;
use crate::link::{Answer, Link, Next, PATIENCE, closed, declared};
use crate::random::Random;
use crate::support::methods::{arguments, declare, declare_exchange};
use crate::topology::{bind, exchange_declared};

const EXCHANGE: &str = "crash.churn";
const QUEUES_MAX: usize = 12;
const EXCHANGES_MAX: usize = 4;
const LIFE_MAX: Duration = Duration::from_secs(60);

/// What we know of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Truth {
    Yes,
    No,
    /// The answer did not come.
    Unknown,
}

#[derive(Debug)]
struct Thing {
    name: String,
    is_queue: bool,
    exists: Truth,
    is_bound: Truth,
}

/// The definitions that come and go.
#[derive(Debug)]
pub(crate) struct Churn {
    things: Vec<Thing>,
    /// Requests that were answered.
    pub(crate) answered: u64,
}

impl Churn {
    /// None exists.
    pub(crate) fn new() -> Self {
        let thing = |number: usize| Thing {
            name: format!("churn-{number}"),
            is_queue: number < QUEUES_MAX,
            exists: Truth::No,
            is_bound: Truth::No,
        };
        let things = (0..QUEUES_MAX + EXCHANGES_MAX).map(thing).collect();
        Self { things, answered: 0 }
    }

    /// Makes the exchange that queues are bound to; whether the broker could.
    pub(crate) fn prepare(link: &mut Link) -> bool {
        let method = exchange::Declare { durable: true, ..declare_exchange(EXCHANGE, "direct") };
        link.ask(&method, exchange_declared) == Answer::Done(())
    }

    /// Declares, binds, unbinds and deletes until the connection ends.
    pub(crate) fn run(mut self, mut link: Link, mut random: Random) -> (Self, Vec<Note>) {
        let mut notes = Vec::new();
        let deadline = Instant::now() + LIFE_MAX;
        while Instant::now() < deadline {
            let index = usize::try_from(random.below(self.things.len() as u64)).unwrap_or(0);
            let thing = &mut self.things[index];
            if !thing.change(&mut link, &mut random, &mut notes) {
                return (self, notes);
            }
            self.answered += 1;
            thread::sleep(Duration::from_millis(1));
        }
        (self, notes)
    }

    /// After a start: what of it is not as it was answered. Learns what was unknown.
    pub(crate) fn verify(&mut self, link: &mut Link) -> Vec<Note> {
        let mut notes = Vec::new();
        if !Self::prepare(link) || link.confirm_select() != Answer::Done(()) {
            notes.push(Note::Wrong("definitions", "no answer to the first questions".into()));
        }
        for thing in &mut self.things {
            thing.verify(link, &mut notes);
        }
        notes
    }
}

impl Thing {
    /// One request; whether it was answered.
    fn change(&mut self, link: &mut Link, random: &mut Random, notes: &mut Vec<Note>) -> bool {
        let done = match (self.is_queue, self.exists) {
            (true, Truth::No) => self.declare_queue(link, notes),
            (true, _) if random.percent(40) => self.delete_queue(link),
            (true, _) if self.is_bound == Truth::Yes => self.unbind(link),
            (true, _) => self.bind(link),
            (false, Truth::No) => {
                self.exists = Truth::Unknown;
                let wanted =
                    exchange::Declare { durable: true, ..declare_exchange(&self.name, "topic") };
                let answer = link.ask(&wanted, exchange_declared);
                self.learn(&answer, Truth::Yes);
                answer
            }
            (false, _) => {
                self.exists = Truth::Unknown;
                let wanted = exchange::Delete {
                    ticket: 0,
                    exchange: &self.name,
                    if_unused: false,
                    no_wait: false,
                };
                let answer = link.ask(&wanted, |method| {
                    matches!(method, Method::Exchange(Exchange::DeleteOk)).then_some(())
                });
                self.learn(&answer, Truth::No);
                answer
            }
        };
        if let Answer::Refused(code) = done {
            notes.push(Note::Wrong("refused", format!("{self:?} was answered with {code}")));
        }
        done != Answer::Unknown
    }

    fn learn<T>(&mut self, answer: &Answer<T>, truth: Truth) {
        if matches!(answer, Answer::Done(_)) {
            self.exists = truth;
        }
    }

    fn declare_queue(&mut self, link: &mut Link, notes: &mut Vec<Note>) -> Answer<()> {
        self.exists = Truth::Unknown;
        let method = queue::Declare { durable: true, ..declare(&self.name) };
        match link.ask(&method, declared) {
            Answer::Done(count) => {
                self.exists = Truth::Yes;
                if count > 0 {
                    let what = format!("{} is new and has {count} messages", self.name);
                    notes.push(Note::Wrong("definitions", what));
                }
                // Something for the next of this name to find.
                link.publish("", &self.name, None, false, b"left behind");
                Answer::Done(())
            }
            Answer::Refused(code) => Answer::Refused(code),
            Answer::Unknown => Answer::Unknown,
        }
    }

    fn delete_queue(&mut self, link: &mut Link) -> Answer<()> {
        (self.exists, self.is_bound) = (Truth::Unknown, Truth::Unknown);
        let (ticket, if_unused, if_empty, no_wait) = (0, false, false, false);
        let method = queue::Delete { ticket, queue: &self.name, if_unused, if_empty, no_wait };
        let answer = link.ask(&method, |method| {
            matches!(method, Method::Queue(Queue::DeleteOk(_))).then_some(())
        });
        self.learn(&answer, Truth::No);
        if answer == Answer::Done(()) {
            self.is_bound = Truth::No;
        }
        answer
    }

    fn bind(&mut self, link: &mut Link) -> Answer<()> {
        self.is_bound = Truth::Unknown;
        let answer = bind(link, &self.name, EXCHANGE, &self.name);
        if answer == Answer::Done(()) {
            self.is_bound = Truth::Yes;
        }
        answer
    }

    fn unbind(&mut self, link: &mut Link) -> Answer<()> {
        self.is_bound = Truth::Unknown;
        let table = arguments(&[]);
        let method = queue::Unbind {
            ticket: 0,
            queue: &self.name,
            exchange: EXCHANGE,
            routing_key: &self.name,
            arguments: table.view(),
        };
        let answer = link
            .ask(&method, |method| matches!(method, Method::Queue(Queue::UnbindOk)).then_some(()));
        if answer == Answer::Done(()) {
            self.is_bound = Truth::No;
        }
        answer
    }

    fn verify(&mut self, link: &mut Link, notes: &mut Vec<Note>) {
        let answer = if self.is_queue {
            match link.ready(&self.name) {
                Answer::Done(_) => Answer::Done(()),
                Answer::Refused(code) => Answer::Refused(code),
                Answer::Unknown => Answer::Unknown,
            }
        } else {
            let wanted = declare_exchange(&self.name, "topic");
            let wanted = exchange::Declare { passive: true, durable: true, ..wanted };
            link.ask(&wanted, exchange_declared)
        };
        let found = match answer {
            Answer::Done(()) => Truth::Yes,
            Answer::Refused(404) => Truth::No,
            Answer::Refused(_) | Answer::Unknown => Truth::Unknown,
        };
        self.compare("exists", self.exists, found, notes);
        self.exists = found;
        if self.is_queue && found == Truth::Yes {
            let found = is_routed(link, &self.name);
            self.compare("is bound", self.is_bound, found, notes);
            self.is_bound = found;
        } else {
            self.is_bound = Truth::No;
        }
    }

    fn compare(&self, what: &str, was: Truth, is: Truth, notes: &mut Vec<Note>) {
        if is == Truth::Unknown || (was != Truth::Unknown && was != is) {
            let what = format!("{} {what}: was {was:?}, is {is:?}", self.name);
            notes.push(Note::Wrong("definitions", what));
        }
    }
}

/// Whether the exchange leads to the queue of this name: a message that leads nowhere comes back.
fn is_routed(link: &mut Link, key: &str) -> Truth {
    // A question that was refused has closed the channel: confirms are to be asked for again.
    if link.confirm_select() != Answer::Done(()) {
        return Truth::Unknown;
    }
    link.publish(EXCHANGE, key, None, true, b"is this bound?");
    let mut found = Truth::Yes;
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        match link.next(PATIENCE) {
            Next::Message(message) if message.is_returned => found = Truth::No,
            Next::Message(_) => {}
            Next::Method(received) => {
                if let Some(Method::Basic(Basic::Ack(_))) = received.method() {
                    return found;
                }
                if closed(&received).is_some() {
                    return Truth::Unknown;
                }
            }
            Next::Silence | Next::End => return Truth::Unknown,
        }
    }
    Truth::Unknown
}
