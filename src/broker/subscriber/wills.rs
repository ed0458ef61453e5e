//! What is published for a client when its connection ends without goodbye.
//!
//! ```text
//!   set_will ──> parked ── the connection goes ──> waiting ── its delay is over,  ──> published
//!                  │                                  │       or the session ends
//!                  └─ set_will(None) ──> taken back <─┘ the client comes back
//! ```
//!
//! A connection sets it before it opens its session, and is told that this is open when the will is
//! durable; one that is set later is logged without anybody waiting. That it was taken back is not
//! waited for either: nobody hears of it, so a crash right after may still publish it.
//!
//! Both kinds lie among the messages that wait for their time (`broker::clockwork`) and in the log:
//! after a crash one that was parked waits its delay from the start on. Whether its client may
//! publish it is judged when it is set and never again.
//!
//! May import what `broker::subscriber` does, and `clockwork`.

use std::collections::HashMap;
use std::rc::Rc;

#[cfg(test)]
use ringmq_shards::log::planted::{Bug, is_planted};

use crate::auth::Access;
use crate::broker::Broker;
use crate::broker::clockwork::Waiting;
use crate::broker::mail::{CallId, PendingId};
use crate::broker::queue::store::Safe;
use crate::broker::retained::is_topic;
use crate::broker::storage::entry::PARKED;
use crate::command::{Entity, Now, Refusal};
use crate::ids::{ConnectionId, ExchangeId, VhostId};
use crate::message::Message;
use crate::subscriber::{FILTERS, Keep, Will};

/// What is known of a will besides its message.
#[derive(Debug)]
pub(in crate::broker) struct KeptWill {
    pub(in crate::broker) vhost: VhostId,
    /// The name of the queue of its client's session, also of one that has no queue yet.
    pub(in crate::broker) session: Box<str>,
    /// How long it waits when the connection is gone, milliseconds.
    pub(in crate::broker) delay_ms: u64,
    pub(in crate::broker) retain: bool,
    /// While it is parked.
    pub(in crate::broker) connection: Option<ConnectionId>,
    /// It has been published; it stays until it is stored where it went.
    pub(in crate::broker) published: bool,
}

/// A will that no session has yet.
#[derive(Debug)]
pub(in crate::broker) struct Words {
    message: Message,
    delay_ms: u64,
    retain: bool,
}

/// Where the wills of a shard are in its table of waiting messages. One per shard.
#[derive(Debug, Default)]
pub(in crate::broker) struct Wills {
    of_connections: HashMap<ConnectionId, u64, ahash::RandomState>,
    /// Not those that have been published. More than one while a client takes over from itself.
    of_sessions: HashMap<(VhostId, Box<str>), Vec<u64>, ahash::RandomState>,
}

impl Wills {
    /// One is in the table.
    pub(in crate::broker) fn insert(&mut self, number: u64, will: &KeptWill) {
        if let Some(connection) = will.connection {
            self.of_connections.insert(connection, number);
        }
        let session = (will.vhost, will.session.clone());
        self.of_sessions.entry(session).or_default().push(number);
    }

    /// It is not any more, or has been published.
    pub(in crate::broker) fn remove(&mut self, number: u64, will: &KeptWill) {
        if let Some(connection) = will.connection
            && self.of_connections.get(&connection) == Some(&number)
        {
            self.of_connections.remove(&connection);
        }
        let session = (will.vhost, will.session.clone());
        if let Some(numbers) = self.of_sessions.get_mut(&session) {
            numbers.retain(|known| *known != number);
            if numbers.is_empty() {
                self.of_sessions.remove(&session);
            }
        }
    }

    #[cfg(test)]
    pub(in crate::broker) fn is_empty(&self) -> bool {
        self.of_connections.is_empty() && self.of_sessions.is_empty()
    }

    fn of_session(&self, vhost: VhostId, session: &str) -> Vec<u64> {
        self.of_sessions.get(&(vhost, session.into())).cloned().unwrap_or_default()
    }
}

impl Broker {
    /// See [`Broker::set_will`].
    pub(super) fn keep_will(
        &mut self,
        connection: ConnectionId,
        will: Option<&Will<'_>>,
        now: Now,
    ) {
        #[cfg(test)]
        if will.is_none() && is_planted(Bug::PublishWithdrawnWill) {
            return;
        }
        self.forget_will(connection);
        let words = will.and_then(|will| self.words_of(connection, will, now));
        let Some(entry) = self.connections.get_mut(connection) else { return };
        if entry.session.is_none() {
            entry.will = words;
        } else if let Some(words) = words {
            self.park_will(connection, *words, now);
        }
    }

    /// A connection has its session: the will that it came with is kept, and the call waits for that
    /// to be durable. Who is told that the connection is open may rely on it (3.1.2-8 of mqtt.md 2.1).
    pub(super) fn keep_announced_will(
        &mut self,
        connection: ConnectionId,
        (call, now): (CallId, Now),
    ) {
        let words = self.connections.get_mut(connection).and_then(|entry| entry.will.take());
        let safe = words.and_then(|words| self.park_will(connection, *words, now));
        if let Some(Safe::Synced(lsn)) = safe {
            self.hold_until_durable(call, lsn);
        }
    }

    fn park_will(&mut self, connection: ConnectionId, words: Words, now: Now) -> Option<Safe> {
        let mut waiting = self.make_will(connection, words)?;
        let safe = self.log_will(&mut waiting);
        self.keep_waiting(waiting, now);
        safe
    }

