//! QoS 1 and 2, packet by packet and over reconnects: mqtt.md H-02 to H-10; abuse rows 70, 71.

use crate::support::setup::Stage;
use crate::support::siege::unique;

use super::client::{Client, Heard, Message};
use super::ground::Ground;
use super::octets::{BOTH, Hello, Letter, V4, V5, numbered, two};

on_every_setup!(
    a_qos_2_message_that_is_repeated_is_delivered_once,
    a_qos_2_number_is_known_after_a_reconnect,
    deliveries_that_are_not_answered_come_again_with_their_numbers,
    answers_of_another_qos_end_the_connection,
    a_client_gets_no_more_than_it_is_ready_for,
    what_waits_comes_in_order_after_what_was_out,
);

/// A subscriber with a session, who is away; and its greeting and topic.
fn away(ground: &Ground, version: u8, qos: u8) -> (Hello, String) {
    let (hello, topic) = (Hello::lasting(version, &unique("away")), unique("topic"));
    let mut client = Client::connect(ground.addr, &hello);
    client.subscribe(&topic, qos);
    client.leave();
    (hello, topic)
}

fn back(ground: &Ground, hello: &Hello) -> Client {
    let (client, is_present) = Client::resume(ground.addr, hello);
    assert!(is_present, "the session is there");
    client
}

/// Publishes with QoS 2, all four packets.
fn tell_once(client: &mut Client, topic: &str, payload: &str) {
    let id = client.id();
    let payload = payload.as_bytes();
    client.publish(&Letter { topic, payload, qos: 2, id, ..Letter::default() });
    let code = client.expect_answer(0x50, id);
    assert!(code == 0 || code == 0x10, "{code:#x}");
    client.send(&numbered(0x62, id));
    assert_eq!(client.expect_answer(0x70, id), 0);
}

/// Abuse row 70; MQTT-4.3.3-2 (v3.1.1), MQTT-4.3.3-8, -10, -11, -12 (v5)
fn a_qos_2_message_that_is_repeated_is_delivered_once(stage: &Stage) {
    let mut ground = Ground::shared(stage);
    for version in BOTH {
        let (mut witness, topic) = (ground.client(V5), unique("once"));
        witness.subscribe(&topic, 2);
        let mut publisher = ground.client(version);
        let letter = Letter { topic: &topic, qos: 2, id: 7, ..Letter::default() };
        publisher.publish(&Letter { payload: b"one", ..letter.clone() });
        publisher.expect_answer(0x50, 7);
        for dup in [true, false] {
            publisher.publish(&Letter { payload: b"again", dup, ..letter.clone() });
            publisher.expect_answer(0x50, 7);
        }
        for code in [0, 0x92] {
            publisher.send(&numbered(0x62, 7));
            let expected = if version == V5 { code } else { 0 };
            assert_eq!(publisher.expect_answer(0x70, 7), expected);
        }
        publisher.publish(&Letter { payload: b"two", ..letter.clone() });
        publisher.expect_answer(0x50, 7);
        publisher.send(&numbered(0x62, 7));
        publisher.expect_answer(0x70, 7);
        let came = ["one", "two"].map(|payload| {
            let message = witness.expect_message();
            assert_eq!((message.text(), message.qos, message.dup), (payload, 2, false));
            message
        });
        for message in came {
            witness.send(&numbered(0x50, message.id));
            assert_eq!(witness.expect_answer(0x62, message.id), 0);
            witness.send(&numbered(0x70, message.id));
        }
        witness.ping();
    }
    ground.canary_sings();
    ground.lift();
}

