//! Rules that hold for one type of queue, or under a condition of their own.

use std::cell::Cell;
use std::rc::Rc;

use ringmq_shards::log::Lsn;

use super::memory::MemoryStore;
use super::store::Read;
use super::testing::{Bench, channel, connection, message_with, now, spec, table};
use super::*;
use crate::command::Outcome;

fn refused(spec: &QueueSpec<'_>) -> Box<str> {
    Queue::declare(spec, &QueueDefaults::default(), now(0)).unwrap_err().argument
}

#[test]
fn a_quorum_queue_is_durable_shared_named_and_stays() {
    let quorum = table(&[(QUEUE_TYPE, Value::text("quorum"))]);
    let good = spec(&quorum);
    assert_eq!(&*refused(&QueueSpec { durable: false, ..good }), "non-durable");
    assert_eq!(&*refused(&QueueSpec { exclusive: Some(connection(1)), ..good }), "exclusive-owner");
    assert_eq!(&*refused(&QueueSpec { auto_delete: true, ..good }), "auto-delete");
    assert_eq!(&*refused(&QueueSpec { server_named: true, ..good }), QUEUE_TYPE);
    let mut arguments = quorum.clone();
    arguments.set("x-max-priority", Value::I32(5));
    assert_eq!(&*refused(&spec(&arguments)), "x-max-priority");
}

#[test]
fn a_type_that_does_not_exist_is_refused_by_name() {
    for kind in ["stream", "Classic", ""] {
        let arguments = table(&[(QUEUE_TYPE, Value::text(kind))]);
        let bad = Queue::declare(&spec(&arguments), &QueueDefaults::default(), now(0)).unwrap_err();
        assert_eq!(&*bad.argument, QUEUE_TYPE);
        assert_eq!(*bad.reason, *format!("there is no queue type '{kind}'"));
    }
}

#[test]
fn the_default_type_is_used_when_none_is_named() {
    let none = Table::default();
    let defaults = QueueDefaults { queue_type: "quorum".into(), ..QueueDefaults::default() };
    let queue = Queue::declare(&spec(&none), &defaults, now(0)).unwrap();
    assert_eq!((queue.kind().name, queue.name()), ("quorum", "q"));
    assert!(!queue.kind().channel_limits);
    assert_eq!(queue.settings().delivery_limit, DeliveryLimit::Times(20));
}

/// R3
#[test]
fn a_quorum_queue_counts_failures_only_and_shows_the_count_on_every_redelivery() {
    let mut bench = Bench::new("quorum", &[]);
    bench.consumer(1, 0);
    bench.publish(&["a"]);
    let mut got = bench.deliver();
    assert_eq!(got[0].count, None);
    for _ in 0..100 {
        bench.settle(got[0].id, Outcome::Requeue { failed: false });
        got = bench.deliver();
        assert_eq!((got[0].count, got[0].redelivered), (Some(0), true));
    }
    for count in 1..=20 {
        bench.requeue(got[0].id);
        got = bench.deliver();
        assert_eq!(got[0].count, Some(count));
    }
    bench.requeue(got[0].id);
    assert_eq!(bench.effects, [Effect::Dropped(DeathReason::DeliveryLimit)]);
}

#[test]
fn a_quorum_queue_may_have_no_delivery_limit() {
    let mut bench = Bench::new("quorum", &[("x-delivery-limit", Value::I32(-1))]);
    bench.publish(&["a"]);
    for count in 0..100 {
        let taken = bench.take().unwrap();
        assert_eq!(taken.delivery_count, (count > 0).then_some(count));
        bench.requeue(taken.id);
    }
}

/// L46
#[test]
fn a_classic_queue_counts_every_return_once_it_has_a_limit() {
    let mut bench = Bench::new("classic", &[("x-delivery-limit", Value::I32(0))]);
    bench.publish(&["a"]);
    let taken = bench.take().unwrap();
    bench.settle(taken.id, Outcome::Requeue { failed: false });
    assert_eq!(bench.dead().len(), 1);
}

/// P67
#[test]
fn a_classic_queue_restores_the_original_order_whoever_returns_first() {
    let mut bench = Bench::new("classic", &[]);
    bench.consumer(1, 3);
    bench.consumer(2, 3);
    bench.publish(&["0", "1", "2", "3", "4", "5", "6"]);
    let got = bench.deliver();
    assert_eq!(got.len(), 6);
    for id in bench.queue.consumers.of(connection(1), None) {
        bench.remove(id);
    }
    for id in bench.queue.consumers.of(connection(2), None) {
        bench.remove(id);
    }
    for got in got.iter().rev() {
        bench.requeue(got.id);
    }
    bench.consumer(3, 0);
    assert_eq!(bench.names(), ["0", "1", "2", "3", "4", "5", "6"]);
}

