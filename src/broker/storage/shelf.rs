//! What the stores of a shard's queues share: the log they write to, settlements that wait for the
//! end of the turn, and what they ask of the disk. One per shard, held by each store.
//!
//! May import `entry`, `origin`, `recovery`, `message` and of `ringmq_shards` the log.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

#[cfg(test)]
use ringmq_shards::log::planted::{Bug, is_planted};
use ringmq_shards::log::{Job, Log, LogFile, Lsn, QueueUid, SegmentId};

use super::entry::{self, Place, SettledRun};
use super::origin::{Origin, write_origin};
use super::recovery::Found;
use crate::message::Message;

/// Sizes an operator chooses.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Octets of a file of the log.
    pub log_file_bytes: u64,
    /// Octets of log files above which the oldest is emptied.
    pub log_bytes_max: u64,
    /// Octets up to which a segment grows.
    pub segment_bytes: u64,
    /// Octets of a durable queue's messages in memory above which the oldest move to segments.
    pub queue_memory_max: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Shelf {
    pub(super) log: Log,
    pub(super) sizes: Sizes,
    pub(super) boot: u32,
    /// Settled since the last flush; written after everything else of the turn, so that a dead
    /// letter is in the log before the settlement of what it was.
    settled: Vec<SettledRun>,
    /// The message of the latest record, for queues that take the same, and the file it is in.
    last_body: Option<(Message, Lsn, LogFile)>,
    /// Whose the message is that is being stored, if it is to come exactly once.
    pub(super) origin: Option<Origin>,
    /// Queues with something in each file of the log.
    pub(super) touched: BTreeMap<LogFile, Vec<QueueUid>>,
    /// Segments that a read found not in memory.
    pub(super) wanted: Vec<SegmentId>,
    /// Queues with more in memory than they may have.
    pub(super) growing: Vec<QueueUid>,
    /// Segments with nothing left in them: they go when what became of their last messages is
    /// durable, which may be messages elsewhere.
    pub(super) emptied: Vec<SegmentId>,
    /// How many of them are still there.
    pub(super) dropping: u64,
    /// For the disk.
    pub(super) jobs: Vec<Job>,
    /// Buffers of segments written, for reuse.
    pub(super) spare: Option<Vec<u8>>,
    /// Octets that may still be written into the log again to free its oldest file.
    pub(super) carry_left: u64,
    /// Something was logged that has to be durable within so many milliseconds, waited for or not.
    pub(super) sync_within_ms: Option<u64>,
    /// The log has something that should be written at once, though nobody waits for it.
    pub(super) hurry: bool,
    /// Counts turns: what was used when.
    pub(super) turn: u64,
    last_name: Rc<str>,
    /// While queues are filled after a start: messages of which several have the very octets, by
    /// where these lie.
    shared: HashMap<usize, Message, ahash::RandomState>,
}

impl Shelf {
    pub(super) fn new(log: Log, boot: u32, sizes: Sizes) -> Self {
        Self {
            log,
            sizes,
            boot,
            settled: Vec::new(),
            last_body: None,
            origin: None,
            touched: BTreeMap::new(),
            wanted: Vec::new(),
            growing: Vec::new(),
            emptied: Vec::new(),
            dropping: 0,
            jobs: Vec::new(),
            spare: None,
            carry_left: 0,
            sync_within_ms: None,
            hurry: false,
            turn: 0,
            last_name: Rc::from(""),
            shared: HashMap::default(),
        }
    }

    /// Notes that a queue has something in the file that is being written.
    pub(super) fn touch(&mut self, queue: QueueUid, last: &mut Option<LogFile>) -> LogFile {
        let file = self.log.file_of_open_batch();
        self.touch_file(file, queue, last);
        file
    }

    /// Notes that a queue has something in a file.
    pub(super) fn touch_file(
        &mut self,
        file: LogFile,
        queue: QueueUid,
        last: &mut Option<LogFile>,
    ) {
        if *last != Some(file) {
            *last = Some(file);
            self.touched.entry(file).or_default().push(queue);
        }
    }

