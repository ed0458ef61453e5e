//! Connections that come, do one thing and go. Imports `load`, `phases`, `fleet`.

use serde_json::{Value, json};

use super::Scenario;
use super::load::{Fleet, Plan, fleet, reset};
use crate::client::ClientError;
use crate::client::mqtt::batch::Template;
use crate::client::mqtt::connection::Spec;
use crate::client::mqtt::connection::Task;
use crate::client::mqtt::sender::{Job, Sender};
use crate::clock::SECOND_NS;
use crate::director::Moment;
use crate::error::PerfError;
use crate::histogram::Latency;
use crate::options::mqtt::MqttOptions;
use crate::scenario::crowd;
use crate::scenario::phases::{Phases, moment, subject};

/// The entry of the table.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "churn",
    about: "connect, subscribe, publish to oneself, disconnect, over and over",
    run: measure,
};

const WINDOW_SECONDS: u64 = 5;

fn measure(options: &MqttOptions) -> Result<Value, PerfError> {
    let slots = options.transport.connecting;
    let is_alone = [options.publishers, options.subscribers, options.topics] == [None; 3];
    if !is_alone || options.share || options.rate.is_some() {
        let rule = "-x, -y, --topics, --share, -r: it is --connecting in this scenario";
        return Err(PerfError::Settings(rule.to_owned()));
    }
    let plan = Plan::new(options, (slots, slots, slots))?;
    let mut fleet = fleet(options, plan.topology)?;
    let mut phases = Phases::default();
    let mut churn = Churn {
        plan: &plan,
        is_only_connecting: options.only_connect,
        cycles: vec![0; usize::from(slots)],
        cycles_total: 0,
        cycles_max: options.pmessages.unwrap_or(u64::MAX),
        delays: Latency::new(),
    };
    reset(&mut fleet, plan.topology);
    let start = moment(&fleet, options.broker_pid);
    let result = churn.make(&mut fleet, options, &start);
    let end = moment(&fleet, options.broker_pid);
    let finished: u64 = fleet.load.counts.left;
    phases.add("churn", ("cycles", finished), (&start, &end));
    phases.add_delays(churn.delays.summary());
    phases.fail(result.err());
    let load = reset(&mut fleet, plan.topology);
    let mut faults = load.dispatch.faults;
    if !options.only_connect {
        faults.add(load.receipts.verifier.finish(&churn.cycles));
    }
    phases.faults.add(faults);
    let settings = json!({ "slots": slots, "only_connect": options.only_connect, "qos": plan.qos });
    let verified =
        if options.only_connect { "every connection taken" } else { "everyone got the message" };
    Ok(phases.report(&subject("churn", options, &settings, &fleet.harbour.broker), verified))
}

/// The state of a run.
#[derive(Debug)]
struct Churn<'a> {
    plan: &'a Plan,
    is_only_connecting: bool,
    /// Connections begun, by slot.
    cycles: Vec<u64>,
    cycles_total: u64,
    cycles_max: u64,
    delays: Latency,
}

impl Churn<'_> {
    fn make(
        &mut self,
        fleet: &mut Fleet,
        options: &MqttOptions,
        start: &Moment,
    ) -> Result<(), ClientError> {
        fleet.load.dispatch.is_open = true;
        let seconds = match options.pmessages {
            Some(_) => options.time,
            None => options.time.or(Some(WINDOW_SECONDS)),
        };
        let window_ns = seconds.map_or(u64::MAX, |seconds| seconds.saturating_mul(SECOND_NS));
        let end_ns = start.time_ns.saturating_add(window_ns);
        let slots = self.cycles.len();
        // Taken out so that it can be written while `self` makes the next connections.
        let mut delays = std::mem::replace(&mut self.delays, Latency::new());
        let result = crowd::turn_over(fleet, (slots, end_ns), &mut delays, |fleet, slot| {
            self.next(fleet, slot)
        });
        self.delays = delays;
        result
    }

    /// The next connection of a slot, unless there have been enough.
    fn next(&mut self, fleet: &Fleet, slot: usize) -> Option<Spec> {
        if self.cycles_total >= self.cycles_max {
            return None;
        }
        self.cycles_total += 1;
        let cycle = self.cycles.get_mut(slot)?;
        let sequence = *cycle;
        *cycle += 1;
        let spec = Spec::idle(format!("rp{:04x}c{slot}", self.plan.topology.run));
        if self.is_only_connecting {
            return Some(Spec { task: Task { leaves_after: Some(0), ..Task::default() }, ..spec });
        }
        let template = Template {
            version: fleet.harbour.manners,
            run: self.plan.topology.run,
            producer: u16::try_from(slot).unwrap_or(u16::MAX),
            topic: &self.plan.topic_of(slot),
            stride: None,
            qos: self.plan.qos,
            is_retained: false,
            body_bytes: self.plan.topology.body_bytes,
            batch_bytes: 0,
            batch_messages: 1,
        };
        let job = Job { template, window: 1, messages: 1, sequence, pace: None };
        let mut task = self.plan.subscriber(fleet.harbour.manners, slot);
        task.sender = Some(Box::new(Sender::new(&job)));
        task.leaves_after = Some(1);
        Some(Spec { task, ..spec })
    }
}
