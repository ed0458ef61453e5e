//! What every exchange type must hold to, run over the table of types, and help for the tests of
//! each.

use std::rc::Rc;

use super::*;
use crate::broker::binding::BindingTable;
use crate::broker::exchange::found::Found;

/// A message with headers and properties in the open.
#[derive(Debug, Default)]
pub(crate) struct Message {
    pub(crate) headers: Table,
    pub(crate) properties: Table,
}

impl Headers for Message {
    fn headers(&self) -> &Table {
        &self.headers
    }

    fn property(&self, name: &str) -> Option<Value> {
        self.properties.get(name).cloned()
    }
}

/// Puts a binding without arguments at a place.
pub(crate) fn add(exchange: &mut dyn Exchange, place: u32, key: &str, lot: &str) {
    add_with(exchange, place, key, &Table::default(), lot);
}

/// Puts a binding at a place.
pub(crate) fn add_with(
    exchange: &mut dyn Exchange,
    place: u32,
    key: &str,
    arguments: &Table,
    lot: &str,
) {
    let (key, lot): (Rc<str>, Rc<str>) = (key.into(), lot.into());
    exchange.insert(&Binding { place: Place(place), key: &key, arguments, lot: &lot });
}

/// Takes a binding out.
pub(crate) fn take(
    exchange: &mut dyn Exchange,
    place: u32,
    key: &str,
    arguments: &Table,
    lot: &str,
) {
    let (key, lot): (Rc<str>, Rc<str>) = (key.into(), lot.into());
    exchange.remove(&Binding { place: Place(place), key: &key, arguments, lot: &lot });
}

/// The places a message matches, ascending.
pub(crate) fn route_message(
    exchange: &dyn Exchange,
    key: &str,
    message: &Message,
    choice: u64,
) -> Vec<u32> {
    let mut places = Vec::new();
    exchange.route(&Routed { key, headers: message, choice, in_turn: false }, &mut places);
    let mut places: Vec<u32> = places.iter().map(|p| p.0).collect();
    places.sort_unstable();
    places
}

pub(crate) fn route_with_choice(exchange: &dyn Exchange, key: &str, choice: u64) -> Vec<u32> {
    route_message(exchange, key, &Message::default(), choice)
}

/// The same where members have their turns.
pub(crate) fn route_in_turn(exchange: &dyn Exchange, key: &str) -> Vec<u32> {
    let headers = &Message::default();
    let mut places = Vec::new();
    exchange.route(&Routed { key, headers, choice: 0, in_turn: true }, &mut places);
    let mut places: Vec<u32> = places.iter().map(|p| p.0).collect();
    places.sort_unstable();
    places
}

pub(crate) fn route(exchange: &dyn Exchange, key: &str) -> Vec<u32> {
    route_with_choice(exchange, key, 0)
}

const QUEUE: QueueId = QueueId::new(1, 0);
const OTHER: QueueId = QueueId::new(2, 0);

/// A table of each type, made with arguments that suit it.
fn tables() -> impl Iterator<Item = (&'static str, BindingTable)> {
    EXCHANGE_TYPES.iter().flat_map(|kind| {
        let inner: &[&str] =
            if kind.name == "x-delayed-message" { &["direct", "x-random"] } else { &[""] };
        inner.iter().map(move |inner| {
            let mut arguments = Table::default();
            if !inner.is_empty() {
                arguments.set("x-delayed-type", Value::text(inner));
            }
            (kind.name, BindingTable::new(kind, &arguments).unwrap())
        })
    })
}

/// Binds the right way for the type; tells whether it was new.
fn bind(table: &mut BindingTable, queue: QueueId, key: &str, arguments: &Table) -> bool {
    if table.picks_one() {
        let name = format!("{queue:?}");
        table.bind_named(QueueRef { shard: ShardId(3), queue }, &name, key, arguments)
    } else {
        table.bind_queue(queue, key, arguments).new
    }
}

fn unbind(table: &mut BindingTable, queue: QueueId, key: &str, arguments: &Table) -> bool {
    if table.picks_one() {
        table.unbind_named(QueueRef { shard: ShardId(3), queue }, key, arguments)
    } else {
        table.unbind_queue(queue, key, arguments).existed
    }
}

fn routed(table: &BindingTable, key: &str) -> Found {
    let mut found = Found::default();
    let message = Message::default();
    table.route(&Routed { key, headers: &message, choice: 1 << 40, in_turn: false }, &mut found);
    found.dedup();
    found
}

/// How many destinations of any kind.
fn reach(found: &Found) -> usize {
    found.queues.len() + found.shards.len() + found.exchanges.len() + found.named.len()
}

fn some_arguments() -> Table {
    Table(vec![("x-note".into(), Value::I32(1))])
}

#[test]
fn every_type_is_found_by_its_name_and_aliases_alone() {
    for kind in EXCHANGE_TYPES {
        for name in kind.aliases.iter().chain([&kind.name]) {
            assert_eq!(ExchangeType::named(name).unwrap().name, kind.name);
        }
    }
    assert!(ExchangeType::named("").is_none());
    assert!(ExchangeType::named("Direct").is_none());
}

