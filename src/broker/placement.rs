//! Which shard owns a queue: group = hash(vhost, name) mod G, shard = group mod N. Records on
//! disk will carry the group, so the hash never changes. May import `ids`.

use crate::ids::ShardId;

/// Where queues and connections live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// Shards in all.
    shards: u16,
    /// Number of groups, fixed when the data directory is made.
    groups: u16,
    /// Shards that own queues: all of them, or in the test mode `apart` the first half only.
    owners: u16,
}

impl Placement {
    /// `apart` keeps queues on the first half of the shards and connections on the rest, so that
    /// every queue is remote; with one shard there is no apart.
    pub fn new(shards: u16, groups: u16, apart: bool) -> Self {
        let shards = shards.max(1);
        let owners = if apart && shards > 1 { shards.div_ceil(2).min(shards - 1) } else { shards };
        Self { shards, groups: groups.max(1), owners }
    }

    /// The group of a queue.
    pub fn group(self, vhost: &str, name: &str) -> u16 {
        let hash = fnv1a(fnv1a(fnv1a(FNV_OFFSET, vhost.as_bytes()), &[0]), name.as_bytes());
        // FNV's low bits are its weakest; fold the high half in.
        let folded = hash ^ (hash >> 32);
        u16::try_from(folded % u64::from(self.groups)).unwrap_or_default()
    }

    /// The shard that owns the queue of this name.
    pub fn owner(self, vhost: &str, name: &str) -> ShardId {
        ShardId(self.group(vhost, name) % self.owners)
    }

    /// Whether connections may live on this shard.
    pub fn takes_connections(self, shard: ShardId) -> bool {
        self.owners == self.shards || shard.0 >= self.owners
    }

    /// Whether queues live on this shard.
    pub fn owns_queues(self, shard: ShardId) -> bool {
        shard.0 < self.owners
    }

    /// Shards in all.
    pub fn shards(self) -> u16 {
        self.shards
    }
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

fn fnv1a(mut hash: u64, octets: &[u8]) -> u64 {
    for octet in octets {
        hash = (hash ^ u64::from(*octet)).wrapping_mul(FNV_PRIME);
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_spread_evenly_over_the_shards() {
        let placement = Placement::new(5, 256, false);
        let mut owned = [0_u32; 5];
        for n in 0..10_000 {
            owned[usize::from(placement.owner("/", &format!("queue-{n}")).0)] += 1;
        }
        assert!(owned.iter().all(|n| (1_700..2_300).contains(n)), "{owned:?}");
    }

    #[test]
    fn apart_leaves_no_shard_with_both() {
        for shards in 2..9 {
            let placement = Placement::new(shards, 256, true);
            for shard in (0..shards).map(ShardId) {
                assert_ne!(placement.takes_connections(shard), placement.owns_queues(shard));
            }
        }
        let alone = Placement::new(1, 256, true);
        assert!(alone.takes_connections(ShardId(0)) && alone.owns_queues(ShardId(0)));
    }
}
