//! Retained messages: the last message of each topic, kept for whoever subscribes later (mqtt.md
//! H-19).
//!
//! The topics of a virtual host are spread over [`PARTS`] parts by hash; each is a durable queue of
//! the type `latest` with a reserved name, which is on the shard that owns that name and is made
//! when it gets its first message. So the log, segments, memory and restarts with other numbers of
//! shards are those of queues. No table of names has these queues: nobody can reach one by name.
//!
//! `part`: the topics of one part. `superseded`: what is not the latest any more. `page`: what a reader is given at once. `read`: readers, what they
//! wait for, what is done in turns.
//!
//! May import `subscriber` and the broker's parts.

mod page;
mod part;
mod read;
mod superseded;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::rc::Rc;

#[cfg(test)]
use ringmq_shards::log::planted::{Bug, is_planted};

use self::part::{Hold, Part, Totals};
use super::Broker;
use super::mail::{Mail, PendingId, Reported};
use super::pending::Report;
use super::placement::Placement;
use super::queue::{QueueSpec, arguments, latest};
use super::storage::waits::{Put, Waiter};
use crate::command::{Event, Now, Publish, Published, Refusal};
use crate::ids::{ChannelId, ConnectionId, PublishSeq, QueueId, ShardId, VhostId};
use crate::message::Message;
use crate::subscriber::{FILTERS, Keep, RETAINED};
use crate::value::{Table, Value};

/// Parts of the retained messages of a virtual host. The names of topics decide which, on disk as
/// well: this never changes.
const PARTS: u16 = 64;

/// A refusal is written to the operators' log once in so many.
const WARNED_ONCE_IN: u64 = 1_000;

/// Where the parts of one virtual host are.
#[derive(Debug)]
struct Parts {
    /// In the order in which they are read: those of one shard stand together.
    order: Vec<(ShardId, u16)>,
    /// By number.
    owners: Vec<ShardId>,
    /// Those on this shard, by number.
    queues: Vec<Option<QueueId>>,
    totals: Totals,
}

impl Parts {
    fn new(vhost: &str, placement: Placement, shard: ShardId, max: (u64, u64)) -> Self {
        let owner = |part: u16| placement.owner(vhost, &name_of(part));
        let mut order: Vec<_> = (0..PARTS).map(|part| (owner(part), part)).collect();
        order.sort_unstable();
        let here = order.iter().filter(|(owner, _)| *owner == shard).count() as u64;
        let share = |max: u64| match max.checked_mul(here) {
            Some(product) => product.div_ceil(u64::from(PARTS)),
            None => max / u64::from(PARTS) * here,
        };
        Self {
            owners: (0..PARTS).map(owner).collect(),
            order,
            queues: vec![None; usize::from(PARTS)],
            totals: Totals { count: 0, bytes: 0, count_max: share(max.0), bytes_max: share(max.1) },
        }
    }

    fn owner(&self, part: u16) -> Option<ShardId> {
        self.owners.get(usize::from(part)).copied()
    }
}

/// The retained messages of a shard. One per shard.
#[derive(Debug)]
pub(super) struct Retained {
    name: Rc<str>,
    vhosts: Vec<Parts>,
    parts: HashMap<QueueId, (VhostId, Part), ahash::RandomState>,
    /// Copies that were refused so far.
    refused: u64,
    /// Parts in which something can go on.
    awake: Vec<QueueId>,
    /// Parts in which something waits for the log.
    settling: Vec<QueueId>,
    readers: read::Readers,
    /// The deadline that a timer stands for.
    timer_ms: Option<u64>,
    sweep_ms: Option<u64>,
}

impl Retained {
    pub(super) fn new(
        vhosts: &[Box<str>],
        placement: Placement,
        shard: ShardId,
        max: (u64, u64),
    ) -> Self {
        Self {
            name: Rc::from(RETAINED),
            vhosts: vhosts.iter().map(|vhost| Parts::new(vhost, placement, shard, max)).collect(),
            parts: HashMap::default(),
            refused: 0,
            awake: Vec::new(),
            settling: Vec::new(),
            readers: read::Readers::default(),
            timer_ms: None,
            sweep_ms: None,
        }
    }

    /// A virtual host has come.
    fn add(&mut self, parts: Parts) {
        self.vhosts.push(parts);
    }

    fn of(&self, vhost: VhostId) -> Option<&Parts> {
        self.vhosts.get(vhost.0 as usize)
    }
}

fn name_of(part: u16) -> String {
    format!("{}{part}", latest::PREFIX)
}

