//! Who asks for too much, and who takes nothing of what it asked for (abuse rows 27 to 32, 44, 45
//! and floods). What ends only after a while is in `hostile_patience`.

use std::time::{Duration, Instant};

use ringmq::protocol::amqp091::wire::frame;
use ringmq::protocol::amqp091::wire::method::{
    Basic, Channel, Connection, Method, basic, channel, queue,
};
use ringmq::protocol::amqp091::wire::properties::NO_PROPERTIES;
use ringmq::value::Value;

use crate::support::broker::Options;
use crate::support::client::{Event, PATIENCE};
use crate::support::handshake::PROTOCOL_HEADER;
use crate::support::methods::{arguments, consume, declare, publish};
use crate::support::raw::method_octets;
use crate::support::setup::Setup;
use crate::support::siege::{NOTHING_MIB, Siege, unique};
use crate::support::{Client, Login, properties};

const KIB: usize = 1024;

fn siege() -> Siege {
    Siege::shared(Setup::TwoShards)
}

/// Publishes so many messages in one write each thousand.
fn publish_many(client: &mut Client, queue: &str, body: &[u8], count: usize) {
    let mut one = Vec::new();
    frame::put_content(&mut one, 1, &publish("", queue), &NO_PROPERTIES, body, 131_072);
    let mut left = count;
    while left > 0 {
        let now = left.min(1000);
        client.send_raw(&one.repeat(now));
        left -= now;
    }
}

/// Abuse row 27
#[test]
fn a_channel_above_the_negotiated_number_ends_only_its_connection() {
    let mut siege = siege();
    let mut neighbour = siege.attacker();
    let mut attacker = siege.attacker();
    attacker.open_channel(2047);
    attacker.send(2048, &channel::Open { out_of_band: "" });
    attacker.expect_close(530, "channel_max (2047)");
    let mut attacker = siege.attacker_as(&Login { channel_max: Some(10), ..Login::default() });
    attacker.open_channel(10);
    attacker.send(11, &channel::Open { out_of_band: "" });
    attacker.expect_close(530, "channel_max (10)");
    neighbour.open_channel(2047);
    neighbour.close();
    siege.canary_sings();
    siege.lift(NOTHING_MIB);
}

/// S36, abuse row 28: ten thousand within a second are too many; who is slower is served.
#[test]
fn channels_that_are_opened_and_closed_all_the_time_hold_nobody_up() {
    let mut siege = siege();
    let mut attacker = siege.attacker();
    let close = channel::Close { reply_code: 200, reply_text: "", class_id: 0, method_id: 0 };
    let pair =
        [method_octets(2, &channel::Open { out_of_band: "" }), method_octets(2, &close)].concat();
    let mut socket = attacker.stream();
    let writer = std::thread::spawn(move || {
        use std::io::Write;
        for _ in 0..100 {
            if socket.write_all(&pair.repeat(1000)).is_err() {
                return;
            }
        }
    });
    let slowest = siege.canary_sings_often(20);
    assert!(slowest < Duration::from_secs(5), "others wait {slowest:?}");
    // Either is right: on a slow machine the rate is never reached.
    let mut answers = 0;
    loop {
        match attacker.next_event(PATIENCE) {
            Event::Frame(received) => match received.method() {
                Some(Method::Channel(Channel::OpenOk(_) | Channel::CloseOk)) => answers += 1,
                Some(Method::Connection(Connection::Close(close))) => {
                    assert_eq!(close.reply_code, 530, "{}", close.reply_text);
                    break;
                }
                _ => panic!("an unexpected answer: {}", received.describe()),
            },
            Event::End => break,
            Event::Silence => panic!("no answer after {answers} of 200000"),
        }
        if answers == 200_000 {
            break;
        }
    }
    drop(attacker);
    writer.join().expect("it wrote");
    siege.lift(NOTHING_MIB);
}

