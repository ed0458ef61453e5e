//! From the catalogue to the tables of one shard, before any connection exists. Every shard does it
//! alone and without mail: what it must know of the others follows from the catalogue and the
//! placement. May import `definitions`, `topology`, `owner`, `placement`.

use std::collections::HashMap;

use ringmq_shards::log::QueueUid;

use super::catalogue::Catalogue;
use super::{BindingDefinition, ExchangeUid, LinkDefinition, NamedExchange, QueueDefinition};
use crate::broker::Broker;
use crate::broker::fetch::Gets;
use crate::broker::owner::QueueEntry;
use crate::broker::queue::store::Store;
use crate::broker::queue::{Queue, QueueDefaults, QueueSpec};
use crate::command::Now;
use crate::ids::{ExchangeId, QueueId, QueueRef};

/// What became of a catalogue on one shard.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    /// The queues of this shard.
    pub(crate) queues: Vec<(QueueUid, QueueId)>,
    /// Definitions that this process can not take, of all shards: their virtual host or their type
    /// is unknown, or an argument has become invalid. The next checkpoint is without them.
    pub(crate) skipped: u64,
}

/// Gives the store of a queue.
pub(crate) type MakeStore<'a> = &'a mut dyn FnMut(QueueUid, &QueueDefinition) -> Box<dyn Store>;

/// Where definitions have ended up.
#[derive(Debug, Default)]
struct Places {
    exchanges: HashMap<ExchangeUid, ExchangeId>,
    queues: HashMap<QueueUid, (QueueRef, Box<str>)>,
}

impl Broker {
    /// Puts everything durable in this shard's tables, which hold nothing but the predeclared
    /// exchanges so far: the same exchanges on every shard, its own queues over the stores that
    /// `make_store` gives, and what the other shards have an interest in.
    pub(crate) fn restore(
        &mut self,
        catalogue: &Catalogue,
        make_store: MakeStore<'_>,
        now: Now,
    ) -> Restored {
        let mut restored = Restored::default();
        let mut places = Places::default();
        for exchange in catalogue.exchanges() {
            let id = ExchangeId(self.exchanges_seen);
            let vhost = self.vhost_named(&exchange.vhost);
            let taken = vhost.is_some_and(|vhost| {
                self.put_exchange(id, vhost, &exchange.spec, Some(exchange.uid))
            });
            if taken {
                places.exchanges.insert(exchange.uid, id);
            }
            restored.skipped += u64::from(!taken);
        }
        for link in catalogue.links() {
            restored.skipped += u64::from(self.restore_link(link, &places).is_none());
        }
        self.restore_queues(catalogue, make_store, now, &mut places, &mut restored);
        for binding in catalogue.bindings() {
            restored.skipped += u64::from(self.restore_binding(binding, &places).is_none());
        }
        self.restore_sessions(now);
        self.revision += 1;
        restored
    }

    fn place_of(&self, vhost: &str, at: &NamedExchange, places: &Places) -> Option<ExchangeId> {
        if at.uid.is_predeclared() {
            return self.exchange_id(self.vhost_named(vhost)?, &at.name);
        }
        places.exchanges.get(&at.uid).copied()
    }

    fn restore_link(&mut self, link: &LinkDefinition, places: &Places) -> Option<()> {
        let source = self.place_of(&link.vhost, &link.source, places)?;
        let destination = self.place_of(&link.vhost, &link.destination, places)?;
        self.check_binding(source, &link.key, &link.arguments).ok()?;
        let entry = self.exchanges.get_mut(&source)?;
        // An auto-delete exchange goes with its last binding also if that comes after a restart.
        entry.was_bound = true;
        entry.bindings.bind_exchange(destination, &link.key, &link.arguments);
        Some(())
    }

