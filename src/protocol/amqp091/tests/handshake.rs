//! From the first octet to connection.open-ok, and what goes wrong on the way.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::client::{Client, Said, all_capabilities, method};
use crate::auth::Users;
use crate::auth::password::PasswordHash;
use crate::auth::slow::{Hashing, Job, Known};
use crate::auth::user::User;
use crate::command::Event;
use crate::config::Config;
use crate::protocol::amqp091::wire::frame;
use crate::protocol::amqp091::wire::method::{confirm, connection};
use crate::protocol::amqp091::wire::protocol_header::PROTOCOL_HEADER;
use crate::protocol::{Next, Session as _};
use crate::value::{Table, Value};

fn tuned() -> Client {
    let mut client = Client::silent();
    client.say(&PROTOCOL_HEADER);
    client.start_ok(&all_capabilities(), "PLAIN", b"\0guest\0guest");
    client.heard();
    client
}

fn open(vhost: &str) -> connection::Open<'_> {
    connection::Open { virtual_host: vhost, capabilities: "", insist: false }
}

/// S2
#[test]
fn a_login_goes_through_start_tune_and_open() {
    let mut client = Client::silent();
    client.say(&PROTOCOL_HEADER);
    assert_eq!(client.heard(), [method(0, "connection.start")]);
    client.start_ok(
        &Table::default(),
        "AMQPLAIN",
        b"\x05LOGINS\0\0\0\x05guest\x08PASSWORDS\0\0\0\x05guest",
    );
    assert_eq!(client.heard(), [method(0, "connection.tune 2047 131072 300")]);
    client.tune_ok(0, 0, 0);
    client.method(0, &open("/"));
    assert_eq!(client.heard(), [method(0, "connection.open-ok")]);
}

/// Keeps what it is asked.
#[derive(Debug, Default)]
struct Kept(RefCell<Vec<Job>>);

impl Hashing for Kept {
    fn ask(&self, job: Job) -> bool {
        self.0.borrow_mut().push(job);
        true
    }
}

/// The login of a password that takes long: nothing is read until it is checked elsewhere.
#[test]
fn a_login_that_takes_long_is_checked_elsewhere_and_known_afterwards() {
    let (_, hash) = PasswordHash::of_password(b"secret").unwrap();
    let user =
        User { name: "slow".into(), password: Some(hash), tags: vec![], permissions: vec![] };
    let users = Arc::new(Users::new([user], None));
    let asked = Rc::new(Kept::default());
    let (tune, close) = ("connection.tune 2047 131072 300", "connection.close 403");
    let mut known = Known::default();
    for (password, asks, end) in
        [("secret", true, tune), ("wrong", true, close), ("secret", false, tune)]
    {
        let mut client = Client::silent();
        let logins = client.session.link.peer.logins.clone();
        logins.borrow_mut().users = users.clone();
        logins.borrow_mut().elsewhere = Some(asked.clone());
        logins.borrow_mut().known = std::mem::take(&mut known);
        client.say(&PROTOCOL_HEADER);
        client.heard();
        let response = format!("\0slow\0{password}");
        client.start_ok(&all_capabilities(), "PLAIN", response.as_bytes());
        let job = asked.0.borrow_mut().pop();
        assert_eq!(job.is_some(), asks, "{password}");
        if let Some(job) = job {
            assert_eq!((client.heard(), client.next), (vec![], Next::Wait));
            let (at, verdict) = (job.at.connection, job.check());
            client.broker.login_checked(at, verdict);
            client.work();
        }
        client.tick(2_000);
        let heard = client.heard();
        assert!(heard.iter().any(|said| format!("{said:?}").contains(end)), "{heard:?}");
        known = std::mem::take(&mut logins.borrow_mut().known);
    }
}

