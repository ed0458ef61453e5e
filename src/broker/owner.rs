//! Requests about queues, decided on the shard that owns the queue, and requests about exchanges,
//! decided on the keeper. Each ends in exactly one answer to the channel that asked.

use ringmq_shards::log::QueueUid;

use super::Broker;
use super::calls::Then;
use super::consumer::{ConsumeRefused, NewConsumer};
use super::fetch::Gets;
use super::mail::{BindingSpec, CallId, ExchangeSpec, Mail, PlainAnswer};
use super::queue::arguments::BadArgument;
use super::queue::{Queue, QueueSpec};
use super::storage::queues::NewStore;
use super::subscriber::leave::Leaving;
use super::subscriber::session::SessionId;
use super::topology::RESERVED_PREFIX;
use crate::auth::Access;
use crate::command::{Answer, Command, Consume, Entity, Event, Now, Refusal};
use crate::ids::{ChannelRef, ConnectionRef, ConsumerRef, ExchangeId, QueueId, QueueRef, VhostId};
use crate::value::Table;

/// A queue in the table of its owner.
#[derive(Debug)]
pub(super) struct QueueEntry {
    pub(super) queue: Queue,
    pub(super) vhost: VhostId,
    /// It is durable and nobody's own, and there is storage.
    pub(super) uid: Option<QueueUid>,
    /// Exchanges with bindings to it.
    pub(super) bound_to: Vec<ExchangeId>,
    /// It is in the list of queues that may have something to deliver.
    pub(super) dirty: bool,
    /// The earliest deadline a timer stands for.
    pub(super) timer_ms: Option<u64>,
    /// Who waits for a message that has to be read first.
    pub(super) gets: Gets,
    /// Whose messages it keeps, if it is a session's.
    pub(super) session: Option<SessionId>,
    /// It was a session's, and what is left in it goes to others.
    pub(super) leaving: Option<Box<Leaving>>,
}

impl Broker {
    /// Carries a request out; the answer goes to `at`.
    pub(super) fn request(
        &mut self,
        at: ChannelRef,
        vhost: VhostId,
        command: Command,
        limited: bool,
        now: Now,
    ) {
        if self.is_leaving(vhost) {
            let name = self.vhosts.get(vhost.0 as usize).map_or("", |entry| &entry.name);
            let refusal = Refusal::NotFound(Entity::Vhost, name.into());
            self.answer(at, Answer::Refused(refusal));
            return;
        }
        match command {
            Command::DeclareExchange {
                name,
                kind,
                passive,
                durable,
                auto_delete,
                internal,
                arguments,
            } => {
                let spec = ExchangeSpec { name, kind, durable, auto_delete, internal, arguments };
                self.declare_exchange(at, vhost, &spec, passive);
            }
            Command::DeleteExchange { name, if_unused } => {
                self.delete_exchange(at, vhost, &name, if_unused);
            }
            Command::BindExchange { source, destination, key, arguments } => {
                self.bind_exchange(at, vhost, (&source, &destination), (key, arguments), true);
            }
            Command::UnbindExchange { source, destination, key, arguments } => {
                self.bind_exchange(at, vhost, (&source, &destination), (key, arguments), false);
            }
            Command::DeclareQueue { .. } => {
                self.request_queue(at, vhost, &command, now);
            }
            Command::DeleteQueue { name, if_unused, if_empty } => {
                self.request_delete(at, vhost, &name, (if_unused, if_empty), now);
            }
            Command::PurgeQueue { name } => match self.usable(at, vhost, &name) {
                Ok(id) => {
                    self.deliver_first(id, now);
                    let messages = self.purge(id, now);
                    self.answer_when_settled(at, Answer::Removed { messages });
                }
                Err(refusal) => self.answer(at, Answer::Refused(refusal)),
            },
            Command::BindQueue { queue, exchange, key, arguments } => {
                self.request_binding(at, vhost, (&queue, &exchange), (key, arguments), true);
            }
            Command::UnbindQueue { queue, exchange, key, arguments } => {
                self.request_binding(at, vhost, (&queue, &exchange), (key, arguments), false);
            }
            Command::Consume(consume) => {
                let answer = match self.add_consumer(at, vhost, &consume, limited) {
                    Ok(answer) => answer,
                    Err(refusal) => Answer::Refused(refusal),
                };
                self.answer(at, answer);
            }
            Command::Cancel { consumer } => {
                self.cancel(at, consumer.queue.queue, consumer.consumer, now);
            }
            Command::Get { queue, no_settle } => {
                self.request_get(at, vhost, &queue, no_settle, now);
            }
            Command::OpenSession(open) => self.open_session(at, vhost, &open, now),
            Command::Subscribe { subscriptions } => self.subscribe(at, subscriptions, now),
            Command::Unsubscribe { filters } => self.unsubscribe(at, &filters),
            Command::ReadRetained { filter, pattern, from, bytes_max } => {
                self.request_retained(at, vhost, (filter, pattern), (from, bytes_max));
            }
            // These are answered on the connection's own shard.
            Command::ConsumeReplies { .. } | Command::CloseChannel | Command::CloseConnection => {
                self.answer(at, Answer::Done);
            }
        }
    }

