//! The part of a connection that publishes: stamps batches, keeps the window of QoS 1 and 2.
//! Imports `batch`, `packet`, `confirms`.

use super::batch::{Batch, Marks, Template};
use super::packet::{Answer, Limits, put_answer};
use crate::client::ClientError;
use crate::client::confirms::Confirms;
use crate::client::member::Wake;
use crate::client::tally::Dispatch;
use crate::pace::Pace;

/// Packet identifiers: 1 to 65535, in turn.
const PACKET_IDS: u64 = 65_535;
/// Reason codes from here on are refusals (5.0, 2.4).
const REFUSED: u8 = 0x80;

/// What a publisher is to do.
#[derive(Debug, Clone)]
pub(crate) struct Job<'a> {
    /// Its messages.
    pub(crate) template: Template<'a>,
    /// Messages in flight in QoS 1 and 2.
    pub(crate) window: u16,
    /// How many messages.
    pub(crate) messages: u64,
    /// Sequence number of the first.
    pub(crate) sequence: u64,
    /// When each is due.
    pub(crate) pace: Option<Pace>,
}

/// One per publishing connection.
#[derive(Debug)]
pub(crate) struct Sender {
    batch: Batch,
    producer: u16,
    qos: u8,
    is_retained: bool,
    /// Octets of the batch that are to be written.
    filled: usize,
    /// Octets of the batch that are written.
    written: usize,
    published: u64,
    published_max: u64,
    sequence: u64,
    window: u16,
    /// Messages without the last word: PUBACK, PUBCOMP; none in QoS 0.
    unsettled: Option<Confirms>,
    /// Messages without PUBREC; only in QoS 2.
    untaken: Option<Confirms>,
    pace: Option<Pace>,
}

impl Sender {
    /// A publisher that waits for its connection.
    pub(crate) fn new(job: &Job<'_>) -> Self {
        let Template { qos, producer, is_retained, .. } = job.template;
        Self {
            batch: Batch::new(&job.template),
            producer,
            qos,
            is_retained,
            filled: 0,
            written: 0,
            published: 0,
            published_max: job.messages,
            sequence: job.sequence,
            window: job.window,
            unsettled: None,
            untaken: None,
            pace: job.pace,
        }
    }

    /// The broker has said what it can do.
    ///
    /// # Errors
    /// `Unexpected` if that is too little.
    pub(crate) fn on_connected(&mut self, limits: Limits) -> Result<(), ClientError> {
        let message_bytes = u32::try_from(self.batch.octets_of(1)).unwrap_or(u32::MAX);
        let rules = [
            (self.qos <= limits.qos_max, "limit: the broker takes no message of this QoS"),
            (!self.is_retained || limits.can_retain, "limit: the broker retains no messages"),
            (message_bytes <= limits.packet_bytes_max, "limit: the broker takes no such large one"),
        ];
        if let Some((_, rule)) = rules.iter().find(|(is_kept, _)| !is_kept) {
            return Err(ClientError::Unexpected(rule));
        }
        let window = u32::from(self.window.min(limits.receive_max));
        self.unsettled = (self.qos > 0).then(|| Confirms::new(window));
        self.untaken = (self.qos > 1).then(|| Confirms::new(window));
        Ok(())
    }

    /// Publishes at another pace.
    pub(crate) const fn set_pace(&mut self, pace: Pace) {
        self.pace = Some(pace);
    }

    /// Messages stamped up to now.
    pub(crate) const fn published(&self) -> u64 {
        self.published
    }

    /// Messages without the broker's last word.
    pub(crate) fn unsettled(&self) -> u64 {
        self.unsettled.as_ref().map_or(0, Confirms::unsettled)
    }

    /// Whether everything stamped is written, and nothing more will be stamped.
    pub(crate) const fn is_done(&self, is_open: bool) -> bool {
        self.filled == self.written && (!is_open || self.published >= self.published_max)
    }

    /// What is stamped and not written.
    pub(crate) fn unwritten(&self) -> &[u8] {
        self.batch.octets().get(self.written..self.filled).unwrap_or_default()
    }

    /// Counts octets as written.
    pub(crate) const fn on_written(&mut self, count: usize) {
        self.written = self.written.saturating_add(count);
    }

