//! Messages that are to come exactly once: whose they are, beside their records in the log, so that
//! a restart can tell which of them have come to which queues although their receipts have not.
//!
//! ```text
//!   shard of the queues:    message, of use u        shard of the session:    use u is over: the number is held
//!                           ^ durable ----------------------------------------> only then durable
//! ```
//!
//! A publish is one use of a number of its session. A restart that finds the message of a use but not
//! its end knows a number that is open: should the message come again, those who have it are left
//! out. What a shard has ended stands in its log as long as the file does, and when a file is left a
//! line is drawn: all uses before it are over, but for these. A message that is written again later,
//! or lies in a segment, says no more whose it is: its use was over long before, unless the shard of
//! the session was slower by whole files of the log.
//!
//! May import of `ringmq_shards` the names of things on disk.

use ringmq_shards::log::QueueUid;

/// Whose a message is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The queue of the session that published it.
    pub(crate) session: QueueUid,
    /// The shard of that session.
    pub(crate) shard: u16,
    /// Its number there.
    pub(crate) number: u16,
    /// Which use of the number: ascending within a shard and from boot to boot.
    pub(crate) used: u64,
    /// Where it has come already.
    pub(crate) reached: Option<Box<Reached>>,
}

/// Where a message has come before its use ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reached {
    /// These queues, each for itself.
    pub(crate) queues: Vec<QueueUid>,
    /// A member of each of the groups with these addresses.
    pub(crate) groups: Vec<Box<str>>,
}

impl Reached {
    /// One more place: a queue, or a group in the person of that queue.
    pub(crate) fn add(&mut self, queue: QueueUid, group: Option<&str>) {
        match group {
            Some(group) if !self.groups.iter().any(|known| **known == *group) => {
                self.groups.push(group.into());
            }
            None if !self.queues.contains(&queue) => self.queues.push(queue),
            Some(_) | None => {}
        }
    }

    /// Both together.
    pub(crate) fn merge(&mut self, other: Self) {
        other.queues.into_iter().for_each(|queue| self.add(queue, None));
        other.groups.iter().for_each(|group| self.add(QueueUid(0), Some(group)));
    }
}

/// The end of a use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    /// The queue of the session.
    pub(crate) session: QueueUid,
    /// The number.
    pub(crate) number: u16,
    /// Which use of it.
    pub(crate) used: u64,
    /// The message has come everywhere: the number is held from now on. Otherwise it was refused.
    pub(crate) held: bool,
}

/// A number that was open at a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Open {
    /// The queue of the session.
    pub(crate) session: QueueUid,
    /// The number.
    pub(crate) number: u16,
    /// Where its message has come.
    pub(crate) reached: Reached,
}

/// A line drawn below the uses of a shard in this boot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Line {
    /// All uses before this are over,
    pub(crate) below: u64,
    /// but for these.
    pub(crate) but: Vec<u64>,
}

impl Line {
    /// Whether a use is over.
    pub(crate) fn is_over(&self, used: u64) -> bool {
        used < self.below && !self.but.contains(&used)
    }
}

/// Writes what stands before a message in its record.
pub(crate) fn write_origin(origin: &Origin, out: &mut Vec<u8>) {
    out.extend_from_slice(&origin.session.0.to_le_bytes());
    out.extend_from_slice(&origin.shard.to_le_bytes());
    out.extend_from_slice(&origin.number.to_le_bytes());
    out.extend_from_slice(&origin.used.to_le_bytes());
}

/// The other way round, and the rest.
pub(crate) fn read_origin(octets: &[u8]) -> Option<(Origin, &[u8])> {
    let (session, rest) = u64_of(octets)?;
    let (shard, rest) = u16_of(rest)?;
    let (number, rest) = u16_of(rest)?;
    let (used, rest) = u64_of(rest)?;
    let origin = Origin { session: QueueUid(session), shard, number, used, reached: None };
    Some((origin, rest))
}

/// Writes the end of a use.
pub(crate) fn write_ended(ended: &Ended, out: &mut Vec<u8>) {
    out.extend_from_slice(&ended.session.0.to_le_bytes());
    out.extend_from_slice(&ended.number.to_le_bytes());
    out.extend_from_slice(&ended.used.to_le_bytes());
    out.push(u8::from(ended.held));
}

/// The other way round.
pub(crate) fn read_ended(octets: &[u8]) -> Option<Ended> {
    let (session, rest) = u64_of(octets)?;
    let (number, rest) = u16_of(rest)?;
    let (used, rest) = u64_of(rest)?;
    let held = match rest {
        [0] => false,
        [1] => true,
        _ => return None,
    };
    Some(Ended { session: QueueUid(session), number, used, held })
}

