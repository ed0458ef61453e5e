//! Who waits for the disk: publishes to be confirmed and calls to be answered, in the order of
//! their records, so that one step of the log serves a whole row of them.
//!
//! May import `mail` and of `ringmq_shards` the log's numbers.

use std::collections::VecDeque;

use ringmq_shards::log::{Lsn, QueueUid, SegmentId};

use crate::broker::mail::{CallId, PendingId, Reported};
use crate::broker::queue::store::Safe;
use crate::broker::subscriber::once::Use;
use crate::ids::ShardId;

/// One that waits.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Waiter {
    /// A publish of a connection of this shard.
    Publish(Reported),
    /// A publish that waits for other places too.
    Pending(PendingId),
    /// A publish of another shard.
    Remote { shard: ShardId, pending: PendingId, found: bool },
    /// The end of a use.
    Once { this: Use, accepted: bool },
    /// An answer.
    Call(CallId),
    /// A segment with nothing left in it.
    Segment(SegmentId),
    /// A segment that the disk does not give: does it still take anything?
    Unread(SegmentId),
    /// The files of a queue that is deleted.
    Files(QueueUid),
}

/// What queues of this shard did with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Put {
    /// None refused it.
    pub(crate) accepted: bool,
    /// When it is as safe as all of them promise.
    pub(crate) safe: Safe,
}

impl Put {
    /// All is done.
    pub(crate) const DONE: Self = Self { accepted: true, safe: Safe::Now };
    /// A queue refused it.
    pub(crate) const REFUSED: Self = Self { accepted: false, safe: Safe::Now };

    /// Two together.
    pub(crate) fn and(self, other: Self) -> Self {
        let accepted = self.accepted && other.accepted;
        Self { accepted, safe: later(self.safe, other.safe) }
    }
}

/// See the module. One per shard.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    synced: VecDeque<(Lsn, Waiter)>,
    written: VecDeque<(Lsn, Waiter)>,
}

impl Waits {
    /// Adds one. False: it need not wait.
    pub(crate) fn add(&mut self, safe: Safe, waiter: Waiter) -> bool {
        let (row, lsn) = match safe {
            Safe::Now => return false,
            Safe::Synced(lsn) => (&mut self.synced, lsn),
            Safe::Written(lsn) => (&mut self.written, lsn),
        };
        // A definition may be older than what others wait for already: whoever waits for it now is
        // served with them.
        let lsn = row.back().map_or(lsn, |(last, _)| lsn.max(*last));
        row.push_back((lsn, waiter));
        true
    }

    /// The next one that is served by what is durable and written.
    pub(crate) fn next(&mut self, durable: Lsn, written: Lsn) -> Option<Waiter> {
        let row = if self.synced.front().is_some_and(|(lsn, _)| *lsn <= durable) {
            &mut self.synced
        } else if self.written.front().is_some_and(|(lsn, _)| *lsn <= written) {
            &mut self.written
        } else {
            return None;
        };
        row.pop_front().map(|(_, waiter)| waiter)
    }

    /// Whether somebody waits for a sync.
    pub(crate) fn for_sync(&self) -> bool {
        !self.synced.is_empty()
    }

    /// Whether somebody waits for a write.
    pub(crate) fn for_write(&self) -> bool {
        !self.written.is_empty()
    }
}

/// The later of two: a publish to several queues waits for the last of them.
pub(crate) fn later(a: Safe, b: Safe) -> Safe {
    match (a, b) {
        (Safe::Now, other) | (other, Safe::Now) => other,
        (Safe::Written(a), Safe::Written(b)) => Safe::Written(a.max(b)),
        (Safe::Synced(a) | Safe::Written(a), Safe::Synced(b) | Safe::Written(b)) => {
            Safe::Synced(a.max(b))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_served_by_what_it_waits_for_and_no_earlier() {
        let mut waits = Waits::default();
        assert!(!waits.add(Safe::Now, Waiter::Files(QueueUid(0))));
        assert!(waits.add(Safe::Synced(Lsn(3)), Waiter::Files(QueueUid(3))));
        assert!(waits.add(Safe::Written(Lsn(4)), Waiter::Files(QueueUid(4))));
        assert!(waits.next(Lsn(2), Lsn(3)).is_none());
        assert!(matches!(waits.next(Lsn(2), Lsn(4)), Some(Waiter::Files(QueueUid(4)))));
        assert!(waits.for_sync() && !waits.for_write());
        assert!(matches!(waits.next(Lsn(3), Lsn(4)), Some(Waiter::Files(QueueUid(3)))));
        assert!(waits.next(Lsn(9), Lsn(9)).is_none());
    }

    #[test]
    fn who_comes_later_for_an_earlier_record_is_served_with_those_before() {
        let mut waits = Waits::default();
        assert!(waits.add(Safe::Synced(Lsn(5)), Waiter::Files(QueueUid(5))));
        assert!(waits.add(Safe::Synced(Lsn(3)), Waiter::Files(QueueUid(3))));
        assert!(waits.next(Lsn(4), Lsn(4)).is_none());
        assert!(matches!(waits.next(Lsn(5), Lsn(5)), Some(Waiter::Files(QueueUid(5)))));
        assert!(matches!(waits.next(Lsn(5), Lsn(5)), Some(Waiter::Files(QueueUid(3)))));
    }

    #[test]
    fn what_waits_for_a_sync_and_a_write_waits_for_the_sync_of_the_later() {
        assert_eq!(later(Safe::Written(Lsn(5)), Safe::Synced(Lsn(2))), Safe::Synced(Lsn(5)));
        assert_eq!(later(Safe::Now, Safe::Written(Lsn(1))), Safe::Written(Lsn(1)));
    }
}
