//! What is bound to one exchange on one shard, both directions, with the exchange that indexes it.
//!
//! A binding is a routing key with arguments. Ordinary exchanges have, per binding, the queues of
//! this shard, the other shards that have a queue bound so, and exchanges. Exchanges that pick
//! one among all have every destination of every shard as a binding of its own.
//! One per exchange and shard. May import `ids`, `value` and `broker::exchange`.

mod entries;
mod members;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::rc::Rc;

use self::entries::Entries;
use self::members::Members;
use crate::broker::exchange::arguments::BadArgument;
use crate::broker::exchange::found::Found;
use crate::broker::exchange::place::Place;
use crate::broker::exchange::{Destination, Exchange, ExchangeType, Routed};
use crate::ids::{ExchangeId, QueueId, QueueRef, ShardId};
use crate::value::Table;

/// What binding a queue of this shard changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bound {
    /// The queue was not bound so.
    pub(crate) new: bool,
    /// No queue of this shard was bound so: the other shards must hear of it.
    pub(crate) first_local: bool,
}

/// What unbinding a queue of this shard changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unbound {
    /// The queue was bound so.
    pub(crate) existed: bool,
    /// No queue of this shard is bound so any more: the other shards must hear of it.
    pub(crate) last_local: bool,
}

/// A binding as listings show it: the name of one destination is the reader's to find.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listed<'a> {
    /// The routing key.
    pub(crate) key: &'a str,
    /// The arguments.
    pub(crate) arguments: &'a Table,
    /// What it leads to.
    pub(crate) to: Destination,
}

/// See the file.
#[derive(Debug)]
pub(crate) struct BindingTable {
    exchange: Box<dyn Exchange>,
    picks_one: bool,
    entries: Entries,
    queues: Members<QueueId>,
    exchanges: Members<ExchangeId>,
    named: Members<QueueRef>,
    /// What a message matched; kept for its memory.
    matched: RefCell<Vec<Place>>,
}

impl BindingTable {
    /// An exchange without bindings, from the arguments of its declaration.
    pub(crate) fn new(kind: &ExchangeType, arguments: &Table) -> Result<Self, BadArgument> {
        let exchange = (kind.make)(arguments)?;
        Ok(Self {
            picks_one: exchange.picks_one(),
            exchange,
            entries: Entries::default(),
            queues: Members::default(),
            exchanges: Members::default(),
            named: Members::default(),
            matched: RefCell::default(),
        })
    }

    /// Whether every shard must have every binding by [`BindingTable::bind_named`] instead of
    /// queues and interests.
    pub(crate) fn picks_one(&self) -> bool {
        self.picks_one
    }

    /// Whether the caller must let messages wait before it routes them (L29).
    pub(crate) fn delays(&self) -> bool {
        self.exchange.delays()
    }

    /// Whether a result of [`BindingTable::route`] holds for every message with the same key
    /// until a binding changes.
    pub(crate) fn depends_on_key_only(&self) -> bool {
        self.exchange.depends_on_key_only()
    }

    /// Whether a client may bind so; to be asked by who decides, before anybody binds.
    pub(crate) fn validate(&self, key: &str, arguments: &Table) -> Result<(), BadArgument> {
        self.exchange.validate_binding(key, arguments)
    }

    /// Appends where a message goes.
    pub(crate) fn route(&self, message: &Routed<'_>, found: &mut Found) {
        let mut matched = self.matched.take();
        matched.clear();
        self.exchange.route(message, &mut matched);
        for &place in &matched {
            if self.picks_one {
                found.named.extend_from_slice(self.named.at(place));
            } else {
                found.queues.extend_from_slice(self.queues.at(place));
                if let Some(entry) = self.entries.get(place) {
                    found.shards.merge(&entry.interested);
                }
            }
            found.exchanges.extend_from_slice(self.exchanges.at(place));
        }
        self.matched.replace(matched);
    }

    /// Where the exchange picks one of each of several groups: each of those queues with the key of
    /// its group.
    pub(crate) fn route_groups(&self, message: &Routed<'_>, found: &mut Vec<(QueueRef, Rc<str>)>) {
        let mut matched = self.matched.take();
        matched.clear();
        self.exchange.route(message, &mut matched);
        for &place in &matched {
            if let (Some(queue), Some(entry)) =
                (self.named.at(place).first(), self.entries.get(place))
            {
                found.push((*queue, Rc::clone(&entry.key)));
            }
        }
        self.matched.replace(matched);
    }

    /// One of the group with this key.
    pub(crate) fn pick(&self, key: &str, choice: u64) -> Option<QueueRef> {
        self.named.at(self.exchange.pick(key, choice)?).first().copied()
    }

