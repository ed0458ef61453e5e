//! Users: an immutable snapshot that every shard holds, and the login against it.
//!
//! A change makes a new snapshot with a higher revision; shards
//! replace theirs and sessions renew their identity from it. May import `password`, `permission`,
//! `scram` and `topic`.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use super::password::PasswordHash;
use super::permission::Permission;
use super::scram::{Mechanism, Verifier};
use super::topic::{TopicPermission, TopicRules};

/// A user as the snapshot has it.
#[derive(Debug, Clone)]
pub struct User {
    /// The login name.
    pub name: Box<str>,
    /// `None` = may never log in with a password (L60).
    pub password: Option<PasswordHash>,
    /// administrator, monitoring, management, policymaker, impersonator or words of the operator.
    pub tags: Vec<Box<str>>,
    /// By vhost. A handful per user, so walked rather than hashed.
    pub permissions: Vec<(Box<str>, Permission)>,
}

impl User {
    /// The patterns of this user in `vhost`; `None` = may not even enter.
    pub fn permission(&self, vhost: &str) -> Option<&Permission> {
        self.permissions.iter().find(|(name, _)| &**name == vhost).map(|(_, p)| p)
    }

    /// Sets or replaces the patterns of this user in `vhost`.
    pub fn permit(&mut self, vhost: &str, permission: Permission) {
        match self.permissions.iter_mut().find(|(name, _)| &**name == vhost) {
            Some((_, old)) => *old = permission,
            None => self.permissions.push((vhost.into(), permission)),
        }
    }
}

/// Where a user comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The settings or a definitions file.
    Directory,
    /// A password file: has the topics of every vhost and nothing else, as far as rules for topics
    /// allow.
    PasswordFile,
    /// Clients without a name; the same rights.
    Nameless,
}

/// A user in a snapshot.
#[derive(Debug, Clone)]
struct Member {
    user: User,
    origin: Origin,
    topic_permissions: Vec<TopicPermission>,
    /// The name that a client without a login has given itself.
    claimed: Option<Box<str>>,
}

impl Member {
    const fn new(user: User, origin: Origin) -> Self {
        Self { user, origin, topic_permissions: Vec::new(), claimed: None }
    }
}

/// Who a connection is, after login. A clone is two reference counts.
#[derive(Debug, Clone)]
pub struct Identity {
    member: Arc<Member>,
    rules: Arc<TopicRules>,
}

impl Identity {
    /// The login name, or what stands for none.
    pub fn name(&self) -> &str {
        &self.member.user.name
    }

    /// The login name, if there was one.
    pub(crate) fn login_name(&self) -> Option<&str> {
        (self.member.origin != Origin::Nameless).then(|| self.name())
    }

    /// The name by which the ACL file knows the client: where nobody is asked for a password, the one
    /// that it gives itself, as with Mosquitto and VerneMQ.
    pub(super) fn acl_name(&self) -> Option<&str> {
        self.member.claimed.as_deref().or_else(|| self.login_name())
    }

    /// What is kept of it with what it publishes: whether it has logged in, and the name that the ACL
    /// file knows, empty for none. [`Users::publisher`] is the other way round.
    pub fn as_publisher(&self) -> (bool, &str) {
        (self.login_name().is_some(), self.acl_name().unwrap_or_default())
    }

    /// The tags.
    pub fn tags(&self) -> &[Box<str>] {
        &self.member.user.tags
    }

    /// Whether the user has `tag`.
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags().iter().any(|t| &**t == tag)
    }

    pub(super) fn permission(&self, vhost: &str) -> Option<&Permission> {
        self.member.user.permission(vhost)
    }

    /// Whether every vhost may be entered, for its topics only.
    pub(super) fn has_topics_everywhere(&self) -> bool {
        self.member.origin != Origin::Directory
    }

    pub(super) fn topic_permission(&self, vhost: &str, exchange: &str) -> Option<&TopicPermission> {
        self.member.topic_permissions.iter().find(|p| p.is_for(vhost, exchange))
    }

    pub(super) fn topic_rules(&self) -> &TopicRules {
        &self.rules
    }
}

/// What went wrong in a login. For our log; the peer learns nothing but that it was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginReason {
    /// No user of that name.
    UnknownUser,
    /// The user has no password hash.
    NoPassword,
    /// Nobody logs in with an empty password.
    EmptyPassword,
    /// The password is another.
    WrongPassword,
    /// The default user, from another machine (P13, abuse row 50).
    NotFromLoopback,
    /// What is kept of the password does not allow this way to prove it.
    NoVerifier,
    /// A message of an exchange that breaks its rules.
    BadExchange,
    /// The address has failed too often.
    TooManyFailures,
    /// Too many passwords wait to be checked.
    Busy,
}

