//! Whether a client's certificate is good: rustls decides, but for how long the way to the root may be. Imports rustls.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use std::sync::Arc;

/// One per listener and name.
#[derive(Debug)]
pub(super) struct Verifier {
    inner: Arc<dyn ClientCertVerifier>,
    /// Roots by name: a client that sends its root as well does not go a longer way.
    roots: Vec<DistinguishedName>,
    depth: Option<usize>,
}

impl Verifier {
    pub(super) fn new(
        roots: RootCertStore,
        provider: Arc<CryptoProvider>,
        revoked: Vec<CertificateRevocationListDer<'static>>,
        is_optional: bool,
        depth: Option<usize>,
    ) -> Result<Self, String> {
        let names = roots.subjects();
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let builder = if is_optional { builder.allow_unauthenticated() } else { builder };
        let builder = if revoked.is_empty() {
            builder
        } else {
            // As OpenSSL checks it unless told otherwise: the client's certificate, not those above it.
            builder.with_crls(revoked).only_check_end_entity_revocation()
        };
        let inner = builder.build().map_err(|error| error.to_string())?;
        Ok(Self { inner, roots: names, depth })
    }
}

impl ClientCertVerifier for Verifier {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(depth) = self.depth {
            let is_root = |certificate: &&CertificateDer<'_>| {
                let has = |name: &DistinguishedName| {
                    let name: &[u8] = name.as_ref();
                    // The name of a root stands twice in its certificate.
                    let found = certificate.windows(name.len().max(1)).filter(|w| *w == name);
                    found.count() >= 2
                };
                self.roots.iter().any(has)
            };
            let between =
                intermediates.len().saturating_sub(intermediates.iter().filter(is_root).count());
            if between > depth {
                return Err(CertificateError::UnknownIssuer.into());
            }
        }
        self.inner.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
