//! Retained messages: mqtt.md H-18 to H-21; abuse rows 67 and 69.

use crate::support::setup::Stage;
use crate::support::siege::{definitions, unique};

use super::client::Client;
use super::ground::Ground;
use super::octets::{BOTH, Hello, Letter, V4, V5, message_expiry, numbered, subscribe};

on_every_setup!(
    retained_messages_are_shown_as_the_subscription_asks,
    live_messages_have_the_flag_only_where_it_was_asked_for,
    an_empty_payload_clears_and_is_itself_delivered,
    retained_messages_stay_out_of_groups_and_dollar_topics,
    what_is_retained_for_a_while_is_gone_then,
    every_retained_message_is_shown_however_few_may_wait_and_however_it_is_answered,
    a_new_subscription_to_very_many_is_shown_them_while_others_work,
);

/// H-19: nothing is dropped for want of room, and answers may come in batches.
fn every_retained_message_is_shown_however_few_may_wait_and_however_it_is_answered(stage: &Stage) {
    const COUNT: usize = 2_000;
    let broker = stage.setup.own("[mqtt]\nmax_online_messages = 10");
    let ground = Ground::on(broker);
    let mut publisher = ground.client(V4);
    for n in 0..COUNT {
        let (topic, id) = (format!("many/{n}"), u16::try_from(n + 1).expect("few"));
        let letter =
            Letter { topic: &topic, payload: b"m", qos: 1, id, retain: true, ..Letter::default() };
        publisher.publish(&letter);
    }
    for id in 1..=COUNT {
        publisher.expect_answer(0x40, u16::try_from(id).expect("few"));
    }
    for version in BOTH {
        let mut client = ground.client(version);
        client.send(&subscribe(version, 7, &[("many/+", 1)], &[]));
        let mut shown = std::collections::BTreeSet::new();
        let mut owed = Vec::new();
        while shown.len() < COUNT {
            let packet = client.expect_packet();
            if packet.first >> 4 != 3 {
                continue;
            }
            let message = client.message_of(&packet);
            assert!(message.retain && shown.insert(message.topic), "once each");
            owed.push(message.id);
            // MQTT 3 has 20 under way.
            if owed.len() == 20 || shown.len() == COUNT {
                let all: Vec<u8> = owed.drain(..).flat_map(|id| numbered(0x40, id)).collect();
                client.send(&all);
            } else if version == V5 && shown.len() % 7 == 0 {
                owed.drain(..).for_each(|id| client.send(&numbered(0x40, id)));
            }
        }
        client.ping();
    }
    ground.lift();
}

/// Retains a message; the publisher may be told that nobody has subscribed.
fn retain(client: &mut Client, topic: &str, payload: &str) -> u8 {
    let payload = payload.as_bytes();
    client.publish_surely(&Letter { topic, payload, retain: true, ..Letter::default() })
}

/// MQTT-3.3.1-6 to MQTT-3.3.1-11 (v3.1.1), MQTT-3.3.1-9 to MQTT-3.3.1-11,
/// MQTT-3.8.4-4 (v5); H-19
fn retained_messages_are_shown_as_the_subscription_asks(stage: &Stage) {
    let ground = Ground::shared(stage);
    let topic = unique("retained");
    let mut publisher = ground.client(V4);
    retain(&mut publisher, &format!("{topic}/a"), "old");
    retain(&mut publisher, &format!("{topic}/a"), "new");
    let filter = format!("{topic}/+");
    for version in BOTH {
        let mut client = ground.client(version);
        for _ in 0..2 {
            client.subscribe(&filter, 1);
            let message = client.expect_text("new");
            assert_eq!((message.retain, message.qos, message.dup), (true, 1, false));
        }
        client.ping();
    }
    let hello = Hello::lasting(V5, &unique("retained"));
    let mut client = Client::connect(ground.addr, &hello);
    client.subscribe(&filter, 0x11);
    assert!(client.expect_text("new").retain, "if new, and it is");
    client.subscribe(&filter, 0x11);
    client.subscribe(&filter, 0x21);
    client.ping();
    client.leave();
    let (mut client, _) = Client::resume(ground.addr, &hello);
    client.subscribe(&filter, 0x11);
    publisher.tell_surely(&format!("{topic}/b"), "live");
    client.expect_text("live");
    client.unsubscribe(&[&filter]);
    client.subscribe(&filter, 0x21);
    client.unsubscribe(&[&filter]);
    client.subscribe(&filter, 0x11);
    client.expect_text("new");
    client.ping();
    retain(&mut publisher, &format!("{topic}/a"), "");
    ground.lift();
}

