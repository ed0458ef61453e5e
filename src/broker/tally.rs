//! What this shard counts, and what it has, for whoever asks. Counting is an addition to a number of
//! the shard's own; what takes a walk over many things is told piece by piece.
//!
//! May import `command`, `ids`, `stats`.

use super::Broker;
use crate::command::{Answer, Event, Publish, Published};
use crate::ids::{ConnectionId, ConnectionRef};
use crate::stats::{Counters, Gauges, QueueTotals};

/// What an event of a connection counts as.
pub(super) const fn count_event(counters: &mut Counters, event: &Event) {
    match event {
        Event::Stored { accepted: true, .. } => counters.stored += 1,
        Event::Returned { .. } => counters.returned += 1,
        Event::Answer { answer: Answer::Empty, .. } => counters.fetched_none += 1,
        Event::Answer { .. }
        | Event::Stored { .. }
        | Event::Delivery(_)
        | Event::ConsumerGone { .. }
        | Event::SubscriptionsGone { .. }
        | Event::PublishResumed
        | Event::Retained { .. }
        | Event::TakenOver
        | Event::LoginChecked(_)
        | Event::Alarm(_)
        | Event::Close { .. } => {}
    }
}

impl Broker {
    /// What has happened here.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// For what only sessions and connections know.
    pub const fn counters_mut(&mut self) -> &mut Counters {
        &mut self.counters
    }

    /// A message has come in; what becomes of it later counts when it does.
    pub(super) const fn count_publish(&mut self, publish: &Publish<'_>, published: Published) {
        let counters = &mut self.counters;
        counters.published += 1;
        counters.published_reported += publish.seq.is_some() as u64;
        match published {
            Published::Stored => counters.stored += publish.seq.is_some() as u64,
            Published::Unroutable => {
                counters.returned += 1;
                counters.stored += publish.seq.is_some() as u64;
            }
            Published::Overflowed | Published::Pending => {}
        }
    }

    /// What is here now.
    pub fn gauges(&self) -> Gauges {
        let Counters { connections_opened, connections_closed, .. } = self.counters;
        Gauges {
            connections: connections_opened.saturating_sub(connections_closed),
            queues: self.queues.len() as u64,
            exchanges: self.exchanges.len() as u64,
            bindings: self.bindings,
            memory_bytes: self.memory_bytes(),
        }
    }

    /// What `count` places of the table of queues hold, and where to go on if there are more.
    pub fn queue_totals(&self, from: usize, count: usize) -> (QueueTotals, Option<usize>) {
        let (page, next) = self.queues.page(from, count);
        let totals = page.fold(QueueTotals::default(), |sum, (_, entry)| {
            sum.plus(QueueTotals {
                ready: entry.queue.ready(),
                unsettled: entry.queue.unsettled(),
                consumers: entry.queue.consumers().into(),
            })
        });
        (totals, next)
    }

    /// The connections in `count` places of their table, and where to go on if there are more.
    pub fn connections_page(
        &self,
        from: usize,
        count: usize,
    ) -> (Vec<ConnectionId>, Option<usize>) {
        let (page, next) = self.connections.page(from, count);
        (page.map(|(id, _)| id).collect(), next)
    }

    /// Who a connection is and in which virtual host, once it has entered one.
    pub fn whereabouts(&self, connection: ConnectionId) -> Option<(&str, &str)> {
        let entered = self.connections.get(connection)?.entered.as_ref()?;
        Some((entered.identity.name(), &entered.vhost_name))
    }

    /// Octets free on the disk when they were measured last, and those below which publishing is
    /// refused.
    pub fn disk_space(&self) -> (u64, u64) {
        self.storage.as_ref().map_or((u64::MAX, 0), |storage| storage.free_and_least())
    }

    /// Ends a connection of this shard; false: it is gone.
    pub fn close_connection(&mut self, connection: ConnectionRef, reason: &str) -> bool {
        let is_here =
            connection.shard == self.shard && self.connections.get(connection.connection).is_some();
        if is_here {
            self.tell(connection.connection, Event::Close { reason: reason.into() });
        }
        is_here
    }

    /// The names of the virtual hosts.
    pub fn vhost_names(&self) -> impl Iterator<Item = &str> {
        self.vhosts.iter().map(|vhost| &*vhost.name).filter(|name| !name.is_empty())
    }
}