    pub(super) fn queue_id(&self, vhost: VhostId, name: &str) -> Option<QueueId> {
        self.vhosts.get(vhost.0 as usize)?.queues.get(name).copied()
    }

    /// The queue, unless it is missing or another connection's own.
    pub(super) fn usable(
        &self,
        at: ChannelRef,
        vhost: VhostId,
        name: &str,
    ) -> Result<QueueId, Refusal> {
        let found = self.queue_id(vhost, name).and_then(|id| Some((id, self.queues.get(id)?)));
        let Some((id, entry)) = found else {
            return Err(Refusal::NotFound(Entity::Queue, name.into()));
        };
        match entry.queue.exclusive() {
            Some(owner) if owner != at.connection => Err(Refusal::Locked(name.into())),
            Some(_) | None => Ok(id),
        }
    }

    /// Declares a queue, or looks at it; what is durable is answered when it is.
    fn request_queue(&mut self, at: ChannelRef, vhost: VhostId, command: &Command, now: Now) {
        let before = self.queues.len();
        let answer = self.declare_queue(at, vhost, command, now);
        let is_declared = matches!(answer, Answer::QueueDeclared { .. });
        self.counters.queues_declared += u64::from(is_declared);
        self.counters.queues_created += u64::from(self.queues.len() > before);
        let lasting = match &answer {
            Answer::QueueDeclared { name, .. } => {
                let entry = self.queue_id(vhost, name).and_then(|id| self.queues.get(id));
                entry.is_some_and(|entry| entry.uid.is_some())
            }
            Answer::Done
            | Answer::Bound { .. }
            | Answer::Removed { .. }
            | Answer::Consuming { .. }
            | Answer::ReplyTo { .. }
            | Answer::Got { .. }
            | Answer::Empty
            | Answer::SessionOpened(_)
            | Answer::Subscribed(_)
            | Answer::Unsubscribed(_)
            | Answer::RetainedRead { .. }
            | Answer::Refused(_) => false,
        };
        if lasting {
            self.answer_when_durable(at, answer);
        } else {
            self.answer(at, answer);
        }
    }

    fn declare_queue(
        &mut self,
        at: ChannelRef,
        vhost: VhostId,
        command: &Command,
        now: Now,
    ) -> PlainAnswer {
        let Command::DeclareQueue { name, passive, durable, exclusive, auto_delete, arguments } =
            command
        else {
            return Answer::Done;
        };
        let mut spec = QueueSpec {
            name,
            durable: *durable,
            exclusive: exclusive.then_some(at.connection),
            auto_delete: *auto_delete,
            arguments,
            server_named: false,
        };
        let generated;
        if name.is_empty() {
            let Some(name) = self.make_name(vhost) else {
                let why = "no random numbers for the name of a queue";
                return Answer::Refused(Refusal::Unavailable(why.into()));
            };
            generated = name;
            spec.name = &generated;
            spec.server_named = true;
        } else {
            // Also where it exists: such a name can be asked for, not declared (amqp.md P39).
            if !*passive && name.starts_with(RESERVED_PREFIX) {
                return Answer::Refused(Refusal::ReservedName(Entity::Queue, name.clone()));
            }
            match self.usable(at, vhost, name) {
                Ok(id) => {
                    if !*passive
                        && let Err(refusal) = self.ordinary(at, vhost, name, Access::Configure)
                    {
                        return Answer::Refused(refusal);
                    }
                    return self.redeclare((id, vhost), &spec, *passive, now);
                }
                Err(Refusal::NotFound(..)) if !*passive => {}
                Err(refusal) => return Answer::Refused(refusal),
            }
        }
        if let Err(refusal) = self.check_ordinary(&spec, vhost) {
            return Answer::Refused(refusal);
        }
        match self.make_queue(vhost, spec, now) {
            Ok(id) => self.queues.get(id).map_or(Answer::Done, |entry| declared(&entry.queue)),
            Err(refusal) => Answer::Refused(refusal),
        }
    }

