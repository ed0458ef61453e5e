//! What the settings say of TLS, read from files as operators write them.

use super::*;
use crate::config::{Config, Start, Transport, load};

fn read(name: &str, text: &str) -> Result<Box<crate::config::Loaded>, String> {
    let path = std::env::temp_dir().join(format!("ringmq-tls-{name}-{}.ini", std::process::id()));
    std::fs::write(&path, text).map_err(|e| e.to_string())?;
    let args = ["ringmq".to_owned(), "-c".to_owned(), path.display().to_string()];
    let start =
        load(args, []).map_err(|e| e.to_string().replace(&path.display().to_string(), "x.ini"));
    std::fs::remove_file(&path).map_err(|e| e.to_string())?;
    match start? {
        Start::Run(loaded) => Ok(loaded),
        Start::Check(_) | Start::Passwd(_) | Start::Print(_) => panic!("no start"),
    }
}

fn config(name: &str, text: &str) -> Config {
    read(name, text).unwrap().config
}

#[test]
fn without_a_certificate_there_is_no_port_for_tls() {
    let config = config("none", "[main]\nlog_level = info\n");
    assert_eq!((config.amqp.tls_port, config.mqtt.tls_port), (Some(5671), Some(8883)));
    assert!(config.amqp.tls.is_none() && config.mgmt.tls.is_none());
    assert_eq!((config.mgmt.tls_port, config.mgmt.secured().count()), (Some(15671), 0));
    assert!(config.mqtt.listeners().iter().all(|listener| listener.tls.is_none()));
}

/// L98, L99, L100
#[test]
fn a_certificate_turns_the_ports_on_with_the_defaults_of_lavinmq() {
    let config = config("usual", "[main]\ntls_cert = /c.pem\ntls_min_version = 1.3\n");
    let amqp = config.amqp.tls.clone().unwrap();
    assert_eq!(
        (amqp.usual.certificate.as_path(), amqp.usual.key.as_path()),
        ("/c.pem".as_ref(), "/c.pem".as_ref())
    );
    assert_eq!(amqp.usual.versions, TlsVersions::parse_min("1.3").unwrap());
    assert_eq!(amqp.usual.clients, ClientCertificates::Ignored);
    assert_eq!((amqp.login_from, amqp.names_user), (CertificateName::CommonName, false));
    let mqtt = config.mqtt.listeners();
    let listener = mqtt.iter().find(|listener| &*listener.name == "mqtts").unwrap();
    assert_eq!(
        listener.address,
        crate::config::ListenerAddress::Ip("127.0.0.1:8883".parse().unwrap())
    );
    assert_eq!(listener.tls.as_deref(), Some(&*amqp));
    let http: Vec<_> = config.mgmt.secured().collect();
    assert_eq!(http, ["127.0.0.1:15671".parse().unwrap()]);
    assert_eq!(config.mgmt.tls.as_deref(), Some(&*amqp));
}

/// L104, L107
#[test]
fn a_host_has_its_own_certificate_and_each_protocol_may_have_another() {
    let text = "[main]\ntls_cert = /c.pem\ntls_verify_peer = true\ntls_ca_cert = /ca.pem\n\
                [sni:A.example]\ntls_cert = /a.pem\ntls_key = /a.key\nmqtt_tls_cert = /m.pem\n\
                mqtt_tls_verify_peer = true\nmqtt_tls_ca_cert = /devices\nhttp_tls_cert = /h.pem\n";
    let loaded = read("hosts", text).unwrap();
    let amqp = loaded.config.amqp.tls.clone().unwrap();
    let [(name, host)] = amqp.hosts.as_slice() else { panic!("{amqp:?}") };
    assert_eq!(
        (&**name, host.certificate.as_path(), host.key.as_path()),
        ("a.example", "/a.pem".as_ref(), "/a.key".as_ref())
    );
    assert_eq!(host.clients, ClientCertificates::Ignored, "it says nothing of clients");
    let mqtt = loaded.config.mqtt.listeners();
    let mqtt = mqtt.iter().find_map(|listener| listener.tls.clone()).unwrap();
    let host = &mqtt.hosts[0].1;
    assert_eq!(
        (host.certificate.as_path(), host.key.as_path()),
        ("/m.pem".as_ref(), "/m.pem".as_ref())
    );
    assert_eq!(
        (host.clients, host.client_roots.as_deref()),
        (ClientCertificates::Required, Some("/devices".as_ref()))
    );
    let http = loaded.config.mgmt.tls.as_deref().unwrap();
    assert_eq!(http.usual.certificate.as_path(), "/c.pem");
    assert_eq!(http.hosts[0].1.certificate.as_path(), "/h.pem");
    assert!(loaded.notes.is_empty(), "{:?}", loaded.notes);
}

