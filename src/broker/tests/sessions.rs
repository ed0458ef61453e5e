//! Sessions of subscribers: what they get and keep, on nodes of several shards.

use super::client::*;
use super::cluster::{Cluster, on_every_node};
use super::subscriber::*;
use crate::broker::deliver::SETTLED;
use crate::command::{Answer, Command, Consume, Entity, Event, Outcome, Refusal};
use crate::ids::ConsumerKey;
use crate::subscriber::*;
use crate::value::{Table, Value};

pub(super) const HOUR: Lasts = Lasts::Ms(3_600_000);

/// A publisher on each shard that has connections.
pub(super) fn publishers(c: &mut Cluster) -> Vec<Client> {
    (0..usize::from(c.placement.shards())).map(|n| c.connect(n)).collect()
}

#[test]
fn who_subscribes_on_one_shard_hears_what_is_published_on_any_other_after_the_answer() {
    on_every_node(3, |c| {
        let publishers = publishers(c);
        for n in 0..6 {
            let (client, opened) = c.open(&session(&format!("s{n}"), Lasts::Connection));
            assert_eq!((opened.resumed, opened.subscriptions.len()), (false, 0));
            let topic = format!("a/{n}/b");
            assert!(c.subscribe(client, &format!("a/{n}/+"), ONCE));
            for publisher in &publishers {
                c.send(*publisher, &fleeting(&topic, "m")).unwrap();
                c.send(*publisher, &kept(&topic, "m")).unwrap();
                c.send(*publisher, &kept("a/other", "x")).unwrap();
            }
            let got = c.take(client);
            assert_eq!(bodies(&got), vec!["m"; 2 * publishers.len()]);
            assert!(got.iter().all(|d| d.id == SETTLED && d.channel == ZERO && d.position == 0));
        }
    });
}

#[test]
fn what_is_stored_is_what_both_sides_ask_for() {
    on_every_node(1, |c| {
        let publisher = c.connect(1);
        let (client, _) = c.open(&session("s", Lasts::Connection));
        c.subscribe(client, "once/#", ONCE);
        c.subscribe(client, "least/#", LEAST);
        c.subscribe(client, "once/but/+", EXACTLY);
        for topic in ["once/a", "least/a", "once/but/b"] {
            assert_eq!(c.fate(publisher, fleeting(topic, topic)), Fate::Stored);
            assert_eq!(c.fate(publisher, kept(topic, topic)), Fate::Stored);
        }
        let got = c.take(client);
        let stored: Vec<_> = got.iter().filter(|d| d.id != SETTLED).cloned().collect();
        assert_eq!(got.len(), 6);
        assert_eq!(bodies(&stored), ["least/a", "once/but/b"]);
        assert!(stored.is_sorted_by_key(|d| d.position));
        c.accept(client, &stored);
    });
}

#[test]
fn a_subscription_replaces_the_one_of_the_same_filter_and_no_message_comes_twice() {
    on_every_node(2, |c| {
        let publisher = c.connect(1);
        let (client, _) = c.open(&session("s", HOUR));
        let mut wanted = subscription("a/+", ONCE);
        assert_eq!(c.subscribe_all(client, vec![wanted.clone()]), [Ok(true)]);
        assert_eq!(c.subscribe_all(client, vec![wanted.clone()]), [Ok(false)]);
        wanted.assurance = LEAST;
        wanted.number = 7;
        c.start(client, ZERO, Command::Subscribe { subscriptions: vec![wanted.clone()] });
        for _ in 0..20 {
            c.send(publisher, &kept("a/b", "m")).unwrap();
            c.step();
        }
        assert!(matches!(c.finish(client, ZERO), Answer::Subscribed(new) if new == [Ok(false)]));
        c.send(publisher, &kept("a/b", "m")).unwrap();
        let got = c.take(client);
        assert_eq!(got.len(), 21, "neither lost nor doubled");
        assert_ne!(got.last().unwrap().id, SETTLED);
        wanted.not_own = true;
        wanted.as_published = true;
        let other = subscription("#", EXACTLY);
        let both = vec![other.clone(), wanted.clone(), other.clone()];
        assert_eq!(c.subscribe_all(client, both), [Ok(true), Ok(false), Ok(false)]);
        c.vanish(client);
        let (client, opened) = c.open(&session("s", HOUR));
        assert!(opened.resumed);
        assert_eq!(opened.subscriptions, [other, wanted]);
        assert_eq!(c.unsubscribe(client, &["a/+", "a/+", "b", "#"]), [true, false, false, true]);
        assert_eq!(c.accept_all(client).len(), 21 - got.iter().filter(|d| d.id == SETTLED).count());
        assert_eq!(c.offer(publisher, FILTERS, "a/b", "m"), Fate::Returned);
        assert_eq!(c.got(client).len(), 0);
    });
}

