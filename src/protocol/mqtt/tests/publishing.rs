//! PUBLISH both ways and its answers.

use super::rig::*;
use crate::config::Config;
use crate::protocol::mqtt::outgoing::packet_id;
use crate::protocol::mqtt::wire::ack::AckKind::{Puback, Pubcomp, Pubrec, Pubrel};
use crate::protocol::mqtt::wire::connect::{Connect, ConnectProperties};
use crate::protocol::mqtt::wire::properties::put_user_property;
use crate::protocol::mqtt::wire::publish::{Promise, PublishHead};
use crate::protocol::mqtt::wire::reason_code::ReasonCode;
use crate::protocol::mqtt::wire::subscribe::Options;
use crate::protocol::mqtt::wire::{Qos, Version};

const NOTHING: [&str; 0] = [];

fn lasting<'a>(version: Version, id: &'a str) -> Connect<'a> {
    let properties = ConnectProperties { session_expiry_s: 1000, ..ConnectProperties::default() };
    Connect { clean_start: false, properties, ..hello(version, id) }
}

/// MQTT-3.3.4-1, MQTT-3.8.4-6 (v3.1.1), MQTT-3.3.4-1, MQTT-3.8.4-8 (v5), MQTT-3.3.1-2 (both)
#[test]
fn each_qos_is_answered_and_delivered_at_most_as_granted() {
    for version in Version::ALL {
        for (granted, published) in
            (0..3).flat_map(|granted| (0..3).map(move |published| (granted, published)))
        {
            let mut rig = Rig::new();
            let from = rig.open(version, "from");
            let to = rig.open(version, "to");
            rig.subscribe(to, "a/+", granted);
            rig.send(from, "a/b", published, "hi");
            let answer = match published {
                0 => vec![],
                1 => vec!["PUBACK 100"],
                _ => vec!["PUBREC 100"],
            };
            assert_eq!(rig.heard(from), answer, "{version:?} {granted} {published}");
            let qos = granted.min(published);
            let number = if qos > 0 { format!(" #{}", packet_id(0)) } else { String::new() };
            assert_eq!(rig.heard(to), [format!("PUBLISH \"a/b\" q{qos}{number} hi")]);
        }
    }
}

/// MQTT-4.3.3-2 (v3.1.1), MQTT-4.3.3-8, MQTT-4.3.3-10, MQTT-4.3.3-11, MQTT-4.3.3-12 (v5)
#[test]
fn a_repetition_with_qos_2_is_answered_and_not_delivered_again() {
    for version in Version::ALL {
        let mut rig = Rig::new();
        let from = rig.open(version, "from");
        let to = rig.open(version, "to");
        rig.subscribe(to, "t", 0);
        let twice = |dup| PublishHead { dup, ..head("t", Promise::ExactlyOnce(id(7))) };
        rig.publish(from, twice(false), "1");
        rig.publish(from, twice(true), "1");
        assert_eq!(rig.heard(from), ["PUBREC 7", "PUBREC 7"]);
        assert_eq!(rig.heard(to), ["PUBLISH \"t\" q0 1"]);
        rig.ack(from, Pubrel, 7);
        assert_eq!(rig.heard(from), ["PUBCOMP 7"]);
        rig.publish(from, twice(false), "2");
        assert_eq!(rig.heard(from), ["PUBREC 7"]);
        assert_eq!(rig.heard(to), ["PUBLISH \"t\" q0 2"]);
    }
}

/// MQTT-4.3.3-2 (v3.1.1), MQTT-3.7.2-1 (v5)
#[test]
fn pubrel_of_an_unknown_packet_id_is_answered() {
    let mut rig = Rig::new();
    for (version, heard) in [(Version::V4, "PUBCOMP 9"), (Version::V5, "PUBCOMP 9 92")] {
        let client = rig.open(version, "c");
        rig.ack(client, Pubrel, 9);
        assert_eq!(rig.heard(client), [heard]);
    }
}

/// MQTT-3.4.2-1, MQTT-3.5.2-1 (v5), H-03
#[test]
fn a_publisher_of_version_5_learns_that_nobody_has_subscribed() {
    let mut rig = Rig::new();
    let client = rig.open(Version::V5, "c");
    rig.send(client, "t", 1, "");
    rig.send(client, "t", 2, "");
    assert_eq!(rig.heard(client), ["PUBACK 100 10", "PUBREC 100"], "as from Mosquitto");
    rig.ack(client, Pubrel, 100);
    assert_eq!(rig.heard(client), ["PUBCOMP 100"]);
}

