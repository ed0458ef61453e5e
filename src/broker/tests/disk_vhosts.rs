//! A virtual host with durable things that is being deleted when the power goes, at any operation of
//! the disk: its deletion is ended by the next start, nothing of it is in a new one of the same name,
//! and what others have stays. May import what `disk` may.
//!
//! Whether it is to go at all is written by the control thread, before the shards are told: that is
//! tested there.

use ringmq_shards::sim::{Faults, SimDisk};

use super::client::*;
use super::cluster::{Cluster, Rng, Shape};
use super::disk_machine::start;
use super::retained::message;
use super::subscriber::*;
use super::wills::will;
use crate::auth::password::PasswordHash;
use crate::auth::permission::Permission;
use crate::auth::user::User;
use crate::auth::{Identity, Users};
use crate::broker::{Outside, Sizes};
use crate::command::{Answer, Command, Now, Publish};
use crate::ids::ShardId;
use crate::message::Traits;
use crate::subscriber::{FILTERS, Lasts};
use crate::value::Value;

const SIZES: Sizes = Sizes {
    log_file_bytes: 16 << 10,
    log_bytes_max: 64 << 10,
    segment_bytes: 16 << 10,
    queue_memory_max: 4 << 10,
};

/// The one that goes; the cluster has it from the start.
const GOING: &str = "other";

const QUEUES: usize = 6;

/// Operations that a deletion takes are fewer.
const CUTS_MAX: u64 = 2_000;

struct Told(u64, u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with seed {}, cut at {}", self.0, self.1);
        }
    }
}

fn somebody() -> Identity {
    let hash = "UmluZ5mS4j6M3LeniS9RrNj1OHl+7xS5VnElz8P5tNz2+TN+";
    let password = Some(PasswordHash::parse(hash, None).unwrap());
    let permissions = vec![(GOING.into(), Permission::all()), ("/".into(), Permission::all())];
    let user = User { name: "u".into(), password, tags: vec![], permissions };
    let loopback = std::net::Ipv4Addr::LOCALHOST.into();
    Users::new([user], None).login("u", b"guest", loopback).unwrap()
}

fn enter(c: &mut Cluster, vhost: &str) -> Client {
    c.connect_in(ShardId(0), &somebody(), vhost).unwrap()
}

fn persistent<'a>(exchange: &'a str, key: &'a str, body: &'a str) -> Publish<'a> {
    let usual = publish(exchange, key, body);
    Publish { traits: Traits { persistent: true, ..usual.traits }, ..usual }
}

/// The same things, some in segments, in a virtual host.
fn furnish(c: &mut Cluster, vhost: &str) {
    let client = enter(c, vhost);
    c.done(client, durable(exchange("x", "topic", &[])));
    let kind = ("x-delayed-type", Value::text("topic"));
    c.done(client, durable(exchange("later", "x-delayed-message", &[kind])));
    c.done(client, link("x", "amq.fanout", "#"));
    c.done(client, link("amq.topic", "amq.fanout", "k"));
    let filling = "x".repeat(900);
    for n in 0..QUEUES {
        let name = format!("q{n}");
        c.done(client, durable(queue(&name, &[])));
        for exchange in ["x", "amq.fanout", "later"] {
            c.done(client, bind(&name, exchange, "#"));
        }
    }
    for _ in 0..8 {
        c.send(client, &persistent("x", "k", &filling)).unwrap();
    }
    let delayed = Publish { properties: b"x-delay=100", ..persistent("later", "k", "delayed") };
    c.send(client, &delayed).unwrap();
    let kept = message("t/r", "r", None);
    let traits = Traits { persistent: true, ..kept.traits };
    c.retain_as(client, &Publish { traits, ..kept });
    leave_session(c, vhost);
    c.drop_connection(client);
    c.pass(60);
}

/// A session that lasts, with a subscription and a will that waits.
fn leave_session(c: &mut Cluster, vhost: &str) {
    let open = session("s", Lasts::Forever);
    let home = c.brokers[0].session_home(vhost, &open.queue).unwrap();
    let client = c.connect_in(home, &somebody(), vhost).unwrap();
    c.start(client, ZERO, Command::OpenSession(Box::new(open)));
    assert!(matches!(c.finish(client, ZERO), Answer::SessionOpened(_)));
    c.set_will(client, Some(&will("last words", 100)));
    c.subscribe(client, "#", LEAST);
    c.vanish(client);
}

/// False: the process has ended before that.
fn wait_for(c: &mut Cluster, shard: usize, end: Option<Outside>) -> bool {
    let Some(end) = end else { return true };
    c.touch(shard);
    c.pass(60);
    if c.is_cut() {
        return false;
    }
    assert_eq!(c.brokers[shard].take_outside(), [end]);
    true
}

