//! Several connections with one client id (V-032, V-034).

use super::rig::*;
use crate::config::{Config, DeliverMode};
use crate::protocol::mqtt::wire::Version;
use crate::protocol::mqtt::wire::connect::Connect;
use crate::protocol::mqtt::wire::publish::{Promise, PublishHead};
use crate::protocol::mqtt::wire::reason_code::ReasonCode;

fn rig(shards: u16, queue_deliver_mode: DeliverMode) -> Rig {
    let mut config = Config::default();
    config.mqtt.allow_multiple_sessions = true;
    config.mqtt.queue_deliver_mode = queue_deliver_mode;
    Rig::on(shards, config)
}

fn bodies(rig: &mut Rig, client: Client) -> Vec<String> {
    let last = |text: String| text.rsplit(' ').next().unwrap_or_default().to_owned();
    rig.heard(client).into_iter().map(last).collect()
}

#[test]
fn each_connection_gets_a_copy_of_what_it_has_subscribed_to() {
    for version in [Version::V3, Version::V4] {
        let mut rig = rig(3, DeliverMode::Fanout);
        let all = [(); 3].map(|()| rig.open(version, "a/b"));
        let from = rig.open(version, "from");
        for client in all {
            rig.subscribe(client, "t", 0);
        }
        rig.send(from, "t", 0, "m");
        for client in all {
            assert_eq!(bodies(&mut rig, client), ["m"]);
        }
        // The first goes; the others stay, and another has its place.
        rig.disconnect(all[0], ReasonCode::Success);
        let again = rig.open(version, "a/b");
        rig.send(from, "t", 0, "n");
        assert_eq!(bodies(&mut rig, all[1]), ["n"]);
        assert!(bodies(&mut rig, again).is_empty());
    }
}

#[test]
fn connections_share_what_they_subscribe_to_in_common_where_a_setting_says_so() {
    let mut rig = rig(3, DeliverMode::Balance);
    let from = rig.open(Version::V4, "from");
    let retained = PublishHead { retain: true, ..head("t/r", Promise::AtMostOnce) };
    rig.publish(from, retained, "kept");
    let all = [(); 3].map(|()| rig.open(Version::V4, "a/b%"));
    for client in all {
        rig.subscribe_with(client, 1, &[("t/#", Default::default())], None);
        assert_eq!(rig.heard(client).len(), 2, "what is retained is shown to each");
    }
    for n in 0..90 {
        rig.send(from, "t/x", 0, &n.to_string());
    }
    let shares = all.map(|client| bodies(&mut rig, client));
    assert_eq!(shares.iter().map(Vec::len).sum::<usize>(), 90);
    assert!(shares.iter().all(|share| share.len() > 9), "{shares:?}");
    rig.unsubscribe(all[0], 2, &["t/#"]);
    assert_eq!(rig.heard(all[0]), ["UNSUBACK 2 []"]);
    for n in 0..20 {
        rig.send(from, "t/x", 0, &n.to_string());
    }
    let shares = all.map(|client| bodies(&mut rig, client).len());
    assert_eq!((shares[0], shares.iter().sum::<usize>()), (0, 20));
    // A client with another id has all of it.
    let other = rig.open(Version::V4, "other");
    rig.subscribe_with(other, 1, &[("t/x", Default::default())], None);
    rig.heard(other);
    rig.send(from, "t/x", 0, "m");
    assert_eq!(bodies(&mut rig, other), ["m"]);
}

/// MQTT-3.1.4-3 (v5)
#[test]
fn version_5_has_one_connection_for_each_client_id_whatever_is_set() {
    let mut rig = rig(1, DeliverMode::Balance);
    let first = rig.open(Version::V5, "c");
    let second = rig.open(Version::V5, "c");
    assert_eq!(rig.heard(first), ["DISCONNECT 8e"]);
    rig.subscribe(second, "t", 0);
    rig.send(second, "t", 0, "m");
    assert_eq!(bodies(&mut rig, second), ["m"]);
}

#[test]
fn the_session_that_lasts_is_that_of_the_first() {
    let mut rig = rig(2, DeliverMode::Balance);
    let lasting = Connect { clean_start: false, ..hello(Version::V4, "c") };
    let first = rig.connect(&lasting);
    assert_eq!(rig.heard(first), ["CONNACK 00 new"]);
    rig.subscribe(first, "t", 1);
    let second = rig.connect(&lasting);
    assert_eq!(rig.heard(second), ["CONNACK 00 new"]);
    rig.subscribe(second, "t", 1);
    rig.disconnect(second, ReasonCode::Success);
    rig.disconnect(first, ReasonCode::Success);
    let from = rig.open(Version::V4, "from");
    rig.send(from, "t", 1, "m");
    let again = rig.connect(&lasting);
    let heard = rig.heard(again);
    assert_eq!(heard[0], "CONNACK 00 resumed");
    assert!(heard[1].ends_with(" m"), "{heard:?}");
}