    fn redeclare(
        &mut self,
        (id, vhost): (QueueId, VhostId),
        spec: &QueueSpec<'_>,
        passive: bool,
        now: Now,
    ) -> PlainAnswer {
        self.deliver_first(id, now);
        let defaults = self.defaults_in(vhost);
        let Some(entry) = self.queues.get_mut(id) else { return Answer::Done };
        // One connection's own queue and everybody's are no variants of each other (amqp.md P34).
        if !passive && entry.queue.exclusive() != spec.exclusive {
            return Answer::Refused(Refusal::Locked(spec.name.into()));
        }
        if !passive && let Err(difference) = entry.queue.same_as(spec, &defaults) {
            return Answer::Refused(Refusal::Mismatch {
                entity: Entity::Queue,
                name: spec.name.into(),
                argument: difference.argument,
                received: difference.received,
                current: difference.current,
            });
        }
        entry.queue.touch(now);
        let answer = declared(&entry.queue);
        self.arm(id, now);
        answer
    }

    /// Makes a queue that is not there, with its definition and its name.
    pub(super) fn make_queue(
        &mut self,
        vhost: VhostId,
        spec: QueueSpec<'_>,
        now: Now,
    ) -> Result<QueueId, Refusal> {
        if self.is_leaving(vhost) {
            // Also what nobody asks for by a command: a last will, a retained message.
            let name = self.vhosts.get(vhost.0 as usize).map_or("", |entry| &entry.name);
            return Err(Refusal::NotFound(Entity::Vhost, name.into()));
        }
        let name: Box<str> = spec.name.into();
        let exclusive = spec.exclusive;
        let invalid = |bad: BadArgument| Refusal::InvalidArgument {
            entity: Entity::Queue,
            name: name.clone(),
            argument: bad.argument,
            reason: bad.reason,
        };
        let defaults = self.defaults_in(vhost);
        let (kind, settings) = Queue::rules(&spec, &defaults).map_err(invalid)?;
        if kind.counts_as_queue && self.node_counts().0 >= self.limits.queues_max as u64 {
            return Err(Refusal::LimitReached("queue limit is reached".into()));
        }
        if kind.counts_as_queue {
            self.check_queues(vhost, &name)?;
        }
        let NewStore { store, kept_as: uid, uid: store_uid } =
            self.new_store(vhost, &spec, (kind.keeps_all, settings.durability))?;
        let queue = Queue::declare_on(&spec, &defaults, store, now).map_err(invalid)?;
        let entry = QueueEntry {
            queue,
            vhost,
            uid,
            bound_to: Vec::new(),
            dirty: false,
            timer_ms: None,
            gets: Gets::default(),
            session: None,
            leaving: None,
        };
        let full = || Refusal::LimitReached("queue limit is reached".into());
        let id = self.queues.insert(entry).ok_or_else(full)?;
        if let Some(names) = self.vhosts.get_mut(vhost.0 as usize) {
            names.queues.insert(name.clone(), id);
        }
        self.count_queues(vhost);
        self.attach_store(store_uid, id);
        // The default exchange has a new destination.
        self.revision += 1;
        if let Some(by) = exclusive {
            self.leave_footprint(by, id);
        }
        self.log_queue(id);
        self.arm(id, now);
        Ok(id)
    }

    /// A name nobody can guess or has, whose group lies on this shard. `None`: random numbers are
    /// none, for each try hits with probability 1/shards.
    fn make_name(&self, vhost: VhostId) -> Option<Box<str>> {
        let names = self.vhosts.get(vhost.0 as usize)?;
        let tries = 64 * usize::from(self.placement.shards());
        (0..tries).map(|_| super::reply::random_name("amq.gen-")).find(|name| {
            self.placement.owner(&names.name, name) == self.shard
                && !names.queues.contains_key(name)
        })
    }

    fn request_delete(
        &mut self,
        at: ChannelRef,
        vhost: VhostId,
        name: &str,
        (if_unused, if_empty): (bool, bool),
        now: Now,
    ) {
        let id = match self.usable(at, vhost, name) {
            Ok(id) => id,
            // Deleting what is not there is done already (amqp.md P36).
            Err(Refusal::NotFound(..)) => {
                self.answer_when_lasting(at, Answer::Removed { messages: 0 });
                return;
            }
            Err(refusal) => {
                self.answer(at, Answer::Refused(refusal));
                return;
            }
        };
        self.deliver_first(id, now);
        let Some(entry) = self.queues.get(id) else { return };
        let messages = entry.queue.ready();
        let refusal = if if_unused && entry.queue.consumers() > 0 {
            Some(Refusal::InUse(Entity::Queue, name.into()))
        } else if if_empty && messages > 0 {
            Some(Refusal::NotEmpty(name.into()))
        } else {
            None
        };
        if let Some(refusal) = refusal {
            self.answer(at, Answer::Refused(refusal));
            return;
        }
        let lasting = entry.uid.is_some();
        let then = Then::Answer { to: at, answer: Answer::Removed { messages } };
        if let Some(call) = self.open_call(then) {
            self.delete_asked(id, call, now);
            if lasting {
                self.hold_definitions(call);
            }
            self.release(call, true);
        }
    }

