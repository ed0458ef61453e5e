//! A message on its way in: exchange -> queues of this shard and shards with an interest ->
//! appended here or mailed there; when it counts as stored.

use std::rc::Rc;

use super::Broker;
use super::clockwork::Waiting;
use super::connections::Entered;
use super::mail::{Mail, PendingId, Picks, Reported};
use super::meeting::own_topic;
use super::pending::{Pending, Report, Unrouted};
use super::queue::{Enqueued, dead_letter};
use super::reply;
use super::route::{LazyHeaders, Route, RouteCache, Subject};
use super::storage::waits::{Put, Waiter};
use crate::auth::Access;
use crate::command::{Entity, Now, Publish, Published, Refusal};
use crate::ids::{ChannelId, ConnectionId, ExchangeId, QueueId, ShardId, VhostId};
use crate::message::Message;
use crate::properties::TOPICS;
use crate::subscriber::FILTERS;
use crate::value::Value;

impl Broker {
    /// Routes and stores one message.
    ///
    /// # Errors
    /// `NotFound(Exchange)`, `InternalExchange`, `AccessRefused`, `NoSuchReplyConsumer`,
    /// `NoSpace`: nothing was stored.
    pub fn publish(
        &mut self,
        connection: ConnectionId,
        channel: ChannelId,
        publish: &Publish<'_>,
        now: Now,
    ) -> Result<Published, Refusal> {
        let at = (connection, channel);
        let result = if publish.once.is_none() {
            self.publish_any(at, publish, now)
        } else {
            self.publish_exactly(at, publish, |broker| broker.publish_any(at, publish, now))
        };
        if let Ok(published) = &result {
            self.count_publish(publish, *published);
        }
        result
    }

    /// The same however surely it is to come.
    pub(super) fn publish_any(
        &mut self,
        (connection, channel): (ConnectionId, ChannelId),
        publish: &Publish<'_>,
        now: Now,
    ) -> Result<Published, Refusal> {
        self.check_storage()?;
        let Some(entry) = self.connections.get_mut(connection) else {
            return Err(Refusal::Unavailable("connection is closing".into()));
        };
        let plain = publish.extra_keys.is_empty() && publish.hidden_keys.is_empty();
        let to = (publish.exchange, publish.routing_key);
        let block = (publish.traits.protocol, publish.properties);
        let known = entry.route.as_ref();
        let known = known.filter(|r| plain && r.fits_all(to, self.revision, &self.readers, block));
        let cached = known.is_some();
        if let Some((queue, name)) = known.and_then(|known| known.route.only_queue()) {
            if self.deaf_queue(connection, publish) == Some(queue) {
                return Ok(self.published(Put::DONE, (connection, channel), publish));
            }
            // The commonest message of all: one queue of this shard, the route known.
            let Some(message) = message_of(name, publish, now) else {
                return Ok(Published::Overflowed);
            };
            let put = self.enqueue(queue, message, now);
            return Ok(self.published(put, (connection, channel), publish));
        }
        let mut cache = entry.route.take().unwrap_or_default();
        let mut result = Ok(None);
        if !cached {
            cache.forget();
            let entered = entry.entered.clone();
            result = match entered {
                Some(entered) => self.find_route(&entered, publish, &mut cache),
                None => Err(Refusal::Unavailable("no virtual host".into())),
            };
        }
        let result = match result {
            Err(refusal) => Err(refusal),
            Ok(Some(Detour::Reply)) => self.publish_reply(publish, now),
            Ok(Some(Detour::Delay { exchange, delay_ms })) => {
                Ok(self.publish_delayed((connection, channel), exchange, delay_ms, publish, now))
            }
            Ok(None) => Ok(self.follow((connection, channel), &cache.route, publish, now)),
        };
        if let Some(entry) = self.connections.get_mut(connection) {
            entry.route = Some(cache);
        }
        result
    }