/// H-04, H-06
fn a_qos_2_number_is_known_after_a_reconnect(stage: &Stage) {
    let ground = Ground::shared(stage);
    for version in BOTH {
        let (mut witness, topic) = (ground.client(V5), unique("once"));
        witness.subscribe(&topic, 1);
        let hello = Hello::lasting(version, &unique("publisher"));
        let mut publisher = Client::connect(ground.addr, &hello);
        let letter = Letter { topic: &topic, qos: 2, id: 9, ..Letter::default() };
        publisher.publish(&Letter { payload: b"one", ..letter.clone() });
        publisher.expect_answer(0x50, 9);
        publisher.vanish();
        let mut publisher = back(&ground, &hello);
        publisher.publish(&Letter { payload: b"one", dup: true, ..letter.clone() });
        publisher.expect_answer(0x50, 9);
        publisher.send(&numbered(0x62, 9));
        assert_eq!(publisher.expect_answer(0x70, 9), 0);
        publisher.vanish();
        let mut publisher = back(&ground, &hello);
        publisher.send(&numbered(0x62, 9));
        let unknown = if version == V5 { 0x92 } else { 0 };
        assert_eq!(publisher.expect_answer(0x70, 9), unknown);
        publisher.publish(&Letter { payload: b"two", ..letter });
        publisher.expect_answer(0x50, 9);
        witness.expect_text("one");
        witness.expect_text("two");
        witness.ping();
    }
    ground.lift();
}

/// MQTT-4.4.0-1; H-05, H-07: the same number, DUP, and PUBREL before any PUBLISH, in the order of
/// the first time.
fn deliveries_that_are_not_answered_come_again_with_their_numbers(stage: &Stage) {
    let ground = Ground::shared(stage);
    for version in BOTH {
        let (hello, topic) = away(&ground, version, 2);
        let mut publisher = ground.client(V4);
        let mut client = back(&ground, &hello);
        for (payload, is_twice) in [("a", true), ("b", false), ("c", true), ("d", true)] {
            if is_twice {
                tell_once(&mut publisher, &topic, payload);
            } else {
                publisher.tell_surely(&topic, payload);
            }
        }
        let first: Vec<Message> = (0..4).map(|_| client.expect_message()).collect();
        let texts: Vec<&str> = first.iter().map(Message::text).collect();
        let levels: Vec<u8> = first.iter().map(|message| message.qos).collect();
        assert_eq!((texts, levels), (vec!["a", "b", "c", "d"], vec![2, 1, 2, 2]));
        assert!(first.iter().all(|message| !message.dup));
        // c is received, and PUBREL was sent for it.
        client.send(&numbered(0x50, first[2].id));
        assert_eq!(client.expect_answer(0x62, first[2].id), 0);
        client.vanish();
        for _ in 0..2 {
            let mut client = back(&ground, &hello);
            let mut released = None;
            let mut again = Vec::new();
            for number in 0..4 {
                let Heard::Packet(said) = client.next() else { panic!("{again:?}") };
                if said.first == 0x62 {
                    assert_eq!(number, 0, "PUBREL comes first");
                    released = Some(u16::from_be_bytes([said.body[0], said.body[1]]));
                } else {
                    again.push(client.message_of(&said));
                }
            }
            assert_eq!(released, Some(first[2].id));
            for (old, new) in [&first[0], &first[1], &first[3]].into_iter().zip(&again) {
                assert_eq!(&Message { dup: true, ..old.clone() }, new);
            }
            client.ping();
            client.vanish();
        }
        let mut client = back(&ground, &hello);
        for _ in 0..4 {
            let said = client.expect_packet();
            if said.first == 0x62 {
                client.send(&numbered(0x70, first[2].id));
                continue;
            }
            let message = client.message_of(&said);
            if message.qos == 1 {
                client.send(&numbered(0x40, message.id));
                continue;
            }
            client.send(&numbered(0x50, message.id));
        }
        for id in [first[0].id, first[3].id] {
            assert_eq!(client.expect_answer(0x62, id), 0);
            client.send(&numbered(0x70, id));
        }
        client.ping();
        client.leave();
        let mut client = back(&ground, &hello);
        publisher.tell_surely(&topic, "e");
        assert!(!client.expect_text("e").dup, "nothing is left");
    }
    ground.lift();
}

