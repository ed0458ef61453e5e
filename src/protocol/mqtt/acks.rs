//! Answers that are owed to the client in the order of its packets, while what they wait for is
//! done in any order (MQTT-4.6.0-2 to -4, both versions). May import `wire`.

use std::collections::VecDeque;

use super::wire::reason_code::ReasonCode;

/// What is known of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owed {
    /// Not yet what it will be.
    Waiting,
    /// It can be sent once one thing more is done.
    Soon(ReasonCode),
    /// It can be sent.
    Known(ReasonCode),
    /// None will be sent.
    Never,
}

/// One kind of answer.
#[derive(Debug, Default)]
pub(super) struct Acks {
    /// The number of the first entry.
    base: u64,
    entries: VecDeque<(u16, Owed)>,
}

impl Acks {
    /// How many are owed.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The number that the next one gets, from 1.
    pub(super) fn next(&self) -> u64 {
        // The number 0 stands for no publish.
        self.base.saturating_add(self.entries.len() as u64).saturating_add(1)
    }

    /// One more for this packet id.
    pub(super) fn push(&mut self, packet_id: u16, owed: Owed) {
        self.entries.push_back((packet_id, owed));
    }

    /// The packet id of a number that is still owed.
    pub(super) fn packet_id(&self, number: u64) -> Option<u16> {
        self.entries.get(self.index(number)?).map(|(id, _)| *id)
    }

    /// Whether an answer to this packet id waits.
    pub(super) fn has(&self, packet_id: u16) -> bool {
        self.entries.iter().any(|(id, _)| *id == packet_id)
    }

    /// What it waits for is done.
    pub(super) fn settle(&mut self, number: u64, owed: Owed) {
        let index = self.index(number);
        if let Some((_, entry)) = index.and_then(|index| self.entries.get_mut(index)) {
            *entry = owed;
        }
    }

    /// The one thing more is done, or cannot be.
    pub(super) fn done(&mut self, number: u64, well: bool) {
        let index = self.index(number);
        let Some((_, entry)) = index.and_then(|index| self.entries.get_mut(index)) else { return };
        *entry = match *entry {
            Owed::Soon(code) if well => Owed::Known(code),
            Owed::Soon(_) | Owed::Waiting | Owed::Known(_) | Owed::Never => Owed::Never,
        };
    }

    /// The next one that can be sent.
    pub(super) fn pop(&mut self) -> Option<(u16, Option<ReasonCode>)> {
        let (id, owed) = *self.entries.front()?;
        let code = match owed {
            Owed::Waiting | Owed::Soon(_) => return None,
            Owed::Known(code) => Some(code),
            Owed::Never => None,
        };
        self.entries.pop_front();
        self.base = self.base.saturating_add(1);
        Some((id, code))
    }

    fn index(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.base)?.checked_sub(1)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// MQTT-4.6.0-2 (v3.1.1 and v5)
    #[test]
    fn answers_come_in_the_order_of_their_packets() {
        let mut acks = Acks::default();
        for id in [7, 8, 9] {
            assert_eq!(acks.next(), u64::from(id) - 6);
            acks.push(id, Owed::Waiting);
        }
        acks.settle(2, Owed::Known(ReasonCode::Success));
        assert_eq!(acks.pop(), None);
        acks.settle(1, Owed::Never);
        assert_eq!(acks.packet_id(1), Some(7));
        assert_eq!(acks.pop(), Some((7, None)));
        assert_eq!(acks.pop(), Some((8, Some(ReasonCode::Success))));
        assert_eq!(acks.pop(), None);
        assert_eq!(acks.packet_id(1), None);
        acks.settle(1, Owed::Never);
        acks.settle(3, Owed::Never);
        assert_eq!(acks.pop(), Some((9, None)));
        assert_eq!(acks.len(), 0);
    }
}
