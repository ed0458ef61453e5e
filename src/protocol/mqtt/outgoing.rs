//! Deliveries that are out, by packet id (2.3.1-4, 4.4.0-1; in version 5 2.2.1-4, 4.4.0-1).
//! May import `command`, `ids`, `message`.
//!
//! The packet id follows from the position of a message in the session's queue, so a resend has the
//! id of the first send, also after a restart. Two positions 65,535 apart would share one: the
//! later waits until the earlier is done with, and everything after it waits as well.
//!
//! What counts is how many positions the queue has given, without the number of the boot in the upper
//! bits: the count goes on over an orderly restart, as with other brokers. After a crash it goes on
//! some thousands later (`broker::storage`): a client may still hold the packet id of a message with
//! QoS 1 that the crash has taken before anybody was told that it is safe, and that id must not come
//! soon with another message.

use std::collections::VecDeque;

use ringmq_shards::log::ids::BOOT_SHIFT;

use crate::command::Delivery;
use crate::ids::{DeliveryId, QueueRef};
use crate::message::Message;

/// Packet ids there are: 1 to 65,535.
const IDS: u64 = 65_535;

/// How many positions the queue had given before this one: the first thing that a client sees of a
/// new session is packet id 1, as of other brokers.
const fn count(position: u64) -> u64 {
    position & ((1 << BOOT_SHIFT) - 1)
}

/// The place of a position in the round of packet ids.
const fn number(position: u64) -> u64 {
    count(position) % IDS
}

/// The packet id of a position.
pub(super) fn packet_id(position: u64) -> u16 {
    u16::try_from(number(position) + 1).unwrap_or(1)
}

/// Whether two positions are less than a round of packet ids apart, and stand as they count: in
/// queues of which nothing was known after a crash those of two boots may not.
const fn are_near(one: u64, other: u64) -> bool {
    count(one).abs_diff(count(other)) < IDS && (one < other) == (count(one) < count(other))
}

/// How far a delivery has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// PUBLISH with QoS 1 was sent: PUBACK is awaited.
    AtLeastOnce,
    /// PUBLISH with QoS 2 was sent: PUBREC is awaited.
    ExactlyOnce,
    /// PUBREC came; the broker makes it durable.
    Receiving,
    /// PUBREL was sent: PUBCOMP is awaited.
    Released,
    /// Done with; kept until those before it are.
    Done,
}

/// One delivery that is out.
#[derive(Debug, Clone)]
pub(super) struct Out {
    /// Its position in the session's queue.
    pub(super) position: u64,
    /// Whom to tell how it ended.
    pub(super) queue: QueueRef,
    /// Which delivery.
    pub(super) id: DeliveryId,
    /// How far it has come.
    pub(super) stage: Stage,
    /// It shows a retained message to a new subscription.
    pub(super) is_replay: bool,
    /// When something was sent last, monotonic milliseconds.
    pub(super) sent_ms: u64,
    /// Kept only where it may be sent again on this connection.
    pub(super) message: Option<Message>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// By position.
    entries: VecDeque<Out>,
    done: usize,
    /// There from the first that is held, or waited for, on.
    held: Option<Box<Held>>,
}

/// Deliveries that cannot be sent at once.
#[derive(Debug, Default)]
struct Held {
    /// Those whose packet id is in use, or that wait until they are kept, each with the number of
    /// its wait.
    all: VecDeque<(Delivery, u64)>,
    /// Waits that were begun, and the last one that is over.
    waits: u64,
    waited: u64,
}

/// Entries that are done with and may stay in the middle before anything is moved.
const HOLES_MIN: usize = 64;

impl Outgoing {
    /// Whether a delivery can be sent now: its packet id is free, and nothing waits before it.
    pub(super) fn admits(&self, position: u64) -> bool {
        let is_near = |at: Option<&Out>| at.is_none_or(|out| are_near(out.position, position));
        self.held.as_ref().is_none_or(|held| held.all.is_empty())
            && is_near(self.entries.front())
            && is_near(self.entries.back())
    }

