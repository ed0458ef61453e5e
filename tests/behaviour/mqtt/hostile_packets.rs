//! Packets that are none, or not at this time, or not with these fields: abuse rows 54 to 62, 70,
//! 72 to 74, 86.

use crate::support::setup::Stage;
use crate::support::siege::unique;
use crate::transport::web::{self, Frame, Web, frame};

use super::client::{Client, Heard};
use super::ground::Ground;
use super::octets::{
    BOTH, Hello, Letter, V3, V4, V5, Will, binary, block, four, numbered, packet, subscribe, text,
    two, unsubscribe, varint,
};

on_every_setup!(
    lengths_of_more_than_four_octets_end_the_connection,
    first_packets_other_than_connect_are_not_answered,
    flags_and_types_that_are_reserved_end_the_connection,
    texts_that_are_none_end_the_connection_and_reach_nobody,
    numbers_of_packets_are_never_zero,
    properties_out_of_place_end_the_connection,
);

/// Somebody who subscribed to all that an attacker may publish to.
struct Witness {
    topic: String,
    client: Client,
}

impl Witness {
    fn of(ground: &Ground) -> Self {
        let (topic, mut client) = (unique("witness"), ground.client(V5));
        client.subscribe(&format!("{topic}/#"), 2);
        Self { topic, client }
    }

    /// Nothing has come before this.
    fn saw_nothing(mut self, ground: &Ground) {
        ground.client(V4).tell_surely(&format!("{}/last", self.topic), "last");
        self.client.expect_text("last");
    }
}

/// Each of these, said by a client of this version that is let in, ends its connection with this
/// code, while others go on.
fn end_the_connection(ground: &mut Ground, version: u8, cases: &[(&str, Vec<u8>, u8)]) {
    for (name, octets, code) in cases {
        let mut client = ground.client(version);
        client.send(octets);
        if version < V5 {
            let heard = client.next();
            assert_eq!(heard, Heard::End, "{name}, version {version}");
            continue;
        }
        let heard = client.next();
        let Heard::Packet(said) = &heard else { panic!("{name}: {heard:?}, not {code:#x}") };
        let codes = (said.first, said.body.first().copied());
        assert_eq!(codes, (0xE0, Some(*code)), "{name}: {said:x?}, not {code:#x}");
        assert_eq!(client.next(), Heard::End, "{name}");
    }
    ground.canary_sings();
}

/// Abuse row 54
fn lengths_of_more_than_four_octets_end_the_connection(stage: &Stage) {
    let mut ground = Ground::shared(stage);
    for version in [V3, V4, V5] {
        end_the_connection(
            &mut ground,
            version,
            &[
                ("five octets", vec![0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], 0x81),
                ("four of which the last goes on", vec![0x30, 0x80, 0x80, 0x80, 0x80], 0x81),
                ("an answer with five", vec![0x40, 0x82, 0x80, 0x80, 0x80, 0x00], 0x81),
            ],
        );
    }
    for octets in [&[0x10, 0xFF, 0xFF, 0xFF, 0xFF][..], &[0x10, 0x80, 0x80, 0x80, 0x80, 0]] {
        let mut client = ground.stranger(V4);
        client.send(octets);
        client.expect_end();
    }
    ground.lift();
}

/// Abuse row 55: version 5 forbids it (MQTT-1.5.5-1), 3.1.1 does not say so, and its clients are
/// served.
#[test]
fn lengths_with_needless_octets_are_malformed() {
    let mut ground = Ground::own(1, "");
    end_the_connection(
        &mut ground,
        V5,
        &[
            ("PINGREQ", vec![0xC0, 0x80, 0x00], 0x81),
            ("PUBLISH", vec![0x30, 0x84, 0x00, 0, 1, b'a', 0], 0x81),
            ("properties", packet(0x30, &[0, 1, b'a', 0x80, 0x00]), 0x81),
        ],
    );
    ground.lift();
}

