//! What can be said about durability and where: x-durability, the settings, the data directory.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use ringmq::protocol::amqp091::wire::method::queue;
use ringmq::value::Value;

use crate::support::broker::{Ending, Options};
use crate::support::methods::{arguments, declare};
use crate::support::setup::Stage;
use crate::support::{Broker, Client, Login};

use super::bounds_gauge::{client, fill_with, number_of};
use super::durability::{declare_durable, persistent};

on_every_setup!(
    a_queue_says_how_durable_it_is,
    a_durability_that_does_not_exist_is_refused,
    another_durability_than_the_queue_has_is_a_mismatch,
    queues_of_a_virtual_host_have_its_durability,
);

fn send_declare(client: &mut Client, durable: bool, name: &str, durability: &Value) {
    let table = arguments(&[("x-durability", durability.clone())]);
    client.send(1, &queue::Declare { durable, arguments: table.view(), ..declare(name) });
}

/// All of them take, confirm and give back messages.
fn a_queue_says_how_durable_it_is(stage: &Stage) {
    let broker = stage.setup.own("durability = os");
    for word in ["sync", "os", "interval:1", "interval:200", "interval:3600000"] {
        let mut owner = client(broker.addr());
        declare_durable(&mut owner, word, &[("x-durability", Value::text(word))]);
        fill_with(&mut owner, word, &persistent(), 100, 100);
        owner.close();
    }
    let broker = broker.again(Ending::Kill, stage.setup.next().options());
    let mut owner = client(broker.addr());
    for word in ["sync", "os", "interval:1", "interval:200", "interval:3600000"] {
        // It is what it was, whatever the settings say now.
        declare_durable(&mut owner, word, &[("x-durability", Value::text(word))]);
        for number in 0..100 {
            assert_eq!(number_of(&owner.get(1, word, true).expect("confirmed").body), number);
        }
    }
    owner.close();
    broker.terminate();
}

fn a_durability_that_does_not_exist_is_refused(stage: &Stage) {
    let mut owner = stage.with_channel();
    let wrong =
        ["", "never", "Sync", "interval", "interval:0", "interval:-1", "os ", "interval:1s"];
    for value in wrong.map(Value::text).into_iter().chain([Value::I32(1), Value::Bool(true)]) {
        let name = stage.name("refused");
        send_declare(&mut owner, true, &name, &value);
        owner.expect_channel_close(1, 406, "x-durability");
        owner.open_channel(1);
        owner.send(1, &queue::Declare { passive: true, ..declare(&name) });
        owner.expect_channel_close(1, 404, &name);
        owner.open_channel(1);
    }
    owner.close();
}

fn another_durability_than_the_queue_has_is_a_mismatch(stage: &Stage) {
    let mut owner = stage.with_channel();
    let name = stage.name("os");
    send_declare(&mut owner, true, &name, &Value::text("os"));
    owner.expect_declared(1);
    send_declare(&mut owner, true, &name, &Value::text("os"));
    owner.expect_declared(1);
    for other in ["sync", "interval:5"] {
        send_declare(&mut owner, true, &name, &Value::text(other));
        let text = owner.expect_channel_close(1, 406, "x-durability");
        assert!(text.contains(other) && text.contains("'os'"), "{text}");
        owner.open_channel(1);
    }
    owner.delete(1, &name);
    owner.close();
}

/// The settings are seen where a declaration names another: it is the queue's if it says nothing.
fn queues_of_a_virtual_host_have_its_durability(stage: &Stage) {
    let config = "durability = interval:100\ndurability_vhosts = /=os";
    let broker = stage.setup.own(config);
    let mut owner = client(broker.addr());
    declare_durable(&mut owner, "plain", &[]);
    fill_with(&mut owner, "plain", &persistent(), 200, 100);
    let options = Options { config, ..stage.setup.next().options() };
    let broker = broker.again(Ending::Kill, options);
    let mut owner = client(broker.addr());
    declare_durable(&mut owner, "plain", &[]);
    for number in 0..200 {
        assert_eq!(number_of(&owner.get(1, "plain", true).expect("confirmed").body), number);
    }
    owner.close();
    broker.terminate();
}

#[test]
fn bad_durabilities_in_the_settings_stop_the_start() {
    for text in ["durability = never", "durability = interval:0", "durability_vhosts = test"] {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("durability-{}.ini", std::process::id()));
        std::fs::write(&file, format!("[main]\n{text}\n")).expect("a file under target/");
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringmq"));
        let output = command.arg("--config").arg(&file).output().expect("the broker's binary");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{text}: {said}");
        assert!(said.contains("durability"), "{said}");
        drop(std::fs::remove_file(file));
    }
}

/// The first goes on as if nothing had been.
#[test]
fn a_second_broker_on_the_same_data_is_refused_in_one_line() {
    let broker = Broker::start(2);
    let mut owner = client(broker.addr());
    declare_durable(&mut owner, "q", &[]);
    fill_with(&mut owner, "q", &persistent(), 10, 100);
    let output = Command::new(env!("CARGO_BIN_EXE_ringmq"))
        .args(["--http-port", "0", "--metrics-http-port", "0"])
        .args(["--amqp-port", "0", "--mqtt-port", "0", "--no-pin", "--shards", "1", "--data-dir"])
        .arg(broker.data_directory())
        .output()
        .expect("the broker's binary");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("is in use by another process"), "{said}");
    assert!(said.contains(&broker.pid().to_string()), "who has it is {}: {said}", broker.pid());
    fill_with(&mut client(broker.addr()), "q", &persistent(), 10, 100);
    assert_eq!(owner.counts(1, "q").0, 20);
    // It is free when the first has gone, however.
    broker.again(Ending::Kill, Options::default()).terminate();
}

fn must_be_private(path: &Path) -> usize {
    let metadata = std::fs::symlink_metadata(path).expect("it is there");
    let mode = metadata.permissions().mode() & 0o7777;
    let wanted = if metadata.is_dir() { 0o700 } else { 0o600 };
    assert_eq!(mode & 0o777, wanted, "{} has {mode:o}", path.display());
    if !metadata.is_dir() {
        return 1;
    }
    let entries = std::fs::read_dir(path).expect("a folder");
    entries.map(|entry| must_be_private(&entry.expect("an entry").path())).sum()
}

/// CVE-2017-9868: a store that everybody may read.
#[test]
fn nobody_else_may_read_the_data() {
    let config = "queue_memory_max = 64k\nlog_file_size = 1M\nlog_size_max = 2M";
    let broker = Broker::with(Options { config, ..Options::default() });
    let mut owner = client(broker.addr());
    declare_durable(&mut owner, "q", &[]);
    fill_with(&mut owner, "q", &persistent(), 500, 10_000);
    let files = must_be_private(&broker.data_directory());
    assert!(files > 5, "{files} files");
    owner.close();
    let remains = broker.end(Ending::Term);
    must_be_private(&remains.data_directory());
}

/// Nothing of it needs a client that understands confirms.
#[test]
fn a_client_without_capabilities_stores_as_well() {
    let broker = Broker::start(2);
    let mut plain = Client::connect(broker.addr());
    plain.log_in(&Login { capabilities: &[], ..Login::default() });
    plain.open_channel(1);
    declare_durable(&mut plain, "q", &[]);
    plain.tx_select(1);
    plain.publish_with(1, "", "q", &persistent(), b"stored");
    plain.tx_commit(1);
    let broker = broker.again(Ending::Kill, Options::default());
    assert_eq!(client(broker.addr()).get(1, "q", true).expect("a message").body, b"stored");
    broker.terminate();
}
