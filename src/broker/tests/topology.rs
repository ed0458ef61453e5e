//! Exchanges, queues and bindings come and go on all shards alike.

use super::client::*;
use super::cluster::{Cluster, on_every_node};
use crate::command::{Answer, Command, Entity, Publish, Refusal};
use crate::value::Value;

const SEEDS: u64 = 4;

#[test]
fn who_saw_bind_ok_can_publish_from_any_shard_and_is_routed() {
    on_every_node(SEEDS, |c| {
        let clients: Vec<_> = (0..5).map(|n| c.connect(n)).collect();
        for n in 0..5 {
            let (name, key) = (c.queue_on(n), format!("key{n}"));
            let by = clients[n];
            c.done(by, exchange(&format!("x{n}"), "direct", &[]));
            c.done(clients[(n + 1) % 5], queue(&name, &[]));
            c.done(clients[(n + 2) % 5], bind(&name, &format!("x{n}"), &key));
            for other in &clients {
                assert_eq!(c.offer(*other, &format!("x{n}"), &key, "m"), Fate::Stored);
            }
            assert_eq!(c.drain(by, &name).len(), 5);
        }
    });
}

#[test]
fn every_exchange_type_routes_the_same_on_every_shard() {
    on_every_node(SEEDS, |c| {
        let clients: Vec<_> = (0..5).map(|n| c.connect(n)).collect();
        for (kind, key) in [("direct", "k"), ("fanout", ""), ("topic", "a.#")] {
            let names: Vec<_> = (0..5).map(|n| c.queue_on(n)).collect();
            c.done(clients[0], exchange(kind, kind, &[]));
            for name in &names {
                c.done(clients[1], queue(name, &[]));
                c.done(clients[2], bind(name, kind, key));
            }
            let routed = if kind == "topic" { "a.b.c" } else { key };
            for client in &clients {
                assert_eq!(c.offer(*client, kind, routed, "m"), Fate::Stored);
                let elsewhere = c.offer(*client, kind, "elsewhere", "m");
                assert_eq!(elsewhere == Fate::Returned, kind != "fanout");
            }
            let expected = if kind == "fanout" { 10 } else { 5 };
            for name in &names {
                assert_eq!(c.drain(clients[3], name).len(), expected);
            }
        }
    });
}

#[test]
fn interest_goes_with_the_last_queue_of_a_shard_that_is_bound_so() {
    on_every_node(SEEDS, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        let (one, two) = (c.queue_on(1), c.queue_on(1));
        c.done(a, exchange("x", "direct", &[]));
        for name in [&one, &two] {
            c.done(a, queue(name, &[]));
            c.done(b, bind(name, "x", "k"));
        }
        c.done(a, delete_queue(&one));
        assert_eq!(c.offer(b, "x", "k", "m"), Fate::Stored);
        c.done(b, unbind(&two, "x", "k"));
        assert_eq!(c.offer(a, "x", "k", "m"), Fate::Returned);
        assert_eq!(c.offer(b, "x", "k", "m"), Fate::Returned);
        c.done(b, bind(&two, "x", "k"));
        assert_eq!(c.offer(a, "x", "k", "m"), Fate::Stored);
        c.done(a, delete_queue(&two));
        assert_eq!(c.offer(b, "x", "k", "m"), Fate::Returned);
    });
}

#[test]
fn three_thousand_bindings_go_with_their_queue() {
    on_every_node(1, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        let name = c.queue_on(1);
        c.done(a, exchange("x", "direct", &[]));
        c.done(a, queue(&name, &[]));
        for n in 0..3_000 {
            c.done(a, bind(&name, "x", &format!("k{n}")));
        }
        assert_eq!(c.offer(b, "x", "k2999", "m"), Fate::Stored);
        c.done(a, delete_queue(&name));
        assert_eq!(c.offer(b, "x", "k2999", "m"), Fate::Returned);
    });
}

