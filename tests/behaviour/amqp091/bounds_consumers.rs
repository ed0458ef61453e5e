//! Many consumers of one queue: each in its turn (abuse row 29).

use ringmq::protocol::amqp091::wire::method::{Basic, Method};

use crate::support::Client;
use crate::support::methods::consume;
use crate::support::setup::{Setup, Stage};

use super::bounds_gauge::{client, memory_bytes, number_of, numbered};

on_every_setup!(a_crowd_of_consumers_is_served_in_turn);

fn a_crowd_of_consumers_is_served_in_turn(stage: &Stage) {
    crowd_is_served_in_turn(stage.setup, 10, 2000);
}

/// As many as a queue may have.
#[test]
fn a_hundred_thousand_consumers_are_served_in_turn() {
    crowd_is_served_in_turn(Setup::TwoShards, 25, 4000);
}

/// Two rounds of messages bring each of the consumers exactly two. What a connection gets of that
/// is less than its window: one whose window is full is passed over.
fn crowd_is_served_in_turn(setup: Setup, connections: usize, each: usize) {
    let count = (connections * each) as u64;
    let broker = setup.own("");
    let mut publisher = client(broker.addr());
    publisher.declare(1, "q");
    let base = memory_bytes(&broker);
    let mut clients: Vec<Client> = (0..connections).map(|_| client(broker.addr())).collect();
    for client in &mut clients {
        for number in 0..each {
            client.send(1, &consume("q", &number.to_string()));
        }
        for _ in 0..each {
            client.expect(1, "basic.consume-ok", |method| {
                matches!(method, Method::Basic(Basic::ConsumeOk(_))).then_some(())
            });
        }
    }
    assert_eq!(publisher.counts(1, "q"), (0, u32::try_from(count).expect("few")));
    let grown = memory_bytes(&broker).saturating_sub(base);
    println!("{count} consumers: {} octets each", grown / count);
    assert!(grown / count < 8 * 1024, "{grown} octets for {count} consumers");
    for number in 0..2 * count {
        publisher.publish(1, "", "q", &numbered(number, 8));
    }
    let mut numbers = Vec::new();
    for client in &mut clients {
        let mut got = vec![0; each];
        for delivery in client.expect_deliveries(1, 2 * each) {
            got[delivery.consumer_tag.parse::<usize>().expect("a number")] += 1;
            numbers.push(number_of(&delivery.body));
        }
        assert!(got.iter().all(|count| *count == 2), "not in turn: {got:?}");
    }
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..2 * count), "each message came once");
    // Half of them go without a word: what they had comes to the others, and again in turn.
    drop(clients.split_off(connections / 2));
    for client in &mut clients {
        let again = client.expect_deliveries(1, 2 * each);
        assert!(again.iter().all(|delivery| delivery.redelivered));
    }
    drop(clients);
    publisher.wait_ready(1, "q", u32::try_from(2 * count).expect("few"));
    assert_eq!(u64::from(publisher.delete(1, "q")), 2 * count);
    publisher.close();
    broker.terminate();
}
