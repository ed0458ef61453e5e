//! Which messages of a channel are unconfirmed, and since when. Imports nothing.

/// The window of a producer in confirm mode. Messages have tags from 1 on (basic.ack of
/// publisher confirms). Confirms may come in any order and for many at once; the window is from
/// the oldest unconfirmed message to the newest.
#[derive(Debug)]
pub(crate) struct Confirms {
    /// By tag modulo length: intended time of sending, or [`CONFIRMED`].
    sent_ns: Vec<u64>,
    /// All lower tags are confirmed.
    oldest: u64,
    /// The next message's tag.
    next: u64,
}

/// No time of sending is 0.
const CONFIRMED: u64 = 0;

/// A confirm for a message that was not sent or was confirmed before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WrongTag(pub(crate) u64);

impl Confirms {
    /// Nothing sent yet.
    pub(crate) fn new(window: u32) -> Self {
        let window = usize::try_from(window).unwrap_or(usize::MAX).max(1);
        Self { sent_ns: vec![CONFIRMED; window], oldest: 1, next: 1 }
    }

    /// All messages before this one are confirmed.
    pub(crate) const fn oldest(&self) -> u64 {
        self.oldest
    }

    /// How many messages may be sent now.
    pub(crate) fn room(&self) -> usize {
        let taken = usize::try_from(self.next.saturating_sub(self.oldest)).unwrap_or(usize::MAX);
        self.sent_ns.len().saturating_sub(taken)
    }

    /// How many messages are unconfirmed.
    pub(crate) fn unsettled(&self) -> u64 {
        let count = self.sent_ns.iter().filter(|sent_ns| **sent_ns != CONFIRMED).count();
        u64::try_from(count).unwrap_or(u64::MAX)
    }

    /// Counts a message; there must be room.
    #[inline]
    pub(crate) fn on_sent(&mut self, time_ns: u64) {
        let index = self.index(self.next);
        if let Some(sent_ns) = self.sent_ns.get_mut(index) {
            *sent_ns = time_ns;
        }
        self.next = self.next.saturating_add(1);
    }

    /// Takes the broker's word for message `tag`, or for all up to it; calls `each` with the
    /// time of sending and returns how many there were.
    ///
    /// # Errors
    /// `WrongTag`: the broker speaks of a message that does not wait.
    #[inline]
    pub(crate) fn on_settled(
        &mut self,
        tag: u64,
        is_multiple: bool,
        mut each: impl FnMut(u64),
    ) -> Result<u64, WrongTag> {
        // With "multiple", tag 0 means all (AMQP 0-9-1 basic.ack delivery-tag).
        let last = if is_multiple && tag == 0 { self.next.saturating_sub(1) } else { tag };
        if last < self.oldest || last >= self.next {
            return Err(WrongTag(tag));
        }
        let first = if is_multiple { self.oldest } else { last };
        let mut count = 0;
        let mut index = self.index(first);
        for _ in first..=last {
            if let Some(sent_ns) = self.sent_ns.get_mut(index)
                && *sent_ns != CONFIRMED
            {
                each(*sent_ns);
                *sent_ns = CONFIRMED;
                count += 1;
            }
            index = if index.saturating_add(1) == self.sent_ns.len() { 0 } else { index + 1 };
        }
        if count == 0 {
            return Err(WrongTag(tag));
        }
        if is_multiple {
            self.oldest = last.saturating_add(1);
        }
        self.skip_confirmed();
        Ok(count)
    }

    fn skip_confirmed(&mut self) {
        while self.oldest < self.next
            && self.sent_ns.get(self.index(self.oldest)) == Some(&CONFIRMED)
        {
            self.oldest = self.oldest.saturating_add(1);
        }
    }

    #[inline]
    fn index(&self, tag: u64) -> usize {
        let window = u64::try_from(self.sent_ns.len()).unwrap_or(u64::MAX);
        usize::try_from(tag.checked_rem(window).unwrap_or(0)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(window: u32, times: std::ops::Range<u64>) -> Confirms {
        let mut confirms = Confirms::new(window);
        times.for_each(|time| confirms.on_sent(time));
        confirms
    }

    #[test]
    fn one_confirm_may_settle_many() {
        let mut confirms = sent(4, 100..104);
        assert_eq!(confirms.room(), 0);
        let mut times = Vec::new();
        assert_eq!(confirms.on_settled(3, true, |time| times.push(time)), Ok(3));
        assert_eq!((times, confirms.room()), (vec![100, 101, 102], 3));
    }

    #[test]
    fn confirms_in_another_order_open_the_window_from_the_oldest_on() {
        let mut confirms = sent(3, 1..4);
        assert_eq!(confirms.on_settled(2, false, |_| ()), Ok(1));
        assert_eq!((confirms.room(), confirms.unsettled()), (0, 2));
        assert_eq!(confirms.on_settled(1, false, |_| ()), Ok(1));
        assert_eq!(confirms.room(), 2);
        assert_eq!(confirms.on_settled(3, true, |_| ()), Ok(1));
        assert_eq!(confirms.room(), 3);
    }

    #[test]
    fn a_confirm_for_nothing_is_noticed() {
        let mut confirms = sent(3, 1..3);
        for (tag, is_multiple) in [(3, false), (3, true), (0, false), (9, true)] {
            assert_eq!(confirms.on_settled(tag, is_multiple, |_| ()), Err(WrongTag(tag)));
        }
        assert_eq!(confirms.on_settled(2, false, |_| ()), Ok(1));
        assert_eq!(confirms.on_settled(2, false, |_| ()), Err(WrongTag(2)));
        assert_eq!(confirms.on_settled(0, true, |_| ()), Ok(1));
    }

    #[test]
    fn the_window_goes_round() {
        let mut confirms = Confirms::new(3);
        for tag in 1..1000 {
            confirms.on_sent(tag);
            let mut times = Vec::new();
            assert_eq!(confirms.on_settled(tag, tag % 2 == 0, |time| times.push(time)), Ok(1));
            assert_eq!(times, [tag]);
        }
    }
}
