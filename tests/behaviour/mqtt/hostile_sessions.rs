//! Clients that want too much of their sessions: abuse rows 59, 75 to 81, 84, 85.

use std::time::Instant;

use crate::support::Broker;
use crate::support::broker::Options;
use crate::support::setup::Stage;
use crate::support::siege::{definitions, unique};

use super::client::{Client, Heard};
use super::ground::Ground;
use super::octets::{BOTH, Hello, Letter, V3, V4, V5, Will, session_expiry, subscribe, will_delay};

on_every_setup!(
    client_ids_may_look_like_filters,
    wills_of_many_who_vanish_at_once_all_come,
    what_comes_before_connack_is_dealt_with_after_it,
    two_clients_that_fight_for_an_id_do_not_disturb_others,
    a_session_that_waits_keeps_so_many_messages,
);

/// Abuse row 59
#[test]
fn half_a_connect_has_a_moment() {
    let mut ground = Ground::own(2, "mqtt_connect_timeout = 700\n");
    let hello = Hello::new(V5, "half").octets();
    let mut halves: Vec<Client> = (0..300)
        .map(|number| {
            let mut half = ground.stranger(V5);
            half.send(&hello[..number % hello.len()]);
            half
        })
        .collect();
    ground.canary_sings();
    halves.iter_mut().for_each(Client::expect_end);
    ground.lift();
}

/// Abuse row 75
#[test]
fn wills_are_bounded_like_messages() {
    let ground = Ground::own(2, "");
    for version in BOTH {
        let (mut witness, topic) = (ground.client(V5), unique("will"));
        witness.subscribe(&format!("{topic}/#"), 0);
        let hello = Hello::new(version, &unique("dies"));
        for name in [format!("{topic}/#"), format!("{topic}/+"), String::new()] {
            let connack = {
                let mut client = ground.stranger(version);
                client.send(&hello.clone().leaving(Will::of(&name, "no")).octets());
                client.next()
            };
            match connack {
                Heard::Packet(said) => assert!(said.body[1] != 0, "{name:?}: {said:x?}"),
                heard => assert_eq!((heard, version), (Heard::End, V4)),
            }
        }
        // Larger than anything before a login may be.
        let mut client = ground.stranger(version);
        let payload = vec![b'x'; 65_535];
        let will = Will { payload, ..Will::of(&topic, "") };
        client.send(&hello.clone().leaving(will).octets());
        assert!(!matches!(client.next(), Heard::Packet(said) if said.body[1] == 0));
        // As large as it may be.
        let payload = "x".repeat(60_000);
        let hello = hello.leaving(Will::of(&format!("{topic}/large"), &payload));
        Client::connect(ground.addr, &hello).vanish();
        witness.expect_text(&payload);
    }
    ground.lift();
}

/// Abuse row 75: who may not publish a message may not leave it behind either.
#[test]
fn who_may_not_publish_leaves_no_will() {
    let file = definitions(&[("reader", [".*", "^$", ".*"])]);
    let config = format!("load_definitions = {}\n[mqtt]\n", file.display());
    let broker = Broker::with(Options { config: &config, ..Options::new() });
    let ground = Ground::on(broker);
    let mut witness = ground.client(V5);
    witness.subscribe("will/#", 1);
    for version in BOTH {
        for retain in [false, true] {
            let will = Will { retain, ..Will::sure("will/reader", "no") };
            let hello = Hello::new(version, &unique("reader")).leaving(will);
            let hello = Hello { user: b"reader".to_vec(), ..hello };
            let (client, connack) = Client::try_connect(ground.addr, &hello);
            if connack.code == 0 {
                client.vanish();
            }
            let hello =
                Hello::new(version, &unique("guest")).leaving(Will::sure("will/guest", "yes"));
            Client::connect(ground.addr, &hello).vanish();
            witness.expect_text("yes");
        }
    }
    witness.ping();
    let mut late = ground.client(V5);
    late.subscribe("will/#", 0);
    late.ping();
    late.expect_silence();
    ground.lift();
    drop(std::fs::remove_file(file));
}

/// Abuse row 75: the end of the session is the latest time; MQTT-3.1.2-8 (v5)
#[test]
fn a_will_waits_no_longer_than_its_session() {
    let ground = Ground::own(2, "");
    let mut witness = ground.client(V5);
    witness.subscribe("late", 0);
    let later =
        |delay: u32, name: &str| Will { properties: will_delay(delay), ..Will::of("late", name) };
    let no_session = Hello::new(V5, "none").leaving(later(u32::MAX, "none"));
    let short = Hello::new(V5, "short").with(&session_expiry(1)).leaving(later(u32::MAX, "short"));
    let start = Instant::now();
    Client::connect(ground.addr, &short).vanish();
    Client::connect(ground.addr, &no_session).vanish();
    witness.expect_text("none");
    witness.expect_text("short");
    assert!(start.elapsed().as_millis() >= 1000, "not before the session ends");
    ground.lift();
}