    /// Logs that a message has come into a queue; its octets once for all queues. Tells the file
    /// without which it would be lost.
    pub(super) fn message(
        &mut self,
        group: u16,
        place: Place,
        message: &Message,
    ) -> (Lsn, LogFile) {
        if let Some((last, of, file)) = &self.last_body
            && last.is_same(message)
        {
            let (of, file) = (*of, *file);
            let fill = |out: &mut Vec<u8>| entry::write_again(place, of, out);
            return (self.log.append(u32::from(group), entry::AGAIN, 0, fill), file);
        }
        let (kind, origin) = match &self.origin {
            None => (entry::MESSAGE, None),
            Some(origin) => (entry::MESSAGE_OF, Some(origin)),
        };
        let fill = |out: &mut Vec<u8>| {
            if let Some(origin) = origin {
                write_origin(origin, out);
            }
            entry::write_message(place, message, out);
        };
        let lsn = self.log.append(u32::from(group), kind, 0, fill);
        let file = self.log.file_of_open_batch();
        self.last_body = Some((message.clone(), lsn, file));
        (lsn, file)
    }

    /// What was just logged has to be durable within so many milliseconds.
    pub(super) fn sync_within(&mut self, ms: Option<u64>) {
        if let Some(ms) = ms {
            self.sync_within_ms = Some(self.sync_within_ms.map_or(ms, |set| set.min(ms)));
        }
    }

    /// Notes a settlement.
    pub(super) fn settle(&mut self, run: SettledRun) {
        if let Some(last) = self.settled.last_mut()
            && (last.group, last.queue) == (run.group, run.queue)
            && last.to == run.from
        {
            last.to = run.to;
            return;
        }
        self.settled.push(run);
        #[cfg(test)]
        if is_planted(Bug::SettleFirst) {
            self.log_settled();
        }
    }

    /// Puts the settlements of the turn into the log, neighbours as one.
    pub(super) fn log_settled(&mut self) {
        self.last_body = None;
        if self.settled.is_empty() {
            return;
        }
        let mut runs = std::mem::take(&mut self.settled);
        if runs.len() > 1 {
            runs.sort_unstable();
            runs.dedup_by(|next, run| {
                // Waiting messages of all groups have one uid.
                let same = (next.group, next.queue) == (run.group, run.queue);
                let joins = same && next.from <= run.to;
                if joins {
                    run.to = run.to.max(next.to);
                }
                joins
            });
        }
        for of_group in runs.chunk_by(|a, b| a.group == b.group) {
            // A record stays far below any limit of size.
            for part in of_group.chunks(10_000) {
                let Some(group) = part.first().map(|run| u32::from(run.group)) else { continue };
                self.log.append(group, entry::SETTLED, 0, |out| {
                    part.iter().for_each(|run| entry::write_run(*run, out));
                });
            }
        }
        runs.clear();
        self.settled = runs;
    }

    /// Makes a message of a segment's entry.
    pub(super) fn read_message(&mut self, octets: &[u8]) -> Option<Message> {
        let last = &mut self.last_name;
        entry::read_message(octets, &mut |name| {
            if **last != *name {
                *last = Rc::from(name);
            }
            last.clone()
        })
    }

    /// Makes a message of what a start has found: one for all queues that a message went to, which
    /// may be ten thousand.
    pub(super) fn found_message(&mut self, found: &Found) -> Option<Message> {
        if !found.is_shared {
            return self.read_message(&found.octets);
        }
        let place = found.octets.as_ptr().addr();
        if let Some(message) = self.shared.get(&place) {
            return Some(message.clone());
        }
        let message = self.read_message(&found.octets)?;
        self.shared.insert(place, message.clone());
        Some(message)
    }

    /// All queues are filled.
    pub(super) fn end_filling(&mut self) {
        self.shared = HashMap::default();
    }
}