#[test]
fn a_session_as_long_as_its_connection_leaves_nothing() {
    on_every_node(2, |c| {
        for close in [false, true] {
            let (client, _) = c.open(&session("s", Lasts::Connection));
            c.subscribe(client, "a", LEAST);
            let publisher = c.connect(0);
            c.send(publisher, &kept("a", "m")).unwrap();
            c.rest();
            if close {
                c.start(client, ZERO, Command::CloseConnection);
                assert!(matches!(c.finish(client, ZERO), Answer::Done));
                assert_eq!(c.offer(publisher, FILTERS, "a", "m"), Fate::Returned);
            }
            c.vanish(client);
            c.rest();
            assert_eq!(c.offer(publisher, FILTERS, "a", "m"), Fate::Returned);
            assert!(c.brokers.iter().all(|b| b.queues.len() == 0 && b.sessions.all().is_empty()));
        }
    });
}

#[test]
fn a_session_without_subscriptions_costs_no_queue() {
    on_every_node(1, |c| {
        let (client, _) = c.open(&session("s", Lasts::Connection));
        assert!(c.brokers.iter().all(|b| b.queues.len() == 0));
        assert_eq!(c.unsubscribe(client, &["a"]), [false]);
        c.subscribe(client, "a", ONCE);
        assert_eq!(c.brokers.iter().map(|b| b.queues.len()).sum::<usize>(), 1);
    });
}

/// mqtt.md H-11.
#[test]
fn another_connection_takes_the_session_over_with_all_that_was_out() {
    on_every_node(2, |c| {
        let publisher = c.connect(1);
        let (first, _) = c.open(&session("s", HOUR));
        c.subscribe(first, "a", LEAST);
        for body in ["1", "2", "3"] {
            c.send(publisher, &kept("a", body)).unwrap();
        }
        let old = c.take(first);
        assert_eq!(bodies(&old), ["1", "2", "3"]);
        let (second, opened) = c.open(&session("s", HOUR));
        assert!(opened.resumed && c.was_taken_over(first));
        // What the first says of its deliveries means nothing any more.
        c.accept(first, &old);
        c.send(publisher, &kept("a", "4")).unwrap();
        let got = c.take(second);
        assert_eq!(bodies(&got), ["1", "2", "3", "4"]);
        let seen: Vec<_> = got.iter().map(|d| (d.redelivered, d.received)).collect();
        assert_eq!(seen, [(true, false), (true, false), (true, false), (false, false)]);
        let positions = |all: &[crate::command::Delivery]| -> Vec<u64> {
            all.iter().take(3).map(|d| d.position).collect()
        };
        assert_eq!(positions(&got), positions(&old));
        c.vanish(first);
        c.send(publisher, &kept("a", "5")).unwrap();
        c.accept(second, &got);
        assert_eq!(c.accept_all(second), ["5"]);
        // One that is as long as its connection is over when another connection comes.
        let (third, opened) =
            c.open(&OpenSession { lasts: Lasts::Connection, ..session("s", HOUR) });
        assert!(opened.resumed && c.was_taken_over(second));
        let (fourth, opened) = c.open(&session("s", HOUR));
        assert!(!opened.resumed && c.was_taken_over(third));
        assert!(opened.subscriptions.is_empty());
        assert_eq!(c.offer(publisher, FILTERS, "a", "m"), Fate::Returned);
        c.drop_connection(fourth);
    });
}

