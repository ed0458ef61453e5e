//! The connections whose home is this shard: what waits for each of them, how much may be on its
//! way to it, where it has left something behind.

use std::rc::Rc;

use super::Broker;
use super::calls::Then;
use super::deliver::SETTLED;
use super::exchange::shard_set::ShardSet;
use super::mail::Mail;
use super::route::RouteCache;
use super::shared_credit::ChannelCredit;
use super::subscriber::session::SessionId;
use super::subscriber::wills::Words;
use super::tally::count_event;
use crate::auth::{self, Identity, LoginRefused, TopicRights};
use crate::command::{Answer, Delivery, Entity, Event, Now, Outcome, Refusal};
use crate::ids::{ChannelId, ChannelRef, ConnectionId, ConnectionRef, QueueId, ShardId, VhostId};
use crate::limits;

/// Deliveries on their way from one owner shard to one connection, in octets: the window that
/// keeps a slow consumer from filling memory. One per (owner, connection) on the owner.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Octets sent and not yet reported as written.
    pub(super) in_flight: u64,
    /// Queues that found no room.
    pub(super) waiting: Vec<QueueId>,
}

impl Window {
    pub(super) fn has_room(&self) -> bool {
        self.in_flight < limits::LINK_BYTES_MAX
    }
}

/// One per connection, on its home shard.
#[derive(Debug)]
pub(super) struct Connection {
    /// Set by [`Broker::enter`].
    pub(super) entered: Option<Entered>,
    pub(super) events: Vec<Event>,
    /// Octets among `events` that no window bounds: what becomes of the connection's own publishes.
    backlog: u64,
    /// It is in the list of those to be woken.
    pub(super) ready: bool,
    /// It waits for [`Event::PublishResumed`].
    pub(super) paused: bool,
    /// Its publish was held back until all shards had caught up, and has not come again yet.
    pub(super) has_waited: bool,
    /// When it last published to a topic, monotonic milliseconds.
    pub(super) published_ms: Option<u64>,
    /// For queues of this shard.
    pub(super) window: Window,
    /// Octets taken by the session since the last report, per owner shard.
    owed: Vec<(ShardId, u64)>,
    /// Shards that may hold something of it.
    pub(super) touched: ShardSet,
    /// There from its first publish on.
    pub(super) route: Option<Box<RouteCache>>,
    /// Addresses at which its channels take replies.
    pub(super) replies: Vec<(ChannelId, Box<str>)>,
    /// Channels with consumers or a limit.
    pub(super) credits: Vec<ChannelCredit>,
    /// The session that it has opened.
    pub(super) session: Option<SessionId>,
    /// What it leaves behind, before it has opened one.
    pub(super) will: Option<Box<Words>>,
    /// How many channels it has opened.
    pub(super) channels: u32,
}

/// Lists of events that are kept for connections that hear something (arbitrary, with the next: at
/// most a MiB per shard).
const SPARE_LISTS_MAX: usize = 128;
/// Places in one of them.
const SPARE_EVENTS_MAX: usize = 100;

impl Connection {
    fn new() -> Self {
        Self {
            entered: None,
            events: Vec::new(),
            backlog: 0,
            ready: false,
            paused: false,
            has_waited: false,
            published_ms: None,
            window: Window::default(),
            owed: Vec::new(),
            touched: ShardSet::EMPTY,
            route: None,
            replies: Vec::new(),
            credits: Vec::new(),
            session: None,
            will: None,
            channels: 0,
        }
    }

    /// An event for the session. The list for it is one that another connection has given back, if
    /// there is any: most connections wait most of the time, and hold none.
    pub(super) fn hear(&mut self, event: Event, spare: &mut Vec<Vec<Event>>) {
        if self.events.capacity() == 0
            && let Some(list) = spare.pop()
        {
            self.events = list;
        }
        self.events.push(event);
    }
}

/// Keeps an empty list of events, if it has memory and that is not too much.
fn give_spare(spare: &mut Vec<Vec<Event>>, list: Vec<Event>) {
    let is_worth_it = (1..=SPARE_EVENTS_MAX).contains(&list.capacity());
    if is_worth_it && spare.len() < SPARE_LISTS_MAX {
        spare.push(list);
    }
}

/// Who it is and where.
#[derive(Debug, Clone)]
pub(super) struct Entered {
    pub(super) identity: Identity,
    pub(super) vhost: VhostId,
    pub(super) vhost_name: Rc<str>,
    /// Of the client whose session it has opened; see `rights`.
    pub(super) topics: Option<Rc<TopicRights>>,
}

/// What a delivery counts in a window: its octets and a fixed part for what is sent around it.
pub(super) fn window_bytes(message: &crate::message::Message) -> u64 {
    const FIXED: u64 = 96;
    FIXED + (message.properties().len() + message.body().len()) as u64
}