/// V-091, V-098 to V-101
#[test]
fn a_listener_inherits_what_it_does_not_say() {
    let text = "[main]\ntls_cert = /c.pem\n[mqtt]\ntls_port = off\nlistener.ssl.cafile = /ca.pem\n\
                listener.ssl.certfile = /cert.pem\nlistener.ssl.keyfile = /key.pem\n\
                listener.ssl.default = 127.0.0.1:8883\nlistener.ssl.require_certificate = on\n\
                listener.ssl.use_identity_as_username = on\nlistener.ssl.depth = 2\n\
                listener.ssl.eccs = [secp384r1]\nlistener.ssl.tls_version = tlsv1.2\n\
                listener.ssl.ciphers = ECDHE-RSA-AES256-GCM-SHA384\nlistener.ssl.crlfile = /crl.pem\n\
                listener.ssl.open = 127.0.0.1:8884\nlistener.ssl.open.require_certificate = off\n\
                listener.ssl.open.use_identity_as_username = off\n\
                listener.wss.web = 127.0.0.1:9002\n";
    let listeners = config("named", text).mqtt.listeners();
    let of = |name: &str| {
        let listener = listeners.iter().find(|listener| &*listener.name == name).unwrap();
        (listener.transport, listener.tls.clone().unwrap())
    };
    let (transport, tls) = of("listener.ssl.default");
    assert_eq!((transport, tls.names_user), (Transport::Ssl, true));
    let path = |path: &str| Some(PathBuf::from(path));
    let expected = TlsOptions {
        certificate: "/cert.pem".into(),
        key: "/key.pem".into(),
        versions: TlsVersions::parse_list("tlsv1.2").unwrap(),
        ciphers: TlsCiphers::parse("ECDHE-RSA-AES256-GCM-SHA384").unwrap(),
        groups: TlsGroups::parse("secp384r1").unwrap(),
        clients: ClientCertificates::Required,
        client_roots: path("/ca.pem"),
        depth: Some(2),
        revoked: path("/crl.pem"),
        key_log: None,
    };
    assert_eq!(tls.usual, expected);
    let (_, tls) = of("listener.ssl.open");
    assert_eq!((tls.usual.clients, tls.names_user), (ClientCertificates::Ignored, false));
    let (transport, tls) = of("listener.wss.web");
    assert_eq!((transport, tls.usual.certificate.as_path()), (Transport::Wss, "/c.pem".as_ref()));
    assert_eq!(tls.usual.client_roots, None, "what ssl listeners say is not for wss");
}

/// R50, R113
#[test]
fn the_name_in_a_certificate_is_looked_for_as_rabbitmq_does() {
    let from = |lines: &str| {
        let text = format!("[main]\ntls_cert = /c.pem\n{lines}");
        config("login", &text).amqp.tls.unwrap().login_from
    };
    assert_eq!(
        from("ssl_cert_login_from = distinguished_name"),
        CertificateName::DistinguishedName
    );
    let san = from(
        "ssl_cert_login_from = subject_alternative_name\nssl_cert_login_san_type = email\nssl_cert_login_san_index = 1",
    );
    assert_eq!(san, CertificateName::AlternativeName(AlternativeKind::Email, 1));
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    for (text, reason) in [
        (
            "[main]\ntls_min_version = 2",
            "x.ini:2: main.tls_min_version: '2' is none of 1.0, 1.1, 1.2, 1.3",
        ),
        (
            "[main]\ntls_verify_peer = maybe",
            "x.ini:2: main.tls_verify_peer: 'maybe' is none of false, optional, true",
        ),
        ("[sni:a]\ntls_colour = x", "x.ini:2: there is no setting 'tls_colour' in [sni:a]"),
        ("[sni:]\ntls_cert = x", "x.ini:2: sni:.tls_cert: a section [sni:host] names a host"),
        ("[main]\ntls_cert = /c\n[sni:a]\ntls_key = x", "settings: [sni:a] has no tls_cert"),
        (
            "[mqtt]\nlistener.ssl.a = 127.0.0.1:1",
            "settings: mqtt.listener.ssl.a has no certfile, and there is no main.tls_cert",
        ),
        (
            "[mqtt]\nlistener.ssl.a.keypasswd = x",
            "x.ini:2: mqtt.listener.ssl.a.keypasswd: keys with a password are not read; take it away with 'openssl pkey'",
        ),
    ] {
        assert_eq!(read("wrong", text).map(|_| ()).unwrap_err(), reason);
    }
}