/// Abuse row 70; as `mod.rs` decides
fn answers_of_another_qos_end_the_connection(stage: &Stage) {
    let mut ground = Ground::shared(stage);
    for version in BOTH {
        for (qos, answer) in [(1, 0x50), (2, 0x40), (1, 0x70), (2, 0x70)] {
            let (hello, topic) = away(&ground, version, qos);
            let mut client = back(&ground, &hello);
            let mut publisher = ground.client(V5);
            tell_once(&mut publisher, &topic, "x");
            let message = client.expect_message();
            assert_eq!(message.qos, qos);
            client.send(&numbered(answer, message.id));
            client.expect_closed(0x82);
            // It was not settled by that.
            let mut client = back(&ground, &hello);
            let again = client.expect_message();
            assert_eq!((again.text(), again.id, again.dup), ("x", message.id, true));
        }
        // Answers to what is not out are nothing, or an error that says so.
        let mut client = ground.client(version);
        client.send(&numbered(0x40, 77));
        client.send(&numbered(0x70, 78));
        client.send(&numbered(0x50, 79));
        let unknown = if version == V5 { 0x92 } else { 0 };
        assert_eq!(client.expect_answer(0x62, 79), unknown);
        client.ping();
        ground.canary_sings();
    }
    ground.lift();
}

/// MQTT-3.3.4-9, MQTT-4.9.0-2 (v5); H-09, H-10
fn a_client_gets_no_more_than_it_is_ready_for(stage: &Stage) {
    let ground = Ground::shared(stage);
    let (hello, topic) = away(&ground, V5, 2);
    let narrow = |count: u16| hello.clone().with(&two(0x21, count));
    let mut publisher = ground.client(V5);
    for number in 0..6 {
        tell_once(&mut publisher, &topic, &number.to_string());
    }
    let mut client = back(&ground, &narrow(3));
    let out: Vec<Message> = (0..3).map(|_| client.expect_message()).collect();
    client.ping();
    client.expect_silence();
    client.vanish();
    // A smaller window holds for what comes again as well.
    let mut client = back(&ground, &narrow(2));
    for old in &out[..2] {
        assert_eq!(client.expect_message(), Message { dup: true, ..old.clone() });
    }
    client.ping();
    client.expect_silence();
    for (number, next) in (0..6).zip(2..) {
        let id = if number < 3 { out[number].id } else { 0 };
        let id = if id > 0 { id } else { publisher.id() };
        // Only PUBCOMP makes room, not PUBREC.
        if number >= 3 {
            break;
        }
        client.send(&numbered(0x50, id));
        assert_eq!(client.expect_answer(0x62, id), 0);
        client.ping();
        client.send(&numbered(0x70, id));
        let message = client.expect_message();
        assert_eq!((message.text(), message.dup), (&*next.to_string(), next == 2));
    }
    // QoS 0 is not counted.
    publisher.tell(&topic, "unsure");
    assert_eq!(client.expect_message().text(), "unsure");
    ground.lift();
}

/// H-01, H-02
fn what_waits_comes_in_order_after_what_was_out(stage: &Stage) {
    let ground = Ground::shared(stage);
    for version in BOTH {
        let (hello, topic) = away(&ground, version, 1);
        let mut publisher = ground.client(version);
        let tell = |publisher: &mut Client, numbers: std::ops::Range<u32>| {
            for number in numbers {
                publisher.tell_surely(&topic, &number.to_string());
            }
        };
        tell(&mut publisher, 0..50);
        let mut client = back(&ground, &hello);
        let first: Vec<Message> = (0..10).map(|_| client.expect_message()).collect();
        client.vanish();
        tell(&mut publisher, 50..100);
        let mut client = back(&ground, &hello);
        tell(&mut publisher, 100..150);
        for number in 0..150_u32 {
            let message = client.expect_text(&number.to_string());
            if let Some(old) = first.get(usize::try_from(number).expect("few")) {
                assert_eq!(message, Message { dup: true, ..old.clone() });
            }
        }
        client.ping();
    }
    ground.lift();
}

