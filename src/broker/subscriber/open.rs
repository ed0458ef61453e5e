//! A connection takes up or begins the session of its client, and loses it: by another connection,
//! by its own end, by the end of the session.
//!
//! May import `session`, `keep`, and of the broker `owner`, `calls`, `connections`.

#[cfg(test)]
use ringmq_shards::log::planted::{Bug, is_planted};

use super::session::{Session, SessionId};
use crate::auth::Access;
use crate::broker::Broker;
use crate::broker::calls::Then;
use crate::broker::consumer::NewConsumer;
use crate::broker::mail::CallId;
use crate::broker::queue::QueueSpec;
use crate::broker::queue::store::Safe;
use crate::command::{Answer, Entity, Event, Now, Refusal};
use crate::ids::{
    ChannelId, ChannelRef, ConnectionId, ConnectionRef, ConsumerKey, QueueId, VhostId,
};
use crate::subscriber::{Lasts, OpenSession, OpenedSession};
use crate::value::Table;

/// Of a session's only consumer.
const KEY: ConsumerKey = ConsumerKey(0);
/// Where its deliveries go.
pub(super) const CHANNEL: ChannelId = ChannelId(0);

impl Broker {
    /// The session that a connection has opened.
    pub(super) fn session_of(&self, connection: ConnectionId) -> Option<SessionId> {
        self.connections.get(connection)?.session
    }

    /// The queue of the session that a connection has opened, if there is one.
    pub(in crate::broker) fn session_queue_of(&self, connection: ConnectionId) -> Option<QueueId> {
        self.sessions.get(self.session_of(connection)?)?.queue
    }

    /// See [`crate::command::Command::OpenSession`].
    pub(in crate::broker) fn open_session(
        &mut self,
        at: ChannelRef,
        vhost: VhostId,
        open: &OpenSession,
        now: Now,
    ) {
        if let Err(refusal) = self.check_open(at, vhost, open) {
            return self.answer(at, Answer::Refused(refusal));
        }
        let Some(call) = self.open_call(Then::Nothing) else { return };
        let then = match self.begin_session(at, vhost, open, (call, now)) {
            Ok((session, resumed)) => Then::SessionOpened { to: at, session, resumed },
            Err(refusal) => Then::Answer { to: at, answer: Answer::Refused(refusal) },
        };
        self.set_then(call, then);
        self.release(call, true);
    }

    fn check_open(
        &self,
        at: ChannelRef,
        vhost: VhostId,
        open: &OpenSession,
    ) -> Result<(), Refusal> {
        let vhost_name = self.vhosts.get(vhost.0 as usize).map_or("", |v| &*v.name);
        if at.connection.shard != self.shard
            || self.placement.owner(vhost_name, &open.queue) != self.shard
        {
            return Err(Refusal::Unavailable("the session lives on another shard".into()));
        }
        if self.session_of(at.connection.connection).is_some() {
            return Err(Refusal::Unavailable("the connection has a session".into()));
        }
        let other = self.queue_id(vhost, &open.queue).and_then(|id| self.queues.get(id));
        if other.is_some_and(|entry| entry.session.is_none()) {
            return Err(Refusal::Locked(open.queue.clone()));
        }
        Ok(())
    }

    fn user_of(&self, connection: ConnectionId) -> &str {
        let entered = self.connections.get(connection).and_then(|c| c.entered.as_ref());
        entered.map_or("", |entered| entered.identity.name())
    }

