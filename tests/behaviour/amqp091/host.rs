//! What the host does to a broker: descriptors run out, the process stands still, it is told to stop
//! or to read what is wrong, somebody's rights end.

use std::process::{Command, Stdio};
use std::time::Duration;

use ringmq::protocol::amqp091::wire::method::{Basic, Connection, Method};

use crate::http::{Asker, until};
use crate::support::broker::{Ending, Options};
use crate::support::client::PATIENCE;
use crate::support::handshake::PROTOCOL_HEADER;
use crate::support::{Broker, Client, Event, Login};

use super::bounds_gauge::{client, descriptors, fill_with, number_of, numbered};
use super::durability::{declare_durable, persistent};

const SMALL_FILES: &str = "queue_memory_max = 1M\nsegment_size = 1M\n\
                           log_file_size = 4M\nlog_size_max = 16M";

/// A heartbeat.
const HEARTBEAT: u8 = 8;

/// Abuse row 113: connections leave descriptors to files.
#[test]
fn files_roll_although_connections_have_taken_all_descriptors_that_they_may() {
    const COUNT: u64 = 3_000;
    let options = Options { config: SMALL_FILES, ..Options::default() };
    let broker = Broker::with(options);
    let mut owner = client(broker.addr());
    declare_durable(&mut owner, "rolling", &[]);
    let limit = format!("--nofile={}", (descriptors(&broker) + 40) * 4 / 3);
    let pid = broker.pid().to_string();
    let set = Command::new("prlimit").args(["--pid", &pid, &limit]).status().expect("prlimit");
    assert!(set.success());
    let mut crowd = Vec::new();
    loop {
        assert!(crowd.len() < 200, "nobody is refused");
        let mut peer = Client::connect(broker.addr());
        peer.send_raw(PROTOCOL_HEADER);
        if peer.next_event(PATIENCE) == Event::End {
            break;
        }
        let login = Login::default();
        peer.send_start_ok(&login, "PLAIN", &login.plain());
        crowd.push(peer);
    }
    broker.wait_for_line(&["no file descriptor left"]);
    // Thirty megabytes: the log goes through seven files, most of it into segments.
    fill_with(&mut owner, "rolling", &persistent(), COUNT, 10_000);
    let log = broker.log();
    assert!(!log.contains("the disk has failed") && !log.contains("os error 24"), "{log}");
    drop(crowd);
    let broker = broker.again(Ending::Kill, options);
    let mut owner = client(broker.addr());
    for number in 0..COUNT {
        let message = owner.get(1, "rolling", true).expect("what was confirmed is there");
        assert_eq!(number_of(&message.body), number);
    }
    owner.close();
    broker.terminate();
}

/// Abuse row 117: five seconds without the processor, with heartbeats of one second. Peers are granted
/// five more, so those that had been silent before are in question.
#[test]
fn clients_stay_whose_broker_has_stood_still() {
    let broker = Broker::start(2);
    let login = Login { heartbeat: 1, ..Login::default() };
    let mut clients: Vec<Client> = (0..20)
        .map(|_| {
            let mut client = Client::connect(broker.addr());
            client.log_in(&login);
            client.open_channel(1);
            client
        })
        .collect();
    broker.signal("STOP");
    for _ in 0..16 {
        std::thread::sleep(Duration::from_millis(500));
        for client in &mut clients {
            client.send_frame(HEARTBEAT, 0, &[]);
        }
    }
    broker.signal("CONT");
    for (number, client) in clients.iter_mut().enumerate() {
        client.send_frame(HEARTBEAT, 0, &[]);
        client.declare_exclusive(1, &format!("stays-{number}"));
    }
    let log = broker.log();
    assert!(!log.contains("missed heartbeats"), "{log}");
    // The silent ones are still found.
    broker.wait_for_lines(&["missed heartbeats"], 20);
    drop(clients);
    broker.terminate();
}

/// The last that is confirmed before the broker closes.
fn last_confirmed(mut client: Client) -> u64 {
    let mut confirmed = 0;
    loop {
        match client.next_event(PATIENCE) {
            Event::End => return confirmed,
            Event::Frame(received) => match received.method() {
                Some(Method::Basic(Basic::Ack(ack))) => confirmed = confirmed.max(ack.delivery_tag),
                Some(Method::Connection(Connection::Close(_))) => {
                    client.send(0, &Connection::CloseOk);
                }
                Some(other) => panic!("{other:?}"),
                None => {}
            },
            Event::Silence => panic!("it neither confirms nor closes"),
        }
    }
}

