//! An authority that makes certificates, brokers that use them, and a port in front of TLS so that
//! every client of these tests can go there. May import `support`.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    DistinguishedName, DnType, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::Broker;
use crate::support::broker::Options;
use crate::support::client::PATIENCE;
#[cfg(feature = "mqtt")]
use crate::support::handshake::PROTOCOL_HEADER;
#[cfg(feature = "mqtt")]
use crate::transport::web::{Frame, Web, frame, request};

/// Both versions.
pub(crate) const BOTH: [&str; 2] = ["1.2", "1.3"];

type Issuer = CertifiedIssuer<'static, KeyPair>;

/// Who issues certificates, with a folder for them that goes with it.
pub(crate) struct Authority {
    pub(crate) directory: PathBuf,
    root: Issuer,
}

impl Drop for Authority {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub(crate) struct Paper {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

fn issuer(name: &str, above: Option<&Issuer>) -> Issuer {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().unwrap();
    match above {
        None => CertifiedIssuer::self_signed(params, key).unwrap(),
        Some(above) => CertifiedIssuer::signed_by(params, key, above).unwrap(),
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("tls-{}-{number}", std::process::id());
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&directory).expect("a directory under target/");
        let root = issuer(&format!("Authority {number}"), None);
        let authority = Self { directory, root };
        authority.write("ca.pem", &authority.root.pem());
        authority
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }

    pub(crate) fn write(&self, file: &str, text: &str) -> PathBuf {
        let path = self.path(file);
        std::fs::write(&path, text).expect("a file under target/");
        path
    }

