//! Enhanced authentication of version 5: AUTH before CONNACK and on an open connection (4.12; H-30).
//! The methods are those of [`Mechanism`]. What is said before CONNACK is bounded: CONNECT and one
//! AUTH, within the time that CONNECT itself has. May import the files of this folder, `auth`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;

use crate::auth::scram::{Exchange, Mechanism, user_in};
use crate::auth::{Identity, LoginReason};
use crate::protocol::Context;

use super::PROTOCOL;
use super::connect::Place;
use super::link::tell;
use super::session::{Mqtt, Phase};
use super::wire::Sender;
use super::wire::auth::Auth;
use super::wire::connect::Connect;
use super::wire::fault::Fault;
use super::wire::header::{Kind, Raw};
use super::wire::properties::Diagnostics;
use super::wire::reason_code::ReasonCode;

/// Octets of our part of a nonce (RFC 5802 wants "sufficient entropy").
const NONCE_BYTES: usize = 18;

/// A CONNECT that waits until its client has proved who it is.
#[derive(Debug)]
pub(super) struct Proving {
    /// Behind the fixed header; it has been decoded before.
    connect: Box<[u8]>,
    id_is_assigned: bool,
}

/// How a client proves who it is. One per connection that does.
#[derive(Debug)]
pub(super) struct Proof {
    mechanism: Mechanism,
    /// As the client says it in each exchange.
    name: Box<str>,
    /// As we know it.
    user: Box<str>,
    /// One is under way.
    exchange: Option<Exchange>,
    /// What we prove with CONNACK.
    last: Option<String>,
}

impl Proof {
    /// The method, which every packet of an exchange names (4.12.0-5).
    pub(super) const fn method(&self) -> &'static str {
        self.mechanism.name()
    }

    /// The data of CONNACK.
    pub(super) fn last(&self) -> Option<&[u8]> {
        self.last.as_deref().map(str::as_bytes)
    }
}

fn nonce() -> Option<String> {
    let mut octets = [0; NONCE_BYTES];
    getrandom::fill(&mut octets).ok()?;
    Some(BASE64.encode(octets))
}

/// A step of ours.
fn step<'a>(code: ReasonCode, mechanism: Mechanism, data: &'a str) -> Auth<'a> {
    Auth {
        code,
        method: Some(mechanism.name()),
        data: Some(data.as_bytes()),
        diagnostics: Diagnostics::default(),
    }
}

impl Mqtt {
    /// CONNECT with a method: asks for the proof (4.12.0-2).
    pub(super) fn begin_proof(
        &mut self,
        body: &[u8],
        connect: &Connect<'_>,
        place: &Place<'_>,
        cx: &mut Context<'_>,
    ) {
        // The method was looked at when the place was.
        let method = connect.properties.auth_method.and_then(Mechanism::named);
        let Some(mechanism) = method else {
            return self.refuse(ReasonCode::BadAuthenticationMethod, cx);
        };
        let data = connect.properties.auth_data.unwrap_or_default();
        let name = user_in(data).unwrap_or_default();
        // A user name that CONNECT has as well is the same one.
        let is_one = place.user == Some(&*name) || connect.user_name.is_none_or(|n| *n == *name);
        let user = place.user.unwrap_or_default();
        let begun = if name.is_empty() || !is_one {
            Err(LoginReason::BadExchange)
        } else {
            self.begin_exchange(mechanism, user, data, cx.now.mono_ms)
        };
        match begun {
            Ok((exchange, answer)) => {
                let (name, user) = (name.into(), user.into());
                let exchange = Some(exchange);
                let proof = Proof { mechanism, name, user, exchange, last: None };
                self.proof = Some(Box::new(proof));
                let (connect, id_is_assigned) = (body.into(), place.is_assigned);
                self.phase = Phase::Proving(Box::new(Proving { connect, id_is_assigned }));
                let packet = step(ReasonCode::ContinueAuthentication, mechanism, &answer);
                // A client that takes not even this is closed when its time is over.
                let _ = self.link.put(&packet, cx);
            }
            Err(reason) => self.refuse_proof(user, reason, cx),
        }
    }

