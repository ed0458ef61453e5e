//! Little disk space: publishing is refused, who wanted to know is told, everything that gives
//! space back works, and publishing goes on when there is space again.

use std::path::Path;
use std::process::Command;

use ringmq::protocol::amqp091::wire::method::{Connection, Method};

use crate::support::broker::{Ending, Options};
use crate::support::setup::{Setup, Stage};
use crate::support::{Broker, Client, Login, properties};

use super::bounds_gauge::{client, fill_with, number_of, wait_until};
use super::durability::{declare_durable, persistent};

on_every_setup!(without_disk_space_publishing_is_refused_and_all_else_works);

/// Waits for the word; returns when it has come.
fn expect_blocked(client: &mut Client) {
    client.expect(0, "connection.blocked", |method| match method {
        Method::Connection(Connection::Blocked(blocked)) => {
            assert_eq!(blocked.reason, "low on disk");
            Some(())
        }
        _ => None,
    });
}

/// A client that cannot be told of alarms.
fn quiet(broker: &Broker) -> Client {
    let mut client = Client::connect(broker.addr());
    client.log_in(&Login { capabilities: &["publisher_confirms"], ..Login::default() });
    client.open_channel(1);
    client
}

/// Every way to publish, each on a channel of its own.
fn must_refuse_publishes(client: &mut Client) {
    let transient = properties(|p| p.delivery_mode = Some(1));
    for block in [&persistent(), &transient] {
        for (exchange, key) in [("", "kept"), ("", "passing"), ("amq.fanout", ""), ("", "nowhere")]
        {
            client.open_channel(5);
            client.publish_with(5, exchange, key, block, b"refused");
            client.expect_channel_close(5, 406, "low disk space");
        }
    }
    client.open_channel(5);
    client.tx_select(5);
    client.publish_with(5, "", "kept", &persistent(), b"refused");
    client.send(5, &ringmq::protocol::amqp091::wire::method::Tx::Commit);
    client.expect_channel_close(5, 406, "low disk space");
}

/// S18
fn without_disk_space_publishing_is_refused_and_all_else_works(stage: &Stage) {
    let broker = stage.setup.own("");
    let mut owner = client(broker.addr());
    for queue in ["kept", "purged", "deleted"] {
        declare_durable(&mut owner, queue, &[]);
        fill_with(&mut client(broker.addr()), queue, &persistent(), 20, 100);
    }
    let config = "free_disk_min = 1000T";
    let options = Options { config, ..stage.setup.next().options() };
    let broker = broker.again(Ending::Term, options);
    // Each shard measures for itself.
    wait_until("every shard has measured", || {
        let log = broker.log();
        let said = log.lines().filter(|line| line.contains("disk space is short"));
        said.count() == usize::from(options.shards)
    });
    let mut plain = quiet(&broker);
    plain.declare(1, "passing");
    must_refuse_publishes(&mut plain);
    // Everything else works: what is there is delivered, settled, given back, purged, deleted.
    plain.consume(1, "kept");
    let deliveries = plain.expect_deliveries(1, 20);
    for (number, delivery) in (0..).zip(&deliveries) {
        assert_eq!(number_of(&delivery.body), number);
        if number % 2 == 0 {
            plain.ack(1, delivery.delivery_tag, false);
        }
    }
    plain.close_channel(1);
    plain.open_channel(1);
    plain.wait_ready(1, "kept", 10);
    assert_eq!(plain.purge(1, "purged"), 20);
    assert_eq!(plain.delete(1, "deleted"), 20);
    declare_durable(&mut plain, "new", &[]);
    plain.bind(1, "new", "amq.fanout", "");
    must_refuse_publishes(&mut plain);
    plain.close();
    // A restart with space takes messages again, and what was done without space stays done.
    let broker = broker.again(Ending::Term, stage.setup.options());
    let mut owner = client(broker.addr());
    for number in (1..20).step_by(2) {
        let got = owner.get(1, "kept", true).expect("a message that was given back");
        assert_eq!((number_of(&got.body), got.redelivered), (number, true));
    }
    assert_eq!((owner.counts(1, "purged").0, owner.counts(1, "new").0), (0, 0));
    fill_with(&mut owner, "new", &persistent(), 10, 100);
    owner.close();
    broker.terminate();
}

/// Free space of the file system that a path is on, octets; `df` looks for it among the mounts of
/// its own namespace, `stat` asks the system.
fn free_bytes(path: &Path) -> u64 {
    let output = Command::new("stat").args(["-f", "-c", "%a %S"]).arg(path).output();
    let output = output.expect("stat runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<u64> = said.split_whitespace().map_while(|text| text.parse().ok()).collect();
    assert_eq!(numbers.len(), 2, "{said}");
    numbers.iter().product()
}

/// Whether this process may mount in a namespace of its own.
fn can_mount() -> bool {
    let mut command = Command::new("unshare");
    command.args(["--mount", "mount", "-t", "tmpfs", "none", "/mnt"]);
    command.output().is_ok_and(|output| output.status.success())
}

/// S18, S19: on a small disk of the broker's own, which this test fills and empties.
#[test]
fn publishing_goes_on_when_there_is_space_again() {
    if !can_mount() {
        println!("skipped: a small disk needs the right to mount (unshare --mount)");
        return;
    }
    for setup in [Setup::OneShard, Setup::TwoShards, Setup::Apart] {
        let config =
            "free_disk_min = 48M\nlog_file_size = 1M\nlog_size_max = 8M\nsegment_size = 1M";
        let broker = Broker::with(Options { config, disk: Some("256M"), ..setup.options() });
        let (mut owner, mut told, mut plain) =
            (client(broker.addr()), client(broker.addr()), quiet(&broker));
        declare_durable(&mut owner, "q", &[]);
        fill_with(&mut owner, "q", &persistent(), 20, 1000);
        let disk = broker.disk();
        let filler = disk.join("filler");
        for round in 0..2 {
            let much = free_bytes(&disk) - (24 << 20);
            let made = Command::new("fallocate")
                .args(["-l", &much.to_string()])
                .arg(&filler)
                .status()
                .expect("fallocate runs");
            assert!(made.success());
            expect_blocked(&mut told);
            expect_blocked(&mut owner);
            plain.open_channel(2);
            let mut closed = false;
            // Another shard measures in its own time.
            wait_until("publishing is refused", || {
                plain.publish_with(2, "", "q", &persistent(), b"perhaps");
                let received = plain.next_event(crate::support::client::GLANCE);
                closed = matches!(&received, crate::support::Event::Frame(frame) if frame.describe().contains("406"));
                closed
            });
            plain.send(2, &ringmq::protocol::amqp091::wire::method::Channel::CloseOk);
            assert!(owner.get(1, "q", true).is_some(), "round {round}");
            std::fs::remove_file(&filler).expect("the file that filled the disk");
            for client in [&mut told, &mut owner] {
                client.expect(0, "connection.unblocked", |method| {
                    matches!(method, Method::Connection(Connection::Unblocked)).then_some(())
                });
            }
            let mut publisher = quiet(&broker);
            wait_until("publishing goes on", || {
                publisher.open_channel(3);
                publisher.confirm_select(3);
                publisher.publish_with(3, "", "q", &persistent(), b"again");
                let received = publisher.next("a confirm or channel.close");
                if received.describe().contains("Ack") {
                    publisher.close_channel(3);
                    return true;
                }
                publisher.send(3, &ringmq::protocol::amqp091::wire::method::Channel::CloseOk);
                false
            });
            publisher.close();
        }
        plain.close();
        told.close();
        owner.close();
        broker.terminate();
    }
}
