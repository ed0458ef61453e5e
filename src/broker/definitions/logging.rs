//! What is logged when, and who waits until it is durable: an answer about something durable is
//! sent only when a crash would find what it says. Who comes second, and finds the thing there (or
//! gone) already, waits as well. May import `definitions`, `storage`, `calls`, `placement`.

use ringmq_shards::log::QueueUid;
use ringmq_shards::log::ids::FILE_BOOT_SHIFT;

use super::{
    BindingDefinition, Definition, ExchangeDefinition, ExchangeUid, LinkDefinition, NamedExchange,
    QueueDefinition,
};
use crate::broker::Broker;
use crate::broker::calls::Then;
use crate::broker::exchange::Destination;
use crate::broker::mail::{BindingSpec, CallId, ExchangeSpec, Mail, PlainAnswer};
use crate::broker::owner::QueueEntry;
use crate::broker::topology::{ExchangeEntry, KEEPER};
use crate::command::Refusal;
use crate::ids::{ChannelRef, ExchangeId, QueueId, QueueRef, ShardId, VhostId};
use crate::value::Table;

/// Exchanges belong to no group: every shard has them.
const EXCHANGE_GROUP: u16 = 0;

fn exhausted() -> Refusal {
    Refusal::Unavailable("no number is left for another definition before a restart".into())
}

impl Broker {
    /// Keeper: a uid for a durable exchange.
    pub(in crate::broker) fn next_exchange_uid(&mut self) -> Result<ExchangeUid, Refusal> {
        self.exchange_uids = self.exchange_uids.checked_add(1).ok_or_else(exhausted)?;
        Ok(ExchangeUid::nth(self.boot, self.exchange_uids))
    }

    /// Owner: a uid for a durable queue: those of the other shards lie between this one's.
    pub(in crate::broker) fn next_queue_uid(&mut self) -> Result<QueueUid, Refusal> {
        let n = self.queue_uids.checked_mul(u32::from(self.placement.shards()));
        let n = n.and_then(|n| n.checked_add(u32::from(self.shard.0))).ok_or_else(exhausted)?;
        self.queue_uids = self.queue_uids.checked_add(1).ok_or_else(exhausted)?;
        Ok(QueueUid((u64::from(self.boot) << FILE_BOOT_SHIFT) | u64::from(n)))
    }

    fn log(&mut self, group: u16, definition: &Definition) {
        let Some(storage) = &mut self.storage else { return };
        let mut record = Vec::new();
        definition.write(&mut record);
        storage.append_definition(group, &record);
    }

    /// Keeper: an exchange has come.
    pub(in crate::broker) fn log_exchange(&mut self, id: ExchangeId) {
        let definition = match self.exchanges.get(&id) {
            Some(entry) if self.storage.is_some() => self.exchange_definition(entry),
            Some(_) | None => None,
        };
        if let Some(definition) = definition {
            self.log(EXCHANGE_GROUP, &definition);
        }
    }

    /// Keeper: an exchange goes.
    pub(in crate::broker) fn log_exchange_gone(&mut self, id: ExchangeId) {
        let uid = self.exchanges.get(&id).and_then(|entry| entry.uid);
        if let Some(uid) = uid.filter(|uid| !uid.is_predeclared()) {
            self.log(EXCHANGE_GROUP, &Definition::ExchangeGone(uid));
        }
    }

    /// Keeper: exchange was bound to (or unbound from) exchange.
    pub(in crate::broker) fn log_link(
        &mut self,
        binding: &BindingSpec,
        destination: ExchangeId,
        on: bool,
    ) {
        if self.shard != KEEPER || self.storage.is_none() {
            return;
        }
        let of = (binding.exchange, destination);
        if let Some(link) = self.link_definition(of, &binding.key, &binding.arguments) {
            self.log(EXCHANGE_GROUP, &Definition::Link { link, on });
        }
    }

    /// Owner: a queue has come.
    pub(in crate::broker) fn log_queue(&mut self, id: QueueId) {
        let Some(entry) = self.queues.get(id).filter(|_| self.storage.is_some()) else { return };
        let group = self.group_of(entry);
        if let Some(queue) = self.queue_definition(entry) {
            self.log(group, &Definition::Queue(queue));
        }
    }

