//! Who does not behave before or at the login (abuse rows 1 to 3, 7, 10, 48 to 50, 53; those that
//! need time, row 4 among them, are in `hostile_patience`).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ringmq::protocol::amqp091::wire::frame;
use ringmq::protocol::amqp091::wire::method::connection::{Open, TuneOk};

use crate::support::Client;
use crate::support::Login;
use crate::support::broker::Options;
use crate::support::client::PATIENCE;
use crate::support::handshake::PROTOCOL_HEADER;
use crate::support::raw::{Payload, head};
use crate::support::setup::Setup;
use crate::support::siege::{NOTHING_MIB, Siege, definitions, own_address, unique};

fn siege() -> Siege {
    Siege::shared(Setup::TwoShards)
}

/// The answer to all that is not AMQP 0-9-1.
fn expect_header_and_end(client: &mut Client) {
    assert_eq!(client.read_raw(8, PATIENCE), PROTOCOL_HEADER);
    client.expect_eof();
}

/// Abuse row 1
#[test]
fn foreign_octets_are_answered_with_the_header_and_the_end() {
    let mut siege = siege();
    let long = vec![b'x'; 1_000_000];
    for octets in [&b"XXXXXXXX"[..], b"AMQQ", b"\0\0\0\0\0\0\0\0", b"PROXY TCP4 ", &long] {
        let mut stranger = siege.stranger();
        stranger.send_raw(octets);
        expect_header_and_end(&mut stranger);
        siege.canary_sings();
    }
    siege.lift(NOTHING_MIB);
}

/// Abuse row 1: a header in pieces is a header; what follows it is not read as one.
#[test]
fn the_header_may_come_octet_by_octet() {
    let siege = siege();
    let mut slow = siege.stranger();
    for octet in PROTOCOL_HEADER {
        slow.send_raw(&[*octet]);
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(slow.expect_start().contains("PLAIN"));
    // A second header is no frame.
    slow.send_raw(PROTOCOL_HEADER);
    slow.expect_close(501, "unknown frame type");
    siege.lift(NOTHING_MIB);
}

/// Abuse row 2
#[test]
fn who_speaks_tls_or_http_is_named_in_the_log() {
    let mut siege = Siege::own(Options::default());
    let hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3][..], &[7; 500]].concat();
    let request = b"GET /api/overview HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (octets, words) in [(&hello[..], "Tls"), (request, "Http")] {
        let mut stranger = siege.stranger();
        stranger.send_raw(octets);
        expect_header_and_end(&mut stranger);
        siege.broker().wait_for_line(&["not AMQP 0-9-1 on this port", words]);
        siege.canary_sings();
    }
    siege.lift(NOTHING_MIB);
}

/// Abuse row 3
#[test]
fn amqp_1_0_is_answered_with_our_header() {
    let siege = siege();
    for octets in [b"AMQP\0\x01\0\0", b"AMQP\x03\x01\0\0", b"AMQP\x02\x01\0\0", b"AMQP\0\0\x09\x02"]
    {
        let mut stranger = siege.stranger();
        stranger.send_raw(octets);
        expect_header_and_end(&mut stranger);
    }
    siege.lift(NOTHING_MIB);
}

/// Abuse row 7
#[test]
fn frames_before_tune_are_small() {
    let siege = siege();
    let login = Login::default();
    let mut early = siege.stranger();
    early.send_raw(PROTOCOL_HEADER);
    early.expect_start();
    early.send_raw(&head(frame::METHOD, 0, 8193));
    early.expect_close(501, "8193");
    // 8000 octets of token fit.
    let mut early = siege.stranger();
    early.send_raw(PROTOCOL_HEADER);
    early.expect_start();
    early.send_start_ok(&login, "PLAIN", &[&b"\0guest\0guest"[..], &[b't'; 7_000]].concat());
    early.expect_close(403, "ACCESS_REFUSED");
    // Between login and tune-ok nothing is negotiated yet.
    let mut early = siege.stranger();
    early.send_raw(PROTOCOL_HEADER);
    early.expect_start();
    early.send_start_ok(&login, "PLAIN", &login.plain());
    early.expect_tune();
    early.send_raw(&head(frame::METHOD, 0, 8193));
    early.expect_close(501, "8193");
    siege.lift(NOTHING_MIB);
}

/// A client that has been asked to tune.
fn tuning(siege: &Siege) -> Client {
    let login = Login::default();
    let mut client = siege.stranger();
    client.send_raw(PROTOCOL_HEADER);
    client.expect_start();
    client.send_start_ok(&login, "PLAIN", &login.plain());
    client.expect_tune();
    client
}

