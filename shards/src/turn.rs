//! When a shard stops running tasks and looks at its rings. Imports the executor.

use crate::clock::Clock;
use glommio::channels::shared_channel::{SharedSender, new_bounded};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};

/// How long tasks run before the executor looks at its rings again, while there is always something to run. The executor's
/// default of 100 ms is what makes sockets and wake-ups of other threads 100 ms late on a busy core. A look costs about 5 us,
/// so this is 1 % of a saturated core.
const TURN_US_MAX: u64 = 500;

/// The present turn of one shard.
#[derive(Debug)]
pub(crate) struct Turn {
    clock: Clock,
    began_us: Cell<u64>,
}

impl Turn {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, began_us: Cell::new(clock.now_us()) }
    }

    /// A new turn begins: the rings were just looked at.
    pub(crate) fn begin(&self) {
        self.began_us.set(self.clock.now_us());
    }

    /// When it began, milliseconds.
    #[expect(clippy::integer_division, reason = "the fraction does not matter")]
    pub(crate) fn began_ms(&self) -> u64 {
        self.began_us.get() / 1_000
    }

    /// Whether this turn has lasted long enough.
    pub(crate) fn is_over(&self) -> bool {
        self.clock.now_us() >= self.began_us.get() + TURN_US_MAX
    }
}

/// Tasks that wait until the executor has looked at its rings. One per shard.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    count: Cell<u64>,
    wakers: RefCell<Vec<Waker>>,
}

impl Looks {
    /// Looks so far.
    pub(crate) fn count(&self) -> u64 {
        self.count.get()
    }

    /// Somebody wants to be woken after the next.
    pub(crate) fn want(&self, waker: &Waker) {
        self.wakers.borrow_mut().push(waker.clone());
    }

    /// Whether somebody does: the turn ends.
    pub(crate) fn are_wanted(&self) -> bool {
        !self.wakers.borrow().is_empty()
    }

    /// The rings were just looked at. Tasks that this has woken run before those that waited for it.
    pub(crate) fn looked(&self) {
        self.count.set(self.count.get().wrapping_add(1));
        if self.are_wanted() {
            self.wakers.take().into_iter().for_each(Waker::wake);
        }
    }
}

/// A way to say "look at the rings, do not sleep, then call me again", for which the executor has no call of its own: a task
/// that wakes itself is run again without a look, and one that does not is let sleep. But whoever connects to a channel whose
/// other end is not there yet is woken after each look, and here nobody ever comes to the other end.
pub(crate) struct NextLook {
    connecting: Pin<Box<dyn Future<Output = ()>>>,
    _nobody: SharedSender<()>,
}

impl NextLook {
    /// To be called inside the executor.
    pub(crate) fn new() -> Self {
        let (nobody, receiver) = new_bounded(1);
        let connecting = Box::pin(async move { drop(receiver.connect().await) });
        Self { connecting, _nobody: nobody }
    }

    /// The task of this context is woken after the next look at the rings.
    pub(crate) fn wake_after(&mut self, context: &mut Context<'_>) {
        let connected = self.connecting.as_mut().poll(context).is_ready();
        debug_assert!(!connected, "nobody is at the other end");
    }
}

impl fmt::Debug for NextLook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NextLook").finish_non_exhaustive()
    }
}
