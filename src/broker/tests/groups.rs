//! Groups of subscribers: each message goes to one member, wherever members and publishers are.

use std::collections::BTreeSet;

use super::client::*;
use super::cluster::{Cluster, Shape, on_every_node};
use super::subscriber::*;
use crate::broker::deliver::SETTLED;
use crate::command::Refusal;
use crate::subscriber::*;

const HOUR: Lasts = Lasts::Ms(3_600_000);

fn members(c: &mut Cluster, count: usize, lasts: Lasts, assurance: Assurance) -> Vec<Client> {
    let mut all = Vec::new();
    for n in 0..count {
        let (client, _) = c.open(&session(&format!("m{n}"), lasts));
        assert!(c.subscribe(client, "group:g:a/+", assurance));
        all.push(client);
    }
    all
}

fn numbers(bodies: &[String]) -> BTreeSet<u32> {
    bodies.iter().map(|body| body.parse().unwrap()).collect()
}

/// mqtt.md H-27.
#[test]
fn each_message_goes_to_one_member_and_each_member_has_its_share() {
    on_every_node(2, |c| {
        for assurance in [ONCE, LEAST] {
            let clients = members(c, 4, Lasts::Connection, assurance);
            let (other, _) = c.open(&session("other", Lasts::Connection));
            c.subscribe(other, "group:h:a/#", assurance);
            for n in 0..200_usize {
                let publisher = c.connect(n % 3);
                let body = n.to_string();
                assert_eq!(c.fate(publisher, kept("a/b", &body)), Fate::Stored);
                c.drop_connection(publisher);
            }
            let mut all = Vec::new();
            for client in &clients {
                let got = c.accept_all(*client);
                assert!((20..90).contains(&got.len()), "{}", got.len());
                all.extend(got);
            }
            assert_eq!((all.len(), numbers(&all).len()), (200, 200));
            let twice = c.accept_all(other).len() + c.accept_all(other).len();
            assert_eq!(twice, 200, "another group is another group");
            for client in clients.into_iter().chain([other]) {
                c.drop_connection(client);
            }
            c.rest();
        }
    });
}

#[test]
fn a_member_with_a_filter_of_its_own_has_both_copies_and_knows_them_apart() {
    on_every_node(1, |c| {
        let publisher = c.connect(1);
        let (client, _) = c.open(&session("s", Lasts::Connection));
        c.subscribe(client, "a/b", ONCE);
        c.subscribe(client, "group:g:a/+", LEAST);
        assert_eq!(c.fate(publisher, kept("a/b", "m")), Fate::Stored);
        let mut got = c.take(client);
        got.sort_by_key(|d| d.id == SETTLED);
        let names: Vec<&str> = got.iter().map(|d| d.message.exchange()).collect();
        assert_eq!(names, ["amq.group/g/a/+", FILTERS]);
        assert_eq!(group_of(names[0]), Some(("g", "a/+")));
        assert_ne!(got[0].id, SETTLED, "the level of the group's subscription");
        assert_eq!(got[1].id, SETTLED, "the level of its own");
        c.accept(client, &got[..1]);
        // By key, as services publish: the copy has the topic.
        c.send(publisher, &publish("amq.topic", "a.b", "m")).unwrap();
        let got = c.take(client);
        let mut keys: Vec<&str> = got.iter().map(|d| d.message.routing_key()).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["a.b", "a/b"]);
        assert_eq!(
            c.unsubscribe(client, &["a/b", "group:g:a/+", "group:h:a/+"]),
            [true, true, false]
        );
        assert_eq!(c.offer(publisher, FILTERS, "a/b", "m"), Fate::Returned);
    });
}

#[test]
fn a_group_gets_one_copy_of_a_message_that_is_retained_too() {
    let shape = Shape { shards: 3, apart: false, seed: 1, memory_bytes_max: u64::MAX };
    let mut c = Cluster::new(shape);
    let clients = members(&mut c, 4, Lasts::Connection, LEAST);
    let publisher = c.connect(1);
    for n in 0..20 {
        let (at, now, body) = (c.seats[publisher.0].at.connection, c.now, n.to_string());
        let message = kept("a/b", &body);
        c.broker_of(publisher).publish_topic(at, ONE, &message, Keep::Must, now).unwrap();
    }
    let got: Vec<String> = clients.iter().flat_map(|client| c.accept_all(*client)).collect();
    assert_eq!((got.len(), numbers(&got).len()), (20, 20));
}