/// Abuse row 10
#[test]
fn limits_beyond_ours_are_refused() {
    let siege = siege();
    let usual = TuneOk { channel_max: 2047, frame_max: 131_072, heartbeat: 60 };
    let wrong = [
        TuneOk { frame_max: 1, ..usual },
        TuneOk { frame_max: 4095, ..usual },
        TuneOk { frame_max: 131_073, ..usual },
        TuneOk { frame_max: u32::MAX, ..usual },
        TuneOk { channel_max: 2048, ..usual },
        TuneOk { channel_max: u16::MAX, ..usual },
    ];
    for tune_ok in wrong {
        let mut client = tuning(&siege);
        client.send(0, &tune_ok);
        client.expect_close(530, "NOT_ALLOWED - negotiated");
    }
    siege.lift(NOTHING_MIB);
}

/// Abuse row 10: 0 is our limit, never none.
#[test]
fn a_limit_of_0_is_ours() {
    let siege = siege();
    let mut free = Login { frame_max: Some(0), channel_max: Some(0), ..Login::default() };
    free.heartbeat = u16::MAX;
    let mut client = siege.attacker_as(&free);
    client.open_channel(2047);
    client.send_raw(&head(frame::METHOD, 1, 131_073));
    client.expect_close(501, "131073");
    let mut client = siege.attacker_as(&free);
    client.send(2048, &ringmq::protocol::amqp091::wire::method::channel::Open { out_of_band: "" });
    client.expect_close(530, "channel_max");
    siege.lift(NOTHING_MIB);
}

/// Abuse row 48: what is no proof is refused like a wrong password, after a while.
#[test]
fn a_login_that_is_not_said_right_is_refused_like_a_wrong_one() {
    let mut siege = siege();
    let login = Login::default();
    let responses: [(&str, &[u8]); 10] = [
        ("PLAIN", b""),
        ("PLAIN", b"guest"),
        ("PLAIN", b"\0guest"),
        ("PLAIN", b"\0\0guest"),
        ("PLAIN", b"\0guest\0"),
        ("PLAIN", b"\0guest\0guest\0"),
        ("PLAIN", b"root\0guest\0guest"),
        ("AMQPLAIN", b"\xFF\xFF\xFF"),
        ("EXTERNAL", b"guest"),
        ("", b"\0guest\0guest"),
    ];
    let mut clients = Vec::new();
    for (mechanism, response) in responses {
        let mut client = siege.stranger();
        client.send_raw(PROTOCOL_HEADER);
        client.expect_start();
        clients.push((Instant::now(), client));
        let (_, client) = clients.last_mut().expect("one was added");
        client.send_start_ok(&login, mechanism, response);
    }
    siege.canary_sings();
    for (start, mut client) in clients {
        client.expect_close(403, "ACCESS_REFUSED - Login was refused");
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(900), "refused after {took:?} already");
    }
    siege.lift(NOTHING_MIB);
}

/// Abuse row 48
#[test]
fn a_response_of_ten_megabytes_is_not_read() {
    let siege = siege();
    let mut client = siege.stranger();
    client.send_raw(PROTOCOL_HEADER);
    client.expect_start();
    client.send_raw(&head(frame::METHOD, 0, 10_000_000));
    client.expect_close(501, "10000000");
    // The length within the frame lies: there are not so many octets.
    let mut client = siege.stranger();
    client.send_raw(PROTOCOL_HEADER);
    client.expect_start();
    let payload = Payload::of(10, 11).long(0).text(b"PLAIN").long(10_000_000).raw(b"\0guest");
    client.send_payload(0, &payload);
    client.expect_close(502, "SYNTAX_ERROR");
    siege.lift(NOTHING_MIB);
}

/// Abuse row 48: clients that do not know that close are simply cut off (P12).
#[test]
fn who_does_not_understand_the_refusal_is_cut_off() {
    let siege = siege();
    let login = Login { password: "wrong", capabilities: &[], ..Login::default() };
    let mut client = siege.stranger();
    client.send_raw(PROTOCOL_HEADER);
    client.expect_start();
    let start = Instant::now();
    client.send_start_ok(&login, "PLAIN", &login.plain());
    client.expect_eof();
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(6), "{took:?}");
    siege.lift(NOTHING_MIB);
}

/// Before the login there are only the methods of the login, in their order.
#[test]
fn methods_before_the_login_are_refused() {
    let siege = siege();
    let open = Open { virtual_host: "/", capabilities: "", insist: false };
    let mut early = siege.stranger();
    early.send_raw(PROTOCOL_HEADER);
    early.expect_start();
    early.send(0, &open);
    early.expect_close(503, "COMMAND_INVALID");
    let mut early = tuning(&siege);
    early.send(0, &open);
    early.expect_close(503, "COMMAND_INVALID");
    let mut early = tuning(&siege);
    early.send(1, &ringmq::protocol::amqp091::wire::method::channel::Open { out_of_band: "" });
    early.expect_close(504, "CHANNEL_ERROR");
    let mut early = siege.stranger();
    early.send_raw(PROTOCOL_HEADER);
    early.expect_start();
    early.send(0, &TuneOk { channel_max: 0, frame_max: 0, heartbeat: 0 });
    early.expect_close(503, "COMMAND_INVALID");
    siege.lift(NOTHING_MIB);
}