/// Abuse row 56
#[test]
fn packets_larger_than_allowed_are_not_read() {
    for shards in [1, 2] {
        let mut ground = Ground::own(shards, "max_packet_size = 4096\n");
        let hello = Hello::new(V5, "");
        let connack = ground.answer_to(&hello);
        assert_eq!(connack.property(0x27), Some(&4096_u32.to_be_bytes()[..]));
        // 4096 octets in all are allowed, header included.
        let most = 4096 - 3 - 5;
        for version in BOTH {
            let fits = most - if version == V5 { 1 } else { 0 };
            let mut client = ground.client(version);
            client.subscribe("a/b", 0);
            client.tell("a/b", &"x".repeat(fits));
            client.expect_text(&"x".repeat(fits));
            let whole = |extra: usize| {
                let payload = vec![b'x'; fits + extra];
                Letter { topic: "a/b", payload: &payload, ..Letter::default() }.octets(version)
            };
            assert_eq!((whole(0).len(), whole(1).len()), (4096, 4097));
            let header_alone = [&[0x30][..], &varint(200_000_000)].concat();
            let cases =
                [("one octet more", whole(1), 0x95), ("a header alone", header_alone, 0x95)];
            end_the_connection(&mut ground, version, &cases);
        }
        // Before the login 64 KiB are allowed, whatever the settings say.
        let mut large = Hello::new(V5, "large");
        large.will = Some(Will { payload: vec![0; 65_535], ..Will::of("t", "") });
        let mut client = ground.stranger(V5);
        client.send(&large.octets()[..100]);
        client.expect_end();
        ground.lift();
    }
}

/// Abuse row 58; MQTT-3.1.0-1, MQTT-3.1.0-2
fn first_packets_other_than_connect_are_not_answered(stage: &Stage) {
    let mut ground = Ground::shared(stage);
    let witness = Witness::of(&ground);
    let publish = Letter { topic: &format!("{}/x", witness.topic), ..Letter::default() };
    for octets in [
        publish.octets(V4),
        publish.octets(V5),
        packet(0x20, &[0, 0]),
        numbered(0x40, 1),
        numbered(0x50, 1),
        numbered(0x62, 1),
        numbered(0x70, 1),
        subscribe(V4, 1, &[("#", 0)], &[]),
        unsubscribe(V4, 1, &["#"]),
        packet(0xC0, &[]),
        packet(0xD0, &[]),
        packet(0xE0, &[]),
        packet(0xF0, &[]),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"AMQP\0\0\x09\x01".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03".to_vec(),
        vec![0; 100],
    ] {
        let mut client = ground.stranger(V5);
        client.send(&octets);
        // Whatever is behind it is not looked at.
        client.send(&Hello::new(V5, "late").octets());
        let heard = client.next();
        assert_eq!(heard, Heard::End, "{octets:x?}");
    }
    for version in [V3, V4, V5] {
        let again = Hello::new(version, "again").octets();
        end_the_connection(&mut ground, version, &[("CONNECT again", again, 0x82)]);
    }
    witness.saw_nothing(&ground);
    ground.lift();
}

