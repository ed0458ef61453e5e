//! From an exchange and a key to the queues of this shard and the shards that have an interest:
//! a walk over exchange-to-exchange bindings and alternate exchanges, and the memory of the last
//! walk per publisher. May import `exchange`, `ids`.

use std::cell::OnceCell;
use std::rc::Rc;

use super::Broker;
use super::exchange::canonical::mix;
use super::exchange::found::Found;
use super::exchange::shard_set::ShardSet;
use super::exchange::{Headers, Routed};
use super::meeting::{Meeting, There, own_topic};
use crate::ids::{ExchangeId, QueueId, QueueRef, ShardId, VhostId};
use crate::limits;
use crate::message::{Message, PropertyReader, ProtocolTag};
use crate::value::{Table, Value};

/// Where a message goes, as one shard sees it.
#[derive(Debug, Clone)]
pub(super) struct Route {
    /// Where `by_name` looks.
    pub(super) vhost: VhostId,
    /// Name that messages on this route carry.
    pub(super) name: Option<Rc<str>>,
    /// The exchange that other shards route through again; `None` for the default exchange.
    pub(super) exchange: Option<ExchangeId>,
    /// Queues of this shard, each once.
    pub(super) queues: Vec<QueueId>,
    /// Other shards with an interest.
    pub(super) shards: ShardSet,
    /// Queues picked by name on other shards.
    pub(super) named: Vec<QueueRef>,
    /// What goes to members of groups.
    pub(super) groups: Option<Box<GroupRoute>>,
    /// The number by which exchanges picked, if one did.
    pub(super) choice: Option<u64>,
    /// Queues of other shards that may or may not exist (default exchange).
    pub(super) by_name: Vec<(ShardId, Box<str>)>,
    /// It holds for messages that do not name their topic themselves.
    pub(super) names_topic: bool,
}

/// Where copies of a message for groups go.
#[derive(Debug, Clone)]
pub(super) struct GroupRoute {
    /// The exchange of the groups.
    pub(super) exchange: ExchangeId,
    /// The key of the copies, if it is not the message's own.
    pub(super) topic: Option<Box<str>>,
    /// Members, each picked for its group, with what its copy names as its exchange.
    pub(super) picked: Vec<(QueueRef, Rc<str>)>,
}

impl Default for Route {
    fn default() -> Self {
        Self {
            vhost: VhostId(0),
            name: None,
            exchange: None,
            queues: Vec::new(),
            shards: ShardSet::EMPTY,
            named: Vec::new(),
            groups: None,
            choice: None,
            by_name: Vec::new(),
            names_topic: false,
        }
    }
}

impl Route {
    pub(super) fn clear(&mut self) {
        self.vhost = VhostId(0);
        self.name = None;
        self.exchange = None;
        self.queues.clear();
        self.shards = ShardSet::default();
        self.named.clear();
        self.groups = None;
        self.choice = None;
        self.by_name.clear();
        self.names_topic = false;
    }

    /// Nobody takes it.
    pub(super) fn is_nowhere(&self) -> bool {
        self.queues.is_empty() && self.is_local()
    }

    /// The queue and the exchange's name, if it leads to just one queue and that is here.
    pub(super) fn only_queue(&self) -> Option<(QueueId, Rc<str>)> {
        match (&*self.queues, &self.name) {
            ([queue], Some(name)) if self.is_local() => Some((*queue, name.clone())),
            _ => None,
        }
    }

    /// No other shard is involved.
    pub(super) fn is_local(&self) -> bool {
        self.shards.is_empty()
            && self.named.is_empty()
            && self.groups.is_none()
            && self.by_name.is_empty()
    }
}

/// The last route of one publisher: routing is a function of exchange, key and topology unless an
/// exchange reads more of the message, so comparing two short strings replaces hashing and walking.
#[derive(Debug, Default)]
pub(super) struct RouteCache {
    exchange: String,
    key: String,
    /// The topology it was made under; 0: not valid.
    revision: u64,
    pub(super) route: Route,
}

