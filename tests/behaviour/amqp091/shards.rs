//! Several shards: connections are spread, lanes are bounded, nobody waits for a flood.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use ringmq::protocol::amqp091::wire::frame;
use ringmq::protocol::amqp091::wire::properties::NO_PROPERTIES;

use crate::support::client::GLANCE;
use crate::support::methods::publish;
use crate::support::setup::{Setup, Stage};
use crate::support::{Broker, Client};

use super::bounds_gauge::{MIB, Watch, client, number_of, numbered};

on_every_setup!(
    a_flood_does_not_keep_others_waiting,
    a_flood_to_a_slow_consumer_takes_bounded_memory,
);

/// A publisher that sends messages of this size until it is told to stop, and counts them.
struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: thread::JoinHandle<Client>,
}

impl Flood {
    fn begin(broker: &Broker, queue: &str, bytes: usize, count_max: u64) -> Self {
        let mut publisher = client(broker.addr());
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted, queue) = (stop.clone(), sent.clone(), queue.to_owned());
        let thread = thread::spawn(move || {
            let mut number = 0;
            while number < count_max && !stopped.load(Ordering::Relaxed) {
                let mut batch = Vec::new();
                for _ in 0..64 {
                    let body = numbered(number, bytes);
                    let method = publish("", &queue);
                    let frame_max = publisher.frame_max;
                    frame::put_content(&mut batch, 1, &method, &NO_PROPERTIES, &body, frame_max);
                    number += 1;
                }
                let mut rest = &batch[..];
                while !rest.is_empty() && !stopped.load(Ordering::Relaxed) {
                    rest = &rest[publisher.send_some(rest, GLANCE)..];
                }
                counted.store(number, Ordering::Relaxed);
            }
            publisher
        });
        Self { stop, sent, thread }
    }

    fn end(self) -> (Client, u64) {
        self.stop.store(true, Ordering::Relaxed);
        let publisher = self.thread.join().expect("a publisher that ends");
        (publisher, self.sent.load(Ordering::Relaxed))
    }
}

/// Counted, not timed: the ping-pong ends while the flood goes on.
fn a_flood_does_not_keep_others_waiting(stage: &Stage) {
    const ROUNDS: u64 = 50;
    let broker = stage.setup.own("");
    let mut owner = client(broker.addr());
    owner.declare_with(
        1,
        &ringmq::protocol::amqp091::wire::method::queue::Declare {
            arguments: crate::support::methods::arguments(&[(
                "x-max-length",
                ringmq::value::Value::I32(1000),
            )])
            .view(),
            ..crate::support::methods::declare("flooded")
        },
    );
    let mut floods: Vec<Flood> = Vec::new();
    floods.extend((0..2).map(|_| Flood::begin(&broker, "flooded", 100, u64::MAX)));
    let mut calm = client(broker.addr());
    calm.declare_exclusive(1, "calm");
    calm.consume(1, "calm");
    for number in 0..ROUNDS {
        calm.publish(1, "", "calm", &numbered(number, 8));
        let delivery = calm.expect_delivery(1);
        assert_eq!(number_of(&delivery.body), number);
        calm.ack(1, delivery.delivery_tag, false);
    }
    let sent: u64 = floods.into_iter().map(|flood| flood.end().1).sum();
    println!("{ROUNDS} rounds while {sent} messages were sent");
    calm.close();
    owner.close();
    broker.terminate();
}

/// What the lanes and windows hold is bounded, and so is what the queue holds in memory: the rest
/// of it lies on the disk, for which its publisher waits.
fn a_flood_to_a_slow_consumer_takes_bounded_memory(stage: &Stage) {
    const COUNT: u64 = 40_000;
    const WATERMARK_BYTES: u64 = 8 * MIB;
    /// Besides the messages that are counted. Measured: 18 to 30 MiB
    /// together with those.
    const FIXED_BYTES: u64 = 48 * MIB;
    let broker = stage.setup.own(&format!("max_memory = {WATERMARK_BYTES}"));
    let mut owner = client(broker.addr());
    owner.declare(1, "q");
    let mut consumer = client(broker.addr());
    consumer.prefetch(1, 10);
    let watch = Watch::begin(&broker);
    consumer.consume(1, "q");
    let flood = Flood::begin(&broker, "q", 1000, COUNT);
    for number in 0..100 {
        let delivery = consumer.expect_delivery(1);
        assert_eq!(number_of(&delivery.body), number);
        thread::sleep(GLANCE / 100);
        consumer.ack(1, delivery.delivery_tag, false);
    }
    // From here on as fast as it can: all of it comes, in order.
    for number in 100..COUNT {
        let delivery = consumer.expect_delivery(1);
        assert_eq!(number_of(&delivery.body), number);
        consumer.ack(1, delivery.delivery_tag, false);
    }
    let (own, of_files) = watch.end();
    println!("memory grew by {} KiB at most, {} KiB of files", own / 1024, of_files / 1024);
    assert!(own < WATERMARK_BYTES + FIXED_BYTES, "memory grew by {own} octets");
    assert_eq!(flood.end().1, COUNT);
    drop(consumer);
    owner.close();
    broker.terminate();
}

/// Connections are spread: a queue without a name lies on the shard of its connection, and tells
/// by its name which that is only to the broker; so this looks at the threads.
#[test]
fn connections_are_spread_over_the_shards() {
    const CONNECTIONS: usize = 40;
    let broker = Setup::TwoShards.own("");
    let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| client(broker.addr())).collect();
    let before = time_of_shards(&broker);
    assert_eq!(before.len(), 2, "two threads of shards");
    // The same work for every connection.
    for client in &mut clients {
        let name = "";
        client.send(1, &crate::support::methods::declare(name));
        let (queue, _) = client.expect_declared(1);
        for _ in 0..400 {
            client.publish(1, "", &queue, &[0; 100]);
        }
        client.confirm_select(1);
        client.publish(1, "", &queue, &[0; 100]);
        client.expect_confirms(1, 1, 1);
    }
    let after = time_of_shards(&broker);
    let did: Vec<u64> = after.iter().zip(&before).map(|(a, b)| a - b).collect();
    let (least, most) = (did.iter().min().expect("two"), did.iter().max().expect("two"));
    assert!(*least * 3 >= *most, "the work of the shards: {did:?} ns");
    drop(clients);
    broker.terminate();
}

/// Processor time of each shard's thread, in nanoseconds.
fn time_of_shards(broker: &Broker) -> Vec<u64> {
    let threads = std::fs::read_dir(format!("/proc/{}/task", broker.pid())).expect("threads");
    let mut times = std::collections::BTreeMap::new();
    for thread in threads.flatten() {
        let read = |file| std::fs::read_to_string(thread.path().join(file)).unwrap_or_default();
        // Helpers of a shard's executor bear its name as well; they do nothing.
        let name = read("comm");
        let Some(Ok(shard)) = name.trim().strip_prefix("ringmq-").map(str::parse::<u16>) else {
            continue;
        };
        let time = read("schedstat").split(' ').next().and_then(|t| t.parse::<u64>().ok());
        *times.entry(shard).or_default() += time.unwrap_or_default();
    }
    times.into_values().collect()
}
