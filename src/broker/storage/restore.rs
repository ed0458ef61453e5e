//! A queue's store from what recovery found of it.
//!
//! May import `recovery`, `durable`, `spill`.

use std::cell::Cell;

use super::durable::{Counted, DurableStore, GONE_AFTER_RESTART, MAY_EXPIRE, Mark, Piece};
use super::leave::earlier_boots;
use super::recovery::{FoundSegment, Remains};
use super::spill::{class_of, priority_of};
use ringmq_shards::log::ids::BOOT_SHIFT;
#[cfg(test)]
use ringmq_shards::log::planted::{Bug, is_planted};

use crate::broker::queue::restore::Remaining;
use crate::broker::queue::store::{Kept, Position};

/// How much later than all that is known the count of positions goes on after each start that finds
/// it inexact: more than consumers can have been shown since the log was synced last (arbitrary).
const COUNT_GAP: u64 = 4_096;

/// A count that is higher begins anew: what is above would be the number of another boot.
const COUNT_HIGH: u64 = 1 << (BOOT_SHIFT - 1);

/// What the queue has to know of its messages.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    /// In order of position.
    pub(crate) runs: Vec<Remaining>,
    /// Those that came back and how often that counted.
    pub(crate) counts: Vec<(u64, u32)>,
    /// Messages below this may have been out.
    pub(crate) handed_below: u64,
    /// Records that are no message.
    pub(crate) unreadable: u64,
}

/// The first position that a boot gives. `known`: one more than the highest that is known;
/// `is_exact`: nobody was shown a higher one.
const fn first_after(boot: u64, known: u64, is_exact: bool) -> u64 {
    let count = known & ((1 << BOOT_SHIFT) - 1);
    let gap = boot.saturating_sub(known >> BOOT_SHIFT).saturating_mul(COUNT_GAP);
    let count = match (is_exact, count < COUNT_HIGH) {
        (true, true) => count,
        (false, true) => count.saturating_add(gap),
        (_, false) => gap,
    };
    (boot << BOOT_SHIFT) | count
}

impl Remains {
    /// One more than the highest position that is known.
    fn end(&self) -> u64 {
        let after = |at: Option<u64>| at.map_or(0, |at| at.saturating_add(1));
        let segment = self.segments.iter().map(|found| found.summary.last).max();
        let message = self.messages.last_key_value().map(|(at, _)| *at);
        let received = self.received.last().copied();
        self.handed_below.max(after(segment)).max(after(message)).max(after(received))
    }
}

impl DurableStore {
    /// The count of positions goes on where that of the boots before ended, for whoever makes numbers
    /// of them: exactly there if it is known that nobody was shown more. Else a number that somebody
    /// may have been shown, and of which nothing is known any more, would soon come again.
    pub(super) fn count_on(&mut self, remains: Option<&Remains>) {
        #[cfg(test)]
        if is_planted(Bug::ReusePositions) {
            return;
        }
        let (known, is_exact) = remains.map_or((0, false), |found| (found.end(), found.rests));
        self.tail = first_after(self.tail >> BOOT_SHIFT, known, is_exact);
    }

    /// Takes what is left of the queue's messages.
    pub(super) fn refill(&mut self, remains: Remains) -> Restored {
        let mut restored = Restored { handed_below: remains.handed_below, ..Restored::default() };
        let file = earlier_boots(self.boot());
        for found in remains.segments {
            self.take_segment(found, &mut restored);
        }
        let mut last = None;
        for (at, found) in remains.messages {
            let message = self.shelf.borrow_mut().found_message(&found);
            let Some(message) = message else {
                restored.unreadable += 1;
                continue;
            };
            let traits = message.traits();
            restored.push(Remaining {
                from: Position::new(at),
                to: Position::new(at + 1),
                priority: traits.priority,
                body_bytes: message.body().len() as u64,
                may_expire: traits.expiration_ms.is_some(),
            });
            self.hot.push(at, Kept { message, arrived_ms: found.arrived_ms });
            last = Some(at);
        }
        if let Some(last) = last {
            self.marks.push_back(Mark { below: last + 1, file });
        }
        for (at, count) in remains.counts {
            restored.counts.push((at, count));
            self.counts.insert(at, Counted { count, file });
        }
        self.handed_below = remains.handed_below;
        self.handed_logged = remains.handed_below;
        self.rests = remains.rests;
        self.handed_file = (remains.handed_below > 0 || self.rests).then_some(file);
        restored.runs.sort_by_key(|run| run.from);
        let received = remains.received.into_iter().filter(|at| restored.has(*at));
        self.refill_notes(received, remains.receipts, remains.open, file);
        restored
    }

