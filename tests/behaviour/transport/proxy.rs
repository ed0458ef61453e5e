//! Connections that come through a proxy which says whose they are (S9 to S17, S29; abuse rows 50
//! and 107).

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::broker::Options;
use crate::support::client::PATIENCE;
use crate::support::siege::own_address;
use crate::support::{Broker, Client, Login};

use super::bridge::to_unix;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header of version 2.
pub(super) fn binary(command: u8, family: u8, inside: &[u8]) -> Vec<u8> {
    let length = u16::try_from(inside.len()).expect("a length").to_be_bytes();
    [SIGNATURE, &[command, family], &length, inside].concat()
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).expect("a length").to_be_bytes();
    [&[kind], &length[..], value].concat()
}

/// From 192.0.2.7:49153 to 198.51.100.1:5672.
const FAR: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0xC0, 0x01, 0x16, 0x28];

/// As AWS's load balancers write it, with the name of an endpoint.
fn of_aws() -> Vec<u8> {
    let additions = [tlv(0xEA, b"\x01vpce-08d2bf15fac5001c9"), tlv(0x03, b"\xA1\xB2\xC3\xD4")];
    binary(0x21, 0x11, &[&FAR[..], &additions.concat()].concat())
}

/// The client's certificate as HAProxy tells of it.
fn with_certificate(verify: u32, name: &str) -> Vec<u8> {
    let inside = [
        &[0x07][..],
        &verify.to_be_bytes(),
        &tlv(0x21, b"TLSv1.3"),
        &tlv(0x22, name.as_bytes()),
        &tlv(0x23, b"TLS_AES_256_GCM_SHA384"),
    ];
    binary(0x21, 0x11, &[&FAR[..], &tlv(0x20, &inside.concat())].concat())
}

fn start(shards: u16, amqp: &str) -> Broker {
    let config = format!("[amqp]\n{amqp}\n");
    Broker::with(Options { shards, config: &config, ..Options::new() })
}

fn count_lines(broker: &Broker, words: &str) -> usize {
    broker.log().lines().filter(|line| line.contains(words)).count()
}

/// A connection on which these octets were said first.
fn after(addr: SocketAddr, octets: &[u8]) -> Client {
    let mut client = Client::connect(addr);
    client.send_raw(octets);
    client
}

fn must_be_let_in(mut client: Client) {
    client.log_in(&Login::default());
    client.open_channel(1);
    client.declare_exclusive(1, "");
    client.close();
}

/// guest may come from this machine alone, so that a refusal says which address counts.
fn must_be_refused(mut client: Client) {
    client.send_raw(crate::support::handshake::PROTOCOL_HEADER);
    client.expect_start();
    let login = Login::default();
    client.send_start_ok(&login, "PLAIN", &login.plain());
    client.expect_close(403, "ACCESS_REFUSED");
}

const NEAR_LINE: &[u8] = b"PROXY TCP4 127.0.0.9 127.0.0.1 40001 5672\r\n";
const FAR_LINE: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 49153 5672\r\n";

/// S11, S14, S15, S16; abuse row 50: what the header says is what the log and the rule about guest
/// go by.
#[test]
fn the_address_that_a_trusted_proxy_names_is_the_clients() {
    for shards in [1, 2] {
        let broker = start(
            shards,
            "tcp_proxy_protocol = true\nproxy_protocol_trusted_sources = 10.0.0.0/8, 127.0.0.1",
        );
        assert_eq!(count_lines(&broker, "PROXY"), 0, "somebody is named: no warning");
        must_be_let_in(after(broker.addr(), NEAR_LINE));
        broker.wait_for_line(&["connection opened", "peer=127.0.0.9:40001"]);
        for header in [FAR_LINE, &binary(0x21, 0x11, &FAR), &of_aws()] {
            must_be_refused(after(broker.addr(), header));
        }
        broker.wait_for_line(&["login refused", "peer=192.0.2.7:49153", "from this machine only"]);
        let ip: std::net::Ipv6Addr = "2001:db8::7".parse().expect("an address");
        let six = [&ip.octets()[..], &[0; 16], &[0xC0, 0x01, 0x16, 0x28]].concat();
        must_be_refused(after(broker.addr(), &binary(0x21, 0x21, &six)));
        broker.wait_for_line(&["login refused", "peer=[2001:db8::7]:49153"]);
        broker.terminate();
    }
}

