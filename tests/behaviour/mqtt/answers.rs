//! Answers and what they answer: their octets and numbers, their order, what is new after them, what
//! flows while they are awaited. mqtt.md 2.1, 2.5. May import the files of this folder.

use crate::support::setup::Stage;
use crate::support::siege::unique;

use super::client::{Client, Message};
use super::ground::Ground;
use super::octets::{
    BOTH, Hello, Letter, V3, V4, V5, message_expiry, numbered, packet, subscribe, two, unsubscribe,
};

on_every_setup!(
    every_answer_is_as_short_as_it_can_be_and_has_the_number_of_its_packet,
    a_number_that_was_answered_belongs_to_a_new_message,
    a_number_that_was_refused_belongs_to_a_new_message,
    a_delivery_with_qos_1_is_open_until_it_is_answered,
    releases_come_in_the_order_of_the_receipts,
    a_full_window_holds_back_nothing_else,
    what_a_member_has_begun_goes_to_no_other,
    what_a_member_refuses_goes_to_no_other,
    a_negative_answer_settles_a_message,
);

/// MQTT-2.3.1-5, -6, -7, MQTT-3.12.4-1, MQTT-3.3.4-1, MQTT-7.1.1-1 (v3.1.1); MQTT-2.2.1-2, -5, -6,
/// MQTT-2.2.2-1, MQTT-3.12.4-1, MQTT-3.3.4-1, MQTT-4.2-1, MQTT-4.3.2-4 (v5). Everything goes out at
/// once, over TCP, and is answered as it stood there.
fn every_answer_is_as_short_as_it_can_be_and_has_the_number_of_its_packet(stage: &Stage) {
    let ground = Ground::shared(stage);
    for version in [V3, V4, V5] {
        let topic = unique("octets");
        let mut client = ground.client(version);
        let id = 0x1234;
        let letter =
            |qos: u8| Letter { topic: &topic, qos, id, payload: b"p", ..Letter::default() };
        let body = |octets: &[u8], properties: &[u8], rest: &[u8]| {
            let properties = if version == V5 { properties } else { &[] };
            [octets, properties, rest].concat()
        };
        let name = super::octets::text(&topic);
        for (said, answer) in [
            (
                subscribe(version, id, &[(&topic, 0)], &[]),
                packet(0x90, &body(&[0x12, 0x34], &[0], &[0])),
            ),
            (vec![0xC0, 0], vec![0xD0, 0]),
            // QoS 0: no packet id, no properties.
            (letter(0).octets(version), packet(0x30, &body(&name, &[0], b"p"))),
        ] {
            client.send(&said);
            client.expect(&answer);
        }
        let mut publisher = ground.client(version);
        publisher.send(&letter(1).octets(version));
        publisher.expect(&[0x40, 2, 0x12, 0x34]);
        publisher.send(&letter(2).octets(version));
        publisher.expect(&[0x50, 2, 0x12, 0x34]);
        publisher.send(&numbered(0x62, id));
        publisher.expect(&[0x70, 2, 0x12, 0x34]);
        client.expect_text("p");
        client.expect_text("p");
        client.send(&unsubscribe(version, 0xFFFF, &[&topic]));
        let codes: &[u8] = if version == V5 { &[0, 0] } else { &[] };
        client.expect(&packet(0xB0, &[&[0xFF, 0xFF], codes].concat()));
        // PUBREL of the broker.
        client.subscribe(&topic, 2);
        publisher.send(&letter(2).octets(version));
        let message = client.expect_message();
        client.send(&numbered(0x50, message.id));
        client.expect(&numbered(0x62, message.id));
    }
    ground.lift();
}