#[test]
fn what_is_bound_is_found_and_what_is_unbound_is_not() {
    for (name, mut table) in tables() {
        assert!(table.is_empty() && routed(&table, "1").is_empty(), "{name}");
        assert!(bind(&mut table, QUEUE, "1", &Table::default()), "{name}");
        assert_eq!(reach(&routed(&table, "1")), 1, "{name}");
        assert_eq!(table.binding_count(), 1, "{name}");
        assert!(unbind(&mut table, QUEUE, "1", &Table::default()), "{name}");
        assert!(routed(&table, "1").is_empty(), "{name}");
        assert!(table.is_empty() && table.binding_count() == 0, "{name}");
    }
}

/// P27.
#[test]
fn binding_twice_is_binding_once() {
    for (name, mut table) in tables() {
        assert!(bind(&mut table, QUEUE, "1", &some_arguments()), "{name}");
        let same = Table(vec![("x-note".into(), Value::I64(1))]);
        assert!(!bind(&mut table, QUEUE, "1", &same), "{name}");
        assert_eq!((reach(&routed(&table, "1")), table.binding_count()), (1, 1), "{name}");
        assert!(unbind(&mut table, QUEUE, "1", &same), "{name}");
        assert!(!unbind(&mut table, QUEUE, "1", &same), "{name}");
        assert!(table.is_empty(), "{name}");
    }
}

/// P27.
#[test]
fn arguments_tell_bindings_apart() {
    for (name, mut table) in tables() {
        assert!(bind(&mut table, QUEUE, "1", &Table::default()), "{name}");
        assert!(bind(&mut table, QUEUE, "1", &some_arguments()), "{name}");
        assert_eq!(table.binding_count(), 2, "{name}");
        assert!(unbind(&mut table, QUEUE, "1", &Table::default()), "{name}");
        assert_eq!((reach(&routed(&table, "1")), table.binding_count()), (1, 1), "{name}");
    }
}

#[test]
fn picking_one_means_one_and_otherwise_all_are_found() {
    for (name, mut table) in tables() {
        bind(&mut table, QUEUE, "1", &Table::default());
        bind(&mut table, OTHER, "1", &Table::default());
        let expected = if table.picks_one() { 1 } else { 2 };
        assert_eq!(reach(&routed(&table, "1")), expected, "{name}");
    }
}

#[test]
fn an_exchange_can_be_bound_to_every_type() {
    for (name, mut table) in tables() {
        let to = ExchangeId(9);
        assert!(table.bind_exchange(to, "1", &Table::default()), "{name}");
        assert!(!table.bind_exchange(to, "1", &Table::default()), "{name}");
        assert_eq!(routed(&table, "1").exchanges, [to], "{name}");
        assert!(table.bind_exchange(to, "2", &Table::default()), "{name}");
        assert!(table.unbind_exchange(to, "1", &Table::default()), "{name}");
        assert!(!table.unbind_exchange(to, "1", &Table::default()), "{name}");
        assert_eq!(table.remove_exchange(to), 1, "{name}");
        assert!(table.is_empty() && routed(&table, "2").is_empty(), "{name}");
    }
}

/// A binding that another shard or the log tells of was accepted once, perhaps under other rules.
#[test]
fn a_binding_nobody_validated_does_no_harm() {
    let odd = Table(vec![("x-match".into(), Value::text("some"))]);
    for (name, mut table) in tables() {
        for key in ["", "#.#", "-1", "99999999999999999999999", "a.\u{0}.b"] {
            assert!(bind(&mut table, QUEUE, key, &odd), "{name}");
            let _ = routed(&table, key);
            assert!(unbind(&mut table, QUEUE, key, &odd), "{name}");
        }
        assert!(table.is_empty() && routed(&table, "").is_empty(), "{name}");
    }
}

#[test]
fn many_bindings_that_come_and_go_leave_nothing() {
    for (name, mut table) in tables() {
        for i in 0..50u32 {
            bind(&mut table, QueueId::new(i % 7, 0), &format!("{}", i + 1), &Table::default());
        }
        for i in 0..50u32 {
            let key = format!("{}", i + 1);
            assert!(unbind(&mut table, QueueId::new(i % 7, 0), &key, &Table::default()), "{name}");
        }
        assert!(table.is_empty(), "{name}");
        for i in 0..50u32 {
            assert!(routed(&table, &format!("{}", i + 1)).is_empty(), "{name}");
        }
    }
}

#[test]
fn every_type_accepts_the_binding_key_1() {
    for (name, table) in tables() {
        assert_eq!(table.validate("1", &Table::default()), Ok(()), "{name}");
    }
}

#[test]
fn who_depends_on_the_key_only_looks_at_nothing_else() {
    for (name, mut table) in tables() {
        for (queue, key) in [(1, "1"), (2, "2"), (3, "1"), (4, "4")] {
            bind(&mut table, QueueId::new(queue, 0), key, &Table::default());
        }
        let message = Message { headers: some_arguments(), properties: some_arguments() };
        for choice in (0..64).map(|bit| 1u64 << bit) {
            let mut found = Found::default();
            table
                .route(&Routed { key: "1", headers: &message, choice, in_turn: false }, &mut found);
            found.dedup();
            let plain = routed(&table, "1");
            let same = (&found.queues, &found.named) == (&plain.queues, &plain.named);
            assert!(same || !table.depends_on_key_only(), "{name}");
        }
    }
}

#[test]
fn only_a_delayed_exchange_delays() {
    for (name, table) in tables() {
        assert_eq!(table.delays(), name == "x-delayed-message", "{name}");
    }
}
