//! What is remembered of a client and for how long: mqtt.md 3.1, 3.14, H-11, H-14, H-18.

use std::thread::sleep;
use std::time::Duration;

use crate::support::setup::Stage;
use crate::support::siege::unique;

use super::answers::what_was_begun_is_finished_although_it_has_expired;
use super::client::{Client, Heard};
use super::ground::Ground;
use super::octets::{BOTH, Hello, Letter, V4, V5, block, message_expiry, packet, session_expiry};

on_every_setup!(
    a_clean_client_finds_nothing_and_leaves_nothing,
    what_was_said_surely_waits_and_what_was_not_does_not,
    sessions_and_messages_last_as_long_as_their_clients_say,
    whoever_comes_again_has_the_session_at_once,
);

/// Longer than a second, for what lasts one.
const SECOND: Duration = Duration::from_millis(1300);

/// Whether a client's session is there; looking does not end it.
fn is_there(ground: &Ground, hello: &Hello) -> bool {
    let (client, is_present) = Client::resume(ground.addr, hello);
    client.leave();
    is_present
}

/// MQTT-3.1.2-4 to MQTT-3.1.2-6, MQTT-3.2.2-1 to MQTT-3.2.2-3 (v3.1.1); MQTT-3.1.2-4 to MQTT-3.1.2-6,
/// MQTT-3.2.2-2, MQTT-3.2.2-3 (v5)
fn a_clean_client_finds_nothing_and_leaves_nothing(stage: &Stage) {
    let ground = Ground::shared(stage);
    for version in BOTH {
        let lasting = Hello::lasting(version, &unique("clean"));
        let clean = Hello { clean: true, ..Hello::new(version, "") };
        let clean = Hello { client: lasting.client.clone(), ..clean };
        assert!(!is_there(&ground, &lasting));
        assert!(is_there(&ground, &lasting));
        assert!(!is_there(&ground, &clean));
        assert!(!is_there(&ground, &lasting));
        let topic = unique("clean");
        let mut client = Client::connect(ground.addr, &clean);
        client.subscribe(&topic, 1);
        client.vanish();
        let mut client = Client::connect(ground.addr, &lasting);
        client.tell_surely(&topic, "nobody");
        client.ping();
    }
    ground.lift();
}

/// MQTT-3.1.2-5 (v3.1.1), MQTT-4.1.0-1, MQTT-4.5.0-1 (v5)
fn what_was_said_surely_waits_and_what_was_not_does_not(stage: &Stage) {
    let ground = Ground::shared(stage);
    for version in BOTH {
        let (hello, topic) = (Hello::lasting(version, &unique("waits")), unique("waits"));
        let mut client = Client::connect(ground.addr, &hello);
        client.subscribe(&format!("{topic}/sure"), 1);
        client.subscribe(&format!("{topic}/unsure"), 0);
        client.leave();
        let mut publisher = ground.client(version);
        for number in 0..10 {
            publisher.tell(&format!("{topic}/sure"), "lost");
            publisher.tell_surely(&format!("{topic}/unsure"), "lost");
            publisher.tell_surely(&format!("{topic}/sure"), &number.to_string());
        }
        let (mut client, is_present) = Client::resume(ground.addr, &hello);
        assert!(is_present);
        for number in 0..10 {
            client.expect_text(&number.to_string());
        }
        client.ping();
        publisher.tell_surely(&format!("{topic}/unsure"), "now");
        client.expect_text("now");
    }
    ground.lift();
}

/// All that takes seconds, at the same time.
fn sessions_and_messages_last_as_long_as_their_clients_say(stage: &Stage) {
    std::thread::scope(|scope| {
        scope.spawn(|| a_session_of_version_5_lasts_as_long_as_it_says(stage));
        scope.spawn(|| a_farewell_may_change_how_long_a_session_lasts(stage));
        scope.spawn(|| messages_live_as_long_as_their_publisher_says(stage));
        scope.spawn(|| what_was_begun_is_finished_although_it_has_expired(stage));
    });
}

/// MQTT-3.1.2-23 (v5)
fn a_session_of_version_5_lasts_as_long_as_it_says(stage: &Stage) {
    /// Long enough for what is done within it on a busy machine.
    const SHORT_S: u32 = 3;
    const LONGER: Duration = Duration::from_millis(1000 * SHORT_S as u64 + 300);
    let ground = Ground::shared(stage);
    let hello = |name: &str, seconds: u32| Hello {
        clean: false,
        ..Hello::new(V5, &unique(name)).with(&session_expiry(seconds))
    };
    let (none, short, long) = (hello("none", 0), hello("short", SHORT_S), hello("long", 60));
    for hello in [&none, &short, &long] {
        Client::connect(ground.addr, hello).vanish();
    }
    assert!(!is_there(&ground, &none));
    // It counts from the end of the connection.
    let (stays, is_present) = Client::resume(ground.addr, &short);
    assert!(is_present);
    sleep(LONGER);
    assert!(is_there(&ground, &long));
    stays.leave();
    assert!(is_there(&ground, &short));
    sleep(LONGER);
    assert!(!is_there(&ground, &short));
    ground.lift();
}

