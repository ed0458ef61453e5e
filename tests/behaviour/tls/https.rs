//! The HTTP API inside of TLS, WebSockets on its port, and proxies in front of it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::ClientConfig;
use serde_json::Value;

use crate::http::{Asker, Response, parse};
use crate::support::Broker;
use crate::support::broker::Options;
use crate::support::client::PATIENCE;
use crate::support::handshake::PROTOCOL_HEADER;
use crate::transport::web::{Frame, Web, frame};

#[cfg(feature = "mqtt")]
use super::ground::both_over_websockets;
use super::ground::{Authority, BOTH, Stream, connect, port_of, stranger, through};

/// What a server of HTTP says to this request until it closes.
fn said(stream: &mut Stream, request: &[u8]) -> Response {
    stream.write_all(request).expect("the broker reads");
    let mut answer = Vec::new();
    // The end of TLS is said: an answer that is cut would be an error.
    stream.read_to_end(&mut answer).expect("an answer to its end");
    parse(&answer)
}

fn request(path: &str, login: &str) -> Vec<u8> {
    let login = STANDARD.encode(login);
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Authorization: Basic {login}\r\n\r\n"
    )
    .into_bytes()
}

fn get(addr: SocketAddr, config: &Arc<ClientConfig>, path: &str) -> Value {
    let response = said(&mut connect(addr, config), &request(path, "guest:guest"));
    assert_eq!(response.status, 200, "{path}: {}", response.text);
    response.json()
}

/// L101: the same API, small answers and large ones, over both versions.
#[test]
fn the_api_is_there_with_tls() {
    let authority = Authority::new();
    let broker = authority.broker(2, "", "");
    let port = port_of(&broker, "https");
    let guest = Asker::guest(broker.http_addr());
    for n in 0..300 {
        assert_eq!(guest.put(&format!("/api/vhosts/{n:0>100}"), "{}"), 201);
    }
    for version in BOTH {
        let config = authority.trusted(version, None);
        assert_eq!(get(port, &config, "/api/whoami")["name"], "guest");
        let vhosts = get(port, &config, "/api/vhosts");
        assert!(vhosts.as_array().unwrap().len() >= 301);
        let refused = said(&mut connect(port, &config), &request("/api/overview", "guest:x"));
        assert_eq!(refused.status, 401);
        // A body of more than one record.
        let body = format!("{{\"description\":\"{}\"}}", "d".repeat(60_000));
        let put = format!(
            "PUT /api/vhosts/large{version} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Authorization: Basic {}\r\nContent-Length: {}\r\n\r\n{body}",
            STANDARD.encode("guest:guest"),
            body.len()
        );
        assert_eq!(said(&mut connect(port, &config), put.as_bytes()).status, 201);
    }
    let overview = guest.get("/api/overview");
    let listeners = overview["listeners"].as_array().unwrap();
    let secured: Vec<_> =
        listeners.iter().filter(|l| l["tls"] == true).map(|l| &l["protocol"]).collect();
    assert!(secured.contains(&&"https".into()) && secured.contains(&&"amqp/ssl".into()));
    assert_eq!(guest.get("/api/health/checks/protocol-listener/https")["status"], "ok");
    broker.terminate();
}

/// L108, L101: AMQP and MQTT in WebSockets inside of TLS, wherever their shard is.
#[cfg(feature = "mqtt")]
#[test]
fn protocols_are_spoken_over_websockets_on_the_port_of_https() {
    let authority = Authority::new();
    let broker = authority.broker(2, "", "");
    let port = port_of(&broker, "https");
    both_over_websockets(&authority, port);
    broker.terminate();
}

/// A WebSocket whose TLS the control thread has begun shows which it has.
#[test]
fn a_client_behind_a_websocket_inside_of_tls_is_shown_with_it() {
    let authority = Authority::new();
    let broker = authority.broker(2, "", "");
    let config = authority.trusted("1.3", None);
    let mut amqp = Web::open(through(port_of(&broker, "https"), &config));
    amqp.say(&frame(0x82, PROTOCOL_HEADER));
    assert!(matches!(amqp.next(), Frame::Binary(_)));
    // Both ends go on with what they have agreed on, both ways, for more than a record.
    for octet in 0..100 {
        amqp.say(&frame(0x89, &[octet; 100]));
        assert_eq!(amqp.next(), Frame::Pong(vec![octet; 100]));
    }
    broker.terminate();
}

