//! Tests of definitions without a broker: their octets, and what a sequence of them leaves.

use proptest::prelude::*;
use ringmq_shards::log::QueueUid;

use super::catalogue::Catalogue;
use super::*;
use crate::value::Value;

fn any_value() -> impl Strategy<Value = Value> {
    let octets = || prop::collection::vec(any::<u8>(), 0..20).prop_map(Vec::into_boxed_slice);
    let leaf = prop_oneof![
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
        (any::<u8>(), any::<u32>()).prop_map(|(scale, n)| Value::Decimal(scale, n)),
        octets().prop_map(Value::Text),
        octets().prop_map(Value::Bytes),
        any::<u64>().prop_map(Value::Timestamp),
    ];
    leaf.prop_recursive(5, 30, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::vec((any_text(), inner), 0..5)
                .prop_map(|pairs| Value::Table(Table(pairs))),
        ]
    })
}

fn any_text() -> impl Strategy<Value = Box<str>> {
    "\\PC{0,12}".prop_map(Into::into)
}

fn any_table() -> impl Strategy<Value = Table> {
    prop::collection::vec((any_text(), any_value()), 0..4).prop_map(Table)
}

fn any_named() -> impl Strategy<Value = NamedExchange> {
    (any::<u64>(), any_text()).prop_map(|(uid, name)| NamedExchange { uid: ExchangeUid(uid), name })
}

fn any_exchange() -> impl Strategy<Value = Definition> {
    let texts = (any_text(), any_text(), any_text());
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (any::<u64>(), texts, flags, any_table()).prop_map(
        |(uid, (vhost, name, kind), (durable, auto_delete, internal), arguments)| {
            let spec = ExchangeSpec { name, kind, durable, auto_delete, internal, arguments };
            Definition::Exchange(ExchangeDefinition { uid: ExchangeUid(uid), vhost, spec })
        },
    )
}

fn any_definition() -> impl Strategy<Value = Definition> {
    prop_oneof![
        any_exchange(),
        any::<u64>().prop_map(|uid| Definition::ExchangeGone(ExchangeUid(uid))),
        any::<u64>().prop_map(|uid| Definition::QueueGone(QueueUid(uid))),
        (any_text(), any_named(), any_named(), any_text(), any_table(), any::<bool>()).prop_map(
            |(vhost, source, destination, key, arguments, on)| {
                let link = LinkDefinition { vhost, source, destination, key, arguments };
                Definition::Link { link, on }
            }
        ),
        (any::<u64>(), any_text(), any_text(), any_text(), any::<bool>(), any_table()).prop_map(
            |(uid, vhost, name, kind, auto_delete, arguments)| {
                let uid = QueueUid(uid);
                Definition::Queue(QueueDefinition {
                    uid,
                    vhost,
                    name,
                    kind,
                    auto_delete,
                    arguments,
                })
            }
        ),
        (any::<u64>(), any_text(), any_named(), any_text(), any_table(), any::<bool>()).prop_map(
            |(queue, vhost, exchange, key, arguments, on)| {
                let queue = QueueUid(queue);
                let binding = BindingDefinition { queue, vhost, exchange, key, arguments };
                Definition::Binding { binding, on }
            }
        ),
    ]
}

