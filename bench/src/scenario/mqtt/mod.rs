//! Kinds of load by MQTT, one file each. To add one: a file, its `mod` line, its line in
//! [`SCENARIOS`]. They share `load` (publishers and subscribers).

use clap::builder::{PossibleValue, PossibleValuesParser};
use serde_json::Value;

use crate::error::PerfError;
use crate::options::mqtt::MqttOptions;

mod churn;
mod connections;
mod load;
mod retained;
mod sessions;
mod subscriptions;
mod throughput;

/// A kind of load.
#[derive(Debug)]
pub(crate) struct Scenario {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// What it does, for the help.
    pub(crate) about: &'static str,
    /// Does it; the report tells by "ok" whether anything was wrong.
    pub(crate) run: fn(&MqttOptions) -> Result<Value, PerfError>,
}

/// All of them.
const SCENARIOS: &[Scenario] = &[
    throughput::THROUGHPUT,
    throughput::LATENCY,
    throughput::FANOUT,
    throughput::FANIN,
    connections::SCENARIO,
    subscriptions::SCENARIO,
    retained::SCENARIO,
    sessions::SCENARIO,
    churn::SCENARIO,
];

/// For the command line.
pub(crate) fn names() -> PossibleValuesParser {
    let value = |scenario: &Scenario| PossibleValue::new(scenario.name).help(scenario.about);
    PossibleValuesParser::new(SCENARIOS.iter().map(value))
}

/// The scenario with this name.
pub(crate) fn find(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}