/// Abuse row 29
#[test]
fn consumers_of_a_channel_are_limited() {
    let config = "[amqp]\nmax_consumers_per_channel = 50";
    let siege = Siege::own(Options { config, ..Options::default() });
    let mut attacker = siege.attacker();
    let queue = unique("queue");
    attacker.declare_exclusive(1, &queue);
    for _ in 0..50 {
        attacker.consume(1, &queue);
    }
    attacker.send(1, &consume(&queue, ""));
    attacker.expect_close(530, "reached maximum (50) of consumers per channel");
    siege.lift(NOTHING_MIB);
}

/// Abuse row 29: a delivery does not cost more where there are more consumers.
#[test]
fn thousands_of_consumers_are_served_in_turn() {
    const CONSUMERS: usize = 5_000;
    let mut siege = siege();
    let mut attacker = siege.attacker();
    let queue = unique("queue");
    attacker.declare_exclusive(1, &queue);
    let all: Vec<u8> = (0..CONSUMERS)
        .flat_map(|number| method_octets(1, &consume(&queue, &number.to_string())))
        .collect();
    attacker.send_raw(&all);
    for _ in 0..CONSUMERS {
        attacker.expect(1, "basic.consume-ok", |method| {
            matches!(method, Method::Basic(Basic::ConsumeOk(_))).then_some(())
        });
    }
    siege.canary_sings();
    let start = Instant::now();
    publish_many(&mut attacker, &queue, b"x", 2 * CONSUMERS);
    let mut shares = vec![0_u32; CONSUMERS];
    for _ in 0..2 * CONSUMERS {
        let tag = attacker.expect_delivery(1).consumer_tag;
        shares[tag.parse::<usize>().expect("a number")] += 1;
    }
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    assert!(shares.iter().all(|share| *share == 2), "not in turn");
    siege.canary_sings();
    drop(attacker);
    siege.lift(2 * NOTHING_MIB);
}

/// Abuse row 30
#[test]
fn a_consumer_tag_is_used_once_and_an_unknown_one_is_cancelled_without_harm() {
    let siege = siege();
    let mut attacker = siege.attacker();
    let queue = unique("queue");
    attacker.declare_exclusive(1, &queue);
    attacker.cancel(1, "never heard of");
    attacker.consume_with(1, &consume(&queue, "tag"));
    attacker.cancel(1, "tag");
    attacker.cancel(1, "tag");
    attacker.consume_with(1, &consume(&queue, "tag"));
    attacker.open_channel(2);
    attacker.consume_with(2, &consume(&queue, "tag"));
    attacker.send(1, &consume(&queue, "tag"));
    attacker.expect_close(530, "attempt to reuse consumer tag 'tag'");
    siege.lift(NOTHING_MIB);
}

/// Skips deliveries until none come; how many there were, and the tag of the last.
fn count_deliveries(client: &mut Client, most: usize) -> (usize, u64) {
    let (mut count, mut last) = (0, 0);
    let quiet = Duration::from_secs(2);
    while count < most {
        match client.next_event(quiet) {
            Event::Frame(received) if received.kind == frame::BODY => count += 1,
            Event::Frame(received) => {
                if let Some(Method::Basic(Basic::Deliver(deliver))) = received.method() {
                    last = deliver.delivery_tag;
                }
            }
            Event::Silence => break,
            Event::End => panic!("the broker closed the socket after {count} deliveries"),
        }
    }
    (count, last)
}

