//! Settings of section `[mqtt]` that bound how long something lasts, or change what happens:
//! mqtt.md V-022, V-023, V-037, V-040, V-041. Others are tested with what they bound.

use std::time::{Duration, Instant};

use crate::support::siege::unique;

use super::client::{Client, Heard};
use super::ground::Ground;
use super::octets::{
    BOTH, Hello, Letter, V3, V4, V5, Will, numbered, packet, session_expiry, subscribe, text,
    will_delay,
};

/// V-023, V-037: a second each, at the same time.
#[test]
fn sessions_of_version_3_and_delays_of_wills_are_bounded() {
    let ground = Ground::own(
        2,
        "persistent_client_expiration = 1s\nmax_last_will_delay = 1s\nmax_client_id_size = 50\n",
    );
    let mut witness = ground.client(V5);
    witness.subscribe("will", 1);
    let session = Hello::lasting(V4, "session");
    Client::connect(ground.addr, &session).leave();
    let (client, is_present) = Client::resume(ground.addr, &session);
    assert!(is_present, "not yet");
    client.leave();
    let start = Instant::now();
    let will = Will { properties: will_delay(1000), ..Will::sure("will", "will") };
    let hello = Hello::new(V5, "will").with(&session_expiry(1000)).leaving(will);
    Client::connect(ground.addr, &hello).vanish();
    witness.expect_text("will");
    assert!(start.elapsed() > Duration::from_millis(990), "not at once");
    std::thread::sleep(Duration::from_millis(400));
    assert!(!Client::resume(ground.addr, &session).1, "its second is over");
    // V-022
    for (version, code) in [(V4, 2), (V5, 0x85)] {
        assert_eq!(ground.answer_to(&Hello::new(version, &"i".repeat(50))).code, 0);
        assert_eq!(ground.answer_to(&Hello::new(version, &"i".repeat(51))).code, code);
    }
    ground.lift();
}

/// V-040
#[test]
fn topics_and_filters_are_as_deep_as_a_setting_says() {
    let ground = Ground::own(1, "topic_max_depth = 3\n");
    for version in BOTH {
        let mut client = ground.client(version);
        let codes = client.ask(&[("a/b/c", 0), ("a/#", 0)], &[]);
        assert_eq!(codes, [0, 0]);
        client.tell("a/b/c", "deep");
        client.expect_text("deep");
        client.publish(&Letter { topic: "a/b/c/d", qos: 1, id: 1, ..Letter::default() });
        client.expect_closed(0x81);
        for filter in ["a/b/c/d", "+/+/+/#"] {
            let mut client = ground.client(version);
            client.send(&subscribe(version, 1, &[("a", 0), (filter, 0)], &[]));
            client.expect_closed(0x81);
        }
    }
    ground.lift();
}

/// V-041: 3.1 is told that it worked, unless a setting says otherwise; 3.1.1 is closed.
#[test]
fn a_publish_that_is_not_allowed_ends_connections_of_version_3_where_a_setting_says_so() {
    for setting in ["off", "on"] {
        let config = format!("disconnect_on_unauthorized_publish_v3 = {setting}\n");
        let ground = Ground::own(1, &config);
        for version in [V3, V4, V5] {
            let mut client = ground.client(version);
            let letter = Letter { topic: "$SYS/x", qos: 1, id: 1, ..Letter::default() };
            client.publish(&letter);
            match version {
                V5 => assert_eq!(client.expect_answer(0x40, 1), 0x87),
                V3 if setting == "off" => assert_eq!(client.expect_answer(0x40, 1), 0),
                _ => client.expect_end(),
            }
        }
        ground.lift();
    }
}

/// V-029: a backlog above the limit keeps nothing else away where a setting says so.
#[test]
fn what_has_waited_for_a_client_is_beside_what_waits_now_where_a_setting_says_so() {
    for (setting, count) in [("off", 5), ("on", 7)] {
        let config = format!(
            "max_online_messages = 2\nmax_offline_messages = 5\nmax_inflight_messages = 1\n\
             override_max_online_messages = {setting}\n"
        );
        let ground = Ground::own(1, &config);
        let hello = Hello::lasting(V4, "reader");
        let mut reader = Client::connect(ground.addr, &hello);
        reader.subscribe("t", 1);
        reader.leave();
        let mut writer = ground.client(V5);
        (0..5).for_each(|n| writer.tell_surely("t", &n.to_string()));
        let (mut reader, is_present) = Client::resume(ground.addr, &hello);
        assert!(is_present);
        let first = reader.expect_message();
        (5..10).for_each(|n| writer.tell_surely("t", &n.to_string()));
        reader.send(&numbered(0x40, first.id));
        let rest: Vec<String> = (1..count).map(|n: u32| n.to_string()).collect();
        let got: Vec<String> = rest.iter().map(|_| reader.expect_text_of_any()).collect();
        // What came while the first was out: one more has place than waits.
        assert_eq!(got, rest, "{setting}");
        ground.lift();
    }
}

/// V-032, V-034
#[test]
fn a_client_id_may_have_several_connections_that_share_or_have_copies() {
    for (mode, copies) in [("fanout", 2), ("balance", 1)] {
        let config = format!("allow_multiple_sessions = on\nqueue_deliver_mode = {mode}\n");
        let ground = Ground::own(2, &config);
        let hello = Hello::new(V4, "twin");
        let mut twins = [(); 2].map(|()| Client::connect(ground.addr, &hello));
        for (n, twin) in twins.iter_mut().enumerate() {
            twin.subscribe("t", 1);
            twin.subscribe(&format!("end-{n}"), 1);
        }
        let mut writer = ground.client(V4);
        (0..40).for_each(|n| writer.tell_surely("t", &n.to_string()));
        // What was sent before is there before what ends it.
        let mut count = 0;
        for (n, twin) in twins.iter_mut().enumerate() {
            let end = format!("end-{n}");
            writer.tell_surely(&end, &end);
            while twin.expect_text_of_any() != end {
                count += 1;
            }
        }
        assert_eq!(count, 40 * copies, "{mode}");
        ground.lift();
    }
}