/// R4
#[test]
fn a_quorum_queue_gives_returned_messages_first_in_order_of_return() {
    let mut bench = Bench::new("quorum", &[]);
    bench.publish(&["a", "b"]);
    let (a, b) = (bench.take().unwrap(), bench.take().unwrap());
    bench.publish_message(message_with("high", |t| t.priority = Some(9)));
    bench.requeue(b.id);
    bench.requeue(a.id);
    bench.consumer(1, 0);
    assert_eq!(bench.names(), ["b", "a", "high"]);
}

/// R6
#[test]
fn a_quorum_queue_has_its_priorities_undeclared() {
    let mut bench = Bench::new("quorum", &[]);
    for (name, priority) in [("none", None), ("low", Some(3)), ("4", Some(4)), ("high", Some(5))] {
        bench.publish_message(message_with(name, |t| t.priority = priority));
    }
    bench.consumer(1, 0);
    assert_eq!(bench.names(), ["high", "none", "4", "low"]);
}

/// L47
#[test]
fn higher_priorities_go_first_and_what_is_above_the_maximum_counts_as_it() {
    let mut bench = Bench::new("classic", &[("x-max-priority", Value::I32(2))]);
    for (name, priority) in [("none", None), ("1", Some(1)), ("2", Some(2)), ("9", Some(9))] {
        bench.publish_message(message_with(name, |t| t.priority = priority));
    }
    bench.consumer(1, 0);
    assert_eq!(bench.names(), ["2", "9", "1", "none"]);
}

#[test]
fn a_full_priority_queue_drops_the_oldest_of_the_lowest_priority() {
    let entries = [
        ("x-max-priority", Value::I32(2)),
        ("x-max-length", Value::I32(2)),
        ("x-dead-letter-exchange", Value::text("dlx")),
    ];
    let mut bench = Bench::new("classic", &entries);
    for (name, priority) in [("high", 2), ("low", 0), ("middle", 1), ("late", 0)] {
        bench.publish_message(message_with(name, |t| t.priority = Some(priority)));
    }
    let dropped: Vec<_> = bench.dead().into_iter().map(|(name, _)| name).collect();
    assert_eq!(dropped, ["low", "late"]);
}

#[test]
fn a_message_expires_at_the_head_of_its_priority() {
    let mut bench = Bench::new("classic", &[("x-max-priority", Value::I32(2))]);
    bench.publish_message(message_with("high", |t| t.priority = Some(2)));
    bench.publish_message(message_with("low", |t| t.expiration_ms = Some(10)));
    assert_eq!(bench.queue.next_deadline(), Some(10));
    bench.at_ms = 10;
    bench.on_time();
    assert_eq!(bench.queue.ready(), 1);
}

/// R15: with a higher priority the active one finishes what it has, then the newcomer follows.
#[test]
fn in_a_quorum_queue_a_higher_consumer_takes_over_when_the_active_one_is_done() {
    let entries = [("x-single-active-consumer", Value::Bool(true))];
    let mut bench = Bench::new("quorum", &entries);
    bench.consumer(1, 1);
    bench.publish(&["a", "b", "c"]);
    let got = bench.deliver();
    let high = table(&[("x-priority", Value::I32(1))]);
    let second = bench.consumer_with(2, 0, |c| c.arguments = &high).unwrap();
    assert!(bench.deliver().is_empty());
    bench.settle(got[0].id, Outcome::Accept);
    assert_eq!(bench.queue.active_consumer(), Some(second));
    assert!(bench.deliver().iter().all(|g| g.to == 2));
}

/// P38
#[test]
fn an_auto_delete_queue_goes_with_its_last_consumer_and_not_before_it_had_one() {
    let none = Table::default();
    let mut bench = Bench::new("classic", &[]);
    let auto_delete = QueueSpec { auto_delete: true, ..spec(&none) };
    bench.queue = Queue::declare(&auto_delete, &QueueDefaults::default(), now(0)).unwrap();
    bench.at_ms = 1_000_000;
    bench.on_time();
    let (one, two) = (bench.consumer(1, 0), bench.consumer(2, 0));
    bench.remove(one);
    assert!(bench.effects.is_empty());
    bench.remove(two);
    assert_eq!(bench.effects, [Effect::Delete(WhyDeleted::LastConsumerLeft)]);
}

