//! Deadlines of one shard. Imports the standard library; pure, time is an argument.

use std::collections::BTreeMap;

/// Names one deadline so that it can be cancelled. Never used twice by the same [`Timers`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimerId {
    deadline_ms: u64,
    sequence: u64,
}

impl TimerId {
    /// When it is due.
    #[must_use]
    pub fn deadline_ms(self) -> u64 {
        self.deadline_ms
    }
}

/// One per shard: what is due when. An ordered map, so insert, cancel and expiry are O(log n), a cancelled entry is gone at
/// once, and equal deadlines expire in the order of insertion. Do not re-arm on every message: note the time of the last one
/// and look at it when the deadline comes.
#[derive(Debug)]
pub struct Timers<K> {
    due: BTreeMap<TimerId, K>,
    sequence_next: u64,
}

impl<K> Timers<K> {
    /// No deadlines.
    #[must_use]
    pub fn new() -> Self {
        Self { due: BTreeMap::new(), sequence_next: 0 }
    }

    /// `key` comes out of [`Timers::expired`] once the time is `deadline_ms` or later.
    pub fn insert(&mut self, deadline_ms: u64, key: K) -> TimerId {
        let id = TimerId { deadline_ms, sequence: self.sequence_next };
        self.sequence_next += 1;
        self.due.insert(id, key);
        id
    }

    /// Takes a deadline back; `None` if it has expired or was cancelled before.
    pub fn cancel(&mut self, id: TimerId) -> Option<K> {
        self.due.remove(&id)
    }

    /// Moves everything due at `now_ms` to the end of `found`, earliest first.
    pub fn expired(&mut self, now_ms: u64, found: &mut Vec<K>) {
        while let Some(entry) = self.due.first_entry() {
            if entry.key().deadline_ms > now_ms {
                return;
            }
            found.push(entry.remove());
        }
    }

    /// The earliest deadline: how long the shard may sleep.
    #[must_use]
    pub fn next(&self) -> Option<u64> {
        self.due.first_key_value().map(|(id, _)| id.deadline_ms)
    }

    /// Deadlines outstanding.
    #[must_use]
    pub fn len(&self) -> usize {
        self.due.len()
    }

    /// Whether nothing is outstanding.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.due.is_empty()
    }
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expired_at<K>(timers: &mut Timers<K>, now_ms: u64) -> Vec<K> {
        let mut found = Vec::new();
        timers.expired(now_ms, &mut found);
        found
    }

    #[test]
    fn what_is_due_comes_out_in_order_of_deadline_then_of_insertion() {
        let mut timers = Timers::new();
        timers.insert(20, 'c');
        timers.insert(10, 'a');
        timers.insert(10, 'b');
        timers.insert(21, 'd');

        assert_eq!(timers.next(), Some(10));
        assert_eq!(expired_at(&mut timers, 9), Vec::<char>::new());
        assert_eq!(expired_at(&mut timers, 20), vec!['a', 'b', 'c']);
        assert_eq!(timers.next(), Some(21));
    }

    #[test]
    fn a_cancelled_deadline_is_gone_at_once() {
        let mut timers = Timers::new();
        let first = timers.insert(1, "first");
        timers.insert(2, "second");

        assert_eq!(timers.cancel(first), Some("first"));
        assert_eq!(timers.cancel(first), None);
        assert_eq!(timers.next(), Some(2));
        assert_eq!(timers.len(), 1);
        assert_eq!(expired_at(&mut timers, u64::MAX), vec!["second"]);
    }

    #[test]
    fn an_expired_id_cancels_nothing_that_came_after_it() {
        let mut timers = Timers::new();
        let old = timers.insert(5, 1);
        expired_at(&mut timers, 5);
        timers.insert(5, 2);

        assert_eq!(timers.cancel(old), None);
        assert_eq!(expired_at(&mut timers, 5), vec![2]);
        assert!(timers.is_empty());
    }
}
