//! Methods: every row of the table, round trip, cut at every octet, refused values.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::tables::any_table;
use crate::protocol::amqp091::wire::fuzzing;
use crate::protocol::amqp091::wire::method::{Basic, Encode, Method, MethodError, basic};
use crate::protocol::amqp091::wire::method_table::{Kind, METHODS, MethodRow};
use crate::protocol::amqp091::wire::table_buffer::TableBuffer;
use crate::protocol::octets::{WireError, put_long_bytes, put_short_str};

/// The octets of one argument, written by its kind and not by the methods' own code.
fn argument(kind: Kind) -> BoxedStrategy<Vec<u8>> {
    let octets = |n: usize| prop::collection::vec(any::<u8>(), n).boxed();
    match kind {
        Kind::Octet => octets(1),
        Kind::Short => octets(2),
        Kind::Long => octets(4),
        Kind::LongLong => octets(8),
        Kind::ShortText => "\\PC{0,40}"
            .prop_map(|text| {
                let mut wire = Vec::new();
                put_short_str(&mut wire, &text);
                wire
            })
            .boxed(),
        Kind::LongText => prop::collection::vec(any::<u8>(), 0..80)
            .prop_map(|bytes| {
                let mut wire = Vec::new();
                put_long_bytes(&mut wire, &bytes);
                wire
            })
            .boxed(),
        Kind::Table => any_table()
            .prop_map(|table| {
                let mut wire = Vec::new();
                TableBuffer::from_table(&table).unwrap().view().put(&mut wire);
                wire
            })
            .boxed(),
        Kind::Bit => octets(1),
    }
}

/// Any payload of that method.
fn payload(row: MethodRow) -> BoxedStrategy<Vec<u8>> {
    let mut parts =
        vec![Just([row.class.to_be_bytes(), row.method.to_be_bytes()].concat()).boxed()];
    let mut bits = 0;
    for (index, kind) in row.arguments.iter().enumerate() {
        if *kind != Kind::Bit {
            parts.push(argument(*kind));
            continue;
        }
        bits += 1;
        if row.arguments.get(index + 1) != Some(&Kind::Bit) {
            let mask = u8::try_from((1_u32 << bits) - 1).unwrap();
            parts.push(any::<u8>().prop_map(move |octet| vec![octet & mask]).boxed());
        }
    }
    parts.prop_map(|parts| parts.concat()).boxed()
}

#[test]
fn no_two_rows_share_their_ids_or_their_name() {
    let ids: BTreeSet<_> = METHODS.iter().map(|row| (row.class, row.method)).collect();
    let names: BTreeSet<_> = METHODS.iter().map(|row| row.name).collect();
    assert_eq!((ids.len(), names.len()), (METHODS.len(), METHODS.len()));
    assert_eq!(METHODS.len(), 66);
}

/// P2, the ids that are most easily wrong.
#[test]
fn the_table_has_the_extensions_under_their_ids() {
    for (class, method, name) in [
        (10, 70, "connection.update-secret"),
        (40, 51, "exchange.unbind-ok"),
        (60, 72, "basic.get-empty"),
        (60, 100, "basic.recover-async"),
        (60, 120, "basic.nack"),
        (85, 10, "confirm.select"),
        (90, 31, "tx.rollback-ok"),
    ] {
        let row = crate::protocol::amqp091::wire::method_table::find(class, method);
        assert_eq!(row.map(|row| row.name), Some(name));
    }
}

#[test]
fn ids_outside_the_table_are_unknown_whatever_follows() {
    for class in 0..=100_u16 {
        for id in 0..=130_u16 {
            let is_known = METHODS.iter().any(|row| (row.class, row.method) == (class, id));
            let mut wire = [class.to_be_bytes(), id.to_be_bytes()].concat();
            wire.extend_from_slice(&[0xFF; 9]);
            let answer = Method::decode(&wire);
            let unknown = Err(MethodError::Unknown { class, method: id });
            assert_eq!(answer == unknown, !is_known, "{class}.{id}: {answer:?}");
        }
    }
}

#[test]
fn octets_behind_the_arguments_are_refused() {
    let trailing = WireError::Trailing { offset: 4, have: 1 };
    assert_eq!(Method::decode(&[0, 60, 0, 11, 0]), Err(MethodError::Syntax(trailing)));
}

/// Abuse row 24.
#[test]
fn a_name_of_255_octets_is_fine_and_one_that_is_not_utf_8_is_refused() {
    let name = "q".repeat(255);
    let mut wire = Vec::new();
    let get = basic::Get { ticket: 0, queue: &name, no_ack: true };
    get.encode(&mut wire);
    assert_eq!(Method::decode(&wire), Ok(Method::Basic(Basic::Get(get))));
    wire[7] = 0xFF;
    let error = WireError::NotUtf8 { offset: 7 };
    assert_eq!(Method::decode(&wire), Err(MethodError::Syntax(error)));
}

/// A bit that the method does not define is no reason to refuse it.
#[test]
fn unused_bits_are_ignored() {
    let ack = Method::decode(&[0, 60, 0, 80, 0, 0, 0, 0, 0, 0, 0, 9, 0xFF]);
    let expected = basic::Ack { delivery_tag: 9, multiple: true };
    assert_eq!(ack, Ok(Method::Basic(Basic::Ack(expected))));
}

#[test]
fn every_row_is_decoded_and_encoded_by_its_ids() {
    let mut runner = proptest::test_runner::TestRunner::default();
    for row in METHODS {
        let strategy = payload(*row);
        for _ in 0..20 {
            let wire = strategy.new_tree(&mut runner).unwrap().current();
            let method = Method::decode(&wire).unwrap();
            assert_eq!((method.id(), method.name()), ((row.class, row.method), row.name));
            let mut again = Vec::new();
            method.encode(&mut again);
            assert_eq!(again, wire, "{}", row.name);
        }
    }
}

proptest! {
    #[test]
    fn a_method_cut_at_any_octet_is_refused(
        wire in prop::sample::select(METHODS).prop_flat_map(payload),
    ) {
        for cut in 0..wire.len() {
            let error = Method::decode(&wire[..cut]).unwrap_err();
            let is_short = matches!(error, MethodError::Syntax(WireError::Short { .. }));
            prop_assert!(is_short, "{:?}", error);
        }
    }

    #[test]
    fn any_octets_are_a_method_or_refused(
        row in prop::sample::select(METHODS),
        octets in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let ids = [row.class.to_be_bytes(), row.method.to_be_bytes()].concat();
        fuzzing::amqp_method(&[ids, octets].concat());
    }
}
