//! Publisher confirms of one channel: reported in the order of publishing, many at once
//! (R42, R45, P58). May import the files of this folder, `command`, `ids`.

use std::collections::VecDeque;

use crate::command::Published;
use crate::ids::PublishSeq;
use crate::protocol::Context;

use super::channel::{Channel, Flow, Mode, unexpected};
use super::link::Link;
use super::reply_code::{Fault, ReplyCode};
use super::wire::method::{self, Basic, Method, basic};

/// What is known of a publish that is not reported yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Pending,
    Stored,
    Refused,
}

/// Publishes that end the same way and are reported by one method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// The number of the last of them.
    pub(super) last: u64,
    /// Whether it stands for all before it that are not reported.
    pub(super) multiple: bool,
    /// Acknowledged, or refused.
    pub(super) accepted: bool,
}

/// The publishes of a channel that wait for their confirm. One octet each; a client that sends
/// without end is held back by the broker, not here.
#[derive(Debug, Default)]
pub(super) struct Confirms {
    /// Number of the publish at the front of `window`, less one.
    reported: u64,
    window: VecDeque<Fate>,
}

impl Confirms {
    /// The number of the next publish, the first is 1.
    pub(super) fn assign(&mut self) -> PublishSeq {
        self.window.push_back(Fate::Pending);
        PublishSeq(self.last_assigned())
    }

    /// Takes back the number assigned last: its publish was an error and closes the channel.
    pub(super) fn retract(&mut self) {
        self.window.pop_back();
    }

    /// Notes how a publish ended. Numbers that are reported already or were never assigned are
    /// ignored: the broker may say it twice.
    pub(super) fn settle(&mut self, seq: PublishSeq, accepted: bool) {
        let Some(offset) = seq.0.checked_sub(self.reported).and_then(|n| n.checked_sub(1)) else {
            return;
        };
        let Ok(index) = usize::try_from(offset) else { return };
        if let Some(fate) = self.window.get_mut(index) {
            *fate = if accepted { Fate::Stored } else { Fate::Refused };
        }
    }

    /// The next run to report: the longest front of publishes that ended alike.
    pub(super) fn next_run(&mut self) -> Option<Run> {
        let first = *self.window.front()?;
        if first == Fate::Pending {
            return None;
        }
        let mut count = 0_u64;
        while self.window.front() == Some(&first) {
            self.window.pop_front();
            count = count.saturating_add(1);
        }
        self.reported = self.reported.saturating_add(count);
        Some(Run { last: self.reported, multiple: count > 1, accepted: first == Fate::Stored })
    }

    /// Publishes that are not reported.
    pub(super) fn unreported(&self) -> u64 {
        u64::try_from(self.window.len()).unwrap_or(u64::MAX)
    }

    /// The number assigned last; 0 before the first.
    pub(super) fn last_assigned(&self) -> u64 {
        self.reported.saturating_add(u64::try_from(self.window.len()).unwrap_or(u64::MAX))
    }
}

impl Channel {
    /// confirm.select: twice is fine, on a transactional channel it is not (P58).
    pub(super) fn on_confirm(
        &mut self,
        confirm: method::Confirm,
        cx: &mut Context<'_>,
    ) -> Result<Flow, Fault> {
        match confirm {
            method::Confirm::Select(select) => {
                match self.mode {
                    Mode::Plain => self.mode = Mode::Confirm(Confirms::default()),
                    Mode::Confirm(_) => {}
                    Mode::Transaction(_) => {
                        let detail = "cannot switch from tx to confirm mode";
                        return Err(Fault::new(ReplyCode::PreconditionFailed, detail));
                    }
                }
                if !select.no_wait {
                    self.reply(&Method::Confirm(method::Confirm::SelectOk), cx);
                }
                Ok(Flow::Go)
            }
            method::Confirm::SelectOk => Err(unexpected()),
        }
    }

    /// What became of a publish at once; `seq` is the channel's own number, without the base.
    #[inline]
    pub(super) fn note_published(
        &mut self,
        published: Published,
        seq: Option<PublishSeq>,
        link: &mut Link,
    ) {
        let (Mode::Confirm(confirms), Some(seq)) = (&mut self.mode, seq) else { return };
        match published {
            Published::Stored | Published::Unroutable => confirms.settle(seq, true),
            Published::Overflowed => confirms.settle(seq, false),
            Published::Pending => return,
        }
        self.want_report(link);
    }

    /// Has its confirms reported at the end of the turn.
    pub(super) fn want_report(&mut self, link: &mut Link) {
        if !self.is_to_report {
            self.is_to_report = true;
            link.to_report.push(self.number);
        }
    }

    /// Sends the confirms gathered in this turn.
    pub(super) fn report(&mut self, cx: &mut Context<'_>) {
        self.is_to_report = false;
        loop {
            let Mode::Confirm(confirms) = &mut self.mode else { return };
            let before = confirms.reported;
            let Some(run) = confirms.next_run() else { return };
            if run.accepted {
                self.counts.stored += run.last.saturating_sub(before);
            }
            let (delivery_tag, multiple) = (run.last, run.multiple);
            let method = if run.accepted {
                Basic::Ack(basic::Ack { delivery_tag, multiple })
            } else {
                Basic::Nack(basic::Nack { delivery_tag, multiple, requeue: false })
            };
            self.reply(&Method::Basic(method), cx);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(confirms: &mut Confirms) -> Vec<(u64, bool, bool)> {
        std::iter::from_fn(|| confirms.next_run().map(|r| (r.last, r.multiple, r.accepted)))
            .collect()
    }

    #[test]
    fn what_ended_alike_in_a_row_is_reported_by_one_method() {
        let mut confirms = Confirms::default();
        for n in 1..=5 {
            assert_eq!(confirms.assign(), PublishSeq(n));
            confirms.settle(PublishSeq(n), n != 3);
        }
        assert_eq!(runs(&mut confirms), [(2, true, true), (3, false, false), (5, true, true)]);
        assert_eq!(confirms.assign(), PublishSeq(6));
        assert_eq!(runs(&mut confirms), []);
    }

    /// Abuse of order by the broker is repaired here: confirms leave in the order of publishing.
    #[test]
    fn a_pending_publish_holds_back_those_behind_it() {
        let mut confirms = Confirms::default();
        for _ in 0..3 {
            confirms.assign();
        }
        confirms.settle(PublishSeq(3), true);
        confirms.settle(PublishSeq(2), true);
        assert_eq!(runs(&mut confirms), []);
        confirms.settle(PublishSeq(1), true);
        confirms.settle(PublishSeq(1), false);
        assert_eq!(runs(&mut confirms), [(1, false, false), (3, true, true)]);
        confirms.settle(PublishSeq(2), true);
        confirms.settle(PublishSeq(0), true);
        confirms.settle(PublishSeq(9), true);
        assert_eq!(runs(&mut confirms), []);
        assert!(confirms.window.is_empty());
    }

    #[test]
    fn the_number_of_a_publish_that_closed_the_channel_is_given_again() {
        let mut confirms = Confirms::default();
        confirms.assign();
        confirms.retract();
        assert_eq!(confirms.assign(), PublishSeq(1));
    }
}
