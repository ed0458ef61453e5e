//! A limit on what all consumers of one channel together may have unsettled. The consumers' queues
//! may lie on several shards, so the channel's home hands out tokens: a consumer under such a
//! limit delivers only for a token, asks for one when it has work and none, and gives back those
//! that found no message. The sum of tokens out and deliveries unsettled never passes the limit.

use std::collections::VecDeque;
use std::rc::Rc;

use super::Broker;
use super::connections::Connection;
use super::consumer::ChannelShare;
use super::mail::Mail;
use crate::ids::{
    ChannelId, ChannelRef, ConnectionId, ConsumerId, ConsumerKey, ConsumerRef, QueueId, QueueRef,
};

/// One per channel that had consumers or a limit, on its home shard, in order of channels.
#[derive(Debug)]
pub(super) struct ChannelCredit {
    channel: ChannelId,
    /// 0: no limit.
    limit: u32,
    /// Deliveries unsettled, counted also without a limit: one may be set later.
    unsettled: u32,
    /// Tokens out, all members together.
    tokens: u32,
    /// Consumers with work and no token, first come first served.
    wanting: VecDeque<ConsumerRef>,
    members: Vec<Member>,
    /// The consumer that the command under way starts.
    starting: Option<(ConsumerKey, Rc<str>)>,
    /// The consumer that the command under way stops.
    stopping: Option<ConsumerRef>,
    /// The channel takes no deliveries for now.
    paused: bool,
}

/// A consumer of the channel.
#[derive(Debug, Clone)]
struct Member {
    consumer: ConsumerRef,
    key: ConsumerKey,
    /// What it reads, for permissions that change.
    queue: Rc<str>,
    /// Tokens it has, as far as this shard knows: those that came back to it, in deliveries or
    /// unused, are taken off on arrival. Whatever is left is free again when it is gone.
    tokens: u32,
}

impl ChannelCredit {
    fn new(channel: ChannelId) -> Self {
        Self {
            channel,
            limit: 0,
            unsettled: 0,
            tokens: 0,
            wanting: VecDeque::new(),
            members: Vec::new(),
            starting: None,
            stopping: None,
            paused: false,
        }
    }

    fn free(&self) -> u32 {
        self.limit.saturating_sub(self.unsettled.saturating_add(self.tokens))
    }

    fn give(&mut self, to: ConsumerRef, tokens: u32) -> bool {
        let Some(member) = self.members.iter_mut().find(|m| m.consumer == to) else { return false };
        member.tokens = member.tokens.saturating_add(tokens);
        self.tokens = self.tokens.saturating_add(tokens);
        true
    }

    fn take(&mut self, of: impl Fn(&Member) -> bool, tokens: u32) {
        if let Some(member) = self.members.iter_mut().find(|m| of(m)) {
            let tokens = tokens.min(member.tokens);
            member.tokens -= tokens;
            self.tokens = self.tokens.saturating_sub(tokens);
        }
    }

    fn forget(&mut self, of: impl Fn(&Member) -> bool) {
        let Some(place) = self.members.iter().position(of) else { return };
        let gone = self.members.swap_remove(place);
        self.tokens = self.tokens.saturating_sub(gone.tokens);
        self.wanting.retain(|wanting| *wanting != gone.consumer);
    }
}

impl Connection {
    fn credit(&mut self, channel: ChannelId) -> Option<&mut ChannelCredit> {
        let place = self.credits.binary_search_by_key(&channel, |c| c.channel).ok()?;
        self.credits.get_mut(place)
    }

    /// A delivery that has to be settled has come for a consumer of this channel.
    pub(super) fn delivered(&mut self, channel: ChannelId, key: ConsumerKey) {
        let Some(credit) = self.credit(channel) else { return };
        credit.unsettled = credit.unsettled.saturating_add(1);
        if credit.tokens > 0 {
            credit.take(|member| member.key == key, 1);
        }
    }

    /// A consumer of this shard has work and no token: it gets one at once if the limit allows,
    /// else its name goes on the list.
    pub(super) fn take_token(&mut self, channel: ChannelId, who: ConsumerRef) -> u32 {
        let Some(credit) = self.credit(channel) else { return 0 };
        if credit.free() > 0 && credit.give(who, 1) {
            return 1;
        }
        if !credit.wanting.contains(&who) {
            credit.wanting.push_back(who);
        }
        0
    }
}

impl Connection {
    /// Consumers on all of its channels, and what they read.
    pub(super) fn consumers(&self) -> Vec<(ChannelId, ConsumerRef, Rc<str>)> {
        let of = |credit: &ChannelCredit| {
            let channel = credit.channel;
            let all = credit.members.iter();
            all.map(move |m| (channel, m.consumer, m.queue.clone())).collect::<Vec<_>>()
        };
        self.credits.iter().flat_map(of).collect()
    }
}

