//! What the tests of the queue share: an outlet that notes what it gets, and short ways to say
//! things.

use std::collections::HashSet;
use std::rc::Rc;

use super::arguments::QUEUE_TYPE;
use super::deliver::{Fetched, Taken};
use super::memory::MemoryStore;
use super::slow_store::{Disk, SlowStore};
use super::store::Store;
use super::unsettled::SETTLED_AT_ONCE;
use super::{DeadLetter, Effect, More, OutDelivery, Outlet, Queue, QueueDefaults, QueueSpec};
use crate::broker::consumer::{ConsumeRefused, NewConsumer};
use crate::command::{Now, Outcome};
use crate::ids::{
    ChannelId, ChannelRef, ConnectionId, ConnectionRef, ConsumerId, ConsumerKey, DeliveryId,
    ShardId,
};
use crate::message::{Body, Message, ProtocolTag, Traits};
use crate::value::{Table, Value};

pub(crate) fn now(mono_ms: u64) -> Now {
    Now { mono_ms, wall_ms: 1_000_000 + mono_ms }
}

pub(crate) fn message_with(key: &str, change: impl FnOnce(&mut Traits)) -> Message {
    let mut traits =
        Traits { protocol: ProtocolTag(0), persistent: false, priority: None, expiration_ms: None };
    change(&mut traits);
    Message::new(Rc::from("ex"), key, traits, b"", Body::Slice(b"body"), 0).unwrap()
}

/// A message whose routing key is its name; its body has four octets.
pub(crate) fn message(key: &str) -> Message {
    message_with(key, |_| {})
}

pub(crate) fn table(entries: &[(&str, Value)]) -> Table {
    Table(entries.iter().map(|(name, value)| ((*name).into(), value.clone())).collect())
}

pub(crate) fn spec(arguments: &Table) -> QueueSpec<'_> {
    QueueSpec {
        name: "q",
        durable: true,
        exclusive: None,
        auto_delete: false,
        arguments,
        server_named: false,
    }
}

pub(crate) fn queue(kind: &str, entries: &[(&str, Value)], store: Box<dyn Store>) -> Queue {
    let mut arguments = table(entries);
    arguments.set(QUEUE_TYPE, Value::text(kind));
    Queue::declare_on(&spec(&arguments), &QueueDefaults::default(), store, now(0)).unwrap()
}

pub(crate) fn connection(n: u32) -> ConnectionRef {
    ConnectionRef { shard: ShardId(0), connection: ConnectionId::new(n, 0) }
}

/// Channel 1 of a connection.
pub(crate) fn channel(n: u32) -> ChannelRef {
    ChannelRef { connection: connection(n), channel: ChannelId(1) }
}

/// What the outlet has noted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) to: u32,
    pub(crate) what: String,
    pub(crate) id: DeliveryId,
    pub(crate) redelivered: bool,
    pub(crate) count: Option<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct FakeOutlet {
    pub(crate) got: Vec<Got>,
    pub(crate) full: HashSet<ConnectionRef>,
    pub(crate) waiting: Vec<ConnectionRef>,
    pub(crate) wanted: Vec<ConsumerId>,
    pub(crate) unneeded: Vec<(ConsumerId, u32)>,
    /// Tokens given at once.
    pub(crate) tokens: u32,
}

impl FakeOutlet {
    /// Names of the messages that came since the last call.
    pub(crate) fn names(&mut self) -> Vec<String> {
        self.got.drain(..).map(|got| got.what).collect()
    }
}

impl Outlet for FakeOutlet {
    fn has_room(&self, to: ConnectionRef) -> bool {
        !self.full.contains(&to)
    }

    fn waits_for_room(&mut self, to: ConnectionRef) {
        self.waiting.push(to);
    }

    fn deliver(&mut self, delivery: OutDelivery<'_>) {
        assert!(self.has_room(delivery.channel.connection), "it was asked for room before");
        assert_eq!(delivery.no_settle, delivery.id == SETTLED_AT_ONCE);
        self.got.push(Got {
            to: delivery.key.0,
            what: delivery.message.routing_key().to_owned(),
            id: delivery.id,
            redelivered: delivery.redelivered,
            count: delivery.delivery_count,
        });
    }

    fn want(&mut self, _channel: ChannelRef, consumer: ConsumerId) -> u32 {
        self.wanted.push(consumer);
        std::mem::take(&mut self.tokens)
    }

    fn unneeded(&mut self, _channel: ChannelRef, consumer: ConsumerId, tokens: u32) {
        self.unneeded.push((consumer, tokens));
    }
}

/// A queue with an outlet and a clock that is moved by hand.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) queue: Queue,
    pub(crate) outlet: FakeOutlet,
    pub(crate) effects: Vec<Effect>,
    pub(crate) at_ms: u64,
    /// What its store reads from, if that is slow.
    pub(crate) disk: Option<Disk>,
    /// The disk works only when it is told to.
    pub(crate) by_hand: bool,
}

impl Bench {
    pub(crate) fn new(kind: &str, entries: &[(&str, Value)]) -> Self {
        Self::on(kind, entries, Box::new(MemoryStore::default()))
    }

    /// Over a store that answers after so many loads; they are made as they are asked for.
    pub(crate) fn slow(kind: &str, entries: &[(&str, Value)], loads: u32) -> Self {
        let (store, disk) = SlowStore::new(loads);
        Self { disk: Some(disk), ..Self::on(kind, entries, Box::new(store)) }
    }

