//! CONNECT field by field and what CONNACK says. mqtt.md 2.1, 2.5, H-16, H-26. May import the files
//! of this folder.

use crate::support::setup::Stage;
use crate::support::siege::unique;

use super::client::{Client, Heard};
use super::ground::Ground;
use super::octets::{
    BOTH, Hello, Letter, V3, V4, V5, Will, block, numbered, packet, subscribe, text,
};

on_every_setup!(
    fields_of_connect_are_there_as_its_flags_say,
    fields_of_connect_are_read_in_their_order,
    short_plain_client_ids_are_accepted,
    clients_without_a_name_are_told_apart,
    a_session_belongs_to_the_name_of_its_client,
    a_client_is_told_no_more_than_it_asked_for,
    a_method_of_authentication_is_refused_with_all_behind_it,
    a_client_needs_nothing_beyond_the_specification,
);

const USER: u8 = 0x80;
const PASSWORD: u8 = 0x40;
const WILL: u8 = 0x04;
const CLEAN: u8 = 0x02;

/// CONNECT of these flags, with these fields behind the client id.
fn connect(version: u8, flags: u8, fields: &[&[u8]]) -> Vec<u8> {
    let name = if version == V3 { "MQIsdp" } else { "MQTT" };
    let front = [&text(name)[..], &[version, flags, 0, 0], &block(version, &[])].concat();
    packet(0x10, &[&front[..], &text(&unique("fields")), &fields.concat()].concat())
}

/// MQTT-3.1.2-9, -11, -18 to -22, MQTT-3.1.4-1, MQTT-4.8.0-1 (v3.1.1); MQTT-3.1.2-9, -11, -16, -17,
/// -18, -19, MQTT-3.1.4-1, MQTT-4.13.1-1, MQTT-4.13.2-1 (v5)
fn fields_of_connect_are_there_as_its_flags_say(stage: &Stage) {
    let mut ground = Ground::shared(stage);
    for version in BOTH {
        let (user, password) = (text("guest"), text("guest"));
        let (topic, payload) = (text(&unique("will")), text("will"));
        let properties = block(version, &[]);
        let cases: [(&str, u8, &[&[u8]]); 12] = [
            ("a will's flag and no will", WILL | USER | PASSWORD, &[&user, &password]),
            ("a will's flag and nothing", WILL, &[]),
            ("a will's flag and its topic", WILL, &[&properties, &topic]),
            ("a will without its flag", 0, &[&properties, &topic, &payload]),
            ("the QoS of a will and no will", 0x08 | USER | PASSWORD, &[&user, &password]),
            ("a will's retain and no will", 0x20 | USER | PASSWORD, &[&user, &password]),
            ("a user's flag and no user", USER, &[]),
            ("a user without its flag", 0, &[&user]),
            ("a user without its flag, and a password", PASSWORD, &[&user, &password]),
            ("a password's flag and no password", USER | PASSWORD, &[&user]),
            ("a password without its flag", USER, &[&user, &password]),
            ("all of them and more", USER | PASSWORD, &[&user, &password, &[0]]),
        ];
        for (name, flags, fields) in cases {
            let mut client = ground.stranger(version);
            client.send(&connect(version, flags | CLEAN, fields));
            if version == V5 {
                let connack = client.expect_connack();
                assert_eq!((connack.code, connack.present), (0x81, false), "{name}");
            }
            let heard = client.next();
            assert_eq!(heard, Heard::End, "{name}, version {version}");
        }
        let mut client = ground.stranger(version);
        client.send(&connect(version, CLEAN | USER | PASSWORD, &[&user, &password]));
        assert_eq!(client.expect_connack().code, 0);
    }
    ground.canary_sings();
    ground.lift();
}

/// MQTT-3.1.3-1, -3, -10, -11, MQTT-3.1.2-8, -12 (v3.1.1); MQTT-3.1.3-1, -3, -11, -12, MQTT-3.1.2-7
/// (v5): each of them arrives as what it is.
fn fields_of_connect_are_read_in_their_order(stage: &Stage) {
    let ground = Ground::shared(stage);
    for version in BOTH {
        let topic = unique("order");
        let mut witness = ground.client(V5);
        witness.subscribe(&topic, 1);
        let hello = Hello::lasting(version, &topic);
        let with_will = hello.clone().leaving(Will::sure(&topic, "guest"));
        let mut client = Client::connect(ground.addr, &with_will);
        client.subscribe(&unique("x"), 0);
        client.vanish();
        let message = witness.expect_text("guest");
        assert_eq!((&*message.topic, message.qos), (&*topic, 1));
        // The next connection leaves nothing, and has the session.
        let (client, is_present) = Client::resume(ground.addr, &hello);
        assert!(is_present);
        client.vanish();
        ground.client(version).tell_surely(&topic, "last");
        witness.expect_text("last");
    }
    ground.lift();
}

