//! Who does not speak TLS where it is spoken, or not as it should (abuse rows 2, 102, 103).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::client::PATIENCE;
use crate::support::{Client, Login};

use super::ground::{Authority, BOTH, connect, port_of, refusal};

const PROTOCOL_VERSION: u8 = 70;

fn raw(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&addr, PATIENCE).expect("the broker accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
    stream
}

/// Everything up to the end, a reset included.
fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut piece = [0; 1000];
    while let Ok(count @ 1..) = stream.read(&mut piece) {
        octets.extend_from_slice(&piece[..count]);
    }
    octets
}

/// The fatal alert that these octets are.
fn alert(octets: &[u8]) -> Option<u8> {
    match octets {
        [21, 3, _, 0, 2, 2, code] => Some(*code),
        _ => None,
    }
}

/// Abuse row 102
#[test]
fn what_is_spoken_without_tls_is_answered_with_an_alert_and_named_in_the_log() {
    let authority = Authority::new();
    let broker = authority.broker(2, "", "");
    for (octets, name) in [
        (&b"AMQP\0\0\x09\x01"[..], "AMQP"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP"),
        (b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01c", "mqtt"),
    ] {
        let mut stream = raw(port_of(&broker, "amqps"));
        stream.write_all(octets).unwrap();
        let said = rest(&mut stream);
        assert!(alert(&said).is_some(), "{name}: {said:?}");
        broker.wait_for_line(&["not TLS on a port for TLS", name]);
    }
    broker.terminate();
}

/// Abuse row 2
#[test]
fn tls_on_a_port_without_it_is_named_in_the_log() {
    let authority = Authority::new();
    let broker = authority.broker(1, "", "");
    let config = authority.trusted("1.3", None);
    refusal(broker.addr(), &config);
    broker.wait_for_line(&["not AMQP 0-9-1 on this port", "TLS, on a port without it"]);
    #[cfg(feature = "mqtt")]
    {
        refusal(broker.mqtt_addr(), &config);
        broker.wait_for_line(&["mqtt", "TLS, on a port without it"]);
    }
    broker.terminate();
}

/// A hello of TLS 1.0 to 1.2, with the extensions that a client of today has.
fn hello(version: u8) -> Vec<u8> {
    let mut body = vec![3, version];
    body.extend([7; 32]);
    // No session; two suites, the second of them any TLS 1.2 server's; no compression.
    body.extend([0, 0, 4, 0x00, 0x2F, 0xC0, 0x2F, 1, 0]);
    let extensions =
        [&[0, 10, 0, 4, 0, 2, 0, 23][..], &[0, 11, 0, 2, 1, 0], &[0, 13, 0, 6, 0, 4, 4, 3, 8, 4]]
            .concat();
    body.extend([0, u8::try_from(extensions.len()).unwrap()]);
    body.extend(extensions);
    let length = u8::try_from(body.len()).unwrap();
    [&[0x16, 3, 1, 0, length + 4, 1, 0, 0, length][..], &body].concat()
}

/// Abuse row 102
#[test]
fn old_versions_are_refused_with_an_alert() {
    let authority = Authority::new();
    let broker = authority.broker(1, "", "");
    for version in [0, 1, 2] {
        let mut stream = raw(port_of(&broker, "amqps"));
        stream.write_all(&hello(version)).unwrap();
        let said = rest(&mut stream);
        assert_eq!(alert(&said), Some(PROTOCOL_VERSION), "3.{version}: {said:?}");
    }
    broker.terminate();
}

/// Abuse row 102
#[test]
fn versions_and_suites_are_those_of_the_settings() {
    let authority = Authority::new();
    let broker = authority.broker(1, "tls_min_version = 1.3", "");
    let said = refusal(port_of(&broker, "amqps"), &authority.trusted("1.2", None));
    assert!(said.contains("ProtocolVersion"), "{said}");
    connect(port_of(&broker, "amqps"), &authority.trusted("1.3", None));
    broker.terminate();
    let suite = "ECDHE-ECDSA-CHACHA20-POLY1305";
    let broker = authority.broker(1, &format!("tls_ciphers = {suite}"), "");
    let stream = connect(port_of(&broker, "amqps"), &authority.trusted("1.2", None));
    let agreed = stream.conn.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(agreed, rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256);
    connect(port_of(&broker, "amqps"), &authority.trusted("1.3", None));
    broker.terminate();
    // None that goes with this certificate.
    let broker = authority.broker(1, "tls_ciphers = ECDHE-RSA-AES128-GCM-SHA256", "");
    let said = refusal(port_of(&broker, "amqps"), &authority.trusted("1.2", None));
    assert!(said.contains("HandshakeFailure"), "{said}");
    broker.terminate();
}

/// Abuse row 103: from accept to the end of the handshake it is ten seconds, however they are spent.
#[test]
fn a_handshake_that_takes_too_long_ends() {
    let authority = Authority::new();
    let broker = authority.broker(2, "", "");
    let mut silent = raw(port_of(&broker, "amqps"));
    silent.write_all(&hello(3)[..20]).unwrap();
    let mut slow = raw(port_of(&broker, "amqps"));
    let deadline = Instant::now() + PATIENCE;
    // A hello that would take an hour.
    let head = [0x16, 3, 1, 0x3F, 0xFF, 1, 0, 0x3F, 0xFB, 3, 3];
    slow.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    for octet in head.into_iter().chain(std::iter::repeat(7)) {
        let is_closed =
            slow.write_all(&[octet]).is_err() || matches!(slow.read(&mut [0; 10]), Ok(0));
        if is_closed {
            break;
        }
        assert!(Instant::now() < deadline, "it is still open");
        thread::sleep(Duration::from_millis(200));
    }
    assert!(rest(&mut silent).is_empty());
    broker.wait_for_line(&["TLS handshake took too long"]);
    let mut plain = Client::connect(broker.addr());
    plain.log_in(&Login::default());
    plain.close();
    broker.terminate();
}

/// Abuse row 103
#[test]
fn a_hello_without_end_is_not_kept() {
    let authority = Authority::new();
    let broker = authority.broker(2, "", "");
    let record = [&[0x16, 3, 1, 0x3F, 0xFF][..], &[1, 0xFF, 0xFF, 0xFF], &[0; 16_379]].concat();
    let mut stream = raw(port_of(&broker, "amqps"));
    for _ in 0..1000 {
        if stream.write_all(&record).is_err() {
            break;
        }
    }
    rest(&mut stream);
    broker.wait_for_line(&["TLS handshake failed"]);
    broker.terminate();
}

/// The client is gone before anything was said: nothing in the log, as without TLS (S48).
#[test]
fn a_probe_that_says_nothing_leaves_no_line() {
    let authority = Authority::new();
    let broker = authority.broker(1, "", "");
    let before = broker.log();
    for _ in 0..3 {
        drop(raw(port_of(&broker, "amqps")));
    }
    // Whoever comes later is served later.
    for version in BOTH {
        connect(port_of(&broker, "amqps"), &authority.trusted(version, None));
    }
    let log = broker.log();
    assert!(!log.strip_prefix(&before).expect("it only grows").contains("TLS"), "{log}");
    broker.terminate();
}
