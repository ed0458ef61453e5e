//! Where services meet subscribers (mqtt.md ): by key and by topic, on nodes of
//! several shards.

use ringmq_shards::sim::{Faults, SimDisk};

use super::client::*;
use super::cluster::{Cluster, Shape, Told, on_every_node};
use super::disk_machine::start;
use super::subscriber::*;
use crate::broker::Sizes;
use crate::command::Now;
use crate::properties::TOPICS;
use crate::subscriber::*;

const HOUR: Lasts = Lasts::Ms(3_600_000);

/// A publisher on each shard that has connections.
fn publishers(c: &mut Cluster) -> Vec<Client> {
    (0..usize::from(c.placement.shards())).map(|n| c.connect(n)).collect()
}

/// A queue on the nth shard that is bound to topics by this key, and its consumer.
fn bound(c: &mut Cluster, n: usize, key: &str) -> (String, Client) {
    let name = c.queue_on(n);
    let client = c.connect(n + 1);
    c.done(client, queue(&name, &[]));
    c.done(client, bind(&name, TOPICS, key));
    (name, client)
}

///
#[test]
fn keys_reach_filters_and_topics_reach_keys_wherever_everybody_is() {
    on_every_node(2, |c| {
        let publishers = publishers(c);
        let queues: Vec<_> = (0..3).map(|n| bound(c, n, "a.*.c")).collect();
        let mut sessions = Vec::new();
        for n in 0..3 {
            let (client, _) = c.open(&session(&format!("s{n}"), Lasts::Connection));
            c.subscribe(client, "a/+/c", LEAST);
            sessions.push(client);
        }
        for publisher in &publishers {
            assert_eq!(c.fate(*publisher, kept("a/b/c", "topic")), Fate::Stored);
            assert_eq!(c.fate(*publisher, publish(TOPICS, "a.b.c", "key")), Fate::Stored);
            assert_eq!(c.fate(*publisher, kept("a/b.c", "dot")), Fate::Stored);
            assert_eq!(c.fate(*publisher, kept("a/b", "short")), Fate::Stored);
        }
        for client in sessions {
            let mut got = c.accept_all(client);
            got.sort_unstable();
            let count = publishers.len();
            assert_eq!(got, [vec!["key"; count], vec!["topic"; count]].concat());
        }
        for (queue, client) in queues {
            let mut got = c.drain(client, &queue);
            got.sort_unstable();
            let count = publishers.len();
            assert_eq!(
                got,
                [vec!["dot"; count], vec!["key"; count], vec!["topic"; count]].concat()
            );
        }
    });
}

/// What crosses keeps the name by which its publisher called it.
#[test]
fn a_message_that_crosses_keeps_its_own_address() {
    on_every_node(1, |c| {
        let publisher = c.connect(0);
        let (queue, consumer) = bound(c, 1, "#");
        c.consume(consumer, &queue, 10);
        let (client, _) = c.open(&session("s", Lasts::Connection));
        c.subscribe(client, "#", LEAST);
        c.send(publisher, &kept("a/b.c", "m")).unwrap();
        c.send(publisher, &publish(TOPICS, "d.e", "m")).unwrap();
        for who in [consumer, client] {
            let got = c.take(who);
            let of = |d: &crate::command::Delivery| {
                let message = &d.message;
                (message.exchange().to_owned(), message.routing_key().to_owned())
            };
            let mut names: Vec<_> = got.iter().map(of).collect();
            names.sort_unstable();
            let names: Vec<_> = names.iter().map(|(e, k)| (&**e, &**k)).collect();
            assert_eq!(names, [(FILTERS, "a/b.c"), (TOPICS, "d.e")]);
            let stored: Vec<_> =
                got.into_iter().filter(|d| d.id != crate::broker::deliver::SETTLED).collect();
            c.accept(who, &stored);
        }
    });
}

