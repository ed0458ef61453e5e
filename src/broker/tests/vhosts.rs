//! Virtual hosts that come and go: on every shard, with everything in them, for ever.

use super::client::*;
use super::cluster::{Cluster, on_every_node};
use crate::auth::Users;
use crate::auth::password::PasswordHash;
use crate::auth::permission::Permission;
use crate::auth::user::User;
use crate::broker::Outside;
use crate::broker::definitions::catalogue::Catalogue;
use crate::command::{Answer, Entity, Event, Refusal};
use crate::ids::{ShardId, VhostId};

const NEW: &str = "new";

/// Whoever this is may do anything in the new virtual host.
fn anybody() -> crate::auth::Identity {
    let hash = "UmluZ5mS4j6M3LeniS9RrNj1OHl+7xS5VnElz8P5tNz2+TN+";
    let password = Some(PasswordHash::parse(hash, None).unwrap());
    let permissions = vec![(NEW.into(), Permission::all())];
    let user = User { name: "u".into(), password, tags: vec![], permissions };
    let loopback = std::net::Ipv4Addr::LOCALHOST.into();
    Users::new([user], None).login("u", b"guest", loopback).unwrap()
}

fn wait_for(c: &mut Cluster, shard: usize, end: Option<Outside>) {
    let Some(end) = end else { return };
    c.touch(shard);
    c.rest();
    assert_eq!(c.brokers[shard].take_outside(), [end]);
}

fn make(c: &mut Cluster) -> Vec<Option<VhostId>> {
    let end = c.brokers[0].make_vhost(NEW);
    wait_for(c, 0, end);
    c.brokers.iter().map(|broker| broker.vhost_named(NEW)).collect()
}

/// As the control thread does it.
fn delete(c: &mut Cluster) {
    let now = c.now;
    for shard in 0..c.brokers.len() {
        c.brokers[shard].close_vhost(NEW);
        c.touch(shard);
    }
    for shard in 0..c.brokers.len() {
        for round in 0.. {
            assert!(round < 100, "it is never empty");
            let (left, end) = c.brokers[shard].empty_vhost(NEW, now);
            wait_for(c, shard, end);
            if left == 0 {
                break;
            }
        }
    }
    let end = c.brokers[0].bare_vhost(NEW);
    wait_for(c, 0, end);
    for shard in 0..c.brokers.len() {
        c.brokers[shard].forget_vhost(NEW);
        c.touch(shard);
    }
    c.rest();
}

fn last_shard(c: &Cluster) -> ShardId {
    c.home(usize::from(c.placement.shards()))
}

#[test]
fn a_virtual_host_that_comes_is_the_same_on_all_shards_and_works() {
    on_every_node(2, |c| {
        c.use_storage();
        let refused = c.connect_in(last_shard(c), &anybody(), NEW);
        assert_eq!(refused, Err(Refusal::NotFound(Entity::Vhost, NEW.into())));
        let found = make(c);
        assert!(found.iter().all(|id| *id == Some(VhostId(2))), "{found:?}");
        assert_eq!(c.brokers[0].make_vhost(NEW), None, "it is there");
        let a = c.connect_in(last_shard(c), &anybody(), NEW).unwrap();
        c.done(a, exchange("x", "topic", &[]));
        c.done(a, queue("q", &[]));
        c.done(a, bind("q", "x", "#"));
        assert_eq!(c.offer(a, "x", "k", "m"), Fate::Stored);
        assert_eq!(c.ready(a, "q"), 1);
        c.rest();
        delete(c);
    });
}

#[test]
fn a_virtual_host_that_goes_takes_all_with_it_and_its_name_is_free() {
    on_every_node(2, |c| {
        c.use_storage();
        make(c);
        let a = c.connect_in(c.home(0), &anybody(), NEW).unwrap();
        let b = c.connect_in(last_shard(c), &anybody(), NEW).unwrap();
        let elsewhere = c.connect(1);
        c.done(elsewhere, durable(queue("other", &[])));
        c.done(a, durable(exchange("x", "topic", &[])));
        c.done(a, link("x", "amq.fanout", "k"));
        c.done(a, link("amq.topic", "amq.fanout", "k"));
        for n in 0..150 {
            let name = format!("q{n}");
            c.done(b, durable(queue(&name, &[])));
            c.done(b, bind(&name, "amq.fanout", ""));
        }
        c.consume(b, "q1", 1);
        assert_eq!(c.offer(a, "amq.topic", "k", "m"), Fate::Stored);
        delete(c);
        for client in [a, b] {
            let closed = c.events(client).iter().find_map(|event| match event {
                Event::Close { reason } => Some(&**reason),
                _ => None,
            });
            assert_eq!(closed, Some("vhost 'new' is deleted"));
        }
        let late = c.execute(a, queue("late", &[]));
        assert!(matches!(late, Answer::Refused(Refusal::NotFound(Entity::Vhost, _))), "{late:?}");
        let refused = c.connect_in(c.home(0), &anybody(), NEW);
        assert_eq!(refused, Err(Refusal::NotFound(Entity::Vhost, NEW.into())));
        c.sync_all();
        let catalogue = Catalogue::of(c.records().into_iter().flatten());
        assert_eq!(catalogue.vhosts().collect::<Vec<_>>(), ["/"]);
        assert_eq!(catalogue.links().len(), 0);
        c.drop_connection(a);
        c.drop_connection(b);
        let found = make(c);
        assert!(found.iter().all(|id| *id == Some(VhostId(3))), "{found:?}");
        let a = c.connect_in(c.home(0), &anybody(), NEW).unwrap();
        assert!(matches!(c.refused(a, bind("q1", "amq.fanout", "")), Refusal::NotFound(..)));
        c.done(a, queue("q1", &[]));
        c.done(a, bind("q1", "amq.fanout", ""));
        assert_eq!(c.offer(a, "amq.topic", "k", "m"), Fate::Returned);
        assert_eq!(c.offer(a, "amq.fanout", "", "m"), Fate::Stored);
        c.rest();
        delete(c);
        c.done(elsewhere, delete_queue("other"));
    });
}
