//! Delivery tags of one channel, and what they stand for while it is out (P45, P47; abuse
//! rows 31 to 33). May import `ids`.

use std::collections::VecDeque;

use crate::ids::{ConsumerKey, DeliveryId, QueueRef};

/// A delivery that the client has not settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Out {
    /// What the client calls it.
    pub(super) tag: u64,
    /// Whom to tell how it ended.
    pub(super) queue: QueueRef,
    /// What the queue calls it.
    pub(super) id: DeliveryId,
    /// The consumer; `None` when it was fetched.
    pub(super) consumer: Option<ConsumerKey>,
    /// When it was sent, monotonic milliseconds.
    pub(super) sent_ms: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    out: Out,
    is_out: bool,
}

/// Deliveries that are out, in the order of their tags.
///
/// A tag is found by its distance from the front, which is right as long as every tag between was
/// remembered, and by search otherwise. Entries settled out of order stay until the front is
/// settled or they are the greater half, so each costs a constant time.
#[derive(Debug, Default)]
pub(super) struct Unacked {
    entries: VecDeque<Entry>,
    /// How many entries are out.
    out_count: usize,
    /// The tag given last; 0 before the first.
    last_tag: u64,
}

/// Settled entries that may stay in the middle before anything is moved.
const HOLES_MIN: usize = 64;

impl Unacked {
    /// The tag of a delivery that nobody settles.
    pub(super) fn pass(&mut self) -> u64 {
        self.last_tag = self.last_tag.saturating_add(1);
        self.last_tag
    }

    /// Remembers a delivery; its tag.
    pub(super) fn push(
        &mut self,
        queue: QueueRef,
        id: DeliveryId,
        consumer: Option<ConsumerKey>,
        sent_ms: u64,
    ) -> u64 {
        let tag = self.pass();
        let out = Out { tag, queue, id, consumer, sent_ms };
        self.entries.push_back(Entry { out, is_out: true });
        self.out_count = self.out_count.saturating_add(1);
        tag
    }

    /// How many deliveries are out.
    pub(super) const fn len(&self) -> usize {
        self.out_count
    }

    /// The delivery that has been out longest.
    #[cfg(test)]
    pub(super) fn oldest(&self) -> Option<&Out> {
        self.entries.front().map(|e| &e.out)
    }