/// MQTT-3.1.3-1 (v3.1.1 and v5): each field that is wrong is refused as what it is. Refusals of logins
/// come late, so all are waited for at once.
#[test]
fn logins_are_refused_by_what_is_missing_or_wrong() {
    let ground = Ground::own(2, "");
    let (guest, nobody) = (text("guest"), text("nobody"));
    let both = USER | PASSWORD;
    // Name, version, flags, fields, the code that refuses it.
    type Case<'a> = (&'a str, u8, u8, &'a [&'a [u8]], u8);
    let cases: [Case<'_>; 8] = [
        ("no such user", V4, both, &[&nobody, &guest], 4),
        ("no such user", V5, both, &[&nobody, &guest], 0x86),
        ("a wrong password", V4, both, &[&guest, &nobody], 4),
        ("a wrong password", V5, both, &[&guest, &nobody], 0x86),
        ("nobody", V4, 0, &[], 5),
        // Version 5 has passwords without a name: well-formed, and nobody's.
        ("a password alone", V5, PASSWORD, &[&guest], 0x87),
        // "The Remaining Length field takes precedence over the User Name flag" of 3.1.
        ("a name and a password are announced", V3, both, &[], 5),
        ("a password is announced", V3, both, &[&guest], 4),
    ];
    let mut clients: Vec<Client> = cases
        .iter()
        .map(|(_, version, flags, fields, _)| {
            let mut client = ground.stranger(*version);
            client.send(&connect(*version, flags | CLEAN, fields));
            client
        })
        .collect();
    for (client, (name, version, _, _, code)) in clients.iter_mut().zip(cases) {
        let connack = client.expect_connack();
        assert_eq!((connack.code, connack.present), (code, false), "{name}, version {version}");
        client.expect_end();
    }
    ground.lift();
}

/// S3, MQTT-3.1.3-5 (v3.1.1 and v5); MQTT-3.1.4-4 (v3.1.1), MQTT-3.1.4-5 (v5)
fn short_plain_client_ids_are_accepted(stage: &Stage) {
    let ground = Ground::shared(stage);
    let letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let end = unique("").replace(|c: char| !c.is_ascii_alphanumeric(), "");
    for version in [V3, V4, V5] {
        for start in letters.chars().step_by(7) {
            for length in [1, 2, 22, 23] {
                let rest = format!("{end}{}", letters);
                let id: String = std::iter::once(start).chain(rest.chars()).take(length).collect();
                // One of one letter may be another test's: whoever comes takes it over.
                let (client, connack) = Client::try_connect(ground.addr, &Hello::new(version, &id));
                assert_eq!((connack.code, connack.present), (0, false), "{id}");
                client.vanish();
            }
        }
    }
    ground.lift();
}

/// MQTT-3.1.3-6, -7, -8, -9 (v3.1.1); MQTT-3.1.3-6, -7, MQTT-3.2.2-16 (v5)
fn clients_without_a_name_are_told_apart(stage: &Stage) {
    let ground = Ground::shared(stage);
    for version in BOTH {
        let topic = unique("nameless");
        let mut clients: Vec<Client> =
            (0..5).map(|_| Client::connect(ground.addr, &Hello::new(version, ""))).collect();
        for client in &mut clients {
            client.subscribe(&topic, 0);
        }
        clients[4].tell(&topic, "all");
        clients.iter_mut().for_each(|client| drop(client.expect_text("all")));
    }
    assert_eq!(ground.answer_to(&Hello::lasting(V4, "")).code, 2);
    assert_eq!(ground.answer_to(&Hello::new(V3, "")).code, 2);
    // The name that version 5 is told is as good as one of its own.
    let (client, connack) = Client::try_connect(ground.addr, &Hello::lasting(V5, ""));
    let name = connack.property(0x12).expect("a name").to_vec();
    client.leave();
    let hello = Hello::lasting(V5, std::str::from_utf8(&name).expect("a text"));
    let (_client, connack) = Client::try_connect(ground.addr, &hello);
    assert_eq!((connack.code, connack.present), (0, true));
    assert_eq!(connack.property(0x12), None, "it has a name");
    ground.lift();
}

