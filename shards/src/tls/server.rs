//! From files to what a listener needs for TLS. Reads files, so it runs at the start and on no shard. Imports rustls.

use super::choice::{TlsCiphers, TlsGroups, TlsVersions};
use super::client::Verifier;
use super::key_log::KeyLogFile;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::{RootCertStore, ServerConfig};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of a file of certificates or keys: more is a mistake (arbitrary; all roots of a browser are 220 KB).
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Whether clients are asked for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientCertificates {
    /// No.
    #[default]
    Ignored,
    /// They may come without; one that is shown must be good.
    Optional,
    /// None comes in without.
    Required,
}

/// What one name of a server is made of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsOptions {
    /// The certificate and those between it and the root, the own one first.
    pub certificate: PathBuf,
    /// Its key; may be in the same file.
    pub key: PathBuf,
    /// Which versions.
    pub versions: TlsVersions,
    /// Which suites.
    pub ciphers: TlsCiphers,
    /// Which groups.
    pub groups: TlsGroups,
    /// Of clients.
    pub clients: ClientCertificates,
    /// Who issues the clients' certificates: a file, or a folder of files.
    pub client_roots: Option<PathBuf>,
    /// Certificates between a client's and its root at most.
    pub depth: Option<usize>,
    /// Certificates of clients that were called back.
    pub revoked: Option<PathBuf>,
    /// Where secrets of connections are written for whoever has to look into them.
    pub key_log: Option<PathBuf>,
}

/// What keeps TLS from being offered.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct TlsFileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// What a listener needs to speak TLS. The same for all shards: a clone is two reference counts, and what is inside does not
/// change. Tickets for resumption are sealed with a key that only this value has.
#[derive(Clone)]
pub struct TlsServer {
    usual: Arc<ServerConfig>,
    /// By name, in lower case; may begin with `*.` for one label.
    hosts: Arc<[(Box<str>, Arc<ServerConfig>)]>,
    papers: Arc<[Paper]>,
}

/// A file of certificates as it was read.
#[derive(Debug)]
pub struct Paper {
    path: PathBuf,
    is_of_issuers: bool,
    certificates: Vec<CertificateDer<'static>>,
}

impl Paper {
    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether those in it issue the certificates of clients; otherwise they are what clients are shown.
    #[must_use]
    pub const fn is_of_issuers(&self) -> bool {
        self.is_of_issuers
    }

    /// The certificates in it (DER), in their order.
    pub fn certificates(&self) -> impl Iterator<Item = &[u8]> {
        self.certificates.iter().map(|certificate| &**certificate)
    }
}

impl fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsServer").field("hosts", &self.hosts.len()).finish_non_exhaustive()
    }
}

impl TlsServer {
    /// Reads all files.
    ///
    /// # Errors
    /// The first file that is missing or not what it should be.
    pub fn read(
        usual: &TlsOptions,
        hosts: &[(Box<str>, TlsOptions)],
    ) -> Result<Self, TlsFileError> {
        let mut papers = Vec::new();
        let usual = build(usual, &mut papers)?;
        let host = |(name, options): &(Box<str>, TlsOptions)| {
            Ok((name.to_ascii_lowercase().into(), build(options, &mut papers)?))
        };
        let hosts = hosts.iter().map(host).collect::<Result<Vec<_>, TlsFileError>>()?;
        Ok(Self { usual, hosts: hosts.into(), papers: papers.into() })
    }

    /// All files of certificates that this was made from, those of each name one after another.
    #[must_use]
    pub fn papers(&self) -> &[Paper] {
        &self.papers
    }

    /// What clients get that ask for nobody, or for nobody we know.
    pub(super) const fn usual(&self) -> &Arc<ServerConfig> {
        &self.usual
    }

    /// Whether it matters whom clients ask for.
    pub(super) fn has_hosts(&self) -> bool {
        !self.hosts.is_empty()
    }

    /// What clients get that ask for `name`: the very name comes before a wildcard (L107).
    pub(super) fn host(&self, name: &str) -> &Arc<ServerConfig> {
        let find = |wanted: &str| self.hosts.iter().find(|(host, _)| &**host == wanted);
        let wildcard = || {
            let (_, domain) = name.split_once('.')?;
            self.hosts.iter().find(|(host, _)| host.strip_prefix("*.") == Some(domain))
        };
        find(name).or_else(wildcard).map_or(&self.usual, |(_, config)| config)
    }
}

