//! Exchanges and what is bound to them. Every shard has every exchange; shard 0 keeps the order in
//! which they come and go (the keeper), tells the others and answers when all know. Bindings of
//! queues are decided by the queue's owner, which tells the others only that it has, or has no
//! longer, at least one queue bound so (interest).

use std::cell::Cell;
use std::rc::Rc;

use super::Broker;
use super::binding::BindingTable;
use super::calls::Then;
use super::definitions::ExchangeUid;
use super::exchange::{Destination, ExchangeType};
use super::mail::{BindingSpec, CallId, ExchangeSpec, Mail, PlainAnswer};
use super::meeting::Meeting;
use crate::command::{Answer, Entity, Refusal};
use crate::ids::{ChannelRef, ExchangeId, QueueRef, ShardId, VhostId};
use crate::subscriber::{FILTERS, GROUPS};
use crate::value::{Table, Value};

/// The shard that keeps the order of exchanges.
pub(super) const KEEPER: ShardId = ShardId(0);

/// New names with this prefix are the broker's own (amqp.md P23, P39).
pub(super) const RESERVED_PREFIX: &str = "amq.";

/// Exchanges that every virtual host has from the start (amqp.md L24), with their types.
const PREDECLARED: [(&str, &str); 7] = [
    ("amq.direct", "direct"),
    ("amq.fanout", "fanout"),
    ("amq.topic", "topic"),
    ("amq.headers", "headers"),
    ("amq.match", "headers"),
    (FILTERS, "x-filter"),
    (GROUPS, "x-group"),
];

/// Whether every virtual host has an exchange of this name from the start.
pub(super) fn is_predeclared(name: &str) -> bool {
    PREDECLARED.iter().any(|(predeclared, _)| *predeclared == name)
}

/// An exchange; a copy on every shard.
#[derive(Debug)]
pub(super) struct ExchangeEntry {
    pub(super) vhost: VhostId,
    pub(super) name: Rc<str>,
    pub(super) kind: &'static str,
    /// It is durable.
    pub(super) uid: Option<ExchangeUid>,
    pub(super) auto_delete: bool,
    pub(super) internal: bool,
    pub(super) arguments: Table,
    pub(super) alternate: Option<Box<str>>,
    pub(super) bindings: BindingTable,
    /// The last walk that came by.
    pub(super) walked: Cell<u64>,
    /// The exchange that it shares its messages with.
    pub(super) meeting: Option<Meeting>,
    /// The exchange with the groups for which the filters of this one are looked at, too.
    pub(super) groups: Option<ExchangeId>,
    /// It had a binding: only then can it go with the last one (amqp.md P26).
    pub(super) was_bound: bool,
}

impl Broker {
    /// The exchanges every virtual host starts with: the same identities on every shard.
    pub(super) fn predeclare(&mut self) {
        for vhost in 0..u32::try_from(self.vhosts.len()).unwrap_or_default() {
            self.predeclare_in(VhostId(vhost));
        }
    }

    /// The same for one of them.
    pub(super) fn predeclare_in(&mut self, vhost: VhostId) {
        for (name, kind) in PREDECLARED {
            let id = ExchangeId(self.exchanges_seen);
            let spec = ExchangeSpec {
                name: name.into(),
                kind: kind.into(),
                durable: true,
                auto_delete: false,
                // Messages come to groups by filters.
                internal: name == GROUPS,
                arguments: Table::default(),
            };
            self.put_exchange(id, vhost, &spec, Some(ExchangeUid::PREDECLARED));
        }
        self.introduce(vhost);
    }

