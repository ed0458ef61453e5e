//! Wakes a receiver that may be asleep, and loses no wake-up. Imports the atomic waker.

use atomic_waker::AtomicWaker;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

/// Nothing arrived since the receiver looked.
const QUIET: u8 = 0;
/// Something arrived that the receiver has not looked for yet.
const RUNG: u8 = 1;
/// The receiver sleeps: the next ring must wake it.
const ASLEEP: u8 = 2;

/// One per receiver, rung by everybody who sends to it.
///
/// ```text
///            ring()               ring() + wake
///   QUIET ──────────> RUNG <───────────────────── ASLEEP
///     ^  answer()      │                             ^
///     └────────────────┘        poll_rung() from QUIET
/// ```
///
/// All three states live in one word and every change of it is a read-modify-write, so whatever a sender published before
/// its `ring` is visible to the receiver after the `answer` or wake-up that the ring caused: there is no second variable to
/// be ordered against, hence no fence and no look-once-more. Padded to its own pair of cache lines: the receiver reads it
/// every turn.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Doorbell {
    state: AtomicU8,
    waker: AtomicWaker,
}

impl Doorbell {
    /// Sender's side, after the mail is in the lane. Wakes at most once per sleep.
    pub(crate) fn ring(&self) {
        if self.state.swap(RUNG, Ordering::AcqRel) == ASLEEP {
            self.waker.wake();
        }
    }

    /// Receiver's side: whether it rang since the last answer. One plain load when it did not.
    pub(crate) fn answer(&self) -> bool {
        self.state.load(Ordering::Relaxed) == RUNG
            && self.state.swap(QUIET, Ordering::AcqRel) == RUNG
    }

    /// Receiver's side: ready when it has rung and was not answered yet. Does not answer.
    pub(crate) fn poll_rung(&self, context: &Context<'_>) -> Poll<()> {
        if self.state.load(Ordering::Acquire) == RUNG {
            return Poll::Ready(());
        }
        // The waker must be in place before anyone can see ASLEEP.
        self.waker.register(context.waker());
        match self.state.compare_exchange(QUIET, ASLEEP, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) | Err(ASLEEP) => Poll::Pending,
            Err(_) => Poll::Ready(()),
        }
    }

    /// Drops the waker of a receiver that is going away.
    pub(crate) fn abandon(&self) {
        drop(self.waker.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::{Wake, Waker};

    #[derive(Default)]
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_sleeper_is_woken_once_however_often_it_rings() {
        let (bell, count) = (Doorbell::default(), Arc::new(Count::default()));
        let waker = Waker::from(Arc::clone(&count));

        assert!(bell.poll_rung(&Context::from_waker(&waker)).is_pending());
        bell.ring();
        bell.ring();

        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert!(bell.poll_rung(&Context::from_waker(&waker)).is_ready());
    }

    #[test]
    fn a_ring_before_the_sleep_is_not_lost() {
        let (bell, count) = (Doorbell::default(), Arc::new(Count::default()));
        let waker = Waker::from(Arc::clone(&count));

        bell.ring();

        assert!(bell.poll_rung(&Context::from_waker(&waker)).is_ready());
        assert!(bell.answer());
        assert!(!bell.answer());
        assert!(bell.poll_rung(&Context::from_waker(&waker)).is_pending());
        assert_eq!(count.0.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_second_poll_while_asleep_replaces_the_waker() {
        let (first, second) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let (one, two) = (Waker::from(Arc::clone(&first)), Waker::from(Arc::clone(&second)));
        let bell = Doorbell::default();

        assert!(bell.poll_rung(&Context::from_waker(&one)).is_pending());
        assert!(bell.poll_rung(&Context::from_waker(&two)).is_pending());
        bell.ring();

        assert_eq!(first.0.load(Ordering::SeqCst), 0);
        assert_eq!(second.0.load(Ordering::SeqCst), 1);
    }
}
