//! Connections that say little, and those that were busy and say nothing any more: whatever comes
//! to either is heard (abuse row 44 of both, H-15).

use std::time::Duration;

use crate::support::setup::Stage;
use crate::support::siege::unique;

use super::client::Client;
use super::ground::Ground;
use super::octets::{BOTH, Hello};

on_every_setup!(who_was_quiet_or_busy_hears_and_is_heard);

/// Octets read so often that the connection is watched by itself for a while.
const OFTEN: usize = 100;
/// After so long it is not any more.
const UNTIL_QUIET: Duration = Duration::from_millis(4_500);

/// A client that has said little, and one that has said much and then nothing.
fn pair(ground: &Ground, version: u8, kind: &str) -> [(Client, Hello); 2] {
    [0, OFTEN].map(|pings| {
        let hello = Hello::lasting(version, &unique(kind));
        let mut client = Client::connect(ground.addr, &hello);
        (0..pings).for_each(|_| client.ping());
        (client, hello)
    })
}

/// MQTT-3.1.2-24 (v3.1.1), MQTT-3.1.2-22 (v5)
fn who_was_quiet_or_busy_hears_and_is_heard(stage: &Stage) {
    let ground = Ground::shared(stage);
    for version in BOTH {
        let topic = unique("quiet");
        let mut listeners = pair(&ground, version, "hears");
        listeners.iter_mut().for_each(|(client, _)| client.subscribe(&topic, 1));
        let speakers = pair(&ground, version, "speaks");
        let overtaken = pair(&ground, version, "overtaken");
        let leavers = pair(&ground, version, "leaves");
        let silent = [0, OFTEN].map(|pings| {
            let hello = Hello { keep_alive: 4, ..Hello::new(version, &unique("silent")) };
            let mut client = Client::connect(ground.addr, &hello);
            (0..pings).for_each(|_| client.ping());
            client
        });
        std::thread::sleep(UNTIL_QUIET);

        for (mut client, _) in speakers {
            client.tell_surely(&topic, "to the quiet");
            listeners.iter_mut().for_each(|(client, _)| {
                client.expect_text("to the quiet");
            });
        }
        for (mut first, hello) in overtaken {
            let (mut second, _) = Client::resume(ground.addr, &hello);
            first.expect_closed(0x8E);
            second.ping();
        }
        for (client, hello) in leavers {
            client.vanish();
            let (mut again, is_present) = Client::resume(ground.addr, &hello);
            assert!(is_present);
            again.ping();
        }
        // Nothing is heard of them, whose keep alive goes by.
        for mut client in silent {
            client.expect_closed(0x8D);
        }
        listeners.iter_mut().for_each(|(client, _)| client.ping());
    }
    ground.lift();
}

#[test]
fn a_server_that_stops_takes_leave_of_the_quiet() {
    for shards in [1, 2] {
        let ground = Ground::own(shards, "");
        let mut clients: Vec<_> =
            BOTH.iter().flat_map(|version| pair(&ground, *version, "stops")).collect();
        std::thread::sleep(UNTIL_QUIET);
        ground.broker().signal("TERM");
        clients.iter_mut().for_each(|(client, _)| client.expect_closed(0x8B));
    }
}
