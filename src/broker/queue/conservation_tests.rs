//! Whatever happens to a queue with limits, every message ends in exactly one way.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::testing::{Bench, channel, connection, message_with};
use super::*;
use crate::command::Outcome;
use crate::ids::{ConsumerId, DeliveryId};
use crate::value::Value;

#[derive(Debug, Clone)]
enum Act {
    Publish { ttl_ms: Option<u64>, priority: u8 },
    Deliver,
    Settle(usize, Outcome),
    Take,
    Add { prefetch: u32, priority: i8, limited: bool },
    Remove(usize),
    Pause(usize, bool),
    Grant(u32),
    Block(u32, bool),
    Wait(u64),
    Load,
}

fn act() -> impl Strategy<Value = Act> {
    let outcome = prop_oneof![
        3 => Just(Outcome::Accept),
        3 => any::<bool>().prop_map(|failed| Outcome::Requeue { failed }),
        1 => Just(Outcome::Reject),
    ];
    prop_oneof![
        8 => (prop::option::weighted(0.4, 0_u64..20), 0_u8..4)
            .prop_map(|(ttl_ms, priority)| Act::Publish { ttl_ms, priority }),
        4 => Just(Act::Deliver),
        6 => (any::<usize>(), outcome).prop_map(|(which, how)| Act::Settle(which, how)),
        2 => Just(Act::Take),
        2 => (1_u32..4, 0_i8..3, any::<bool>())
            .prop_map(|(prefetch, priority, limited)| Act::Add { prefetch, priority, limited }),
        1 => any::<usize>().prop_map(Act::Remove),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(which, on)| Act::Pause(which, on)),
        2 => (1_u32..3).prop_map(Act::Grant),
        1 => (0_u32..3, any::<bool>()).prop_map(|(which, full)| Act::Block(which, full)),
        2 => (1_u64..15).prop_map(Act::Wait),
        3 => Just(Act::Load),
    ]
}

#[derive(Debug, Default)]
struct Ledger {
    published: usize,
    /// Names of messages that are out.
    out: Vec<(DeliveryId, String)>,
    ended: BTreeSet<String>,
    consumers: Vec<ConsumerId>,
}

impl Ledger {
    fn end(&mut self, name: String) {
        assert!(self.ended.insert(name), "it ends once");
    }

    /// Books what the queue has sent since the last time.
    fn book(&mut self, bench: &mut Bench) {
        for got in std::mem::take(&mut bench.outlet.got) {
            assert!(!self.ended.contains(&got.what), "the dead stay dead");
            self.out.push((got.id, got.what));
        }
        for (name, _) in bench.dead() {
            assert!(!self.out.iter().any(|(_, out)| *out == name), "what is out does not die");
            self.end(name);
        }
        let dying = bench.queue.dying.len() as u64;
        let alive = bench.queue.ready() + bench.queue.unsettled() + dying;
        assert_eq!(alive, (self.published - self.ended.len()) as u64);
        assert_eq!(bench.queue.unsettled(), self.out.len() as u64);
    }

    fn pick<T: Copy>(all: &[T], which: usize) -> Option<T> {
        all.get(which % all.len().max(1)).copied()
    }

    fn apply(&mut self, act: &Act, bench: &mut Bench) {
        match *act {
            Act::Publish { ttl_ms, priority } => {
                let name = self.published.to_string();
                self.published += 1;
                let message = message_with(&name, |t| {
                    (t.expiration_ms, t.priority) = (ttl_ms, Some(priority));
                });
                if bench.publish_message(message) == Enqueued::Overflowed {
                    self.end(name);
                }
            }
            Act::Deliver => bench.outlet.got = bench.deliver(),
            Act::Settle(which, outcome) => {
                if self.out.is_empty() {
                    return;
                }
                let (id, name) = self.out.swap_remove(which % self.out.len());
                assert!(bench.settle(id, outcome));
                if outcome == Outcome::Accept {
                    self.end(name);
                }
            }
            Act::Take => {
                let taken = bench.take();
                self.out.extend(taken.map(|t| (t.id, t.message.routing_key().to_owned())));
            }
            Act::Add { prefetch, priority, limited } => {
                let arguments = testing::table(&[("x-priority", Value::I8(priority))]);
                let number = u32::try_from(self.consumers.len() % 3).unwrap();
                let added = bench.consumer_with(number, prefetch, |c| {
                    (c.at, c.arguments) = (channel(number), &arguments);
                });
                bench.queue.set_limited(added.clone().unwrap(), limited);
                self.consumers.extend(added);
            }
            Act::Remove(which) => {
                if let Some(id) = Self::pick(&self.consumers, which) {
                    self.consumers.retain(|other| *other != id);
                    assert!(bench.remove(id).is_some());
                }
            }
            Act::Pause(which, paused) => {
                if let Some(id) = Self::pick(&self.consumers, which) {
                    bench.queue.set_consumer_paused(id, paused);
                }
            }
            Act::Grant(tokens) => {
                if let Some(id) = bench.outlet.wanted.pop() {
                    bench.queue.grant(id, tokens);
                }
            }
            Act::Block(which, full) => {
                if full {
                    bench.outlet.full.insert(connection(which));
                } else {
                    bench.outlet.full.remove(&connection(which));
                    bench.queue.resume(connection(which));
                }
            }
            Act::Wait(ms) => {
                bench.at_ms += ms;
                bench.on_time();
                let next = bench.next_deadline();
                let done = next.is_none_or(|at| at > bench.at_ms);
                assert!(done || bench.by_hand, "all that was due is done");
            }
            Act::Load => bench.load(),
        }
    }
}

fn run(acts: &[Act], kind: &str, own: &[(&str, Value)]) {
    let mut entries = vec![
        ("x-max-length", Value::I32(5)),
        ("x-message-ttl", Value::I32(12)),
        ("x-delivery-limit", Value::I32(2)),
        ("x-dead-letter-exchange", Value::text("dlx")),
    ];
    entries.extend_from_slice(own);
    run_on(acts, Bench::new(kind, &entries));
    run_on(acts, Bench::slow(kind, &entries, 2));
    run_on(acts, Bench { by_hand: true, ..Bench::slow(kind, &entries, 2) });
}

fn run_on(acts: &[Act], mut bench: Bench) {
    let mut ledger = Ledger::default();
    for act in acts {
        ledger.apply(act, &mut bench);
        ledger.book(&mut bench);
        let ready = bench.queue.ready();
        assert!(ready <= 5 || bench.by_hand, "the limit holds after every call");
    }
    // Whatever had to wait is done in the end.
    bench.load_all();
    ledger.book(&mut bench);
    assert!(bench.queue.ready() <= 5 && bench.queue.dying.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn in_a_classic_queue(acts in prop::collection::vec(act(), 1..150)) {
        run(&acts, "classic", &[("x-max-priority", Value::I32(2))]);
    }

    #[test]
    fn in_a_quorum_queue(acts in prop::collection::vec(act(), 1..150)) {
        run(&acts, "quorum", &[("x-single-active-consumer", Value::Bool(true))]);
    }

    #[test]
    fn in_a_queue_that_refuses(acts in prop::collection::vec(act(), 1..150)) {
        // Returned messages may exceed the limit here: nothing is dropped and nobody to refuse.
        let acts: Vec<_> = acts
            .into_iter()
            .filter(|act| !matches!(act, Act::Settle(_, Outcome::Requeue { .. })))
            .collect();
        run(&acts, "classic", &[("x-overflow", Value::text("reject-publish"))]);
    }
}
