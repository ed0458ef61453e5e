//! From the first octet to connection.open-ok, and what goes wrong on the way.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::client::{Client, Said, all_capabilities, method};
use crate::auth::Users;
use crate::auth::password::PasswordHash;
use crate::auth::slow::{Hashing, Job, Known};
use crate::auth::user::User;
use crate::protocol::amqp091::wire::frame;
use crate::protocol::amqp091::wire::method::connection;
use crate::protocol::amqp091::wire::protocol_header::PROTOCOL_HEADER;
use crate::protocol::{Next, Session as _};
use crate::value::Table;

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

/// P14, abuse row 10
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
