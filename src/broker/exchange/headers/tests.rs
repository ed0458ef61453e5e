//! Tests of the headers exchange.

use proptest::prelude::*;

use super::super::contract::{Message, add_with, route_message, take};
use super::*;

fn headers(pairs: &[(&str, Value)]) -> Table {
    Table(pairs.iter().map(|(n, v)| ((*n).into(), v.clone())).collect())
}

fn exchange(bindings: &[Table]) -> Box<dyn Exchange> {
    let mut exchange = make(&Table::default()).unwrap();
    for (place, arguments) in (0..).zip(bindings) {
        add_with(&mut *exchange, place, "", arguments, "");
    }
    exchange
}

fn route(exchange: &dyn Exchange, headers: Table) -> Vec<u32> {
    route_message(exchange, "", &Message { headers, ..Message::default() }, 0)
}

fn text(value: &str) -> Value {
    Value::text(value)
}

#[test]
fn all_is_the_default_and_wants_every_argument() {
    let wanted = [("format", text("pdf")), ("type", text("report"))];
    let all = headers(&[&wanted[..], &[("x-match", text("all"))]].concat());
    let exchange = exchange(&[headers(&wanted), all]);
    assert_eq!(route(&*exchange, headers(&wanted)), [0, 1]);
    assert_eq!(route(&*exchange, headers(&[&wanted[..], &[("z", Value::Void)]].concat())), [0, 1]);
    assert_eq!(route(&*exchange, headers(&wanted[..1])), [0; 0]);
    let other = headers(&[("format", text("pdf")), ("type", text("log"))]);
    assert_eq!(route(&*exchange, other), [0; 0]);
}

#[test]
fn any_wants_one_argument_and_is_found_once_even_if_several_fit() {
    let any = headers(&[("a", Value::I8(1)), ("b", Value::I8(2)), ("x-match", text("any"))]);
    let exchange = exchange(&[any]);
    assert_eq!(route(&*exchange, headers(&[("a", Value::I8(1)), ("b", Value::I8(2))])), [0]);
    assert_eq!(route(&*exchange, headers(&[("b", Value::I8(2))])), [0]);
    assert_eq!(route(&*exchange, headers(&[("b", Value::I8(1))])), [0; 0]);
}

#[test]
fn names_that_begin_with_x_count_only_with_x() {
    let binding = |rule: &str| headers(&[("x-a", Value::I8(1)), ("x-match", text(rule))]);
    let rules = ["all", "any", "all-with-x", "any-with-x"].map(binding);
    let exchange = exchange(&rules);
    assert_eq!(route(&*exchange, headers(&[("x-a", Value::I8(1))])), [0, 2, 3]);
    assert_eq!(route(&*exchange, headers(&[("x-a", Value::I8(2))])), [0]);
    assert_eq!(route(&*exchange, headers(&[("x-match", text("all-with-x"))])), [0]);
}

#[test]
fn all_of_nothing_matches_and_any_of_nothing_does_not() {
    let any = headers(&[("x-match", text("any"))]);
    let exchange = exchange(&[Table::default(), any]);
    assert_eq!(route(&*exchange, Table::default()), [0]);
    assert_eq!(route(&*exchange, headers(&[("a", Value::Void)])), [0]);
}

#[test]
fn void_asks_only_that_the_header_be_there() {
    let any = headers(&[("a", Value::Void), ("x-match", text("any"))]);
    let exchange = exchange(&[headers(&[("a", Value::Void)]), any]);
    for value in [Value::Void, Value::Bool(false), text("")] {
        assert_eq!(route(&*exchange, headers(&[("a", value)])), [0, 1]);
    }
    assert_eq!(route(&*exchange, headers(&[("b", Value::Void)])), [0; 0]);
}

/// P76.
#[test]
fn integers_match_by_number_and_nothing_else_does() {
    let exchange = exchange(&[headers(&[("n", Value::I32(7))])]);
    for value in [Value::I8(7), Value::U8(7), Value::I64(7), Value::U16(7)] {
        assert_eq!(route(&*exchange, headers(&[("n", value)])), [0]);
    }
    for value in [Value::I32(8), Value::F64(7.0), text("7"), Value::Timestamp(7), Value::Void] {
        assert_eq!(route(&*exchange, headers(&[("n", value)])), [0; 0]);
    }
}

#[test]
fn of_a_header_that_repeats_the_last_one_counts() {
    let exchange = exchange(&[headers(&[("n", Value::I8(2))])]);
    assert_eq!(route(&*exchange, headers(&[("n", Value::I8(1)), ("n", Value::I8(2))])), [0]);
    assert_eq!(route(&*exchange, headers(&[("n", Value::I8(2)), ("n", Value::I8(1))])), [0; 0]);
}