/// V-020, V-040, V-091
#[test]
fn a_listener_may_let_in_who_has_no_name_and_for_how_long() {
    let ground = Ground::own(
        2,
        "listener.tcp.open = 127.0.0.1:0\nlistener.tcp.open.allow_anonymous_override = on\n\
         listener.tcp.max_connection_lifetime = 1\n",
    );
    let nameless = packet(0x10, &[&text("MQTT")[..], &[4, 2, 0, 0], &text("nameless")].concat());
    let mut client = ground.stranger(V4);
    client.send(&nameless);
    assert_eq!(client.expect_connack().code, 5);
    client.expect_end();
    let mut client = Client::stranger(ground.named_addr(), V4);
    client.send(&nameless);
    assert_eq!(client.expect_connack().code, 0);
    client.subscribe("t", 0);
    client.tell("t", "welcome");
    client.expect_text("welcome");
    // Its second is over.
    client.expect_end();
    ground.lift();
}

/// H-29
#[test]
fn clients_that_ask_for_it_are_told_where_answers_go() {
    let ground = Ground::own(1, "response_information = answers/%c/\n");
    for (asks, told) in [(1, Some(&b"answers/asker/"[..])), (0, None)] {
        let hello = Hello::new(V5, "asker").with(&[0x19, asks]);
        let (client, connack) = Client::try_connect(ground.addr, &hello);
        assert_eq!((connack.code, connack.property(0x1A)), (0, told));
        client.leave();
    }
    ground.lift();
}

/// Connections may be bounded in time, whatever they do.
#[test]
fn a_connection_lasts_as_long_as_a_setting_says() {
    let ground = Ground::own(2, "max_connection_lifetime = 2\n");
    let start = Instant::now();
    let mut clients = [V3, V4, V5]
        .map(|version| Client::connect(ground.addr, &Hello::lasting(version, &unique("lives"))));
    for client in &mut clients {
        client.ping();
    }
    for client in &mut clients {
        match client.next() {
            Heard::Packet(said) => {
                assert_eq!((said.first, client.version()), (0xE0, V5));
                client.expect_end();
            }
            heard => assert_eq!(heard, Heard::End),
        }
    }
    assert!(start.elapsed() > Duration::from_millis(1500), "two seconds, or nearly");
    // Whoever watched has lived too long as well: only that the broker goes on counts.
    ground.broker().signal("TERM");
}

/// S45, V-020: where anybody is let in, an empty user name and one that nobody has are as good as none;
/// a user's password is looked at all the same. Mosquitto does so too.
#[test]
fn a_name_that_nobody_has_is_none_where_anybody_is_let_in() {
    let as_user = |version, user: &str, password: &str| {
        let (user, password) = (user.into(), password.into());
        Hello { user, password, ..Hello::new(version, &unique("name")) }
    };
    for (setting, refusals) in [("on", [0, 0]), ("off", [4, 0x86])] {
        let ground = Ground::own(1, &format!("allow_anonymous = {setting}\n"));
        for (version, wrong, refused) in [(V4, 4, refusals[0]), (V5, 0x86, refusals[1])] {
            let answer = |user, password| ground.answer_to(&as_user(version, user, password)).code;
            assert_eq!(answer("guest", "guest"), 0);
            assert_eq!(answer("guest", "other"), wrong);
            assert_eq!(answer("nobody", "password"), refused);
            assert_eq!(answer("", "password") == 0, setting == "on");
            // A virtual host has to be earned.
            assert_eq!(answer("/:nobody", "password"), wrong);
            assert_eq!(answer("/:", ""), wrong);
        }
        ground.lift();
    }
}

/// V-020: with a password file names count, though a client need not have one.
#[test]
fn with_a_password_file_a_name_that_nobody_has_is_refused() {
    let file = std::env::temp_dir().join(format!("ringmq-{}", unique("passwd")));
    std::fs::write(&file, "").expect("an empty password file");
    let config = format!("allow_anonymous = on\nvmq_passwd.password_file = {}\n", file.display());
    let ground = Ground::own(1, &config);
    for (version, wrong) in [(V4, 4), (V5, 0x86)] {
        let as_user = |user: &str| Hello { user: user.into(), ..Hello::new(version, "name") };
        assert_eq!(ground.answer_to(&as_user("nobody")).code, wrong);
        assert_eq!(ground.answer_to(&as_user("")).code, 0);
    }
    ground.lift();
    drop(std::fs::remove_file(file));
}

/// V-024: what may not be published may not be left behind either.
#[test]
fn a_will_is_not_larger_than_what_may_be_published() {
    let ground = Ground::own(1, "max_message_size = 10\n");
    for version in [V4, V5] {
        let code = |will: &str| {
            let hello = Hello::new(version, &unique("will")).leaving(Will::of("will", will));
            ground.answer_to(&hello).code
        };
        assert_eq!(code("0123456789"), 0);
        assert_eq!(code("0123456789a"), if version == V5 { 0x95 } else { 5 });
    }
    ground.lift();
}
