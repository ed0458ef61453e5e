//! Checks every delivery: the body, the order, duplicates, and at the end what is missing. Knows
//! no protocol; imports `payload`, `received`.

use std::ops::Range;

use crate::payload::{Head, Pattern, head_bytes};
use crate::received::{Insert, Received};

/// Faults described in words; the rest are only counted.
const SAMPLES_MAX: usize = 20;
/// Ranges of missing messages described per producer and queue.
const RANGES_MAX: usize = 3;

/// Who publishes where, as far as a verifier must know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Topology {
    /// Token of the run.
    pub(crate) run: u16,
    /// Octets of every body.
    pub(crate) body_bytes: usize,
    /// Number of producers.
    pub(crate) producers: usize,
    /// Number of consumers; consumer `c` is on queue `c % queues`.
    pub(crate) consumers: usize,
    /// Number of queues, a multiple of `topics`.
    pub(crate) queues: usize,
    /// Producer `p` reaches the queues `q` with `p % topics == q % topics`: one topic is a
    /// fan-out, and as many as queues give each producer one queue.
    pub(crate) topics: usize,
    /// Whether messages of a producer come to a consumer in their order.
    pub(crate) is_ordered: bool,
}

impl Topology {
    /// How many times each message is delivered.
    pub(crate) const fn copies(&self) -> usize {
        match self.queues.checked_div(self.topics) {
            Some(copies) => copies,
            None => 0,
        }
    }

    /// How many producers reach a queue, at most.
    const fn producers_each(&self) -> usize {
        if self.topics == 0 { 0 } else { self.producers.div_ceil(self.topics) }
    }

    /// Place of what `producer` sends to `queue` in row `row` of a table; `None` if nothing gets
    /// there.
    fn place(&self, producer: usize, queue: usize, row: usize) -> Option<usize> {
        let is_reached = producer < self.producers
            && producer.checked_rem(self.topics)? == queue.checked_rem(self.topics)?;
        let column = producer.checked_div(self.topics)?;
        is_reached.then_some(row.checked_mul(self.producers_each())?.checked_add(column)?)
    }

    /// Place of what `producer` sent to `queue` in a table; `None` if nothing gets there.
    fn stream(&self, producer: usize, queue: usize) -> Option<usize> {
        self.place(producer, queue, queue)
    }
}

/// What was wrong; all zero after a good run.
#[derive(Debug, Default, Clone)]
pub(crate) struct Faults {
    /// Published, and never received.
    pub(crate) lost: u64,
    /// Received again.
    pub(crate) duplicated: u64,
    /// Received after a later one of the same producer by the same consumer.
    pub(crate) reordered: u64,
    /// Bodies with other octets than were sent.
    pub(crate) corrupt: u64,
    /// Messages of another run.
    pub(crate) foreign: u64,
    /// Messages in a queue where they do not belong.
    pub(crate) misrouted: u64,
    /// Messages that nobody published.
    pub(crate) invented: u64,
    /// Deliveries or confirms that the protocol does not allow.
    pub(crate) protocol: u64,
    /// Messages that the broker refused to take.
    pub(crate) refused: u64,
    /// Messages that the broker neither confirmed nor refused.
    pub(crate) unconfirmed: u64,
    /// The first of them in words.
    pub(crate) samples: Vec<String>,
}

impl Faults {
    /// Describes a fault, unless there are enough descriptions.
    #[cold]
    pub(crate) fn describe(&mut self, text: impl FnOnce() -> String) {
        if self.samples.len() < SAMPLES_MAX {
            self.samples.push(text());
        }
    }

    /// Counts messages of a stream (queue and producer) as lost, and tells how many; all have
    /// numbers under `end`.
    fn lose(&mut self, missing: &[Range<u64>], stream: (usize, usize), end: u64) -> u64 {
        let mut count = 0;
        let (queue, producer) = stream;
        for (index, range) in missing.iter().enumerate() {
            count += range.end.saturating_sub(range.start);
            if index < RANGES_MAX {
                self.describe(|| {
                    format!(
                        "queue {queue}: {} to {} of producer {producer} are missing \
                         ({end} published)",
                        range.start,
                        range.end.saturating_sub(1)
                    )
                });
            }
        }
        self.lost += count;
        count
    }