/// Abuse row 76
fn wills_of_many_who_vanish_at_once_all_come(stage: &Stage) {
    const COUNT: usize = 100;
    let mut ground = Ground::shared(stage);
    let (mut witness, topic) = (ground.client(V5), unique("storm"));
    witness.subscribe(&topic, 1);
    let hello = |number: usize| {
        let will = Will::sure(&topic, &number.to_string());
        Hello::new(BOTH[number % 2], &unique("storm")).leaving(will)
    };
    let mut clients: Vec<Client> = Vec::new();
    (0..COUNT).for_each(|number| clients.push(Client::connect(ground.addr, &hello(number))));
    clients.into_iter().for_each(Client::vanish);
    ground.canary_sings();
    let mut came: Vec<usize> = (0..COUNT)
        .map(|_| {
            let message = witness.expect_message();
            witness.send(&super::octets::numbered(0x40, message.id));
            message.text().parse().expect("a number")
        })
        .collect();
    came.sort_unstable();
    assert!(came.into_iter().eq(0..COUNT), "each comes once");
    witness.ping();
    ground.lift();
}

/// Abuse row 77
#[test]
fn client_ids_are_refused_by_length_and_where_there_is_none() {
    let ground = Ground::own(2, "");
    for (version, code) in [(V3, 2), (V4, 2), (V5, 0x85)] {
        for length in [101, 255, 60_000] {
            let connack = ground.answer_to(&Hello::new(version, &"i".repeat(length)));
            assert_eq!(connack.code, code, "{length} octets, version {version}");
        }
        assert_eq!(ground.answer_to(&Hello::new(version, &"i".repeat(100))).code, 0);
        let mut client = ground.stranger(version);
        client.send(&Hello::new(version, &"i".repeat(65_535)).octets());
        assert!(!matches!(client.next(), Heard::Packet(said) if said.body[1] == 0));
    }
    // MQTT-3.1.3-7, MQTT-3.1.3-8 (v3.1.1): nobody without a name has a session to come back to.
    assert_eq!(ground.answer_to(&Hello::lasting(V4, "")).code, 2);
    assert_eq!(ground.answer_to(&Hello::new(V3, "")).code, 2);
    assert_eq!(ground.answer_to(&Hello::new(V4, "")).code, 0);
    // MQTT-3.1.3-6, MQTT-3.2.2-16 (v5)
    let names = [Hello::new(V5, ""), Hello::lasting(V5, "")].map(|hello| {
        let connack = ground.answer_to(&hello);
        assert_eq!((connack.code, connack.present), (0, false));
        connack.property(0x12).expect("a name").to_vec()
    });
    assert!(names[0] != names[1] && names[0].len() > 8, "{names:?}");
    ground.lift();
}

/// Abuse row 77: they are names and nothing else.
fn client_ids_may_look_like_filters(stage: &Stage) {
    let ground = Ground::shared(stage);
    let end = unique("");
    for name in ["#", "+", "a/+/b", "$SYS/#", "(.*)+", "%c", "%u", "../../x", "a b\u{1F980}", "'\""]
    {
        for version in BOTH {
            let name = format!("{name}{end}");
            let mut one = Client::connect(ground.addr, &Hello::lasting(version, &name));
            one.subscribe(&end, 1);
            one.leave();
            let hello = Hello { clean: false, ..Hello::new(version, &name) };
            let (mut one, is_present) = Client::resume(ground.addr, &hello);
            assert!(is_present, "{name}");
            one.tell(&end, &name);
            one.expect_text(&name);
            one.ping();
            one.leave();
            Client::try_connect(ground.addr, &Hello::new(version, &name)).0.leave();
        }
    }
    ground.lift();
}

