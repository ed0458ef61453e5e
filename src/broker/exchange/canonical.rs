//! One spelling for values that count as the same, to hash and compare them by.
//!
//! Agrees with `Value::same_as`: integers by number, the rest exactly, names of the outermost
//! table in any order. Unlike it, a value is always the same as itself (not-a-number, repeated
//! names), so that what was bound can be unbound. May import `value`.

use crate::value::{Table, Value};

/// Feeds the spelling of a value, piece by piece.
pub(crate) fn feed_value(value: &Value, sink: &mut dyn FnMut(&[u8])) {
    if let Some(number) = value.as_integer() {
        sink(b"i");
        return sink(&number.to_le_bytes());
    }
    match value {
        Value::Bool(b) => sink(if *b { b"t" } else { b"f" }),
        // Adding zero turns minus zero, which is equal to zero, into zero.
        Value::F32(n) => feed(b"s", &(n + 0.0).to_le_bytes(), sink),
        Value::F64(n) => feed(b"d", &(n + 0.0).to_le_bytes(), sink),
        Value::Decimal(scale, n) => {
            feed(b"D", &[*scale], sink);
            sink(&n.to_le_bytes());
        }
        Value::Text(text) => feed(b"S", text, sink),
        Value::Bytes(bytes) => feed(b"x", bytes, sink),
        Value::Timestamp(seconds) => feed(b"T", &seconds.to_le_bytes(), sink),
        Value::Array(values) => {
            feed(b"A", &values.len().to_le_bytes(), sink);
            values.iter().for_each(|v| feed_value(v, sink));
        }
        Value::Table(table) => {
            feed(b"F", &table.0.len().to_le_bytes(), sink);
            table.0.iter().for_each(|(name, v)| feed_pair(name, v, sink));
        }
        Value::Void
        | Value::I8(_)
        | Value::U8(_)
        | Value::I16(_)
        | Value::U16(_)
        | Value::I32(_)
        | Value::U32(_)
        | Value::I64(_) => sink(b"V"),
    }
}

/// The spelling of a table of arguments; `None` when there are none.
pub(crate) fn spell_arguments(table: &Table) -> Option<Box<[u8]>> {
    if table.is_empty() {
        return None;
    }
    let mut pairs: Vec<&(Box<str>, Value)> = table.0.iter().collect();
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    let mut spelling = Vec::new();
    for (i, (name, value)) in pairs.iter().enumerate() {
        // The sort is stable, so the last of a repeated name, the one that counts, is last here.
        if pairs.get(i + 1).is_none_or(|(next, _)| next != name) {
            feed_pair(name, value, &mut |piece| spelling.extend_from_slice(piece));
        }
    }
    Some(spelling.into())
}

/// A hash that is the same in every process, on every shard and after every restart, so that a
/// key keeps its queue. Not meant to resist anybody.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StableHash(u64);

impl StableHash {
    /// FNV-1a, 64 bits: offset basis.
    pub(crate) const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Takes some octets in.
    pub(crate) fn feed(&mut self, octets: &[u8]) {
        for &octet in octets {
            self.0 = (self.0 ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// The hash, with every bit depending on every octet.
    pub(crate) const fn finish(self) -> u64 {
        mix(self.0)
    }

    /// The hash of some octets.
    pub(crate) fn of(octets: &[u8]) -> u64 {
        let mut hash = Self::new();
        hash.feed(octets);
        hash.finish()
    }
}

/// The finalizer of MurmurHash3: FNV alone leaves the high bits of short names alike.
pub(crate) const fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

fn feed_pair(name: &str, value: &Value, sink: &mut dyn FnMut(&[u8])) {
    feed(b"", name.as_bytes(), sink);
    feed_value(value, sink);
}

/// Kind, length, octets: no two different values run together into one spelling.
fn feed(kind: &[u8], octets: &[u8], sink: &mut dyn FnMut(&[u8])) {
    sink(kind);
    sink(&octets.len().to_le_bytes());
    sink(octets);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(pairs: &[(&str, Value)]) -> Table {
        Table(pairs.iter().map(|(n, v)| ((*n).into(), v.clone())).collect())
    }

    #[test]
    fn tables_that_are_the_same_are_spelled_the_same() {
        let a = table(&[("x", Value::I8(1)), ("y", Value::text("b")), ("z", Value::F32(0.0))]);
        let b = table(&[("z", Value::F32(-0.0)), ("y", Value::text("b")), ("x", Value::I64(1))]);
        assert!(a.same_as(&b));
        assert_eq!(spell_arguments(&a), spell_arguments(&b));
    }

    #[test]
    fn different_tables_are_spelled_differently() {
        let tables = [
            table(&[]),
            table(&[("x", Value::Void)]),
            table(&[("x", Value::I8(1))]),
            table(&[("x", Value::Timestamp(1))]),
            table(&[("x", Value::text("1"))]),
            table(&[("x", Value::Bytes((*b"1").into()))]),
            table(&[("xS", Value::text(""))]),
            table(&[("x", Value::Array(vec![Value::I8(1), Value::I8(2)]))]),
            table(&[("x", Value::Array(vec![Value::I8(1)])), ("y", Value::I8(2))]),
            table(&[("x", Value::Table(table(&[("y", Value::Bool(true))])))]),
            table(&[("x", Value::Table(table(&[("y", Value::Bool(false))])))]),
            table(&[("x", Value::F32(1.0))]),
            table(&[("x", Value::F64(1.0))]),
            table(&[("x", Value::Decimal(0, 1))]),
        ];
        for (i, a) in tables.iter().enumerate() {
            for (j, b) in tables.iter().enumerate() {
                assert_eq!(spell_arguments(a) == spell_arguments(b), i == j, "{a:?} {b:?}");
                assert_eq!(a.same_as(b), i == j, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn not_a_number_and_repeated_names_are_the_same_as_themselves() {
        let odd = table(&[("x", Value::F64(f64::NAN)), ("y", Value::I8(1)), ("y", Value::I8(2))]);
        let last = table(&[("x", Value::F64(f64::NAN)), ("y", Value::I8(2))]);
        assert_eq!(spell_arguments(&odd), spell_arguments(&odd.clone()));
        assert_eq!(spell_arguments(&odd), spell_arguments(&last));
    }

    /// Messages keep their queue over an upgrade only if this number never changes.
    #[test]
    fn the_stable_hash_never_changes() {
        assert_eq!(StableHash::of(b""), mix(0xcbf2_9ce4_8422_2325));
        assert_eq!(StableHash::of(b"orders.1"), 0x3eb0_93e3_7b9d_d116);
    }
}
