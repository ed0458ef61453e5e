//! What a shard knows of a session: whose it is, how long it lasts, what it has subscribed to.
//!
//! One per client whose session lives here. May import `slots`, `topic_tree`, `message`,
//! `properties` and `crate::subscriber`.

use std::collections::HashMap;

use super::once::OnTheirWay;
use crate::broker::few_map::FewMap;
use crate::broker::slots::{SlotId, Slots};
use crate::broker::topic_tree::{Syntax, TopicTree};
use crate::ids::{ConnectionId, ConsumerId, QueueId, VhostId};
use crate::message::Message;
use crate::properties::is_by_topic;
use crate::subscriber::{Assurance, FilterName, Lasts, SessionLimits, Subscription, address};

/// A session in the table of its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::broker) struct SessionId {
    index: u32,
    generation: u32,
}

impl SlotId for SessionId {
    fn make(index: u32, generation: u32) -> Self {
        Self { index, generation }
    }
    fn place(self) -> usize {
        self.index as usize
    }
    fn age(self) -> u32 {
        self.generation
    }
}

/// What a subscriber wants of a filter: a [`Subscription`] without its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Options {
    pub(super) assurance: Assurance,
    pub(super) not_own: bool,
    pub(super) as_published: bool,
    pub(super) number: u32,
}

impl Options {
    pub(super) const fn of(subscription: &Subscription) -> Self {
        let Subscription { name: _, assurance, not_own, as_published, number } = subscription;
        Self {
            assurance: *assurance,
            not_own: *not_own,
            as_published: *as_published,
            number: *number,
        }
    }

    /// Whether messages are stored for it.
    pub(super) const fn stores(self) -> bool {
        match self.assurance {
            Assurance::AtMostOnce => false,
            Assurance::AtLeastOnce | Assurance::ExactlyOnce => true,
        }
    }
}

/// What a session has subscribed to.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    all: FewMap<FilterName, Options>,
    /// How many filters without a group are stored for.
    storing: usize,
    /// How many filters have no group.
    plain: usize,
    /// How many of these leave out what the session publishes itself.
    not_own: usize,
    /// Those in groups by the addresses of these, in order.
    grouped: Vec<(Box<str>, Options)>,
    /// Those that are stored for; there while some are and some are not.
    stored: Option<Box<TopicTree<()>>>,
    /// Those without a group that take what the session publishes itself; there while some do and some
    /// do not.
    own: Option<Box<TopicTree<()>>>,
}

impl Subscriptions {
    pub(super) fn get(&self, name: &FilterName) -> Option<Options> {
        self.all.get(name).copied()
    }

    /// Adds or replaces one.
    pub(super) fn insert(&mut self, name: &FilterName, options: Options) {
        self.remove(name);
        self.all.insert(name.clone(), options);
        if let Some(group) = &name.group {
            let address: Box<str> = address(group, &name.filter).into();
            let place = self.grouped.partition_point(|(other, _)| *other < address);
            self.grouped.insert(place, (address, options));
            return;
        }
        self.plain += 1;
        self.not_own += usize::from(options.not_own);
        self.storing += usize::from(options.stores());
        if let Some(stored) = self.stored.as_mut().filter(|_| options.stores()) {
            stored.update(&name.filter, |()| {});
        }
        if let Some(own) = self.own.as_mut().filter(|_| !options.not_own) {
            own.update(&name.filter, |()| {});
        }
        self.mind_the_trees();
    }

    pub(super) fn remove(&mut self, name: &FilterName) -> Option<Options> {
        let options = self.all.remove(name)?;
        if let Some(group) = &name.group {
            let address = address(group, &name.filter);
            self.grouped.retain(|(other, _)| **other != *address);
        } else {
            self.plain -= 1;
            self.not_own -= usize::from(options.not_own);
            self.storing -= usize::from(options.stores());
            if let Some(stored) = self.stored.as_mut().filter(|_| options.stores()) {
                stored.remove(&name.filter);
            }
            if let Some(own) = self.own.as_mut().filter(|_| !options.not_own) {
                own.remove(&name.filter);
            }
            self.mind_the_trees();
        }
        Some(options)
    }

    /// Where all are alike there is nothing to look up.
    fn mind_the_trees(&mut self) {
        let is_mixed = |count: usize| count > 0 && count < self.plain;
        let (stored, own) = (is_mixed(self.storing), is_mixed(self.not_own));
        if !stored {
            self.stored = None;
        } else if self.stored.is_none() {
            self.stored = Some(self.tree_of(Options::stores));
        }
        if !own {
            self.own = None;
        } else if self.own.is_none() {
            self.own = Some(self.tree_of(|options| !options.not_own));
        }
    }

