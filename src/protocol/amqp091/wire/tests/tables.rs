//! Field tables: round trip, letters, cut at every octet, refused values.

use proptest::prelude::*;

use crate::protocol::amqp091::wire::field_table::{DEPTH_MAX, TABLE_ENTRIES_MAX, TableRef};
use crate::protocol::amqp091::wire::field_value::FieldRef;
use crate::protocol::amqp091::wire::fuzzing;
use crate::protocol::amqp091::wire::table_buffer::TableBuffer;
use crate::protocol::octets::{Reader, WireError, put_long_bytes};
use crate::value::{Table, Value};

/// Any neutral table.
pub(super) fn any_table() -> impl Strategy<Value = Table> {
    let entries = prop::collection::vec(("\\PC{0,12}", any_value()), 0..6);
    entries.prop_map(|entries| Table(entries.into_iter().map(|(n, v)| (n.into(), v)).collect()))
}

fn any_value() -> impl Strategy<Value = Value> {
    let octets = || prop::collection::vec(any::<u8>(), 0..20).prop_map(Vec::into_boxed_slice);
    let plain = prop_oneof![
        Just(Value::Void),
        any::<bool>().prop_map(Value::Bool),
        any::<i8>().prop_map(Value::I8),
        any::<u8>().prop_map(Value::U8),
        any::<i16>().prop_map(Value::I16),
        any::<u16>().prop_map(Value::U16),
        any::<i32>().prop_map(Value::I32),
        any::<u32>().prop_map(Value::U32),
        any::<i64>().prop_map(Value::I64),
        any::<f32>().prop_map(Value::F32),
        any::<f64>().prop_map(Value::F64),
        any::<(u8, u32)>().prop_map(|(scale, n)| Value::Decimal(scale, n)),
        octets().prop_map(Value::Text),
        octets().prop_map(Value::Bytes),
        any::<u64>().prop_map(Value::Timestamp),
    ];
    plain.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::vec(("[a-z]{1,5}", inner), 0..5).prop_map(|entries| {
                Value::Table(Table(entries.into_iter().map(|(n, v)| (n.into(), v)).collect()))
            }),
        ]
    })
}

/// Reads entries that stand behind no length.
fn read(entries: &[u8]) -> Result<Table, WireError> {
    let mut wire = Vec::new();
    put_long_bytes(&mut wire, entries);
    TableRef::read(&mut Reader::new(&wire)).map(|table| table.to_value())
}

/// P7: every letter, as it stands on the wire.
#[test]
fn every_letter_is_read_as_its_kind() {
    let entries: &[(&[u8], Value)] = &[
        (b"\x01nV", Value::Void),
        (b"\x01nt\x01", Value::Bool(true)),
        (b"\x01nb\xFF", Value::I8(-1)),
        (b"\x01nB\xFF", Value::U8(255)),
        (b"\x01ns\xFF\xFE", Value::I16(-2)),
        (b"\x01nU\xFF\xFE", Value::I16(-2)),
        (b"\x01nu\xFF\xFE", Value::U16(65_534)),
        (b"\x01nI\xFF\xFF\xFF\xFE", Value::I32(-2)),
        (b"\x01ni\xFF\xFF\xFF\xFE", Value::U32(u32::MAX - 1)),
        (b"\x01nl\0\0\0\0\0\0\x01\0", Value::I64(256)),
        (b"\x01nL\0\0\0\0\0\0\x01\0", Value::I64(256)),
        (b"\x01nf\x3F\x80\0\0", Value::F32(1.0)),
        (b"\x01nd\xC0\0\0\0\0\0\0\0", Value::F64(-2.0)),
        (b"\x01nD\x02\0\0\0\x07", Value::Decimal(2, 7)),
        (b"\x01nS\0\0\0\x02hi", Value::text("hi")),
        (b"\x01nx\0\0\0\x02\0\xFF", Value::Bytes([0, 255].into())),
        (b"\x01nT\0\0\0\0\0\0\0\x05", Value::Timestamp(5)),
        (b"\x01nA\0\0\0\x03b\x05V", Value::Array(vec![Value::I8(5), Value::Void])),
        (b"\x01nF\0\0\0\x03\x01kV", Value::Table(Table(vec![("k".into(), Value::Void)]))),
    ];
    for (octets, value) in entries {
        let table = read(octets).unwrap();
        assert_eq!(table.0, [("n".into(), value.clone())]);
        let again = TableBuffer::from_table(&table).unwrap();
        let mut expected = octets.to_vec();
        // These two are read for other people's sake; the neutral value does not keep them.
        expected[2] = match expected[2] {
            b'U' => b's',
            b'L' => b'l',
            letter => letter,
        };
        assert_eq!(again.view().as_bytes(), expected);
    }
}

