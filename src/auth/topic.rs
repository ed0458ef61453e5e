//! Rights on topics: what one client may publish to and subscribe to.
//!
//! Three things must all allow it: the user's write or read permission on the exchange of topics,
//! the user's topic permissions (regular expressions over the routing key) if there are any, and the
//! ACL file if there is one (mqtt.md I-10, X-13). [`TopicRights`] is their answer for one client:
//! made once, kept with its session, asked for each message. May import `config`, `acl`,
//! `permission` and `user`.

use std::cell::RefCell;
use std::sync::Arc;

use super::acl::{Acl, Node, Who};
use super::permission::{Access, Pattern};
use super::user::Identity;
use crate::config::TopicTranslation;

/// What permissions call the exchange of topics, as in RabbitMQ (mqtt.md I-01).
pub(super) const TOPICS: &str = "amq.topic";

const CLIENT_ID: &str = "{client_id}";

/// What holds for every client. In a snapshot of users; behind an `Arc` on every shard.
#[derive(Debug)]
pub struct TopicRules {
    /// Permissions and topic permissions hold; otherwise the ACL file alone decides.
    pub check_permissions: bool,
    /// What topic permissions see.
    pub translation: TopicTranslation,
    /// `None`: there is no file, and nothing is denied by it.
    pub acl: Option<Arc<Acl>>,
}

impl Default for TopicRules {
    fn default() -> Self {
        Self { check_permissions: true, translation: TopicTranslation::Rabbitmq, acl: None }
    }
}

/// Topic permissions of one user in one virtual host.
#[derive(Debug, Clone)]
pub struct TopicPermission {
    vhost: Box<str>,
    write: TopicPattern,
    read: TopicPattern,
}

impl TopicPermission {
    /// Reads both patterns.
    ///
    /// # Errors
    /// Which one is no regular expression, and why.
    pub fn parse(user: &str, vhost: &str, write: &str, read: &str) -> Result<Self, String> {
        let pattern = |kind: &str, text| {
            TopicPattern::parse(text, user, vhost).map_err(|e| format!("'{kind}': {e}"))
        };
        let (write, read) = (pattern("write", write)?, pattern("read", read)?);
        Ok(Self { vhost: vhost.into(), write, read })
    }

    /// Where it holds.
    pub fn vhost(&self) -> &str {
        &self.vhost
    }
}

/// A pattern with its variables. What stands for them is taken as it is: a client that calls itself
/// `.*` is no regular expression.
#[derive(Debug, Clone)]
enum TopicPattern {
    Fixed(Pattern),
    /// Complete but for the client id.
    PerClient(Box<str>),
}

impl TopicPattern {
    fn parse(text: &str, user: &str, vhost: &str) -> Result<Self, String> {
        let text = text
            .replace("{username}", &regex::escape(user))
            .replace("{vhost}", &regex::escape(vhost));
        if text.contains(CLIENT_ID) {
            return Pattern::parse(&text.replace(CLIENT_ID, "x"))
                .map(|_| Self::PerClient(text.into()));
        }
        Pattern::parse(&text).map(Self::Fixed)
    }

    fn of_client(&self, client: &str) -> Pattern {
        match self {
            Self::Fixed(pattern) => pattern.clone(),
            // It was one with another client's name; too large now means that nothing is allowed.
            Self::PerClient(text) => {
                Pattern::parse(&text.replace(CLIENT_ID, &regex::escape(client)))
                    .unwrap_or(Pattern::Nothing)
            }
        }
    }
}

/// What one client may do in one virtual host. One per session; made anew when the snapshot of
/// users changes.
#[derive(Debug)]
pub struct TopicRights {
    identity: Identity,
    client: Box<str>,
    mountpoint: Box<str>,
    may_write: bool,
    may_read: bool,
    acl: Option<AclRights>,
    patterns: Option<Box<KeyRights>>,
}

#[derive(Debug)]
struct AclRights {
    acl: Arc<Acl>,
    own: Option<Arc<Node>>,
}

/// Topic permissions, and the last question to them: a publisher mostly stays with its topic.
#[derive(Debug)]
struct KeyRights {
    write: Pattern,
    read: Pattern,
    translation: TopicTranslation,
    last: RefCell<LastPublish>,
}

#[derive(Debug, Default)]
struct LastPublish {
    topic: String,
    key: String,
    allowed: Option<bool>,
}

