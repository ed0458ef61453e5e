//! A message and a consumer with credit become a delivery, here or by mail; and what a turn leaves
//! to do: effects of queues, queues that may have something to deliver.

use std::collections::HashMap;

use super::Broker;
use super::calls::Then;
use super::connections::{Connection, Window, window_bytes};
use super::footprint::Footprint;
use super::mail::{Mail, PendingId};
use super::meeting::KEY_BYTES_MAX;
use super::pending::Report;
use super::post::Post;
use super::queue::store::Position;
use super::queue::{DeadLetter, Effect, Enqueued, More, OutDelivery, Outlet, Queue};
use super::slots::Slots;
use crate::command::{Delivery, Event, Now};
use crate::ids::{
    ChannelId, ChannelRef, ConnectionId, ConnectionRef, ConsumerId, ConsumerRef, DeliveryId,
    QueueId, QueueRef, ShardId, VhostId,
};
use crate::message::Message;
use crate::properties::{is_by_topic, key_of_topic};
use crate::subscriber::FILTERS;

/// Deliveries one queue makes before others get their turn.
const DELIVERIES_PER_PASS: usize = 256;

/// What nobody has to settle.
pub(super) const SETTLED: DeliveryId = super::queue::SETTLED_AT_ONCE;

/// Tokens that a channel of this shard gets back.
pub(super) type UnneededHere = ((ConnectionId, ChannelId), ConsumerRef, u32);

/// Where one queue's deliveries go during one pass.
struct Way<'a> {
    shard: ShardId,
    queue: QueueId,
    connections: &'a mut Slots<ConnectionId, Connection>,
    footprints: &'a mut HashMap<ConnectionRef, Footprint, ahash::RandomState>,
    ready: &'a mut Vec<ConnectionId>,
    spare_events: &'a mut Vec<Vec<Event>>,
    post: &'a mut Post,
    unneeded: &'a mut Vec<UnneededHere>,
}

impl Way<'_> {
    fn window(&self, to: ConnectionRef) -> Option<&Window> {
        if to.shard == self.shard {
            self.connections.get(to.connection).map(|c| &c.window)
        } else {
            self.footprints.get(&to).map(|f| &f.window)
        }
    }
}

impl Outlet for Way<'_> {
    fn has_room(&self, to: ConnectionRef) -> bool {
        // A connection that is gone takes everything: its consumers go before anything else.
        self.window(to).is_none_or(Window::has_room)
    }

    fn waits_for_room(&mut self, to: ConnectionRef) {
        let window = if to.shard == self.shard {
            self.connections.get_mut(to.connection).map(|c| &mut c.window)
        } else {
            self.footprints.get_mut(&to).map(|f| &mut f.window)
        };
        if let Some(window) = window
            && !window.waiting.contains(&self.queue)
        {
            window.waiting.push(self.queue);
        }
    }

    fn deliver(&mut self, out: OutDelivery<'_>) {
        let to = out.channel;
        let bytes = window_bytes(out.message);
        let connection = to.connection.connection;
        let id = if out.no_settle { SETTLED } else { out.id };
        if to.connection.shard == self.shard {
            let Some(entry) = self.connections.get_mut(connection) else { return };
            entry.window.in_flight += bytes;
            if !out.no_settle {
                entry.delivered(to.channel, out.key);
            }
            let delivery = Event::Delivery(Delivery {
                channel: to.channel,
                consumer: Some(out.key),
                queue: QueueRef { shard: self.shard, queue: self.queue },
                id,
                redelivered: out.redelivered,
                delivery_count: out.delivery_count,
                position: out.position,
                received: out.received,
                message: out.message.clone(),
            });
            entry.hear(delivery, self.spare_events);
            if !entry.ready {
                entry.ready = true;
                self.ready.push(connection);
            }
            return;
        }
        if let Some(footprint) = self.footprints.get_mut(&to.connection) {
            footprint.window.in_flight += bytes;
        }
        let queue = self.queue;
        self.post.send_message(to.connection.shard, out.message, |parcel| Mail::Deliver {
            connection,
            channel: to.channel,
            consumer: Some(out.key),
            queue,
            id,
            redelivered: out.redelivered,
            delivery_count: out.delivery_count,
            left: None,
            parcel,
        });
    }

    fn want(&mut self, channel: ChannelRef, consumer: ConsumerId) -> u32 {
        let queue = QueueRef { shard: self.shard, queue: self.queue };
        let consumer = ConsumerRef { queue, consumer };
        let to = (channel.connection.connection, channel.channel);
        if channel.connection.shard == self.shard {
            let entry = self.connections.get_mut(to.0);
            return entry.map_or(0, |entry| entry.take_token(to.1, consumer));
        }
        self.post.send(channel.connection.shard, Mail::Want { channel: to, consumer });
        0
    }

    fn unneeded(&mut self, channel: ChannelRef, consumer: ConsumerId, tokens: u32) {
        let channel_here = (channel.connection.connection, channel.channel);
        if channel.connection.shard == self.shard {
            let queue = QueueRef { shard: self.shard, queue: self.queue };
            self.unneeded.push((channel_here, ConsumerRef { queue, consumer }, tokens));
        } else {
            let queue = self.queue;
            let mail = Mail::Unused { channel: channel_here, queue, consumer, tokens };
            self.post.send(channel.connection.shard, mail);
        }
    }
}

