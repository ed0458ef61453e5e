//! What settings offer to clients and what they refuse; habits of Mosquitto that its clients know.

use super::rig::*;
use crate::config::{Config, LoginRefusal};
use crate::protocol::mqtt::wire::ack::AckKind::Pubrel;
use crate::protocol::mqtt::wire::connect::{Connect, ConnectProperties, Will};
use crate::protocol::mqtt::wire::message_properties::WillProperties;
use crate::protocol::mqtt::wire::publish::{Promise, PublishHead};
use crate::protocol::mqtt::wire::reason_code::ReasonCode;
use crate::protocol::mqtt::wire::subscribe::Options;
use crate::protocol::mqtt::wire::{Qos, Version};

fn with(change: impl FnOnce(&mut crate::config::Mqtt)) -> Rig {
    let mut config = Config::default();
    change(&mut config.mqtt);
    Rig::with(config)
}

const NOTHING: [&str; 0] = [];

fn leaving(version: Version, qos: Qos, retain: bool, payload: &[u8]) -> Connect<'_> {
    let properties = WillProperties::default();
    let will = Some(Will { topic: "will", payload, qos, retain, properties });
    Connect { will, ..hello(version, "c") }
}

/// MQTT-3.2.2-13, MQTT-3.2.2-14 (v5)
#[test]
fn where_nothing_is_retained_who_asks_for_it_is_closed() {
    let mut rig = with(|mqtt| mqtt.retain_available = false);
    for (version, refused, closed) in [
        (Version::V4, "CONNACK 87 new", vec![]),
        (Version::V5, "CONNACK 9a new", vec!["DISCONNECT 9a"]),
    ] {
        let client = rig.open(version, "c");
        rig.publish(client, PublishHead { retain: true, ..head("t", Promise::AtMostOnce) }, "m");
        assert_eq!(rig.heard(client), closed);
        let client = rig.connect(&leaving(version, Qos::AtMostOnce, true, b"m"));
        assert_eq!(rig.heard(client), [refused]);
    }
}

/// MQTT-3.2.2-9, MQTT-3.2.2-10, MQTT-3.2.2-11, MQTT-3.2.2-12 (v5)
#[test]
fn a_qos_above_the_maximum_is_refused_and_a_subscription_is_granted_no_more() {
    let mut rig = with(|mqtt| mqtt.qos_max = 1);
    for (version, refused, closed) in [
        (Version::V4, "CONNACK 87 new", vec![]),
        (Version::V5, "CONNACK 9b new", vec!["DISCONNECT 9b"]),
    ] {
        let client = rig.open(version, "c");
        let options = Options { qos: Qos::ExactlyOnce, ..Options::default() };
        rig.subscribe_with(client, 1, &[("t", options)], None);
        assert_eq!(rig.heard(client), ["SUBACK 1 [01]"]);
        rig.send(client, "u", 2, "m");
        assert_eq!(rig.heard(client), closed);
        let client = rig.connect(&leaving(version, Qos::ExactlyOnce, false, b"m"));
        assert_eq!(rig.heard(client), [refused]);
    }
}

#[test]
fn a_message_above_the_limit_is_dropped_and_its_client_stays() {
    let mut rig = with(|mqtt| mqtt.message_bytes_dropped_above = 1);
    let to = rig.open(Version::V4, "to");
    rig.subscribe(to, "t", 0);
    for version in Version::ALL {
        let from = rig.open(version, "from");
        let code = if version.is_v5() { " 97" } else { "" };
        rig.send(from, "t", 0, "ab");
        rig.send(from, "t", 1, "ab");
        rig.send(from, "t", 2, "ab");
        assert_eq!(rig.heard(from), [format!("PUBACK 100{code}"), format!("PUBREC 100{code}")]);
        if !version.is_v5() {
            rig.ack(from, Pubrel, 100);
            assert_eq!(rig.heard(from), ["PUBCOMP 100"]);
        }
        assert_eq!(rig.heard(to), NOTHING);
        rig.send(from, "t", 0, "a");
        assert_eq!(rig.heard(to), ["PUBLISH \"t\" q0 a"]);
        let refused = if version.is_v5() { "CONNACK 95 new" } else { "CONNACK 87 new" };
        let client = rig.connect(&leaving(version, Qos::AtMostOnce, false, b"ab"));
        assert_eq!(rig.heard(client), [refused]);
    }
}

/// MQTT-3.1.3-8, MQTT-3.1.3-9 (v3.1.1)
#[test]
fn clients_without_a_client_id_may_be_unwelcome() {
    let mut rig = with(|mqtt| mqtt.allow_zero_length_clientid = false);
    for (version, code) in [(Version::V4, "85"), (Version::V5, "80")] {
        let client = rig.connect(&hello(version, ""));
        assert_eq!(rig.heard(client), [format!("CONNACK {code} new")]);
        assert!(rig.is_closed(client));
    }
}

#[test]
fn a_wrong_login_is_told_in_the_words_that_are_set() {
    for (refusal, code) in
        [(LoginRefusal::BadCredentials, "86"), (LoginRefusal::NotAuthorized, "87")]
    {
        let mut rig = with(|mqtt| mqtt.login_refusal = refusal);
        for version in Version::ALL {
            let wrong = Connect { password: Some(b"wrong"), ..hello(version, "c") };
            let client = rig.connect(&wrong);
            rig.tick(10_000);
            assert_eq!(rig.heard(client), [format!("CONNACK {code} new")]);
        }
    }
}

