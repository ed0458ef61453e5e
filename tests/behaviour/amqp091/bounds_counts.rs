//! Many of everything: queues, channels, and the largest message.

use ringmq::protocol::amqp091::wire::frame;
use ringmq::protocol::amqp091::wire::method::{channel, queue};

use crate::support::client::PATIENCE;
use crate::support::methods::{declare, publish};
use crate::support::setup::Stage;
use crate::support::{Broker, Client, Event, Login};

use super::bounds_gauge::{MIB, client, memory_bytes, number_of, numbered};

on_every_setup!(
    every_channel_that_was_agreed_works_and_not_one_more,
    thousands_of_queues_come_and_go,
);

/// S33, S42, abuse row 27.
fn every_channel_that_was_agreed_works_and_not_one_more(stage: &Stage) {
    const CHANNELS: u16 = 2047;
    let mut client = stage.client();
    let queue = stage.name("channels");
    for number in 1..=CHANNELS {
        client.send(number, &channel::Open { out_of_band: "" });
    }
    for number in 1..=CHANNELS {
        assert_eq!(client.next("channel.open-ok").channel, number);
    }
    client.declare(1, &queue);
    for number in 1..=CHANNELS {
        client.publish(number, "", &queue, &numbered(u64::from(number), 8));
    }
    client.wait_ready(1, &queue, u32::from(CHANNELS));
    assert_eq!(client.delete(1, &queue), u32::from(CHANNELS));
    client.send(CHANNELS + 1, &channel::Open { out_of_band: "" });
    client.expect_close(530, "channel");
    stage.still_serves();
}

/// Ten thousand, one message in each; memory comes back when they are gone.
fn thousands_of_queues_come_and_go(stage: &Stage) {
    const QUEUES: u64 = 10_000;
    const AT_ONCE: u64 = 500;
    let broker = stage.setup.own("");
    let mut client = client(broker.addr());
    let name = |number: u64| format!("queue-{number}");
    let mut round = || {
        let before = memory_bytes(&broker);
        for first in (0..QUEUES).step_by(usize::try_from(AT_ONCE).expect("few")) {
            for number in first..first + AT_ONCE {
                client.send(1, &declare(&name(number)));
                client.publish(1, "", &name(number), &numbered(number, 100));
            }
            for number in first..first + AT_ONCE {
                assert_eq!(client.expect_declared(1).0, name(number));
            }
        }
        let full = memory_bytes(&broker);
        for number in (0..QUEUES).step_by(997) {
            assert_eq!(number_of(&client.get_when_there(1, &name(number)).body), number);
        }
        for number in 0..QUEUES {
            let queue = &name(number);
            let (if_unused, if_empty) = (false, false);
            client.send(1, &queue::Delete { ticket: 0, queue, if_unused, if_empty, no_wait: true });
        }
        client.declare(1, "last");
        client.delete(1, "last");
        (full.saturating_sub(before), memory_bytes(&broker))
    };
    let (grown, _) = round();
    println!("{QUEUES} queues with a message each: {} octets each", grown / QUEUES);
    assert!(grown / QUEUES < 16 * 1024, "{grown} octets for {QUEUES} queues");
    // Buffers of the log and of segments grow to their size in the first rounds and stay.
    let (_, after_second) = round();
    let (_, after_third) = round();
    let kept = after_third.saturating_sub(after_second);
    assert!(kept < 16 * MIB, "{kept} octets more after another round");
    client.close();
    broker.terminate();
}

/// Exactly 128 MiB pass; the heading of one octet more is refused before its body is taken (P69).
#[test]
fn the_largest_message_passes_and_one_octet_more_is_refused() {
    const LARGEST: usize = 128 * 1024 * 1024;
    let broker = Broker::start(2);
    let mut client = client(broker.addr());
    client.declare(1, "q");
    let mut body = numbered(42, LARGEST);
    body[LARGEST - 1] = 1;
    client.publish(1, "", "q", &body);
    let got = client.get_when_there(1, "q");
    assert!(got.body == body, "the body has changed");
    drop(got);
    body.push(2);
    let mut content = Vec::new();
    let frame_max = client.frame_max;
    frame::put_content(&mut content, 1, &publish("", "q"), &[0, 0], &body, frame_max);
    // Method and header, and the first octets of the body.
    client.send_raw(&content[..200]);
    expect_too_large(&mut client);
    let mut other = super::bounds_gauge::client(broker.addr());
    assert_eq!(other.counts(1, "q"), (0, 0));
    other.close();
    broker.terminate();
}

/// RabbitMQ closes the channel with 406 and goes on with the connection.
fn expect_too_large(client: &mut Client) {
    client.expect_channel_close(1, 406, "message size");
}

/// Each connection of a crowd works at the same time as the others.
#[test]
fn a_thousand_connections_are_served_at_once() {
    const COUNT: u64 = 1000;
    let broker = Broker::start(2);
    let mut clients: Vec<Client> = (0..COUNT).map(|_| client(broker.addr())).collect();
    clients[0].declare(1, "q");
    for (number, client) in (0..).zip(&mut clients) {
        client.confirm_select(1);
        client.publish(1, "", "q", &numbered(number, 100));
    }
    for client in &mut clients {
        client.expect_confirms(1, 1, 1);
    }
    assert_eq!(clients[0].counts(1, "q").0, 1000);
    for client in clients {
        client.close();
    }
    broker.terminate();
}

/// `max_connections`: whoever comes when it is reached is closed at once, and there is room again
/// when others go.
#[test]
fn no_more_connections_than_allowed_are_taken() {
    let broker = crate::support::setup::Setup::TwoShards.own("max_connections = 10");
    let clients: Vec<Client> = (0..10).map(|_| client(broker.addr())).collect();
    let mut refused = Client::connect(broker.addr());
    assert_eq!(refused.next_event(PATIENCE), Event::End);
    drop(refused);
    for client in clients {
        client.close();
    }
    super::bounds_gauge::wait_until("there is room again", || {
        let mut client = Client::connect(broker.addr());
        client.send_raw(crate::support::handshake::PROTOCOL_HEADER);
        matches!(client.next_event(PATIENCE), Event::Frame(_))
    });
    let mut again = Client::connect(broker.addr());
    again.log_in(&Login::default());
    again.close();
    broker.terminate();
}
