//! Kinds of load, one file each. To add one: a file, its `mod` line, its line in [`SCENARIOS`].
//! Those of MQTT have a table of their own in [`mqtt`]; those in parts share `phases` (their
//! reports), those of many connections `crowd`.

use clap::builder::PossibleValuesParser;
use serde_json::Value;

use crate::error::PerfError;
use crate::options::LoadOptions;

mod backlog;
mod churn;
mod connections;
mod crowd;
mod latency;
pub(crate) mod mqtt;
mod phases;
mod queues;
pub(crate) mod throughput;

/// A kind of load.
#[derive(Debug)]
pub(crate) struct Scenario {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// What it does, for the help.
    pub(crate) about: &'static str,
    /// Does it; the report tells by "ok" whether anything was wrong.
    pub(crate) run: fn(&LoadOptions) -> Result<Value, PerfError>,
}

/// All of them.
pub(crate) const SCENARIOS: &[Scenario] = &[
    throughput::SCENARIO,
    latency::SCENARIO,
    backlog::SCENARIO,
    queues::SCENARIO,
    connections::SCENARIO,
    churn::SCENARIO,
];

/// For the command line.
pub(crate) fn names() -> PossibleValuesParser {
    let value =
        |scenario: &Scenario| clap::builder::PossibleValue::new(scenario.name).help(scenario.about);
    PossibleValuesParser::new(SCENARIOS.iter().map(value))
}

/// The scenario with this name.
pub(crate) fn find(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}