    fn begin_exchange(
        &self,
        mechanism: Mechanism,
        user: &str,
        data: &[u8],
        now_ms: u64,
    ) -> Result<(Exchange, String), LoginReason> {
        let logins = self.link.peer.logins.borrow();
        if let Err(error) = logins.limiter.admit(self.link.peer.remote.ip(), user, now_ms) {
            tell!(warn, self.link, %error, "login refused");
            return Err(LoginReason::TooManyFailures);
        }
        let nonce = nonce().ok_or(LoginReason::BadExchange)?;
        Exchange::begin(logins.users.verifier(user, mechanism), data, &nonce)
    }

    /// Who it is, and what we prove in turn.
    fn end_exchange(
        &self,
        exchange: &Exchange,
        data: Option<&[u8]>,
    ) -> Result<(Identity, String), LoginReason> {
        let proof = self.proof.as_ref().ok_or(LoginReason::BadExchange)?;
        let logins = self.link.peer.logins.borrow();
        let last = exchange.finish(data.unwrap_or_default()).map_err(|reason| match reason {
            LoginReason::WrongPassword => logins.users.why_unproven(&proof.user, proof.mechanism),
            LoginReason::UnknownUser
            | LoginReason::NoPassword
            | LoginReason::EmptyPassword
            | LoginReason::NotFromLoopback
            | LoginReason::NoVerifier
            | LoginReason::BadExchange
            | LoginReason::TooManyFailures
            | LoginReason::Busy => reason,
        })?;
        let peer = self.link.peer.remote.ip();
        let known = logins.users.proven(&proof.user, peer).map_err(|refused| refused.reason)?;
        drop(logins);
        self.link.peer.logins.borrow_mut().note(PROTOCOL.name, (peer, &proof.user), true, 0);
        Ok((known, last))
    }

    fn note_failure(&self, user: &str, reason: LoginReason, now_ms: u64) {
        let peer = &self.link.peer.remote;
        // What was not looked at is no attempt.
        if reason != LoginReason::TooManyFailures {
            let mut logins = self.link.peer.logins.borrow_mut();
            logins.note(PROTOCOL.name, (peer.ip(), user), false, now_ms);
        }
        let (client, reason) = (&*self.link.client, reason.name());
        tracing::warn!(%peer, client, user, reason, "login refused");
    }

    fn refuse_proof(&mut self, user: &str, reason: LoginReason, cx: &Context<'_>) {
        let now_ms = cx.now.mono_ms;
        self.note_failure(user, reason, now_ms);
        self.put_off_refusal(ReasonCode::NotAuthorized, now_ms);
    }

    /// A packet between CONNECT and CONNACK of a client that has a method: AUTH or DISCONNECT
    /// (3.1.2-30).
    pub(super) fn on_proof_packet(&mut self, raw: &Raw<'_>, cx: &mut Context<'_>) {
        if let Err(fault) = self.read_proof(raw, cx) {
            self.refuse_because(fault.code, Some(fault.text), cx);
        }
    }

