//! A queue on the shard that owns it: rules only, no I/O, time as an argument.
//!
//! One `Queue` per declared queue; the broker calls it and carries out its [`Effect`]s. A queue
//! keeps no state per ready message: its store has the messages, its rows have runs of positions.
//! May import `command`, `ids`, `message`, `value` and `broker::consumer`.

pub(crate) mod arguments;
mod classic;
mod consumers;
pub(crate) mod dead_letter;
pub(crate) mod dedup;
mod deliver;
mod equivalence;
mod expiry;
mod fifo;
pub(crate) mod latest;
mod links;
pub(crate) mod memory;
mod priority;
mod quorum;
mod ready;
mod received;
pub(crate) mod restore;
pub(crate) mod session;
mod settle;
pub(crate) mod store;
mod subscribe;
mod unsettled;

#[cfg(test)]
mod conservation_tests;
#[cfg(test)]
mod contract_tests;
#[cfg(test)]
mod later_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod rule_tests;
#[cfg(test)]
pub(crate) mod slow_store;
#[cfg(test)]
pub(crate) mod testing;

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

pub(crate) use deliver::{Fetched, More, OutDelivery, Outlet, Taken};
pub(crate) use equivalence::Difference;
pub(crate) use received::Oldest;
pub(crate) use unsettled::SETTLED_AT_ONCE;

use arguments::{BadArgument, DeliveryLimit, Overflow, QUEUE_TYPE, Settings};
use consumers::Consumers;
use dead_letter::DeadLetterTarget;
use dedup::{Dedup, Seen};
use fifo::Run;
use memory::MemoryStore;
use priority::Scale;
use ready::{Ready, ReturnOrder};
use restore::Earlier;
use store::{Position, Safe, Store};
use unsettled::UnsettledTable;

use crate::broker::consumer::Consumer;
use crate::command::Now;
use crate::durability::Durability;
use crate::ids::{ConnectionRef, ConsumerId};
use crate::limits;
use crate::message::{DeathReason, Message};
use crate::value::{Table, Value};

/// Which returns count against a delivery limit (R3, L46).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counts {
    /// All.
    Every,
    /// Those where the consumer had its chance.
    Failed,
}

/// What makes a type of queue. To add one: a file and a line in [`QUEUE_TYPES`].
#[derive(Debug)]
pub(crate) struct QueueType {
    /// Its name in `x-queue-type`.
    pub(crate) name: &'static str,
    /// Refuses what does not fit the type and fills in its defaults.
    check: fn(&QueueSpec<'_>, &mut Settings, &QueueDefaults) -> Result<(), BadArgument>,
    /// Its priorities.
    scale: fn(&Settings) -> Scale,
    returns: ReturnOrder,
    counts: Counts,
    /// Whether limits over all consumers of a channel work with it (R2).
    pub(crate) channel_limits: bool,
    /// Every message is kept as the queue promises, whatever its sender says.
    pub(crate) keeps_all: bool,
    /// Whether it counts against the limit of queues: the broker's own do not.
    pub(crate) counts_as_queue: bool,
    /// Whether a single active consumer makes room for one of higher priority.
    active_consumer_yields: bool,
    /// It belongs to a session, which alone makes it, consumes from it and deletes it.
    pub(crate) of_session: bool,
}

/// Every type of queue there is.
pub(crate) const QUEUE_TYPES: &[QueueType] =
    &[classic::TYPE, quorum::TYPE, session::TYPE, latest::TYPE];

/// How a queue is declared.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueueSpec<'a> {
    pub(crate) name: &'a str,
    /// It survives a restart.
    pub(crate) durable: bool,
    /// The connection that has it for itself.
    pub(crate) exclusive: Option<ConnectionRef>,
    /// It goes with its last consumer.
    pub(crate) auto_delete: bool,
    pub(crate) arguments: &'a Table,
    /// Its name was made up by the broker.
    pub(crate) server_named: bool,
}