/// MQTT-4.3.2-1 (v3.1.1), MQTT-4.3.2-1, MQTT-4.3.2-4 (v5), H-09
#[test]
fn deliveries_wait_for_answers_when_the_window_is_full() {
    let mut rig = Rig::new();
    let properties = ConnectProperties { receive_max: 2, ..ConnectProperties::default() };
    let to = rig.connect(&Connect { properties, ..hello(Version::V5, "to") });
    rig.heard(to);
    rig.subscribe(to, "t", 1);
    let from = rig.open(Version::V4, "from");
    for n in 0..4 {
        rig.send(from, "t", 1, &n.to_string());
    }
    let first = rig.heard(to);
    assert_eq!(first.len(), 2, "{first:?}");
    let number = |text: &str| -> u16 {
        text.split(['#', ' ']).find_map(|part| part.parse().ok()).unwrap_or(0)
    };
    let ids: Vec<u16> = first.iter().map(|p| number(p.split_once('#').unwrap().1)).collect();
    rig.ack(to, Puback, ids[0]);
    let next = rig.heard(to);
    assert_eq!(next.len(), 1, "{next:?}");
    assert!(next[0].ends_with(" 2"), "{next:?}");
    rig.ack_with(to, Puback, ids[1], ReasonCode::UnspecifiedError);
    let next = rig.heard(to);
    assert!(next.len() == 1 && next[0].ends_with(" 3"), "a refusal settles too: {next:?}");
}

/// MQTT-4.3.3-1 (v3.1.1), MQTT-4.3.3-1 to MQTT-4.3.3-6 (v5)
#[test]
fn a_delivery_with_qos_2_takes_four_packets() {
    for version in Version::ALL {
        let mut rig = Rig::new();
        let to = rig.open(version, "to");
        rig.subscribe(to, "t", 2);
        rig.send(to, "t", 2, "m");
        let heard = rig.heard(to);
        assert_eq!(heard.len(), 2, "{heard:?}");
        let publish = heard.iter().find(|p| p.starts_with("PUBLISH")).unwrap();
        let number: u16 =
            publish.split_once('#').unwrap().1.split(' ').next().unwrap().parse().unwrap();
        rig.ack(to, Pubrec, number);
        assert_eq!(rig.heard(to), [format!("PUBREL {number}")]);
        rig.ack(to, Pubrec, number);
        assert_eq!(rig.heard(to), [format!("PUBREL {number}")]);
        rig.ack(to, Pubcomp, number);
        assert_eq!(rig.heard(to), NOTHING);
        rig.ack(to, Pubrec, number);
        let unknown = if version == Version::V5 { " 92" } else { "" };
        assert_eq!(rig.heard(to), [format!("PUBREL {number}{unknown}")]);
    }
}

/// MQTT-4.3.3-4 (v5), MQTT-4.4.0-2 (v5)
#[test]
fn a_negative_pubrec_ends_the_exchange() {
    let mut rig = Rig::new();
    let to = rig.open(Version::V5, "to");
    rig.subscribe(to, "t", 2);
    rig.send(to, "t", 2, "m");
    let heard = rig.heard(to);
    let publish = heard.iter().find(|p| p.starts_with("PUBLISH")).unwrap();
    let number: u16 =
        publish.split_once('#').unwrap().1.split(' ').next().unwrap().parse().unwrap();
    rig.ack_with(to, Pubrec, number, ReasonCode::QuotaExceeded);
    assert_eq!(rig.heard(to), NOTHING);
    rig.ack(to, Pubcomp, number);
    assert!(!rig.is_closed(to));
}

/// Abuse row 70
#[test]
fn an_answer_of_another_qos_is_an_error() {
    let mut rig = Rig::new();
    let to = rig.open(Version::V5, "to");
    rig.subscribe(to, "t", 2);
    rig.send(to, "t", 2, "m");
    let heard = rig.heard(to);
    let publish = heard.iter().find(|p| p.starts_with("PUBLISH")).unwrap();
    let number: u16 =
        publish.split_once('#').unwrap().1.split(' ').next().unwrap().parse().unwrap();
    rig.ack(to, Puback, number);
    assert_eq!(rig.heard(to), ["DISCONNECT 82"]);
}