/// What an event weighs in the backlog of a connection: nothing if a window counts it.
fn backlog_bytes(event: &Event) -> u64 {
    let own = size_of::<Event>() as u64;
    match event {
        Event::Delivery(_) => 0,
        Event::Returned { message, .. } | Event::Retained { message, .. } => {
            own + window_bytes(message)
        }
        Event::Answer { .. }
        | Event::Stored { .. }
        | Event::ConsumerGone { .. }
        | Event::SubscriptionsGone { .. }
        | Event::PublishResumed
        | Event::TakenOver
        | Event::Alarm(_)
        | Event::LoginChecked(_)
        | Event::Close { .. } => own,
    }
}

impl Broker {
    /// Gives a new connection a place. `None` when the node's table is full.
    pub fn attach(&mut self) -> Option<ConnectionRef> {
        let connection = self.connections.insert(Connection::new())?;
        Some(ConnectionRef { shard: self.shard, connection })
    }

    /// The session has logged in and names its virtual host; everything else requires this.
    ///
    /// # Errors
    /// `NotFound(Vhost)`, `VhostRefused`, `LimitReached`.
    pub fn enter(
        &mut self,
        connection: ConnectionId,
        identity: &Identity,
        vhost: &str,
    ) -> Result<(), Refusal> {
        let found = self.vhost_named(vhost).filter(|id| !self.is_leaving(*id));
        let found = found.and_then(|id| Some((id, self.vhosts.get(id.0 as usize)?.name.clone())));
        let Some((id, name)) = found else {
            return Err(Refusal::NotFound(Entity::Vhost, vhost.into()));
        };
        if auth::enter(identity, vhost).is_err() {
            return Err(Refusal::VhostRefused(vhost.into()));
        }
        let identity = identity.clone();
        let entered = Entered { identity, vhost: id, vhost_name: name, topics: None };
        self.check_connections(&entered)?;
        if let Some(entry) = self.connections.get_mut(connection) {
            if entry.entered.is_none() {
                self.counters.connections_opened += 1;
            }
            entry.entered = Some(entered.clone());
            self.count_connection(&entered, 0, true);
        }
        Ok(())
    }

    /// The connection is over and its session has given back what it had out: everything else it
    /// left, here and elsewhere, goes. Its identity is not valid any more.
    pub fn detach(&mut self, connection: ConnectionId, now: Now) {
        let Some(mut gone) = self.connections.remove(connection) else { return };
        if gone.entered.is_some() {
            self.counters.connections_closed += 1;
        }
        let reference = ConnectionRef { shard: self.shard, connection };
        if let Some(entered) = &gone.entered {
            self.count_connection(entered, gone.channels, false);
        }
        if let Some(session) = gone.session {
            self.leave_session(session, None, now);
        }
        for shard in gone.touched.iter() {
            if shard == self.shard {
                self.connection_gone(reference, None, None, now);
            } else {
                self.post
                    .send(shard, Mail::Gone { connection: reference, channel: None, call: None });
            }
        }
        // Events that nobody will read any more: what was on its way goes back.
        for event in gone.events {
            self.undeliverable(event, now);
        }
        self.forget_window(reference);
        Self::forget_replies(&mut self.replies, &mut gone.replies, None);
        self.release_will(connection, now);
    }

    /// An event for a connection that is gone.
    fn undeliverable(&mut self, event: Event, now: Now) {
        match event {
            Event::Delivery(delivery) => self.give_back(&delivery, now),
            Event::Answer { answer: Answer::Got { delivery, .. }, .. } => {
                self.give_back(&delivery, now);
            }
            Event::Answer { .. }
            | Event::Stored { .. }
            | Event::Returned { .. }
            | Event::ConsumerGone { .. }
            | Event::SubscriptionsGone { .. }
            | Event::PublishResumed
            | Event::Retained { .. }
            | Event::TakenOver
            | Event::Alarm(_)
            | Event::LoginChecked(_)
            | Event::Close { .. } => {}
        }
    }

    /// Puts a delivery that reached nobody back in its queue.
    pub(super) fn give_back(&mut self, delivery: &Delivery, now: Now) {
        self.settle_at(delivery.queue, delivery.id, Outcome::Requeue { failed: true }, now);
    }

