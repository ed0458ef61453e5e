//! AUTH (4.12), and response information.

use super::rig::*;
use crate::auth::scram::{Mechanism, client};
use crate::config::Config;
use crate::protocol::mqtt::wire::Version;
use crate::protocol::mqtt::wire::auth::Auth;
use crate::protocol::mqtt::wire::connect::{Connect, ConnectProperties};
use crate::protocol::mqtt::wire::properties::Diagnostics;
use crate::protocol::mqtt::wire::reason_code::ReasonCode;

const SHA256: &str = "SCRAM-SHA-256";
const SHA512: &str = "SCRAM-SHA-512";

/// CONNECT with a method and the data of its first step.
fn proving<'a>(method: &'a str, data: Option<&'a [u8]>) -> Connect<'a> {
    let properties = ConnectProperties {
        auth_method: Some(method),
        auth_data: data,
        ..ConnectProperties::default()
    };
    Connect { user_name: None, password: None, properties, ..hello(Version::V5, "c") }
}

fn auth<'a>(code: ReasonCode, method: &'a str, data: &'a str) -> Auth<'a> {
    let data = Some(data.as_bytes());
    Auth { code, method: Some(method), data, diagnostics: Diagnostics::default() }
}

/// The data behind the words of a packet.
fn data_of<'a>(heard: &'a [String], words: &str) -> &'a str {
    let [only] = heard else { panic!("{heard:?}") };
    only.strip_prefix(words).unwrap_or_else(|| panic!("{heard:?}"))
}

/// A client that has said who it is and been asked to prove it; what it is to say, and what it
/// will be told.
fn asked(rig: &mut Rig, mechanism: Mechanism, user: &str, password: &str) -> (Client, [String; 2]) {
    let first = client::first(user, "nonce");
    let who = rig.connect(&proving(mechanism.name(), Some(first.as_bytes())));
    let heard = rig.heard(who);
    let answer = data_of(&heard, &format!("AUTH 18 {} ", mechanism.name()));
    let (last, proof) = client::last(mechanism, password, &first, answer);
    (who, [last, proof])
}

fn let_in(rig: &mut Rig) -> Client {
    let (who, [last, proof]) = asked(rig, Mechanism::Sha256, "prover", "secret");
    rig.packet(who, &auth(ReasonCode::ContinueAuthentication, SHA256, &last));
    assert_eq!(rig.heard(who), [format!("CONNACK 00 new {SHA256} {proof}")]);
    who
}

/// MQTT-4.12.0-2, MQTT-4.12.0-3, MQTT-4.12.0-5 (v5), H-30
#[test]
fn who_proves_to_know_the_password_is_let_in_and_hears_our_proof() {
    let mut rig = Rig::new();
    let who = let_in(&mut rig);
    rig.subscribe(who, "t", 0);
    let (who, [last, proof]) = asked(&mut rig, Mechanism::Sha512, "other:prover512", "secret");
    rig.packet(who, &auth(ReasonCode::ContinueAuthentication, SHA512, &last));
    assert_eq!(rig.heard(who), [format!("CONNACK 00 new {SHA512} {proof}")]);
}

/// MQTT-4.12.0-4 (v5)
#[test]
fn who_proves_nothing_is_refused_after_a_while_and_learns_not_why() {
    for (user, password) in [("prover", "wrong"), ("nobody", "x"), ("guest", "guest")] {
        let mut rig = Rig::new();
        let (who, [last, _]) = asked(&mut rig, Mechanism::Sha256, user, password);
        rig.packet(who, &auth(ReasonCode::ContinueAuthentication, SHA256, &last));
        assert!(rig.octets(who).is_empty(), "not at once");
        rig.tick(2_000);
        assert_eq!(rig.heard(who), ["CONNACK 87 new"], "{user}");
        assert!(rig.is_closed(who));
    }
    for data in [None, Some(&b"n,,"[..]), Some(b"\xFF"), Some(b"p=tls-unique,,n=prover,r=x")] {
        let mut rig = Rig::new();
        let who = rig.connect(&proving(SHA256, data));
        rig.tick(2_000);
        assert_eq!(rig.heard(who), ["CONNACK 87 new"]);
    }
}

#[test]
fn a_user_name_in_connect_is_the_one_that_is_proved() {
    for (name, is_same) in [("prover", true), ("other:prover", true), ("guest", false)] {
        let mut rig = Rig::new();
        let first = client::first("prover", "nonce");
        let connect = proving(SHA256, Some(first.as_bytes()));
        let who = rig.connect(&Connect { user_name: Some(name), ..connect });
        rig.tick(2_000);
        let heard = rig.heard(who);
        assert_eq!(heard[0].starts_with("AUTH 18"), is_same, "{name}: {heard:?}");
    }
}

/// MQTT-3.1.2-30, MQTT-4.12.0-1, MQTT-4.12.0-5 (v5)
#[test]
fn nothing_but_the_exchange_comes_before_connack() {
    let mut rig = Rig::new();
    for (packet, heard) in [
        (auth(ReasonCode::ContinueAuthentication, "X", "y"), "CONNACK 8c new"),
        (auth(ReasonCode::ReAuthenticate, SHA256, "n,,n=prover,r=x"), "CONNACK 82 new"),
    ] {
        let (who, _) = asked(&mut rig, Mechanism::Sha256, "prover", "secret");
        rig.packet(who, &packet);
        assert_eq!(rig.heard(who), [heard]);
        assert!(rig.is_closed(who));
    }
    for octets in [&[0xC0_u8, 0][..], &[0x30, 4, 0, 1, b't', 0], &[0x10, 0], &[0xF0, 1, 0x55]] {
        let (who, _) = asked(&mut rig, Mechanism::Sha256, "prover", "secret");
        rig.say(who, octets);
        let heard = rig.heard(who);
        assert!(heard[0].starts_with("CONNACK 8"), "{octets:?}: {heard:?}");
        assert!(rig.is_closed(who));
    }
    let (who, _) = asked(&mut rig, Mechanism::Sha256, "prover", "secret");
    rig.disconnect(who, ReasonCode::Success);
    assert!(rig.octets(who).is_empty() && rig.is_closed(who));
}