/// S15, S16: where the header names nobody the address of the socket counts; S11: a client that
/// comes without a proxy says what it always says.
#[test]
fn without_a_client_in_the_header_or_without_a_header_the_socket_counts() {
    let broker = start(1, "tcp_proxy_protocol = yes\nproxy_protocol_trusted_sources = 127.0.0.1");
    for header in [
        &b""[..],
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN 192.0.2.7 198.51.100.1 49153 5672\r\n",
        &binary(0x20, 0x00, b""),
        &binary(0x20, 0x11, &FAR),
        &binary(0x21, 0x00, b""),
        &binary(0x21, 0x31, &[b'x'; 216]),
    ] {
        must_be_let_in(after(broker.addr(), header));
    }
    broker.terminate();
}

/// S17
#[test]
fn a_header_may_come_in_any_pieces() {
    let broker = start(2, "tcp_proxy_protocol = 2\nproxy_protocol_trusted_sources = 127.0.0.1");
    let two = binary(0x21, 0x11, &[&[127, 0, 0, 9][..], &FAR[4..]].concat());
    for header in [NEAR_LINE, &two, &with_certificate(0, "somebody")] {
        for cut in (1..header.len()).step_by(7) {
            let mut client = after(broker.addr(), &header[..cut]);
            std::thread::sleep(Duration::from_millis(2));
            client.send_raw(&header[cut..]);
            if header[16..20] == FAR[..4] {
                must_be_refused(client);
                break;
            }
            must_be_let_in(client);
        }
        let mut dripping = Client::connect(broker.addr());
        header.iter().for_each(|octet| dripping.send_raw(&[*octet]));
        drop(dripping);
    }
    // In one piece with what the client says.
    let whole = [NEAR_LINE, crate::support::handshake::PROTOCOL_HEADER].concat();
    after(broker.addr(), &whole).expect_start();
    broker.terminate();
}

/// S12: it is taken away and does not count; the connection goes on; one line says so.
#[test]
fn the_header_of_a_stranger_is_ignored_with_one_warning() {
    let broker =
        start(1, "tcp_proxy_protocol = on\nproxy_protocol_trusted_sources = 203.0.113.0/24");
    must_be_let_in(after(broker.addr(), FAR_LINE));
    assert_eq!(count_lines(&broker, "a PROXY header is ignored"), 1);
    broker.wait_for_line(&["WARN", "a PROXY header is ignored", "peer=127.0.0.1:"]);
    assert_eq!(count_lines(&broker, "192.0.2.7"), 0, "nothing in it is believed");
    must_be_let_in(after(broker.addr(), &of_aws()));
    broker.terminate();
    // Abuse row 50: nobody becomes local by saying so.
    let Some(own) = own_address() else { return };
    let config =
        "[amqp]\ntcp_proxy_protocol = on\nproxy_protocol_trusted_sources = 203.0.113.0/24\n";
    let broker = Broker::with(Options { bind: "0.0.0.0", config, shards: 1, ..Options::new() });
    let addr = SocketAddr::new(own, broker.addr().port());
    must_be_refused(after(addr, NEAR_LINE));
    broker.terminate();
}

/// S13
#[test]
fn without_trusted_sources_everybody_is_believed_and_the_start_warns() {
    let broker = start(1, "tcp_proxy_protocol = true");
    let warning = "PROXY headers are taken from everybody";
    assert_eq!(count_lines(&broker, warning), 1, "{}", broker.log());
    must_be_refused(after(broker.addr(), FAR_LINE));
    broker.terminate();
}

/// S9, S12: it is as wrong as anything else.
#[test]
fn a_header_where_none_is_expected_is_no_protocol() {
    let broker = start(1, "tcp_proxy_protocol = 0");
    for header in [FAR_LINE, &binary(0x21, 0x11, &FAR)] {
        let mut client = after(broker.addr(), header);
        assert_eq!(client.read_raw(8, PATIENCE), b"AMQP\0\0\x09\x01");
        client.expect_eof();
        broker.wait_for_line(&["not AMQP 0-9-1 on this port", "a PROXY header"]);
    }
    broker.terminate();
}