    /// Whether a publish to this exchange would be refused, for a session that holds it back.
    ///
    /// # Errors
    /// As [`Broker::publish`], but for what only the message tells.
    pub fn check_publish(&self, connection: ConnectionId, exchange: &str) -> Result<(), Refusal> {
        self.check_storage()?;
        let Some(entered) = self.connections.get(connection).and_then(|c| c.entered.as_ref())
        else {
            return Err(Refusal::Unavailable("no virtual host".into()));
        };
        self.permit(entered, Access::Write, Entity::Exchange, exchange)?;
        if exchange.is_empty() {
            return Ok(());
        }
        let id = self.exchange_id(entered.vhost, exchange);
        match id.and_then(|id| self.exchanges.get(&id)) {
            None => Err(Refusal::NotFound(Entity::Exchange, exchange.into())),
            Some(entry) if entry.internal => Err(Refusal::InternalExchange(exchange.into())),
            Some(_) => Ok(()),
        }
    }

    /// Fills the cache's route. `Some`: the message goes another way.
    pub(super) fn find_route(
        &mut self,
        entered: &Entered,
        publish: &Publish<'_>,
        cache: &mut RouteCache,
    ) -> Result<Option<Detour>, Refusal> {
        let route = &mut cache.route;
        route.clear();
        self.permit(entered, Access::Write, Entity::Exchange, publish.exchange)?;
        if publish.exchange.is_empty() {
            if publish.routing_key.starts_with(reply::PREFIX) {
                return Ok(Some(Detour::Reply));
            }
            self.route_by_name(entered.vhost, publish, route);
            if publish.extra_keys.is_empty() && publish.hidden_keys.is_empty() {
                cache.keep(publish.exchange, publish.routing_key, self.revision);
            }
            return Ok(None);
        }
        let vhost = self.vhosts.get(entered.vhost.0 as usize);
        let id = vhost.and_then(|v| v.exchanges.get(publish.exchange)).copied();
        let found = id.and_then(|id| Some((id, self.exchanges.get(&id)?)));
        let Some((id, exchange)) = found else {
            return Err(Refusal::NotFound(Entity::Exchange, publish.exchange.into()));
        };
        if exchange.internal {
            return Err(Refusal::InternalExchange(publish.exchange.into()));
        }
        let more = publish.extra_keys.iter().chain(publish.hidden_keys).copied();
        let keys = std::iter::once(publish.routing_key).chain(more);
        self.permit_keys(entered, Access::Write, publish.exchange, keys)?;
        let reader = self.readers.get(usize::from(publish.traits.protocol.0)).copied();
        if publish.exchange == TOPICS
            && let Some(topic) = own_topic(reader, publish.properties)
        {
            self.permit_keys(entered, Access::Write, FILTERS, [&*topic])?;
        }
        if exchange.bindings.delays() {
            let headers = LazyHeaders::new(reader, publish.properties);
            let delay = super::exchange::Headers::headers(&headers).get("x-delay");
            if let Some(delay_ms) = delay.and_then(Value::as_integer).filter(|ms| *ms > 0) {
                let delay_ms = delay_ms.unsigned_abs();
                return Ok(Some(Detour::Delay { exchange: id, delay_ms }));
            }
        }
        route.name = Some(exchange.name.clone());
        route.exchange = Some(id);
        let delays = exchange.bindings.delays();
        let more: Vec<&str> =
            publish.extra_keys.iter().chain(publish.hidden_keys).copied().collect();
        let subject = Subject {
            key: publish.routing_key,
            more_keys: &more,
            reader,
            properties: publish.properties,
            choice: self.random(),
        };
        let key_only = self.walk(id, &subject, true, route);
        if key_only && more.is_empty() && !delays {
            cache.keep(publish.exchange, publish.routing_key, self.revision);
        }
        Ok(None)
    }

    /// The default exchange: the key is the queue's name, its hash says which shard knows.
    fn route_by_name(&self, vhost: VhostId, publish: &Publish<'_>, route: &mut Route) {
        route.name = Some(self.no_name.clone());
        route.vhost = vhost;
        let Some(entry) = self.vhosts.get(vhost.0 as usize) else { return };
        let more = publish.extra_keys.iter().chain(publish.hidden_keys).copied();
        for key in std::iter::once(publish.routing_key).chain(more) {
            let owner = self.placement.owner(&entry.name, key);
            if owner != self.shard {
                if !route.by_name.iter().any(|(_, name)| **name == *key) {
                    route.by_name.push((owner, key.into()));
                }
            } else if let Some(queue) = self.addressed(vhost, key)
                && !route.queues.contains(&queue)
            {
                route.queues.push(queue);
            }
        }
    }