/// Bounded in time and in count.
#[test]
fn a_client_that_does_not_go_on_is_not_waited_for() {
    let mut rig = Rig::new();
    let (who, _) = asked(&mut rig, Mechanism::Sha256, "prover", "secret");
    rig.tick(4_999);
    assert!(!rig.is_closed(who));
    rig.tick(1);
    assert!(rig.is_closed(who) && rig.octets(who).is_empty());
    let (who, [last, _]) = asked(&mut rig, Mechanism::Sha256, "prover", "wrong");
    let step = auth(ReasonCode::ContinueAuthentication, SHA256, &last);
    rig.packet(who, &step);
    rig.packet(who, &step);
    rig.tick(2_000);
    assert_eq!(rig.heard(who), ["CONNACK 87 new"], "a second step is not looked at");
}

/// MQTT-4.12.1-1 (v5)
#[test]
fn a_client_proves_again_who_it_is_while_everything_goes_on() {
    let mut rig = Rig::new();
    let who = let_in(&mut rig);
    rig.subscribe(who, "t", 0);
    for nonce in ["again", "and again"].map(|text| text.replace(' ', "-")) {
        let first = client::first("prover", &nonce);
        rig.packet(who, &auth(ReasonCode::ReAuthenticate, SHA256, &first));
        let heard = rig.heard(who);
        let answer = data_of(&heard, "AUTH 18 SCRAM-SHA-256 ");
        rig.send(who, "t", 0, "meanwhile");
        assert_eq!(rig.heard(who), [r#"PUBLISH "t" q0 meanwhile"#]);
        let (last, proof) = client::last(Mechanism::Sha256, "secret", &first, answer);
        rig.packet(who, &auth(ReasonCode::ContinueAuthentication, SHA256, &last));
        assert_eq!(rig.heard(who), [format!("AUTH 00 SCRAM-SHA-256 {proof}")]);
    }
    rig.ping(who);
    assert_eq!(rig.heard(who), ["PINGRESP"]);
}

/// MQTT-4.12.1-2, MQTT-4.12.0-6, MQTT-4.12.0-7 (v5), abuse row 86
#[test]
fn a_later_proof_that_fails_ends_the_connection() {
    let first = client::first("prover", "x");
    let other = client::first("guest", "x");
    for (packet, heard) in [
        (auth(ReasonCode::ReAuthenticate, SHA512, &first), "DISCONNECT 8c"),
        (auth(ReasonCode::ReAuthenticate, SHA256, &other), "DISCONNECT 8c"),
        (auth(ReasonCode::ReAuthenticate, SHA256, "what"), "DISCONNECT 87"),
        (auth(ReasonCode::ContinueAuthentication, SHA256, &first), "DISCONNECT 82"),
    ] {
        let mut rig = Rig::new();
        let who = let_in(&mut rig);
        rig.packet(who, &packet);
        assert_eq!(rig.heard(who), [heard]);
        assert!(rig.is_closed(who));
    }
    let mut rig = Rig::new();
    let who = let_in(&mut rig);
    rig.packet(who, &auth(ReasonCode::ReAuthenticate, SHA256, &first));
    rig.octets(who);
    rig.packet(who, &auth(ReasonCode::ReAuthenticate, SHA256, &first));
    assert_eq!(rig.heard(who), ["DISCONNECT 82"], "one at a time");
    let who = let_in(&mut rig);
    rig.packet(who, &auth(ReasonCode::ReAuthenticate, SHA256, &first));
    rig.octets(who);
    rig.packet(who, &auth(ReasonCode::ContinueAuthentication, SHA256, "c=biws,r=xy,p=AAAA"));
    assert_eq!(rig.heard(who), ["DISCONNECT 87"]);
    let who = rig.open(Version::V5, "without");
    rig.packet(who, &auth(ReasonCode::ReAuthenticate, SHA256, &first));
    assert_eq!(rig.heard(who), ["DISCONNECT 82"]);
}

/// MQTT-3.1.2-28 (v5), H-29
#[test]
fn who_asks_for_response_information_is_told_what_is_set_and_nobody_else() {
    let asking = |id, asks| {
        let properties =
            ConnectProperties { request_response: asks, ..ConnectProperties::default() };
        Connect { properties, ..hello(Version::V5, id) }
    };
    let mut rig = Rig::new();
    let who = rig.connect(&asking("c", true));
    assert_eq!(rig.heard(who), ["CONNACK 00 new"], "nothing is set");
    let mut config = Config::default();
    config.mqtt.response_information = "answers/%c/".into();
    let mut rig = Rig::with(config);
    for (id, asks, heard) in [
        ("c", true, "CONNACK 00 new answers=answers/c/"),
        ("c", false, "CONNACK 00 new"),
        ("a/#", true, "CONNACK 00 new"),
    ] {
        let who = rig.connect(&asking(id, asks));
        assert_eq!(rig.heard(who), [heard]);
    }
}
