//! How often one source may fail to log in, and how often one may fail as a user from wherever:
//! token buckets per address and per name, in bounded tables.
//!
//! Only failures cost a token, so a fleet of clients that reconnects is never slowed; a source
//! that guesses is refused before its password is hashed (abuse rows 49 and 97). A name is limited
//! whether a user has it or not, so that a refusal tells nothing; and a source from which the user
//! has come in stays welcome, so that guessing from elsewhere locks nobody out. Loopback addresses
//! are never limited: behind a local proxy they are everybody, and one wrong client would lock all
//! others out. One per shard; time is an argument. May import `limits`.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv6Addr};

use ahash::RandomState;

use crate::limits::{
    LOGIN_FAILURE_REFILL_MS, LOGIN_FAILURES_MAX, LOGIN_NAMES_MAX, LOGIN_SOURCES_MAX,
    LOGIN_SWEEP_MS_MIN, LOGIN_USER_FAILURES_MAX,
};

/// The sources that failed lately.
#[derive(Debug)]
pub struct LoginLimiter {
    sources: HashMap<IpAddr, Bucket>,
    /// Shared by all sources that found no place: an attack from more addresses than the table
    /// has places slows the attackers together, and nobody who is in the table.
    others: Bucket,
    /// By the name's hash, whose key nobody knows. A name that finds no place is not limited: its
    /// sources are.
    names: HashMap<u64, Bucket>,
    /// Hashes of a name and of a source from which it came in.
    known: HashSet<u64>,
    hasher: RandomState,
    swept_at_ms: u64,
}

/// When all failures are forgiven, milliseconds: one number instead of a count and a time, since
/// each failure moves it by the time one token takes to come back.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    forgiven_at_ms: u64,
}

impl Bucket {
    /// How long until one more attempt is allowed; 0 = now.
    const fn wait_ms(self, now_ms: u64, failures_max: u64) -> u64 {
        let debt_ms = self.forgiven_at_ms.saturating_sub(now_ms);
        let full_ms = LOGIN_FAILURE_REFILL_MS * (failures_max - 1);
        debt_ms.saturating_sub(full_ms)
    }

    fn fail(&mut self, now_ms: u64) {
        self.forgiven_at_ms =
            self.forgiven_at_ms.max(now_ms).saturating_add(LOGIN_FAILURE_REFILL_MS);
    }
}

/// An attempt that comes too early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many failed logins {whose}; the next is allowed in {wait_ms} ms")]
pub struct TooManyFailures {
    /// From this address, or as this user.
    pub whose: &'static str,
    /// Milliseconds until the next attempt is looked at.
    pub wait_ms: u64,
}

impl Default for LoginLimiter {
    fn default() -> Self {
        Self::new()
    }
}

impl LoginLimiter {
    /// Nobody has failed yet.
    pub fn new() -> Self {
        Self {
            sources: HashMap::new(),
            others: Bucket::default(),
            names: HashMap::new(),
            known: HashSet::new(),
            hasher: RandomState::new(),
            swept_at_ms: 0,
        }
    }

    /// Whether an attempt from `peer` as `user` is to be looked at. Ask before hashing.
    ///
    /// # Errors
    /// When there were too many failures; the attempt itself costs nothing.
    pub fn admit(&self, peer: IpAddr, user: &str, now_ms: u64) -> Result<(), TooManyFailures> {
        let Some(source) = source_of(peer) else { return Ok(()) };
        let bucket = self.sources.get(&source).copied();
        let bucket = bucket.unwrap_or_else(|| {
            if self.sources.len() < LOGIN_SOURCES_MAX { Bucket::default() } else { self.others }
        });
        let wait_ms = bucket.wait_ms(now_ms, LOGIN_FAILURES_MAX);
        if wait_ms > 0 {
            return Err(TooManyFailures { whose: "from this address", wait_ms });
        }
        let Some(bucket) = self.names.get(&self.hasher.hash_one(user)) else { return Ok(()) };
        match bucket.wait_ms(now_ms, LOGIN_USER_FAILURES_MAX) {
            0 => Ok(()),
            _ if self.known.contains(&self.hasher.hash_one((user, source))) => Ok(()),
            wait_ms => Err(TooManyFailures { whose: "as this user", wait_ms }),
        }
    }

    /// Notes a failed login.
    pub fn failed(&mut self, peer: IpAddr, user: &str, now_ms: u64) {
        let Some(source) = source_of(peer) else { return };
        let name = self.hasher.hash_one(user);
        let has_room = self.sources.len() < LOGIN_SOURCES_MAX && self.names.len() < LOGIN_NAMES_MAX;
        if !has_room {
            self.sweep(now_ms);
        }
        if self.names.len() < LOGIN_NAMES_MAX || self.names.contains_key(&name) {
            self.names.entry(name).or_default().fail(now_ms);
        }
        if self.sources.len() < LOGIN_SOURCES_MAX || self.sources.contains_key(&source) {
            self.sources.entry(source).or_default().fail(now_ms);
        } else {
            self.others.fail(now_ms);
        }
    }

    /// Notes a login: the user is known to come from there.
    pub fn succeeded(&mut self, peer: IpAddr, user: &str) {
        let Some(source) = source_of(peer) else { return };
        if self.known.len() >= LOGIN_NAMES_MAX {
            // Those who come again are soon known again.
            self.known.clear();
        }
        self.known.insert(self.hasher.hash_one((user, source)));
    }

    /// Forgets who is forgiven. At most once in a while, since it walks the whole tables.
    fn sweep(&mut self, now_ms: u64) {
        if now_ms.saturating_sub(self.swept_at_ms) >= LOGIN_SWEEP_MS_MIN {
            self.swept_at_ms = now_ms;
            self.sources.retain(|_, bucket| bucket.forgiven_at_ms > now_ms);
            self.names.retain(|_, bucket| bucket.forgiven_at_ms > now_ms);
        }
    }
}