impl TopicRights {
    /// The rights of a client that has logged in as `identity`.
    pub fn of(identity: &Identity, vhost: &str, client: &str) -> Self {
        let rules = identity.topic_rules();
        let anywhere = identity.has_topics_everywhere();
        let may = |access| {
            anywhere
                || identity.permission(vhost).is_some_and(|permission| {
                    !rules.check_permissions || permission.allows(access, TOPICS)
                })
        };
        let permission = identity.topic_permission(vhost).filter(|_| rules.check_permissions);
        Self {
            client: client.into(),
            // The first virtual host is what others call no mountpoint.
            mountpoint: if vhost == "/" { "" } else { vhost }.into(),
            may_write: may(Access::Write),
            may_read: may(Access::Read),
            acl: rules.acl.as_ref().map(|acl| AclRights {
                acl: acl.clone(),
                own: identity.login_name().and_then(|user| acl.of_user(user)),
            }),
            patterns: permission.map(|permission| {
                Box::new(KeyRights {
                    write: permission.write.of_client(client),
                    read: permission.read.of_client(client),
                    translation: rules.translation,
                    last: RefCell::default(),
                })
            }),
            identity: identity.clone(),
        }
    }

    /// The client id.
    pub fn client(&self) -> &str {
        &self.client
    }

    /// Whether there may be a topic that the client may publish to.
    pub const fn may_publish(&self) -> bool {
        self.may_write
    }

    /// Whether the client may publish to a topic, its will too. Without an ACL file and topic
    /// permissions a field; otherwise a walk over the levels, and for topic permissions a regular
    /// expression when the topic is another than the last.
    pub fn allows_publish(&self, topic: &str) -> bool {
        self.may_write
            && self.acl_allows(Access::Write, topic)
            && !self.denies(topic)
            && self.patterns.as_ref().is_none_or(|patterns| patterns.allows_publish(topic))
    }

    /// Whether the client may subscribe to a filter: rules must cover all of it. The filter stands
    /// without the name of a group.
    pub fn allows_subscribe(&self, filter: &str) -> bool {
        self.may_read
            && self.acl_allows(Access::Read, filter)
            && self.patterns.as_ref().is_none_or(|patterns| {
                let mut key = String::with_capacity(filter.len());
                write_key(filter, patterns.translation, &mut key);
                patterns.read.matches(&key)
            })
    }

    /// Whether a line of the ACL file denies this topic, or all that this filter matches. Without
    /// such lines a field.
    pub fn denies(&self, topic: &str) -> bool {
        let denies =
            |rights: &AclRights| rights.acl.denies(topic, rights.own.as_deref(), self.who());
        self.acl.as_ref().is_some_and(denies)
    }

    /// Whether a line of the ACL file denies something that this filter matches.
    pub fn denies_part(&self, filter: &str) -> bool {
        let denies =
            |rights: &AclRights| rights.acl.denies_part(filter, rights.own.as_deref(), self.who());
        self.acl.as_ref().is_some_and(denies)
    }

    fn acl_allows(&self, access: Access, topic: &str) -> bool {
        let Some(AclRights { acl, own }) = &self.acl else { return true };
        acl.allows(access, topic, own.as_deref(), self.who())
    }

    fn who(&self) -> Who<'_> {
        Who { user: self.identity.login_name(), client: &self.client, mountpoint: &self.mountpoint }
    }
}

impl KeyRights {
    fn allows_publish(&self, topic: &str) -> bool {
        let mut last = self.last.borrow_mut();
        let LastPublish { topic: known, key, allowed } = &mut *last;
        if let Some(allowed) = *allowed
            && known == topic
        {
            return allowed;
        }
        write_key(topic, self.translation, key);
        topic.clone_into(known);
        *allowed.insert(self.write.matches(key))
    }
}

/// The routing key of a topic, or the binding key of a filter (mqtt.md I-02, X-03).
fn write_key(topic: &str, translation: TopicTranslation, key: &mut String) {
    key.clear();
    for c in topic.chars() {
        match (c, translation) {
            ('/', _) => key.push('.'),
            ('+', _) => key.push('*'),
            ('.', TopicTranslation::Escaped) => key.push_str("%2E"),
            (_, TopicTranslation::Rabbitmq | TopicTranslation::Escaped) => key.push(c),
        }
    }
}

#[cfg(test)]
#[path = "topic_tests.rs"]
mod tests;