    /// Keeps a delivery that cannot be sent now: not before this wait is over, 0 for none.
    pub(super) fn hold(&mut self, delivery: Delivery, wait: u64) {
        self.held.get_or_insert_default().all.push_back((delivery, wait));
    }

    /// The number of a new wait.
    pub(super) fn next_wait(&mut self) -> u64 {
        let held = self.held.get_or_insert_default();
        held.waits = held.waits.saturating_add(1);
        held.waits
    }

    /// A wait is over, and so are those before it.
    pub(super) fn end_wait(&mut self, number: u64) {
        let held = self.held.get_or_insert_default();
        held.waited = held.waited.max(number);
    }

    /// The position of the delivery that was held first.
    pub(super) fn first_held(&self) -> Option<u64> {
        self.held.as_ref()?.all.front().map(|(delivery, _)| delivery.position)
    }

    /// A delivery that was held and can be sent now.
    pub(super) fn unhold(&mut self) -> Option<Delivery> {
        let held = self.held.as_mut()?;
        let (delivery, wait) = held.all.front()?;
        let position = delivery.position;
        let is_near = |at: Option<&Out>| at.is_none_or(|out| are_near(out.position, position));
        let is_free = is_near(self.entries.front()) && is_near(self.entries.back());
        if !is_free || *wait > held.waited {
            return None;
        }
        held.all.pop_front().map(|(delivery, _)| delivery)
    }

    /// A delivery has been sent.
    pub(super) fn insert(&mut self, out: Out) {
        let is_last = self.entries.back().is_none_or(|last| last.position < out.position);
        if is_last {
            return self.entries.push_back(out);
        }
        // After a resume those come first that were received, whatever stands before them.
        match self.entries.binary_search_by_key(&out.position, |e| e.position) {
            Ok(index) => {
                if let Some(entry) = self.entries.get_mut(index) {
                    self.done = self.done.saturating_sub(usize::from(entry.stage == Stage::Done));
                    *entry = out;
                }
            }
            Err(index) => self.entries.insert(index, out),
        }
    }

    /// The delivery with this packet id.
    pub(super) fn get_mut(&mut self, packet_id: u16) -> Option<&mut Out> {
        let index = self.find(packet_id)?;
        self.entries.get_mut(index).filter(|out| out.stage != Stage::Done)
    }

    /// The delivery at this position.
    pub(super) fn at_mut(&mut self, position: u64) -> Option<&mut Out> {
        self.get_mut(packet_id(position)).filter(|out| out.position == position)
    }

    /// It is done with: its packet id is free.
    pub(super) fn remove(&mut self, packet_id: u16) {
        let Some(out) = self.get_mut(packet_id) else { return };
        out.stage = Stage::Done;
        out.message = None;
        self.done = self.done.saturating_add(1);
        while self.entries.front().is_some_and(|e| e.stage == Stage::Done) {
            self.entries.pop_front();
            self.done = self.done.saturating_sub(1);
        }
        let open = self.entries.len().saturating_sub(self.done);
        if self.done > HOLES_MIN.max(open) {
            self.entries.retain(|e| e.stage != Stage::Done);
            self.done = 0;
        }
    }

    /// How many are out.
    pub(super) fn len(&self) -> usize {
        self.entries.len().saturating_sub(self.done)
    }