/// L104, L107: which certificate a client sees is whom it asks for, and what the files say on SIGHUP.
#[test]
fn the_server_has_a_certificate_for_each_host_and_reads_it_again() {
    let authority = Authority::new();
    let other = authority.host("other", &["other.example"]);
    let more = format!(
        "[sni:other.example]\nhttp_tls_cert = {}\nhttp_tls_key = {}\n",
        other.certificate.display(),
        other.key.display()
    );
    let broker = authority.broker(1, "", &more);
    let port = port_of(&broker, "https");
    let config = || authority.trusted("1.3", None);
    let shown = |host: &str| {
        let mut stream = stranger(port, &config(), host);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).expect("a handshake");
        }
        stream.conn.peer_certificates().unwrap()[0].clone()
    };
    let (usual, named) = (shown("localhost"), shown("other.example"));
    assert_ne!(usual, named);
    let mut before = connect(port, &config());

    // Abuse row 106
    let good = std::fs::read_to_string(authority.path("server.pem")).unwrap();
    authority.write("server.pem", "garbage");
    broker.signal("HUP");
    broker.wait_for_line(&["ERROR", "server.pem", "stay in use"]);
    assert_eq!(shown("localhost"), usual);
    authority.write("server.pem", &good);
    authority.host("server", &["localhost"]);
    broker.signal("HUP");
    broker.wait_for_line(&["certificates are read again"]);
    assert_ne!(shown("localhost"), usual);
    assert_eq!(said(&mut before, &request("/api/whoami", "guest:guest")).status, 200);
    broker.terminate();
}

/// R81: where clients are to show certificates, those of HTTP are as well.
#[test]
fn clients_without_a_certificate_are_refused_where_one_is_needed() {
    let authority = Authority::new();
    let main = format!("tls_ca_cert = {}\ntls_verify_peer = true", authority.roots().display());
    let broker = authority.broker(1, &main, "");
    let port = port_of(&broker, "https");
    let paper = authority.client("client", "guest", 0);
    for version in BOTH {
        let config = authority.trusted(version, Some(&paper));
        assert_eq!(get(port, &config, "/api/whoami")["name"], "guest");
        let mut stranger = stranger(port, &authority.trusted(version, None), "localhost");
        drop(stranger.write_all(&request("/api/whoami", "guest:guest")));
        let refused = stranger.read(&mut [0; 100]).expect_err("no certificate, no answer");
        assert!(refused.to_string().to_lowercase().contains("certificate"), "{refused}");
    }
    broker.wait_for_line(&["TLS handshake failed"]);
    broker.terminate();
}

/// Abuse rows 102 and 103: what is not TLS is told so and named; nobody waits for a slow hello.
#[test]
fn what_is_no_tls_on_the_port_of_https_is_closed_and_named() {
    let authority = Authority::new();
    let broker = authority.broker(1, "", "");
    let port = port_of(&broker, "https");
    let mut slow = TcpStream::connect(port).unwrap();
    slow.write_all(&[22, 3, 1]).unwrap();
    let mut plain = TcpStream::connect(port).unwrap();
    plain.set_read_timeout(Some(PATIENCE)).unwrap();
    plain.write_all(&request("/api/whoami", "guest:guest")).unwrap();
    let mut answer = Vec::new();
    drop(plain.read_to_end(&mut answer));
    assert_eq!(answer.first(), Some(&21), "an alert: {answer:?}");
    broker.wait_for_line(&["not TLS on a port for TLS", "HTTP"]);
    // Others are served meanwhile.
    assert_eq!(get(port, &authority.trusted("1.3", None), "/api/whoami")["name"], "guest");
    slow.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(slow.read(&mut [0; 10]).expect("closed within ten seconds"), 0);
    broker.wait_for_line(&["TLS handshake took too long"]);
    broker.terminate();
}

