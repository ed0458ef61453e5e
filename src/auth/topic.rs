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
use crate::subscriber::FILTERS;

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
    /// No filter is refused for what the file does not allow: messages are kept back one by one.
    pub acl_drops: bool,
}

impl Default for TopicRules {
    fn default() -> Self {
        let translation = TopicTranslation::Rabbitmq;
        Self { check_permissions: true, translation, acl: None, acl_drops: false }
    }
}

/// Topic permissions of one user for one exchange of a virtual host.
#[derive(Debug, Clone)]
pub struct TopicPermission {
    vhost: Box<str>,
    exchange: Box<str>,
    write: TopicPattern,
    read: TopicPattern,
}

impl TopicPermission {
    /// Reads both patterns.
    ///
    /// # Errors
    /// Which one is no regular expression, and why.
    pub fn parse(
        user: &str,
        (vhost, exchange): (&str, &str),
        write: &str,
        read: &str,
    ) -> Result<Self, String> {
        let pattern = |kind: &str, text| {
            TopicPattern::parse(text, user, vhost).map_err(|e| format!("'{kind}': {e}"))
        };
        let (write, read) = (pattern("write", write)?, pattern("read", read)?);
        Ok(Self { vhost: vhost.into(), exchange: common_name(exchange).into(), write, read })
    }

    /// Whether it is the one for this exchange.
    pub fn is_for(&self, vhost: &str, exchange: &str) -> bool {
        *self.vhost == *vhost && *self.exchange == *common_name(exchange)
    }

    /// The same place as another.
    pub fn replaces(&self, other: &Self) -> bool {
        self.is_for(&other.vhost, &other.exchange)
    }

    /// Where it holds.
    pub fn vhost(&self) -> &str {
        &self.vhost
    }
}

/// Both exchanges of topics carry the same messages, so they have one right.
fn common_name(exchange: &str) -> &str {
    if exchange == FILTERS { TOPICS } else { exchange }
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

    /// For who is no client of topics: as in RabbitMQ nothing stands for the client id then, so
    /// what asks for one matches nothing.
    fn matches(&self, key: &str) -> bool {
        match self {
            Self::Fixed(pattern) => pattern.matches(key),
            Self::PerClient(_) => false,
        }
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
    /// What the ACL file does not allow is dropped, not refused.
    drops: bool,
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
        let permission =
            identity.topic_permission(vhost, TOPICS).filter(|_| rules.check_permissions);
        Self {
            client: client.into(),
            // The first virtual host is what others call no mountpoint.
            mountpoint: if vhost == "/" { "" } else { vhost }.into(),
            may_write: may(Access::Write),
            may_read: may(Access::Read),
            acl: rules.acl.as_ref().map(|acl| AclRights {
                acl: acl.clone(),
                own: identity.acl_name().and_then(|user| acl.of_user(user)),
            }),
            drops: rules.acl_drops,
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
            && (self.drops || self.acl_allows(Access::Read, filter))
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

    /// Whether a filter is refused of which all is denied.
    pub fn refuses(&self, filter: &str) -> bool {
        !self.drops && self.denies(filter)
    }

    /// Whether messages of this topic are kept back, though a filter that was granted matches.
    pub fn keeps_back(&self, topic: &str) -> bool {
        self.denies(topic) || (self.drops && !self.acl_allows(Access::Read, topic))
    }

    /// Whether the client may be a member of a group with this filter: nothing of it may be kept back.
    pub fn allows_member(&self, filter: &str) -> bool {
        !self.denies_part(filter) && self.acl_allows(Access::Read, filter)
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
        Who { user: self.identity.acl_name(), client: &self.client, mountpoint: &self.mountpoint }
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

/// Whether who publishes by keys, or binds by them, may do so at an exchange of topics: topic
/// permissions of that exchange as in RabbitMQ, and where subscribers are met the ACL file, which is
/// asked for all that the key may stand for (mqtt.md X-13).
pub(super) fn allows_key(
    identity: &Identity,
    access: Access,
    (vhost, exchange): (&str, &str),
    key: &str,
) -> bool {
    let is_filters = exchange == FILTERS;
    let rules = identity.topic_rules();
    let permitted = identity.topic_permission(vhost, exchange).is_none_or(|permission| {
        let mut of_topic = String::new();
        if is_filters {
            write_key(key, rules.translation, &mut of_topic);
        }
        let key = if is_filters { &*of_topic } else { key };
        match access {
            Access::Configure => false,
            Access::Write => permission.write.matches(key),
            Access::Read => permission.read.matches(key),
        }
    });
    let Some(acl) = rules.acl.as_ref().filter(|_| common_name(exchange) == TOPICS) else {
        return permitted;
    };
    let topic = match (is_filters, access) {
        (true, _) => key.to_owned(),
        (false, Access::Read) => widest_filter(key),
        (false, Access::Configure | Access::Write) => key.replace('.', "/"),
    };
    let own = identity.login_name().and_then(|user| acl.of_user(user));
    let mountpoint = if vhost == "/" { "" } else { vhost };
    let who = Who { user: identity.login_name(), client: "", mountpoint };
    permitted && acl.allows(access, &topic, own.as_deref(), who)
}

/// A filter for topics that matches at least what a binding key does: of `#` before the end no filter
/// tells, so it stands for all that begins as the key does.
fn widest_filter(key: &str) -> String {
    let mut filter = String::with_capacity(key.len());
    for (n, word) in key.split('.').enumerate() {
        if n > 0 {
            filter.push('/');
        }
        match word {
            "#" => {
                filter.push('#');
                return filter;
            }
            "*" => filter.push('+'),
            _ => filter.push_str(word),
        }
    }
    filter
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
