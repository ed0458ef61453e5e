//! Sessions that a restart finds: each durable queue of the type is one, with what the arguments of
//! its definition and of its bindings say.
//!
//! May import `session`, `keep`, `subscribe`, and of the broker `binding`.

#[cfg(test)]
use ringmq_shards::log::planted::{Bug, is_planted};

use super::leave::Leaving;
use super::session::{Options, Session, Subscriptions};
use crate::broker::Broker;
use crate::broker::calls::Then;
use crate::broker::exchange::Destination;
use crate::broker::mail::BindingSpec;
use crate::command::Now;
use crate::ids::{QueueId, QueueRef, VhostId};
use crate::subscriber::{FILTERS, FilterName, GROUPS, group_of};

impl Broker {
    /// After queues and bindings are there. Sessions whose clients were there when the process died
    /// count from now.
    pub(in crate::broker) fn restore_sessions(&mut self, now: Now) {
        let groups = self.vhosts.iter().filter_map(|vhost| vhost.exchanges.get(GROUPS));
        for groups in groups {
            if let Some(entry) = self.exchanges.get_mut(groups) {
                entry.bindings.set_all_away();
            }
        }
        let all = self.queues.iter().filter(|(_, entry)| entry.queue.kind().of_session);
        let all: Vec<QueueId> = all.map(|(id, _)| id).collect();
        for queue in all {
            let Some(entry) = self.queues.get_mut(queue) else { continue };
            if let Some(leaving) = Leaving::read(entry.queue.arguments()) {
                entry.leaving = Some(Box::new(leaving));
                self.leave_on(queue);
                continue;
            }
            let mut session = Session::new(entry.vhost, entry.queue.name());
            session.read_arguments(entry.queue.arguments());
            #[cfg(test)]
            if is_planted(Bug::LetSessionsLiveOn) {
                session.away_ms = None;
            }
            // Nobody left in the future: the wall clock went back since (abuse row 116).
            session.away_ms = Some(session.away_ms.map_or(now.mono_ms, |at| at.min(now.mono_ms)));
            session.queue = Some(queue);
            let (subscriptions, twice) = self.restored_subscriptions(queue, session.vhost);
            session.subscriptions = subscriptions;
            self.drop_restored(queue, twice);
            let Some(id) = self.sessions.insert(session) else { continue };
            let Some(session) = self.sessions.get(id) else { continue };
            let arguments = session.arguments();
            if let Some(entry) = self.queues.get_mut(queue) {
                entry.session = Some(id);
                // The first checkpoint says so; a crash before that counts from the next start.
                entry.queue.set_arguments(arguments);
            }
            self.await_client(id, now);
        }
    }

    /// A queue whose session was over goes on leaving; the process may have died before it had lost all
    /// its bindings.
    fn leave_on(&mut self, queue: QueueId) {
        let Some(vhost) = self.queues.get(queue).map(|entry| entry.vhost) else { return };
        let (left, mut bindings) = self.restored_subscriptions(queue, vhost);
        bindings.extend(
            left.to_vec()
                .iter()
                .filter_map(|left| self.filter_binding(vhost, &left.name, Options::of(left)).ok()),
        );
        self.drop_restored(queue, bindings);
        self.mark_dirty(queue);
    }

    /// And what stood there twice as the process died between the new one and the end of the old.
    fn restored_subscriptions(
        &self,
        queue: QueueId,
        vhost: VhostId,
    ) -> (Subscriptions, Vec<BindingSpec>) {
        let (mut subscriptions, mut twice) = (Subscriptions::default(), Vec::new());
        let member = Destination::Named(QueueRef { shard: self.shard, queue });
        for (source, to) in [(FILTERS, Destination::Queue(queue)), (GROUPS, member)] {
            let id = self.exchange_id(vhost, source);
            let source = id.and_then(|id| Some((id, self.exchanges.get(&id)?)));
            let Some((exchange, entry)) = source else { continue };
            for bound in entry.bindings.bindings_of(to) {
                let name = match group_of(bound.key) {
                    None => FilterName { group: None, filter: bound.key.into() },
                    Some((group, filter)) => {
                        FilterName { group: Some(group.into()), filter: filter.into() }
                    }
                };
                if subscriptions.get(&name).is_some() {
                    let (key, arguments) = (bound.key.into(), bound.arguments.clone());
                    twice.push(BindingSpec { exchange, key, arguments });
                } else {
                    subscriptions.insert(&name, Options::read(bound.arguments));
                }
            }
        }
        (subscriptions, twice)
    }

    fn drop_restored(&mut self, queue: QueueId, bindings: Vec<BindingSpec>) {
        if bindings.is_empty() {
            return;
        }
        if let Some(call) = self.open_call(Then::Nothing) {
            for binding in bindings {
                self.take_binding(queue, &binding, call);
            }
            self.release(call, true);
        }
    }
}