/// Writes an open number.
pub(crate) fn write_open(session: QueueUid, number: u16, reached: &Reached, out: &mut Vec<u8>) {
    out.extend_from_slice(&session.0.to_le_bytes());
    out.extend_from_slice(&number.to_le_bytes());
    put_count(reached.queues.len(), out);
    reached.queues.iter().for_each(|queue| out.extend_from_slice(&queue.0.to_le_bytes()));
    put_count(reached.groups.len(), out);
    for group in &reached.groups {
        put_count(group.len(), out);
        out.extend_from_slice(group.as_bytes());
    }
}

/// The other way round.
pub(crate) fn read_open(octets: &[u8]) -> Option<Open> {
    let (session, rest) = u64_of(octets)?;
    let (number, rest) = u16_of(rest)?;
    let (count, mut rest) = u32_of(rest)?;
    let mut reached = Reached::default();
    for _ in 0..count {
        let (queue, left) = u64_of(rest)?;
        reached.queues.push(QueueUid(queue));
        rest = left;
    }
    let (count, mut rest) = u32_of(rest)?;
    for _ in 0..count {
        let (bytes, left) = u32_of(rest)?;
        let (name, left) = left.split_at_checked(usize::try_from(bytes).ok()?)?;
        reached.groups.push(std::str::from_utf8(name).ok()?.into());
        rest = left;
    }
    rest.is_empty().then_some(Open { session: QueueUid(session), number, reached })
}

/// Writes a line.
pub(crate) fn write_line(line: &Line, out: &mut Vec<u8>) {
    out.extend_from_slice(&line.below.to_le_bytes());
    line.but.iter().for_each(|used| out.extend_from_slice(&used.to_le_bytes()));
}

/// The other way round.
pub(crate) fn read_line(octets: &[u8]) -> Option<Line> {
    let (below, mut rest) = u64_of(octets)?;
    let mut line = Line { below, but: Vec::new() };
    while !rest.is_empty() {
        let (used, left) = u64_of(rest)?;
        line.but.push(used);
        rest = left;
    }
    Some(line)
}

fn put_count(count: usize, out: &mut Vec<u8>) {
    // A record cannot be so large that this would not fit.
    out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

fn u64_of(octets: &[u8]) -> Option<(u64, &[u8])> {
    octets.split_first_chunk().map(|(front, rest)| (u64::from_le_bytes(*front), rest))
}

fn u32_of(octets: &[u8]) -> Option<(u32, &[u8])> {
    octets.split_first_chunk().map(|(front, rest)| (u32::from_le_bytes(*front), rest))
}

fn u16_of(octets: &[u8]) -> Option<(u16, &[u8])> {
    octets.split_first_chunk().map(|(front, rest)| (u16::from_le_bytes(*front), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_comes_back_and_never_when_cut() {
        let session = QueueUid(7);
        let origin = Origin { session, shard: 3, number: 65_535, used: 1 << 45, reached: None };
        let mut out = Vec::new();
        write_origin(&origin, &mut out);
        for cut in 0..out.len() {
            assert_eq!(read_origin(&out[..cut]), None);
        }
        out.push(9);
        assert_eq!(read_origin(&out), Some((origin, &[9][..])));

        for held in [false, true] {
            let ended = Ended { session, number: 1, used: 2, held };
            out.clear();
            write_ended(&ended, &mut out);
            assert_eq!(read_ended(&out), Some(ended));
            assert!((0..out.len()).all(|cut| read_ended(&out[..cut]).is_none()));
        }

        let mut reached = Reached::default();
        reached.add(QueueUid(1), None);
        reached.add(QueueUid(2), Some("group"));
        reached.add(QueueUid(3), Some("group"));
        reached.add(QueueUid(1), None);
        assert_eq!((reached.queues.len(), reached.groups.len()), (1, 1));
        out.clear();
        write_open(session, 5, &reached, &mut out);
        assert_eq!(read_open(&out), Some(Open { session, number: 5, reached }));
        assert!((0..out.len()).all(|cut| read_open(&out[..cut]).is_none()));

        let line = Line { below: 9, but: vec![3, 5] };
        out.clear();
        write_line(&line, &mut out);
        assert_eq!(read_line(&out), Some(line));
        assert_eq!(read_line(&out[..out.len() - 1]), None);
    }

    #[test]
    fn a_line_leaves_out_what_is_not_over() {
        let line = Line { below: 9, but: vec![3, 5] };
        let over: Vec<u64> = (0..12).filter(|used| line.is_over(*used)).collect();
        assert_eq!(over, [0, 1, 2, 4, 6, 7, 8]);
    }
}