/// MQTT-3.3.1-3, MQTT-4.3.1-1, MQTT-4.3.2-2 (v3.1.1); MQTT-3.3.1-3, MQTT-4.3.1-1, MQTT-4.3.2-5 (v5):
/// also with DUP, which says nothing to whom the message goes on to.
fn a_number_that_was_answered_belongs_to_a_new_message(stage: &Stage) {
    let ground = Ground::shared(stage);
    for version in BOTH {
        let topic = unique("new");
        let (mut witness, mut unsure) = (ground.client(V5), ground.client(V4));
        witness.subscribe(&topic, 2);
        unsure.subscribe(&topic, 0);
        let mut publisher = ground.client(version);
        for (qos, first) in [(1, 0x40), (2, 0x50)] {
            for dup in [true, true, false] {
                let payload = &unique("text");
                let octets = payload.as_bytes();
                let letter = Letter { topic: &topic, qos, id: 7, dup, ..Letter::default() };
                publisher.publish(&Letter { payload: octets, ..letter });
                publisher.expect_answer(first, 7);
                if qos == 2 {
                    publisher.send(&numbered(0x62, 7));
                    publisher.expect_answer(0x70, 7);
                }
                let message = witness.expect_message();
                assert_eq!((message.text(), message.qos, message.dup), (&**payload, qos, false));
                witness.send(&numbered(first, message.id));
                if qos == 2 {
                    witness.expect_answer(0x62, message.id);
                    witness.send(&numbered(0x70, message.id));
                }
                let message = unsure.expect_text(payload);
                assert_eq!((message.qos, message.dup), (0, false));
            }
        }
    }
    ground.lift();
}

/// MQTT-4.3.3-9 (v5)
fn a_number_that_was_refused_belongs_to_a_new_message(stage: &Stage) {
    let ground = Ground::shared(stage);
    let topic = unique("refused");
    let (mut witness, mut publisher) = (ground.client(V5), ground.client(V5));
    witness.subscribe(&topic, 0);
    let letter = Letter { qos: 2, id: 7, payload: b"x", ..Letter::default() };
    for dup in [false, true] {
        publisher.publish(&Letter { topic: "$SYS/refused", dup, ..letter.clone() });
        assert_eq!(publisher.expect_answer(0x50, 7), 0x87);
    }
    publisher.publish(&Letter { topic: &topic, ..letter });
    assert_eq!(publisher.expect_answer(0x50, 7), 0);
    witness.expect_text("x");
    publisher.send(&numbered(0x62, 7));
    assert_eq!(publisher.expect_answer(0x70, 7), 0);
    ground.lift();
}

/// MQTT-4.3.2-1 (v3.1.1); MQTT-4.3.2-1, MQTT-4.3.2-2, MQTT-4.3.2-3 (v5)
fn a_delivery_with_qos_1_is_open_until_it_is_answered(stage: &Stage) {
    let ground = Ground::shared(stage);
    for version in BOTH {
        let (hello, topic) = (Hello::lasting(version, &unique("open")), unique("open"));
        let mut client = Client::connect(ground.addr, &hello);
        client.subscribe(&topic, 1);
        let mut publisher = ground.client(version);
        publisher.tell_surely(&topic, "one");
        publisher.tell_surely(&topic, "two");
        let (one, two) = (client.expect_message(), client.expect_message());
        assert!(!one.dup && !two.dup && one.id != two.id, "{one:?} {two:?}");
        // The answer to the second says nothing of the first, and its number may be used again.
        client.send(&numbered(0x40, two.id));
        client.ping();
        client.vanish();
        for _ in 0..2 {
            let (mut client, is_present) = Client::resume(ground.addr, &hello);
            assert!(is_present);
            assert_eq!(client.expect_message(), Message { dup: true, ..one.clone() });
            client.ping();
            client.vanish();
        }
        let (mut client, _) = Client::resume(ground.addr, &hello);
        client.expect_text("one");
        client.ping();
        client.leave();
        let (mut client, _) = Client::resume(ground.addr, &hello);
        client.ping();
    }
    ground.lift();
}