#[test]
fn under_a_channel_limit_nothing_is_sent_without_a_token() {
    let mut bench = Bench::new("classic", &[]);
    let id = bench.consumer(1, 0);
    bench.queue.set_limited(id, true);
    bench.publish(&["a", "b", "c"]);
    assert!(bench.deliver().is_empty());
    assert!(bench.deliver().is_empty());
    assert_eq!(bench.outlet.wanted, [id], "asked once");
    assert!(bench.queue.grant(id, 1));
    assert_eq!(bench.names(), ["a"]);
    assert_eq!(bench.outlet.wanted, [id, id]);
    bench.queue.set_limited(id, false);
    assert!(!bench.queue.grant(id, 1));
    assert_eq!(bench.names(), ["b", "c"]);
}

#[test]
fn a_token_may_be_given_at_once() {
    let mut bench = Bench::new("classic", &[]);
    let id = bench.consumer(1, 0);
    bench.queue.set_limited(id, true);
    bench.publish(&["a", "b"]);
    bench.outlet.tokens = 2;
    assert_eq!(bench.names(), ["a", "b"]);
    assert!(bench.outlet.unneeded.is_empty());
}

#[test]
fn tokens_that_nobody_needs_come_back() {
    let mut bench = Bench::new("classic", &[]);
    let (one, two) = (bench.consumer(1, 0), bench.consumer(2, 0));
    bench.queue.set_limited(one, true);
    bench.queue.set_limited(two, true);
    bench.publish(&["a"]);
    assert!(bench.deliver().is_empty());
    assert_eq!(bench.outlet.wanted, [one, two]);
    bench.queue.grant(two, 1);
    bench.queue.grant(one, 3);
    assert_eq!(bench.deliver()[0].to, 2);
    assert_eq!(bench.outlet.unneeded, [(one, 3)]);
    bench.queue.grant(one, 2);
    assert_eq!(bench.remove(one).unwrap().tokens, 2);
}

#[test]
fn a_consumer_has_its_own_timeout_or_the_queues() {
    let bench = |entries: &[_]| Bench::new("classic", entries);
    let timeout = |bench: &mut Bench, arguments: &Table| {
        let new = crate::broker::consumer::NewConsumer {
            at: channel(1),
            key: crate::ids::ConsumerKey(1),
            tag: "t",
            prefetch: 0,
            no_settle: false,
            exclusive: false,
            arguments,
        };
        bench.queue.add_consumer(&new).unwrap().timeout_ms
    };
    let queue = ("x-consumer-timeout", Value::I32(70));
    let own = table(&[("x-consumer-timeout", Value::I32(5))]);
    assert_eq!(timeout(&mut bench(&[]), &Table::default()), None);
    assert_eq!(timeout(&mut bench(std::slice::from_ref(&queue)), &Table::default()), Some(70));
    assert_eq!(timeout(&mut bench(&[queue]), &own), Some(5));
}

#[test]
fn listings_see_every_consumer() {
    let mut bench = Bench::new("classic", &[]);
    let id = bench.consumer(7, 3);
    assert_eq!(
        bench.queue.consumer(id).map(|c| (c.key.0, c.prefetch, &*c.tag)),
        Some((7, 3, "tag"))
    );
    assert_eq!(bench.queue.all_consumers().count(), 1);
}

#[test]
fn a_requeue_into_a_full_queue_drops_the_oldest() {
    let mut bench = Bench::new("classic", &[("x-max-length", Value::I32(1))]);
    bench.publish(&["a"]);
    let taken = bench.take().unwrap();
    bench.publish(&["b"]);
    bench.requeue(taken.id);
    assert_eq!(bench.take().unwrap().message.routing_key(), "b");
}

/// A store that writes to a log, and can lose a message.
#[derive(Debug, Default)]
struct Logged {
    inner: MemoryStore,
    damaged: Rc<Cell<Option<u64>>>,
}

