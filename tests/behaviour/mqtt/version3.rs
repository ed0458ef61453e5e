//! MQTT 3.1, where it differs from 3.1.1: mqtt.md 2.2. May import the files of this folder.

use crate::support::setup::Stage;
use crate::support::siege::{definitions, unique};

use super::client::{Client, Heard};
use super::ground::Ground;
use super::octets::{
    Hello, Letter, V3, V4, Will, binary, numbered, packet, subscribe, text, unsubscribe,
};

on_every_setup!(
    flags_that_are_not_used_say_nothing,
    a_password_without_a_name_is_an_error,
    a_session_is_there_and_connack_does_not_say_so,
    a_client_has_a_name,
    a_bridge_does_not_hear_itself_and_hears_what_is_retained,
    filters_that_are_refused_are_granted_and_bring_nothing,
    the_text_of_a_will_is_any_octets,
    all_of_it_works_in_every_quality,
);

/// CONNECT with these flags and fields; the last of them are behind the client id.
fn connect(first: u8, flags: u8, id: &str, rest: &[&[u8]]) -> Vec<u8> {
    let front = [&text("MQIsdp")[..], &[3, flags, 0, 0], &text(id)].concat();
    packet(first, &[front, rest.concat()].concat())
}

fn login() -> Vec<u8> {
    [text("guest"), text("guest")].concat()
}

/// "Not used" are in 3.1 the flags of all packets but PUBLISH, and bit 0 of CONNECT's; the QoS of a will
/// that is not there is "disregarded".
fn flags_that_are_not_used_say_nothing(stage: &Stage) {
    let ground = Ground::shared(stage);
    for (first, flags) in [(0x10, 0xC2), (0x1F, 0xC2), (0x10, 0xC3), (0x14, 0xFB)] {
        let mut client = ground.stranger(V3);
        client.send(&connect(first, flags, &unique("flags"), &[&login()]));
        client.expect(&[0x20, 2, 0, 0]);
        client.send(&[0xCF, 0]);
        client.expect(&[0xD0, 0]);
    }
    let other = |first: u8, mut octets: Vec<u8>| {
        octets[0] = first;
        octets
    };
    let topic = unique("flags");
    let mut client = ground.client(V3);
    for flags in 0..16 {
        client.send(&other(0x80 | flags, subscribe(V3, 7, &[(&topic, 2)], &[])));
        client.expect(&[0x90, 3, 0, 7, 2]);
    }
    let letter = Letter { topic: &topic, qos: 2, id: 9, payload: b"x", ..Letter::default() };
    client.publish(&letter);
    let mut heard = [client.expect_packet(), client.expect_packet()];
    heard.sort_by_key(|packet| packet.first);
    assert_eq!((heard[1].first, &heard[1].body[..]), (0x50, &[0, 9][..]));
    let message = client.message_of(&heard[0]);
    // With DUP, as 3.1 repeats them.
    client.send(&numbered(0x6A, 9));
    client.expect(&numbered(0x70, 9));
    client.send(&numbered(0x58, message.id));
    client.expect(&numbered(0x62, message.id));
    client.send(&numbered(0x7F, message.id));
    client.send(&other(0xAA, unsubscribe(V3, 8, &[&topic])));
    client.expect(&[0xB0, 2, 0, 8]);
    client.send(&[0xEF, 0]);
    client.expect_end();
    // Not so in 3.1.1.
    for octets in [vec![0xC1, 0], other(0x8A, subscribe(V4, 7, &[(&topic, 2)], &[]))] {
        let mut client = ground.client(V4);
        client.send(&octets);
        client.expect_end();
    }
    ground.lift();
}

/// Unlike in version 5.
fn a_password_without_a_name_is_an_error(stage: &Stage) {
    let ground = Ground::shared(stage);
    let mut client = ground.stranger(V3);
    client.send(&connect(0x10, 0x42, &unique("missing"), &[&text("guest")]));
    client.expect_end();
    ground.lift();
}