    /// Puts an exchange in this shard's tables. False: there can be none such, which the keeper
    /// asks before it tells anybody.
    pub(super) fn put_exchange(
        &mut self,
        id: ExchangeId,
        vhost: VhostId,
        spec: &ExchangeSpec,
        uid: Option<ExchangeUid>,
    ) -> bool {
        self.exchanges_seen = self.exchanges_seen.max(id.0 + 1);
        let Some(kind) = ExchangeType::named(&spec.kind) else { return false };
        let Ok(bindings) = BindingTable::new(kind, &spec.arguments) else { return false };
        let name: Rc<str> = Rc::from(&*spec.name);
        let Some(names) = self.vhosts.get_mut(vhost.0 as usize) else { return false };
        names.exchanges.insert(spec.name.clone(), id);
        let entry = ExchangeEntry {
            vhost,
            name,
            kind: kind.name,
            uid,
            auto_delete: spec.auto_delete,
            internal: spec.internal,
            arguments: spec.arguments.clone(),
            alternate: alternate_of(&spec.arguments),
            bindings,
            walked: Cell::new(0),
            meeting: None,
            groups: None,
            was_bound: false,
        };
        self.exchanges.insert(id, entry);
        self.revision += 1;
        true
    }

    pub(super) fn exchange_id(&self, vhost: VhostId, name: &str) -> Option<ExchangeId> {
        self.vhosts.get(vhost.0 as usize)?.exchanges.get(name).copied()
    }

    /// Keeper: declare.
    pub(super) fn declare_exchange(
        &mut self,
        at: ChannelRef,
        vhost: VhostId,
        spec: &ExchangeSpec,
        passive: bool,
    ) {
        let answer = match self.try_declare_exchange(vhost, spec, passive) {
            Err(refusal) => Answer::Refused(refusal),
            Ok(true) => {
                self.answer_when_lasting(at, Answer::Done);
                return;
            }
            Ok(false) => match self.make_exchange(at, vhost, spec) {
                Err(refusal) => Answer::Refused(refusal),
                Ok(()) => return,
            },
        };
        self.answer_when_known(at, answer);
    }

    /// Keeper: a new exchange; answered when it is known everywhere and durable.
    fn make_exchange(
        &mut self,
        at: ChannelRef,
        vhost: VhostId,
        spec: &ExchangeSpec,
    ) -> Result<(), Refusal> {
        let uid = if spec.durable { Some(self.next_exchange_uid()?) } else { None };
        let id = ExchangeId(self.exchanges_seen);
        self.put_exchange(id, vhost, spec, uid);
        self.log_exchange(id);
        let then = Then::Answer { to: at, answer: Answer::Done };
        let Some(call) = self.open_call(then) else { return Ok(()) };
        self.tell_others(call, |call| Mail::ExchangeMade {
            id,
            vhost,
            spec: Box::new(spec.clone()),
            uid,
            call,
        });
        if uid.is_some() {
            self.hold_definitions(call);
        }
        self.release(call, true);
        Ok(())
    }

    /// Whether it is in the keeper's log, or will be.
    pub(super) fn is_kept(&self, id: ExchangeId) -> bool {
        let uid = self.exchanges.get(&id).and_then(|entry| entry.uid);
        self.storage.is_some() && uid.is_some_and(|uid| !uid.is_predeclared())
    }

    /// True: it is there already, and the same.
    pub(super) fn try_declare_exchange(
        &self,
        vhost: VhostId,
        spec: &ExchangeSpec,
        passive: bool,
    ) -> Result<bool, Refusal> {
        let existing = self.exchange_id(vhost, &spec.name).and_then(|id| self.exchanges.get(&id));
        if passive {
            return match existing {
                Some(_) => Ok(true),
                None => Err(Refusal::NotFound(Entity::Exchange, spec.name.clone())),
            };
        }
        let Some(kind) = ExchangeType::named(&spec.kind) else {
            return Err(Refusal::UnknownExchangeType(spec.kind.clone()));
        };
        if let Some(existing) = existing {
            existing.same_as(spec, kind)?;
            return Ok(true);
        }
        if spec.name.starts_with(RESERVED_PREFIX) {
            return Err(Refusal::ReservedName(Entity::Exchange, spec.name.clone()));
        }
        if self.exchanges.len() >= self.limits.exchanges_max {
            return Err(Refusal::LimitReached("exchange limit is reached".into()));
        }
        BindingTable::new(kind, &spec.arguments).map_err(|bad| Refusal::InvalidArgument {
            entity: Entity::Exchange,
            name: spec.name.clone(),
            argument: "arguments".into(),
            reason: bad.to_string().into(),
        })?;
        Ok(false)
    }