/// Abuse rows 31 and 32: 65,535 are out and no more; all of them come back.
#[test]
fn a_channel_holds_so_many_deliveries_and_gives_them_back() {
    const MESSAGES: usize = 70_000;
    let mut siege = Siege::own(Options::default());
    let (mut publisher, mut hoarder) = (siege.attacker(), siege.attacker());
    let queue = unique("queue");
    publisher.declare(1, &queue);
    publish_many(&mut publisher, &queue, b"tiny", MESSAGES);
    hoarder.consume(1, &queue);
    let (count, last) = count_deliveries(&mut hoarder, MESSAGES);
    assert_eq!((count, last), (65_535, 65_535));
    siege.canary_sings();
    assert_eq!(publisher.counts(1, &queue).0, 70_000 - 65_535);
    // It goes on where there is room again.
    hoarder.ack(1, 10, true);
    assert_eq!(count_deliveries(&mut hoarder, 10), (10, 65_545));
    hoarder.expect_silence();
    // Row 32
    let start = Instant::now();
    drop(hoarder);
    siege.canary_sings();
    publisher.wait_ready(1, &queue, 70_000 - 10);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    siege.canary_sings();
    assert!(publisher.get(1, &queue, true).expect("the first of them").redelivered);
    // A channel that ends by an error gives back as much.
    publisher.open_channel(2);
    publisher.consume(2, &queue);
    assert_eq!(count_deliveries(&mut publisher, 65_535).0, 65_535);
    publisher.ack(2, 1 << 40, false);
    publisher.expect_channel_close(2, 406, "unknown delivery tag");
    publisher.wait_ready(1, &queue, 70_000 - 11);
    assert_eq!(publisher.delete(1, &queue), 70_000 - 11);
    publisher.close();
    siege.lift(2 * NOTHING_MIB);
}

/// Abuse row 44: what a consumer does not read stays in its queue, whether it acknowledges or not,
/// and the queue's own limit holds.
#[test]
fn a_consumer_that_does_not_read_harms_nobody() {
    let mut siege = Siege::own(Options::default());
    let mut publisher = siege.attacker();
    let table = arguments(&[("x-max-length-bytes", Value::I32(4 << 20))]);
    let queues: Vec<String> = (0..4).map(|_| unique("queue")).collect();
    let mut readers = Vec::new();
    for (number, queue) in queues.iter().enumerate() {
        publisher.declare_with(1, &queue::Declare { arguments: table.view(), ..declare(queue) });
        let mut reader = siege.attacker();
        reader.consume_with(1, &basic::Consume { no_ack: number < 2, ..consume(queue, "") });
        readers.push(reader);
    }
    // 100 MiB through each queue, two of which are of the shard that has the connection.
    let body = vec![7; 64 * KIB];
    for round in 0..1600 {
        for queue in &queues {
            publisher.publish(1, "", queue, &body);
        }
        if round % 100 == 0 {
            siege.canary_sings();
        }
    }
    let slowest = siege.canary_sings_often(20);
    assert!(slowest < Duration::from_secs(5), "others wait {slowest:?}");
    for queue in &queues {
        assert!(publisher.counts(1, queue).0 <= 64, "the limit of the queue holds");
    }
    // Four queues of 4 MiB, and for each connection what is on its way.
    siege.must_have_gained_below(4 * 4 + 4 * 8 + NOTHING_MIB);
    // When it reads at last it gets what was sent, whole.
    for reader in &mut readers {
        assert!(reader.expect_delivery(1).body == body);
    }
    drop(readers);
    for queue in &queues {
        publisher.delete(1, queue);
    }
    publisher.close();
    siege.lift(4 * 4 + 4 * 8 + NOTHING_MIB);
}

