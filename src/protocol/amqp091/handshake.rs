//! From the first octet to connection.open-ok (AMQP 0-9-1 2.2.4, 4.2.2; P9 to P18; abuse rows 1
//! to 10, 48, 53). May import the files of this folder, `auth`, `broker`, `limits`.

use crate::auth::LoginRefused;
use crate::limits::{FRAME_BYTES_BEFORE_TUNE, FRAME_BYTES_MIN, LOGIN_REFUSAL_DELAY_MS};
use crate::protocol::octets::Decoded;
use crate::protocol::{Checking, Context, Login, looks_like};
use crate::value::{Table, Value};

use super::closing::put_on_connection;
use super::link::{Capabilities, Said, tell};
use super::reply_code::{Fault, ReplyCode, opening_fault};
use super::sasl::{self, EXTERNAL, MECHANISMS, MECHANISMS_CERTIFIED};
use super::session::{Amqp, Phase, Step};
use super::wire::field_table::TableRef;
use super::wire::method::{Connection, Method, connection};
use super::wire::protocol_header::{self, Opening, PROTOCOL_HEADER};
use super::wire::table_buffer::TableBuffer;

/// What connection.start says that this broker can do (S69).
const CAPABILITIES: [&str; 9] = [
    "publisher_confirms",
    "exchange_exchange_bindings",
    "basic.nack",
    "consumer_cancel_notify",
    "connection.blocked",
    "consumer_priorities",
    "authentication_failure_close",
    "per_consumer_qos",
    "direct_reply_to",
];

/// What RabbitMQ calls this protocol where it counts logins.
const COUNTED_AS: &str = "amqp091";

/// A client's name for itself in the log is cut at so many octets.
const NAME_BYTES_SHOWN: usize = 255;

/// Octets of a client's properties that are kept for operators (arbitrary, several times what the
/// most talkative client says); of one that says more nothing is.
const CLIENT_PROPERTIES_BYTES_MAX: usize = 4096;

fn kept_properties(said: TableRef<'_>) -> Box<[u8]> {
    if said.as_bytes().len() > CLIENT_PROPERTIES_BYTES_MAX {
        return Box::default();
    }
    let mut kept = Vec::with_capacity(said.as_bytes().len().saturating_add(4));
    said.put(&mut kept);
    kept.into()
}

/// As much of a name as is shown.
fn shown(name: &str) -> &str {
    let end = (0..=name.len().min(NAME_BYTES_SHOWN)).rev().find(|end| name.is_char_boundary(*end));
    end.and_then(|end| name.get(..end)).unwrap_or_default()
}

impl Amqp {
    /// The largest frame the peer may send in this phase.
    pub(super) const fn incoming_bytes_max(&self) -> u32 {
        match self.phase {
            Phase::AwaitingHeader
            | Phase::AwaitingStartOk
            | Phase::CheckingLogin(_)
            | Phase::Refusing { .. }
            | Phase::AwaitingTuneOk => FRAME_BYTES_BEFORE_TUNE,
            Phase::AwaitingOpen
            | Phase::Running
            | Phase::Ending { .. }
            | Phase::Closing { .. }
            | Phase::Closed => match self.link.identity {
                Some(_) => self.link.frame_bytes_max,
                None => FRAME_BYTES_BEFORE_TUNE,
            },
        }
    }

    /// The octets before all frames. Any other than ours is answered with ours (P9, abuse row 1).
    pub(super) fn on_protocol_header(&mut self, input: &[u8], cx: &mut Context<'_>) -> Step {
        let (opening, taken) = match protocol_header::recognise(input) {
            Decoded::NeedMore { bytes_min } => return Step::NeedMore(bytes_min),
            Decoded::Frame { frame, taken } => (frame, taken),
        };
        match opening {
            Opening::Amqp091 | Opening::Amqp09 => {
                self.phase = Phase::AwaitingStartOk;
                let is_certified = self.link.peer.certified.as_ref().is_some_and(|c| c.is_proof);
                put_start(if is_certified { MECHANISMS_CERTIFIED } else { MECHANISMS }, cx);
                Step::Took(taken)
            }
            Opening::Amqp10 { .. }
            | Opening::AmqpOther
            | Opening::Tls
            | Opening::Http
            | Opening::Unknown => {
                // Abuse row 2: whoever speaks TLS or HTTP here finds the reason in the log.
                let (peer, looks_like) = (&self.link.peer.remote, looks_like(input));
                tracing::info!(%peer, ?opening, looks_like, "not AMQP 0-9-1 on this port");
                cx.out.buffer().extend_from_slice(&PROTOCOL_HEADER);
                self.phase = Phase::Closed;
                Step::Took(input.len())
            }
        }
    }

