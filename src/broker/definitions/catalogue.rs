//! From the records of all shards' logs to what is there. May import `definitions`, `exchange`.
//!
//! The result depends on the order of records only where one log gives it: records of different
//! shards of one boot may come in any order, since what they say about one thing stands in one log;
//! and whatever is gone is gone, wherever that is read. A record may come twice, and a checkpoint
//! may come before the records it was made of.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ringmq_shards::log::QueueUid;

use super::{
    BindingDefinition, Definition, ExchangeDefinition, ExchangeUid, LinkDefinition, NamedExchange,
    QueueDefinition,
};
use crate::broker::exchange::canonical::spell_arguments;
use crate::broker::topology::is_predeclared;
use crate::value::Table;

/// What makes two bindings from one exchange the same: the key, and the arguments as spelled.
type Identity = (Box<str>, NamedExchange, Box<str>, Option<Box<[u8]>>);

fn identity(vhost: &str, from: &NamedExchange, key: &str, arguments: &Table) -> Identity {
    (vhost.into(), from.clone(), key.into(), spell_arguments(arguments))
}

/// Takes records in: those of an earlier boot before those of a later one, those of one shard in
/// the order of its log.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    exchanges: BTreeMap<ExchangeUid, ExchangeDefinition>,
    exchanges_gone: BTreeSet<ExchangeUid>,
    links: BTreeMap<(Identity, NamedExchange), LinkDefinition>,
    queues: BTreeMap<QueueUid, QueueDefinition>,
    queues_gone: BTreeSet<QueueUid>,
    bindings: BTreeMap<(QueueUid, Identity), BindingDefinition>,
}

impl Replay {
    /// The next record.
    pub(crate) fn apply(&mut self, definition: Definition) {
        match definition {
            Definition::Exchange(exchange) => {
                if !self.exchanges_gone.contains(&exchange.uid) {
                    self.exchanges.insert(exchange.uid, exchange);
                }
            }
            Definition::ExchangeGone(uid) => {
                self.exchanges.remove(&uid);
                self.exchanges_gone.insert(uid);
            }
            Definition::Link { link, on } => {
                let from = identity(&link.vhost, &link.source, &link.key, &link.arguments);
                let which = (from, link.destination.clone());
                if on {
                    self.links.insert(which, link);
                } else {
                    self.links.remove(&which);
                }
            }
            Definition::Queue(queue) => {
                if !self.queues_gone.contains(&queue.uid) {
                    self.queues.insert(queue.uid, queue);
                }
            }
            Definition::QueueGone(uid) => {
                self.queues.remove(&uid);
                self.queues_gone.insert(uid);
            }
            Definition::Binding { binding, on } => {
                let BindingDefinition { queue, vhost, exchange, key, arguments } = &binding;
                let which = (*queue, identity(vhost, exchange, key, arguments));
                if on {
                    self.bindings.insert(which, binding);
                } else {
                    self.bindings.remove(&which);
                }
            }
        }
    }

    /// What is there after the last record. Bindings whose exchange or queue is not there go (those
    /// of what was deleted stand in no other record), and so does the older one of two with the
    /// same name, which only a damaged log can hold; queues that are leaving have no name.
    pub(crate) fn finish(self) -> Catalogue {
        let Self { mut exchanges, mut links, mut queues, mut bindings, .. } = self;
        let before = exchanges.len() + links.len() + queues.len() + bindings.len();
        // Walked in order of uid, so that the latest of a name is what remains.
        let names = exchanges.values().map(|e| (name_of(&e.vhost, &e.spec.name), e.uid));
        let latest: HashMap<_, _> = names.collect();
        exchanges.retain(|uid, e| latest.get(&name_of(&e.vhost, &e.spec.name)) == Some(uid));
        let names = queues.values().filter(|q| !q.is_leaving());
        let latest: HashMap<_, _> = names.map(|q| (name_of(&q.vhost, &q.name), q.uid)).collect();
        queues.retain(|uid, q| {
            q.is_leaving() || latest.get(&name_of(&q.vhost, &q.name)) == Some(uid)
        });
        let is_exchange = |vhost: &str, at: &NamedExchange| {
            if at.uid.is_predeclared() {
                return is_predeclared(&at.name);
            }
            exchanges.get(&at.uid).is_some_and(|found| *found.vhost == *vhost)
        };
        links.retain(|_, link| {
            is_exchange(&link.vhost, &link.source) && is_exchange(&link.vhost, &link.destination)
        });
        bindings.retain(|_, binding| {
            let queue = queues.get(&binding.queue);
            queue.is_some_and(|queue| queue.vhost == binding.vhost)
                && is_exchange(&binding.vhost, &binding.exchange)
        });
        let after = exchanges.len() + links.len() + queues.len() + bindings.len();
        Catalogue {
            exchanges: exchanges.into_values().collect(),
            links: links.into_values().collect(),
            queues: queues.into_values().collect(),
            bindings: bindings.into_values().collect(),
            dangling: (before - after) as u64,
        }
    }
}

fn name_of(vhost: &str, name: &str) -> (Box<str>, Box<str>) {
    (vhost.into(), name.into())
}

/// Everything durable there is, on all shards. Every list in an order that depends on nothing else.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Catalogue {
    exchanges: Vec<ExchangeDefinition>,
    links: Vec<LinkDefinition>,
    queues: Vec<QueueDefinition>,
    bindings: Vec<BindingDefinition>,
    dangling: u64,
}

impl Catalogue {
    /// What a sequence of records leaves.
    #[cfg(test)]
    pub(crate) fn of(definitions: impl IntoIterator<Item = Definition>) -> Self {
        let mut replay = Replay::default();
        definitions.into_iter().for_each(|definition| replay.apply(definition));
        replay.finish()
    }

    /// Exchanges, oldest first, without the predeclared ones.
    pub(crate) fn exchanges(&self) -> &[ExchangeDefinition] {
        &self.exchanges
    }

    /// Bindings between exchanges.
    pub(crate) fn links(&self) -> &[LinkDefinition] {
        &self.links
    }

    /// Queues, oldest boot first.
    pub(crate) fn queues(&self) -> &[QueueDefinition] {
        &self.queues
    }

    /// Bindings of queues, queue by queue.
    pub(crate) fn bindings(&self) -> &[BindingDefinition] {
        &self.bindings
    }

    /// Records that count no more though nothing said so: mostly bindings of what was deleted.
    pub(crate) fn dangling(&self) -> u64 {
        self.dangling
    }

    /// Whether this queue is there.
    pub(crate) fn has_queue(&self, uid: QueueUid) -> bool {
        self.queues.binary_search_by_key(&uid, |queue| queue.uid).is_ok()
    }

    /// Whether this exchange is there, and not from the start.
    pub(crate) fn has_exchange(&self, uid: ExchangeUid) -> bool {
        self.exchanges.binary_search_by_key(&uid, |exchange| exchange.uid).is_ok()
    }

    /// Virtual hosts that something is in, each once.
    pub fn vhosts(&self) -> impl Iterator<Item = &str> {
        let of_queues = self.queues.iter().map(|queue| &*queue.vhost);
        let of_exchanges = self.exchanges.iter().map(|exchange| &*exchange.vhost);
        of_queues.chain(of_exchanges).collect::<BTreeSet<&str>>().into_iter()
    }
}