/// One host: an IPv4 address, or the /64 that an IPv6 host can choose its addresses from. `None`
/// for this machine itself.
pub(crate) fn source_of(peer: IpAddr) -> Option<IpAddr> {
    match peer.to_canonical() {
        own if own.is_loopback() => None,
        IpAddr::V4(v4) => Some(IpAddr::V4(v4)),
        IpAddr::V6(v6) => Some(IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000;

    fn v4(n: u32) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::from_bits(n))
    }

    fn exhausted(peer: IpAddr) -> LoginLimiter {
        let mut limiter = LoginLimiter::new();
        for _ in 0..LOGIN_FAILURES_MAX {
            assert!(limiter.admit(peer, "u", NOW).is_ok());
            limiter.failed(peer, "u", NOW);
        }
        limiter
    }

    /// Abuse row 49
    #[test]
    fn a_source_that_failed_too_often_waits_while_others_do_not() {
        let mut limiter = exhausted(v4(1));
        let refused = limiter.admit(v4(1), "u", NOW).unwrap_err();
        assert_eq!(refused.wait_ms, LOGIN_FAILURE_REFILL_MS);
        assert!(limiter.admit(v4(2), "u", NOW).is_ok());
        let later = NOW + LOGIN_FAILURE_REFILL_MS;
        assert!(limiter.admit(v4(1), "u", later).is_ok());
        limiter.failed(v4(1), "u", later);
        assert!(limiter.admit(v4(1), "u", later).is_err());
    }

    /// Abuse row 97: guesses at one user from many places wait, whether there is such a user or not;
    /// where the user came from before, and other users, do not.
    #[test]
    fn a_user_at_whom_many_sources_guess_is_slowed_but_not_locked_out() {
        let mut limiter = LoginLimiter::new();
        let home = v4(1);
        limiter.succeeded(home, "u");
        for n in 0..u32::try_from(LOGIN_USER_FAILURES_MAX).unwrap() {
            assert!(limiter.admit(v4(100 + n), "u", NOW).is_ok());
            limiter.failed(v4(100 + n), "u", NOW);
        }
        let refused = limiter.admit(v4(2), "u", NOW).unwrap_err();
        assert_eq!((refused.whose, refused.wait_ms), ("as this user", LOGIN_FAILURE_REFILL_MS));
        assert!(limiter.admit(v4(2), "u", NOW + LOGIN_FAILURE_REFILL_MS).is_ok());
        assert!(limiter.admit(v4(2), "other", NOW).is_ok());
        assert!(limiter.admit(home, "u", NOW).is_ok(), "it came in from there");
        assert!(limiter.admit(home, "v", NOW).is_ok());
        for n in 0..2 * u32::try_from(LOGIN_NAMES_MAX).unwrap() {
            limiter.failed(v4(n % 50), &n.to_string(), NOW);
            limiter.succeeded(v4(n), "u");
        }
        assert!(limiter.names.len() <= LOGIN_NAMES_MAX && limiter.known.len() <= LOGIN_NAMES_MAX);
    }

    #[test]
    fn asking_without_failing_costs_nothing() {
        let limiter = LoginLimiter::new();
        for _ in 0..100 * LOGIN_FAILURES_MAX {
            assert!(limiter.admit(v4(1), "u", NOW).is_ok());
        }
    }

    #[test]
    fn the_addresses_of_one_ipv6_host_share_a_bucket_and_mapped_ipv4_is_ipv4() {
        let limiter = exhausted("2001:db8:0:1::1".parse().unwrap());
        assert!(limiter.admit("2001:db8:0:1:ffff::2".parse().unwrap(), "u", NOW).is_err());
        assert!(limiter.admit("2001:db8:0:2::1".parse().unwrap(), "u", NOW).is_ok());
        let limiter = exhausted("::ffff:192.0.2.1".parse().unwrap());
        assert!(limiter.admit("192.0.2.1".parse().unwrap(), "u", NOW).is_err());
    }

    /// Behind a proxy on this machine everybody has that address.
    #[test]
    fn a_loopback_address_is_never_limited() {
        for own in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            let own = own.parse().unwrap();
            let mut limiter = LoginLimiter::new();
            (0..100).for_each(|_| limiter.failed(own, "u", NOW));
            assert!(limiter.admit(own, "u", NOW).is_ok() && limiter.sources.is_empty());
        }
    }

    #[test]
    fn the_table_stays_bounded_and_newcomers_then_share_one_bucket() {
        let mut limiter = LoginLimiter::new();
        let places = u32::try_from(LOGIN_SOURCES_MAX).unwrap();
        for n in 0..places + 1000 {
            limiter.failed(v4(n), "u", NOW);
        }
        assert_eq!(limiter.sources.len(), LOGIN_SOURCES_MAX);
        assert!(limiter.admit(v4(places + 5000), "v", NOW).is_err());
        assert!(limiter.admit(v4(1), "v", NOW).is_ok(), "who has a place is judged alone");
    }

    #[test]
    fn forgiven_sources_make_room() {
        let mut limiter = LoginLimiter::new();
        let places = u32::try_from(LOGIN_SOURCES_MAX).unwrap();
        for n in 0..places {
            limiter.failed(v4(n), "u", NOW);
        }
        let later = NOW + LOGIN_SWEEP_MS_MIN.max(LOGIN_FAILURE_REFILL_MS);
        limiter.failed(v4(places), "u", later);
        assert_eq!(limiter.sources.len(), 1);
    }
}
