//! Signs of life of the client, and how fast it publishes (3.1.2-24; in version 5 3.1.2-22; H-15,
//! V-025). May import nothing.

/// When the client was heard last.
#[derive(Debug)]
pub(super) struct Liveness {
    /// Longest silence; 0: any.
    silence_ms_max: u32,
    heard_ms: u64,
    /// The second that is counted.
    since_ms: u64,
    /// Publishes within it.
    publishes: u32,
}

impl Liveness {
    pub(super) const fn new(now_ms: u64) -> Self {
        Self { silence_ms_max: 0, heard_ms: now_ms, since_ms: 0, publishes: 0 }
    }

    /// What was agreed on, seconds.
    pub(super) const fn keep_alive_s(&self) -> u32 {
        self.silence_ms_max / 1500
    }

    /// The client says something at least so often; 0: it need not. One and a half times that is
    /// granted.
    pub(super) fn agree(&mut self, keep_alive_s: u16, now_ms: u64) {
        self.silence_ms_max = u32::from(keep_alive_s).saturating_mul(1500);
        self.heard_ms = now_ms;
    }

    /// Octets came, or were not read on purpose.
    #[inline]
    pub(super) const fn heard(&mut self, now_ms: u64) {
        self.heard_ms = now_ms;
    }

    /// The client has been silent for too long.
    pub(super) fn is_dead(&self, now_ms: u64) -> bool {
        self.silence_ms_max > 0
            && now_ms > self.heard_ms.saturating_add(u64::from(self.silence_ms_max))
    }

    /// When it will be, if it goes on being silent.
    #[inline]
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        if self.silence_ms_max == 0 {
            return None;
        }
        Some(self.heard_ms.saturating_add(u64::from(self.silence_ms_max)).saturating_add(1))
    }

    /// Counts a publish where `max` of them are allowed in a second. `Some`: it is one too many;
    /// when the next second begins.
    pub(super) const fn count_publish(&mut self, max: u32, now_ms: u64) -> Option<u64> {
        if now_ms.saturating_sub(self.since_ms) >= 1000 {
            self.since_ms = now_ms;
            self.publishes = 0;
        }
        if self.publishes >= max {
            return Some(self.since_ms.saturating_add(1000));
        }
        self.publishes = self.publishes.saturating_add(1);
        None
    }

    /// The publish that was counted last will come again.
    pub(super) const fn uncount_publish(&mut self) {
        self.publishes = self.publishes.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// MQTT-3.1.2-24 (v3.1.1), MQTT-3.1.2-22 (v5)
    #[test]
    fn a_client_is_dead_after_one_and_a_half_times_its_keep_alive() {
        let mut live = Liveness::new(0);
        live.agree(10, 100);
        assert!(!live.is_dead(15_100));
        assert!(live.is_dead(15_101));
        assert_eq!(live.deadline_ms(), Some(15_101));
        live.heard(15_000);
        assert!(!live.is_dead(30_000));
        live.agree(u16::MAX, 0);
        assert_eq!(live.deadline_ms(), Some(65_535 * 1500 + 1));
    }

    /// MQTT-3.1.2-24 (v3.1.1), MQTT-3.1.2-22 (v5)
    #[test]
    fn without_keep_alive_nobody_is_dead() {
        let mut live = Liveness::new(0);
        live.agree(0, 0);
        assert!(!live.is_dead(u64::MAX));
        assert_eq!(live.deadline_ms(), None);
    }

    #[test]
    fn publishes_are_counted_by_the_second() {
        let mut live = Liveness::new(0);
        assert_eq!(live.count_publish(2, 5_000), None);
        assert_eq!(live.count_publish(2, 5_100), None);
        assert_eq!(live.count_publish(2, 5_900), Some(6_000));
        assert_eq!(live.count_publish(2, 6_000), None);
    }
}