    /// Stamps as many messages as may be sent; if there are none, tells when to try again. All
    /// that was stamped before must be written.
    pub(crate) fn fill(&mut self, now_ns: u64, dispatch: &mut Dispatch) -> Option<Wake> {
        let left = self.published_max.saturating_sub(self.published);
        if !dispatch.is_open || left == 0 {
            return Some(Wake::OnEvent);
        }
        let mut count = self.batch.capacity().min(usize::try_from(left).unwrap_or(usize::MAX));
        if let Some(unsettled) = &self.unsettled {
            count = count.min(unsettled.room());
            if count == 0 {
                return Some(Wake::OnEvent);
            }
        }
        if let Some(pace) = &self.pace {
            count = count.min(usize::try_from(pace.due(now_ns)).unwrap_or(usize::MAX));
            if count == 0 {
                return Some(Wake::At(pace.time_of(0)));
            }
        }
        count = count.min(usize::try_from(dispatch.room).unwrap_or(usize::MAX));
        if count == 0 {
            return Some(Wake::OnRoom);
        }
        self.stamp(count, now_ns);
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        dispatch.room = dispatch.room.saturating_sub(count);
        dispatch.published = dispatch.published.saturating_add(count);
        None
    }

    fn stamp(&mut self, count: usize, now_ns: u64) {
        let wide = u64::try_from(count).unwrap_or(u64::MAX);
        let packet_number = u16::try_from(self.published % PACKET_IDS).unwrap_or(0);
        let sequence = self.sequence;
        let pace = self.pace;
        let time_ns = |ahead: u64| pace.map_or(now_ns, |pace| pace.time_of(ahead));
        self.batch.stamp(count, Marks { sequence, packet_number, time_ns });
        for window in [&mut self.unsettled, &mut self.untaken].into_iter().flatten() {
            (0..wide).for_each(|ahead| window.on_sent(time_ns(ahead)));
        }
        if let Some(pace) = &mut self.pace {
            pace.take(wide);
        }
        self.written = 0;
        self.filled = self.batch.octets_of(count);
        self.published = self.published.saturating_add(wide);
        self.sequence = self.sequence.saturating_add(wide);
    }

    /// Takes the broker's word on a message; writes what must be answered to it.
    #[inline]
    pub(crate) fn on_answer(
        &mut self,
        (answer, packet_id, code): (Answer, u16, u8),
        now_ns: u64,
        dispatch: &mut Dispatch,
        out: &mut Vec<u8>,
    ) {
        let is_last = match (answer, self.qos) {
            (Answer::Puback, 1) | (Answer::Pubcomp, 2) => true,
            (Answer::Pubrec, 2) => false,
            (Answer::Puback | Answer::Pubrec | Answer::Pubrel | Answer::Pubcomp, _) => {
                return self.wrong(answer, packet_id, dispatch);
            }
        };
        if !is_last {
            let taken = self.untaken.as_mut().map(|window| settle(window, packet_id, |_| ()));
            if taken != Some(true) {
                return self.wrong(answer, packet_id, dispatch);
            }
            if code < REFUSED {
                return put_answer(out, Answer::Pubrel, packet_id);
            }
        }
        let Dispatch { latency, window, .. } = dispatch;
        let is_refused = code >= REFUSED;
        let settled = self.unsettled.as_mut().is_some_and(|unsettled| {
            settle(unsettled, packet_id, |sent_ns| {
                if !is_refused {
                    latency.add(window, sent_ns, now_ns);
                }
            })
        });
        if !settled || (answer == Answer::Pubcomp && self.is_untaken_before(packet_id)) {
            return self.wrong(answer, packet_id, dispatch);
        }
        if is_refused {
            dispatch.faults.refused += 1;
            let producer = self.producer;
            dispatch.faults.describe(|| format!("publisher {producer}: refused, {code:#04x}"));
        } else {
            dispatch.confirmed = dispatch.confirmed.saturating_add(1);
        }
    }

    /// Whether a message whose last word has come still waits for its first.
    fn is_untaken_before(&mut self, packet_id: u16) -> bool {
        self.untaken.as_mut().is_some_and(|window| settle(window, packet_id, |_| ()))
    }

    #[cold]
    fn wrong(&self, answer: Answer, packet_id: u16, dispatch: &mut Dispatch) {
        dispatch.faults.protocol += 1;
        let producer = self.producer;
        dispatch.faults.describe(|| {
            format!("publisher {producer}: {answer:?} of {packet_id}, which does not wait for it")
        });
    }
}