impl Broker {
    /// Ends a turn: carries out what queues decided, delivers what can be delivered.
    pub fn end_turn(&mut self, now: Now) {
        self.retained_turn(now);
        loop {
            while let Some((queue, vhost, effect)) = self.effects.pop_front() {
                self.carry_out((queue, vhost), effect, now);
            }
            while let Some((channel, consumer, tokens)) = self.unneeded.pop() {
                self.unused(channel, consumer, tokens);
            }
            if self.dirty.is_empty() {
                break;
            }
            let mut dirty = std::mem::take(&mut self.dirty);
            for queue in dirty.drain(..) {
                self.deliver_from(queue, now);
            }
            // Queues that became dirty meanwhile are behind; keep the larger vector.
            if self.dirty.is_empty() {
                self.dirty = dirty;
            }
        }
        self.report_memory();
    }

    fn deliver_from(&mut self, id: QueueId, now: Now) {
        let Some(entry) = self.queues.get_mut(id) else { return };
        entry.dirty = false;
        if entry.leaving.is_some() {
            return self.hand_on(id, now);
        }
        // Before the consumers, who could not have this message either while it had to be read.
        // Whoever is not answered now waits for a front that the pass below can not take.
        if !entry.gets.is_empty() {
            self.answer_gets(id, now);
        }
        if self.deliver_pass(id, now) == More::Yes {
            self.mark_dirty(id);
        }
    }

    /// Something that the store of a queue had asked for has come. Consumers, deadlines and those
    /// who wait for a message follow at the end of the turn.
    pub(super) fn loaded(&mut self, id: QueueId, now: Now) {
        let done = self.with_way(id, |queue, way, effects| queue.loaded(now, way, effects));
        if done.is_some() {
            self.mark_dirty(id);
            self.wake_part(id);
        }
    }

    /// Consumers come before whoever looks at a queue: a message that came earlier in this turn
    /// is theirs, even if the end of the turn has not handed it out yet.
    pub(super) fn deliver_first(&mut self, id: QueueId, now: Now) {
        if self.queues.get(id).is_some_and(|entry| entry.dirty) {
            // It stays in the list, whatever is left.
            let _ = self.deliver_pass(id, now);
        }
    }

    pub(super) fn deliver_pass(&mut self, id: QueueId, now: Now) -> More {
        let more = self.with_way(id, |queue, way, effects| {
            queue.deliver(now, DELIVERIES_PER_PASS, way, effects)
        });
        let Some(more) = more else { return More::No };
        self.arm(id, now);
        more
    }

