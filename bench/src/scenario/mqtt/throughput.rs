//! Publishers and subscribers at full speed or at a fixed rate, in four shapes. Imports `load`.

use serde_json::Value;

use super::Scenario;
use super::load::{self, Plan};
use crate::error::PerfError;
use crate::options::mqtt::MqttOptions;
use crate::report;
use crate::scenario::phases;

/// As told.
pub(super) const THROUGHPUT: Scenario = Scenario {
    name: "throughput",
    about: "publish and receive at full speed, or at the rate given",
    run: |options| measure("throughput", options, (1, 1)),
};

/// Delays at a fixed rate.
pub(super) const LATENCY: Scenario = Scenario {
    name: "latency",
    about: "the same at a fixed rate, 10000 messages per second by default",
    run: |options| {
        let rate = options.rate.or(Some(RATE));
        measure("latency", &MqttOptions { rate, ..options.clone() }, (1, 1))
    },
};

/// One message, many subscribers.
pub(super) const FANOUT: Scenario = Scenario {
    name: "fanout",
    about: "one publisher, 1000 subscribers that get each message",
    run: |options| {
        // Without a limit nothing would hold the publisher back, and delays would be those of
        // the broker's buffers.
        let backlog = if options.backlog == 0 { BACKLOG } else { options.backlog };
        measure("fanout", &MqttOptions { backlog, ..options.clone() }, (1, MANY))
    },
};

/// Many devices, one service.
pub(super) const FANIN: Scenario = Scenario {
    name: "fanin",
    about: "1000 publishers, one subscriber that gets everything",
    run: |options| {
        // Devices seldom have two messages at a time.
        let batch = options.batch.or(Some(1));
        let backlog = if options.backlog == 0 { FANIN_BACKLOG } else { options.backlog };
        measure("fanin", &MqttOptions { batch, backlog, ..options.clone() }, (MANY, 1))
    },
};

/// Messages per second: every broker we compare keeps up with it.
const RATE: u64 = 10_000;
const MANY: u16 = 1000;
/// Messages of a fan-out on their way.
const BACKLOG: u64 = 100;
/// Messages of a fan-in on their way: a few of each publisher.
const FANIN_BACKLOG: u64 = 10_000;

fn measure(
    name: &str,
    options: &MqttOptions,
    (publishers, subscribers): (u16, u16),
) -> Result<Value, PerfError> {
    let plan = Plan::new(options, (publishers, subscribers, 1))?;
    let mut fleet = load::fleet(options, plan.topology)?;
    let outcome = load::run(&mut fleet, &plan, options)?;
    let subject = phases::subject(name, options, &plan.settings(), &fleet.harbour.broker);
    let failure = outcome.failure.as_ref().map(ToString::to_string);
    let results = phases::of_outcome(&outcome);
    Ok(report::report(&subject, &results, &outcome.faults, failure.as_deref()))
}