/// Abuse row 107
#[test]
fn a_header_that_is_wrong_is_closed_with_one_line() {
    let broker = start(1, "tcp_proxy_protocol = on\nproxy_protocol_trusted_sources = 127.0.0.1");
    let endless = [b"PROXY TCP4 ", &[b'1'; 108][..]].concat();
    for (header, why) in [
        (&b"PROXY TCP4 192.0.2.7 198.51.100.1 49153\r\n"[..], "a line that is not PROXY"),
        (&endless, "a line of more than 107 octets"),
        (&[SIGNATURE, &[0x21, 0x11, 0xFF, 0xFF]].concat(), "a header of more than 536 octets"),
        (&binary(0x31, 0x11, &FAR), "a version that is not 2"),
        (&binary(0x21, 0x11, &FAR[..8]), "a length without room"),
        (&binary(0x21, 0x11, &[&FAR[..], b"\x04\xFF"].concat()), "an addition that is longer"),
    ] {
        after(broker.addr(), header).expect_eof();
        broker.wait_for_line(&["a PROXY header that cannot be read", "peer=127.0.0.1:", why]);
        assert_eq!(count_lines(&broker, why), 1, "{}", broker.log());
    }
    must_be_let_in(after(broker.addr(), NEAR_LINE));
    broker.terminate();
}

/// Abuse row 107, S48: who stops in the middle is told of, who says nothing is not.
#[test]
fn a_header_that_is_not_ended_is_given_five_seconds() {
    let broker = start(1, "tcp_proxy_protocol = on\nproxy_protocol_trusted_sources = 127.0.0.1");
    let begun = Instant::now();
    let mut cut: Vec<Client> =
        [&FAR_LINE[..20], &SIGNATURE[..3]].map(|octets| after(broker.addr(), octets)).into();
    let mut silent = Client::connect(broker.addr());
    drop(Client::connect(broker.addr()));
    cut.iter_mut().for_each(Client::expect_eof);
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(4), "{took:?}");
    for cut in &cut {
        let peer = format!("peer={}", cut.stream().local_addr().unwrap());
        broker.wait_for_line(&["a PROXY header that is not ended in time", &peer]);
    }
    let lines = broker.log().lines().count();
    silent.expect_eof();
    assert!(begun.elapsed() > Duration::from_secs(9), "{:?}", begun.elapsed());
    assert_eq!(broker.log().lines().count(), lines, "a probe leaves no line: {}", broker.log());
    broker.terminate();
}

/// S16, S48: a proxy that looks whether the broker is there, as HAProxy does with `check`.
#[test]
fn a_probe_of_a_proxy_leaves_no_line() {
    let broker = start(2, "tcp_proxy_protocol = on\nproxy_protocol_trusted_sources = 127.0.0.1");
    let lines = broker.log().lines().count();
    for _ in 0..10 {
        drop(after(broker.addr(), &binary(0x20, 0x00, b"")));
        drop(after(broker.addr(), b"PROXY UNKNOWN\r\n"));
    }
    must_be_let_in(after(broker.addr(), NEAR_LINE));
    broker.wait_for_line(&["connection closed by the client"]);
    assert_eq!(broker.log().lines().count(), lines + 2, "{}", broker.log());
    broker.terminate();
}

/// S10
#[test]
fn a_source_that_is_none_stops_the_start() {
    let data =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("source-{}", std::process::id()));
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_ringmq"))
        .args(["--amqp-port", "0", "--mqtt-port", "0", "--no-pin", "--shards", "1", "--data-dir"])
        .arg(&data)
        .env("RINGMQ_AMQP_PROXY_PROTOCOL_TRUSTED_SOURCES", "10.0.0.0/8, proxy.example")
        .output()
        .expect("the broker's binary");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("'proxy.example' is neither"), "{said}");
    drop(fs::remove_dir_all(&data));
}

/// Abuse row 80, S14: the rate of an address is that of the client, not of its proxy.
#[test]
fn limits_of_an_address_are_those_of_the_client() {
    let broker = Broker::with(Options {
        shards: 1,
        config: "[main]\nmax_connection_rate_per_address = 5\n[amqp]\ntcp_proxy_protocol = on\n\
                 proxy_protocol_trusted_sources = 127.0.0.1\n",
        ..Options::new()
    });
    // Ten clients of one proxy, at once.
    for n in 1..=10 {
        let line = format!("PROXY TCP4 127.0.1.{n} 127.0.0.1 40001 5672\r\n");
        let mut client = after(broker.addr(), line.as_bytes());
        client.send_raw(crate::support::handshake::PROTOCOL_HEADER);
        client.expect_start();
    }
    let mut all: Vec<Client> = (0..100).map(|_| after(broker.addr(), NEAR_LINE)).collect();
    all.last_mut().expect("many").expect_eof();
    broker.wait_for_line(&["connections are refused", "too many from one address in a second"]);
    drop(all);
    broker.terminate();
}