    /// Takes a message along a route.
    fn follow(
        &mut self,
        (connection, channel): (ConnectionId, ChannelId),
        route: &Route,
        publish: &Publish<'_>,
        now: Now,
    ) -> Published {
        if route.is_nowhere() {
            self.counters.unwanted += u64::from(!publish.mandatory);
            return if publish.mandatory { Published::Unroutable } else { Published::Stored };
        }
        let Some(message) = self.make_message(route, publish, now) else {
            return Published::Overflowed;
        };
        let report = publish.seq.map(|seq| Reported { connection, channel, seq });
        let deaf = self.deaf_queue(connection, publish);
        if route.is_local() {
            let mut all = Put::DONE;
            let last = route.queues.len().saturating_sub(1);
            for queue in route.queues.iter().take(last).filter(|queue| Some(**queue) != deaf) {
                all = all.and(self.enqueue(*queue, message.clone(), now));
            }
            if let Some(queue) = route.queues.last().filter(|queue| Some(**queue) != deaf) {
                all = all.and(self.enqueue(*queue, message, now));
            }
            return self.published(all, (connection, channel), publish);
        }
        let several = publish.mandatory && route.by_name.len() > 1 && route.queues.is_empty();
        let unrouted = several.then(|| {
            let message = message.clone();
            Box::new(Unrouted { connection, channel, message })
        });
        let report = self.report_of(report);
        let wanted = if report.is_some() || unrouted.is_some() {
            let report = report.unwrap_or(Report::Nobody);
            self.pending.insert(Pending { report, left: 1, accepted: true, unrouted })
        } else {
            None
        };
        let mandatory = publish.mandatory.then_some((connection, channel));
        let keys = more_keys(publish);
        self.follow_far(route, &message, keys.as_deref(), mandatory, wanted);
        let mut put = self.follow_groups(route, &message, wanted, now);
        for queue in route.queues.iter().filter(|queue| Some(**queue) != deaf) {
            put = put.and(self.enqueue(*queue, message.clone(), now));
        }
        if let Some(pending) = wanted {
            if self.is_all_here(pending, put) {
                return Published::Stored;
            }
            if !(put.accepted && self.wait_for(put.safe, Waiter::Pending(pending))) {
                self.stored(pending, put.accepted, !several);
            }
        }
        Published::Pending
    }

    /// The queue of the publisher's own session, if that leaves out what the session publishes to this
    /// topic: it takes no position there.
    pub(super) fn deaf_queue(
        &self,
        connection: ConnectionId,
        publish: &Publish<'_>,
    ) -> Option<QueueId> {
        let session = self.connections.get(connection)?.session?;
        let topic = (publish.exchange == FILTERS).then_some(publish.routing_key)?;
        self.sessions.deaf_queue(session, topic)
    }

    /// What a publisher hears of a message that all its queues, all of this shard, have taken.
    fn published(
        &mut self,
        put: Put,
        (connection, channel): (ConnectionId, ChannelId),
        publish: &Publish<'_>,
    ) -> Published {
        if !put.accepted {
            return Published::Overflowed;
        }
        if self.ends_behind(put) {
            return Published::Stored;
        }
        match publish.seq {
            Some(seq)
                if self
                    .wait_for(put.safe, Waiter::Publish(Reported { connection, channel, seq })) =>
            {
                Published::Pending
            }
            Some(_) | None => Published::Stored,
        }
    }

