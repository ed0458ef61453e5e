//! Several listeners at once, and what holds for one of them alone.

use crate::support::client::PATIENCE;
use crate::support::{Client, Login};
use std::time::Instant;

use super::web::{Frame, Web, broker, port_of, request};

/// mqtt.md V-092: whoever comes when the listener is full is closed at once; other listeners go on;
/// there is room again when somebody leaves.
#[test]
fn a_full_listener_takes_no_more_and_the_others_do() {
    for shards in [1, 2] {
        let broker = broker(shards, "max_connections = 3\n");
        let port = port_of(&broker);
        let mut inside: Vec<Web> = (0..3).map(|_| Web::open(port)).collect();
        let mut outside = Web::connect(port);
        assert_eq!(outside.next(), Frame::End);
        let mut elsewhere: Vec<Client> = (0..5).map(|_| Client::connect(broker.addr())).collect();
        elsewhere.iter_mut().for_each(|client| client.log_in(&Login::default()));
        drop(inside.pop());
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut web = Web::connect(port);
            let (mut out, said) = (web.writer(), request("/ws/amqp", ""));
            if out.raw(said.as_bytes()) && web.is_answered() {
                break;
            }
            assert!(Instant::now() < deadline, "there is room: {}", broker.log());
        }
        broker.terminate();
    }
}