#[test]
fn nothing_but_sessions_is_in_a_group() {
    on_every_node(1, |c| {
        let client = c.connect(0);
        c.done(client, queue("q", &[]));
        let inside = Refusal::InternalExchange(GROUPS.into());
        assert_eq!(c.refused(client, bind("q", GROUPS, "amq.group/g/a")), inside);
        assert_eq!(c.refused(client, link(GROUPS, "amq.topic", "#")), inside);
        assert_eq!(c.refused(client, link("amq.topic", GROUPS, "#")), inside);
        assert_eq!(c.send(client, &publish(GROUPS, "a", "m")), Err(inside));
    });
}

#[test]
fn members_that_are_away_get_only_what_nobody_else_can_take() {
    on_every_node(2, |c| {
        let clients = members(c, 4, HOUR, LEAST);
        let publisher = c.connect(1);
        for client in &clients[..3] {
            c.vanish(*client);
        }
        c.rest();
        for n in 0..40 {
            c.send(publisher, &kept("a/b", &n.to_string())).unwrap();
        }
        assert_eq!(c.accept_all(clients[3]).len(), 40);
        c.vanish(clients[3]);
        c.rest();
        for n in 0..40 {
            assert_eq!(c.fate(publisher, kept("a/b", &n.to_string())), Fate::Stored);
        }
        let mut all = Vec::new();
        for n in 0..4 {
            let (client, opened) = c.open(&session(&format!("m{n}"), HOUR));
            assert!(opened.resumed && opened.subscriptions.len() == 1);
            all.extend(c.accept_all(client));
        }
        assert_eq!((all.len(), numbers(&all).len()), (40, 40));
    });
}

/// mqtt.md V-201, where an operator wants it of shards.
#[test]
fn members_of_the_publishers_shard_may_come_first() {
    let shape = Shape { shards: 3, apart: false, seed: 1, memory_bytes_max: u64::MAX };
    let mut c = Cluster::new(shape);
    for broker in &mut c.brokers {
        broker.limits.near_members_first = true;
    }
    let clients = members(&mut c, 9, HOUR, LEAST);
    let home = |c: &Cluster, client: &Client| usize::from(c.seats[client.0].at.shard.0);
    for shard in 0..3 {
        let near: Vec<Client> =
            clients.iter().copied().filter(|client| home(&c, client) == shard).collect();
        assert!(!near.is_empty() && near.len() < 9, "names that are well spread");
        let publisher = c.connect(shard);
        for round in 0..2 {
            for n in 0..30 {
                assert_eq!(c.fate(publisher, kept("a/b", &n.to_string())), Fate::Stored);
            }
            let here: Vec<&Client> = near.iter().filter(|_| round == 0).collect();
            let got: usize = here.iter().map(|client| c.accept_all(**client).len()).sum();
            assert_eq!(got, if round == 0 { 30 } else { 0 });
            // Whoever is here comes before who is near.
            near.iter().filter(|_| round == 0).for_each(|client| c.vanish(*client));
            c.rest();
        }
        let others = clients.iter().filter(|client| !near.contains(client));
        let others: Vec<Client> = others.copied().filter(|o| home(&c, o) > shard).collect();
        let got: usize = others.iter().map(|client| c.accept_all(*client).len()).sum();
        assert_eq!(got, if others.is_empty() { 0 } else { 30 });
    }
}

#[test]
fn what_an_ending_member_leaves_goes_to_the_others() {
    on_every_node(2, |c| {
        let open = |n: usize| OpenSession { window: 3, ..session(&format!("m{n}"), HOUR) };
        let (first, _) = c.open(&open(0));
        c.subscribe(first, "group:g:a/+", LEAST);
        c.subscribe(first, "a/b", LEAST);
        let publisher = c.connect(1);
        for n in 0..10 {
            assert_eq!(c.fate(publisher, kept("a/b", &n.to_string())), Fate::Stored);
        }
        let out = c.take(first);
        assert_eq!(out.len(), 3);
        let (second, _) = c.open(&session("m1", HOUR));
        c.subscribe(second, "group:g:a/+", LEAST);
        // The first is forgotten: its own copies go with it, those of the group go on.
        let (_, opened) = c.open(&OpenSession { fresh: true, ..open(0) });
        assert!(!opened.resumed);
        let got = c.accept_all(second);
        assert_eq!((got.len(), numbers(&got).len()), (10, 10));
        assert!(c.was_taken_over(first));
    });
}

