//! Queues and their stores: made with a declaration, filled at a restart, gone with a deletion.
//!
//! May import `durable`, `recovery`, `restore`, `definitions`.

use std::collections::HashMap;

use ringmq_shards::log::QueueUid;

use super::delayed::{FoundDelayed, FoundWill};
use super::durable::Keeps;
use super::origin::Origin;
use super::recovery::Remains;
use super::restore::Restored;
use crate::broker::Broker;
use crate::broker::definitions::catalogue::Catalogue;
use crate::broker::queue::memory::MemoryStore;
use crate::broker::queue::store::{Position, Store};
use crate::broker::queue::{Queue, QueueDefaults, QueueSpec};
use crate::command::{Now, Refusal};
use crate::durability::Durability;
use crate::ids::{QueueId, VhostId};

/// What recovery found, for one shard.
#[derive(Debug, Default)]
pub struct ShardRemains {
    /// Of its queues.
    pub(crate) queues: HashMap<QueueUid, Remains, ahash::RandomState>,
    /// Messages that wait for their time, in the order in which they came.
    pub(crate) delayed: Vec<FoundDelayed>,
    /// Wills, likewise.
    pub(crate) wills: Vec<FoundWill>,
}

/// A store for a new queue.
pub(in crate::broker) struct NewStore {
    pub(in crate::broker) store: Box<dyn Store>,
    /// The uid of the queue's definition, if that is kept.
    pub(in crate::broker) kept_as: Option<QueueUid>,
    /// The uid of the store, if it is one that uses the disk.
    pub(in crate::broker) uid: Option<QueueUid>,
}

impl NewStore {
    fn in_memory() -> Self {
        Self { store: Box::<MemoryStore>::default(), kept_as: None, uid: None }
    }
}

impl Broker {
    /// The defaults of a virtual host's queues.
    pub(in crate::broker) fn defaults_in(&self, vhost: VhostId) -> QueueDefaults {
        let vhost = self.vhosts.get(vhost.0 as usize);
        let name = vhost.map(|vhost| &*vhost.name);
        let own = self.durabilities.iter().find(|(vhost, _)| Some(vhost.as_str()) == name);
        let mut defaults = self.queue_defaults.clone();
        if let Some((_, durability)) = own {
            defaults.durability = *durability;
        }
        if let Some(kind) = vhost.and_then(|vhost| vhost.queue_type.as_ref()) {
            defaults.queue_type = kind.clone();
        }
        defaults
    }

    /// A store for a queue about to be declared.
    pub(in crate::broker) fn new_store(
        &mut self,
        vhost: VhostId,
        spec: &QueueSpec<'_>,
        rules: (bool, Option<Durability>),
    ) -> Result<NewStore, Refusal> {
        if self.storage.is_none() {
            return Ok(NewStore::in_memory());
        }
        let uid = self.next_queue_uid()?;
        let lasts = spec.durable && spec.exclusive.is_none();
        let keeps = keeps(lasts, rules.0);
        let name = self.vhosts.get(vhost.0 as usize).map(|vhost| &*vhost.name);
        let group = self.placement.group(name.unwrap_or_default(), spec.name);
        let Some(storage) = &mut self.storage else {
            return Ok(NewStore::in_memory());
        };
        let store = storage.make_store(uid, group, keeps, rules.1.unwrap_or_default());
        Ok(NewStore { store: Box::new(store), kept_as: lasts.then_some(uid), uid: Some(uid) })
    }

    /// Says which queue the store with this uid belongs to.
    pub(in crate::broker) fn attach_store(&mut self, uid: Option<QueueUid>, queue: QueueId) {
        if let (Some(uid), Some(storage)) = (uid, &mut self.storage) {
            storage.attach(uid, queue);
        }
    }

    /// A queue is gone: its files go when that is durable.
    pub(in crate::broker) fn detach_store(&mut self, queue: &mut Queue) {
        let Some(storage) = &mut self.storage else { return };
        if let Some(store) = queue.store_mut().as_durable() {
            storage.detach(store.uid(), store.keeps != Keeps::Nothing);
        }
    }

    /// What is stored from now on is of this origin.
    pub(in crate::broker) fn note_origin(&self, origin: Option<Origin>) {
        if let Some(storage) = &self.storage {
            storage.shelf.borrow_mut().origin = origin;
        }
    }

    /// Puts what recovery found into this shard's tables, which are empty. Told to the log again
    /// in the turns that follow.
    pub fn restore_all(&mut self, catalogue: &Catalogue, mut remains: ShardRemains, now: Now) {
        let mut found: HashMap<QueueUid, Restored> = HashMap::new();
        let mut earlier = Vec::new();
        let Some(mut storage) = self.storage.take() else { return };
        let restored = {
            let placement = self.placement;
            let rules: HashMap<QueueUid, (bool, Option<Durability>)> =
                catalogue.queues().iter().map(|q| (q.uid, self.rules_of(q))).collect();
            let mut make = |uid: QueueUid, queue: &crate::broker::definitions::QueueDefinition| {
                let group = placement.group(&queue.vhost, &queue.name);
                let (keeps_all, durability) = rules.get(&uid).copied().unwrap_or_default();
                let keeps = keeps(true, keeps_all);
                let mut store =
                    storage.make_store(uid, group, keeps, durability.unwrap_or_default());
                let remains = remains.queues.remove(&uid);
                store.count_on(remains.as_ref());
                if let Some(remains) = remains {
                    found.insert(uid, store.refill(remains));
                }
                if store.has_earlier() {
                    earlier.push(uid);
                }
                Box::new(store) as Box<dyn Store>
            };
            self.restore(catalogue, &mut make, now)
        };
        if restored.skipped > 0 {
            let skipped = restored.skipped;
            tracing::error!(
                skipped,
                "definitions that this version does not understand are left out; the files they \
                 are in stay, and the log grows"
            );
            self.keeps_earlier = true;
        }
        let mut unreadable = 0;
        for (uid, id) in &restored.queues {
            storage.attach(*uid, *id);
            let Some(restored) = found.remove(uid) else { continue };
            unreadable += restored.unreadable;
            if let Some(entry) = self.queues.get_mut(*id) {
                let counts = restored.counts.into_iter();
                entry.queue.restore(
                    restored.runs,
                    Position::new(restored.handed_below),
                    counts.map(|(at, count)| (Position::new(at), count)),
                );
                entry.queue.restore_received();
            }
        }
        if unreadable > 0 {
            tracing::error!(unreadable, "messages of the log that are not understood are left out");
        }
        storage.shelf.borrow_mut().end_filling();
        storage.adopt(earlier);
        self.storage = Some(storage);
        self.restore_delayed(remains.delayed, now);
        self.restore_wills(remains.wills, now);
        for (_, id) in restored.queues {
            self.adopt_part(id, now);
            self.arm(id, now);
        }
    }

    fn rules_of(
        &self,
        queue: &crate::broker::definitions::QueueDefinition,
    ) -> (bool, Option<Durability>) {
        let (spec, defaults) = self.spec_and_defaults(queue);
        match Queue::rules(&spec, &defaults) {
            Ok((kind, settings)) => (kind.keeps_all, settings.durability),
            Err(_) => (false, None),
        }
    }
}

const fn keeps(lasts: bool, keeps_all: bool) -> Keeps {
    match (lasts, keeps_all) {
        (false, _) => Keeps::Nothing,
        (true, false) => Keeps::Persistent,
        (true, true) => Keeps::All,
    }
}
