//! The distinct bindings of an exchange: routing key and arguments, and what they are the same by.
//!
//! May import `value`, `broker::exchange` and of `ringmq_shards` a list.

use std::collections::HashMap;
use std::rc::Rc;

use ringmq_shards::Chunks;

use crate::broker::exchange::canonical::spell_arguments;
use crate::broker::exchange::place::Place;
use crate::broker::exchange::shard_set::ShardSet;
use crate::broker::exchange::{Binding, Destination};
use crate::value::Table;

static NO_ARGUMENTS: Table = Table(Vec::new());

/// A binding key with arguments, whatever is bound by it.
#[derive(Debug)]
pub(super) struct Entry {
    /// The routing key, shared with the index and the exchange.
    pub(super) key: Rc<str>,
    /// Nearly always none.
    arguments: Option<Box<Table>>,
    /// Other shards that have queues bound so.
    pub(super) interested: ShardSet,
}

impl Entry {
    /// The binding's arguments.
    pub(super) fn arguments(&self) -> &Table {
        self.arguments.as_deref().unwrap_or(&NO_ARGUMENTS)
    }
}

/// What a binding is found by when the key alone does not tell.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Identity {
    key: Rc<str>,
    arguments: Option<Box<[u8]>>,
    /// Where the exchange picks one, each destination is a binding of its own.
    only: Option<Destination>,
}

/// Every distinct binding at its place.
#[derive(Debug, Default)]
pub(super) struct Entries {
    entries: Chunks<Option<Entry>>,
    free: Vec<Place>,
    /// Bindings without arguments, which are nearly all, by key.
    plain: HashMap<Rc<str>, Place, ahash::RandomState>,
    special: HashMap<Identity, Place, ahash::RandomState>,
    /// The names to draw lots with, where the exchange picks one.
    lots: HashMap<Place, Rc<str>, ahash::RandomState>,
    no_lot: Rc<str>,
}

impl Entries {
    /// The place of a binding.
    pub(super) fn find(
        &self,
        key: &str,
        arguments: &Table,
        only: Option<Destination>,
    ) -> Option<Place> {
        if arguments.is_empty() && only.is_none() {
            return self.plain.get(key).copied();
        }
        let identity = Identity { key: key.into(), arguments: spell_arguments(arguments), only };
        self.special.get(&identity).copied()
    }

    /// Gives a place to a binding that has none.
    pub(super) fn insert(
        &mut self,
        key: &str,
        arguments: &Table,
        lot: Option<(Destination, &str)>,
    ) -> Place {
        let key: Rc<str> = key.into();
        let next = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        let place = self.free.pop().unwrap_or(Place(next));
        if arguments.is_empty() && lot.is_none() {
            self.plain.insert(Rc::clone(&key), place);
        } else {
            let only = lot.map(|(destination, _)| destination);
            let arguments = spell_arguments(arguments);
            self.special.insert(Identity { key: Rc::clone(&key), arguments, only }, place);
        }
        if let Some((_, name)) = lot {
            self.lots.insert(place, name.into());
        }
        let arguments = (!arguments.is_empty()).then(|| Box::new(arguments.clone()));
        let entry = Entry { key, arguments, interested: ShardSet::EMPTY };
        match self.entries.get_mut(place.index()) {
            Some(slot) => *slot = Some(entry),
            None => self.entries.push(Some(entry)),
        }
        place
    }

    /// Takes a place back; `only` as it was inserted.
    pub(super) fn remove(&mut self, place: Place, only: Option<Destination>) {
        let slot = self.entries.get_mut(place.index());
        let Some(entry) = slot.and_then(Option::take) else { return };
        if entry.arguments.is_none() && only.is_none() {
            self.plain.remove(&entry.key);
        } else {
            let arguments = spell_arguments(entry.arguments());
            self.special.remove(&Identity { key: entry.key, arguments, only });
        }
        self.lots.remove(&place);
        self.free.push(place);
    }

    /// The binding at a place.
    pub(super) fn get(&self, place: Place) -> Option<&Entry> {
        self.entries.get(place.index())?.as_ref()
    }

    /// The binding at a place.
    pub(super) fn get_mut(&mut self, place: Place) -> Option<&mut Entry> {
        self.entries.get_mut(place.index())?.as_mut()
    }

    /// The binding at a place, as its exchange sees it.
    pub(super) fn binding(&self, place: Place) -> Option<Binding<'_>> {
        let entry = self.get(place)?;
        let lot = self.lots.get(&place).unwrap_or(&self.no_lot);
        Some(Binding { place, key: &entry.key, arguments: entry.arguments(), lot })
    }

    /// Every binding with its place.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Place, &Entry)> {
        (0..)
            .map(Place)
            .zip(self.entries.iter())
            .filter_map(|(place, e)| Some((place, e.as_ref()?)))
    }

    /// The number of distinct bindings.
    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }
}
