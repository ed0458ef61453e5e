//! What can be wrong with a segment or with its state of settled entries. May import `ids`.

use std::io;
use std::sync::Arc;

use super::ids::SegmentId;

/// Why a segment, or an entry of it, cannot be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SegmentError {
    /// The file has another length than its footer says, or not even room for both ends.
    #[error("{have} octets, not {need}")]
    Length {
        /// Octets of the file.
        have: u64,
        /// Octets that it should have.
        need: u64,
    },
    /// It does not begin as a segment does.
    #[error("no segment")]
    NoSegment,
    /// The header's checksum is wrong.
    #[error("the header is damaged")]
    HeaderDamaged,
    /// It is a good segment, of another name.
    #[error("it is segment {} of queue {}", found.number, found.queue)]
    AnotherSegment {
        /// What it says that it is.
        found: SegmentId,
    },
    /// The footer's checksum or magic is wrong.
    #[error("the footer is damaged")]
    FooterDamaged,
    /// The index's checksum is wrong.
    #[error("the index is damaged")]
    IndexDamaged,
    /// The checksum of the table of runs is wrong.
    #[error("the table of runs is damaged")]
    RunsDamaged,
    /// Checksums are right, and yet it cannot be: written by a mistake, or by design.
    #[error("it contradicts itself: {0}")]
    Inconsistent(&'static str),
    /// An entry is not as it was written. The others may be read.
    #[error("entry {index} is damaged")]
    EntryDamaged {
        /// Which.
        index: u32,
    },
    /// There is no such entry.
    #[error("there is no entry {index}")]
    NoEntry {
        /// Which.
        index: u32,
    },
    /// The disk does not give it.
    #[error("it cannot be read: {0}")]
    Unreadable(Arc<io::Error>),
}

/// Why a file of settled entries says nothing. Then nothing of the segment counts as settled: it is
/// delivered again rather than lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettledError {
    /// The file has another length than the segment's count asks for.
    #[error("{have} octets, not {need}")]
    Length {
        /// Octets of the file.
        have: u64,
        /// Octets that it should have.
        need: u64,
    },
    /// Neither of its two states can be read.
    #[error("both states are damaged")]
    Damaged,
}