    pub(crate) fn on(kind: &str, entries: &[(&str, Value)], store: Box<dyn Store>) -> Self {
        Self {
            queue: queue(kind, entries, store),
            outlet: FakeOutlet::default(),
            effects: Vec::new(),
            at_ms: 0,
            disk: None,
            by_hand: false,
        }
    }

    /// Lets time pass on the disk once, and tells the queue what has come.
    pub(crate) fn load(&mut self) {
        if self.disk.as_ref().is_some_and(Disk::load) {
            self.queue.loaded(now(self.at_ms), &mut self.outlet, &mut self.effects);
        }
    }

    /// Reads all that is asked for. Tells whether that was anything.
    pub(crate) fn load_all(&mut self) -> bool {
        let mut loads = 0;
        while self.disk.as_ref().is_some_and(Disk::is_busy) {
            self.load();
            loads += 1;
            assert!(loads < 100_000, "it asks for ever");
        }
        loads > 0
    }

    fn load_unless_by_hand(&mut self) -> bool {
        !self.by_hand && self.load_all()
    }

    pub(crate) fn publish_message(&mut self, message: Message) -> super::Enqueued {
        let now = now(self.at_ms);
        let (outlet, effects) = (&mut self.outlet, &mut self.effects);
        let enqueued = self.queue.publish(message, |_| None, now, outlet, effects);
        self.load_unless_by_hand();
        enqueued
    }

    pub(crate) fn publish(&mut self, names: &[&str]) {
        for name in names {
            self.publish_message(message(name));
        }
    }

    /// Adds a consumer with its number as key and connection.
    pub(crate) fn consumer(&mut self, n: u32, prefetch: u32) -> ConsumerId {
        self.consumer_with(n, prefetch, |_| {}).unwrap()
    }

    pub(crate) fn consumer_with<'a>(
        &mut self,
        n: u32,
        prefetch: u32,
        change: impl FnOnce(&mut NewConsumer<'a>),
    ) -> Result<ConsumerId, ConsumeRefused> {
        static NONE: Table = Table(Vec::new());
        let mut new = NewConsumer {
            at: channel(n),
            key: ConsumerKey(n),
            tag: "tag",
            prefetch,
            no_settle: false,
            exclusive: false,
            arguments: &NONE,
        };
        change(&mut new);
        self.queue.add_consumer(&new).map(|consuming| consuming.id)
    }

    pub(crate) fn deliver(&mut self) -> Vec<Got> {
        let now = now(self.at_ms);
        loop {
            let more = self.queue.deliver(now, 1_000_000, &mut self.outlet, &mut self.effects);
            assert_eq!(more, More::No);
            if !self.load_unless_by_hand() {
                break;
            }
        }
        std::mem::take(&mut self.outlet.got)
    }

    /// Names of what is delivered now.
    pub(crate) fn names(&mut self) -> Vec<String> {
        self.deliver().into_iter().map(|got| got.what).collect()
    }

    pub(crate) fn settle(&mut self, id: DeliveryId, outcome: Outcome) -> bool {
        let settled = self.queue.settle(id, outcome, now(self.at_ms), &mut self.effects);
        self.load_unless_by_hand();
        settled
    }

    pub(crate) fn requeue(&mut self, id: DeliveryId) {
        assert!(self.settle(id, Outcome::Requeue { failed: true }));
    }

    pub(crate) fn remove(&mut self, id: ConsumerId) -> Option<super::subscribe::Removed> {
        self.queue.remove_consumer(id, now(self.at_ms), &mut self.effects)
    }

    pub(crate) fn take(&mut self) -> Option<Taken> {
        self.take_and(false)
    }

    /// Also `None` when it has to be read and the disk is moved by hand.
    pub(crate) fn take_and(&mut self, no_settle: bool) -> Option<Taken> {
        loop {
            match self.queue.take(now(self.at_ms), no_settle, &mut self.effects) {
                Fetched::Message(taken) => return Some(taken),
                Fetched::Empty => return None,
                Fetched::Later if self.by_hand => return None,
                Fetched::Later => assert!(self.load_all(), "it was asked for"),
            }
        }
    }

    pub(crate) fn on_time(&mut self) {
        self.queue.on_time(now(self.at_ms), &mut self.effects);
        self.load_unless_by_hand();
    }

    pub(crate) fn next_deadline(&mut self) -> Option<u64> {
        let first = self.queue.next_deadline();
        if self.load_unless_by_hand() { self.queue.next_deadline() } else { first }
    }

    /// The dead: name and reason, with or without a place to go.
    /// They have arrived where they go.
    pub(crate) fn dead(&mut self) -> Vec<(String, crate::message::DeathReason)> {
        for effect in &self.effects {
            if let Effect::DeadLetter(DeadLetter { from: Some(at), .. }) = effect {
                self.queue.gone_on(*at);
            }
        }
        self.effects
            .drain(..)
            .filter_map(|effect| match effect {
                Effect::DeadLetter(dead) => {
                    Some((dead.message.routing_key().to_owned(), dead.reason))
                }
                Effect::Dropped(reason) => Some((String::new(), reason)),
                Effect::Unreadable(_) | Effect::Delete(_) => None,
            })
            .collect()
    }
}
