//! What sockets are opened and how: addresses of both families, sockets that systemd has opened, options
//! of the kernel.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::support::broker::Options;
use crate::support::client::PATIENCE;
use crate::support::handshake::PROTOCOL_HEADER;
use crate::support::siege::unique;
use crate::support::{Broker, Client, Login};

use super::bridge::to_unix;
use super::web::Web;

/// Where it says that it listens.
fn addresses(broker: &Broker, what: &str) -> Vec<SocketAddr> {
    let log = broker.log();
    let lines = log.lines().filter_map(|line| line.strip_prefix(what));
    lines.filter_map(|addr| addr.trim().parse().ok()).collect()
}

fn serves(addr: SocketAddr) {
    let mut client = Client::connect(addr);
    client.log_in(&Login::default());
    client.open_channel(1);
    client.declare_exclusive(1, "");
    client.close();
}

/// S31; issue 5: any number of addresses.
#[test]
fn a_list_of_addresses_of_both_families_is_listened_at() {
    let broker = Broker::with(Options { bind: "127.0.0.1, ::1,127.0.0.2", ..Options::new() });
    for protocol in ["listening amqp ", "listening mqtt "] {
        let ips: Vec<String> =
            addresses(&broker, protocol).iter().map(|addr| addr.ip().to_string()).collect();
        assert_eq!(ips, ["127.0.0.1", "::1", "127.0.0.2"]);
    }
    addresses(&broker, "listening amqp ").into_iter().for_each(serves);
    broker.terminate();
}

/// S31: the address of a peer is the same through either.
#[test]
fn the_unspecified_address_of_ipv6_takes_both_families() {
    let broker = Broker::with(Options { bind: "::", ..Options::new() });
    let port = broker.addr().port();
    serves(SocketAddr::from(([127, 0, 0, 1], port)));
    serves(format!("[::1]:{port}").parse().expect("an address"));
    let log = broker.log();
    assert!(log.contains("peer=127.0.0.1:") && log.contains("peer=[::1]:"), "{log}");
    broker.terminate();
}

/// Both on one port: the one of IPv6 leaves IPv4 to the other.
#[test]
fn both_unspecified_addresses_may_be_listened_at() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = free.local_addr().expect("its number").port();
    drop(free);
    let config = format!("[mqtt]\nws_port = {port}\n");
    for bind in ["0.0.0.0,::", "::,0.0.0.0"] {
        let broker = Broker::with(Options { bind, config: &config, ..Options::new() });
        drop(Web::open(SocketAddr::from(([127, 0, 0, 1], port))));
        let six = std::net::TcpStream::connect(format!("[::1]:{port}"));
        assert!(six.is_ok(), "{six:?} {}", broker.log());
        broker.terminate();
    }
}

/// A broker that was given a socket, until it is dropped.
struct Activated {
    process: Child,
    lines: Vec<String>,
    data: std::path::PathBuf,
}

impl Activated {
    /// As systemd starts it: the socket is descriptor 3.
    fn start(socket: OwnedFd, name: &str, shards: &str) -> Self {
        const TAKE_OVER: &str = r#"exec 3<&0 </dev/null
            LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=$0 exec "$@""#;
        let data = Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique("activated"));
        let mut process = Command::new("sh")
            .args(["-c", TAKE_OVER, name, env!("CARGO_BIN_EXE_ringmq"), "--shards", shards])
            .args(["--http-port", "0", "--metrics-http-port", "0"])
            .args(["--amqp-port", "0", "--mqtt-port", "off", "--no-pin", "--data-dir"])
            .arg(&data)
            .stdin(Stdio::from(socket))
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh starts");
        let output = BufReader::new(process.stdout.take().expect("a pipe"));
        let mut lines = Vec::new();
        for line in output.lines().map_while(Result::ok) {
            let is_ready = line.trim() == "ready";
            lines.push(line);
            if is_ready {
                break;
            }
        }
        Self { process, lines, data }
    }
}

impl Drop for Activated {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
        drop(fs::remove_dir_all(&self.data));
    }
}

/// Issue 5: socket activation. All shards accept from the one queue.
#[test]
fn a_socket_that_systemd_has_opened_is_served_by_all_shards() {
    for shards in ["1", "3"] {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = socket.local_addr().expect("its number");
        // Somebody comes before the broker is there: that is what it is for.
        let mut early = Client::connect(addr);
        early.send_raw(PROTOCOL_HEADER);
        let broker = Activated::start(socket.into(), "ringmq-amqp.socket", shards);
        let line = format!("listening amqp {addr}");
        assert!(broker.lines.contains(&line), "{:?}", broker.lines);
        early.expect_start();
        for _ in 0..20 {
            serves(addr);
        }
    }
}

/// S28: the file stays, since it is not the broker's.
#[test]
fn a_unix_socket_that_systemd_has_opened_is_served_and_left() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("sd-{}", std::process::id()));
    drop(fs::remove_file(&path));
    let socket = UnixListener::bind(&path).expect("a socket");
    let mut broker = Activated::start(socket.into(), "ringmq-amqp.socket", "2");
    serves(to_unix(&path));
    let pid = broker.process.id().to_string();
    assert!(Command::new("kill").arg(&pid).status().expect("kill runs").success());
    assert!(broker.process.wait().expect("its end").success());
    assert!(path.exists());
    drop(fs::remove_file(&path));
}

#[test]
fn a_socket_of_systemd_that_nobody_wants_is_closed() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = socket.local_addr().expect("its number");
    let _broker = Activated::start(socket.into(), "somebody-else.socket", "1");
    assert!(std::net::TcpStream::connect(addr).is_err());
}

/// The timer of the connection of the broker with this peer: what it is for, and in how many
/// hundredths of a second it fires.
fn timer(broker: &Broker, peer: SocketAddr) -> (String, u64) {
    let table = fs::read_to_string(format!("/proc/{}/net/tcp", broker.pid())).expect("a table");
    let port = |address: &str| {
        address.split(':').nth(1).and_then(|port| u16::from_str_radix(port, 16).ok())
    };
    let row = table.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_it = words.get(1).and_then(|local| port(local)) == Some(broker.addr().port())
            && words.get(2).and_then(|remote| port(remote)) == Some(peer.port());
        is_it.then(|| words.get(5).map(|timer| (*timer).to_owned())).flatten()
    });
    let row = row.expect("the connection");
    let (kind, when) = row.split_once(':').expect("kind:when");
    (kind.to_owned(), u64::from_str_radix(when, 16).expect("a number"))
}

/// S25
#[test]
fn keepalive_is_as_the_settings_say() {
    for (config, expected) in [
        ("", Some(5_000..=6_000)),
        ("tcp_keepalive = 20:5:2", Some(1_000..=2_000)),
        ("tcp_keepalive = off", None),
    ] {
        let broker = Broker::with(Options { config, shards: 1, ..Options::new() });
        let mut client = Client::connect(broker.addr());
        client.log_in(&Login::default());
        let peer = client.stream().local_addr().expect("an address");
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Between two segments another timer may run.
            let (kind, when) = timer(&broker, peer);
            let is_it = match &expected {
                Some(range) => kind == "02" && range.contains(&when),
                None => kind == "00",
            };
            if is_it {
                break;
            }
            assert!(Instant::now() < deadline, "{config}: {kind} in {when}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        client.close();
        broker.terminate();
    }
}