#[test]
fn an_auto_delete_exchange_is_gone_everywhere_when_its_last_unbind_is_answered() {
    on_every_node(SEEDS, |c| {
        let clients: Vec<_> = (0..5).map(|n| c.connect(n)).collect();
        for round in 0..5 {
            let (one, two) = (c.queue_on(round), c.queue_on(round + 1));
            c.done(clients[0], auto_delete_exchange("x", "topic"));
            for name in [&one, &two] {
                c.done(clients[1], queue(name, &[]));
                c.done(clients[1], bind(name, "x", "#"));
            }
            c.done(clients[2], unbind(&one, "x", "#"));
            assert_eq!(c.offer(clients[3], "x", "k", "m"), Fate::Stored);
            if round % 2 == 0 {
                c.done(clients[3], unbind(&two, "x", "#"));
            } else {
                c.done(clients[3], delete_queue(&two));
            }
            for client in &clients {
                let gone = c.send(*client, &publish("x", "k", "m"));
                assert_eq!(gone, Err(Refusal::NotFound(Entity::Exchange, "x".into())));
            }
        }
    });
}

#[test]
fn auto_delete_exchanges_go_one_after_the_other_along_their_bindings() {
    on_every_node(SEEDS, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        let name = c.queue_on(1);
        c.done(a, queue(&name, &[]));
        for n in 0..4 {
            c.done(a, auto_delete_exchange(&format!("x{n}"), "fanout"));
        }
        for n in 0..3 {
            c.done(b, link(&format!("x{n}"), &format!("x{}", n + 1), ""));
        }
        c.done(b, bind(&name, "x3", ""));
        assert_eq!(c.offer(b, "x0", "k", "m"), Fate::Stored);
        c.done(a, unbind(&name, "x3", ""));
        for n in 0..4 {
            let gone = c.send(b, &publish(&format!("x{n}"), "k", "m"));
            assert!(matches!(gone, Err(Refusal::NotFound(..))), "x{n}");
        }
    });
}

#[test]
fn an_auto_delete_queue_goes_with_its_last_consumer() {
    on_every_node(SEEDS, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        for round in 0..3 {
            let name = c.queue_on(round);
            c.done(a, auto_delete(&name));
            c.done(a, bind(&name, "amq.fanout", ""));
            let first = c.consume(a, &name, 0);
            let second = c.consume(b, &name, 0);
            c.done(a, Command::Cancel { consumer: first });
            assert_eq!(c.offer(a, "amq.fanout", "k", "m"), Fate::Stored);
            match round {
                0 => c.done(b, Command::Cancel { consumer: second }),
                1 => c.done(b, Command::CloseChannel),
                _ => c.done(b, Command::CloseConnection),
            }
            assert_eq!(c.offer(a, "amq.fanout", "k", "m"), Fate::Returned);
            assert_eq!(c.offer(a, "", &name, "m"), Fate::Returned);
        }
    });
}

#[test]
fn a_consumer_whose_queue_is_gone_can_still_be_cancelled() {
    on_every_node(SEEDS, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        let name = c.queue_on(1);
        c.done(a, queue(&name, &[]));
        let consumer = c.consume(b, &name, 0);
        c.start(a, ONE, delete_queue(&name));
        c.start(b, ONE, Command::Cancel { consumer });
        assert!(matches!(c.finish(a, ONE), Answer::Removed { .. }));
        assert!(matches!(c.finish(b, ONE), Answer::Done));
        c.done(b, Command::Cancel { consumer });
    });
}

/// Whatever the order: the binding came first and went with its exchange, or it came too late.
#[test]
fn a_bind_that_races_with_the_deletion_of_its_exchange_leaves_nothing_behind() {
    on_every_node(12, |c| {
        let clients: Vec<_> = (0..5).map(|n| c.connect(n)).collect();
        let names: Vec<_> = (0..4).map(|n| c.queue_on(n)).collect();
        for name in &names {
            c.done(clients[0], queue(name, &[]));
        }
        for kind in ["direct", "x-consistent-hash"] {
            c.done(clients[0], exchange("x", kind, &[]));
            for (client, name) in clients.iter().zip(&names) {
                c.start(*client, ONE, bind(name, "x", "1"));
            }
            c.start(clients[4], ONE, delete_exchange("x"));
            for client in &clients {
                match c.finish(*client, ONE) {
                    Answer::Done | Answer::Bound { .. } => {}
                    Answer::Refused(refusal) => {
                        assert_eq!(refusal, Refusal::NotFound(Entity::Exchange, "x".into()));
                    }
                    other => panic!("{other:?}"),
                }
            }
            c.rest();
            c.audit();
            let gone = c.send(clients[1], &publish("x", "1", "m"));
            assert!(matches!(gone, Err(Refusal::NotFound(..))));
        }
    });
}