    /// Owners give places in the order of the catalogue, so every shard knows those of all.
    fn restore_queues(
        &mut self,
        catalogue: &Catalogue,
        make_store: MakeStore<'_>,
        now: Now,
        places: &mut Places,
        restored: &mut Restored,
    ) {
        debug_assert!(self.queues.len() == 0, "restored before any queue is declared");
        let mut counts = vec![0_u32; usize::from(self.placement.shards())];
        for queue in catalogue.queues() {
            let shard = self.placement.owner(&queue.vhost, &queue.name);
            let count = counts.get_mut(usize::from(shard.0));
            let (Some(vhost), Some(count)) = (self.vhost_named(&queue.vhost), count) else {
                restored.skipped += 1;
                continue;
            };
            // By the rules of today, on every shard with the same result.
            let defaults = self.defaults_for(queue);
            let spec = spec_of(queue);
            if Queue::declare(&spec, &defaults, now).is_err() {
                restored.skipped += 1;
                continue;
            }
            let place = QueueId::new(*count, 0);
            *count += 1;
            places.queues.insert(queue.uid, (QueueRef { shard, queue: place }, queue.name.clone()));
            if shard != self.shard {
                continue;
            }
            let store = make_store(queue.uid, queue);
            let Ok(made) = Queue::declare_on(&spec, &defaults, store, now) else { continue };
            self.memory.moved(0, made.memory_bytes());
            let entry = QueueEntry {
                queue: made,
                vhost,
                uid: Some(queue.uid),
                bound_to: Vec::new(),
                dirty: false,
                timer_ms: None,
                gets: Gets::default(),
                session: None,
                leaving: None,
            };
            let Some(id) = self.queues.insert(entry) else { continue };
            debug_assert_eq!(id, place, "the place the other shards expect");
            if let Some(names) = self.vhosts.get_mut(vhost.0 as usize)
                && !queue.is_leaving()
            {
                names.queues.insert(queue.name.clone(), id);
            }
            restored.queues.push((queue.uid, id));
            self.arm(id, now);
        }
    }

    /// The type is that of the declaration, whatever the default is by now.
    fn defaults_for(&self, queue: &QueueDefinition) -> QueueDefaults {
        let defaults = match self.vhost_named(&queue.vhost) {
            Some(vhost) => self.defaults_in(vhost),
            None => self.queue_defaults.clone(),
        };
        QueueDefaults { queue_type: queue.kind.clone(), ..defaults }
    }

    /// How a queue of the catalogue is declared.
    pub(in crate::broker) fn spec_and_defaults<'a>(
        &self,
        queue: &'a QueueDefinition,
    ) -> (QueueSpec<'a>, QueueDefaults) {
        (spec_of(queue), self.defaults_for(queue))
    }

    fn restore_binding(&mut self, binding: &BindingDefinition, places: &Places) -> Option<()> {
        let exchange = self.place_of(&binding.vhost, &binding.exchange, places)?;
        let (to, name) = places.queues.get(&binding.queue)?;
        let (key, arguments) = (&*binding.key, &binding.arguments);
        self.check_binding(exchange, key, arguments).ok()?;
        let entry = self.exchanges.get_mut(&exchange)?;
        entry.was_bound = true;
        if entry.bindings.picks_one() {
            entry.bindings.bind_named(*to, name, key, arguments);
            if self.limits.near_members_first && to.shard == self.shard {
                entry.bindings.set_near(*to);
            }
        } else if to.shard == self.shard {
            entry.bindings.bind_queue(to.queue, key, arguments);
        } else {
            entry.bindings.set_interest(to.shard, key, arguments);
        }
        if to.shard == self.shard {
            self.bindings += 1;
            let queue = self.queues.get_mut(to.queue)?;
            if !queue.bound_to.contains(&exchange) {
                queue.bound_to.push(exchange);
            }
        }
        Some(())
    }
}

fn spec_of(queue: &QueueDefinition) -> QueueSpec<'_> {
    QueueSpec {
        name: &queue.name,
        durable: true,
        exclusive: None,
        auto_delete: queue.auto_delete,
        arguments: &queue.arguments,
        // Only a new declaration asks.
        server_named: false,
    }
}