    /// The part of a route that leads to other shards.
    pub(super) fn follow_far(
        &mut self,
        route: &Route,
        message: &Message,
        keys: Option<&[Box<str>]>,
        mandatory: Option<(ConnectionId, ChannelId)>,
        wanted: Option<PendingId>,
    ) {
        let mut mails = 0;
        if let Some(exchange) = route.exchange {
            for shard in route.shards.iter() {
                mails += 1;
                self.send_origin(shard);
                let picked = route.named.iter().filter(|queue| queue.shard == shard);
                let picks = route.choice.map(|choice| {
                    Box::new(Picks { choice, queues: picked.map(|q| q.queue).collect() })
                });
                self.post.send_message(shard, message, |parcel| Mail::Publish {
                    exchange,
                    keys: keys.map(Into::into),
                    picks,
                    parcel,
                    wanted,
                });
            }
        }
        // Where the message goes by interest too, what was picked goes with it: one copy for each.
        for queue in route.named.iter().filter(|queue| !route.shards.contains(queue.shard)) {
            mails += 1;
            let id = queue.queue;
            self.send_origin(queue.shard);
            self.post.send_message(queue.shard, message, |parcel| Mail::PublishTo {
                queue: id,
                parcel,
                wanted,
            });
        }
        // With several ways to go, all have to say that they lead nowhere: see `Unrouted`.
        let alone = route.by_name.len() == 1 && route.queues.is_empty();
        for (shard, name) in &route.by_name {
            mails += 1;
            self.send_origin(*shard);
            let mandatory = mandatory.filter(|_| alone);
            let vhost = route.vhost;
            self.post.send_message(*shard, message, |parcel| Mail::PublishByName {
                vhost,
                queue: (**name != *message.routing_key()).then(|| name.clone()),
                parcel,
                mandatory,
                wanted,
            });
        }
        if let Some(pending) = wanted.and_then(|id| self.pending.get_mut(id)) {
            pending.left += mails;
        }
    }

    pub(super) fn make_message(
        &self,
        route: &Route,
        publish: &Publish<'_>,
        now: Now,
    ) -> Option<Message> {
        let name = route.name.clone().unwrap_or_else(|| self.no_name.clone());
        let message = message_of(name, publish, now)?;
        if publish.extra_keys.is_empty() {
            return Some(message);
        }
        let extra = publish.extra_keys.iter().map(|k| Box::from(*k)).collect();
        Some(message.with(|inner| inner.extra_keys = Some(extra)))
    }

    /// Appends to a queue of this shard.
    pub(super) fn enqueue(&mut self, id: QueueId, message: Message, now: Now) -> Put {
        if let Some(history) = message.deaths() {
            let name = self.queues.get(id).map(|entry| entry.queue.name());
            // A dead message that would go round for ever ends here.
            if !name.is_some_and(|name| dead_letter::may_enter(history, name)) {
                return Put::DONE;
            }
        }
        match self.put(id, message, now) {
            Enqueued::Stored | Enqueued::Repeated => Put::DONE,
            Enqueued::StoredLater(safe) => Put { accepted: true, safe },
            Enqueued::Overflowed => Put::REFUSED,
        }
    }

    /// Holds a message back for its exchange's owner to publish when it is due.
    fn publish_delayed(
        &mut self,
        (connection, channel): (ConnectionId, ChannelId),
        exchange: ExchangeId,
        delay_ms: u64,
        publish: &Publish<'_>,
        now: Now,
    ) -> Published {
        let Some(entry) = self.exchanges.get(&exchange) else { return Published::Stored };
        let vhost = self.vhosts.get(entry.vhost.0 as usize).map(|v| &*v.name).unwrap_or_default();
        let owner = self.placement.owner(vhost, &entry.name);
        let lasting = self.lasting(entry, publish.traits.persistent);
        let route = Route { name: Some(entry.name.clone()), ..Route::default() };
        let Some(message) = self.make_message(&route, publish, now) else {
            return Published::Overflowed;
        };
        let keys = more_keys(publish);
        let due_ms = now.mono_ms.saturating_add(delay_ms);
        if owner == self.shard {
            let waiting = Waiting { due_ms, exchange, keys, message, logged: None, will: None };
            let put = self.delay(waiting, lasting, now);
            return self.published(put, (connection, channel), publish);
        }
        let report = publish.seq.map(|seq| Reported { connection, channel, seq });
        let wanted = self.report_of(report).and_then(|report| self.await_stored(report));
        self.post.send_message(owner, &message, |parcel| Mail::Delay {
            exchange,
            lasting,
            due_ms,
            keys,
            parcel,
            wanted,
        });
        Published::Pending
    }

