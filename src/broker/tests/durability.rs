//! Answers about durable things come when a crash would find what they say, and not before.

use super::client::*;
use super::cluster::{Cluster, VHOST, on_every_node};
use crate::broker::definitions::Definition;
use crate::broker::topology::KEEPER;
use crate::command::{Answer, Command, Refusal};
use crate::value::Value;

const SEEDS: u64 = 3;

/// A node with storage whose disks wait for a word.
fn on_every_disk(test: impl Fn(&mut Cluster)) {
    on_every_node(SEEDS, |c| {
        c.use_storage();
        c.syncs = false;
        test(c);
    });
}

/// Which shard's log a client waits for: none of the others helps.
fn waits_for(c: &mut Cluster, client: Client, shard: usize) -> Answer {
    c.rest();
    assert!(c.seats[client.0].is_waiting(), "it is answered before it is durable");
    for other in (0..c.brokers.len()).filter(|other| *other != shard) {
        c.sync(other, usize::MAX);
        c.rest();
    }
    assert!(c.seats[client.0].is_waiting(), "it is answered before it is durable");
    while c.undurable(shard) > 1 {
        c.sync(shard, 1);
        c.rest();
        assert!(c.seats[client.0].is_waiting(), "it is answered by an earlier record");
    }
    c.sync(shard, 1);
    c.finish(client, ONE)
}

/// Executes what has to wait for one shard's log, then all disks catch up.
fn lasts(c: &mut Cluster, client: Client, command: Command, shard: usize) -> Answer {
    c.start(client, ONE, command);
    let answer = waits_for(c, client, shard);
    c.sync_all();
    c.rest();
    answer
}

fn owner(c: &Cluster, queue: &str) -> usize {
    usize::from(c.placement.owner(VHOST, queue).0)
}

const KEEPS: usize = KEEPER.0 as usize;

#[test]
fn a_durable_queue_is_declared_and_deleted_when_that_is_durable() {
    on_every_disk(|c| {
        let client = c.connect(0);
        for n in 0..5 {
            let name = c.queue_on(n);
            let shard = owner(c, &name);
            let declared = lasts(c, client, durable(queue(&name, &[])), shard);
            assert!(matches!(declared, Answer::QueueDeclared { .. }), "{declared:?}");
            let deleted = lasts(c, client, delete_queue(&name), shard);
            assert!(matches!(deleted, Answer::Removed { .. }), "{deleted:?}");
        }
    });
}

#[test]
fn whoever_comes_second_waits_for_the_first_record_too() {
    on_every_disk(|c| {
        let (first, second, third) = (c.connect(0), c.connect(1), c.connect(2));
        let name = c.queue_on(1);
        let shard = owner(c, &name);
        for command in [durable(queue(&name, &[])), delete_queue(&name)] {
            c.start(first, ONE, command.clone());
            c.rest();
            c.start(second, ONE, command.clone());
            waits_for(c, second, shard);
            c.finish(first, ONE);
            c.sync_all();
        }
        for command in [durable(exchange("x", "topic", &[])), delete_exchange("x")] {
            c.start(first, ONE, command.clone());
            c.rest();
            c.start(second, ONE, command.clone());
            let mut look = exchange("x", "topic", &[]);
            if let Command::DeclareExchange { passive, .. } = &mut look {
                *passive = true;
            }
            c.start(third, ONE, look);
            c.rest();
            let gone = command == delete_exchange("x");
            assert_eq!(c.seats[third.0].is_waiting(), !gone, "it says what is not durable");
            waits_for(c, second, KEEPS);
            c.finish(first, ONE);
            c.finish(third, ONE);
            c.sync_all();
        }
    });
}

#[test]
fn a_durable_exchange_and_its_bindings_are_there_when_that_is_durable() {
    on_every_disk(|c| {
        let client = c.connect(1);
        for name in ["x", "y"] {
            lasts(c, client, durable(exchange(name, "topic", &[])), KEEPS);
        }
        lasts(c, client, link("x", "y", "k"), KEEPS);
        let Command::BindExchange { source, destination, key, arguments } = link("x", "y", "k")
        else {
            panic!();
        };
        let unlink = Command::UnbindExchange { source, destination, key, arguments };
        lasts(c, client, unlink.clone(), KEEPS);
        // There is nothing left to write.
        c.done(client, unlink);
        lasts(c, client, delete_exchange("x"), KEEPS);
    });
}