    /// Owner: a queue has gone.
    pub(in crate::broker) fn log_queue_gone(&mut self, gone: &QueueEntry) {
        if let Some(uid) = gone.uid {
            self.log(self.group_of(gone), &Definition::QueueGone(uid));
        }
    }

    /// Owner: a queue was bound (or unbound).
    pub(in crate::broker) fn log_binding(
        &mut self,
        queue: QueueId,
        binding: &BindingSpec,
        on: bool,
    ) {
        let Some(entry) = self.queues.get(queue).filter(|_| self.storage.is_some()) else { return };
        let group = self.group_of(entry);
        let (exchange, key) = (binding.exchange, &*binding.key);
        if let Some(binding) = self.binding_definition(entry, exchange, key, &binding.arguments) {
            self.log(group, &Definition::Binding { binding, on });
        }
    }

    /// The call is not ended before every definition logged here so far is durable.
    pub(in crate::broker) fn hold_definitions(&mut self, call: CallId) {
        if let Some(lsn) = self.storage.as_ref().and_then(|storage| storage.undurable_definition())
        {
            self.hold_until_durable(call, lsn);
        }
    }

    /// The call is not ended before every definition that the keeper logged so far is durable: what
    /// an owner says about a binding holds after a crash only together with what it was told of the
    /// exchange.
    pub(in crate::broker) fn hold_for_keeper(&mut self, call: CallId) {
        if self.storage.is_some() && self.shard != KEEPER {
            self.expect(call);
            self.post.send(KEEPER, Mail::Durable { call });
        }
    }

    /// Keeper: another shard's [`Broker::hold_for_keeper`].
    pub(in crate::broker) fn durable_asked(&mut self, from: ShardId, call: CallId) {
        let Some(own) = self.open_call(Then::Done { shard: from, call }) else { return };
        self.hold_definitions(own);
        self.release(own, true);
    }

    /// Whether a binding is durable, asked before it changes: then with the exchange's uid.
    pub(in crate::broker) fn lasting_binding(
        &self,
        queue: QueueId,
        exchange: ExchangeId,
    ) -> Option<ExchangeUid> {
        self.queues.get(queue)?.uid?;
        self.exchanges.get(&exchange)?.uid
    }

    /// What a call about a durable binding waits for.
    pub(in crate::broker) fn hold_binding(&mut self, call: CallId, exchange: Option<ExchangeUid>) {
        let Some(exchange) = exchange else { return };
        self.hold_definitions(call);
        if !exchange.is_predeclared() {
            self.hold_for_keeper(call);
        }
    }

    /// Answers once what this shard has logged so far is durable.
    pub(in crate::broker) fn answer_when_durable(&mut self, to: ChannelRef, answer: PlainAnswer) {
        let logged = self.storage.as_ref().and_then(|storage| storage.undurable_definition());
        if logged.is_none() {
            self.answer(to, answer);
            return;
        }
        if let Some(call) = self.open_call(Then::Answer { to, answer }) {
            self.hold_definitions(call);
            self.release(call, true);
        }
    }

    /// Answers once all that this shard (and the keeper) told and logged so far is known everywhere
    /// and durable: needed when a request finds things already as it wants them.
    pub(in crate::broker) fn answer_when_lasting(&mut self, to: ChannelRef, answer: PlainAnswer) {
        if self.storage.is_none() {
            self.answer_when_known(to, answer);
            return;
        }
        if let Some(call) = self.open_call(Then::Answer { to, answer }) {
            self.wait_for_earlier(call);
            self.hold_definitions(call);
            self.hold_for_keeper(call);
            self.release(call, true);
        }
    }

