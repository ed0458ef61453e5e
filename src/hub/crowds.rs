//! How many connections are open from each address, on all shards, for `max_connections_per_ip`.
//! Each shard counts those that live there and tells the others; nothing is kept while there is no
//! such limit. Places are bounded by the connections there are.
//!
//! May import `auth` (what one source is), `ids`, the hub.

use std::collections::HashMap;
use std::net::IpAddr;

use super::{Arrival, Crossing, Hub};
use crate::auth::limiter::source_of;
use crate::ids::{ConnectionId, ShardId};

/// One per shard.
#[derive(Debug, Default)]
pub(super) struct Crowds {
    /// Connections that live here.
    here: HashMap<ConnectionId, IpAddr>,
    by_source: HashMap<IpAddr, Vec<Crowd>>,
}

/// From one source, on one shard.
#[derive(Debug, Clone, Copy)]
struct Crowd {
    shard: ShardId,
    /// As the shard said last.
    told: u32,
    /// Sent there since.
    sent: u32,
}

impl Crowds {
    /// Changes what is known of a source on a shard; what is nothing is forgotten.
    fn change(&mut self, source: IpAddr, shard: ShardId, change: impl FnOnce(&mut Crowd)) {
        let crowds = self.by_source.entry(source).or_default();
        match crowds.iter_mut().find(|crowd| crowd.shard == shard) {
            Some(crowd) => change(crowd),
            None => {
                let mut crowd = Crowd { shard, told: 0, sent: 0 };
                change(&mut crowd);
                crowds.push(crowd);
            }
        }
        crowds.retain(|crowd| crowd.told > 0 || crowd.sent > 0);
        if crowds.is_empty() {
            self.by_source.remove(&source);
        }
    }

    /// A shard has so many.
    fn heard(&mut self, source: IpAddr, shard: ShardId, count: u32) {
        self.change(source, shard, |crowd| (crowd.told, crowd.sent) = (count, 0));
    }

    fn on(&self, source: IpAddr, shard: ShardId) -> u32 {
        let crowds = self.by_source.get(&source).into_iter().flatten();
        crowds.filter(|crowd| crowd.shard == shard).map(|crowd| crowd.told).sum()
    }

    fn everywhere(&self, source: IpAddr) -> u64 {
        let crowds = self.by_source.get(&source).into_iter().flatten();
        crowds.map(|crowd| u64::from(crowd.told) + u64::from(crowd.sent)).sum()
    }
}

/// One host. Unlike failed logins those from this machine count: the operator has asked for it.
fn host(peer: IpAddr) -> IpAddr {
    source_of(peer).unwrap_or(peer)
}

impl Hub {
    const fn limits_crowds(&self) -> bool {
        self.crowd_max > 0
    }

    /// Whether as many connections are open from an address as may be, as far as this shard knows.
    pub(crate) fn is_crowded(&self, peer: IpAddr) -> bool {
        let max = u64::from(self.crowd_max);
        self.limits_crowds() && self.crowds.borrow().everywhere(host(peer)) >= max
    }

    /// A connection lives here from now on.
    pub(crate) fn crowd_in(&self, connection: ConnectionId, peer: Option<IpAddr>) {
        let Some(source) = peer.filter(|_| self.limits_crowds()).map(host) else { return };
        self.crowds.borrow_mut().here.insert(connection, source);
        self.change_crowd(source, |count| count.saturating_add(1));
    }

    /// A connection that lived here is over, or elsewhere. From where it was.
    pub(crate) fn crowd_out(&self, connection: ConnectionId) -> Option<IpAddr> {
        if !self.limits_crowds() {
            return None;
        }
        let source = self.crowds.borrow_mut().here.remove(&connection)?;
        self.change_crowd(source, |count| count.saturating_sub(1));
        Some(source)
    }

    /// A connection is on its way to another shard: counted at once, as it is not there yet.
    pub(super) fn crowd_sent(&self, to: ShardId, arrival: &Arrival) {
        if let Some(source) = arrival.peer.filter(|_| self.limits_crowds()).map(host) {
            let one_more = |crowd: &mut Crowd| crowd.sent = crowd.sent.saturating_add(1);
            self.crowds.borrow_mut().change(source, to, one_more);
        }
    }

    /// One that was sent here was over before it began: the sender is to know.
    pub(crate) fn crowd_failed(&self, peer: Option<IpAddr>) {
        if let Some(source) = peer.filter(|_| self.limits_crowds()).map(host) {
            self.change_crowd(source, |count| count);
        }
    }

    /// Another shard has so many from there.
    pub(super) fn crowd_heard(&self, from: ShardId, source: IpAddr, count: u32) {
        self.crowds.borrow_mut().heard(source, from, count);
    }

    fn change_crowd(&self, source: IpAddr, change: impl FnOnce(u32) -> u32) {
        let own = self.shard.id();
        let mut crowds = self.crowds.borrow_mut();
        let count = change(crowds.on(source, own));
        crowds.heard(source, own, count);
        drop(crowds);
        for to in (0..self.shard.count()).filter_map(ShardId::from_index) {
            if to != own {
                self.shard.mesh().send(to, Crossing::Crowd(source, count));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_of_a_source_are_added_up_and_forgotten_with_the_last() {
        let source: IpAddr = "192.0.2.1".parse().unwrap();
        let mut crowds = Crowds::default();
        crowds.heard(source, ShardId(0), 2);
        crowds.change(source, ShardId(1), |crowd| crowd.sent += 1);
        assert_eq!((crowds.everywhere(source), crowds.on(source, ShardId(1))), (3, 0));
        crowds.heard(source, ShardId(1), 1);
        assert_eq!(crowds.everywhere(source), 3, "what was sent has arrived");
        assert_eq!(crowds.everywhere("192.0.2.2".parse().unwrap()), 0);
        crowds.heard(source, ShardId(0), 0);
        crowds.heard(source, ShardId(1), 0);
        assert!(crowds.by_source.is_empty());
    }
}
