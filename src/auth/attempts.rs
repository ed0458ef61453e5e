//! How often somebody has tried to log in, per protocol and, if operators ask for it, per address and
//! name (RabbitMQ's `auth_attempts`). One per shard, and one of the HTTP server; no clock, no I/O.
//!
//! May import `limits`.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::limits::{LOGIN_SOURCES_MAX, NAME_BYTES_MAX};

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Logins.
    pub succeeded: u64,
    /// Those that were refused.
    pub failed: u64,
}

impl Count {
    /// Both.
    pub const fn all(self) -> u64 {
        self.succeeded.wrapping_add(self.failed)
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            succeeded: self.succeeded.wrapping_add(other.succeeded),
            failed: self.failed.wrapping_add(other.failed),
        }
    }

    const fn add(&mut self, is_right: bool) {
        let one = if is_right { &mut self.succeeded } else { &mut self.failed };
        *one = one.wrapping_add(1);
    }
}

/// Somebody who tries, by the protocol that is spoken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempter {
    /// From where.
    pub address: IpAddr,
    /// As whom.
    pub user: Box<str>,
    /// As RabbitMQ calls it.
    pub protocol: &'static str,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Attempts {
    protocols: Vec<(&'static str, Count)>,
    /// `None`: nobody has asked for it.
    sources: Option<HashMap<Attempter, Count>>,
}

impl Attempts {
    /// None yet; with `has_sources` each is told by where it came from as well.
    pub fn new(has_sources: bool) -> Self {
        Self { protocols: Vec::new(), sources: has_sources.then(HashMap::new) }
    }

    /// Notes one.
    pub fn note(
        &mut self,
        protocol: &'static str,
        (address, user): (IpAddr, &str),
        is_right: bool,
    ) {
        match self.protocols.iter_mut().find(|(known, _)| *known == protocol) {
            Some((_, count)) => count.add(is_right),
            None => {
                let mut count = Count::default();
                count.add(is_right);
                self.protocols.push((protocol, count));
            }
        }
        let Some(sources) = &mut self.sources else { return };
        // A name that is longer than any user's is told by its beginning.
        let user = shortened(user).into();
        let attempter = Attempter { address: address.to_canonical(), user, protocol };
        // Who guesses from everywhere fills no memory: further ones are told of by protocol alone.
        if sources.len() < LOGIN_SOURCES_MAX || sources.contains_key(&attempter) {
            sources.entry(attempter).or_default().add(is_right);
        }
    }

    /// Counts again from nothing.
    pub fn reset(&mut self) {
        *self = Self::new(self.sources.is_some());
    }

    /// By protocol.
    pub fn protocols(&self) -> &[(&'static str, Count)] {
        &self.protocols
    }

    /// By where they came from.
    pub fn sources(&self) -> impl Iterator<Item = (&Attempter, Count)> {
        self.sources.iter().flatten().map(|(attempter, count)| (attempter, *count))
    }

    /// All.
    pub fn total(&self) -> Count {
        self.protocols.iter().fold(Count::default(), |sum, (_, count)| sum.plus(*count))
    }

    /// Adds what another has counted.
    pub fn add(&mut self, other: &Self) {
        for (protocol, count) in &other.protocols {
            match self.protocols.iter_mut().find(|(known, _)| known == protocol) {
                Some((_, sum)) => *sum = sum.plus(*count),
                None => self.protocols.push((protocol, *count)),
            }
        }
        if let (Some(sources), Some(others)) = (&mut self.sources, &other.sources) {
            for (attempter, count) in others {
                let sum = sources.entry(attempter.clone()).or_default();
                *sum = sum.plus(*count);
            }
        }
    }
}

/// As much of a name as a user's may have.
fn shortened(user: &str) -> &str {
    let mut end = NAME_BYTES_MAX.min(user.len());
    while !user.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    user.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(n: u32) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::from_bits(n))
    }

    #[test]
    fn attempts_are_counted_by_protocol_and_where_asked_for_by_source() {
        let mut without = Attempts::new(false);
        let mut with = Attempts::new(true);
        for attempts in [&mut without, &mut with] {
            attempts.note("http", (v4(1), "a"), true);
            attempts.note("http", (v4(1), "b"), false);
            attempts.note("mqtt", (v4(2), "a"), false);
        }
        let http = Count { succeeded: 1, failed: 1 };
        assert_eq!(without.protocols()[0], ("http", http));
        assert_eq!((without.total().all(), without.sources().count()), (3, 0));
        assert_eq!(with.sources().count(), 3);
        let mut both = with.clone();
        both.add(&with);
        assert_eq!((both.total().failed, both.sources().count()), (4, 3));
        with.reset();
        assert_eq!((with.total(), with.sources().count()), (Count::default(), 0));
    }

    #[test]
    fn guesses_from_everywhere_with_any_name_stay_bounded() {
        let mut attempts = Attempts::new(true);
        let long = "\u{e4}".repeat(1000);
        for n in 0..5_000 {
            attempts.note("mqtt", (v4(n), &long), false);
        }
        assert_eq!(attempts.sources().count(), LOGIN_SOURCES_MAX);
        assert_eq!(attempts.total().failed, 5_000);
        assert!(attempts.sources().all(|(attempter, _)| attempter.user.len() == 254));
    }
}
