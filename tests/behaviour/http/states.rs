//! What keeps a connection from being read, as operators see it, and what goes on meanwhile.

use std::net::SocketAddr;

use ringmq::protocol::amqp091::wire::method::{Basic, Channel, Connection, Method, channel};

use super::{Asker, until};
use crate::support::broker::Options;
use crate::support::{Broker, Client, Login};

/// Publishers wait above this.
const WATERMARK: &str = "max_memory = 8M";
/// The few messages of each of many queues cannot go to the disk.
const QUEUES: u32 = 400;

fn client(broker: &Broker, capabilities: &'static [&'static str]) -> Client {
    let mut client = Client::connect(broker.addr());
    client.log_in(&Login { capabilities, ..Login::default() });
    client.open_channel(1);
    client
}

fn queue_of(number: u32) -> String {
    format!("little-{}", number % QUEUES)
}

/// Publishes until the broker says that it takes no more; how many it has taken.
fn fill(owner: &mut Client, publisher: &mut Client) -> u32 {
    for number in 0..QUEUES {
        owner.declare(1, &queue_of(number));
    }
    publisher.confirm_select(1);
    let body = vec![7; 16 * 1024];
    for number in 0..3 * QUEUES {
        publisher.publish(1, "", &queue_of(number), &body);
        let received = publisher.next("a confirm, or connection.blocked");
        match received.method() {
            Some(Method::Basic(Basic::Ack(_))) => {}
            Some(Method::Connection(Connection::Blocked(_))) => return number,
            _ => panic!("unexpected: {}", received.describe()),
        }
    }
    panic!("nobody is held back");
}

fn state_of(guest: &Asker<'_>, own: SocketAddr) -> String {
    let all = guest.get("/api/connections?columns=peer_port,state");
    let mut all = all.as_array().expect("a list").iter();
    let ours = all.find(|row| row["peer_port"] == own.port()).expect("ours");
    ours["state"].as_str().expect("a word").to_owned()
}

fn wait_for_state(guest: &Asker<'_>, client: &Client, state: &str) {
    let own = client.stream().local_addr().expect("an address");
    until(state, || (state_of(guest, own) == state).then_some(()));
}

const ALL: &[&str] = &["publisher_confirms", "connection.blocked"];
const NOT_TOLD: &[&str] = &["publisher_confirms"];

/// S61, S58
#[test]
fn who_is_held_back_is_in_flow_and_who_was_told_so_is_blocked() {
    let broker = Broker::with(Options { config: WATERMARK, ..Options::default() });
    let guest = Asker::guest(broker.http_addr());
    let (mut owner, mut told) = (client(&broker, ALL), client(&broker, ALL));
    let mut quiet = client(&broker, NOT_TOLD);
    for client in [&owner, &told, &quiet] {
        wait_for_state(&guest, client, "running");
    }
    let count = fill(&mut owner, &mut told);
    quiet.publish(1, "", &queue_of(0), b"held");
    wait_for_state(&guest, &told, "blocked");
    wait_for_state(&guest, &quiet, "flow");
    wait_for_state(&guest, &owner, "running");
    for number in 0..count {
        owner.get_when_there(1, &queue_of(number));
    }
    for client in [&owner, &told, &quiet] {
        wait_for_state(&guest, client, "running");
    }
}

/// S59: also when what settles comes behind the publish, before or after it was held back, and in
/// the order of each channel.
#[test]
fn a_publisher_that_is_held_back_still_settles_what_it_consumes() {
    for shards in [1, 2] {
        let broker = Broker::with(Options { config: WATERMARK, shards, ..Options::default() });
        let mut owner = client(&broker, ALL);
        let mut both = client(&broker, NOT_TOLD);
        both.open_channel(2);
        owner.declare(1, "work");
        for _ in 0..4 {
            owner.publish(1, "", "work", b"work");
        }
        both.prefetch(2, 1);
        both.consume(2, "work");
        let first = both.expect_delivery(2);
        let mut filler = client(&broker, ALL);
        let count = fill(&mut owner, &mut filler);
        both.confirm_select(1);
        both.publish(1, "", "work", b"last");
        // In one piece with the publish or not, as the network has it.
        both.ack(2, first.delivery_tag, false);
        let second = both.expect_delivery(2);
        both.ack(2, second.delivery_tag, false);
        let third = both.expect_delivery(2);
        both.nack(2, third.delivery_tag, false);
        let fourth = both.expect_delivery(2);
        // Of the channel that publishes, behind the publish: it waits.
        both.open_channel_later(3);
        both.expect_silence();
        for number in 0..count {
            owner.get_when_there(1, &queue_of(number));
        }
        let (mut confirmed, mut opened) = (false, false);
        while !(confirmed && opened) {
            let received = both.next("a confirm and channel.open-ok");
            match received.method() {
                Some(Method::Basic(Basic::Ack(_))) => confirmed = true,
                Some(Method::Channel(Channel::OpenOk(_))) => opened = true,
                _ => panic!("unexpected: {}", received.describe()),
            }
        }
        both.ack(2, fourth.delivery_tag, false);
        assert_eq!(both.expect_delivery(2).body, b"last");
        assert_eq!(owner.counts(1, "work").0, 0, "nothing was settled twice");
        both.close();
    }
}

/// S59: what a peer sent before it went stays published.
#[test]
fn a_publisher_that_leaves_while_it_is_held_back_has_published() {
    let broker = Broker::with(Options { config: WATERMARK, ..Options::default() });
    let (mut owner, mut filler) = (client(&broker, ALL), client(&broker, ALL));
    owner.declare(1, "last");
    let mut leaves = client(&broker, NOT_TOLD);
    let count = fill(&mut owner, &mut filler);
    leaves.publish(1, "", "last", b"last words");
    let guest = Asker::guest(broker.http_addr());
    wait_for_state(&guest, &leaves, "flow");
    drop(leaves);
    for number in 0..count {
        owner.get_when_there(1, &queue_of(number));
    }
    assert_eq!(owner.get_when_there(1, "last").body, b"last words");
}

impl Client {
    fn open_channel_later(&mut self, number: u16) {
        self.send(number, &channel::Open { out_of_band: "" });
    }
}