/// MQTT-3.14.2-2 (v5); H-14
fn a_farewell_may_change_how_long_a_session_lasts(stage: &Stage) {
    let ground = Ground::shared(stage);
    let goodbye =
        |seconds: u32| packet(0xE0, &[&[0][..], &block(V5, &session_expiry(seconds))].concat());
    let hello = |seconds: u32| Hello {
        clean: false,
        ..Hello::new(V5, &unique("farewell")).with(&session_expiry(seconds))
    };
    let (raised, lowered, refused) = (hello(1), hello(60), hello(0));
    for (hello, seconds) in [(&raised, 60), (&lowered, 0)] {
        let mut client = Client::connect(ground.addr, hello);
        client.send(&goodbye(seconds));
        client.expect_end();
    }
    let mut client = Client::connect(ground.addr, &refused);
    client.send(&goodbye(10));
    client.expect_closed(0x82);
    assert!(!is_there(&ground, &lowered));
    sleep(SECOND);
    assert!(is_there(&ground, &raised));
    ground.lift();
}

/// MQTT-3.3.2-5, MQTT-3.3.2-6 (v5); H-18, X-14
fn messages_live_as_long_as_their_publisher_says(stage: &Stage) {
    let ground = Ground::shared(stage);
    let (hello, topic) = (Hello::lasting(V5, &unique("life")), unique("life"));
    let mut client = Client::connect(ground.addr, &hello);
    client.subscribe(&topic, 1);
    let mut publisher = ground.client(V5);
    let mut tell = |payload: &str, seconds: u32| {
        let properties = &message_expiry(seconds);
        let payload = payload.as_bytes();
        publisher.publish_surely(&Letter {
            topic: &topic,
            payload,
            properties,
            ..Letter::default()
        });
    };
    let left = |message: &super::client::Message| {
        let octets = message.property(2).expect("what is left of its life");
        u32::from_be_bytes(octets.try_into().expect("four octets"))
    };
    tell("live", 100);
    assert!(left(&client.expect_text("live")) <= 100);
    client.leave();
    // What is handed to a connection that is about to go counts as sent.
    sleep(super::client::SILENCE);
    for (payload, seconds) in [("short", 1), ("long", 100), ("short again", 1), ("most", u32::MAX)]
    {
        tell(payload, seconds);
    }
    sleep(SECOND);
    let (mut client, _) = Client::resume(ground.addr, &hello);
    assert!((90..100).contains(&left(&client.expect_text("long"))));
    assert!(left(&client.expect_text("most")) > u32::MAX - 100);
    client.ping();
    ground.lift();
}

/// MQTT-3.1.4-2 (v3.1.1), MQTT-3.1.4-3 (v5); H-11: with what was out and what waits.
fn whoever_comes_again_has_the_session_at_once(stage: &Stage) {
    let ground = Ground::shared(stage);
    for (old, new) in [(V4, V5), (V5, V4), (V4, V4), (V5, V5)] {
        let (name, topic) = (unique("again"), unique("again"));
        let mut first = Client::connect(ground.addr, &Hello::lasting(old, &name));
        first.subscribe(&topic, 1);
        let mut publisher = ground.client(V4);
        for number in 0..30 {
            publisher.tell_surely(&topic, &number.to_string());
        }
        let first_id = first.expect_text("0").id;
        assert_eq!(first.expect_text("1").id, first_id + 1);
        let (mut second, is_present) = Client::resume(ground.addr, &Hello::lasting(new, &name));
        assert!(is_present, "from version {old} to {new}");
        // What the broker had sent before it knew: the first two and those after them.
        let mut seen = 2;
        while let Heard::Packet(said) = first.next() {
            if said.first == 0xE0 {
                assert_eq!((said.body[0], old), (0x8E, V5));
            } else {
                assert_eq!(first.message_of(&said).text(), seen.to_string());
                seen += 1;
            }
        }
        // Whether the two answers came in time is not said.
        let mut next = second.expect_message();
        let start: u16 = next.text().parse().expect("a number");
        assert!(start <= 2, "{next:?}");
        for number in start..30 {
            assert_eq!((next.text(), next.id), (&*number.to_string(), first_id + number));
            assert!(next.dup || number >= seen, "it was sent before: {next:?}");
            second.send(&super::octets::numbered(0x40, next.id));
            if number < 29 {
                next = second.expect_message();
            }
        }
        second.ping();
    }
    ground.lift();
}