/// Abuse row 60; MQTT-2.2.2-1, -2, MQTT-3.3.1-2, -4, MQTT-3.6.1-1, MQTT-3.8.1-1, MQTT-3.8.3-4,
/// MQTT-3.10.1-1, MQTT-3.14.1-1 (v3.1.1); MQTT-2.1.3-1, MQTT-3.3.1-2, -4, MQTT-3.6.1-1, MQTT-3.8.1-1,
/// MQTT-3.8.3-5, MQTT-3.10.1-1, MQTT-3.14.1-1, MQTT-3.15.1-1 (v5)
fn flags_and_types_that_are_reserved_end_the_connection(stage: &Stage) {
    let mut ground = Ground::shared(stage);
    let witness = Witness::of(&ground);
    let topic = format!("{}/x", witness.topic);
    for version in BOTH {
        let letter = Letter { topic: &topic, id: 5, ..Letter::default() };
        let other = |first: u8, mut octets: Vec<u8>| {
            octets[0] = first;
            octets
        };
        let subscription = subscribe(version, 1, &[(&topic, 0)], &[]);
        let farewell = unsubscribe(version, 1, &[&topic]);
        let mut cases = vec![
            ("type 0", packet(0x00, &[]), 0x81),
            ("QoS 3", Letter { qos: 3, ..letter.clone() }.octets(version), 0x81),
            ("DUP with QoS 0", Letter { dup: true, ..letter.clone() }.octets(version), 0x81),
            ("PUBACK with flags", other(0x42, numbered(0x40, 1)), 0x81),
            ("PUBREC with flags", other(0x52, numbered(0x50, 1)), 0x81),
            ("PUBREL without flags", other(0x60, numbered(0x62, 1)), 0x81),
            ("PUBREL with all flags", other(0x6F, numbered(0x62, 1)), 0x81),
            ("PUBCOMP with flags", other(0x71, numbered(0x70, 1)), 0x81),
            ("SUBSCRIBE without flags", other(0x80, subscription), 0x81),
            ("UNSUBSCRIBE without flags", other(0xA0, farewell), 0x81),
            ("PINGREQ with flags", packet(0xC1, &[]), 0x81),
            ("PINGREQ with a body", packet(0xC0, &[0]), 0x81),
            ("DISCONNECT with flags", packet(0xE8, &[]), 0x81),
            ("a subscription with QoS 3", subscribe(version, 1, &[("a", 3)], &[]), 0x82),
        ];
        if version == V5 {
            let handling = subscribe(version, 1, &[("a", 0x30)], &[]);
            let reserved = subscribe(version, 1, &[("a", 0x40)], &[]);
            cases.push(("a retain handling of 3", handling, 0x82));
            cases.push(("reserved options", reserved, 0x81));
            cases.push(("AUTH with flags", packet(0xF1, &[]), 0x81));
        } else {
            cases.push(("type 15", packet(0xF0, &[]), 0x81));
            cases.push(("options of version 5", subscribe(version, 1, &[("a", 4)], &[]), 0x81));
        }
        end_the_connection(&mut ground, version, &cases);
        for (name, first, code) in [
            ("CONNACK", 0x20, 0x82),
            ("SUBACK", 0x90, 0x82),
            ("UNSUBACK", 0xB0, 0x82),
            ("PINGRESP", 0xD0, 0x82),
        ] {
            let mut client = ground.client(version);
            client.send(&packet(first, &[0, 1, 0]));
            // Either code is right for what no client may send.
            match client.next() {
                Heard::Packet(said) if version == V5 => {
                    assert_eq!(said.first, 0xE0, "{name}");
                    assert!(said.body[0] == code || said.body[0] == 0x81, "{name}: {said:x?}");
                    client.expect_end();
                }
                heard => assert_eq!((version, heard), (V4, Heard::End), "{name}"),
            }
        }
    }
    // MQTT-3.1.2-3: the reserved flag of CONNECT; a will of QoS 3; a will's flags without a will; a
    // password without a user name.
    for flags in [0x03, 0x1E, 0x0A, 0x22, 0x42] {
        let mut body = [&text("MQTT")[..], &[4, flags, 0, 0], &text("flags")].concat();
        if flags & 4 > 0 {
            body.extend([text("w"), text("w")].concat());
        }
        if flags & 0x40 > 0 {
            body.extend(text("password"));
        }
        let mut client = ground.stranger(V4);
        client.send(&packet(0x10, &body));
        let heard = client.next();
        assert_eq!(heard, Heard::End, "{flags:#x}");
    }
    witness.saw_nothing(&ground);
    ground.lift();
}

/// Abuse row 61; MQTT-3.1.2-1, MQTT-3.1.2-2
#[test]
fn versions_that_are_not_spoken_are_told_so() {
    let ground = Ground::own(2, "");
    for (name, level, answer) in [
        ("MQTT", 6, Some(0x84)),
        ("MQTT", 3, Some(1)),
        ("MQTT", 0, Some(1)),
        ("MQTT", 255, Some(0x84)),
        ("MQIsdp", 4, Some(1)),
        ("MQIsdp", 5, Some(1)),
        ("mqtt", 4, None),
        ("MQTTT", 4, None),
        ("", 4, None),
    ] {
        let body = [&text(name)[..], &[level, 2, 0, 0], &text("id")].concat();
        let mut client = ground.stranger(V4);
        client.send(&packet(0x10, &body));
        match (answer, client.next()) {
            (None, heard) => assert_eq!(heard, Heard::End, "{name} {level}"),
            (Some(_), Heard::Packet(said)) => {
                assert_eq!((said.first, said.body[0]), (0x20, 0), "{name} {level}: {said:x?}");
                let code = said.body[1];
                assert!(code == 1 || code == 0x84, "{name} {level}: {said:x?}");
                client.expect_end();
            }
            // A name that is not the protocol's may be closed without a word.
            (Some(_), heard) => assert_eq!((name, heard), ("MQIsdp", Heard::End)),
        }
    }
    ground.lift();
}

/// Texts that no packet may have: cut sequences, surrogates, overlong forms, what is beyond
/// Unicode, and U+0000.
const NO_TEXTS: [&[u8]; 7] = [
    b"\xC3",
    b"a\xFF",
    b"\xED\xA0\x80",
    b"\xED\xBF\xBF",
    b"\xC0\x80",
    b"\xF4\x90\x80\x80",
    b"a\0b",
];

