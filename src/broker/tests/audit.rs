//! What must hold on a node at rest: every shard has the same exchanges, each knows exactly the
//! interests that the others have, and nothing waits for anything.

use std::collections::BTreeSet;

use super::cluster::Cluster;
use crate::broker::Broker;
use crate::broker::exchange::Destination;

type Bindings = BTreeSet<(u32, String, String)>;

fn bindings(broker: &Broker, wanted: impl Fn(Destination) -> Option<String>) -> Bindings {
    let mut all = Bindings::new();
    for (id, exchange) in &broker.exchanges {
        for listed in exchange.bindings.iter() {
            if let Some(to) = wanted(listed.to) {
                all.insert((id.0, format!("{} {:?}", listed.key, listed.arguments), to));
            }
        }
    }
    all
}

/// Bindings that every shard must have alike.
fn common(to: Destination) -> Option<String> {
    matches!(to, Destination::Exchange(_) | Destination::Named(_)).then(|| format!("{to:?}"))
}

impl Cluster {
    /// To be called at rest.
    pub(super) fn audit(&self) {
        let names = |broker: &Broker| {
            let all = broker.exchanges.iter().map(|(id, e)| (id.0, e.vhost, e.name.to_string()));
            all.collect::<BTreeSet<_>>()
        };
        let first = &self.brokers[0];
        for broker in &self.brokers {
            assert_eq!(names(broker), names(first), "exchanges of {:?}", broker.shard);
            assert_eq!(bindings(broker, common), bindings(first, common));
            for other in &self.brokers {
                if other.shard == broker.shard {
                    continue;
                }
                let known = bindings(broker, |to| {
                    (to == Destination::Shard(other.shard)).then(String::new)
                });
                let local =
                    bindings(other, |to| matches!(to, Destination::Queue(_)).then(String::new));
                let (knows, has) = (broker.shard, other.shard);
                assert_eq!(known, local, "what {knows:?} knows of {has:?}");
            }
            self.audit_waiting(broker);
        }
    }

    fn audit_waiting(&self, broker: &Broker) {
        let shard = broker.shard;
        assert_eq!(broker.calls.len(), 0, "calls of {shard:?}");
        assert_eq!(broker.telling, 0, "{shard:?}");
        assert_eq!(broker.pending.len(), 0, "pending publishes of {shard:?}");
        assert!(broker.early.is_empty() && broker.leaving.is_empty(), "{shard:?}");
        assert!(broker.effects.is_empty() && broker.effects_now.is_empty(), "{shard:?}");
        assert!(broker.dirty.is_empty() && broker.unneeded.is_empty(), "{shard:?}");
        for (session, name, queue) in broker.sessions.all() {
            let entry = queue.and_then(|queue| broker.queues.get(queue));
            assert_eq!(queue.is_some(), entry.is_some(), "{name}");
            assert!(entry.is_none_or(|e| e.session == Some(session) && e.queue.name() == name));
        }
        for (id, entry) in broker.queues.iter() {
            for exchange in &entry.bound_to {
                let bound = broker.exchanges.get(exchange).is_some_and(|e| {
                    let here = crate::ids::QueueRef { shard, queue: id };
                    let to = |to| e.bindings.bindings_of(to).next().is_some();
                    to(Destination::Queue(id)) || to(Destination::Named(here))
                });
                assert!(bound, "{} is not bound to {exchange:?} any more", entry.queue.name());
            }
        }
    }

    /// After everybody has left and everything was deleted.
    pub(super) fn audit_empty(&self) {
        for broker in &self.brokers {
            let shard = broker.shard;
            assert_eq!(broker.connections.len(), 0, "connections of {shard:?}");
            assert_eq!(broker.queues.len(), 0, "queues of {shard:?}");
            assert_eq!(broker.sessions.all(), [], "sessions of {shard:?}");
            assert!(broker.vhosts.iter().all(|v| v.queues.is_empty()), "{shard:?}");
            assert!(broker.footprints.is_empty(), "{shard:?}: {:?}", broker.footprints);
            assert!(broker.replies.is_empty() && broker.paused.is_empty(), "{shard:?}");
            assert!(broker.exchanges.values().all(|e| e.bindings.is_empty()), "{shard:?}");
            assert_eq!(broker.memory_bytes(), 0, "memory of {shard:?}");
            assert_eq!(broker.bindings, 0, "bindings of {shard:?}");
        }
    }
}