    /// Keeper: delete.
    pub(super) fn delete_exchange(
        &mut self,
        at: ChannelRef,
        vhost: VhostId,
        name: &str,
        if_unused: bool,
    ) {
        let Some(id) = self.exchange_id(vhost, name) else {
            self.answer_when_lasting(at, Answer::Done);
            return;
        };
        let Some(entry) = self.exchanges.get(&id) else { return };
        let refusal = if entry.uid.is_some_and(ExchangeUid::is_predeclared) {
            Some(Refusal::Predeclared(name.into()))
        } else if if_unused && !entry.bindings.is_empty() {
            Some(Refusal::InUse(Entity::Exchange, name.into()))
        } else {
            None
        };
        match refusal {
            Some(refusal) => self.answer(at, Answer::Refused(refusal)),
            None => {
                self.remove_exchange(id, Then::Answer { to: at, answer: Answer::Done }, true);
            }
        }
    }

    /// Keeper: takes an exchange away everywhere. `lasting`: it must not come back after that.
    pub(super) fn remove_exchange(&mut self, id: ExchangeId, then: Then, lasting: bool) {
        self.leaving.push(id);
        self.log_exchange_gone(id);
        let lasting = lasting && self.is_kept(id);
        let then = Then::Forget { exchange: id, then: Box::new(then) };
        let Some(call) = self.open_call(then) else { return };
        self.tell_others(call, |call| Mail::ExchangeGone { id, call });
        self.drop_exchange(id, Some(call));
        if lasting {
            self.hold_definitions(call);
        }
        self.release(call, true);
    }

    /// Takes an exchange out of this shard's tables. On the keeper, exchanges that lose their
    /// last binding by that go as well, within the same call.
    pub(super) fn drop_exchange(&mut self, id: ExchangeId, call: Option<CallId>) {
        let Some(gone) = self.exchanges.remove(&id) else { return };
        self.revision += 1;
        if let Some(vhost) = self.vhosts.get_mut(gone.vhost.0 as usize) {
            vhost.exchanges.remove(&*gone.name);
        }
        for listed in gone.bindings.iter() {
            let queue = match listed.to {
                Destination::Queue(queue) => queue,
                Destination::Named(queue) if queue.shard == self.shard => queue.queue,
                Destination::Named(_) | Destination::Shard(_) | Destination::Exchange(_) => {
                    continue;
                }
            };
            self.bindings = self.bindings.saturating_sub(1);
            if let Some(queue) = self.queues.get_mut(queue) {
                queue.bound_to.retain(|exchange| *exchange != id);
            }
        }
        self.forget_delayed(id);
        let mut emptied = Vec::new();
        for (source, entry) in &mut self.exchanges {
            if entry.bindings.remove_exchange(id) > 0 {
                emptied.push(*source);
            }
        }
        for source in emptied {
            self.exchange_lost_binding(source, call);
        }
    }

    /// Keeper: an auto-delete exchange goes with the last binding from it. The call, if there is
    /// one, ends only after all shards know.
    pub(super) fn exchange_lost_binding(&mut self, id: ExchangeId, call: Option<CallId>) {
        if self.shard != KEEPER || self.leaving.contains(&id) {
            return;
        }
        let Some(entry) = self.exchanges.get(&id) else { return };
        if !(entry.auto_delete && entry.was_bound && entry.bindings.is_empty()) {
            return;
        }
        let then = match call {
            None => Then::Nothing,
            Some(call) => {
                self.expect(call);
                Then::Done { shard: self.shard, call }
            }
        };
        // Nobody asked for it, so nobody waits for the disk.
        self.remove_exchange(id, then, false);
    }