#[test]
fn a_session_whose_client_is_away_keeps_what_is_stored_and_nothing_else() {
    on_every_node(2, |c| {
        let publisher = c.connect(1);
        let (client, _) = c.open(&session("s", HOUR));
        c.subscribe(client, "a/#", LEAST);
        c.vanish(client);
        c.rest();
        for n in 0..5 {
            assert_eq!(c.fate(publisher, kept("a/b", &format!("kept {n}"))), Fate::Stored);
            assert_eq!(c.fate(publisher, fleeting("a/b", "fleeting")), Fate::Stored);
        }
        assert_eq!(c.brokers.iter().map(|b| b.messages_dropped()).sum::<u64>(), 5);
        c.pass(3_599_000);
        let (client, opened) = c.open(&OpenSession { window: 2, ..session("s", HOUR) });
        assert!(opened.resumed);
        let first = c.take(client);
        assert_eq!(bodies(&first), ["kept 0", "kept 1"], "no more than the window");
        c.accept(client, &first);
        assert_eq!(c.accept_all(client), ["kept 2", "kept 3"]);
        assert_eq!(c.accept_all(client), ["kept 4"]);
        c.drop_connection(client);
        // The time begins anew with each leave.
        c.pass(3_599_000);
        assert!(c.brokers.iter().any(|b| !b.sessions.all().is_empty()));
        c.pass(2_000);
        assert!(c.brokers.iter().all(|b| b.queues.len() == 0 && b.sessions.all().is_empty()));
        assert_eq!(c.offer(publisher, FILTERS, "a/b", "m"), Fate::Returned);
    });
}

#[test]
fn a_fresh_session_forgets_the_one_before() {
    on_every_node(1, |c| {
        let publisher = c.connect(1);
        let (client, _) = c.open(&session("s", HOUR));
        c.subscribe(client, "a", LEAST);
        c.vanish(client);
        c.send(publisher, &kept("a", "old")).unwrap();
        let (client, opened) = c.open(&OpenSession { fresh: true, ..session("s", HOUR) });
        assert!(!opened.resumed && opened.subscriptions.is_empty());
        assert_eq!(c.offer(publisher, FILTERS, "a", "m"), Fate::Returned);
        c.subscribe(client, "a", LEAST);
        assert_eq!(c.got(client).len(), 0);
    });
}

#[test]
fn what_was_received_comes_first_and_says_so_and_is_no_message_any_more() {
    on_every_node(1, |c| {
        let publisher = c.connect(1);
        let (client, _) = c.open(&OpenSession { window: 3, ..session("s", HOUR) });
        c.subscribe(client, "a", EXACTLY);
        for body in ["1", "2", "3", "4"] {
            c.send(publisher, &kept("a", body)).unwrap();
        }
        let got = c.take(client);
        assert_eq!(got.len(), 3);
        let now = c.now;
        for received in [&got[1], &got[0]] {
            let at = c.seats[client.0].at.connection;
            let which = (received.queue, received.id);
            c.broker_of(client).settle(at, ZERO, which, Outcome::Received, true, now);
        }
        assert_eq!(c.got(client).len(), 0, "what is received keeps its credit");
        c.vanish(client);
        let (client, _) = c.open(&OpenSession { window: 3, ..session("s", HOUR) });
        let again = c.take(client);
        let seen: Vec<_> = again.iter().map(|d| (d.position, d.received)).collect();
        let expected = [(got[0].position, true), (got[1].position, true), (got[2].position, false)];
        assert_eq!(seen, expected);
        assert_eq!(bodies(&again[2..]), ["3"]);
        c.accept(client, &again);
        assert_eq!(c.accept_all(client), ["4"]);
        c.vanish(client);
        let (client, _) = c.open(&session("s", HOUR));
        assert_eq!(c.got(client).len(), 0);
    });
}

#[test]
fn a_slow_subscriber_loses_what_is_not_stored_and_nobody_else_notices() {
    on_every_node(1, |c| {
        let publisher = c.connect(1);
        let (slow, _) = c.open(&session("slow", Lasts::Connection));
        let (other, _) = c.open(&session("other", Lasts::Connection));
        c.subscribe(slow, "a", ONCE);
        c.subscribe(other, "a", ONCE);
        c.seats[slow.0].drains = false;
        let body = "x".repeat(100_000);
        let mut heard = 0;
        for _ in 0..30 {
            assert_eq!(c.fate(publisher, fleeting("a", &body)), Fate::Stored);
            heard += c.got(other).len();
        }
        assert_eq!(heard, 30);
        let got = c.got(slow).len();
        assert!((10..30).contains(&got), "{got}");
        let dropped: u64 = c.brokers.iter().map(|b| b.messages_dropped()).sum();
        assert_eq!(dropped, 30 - got as u64);
        // It takes some again: it hears what comes then.
        let at = c.seats[slow.0].at.connection;
        c.broker_of(slow).drained(at);
        c.send(publisher, &fleeting("a", "later")).unwrap();
        assert_eq!(c.got(slow), ["later"]);
    });
}