impl Broker {
    fn credit(
        &mut self,
        connection: ConnectionId,
        channel: ChannelId,
    ) -> Option<&mut ChannelCredit> {
        self.connections.get_mut(connection)?.credit(channel)
    }

    fn make_credit(
        &mut self,
        connection: ConnectionId,
        channel: ChannelId,
    ) -> Option<&mut ChannelCredit> {
        let credits = &mut self.connections.get_mut(connection)?.credits;
        let place = match credits.binary_search_by_key(&channel, |c| c.channel) {
            Ok(place) => place,
            Err(place) => {
                credits.insert(place, ChannelCredit::new(channel));
                place
            }
        };
        credits.get_mut(place)
    }

    /// Most deliveries that all consumers of this channel together may have unsettled; 0: no
    /// limit. In force at once for consumers of this shard; for others what is already on its way
    /// still arrives.
    pub fn limit_channel(&mut self, connection: ConnectionId, channel: ChannelId, limit: u32) {
        let Some(credit) = self.make_credit(connection, channel) else { return };
        let was = std::mem::replace(&mut credit.limit, limit);
        let members = credit.members.clone();
        if (was == 0) != (limit == 0) {
            if limit == 0 {
                credit.tokens = 0;
                credit.members.iter_mut().for_each(|member| member.tokens = 0);
                credit.wanting.clear();
            }
            for member in members {
                self.limit_consumer(member.consumer, limit != 0);
            }
        } else if limit < was {
            for member in members.iter().filter(|member| member.tokens > 0) {
                self.recall(member.consumer);
            }
        }
        self.hand_out(connection, channel);
    }

    /// Whether a new consumer of this channel starts under a limit.
    pub(super) fn is_limited(&self, connection: ConnectionId, channel: ChannelId) -> bool {
        let entry = self.connections.get(connection);
        entry.is_some_and(|e| e.credits.iter().any(|c| c.channel == channel && c.limit != 0))
    }

    /// A consumer is asked for.
    pub(super) fn consumer_starts(
        &mut self,
        connection: ConnectionId,
        channel: ChannelId,
        key: ConsumerKey,
        queue: &str,
    ) {
        if let Some(credit) = self.make_credit(connection, channel) {
            credit.starting = Some((key, queue.into()));
        }
    }

    /// Remembers a consumer of a channel, for its tokens and for limits that come later.
    pub(super) fn consumer_started(
        &mut self,
        connection: ConnectionId,
        channel: ChannelId,
        consumer: ConsumerRef,
    ) {
        let Some(credit) = self.make_credit(connection, channel) else { return };
        let Some((key, queue)) = credit.starting.take() else { return };
        // Who was alone may have got more than it can use now.
        let first = credit.members.first().map(|member| (member.consumer, member.tokens));
        credit.members.push(Member { consumer, key, queue, tokens: 0 });
        let (paused, two) = (credit.paused, credit.members.len() == 2);
        if paused {
            self.pause_consumer(consumer, true);
        }
        if let Some((first, _)) = first.filter(|(_, tokens)| two && *tokens > 0) {
            self.recall(first);
        }
    }

    /// A consumer is cancelled. What is on its way to it may have taken its tokens, so they are
    /// not free before the answer.
    pub(super) fn consumer_stops(
        &mut self,
        connection: ConnectionId,
        channel: ChannelId,
        consumer: ConsumerRef,
    ) {
        if let Some(credit) = self.credit(connection, channel) {
            credit.wanting.retain(|wanting| *wanting != consumer);
            credit.stopping = Some(consumer);
        }
    }

    /// The answer of a channel has come, and with it whatever was on its way before.
    pub(super) fn consumer_stopped(&mut self, connection: ConnectionId, channel: ChannelId) {
        let credit = self.credit(connection, channel);
        let Some(credit) = credit else { return };
        let Some(consumer) = credit.stopping.take() else { return };
        credit.forget(|member| member.consumer == consumer);
        self.hand_out(connection, channel);
    }

    /// A consumer's queue was deleted.
    pub(super) fn consumer_lost(
        &mut self,
        connection: ConnectionId,
        channel: ChannelId,
        key: ConsumerKey,
    ) {
        if let Some(credit) = self.credit(connection, channel) {
            credit.forget(|member| member.key == key);
            self.hand_out(connection, channel);
        }
    }