#[test]
fn an_exchange_that_comes_and_goes_under_one_name_is_never_mixed_up() {
    on_every_node(8, |c| {
        let clients: Vec<_> = (0..4).map(|n| c.connect(n)).collect();
        let names: Vec<_> = (0..4).map(|n| c.queue_on(n)).collect();
        for name in &names {
            c.done(clients[0], queue(name, &[]));
        }
        for _ in 0..20 {
            for client in &clients {
                let command = match c.rng.below(4) {
                    0 => exchange("x", "direct", &[]),
                    1 => delete_exchange("x"),
                    2 => bind(&names[c.rng.below(4)].clone(), "x", "k"),
                    _ => unbind(&names[c.rng.below(4)].clone(), "x", "k"),
                };
                c.start(*client, ONE, command);
            }
            for client in &clients {
                match c.finish(*client, ONE) {
                    Answer::Done | Answer::Bound { .. } => {}
                    Answer::Refused(refusal) => {
                        assert_eq!(refusal, Refusal::NotFound(Entity::Exchange, "x".into()));
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        c.rest();
        c.audit();
    });
}

#[test]
fn a_queue_forgets_exchanges_it_is_not_bound_to_any_more() {
    on_every_node(1, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        let name = c.queue_on(1);
        c.done(a, queue(&name, &[]));
        for round in 0..6 {
            let kind = if round % 2 == 0 { "fanout" } else { "x-random" };
            c.done(a, exchange("x", kind, &[]));
            c.done(b, bind(&name, "x", "k"));
            if round < 3 {
                c.done(b, unbind(&name, "x", "k"));
            }
            c.done(a, delete_exchange("x"));
        }
        c.rest();
        c.audit();
    });
}

/// The declaration comes from the keeper, the binding from the owner: on a third shard the second
/// may overtake the first.
#[test]
fn a_binding_that_overtakes_the_declaration_of_its_exchange_waits_for_it() {
    on_every_node(20, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        let name = c.queue_on(1);
        let owner = usize::from(c.placement.owner("/", &name).0);
        c.done(a, queue(&name, &[]));
        for kind in ["direct", "x-random"] {
            c.start(a, ONE, exchange(kind, kind, &[]));
            while !c.brokers[owner].vhosts[0].exchanges.contains_key(kind) {
                c.step();
            }
            c.done(b, bind(&name, kind, "k"));
            c.finish(a, ONE);
            for client in [a, b] {
                assert_eq!(c.offer(client, kind, "k", "m"), Fate::Stored);
            }
        }
    });
}

#[test]
fn what_another_unbinds_is_unbound_everywhere_when_mine_is_answered() {
    on_every_node(8, |c| {
        let (a, b, d) = (c.connect(0), c.connect(1), c.connect(2));
        let name = c.queue_on(1);
        c.done(a, queue(&name, &[]));
        c.done(a, bind(&name, "amq.direct", "k"));
        c.start(a, ONE, unbind(&name, "amq.direct", "k"));
        c.start(b, ONE, unbind(&name, "amq.direct", "k"));
        c.finish(b, ONE);
        assert_eq!(c.offer(d, "amq.direct", "k", "m"), Fate::Returned);
        c.finish(a, ONE);
    });
}

#[test]
fn exchange_cycles_give_each_queue_one_copy() {
    on_every_node(SEEDS, |c| {
        let clients: Vec<_> = (0..5).map(|n| c.connect(n)).collect();
        let names: Vec<_> = (0..5).map(|n| c.queue_on(n)).collect();
        for (n, client) in clients.iter().enumerate() {
            c.done(*client, exchange(&format!("x{n}"), "fanout", &[]));
        }
        for n in 0..5 {
            c.done(clients[n], queue(&names[n], &[]));
            c.done(clients[n], link(&format!("x{n}"), &format!("x{}", (n + 1) % 5), ""));
            c.done(clients[n], bind(&names[n], &format!("x{n}"), ""));
            c.done(clients[n], bind(&names[n], "x0", "again"));
        }
        for (n, client) in clients.iter().enumerate() {
            assert_eq!(c.offer(*client, &format!("x{n}"), "again", "m"), Fate::Stored);
        }
        for name in &names {
            assert_eq!(c.drain(clients[0], name).len(), 5);
        }
    });
}

#[test]
fn alternate_exchanges_are_asked_where_nobody_is_bound_on_any_shard() {
    on_every_node(SEEDS, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        let names: Vec<_> = (0..3).map(|n| c.queue_on(n)).collect();
        c.done(a, exchange("z", "fanout", &[]));
        c.done(a, exchange("y", "direct", &[("alternate-exchange", Value::text("z"))]));
        c.done(a, exchange("x", "direct", &[("x-alternate-exchange", Value::text("y"))]));
        for (name, source) in names.iter().zip(["x", "y", "z"]) {
            c.done(b, queue(name, &[]));
            c.done(b, bind(name, source, source));
        }
        for client in [a, b] {
            for key in ["x", "y", "nobody"] {
                assert_eq!(c.offer(client, "x", key, key), Fate::Stored);
            }
        }
        for (name, key) in names.iter().zip(["x", "y", "nobody"]) {
            assert_eq!(c.drain(a, name), [key, key]);
        }
        c.done(a, delete_queue(&names[2]));
        assert_eq!(c.offer(b, "x", "nobody", "m"), Fate::Returned);
    });
}

#[test]
fn a_message_reaches_more_exchanges_than_it_may_hop() {
    on_every_node(1, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        c.done(a, exchange("hub", "fanout", &[]));
        let name = c.queue_on(1);
        c.done(a, queue(&name, &[]));
        for n in 0..200 {
            let spoke = format!("s{n}");
            c.done(a, exchange(&spoke, "direct", &[]));
            c.done(a, link("hub", &spoke, ""));
            c.done(a, bind(&name, &spoke, &format!("k{n}")));
        }
        for n in 0..200 {
            assert_eq!(c.offer(b, "hub", &format!("k{n}"), "m"), Fate::Stored, "k{n}");
        }
    });
}

