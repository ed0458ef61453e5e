//! The exchange type `fanout`: every binding matches.
//!
//! May import its siblings.

use super::place::{Place, PlaceSet};
use super::{Binding, Exchange, ExchangeType, Routed};

pub(super) const TYPE: ExchangeType =
    ExchangeType { name: "fanout", aliases: &[], make: |_| Ok(Box::<Fanout>::default()) };

#[derive(Debug, Default)]
struct Fanout {
    places: PlaceSet,
}

impl Exchange for Fanout {
    fn insert(&mut self, binding: &Binding<'_>) {
        self.places.insert(binding.place);
    }

    fn remove(&mut self, binding: &Binding<'_>) {
        self.places.remove(binding.place);
    }

    fn route(&self, _message: &Routed<'_>, places: &mut Vec<Place>) {
        places.extend_from_slice(self.places.as_slice());
    }

    fn depends_on_key_only(&self) -> bool {
        true
    }
}