    /// Ends a channel or the whole connection on all shards it touched.
    pub(super) fn close(
        &mut self,
        at: ChannelRef,
        channel: Option<ChannelId>,
        now: Now,
    ) -> Option<Answer> {
        let connection = at.connection.connection;
        let entry = self.connections.get_mut(connection)?;
        let touched = entry.touched;
        Self::forget_replies(&mut self.replies, &mut entry.replies, channel);
        let session = entry.session.take_if(|_| channel.is_none());
        let call = self.open_call(Then::Answer { to: at, answer: Answer::Done })?;
        if let Some(session) = session {
            self.leave_session(session, Some(call), now);
        }
        for shard in touched.iter() {
            self.expect(call);
            if shard == self.shard {
                self.connection_gone(at.connection, channel, Some((self.shard, call)), now);
            } else {
                let mail = Mail::Gone { connection: at.connection, channel, call: Some(call) };
                self.post.send(shard, mail);
            }
        }
        self.release(call, true);
        None
    }

    /// A login that the session of this connection waits for is checked.
    pub fn login_checked(
        &mut self,
        connection: ConnectionId,
        verdict: Result<Identity, LoginRefused>,
    ) {
        self.tell(connection, Event::LoginChecked(verdict));
    }

    /// Puts an event where the session finds it.
    pub(super) fn tell(&mut self, connection: ConnectionId, event: Event) {
        if let Some(entry) = self.connections.get_mut(connection) {
            entry.backlog += backlog_bytes(&event);
            count_event(&mut self.counters, &event);
            entry.hear(event, &mut self.spare_events);
            if !entry.ready {
                entry.ready = true;
                self.ready.push(connection);
            }
        }
    }

    /// Tells all connections.
    pub(super) fn tell_all(&mut self, event: impl Fn() -> Event) {
        let all: Vec<_> = self.connections.iter().map(|(id, _)| id).collect();
        for connection in all {
            self.tell(connection, event());
        }
    }

    /// Moves the events that wait for this connection into an empty vector. What they hold counts
    /// as on its way until [`Self::drained`].
    pub fn take_events(&mut self, connection: ConnectionId, into: &mut Vec<Event>) {
        let Some(entry) = self.connections.get_mut(connection) else { return };
        entry.ready = false;
        entry.backlog = 0;
        if entry.events.is_empty() {
            // What has no events keeps no memory for them.
            return;
        }
        // The list that comes empty is not kept here, where most wait.
        let empty = std::mem::replace(into, std::mem::take(&mut entry.events));
        give_spare(&mut self.spare_events, empty);
        for event in &*into {
            if let Event::Delivery(delivery) = event {
                if delivery.id == SETTLED {
                    self.counters.delivered_settled += 1;
                } else {
                    self.counters.delivered += 1;
                }
                self.counters.redelivered += u64::from(delivery.redelivered);
                let bytes = window_bytes(&delivery.message);
                let from = delivery.queue.shard;
                match entry.owed.iter_mut().find(|(shard, _)| *shard == from) {
                    Some((_, owed)) => *owed += bytes,
                    None => entry.owed.push((from, bytes)),
                }
            }
        }
    }

    /// Takes an empty list of events from a connection that has nothing to do: the next that hears
    /// something gets it.
    pub fn spare_events(&mut self, list: Vec<Event>) {
        give_spare(&mut self.spare_events, list);
    }

    /// Octets of the events that wait for this connection, without deliveries: the answer to what
    /// it sent. A connection whose output is full is to send no more when they are many.
    pub fn backlog(&self, connection: ConnectionId) -> u64 {
        self.connections.get(connection).map_or(0, |entry| entry.backlog)
    }

    /// The socket has taken what the session wrote: owners may send more.
    pub fn drained(&mut self, connection: ConnectionId) {
        let Some(entry) = self.connections.get_mut(connection) else { return };
        if entry.owed.is_empty() {
            return;
        }
        let mut here = 0;
        let reference = ConnectionRef { shard: self.shard, connection };
        for (shard, bytes) in entry.owed.drain(..) {
            if shard == self.shard {
                here = bytes;
            } else {
                self.post.send(shard, Mail::Room { connection: reference, bytes });
            }
        }
        if here > 0 {
            self.room(reference, here);
        }
    }

    /// Connections that have events; empties the list.
    pub fn take_ready(&mut self, into: &mut Vec<ConnectionId>) {
        into.append(&mut self.ready);
    }

    /// How many connections are here.
    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }

    /// A connection's reference and place.
    pub(super) fn at(&self, connection: ConnectionId, channel: ChannelId) -> ChannelRef {
        ChannelRef { connection: ConnectionRef { shard: self.shard, connection }, channel }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_broker_knows_of_an_idle_connection_stays_small() {
        assert!(size_of::<Connection>() <= 272, "{}", size_of::<Connection>());
    }

    #[test]
    fn lists_of_events_are_given_back_and_handed_out_again() {
        let mut spare = vec![Vec::with_capacity(4)];
        let mut entry = Connection::new();
        entry.hear(Event::PublishResumed, &mut spare);
        entry.hear(Event::TakenOver, &mut spare);
        assert!(spare.is_empty() && entry.events.len() == 2 && entry.events.capacity() == 4);
    }
}
