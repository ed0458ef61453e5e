//! Where tests of MQTT meet their broker, and somebody who works with it meanwhile. May import
//! `client`, `octets`.

use std::net::SocketAddr;

use crate::support::Broker;
use crate::support::broker::Options;
use crate::support::setup::Stage;
use crate::support::siege::unique;

use super::client::{Client, Connack};
use super::octets::{Hello, V4};

/// The broker of a test, and a client of it that must never suffer.
#[derive(Debug)]
pub(crate) struct Ground {
    /// `None`: a broker that others share.
    own: Option<Broker>,
    shared: Option<&'static Broker>,
    pub(crate) addr: SocketAddr,
    canary: Client,
    topic: String,
}

impl Ground {
    /// On the broker that the tests of this process share.
    pub(crate) fn shared(stage: &Stage) -> Self {
        let broker = stage.setup.shared();
        let mut ground = Self::around(None, broker.mqtt_addr());
        ground.shared = Some(broker);
        ground
    }

    /// On a broker of this test alone, with further lines of section `[mqtt]`.
    pub(crate) fn own(shards: u16, config: &str) -> Self {
        let config = format!("[mqtt]\n{config}");
        Self::on(Broker::with(Options { shards, config: &config, ..Options::new() }))
    }

    /// On this broker.
    pub(crate) fn on(broker: Broker) -> Self {
        let addr = broker.mqtt_addr();
        Self::around(Some(broker), addr)
    }

    fn around(own: Option<Broker>, addr: SocketAddr) -> Self {
        let topic = unique("canary");
        // No setting makes a client of 3.1.1 say something now and then.
        let mut canary = Client::connect(addr, &Hello::new(V4, &topic));
        canary.subscribe(&topic, 0);
        let mut ground = Self { own, shared: None, addr, canary, topic };
        ground.canary_sings();
        ground
    }

    /// Fails unless the other client's message goes round.
    pub(crate) fn canary_sings(&mut self) {
        self.canary.tell(&self.topic, "tweet");
        self.canary.expect_text("tweet");
    }

    /// A broker of this test alone.
    pub(crate) fn broker(&self) -> &Broker {
        self.own.as_ref().expect("a broker of its own")
    }

    /// Where the listener with a name is, if there is one.
    pub(crate) fn named_addr(&self) -> SocketAddr {
        let log = self.broker().log();
        let lines = log.lines().filter_map(|line| line.strip_prefix("listening mqtt "));
        let addr = lines.filter_map(|addr| addr.parse().ok()).find(|addr| *addr != self.addr);
        addr.expect("a second line")
    }

    /// A client with a name of its own and a session that ends with its connection.
    pub(crate) fn client(&self, version: u8) -> Client {
        Client::connect(self.addr, &Hello::new(version, &unique("client")))
    }

    /// A connection that has said nothing.
    pub(crate) fn stranger(&self, version: u8) -> Client {
        Client::stranger(self.addr, version)
    }

    /// What a CONNECT is answered with; after a refusal nothing more may come.
    pub(crate) fn answer_to(&self, hello: &Hello) -> Connack {
        let (mut client, connack) = Client::try_connect(self.addr, hello);
        if connack.code != 0 {
            assert!(!connack.present, "MQTT-3.2.2-4 (v3.1.1), MQTT-3.2.2-6 (v5)");
            client.expect_end();
        }
        connack
    }

    /// The end: nobody else has suffered.
    pub(crate) fn lift(mut self) {
        self.canary_sings();
        self.canary.bid_farewell();
        if let Some(broker) = self.own.take() {
            assert!(!broker.log().contains("panicked"), "{}", broker.log());
            broker.terminate();
        }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // A broker of its own says what happened when it is dropped.
        if let Some(broker) = self.shared.filter(|_| std::thread::panicking()) {
            eprintln!("{}\n(log of a shared broker)", broker.log());
        }
    }
}