fn written(definition: &Definition) -> Vec<u8> {
    let mut record = Vec::new();
    definition.write(&mut record);
    record
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(definition in any_definition()) {
        let record = written(&definition);
        let again = Definition::read(&record).expect("it reads what it wrote");
        // Compared as octets, for a number that is none is not equal to itself.
        prop_assert_eq!(written(&again), record);
    }

    #[test]
    fn a_record_cut_anywhere_or_with_something_behind_it_is_refused(definition in any_definition()) {
        let mut record = written(&definition);
        for end in 0..record.len() {
            prop_assert!(Definition::read(&record[..end]).is_none(), "{}", end);
        }
        record.push(0);
        prop_assert!(Definition::read(&record).is_none());
    }

    #[test]
    fn whatever_is_read_is_what_would_be_written(
        definition in any_definition(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut record = written(&definition);
        for (at, octet) in changes {
            let at = at.index(record.len());
            record[at] = octet;
        }
        if let Some(read) = Definition::read(&record) {
            prop_assert_eq!(written(&read), record);
        }
    }

    #[test]
    fn any_octets_are_read_or_refused(
        kind in 0_u8..8,
        noise in prop::collection::vec(prop_oneof![Just(0_u8), Just(255), any::<u8>()], 0..200),
    ) {
        let record = [&[1, kind], &*noise].concat();
        if let Some(read) = Definition::read(&record) {
            prop_assert_eq!(written(&read), record);
        }
    }
}

#[test]
fn every_kind_of_value_survives() {
    let values = vec![
        Value::Void,
        Value::Bool(true),
        Value::I8(-1),
        Value::U8(255),
        Value::I16(-2),
        Value::U16(65_535),
        Value::I32(-3),
        Value::U32(u32::MAX),
        Value::I64(i64::MIN),
        Value::F32(-0.0),
        Value::F64(1e300),
        Value::Decimal(2, 314),
        Value::Text(Box::new([0xff, 0])),
        Value::Bytes(Box::new([1, 2, 3])),
        Value::Timestamp(u64::MAX),
        Value::Array(vec![Value::Array(vec![]), Value::Void]),
        Value::Table(Table(vec![("a".into(), Value::U8(1)), ("a".into(), Value::U8(2))])),
    ];
    let definition = queue(1, "q", Table(vec![("all".into(), Value::Array(values))]));
    assert_eq!(Definition::read(&written(&definition)), Some(definition));
}

#[test]
fn values_nest_as_deep_as_any_protocol_lets_them_and_no_deeper() {
    let nested = |depth: usize| {
        let value = (0..depth).fold(Value::U8(7), |inner, _| Value::Array(vec![inner]));
        queue(1, "q", Table(vec![("deep".into(), value)]))
    };
    let deepest = nested(64);
    assert_eq!(Definition::read(&written(&deepest)), Some(deepest));
    assert!(Definition::read(&written(&nested(1_000))).is_some(), "what is too deep is left out");
    // One level more by hand: a record of arrays in arrays, each with one entry.
    let mut record = written(&nested(0));
    record.truncate(record.len() - 2);
    for _ in 0..100_000 {
        record.extend([15, 1, 0, 0, 0]);
    }
    record.push(0);
    assert_eq!(Definition::read(&record), None);
}

#[test]
fn a_count_that_promises_more_than_there_is_reserves_nothing() {
    let mut record = written(&queue(1, "q", Table::default()));
    let at = record.len() - 4;
    record[at..].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(Definition::read(&record), None);
}

fn queue(uid: u64, name: &str, arguments: Table) -> Definition {
    Definition::Queue(QueueDefinition {
        uid: QueueUid(uid),
        vhost: "/".into(),
        name: name.into(),
        kind: "classic".into(),
        auto_delete: false,
        arguments,
    })
}

fn exchange(uid: u64, name: &str) -> Definition {
    let spec = ExchangeSpec {
        name: name.into(),
        kind: "direct".into(),
        durable: true,
        auto_delete: false,
        internal: false,
        arguments: Table::default(),
    };
    Definition::Exchange(ExchangeDefinition { uid: ExchangeUid(uid), vhost: "/".into(), spec })
}

fn named(uid: u64, name: &str) -> NamedExchange {
    NamedExchange { uid: ExchangeUid(uid), name: name.into() }
}

fn binding(queue: u64, exchange: (u64, &str), key: &str, on: bool) -> Definition {
    let binding = BindingDefinition {
        queue: QueueUid(queue),
        vhost: "/".into(),
        exchange: named(exchange.0, exchange.1),
        key: key.into(),
        arguments: Table::default(),
    };
    Definition::Binding { binding, on }
}

fn link(source: (u64, &str), destination: (u64, &str), on: bool) -> Definition {
    let link = LinkDefinition {
        vhost: "/".into(),
        source: named(source.0, source.1),
        destination: named(destination.0, destination.1),
        key: "".into(),
        arguments: Table::default(),
    };
    Definition::Link { link, on }
}

fn keys(catalogue: &Catalogue) -> Vec<(u64, &str)> {
    catalogue.bindings().iter().map(|b| (b.queue.0, &*b.key)).collect()
}

#[test]
fn bindings_go_with_their_queue_and_their_exchange() {
    let catalogue = Catalogue::of([
        // The shards' logs may be read in any order: here the binding comes before its exchange.
        queue(1, "q", Table::default()),
        binding(1, (5, "x"), "stays", true),
        binding(1, (6, "gone"), "a", true),
        binding(1, (0, "amq.direct"), "stays too", true),
        binding(1, (0, "no such"), "b", true),
        binding(1, (5, "x"), "unbound", true),
        binding(1, (5, "x"), "unbound", false),
        queue(2, "gone", Table::default()),
        binding(2, (5, "x"), "c", true),
        Definition::QueueGone(QueueUid(2)),
        exchange(5, "x"),
        exchange(6, "gone"),
        link((5, "x"), (6, "gone"), true),
        link((5, "x"), (0, "amq.topic"), true),
        Definition::ExchangeGone(ExchangeUid(6)),
        exchange(7, "gone"),
    ]);
    assert_eq!(keys(&catalogue), [(1, "stays too"), (1, "stays")]);
    assert_eq!(catalogue.links().len(), 1);
    assert_eq!(catalogue.queues().len(), 1);
    assert_eq!(catalogue.exchanges().len(), 2);
    assert_eq!(catalogue.dangling(), 4);
}

#[test]
fn what_is_gone_is_gone_wherever_it_is_read() {
    let catalogue = Catalogue::of([
        Definition::QueueGone(QueueUid(1)),
        Definition::ExchangeGone(ExchangeUid(1)),
        queue(1, "q", Table::default()),
        exchange(1, "x"),
    ]);
    assert_eq!(catalogue, Catalogue::default());
}

#[test]
fn of_two_with_one_name_the_later_counts() {
    let catalogue = Catalogue::of([
        queue(9, "q", Table::default()),
        queue(3, "q", Table::default()),
        binding(3, (0, "amq.direct"), "old", true),
        binding(9, (0, "amq.direct"), "new", true),
        exchange(4, "x"),
        exchange(2, "x"),
    ]);
    assert_eq!(keys(&catalogue), [(9, "new")]);
    assert_eq!(catalogue.exchanges()[0].uid, ExchangeUid(4));
    assert_eq!(catalogue.dangling(), 3);
}

/// What a small world of names and uids can say.
fn any_of_few() -> impl Strategy<Value = Definition> {
    const EXCHANGES: [(u64, &str); 4] = [(1, "x"), (2, "x"), (3, "y"), (0, "amq.direct")];
    let few = (0_usize..4, 0_usize..4, 1_u64..4, any::<bool>());
    (few, 0_u8..8).prop_map(|((x, y, q, on), kind)| match kind {
        0 => exchange(EXCHANGES[x % 3].0, EXCHANGES[x % 3].1),
        1 => Definition::ExchangeGone(ExchangeUid(EXCHANGES[x % 3].0)),
        2 => queue(q, ["p", "q"][y % 2], Table::default()),
        3 => Definition::QueueGone(QueueUid(q)),
        4 | 5 => link(EXCHANGES[x], EXCHANGES[y], on),
        _ => binding(q, EXCHANGES[x], ["k", "l"][y % 2], on),
    })
}

proptest! {
    #[test]
    fn records_that_come_twice_change_nothing(
        records in prop::collection::vec(any_of_few(), 0..60),
        from in any::<prop::sample::Index>(),
    ) {
        let once = Catalogue::of(records.iter().cloned());
        // A checkpoint made at any time, then everything from any time before it on.
        let until = from.index(records.len() + 1);
        let state = Catalogue::of(records.iter().take(until).cloned());
        let gone = records.iter().take(until).filter(|r| {
            matches!(r, Definition::ExchangeGone(_) | Definition::QueueGone(_))
        });
        let again = gone.chain(&records).cloned();
        let checkpoint = state.exchanges().iter().cloned().map(Definition::Exchange)
            .chain(state.queues().iter().cloned().map(Definition::Queue))
            .chain(state.links().iter().cloned().map(|link| Definition::Link { link, on: true }))
            .chain(state.bindings().iter().cloned()
                .map(|binding| Definition::Binding { binding, on: true }));
        let twice = Catalogue::of(checkpoint.chain(again));
        prop_assert_eq!(twice.exchanges(), once.exchanges());
        prop_assert_eq!(twice.queues(), once.queues());
        prop_assert_eq!(twice.links(), once.links());
        prop_assert_eq!(twice.bindings(), once.bindings());
        let doubled = records.iter().chain(&records).cloned();
        prop_assert_eq!(Catalogue::of(doubled), once);
    }
}
