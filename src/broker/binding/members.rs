//! Who is bound at which place, both directions, everything in constant time per binding.
//!
//! May import `broker::exchange::{few, place}` and of `ringmq_shards` a list.

use std::collections::HashMap;
use std::hash::Hash;

use ringmq_shards::Chunks;

use crate::broker::exchange::few::Few;
use crate::broker::exchange::place::Place;

/// Where a link stands in the two lists that have it.
#[derive(Debug, Clone, Copy)]
struct Link {
    /// In the list of its place.
    at_place: u32,
    /// In the list of its member.
    at_member: u32,
}

/// Members of one kind: queues, exchanges, or queues by name.
#[derive(Debug)]
pub(super) struct Members<T> {
    by_place: Chunks<Few<T>>,
    by_member: HashMap<T, Few<Place>, ahash::RandomState>,
    links: HashMap<(Place, T), Link, ahash::RandomState>,
}

impl<T> Default for Members<T> {
    fn default() -> Self {
        Self { by_place: Chunks::new(), by_member: HashMap::default(), links: HashMap::default() }
    }
}

impl<T: Copy + Eq + Hash> Members<T> {
    /// Adds a link; tells whether it was missing.
    pub(super) fn add(&mut self, place: Place, member: T) -> bool {
        if self.links.contains_key(&(place, member)) {
            return false;
        }
        while self.by_place.len() <= place.index() {
            self.by_place.push(Few::default());
        }
        let Some(members) = self.by_place.get_mut(place.index()) else { return false };
        let at_place = members.push(member);
        let at_member = self.by_member.entry(member).or_default().push(place);
        let link = Link { at_place: narrow(at_place), at_member: narrow(at_member) };
        self.links.insert((place, member), link);
        true
    }

    /// Takes a link out; tells whether it was there.
    pub(super) fn remove(&mut self, place: Place, member: T) -> bool {
        let Some(link) = self.links.remove(&(place, member)) else { return false };
        if let Some(members) = self.by_place.get_mut(place.index())
            && let Some(moved) = members.swap_remove(link.at_place as usize)
            && let Some(moved) = self.links.get_mut(&(place, moved))
        {
            moved.at_place = link.at_place;
        }
        if let Some(places) = self.by_member.get_mut(&member) {
            if let Some(moved) = places.swap_remove(link.at_member as usize)
                && let Some(moved) = self.links.get_mut(&(moved, member))
            {
                moved.at_member = link.at_member;
            }
            if places.is_empty() {
                self.by_member.remove(&member);
            }
        }
        true
    }

    /// Who is bound at a place.
    pub(super) fn at(&self, place: Place) -> &[T] {
        self.by_place.get(place.index()).map_or(&[], Few::as_slice)
    }

    /// Where a member is bound.
    pub(super) fn places_of(&self, member: T) -> &[Place] {
        self.by_member.get(&member).map_or(&[], Few::as_slice)
    }

    /// The number of links.
    pub(super) fn len(&self) -> usize {
        self.links.len()
    }
}

/// Memory is gone long before one list has 2^32 members.
fn narrow(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn both_directions_agree_after_any_history(
            acts in prop::collection::vec((any::<bool>(), 0u32..6, 0u8..6), 0..200),
        ) {
            let mut members = Members::<u8>::default();
            let mut model = BTreeSet::new();
            for (add, place, member) in acts {
                if add {
                    let new = members.add(Place(place), member);
                    prop_assert_eq!(new, model.insert((place, member)));
                } else {
                    let existed = members.remove(Place(place), member);
                    prop_assert_eq!(existed, model.remove(&(place, member)));
                }
            }
            prop_assert_eq!(members.len(), model.len());
            for n in 0..6u8 {
                let at: BTreeSet<_> = members.at(Place(n.into())).iter().copied().collect();
                let model_at: BTreeSet<_> =
                    model.iter().filter(|(p, _)| *p == u32::from(n)).map(|(_, m)| *m).collect();
                prop_assert_eq!(at, model_at);
                let of: BTreeSet<_> = members.places_of(n).iter().map(|p| p.0).collect();
                let model_of: BTreeSet<_> =
                    model.iter().filter(|(_, m)| *m == n).map(|(p, _)| *p).collect();
                prop_assert_eq!(of, model_of);
            }
        }
    }
}
