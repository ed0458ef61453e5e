//! The broker core of one shard: vhosts, exchanges, queues, consumers, and the connections whose
//! home it is. It speaks no protocol, has no socket and no clock: calls come in with the time as an
//! argument, effects go to the connections' events and to the post for other shards. So N of them
//! run in one thread under a test as well as each on its own core.
//!
//! One [`Broker`] per shard. May import `command`, `message`, `value`, `ids`, `limits`, `auth`, and of
//! `ringmq_shards` only the store of deadlines.
//!
//! The order within a turn: calls ([`Broker::publish`], [`Broker::execute`], [`Broker::settle`],
//! [`Broker::receive`], [`Broker::on_time`]) change tables and mark queues; [`Broker::end_turn`]
//! delivers from the marked queues; [`Broker::collect`] hands out what has to cross to other
//! shards; [`Broker::take_ready`] says which connections have events.

pub(crate) mod binding;
mod calls;
mod catch_up;
mod clockwork;
mod connections;
pub(crate) mod consumer;
pub(crate) mod definitions;
mod deliver;
mod ends;
pub(crate) mod exchange;
mod fetch;
mod few_map;
mod flow;
mod footprint;
mod interest;
pub(crate) mod mail;
mod meeting;
mod owner;
mod pending;
pub mod placement;
mod post;
mod publish;
pub(crate) mod queue;
mod quotas;
mod receive;
mod record;
mod reply;
mod retained;
mod rights;
mod route;
mod settle;
mod shared_credit;
mod slots;
mod storage;
mod subscriber;
mod tally;
#[cfg(test)]
mod tests;
pub(crate) mod topic_tree;
mod topology;
mod vhost;
mod vhosts;

pub use definitions::catalogue::Catalogue;
pub use mail::Envelope;
pub use quotas::Most;
pub use storage::StorageSetup;
pub(crate) use storage::entry;
pub use storage::queues::ShardRemains;
pub use storage::recovery::{Recovery, RecoveryReport};
pub use storage::shelf::Sizes;
pub use vhosts::Outside;

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use ringmq_shards::Timers;

use self::calls::Call;
use self::connections::{Connection, Entered};
use self::footprint::Footprint;
use self::mail::{CallId, Mail, PendingId};
use self::owner::QueueEntry;
use self::pending::Pending;
use self::placement::Placement;
use self::post::Post;
use self::queue::{Effect, QueueDefaults};
use self::quotas::Quotas;
use self::route::{RouteCache, Scratch};
use self::slots::Slots;
use self::subscriber::apart::check_groups;
use self::subscriber::once::Onces;
use self::subscriber::session::Sessions;
use self::subscriber::wills::Wills;
use self::topology::{ExchangeEntry, KEEPER};
use self::vhost::Vhost;
use crate::auth::{self, Access, Resource};
use crate::command::{Answer, Command, Entity, Event, Now, Refusal};
use crate::durability::Durability;
use crate::ids::{
    ChannelId, ChannelRef, ConnectionId, ConnectionRef, ConsumerKey, ExchangeId, QueueId, ShardId,
    VhostId,
};
use crate::limits;
use crate::message::PropertyReader;
use crate::properties::Crossing;
use crate::stats::Counters;
use crate::subscriber::FILTERS;
use crate::value::Value;

/// The names of all types of exchange.
pub fn exchange_kinds() -> impl Iterator<Item = &'static str> {
    exchange::EXCHANGE_TYPES.iter().map(|kind| kind.name)
}

/// What a broker is made with; the same on every shard but for its number.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Which shard this is.
    pub shard: ShardId,
    /// Who owns what.
    pub placement: Placement,
    /// Names of the virtual hosts, in the same order on every shard.
    pub vhosts: Vec<Box<str>>,
    /// Readers of property blocks, by protocol tag.
    pub readers: Vec<PropertyReader>,
    /// A number of this process that peers cannot know.
    pub secret: [u8; 32],
    /// Limits of the node.
    pub limits: NodeLimits,
    /// How often the data directory was used before: uids of another start never come again.
    pub boot: u32,
    /// `None`: nothing outlives the process.
    pub storage: Option<StorageSetup>,
    /// What durable queues promise in virtual hosts that have a promise of their own.
    pub durabilities: Vec<(String, Durability)>,
}