    /// Those without a group of which something is true.
    fn tree_of(&self, is_in: impl Fn(Options) -> bool) -> Box<TopicTree<()>> {
        let mut tree = TopicTree::new(Syntax::SLASHES);
        for (name, options) in self.all.iter() {
            if name.group.is_none() && is_in(*options) {
                tree.update(&name.filter, |()| {});
            }
        }
        Box::new(tree)
    }

    /// Whether none of the filters without a group takes this topic if the session publishes to it.
    pub(super) fn leave_out_own(&self, topic: &str) -> bool {
        match &self.own {
            Some(tree) => !any(tree, topic),
            None => self.not_own > 0,
        }
    }

    /// Whether a message that asks for it is stored.
    pub(super) fn store_it(
        &self,
        message: &Message,
        topic_of: impl FnOnce(&Message) -> Option<String>,
    ) -> bool {
        let Some(tree) = &self.stored else { return self.storing > 0 };
        if is_by_topic(message) {
            return any(tree, message.routing_key());
        }
        topic_of(message).is_some_and(|topic| any(tree, &topic))
    }

    /// As a member of the group with this address.
    pub(super) fn of_group(&self, address: &str) -> Option<Options> {
        let place = self.grouped.binary_search_by(|(other, _)| (**other).cmp(address)).ok()?;
        self.grouped.get(place).map(|(_, options)| *options)
    }

    /// No filter without a group takes what the session publishes itself.
    fn are_not_own(&self) -> bool {
        self.not_own == self.plain
    }

    pub(super) fn has_groups(&self) -> bool {
        !self.grouped.is_empty()
    }

    /// Those in groups, by their addresses.
    pub(super) fn groups(&self) -> impl Iterator<Item = (&str, Options)> {
        self.grouped.iter().map(|(address, options)| (&**address, *options))
    }

    pub(super) fn to_vec(&self) -> Vec<Subscription> {
        let all = self.all.iter().map(|(name, options)| Subscription {
            name: name.clone(),
            assurance: options.assurance,
            not_own: options.not_own,
            as_published: options.as_published,
            number: options.number,
        });
        all.collect()
    }
}

fn any(tree: &TopicTree<()>, topic: &str) -> bool {
    let mut found = false;
    tree.matching(topic, |()| found = true);
    found
}

/// How often a session passes from one connection to another: two clients with one name take it
/// from each other for ever (abuse row 78).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Takeovers {
    /// The second that is counted, monotonic milliseconds.
    since_ms: u64,
    count: u32,
}

impl Takeovers {
    /// Counts one and allows it, unless it is one too many; 0: there may be any number.
    pub(super) const fn allow(&mut self, max: u32, now_ms: u64) -> bool {
        if now_ms.saturating_sub(self.since_ms) >= 1000 {
            self.since_ms = now_ms;
            self.count = 0;
        }
        if max > 0 && self.count >= max {
            return false;
        }
        self.count = self.count.saturating_add(1);
        true
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) vhost: VhostId,
    /// The name of its queue.
    pub(super) name: Box<str>,
    /// The user it belongs to: nobody else takes it up (abuse row 78). Empty: not known.
    pub(super) user: Box<str>,
    /// Its queue; one that does not last has none before its first subscription.
    pub(super) queue: Option<QueueId>,
    /// Its queue is durable.
    pub(super) durable: bool,
    /// The connection that has it.
    pub(super) connection: Option<ConnectionId>,
    /// That was told so: deliveries may follow.
    pub(super) open: bool,
    /// As which the connection gets what is stored.
    pub(super) consumer: Option<ConsumerId>,
    pub(super) takeovers: Takeovers,
    pub(super) window: u32,
    pub(super) limits: SessionLimits,
    /// Messages that had waited when its client came and may still wait, where they do not count.
    pub(super) waited: u64,
    pub(super) lasts: Lasts,
    /// When its client left, milliseconds of `Now::mono_ms`.
    pub(super) away_ms: Option<u64>,
    /// When it ends if its client does not come back, monotonic milliseconds.
    pub(super) ends_ms: Option<u64>,
    /// The earliest deadline a timer stands for.
    pub(super) timer_ms: Option<u64>,
    pub(super) subscriptions: Subscriptions,
    /// What its client has published and has to come exactly once.
    pub(super) on_their_way: Option<Box<OnTheirWay>>,
}

impl Session {
    /// One that lasts and has nothing yet.
    pub(super) fn new(vhost: VhostId, name: &str) -> Self {
        Self {
            vhost,
            name: name.into(),
            user: Box::default(),
            queue: None,
            durable: true,
            connection: None,
            open: false,
            consumer: None,
            window: 0,
            takeovers: Takeovers::default(),
            limits: SessionLimits {
                online_max: None,
                offline_max: None,
                drop_oldest: false,
                waited_is_extra: false,
            },
            waited: 0,
            lasts: Lasts::Connection,
            away_ms: None,
            ends_ms: None,
            timer_ms: None,
            subscriptions: Subscriptions::default(),
            on_their_way: None,
        }
    }