    /// Takes the session from whoever has it, forgets or resumes it. The call waits for whatever
    /// has to be durable.
    fn begin_session(
        &mut self,
        at: ChannelRef,
        vhost: VhostId,
        open: &OpenSession,
        (call, now): (CallId, Now),
    ) -> Result<(SessionId, bool), Refusal> {
        let connection = at.connection.connection;
        let mut found = self.sessions.named(vhost, &open.queue);
        // They count for the name, whatever becomes of the session.
        let mut takeovers = None;
        let user: Box<str> = self.user_of(connection).into();
        if let Some(id) = found {
            let owner = self.sessions.get(id).map_or("", |session| &session.user);
            if !owner.is_empty() && *owner != *user {
                return Err(Refusal::AccessRefused {
                    access: Access::Read.name(),
                    entity: Entity::Queue,
                    name: open.queue.clone(),
                });
            }
            if let Some(other) = self.sessions.get(id).and_then(|session| session.connection) {
                if !open.takes_over {
                    return Err(Refusal::InUse(Entity::Queue, open.queue.clone()));
                }
                let session = self.sessions.get_mut(id);
                if !session.is_some_and(|s| s.takeovers.allow(open.takeovers_max, now.mono_ms)) {
                    let why = "the session is taken over too often";
                    return Err(Refusal::LimitReached(why.into()));
                }
                if let Some(entry) = self.connections.get_mut(other) {
                    entry.session = None;
                }
                self.part(id, now);
                self.tell(other, Event::TakenOver);
            }
            takeovers = self.sessions.get(id).map(|session| session.takeovers);
            let goes_on = self.sessions.get(id).is_some_and(|s| s.lasts != Lasts::Connection);
            if open.fresh || !goes_on {
                self.end_session(id, call, now);
                found = None;
            }
        }
        let resumed = found.is_some();
        let id = match found {
            Some(id) => {
                self.cancel_will(vhost, &open.queue);
                id
            }
            None => self.new_session(vhost, open, &user, now)?,
        };
        let queue = self.sessions.get(id).and_then(|session| session.queue);
        let waited = queue.and_then(|queue| self.queues.get(queue)).map_or(0, |e| e.queue.ready());
        if let Some(session) = self.sessions.get_mut(id) {
            session.takeovers = takeovers.unwrap_or_default();
            session.waited = if open.limits.waited_is_extra { waited } else { 0 };
            session.connection = Some(connection);
            session.user = user;
            session.window = open.window;
            session.limits = open.limits;
            session.lasts = lasts(open.lasts);
            session.left_wall_ms = None;
            session.ends_ms = None;
        }
        if let Some(entry) = self.connections.get_mut(connection) {
            entry.session = Some(id);
        }
        self.hold_until_attended(id, call);
        // Not for what follows: that the client is here again need not be known after a crash.
        self.hold_definitions(call);
        self.keep_session(id);
        self.keep_announced_will(connection, (call, now));
        Ok((id, resumed))
    }

    /// The call is not ended before it is sure to be known that messages of the session may be out:
    /// until then a crash leaves all that were not out before as such.
    fn hold_until_attended(&mut self, id: SessionId, call: CallId) {
        let queue = self.sessions.get(id).and_then(|session| session.queue);
        let Some(entry) = queue.and_then(|queue| self.queues.get_mut(queue)) else { return };
        match entry.queue.store_mut().attended() {
            Safe::Now => {}
            Safe::Synced(lsn) | Safe::Written(lsn) => self.hold_until_durable(call, lsn),
        }
    }

    fn new_session(
        &mut self,
        vhost: VhostId,
        open: &OpenSession,
        user: &str,
        now: Now,
    ) -> Result<SessionId, Refusal> {
        let lasting = lasts(open.lasts) != Lasts::Connection;
        let session = Session { durable: lasting, ..Session::new(vhost, &open.queue) };
        let session = Session { user: user.into(), ..session };
        let session = Session { limits: open.limits, lasts: lasts(open.lasts), ..session };
        let full = || Refusal::LimitReached("no place is left for a session".into());
        let id = self.sessions.insert(session).ok_or_else(full)?;
        if lasting && let Err(refusal) = self.make_session_queue(id, now) {
            self.sessions.remove(id);
            return Err(refusal);
        }
        Ok(id)
    }

    /// Its queue, which is made if there is none yet.
    pub(super) fn make_session_queue(
        &mut self,
        id: SessionId,
        now: Now,
    ) -> Result<QueueId, Refusal> {
        let gone = || Refusal::Unavailable("the session is over".into());
        let session = self.sessions.get(id).ok_or_else(gone)?;
        if let Some(queue) = session.queue {
            return Ok(queue);
        }
        let (vhost, name, durable) = (session.vhost, session.name.clone(), session.durable);
        let arguments = session.arguments();
        let spec = QueueSpec {
            name: &name,
            durable,
            exclusive: None,
            auto_delete: false,
            arguments: &arguments,
            server_named: false,
        };
        if self.queue_id(vhost, &name).is_some() {
            return Err(Refusal::Locked(name));
        }
        let queue = self.make_queue(vhost, spec, now)?;
        if let Some(entry) = self.queues.get_mut(queue) {
            entry.session = Some(id);
        }
        if let Some(session) = self.sessions.get_mut(id) {
            session.queue = Some(queue);
        }
        self.attach_subscriber(id);
        Ok(queue)
    }

    /// All is durable and known: the connection hears so, and gets what waits for it.
    pub(in crate::broker) fn session_opened(
        &mut self,
        to: ChannelRef,
        id: SessionId,
        resumed: bool,
    ) {
        let own = Some(to.connection.connection);
        if self.sessions.get(id).is_some_and(|session| session.connection == own) {
            // What it may not read since, whoever has taken that away and whenever.
            self.take_back_refused(to.connection.connection, id);
        }
        let session = self.sessions.get_mut(id);
        let Some(session) = session.filter(|session| session.connection == own) else {
            let why = "the session was taken over";
            return self.answer(to, Answer::Refused(Refusal::Unavailable(why.into())));
        };
        session.open = true;
        let subscriptions = session.subscriptions.to_vec();
        let entry = session.queue.and_then(|queue| self.queues.get_mut(queue));
        let receipts = entry.map(|entry| entry.queue.store_mut().receipts()).unwrap_or_default();
        // Of those that are on their way the client hears when they are durable.
        let on_their_way = session.on_their_way.as_ref();
        let is_on_its_way = |number| on_their_way.is_some_and(|all| all.has(number));
        let receipts = receipts.into_iter().filter(|number| !is_on_its_way(*number)).collect();
        let opened = OpenedSession { resumed, subscriptions, receipts };
        self.answer(to, Answer::SessionOpened(Box::new(opened)));
        self.attach_subscriber(id);
        if resumed {
            self.tell_away(id, false);
        }
    }