/// Limits of the node that operators set.
#[derive(Debug, Clone)]
pub struct NodeLimits {
    /// Octets of messages in memory above which publishers wait, for all shards together.
    pub memory_bytes_max: u64,
    /// Queues in all, within a 256th.
    pub queues_max: usize,
    /// Exchanges in all.
    pub exchanges_max: usize,
    /// Bindings of queues in all, within a 256th.
    pub bindings_max: usize,
    /// Unsettled deliveries of a consumer that asks for no limit.
    pub prefetch_default: u32,
    /// Longest time a delivery may stay unsettled, where the queue does not say, milliseconds.
    pub consumer_timeout_ms: Option<u64>,
    /// What durable queues promise where nothing else is said.
    pub durability: Durability,
    /// Topics with a retained message, per virtual host; each shard has its share.
    pub retained_max: u64,
    /// Octets of retained messages, per virtual host; each shard has its share.
    pub retained_bytes_max: u64,
    /// Of a group, members of the publisher's shard come first.
    pub near_members_first: bool,
    /// Of a group, members have their turns; otherwise they are drawn.
    pub members_in_turn: bool,
}

/// The broker core of one shard.
#[derive(Debug)]
pub struct Broker {
    shard: ShardId,
    placement: Placement,
    limits: NodeLimits,
    queue_defaults: QueueDefaults,
    readers: Vec<PropertyReader>,
    secret: [u8; 32],

    vhosts: Vec<Vhost>,
    exchanges: HashMap<ExchangeId, ExchangeEntry, ahash::RandomState>,
    /// One more than the highest exchange seen.
    exchanges_seen: u32,
    /// Keeper: exchanges on their way out.
    leaving: Vec<ExchangeId>,
    /// Sentences about exchanges whose declaration has not arrived yet.
    early: Vec<(ShardId, Mail)>,
    /// Raised by whatever may change a route; cached routes carry it.
    revision: u64,

    queues: Slots<QueueId, QueueEntry>,
    /// Bindings of this shard's queues.
    bindings: u64,
    footprints: HashMap<ConnectionRef, Footprint, ahash::RandomState>,
    connections: Slots<ConnectionId, Connection>,
    replies: HashMap<Box<str>, (ChannelRef, ConsumerKey), ahash::RandomState>,

    quotas: Quotas,
    calls: Slots<CallId, Call>,
    /// What was asked for from outside the shards: how often, and what has come to its end.
    outside_seen: u64,
    /// When the process was found to have stood still last.
    resumed_ms: Option<u64>,
    outside_done: Vec<Outside>,
    /// Open calls that told other shards something.
    telling: u32,
    pending: Slots<PendingId, Pending>,
    post: Post,
    /// Last routes of mailed messages, per sending shard.
    lane_routes: Vec<RouteCache>,

    /// Nothing outlives the process without.
    storage: Option<Box<storage::Storage>>,
    durabilities: Vec<(String, Durability)>,
    /// Keeper: shards that need nothing of earlier boots any more.
    adopters: u32,
    /// Something of earlier boots is not understood and must stay.
    keeps_earlier: bool,
    boot: u32,
    /// Keeper: uids of durable exchanges given in this boot.
    exchange_uids: u32,
    /// Uids of durable queues given in this boot.
    queue_uids: u32,
    memory: flow::Memory,
    paused: Vec<ConnectionId>,
    catch_up: catch_up::CatchUp,
    timers: Timers<clockwork::Alarm>,
    delayed: clockwork::Delayed,
    sessions: Sessions,
    retained: retained::Retained,
    wills: Wills,
    onces: Onces,

