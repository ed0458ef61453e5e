//! The exchange type `x-delayed-message`: messages wait as long as their header asks and are
//! then routed as by the type that the argument `x-delayed-type` names (L29).
//!
//! Only the routing is here; who calls it does the waiting. May import its siblings.

use super::arguments::{BadArgument, text_argument};
use super::place::Place;
use super::{Binding, Exchange, ExchangeType, Routed};
use crate::value::Table;

pub(super) const TYPE: ExchangeType =
    ExchangeType { name: "x-delayed-message", aliases: &["x-delayed-exchange"], make };

const ROUTES_AS: &str = "x-delayed-type";

fn make(arguments: &Table) -> Result<Box<dyn Exchange>, BadArgument> {
    let name = text_argument(arguments, ROUTES_AS)?.ok_or(BadArgument::Missing(ROUTES_AS))?;
    // A delayed exchange that routes as a delayed exchange would never end.
    let inner = ExchangeType::named(name).filter(|t| t.name != TYPE.name);
    let inner =
        inner.ok_or_else(|| BadArgument::UnusableType { name: ROUTES_AS, value: name.into() })?;
    Ok(Box::new(Delayed { inner: (inner.make)(arguments)? }))
}

#[derive(Debug)]
struct Delayed {
    inner: Box<dyn Exchange>,
}

impl Exchange for Delayed {
    fn validate_binding(&self, key: &str, arguments: &Table) -> Result<(), BadArgument> {
        self.inner.validate_binding(key, arguments)
    }

    fn insert(&mut self, binding: &Binding<'_>) {
        self.inner.insert(binding);
    }

    fn remove(&mut self, binding: &Binding<'_>) {
        self.inner.remove(binding);
    }

    fn route(&self, message: &Routed<'_>, places: &mut Vec<Place>) {
        self.inner.route(message, places);
    }

    fn depends_on_key_only(&self) -> bool {
        self.inner.depends_on_key_only()
    }

    fn picks_one(&self) -> bool {
        self.inner.picks_one()
    }

    fn delays(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;

    fn make_as(name: &str) -> Result<Box<dyn Exchange>, BadArgument> {
        make(&Table(vec![(ROUTES_AS.into(), Value::text(name))]))
    }

    #[test]
    fn it_picks_one_and_reads_the_key_as_its_inner_type_does() {
        let fanout = make_as("fanout").unwrap();
        assert!(fanout.delays() && !fanout.picks_one() && fanout.depends_on_key_only());
        let random = make_as("x-random").unwrap();
        assert!(random.delays() && random.picks_one() && !random.depends_on_key_only());
    }

    #[test]
    fn a_binding_is_refused_as_by_the_inner_type() {
        let hash = make_as("x-consistent-hash").unwrap();
        assert!(hash.validate_binding("heavy", &Table::default()).is_err());
        assert!(hash.validate_binding("1", &Table::default()).is_ok());
    }

    #[test]
    fn without_a_type_of_another_kind_it_is_refused() {
        assert_eq!(make(&Table::default()).err(), Some(BadArgument::Missing(ROUTES_AS)));
        for name in ["x-delayed-message", "x-delayed-exchange", "nonsense", ""] {
            let refused = BadArgument::UnusableType { name: ROUTES_AS, value: name.into() };
            assert_eq!(make_as(name).err(), Some(refused));
        }
        let number = Table(vec![(ROUTES_AS.into(), Value::I8(1))]);
        assert_eq!(make(&number).err(), Some(BadArgument::NotText(ROUTES_AS)));
    }
}