/// Whether a retained message can have this topic: it is not empty and has no wildcards.
pub(super) fn is_topic(topic: &str) -> bool {
    !topic.is_empty() && !topic.split('/').any(|word| word == "+" || word == "#")
}

/// A retained message as it comes into a session's queue.
fn replayed(message: &Message, name: Rc<str>, now: Now) -> Option<Message> {
    let copy = message.readdressed(name, message.routing_key())?;
    let gone_ms = now.mono_ms.saturating_sub(message.received_ms());
    Some(copy.with(|inner| {
        // A queue counts from when a message comes: what is over of its time is over.
        inner.received_ms = now.mono_ms;
        let left = |ms: u64| ms.saturating_sub(gone_ms);
        inner.traits.expiration_ms = inner.traits.expiration_ms.map(left);
    }))
}

impl Broker {
    /// Publishes to whoever has subscribed to a topic, which is the routing key; the exchange is
    /// [`crate::subscriber::FILTERS`]. With `keep` it becomes the retained message of its topic
    /// as well, or, without a body, takes that away; stored means both.
    ///
    /// # Errors
    /// As [`Broker::publish`].
    pub fn publish_topic(
        &mut self,
        connection: ConnectionId,
        channel: ChannelId,
        publish: &Publish<'_>,
        keep: Keep,
        now: Now,
    ) -> Result<Published, Refusal> {
        self.permit_topic(connection, publish.routing_key)?;
        let published = self.publish_exactly((connection, channel), publish, |broker| {
            broker.publish_to_topic((connection, channel), publish, keep, now)
        })?;
        self.count_publish(publish, published);
        Ok(published)
    }

    fn publish_to_topic(
        &mut self,
        (connection, channel): (ConnectionId, ChannelId),
        publish: &Publish<'_>,
        keep: Keep,
        now: Now,
    ) -> Result<Published, Refusal> {
        let entered = self.connections.get(connection).and_then(|c| c.entered.clone());
        let Some(entered) = entered.filter(|_| keep != Keep::Not && is_topic(publish.routing_key))
        else {
            return self.publish_any((connection, channel), publish, now);
        };
        self.check_storage()?;
        let mut cache = match self.connections.get_mut(connection) {
            Some(entry) => entry.route.take().unwrap_or_default(),
            None => return Err(Refusal::Unavailable("connection is closing".into())),
        };
        let found = if cache.fits(publish.exchange, publish.routing_key, self.revision) {
            Ok(None)
        } else {
            cache.forget();
            self.find_route(&entered, publish, &mut cache)
        };
        let result = match found {
            Err(refusal) => Err(refusal),
            // It goes where its exchange says, later or to one consumer: no topic has it now.
            Ok(Some(_)) => self.publish_any((connection, channel), publish, now),
            Ok(None) => Ok(match self.make_message(&cache.route, publish, now) {
                None => Published::Overflowed,
                Some(message) => {
                    if publish.mandatory && cache.route.is_nowhere() {
                        let message = message.clone();
                        self.tell(connection, Event::Returned { channel, message });
                    }
                    let report = publish.seq.map(|seq| Reported { connection, channel, seq });
                    let deaf = self.deaf_queue(connection, publish);
                    let to = (entered.vhost, &cache.route, deaf);
                    self.follow_and_retain(to, keep, &message, report, now)
                }
            }),
        };
        if let Some(entry) = self.connections.get_mut(connection) {
            entry.route = Some(cache);
        }
        result
    }

    /// Takes a message along a route, but for a queue that is deaf to it, and to the part that keeps
    /// it.
    fn follow_and_retain(
        &mut self,
        (vhost, route, deaf): (VhostId, &super::route::Route, Option<QueueId>),
        keep: Keep,
        message: &Message,
        report: Option<Reported>,
        now: Now,
    ) -> Published {
        let wanted = self.report_of(report).and_then(|report| self.await_stored(report));
        self.follow_far(route, message, None, None, wanted);
        let mut put = self.retain(vhost, keep, message, wanted, now);
        put = put.and(self.follow_groups(route, message, wanted, now));
        for queue in route.queues.iter().filter(|queue| Some(**queue) != deaf) {
            put = put.and(self.enqueue(*queue, message.clone(), now));
        }
        let Some(pending) = wanted else {
            return if put.accepted { Published::Stored } else { Published::Overflowed };
        };
        if self.is_all_here(pending, put) {
            return Published::Stored;
        }
        if !(put.accepted && self.wait_for(put.safe, Waiter::Pending(pending))) {
            self.stored(pending, put.accepted, true);
        }
        Published::Pending
    }