fn build(options: &TlsOptions, papers: &mut Vec<Paper>) -> Result<Arc<ServerConfig>, TlsFileError> {
    let wrong = |path: &Path, reason: String| TlsFileError { path: path.into(), reason };
    let chain = certificates(&options.certificate)?;
    let (path, certificates) = (options.certificate.clone(), chain.clone());
    papers.push(Paper { path, is_of_issuers: false, certificates });
    let key = private_key(&options.key)?;
    let provider = Arc::new(CryptoProvider {
        cipher_suites: options.ciphers.suites(),
        kx_groups: options.groups.groups(),
        ..ring::default_provider()
    });
    let about = &options.certificate;
    let versions = options.versions.versions();
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
        .map_err(|error| wrong(about, format!("TLS cannot be set up so: {error}")))?;
    let builder = match options.clients {
        ClientCertificates::Ignored => builder.with_no_client_auth(),
        ClientCertificates::Optional | ClientCertificates::Required => {
            let verifier = verifier(options, provider, papers)?;
            builder.with_client_cert_verifier(Arc::new(verifier))
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| {
        let (key, certificate) = (options.key.display(), options.certificate.display());
        wrong(&options.key, format!("the key {key} is of no use for {certificate}: {error}"))
    })?;
    // Tickets need no memory of ours, and every shard can open them.
    config.ticketer = ring::Ticketer::new()
        .map_err(|error| wrong(about, format!("no key for tickets: {error}")))?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 1;
    if let Some(path) = &options.key_log {
        let file = KeyLogFile::open(path).map_err(|error| wrong(path, error.to_string()))?;
        config.key_log = Arc::new(file);
    }
    Ok(Arc::new(config))
}

fn verifier(
    options: &TlsOptions,
    provider: Arc<CryptoProvider>,
    papers: &mut Vec<Paper>,
) -> Result<Verifier, TlsFileError> {
    let Some(path) = &options.client_roots else {
        let reason = "clients are to show certificates, and no file says who issues them".into();
        return Err(TlsFileError { path: options.certificate.clone(), reason });
    };
    let wrong = |reason: String| TlsFileError { path: path.clone(), reason };
    let mut roots = RootCertStore::empty();
    for file in files_of(path)? {
        let all = certificates(&file)?;
        for certificate in &all {
            roots.add(certificate.clone()).map_err(|error| wrong(error.to_string()))?;
        }
        papers.push(Paper { path: file, is_of_issuers: true, certificates: all });
    }
    let is_optional = options.clients == ClientCertificates::Optional;
    let revoked = options.revoked.as_deref().map(revocation_lists).transpose()?;
    Verifier::new(roots, provider, revoked.unwrap_or_default(), is_optional, options.depth)
        .map_err(wrong)
}

/// The file, or those in the folder.
fn files_of(path: &Path) -> Result<Vec<PathBuf>, TlsFileError> {
    let wrong =
        |error: std::io::Error| TlsFileError { path: path.into(), reason: error.to_string() };
    if !path.is_dir() {
        return Ok(vec![path.into()]);
    }
    let mut files = Vec::new();
    for entry in path.read_dir().map_err(wrong)? {
        let file = entry.map_err(wrong)?.path();
        let is_pem =
            file.extension().is_some_and(|e| ["pem", "crt", "cer"].iter().any(|x| e == *x));
        if is_pem && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        let reason = "the folder has no .pem, .crt or .cer in it".into();
        return Err(TlsFileError { path: path.into(), reason });
    }
    Ok(files)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsFileError> {
    let wrong = |reason: String| TlsFileError { path: path.into(), reason };
    let size = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(wrong("larger than any file of certificates or keys".into()));
    }
    std::fs::read(path).map_err(|error| wrong(error.to_string()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let wrong = |reason: String| TlsFileError { path: path.into(), reason };
    let text = read(path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match all {
        Ok(all) if all.is_empty() => Err(wrong("there is no certificate (PEM) in it".into())),
        Ok(all) => Ok(all),
        Err(error) => Err(wrong(format!("not a file of certificates (PEM): {error}"))),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsFileError> {
    let wrong = |reason: String| TlsFileError { path: path.into(), reason };
    let text = read(path)?;
    let has = |words: &[u8]| text.windows(words.len()).any(|window| window == words);
    if has(b"BEGIN ENCRYPTED PRIVATE KEY") || has(b"Proc-Type: 4,ENCRYPTED") {
        return Err(wrong(format!(
            "the key is encrypted; 'openssl pkey -in {} -out plain.pem' makes one that is not",
            path.display()
        )));
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        wrong(format!("there is no private key (PEM: PKCS#8, PKCS#1, SEC1): {error}"))
    })
}

fn revocation_lists(
    path: &Path,
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsFileError> {
    let wrong = |reason: String| TlsFileError { path: path.into(), reason };
    let text = read(path)?;
    let all: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&text).collect();
    match all {
        Ok(all) if all.is_empty() => Err(wrong("there is no X509 CRL (PEM) in it".into())),
        Ok(all) => Ok(all),
        Err(error) => Err(wrong(format!("not a file of revoked certificates (PEM): {error}"))),
    }
}
