//! TLS with a client of rustls on the other side, without sockets.

use super::*;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

/// A certificate for itself and its key, as files of this name.
fn certificate(directory: &Path, name: &str, host: &str) -> TlsOptions {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    let (certificate, file) =
        (directory.join(format!("{name}.pem")), directory.join(format!("{name}.key")));
    std::fs::write(&certificate, params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(&file, key.serialize_pem()).unwrap();
    TlsOptions { certificate, key: file, ..TlsOptions::default() }
}

fn client_config(options: &[&TlsOptions], versions: &str) -> Arc<ClientConfig> {
    let versions: &[_] = if versions == "1.2" { &[&TLS12] } else { &[&TLS13] };
    let mut roots = RootCertStore::empty();
    for options in options {
        roots.add(CertificateDer::from_pem_file(&options.certificate).unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(versions).unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

fn client(config: &Arc<ClientConfig>, host: &'static str) -> ClientConnection {
    ClientConnection::new(config.clone(), ServerName::try_from(host).unwrap()).unwrap()
}

/// Both ends, and what came out of them.
struct Pair {
    client: ClientConnection,
    server: Tls,
    /// What the server read, unwrapped.
    input: ReadBuffer,
    /// What the client read, unwrapped.
    heard: Vec<u8>,
    ended: Option<TlsEnded>,
    buffers: Buffers,
}

impl Pair {
    fn new(server: &TlsServer, client: ClientConnection) -> Self {
        let buffers = Buffers::new();
        Self {
            client,
            server: Tls::new(server, &buffers),
            input: ReadBuffer::new(&buffers),
            heard: Vec::new(),
            ended: None,
            buffers,
        }
    }

    /// Carries what each says to the other, in pieces as large as `piece` says, until both are silent.
    fn carry(&mut self, mut piece: impl FnMut() -> usize) {
        for _ in 0..100_000 {
            let mut octets = Vec::new();
            while self.client.wants_write() {
                self.client.write_tls(&mut octets).unwrap();
            }
            let mut rest = &octets[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at(piece().clamp(1, rest.len()));
                rest = later;
                self.server.raw().put(now);
                if let Err(ended) = self.server.open(&mut self.input) {
                    self.ended = Some(ended);
                }
                self.server.rest();
            }
            let sealed = drain(self.server.sealed());
            if octets.is_empty() && sealed.is_empty() {
                return;
            }
            let mut rest = &sealed[..];
            while !rest.is_empty() {
                let (mut now, later) = rest.split_at(piece().clamp(1, rest.len()));
                rest = later;
                while !now.is_empty() {
                    self.client.read_tls(&mut now).unwrap();
                    // An error is looked at by those who wait for one.
                    let _ = self.client.process_new_packets();
                    let mut heard = Vec::new();
                    let _ = self.client.reader().read_to_end(&mut heard);
                    self.heard.append(&mut heard);
                }
            }
        }
        panic!("they go on for ever");
    }

    fn say(&mut self, octets: &[u8]) {
        let mut output = Output::new(&self.buffers);
        output.put(octets);
        self.server.seal(&mut output).unwrap();
        assert!(output.is_empty());
    }
}

fn drain(output: &mut Output) -> Vec<u8> {
    let mut all = Vec::new();
    while !output.is_empty() {
        let count = output.front().len();
        all.extend_from_slice(output.front());
        output.consume(count);
    }
    output.release();
    all
}

/// A small generator of pseudo-random numbers.
fn random(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

#[test]
fn what_each_says_reaches_the_other_in_pieces_of_any_size() {
    let directory = tempfile::tempdir().unwrap();
    let options = certificate(directory.path(), "a", "localhost");
    let server = TlsServer::read(&options, &[]).unwrap();
    let named = TlsServer::read(&options, &[("b".into(), options.clone())]).unwrap();
    for seed in 1..=40_u64 {
        println!("seed {seed}");
        let mut random = random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let version = if seed % 2 == 0 { "1.2" } else { "1.3" };
        let server = if seed % 3 == 0 { &named } else { &server };
        let client = client(&client_config(&[&options], version), "localhost");
        let mut pair = Pair::new(server, client);
        let size_max = [1, 7, 600, 100_000][(random() % 4) as usize];
        let mut piece = || usize::try_from(random() % size_max + 1).unwrap();
        let text: Vec<u8> = (0..=255).cycle().take(200_000).collect();
        for length in [0, 1, 100, 16_384, 16_385, 200_000] {
            pair.client.writer().write_all(&text[..length.min(60_000)]).unwrap();
            pair.carry(&mut piece);
            assert_eq!(pair.input.filled(), &text[..length.min(60_000)]);
            pair.input.consume(pair.input.len());
            pair.say(&text[..length]);
            pair.carry(&mut piece);
            assert_eq!(std::mem::take(&mut pair.heard), &text[..length]);
        }
        assert!(pair.server.is_ready() && pair.ended.is_none());
        let (agreed, _) = pair.server.agreed().unwrap();
        assert_eq!(agreed, format!("TLSv{}", version.replace('.', "_")));
        pair.server.close();
        pair.client.send_close_notify();
        pair.carry(&mut piece);
        assert_eq!(pair.ended, Some(TlsEnded::ByPeer));
        assert!(pair.client.process_new_packets().unwrap().peer_has_closed());
    }
}

#[test]
fn a_connection_goes_on_at_another_shard_in_the_middle_of_a_record() {
    let directory = tempfile::tempdir().unwrap();
    let options = certificate(directory.path(), "a", "localhost");
    let server = TlsServer::read(&options, &[]).unwrap();
    let client = client(&client_config(&[&options], "1.3"), "localhost");
    let mut pair = Pair::new(&server, client);
    pair.carry(|| 1000);
    pair.client.writer().write_all(b"half here, half there").unwrap();
    let mut octets = Vec::new();
    pair.client.write_tls(&mut octets).unwrap();
    let (here, there) = octets.split_at(octets.len() / 2);
    pair.server.raw().put(here);
    pair.server.open(&mut pair.input).unwrap();
    pair.say(b"said before");
    let Pair { client, server, input, heard, .. } = pair;
    assert!(input.is_empty());

    let buffers = Buffers::new();
    let (parts, mut sealed) = server.into_parts();
    let (server, input) = (Tls::from_parts(parts, &buffers), ReadBuffer::new(&buffers));
    let mut pair = Pair { client, server, input, heard, ended: None, buffers };
    pair.server.sealed().put(&drain(&mut sealed));
    pair.say(b", said after");
    pair.server.raw().put(there);
    pair.server.open(&mut pair.input).unwrap();
    pair.carry(|| 1000);
    assert_eq!(pair.input.filled(), b"half here, half there");
    assert_eq!(pair.heard, b"said before, said after");
}

#[test]
fn nothing_of_the_pool_is_held_by_a_connection_at_rest() {
    let directory = tempfile::tempdir().unwrap();
    let options = certificate(directory.path(), "a", "localhost");
    let server = TlsServer::read(&options, &[]).unwrap();
    let client = client(&client_config(&[&options], "1.3"), "localhost");
    let mut pair = Pair::new(&server, client);
    pair.carry(|| 100);
    pair.client.writer().write_all(b"a record of which not all is there").unwrap();
    let mut octets = Vec::new();
    pair.client.write_tls(&mut octets).unwrap();
    let idle = pair.buffers.idle_blocks();
    pair.server.raw().put(&octets[..octets.len() - 1]);
    pair.server.open(&mut pair.input).unwrap();
    pair.server.rest();
    assert_eq!(pair.server.raw.capacity(), 0);
    assert_eq!(pair.buffers.idle_blocks(), idle.max(1));
    pair.server.raw().put(&octets[octets.len() - 1..]);
    pair.server.open(&mut pair.input).unwrap();
    assert_eq!(pair.input.filled(), b"a record of which not all is there");
}

/// L107: the very name, then a wildcard for one label, then the usual one.
#[test]
fn a_client_gets_the_certificate_of_the_host_it_asks_for() {
    let directory = tempfile::tempdir().unwrap();
    let make = |name: &str, host: &str| certificate(directory.path(), name, host);
    let (usual, exact, wild) =
        (make("u", "usual.example"), make("e", "a.site.example"), make("w", "*.site.example"));
    let hosts = [("*.Site.Example".into(), wild.clone()), ("A.site.example".into(), exact.clone())];
    let server = TlsServer::read(&usual, &hosts).unwrap();
    for (host, options) in
        [("a.site.example", &exact), ("b.site.example", &wild), ("usual.example", &wild)]
    {
        let mut pair = Pair::new(&server, client(&client_config(&[options], "1.3"), host));
        pair.carry(|| 50);
        assert_eq!(pair.server.is_ready(), host != "usual.example", "{host}: {:?}", pair.ended);
        let shown = pair.client.peer_certificates().map(|all| all[0].clone());
        if pair.server.is_ready() {
            assert_eq!(shown, CertificateDer::from_pem_file(&options.certificate).ok());
        }
    }
    let server = TlsServer::read(&usual, &hosts[1..]).unwrap();
    let mut pair = Pair::new(&server, client(&client_config(&[&usual], "1.3"), "usual.example"));
    pair.carry(|| 50);
    assert!(pair.server.is_ready());
}

#[test]
fn a_ticket_of_one_connection_opens_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let options = certificate(directory.path(), "a", "localhost");
    for version in ["1.2", "1.3"] {
        let server = TlsServer::read(&options, &[]).unwrap();
        let config = client_config(&[&options], version);
        let mut kinds = Vec::new();
        for _ in 0..3 {
            let mut pair = Pair::new(&server.clone(), client(&config, "localhost"));
            pair.carry(|| 1000);
            kinds.push(pair.client.handshake_kind().unwrap());
        }
        assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed]);
        // Read again, for instance with other rules for clients: nothing of before counts.
        let server = TlsServer::read(&options, &[]).unwrap();
        let mut pair = Pair::new(&server, client(&config, "localhost"));
        pair.carry(|| 1000);
        assert_eq!(pair.client.handshake_kind(), Some(HandshakeKind::Full));
    }
}

/// Abuse row 103. Whatever comes before the handshake is done has an end.
#[test]
fn octets_that_are_no_handshake_or_too_much_of_one_end_with_an_alert() {
    let directory = tempfile::tempdir().unwrap();
    let options = certificate(directory.path(), "a", "localhost");
    let plain = TlsServer::read(&options, &[]).unwrap();
    let named = TlsServer::read(&options, &[("b".into(), options.clone())]).unwrap();
    let record = |inside: &[u8]| {
        let length = u16::try_from(inside.len()).unwrap().to_be_bytes();
        [&[0x16, 3, 1][..], &length, inside].concat()
    };
    // A hello that says it has 16 MiB, in records as large as may be; and an endless row of small ones.
    let huge: Vec<u8> =
        [1, 0xFF, 0xFF, 0xFF].into_iter().chain(std::iter::repeat_n(0, 16_000)).collect();
    let many: Vec<u8> = std::iter::once(record(&[1, 0, 0xFF, 0xF0]))
        .chain((0..20_000).map(|_| record(&[0])))
        .flatten()
        .collect();
    for octets in [
        b"SSH-2.0-stranger\r\n".to_vec(),
        b"\x10\x0d\0\x04ABCD\x04\x02\0\0\0\x01c".to_vec(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0; 100],
        (0..10).flat_map(|_| record(&huge)).collect(),
        many,
    ] {
        for server in [&plain, &named] {
            let buffers = Buffers::new();
            let (mut tls, mut input) = (Tls::new(server, &buffers), ReadBuffer::new(&buffers));
            let ended = octets.chunks(1000).find_map(|piece| {
                tls.raw().put(piece);
                tls.open(&mut input).err()
            });
            let shown = &octets[..8];
            assert!(matches!(ended, Some(TlsEnded::Failed(_))), "{shown:?}: {ended:?}");
            let said = drain(tls.sealed());
            assert!(said.is_empty() || said.first() == Some(&21), "an alert: {said:?}");
            assert!(input.is_empty() && tls.raw.is_empty() && !tls.is_ready());
            // Nothing is left to go wrong.
            let mut output = Output::new(&buffers);
            output.put(b"too late");
            assert_eq!(tls.seal(&mut output), Ok(()));
            tls.close();
            assert!(output.is_empty() && tls.sealed_len() == 0);
        }
    }
}

/// Abuse row 103, CVE-2026-39304
#[test]
fn key_updates_without_end_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let options = certificate(directory.path(), "a", "localhost");
    let server = TlsServer::read(&options, &[]).unwrap();
    let mut pair = Pair::new(&server, client(&client_config(&[&options], "1.3"), "localhost"));
    pair.carry(|| 1000);
    for _ in 0..10 {
        pair.client.refresh_traffic_keys().unwrap();
        pair.carry(|| 1000);
    }
    pair.client.writer().write_all(b"some are fine").unwrap();
    pair.say(b"on both sides");
    pair.carry(|| 1000);
    assert_eq!(
        (pair.input.filled(), &pair.heard[..]),
        (&b"some are fine"[..], &b"on both sides"[..])
    );
    let mut asked = 0;
    while pair.ended.is_none() && asked < 1000 {
        asked += 1;
        let _ = pair.client.refresh_traffic_keys();
        pair.carry(|| 1000);
    }
    assert!(
        matches!(pair.ended, Some(TlsEnded::Failed(_))) && asked <= 33,
        "{asked}: {:?}",
        pair.ended
    );
}

#[test]
fn files_that_cannot_be_used_are_named_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b) = (certificate(directory.path(), "a", "a"), certificate(directory.path(), "b", "b"));
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let encrypted = write(
        "encrypted.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let old = write(
        "old.key",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAA==\n-----END RSA PRIVATE KEY-----\n",
    );
    let empty = write("empty", "");
    let none = directory.path().join("none");
    let key = |key: &Path| TlsOptions { key: key.into(), ..a.clone() };
    let of = |certificate: &Path| TlsOptions { certificate: certificate.into(), ..a.clone() };
    let clients = |roots: Option<&Path>, revoked: Option<&Path>| TlsOptions {
        clients: ClientCertificates::Required,
        client_roots: roots.map(Into::into),
        revoked: revoked.map(Into::into),
        ..a.clone()
    };
    for (options, file, reason) in [
        (of(&none), &none, "No such file"),
        (of(&empty), &empty, "there is no certificate (PEM) in it"),
        (key(&none), &none, "No such file"),
        (key(&empty), &empty, "there is no private key"),
        (key(&encrypted), &encrypted, "the key is encrypted; 'openssl pkey -in"),
        (key(&old), &old, "the key is encrypted"),
        (key(&b.key), &b.key, "is of no use for"),
        (clients(None, None), &a.certificate, "no file says who issues them"),
        (clients(Some(&none), None), &none, "No such file"),
        (clients(Some(&empty), None), &empty, "there is no certificate"),
        (clients(Some(&a.certificate), Some(&empty)), &empty, "there is no X509 CRL"),
    ] {
        let error = TlsServer::read(&options, &[]).unwrap_err();
        assert_eq!(&error.path, file, "{error}");
        assert!(error.reason.contains(reason), "{error}");
    }
}

#[test]
fn secrets_are_written_where_the_operator_wants_them() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secrets");
    let options = certificate(directory.path(), "a", "localhost");
    let options = TlsOptions { key_log: Some(file.clone()), ..options };
    let server = TlsServer::read(&options, &[]).unwrap();
    let mut pair = Pair::new(&server, client(&client_config(&[&options], "1.3"), "localhost"));
    pair.carry(|| 1000);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.lines().any(|line| line.starts_with("CLIENT_TRAFFIC_SECRET_0 ")), "{text}");
    assert!(text.lines().all(|line| line.split(' ').count() == 3), "{text}");
}
