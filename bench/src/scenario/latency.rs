//! Delays at a fixed rate: the throughput scenario with defaults under which a broker is not
//! busy. Imports `throughput`.

use super::{Scenario, throughput};
use crate::options::LoadOptions;

/// The entry of the table.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "latency",
    about: "the same at a fixed rate, 20000 messages per second by default",
    run: |options| {
        let rate = options.rate.or(Some(RATE));
        throughput::measure("latency", &LoadOptions { rate, ..options.clone() })
    },
};

/// Messages per second: every broker we compare keeps up with it.
const RATE: u64 = 20_000;
