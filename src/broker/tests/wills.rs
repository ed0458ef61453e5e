//! What is published for clients that have gone without goodbye: when, and how often.

use super::client::*;
use super::cluster::{Cluster, Shape, identity, on_every_node};
use super::rights::{login, users};
use super::subscriber::*;
use crate::auth::Users;
use crate::command::{Command, Event};
use crate::message::Body;
use crate::subscriber::{Lasts, OpenSession, RetainedCursor, Will};

pub(super) const HOUR: Lasts = Lasts::Ms(3_600_000);
pub(super) const TOPIC: &str = "gone";

pub(super) fn will<'a>(body: &'a str, delay_ms: u64) -> Will<'a> {
    let traits = kept(TOPIC, "").traits;
    let body = Body::Slice(body.as_bytes());
    Will { topic: TOPIC, retain: false, traits, properties: b"", body, delay_ms }
}

impl Cluster {
    pub(super) fn set_will(&mut self, client: Client, will: Option<&Will<'_>>) {
        let (connection, now) = (self.seats[client.0].at.connection, self.now);
        self.broker_of(client).set_will(connection, will, now);
    }

    /// Somebody who hears what is published for those that are gone.
    fn mourner(&mut self) -> Client {
        let (client, _) = self.open(&session("mourner", HOUR));
        self.subscribe(client, TOPIC, LEAST);
        client
    }

    pub(super) fn no_wills(&self) {
        for broker in &self.brokers {
            assert!(broker.delayed.waiting.is_empty(), "{:?}", broker.delayed.waiting);
            assert!(broker.wills.is_empty(), "{:?}", broker.wills);
        }
    }
}

/// mqtt.md 2.1: 3.1.2-8, 3.1.2-10, 3.14.4-3 of 3.1.1.
#[test]
fn a_will_is_published_when_its_connection_goes_unless_it_was_taken_back() {
    on_every_node(1, |c| {
        let mourner = c.mourner();
        let mut came = Vec::new();
        for (name, goodbye) in [("a", false), ("b", true)] {
            let (client, _) = c.open(&session(name, Lasts::Connection));
            c.set_will(client, Some(&will("an earlier one", 0)));
            c.set_will(client, Some(&will(name, 0)));
            let before = came.len();
            came.extend(c.accept_all(mourner));
            assert_eq!(before, came.len());
            if goodbye {
                c.set_will(client, None);
            }
            c.drop_connection(client);
            came.extend(c.accept_all(mourner));
        }
        assert_eq!(came, ["a"]);
        c.no_wills();
        c.forget_sessions();
    });
}

/// mqtt.md 2.5: 3.1.3-9 of 5.0; H-13.
#[test]
fn a_will_waits_for_its_client_to_come_back() {
    on_every_node(1, |c| {
        let mourner = c.mourner();
        for (wait_ms, comes) in [(999, false), (1_000, true)] {
            let (client, _) = c.open(&session("s", HOUR));
            c.set_will(client, Some(&will("late", 1_000)));
            c.drop_connection(client);
            c.pass(wait_ms);
            let (client, opened) = c.open(&session("s", HOUR));
            assert!(opened.resumed);
            c.pass(5_000);
            assert_eq!(c.accept_all(mourner).len(), usize::from(comes), "{wait_ms}");
            c.drop_connection(client);
            c.no_wills();
        }
        c.forget_sessions();
    });
}

/// H-13: the end of the session is the latest time.
#[test]
fn a_will_waits_no_longer_than_its_session_lasts() {
    on_every_node(1, |c| {
        let mourner = c.mourner();
        let (client, _) = c.open(&session("s", Lasts::Ms(2_000)));
        c.set_will(client, Some(&will("end", 60_000)));
        c.drop_connection(client);
        c.pass(1_999);
        assert_eq!(c.got(mourner).len(), 0);
        c.pass(1);
        assert_eq!(c.accept_all(mourner), ["end"]);
        let (client, _) = c.open(&session("s", HOUR));
        c.set_will(client, Some(&will("fresh", 60_000)));
        c.drop_connection(client);
        c.rest();
        c.open(&OpenSession { fresh: true, ..session("s", HOUR) });
        assert_eq!(c.accept_all(mourner), ["fresh"]);
        c.pass(100_000);
        assert_eq!(c.got(mourner).len(), 0, "once is enough");
        c.no_wills();
        c.forget_sessions();
    });
}