    /// The reader of a queue is away, or is here again.
    pub(crate) fn set_away(&mut self, queue: QueueRef, away: bool) {
        for place in self.named.places_of(queue) {
            self.exchange.set_away(*place, away);
        }
    }

    /// A queue that comes before the others of its groups.
    pub(crate) fn set_near(&mut self, queue: QueueRef) {
        for place in self.named.places_of(queue) {
            self.exchange.set_near(*place);
        }
    }

    /// No reader of any queue is here.
    pub(crate) fn set_all_away(&mut self) {
        for (place, _) in self.entries.iter() {
            self.exchange.set_away(place, true);
        }
    }

    /// Binds a queue of this shard. Nothing happens where the exchange picks one.
    pub(crate) fn bind_queue(&mut self, queue: QueueId, key: &str, arguments: &Table) -> Bound {
        debug_assert!(!self.picks_one);
        if self.picks_one {
            return Bound { new: false, first_local: false };
        }
        let place = self.make_place(key, arguments, None);
        let first = self.queues.at(place).is_empty();
        let new = self.queues.add(place, queue);
        Bound { new, first_local: new && first }
    }

    /// Unbinds a queue of this shard.
    pub(crate) fn unbind_queue(&mut self, queue: QueueId, key: &str, arguments: &Table) -> Unbound {
        match self.entries.find(key, arguments, None) {
            Some(place) => self.unbind_queue_at(queue, place),
            None => Unbound { existed: false, last_local: false },
        }
    }

    /// Unbinds a queue of this shard everywhere, at the cost of its own bindings alone, and calls
    /// `last_local` with each binding by which no queue of this shard is bound any more. Returns
    /// the number of its bindings.
    pub(crate) fn remove_queue(
        &mut self,
        queue: QueueId,
        mut last_local: impl FnMut(&str, &Table),
    ) -> usize {
        let mut count = 0;
        while let Some(&place) = self.queues.places_of(queue).last() {
            if let (&[_], Some(entry)) = (self.queues.at(place), self.entries.get(place)) {
                last_local(&entry.key, entry.arguments());
            }
            self.unbind_queue_at(queue, place);
            count += 1;
        }
        count
    }

    /// Another shard has its first queue bound so; tells whether that is news.
    pub(crate) fn set_interest(&mut self, shard: ShardId, key: &str, arguments: &Table) -> bool {
        debug_assert!(!self.picks_one);
        if self.picks_one {
            return false;
        }
        let place = self.make_place(key, arguments, None);
        let news = self.entries.get_mut(place).is_some_and(|entry| entry.interested.insert(shard));
        // A shard beyond the bound leaves a binding to nothing.
        self.forget_if_bare(place, None);
        news
    }

    /// Another shard has no queue bound so any more; tells whether that is news.
    pub(crate) fn clear_interest(&mut self, shard: ShardId, key: &str, arguments: &Table) -> bool {
        let Some(place) = self.entries.find(key, arguments, None) else { return false };
        let news = self.entries.get_mut(place).is_some_and(|entry| entry.interested.remove(shard));
        self.forget_if_bare(place, None);
        news
    }

    /// Binds an exchange; tells whether it was not bound so. The same on every shard.
    pub(crate) fn bind_exchange(&mut self, to: ExchangeId, key: &str, arguments: &Table) -> bool {
        // No queue has such a name; the number is the same on every shard.
        let name = format!("\0exchange {}", to.0);
        let lot = self.picks_one.then_some((Destination::Exchange(to), &*name));
        let place = self.make_place(key, arguments, lot);
        self.exchanges.add(place, to)
    }

    /// Unbinds an exchange; tells whether it was bound so.
    pub(crate) fn unbind_exchange(&mut self, to: ExchangeId, key: &str, arguments: &Table) -> bool {
        let only = self.only(Destination::Exchange(to));
        let Some(place) = self.entries.find(key, arguments, only) else { return false };
        let existed = self.exchanges.remove(place, to);
        self.forget_if_bare(place, only);
        existed
    }

    /// Unbinds an exchange everywhere; returns the number of its bindings.
    pub(crate) fn remove_exchange(&mut self, to: ExchangeId) -> usize {
        let only = self.only(Destination::Exchange(to));
        let mut count = 0;
        while let Some(&place) = self.exchanges.places_of(to).last() {
            self.exchanges.remove(place, to);
            self.forget_if_bare(place, only);
            count += 1;
        }
        count
    }