/// MQTT-3.1.3-2, MQTT-3.1.2-4, -6, MQTT-3.1.4-3, MQTT-3.2.2-1, -2, -3, MQTT-4.1.0-1, -2 (v3.1.1);
/// MQTT-3.1.3-2, MQTT-3.1.2-4, -5, -6, MQTT-3.1.4-4, MQTT-3.2.2-2, -3 (v5)
fn a_session_belongs_to_the_name_of_its_client(stage: &Stage) {
    let ground = Ground::shared(stage);
    for version in BOTH {
        let (topic, name) = (unique("name"), unique("name"));
        let hello = Hello::lasting(version, &name);
        let mut client = Client::connect(ground.addr, &hello);
        client.subscribe(&topic, 1);
        client.leave();
        let mut publisher = ground.client(version);
        // Names are compared octet by octet.
        for other in [
            name.to_uppercase(),
            format!("{name} "),
            name.trim_end_matches(char::is_numeric).into(),
        ] {
            let (other, connack) = Client::try_connect(ground.addr, &Hello::new(version, &other));
            assert_eq!((connack.code, connack.present), (0, false));
            other.vanish();
        }
        publisher.tell_surely(&topic, "kept");
        let (mut client, is_present) = Client::resume(ground.addr, &hello);
        assert!(is_present);
        client.expect_text("kept");
        client.ping();
        // Clean: nothing of it is left, now or later.
        let clean = Hello { clean: true, ..Hello::new(version, &name) };
        let mut fresh = Client::connect(ground.addr, &clean);
        client.expect_closed(0x8E);
        publisher.tell_surely(&topic, "lost");
        fresh.ping();
        fresh.subscribe(&topic, 1);
        fresh.leave();
        publisher.tell_surely(&topic, "lost too");
        let mut client = Client::connect(ground.addr, &hello);
        client.ping();
    }
    ground.lift();
}

/// MQTT-3.1.2-28, MQTT-3.1.2-29 (v5)
fn a_client_is_told_no_more_than_it_asked_for(stage: &Stage) {
    let ground = Ground::shared(stage);
    for properties in [&[][..], &[0x19, 0], &[0x19, 0, 0x17, 0]] {
        let topic = unique("quiet");
        let hello = Hello::new(V5, &unique("quiet")).with(properties);
        let (mut client, connack) = Client::try_connect(ground.addr, &hello);
        assert_eq!(connack.property(0x1A), None, "response information");
        if properties.len() < 4 {
            continue;
        }
        // None of the answers explains itself, also where it is a refusal.
        client.send(&subscribe(V5, 1, &[("a/#/b", 0), (&topic, 0)], &[]));
        client.expect(&[0x90, 5, 0, 1, 0, 0x8F, 0]);
        client.send(&super::octets::unsubscribe(V5, 2, &[&topic, &topic]));
        client.expect(&[0xB0, 5, 0, 2, 0, 0, 0x11]);
        for (qos, first) in [(1, 0x40), (2, 0x50)] {
            let letter = Letter { topic: "$SYS/no", qos, id: 3, ..Letter::default() };
            client.publish(&letter);
            client.expect(&[first, 3, 0, 3, 0x87]);
        }
        client.send(&numbered(0x62, 4));
        client.expect(&[0x70, 3, 0, 4, 0x92]);
        client.send(&numbered(0x50, 5));
        client.expect(&[0x62, 3, 0, 5, 0x92]);
        client.send(&[0, 0]);
        client.expect_closed(0x81);
    }
    ground.lift();
}

/// MQTT-3.1.2-30, MQTT-4.12.0-1, -6, -7, MQTT-3.1.4-6, MQTT-3.14.0-1 (v5): no exchange begins with a
/// method that the broker does not know, and AUTH comes from neither side. `proving` has the others.
fn a_method_of_authentication_is_refused_with_all_behind_it(stage: &Stage) {
    let ground = Ground::shared(stage);
    let topic = unique("method");
    let mut witness = ground.client(V5);
    witness.subscribe(&topic, 0);
    let method = |name: &str| [&[0x15][..], &text(name)].concat();
    let data = [&[0x16][..], &text("n,,n=guest,r=nonce")].concat();
    for properties in [[method("SCRAM-SHA-1"), data].concat(), method("PLAIN"), method("")] {
        let hello = Hello::new(V5, &unique("method")).with(&properties);
        let mut client = ground.stranger(V5);
        let auth = packet(0xF0, &[&[0x18][..], &block(V5, &properties)].concat());
        let publish = Letter { topic: &topic, payload: b"no", ..Letter::default() }.octets(V5);
        client.send(&[hello.octets(), auth, publish].concat());
        let connack = client.expect_connack();
        assert_eq!((connack.code, connack.present), (0x8C, false));
        assert_eq!((connack.property(0x15), connack.property(0x16)), (None, None));
        client.expect_end();
    }
    for code in [0x00, 0x18, 0x19] {
        // To begin again without having begun.
        let mut client = ground.client(V5);
        client.send(&packet(0xF0, &[&[code][..], &block(V5, &method("SCRAM-SHA-1"))].concat()));
        client.expect_closed(0x82);
    }
    ground.client(V5).tell(&topic, "yes");
    witness.expect_text("yes");
    ground.lift();
}