/// MQTT-3.3.4-7 (v5)
#[test]
fn more_unanswered_publishes_than_the_receive_maximum_end_the_connection() {
    let mut config = Config::default();
    config.mqtt.receive_max_broker = 2;
    let mut rig = Rig::with(config);
    let client = rig.open(Version::V5, "c");
    for n in 1..=2 {
        rig.publish(client, head("t", Promise::ExactlyOnce(id(n))), "");
    }
    assert_eq!(rig.heard(client), ["PUBREC 1", "PUBREC 2"]);
    rig.ack(client, Pubrel, 1);
    rig.publish(client, head("t", Promise::ExactlyOnce(id(3))), "");
    assert_eq!(rig.heard(client), ["PUBCOMP 1", "PUBREC 3"]);
    rig.publish(client, head("t", Promise::AtLeastOnce(id(4))), "");
    assert_eq!(rig.heard(client), ["DISCONNECT 93"]);
}

/// MQTT-3.3.2-7, MQTT-3.3.2-8, MQTT-3.3.2-9, MQTT-3.3.2-12 (v5), abuse row 72
#[test]
fn an_alias_stands_for_a_topic_that_was_named_with_it() {
    let mut config = Config::default();
    config.mqtt.topic_alias_max_client = 5;
    let mut rig = Rig::with(config);
    let to = rig.open(Version::V4, "to");
    rig.subscribe(to, "#", 0);
    let with =
        |topic, alias| PublishHead { alias: Some(alias), ..head(topic, Promise::AtMostOnce) };
    let from = rig.open(Version::V5, "from");
    rig.publish(from, with("one", 5), "1");
    rig.publish(from, with("", 5), "2");
    rig.publish(from, with("two", 5), "3");
    rig.publish(from, with("", 5), "4");
    let expected = [
        "PUBLISH \"one\" q0 1",
        "PUBLISH \"one\" q0 2",
        "PUBLISH \"two\" q0 3",
        "PUBLISH \"two\" q0 4",
    ];
    assert_eq!(rig.heard(to), expected);
    for (alias, code) in [(4, 82), (6, 94), (0, 94)] {
        let from = rig.open(Version::V5, "from");
        rig.publish(from, with("", alias), "");
        assert_eq!(rig.heard(from), [format!("DISCONNECT {code}")], "alias {alias}");
    }
    let from = rig.open(Version::V5, "from");
    rig.publish(from, with("", 5), "");
    assert_eq!(rig.heard(from), ["DISCONNECT 82"], "aliases end with their connection");
}

/// MQTT-3.1.2-26, MQTT-3.3.2-11 (v5)
#[test]
fn topics_go_out_under_aliases_if_the_client_takes_them() {
    let mut config = Config::default();
    config.mqtt.topic_alias_max_broker = 10;
    let mut rig = Rig::with(config);
    let properties = ConnectProperties { topic_alias_max: 1, ..ConnectProperties::default() };
    let to = rig.connect(&Connect { properties, ..hello(Version::V5, "to") });
    rig.heard(to);
    rig.subscribe(to, "#", 0);
    let from = rig.open(Version::V4, "from");
    for topic in ["long/one", "long/one", "long/two"] {
        rig.send(from, topic, 0, "m");
    }
    let expected = [
        "PUBLISH \"long/one\" q0 alias=1 m",
        "PUBLISH \"\" q0 alias=1 m",
        "PUBLISH \"long/two\" q0 m",
    ];
    assert_eq!(rig.heard(to), expected);
}

/// MQTT-3.1.2-24, MQTT-3.1.2-25 (v5)
#[test]
fn what_is_larger_than_the_client_takes_is_left_out_as_if_it_had_it() {
    let mut rig = Rig::new();
    let properties = ConnectProperties {
        packet_bytes_max: Some(40),
        receive_max: 1,
        ..ConnectProperties::default()
    };
    let to = rig.connect(&Connect { properties, ..hello(Version::V5, "to") });
    rig.heard(to);
    rig.subscribe(to, "t", 1);
    let from = rig.open(Version::V4, "from");
    rig.send(from, "t", 1, &"x".repeat(40));
    rig.send(from, "t", 1, "small");
    let heard = rig.heard(to);
    assert!(heard.len() == 1 && heard[0].ends_with(" small"), "{heard:?}");
}

/// MQTT-3.3.2-4, MQTT-3.3.2-15 to MQTT-3.3.2-18, MQTT-3.3.2-20 (v5)
#[test]
fn properties_of_a_message_are_forwarded_in_order() {
    let mut rig = Rig::new();
    let old = rig.open(Version::V4, "old");
    let new = rig.open(Version::V5, "new");
    rig.subscribe(old, "t", 0);
    rig.subscribe(new, "t", 0);
    let mut forwarded = Vec::new();
    for (name, value) in [("b", "1"), ("a", "2"), ("b", "1")] {
        put_user_property(&mut forwarded, name, value);
    }
    rig.publish(new, PublishHead { forwarded: &forwarded, ..head("t", Promise::AtMostOnce) }, "m");
    assert_eq!(rig.heard(old), ["PUBLISH \"t\" q0 m"]);
    assert_eq!(rig.heard(new), ["PUBLISH \"t\" q0 b=1 a=2 b=1 m"]);
}

