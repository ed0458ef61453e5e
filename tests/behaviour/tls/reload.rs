//! Files of certificates: what is wrong with them at the start, and when they are read again.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;

use crate::support::{Client, Login};

use super::ground::{Authority, connect, port_of, through};

fn shown(addr: SocketAddr, config: &Arc<ClientConfig>) -> CertificateDer<'static> {
    connect(addr, config).conn.peer_certificates().unwrap()[0].clone()
}

/// L106, L107, V-105; abuse row 106
#[test]
fn certificates_are_read_again_on_sighup_and_connections_stay() {
    let authority = Authority::new();
    let broker = authority.broker(2, "", "");
    let config = || authority.trusted("1.3", None);
    let port = port_of(&broker, "amqps");
    let first = shown(port, &config());
    let mut client = Client::connect(through(port, &config()));
    client.log_in(&Login::default());
    client.open_channel(1);

    let key = std::fs::read_to_string(authority.path("server.key")).unwrap();
    authority.write("server.key", "damaged");
    broker.signal("HUP");
    broker.wait_for_line(&["ERROR", "server.key", "there is no private key", "stay in use"]);
    assert_eq!(shown(port, &config()), first);
    // The key of a certificate that is no longer there.
    authority.host("server", &["localhost"]);
    authority.write("server.key", &key);
    broker.signal("HUP");
    broker.wait_for_line(&["ERROR", "is of no use for"]);
    assert_eq!(shown(port, &config()), first);

    authority.host("server", &["localhost"]);
    broker.signal("HUP");
    broker.wait_for_line(&["certificates are read again"]);
    // Whichever shard accepts has read it by the time it has read later mail; a few are enough.
    let second = shown(port, &config());
    assert!((0..10).all(|_| shown(port, &config()) != first) || second != first);
    client.declare(1, "q");
    client.publish(1, "", "q", b"still here");
    assert_eq!(client.get_when_there(1, "q").body, b"still here");
    client.close();
    broker.terminate();
}

/// What the broker says that does not start.
fn said(directory: &Path, config: &str) -> String {
    let file = directory.join("start.ini");
    std::fs::write(&file, config).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_ringmq"))
        .args(["--data-dir".as_ref(), directory.join("data").as_os_str()])
        .args(["--amqp-port", "0", "--mqtt-port", "off", "--no-pin", "--shards", "1"])
        .args(["--config".as_ref(), file.as_os_str()])
        .output()
        .expect("the broker runs");
    assert!(!output.status.success(), "it starts");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn files_that_are_missing_or_wrong_stop_the_start() {
    let authority = Authority::new();
    let server = authority.host("server", &["localhost"]);
    let other = authority.host("other", &["localhost"]);
    let encrypted = authority.write(
        "encrypted.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let (cert, none) = (server.certificate.display().to_string(), authority.path("none"));
    for (main, words) in [
        (format!("tls_cert = {}", none.display()), ["TLS of amqps", "none: No such file"]),
        (
            format!("tls_cert = {cert}\ntls_key = {}", none.display()),
            ["TLS of amqps", "none: No such file"],
        ),
        (format!("tls_cert = {cert}"), ["server.pem", "there is no private key"]),
        (
            format!("tls_cert = {cert}\ntls_key = {}", encrypted.display()),
            ["encrypted.key", "the key is encrypted"],
        ),
        (
            format!("tls_cert = {cert}\ntls_key = {}", other.key.display()),
            ["other.key", "is of no use for"],
        ),
        (
            format!(
                "tls_cert = {cert}\ntls_key = {}\ntls_verify_peer = true",
                server.key.display()
            ),
            ["server.pem", "no file says who issues them"],
        ),
    ] {
        let said = said(
            &authority.directory,
            &format!("[main]\n{main}\n[amqp]\ntls_port = 0\n[mgmt]\ntls_port = 0\n"),
        );
        assert!(words.iter().all(|word| said.contains(word)), "{main}: {said}");
        assert_eq!(said.lines().filter(|line| line.starts_with("ringmq: ")).count(), 1, "{said}");
    }
}
