//! Clients that TLS lets in nowhere, and too many handshakes (abuse rows 102, 104 and 105).

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, KeyPair, NameConstraints, date_time_ymd,
};

use crate::http::{exchange, until};
use crate::support::Broker;
use crate::support::client::PATIENCE;
use crate::support::handshake::PROTOCOL_HEADER;

use super::ground::{Authority, BOTH, Paper, connect, port_of, refusal, stranger};

/// Waits until metrics tell of so many handshakes that failed: they may be some seconds old.
fn expect_failed(broker: &Broker, count: usize) {
    until(&format!("{count} handshakes"), || (failed(broker) == count as u64).then_some(()));
}

fn failed(broker: &Broker) -> u64 {
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let text = exchange(broker.metrics_addr(), request).text;
    let line =
        text.lines().find_map(|line| line.strip_prefix("rabbitmq_tls_handshakes_failed_total "));
    line.and_then(|count| count.parse().ok()).expect("a counter")
}

fn named(user: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![format!("{user}.example")]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, user);
    params
}

/// Signed by itself, with the name of somebody who may come in.
fn self_signed(authority: &Authority) -> Paper {
    let key = KeyPair::generate().unwrap();
    let certificate = named("guest").self_signed(&key).unwrap();
    Paper {
        certificate: authority.write("self.pem", &certificate.pem()),
        key: authority.write("self.key", &key.serialize_pem()),
    }
}

/// Certificates of clients that are not good, each for a reason of its own.
fn bad_papers(authority: &Authority) -> Vec<(&'static str, Paper)> {
    let mut expired = named("guest");
    expired.not_after = date_time_ymd(2020, 1, 1);
    let mut early = named("guest");
    early.not_before = date_time_ymd(2100, 1, 1);
    early.not_after = date_time_ymd(2101, 1, 1);
    let mut of_server = named("guest");
    of_server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // An issuer that may speak of others only.
    let mut narrow = named("narrow");
    narrow.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    narrow.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName("elsewhere.example".into())],
        excluded_subtrees: Vec::new(),
    });
    // The same name and serial number from somebody else of the same kind.
    let other = Authority::new();
    let twin = other.client("twin", "guest", 0);
    let copy = Paper { certificate: authority.path("twin.pem"), key: authority.path("twin.key") };
    std::fs::copy(&twin.certificate, &copy.certificate).unwrap();
    std::fs::copy(&twin.key, &copy.key).unwrap();
    vec![
        ("expired", authority.signed("expired", &expired, &[])),
        ("not good yet", authority.signed("early", &early, &[])),
        ("for servers", authority.signed("server-only", &of_server, &[])),
        ("signed by itself", self_signed(authority)),
        ("of another authority", copy),
        ("behind a hundred others", authority.client("long", "guest", 100)),
        ("outside of its issuer's names", authority.signed("outside", &named("guest"), &[narrow])),
    ]
}

/// Abuse row 104; row 102: each is counted.
#[test]
fn certificates_of_clients_that_are_not_good_are_refused_and_counted() {
    let authority = Authority::new();
    let main = format!("tls_ca_cert = {}\ntls_verify_peer = true", authority.roots().display());
    let broker = authority.broker(2, &main, "");
    let good = authority.client("good", "guest", 0);
    let papers = bad_papers(&authority);
    let mut count = 0;
    for version in BOTH {
        for (what, paper) in &papers {
            let config = authority.trusted(version, Some(paper));
            for port in ["amqps", "https"] {
                let said = refusal(port_of(&broker, port), &config);
                assert!(!said.is_empty(), "{what}");
                count += 1;
                broker.wait_for_lines(&["TLS handshake failed"], count);
            }
        }
        let mut stream =
            connect(port_of(&broker, "amqps"), &authority.trusted(version, Some(&good)));
        stream.write_all(PROTOCOL_HEADER).unwrap();
        stream.read_exact(&mut [0; 7]).expect("connection.start");
    }
    expect_failed(&broker, count);
    broker.terminate();
}

/// Abuse row 102: whatever is no TLS is counted, on a shard and on the control thread.
#[test]
fn handshakes_that_fail_are_counted() {
    let authority = Authority::new();
    let broker = authority.broker(2, "", "");
    for (number, port) in ["amqps", "https"].into_iter().enumerate() {
        let mut plain = TcpStream::connect(port_of(&broker, port)).unwrap();
        plain.set_read_timeout(Some(PATIENCE)).unwrap();
        plain.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        drop(plain.read_to_end(&mut Vec::new()));
        broker.wait_for_lines(&["TLS handshake failed"], number + 1);
        expect_failed(&broker, number + 1);
    }
    broker.terminate();
}

/// Abuse row 105: who asks for one handshake after another is not served as fast as it asks, and is
/// as soon as it does not; others are served by `max_connection_rate` in turn.
#[test]
fn a_flood_of_handshakes_from_one_address_is_refused() {
    let authority = Authority::new();
    let broker = authority.broker(1, "max_connection_rate_per_address = 5", "");
    for port in ["amqps", "https"] {
        let address = port_of(&broker, port);
        let mut all: Vec<TcpStream> =
            (0..100).map(|_| TcpStream::connect(address).expect("the kernel accepts")).collect();
        let last = all.last_mut().expect("many");
        last.set_read_timeout(Some(PATIENCE)).unwrap();
        // Closed before anything was said.
        assert!(matches!(last.read(&mut [0; 1]), Ok(0) | Err(_)));
        drop(all);
        let config = authority.trusted("1.3", None);
        let is_served = (0..500).any(|_| {
            thread::sleep(Duration::from_millis(20));
            let mut stream = stranger(address, &config, "localhost");
            while stream.conn.is_handshaking() {
                if stream.conn.complete_io(&mut stream.sock).is_err() {
                    return false;
                }
            }
            true
        });
        assert!(is_served, "{port} is not served within 10 s");
    }
    broker.wait_for_line(&["connections are refused", "too many from one address in a second"]);
    broker.terminate();
}
