//! Random operations against a model so simple that it can be checked by eye: nothing is lost,
//! nothing comes twice, and the order is right.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::testing::{Bench, Got, message, message_with};
use super::*;
use crate::command::Outcome;
use crate::ids::{ConsumerId, DeliveryId};
use crate::value::Value;

#[derive(Debug, Clone)]
enum Act {
    Publish(u8),
    Deliver,
    Settle(usize, Outcome),
    Take,
    Add { prefetch: u32, no_settle: bool },
    Remove(usize),
    Block(u32),
    Resume(u32),
    Purge,
}

fn act() -> impl Strategy<Value = Act> {
    let outcome = prop_oneof![
        4 => Just(Outcome::Accept),
        3 => any::<bool>().prop_map(|failed| Outcome::Requeue { failed }),
        1 => Just(Outcome::Reject),
    ];
    prop_oneof![
        8 => (0_u8..4).prop_map(Act::Publish),
        6 => Just(Act::Deliver),
        8 => (any::<usize>(), outcome).prop_map(|(which, how)| Act::Settle(which, how)),
        2 => Just(Act::Take),
        2 => (1_u32..5, any::<bool>())
            .prop_map(|(prefetch, no_settle)| Act::Add { prefetch, no_settle }),
        1 => any::<usize>().prop_map(Act::Remove),
        1 => (0_u32..4).prop_map(Act::Block),
        1 => (0_u32..4).prop_map(Act::Resume),
        1 => Just(Act::Purge),
    ]
}

/// What a queue should be: sorted ready messages, and who has what.
#[derive(Debug, Default)]
struct Model {
    next: usize,
    /// Priority (highest first) and number: the order of delivery.
    ready: BTreeSet<(u8, usize)>,
    /// Given back, where that has an order of its own.
    returned: Vec<(u8, usize)>,
    out: BTreeMap<DeliveryId, ((u8, usize), Option<ConsumerId>)>,
    consumers: Vec<(ConsumerId, u32, u32, bool)>,
    was_out: BTreeSet<usize>,
    listed: bool,
}

impl Model {
    fn front(&mut self) -> Option<(u8, usize)> {
        if self.returned.is_empty() {
            self.ready.pop_first()
        } else {
            Some(self.returned.remove(0))
        }
    }

    fn count(&self) -> u64 {
        (self.ready.len() + self.returned.len()) as u64
    }

    fn out_of(&self, id: ConsumerId) -> u32 {
        u32::try_from(self.out.values().filter(|(_, to)| *to == Some(id)).count()).unwrap()
    }

    fn got(&mut self, got: &Got) {
        let front = self.front().expect("something was ready");
        assert_eq!(got.what, front.1.to_string(), "the next in order");
        assert_eq!(got.redelivered, self.was_out.contains(&front.1));
        let (id, _, prefetch, no_settle) =
            *self.consumers.iter().find(|c| c.1 == got.to).expect("its consumer is there");
        if !no_settle {
            assert!(self.out_of(id) < prefetch, "it had credit");
            assert_eq!(self.out.insert(got.id, (front, Some(id))), None, "the id is new");
        }
    }

    /// After a delivery run nothing may be left that somebody could take.
    fn assert_idle(&self, bench: &Bench) {
        if self.count() == 0 {
            return;
        }
        for (id, number, prefetch, no_settle) in &self.consumers {
            let room = !bench.outlet.full.contains(&testing::connection(*number % 4));
            assert!(!room || (!no_settle && self.out_of(*id) >= *prefetch), "{id:?} starves");
        }
    }
}

fn run(acts: &[Act], kind: &str, entries: &[(&str, Value)], levels: bool) {
    run_on(acts, Bench::new(kind, entries), kind, levels);
    run_on(acts, Bench::slow(kind, entries, 2), kind, levels);
}

fn run_on(acts: &[Act], mut bench: Bench, kind: &str, levels: bool) {
    let mut model = Model { listed: kind == "quorum", ..Model::default() };
    for act in acts {
        step(act, &mut bench, &mut model, levels);
        assert_eq!(bench.queue.ready(), model.count());
        assert_eq!(bench.queue.unsettled(), model.out.len() as u64);
        let body_bytes = 4 * model.count();
        assert_eq!(bench.queue.ready_body_bytes(), body_bytes);
        let kept = (model.count() + bench.queue.unsettled()) > 0;
        assert_eq!(bench.queue.memory_bytes() > 0, kept);
    }
}

fn step(act: &Act, bench: &mut Bench, model: &mut Model, levels: bool) {
    match *act {
        Act::Publish(priority) => {
            let name = model.next.to_string();
            if levels {
                bench.publish_message(message_with(&name, |t| t.priority = Some(priority)));
                model.ready.insert((3 - priority, model.next));
            } else {
                bench.publish_message(message(&name));
                model.ready.insert((0, model.next));
            }
            model.next += 1;
        }
        Act::Deliver => {
            for got in bench.deliver() {
                model.got(&got);
            }
            model.assert_idle(bench);
        }
        Act::Settle(which, outcome) => {
            let len = model.out.len().max(1);
            let Some(id) = model.out.keys().nth(which % len).copied() else { return };
            let (message, _) = model.out.remove(&id).unwrap();
            assert!(bench.settle(id, outcome));
            assert!(!bench.settle(id, outcome), "only once");
            if let Outcome::Requeue { .. } = outcome {
                model.was_out.insert(message.1);
                if model.listed {
                    model.returned.push(message);
                } else {
                    model.ready.insert(message);
                }
            }
        }
        Act::Take => match bench.take() {
            Some(taken) => {
                let front = model.front().expect("something was ready");
                assert_eq!(taken.message.routing_key(), front.1.to_string());
                assert_eq!(taken.redelivered, model.was_out.contains(&front.1));
                model.out.insert(taken.id, (front, None));
            }
            None => assert_eq!(model.count(), 0),
        },
        Act::Add { prefetch, no_settle } => {
            let number = u32::try_from(model.next).unwrap();
            model.next += 1;
            let at = testing::channel(number % 4);
            let id = bench
                .consumer_with(number, prefetch, |c| (c.at, c.no_settle) = (at, no_settle))
                .unwrap();
            model.consumers.push((id, number, prefetch, no_settle));
        }
        Act::Remove(which) => {
            if model.consumers.is_empty() {
                return;
            }
            let (id, ..) = model.consumers.swap_remove(which % model.consumers.len());
            let removed = bench.remove(id).unwrap();
            assert_eq!(removed.unsettled, model.out_of(id));
            assert_eq!(removed.last, model.consumers.is_empty());
        }
        Act::Block(number) => {
            bench.outlet.full.insert(testing::connection(number));
        }
        Act::Resume(number) => {
            bench.outlet.full.remove(&testing::connection(number));
            bench.queue.resume(testing::connection(number));
        }
        Act::Purge => {
            assert_eq!(bench.queue.purge(), model.count());
            model.ready.clear();
            model.returned.clear();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_classic_queue_behaves_as_its_model(acts in prop::collection::vec(act(), 1..200)) {
        run(&acts, "classic", &[], false);
    }

    #[test]
    fn a_priority_queue_behaves_as_its_model(acts in prop::collection::vec(act(), 1..200)) {
        run(&acts, "classic", &[("x-max-priority", Value::I32(3))], true);
    }

    #[test]
    fn a_quorum_queue_behaves_as_its_model(acts in prop::collection::vec(act(), 1..200)) {
        run(&acts, "quorum", &[("x-delivery-limit", Value::I32(-1))], true);
    }
}