    /// Everything durable that this shard decides, with its group, in an order in which it can be
    /// replayed: for a checkpoint.
    pub(crate) fn definitions(&self, each: &mut dyn FnMut(u16, &Definition)) {
        if self.shard == KEEPER {
            self.exchange_definitions(each);
        }
        for (id, entry) in self.queues.iter() {
            let Some(queue) = self.queue_definition(entry) else { continue };
            let group = self.group_of(entry);
            each(group, &Definition::Queue(queue));
            for exchange in &entry.bound_to {
                let Some(source) = self.exchanges.get(exchange) else { continue };
                let me = QueueRef { shard: self.shard, queue: id };
                let to = match source.bindings.picks_one() {
                    true => Destination::Named(me),
                    false => Destination::Queue(id),
                };
                for bound in source.bindings.bindings_of(to) {
                    let binding =
                        self.binding_definition(entry, *exchange, bound.key, bound.arguments);
                    if let Some(binding) = binding {
                        each(group, &Definition::Binding { binding, on: true });
                    }
                }
            }
        }
    }

    fn exchange_definitions(&self, each: &mut dyn FnMut(u16, &Definition)) {
        let mut durable: Vec<_> = self.exchanges.iter().filter(|(_, e)| e.uid.is_some()).collect();
        durable.sort_unstable_by_key(|(id, _)| **id);
        for (_, entry) in &durable {
            if let Some(definition) = self.exchange_definition(entry) {
                each(EXCHANGE_GROUP, &definition);
            }
        }
        for (source, entry) in &durable {
            for bound in entry.bindings.iter() {
                let Destination::Exchange(to) = bound.to else { continue };
                if let Some(link) = self.link_definition((**source, to), bound.key, bound.arguments)
                {
                    each(EXCHANGE_GROUP, &Definition::Link { link, on: true });
                }
            }
        }
    }

    fn vhost_name(&self, vhost: VhostId) -> &str {
        self.vhosts.get(vhost.0 as usize).map_or("", |vhost| &vhost.name)
    }

    fn group_of(&self, entry: &QueueEntry) -> u16 {
        self.placement.group(self.vhost_name(entry.vhost), entry.queue.name())
    }

    /// `None`: it is not durable, or there from the start.
    fn exchange_definition(&self, entry: &ExchangeEntry) -> Option<Definition> {
        let uid = entry.uid.filter(|uid| !uid.is_predeclared())?;
        let spec = ExchangeSpec {
            name: Box::from(&*entry.name),
            kind: entry.kind.into(),
            durable: true,
            auto_delete: entry.auto_delete,
            internal: entry.internal,
            arguments: entry.arguments.clone(),
        };
        let vhost = self.vhost_name(entry.vhost).into();
        Some(Definition::Exchange(ExchangeDefinition { uid, vhost, spec }))
    }

    fn named(&self, exchange: ExchangeId) -> Option<NamedExchange> {
        let entry = self.exchanges.get(&exchange)?;
        Some(NamedExchange { uid: entry.uid?, name: Box::from(&*entry.name) })
    }

    fn link_definition(
        &self,
        (source, destination): (ExchangeId, ExchangeId),
        key: &str,
        arguments: &Table,
    ) -> Option<LinkDefinition> {
        let vhost = self.exchanges.get(&source)?.vhost;
        Some(LinkDefinition {
            vhost: self.vhost_name(vhost).into(),
            source: self.named(source)?,
            destination: self.named(destination)?,
            key: key.into(),
            arguments: arguments.clone(),
        })
    }

    fn queue_definition(&self, entry: &QueueEntry) -> Option<QueueDefinition> {
        let queue = &entry.queue;
        Some(QueueDefinition {
            uid: entry.uid?,
            vhost: self.vhost_name(entry.vhost).into(),
            name: queue.name().into(),
            kind: queue.kind().name.into(),
            auto_delete: queue.is_auto_delete(),
            arguments: queue.arguments().clone(),
        })
    }

    fn binding_definition(
        &self,
        entry: &QueueEntry,
        exchange: ExchangeId,
        key: &str,
        arguments: &Table,
    ) -> Option<BindingDefinition> {
        Some(BindingDefinition {
            queue: entry.uid?,
            vhost: self.vhost_name(entry.vhost).into(),
            exchange: self.named(exchange)?,
            key: key.into(),
            arguments: arguments.clone(),
        })
    }
}
