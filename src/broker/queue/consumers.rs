//! The consumers of a queue and whose turn it is.
//!
//! Those that can take a message stand in a ring per priority; who has no credit or no room leaves
//! it and comes back when that changes. So a delivery costs the same with one consumer and with
//! 100,000 (abuse row 29): nobody who can not take is looked at.
//! May import `links`, `ids` and the consumer.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::links::{self, Links, Row};
use crate::broker::consumer::{ChannelShare, Consumer};
use crate::broker::few_map::FewMap;
use crate::ids::{ChannelId, ConnectionRef, ConsumerId};

#[derive(Debug, Default)]
struct Place {
    generation: u32,
    consumer: Option<Consumer>,
    /// In the ring of its priority.
    queued: bool,
    /// In `holders`.
    holding: bool,
    ring: Links,
    /// Consumers of the same connection.
    peers: Links,
}

fn ring(place: &mut Place) -> &mut Links {
    &mut place.ring
}

fn peers(place: &mut Place) -> &mut Links {
    &mut place.peers
}

/// Where only one consumer is active: who, and who follows (L49, R15).
#[derive(Debug, Default)]
struct Single {
    /// Highest priority first, then in order of subscription.
    order: BTreeSet<(Reverse<i64>, u64, u32)>,
    active: Option<u32>,
    /// A consumer of higher priority takes over when the active one has settled all it has.
    yields: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Consumers {
    places: Vec<Place>,
    free: Vec<u32>,
    count: u32,
    joined: u64,
    exclusive: bool,
    /// Rings that have a member. A map that becomes empty keeps its node, so with one priority
    /// nothing is allocated when the only consumer leaves its ring and comes back.
    rings: FewMap<Reverse<i64>, Row>,
    by_connection: FewMap<ConnectionRef, Row>,
    /// Consumers that got tokens; looked through when the queue runs empty.
    holders: Vec<ConsumerId>,
    single: Option<Single>,
}

impl Consumers {
    /// For a queue with one active consumer; `yields`: to one of higher priority.
    pub(crate) fn with_single_active(yields: bool) -> Self {
        Self { single: Some(Single { yields, ..Single::default() }), ..Self::default() }
    }

    pub(crate) const fn count(&self) -> u32 {
        self.count
    }

    /// An exclusive consumer is there.
    pub(crate) const fn has_exclusive(&self) -> bool {
        self.exclusive
    }

    pub(crate) const fn is_single_active(&self) -> bool {
        self.single.is_some()
    }

    /// The one that gets all, where there is such a one.
    pub(crate) fn active(&self) -> Option<ConsumerId> {
        self.id_at(self.single.as_ref()?.active?)
    }

    pub(crate) fn get(&self, id: ConsumerId) -> Option<&Consumer> {
        let place = self.places.get(id.index())?;
        if place.generation == id.generation() { place.consumer.as_ref() } else { None }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Consumer> + '_ {
        self.places.iter().filter_map(|place| place.consumer.as_ref())
    }