#[test]
fn a_full_session_drops_the_newest_or_the_oldest_and_its_publishers_do_not_notice() {
    on_every_node(1, |c| {
        let publisher = c.connect(1);
        for (drop_oldest, expected) in [(false, ["0", "1", "2"]), (true, ["7", "8", "9"])] {
            let limits = SessionLimits {
                online_max: Some(2),
                offline_max: Some(3),
                drop_oldest,
                ..NO_LIMITS
            };
            let open = OpenSession { limits, fresh: true, window: 2, ..session("s", HOUR) };
            let (client, _) = c.open(&open);
            c.subscribe(client, "a", LEAST);
            c.vanish(client);
            c.rest();
            for n in 0..10 {
                assert_eq!(c.fate(publisher, kept("a", &n.to_string())), Fate::Stored);
            }
            let (client, _) = c.open(&OpenSession { fresh: false, ..open });
            let two = c.take(client);
            c.accept(client, &two);
            let mut all = bodies(&two);
            all.extend(c.accept_all(client));
            assert_eq!(all, expected);
            // Two are out and do not wait; two more wait.
            for n in 0..10 {
                assert_eq!(c.fate(publisher, kept("a", &n.to_string())), Fate::Stored);
            }
            let two = c.take(client);
            c.accept(client, &two);
            let mut all = bodies(&two);
            all.extend(c.accept_all(client));
            let expected = if drop_oldest { ["0", "1", "8", "9"] } else { ["0", "1", "2", "3"] };
            assert_eq!(all, expected);
        }
    });
}

/// Everything, for a window that is smaller.
fn accept_one_by_one(c: &mut Cluster, client: Client) -> Vec<String> {
    let mut all = Vec::new();
    for _ in 0..1000 {
        let some = c.accept_all(client);
        if some.is_empty() {
            return all;
        }
        all.extend(some);
    }
    panic!("it never ends: {all:?}");
}

/// mqtt.md V-029.
#[test]
fn what_has_waited_for_a_client_counts_as_waiting_or_not() {
    on_every_node(1, |c| {
        for (waited_is_extra, more) in [(false, 0), (true, 2)] {
            let limits = SessionLimits { online_max: Some(2), waited_is_extra, ..NO_LIMITS };
            let open = OpenSession { limits, fresh: true, window: 1, ..session("s", HOUR) };
            let (client, _) = c.open(&open);
            c.subscribe(client, "a", LEAST);
            c.vanish(client);
            c.rest();
            let publisher = c.connect(1);
            for n in 0..5 {
                assert_eq!(c.fate(publisher, kept("a", &n.to_string())), Fate::Stored);
            }
            let (client, _) = c.open(&OpenSession { fresh: false, ..open });
            c.rest();
            for n in 5..10 {
                assert_eq!(c.fate(publisher, kept("a", &n.to_string())), Fate::Stored);
            }
            let expected: Vec<String> = (0..5 + more).map(|n: u32| n.to_string()).collect();
            assert_eq!(accept_one_by_one(c, client), expected);
            // Those are gone: what waits now is what counts.
            let one = c.fate(publisher, kept("a", "out"));
            assert_eq!(one, Fate::Stored);
            c.rest();
            for n in 0..5 {
                assert_eq!(c.fate(publisher, kept("a", &n.to_string())), Fate::Stored);
            }
            assert_eq!(accept_one_by_one(c, client), ["out", "0", "1"]);
        }
    });
}

