//! Readers of retained messages, on the shards that own the parts: what they wait for, and what is
//! done in turns.
//!
//! A reader asks for one page after the other; each is answered by one shard. Before the first page
//! of a shard that shard hears from all others: whoever was told that a subscription holds, on any
//! shard, is told on the strength of lanes that say nothing of a third shard's, and what was
//! published before without meeting the subscription may still be on its way to its part. It would
//! be in neither. It can be in both: what is retained after a subscription holds and before its part
//! is read comes as published and again from there.
//!
//! May import the broker's parts.

use std::collections::VecDeque;

use super::page::{Keys, Page, Paged};
use super::part::Loaded;
use super::{Parts, is_topic};
use crate::broker::Broker;
use crate::broker::calls::Then;
use crate::broker::clockwork::Alarm;
use crate::broker::mail::Mail;
use crate::command::{Answer, Event, Now, Refusal};
use crate::ids::{ChannelRef, QueueId, ShardId, VhostId};
use crate::message::Message;
use crate::subscriber::RetainedCursor;

/// Readers that may wait on one shard. A channel has one at a time, so it takes many connections to
/// get here; the next one is refused.
const WAITING_MAX: usize = 65_536;

/// Pages that are read in one turn for those who had to wait.
const PAGES_PER_TURN: usize = 32;

/// Messages that are read in one turn from a part that was there before the start.
const LOADED_PER_TURN: usize = 2_048;

/// Between looks at parts with messages that may expire, milliseconds, and places looked at.
const SWEEP_MS: u64 = 1_000;
const SWEPT_PER_TURN: u32 = 1_000;

/// What waits for the log is looked at again after this, milliseconds, if nothing else happens.
const SETTLE_MS: u64 = 100;

/// Who wants a page.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    at: ChannelRef,
    vhost: VhostId,
    filter: Box<str>,
    /// Of keys.
    pattern: Option<Box<str>>,
    from: RetainedCursor,
    bytes_max: u32,
}

/// The readers that wait on a shard.
#[derive(Debug, Default)]
pub(super) struct Readers {
    /// Until the next round of the other shards begins.
    before_round: Vec<Reader>,
    /// Until the round under way is over.
    in_round: Option<Vec<Reader>>,
    /// For a part: it is being loaded, or has to read first.
    at_parts: Vec<(QueueId, Reader)>,
    /// For nothing.
    due: VecDeque<Reader>,
}

impl Readers {
    fn count(&self) -> usize {
        let in_round = self.in_round.as_ref().map_or(0, Vec::len);
        self.before_round.len() + in_round + self.at_parts.len() + self.due.len()
    }
}

/// What to do with a reader after one part.
enum After {
    /// It is answered.
    Answer(Option<RetainedCursor>),
    /// It waits for the part.
    Wait(QueueId, u64),
    /// The next part.
    Next(usize),
}

impl Broker {
    /// The shard that a page is to be asked of.
    pub(in crate::broker) fn retained_owner(
        &self,
        vhost: VhostId,
        filter: &str,
        from: RetainedCursor,
    ) -> ShardId {
        let parts = self.retained.of(vhost);
        let owner = if is_topic(filter) {
            parts.and_then(|parts| parts.owner(self.part_of(vhost, filter)))
        } else {
            parts.and_then(|parts| Some(parts.order.get(from.part as usize)?.0))
        };
        owner.unwrap_or(self.shard)
    }

    /// Owner: somebody wants a page.
    pub(in crate::broker) fn request_retained(
        &mut self,
        at: ChannelRef,
        vhost: VhostId,
        (filter, pattern): (Box<str>, Option<Box<str>>),
        (from, bytes_max): (RetainedCursor, u32),
    ) {
        if self.retained.readers.count() >= WAITING_MAX {
            let refusal = Refusal::LimitReached("too many wait for retained messages".into());
            self.answer(at, Answer::Refused(refusal));
            return;
        }
        let begins = self.retained.of(vhost).is_none_or(|parts| parts.begins_here(from));
        let reader = Reader { at, vhost, filter, pattern, from, bytes_max };
        if begins {
            self.retained.readers.before_round.push(reader);
            if self.retained.readers.in_round.is_none() {
                self.begin_round();
            }
        } else {
            self.retained.readers.due.push_back(reader);
        }
    }

