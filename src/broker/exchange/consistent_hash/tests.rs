//! Tests of the consistent hash exchange.

use super::super::contract::{Message, add, route, route_message, take};
use super::*;

fn arguments(pairs: &[(&str, &str)]) -> Table {
    Table(pairs.iter().map(|(n, v)| ((*n).into(), Value::text(v))).collect())
}

fn exchange(algorithm: &str) -> Box<dyn Exchange> {
    make(&arguments(&[(ALGORITHM, algorithm)])).unwrap()
}

fn keys() -> impl Iterator<Item = String> {
    (0..20_000).map(|i| format!("customer.{i}"))
}

/// How many keys each of `bindings` places gets.
fn counts(exchange: &dyn Exchange, bindings: usize) -> Vec<usize> {
    let mut counts = vec![0; bindings];
    keys().for_each(|key| counts[route(exchange, &key)[0] as usize] += 1);
    counts
}

#[test]
fn shares_follow_the_weights() {
    for (algorithm, off_percent) in [("ring", 25), ("jump", 5)] {
        let mut exchange = exchange(algorithm);
        for (place, weight) in [(0, "1"), (1, "2"), (2, "5"), (3, "2")] {
            add(&mut *exchange, place, weight, &format!("work.{place}"));
        }
        let fair = [2_000, 4_000, 10_000, 4_000];
        for (count, fair) in counts(&*exchange, 4).into_iter().zip(fair) {
            let off = count.abs_diff(fair) * 100 / fair;
            assert!(off <= off_percent, "{algorithm}: {count} instead of {fair}");
        }
    }
}

#[test]
fn a_new_queue_only_takes_keys_over_and_gives_them_back() {
    for algorithm in ["ring", "jump"] {
        let mut exchange = exchange(algorithm);
        (0..9).for_each(|n| add(&mut *exchange, n, "1", &format!("work.{n}")));
        let before: Vec<_> = keys().map(|key| route(&*exchange, &key)).collect();
        add(&mut *exchange, 9, "1", "work.9");
        for (key, before) in keys().zip(&before) {
            let after = route(&*exchange, &key);
            assert!(after == *before || after == [9], "{algorithm}");
        }
        take(&mut *exchange, 9, "1", &Table::default(), "work.9");
        let again: Vec<_> = keys().map(|key| route(&*exchange, &key)).collect();
        assert_eq!(again, before, "{algorithm}");
    }
}

/// Bindings reach every shard, but not in one order, and each table gives its own places.
#[test]
fn shards_that_heard_of_bindings_in_different_orders_agree() {
    for algorithm in ["ring", "jump"] {
        let (mut here, mut there) = (exchange(algorithm), exchange(algorithm));
        for n in 0..10u32 {
            add(&mut *here, n, "3", &format!("work.{n}"));
            add(&mut *there, n, "3", &format!("work.{}", 9 - n));
        }
        for key in keys().take(2_000) {
            assert_eq!(route(&*here, &key)[0], 9 - route(&*there, &key)[0], "{algorithm}");
        }
    }
}

/// Abuse row 38, the weight bomb.
#[test]
fn a_weight_bomb_takes_bounded_memory() {
    let mut ring = exchange("ring");
    for bomb in ["1000000000", "18446744073709551615"] {
        assert!(point_count(weight_of(bomb).unwrap()) <= 10_000);
    }
    let mut accepted = 0;
    while ring.validate_binding("1000000000", &Table::default()).is_ok() {
        add(&mut *ring, accepted, "1000000000", &format!("q{accepted}"));
        accepted += 1;
    }
    assert_eq!(accepted, 100);
    let mut jump = exchange("jump");
    (0..1_000).for_each(|n| add(&mut *jump, n, "18446744073709551615", &format!("q{n}")));
    assert_eq!(route(&*jump, "key").len(), 1);
}

#[test]
fn the_binding_key_must_be_a_weight() {
    let exchange = exchange("ring");
    for key in ["", "0", "-1", "1.5", "one", " 1", "99999999999999999999999"] {
        let refused = exchange.validate_binding(key, &Table::default());
        assert_eq!(refused, Err(BadArgument::NotAWeight(key.into())));
    }
}

#[test]
fn a_header_or_property_stands_in_for_the_key() {
    let by_key = |exchange: &mut dyn Exchange| {
        (0..8).for_each(|n| add(exchange, n, "1", &format!("work.{n}")));
    };
    let mut key = exchange("ring");
    by_key(&mut *key);
    assert!(key.depends_on_key_only());
    for (name, value) in [(HASH_HEADER, "id"), (HASH_ON, "id"), (HASH_PROPERTY, "message_id")] {
        let mut other = make(&arguments(&[(name, value)])).unwrap();
        by_key(&mut *other);
        assert!(!other.depends_on_key_only());
        for id in ["a", "b", "c", "d", "e", "f"] {
            let table = arguments(&[(value, id)]);
            let message = Message { headers: table.clone(), properties: table };
            assert_eq!(route_message(&*other, "ignored", &message, 0), route(&*key, id), "{name}");
        }
        let without = route_message(&*other, "ignored", &Message::default(), 0);
        assert_eq!(without, route(&*key, ""), "{name}");
    }
}

/// GHSA-pj8f: a header that is an empty array brought another broker's exchange down.
#[test]
fn a_header_of_any_kind_picks_a_binding() {
    let mut exchange = make(&arguments(&[(HASH_HEADER, "id")])).unwrap();
    add(&mut *exchange, 0, "1", "work.0");
    for value in [Value::Array(vec![]), Value::Void, Value::I8(1), Value::Table(Table::default())] {
        let headers = Table(vec![("id".into(), value)]);
        let message = Message { headers, ..Message::default() };
        assert_eq!(route_message(&*exchange, "", &message, 0), [0]);
    }
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    assert!(make(&arguments(&[(ALGORITHM, "Jump")])).is_ok());
    for bad in [
        arguments(&[(ALGORITHM, "guess")]),
        arguments(&[(HASH_PROPERTY, "body")]),
        arguments(&[(HASH_HEADER, "id"), (HASH_PROPERTY, "message_id")]),
        Table(vec![(HASH_HEADER.into(), Value::Bool(true))]),
    ] {
        assert!(make(&bad).is_err(), "{bad:?}");
    }
}