/// Abuse row 78, mqtt.md H-11.
#[test]
fn a_session_passes_from_one_connection_to_another_so_often_and_no_oftener() {
    on_every_node(1, |c| {
        for lasts in [Lasts::Connection, HOUR] {
            let open = OpenSession { takeovers_max: 2, ..session("s", lasts) };
            let (mut client, _) = c.open(&open);
            for _ in 0..2 {
                let (next, _) = c.open(&open);
                assert!(c.was_taken_over(client));
                client = next;
            }
            let late =
                c.connect_at(c.session_home(&open), &super::cluster::identity(".*", ".*", ".*"));
            let command = Command::OpenSession(Box::new(open.clone()));
            c.start(late, ZERO, command);
            let Answer::Refused(refused) = c.finish(late, ZERO) else { panic!("let in") };
            assert!(matches!(refused, Refusal::LimitReached(_)), "{refused:?}");
            assert!(!c.was_taken_over(client));
            c.drop_connection(late);
            c.now.mono_ms += 1_000;
            let (next, _) = c.open(&open);
            assert!(c.was_taken_over(client));
            c.drop_connection(next);
            c.rest();
            c.now.mono_ms += 1_000;
        }
    });
}

#[test]
fn a_burst_within_the_window_is_no_overflow() {
    on_every_node(1, |c| {
        let (client, _) = c.open(&OpenSession {
            limits: SessionLimits { online_max: Some(1), ..NO_LIMITS },
            ..session("s", HOUR)
        });
        c.subscribe(client, "a", LEAST);
        let home = c.seats[client.0].at.shard;
        let publisher = c.connect_at(home, &super::cluster::identity(".*", ".*", ".*"));
        for _ in 0..50 {
            c.send(publisher, &kept("a", "m")).unwrap();
        }
        assert_eq!(c.accept_all(client).len(), 50);
    });
}