    /// Keeper: bind or unbind exchange to exchange.
    pub(super) fn bind_exchange(
        &mut self,
        at: ChannelRef,
        vhost: VhostId,
        names: (&str, &str),
        (key, arguments): (Box<str>, Table),
        on: bool,
    ) {
        let (source, destination) = names;
        let ids = (self.exchange_id(vhost, source), self.exchange_id(vhost, destination));
        let (Some(source_id), Some(destination)) = ids else {
            let missing = if ids.0.is_none() { source } else { destination };
            if on {
                let refusal = Refusal::NotFound(Entity::Exchange, missing.into());
                self.answer_when_known(at, Answer::Refused(refusal));
            } else {
                // Unbinding what is not there is done already (amqp.md P27).
                self.answer_when_lasting(at, Answer::Done);
            }
            return;
        };
        if on && let Err(refusal) = self.check_binding(source_id, &key, &arguments) {
            self.answer(at, Answer::Refused(refusal));
            return;
        }
        let binding = BindingSpec { exchange: source_id, key, arguments };
        let Some(call) = self.open_call(Then::Answer { to: at, answer: Answer::Done }) else {
            return;
        };
        self.tell_others(call, |call| Mail::ExchangeBound {
            binding: Box::new(binding.clone()),
            destination,
            on,
            call,
        });
        let lasting = self.is_durable(source_id) && self.is_durable(destination);
        self.apply_exchange_binding(&binding, destination, on, Some(call));
        if lasting {
            self.hold_definitions(call);
        }
        self.release(call, true);
    }

    fn is_durable(&self, id: ExchangeId) -> bool {
        self.exchanges.get(&id).is_some_and(|entry| entry.uid.is_some())
    }

    /// Whether the exchange's type takes such a binding.
    pub(super) fn check_binding(
        &self,
        exchange: ExchangeId,
        key: &str,
        arguments: &Table,
    ) -> Result<(), Refusal> {
        let Some(entry) = self.exchanges.get(&exchange) else { return Ok(()) };
        entry.bindings.validate(key, arguments).map_err(|bad| Refusal::InvalidArgument {
            entity: Entity::Exchange,
            name: Box::from(&*entry.name),
            argument: "arguments".into(),
            reason: bad.to_string().into(),
        })
    }

    pub(super) fn apply_exchange_binding(
        &mut self,
        binding: &BindingSpec,
        destination: ExchangeId,
        on: bool,
        call: Option<CallId>,
    ) {
        let Some(entry) = self.exchanges.get_mut(&binding.exchange) else { return };
        self.revision += 1;
        entry.was_bound |= on;
        let (key, arguments) = (&*binding.key, &binding.arguments);
        let news = match on {
            true => entry.bindings.bind_exchange(destination, key, arguments),
            false => entry.bindings.unbind_exchange(destination, key, arguments),
        };
        if news {
            self.log_link(binding, destination, on);
        }
        if !on {
            self.exchange_lost_binding(binding.exchange, call);
        }
    }

    /// Another shard has, or has no longer, a queue bound so. False: the exchange is gone.
    pub(super) fn apply_interest(
        &mut self,
        from: ShardId,
        binding: &BindingSpec,
        named: Option<(QueueRef, &str)>,
        on: bool,
        call: Option<CallId>,
    ) -> bool {
        let Some(entry) = self.exchanges.get_mut(&binding.exchange) else { return false };
        self.revision += 1;
        let (key, arguments) = (&*binding.key, &binding.arguments);
        entry.was_bound |= on;
        match (named, on) {
            (None, true) => entry.bindings.set_interest(from, key, arguments),
            (None, false) => entry.bindings.clear_interest(from, key, arguments),
            (Some((queue, name)), true) => entry.bindings.bind_named(queue, name, key, arguments),
            (Some((queue, _)), false) => entry.bindings.unbind_named(queue, key, arguments),
        };
        if !on {
            self.exchange_lost_binding(binding.exchange, call);
        }
        true
    }

