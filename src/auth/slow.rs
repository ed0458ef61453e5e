//! Passwords whose check takes too long for a shard: asked of threads that have nothing else to do,
//! and remembered for a while where they were right.
//!
//! What is remembered is a keyed checksum of name and password, for five minutes and only while the
//! snapshot of users is the same: so a fleet that reconnects costs one check per client, and a change
//! of any user is in force at once. May import `user`, `ids` and the checksums.

use std::collections::HashMap;
use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use super::user::{Identity, LoginRefused, Users};
use crate::ids::ConnectionRef;

/// How long a right password is known (arbitrary: clients that come back do so within a minute).
const KNOWN_MS: u64 = 5 * 60 * 1000;

/// How many are, per shard: 640 KiB.
const KNOWN_MAX: usize = 16_384;

const SUM_BYTES: usize = 32;

/// A login to be checked.
#[derive(Debug)]
pub struct Job {
    /// The snapshot that counts.
    pub users: Arc<Users>,
    /// The login name.
    pub user: Box<str>,
    /// Never shown.
    pub password: Secret,
    /// The address of the client.
    pub peer: IpAddr,
    /// Who hears of the end.
    pub at: ConnectionRef,
}

/// A password on its way.
pub struct Secret(pub Box<[u8]>);

impl Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Job {
    /// Checks it; takes as long as it takes.
    ///
    /// # Errors
    /// The reason, for the log.
    pub fn check(&self) -> Result<Identity, LoginRefused> {
        self.users.login(&self.user, &self.password.0, self.peer)
    }
}

/// The way to the threads.
pub trait Hashing: Debug {
    /// Takes a job. False: too many wait.
    fn ask(&self, job: Job) -> bool;
}

/// Logins that were right of late. One per shard, and one of the control thread.
#[derive(Default)]
pub struct Known {
    sums: HashMap<[u8; SUM_BYTES], u64>,
    /// Of the snapshot that they were checked with.
    revision: u64,
    key: [u8; SUM_BYTES],
}

impl Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").field("logins", &self.sums.len()).finish_non_exhaustive()
    }
}

impl Known {
    fn sum(&self, user: &str, password: &[u8]) -> Option<[u8; SUM_BYTES]> {
        let mut sum = Hmac::<Sha256>::new_from_slice(&self.key).ok()?;
        sum.update(&user.len().to_le_bytes());
        sum.update(user.as_bytes());
        sum.update(password);
        Some(sum.finalize().into_bytes().into())
    }

    /// Who this is, if that was checked of late.
    pub fn find(
        &self,
        users: &Users,
        (user, password): (&str, &[u8]),
        peer: IpAddr,
        now_ms: u64,
    ) -> Option<Identity> {
        if self.sums.is_empty() || self.revision != users.revision() {
            return None;
        }
        let until_ms = self.sums.get(&self.sum(user, password)?)?;
        (now_ms < *until_ms).then(|| users.proven(user, peer).ok()).flatten()
    }

    /// It was right.
    pub fn remember(&mut self, users: &Users, (user, password): (&str, &[u8]), now_ms: u64) {
        if self.revision != users.revision() || self.sums.len() >= KNOWN_MAX {
            self.sums.clear();
            self.revision = users.revision();
        }
        // Nobody is to find two names and passwords with the same sum. Without a key none is kept.
        if self.sums.is_empty() && getrandom::fill(&mut self.key).is_err() {
            return;
        }
        if let Some(sum) = self.sum(user, password) {
            self.sums.insert(sum, now_ms.saturating_add(KNOWN_MS));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::auth::password::PasswordHash;
    use crate::auth::user::User;

    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn users() -> Users {
        let hash = "UmluZ5mS4j6M3LeniS9RrNj1OHl+7xS5VnElz8P5tNz2+TN+";
        let password = Some(PasswordHash::parse(hash, None).unwrap());
        Users::new([User { name: "app".into(), password, tags: vec![], permissions: vec![] }], None)
    }

    #[test]
    fn only_the_same_name_and_password_are_known_for_a_while_and_until_users_change() {
        let (users, mut known) = (users(), Known::default());
        let right: (&str, &[u8]) = ("app", b"guest");
        assert!(known.find(&users, right, PEER, 0).is_none());
        known.remember(&users, right, 1000);
        assert!(known.find(&users, right, PEER, 1000).is_some());
        assert!(known.find(&users, right, PEER, 1000 + KNOWN_MS).is_none());
        for wrong in [("app", &b"guesT"[..]), ("ap", b"pguest"), ("guest", b"app")] {
            assert!(known.find(&users, wrong, PEER, 1000).is_none());
        }
        let later = users.clone().succeeding(&users);
        assert!(known.find(&later, right, PEER, 1000).is_none());
    }

    #[test]
    fn what_is_known_stays_bounded() {
        let (users, mut known) = (users(), Known::default());
        for n in 0..KNOWN_MAX + 100 {
            known.remember(&users, ("app", &n.to_le_bytes()), 0);
        }
        assert!(known.sums.len() <= KNOWN_MAX);
    }
}
