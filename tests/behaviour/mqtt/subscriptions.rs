//! Who gets what: overlapping filters, options, shared subscriptions, `$` topics. mqtt.md H-20 to
//! H-23, H-27, H-28.

use std::time::Duration;

use crate::support::setup::Stage;
use crate::support::siege::unique;

use super::client::{Client, Heard};
use super::ground::Ground;
use super::octets::{BOTH, Hello, Letter, V4, V5, numbered, subscribe, varint};

on_every_setup!(
    filters_that_overlap_give_one_message_with_all_identifiers,
    identifiers_are_kept_with_the_session_and_replaced_with_the_subscription,
    no_local_keeps_back_what_a_client_sends_itself,
    wildcards_do_not_reach_topics_with_a_dollar,
    a_message_comes_with_the_lower_of_both_qos,
    what_is_unsubscribed_stops_coming,
    who_subscribes_before_another_publishes_need_not_wait_for_the_answer,
    a_shared_subscription_gives_each_message_to_one_member,
    what_a_member_leaves_behind_goes_to_another,
    properties_reach_the_subscriber_as_they_were,
);

fn id(number: u64) -> Vec<u8> {
    [&[0x0B][..], &varint(number)].concat()
}

/// MQTT-3.3.5-1 (v3.1.1), MQTT-3.3.4-2, -3, -4 (v5); H-22, H-23
fn filters_that_overlap_give_one_message_with_all_identifiers(stage: &Stage) {
    let ground = Ground::shared(stage);
    let topic = unique("over");
    for version in BOTH {
        let mut client = ground.client(version);
        let id = |number: u64| if version == V5 { id(number) } else { Vec::new() };
        client.subscribe_with(&format!("{topic}/#"), 0, &id(3));
        client.subscribe_with(&format!("{topic}/+"), 2, &id(268_435_455));
        client.subscribe_with(&format!("{topic}/a"), 1, &id(200));
        client.subscribe_with(&format!("{topic}/b"), 1, &id(4));
        // MQTT-3.3.4-5: no identifier, none in the message.
        client.subscribe(&format!("+/{topic}/#"), 0);
        let mut publisher = ground.client(V5);
        let name = format!("{topic}/a");
        let letter = Letter { topic: &name, qos: 2, id: 5, payload: b"one", ..Letter::default() };
        publisher.publish(&letter);
        assert_eq!(publisher.expect_answer(0x50, 5), 0);
        let message = client.expect_message();
        assert_eq!((message.text(), message.qos), ("one", 2));
        if version == V5 {
            assert_eq!(message.subscription_ids(), [3, 200, 268_435_455]);
        }
        client.send(&numbered(0x50, message.id));
        client.expect_answer(0x62, message.id);
        client.send(&numbered(0x70, message.id));
        publisher.tell(&format!("{topic}/x/y"), "two");
        let message = client.expect_text("two");
        let ids: &[u64] = if version == V5 { &[3] } else { &[] };
        assert_eq!(message.subscription_ids(), ids);
        publisher.tell(&format!("x/{topic}/y"), "three");
        assert_eq!(client.expect_text("three").subscription_ids(), [0_u64; 0]);
        client.ping();
    }
    ground.lift();
}

/// H-22; MQTT-3.8.4-3
fn identifiers_are_kept_with_the_session_and_replaced_with_the_subscription(stage: &Stage) {
    let ground = Ground::shared(stage);
    let (hello, topic) = (Hello::lasting(V5, &unique("ids")), unique("ids"));
    let mut client = Client::connect(ground.addr, &hello);
    client.subscribe_with(&topic, 1, &id(7));
    client.leave();
    let mut publisher = ground.client(V4);
    publisher.tell_surely(&topic, "away");
    let (mut client, _) = Client::resume(ground.addr, &hello);
    assert_eq!(client.expect_text("away").subscription_ids(), [7]);
    client.subscribe_with(&topic, 0, &id(8));
    publisher.tell_surely(&topic, "replaced");
    let message = client.expect_text("replaced");
    assert_eq!((message.subscription_ids(), message.qos), (vec![8], 0));
    client.subscribe(&topic, 1);
    publisher.tell_surely(&topic, "removed");
    assert_eq!(client.expect_text("removed").subscription_ids(), [0_u64; 0]);
    client.ping();
    ground.lift();
}