/// Abuse rows 1 to 3
#[test]
fn any_other_header_is_answered_with_ours_and_a_close() {
    for header in
        [&b"AMQP\0\x01\0\0"[..], b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\0", b"xxxx"]
    {
        let mut client = Client::silent();
        client.say(header);
        assert_eq!(client.octets(), PROTOCOL_HEADER, "{header:?}");
        assert_eq!(client.next, Next::Close);
    }
}

#[test]
fn a_header_in_pieces_is_waited_for() {
    let mut client = Client::silent();
    client.say(&PROTOCOL_HEADER[..3]);
    assert_eq!(client.next, Next::Read { bytes_min: 8 });
    client.say(&PROTOCOL_HEADER[3..]);
    assert_eq!(client.heard(), [method(0, "connection.start")]);
}

/// Abuse row 4: the time counts from the accept, whatever comes meanwhile.
#[test]
fn a_handshake_takes_ten_seconds_at_most() {
    let mut client = Client::silent();
    assert_eq!(client.session.deadline_ms(), Some(10_000));
    client.tick(9_999);
    client.say(&PROTOCOL_HEADER);
    assert_eq!(client.next, Next::Read { bytes_min: 1 });
    client.tick(1);
    assert_eq!(client.next, Next::Close);
}

/// P12, S73, abuse row 48
#[test]
fn a_refused_login_is_told_after_a_second_and_only_to_those_who_understand() {
    let cases: [(&str, &[u8]); 4] = [
        ("PLAIN", b"\0guest\0wrong"),
        ("PLAIN", b"nonsense"),
        ("EXTERNAL", b""),
        ("PLAIN", b"\0\0guest"),
    ];
    for (mechanism, response) in cases {
        for is_announced in [true, false] {
            let mut client = Client::silent();
            client.say(&PROTOCOL_HEADER);
            client.heard();
            let properties = if is_announced { all_capabilities() } else { Table::default() };
            client.start_ok(&properties, mechanism, response);
            assert_eq!((client.heard(), client.next), (vec![], Next::Wait));
            client.tick(999);
            assert_eq!(client.heard(), []);
            client.tick(1_000);
            if is_announced {
                let text = format!(
                    "connection.close 403 ACCESS_REFUSED - Login was refused using authentication \
                     mechanism {mechanism}. For details see the broker logfile. (10, 11)"
                );
                assert_eq!(client.heard(), [method(0, &text)]);
                client.method(
                    0,
                    &crate::protocol::amqp091::wire::method::Method::Connection(
                        crate::protocol::amqp091::wire::method::Connection::CloseOk,
                    ),
                );
            } else {
                assert_eq!(client.heard(), []);
            }
            assert_eq!(client.next, Next::Close);
        }
    }
}

/// S42, P14, abuse row 10
#[test]
fn tuning_keeps_within_our_limits() {
    for (channel_max, frame_max, text) in [
        (0, 1, "negotiated frame_max = 1 is lower than the minimum allowed value (4096)"),
        (
            0,
            131_073,
            "negotiated frame_max = 131073 is higher than the maximum allowed value (131072)",
        ),
        (2048, 0, "negotiated channel_max = 2048 is higher than the maximum allowed value (2047)"),
    ] {
        let mut client = tuned();
        client.tune_ok(channel_max, frame_max, 65535);
        let expected = format!("connection.close 530 NOT_ALLOWED - {text} (10, 31)");
        assert_eq!(client.heard(), [method(0, &expected)]);
    }
    let mut client = tuned();
    client.tune_ok(2047, 4096, 65535);
    client.method(0, &open(""));
    assert_eq!(client.heard(), [method(0, "connection.open-ok")]);
}

/// P17, abuse row 53
#[test]
fn an_unknown_vhost_is_not_opened() {
    let mut client = tuned();
    client.tune_ok(0, 0, 0);
    client.method(0, &open("../.."));
    let text = "connection.close 530 NOT_ALLOWED - vhost ../.. not found (10, 40)";
    assert_eq!(client.heard(), [method(0, text)]);
}

/// S34
#[test]
fn methods_out_of_order_and_channels_before_open_are_refused() {
    let mut client = tuned();
    client.method(0, &open("/"));
    let text = "connection.close 503 COMMAND_INVALID - method out of order (10, 40)";
    assert_eq!(client.heard(), [method(0, text)]);
    let mut client = tuned();
    client.method(1, &super::client::declare("q"));
    let text = "connection.close 504 CHANNEL_ERROR - channel used before connection.open (0, 0)";
    assert_eq!(client.heard(), [method(0, text)]);
}

/// Abuse row 7
#[test]
fn a_frame_before_tuning_has_8192_octets_at_most() {
    let mut client = Client::silent();
    client.say(&PROTOCOL_HEADER);
    client.heard();
    client.say(&[1, 0, 0, 0, 0, 0x20, 0x01]);
    let said = client.heard();
    assert!(
        matches!(&said[..], [Said::Method(0, text)] if text.starts_with("connection.close 501"))
    );
    assert_eq!(client.next, Next::Read { bytes_min: 1 });
    client.tick(1_000);
    assert_eq!(client.next, Next::Close, "nobody waits longer for close-ok");
}

/// S68, S69
#[test]
fn the_server_says_what_it_is_and_what_it_can_do() {
    let mut client = Client::silent();
    client.say(&PROTOCOL_HEADER);
    let octets = client.octets();
    let says = |text: &[u8]| octets.windows(text.len()).any(|found| found == text);
    for key in ["product", "version", "platform", "copyright", "information", "cluster_name"] {
        assert!(says(&[key.as_bytes(), b"S"].concat()), "{key}");
    }
    for capability in [
        "publisher_confirms",
        "exchange_exchange_bindings",
        "basic.nack",
        "consumer_cancel_notify",
        "connection.blocked",
        "consumer_priorities",
        "authentication_failure_close",
        "per_consumer_qos",
        "direct_reply_to",
    ] {
        assert!(says(&[capability.as_bytes(), b"t\x01"].concat()), "{capability}");
    }
}

/// S70, S71: capabilities of any type, or none at all, keep nobody out or from anything.
#[test]
fn a_client_that_announces_nothing_that_is_understood_may_do_all_the_same() {
    let odd = Table(vec![
        ("authentication_failure_close".into(), Value::I32(1)),
        ("basic.nack".into(), Value::text("yes")),
        ("connection.blocked".into(), Value::Table(Table::default())),
        ("consumer_cancel_notify".into(), Value::Void),
    ]);
    for properties in [
        Table::default(),
        Table(vec![("capabilities".into(), Value::text("all of them"))]),
        Table(vec![("capabilities".into(), Value::Table(odd))]),
    ] {
        let mut client = Client::silent();
        client.say(&PROTOCOL_HEADER);
        client.start_ok(&properties, "PLAIN", b"\0guest\0guest");
        client.tune_ok(0, 0, 0);
        client.method(0, &open("/"));
        client.heard();
        client.open_channel(1);
        client.method(1, &confirm::Select { no_wait: false });
        assert_eq!(client.heard(), [method(1, "confirm.select-ok")]);
    }
}

/// S4, S5, S7, S76, S79: what is agreed on, told by when the server beats.
#[test]
fn the_lower_of_two_intervals_holds_and_0_turns_heartbeats_off() {
    assert_eq!(Config::default().amqp.heartbeat_s, 300, "what is proposed");
    for (ours, theirs, agreed_s) in
        [(300, 10, 10_u16), (300, 300, 300), (300, 400, 300), (300, 0, 0), (0, 20, 20), (0, 0, 0)]
    {
        let mut config = Config::default();
        config.amqp.heartbeat_s = ours;
        let mut client = Client::with(config);
        client.say(&PROTOCOL_HEADER);
        client.start_ok(&all_capabilities(), "PLAIN", b"\0guest\0guest");
        let heard = client.heard();
        let tune = format!("connection.tune 2047 131072 {ours}");
        assert_eq!(heard.last(), Some(&method(0, &tune)), "{heard:?}");
        client.tune_ok(0, 0, theirs);
        client.method(0, &open("/"));
        client.heard();
        let half_ms = if agreed_s == 0 { 1_000_000 } else { u64::from(agreed_s) * 500 };
        client.tick(half_ms - 1);
        assert_eq!(client.heard(), [], "{ours} {theirs}");
        client.tick(1);
        let beats = if agreed_s == 0 { vec![] } else { vec![Said::Heartbeat] };
        assert_eq!(client.heard(), beats, "{ours} {theirs}");
    }
}

/// S81, S82: a publisher that waits is told that we live, and is not asked whether it does.
#[test]
fn heartbeats_go_on_while_nothing_is_read() {
    let mut client = tuned();
    client.tune_ok(0, 0, 10);
    client.method(0, &open("/"));
    client.heard();
    client.session.is_paused = true;
    for _ in 0..20 {
        client.tick(5_000);
        assert_eq!(client.heard(), [Said::Heartbeat]);
    }
    client.event(Event::PublishResumed);
    assert_eq!(client.next, Next::Read { bytes_min: 1 });
    client.tick(15_000);
    assert_eq!(client.next, Next::Read { bytes_min: 1 }, "the peer's time begins anew");
    client.tick(1);
    assert_eq!(client.next, Next::Close);
}

/// S8, S77, S78: whatever is said stands for a heartbeat, both ways.
#[test]
fn anything_that_is_said_is_a_sign_of_life() {
    let mut client = tuned();
    client.tune_ok(0, 0, 10);
    client.method(0, &open("/"));
    client.heard();
    for number in 1..20 {
        client.tick(4_999);
        client.open_channel(number);
        client.heard();
    }
    assert_eq!(client.next, Next::Read { bytes_min: 1 });
    client.tick(5_000);
    assert_eq!(client.heard(), [Said::Heartbeat]);
}

/// S5, S8, S6
#[test]
fn heartbeats_are_sent_and_asked_for() {
    let mut client = tuned();
    client.tune_ok(0, 0, 10);
    client.method(0, &open("/"));
    client.heard();
    client.tick(5_000);
    assert_eq!(client.heard(), [Said::Heartbeat]);
    client.tick(5_000);
    client.say(&frame::HEARTBEAT_FRAME);
    client.tick(15_000);
    assert_eq!(client.next, Next::Read { bytes_min: 1 });
    client.tick(1);
    assert_eq!(client.next, Next::Close);
}
