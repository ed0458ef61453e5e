//! Ready messages of one priority in order.
//!
//! Messages that nobody has had yet are runs of positions, given-back ones are named one by one:
//! a queue whose messages all have one priority is a single run, however long it is.
//! May import `store`.

use std::collections::{BTreeMap, VecDeque};

use super::store::Position;

/// Neighbouring positions, `to` not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) from: Position,
    pub(crate) to: Position,
}

impl Run {
    /// One position.
    pub(crate) const fn one(at: Position) -> Self {
        Self { from: at, to: at.next() }
    }

    /// How many positions.
    pub(crate) const fn len(self) -> u64 {
        self.to.get().saturating_sub(self.from.get())
    }
}

/// What is remembered of a message that was out before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Returned {
    /// How often it came back in a way that counts against the delivery limit (R3).
    pub(crate) count: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Fifo {
    fresh: VecDeque<Run>,
    /// Always older than everything in `fresh`: they were at its front once (P67).
    returned: BTreeMap<Position, Returned>,
}

impl Fifo {
    /// New messages; positions only grow.
    pub(crate) fn push(&mut self, new: Run) {
        match self.fresh.back_mut() {
            Some(run) if run.to == new.from => run.to = new.to,
            Some(_) | None => self.fresh.push_back(new),
        }
    }

    /// A message comes back to its original place.
    pub(crate) fn give_back(&mut self, at: Position, returned: Returned) {
        let before = self.returned.insert(at, returned);
        debug_assert!(before.is_none(), "a message is out at most once");
    }

    /// The oldest message, and what is remembered if it was out before.
    pub(crate) fn front(&self) -> Option<(Position, Option<Returned>)> {
        match self.returned.first_key_value() {
            Some((at, returned)) => Some((*at, Some(*returned))),
            None => self.fresh.front().map(|run| (run.from, None)),
        }
    }

    /// Removes what [`Fifo::front`] shows.
    pub(crate) fn pop(&mut self) {
        if self.returned.pop_first().is_some() {
            return;
        }
        if let Some(run) = self.fresh.front_mut() {
            run.from = run.from.next();
            if run.from == run.to {
                self.fresh.pop_front();
            }
        }
    }

    /// Removes one that has not come back; false when it is not there.
    pub(crate) fn take_out(&mut self, at: Position) -> bool {
        let place = self.fresh.partition_point(|run| run.to <= at);
        let Some(run) = self.fresh.get_mut(place).filter(|run| run.from <= at) else {
            return false;
        };
        let behind = Run { from: at.next(), to: run.to };
        run.to = at;
        let mut place = place + 1;
        if run.from == run.to {
            place -= 1;
            self.fresh.remove(place);
        }
        if behind.from < behind.to {
            self.fresh.insert(place, behind);
        }
        true
    }

    /// Removes everything, as runs.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = Run> {
        let returned = std::mem::take(&mut self.returned);
        let fresh = std::mem::take(&mut self.fresh);
        returned.into_keys().map(Run::one).chain(fresh)
    }

    /// Whether nothing is ready.
    pub(crate) fn is_empty(&self) -> bool {
        self.returned.is_empty() && self.fresh.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(fifo: &mut Fifo) -> Vec<u64> {
        std::iter::from_fn(|| {
            let (at, _) = fifo.front()?;
            fifo.pop();
            Some(at.get())
        })
        .collect()
    }

    #[test]
    fn a_long_row_is_one_run() {
        let mut fifo = Fifo::default();
        (0..1_000_000).for_each(|n| fifo.push(Run::one(Position::new(n))));
        assert_eq!(fifo.fresh.len(), 1);
    }

    #[test]
    fn one_may_be_taken_out_of_the_middle() {
        let fifo = || {
            let mut fifo = Fifo::default();
            (0..4).chain(6..8).for_each(|n| fifo.push(Run::one(Position::new(n))));
            fifo
        };
        for (out, left) in [
            (0, [1, 2, 3, 6, 7].as_slice()),
            (2, &[0, 1, 3, 6, 7]),
            (3, &[0, 1, 2, 6, 7]),
            (7, &[0, 1, 2, 3, 6]),
        ] {
            let mut fifo = fifo();
            assert!(fifo.take_out(Position::new(out)));
            assert!(!fifo.take_out(Position::new(out)));
            assert_eq!(drain(&mut fifo), left);
        }
        assert!(!fifo().take_out(Position::new(5)) && !fifo().take_out(Position::new(8)));
    }

    #[test]
    fn given_back_messages_merge_in_original_order_before_the_rest() {
        let mut fifo = Fifo::default();
        (0..6).for_each(|n| fifo.push(Run::one(Position::new(n))));
        (0..4).for_each(|_| fifo.pop());
        for n in [3, 0, 2] {
            fifo.give_back(Position::new(n), Returned::default());
        }
        assert_eq!(drain(&mut fifo), [0, 2, 3, 4, 5]);
        assert!(fifo.is_empty());
    }
}