impl LoginReason {
    /// For the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownUser => "no such user",
            Self::NoPassword => "the user has no password",
            Self::EmptyPassword => "empty password",
            Self::WrongPassword => "wrong password",
            Self::NotFromLoopback => "the default user may log in from this machine only",
            Self::NoVerifier => "the password hash of the user does not allow this method",
            Self::BadExchange => "a message that the method does not have",
            Self::Busy => "too many logins at once",
            Self::TooManyFailures => "too many failed logins from this address",
        }
    }
}

/// A refused login. Its text is safe to send to the peer: it never says which part was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("login was refused")]
pub struct LoginRefused {
    /// For the log only.
    pub reason: LoginReason,
}

const SECRET_BYTES: usize = 16;

/// The name that clients without one are shown by.
const NAMELESS: &str = "anonymous";

/// All users at one moment. Behind an `Arc`, a copy on every shard.
#[derive(Debug, Clone, Default)]
pub struct Users {
    by_name: HashMap<Box<str>, Arc<Member>>,
    /// May log in from a loopback address only.
    loopback_only: Option<Box<str>>,
    /// Whom clients without a name are, if they are let in.
    nameless: Option<Arc<Member>>,
    rules: Arc<TopicRules>,
    /// What the costliest password hash costs.
    iterations_max: u32,
    /// Some password takes too long for a shard.
    is_costly: bool,
    /// Grows with every change, so that caches of decisions know when they are old.
    revision: u64,
    /// What verifiers of users that do not exist are made from.
    secret: [u8; SECRET_BYTES],
}

impl Users {
    /// A snapshot of `users`; the last of a name counts.
    pub fn new(users: impl IntoIterator<Item = User>, loopback_only: Option<&str>) -> Self {
        let member = |u: User| (u.name.clone(), Arc::new(Member::new(u, Origin::Directory)));
        let by_name = users.into_iter().map(member).collect();
        let loopback_only = loopback_only.map(Into::into);
        Self { by_name, loopback_only, revision: 1, ..Self::default() }.with_costs()
    }

    fn with_costs(mut self) -> Self {
        let hashes = self.by_name.values().filter_map(|member| member.user.password.as_ref());
        self.is_costly = hashes.clone().any(PasswordHash::is_costly);
        self.iterations_max = hashes.map(PasswordHash::iterations).max().unwrap_or(0);
        self
    }

    /// The same users under these rules for topics. With `nameless` also clients without a user
    /// name are let in.
    #[must_use]
    pub fn with_topic_rules(mut self, rules: TopicRules, nameless: bool) -> Self {
        self.rules = Arc::new(rules);
        self.nameless = nameless.then(|| {
            let (name, password) = (NAMELESS.into(), None);
            let user = User { name, password, tags: Vec::new(), permissions: Vec::new() };
            Arc::new(Member::new(user, Origin::Nameless))
        });
        self
    }

    /// The same users with a number that peers cannot know.
    #[must_use]
    pub const fn with_secret(mut self, secret: [u8; SECRET_BYTES]) -> Self {
        self.secret = secret;
        self
    }

    /// Gives a user topic permissions; of one exchange the last count. False: there is no such user.
    pub fn permit_topics(&mut self, user: &str, permission: TopicPermission) -> bool {
        let Some(member) = self.by_name.get_mut(user) else { return false };
        let all = &mut Arc::make_mut(member).topic_permissions;
        all.retain(|p| !permission.replaces(p));
        all.push(permission);
        true
    }

    /// The next snapshot, with these users of a password file in place of those it had of one.
    /// Returns the names that the directory has as well, where the directory's user counts.
    #[must_use]
    pub fn with_password_file(
        &self,
        file: &BTreeMap<Box<str>, PasswordHash>,
    ) -> (Self, Vec<Box<str>>) {
        let mut next = self.clone();
        next.revision += 1;
        next.by_name.retain(|_, member| member.origin == Origin::Directory);
        let mut hidden = Vec::new();
        for (name, hash) in file {
            if next.by_name.contains_key(name) {
                hidden.push(name.clone());
                continue;
            }
            let (tags, permissions) = (Vec::new(), Vec::new());
            let password = Some(hash.clone());
            let user = User { name: name.clone(), password, tags, permissions };
            next.by_name.insert(name.clone(), Arc::new(Member::new(user, Origin::PasswordFile)));
        }
        (next.with_costs(), hidden)
    }