/// H-12.
#[test]
fn another_connection_of_the_client_leaves_the_will_of_the_old_one_only_without_delay() {
    on_every_node(1, |c| {
        let mourner = c.mourner();
        for (delay_ms, fresh, comes) in
            [(0, false, true), (9_000, false, false), (9_000, true, true), (0, true, true)]
        {
            let (old, _) = c.open(&session("s", HOUR));
            c.set_will(old, Some(&will("old", delay_ms)));
            let (new, _) = c.open(&OpenSession { fresh, ..session("s", HOUR) });
            c.set_will(new, Some(&will("new", 0)));
            assert!(c.was_taken_over(old));
            c.drop_connection(old);
            let shown = format!("delay {delay_ms}, fresh: {fresh}");
            assert_eq!(c.accept_all(mourner).len(), usize::from(comes), "{shown}");
            c.pass(10_000);
            assert_eq!(c.got(mourner).len(), 0, "{shown}");
            c.set_will(new, None);
            c.drop_connection(new);
            c.no_wills();
        }
        c.forget_sessions();
    });
}

/// 3.1.2-16, 3.1.2-17 of 3.1.1.
#[test]
fn a_will_becomes_the_retained_message_of_its_topic_if_it_says_so() {
    for (shards, retain) in [(1, true), (3, true), (3, false)] {
        let shape = Shape { shards, apart: false, seed: 1, memory_bytes_max: u64::MAX };
        let mut c = Cluster::new(shape);
        let (client, _) = c.open(&session("s", HOUR));
        c.set_will(client, Some(&Will { retain, ..will("last words", 50) }));
        c.drop_connection(client);
        c.pass(50);
        let made_at = c.now.mono_ms;
        c.pass(10);
        let client = c.connect(0);
        let from = RetainedCursor::default();
        let read =
            Command::ReadRetained { filter: TOPIC.into(), pattern: None, from, bytes_max: 1_000 };
        c.start(client, ZERO, read);
        c.finish(client, ZERO);
        let found: Vec<_> = c
            .events(client)
            .iter()
            .map(|event| match event {
                Event::Retained { message, .. } => (message.body().to_vec(), message.received_ms()),
                other => panic!("{other:?}"),
            })
            .collect();
        let expected = retain.then(|| (b"last words".to_vec(), made_at));
        assert_eq!(found, Vec::from_iter(expected), "its age counts from when it was published");
        c.no_wills();
    }
}

/// H-13; abuse row 75: whoever loses the right to publish it while connected leaves none.
#[test]
fn a_will_ends_with_the_right_to_publish_it() {
    let may = || users(".*", Some("topic #"));
    for (later, comes) in [
        (may(), true),
        (users(".*", Some("topic somewhere/else")), false),
        (users("nothing", None), false),
        (Users::default(), false),
    ] {
        on_every_node(1, |c| {
            let mourner = c.mourner();
            let open = session("s", HOUR);
            let client = c.connect_at(c.session_home(&open), &login(&may()));
            c.start(client, ZERO, Command::OpenSession(Box::new(open)));
            c.finish(client, ZERO);
            c.set_will(client, Some(&will("last words", 0)));
            let now = c.now;
            c.broker_of(client).renew_users(&later, now);
            c.drop_connection(client);
            assert_eq!(c.got(mourner).len(), usize::from(comes));
            c.forget_sessions();
        });
    }
}

/// H-13: judged with the rights at the time when it was set.
#[test]
fn who_may_not_publish_leaves_no_will() {
    let elsewhere = login(&users(".*", Some("topic somewhere/else")));
    for who in [identity(".*", "nothing", ".*"), elsewhere] {
        on_every_node(1, |c| {
            let mourner = c.mourner();
            let open = session("s", HOUR);
            let client = c.connect_at(c.session_home(&open), &who);
            c.start(client, ZERO, Command::OpenSession(Box::new(open)));
            c.finish(client, ZERO);
            c.set_will(client, Some(&will("no", 0)));
            c.drop_connection(client);
            assert_eq!(c.got(mourner).len(), 0);
            c.forget_sessions();
        });
    }
}

/// Clients that come and go within the delay leave nothing behind for each time.
#[test]
fn deadlines_of_wills_that_were_cancelled_do_not_gather() {
    let mut c =
        Cluster::new(Shape { shards: 1, apart: false, seed: 1, memory_bytes_max: u64::MAX });
    for _ in 0..5_000 {
        let (client, _) = c.open(&session("s", HOUR));
        c.set_will(client, Some(&will("late", 3_000_000)));
        c.drop_connection(client);
    }
    let deadlines = c.brokers[0].delayed.deadlines();
    assert!(deadlines < 1_100, "{deadlines}");
}
