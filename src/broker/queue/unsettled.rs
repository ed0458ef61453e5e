//! The deliveries of a queue that are out, by [`DeliveryId`]: constant time, nothing hashed.
//!
//! An id is the place in the table and a stamp that is not used again for 2^32 deliveries, so
//! settling twice is noticed (P47).
//! May import `ids`, `priority` and `store`.

use super::priority::Level;
use super::store::Position;
use crate::ids::{ConsumerId, DeliveryId};

/// Stands for a delivery that nobody will settle.
pub(crate) const SETTLED_AT_ONCE: DeliveryId = DeliveryId::SETTLED;

/// Places kept when nothing is out; a table that grew beyond gives its memory back.
const PLACES_KEPT_MAX: usize = 65_536;

/// One delivery that is out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unsettled {
    pub(crate) position: Position,
    pub(crate) level: Level,
    /// Whose credit it takes; `None` when it was fetched one by one (P68).
    pub(crate) consumer: Option<ConsumerId>,
    /// How often it came back before, as far as that counts.
    pub(crate) returned: u32,
    /// Octets of its body, so that it need not be read when it comes back.
    pub(crate) body_bytes: u32,
    /// Its consumer has it, and has still to say that it is done with.
    pub(crate) received: bool,
}

#[derive(Debug)]
enum Place {
    Free { next: Option<u32> },
    Taken { stamp: u32, delivery: Unsettled },
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct UnsettledTable {
    places: Vec<Place>,
    free: Option<u32>,
    last_stamp: u32,
    count: u64,
}

impl UnsettledTable {
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// Whether every id is in use: then nothing may be taken out of the queue.
    pub(crate) const fn is_full(&self) -> bool {
        self.count > u32::MAX as u64
    }

    /// Takes a delivery in; `None` when [`UnsettledTable::is_full`].
    pub(crate) fn insert(&mut self, delivery: Unsettled) -> Option<DeliveryId> {
        // Stamp 0 belongs to SETTLED_AT_ONCE.
        self.last_stamp = self.last_stamp.checked_add(1).unwrap_or(1);
        let stamp = self.last_stamp;
        let index = match self.free {
            Some(index) => {
                let place = self.places.get_mut(index as usize)?;
                if let Place::Free { next } = *place {
                    self.free = next;
                }
                *place = Place::Taken { stamp, delivery };
                index
            }
            None => {
                let index = u32::try_from(self.places.len()).ok()?;
                self.places.push(Place::Taken { stamp, delivery });
                index
            }
        };
        self.count += 1;
        Some(DeliveryId((u64::from(stamp) << 32) | u64::from(index)))
    }

    /// A delivery that is out, to be changed.
    pub(crate) fn get_mut(&mut self, id: DeliveryId) -> Option<&mut Unsettled> {
        let index = u32::try_from(id.0 & u64::from(u32::MAX)).ok()?;
        match self.places.get_mut(index as usize)? {
            Place::Taken { stamp, delivery } if u64::from(*stamp) == id.0 >> 32 => Some(delivery),
            Place::Taken { .. } | Place::Free { .. } => None,
        }
    }

    /// All that are out.
    pub(crate) fn ids(&self) -> Vec<DeliveryId> {
        let taken = self.places.iter().zip(0_u64..).filter_map(|(place, index)| match place {
            Place::Taken { stamp, .. } => Some(DeliveryId((u64::from(*stamp) << 32) | index)),
            Place::Free { .. } => None,
        });
        taken.collect()
    }

    /// Takes a delivery out; `None` when it is not out (any more).
    pub(crate) fn remove(&mut self, id: DeliveryId) -> Option<Unsettled> {
        let index = u32::try_from(id.0 & u64::from(u32::MAX)).ok()?;
        let place = self.places.get_mut(index as usize)?;
        match *place {
            Place::Taken { stamp, delivery } if u64::from(stamp) == id.0 >> 32 => {
                *place = Place::Free { next: self.free };
                self.free = Some(index);
                self.count = self.count.saturating_sub(1);
                if self.count == 0 && self.places.len() > PLACES_KEPT_MAX {
                    self.places = Vec::new();
                    self.free = None;
                }
                Some(delivery)
            }
            Place::Taken { .. } | Place::Free { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(position: u64) -> Unsettled {
        Unsettled {
            position: Position::new(position),
            level: 0,
            consumer: None,
            returned: 0,
            body_bytes: 0,
            received: false,
        }
    }

    #[test]
    fn a_delivery_is_settled_once_also_when_its_place_is_used_again() {
        let mut table = UnsettledTable::default();
        let first = table.insert(delivery(1)).unwrap();
        assert_eq!(table.remove(first), Some(delivery(1)));
        assert_eq!(table.remove(first), None);
        let second = table.insert(delivery(2)).unwrap();
        assert_ne!(first, second);
        assert_eq!(table.places.len(), 1);
        assert_eq!(table.remove(first), None);
        assert_eq!(table.remove(SETTLED_AT_ONCE), None);
        assert_eq!(table.remove(second), Some(delivery(2)));
        assert_eq!(table.count(), 0);
    }

    #[test]
    fn ids_from_before_the_table_was_emptied_stay_unknown() {
        let mut table = UnsettledTable::default();
        let ids: Vec<_> = (0..70_000).filter_map(|n| table.insert(delivery(n))).collect();
        assert!(ids.iter().all(|id| table.remove(*id).is_some()));
        assert!(table.places.is_empty());
        let _ = table.insert(delivery(1));
        assert!(ids.iter().all(|id| table.remove(*id).is_none()));
    }
}