/// A client that has sent a password, and waits for what comes.
fn knocking(addr: SocketAddr, login: &Login<'_>) -> Client {
    let mut client = Client::connect(addr);
    client.send_raw(PROTOCOL_HEADER);
    client.expect_start();
    client.send_start_ok(login, "PLAIN", &login.plain());
    client
}

/// Abuse row 49: this machine itself is never limited, so that one wrong client behind a proxy
/// does not lock out all others; but nobody waits for those who guess.
#[test]
fn a_storm_of_wrong_passwords_holds_nobody_up() {
    let mut siege = siege();
    let wrong = Login { password: "wrong", ..Login::default() };
    let storm: Vec<_> = (0..300).map(|_| knocking(siege.addr(), &wrong)).collect();
    siege.canary_sings();
    siege.attacker().close();
    for mut client in storm {
        client.expect_close(403, "ACCESS_REFUSED");
    }
    siege.lift(NOTHING_MIB);
}

/// Abuse row 49
#[test]
fn a_source_that_guesses_is_not_listened_to_for_a_while() {
    let Some(own) = own_address() else {
        println!("skipped: this machine has no address but loopback");
        return;
    };
    let users = definitions(&[("app", [".*", ".*", ".*"])]);
    let config = format!("load_definitions = {}", users.display());
    // The count is kept per shard.
    let options = Options { shards: 1, bind: "0.0.0.0", config: &config, ..Options::default() };
    let siege = Siege::own(options);
    let elsewhere = SocketAddr::new(own, siege.addr().port());
    let right = Login { user: "app", ..Login::default() };
    let wrong = Login { user: "app", password: "wrong", ..Login::default() };
    let mut honest = Client::connect(elsewhere);
    honest.log_in(&right);
    let guesses: Vec<_> = (0..30).map(|_| knocking(elsewhere, &wrong)).collect();
    siege.broker().wait_for_lines(&["too many failed logins"], 10);
    let mut late = knocking(elsewhere, &right);
    for mut guess in guesses {
        guess.expect_close(403, "ACCESS_REFUSED");
    }
    late.expect_close(403, "ACCESS_REFUSED");
    // Who is in stays in, and this machine's own clients were never meant.
    honest.open_channel(1);
    siege.attacker_as(&right).close();
    siege.lift(NOTHING_MIB);
}

/// Abuse row 50
#[test]
fn the_well_known_user_comes_from_this_machine_only() {
    let Some(own) = own_address() else {
        println!("skipped: this machine has no address but loopback");
        return;
    };
    let siege = Siege::own(Options { bind: "0.0.0.0", ..Options::default() });
    let elsewhere = SocketAddr::new(own, siege.addr().port());
    knocking(elsewhere, &Login::default()).expect_close(403, "ACCESS_REFUSED");
    siege
        .broker()
        .wait_for_line(&["login refused", "the default user may log in from this machine only"]);
    // Nothing that a client says of itself changes where it comes from.
    let mut client = Client::connect(elsewhere);
    client.send_raw(b"PROXY TCP4 127.0.0.1 127.0.0.1 4000 5672\r\n");
    client.send_raw(PROTOCOL_HEADER);
    expect_header_and_end(&mut client);
    let mut client = Client::connect(elsewhere);
    client.send_raw(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0C\x7F\0\0\x01\x7F\0\0\x01\x10\0\x16\x28");
    expect_header_and_end(&mut client);
    siege.attacker().close();
    siege.lift(NOTHING_MIB);
}

/// Abuse row 53
#[test]
fn a_vhost_that_is_none_is_refused() {
    let siege = siege();
    let longest = "v".repeat(255);
    let nowhere = unique("nowhere");
    for vhost in ["../..", "/etc/passwd", "//", "/.", "a\0b", "%2f", &nowhere, &longest] {
        let mut client = siege.stranger();
        client.begin(&Login::default());
        client.send(0, &Open { virtual_host: vhost, capabilities: "", insist: false });
        client.expect_close(530, "NOT_ALLOWED - ");
    }
    // Not even text, and a name of a megabyte.
    let mut client = siege.stranger();
    client.begin(&Login::default());
    client.send_payload(0, &Payload::of(10, 40).text(b"\xFF\xFE").text(b"").octet(0));
    client.expect_close(502, "SYNTAX_ERROR");
    let mut client = siege.stranger();
    client.begin(&Login::default());
    client.send_raw(&head(frame::METHOD, 0, 1_000_000));
    client.expect_close(501, "1000000");
    let mut client = siege.stranger();
    client.begin(&Login::default());
    client.send_payload(0, &Payload::of(10, 40).octet(255).raw(&[b'v'; 100]));
    client.expect_close(502, "SYNTAX_ERROR");
    siege.lift(NOTHING_MIB);
}
