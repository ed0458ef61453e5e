//! CONNECT, CONNACK, DISCONNECT, keep alive, takeover.

use super::rig::*;
use crate::config::Config;
use crate::protocol::mqtt::wire::Version;
use crate::protocol::mqtt::wire::connect::{Connect, ConnectProperties};
use crate::protocol::mqtt::wire::disconnect::Disconnect;
use crate::protocol::mqtt::wire::reason_code::ReasonCode;

/// MQTT-3.1.4-4, MQTT-3.2.0-1, MQTT-3.2.2-1 (v3.1.1), MQTT-3.1.4-5, MQTT-3.2.0-1, MQTT-3.2.2-2 (v5)
#[test]
fn a_client_that_is_known_is_let_in() {
    for version in Version::ALL {
        let mut rig = Rig::new();
        let client = rig.connect(&hello(version, "c"));
        assert_eq!(rig.heard(client)[0], "CONNACK 00 new");
        rig.ping(client);
        assert_eq!(rig.heard(client), ["PINGRESP"]);
    }
}

/// MQTT-3.1.0-1 (v3.1.1 and v5)
#[test]
fn a_first_packet_that_is_not_connect_is_not_answered() {
    let mut rig = Rig::new();
    let client = rig.silent(Version::V4);
    rig.ping(client);
    assert!(rig.is_closed(client));
    assert!(rig.octets(client).is_empty());
}

/// MQTT-3.1.0-2 (v3.1.1 and v5)
#[test]
fn a_second_connect_ends_the_connection() {
    let mut rig = Rig::new();
    for (version, heard) in [(Version::V4, vec![]), (Version::V5, vec!["DISCONNECT 82"])] {
        let client = rig.open(version, "c");
        rig.packet(client, &hello(version, "c"));
        assert_eq!(rig.heard(client), heard);
        assert!(rig.is_closed(client));
    }
}

/// MQTT-3.1.2-2 (v3.1.1 and v5)
#[test]
fn a_version_that_is_not_spoken_is_answered() {
    let mut rig = Rig::new();
    let client = rig.silent(Version::V5);
    rig.say(client, b"\x10\x0d\0\x04MQTT\x06\x02\0\0\0\0\0");
    assert_eq!(rig.heard(client), ["CONNACK 84 new"]);
    let client = rig.silent(Version::V3);
    rig.say(client, b"\x10\x0f\0\x06MQIsdp\x04\x02\0\0\0\x01a");
    assert_eq!(rig.octets(client), [0x20, 2, 0, 1]);
    assert!(rig.is_closed(client));
}

/// MQTT-3.1.4-1 (v3.1.1)
#[test]
fn a_malformed_connect_has_no_answer_before_version_5() {
    let mut rig = Rig::new();
    let client = rig.silent(Version::V4);
    rig.say(client, b"\x10\x0d\0\x04MQTT\x04\x03\0\0\0\x01c");
    assert!(rig.is_closed(client) || rig.octets(client).is_empty());
    let client = rig.silent(Version::V4);
    rig.say(client, b"\x10\x0d\0\x04MQTT\x04\x01\0\0\0\x01c");
    assert!(rig.octets(client).is_empty());
}

/// MQTT-3.1.3-7, MQTT-3.1.3-8 (v3.1.1), MQTT-3.1.3-6, MQTT-3.1.3-7, MQTT-3.2.2-16 (v5)
#[test]
fn an_empty_client_id_is_replaced_where_it_may_be() {
    let mut rig = Rig::new();
    let keeping = |version| Connect { clean_start: false, ..hello(version, "") };
    let client = rig.connect(&hello(Version::V4, ""));
    assert_eq!(rig.heard(client), ["CONNACK 00 new"]);
    let client = rig.connect(&keeping(Version::V4));
    assert_eq!(rig.octets(client), [0x20, 2, 0, 2]);
    assert!(rig.is_closed(client));
    let client = rig.connect(&hello(Version::V3, ""));
    assert_eq!(rig.octets(client), [0x20, 2, 0, 2]);
    for connect in [hello(Version::V5, ""), keeping(Version::V5)] {
        let client = rig.connect(&connect);
        assert_eq!(rig.heard(client), ["CONNACK 00 new assigned"]);
    }
}