fn dead_letters_to(queue: &str) -> [(&'static str, Value); 3] {
    [
        ("x-message-ttl", Value::I32(0)),
        ("x-dead-letter-exchange", Value::text("")),
        ("x-dead-letter-routing-key", Value::text(queue)),
    ]
}

/// mqtt.md X-06.
#[test]
fn clients_may_look_at_the_queue_of_a_session_purge_and_delete_it_and_nothing_else() {
    on_every_node(1, |c| {
        let (client, _) = c.open(&session("s", HOUR));
        c.subscribe(client, "a", LEAST);
        c.vanish(client);
        let other = c.connect(0);
        c.send(other, &kept("a", "m")).unwrap();
        c.rest();
        let name = "session-s";
        let refused =
            |access| Refusal::AccessRefused { access, entity: Entity::Queue, name: name.into() };
        let consume = Consume {
            queue: name.into(),
            key: ConsumerKey(9),
            tag: "t".into(),
            prefetch: 0,
            no_settle: false,
            exclusive: false,
            arguments: Table::default(),
        };
        assert_eq!(c.refused(other, Command::Consume(Box::new(consume))), refused("read"));
        let get = Command::Get { queue: name.into(), no_settle: true };
        assert_eq!(c.refused(other, get), refused("read"));
        let kind = [("x-queue-type", Value::text("session"))];
        assert_eq!(c.refused(other, durable(queue(name, &kind))), refused("configure"));
        assert_eq!(c.refused(other, bind(name, "amq.topic", "#")), refused("write"));
        let new = c.refused(other, durable(queue("new", &kind)));
        assert!(matches!(new, Refusal::InvalidArgument { .. }), "{new:?}");
        for n in 0..3 {
            let by_name = c.connect(n);
            assert_eq!(c.offer(by_name, "", name, "by name"), Fate::Returned);
            c.done(by_name, queue(&format!("dies{n}"), &dead_letters_to(name)));
            c.send(by_name, &publish("", &format!("dies{n}"), "dead")).unwrap();
            c.rest();
        }
        assert_eq!(c.ready(other, name), 1);
        c.done(other, Command::PurgeQueue { name: name.into() });
        assert_eq!(c.ready(other, name), 0);
    });
}

/// mqtt.md X-06.
#[test]
fn a_session_ends_with_its_queue_and_its_connection_with_it() {
    on_every_node(1, |c| {
        let (client, _) = c.open(&session("s", HOUR));
        c.subscribe(client, "a", LEAST);
        let other = c.connect(1);
        assert_eq!(c.fate(other, kept("a", "m")), Fate::Stored);
        let in_use =
            Command::DeleteQueue { name: "session-s".into(), if_unused: true, if_empty: false };
        assert!(matches!(c.refused(other, in_use), Refusal::InUse(..)));
        c.done(other, delete_queue("session-s"));
        c.rest();
        let closed = |event: &Event| matches!(event, Event::Close { .. });
        assert!(c.events(client).iter().any(closed));
        assert_eq!(c.offer(other, FILTERS, "a", "m"), Fate::Returned);
        c.vanish(client);
        let (_, opened) = c.open(&session("s", HOUR));
        assert!(!opened.resumed && opened.subscriptions.is_empty());
    });
}

#[test]
fn a_session_is_opened_at_home_once_and_under_a_name_that_is_free() {
    on_every_node(1, |c| {
        let open = session("s", HOUR);
        let home = c.session_home(&open);
        let who = super::cluster::identity(".*", ".*", ".*");
        let elsewhere = (0..c.placement.shards()).map(crate::ids::ShardId).find(|s| *s != home);
        let command = || Command::OpenSession(Box::new(open.clone()));
        if let Some(elsewhere) = elsewhere {
            let stranger = c.connect_at(elsewhere, &who);
            assert!(matches!(c.refused(stranger, command()), Refusal::Unavailable(_)));
        }
        let other = c.connect_at(home, &who);
        c.done(other, queue(&open.queue, &[]));
        assert!(matches!(c.refused(other, command()), Refusal::Locked(_)));
        c.done(other, delete_queue(&open.queue));
        let subscribe = Command::Subscribe { subscriptions: vec![subscription("a", ONCE)] };
        assert!(matches!(c.refused(other, subscribe), Refusal::Unavailable(_)));
        let (client, _) = c.open(&open);
        assert!(matches!(c.refused(client, command()), Refusal::Unavailable(_)));
    });
}

#[test]
fn other_queues_may_be_bound_to_filters_and_others_publish_to_them() {
    on_every_node(1, |c| {
        let client = c.connect(0);
        let name = c.queue_on(1);
        c.done(client, queue(&name, &[]));
        c.done(client, bind(&name, FILTERS, "a/+/c"));
        let refused = c.refused(client, bind(&name, FILTERS, "a/#/c"));
        assert!(matches!(refused, Refusal::InvalidArgument { .. }), "{refused:?}");
        assert_eq!(c.offer(client, FILTERS, "a/b/c", "m"), Fate::Stored);
        assert_eq!(c.offer(client, FILTERS, "a.b.c", "m"), Fate::Returned);
        assert_eq!(c.drain(client, &name), ["m"]);
    });
}

/// mqtt.md H-18.
#[test]
fn what_expires_is_not_sent_but_what_was_sent_is_sent_again() {
    on_every_node(1, |c| {
        let publisher = c.connect(1);
        let (client, _) = c.open(&OpenSession { window: 1, ..session("s", HOUR) });
        c.subscribe(client, "a", LEAST);
        for body in ["sent", "expires", "stays"] {
            let mut message = kept("a", body);
            message.traits.expiration_ms = (body != "stays").then_some(5_000);
            c.send(publisher, &message).unwrap();
        }
        assert_eq!(c.got(client), ["sent"]);
        c.vanish(client);
        c.pass(6_000);
        let (client, _) = c.open(&session("s", HOUR));
        assert_eq!(c.accept_all(client), ["sent", "stays"]);
    });
}

#[test]
fn the_time_that_a_session_lasts_can_be_changed_while_it_is_connected() {
    on_every_node(1, |c| {
        let (client, _) = c.open(&session("s", HOUR));
        let (at, now) = (c.seats[client.0].at.connection, c.now);
        c.broker_of(client).set_lasts(at, Lasts::Ms(1_000), now);
        c.vanish(client);
        c.pass(999);
        let (client, opened) = c.open(&session("s", HOUR));
        assert!(opened.resumed);
        let (at, now) = (c.seats[client.0].at.connection, c.now);
        c.broker_of(client).set_lasts(at, Lasts::Connection, now);
        c.vanish(client);
        c.rest();
        assert!(c.brokers.iter().all(|b| b.queues.len() == 0));
    });
}