/// Abuse row 78
fn two_clients_that_fight_for_an_id_do_not_disturb_others(stage: &Stage) {
    let mut ground = Ground::shared(stage);
    for version in BOTH {
        let hello = Hello::lasting(version, &unique("fight"));
        let mut last = Client::connect(ground.addr, &hello);
        for round in 0..40 {
            let (next, is_present) = Client::resume(ground.addr, &hello);
            assert!(is_present, "round {round}");
            last.expect_closed(0x8E);
            last = next;
        }
        ground.canary_sings();
        last.ping();
        // All at once: one of them stays.
        let mut many: Vec<Client> = (0..20)
            .map(|_| {
                let mut client = ground.stranger(version);
                client.send(&hello.octets());
                client
            })
            .collect();
        last.expect_closed(0x8E);
        let mut staying = 0;
        // Who was overtaken while its session was opened has its connection closed and no more.
        many.retain_mut(|client| match client.next() {
            Heard::Packet(connack) => {
                assert_eq!((connack.first, connack.body[1]), (0x20, 0));
                client.send(&super::octets::PINGREQ);
                true
            }
            Heard::End => false,
            Heard::Silence => panic!("neither let in nor gone"),
        });
        for client in &mut many {
            loop {
                match client.next() {
                    Heard::Packet(said) if said.first == 0xD0 => {}
                    Heard::Packet(said) => assert_eq!((said.first, said.body[0]), (0xE0, 0x8E)),
                    Heard::End => break,
                    Heard::Silence => panic!("neither here nor gone"),
                }
                if matches!(client.next_within(super::client::SILENCE), Heard::Silence) {
                    staying += 1;
                    break;
                }
            }
        }
        assert_eq!(staying, 1, "one has the session");
    }
    ground.lift();
}

/// Abuse row 79; MQTT-3.1.2-21, MQTT-3.2.2-21, MQTT-3.2.2-22 (v5), MQTT-3.1.2-24 (v3.1.1)
#[test]
fn whoever_says_nothing_for_too_long_is_gone() {
    let mut ground = Ground::own(2, "max_keepalive = 1\n");
    let hello = |version: u8, keep_alive: u16| Hello {
        keep_alive,
        ..Hello::new(version, &unique("silent"))
    };
    let start = Instant::now();
    let mut silent = Vec::new();
    for keep_alive in [0, 2, 65_535] {
        let (client, connack) = Client::try_connect(ground.addr, &hello(V5, keep_alive));
        assert_eq!(connack.property(0x13), Some(&[0, 1][..]), "a server keep alive");
        silent.push(client);
    }
    let (client, connack) = Client::try_connect(ground.addr, &hello(V5, 1));
    assert_eq!(connack.property(0x13), None, "it asked for that");
    silent.push(client);
    let mut old = [V3, V4].map(|version| Client::connect(ground.addr, &hello(version, 1)));
    let mut never = Client::connect(ground.addr, &hello(V4, 0));
    let mut dripping = Client::connect(ground.addr, &hello(V4, 1));
    for client in &mut silent {
        client.expect_closed(0x8D);
    }
    for client in &mut old {
        client.expect_end();
    }
    assert!(start.elapsed().as_millis() >= 1500, "one and a half times the keep alive");
    // An octet that ends no packet is a sign of life all the same.
    dripping.send(&[0xC0]);
    never.ping();
    ground.canary_sings();
    ground.lift();
}

/// Abuse row 80
#[test]
fn many_wrong_logins_are_refused_and_cost_nobody_else() {
    let mut ground = Ground::own(2, "");
    // Refusals come late, so all are waited for at once.
    let mut clients: Vec<(u8, Client)> = Vec::new();
    for (version, code) in [(V3, 4), (V4, 4), (V5, 0x86)] {
        let wrong = Hello { password: b"wrong".to_vec(), ..Hello::new(version, &unique("wrong")) };
        let nobody = Hello { user: b"nobody".to_vec(), ..wrong.clone() };
        for hello in [&wrong, &nobody].into_iter().cycle().take(20) {
            let mut client = ground.stranger(version);
            client.send(&hello.octets());
            clients.push((code, client));
        }
    }
    ground.canary_sings();
    for (code, client) in &mut clients {
        assert_eq!(client.expect_connack().code, *code);
        client.expect_end();
    }
    ground.canary_sings();
    let elsewhere = ground.broker().addr();
    drop(Client::stranger(elsewhere, V4));
}

/// Abuse row 81
#[test]
fn sessions_are_remembered_as_long_as_the_settings_allow() {
    let ground = Ground::own(1, "max_session_expiry_interval = 1h\n");
    for (asked, told) in [(u32::MAX, Some(3600)), (3601, Some(3600)), (3600, None), (0, None)] {
        let hello = Hello::new(V5, &unique("long")).with(&session_expiry(asked));
        let connack = ground.answer_to(&hello);
        let said = connack.property(0x11).map(|octets| octets.to_vec());
        assert_eq!(said, told.map(|seconds: u32| seconds.to_be_bytes().to_vec()), "{asked}");
    }
    ground.lift();
}

