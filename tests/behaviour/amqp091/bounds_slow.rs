//! Peers that do not read what they asked for: how far they get, and that nobody else notices
//! (abuse rows 31, 44 and 45).

use ringmq::protocol::amqp091::wire::frame;
use ringmq::protocol::amqp091::wire::method::{Basic, Method, basic};
use ringmq::protocol::amqp091::wire::properties::NO_PROPERTIES;

use crate::support::client::{Event, GLANCE, PATIENCE};
use crate::support::methods::{consume, publish};
use crate::support::setup::Stage;
use crate::support::{Broker, Client};

use super::bounds_gauge::{MIB, client, fill, memory_bytes, number_of, numbered, wait_until};

on_every_setup!(
    a_consumer_that_does_not_read_gets_no_more_than_its_window,
    a_publisher_that_does_not_read_its_confirms_comes_to_a_stand,
    deliveries_pause_at_the_bound_of_unsettled_ones_and_go_on_after_acks,
    a_consumer_that_is_gone_with_its_window_full_loses_nothing,
);

/// Small buffers of the sockets, so that the bounds are the broker's.
const SMALL_BUFFERS: &str = "tcp_send_buffer_size = 64k\ntcp_recv_buffer_size = 64k";

/// What two sockets may hold between the broker's window and a client that does not read: the
/// client's own buffer is the kernel's to choose (`net.ipv4.tcp_rmem`).
const SOCKETS_BYTES: u64 = 16 * MIB;

/// Fails unless a new client is served by this broker.
fn is_served(broker: &Broker, name: &str) {
    let mut other = client(broker.addr());
    other.declare_exclusive(1, name);
    other.publish(1, "", name, b"ping");
    assert_eq!(other.get_when_there(1, name).body, b"ping");
    other.close();
}

/// Asks until the count of ready messages stays as it is.
fn settled_ready(observer: &mut Client, queue: &str) -> u32 {
    let mut last = u32::MAX;
    wait_until("the count of ready messages rests", || {
        let (ready, _) = observer.counts(1, queue);
        let rests = ready == last;
        last = ready;
        std::thread::sleep(GLANCE);
        rests
    });
    last
}

/// S60: it goes on where it stood when it reads again: nothing lost, nothing out of order.
fn a_consumer_that_does_not_read_gets_no_more_than_its_window(stage: &Stage) {
    const COUNT: u64 = 4000;
    const BYTES: usize = 16 * 1024;
    let broker = stage.setup.own(SMALL_BUFFERS);
    let mut observer = client(broker.addr());
    observer.declare(1, "q");
    fill(&mut observer, "q", COUNT, BYTES);
    let mut slow = client(broker.addr());
    slow.send(1, &consume("q", "slow"));
    let ready = settled_ready(&mut observer, "q");
    let out_bytes = (COUNT - u64::from(ready)) * BYTES as u64;
    assert!(out_bytes >= MIB / 2, "the window is used: {out_bytes}");
    assert!(out_bytes <= 2 * MIB + SOCKETS_BYTES, "{out_bytes} octets are out");
    is_served(&broker, "other");
    slow.skip_until(1, "consume-ok", |method| {
        matches!(method, Method::Basic(Basic::ConsumeOk(_))).then_some(())
    });
    for number in 0..COUNT {
        let delivery = slow.expect_delivery(1);
        assert_eq!((number_of(&delivery.body), delivery.delivery_tag), (number, number + 1));
    }
    slow.ack(1, COUNT, true);
    slow.close();
    assert_eq!(observer.delete(1, "q"), 0);
    observer.close();
    broker.terminate();
}

/// Its window was full of deliveries; all of them come back in order.
fn a_consumer_that_is_gone_with_its_window_full_loses_nothing(stage: &Stage) {
    const COUNT: u64 = 400;
    let broker = stage.setup.own(SMALL_BUFFERS);
    let mut observer = client(broker.addr());
    observer.declare(1, "q");
    fill(&mut observer, "q", COUNT, 64 * 1024);
    for _ in 0..5 {
        let mut slow = client(broker.addr());
        slow.send(1, &consume("q", "slow"));
        wait_until("some are out", || u64::from(observer.counts(1, "q").0) < COUNT);
        drop(slow);
        observer.wait_ready(1, "q", 400);
    }
    for number in 0..COUNT {
        assert_eq!(number_of(&observer.get_when_there(1, "q").body), number);
    }
    observer.close();
    broker.terminate();
}