    dirty: Vec<QueueId>,
    effects: VecDeque<(QueueId, VhostId, Effect)>,
    effects_now: Vec<Effect>,
    unneeded: Vec<deliver::UnneededHere>,
    ready: Vec<ConnectionId>,
    /// Lists of events without an owner.
    spare_events: Vec<Vec<Event>>,
    expired: Vec<clockwork::Alarm>,
    scratch: Scratch,
    /// The walk under way is a question: nobody's turn passes.
    asks_only: bool,
    /// Walks over exchanges so far.
    walks: u64,
    counters: Counters,
    crossing: Crossing,
    no_name: Rc<str>,
    last_name: Rc<str>,
    seed: u64,
}

impl Broker {
    /// A broker with its virtual hosts and their predeclared exchanges.
    pub fn new(setup: Setup) -> Self {
        let shards = setup.placement.shards();
        let no_name: Rc<str> = Rc::from("");
        let mut seed = [0_u8; 8];
        let _ = getrandom::fill(&mut seed);
        let stored = |to| Box::new(storage::Storage::new(setup.shard, to));
        let mut broker = Self {
            shard: setup.shard,
            placement: setup.placement,
            storage: setup.storage.as_ref().map(stored),
            durabilities: setup.durabilities,
            adopters: 0,
            keeps_earlier: false,
            boot: setup.boot,
            exchange_uids: 0,
            queue_uids: 0,
            queue_defaults: QueueDefaults {
                // 0 asks for no limit of its own; there always is one (abuse row 31).
                prefetch: match setup.limits.prefetch_default {
                    0 => limits::UNSETTLED_PER_CHANNEL_MAX,
                    prefetch => prefetch,
                },
                consumer_timeout_ms: setup.limits.consumer_timeout_ms,
                durability: setup.limits.durability,
                ..QueueDefaults::default()
            },
            retained: retained::Retained::new(
                &setup.vhosts,
                setup.placement,
                setup.shard,
                (setup.limits.retained_max, setup.limits.retained_bytes_max),
            ),
            memory: flow::Memory::new(shards, setup.limits.memory_bytes_max),
            limits: setup.limits,
            readers: setup.readers,
            secret: setup.secret,
            vhosts: setup.vhosts.iter().map(|name| Vhost::new(name)).collect(),
            exchanges: HashMap::default(),
            exchanges_seen: 0,
            leaving: Vec::new(),
            early: Vec::new(),
            revision: 1,
            queues: Slots::default(),
            bindings: 0,
            footprints: HashMap::default(),
            connections: Slots::default(),
            replies: HashMap::default(),
            quotas: Quotas::default(),
            calls: Slots::default(),
            outside_seen: 0,
            resumed_ms: None,
            outside_done: Vec::new(),
            telling: 0,
            pending: Slots::default(),
            post: Post::new(setup.shard, shards),
            lane_routes: (0..shards).map(|_| RouteCache::default()).collect(),
            paused: Vec::new(),
            catch_up: catch_up::CatchUp::default(),
            timers: Timers::default(),
            delayed: clockwork::Delayed::default(),
            sessions: Sessions::default(),
            wills: Wills::default(),
            onces: Onces::default(),
            dirty: Vec::new(),
            effects: VecDeque::new(),
            effects_now: Vec::new(),
            unneeded: Vec::new(),
            ready: Vec::new(),
            spare_events: Vec::new(),
            expired: Vec::new(),
            scratch: Scratch::default(),
            asks_only: false,
            walks: 0,
            counters: Counters::default(),
            crossing: Crossing::default(),
            last_name: no_name.clone(),
            no_name,
            seed: u64::from_le_bytes(seed) | 1,
        };
        broker.predeclare();
        broker
    }

    /// Which shard this is.
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// Who owns what.
    pub fn placement(&self) -> Placement {
        self.placement
    }

