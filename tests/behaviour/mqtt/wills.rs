//! Wills: when they come and when they do not. mqtt.md H-12 to H-14.

use std::time::Duration;

use crate::support::setup::Stage;
use crate::support::siege::unique;

use super::client::Client;
use super::ground::Ground;
use super::octets::{
    BOTH, DISCONNECT, Hello, Letter, V4, V5, Will, packet, session_expiry, text, will_delay,
};

on_every_setup!(
    a_will_comes_unless_the_client_says_goodbye,
    a_will_comes_as_it_was_left,
    a_will_comes_when_another_connection_takes_the_session,
    a_will_that_waits_comes_late_or_not_at_all,
);

/// Somebody who hears all wills of a test.
fn witness(ground: &Ground) -> (Client, String) {
    let (mut client, topic) = (ground.client(V5), unique("will"));
    client.subscribe(&topic, 1);
    (client, topic)
}

/// MQTT-3.1.2-8, MQTT-3.1.2-10, MQTT-3.14.4-3 (v3.1.1 and v5)
fn a_will_comes_unless_the_client_says_goodbye(stage: &Stage) {
    let ground = Ground::shared(stage);
    for version in BOTH {
        let (mut witness, topic) = witness(&ground);
        let client = |payload: &str| {
            let hello = Hello::new(version, &unique("leaves")).leaving(Will::sure(&topic, payload));
            Client::connect(ground.addr, &hello)
        };
        client("goodbye").leave();
        client("vanished").vanish();
        witness.expect_text("vanished");
        let mut broken = client("broken");
        broken.send(&[0x00, 0x00]);
        broken.expect_closed(0x81);
        drop(broken);
        witness.expect_text("broken");
        if version == V5 {
            let mut with_will = client("with will");
            with_will.send(&packet(0xE0, &[4]));
            with_will.expect_end();
            drop(with_will);
            witness.expect_text("with will");
            let mut other = client("error");
            other.send(&packet(0xE0, &[0x80]));
            other.expect_end();
            drop(other);
            witness.expect_text("error");
        }
        let mut last = client("last");
        last.send(&[&DISCONNECT[..], &[0x00]].concat());
        last.expect_end();
        drop(last);
        ground.client(version).tell_surely(&topic, "end");
        witness.expect_text("end");
        witness.ping();
    }
    ground.lift();
}

/// MQTT-3.1.2-8, MQTT-3.1.2-24 (v3.1.1), MQTT-3.1.2-8, MQTT-3.1.2-22 (v5)
#[test]
fn a_will_comes_when_the_client_says_nothing() {
    let ground = Ground::own(2, "");
    let (mut witness, topic) = witness(&ground);
    let mut clients = BOTH.map(|version| {
        let hello = Hello::new(version, &unique("silent")).leaving(Will::sure(&topic, "silent"));
        Client::connect(ground.addr, &Hello { keep_alive: 1, ..hello })
    });
    for client in &mut clients {
        client.expect_closed(0x8D);
        witness.expect_text("silent");
    }
    ground.lift();
}

/// MQTT-3.1.2-14, MQTT-3.1.2-16, MQTT-3.1.2-17 (v3.1.1), MQTT-3.1.2-12, MQTT-3.1.2-14, MQTT-3.1.2-15,
/// MQTT-3.1.3-10 (v5)
fn a_will_comes_as_it_was_left(stage: &Stage) {
    let ground = Ground::shared(stage);
    for version in BOTH {
        for qos in 0..3 {
            for retain in [false, true] {
                let topic = unique("left");
                let mut witness = ground.client(V5);
                witness.subscribe(&topic, 8 | 2);
                let pair = [&[0x26][..], &text("k"), &text("v")].concat();
                let kind = [&[0x03][..], &text("text/plain")].concat();
                let properties = if version == V5 { [kind, pair].concat() } else { Vec::new() };
                let will = Will { qos, retain, properties, ..Will::of(&topic, "will") };
                let hello = Hello::new(version, &unique("left")).leaving(will);
                Client::connect(ground.addr, &hello).vanish();
                let message = witness.expect_message();
                assert_eq!((message.text(), message.qos, message.retain), ("will", qos, retain));
                let kind = (version == V5).then_some(&b"text/plain"[..]);
                assert_eq!(
                    (message.property(3), message.property(0x26).is_some()),
                    (kind, version == V5)
                );
                let mut late = ground.client(V4);
                late.subscribe(&topic, 0);
                if retain {
                    assert!(late.expect_text("will").retain);
                    late.publish(&Letter { topic: &topic, retain, ..Letter::default() });
                    late.expect_text("");
                }
                late.ping();
            }
        }
    }
    ground.lift();
}