/// A PROXY header, then whatever the client says.
fn behind(broker: &Broker, header: &[u8], octets: &[u8]) -> Response {
    let mut stream = TcpStream::connect(broker.http_addr()).expect("an HTTP server");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(header).expect("the broker reads");
    thread::yield_now();
    drop(stream.write_all(octets));
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    parse(&answer)
}

const FAR_LINE: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 49153 15672\r\n";
const NEAR_LINE: &[u8] = b"PROXY TCP4 127.0.0.9 127.0.0.1 40001 15672\r\n";

/// From 192.0.2.7:49153.
fn far_binary() -> Vec<u8> {
    let inside = [192, 0, 2, 7, 198, 51, 100, 1, 0xC0, 0x01, 0x3D, 0x38];
    [b"\r\n\r\n\0\r\nQUIT\n", &[0x21, 0x11, 0, 12][..], &inside].concat()
}

/// S9, S11 to S16; abuse row 107: whom a trusted proxy names is who asks.
#[test]
fn a_proxy_may_say_for_whom_it_asks() {
    let broker = Broker::with(Options {
        shards: 2,
        config: "[mgmt]\ntcp_proxy_protocol = true\n[amqp]\n\
                 proxy_protocol_trusted_sources = 127.0.0.1\n",
        ..Options::new()
    });
    let whoami = request("/api/whoami", "guest:guest");
    assert_eq!(behind(&broker, b"", &whoami).status, 200, "without a header as ever");
    assert_eq!(behind(&broker, NEAR_LINE, &whoami).status, 200);
    for header in [FAR_LINE, &far_binary()] {
        // guest comes from this machine only.
        assert_eq!(behind(&broker, header, &whoami).status, 401);
    }
    broker.wait_for_line(&["login refused", "peer=192.0.2.7", "from this machine only"]);
    // A header that is wrong, and one that is not ended, get no answer.
    let mut wrong = TcpStream::connect(broker.http_addr()).unwrap();
    wrong.set_read_timeout(Some(PATIENCE)).unwrap();
    wrong.write_all(b"PROXY TCP9 nonsense\r\n").unwrap();
    assert_eq!(wrong.read(&mut [0; 1]).expect("closed"), 0);
    broker.wait_for_line(&["a PROXY header that cannot be read"]);
    // LOCAL: the proxy itself, as its checks are.
    let local = [b"\r\n\r\n\0\r\nQUIT\n", &[0x20, 0x00, 0, 0][..]].concat();
    assert_eq!(behind(&broker, &local, &whoami).status, 200);
    broker.terminate();
}

/// S12: what somebody says whom nobody has named is taken away and does not count.
#[test]
fn the_header_of_a_stranger_does_not_count_for_http() {
    let broker = Broker::with(Options {
        shards: 1,
        config: "[mgmt]\ntcp_proxy_protocol = true\n[amqp]\n\
                 proxy_protocol_trusted_sources = 192.0.2.99\n",
        ..Options::new()
    });
    let whoami = request("/api/whoami", "guest:guest");
    assert_eq!(behind(&broker, FAR_LINE, &whoami).status, 200);
    broker.wait_for_line(&["WARN", "a PROXY header is ignored"]);
    broker.terminate();
}

/// S9: where nobody has asked for it a header is no HTTP; S13: everybody believed is warned of.
#[test]
fn a_header_is_read_only_where_the_section_says_so() {
    let broker = Broker::start(1);
    let whoami = request("/api/whoami", "guest:guest");
    assert_eq!(behind(&broker, FAR_LINE, &whoami).status, 400);
    broker.terminate();
    let broker = Broker::with(Options {
        shards: 1,
        config: "[mgmt]\ntcp_proxy_protocol = 2\n",
        ..Options::new()
    });
    broker.wait_for_line(&["WARN", "PROXY headers are taken from everybody"]);
    assert_eq!(behind(&broker, FAR_LINE, &whoami).status, 401);
    broker.terminate();
}

