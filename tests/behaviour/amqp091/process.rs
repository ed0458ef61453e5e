//! The process: how it starts and how it ends.

use crate::support::client::PATIENCE;
use crate::support::{Broker, Client, Event, Login};

/// The line of the start says where it listens; SIGTERM ends it with 0 and tells every client.
#[test]
fn a_broker_starts_serves_and_ends() {
    let broker = Broker::start(2);
    let mut client = Client::connect(broker.addr());
    client.log_in(&Login::default());
    client.open_channel(1);
    broker.signal("TERM");
    client.expect_close(320, "CONNECTION_FORCED");
    assert_eq!(client.next_event(PATIENCE), Event::End);
    let mut broker = broker;
    assert!(broker.wait().success(), "{}", broker.log());
}

/// Several brokers run beside each other.
#[test]
fn brokers_on_free_ports_do_not_disturb_each_other() {
    let brokers = [Broker::start(1), Broker::start(1)];
    assert_ne!(brokers[0].addr(), brokers[1].addr());
    for broker in brokers {
        assert!(broker.data_directory().exists(), "{}", broker.log());
        broker.terminate();
    }
}