/// MQTT-7.0.0-2, MQTT-3.8.3-2, MQTT-3.3.2-3 (v3.1.1); MQTT-3.2.2-9, -10, -12, -13, MQTT-3.8.4-7,
/// MQTT-3.3.2-3 (v5): every QoS, retained messages, wildcards and wills are there, since CONNACK takes
/// nothing back.
fn a_client_needs_nothing_beyond_the_specification(stage: &Stage) {
    let ground = Ground::shared(stage);
    for version in BOTH {
        let topic = unique("all");
        let will = Will { qos: 2, retain: true, ..Will::of(&format!("{topic}/will"), "will") };
        let (mut client, connack) =
            Client::try_connect(ground.addr, &Hello::new(version, &unique("all")).leaving(will));
        assert_eq!(connack.code, 0);
        for id in [0x24, 0x25, 0x28, 0x29, 0x2A] {
            let value = connack.property(id);
            assert!(value.is_none() || value == Some(&[1]), "{id:#x}: {value:?}");
        }
        let filters = ["#", "+/b", "b/+/c", "b"].map(|end| format!("{topic}/{end}"));
        let wishes: Vec<(&str, u8)> =
            filters.iter().map(|filter| &**filter).zip([0, 1, 2, 2]).collect();
        assert_eq!(client.ask(&wishes, &[]), [0, 1, 2, 2]);
        let mut publisher = ground.client(version);
        for (end, qos) in [("", 0), ("/b", 2), ("/a/b", 1), ("/b/x/c", 2), ("/c/d/e", 0)] {
            let name = format!("{topic}{end}");
            let letter = Letter { topic: &name, qos: 2, id: 1, ..Letter::default() };
            publisher.publish(&Letter { payload: b"all", ..letter });
            publisher.expect_answer(0x50, 1);
            publisher.send(&numbered(0x62, 1));
            publisher.expect_answer(0x70, 1);
            let message = client.expect_message();
            assert_eq!((&*message.topic, message.qos), (&*name, qos), "as its filters match");
            match message.qos {
                1 => client.send(&numbered(0x40, message.id)),
                2 => {
                    client.send(&numbered(0x50, message.id));
                    client.expect_answer(0x62, message.id);
                    client.send(&numbered(0x70, message.id));
                }
                _ => {}
            }
        }
        // Not as what is retained besides.
        let mut late = ground.client(V5);
        late.subscribe(&format!("{topic}/will"), 0x22);
        client.vanish();
        let message = late.expect_message();
        assert_eq!((message.text(), message.qos), ("will", 2));
        late.send(&numbered(0x50, message.id));
        late.expect_answer(0x62, message.id);
        late.send(&numbered(0x70, message.id));
        let name = format!("{topic}/kept");
        let letter = Letter { topic: &name, payload: b"kept", retain: true, ..Letter::default() };
        publisher.publish_surely(&letter);
        late.subscribe(&name, 1);
        assert!(late.expect_text("kept").retain);
        for name in [&name, &format!("{topic}/will")] {
            publisher.publish(&Letter { topic: name, retain: true, ..Letter::default() });
        }
        publisher.ping();
    }
    ground.lift();
}

/// MQTT-3.2.2-6 (v3.1.1): version 5 hears it. MQTT-4.8.0-2 (v3.1.1): what the broker cannot do now
/// ends the connection.
#[test]
fn a_refusal_that_cannot_be_said_is_silent() {
    let ground = Ground::own(1, "topic_alias_max_client = 1\n");
    let deep = vec!["x"; 200].join("/");
    for (version, code) in [(V4, None), (V5, Some(0x90))] {
        let mut client = ground.stranger(version);
        let hello = Hello::new(version, "deep").leaving(Will::of(&deep, "will"));
        client.send(&hello.octets());
        if let Some(code) = code {
            assert_eq!(client.expect_connack().code, code);
        }
        client.expect_end();
        let names: Vec<String> = (0..2_000).map(|number| number.to_string()).collect();
        let wishes: Vec<(&str, u8)> = names.iter().map(|name| (&**name, 0)).collect();
        let mut client = ground.client(version);
        client.send(&subscribe(version, 1, &wishes, &[]));
        client.expect_closed(0x97);
    }
    ground.lift();
}
