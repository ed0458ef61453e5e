//! Retained messages and wills.

use super::rig::*;
use crate::config::Config;
use crate::protocol::mqtt::outgoing::packet_id;
use crate::protocol::mqtt::wire::ack::AckKind;
use crate::protocol::mqtt::wire::connect::{Connect, ConnectProperties, Will};
use crate::protocol::mqtt::wire::message_properties::WillProperties;
use crate::protocol::mqtt::wire::publish::{Promise, PublishHead};
use crate::protocol::mqtt::wire::reason_code::ReasonCode;
use crate::protocol::mqtt::wire::subscribe::{Options, RetainHandling};
use crate::protocol::mqtt::wire::{Qos, Version};

const NOTHING: [&str; 0] = [];

fn retained(topic: &str, qos: u8) -> PublishHead<'_> {
    let promise = match qos {
        0 => Promise::AtMostOnce,
        1 => Promise::AtLeastOnce(id(100)),
        _ => Promise::ExactlyOnce(id(100)),
    };
    PublishHead { retain: true, ..head(topic, promise) }
}

/// What was heard besides answers.
fn publishes(rig: &mut Rig, client: Client) -> Vec<String> {
    let mut all = rig.heard(client);
    all.retain(|p| p.starts_with("PUBLISH"));
    all
}

/// MQTT-3.3.1-5 to MQTT-3.3.1-8, MQTT-3.3.1-10 to MQTT-3.3.1-12, MQTT-3.1.2-7 (v3.1.1),
/// MQTT-3.3.1-5 to MQTT-3.3.1-8 (v5), H-19, H-21
#[test]
fn the_last_retained_message_of_a_topic_meets_new_subscriptions() {
    for version in Version::ALL {
        let mut rig = Rig::new();
        let from = rig.open(version, "from");
        rig.publish(from, retained("a/b", 1), "old");
        rig.publish(from, retained("a/b", 0), "new");
        rig.publish(from, head("a/b", Promise::AtMostOnce), "live");
        rig.publish(from, retained("a/c", 0), "gone");
        rig.publish(from, retained("a/c", 0), "");
        rig.publish(from, retained("$a/b", 0), "hidden");
        let to = rig.open(version, "to");
        rig.subscribe_with(to, 1, &[("+/+", Options::default())], None);
        assert_eq!(rig.heard(to), ["SUBACK 1 [00]", "PUBLISH \"a/b\" q0 retain new"]);
        rig.cut(from);
        rig.subscribe_with(to, 2, &[("+/+", Options::default())], None);
        let again = ["SUBACK 2 [00]", "PUBLISH \"a/b\" q0 retain new"];
        assert_eq!(rig.heard(to), again, "the same filter again brings it again");
    }
}

/// What is retained while a filter is read is shown once, as long as it is not shown for another
/// subscription. The client holds the reading back by not answering.
#[test]
fn what_was_shown_as_it_came_is_not_shown_as_retained_again() {
    let mut rig = Rig::new();
    let from = rig.open(Version::V5, "from");
    rig.publish(from, retained("u", 0), "before");
    let properties = ConnectProperties { receive_max: 1, ..ConnectProperties::default() };
    let to = rig.connect(&Connect { properties, ..hello(Version::V5, "to") });
    rig.heard(to);
    rig.subscribe(to, "x", 1);
    rig.send(from, "x", 1, "held");
    rig.heard(to);
    for (number, filter) in [(2, "t"), (3, "u")] {
        rig.subscribe_with(to, number, &[(filter, Options::default())], None);
    }
    assert_eq!(rig.heard(to), ["SUBACK 2 [00]", "SUBACK 3 [00]"]);
    rig.publish(from, retained("t", 0), "new");
    assert_eq!(publishes(&mut rig, to), ["PUBLISH \"t\" q0 new"]);
    rig.subscribe_with(to, 4, &[("+", Options::default())], None);
    rig.publish(from, retained("t", 0), "newer");
    rig.publish(from, retained("t", 0), "new");
    assert_eq!(publishes(&mut rig, to), ["PUBLISH \"t\" q0 newer", "PUBLISH \"t\" q0 new"]);
    rig.subscribe_with(to, 5, &[("t/#", Options::default())], None);
    rig.ack(to, AckKind::Puback, packet_id(0));
    let rest = [
        "PUBLISH \"u\" q0 retain before",
        "PUBLISH \"u\" q0 retain before",
        "PUBLISH \"t\" q0 retain new",
    ];
    assert_eq!(
        publishes(&mut rig, to),
        rest,
        "u for its filter and for +; t for t/#, after which it did not come"
    );
}