    /// A method on channel 0 before connection.open-ok.
    pub(super) fn on_handshake_method(
        &mut self,
        method: &Connection<'_>,
        cx: &mut Context<'_>,
    ) -> Result<(), Fault> {
        match (&self.phase, method) {
            (Phase::AwaitingStartOk | Phase::CheckingLogin(_), Connection::StartOk(ok)) => {
                self.on_start_ok(ok, cx);
                Ok(())
            }
            (Phase::AwaitingTuneOk, Connection::TuneOk(ok)) => self.on_tune_ok(*ok, cx),
            (Phase::AwaitingOpen, Connection::Open(open)) => self.on_open(open, cx),
            (_, Connection::Close(close)) => {
                self.on_client_close(close, cx);
                Ok(())
            }
            _ => Err(Fault::new(ReplyCode::CommandInvalid, "method out of order")),
        }
    }

    fn on_start_ok(&mut self, ok: &connection::StartOk<'_>, cx: &mut Context<'_>) {
        self.link.capabilities = Capabilities::of(ok.client_properties);
        let name = ok.client_properties.get("connection_name").and_then(|v| v.as_text());
        self.link.said = Some(Box::new(Said {
            name: name.map(|name| shown(name).into()).unwrap_or_default(),
            properties: kept_properties(ok.client_properties),
            mechanism: ok.mechanism.into(),
        }));
        match self.login(ok, cx.now.mono_ms) {
            // The same method comes again.
            None => {}
            Some(Ok(identity)) => {
                self.link.identity = Some(identity);
                self.phase = Phase::AwaitingTuneOk;
                let amqp = &self.link.peer.config.amqp;
                let tune = connection::Tune {
                    channel_max: amqp.channel_max,
                    frame_max: amqp.frame_max_bytes,
                    heartbeat: amqp.heartbeat_s,
                };
                put_on_connection(&Method::Connection(Connection::Tune(tune)), cx);
            }
            Some(Err(())) => {
                let detail = format!(
                    "Login was refused using authentication mechanism {}. For details see the \
                     broker logfile.",
                    ok.mechanism
                );
                let fault = Fault::hard(ReplyCode::AccessRefused, detail);
                let until_ms = cx.now.mono_ms.saturating_add(self.refusal_delay_ms(cx.now.mono_ms));
                self.phase = Phase::Refusing { fault, until_ms };
            }
        }
    }

    /// The time after which a refusal is told: never quite the same, so that it tells nothing of
    /// the work behind it (abuse row 48).
    fn refusal_delay_ms(&self, now_ms: u64) -> u64 {
        let port = u64::from(self.link.peer.remote.port());
        LOGIN_REFUSAL_DELAY_MS.saturating_add(port.wrapping_mul(31).wrapping_add(now_ms) % 256)
    }

    /// Who this is; `None`: that is checked elsewhere. The reason of a refusal goes to the log only.
    fn login(
        &mut self,
        ok: &connection::StartOk<'_>,
        now_ms: u64,
    ) -> Option<Result<crate::auth::Identity, ()>> {
        let mut checking = Checking::No;
        if let Phase::CheckingLogin(known) = &mut self.phase {
            checking = std::mem::take(known);
        }
        let peer = &self.link.peer.remote;
        let mut logins = self.link.peer.logins.borrow_mut();
        let credentials = sasl::credentials(ok.mechanism, ok.response);
        let user = credentials.as_ref().map_or("", |c| &c.user);
        if let Err(error) = logins.limiter.admit(peer.ip(), user, now_ms) {
            tell!(warn, self.link, %error, "login refused");
            return Some(Err(()));
        }
        let certified = self.link.peer.certified.as_deref().filter(|certified| certified.is_proof);
        if let Some(certified) = certified.filter(|_| ok.mechanism == EXTERNAL) {
            let user = &*certified.name;
            let proven = logins.users.proven(user, peer.ip());
            logins.note(COUNTED_AS, (peer.ip(), user), proven.is_ok(), now_ms);
            return Some(proven.map_err(|LoginRefused { reason }| {
                let (name, mechanism) = (self.link.name(), ok.mechanism);
                let reason = reason.name();
                tracing::warn!(%peer, name, user, mechanism, reason, "login refused");
            }));
        }
        let password = credentials.as_ref().map_or(&[][..], |c| &c.password);
        match logins.login(&mut checking, (user, password), &self.link.peer, now_ms) {
            Login::Later => {
                self.phase = Phase::CheckingLogin(checking);
                None
            }
            Login::Checked(Ok(identity)) => {
                logins.note(COUNTED_AS, (peer.ip(), user), true, now_ms);
                Some(Ok(identity))
            }
            Login::Checked(Err(LoginRefused { reason })) => {
                logins.note(COUNTED_AS, (peer.ip(), user), false, now_ms);
                let reason = if credentials.is_none() { "not understood" } else { reason.name() };
                let name = self.link.name();
                tracing::warn!(%peer, name, user, mechanism = ok.mechanism, reason, "login refused");
                Some(Err(()))
            }
        }
    }

