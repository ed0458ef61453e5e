//! A limit on what all consumers of one channel together may have unsettled. The consumers' queues
//! may lie on several shards, so the channel's home hands out tokens: a consumer under such a
//! limit delivers only for a token, asks for one when it has work and none, and gives back those
//! that found no message. The sum of tokens out and deliveries unsettled never passes the limit.

use std::collections::VecDeque;

use super::Broker;
use super::connections::Connection;
use super::deliver::SETTLED;
use super::mail::Mail;
use crate::command::Event;
use crate::ids::{ChannelId, ChannelRef, ConnectionId, ConsumerId, ConsumerRef, QueueId, QueueRef};

/// One per channel with consumers or a limit, on its home shard.
#[derive(Debug)]
pub(super) struct ChannelCredit {
    channel: ChannelId,
    /// 0: no limit.
    limit: u32,
    /// Deliveries unsettled.
    unsettled: u32,
    /// Tokens out.
    tokens: u32,
    /// Consumers with work and no token, first come first served.
    wanting: VecDeque<(QueueRef, ConsumerId)>,
    consumers: Vec<ConsumerRef>,
    /// The channel takes no deliveries for now.
    paused: bool,
}

impl ChannelCredit {
    fn new(channel: ChannelId) -> Self {
        Self {
            channel,
            limit: 0,
            unsettled: 0,
            tokens: 0,
            wanting: VecDeque::new(),
            consumers: Vec::new(),
            paused: false,
        }
    }
}

impl Connection {
    /// A delivery for a consumer of this channel: costs nothing where no limit was ever set.
    pub(super) fn delivered(&mut self, channel: ChannelId) {
        if let Some(credit) = self.credits.iter_mut().find(|c| c.channel == channel && c.limit != 0)
        {
            credit.unsettled = credit.unsettled.saturating_add(1);
            credit.tokens = credit.tokens.saturating_sub(1);
        }
    }

    /// Deliveries to settle that the session has not taken yet.
    fn deliveries_waiting(&self, channel: ChannelId) -> u32 {
        let waits = |event: &&Event| matches!(event, Event::Delivery(d) if d.channel == channel && d.id != SETTLED);
        u32::try_from(self.events.iter().filter(waits).count()).unwrap_or(u32::MAX)
    }
    /// A consumer of this shard has work and no token: it gets one at once if the limit allows,
    /// else its name goes on the list.
    pub(super) fn take_token(&mut self, channel: ChannelId, who: (QueueRef, ConsumerId)) -> u32 {
        let Some(credit) = self.credits.iter_mut().find(|c| c.channel == channel) else { return 0 };
        let out = credit.unsettled.saturating_add(credit.tokens);
        if out < credit.limit {
            credit.tokens += 1;
            return 1;
        }
        if !credit.wanting.contains(&who) {
            credit.wanting.push_back(who);
        }
        0
    }
}

impl Broker {
    fn credit(
        &mut self,
        connection: ConnectionId,
        channel: ChannelId,
    ) -> Option<&mut ChannelCredit> {
        let credits = &mut self.connections.get_mut(connection)?.credits;
        let place = match credits.iter().position(|c| c.channel == channel) {
            Some(place) => place,
            None => {
                credits.push(ChannelCredit::new(channel));
                credits.len() - 1
            }
        };
        credits.get_mut(place)
    }

    /// Most deliveries that all consumers of this channel together may have unsettled; 0: no
    /// limit. In force at once for consumers of this shard; for others what is already on its way
    /// still arrives. `unsettled`: how many the session has out; nobody counted them while there
    /// was no limit.
    pub fn limit_channel(
        &mut self,
        connection: ConnectionId,
        channel: ChannelId,
        limit: u32,
        unsettled: u32,
    ) {
        let waiting = self.connections.get(connection).map_or(0, |c| c.deliveries_waiting(channel));
        let Some(credit) = self.credit(connection, channel) else { return };
        let was = credit.limit;
        credit.limit = limit;
        if was == 0 {
            credit.unsettled = unsettled.saturating_add(waiting);
        }
        if (was == 0) != (limit == 0) {
            let consumers = credit.consumers.clone();
            if limit == 0 {
                credit.tokens = 0;
                credit.wanting.clear();
            }
            for consumer in consumers {
                self.limit_consumer(consumer, limit != 0);
            }
        }
        self.hand_out(connection, channel);
    }

    /// Whether a new consumer of this channel starts under a limit.
    pub(super) fn is_limited(&self, connection: ConnectionId, channel: ChannelId) -> bool {
        let entry = self.connections.get(connection);
        entry.is_some_and(|e| e.credits.iter().any(|c| c.channel == channel && c.limit != 0))
    }

    /// Remembers a consumer of a channel, for limits that come later.
    pub(super) fn consumer_started(
        &mut self,
        connection: ConnectionId,
        channel: ChannelId,
        consumer: ConsumerRef,
    ) {
        let Some(credit) = self.credit(connection, channel) else { return };
        credit.consumers.push(consumer);
        if credit.paused {
            self.pause_consumer(consumer, true);
        }
    }

    /// The channel stops, or goes on, taking deliveries; its consumers keep their places. What is
    /// on its way from other shards still arrives.
    pub fn pause_channel(&mut self, connection: ConnectionId, channel: ChannelId, pause: bool) {
        let Some(credit) = self.credit(connection, channel) else { return };
        credit.paused = pause;
        for consumer in credit.consumers.clone() {
            self.pause_consumer(consumer, pause);
        }
    }

