//! TLS as a client speaks it: octets in, octets out. Imports rustls, the options.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
    UnbufferedClientConnection,
};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, WriteTraffic};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, HandshakeKind, NamedGroup, RootCertStore,
    SignatureScheme,
};

use super::error::ClientError;
use crate::error::PerfError;
use crate::options::transport::{TlsVersion, TransportOptions};

/// Tickets that are kept: one for each connection that may be on its way.
const TICKETS_MAX: usize = 65_536;
/// Octets inside one record at most.
const RECORD_BYTES_MAX: usize = 16 * 1024;
/// Octets of the first record: see `shards::tls`, copies of what begins at a page are slow.
const FIRST_RECORD_BYTES: usize = 1024;
/// What sealing adds to a record at most, and a change of keys before it.
const SEAL_ROOM_BYTES: usize = 1024;
/// Flights that may wait to be written when something is to be sealed.
const FLIGHTS_MAX: usize = 8;

/// Handshakes that all connections of a run have made.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handshakes {
    /// With certificate and key exchange.
    pub(crate) full: u64,
    /// By a ticket of an earlier one.
    pub(crate) resumed: u64,
}

/// What all connections of a run have in common.
pub(crate) struct TlsClient {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    full: AtomicU64,
    resumed: AtomicU64,
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient").field("name", &self.name).finish_non_exhaustive()
    }
}

impl TlsClient {
    /// For connections to `host`.
    ///
    /// # Errors
    /// A file that is missing or not what it should be; settings of no use.
    pub(crate) fn new(host: &str, options: &TransportOptions) -> Result<Self, PerfError> {
        let refused =
            |error: Error| PerfError::Settings(format!("TLS cannot be set up so: {error}"));
        let provider = Arc::new(ring::default_provider());
        let versions = match options.tls_version {
            Some(TlsVersion::V12) => vec![&TLS12],
            Some(TlsVersion::V13) => vec![&TLS13],
            None => vec![&TLS13, &TLS12],
        };
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions)
            .map_err(refused)?;
        let builder = match (&options.ca, options.insecure) {
            (_, true) => {
                let algorithms = provider.signature_verification_algorithms;
                builder
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(Credulous(algorithms)))
            }
            (Some(path), false) => builder.with_root_certificates(roots(path)?),
            (None, false) => {
                let rule = "TLS: --ca says who vouches for the broker, --insecure asks nobody";
                return Err(PerfError::Settings(rule.to_owned()));
            }
        };
        let mut config = match &options.cert {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let key = private_key(options.cert_key.as_deref().unwrap_or(path))?;
                builder.with_client_auth_cert(certificates(path)?, key).map_err(refused)?
            }
        };
        config.resumption = if options.resume {
            Resumption::store(Arc::new(Tickets))
        } else {
            Resumption::disabled()
        };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| PerfError::Settings(format!("{host}: no name for a certificate")))?;
        let (full, resumed) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self { config: Arc::new(config), name, full, resumed })
    }

    /// What its connections have done up to now.
    pub(crate) fn handshakes(&self) -> Handshakes {
        let [full, resumed] = [&self.full, &self.resumed].map(|n| n.load(Ordering::Relaxed));
        Handshakes { full, resumed }
    }
}

/// One per connection.
pub(crate) struct Tls {
    client: Arc<TlsClient>,
    connection: UnbufferedClientConnection,
    is_counted: bool,
    is_ended: bool,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("is_ready", &self.is_ready()).finish_non_exhaustive()
    }
}

impl Tls {
    /// A connection that begins.
    ///
    /// # Errors
    /// Those of rustls.
    pub(crate) fn new(client: Arc<TlsClient>) -> Result<Self, ClientError> {
        let connection =
            UnbufferedClientConnection::new(client.config.clone(), client.name.clone())?;
        Ok(Self { client, connection, is_counted: false, is_ended: false })
    }

    /// Whether the handshake is done.
    pub(crate) fn is_ready(&self) -> bool {
        !self.connection.is_handshaking()
    }

