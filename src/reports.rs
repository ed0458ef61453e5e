//! What connections of a shard tell of themselves: each has its own task, so each is asked and
//! answers when its turn comes. One of these per page of them.
//!
//! May import `stats`.

use std::cell::{Cell, RefCell};
use std::fmt;

use crate::stats::ConnectionReport;

/// Gets what was told.
pub(crate) type Told = Box<dyn FnOnce(Vec<ConnectionReport>)>;

/// Collects answers; whoever was asked and has not answered holds a reference. The last to let go of
/// it, with an answer or without, hands over what there is.
pub(crate) struct Reports {
    found: RefCell<Vec<ConnectionReport>>,
    told: Cell<Option<Told>>,
}

impl Reports {
    pub(crate) const fn new(told: Told) -> Self {
        Self { found: RefCell::new(Vec::new()), told: Cell::new(Some(told)) }
    }

    /// One answer.
    pub(crate) fn add(&self, report: ConnectionReport) {
        self.found.borrow_mut().push(report);
    }
}

impl Drop for Reports {
    fn drop(&mut self) {
        if let Some(told) = self.told.take() {
            told(self.found.take());
        }
    }
}

impl fmt::Debug for Reports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reports").field("found", &self.found).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    #[test]
    fn what_was_told_is_handed_over_when_the_last_has_answered_or_is_gone() {
        let seen = Rc::new(Cell::new(None));
        let told = seen.clone();
        let first = Rc::new(Reports::new(Box::new(move |all| told.set(Some(all.len())))));
        let second = first.clone();
        first.add(ConnectionReport::default());
        drop(first);
        assert_eq!(seen.get(), None);
        drop(second);
        assert_eq!(seen.get(), Some(1));
    }
}
