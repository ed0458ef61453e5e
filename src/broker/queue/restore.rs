//! What a queue is told of its messages from before a restart.
//!
//! A store tells it from summaries, without reading a message; so there is one mark for all that
//! may have been out, and state of its own only for a message that came back and counted.
//! May import the queue's parts.

use std::collections::BTreeMap;

use super::Queue;
use super::fifo::{Returned, Run};
use super::ready::Front;
use super::store::Position;

/// Neighbours of one priority that lie in a store, `to` not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Remaining {
    /// The first.
    pub(crate) from: Position,
    /// The place after the last.
    pub(crate) to: Position,
    /// As their senders said.
    pub(crate) priority: Option<u8>,
    /// Sum of the octets of their bodies.
    pub(crate) body_bytes: u64,
    /// One of them has a time to live of its own.
    pub(crate) may_expire: bool,
}

/// What is known of deliveries before the restart.
#[derive(Debug)]
pub(super) struct Earlier {
    /// Every message below may have been out.
    redelivered_below: Position,
    /// How often one came back, where that counted.
    counts: BTreeMap<Position, u32>,
}

impl Default for Earlier {
    fn default() -> Self {
        Self { redelivered_below: Position::new(0), counts: BTreeMap::new() }
    }
}

impl Earlier {
    /// What is known of a message that was not out since the restart.
    fn of(&self, at: Position) -> Option<Returned> {
        let count = self.counts.get(&at).copied();
        let was_out = at < self.redelivered_below || count.is_some();
        was_out.then(|| Returned { count: count.unwrap_or(0) })
    }

    /// It may have been out before the restart.
    pub(super) fn was_out(&self, at: Position) -> bool {
        at < self.redelivered_below
    }

    fn forget(&mut self, at: Position) {
        // Looked through for none of a queue that has none, which is nearly every queue.
        if !self.counts.is_empty() {
            self.counts.remove(&at);
        }
    }
}

impl Queue {
    /// Makes messages ready that lie in the store from before a restart, in order of position.
    /// Those below `redelivered_below` are shown as having been out; `counts` says how often one
    /// came back in a way that counts.
    pub(crate) fn restore(
        &mut self,
        messages: impl IntoIterator<Item = Remaining>,
        redelivered_below: Position,
        counts: impl IntoIterator<Item = (Position, u32)>,
    ) {
        for Remaining { from, to, priority, body_bytes, may_expire } in messages {
            if from < to {
                self.timed |= may_expire;
                self.ready.push(Run { from, to }, self.scale.level(priority), body_bytes);
            }
        }
        self.earlier.redelivered_below = redelivered_below;
        self.earlier.counts = counts.into_iter().filter(|(_, count)| *count > 0).collect();
    }

    /// The message that is delivered next, with what is known of it from before a restart.
    pub(super) fn front(&self) -> Option<Front> {
        let mut front = self.ready.front()?;
        front.returned = front.returned.or_else(|| self.earlier.of(front.position));
        Some(front)
    }

    /// A ready message leaves its place.
    pub(super) fn pop(&mut self, front: Front, body_bytes: u64) {
        self.ready.pop(front, body_bytes);
        self.earlier.forget(front.position);
    }

    /// All ready messages leave.
    pub(super) fn take_all(&mut self) -> Vec<Run> {
        // Whoever is out came off the list when it went out.
        self.earlier.counts.clear();
        self.ready.take_all()
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::MemoryStore;
    use super::super::slow_store::SlowStore;
    use super::super::store::Store;
    use super::super::testing::{Bench, message_with};
    use super::*;
    use crate::command::Outcome;
    use crate::value::Value;

    fn remaining(from: u64, to: u64) -> Remaining {
        let (from, to) = (Position::new(from), Position::new(to));
        let body_bytes = 4 * to.get().saturating_sub(from.get());
        Remaining { from, to, priority: None, body_bytes, may_expire: true }
    }

    /// Four messages in a store; two of them, 1 and 2, may be restored.
    fn filled(mut store: impl Store) -> impl Store {
        for name in ["settled", "1", "2", "settled"] {
            store.append(message_with(name, |t| t.expiration_ms = Some(50)), 0);
        }
        store
    }

    fn bench(kind: &str, entries: &[(&str, Value)]) -> [Bench; 2] {
        let (slow, disk) = SlowStore::new(2);
        let slow = Bench::on(kind, entries, Box::new(filled(slow)));
        let fast = Bench::on(kind, entries, Box::new(filled(MemoryStore::default())));
        [Bench { disk: Some(disk), ..slow }, fast]
    }

    #[test]
    fn messages_from_before_a_restart_come_first_and_expire() {
        for mut bench in bench("classic", &[]) {
            bench.queue.restore([remaining(1, 2), remaining(2, 3)], Position::new(0), []);
            bench.publish(&["new"]);
            assert_eq!((bench.queue.ready(), bench.queue.ready_body_bytes()), (3, 12));
            let first = bench.take().unwrap();
            assert_eq!((first.message.routing_key(), first.redelivered), ("1", false));
            assert_eq!(bench.next_deadline(), Some(50));
            bench.at_ms = 50;
            assert_eq!(bench.take().unwrap().message.routing_key(), "new");
        }
    }

    #[test]
    fn what_may_have_been_out_says_so_and_nothing_else_does() {
        for mut bench in bench("classic", &[]) {
            bench.queue.restore([remaining(1, 3)], Position::new(2), []);
            bench.publish(&["new"]);
            bench.consumer(1, 0);
            let got = bench.deliver();
            let seen: Vec<_> = got.iter().map(|g| (&*g.what, g.redelivered, g.count)).collect();
            let expected = [("1", true, None), ("2", false, None), ("new", false, None)];
            assert_eq!(seen, expected);
        }
    }

    #[test]
    fn the_count_of_returns_goes_on_after_a_restart() {
        let entries = [("x-delivery-limit", Value::I32(3))];
        for mut bench in bench("quorum", &entries) {
            let counts = [(Position::new(2), 3), (Position::new(1), 0)];
            bench.queue.restore([remaining(1, 3)], Position::new(2), counts);
            bench.consumer(1, 0);
            let got = bench.deliver();
            let seen: Vec<_> = got.iter().map(|g| (&*g.what, g.count)).collect();
            assert_eq!(seen, [("1", Some(0)), ("2", Some(3))]);
            assert!(bench.queue.earlier.counts.is_empty(), "the deliveries know it now");
            bench.settle(got[1].id, Outcome::Requeue { failed: true });
            assert_eq!((bench.dead().len(), bench.queue.ready()), (1, 0));
            bench.settle(got[0].id, Outcome::Requeue { failed: true });
            assert_eq!(bench.deliver()[0].count, Some(1));
        }
    }

    #[test]
    fn counts_go_with_their_messages() {
        for mut bench in bench("quorum", &[]) {
            let counts = [(Position::new(1), 1), (Position::new(2), 2)];
            bench.queue.restore([remaining(1, 3)], Position::new(3), counts);
            bench.at_ms = 50;
            bench.on_time();
            assert!(bench.queue.earlier.counts.is_empty());
            bench.queue.restore([remaining(1, 3)], Position::new(3), counts);
            bench.queue.purge();
            assert!(bench.queue.earlier.counts.is_empty());
        }
    }
}
