//! Topics and filters that nobody should say: abuse rows 63 to 66, 82, 83.

use crate::support::setup::Stage;
use crate::support::siege::unique;

use super::client::{Heard, take_properties};
use super::ground::Ground;
use super::octets::{BOTH, Hello, Letter, V4, V5, Will, subscribe, unsubscribe};

on_every_setup!(
    topics_that_are_none_are_refused,
    filters_that_are_none_are_refused_one_by_one,
    topics_and_filters_have_levels_of_a_bounded_number,
    requests_with_too_many_filters_or_none_end_the_connection,
    a_bad_filter_leaves_the_good_ones_of_its_packet,
);

/// Abuse row 63; MQTT-3.3.2-2, MQTT-4.7.1-1, MQTT-4.7.3-1, MQTT-3.3.5-2 (v3.1.1), MQTT-3.3.2-2,
/// MQTT-4.7.0-1, MQTT-4.7.3-1 (v5)
fn topics_that_are_none_are_refused(stage: &Stage) {
    let mut ground = Ground::shared(stage);
    let mut witness = ground.client(V5);
    for filter in ["$SYS/hostile/#", "#"] {
        // Whoever hears everything must hear nothing of these; that `$SYS` is refused is right too.
        witness.ask(&[(filter, 0)], &[]);
    }
    let mark = unique("x");
    for version in BOTH {
        for topic in ["", "a/+", "#", "a/#/b", "+", "a+b"] {
            for qos in 0..3 {
                let letter = Letter { topic, qos, id: 7, ..Letter::default() };
                let payload = mark.as_bytes();
                let mut client = ground.client(version);
                client.publish(&Letter { payload, ..letter });
                if version == V5 {
                    let said = client.expect_packet();
                    assert_eq!(said.first, 0xE0, "{topic:?}: {said:x?}");
                    let code = said.body[0];
                    assert!(matches!(code, 0x81 | 0x82 | 0x90), "{topic:?}: {said:x?}");
                }
                let heard = client.next();
                assert_eq!(heard, Heard::End, "{topic:?} {qos} version {version}");
            }
        }
        for topic in ["$SYS/hostile/x", "$share/g/x"] {
            let mut client = ground.client(version);
            let payload = mark.as_bytes();
            client.publish(&Letter { topic, payload, ..Letter::default() });
            client.publish(&Letter { topic, payload, qos: 1, id: 9, ..Letter::default() });
            if version == V5 {
                let code = client.expect_answer(0x40, 9);
                assert!(matches!(code, 0x87 | 0x90), "{topic}: {code:#x}");
                client.ping();
            } else {
                // 3.1.1 has no other way to say no (MQTT-3.3.5-2); QoS 0 is dropped, or closes too.
                client.expect_end();
            }
        }
        let hello = Hello::new(version, &unique("will"));
        for topic in ["a/#", "", "$SYS/hostile/will"] {
            let hello = hello.clone().leaving(Will::of(topic, &mark));
            let mut client = ground.stranger(version);
            client.send(&hello.octets());
            match client.next() {
                Heard::Packet(said) => {
                    assert_eq!(said.first, 0x20, "{topic:?}: {said:x?}");
                    assert_ne!(said.body[1], 0, "{topic:?} is not let in");
                    client.expect_end();
                }
                heard => assert_eq!((version, heard), (V4, Heard::End), "{topic:?}"),
            }
        }
    }
    ground.canary_sings();
    let last = unique("last");
    ground.client(V4).tell(&last, &last);
    // Other tests share the broker: what this one said is known by its mark.
    let mut messages = 0;
    loop {
        let message = witness.expect_message();
        assert_ne!(message.payload, mark.as_bytes(), "{message:?}");
        if message.topic == last {
            break;
        }
        messages += 1;
        assert!(messages < 1_000_000, "the last one does not come");
    }
    ground.lift();
}

