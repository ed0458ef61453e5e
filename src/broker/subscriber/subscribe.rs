//! Subscriptions are bindings of a session's queue to the exchange of filters, or to that of groups; what the subscriber
//! wants of a filter stands in the binding's arguments.
//!
//! May import `session`, `open`, and of the broker `interest`, `calls`.

use super::session::{Options, SessionId};
use crate::broker::Broker;
use crate::broker::calls::Then;
use crate::broker::mail::{BindingSpec, CallId};
use crate::command::{Answer, Entity, Event, Now, Refusal};
use crate::ids::{ChannelRef, ConnectionId, QueueId, VhostId};
use crate::subscriber::{Assurance, FILTERS, FilterName, GROUPS, Subscription, address};
use crate::value::{Table, Value};

/// 1: at least once, 2: exactly once; missing: at most once.
const ASSURANCE: &str = "x-assurance";
/// Not what the subscriber publishes itself.
const NOT_OWN: &str = "x-not-own";
/// The retained mark as its publisher set it.
const AS_PUBLISHED: &str = "x-as-published";
/// The subscriber's number for it.
const NUMBER: &str = "x-number";

impl Options {
    /// What is as usual is left out: a binding without arguments is found fastest.
    fn arguments(self) -> Table {
        let mut table = Table::default();
        match self.assurance {
            Assurance::AtMostOnce => {}
            Assurance::AtLeastOnce => table.set(ASSURANCE, Value::U8(1)),
            Assurance::ExactlyOnce => table.set(ASSURANCE, Value::U8(2)),
        }
        if self.not_own {
            table.set(NOT_OWN, Value::Bool(true));
        }
        if self.as_published {
            table.set(AS_PUBLISHED, Value::Bool(true));
        }
        if self.number != 0 {
            table.set(NUMBER, Value::U32(self.number));
        }
        table
    }

    /// The other way round.
    pub(super) fn read(table: &Table) -> Self {
        let integer = |name| table.get(name).and_then(Value::as_integer).unwrap_or(0);
        let flag = |name| table.get(name).and_then(Value::as_bool).unwrap_or(false);
        Self {
            assurance: match integer(ASSURANCE) {
                1 => Assurance::AtLeastOnce,
                2 => Assurance::ExactlyOnce,
                _ => Assurance::AtMostOnce,
            },
            not_own: flag(NOT_OWN),
            as_published: flag(AS_PUBLISHED),
            number: u32::try_from(integer(NUMBER)).unwrap_or(0),
        }
    }
}

impl Broker {
    /// See [`crate::command::Command::Subscribe`].
    pub(in crate::broker) fn subscribe(
        &mut self,
        at: ChannelRef,
        subscriptions: Vec<Subscription>,
        now: Now,
    ) {
        let Some(id) = self.session_of(at.connection.connection) else {
            return self.answer(at, Answer::Refused(no_session()));
        };
        let queue = self.make_session_queue(id, now);
        let Some(call) = self.open_call(Then::Nothing) else { return };
        let all = subscriptions.into_iter().map(|subscription| match &queue {
            Ok(queue) => self
                .permit_subscription(at.connection.connection, &subscription.name)
                .and_then(|()| self.subscribe_one((id, *queue), &subscription, call)),
            Err(refusal) => Err(refusal.clone()),
        });
        let answer = Answer::Subscribed(all.collect());
        self.finish_subscribing(at, call, answer);
    }

    fn permit_subscription(
        &self,
        connection: ConnectionId,
        name: &FilterName,
    ) -> Result<(), Refusal> {
        match name.group {
            None => self.permit_filter(connection, &name.filter),
            Some(_) => self.permit_member(connection, &name.filter),
        }
    }

