//! Publishers and consumers at full speed or at a fixed rate. Imports `plan`, `run`, `report`.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use serde_json::Value;

use super::Scenario;
use crate::client::broker::Broker;
use crate::client::uri::AMQP;
use crate::error::PerfError;
use crate::options::LoadOptions;
use crate::plan::Plan;
use crate::report::{Subject, to_json};
use crate::run::{Manner, run};

/// The entry of the table.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "throughput",
    about: "publish and consume at full speed, or at the rates given",
    run: |options| measure("throughput", options),
};

/// Makes a run of these options and reports it under `scenario`.
///
/// # Errors
/// Whatever stood in the way before the load began.
pub(super) fn measure(scenario: &str, options: &LoadOptions) -> Result<Value, PerfError> {
    if options.fill_only || options.drain_only || options.transient {
        let rule = "--fill-only, --drain-only, --transient: in scenarios backlog and queues";
        return Err(PerfError::Settings(rule.to_owned()));
    }
    let plan = Plan::new(options, random_token())?;
    let broker = Broker::new(&options.uri, AMQP, &options.transport)?;
    let outcome = run(&plan, Manner::of(options, &broker))?;
    Ok(to_json(&Subject::of(scenario, options, &plan, &broker), &outcome))
}

/// Tells messages and queues of this run from those of others.
pub(crate) fn random_token() -> u16 {
    // The standard library seeds its hash tables from the system; 16 bits of that are enough.
    let [high, low, ..] = RandomState::new().hash_one(std::process::id()).to_be_bytes();
    u16::from_be_bytes([high, low])
}