/// Abuse rows 64, 82; MQTT-4.7.1-2, MQTT-4.7.1-3 (v3.1.1), MQTT-4.7.1-1, MQTT-4.7.1-2, MQTT-4.8.2-1,
/// MQTT-4.8.2-2 (v5)
fn filters_that_are_none_are_refused_one_by_one(stage: &Stage) {
    let mut ground = Ground::shared(stage);
    for version in BOTH {
        let failure = if version == V5 { 0x8F } else { 0x80 };
        let mut client = ground.client(version);
        for filter in [
            "#/#",
            "a/#/b",
            "a+",
            "+a",
            "a/b+",
            "a#",
            "#a",
            "a/#b",
            "$share//x",
            "$share/a/",
            "$share/a",
            "$share/a+/x",
            "$share/a#/x",
            "$share/#/x",
            "$share/g/a/#/b",
        ] {
            let codes = client.ask(&[(filter, 1)], &[]);
            assert_eq!(codes, [failure], "{filter}, version {version}");
        }
        client.ping();
        client.send(&subscribe(version, 1, &[("", 0)], &[]));
        match client.next() {
            // Refused, or an error of the protocol (MQTT-4.7.3-1): either is right.
            Heard::Packet(said) if said.first == 0x90 => {
                assert_eq!(said.body.last(), Some(&failure), "{said:x?}");
            }
            Heard::Packet(said) => assert_eq!((said.first, version), (0xE0, V5), "{said:x?}"),
            heard => assert_eq!((heard, version), (Heard::End, V4)),
        }
    }
    // MQTT-3.8.3-4 (v5): a shared subscription and no local.
    let mut client = ground.client(V5);
    client.send(&subscribe(V5, 1, &[("$share/g/x", 4)], &[]));
    client.expect_closed(0x82);
    ground.canary_sings();
    ground.lift();
}

/// Abuse row 64
fn a_bad_filter_leaves_the_good_ones_of_its_packet(stage: &Stage) {
    let ground = Ground::shared(stage);
    for version in BOTH {
        let failure = if version == V5 { 0x8F } else { 0x80 };
        let (good, other) = (unique("good"), unique("good"));
        let mut client = ground.client(version);
        let codes = client.ask(&[(&good, 1), ("#/#", 2), (&other, 2)], &[]);
        assert_eq!(codes, [1, failure, 2]);
        client.tell(&other, "other");
        client.expect_text("other");
        client.tell(&good, "good");
        client.expect_text("good");
    }
    ground.lift();
}

/// Abuse row 65
fn topics_and_filters_have_levels_of_a_bounded_number(stage: &Stage) {
    let mut ground = Ground::shared(stage);
    let levels = |count: usize| vec!["x"; count].join("/");
    for version in BOTH {
        let (deep, deeper) = (levels(128), levels(129));
        let (slashes, most) = ("/".repeat(65_000), "/".repeat(65_535));
        let plus = vec!["+"; 32_000].join("/");
        for filter in [&deeper, &slashes, &most, &plus] {
            // V-040: it ends the connection.
            let mut client = ground.client(version);
            client.send(&subscribe(version, 1, &[(filter, 0)], &[]));
            client.expect_closed(0x81);
        }
        let mut client = ground.client(version);
        let own = unique("deep");
        let topic = format!("{own}/{}", levels(127));
        client.subscribe(&format!("{own}/{}", vec!["+"; 127].join("/")), 0);
        client.tell(&topic, "deep");
        client.expect_text("deep");
        for topic in [&deeper, &most] {
            let mut client = ground.client(version);
            let letter = Letter { topic, qos: 1, id: 3, ..Letter::default() };
            client.publish(&letter);
            client.expect_closed(0x81);
        }
        assert!(deep.len() < deeper.len());
    }
    ground.canary_sings();
    ground.lift();
}

