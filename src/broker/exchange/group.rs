//! The exchange type `x-group`: groups of subscribers, each to one filter; a message goes to one
//! member of each group whose filter it matches, to one who is here if any is, and of those to one
//! who is near if any is. Of several one is drawn, or has the next turn as this shard sees it. The
//! binding key is the address of the group, [`crate::subscriber::address`].
//!
//! May import its siblings, `broker::topic_tree` and the names of `crate::subscriber`.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

use super::arguments::BadArgument;
use super::canonical::mix;
use super::few::Few;
use super::filter::is_filter;
use super::place::Place;
use super::{Binding, Exchange, ExchangeType, Routed};
use crate::broker::topic_tree::{Syntax, TopicTree};
use crate::subscriber::group_of;
use crate::value::Table;

pub(super) const TYPE: ExchangeType =
    ExchangeType { name: "x-group", aliases: &[], make: |_| Ok(Box::<Groups>::default()) };

/// What members of a group subscribe to.
fn filter_of(key: &str) -> &str {
    group_of(key).map_or(key, |(_, filter)| filter)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct GroupId(u32);

/// Where a member stands.
#[derive(Debug, Clone, Copy)]
struct Seat {
    group: GroupId,
    away: bool,
    near: bool,
    position: usize,
}

/// The members of one group, in three rows.
#[derive(Debug, Default)]
struct Group {
    near: Vec<Place>,
    here: Vec<Place>,
    away: Vec<Place>,
    /// Messages that were given in turn.
    turns: Cell<u32>,
}

impl Group {
    fn row(&mut self, away: bool, near: bool) -> &mut Vec<Place> {
        match (away, near) {
            (true, _) => &mut self.away,
            (false, true) => &mut self.near,
            (false, false) => &mut self.here,
        }
    }

    fn is_empty(&self) -> bool {
        self.near.is_empty() && self.here.is_empty() && self.away.is_empty()
    }

    fn first_row(&self) -> Option<&Vec<Place>> {
        [&self.near, &self.here, &self.away].into_iter().find(|row| !row.is_empty())
    }

    fn next(&self) -> Option<Place> {
        let row = self.first_row()?;
        let turn = usize::try_from(self.turns.get()).unwrap_or(0) % row.len();
        self.turns.set(self.turns.get().wrapping_add(1));
        row.get(turn).copied()
    }

    fn pick(&self, choice: u64) -> Option<Place> {
        let row = self.first_row()?;
        // The high bits of choice * count / 2^64: no division, no bias worth naming.
        let pick = (u128::from(choice) * row.len() as u128) >> 64;
        usize::try_from(pick).ok().and_then(|pick| row.get(pick)).copied()
    }
}

#[derive(Debug)]
struct Groups {
    groups: Vec<Group>,
    free: Vec<GroupId>,
    by_address: HashMap<Rc<str>, GroupId, ahash::RandomState>,
    seats: HashMap<Place, Seat, ahash::RandomState>,
    filters: TopicTree<Few<u32>>,
}

impl Default for Groups {
    fn default() -> Self {
        Self {
            groups: Vec::new(),
            free: Vec::new(),
            by_address: HashMap::default(),
            seats: HashMap::default(),
            filters: TopicTree::new(Syntax::SLASHES),
        }
    }
}

impl Groups {
    fn group(&self, id: GroupId) -> Option<&Group> {
        self.groups.get(id.0 as usize)
    }

    fn make_group(&mut self, address: &Rc<str>) -> GroupId {
        let next = GroupId(u32::try_from(self.groups.len()).unwrap_or(u32::MAX));
        let id = self.free.pop().unwrap_or(next);
        if id == next {
            self.groups.push(Group::default());
        }
        self.by_address.insert(Rc::clone(address), id);
        self.filters.update(filter_of(address), |groups| {
            groups.push(id.0);
        });
        id
    }

    fn sit(&mut self, place: Place, group: GroupId, away: bool, near: bool) {
        let Some(members) = self.groups.get_mut(group.0 as usize) else { return };
        let row = members.row(away, near);
        let position = row.len();
        row.push(place);
        self.seats.insert(place, Seat { group, away, near, position });
    }

    fn rise(&mut self, place: Place) -> Option<Seat> {
        let seat = self.seats.remove(&place)?;
        let row = self.groups.get_mut(seat.group.0 as usize)?.row(seat.away, seat.near);
        if seat.position < row.len() {
            row.swap_remove(seat.position);
        }
        if let Some(moved) = row.get(seat.position)
            && let Some(moved) = self.seats.get_mut(moved)
        {
            moved.position = seat.position;
        }
        Some(seat)
    }
}

impl Exchange for Groups {
    fn validate_binding(&self, key: &str, _arguments: &Table) -> Result<(), BadArgument> {
        let filter = filter_of(key);
        if is_filter(filter) { Ok(()) } else { Err(BadArgument::NotAFilter(filter.into())) }
    }

    fn insert(&mut self, binding: &Binding<'_>) {
        let group = match self.by_address.get(binding.key) {
            Some(group) => *group,
            None => self.make_group(binding.key),
        };
        self.sit(binding.place, group, false, false);
    }

    fn remove(&mut self, binding: &Binding<'_>) {
        let Some(Seat { group, .. }) = self.rise(binding.place) else { return };
        let empty = self.group(group).is_some_and(Group::is_empty);
        if !empty {
            return;
        }
        self.by_address.remove(binding.key);
        self.free.push(group);
        let filter = filter_of(binding.key);
        if let Some(groups) = self.filters.get_mut(filter) {
            groups.remove(group.0);
            if groups.is_empty() {
                self.filters.remove(filter);
            }
        }
    }

    fn route(&self, message: &Routed<'_>, places: &mut Vec<Place>) {
        self.filters.matching(message.key, |found| {
            for id in found.as_slice() {
                let Some(group) = self.group(GroupId(*id)) else { continue };
                let choice = mix(message.choice ^ u64::from(*id));
                places.extend(if message.in_turn { group.next() } else { group.pick(choice) });
            }
        });
    }

    fn depends_on_key_only(&self) -> bool {
        false
    }

    fn picks_one(&self) -> bool {
        true
    }

    fn pick(&self, key: &str, choice: u64) -> Option<Place> {
        self.group(*self.by_address.get(key)?)?.pick(choice)
    }

    fn set_away(&mut self, place: Place, away: bool) {
        if self.seats.get(&place).is_some_and(|seat| seat.away != away)
            && let Some(seat) = self.rise(place)
        {
            self.sit(place, seat.group, away, seat.near);
        }
    }

    fn set_near(&mut self, place: Place) {
        if let Some(seat) = self.rise(place) {
            self.sit(place, seat.group, seat.away, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract::{add, route_in_turn, route_with_choice, take};
    use super::*;
    use crate::subscriber::address;

    fn picks(groups: &Groups, topic: &str) -> Vec<Vec<u32>> {
        let mut all: Vec<Vec<u32>> =
            (0..64).map(|n| route_with_choice(groups, topic, mix(n))).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    #[test]
    fn one_member_of_each_group_that_matches_is_picked_and_each_has_its_share() {
        let mut groups = Groups::default();
        for (place, key) in [
            (0, address("g", "a/+")),
            (1, address("g", "a/+")),
            (2, address("h", "a/+")),
            (3, address("g", "#")),
            (4, address("g", "b")),
        ] {
            add(&mut groups, place, &key, "");
        }
        assert_eq!(picks(&groups, "a/x"), [[0, 2, 3], [1, 2, 3]]);
        assert_eq!(picks(&groups, "b"), [[3, 4]]);
        assert_eq!(picks(&groups, "$b"), [[0_u32; 0]]);
    }

    #[test]
    fn members_have_their_turns_in_the_order_in_which_they_came_and_each_group_has_its_own() {
        let mut groups = Groups::default();
        for (place, key) in [
            (0, address("g", "a/+")),
            (1, address("g", "a/+")),
            (2, address("g", "a/+")),
            (3, address("h", "a/b")),
            (4, address("h", "a/b")),
        ] {
            add(&mut groups, place, &key, "");
        }
        let next = |topic| route_in_turn(&groups, topic);
        assert_eq!([next("a/b"), next("a/x"), next("a/b")], [vec![0, 3], vec![1], vec![2, 4]]);
        assert_eq!([next("a/x"), next("a/b")], [vec![0], vec![1, 3]]);
        take(&mut groups, 1, &address("g", "a/+"), &Table::default(), "");
        groups.set_away(Place(0), true);
        assert_eq!([route_in_turn(&groups, "a/x"), route_in_turn(&groups, "a/y")], [[2], [2]]);
    }

    #[test]
    fn who_is_here_comes_before_who_is_away_and_all_are_better_than_none() {
        let mut groups = Groups::default();
        let key = address("g", "a");
        (0..3).for_each(|place| add(&mut groups, place, &key, ""));
        groups.set_away(Place(0), true);
        groups.set_away(Place(0), true);
        assert_eq!(picks(&groups, "a"), [[1], [2]]);
        groups.set_away(Place(2), true);
        assert_eq!(picks(&groups, "a"), [[1]]);
        take(&mut groups, 1, &key, &Table::default(), "");
        assert_eq!(picks(&groups, "a"), [[0], [2]]);
        groups.set_away(Place(2), false);
        assert_eq!(picks(&groups, "a"), [[2]]);
        assert_eq!(groups.pick(&key, 0), Some(Place(2)));
        add(&mut groups, 3, &key, "");
        groups.set_near(Place(3));
        groups.set_near(Place(0));
        assert_eq!(picks(&groups, "a"), [[3]], "who is near but away does not come first");
        groups.set_away(Place(3), true);
        assert_eq!(picks(&groups, "a"), [[2]]);
        groups.set_away(Place(0), false);
        assert_eq!(picks(&groups, "a"), [[0]], "near again");
        for place in [3, 2, 0] {
            take(&mut groups, place, &key, &Table::default(), "");
        }
        assert_eq!(groups.pick(&key, 0), None);
        assert!(groups.filters.is_empty() && groups.seats.is_empty());
        add(&mut groups, 7, &address("h", "b"), "");
        assert_eq!((picks(&groups, "b"), groups.groups.len()), (vec![vec![7]], 1));
    }
}
