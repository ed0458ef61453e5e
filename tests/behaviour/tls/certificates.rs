//! Certificates of clients, and certificates for several hosts.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;

use crate::support::handshake::PROTOCOL_HEADER;
use crate::support::siege::definitions;
use crate::support::{Broker, Client, Login};

use super::ground::{Authority, BOTH, connect, port_of, refusal, stranger, through};

/// What this client is offered.
fn mechanisms(addr: SocketAddr, config: &Arc<ClientConfig>) -> String {
    let mut client = Client::connect(through(addr, config));
    client.send_raw(PROTOCOL_HEADER);
    client.expect_start()
}

/// Logs in with the certificate alone.
fn external(broker: &Broker, config: &Arc<ClientConfig>) -> Client {
    let mut client = Client::connect(through(port_of(broker, "amqps"), config));
    client.send_raw(PROTOCOL_HEADER);
    assert!(client.expect_start().contains("EXTERNAL"));
    client.send_start_ok(&Login::default(), "EXTERNAL", b"");
    client
}

/// S43, S57, R50, R81
#[test]
fn a_certificate_is_a_login_of_amqp() {
    let authority = Authority::new();
    let roots = format!("tls_ca_cert = {}", authority.roots().display());
    let definitions = definitions(&[
        ("device", ["", "", ".*"]),
        ("CN=device,O=Plant", ["", "", ""]),
        ("device.example", ["", "", ""]),
    ]);
    let with_users = format!("{roots}\nload_definitions = {}", definitions.display());
    let (device, nobody) =
        (authority.client("device", "device", 0), authority.client("x", "nobody", 0));
    for (from, user) in [
        ("common_name", "device"),
        ("distinguished_name", "CN=device,O=Plant"),
        ("subject_alternative_name", "device.example"),
    ] {
        let main =
            format!("{with_users}\ntls_verify_peer = optional\nssl_cert_login_from = {from}");
        let broker = authority.broker(2, &main, "");
        for version in BOTH {
            let mut client = external(&broker, &authority.trusted(version, Some(&device)));
            client.expect_tune();
            broker.wait_for_line(&["listening amqps"]);
            let mut client = external(&broker, &authority.trusted(version, Some(&nobody)));
            client.expect_close(403, "ACCESS_REFUSED");
            let none = authority.trusted(version, None);
            assert_eq!(mechanisms(port_of(&broker, "amqps"), &none), "PLAIN AMQPLAIN", "{user}");
        }
        broker.wait_for_line(&["login refused", "EXTERNAL", "no such user"]);
        broker.terminate();
    }
    drop(std::fs::remove_file(definitions));
}

/// R81, V-099; EXTERNAL that nobody offered is refused as any other mechanism.
#[test]
fn clients_without_a_good_certificate_are_refused_where_one_is_needed() {
    let authority = Authority::new();
    let stranger = Authority::new();
    let main = format!("tls_verify_peer = true\ntls_ca_cert = {}", authority.roots().display());
    let broker = authority.broker(2, &main, "");
    let foreign = stranger.client("foreign", "guest", 0);
    let good = authority.client("good", "guest", 0);
    for version in BOTH {
        let port = port_of(&broker, "amqps");
        let said = refusal(port, &authority.trusted(version, None));
        assert!(
            said.contains("CertificateRequired") || said.contains("HandshakeFailure"),
            "{said}"
        );
        let said = refusal(port, &authority.trusted(version, Some(&foreign)));
        assert!(said.contains("UnknownCA") || said.contains("DecryptError"), "{said}");
        external(&broker, &authority.trusted(version, Some(&good))).expect_tune();
    }
    let mut plain = Client::connect(broker.addr());
    plain.send_raw(PROTOCOL_HEADER);
    assert_eq!(plain.expect_start(), "PLAIN AMQPLAIN");
    plain.send_start_ok(&Login::default(), "EXTERNAL", b"guest");
    plain.expect_close(403, "EXTERNAL");
    broker.terminate();
}