/// Abuse row 83; MQTT-3.8.3-3, MQTT-3.10.3-2 (v3.1.1), MQTT-3.8.3-2, MQTT-3.10.3-2 (v5)
fn requests_with_too_many_filters_or_none_end_the_connection(stage: &Stage) {
    let mut ground = Ground::shared(stage);
    for version in BOTH {
        let names: Vec<String> = (0..10_000).map(|n| format!("many/{n}")).collect();
        let wishes: Vec<(&str, u8)> = names.iter().map(|name| (&**name, 0)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for (octets, codes) in [
            (subscribe(version, 1, &wishes, &[]), &[0x97][..]),
            (unsubscribe(version, 1, &names), &[0x97]),
            (subscribe(version, 1, &[], &[]), &[0x81, 0x82]),
            (unsubscribe(version, 1, &[]), &[0x81, 0x82]),
        ] {
            let mut client = ground.client(version);
            client.send(&octets);
            if version == V5 {
                let said = client.expect_packet();
                assert_eq!(said.first, 0xE0, "{said:x?}");
                assert!(codes.contains(&said.body[0]), "{said:x?}");
            }
            client.expect_end();
        }
        let mut client = ground.client(version);
        client.subscribe("known", 0);
        let codes = client.unsubscribe(&["unknown", "known", "known"]);
        let expected: &[u8] = if version == V5 { &[0x11, 0, 0x11] } else { &[] };
        assert_eq!(codes, expected);
    }
    ground.canary_sings();
    ground.lift();
}

/// Abuse row 66
#[test]
fn subscriptions_are_counted_and_many_plus_signs_are_walked_quickly() {
    const FILTERS: usize = 100;
    let config = format!("max_subscriptions_per_client = {FILTERS}\n");
    let mut ground = Ground::own(2, &config);
    // All filters of ten levels that are a name or a plus sign: each publish meets all of them.
    let filter = |number: usize| {
        let levels = (0..10).map(|level| if number >> level & 1 == 1 { "+" } else { "a" });
        levels.collect::<Vec<_>>().join("/")
    };
    let mut clients = Vec::new();
    for version in [V4, V5].into_iter().cycle().take(10) {
        let mut client = ground.client(version);
        let names: Vec<String> = (0..FILTERS).map(filter).collect();
        let wishes: Vec<(&str, u8)> = names.iter().map(|name| (&**name, 0)).collect();
        assert_eq!(client.ask(&wishes, &[]), [0; FILTERS]);
        let refusal = if version == V5 { 0x97 } else { 0x80 };
        assert_eq!(client.ask(&[("one/more", 0), (&*filter(3), 0)], &[]), [refusal, 0]);
        client.unsubscribe(&[&*filter(3)]);
        assert_eq!(client.ask(&[("one/more", 0)], &[]), [0]);
        clients.push(client);
    }
    let mut publisher = ground.client(V5);
    let topic = ["a"; 10].join("/");
    for number in 0..200 {
        publisher.tell(&topic, &number.to_string());
    }
    ground.canary_sings();
    for client in &mut clients {
        (0..200).for_each(|number| drop(client.expect_text(&number.to_string())));
    }
    ground.lift();
}

/// Abuse row 83: what cannot be asked for in one packet can in several, and each is answered.
#[test]
fn many_requests_at_once_are_answered_in_order() {
    let ground = Ground::own(2, "");
    let mut client = ground.client(V5);
    let mut all = Vec::new();
    for id in 1..=1000_u16 {
        let (filter, last) = (format!("f/{id}"), format!("f/{}", id.max(2) - 1));
        all.extend(subscribe(V5, id, &[(&filter, 1)], &[]));
        all.extend(unsubscribe(V5, id + 1000, &[&last]));
    }
    client.send(&all);
    for id in 1..=1000_u16 {
        for (first, id) in [(0x90, id), (0xB0, id + 1000)] {
            let said = client.expect_packet();
            assert_eq!((said.first, &said.body[..2]), (first, &id.to_be_bytes()[..]));
            take_properties(&mut &said.body[2..]);
        }
    }
    client.tell("f/1000", "here");
    client.expect_text("here");
    ground.lift();
}