fn hashed(c: &mut Cluster, kind: &str) -> (Client, Client, Vec<String>) {
    let (a, b) = (c.connect(0), c.connect(1));
    c.done(a, exchange("x", kind, &[]));
    let names: Vec<_> = (0..5).map(|n| c.queue_on(n)).collect();
    for name in &names {
        c.done(a, queue(name, &[]));
        c.done(b, bind(name, "x", "10"));
    }
    (a, b, names)
}

#[test]
fn a_consistent_hash_gives_each_message_to_one_queue_and_a_key_always_to_the_same() {
    on_every_node(SEEDS, |c| {
        let (a, b, names) = hashed(c, "x-consistent-hash");
        let keys: Vec<_> = (0..60).map(|n| format!("key{n}")).collect();
        for key in &keys {
            assert_eq!(c.offer(a, "x", key, key), Fate::Stored);
            assert_eq!(c.offer(b, "x", key, key), Fate::Stored);
        }
        let mut all = Vec::new();
        let mut used = 0;
        for name in &names {
            let mut got = c.drain(a, name);
            used += usize::from(!got.is_empty());
            got.sort();
            assert!(got.chunks(2).all(|pair| pair.len() == 2 && pair[0] == pair[1]), "{got:?}");
            all.extend(got);
        }
        assert_eq!(all.len(), 120);
        assert!(used >= 3);
        for name in &names {
            c.done(a, delete_queue(name));
        }
        assert_eq!(c.offer(b, "x", "key", "m"), Fate::Returned);
    });
}

#[test]
fn a_random_exchange_gives_each_message_to_one_queue_and_all_get_some() {
    on_every_node(SEEDS, |c| {
        let (a, b, names) = hashed(c, "x-random");
        for n in 0..100 {
            assert_eq!(c.offer(if n % 2 == 0 { a } else { b }, "x", "k", "m"), Fate::Stored);
        }
        let counts: Vec<_> = names.iter().map(|name| c.drain(a, name).len()).collect();
        assert_eq!(counts.iter().sum::<usize>(), 100);
        assert!(counts.iter().all(|n| *n > 0), "{counts:?}");
    });
}

