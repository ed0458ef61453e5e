//! A table that grows without moving what is in it. Imports nothing.

/// Entries of one piece, a power of two.
const PIECE: usize = 64;
const SHIFT: u32 = PIECE.trailing_zeros();

/// A list by index for what there is one of per connection, session or queue. A vector of tens of thousands takes its memory
/// three times over while it doubles, which the allocator then keeps, and copies megabytes while everybody waits; this grows
/// by a piece.
#[derive(Debug)]
pub struct Chunks<T> {
    pieces: Vec<Vec<T>>,
    len: usize,
}

impl<T> Chunks<T> {
    /// An empty list.
    #[must_use]
    pub const fn new() -> Self {
        Self { pieces: Vec::new(), len: 0 }
    }

    /// How many entries there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds one behind the last.
    pub fn push(&mut self, entry: T) {
        match self.pieces.last_mut() {
            Some(piece) if piece.len() < PIECE => piece.push(entry),
            Some(_) | None => {
                let mut piece = Vec::with_capacity(PIECE);
                piece.push(entry);
                self.pieces.push(piece);
            }
        }
        self.len += 1;
    }

    /// The entry at an index.
    #[must_use]
    #[inline]
    pub fn get(&self, index: usize) -> Option<&T> {
        self.pieces.get(index >> SHIFT)?.get(index & (PIECE - 1))
    }

    /// The entry at an index, to be changed.
    #[inline]
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.pieces.get_mut(index >> SHIFT)?.get_mut(index & (PIECE - 1))
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.pieces.iter().flatten()
    }

    /// All, in order, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.pieces.iter_mut().flatten()
    }
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_stays_at_its_index_and_in_its_place_in_memory() {
        let mut chunks = Chunks::new();
        assert!(chunks.is_empty() && chunks.get(0).is_none());
        chunks.push(0);
        let first: *const usize = chunks.get(0).unwrap();
        for entry in 1..1_000 {
            chunks.push(entry);
            assert_eq!((chunks.len(), chunks.get(entry)), (entry + 1, Some(&entry)));
        }
        assert_eq!(chunks.get(1_000), None);
        assert_eq!(first, &raw const *chunks.get(0).unwrap());
        chunks.iter_mut().for_each(|entry| *entry += 1);
        *chunks.get_mut(PIECE).unwrap() = 7;
        assert!(chunks.iter().copied().eq((1..=1_000).map(|n| if n == PIECE + 1 { 7 } else { n })));
    }
}