    /// Lets a queue hand out messages; what it decides meanwhile and the memory it takes are noted.
    #[inline]
    fn with_way<T>(
        &mut self,
        id: QueueId,
        act: impl FnOnce(&mut Queue, &mut Way<'_>, &mut Vec<Effect>) -> T,
    ) -> Option<T> {
        let Self {
            queues,
            connections,
            footprints,
            ready,
            spare_events,
            post,
            effects_now,
            unneeded,
            ..
        } = self;
        let entry = queues.get_mut(id)?;
        let mut way = Way {
            shard: self.shard,
            queue: id,
            connections,
            footprints,
            ready,
            spare_events,
            post,
            unneeded,
        };
        let before = entry.queue.memory_bytes();
        let done = act(&mut entry.queue, &mut way, effects_now);
        self.memory.moved(before, entry.queue.memory_bytes());
        if !self.effects_now.is_empty() {
            self.queue_effects(id);
        }
        Some(done)
    }

    /// Moves what a queue just decided to the list of things to carry out: what has died has to
    /// go on even if the queue is deleted before that.
    pub(super) fn queue_effects(&mut self, id: QueueId) {
        let Some(vhost) = self.queues.get(id).map(|entry| entry.vhost) else { return };
        for effect in self.effects_now.drain(..) {
            self.effects.push_back((id, vhost, effect));
        }
    }

    fn carry_out(&mut self, (id, vhost): (QueueId, VhostId), effect: Effect, now: Now) {
        match effect {
            Effect::DeadLetter(DeadLetter { message, target, reason: _, from }) => {
                let key = target.routing_key.as_deref();
                let origin = from.map(|at| Report::Dead { queue: id, at });
                let wanted = origin.and_then(|report| self.await_stored(report));
                self.dead_letter(vhost, &message, (&target.exchange, key), wanted, now);
                match (wanted, from) {
                    // What is stored on this shard stands before the settlement in its log.
                    (Some(wanted), _) => self.stored(wanted, true, true),
                    (None, Some(at)) => self.gone_on(id, at),
                    (None, None) => {}
                }
            }
            Effect::Dropped(_) => {}
            Effect::Unreadable(position) => {
                let name = self.queues.get(id).map(|entry| entry.queue.name());
                tracing::error!(queue = name, ?position, "a message cannot be read back");
            }
            Effect::Delete(_) => {
                if let Some(call) = self.open_call(Then::Nothing) {
                    self.delete_queue(id, call, None);
                    self.release(call, true);
                }
            }
        }
    }

    /// A dead message has arrived where it went.
    pub(super) fn gone_on(&mut self, id: QueueId, at: Position) {
        let Some(entry) = self.queues.get_mut(id) else { return };
        let before = entry.queue.memory_bytes();
        entry.queue.gone_on(at);
        self.memory.moved(before, entry.queue.memory_bytes());
    }

    /// Sends a dead message on. Without a key of the queue's own it keeps its own and the visible
    /// keys its sender chose.
    fn dead_letter(
        &mut self,
        vhost: VhostId,
        message: &Message,
        (exchange, key): (&str, Option<&str>),
        wanted: Option<PendingId>,
        now: Now,
    ) {
        let name = if exchange.is_empty() {
            Some(self.no_name.clone())
        } else {
            let id = self.exchange_id(vhost, exchange);
            id.and_then(|id| self.exchanges.get(&id)).map(|e| e.name.clone())
        };
        // A dead-letter exchange that does not exist: the message is dropped (as RabbitMQ does).
        let Some(name) = name else { return };
        let keys = if key.is_some() { Vec::new() } else { message.extra_keys().to_vec() };
        // Whoever is behind an exchange knows keys and no topics (mqtt.md X-03).
        let by_topic = key.is_none() && exchange != FILTERS && is_by_topic(message);
        let translated = by_topic.then(|| key_of_topic(message.routing_key(), self.crossing.dots));
        if translated.as_ref().is_some_and(|key| key.len() > KEY_BYTES_MAX) {
            return;
        }
        let own = translated.as_deref().unwrap_or_else(|| message.routing_key());
        let Some(dead) = message.readdressed(name, key.unwrap_or(own)) else {
            return;
        };
        if exchange.is_empty() {
            let own = dead.routing_key().to_owned();
            let mut names = vec![&*own];
            for key in &keys {
                if !names.contains(&&**key) {
                    names.push(key);
                }
            }
            for name in names {
                self.publish_internal_by_name(vhost, name, &dead, wanted, now);
            }
        } else if let Some(id) = self.exchange_id(vhost, exchange) {
            let keys = (!keys.is_empty()).then_some(&*keys);
            self.publish_internal(id, &dead, keys, wanted, now);
        }
    }

    /// Puts a message in a queue of this shard, or hands it to the session that the queue is of.
    pub(super) fn put(&mut self, id: QueueId, message: Message, now: Now) -> Enqueued {
        if self.has_origin() && self.has_reached(id, &message) {
            return Enqueued::Stored;
        }
        match self.queues.get(id).map(|entry| entry.session) {
            None => Enqueued::Stored,
            Some(None) => self.store(id, message, now),
            Some(Some(session)) => self.put_in_session((id, session), message, now),
        }
    }

    /// Stores a message in a queue of this shard; a queue with a length limit hands out at once.
    pub(super) fn store(&mut self, id: QueueId, message: Message, now: Now) -> Enqueued {
        let reader = self.reader_of(&message);
        let block = message.clone();
        let header = |name: &str| (reader?.headers)(block.properties()).get(name).cloned();
        let enqueued = self
            .with_way(id, |queue, way, effects| queue.publish(message, header, now, way, effects));
        let Some(enqueued) = enqueued else { return Enqueued::Stored };
        self.mark_dirty(id);
        enqueued
    }

    /// Octets written by a connection: queues that found no room go on.
    pub(super) fn room(&mut self, connection: ConnectionRef, bytes: u64) {
        let window = if connection.shard == self.shard {
            self.connections.get_mut(connection.connection).map(|c| &mut c.window)
        } else {
            self.footprints.get_mut(&connection).map(|f| &mut f.window)
        };
        let Some(window) = window else { return };
        window.in_flight = window.in_flight.saturating_sub(bytes);
        if !window.has_room() || window.waiting.is_empty() {
            return;
        }
        for queue in std::mem::take(&mut window.waiting) {
            if let Some(entry) = self.queues.get_mut(queue) {
                entry.queue.resume(connection);
                if !entry.dirty {
                    entry.dirty = true;
                    self.dirty.push(queue);
                }
            }
        }
    }
}
