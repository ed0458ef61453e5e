//! SUBSCRIBE, UNSUBSCRIBE, sessions that last, wills.

use super::rig::*;
use crate::config::Config;
use crate::protocol::mqtt::wire::connect::{Connect, ConnectProperties};
use crate::protocol::mqtt::wire::publish::Promise;
use crate::protocol::mqtt::wire::reason_code::ReasonCode;
use crate::protocol::mqtt::wire::subscribe::Options;
use crate::protocol::mqtt::wire::{Qos, Version};

const NOTHING: [&str; 0] = [];

fn qos(level: u8) -> Options {
    Options { qos: Qos::from_bits(level).unwrap(), ..Options::default() }
}

/// MQTT-3.8.4-1, MQTT-3.8.4-2, MQTT-3.8.4-4, MQTT-3.8.4-5, MQTT-3.9.3-1 (v3.1.1), MQTT-3.8.4-1,
/// MQTT-3.8.4-2, MQTT-3.8.4-5, MQTT-3.8.4-6, MQTT-3.9.3-1 (v5), abuse row 64
#[test]
fn each_filter_of_a_subscribe_has_its_own_answer_in_order() {
    let mut rig = Rig::new();
    let filters = [("a", qos(0)), ("b/#", qos(2)), ("a#", qos(1)), ("c", qos(1))];
    for (version, codes) in
        [(Version::V3, "00 02 01 01"), (Version::V4, "00 02 80 01"), (Version::V5, "00 02 8f 01")]
    {
        let client = rig.open(version, "c");
        rig.subscribe_with(client, 77, &filters, None);
        assert_eq!(rig.heard(client), [format!("SUBACK 77 [{codes}]")]);
    }
}

/// MQTT-3.8.3-3, MQTT-3.10.3-2 (v3.1.1), MQTT-3.8.3-2, MQTT-3.10.3-2 (v5), abuse row 83
#[test]
fn without_a_filter_there_is_nothing_to_subscribe_to() {
    let mut rig = Rig::new();
    for octets in [&[0x82, 2, 0, 1][..], &[0xa2, 2, 0, 1]] {
        let client = rig.open(Version::V4, "c");
        rig.say(client, octets);
        assert!(rig.is_closed(client));
    }
    for octets in [&[0x82, 3, 0, 1, 0][..], &[0xa2, 3, 0, 1, 0]] {
        let client = rig.open(Version::V5, "c");
        rig.say(client, octets);
        assert_eq!(rig.heard(client), ["DISCONNECT 82"]);
    }
}

/// MQTT-3.8.4-3 (v3.1.1 and v5)
#[test]
fn the_same_filter_again_replaces_what_was_granted() {
    for version in Version::ALL {
        let mut rig = Rig::new();
        let client = rig.open(version, "c");
        rig.subscribe(client, "t", 0);
        rig.subscribe(client, "t", 1);
        rig.send(client, "t", 1, "m");
        let heard = rig.heard(client);
        let publishes: Vec<_> = heard.iter().filter(|p| p.starts_with("PUBLISH")).collect();
        assert_eq!(publishes.len(), 1, "{heard:?}");
        assert!(publishes[0].starts_with("PUBLISH \"t\" q1"));
    }
}

/// MQTT-3.3.5-1 (v3.1.1), MQTT-3.3.4-2, MQTT-3.3.4-3, MQTT-3.3.4-4 (v5), H-22, H-23
#[test]
fn overlapping_filters_bring_one_copy_with_all_numbers() {
    let mut rig = Rig::new();
    let client = rig.open(Version::V5, "c");
    rig.subscribe_with(client, 1, &[("a/+", qos(2))], Some(2));
    rig.subscribe_with(client, 2, &[("a/b", qos(1))], Some(3));
    rig.subscribe_with(client, 3, &[("other", qos(1))], Some(4));
    assert_eq!(rig.heard(client), ["SUBACK 1 [02]", "SUBACK 2 [01]", "SUBACK 3 [01]"]);
    rig.send(client, "a/b", 2, "m");
    let heard = rig.heard(client);
    assert_eq!(heard.len(), 2, "{heard:?}");
    let publish = heard.iter().find(|p| p.starts_with("PUBLISH")).unwrap();
    assert!(publish.starts_with("PUBLISH \"a/b\" q2 #"), "{publish}");
    assert!(publish.ends_with(" ids=[2, 3] m"), "{publish}");
}