/// also by way of other exchanges.
#[test]
fn what_is_bound_before_or_behind_topics_meets_filters_too() {
    on_every_node(2, |c| {
        let admin = c.connect(0);
        c.done(admin, exchange("before", "fanout", &[]));
        c.done(admin, exchange("behind", "topic", &[]));
        c.done(admin, link("before", TOPICS, ""));
        c.done(admin, link(TOPICS, "behind", "a.#"));
        let name = c.queue_on(1);
        c.done(admin, queue(&name, &[]));
        c.done(admin, bind(&name, "behind", "*.b"));
        let (client, _) = c.open(&session("s", Lasts::Connection));
        c.subscribe(client, "a/+", LEAST);
        for publisher in publishers(c) {
            assert_eq!(c.offer(publisher, FILTERS, "a/b", "topic"), Fate::Stored);
            assert_eq!(c.offer(publisher, "before", "a.b", "key"), Fate::Stored);
            c.rest();
            assert_eq!(c.drain(admin, &name), ["topic", "key"]);
            let mut got = c.got(client);
            got.sort_unstable();
            assert_eq!(got, ["key", "topic"]);
        }
    });
}

///
#[test]
fn what_the_other_side_cannot_name_does_not_cross() {
    on_every_node(1, |c| {
        let publisher = c.connect(1);
        let (queue, owner) = bound(c, 0, "#");
        let (client, _) = c.open(&session("s", Lasts::Connection));
        c.subscribe(client, "#", ONCE);
        c.subscribe(client, "$a/#", ONCE);
        let (most, more) = ("x".repeat(255), "x".repeat(256));
        for (topic, crosses, is_for_all) in [
            ("$a/b", false, true),
            ("$b", false, false),
            (&most, true, true),
            (&more, false, true),
            ("a//b/", true, true),
            ("/", true, true),
        ] {
            c.send(publisher, &fleeting(topic, "m")).unwrap();
            assert_eq!(c.got(client).len(), usize::from(is_for_all), "{topic}");
            assert_eq!(c.drain(owner, &queue).len(), usize::from(crosses), "{topic}");
        }
        for (key, crosses) in [
            ("a.+", false),
            ("#", false),
            ("a.#.b", false),
            ("a+b", false),
            ("", false),
            ("a\0b", false),
            ("a.*", true),
            ("..", true),
            ("$a.b", true),
            ("$b", false),
        ] {
            c.send(publisher, &publish(TOPICS, key, "m")).unwrap();
            assert_eq!(c.got(client).len(), usize::from(crosses), "{key}");
            assert_eq!(c.drain(owner, &queue).len(), 1, "{key}");
        }
    });
}

/// `*` in a key is a word like others, `+` and `#` in filters are what they are.
#[test]
fn each_side_reads_patterns_by_its_own_rules() {
    on_every_node(1, |c| {
        let publisher = c.connect(0);
        let (queue, owner) = bound(c, 1, "#.z");
        let (client, _) = c.open(&session("s", Lasts::Connection));
        c.subscribe(client, "a/*", ONCE);
        c.send(publisher, &publish(TOPICS, "a.b", "m")).unwrap();
        c.send(publisher, &publish(TOPICS, "a.*", "star")).unwrap();
        assert_eq!(c.got(client), ["star"]);
        for topic in ["z", "a/z", "a/b/z", "z/a"] {
            c.send(publisher, &fleeting(topic, topic)).unwrap();
        }
        c.rest();
        assert_eq!(c.drain(owner, &queue), ["z", "a/z", "a/b/z"]);
    });
}

#[test]
fn who_is_found_by_both_ways_has_one_copy() {
    on_every_node(2, |c| {
        let admin = c.connect(0);
        c.done(admin, exchange("round", "fanout", &[]));
        c.done(admin, link(TOPICS, "round", "#"));
        c.done(admin, link("round", TOPICS, ""));
        let (queue, owner) = bound(c, 1, "a.*");
        c.done(owner, bind(&queue, TOPICS, "*.b"));
        c.done(owner, bind(&queue, "round", ""));
        let (client, _) = c.open(&session("s", Lasts::Connection));
        c.subscribe(client, "a/b", LEAST);
        c.subscribe(client, "a/+", LEAST);
        for publisher in publishers(c) {
            for message in [kept("a/b", "m"), publish(TOPICS, "a.b", "m")] {
                assert_eq!(c.fate(publisher, message), Fate::Stored);
                assert_eq!(c.accept_all(client).len(), 1);
                assert_eq!(c.drain(owner, &queue).len(), 1);
            }
        }
    });
}

