//! Open-loop pacing: when each message ought to be sent, whatever happened to those before it.
//! Time is an argument; imports nothing but the clock's unit.

use crate::clock::SECOND_NS;

/// Messages at a fixed rate from a start; one per producer or consumer.
///
/// Message `n` is due at `start + n / rate`. A late message keeps its time, so the delay that a
/// slow broker causes is in its latency (no coordinated omission).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    start_ns: u64,
    /// Nanoseconds between two messages are `shares * SECOND_NS / rate`.
    rate: u64,
    shares: u64,
    taken: u64,
}

impl Pace {
    /// The pace of one of `shares` equal parts of `rate` messages per second. Part `part` starts
    /// a fraction of the interval later, so that the parts do not send in step.
    pub(crate) fn new(start_ns: u64, rate: u64, shares: u64, part: u64) -> Self {
        let rate = rate.max(1);
        let offset = scale(part, SECOND_NS, rate);
        Self { start_ns: start_ns.saturating_add(offset), rate, shares: shares.max(1), taken: 0 }
    }

    /// How many messages are due and not yet taken.
    pub(crate) fn due(&self, now_ns: u64) -> u64 {
        let Some(elapsed) = now_ns.checked_sub(self.start_ns) else { return 0 };
        let until_now = scale(elapsed, self.rate, self.shares.saturating_mul(SECOND_NS));
        until_now.saturating_add(1).saturating_sub(self.taken)
    }

    /// When message `ahead` after those taken is due; 0 is the next one.
    pub(crate) fn time_of(&self, ahead: u64) -> u64 {
        let index = self.taken.saturating_add(ahead);
        let offset = scale(index, self.shares.saturating_mul(SECOND_NS), self.rate);
        self.start_ns.saturating_add(offset)
    }

    /// Counts `count` messages as sent.
    pub(crate) fn take(&mut self, count: u64) {
        self.taken = self.taken.saturating_add(count);
    }
}

/// `value * factor / divisor` without overflow in between.
fn scale(value: u64, factor: u64, divisor: u64) -> u64 {
    let product = u128::from(value).saturating_mul(u128::from(factor));
    let quotient = product.checked_div(u128::from(divisor)).unwrap_or(0);
    u64::try_from(quotient).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message_is_due_at_once_and_the_next_after_an_interval() {
        let mut pace = Pace::new(100, 1_000_000, 1, 0);
        assert_eq!(pace.due(99), 0);
        assert_eq!(pace.due(100), 1);
        pace.take(1);
        assert_eq!(pace.due(1_099), 0);
        assert_eq!(pace.time_of(0), 1_100);
        assert_eq!(pace.due(1_100), 1);
    }

    #[test]
    fn late_messages_keep_their_intended_times() {
        let pace = Pace::new(0, 1_000, 1, 0);
        assert_eq!(pace.due(SECOND_NS), 1_001);
        assert_eq!(pace.time_of(500), SECOND_NS / 2);
    }

    #[test]
    fn parts_share_the_rate_and_do_not_send_in_step() {
        let parts: Vec<Pace> = (0..4).map(|part| Pace::new(0, 1_000, 4, part)).collect();
        let due: u64 = parts.iter().map(|pace| pace.due(SECOND_NS - 1)).sum();
        assert_eq!(due, 1_000);
        let starts: Vec<u64> = parts.iter().map(|pace| pace.time_of(0)).collect();
        assert_eq!(starts, [0, 1_000_000, 2_000_000, 3_000_000]);
    }

    #[test]
    fn a_week_at_ten_million_a_second_does_not_overflow() {
        let mut pace = Pace::new(0, 10_000_000, 3, 0);
        let week_ns = 7 * 24 * 3600 * SECOND_NS;
        pace.take(pace.due(week_ns));
        assert_eq!(pace.due(week_ns), 0);
        assert!(pace.time_of(0) > week_ns && pace.time_of(0) <= week_ns + 300);
    }
}