    /// Its own certificate.
    pub(crate) fn roots(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// A certificate for these hosts, in files of this name.
    pub(crate) fn host(&self, name: &str, hosts: &[&str]) -> Paper {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        self.issue(name, &CertificateParams::new(hosts).unwrap(), &[])
    }

    /// The same, good until a day.
    pub(crate) fn ending(&self, name: &str, hosts: &[&str], day: (i32, u8, u8)) -> Paper {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.not_after = date_time_ymd(day.0, day.1, day.2);
        self.issue(name, &params, &[])
    }

    /// The certificate of a client, in files of this name; so many others between it and the root.
    pub(crate) fn client(&self, name: &str, user: &str, between: usize) -> Paper {
        let mut params = CertificateParams::new(vec![format!("{user}.example")]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Plant");
        params.distinguished_name.push(DnType::CommonName, user);
        params.serial_number = Some(SerialNumber::from_slice(user.as_bytes()));
        let mut chain: Vec<Issuer> = Vec::new();
        for number in 0..between {
            let above = chain.last().unwrap_or(&self.root);
            let next = issuer(&format!("{name} {number}"), Some(above));
            chain.push(next);
        }
        self.issue(name, &params, &chain)
    }

    /// A certificate of any kind, with issuers of any kind between it and the root, from the top.
    pub(crate) fn signed(
        &self,
        name: &str,
        params: &CertificateParams,
        between: &[CertificateParams],
    ) -> Paper {
        let mut chain: Vec<Issuer> = Vec::new();
        for params in between {
            let above = chain.last().unwrap_or(&self.root);
            let key = KeyPair::generate().unwrap();
            let next = CertifiedIssuer::signed_by(params.clone(), key, above).unwrap();
            chain.push(next);
        }
        self.issue(name, params, &chain)
    }

    fn issue(&self, name: &str, params: &CertificateParams, chain: &[Issuer]) -> Paper {
        let key = KeyPair::generate().unwrap();
        let above = chain.last().unwrap_or(&self.root);
        let mut text = params.signed_by(&key, above).unwrap().pem();
        for between in chain.iter().rev() {
            text.push_str(&between.pem());
        }
        Paper {
            certificate: self.write(&format!("{name}.pem"), &text),
            key: self.write(&format!("{name}.key"), &key.serialize_pem()),
        }
    }

    /// A list of users whose certificates were called back.
    pub(crate) fn revoked(&self, users: &[&str]) -> PathBuf {
        let day = date_time_ymd(2020, 1, 1);
        let revoked = |user: &&str| RevokedCertParams {
            serial_number: SerialNumber::from_slice(user.as_bytes()),
            revocation_time: day,
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: day,
            next_update: date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: users.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        self.write("crl.pem", &params.signed_by(&self.root).unwrap().pem().unwrap())
    }

    /// A broker with a certificate for localhost and free ports for TLS. `main` is further lines of
    /// `[main]`, `more` begins with a section.
    pub(crate) fn broker(&self, shards: u16, main: &str, more: &str) -> Broker {
        let Paper { certificate, key } = self.host("server", &["localhost"]);
        let config = format!(
            "tls_cert = {}\ntls_key = {}\n{main}\n[mgmt]\ntls_port = 0\n[amqp]\ntls_port = 0\n[mqtt]\ntls_port = 0\n{more}\n",
            certificate.display(),
            key.display(),
        );
        Broker::with(Options { shards, config: &config, ..Options::new() })
    }

    /// A client that trusts this authority.
    pub(crate) fn trusted(&self, version: &str, paper: Option<&Paper>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.der().clone()).unwrap();
        let versions: &[_] = if version == "1.2" { &[&TLS12] } else { &[&TLS13] };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_protocol_versions(versions).unwrap();
        let builder = builder.with_root_certificates(roots);
        Arc::new(match paper {
            None => builder.with_no_client_auth(),
            Some(Paper { certificate, key }) => {
                let chain = CertificateDer::pem_file_iter(certificate).unwrap();
                let chain = chain.collect::<Result<_, _>>().unwrap();
                let key = PrivateKeyDer::from_pem_file(key).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        })
    }
}

/// Where the broker listens with this name of a protocol, such as `amqps` or `amqp wss`.
pub(crate) fn port_of(broker: &Broker, protocol: &str) -> SocketAddr {
    let log = broker.log();
    let words = format!("listening {protocol}");
    let line = log.lines().find_map(|line| {
        let rest = line.strip_prefix(&words)?;
        rest.strip_prefix("://").or_else(|| rest.strip_prefix(' '))
    });
    let addr = line.and_then(|line| line.split('/').next()).expect("a line of its own");
    addr.trim().parse().expect("an address")
}

/// One connection, to write to and read from in turn.
pub(crate) type Stream = StreamOwned<ClientConnection, TcpStream>;

/// A connection whose handshake may still fail.
pub(crate) fn stranger(addr: SocketAddr, config: &Arc<ClientConfig>, host: &str) -> Stream {
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let socket = TcpStream::connect_timeout(&addr, PATIENCE).expect("the broker accepts");
    socket.set_nodelay(true).expect("TCP_NODELAY");
    socket.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
    StreamOwned::new(ClientConnection::new(config.clone(), name).unwrap(), socket)
}

/// A connection whose handshake is done, as far as this side can tell.
pub(crate) fn connect(addr: SocketAddr, config: &Arc<ClientConfig>) -> Stream {
    let mut stream = stranger(addr, config, "localhost");
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).expect("a handshake");
    }
    stream
}

/// Why the broker does not take this client: what it says at last.
pub(crate) fn refusal(addr: SocketAddr, config: &Arc<ClientConfig>) -> String {
    let mut stream = stranger(addr, config, "localhost");
    // With TLS 1.3 the client is done before it is refused.
    drop(stream.write_all(b"AMQP\0\0\x09\x01"));
    match stream.read(&mut [0; 100]) {
        Ok(count) => panic!("the broker says {count} octets"),
        Err(error) => error.to_string(),
    }
}

/// A port of this machine without TLS: what connects there first goes on with it.
pub(crate) fn through(addr: SocketAddr, config: &Arc<ClientConfig>) -> SocketAddr {
    through_stream(connect(addr, config))
}

/// The same for a connection that is there already.
pub(crate) fn through_stream(stream: Stream) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("its number");
    thread::spawn(move || {
        let (client, _) = listener.accept().expect("the test connects");
        client.set_nodelay(true).expect("TCP_NODELAY");
        carry(&client, stream);
        drop(client.shutdown(Shutdown::Both));
    });
    port
}

/// Carries octets both ways until either side ends.
fn carry(mut client: &TcpStream, stream: Stream) {
    let Stream { conn: mut tls, sock: mut server } = stream;
    tls.set_buffer_limit(None);
    let glance = Some(Duration::from_millis(1));
    client.set_read_timeout(glance).expect("a read timeout");
    server.set_read_timeout(glance).expect("a read timeout");
    let is_silence = |kind: ErrorKind| matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut);
    let mut piece = vec![0; 100_000];
    loop {
        match client.read(&mut piece) {
            Ok(0) => tls.send_close_notify(),
            Ok(count) => tls.writer().write_all(&piece[..count]).expect("it takes everything"),
            Err(error) if is_silence(error.kind()) => {}
            Err(_) => return,
        }
        while tls.wants_write() {
            if tls.write_tls(&mut server).is_err() {
                return;
            }
        }
        match tls.read_tls(&mut server) {
            Ok(0) => return,
            Ok(_) => {
                let result = tls.process_new_packets();
                let mut heard = Vec::new();
                drop(tls.reader().read_to_end(&mut heard));
                if client.write_all(&heard).is_err() || result.is_err() {
                    return;
                }
            }
            Err(error) if is_silence(error.kind()) => {}
            Err(_) => return,
        }
    }
}

/// AMQP and MQTT are spoken in WebSockets inside of TLS: several of each, since each belongs to some
/// shard.
#[cfg(feature = "mqtt")]
pub(crate) fn both_over_websockets(authority: &Authority, port: SocketAddr) {
    for version in BOTH {
        let config = authority.trusted(version, None);
        for id in ["a", "b", "c", "d"] {
            let mut amqp = Web::open(through(port, &config));
            amqp.say(&frame(0x82, PROTOCOL_HEADER));
            assert!(matches!(amqp.next(), Frame::Binary(start) if start.starts_with(&[1, 0, 0])));
            let mut mqtt = Web::connect(through(port, &config));
            mqtt.say(request("/mqtt", "Sec-WebSocket-Protocol: mqtt\r\n").as_bytes());
            assert!(mqtt.answer().starts_with("HTTP/1.1 101 "));
            let hello = crate::mqtt::octets::Hello::new(4, id).octets();
            mqtt.say(&frame(0x82, &hello));
            assert_eq!(mqtt.next(), Frame::Binary(vec![0x20, 2, 0, 0]));
            mqtt.say(&frame(0x82, &[0xC0, 0]));
            assert_eq!(mqtt.next(), Frame::Binary(vec![0xD0, 0]));
        }
    }
}
