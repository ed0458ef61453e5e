//! What the log's records say: messages, how they ended, and what else has to outlive the process.
//! Octets <-> values, little-endian; the log around them has the checksums.
//!
//! May import `origin`, `record`, `message`, the uids of definitions and of `ringmq_shards` the names
//! of things on disk.

use std::rc::Rc;

use ringmq_shards::log::{Lsn, QueueUid};

use super::origin::{self, Ended, Line, Open, Origin};
use crate::broker::definitions::ExchangeUid;
use crate::broker::record;
use crate::message::Message;

/// A message has come into a queue: uid, position, arrival, the message.
pub(crate) const MESSAGE: u16 = 1;
/// The message of an earlier record has come into one more queue: uid, position, arrival, its lsn.
pub(crate) const AGAIN: u16 = 2;
/// Messages of queues of one group are done with: any number of (uid, first position, count).
pub(crate) const SETTLED: u16 = 3;
/// A message came back and that counts: uid, position, count.
pub(crate) const RETURNED: u16 = 4;
/// Messages below a position may have been out: uid, position.
pub(crate) const HANDED_OUT: u16 = 5;
/// A definition, see `broker::definitions`.
pub(crate) const DEFINITION: u16 = 6;
/// A message waits until it is due: position, due, uid of its exchange, further keys, the message.
pub(crate) const DELAYED: u16 = 7;

/// Messages that their consumer has received and that are not done with: uid, any number of positions.
pub(crate) const RECEIVED: u16 = 8;
/// Numbers of messages that a session's client has published: uid, whether they are held (1) or let
/// go (0), any number of numbers.
pub(crate) const RECEIPTS: u16 = 9;
/// A will, again each time it changes: position, due ([`PARKED`]: its client is connected), delay,
/// whether it is retained (1), virtual host and session, the message.
pub(crate) const WILL: u16 = 10;

/// As [`HANDED_OUT`], exactly; and nobody takes messages of the queue until one of those says more.
pub(crate) const RESTS: u16 = 11;
/// A [`MESSAGE`] that is to come exactly once: whose it is, then the same.
pub(crate) const MESSAGE_OF: u16 = 12;
/// A use of a number has ended, see `origin`.
pub(crate) const ENDED: u16 = 13;
/// A number was open at the start and still is, see `origin`.
pub(crate) const OPEN: u16 = 14;
/// The uses of this shard in this boot that are over, see `origin`.
pub(crate) const LINE: u16 = 15;

/// When a will is due whose client is connected.
pub(crate) const PARKED: u64 = u64::MAX;

/// Whose positions those of waiting messages and of wills are in a [`SETTLED`]: no queue has this uid, and no
/// two messages of a data directory have the same position.
pub(crate) const DELAYED_UID: QueueUid = QueueUid(u64::MAX);

/// Neighbouring positions of one queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SettledRun {
    /// The queue's group.
    pub(crate) group: u16,
    /// The queue.
    pub(crate) queue: QueueUid,
    /// The first.
    pub(crate) from: u64,
    /// The one after the last.
    pub(crate) to: u64,
}

/// Where a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// The queue.
    pub(crate) queue: QueueUid,
    /// The position.
    pub(crate) position: u64,
    /// When it came, monotonic milliseconds.
    pub(crate) arrived_ms: u64,
}

/// A message that waits until it is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delayed {
    /// Its number, of [`DELAYED_UID`].
    pub(crate) position: u64,
    /// When it is due, milliseconds of `Now::mono_ms`.
    pub(crate) due_ms: u64,
    /// Where it is published then.
    pub(crate) exchange: ExchangeUid,
    /// Its keys beyond its own.
    pub(crate) keys: Vec<Box<str>>,
}

/// A will.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parked {
    /// Its number, of [`DELAYED_UID`].
    pub(crate) position: u64,
    /// When it is due, milliseconds of `Now::mono_ms`, or [`PARKED`].
    pub(crate) due_ms: u64,
    /// How long it waits when its client is gone.
    pub(crate) delay_ms: u64,
    /// It becomes the retained message of its topic.
    pub(crate) retain: bool,
    /// The virtual host.
    pub(crate) vhost: Box<str>,
    /// The name of the queue of its client's session.
    pub(crate) session: Box<str>,
}

