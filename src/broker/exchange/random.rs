//! The exchange type `x-random`: any one of the bindings, each as likely as the others, whatever
//! the key. `x-local-random` picks among the queues of the publisher's node (R17), which here
//! are all queues.
//!
//! May import its siblings.

use super::place::{Place, PlaceSet};
use super::{Binding, Exchange, ExchangeType, Routed};

pub(super) const TYPE: ExchangeType = ExchangeType {
    name: "x-random",
    aliases: &["x-local-random"],
    make: |_| Ok(Box::<Random>::default()),
};

#[derive(Debug, Default)]
struct Random {
    places: PlaceSet,
}

impl Exchange for Random {
    fn insert(&mut self, binding: &Binding<'_>) {
        self.places.insert(binding.place);
    }

    fn remove(&mut self, binding: &Binding<'_>) {
        self.places.remove(binding.place);
    }

    fn route(&self, message: &Routed<'_>, places: &mut Vec<Place>) {
        let members = self.places.as_slice();
        // The high bits of choice * count / 2^64: no division, no bias worth naming.
        let pick = (u128::from(message.choice) * members.len() as u128) >> 64;
        places.extend(usize::try_from(pick).ok().and_then(|pick| members.get(pick)));
    }

    fn depends_on_key_only(&self) -> bool {
        false
    }

    fn picks_one(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract::{add, route_with_choice};
    use super::*;

    #[test]
    fn every_binding_gets_its_share_of_random_numbers() {
        let mut random = Random::default();
        for place in 0..4 {
            add(&mut random, place, "", &format!("q{place}"));
        }
        for quarter in 0..4u32 {
            let choice = (u64::from(quarter) << 62) + 12345;
            assert_eq!(route_with_choice(&random, "k", choice), [quarter]);
        }
        assert_eq!(route_with_choice(&random, "k", u64::MAX), [3]);
    }
}
