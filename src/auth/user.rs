//! Users: an immutable snapshot that every shard holds, and the login against it.
//!
//! A change (later, from the control plane) makes a new snapshot with a higher revision; shards
//! replace theirs and sessions renew their identity from it. May import `password` and
//! `permission`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::password::PasswordHash;
use super::permission::Permission;

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

/// Who a connection is, after login. A clone is one reference count.
#[derive(Debug, Clone)]
pub struct Identity {
    user: Arc<User>,
}

impl Identity {
    /// The login name.
    pub fn name(&self) -> &str {
        &self.user.name
    }

    /// The tags.
    pub fn tags(&self) -> &[Box<str>] {
        &self.user.tags
    }

    /// Whether the user has `tag`.
    pub fn has_tag(&self, tag: &str) -> bool {
        self.user.tags.iter().any(|t| &**t == tag)
    }

    pub(super) fn permission(&self, vhost: &str) -> Option<&Permission> {
        self.user.permission(vhost)
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

/// All users at one moment. Behind an `Arc`, a copy on every shard.
#[derive(Debug, Clone, Default)]
pub struct Users {
    by_name: HashMap<Box<str>, Arc<User>>,
    /// May log in from a loopback address only.
    loopback_only: Option<Box<str>>,
    /// Grows with every change, so that caches of decisions know when they are old.
    revision: u64,
}

impl Users {
    /// A snapshot of `users`; the last of a name counts.
    pub fn new(users: impl IntoIterator<Item = User>, loopback_only: Option<&str>) -> Self {
        let by_name = users.into_iter().map(|u| (u.name.clone(), Arc::new(u))).collect();
        Self { by_name, loopback_only: loopback_only.map(Into::into), revision: 1 }
    }

    /// Grows with every change.
    pub const fn revision(&self) -> u64 {
        self.revision
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
        self.by_name.get(identity.name()).map(|user| Identity { user: Arc::clone(user) })
    }

    /// Checks a name and a password. `peer` is the address of the client itself: behind a trusted
    /// proxy the one from its PROXY header, never the listener's (S14, abuse row 50).
    ///
    /// Whatever is wrong, the password is hashed once, so that the time taken tells nothing.
    ///
    /// # Errors
    /// The reason, for the log.
    pub fn login(
        &self,
        name: &str,
        password: &[u8],
        peer: IpAddr,
    ) -> Result<Identity, LoginRefused> {
        let user = self.by_name.get(name);
        let hash = user.and_then(|u| u.password);
        let is_right = hash.unwrap_or(PasswordHash::NOBODY).verify(password);
        let refused = |reason| Err(LoginRefused { reason });
        let Some(user) = user else { return refused(LoginReason::UnknownUser) };
        if hash.is_none() {
            return refused(LoginReason::NoPassword);
        }
        if password.is_empty() {
            return refused(LoginReason::EmptyPassword);
        }
        if !is_right {
            return refused(LoginReason::WrongPassword);
        }
        if self.loopback_only.as_deref() == Some(name) && !peer.to_canonical().is_loopback() {
            return refused(LoginReason::NotFromLoopback);
        }
        Ok(Identity { user: Arc::clone(user) })
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
