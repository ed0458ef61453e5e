//! When a shard stops running tasks and looks at its rings. Imports the executor.

use crate::clock::Clock;
use glommio::channels::shared_channel::{SharedSender, new_bounded};
use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::Context;

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

    /// Whether this turn has lasted long enough.
    pub(crate) fn is_over(&self) -> bool {
        self.clock.now_us() >= self.began_us.get() + TURN_US_MAX
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
