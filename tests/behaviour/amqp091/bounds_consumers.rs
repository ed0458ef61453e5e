//! Many consumers of one queue: each in its turn (abuse row 29).

use ringmq::protocol::amqp091::wire::method::{Basic, Method};

use crate::support::Client;
use crate::support::methods::consume;
use crate::support::setup::Stage;

use super::bounds_gauge::{client, memory_bytes, number_of, numbered};

on_every_setup!(a_crowd_of_consumers_is_served_in_turn);

/// Twenty thousand over ten connections: two rounds of messages bring each consumer exactly two.
fn a_crowd_of_consumers_is_served_in_turn(stage: &Stage) {
    const CONNECTIONS: usize = 10;
    const EACH: usize = 2000;
    const COUNT: u64 = (CONNECTIONS * EACH) as u64;
    let broker = stage.setup.own("");
    let mut publisher = client(broker.addr());
    publisher.declare(1, "q");
    let base = memory_bytes(&broker);
    let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| client(broker.addr())).collect();
    for client in &mut clients {
        for number in 0..EACH {
            client.send(1, &consume("q", &number.to_string()));
        }
        for _ in 0..EACH {
            client.expect(1, "basic.consume-ok", |method| {
                matches!(method, Method::Basic(Basic::ConsumeOk(_))).then_some(())
            });
        }
    }
    assert_eq!(publisher.counts(1, "q"), (0, u32::try_from(COUNT).expect("few")));
    let grown = memory_bytes(&broker).saturating_sub(base);
    println!("{COUNT} consumers: {} octets each", grown / COUNT);
    assert!(grown / COUNT < 8 * 1024, "{grown} octets for {COUNT} consumers");
    for number in 0..2 * COUNT {
        publisher.publish(1, "", "q", &numbered(number, 8));
    }
    let mut numbers = Vec::new();
    for client in &mut clients {
        let mut got = vec![0; EACH];
        for delivery in client.expect_deliveries(1, 2 * EACH) {
            got[delivery.consumer_tag.parse::<usize>().expect("a number")] += 1;
            numbers.push(number_of(&delivery.body));
        }
        assert!(got.iter().all(|count| *count == 2), "not in turn: {got:?}");
    }
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..2 * COUNT), "each message came once");
    // Half of them go without a word: what they had comes to the others, and again in turn.
    drop(clients.split_off(CONNECTIONS / 2));
    for client in &mut clients {
        let again = client.expect_deliveries(1, 2 * EACH);
        assert!(again.iter().all(|delivery| delivery.redelivered));
    }
    drop(clients);
    publisher.wait_ready(1, "q", u32::try_from(2 * COUNT).expect("few"));
    assert_eq!(u64::from(publisher.delete(1, "q")), 2 * COUNT);
    publisher.close();
    broker.terminate();
}
