//! The only place that reads time. May import the standard library.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A monotonic clock, the same on every shard, that began at the wall clock's time: what it says can be kept on disk and means
/// the same after a restart, as far as the wall clock was right. `Copy`: hand it to whoever needs it, or better, hand them the
/// number. One reading costs about 25 ns (no system call).
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    epoch: Instant,
    /// What the wall clock said then, milliseconds since 1970.
    began_ms: u64,
}

impl Clock {
    /// The clock of this process. All clocks share the epoch of the first.
    #[must_use]
    pub fn new() -> Self {
        static EPOCH: OnceLock<(Instant, u64)> = OnceLock::new();
        let (epoch, began_ms) = *EPOCH.get_or_init(|| (instant(), wall_now_ms()));
        Self { epoch, began_ms }
    }

    /// Monotonic milliseconds, counted on from the wall clock's time when the first clock of this process was made.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        let elapsed = instant().saturating_duration_since(self.epoch);
        self.began_ms.saturating_add(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    }

    /// Monotonic microseconds since the first clock of this process was made, for measuring short spans.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        let elapsed = instant().saturating_duration_since(self.epoch);
        u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
    }

    /// Milliseconds since 1970 by the wall clock; may jump. Zero before 1970.
    #[must_use]
    pub fn wall_ms(&self) -> u64 {
        wall_now_ms()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock everybody else is handed")]
fn instant() -> Instant {
    Instant::now()
}

fn wall_now_ms() -> u64 {
    let since = wall().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[expect(clippy::disallowed_methods, reason = "this is the clock everybody else is handed")]
fn wall() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_clocks_share_one_epoch_and_never_go_back() {
        let first = Clock::new();
        let before = first.now_us();
        let second = Clock::new();
        let after = second.now_us();

        assert!(before <= after);
        assert_eq!(first.epoch, second.epoch);
    }

    #[test]
    fn the_wall_clock_counts_from_1970() {
        // 2020-01-01 in milliseconds: anything earlier would be another unit.
        assert!(Clock::new().wall_ms() > 1_577_836_800_000);
    }
}