/// A name for a socket; short, since its length is limited.
fn path(name: &str) -> PathBuf {
    let path =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    drop(fs::remove_file(&path));
    path
}

/// S29: no setting turns it off, and no list restricts it: who may open the socket is trusted.
#[test]
fn a_header_through_a_unix_socket_always_counts() {
    let path = path("px");
    let broker = start(
        1,
        &format!(
            "unix_path = {}\nunix_proxy_protocol = 0\nproxy_protocol_trusted_sources = 192.0.2.1",
            path.display()
        ),
    );
    must_be_let_in(Client::connect(to_unix(&path)));
    must_be_let_in(after(to_unix(&path), NEAR_LINE));
    broker.wait_for_line(&["connection opened", "peer=127.0.0.9:40001"]);
    must_be_refused(after(to_unix(&path), FAR_LINE));
    must_be_refused(after(to_unix(&path), &of_aws()));
    broker.wait_for_line(&["login refused", "peer=192.0.2.7:49153"]);
    assert_eq!(count_lines(&broker, "PROXY"), 0, "no warning: {}", broker.log());
    broker.terminate();
}

#[cfg(feature = "mqtt")]
mod mqtt {
    use super::*;
    use crate::mqtt::client::Client as MqttClient;
    use crate::mqtt::octets::{Hello, V4, V5, binary as with_length, packet, text};

    /// What a client behind this header is answered.
    fn connect(addr: SocketAddr, header: &[u8], hello: &Hello) -> u8 {
        say(addr, header, hello.version, &hello.octets())
    }

    fn say(addr: SocketAddr, header: &[u8], version: u8, octets: &[u8]) -> u8 {
        let mut client = MqttClient::stranger(addr, version);
        client.send(&[header, octets].concat());
        client.expect_connack().code
    }

    /// S9, S14: the same setting, also when the connection moves to the shard of its session.
    #[test]
    fn the_setting_covers_mqtt() {
        for shards in [1, 3] {
            let broker = start(
                shards,
                "tcp_proxy_protocol = true\nproxy_protocol_trusted_sources = 127.0.0.1",
            );
            for n in 0..6 {
                let hello = Hello::new(V5, &format!("c{n}"));
                assert_eq!(connect(broker.mqtt_addr(), NEAR_LINE, &hello), 0);
                assert_ne!(connect(broker.mqtt_addr(), &of_aws(), &hello), 0, "guest is far away");
                assert_eq!(connect(broker.mqtt_addr(), b"", &hello), 0);
            }
            broker.wait_for_line(&["connection opened", "peer=127.0.0.9:40001", "client=\"c5\""]);
            broker.terminate();
        }
    }

    /// mqtt.md V-096, V-097: the name in the certificate takes the place of what the client says;
    /// from a proxy that the operator has named it needs no password.
    #[test]
    fn who_shows_a_certificate_to_the_proxy_is_whom_it_names() {
        for (trusted, without_password) in [("127.0.0.1", 0), ("", 4)] {
            let broker = Broker::with(Options {
                shards: 1,
                config: &format!(
                    "[main]\ndefault_user_only_loopback = no\n[amqp]\n\
                     proxy_protocol_trusted_sources = {trusted}\n[mqtt]\n\
                     listener.tcp.behind = 127.0.0.1:0\nlistener.tcp.behind.proxy_protocol = on\n\
                     listener.tcp.behind.proxy_protocol_use_cn_as_username = on\n"
                ),
                ..Options::new()
            });
            let log = broker.log();
            let lines = log.lines().filter_map(|line| line.strip_prefix("listening mqtt "));
            let addrs: Vec<SocketAddr> = lines.filter_map(|addr| addr.parse().ok()).collect();
            let behind = *addrs.iter().find(|addr| **addr != broker.mqtt_addr()).expect("two");
            let guest = Hello::new(V4, "device");
            let body = [&text("MQTT")[..], &[V4, 0x02, 0, 0], &with_length(b"device")].concat();
            let bare = packet(0x10, &body);
            assert_eq!(say(behind, &with_certificate(0, "guest"), V4, &bare), without_password);
            assert_eq!(connect(behind, &with_certificate(0, "guest"), &guest), 0);
            assert_eq!(connect(behind, &with_certificate(0, "nobody"), &guest), 4, "not guest");
            assert_eq!(say(behind, &with_certificate(1, "guest"), V4, &bare), 5, "not verified");
            assert_eq!(connect(behind, &of_aws(), &guest), 0, "no certificate: as ever");
            broker.terminate();
        }
    }
}