    /// Makes a message the retained one of its topic, which is its routing key; one without a body
    /// takes that away. What this shard did with it is returned, another one reports to `wanted`.
    pub(super) fn retain(
        &mut self,
        vhost: VhostId,
        keep: Keep,
        message: &Message,
        wanted: Option<PendingId>,
        now: Now,
    ) -> Put {
        let part = self.part_of(vhost, message.routing_key());
        let owner = self.retained.of(vhost).and_then(|parts| parts.owner(part));
        let Some(owner) = owner.filter(|_| is_topic(message.routing_key())) else {
            return Put::DONE;
        };
        if owner == self.shard {
            return self.retain_here(vhost, keep, message, now);
        }
        self.send_origin(owner);
        let mail = |parcel| Mail::Retain { vhost, keep, parcel, wanted };
        self.post.send_message(owner, message, mail);
        if let Some(pending) = wanted {
            self.one_more_place(pending);
        }
        Put::DONE
    }

    pub(super) fn part_of(&self, vhost: VhostId, topic: &str) -> u16 {
        let vhost = self.vhosts.get(vhost.0 as usize).map(|vhost| &*vhost.name);
        // Groups are fixed with the data directory, so a topic stays in its part.
        self.placement.group(vhost.unwrap_or_default(), topic) % PARTS
    }

    /// Owner: the message comes into its part.
    pub(super) fn retain_here(
        &mut self,
        vhost: VhostId,
        keep: Keep,
        message: &Message,
        now: Now,
    ) -> Put {
        let part = self.part_of(vhost, message.routing_key());
        let there = self.retained.of(vhost).and_then(|parts| parts.queues.get(usize::from(part)));
        let queue = match there {
            Some(Some(queue)) => *queue,
            Some(None) if message.body().is_empty() => return Put::DONE,
            Some(None) | None => match self.make_part(vhost, part, now) {
                Ok(queue) => queue,
                Err(refusal) => {
                    tracing::error!(?refusal, "no place for retained messages");
                    return Put::REFUSED;
                }
            },
        };
        if self.has_origin() && self.has_reached(queue, message) {
            return Put::DONE;
        }
        let put = self.with_part(queue, now, |part, hold| part.put(message.clone(), hold));
        self.sweep_later(queue, now);
        #[cfg(test)]
        if is_planted(Bug::ReportRetainedEarly) {
            return Put::DONE;
        }
        match put {
            None => Put::REFUSED,
            Some(part::Put::Done(safe)) => Put { accepted: true, safe },
            Some(part::Put::Full(safe)) => {
                if self.retained.refused.is_multiple_of(WARNED_ONCE_IN) {
                    let topic = message.routing_key();
                    tracing::warn!(topic, "too many retained messages: this one is not kept");
                }
                self.retained.refused += 1;
                Put { accepted: keep != Keep::Must, safe }
            }
        }
    }

