//! Mistakes that a test can order, to see that it would find them if somebody made them. Only in tests
//! and with the feature `sim`: a broker that runs has none of it. May import nothing.

use std::cell::Cell;

/// A mistake (reliability.md 4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// A commit that has to be synced is only written.
    ConfirmBeforeSync,
    /// A directory is not synced.
    SkipDirSync,
    /// Positions of a start begin where those of the first began.
    ReusePositions,
    /// A commit that failed counts as done.
    SwallowError,
    /// A sync that failed is tried again.
    RetrySync,
    /// A settlement is logged before what the message became.
    SettleFirst,
    /// Directories of queues are removed although definitions are damaged.
    SweepOnDamage,
    /// A file of the log goes although the segment for its messages is still to be written.
    LeaveBeforeSegment,
    /// A file of the log goes although queues need it.
    RetireTooSoon,
    /// A file of this start goes although files of earlier ones are still there.
    ForgetEarlierBoots,
    /// What a session has received is forgotten when its connection goes.
    ForgetReceipts,
    /// A message that was to be published later is settled before it is stored where it goes.
    SettleWillFirst,
    /// That a topic has another message is reported before it is durable.
    ReportRetainedEarly,
    /// A restart counts from anew how long a session lasts.
    LetSessionsLiveOn,
    /// What was to be published for a client that is gone is, though it said goodbye.
    PublishWithdrawnWill,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::ConfirmBeforeSync,
        Self::SkipDirSync,
        Self::ReusePositions,
        Self::SwallowError,
        Self::RetrySync,
        Self::SettleFirst,
        Self::SweepOnDamage,
        Self::LeaveBeforeSegment,
        Self::RetireTooSoon,
        Self::ForgetEarlierBoots,
        Self::ForgetReceipts,
        Self::SettleWillFirst,
        Self::ReportRetainedEarly,
        Self::LetSessionsLiveOn,
        Self::PublishWithdrawnWill,
    ];
}

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// From now on this thread makes this mistake, and no other.
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether this thread is to make this mistake.
#[must_use]
pub fn is_planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}
