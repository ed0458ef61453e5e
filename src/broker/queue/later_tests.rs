//! What a queue does while a message has to be read first.

use super::settle::DYING_MAX;
use super::testing::{Bench, message, message_with, now};
use super::*;
use crate::command::Outcome;
use crate::value::Value;

fn dead_letters() -> (&'static str, Value) {
    ("x-dead-letter-exchange", Value::text("dlx"))
}

/// With a disk that works only when told to; a read takes one load.
fn by_hand(entries: &[(&str, Value)]) -> Bench {
    Bench { by_hand: true, ..Bench::slow("classic", entries, 1) }
}

fn is_busy(bench: &Bench) -> bool {
    bench.disk.as_ref().unwrap().is_busy()
}

#[test]
fn deliveries_stop_at_a_message_that_has_to_be_read_and_go_on_with_it() {
    let mut bench = by_hand(&[]);
    bench.publish(&["a", "b"]);
    bench.consumer(1, 0);
    assert!(bench.deliver().is_empty());
    assert!(bench.deliver().is_empty(), "not b either");
    assert_eq!((bench.queue.ready(), bench.queue.unsettled()), (2, 0));
    bench.load();
    let got = bench.deliver();
    assert_eq!(
        got.iter().map(|g| (&*g.what, g.redelivered)).collect::<Vec<_>>(),
        [("a", false), ("b", false)]
    );
}

#[test]
fn tokens_of_a_channel_stay_while_its_message_is_read() {
    let mut bench = by_hand(&[]);
    let id = bench.consumer(1, 0);
    bench.queue.set_limited(id, true);
    bench.publish(&["a", "b"]);
    bench.outlet.tokens = 1;
    assert!(bench.deliver().is_empty());
    assert!(bench.outlet.unneeded.is_empty());
    bench.load();
    assert_eq!(bench.names(), ["a"]);
}

#[test]
fn a_fetch_waits_and_an_empty_queue_says_so_at_once() {
    let mut bench = by_hand(&[]);
    assert!(matches!(bench.queue.take(now(0), false, &mut Vec::new()), Fetched::Empty));
    bench.publish(&["a", "b"]);
    assert!(matches!(bench.queue.take(now(0), false, &mut Vec::new()), Fetched::Later));
    bench.load();
    assert_eq!(bench.take().unwrap().message.routing_key(), "a");
}

#[test]
fn a_message_comes_back_without_being_read() {
    let mut bench = by_hand(&[]);
    bench.publish(&["a"]);
    let taken = bench.take().unwrap();
    bench.requeue(taken.id);
    assert!(!is_busy(&bench));
    assert_eq!((bench.queue.ready(), bench.queue.ready_body_bytes()), (1, 4));
}

#[test]
fn a_rejected_message_is_read_before_it_goes_on_and_is_kept_until_then() {
    let mut bench = by_hand(&[dead_letters()]);
    bench.publish(&["a", "b"]);
    bench.consumer(1, 0);
    bench.load_all();
    bench.deliver();
    bench.load();
    let mut got = bench.deliver();
    got.extend(bench.deliver());
    let kept = bench.queue.memory_bytes();
    assert!(bench.settle(got[0].id, Outcome::Reject));
    assert!(bench.dead().is_empty());
    assert_eq!((bench.queue.unsettled(), bench.queue.memory_bytes()), (1, kept));
    bench.load();
    assert_eq!(bench.dead(), [("a".to_owned(), DeathReason::Rejected)]);
    assert!(bench.queue.memory_bytes() < kept);
}

#[test]
fn a_rejected_message_that_goes_nowhere_is_not_read() {
    let mut bench = by_hand(&[]);
    bench.publish(&["a"]);
    let taken = bench.take().unwrap();
    bench.settle(taken.id, Outcome::Reject);
    assert!(!is_busy(&bench));
    assert_eq!(bench.effects, [Effect::Dropped(DeathReason::Rejected)]);
    assert_eq!(bench.queue.memory_bytes(), 0);
}

#[test]
fn a_dead_message_that_the_store_lost_is_told() {
    let mut bench = by_hand(&[dead_letters()]);
    bench.publish(&["a"]);
    let taken = bench.take().unwrap();
    bench.queue.store.settle(Position::new(0));
    bench.settle(taken.id, Outcome::Reject);
    assert_eq!(bench.effects, [Effect::Unreadable(Position::new(0))]);
}

#[test]
fn nothing_more_goes_out_while_too_many_dead_messages_wait_to_be_read() {
    let mut bench = by_hand(&[dead_letters()]);
    for _ in 0..DYING_MAX {
        bench.publish(&["dead"]);
        let taken = bench.take().unwrap();
        bench.settle(taken.id, Outcome::Reject);
    }
    bench.publish(&["alive"]);
    bench.consumer(1, 0);
    assert!(bench.deliver().is_empty() && bench.take().is_none());
    bench.load_all();
    assert_eq!(bench.dead().len(), DYING_MAX);
    assert_eq!(bench.names(), ["alive"]);
}

#[test]
fn a_full_queue_is_too_long_until_its_head_has_been_read() {
    let mut bench = by_hand(&[("x-max-length", Value::I32(1)), dead_letters()]);
    bench.publish(&["a", "b", "c"]);
    assert_eq!(bench.queue.ready(), 3);
    bench.load();
    assert_eq!(bench.dead(), [("a".to_owned(), DeathReason::MaxLength)]);
    bench.load();
    assert_eq!(bench.dead(), [("b".to_owned(), DeathReason::MaxLength)]);
    assert!(!is_busy(&bench));
    assert_eq!(bench.queue.ready(), 1);
}

#[test]
fn a_limit_drops_nothing_that_a_consumer_waited_for() {
    let mut bench = by_hand(&[("x-max-length", Value::I32(2))]);
    bench.publish(&["a", "b"]);
    bench.consumer(1, 0);
    bench.publish(&["c"]);
    assert_eq!(bench.queue.ready(), 3);
    bench.load();
    assert_eq!(bench.outlet.names(), ["a"]);
    bench.load();
    assert_eq!(bench.names(), ["b", "c"]);
    assert!(bench.effects.is_empty());
}

#[test]
fn a_head_has_no_time_before_it_is_read_and_expires_as_soon_as_it_is() {
    let mut bench = by_hand(&[]);
    bench.publish_message(message_with("a", |t| t.expiration_ms = Some(10)));
    bench.publish_message(message_with("b", |t| t.expiration_ms = Some(90)));
    assert_eq!(bench.next_deadline(), None);
    assert!(is_busy(&bench));
    bench.load();
    assert_eq!(bench.next_deadline(), Some(10));
    bench.at_ms = 10;
    bench.on_time();
    assert_eq!((bench.queue.ready(), bench.next_deadline()), (1, Some(90)));
    bench.publish_message(message("c"));
    bench.at_ms = 90;
    bench.on_time();
    assert_eq!(bench.queue.ready(), 2, "b has to be read again");
    bench.load();
    assert_eq!((bench.queue.ready(), bench.dead().len()), (1, 2));
}

#[test]
fn purging_asks_for_nothing() {
    let mut bench = by_hand(&[]);
    bench.publish(&["a", "b", "c"]);
    assert_eq!(bench.queue.purge(), 3);
    assert!(!is_busy(&bench));
    assert_eq!(bench.queue.memory_bytes(), 0);
}
