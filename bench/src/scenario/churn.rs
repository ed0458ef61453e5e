//! Connections that log in and close, over and over. Imports `client`, `crowd`.

use serde_json::{Value, json};

use super::Scenario;
use super::connections::{fleet, subject};
use super::crowd;
use super::phases::{Phases, moment};
use crate::client::amqp091::caller::Spec;
use crate::clock::SECOND_NS;
use crate::error::PerfError;
use crate::histogram::Latency;
use crate::options::LoadOptions;

/// The entry of the table.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "churn",
    about: "connect, log in, close, over and over; with TLS: handshakes per second",
    run: measure,
};

const WINDOW_SECONDS: u64 = 5;

fn measure(options: &LoadOptions) -> Result<Value, PerfError> {
    let slots = options.transport.connecting;
    let mut fleet = fleet(options)?;
    let mut phases = Phases::default();
    let mut delays = Latency::new();
    let mut left = options.pmessages.unwrap_or(u64::MAX);
    let usual = if options.pmessages.is_some() { None } else { Some(WINDOW_SECONDS) };
    let seconds = options.time.or(usual);
    let start = moment(&fleet, options.broker_pid);
    let window_ns = seconds.map_or(u64::MAX, |seconds| seconds.saturating_mul(SECOND_NS));
    let end_ns = start.time_ns.saturating_add(window_ns);
    let next = |_: &_, place| {
        left = left.checked_sub(1)?;
        let name = format!("ringmqperf churn {place}");
        Some(Spec { name, heartbeat_s: 0, leaves_at_once: true })
    };
    let result = crowd::turn_over(&mut fleet, (slots.into(), end_ns), &mut delays, next);
    let end = moment(&fleet, options.broker_pid);
    phases.add("churn", ("cycles", fleet.load.counts.left), (&start, &end));
    phases.add_delays(delays.summary());
    phases.fail(result.err());
    let settings = json!({ "slots": slots });
    Ok(phases.report(&subject("churn", options, &settings, &fleet), "every connection taken"))
}