/// Abuse row 84
fn a_session_that_waits_keeps_so_many_messages(stage: &Stage) {
    let options = stage.setup.options();
    for (order, first) in [("fifo", 0), ("lifo", 20)] {
        let config = format!("[mqtt]\nmax_offline_messages = 10\nqueue_type = {order}\n");
        let broker = Broker::with(Options { config: &config, ..options });
        let ground = Ground::on(broker);
        for version in BOTH {
            let hello = Hello::lasting(version, &unique("away"));
            let (mut away, topic) = (Client::connect(ground.addr, &hello), unique("away"));
            away.subscribe(&topic, 1);
            away.leave();
            let mut publisher = ground.client(V5);
            for number in 0..30 {
                let payload = format!("{number}");
                // The publisher of version 5 may be told that it was too many.
                let letter =
                    Letter { topic: &topic, payload: payload.as_bytes(), ..Letter::default() };
                let code = publisher.publish_surely(&letter);
                assert!(matches!(code, 0 | 0x97), "{code:#x}");
            }
            let (mut back, is_present) = Client::resume(ground.addr, &hello);
            assert!(is_present);
            for number in first..first + 10 {
                back.expect_text(&number.to_string());
            }
            back.ping();
            publisher.tell_surely(&topic, "live");
            back.expect_text("live");
        }
        ground.lift();
    }
}

/// Abuse row 85; MQTT-3.1.4-5, MQTT-3.2.0-1 (v3.1.1), MQTT-3.1.4-6, MQTT-3.2.0-1, MQTT-3.2.0-2 (v5)
fn what_comes_before_connack_is_dealt_with_after_it(stage: &Stage) {
    let ground = Ground::shared(stage);
    for version in BOTH {
        let (name, large) = (unique("early"), vec![b'x'; 50_000]);
        let mut all = Hello::lasting(version, &name).octets();
        all.extend(subscribe(version, 1, &[(&name, 1)], &[]));
        for id in 1..=10 {
            let letter = Letter { topic: &name, qos: 1, id, payload: &large, ..Letter::default() };
            all.extend(letter.octets(version));
        }
        let mut client = ground.stranger(version);
        client.send(&all);
        assert_eq!(client.expect_connack().code, 0);
        let (mut answers, mut messages, mut grants) = (0, 0, 0);
        while (answers, messages, grants) != (10, 10, 1) {
            let said = client.expect_packet();
            match said.first & 0xF0 {
                0x40 => answers += 1,
                0x90 => grants += 1,
                _ => {
                    let message = client.message_of(&said);
                    assert!(message.payload == large);
                    client.send(&super::octets::numbered(0x40, message.id));
                    messages += 1;
                }
            }
        }
        client.ping();
        if version < V5 {
            continue;
        }
        // What comes behind a CONNECT that is refused is not looked at.
        let hello = Hello { password: b"wrong".to_vec(), ..Hello::new(version, &name) };
        let mut client = ground.stranger(version);
        client.send(&hello.octets());
        client.send(&Letter { topic: &name, payload: b"no", ..Letter::default() }.octets(version));
        assert_ne!(client.expect_connack().code, 0);
        client.expect_end();
        let (mut back, is_present) = Client::resume(ground.addr, &Hello::lasting(version, &name));
        assert!(is_present);
        back.tell(&name, "yes");
        back.expect_text("yes");
    }
    ground.lift();
}

/// Abuse row 78: a session is its user's, whoever knows the name of its client.
#[test]
fn a_session_is_not_taken_by_another_user() {
    let file = definitions(&[("thief", [".*", ".*", ".*"])]);
    let config = format!("load_definitions = {}\n[mqtt]\n", file.display());
    let broker = Broker::with(Options { config: &config, ..Options::new() });
    let ground = Ground::on(broker);
    for (version, refusal) in [(V4, 5), (V5, 0x87)] {
        let id = unique("owned");
        let kept = Hello { clean: false, ..Hello::new(version, &id) };
        let mut owner = Client::connect(ground.addr, &kept);
        owner.subscribe("private", 1);
        let thief = Hello { user: b"thief".to_vec(), ..kept.clone() };
        assert_eq!(ground.answer_to(&thief).code, refusal);
        assert_eq!(ground.answer_to(&Hello { clean: true, ..thief.clone() }).code, refusal);
        owner.ping();
        owner.leave();
    }
    ground.lift();
    drop(std::fs::remove_file(file));
}