/// What a record says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Saying<'a> {
    /// See [`MESSAGE`]; `message` is for [`read_message`].
    Message { place: Place, message: &'a [u8] },
    /// See [`MESSAGE_OF`]; likewise.
    MessageOf { origin: Origin, place: Place, message: &'a [u8] },
    /// See [`AGAIN`].
    Again { place: Place, of: Lsn },
    /// See [`SETTLED`].
    Settled(Vec<SettledRun>),
    /// See [`RETURNED`].
    Returned { queue: QueueUid, position: u64, count: u32 },
    /// See [`HANDED_OUT`].
    HandedOut { queue: QueueUid, below: u64 },
    /// See [`RESTS`].
    Rests { queue: QueueUid, below: u64 },
    /// See [`DEFINITION`].
    Definition(&'a [u8]),
    /// See [`DELAYED`]; `message` is for [`read_message`].
    Delayed { delayed: Delayed, message: &'a [u8] },
    /// See [`RECEIVED`].
    Received { queue: QueueUid, positions: Vec<u64> },
    /// See [`RECEIPTS`].
    Receipts { queue: QueueUid, held: bool, numbers: Vec<u16> },
    /// See [`ENDED`].
    Ended(Ended),
    /// See [`OPEN`].
    Open(Open),
    /// See [`LINE`].
    Line(Line),
    /// See [`WILL`]; `message` is for [`read_message`].
    Will { will: Parked, message: &'a [u8] },
}

fn put_place(place: Place, out: &mut Vec<u8>) {
    out.extend_from_slice(&place.queue.0.to_le_bytes());
    out.extend_from_slice(&place.position.to_le_bytes());
    out.extend_from_slice(&place.arrived_ms.to_le_bytes());
}

/// Writes a [`MESSAGE`].
pub(crate) fn write_message(place: Place, message: &Message, out: &mut Vec<u8>) {
    put_place(place, out);
    record::write_whole(message, out);
}

/// Writes an [`AGAIN`].
pub(crate) fn write_again(place: Place, of: Lsn, out: &mut Vec<u8>) {
    put_place(place, out);
    out.extend_from_slice(&of.0.to_le_bytes());
}

/// Writes one run of a [`SETTLED`]; the group is the record's.
pub(crate) fn write_run(run: SettledRun, out: &mut Vec<u8>) {
    out.extend_from_slice(&run.queue.0.to_le_bytes());
    out.extend_from_slice(&run.from.to_le_bytes());
    out.extend_from_slice(&run.to.saturating_sub(run.from).to_le_bytes());
}

/// Writes a [`RETURNED`].
pub(crate) fn write_returned(queue: QueueUid, position: u64, count: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&queue.0.to_le_bytes());
    out.extend_from_slice(&position.to_le_bytes());
    out.extend_from_slice(&count.to_le_bytes());
}

/// Writes a [`HANDED_OUT`] or a [`RESTS`].
pub(crate) fn write_handed_out(queue: QueueUid, below: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&queue.0.to_le_bytes());
    out.extend_from_slice(&below.to_le_bytes());
}

/// Writes a [`DELAYED`].
pub(crate) fn write_delayed(
    (position, due_ms): (u64, u64),
    exchange: ExchangeUid,
    keys: &[Box<str>],
    message: &Message,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(&position.to_le_bytes());
    out.extend_from_slice(&due_ms.to_le_bytes());
    out.extend_from_slice(&exchange.0.to_le_bytes());
    record::write_keys(keys, out);
    record::write_whole(message, out);
}

/// Writes a [`RECEIVED`].
pub(crate) fn write_received(queue: QueueUid, positions: &[u64], out: &mut Vec<u8>) {
    out.extend_from_slice(&queue.0.to_le_bytes());
    positions.iter().for_each(|at| out.extend_from_slice(&at.to_le_bytes()));
}

/// Writes a [`RECEIPTS`].
pub(crate) fn write_receipts((queue, held): (QueueUid, bool), numbers: &[u16], out: &mut Vec<u8>) {
    out.extend_from_slice(&queue.0.to_le_bytes());
    out.push(u8::from(held));
    numbers.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
}

/// Writes a [`WILL`].
pub(crate) fn write_will(will: &Parked, message: &Message, out: &mut Vec<u8>) {
    let Parked { position, due_ms, delay_ms, retain, vhost, session } = will;
    for number in [position, due_ms, delay_ms] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.push(u8::from(*retain));
    record::write_keys(&[vhost.clone(), session.clone()], out);
    record::write_whole(message, out);
}

fn read_will<'a>(cursor: &mut Cursor<'a>) -> Option<Saying<'a>> {
    let (position, due_ms, delay_ms) = (cursor.u64()?, cursor.u64()?, cursor.u64()?);
    let retain = cursor.bool()?;
    let (names, message) = record::read_keys(cursor.0)?;
    let [vhost, session] = names.try_into().ok()?;
    let will = Parked { position, due_ms, delay_ms, retain, vhost, session };
    Some(Saying::Will { will, message })
}