    pub(super) fn on_their_way(&mut self) -> &mut OnTheirWay {
        self.on_their_way.get_or_insert_default()
    }

    /// The connection that takes messages now.
    pub(super) fn listener(&self) -> Option<ConnectionId> {
        self.connection.filter(|_| self.open)
    }
}

/// The sessions of a shard.
#[derive(Debug, Default)]
pub(in crate::broker) struct Sessions {
    table: Slots<SessionId, Session>,
    names: HashMap<(VhostId, Box<str>), SessionId, ahash::RandomState>,
    /// Messages that subscribers did not get since they were slow, away or had too many waiting.
    pub(super) dropped: u64,
}

impl Sessions {
    pub(super) fn get(&self, id: SessionId) -> Option<&Session> {
        self.table.get(id)
    }

    pub(super) fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.table.get_mut(id)
    }

    /// The session whose queue has this name.
    pub(super) fn named(&self, vhost: VhostId, name: &str) -> Option<SessionId> {
        self.names.get(&(vhost, name.into())).copied()
    }

    /// The session's queue, if what the session itself publishes to this topic is not for it.
    pub(in crate::broker) fn deaf_queue(&self, id: SessionId, topic: &str) -> Option<QueueId> {
        let session = self.table.get(id).filter(|s| s.subscriptions.leave_out_own(topic))?;
        session.queue
    }

    /// Whether this is the session's queue, and no filter of it takes what the session publishes
    /// itself.
    pub(in crate::broker) fn is_deaf_to_itself(&self, id: SessionId, queue: QueueId) -> bool {
        self.table.get(id).is_some_and(|s| s.queue == Some(queue) && s.subscriptions.are_not_own())
    }

    /// Those of a virtual host.
    pub(in crate::broker) fn of_vhost(&self, vhost: VhostId) -> Vec<SessionId> {
        self.table.iter().filter(|(_, session)| session.vhost == vhost).map(|(id, _)| id).collect()
    }

    pub(super) fn insert(&mut self, session: Session) -> Option<SessionId> {
        let name = (session.vhost, session.name.clone());
        let id = self.table.insert(session)?;
        self.names.insert(name, id);
        Some(id)
    }

    pub(super) fn remove(&mut self, id: SessionId) -> Option<Session> {
        let gone = self.table.remove(id)?;
        self.names.remove(&(gone.vhost, gone.name.clone()));
        Some(gone)
    }
}

#[cfg(test)]
impl Sessions {
    /// Every session with the name and the place of its queue.
    pub(in crate::broker) fn all(&self) -> Vec<(SessionId, String, Option<QueueId>)> {
        self.table.iter().map(|(id, s)| (id, s.name.to_string(), s.queue)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::queue::testing::message;
    use crate::message::Body;
    use crate::properties::TOPICS;
    use crate::subscriber::FILTERS;

    fn name(filter: &str) -> FilterName {
        FilterName { group: None, filter: filter.into() }
    }

    impl Subscriptions {
        fn store(&self, topic: &str) -> bool {
            let traits = message("").traits();
            let to = |exchange: &str, key: &str| {
                Message::new(exchange.into(), key, traits, b"", Body::Slice(b""), 0).unwrap()
            };
            let named = |_: &Message| Some(topic.to_owned());
            let stored = self.store_it(&to(FILTERS, topic), |_| None);
            assert_eq!(stored, self.store_it(&to(TOPICS, &topic.replace('/', ".")), named));
            stored
        }
    }

    fn with(assurance: Assurance) -> Options {
        Options { assurance, ..Options::default() }
    }

    #[test]
    fn what_is_stored_follows_the_filters_that_match() {
        let mut all = Subscriptions::default();
        assert!(!all.store("a/b"));
        all.insert(&name("a/#"), with(Assurance::AtMostOnce));
        assert!(!all.store("a/b"));
        all.insert(&name("a/+"), with(Assurance::ExactlyOnce));
        assert!(all.store("a/b") && !all.store("a/b/c"));
        all.insert(&name("a/b/c"), with(Assurance::AtLeastOnce));
        assert!(all.store("a/b/c") && !all.store("a/b/d"));
        all.insert(&name("a/+"), with(Assurance::AtMostOnce));
        assert!(!all.store("a/b") && all.store("a/b/c"));
        all.remove(&name("a/b/c"));
        assert!(!all.store("a/b/c") && all.stored.is_none());
    }

    #[test]
    fn one_level_for_all_needs_no_tree() {
        let mut all = Subscriptions::default();
        for filter in ["a", "b/+", "c/#"] {
            all.insert(&name(filter), with(Assurance::AtLeastOnce));
        }
        assert!(all.store("whatever led here") && all.stored.is_none());
        all.insert(&name("d"), Options::default());
        assert!(all.stored.is_some());
        all.remove(&name("d"));
        assert!(all.stored.is_none());
    }
}
