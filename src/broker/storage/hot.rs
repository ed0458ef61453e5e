//! The messages of a queue that are in memory, by position: those at its end, and what recovery
//! found in the log. Positions may have wide gaps (each boot begins anew), so pages carry their
//! numbers and none is kept for a gap.
//!
//! May import `queue::store`.

use std::collections::VecDeque;

use crate::broker::queue::store::Kept;

/// Messages per page: 16 octets a place, so 1 KiB.
const PAGE_LEN: usize = 64;
const PAGE_POSITIONS: u64 = PAGE_LEN as u64;

#[derive(Debug)]
struct Page {
    /// Position / [`PAGE_LEN`].
    number: u64,
    /// Places that hold a message; never 0 but in the last page.
    live: usize,
    places: Box<[Option<Kept>; PAGE_LEN]>,
}

/// See the module. One per queue.
#[derive(Debug, Default)]
pub(super) struct Hot {
    /// In order of number.
    pages: VecDeque<Page>,
    /// The places of the page emptied last: a queue in steady use allocates nothing.
    spare: Option<Box<[Option<Kept>; PAGE_LEN]>>,
    count: u64,
    memory_bytes: u64,
}

const fn place_of(at: u64) -> (u64, usize) {
    let place = (at % PAGE_POSITIONS) as usize;
    (at / PAGE_POSITIONS, place)
}

impl Hot {
    /// How many messages.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// Octets of memory they take.
    pub(super) const fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// The page's place in the row, or where it would go.
    fn index(&self, number: u64) -> Result<usize, usize> {
        let Some(first) = self.pages.front() else { return Err(0) };
        // Without gaps it is where counting says.
        if let Some(guess) = number.checked_sub(first.number)
            && let Ok(guess) = usize::try_from(guess)
            && self.pages.get(guess).is_some_and(|page| page.number == number)
        {
            return Ok(guess);
        }
        self.pages.binary_search_by_key(&number, |page| page.number)
    }

    /// Puts a message at a position beyond all others.
    pub(super) fn push(&mut self, at: u64, kept: Kept) {
        let (number, place) = place_of(at);
        if self.pages.back().is_none_or(|page| page.number != number) {
            debug_assert!(self.pages.back().is_none_or(|page| page.number < number));
            // The last page may be empty; no other is.
            if self.pages.back().is_some_and(|page| page.live == 0) {
                self.recycle(self.pages.len() - 1);
            }
            let places = self.spare.take();
            let places = places.unwrap_or_else(|| Box::new([const { None }; PAGE_LEN]));
            self.pages.push_back(Page { number, live: 0, places });
        }
        let bytes = kept.message.memory_bytes() as u64;
        if let Some(page) = self.pages.back_mut()
            && let Some(slot) = page.places.get_mut(place)
        {
            debug_assert!(slot.is_none(), "positions are given once");
            *slot = Some(kept);
            page.live += 1;
            self.count += 1;
            self.memory_bytes += bytes;
        }
    }

    /// The message at a position.
    pub(super) fn get(&self, at: u64) -> Option<&Kept> {
        let (number, place) = place_of(at);
        let page = self.pages.get(self.index(number).ok()?)?;
        page.places.get(place)?.as_ref()
    }

    /// Takes a message out.
    pub(super) fn remove(&mut self, at: u64) -> Option<Kept> {
        let (number, place) = place_of(at);
        let index = self.index(number).ok()?;
        let page = self.pages.get_mut(index)?;
        let kept = page.places.get_mut(place)?.take()?;
        page.live = page.live.saturating_sub(1);
        self.count = self.count.saturating_sub(1);
        self.memory_bytes = self.memory_bytes.saturating_sub(kept.message.memory_bytes() as u64);
        // The last page is where the next message goes.
        if page.live == 0 && index + 1 < self.pages.len() {
            self.recycle(index);
        }
        Some(kept)
    }

    fn recycle(&mut self, index: usize) {
        if let Some(page) = self.pages.remove(index) {
            self.spare = Some(page.places);
        }
    }

    /// The first position at or after `at` that has a message, with the message.
    pub(super) fn next_from(&self, at: u64) -> Option<(u64, &Kept)> {
        let (number, place) = place_of(at);
        let start = self.index(number).unwrap_or_else(|next| next);
        self.pages.range(start..).find_map(|page| {
            let skip = if page.number == number { place } else { 0 };
            let found = page.places.iter().enumerate().skip(skip);
            found
                .filter_map(|(i, slot)| Some((i, slot.as_ref()?)))
                .next()
                .map(|(i, kept)| (page.number * PAGE_POSITIONS + i as u64, kept))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::queue::testing::message;

    fn kept(text: &str) -> Kept {
        Kept { message: message(text), arrived_ms: 0 }
    }

    #[test]
    fn messages_are_found_across_wide_gaps_and_in_order() {
        let mut hot = Hot::default();
        let places = [3, 5, 1 << 40, (1 << 40) + 1, (2 << 40) + 77];
        for at in places {
            hot.push(at, kept("x"));
        }
        assert_eq!(hot.pages.len(), 3);
        let mut seen = Vec::new();
        let mut next = 0;
        while let Some((at, _)) = hot.next_from(next) {
            seen.push(at);
            next = at + 1;
        }
        assert_eq!(seen, places);
        assert!(hot.get(4).is_none());
        for at in places {
            assert!(hot.remove(at).is_some());
            assert!(hot.remove(at).is_none());
        }
        assert_eq!((hot.count(), hot.memory_bytes()), (0, 0));
        assert_eq!(hot.pages.len(), 1);
    }

    #[test]
    fn one_message_that_stays_holds_one_page() {
        let mut hot = Hot::default();
        hot.push(0, kept("stuck"));
        for at in 1..100_000 {
            hot.push(at, kept("other"));
            hot.remove(at);
        }
        assert!(hot.pages.len() <= 2);
        hot.remove(0);
        assert_eq!(hot.pages.len(), 1);
        hot.push(200_000, kept("next"));
        assert_eq!(hot.pages.len(), 1);
    }
}
