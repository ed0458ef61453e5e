//! Mail between shards: one lock-free lane per (from, to) pair. Imports the doorbell and the channel under a lane.

use crate::doorbell::Doorbell;
use crate::shard_id::ShardId;
use crossbeam_channel::{Receiver, Sender};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Values taken from one lane before the next lane has its turn; what stays rings again. 256 batches are more than a turn
/// should handle, and a flood from one shard must not keep the others' mail waiting.
const LANE_DRAIN_MAX: usize = 256;

/// Who sent a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A shard (possibly the receiver itself).
    Shard(ShardId),
    /// A thread that is no shard, through a [`Remote`].
    Outside,
}

/// Everything that travels between shards. One per process, shared by all.
pub(crate) struct Hub<M> {
    inboxes: Box<[Inbox<M>]>,
}

/// What one shard receives.
struct Inbox<M> {
    bell: Doorbell,
    /// One lane per sending shard, and at last the lane of all remotes.
    lanes: Box<[Lane<M>]>,
}

struct Lane<M> {
    origin: Origin,
    sender: Sender<M>,
    receiver: Receiver<M>,
}

impl<M> Hub<M> {
    /// Lanes for `shards` shards. Empty lanes cost nothing until they are used.
    pub(crate) fn new(shards: usize) -> Arc<Self> {
        let inbox = |_| Inbox {
            bell: Doorbell::default(),
            lanes: (0..shards)
                .filter_map(ShardId::from_index)
                .map(Origin::Shard)
                .chain([Origin::Outside])
                .map(|origin| {
                    let (sender, receiver) = crossbeam_channel::unbounded();
                    Lane { origin, sender, receiver }
                })
                .collect(),
        };
        Arc::new(Self { inboxes: (0..shards).map(inbox).collect() })
    }

    fn inbox(&self, shard: ShardId) -> Option<&Inbox<M>> {
        self.inboxes.get(shard.index())
    }

    fn send(&self, lane_index: usize, to: ShardId, mail: M) {
        let inbox = self.inbox(to);
        assert!(inbox.is_some(), "mail for shard {to}, which does not exist");
        let Some((inbox, lane)) = inbox.and_then(|it| Some((it, it.lanes.get(lane_index)?))) else {
            return;
        };
        // Cannot fail: the receiver of the lane lives in this very hub.
        let _ = lane.sender.send(mail);
        inbox.bell.ring();
    }

    /// The shard receives no more: forget its waker.
    pub(crate) fn abandon(&self, shard: ShardId) {
        if let Some(inbox) = self.inbox(shard) {
            inbox.bell.abandon();
        }
    }
}

/// One shard's end of all lanes. Stays on its shard.
///
/// A lane is unbounded and first in, first out; sending never waits. Whoever sends bounds what is under way.
pub struct Mesh<M> {
    shard: ShardId,
    hub: Arc<Hub<M>>,
    /// Only the owner may receive: not `Send`.
    _owner: PhantomData<*const ()>,
}

impl<M> Mesh<M> {
    pub(crate) fn new(shard: ShardId, hub: Arc<Hub<M>>) -> Self {
        assert!(hub.inbox(shard).is_some(), "a mesh belongs to a shard of its hub");
        Self { shard, hub, _owner: PhantomData }
    }

    /// Puts `mail` into the lane to `to` and rings there. Never waits. A shard may write to itself.
    ///
    /// # Panics
    ///
    /// If there is no shard `to`: ids come from this process only.
    pub fn send(&self, to: ShardId, mail: M) {
        self.hub.send(self.shard.index(), to, mail);
    }

    /// Takes what has arrived, lane by lane, each in the order it was sent; the count. One plain load when nothing is there,
    /// so call it every turn: on a busy shard this is how mail is seen within microseconds. Takes a bounded number per lane;
    /// if more is left the next call, and [`Mesh::wait`], find it.
    pub fn try_drain(&self, mut take: impl FnMut(Origin, M)) -> usize {
        let Some(inbox) = self.hub.inbox(self.shard) else { return 0 };
        if !inbox.bell.answer() {
            return 0;
        }
        let mut count = 0;
        let mut left_over = false;
        for lane in &inbox.lanes {
            let mut taken = 0;
            while taken < LANE_DRAIN_MAX {
                let Ok(mail) = lane.receiver.try_recv() else { break };
                take(lane.origin, mail);
                taken += 1;
            }
            left_over |= taken == LANE_DRAIN_MAX && !lane.receiver.is_empty();
            count += taken;
        }
        if left_over {
            inbox.bell.ring();
        }
        count
    }

