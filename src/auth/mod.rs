//! Who may come in and who may do what: one login and one decision for every protocol.
//!
//! No I/O except [`Files`], which the control thread looks at; no clock: time is an argument.
//! A snapshot of [`Users`] is copied to every shard (behind an `Arc`); an [`Identity`] is one
//! per connection. May import `config`, `ids`, `limits` and `subscriber`; no protocol and nothing of the
//! broker.

pub mod acl;
pub mod attempts;
pub mod certificate;
pub mod files;
pub mod limiter;
pub mod password;
pub mod password_file;
pub mod permission;
pub mod scram;
pub mod slow;
pub mod topic;
pub mod user;
pub mod validity;

pub use acl::Acl;
pub use files::{FileError, Files, Look};
pub use limiter::LoginLimiter;
pub use permission::Access;
pub use topic::{TopicRights, TopicRules};
pub use user::{Identity, LoginReason, LoginRefused, Users};

/// What permission patterns call the default exchange, whose name is empty (R61).
const DEFAULT_EXCHANGE: &str = "amq.default";

use crate::subscriber::FILTERS;

/// What an access is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource<'a> {
    /// An exchange by name; the empty name is the default exchange.
    Exchange {
        /// Its vhost.
        vhost: &'a str,
        /// Its name.
        name: &'a str,
    },
    /// A queue by name; names made by the server are judged like any other.
    Queue {
        /// Its vhost.
        vhost: &'a str,
        /// Its name.
        name: &'a str,
    },
    /// A key with which somebody publishes to an exchange of topics, or binds to it.
    Key {
        /// Its vhost.
        vhost: &'a str,
        /// The exchange.
        exchange: &'a str,
        /// The routing or binding key.
        key: &'a str,
    },
    /// A topic that a client publishes to, or a filter that it subscribes to.
    Topic {
        /// Its vhost.
        vhost: &'a str,
        /// The topic or the filter.
        name: &'a str,
        /// The client id.
        client: &'a str,
    },
}

/// An access that is not allowed. The text is RabbitMQ's, without the code that the protocol
/// puts before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No entry for the vhost at all (L61).
    #[error("access to vhost '{vhost}' refused for user '{user}'")]
    Vhost {
        /// The vhost.
        vhost: Box<str>,
        /// The login name.
        user: Box<str>,
    },
    /// A topic permission or a rule does not let the key through.
    #[error(
        "{access} access to topic '{key}' in exchange '{exchange}' in vhost '{vhost}' refused for \
         user '{user}'"
    )]
    Key {
        /// write or read.
        access: &'static str,
        /// The routing or binding key.
        key: Box<str>,
        /// The exchange.
        exchange: Box<str>,
        /// Its vhost.
        vhost: Box<str>,
        /// The login name.
        user: Box<str>,
    },
    /// The pattern for this access does not match the name.
    #[error("{access} access to {kind} '{name}' in vhost '{vhost}' refused for user '{user}'")]
    Name {
        /// configure, write or read.
        access: &'static str,
        /// exchange, queue or topic.
        kind: &'static str,
        /// The exchange, queue or topic.
        name: Box<str>,
        /// Its vhost.
        vhost: Box<str>,
        /// The login name.
        user: Box<str>,
    },
}

/// Whether a connection may work in `vhost`: the user has an entry there, whatever its patterns, or
/// has the topics of every vhost.
///
/// # Errors
/// When there is none.
pub fn enter(identity: &Identity, vhost: &str) -> Result<(), Denied> {
    if identity.has_topics_everywhere() || identity.permission(vhost).is_some() {
        return Ok(());
    }
    Err(Denied::Vhost { vhost: vhost.into(), user: identity.name().into() })
}