/// Proxies speak first, TLS follows; a WebSocket takes along what was said.
#[cfg(feature = "mqtt")]
#[test]
fn a_proxy_may_be_in_front_of_https_and_its_websockets() {
    let authority = Authority::new();
    let more = "[mgmt]\ntcp_proxy_protocol = true\n[amqp]\n\
                proxy_protocol_trusted_sources = 127.0.0.1\n";
    let broker = authority.broker(2, "", more);
    let port = port_of(&broker, "https");
    let config = authority.trusted("1.3", None);
    for (header, status) in [(NEAR_LINE, 200), (FAR_LINE, 401)] {
        let mut stream = stranger(port, &config, "localhost");
        stream.sock.write_all(header).unwrap();
        assert_eq!(said(&mut stream, &request("/api/whoami", "guest:guest")).status, status);
    }
    let mut web = stranger(port, &config, "localhost");
    web.sock.write_all(FAR_LINE).unwrap();
    let fields = "Sec-WebSocket-Protocol: mqtt\r\n";
    web.write_all(crate::transport::web::request("/mqtt", fields).as_bytes()).unwrap();
    web.write_all(&frame(0x82, &crate::mqtt::octets::Hello::new(4, "far").octets())).unwrap();
    broker.wait_for_line(&["login refused", "peer=192.0.2.7:49153"]);
    broker.terminate();
}

/// R72: what the files say that are in use, and which listeners have them.
#[test]
fn certificates_that_end_are_told_of_in_time() {
    let authority = Authority::new();
    let main = format!("tls_ca_cert = {}\ntls_verify_peer = optional", authority.roots().display());
    let soon = authority.ending("soon", &["soon.example"], (2020, 1, 2));
    let more = format!(
        "[sni:soon.example]\namqp_tls_cert = {}\namqp_tls_key = {}\n",
        soon.certificate.display(),
        soon.key.display()
    );
    let broker = authority.broker(1, &main, &more);
    let guest = Asker::guest(broker.http_addr());
    let check = |within: &str| {
        guest.ask("GET", &format!("/api/health/checks/certificate-expiration/{within}"), "")
    };
    let response = check("1/days");
    assert_eq!(response.status, 503, "{}", response.text);
    let said = response.json();
    assert_eq!(said["status"], "failed");
    assert_eq!(said["reason"], "Certificates expiring");
    let [expired] = said["expired"].as_array().unwrap().as_slice() else { panic!("{said}") };
    assert_eq!(expired["protocol"], "amqp/ssl");
    assert_eq!(expired["port"], port_of(&broker, "amqps").port());
    assert_eq!(expired["interface"], "127.0.0.1");
    assert_eq!(expired["certfile"], soon.certificate.display().to_string());
    assert_eq!(expired["certfile_expires_on"], serde_json::json!(["2020-01-02 00:00:00"]));
    assert_eq!(expired["cacertfile_expires_on"], serde_json::json!([]));

    // Replaced by a good one: as soon as it is read.
    let (certificate, key) = (&soon.certificate, &soon.key);
    let good = authority.host("good", &["soon.example"]);
    std::fs::copy(good.certificate, certificate).unwrap();
    std::fs::copy(good.key, key).unwrap();
    assert_eq!(check("1/days").status, 503, "the old one is in use");
    broker.signal("HUP");
    broker.wait_for_line(&["certificates are read again"]);
    assert_eq!(check("1/days").json(), serde_json::json!({ "status": "ok" }));
    // Those of these tests are good for two thousand years, and so are their issuers.
    let all = check("5000/years").json();
    let all = all["expired"].as_array().unwrap();
    assert!(all.iter().any(|row| row["protocol"] == "https"), "{all:?}");
    let own = authority.path("server.pem").display().to_string();
    assert!(all.iter().any(|row| row["certfile"] == own), "{all:?}");
    let roots = authority.roots().display().to_string();
    assert!(all.iter().any(|row| row["cacertfile"] == roots), "{all:?}");
    for wrong in ["2/week", "two/weeks", "-1/days", "18446744073709551615/years"] {
        assert_eq!(check(wrong).status, 400, "{wrong}");
    }
    broker.terminate();
}