/// Abuse row 62; MQTT-1.5.3-1, MQTT-1.5.3-2 (v3.1.1), MQTT-1.5.4-1, MQTT-1.5.4-2,
/// MQTT-1.5.7-1, MQTT-3.3.2-13, MQTT-3.3.2-19 (v5)
fn texts_that_are_none_end_the_connection_and_reach_nobody(stage: &Stage) {
    let mut ground = Ground::shared(stage);
    let witness = Witness::of(&ground);
    for no_text in NO_TEXTS {
        let bad = [format!("{}/", witness.topic).as_bytes(), no_text].concat();
        for version in BOTH {
            let properties = block(version, &[]);
            let publish = [&binary(&bad)[..], &properties, b"x"].concat();
            let surely = [&binary(&bad)[..], &[0, 1], &properties, b"x"].concat();
            let filter = [&[0, 1][..], &properties, &binary(&bad), &[0]].concat();
            let farewell = [&[0, 1][..], &properties, &binary(&bad)].concat();
            let cases = [
                ("a topic", packet(0x30, &publish), 0x81),
                ("a topic with QoS 1", packet(0x32, &surely), 0x81),
                ("a filter", packet(0x82, &filter), 0x81),
                ("a filter to leave", packet(0xA2, &farewell), 0x81),
            ];
            end_the_connection(&mut ground, version, &cases);
            let good = Hello::new(version, &unique("text"));
            let will = Will { topic: bad.clone(), ..Will::of("", "will") };
            for hello in [
                Hello { client: no_text.to_vec(), ..good.clone() },
                Hello { user: no_text.to_vec(), ..good.clone() },
                good.leaving(will),
            ] {
                let mut client = ground.stranger(version);
                client.send(&hello.octets());
                if version == V5 {
                    let code = client.expect_connack().code;
                    assert!(matches!(code, 0x81 | 0x85 | 0x86), "{code:#x} {hello:?}");
                }
                let heard = client.next();
                assert_eq!(heard, Heard::End, "{hello:?}");
            }
        }
        let text_of_payload = |id: u8| [&[id][..], &binary(no_text)].concat();
        let pair = [&[0x26][..], &binary(no_text), &text("v")].concat();
        let topic = format!("{}/x", witness.topic);
        let cases = [text_of_payload(0x03), text_of_payload(0x08), pair].map(|properties| {
            let properties = &properties[..];
            let letter = Letter { topic: &topic, properties, ..Letter::default() };
            ("a property", letter.octets(V5), 0x81)
        });
        end_the_connection(&mut ground, V5, &cases);
    }
    witness.saw_nothing(&ground);
    ground.lift();
}

/// Abuse row 70, first half; MQTT-2.3.1-1 (v3.1.1), MQTT-2.2.1-3 (v5)
fn numbers_of_packets_are_never_zero(stage: &Stage) {
    let mut ground = Ground::shared(stage);
    for version in BOTH {
        let letter = Letter { topic: "zero", ..Letter::default() };
        let cases = [
            ("PUBLISH 1", Letter { qos: 1, ..letter.clone() }.octets(version)),
            ("PUBLISH 2", Letter { qos: 2, ..letter.clone() }.octets(version)),
            ("SUBSCRIBE", subscribe(version, 0, &[("a", 0)], &[])),
            ("UNSUBSCRIBE", unsubscribe(version, 0, &["a"])),
            ("PUBREL", numbered(0x62, 0)),
        ];
        for (name, octets) in cases {
            let mut client = ground.client(version);
            client.send(&octets);
            if version == V5 {
                let said = client.expect_packet();
                assert_eq!(said.first, 0xE0, "{name}: {said:x?}");
                assert!(matches!(said.body[0], 0x81 | 0x82), "{name}: {said:x?}");
            }
            let heard = client.next();
            assert_eq!(heard, Heard::End, "{name}");
        }
    }
    ground.canary_sings();
    ground.lift();
}

