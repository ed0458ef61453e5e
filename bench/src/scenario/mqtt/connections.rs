//! Many idle connections: how fast they come, what each costs, whether they stay. Imports `load`,
//! `phases`, `fleet`.

use serde_json::{Value, json};

use super::Scenario;
use super::load::{fleet, ramp};
use super::phases::{Phases, moment, subject};
use crate::client::ClientError;
use crate::client::mqtt::connection::Task;
use crate::client::mqtt::fleet::{Fleet, Look, Spec};
use crate::clock::SECOND_NS;
use crate::error::PerfError;
use crate::options::mqtt::MqttOptions;
use crate::scenario::throughput::random_token;
use crate::verify::Topology;

/// The entry of the table.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "connections",
    about: "many idle connections with keep alive, and what each costs",
    run: measure,
};

const COUNT: u32 = 10_000;
/// Longer than the default keep alive: each connection is heard of at least once.
const HOLD_SECONDS: u64 = 15;
const LOOK_NS: u64 = 50_000_000;

/// Nobody publishes or receives.
pub(super) const NOBODY: Topology = Topology {
    run: 0,
    body_bytes: 0,
    producers: 0,
    consumers: 0,
    queues: 0,
    topics: 1,
    is_ordered: true,
};

fn measure(options: &MqttOptions) -> Result<Value, PerfError> {
    let count = options.count.unwrap_or(COUNT);
    let mut fleet = fleet(options, NOBODY)?;
    fleet.is_tolerant = true;
    let mut phases = Phases::default();
    let result = make(&mut fleet, &mut phases, options, count);
    phases.fail(result.err());
    let failed = fleet.load.counts.failed;
    if let (Some(failure), 1..) = (&fleet.failure, failed) {
        phases.fail(Some(format!("{failed} connections failed, the first so: {failure}")));
    }
    let settings = json!({ "count": count, "keep_alive": options.keep_alive });
    Ok(phases.report(&subject("connections", options, &settings), "every connection stayed"))
}

fn make(
    fleet: &mut Fleet,
    phases: &mut Phases,
    options: &MqttOptions,
    count: u32,
) -> Result<(), ClientError> {
    let run = random_token();
    let keep_alive_s = options.keep_alive;
    let ping_ns = u64::from(keep_alive_s).saturating_mul(SECOND_NS) / 4 * 3;
    let before = moment(fleet, options);
    fleet.open_all(usize::try_from(count).unwrap_or(0), ramp(options), |index| Spec {
        keep_alive_s,
        task: Task { ping_ns, ..Task::default() },
        ..Spec::idle(format!("rp{run:04x}i{index}"))
    })?;
    let opened = fleet.load.counts.opened;
    let connected = moment(fleet, options);
    phases.add("connect", ("connected", opened), (&before, &connected));
    phases.add_memory(opened, (&before, &connected));
    if opened == 0 {
        return Ok(());
    }
    let hold_ns = options.time.unwrap_or(HOLD_SECONDS).saturating_mul(SECOND_NS);
    let end_ns = connected.time_ns.saturating_add(hold_ns);
    fleet.drive(|_, now_ns| {
        let next_ns = now_ns.saturating_add(LOOK_NS).min(end_ns);
        Ok(if now_ns >= end_ns { Look::Done } else { Look::Again(next_ns) })
    })?;
    let held = moment(fleet, options);
    phases.add("hold", ("pinged", fleet.load.counts.pings), (&connected, &held));
    phases.add_memory(opened, (&before, &held));
    let left_before = fleet.load.counts.left;
    fleet.leave_all(0)?;
    let left = fleet.load.counts.left.saturating_sub(left_before);
    let gone = moment(fleet, options);
    phases.add("disconnect", ("disconnected", left), (&held, &gone));
    phases.add_memory(opened, (&before, &gone));
    Ok(())
}
