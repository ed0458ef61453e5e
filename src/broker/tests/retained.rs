//! Retained messages on nodes of several shards: the last message of each topic is found from
//! everywhere, once, whatever comes and goes meanwhile, and after a restart.

use std::collections::{BTreeMap, BTreeSet};

use super::client::*;
use super::cluster::{Cluster, Rng, Shape, Told};
use super::subscriber::{LEAST, session};
use crate::broker::NodeLimits;
use crate::command::{Answer, Command, Event, Publish, Published};
use crate::ids::{PublishSeq, VhostId};
use crate::subscriber::{FILTERS, Keep, Lasts, RETAINED, RetainedCursor};

/// Where it is published besides.
const EXCHANGE: &str = FILTERS;

/// Shards, and whether queues and connections live apart.
const NODES: [(u16, bool); 5] = [(1, false), (2, false), (5, false), (2, true), (5, true)];

pub(super) type Found = BTreeMap<String, String>;

fn found(pairs: &[(&str, &str)]) -> Found {
    pairs.iter().map(|(topic, body)| ((*topic).into(), (*body).into())).collect()
}

pub(super) fn shape((shards, apart): (u16, bool), seed: u64) -> Shape {
    Shape { shards, apart, seed, memory_bytes_max: u64::MAX }
}

fn on_nodes(seeds: u64, test: impl Fn(&mut Cluster)) {
    for node in NODES {
        for seed in 1..=seeds {
            let shape = shape(node, seed);
            let _told = Told(shape);
            let mut cluster = Cluster::new(shape);
            test(&mut cluster);
            cluster.pass(0);
            cluster.audit();
        }
    }
}

pub(super) fn message<'a>(topic: &'a str, body: &'a str, seq: Option<u64>) -> Publish<'a> {
    Publish { seq: seq.map(PublishSeq), ..publish(EXCHANGE, topic, body) }
}

impl Cluster {
    pub(super) fn retain_as(&mut self, client: Client, publish: &Publish<'_>) -> Published {
        let (at, now) = (self.seats[client.0].at, self.now);
        let broker = self.broker_of(client);
        broker.publish_topic(at.connection, ONE, publish, Keep::Must, now).unwrap()
    }

    /// Publishes and waits until it is stored.
    pub(super) fn retain(&mut self, client: Client, topic: &str, body: &str) {
        self.keys += 1;
        let seq = u64::from(self.keys);
        match self.retain_as(client, &message(topic, body, Some(seq))) {
            Published::Stored => return,
            Published::Pending => {}
            other => panic!("{other:?}"),
        }
        for _ in 0..1_000_000 {
            let log = &mut self.seats[client.0].log;
            let is_end = |e: &Event| matches!(e, Event::Stored { seq: s, .. } if s.0 == seq);
            if let Some(end) = log.iter().position(is_end) {
                log.remove(end);
                return;
            }
            assert!(self.step(), "{topic} is never confirmed");
        }
        panic!("{topic} is never confirmed");
    }

    /// Publishes that are confirmed.
    pub(super) fn heard(&self, client: Client) -> BTreeSet<u64> {
        let stored = |event: &Event| match event {
            Event::Stored { seq, accepted, .. } => {
                assert!(accepted);
                Some(seq.0)
            }
            _ => None,
        };
        self.seats[client.0].log.iter().filter_map(stored).collect()
    }

    /// One page.
    pub(super) fn page(
        &mut self,
        client: Client,
        filter: &str,
        from: RetainedCursor,
        bytes_max: u32,
    ) -> (Vec<(String, String)>, Option<RetainedCursor>) {
        let read = Command::ReadRetained { filter: filter.into(), pattern: None, from, bytes_max };
        let Answer::RetainedRead { next } = self.execute(client, read) else { panic!() };
        let mut page = Vec::new();
        self.seats[client.0].log.retain(|event| {
            let Event::Retained { channel, message } = event else { return true };
            assert_eq!((*channel, message.exchange()), (ONE, EXCHANGE));
            let body = String::from_utf8(message.body().to_vec()).unwrap();
            page.push((message.routing_key().to_owned(), body));
            false
        });
        (page, next)
    }