    /// Starts a command for a channel. `Some`: it is done. `None`: an `Event::Answer` for this
    /// channel follows; the session starts nothing else on the channel until then.
    pub fn execute(
        &mut self,
        connection: ConnectionId,
        channel: ChannelId,
        command: Command,
        now: Now,
    ) -> Option<Answer> {
        let at = self.at(connection, channel);
        let Some(entered) = self.connections.get(connection).and_then(|c| c.entered.clone()) else {
            return Some(Answer::Refused(Refusal::Unavailable("no virtual host".into())));
        };
        if let Command::OpenSession(open) = &command {
            self.know_client(connection, &open.client);
        }
        let ends = matches!(command, Command::CloseChannel | Command::CloseConnection);
        if !ends && self.is_leaving(entered.vhost) {
            let refusal = Refusal::NotFound(Entity::Vhost, (&*entered.vhost_name).into());
            return Some(Answer::Refused(refusal));
        }
        let permitted = self.permit_command(&entered, &command);
        if let Err(refusal) = permitted.and_then(|()| check_groups(&command)) {
            return Some(Answer::Refused(refusal));
        }
        if let Command::ReadRetained { filter, pattern: None, .. } = &command
            && let Err(refusal) = self.permit_filter(connection, filter)
        {
            return Some(Answer::Refused(refusal));
        }
        let owner = match &command {
            Command::CloseChannel => {
                self.channel_closed(connection, channel);
                self.count_closed_channel(connection);
                return self.close(at, Some(channel), now);
            }
            Command::CloseConnection => return self.close(at, None, now),
            Command::DeclareQueue { name, .. } if name.starts_with(reply::PREFIX) => {
                return Some(self.look_at_reply_address(name));
            }
            Command::ConsumeReplies { key } => return Some(self.consume_replies(at, *key)),
            Command::DeclareExchange { passive: true, name, .. } => {
                match self.exchange_id(entered.vhost, name) {
                    // It may not be durable yet: the keeper knows.
                    Some(id) if self.is_kept(id) => KEEPER,
                    Some(_) => return Some(Answer::Done),
                    None => {
                        let refusal = Refusal::NotFound(Entity::Exchange, name.clone());
                        return Some(Answer::Refused(refusal));
                    }
                }
            }
            Command::DeclareExchange { .. }
            | Command::DeleteExchange { .. }
            | Command::BindExchange { .. }
            | Command::UnbindExchange { .. } => KEEPER,
            Command::OpenSession(_) | Command::Subscribe { .. } | Command::Unsubscribe { .. } => {
                self.shard
            }
            Command::ReadRetained { filter, from, .. } => {
                self.retained_owner(entered.vhost, filter, *from)
            }
            Command::Cancel { consumer } => {
                self.consumer_stops(connection, channel, *consumer);
                consumer.queue.shard
            }
            Command::DeclareQueue { name, .. } if name.is_empty() => self.home_of_new_queue(),
            Command::DeclareQueue { name: queue, .. }
            | Command::DeleteQueue { name: queue, .. }
            | Command::PurgeQueue { name: queue }
            | Command::BindQueue { queue, .. }
            | Command::UnbindQueue { queue, .. }
            | Command::Get { queue, .. } => self.placement.owner(&entered.vhost_name, queue),
            Command::Consume(consume) => {
                self.consumer_starts(connection, channel, consume.key, &consume.queue);
                self.placement.owner(&entered.vhost_name, &consume.queue)
            }
        };
        let limited = self.is_limited(connection, channel);
        if let Some(entry) = self.connections.get_mut(connection) {
            entry.touched.insert(owner);
        }
        if owner == self.shard {
            self.request(at, entered.vhost, command, limited, now);
        } else {
            let (vhost, command) = (entered.vhost, Box::new(command));
            self.post.send(owner, Mail::Request { at, vhost, command, limited });
        }
        None
    }

    /// A queue whose name the broker makes up lives here, if queues live here at all.
    fn home_of_new_queue(&self) -> ShardId {
        if self.placement.owns_queues(self.shard) { self.shard } else { KEEPER }
    }

