//! Who logs in over HTTP, how often somebody fails to, and what operators see of that for all
//! protocols (`/api/auth/attempts`).
//!
//! May import `app`, `access`, `request`, `reply`, `auth`, `config`.

use std::rc::Rc;

use serde_json::{Map, Value, json};

use super::access::Credentials;
use super::app::App;
use super::page::Wanted;
use super::reply::{Problem, Reply};
use super::request::Request;
use super::routes::Answer;
use crate::auth::attempts::{Attempts, Count};
use crate::auth::{Identity, LoginLimiter, LoginReason};
use crate::config::Config;

/// What RabbitMQ calls this protocol where it counts logins.
const COUNTED_AS: &str = "http";

/// Those that are told of before anybody has tried.
const PROTOCOLS: [&str; 3] = ["amqp091", COUNTED_AS, "mqtt"];

/// What the server knows of logins. One per process.
#[derive(Debug)]
pub(super) struct Logins {
    limiter: LoginLimiter,
    pub(super) attempts: Attempts,
    /// Handshakes of TLS that failed (abuse row 102).
    pub(super) handshakes_failed: u64,
}

impl Logins {
    pub(super) fn new(config: &Config) -> Self {
        let attempts = Attempts::new(config.main.track_auth_attempt_source);
        Self { limiter: LoginLimiter::new(), attempts, handshakes_failed: 0 }
    }
}

impl App {
    /// Who this is. The reason of a refusal goes to the log only (abuse row 97).
    ///
    /// # Errors
    /// The login is wrong, or too many were.
    pub(super) async fn login(&self, credentials: &Credentials) -> Result<Identity, Problem> {
        let Credentials { name, password, peer } = credentials;
        let admitted = self.logins.borrow().limiter.admit(*peer, name, self.uptime_ms());
        if let Err(error) = admitted {
            return Err(Problem::TooManyLogins(error.wait_ms));
        }
        let checked = self.control.login(name, password, *peer).await;
        let is_busy = checked.as_ref().is_err_and(|refused| refused.reason == LoginReason::Busy);
        if is_busy {
            return Err(Problem::Unavailable("too many logins are being checked"));
        }
        let mut logins = self.logins.borrow_mut();
        logins.attempts.note(COUNTED_AS, (*peer, name), checked.is_ok());
        let refused = match checked {
            Ok(identity) => {
                logins.limiter.succeeded(*peer, name);
                return Ok(identity);
            }
            Err(refused) => refused,
        };
        logins.limiter.failed(*peer, name, self.uptime_ms());
        tracing::warn!(%peer, user = name, reason = refused.reason.name(), "login refused");
        Err(match refused.reason {
            LoginReason::NotFromLoopback => Problem::Login("User can only log in via localhost"),
            LoginReason::UnknownUser
            | LoginReason::NoPassword
            | LoginReason::EmptyPassword
            | LoginReason::WrongPassword
            | LoginReason::NoVerifier
            | LoginReason::BadExchange
            | LoginReason::Busy
            | LoginReason::TooManyFailures => Problem::Login("Login failed"),
        })
    }

    /// Those of all shards and of this server.
    async fn attempts(&self) -> Result<Attempts, Problem> {
        let mut all = self.logins.borrow().attempts.clone();
        let others = self.control.ask_all(|asked| asked.hub.logins.borrow().attempts.clone());
        for attempts in others.await? {
            all.add(&attempts);
        }
        Ok(all)
    }

    /// Refuses to speak of a node that is not there.
    fn must_be_this(&self, node: &str) -> Result<(), Problem> {
        if node == self.node { Ok(()) } else { Err(Problem::Missing) }
    }
}

fn put(row: &mut Map<String, Value>, count: Count) {
    row.insert("auth_attempts".into(), count.all().into());
    row.insert("auth_attempts_failed".into(), count.failed.into());
    row.insert("auth_attempts_succeeded".into(), count.succeeded.into());
}

fn row(said: Value, count: Count) -> Value {
    let mut row = Map::new();
    if let Value::Object(said) = said {
        row = said;
    }
    put(&mut row, count);
    Value::Object(row)
}

/// GET /api/auth/attempts/{node}
pub(super) async fn by_protocol(app: Rc<App>, request: Request) -> Answer {
    app.must_be_this(request.name(0))?;
    let attempts = app.attempts().await?;
    let rows = PROTOCOLS.iter().map(|name| {
        let found = attempts.protocols().iter().find(|(protocol, _)| protocol == name);
        let count = found.map_or_else(Count::default, |(_, count)| *count);
        row(json!({ "protocol": name }), count)
    });
    Wanted::of(&request.query)?.reply(rows.collect())
}

/// GET /api/auth/attempts/{node}/source: nothing, unless `track_auth_attempt_source` is on.
pub(super) async fn by_source(app: Rc<App>, request: Request) -> Answer {
    app.must_be_this(request.name(0))?;
    let attempts = app.attempts().await?;
    let mut sources: Vec<_> = attempts.sources().collect();
    sources.sort_by_key(|(attempter, _)| *attempter);
    let rows = sources.into_iter().map(|(attempter, count)| {
        let said = json!({
            "remote_address": attempter.address.to_string(),
            "username": attempter.user,
            "protocol": attempter.protocol,
        });
        row(said, count)
    });
    Wanted::of(&request.query)?.reply(rows.collect())
}

/// DELETE of either: counts begin again.
pub(super) async fn reset(app: Rc<App>, request: Request) -> Answer {
    app.must_be_this(request.name(0))?;
    app.logins.borrow_mut().attempts.reset();
    app.control.ask_all(|asked| asked.hub.logins.borrow_mut().attempts.reset()).await?;
    Ok(Reply::NoContent)
}