    /// All pages; nothing may come twice.
    pub(super) fn read(&mut self, client: Client, filter: &str) -> Found {
        let mut all = Found::new();
        let mut next = Some(RetainedCursor::default());
        for _ in 0..100_000 {
            let Some(from) = next else { return all };
            let (page, then) = self.page(client, filter, from, 10_000);
            for (topic, body) in page {
                assert!(all.insert(topic.clone(), body).is_none(), "{topic} twice");
            }
            next = then;
        }
        panic!("pages never end");
    }
}

/// mqtt.md H-19; statement 3.3.1-5
#[test]
fn the_last_message_of_a_topic_is_found_from_every_shard() {
    on_nodes(4, |c| {
        let clients: Vec<Client> = (0..3).map(|n| c.connect(n)).collect();
        c.retain(clients[0], "a/b", "1");
        c.retain(clients[1], "a/c", "2");
        c.retain(clients[2], "a/b", "3");
        c.retain(clients[2], "d", "4");
        for client in clients {
            assert_eq!(c.read(client, "a/b"), found(&[("a/b", "3")]));
            assert_eq!(c.read(client, "a/+"), found(&[("a/b", "3"), ("a/c", "2")]));
            assert_eq!(c.read(client, "#"), found(&[("a/b", "3"), ("a/c", "2"), ("d", "4")]));
            assert_eq!(c.read(client, "x/#"), Found::new());
            assert_eq!(c.read(client, "x"), Found::new());
        }
    });
}

/// mqtt.md H-21; statements 3.3.1-6 and 3.3.1-7 (v5), 3.3.1-10 and 3.3.1-11 (v3.1.1)
#[test]
fn an_empty_message_takes_the_last_one_away_and_is_itself_delivered() {
    on_nodes(4, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        let name = c.queue_on(1);
        c.done(b, queue(&name, &[]));
        c.done(b, bind(&name, EXCHANGE, "#"));
        c.retain(a, "a/b", "");
        c.retain(a, "a/b", "1");
        c.retain(b, "a/b", "");
        assert_eq!(c.read(a, "#"), Found::new());
        c.retain(a, "a/b", "2");
        assert_eq!(c.read(b, "a/b"), found(&[("a/b", "2")]));
        let mut got = c.drain(b, &name);
        got.sort_unstable();
        assert_eq!(got, ["", "", "1", "2"]);
    });
}

/// mqtt.md H-20; statement 4.7.2-1
#[test]
fn topics_that_begin_with_a_dollar_are_found_by_filters_that_name_them() {
    on_nodes(2, |c| {
        let client = c.connect(0);
        c.retain(client, "$SYS/a", "1");
        c.retain(client, "b/a", "2");
        assert_eq!(c.read(client, "#"), found(&[("b/a", "2")]));
        assert_eq!(c.read(client, "+/a"), found(&[("b/a", "2")]));
        assert_eq!(c.read(client, "$SYS/#"), found(&[("$SYS/a", "1")]));
        assert_eq!(c.read(client, "$SYS/a"), found(&[("$SYS/a", "1")]));
    });
}

#[test]
fn a_topic_with_wildcards_is_not_kept() {
    on_nodes(1, |c| {
        let client = c.connect(0);
        for topic in ["", "#", "a/+", "+/b"] {
            c.retain(client, topic, "1");
        }
        c.retain(client, "a+b/c#", "2");
        assert_eq!(c.read(client, "#"), found(&[("a+b/c#", "2")]));
    });
}