    /// The same as what comes after `before`, whose ACL it keeps.
    #[must_use]
    pub fn succeeding(mut self, before: &Self) -> Self {
        let TopicRules { check_permissions, translation, acl: _, acl_drops } = *self.rules;
        let acl = before.rules.acl.clone();
        self.rules = Arc::new(TopicRules { check_permissions, translation, acl, acl_drops });
        self.revision = before.revision + 1;
        self
    }

    /// The next snapshot, with this ACL in place of the one it had.
    #[must_use]
    pub fn with_acl(&self, acl: Arc<super::Acl>) -> Self {
        let TopicRules { check_permissions, translation, acl: _, acl_drops } = *self.rules;
        let acl = Some(acl);
        let rules = Arc::new(TopicRules { check_permissions, translation, acl, acl_drops });
        Self { rules, revision: self.revision + 1, ..self.clone() }
    }

    /// Grows with every change.
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether [`Self::login`] takes too long for a shard, whoever it is: otherwise the time taken
    /// would tell whose password is kept how.
    pub const fn is_costly(&self) -> bool {
        self.is_costly
    }

    /// How many users there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether nobody can log in.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The same user in this snapshot: what a session asks after the snapshot was replaced.
    /// `None` when the user is gone.
    pub fn renew(&self, identity: &Identity) -> Option<Identity> {
        match identity.login_name() {
            None => match &identity.member.claimed {
                Some(name) => self.nameless_as(name),
                None => self.nameless(),
            },
            Some(name) => self.by_name.get(name).map(|member| self.identity(member)),
        }
    }

    /// Who a client without a user name is; `None`: such clients are refused.
    pub fn nameless(&self) -> Option<Identity> {
        self.nameless.as_ref().map(|member| self.identity(member))
    }

    /// The same for one that gives a name which no user has: the ACL file may have lines for it.
    pub fn nameless_as(&self, name: &str) -> Option<Identity> {
        let member = self.nameless.as_ref()?;
        let claimed = (!self.by_name.contains_key(name)).then(|| name.into());
        Some(self.identity(&Arc::new(Member { claimed, ..Member::clone(member) })))
    }

    /// Who published under this name, with a login or without; `None`: nobody may any more.
    pub fn publisher(&self, has_login: bool, name: &str) -> Option<Identity> {
        match (has_login, name) {
            (true, name) => self.by_name.get(name).map(|member| self.identity(member)),
            (false, "") => self.nameless(),
            (false, name) => self.nameless_as(name),
        }
    }

    fn identity(&self, member: &Arc<Member>) -> Identity {
        Identity { member: Arc::clone(member), rules: Arc::clone(&self.rules) }
    }

    /// Checks a name and a password. `peer` is the address of the client itself: behind a trusted
    /// proxy the one from its PROXY header, never the listener's (S14, abuse row 50).
    ///
    /// Whatever is wrong, the password is hashed once and as long as for the costliest hash there
    /// is, so that the time taken tells nothing.
    ///
    /// # Errors
    /// The reason, for the log.
    pub fn login(
        &self,
        name: &str,
        password: &[u8],
        peer: IpAddr,
    ) -> Result<Identity, LoginRefused> {
        let member = self.by_name.get(name);
        let hash = member.and_then(|m| m.user.password.as_ref());
        let is_right = hash.unwrap_or(&PasswordHash::NOBODY).verify(password);
        if self.is_costly && !hash.is_some_and(PasswordHash::is_costly) {
            PasswordHash::burn_costly(password);
        }
        let own = hash.map_or(0, PasswordHash::iterations);
        PasswordHash::burn(self.iterations_max.saturating_sub(own), password);
        let refused = |reason| Err(LoginRefused { reason });
        let Some(member) = member else { return refused(LoginReason::UnknownUser) };
        if hash.is_none() {
            return refused(LoginReason::NoPassword);
        }
        if password.is_empty() {
            return refused(LoginReason::EmptyPassword);
        }
        if !is_right {
            return refused(LoginReason::WrongPassword);
        }
        self.let_in(member, peer)
    }

    /// What a proof of this user's password is checked with: one that nothing fits where there is
    /// none.
    pub fn verifier(&self, name: &str, mechanism: Mechanism) -> Verifier {
        let hash = self.by_name.get(name).and_then(|member| member.user.password.as_ref());
        hash.and_then(|hash| hash.verifier(mechanism))
            .unwrap_or_else(|| Verifier::of_nobody(mechanism, name, &self.secret))
    }

    /// Who has proved to have this user's password, or a certificate that names the user.
    ///
    /// # Errors
    /// The reason, for the log.
    pub fn proven(&self, name: &str, peer: IpAddr) -> Result<Identity, LoginRefused> {
        let unknown = LoginRefused { reason: LoginReason::UnknownUser };
        self.let_in(self.by_name.get(name).ok_or(unknown)?, peer)
    }