/// Equality of short names, eight octets at a time. The library's comparison loads a masked vector,
/// which waits for the octets to arrive as a whole: 35 ns of a publish on an AVX-512 machine.
fn same(a: &str, b: &str) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let (a_words, a_rest) = a.as_bytes().as_chunks::<8>();
    let (b_words, b_rest) = b.as_bytes().as_chunks::<8>();
    a_words.iter().zip(b_words).all(|(a, b)| u64::from_ne_bytes(*a) == u64::from_ne_bytes(*b))
        && a_rest.iter().zip(b_rest).all(|(a, b)| a == b)
}

impl RouteCache {
    pub(super) fn fits(&self, exchange: &str, key: &str, revision: u64) -> bool {
        self.revision == revision && same(&self.key, key) && same(&self.exchange, exchange)
    }

    /// [`Self::fits`] for a message with these properties.
    pub(super) fn fits_all(
        &self,
        (exchange, key): (&str, &str),
        revision: u64,
        readers: &[PropertyReader],
        (protocol, properties): (ProtocolTag, &[u8]),
    ) -> bool {
        let reader = || readers.get(usize::from(protocol.0)).copied();
        self.fits(exchange, key, revision)
            && !(self.route.names_topic && own_topic(reader(), properties).is_some())
    }

    pub(super) fn forget(&mut self) {
        self.revision = 0;
    }

    pub(super) fn keep(&mut self, exchange: &str, key: &str, revision: u64) {
        self.exchange.clear();
        self.exchange.push_str(exchange);
        self.key.clear();
        self.key.push_str(key);
        self.revision = revision;
    }
}

/// Reused between walks, so that none allocates.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    found: Found,
    /// Exchanges on the way, nearest first, each with its hops and whether the key is translated.
    open: Vec<(ExchangeId, usize, bool)>,
}

/// What a walk reads of the message.
pub(super) struct Subject<'a> {
    pub(super) key: &'a str,
    /// Chosen by the sender besides its routing key.
    pub(super) more_keys: &'a [&'a str],
    pub(super) reader: Option<PropertyReader>,
    pub(super) properties: &'a [u8],
    /// Drawn per message and the same on every shard it passes.
    pub(super) choice: u64,
}

/// Headers of a message, decoded when an exchange asks for them the first time.
pub(super) struct LazyHeaders<'a> {
    reader: Option<PropertyReader>,
    properties: &'a [u8],
    table: OnceCell<Table>,
}

impl<'a> LazyHeaders<'a> {
    pub(super) fn new(reader: Option<PropertyReader>, properties: &'a [u8]) -> Self {
        Self { reader, properties, table: OnceCell::new() }
    }
}

impl Headers for LazyHeaders<'_> {
    fn headers(&self) -> &Table {
        self.table.get_or_init(|| {
            self.reader.map_or_else(Table::default, |r| (r.headers)(self.properties))
        })
    }

    fn property(&self, name: &str) -> Option<Value> {
        self.reader.and_then(|r| (r.property)(self.properties, name))
    }
}