    /// Name and number of each kind.
    pub(crate) const fn counts(&self) -> [(&'static str, u64); 10] {
        [
            ("lost", self.lost),
            ("duplicated", self.duplicated),
            ("reordered", self.reordered),
            ("corrupt", self.corrupt),
            ("foreign", self.foreign),
            ("misrouted", self.misrouted),
            ("invented", self.invented),
            ("protocol", self.protocol),
            ("refused", self.refused),
            ("unconfirmed", self.unconfirmed),
        ]
    }

    /// How many there are.
    pub(crate) fn total(&self) -> u64 {
        self.counts().iter().map(|(_, count)| count).sum()
    }

    /// Adds those of another thread.
    pub(crate) fn add(&mut self, other: Self) {
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.corrupt += other.corrupt;
        self.foreign += other.foreign;
        self.misrouted += other.misrouted;
        self.invented += other.invented;
        self.protocol += other.protocol;
        self.refused += other.refused;
        self.unconfirmed += other.unconfirmed;
        self.samples.extend(other.samples);
        self.samples.truncate(SAMPLES_MAX);
    }
}

/// One per run, on the thread of the consumers.
#[derive(Debug)]
pub(crate) struct Verifier {
    topology: Topology,
    /// Token of the run; `None` until the first message tells it, if another process published.
    run: Option<u16>,
    pattern: Pattern,
    /// By place of the stream.
    received: Vec<Received>,
    /// Lowest sequence number in order, by consumer and then producer of its queue.
    next: Vec<u64>,
    /// What was wrong up to now.
    pub(crate) faults: Faults,
}

impl Verifier {
    /// One that has seen nothing yet and knows who published: this process.
    pub(crate) fn new(topology: Topology) -> Self {
        Self { run: Some(topology.run), ..Self::of_unknown_run(topology) }
    }

    /// One for messages that another process has published. The first message tells the run.
    pub(crate) fn of_unknown_run(topology: Topology) -> Self {
        let streams = topology.queues.saturating_mul(topology.producers_each());
        let views = topology.consumers.saturating_mul(topology.producers_each());
        Self {
            topology,
            run: None,
            pattern: Pattern::new(topology.body_bytes),
            received: (0..streams).map(|_| Received::default()).collect(),
            next: vec![0; views],
            faults: Faults::default(),
        }
    }

    /// Octets of the body before the pattern.
    pub(crate) const fn head_bytes(&self) -> usize {
        head_bytes(self.topology.body_bytes)
    }

    /// Octets of every body.
    pub(crate) const fn body_bytes(&self) -> usize {
        self.topology.body_bytes
    }

    /// Takes a whole body; tells when it was meant to be sent, unless something was wrong.
    #[inline]
    pub(crate) fn on_body(&mut self, consumer: usize, body: &[u8]) -> Option<u64> {
        let Some((head, rest)) = body.split_at_checked(self.head_bytes()) else {
            self.corrupt(consumer, "too short");
            return None;
        };
        let head = self.on_head(consumer, head)?;
        if body.len() != self.topology.body_bytes || !self.pattern.fits(head.shift, 0, rest) {
            self.corrupt(consumer, "wrong length or octets");
            return None;
        }
        self.on_message(consumer, head)
    }

    /// Takes the head of a body that comes in pieces.
    #[inline]
    pub(crate) fn on_head(&mut self, consumer: usize, octets: &[u8]) -> Option<Head> {
        let head = Head::read(octets);
        if head.is_none() {
            self.corrupt(consumer, "wrong checksum");
        }
        head
    }

    /// Checks a piece of a body, `position` octets behind its head.
    pub(crate) fn is_piece(&self, head: Head, position: usize, piece: &[u8]) -> bool {
        self.pattern.fits(head.shift, position, piece)
    }

    /// Counts a body with wrong octets.
    #[cold]
    pub(crate) fn corrupt(&mut self, consumer: usize, what: &str) {
        self.faults.corrupt += 1;
        self.faults.describe(|| format!("consumer {consumer}: corrupt body: {what}"));
    }