    /// Those that are out, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Out> {
        self.entries.iter().filter(|e| e.is_out).map(|e| &e.out)
    }

    /// Settles one; `None` when the tag is unknown or settled already.
    pub(super) fn take(&mut self, tag: u64) -> Option<Out> {
        let index = self.find(tag)?;
        let entry = self.entries.get_mut(index)?;
        if !std::mem::replace(&mut entry.is_out, false) {
            return None;
        }
        let out = entry.out;
        self.out_count = self.out_count.saturating_sub(1);
        self.tidy();
        Some(out)
    }

    /// Settles one and all before it, oldest first; tag 0 means all. `false`, and nothing is
    /// settled, when the tag is unknown or settled already.
    pub(super) fn take_through(&mut self, tag: u64, mut each: impl FnMut(Out)) -> bool {
        let count = match tag {
            0 => self.entries.len(),
            tag => match self.find(tag) {
                Some(index) if self.entries.get(index).is_some_and(|e| e.is_out) => {
                    index.saturating_add(1)
                }
                Some(_) | None => return false,
            },
        };
        for entry in self.entries.drain(..count).filter(|e| e.is_out) {
            self.out_count = self.out_count.saturating_sub(1);
            each(entry.out);
        }
        self.tidy();
        true
    }

    /// Puts deliveries back that were taken (a transaction that is rolled back).
    pub(super) fn put_back(&mut self, outs: impl IntoIterator<Item = Out>) {
        self.entries.retain(|e| e.is_out);
        self.entries.extend(outs.into_iter().map(|out| Entry { out, is_out: true }));
        self.entries.make_contiguous().sort_by_key(|e| e.out.tag);
        self.out_count = self.entries.len();
    }

    fn find(&self, tag: u64) -> Option<usize> {
        let front = self.entries.front()?.out.tag;
        let distance = usize::try_from(tag.checked_sub(front)?).ok()?;
        if self.entries.get(distance).is_some_and(|e| e.out.tag == tag) {
            return Some(distance);
        }
        self.entries.binary_search_by_key(&tag, |e| e.out.tag).ok()
    }

    /// Keeps the front out, and the holes fewer than what is out.
    fn tidy(&mut self) {
        while self.entries.front().is_some_and(|e| !e.is_out) {
            self.entries.pop_front();
        }
        let holes = self.entries.len().saturating_sub(self.out_count);
        if holes > HOLES_MIN.max(self.out_count) {
            self.entries.retain(|e| e.is_out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{QueueId, ShardId};

    fn queue() -> QueueRef {
        QueueRef { shard: ShardId(0), queue: QueueId::new(7, 0) }
    }

    fn with(count: u64) -> Unacked {
        let mut unacked = Unacked::default();
        for n in 1..=count {
            assert_eq!(unacked.push(queue(), DeliveryId(n), None, n), n);
        }
        unacked
    }

    fn through(unacked: &mut Unacked, tag: u64) -> Option<Vec<u64>> {
        let mut tags = Vec::new();
        unacked.take_through(tag, |out| tags.push(out.tag)).then_some(tags)
    }

    /// P47, abuse row 33
    #[test]
    fn a_tag_is_settled_once_and_never_when_it_was_not_given() {
        let mut unacked = with(3);
        assert_eq!(unacked.take(0), None);
        assert_eq!(unacked.take(4), None);
        assert_eq!(unacked.take(2).unwrap().id, DeliveryId(2));
        assert_eq!(unacked.take(2), None);
        assert_eq!(unacked.take(1).unwrap().id, DeliveryId(1));
        assert_eq!(unacked.take(1), None);
        assert_eq!(unacked.len(), 1);
        assert_eq!(unacked.oldest().unwrap().tag, 3);
    }

    #[test]
    fn multiple_takes_what_is_out_up_to_the_tag_in_order() {
        let mut unacked = with(5);
        unacked.take(2);
        assert_eq!(through(&mut unacked, 4), Some(vec![1, 3, 4]));
        assert_eq!(through(&mut unacked, 4), None);
        assert_eq!(through(&mut unacked, 9), None);
        assert_eq!(through(&mut unacked, 0), Some(vec![5]));
        assert_eq!(through(&mut unacked, 0), Some(vec![]), "none outstanding is fine");
    }

    #[test]
    fn tags_that_nobody_settles_leave_gaps_that_are_stepped_over() {
        let mut unacked = with(1);
        assert_eq!(unacked.pass(), 2);
        assert_eq!(unacked.push(queue(), DeliveryId(30), None, 0), 3);
        assert_eq!(unacked.take(2), None);
        assert_eq!(unacked.take(3).unwrap().id, DeliveryId(30));
        assert_eq!(through(&mut unacked, 1), Some(vec![1]));
    }

    /// Abuse row 31: one delivery kept for ever must not keep the settled ones behind it.
    #[test]
    fn settled_entries_behind_one_that_is_kept_are_forgotten() {
        let mut unacked = with(1);
        for n in 2..=100_000 {
            unacked.push(queue(), DeliveryId(n), None, 0);
            assert!(unacked.take(n).is_some());
        }
        assert!(unacked.entries.len() <= 2 * HOLES_MIN);
        assert_eq!(unacked.take(1).unwrap().tag, 1);
    }

    /// P59
    #[test]
    fn what_was_taken_comes_back_to_its_place() {
        let mut unacked = with(4);
        let taken = [unacked.take(3).unwrap(), unacked.take(1).unwrap()];
        unacked.put_back(taken);
        assert_eq!(unacked.iter().map(|o| o.tag).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(through(&mut unacked, 3), Some(vec![1, 2, 3]));
    }
}
