//! A wall clock that jumps: nothing goes early and nothing lives for ever, in a process and from one to
//! the next (abuse row 116). May import what `disk` may.

use ringmq_shards::sim::{Faults, SimDisk};

use super::client::*;
use super::cluster::{Cluster, Shape, Told};
use super::disk_machine::start;
use super::subscriber::*;
use super::wills::will;
use crate::broker::Sizes;
use crate::command::{Now, Publish};
use crate::ids::{PublishSeq, VhostId};
use crate::message::Traits;
use crate::subscriber::Lasts;
use crate::value::Value;

const SIZES: Sizes = Sizes {
    log_file_bytes: 64 << 10,
    log_bytes_max: 256 << 10,
    segment_bytes: 16 << 10,
    queue_memory_max: 4 << 10,
};

const DAY_MS: u64 = 86_400_000;
/// How long everything lives, or waits.
const LIFE_MS: u64 = 60_000;

/// Far enough from the beginning for days to be taken off.
const NOW: Now = Now { mono_ms: 1_700_000_000_000, wall_ms: 1_700_000_000_000 };

fn shapes() -> impl Iterator<Item = Shape> {
    [(1, false), (3, false), (3, true)].into_iter().map(|(shards, apart)| Shape {
        shards,
        apart,
        seed: 3,
        memory_bytes_max: u64::MAX,
    })
}

fn boot(shape: Shape, disk: &SimDisk, now: Now) -> Cluster {
    let mut c = start(shape, disk, (SIZES, 0), now).unwrap().cluster;
    c.pass(0);
    c
}

fn lasting(publish: Publish<'_>, expiration_ms: Option<u64>) -> Publish<'_> {
    let traits = Traits { persistent: true, expiration_ms, ..publish.traits };
    Publish { traits, seq: Some(PublishSeq(1)), ..publish }
}

/// One of everything that time ends or begins. Many messages are in segments.
fn furnish(c: &mut Cluster) {
    let life = Value::I64(i64::try_from(LIFE_MS).unwrap());
    let client = c.connect(0);
    c.done(client, durable(queue("of-queue", &[("x-message-ttl", life.clone())])));
    c.done(client, durable(queue("of-message", &[])));
    c.done(client, durable(queue("unused", &[("x-expires", life)])));
    c.done(client, durable(queue("due", &[])));
    let kind = ("x-delayed-type", Value::text("fanout"));
    c.done(client, durable(exchange("later", "x-delayed-message", &[kind])));
    c.done(client, bind("due", "later", ""));
    let filling = "x".repeat(900);
    for _ in 0..20 {
        c.send(client, &lasting(publish("", "of-queue", &filling), None)).unwrap();
        c.send(client, &lasting(publish("", "of-message", &filling), Some(LIFE_MS))).unwrap();
    }
    let delay = format!("x-delay={LIFE_MS}");
    let delayed = Publish { properties: delay.as_bytes(), ..publish("later", "", "delayed") };
    c.send(client, &lasting(delayed, None)).unwrap();
    c.retain_as(client, &lasting(super::retained::message("t/r", "r", None), Some(LIFE_MS)));
    let (sleeper, _) = c.open(&session("s", Lasts::Ms(LIFE_MS)));
    let (mourned, _) = c.open(&session("w", Lasts::Ms(10 * DAY_MS)));
    c.set_will(mourned, Some(&will("last words", LIFE_MS)));
    c.done(client, durable(queue("wills", &[])));
    c.done(client, bind("wills", crate::subscriber::FILTERS, super::wills::TOPIC));
    c.vanish(sleeper);
    c.vanish(mourned);
    c.drop_connection(client);
    c.pass(1_000);
}

/// What has not gone, and what has not come, by name.
fn still(c: &mut Cluster) -> Vec<&'static str> {
    let client = c.connect(0);
    let mut found = Vec::new();
    for name in ["of-queue", "of-message"] {
        if c.ready(client, name) > 0 {
            found.push(name);
        }
    }
    // To ask for it would be a use.
    if c.brokers.iter().any(|broker| broker.vhosts[0].queues.contains_key("unused")) {
        found.push("unused");
    }
    if c.ready(client, "due") == 0 {
        found.push("due");
    }
    if c.ready(client, "wills") == 0 {
        found.push("will");
    }
    if !c.read(client, "t/#").is_empty() {
        found.push("retained");
    }
    if c.brokers.iter().any(|broker| broker.has_session(VhostId(0), "session-s")) {
        found.push("session");
    }
    c.drop_connection(client);
    found
}

const ALL: [&str; 7] = ["of-queue", "of-message", "unused", "due", "will", "retained", "session"];

/// Abuse row 116
#[test]
fn a_jump_of_the_wall_clock_makes_nothing_go_early_or_late() {
    for shape in shapes() {
        for forward in [true, false] {
            let _told = Told(shape);
            let mut c = boot(shape, &SimDisk::new(1, Faults::none()), NOW);
            furnish(&mut c);
            c.now.wall_ms = if forward { NOW.wall_ms + DAY_MS } else { NOW.wall_ms - DAY_MS };
            c.pass(LIFE_MS - 5_000);
            assert_eq!(still(&mut c), ALL, "forward: {forward}");
            c.pass(5_000);
            assert_eq!(still(&mut c), [""; 0], "forward: {forward}");
        }
    }
}

/// Abuse row 116: nobody knows how long the next process was not there, but nothing that it finds came
/// later than now.
#[test]
fn a_wall_clock_that_went_back_before_the_next_start_lets_nothing_live_longer_than_it_may() {
    for shape in shapes() {
        for in_order in [true, false] {
            let _told = Told(shape);
            let mut disk = SimDisk::new(1, Faults::none());
            let mut c = boot(shape, &disk, NOW);
            furnish(&mut c);
            if in_order {
                assert!(c.stop());
                disk.kill();
            } else {
                disk.crash();
            }
            let back = c.now.mono_ms - DAY_MS;
            let mut c = boot(shape, &disk, Now { mono_ms: back, wall_ms: back });
            c.pass(LIFE_MS / 2);
            assert_eq!(still(&mut c), ALL, "in order: {in_order}");
            c.pass(LIFE_MS / 2 + 1_000);
            assert_eq!(still(&mut c), [""; 0], "in order: {in_order}");
        }
    }
}