    fn read_proof(&mut self, raw: &Raw<'_>, cx: &mut Context<'_>) -> Result<(), Fault> {
        raw.header.check(self.link.version, Sender::Client)?;
        match raw.header.kind {
            Kind::Auth => {}
            Kind::Disconnect => {
                self.phase = Phase::Closed;
                return Ok(());
            }
            Kind::Connect
            | Kind::Connack
            | Kind::Publish
            | Kind::Puback
            | Kind::Pubrec
            | Kind::Pubrel
            | Kind::Pubcomp
            | Kind::Subscribe
            | Kind::Suback
            | Kind::Unsubscribe
            | Kind::Unsuback
            | Kind::Pingreq
            | Kind::Pingresp => {
                return Err(Fault::protocol("another packet than AUTH before CONNACK"));
            }
        }
        let auth = Auth::decode(raw.body, Sender::Client)?;
        let exchange = self.continued(&auth)?;
        let Phase::Proving(proving) = std::mem::replace(&mut self.phase, Phase::Silent) else {
            return Err(Fault::protocol("AUTH that nothing asks for"));
        };
        match self.end_exchange(&exchange, auth.data) {
            Ok((identity, last)) => {
                if let Some(proof) = &mut self.proof {
                    proof.last = Some(last);
                }
                let connect = Connect::decode(&proving.connect).map_err(|refused| refused.fault)?;
                self.welcome(&connect, proving.id_is_assigned, &identity, cx);
            }
            Err(reason) => {
                let user = self.proof.take().map(|proof| proof.user).unwrap_or_default();
                self.refuse_proof(&user, reason, cx);
            }
        }
        Ok(())
    }

    /// The exchange that an AUTH goes on with (4.12.0-3, 4.12.0-5).
    fn continued(&mut self, auth: &Auth<'_>) -> Result<Exchange, Fault> {
        let proof = self.proof.as_mut().ok_or(WITHOUT_METHOD)?;
        check_method(proof, auth)?;
        if auth.code != ReasonCode::ContinueAuthentication {
            return Err(Fault::protocol("AUTH that begins where one is under way"));
        }
        proof.exchange.take().ok_or(Fault::protocol("AUTH that goes on with nothing"))
    }

    /// AUTH on an open connection: the client proves again who it is (4.12.1-1). Everything else
    /// goes on meanwhile.
    pub(super) fn on_auth(&mut self, auth: &Auth<'_>, cx: &mut Context<'_>) -> Result<(), Fault> {
        // MQTT-4.12.0-6, abuse row 86.
        let proof = self.proof.as_ref().ok_or(WITHOUT_METHOD)?;
        check_method(proof, auth)?;
        let mechanism = proof.mechanism;
        let is_begun = proof.exchange.is_some();
        if auth.code == ReasonCode::ReAuthenticate && !is_begun {
            let data = auth.data.unwrap_or_default();
            let name = user_in(data).unwrap_or_default();
            if !name.is_empty() && *name != *proof.name {
                // Abuse row 86: a connection stays its user's.
                let text = "another user than before";
                return Err(Fault::new(ReasonCode::BadAuthenticationMethod, text));
            }
            let begun = self.begin_exchange(mechanism, &proof.user, data, cx.now.mono_ms);
            let (exchange, answer) = begun.map_err(|reason| self.unproven(reason, cx))?;
            let packet = step(ReasonCode::ContinueAuthentication, mechanism, &answer);
            let _ = self.link.put(&packet, cx);
            if let Some(proof) = &mut self.proof {
                proof.exchange = Some(exchange);
            }
            return Ok(());
        }
        let exchange = self.continued(auth)?;
        // Its rights are those of the user, who is the same: nothing else changes.
        let (_, last) =
            self.end_exchange(&exchange, auth.data).map_err(|reason| self.unproven(reason, cx))?;
        let _ = self.link.put(&step(ReasonCode::Success, mechanism, &last), cx);
        Ok(())
    }

    /// A proof on an open connection that is none (4.12.1-2).
    fn unproven(&self, reason: LoginReason, cx: &Context<'_>) -> Fault {
        let user = self.proof.as_ref().map_or("", |proof| &*proof.user);
        self.note_failure(user, reason, cx.now.mono_ms);
        Fault::new(ReasonCode::NotAuthorized, "the authentication has failed")
    }
}

const WITHOUT_METHOD: Fault = Fault::protocol("AUTH without an authentication method");

fn check_method(proof: &Proof, auth: &Auth<'_>) -> Result<(), Fault> {
    if auth.method.is_some_and(|method| method != proof.method()) {
        let text = "another authentication method than before";
        return Err(Fault::new(ReasonCode::BadAuthenticationMethod, text));
    }
    Ok(())
}