/// Two clients of one program that knows what it said first; the sessions are on any two shards.
/// MQTT-3.8.4-3 (v5) lets the message come before SUBACK. A publisher that hears the topic, but not
/// itself, reaches nobody either.
fn who_subscribes_before_another_publishes_need_not_wait_for_the_answer(stage: &Stage) {
    let ground = Ground::shared(stage);
    let mut publisher = ground.client(V5);
    for n in 0..40 {
        let topic = unique("race");
        let mut client = ground.client(V5);
        if n % 2 == 1 {
            publisher.subscribe(&topic, 4);
        }
        client.send(&subscribe(V5, 1, &[(&topic, 0)], &[]));
        let payload = b"seen";
        let letter = Letter { topic: &topic, payload, qos: n % 3, id: 7, ..Letter::default() };
        publisher.publish(&letter);
        let both = [client.expect_packet(), client.expect_packet()];
        let message = both.iter().find(|packet| packet.first >> 4 == 3);
        assert_eq!(client.message_of(message.expect("a message")).text(), "seen");
        match n % 3 {
            0 => {}
            1 => assert_eq!(publisher.expect_answer(0x40, 7), 0),
            _ => {
                assert_eq!(publisher.expect_answer(0x50, 7), 0);
                publisher.send(&numbered(0x62, 7));
                publisher.expect_answer(0x70, 7);
            }
        }
        // A pause makes it the first of a stream.
        std::thread::sleep(Duration::from_millis(5));
    }
    ground.lift();
}

/// MQTT-3.8.3-3 (v5); H-23: kept back only if every filter asks for it.
fn no_local_keeps_back_what_a_client_sends_itself(stage: &Stage) {
    let ground = Ground::shared(stage);
    let topic = unique("local");
    let (mut one, mut other) = (ground.client(V5), ground.client(V5));
    for client in [&mut one, &mut other] {
        assert_eq!(client.ask(&[(&topic, 4)], &[]), [0]);
    }
    one.tell(&topic, "one");
    other.expect_text("one");
    other.tell(&topic, "other");
    one.expect_text("other");
    one.subscribe(&format!("{topic}/#"), 0);
    one.tell(&topic, "mine");
    one.expect_text("mine");
    other.expect_text("mine");
    one.ping();
    other.ping();
    ground.lift();
}

/// MQTT-4.7.2-1; H-28
fn wildcards_do_not_reach_topics_with_a_dollar(stage: &Stage) {
    let ground = Ground::shared(stage);
    let topic = unique("A");
    for version in BOTH {
        let (mut wild, mut exact) = (ground.client(version), ground.client(version));
        wild.subscribe(&format!("+/{topic}"), 0);
        wild.subscribe(&format!("+/{topic}/#"), 0);
        exact.subscribe(&format!("$Topic/{topic}"), 0);
        exact.subscribe("$Topic/#", 0);
        let mut publisher = ground.client(version);
        publisher.tell(&format!("$Topic/{topic}"), "dollar");
        publisher.tell(&format!("plain/{topic}"), "plain");
        wild.expect_text("plain");
        exact.expect_text("dollar");
        wild.ping();
    }
    ground.lift();
}

/// MQTT-3.8.4-6 (v3.1.1), MQTT-3.8.4-8 (v5)
fn a_message_comes_with_the_lower_of_both_qos(stage: &Stage) {
    let ground = Ground::shared(stage);
    for version in BOTH {
        for granted in 0..3 {
            let topic = unique("lower");
            let mut client = ground.client(version);
            client.subscribe(&topic, granted);
            let mut publisher = ground.client(version);
            for qos in 0..3 {
                let letter = Letter { topic: &topic, qos, id: 4, ..Letter::default() };
                publisher.publish(&letter);
                let message = client.expect_message();
                assert_eq!(message.qos, qos.min(granted));
                assert_eq!((message.dup, message.retain), (false, false));
                match qos {
                    0 => {}
                    1 => drop(publisher.expect_answer(0x40, 4)),
                    _ => {
                        publisher.expect_answer(0x50, 4);
                        publisher.send(&numbered(0x62, 4));
                        publisher.expect_answer(0x70, 4);
                    }
                }
            }
        }
    }
    ground.lift();
}

/// MQTT-3.10.4-1 to MQTT-3.10.4-6 (v3.1.1 and v5)
fn what_is_unsubscribed_stops_coming(stage: &Stage) {
    let ground = Ground::shared(stage);
    for version in BOTH {
        let topic = unique("stop");
        let mut client = ground.client(version);
        for name in ["a", "b", "c"] {
            client.subscribe(&format!("{topic}/{name}"), 1);
        }
        client.unsubscribe(&[&format!("{topic}/b"), &format!("{topic}/+")]);
        let mut publisher = ground.client(version);
        for name in ["a", "b", "c"] {
            publisher.tell_surely(&format!("{topic}/{name}"), name);
        }
        client.expect_text("a");
        client.expect_text("c");
        client.ping();
    }
    ground.lift();
}

