//! The way out to the other shards: per shard one batch that this turn fills, and the count of
//! octets that are on the lane and not taken yet. May import `mail`, `ids`.

use super::mail::{Batch, Envelope, Mail, Parcel};
use crate::ids::ShardId;
use crate::limits;
use crate::message::Message;

#[derive(Debug, Default)]
struct Lane {
    /// What this turn says.
    batch: Box<Batch>,
    /// Empty batches that came back or were read here, for reuse.
    spare: Option<Box<Batch>>,
    /// The other side's batch, read here, on its way back.
    back: Option<Box<Batch>>,
    /// Octets sent and not yet reported as taken.
    in_flight: u64,
    /// Octets taken here and not yet reported.
    taken: u64,
}

/// One per shard.
#[derive(Debug)]
pub(crate) struct Post {
    me: ShardId,
    lanes: Vec<Lane>,
}

/// Report octets taken when this many have gathered, even if there is nothing else to say.
const REPORT_BYTES: u64 = limits::LANE_BYTES_MAX / 8;

impl Post {
    pub(crate) fn new(me: ShardId, shards: u16) -> Self {
        Self { me, lanes: (0..shards).map(|_| Lane::default()).collect() }
    }

    /// Shards besides this one.
    pub(crate) fn others(&self) -> impl Iterator<Item = ShardId> + use<> {
        let me = self.me;
        let shards = u16::try_from(self.lanes.len()).unwrap_or(u16::MAX);
        (0..shards).map(ShardId).filter(move |s| *s != me)
    }

    /// Says one thing to one shard.
    pub(crate) fn send(&mut self, to: ShardId, mail: Mail) {
        debug_assert!(to != self.me, "a shard does not write to itself: {mail:?}");
        if let Some(lane) = self.lanes.get_mut(usize::from(to.0)) {
            lane.batch.mails.push(mail);
        }
    }

    /// Says one thing that carries a message.
    pub(crate) fn send_message(
        &mut self,
        to: ShardId,
        message: &Message,
        mail: impl FnOnce(Parcel) -> Mail,
    ) {
        debug_assert!(to != self.me, "a shard does not write to itself");
        if let Some(lane) = self.lanes.get_mut(usize::from(to.0)) {
            let parcel = lane.batch.pack(message);
            lane.batch.mails.push(mail(parcel));
        }
    }

    /// Whether some lane holds as much as it may.
    pub(crate) fn is_full(&self) -> bool {
        self.lanes.iter().any(|lane| lane.in_flight >= limits::LANE_BYTES_MAX)
    }

    /// Notes what came in besides sentences.
    pub(crate) fn received(&mut self, from: ShardId, spare: Option<Box<Batch>>, taken: u64) {
        if let Some(lane) = self.lanes.get_mut(usize::from(from.0)) {
            lane.in_flight = lane.in_flight.saturating_sub(taken);
            if lane.spare.is_none() {
                lane.spare = spare;
            }
        }
    }

    /// Gives back a batch that was read here.
    pub(crate) fn done_with(&mut self, from: ShardId, batch: Box<Batch>, weight: u64) {
        if let Some(lane) = self.lanes.get_mut(usize::from(from.0)) {
            lane.taken += weight;
            lane.back = Some(batch);
        }
    }

    /// What has to cross now.
    pub(crate) fn collect(&mut self, mut ship: impl FnMut(ShardId, Envelope)) {
        for (to, lane) in (0..).map(ShardId).zip(&mut self.lanes) {
            if lane.batch.is_empty() && lane.taken < REPORT_BYTES {
                continue;
            }
            let next = lane.spare.take().or_else(|| lane.back.take()).unwrap_or_default();
            let batch = std::mem::replace(&mut lane.batch, next);
            lane.in_flight += batch.weight();
            let taken = std::mem::take(&mut lane.taken);
            ship(to, Envelope { batch, spare: lane.back.take(), taken });
        }
    }
}