/// MQTT-3.3.2-5, MQTT-3.3.2-6 (v5), X-14
#[test]
fn what_is_left_of_a_life_is_told_and_what_is_over_is_not_sent() {
    let mut rig = Rig::new();
    let to = rig.connect(&lasting(Version::V5, "to"));
    rig.heard(to);
    rig.subscribe(to, "t", 1);
    rig.cut(to);
    let from = rig.open(Version::V5, "from");
    for (expiry_s, body) in [(10, "ten"), (3, "three")] {
        let once = head("t", Promise::AtLeastOnce(id(1)));
        rig.publish(from, PublishHead { expiry_s: Some(expiry_s), ..once }, body);
    }
    rig.tick(3_500);
    let to = rig.connect(&lasting(Version::V5, "to"));
    let heard = rig.heard(to);
    assert_eq!(heard[0], "CONNACK 00 resumed");
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert!(heard[1].ends_with(" expiry=7 ten"), "{heard:?}");
}

/// MQTT-3.3.2-2, MQTT-4.7.1-1 (v3.1.1 and v5), abuse row 63
#[test]
fn a_topic_with_wildcards_or_without_letters_ends_the_connection() {
    for topic in ["a/#", "+", ""] {
        let mut rig = Rig::new();
        for version in Version::ALL {
            let client = rig.open(version, "c");
            rig.publish(client, head(topic, Promise::AtMostOnce), "");
            assert!(rig.is_closed(client), "{topic}");
        }
    }
}

/// MQTT-3.3.5-2 (v3.1.1), H-28, H-31, V-041
#[test]
fn topics_of_the_broker_are_not_published_to() {
    let mut rig = Rig::new();
    let new = rig.open(Version::V5, "new");
    rig.send(new, "$SYS/x", 0, "");
    rig.send(new, "$SYS/x", 1, "");
    rig.send(new, "$SYS/x", 2, "");
    assert_eq!(rig.heard(new), ["PUBACK 100 87", "PUBREC 100 87"]);
    rig.send(new, "$other/x", 1, "");
    assert_eq!(rig.heard(new), ["PUBACK 100 10"]);
    let older = rig.open(Version::V3, "older");
    rig.send(older, "$SYS/x", 1, "");
    assert_eq!(rig.heard(older), ["PUBACK 100"]);
    let old = rig.open(Version::V4, "old");
    rig.send(old, "$SYS/x", 0, "");
    assert!(!rig.is_closed(old));
    rig.send(old, "$SYS/x", 1, "");
    assert!(rig.is_closed(old));
}

/// MQTT-4.4.0-1, MQTT-4.6.0-1 (v3.1.1 and v5), MQTT-3.3.1-1 (v3.1.1 and v5), H-07, H-10
#[test]
fn what_was_not_answered_comes_again_with_its_packet_id_and_dup() {
    for version in [Version::V4, Version::V5] {
        let mut rig = Rig::new();
        let to = rig.connect(&lasting(version, "to"));
        rig.heard(to);
        rig.subscribe(to, "t", 2);
        let from = rig.open(Version::V4, "from");
        rig.send(from, "t", 1, "one");
        rig.send(from, "t", 2, "two");
        let first = rig.heard(to);
        assert_eq!(first.len(), 2, "{first:?}");
        rig.cut(to);
        rig.send(from, "t", 1, "three");
        let to = rig.connect(&lasting(version, "to"));
        let again = rig.heard(to);
        assert!(again[0].ends_with("resumed"), "{again:?}");
        for (before, after) in first.iter().zip(&again[1..]) {
            let (start, end) = after.split_once(" dup").expect("a repetition is marked");
            assert_eq!(*before, format!("{start}{end}"));
        }
        assert!(!again[3].contains(" dup") && again[3].ends_with(" three"), "{again:?}");
    }
}