/// Abuse row 44: direct replies have no queue to stay in.
#[test]
fn replies_to_a_client_that_does_not_read_take_no_memory() {
    for shards in [1, 2] {
        let mut siege = Siege::own(Options { shards, ..Options::default() });
        let (mut client, mut server) = (siege.attacker(), siege.attacker());
        let queue = unique("queue");
        server.declare_exclusive(1, &queue);
        let replies = consume("amq.rabbitmq.reply-to", "");
        client.consume_with(1, &basic::Consume { no_ack: true, ..replies });
        let block = properties(|p| p.reply_to = Some(b"amq.rabbitmq.reply-to"));
        client.publish_with(1, "", &queue, &block, b"request");
        let request = server.get_when_there(1, &queue);
        let address = request.decoded().reply_to.expect("an address").to_vec();
        let address = String::from_utf8(address).expect("text");
        let body = vec![7; 64 * KIB];
        let mut one = Vec::new();
        frame::put_content(&mut one, 1, &publish("", &address), &NO_PROPERTIES, &body, 131_072);
        for _ in 0..300 {
            // 300 MiB in all; a broker that stops reading is as right as one that drops.
            let batch = one.repeat(16);
            if server.send_some(&batch, Duration::from_millis(500)) < batch.len() {
                break;
            }
        }
        siege.canary_sings();
        siege.must_have_gained_below(2 * NOTHING_MIB);
        drop(client);
        siege.lift(2 * NOTHING_MIB);
    }
}

/// Sends this again and again to a broker whose answers are not read, until it is not read either.
fn comes_to_a_stand(siege: &mut Siege, octets: &[u8]) {
    let mut attacker = siege.attacker();
    attacker.confirm_select(1);
    let mut sent = 0;
    // 100 MiB at most, of which the kernel keeps some on both sides.
    while sent < 100 << 20 {
        let now = attacker.send_some(octets, Duration::from_millis(500));
        sent += now;
        if now < octets.len() {
            break;
        }
    }
    assert!(sent < 100 << 20, "it is read although it reads nothing");
    let slowest = siege.canary_sings_often(10);
    assert!(slowest < Duration::from_secs(5), "others wait {slowest:?}");
    siege.must_have_gained_below(NOTHING_MIB);
}

/// Publishes of 8 KiB that come back.
fn unroutable() -> Vec<u8> {
    let mut octets = Vec::new();
    let method = basic::Publish { mandatory: true, ..publish("", "nowhere") };
    frame::put_content(&mut octets, 1, &method, &NO_PROPERTIES, &[7; 8 * KIB], 131_072);
    octets.repeat(100)
}

/// Abuse row 45: who does not read its answers is not read either.
#[test]
fn publishes_whose_returns_are_not_read_come_to_a_stand() {
    let mut siege = Siege::own(Setup::OneShard.options());
    comes_to_a_stand(&mut siege, &unroutable());
    siege.lift(NOTHING_MIB);
}

/// Abuse row 45: the same where another shard finds out that they have nowhere to go.
#[test]
fn publishes_that_another_shard_returns_come_to_a_stand() {
    let mut siege = Siege::own(Setup::Apart.options());
    comes_to_a_stand(&mut siege, &unroutable());
    siege.lift(NOTHING_MIB);
}

/// Abuse row 45: answers of a few octets each, one per turn.
#[test]
fn requests_whose_answers_are_not_read_come_to_a_stand() {
    let mut siege = Siege::own(Options::default());
    let queue = unique("queue");
    let mut owner = siege.attacker();
    owner.declare(1, &queue);
    let asked = method_octets(1, &queue::Declare { passive: true, ..declare(&queue) });
    let got = method_octets(1, &basic::Get { ticket: 0, queue: &queue, no_ack: true });
    for octets in [asked, got] {
        comes_to_a_stand(&mut siege, &octets.repeat(10_000));
    }
    assert_eq!(owner.delete(1, &queue), 0);
    siege.lift(NOTHING_MIB);
}

