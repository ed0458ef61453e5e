//! TLS under everything else of a connection, and what stands in for its session until the
//! handshake is done: a session like any other, so that time limits, farewells and stops need
//! nothing of their own.
//!
//! May import `auth::certificate`, `config`, `limits`, `protocol`, `ringmq_shards`.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use ringmq_shards::tls::{Tls, TlsEnded, TlsParts, TlsServer};
use ringmq_shards::{Buffers, Output, ReadBuffer};

use crate::auth::certificate::{CertificateName, name_in};
use crate::command::Event;
use crate::config::TlsListener;
use crate::limits::HANDSHAKE_MS_MAX;
use crate::protocol::{Certified, Context, Endpoint, Logins, Next, Peer, Session, looks_like};
use crate::stats::ConnectionReport;

/// One per connection that has it.
#[derive(Debug)]
pub(crate) struct Secured {
    pub(crate) tls: Tls,
    /// For the session that will be, while the handshake lasts.
    waiting: Option<Box<Waiting>>,
    /// Nothing more comes. Told when what came before it has been shown.
    ended: Option<TlsEnded>,
    certified: Option<Rc<Certified>>,
}

#[derive(Debug)]
struct Waiting {
    peer: Peer,
    settings: Arc<TlsListener>,
    is_first_read: bool,
}

/// What another shard needs to go on.
#[derive(Debug)]
pub(crate) struct SecuredParts {
    tls: TlsParts,
    ended: Option<TlsEnded>,
    certified: Option<Certified>,
}

impl SecuredParts {
    /// Of a connection whose handshake is done; with it goes what is to be written.
    pub(crate) fn begun(tls: Tls, login_from: CertificateName) -> (Self, Output) {
        let name = tls.client_certificate().and_then(|der| name_in(der, login_from));
        let certified = name.map(|name| Certified { name: name.into(), is_proof: true });
        let (tls, sealed) = tls.into_parts();
        (Self { tls, ended: None, certified }, sealed)
    }
}

impl Secured {
    /// A connection that begins, for `peer`.
    pub(crate) fn new(
        server: &TlsServer,
        settings: Arc<TlsListener>,
        peer: Peer,
        buffers: &Buffers,
    ) -> Box<Self> {
        let waiting = Some(Box::new(Waiting { peer, settings, is_first_read: true }));
        Box::new(Self { tls: Tls::new(server, buffers), waiting, ended: None, certified: None })
    }

    /// One that has come from another shard.
    pub(crate) fn arrived(parts: SecuredParts, buffers: &Buffers) -> Box<Self> {
        let certified = parts.certified.map(Rc::new);
        let tls = Tls::from_parts(parts.tls, buffers);
        Box::new(Self { tls, waiting: None, ended: parts.ended, certified })
    }

    /// For another shard, with what is to be written.
    pub(crate) fn into_parts(self) -> (SecuredParts, Output) {
        let (tls, sealed) = self.tls.into_parts();
        let certified = self.certified.as_deref().cloned();
        (SecuredParts { tls, ended: self.ended, certified }, sealed)
    }

    /// Whom the client's certificate names.
    pub(crate) fn certified(&self) -> Option<Rc<Certified>> {
        self.certified.clone()
    }

    /// Decrypts what was read.
    pub(crate) fn open(&mut self, input: &mut ReadBuffer) {
        if self.ended.is_some() {
            return;
        }
        if let Some(waiting) = &mut self.waiting
            && !self.tls.raw().is_empty()
            && std::mem::take(&mut waiting.is_first_read)
            && let octets = self.tls.raw().filled()
            && octets.first() != Some(&HANDSHAKE)
        {
            // Abuse row 102: whoever forgot TLS finds the reason in the log.
            let (peer, looks_like) = (&waiting.peer.remote, looks_like(octets));
            let listener = &*waiting.peer.listener.name;
            tracing::info!(%peer, listener, looks_like, "not TLS on a port for TLS");
        }
        self.ended = self.tls.open(input).err();
        if let (Some(TlsEnded::Failed(why)), Some(waiting)) = (&self.ended, &self.waiting) {
            waiting.peer.logins.borrow_mut().handshakes_failed += 1;
            tracing::info!(peer = %waiting.peer.remote, why = &**why, "TLS handshake failed");
        }
    }

    /// How the peer's stream has ended.
    pub(crate) const fn ended(&self) -> Option<&TlsEnded> {
        self.ended.as_ref()
    }

    /// Once, as soon as the handshake is done: for whom a session may begin.
    pub(crate) fn ready(&mut self) -> Option<Peer> {
        self.waiting.as_ref().filter(|_| self.tls.is_ready())?;
        let Waiting { mut peer, settings, .. } = *self.waiting.take()?;
        let certificate = self.tls.client_certificate();
        let name = certificate.and_then(|der| name_in(der, settings.login_from));
        if certificate.is_some() && name.is_none() {
            tracing::info!(peer = %peer.remote, "the certificate names nobody");
        }
        let certified = |name: &str| Certified { name: name.into(), is_proof: true };
        self.certified = name.as_deref().map(certified).map(Rc::new);
        // What a proxy in front has said of another certificate stands if there is none here.
        peer.certified = self.certified().or(peer.certified);
        let (version, cipher) = self.tls.agreed().unwrap_or_default();
        tracing::debug!(peer = %peer.remote, version, cipher, certified = name, "TLS");
        Some(peer)
    }
}

/// The first octet of TLS.
const HANDSHAKE: u8 = 0x16;

/// The session while the handshake lasts.
#[derive(Debug)]
pub(crate) struct Handshake {
    remote: Endpoint,
    logins: Rc<RefCell<Logins>>,
    accepted_ms: u64,
    is_over: bool,
}

impl Handshake {
    /// Of a connection that begins.
    pub(crate) fn new(peer: &Peer) -> Self {
        let (remote, logins) = (peer.remote.clone(), peer.logins.clone());
        Self { remote, logins, accepted_ms: peer.accepted_ms, is_over: false }
    }
}

impl Session for Handshake {
    fn on_bytes(&mut self, _: &[u8], _: &mut Context<'_>) -> (usize, Next) {
        // What is inside of TLS is for the session that follows.
        (0, Next::Read { bytes_min: 1 })
    }

    fn on_event(&mut self, _: Event, _: &mut Context<'_>) -> Next {
        // Nothing was asked of the broker.
        Next::Read { bytes_min: 1 }
    }

    fn on_tick(&mut self, cx: &mut Context<'_>) -> (Next, Option<u64>) {
        match self.deadline_ms() {
            Some(deadline) if cx.now.mono_ms >= deadline => {
                self.is_over = true;
                self.logins.borrow_mut().handshakes_failed += 1;
                tracing::info!(peer = %self.remote, "TLS handshake took too long");
                (Next::Close, None)
            }
            deadline => (Next::Read { bytes_min: 1 }, deadline),
        }
    }

    fn deadline_ms(&self) -> Option<u64> {
        (!self.is_over).then(|| self.accepted_ms.saturating_add(HANDSHAKE_MS_MAX))
    }

    fn on_turn_end(&mut self, _: &mut Context<'_>) {}

    fn on_lost(&mut self, _: &str, _: &mut Context<'_>) {}

    fn describe(&self, report: &mut ConnectionReport) {
        report.protocol = "TLS";
    }

    fn on_stop(&mut self, _: &mut Context<'_>) -> Next {
        self.is_over = true;
        Next::Close
    }
}