/// H-03: what is retained and what is not, one behind the other.
#[test]
fn a_publisher_of_retained_messages_learns_that_nobody_has_subscribed() {
    let mut rig = Rig::new();
    let client = rig.open(Version::V5, "c");
    rig.subscribe(client, "taken", 0);
    let mut octets = Vec::new();
    for (n, topic, retain) in
        [(1, "a", true), (2, "taken", true), (3, "taken", false), (4, "b", false), (5, "c", true)]
    {
        for promise in [Promise::AtLeastOnce(id(n)), Promise::ExactlyOnce(id(n))] {
            let head = PublishHead { retain, ..head(topic, promise) };
            head.put(&mut octets, Version::V5, b"m", 1000).unwrap();
        }
    }
    rig.say(client, &octets);
    let heard = rig.heard(client);
    for kind in ["PUBACK", "PUBREC"] {
        let answers: Vec<_> = heard.iter().filter(|p| p.starts_with(kind)).collect();
        let nobody = if kind == "PUBACK" { " 10" } else { "" };
        let expected = [("1", nobody), ("2", ""), ("3", ""), ("4", nobody), ("5", nobody)]
            .map(|(number, code)| format!("{kind} {number}{code}"));
        assert_eq!(answers, expected.iter().collect::<Vec<_>>());
    }
}

/// MQTT-3.8.4-6 (v3.1.1), MQTT-3.8.4-8 (v5), H-19
#[test]
fn a_retained_message_comes_as_surely_as_it_may() {
    for version in Version::ALL {
        for (published, granted) in (0..3).flat_map(|p| (0..3).map(move |g| (p, g))) {
            let mut rig = Rig::new();
            let from = rig.open(version, "from");
            rig.publish(from, retained("t", published), "m");
            let to = rig.open(version, "to");
            let options = Options { qos: Qos::from_bits(granted).unwrap(), ..Options::default() };
            rig.subscribe_with(to, 1, &[("t", options)], None);
            let heard = rig.heard(to);
            assert_eq!(heard[0], format!("SUBACK 1 [0{granted}]"));
            assert_eq!(heard.len(), 2, "{heard:?}");
            let qos = published.min(granted);
            assert!(heard[1].starts_with(&format!("PUBLISH \"t\" q{qos} ")), "{heard:?}");
            assert!(heard[1].ends_with(" retain m"), "{heard:?}");
        }
    }
}

/// MQTT-3.3.1-9, MQTT-3.3.1-10, MQTT-3.3.1-11 (v5)
#[test]
fn retain_handling_says_when_retained_messages_come() {
    let mut rig = Rig::new();
    let client = rig.open(Version::V5, "c");
    rig.publish(client, retained("t", 0), "m");
    let with = |retain_handling| Options { retain_handling, ..Options::default() };
    for (handling, count) in
        [(RetainHandling::Never, 0), (RetainHandling::IfNew, 0), (RetainHandling::Always, 1)]
    {
        rig.subscribe_with(client, 1, &[("t", with(handling))], None);
        assert_eq!(publishes(&mut rig, client).len(), count, "{handling:?}");
    }
    rig.unsubscribe(client, 2, &["t"]);
    rig.subscribe_with(client, 1, &[("t", with(RetainHandling::IfNew))], Some(9));
    assert_eq!(publishes(&mut rig, client), ["PUBLISH \"t\" q0 retain ids=[9] m"]);
}

/// H-20
#[test]
fn groups_are_not_shown_what_is_retained() {
    let mut rig = Rig::new();
    let client = rig.open(Version::V5, "c");
    rig.publish(client, retained("t", 0), "m");
    rig.subscribe_with(client, 1, &[("$share/g/t", Options::default())], None);
    assert_eq!(publishes(&mut rig, client), NOTHING);
}