/// MQTT-4.4.0-1, MQTT-4.3.3-1 (v3.1.1), MQTT-4.4.0-1, MQTT-4.3.3-6 (v5), H-05
#[test]
fn what_the_client_has_is_only_released_after_a_resume() {
    for version in [Version::V4, Version::V5] {
        let mut rig = Rig::new();
        let to = rig.connect(&lasting(version, "to"));
        rig.heard(to);
        rig.subscribe(to, "t", 2);
        let from = rig.open(Version::V4, "from");
        rig.send(from, "t", 2, "one");
        let first = rig.heard(to);
        let number: u16 =
            first[0].split_once('#').unwrap().1.split(' ').next().unwrap().parse().unwrap();
        rig.ack(to, Pubrec, number);
        assert_eq!(rig.heard(to), [format!("PUBREL {number}")]);
        rig.cut(to);
        let to = rig.connect(&lasting(version, "to"));
        let heard = rig.heard(to);
        assert_eq!(&heard[1..], [format!("PUBREL {number}")]);
        rig.ack(to, Pubcomp, number);
        rig.cut(to);
        let to = rig.connect(&lasting(version, "to"));
        assert_eq!(rig.heard(to).len(), 1);
    }
}

/// MQTT-4.4.0-1 (v5), V-030, H-08
#[test]
fn only_clients_of_version_3_get_repetitions_while_connected() {
    let mut config = Config::default();
    config.mqtt.retry_interval_s = 20;
    for (version, is_repeated) in [(Version::V3, true), (Version::V4, true), (Version::V5, false)] {
        let mut rig = Rig::with(config.clone());
        let to = rig.open(version, "to");
        rig.subscribe(to, "t", 2);
        rig.send(to, "t", 1, "m");
        let first = rig.heard(to).into_iter().find(|p| p.starts_with("PUBLISH")).unwrap();
        rig.tick(20_001);
        let heard = rig.heard(to);
        let expected = if is_repeated { vec![first.replace(" m", " dup m")] } else { Vec::new() };
        assert_eq!(heard, expected);
    }
}

/// V-031
#[test]
fn a_qos_is_raised_only_if_the_settings_say_so() {
    let mut config = Config::default();
    config.mqtt.upgrade_outgoing_qos = true;
    let mut rig = Rig::with(config);
    let to = rig.open(Version::V4, "to");
    rig.subscribe(to, "t", 1);
    rig.send(to, "t", 0, "m");
    let heard = rig.heard(to);
    assert!(heard[0].starts_with("PUBLISH \"t\" q1 #"), "{heard:?}");
}

/// MQTT-3.8.3-3 (v5)
#[test]
fn no_local_is_obeyed() {
    let mut rig = Rig::new();
    let me = rig.open(Version::V5, "me");
    let other = rig.open(Version::V5, "other");
    let options = Options { no_local: true, qos: Qos::AtLeastOnce, ..Options::default() };
    rig.subscribe_with(me, 1, &[("t", options)], None);
    rig.heard(me);
    rig.send(me, "t", 0, "mine");
    rig.send(me, "t", 1, "mine");
    assert_eq!(rig.heard(me), ["PUBACK 100"]);
    rig.send(other, "t", 0, "theirs");
    assert_eq!(rig.heard(me), ["PUBLISH \"t\" q0 theirs"]);
}

/// MQTT-3.3.1-8, MQTT-3.3.1-9 (v3.1.1), MQTT-3.3.1-12, MQTT-3.3.1-13 (v5)
#[test]
fn the_retain_flag_of_live_messages_is_cleared_unless_it_is_wanted() {
    let mut rig = Rig::new();
    let old = rig.open(Version::V4, "old");
    rig.subscribe(old, "t", 0);
    let new = rig.open(Version::V5, "new");
    let options = Options { retain_as_published: true, ..Options::default() };
    rig.subscribe_with(new, 1, &[("t", options)], None);
    rig.heard(new);
    let retained = PublishHead { retain: true, ..head("t", Promise::AtMostOnce) };
    rig.publish(old, retained, "m");
    rig.publish(old, head("t", Promise::AtMostOnce), "n");
    assert_eq!(rig.heard(old), ["PUBLISH \"t\" q0 m", "PUBLISH \"t\" q0 n"]);
    assert_eq!(rig.heard(new), ["PUBLISH \"t\" q0 retain m", "PUBLISH \"t\" q0 n"]);
}

/// V-025
#[test]
fn a_publisher_that_is_too_fast_is_read_more_slowly() {
    let mut config = Config::default();
    config.mqtt.message_rate_max = 2;
    let mut rig = Rig::with(config);
    let client = rig.open(Version::V4, "c");
    rig.tick(5_000);
    for n in 1..=5 {
        rig.publish(client, head("t", Promise::AtLeastOnce(id(n))), "");
    }
    assert_eq!(rig.heard(client), ["PUBACK 1", "PUBACK 2"]);
    rig.tick(1_000);
    assert_eq!(rig.heard(client), ["PUBACK 3", "PUBACK 4"]);
    rig.tick(1_000);
    assert_eq!(rig.heard(client), ["PUBACK 5"]);
}