/// CONNACK has no flag for it: its first octet is reserved.
fn a_session_is_there_and_connack_does_not_say_so(stage: &Stage) {
    let ground = Ground::shared(stage);
    let (topic, hello) = (unique("lasting"), Hello::lasting(V3, &unique("lasting")));
    let mut client = Client::connect(ground.addr, &hello);
    client.subscribe(&topic, 1);
    client.leave();
    ground.client(V3).tell_surely(&topic, "waits");
    // `connect` sees to it that nothing is said to be there.
    let mut client = Client::connect(ground.addr, &hello);
    client.expect_text("waits");
    client.ping();
    let clean = Hello { clean: true, ..hello.clone() };
    let mut fresh = Client::connect(ground.addr, &clean);
    client.expect_end();
    ground.client(V3).tell_surely(&topic, "nobody");
    fresh.ping();
    fresh.leave();
    let mut client = Client::connect(ground.addr, &hello);
    client.ping();
    ground.lift();
}

/// 1 to 23 characters; more are taken as the setting says.
fn a_client_has_a_name(stage: &Stage) {
    let ground = Ground::shared(stage);
    for hello in [Hello::new(V3, ""), Hello::lasting(V3, "")] {
        assert_eq!(ground.answer_to(&hello).code, 2);
    }
    for id in ["x".repeat(23), unique("a name that is longer than twenty three characters")] {
        assert_eq!(ground.answer_to(&Hello::new(V3, &id)).code, 0);
    }
    assert_eq!(ground.answer_to(&Hello::new(V3, &"x".repeat(101))).code, 2);
    ground.lift();
}

/// The level of bridges: 0x83, and 0x84 for 3.1.1.
fn a_bridge_does_not_hear_itself_and_hears_what_is_retained(stage: &Stage) {
    let ground = Ground::shared(stage);
    for (name, level) in [("MQIsdp", 0x83), ("MQTT", 0x84)] {
        let topic = unique("bridge");
        let front = [&text(name)[..], &[level, 0xC2, 0, 0], &text(&unique("bridge"))].concat();
        let mut bridge = ground.stranger(V3);
        bridge.send(&packet(0x10, &[front, login()].concat()));
        bridge.expect(&[0x20, 2, 0, 0]);
        bridge.subscribe(&topic, 0);
        bridge.tell(&topic, "own");
        let mut other = ground.client(V4);
        other.tell_retained(&topic, "kept");
        other.tell(&topic, "live");
        assert!(bridge.expect_text("kept").retain, "as it was published");
        // It may come once more, as what the new subscription is shown.
        let mut next = bridge.expect_message();
        if next.text() == "kept" {
            assert!(next.retain);
            next = bridge.expect_message();
        }
        assert_eq!((next.text(), next.retain), ("live", false));
        other.tell_retained(&topic, "");
        bridge.expect_text("");
        bridge.ping();
    }
    ground.lift();
}

/// SUBACK has no code for a refusal.
fn filters_that_are_refused_are_granted_and_bring_nothing(stage: &Stage) {
    let ground = Ground::shared(stage);
    let topic = unique("granted");
    let mut client = ground.client(V3);
    let bad = format!("{topic}/#/x");
    assert_eq!(client.ask(&[(&bad, 1), (&topic, 2), ("a+", 0)], &[]), [1, 2, 0]);
    let mut publisher = ground.client(V3);
    publisher.tell(&format!("{topic}/y/x"), "no");
    publisher.tell("ab", "no");
    publisher.tell(&topic, "yes");
    client.expect_text("yes");
    client.ping();
    client.unsubscribe(&[&bad]);
    // Without any filter it is no request in this version either.
    client.send(&subscribe(V3, 1, &[], &[]));
    client.expect_end();
    ground.lift();
}