    /// Resolves when mail may have arrived since the last [`Mesh::try_drain`]. One task of the shard waits at a time; the
    /// future may be dropped at any moment without losing anything.
    pub async fn wait(&self) {
        std::future::poll_fn(|context| self.poll_wait(context)).await;
    }

    /// [`Mesh::wait`] for use among other sources of work in one `poll_fn`.
    pub fn poll_wait(&self, context: &Context<'_>) -> Poll<()> {
        match self.hub.inbox(self.shard) {
            Some(inbox) => inbox.bell.poll_rung(context),
            None => Poll::Pending,
        }
    }

    /// Values that this shard has sent to `to` and that are not taken yet.
    #[must_use]
    pub fn queued(&self, to: ShardId) -> usize {
        let lane = self.hub.inbox(to).and_then(|inbox| inbox.lanes.get(self.shard.index()));
        lane.map_or(0, |lane| lane.receiver.len())
    }

    /// Values that wait for this shard, over all lanes.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let inbox = self.hub.inbox(self.shard);
        inbox.map_or(0, |inbox| inbox.lanes.iter().map(|lane| lane.receiver.len()).sum())
    }

    /// A handle for threads that are no shard.
    #[must_use]
    pub fn remote(&self) -> Remote<M> {
        Remote::new(Arc::clone(&self.hub))
    }
}

impl<M> fmt::Debug for Mesh<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mesh").field("shard", &self.shard).finish_non_exhaustive()
    }
}

/// Sends mail to shards from any thread. All remotes share one lane per shard.
pub struct Remote<M> {
    hub: Arc<Hub<M>>,
}

impl<M> Remote<M> {
    pub(crate) fn new(hub: Arc<Hub<M>>) -> Self {
        Self { hub }
    }

    /// Puts `mail` into the outside lane to `to` and rings there. Never waits.
    ///
    /// # Panics
    ///
    /// If there is no shard `to`: ids come from this process only.
    pub fn send(&self, to: ShardId, mail: M) {
        self.hub.send(self.hub.inboxes.len(), to, mail);
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.hub.inboxes.len()
    }
}

impl<M> Clone for Remote<M> {
    fn clone(&self) -> Self {
        Self { hub: Arc::clone(&self.hub) }
    }
}

impl<M> fmt::Debug for Remote<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("shards", &self.shards()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> (Mesh<u32>, Mesh<u32>) {
        let hub = Hub::new(2);
        (Mesh::new(ShardId(0), Arc::clone(&hub)), Mesh::new(ShardId(1), hub))
    }

    fn drained(mesh: &Mesh<u32>) -> Vec<(Origin, u32)> {
        let mut mail = Vec::new();
        mesh.try_drain(|from, value| mail.push((from, value)));
        mail
    }

    #[test]
    fn mail_arrives_in_order_and_says_who_sent_it() {
        let (first, second) = two();
        first.send(ShardId(1), 1);
        second.send(ShardId(1), 9);
        first.send(ShardId(1), 2);
        first.remote().send(ShardId(1), 7);

        let from = |shard| Origin::Shard(ShardId(shard));
        assert_eq!(second.waiting(), 4);
        assert_eq!(first.queued(ShardId(1)), 2);
        assert_eq!(
            drained(&second),
            vec![(from(0), 1), (from(0), 2), (from(1), 9), (Origin::Outside, 7)]
        );
        assert_eq!(drained(&second), vec![]);
        assert_eq!(second.waiting(), 0);
    }

    #[test]
    fn a_flood_is_taken_in_bounded_bites_and_nothing_stays_behind() {
        let (first, second) = two();
        let flood = u32::try_from(LANE_DRAIN_MAX).unwrap() * 2 + 1;
        for value in 0..flood {
            first.send(ShardId(1), value);
        }

        let mut values = Vec::new();
        let mut bites = 0;
        while second.try_drain(|_, value| values.push(value)) > 0 {
            bites += 1;
        }

        assert_eq!(bites, 3);
        assert_eq!(values, (0..flood).collect::<Vec<_>>());
    }

    #[test]
    #[should_panic(expected = "which does not exist")]
    fn mail_for_an_unknown_shard_is_our_own_mistake() {
        two().0.send(ShardId(2), 0);
    }
}
