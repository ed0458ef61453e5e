//! Every property and every reason code in every packet that a client can send: mqtt.md 2.3 and 2.4
//! as tables. May import the files of this folder.

use crate::support::siege::unique;

use super::client::{Client, Heard};
use super::ground::Ground;
use super::octets::{Hello, Letter, V5, block, four, packet, text, two};

/// Packets that carry properties from a client. AUTH is refused whatever it carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carrier {
    Connect,
    Will,
    Publish,
    Puback,
    Pubrec,
    Pubrel,
    Pubcomp,
    Subscribe,
    Unsubscribe,
    Disconnect,
}

use Carrier::{
    Connect, Disconnect, Puback, Pubcomp, Publish, Pubrec, Pubrel, Subscribe, Unsubscribe, Will,
};

const ALL: &[Carrier] =
    &[Connect, Will, Publish, Puback, Pubrec, Pubrel, Pubcomp, Subscribe, Unsubscribe, Disconnect];
const MESSAGES: &[Carrier] = &[Publish, Will];

/// The codes of answers that a receiver gives.
const RECEIVED: &[u8] = &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];

/// A property with a value that is allowed, the packets of a client that may carry it, and values
/// with the code of what becomes of them.
type Row = (Vec<u8>, &'static [Carrier], Vec<(Vec<u8>, u8)>);

fn rows() -> Vec<Row> {
    let byte = |id: u8, value: u8| vec![id, value];
    let texts = |id: u8, value: &str| [&[id][..], &text(value)].concat();
    let flag = |id: u8| vec![(byte(id, 2), 0x82), (byte(id, 255), 0x82)];
    let none: &[Carrier] = &[];
    vec![
        (byte(0x01, 1), MESSAGES, flag(0x01)),
        (four(0x02, 60), MESSAGES, vec![]),
        (texts(0x03, "text/plain"), MESSAGES, vec![(vec![0x03, 0, 1, 0xFF], 0x81)]),
        (
            texts(0x08, "answers"),
            MESSAGES,
            vec![
                (texts(0x08, "a/+"), 0x82),
                (texts(0x08, "#"), 0x82),
                (texts(0x08, ""), 0x82),
                (vec![0x08, 0, 1, 0], 0x81),
            ],
        ),
        (vec![0x09, 0, 2, 0xFF, 0], MESSAGES, vec![]),
        (byte(0x0B, 1), &[Subscribe], vec![(byte(0x0B, 0), 0x82)]),
        (four(0x11, 0), &[Connect, Disconnect], vec![]),
        (texts(0x12, "name"), none, vec![]),
        (two(0x13, 10), none, vec![]),
        // 0x15 and 0x16 are below.
        (byte(0x17, 0), &[Connect], flag(0x17)),
        (four(0x18, 10), &[Will], vec![]),
        (byte(0x19, 1), &[Connect], flag(0x19)),
        (texts(0x1A, "x"), none, vec![]),
        // The server's; whoever goes is let go.
        (texts(0x1C, "elsewhere"), &[Disconnect], vec![]),
        (texts(0x1F, "why"), &[Puback, Pubrec, Pubrel, Pubcomp, Disconnect], vec![]),
        (two(0x21, 1), &[Connect], vec![(two(0x21, 0), 0x82)]),
        (two(0x22, 0), &[Connect], vec![]),
        (two(0x23, 10), &[Publish], vec![(two(0x23, 0), 0x94), (two(0x23, 11), 0x94)]),
        (byte(0x24, 1), none, vec![]),
        (byte(0x25, 1), none, vec![]),
        ([&[0x26][..], &text("k"), &text("")].concat(), ALL, vec![]),
        (four(0x27, 1000), &[Connect], vec![(four(0x27, 0), 0x82)]),
        (byte(0x28, 1), none, vec![]),
        (byte(0x29, 1), none, vec![]),
        (byte(0x2A, 1), none, vec![]),
    ]
}

/// A packet with these properties, said by a client that is let in unless the packet is the one that
/// lets it in; and what came of it: 0, or the code with which the broker closed.
fn outcome(ground: &Ground, carrier: Carrier, properties: &[u8]) -> u8 {
    let hello = Hello::new(V5, &unique("table"));
    match carrier {
        Connect => return ground.answer_to(&hello.with(properties)).code,
        Will => {
            let will = super::octets::Will::of(&unique("table"), "will");
            let will = super::octets::Will { properties: properties.to_vec(), ..will };
            return ground.answer_to(&hello.leaving(will)).code;
        }
        Publish | Puback | Pubrec | Pubrel | Pubcomp | Subscribe | Unsubscribe | Disconnect => {}
    }
    let mut client = Client::connect(ground.addr, &hello);
    let block = block(V5, properties);
    let answer = |first: u8| packet(first, &[&[0, 7, 0][..], &block].concat());
    let topic = unique("table");
    let (octets, answered) = match carrier {
        Connect | Will => panic!("dealt with above"),
        Publish => {
            let letter = Letter { topic: &topic, qos: 1, id: 7, properties, ..Letter::default() };
            (letter.octets(V5), Some(0x40))
        }
        Puback => (answer(0x40), None),
        Pubrec => (answer(0x50), Some(0x62)),
        Pubrel => (answer(0x62), Some(0x70)),
        Pubcomp => (answer(0x70), None),
        Subscribe => {
            (packet(0x82, &[&[0, 7], &block[..], &text(&topic), &[0]].concat()), Some(0x90))
        }
        Unsubscribe => (packet(0xA2, &[&[0, 7], &block[..], &text(&topic)].concat()), Some(0xB0)),
        Disconnect => (packet(0xE0, &[&[0], &block[..]].concat()), None),
    };
    client.send(&octets);
    // What has no answer is followed by what has one.
    if answered.is_none() && carrier != Disconnect {
        client.send(&super::octets::PINGREQ);
    }
    match client.next() {
        Heard::Packet(said) if said.first == 0xE0 => {
            client.expect_end();
            said.body[0]
        }
        Heard::Packet(said) if said.first == answered.unwrap_or(0xD0) => 0,
        Heard::End if carrier == Disconnect => 0,
        heard => panic!("{carrier:?} {properties:x?}: {heard:?}"),
    }
}

/// What a property of another packet is: an error of the protocol (abuse row 72), in SUBSCRIBE and
/// UNSUBSCRIBE malformed, as Mosquitto has it.
fn misplaced(carrier: Carrier) -> u8 {
    if matches!(carrier, Subscribe | Unsubscribe) { 0x81 } else { 0x82 }
}

/// mqtt.md 2.4; abuse row 72. A property of another packet and one that is there twice are errors of
/// the protocol, one that is cut is malformed.
#[test]
fn every_property_stands_where_it_may_once_and_with_a_value_of_its_own() {
    let mut ground = Ground::own(2, "topic_alias_max_client = 10\n");
    for (property, carriers, values) in rows() {
        let id = property[0];
        for &carrier in ALL {
            let may = carriers.contains(&carrier);
            let expected = if may { 0 } else { misplaced(carrier) };
            assert_eq!(outcome(&ground, carrier, &property), expected, "{id:#x} {carrier:?}");
            if !may {
                continue;
            }
            let twice = [&property[..], &property].concat();
            let expected = if id == 0x26 { 0 } else { 0x82 };
            assert_eq!(outcome(&ground, carrier, &twice), expected, "{id:#x} twice {carrier:?}");
            let cut = &property[..property.len() - 1];
            assert_eq!(outcome(&ground, carrier, cut), 0x81, "{id:#x} cut {carrier:?}");
            for (value, code) in &values {
                assert_eq!(outcome(&ground, carrier, value), *code, "{value:x?} {carrier:?}");
            }
        }
        ground.canary_sings();
    }
    ground.lift();
}

/// mqtt.md 2.4: there is no method that the broker knows; numbers that are no property.
#[test]
fn methods_and_unknown_properties_are_refused() {
    let ground = Ground::own(1, "");
    let method = [&[0x15][..], &text("PLAIN")].concat();
    let data = [&[0x16][..], &text("data")].concat();
    for &carrier in ALL {
        let expected =
            if carrier == Connect { [0x8C, 0x82, 0x8C] } else { [misplaced(carrier); 3] };
        let both = [&method[..], &data].concat();
        for (properties, expected) in [&method, &data, &both].into_iter().zip(expected) {
            assert_eq!(outcome(&ground, carrier, properties), expected, "{properties:x?}");
        }
        for id in [0x00, 0x04, 0x0A, 0x14, 0x1D, 0x20, 0x2B, 0x7F] {
            assert_eq!(outcome(&ground, carrier, &[id, 0]), 0x81, "{id:#x} {carrier:?}");
        }
        // Two octets, of which the second is needed, and is not.
        for id in [[0xA6, 0x01], [0x81, 0x00]] {
            assert_eq!(outcome(&ground, carrier, &id), 0x81, "{id:x?} {carrier:?}");
        }
    }
    ground.lift();
}

/// mqtt.md 2.3; MQTT-3.4.2-1, MQTT-3.5.2-1, MQTT-3.6.2-1, MQTT-3.7.2-1, MQTT-3.14.2-1 (v5)
#[test]
fn every_code_stands_where_it_may() {
    let mut ground = Ground::own(2, "");
    // Also those that only a server has reason to say: whoever goes is let go.
    let farewells: Vec<u8> = [0x00, 0x04, 0x87]
        .into_iter()
        .chain(0x80..=0x83)
        .chain(0x89..=0xA2)
        .filter(|code| !matches!(code, 0x91 | 0x92))
        .collect();
    for (first, codes) in [
        (0x40, RECEIVED),
        (0x50, RECEIVED),
        (0x62, &[0x00, 0x92]),
        (0x70, &[0x00, 0x92]),
        (0xE0, &farewells),
    ] {
        let mut client = ground.client(V5);
        for code in 0..=255_u8 {
            let id: &[u8] = if first == 0xE0 { &[] } else { &[0, 9] };
            let octets = packet(first, &[id, &[code]].concat());
            client.send(&octets);
            let may = codes.contains(&code);
            if first != 0xE0 && may {
                match first {
                    // To a receipt of what is not out, unless the client does not have it.
                    0x50 if code < 0x80 => assert_eq!(client.expect_answer(0x62, 9), 0x92),
                    0x62 => assert_eq!(client.expect_answer(0x70, 9), 0x92),
                    _ => {}
                }
                client.ping();
                continue;
            }
            match client.next() {
                Heard::Packet(said) => {
                    assert!(!may && said.first == 0xE0, "{first:#x} {code:#x}: {said:x?}");
                    assert!(matches!(said.body[0], 0x81 | 0x82), "{code:#x}: {said:x?}");
                    client.expect_end();
                }
                heard => assert_eq!((may, heard), (true, Heard::End), "{first:#x} {code:#x}"),
            }
            client = ground.client(V5);
        }
        ground.canary_sings();
    }
    ground.lift();
}
