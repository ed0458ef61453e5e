//! What operators read of connections in the log, and how they choose what they read (S48, S49, S67).

use std::fs;

use crate::support::broker::Options;
use crate::support::handshake::PROTOCOL_HEADER;
use crate::support::{Broker, Client, Login};
use ringmq::protocol::amqp091::wire::method::{connection, queue};
use ringmq::protocol::amqp091::wire::table_buffer::TableBuffer;
use ringmq::value::Table;

const LOGIN: fn() -> Login<'static> = || Login { name: "orders", ..Login::default() };
/// What every line of a connection that has logged in must have.
const ALL: [&str; 4] = ["peer=127.0.0.1:", "name=\"orders\"", "user=\"guest\"", "vhost=\"/\""];

fn expect_line(broker: &Broker, words: &[&str]) {
    broker.wait_for_line(&[words, &ALL].concat());
}

/// S48, S49, S67
#[test]
fn every_line_names_client_user_and_virtual_host_and_a_silent_probe_leaves_none() {
    let broker = Broker::start(2);
    let before = broker.log().lines().count();
    drop(Client::connect(broker.addr()));
    let mut client = Client::connect(broker.addr());
    client.log_in(&LOGIN());
    expect_line(&broker, &["connection opened"]);
    client.close();
    expect_line(&broker, &["connection closed by the client", "code=200", "text=\"bye\""]);
    let mut client = Client::connect(broker.addr());
    client.log_in(&LOGIN());
    drop(client);
    expect_line(&broker, &["connection lost"]);
    let mut client = Client::connect(broker.addr());
    client.log_in(&LOGIN());
    client.open_channel(1);
    let none = TableBuffer::from_table(&Table::default()).expect("an empty table");
    client.send(
        1,
        &queue::Declare {
            ticket: 0,
            queue: "nobody-has-this",
            passive: true,
            durable: false,
            exclusive: false,
            auto_delete: false,
            no_wait: false,
            arguments: none.view(),
        },
    );
    expect_line(&broker, &["channel closed by the broker", "channel=1", "code=404"]);
    client.send_raw(&[9; 64]);
    expect_line(&broker, &["connection closed by the broker", "code=501"]);
    let log = broker.log();
    let other = log.lines().skip(before).filter(|line| !line.contains("name=\"orders\"")).count();
    assert_eq!(other, 0, "{log}");
    broker.terminate();
}

/// S49
#[test]
fn who_leaves_before_the_end_of_the_handshake_is_named_as_far_as_known() {
    let broker = Broker::start(1);
    let mut client = Client::connect(broker.addr());
    client.send_raw(&PROTOCOL_HEADER[..4]);
    drop(client);
    broker.wait_for_line(&["connection lost before it was opened", "name=\"\" user=\"\""]);
    let mut client = Client::connect(broker.addr());
    client.begin(&LOGIN());
    drop(client);
    broker.wait_for_line(&["before it was opened", "name=\"orders\" user=\"guest\""]);
    broker.terminate();
}

/// S49: one line each, and no secret ever.
#[test]
fn a_refusal_is_one_line_and_never_has_the_password() {
    let broker = Broker::start(1);
    let mut client = Client::connect(broker.addr());
    client.send_raw(PROTOCOL_HEADER);
    client.expect_start();
    let login = Login { password: "open-sesame", ..LOGIN() };
    client.send_start_ok(&login, "PLAIN", &login.plain());
    client.expect_close(403, "ACCESS_REFUSED");
    let line = broker.wait_for_line(&["login refused", "user=\"guest\"", "wrong password"]);
    assert!(line.contains("name=\"orders\""), "{line}");
    let mut client = Client::connect(broker.addr());
    client.begin(&LOGIN());
    let open = connection::Open { virtual_host: "none", capabilities: "", insist: false };
    client.send(0, &open);
    client.expect_close(530, "NOT_ALLOWED");
    let line = broker.wait_for_line(&["connection closed by the broker", "code=530"]);
    assert!(line.contains("name=\"orders\" user=\"guest\" vhost=\"none\""), "{line}");
    let log = broker.log();
    assert_eq!(log.lines().filter(|line| line.contains("orders")).count(), 2, "{log}");
    assert!(!log.contains("sesame"), "{log}");
    broker.terminate();
}

#[test]
fn topics_of_the_log_have_levels_that_change_while_the_broker_runs() {
    let broker = Broker::with(Options {
        shards: 1,
        config: "log_level = info\nlog_levels = amqp=error\n",
        ..Options::new()
    });
    let connect = |name| {
        let mut client = Client::connect(broker.addr());
        client.log_in(&Login { name, ..Login::default() });
        client.close();
    };
    connect("unseen");
    let file = broker.data_directory().with_file_name("ringmq.ini");
    let config = fs::read_to_string(&file).expect("the configuration");
    fs::write(&file, config.replace("amqp=error", "amqp=loud")).expect("our file");
    broker.signal("HUP");
    broker.wait_for_line(&["nothing changed", "'loud' is none of"]);
    connect("unseen");
    fs::write(&file, config.replace("amqp=error", "amqp=info")).expect("our file");
    broker.signal("HUP");
    broker.wait_for_line(&["settings were read again", "needs_restart=false"]);
    connect("seen");
    broker.wait_for_line(&["connection opened", "name=\"seen\""]);
    assert!(!broker.log().contains("unseen"));
    fs::write(&file, config.replace("log_level = info", "max_queues = 5")).expect("our file");
    broker.signal("HUP");
    broker.wait_for_line(&["settings were read again", "needs_restart=true"]);
    broker.terminate();
}
