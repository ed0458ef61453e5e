//! The watermark of memory: publishers wait, consumers do not, nothing is lost (R47, S73).

use ringmq::protocol::amqp091::wire::frame;
use ringmq::protocol::amqp091::wire::method::{Connection, Method};
use ringmq::protocol::amqp091::wire::properties::NO_PROPERTIES;

use crate::support::broker::Options;
use crate::support::client::{Event, GLANCE};
use crate::support::methods::publish;
use crate::support::setup::Stage;
use crate::support::{Broker, Client, Login};

use super::bounds_gauge::{
    MIB, client, descriptors, memory_bytes, number_of, numbered, wait_until,
};

on_every_setup!(publishers_wait_at_the_watermark_and_go_on_when_consumers_have_caught_up);

const WATERMARK: &str = "max_memory = 32M";
const BYTES: usize = 64 * 1024;

/// Publishes numbered messages until the broker takes no more; how many were begun, and what is
/// left of the last.
fn publish_until_held(publisher: &mut Client, queue: &str) -> (u64, Vec<u8>) {
    const MESSAGES_MAX: u64 = 4000;
    for number in 0..MESSAGES_MAX {
        let mut content = Vec::new();
        let (method, body) = (publish("", queue), numbered(number, BYTES));
        let frame_max = publisher.frame_max;
        frame::put_content(&mut content, 1, &method, &NO_PROPERTIES, &body, frame_max);
        let taken = publisher.send_some(&content, GLANCE * 7);
        if taken < content.len() {
            return (number + 1, content.split_off(taken));
        }
    }
    panic!("{MESSAGES_MAX} messages of {BYTES} octets were taken");
}

fn expect_blocked(client: &mut Client) {
    client.expect(0, "connection.blocked", |method| match method {
        Method::Connection(Connection::Blocked(blocked)) => {
            assert_eq!(blocked.reason, "low on memory");
            Some(())
        }
        _ => None,
    });
}

/// As what it sent meanwhile goes on its way it may be held back again; at last it is not.
fn expect_to_end_unblocked(client: &mut Client) {
    let mut is_blocked = true;
    while is_blocked {
        while let Event::Frame(received) = client.next_event(GLANCE) {
            is_blocked = match received.method() {
                Some(Method::Connection(Connection::Blocked(_))) if !is_blocked => true,
                Some(Method::Connection(Connection::Unblocked)) if is_blocked => false,
                _ => panic!("blocked is {is_blocked}, got {}", received.describe()),
            };
        }
    }
}

fn publishers_wait_at_the_watermark_and_go_on_when_consumers_have_caught_up(stage: &Stage) {
    let broker = stage.setup.own(WATERMARK);
    let mut owner = client(broker.addr());
    owner.declare(1, "q");
    let mut consumer = client(broker.addr());
    let base = memory_bytes(&broker);

    let mut publisher = client(broker.addr());
    let (count, rest) = publish_until_held(&mut publisher, "q");
    expect_blocked(&mut publisher);
    let grown = memory_bytes(&broker).saturating_sub(base);
    println!("held at {count} messages, memory grew by {} MiB", grown / MIB);
    assert!(grown < 32 * MIB * 3, "memory grew by {grown} octets");
    // One that does not understand connection.blocked waits as well, and is not told.
    let mut plain = Client::connect(broker.addr());
    plain.log_in(&Login { capabilities: &[], ..Login::default() });
    plain.open_channel(1);
    plain.publish(1, "", "q", &numbered(u64::MAX, 8));
    plain.expect_silence();

    // The publisher's own socket goes on by itself.
    let mut writer = publisher.stream();
    let wrote = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &rest));
    consumer.consume(1, "q");
    let (mut next, mut strangers) = (0, 0);
    while next < count || strangers < 1 {
        let delivery = consumer.expect_delivery(1);
        consumer.ack(1, delivery.delivery_tag, false);
        match number_of(&delivery.body) {
            u64::MAX => strangers += 1,
            number => {
                assert_eq!(number, next);
                next += 1;
            }
        }
    }
    consumer.expect_silence();
    wrote.join().expect("a thread that ends").expect("the rest goes out");
    expect_to_end_unblocked(&mut publisher);
    // It publishes again, with confirms.
    publisher.confirm_select(1);
    publisher.publish(1, "", "q", &numbered(7, 8));
    publisher.expect_confirms(1, 1, 1);
    assert_eq!(number_of(&consumer.expect_delivery(1).body), 7);
    for client in [publisher, plain, consumer, owner] {
        client.close();
    }
    broker.terminate();
}

/// While publishers wait, everybody else is served: declarations, gets, other connections' acks.
#[test]
fn those_who_do_not_publish_notice_nothing_of_the_watermark() {
    let broker = Broker::with(Options { config: WATERMARK, ..Options::default() });
    let mut other = client(broker.addr());
    other.declare(1, "q");
    let mut publisher = client(broker.addr());
    publish_until_held(&mut publisher, "q");
    let mut newcomer = client(broker.addr());
    newcomer.declare_exclusive(1, "mine");
    assert_eq!(newcomer.counts(1, "mine"), (0, 0));
    assert_eq!(number_of(&newcomer.get_when_there(1, "q").body), 0);
    other.consume(1, "q");
    let delivery = other.expect_delivery(1);
    other.ack(1, delivery.delivery_tag, false);
    newcomer.close();
    // The publisher goes without a word: what it had sent whole stays published, and the broker
    // ends in time with everybody in this state.
    drop(publisher);
    broker.terminate();
}

/// A publisher that goes while it is held back leaves nothing of itself: its connection ends when
/// it is read again.
#[test]
fn a_publisher_that_is_gone_while_held_back_is_seen_off() {
    let broker = Broker::with(Options { config: WATERMARK, ..Options::default() });
    let mut owner = client(broker.addr());
    owner.declare(1, "q");
    let base = descriptors(&broker);
    let mut publisher = client(broker.addr());
    publish_until_held(&mut publisher, "q");
    drop(publisher);
    assert!(owner.purge(1, "q") > 100);
    wait_until("its descriptor is closed", || {
        owner.purge(1, "q");
        descriptors(&broker) <= base
    });
    owner.close();
    broker.terminate();
}

#[test]
fn a_held_back_publisher_is_told_of_the_stop() {
    let mut broker = Broker::with(Options { config: WATERMARK, ..Options::default() });
    let mut owner = client(broker.addr());
    owner.declare(1, "q");
    let mut publisher = client(broker.addr());
    publish_until_held(&mut publisher, "q");
    broker.signal("TERM");
    publisher.skip_until(0, "connection.close", |method| {
        matches!(method, Method::Connection(Connection::Close(_))).then_some(())
    });
    drop((owner, publisher));
    assert!(broker.wait().success(), "{}", broker.log());
}