    fn words_of(&self, connection: ConnectionId, will: &Will<'_>, now: Now) -> Option<Box<Words>> {
        let vhost = self.connections.get(connection)?.entered.as_ref()?.vhost;
        let (_, name) = self.filters_of(vhost)?;
        let body = will.body.clone();
        let message =
            Message::new(name, will.topic, will.traits, will.properties, body, now.mono_ms)?;
        Some(Box::new(Words { message, delay_ms: will.delay_ms, retain: will.retain }))
    }

    /// The rights of a connection's client have changed: what it may not publish any more it does
    /// not leave behind either. One whose connection is gone stays as it was judged then.
    pub(in crate::broker) fn review_will(&mut self, connection: ConnectionId) {
        let Some(number) = self.wills.of_connections.get(&connection).copied() else { return };
        let waiting = self.delayed.waiting.get(&number);
        let topic = waiting.map(|waiting| waiting.message.routing_key());
        let may = topic.map(|topic| self.permit_will(connection, topic));
        if let Some(Err(refusal)) = may {
            tracing::info!(?refusal, "a will is not kept any more");
            self.withdraw(number);
        }
    }

    /// The user of a connection is gone: nobody is left who might publish it.
    pub(in crate::broker) fn forget_will(&mut self, connection: ConnectionId) {
        if let Some(entry) = self.connections.get_mut(connection) {
            entry.will = None;
        }
        if let Some(number) = self.wills.of_connections.get(&connection).copied() {
            self.withdraw(number);
        }
    }

    fn permit_will(&self, connection: ConnectionId, topic: &str) -> Result<(), Refusal> {
        let entered = self.connections.get(connection).and_then(|entry| entry.entered.as_ref());
        if let Some(entered) = entered {
            self.permit(entered, Access::Write, Entity::Exchange, FILTERS)?;
        }
        self.permit_topic(connection, topic)
    }

    fn make_will(&self, connection: ConnectionId, words: Words) -> Option<Waiting> {
        let Words { message, delay_ms, retain } = words;
        if let Err(refusal) = self.permit_will(connection, message.routing_key()) {
            tracing::info!(?refusal, "a will is not kept");
            return None;
        }
        let (vhost, session) = self.session_name_of(connection)?;
        let (exchange, _) = self.filters_of(vhost)?;
        let connection = Some(connection);
        let will = KeptWill { vhost, session, delay_ms, retain, connection, published: false };
        let will = Some(Box::new(will));
        Some(Waiting { due_ms: PARKED, exchange, keys: None, message, logged: None, will })
    }

    /// The exchange of filters of a virtual host, and its name.
    pub(in crate::broker) fn filters_of(&self, vhost: VhostId) -> Option<(ExchangeId, Rc<str>)> {
        let id = self.exchange_id(vhost, FILTERS)?;
        Some((id, self.exchanges.get(&id)?.name.clone()))
    }

    fn session_name_of(&self, connection: ConnectionId) -> Option<(VhostId, Box<str>)> {
        let session = self.sessions.get(self.session_of(connection)?)?;
        Some((session.vhost, session.name.clone()))
    }

    /// Whether there is a session whose queue has this name.
    pub(in crate::broker) fn has_session(&self, vhost: VhostId, session: &str) -> bool {
        self.sessions.named(vhost, session).is_some()
    }

    /// A connection is gone: its will, if it has left one, waits for its time.
    pub(in crate::broker) fn release_will(&mut self, connection: ConnectionId, now: Now) {
        let Some(number) = self.wills.of_connections.remove(&connection) else { return };
        let Some(waiting) = self.delayed.waiting.get_mut(&number) else { return };
        let Some(will) = &mut waiting.will else { return };
        will.connection = None;
        let delay_ms = will.delay_ms;
        if delay_ms == 0 {
            return self.publish_waiting(number, now);
        }
        waiting.due_ms = now.mono_ms.saturating_add(delay_ms).min(PARKED - 1);
        self.carry_delayed(number);
        self.await_due(number, now);
    }

    /// A client comes back to its session: what waits for that is not published. A will without
    /// delay does not wait: the connection that it is of still has it.
    pub(in crate::broker) fn cancel_will(&mut self, vhost: VhostId, session: &str) {
        for number in self.wills.of_session(vhost, session) {
            let will = self.delayed.waiting.get(&number).and_then(|w| w.will.as_ref());
            if will.is_some_and(|will| will.delay_ms > 0) {
                self.withdraw(number);
            }
        }
    }

    /// A session ends: what waits is published at once, and that of a connection that is still there
    /// as soon as that goes.
    pub(in crate::broker) fn fire_will(&mut self, vhost: VhostId, session: &str, now: Now) {
        for number in self.wills.of_session(vhost, session) {
            let waiting = self.delayed.waiting.get_mut(&number);
            let Some(will) = waiting.and_then(|waiting| waiting.will.as_mut()) else { continue };
            will.delay_ms = 0;
            if will.connection.is_none() {
                self.publish_waiting(number, now);
            }
        }
    }

    /// Publishes to all that have subscribed to a topic, for nobody's connection; as
    /// [`Broker::publish_topic`] does for one.
    pub(in crate::broker) fn publish_will(
        &mut self,
        (vhost, exchange): (VhostId, ExchangeId),
        message: &Message,
        retain: bool,
        wanted: Option<PendingId>,
        now: Now,
    ) {
        // Times of messages count from here, not from when the will was made.
        let message = message.with(|inner| inner.received_ms = now.mono_ms);
        self.publish_internal(exchange, &message, None, wanted, now);
        if retain && is_topic(message.routing_key()) {
            // As for queues of this shard: it stands in the log before the settlement of the will.
            let _ = self.retain(vhost, Keep::IfRoom, &message, wanted, now);
        }
    }
}
