//! Many retained messages, and somebody who wants them all. Imports `load`, `phases`, `fleet`.

use serde_json::{Value, json};

use super::Scenario;
use super::load::{self, Fleet, Plan, fleet, reset};
use crate::client::fleet::Look;
use crate::client::mqtt::connection::Spec;
use crate::client::mqtt::connection::Task;
use crate::client::mqtt::inbox::Inbox;
use crate::client::mqtt::packet::put_subscribe;
use crate::error::PerfError;
use crate::options::mqtt::MqttOptions;
use crate::scenario::phases::{Phases, moment, subject};
use crate::verify::Topology;

/// The entry of the table.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "retained",
    about: "store many retained messages, then subscribe to all of them",
    run: measure,
};

const COUNT: u32 = 100_000;
const LOOK_NS: u64 = 1_000_000;

fn measure(options: &MqttOptions) -> Result<Value, PerfError> {
    let rules = [
        (options.qos != Some(0), "-q: 1 or 2, so that all are known to be stored"),
        (options.pmessages.is_none() && options.time.is_none(), "-C, -z: it is --count here"),
        (!options.share, "--share: shared subscriptions get no retained messages"),
        (options.topics.is_none(), "--topics: each message has its own"),
    ];
    if let Some((_, rule)) = rules.iter().find(|(is_kept, _)| !is_kept) {
        return Err(PerfError::Settings((*rule).to_owned()));
    }
    let count = u64::from(options.count.unwrap_or(COUNT));
    let qos = options.qos.or(Some(1));
    let told = MqttOptions { qos, pmessages: Some(count), ..options.clone() };
    let mut plan = Plan::new(&told, (1, 1, 1))?;
    plan.is_retained = true;
    plan.topology.is_ordered = false;
    let mut fleet = fleet(&told, plan.topology)?;
    let mut phases = Phases::default();
    make(&mut fleet, &mut phases, &plan, &told)?;
    let mut settings = plan.settings();
    if let Some(members) = settings.as_object_mut() {
        members.insert("count".to_owned(), json!(count));
    }
    let verified = "nothing lost, repeated or changed, everything marked as retained";
    Ok(phases.report(&subject("retained", options, &settings, &fleet.harbour.broker), verified))
}

fn make(
    fleet: &mut Fleet,
    phases: &mut Phases,
    plan: &Plan,
    options: &MqttOptions,
) -> Result<(), PerfError> {
    let nobody = Topology { consumers: 0, ..plan.topology };
    let store = Plan { topology: nobody, ..plan.clone() };
    let before = moment(fleet, options.broker_pid);
    let outcome = load::run(fleet, &store, options)?;
    let published = outcome.published.clone();
    phases.add_outcome("store", outcome);
    phases.add_memory(published.iter().sum(), (&before, &moment(fleet, options.broker_pid)));
    if phases.failure.is_some() {
        return Ok(());
    }
    arrive(fleet, phases, plan, options, &published)?;
    if !options.keep {
        let empty = Topology { body_bytes: 0, ..nobody };
        let outcome = load::run(fleet, &Plan { topology: empty, ..plan.clone() }, options)?;
        phases.add_outcome("remove", outcome);
    }
    Ok(())
}

/// Subscribes to everything and waits until it is there.
fn arrive(
    fleet: &mut Fleet,
    phases: &mut Phases,
    plan: &Plan,
    options: &MqttOptions,
    published: &[u64],
) -> Result<(), PerfError> {
    let Topology { run, consumers, .. } = plan.topology;
    let first = fleet.connections.len();
    reset(fleet, plan.topology);
    fleet.open_all(consumers, plan.ramp, |index| {
        let inbox = Some(Box::new(Inbox::new(index, plan.delivered_qos(), true)));
        Spec {
            task: Task { inbox, ..Task::default() },
            ..Spec::idle(format!("rp{run:04x}r{index}"))
        }
    })?;
    let start = moment(fleet, options.broker_pid);
    fleet.load.receipts.window = start.time_ns..u64::MAX;
    let mut octets = Vec::new();
    let filters = [format!("{}/#", plan.base)];
    put_subscribe(&mut octets, fleet.harbour.manners, 1, &filters, plan.subscribe_qos);
    for number in first..fleet.connections.len() {
        if let Some(connection) = fleet.connections.get_mut(number) {
            connection.subscribe(&octets);
        }
        fleet.queue(number);
    }
    let expected: u64 = published.iter().sum();
    let expected = expected.saturating_mul(u64::try_from(consumers).unwrap_or(u64::MAX));
    let result = fleet.wait_for("waiting for retained messages", |fleet, now_ns| {
        let is_over = fleet.load.receipts.count >= expected;
        Ok(if is_over { Look::Done } else { Look::Again(now_ns.saturating_add(LOOK_NS)) })
    });
    let end = moment(fleet, options.broker_pid);
    phases.add("arrive", ("received", fleet.load.receipts.count), (&start, &end));
    phases.fail(result.err());
    if phases.failure.is_none() {
        phases.fail(fleet.leave_all(first).err());
    } else {
        fleet.connections.truncate(first);
    }
    let load = reset(fleet, plan.topology);
    phases.faults.add(load.receipts.verifier.finish(published));
    Ok(())
}