/// The letter says UTF-8; clients send octets.
fn the_text_of_a_will_is_any_octets(stage: &Stage) {
    let ground = Ground::shared(stage);
    let topic = unique("will");
    let mut witness = ground.client(V4);
    witness.subscribe(&topic, 0);
    let will = Will { payload: vec![0xFF, 0, 0xC3], ..Will::of(&topic, "") };
    Client::connect(ground.addr, &Hello::new(V3, &unique("will")).leaving(will)).vanish();
    assert_eq!(witness.expect_message().payload, [0xFF, 0, 0xC3]);
    // Topics are texts in any version.
    let bad = Will { topic: vec![0xFF], ..Will::of("", "") };
    let mut client = ground.stranger(V3);
    client.send(&Hello::new(V3, &unique("will")).leaving(bad).octets());
    client.expect_end();
    let mut client = ground.client(V3);
    client.send(&packet(0x30, &binary(&[0xFF])));
    client.expect_end();
    ground.lift();
}

/// What 3.1.1 says of QoS, order and repetition holds for 3.1 as well: the rest of this folder is
/// mostly about 3.1.1 and 5.0.
fn all_of_it_works_in_every_quality(stage: &Stage) {
    let ground = Ground::shared(stage);
    let (topic, hello) = (unique("quality"), Hello::lasting(V3, &unique("quality")));
    let mut client = Client::connect(ground.addr, &hello);
    client.subscribe(&topic, 2);
    let mut publisher = ground.client(V3);
    for qos in 0..3 {
        let letter = Letter { topic: &topic, qos, id: 5, payload: b"x", ..Letter::default() };
        publisher.publish(&letter);
        match qos {
            0 => {}
            1 => publisher.expect(&numbered(0x40, 5)),
            _ => {
                publisher.expect(&numbered(0x50, 5));
                publisher.publish(&Letter { dup: true, ..letter });
                publisher.expect(&numbered(0x50, 5));
                publisher.send(&numbered(0x62, 5));
                publisher.expect(&numbered(0x70, 5));
            }
        }
    }
    let came: Vec<_> = (0..3).map(|_| client.expect_message()).collect();
    assert!(came.iter().map(|message| message.qos).eq(0..3) && came.iter().all(|m| !m.dup));
    client.vanish();
    let mut client = Client::connect(ground.addr, &hello);
    for old in &came[1..] {
        let again = client.expect_message();
        assert_eq!((again.id, again.qos, again.dup), (old.id, old.qos, true));
    }
    client.send(&numbered(0x40, came[1].id));
    client.send(&numbered(0x50, came[2].id));
    client.expect(&numbered(0x62, came[2].id));
    client.send(&numbered(0x70, came[2].id));
    client.ping();
    ground.lift();
}

/// V-041: a publish that is not allowed is answered as if it were, and dropped; or it ends the
/// connection where a setting says so.
#[test]
fn a_publish_that_is_not_allowed_is_answered_unless_a_setting_says_otherwise() {
    let file = definitions(&[("reader", [".*", "^$", ".*"])]);
    for (value, ends) in [("off", false), ("on", true)] {
        let config = format!(
            "load_definitions = {}\n[mqtt]\ndisconnect_on_unauthorized_publish_v3 = {value}\n",
            file.display()
        );
        let broker = crate::support::Broker::with(crate::support::broker::Options {
            config: &config,
            ..crate::support::broker::Options::new()
        });
        let ground = Ground::on(broker);
        let mut witness = ground.client(V4);
        witness.subscribe("no/#", 0);
        for qos in [1, 2] {
            let hello = Hello { user: b"reader".to_vec(), ..Hello::new(V3, &unique("reader")) };
            let mut client = Client::connect(ground.addr, &hello);
            client.publish(&Letter { topic: "no/right", qos, id: 7, ..Letter::default() });
            if ends {
                assert_eq!(client.next(), Heard::End);
            } else {
                client.expect_answer(if qos == 1 { 0x40 } else { 0x50 }, 7);
                client.ping();
            }
        }
        witness.ping();
        ground.lift();
    }
    drop(std::fs::remove_file(file));
}