/// Returned messages are the largest thing that a publisher can leave unread.
fn a_publisher_that_does_not_read_its_confirms_comes_to_a_stand(stage: &Stage) {
    const MESSAGES_MAX: u64 = 4000;
    const BYTES: usize = 64 * 1024;
    let broker = stage.setup.own(SMALL_BUFFERS);
    let mut publisher = client(broker.addr());
    publisher.confirm_select(1);
    let base = memory_bytes(&broker);
    let method = basic::Publish { mandatory: true, ..publish("", "nowhere") };
    let (mut sent, mut rest) = (0, Vec::new());
    while sent < MESSAGES_MAX {
        let mut content = Vec::new();
        let body = numbered(sent, BYTES);
        let frame_max = publisher.frame_max;
        frame::put_content(&mut content, 1, &method, &NO_PROPERTIES, &body, frame_max);
        let taken = publisher.send_some(&content, GLANCE * 4);
        sent += 1;
        if taken < content.len() {
            rest = content.split_off(taken);
            break;
        }
    }
    assert!(!rest.is_empty(), "all {MESSAGES_MAX} messages were taken");
    assert!(sent * BYTES as u64 <= 4 * MIB + 3 * SOCKETS_BYTES, "{sent} messages were taken");
    let grown = memory_bytes(&broker).saturating_sub(base);
    assert!(grown < 32 * MIB, "memory grew by {grown} octets");
    is_served(&broker, "other");
    let mut writer = publisher.stream();
    let wrote = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &rest));
    for number in 0..sent {
        assert_eq!(number_of(&expect_return_between_confirms(&mut publisher)), number);
    }
    wrote.join().expect("a thread that ends").expect("the rest goes out");
    publisher.close();
    broker.terminate();
}

/// The body of the next basic.return; confirms before it are skipped.
fn expect_return_between_confirms(client: &mut Client) -> Vec<u8> {
    let is_return =
        |method: Method<'_>| matches!(method, Method::Basic(Basic::Return(_))).then_some(());
    client.skip_until(1, "basic.return", is_return);
    client.finish_content(1, crate::support::content::Content::default()).body
}

/// Prefetch 0 is no licence (abuse row 31).
fn deliveries_pause_at_the_bound_of_unsettled_ones_and_go_on_after_acks(stage: &Stage) {
    const BOUND: u64 = 65_535;
    const COUNT: u64 = 70_000;
    let broker = stage.setup.own("");
    let mut publisher = client(broker.addr());
    publisher.declare(1, "q");
    fill(&mut publisher, "q", COUNT, 8);
    let mut consumer = client(broker.addr());
    consumer.prefetch(1, 0);
    consumer.consume(1, "q");
    for number in 0..BOUND {
        assert_eq!(number_of(&consumer.expect_delivery(1).body), number);
    }
    consumer.expect_silence();
    consumer.ack(1, 1000, true);
    for number in BOUND..BOUND + 1000 {
        assert_eq!(number_of(&consumer.expect_delivery(1).body), number);
    }
    consumer.expect_silence();
    consumer.ack(1, BOUND + 1000, true);
    for number in BOUND + 1000..COUNT {
        assert_eq!(number_of(&consumer.expect_delivery(1).body), number);
    }
    drop(consumer);
    publisher.wait_ready(1, "q", u32::try_from(COUNT - BOUND - 1000).expect("few"));
    publisher.close();
    broker.terminate();
}

/// A message larger than the window passes it, and so do those behind it.
#[test]
fn a_message_larger_than_the_window_passes_it() {
    let broker = Broker::start(2);
    let mut both = client(broker.addr());
    both.declare(1, "q");
    for number in 0..5 {
        both.publish(1, "", "q", &numbered(number, 5_000_000));
    }
    both.consume(1, "q");
    for number in 0..5 {
        assert_eq!(number_of(&both.expect_delivery(1).body), number);
    }
    both.close();
    broker.terminate();
}

/// Its confirms and answers are lost, what it published is not.
#[test]
fn what_was_sent_before_the_end_of_a_connection_is_published() {
    let broker = Broker::start(2);
    let mut observer = client(broker.addr());
    observer.declare(1, "q");
    for _ in 0..20 {
        let mut publisher = client(broker.addr());
        for number in 0..500 {
            publisher.publish(1, "", "q", &numbered(number, 100));
        }
        publisher.shut_down_writing();
        assert_eq!(publisher.next_event(PATIENCE), Event::End);
        observer.wait_ready(1, "q", 500);
        assert_eq!(observer.purge(1, "q"), 500);
    }
    observer.close();
    broker.terminate();
}
