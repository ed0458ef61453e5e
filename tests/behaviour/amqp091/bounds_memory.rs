//! The watermark of memory: above it messages go to the disk, publishers wait no longer than that
//! takes, consumers not at all, nothing is lost (R47, S73).
//!
//! What cannot go to the disk are the few messages of each of many queues (a segment is not worth
//! it): so these tests hold publishers back for as long as they like.

use ringmq::protocol::amqp091::wire::method::queue::Declare;
use ringmq::protocol::amqp091::wire::method::{Basic, Connection, Method};

use crate::support::broker::Options;
use crate::support::methods::declare;
use crate::support::setup::Stage;
use crate::support::{Broker, Client, Login, properties};

use super::bounds_gauge::{
    MIB, Watch, client, descriptors, fill_with, memory_bytes, number_of, numbered, wait_until,
};

on_every_setup!(
    a_backlog_of_persistent_messages_waits_on_the_disk,
    a_backlog_of_transient_messages_waits_on_the_disk,
    publishers_wait_at_the_watermark_and_go_on_when_consumers_have_caught_up,
);

/// With this many publishers are held back soon; a backlog is many times as much.
const WATERMARK: &str = "max_memory = 8M";

/// A client that is not told when it is held back.
fn quiet_client(broker: &Broker) -> Client {
    let mut client = Client::connect(broker.addr());
    client.log_in(&Login { capabilities: &["publisher_confirms"], ..Login::default() });
    client.open_channel(1);
    client
}

/// A queue that holds many times what memory may: all of it is taken without a consumer, memory
/// stays bounded, everything comes back in order.
fn a_backlog_waits_on_the_disk(stage: &Stage, durable: bool) {
    const BYTES: usize = 64 * 1024;
    const COUNT: u64 = 2 * 1024;
    // What a broker takes besides the messages that it counts: the log's buffers, the segment
    // that is being written, sockets. Measured: 46 to 84 MiB for persistent messages, 20 to 38 for
    // transient ones, for a backlog of 96 MiB as for one of 320 MiB.
    let fixed_mib = if durable { 104 } else { 64 };
    let broker = stage.setup.own(WATERMARK);
    let mut owner = client(broker.addr());
    owner.declare_with(1, &Declare { durable, ..declare("q") });
    let watch = Watch::begin(&broker);
    let mut publisher = quiet_client(&broker);
    let block = properties(|p| p.delivery_mode = Some(if durable { 2 } else { 1 }));
    fill_with(&mut publisher, "q", &block, COUNT, BYTES);
    assert_eq!(owner.counts(1, "q").0, u32::try_from(COUNT).expect("a few"));
    let (own, of_files) = watch.end();
    println!("filling took {} MiB, and {} MiB of files", own / MIB, of_files / MIB);
    assert!(own < (8 + fixed_mib) * MIB, "memory grew by {own} octets");
    let watch = Watch::begin(&broker);
    let mut consumer = client(broker.addr());
    consumer.prefetch(1, 100);
    consumer.consume(1, "q");
    for number in 0..COUNT {
        let delivery = consumer.expect_delivery(1);
        assert_eq!(number_of(&delivery.body), number);
        assert_eq!(delivery.body.len(), BYTES);
        consumer.ack(1, delivery.delivery_tag, false);
    }
    consumer.expect_silence();
    let (own, of_files) = watch.end();
    println!("emptying took {} MiB, and {} MiB of files", own / MIB, of_files / MIB);
    assert!(own < fixed_mib * MIB, "memory grew by {own} octets");
    for client in [publisher, consumer, owner] {
        client.close();
    }
    broker.terminate();
}

fn a_backlog_of_persistent_messages_waits_on_the_disk(stage: &Stage) {
    a_backlog_waits_on_the_disk(stage, true);
}

fn a_backlog_of_transient_messages_waits_on_the_disk(stage: &Stage) {
    a_backlog_waits_on_the_disk(stage, false);
}

/// So many queues, each with so many messages of this size at most: too few for a segment.
const QUEUES: u64 = 400;
const MESSAGES_EACH: u64 = 3;
const BYTES: usize = 16 * 1024;

fn little(number: u64) -> String {
    format!("little-{}", number % QUEUES)
}

/// A publisher that is held back by messages in many queues; how many these are. One more is on
/// its way.
fn hold(owner: &mut Client, publisher: &mut Client) -> u64 {
    for number in 0..QUEUES {
        owner.declare(1, &little(number));
    }
    publisher.confirm_select(1);
    for number in 0..QUEUES * MESSAGES_EACH {
        publisher.publish(1, "", &little(number), &numbered(number, BYTES));
        let received = publisher.next("a confirm, or connection.blocked");
        match received.method() {
            Some(Method::Basic(Basic::Ack(ack))) => assert_eq!(ack.delivery_tag, number + 1),
            Some(Method::Connection(Connection::Blocked(blocked))) => {
                assert_eq!(blocked.reason, "low on memory");
                return number;
            }
            _ => panic!("unexpected: {}", received.describe()),
        }
    }
    panic!("{QUEUES} queues with {MESSAGES_EACH} messages of {BYTES} octets were taken");
}