#[test]
fn parts_cannot_be_reached_by_name() {
    on_nodes(1, |c| {
        let client = c.connect(0);
        for n in 0..200 {
            c.retain(client, &format!("t/{n}"), "1");
        }
        let before = c.read(client, "#");
        assert_eq!(before.len(), 200);
        for part in 0..64 {
            let name = format!("amq.retained.{part}");
            c.send(client, &publish("", &name, "intruder")).unwrap();
            c.refused(client, Command::PurgeQueue { name: name.as_str().into() });
            c.refused(client, bind(&name, EXCHANGE, "#"));
            c.refused(client, durable(queue(&name, &[])));
            c.refused(client, Command::Get { queue: name.as_str().into(), no_settle: true });
            c.done(client, delete_queue(&name));
        }
        let latest = [("x-queue-type", crate::value::Value::text("latest"))];
        c.refused(client, durable(queue("mine", &latest)));
        assert_eq!(c.read(client, "#"), before);
    });
}

/// mqtt.md H-18; statement 3.3.2-5 (v5)
#[test]
fn what_has_expired_is_not_seen_and_goes() {
    on_nodes(2, |c| {
        let client = c.connect(0);
        for n in 0..100 {
            let topic = format!("t/{n}");
            let mut publish = message(&topic, "1", None);
            publish.traits.expiration_ms = (n % 2 == 0).then_some(5_000);
            c.retain_as(client, &publish);
        }
        c.pass(4_999);
        assert_eq!(c.read(client, "t/#").len(), 100);
        c.now.mono_ms += 1;
        assert_eq!(c.read(client, "t/0"), Found::new());
        assert_eq!(c.read(client, "t/+").len(), 50);
        for n in 0..20 {
            c.retain_as(
                client,
                &Publish {
                    traits: crate::message::Traits {
                        expiration_ms: Some(1_000),
                        ..message("", "", None).traits
                    },
                    ..message(&format!("u/{n}"), "2", None)
                },
            );
        }
        let memory = |c: &Cluster| c.brokers.iter().map(|b| b.memory_bytes()).sum::<u64>();
        c.rest();
        let full = memory(c);
        for _ in 0..10 {
            c.pass(1_000);
        }
        assert!(memory(c) < full, "they are still there");
        assert_eq!(c.brokers.iter_mut().find_map(|b| b.next_deadline()), None, "swept for nothing");
        assert_eq!(c.read(client, "#").len(), 50);
    });
}

#[test]
fn a_topic_that_is_always_there_is_on_exactly_one_page() {
    for (node, seed) in NODES.into_iter().zip(1..) {
        let shape = shape(node, seed);
        let _told = Told(shape);
        let mut c = Cluster::new(shape);
        let (writer, reader) = (c.connect(0), c.connect(1));
        let topic = |n: usize| format!("site/{}/dev/{}", n % 100, n / 100);
        for n in 0..10_000 {
            c.retain_as(writer, &message(&topic(n), "1", None));
        }
        c.rest();
        let mut rng = Rng::new(seed);
        for filter in ["#", "site/+/dev/#", "site/7/#", "+/+/+/5"] {
            let mut seen = BTreeMap::<String, u32>::new();
            let mut next = Some(RetainedCursor::default());
            let mut pages = 0;
            while let Some(from) = next {
                let (page, then) = c.page(reader, filter, from, 20_000);
                page.into_iter().for_each(|(topic, _)| *seen.entry(topic).or_default() += 1);
                next = then;
                pages += 1;
                assert!(pages < 10_000, "pages never end");
                for _ in 0..20 {
                    // Every third topic stays as it is, every third is replaced.
                    let n = rng.below(10_000);
                    let body = ["", "2"][usize::from(n % 3 == 1)];
                    if !n.is_multiple_of(3) {
                        c.retain_as(writer, &message(&topic(n), body, None));
                    }
                    let other = format!("site/{}/other/{}", rng.below(9), rng.below(1_000));
                    c.retain_as(writer, &message(&other, ["3", ""][rng.below(2)], None));
                }
            }
            let mut expected = 0;
            for n in (0..10_000).filter(|n| n % 3 != 2) {
                let fits = match filter {
                    "site/7/#" => n % 100 == 7,
                    "+/+/+/5" => n / 100 == 5,
                    _ => true,
                };
                expected += usize::from(fits);
                assert_eq!(seen.get(&topic(n)).copied(), fits.then_some(1), "{filter} {n}");
            }
            assert!(expected > 30 && (pages > 10 || filter != "#"), "{filter} {expected} {pages}");
        }
        c.rest();
        c.audit();
    }
}