/// Reads any of them. `None`: no record of ours, which the caller reports.
pub(crate) fn read(kind: u16, group: u16, payload: &[u8]) -> Option<Saying<'_>> {
    let mut cursor = Cursor(payload);
    let saying = match kind {
        MESSAGE => {
            let place = cursor.place()?;
            return Some(Saying::Message { place, message: cursor.0 });
        }
        MESSAGE_OF => {
            let (origin, rest) = origin::read_origin(payload)?;
            let mut cursor = Cursor(rest);
            let place = cursor.place()?;
            return Some(Saying::MessageOf { origin, place, message: cursor.0 });
        }
        ENDED => return origin::read_ended(payload).map(Saying::Ended),
        OPEN => return origin::read_open(payload).map(Saying::Open),
        LINE => return origin::read_line(payload).map(Saying::Line),
        AGAIN => Saying::Again { place: cursor.place()?, of: Lsn(cursor.u64()?) },
        SETTLED => {
            let mut runs = Vec::new();
            while !cursor.0.is_empty() {
                let (queue, from) = (QueueUid(cursor.u64()?), cursor.u64()?);
                let to = from.checked_add(cursor.u64()?)?;
                runs.push(SettledRun { group, queue, from, to });
            }
            Saying::Settled(runs)
        }
        RETURNED => Saying::Returned {
            queue: QueueUid(cursor.u64()?),
            position: cursor.u64()?,
            count: cursor.u32()?,
        },
        HANDED_OUT => Saying::HandedOut { queue: QueueUid(cursor.u64()?), below: cursor.u64()? },
        RESTS => Saying::Rests { queue: QueueUid(cursor.u64()?), below: cursor.u64()? },
        DEFINITION => return Some(Saying::Definition(cursor.0)),
        DELAYED => {
            let (position, due_ms) = (cursor.u64()?, cursor.u64()?);
            let exchange = ExchangeUid(cursor.u64()?);
            let (keys, message) = record::read_keys(cursor.0)?;
            let delayed = Delayed { position, due_ms, exchange, keys };
            return Some(Saying::Delayed { delayed, message });
        }
        RECEIVED => {
            let queue = QueueUid(cursor.u64()?);
            let mut positions = Vec::with_capacity(cursor.0.len() / size_of::<u64>());
            while !cursor.0.is_empty() {
                positions.push(cursor.u64()?);
            }
            Saying::Received { queue, positions }
        }
        WILL => return read_will(&mut cursor),
        RECEIPTS => {
            let queue = QueueUid(cursor.u64()?);
            let held = cursor.bool()?;
            let mut numbers = Vec::with_capacity(cursor.0.len() / size_of::<u16>());
            while !cursor.0.is_empty() {
                numbers.push(cursor.u16()?);
            }
            Saying::Receipts { queue, held, numbers }
        }
        _ => return None,
    };
    cursor.0.is_empty().then_some(saying)
}

/// What such a message names as its exchange.
pub(crate) fn exchange_of(message: &[u8]) -> Option<&str> {
    record::exchange_of(message)
}

/// Makes a message of what [`write_message`] wrote of it, or a segment keeps.
pub(crate) fn read_message(
    octets: &[u8],
    names: &mut impl FnMut(&str) -> Rc<str>,
) -> Option<Message> {
    record::read_whole(octets, names)
}

struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn u64(&mut self) -> Option<u64> {
        let (front, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*front))
    }

    fn bool(&mut self) -> Option<bool> {
        let (front, rest) = self.0.split_first()?;
        self.0 = rest;
        match front {
            0 => Some(false),
            1 => Some(true),
            2.. => None,
        }
    }

    fn u16(&mut self) -> Option<u16> {
        let (front, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u16::from_le_bytes(*front))
    }

    fn u32(&mut self) -> Option<u32> {
        let (front, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*front))
    }

    fn place(&mut self) -> Option<Place> {
        Some(Place { queue: QueueUid(self.u64()?), position: self.u64()?, arrived_ms: self.u64()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::queue::testing::message;

    const PLACE: Place = Place { queue: QueueUid(7), position: 1 << 41, arrived_ms: 3 };

    #[test]
    fn a_message_comes_back_as_it_was() {
        let mut out = Vec::new();
        let original = message("hello");
        write_message(PLACE, &original, &mut out);
        let Some(Saying::Message { place, message }) = read(MESSAGE, 0, &out) else { panic!() };
        assert_eq!(place, PLACE);
        assert_eq!(read_message(message, &mut |n| n.into()), Some(original));
    }

    #[test]
    fn a_waiting_message_comes_back_with_its_keys_and_never_when_cut() {
        let original = message("hello");
        let keys: Vec<Box<str>> = vec!["one".into(), "".into()];
        let mut out = Vec::new();
        write_delayed((1 << 44, 99), ExchangeUid(5), &keys, &original, &mut out);
        let Some(Saying::Delayed { delayed, message }) = read(DELAYED, 0, &out) else { panic!() };
        let exchange = ExchangeUid(5);
        assert_eq!(delayed, Delayed { position: 1 << 44, due_ms: 99, exchange, keys });
        assert_eq!(read_message(message, &mut |n| n.into()), Some(original));
        for cut in 0..out.len() {
            let message = match read(DELAYED, 0, &out[..cut]) {
                Some(Saying::Delayed { message, .. }) => message,
                Some(other) => panic!("{other:?}"),
                None => continue,
            };
            assert_eq!(read_message(message, &mut |n| n.into()), None, "cut at {cut}");
        }
    }

    #[test]
    fn a_will_comes_back_with_its_session_and_never_when_cut() {
        let original = message("hello");
        let (vhost, session) = ("/".into(), "of a client".into());
        let (position, due_ms) = (1 << 44, PARKED);
        let will = Parked { position, due_ms, delay_ms: 9, retain: true, vhost, session };
        let mut out = Vec::new();
        write_will(&will, &original, &mut out);
        let Some(Saying::Will { will: back, message }) = read(WILL, 0, &out) else { panic!() };
        assert_eq!((back, read_message(message, &mut |n| n.into())), (will, Some(original)));
        for cut in 0..out.len() {
            let message = match read(WILL, 0, &out[..cut]) {
                Some(Saying::Will { message, .. }) => message,
                Some(other) => panic!("{other:?}"),
                None => continue,
            };
            assert_eq!(read_message(message, &mut |n| n.into()), None, "cut at {cut}");
        }
    }

    #[test]
    fn the_other_sayings_come_back_and_are_refused_when_cut() {
        let mut out = Vec::new();
        write_again(PLACE, Lsn(9), &mut out);
        assert_eq!(read(AGAIN, 0, &out), Some(Saying::Again { place: PLACE, of: Lsn(9) }));
        assert_eq!(read(AGAIN, 0, &out[1..]), None);
        out.clear();
        let runs = [(1, 0, 5), (1, 9, 10), (2, 1 << 40, (1 << 40) + 3)];
        let runs =
            runs.map(|(queue, from, to)| SettledRun { group: 4, queue: QueueUid(queue), from, to });
        runs.iter().for_each(|run| write_run(*run, &mut out));
        assert_eq!(read(SETTLED, 4, &out), Some(Saying::Settled(runs.to_vec())));
        assert_eq!(read(SETTLED, 4, &out[..out.len() - 1]), None);
        out.clear();
        write_returned(QueueUid(1), 5, 6, &mut out);
        let back = Saying::Returned { queue: QueueUid(1), position: 5, count: 6 };
        assert_eq!(read(RETURNED, 0, &out), Some(back));
        assert_eq!(read(99, 0, &out), None);
        out.clear();
        write_handed_out(QueueUid(1), 5, &mut out);
        let back = Saying::HandedOut { queue: QueueUid(1), below: 5 };
        assert_eq!(read(HANDED_OUT, 0, &out), Some(back));
        out.push(0);
        assert_eq!(read(HANDED_OUT, 0, &out), None);
    }

    #[test]
    fn what_was_received_comes_back_and_never_half_of_a_position() {
        let mut out = Vec::new();
        write_received(QueueUid(7), &[1, 1 << 41], &mut out);
        for cut in 0..=out.len() {
            let whole = cut >= 8 && cut % 8 == 0;
            let positions = [1, 1 << 41].into_iter().take(cut.saturating_sub(8) / 8).collect();
            let expected = whole.then_some(Saying::Received { queue: QueueUid(7), positions });
            assert_eq!(read(RECEIVED, 0, &out[..cut]), expected, "cut at {cut}");
        }
    }

    #[test]
    fn numbers_of_published_messages_come_back_and_never_half_of_one() {
        for held in [true, false] {
            let mut out = Vec::new();
            write_receipts((QueueUid(7), held), &[1, 65_535], &mut out);
            for cut in 0..=out.len() {
                let whole = cut >= 9 && cut % 2 == 1;
                let numbers = [1, 65_535].into_iter().take(cut.saturating_sub(9) / 2).collect();
                let receipts = Saying::Receipts { queue: QueueUid(7), held, numbers };
                let expected = whole.then_some(receipts);
                assert_eq!(read(RECEIPTS, 0, &out[..cut]), expected, "cut at {cut}");
            }
            out[8] = 2;
            assert_eq!(read(RECEIPTS, 0, &out), None);
        }
    }
}
