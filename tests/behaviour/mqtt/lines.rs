//! What operators read of connections in the log.

use crate::support::siege::unique;

use super::client::{Client, Heard};
use super::ground::Ground;
use super::octets::{Hello, V3, V4, V5};

/// S66: as the port of AMQP does (abuse row 2).
#[test]
fn who_speaks_something_else_on_the_port_finds_it_named_in_the_log() {
    let ground = Ground::own(1, "");
    for (octets, name) in [
        (&b"GET /mqtt HTTP/1.1\r\n\r\n"[..], "HTTP"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03", "TLS"),
        (b"AMQP\0\0\x09\x01", "AMQP"),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "PROXY"),
    ] {
        let mut stranger = ground.stranger(V5);
        stranger.send(octets);
        assert_eq!(stranger.next(), Heard::End);
        ground.broker().wait_for_line(&["the first packet is not CONNECT", name]);
    }
    ground.lift();
}

#[test]
fn a_connection_leaves_a_line_when_it_begins_and_when_it_ends() {
    let ground = Ground::own(1, "");
    for version in [V3, V4, V5] {
        let name = unique("line");
        let client = Client::connect(ground.addr, &Hello::new(version, &name));
        ground.broker().wait_for_line(&["connection opened", &name]);
        client.leave();
        ground.broker().wait_for_line(&["connection closed by the client", &name]);
        Client::connect(ground.addr, &Hello::new(version, &name)).vanish();
        ground.broker().wait_for_line(&["connection lost", &name]);
    }
    ground.lift();
}

/// S48, S49
#[test]
fn every_line_names_client_user_and_virtual_host_and_a_silent_probe_leaves_none() {
    let ground = Ground::own(1, "");
    let before = ground.broker().log().lines().count();
    drop(ground.stranger(V5));
    let name = unique("line");
    let (user, password) = (b"guest".to_vec(), b"guest".to_vec());
    let hello = Hello { user, password, ..Hello::new(V5, &name) };
    let all = [name.as_str(), "user=\"guest\"", "vhost=\"/\"", "peer=127.0.0.1:"];
    let client = Client::connect(ground.addr, &hello);
    ground.broker().wait_for_line(&[&["connection opened"][..], &all].concat());
    client.leave();
    ground.broker().wait_for_line(&[&["connection closed by the client"][..], &all].concat());
    Client::connect(ground.addr, &hello).vanish();
    ground.broker().wait_for_line(&[&["connection lost"][..], &all].concat());
    let log = ground.broker().log();
    let lines = log.lines().skip(before).filter(|line| !line.contains(&name)).count();
    assert_eq!(lines, 0, "{log}");
    let mut stranger = ground.stranger(V5);
    stranger.send(b"\x10\x20");
    stranger.vanish();
    ground.broker().wait_for_line(&["connection lost before it was opened", "peer=127.0.0.1:"]);
    ground.lift();
}

/// S49: one line each.
#[test]
fn a_refused_login_is_one_line_with_the_client_and_never_the_password() {
    let ground = Ground::own(1, "allow_anonymous = off");
    let name = unique("line");
    let (user, password) = (b"mallory".to_vec(), b"open-sesame".to_vec());
    let hello = Hello { user, password, ..Hello::new(V5, &name) };
    drop(ground.answer_to(&hello));
    ground.broker().wait_for_line(&["login refused", "user=\"mallory\"", &name]);
    let log = ground.broker().log();
    assert_eq!(log.lines().filter(|line| line.contains(&name)).count(), 1, "{log}");
    assert!(!log.contains("open-sesame"), "{log}");
    ground.lift();
}
