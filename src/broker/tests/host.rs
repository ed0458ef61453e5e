//! What a host does to a node: a disk that does not answer, a process that stands still, a queue that
//! could keep a core to itself. May import what `disk` may.

use ringmq_shards::sim::{Faults, SimDisk};

use super::client::*;
use super::cluster::{Cluster, Shape, identity, on_node};
use super::disk_machine::start;
use crate::broker::Sizes;
use crate::command::{Command, Consume, Event, Now, Publish, Published};
use crate::ids::{ConsumerKey, PublishSeq, ShardId};
use crate::message::Traits;
use crate::value::Table;

const SIZES: Sizes = Sizes {
    log_file_bytes: 64 << 10,
    log_bytes_max: 256 << 10,
    segment_bytes: 16 << 10,
    queue_memory_max: 4 << 10,
};

const NOW: Now = Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 };

fn node(seed: u64) -> Cluster {
    let shape = Shape { shards: 3, apart: false, seed, memory_bytes_max: u64::MAX };
    let disk = SimDisk::new(seed, Faults::none());
    let mut c = start(shape, &disk, (SIZES, 0), NOW).unwrap().cluster;
    c.pass(1_000);
    c
}

/// Publishes what has to be stored, and tells whether that is confirmed by now.
fn send(c: &mut Cluster, client: Client, queue: &str, seq: u64) {
    let usual = publish("", queue, "m");
    let traits = Traits { persistent: true, ..usual.traits };
    let message = Publish { traits, seq: Some(PublishSeq(seq)), ..usual };
    assert_eq!(c.send(client, &message).unwrap(), Published::Pending);
}

fn confirmed(c: &Cluster, client: Client) -> Vec<u64> {
    let stored = |event: &Event| match event {
        Event::Stored { seq, accepted: true, .. } => Some(seq.0),
        _ => None,
    };
    c.events(client).iter().filter_map(stored).collect()
}

/// A node whose second shard has a disk that does nothing, a publisher, and a queue on each shard.
fn stalled(seed: u64) -> (Cluster, Client, Vec<String>) {
    let mut c = node(seed);
    let client = c.connect_at(ShardId(0), &identity(".*", ".*", ".*"));
    let names: Vec<String> = (0..3).map(|shard| c.queue_on(shard)).collect();
    for name in &names {
        c.done(client, durable(queue(name, &[])));
    }
    c.pass(1_000);
    c.machine.as_mut().unwrap().stuck = Some(1);
    (c, client, names)
}

/// Abuse row 118
#[test]
fn a_disk_that_does_not_answer_holds_up_only_those_who_wait_for_it() {
    for seed in 1..=5 {
        let (mut c, client, names) = stalled(seed);
        for (seq, name) in (1..).zip(&names) {
            send(&mut c, client, name, seq);
        }
        for second in 1..=25 {
            c.pass(1_000);
            assert!(!c.has_failed(), "after {second} s");
            let stalls: Vec<bool> = c.brokers.iter().map(|b| b.disk_stalls()).collect();
            assert_eq!(stalls, [false, second > 5, false], "after {second} s");
            // Every second another one: they are confirmed at once.
            send(&mut c, client, &names[0], 100 + second);
        }
        c.rest();
        let mut expected = vec![1, 3];
        expected.extend(101..=125);
        let mut heard = confirmed(&c, client);
        heard.sort_unstable();
        assert_eq!(heard, expected, "the one whose disk stalls waits");
        // Messages that nobody stores pass the shard as ever.
        assert_eq!(c.offer(client, "", &names[1], "light"), Fate::Stored);
        c.machine.as_mut().unwrap().stuck = None;
        c.rest();
        assert!(confirmed(&c, client).contains(&2));
        assert!(!c.brokers[1].disk_stalls() && !c.has_failed());
    }
}

/// Abuse row 118, reliability.md 2.6
#[test]
fn a_disk_that_never_answers_is_a_failure_in_the_end() {
    let (mut c, client, names) = stalled(1);
    send(&mut c, client, &names[1], 1);
    for _ in 0..40 {
        c.pass(1_000);
    }
    assert!(c.has_failed());
    assert_eq!(confirmed(&c, client), [0; 0], "what is not stored is never confirmed");
}

/// Abuse row 117: the commit under way when the process was stopped has not had that time.
#[test]
fn a_process_that_stood_still_does_not_take_its_disk_for_a_failed_one() {
    for seed in 1..=5 {
        let (mut c, client, names) = stalled(seed);
        send(&mut c, client, &names[1], 1);
        c.pass(1_000);
        c.pass(60_000);
        assert!(!c.has_failed());
        c.pass(86_400_000);
        assert!(!c.has_failed());
        c.machine.as_mut().unwrap().stuck = None;
        c.rest();
        assert_eq!(confirmed(&c, client), [1]);
    }
}

/// Abuse row 121: counted in turns, between which a shard reads and writes its sockets.
#[test]
fn a_queue_with_many_fast_consumers_leaves_every_turn_to_others_too() {
    const CONSUMERS: usize = 100;
    const MESSAGES: usize = 60_000;
    /// Passes of a turn, deliveries of a pass, and one pass that was begun.
    const MOST: usize = 33 * 256;
    let shape = Shape { shards: 1, apart: false, seed: 1, memory_bytes_max: u64::MAX };
    on_node(shape, |c| {
        let publisher = c.connect(0);
        c.done(publisher, queue("hot", &[]));
        c.done(publisher, queue("cold", &[]));
        let bodies = vec![String::new(); MESSAGES];
        c.send_all(publisher, "", "hot", &bodies);
        let cold = c.connect(0);
        c.consume(cold, "cold", 0);
        let hot: Vec<Client> = (0..CONSUMERS).map(|_| c.connect(0)).collect();
        c.rest();
        // They ask all in one turn, and take whatever comes.
        for client in &hot {
            let consume = Consume {
                queue: "hot".into(),
                key: ConsumerKey(1),
                tag: "tag".into(),
                prefetch: 0,
                no_settle: true,
                exclusive: false,
                arguments: Table::default(),
            };
            c.start(*client, ONE, Command::Consume(Box::new(consume)));
        }
        c.send(publisher, &publish("", "cold", "m")).unwrap();
        let had = |c: &Cluster, client: Client| {
            c.events(client).iter().filter(|e| matches!(e, Event::Delivery(_))).count()
        };
        let (mut before, mut turns) = (0, 0);
        loop {
            c.end_turn(0);
            turns += 1;
            let all: usize = hot.iter().map(|client| had(c, *client)).sum();
            assert!(all - before <= MOST, "{} deliveries in a turn", all - before);
            assert_eq!(had(c, cold), 1, "it waits for nobody");
            if all == MESSAGES || turns > 1_000 {
                assert_eq!(all, MESSAGES);
                break;
            }
            before = all;
        }
        assert!(turns >= MESSAGES / MOST, "{turns} turns");
        eprintln!("{MESSAGES} messages in {turns} turns");
    });
}