/// H-18
#[test]
fn a_retained_message_that_is_over_is_not_shown() {
    let mut rig = Rig::new();
    let client = rig.open(Version::V5, "c");
    rig.publish(client, PublishHead { expiry_s: Some(10), ..retained("t", 0) }, "m");
    rig.tick(4_200);
    rig.subscribe_with(client, 1, &[("t", Options::default())], None);
    assert_eq!(publishes(&mut rig, client), ["PUBLISH \"t\" q0 retain expiry=6 m"]);
    rig.tick(6_000);
    rig.subscribe_with(client, 1, &[("t", Options::default())], None);
    assert_eq!(publishes(&mut rig, client), NOTHING);
}

/// H-19, abuse row 67
#[test]
fn many_retained_messages_come_as_fast_as_they_are_taken() {
    for granted in 0..3 {
        let mut rig = Rig::new();
        let from = rig.open(Version::V4, "from");
        let body = "x".repeat(100);
        for n in 0..2_000 {
            rig.publish(from, retained(&format!("t/{n}"), granted), &body);
            rig.ack(from, AckKind::Pubrel, 100);
            rig.heard(from);
        }
        let to = rig.open(Version::V5, "to");
        let options = Options { qos: Qos::from_bits(granted).unwrap(), ..Options::default() };
        rig.subscribe_with(to, 1, &[("#", options)], None);
        let (mut seen, mut rounds) = (std::collections::BTreeSet::new(), 0);
        while seen.len() < 2_000 && rounds < 4_000 {
            rounds += 1;
            let heard = publishes(&mut rig, to);
            for publish in &heard {
                seen.insert(publish.split('"').nth(1).unwrap().to_owned());
                if let Some((_, rest)) = publish.split_once('#') {
                    let number = rest.split(' ').next().unwrap().parse().unwrap();
                    if granted == 1 {
                        rig.ack(to, AckKind::Puback, number);
                    } else {
                        rig.ack(to, AckKind::Pubrec, number);
                        rig.ack(to, AckKind::Pubcomp, number);
                    }
                }
            }
            if heard.is_empty() {
                rig.tick(100);
            }
        }
        assert_eq!(seen.len(), 2_000, "granted {granted}");
    }
}

fn with_will<'a>(version: Version, id: &'a str, delay_s: u32, expiry_s: u32) -> Connect<'a> {
    let mut connect = hello(version, id);
    let properties = WillProperties { delay_s, ..WillProperties::default() };
    let (topic, payload) = ("will", &b"gone"[..]);
    connect.will = Some(Will { topic, payload, qos: Qos::AtLeastOnce, retain: false, properties });
    if version.is_v5() {
        connect.properties =
            ConnectProperties { session_expiry_s: expiry_s, ..ConnectProperties::default() };
    }
    connect.clean_start = false;
    connect
}

/// One that hears wills.
fn heir(rig: &mut Rig) -> Client {
    let heir = rig.open(Version::V4, "heir");
    rig.subscribe(heir, "will", 0);
    heir
}

const WILL: [&str; 1] = ["PUBLISH \"will\" q0 gone"];

/// MQTT-3.1.2-8, MQTT-3.1.2-10, MQTT-3.14.4-3 (v3.1.1), MQTT-3.1.2-8, MQTT-3.1.2-10,
/// MQTT-3.14.4-3 (v5), H-14
#[test]
fn a_will_is_published_unless_the_client_says_goodbye() {
    for version in Version::ALL {
        let mut rig = Rig::new();
        let heir = heir(&mut rig);
        let client = rig.connect(&with_will(version, "c", 0, 0));
        rig.cut(client);
        assert_eq!(rig.heard(heir), WILL, "{version:?}: lost");
        let client = rig.connect(&with_will(version, "c", 0, 0));
        rig.disconnect(client, ReasonCode::Success);
        assert_eq!(rig.heard(heir), NOTHING, "{version:?}: goodbye");
        let client = rig.connect(&with_will(version, "c", 0, 0));
        rig.say(client, &[0x00, 0x00]);
        assert!(rig.is_closed(client));
        assert_eq!(rig.heard(heir), WILL, "{version:?}: an error");
        let client = rig.connect(&Connect { keep_alive_s: 1, ..with_will(version, "c", 0, 0) });
        rig.tick(2_000);
        assert!(rig.is_closed(client));
        assert_eq!(rig.heard(heir), WILL, "{version:?}: silence");
    }
    let mut rig = Rig::new();
    let heir = heir(&mut rig);
    let client = rig.connect(&with_will(Version::V5, "c", 0, 0));
    rig.disconnect(client, ReasonCode::DisconnectWithWill);
    assert_eq!(rig.heard(heir), WILL);
}

