//! A [`Store`] in memory: for queues and messages that need not survive a restart.
//!
//! Messages lie in pages in order of position. A page goes when its last message is settled, so one
//! message that nobody settles holds back a page and not everything that came after it.
//! May import `store` and `message`.

use std::collections::{BTreeSet, VecDeque};

use super::store::{Kept, Position, Read, Safe, Store};
use crate::message::Message;

/// Messages per page: 16 octets a place, so 1 KiB. One that stays unsettled for ever costs a page
/// and, per page that came and went after it, one pointer.
const PAGE_LEN: usize = 64;
const PAGE_POSITIONS: u64 = PAGE_LEN as u64;

#[derive(Debug)]
struct Page {
    places: [Option<Kept>; PAGE_LEN],
    /// Places that hold a message.
    live: usize,
}

impl Page {
    fn boxed() -> Box<Self> {
        Box::new(Self { places: [const { None }; PAGE_LEN], live: 0 })
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct MemoryStore {
    /// `None`: all of the page's messages are settled.
    pages: VecDeque<Option<Box<Page>>>,
    /// Number of the first of `pages`, counted from position 0.
    first_page: u64,
    /// The next position.
    tail: u64,
    /// The page emptied last, kept so that a queue in steady use allocates nothing.
    spare: Option<Box<Page>>,
    /// Sum of [`Message::memory_bytes`] of what is here.
    memory_bytes: u64,
    receipts: BTreeSet<u16>,
}

impl MemoryStore {
    fn locate(&self, at: Position) -> Option<(usize, usize)> {
        let page = (at.get() / PAGE_POSITIONS).checked_sub(self.first_page)?;
        let place = at.get() % PAGE_POSITIONS;
        Some((usize::try_from(page).ok()?, usize::try_from(place).ok()?))
    }

    fn kept(&self, at: Position) -> Option<&Kept> {
        let (page, place) = self.locate(at)?;
        self.pages.get(page)?.as_ref()?.places.get(place)?.as_ref()
    }

    fn release_front(&mut self) {
        // The page at the tail stays in the row, empty or not: the next message goes into it.
        while self.pages.len() > 1 && matches!(self.pages.front(), Some(None)) {
            self.pages.pop_front();
            self.first_page += 1;
        }
    }
}

impl Store for MemoryStore {
    fn append(&mut self, message: Message, arrived_ms: u64) -> (Position, Safe) {
        let at = Position::new(self.tail);
        self.tail += 1;
        let bytes = message.memory_bytes() as u64;
        if let Some((page, place)) = self.locate(at) {
            if page >= self.pages.len() {
                self.pages.push_back(None);
                self.release_front();
            }
            let spare = &mut self.spare;
            if let Some(slot) = self.pages.back_mut() {
                let page = slot.get_or_insert_with(|| spare.take().unwrap_or_else(Page::boxed));
                if let Some(free) = page.places.get_mut(place) {
                    debug_assert!(free.is_none(), "positions are given once");
                    *free = Some(Kept { message, arrived_ms });
                    page.live += 1;
                    self.memory_bytes += bytes;
                }
            }
        }
        // Memory is all that was promised.
        (at, Safe::Now)
    }

    fn read(&self, at: Position) -> Read {
        self.kept(at).map_or(Read::Gone, |kept| Read::Here(kept.clone()))
    }

    fn settle(&mut self, at: Position) {
        let Some((index, place)) = self.locate(at) else { return };
        let Some(slot) = self.pages.get_mut(index) else { return };
        let Some(page) = slot.as_mut() else { return };
        let Some(kept) = page.places.get_mut(place).and_then(Option::take) else { return };
        page.live = page.live.saturating_sub(1);
        let empty = page.live == 0;
        self.memory_bytes = self.memory_bytes.saturating_sub(kept.message.memory_bytes() as u64);
        if empty {
            self.spare = slot.take();
            self.release_front();
        }
    }

    fn handed_out(&mut self, _at: Position) {}

    fn returned(&mut self, _at: Position, _count: u32) {}

    fn end_use(&mut self, number: u16, _used: u64, held: bool) -> Safe {
        if held {
            self.receipts.insert(number);
        }
        Safe::Now
    }

    fn drop_receipt(&mut self, number: u16) -> Safe {
        self.receipts.remove(&number);
        Safe::Now
    }

    fn receipts(&self) -> Vec<u16> {
        self.receipts.iter().copied().collect()
    }

    fn tail(&self) -> Position {
        Position::new(self.tail)
    }

    fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::message;
    use super::*;

    #[test]
    fn a_message_is_read_at_its_position_until_it_is_settled() {
        let mut store = MemoryStore::default();
        let (first, _) = store.append(message("a"), 5);
        let (second, safe) = store.append(message("b"), 6);
        assert_eq!(second, first.next());
        store.settle(first);
        assert_eq!(store.read(first), Read::Gone);
        assert_eq!(store.kept(second).map(|k| k.arrived_ms), Some(6));
        store.settle(first);
        assert_eq!(safe, Safe::Now);
    }

    #[test]
    fn one_message_that_is_never_settled_does_not_hold_the_others() {
        let mut store = MemoryStore::default();
        let (stuck, _) = store.append(message("stuck"), 0);
        let one = store.memory_bytes();
        for _ in 0..100_000 {
            let (at, _) = store.append(message("other"), 0);
            store.settle(at);
        }
        assert_eq!(store.memory_bytes(), one);
        assert_eq!(store.pages.iter().flatten().count(), 1);
        store.settle(stuck);
        assert_eq!(store.pages.len(), 1);
        assert_eq!(store.memory_bytes(), 0);
        let (next, _) = store.append(message("next"), 0);
        assert!(store.kept(next).is_some());
    }

    #[test]
    fn a_run_is_settled_like_its_messages() {
        let mut store = MemoryStore::default();
        for _ in 0..200 {
            store.append(message("x"), 0);
        }
        store.settle_run(Position::new(10), Position::new(190));
        assert!(store.kept(Position::new(9)).is_some());
        assert!(store.kept(Position::new(10)).is_none());
        assert!(store.kept(Position::new(190)).is_some());
    }
}