    fn pause_consumer(&mut self, consumer: ConsumerRef, on: bool) {
        let ConsumerRef { queue: QueueRef { shard, queue }, consumer } = consumer;
        if shard == self.shard {
            self.consumer_paused(queue, consumer, on);
        } else {
            self.post.send(shard, Mail::Paused { queue, consumer, on });
        }
    }

    /// Owner: see [`Broker::pause_channel`].
    pub(super) fn consumer_paused(&mut self, queue: QueueId, consumer: ConsumerId, on: bool) {
        if let Some(entry) = self.queues.get_mut(queue) {
            entry.queue.set_consumer_paused(consumer, on);
            self.mark_dirty(queue);
        }
    }

    /// Forgets a consumer; its tokens come back by themselves.
    pub(super) fn consumer_stopped(&mut self, connection: ConnectionId, consumer: ConsumerRef) {
        let Some(entry) = self.connections.get_mut(connection) else { return };
        for credit in &mut entry.credits {
            credit.consumers.retain(|c| *c != consumer);
            credit.wanting.retain(|w| *w != (consumer.queue, consumer.consumer));
        }
    }

    pub(super) fn channel_closed(&mut self, connection: ConnectionId, channel: ChannelId) {
        if let Some(entry) = self.connections.get_mut(connection) {
            entry.credits.retain(|c| c.channel != channel);
        }
    }

    /// A delivery for a consumer has arrived here.
    pub(super) fn channel_delivered(&mut self, connection: ConnectionId, channel: ChannelId) {
        if let Some(entry) = self.connections.get_mut(connection) {
            entry.delivered(channel);
        }
    }

    /// A delivery of a consumer was settled.
    pub(super) fn channel_settled(&mut self, connection: ConnectionId, channel: ChannelId) {
        let Some(entry) = self.connections.get_mut(connection) else { return };
        let Some(credit) = entry.credits.iter_mut().find(|c| c.channel == channel) else { return };
        credit.unsettled = credit.unsettled.saturating_sub(1);
        if credit.limit != 0 && !credit.wanting.is_empty() {
            self.hand_out(connection, channel);
        }
    }

    /// A consumer has work and no token.
    pub(super) fn wanted(
        &mut self,
        (connection, channel): (ConnectionId, ChannelId),
        queue: QueueRef,
        consumer: ConsumerId,
    ) {
        let Some(credit) = self.credit(connection, channel) else { return };
        if credit.limit == 0 {
            self.limit_consumer(ConsumerRef { queue, consumer }, false);
            return;
        }
        if !credit.wanting.contains(&(queue, consumer)) {
            credit.wanting.push_back((queue, consumer));
        }
        self.hand_out(connection, channel);
    }

    /// Tokens that found no message.
    pub(super) fn unused(&mut self, (connection, channel): (ConnectionId, ChannelId), tokens: u32) {
        if let Some(credit) = self.credit(connection, channel) {
            credit.tokens = credit.tokens.saturating_sub(tokens);
        }
        self.hand_out(connection, channel);
    }

    /// Shares the free tokens among the consumers that want some.
    fn hand_out(&mut self, connection: ConnectionId, channel: ChannelId) {
        loop {
            let Some(credit) = self.credit(connection, channel) else { return };
            let out = credit.unsettled.saturating_add(credit.tokens);
            let free = credit.limit.saturating_sub(out);
            let wanting = u32::try_from(credit.wanting.len()).unwrap_or(u32::MAX);
            if free == 0 || wanting == 0 {
                return;
            }
            let share = (free / wanting).max(1);
            let Some((queue, consumer)) = credit.wanting.pop_front() else { return };
            credit.tokens = credit.tokens.saturating_add(share);
            if queue.shard == self.shard {
                self.granted(queue.queue, consumer, share);
            } else {
                let mail = Mail::Grant { queue: queue.queue, consumer, tokens: share };
                self.post.send(queue.shard, mail);
            }
        }
    }

    /// Owner: tokens for a consumer.
    pub(super) fn granted(&mut self, queue: QueueId, consumer: ConsumerId, tokens: u32) {
        let Some(entry) = self.queues.get_mut(queue) else { return };
        let at = entry.queue.consumer(consumer).map(|c| c.at);
        if entry.queue.grant(consumer, tokens) {
            self.mark_dirty(queue);
        } else if let Some(at) = at {
            self.give_tokens_back(at, tokens);
        }
    }

    /// Owner: tokens that a consumer has no use for.
    pub(super) fn give_tokens_back(&mut self, at: ChannelRef, tokens: u32) {
        let channel = (at.connection.connection, at.channel);
        if at.connection.shard == self.shard {
            self.unneeded.push((channel, tokens));
        } else if tokens > 0 {
            self.post.send(at.connection.shard, Mail::Unused { channel, tokens });
        }
    }

    fn limit_consumer(&mut self, consumer: ConsumerRef, on: bool) {
        if consumer.queue.shard == self.shard {
            self.set_limited(consumer.queue.queue, consumer.consumer, on);
        } else {
            let mail =
                Mail::Limited { queue: consumer.queue.queue, consumer: consumer.consumer, on };
            self.post.send(consumer.queue.shard, mail);
        }
    }

    /// Owner: a consumer delivers only for tokens from now on, or freely again.
    pub(super) fn set_limited(&mut self, queue: QueueId, consumer: ConsumerId, on: bool) {
        if let Some(entry) = self.queues.get_mut(queue) {
            entry.queue.set_limited(consumer, on);
            self.mark_dirty(queue);
        }
    }
}