/// H-20, H-27; MQTT-4.8.2-3 (v5)
fn a_shared_subscription_gives_each_message_to_one_member(stage: &Stage) {
    const COUNT: usize = 60;
    let mut ground = Ground::shared(stage);
    let topic = unique("shared");
    let filter = format!("$share/group/{topic}");
    let mut members: Vec<Client> = [V4, V5, V5].map(|version| ground.client(version)).into();
    for member in &mut members {
        member.subscribe(&filter, 1);
    }
    let mut all = ground.client(V5);
    all.subscribe(&topic, 1);
    all.subscribe(&format!("$share/other/{topic}"), 1);
    let mut publisher = ground.client(V5);
    for number in 0..COUNT {
        publisher.tell_surely(&topic, &number.to_string());
    }
    let mut came: Vec<(usize, usize)> = Vec::new();
    while came.len() < COUNT {
        for (index, member) in members.iter_mut().enumerate() {
            if let Heard::Packet(said) = member.next_within(super::client::SILENCE / 10) {
                let message = member.message_of(&said);
                member.send(&numbered(0x40, message.id));
                came.push((message.text().parse().expect("a number"), index));
            }
        }
        ground.canary_sings();
    }
    came.sort_unstable();
    assert!(came.iter().map(|one| one.0).eq(0..COUNT), "each once: {came:?}");
    for index in 0..members.len() {
        assert!(came.iter().any(|one| one.1 == index), "member {index} gets some: {came:?}");
    }
    // Whoever has a subscription of its own and one with others gets both.
    let mut both: Vec<usize> = Vec::new();
    for _ in 0..2 * COUNT {
        let message = all.expect_message();
        all.send(&numbered(0x40, message.id));
        both.push(message.text().parse().expect("a number"));
    }
    both.sort_unstable();
    assert!(both.into_iter().eq((0..COUNT).flat_map(|number| [number, number])));
    members.iter_mut().for_each(Client::ping);
    // By the whole text only.
    members[1].unsubscribe(&[&topic]);
    for member in &mut members[1..] {
        member.unsubscribe(&[&filter]);
    }
    publisher.tell_surely(&topic, "rest");
    members[0].expect_text("rest");
    members[1].ping();
    ground.lift();
}

/// H-27
fn what_a_member_leaves_behind_goes_to_another(stage: &Stage) {
    let ground = Ground::shared(stage);
    let topic = unique("leaves");
    let filter = format!("$share/group/{topic}");
    let (mut gone, mut stays) = (ground.client(V5), ground.client(V5));
    gone.subscribe(&filter, 1);
    let mut publisher = ground.client(V5);
    for number in 0..10 {
        publisher.tell_surely(&topic, &number.to_string());
    }
    for number in 0..10 {
        assert_eq!(gone.expect_message().text(), number.to_string());
    }
    stays.subscribe(&filter, 1);
    gone.vanish();
    let mut came: Vec<u32> = Vec::new();
    for _ in 0..10 {
        let message = stays.expect_message();
        stays.send(&numbered(0x40, message.id));
        came.push(message.text().parse().expect("a number"));
    }
    assert!(came.into_iter().eq(0..10), "in order");
    publisher.tell_surely(&topic, "next");
    stays.expect_text("next");
    stays.ping();
    ground.lift();
}

/// MQTT-3.3.2-4, -15 to -18, -20 (v5); H-29
fn properties_reach_the_subscriber_as_they_were(stage: &Stage) {
    let ground = Ground::shared(stage);
    let topic = unique("properties");
    let (mut client, mut old) = (ground.client(V5), ground.client(V4));
    client.subscribe(&topic, 1);
    old.subscribe(&topic, 1);
    let mut publisher = ground.client(V5);
    let pair = |name: &str, value: &str| {
        [&[0x26][..], &super::octets::text(name), &super::octets::text(value)].concat()
    };
    let properties = [
        vec![0x01, 1],
        [&[0x03][..], &super::octets::text("text/plain")].concat(),
        [&[0x08][..], &super::octets::text("answers/here")].concat(),
        [&[0x09][..], &super::octets::binary(&[0, 255, 1])].concat(),
        pair("a", "1"),
        pair("b", ""),
        pair("a", "2"),
    ];
    for qos in 0..2 {
        let letter = Letter {
            topic: &topic,
            qos,
            id: 3,
            properties: &properties.concat(),
            ..Letter::default()
        };
        publisher.publish(&letter);
        let message = client.expect_message();
        let mut came = message.properties.clone();
        came.sort_by_key(|property| property.0);
        let expected: Vec<(u8, Vec<u8>)> = vec![
            (0x01, vec![1]),
            (0x03, b"text/plain".to_vec()),
            (0x08, b"answers/here".to_vec()),
            (0x09, vec![0, 255, 1]),
            (0x26, pair("a", "1")[1..].to_vec()),
            (0x26, pair("b", "")[1..].to_vec()),
            (0x26, pair("a", "2")[1..].to_vec()),
        ];
        assert_eq!(came, expected);
        assert_eq!(old.expect_message().qos, qos);
    }
    ground.lift();
}
