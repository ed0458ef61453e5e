//! Where a queue's messages lie: the seam between the queue's rules and the shard's log.
//!
//! The queue decides, a store keeps. Neither knows how the other works: a queue names messages by
//! [`Position`] only, so a long queue costs the rules no memory per message.
//! May import `message` and the log's sequence numbers.

use std::fmt::Debug;

use ringmq_shards::log::{Lsn, QueueUid};

use crate::broker::storage::durable::DurableStore;
use crate::broker::storage::origin::Reached;
use crate::message::Message;

/// A message's place in its queue: strictly one more than the one before, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Position(u64);

impl Position {
    /// Only stores make positions.
    pub(crate) const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number, for records.
    pub(crate) const fn get(self) -> u64 {
        self.0
    }

    /// The place after it.
    #[must_use]
    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A message as a store gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    /// The message.
    pub(crate) message: Message,
    /// When it came into this queue, milliseconds on the monotonic clock. Times to live count from
    /// here, since a message may have waited in another queue before (L41).
    pub(crate) arrived_ms: u64,
}

/// What a store knows of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Read {
    /// In memory.
    Here(Kept),
    /// Not in memory; the store has asked for it and [`super::Queue::loaded`] follows. Asking for
    /// it again meanwhile does no harm.
    Later,
    /// It was settled, never given, or is damaged.
    Gone,
}

impl Read {
    /// What can be had now.
    pub(crate) fn here(self) -> Option<Kept> {
        match self {
            Self::Here(kept) => Some(kept),
            Self::Later | Self::Gone => None,
        }
    }
}

/// When a message is as safe as its queue promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Safe {
    /// It is now.
    Now,
    /// Once this record is durable.
    Synced(Lsn),
    /// Once this record is written (interval and os durability).
    Written(Lsn),
}

/// What a queue asks of the place where its messages lie.
pub(crate) trait Store: Debug {
    /// Takes a message that came at `arrived_ms` (monotonic) and gives it the next position. It can
    /// be read ([`Read::Here`]) at least until the next one comes: whether somebody takes it at once
    /// is decided within the publish.
    fn append(&mut self, message: Message, arrived_ms: u64) -> (Position, Safe);

    /// The message at a position.
    fn read(&self, at: Position) -> Read;

    /// The message is not wanted any more. Positions come in any order, each once.
    fn settle(&mut self, at: Position);

    /// [`Store::settle`] for every position in `from..to` that is still there.
    fn settle_run(&mut self, from: Position, to: Position) {
        let mut at = from;
        while at < to {
            self.settle(at);
            at = at.next();
        }
    }

    /// It goes out, for the first time or again, and somebody will settle it.
    fn handed_out(&mut self, at: Position);

    /// Nobody takes messages until [`Store::attended`]: what was out is exactly what was handed out,
    /// after a crash too.
    fn rests(&mut self) {}

    /// Somebody is about to take messages, and may once this is safe.
    fn attended(&mut self) -> Safe {
        Safe::Now
    }

    /// It came back: that it was out, and how often it counted, is to be known after a restart.
    fn returned(&mut self, at: Position, count: u32);

    /// The position that the next message will get.
    fn tail(&self) -> Position;

    /// Octets of memory its messages take.
    fn memory_bytes(&self) -> u64;

    /// The consumer has it and is not to be sent it again, but it is not done with. Known after a
    /// restart once that is safe; noting it again does no harm. A store that does not outlive the
    /// process has nothing to note.
    fn received(&mut self, _at: Position) -> Safe {
        Safe::Now
    }

    /// After a restart: the positions of messages that were [`Store::received`] and are still there,
    /// ascending.
    fn received_positions(&self) -> Vec<Position> {
        Vec::new()
    }

    /// A use of the number of a message that the queue's client has published has ended. If `held` the
    /// number is kept, as all stores of sessions do. Safe no sooner than what was stored on this shard
    /// before.
    fn end_use(&mut self, _number: u16, _used: u64, _held: bool) -> Safe {
        Safe::Now
    }

    /// Where a message with this number had come when the process before this one ended.
    fn reached(&self, _number: u16) -> Option<&Reached> {
        None
    }

    /// The name of a queue that outlives the process.
    fn lasting_uid(&self) -> Option<QueueUid> {
        None
    }

    /// Forgets it.
    fn drop_receipt(&mut self, _number: u16) -> Safe {
        Safe::Now
    }

    /// The numbers that are held.
    fn receipts(&self) -> Vec<u16> {
        Vec::new()
    }

    /// When all that it was told so far is safe, but for settlements.
    fn promise(&self) -> Safe {
        Safe::Now
    }

    /// The store itself, if it is one that outlives the process or moves messages to the disk.
    fn as_durable(&mut self) -> Option<&mut DurableStore> {
        None
    }
}