/// What holds where a declaration says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QueueDefaults {
    /// The type of a queue without `x-queue-type`.
    pub(crate) queue_type: Box<str>,
    /// Credit of a consumer without prefetch (abuse row 31).
    pub(crate) prefetch: u32,
    /// Most consumers of a queue (abuse row 29).
    pub(crate) consumers_max: u32,
    /// Delivery limit of types that always have one (R3).
    pub(crate) delivery_limit: DeliveryLimit,
    /// Longest time a delivery may stay unsettled, ms.
    pub(crate) consumer_timeout_ms: Option<u64>,
    /// What a durable queue promises without `x-durability`.
    pub(crate) durability: Durability,
    /// Where sessions send what they have no room for and what expires in them.
    pub(crate) session_dead_letter: Option<DeadLetterTarget>,
}

impl Default for QueueDefaults {
    fn default() -> Self {
        Self {
            queue_type: classic::TYPE.name.into(),
            prefetch: limits::UNSETTLED_PER_CHANNEL_MAX,
            consumers_max: limits::CONSUMERS_PER_QUEUE_MAX,
            delivery_limit: DeliveryLimit::Times(20),
            consumer_timeout_ms: None,
            durability: Durability::Sync,
            session_dead_letter: None,
        }
    }
}

/// A dead message on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeadLetter {
    /// With this death in its history and without its own time to live; still under its old
    /// address.
    pub(crate) message: Message,
    /// Where it goes.
    pub(crate) target: DeadLetterTarget,
    /// Why it died.
    pub(crate) reason: DeathReason,
    /// Where it lies until [`Queue::gone_on`] says that it is safe where it goes; `None`: it never
    /// was in the queue.
    pub(crate) from: Option<Position>,
}

/// Why a queue wants to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhyDeleted {
    /// Nobody used it for the time it was declared with.
    Unused,
    /// Its last consumer left.
    LastConsumerLeft,
}

/// What the broker has to do for a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Route a dead message.
    DeadLetter(DeadLetter),
    /// Count a message that died and goes nowhere.
    Dropped(DeathReason),
    /// Tell the operator: the store could not give a message back.
    Unreadable(Position),
    /// Delete the queue. Asked once.
    Delete(WhyDeleted),
}

/// What became of a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Enqueued {
    /// It is stored as safely as the queue promises.
    Stored,
    /// It will be then.
    StoredLater(Safe),
    /// The queue is full.
    Overflowed,
    /// It was seen before and dropped; for its publisher that is as good as stored (L32). Where
    /// the one before may not be safe yet, [`Enqueued::StoredLater`] says so instead.
    Repeated,
}

/// Steps of handing out within one publish: with a consumer that keeps up, one is enough.
const HAND_OUT_BUDGET: usize = 128;

/// See the module.
#[derive(Debug)]
pub(crate) struct Queue {
    name: Rc<str>,
    kind: &'static QueueType,
    durable: bool,
    exclusive: Option<ConnectionRef>,
    auto_delete: bool,
    arguments: Table,
    settings: Settings,
    scale: Scale,
    store: Box<dyn Store>,
    ready: Ready,
    unsettled: UnsettledTable,
    /// Messages that their consumer has received and that are not out.
    received: BTreeSet<Position>,
    /// Delivered messages that died and wait to be read, since they go somewhere.
    dying: VecDeque<(Position, DeathReason)>,
    earlier: Earlier,
    /// Of the last message that was not safe at once.
    last_safe: Safe,
    consumers: Consumers,
    /// Few queues have it.
    dedup: Option<Box<Dedup>>,
    prefetch_default: u32,
    consumers_max: u32,
    /// A message here may expire: the queue has a time to live, or a message had.
    timed: bool,
    /// When it was last used without consumers, monotonic ms.
    used_ms: u64,
    paused: bool,
    delete_asked: bool,
}

impl Queue {
    /// Makes a queue that keeps its messages in memory.
    pub(crate) fn declare(
        spec: &QueueSpec<'_>,
        defaults: &QueueDefaults,
        now: Now,
    ) -> Result<Self, BadArgument> {
        Self::declare_on(spec, defaults, Box::new(MemoryStore::default()), now)
    }