    /// Takes a queue away with its bindings, consumers and messages.
    /// `leaving`: a connection that ends and is told nothing any more.
    pub(super) fn delete_queue(
        &mut self,
        id: QueueId,
        call: CallId,
        leaving: Option<ConnectionRef>,
    ) {
        let Some(mut entry) = self.queues.remove(id) else { return };
        self.counters.queues_deleted += 1;
        if let Some(names) = self.vhosts.get_mut(entry.vhost.0 as usize)
            && entry.leaving.is_none()
        {
            names.queues.remove(entry.queue.name());
        }
        self.count_queues(entry.vhost);
        self.revision += 1;
        self.log_queue_gone(&entry);
        self.detach_store(&mut entry.queue);
        self.memory.moved(entry.queue.memory_bytes(), 0);
        self.unbind_all(id, &entry.bound_to, call);
        self.refuse_gets(id, &entry, leaving);
        if let Some(owner) = entry.queue.exclusive() {
            self.lift_footprint(owner, id, 1);
        }
        for gone in entry.queue.all_consumers() {
            self.lift_footprint(gone.at.connection, id, 1);
            if Some(gone.at.connection) != leaving {
                self.consumer_gone(gone.at, gone.key);
            }
        }
    }

    pub(super) fn consumer_gone(&mut self, at: ChannelRef, consumer: crate::ids::ConsumerKey) {
        let connection = at.connection.connection;
        if at.connection.shard == self.shard {
            self.consumer_lost(connection, at.channel, consumer);
            self.tell(connection, Event::ConsumerGone { channel: at.channel, consumer });
        } else {
            let mail = Mail::ConsumerGone { connection, channel: at.channel, consumer };
            self.post.send(at.connection.shard, mail);
        }
    }

    fn request_binding(
        &mut self,
        at: ChannelRef,
        vhost: VhostId,
        (queue, exchange): (&str, &str),
        (key, arguments): (Box<str>, Table),
        on: bool,
    ) {
        let id = match self.ordinary(at, vhost, queue, Access::Write) {
            Ok(id) => id,
            Err(Refusal::NotFound(..)) if !on => {
                self.answer_when_lasting(at, Answer::Done);
                return;
            }
            Err(refusal) => {
                self.answer(at, Answer::Refused(refusal));
                return;
            }
        };
        let Some(exchange_id) = self.exchange_id(vhost, exchange) else {
            if on {
                self.answer_when_known(at, Self::no_exchange(exchange));
            } else {
                self.answer_when_lasting(at, Answer::Done);
            }
            return;
        };
        let binding = BindingSpec { exchange: exchange_id, key, arguments };
        if on {
            self.bind_queue(at, id, binding);
        } else {
            self.unbind_queue(at, id, &binding);
        }
    }

    fn add_consumer(
        &mut self,
        at: ChannelRef,
        vhost: VhostId,
        consume: &Consume,
        limited: bool,
    ) -> Result<PlainAnswer, Refusal> {
        let id = self.ordinary(at, vhost, &consume.queue, Access::Read)?;
        let Some(entry) = self.queues.get_mut(id) else { return Ok(Answer::Done) };
        let new = NewConsumer {
            at,
            key: consume.key,
            tag: &consume.tag,
            prefetch: consume.prefetch,
            no_settle: consume.no_settle,
            exclusive: consume.exclusive,
            arguments: &consume.arguments,
        };
        let consuming = entry.queue.add_consumer(&new).map_err(|refused| match refused {
            ConsumeRefused::ExclusiveUse => Refusal::ExclusiveUse(consume.queue.clone()),
            ConsumeRefused::LimitReached { consumers_max } => {
                let text = format!("a queue has at most {consumers_max} consumers");
                Refusal::LimitReached(text.into())
            }
            ConsumeRefused::BadArgument(bad) => Refusal::InvalidArgument {
                entity: Entity::Queue,
                name: consume.queue.clone(),
                argument: bad.argument,
                reason: bad.reason,
            },
        })?;
        if limited {
            entry.queue.set_limited(consuming.id, true);
        }
        if !entry.dirty {
            entry.dirty = true;
            self.dirty.push(id);
        }
        self.leave_footprint(at.connection, id);
        let queue = QueueRef { shard: self.shard, queue: id };
        let consumer = ConsumerRef { queue, consumer: consuming.id };
        Ok(Answer::Consuming { consumer, timeout_ms: consuming.timeout_ms })
    }
}

fn declared(queue: &Queue) -> PlainAnswer {
    Answer::QueueDeclared {
        name: queue.name().into(),
        messages: queue.ready(),
        consumers: queue.consumers(),
    }
}