    /// Asks all other shards to say something: what they have said before is here then.
    fn begin_round(&mut self) {
        let readers = std::mem::take(&mut self.retained.readers.before_round);
        self.retained.readers.in_round = Some(readers);
        let Some(call) = self.open_call(Then::RetainedRound) else {
            return self.retained_round_over();
        };
        for shard in self.post.others() {
            self.expect(call);
            self.post.send(shard, Mail::Barrier { call });
        }
        self.release(call, true);
    }

    /// All others have spoken.
    pub(in crate::broker) fn retained_round_over(&mut self) {
        let readers = &mut self.retained.readers;
        readers.due.extend(readers.in_round.take().unwrap_or_default());
        if !readers.before_round.is_empty() {
            self.begin_round();
        }
    }

    /// A part's store has read something, or there is something to load.
    pub(in crate::broker) fn wake_part(&mut self, queue: QueueId) {
        let retained = &mut self.retained;
        if retained.parts.contains_key(&queue) && !retained.awake.contains(&queue) {
            retained.awake.push(queue);
        }
    }

    /// Makes sure of a turn at that time.
    pub(super) fn retained_at(&mut self, mono_ms: u64) {
        if self.retained.timer_ms.is_none_or(|set| mono_ms < set) {
            self.retained.timer_ms = Some(mono_ms);
            self.timers.insert(mono_ms, Alarm::Retained);
        }
    }

    /// The timer has come: the end of this turn does the work.
    pub(in crate::broker) fn retained_time(&mut self, now: Now) {
        if self.retained.timer_ms.is_some_and(|set| set <= now.mono_ms) {
            self.retained.timer_ms = None;
        }
    }

    /// Once per turn: loads, sweeps and answers a little.
    pub(in crate::broker) fn retained_turn(&mut self, now: Now) {
        // Who has more that waits comes into the list again.
        for queue in std::mem::take(&mut self.retained.settling) {
            self.with_part(queue, now, |part, hold| part.settle_due(hold));
        }
        for queue in std::mem::take(&mut self.retained.awake) {
            self.load_part(queue, now);
        }
        if self.retained.sweep_ms.is_some_and(|due| due <= now.mono_ms) {
            self.sweep_parts(now);
        }
        for _ in 0..PAGES_PER_TURN {
            let Some(reader) = self.retained.readers.due.pop_front() else { break };
            self.read_page(reader, now);
        }
        let retained = &self.retained;
        let at_once = !retained.awake.is_empty() || !retained.readers.due.is_empty();
        let settling = !retained.settling.is_empty();
        let deadlines = [
            at_once.then_some(now.mono_ms),
            settling.then(|| now.mono_ms.saturating_add(SETTLE_MS)),
            retained.sweep_ms,
        ];
        if let Some(next) = deadlines.into_iter().flatten().min() {
            self.retained_at(next);
        }
    }

    fn load_part(&mut self, queue: QueueId, now: Now) {
        match self.with_part(queue, now, |part, hold| part.load(LOADED_PER_TURN, hold)) {
            Some(Loaded::More) => self.wake_part(queue),
            Some(Loaded::All) => {
                let readers = &mut self.retained.readers;
                let waiting = readers.at_parts.extract_if(.., |(at, _)| *at == queue);
                readers.due.extend(waiting.map(|(_, reader)| reader));
                self.sweep_later(queue, now);
            }
            Some(Loaded::Later) | None => {}
        }
    }

    /// A part with messages that may expire is looked at now and then.
    pub(super) fn sweep_later(&mut self, queue: QueueId, now: Now) {
        let part = self.retained.parts.get(&queue);
        if self.retained.sweep_ms.is_none() && part.is_some_and(|(_, part)| part.may_expire()) {
            let due = now.mono_ms.saturating_add(SWEEP_MS);
            self.retained.sweep_ms = Some(due);
            self.retained_at(due);
        }
    }

    fn sweep_parts(&mut self, now: Now) {
        self.retained.sweep_ms = None;
        let parts = self.retained.parts.iter();
        let timed = parts.filter(|(_, (_, part))| part.may_expire() && !part.is_loading());
        let timed: Vec<QueueId> = timed.map(|(queue, _)| *queue).collect();
        for queue in timed {
            self.with_part(queue, now, |part, hold| part.sweep(SWEPT_PER_TURN, hold));
            self.sweep_later(queue, now);
        }
    }

