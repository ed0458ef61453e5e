//! What the host does to a broker with MQTT clients: it stands still.

use std::time::Duration;

use crate::support::Broker;

use super::client::Client;
use super::octets::{BOTH, Hello, PINGREQ, PINGRESP};

/// Abuse row 117: four seconds without the processor, where one and a half are granted.
#[test]
fn clients_stay_whose_broker_has_stood_still() {
    const PINGS: usize = 8;
    let broker = Broker::start(2);
    let mut clients: Vec<Client> = (0..20)
        .map(|number| {
            let hello = Hello::new(BOTH[number % 2], &format!("stays-{number}"));
            Client::connect(broker.mqtt_addr(), &Hello { keep_alive: 1, ..hello })
        })
        .collect();
    broker.signal("STOP");
    for _ in 0..PINGS {
        std::thread::sleep(Duration::from_millis(500));
        clients.iter_mut().for_each(|client| client.send(&PINGREQ));
    }
    broker.signal("CONT");
    for client in &mut clients {
        (0..PINGS).for_each(|_| client.expect(&PINGRESP));
    }
    // The silent ones are still found.
    clients.iter_mut().for_each(|client| client.expect_closed(0x8d));
    broker.terminate();
}
