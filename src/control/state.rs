//! What the control thread owns: users, virtual hosts, who may do what, limits, parameters.
//!
//! A value without I/O; a change makes the next one ([`super::change`]). What is compiled (password
//! hashes, patterns) is compiled once, when it comes in. May import `auth`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::auth::password::PasswordHash;
use crate::auth::permission::{Pattern, Permission};
use crate::auth::topic::TopicPermission;

/// User, virtual host and exchange.
pub type TopicPlace = (Box<str>, Box<str>, Box<str>);

/// Everything at one moment.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// By name.
    pub users: BTreeMap<Box<str>, Arc<UserEntry>>,
    /// By name.
    pub vhosts: BTreeMap<Box<str>, Arc<VhostEntry>>,
    /// By user and virtual host.
    pub permissions: BTreeMap<(Box<str>, Box<str>), Arc<PermissionEntry>>,
    /// By what they are about.
    pub topic_permissions: BTreeMap<TopicPlace, Arc<TopicPermissionEntry>>,
    /// By name. Nothing here asks for them: they are kept for those who exported them (L64).
    pub global_parameters: BTreeMap<Box<str>, Arc<Value>>,
    /// The definitions file that was imported last, as a checksum of its octets.
    pub imported: Option<Box<str>>,
}

/// A user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserEntry {
    /// `None`: never logs in with a password (L60).
    pub password: Option<Password>,
    /// administrator, monitoring, management, policymaker, impersonator or words of the operator.
    pub tags: Vec<Box<str>>,
    /// How much at once.
    pub limits: UserLimits,
}

/// What is kept of a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Password {
    text: Box<str>,
    hash: PasswordHash,
}

impl Password {
    /// Reads a hash as definitions files have it; `algorithm` as they call it.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(text: &str, algorithm: Option<&str>) -> Result<Self, String> {
        let hash = PasswordHash::parse(text, algorithm).map_err(|e| e.to_string())?;
        // Without the prefix of another broker, so that the name of the algorithm is enough.
        Ok(Self { text: PasswordHash::without_prefix(text).into(), hash })
    }

    /// Of a new password: argon2id. Takes some 20 ms. `None`: there are no random numbers.
    pub fn of(password: &[u8]) -> Option<Self> {
        let (text, hash) = PasswordHash::of_password(password)?;
        Some(Self { text, hash })
    }

    /// The hash as definitions files have it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What definitions files call the algorithm.
    pub const fn algorithm(&self) -> &'static str {
        self.hash.algorithm()
    }

    /// What passwords are compared with.
    pub const fn hash(&self) -> &PasswordHash {
        &self.hash
    }
}

/// Of one user, over all connections (R57). `None`: no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UserLimits {
    /// Connections.
    pub max_connections: Option<u32>,
    /// Channels.
    pub max_channels: Option<u32>,
}

/// A virtual host (R63).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VhostEntry {
    /// For people.
    pub description: Box<str>,
    /// For people.
    pub tags: Vec<Box<str>>,
    /// What a queue is whose declaration does not say. Empty: the node's.
    pub default_queue_type: Box<str>,
    /// It cannot be deleted before that is taken back.
    pub is_protected: bool,
    /// How much at once.
    pub limits: VhostLimits,
    /// It is being deleted: nobody gets in any more.
    pub is_leaving: bool,
}

/// Of one virtual host (L62). `None`: no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VhostLimits {
    /// Connections.
    pub max_connections: Option<u32>,
    /// Queues.
    pub max_queues: Option<u32>,
}

/// The rights of a user in a virtual host.
#[derive(Debug, Clone)]
pub struct PermissionEntry {
    /// As they were written.
    pub configure: Box<str>,
    /// As they were written.
    pub write: Box<str>,
    /// As they were written.
    pub read: Box<str>,
    compiled: Permission,
}

impl PermissionEntry {
    /// Reads the three patterns.
    ///
    /// # Errors
    /// Which one is no regular expression, and why.
    pub fn parse(configure: &str, write: &str, read: &str) -> Result<Self, String> {
        let pattern = |kind: &str, text| Pattern::parse(text).map_err(|e| format!("'{kind}': {e}"));
        let compiled = Permission {
            configure: pattern("configure", configure)?,
            write: pattern("write", write)?,
            read: pattern("read", read)?,
        };
        Ok(Self { configure: configure.into(), write: write.into(), read: read.into(), compiled })
    }

    /// What names are compared with.
    pub const fn compiled(&self) -> &Permission {
        &self.compiled
    }
}

impl PartialEq for PermissionEntry {
    fn eq(&self, other: &Self) -> bool {
        (&self.configure, &self.write, &self.read) == (&other.configure, &other.write, &other.read)
    }
}

/// What keys a user may use with an exchange (R56).
#[derive(Debug, Clone)]
pub struct TopicPermissionEntry {
    /// As they were written.
    pub write: Box<str>,
    /// As they were written.
    pub read: Box<str>,
    compiled: TopicPermission,
}

impl TopicPermissionEntry {
    /// Reads both patterns of a user at an exchange of a virtual host.
    ///
    /// # Errors
    /// Which one is no regular expression, and why.
    pub fn parse(
        user: &str,
        (vhost, exchange): (&str, &str),
        write: &str,
        read: &str,
    ) -> Result<Self, String> {
        let compiled = TopicPermission::parse(user, (vhost, exchange), write, read)?;
        Ok(Self { write: write.into(), read: read.into(), compiled })
    }

    /// What keys are compared with.
    pub const fn compiled(&self) -> &TopicPermission {
        &self.compiled
    }
}

impl PartialEq for TopicPermissionEntry {
    fn eq(&self, other: &Self) -> bool {
        (&self.write, &self.read) == (&other.write, &other.read)
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.users == other.users
            && self.vhosts == other.vhosts
            && self.permissions == other.permissions
            && self.topic_permissions == other.topic_permissions
            && self.global_parameters == other.global_parameters
            && self.imported == other.imported
    }
}

impl State {
    /// A virtual host that may be entered.
    pub fn vhost(&self, name: &str) -> Option<&VhostEntry> {
        self.vhosts.get(name).map(|entry| &**entry).filter(|entry| !entry.is_leaving)
    }
}