/// Whoever subscribes while a message is published has to find it in one of two ways: its queue,
/// or what is retained.
#[test]
fn a_new_subscriber_misses_no_message_that_is_published_meanwhile() {
    let mut read = 0;
    for seed in 1..=1_000 {
        let shape = shape((5, false), seed);
        let _told = Told(shape);
        let mut c = Cluster::new(shape);
        let (writer, reader) = (c.connect(0), c.connect(2));
        let name = c.queue_on(2);
        c.done(reader, queue(&name, &[]));
        // A third shard keeps it: what says so to the two does not pass there.
        let kept_by = |c: &Cluster, n: usize| {
            let from = RetainedCursor::default();
            c.brokers[0].retained_owner(VhostId(0), &format!("t{n}"), from).0
        };
        let topic = (0..).find(|n| matches!(kept_by(&c, *n), 1 | 3 | 4));
        let topic = format!("t{}", topic.unwrap());
        c.start(reader, TWO, bind(&name, EXCHANGE, "#"));
        for _ in 0..c.rng.below(8) {
            c.step();
        }
        c.retain_as(writer, &message(&topic, "1", None));
        let Answer::Bound { new: true } = c.finish(reader, TWO) else { panic!() };
        let filter = ["#", &topic][usize::from(c.rng.below(4) > 0)];
        let retained = c.read(reader, filter);
        read += retained.len();
        c.rest();
        let live = c.ready(reader, &name);
        assert!(live == 1 || retained.len() == 1, "{live} live, {retained:?}");
    }
    assert!(read > 0);
}

#[test]
fn too_many_are_published_and_not_kept() {
    on_nodes(2, |c| {
        for broker in &mut c.brokers {
            let limits = NodeLimits { retained_max: 640, ..broker.limits.clone() };
            broker.limit_retained(&limits);
        }
        let client = c.connect(0);
        for n in 0..2_000 {
            c.retain_as(client, &message(&format!("t/{n}"), "1", None));
        }
        let kept = c.read(client, "#");
        assert!((500..=650).contains(&kept.len()), "{}", kept.len());
        let one = kept.keys().next().unwrap();
        c.retain(client, one, "2");
        assert_eq!(c.read(client, one), found(&[(one, "2")]));
        c.retain(client, one, "");
        assert_eq!(c.read(client, "#").len(), kept.len() - 1);
    });
}

#[test]
fn what_is_shown_again_comes_through_the_queue_of_the_session() {
    on_nodes(2, |c| {
        let writer = c.connect(1);
        c.retain(writer, "t/a", "1");
        let (client, _) = c.open(&session("s", Lasts::Connection));
        assert!(c.subscribe(client, "t/#", LEAST));
        let (mut shown, mut next) = (Vec::new(), Some(RetainedCursor::default()));
        while let Some(from) = next {
            let read = Command::ReadRetained {
                filter: "t/#".into(),
                pattern: None,
                from,
                bytes_max: 1_000,
            };
            let Answer::RetainedRead { next: then } = c.execute(client, read) else { panic!() };
            for event in std::mem::take(&mut c.seats[client.0].log) {
                let Event::Retained { message, .. } = event else { panic!("{event:?}") };
                shown.push(message);
            }
            next = then;
        }
        let [message] = &*shown else { panic!("{shown:?}") };
        let (at, now) = (c.seats[client.0].at, c.now);
        let lasting = message.with(|inner| inner.traits.persistent = true);
        c.broker_of(client).replay(at.connection, &lasting, now);
        let got = c.take(client);
        assert_eq!(bodies(&got), ["1"]);
        assert_eq!((got[0].message.exchange(), got[0].message.routing_key()), (RETAINED, "t/a"));
        c.accept(client, &got);
        c.vanish(client);
        c.rest();
    });
}