/// the other exchange is not looked at where nothing is bound to it.
#[test]
fn meeting_costs_nothing_where_nobody_is() {
    on_every_node(1, |c| {
        let publisher = c.connect(0);
        let visited = |c: &mut Cluster, name: &str| {
            let broker = c.broker_of(publisher);
            let (id, walks) = (broker.exchange_id(crate::ids::VhostId(0), name), broker.walks);
            broker.exchanges[&id.unwrap()].walked.get() == walks
        };
        c.send(publisher, &fleeting("a/b", "m")).unwrap();
        assert!(visited(c, FILTERS) && !visited(c, TOPICS));
        c.send(publisher, &publish(TOPICS, "a.b", "m")).unwrap();
        assert!(!visited(c, FILTERS) && visited(c, TOPICS));
        let (client, _) = c.open(&session("s", Lasts::Connection));
        c.subscribe(client, "x", ONCE);
        c.rest();
        c.send(publisher, &publish(TOPICS, "a.c", "m")).unwrap();
        assert!(visited(c, FILTERS) && visited(c, TOPICS));
        // The same way again: it is known.
        let walks = c.broker_of(publisher).walks;
        for _ in 0..10 {
            c.send(publisher, &publish(TOPICS, "a.c", "m")).unwrap();
        }
        assert_eq!(c.broker_of(publisher).walks, walks);
    });
}

///
#[test]
fn who_is_reached_at_either_side_counts_for_those_who_ask() {
    on_every_node(2, |c| {
        let publishers = publishers(c);
        let nobody = |c: &mut Cluster| {
            for publisher in &publishers {
                assert_eq!(c.offer(*publisher, TOPICS, "a.b", "m"), Fate::Returned);
                assert_eq!(c.offer(*publisher, FILTERS, "a/b", "m"), Fate::Returned);
            }
        };
        nobody(c);
        let (client, _) = c.open(&session("s", HOUR));
        c.subscribe(client, "a/+", LEAST);
        for publisher in &publishers {
            assert_eq!(c.offer(*publisher, TOPICS, "a.b", "m"), Fate::Stored);
        }
        c.unsubscribe(client, &["a/+"]);
        c.rest();
        nobody(c);
        c.subscribe(client, "group:g:a/+", LEAST);
        for publisher in &publishers {
            assert_eq!(c.offer(*publisher, TOPICS, "a.b", "m"), Fate::Stored);
        }
        c.unsubscribe(client, &["group:g:a/+"]);
        c.rest();
        nobody(c);
        c.accept_all(client);
        let (queue, owner) = bound(c, 1, "a.*");
        for publisher in &publishers {
            assert_eq!(c.offer(*publisher, FILTERS, "a/b", "m"), Fate::Stored);
        }
        c.done(owner, delete_queue(&queue));
        c.rest();
        nobody(c);
    });
}

/// what a publisher was told to be stored is at the other side after a crash.
#[test]
fn what_is_stored_is_kept_at_the_other_side() {
    const SIZES: Sizes = Sizes {
        log_file_bytes: 64 << 10,
        log_bytes_max: 256 << 10,
        segment_bytes: 32 << 10,
        queue_memory_max: 16 << 10,
    };
    for seed in 1..=8 {
        let shards = u16::try_from(1 + seed % 3).unwrap();
        let shape = Shape { shards, apart: false, seed, memory_bytes_max: u64::MAX };
        let _told = Told(shape);
        let mut disk = SimDisk::new(seed, Faults::none());
        let mut now = Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 };
        let mut c = start(shape, &disk, (SIZES, 0), now).unwrap().cluster;
        let (owner, name) = (c.connect(0), c.queue_on(1));
        c.done(owner, durable(queue(&name, &[])));
        c.done(owner, bind(&name, TOPICS, "q.*"));
        let (client, _) = c.open(&session("s", Lasts::Forever));
        c.subscribe(client, "s/+", LEAST);
        c.vanish(client);
        let publishers = publishers(&mut c);
        let mut by_key = publish(TOPICS, "s.a", "m");
        by_key.traits.persistent = true;
        for publisher in &publishers {
            assert_eq!(c.fate(*publisher, kept("q/a", "m")), Fate::Stored);
            assert_eq!(c.fate(*publisher, by_key.clone()), Fate::Stored);
        }
        disk.crash();
        now.wall_ms = c.now.wall_ms;
        let mut c = start(shape, &disk, (SIZES, 0), now).unwrap().cluster;
        let owner = c.connect(0);
        assert_eq!(c.drain(owner, &name).len(), publishers.len());
        let (client, opened) = c.open(&session("s", Lasts::Forever));
        assert!(opened.resumed);
        assert_eq!(c.accept_all(client).len(), publishers.len());
    }
}