    fn take_segment(&mut self, found: FoundSegment, restored: &mut Restored) {
        let FoundSegment { summary, mut settled, is_saved, runs } = found;
        for run in runs {
            if run.flags & GONE_AFTER_RESTART != 0 {
                settled.settle_range(run.first_index, run.first_index.saturating_add(run.count));
                continue;
            }
            restored.push(Remaining {
                from: Position::new(run.from),
                to: Position::new(run.to),
                priority: priority_of(run.class),
                body_bytes: run.weight,
                may_expire: run.flags & MAY_EXPIRE != 0,
            });
        }
        let mut piece = Piece::new(summary, settled);
        // What only the log says must not go with it.
        piece.unsaved_since = (!is_saved).then(|| earlier_boots(self.boot()));
        piece.wanted = Cell::new(false);
        let index = self.pieces.partition_point(|other| other.summary.first < summary.first);
        let empty = piece.settled.left() == 0;
        self.pieces.insert(index, piece);
        if empty {
            self.after_settling(index);
        }
    }

    /// Whether there is anything that earlier boots' files must not go before.
    pub(super) fn has_earlier(&self) -> bool {
        !self.marks.is_empty()
            || !self.counts.is_empty()
            || self.handed_file.is_some()
            || self.has_notes()
            || self.pieces.iter().any(|piece| piece.unsaved_since.is_some())
    }
}

impl Restored {
    /// Whether a message may be there.
    fn has(&self, at: u64) -> bool {
        let at = Position::new(at);
        let next = self.runs.partition_point(|run| run.from <= at);
        let run = next.checked_sub(1).and_then(|last| self.runs.get(last));
        run.is_some_and(|run| at < run.to)
    }

    fn push(&mut self, run: Remaining) {
        if let Some(last) = self.runs.last_mut()
            && last.to == run.from
            && class_of(last.priority) == class_of(run.priority)
            && last.may_expire == run.may_expire
        {
            last.to = run.to;
            last.body_bytes += run.body_bytes;
            return;
        }
        self.runs.push(run);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(boot: u64, count: u64) -> u64 {
        (boot << BOOT_SHIFT) | count
    }

    #[test]
    fn a_count_goes_on_exactly_where_it_is_known_to_have_ended() {
        assert_eq!(first_after(2, at(1, 7), true), at(2, 7));
        assert_eq!(first_after(9, at(1, 7), true), at(9, 7));
        assert_eq!(first_after(2, 0, true), at(2, 0), "nobody was shown anything");
    }

    #[test]
    fn a_count_whose_end_is_not_known_goes_on_later_with_each_start() {
        assert_eq!(first_after(2, at(1, 7), false), at(2, 7 + COUNT_GAP));
        assert_eq!(first_after(3, at(1, 7), false), at(3, 7 + 2 * COUNT_GAP));
        assert_eq!(first_after(3, 0, false), at(3, 3 * COUNT_GAP), "nothing is known at all");
    }

    #[test]
    fn a_count_never_reaches_into_the_number_of_the_boot() {
        let last = at(1, (1 << BOOT_SHIFT) - 1);
        assert_eq!(first_after(2, last, true), at(2, COUNT_GAP));
        assert_eq!(first_after(2, last, false) >> BOOT_SHIFT, 2);
        assert_eq!(first_after(2, at(1, COUNT_HIGH - 1), false) >> BOOT_SHIFT, 2);
    }
}