    /// Takes a consumer in; the caller has checked that it may come.
    pub(crate) fn add(&mut self, mut consumer: Consumer) -> Option<ConsumerId> {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let index = u32::try_from(self.places.len()).ok()?;
                if self.places.is_empty() {
                    // Most queues have one consumer.
                    self.places.reserve_exact(1);
                }
                self.places.push(Place::default());
                index
            }
        };
        self.joined += 1;
        consumer.joined = self.joined;
        consumer.active = self.single.is_none();
        let (priority, connection) = (consumer.priority, consumer.at.connection);
        self.exclusive |= consumer.exclusive;
        self.places.get_mut(index as usize)?.consumer = Some(consumer);
        self.count += 1;
        let places = &mut self.places;
        self.by_connection.update(connection, |row| row.push(places, peers, index));
        if let Some(single) = &mut self.single {
            single.order.insert((Reverse(priority), self.joined, index));
        }
        self.choose_active();
        self.refresh(index);
        self.id_at(index)
    }

    /// Lets a consumer go. What it has out stays out (P44, P69).
    pub(crate) fn remove(&mut self, id: ConsumerId) -> Option<Consumer> {
        let index = self.index_of(id)?;
        let place = self.places.get_mut(id.index())?;
        let consumer = place.consumer.take()?;
        place.generation = place.generation.wrapping_add(1);
        let (queued, holding) = (place.queued, place.holding);
        (place.queued, place.holding) = (false, false);
        if queued {
            self.leave_ring(consumer.priority, index);
        }
        if holding {
            self.holders.retain(|holder| *holder != id);
        }
        if let Some(row) = self.by_connection.get_mut(&consumer.at.connection) {
            row.remove(&mut self.places, peers, index);
            if row.is_empty() {
                self.by_connection.remove(&consumer.at.connection);
            }
        }
        self.free.push(index);
        self.count = self.count.saturating_sub(1);
        if consumer.exclusive {
            self.exclusive = false;
        }
        if let Some(single) = &mut self.single {
            single.order.remove(&(Reverse(consumer.priority), consumer.joined, index));
            if single.active == Some(index) {
                single.active = None;
            }
        }
        self.choose_active();
        Some(consumer)
    }

    /// The consumers of a connection, or of one of its channels.
    pub(crate) fn of(
        &mut self,
        connection: ConnectionRef,
        channel: Option<ChannelId>,
    ) -> Vec<ConsumerId> {
        let mut found = Vec::new();
        let mut next = self.by_connection.get(&connection).and_then(Row::first);
        while let Some(index) = next {
            let place = self.places.get(index as usize);
            let consumer = place.and_then(|p| p.consumer.as_ref());
            if consumer.is_some_and(|c| channel.is_none_or(|wanted| c.at.channel == wanted)) {
                found.extend(self.id_at(index));
            }
            next = links::after(&mut self.places, peers, index);
        }
        found
    }

    /// Whose turn it is.
    pub(crate) fn next(&self) -> Option<ConsumerId> {
        let (_, row) = self.rings.first()?;
        self.id_at(row.first()?)
    }

    /// It got a delivery and goes to the end of its ring, if it can take another.
    pub(crate) fn served(&mut self, id: ConsumerId) {
        let Some(index) = self.index_of(id) else { return };
        let Some(consumer) = self.consumer_mut(id) else { return };
        consumer.charge();
        let (ready, priority) = (consumer.is_ready(), consumer.priority);
        if !ready {
            self.refresh(index);
        } else if let Some(row) = self.rings.get_mut(&Reverse(priority)) {
            row.remove(&mut self.places, ring, index);
            row.push(&mut self.places, ring, index);
        }
    }

    /// One of its deliveries is settled: its credit is free at once (P68).
    pub(crate) fn settled(&mut self, id: ConsumerId) {
        self.change(id, |consumer| consumer.unsettled = consumer.unsettled.saturating_sub(1));
        if self.single.is_some() {
            self.choose_active();
        }
    }

    /// Its connection takes nothing more until [`Consumers::resume`].
    pub(crate) fn no_room(&mut self, id: ConsumerId) {
        self.change(id, |consumer| consumer.no_room = true);
    }

    /// The connection takes deliveries again; looks at its own consumers only.
    pub(crate) fn resume(&mut self, connection: ConnectionRef) {
        let mut next = self.by_connection.get(&connection).and_then(Row::first);
        while let Some(index) = next {
            if let Some(id) = self.id_at(index) {
                self.change(id, |consumer| consumer.no_room = false);
            }
            next = links::after(&mut self.places, peers, index);
        }
    }

    pub(crate) fn set_paused(&mut self, id: ConsumerId, paused: bool) {
        self.change(id, |consumer| consumer.paused = paused);
    }

    pub(crate) fn set_limited(&mut self, id: ConsumerId, limited: bool) {
        self.change(id, |consumer| match (limited, consumer.share) {
            (true, ChannelShare::Unlimited) => consumer.share = ChannelShare::Tokens(0),
            (true, ChannelShare::Tokens(_) | ChannelShare::Asked) => {}
            (false, _) => consumer.share = ChannelShare::Unlimited,
        });
    }

    /// It said that it wants a token and waits.
    pub(crate) fn asked(&mut self, id: ConsumerId) {
        self.change(id, |consumer| consumer.share = ChannelShare::Asked);
    }

    /// It may send so many more deliveries; false when it is not there or not limited.
    pub(crate) fn grant(&mut self, id: ConsumerId, tokens: u32) -> bool {
        let mut granted = false;
        self.change(id, |consumer| {
            let held = match consumer.share {
                ChannelShare::Unlimited => return,
                ChannelShare::Tokens(held) => held,
                ChannelShare::Asked => 0,
            };
            granted = true;
            consumer.share = ChannelShare::Tokens(held.saturating_add(tokens));
        });
        if granted
            && let Some(place) = self.places.get_mut(id.index())
            && !place.holding
        {
            place.holding = true;
            self.holders.push(id);
        }
        granted
    }

    /// Takes back the tokens that nobody can use as the queue is empty.
    pub(crate) fn take_tokens(&mut self, mut each: impl FnMut(ConsumerId, &Consumer, u32)) {
        for id in std::mem::take(&mut self.holders) {
            if let Some(place) = self.places.get_mut(id.index()) {
                place.holding = false;
            }
            let Some(consumer) = self.consumer_mut(id) else { continue };
            if let ChannelShare::Tokens(tokens @ 1..) = consumer.share {
                consumer.share = ChannelShare::Tokens(0);
                each(id, consumer, tokens);
            }
        }
    }

    pub(crate) const fn has_holders(&self) -> bool {
        !self.holders.is_empty()
    }

    fn change(&mut self, id: ConsumerId, change: impl FnOnce(&mut Consumer)) {
        let Some(index) = self.index_of(id) else { return };
        let Some(consumer) = self.consumer_mut(id) else { return };
        change(consumer);
        self.refresh(index);
    }

    /// Lets it join or leave the ring of its priority as its state says.
    fn refresh(&mut self, index: u32) {
        let Some(place) = self.places.get_mut(index as usize) else { return };
        let Some(consumer) = &place.consumer else { return };
        let (ready, priority) = (consumer.is_ready(), consumer.priority);
        if ready == place.queued {
            return;
        }
        place.queued = ready;
        if ready {
            let places = &mut self.places;
            self.rings.update(Reverse(priority), |row| row.push(places, ring, index));
        } else {
            self.leave_ring(priority, index);
        }
    }

    fn leave_ring(&mut self, priority: i64, index: u32) {
        if let Some(row) = self.rings.get_mut(&Reverse(priority)) {
            row.remove(&mut self.places, ring, index);
            if row.is_empty() {
                self.rings.remove(&Reverse(priority));
            }
        }
    }

    /// Where one consumer is active: keeps, retires or replaces it.
    fn choose_active(&mut self) {
        let Some(single) = &self.single else { return };
        let Some((Reverse(best_priority), _, best)) = single.order.first().copied() else { return };
        let current = single
            .active
            .and_then(|index| Some((index, self.places.get(index as usize)?.consumer.as_ref()?)));
        let (stop, start) = match current {
            None => (None, Some(best)),
            Some((index, active)) if single.yields && best_priority > active.priority => {
                (Some(index), (active.unsettled == 0).then_some(best))
            }
            Some(_) => return,
        };
        if let Some(index) = stop {
            self.set_active(index, false);
        }
        if let Some(index) = start {
            if let Some(single) = &mut self.single {
                single.active = Some(index);
            }
            self.set_active(index, true);
        }
    }

    fn set_active(&mut self, index: u32, active: bool) {
        if let Some(consumer) =
            self.places.get_mut(index as usize).and_then(|place| place.consumer.as_mut())
        {
            consumer.active = active;
            self.refresh(index);
        }
    }

    fn consumer_mut(&mut self, id: ConsumerId) -> Option<&mut Consumer> {
        let place = self.places.get_mut(id.index())?;
        if place.generation == id.generation() { place.consumer.as_mut() } else { None }
    }

    fn index_of(&self, id: ConsumerId) -> Option<u32> {
        self.get(id)?;
        u32::try_from(id.index()).ok()
    }

    fn id_at(&self, index: u32) -> Option<ConsumerId> {
        let place = self.places.get(index as usize)?;
        place.consumer.as_ref().map(|_| ConsumerId::new(index, place.generation))
    }
}
