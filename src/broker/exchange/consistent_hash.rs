//! The exchange type `x-consistent-hash`: the hash of the routing key, of a header or of a
//! property picks one binding; the binding key is its weight (L28).
//!
//! Every shard must pick the same binding, so nothing here depends on the order in which
//! bindings came. May import its siblings.

use std::collections::BTreeSet;

use super::arguments::{BadArgument, text_argument, weight_of};
use super::canonical::{StableHash, feed_value, mix};
use super::jump::Lots;
use super::place::Place;
use super::{Binding, Exchange, ExchangeType, Routed};
use crate::value::{Table, Value};

pub(super) const TYPE: ExchangeType =
    ExchangeType { name: "x-consistent-hash", aliases: &[], make };

/// Points on the ring for each unit of weight: with 40 the share of a binding of weight 1 is
/// within about a sixth of what it should be.
const POINTS_PER_WEIGHT: u64 = 40;

/// The greatest weight the ring tells from others; a greater one counts as this. Otherwise a
/// weight of 10^9 is a bomb (abuse row 38). `jump` needs no points and takes weights to 2^32.
const RING_WEIGHT_MAX: u64 = 250;

/// Points one exchange may have, about 25 octets each, on every shard; bindings beyond are refused.
const RING_POINTS_MAX: usize = 1_000_000;

const _: () = assert!(POINTS_PER_WEIGHT * RING_WEIGHT_MAX <= RING_POINTS_MAX as u64);

const HASH_HEADER: &str = "hash-header";
const HASH_PROPERTY: &str = "hash-property";
/// Another broker's word for [`HASH_HEADER`].
const HASH_ON: &str = "x-hash-on";
const ALGORITHM: &str = "x-algorithm";

/// The properties that [`HASH_PROPERTY`] may name.
pub(crate) const HASH_PROPERTIES: &[&str] =
    &["app_id", "correlation_id", "message_id", "timestamp"];

fn make(arguments: &Table) -> Result<Box<dyn Exchange>, BadArgument> {
    let chooser = match text_argument(arguments, ALGORITHM)? {
        None => Chooser::Ring(BTreeSet::new()),
        Some(name) if name.eq_ignore_ascii_case("ring") => Chooser::Ring(BTreeSet::new()),
        Some(name) if name.eq_ignore_ascii_case("jump") => Chooser::Jump(Lots::default()),
        Some(other) => {
            let (name, expected) = (ALGORITHM, "ring, jump");
            return Err(BadArgument::NotOneOf { name, value: other.into(), expected });
        }
    };
    Ok(Box::new(ConsistentHash { input: input_of(arguments)?, chooser }))
}

fn input_of(arguments: &Table) -> Result<Input, BadArgument> {
    let header = text_argument(arguments, HASH_HEADER)?;
    let hash_on = text_argument(arguments, HASH_ON)?;
    match (header.or(hash_on), text_argument(arguments, HASH_PROPERTY)?) {
        (None, None) => Ok(Input::Key),
        (Some(header), None) => Ok(Input::Header(header.into())),
        (None, Some(property)) => {
            let known = HASH_PROPERTIES.iter().find(|p| **p == property).copied();
            known.map(Input::Property).ok_or_else(|| BadArgument::NotOneOf {
                name: HASH_PROPERTY,
                value: property.into(),
                expected: "app_id, correlation_id, message_id, timestamp",
            })
        }
        (Some(_), Some(_)) => Err(BadArgument::Exclusive(HASH_HEADER, HASH_PROPERTY)),
    }
}

/// What is hashed.
#[derive(Debug)]
enum Input {
    Key,
    Header(Box<str>),
    Property(&'static str),
}

impl Input {
    /// A message without that header or property hashes like empty text: it goes where all such go.
    fn hash(&self, message: &Routed<'_>) -> u64 {
        match self {
            Self::Key => StableHash::of(message.key.as_bytes()),
            Self::Header(name) => hash_value(message.headers.headers().get(name)),
            Self::Property(name) => hash_value(message.headers.property(name).as_ref()),
        }
    }
}

fn hash_value(value: Option<&Value>) -> u64 {
    let mut hash = StableHash::new();
    match value {
        None => {}
        // So that a key and the same text in a header pick the same binding.
        Some(Value::Text(text)) => hash.feed(text),
        Some(other) => feed_value(other, &mut |piece| hash.feed(piece)),
    }
    hash.finish()
}

/// How a hash becomes a binding.
#[derive(Debug)]
enum Chooser {
    /// The first point at or after the hash, going round.
    Ring(BTreeSet<(u64, Place)>),
    Jump(Lots),
}

#[derive(Debug)]
struct ConsistentHash {
    input: Input,
    chooser: Chooser,
}

fn points_of(binding: &Binding<'_>) -> impl Iterator<Item = (u64, Place)> {
    let name = StableHash::of(binding.lot.as_bytes());
    let place = binding.place;
    let count = point_count(weight_of(binding.key).unwrap_or(1));
    // Point i depends on the name alone, so another weight keeps the points it has in common.
    (0..count).map(move |i| (mix(name.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15))), place))
}

const fn point_count(weight: u64) -> u64 {
    let counted = if weight < RING_WEIGHT_MAX { weight } else { RING_WEIGHT_MAX };
    counted * POINTS_PER_WEIGHT
}

impl Exchange for ConsistentHash {
    fn validate_binding(&self, key: &str, _arguments: &Table) -> Result<(), BadArgument> {
        let points = point_count(weight_of(key)?);
        match &self.chooser {
            Chooser::Ring(ring) if ring.len() as u64 + points > RING_POINTS_MAX as u64 => {
                let most = RING_POINTS_MAX / usize::try_from(POINTS_PER_WEIGHT).unwrap_or(1);
                Err(BadArgument::TooMuch { what: "sum of weights", most })
            }
            Chooser::Ring(_) | Chooser::Jump(_) => Ok(()),
        }
    }

    fn insert(&mut self, binding: &Binding<'_>) {
        match &mut self.chooser {
            Chooser::Ring(ring) => ring.extend(points_of(binding)),
            Chooser::Jump(lots) => lots.insert(binding, weight_of(binding.key).unwrap_or(1)),
        }
    }

    fn remove(&mut self, binding: &Binding<'_>) {
        match &mut self.chooser {
            Chooser::Ring(ring) => points_of(binding).for_each(|point| {
                ring.remove(&point);
            }),
            Chooser::Jump(lots) => lots.remove(binding, weight_of(binding.key).unwrap_or(1)),
        }
    }

    fn route(&self, message: &Routed<'_>, places: &mut Vec<Place>) {
        let hash = self.input.hash(message);
        places.extend(match &self.chooser {
            Chooser::Ring(ring) => {
                let after = ring.range((hash, Place(0))..).next();
                after.or_else(|| ring.first()).map(|(_, place)| *place)
            }
            Chooser::Jump(lots) => lots.jump(hash),
        });
    }

    fn depends_on_key_only(&self) -> bool {
        matches!(self.input, Input::Key)
    }

    fn picks_one(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