/// Abuse row 119; the second signal: `lifecycle::a_second_signal_stops_at_once`.
#[test]
fn what_was_confirmed_before_a_stop_is_there_after_it_and_the_rest_is_nobody_s_promise() {
    const COUNT: u64 = 20_000;
    let broker = Broker::start(2);
    let mut owner = client(broker.addr());
    declare_durable(&mut owner, "q", &[]);
    owner.confirm_select(1);
    for number in 0..COUNT {
        owner.publish_with(1, "", "q", &persistent(), &numbered(number, 100));
    }
    let reading = std::thread::spawn(move || last_confirmed(owner));
    let broker = broker.again(Ending::Term, Options::default());
    let confirmed = reading.join().expect("a broker that closes");
    let mut owner = client(broker.addr());
    let mut next = 0;
    while let Some(message) = owner.get(1, "q", true) {
        assert_eq!(number_of(&message.body), next, "in order, none twice");
        next += 1;
    }
    assert!(next >= confirmed && next <= COUNT, "{next} of {confirmed} that were confirmed");
    owner.close();
    broker.terminate();
}

/// Abuse row 120
#[test]
fn a_reload_of_what_is_wrong_changes_nothing() {
    let broker = Broker::start(1);
    let config = broker.data_directory().with_file_name("ringmq.ini");
    let mut old = client(broker.addr());
    for wrong in ["[main]\nlog_level = loud\n", "[nonsense]\na = b\n", "[main\n", "\u{0}"] {
        let before = broker.log().matches("nothing changed").count();
        std::fs::write(&config, wrong).expect("a settings file");
        broker.signal("HUP");
        broker.wait_for_lines(&["cannot be read again; nothing changed"], before + 1);
        old.declare_exclusive(1, "mine");
        client(broker.addr()).close();
    }
    std::fs::write(&config, "[main]\nlog_level = debug\n").expect("a settings file");
    broker.signal("HUP");
    broker.wait_for_line(&["the settings were read again"]);
    old.close();
    broker.terminate();
}

/// What a start says that does not come to be; one line.
fn refused(data: &std::path::Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmq"));
    command.arg("--data-dir").arg(data).args(["--amqp-port", "0", "--mqtt-port", "0"]);
    command.args(["--http-port", "0", "--metrics-http-port", "0", "--shards", "1"]);
    let output = command.stdin(Stdio::null()).output().expect("it starts");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

/// Abuse row 120
#[test]
fn a_data_directory_in_use_or_of_a_later_version_is_refused_in_one_line() {
    let mut broker = Broker::start(1);
    let data = broker.data_directory();
    let said = refused(&data);
    let pid = format!("(pid {})", broker.pid());
    assert!(said.contains("is in use by another process") && said.contains(&pid), "{said}");
    client(broker.addr()).close();
    broker.signal("TERM");
    assert!(broker.wait().success());
    let boot = data.join("BOOT");
    let mut later = std::fs::read(&boot).expect("BOOT");
    // The format, and the checksum of all before it.
    later[8] = 9;
    let sum = crc32c::crc32c(&later[..60]);
    later[60..].copy_from_slice(&sum.to_le_bytes());
    std::fs::write(&boot, &later).expect("a file under target/");
    let said = refused(&data);
    assert!(said.contains("has format 9"), "{said}");
    assert_eq!(std::fs::read(&boot).expect("BOOT"), later, "it is left alone");
}

/// Abuse row 43: what it may no longer read it gets no more of.
#[test]
fn a_consumer_whose_right_to_read_ends_is_cancelled() {
    let broker = Broker::start(2);
    let admin = Asker::guest(broker.http_addr());
    admin.make_user("reader", "");
    let mut owner = client(broker.addr());
    owner.declare(1, "q");
    let mut reader = Client::connect(broker.addr());
    reader.log_in(&Login { user: "reader", password: "reader", ..Login::default() });
    reader.open_channel(1);
    reader.consume(1, "q");
    owner.publish(1, "", "q", b"before");
    assert_eq!(reader.expect_delivery(1).body, b"before");
    let none = r#"{"configure":".*","write":".*","read":"^other$"}"#;
    assert_eq!(admin.put("/api/permissions/%2F/reader", none), 204);
    reader.skip_until(1, "basic.cancel", |method| {
        matches!(method, Method::Basic(Basic::Cancel(_))).then_some(())
    });
    owner.publish(1, "", "q", b"after");
    reader.expect_silence();
    owner.wait_ready(1, "q", 1);
    // Nor with a new login, a new consumer, or a fetch.
    reader.send(1, &crate::support::methods::consume("q", "again"));
    reader.expect_channel_close(1, 403, "ACCESS_REFUSED");
    until("the user has no consumer", || {
        let consumers = admin.get("/api/connections");
        (!consumers.is_null()).then_some(())
    });
    owner.close();
    broker.terminate();
}