#[test]
fn a_binding_is_answered_when_its_record_is_durable() {
    on_every_disk(|c| {
        let (client, other) = (c.connect(0), c.connect(1));
        lasts(c, client, durable(exchange("hash", "x-consistent-hash", &[])), KEEPS);
        for exchange in ["amq.topic", "hash"] {
            let (one, two) = (c.queue_on(2), c.queue_on(2));
            let shard = owner(c, &one);
            for name in [&one, &two] {
                lasts(c, client, durable(queue(name, &[])), shard);
                lasts(c, other, bind(name, exchange, "1"), shard);
                c.start(client, ONE, unbind(name, exchange, "1"));
                c.rest();
                c.start(other, ONE, unbind(name, exchange, "1"));
                waits_for(c, other, shard);
                c.finish(client, ONE);
                lasts(c, other, bind(name, exchange, "1"), shard);
            }
        }
    });
}

#[test]
fn a_binding_waits_for_the_record_of_its_exchange() {
    on_every_disk(|c| {
        let (client, other) = (c.connect(0), c.connect(1));
        for n in 0..3 {
            let (name, x) = (c.queue_on(n), format!("x{n}"));
            let shard = owner(c, &name);
            lasts(c, client, durable(queue(&name, &[])), shard);
            c.start(client, ONE, durable(exchange(&x, "fanout", &[])));
            c.rest();
            c.start(other, ONE, bind(&name, &x, ""));
            c.rest();
            if shard != KEEPS {
                c.sync(shard, usize::MAX);
                c.rest();
                assert!(c.seats[other.0].is_waiting(), "a crash would lose the exchange");
            }
            c.sync_all();
            c.finish(client, ONE);
            c.finish(other, ONE);
        }
    });
}

#[test]
fn an_unbinding_of_what_is_gone_waits_until_it_can_not_come_back() {
    on_every_disk(|c| {
        let (client, other) = (c.connect(0), c.connect(1));
        for n in 0..3 {
            let name = c.queue_on(n);
            let shard = owner(c, &name);
            lasts(c, client, durable(exchange("x", "fanout", &[])), KEEPS);
            lasts(c, client, durable(queue(&name, &[])), shard);
            lasts(c, client, bind(&name, "x", ""), shard);
            c.start(client, ONE, delete_exchange("x"));
            c.rest();
            c.start(other, ONE, unbind(&name, "x", ""));
            waits_for(c, other, KEEPS);
            c.finish(client, ONE);
            c.sync_all();
            c.rest();
        }
    });
}

#[test]
fn what_does_not_outlive_the_process_waits_for_no_disk() {
    on_every_disk(|c| {
        let client = c.connect(0);
        let (name, lasting) = (c.queue_on(0), c.queue_on(1));
        c.done(client, queue(&name, &[]));
        c.done(client, exchange("x", "direct", &[]));
        c.done(client, bind(&name, "x", "k"));
        c.done(client, bind(&name, "amq.direct", "k"));
        let mut own = exclusive("own");
        if let Command::DeclareQueue { durable, .. } = &mut own {
            *durable = true;
        }
        c.done(client, own);
        c.done(client, bind("own", "amq.direct", "k"));
        let shard = owner(c, &lasting);
        lasts(c, client, durable(queue(&lasting, &[])), shard);
        c.done(client, bind(&lasting, "x", "k"));
        c.done(client, link("amq.direct", "x", "k"));
        c.done(client, unbind(&lasting, "x", "k"));
        c.done(client, delete_queue(&name));
        c.done(client, delete_exchange("x"));
        let refused = c.refused(client, durable(exchange("amq.new", "direct", &[])));
        assert!(matches!(refused, Refusal::ReservedName(..)));
        let logged: usize = c.records().iter().map(Vec::len).sum();
        assert_eq!(logged, 1);
    });
}

#[test]
fn what_goes_by_itself_is_logged_and_nobody_waits() {
    on_every_disk(|c| {
        let client = c.connect(0);
        let (one, two) = (c.queue_on(1), c.queue_on(2));
        lasts(c, client, durable(auto_delete_exchange("x", "fanout")), KEEPS);
        let shard = owner(c, &one);
        lasts(c, client, durable(auto_delete(&one)), shard);
        lasts(c, client, bind(&one, "x", ""), shard);
        let consumer = c.consume(client, &one, 0);
        c.done(client, Command::Cancel { consumer });
        let shard = owner(c, &two);
        let expires = durable(queue(&two, &[("x-expires", Value::I32(1_000))]));
        lasts(c, client, expires, shard);
        c.pass(1_000);
        c.sync_all();
        let gone =
            |d: &Definition| matches!(d, Definition::QueueGone(_) | Definition::ExchangeGone(_));
        let records = c.records();
        assert_eq!(records.iter().flatten().filter(|d| gone(d)).count(), 3);
    });
}