/// MQTT-3.10.4-1, MQTT-3.10.4-2, MQTT-3.10.4-4, MQTT-3.10.4-5, MQTT-3.10.4-6 (v3.1.1),
/// MQTT-3.10.4-1, MQTT-3.10.4-2, MQTT-3.10.4-4 to MQTT-3.10.4-6, MQTT-3.11.3-1, MQTT-3.11.3-2 (v5)
#[test]
fn unsubscribe_ends_exactly_the_filters_it_names() {
    for (version, answer) in [(Version::V4, ""), (Version::V5, "00 11")] {
        let mut rig = Rig::new();
        let client = rig.open(version, "c");
        rig.subscribe(client, "a/+", 0);
        rig.subscribe(client, "a/b", 0);
        rig.unsubscribe(client, 9, &["a/b", "a/c"]);
        assert_eq!(rig.heard(client), [format!("UNSUBACK 9 [{answer}]")]);
        rig.send(client, "a/b", 0, "m");
        assert_eq!(rig.heard(client), ["PUBLISH \"a/b\" q0 m"]);
        rig.unsubscribe(client, 10, &["a/+"]);
        rig.heard(client);
        rig.send(client, "a/b", 0, "m");
        assert_eq!(rig.heard(client), NOTHING);
    }
}

/// MQTT-4.7.2-1 (v3.1.1 and v5)
#[test]
fn filters_that_begin_with_a_wildcard_do_not_match_topics_that_begin_with_a_dollar() {
    let mut rig = Rig::new();
    let client = rig.open(Version::V4, "c");
    rig.subscribe(client, "#", 0);
    rig.subscribe(client, "+/x", 0);
    rig.send(client, "$a/x", 0, "m");
    assert_eq!(rig.heard(client), NOTHING);
    rig.subscribe(client, "$a/#", 0);
    rig.send(client, "$a/x", 0, "m");
    assert_eq!(rig.heard(client), ["PUBLISH \"$a/x\" q0 m"]);
}

/// MQTT-3.8.3-4, MQTT-4.8.2-1, MQTT-4.8.2-2 (v5), abuse row 82
#[test]
fn shared_filters_that_are_none_are_refused() {
    let mut rig = Rig::new();
    let client = rig.open(Version::V5, "c");
    rig.subscribe_with(client, 1, &[("$share//x", qos(0)), ("$share/a/", qos(0))], None);
    assert_eq!(rig.heard(client), ["SUBACK 1 [8f 8f]"]);
    let options = Options { no_local: true, ..qos(0) };
    rig.subscribe_with(client, 1, &[("$share/g/x", options)], None);
    assert_eq!(rig.heard(client), ["DISCONNECT 82"]);
}

/// MQTT-4.7.1-1, MQTT-4.7.3-1 (v3.1.1 and v5): 0x8F is for filters that are "correctly formed".
#[test]
fn to_unsubscribe_from_what_is_no_filter_ends_the_connection() {
    for (version, heard) in [(Version::V4, &[][..]), (Version::V5, &["DISCONNECT 81"])] {
        for filter in ["", "#a", "a/#/b", "$share/g"] {
            let mut rig = Rig::new();
            let client = rig.open(version, "c");
            rig.unsubscribe(client, 9, &["a", filter]);
            assert_eq!(rig.heard(client), heard, "{filter}");
            assert!(rig.is_closed(client));
        }
    }
}

/// V-040, abuse rows 65 and 66
#[test]
fn filters_have_limits() {
    let mut config = Config::default();
    config.mqtt.subscriptions_per_client_max = 1;
    config.mqtt.topic_depth_max = 3;
    let mut rig = Rig::with(config);
    let client = rig.open(Version::V5, "c");
    rig.subscribe_with(client, 1, &[("a/b/c", qos(0)), ("b", qos(0))], None);
    assert_eq!(rig.heard(client), ["SUBACK 1 [00 97]"]);
    rig.subscribe_with(client, 2, &[("a/b/c", qos(1))], None);
    assert_eq!(rig.heard(client), ["SUBACK 2 [01]"]);
    rig.send(client, "a/b/c/d", 1, "");
    assert_eq!(rig.heard(client), ["DISCONNECT 81"]);
    let client = rig.open(Version::V5, "d");
    rig.subscribe_with(client, 1, &[("a", qos(0)), ("a/b/c/d", qos(0))], None);
    assert_eq!(rig.heard(client), ["DISCONNECT 81"]);
}

/// MQTT-3.1.2-4, MQTT-3.1.2-5, MQTT-3.2.2-2 (v3.1.1), MQTT-3.1.2-5, MQTT-3.1.2-23, MQTT-3.2.2-3 (v5)
#[test]
fn a_session_that_lasts_keeps_subscriptions_and_messages() {
    for version in Version::ALL {
        let mut rig = Rig::new();
        let properties = ConnectProperties { session_expiry_s: 60, ..ConnectProperties::default() };
        let properties = if version.is_v5() { properties } else { ConnectProperties::default() };
        let connect = Connect { clean_start: false, properties, ..hello(version, "to") };
        let to = rig.connect(&connect);
        assert_eq!(rig.heard(to), ["CONNACK 00 new"]);
        rig.subscribe(to, "t", 1);
        rig.disconnect(to, ReasonCode::Success);
        let from = rig.open(Version::V4, "from");
        rig.send(from, "t", 1, "one");
        rig.send(from, "t", 0, "lost");
        rig.send(from, "t", 2, "two");
        let to = rig.connect(&connect);
        let heard = rig.heard(to);
        let present = if version == Version::V3 { "new" } else { "resumed" };
        assert_eq!(heard[0], format!("CONNACK 00 {present}"));
        assert_eq!(heard.len(), 3, "{heard:?}");
        assert!(heard[1].ends_with(" one") && heard[2].ends_with(" two"), "{heard:?}");
        assert!(!heard[1].contains("dup"), "{heard:?}");
    }
}