    /// Takes a message whose body is right.
    #[inline]
    pub(crate) fn on_message(&mut self, consumer: usize, head: Head) -> Option<u64> {
        let producer = usize::from(head.producer);
        let queue = consumer.checked_rem(self.topology.queues)?;
        if *self.run.get_or_insert(head.run) != head.run {
            return self.foreign(consumer, head);
        }
        let stream = self.topology.stream(producer, queue);
        let Some(received) = stream.and_then(|stream| self.received.get_mut(stream)) else {
            return self.misrouted(queue, head);
        };
        let sequence = head.sequence.near(received.base());
        let insert = received.insert(sequence);
        let view = self.topology.place(producer, queue, consumer)?;
        let next = self.next.get_mut(view)?;
        let expected = *next;
        *next = expected.max(sequence.saturating_add(1));
        match insert {
            Insert::New if sequence >= expected || !self.topology.is_ordered => Some(head.time_ns),
            Insert::New => self.reordered(consumer, producer, (sequence, expected)),
            Insert::Again => self.duplicated(consumer, producer, sequence),
            Insert::TooFar => {
                *next = expected;
                self.corrupt(consumer, "sequence number out of range");
                None
            }
        }
    }

    #[cold]
    fn foreign(&mut self, consumer: usize, head: Head) -> Option<u64> {
        self.faults.foreign += 1;
        self.faults.describe(|| format!("consumer {consumer}: message of run {}", head.run));
        None
    }

    #[cold]
    fn misrouted(&mut self, queue: usize, head: Head) -> Option<u64> {
        self.faults.misrouted += 1;
        self.faults.describe(|| format!("queue {queue}: message of producer {}", head.producer));
        None
    }

    #[cold]
    fn reordered(&mut self, consumer: usize, producer: usize, found: (u64, u64)) -> Option<u64> {
        self.faults.reordered += 1;
        let (sequence, expected) = found;
        self.faults.describe(|| {
            format!("consumer {consumer}: {sequence} of producer {producer} after {expected} - 1")
        });
        None
    }

    #[cold]
    fn duplicated(&mut self, consumer: usize, producer: usize, sequence: u64) -> Option<u64> {
        self.faults.duplicated += 1;
        self.faults.describe(|| {
            format!("consumer {consumer}: {sequence} of producer {producer} came again")
        });
        None
    }

    /// What was wrong, now that producer `p` is known to have sent `published[p]` messages.
    pub(crate) fn finish(mut self, published: &[u64]) -> Faults {
        if self.topology.consumers == 0 {
            return self.faults;
        }
        for queue in 0..self.topology.queues {
            for (producer, &published) in published.iter().enumerate() {
                let Some(stream) = self.topology.stream(producer, queue) else { continue };
                let Some(received) = self.received.get(stream) else { continue };
                self.faults.invented += received.count_from(published);
                let missing = received.missing(published);
                self.faults.lose(&missing, (queue, producer), published);
            }
        }
        self.faults
    }

