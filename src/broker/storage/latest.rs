//! What whoever keeps the latest message of each topic asks of a store: how far the log has come, and
//! which segments have little left in them.
//!
//! May import `durable` and of `ringmq_shards` the log's numbers.

use ringmq_shards::log::Lsn;

use super::durable::DurableStore;
use crate::broker::queue::store::Position;

/// A segment with less than one of so many of its messages left is sparse.
const SPARSE: u32 = 8;

impl DurableStore {
    /// Whether a message lies in a segment with few others left: it is stored anew rather than hold
    /// all of the segment.
    pub(crate) fn is_sparse(&self, at: Position) -> bool {
        let piece = self.piece_index(at.get()).and_then(|index| self.pieces.get(index));
        piece.is_some_and(|piece| {
            !piece.broken && piece.settled.left() < piece.settled.count() / SPARSE
        })
    }

    /// The last record of the log. What was settled in this turn is not in it yet.
    pub(crate) fn logged(&self) -> Lsn {
        self.shelf.borrow().log.last()
    }

    /// The last record that is durable.
    pub(crate) fn durable(&self) -> Lsn {
        self.shelf.borrow().log.durable()
    }
}