/// All that is in the queues, each in order; whoever is held back goes on.
fn empty(client: &mut Client, count: u64) {
    let mut next: Vec<u64> = (0..QUEUES).collect();
    for number in 0..count {
        let queue = little(number);
        let place = usize::try_from(number % QUEUES).expect("a few");
        let got = client.get_when_there(1, &queue);
        assert_eq!(number_of(&got.body), next[place], "in {queue}");
        next[place] += QUEUES;
    }
}

/// S58, S73
fn publishers_wait_at_the_watermark_and_go_on_when_consumers_have_caught_up(stage: &Stage) {
    let broker = stage.setup.own(WATERMARK);
    let (mut owner, mut publisher) = (client(broker.addr()), client(broker.addr()));
    let base = memory_bytes(&broker);
    let count = hold(&mut owner, &mut publisher);
    let grown = memory_bytes(&broker).saturating_sub(base);
    println!("held at {count} messages, memory grew by {} MiB", grown / MIB);
    assert!(grown < (8 + 32) * MIB, "memory grew by {grown} octets");
    publisher.expect_silence();
    // One that does not understand connection.blocked waits as well, and is not told.
    let mut plain = quiet_client(&broker);
    plain.confirm_select(1);
    plain.publish(1, "", "little-0", b"plain");
    plain.expect_silence();

    empty(&mut owner, count);
    // The message that was held, then the word, or the other way round.
    let (mut confirmed, mut unblocked) = (false, false);
    while !(confirmed && unblocked) {
        let received = publisher.next("a confirm and connection.unblocked");
        match received.method() {
            Some(Method::Basic(Basic::Ack(ack))) => {
                assert_eq!(ack.delivery_tag, count + 1);
                confirmed = true;
            }
            Some(Method::Connection(Connection::Unblocked)) => unblocked = true,
            _ => panic!("unexpected: {}", received.describe()),
        }
    }
    plain.expect_confirms(1, 1, 1);
    assert_eq!(number_of(&owner.get_when_there(1, &little(count)).body), count);
    for client in [publisher, plain, owner] {
        client.close();
    }
    broker.terminate();
}

/// S58: while publishers wait, everybody else is served: declarations, gets, other connections' acks.
#[test]
fn those_who_do_not_publish_notice_nothing_of_the_watermark() {
    let broker = Broker::with(Options { config: WATERMARK, ..Options::default() });
    let (mut other, mut publisher) = (client(broker.addr()), client(broker.addr()));
    let count = hold(&mut other, &mut publisher);
    let mut newcomer = client(broker.addr());
    newcomer.declare_exclusive(1, "mine");
    assert_eq!(newcomer.counts(1, "mine"), (0, 0));
    assert_eq!(number_of(&newcomer.get_when_there(1, &little(0)).body), 0);
    other.consume(1, &little(1));
    let delivery = other.expect_delivery(1);
    assert_eq!(number_of(&delivery.body), 1);
    other.ack(1, delivery.delivery_tag, false);
    assert_eq!(newcomer.purge(1, &little(2)), count_of(count, 2));
    newcomer.delete(1, &little(3));
    publisher.expect_silence();
    newcomer.close();
    // The publisher goes without a word: what it had sent whole stays published, and the broker
    // ends in time with everybody in this state.
    drop(publisher);
    broker.terminate();
}

/// Messages of a queue when so many were published.
fn count_of(count: u64, queue: u64) -> u32 {
    u32::try_from((count + QUEUES - 1 - queue) / QUEUES).expect("a few")
}

/// A publisher that goes while it is held back leaves nothing of itself: its connection ends when
/// it is read again.
#[test]
fn a_publisher_that_is_gone_while_held_back_is_seen_off() {
    let broker = Broker::with(Options { config: WATERMARK, ..Options::default() });
    let mut owner = client(broker.addr());
    let base = descriptors(&broker);
    let mut publisher = client(broker.addr());
    let count = hold(&mut owner, &mut publisher);
    drop(publisher);
    empty(&mut owner, count);
    wait_until("its descriptor is closed", || descriptors(&broker) <= base);
    owner.close();
    broker.terminate();
}

#[test]
fn a_held_back_publisher_is_told_of_the_stop() {
    let mut broker = Broker::with(Options { config: WATERMARK, ..Options::default() });
    let (mut owner, mut publisher) = (client(broker.addr()), client(broker.addr()));
    hold(&mut owner, &mut publisher);
    broker.signal("TERM");
    publisher.skip_until(0, "connection.close", |method| {
        matches!(method, Method::Connection(Connection::Close(_))).then_some(())
    });
    drop((owner, publisher));
    assert!(broker.wait().success(), "{}", broker.log());
}
