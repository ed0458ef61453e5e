//! How fast connections come in through one listener of one shard, in all and from one address. One
//! per listener and shard; counted when a connection is accepted, before anything is read from it
//! (abuse row 80). Time is an argument.
//!
//! Too many in all wait in the kernel's queue: a fleet that comes back at once is let in evenly. Too
//! many from one address are refused, since waiting would hold up everybody else. May import `auth`
//! and `limits`.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::auth::limiter::source_of;
use crate::limits::{CONNECT_SOURCES_MAX, LOGIN_SWEEP_MS_MIN};

/// Connections a second, this shard's share of them; 0: any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rates {
    pub(crate) in_all: u32,
    pub(crate) per_address: u32,
}

impl Rates {
    /// The share of one of several that accept: rounded up, so that nobody is left without.
    pub(crate) fn shared_by(self, count: usize) -> Self {
        let count = u32::try_from(count).unwrap_or(u32::MAX).max(1);
        let (in_all, per_address) = (self.in_all.div_ceil(count), self.per_address.div_ceil(count));
        Self { in_all, per_address }
    }
}

/// When all that has come is paid for, microseconds: each connection costs the time after which the
/// next one would come at the rate, and a second's worth may be owed.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    paid_us: u64,
}

const SECOND_US: u64 = 1_000_000;

impl Bucket {
    /// What it is after one more connection, and by how many milliseconds that comes too early.
    fn after(self, rate: u32, now_ms: u64) -> (Self, u64) {
        let now_us = now_ms.saturating_mul(1000);
        let Some(cost_us) = SECOND_US.checked_div(rate.into()) else { return (self, 0) };
        let paid_us = self.paid_us.max(now_us).saturating_add(cost_us);
        let early_us = paid_us.saturating_sub(now_us).saturating_sub(SECOND_US);
        (Self { paid_us }, early_us.div_ceil(1000))
    }

    /// Counts a connection unless it comes too early; whether it does.
    fn refuses(&mut self, rate: u32, now_ms: u64) -> bool {
        let (after, early_ms) = self.after(rate, now_ms);
        if early_ms == 0 {
            *self = after;
        }
        early_ms > 0
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct ArrivalRate {
    rates: Rates,
    all: Bucket,
    sources: HashMap<IpAddr, Bucket>,
    /// Shared by all addresses that found no place.
    others: Bucket,
    swept_at_ms: u64,
}

impl ArrivalRate {
    pub(crate) fn new(rates: Rates) -> Self {
        let (all, others) = (Bucket::default(), Bucket::default());
        Self { rates, all, sources: HashMap::new(), others, swept_at_ms: 0 }
    }

    /// Counts a connection that is let in. How long to wait before the next is accepted,
    /// milliseconds.
    pub(crate) fn pause_ms(&mut self, now_ms: u64) -> Option<u64> {
        let (after, early_ms) = self.all.after(self.rates.in_all, now_ms);
        self.all = after;
        (early_ms > 0).then_some(early_ms)
    }

    /// Whether a connection from this address is one too many.
    pub(crate) fn is_too_many(&mut self, peer: IpAddr, now_ms: u64) -> bool {
        let rate = self.rates.per_address;
        if rate == 0 {
            return false;
        }
        // Unlike failed logins those from this machine count: the operator has asked for it.
        let source = source_of(peer).unwrap_or(peer);
        if self.sources.len() >= CONNECT_SOURCES_MAX && !self.sources.contains_key(&source) {
            self.sweep(now_ms);
            if self.sources.len() >= CONNECT_SOURCES_MAX {
                return self.others.refuses(rate, now_ms);
            }
        }
        self.sources.entry(source).or_default().refuses(rate, now_ms)
    }

    /// Forgets who owes nothing. At most once in a while, since it walks the whole table.
    fn sweep(&mut self, now_ms: u64) {
        if now_ms.saturating_sub(self.swept_at_ms) >= LOGIN_SWEEP_MS_MIN {
            self.swept_at_ms = now_ms;
            let now_us = now_ms.saturating_mul(1000);
            self.sources.retain(|_, bucket| bucket.paid_us > now_us);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 5_000;

    fn v4(n: u32) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::from_bits(n))
    }

    /// Abuse row 80
    #[test]
    fn a_seconds_worth_comes_at_once_and_then_one_after_another() {
        let mut rate = ArrivalRate::new(Rates { in_all: 10, per_address: 0 });
        for _ in 0..10 {
            assert_eq!(rate.pause_ms(NOW), None);
        }
        for n in 0..20 {
            assert_eq!(rate.pause_ms(NOW + n * 100), Some(100));
        }
        for _ in 0..10 {
            assert_eq!(rate.pause_ms(NOW + 10_000), None);
        }
        let mut any = ArrivalRate::new(Rates { in_all: 0, per_address: 0 });
        for _ in 0..10_000 {
            assert!(any.pause_ms(NOW).is_none() && !any.is_too_many(v4(1), NOW));
        }
        assert!(any.sources.is_empty());
    }

    #[test]
    fn an_address_that_comes_too_often_is_refused_and_others_are_not() {
        let mut rate = ArrivalRate::new(Rates { in_all: 0, per_address: 3 });
        for _ in 0..3 {
            assert!(!rate.is_too_many(v4(1), NOW));
        }
        assert!(rate.is_too_many(v4(1), NOW));
        assert!(!rate.is_too_many(v4(2), NOW));
        assert!(!rate.is_too_many(v4(1), NOW + 334));
    }

    #[test]
    fn the_table_of_addresses_stays_bounded() {
        let mut rate = ArrivalRate::new(Rates { in_all: 0, per_address: 1 });
        let places = u32::try_from(CONNECT_SOURCES_MAX).unwrap();
        for n in 0..places + 10 {
            rate.is_too_many(v4(n), NOW);
        }
        assert_eq!(rate.sources.len(), CONNECT_SOURCES_MAX);
        assert!(rate.is_too_many(v4(places + 50), NOW), "who has no place shares one");
        assert!(!rate.is_too_many(v4(places + 60), NOW + 2_000));
        assert_eq!(rate.sources.len(), 1, "who owes nothing is forgotten");
    }

    #[test]
    fn shares_are_rounded_up() {
        let rates = Rates { in_all: 10, per_address: 0 }.shared_by(4);
        assert_eq!(rates, Rates { in_all: 3, per_address: 0 });
    }
}
