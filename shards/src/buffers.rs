//! Buffers of connections: pooled per shard, given back when empty. Imports the standard library.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

/// What one read may bring at most unless it is said otherwise: one large read per turn and connection is what counts, and
/// 64 KiB is where it stops paying.
pub const READ_BLOCK_BYTES: usize = 64 * 1024;
/// First size of an output buffer: one turn's answers of a busy connection.
const WRITE_BLOCK_BYTES: usize = 16 * 1024;
/// Output buffers that grew beyond this in a burst are freed, not kept.
const WRITE_KEEP_BYTES_MAX: usize = 64 * 1024;
/// Blocks kept by one shard: 4 MiB of each kind. More may be out at a time; the rest is freed when it comes back.
const POOL_BLOCKS_MAX: usize = 64;
/// The same for blocks of another size than the usual one, at least one block.
const POOL_READ_BYTES_MAX: usize = POOL_BLOCKS_MAX * READ_BLOCK_BYTES;
/// Smaller blocks hold no message.
const READ_BLOCK_BYTES_MIN: usize = 1024;

const _: () = assert!(WRITE_BLOCK_BYTES <= WRITE_KEEP_BYTES_MAX, "a fresh block must be kept");

/// The buffer pool of one shard; a cheap handle. Idle connections hold nothing, so 50,000 of them cost no buffer, and the
/// few that are busy at a time use blocks that are still warm in the cache.
#[derive(Clone)]
pub struct Buffers {
    shared: Rc<Shared>,
}

struct Shared {
    /// The size of a block to read into.
    read_bytes: Cell<usize>,
    pool: RefCell<Pool>,
}

#[derive(Default)]
struct Pool {
    /// Blocks of exactly `read_bytes` initialised bytes: zeroed once, then reused as they are.
    reading: Vec<Vec<u8>>,
    /// Empty vectors with capacity.
    writing: Vec<Vec<u8>>,
}

impl Buffers {
    /// An empty pool.
    #[must_use]
    pub fn new() -> Self {
        let (read_bytes, pool) = (Cell::new(READ_BLOCK_BYTES), RefCell::default());
        Self { shared: Rc::new(Shared { read_bytes, pool }) }
    }

    /// From now on one read brings this much at most; less than a kilobyte is taken for that.
    pub fn set_read_block(&self, bytes: usize) {
        self.shared.read_bytes.set(bytes.max(READ_BLOCK_BYTES_MIN));
        self.shared.pool.borrow_mut().reading.clear();
    }

    fn read_bytes(&self) -> usize {
        self.shared.read_bytes.get()
    }

    /// Blocks that wait for use, of both kinds.
    #[must_use]
    pub fn idle_blocks(&self) -> usize {
        let pool = self.shared.pool.borrow();
        pool.reading.len() + pool.writing.len()
    }

    fn take_read(&self) -> Vec<u8> {
        let kept = self.shared.pool.borrow_mut().reading.pop();
        kept.unwrap_or_else(|| vec![0; self.read_bytes()])
    }

    fn give_read(&self, block: Vec<u8>) {
        let reading = &mut self.shared.pool.borrow_mut().reading;
        let blocks_max = (POOL_READ_BYTES_MAX / self.read_bytes()).max(1);
        if block.len() == self.read_bytes() && reading.len() < blocks_max {
            reading.push(block);
        }
    }

    /// An empty vector with room for a turn's output.
    pub(crate) fn take_write(&self) -> Vec<u8> {
        let kept = self.shared.pool.borrow_mut().writing.pop();
        kept.unwrap_or_else(|| Vec::with_capacity(WRITE_BLOCK_BYTES))
    }

    /// Takes an output vector back, whatever is in it.
    pub(crate) fn give_write(&self, mut block: Vec<u8>) {
        let writing = &mut self.shared.pool.borrow_mut().writing;
        let keep = WRITE_BLOCK_BYTES..=WRITE_KEEP_BYTES_MAX;
        if keep.contains(&block.capacity()) && writing.len() < POOL_BLOCKS_MAX {
            block.clear();
            writing.push(block);
        }
    }
}

impl Default for Buffers {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Buffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffers").field("idle_blocks", &self.idle_blocks()).finish()
    }
}

/// Bytes that a connection has received and not yet understood. One per connection; holds a block of the pool only while it
/// is being filled or has bytes in it.
pub struct ReadBuffer {
    buffers: Buffers,
    /// All initialised; its length is the capacity.
    block: Vec<u8>,
    start: usize,
    end: usize,
}

impl ReadBuffer {
    /// An empty buffer that will take its blocks from `buffers`.
    #[must_use]
    pub fn new(buffers: &Buffers) -> Self {
        Self { buffers: buffers.clone(), block: Vec::new(), start: 0, end: 0 }
    }

    /// The bytes that are there, oldest first.
    #[must_use]
    pub fn filled(&self) -> &[u8] {
        self.block.get(self.start..self.end).unwrap_or_default()
    }