    /// The channel stops, or goes on, taking deliveries; its consumers keep their places. What is
    /// on its way from other shards still arrives.
    pub fn pause_channel(&mut self, connection: ConnectionId, channel: ChannelId, pause: bool) {
        let Some(credit) = self.make_credit(connection, channel) else { return };
        credit.paused = pause;
        for member in credit.members.clone() {
            self.pause_consumer(member.consumer, pause);
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

    pub(super) fn channel_closed(&mut self, connection: ConnectionId, channel: ChannelId) {
        if let Some(entry) = self.connections.get_mut(connection) {
            entry.credits.retain(|c| c.channel != channel);
        }
    }

    /// A delivery of a consumer was settled.
    pub(super) fn channel_settled(&mut self, connection: ConnectionId, channel: ChannelId) {
        let Some(credit) = self.credit(connection, channel) else { return };
        credit.unsettled = credit.unsettled.saturating_sub(1);
        if credit.limit != 0 && !credit.wanting.is_empty() {
            self.hand_out(connection, channel);
        }
    }

    /// A consumer has work and no token.
    pub(super) fn wanted(
        &mut self,
        (connection, channel): (ConnectionId, ChannelId),
        consumer: ConsumerRef,
    ) {
        let Some(credit) = self.credit(connection, channel) else { return };
        if credit.limit == 0 {
            self.limit_consumer(consumer, false);
            return;
        }
        if !credit.wanting.contains(&consumer) {
            credit.wanting.push_back(consumer);
        }
        self.hand_out(connection, channel);
    }

    /// Tokens that found no message.
    pub(super) fn unused(
        &mut self,
        (connection, channel): (ConnectionId, ChannelId),
        consumer: ConsumerRef,
        tokens: u32,
    ) {
        let Some(credit) = self.credit(connection, channel) else { return };
        credit.take(|member| member.consumer == consumer, tokens);
        self.hand_out(connection, channel);
    }

    /// Shares the free tokens among the consumers that want some. One alone gets all; of several
    /// each gets one at a time, for a consumer that has all it may take itself would keep the rest
    /// from the others.
    fn hand_out(&mut self, connection: ConnectionId, channel: ChannelId) {
        loop {
            let Some(credit) = self.credit(connection, channel) else { return };
            let free = credit.free();
            if free == 0 {
                return;
            }
            let Some(consumer) = credit.wanting.pop_front() else { return };
            let tokens = if credit.members.len() > 1 { 1 } else { free };
            if !credit.give(consumer, tokens) {
                continue;
            }
            let ConsumerRef { queue: QueueRef { shard, queue }, consumer } = consumer;
            if shard == self.shard {
                self.granted(queue, consumer, tokens);
            } else {
                self.post.send(shard, Mail::Grant { queue, consumer, tokens });
            }
        }
    }

    /// Owner: tokens for a consumer. Those of one that is gone count as free at its channel's home
    /// once that hears of it.
    pub(super) fn granted(&mut self, queue: QueueId, consumer: ConsumerId, tokens: u32) {
        if let Some(entry) = self.queues.get_mut(queue)
            && entry.queue.grant(consumer, tokens)
        {
            self.mark_dirty(queue);
        }
    }

    fn recall(&mut self, consumer: ConsumerRef) {
        let ConsumerRef { queue: QueueRef { shard, queue }, consumer } = consumer;
        if shard == self.shard {
            self.recalled(queue, consumer);
        } else {
            self.post.send(shard, Mail::Recall { queue, consumer });
        }
    }

    /// Owner: a consumer's tokens go back; it asks again for what it can use.
    pub(super) fn recalled(&mut self, queue: QueueId, consumer: ConsumerId) {
        let Some(entry) = self.queues.get_mut(queue) else { return };
        let Some(held) = entry.queue.consumer(consumer) else { return };
        let (at, share) = (held.at, held.share);
        if let ChannelShare::Tokens(tokens @ 1..) = share {
            entry.queue.set_limited(consumer, false);
            entry.queue.set_limited(consumer, true);
            self.mark_dirty(queue);
            let queue = QueueRef { shard: self.shard, queue };
            self.give_tokens_back(at, ConsumerRef { queue, consumer }, tokens);
        }
    }

    /// Owner: tokens that a consumer has no use for.
    fn give_tokens_back(&mut self, at: ChannelRef, consumer: ConsumerRef, tokens: u32) {
        let channel = (at.connection.connection, at.channel);
        if at.connection.shard == self.shard {
            self.unneeded.push((channel, consumer, tokens));
        } else {
            let (queue, consumer) = (consumer.queue.queue, consumer.consumer);
            let mail = Mail::Unused { channel, queue, consumer, tokens };
            self.post.send(at.connection.shard, mail);
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