/// Abuse row 21.
#[test]
fn a_letter_length_or_truth_value_that_is_wrong_is_refused() {
    for (octets, what) in [
        (&b"\x01nz\0"[..], "letter"),
        (b"\x01nt\x02", "bool 2"),
        (b"\x01nS\0\0\0\x09x", "text past the end"),
        (b"\x01nA\0\0\0\x02I\0", "array ends within a number"),
        (b"\x01nF\0\0\0\x02\x05a", "name past the end of the inner table"),
        (b"\x01nF\xFF\xFF\xFF\xFF", "four gigabytes"),
        (b"\x01n", "name without value"),
        (b"\x01\xFFV", "name that is not UTF-8"),
        (b"\x01nA\0\0\0\x02t\x02", "bool 2 in an array"),
    ] {
        assert!(read(octets).is_err(), "{what}");
    }
    let past = TableRef::read(&mut Reader::new(b"\0\0\0\x04\x01nV"));
    assert_eq!(past, Err(WireError::Short { offset: 4, need: 4, have: 3 }));
}

#[test]
fn an_error_within_a_table_tells_its_offset_in_the_payload() {
    let wire = b"\0\0\0\x0A\x01aF\0\0\0\x03\x01bz";
    let error = TableRef::read(&mut Reader::at(wire, 100)).unwrap_err();
    assert!(matches!(error, WireError::Refused { offset: 114, have: 122, .. }), "{error:?}");
}

/// Octets of tables (or arrays) within each other; the whole is at depth `depth`.
fn nested(depth: usize, letter: u8) -> Vec<u8> {
    let mut inner = Vec::new();
    for level in 1..depth {
        let mut outer = if letter == b'F' || level + 1 == depth { vec![1, b'n'] } else { vec![] };
        outer.push(letter);
        put_long_bytes(&mut outer, &inner);
        inner = outer;
    }
    inner
}

/// Abuse row 22.
#[test]
fn tables_within_tables_are_taken_to_the_limit_and_no_further() {
    for letter in [b'F', b'A'] {
        let deepest = read(&nested(DEPTH_MAX, letter)).unwrap();
        assert_eq!(
            TableBuffer::from_table(&deepest).unwrap().view().as_bytes(),
            nested(DEPTH_MAX, letter)
        );
        for depth in [DEPTH_MAX + 1, 1_000, 10_000] {
            let error = read(&nested(depth, letter)).unwrap_err();
            assert!(matches!(error, WireError::Limit { max: 32, .. }), "{error:?}");
        }
    }
}

#[test]
fn many_shallow_tables_do_not_add_up_to_depth() {
    let mut entries = Vec::new();
    for _ in 0..100 {
        entries.extend_from_slice(b"\x01nF\0\0\0\x09\x01mA\0\0\0\x02t\x01");
    }
    assert_eq!(read(&entries).unwrap().0.len(), 100);
}

/// Abuse row 23: the last one wins.
#[test]
fn a_repeated_name_means_its_last_value() {
    let octets = b"\x01nb\x01\x01mV\x01nb\x02";
    let table = TableRef::read(&mut Reader::new(b"\0\0\0\x0B\x01nb\x01\x01mV\x01nb\x02"));
    assert_eq!(table.unwrap().get("n"), Some(FieldRef::I8(2)));
    assert_eq!(table.unwrap().get("none"), None);
    assert_eq!(read(octets).unwrap().get("n"), Some(&Value::I8(2)));
}

/// Abuse row 23.
#[test]
fn more_entries_than_the_limit_are_refused() {
    assert_eq!(read(&b"\x01nV".repeat(TABLE_ENTRIES_MAX)).unwrap().0.len(), 1024);
    for entries in [TABLE_ENTRIES_MAX + 1, 100_000] {
        let error = read(&b"\x01nV".repeat(entries)).unwrap_err();
        assert!(matches!(error, WireError::Limit { max: 1024, .. }));
    }
    let mut items = b"\x01nA".to_vec();
    put_long_bytes(&mut items, &[b'V'; 65_537]);
    assert!(matches!(read(&items), Err(WireError::Limit { max: 65_536, .. })));
}

proptest! {
    #[test]
    fn any_table_comes_back_the_same(table in any_table()) {
        let octets = TableBuffer::from_table(&table).unwrap();
        let mut wire = Vec::new();
        octets.view().put(&mut wire);
        let again = TableRef::read(&mut Reader::new(&wire)).unwrap();
        prop_assert_eq!(again.to_value(), table);
        fuzzing::amqp_table(octets.view().as_bytes());
    }

    #[test]
    fn a_table_cut_at_any_octet_is_refused(table in any_table()) {
        let mut wire = Vec::new();
        TableBuffer::from_table(&table).unwrap().view().put(&mut wire);
        for cut in 0..wire.len() {
            prop_assert!(TableRef::read(&mut Reader::new(&wire[..cut])).is_err());
            fuzzing::amqp_table(&wire[4.min(cut)..cut]);
        }
    }

    #[test]
    fn any_octets_are_a_table_or_refused(octets in prop::collection::vec(any::<u8>(), 0..80)) {
        fuzzing::amqp_table(&octets);
    }
}