    /// Whether the broker has said that no more comes.
    pub(crate) const fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// Opens what has come, gives what is inside to `put` and writes what is to be answered
    /// behind `sealed`; tells how many octets of `raw` are done with. Begins the handshake, too.
    ///
    /// # Errors
    /// No handshake, no record; those of `put`.
    pub(crate) fn open(
        &mut self,
        raw: &mut [u8],
        sealed: &mut Vec<u8>,
        mut put: impl FnMut(&[u8]) -> Result<(), ClientError>,
    ) -> Result<usize, ClientError> {
        let mut taken = 0;
        loop {
            let rest = raw.get_mut(taken..).unwrap_or_default();
            let status = self.connection.process_tls_records(rest);
            let discard = status.discard;
            let is_at_rest = match status.state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        put(record?.payload)?;
                    }
                    false
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    put_flight(sealed, |room| data.encode(room));
                    false
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    false
                }
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    self.is_ended = true;
                    true
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => true,
                // Early data is for servers.
                Ok(_) => return Err(ClientError::Unexpected("state of TLS")),
                Err(error) => return Err(error.into()),
            };
            taken = taken.saturating_add(discard);
            if is_at_rest {
                self.count();
                return Ok(taken);
            }
        }
    }

    /// Counts the handshake once it is done.
    fn count(&mut self) {
        if self.is_counted || !self.is_ready() {
            return;
        }
        self.is_counted = true;
        let counter = match self.connection.handshake_kind() {
            Some(HandshakeKind::Resumed) => &self.client.resumed,
            Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest) | None => {
                &self.client.full
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Seals `octets` behind `sealed`; `raw` is what has come and is no whole record yet. Once it
    /// is ready.
    ///
    /// # Errors
    /// The keys are used up.
    pub(crate) fn seal(
        &mut self,
        octets: &[u8],
        raw: &mut [u8],
        sealed: &mut Vec<u8>,
    ) -> Result<(), ClientError> {
        for _ in 0..FLIGHTS_MAX {
            // Whole records are opened by now: nothing of `raw` is taken here.
            match self.connection.process_tls_records(raw).state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    let first = octets.len().min(FIRST_RECORD_BYTES);
                    let (first, rest) = octets.split_at(first);
                    put_record(&mut traffic, first, sealed)?;
                    let mut pieces = rest.chunks(RECORD_BYTES_MAX);
                    return pieces.try_for_each(|piece| put_record(&mut traffic, piece, sealed));
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    put_flight(sealed, |room| data.encode(room));
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(_) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Err(ClientError::Unexpected("state of TLS"))
    }
}

fn put_flight(
    sealed: &mut Vec<u8>,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) {
    let Err(EncodeError::InsufficientSize(size)) = encode(&mut []) else { return };
    let start = sealed.len();
    sealed.resize(start.saturating_add(size.required_size), 0);
    let count = encode(sealed.get_mut(start..).unwrap_or_default()).unwrap_or(0);
    sealed.truncate(start.saturating_add(count));
}

fn put_record(
    traffic: &mut WriteTraffic<'_, rustls::client::ClientConnectionData>,
    piece: &[u8],
    sealed: &mut Vec<u8>,
) -> Result<(), ClientError> {
    let start = sealed.len();
    sealed.resize(start.saturating_add(piece.len()).saturating_add(SEAL_ROOM_BYTES), 0);
    let result = traffic.encrypt(piece, sealed.get_mut(start..).unwrap_or_default());
    sealed.truncate(start.saturating_add(*result.as_ref().unwrap_or(&0)));
    match result {
        Ok(_) => Ok(()),
        Err(EncryptError::EncryptExhausted | EncryptError::InsufficientSize(_)) => {
            Err(ClientError::Unexpected("end of the keys"))
        }
    }
}

fn of_file<T>(path: &Path, read: Result<T, impl fmt::Display>) -> Result<T, PerfError> {
    read.map_err(|error| PerfError::File { path: path.to_owned(), reason: error.to_string() })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PerfError> {
    let text = of_file(path, fs::read(path))?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let all = of_file(path, all)?;
    if all.is_empty() {
        return of_file(path, Err("there is no certificate (PEM) in it"));
    }
    Ok(all)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, PerfError> {
    let text = of_file(path, fs::read(path))?;
    of_file(path, PrivateKeyDer::from_pem_slice(&text))
}

fn roots(path: &Path) -> Result<RootCertStore, PerfError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        of_file(path, roots.add(certificate))?;
    }
    Ok(roots)
}

thread_local! {
    static KEPT: RefCell<Kept> = const { RefCell::new(Kept { tls12: None, tls13: VecDeque::new() }) };
}

/// What a thread's connections have been given by the one broker that there is.
struct Kept {
    tls12: Option<Tls12ClientSessionValue>,
    tls13: VecDeque<Tls13ClientSessionValue>,
}

/// The store of rustls has eight tickets for a server: of 64 connections that come and go at once
/// 56 would find none.
#[derive(Debug)]
struct Tickets;

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        KEPT.with_borrow_mut(|kept| kept.tls12 = Some(value));
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        KEPT.with_borrow(|kept| kept.tls12.clone())
    }

    fn remove_tls12_session(&self, _: &ServerName<'_>) {
        KEPT.with_borrow_mut(|kept| kept.tls12 = None);
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        KEPT.with_borrow_mut(|kept| {
            if kept.tls13.len() < TICKETS_MAX {
                kept.tls13.push_back(value);
            }
        });
    }

    fn take_tls13_ticket(&self, _: &ServerName<'_>) -> Option<Tls13ClientSessionValue> {
        KEPT.with_borrow_mut(|kept| kept.tls13.pop_front())
    }
}

/// Takes every certificate; the handshake's signatures are checked all the same, which costs
/// what it costs other clients.
#[derive(Debug)]
struct Credulous(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