/// Abuse row 71; MQTT-3.3.4-7, MQTT-4.9.0-1 (v5)
#[test]
fn a_client_may_leave_so_many_publishes_open() {
    let mut ground = Ground::own(2, "receive_max_broker = 10\nreceive_max_client = 5\n");
    let (mut publisher, connack) =
        Client::try_connect(ground.addr, &Hello::new(V5, &unique("open")));
    assert_eq!(connack.property(0x21), Some(&[0, 10][..]));
    let letter = |id: u16| Letter { topic: "open", qos: 2, id, ..Letter::default() };
    for id in 1..=10 {
        publisher.publish(&letter(id));
        assert_eq!(publisher.expect_answer(0x50, id), 0);
    }
    publisher.publish(&Letter { topic: "open", ..Letter::default() });
    publisher.ping();
    publisher.send(&numbered(0x62, 4));
    assert_eq!(publisher.expect_answer(0x70, 4), 0);
    publisher.publish(&letter(11));
    assert_eq!(publisher.expect_answer(0x50, 11), 0);
    publisher.publish(&letter(12));
    publisher.expect_closed(0x93);
    // Version 3.1.1 has nothing of the kind: its packet ids are the bound.
    let hello = Hello::lasting(V4, &unique("open"));
    let mut publisher = Client::connect(ground.addr, &hello);
    let all: Vec<u8> = (1..=u16::MAX).flat_map(|id| letter(id).octets(V4)).collect();
    let mut out = publisher.stream().try_clone().expect("a socket");
    let writing = std::thread::spawn(move || {
        drop(std::io::Write::write_all(&mut out, &all));
    });
    for id in 1..=u16::MAX {
        publisher.expect_answer(0x50, id);
    }
    writing.join().expect("it wrote");
    ground.canary_sings();
    publisher.vanish();
    let mut publisher = back(&ground, &hello);
    for id in [1, 40_000, u16::MAX] {
        publisher.send(&numbered(0x62, id));
        publisher.expect_answer(0x70, id);
    }
    ground.lift();
}

/// V-026: the window of version 3, and 1 means order.
#[test]
fn the_window_of_version_3_is_a_setting() {
    let ground = Ground::own(2, "max_inflight_messages = 1\nreceive_max_client = 2\n");
    for (version, window) in [(V4, 1), (V5, 2)] {
        let (hello, topic) = away(&ground, version, 1);
        let mut publisher = ground.client(V5);
        for number in 0..5 {
            publisher.tell_surely(&topic, &number.to_string());
        }
        let mut client = back(&ground, &hello);
        let out: Vec<Message> = (0..window).map(|_| client.expect_message()).collect();
        client.ping();
        client.expect_silence();
        for message in out {
            client.send(&numbered(0x40, message.id));
        }
        for number in window..5 {
            client.expect_text(&number.to_string());
        }
        client.ping();
    }
    ground.lift();
}

/// MQTT-2.3.1-4 (v3.1.1), MQTT-2.2.1-4 (v5). Other brokers' suites compare octets: a session's first
/// packet id is 1.
#[test]
fn packet_ids_of_a_session_begin_with_one() {
    let ground = Ground::own(2, "");
    for version in BOTH {
        let mut client = ground.client(version);
        client.subscribe("ids", 2);
        for (qos, id) in [(1, 1), (2, 2), (1, 3)] {
            let mut publisher = ground.client(version);
            publisher.publish_surely(&Letter { topic: "ids", qos, id: 9, ..Letter::default() });
            assert_eq!(client.expect_message().id, id);
        }
    }
    ground.lift();
}

/// MQTT-4.3.3-4 (v5): a PUBREC of 0x80 or more ends it, also if nobody knows what it ends.
#[test]
fn a_refusal_of_an_unknown_packet_id_has_no_answer() {
    let ground = Ground::own(1, "");
    let mut client = ground.client(V5);
    client.send(&[0x50, 3, 0, 7, 0x80]);
    client.ping();
    client.send(&[0x50, 3, 0, 7, 0]);
    assert_eq!(client.expect_answer(0x62, 7), 0x92);
    ground.lift();
}

/// MQTT-3.14.2-3 (v5): words come to those who ask for them.
#[test]
fn a_reason_string_comes_where_it_was_asked_for() {
    let ground = Ground::own(1, "");
    let text = b"packet identifier 0";
    for (properties, is_told) in [(&[][..], false), (&[0x17, 0], false), (&[0x17, 1], true)] {
        let hello = Hello::new(V5, &unique("reason")).with(properties);
        let mut client = Client::connect(ground.addr, &hello);
        client.send(&[0x82, 7, 0, 0, 0, 0, 1, b'f', 0]);
        let said = client.expect_packet();
        assert_eq!((said.first, said.body[0]), (0xE0, 0x82));
        assert_eq!(said.body.ends_with(text), is_told);
        assert!(is_told || said.body.len() == 1, "nothing but the code");
    }
    ground.lift();
}
