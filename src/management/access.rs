//! Who asks, and what the tags of a user let it see and do here (amqp.md R62).
//!
//! May import `auth`, base64, `reply`.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::reply::Problem;
use crate::auth::{self, Identity};

/// What a resource asks of a user. Whoever has more has less as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    /// Nothing, not even a login.
    Nobody,
    /// One of the four tags.
    Management,
    /// To see what is others'.
    Monitoring,
    /// Everything.
    Administrator,
}

/// Who asks.
#[derive(Debug, Clone)]
pub(super) enum Subject {
    /// Nobody has logged in, where nobody need.
    Nobody,
    /// A user.
    User(Identity),
    /// The owner of the process, through its socket: everything, under no name of the directory.
    Owner,
}

const MANAGEMENT_TAGS: &[&str] = &["administrator", "monitoring", "policymaker", "management"];

impl Subject {
    /// What it is called in logs and answers.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Nobody => "",
            Self::User(identity) => identity.name(),
            Self::Owner => "ringmqctl",
        }
    }

    /// Its tags.
    pub(super) fn tags(&self) -> Vec<&str> {
        match self {
            Self::Nobody => Vec::new(),
            Self::User(identity) => identity.tags().iter().map(|tag| &**tag).collect(),
            Self::Owner => vec!["administrator"],
        }
    }

    fn has_any(&self, tags: &[&str]) -> bool {
        self.tags().iter().any(|tag| tags.contains(tag))
    }

    /// Whether it may see what belongs to others.
    pub(super) fn is_monitor(&self) -> bool {
        self.has_any(&["administrator", "monitoring"])
    }

    /// Whether it may do everything.
    pub(super) fn is_administrator(&self) -> bool {
        self.has_any(&["administrator"])
    }

    /// Whether it may work in a virtual host.
    pub(super) fn may_enter(&self, vhost: &str) -> bool {
        match self {
            Self::Nobody => false,
            Self::User(identity) => auth::enter(identity, vhost).is_ok(),
            Self::Owner => true,
        }
    }

    /// Whether it may see that a virtual host is there and what is in it.
    pub(super) fn sees(&self, vhost: &str) -> bool {
        self.is_monitor() || self.may_enter(vhost)
    }

    /// Refuses whoever may not work in a virtual host. One that is not there looks the same to those
    /// who may not see all of them.
    ///
    /// # Errors
    /// It may not.
    pub(super) fn enter(&self, vhost: &str) -> Result<(), Problem> {
        if self.may_enter(vhost) {
            return Ok(());
        }
        Err(Problem::Forbidden("User not authorised to access virtual host"))
    }

    /// Refuses whoever has less than a resource asks for.
    ///
    /// # Errors
    /// In RabbitMQ's words.
    pub(super) fn require(&self, right: Right) -> Result<(), Problem> {
        let (allowed, why) = match right {
            Right::Nobody => return Ok(()),
            Right::Management => (self.has_any(MANAGEMENT_TAGS), "Not management user"),
            Right::Monitoring => (self.is_monitor(), "Not monitor user"),
            Right::Administrator => (self.is_administrator(), "Not administrator user"),
        };
        if allowed { Ok(()) } else { Err(Problem::Forbidden(why)) }
    }
}

/// A name and a password as a request brings them.
#[derive(PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) name: String,
    pub(super) password: Vec<u8>,
    /// Where from.
    pub(super) peer: IpAddr,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // No password in any log (abuse row 98).
        f.debug_struct("Credentials").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads the field `Authorization`; nothing else brings a login, so no page of another site can
    /// (abuse row 94).
    ///
    /// # Errors
    /// There is none, or it is none of ours.
    pub(super) fn read(field: Option<&str>, peer: IpAddr) -> Result<Self, Problem> {
        let Some(field) = field else {
            return Err(Problem::Login("Login failed"));
        };
        let parsed = || {
            let (scheme, rest) = field.split_once(' ')?;
            let basic = scheme.eq_ignore_ascii_case("basic").then(|| rest.trim())?;
            let octets = STANDARD.decode(basic).ok()?;
            let colon = octets.iter().position(|octet| *octet == b':')?;
            let name = String::from_utf8(octets.get(..colon)?.to_vec()).ok()?;
            let password = octets.get(colon + 1..)?.to_vec();
            Some(Self { name, password, peer })
        };
        parsed().ok_or(Problem::Login("Login failed"))
    }
}
