//! Many idle connections with keep alive. Imports `load`, `crowd`.

use serde_json::{Value, json};

use super::Scenario;
use super::load::{fleet, ramp};
use crate::client::mqtt::connection::{Spec, Task};
use crate::clock::SECOND_NS;
use crate::error::PerfError;
use crate::options::mqtt::MqttOptions;
use crate::scenario::crowd::{self, Course, NOBODY};
use crate::scenario::phases::{Phases, subject};
use crate::scenario::throughput::random_token;

/// The entry of the table.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "connections",
    about: "many idle connections with keep alive, and what each costs",
    run: measure,
};

const COUNT: u32 = 10_000;
fn measure(options: &MqttOptions) -> Result<Value, PerfError> {
    let count = options.count.unwrap_or(COUNT);
    let mut fleet = fleet(options, NOBODY)?;
    fleet.is_tolerant = true;
    let mut phases = Phases::default();
    let (run, keep_alive_s) = (random_token(), options.keep_alive);
    let ping_ns = u64::from(keep_alive_s).saturating_mul(SECOND_NS) / 4 * 3;
    let course = Course {
        count,
        ramp: ramp(options),
        rounds: options.transport.rounds,
        hold_seconds: options.time,
        broker_pid: options.broker_pid,
    };
    crowd::gather(&mut fleet, &mut phases, course, |index| Spec {
        keep_alive_s,
        task: Task { ping_ns, ..Task::default() },
        ..Spec::idle(format!("rp{run:04x}i{index}"))
    });
    let settings = json!({ "count": count, "keep_alive": keep_alive_s });
    Ok(phases.report(
        &subject("connections", options, &settings, &fleet.harbour.broker),
        "every connection stayed",
    ))
}