/// Abuse rows 72, 73, 74, 86; MQTT-3.2.2-18, MQTT-3.3.2-8, -9, -14, MQTT-3.3.4-6 (v5)
fn properties_out_of_place_end_the_connection(stage: &Stage) {
    let mut ground = Ground::shared(stage);
    let witness = Witness::of(&ground);
    let topic = format!("{}/x", witness.topic);
    let letter =
        |properties: &[u8]| Letter { topic: &topic, properties, ..Letter::default() }.octets(V5);
    let filters = [(&*topic, 0)];
    let request = |properties: &[u8]| subscribe(V5, 1, &filters, properties);
    let id = |number: u64| [&[0x0B][..], &varint(number)].concat();
    let nameless = Letter { properties: &two(0x23, 1), ..Letter::default() }.octets(V5);
    let cases = [
        ("row 72: an alias of 0", letter(&two(0x23, 0)), 0x94),
        ("row 72: an alias above the maximum", letter(&two(0x23, 1)), 0x94),
        ("row 72: an alias without a name", nameless, 0x94),
        ("row 72: twice", letter(&[four(2, 1), four(2, 1)].concat()), 0x82),
        ("row 72: another packet's", letter(&four(0x11, 1)), 0x82),
        ("row 72: unknown", letter(&[0x7E, 0]), 0x81),
        ("row 72: a payload format of 2", letter(&[1, 2]), 0x82),
        ("row 72: a response topic with a wildcard", letter(b"\x08\0\x01#"), 0x82),
        ("row 72: longer than the packet", packet(0x30, &[0, 1, b'a', 9, 1]), 0x81),
        ("row 72: cut", letter(&[2, 0, 0]), 0x81),
        ("row 74: id 0", request(&id(0)), 0x82),
        ("row 74: an id of five octets", request(&id(268_435_456)), 0x81),
        ("row 74: an id in PUBLISH", letter(&id(1)), 0x82),
        ("row 74: two ids", request(&[id(1), id(2)].concat()), 0x82),
        ("row 86: AUTH", packet(0xF0, &[]), 0x82),
        ("row 86: AUTH to begin again", packet(0xF0, &[0x19, 0]), 0x82),
    ];
    for (name, octets, code) in cases {
        let mut client = ground.client(V5);
        client.send(&octets);
        let Heard::Packet(said) = client.next() else { panic!("{name}: closed without a word") };
        assert_eq!(said.first, 0xE0, "{name}: {said:x?}");
        // Malformed or an error of the protocol: the specification calls some of them either.
        let is_either = matches!((code, said.body[0]), (0x81 | 0x82, 0x81 | 0x82));
        assert!(said.body[0] == code || is_either, "{name}: {said:x?}, not {code:#x}");
        assert_eq!(client.next(), Heard::End, "{name}");
    }
    let pair = [&[0x26][..], &text("k"), &text("v")].concat();
    let octets = letter(&pair.repeat(10_000));
    end_the_connection(&mut ground, V5, &[("row 73: user properties", octets, 0x95)]);
    let hello = Hello::new(V5, &unique("properties"));
    for (properties, codes) in [
        (two(0x21, 0), &[0x82][..]),
        (four(0x27, 0), &[0x82]),
        ([two(0x22, 1), two(0x22, 1)].concat(), &[0x82]),
        (four(2, 1), &[0x81, 0x82]),
        ([&[0x15][..], &text("GSSAPI")].concat(), &[0x8C]),
        ([&[0x15][..], &text("SCRAM-SHA-256")].concat(), &[0x87]),
        ([&[0x16][..], &text("data")].concat(), &[0x82]),
    ] {
        let connack = ground.answer_to(&hello.clone().with(&properties));
        assert!(codes.contains(&connack.code), "{properties:x?}: {connack:x?}");
    }
    witness.saw_nothing(&ground);
    ground.lift();
}

/// Abuse row 57; MQTT-6.0.0-2: packets and frames have nothing to do with each other.
#[test]
fn a_packet_that_says_more_than_it_has_is_waited_for_in_vain_in_a_websocket_too() {
    let broker = web::broker(2, "");
    let addr = web::port_of(&broker);
    let mut web = Web::connect(addr);
    web.say(web::request("/mqtt", "Sec-WebSocket-Protocol: mqtt\r\n").as_bytes());
    assert!(web.answer().starts_with("HTTP/1.1 101 "));
    let hello = Hello { keep_alive: 1, ..Hello::new(V5, "web") };
    for octet in hello.octets() {
        web.say(&frame(0x82, &[octet]));
    }
    let Frame::Binary(connack) = web.next() else { panic!("CONNACK comes") };
    assert_eq!((connack[0], connack[3]), (0x20, 0));
    let claim = [&[0x30][..], &varint(4096), &[0, 1, b'a']].concat();
    web.say(&frame(0x82, &claim));
    // What it is missing is not found in what comes with other frames either: a ping is none.
    web.say(&frame(0x89, b"there"));
    assert_eq!(web.next(), Frame::Pong(b"there".to_vec()));
    let Frame::Binary(said) = web.next() else { panic!("DISCONNECT comes") };
    assert_eq!((said[0], said[2]), (0xE0, 0x8D));
    assert!(matches!(web.next(), Frame::Close(_)));
    assert_eq!(web.next(), Frame::End);
    Ground::on(broker).lift();
}