    /// A shard's sentence about topology; also those that came before their exchange.
    pub(super) fn exchange_made(
        &mut self,
        id: ExchangeId,
        vhost: VhostId,
        spec: &ExchangeSpec,
        uid: Option<ExchangeUid>,
    ) {
        self.put_exchange(id, vhost, spec, uid);
        self.read_early();
    }

    /// Exchanges have come: what was said about them before is read again.
    pub(super) fn read_early(&mut self) {
        let early = std::mem::take(&mut self.early);
        for (from, mail) in early {
            self.read_topology(from, mail);
        }
    }

    /// Interest and exchange bindings of another shard. What overtook the declaration of its
    /// exchange (which comes from the keeper, on another lane) waits for it.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the caller has sorted them")]
    pub(super) fn read_topology(&mut self, from: ShardId, mail: Mail) {
        let Some((exchange, call)) = mail.about_exchange() else { return };
        if exchange.0 >= self.exchanges_seen {
            self.early.push((from, mail));
            return;
        }
        // The answer waits for what this causes here: an exchange that goes with its last binding.
        let Some(own) = self.open_call(Then::Done { shard: from, call }) else { return };
        let known = match mail {
            Mail::Interest { binding, on, .. } => {
                self.apply_interest(from, &binding, None, on, Some(own))
            }
            Mail::NamedInterest { binding, queue, name, on, .. } => {
                self.apply_interest(from, &binding, Some((queue, &name)), on, Some(own))
            }
            Mail::NamedGone { exchange, queue, .. } => {
                self.revision += 1;
                if let Some(entry) = self.exchanges.get_mut(&exchange) {
                    entry.bindings.remove_named(queue);
                }
                self.exchange_lost_binding(exchange, Some(own));
                true
            }
            Mail::ExchangeBound { binding, destination, on, .. } => {
                self.apply_exchange_binding(&binding, destination, on, Some(own));
                true
            }
            other => {
                debug_assert!(false, "not about an exchange: {other:?}");
                true
            }
        };
        if known {
            self.release(own, true);
        } else {
            self.calls.remove(own);
            self.done(from, call, false);
        }
    }

    /// What an exchange answers to a session when a queue command names a missing one.
    pub(super) fn no_exchange(name: &str) -> PlainAnswer {
        Answer::Refused(Refusal::NotFound(Entity::Exchange, name.into()))
    }
}

impl ExchangeEntry {
    /// The same exchange declared again (amqp.md P21): type and flags, of the arguments only the
    /// alternate exchange.
    fn same_as(&self, spec: &ExchangeSpec, kind: &ExchangeType) -> Result<(), Refusal> {
        let differs = |argument: &str, received: String, current: String| Refusal::Mismatch {
            entity: Entity::Exchange,
            name: spec.name.clone(),
            argument: argument.into(),
            received: received.into(),
            current: current.into(),
        };
        if self.kind != kind.name {
            return Err(differs("type", format!("'{}'", spec.kind), format!("'{}'", self.kind)));
        }
        let flags = [
            ("durable", spec.durable, self.uid.is_some()),
            ("auto_delete", spec.auto_delete, self.auto_delete),
            ("internal", spec.internal, self.internal),
        ];
        for (name, received, current) in flags {
            if received != current {
                return Err(differs(name, format!("'{received}'"), format!("'{current}'")));
            }
        }
        let received = alternate_of(&spec.arguments);
        if received != self.alternate {
            let text = |name: &Option<Box<str>>| match name {
                None => "none".into(),
                Some(name) => format!("the value '{name}' of type 'longstr'"),
            };
            return Err(differs("alternate-exchange", text(&received), text(&self.alternate)));
        }
        Ok(())
    }
}

/// The alternate exchange of a declaration, under both names in use (amqp.md L25).
pub(super) fn alternate_of(arguments: &Table) -> Option<Box<str>> {
    let value =
        arguments.get("alternate-exchange").or_else(|| arguments.get("x-alternate-exchange"));
    value.and_then(Value::as_text).map(Into::into)
}