    /// True: it is new.
    fn subscribe_one(
        &mut self,
        (id, queue): (SessionId, QueueId),
        subscription: &Subscription,
        call: CallId,
    ) -> Result<bool, Refusal> {
        let (name, options) = (&subscription.name, Options::of(subscription));
        let Some(session) = self.sessions.get(id) else { return Err(no_session()) };
        let (vhost, before) = (session.vhost, session.subscriptions.get(name));
        if before == Some(options) {
            return Ok(false);
        }
        let binding = self.filter_binding(vhost, name, options)?;
        // Anew first: no message finds the queue unbound in between, and as the route has the
        // queue once none finds it twice.
        self.bind_within(queue, &binding, call)?;
        if let Some(before) = before {
            let binding = self.filter_binding(vhost, name, before)?;
            self.take_binding(queue, &binding, call);
        }
        if let Some(session) = self.sessions.get_mut(id) {
            session.subscriptions.insert(name, options);
        }
        Ok(before.is_none())
    }

    /// See [`crate::command::Command::Unsubscribe`].
    pub(in crate::broker) fn unsubscribe(&mut self, at: ChannelRef, filters: &[FilterName]) {
        let Some(id) = self.session_of(at.connection.connection) else {
            return self.answer(at, Answer::Refused(no_session()));
        };
        let Some(call) = self.open_call(Then::Nothing) else { return };
        let all = filters.iter().map(|name| self.unsubscribe_one(id, name, call));
        let answer = Answer::Unsubscribed(all.collect());
        self.finish_subscribing(at, call, answer);
    }

    fn unsubscribe_one(&mut self, id: SessionId, name: &FilterName, call: CallId) -> bool {
        let Some(session) = self.sessions.get_mut(id) else { return false };
        let Some(options) = session.subscriptions.remove(name) else { return false };
        let (vhost, queue) = (session.vhost, session.queue);
        if let (Some(queue), Ok(binding)) = (queue, self.filter_binding(vhost, name, options)) {
            self.take_binding(queue, &binding, call);
        }
        true
    }

    /// Takes back what the connection's user may not subscribe to any more; gives what that was.
    pub(super) fn take_back_refused(
        &mut self,
        connection: ConnectionId,
        id: SessionId,
    ) -> Vec<FilterName> {
        let Some(session) = self.sessions.get(id) else { return Vec::new() };
        let all = session.subscriptions.to_vec().into_iter().map(|subscription| subscription.name);
        let refused = all.filter(|name| self.permit_subscription(connection, name).is_err());
        let refused: Vec<FilterName> = refused.collect();
        if !refused.is_empty()
            && let Some(call) = self.open_call(Then::Nothing)
        {
            for name in &refused {
                self.unsubscribe_one(id, name, call);
            }
            self.release(call, true);
        }
        refused
    }

    /// The same of an open session, which hears of it.
    pub(in crate::broker) fn review_subscriptions(&mut self, connection: ConnectionId) {
        let Some(id) = self.session_of(connection) else { return };
        let filters = self.take_back_refused(connection, id);
        if !filters.is_empty() {
            self.tell(connection, Event::SubscriptionsGone { filters });
        }
    }

    fn finish_subscribing(
        &mut self,
        at: ChannelRef,
        call: CallId,
        answer: crate::broker::mail::PlainAnswer,
    ) {
        self.wait_for_earlier(call);
        self.hold_definitions(call);
        self.set_then(call, Then::Answer { to: at, answer });
        self.release(call, true);
    }

    pub(super) fn filter_binding(
        &self,
        vhost: VhostId,
        name: &FilterName,
        options: Options,
    ) -> Result<BindingSpec, Refusal> {
        let (source, key) = match &name.group {
            None => (FILTERS, name.filter.clone()),
            Some(group) => (GROUPS, address(group, &name.filter).into()),
        };
        let exchange = self.exchange_id(vhost, source);
        let exchange =
            exchange.ok_or_else(|| Refusal::NotFound(Entity::Exchange, source.into()))?;
        Ok(BindingSpec { exchange, key, arguments: options.arguments() })
    }
}

fn no_session() -> Refusal {
    Refusal::Unavailable("the connection has no session".into())
}
