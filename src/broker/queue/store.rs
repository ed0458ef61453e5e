//! Where a queue's messages lie: the seam between the queue's rules and the shard's log.
//!
//! The queue decides, a store keeps. Neither knows how the other works: a queue names messages by
//! [`Position`] only, so a long queue costs the rules no memory per message.
//! May import `message`.

use std::fmt::Debug;

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

/// What a queue asks of the place where its messages lie.
pub(crate) trait Store: Debug {
    /// Takes a message that came at `arrived_ms` (monotonic) and gives it the next position.
    fn append(&mut self, message: Message, arrived_ms: u64) -> Position;

    /// The message at a position; `None` when it was settled, never given, or is damaged.
    fn read(&self, at: Position) -> Option<Kept>;

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

    /// The position that the next message will get.
    fn tail(&self) -> Position;

    /// Every message below is stored as safely as the queue promises: a publish may be confirmed
    /// when this has passed its position.
    fn stored(&self) -> Position;

    /// Octets of memory its messages take.
    fn memory_bytes(&self) -> u64;
}