/// MQTT-4.6.0-4 (v3.1.1 and v5)
fn releases_come_in_the_order_of_the_receipts(stage: &Stage) {
    let ground = Ground::shared(stage);
    for version in BOTH {
        let topic = unique("order");
        let mut client = ground.client(version);
        client.subscribe(&topic, 2);
        let mut publisher = ground.client(version);
        for id in 1..=6 {
            publisher.publish(&Letter { topic: &topic, qos: 2, id, ..Letter::default() });
            publisher.expect_answer(0x50, id);
        }
        let ids: Vec<u16> = (0..6).map(|_| client.expect_message().id).collect();
        let order = [ids[1], ids[0], ids[5], ids[2], ids[4], ids[3]];
        client.send(&order.map(|id| numbered(0x50, id)).concat());
        for id in order {
            assert_eq!(client.expect_answer(0x62, id), 0);
        }
        // PUBCOMP to a client likewise: MQTT-4.6.0-3 is about PUBREC, which came in order above.
        publisher.send(&[3, 1, 2].map(|id| numbered(0x62, id)).concat());
        for id in [3, 1, 2] {
            assert_eq!(publisher.expect_answer(0x70, id), 0);
        }
    }
    ground.lift();
}

/// MQTT-3.3.4-10, MQTT-4.9.0-3 (v5)
fn a_full_window_holds_back_nothing_else(stage: &Stage) {
    let ground = Ground::shared(stage);
    let topic = unique("window");
    let hello = Hello::new(V5, &unique("window")).with(&two(0x21, 1));
    let mut client = Client::connect(ground.addr, &hello);
    client.subscribe(&topic, 2);
    let mut publisher = ground.client(V5);
    for id in [1, 2] {
        let letter = Letter { topic: &topic, qos: 2, id, payload: b"sure", ..Letter::default() };
        publisher.publish(&letter);
        publisher.expect_answer(0x50, id);
    }
    let first = client.expect_message();
    client.ping();
    client.subscribe(&format!("{topic}/x"), 1);
    client.unsubscribe(&[&format!("{topic}/x")]);
    publisher.tell(&topic, "unsure");
    assert_eq!(client.expect_message().text(), "unsure");
    client.publish(&Letter { topic: &unique("x"), qos: 2, id: 9, ..Letter::default() });
    client.expect_answer(0x50, 9);
    client.send(&numbered(0x62, 9));
    client.expect_answer(0x70, 9);
    client.send(&numbered(0x50, first.id));
    client.expect_answer(0x62, first.id);
    client.ping();
    client.send(&numbered(0x70, first.id));
    assert_eq!(client.expect_message().text(), "sure");
    ground.lift();
}

/// MQTT-4.3.3-7, MQTT-4.3.3-13 (v5). With the others that take a second: `sessions` calls it.
pub(super) fn what_was_begun_is_finished_although_it_has_expired(stage: &Stage) {
    let ground = Ground::shared(stage);
    let topic = unique("expires");
    let hello = Hello::lasting(V5, &unique("expires"));
    let mut client = Client::connect(ground.addr, &hello);
    client.subscribe(&topic, 2);
    let mut publisher = ground.client(V5);
    let properties = &message_expiry(1);
    let letter = Letter { topic: &topic, qos: 2, properties, ..Letter::default() };
    for id in [1, 2] {
        publisher.publish(&Letter { id, ..letter.clone() });
        publisher.expect_answer(0x50, id);
    }
    let begun = [client.expect_message(), client.expect_message()];
    client.send(&numbered(0x50, begun[1].id));
    client.expect_answer(0x62, begun[1].id);
    client.vanish();
    std::thread::sleep(std::time::Duration::from_millis(1300));
    for id in [1, 2] {
        publisher.send(&numbered(0x62, id));
        assert_eq!(publisher.expect_answer(0x70, id), 0);
    }
    let (mut client, is_present) = Client::resume(ground.addr, &hello);
    assert!(is_present);
    client.expect_answer(0x62, begun[1].id);
    let again = client.expect_message();
    assert_eq!((again.id, again.dup, again.qos), (begun[0].id, true, 2));
    for id in [begun[1].id, begun[0].id] {
        client.send(&numbered(0x50, id));
        assert_eq!(client.expect_answer(0x62, id), 0);
        client.send(&numbered(0x70, id));
    }
    client.ping();
    ground.lift();
}

