//! Tests of the binding table.

use super::*;
use crate::broker::exchange::contract::Message;
use crate::value::Value;

const EMPTY: Table = Table(Vec::new());

fn table(kind: &str) -> BindingTable {
    BindingTable::new(ExchangeType::named(kind).unwrap(), &EMPTY).unwrap()
}

fn queue(index: u32) -> QueueId {
    QueueId::new(index, 0)
}

fn named(shard: u16, index: u32) -> QueueRef {
    QueueRef { shard: ShardId(shard), queue: queue(index) }
}

fn route(table: &BindingTable, key: &str) -> Found {
    let mut found = Found::default();
    table.route(
        &Routed { key, headers: &Message::default(), choice: 0, in_turn: false },
        &mut found,
    );
    found.dedup();
    found
}

fn with(name: &str, value: Value) -> Table {
    Table(vec![(name.into(), value)])
}

#[test]
fn the_first_and_last_queue_of_a_binding_are_told() {
    let mut table = table("direct");
    let bound = |new, first_local| Bound { new, first_local };
    let unbound = |existed, last_local| Unbound { existed, last_local };
    assert_eq!(table.bind_queue(queue(1), "k", &EMPTY), bound(true, true));
    assert_eq!(table.bind_queue(queue(2), "k", &EMPTY), bound(true, false));
    assert_eq!(table.bind_queue(queue(2), "k", &EMPTY), bound(false, false));
    assert_eq!(table.bind_queue(queue(2), "other", &EMPTY), bound(true, true));
    assert_eq!(table.unbind_queue(queue(1), "k", &EMPTY), unbound(true, false));
    assert_eq!(table.unbind_queue(queue(1), "k", &EMPTY), unbound(false, false));
    assert_eq!(table.unbind_queue(queue(2), "k", &EMPTY), unbound(true, true));
    assert_eq!(table.unbind_queue(queue(2), "missing", &EMPTY), unbound(false, false));
}

#[test]
fn an_interest_of_another_shard_does_not_make_a_queue_second() {
    let mut table = table("topic");
    assert!(table.set_interest(ShardId(4), "a.*", &EMPTY));
    assert!(!table.set_interest(ShardId(4), "a.*", &EMPTY));
    assert!(table.bind_queue(queue(1), "a.*", &EMPTY).first_local);
    let found = route(&table, "a.b");
    assert_eq!(found.queues, [queue(1)]);
    assert!(found.shards.contains(ShardId(4)) && found.shards.len() == 1);
    assert!(table.unbind_queue(queue(1), "a.*", &EMPTY).last_local);
    assert!(!table.is_empty());
    assert!(table.clear_interest(ShardId(4), "a.*", &EMPTY));
    assert!(!table.clear_interest(ShardId(4), "a.*", &EMPTY));
    assert!(table.is_empty() && route(&table, "a.b").is_empty());
}

/// P28: a set of queues, each once, whatever matched.
#[test]
fn a_queue_bound_by_several_patterns_is_found_once() {
    let mut table = table("topic");
    for pattern in ["#", "a.*", "*.b", "a.b"] {
        table.bind_queue(queue(1), pattern, &EMPTY);
    }
    table.bind_queue(queue(2), "a.#", &EMPTY);
    assert_eq!(route(&table, "a.b").queues, [queue(1), queue(2)]);
}

#[test]
fn removing_a_queue_takes_its_bindings_alone_and_tells_which_were_the_last() {
    let mut table = table("direct");
    for i in 0..1_000 {
        table.bind_queue(queue(i % 10), &format!("k{i}"), &EMPTY);
    }
    table.bind_queue(queue(3), "k0", &EMPTY);
    table.bind_queue(queue(3), "k3", &with("a", Value::I8(1)));
    let mut told = Vec::new();
    assert_eq!(
        table.remove_queue(queue(3), |key, args| told.push((key.to_owned(), args.clone()))),
        102
    );
    assert_eq!(told.len(), 101);
    assert!(!told.iter().any(|(key, _)| key == "k0"));
    assert!(told.contains(&("k3".to_owned(), with("a", Value::I8(1)))));
    assert_eq!(table.binding_count(), 900);
    assert_eq!(route(&table, "k0").queues, [queue(0)]);
    assert!(route(&table, "k3").is_empty());
    assert_eq!(table.remove_queue(queue(3), |_, _| ()), 0);
}

#[test]
fn removing_an_exchange_leaves_queues_bound_the_same_way() {
    let mut table = table("fanout");
    let to = ExchangeId(5);
    table.bind_exchange(to, "", &EMPTY);
    table.bind_exchange(to, "k", &EMPTY);
    table.bind_queue(queue(1), "k", &EMPTY);
    assert_eq!(route(&table, "").exchanges, [to]);
    assert_eq!(table.remove_exchange(to), 2);
    let found = route(&table, "");
    assert_eq!(found.queues, [queue(1)]);
    assert!(found.exchanges.is_empty());
}