#[test]
fn a_long_row_goes_on_over_several_turns_while_the_next_session_has_begun() {
    on_every_node(1, |c| {
        let (first, _) = c.open(&session("m0", HOUR));
        c.subscribe(first, "group:g:a/+", LEAST);
        let publisher = c.connect(1);
        c.vanish(first);
        for n in 0..1_000 {
            assert_eq!(c.fate(publisher, kept("a/b", &n.to_string())), Fate::Stored);
        }
        let (second, _) = c.open(&session("m1", HOUR));
        c.subscribe(second, "group:g:a/+", LEAST);
        let (first, opened) = c.open(&OpenSession { fresh: true, ..session("m0", HOUR) });
        assert!(!opened.resumed);
        c.subscribe(first, "b", LEAST);
        assert_eq!(c.fate(publisher, kept("b", "new")), Fate::Stored);
        let mut got = Vec::new();
        for _ in 0..20 {
            c.pass(0);
            got.extend(c.accept_all(second));
        }
        assert_eq!((got.len(), numbers(&got).len()), (1_000, 1_000));
        assert_eq!(c.accept_all(first), ["new"]);
    });
}

/// mqtt.md 2.5, 4.8.2-5.
#[test]
fn what_is_to_come_exactly_once_and_was_out_ends_with_its_session() {
    on_every_node(1, |c| {
        let open = OpenSession { window: 3, ..session("m0", HOUR) };
        let (first, _) = c.open(&open);
        c.subscribe(first, "group:g:a/+", EXACTLY);
        let publisher = c.connect(1);
        for n in 0..10 {
            assert_eq!(c.fate(publisher, kept("a/b", &n.to_string())), Fate::Stored);
        }
        let out = c.got(first);
        let (second, _) = c.open(&session("m1", HOUR));
        c.subscribe(second, "group:g:a/+", EXACTLY);
        let (_, _) = c.open(&OpenSession { fresh: true, ..open });
        let got = c.accept_all(second);
        assert_eq!(got.len(), 7);
        assert!(numbers(&got).is_disjoint(&numbers(&out)));
    });
}

/// Members come and go while messages are on their way: none is lost or doubled.
#[test]
fn a_group_loses_nothing_while_members_come_and_go() {
    on_every_node(6, |c| {
        let mut here: Vec<Option<Client>> = vec![None; 4];
        let (anchor, _) = c.open(&session("anchor", HOUR));
        c.subscribe(anchor, "group:g:a/+", LEAST);
        let publishers = [c.connect(0), c.connect(1)];
        let (mut sent, mut got) = (0, Vec::new());
        for _ in 0..150 {
            let n = c.rng.below(4);
            match c.rng.below(4) {
                0 => match here[n].take() {
                    // What it has not settled goes on as it ends.
                    Some(client) => c.vanish(client),
                    None => {
                        let (client, _) = c.open(&session(&format!("m{n}"), Lasts::Connection));
                        c.subscribe(client, "group:g:a/+", LEAST);
                        here[n] = Some(client);
                    }
                },
                1 => {
                    if let Some(client) = here[n] {
                        got.extend(c.accept_all(client));
                    }
                }
                _ => {
                    let publisher = publishers[c.rng.below(2)];
                    c.send(publisher, &kept("a/b", &sent.to_string())).unwrap();
                    sent += 1;
                }
            }
            for _ in 0..c.rng.below(6) {
                c.step();
            }
        }
        for _ in 0..100 {
            for client in here.iter().flatten().chain([&anchor]) {
                got.extend(c.accept_all(*client));
            }
        }
        got.sort_by_key(|body| body.parse::<u32>().unwrap());
        let expected: Vec<String> = (0..sent).map(|n| n.to_string()).collect();
        assert_eq!(got, expected);
    });
}
