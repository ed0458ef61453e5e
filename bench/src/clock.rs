//! The time of a run: nanoseconds since its start. The only file that reads a clock; imports std.

use std::time::{Duration, Instant};

/// Nanoseconds in a second.
pub(crate) const SECOND_NS: u64 = 1_000_000_000;

/// One per run, copied to every thread of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    zero: Instant,
}

impl Clock {
    /// Time starts now.
    #[expect(clippy::disallowed_methods, reason = "a load generator has no shard to ask")]
    pub(crate) fn start() -> Self {
        Self { zero: Instant::now() }
    }

    /// Nanoseconds since the start, never 0: that stands for "no time" elsewhere.
    pub(crate) fn now_ns(&self) -> u64 {
        nanoseconds(self.zero.elapsed()).max(1)
    }
}

/// The duration in nanoseconds, saturating after 584 years.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