    /// What was wrong, if nobody knows how many messages each producer has sent. Everything
    /// between the lowest and the highest number of a stream must have come; before it there may
    /// have been messages that somebody else took. `expected` is the number of messages in all.
    pub(crate) fn finish_unknown(mut self, expected: Option<u64>) -> Faults {
        let (mut arrived, mut missing_total) = (0_u64, 0_u64);
        for queue in 0..self.topology.queues {
            for producer in 0..self.topology.producers {
                let Some(stream) = self.topology.stream(producer, queue) else { continue };
                let Some(received) = self.received.get(stream) else { continue };
                let mut missing = received.missing(received.end());
                missing.retain(|range| range.start > 0);
                missing_total += self.faults.lose(&missing, (queue, producer), received.end());
                arrived += received.count();
            }
        }
        let Some(expected) = expected else { return self.faults };
        let absent = expected.saturating_sub(arrived).saturating_sub(missing_total);
        let surplus = arrived.saturating_sub(expected);
        self.faults.lost += absent;
        self.faults.invented += surplus;
        if absent > 0 || surplus > 0 {
            self.faults.describe(|| format!("{arrived} messages came, {expected} were expected"));
        }
        self.faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Stamp;

    const TOPOLOGY: Topology = Topology {
        run: 9,
        body_bytes: 100,
        producers: 2,
        consumers: 2,
        queues: 1,
        topics: 1,
        is_ordered: true,
    };

    fn body(topology: Topology, producer: u16, sequence: u64) -> Vec<u8> {
        let shift = Pattern::shift_of(usize::try_from(sequence).unwrap());
        let stamp = Stamp { run: topology.run, producer, sequence, time_ns: 55, shift };
        let size = topology.body_bytes;
        let pattern = Pattern::new(size);
        if size < 32 {
            let rest = pattern.part(0, 0, size - 16).unwrap();
            return [&stamp.to_short_octets()[..], rest].concat();
        }
        let rest = pattern.part(shift.try_into().unwrap(), 0, size - 32).unwrap();
        [&stamp.to_octets()[..], rest].concat()
    }

    /// Feeds (consumer, producer, sequence) and tells what was found wrong.
    fn verdict(topology: Topology, fed: &[(usize, u16, u64)], published: &[u64]) -> Faults {
        let mut verifier = Verifier::new(topology);
        for &(consumer, producer, sequence) in fed {
            verifier.on_body(consumer, &body(topology, producer, sequence));
        }
        verifier.finish(published)
    }

    #[test]
    fn everything_once_and_in_order_is_no_fault() {
        for body_bytes in [16, 17, 31, 32, 33, 100] {
            let topology = Topology { body_bytes, ..TOPOLOGY };
            let fed = [(0, 0, 0), (0, 1, 0), (1, 0, 1), (0, 0, 2), (1, 1, 1)];
            assert_eq!(verdict(topology, &fed, &[3, 2]).total(), 0, "{body_bytes} octets");
        }
    }

    #[test]
    fn a_body_tells_its_time() {
        let mut verifier = Verifier::new(TOPOLOGY);
        assert_eq!(verifier.on_body(0, &body(TOPOLOGY, 0, 0)), Some(55));
    }

    #[test]
    fn a_lost_message_is_reported() {
        let faults = verdict(TOPOLOGY, &[(0, 0, 0), (0, 0, 2)], &[4, 0]);
        assert_eq!((faults.lost, faults.total()), (2, 2));
        assert!(faults.samples[0].contains("1 to 1 of producer 0"), "{:?}", faults.samples);
    }

    #[test]
    fn a_message_that_comes_twice_is_reported_whoever_gets_it() {
        assert_eq!(verdict(TOPOLOGY, &[(0, 0, 0), (0, 0, 0)], &[1, 0]).duplicated, 1);
        assert_eq!(verdict(TOPOLOGY, &[(0, 0, 0), (1, 0, 0)], &[1, 0]).duplicated, 1);
    }

    #[test]
    fn an_overtaken_message_is_reported() {
        let faults = verdict(TOPOLOGY, &[(0, 0, 0), (0, 0, 2), (0, 0, 1)], &[3, 0]);
        assert_eq!((faults.reordered, faults.total()), (1, 1));
    }

    #[test]
    fn two_consumers_of_a_queue_may_be_ahead_of_each_other() {
        let fed = [(1, 0, 1), (1, 0, 3), (0, 0, 0), (0, 0, 2)];
        assert_eq!(verdict(TOPOLOGY, &fed, &[4, 0]).total(), 0);
    }

    #[test]
    fn a_changed_octet_of_the_body_is_reported() {
        let mut verifier = Verifier::new(TOPOLOGY);
        for position in [0, 15, 31, 32, 99] {
            let mut body = body(TOPOLOGY, 0, 0);
            body[position] ^= 1;
            assert_eq!(verifier.on_body(0, &body), None);
        }
        assert_eq!(verifier.on_body(0, &body(TOPOLOGY, 0, 0)[..99]), None);
        assert_eq!(verifier.faults.corrupt, 6);
    }

    #[test]
    fn a_message_of_another_run_or_queue_is_reported() {
        let other_run = Topology { run: 8, ..TOPOLOGY };
        let two_queues = Topology { queues: 2, topics: 2, ..TOPOLOGY };
        let mut verifier = Verifier::new(two_queues);
        verifier.on_body(0, &body(other_run, 0, 0));
        verifier.on_body(1, &body(two_queues, 0, 0));
        assert_eq!((verifier.faults.foreign, verifier.faults.misrouted), (1, 1));
    }

    #[test]
    fn a_message_that_nobody_published_is_reported() {
        assert_eq!(verdict(TOPOLOGY, &[(0, 0, 0), (0, 0, 1)], &[1, 0]).invented, 1);
    }

    /// As `verdict`, without knowledge of what was published.
    fn verdict_unknown(fed: &[(usize, u16, u64)], expected: Option<u64>) -> Faults {
        let mut verifier = Verifier::of_unknown_run(TOPOLOGY);
        for &(consumer, producer, sequence) in fed {
            verifier.on_body(consumer, &body(Topology { run: 77, ..TOPOLOGY }, producer, sequence));
        }
        verifier.finish_unknown(expected)
    }

    #[test]
    fn messages_of_another_process_count_from_the_first_that_came() {
        let fed = [(0, 0, 501), (1, 0, 500), (0, 1, 70), (0, 0, 502)];
        assert_eq!(verdict_unknown(&fed, None).total(), 0);
        assert_eq!(verdict_unknown(&fed, Some(4)).total(), 0);
        assert_eq!(verdict_unknown(&[], Some(0)).total(), 0);
    }

    #[test]
    fn a_gap_in_messages_of_another_process_is_a_loss() {
        let fed = [(0, 0, 500), (0, 0, 503), (0, 1, 0)];
        let faults = verdict_unknown(&fed, None);
        assert_eq!((faults.lost, faults.total()), (2, 2));
        // Of the ten expected two are in the gap, and five nowhere.
        assert_eq!(verdict_unknown(&fed, Some(10)).lost, 7);
        assert_eq!(verdict_unknown(&fed, Some(2)).invented, 1);
    }

    #[test]
    fn messages_of_another_process_are_of_one_run_and_come_once_and_in_order() {
        let mut verifier = Verifier::of_unknown_run(TOPOLOGY);
        for (run, sequence) in [(1, 5), (2, 6), (1, 7), (1, 7), (1, 6)] {
            verifier.on_body(0, &body(Topology { run, ..TOPOLOGY }, 0, sequence));
        }
        let faults = verifier.finish_unknown(None);
        assert_eq!((faults.foreign, faults.duplicated, faults.reordered), (1, 1, 1));
        assert_eq!(faults.total(), 3);
    }

    #[test]
    fn several_topics_may_each_reach_several_queues() {
        let topology = Topology { queues: 4, topics: 2, consumers: 4, producers: 3, ..TOPOLOGY };
        assert_eq!(topology.copies(), 2);
        let fed = [(0, 0, 0), (2, 0, 0), (1, 1, 0), (3, 1, 0), (0, 2, 0), (2, 2, 0)];
        assert_eq!(verdict(topology, &fed, &[1, 1, 1]).total(), 0);
        assert_eq!(verdict(topology, &fed[1..], &[1, 1, 1]).lost, 1);
        assert_eq!(verdict(topology, &[(1, 0, 0)], &[0, 0, 0]).misrouted, 1);
    }

    #[test]
    fn order_may_be_of_no_matter() {
        let topology = Topology { is_ordered: false, ..TOPOLOGY };
        assert_eq!(verdict(topology, &[(0, 0, 1), (0, 0, 0)], &[2, 0]).total(), 0);
    }

    #[test]
    fn each_queue_of_a_fanout_gets_every_message() {
        let fanout = Topology { queues: 2, ..TOPOLOGY };
        let fed = [(0, 0, 0), (1, 0, 0), (0, 1, 0)];
        assert_eq!(verdict(fanout, &fed, &[1, 1]).lost, 1);
    }
}