/// MQTT-3.1.2-6, MQTT-3.2.2-1 (v3.1.1), MQTT-3.1.2-4, MQTT-3.2.2-2 (v5)
#[test]
fn a_clean_start_forgets_what_was() {
    for version in Version::ALL {
        let mut rig = Rig::new();
        let properties = ConnectProperties { session_expiry_s: 60, ..ConnectProperties::default() };
        let properties = if version.is_v5() { properties } else { ConnectProperties::default() };
        let connect = Connect { clean_start: false, properties, ..hello(version, "to") };
        let to = rig.connect(&connect);
        rig.heard(to);
        rig.subscribe(to, "t", 1);
        rig.cut(to);
        let from = rig.open(Version::V4, "from");
        rig.send(from, "t", 1, "one");
        let to = rig.connect(&Connect { clean_start: true, ..connect });
        assert_eq!(rig.heard(to), ["CONNACK 00 new"]);
        rig.send(from, "t", 1, "two");
        assert_eq!(rig.heard(to), NOTHING);
    }
}

/// MQTT-4.1.0-2 (v5)
#[test]
fn a_session_ends_when_its_interval_is_over() {
    let mut rig = Rig::new();
    let properties = ConnectProperties { session_expiry_s: 60, ..ConnectProperties::default() };
    let connect = Connect { clean_start: false, properties, ..hello(Version::V5, "to") };
    let to = rig.connect(&connect);
    rig.heard(to);
    rig.subscribe(to, "t", 1);
    rig.cut(to);
    rig.tick(59_000);
    let to = rig.connect(&connect);
    assert_eq!(rig.heard(to), ["CONNACK 00 resumed"]);
    rig.cut(to);
    rig.tick(61_000);
    let to = rig.connect(&connect);
    assert_eq!(rig.heard(to), ["CONNACK 00 new"]);
}

/// MQTT-3.1.2-25 (v5), abuse row 81
#[test]
fn a_session_expiry_interval_has_a_limit() {
    let mut config = Config::default();
    config.mqtt.session_expiry_max_s = Some(100);
    let mut rig = Rig::with(config);
    for (asked, told) in [(100, ""), (101, " expiry=100"), (u32::MAX, " expiry=100"), (0, "")] {
        let properties =
            ConnectProperties { session_expiry_s: asked, ..ConnectProperties::default() };
        let client = rig.connect(&Connect { properties, ..hello(Version::V5, "c") });
        assert_eq!(rig.heard(client), [format!("CONNACK 00 new{told}")]);
    }
}

/// MQTT-4.6.0-5, MQTT-4.6.0-6 (v3.1.1), MQTT-4.6.0-5, MQTT-4.6.0-6 (v5), H-01
#[test]
fn messages_of_a_topic_come_in_their_order() {
    let mut rig = Rig::new();
    let to = rig.open(Version::V5, "to");
    rig.subscribe(to, "t", 2);
    let from = rig.open(Version::V4, "from");
    for n in 1..=50 {
        rig.publish(from, head("t", Promise::AtLeastOnce(id(n))), &n.to_string());
    }
    let bodies: Vec<u16> =
        rig.heard(to).iter().map(|p| p.rsplit_once(' ').unwrap().1.parse().unwrap()).collect();
    assert_eq!(bodies, (1..=50).collect::<Vec<u16>>());
    let acks = rig.heard(from);
    let expected: Vec<String> = (1..=50).map(|n| format!("PUBACK {n}")).collect();
    assert_eq!(acks, expected, "MQTT-4.6.0-2");
}

#[test]
fn many_filters_of_one_client_are_matched_like_few() {
    let mut rig = Rig::new();
    let client = rig.open(Version::V5, "c");
    for n in 0..50 {
        rig.subscribe_with(client, 1, &[(&format!("a/{n}/+"), qos(n % 3))], Some(u32::from(n) + 1));
    }
    rig.heard(client);
    rig.send(client, "a/7/x", 2, "m");
    let heard = rig.heard(client);
    let publish = heard.iter().find(|p| p.starts_with("PUBLISH")).unwrap();
    assert!(publish.starts_with("PUBLISH \"a/7/x\" q1 ") && publish.ends_with("ids=[8] m"));
}