/// MQTT-3.1.2-16, MQTT-3.1.2-17 (v3.1.1), MQTT-3.1.2-14, MQTT-3.1.2-15 (v5)
#[test]
fn a_will_may_be_retained() {
    for retain in [false, true] {
        let mut rig = Rig::new();
        let mut connect = with_will(Version::V4, "c", 0, 0);
        connect.will.as_mut().unwrap().retain = retain;
        let client = rig.connect(&connect);
        rig.cut(client);
        let to = rig.open(Version::V4, "to");
        rig.subscribe_with(to, 1, &[("will", Options::default())], None);
        let heard = publishes(&mut rig, to);
        assert_eq!(heard.len(), usize::from(retain), "{heard:?}");
    }
}

/// MQTT-3.1.3-9 (v5), H-12, H-13
#[test]
fn a_will_waits_for_the_client_to_come_back() {
    let mut rig = Rig::new();
    let heir = heir(&mut rig);
    let client = rig.connect(&with_will(Version::V5, "c", 10, 100));
    rig.cut(client);
    rig.tick(9_000);
    assert_eq!(rig.heard(heir), NOTHING);
    let client = rig.connect(&with_will(Version::V5, "c", 10, 100));
    rig.tick(20_000);
    assert_eq!(rig.heard(heir), NOTHING);
    rig.cut(client);
    rig.tick(11_000);
    assert_eq!(rig.heard(heir), WILL);
    // The session's end is the latest time for it.
    let client = rig.connect(&with_will(Version::V5, "c", 100, 10));
    rig.cut(client);
    rig.tick(11_000);
    assert_eq!(rig.heard(heir), WILL);
    let client = rig.connect(&with_will(Version::V5, "d", 100, 0));
    rig.cut(client);
    assert_eq!(rig.heard(heir), WILL);
}

/// H-12, V-036
#[test]
fn a_will_on_takeover_follows_the_version_and_the_session() {
    let mut rig = Rig::new();
    let heir = heir(&mut rig);
    for (version, delay_s, expiry_s, clean_start, is_sent) in [
        (Version::V4, 0, 0, false, true),
        (Version::V5, 0, 100, false, true),
        (Version::V5, 10, 100, false, false),
        (Version::V5, 10, 100, true, true),
        (Version::V5, 10, 0, false, true),
    ] {
        let first = rig.connect(&with_will(version, "c", delay_s, expiry_s));
        let mut second = hello(version, "c");
        second.clean_start = clean_start;
        let second = rig.connect(&second);
        assert!(rig.is_closed(first));
        let heard = rig.heard(heir);
        assert_eq!(!heard.is_empty(), is_sent, "{version:?} {delay_s} {expiry_s} {clean_start}");
        rig.disconnect(second, ReasonCode::Success);
        rig.tick(200_000);
        assert_eq!(rig.heard(heir), NOTHING);
    }
    let mut config = Config::default();
    config.mqtt.suppress_lwt_on_session_takeover = true;
    let mut rig = Rig::with(config);
    let heir = self::heir(&mut rig);
    rig.connect(&with_will(Version::V4, "c", 0, 0));
    rig.open(Version::V4, "c");
    assert_eq!(rig.heard(heir), NOTHING);
}

/// Abuse row 75
#[test]
fn a_will_for_a_topic_of_the_broker_is_refused() {
    let mut rig = Rig::new();
    for (version, heard) in [(Version::V4, "CONNACK 87 new"), (Version::V5, "CONNACK 87 new")] {
        let mut connect = with_will(version, "c", 0, 0);
        connect.will.as_mut().unwrap().topic = "$SYS/x";
        let client = rig.connect(&connect);
        assert_eq!(rig.heard(client), [heard]);
        assert!(rig.is_closed(client));
    }
}

/// H-35
#[test]
fn a_planned_stop_publishes_no_wills() {
    let mut rig = Rig::new();
    let heir = heir(&mut rig);
    rig.connect(&with_will(Version::V4, "c", 0, 0));
    rig.stop();
    assert_eq!(rig.heard(heir), NOTHING);
}
