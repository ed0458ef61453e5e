//! Storms of connections: how often a client id may be taken over, and how fast connections come
//! (abuse rows 78 and 80).

use super::client::{Client, Heard};
use super::ground::Ground;
use super::octets::{Hello, V4, V5};

/// Two clients with one name, which each take the session from the other as fast as they can.
#[test]
fn a_fight_for_a_client_id_is_slowed_down() {
    let ground = Ground::own(2, "max_takeover_rate = 2\n");
    for (version, code) in [(V4, 3), (V5, 0x97)] {
        let hello = Hello::new(version, "both");
        let mut fighters = Vec::new();
        let mut refused = None;
        for _ in 0..100 {
            let (client, connack) = Client::try_connect(ground.addr, &hello);
            fighters.push(client);
            if connack.code != 0 {
                refused = Some(connack.code);
                break;
            }
        }
        assert_eq!(refused, Some(code));
        fighters.pop().expect("the one that was refused").expect_end();
        // Who has the session keeps it.
        fighters.pop().expect("the one before").ping();
    }
    ground.lift();
}

#[test]
fn an_address_that_connects_too_fast_is_refused() {
    let broker = crate::support::Broker::with(crate::support::broker::Options {
        shards: 1,
        config: "[main]\nmax_connection_rate_per_address = 5\n",
        ..crate::support::broker::Options::new()
    });
    let ground = Ground::on(broker);
    // Before they say anything: none of them logs in.
    let mut all: Vec<Client> = (0..200).map(|_| ground.stranger(V5)).collect();
    let last = all.last_mut().expect("many");
    assert_eq!(last.next(), Heard::End);
    ground.broker().wait_for_line(&["too many from one address in a second"]);
    drop(all);
    ground.lift();
}

#[test]
fn more_connections_than_a_listener_takes_in_a_second_wait() {
    let ground = Ground::own(
        1,
        "listener.tcp.slow = 127.0.0.1:0\nlistener.tcp.slow.max_connection_rate = 50\n",
    );
    let addr = ground.named_addr();
    let mut all: Vec<Client> = (0..100).map(|_| Client::stranger(addr, V5)).collect();
    for (n, client) in all.iter_mut().enumerate() {
        client.send(&Hello::new(V5, &format!("crowd-{n}")).octets());
    }
    for client in &mut all {
        assert_eq!(client.expect_connack().code, 0);
    }
    ground.lift();
}