#[test]
fn listings_name_every_destination() {
    let mut table = table("direct");
    let arguments = with("a", Value::I8(1));
    table.bind_queue(queue(1), "k", &EMPTY);
    table.bind_queue(queue(2), "k", &arguments);
    table.set_interest(ShardId(7), "k", &EMPTY);
    table.bind_exchange(ExchangeId(3), "e", &EMPTY);
    let listed: Vec<_> = table.iter().map(|l| (l.key, l.arguments.clone(), l.to)).collect();
    assert_eq!(listed.len(), 4);
    for expected in [
        ("k", EMPTY, Destination::Queue(queue(1))),
        ("k", arguments.clone(), Destination::Queue(queue(2))),
        ("k", EMPTY, Destination::Shard(ShardId(7))),
        ("e", EMPTY, Destination::Exchange(ExchangeId(3))),
    ] {
        assert!(listed.contains(&expected), "{expected:?}");
    }
    let mut interests: Vec<_> = table.local_interests().collect();
    interests.sort_by_key(|(_, arguments)| arguments.0.len());
    assert_eq!(interests, [("k", &EMPTY), ("k", &arguments)]);
    let own: Vec<_> = table.bindings_of(Destination::Queue(queue(2))).collect();
    assert_eq!((own.len(), own[0].key), (1, "k"));
    assert_eq!(*own[0].arguments, arguments);
    assert_eq!(table.binding_count(), 3);
}

#[test]
fn an_exchange_that_picks_one_names_the_queue_wherever_it_is() {
    let mut table = table("x-consistent-hash");
    assert!(table.picks_one());
    assert!(table.bind_named(named(0, 1), "a", "1", &EMPTY));
    assert!(table.bind_named(named(9, 1), "b", "1", &EMPTY));
    assert!(!table.bind_named(named(9, 1), "b", "1", &EMPTY));
    assert!(table.bind_named(named(9, 1), "b", "2", &EMPTY));
    for key in 0..100 {
        let found = route(&table, &format!("key {key}"));
        assert_eq!(found.named.len(), 1);
        assert!(found.queues.is_empty() && found.shards.is_empty());
    }
    assert_eq!(table.remove_named(named(9, 1)), 2);
    assert_eq!(route(&table, "k").named, [named(0, 1)]);
    assert!(table.unbind_named(named(0, 1), "1", &EMPTY));
    assert!(table.is_empty());
}

#[test]
fn a_binding_with_odd_arguments_can_be_unbound() {
    let mut table = table("headers");
    let odd = Table(vec![
        ("n".into(), Value::F64(f64::NAN)),
        ("a".into(), Value::I8(1)),
        ("a".into(), Value::I8(2)),
    ]);
    assert!(table.bind_queue(queue(1), "", &odd).new);
    assert!(!table.bind_queue(queue(1), "", &odd).new);
    assert!(table.unbind_queue(queue(1), "", &odd).existed);
    assert!(table.is_empty());
}

/// Abuse row 38: nothing here walks what it does not concern; a table that did would take hours.
#[test]
fn hundred_thousand_bindings_of_one_key_and_one_queue_come_and_go() {
    let mut table = table("headers");
    for i in 0..50_000 {
        table.bind_queue(queue(1), "", &with("id", Value::I32(i)));
        table.bind_queue(queue(i.unsigned_abs()), "", &with("id", Value::I32(-1)));
    }
    assert_eq!(table.remove_queue(queue(1), |_, _| ()), 50_001);
    for i in 2..50_000 {
        assert!(table.unbind_queue(queue(i), "", &with("id", Value::I32(-1))).existed);
    }
    assert_eq!(table.binding_count(), 1);
}

/// Two shards, each with its own places: what one announces makes the other send there.
#[test]
fn what_one_shard_announces_the_other_routes_to() {
    let (mut owner, mut publisher) = (table("topic"), table("topic"));
    owner.bind_queue(queue(1), "logs.#", &EMPTY);
    owner.bind_queue(queue(2), "logs.*.error", &EMPTY);
    for (key, arguments) in owner.local_interests() {
        publisher.set_interest(ShardId(0), key, arguments);
    }
    assert!(route(&publisher, "logs.web.error").shards.contains(ShardId(0)));
    assert_eq!(route(&owner, "logs.web.error").queues, [queue(1), queue(2)]);
    let mut gone = Vec::new();
    owner.remove_queue(queue(1), |key, arguments| gone.push((key.to_owned(), arguments.clone())));
    for (key, arguments) in &gone {
        publisher.clear_interest(ShardId(0), key, arguments);
    }
    assert!(route(&publisher, "logs.web.info").is_empty());
    assert!(route(&publisher, "logs.web.error").shards.contains(ShardId(0)));
}

/// The same bindings in any order give every shard the same choice.
#[test]
fn shards_pick_the_same_queue_whatever_the_history() {
    for kind in ["x-consistent-hash", "x-modulus-hash"] {
        let (mut here, mut there) = (table(kind), table(kind));
        for n in 0..20 {
            here.bind_named(named(1, n), &format!("q{n}"), "1", &EMPTY);
        }
        here.bind_exchange(ExchangeId(4), "1", &EMPTY);
        here.remove_named(named(1, 7));
        there.bind_exchange(ExchangeId(4), "1", &EMPTY);
        for n in (0..20).rev().filter(|n| *n != 7) {
            there.bind_named(named(1, n), &format!("q{n}"), "1", &EMPTY);
        }
        for key in (0..500).map(|n| format!("key {n}")) {
            let (a, b) = (route(&here, &key), route(&there, &key));
            assert_eq!((a.named, a.exchanges), (b.named, b.exchanges), "{kind}");
        }
    }
}