    /// Binds a queue of any shard where the exchange picks one; tells whether it was not bound so.
    /// The same on every shard. By the queue's name the lot is drawn, so that a key keeps its
    /// queue over a restart. Nothing happens where the exchange does not pick one.
    pub(crate) fn bind_named(
        &mut self,
        queue: QueueRef,
        name: &str,
        key: &str,
        arguments: &Table,
    ) -> bool {
        debug_assert!(self.picks_one);
        if !self.picks_one {
            return false;
        }
        let place = self.make_place(key, arguments, Some((Destination::Named(queue), name)));
        self.named.add(place, queue)
    }

    /// Unbinds a queue of any shard; tells whether it was bound so.
    pub(crate) fn unbind_named(&mut self, queue: QueueRef, key: &str, arguments: &Table) -> bool {
        let only = Some(Destination::Named(queue));
        let Some(place) = self.entries.find(key, arguments, only) else { return false };
        let existed = self.named.remove(place, queue);
        self.forget_if_bare(place, only);
        existed
    }

    /// Unbinds a queue of any shard everywhere; returns the number of its bindings.
    pub(crate) fn remove_named(&mut self, queue: QueueRef) -> usize {
        let mut count = 0;
        while let Some(&place) = self.named.places_of(queue).last() {
            self.named.remove(place, queue);
            self.forget_if_bare(place, Some(Destination::Named(queue)));
            count += 1;
        }
        count
    }

    /// Whether nothing is bound: no queue of this or another shard, no exchange.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.len() == 0
    }

    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "listings for operators come with the management API")
    )]
    /// The number of bindings this shard knows in full; interests of other shards do not count.
    pub(crate) fn binding_count(&self) -> usize {
        self.queues.len() + self.exchanges.len() + self.named.len()
    }

    /// Every binding, as this shard sees it.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Listed<'_>> {
        self.entries.iter().flat_map(|(place, entry)| {
            let queues = self.queues.at(place).iter().map(|q| Destination::Queue(*q));
            let shards = entry.interested.iter().map(Destination::Shard);
            let exchanges = self.exchanges.at(place).iter().map(|e| Destination::Exchange(*e));
            let named = self.named.at(place).iter().map(|q| Destination::Named(*q));
            let all = queues.chain(shards).chain(exchanges).chain(named);
            all.map(|to| Listed { key: &entry.key, arguments: entry.arguments(), to })
        })
    }

    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "listings for operators come with the management API")
    )]
    /// Every binding by which a queue of this shard is bound: what the other shards must know.
    pub(crate) fn local_interests(&self) -> impl Iterator<Item = (&str, &Table)> {
        let local = self.entries.iter().filter(|(place, _)| !self.queues.at(*place).is_empty());
        local.map(|(_, entry)| (&*entry.key, entry.arguments()))
    }

    /// The bindings of one destination, at the cost of these alone. Interests of a shard are not
    /// found so.
    pub(crate) fn bindings_of(&self, to: Destination) -> impl Iterator<Item = Listed<'_>> {
        let places = match to {
            Destination::Queue(queue) => self.queues.places_of(queue),
            Destination::Exchange(exchange) => self.exchanges.places_of(exchange),
            Destination::Named(queue) => self.named.places_of(queue),
            Destination::Shard(_) => &[],
        };
        let entries = places.iter().filter_map(|place| self.entries.get(*place));
        entries.map(move |entry| Listed { key: &entry.key, arguments: entry.arguments(), to })
    }

    /// What makes a destination's bindings its own.
    fn only(&self, to: Destination) -> Option<Destination> {
        self.picks_one.then_some(to)
    }

    fn make_place(
        &mut self,
        key: &str,
        arguments: &Table,
        lot: Option<(Destination, &str)>,
    ) -> Place {
        let only = lot.map(|(destination, _)| destination);
        if let Some(place) = self.entries.find(key, arguments, only) {
            return place;
        }
        let place = self.entries.insert(key, arguments, lot);
        if let Some(binding) = self.entries.binding(place) {
            self.exchange.insert(&binding);
        }
        place
    }

    fn unbind_queue_at(&mut self, queue: QueueId, place: Place) -> Unbound {
        let existed = self.queues.remove(place, queue);
        let last_local = existed && self.queues.at(place).is_empty();
        self.forget_if_bare(place, None);
        Unbound { existed, last_local }
    }

    /// Forgets a binding to which nothing is bound.
    fn forget_if_bare(&mut self, place: Place, only: Option<Destination>) {
        let interested = self.entries.get(place).is_some_and(|e| !e.interested.is_empty());
        let bare = !interested
            && self.queues.at(place).is_empty()
            && self.exchanges.at(place).is_empty()
            && self.named.at(place).is_empty();
        if bare && let Some(binding) = self.entries.binding(place) {
            self.exchange.remove(&binding);
            self.entries.remove(place, only);
        }
    }
}