#[test]
fn a_random_exchange_before_other_exchanges_loses_and_doubles_nothing() {
    on_every_node(SEEDS, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        c.done(a, exchange("x", "x-random", &[]));
        let names: Vec<_> = (0..5).map(|n| c.queue_on(n)).collect();
        for (n, name) in names.iter().enumerate() {
            c.done(a, exchange(&format!("y{n}"), "fanout", &[]));
            c.done(a, queue(name, &[]));
            c.done(a, bind(name, &format!("y{n}"), ""));
            c.done(b, link("x", &format!("y{n}"), ""));
        }
        for _ in 0..60 {
            assert_eq!(c.offer(b, "x", "k", "m"), Fate::Stored);
        }
        let counts: Vec<_> = names.iter().map(|name| c.drain(a, name).len()).collect();
        assert_eq!(counts.iter().sum::<usize>(), 60, "{counts:?}");
    });
}

#[test]
fn a_queue_that_is_bound_and_picked_as_well_gets_one_copy() {
    on_every_node(SEEDS, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        c.done(a, exchange("x", "fanout", &[]));
        c.done(a, exchange("hash", "x-consistent-hash", &[]));
        c.done(a, link("x", "hash", ""));
        let (one, two) = (c.queue_on(1), c.queue_on(0));
        for name in [&one, &two] {
            c.done(a, queue(name, &[]));
            c.done(a, bind(name, "x", ""));
            c.done(a, bind(name, "hash", "1"));
        }
        for key in ["a", "b", "c", "d", "e", "f"] {
            c.offer(a, "x", key, key);
            c.offer(b, "x", key, key);
        }
        assert_eq!((c.drain(a, &one).len(), c.drain(a, &two).len()), (12, 12));
    });
}

#[test]
fn more_keys_that_name_the_same_queue_give_it_one_copy() {
    on_every_node(SEEDS, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        let (one, two) = (c.queue_on(0), c.queue_on(1));
        for name in [&one, &two] {
            c.done(a, queue(name, &[]));
        }
        let extra = [&*one, &two, &two];
        let publish = Publish { extra_keys: &extra, ..publish("", &one, "m") };
        for client in [a, b] {
            assert_eq!(c.fate(client, publish.clone()), Fate::Stored);
        }
        assert_eq!((c.drain(a, &one).len(), c.drain(a, &two).len()), (2, 2));
    });
}

#[test]
fn a_mandatory_message_with_more_keys_comes_back_only_if_none_leads_to_a_queue() {
    on_every_node(SEEDS, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        let names: Vec<_> = (0..4).map(|n| c.queue_on(n)).collect();
        let extra = [&*names[1], &names[2], &names[3]];
        let offer = Publish { extra_keys: &extra, mandatory: true, ..publish("", &names[0], "m") };
        for client in [a, b] {
            assert_eq!(c.fate(client, offer.clone()), Fate::Returned);
            c.seats[client.0].log.clear();
            c.send(client, &offer).unwrap();
            c.rest();
            for name in &names {
                c.done(a, queue(name, &[]));
                assert_eq!(c.fate(client, offer.clone()), Fate::Stored);
                c.done(b, delete_queue(name));
            }
        }
    });
}

#[test]
fn a_headers_exchange_matches_on_every_shard() {
    on_every_node(SEEDS, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        let (all, any) = (c.queue_on(0), c.queue_on(1));
        for (name, how) in [(&all, "all"), (&any, "any")] {
            c.done(a, queue(name, &[]));
            let entries =
                [("x-match", Value::text(how)), ("kind", Value::text("a")), ("n", Value::I32(1))];
            c.done(b, bind_with(name, "amq.headers", "", &entries));
        }
        for client in [a, b] {
            for (block, fate) in [
                ("kind=a\nn=1", Fate::Stored),
                ("kind=b\nn=1", Fate::Stored),
                ("kind=b\nn=2", Fate::Returned),
            ] {
                let publish = Publish {
                    properties: block.as_bytes(),
                    mandatory: true,
                    ..publish("amq.headers", "same key", block)
                };
                assert_eq!(c.fate(client, publish), fate, "{block}");
            }
        }
        assert_eq!((c.drain(a, &all).len(), c.drain(a, &any).len()), (2, 4));
    });
}
