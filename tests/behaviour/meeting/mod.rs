//! AMQP 0-9-1 and MQTT at one broker: what a client of one says to clients of the other (mqtt.md
//! 5.3).

mod addresses;
mod choices;
mod keeping;
mod naming;
mod no_space;
mod properties;
mod queues;
mod retained;

use std::net::SocketAddr;

use ringmq::protocol::amqp091::wire::method::exchange;

use crate::mqtt::client::Client as Subscriber;
use crate::mqtt::octets::Hello;
use crate::support::methods::publish;
use crate::support::setup::Stage;
use crate::support::siege::unique;
use crate::support::{Client, Login};

/// The exchange where both meet.
const TOPICS: &str = "amq.topic";

/// A client of MQTT with a name and a session of its own, of the shared broker.
fn subscriber(stage: &Stage, version: u8) -> Subscriber {
    subscriber_at(stage.setup.shared().mqtt_addr(), version)
}

/// The same of any broker.
fn subscriber_at(addr: SocketAddr, version: u8) -> Subscriber {
    Subscriber::connect(addr, &Hello::new(version, &unique("meets")))
}

/// A client of AMQP with channel 1 open.
fn service(addr: SocketAddr) -> Client {
    let mut client = Client::connect(addr);
    client.log_in(&Login::default());
    client.open_channel(1);
    client
}

/// One of the shared broker with a queue of its own that is bound to topics by this key.
fn listening(stage: &Stage, key: &str) -> (Client, String) {
    listening_at(stage.addr(), key)
}

/// The same of any broker.
fn listening_at(addr: SocketAddr, key: &str) -> (Client, String) {
    let (mut client, queue) = (service(addr), unique("meeting"));
    client.declare_exclusive(1, &queue);
    client.bind(1, &queue, TOPICS, key);
    (client, queue)
}

impl Client {
    /// Publishes to topics as mandatory.
    fn offer(&mut self, key: &str, properties: &[u8], body: &[u8]) {
        let method = ringmq::protocol::amqp091::wire::method::basic::Publish {
            mandatory: true,
            ..publish(TOPICS, key)
        };
        self.send_content(1, &method, properties, body);
    }

    /// Binds one exchange to another.
    fn bind_exchange(&mut self, from: &str, to: &str, key: &str) {
        self.send_bind_exchange(1, from, to, key);
        self.expect(1, "exchange.bind-ok", |method| {
            use ringmq::protocol::amqp091::wire::method::{Exchange, Method};
            matches!(method, Method::Exchange(Exchange::BindOk)).then_some(())
        });
    }

    /// An exchange that goes with its last binding.
    fn declare_passing_exchange(&mut self, name: &str, kind: &str) {
        use ringmq::protocol::amqp091::wire::method::{Exchange, Method};
        let method = exchange::Declare {
            auto_delete: true,
            ..crate::support::methods::declare_exchange(name, kind)
        };
        self.send(1, &method);
        self.expect(1, "exchange.declare-ok", |method| {
            matches!(method, Method::Exchange(Exchange::DeclareOk)).then_some(())
        });
    }
}