/// MQTT-3.3.1-9 (v3.1.1), MQTT-3.3.1-12, MQTT-3.3.1-13 (v5)
fn live_messages_have_the_flag_only_where_it_was_asked_for(stage: &Stage) {
    let ground = Ground::shared(stage);
    let topic = unique("flag");
    let (mut old, mut plain, mut as_published) =
        (ground.client(V4), ground.client(V5), ground.client(V5));
    let mut publisher = ground.client(V4);
    retain(&mut publisher, &topic, "before");
    for (client, options) in [(&mut old, 0), (&mut plain, 0), (&mut as_published, 8)] {
        client.subscribe(&topic, options);
        // What is retained before that has come may come as both.
        assert!(client.expect_text("before").retain);
    }
    retain(&mut publisher, &topic, "kept");
    publisher.tell(&topic, "live");
    for (client, flag) in [(&mut old, false), (&mut plain, false), (&mut as_published, true)] {
        assert_eq!(client.expect_text("kept").retain, flag);
        assert!(!client.expect_text("live").retain);
    }
    retain(&mut publisher, &topic, "");
    ground.lift();
}

/// MQTT-3.3.1-10, -11 (v3.1.1), MQTT-3.3.1-6, -7 (v5); H-21
fn an_empty_payload_clears_and_is_itself_delivered(stage: &Stage) {
    let ground = Ground::shared(stage);
    for qos in 0..2 {
        let topic = unique("clear");
        let mut publisher = ground.client(V5);
        retain(&mut publisher, &topic, "kept");
        let mut client = ground.client(V5);
        client.subscribe(&topic, 0);
        client.expect_text("kept");
        publisher.publish(&Letter { topic: &topic, qos, id: 1, retain: true, ..Letter::default() });
        if qos == 1 {
            publisher.expect_answer(0x40, 1);
        }
        let message = client.expect_text("");
        assert!(!message.retain);
        client.subscribe(&topic, 0);
        client.ping();
        client.expect_silence();
    }
    ground.lift();
}

/// H-20; MQTT-4.7.2-1, MQTT-4.8.2-3
fn retained_messages_stay_out_of_groups_and_dollar_topics(stage: &Stage) {
    let ground = Ground::shared(stage);
    let topic = unique("group");
    let mut publisher = ground.client(V5);
    retain(&mut publisher, &topic, "kept");
    retain(&mut publisher, &format!("$x/{topic}"), "dollar");
    let mut client = ground.client(V5);
    client.subscribe(&format!("$share/g/{topic}"), 0);
    client.subscribe(&format!("+/{topic}"), 0);
    client.ping();
    client.expect_silence();
    client.subscribe(&format!("$x/{topic}"), 0);
    client.expect_text("dollar");
    client.ping();
    retain(&mut publisher, &topic, "");
    retain(&mut publisher, &format!("$x/{topic}"), "");
    ground.lift();
}

/// MQTT-3.3.2-5, MQTT-3.3.2-6 (v5); H-18
fn what_is_retained_for_a_while_is_gone_then(stage: &Stage) {
    let ground = Ground::shared(stage);
    let topic = unique("while");
    let mut publisher = ground.client(V5);
    for (name, seconds) in [("short", 1), ("long", 1000)] {
        let name = format!("{topic}/{name}");
        let properties = &message_expiry(seconds);
        let letter =
            Letter { topic: &name, retain: true, payload: b"x", properties, ..Letter::default() };
        publisher.publish_surely(&letter);
    }
    let mut client = ground.client(V5);
    client.subscribe(&format!("{topic}/short"), 0);
    assert!(client.expect_text("x").property(2).is_some());
    let mut client = ground.client(V5);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    client.subscribe(&format!("{topic}/short"), 0);
    client.subscribe(&format!("{topic}/long"), 0);
    let message = client.expect_text("x");
    assert_eq!(message.topic, format!("{topic}/long"));
    let left = message.property(2).expect("what is left");
    let left = u32::from_be_bytes(left.try_into().expect("four octets"));
    assert!((900..1000).contains(&left), "it counts down: {left}");
    publisher.publish(&Letter { topic: &message.topic, retain: true, ..Letter::default() });
    ground.lift();
}