#[test]
fn the_exchange_can_make_any_the_default() {
    let mut exchange = make(&headers(&[("x-match", text("any"))])).unwrap();
    add_with(&mut *exchange, 0, "", &headers(&[("a", Value::I8(1)), ("b", Value::I8(1))]), "");
    assert_eq!(route(&*exchange, headers(&[("a", Value::I8(1))])), [0]);
}

#[test]
fn an_unknown_rule_and_too_many_arguments_are_refused() {
    let exchange = exchange(&[]);
    for value in [text("some"), text("ALL"), Value::Bool(true), Value::Void] {
        let arguments = headers(&[("x-match", value)]);
        assert!(exchange.validate_binding("", &arguments).is_err());
        assert!(make(&arguments).is_err());
    }
    let many = |count| Table((0..count).map(|i| (format!("h{i}").into(), Value::I8(0))).collect());
    assert!(exchange.validate_binding("", &many(WANTED_MAX)).is_ok());
    assert!(exchange.validate_binding("", &many(WANTED_MAX + 1)).is_err());
}

/// Abuse row 38: what 100,000 bindings have in common does not lead a message to all of them.
#[test]
fn bindings_stand_in_the_index_under_what_tells_them_apart() {
    let mut exchange = HeadersExchange::new(Rule { all: true, with_x: false });
    for i in 0..20_000 {
        let arguments = headers(&[("kind", text("order")), ("customer", Value::I64(i.into()))]);
        add_with(&mut exchange, i, "", &arguments, "");
        let arguments = headers(&[("kind", text("order")), (&format!("note{i}"), Value::Void)]);
        add_with(&mut exchange, 20_000 + i, "", &arguments, "");
    }
    let longest = exchange.index.values().map(|places| places.as_slice().len()).max();
    assert!(longest < Some(3), "{longest:?}");
    let message = headers(&[("kind", text("order")), ("customer", Value::I64(19_999))]);
    assert_eq!(route(&exchange, message), [19_999]);
}

fn some_value() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        Value::Void,
        Value::I8(1),
        Value::I64(1),
        Value::I8(2),
        Value::text("1"),
        Value::Bool(true),
    ])
}

fn some_headers() -> impl Strategy<Value = Table> {
    let name = prop::sample::select(vec!["a", "b", "c", "x-a", "x-b"]);
    prop::collection::vec((name, some_value()), 0..5)
        .prop_map(|pairs| Table(pairs.into_iter().map(|(n, v)| (n.into(), v)).collect()))
}

fn some_binding() -> impl Strategy<Value = Table> {
    let rule = prop::sample::select(vec!["all", "any", "all-with-x", "any-with-x"]);
    (some_headers(), prop::option::of(rule)).prop_map(|(mut arguments, rule)| {
        if let Some(rule) = rule {
            arguments.set(MATCH, Value::text(rule));
        }
        arguments
    })
}

/// The definition, one binding at a time.
fn matches(arguments: &Table, headers: &Table) -> bool {
    let rule = arguments.get(MATCH).and_then(Value::as_text).unwrap_or("all");
    let counts = |name: &str| name != MATCH && (rule.ends_with("-x") || !name.starts_with("x-"));
    let mut wanted = arguments.0.iter().map(|(name, _)| name).filter(|name| counts(name));
    let has = |name: &str| {
        let value = arguments.get(name).unwrap();
        headers.get(name).is_some_and(|h| *value == Value::Void || h.same_as(value))
    };
    if rule.starts_with("all") { wanted.all(|n| has(n)) } else { wanted.any(|n| has(n)) }
}

proptest! {
    #[test]
    fn a_message_finds_exactly_the_bindings_it_matches(
        bindings in prop::collection::vec((some_binding(), any::<bool>()), 0..20),
        messages in prop::collection::vec(some_headers(), 1..10),
    ) {
        let mut exchange = HeadersExchange::new(Rule { all: true, with_x: false });
        for (place, (arguments, _)) in (0..).zip(&bindings) {
            add_with(&mut exchange, place, "", arguments, "");
        }
        for (place, (arguments, kept)) in (0..).zip(&bindings) {
            if !kept {
                take(&mut exchange, place, "", arguments, "");
            }
        }
        for message in messages {
            let expected: Vec<u32> = (0..)
                .zip(&bindings)
                .filter(|(_, (arguments, kept))| *kept && matches(arguments, &message))
                .map(|(place, _)| place)
                .collect();
            prop_assert_eq!(route(&exchange, message), expected);
        }
        for (place, (arguments, _)) in (0..).zip(&bindings) {
            take(&mut exchange, place, "", arguments, "");
        }
        prop_assert!(exchange.index.is_empty() && exchange.unconditional.is_empty());
    }
}
