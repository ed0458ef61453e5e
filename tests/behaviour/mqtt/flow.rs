//! What client and broker agree on, and settings that bound it: mqtt.md H-16, H-24 to H-26, V-024,
//! V-030, V-031, V-038, V-095.

use crate::support::setup::Stage;
use crate::support::siege::unique;

use super::client::{Client, Heard};
use super::ground::Ground;
use super::octets::{BOTH, Hello, Letter, V3, V4, V5, Will, four, numbered, text, two};

on_every_setup!(
    packets_larger_than_the_client_takes_are_not_sent,
    answers_are_told_with_fewer_words_to_a_client_that_takes_little,
);

/// MQTT-3.1.2-24, MQTT-3.1.2-25 (v5); H-25
fn packets_larger_than_the_client_takes_are_not_sent(stage: &Stage) {
    let ground = Ground::shared(stage);
    let (topic, hello) = (unique("large"), Hello::lasting(V5, &unique("small")));
    let hello = hello.with(&four(0x27, 100));
    let mut client = Client::connect(ground.addr, &hello);
    client.subscribe(&topic, 1);
    let mut publisher = ground.client(V4);
    // The header, the topic, the packet id and no properties.
    let fits = 100 - 2 - 2 - topic.len() - 2 - 1;
    for _ in 0..3 {
        // With QoS 0 there is no packet id.
        for length in [fits + 3, 1000, 70_000] {
            publisher.tell(&topic, &"x".repeat(length));
            publisher.tell_surely(&topic, &"x".repeat(length));
        }
        publisher.tell_surely(&topic, &"x".repeat(fits));
        client.expect_text(&"x".repeat(fits));
    }
    client.ping();
    client.leave();
    publisher.tell_surely(&topic, &"x".repeat(fits + 1));
    publisher.tell_surely(&topic, "small");
    let (mut client, _) = Client::resume(ground.addr, &hello);
    client.expect_text("small");
    client.ping();
    client.leave();
    // They are not kept for a time when it takes more.
    let (mut client, _) = Client::resume(ground.addr, &hello.with(&[]));
    client.ping();
    ground.lift();
}

/// MQTT-3.2.2-19, MQTT-3.14.2-3 (v5)
fn answers_are_told_with_fewer_words_to_a_client_that_takes_little(stage: &Stage) {
    let ground = Ground::shared(stage);
    let hello = Hello::new(V5, &unique("little")).with(&four(0x27, 12));
    let mut client = Client::connect(ground.addr, &hello);
    client.send(&[0, 0]);
    client.expect_closed(0x81);
    // Not even CONNACK.
    let mut client = ground.stranger(V5);
    client.send(&Hello::new(V5, &unique("less")).with(&four(0x27, 1)).octets());
    client.expect_end();
    ground.lift();
}

/// MQTT-3.3.2-7 to MQTT-3.3.2-10, MQTT-3.3.2-12, MQTT-3.2.2-17 (v5); H-24
#[test]
fn a_client_may_use_so_many_aliases() {
    for shards in [1, 2] {
        let ground = Ground::own(shards, "topic_alias_max_client = 3\n");
        let hello = Hello::new(V5, &unique("aliases"));
        let (mut client, connack) = Client::try_connect(ground.addr, &hello);
        assert_eq!(connack.property(0x22), Some(&[0, 3][..]));
        let mut witness = ground.client(V4);
        witness.subscribe("t/#", 1);
        let say = |client: &mut Client, topic: &str, alias: u16, qos: u8| {
            let properties = &two(0x23, alias);
            let payload = alias.to_string();
            let payload = payload.as_bytes();
            client.publish(&Letter { topic, payload, qos, id: 1, properties, ..Letter::default() });
        };
        let mut expect = |topic: &str, alias: u16| {
            let message = witness.expect_text(&alias.to_string());
            assert_eq!(message.topic, topic);
        };
        say(&mut client, "t/one", 1, 0);
        say(&mut client, "t/three", 3, 0);
        say(&mut client, "", 1, 0);
        say(&mut client, "", 3, 1);
        assert_eq!(client.expect_answer(0x40, 1), 0);
        say(&mut client, "t/other", 1, 0);
        say(&mut client, "", 1, 0);
        for (topic, alias) in [
            ("t/one", 1),
            ("t/three", 3),
            ("t/one", 1),
            ("t/three", 3),
            ("t/other", 1),
            ("t/other", 1),
        ] {
            expect(topic, alias);
        }
        // Another connection's are its own, also when it is the same client.
        let mut other = ground.client(V5);
        say(&mut other, "", 1, 0);
        let said = other.expect_packet();
        assert_eq!(said.first, 0xE0);
        assert!(matches!(said.body[0], 0x82 | 0x94), "{said:x?}");
        other.expect_end();
        client.leave();
        let mut again = Client::connect(ground.addr, &hello);
        say(&mut again, "", 3, 0);
        assert!(matches!(again.expect_packet().body[0], 0x82 | 0x94));
        for alias in [0, 4, u16::MAX] {
            let mut client = ground.client(V5);
            say(&mut client, "t/x", alias, 0);
            client.expect_closed(0x94);
        }
        ground.lift();
    }
}

