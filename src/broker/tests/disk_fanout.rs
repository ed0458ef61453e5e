//! What many queues have, after a restart: a message that went to all of them is in memory once, as it
//! was before, and a stop does not wait until all of it lies where it is to stay. May import what
//! `disk` may.

use ringmq_shards::log::ids::BOOT_SHIFT;
use ringmq_shards::sim::{Faults, SimDisk};

use super::client::*;
use super::cluster::{Cluster, Shape};
use super::disk_machine::start;
use crate::broker::Sizes;
use crate::broker::queue::store::{Position, Read};
use crate::command::{Now, Publish};
use crate::ids::QueueId;
use crate::message::{Message, Traits};

const MESSAGES: usize = 10;

/// All of it stays in the log and in memory.
const SIZES: Sizes = Sizes {
    log_file_bytes: 4 << 20,
    log_bytes_max: 16 << 20,
    segment_bytes: 1 << 20,
    queue_memory_max: 1 << 20,
};

/// Every message in every queue.
fn held(c: &mut Cluster) -> Vec<Message> {
    let queues = &mut c.brokers[0].queues;
    let ids: Vec<QueueId> = queues.iter().map(|(id, _)| id).collect();
    // The first boot has given their positions.
    let places = (0..MESSAGES as u64).map(|at| Position::new((1 << BOOT_SHIFT) + at));
    let mut held = Vec::new();
    for id in ids {
        let store = queues.get_mut(id).unwrap().queue.store_mut();
        held.extend(places.clone().filter_map(|at| match store.read(at) {
            Read::Here(kept) => Some(kept.message),
            Read::Later | Read::Gone => None,
        }));
    }
    held
}

/// A node whose queues all have all messages.
fn filled(disk: &SimDisk, queues: usize) -> Cluster {
    let now = Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 };
    let mut c = start(shape(), disk, (SIZES, 0), now).unwrap().cluster;
    let client = c.connect(0);
    c.done(client, durable(exchange("fan", "fanout", &[])));
    for number in 0..queues {
        let name = format!("q{number}");
        c.done(client, durable(queue(&name, &[])));
        c.done(client, bind(&name, "fan", ""));
    }
    for number in 0..MESSAGES {
        let body = format!("{number:01000}");
        let usual = publish("fan", "", &body);
        let traits = Traits { persistent: true, ..usual.traits };
        c.send(client, &Publish { traits, ..usual }).unwrap();
    }
    assert!(c.settle_down());
    c
}

fn shape() -> Shape {
    Shape { shards: 1, apart: false, seed: 7, memory_bytes_max: u64::MAX }
}

/// Records that the log has been given.
fn logged(c: &Cluster) -> u64 {
    c.brokers[0].storage.as_ref().unwrap().last_record().0
}

#[test]
fn a_message_of_many_queues_is_in_memory_once_after_a_restart() {
    let mut disk = SimDisk::new(7, Faults::none());
    const QUEUES: usize = 40;
    let mut c = filled(&disk, QUEUES);
    for restarts in 0..3 {
        let all = held(&mut c);
        assert_eq!(all.len(), QUEUES * MESSAGES, "after {restarts} restarts");
        let mut distinct: Vec<Message> = Vec::new();
        for message in all {
            if !distinct.iter().any(|known| known.is_same(&message)) {
                distinct.push(message);
            }
        }
        // The queue whose record has the octets has them apart.
        let most = if restarts == 0 { MESSAGES } else { 2 * MESSAGES };
        assert!(distinct.len() <= most, "{} after {restarts} restarts", distinct.len());
        disk.crash();
        c = start(shape(), &disk, (SIZES, 0), c.now).unwrap().cluster;
    }
}

#[test]
fn a_stop_right_after_a_start_moves_nothing_first() {
    // More than move in one turn.
    const QUEUES: usize = 1_000;
    let mut disk = SimDisk::new(7, Faults::none());
    let c = filled(&disk, QUEUES);
    disk.crash();
    let mut c = start(shape(), &disk, (SIZES, 0), c.now).unwrap().cluster;
    c.brokers[0].close_storage();
    let before = logged(&c);
    c.rest();
    assert!(c.brokers[0].is_stored());
    let records = logged(&c) - before;
    assert!(records < 2 * QUEUES as u64, "{records} records for {QUEUES} queues");
    disk.crash();
    let mut c = start(shape(), &disk, (SIZES, 0), c.now).unwrap().cluster;
    assert!(c.settle_down());
    assert_eq!(held(&mut c).len(), QUEUES * MESSAGES);
}
