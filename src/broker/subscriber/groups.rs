//! Groups: each message that a group's filter matches goes to one of its members, on whatever shard.
//! The publisher's shard picks it, as every shard knows all members and who of them is away; the
//! copy that is on its way names the group as its exchange, so that every shard it comes to knows
//! whom it is for.
//!
//! May import `session`, `put`, and of the broker `route`, `mail`, `pending`, `binding`.

use super::session::SessionId;
use crate::broker::Broker;
use crate::broker::mail::{Mail, PendingId};
use crate::broker::pending::Report;
use crate::broker::queue::Enqueued;
use crate::broker::route::Route;
use crate::broker::storage::waits::Put;
use crate::command::Now;
use crate::ids::{ExchangeId, QueueId, QueueRef, ShardId, VhostId};
use crate::message::Message;
use crate::subscriber::GROUPS;

impl Broker {
    /// Sends the copies for members of groups; those for other shards count as places of `wanted`.
    pub(in crate::broker) fn follow_groups(
        &mut self,
        route: &Route,
        message: &Message,
        wanted: Option<PendingId>,
        now: Now,
    ) -> Put {
        let mut put = Put::DONE;
        let Some(groups) = &route.groups else { return put };
        for (queue, address) in &groups.picked {
            if self.has_reached_group(address) {
                continue;
            }
            let copy = match &groups.topic {
                None => Some(message.with(|inner| inner.exchange = address.clone())),
                Some(topic) => message.readdressed(address.clone(), topic),
            };
            if let Some(copy) = copy {
                put = put.and(self.send_to_member((groups.exchange, *queue), copy, wanted, now));
            }
        }
        put
    }

    fn send_to_member(
        &mut self,
        (exchange, queue): (ExchangeId, QueueRef),
        message: Message,
        wanted: Option<PendingId>,
        now: Now,
    ) -> Put {
        if queue.shard == self.shard {
            return self.enqueue(queue.queue, message, now);
        }
        let to = queue.queue;
        self.send_origin(queue.shard);
        self.post.send_message(queue.shard, &message, |parcel| Mail::PublishToMember {
            exchange,
            queue: to,
            parcel,
            wanted,
        });
        if let Some(wanted) = wanted {
            self.one_more_place(wanted);
        }
        Put::DONE
    }

    /// A copy that another shard has picked a member of this one for. If that is no member any more
    /// another one gets it, and the publisher waits for that.
    pub(in crate::broker) fn put_to_member(
        &mut self,
        (exchange, queue): (ExchangeId, QueueId),
        message: Message,
        (from, pending): (ShardId, Option<PendingId>),
        now: Now,
    ) -> Option<Put> {
        if self.is_member(queue, message.exchange()) {
            return Some(self.enqueue(queue, message, now));
        }
        let wanted =
            pending.and_then(|pending| self.await_stored(Report::Shard { shard: from, pending }));
        let put = self.pick_another((exchange, queue), message, wanted, now);
        let Some(wanted) = wanted else { return Some(put) };
        self.stored_as(wanted, put);
        None
    }

    fn is_member(&self, queue: QueueId, address: &str) -> bool {
        let id = self.queues.get(queue).and_then(|entry| entry.session);
        let session = id.and_then(|id| self.sessions.get(id));
        session.is_some_and(|session| session.subscriptions.of_group(address).is_some())
    }

    /// Whoever is left of the group but for one queue of this shard gets the copy; if nobody is,
    /// nobody does.
    pub(super) fn pick_another(
        &mut self,
        (exchange, but): (ExchangeId, QueueId),
        message: Message,
        wanted: Option<PendingId>,
        now: Now,
    ) -> Put {
        let choice = self.random();
        let entry = self.exchanges.get(&exchange);
        let but = QueueRef { shard: self.shard, queue: but };
        match entry.and_then(|entry| entry.bindings.pick(message.exchange(), choice)) {
            Some(queue) if queue != but => {
                self.send_to_member((exchange, queue), message, wanted, now)
            }
            Some(_) | None => Put::DONE,
        }
    }

    /// A copy for a session of this shard.
    pub(super) fn put_in_group(
        &mut self,
        (queue, id): (QueueId, SessionId),
        message: Message,
        now: Now,
    ) -> Enqueued {
        let Some(session) = self.sessions.get(id) else { return Enqueued::Stored };
        let vhost = session.vhost;
        // Who picked it knew, or has asked whether it still is a member.
        let Some(options) = session.subscriptions.of_group(message.exchange()) else {
            return Enqueued::Stored;
        };
        let mut to = (queue, id, options.stores());
        // It has left meanwhile: somebody who is here comes first.
        if session.connection.is_none()
            && let Some(other) = self.member_here(vhost, message.exchange())
        {
            to = other;
        }
        let (queue, id, stores) = to;
        self.put_or_pass((queue, id), message, stores, now)
    }

    /// A member of the group on this shard whose client is here.
    fn member_here(&mut self, vhost: VhostId, address: &str) -> Option<(QueueId, SessionId, bool)> {
        let choice = self.random();
        let exchange = self.exchanges.get(&self.exchange_id(vhost, GROUPS)?)?;
        let picked = exchange.bindings.pick(address, choice)?;
        let queue = (picked.shard == self.shard).then_some(picked.queue)?;
        let id = self.queues.get(queue)?.session?;
        let session = self.sessions.get(id).filter(|session| session.connection.is_some())?;
        Some((queue, id, session.subscriptions.of_group(address)?.stores()))
    }

    /// A member that lasts has lost its client, or has it again: all shards pick accordingly.
    pub(super) fn tell_away(&mut self, id: SessionId, away: bool) {
        let Some(session) = self.sessions.get(id).filter(|s| s.subscriptions.has_groups()) else {
            return;
        };
        let exchange = self.exchange_id(session.vhost, GROUPS);
        let (Some(exchange), Some(queue)) = (exchange, session.queue) else { return };
        let queue = QueueRef { shard: self.shard, queue };
        self.apply_away(exchange, queue, away);
        for shard in self.post.others() {
            self.post.send(shard, Mail::Away { exchange, queue, away });
        }
    }

    pub(in crate::broker) fn apply_away(
        &mut self,
        exchange: ExchangeId,
        queue: QueueRef,
        away: bool,
    ) {
        if let Some(entry) = self.exchanges.get_mut(&exchange) {
            entry.bindings.set_away(queue, away);
        }
    }
}