/// As the control thread does it. False: the process has ended in the middle.
fn delete(c: &mut Cluster) -> bool {
    let now = c.now;
    for shard in 0..c.brokers.len() {
        c.brokers[shard].close_vhost(GOING);
        c.touch(shard);
    }
    for shard in 0..c.brokers.len() {
        for round in 0.. {
            assert!(round < 100, "it is never empty");
            let (found, end) = c.brokers[shard].empty_vhost(GOING, now);
            if !wait_for(c, shard, end) {
                return false;
            }
            if found == 0 {
                break;
            }
        }
    }
    let end = c.brokers[0].bare_vhost(GOING);
    if !wait_for(c, 0, end) {
        return false;
    }
    for shard in 0..c.brokers.len() {
        c.brokers[shard].forget_vhost(GOING);
        c.touch(shard);
    }
    c.rest();
    !c.is_cut()
}

fn has(c: &mut Cluster, client: Client, name: &str) -> bool {
    let mut look = queue(name, &[]);
    if let Command::DeclareQueue { passive, .. } = &mut look {
        *passive = true;
    }
    !matches!(c.execute(client, look), Answer::Refused(_))
}

/// Nothing of the old one is in the new one, now and after its delays are over.
fn is_new(c: &mut Cluster) {
    let client = enter(c, GOING);
    for n in 0..QUEUES {
        assert!(!has(c, client, &format!("q{n}")), "q{n} is there again");
    }
    assert!(!has(c, client, "session-s"), "the session is there again");
    for name in ["x", "later"] {
        let refused = c.refused(client, bind("nobody", name, "k"));
        assert!(format!("{refused:?}").contains("NotFound"), "{refused:?}");
    }
    // Of the same names, where bindings and messages of the old ones would be found.
    c.done(client, durable(queue("q0", &[])));
    assert_eq!(c.ready(client, "q0"), 0);
    for (exchange, key) in [("amq.fanout", ""), ("amq.topic", "k")] {
        assert_eq!(c.offer(client, exchange, key, "m"), Fate::Returned, "{exchange}");
    }
    c.done(client, durable(queue("wills", &[])));
    c.done(client, bind("wills", FILTERS, "#"));
    assert!(c.read(client, "#").is_empty(), "a retained message is there again");
    c.pass(1_000);
    assert_eq!(c.drain(client, "wills"), [""; 0], "a will of the old one");
    assert_eq!(c.drain(client, "q0"), [""; 0], "a delayed message of the old one");
    for name in ["q0", "wills"] {
        c.done(client, delete_queue(name));
    }
    c.drop_connection(client);
}

/// What others have is as it was.
fn others_have_theirs(c: &mut Cluster) {
    c.pass(1_000);
    let client = enter(c, "/");
    for n in 0..QUEUES {
        assert!(c.ready(client, &format!("q{n}")) >= 9, "q{n} has lost something");
    }
    assert_eq!(c.read(client, "t/#").len(), 1);
    assert!(has(c, client, "session-s"));
    c.drop_connection(client);
}

fn boot(disk: &SimDisk, seed: u64, now: Now) -> Cluster {
    let mut rng = Rng::new(seed);
    let shards = u16::try_from(1 + rng.below(3)).unwrap();
    let shape = Shape { shards, apart: false, seed: rng.next(), memory_bytes_max: u64::MAX };
    start(shape, disk, (SIZES, 0), now).unwrap().cluster
}

/// Whether the deletion was over before the cut.
fn delete_and_cut(seed: u64, cut: u64) -> bool {
    let _told = Told(seed, cut);
    let mut disk = SimDisk::new(seed, Faults::none());
    let now = Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 };
    let mut c = boot(&disk, seed, now);
    furnish(&mut c, "/");
    furnish(&mut c, GOING);
    assert!(c.settle_down());
    disk.crash_at(cut);
    let is_over = delete(&mut c);
    if is_over {
        // Its name is free at once.
        disk.crash_at(u64::MAX);
        let end = c.brokers[0].make_vhost(GOING);
        assert!(wait_for(&mut c, 0, end));
    }
    let now = c.now;
    if cut.is_multiple_of(3) {
        disk.kill();
    } else {
        disk.crash();
    }
    let mut c = boot(&disk, seed + cut, now);
    if !is_over {
        // The control thread knows that it is to go.
        assert!(delete(&mut c));
        let end = c.brokers[0].make_vhost(GOING);
        assert!(wait_for(&mut c, 0, end));
    }
    is_new(&mut c);
    others_have_theirs(&mut c);
    // And after another start.
    let now = c.now;
    disk.crash();
    let mut c = boot(&disk, seed + 1, now);
    is_new(&mut c);
    others_have_theirs(&mut c);
    is_over
}

#[test]
fn a_virtual_host_whose_deletion_is_cut_anywhere_goes_with_all_that_is_in_it() {
    for seed in 1..=3 {
        let over = (1..CUTS_MAX).find(|cut| delete_and_cut(seed, *cut));
        eprintln!("with seed {seed} a deletion takes {over:?} operations");
        assert!(over.is_some(), "it is never over");
    }
}