    /// How many bytes are there.
    #[must_use]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether all bytes were consumed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Bytes of memory held.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.block.len()
    }

    /// The first `count` bytes are understood and may go.
    pub fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.len(), "only what is there can be consumed");
        self.start = self.end.min(self.start + count);
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Makes room for `count` more bytes, moving or growing what is there. The caller has checked `count` against a limit.
    pub fn reserve(&mut self, count: usize) {
        if self.is_empty() && self.block.len() > self.buffers.read_bytes() {
            self.release();
        }
        if self.block.is_empty() {
            self.block = self.buffers.take_read();
        }
        if self.block.len() - self.end >= count {
            return;
        }
        self.block.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.len());
        let needed = self.end.saturating_add(count);
        if needed > self.block.len() {
            let size = needed.checked_next_power_of_two().unwrap_or(needed);
            self.block.resize(size, 0);
        }
    }

    /// Gives the block back to the pool if no byte is in it.
    pub fn release(&mut self) {
        if self.is_empty() && !self.block.is_empty() {
            self.buffers.give_read(std::mem::take(&mut self.block));
            (self.start, self.end) = (0, 0);
        }
    }

    /// Room for a read, at least a quarter of a block. To be followed by [`ReadBuffer::advance`].
    pub fn unfilled(&mut self) -> &mut [u8] {
        self.reserve(self.buffers.read_bytes() / 4);
        self.block.get_mut(self.end..).unwrap_or_default()
    }

    /// `count` bytes were written to the front of [`ReadBuffer::unfilled`].
    pub fn advance(&mut self, count: usize) {
        debug_assert!(count <= self.block.len() - self.end, "only the room that was given");
        self.end = self.block.len().min(self.end + count);
    }

    /// Appends, for what arrives by another way than a read (bytes another layer has decrypted or held back).
    pub fn put(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        if let Some(room) = self.block.get_mut(self.end..self.end + bytes.len()) {
            room.copy_from_slice(bytes);
            self.end += bytes.len();
        }
    }
}

impl Drop for ReadBuffer {
    fn drop(&mut self) {
        self.consume(self.len());
        self.release();
    }
}

impl fmt::Debug for ReadBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadBuffer")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_buffer_holds_no_memory_after_release() {
        let buffers = Buffers::new();
        let mut input = ReadBuffer::new(&buffers);
        assert_eq!(input.capacity(), 0);

        input.put(b"ab");
        input.release();
        assert_eq!((input.filled(), input.capacity()), (&b"ab"[..], READ_BLOCK_BYTES));

        input.consume(2);
        input.release();
        assert_eq!((input.capacity(), buffers.idle_blocks()), (0, 1));
    }

    #[test]
    fn what_is_left_keeps_its_order_when_room_is_made() {
        let buffers = Buffers::new();
        let mut input = ReadBuffer::new(&buffers);
        let bytes: Vec<u8> = (0..=255).cycle().take(READ_BLOCK_BYTES).collect();
        input.put(&bytes);
        input.consume(READ_BLOCK_BYTES - 3);

        input.put(b"xyz");

        let mut expected = bytes[READ_BLOCK_BYTES - 3..].to_vec();
        expected.extend_from_slice(b"xyz");
        assert_eq!(input.filled(), expected);
        assert_eq!(input.capacity(), READ_BLOCK_BYTES, "moved, not grown");
    }

    #[test]
    fn a_buffer_that_grew_goes_back_to_one_block_when_empty() {
        let buffers = Buffers::new();
        let mut input = ReadBuffer::new(&buffers);
        input.put(&[7; READ_BLOCK_BYTES]);
        input.reserve(READ_BLOCK_BYTES);
        assert_eq!(input.capacity(), 2 * READ_BLOCK_BYTES);
        assert!(input.filled().iter().all(|&byte| byte == 7));

        input.consume(READ_BLOCK_BYTES);
        assert_eq!(input.unfilled().len(), READ_BLOCK_BYTES);
    }

    #[test]
    fn a_read_lands_behind_what_is_there() {
        let buffers = Buffers::new();
        let mut input = ReadBuffer::new(&buffers);
        input.put(b"head");
        input.unfilled()[..4].copy_from_slice(b"tail");
        input.advance(4);

        assert_eq!(input.filled(), b"headtail");
    }

    #[test]
    fn the_pool_has_a_cap() {
        let buffers = Buffers::new();
        let mut inputs: Vec<_> =
            (0..POOL_BLOCKS_MAX + 5).map(|_| ReadBuffer::new(&buffers)).collect();
        inputs.iter_mut().for_each(|input| input.put(b"x"));
        drop(inputs);

        assert_eq!(buffers.idle_blocks(), POOL_BLOCKS_MAX);
    }

    #[test]
    fn an_output_block_that_grew_in_a_burst_is_not_kept() {
        let buffers = Buffers::new();
        buffers.give_write(Vec::with_capacity(WRITE_KEEP_BYTES_MAX * 2));
        assert_eq!(buffers.idle_blocks(), 0);
        let mut block = buffers.take_write();
        block.push(1);
        buffers.give_write(block);
        assert_eq!(buffers.idle_blocks(), 1);
        assert!(buffers.take_write().is_empty());
    }

    /// amqp.md S27
    #[test]
    fn a_read_brings_as_much_as_it_is_said_to() {
        let buffers = Buffers::new();
        let mut before = ReadBuffer::new(&buffers);
        before.put(b"a");
        buffers.set_read_block(4096);
        let mut input = ReadBuffer::new(&buffers);
        assert_eq!(input.unfilled().len(), 4096);
        // A message that is larger is gathered all the same, and its block is not kept.
        input.put(&[7; 10_000]);
        assert_eq!(input.len(), 10_000);
        input.consume(10_000);
        assert_eq!(input.unfilled().len(), 4096);
        before.consume(1);
        before.release();
        input.release();
        assert_eq!(buffers.idle_blocks(), 1, "blocks of the size before are gone");
        buffers.set_read_block(0);
        assert_eq!(input.unfilled().len(), 1024);
    }
}