    /// Makes a queue over a store; [`Queue::restore`] what is in it.
    pub(crate) fn declare_on(
        spec: &QueueSpec<'_>,
        defaults: &QueueDefaults,
        store: Box<dyn Store>,
        now: Now,
    ) -> Result<Self, BadArgument> {
        let (kind, settings) = Self::rules(spec, defaults)?;
        let consumers = if settings.single_active_consumer {
            Consumers::with_single_active(kind.active_consumer_yields)
        } else {
            Consumers::default()
        };
        Ok(Self {
            name: spec.name.into(),
            kind,
            durable: spec.durable,
            exclusive: spec.exclusive,
            auto_delete: spec.auto_delete,
            arguments: spec.arguments.clone(),
            scale: (kind.scale)(&settings),
            store,
            ready: Ready::new(kind.returns),
            unsettled: UnsettledTable::default(),
            received: BTreeSet::new(),
            dying: VecDeque::new(),
            earlier: Earlier::default(),
            last_safe: Safe::Now,
            consumers,
            dedup: settings.dedup.clone().map(|dedup| Box::new(Dedup::new(dedup))),
            prefetch_default: defaults.prefetch,
            consumers_max: defaults.consumers_max,
            timed: settings.message_ttl_ms.is_some(),
            settings,
            used_ms: now.mono_ms,
            paused: false,
            delete_asked: false,
        })
    }

    /// What a declaration comes to: to be asked before a store is made for it.
    pub(crate) fn rules(
        spec: &QueueSpec<'_>,
        defaults: &QueueDefaults,
    ) -> Result<(&'static QueueType, Settings), BadArgument> {
        let mut settings = arguments::read(spec.arguments)?;
        let asked = spec.arguments.get(QUEUE_TYPE).and_then(Value::as_text);
        let kind_name = asked.unwrap_or(&defaults.queue_type);
        let kind = QUEUE_TYPES.iter().find(|kind| kind.name == kind_name).ok_or_else(|| {
            BadArgument::new(QUEUE_TYPE, format!("there is no queue type '{kind_name}'"))
        })?;
        (kind.check)(spec, &mut settings, defaults)?;
        settings.consumer_timeout_ms =
            settings.consumer_timeout_ms.or(defaults.consumer_timeout_ms);
        if spec.durable {
            settings.durability = settings.durability.or(Some(defaults.durability));
        } else if settings.durability.is_some() {
            // It would do nothing there, and whoever writes it counts on something (P33).
            let reason = "a queue that is not durable promises nothing";
            return Err(BadArgument::new(arguments::DURABILITY, reason));
        }
        Ok((kind, settings))
    }

    /// Whether a declaration asks for what this queue is.
    pub(crate) fn same_as(
        &self,
        spec: &QueueSpec<'_>,
        defaults: &QueueDefaults,
    ) -> Result<(), Difference> {
        equivalence::compare(self, spec, defaults)
    }

    /// Takes a message. `header` reads one of its headers; asked only where repetitions are
    /// dropped. Deliver afterwards, once for all publishes of a turn: only a queue with a length
    /// limit and a message without time to live are handed out here, as limits count what nobody
    /// takes at once (P55, P57).
    pub(crate) fn publish<O: Outlet>(
        &mut self,
        message: Message,
        header: impl Fn(&str) -> Option<Value>,
        now: Now,
        outlet: &mut O,
        effects: &mut Vec<Effect>,
    ) -> Enqueued {
        let unseen = match self.dedup.as_ref().map(|dedup| dedup.look(header, now.mono_ms)) {
            Some(Seen::Repeated) => {
                // Told at once, its publisher would be told of what a crash can still take.
                return match self.last_safe {
                    Safe::Now => Enqueued::Repeated,
                    Safe::Synced(_) | Safe::Written(_) => Enqueued::StoredLater(self.last_safe),
                };
            }
            Some(Seen::New(unseen)) => Some(unseen),
            Some(Seen::Unmarked) | None => None,
        };
        let at_once = self.needs_hand_out(&message);
        if at_once {
            let _more = self.hand_out(now, HAND_OUT_BUDGET, false, outlet, effects);
            if self.refuses(&message, now, effects) {
                return Enqueued::Overflowed;
            }
        }
        if let (Some(dedup), Some(unseen)) = (&mut self.dedup, unseen) {
            dedup.remember(unseen);
        }
        let traits = message.traits();
        self.timed |= traits.expiration_ms.is_some();
        let body_bytes = message.body().len() as u64;
        let (at, safe) = self.store.append(message, now.mono_ms);
        self.ready.push(Run::one(at), self.scale.level(traits.priority), body_bytes);
        if at_once {
            let _more = self.hand_out(now, HAND_OUT_BUDGET, true, outlet, effects);
            self.expire_heads(now, effects);
            self.enforce_length(now, effects);
        }
        match safe {
            Safe::Now => Enqueued::Stored,
            Safe::Synced(_) | Safe::Written(_) => {
                self.last_safe = safe;
                Enqueued::StoredLater(safe)
            }
        }
    }