/// Counts message `packet_id` as settled; tells whether it waited.
#[inline]
fn settle(window: &mut Confirms, packet_id: u16, each: impl FnMut(u64)) -> bool {
    // Tags count from 1 on and are packet identifiers the first time round: the tag is the first
    // from the oldest on with this identifier.
    let oldest = window.oldest();
    let first = oldest.saturating_sub(1) % PACKET_IDS;
    let asked = u64::from(packet_id.saturating_sub(1));
    let ahead = (asked + PACKET_IDS - first) % PACKET_IDS;
    packet_id > 0 && window.on_settled(oldest.saturating_add(ahead), false, each).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::mqtt::Version;

    fn sender(qos: u8, window: u16) -> Sender {
        let template = Template {
            version: Version::V4,
            run: 1,
            producer: 0,
            topic: "t",
            stride: None,
            qos,
            is_retained: false,
            body_bytes: 16,
            batch_bytes: 1000,
            batch_messages: usize::MAX,
        };
        let job = Job { template, window, messages: u64::MAX, sequence: 0, pace: None };
        let mut sender = Sender::new(&job);
        sender.on_connected(Limits::NONE).unwrap();
        sender
    }

    /// Publishes what may be published and tells how many messages that were.
    fn publish(sender: &mut Sender, dispatch: &mut Dispatch) -> u64 {
        let before = dispatch.published;
        sender.fill(5, dispatch);
        sender.on_written(sender.unwritten().len());
        dispatch.published - before
    }

    #[test]
    fn packet_identifiers_go_round_with_the_window() {
        let (mut sender, mut dispatch, mut out) = (sender(1, 3), Dispatch::new(), Vec::new());
        let mut acked = 0_u16;
        for _ in 0..50_000 {
            let count = publish(&mut sender, &mut dispatch);
            assert!(count > 0);
            for _ in 0..count {
                acked = if acked == u16::MAX { 1 } else { acked + 1 };
                sender.on_answer((Answer::Puback, acked, 0), 9, &mut dispatch, &mut out);
            }
        }
        assert_eq!((dispatch.faults.total(), dispatch.confirmed), (0, dispatch.published));
        assert!(dispatch.published > PACKET_IDS);
    }

    #[test]
    fn a_message_of_qos_2_is_released_and_then_settled() {
        let (mut sender, mut dispatch, mut out) = (sender(2, 2), Dispatch::new(), Vec::new());
        assert_eq!(publish(&mut sender, &mut dispatch), 2);
        sender.on_answer((Answer::Pubrec, 1, 0), 9, &mut dispatch, &mut out);
        assert_eq!((out.as_slice(), dispatch.confirmed), (&b"\x62\x02\0\x01"[..], 0));
        assert_eq!(publish(&mut sender, &mut dispatch), 0);
        sender.on_answer((Answer::Pubcomp, 1, 0), 9, &mut dispatch, &mut out);
        assert_eq!((dispatch.confirmed, sender.unsettled()), (1, 1));
        assert_eq!(publish(&mut sender, &mut dispatch), 1);
        assert_eq!(dispatch.faults.total(), 0);
    }

    #[test]
    fn answers_that_make_no_sense_are_faults() {
        let (mut one, mut dispatch, mut out) = (sender(1, 2), Dispatch::new(), Vec::new());
        publish(&mut one, &mut dispatch);
        for answer in [(Answer::Puback, 3, 0), (Answer::Pubrec, 1, 0), (Answer::Puback, 0, 0)] {
            one.on_answer(answer, 9, &mut dispatch, &mut out);
        }
        assert_eq!(dispatch.faults.protocol, 3);
        let mut two = sender(2, 2);
        publish(&mut two, &mut dispatch);
        two.on_answer((Answer::Pubcomp, 1, 0), 9, &mut dispatch, &mut out);
        assert_eq!((dispatch.faults.protocol, out.len()), (4, 0));
    }

    #[test]
    fn a_refusal_ends_the_message_and_is_counted() {
        let (mut sender, mut dispatch, mut out) = (sender(2, 2), Dispatch::new(), Vec::new());
        publish(&mut sender, &mut dispatch);
        sender.on_answer((Answer::Pubrec, 1, 0x97), 9, &mut dispatch, &mut out);
        assert_eq!((dispatch.faults.refused, sender.unsettled(), out.len()), (1, 1, 0));
    }
}