/// Abuse row 67
fn a_new_subscription_to_very_many_is_shown_them_while_others_work(stage: &Stage) {
    const COUNT: u32 = 3_000;
    let mut ground = Ground::shared(stage);
    let topic = unique("many");
    let mut publisher = ground.client(V4);
    let body = "x".repeat(1000);
    let name = |number: u32| format!("{topic}/{number}");
    for number in 0..COUNT {
        publisher.tell_retained(&name(number), &body);
    }
    publisher.ping();
    let mut clients: Vec<Client> = BOTH.map(|version| ground.client(version)).into();
    for client in &mut clients {
        client.send(&subscribe(client.version(), 1, &[(&format!("{topic}/#"), 1)], &[]));
    }
    ground.canary_sings();
    for client in &mut clients {
        let mut came = vec![false; usize::try_from(COUNT).expect("few")];
        let mut count = 0;
        while count < COUNT {
            let said = client.expect_packet();
            if said.first == 0x90 {
                continue;
            }
            let message = client.message_of(&said);
            assert!(message.retain && message.payload == body.as_bytes());
            let number: usize =
                message.topic.rsplit('/').next().expect("a word").parse().expect("a number");
            assert!(!std::mem::replace(&mut came[number], true), "{number} comes twice");
            count += 1;
            if message.qos == 1 {
                client.send(&numbered(0x40, message.id));
            }
        }
        client.ping();
    }
    for number in 0..COUNT {
        publisher.tell_retained(&name(number), "");
    }
    publisher.ping();
    ground.lift();
}

/// Abuse row 69: who may not read gets nothing, however old it is.
#[test]
fn retained_messages_are_shown_to_those_who_may_read() {
    let file = definitions(&[("writer", [".*", ".*", "^$"])]);
    let config = format!("load_definitions = {}\n[mqtt]\n", file.display());
    let broker = crate::support::Broker::with(crate::support::broker::Options {
        config: &config,
        ..crate::support::broker::Options::new()
    });
    let ground = Ground::on(broker);
    for version in BOTH {
        let hello = Hello { user: b"writer".to_vec(), ..Hello::new(version, &unique("writer")) };
        let mut writer = Client::connect(ground.addr, &hello);
        retain(&mut writer, "kept", "secret");
        let refusal = if version == V5 { 0x87 } else { 0x80 };
        assert_eq!(writer.ask(&[("kept", 0)], &[]), [refusal]);
        writer.ping();
        writer.expect_silence();
    }
    let mut reader = ground.client(V5);
    reader.subscribe("kept", 0);
    reader.expect_text("secret");
    ground.lift();
    drop(std::fs::remove_file(file));
}

/// Abuse row 68: beyond the limits messages are delivered and not kept, and version 5 hears it.
#[test]
fn what_does_not_fit_is_delivered_and_not_kept() {
    for (shards, limit) in [(1, "max_retained_messages = 10"), (2, "max_retained_bytes = 1000")] {
        let mut ground = Ground::own(shards, &format!("{limit}\n"));
        let (mut witness, mut publisher) = (ground.client(V5), ground.client(V5));
        witness.subscribe("full/#", 0x21);
        let mut kept = Vec::new();
        for number in 0..100 {
            let topic = format!("full/{number}");
            match retain(&mut publisher, &topic, "0123456789") {
                0 => kept.push(topic),
                code => assert_eq!(code, 0x97, "{topic}"),
            }
            assert!(!witness.expect_text("0123456789").retain);
        }
        assert!((1..=60).contains(&kept.len()), "{limit}: {kept:?}");
        let letter =
            Letter { topic: "full/x", retain: true, payload: &[b'x'; 900], ..Letter::default() };
        publisher.publish(&Letter { qos: 2, id: 7, ..letter.clone() });
        assert_eq!(publisher.expect_answer(0x50, 7), 0x97);
        publisher.publish(&letter);
        publisher.ping();
        // Version 3.1.1 has no way to hear it, and goes on.
        assert_eq!(ground.client(V4).publish_surely(&letter), 0);
        let mut late = ground.client(V5);
        late.subscribe("full/#", 0);
        let mut shown: Vec<String> = kept.iter().map(|_| late.expect_message().topic).collect();
        shown.sort();
        kept.sort();
        assert_eq!(shown, kept);
        late.ping();
        // Room is made by taking away, and what is there may be replaced by what is no larger.
        assert_eq!(retain(&mut publisher, &kept[0], "9876543210"), 0);
        for topic in &kept {
            assert_eq!(retain(&mut publisher, topic, ""), 0);
        }
        assert_eq!(retain(&mut publisher, &kept[0], "0123456789"), 0);
        ground.canary_sings();
        ground.lift();
    }
}