    /// Reads a page for a reader and sends it, or lets the reader wait.
    fn read_page(&mut self, reader: Reader, now: Now) {
        let exact = is_topic(&reader.filter);
        let mut rank = if exact {
            let number = self.part_of(reader.vhost, &reader.filter);
            let order = self.retained.of(reader.vhost).map(|parts| parts.order.iter());
            order.and_then(|mut order| order.position(|(_, part)| *part == number))
        } else {
            usize::try_from(reader.from.part).ok()
        };
        let keys = reader.pattern.as_deref().map(|pattern| Keys::of(pattern, self.crossing));
        let mut page = Page::new(&reader.filter, reader.bytes_max).only(keys);
        let mut from = reader.from.position;
        while let Some(now_at) = rank {
            match self.read_part(&reader, &mut page, (now_at, from), now) {
                After::Next(next) if !exact => (rank, from) = (Some(next), 0),
                After::Next(_) => rank = None,
                After::Answer(next) => {
                    // There is no other.
                    let next = next.filter(|_| !exact || page.messages.is_empty());
                    let messages = std::mem::take(&mut page.messages);
                    return self.send_page(&reader, messages, next);
                }
                After::Wait(queue, position) => {
                    let part = u32::try_from(now_at).unwrap_or(u32::MAX);
                    let from = RetainedCursor { part, position };
                    let reader = Reader { from, ..reader };
                    self.retained.readers.at_parts.push((queue, reader));
                    return;
                }
            }
        }
        let messages = std::mem::take(&mut page.messages);
        self.send_page(&reader, messages, None);
    }

    /// Puts one part into a page.
    fn read_part(
        &mut self,
        reader: &Reader,
        page: &mut Page<'_>,
        (rank, from): (usize, u64),
        now: Now,
    ) -> After {
        let Some(parts) = self.retained.of(reader.vhost) else { return After::Answer(None) };
        let Some((owner, number)) = parts.order.get(rank).copied() else {
            return After::Answer(None);
        };
        let cursor = |rank: usize, position| {
            let part = u32::try_from(rank).unwrap_or(u32::MAX);
            After::Answer(Some(RetainedCursor { part, position }))
        };
        if owner != self.shard || page.is_over() {
            return cursor(rank, from);
        }
        let Some(queue) = parts.queues.get(usize::from(number)).copied().flatten() else {
            return After::Next(rank + 1);
        };
        let part = self.retained.parts.get(&queue);
        if part.is_some_and(|(_, part)| part.is_loading()) {
            let empty = page.messages.is_empty();
            return if empty { After::Wait(queue, from) } else { cursor(rank, from) };
        }
        match self.with_part(queue, now, |part, hold| part.page(page, from, hold)) {
            None | Some(Paged::End) => After::Next(rank + 1),
            Some(Paged::Full(at)) => cursor(rank, at),
            Some(Paged::Later(at)) => After::Wait(queue, at),
        }
    }

    fn send_page(
        &mut self,
        reader: &Reader,
        mut messages: Vec<Message>,
        next: Option<RetainedCursor>,
    ) {
        let (connection, channel) = (reader.at.connection.connection, reader.at.channel);
        // The topics of a page come in their order, above before below, as from other brokers: parts
        // and places are in none that a reader could know.
        messages.sort_by(|one, other| one.routing_key().cmp(other.routing_key()));
        for message in messages {
            if reader.at.connection.shard == self.shard {
                self.tell(connection, Event::Retained { channel, message });
            } else {
                let mail = |parcel| Mail::Retained { connection, channel, parcel };
                self.post.send_message(reader.at.connection.shard, &message, mail);
            }
        }
        self.answer(reader.at, Answer::RetainedRead { next });
    }
}

impl Parts {
    /// Whether a page from there is the first one that is asked of its shard.
    fn begins_here(&self, from: RetainedCursor) -> bool {
        let rank = from.part as usize;
        let owner = |rank: usize| self.order.get(rank).map(|(owner, _)| *owner);
        from.position == 0 && (rank == 0 || owner(rank) != owner(rank - 1))
    }
}