/// MQTT-3.1.3-9 (v3.1.1), MQTT-3.1.3-8 (v5)
#[test]
fn a_client_id_that_is_too_long_is_refused() {
    let mut rig = Rig::new();
    let long = "x".repeat(1000);
    for (version, code) in [(Version::V4, "85"), (Version::V5, "85")] {
        let client = rig.connect(&hello(version, &long));
        assert_eq!(rig.heard(client), [format!("CONNACK {code} new")]);
        assert!(rig.is_closed(client));
    }
}

/// MQTT-3.2.2-4, MQTT-3.2.2-5 (v3.1.1), MQTT-3.1.4-2, MQTT-3.2.2-6, MQTT-3.2.2-7 (v5)
#[test]
fn a_wrong_password_is_told_after_a_while() {
    for (version, code) in [(Version::V4, "86"), (Version::V5, "86")] {
        let mut rig = Rig::new();
        let client = rig.connect(&Connect { password: Some(b"no"), ..hello(version, "c") });
        assert!(rig.octets(client).is_empty());
        rig.tick(2_000);
        assert_eq!(rig.heard(client), [format!("CONNACK {code} new")]);
        assert!(rig.is_closed(client));
    }
}

/// MQTT-4.12.0-1 (v5)
#[test]
fn an_authentication_method_that_is_unknown_is_refused() {
    let mut rig = Rig::new();
    let properties = ConnectProperties { auth_method: Some("X"), ..ConnectProperties::default() };
    let client = rig.connect(&Connect { properties, ..hello(Version::V5, "c") });
    assert_eq!(rig.heard(client), ["CONNACK 8c new"]);
}

///
#[test]
fn a_user_name_may_say_the_virtual_host() {
    let mut config = Config::default();
    config.mqtt.vhost_in_username = true;
    let mut rig = Rig::with(config);
    let there = rig.connect(&Connect { user_name: Some("other:guest"), ..hello(Version::V4, "a") });
    assert_eq!(rig.heard(there), ["CONNACK 00 new"]);
    let here = rig.open(Version::V4, "a");
    assert!(!rig.is_closed(there), "client ids of two virtual hosts are two");
    rig.subscribe(there, "#", 0);
    rig.send(here, "t", 0, "m");
    assert_eq!(rig.heard(there), Vec::<String>::new());
    let nowhere = rig.connect(&Connect { user_name: Some("x:guest"), ..hello(Version::V4, "b") });
    assert_eq!(rig.heard(nowhere), ["CONNACK 86 new"]);
}

/// MQTT-3.1.4-2 (v3.1.1), MQTT-3.1.4-3 (v5)
#[test]
fn a_client_that_comes_again_ends_its_earlier_connection() {
    let mut rig = Rig::new();
    for (version, heard) in [(Version::V4, vec![]), (Version::V5, vec!["DISCONNECT 8e"])] {
        let first = rig.open(version, "c");
        let second = rig.open(version, "c");
        assert_eq!(rig.heard(first), heard);
        assert!(rig.is_closed(first));
        assert!(!rig.is_closed(second));
        rig.disconnect(second, ReasonCode::Success);
    }
}

/// MQTT-3.1.2-24 (v3.1.1), MQTT-3.1.2-22 (v5)
#[test]
fn silence_of_one_and_a_half_times_the_keep_alive_ends_the_connection() {
    for (version, heard) in [(Version::V4, vec![]), (Version::V5, vec!["DISCONNECT 8d"])] {
        let mut rig = Rig::new();
        let client = rig.connect(&Connect { keep_alive_s: 10, ..hello(version, "c") });
        rig.heard(client);
        rig.tick(14_000);
        rig.ping(client);
        assert_eq!(rig.heard(client), ["PINGRESP"]);
        rig.tick(15_000);
        assert!(!rig.is_closed(client));
        rig.tick(1);
        assert_eq!(rig.heard(client), heard);
        assert!(rig.is_closed(client));
    }
}

/// MQTT-3.2.2-21, MQTT-3.2.2-22 (v5), H-16
#[test]
fn the_server_shortens_a_keep_alive_only_where_it_must() {
    let mut config = Config::default();
    config.mqtt.keepalive_max_s = 60;
    let mut rig = Rig::with(config);
    for (asked, told) in [(120, " keep-alive=60"), (0, " keep-alive=60"), (60, ""), (30, "")] {
        let client = rig.connect(&Connect { keep_alive_s: asked, ..hello(Version::V5, "c") });
        assert_eq!(rig.heard(client), [format!("CONNACK 00 new{told}")]);
    }
    for (asked, code) in [(61, "85"), (60, "00"), (0, "00")] {
        let client = rig.connect(&Connect { keep_alive_s: asked, ..hello(Version::V4, "d") });
        assert_eq!(rig.heard(client), [format!("CONNACK {code} new")], "no way to tell it");
    }
}