    fn needs_hand_out(&self, message: &Message) -> bool {
        self.settings.length_max.is_some()
            || self.settings.body_bytes_max.is_some()
            || self.settings.message_ttl_ms == Some(0)
            || message.traits().expiration_ms == Some(0)
    }

    fn refuses(&mut self, message: &Message, now: Now, effects: &mut Vec<Effect>) -> bool {
        let body_bytes = self.ready.body_bytes().saturating_add(message.body().len() as u64);
        let full = self.exceeds(self.ready.count().saturating_add(1), body_bytes);
        match self.settings.overflow {
            Overflow::DropHead => false,
            Overflow::Refuse => full,
            Overflow::RefuseAndDeadLetter => {
                if full {
                    self.bury(message, DeathReason::MaxLength, None, now, effects);
                }
                full
            }
        }
    }

    /// Removes the ready messages; those that are out stay out (P37). Tells how many.
    pub(crate) fn purge(&mut self) -> u64 {
        let count = self.ready.count();
        for run in self.take_all() {
            self.store.settle_run(run.from, run.to);
        }
        count
    }

    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "operators see or do it by the management API")
    )]
    /// Stops or resumes deliveries; consumers stay (L38, P78).
    pub(crate) fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Where its messages lie.
    pub(crate) fn store_mut(&mut self) -> &mut dyn Store {
        &mut *self.store
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its type.
    pub(crate) const fn kind(&self) -> &'static QueueType {
        self.kind
    }

    /// It survives a restart.
    pub(crate) const fn is_durable(&self) -> bool {
        self.durable
    }

    /// The connection that has it for itself.
    pub(crate) const fn exclusive(&self) -> Option<ConnectionRef> {
        self.exclusive
    }

    /// It goes with its last consumer.
    pub(crate) const fn is_auto_delete(&self) -> bool {
        self.auto_delete
    }

    /// As declared.
    pub(crate) const fn arguments(&self) -> &Table {
        &self.arguments
    }

    /// What is kept of a session has changed. Settings stay what they are.
    pub(crate) fn set_arguments(&mut self, arguments: Table) {
        self.arguments = arguments;
    }

    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "operators see or do it by the management API")
    )]
    /// What the arguments and the type's defaults come to.
    pub(crate) const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Messages that nobody has.
    pub(crate) const fn ready(&self) -> u64 {
        self.ready.count()
    }

    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "operators see or do it by the management API")
    )]
    /// Octets of their bodies.
    pub(crate) const fn ready_body_bytes(&self) -> u64 {
        self.ready.body_bytes()
    }

    /// Deliveries that are out.
    pub(crate) const fn unsettled(&self) -> u64 {
        self.unsettled.count()
    }

    /// Consumers.
    pub(crate) const fn consumers(&self) -> u32 {
        self.consumers.count()
    }

    /// One of its consumers.
    pub(crate) fn consumer(&self, id: ConsumerId) -> Option<&Consumer> {
        self.consumers.get(id)
    }

    /// All its consumers, for listings and to tell them when it is deleted (P70).
    pub(crate) fn all_consumers(&self) -> impl Iterator<Item = &Consumer> + '_ {
        self.consumers.iter()
    }

    /// One consumer gets all and single messages can not be fetched (R15, P46).
    pub(crate) const fn is_single_active(&self) -> bool {
        self.consumers.is_single_active()
    }

    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "operators see or do it by the management API")
    )]
    /// The one that gets all, where there is such a one.
    pub(crate) fn active_consumer(&self) -> Option<ConsumerId> {
        self.consumers.active()
    }

    /// Octets of memory its messages take.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.store.memory_bytes()
    }
}
