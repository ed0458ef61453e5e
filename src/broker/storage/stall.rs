//! A disk that does not answer: those who wait for it wait, all else goes on, operators are told
//! while it lasts, and in the end it is taken for a failure (reliability.md 2.6; abuse rows 117, 118).
//!
//! May import `failure`.

use ringmq_shards::log::DiskError;

use super::Broker;
use crate::command::Now;

/// A commit that takes longer than this is taken for a failure: a disk that hangs must not hold
/// the node's clients for ever (reliability.md 2.6), milliseconds.
pub(in crate::broker) const STALL_MS: u64 = 30_000;

/// Operators are told from here on, and again each time as much has passed, milliseconds. Far above
/// what a busy disk takes, and two of it below what clients usually wait for a confirm.
const SLOW_MS: u64 = 5_000;

/// What counts at most between two looks, milliseconds. There is one each second: if more has passed
/// the whole process did not run, and nobody knows whether the disk would have answered.
const LOOK_MS_MAX: u64 = 2_000;

/// One per shard.
#[derive(Debug, Default)]
pub(super) struct Stall {
    /// When the commit under way was looked at last; `None`: there is none.
    seen_ms: Option<u64>,
    /// How long it has been seen to take.
    waited_ms: u64,
    /// At which operators are told next.
    tell_ms: u64,
}

/// What is to be done about it.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Nothing,
    Tell { waited_ms: u64 },
    Fail,
}

impl Stall {
    /// A commit is under way.
    fn look(&mut self, now_ms: u64) -> Verdict {
        let Some(seen_ms) = self.seen_ms.replace(now_ms) else {
            (self.waited_ms, self.tell_ms) = (0, SLOW_MS);
            return Verdict::Nothing;
        };
        self.waited_ms += now_ms.saturating_sub(seen_ms).min(LOOK_MS_MAX);
        if self.waited_ms > STALL_MS {
            return Verdict::Fail;
        }
        if self.waited_ms < self.tell_ms {
            return Verdict::Nothing;
        }
        self.tell_ms += SLOW_MS;
        Verdict::Tell { waited_ms: self.waited_ms }
    }

    /// The disk has done something, or nothing is under way.
    pub(super) fn end(&mut self) {
        if self.is_slow() {
            tracing::info!(waited_ms = self.waited_ms, "the disk answers again");
        }
        self.seen_ms = None;
    }

    fn is_slow(&self) -> bool {
        self.seen_ms.is_some() && self.waited_ms >= SLOW_MS
    }
}

impl Broker {
    /// Looks at the commit under way.
    pub(super) fn watch_commit(&mut self, now: Now) {
        let Some(storage) = &mut self.storage else { return };
        if !storage.shelf.borrow().log.is_busy() {
            return storage.stall.end();
        }
        match storage.stall.look(now.mono_ms) {
            Verdict::Nothing => {}
            Verdict::Tell { waited_ms } => {
                tracing::warn!(
                    waited_ms,
                    ends_ms = STALL_MS,
                    "the disk does not answer: whoever waits for it waits"
                );
            }
            Verdict::Fail => {
                let cause = std::io::Error::from(std::io::ErrorKind::TimedOut);
                self.fail_storage(DiskError::new("write", "the log within 30 s", cause));
            }
        }
    }

    /// Whether the disk has not answered for so long that operators are told.
    pub fn disk_stalls(&self) -> bool {
        self.storage.as_ref().is_some_and(|storage| storage.stall.is_slow())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Abuse row 118
    #[test]
    fn it_is_told_every_few_seconds_until_it_is_a_failure() {
        let mut stall = Stall::default();
        let mut told = Vec::new();
        for second in 0_u64.. {
            match stall.look(second * 1_000) {
                Verdict::Nothing => {}
                Verdict::Tell { waited_ms } => told.push(waited_ms),
                Verdict::Fail => {
                    assert_eq!(second * 1_000, STALL_MS + 1_000);
                    break;
                }
            }
        }
        assert_eq!(told, [5_000, 10_000, 15_000, 20_000, 25_000, 30_000]);
        stall.end();
        assert_eq!(stall.look(99_000), Verdict::Nothing, "the next commit begins anew");
        assert_eq!(stall.look(100_000), Verdict::Nothing);
    }

    /// Abuse row 117
    #[test]
    fn time_in_which_the_process_did_not_run_is_none_of_the_disk() {
        let mut stall = Stall::default();
        assert_eq!(stall.look(1_000), Verdict::Nothing);
        assert_eq!(stall.look(61_000), Verdict::Nothing, "60 s of sleep");
        assert_eq!(stall.look(86_400_000), Verdict::Nothing, "a day");
        assert!(!stall.is_slow());
    }
}