    /// Makes the connection of an open session the consumer of its queue.
    fn attach_subscriber(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let (Some(connection), Some(queue)) = (session.listener(), session.queue) else { return };
        let Some(entry) = self.queues.get_mut(queue).filter(|_| session.consumer.is_none()) else {
            return;
        };
        let connection = ConnectionRef { shard: self.shard, connection };
        let consuming = entry.queue.add_consumer(&NewConsumer {
            at: ChannelRef { connection, channel: CHANNEL },
            key: KEY,
            tag: "",
            prefetch: session.window.max(1),
            no_settle: false,
            exclusive: false,
            arguments: &Table::default(),
        });
        if let Ok(consuming) = consuming {
            session.consumer = Some(consuming.id);
            self.leave_footprint(connection, queue);
            self.mark_dirty(queue);
        }
    }

    /// The session loses its connection: what was out comes back in order, and no settlement of it
    /// means anything any more.
    fn part(&mut self, id: SessionId, now: Now) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let (connection, consumer) = (session.connection.take(), session.consumer.take());
        session.open = false;
        if let Some(all) = &mut session.on_their_way {
            all.leave();
        }
        let (Some(connection), Some(queue)) = (connection, session.queue) else { return };
        let Some(entry) = self.queues.get_mut(queue) else { return };
        let before = entry.queue.memory_bytes();
        #[cfg(test)]
        if is_planted(Bug::ForgetReceipts) {
            let store = entry.queue.store_mut();
            for number in store.receipts() {
                let _later = store.drop_receipt(number);
            }
        }
        entry.queue.take_all_back(now, &mut self.effects_now);
        if let Some(consumer) = consumer {
            entry.queue.remove_consumer(consumer, now, &mut self.effects_now);
        }
        entry.queue.store_mut().rests();
        self.memory.moved(before, entry.queue.memory_bytes());
        self.queue_effects(queue);
        if consumer.is_some() {
            let connection = ConnectionRef { shard: self.shard, connection };
            self.lift_footprint(connection, queue, 1);
        }
    }

    /// The connection of a session ends: so does the session, or it waits for its client.
    pub(in crate::broker) fn leave_session(
        &mut self,
        id: SessionId,
        call: Option<CallId>,
        now: Now,
    ) {
        self.part(id, now);
        let Some(session) = self.sessions.get_mut(id) else { return };
        match session.lasts {
            Lasts::Connection => {
                let own = if call.is_none() { self.open_call(Then::Nothing) } else { None };
                if let Some(call) = call.or(own) {
                    self.end_session(id, call, now);
                }
                if let Some(own) = own {
                    self.release(own, true);
                }
            }
            Lasts::Ms(_) | Lasts::Forever => {
                session.left_wall_ms = Some(now.wall_ms);
                self.keep_session(id);
                self.await_client(id, now);
                self.tell_away(id, true);
            }
        }
    }

    /// A session ends although its connection is there.
    pub(in crate::broker) fn dismiss(&mut self, id: SessionId, call: CallId, now: Now) {
        if let Some(other) = self.sessions.get(id).and_then(|session| session.connection) {
            if let Some(entry) = self.connections.get_mut(other) {
                entry.session = None;
            }
            self.part(id, now);
            self.tell(
                other,
                Event::Close { reason: "the queue of its session was deleted".into() },
            );
        }
        self.end_session(id, call, now);
    }

    /// The session is over: nothing is left of it. The call ends when all shards know, and when
    /// that is durable if the session was.
    pub(super) fn end_session(&mut self, id: SessionId, call: CallId, now: Now) {
        let Some(gone) = self.sessions.remove(id) else { return };
        self.fire_will(gone.vhost, &gone.name, now);
        if let Some(queue) = gone.queue {
            if !self.leave_groups(&gone, call) {
                self.delete_queue(queue, call, None);
            }
            if gone.durable {
                self.hold_definitions(call);
            }
        }
    }
}

/// No time at all is as long as the connection.
pub(super) const fn lasts(lasts: Lasts) -> Lasts {
    match lasts {
        Lasts::Connection | Lasts::Ms(0) => Lasts::Connection,
        Lasts::Ms(_) | Lasts::Forever => lasts,
    }
}