    /// The delay is over: the client is told, if it announced that it understands (P12, S73).
    pub(super) fn refuse_login(&mut self, cx: &mut Context<'_>) {
        let Phase::Refusing { fault, .. } = std::mem::replace(&mut self.phase, Phase::Closed)
        else {
            return;
        };
        if self.link.capabilities.authentication_failure_close {
            self.phase = Phase::AwaitingStartOk;
            self.close_told(fault, (10, 11), cx);
        }
    }

    fn on_tune_ok(&mut self, ok: connection::TuneOk, cx: &Context<'_>) -> Result<(), Fault> {
        let amqp = &self.link.peer.config.amqp;
        let refused = |detail| Err(Fault::new(ReplyCode::NotAllowed, detail));
        let (frame_max, channel_max) = (amqp.frame_max_bytes, amqp.channel_max);
        if ok.frame_max > frame_max {
            return refused(format!(
                "negotiated frame_max = {} is higher than the maximum allowed value ({frame_max})",
                ok.frame_max
            ));
        }
        if ok.frame_max != 0 && ok.frame_max < FRAME_BYTES_MIN {
            return refused(format!(
                "negotiated frame_max = {} is lower than the minimum allowed value \
                 ({FRAME_BYTES_MIN})",
                ok.frame_max
            ));
        }
        if ok.channel_max > channel_max {
            return refused(format!(
                "negotiated channel_max = {} is higher than the maximum allowed value \
                 ({channel_max})",
                ok.channel_max
            ));
        }
        // 0 asks for no limit and gets ours (abuse row 10).
        self.link.frame_bytes_max = if ok.frame_max == 0 { frame_max } else { ok.frame_max };
        self.link.channel_max = if ok.channel_max == 0 { channel_max } else { ok.channel_max };
        // A client may lower or veto what we propose, and choose where we propose nothing (S5, S7,
        // P64).
        let heartbeat_s = match (amqp.heartbeat_s, ok.heartbeat) {
            (0, client) => client,
            (_, 0) => 0,
            (ours, client) => ours.min(client),
        };
        self.live.agree(heartbeat_s);
        self.live.wrote(cx.now.mono_ms);
        self.phase = Phase::AwaitingOpen;
        Ok(())
    }

    fn on_open(&mut self, open: &connection::Open<'_>, cx: &mut Context<'_>) -> Result<(), Fault> {
        // URIs without a path mean the vhost named "" to some clients (P74).
        let vhost = if open.virtual_host.is_empty() { "/" } else { open.virtual_host };
        let Some(identity) = self.link.identity.clone() else {
            return Err(Fault::new(ReplyCode::InternalError, ""));
        };
        self.link.vhost = vhost.into();
        if let Err(refusal) = cx.broker.enter(self.link.id(), &identity, vhost) {
            return Err(opening_fault(refusal, self.link.place()));
        }
        self.phase = Phase::Running;
        let ok = connection::OpenOk { known_hosts: "" };
        put_on_connection(&Method::Connection(Connection::OpenOk(ok)), cx);
        tell!(info, self.link, "connection opened");
        Ok(())
    }

    /// connection.update-secret: accepted. A password says nothing new about a connection that is
    /// logged in; where identities have an end (tokens), this is where they are renewed (P18).
    pub(super) fn on_update_secret(
        &self,
        _secret: &connection::UpdateSecret<'_>,
        cx: &mut Context<'_>,
    ) {
        tell!(debug, self.link, "secret updated");
        put_on_connection(&Method::Connection(Connection::UpdateSecretOk), cx);
    }
}

fn put_start(mechanisms: &[u8], cx: &mut Context<'_>) {
    let properties = server_properties();
    let start = connection::Start {
        version_major: 0,
        version_minor: 9,
        server_properties: properties.view(),
        mechanisms,
        locales: b"en_US",
    };
    put_on_connection(&Method::Connection(Connection::Start(start)), cx);
}

/// S68, S69
fn server_properties() -> TableBuffer {
    let capabilities = CAPABILITIES.iter().map(|name| ((*name).into(), Value::Bool(true)));
    let text = |name: &str, value: &str| (name.into(), Value::text(value));
    let properties = Table(vec![
        ("capabilities".into(), Value::Table(Table(capabilities.collect()))),
        text("cluster_name", "ringmq"),
        text("copyright", "Copyright (c) the authors of RingMQ"),
        text("information", "Licensed under the Apache License, Version 2.0"),
        text("platform", "Rust on Linux"),
        text("product", "RingMQ"),
        text("version", env!("CARGO_PKG_VERSION")),
    ]);
    let buffer = TableBuffer::from_table(&properties);
    debug_assert!(buffer.is_ok(), "names are short and tables shallow");
    buffer.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_between_characters() {
        assert_eq!(shown("orders"), "orders");
        assert_eq!(shown(""), "");
        let long = "\u{1F600}".repeat(64);
        assert_eq!(shown(&long).len(), 252);
    }
}
