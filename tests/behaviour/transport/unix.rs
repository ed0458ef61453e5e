//! Sockets in the file system.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::broker::{Ending, Options};
use crate::support::handshake::PROTOCOL_HEADER;
use crate::support::{Broker, Client, Login};

use super::bridge::to_unix;

/// A name for a socket; short, since its length is limited.
fn path(name: &str) -> PathBuf {
    let path =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    drop(fs::remove_file(&path));
    path
}

fn config(path: &Path) -> String {
    format!("[amqp]\nunix_path = {}\n", path.display())
}

fn publish_and_get(path: &Path) {
    let mut client = Client::connect(to_unix(path));
    client.log_in(&Login::default());
    client.open_channel(1);
    client.declare_exclusive(1, "here");
    client.publish(1, "", "here", &[b'x'; 1_000_000]);
    assert_eq!(client.get_when_there(1, "here").body.len(), 1_000_000);
    client.close();
}

/// guest may log in: it is this machine.
#[test]
fn a_client_works_through_a_unix_socket() {
    for shards in [1, 2] {
        let path = path("works");
        let config = config(&path);
        let broker = Broker::with(Options { shards, config: &config, ..Options::new() });
        let file = fs::metadata(&path).expect("a socket");
        assert!(file.file_type().is_socket());
        assert_eq!(file.permissions().mode() & 0o777, 0o660);
        let line = format!("listening amqp unix:{}", path.display());
        assert!(broker.log().lines().any(|found| found == line), "{}", broker.log());
        for _ in 0..5 {
            publish_and_get(&path);
        }
        let mut wrong = Client::connect(to_unix(&path));
        wrong.send_raw(PROTOCOL_HEADER);
        wrong.expect_start();
        wrong.send_start_ok(&Login::default(), "PLAIN", b"\0guest\0wrong");
        wrong.expect_close(403, "ACCESS_REFUSED");
        let peer = format!("peer=unix:{}", path.display());
        assert!(broker.log().contains(&peer), "the log names it: {}", broker.log());
        broker.terminate();
        assert!(!path.exists(), "it goes with the broker");
    }
}

#[test]
fn what_a_killed_broker_has_left_is_replaced() {
    let path = path("stale");
    let config = config(&path);
    let options = Options { config: &config, ..Options::new() };
    let broker = Broker::with(options);
    let left = broker.end(Ending::Kill);
    assert!(path.exists(), "nobody could remove it");
    let broker = left.start(options);
    publish_and_get(&path);
    broker.terminate();
}

/// Two brokers never share a socket, and no other file is touched.
#[test]
fn a_path_that_is_taken_is_told_in_one_line() {
    let path = path("taken");
    let data =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("taken-data-{}", std::process::id()));
    let start = || {
        let output = Command::new(env!("CARGO_BIN_EXE_ringmq"))
            .args([
                "--amqp-port",
                "0",
                "--mqtt-port",
                "0",
                "--http-port",
                "0",
                "--metrics-http-port",
                "0",
                "--no-pin",
                "--shards",
                "1",
                "--data-dir",
            ])
            .arg(&data)
            .env("RINGMQ_AMQP_UNIX_PATH", &path)
            .output()
            .expect("the broker's binary");
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let listener = UnixListener::bind(&path).expect("a socket");
    let said = start();
    assert!(said.contains("cannot listen for amqp on unix:"), "{said}");
    assert!(said.contains("another server listens there"), "{said}");
    assert!(path.exists());
    drop(listener);
    fs::remove_file(&path).expect("the stale socket");
    fs::write(&path, "precious").expect("a file");
    let said = start();
    assert!(said.contains("there is a file that is no socket"), "{said}");
    assert_eq!(fs::read(&path).expect("the file"), b"precious");
    drop((fs::remove_file(&path), fs::remove_dir_all(&data)));
}
