//! The exchange type `x-modulus-hash`: the hash of the routing key modulo the number of bindings
//! picks one (R17). Binding keys mean nothing; any change of bindings moves most keys.
//!
//! May import its siblings.

use super::canonical::StableHash;
use super::jump::Lots;
use super::place::Place;
use super::{Binding, Exchange, ExchangeType, Routed};

pub(super) const TYPE: ExchangeType = ExchangeType {
    name: "x-modulus-hash",
    aliases: &[],
    make: |_| Ok(Box::<ModulusHash>::default()),
};

#[derive(Debug, Default)]
struct ModulusHash {
    lots: Lots,
}

impl Exchange for ModulusHash {
    fn insert(&mut self, binding: &Binding<'_>) {
        self.lots.insert(binding, 1);
    }

    fn remove(&mut self, binding: &Binding<'_>) {
        self.lots.remove(binding, 1);
    }

    fn route(&self, message: &Routed<'_>, places: &mut Vec<Place>) {
        places.extend(self.lots.modulus(StableHash::of(message.key.as_bytes())));
    }

    fn depends_on_key_only(&self) -> bool {
        true
    }

    fn picks_one(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract::{add, route};
    use super::*;

    #[test]
    fn keys_spread_evenly_and_stay_put() {
        let mut exchange = ModulusHash::default();
        for place in 0..4 {
            add(&mut exchange, place, "", &format!("q{place}"));
        }
        let mut counts = [0; 4];
        for key in 0..4_000 {
            let key = format!("key {key}");
            let found = route(&exchange, &key);
            assert_eq!(found, route(&exchange, &key));
            counts[found[0] as usize] += 1;
        }
        assert!(counts.iter().all(|&n| (850..1150).contains(&n)), "{counts:?}");
    }
}