    /// Why a proof of this user fails: for the log.
    pub fn why_unproven(&self, name: &str, mechanism: Mechanism) -> LoginReason {
        match self.by_name.get(name).map(|member| &member.user.password) {
            None => LoginReason::UnknownUser,
            Some(None) => LoginReason::NoPassword,
            Some(Some(hash)) if hash.verifier(mechanism).is_none() => LoginReason::NoVerifier,
            Some(Some(_)) => LoginReason::WrongPassword,
        }
    }

    fn let_in(&self, member: &Arc<Member>, peer: IpAddr) -> Result<Identity, LoginRefused> {
        let is_bound = self.loopback_only.as_deref() == Some(&*member.user.name);
        if is_bound && !peer.to_canonical().is_loopback() {
            return Err(LoginRefused { reason: LoginReason::NotFromLoopback });
        }
        Ok(self.identity(member))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUEST: &str = "UmluZ5mS4j6M3LeniS9RrNj1OHl+7xS5VnElz8P5tNz2+TN+";
    /// Salt "Ring", empty password.
    const EMPTY: &str = "UmluZ7P5Uui2eHzgjFsExpafp0kZqGxHAI2RMMzjhINUEzex";

    fn user(name: &str, hash: Option<&str>) -> User {
        let password = hash.map(|h| PasswordHash::parse(h, None).unwrap());
        User { name: name.into(), password, tags: vec!["management".into()], permissions: vec![] }
    }

    fn users() -> Users {
        let all = [user("guest", Some(GUEST)), user("app", Some(GUEST)), user("off", None)];
        Users::new(all, Some("guest"))
    }

    fn peer(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn reason(users: &Users, name: &str, password: &str, from: &str) -> LoginReason {
        users.login(name, password.as_bytes(), peer(from)).unwrap_err().reason
    }

    #[test]
    fn the_right_password_logs_in_and_gives_name_and_tags() {
        let identity = users().login("app", b"guest", peer("192.0.2.1")).unwrap();
        assert_eq!(identity.name(), "app");
        assert!(identity.has_tag("management") && !identity.has_tag("administrator"));
    }

    #[test]
    fn each_wrong_part_has_its_reason_in_the_log_and_one_text_for_the_peer() {
        let users = users();
        assert_eq!(reason(&users, "nobody", "guest", "127.0.0.1"), LoginReason::UnknownUser);
        assert_eq!(reason(&users, "app", "geust", "127.0.0.1"), LoginReason::WrongPassword);
        assert_eq!(reason(&users, "off", "guest", "127.0.0.1"), LoginReason::NoPassword);
        assert_eq!(reason(&users, "", "", "127.0.0.1"), LoginReason::UnknownUser);
        let refused = users.login("off", b"x", peer("127.0.0.1")).unwrap_err();
        assert_eq!(refused.to_string(), "login was refused");
    }

    /// P13, abuse row 50: every spelling of the own machine, and no other address.
    #[test]
    fn the_default_user_logs_in_from_loopback_only() {
        let users = users();
        for own in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
            assert!(users.login("guest", b"guest", peer(own)).is_ok(), "{own}");
        }
        for other in ["192.0.2.1", "10.0.0.1", "::ffff:192.0.2.1", "fe80::1", "0.0.0.0"] {
            assert_eq!(reason(&users, "guest", "guest", other), LoginReason::NotFromLoopback);
        }
    }

    /// A wrong password from afar does not tell that the default user exists.
    #[test]
    fn the_loopback_rule_is_judged_after_the_password() {
        assert_eq!(reason(&users(), "guest", "no", "192.0.2.1"), LoginReason::WrongPassword);
    }

    #[test]
    fn an_empty_password_never_logs_in_even_when_its_hash_matches() {
        let users = Users::new([user("app", Some(EMPTY))], None);
        assert!(PasswordHash::parse(EMPTY, None).unwrap().verify(b""));
        assert_eq!(reason(&users, "app", "", "127.0.0.1"), LoginReason::EmptyPassword);
    }

    #[test]
    fn an_identity_is_renewed_from_a_later_snapshot_unless_the_user_is_gone() {
        let identity = users().login("app", b"guest", peer("127.0.0.1")).unwrap();
        let mut changed = user("app", Some(GUEST));
        changed.tags.clear();
        let renewed = Users::new([changed], None).renew(&identity).unwrap();
        assert!(renewed.tags().is_empty());
        assert!(Users::new([], None).renew(&identity).is_none());
    }
}