/// H-28: other `$SYS` topics are the broker's.
#[test]
fn a_bridge_says_how_it_is_where_mosquitto_does() {
    for version in [Version::V4, Version::V5] {
        let mut rig = Rig::new();
        let client = rig.open(version, "c");
        let state = "$SYS/broker/connection/roof/state";
        rig.subscribe(client, state, 0);
        rig.send(client, state, 1, "1");
        let heard = rig.heard(client);
        assert!(heard.contains(&format!("PUBLISH {state:?} q0 1")), "{heard:?}");
        for topic in ["$SYS/broker/connection/a/b/state", "$SYS/broker/connection//state", "$SYS/x"]
        {
            let client = rig.open(version, "d");
            rig.send(client, topic, 1, "1");
            let refused: &[&str] = if version.is_v5() { &["PUBACK 100 87"] } else { &[] };
            assert_eq!(rig.heard(client), refused, "{topic}");
        }
    }
}

/// Abuse row 70; 2.4 of 5.0: "This is not an error during recovery".
#[test]
fn a_pubrel_that_comes_again_in_a_session_that_goes_on_is_no_error() {
    let mut rig = Rig::new();
    let properties = ConnectProperties { session_expiry_s: 60, ..ConnectProperties::default() };
    let connect = Connect { clean_start: false, properties, ..hello(Version::V5, "c") };
    let client = rig.connect(&connect);
    assert_eq!(rig.heard(client), ["CONNACK 00 new"]);
    rig.send(client, "t", 2, "m");
    rig.ack(client, Pubrel, 100);
    rig.ack(client, Pubrel, 101);
    assert_eq!(rig.heard(client), ["PUBREC 100", "PUBCOMP 100", "PUBCOMP 101 92"]);
    rig.disconnect(client, ReasonCode::Success);
    let client = rig.connect(&connect);
    rig.ack(client, Pubrel, 100);
    assert_eq!(rig.heard(client), ["CONNACK 00 resumed", "PUBCOMP 100"]);
}

/// MQTT-3.8.3-3 (v5)
#[test]
fn what_a_client_does_not_want_of_its_own_takes_no_packet_id() {
    let mut rig = Rig::new();
    let client = rig.open(Version::V5, "c");
    let not_own = Options { qos: Qos::ExactlyOnce, no_local: true, ..Options::default() };
    rig.subscribe_with(client, 1, &[("own/+", not_own)], None);
    rig.heard(client);
    for (topic, qos, retain) in [("own/a", 1, false), ("own/b", 2, false), ("own/c", 1, true)] {
        let promise =
            if qos == 1 { Promise::AtLeastOnce(id(7)) } else { Promise::ExactlyOnce(id(7)) };
        rig.publish(client, PublishHead { retain, ..head(topic, promise) }, "m");
        let answer = if qos == 1 { "PUBACK 7" } else { "PUBREC 7" };
        assert_eq!(rig.heard(client), [answer], "{topic}");
    }
    rig.subscribe(client, "all/#", 1);
    rig.subscribe(client, "own/x", 1);
    let other = rig.open(Version::V4, "other");
    let mut number = None;
    for (who, topic) in [(client, "all/a"), (other, "own/a"), (client, "own/x")] {
        rig.send(who, topic, 1, "m");
        let heard = rig.heard(client);
        let publish = heard.iter().find_map(|p| p.strip_prefix(&format!("PUBLISH {topic:?} q1 #")));
        let id: u16 = publish.and_then(|p| p.strip_suffix(" m")).unwrap().parse().unwrap();
        assert_eq!(id, number.unwrap_or(id), "{topic}: {heard:?}");
        number = Some(id + 1);
        rig.send(client, "own/between", 1, "m");
        rig.heard(client);
    }
    rig.send(client, "own/y", 2, "m");
    assert_eq!(rig.heard(client), ["PUBREC 100"]);
}

/// MQTT-3.1.4-1, MQTT-4.13.1-1 (v5): an answer is allowed and not asked for.
#[test]
fn what_is_malformed_may_be_closed_without_an_answer_of_its_own() {
    let filters = [("a/#/b", Options::default())];
    for version in [Version::V4, Version::V5] {
        let mut rig = with(|mqtt| mqtt.malformed_closes = true);
        let client = rig.silent(version);
        // A will flag with an empty topic.
        let rest = [4, b'M', b'Q', b'T', b'T', version.level(), 0b110, 0, 9];
        let tail: &[u8] =
            if version.is_v5() { &[0, 0, 0, 0, 0, 0, 0, 0] } else { &[0, 0, 0, 0, 0, 0] };
        let body = [&[0], &rest[..], tail].concat();
        rig.say(client, &[&[0x10, u8::try_from(body.len()).unwrap()], &body[..]].concat());
        assert_eq!((rig.heard(client), rig.is_closed(client)), (vec![], true));
        let told: &[&str] = if version.is_v5() { &["DISCONNECT 81"] } else { &[] };
        let client = rig.open(version, "c");
        rig.subscribe_with(client, 1, &filters, None);
        assert_eq!(rig.heard(client), told);
        let client = rig.open(version, "c");
        rig.send(client, "a/+", 1, "m");
        assert_eq!(
            (rig.heard(client), rig.is_closed(client)),
            (told.iter().map(|s| (*s).to_owned()).collect(), true)
        );
        let wrong = Connect { password: Some(b"wrong"), ..hello(version, "c") };
        let client = rig.connect(&wrong);
        rig.tick(10_000);
        assert_eq!(rig.heard(client), ["CONNACK 86 new"], "a refusal is no malformed packet");
    }
}
