//! ringmqperf: load generator for RingMQ and any other broker of the same protocols.
//!
//! `options` → `scenario` → `plan` → `run` (threads of `worker`, led by `director`, with
//! `client`s of a protocol) → `report`. Every message is verified (`payload`, `verify`).

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use serde_json::Value;

use crate::error::PerfError;
use crate::options::mqtt::MqttOptions;
use crate::options::{Command, LoadOptions, Options};

mod client;
mod clock;
mod compare;
mod director;
mod error;
mod histogram;
mod machine;
mod options;
mod pace;
mod payload;
mod plan;
mod process;
mod received;
mod report;
mod run;
mod scenario;
mod verify;
mod worker;

/// Something was measured, and something was wrong with it.
const EXIT_VIOLATION: u8 = 1;
/// Nothing was measured; clap uses the same for a wrong command line.
const EXIT_ERROR: u8 = 2;

fn main() -> ExitCode {
    let result = match Options::parse().command {
        Command::Amqp { scenario, load } => run_scenario(&scenario, &load),
        Command::Mqtt { scenario, load } => run_mqtt_scenario(&scenario, &load),
        Command::Compare { base, other } => {
            compare::compare(&base, &other).map(|text| (text, ExitCode::SUCCESS))
        }
    };
    match result {
        Ok((text, code)) => {
            let is_written = std::io::stdout().write_all(text.as_bytes()).is_ok();
            if is_written { code } else { ExitCode::from(EXIT_ERROR) }
        }
        Err(error) => {
            // Without standard error there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "ringmqperf: {error}");
            ExitCode::from(EXIT_ERROR)
        }
    }
}

fn run_scenario(name: &str, options: &LoadOptions) -> Result<(String, ExitCode), PerfError> {
    let scenario =
        scenario::find(name).ok_or_else(|| PerfError::Settings(format!("no scenario {name}")))?;
    let report = (scenario.run)(options)?;
    Ok(conclude(&report, options.json))
}

fn run_mqtt_scenario(name: &str, options: &MqttOptions) -> Result<(String, ExitCode), PerfError> {
    let scenario = scenario::mqtt::find(name)
        .ok_or_else(|| PerfError::Settings(format!("no scenario {name}")))?;
    let report = (scenario.run)(options)?;
    Ok(conclude(&report, options.json))
}

/// What is printed, and how the process ends.
fn conclude(report: &Value, is_json: bool) -> (String, ExitCode) {
    let is_good = report.get("ok").and_then(Value::as_bool) == Some(true);
    let text = if is_json { format!("{report:#}\n") } else { report::to_text(report) };
    (text, if is_good { ExitCode::SUCCESS } else { ExitCode::from(EXIT_VIOLATION) })
}