impl Broker {
    /// Walks from `entry`; adds to `route`. True: the result depends on nothing but the key.
    /// `pick`: exchanges that pick one queue do so (only on the publisher's shard; the picked
    /// queue travels by name).
    pub(super) fn walk(
        &mut self,
        entry: ExchangeId,
        subject: &Subject<'_>,
        pick: bool,
        route: &mut Route,
    ) -> bool {
        let mut scratch = std::mem::take(&mut self.scratch);
        let headers = LazyHeaders::new(subject.reader, subject.properties);
        let mut key_only = true;
        let mut bindings_matched = 0_usize;
        self.walks += 1;
        scratch.open.clear();
        scratch.open.push((entry, 0, false));
        let mut translated: Option<String> = None;
        let mut at = 0;
        // Nearest first, so that every shard leaves out the same ones behind too many hops.
        while let Some((id, hops, under)) = scratch.open.get(at).copied() {
            at += 1;
            let Some(exchange) = self.exchanges.get(&id) else { continue };
            if exchange.walked.replace(self.walks) == self.walks || hops > limits::EXCHANGE_HOPS_MAX
            {
                continue;
            }
            let choice = mix(subject.choice ^ u64::from(id.0));
            let routed = |key| Routed { key, headers: &headers, choice, in_turn: false };
            key_only &= exchange.bindings.depends_on_key_only();
            let found = &mut scratch.found;
            found.clear();
            let first = translated.as_deref().filter(|_| under).unwrap_or(subject.key);
            let more = subject.more_keys.iter().copied().filter(|_| !under);
            let mut keys = std::iter::once(first).chain(more);
            let picks = exchange.bindings.picks_one();
            if picks {
                key_only = false;
                route.choice = Some(subject.choice);
                if let Some(key) = keys.next() {
                    exchange.bindings.route(&routed(key), found);
                }
            } else {
                for key in keys {
                    exchange.bindings.route(&routed(key), found);
                }
            }
            if let Some(groups) = exchange.groups.filter(|_| pick) {
                key_only &= !self.pick_members(groups, &routed(first), under, route);
            }
            if let Some(meeting) = exchange.meeting.filter(|_| !under)
                && let Some((key, by_key)) = self.meet(meeting, subject, route)
            {
                key_only &= by_key;
                translated = Some(key);
                scratch.open.push((meeting.with, hops, true));
            }
            if found.is_empty() {
                if let Some(alternate) = &exchange.alternate {
                    let names = self.vhosts.get(exchange.vhost.0 as usize).map(|v| &v.exchanges);
                    if let Some(next) = names.and_then(|names| names.get(alternate)) {
                        scratch.open.push((*next, hops + 1, under));
                    }
                }
                continue;
            }
            bindings_matched += found.queues.len();
            route.queues.extend_from_slice(&found.queues);
            route.shards.merge(&found.shards);
            scratch.open.extend(found.exchanges.iter().map(|next| (*next, hops + 1, under)));
            if pick {
                for queue in &found.named {
                    if queue.shard == self.shard {
                        bindings_matched += 1;
                        route.queues.push(queue.queue);
                    } else {
                        route.named.push(*queue);
                    }
                }
            }
        }
        if bindings_matched > 1 {
            route.queues.sort_unstable();
            route.queues.dedup();
        }
        if route.named.len() > 1 {
            route.named.sort_unstable();
            route.named.dedup();
        }
        self.scratch = scratch;
        key_only
    }

    /// The key at the other exchange, and whether it follows from the key alone. `None`: nobody is
    /// there, or the message does not exist there.
    fn meet(
        &self,
        meeting: Meeting,
        subject: &Subject<'_>,
        route: &mut Route,
    ) -> Option<(String, bool)> {
        if !self.has_bindings(meeting.with) {
            return None;
        }
        let own = match meeting.there {
            There::Topics => {
                route.names_topic = true;
                own_topic(subject.reader, subject.properties)
            }
            There::Keys => None,
        };
        match own {
            Some(own) => Some((own.into(), false)),
            None => self.translate(meeting.there, subject.key).map(|key| (key, true)),
        }
    }

    /// Picks a member of each group of this exchange that matches; false: none does.
    fn pick_members(
        &self,
        exchange: ExchangeId,
        routed: &Routed<'_>,
        translated: bool,
        route: &mut Route,
    ) -> bool {
        let groups = self.exchanges.get(&exchange).filter(|entry| !entry.bindings.is_empty());
        let mut picked = Vec::new();
        if let Some(groups) = groups {
            let Routed { key, headers, choice, .. } = *routed;
            let in_turn = self.limits.members_in_turn && !self.asks_only;
            groups.bindings.route_groups(&Routed { key, headers, choice, in_turn }, &mut picked);
        }
        if picked.is_empty() {
            return false;
        }
        let topic = translated.then(|| routed.key.into());
        route.groups = Some(Box::new(GroupRoute { exchange, topic, picked }));
        true
    }

    /// Whether messages that come by an exchange may go anywhere from there.
    fn has_bindings(&self, id: ExchangeId) -> bool {
        let Some(exchange) = self.exchanges.get(&id) else { return false };
        let groups = exchange.groups.and_then(|id| self.exchanges.get(&id));
        !exchange.bindings.is_empty() || groups.is_some_and(|groups| !groups.bindings.is_empty())
    }

    /// The reader of a message's property block.
    pub(super) fn reader_of(&self, message: &Message) -> Option<PropertyReader> {
        self.readers.get(usize::from(message.traits().protocol.0)).copied()
    }

    /// A number that peers need not be unable to guess (xorshift64*).
    pub(super) fn random(&mut self) -> u64 {
        let mut x = self.seed;
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.seed = x;
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}