impl Store for Logged {
    fn append(&mut self, message: Message, arrived_ms: u64) -> (Position, Safe) {
        let durable = message.traits().persistent;
        let (at, _) = self.inner.append(message, arrived_ms);
        (at, if durable { Safe::Synced(Lsn(7)) } else { Safe::Written(Lsn(7)) })
    }
    fn read(&self, at: Position) -> Read {
        if self.damaged.get() == Some(at.get()) { Read::Gone } else { self.inner.read(at) }
    }
    fn settle(&mut self, at: Position) {
        self.inner.settle(at);
    }
    fn handed_out(&mut self, at: Position) {
        self.inner.handed_out(at);
    }
    fn returned(&mut self, at: Position, count: u32) {
        self.inner.returned(at, count);
    }
    fn tail(&self) -> Position {
        self.inner.tail()
    }
    fn memory_bytes(&self) -> u64 {
        self.inner.memory_bytes()
    }
}

/// With the position that the store can not read.
fn logged() -> (Bench, Rc<Cell<Option<u64>>>) {
    let store = Logged::default();
    let damaged = Rc::clone(&store.damaged);
    (Bench::on("classic", &[], Box::new(store)), damaged)
}

#[test]
fn a_publish_says_when_it_will_be_as_safe_as_promised() {
    let (mut bench, _) = logged();
    let enqueued = bench.publish_message(message_with("a", |t| t.persistent = true));
    assert_eq!(enqueued, Enqueued::StoredLater(Safe::Synced(Lsn(7))));
    let enqueued = bench.publish_message(message_with("b", |t| t.persistent = false));
    assert_eq!(enqueued, Enqueued::StoredLater(Safe::Written(Lsn(7))));
}

#[test]
fn a_repetition_is_as_safe_as_what_it_repeats() {
    let deduplicated = [("x-message-deduplication", Value::Bool(true))];
    let mut bench = Bench::on("classic", &deduplicated, Box::new(Logged::default()));
    for _ in 0..2 {
        let message = message_with("a", |t| t.persistent = true);
        let header = |_: &str| Some(Value::text("same"));
        let (outlet, effects) = (&mut bench.outlet, &mut bench.effects);
        let enqueued = bench.queue.publish(message, header, now(0), outlet, effects);
        assert_eq!(enqueued, Enqueued::StoredLater(Safe::Synced(Lsn(7))));
    }
    assert_eq!(bench.queue.ready(), 1);
}

#[test]
fn a_message_the_store_lost_is_passed_over_and_told() {
    let (mut bench, damaged) = logged();
    bench.publish(&["a", "b"]);
    damaged.set(Some(0));
    bench.consumer(1, 0);
    assert_eq!(bench.names(), ["b"]);
    assert_eq!(bench.effects, [Effect::Unreadable(Position::new(0))]);
    assert_eq!(bench.queue.ready(), 0);
}

#[test]
fn a_durable_queue_promises_what_it_says_or_the_default() {
    let asked = table(&[("x-durability", Value::text("interval:200"))]);
    let defaults = QueueDefaults { durability: Durability::Os, ..QueueDefaults::default() };
    let promised = |spec: &QueueSpec<'_>| {
        Queue::rules(spec, &defaults).map(|(_, settings)| settings.durability)
    };
    assert_eq!(promised(&spec(&asked)), Ok(Some(Durability::Interval { ms: 200 })));
    assert_eq!(promised(&spec(&Table::default())), Ok(Some(Durability::Os)));
    let none = Table::default();
    let transient = QueueSpec { durable: false, ..spec(&none) };
    assert_eq!(promised(&transient), Ok(None));
    let transient = QueueSpec { durable: false, ..spec(&asked) };
    assert_eq!(&*refused(&transient), "x-durability");
}

#[test]
fn a_queue_with_another_promise_is_another_queue() {
    let (none, sync) = (Table::default(), table(&[("x-durability", Value::text("sync"))]));
    let defaults = QueueDefaults::default();
    let queue = Queue::declare(&spec(&sync), &defaults, now(0)).unwrap();
    assert_eq!(queue.same_as(&spec(&sync), &defaults), Ok(()));
    let found = queue.same_as(&spec(&none), &defaults).unwrap_err();
    assert_eq!(&*found.argument, "x-durability");
}

#[test]
fn quorum_queues_and_those_of_sessions_keep_all_their_messages() {
    let declared = QUEUE_TYPES.iter().filter(|t| t.counts_as_queue);
    let keepers: Vec<_> = declared.filter(|t| t.keeps_all).map(|t| t.name).collect();
    assert_eq!(keepers, ["quorum", "session"]);
}
