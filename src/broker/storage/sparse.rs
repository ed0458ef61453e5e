//! Segments of which little is left: whoever keeps messages for long stores them anew rather than
//! hold a whole segment for each.
//!
//! May import `durable`.

use super::durable::DurableStore;
use crate::broker::queue::store::Position;

/// A segment with less than one of so many of its messages left is sparse.
const SPARSE: u32 = 8;

impl DurableStore {
    /// Whether a message lies in a segment with few others left.
    pub(crate) fn is_sparse(&self, at: Position) -> bool {
        let piece = self.piece_index(at.get()).and_then(|index| self.pieces.get(index));
        piece.is_some_and(|piece| {
            !piece.broken && piece.settled.left() < piece.settled.count() / SPARSE
        })
    }
}
