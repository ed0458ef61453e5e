//! What connections leave on the owners of queues: their consumers, their fetches that wait, their
//! exclusive queues; and how all of that goes with them.
//!
//! May import `ids`, `calls`, `connections`, `mail`.

use super::Broker;
use super::calls::Then;
use super::connections::Window;
use super::few_map::FewMap;
use super::mail::CallId;
use crate::command::Now;
use crate::ids::{ChannelId, ConnectionRef, QueueId, ShardId};

/// What a connection left on an owner: its queues with consumers, and its exclusive ones.
#[derive(Debug, Default)]
pub(super) struct Footprint {
    /// How often each counts: its consumers, its fetches that wait, and once more where it is
    /// exclusive.
    pub(super) queues: FewMap<QueueId, u32>,
    /// For a connection of another shard: what is on its way to it.
    pub(super) window: Window,
}

impl Broker {
    pub(super) fn leave_footprint(&mut self, connection: ConnectionRef, queue: QueueId) {
        let footprint = self.footprints.entry(connection).or_default();
        footprint.queues.update(queue, |count| *count += 1);
    }

    /// Consumers or fetches of a connection, or its own queue, are gone.
    pub(super) fn lift_footprint(&mut self, connection: ConnectionRef, queue: QueueId, times: u32) {
        if let Some(footprint) = self.footprints.get_mut(&connection)
            && let Some(count) = footprint.queues.get_mut(&queue)
        {
            *count = count.saturating_sub(times);
            if *count == 0 {
                footprint.queues.remove(&queue);
            }
        }
    }

    /// A connection, or one of its channels, is gone: its consumers stop, with the whole
    /// connection its exclusive queues go. The call is answered when all shards know.
    pub(super) fn connection_gone(
        &mut self,
        connection: ConnectionRef,
        channel: Option<ChannelId>,
        reply: Option<(ShardId, CallId)>,
        now: Now,
    ) {
        let then = match reply {
            None => Then::Nothing,
            Some((shard, call)) => Then::Done { shard, call },
        };
        let Some(own) = self.open_call(then) else { return };
        let queues = match (channel, self.footprints.get(&connection)) {
            (_, None) => Vec::new(),
            (_, Some(footprint)) => footprint.queues.iter().map(|(id, _)| *id).collect(),
        };
        for id in queues {
            let Some(entry) = self.queues.get_mut(id) else { continue };
            if channel.is_none() && entry.queue.exclusive() == Some(connection) {
                self.delete_queue(id, own, Some(connection));
                continue;
            }
            let gets = entry.gets.forget(connection, channel);
            let effects = &mut self.effects_now;
            let gone = entry.queue.remove_consumers_of(connection, channel, now, effects);
            self.lift_footprint(connection, id, gone.saturating_add(gets));
            self.after_removal(id, own, now);
        }
        if channel.is_none() {
            self.forget_window(connection);
        }
        self.release(own, true);
    }

    /// Nothing is on its way to this connection any more.
    pub(super) fn forget_window(&mut self, connection: ConnectionRef) {
        self.footprints.remove(&connection);
    }
}