    /// Publishes what the broker itself sends: dead letters and delayed messages that are due.
    pub(super) fn publish_internal(
        &mut self,
        exchange: ExchangeId,
        message: &Message,
        keys: Option<&[Box<str>]>,
        wanted: Option<PendingId>,
        now: Now,
    ) {
        let more: Vec<&str> = keys.unwrap_or_default().iter().map(|k| &**k).collect();
        let subject = Subject {
            key: message.routing_key(),
            more_keys: &more,
            reader: self.reader_of(message),
            properties: message.properties(),
            choice: self.random(),
        };
        let mut route = Route { exchange: Some(exchange), ..Route::default() };
        self.walk(exchange, &subject, true, &mut route);
        self.follow_far(&route, message, keys, None, wanted);
        self.follow_groups(&route, message, wanted, now);
        for queue in route.queues {
            self.enqueue(queue, message.clone(), now);
        }
    }

    /// Publishes to a queue by name on behalf of the broker.
    pub(super) fn publish_internal_by_name(
        &mut self,
        vhost: VhostId,
        name: &str,
        message: &Message,
        wanted: Option<PendingId>,
        now: Now,
    ) {
        let Some(entry) = self.vhosts.get(vhost.0 as usize) else { return };
        let owner = self.placement.owner(&entry.name, name);
        if owner == self.shard {
            if let Some(queue) = self.addressed(vhost, name) {
                self.enqueue(queue, message.clone(), now);
            }
            return;
        }
        self.post.send_message(owner, message, |parcel| Mail::PublishByName {
            vhost,
            queue: (name != message.routing_key()).then(|| name.into()),
            parcel,
            mandatory: None,
            wanted,
        });
        if let Some(pending) = wanted.and_then(|id| self.pending.get_mut(id)) {
            pending.left += 1;
        }
    }

    /// A message mailed to this shard because it has an interest: only local queues are taken.
    pub(super) fn publish_mailed(
        &mut self,
        from: ShardId,
        exchange: ExchangeId,
        message: &Message,
        (keys, picks): (Option<&[Box<str>]>, Option<&Picks>),
        now: Now,
    ) -> Put {
        let Some(slot) = self.lane_routes.get_mut(usize::from(from.0)) else { return Put::DONE };
        let mut cache = std::mem::take(slot);
        let to = ("", message.routing_key());
        let block = (message.traits().protocol, message.properties());
        let same = keys.is_none()
            && picks.is_none()
            && cache.route.exchange == Some(exchange)
            && cache.fits_all(to, self.revision, &self.readers, block);
        if !same {
            cache.forget();
            cache.route.clear();
            cache.route.exchange = Some(exchange);
            let more: Vec<&str> = keys.unwrap_or_default().iter().map(|k| &**k).collect();
            let subject = Subject {
                key: message.routing_key(),
                more_keys: &more,
                reader: self.reader_of(message),
                properties: message.properties(),
                choice: picks.as_ref().map_or(0, |picks| picks.choice),
            };
            let key_only = self.walk(exchange, &subject, false, &mut cache.route);
            if key_only && keys.is_none() {
                cache.keep("", message.routing_key(), self.revision);
            }
            if let Some(picks) = picks.filter(|picks| !picks.queues.is_empty()) {
                cache.route.queues.extend_from_slice(&picks.queues);
                cache.route.queues.sort_unstable();
                cache.route.queues.dedup();
            }
        }
        let mut put = Put::DONE;
        for queue in &cache.route.queues {
            put = put.and(self.enqueue(*queue, message.clone(), now));
        }
        if let Some(slot) = self.lane_routes.get_mut(usize::from(from.0)) {
            *slot = cache;
        }
        put
    }
}

/// The message of a publish, without the further keys its sender chose.
fn message_of(name: Rc<str>, publish: &Publish<'_>, now: Now) -> Option<Message> {
    Message::new(
        name,
        publish.routing_key,
        publish.traits,
        publish.properties,
        publish.body.clone(),
        now.mono_ms,
    )
}

/// A message that does not follow its exchange's bindings now.
pub(super) enum Detour {
    Reply,
    Delay { exchange: ExchangeId, delay_ms: u64 },
}

pub(super) fn more_keys(publish: &Publish<'_>) -> Option<Box<[Box<str>]>> {
    let more = publish.extra_keys.iter().chain(publish.hidden_keys);
    let keys: Box<[Box<str>]> = more.map(|k| Box::from(*k)).collect();
    (!keys.is_empty()).then_some(keys)
}