/// MQTT-3.1.4-2 (v3.1.1), MQTT-3.1.4-3 (v5); H-12
fn a_will_comes_when_another_connection_takes_the_session(stage: &Stage) {
    let ground = Ground::shared(stage);
    let delayed = |topic: &str| Will { properties: will_delay(60), ..Will::sure(topic, "will") };
    let now = |topic: &str| Will::sure(topic, "will");
    // The will, clean start of the second, and whether the will comes.
    type Case = (u8, fn(&str) -> Will, bool, bool);
    let cases: [Case; 6] = [
        (V4, |topic| Will::sure(topic, "will"), false, true),
        (V4, |topic| Will::sure(topic, "will"), true, true),
        (V5, |topic| Will::sure(topic, "will"), false, true),
        (V5, |topic| Will::sure(topic, "will"), true, true),
        (
            V5,
            |topic| Will { properties: will_delay(60), ..Will::sure(topic, "will") },
            false,
            false,
        ),
        (V5, |topic| Will { properties: will_delay(60), ..Will::sure(topic, "will") }, true, true),
    ];
    for (version, will, clean, comes) in cases {
        let (mut witness, topic) = witness(&ground);
        let hello = Hello::lasting(version, &unique("taken"));
        let mut first = Client::connect(ground.addr, &hello.clone().leaving(will(&topic)));
        let (second, is_present) = Client::resume(ground.addr, &Hello { clean, ..hello });
        assert_eq!(is_present, !clean);
        first.expect_closed(0x8E);
        drop(first);
        second.leave();
        if comes {
            witness.expect_text("will");
        }
        ground.client(V4).tell_surely(&topic, "end");
        witness.expect_text("end");
        witness.ping();
    }
    // Without a session that goes on nothing waits.
    let (mut witness, topic) = witness(&ground);
    let hello = Hello::new(V5, &unique("taken"));
    let mut first = Client::connect(ground.addr, &hello.clone().leaving(delayed(&topic)));
    let (_second, _) = Client::resume(ground.addr, &hello.leaving(now(&unique("x"))));
    first.expect_closed(0x8E);
    witness.expect_text("will");
    ground.lift();
}

/// MQTT-3.1.3-9 (v5); H-13
fn a_will_that_waits_comes_late_or_not_at_all(stage: &Stage) {
    let ground = Ground::shared(stage);
    let (mut witness, topic) = witness(&ground);
    let will = |payload: &str| Will { properties: will_delay(1), ..Will::sure(&topic, payload) };
    let hello = |name: &str, payload: &str| {
        Hello { clean: false, ..Hello::new(V5, &unique(name)) }
            .with(&session_expiry(60))
            .leaving(will(payload))
    };
    let (back, gone) = (hello("back", "back"), hello("gone", "gone"));
    Client::connect(ground.addr, &back).vanish();
    Client::connect(ground.addr, &gone).vanish();
    let (kept, is_present) = Client::resume(ground.addr, &back);
    assert!(is_present);
    witness.expect_silence();
    witness.expect_text("gone");
    // Its own will is still to come, and goodbye takes it back.
    kept.leave();
    std::thread::sleep(Duration::from_millis(1300));
    ground.client(V4).tell_surely(&topic, "end");
    witness.expect_text("end");
    witness.ping();
    ground.lift();
}

/// V-036
#[test]
fn a_setting_keeps_back_wills_of_those_who_come_again() {
    let ground = Ground::own(2, "suppress_lwt_on_session_takeover = on\n");
    for version in BOTH {
        let (mut witness, topic) = witness(&ground);
        let hello = Hello::new(version, &unique("kept")).leaving(Will::sure(&topic, "will"));
        let mut first = Client::connect(ground.addr, &hello);
        let (second, _) = Client::resume(ground.addr, &hello);
        first.expect_closed(0x8E);
        drop(first);
        second.leave();
        ground.client(V4).tell_surely(&topic, "end");
        witness.expect_text("end");
        witness.ping();
    }
    ground.lift();
}