    /// Those that are out, by position.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Out> {
        self.entries.iter_mut().filter(|e| e.stage != Stage::Done)
    }

    fn find(&self, packet_id: u16) -> Option<usize> {
        let front = self.entries.front()?.position;
        let wanted = u64::from(packet_id.checked_sub(1)?);
        // The one position with this id that is not before the front and less than a round away.
        let distance = (wanted + IDS - number(front)) % IDS;
        let wanted = count(front).saturating_add(distance);
        let guess = usize::try_from(distance).ok()?;
        if self.entries.get(guess).is_some_and(|e| count(e.position) == wanted) {
            return Some(guess);
        }
        self.entries.binary_search_by_key(&wanted, |e| count(e.position)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{QueueId, ShardId};

    fn out(position: u64) -> Out {
        Out {
            position,
            queue: QueueRef { shard: ShardId(0), queue: QueueId::new(1, 0) },
            id: DeliveryId(position),
            stage: Stage::AtLeastOnce,
            is_replay: false,
            sent_ms: 0,
            message: None,
        }
    }

    /// MQTT-2.3.1-1 (v3.1.1), MQTT-2.2.1-4 (v5)
    #[test]
    fn a_packet_id_is_never_zero_and_follows_from_the_position() {
        let first = 1 << BOOT_SHIFT;
        assert_eq!(packet_id(first), 1);
        assert_eq!(packet_id(first + 65_534), 65_535);
        assert_eq!(packet_id(first + 65_535), 1);
        assert_eq!(packet_id(u64::MAX), packet_id(u64::MAX - 65_535));
    }

    /// MQTT-2.3.1-4 (v3.1.1), MQTT-2.2.1-4 (v5)
    #[test]
    fn packet_ids_go_on_over_boots_and_are_never_shared_while_in_use() {
        let (first, second) = (1 << BOOT_SHIFT, 2 << BOOT_SHIFT);
        assert_eq!((packet_id(first), packet_id(second), packet_id(second + 1)), (1, 1, 2));
        let mut outgoing = Outgoing::default();
        outgoing.insert(out(first + 3));
        assert!(outgoing.admits(second + 4), "the count has gone on");
        outgoing.insert(out(second + 4));
        assert_eq!(outgoing.get_mut(4).unwrap().position, first + 3);
        assert_eq!(outgoing.get_mut(5).unwrap().position, second + 4);
        // Nothing was known of the queue: its count began anew.
        assert!(!outgoing.admits(second + 3) && !outgoing.admits(second + 2));
        assert!(!outgoing.admits(second + 3 + IDS), "this id is in use");
        outgoing.remove(4);
        assert!(outgoing.admits(second + 3 + IDS));
        outgoing.remove(5);
        assert!(outgoing.admits(second));
    }

    /// MQTT-2.3.1-4 (v3.1.1), MQTT-2.2.1-4 (v5)
    #[test]
    fn a_packet_id_is_in_use_until_its_delivery_is_done_with() {
        let mut outgoing = Outgoing::default();
        outgoing.insert(out(5));
        assert!(outgoing.admits(6));
        assert!(outgoing.admits(65_539));
        assert!(!outgoing.admits(65_540));
        outgoing.remove(packet_id(5));
        assert!(outgoing.admits(65_540));
        assert_eq!(outgoing.len(), 0);
    }

    #[test]
    fn entries_are_found_whatever_is_missing_between_them() {
        let mut outgoing = Outgoing::default();
        let positions = [65_530, 65_533, 65_534, 65_535, 65_536, 65_600];
        for position in positions {
            outgoing.insert(out(position));
        }
        for position in positions {
            assert_eq!(outgoing.get_mut(packet_id(position)).unwrap().position, position);
            assert_eq!(outgoing.at_mut(position).unwrap().position, position);
        }
        assert!(outgoing.at_mut(1).is_none());
        assert!(outgoing.get_mut(0).is_none());
        assert!(outgoing.get_mut(packet_id(65_570)).is_none());
        outgoing.remove(packet_id(65_534));
        assert!(outgoing.get_mut(packet_id(65_534)).is_none());
        assert_eq!(outgoing.len(), 5);
    }

    #[test]
    fn those_that_were_received_may_come_before_those_before_them() {
        let mut outgoing = Outgoing::default();
        for position in [8, 9, 3, 4] {
            assert!(outgoing.admits(position));
            outgoing.insert(out(position));
        }
        let order: Vec<_> = outgoing.iter_mut().map(|o| o.position).collect();
        assert_eq!(order, [3, 4, 8, 9]);
    }

    #[test]
    fn done_entries_behind_one_that_is_kept_are_forgotten() {
        let mut outgoing = Outgoing::default();
        outgoing.insert(out(0));
        for position in 1..60_000 {
            outgoing.insert(out(position));
            outgoing.remove(packet_id(position));
        }
        assert!(outgoing.entries.len() <= 2 * HOLES_MIN + 2);
        assert_eq!(outgoing.get_mut(packet_id(0)).unwrap().position, 0);
    }
}