    fn permit(
        &self,
        entered: &Entered,
        access: Access,
        entity: Entity,
        name: &str,
    ) -> Result<(), Refusal> {
        let vhost = &*entered.vhost_name;
        // Whoever has a session is asked for each topic as well: `permit_topic`.
        if access == Access::Write && name == FILTERS && rights::may_publish(entered) {
            return Ok(());
        }
        let resource = match entity {
            Entity::Exchange => Resource::Exchange { vhost, name },
            Entity::Queue => Resource::Queue { vhost, name },
            Entity::Vhost => return Ok(()),
        };
        auth::authorise(&entered.identity, access, resource).map_err(|_| Refusal::AccessRefused {
            access: access.name(),
            entity,
            name: name.into(),
        })
    }

    /// The one place where a command meets permissions (amqp.md L61, abuse row 41).
    fn permit_command(&self, entered: &Entered, command: &Command) -> Result<(), Refusal> {
        use Access::{Configure, Read, Write};
        use Entity::{Exchange, Queue};
        let permit = |access, entity, name: &str| self.permit(entered, access, entity, name);
        match command {
            Command::DeclareExchange { name, passive, arguments, .. } => {
                if *passive {
                    // Whoever has any right on it may look whether it is there.
                    return permit(Configure, Exchange, name)
                        .or_else(|_| permit(Write, Exchange, name))
                        .or_else(|_| permit(Read, Exchange, name));
                }
                if name.is_empty() {
                    return Err(Refusal::DefaultExchange);
                }
                permit(Configure, Exchange, name)?;
                if let Some(alternate) = topology::alternate_of(arguments) {
                    permit(Read, Exchange, name)?;
                    permit(Write, Exchange, &alternate)?;
                }
                Ok(())
            }
            Command::DeleteExchange { name, .. } => {
                if name.is_empty() {
                    return Err(Refusal::DefaultExchange);
                }
                permit(Configure, Exchange, name)
            }
            Command::BindExchange { source, destination, key, .. }
            | Command::UnbindExchange { source, destination, key, .. } => {
                if source.is_empty() || destination.is_empty() {
                    return Err(Refusal::DefaultExchange);
                }
                permit(Write, Exchange, destination)?;
                permit(Read, Exchange, source)?;
                self.permit_keys(entered, Read, source, [&**key])
            }
            Command::DeclareQueue { name, passive, arguments, .. } => {
                if *passive {
                    return permit(Configure, Queue, name)
                        .or_else(|_| permit(Write, Queue, name))
                        .or_else(|_| permit(Read, Queue, name));
                }
                let shown = if name.is_empty() { "amq.gen-" } else { name };
                permit(Configure, Queue, shown)?;
                if let Some(dead) = arguments.get("x-dead-letter-exchange").and_then(Value::as_text)
                {
                    permit(Read, Queue, shown)?;
                    permit(Write, Exchange, dead)?;
                }
                Ok(())
            }
            Command::DeleteQueue { name, .. } => permit(Configure, Queue, name),
            Command::PurgeQueue { name } => permit(Read, Queue, name),
            Command::BindQueue { queue, exchange, key, .. }
            | Command::UnbindQueue { queue, exchange, key, .. } => {
                if exchange.is_empty() {
                    return Err(Refusal::DefaultExchange);
                }
                permit(Write, Queue, queue)?;
                permit(Read, Exchange, exchange)?;
                self.permit_keys(entered, Read, exchange, [&**key])
            }
            Command::Consume(consume) => permit(Read, Queue, &consume.queue),
            Command::Get { queue, .. } => permit(Read, Queue, queue),
            Command::Cancel { .. }
            | Command::ConsumeReplies { .. }
            | Command::OpenSession(_)
            // Filter by filter, so that each has its answer: `permit_filter`.
            | Command::Subscribe { .. }
            | Command::Unsubscribe { .. }
            | Command::ReadRetained { .. }
            | Command::CloseChannel
            | Command::CloseConnection => Ok(()),
        }
    }

    /// Notes that a queue may have something to deliver.
    fn mark_dirty(&mut self, id: QueueId) {
        if let Some(entry) = self.queues.get_mut(id)
            && !entry.dirty
        {
            entry.dirty = true;
            self.dirty.push(id);
        }
    }
}