    /// Calls with a part and its store; its memory is counted anew.
    fn with_part<T>(
        &mut self,
        queue: QueueId,
        now: Now,
        act: impl FnOnce(&mut Part, &mut Hold<'_>) -> T,
    ) -> Option<T> {
        let Retained { parts, vhosts, .. } = &mut self.retained;
        let (vhost, part) = parts.get_mut(&queue)?;
        let totals = &mut vhosts.get_mut(vhost.0 as usize)?.totals;
        let entry = self.queues.get_mut(queue)?;
        let before = entry.queue.memory_bytes();
        let lost = part.unreadable;
        let result = act(part, &mut Hold { store: entry.queue.store_mut(), totals, now });
        if part.unreadable > lost {
            let (queue, count) = (entry.queue.name(), part.unreadable - lost);
            tracing::error!(queue, count, "retained messages cannot be read back");
        }
        if part.is_settling() && !self.retained.settling.contains(&queue) {
            self.retained.settling.push(queue);
        }
        self.memory.moved(before, entry.queue.memory_bytes());
        Some(result)
    }

    /// Owner: the queue of a part, with its first message.
    fn make_part(&mut self, vhost: VhostId, part: u16, now: Now) -> Result<QueueId, Refusal> {
        let name = name_of(part);
        let kind = Value::text(latest::NAME);
        let arguments = Table(vec![(arguments::QUEUE_TYPE.into(), kind)]);
        let spec = QueueSpec {
            name: &name,
            durable: true,
            exclusive: None,
            auto_delete: false,
            arguments: &arguments,
            server_named: false,
        };
        let queue = self.make_queue(vhost, spec, now)?;
        self.hide_part(queue, vhost, part, Vec::new());
        Ok(queue)
    }

    /// Owner: a queue that was there before a restart may be a part; what is in it is read in the
    /// turns that follow.
    pub(super) fn adopt_part(&mut self, queue: QueueId, now: Now) {
        let Some(entry) = self.queues.get_mut(queue).filter(|entry| entry.queue.is_latest()) else {
            return;
        };
        let number = entry.queue.name().strip_prefix(latest::PREFIX);
        let number = number.and_then(|number| number.parse().ok());
        let Some(part) = number.filter(|part| *part < PARTS) else { return };
        let (vhost, unread) = (entry.vhost, entry.queue.take_restored());
        self.hide_part(queue, vhost, part, unread);
        self.wake_part(queue);
        self.retained_at(now.mono_ms);
    }

    fn hide_part(
        &mut self,
        queue: QueueId,
        vhost: VhostId,
        part: u16,
        unread: Vec<(super::queue::store::Position, super::queue::store::Position)>,
    ) {
        if let Some(names) = self.vhosts.get_mut(vhost.0 as usize) {
            names.queues.remove(&*name_of(part));
        }
        let of = self.retained.vhosts.get_mut(vhost.0 as usize);
        if let Some(slot) = of.and_then(|parts| parts.queues.get_mut(usize::from(part))) {
            *slot = Some(queue);
        }
        self.retained.parts.insert(queue, (vhost, Part::new(unread)));
    }

    /// Puts a retained message into the queue of the connection's session: it comes back as a
    /// delivery whose message names [`crate::subscriber::RETAINED`] as its exchange.
    pub fn replay(&mut self, connection: ConnectionId, message: &Message, now: Now) {
        let Some(queue) = self.session_queue_of(connection) else { return };
        let name = self.retained.name.clone();
        let Some(copy) = replayed(message, name, now) else { return };
        // Whether it is too much for the session is between the two.
        let _put = self.enqueue(queue, copy, now);
    }

    /// Puts a retained message into a queue that was just bound; [`Event::Stored`] follows with this
    /// number, whether the queue has taken it or not (mqtt.md X-11).
    pub fn show_to_queue(
        &mut self,
        (connection, channel): (ConnectionId, ChannelId),
        queue: &str,
        message: &Message,
        seq: PublishSeq,
        now: Now,
    ) -> bool {
        let entered = self.connections.get(connection).and_then(|c| c.entered.clone());
        let report = Report::Publisher(Reported { connection, channel, seq });
        let copy = replayed(message, Rc::from(FILTERS), now);
        let (Some(entered), Some(copy)) = (entered, copy) else { return false };
        let Some(pending) = self.await_stored(report) else { return false };
        let owner = self.placement.owner(&entered.vhost_name, queue);
        let mut put = Put::DONE;
        if owner == self.shard {
            if let Some(id) = self.addressed(entered.vhost, queue) {
                put = self.enqueue(id, copy, now);
            }
        } else {
            let vhost = entered.vhost;
            self.one_more_place(pending);
            self.post.send_message(owner, &copy, |parcel| Mail::PublishByName {
                vhost,
                queue: Some(queue.into()),
                parcel,
                mandatory: None,
                wanted: Some(pending),
            });
        }
        self.stored_as(pending, put);
        true
    }

    /// A virtual host has come; it is the last one.
    pub(super) fn retained_in_new_vhost(&mut self, name: &str) {
        let max = (self.limits.retained_max, self.limits.retained_bytes_max);
        self.retained.add(Parts::new(name, self.placement, self.shard, max));
    }

    /// The parts of a virtual host are deleted.
    pub(super) fn forget_retained_of(&mut self, vhost: VhostId) {
        let gone = |parts: &HashMap<QueueId, (VhostId, Part), _>, id: &QueueId| {
            parts.get(id).is_some_and(|(of, _)| *of == vhost)
        };
        let Retained { parts, awake, settling, .. } = &mut self.retained;
        awake.retain(|id| !gone(parts, id));
        settling.retain(|id| !gone(parts, id));
        parts.retain(|_, (of, _)| *of != vhost);
        if let Some(of) = self.retained.vhosts.get_mut(vhost.0 as usize) {
            of.queues.fill(None);
        }
    }

    #[cfg(test)]
    /// Other limits, before anything is retained.
    pub(super) fn limit_retained(&mut self, limits: &super::NodeLimits) {
        let max = (limits.retained_max, limits.retained_bytes_max);
        let names: Vec<Box<str>> = self.vhosts.iter().map(|v| Box::from(&*v.name)).collect();
        self.retained = Retained::new(&names, self.placement, self.shard, max);
    }
}
