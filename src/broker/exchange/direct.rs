//! The exchange type `direct`: the routing key is the binding key.
//!
//! May import its siblings.

use std::collections::HashMap;
use std::rc::Rc;

use super::few::Few;
use super::place::Place;
use super::{Binding, Exchange, ExchangeType, Routed};

pub(super) const TYPE: ExchangeType =
    ExchangeType { name: "direct", aliases: &[], make: |_| Ok(Box::<Direct>::default()) };

#[derive(Debug, Default)]
struct Direct {
    by_key: HashMap<Rc<str>, Few<Place>, ahash::RandomState>,
}

impl Exchange for Direct {
    fn insert(&mut self, binding: &Binding<'_>) {
        self.by_key.entry(Rc::clone(binding.key)).or_default().push(binding.place);
    }

    fn remove(&mut self, binding: &Binding<'_>) {
        if let Some(places) = self.by_key.get_mut(&**binding.key) {
            places.remove(binding.place);
            if places.is_empty() {
                self.by_key.remove(&**binding.key);
            }
        }
    }

    fn route(&self, message: &Routed<'_>, places: &mut Vec<Place>) {
        if let Some(found) = self.by_key.get(message.key) {
            places.extend_from_slice(found.as_slice());
        }
    }

    fn depends_on_key_only(&self) -> bool {
        true
    }
}
