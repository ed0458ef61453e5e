//! What every type of queue promises: each test runs for each entry of `QUEUE_TYPES` but for those
//! of the broker's own queues, over a store in memory and over one that answers later.

use super::testing::{Bench, channel, connection, message, message_with, now, spec, table};
use super::*;
use crate::broker::consumer::ConsumeRefused;
use crate::command::Outcome;
use crate::ids::{ChannelId, ChannelRef};
use crate::value::Value;

fn each(test: impl Fn(&str)) {
    for kind in QUEUE_TYPES.iter().filter(|kind| kind.counts_as_queue) {
        test(kind.name);
    }
}

/// Also over a store that has to read first, quickly or slowly.
fn each_with(entries: &[(&str, Value)], test: impl Fn(Bench)) {
    each(|kind| {
        test(Bench::new(kind, entries));
        test(Bench::slow(kind, entries, 1));
        test(Bench::slow(kind, entries, 3));
    });
}

#[test]
fn messages_come_in_the_order_of_publishing() {
    each_with(&[], |mut bench| {
        bench.publish(&["a", "b"]);
        bench.consumer(1, 0);
        bench.publish(&["c"]);
        let got = bench.deliver();
        assert_eq!(got.iter().map(|g| &*g.what).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert!(got.iter().all(|g| !g.redelivered && g.count.is_none()));
        assert_eq!((bench.queue.ready(), bench.queue.unsettled()), (0, 3));
    });
}

#[test]
fn accepted_messages_leave_nothing_behind() {
    each_with(&[], |mut bench| {
        bench.consumer(1, 0);
        bench.publish(&["a", "b", "c"]);
        assert!(bench.queue.memory_bytes() > 0);
        for got in bench.deliver() {
            assert!(bench.settle(got.id, Outcome::Accept));
            assert!(!bench.settle(got.id, Outcome::Accept), "settled twice");
        }
        assert_eq!((bench.queue.memory_bytes(), bench.queue.unsettled()), (0, 0));
    });
}

#[test]
fn prefetch_bounds_what_is_out_and_settling_frees_credit_at_once() {
    each_with(&[], |mut bench| {
        bench.consumer(1, 2);
        bench.publish(&["a", "b", "c"]);
        let got = bench.deliver();
        assert_eq!(got.len(), 2);
        bench.settle(got[1].id, Outcome::Accept);
        assert_eq!(bench.names(), ["c"]);
    });
}

#[test]
fn prefetch_0_means_the_default_bound() {
    each(|kind| {
        let mut arguments = table(&[]);
        arguments.set(QUEUE_TYPE, Value::text(kind));
        let defaults = QueueDefaults { prefetch: 3, ..QueueDefaults::default() };
        let mut bench = Bench::new(kind, &[]);
        bench.queue = Queue::declare(&spec(&arguments), &defaults, now(0)).unwrap();
        bench.consumer(1, 0);
        bench.publish(&["a", "b", "c", "d"]);
        assert_eq!(bench.deliver().len(), 3);
    });
}

#[test]
fn deliveries_that_settle_at_once_need_no_credit() {
    each_with(&[], |mut bench| {
        bench.consumer_with(1, 1, |c| c.no_settle = true).unwrap();
        bench.publish(&["a", "b", "c"]);
        assert_eq!(bench.names(), ["a", "b", "c"]);
        assert_eq!((bench.queue.unsettled(), bench.queue.memory_bytes()), (0, 0));
    });
}

#[test]
fn equal_consumers_take_turns() {
    each_with(&[], |mut bench| {
        for n in 1..=3 {
            bench.consumer(n, 0);
        }
        bench.publish(&["a", "b", "c", "d", "e", "f"]);
        let to: Vec<_> = bench.deliver().iter().map(|g| g.to).collect();
        assert_eq!(to, [1, 2, 3, 1, 2, 3]);
    });
}

#[test]
fn a_higher_consumer_gets_all_until_its_credit_is_used() {
    each_with(&[], |mut bench| {
        bench.consumer(1, 0);
        let high = table(&[("x-priority", Value::I8(1))]);
        bench.consumer_with(2, 2, |c| c.arguments = &high).unwrap();
        bench.publish(&["a", "b", "c", "d"]);
        let got = bench.deliver();
        assert_eq!(got.iter().map(|g| g.to).collect::<Vec<_>>(), [2, 2, 1, 1]);
        bench.settle(got[0].id, Outcome::Accept);
        bench.publish(&["e", "f"]);
        assert_eq!(bench.deliver().iter().map(|g| g.to).collect::<Vec<_>>(), [2, 1]);
    });
}

#[test]
fn a_connection_without_room_waits_and_goes_on_when_it_has_room() {
    each_with(&[], |mut bench| {
        bench.consumer(1, 0);
        bench.consumer(2, 0);
        bench.outlet.full.insert(connection(1));
        bench.publish(&["a", "b"]);
        assert!(bench.deliver().iter().all(|g| g.to == 2));
        bench.outlet.full.clear();
        bench.queue.resume(connection(1));
        bench.publish(&["c", "d"]);
        assert_eq!(bench.deliver().iter().filter(|g| g.to == 1).count(), 1);
    });
}

#[test]
fn a_full_connection_leaves_messages_ready() {
    each_with(&[], |mut bench| {
        bench.consumer(1, 0);
        bench.outlet.full.insert(connection(1));
        bench.publish(&["a"]);
        assert!(bench.deliver().is_empty());
        assert!(bench.deliver().is_empty());
        assert_eq!(bench.outlet.waiting, [connection(1)], "said once");
        assert_eq!(bench.queue.ready(), 1);
        bench.outlet.full.clear();
        bench.queue.resume(connection(1));
        let got = bench.deliver();
        assert!(!got[0].redelivered, "P45: it was never out");
    });
}

#[test]
fn a_returned_message_comes_again_before_newer_ones_and_says_so() {
    each_with(&[], |mut bench| {
        bench.consumer(1, 1);
        bench.publish(&["a", "b"]);
        let got = bench.deliver();
        bench.requeue(got[0].id);
        let again = bench.deliver();
        assert_eq!((&*again[0].what, again[0].redelivered), ("a", true));
        bench.settle(again[0].id, Outcome::Accept);
        assert!(!bench.deliver()[0].redelivered);
    });
}

#[test]
fn deliveries_of_a_removed_consumer_stay_out_and_can_be_settled() {
    each_with(&[], |mut bench| {
        let consumer = bench.consumer(1, 0);
        bench.publish(&["a", "b"]);
        let got = bench.deliver();
        let removed = bench.remove(consumer).unwrap();
        assert_eq!((removed.last, removed.unsettled), (true, 2));
        assert!(bench.remove(consumer).is_none());
        assert_eq!((bench.queue.ready(), bench.queue.unsettled()), (0, 2));
        assert!(bench.settle(got[0].id, Outcome::Accept));
        bench.requeue(got[1].id);
        bench.consumer(2, 0);
        assert_eq!(bench.names(), ["b"]);
    });
}

#[test]
fn settling_for_a_removed_consumer_gives_no_credit_to_its_successor() {
    each_with(&[], |mut bench| {
        let old = bench.consumer(1, 1);
        bench.publish(&["a", "b", "c"]);
        let got = bench.deliver();
        bench.remove(old);
        bench.consumer(2, 1);
        assert_eq!(bench.names(), ["b"]);
        bench.settle(got[0].id, Outcome::Accept);
        assert!(bench.deliver().is_empty());
    });
}

#[test]
fn consumers_of_a_channel_or_connection_go_together() {
    each_with(&[], |mut bench| {
        let other = ChannelRef { channel: ChannelId(2), ..channel(1) };
        bench.consumer(1, 0);
        bench.consumer_with(2, 0, |c| c.at = other).unwrap();
        bench.consumer_with(3, 0, |c| c.at = other).unwrap();
        bench.consumer(4, 0);
        let (queue, effects) = (&mut bench.queue, &mut bench.effects);
        let one = queue.remove_consumers_of(connection(1), Some(ChannelId(2)), now(0), effects);
        assert_eq!((one, queue.consumers()), (2, 2));
        assert_eq!(queue.remove_consumers_of(connection(1), None, now(0), effects), 1);
        assert_eq!(queue.remove_consumers_of(connection(1), None, now(0), effects), 0);
        bench.publish(&["a"]);
        assert_eq!(bench.deliver()[0].to, 4);
    });
}

#[test]
fn fetching_one_by_one_takes_nobodys_credit() {
    each_with(&[], |mut bench| {
        bench.consumer(1, 1);
        bench.publish(&["a", "b", "c"]);
        let taken = bench.take().unwrap();
        assert_eq!((taken.message.routing_key(), taken.redelivered, taken.left), ("a", false, 2));
        assert_eq!(bench.names(), ["b"]);
        bench.requeue(taken.id);
        assert!(bench.deliver().is_empty(), "settling it gives no credit either");
        let again = bench.take().unwrap();
        assert!(again.redelivered);
        let last = bench.take_and(true).unwrap();
        assert_eq!((last.message.routing_key(), bench.queue.unsettled()), ("c", 2));
        assert!(bench.take().is_none());
    });
}

#[test]
fn a_rejected_message_goes_to_the_dead_letter_exchange_or_nowhere() {
    each_with(&[("x-dead-letter-exchange", Value::text("dlx"))], |mut bench| {
        bench.consumer(1, 0);
        bench.publish_message(message_with("a", |t| t.expiration_ms = Some(1_000)));
        let got = bench.deliver();
        bench.settle(got[0].id, Outcome::Reject);
        let [Effect::DeadLetter(dead)] = &bench.effects[..] else { panic!("one dead letter") };
        assert_eq!((&*dead.target.exchange, dead.target.routing_key.as_deref()), ("dlx", None));
        assert_eq!(dead.message.traits().expiration_ms, None);
        let death = &dead.message.deaths().unwrap().deaths[0];
        assert_eq!((&*death.queue, death.at_ms, death.count), ("q", 1_000_000, 1));
        let from = dead.from.unwrap();
        assert_ne!(bench.queue.memory_bytes(), 0, "it lies here until it has arrived there");
        bench.queue.gone_on(from);
        assert_eq!(bench.queue.memory_bytes(), 0);
    });
    each_with(&[], |mut bench| {
        bench.publish(&["a"]);
        let taken = bench.take().unwrap();
        bench.settle(taken.id, Outcome::Reject);
        assert_eq!(bench.effects, [Effect::Dropped(DeathReason::Rejected)]);
    });
}

#[test]
fn a_dead_letter_key_replaces_all_keys_of_the_message() {
    let entries = [
        ("x-dead-letter-exchange", Value::text("")),
        ("x-dead-letter-routing-key", Value::text("dead")),
    ];
    each_with(&entries, |mut bench| {
        let message = message("a").with(|inner| inner.extra_keys = Some(["more".into()].into()));
        bench.publish_message(message);
        let taken = bench.take().unwrap();
        bench.settle(taken.id, Outcome::Reject);
        let [Effect::DeadLetter(dead)] = &bench.effects[..] else { panic!("one dead letter") };
        assert_eq!(dead.target.routing_key.as_deref(), Some("dead"));
        assert!(dead.message.extra_keys().is_empty());
        let keys = &dead.message.deaths().unwrap().deaths[0].routing_keys;
        assert_eq!(**keys, ["a".into(), "more".into()]);
    });
}

#[test]
fn a_message_expires_after_the_shorter_time_counted_from_its_arrival_here() {
    each_with(&[("x-message-ttl", Value::I32(100))], |mut bench| {
        bench.at_ms = 50;
        bench.publish(&["queue"]);
        bench.publish_message(message_with("own", |t| t.expiration_ms = Some(20)));
        assert_eq!(bench.next_deadline(), Some(150));
        bench.at_ms = 149;
        bench.on_time();
        assert_eq!(bench.queue.ready(), 2, "expiry happens at the head");
        bench.at_ms = 150;
        bench.on_time();
        let died = (String::new(), DeathReason::Expired);
        assert_eq!(bench.dead(), [died.clone(), died]);
        assert_eq!((bench.queue.ready(), bench.next_deadline()), (0, None));
    });
}

#[test]
fn neither_the_queue_nor_the_message_can_lengthen_the_others_time() {
    each_with(&[("x-message-ttl", Value::I32(100))], |mut bench| {
        bench.publish_message(message_with("short", |t| t.expiration_ms = Some(20)));
        assert_eq!(bench.next_deadline(), Some(20));
        bench.queue.purge();
        bench.publish_message(message_with("long", |t| t.expiration_ms = Some(1_000)));
        assert_eq!(bench.next_deadline(), Some(100));
    });
}

#[test]
fn an_expired_message_is_never_delivered() {
    each_with(&[("x-dead-letter-exchange", Value::text("dlx"))], |mut bench| {
        bench.publish_message(message_with("short", |t| t.expiration_ms = Some(5)));
        bench.publish(&["long"]);
        bench.at_ms = 5;
        bench.consumer(1, 0);
        assert_eq!(bench.names(), ["long"]);
        assert_eq!(bench.dead(), [("short".to_owned(), DeathReason::Expired)]);
        bench.publish_message(message_with("short", |t| t.expiration_ms = Some(5)));
        bench.queue.set_paused(true);
        bench.at_ms = 10;
        assert!(bench.take().is_none());
    });
}

#[test]
fn no_time_to_live_means_now_or_never() {
    each_with(&[], |mut bench| {
        let at_once = || message_with("now", |t| t.expiration_ms = Some(0));
        bench.publish_message(at_once());
        assert_eq!((bench.queue.ready(), bench.dead().len()), (0, 1));
        bench.consumer(1, 1);
        bench.publish_message(at_once());
        assert_eq!(bench.outlet.names(), ["now"]);
        bench.publish_message(at_once());
        assert_eq!(bench.dead().len(), 1, "no credit left");
    });
}

#[test]
fn a_full_queue_drops_the_oldest_ready_message() {
    let entries = [("x-max-length", Value::I32(2)), ("x-dead-letter-exchange", Value::text("dlx"))];
    each_with(&entries, |mut bench| {
        bench.publish(&["out"]);
        let taken = bench.take().unwrap();
        bench.publish(&["a", "b", "c"]);
        assert_eq!(bench.dead(), [("a".to_owned(), DeathReason::MaxLength)]);
        assert_eq!(bench.queue.ready(), 2);
        assert!(bench.settle(taken.id, Outcome::Accept), "what is out does not count");
    });
}

#[test]
fn octets_of_ready_bodies_are_limited_too() {
    each_with(&[("x-max-length-bytes", Value::I32(9))], |mut bench| {
        bench.publish(&["a", "b", "c"]);
        assert_eq!((bench.queue.ready(), bench.queue.ready_body_bytes()), (2, 8));
    });
}

#[test]
fn a_limit_counts_only_what_no_consumer_takes_at_once() {
    each_with(&[("x-max-length", Value::I32(0))], |mut bench| {
        bench.publish(&["lost"]);
        bench.consumer(1, 2);
        bench.publish(&["a", "b", "c"]);
        assert_eq!(bench.outlet.names(), ["a", "b"]);
        assert_eq!((bench.queue.ready(), bench.effects.len()), (0, 2));
    });
}

#[test]
fn a_full_queue_may_refuse_instead() {
    let refuse = ("x-overflow", Value::text("reject-publish"));
    each_with(&[("x-max-length", Value::I32(1)), refuse], |mut bench| {
        assert_eq!(bench.publish_message(message("a")), Enqueued::Stored);
        assert_eq!(bench.publish_message(message("b")), Enqueued::Overflowed);
        assert!(bench.effects.is_empty());
        bench.consumer(1, 1);
        assert_eq!(bench.publish_message(message("c")), Enqueued::Stored);
        assert_eq!(bench.publish_message(message("d")), Enqueued::Overflowed);
    });
}

#[test]
fn a_refused_message_may_be_dead_lettered() {
    let entries = [
        ("x-max-length", Value::I32(0)),
        ("x-overflow", Value::text("reject-publish-dlx")),
        ("x-dead-letter-exchange", Value::text("dlx")),
    ];
    each_with(&entries, |mut bench| {
        assert_eq!(bench.publish_message(message("a")), Enqueued::Overflowed);
        assert_eq!(bench.dead(), [("a".to_owned(), DeathReason::MaxLength)]);
    });
}

#[test]
fn purging_takes_ready_messages_only() {
    each_with(&[], |mut bench| {
        bench.publish(&["a", "b", "c", "d"]);
        let (out, back) = (bench.take().unwrap(), bench.take().unwrap());
        bench.requeue(back.id);
        assert_eq!(bench.queue.purge(), 3);
        assert_eq!((bench.queue.ready(), bench.queue.ready_body_bytes()), (0, 0));
        bench.requeue(out.id);
        assert_eq!(bench.take().unwrap().message.routing_key(), "a");
    });
}

#[test]
fn repeated_messages_are_dropped_where_that_is_wanted() {
    each_with(&[("x-message-deduplication", Value::Bool(true))], |mut bench| {
        let (queue, outlet, effects) = (&mut bench.queue, &mut bench.outlet, &mut bench.effects);
        let mut publish = |id: &str| {
            let header = |name: &str| (name == dedup::DEFAULT_HEADER).then(|| Value::text(id));
            queue.publish(message("m"), header, now(0), outlet, effects)
        };
        assert_eq!(publish("1"), Enqueued::Stored);
        assert_eq!(publish("1"), Enqueued::Repeated);
        assert_eq!(publish("2"), Enqueued::Stored);
    });
}

#[test]
fn an_unused_queue_asks_once_to_be_deleted() {
    each_with(&[("x-expires", Value::I32(100))], |mut bench| {
        bench.at_ms = 60;
        assert!(bench.take().is_none());
        assert_eq!(bench.next_deadline(), Some(160), "fetching is use");
        let consumer = bench.consumer(1, 0);
        assert_eq!(bench.next_deadline(), None);
        bench.at_ms = 200;
        bench.remove(consumer);
        assert_eq!(bench.next_deadline(), Some(300), "it was in use until now");
        bench.at_ms = 250;
        bench.queue.touch(now(250));
        bench.at_ms = 349;
        bench.on_time();
        assert!(bench.effects.is_empty());
        bench.at_ms = 350;
        bench.on_time();
        bench.on_time();
        assert_eq!(bench.effects, [Effect::Delete(WhyDeleted::Unused)]);
    });
}

#[test]
fn an_exclusive_consumer_is_alone() {
    each_with(&[], |mut bench| {
        let first = bench.consumer_with(1, 0, |c| c.exclusive = true).unwrap();
        let refused = Err(ConsumeRefused::ExclusiveUse);
        assert_eq!(bench.consumer_with(2, 0, |_| {}), refused);
        bench.remove(first);
        bench.consumer(2, 0);
        assert_eq!(bench.consumer_with(3, 0, |c| c.exclusive = true), refused);
    });
}

#[test]
fn one_consumer_is_active_and_the_next_follows_when_it_goes() {
    each_with(&[("x-single-active-consumer", Value::Bool(true))], |mut bench| {
        assert!(bench.queue.is_single_active());
        let first = bench.consumer(1, 1);
        bench.consumer(2, 0);
        let high = table(&[("x-priority", Value::I64(5))]);
        assert_eq!(
            bench.consumer_with(4, 0, |c| c.exclusive = true),
            Err(ConsumeRefused::ExclusiveUse)
        );
        bench.publish(&["a", "b", "c"]);
        assert_eq!(bench.deliver().iter().map(|g| g.to).collect::<Vec<_>>(), [1]);
        let third = bench.consumer_with(3, 1, |c| c.arguments = &high).unwrap();
        assert!(bench.deliver().is_empty(), "the active one is not done");
        bench.remove(first);
        assert_eq!(bench.queue.active_consumer(), Some(third));
        assert_eq!(bench.deliver()[0].to, 3);
        bench.remove(third);
        assert_eq!(bench.deliver()[0].to, 2);
    });
}

#[test]
fn consumers_are_limited() {
    each(|kind| {
        let mut bench = Bench::new(kind, &[]);
        let arguments = table(&[(QUEUE_TYPE, Value::text(kind))]);
        let defaults = QueueDefaults { consumers_max: 1, ..QueueDefaults::default() };
        bench.queue = Queue::declare(&spec(&arguments), &defaults, now(0)).unwrap();
        bench.consumer(1, 0);
        let refused = bench.consumer_with(2, 0, |_| {});
        assert_eq!(refused, Err(ConsumeRefused::LimitReached { consumers_max: 1 }));
    });
}

#[test]
fn a_paused_queue_or_consumer_keeps_its_place() {
    each_with(&[], |mut bench| {
        let consumer = bench.consumer(1, 0);
        bench.publish(&["a"]);
        bench.queue.set_paused(true);
        assert!(bench.deliver().is_empty());
        bench.queue.set_paused(false);
        bench.queue.set_consumer_paused(consumer, true);
        assert!(bench.deliver().is_empty());
        bench.queue.set_consumer_paused(consumer, false);
        assert_eq!(bench.names(), ["a"]);
    });
}

#[test]
fn a_budget_bounds_a_turn() {
    each(|kind| {
        let mut bench = Bench::new(kind, &[]);
        bench.consumer(1, 0);
        bench.publish(&["a", "b", "c"]);
        let (queue, outlet, effects) = (&mut bench.queue, &mut bench.outlet, &mut bench.effects);
        assert_eq!(queue.deliver(now(0), 2, outlet, effects), More::Yes);
        assert_eq!(outlet.names(), ["a", "b"]);
        assert_eq!(queue.deliver(now(0), 2, outlet, effects), More::No);
        assert_eq!(outlet.names(), ["c"]);
    });
}

#[test]
fn a_hundred_thousand_consumers_each_get_their_turn() {
    each_with(&[], |mut bench| {
        for n in 0..100_000 {
            bench.consumer(n, 1);
        }
        for round in 0..3 {
            bench.publish(&["m"; 1_000]);
            let got = bench.deliver();
            let expected: Vec<_> = (round * 1_000..(round + 1) * 1_000).collect();
            assert_eq!(got.iter().map(|g| g.to).collect::<Vec<_>>(), expected);
        }
    });
}

#[test]
fn a_delivery_limit_is_the_number_of_times_a_message_may_come_back() {
    let entries =
        [("x-delivery-limit", Value::I32(2)), ("x-dead-letter-exchange", Value::text("dlx"))];
    each_with(&entries, |mut bench| {
        bench.consumer(1, 0);
        bench.publish(&["a"]);
        for count in [None, Some(1), Some(2)] {
            let got = bench.deliver();
            assert_eq!((got[0].count, got[0].redelivered), (count, count.is_some()));
            bench.requeue(got[0].id);
        }
        assert_eq!(bench.dead(), [("a".to_owned(), DeathReason::DeliveryLimit)]);
        assert_eq!((bench.queue.ready(), bench.queue.memory_bytes()), (0, 0));
    });
}
