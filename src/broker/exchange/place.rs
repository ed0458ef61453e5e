//! Places of the binding table, and sets of them.
//!
//! May import nothing.

/// A binding as an exchange type sees it: a place in the table of its exchange, which knows what
/// is bound there. Handed out and taken back by the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Place(pub(crate) u32);

impl Place {
    /// The index into tables by place.
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A set of any size: in and out in constant time, members side by side.
#[derive(Debug, Default)]
pub(crate) struct PlaceSet {
    members: Vec<Place>,
    /// By place: where it is in `members`, if it is.
    position: Vec<Option<u32>>,
}

impl PlaceSet {
    /// The members in no particular order.
    pub(crate) fn as_slice(&self) -> &[Place] {
        &self.members
    }

    /// Adds a place.
    pub(crate) fn insert(&mut self, place: Place) {
        if self.position.len() <= place.index() {
            self.position.resize(place.index() + 1, None);
        }
        let next = u32::try_from(self.members.len()).ok();
        if let Some(position) = self.position.get_mut(place.index()).filter(|p| p.is_none()) {
            *position = next;
            self.members.push(place);
        }
    }

    /// Takes a place out.
    pub(crate) fn remove(&mut self, place: Place) {
        let Some(position) = self.position.get_mut(place.index()).and_then(Option::take) else {
            return;
        };
        self.members.swap_remove(position as usize);
        if let Some(moved) = self.members.get(position as usize)
            && let Some(entry) = self.position.get_mut(moved.index())
        {
            *entry = Some(position);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_in_the_set_once_and_leaves_the_others_alone() {
        let mut set = PlaceSet::default();
        for place in [5, 1, 9, 5] {
            set.insert(Place(place));
        }
        assert_eq!(set.as_slice(), [Place(5), Place(1), Place(9)]);
        set.remove(Place(5));
        set.remove(Place(5));
        set.remove(Place(77));
        assert_eq!(set.as_slice(), [Place(9), Place(1)]);
        set.remove(Place(9));
        set.remove(Place(1));
        assert!(set.as_slice().is_empty());
    }
}