/// V-098 to V-100
#[cfg(feature = "mqtt")]
#[test]
fn a_certificate_is_a_login_of_mqtt_where_the_listener_says_so() {
    use crate::mqtt::client::Client as Mqtt;
    use crate::mqtt::octets::{Hello, V4, V5};
    let authority = Authority::new();
    let listener = format!(
        "use_identity_as_username = on\nlistener.ssl.b = 127.0.0.1:0\n\
         listener.ssl.b.require_certificate = on\nlistener.ssl.b.depth = 0\nlistener.ssl.b.crlfile = {}\n\
         listener.ssl.b.use_identity_as_username = off\n",
        authority.revoked(&["gone"]).display()
    );
    let main = format!("tls_ca_cert = {}", authority.roots().display());
    let broker = authority.broker(2, &main, &listener);
    let ports: Vec<SocketAddr> = broker
        .log()
        .lines()
        .filter_map(|line| line.strip_prefix("listening mqtts ")?.trim().parse().ok())
        .collect();
    let [strict, usual] = ports[..] else { panic!("two ports: {ports:?}") };
    let guest = authority.client("guest", "guest", 0);
    let far = authority.client("far", "guest", 2);
    Mqtt::connect(through(usual, &authority.trusted("1.2", Some(&far))), &Hello::new(V4, "far"))
        .ping();
    for (number, version) in [V4, V5, V4, V5].into_iter().enumerate() {
        let id = format!("c{number}");
        // No password, and another name than the certificate's.
        let hello =
            Hello { user: b"other".into(), password: b"".into(), ..Hello::new(version, &id) };
        let config = authority.trusted("1.3", Some(&guest));
        Mqtt::connect(through(usual, &config), &hello).ping();
        let (_, connack) = Mqtt::try_connect(through(strict, &config), &hello);
        assert_ne!(connack.code, 0, "there the name and the password count");
        Mqtt::connect(through(strict, &config), &Hello::new(version, &id)).ping();
        // Without a certificate it is as ever.
        let none = authority.trusted("1.3", None);
        let (_, connack) = Mqtt::try_connect(through(usual, &none), &hello);
        assert_ne!(connack.code, 0);
        Mqtt::connect(through(usual, &none), &Hello::new(version, &id)).ping();
    }
    let nobody = authority.client("nobody", "nobody", 0);
    let config = authority.trusted("1.3", Some(&nobody));
    let (_, connack) = Mqtt::try_connect(through(usual, &config), &Hello::new(V5, "n"));
    assert_eq!(connack.code, 0x86);
    for (name, user, between, reason) in
        [("gone", "gone", 0, "Revoked"), ("deep", "guest", 1, "UnknownCA")]
    {
        let paper = authority.client(name, user, between);
        let said = refusal(strict, &authority.trusted("1.3", Some(&paper)));
        assert!(said.contains(reason), "{name}: {said}");
    }
    broker.terminate();
}

/// L104, L107
#[test]
fn each_host_has_its_own_certificate_and_its_own_rules() {
    let authority = Authority::new();
    let papers = [
        ("a.site.example", authority.host("exact", &["a.site.example"]), ""),
        ("*.site.example", authority.host("wild", &["*.site.example"]), "verify"),
    ];
    let mut sections = String::new();
    for (host, paper, rule) in &papers {
        let (certificate, key) = (paper.certificate.display(), paper.key.display());
        sections.push_str(&format!("[sni:{host}]\ntls_cert = {certificate}\namqp_tls_cert = {certificate}\namqp_tls_key = {key}\ntls_key = {key}\n"));
        if !rule.is_empty() {
            let roots = authority.roots();
            sections
                .push_str(&format!("tls_verify_peer = true\ntls_ca_cert = {}\n", roots.display()));
        }
    }
    let broker = authority.broker(2, "", &sections);
    let good = authority.client("good", "guest", 0);
    for version in BOTH {
        for (host, is_strict) in
            [("localhost", false), ("a.site.example", false), ("b.site.example", true)]
        {
            for paper in [None, Some(&good)] {
                let config = authority.trusted(version, paper);
                let mut stream = stranger(port_of(&broker, "amqps"), &config, host);
                let is_served = stream.write_all(PROTOCOL_HEADER).is_ok()
                    && stream.read_exact(&mut [0; 8]).is_ok();
                assert_eq!(is_served, !is_strict || paper.is_some(), "{version} {host}");
            }
        }
    }
    connect(port_of(&broker, "amqps"), &authority.trusted("1.3", None));
    broker.terminate();
}
