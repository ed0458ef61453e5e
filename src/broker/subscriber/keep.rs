//! What is kept of a session besides its messages: how long it lasts and since when its client is
//! away, written into the definition of its queue; and its end when that is over.
//!
//! May import `session`, `open`, and of the broker `definitions`, `clockwork`.

use super::open::lasts;
use super::session::{Session, SessionId};
use crate::broker::Broker;
use crate::broker::calls::Then;
use crate::broker::clockwork::Alarm;
use crate::broker::queue::arguments::QUEUE_TYPE;
use crate::broker::queue::session;
use crate::command::Now;
use crate::ids::ConnectionId;
use crate::subscriber::Lasts;
use crate::value::{Table, Value};

/// How many milliseconds the session lasts without its client; missing: no longer than its
/// connection.
const LASTS: &str = "x-lasts";
/// What stands there for a session that lasts for ever.
const FOREVER: &str = "forever";
/// When its client left, milliseconds of `Now::mono_ms`; missing: it is there.
const LEFT_AT: &str = "x-left-at";
/// The session is over, and what is left of it goes to others: see `broker::subscriber::leave`.
pub(in crate::broker) const LEAVING: &str = "x-leaving";
/// The user it belongs to.
const USER: &str = "x-user";
/// How many messages wait at most while the client is away; missing: any number.
const OFFLINE_MAX: &str = "x-offline-max";
/// The oldest of them goes first.
const DROP_OLDEST: &str = "x-drop-oldest";

/// Numbers beyond stand for the largest.
fn number(n: u64) -> Value {
    Value::I64(i64::try_from(n).unwrap_or(i64::MAX))
}

impl Session {
    /// The arguments of its queue.
    pub(super) fn arguments(&self) -> Table {
        let mut table = Table::default();
        table.set(QUEUE_TYPE, Value::text(session::NAME));
        if !self.durable {
            return table;
        }
        match self.lasts {
            Lasts::Connection => {}
            Lasts::Ms(ms) => table.set(LASTS, number(ms)),
            Lasts::Forever => table.set(LASTS, Value::text(FOREVER)),
        }
        if !self.user.is_empty() {
            table.set(USER, Value::text(&self.user));
        }
        if let Some(at) = self.away_ms {
            table.set(LEFT_AT, number(at));
        }
        if let Some(max) = self.limits.offline_max {
            table.set(OFFLINE_MAX, number(max));
        }
        if self.limits.drop_oldest {
            table.set(DROP_OLDEST, Value::Bool(true));
        }
        table
    }

    /// The other way round.
    pub(super) fn read_arguments(&mut self, table: &Table) {
        let natural = |name| {
            let value = table.get(name).and_then(Value::as_integer);
            value.and_then(|n| u64::try_from(n).ok())
        };
        self.lasts = match table.get(LASTS) {
            Some(value) if value.as_text() == Some(FOREVER) => Lasts::Forever,
            Some(_) | None => Lasts::Ms(natural(LASTS).unwrap_or(0)),
        };
        self.user = table.get(USER).and_then(Value::as_text).unwrap_or_default().into();
        self.away_ms = natural(LEFT_AT);
        self.limits.offline_max = natural(OFFLINE_MAX);
        self.limits.drop_oldest = table.get(DROP_OLDEST).and_then(Value::as_bool).unwrap_or(false);
    }
}

impl Broker {
    /// Writes down what has changed; nobody waits for that.
    pub(super) fn keep_session(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get(id).filter(|session| session.durable) else { return };
        let (Some(queue), arguments) = (session.queue, session.arguments()) else { return };
        let Some(entry) = self.queues.get_mut(queue) else { return };
        if *entry.queue.arguments() != arguments {
            entry.queue.set_arguments(arguments);
            self.log_queue(queue);
        }
    }

    /// Sets the end of a session whose client is away.
    pub(super) fn await_client(&mut self, id: SessionId, now: Now) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let Some(left) = session.away_ms else { return };
        let lasts_ms = match session.lasts {
            Lasts::Connection => 0,
            Lasts::Ms(ms) => ms,
            Lasts::Forever => return,
        };
        let left_ms = left.saturating_add(lasts_ms).saturating_sub(now.mono_ms);
        let ends = now.mono_ms.saturating_add(left_ms);
        session.ends_ms = Some(ends);
        if session.timer_ms.is_none_or(|set| ends < set) {
            session.timer_ms = Some(ends);
            self.timers.insert(ends, Alarm::Session(id));
        }
    }

    /// The time of a session may be over.
    pub(in crate::broker) fn session_time(&mut self, id: SessionId, now: Now) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        // A timer that a later, earlier one replaced: that one did the work.
        if session.timer_ms.is_some_and(|set| set > now.mono_ms) {
            return;
        }
        session.timer_ms = None;
        let Some(ends) = session.ends_ms else { return };
        if ends > now.mono_ms {
            session.timer_ms = Some(ends);
            self.timers.insert(ends, Alarm::Session(id));
            return;
        }
        if let Some(call) = self.open_call(Then::Nothing) {
            self.end_session(id, call, now);
            self.release(call, true);
        }
    }

    /// See [`Broker::set_lasts`].
    pub(super) fn change_lasts(&mut self, connection: ConnectionId, to: Lasts) {
        let Some(id) = self.session_of(connection) else { return };
        let Some(session) = self.sessions.get_mut(id).filter(|session| session.durable) else {
            return;
        };
        session.lasts = lasts(to);
        self.keep_session(id);
    }
}
