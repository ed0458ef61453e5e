//! Signs of life of both sides: heartbeats, and rates of what costs a peer nothing
//! (S4 to S8, S78 to S82; abuse rows 28, 46, 47). May import `limits`.

use crate::limits::{CHANNEL_OPENS_PER_SECOND_MAX, HEARTBEATS_PER_SECOND_MAX};

/// How long a peer may be late (S6).
const GRACE_MS: u64 = 5_000;

/// When each side was heard last.
#[derive(Debug)]
pub(super) struct Liveness {
    /// 0: no heartbeats.
    interval_ms: u64,
    heard_ms: u64,
    wrote_ms: u64,
    heartbeats: Rate,
    opens: Rate,
}

/// What liveness asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Fine,
    /// A heartbeat is due.
    Send,
    /// The peer has been silent for too long.
    Dead,
}

impl Liveness {
    pub(super) const fn new(now_ms: u64) -> Self {
        Self {
            interval_ms: 0,
            heard_ms: now_ms,
            wrote_ms: now_ms,
            heartbeats: Rate::new(HEARTBEATS_PER_SECOND_MAX),
            opens: Rate::new(CHANNEL_OPENS_PER_SECOND_MAX),
        }
    }

    /// What was agreed on, seconds.
    pub(super) fn interval_s(&self) -> u32 {
        u32::try_from(self.interval_ms / 1000).unwrap_or(u32::MAX)
    }

    /// Heartbeats are agreed; 0 turns them off (S7).
    pub(super) fn agree(&mut self, interval_s: u16) {
        self.interval_ms = u64::from(interval_s).saturating_mul(1000);
    }

    /// Octets came, or were not read on purpose (S82).
    pub(super) const fn heard(&mut self, now_ms: u64) {
        self.heard_ms = now_ms;
    }

    /// Octets went out: any replace a heartbeat (S78).
    pub(super) const fn wrote(&mut self, now_ms: u64) {
        self.wrote_ms = now_ms;
    }

    /// What is due. `is_read`: the peer's octets are being read, so silence means something.
    pub(super) fn judge(&self, now_ms: u64, is_read: bool) -> Verdict {
        if self.interval_ms == 0 {
            return Verdict::Fine;
        }
        // Two intervals where they are longer than the grace: a peer that sends one each half
        // interval has then missed three (abuse row 46 asks for no more).
        if is_read && now_ms > self.heard_ms.saturating_add(self.silence_ms_max()) {
            return Verdict::Dead;
        }
        if now_ms >= self.wrote_ms.saturating_add(self.interval_ms / 2) {
            return Verdict::Send;
        }
        Verdict::Fine
    }

    /// When something is due at the earliest.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        if self.interval_ms == 0 {
            return None;
        }
        let send = self.wrote_ms.saturating_add(self.interval_ms / 2);
        let dead = self.heard_ms.saturating_add(self.silence_ms_max()).saturating_add(1);
        Some(send.min(dead))
    }

    /// Counts a heartbeat; `false` when there are too many (abuse row 47).
    pub(super) const fn allow_heartbeat(&mut self, now_ms: u64) -> bool {
        self.heartbeats.allow(now_ms)
    }

    /// Counts a channel that is opened. With the last one of a second: when the next may be
    /// opened. A client that waits for each answer can be as fast as that, so it is slowed, not
    /// refused (abuse row 28).
    pub(super) fn note_open(&mut self, now_ms: u64) -> Option<u64> {
        let is_below = self.opens.allow(now_ms) && self.opens.count < self.opens.max;
        (!is_below).then(|| self.opens.since_ms.saturating_add(1000))
    }

    const fn silence_ms_max(&self) -> u64 {
        self.interval_ms.saturating_add(GRACE_MS)
    }
}

/// Events within a second.
#[derive(Debug)]
struct Rate {
    max: u32,
    count: u32,
    since_ms: u64,
}

impl Rate {
    const fn new(max: u32) -> Self {
        Self { max, count: 0, since_ms: 0 }
    }

    const fn allow(&mut self, now_ms: u64) -> bool {
        if now_ms.saturating_sub(self.since_ms) >= 1000 {
            self.since_ms = now_ms;
            self.count = 0;
        }
        self.count = self.count.saturating_add(1);
        self.count <= self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_goes_out_after_half_an_interval_without_output() {
        let mut live = Liveness::new(0);
        live.agree(10);
        assert_eq!(live.judge(4_999, true), Verdict::Fine);
        assert_eq!(live.judge(5_000, true), Verdict::Send);
        live.wrote(5_000);
        assert_eq!(live.judge(9_999, true), Verdict::Fine);
        assert_eq!(live.deadline_ms(), Some(10_000));
    }

    /// S6, S82
    #[test]
    fn a_peer_is_dead_after_an_interval_and_five_seconds_unless_it_is_not_read() {
        let mut live = Liveness::new(0);
        live.agree(10);
        live.wrote(15_000);
        assert_eq!(live.judge(15_000, true), Verdict::Fine);
        assert_eq!(live.judge(15_001, true), Verdict::Dead);
        assert_eq!(live.judge(15_001, false), Verdict::Fine);
        live.heard(15_001);
        assert_eq!(live.judge(16_000, true), Verdict::Fine);
    }

    #[test]
    fn without_heartbeats_nothing_is_due() {
        let live = Liveness::new(0);
        assert_eq!(live.judge(u64::MAX, true), Verdict::Fine);
        assert_eq!(live.deadline_ms(), None);
    }

    /// Abuse rows 28 and 47
    #[test]
    fn heartbeats_and_opened_channels_are_counted_by_the_second() {
        let mut live = Liveness::new(0);
        for _ in 0..HEARTBEATS_PER_SECOND_MAX {
            assert!(live.allow_heartbeat(5));
        }
        assert!(!live.allow_heartbeat(900));
        assert!(live.allow_heartbeat(1_900));
        for _ in 1..CHANNEL_OPENS_PER_SECOND_MAX {
            assert_eq!(live.note_open(900), None);
        }
        assert_eq!(live.note_open(900), Some(1_000));
        assert_eq!(live.note_open(1_000), None);
    }
}