/// The one decision that every way to a queue, an exchange or a topic passes (abuse row 41).
///
/// A publisher that sends many messages to one exchange should keep the answer until
/// [`Users::revision`] changes: a pattern costs tens of nanoseconds and more. A client with topics
/// keeps its [`TopicRights`] until then, which is what answers here as well.
///
/// # Errors
/// When the user may not.
pub fn authorise(
    identity: &Identity,
    access: Access,
    resource: Resource<'_>,
) -> Result<(), Denied> {
    let (kind, vhost, name) = match resource {
        Resource::Key { vhost, exchange, key } => {
            if topic::allows_key(identity, access, (vhost, exchange), key) {
                return Ok(());
            }
            return Err(Denied::Key {
                access: access.name(),
                key: key.into(),
                exchange: exchange.into(),
                vhost: vhost.into(),
                user: identity.name().into(),
            });
        }
        Resource::Exchange { vhost, name: "" } => ("exchange", vhost, DEFAULT_EXCHANGE),
        // One right for both: they carry the same messages.
        Resource::Exchange { vhost, name: FILTERS } => ("exchange", vhost, topic::TOPICS),
        Resource::Exchange { vhost, name } => ("exchange", vhost, name),
        Resource::Queue { vhost, name } => ("queue", vhost, name),
        Resource::Topic { vhost, name, client: _ } => ("topic", vhost, name),
    };
    let is_allowed = match resource {
        Resource::Exchange { .. } | Resource::Queue { .. } | Resource::Key { .. } => {
            identity.permission(vhost).is_some_and(|p| p.allows(access, name))
        }
        Resource::Topic { vhost, name, client } => {
            let rights = TopicRights::of(identity, vhost, client);
            match access {
                Access::Configure => false,
                Access::Write => rights.allows_publish(name),
                Access::Read => rights.allows_subscribe(name),
            }
        }
    };
    if is_allowed {
        return Ok(());
    }
    Err(Denied::Name {
        access: access.name(),
        kind,
        name: name.into(),
        vhost: vhost.into(),
        user: identity.name().into(),
    })
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::permission::{Pattern, Permission};
    use super::user::User;
    use super::*;

    const GUEST: &str = "UmluZ5mS4j6M3LeniS9RrNj1OHl+7xS5VnElz8P5tNz2+TN+";

    fn identity(configure: &str, write: &str, read: &str) -> Identity {
        let permission = Permission {
            configure: Pattern::parse(configure).unwrap(),
            write: Pattern::parse(write).unwrap(),
            read: Pattern::parse(read).unwrap(),
        };
        let password = Some(password::PasswordHash::parse(GUEST, None).unwrap());
        let permissions = vec![("/".into(), permission)];
        let user = User { name: "u".into(), password, tags: vec![], permissions };
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Users::new([user], None).login("u", b"guest", loopback).unwrap()
    }

    fn queue(name: &str) -> Resource<'_> {
        Resource::Queue { vhost: "/", name }
    }

    fn exchange(name: &str) -> Resource<'_> {
        Resource::Exchange { vhost: "/", name }
    }

    #[test]
    fn a_vhost_without_an_entry_may_not_be_entered_and_nothing_in_it_is_allowed() {
        let user = identity(".*", ".*", ".*");
        assert!(enter(&user, "/").is_ok());
        let denied = enter(&user, "other").unwrap_err();
        assert_eq!(denied.to_string(), "access to vhost 'other' refused for user 'u'");
        let elsewhere = Resource::Queue { vhost: "other", name: "q" };
        assert!(authorise(&user, Access::Read, elsewhere).is_err());
    }

    /// L61: an entry without any right lets the user in, and no further.
    #[test]
    fn empty_patterns_deny_everything_inside_a_vhost_that_may_be_entered() {
        let user = identity("", "", "");
        assert!(enter(&user, "/").is_ok());
        for access in [Access::Configure, Access::Write, Access::Read] {
            assert!(authorise(&user, access, queue("q")).is_err());
            assert!(authorise(&user, access, exchange("")).is_err());
        }
    }

    /// R61
    #[test]
    fn the_default_exchange_is_called_amq_default() {
        let user = identity("", "^amq\\.default$", "");
        assert!(authorise(&user, Access::Write, exchange("")).is_ok());
        assert!(authorise(&user, Access::Write, exchange("amq.direct")).is_err());
        let denied = authorise(&user, Access::Read, exchange("")).unwrap_err();
        assert_eq!(
            denied.to_string(),
            "read access to exchange 'amq.default' in vhost '/' refused for user 'u'"
        );
    }

    #[test]
    fn names_made_by_the_server_are_judged_like_any_other() {
        let user = identity("^app", "", "");
        let denied = authorise(&user, Access::Configure, queue("amq.gen-1")).unwrap_err();
        assert_eq!(
            denied.to_string(),
            "configure access to queue 'amq.gen-1' in vhost '/' refused for user 'u'"
        );
        let user = identity("^(app|amq\\.gen)", "", "");
        assert!(authorise(&user, Access::Configure, queue("amq.gen-1")).is_ok());
    }
}
