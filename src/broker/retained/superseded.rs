//! Messages that are not the latest of their topic any more, until they may be settled.
//!
//! A settlement can be durable before what was appended earlier: segments save which of their
//! messages are settled whenever they like. So of the messages of a topic that are left after a
//! crash, the one that was the latest has to be there before one of the others is settled, and one
//! that says that there is none, or has expired, goes when all others are durably gone.
//!
//! ```text
//!   replaced --(its successor is durable)--> settled
//!   last     --(the same for all before it)--> (they are settled) --(that is durable)--> settled
//! ```
//!
//! May import `queue::store`, `storage` and of `ringmq_shards` the log's numbers.

use std::collections::VecDeque;

use ringmq_shards::log::Lsn;

use crate::broker::queue::store::{Position, Safe, Store};

/// One that waits for a record to be durable.
#[derive(Debug, Clone, Copy)]
enum Waits {
    /// A later one has its place.
    Replaced(Position),
    /// It was the last of its topic.
    Last(Position),
}

/// See the module. One per part.
#[derive(Debug, Default)]
pub(super) struct Superseded {
    /// In order of their records.
    waiting: VecDeque<(Lsn, Waits)>,
    /// The last of their topics, of which all others were settled in the turn that is not over.
    alone: Vec<Position>,
    /// The same, with the record after those settlements.
    leaving: VecDeque<(Lsn, Position)>,
}

impl Superseded {
    /// Nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.alone.is_empty() && self.leaving.is_empty()
    }

    /// A message has a successor, which was appended so.
    pub(super) fn replace(&mut self, at: Position, successor: Safe, store: &mut dyn Store) {
        match successor {
            Safe::Now => store.settle(at),
            // Also where less is promised for the new one: the old one was safe.
            Safe::Synced(lsn) | Safe::Written(lsn) => {
                self.waiting.push_back((lsn, Waits::Replaced(at)));
            }
        }
    }

    /// A message has a successor that was appended some time ago.
    pub(super) fn replace_late(&mut self, at: Position, store: &mut dyn Store) {
        match store.as_durable().map(|store| store.logged()) {
            None => store.settle(at),
            Some(logged) => self.waiting.push_back((logged, Waits::Replaced(at))),
        }
    }

    /// A message is the last of its topic, and not wanted.
    pub(super) fn end(&mut self, at: Position, store: &mut dyn Store) {
        match store.as_durable().map(|store| store.logged()) {
            None => store.settle(at),
            Some(logged) => self.waiting.push_back((logged, Waits::Last(at))),
        }
    }

    /// Once per turn: settles what may be settled.
    pub(super) fn settle_due(&mut self, store: &mut dyn Store) {
        let Some((logged, durable)) = store.as_durable().map(|s| (s.logged(), s.durable())) else {
            return;
        };
        // What was settled in an earlier turn is in the log by now.
        self.leaving.extend(self.alone.drain(..).map(|at| (logged, at)));
        while let Some((lsn, at)) = self.leaving.front().copied()
            && lsn <= durable
        {
            self.leaving.pop_front();
            store.settle(at);
        }
        while let Some((lsn, waits)) = self.waiting.front().copied()
            && lsn <= durable
        {
            self.waiting.pop_front();
            match waits {
                Waits::Replaced(at) => store.settle(at),
                Waits::Last(at) => self.alone.push(at),
            }
        }
    }
}