/// Two members of a group with sessions that last, and a message with QoS 2 that one of them has
/// got: that one, its greeting, the other one and the message.
fn group(ground: &Ground) -> (Client, Hello, Client, Message) {
    let topic = unique("group");
    let filter = format!("$share/g/{topic}");
    let hello = Hello::lasting(V5, &unique("member"));
    let (mut member, mut other) = (Client::connect(ground.addr, &hello), ground.client(V5));
    member.subscribe(&filter, 2);
    let mut publisher = ground.client(V5);
    let letter = Letter { topic: &topic, qos: 2, id: 1, payload: b"once", ..Letter::default() };
    publisher.publish(&letter);
    publisher.expect_answer(0x50, 1);
    let message = member.expect_message();
    assert_eq!((message.text(), message.qos), ("once", 2));
    other.subscribe(&filter, 2);
    (member, hello, other, message)
}

/// MQTT-4.8.2-4, MQTT-4.8.2-5 (v5)
fn what_a_member_has_begun_goes_to_no_other(stage: &Stage) {
    let ground = Ground::shared(stage);
    for has_it in [false, true] {
        // It comes back, and gets it or what is missing of it.
        let (mut member, hello, mut other, message) = group(&ground);
        if has_it {
            member.send(&numbered(0x50, message.id));
            member.expect_answer(0x62, message.id);
        }
        member.vanish();
        other.ping();
        let (mut member, is_present) = Client::resume(ground.addr, &hello);
        assert!(is_present);
        if has_it {
            member.expect_answer(0x62, message.id);
        } else {
            assert_eq!(member.expect_message(), Message { dup: true, ..message.clone() });
        }
        // Its session ends: nobody else gets what it may have.
        member.vanish();
        let (mut member, _) = Client::resume(ground.addr, &Hello { clean: true, ..hello });
        member.ping();
        other.ping();
        other.expect_silence();
    }
    ground.lift();
}

/// MQTT-4.8.2-6 (v5)
fn what_a_member_refuses_goes_to_no_other(stage: &Stage) {
    let ground = Ground::shared(stage);
    let (mut member, hello, mut other, message) = group(&ground);
    member.send(&packet(0x50, &[&message.id.to_be_bytes()[..], &[0x97]].concat()));
    member.ping();
    other.ping();
    member.vanish();
    let (mut member, _) = Client::resume(ground.addr, &hello);
    member.ping();
    member.leave();
    other.ping();
    other.expect_silence();
    ground.lift();
}

/// MQTT-4.3.3-4, MQTT-4.4.0-2 (v5), and nothing is said to a negative answer of which the broker
/// knows nothing.
fn a_negative_answer_settles_a_message(stage: &Stage) {
    let ground = Ground::shared(stage);
    let topic = unique("negative");
    for (qos, first) in [(1, 0x40), (2, 0x50)] {
        let hello = Hello::lasting(V5, &unique("negative"));
        let mut client = Client::connect(ground.addr, &hello);
        client.subscribe(&topic, qos);
        let mut publisher = ground.client(V5);
        publisher.publish(&Letter { topic: &topic, qos: 2, id: 1, ..Letter::default() });
        publisher.expect_answer(0x50, 1);
        let message = client.expect_message();
        for id in [message.id, 60_000] {
            client.send(&packet(first, &[&id.to_be_bytes()[..], &[0x80]].concat()));
            client.ping();
        }
        client.vanish();
        let (mut client, is_present) = Client::resume(ground.addr, &hello);
        assert!(is_present);
        client.ping();
    }
    ground.lift();
}