/// A publisher without consumers: what is above the watermark goes to the disk, the publisher
/// waits no longer than that takes, others are served all the while.
#[test]
fn a_backlog_far_above_the_watermark_harms_nobody() {
    const MIB_EACH: usize = 16;
    let config = "max_memory = 33554432";
    let mut siege = Siege::own(Options { config, ..Options::default() });
    let (mut publisher, mut consumer) = (siege.attacker(), siege.attacker());
    let queue = unique("queue");
    consumer.declare(1, &queue);
    let mut one = Vec::new();
    frame::put_content(&mut one, 1, &publish("", &queue), &NO_PROPERTIES, &[7; 64 * KIB], 131_072);
    for _ in 0..300 / MIB_EACH {
        publisher.send_raw(&one.repeat(MIB_EACH * 16));
        siege.canary_sings();
    }
    publisher.send_close();
    publisher.skip_until(0, "connection.close-ok", |method| {
        matches!(method, Method::Connection(Connection::CloseOk)).then_some(())
    });
    siege.must_have_gained_below(32 + 32 + NOTHING_MIB);
    let taken = consumer.counts(1, &queue).0;
    assert_eq!(taken as usize, 300 / MIB_EACH * MIB_EACH * 16, "all that was sent is kept");
    // What is on the disk comes back, and what is not wanted goes without being read.
    for _ in 0..300 {
        assert!(consumer.get(1, &queue, true).expect("a message").body == [7; 64 * KIB]);
    }
    siege.canary_sings();
    assert_eq!(consumer.delete(1, &queue), taken - 300);
    consumer.close();
    siege.lift(32 + 32 + NOTHING_MIB);
}

/// Queues of a connection go with it, however many they are.
#[test]
fn five_thousand_exclusive_queues_come_and_go() {
    let mut siege = Siege::own(Options::default());
    let mut attacker = siege.attacker();
    for number in 0..5_000 {
        let name = format!("many-{number}");
        let exclusive = queue::Declare { exclusive: true, no_wait: true, ..declare(&name) };
        attacker.send(1, &exclusive);
        if number % 1000 == 0 {
            siege.canary_sings();
        }
    }
    let mut other = siege.attacker();
    attacker.declare_exclusive(1, "many-4999");
    drop(attacker);
    siege.canary_sings();
    let deadline = Instant::now() + PATIENCE;
    loop {
        other.send(1, &queue::Declare { passive: true, ..declare("many-4999") });
        let received = other.next("channel.close");
        other.send(1, &Channel::CloseOk);
        other.open_channel(1);
        if received.describe().contains("404") {
            break;
        }
        assert!(Instant::now() < deadline, "still there: {}", received.describe());
    }
    other.declare_exclusive(1, "many-0");
    other.close();
    siege.lift(NOTHING_MIB);
}

/// S39: connections that come and go at all stages leave nothing.
#[test]
fn connections_that_come_and_go_leave_nothing_behind() {
    let mut siege = Siege::own(Options::default());
    for round in 0..400 {
        let mut client = siege.stranger();
        match round % 4 {
            0 => {}
            1 => client.send_raw(PROTOCOL_HEADER),
            2 => client.begin(&Login::default()),
            _ => {
                client.log_in(&Login::default());
                client.open_channel(1);
                let queue = unique("churn");
                client.declare_exclusive(1, &queue);
                client.consume(1, &queue);
                client.publish(1, "", &queue, b"x");
            }
        }
        if round % 50 == 0 {
            siege.canary_sings();
        }
    }
    siege.lift(NOTHING_MIB);
}

/// The limit of connections holds, and who is in stays in.
#[test]
fn connections_above_the_limit_are_refused() {
    let config = "max_connections = 8";
    let mut siege = Siege::own(Options { config, shards: 1, ..Options::default() });
    let mut inside: Vec<Client> = (0..7).map(|_| siege.attacker()).collect();
    let mut late = siege.stranger();
    late.send_raw(PROTOCOL_HEADER);
    late.expect_eof();
    siege.canary_sings();
    inside.pop();
    // The place is free as soon as the broker has seen the end.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut next = siege.stranger();
        next.send_raw(PROTOCOL_HEADER);
        if next.read_raw(1, PATIENCE).len() == 1 {
            break;
        }
        assert!(Instant::now() < deadline, "the place is never free again");
    }
    drop(inside);
    siege.lift(NOTHING_MIB);
}