#[test]
fn who_says_nothing_is_not_waited_for() {
    let mut rig = Rig::new();
    let client = rig.silent(Version::V4);
    rig.tick(60_000);
    assert!(rig.is_closed(client));
    assert!(rig.octets(client).is_empty());
}

/// MQTT-3.14.4-1, MQTT-3.14.4-2 (v3.1.1 and v5)
#[test]
fn disconnect_ends_the_connection_without_an_answer() {
    let mut rig = Rig::new();
    for version in Version::ALL {
        let client = rig.open(version, "c");
        rig.disconnect(client, ReasonCode::Success);
        assert!(rig.octets(client).is_empty());
        assert!(rig.is_closed(client));
    }
}

/// H-14
#[test]
fn a_session_that_was_to_end_is_not_kept_by_disconnect() {
    let mut rig = Rig::new();
    let client = rig.open(Version::V5, "c");
    let mut packet = Disconnect::new(ReasonCode::Success, None);
    packet.session_expiry_s = Some(10);
    rig.packet(client, &packet);
    assert_eq!(rig.heard(client), ["DISCONNECT 82"]);
}

/// MQTT-3.14.0-1 (v5), H-35
#[test]
fn a_server_that_stops_says_so() {
    let mut rig = Rig::new();
    let old = rig.open(Version::V4, "a");
    let new = rig.open(Version::V5, "b");
    let unknown = rig.silent(Version::V5);
    rig.stop();
    assert_eq!(rig.heard(old), Vec::<String>::new());
    assert_eq!(rig.heard(new), ["DISCONNECT 8b"]);
    assert_eq!(rig.heard(unknown), Vec::<String>::new());
    for client in [old, new, unknown] {
        assert!(rig.is_closed(client));
    }
}

/// Abuse rows 54 and 56
#[test]
fn a_packet_is_too_large_or_senseless_before_it_is_there() {
    let mut rig = Rig::new();
    let client = rig.open(Version::V5, "c");
    rig.say(client, &[0x30, 0xff, 0xff, 0xff, 0x7f]);
    assert_eq!(rig.heard(client), ["DISCONNECT 95"]);
    let client = rig.open(Version::V5, "c");
    rig.say(client, &[0x30, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!(rig.heard(client), ["DISCONNECT 81"]);
    let client = rig.silent(Version::V5);
    rig.say(client, &[0x10, 0xff, 0xff, 0x07]);
    assert!(rig.is_closed(client));
}

/// MQTT-3.15 (v5), abuse row 86
#[test]
fn auth_without_a_method_is_an_error() {
    let mut rig = Rig::new();
    let client = rig.open(Version::V5, "c");
    rig.say(client, &[0xf0, 0]);
    assert_eq!(rig.heard(client), ["DISCONNECT 82"]);
    let client = rig.open(Version::V4, "c");
    rig.say(client, &[0xf0, 0]);
    assert!(rig.is_closed(client));
}

/// Packets that only a server may send
#[test]
fn answers_of_servers_are_not_taken_from_clients() {
    for first in [0x20, 0x90, 0xb0, 0xd0] {
        let mut rig = Rig::new();
        let client = rig.open(Version::V5, "c");
        rig.say(client, &[first, 0]);
        assert_eq!(rig.heard(client), ["DISCONNECT 82"]);
    }
}

/// V-040
#[test]
fn a_connection_lasts_no_longer_than_the_settings_say() {
    let mut config = Config::default();
    config.mqtt.connection_lifetime_max_s = 60;
    let mut rig = Rig::with(config);
    let client = rig.open(Version::V5, "c");
    rig.tick(59_999);
    assert!(!rig.is_closed(client));
    rig.tick(1);
    assert_eq!(rig.heard(client), ["DISCONNECT a0"]);
}

#[test]
fn an_idle_connection_is_small() {
    let octets = size_of::<crate::protocol::mqtt::session::Mqtt>();
    println!("a session without anything has {octets} octets");
    assert!(octets < 1024);
}