/// MQTT-3.1.2-26, MQTT-3.1.2-27, MQTT-3.3.2-11; H-24
#[test]
fn the_broker_uses_as_many_aliases_as_the_client_allows() {
    let ground = Ground::own(2, "topic_alias_max_broker = 5\n");
    let names = ["topic/one", "topic/two"];
    for (allowed, expected) in [(None, 0), (Some(0), 0), (Some(1), 1), (Some(100), 2)] {
        let properties = allowed.map(|count| two(0x22, count)).unwrap_or_default();
        let hello = Hello::new(V5, &unique("aliases")).with(&properties);
        let mut client = Client::connect(ground.addr, &hello);
        client.subscribe("topic/#", 2);
        let mut publisher = ground.client(V4);
        let mut aliases = std::collections::HashMap::new();
        for round in 0..3 {
            for name in names {
                publisher.tell_surely(name, name);
                let message = client.expect_text(name);
                match message.property(0x23) {
                    None => assert_eq!(message.topic, name),
                    Some(alias) => {
                        let known = aliases.insert(alias.to_vec(), name);
                        assert!(known.is_none_or(|known| known == name), "{message:?}");
                        let topic = if round == 0 { name } else { "" };
                        assert_eq!(message.topic, topic);
                    }
                }
            }
        }
        assert_eq!(aliases.len(), expected, "{allowed:?}");
    }
    ground.lift();
}

/// V-024
#[test]
fn payloads_are_bounded_by_a_setting() {
    let ground = Ground::own(1, "max_message_size = 1000\n");
    for version in BOTH {
        let mut client = ground.client(version);
        client.subscribe("size", 0);
        client.tell("size", &"x".repeat(1000));
        client.expect_text(&"x".repeat(1000));
        client.tell("size", &"x".repeat(1001));
        client.expect_closed(0x95);
        let will = Will { payload: vec![b'x'; 1001], ..Will::of("size", "") };
        let connack = ground.answer_to(&Hello::new(version, &unique("will")).leaving(will));
        assert_eq!(
            connack.code,
            if version == V5 { 0x95 } else { 5 },
            "a will is a publish to come"
        );
    }
    ground.lift();
}

/// V-025
#[test]
fn a_client_that_publishes_too_fast_is_read_more_slowly() {
    let mut ground = Ground::own(2, "max_message_rate = 50\n");
    let (mut witness, mut publisher) = (ground.client(V5), ground.client(V4));
    witness.subscribe("fast", 0);
    for number in 0..120 {
        publisher.tell("fast", &number.to_string());
    }
    ground.canary_sings();
    for number in 0..120 {
        witness.expect_text(&number.to_string());
    }
    ground.lift();
}

/// V-095; MQTT-3.1.2-2
#[test]
fn versions_may_be_left_out() {
    for (allowed, refused) in [("3,4", [(V5, 0x84)].as_slice()), ("5", &[(V3, 1), (V4, 1)])] {
        let broker = crate::support::Broker::with(crate::support::broker::Options {
            config: &format!("[mqtt]\nallowed_protocol_versions = {allowed}\n"),
            ..crate::support::broker::Options::new()
        });
        for version in [V3, V4, V5] {
            let hello = Hello::new(version, &unique("version"));
            let (mut client, connack) = Client::try_connect(broker.mqtt_addr(), &hello);
            let code = refused.iter().find(|one| one.0 == version).map_or(0, |one| one.1);
            assert_eq!(connack.code, code, "version {version}, {allowed} allowed");
            if code != 0 {
                client.expect_end();
            }
        }
        broker.terminate();
    }
}

/// V-030; MQTT-4.4.0-1 (v5): never there.
#[test]
fn unanswered_deliveries_are_repeated_to_version_3_where_a_setting_says_so() {
    let ground = Ground::own(2, "retry_interval = 1\n");
    let (mut old, mut new) = (ground.client(V4), ground.client(V5));
    old.subscribe("retry", 1);
    new.subscribe("retry", 1);
    ground.client(V4).tell_surely("retry", "x");
    let (first, second) = (old.expect_message(), old.expect_message());
    assert_eq!((first.dup, second.dup, first.id), (false, true, second.id));
    old.send(&numbered(0x40, first.id));
    old.ping();
    assert!(!new.expect_message().dup);
    new.ping();
    ground.lift();
}

/// V-031
#[test]
fn deliveries_have_the_qos_of_the_subscription_where_a_setting_says_so() {
    let ground = Ground::own(2, "upgrade_outgoing_qos = on\n");
    for version in BOTH {
        let mut client = ground.client(version);
        client.subscribe("up", 1);
        client.tell("up", "x");
        let message = client.expect_message();
        assert_eq!((message.qos, message.text()), (1, "x"));
    }
    ground.lift();
}

/// Response information is told to nobody; request and response work without.
#[test]
fn what_connack_promises_is_kept() {
    let ground = Ground::own(2, "");
    let hello = Hello::new(V5, "promises").with(&[0x19, 1, 0x17, 0]);
    let (mut client, connack) = Client::try_connect(ground.addr, &hello);
    // Maximum QoS, retain, wildcards, identifiers, groups: all there is when nothing is said.
    for id in [0x24, 0x25, 0x28, 0x29, 0x2A] {
        let value = connack.property(id);
        assert!(value.is_none() || value == Some(&[1]), "{id:#x}: {value:?}");
    }
    for alias in 1..3 {
        let properties = two(0x23, alias);
        let mut other = ground.client(V5);
        other.publish(&Letter { topic: "x", properties: &properties, ..Letter::default() });
        let Heard::Packet(said) = other.next() else { panic!("no alias is allowed") };
        assert_eq!((said.first, said.body[0]), (0xE0, 0x94));
    }
    client.send(&[&[0x26][..], &text("")].concat());
    client.vanish();
    ground.lift();
}
