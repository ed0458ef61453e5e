//! Tells on standard error how far a check is, when it takes long. May import the clock.

use std::io::Write as _;

use ringmq_shards::Clock;

/// How long nothing is said, and how often something is said then, milliseconds.
const INTERVAL_MS: u64 = 2_000;

/// One per check.
pub(super) struct Progress {
    clock: Clock,
    told_ms: u64,
}

impl Progress {
    pub(super) fn new() -> Self {
        let clock = Clock::new();
        Self { clock, told_ms: clock.now_ms() }
    }

    /// So many of so many are done; `path` is one of them.
    pub(super) fn step(&mut self, done: usize, of: usize, path: &str) {
        let now_ms = self.clock.now_ms();
        if now_ms >= self.told_ms.saturating_add(INTERVAL_MS) {
            self.told_ms = now_ms;
            // Nobody may be there to read it.
            let _ = writeln!(std::io::stderr(), "ringmq check: {done} of {of}, {path}");
        }
    }
}
