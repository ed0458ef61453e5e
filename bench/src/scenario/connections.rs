//! Many idle connections with heartbeats. Imports `client`, `crowd`.

use serde_json::{Value, json};

use super::Scenario;
use super::crowd::{self, Course, NOBODY};
use super::phases::Phases;
use super::throughput::random_token;
use crate::client::amqp091::caller::{Caller, Spec};
use crate::client::broker::Broker;
use crate::client::fleet::{Fleet, Harbour, Ramp};
use crate::client::uri::AMQP;
use crate::clock::SECOND_NS;
use crate::error::PerfError;
use crate::options::LoadOptions;
use crate::report::Subject;
use crate::run::pin;
use crate::verify::Verifier;

/// The entry of the table.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "connections",
    about: "many idle connections with heartbeats, and what each costs",
    run: measure,
};

fn measure(options: &LoadOptions) -> Result<Value, PerfError> {
    let mut fleet = fleet(options)?;
    let mut phases = Phases::default();
    let (run, heartbeat_s) = (random_token(), options.heartbeat);
    let course = Course {
        count: options.count,
        ramp: Ramp::of(&options.transport),
        rounds: options.transport.rounds,
        hold_seconds: options.time,
        broker_pid: options.broker_pid,
    };
    crowd::gather(&mut fleet, &mut phases, course, |index| Spec {
        name: format!("ringmqperf {run:04x} {index}"),
        heartbeat_s,
        leaves_at_once: false,
    });
    let settings = json!({ "count": options.count, "heartbeat": heartbeat_s });
    Ok(phases
        .report(&subject("connections", options, &settings, &fleet), "every connection stayed"))
}

/// Connections as the options say, on their processor.
///
/// # Errors
/// The system's; no such host.
pub(super) fn fleet(options: &LoadOptions) -> Result<Fleet<Caller>, PerfError> {
    let harbour = Harbour {
        manners: (),
        broker: Broker::new(&options.uri, AMQP, &options.transport)?,
        silence_ns: options.drain_timeout.saturating_mul(SECOND_NS),
    };
    pin(options.pin.first())?;
    let mut fleet = Fleet::new(harbour, Verifier::new(NOBODY))?;
    fleet.is_spinning = options.spin;
    Ok(fleet)
}

/// What a report is about.
pub(super) fn subject<'a>(
    scenario: &'a str,
    options: &LoadOptions,
    more: &Value,
    fleet: &'a Fleet<Caller>,
) -> Subject<'a> {
    let mut settings = json!({
        "connections": options.transport.settings(),
        "pin": options.pin,
        "spin": options.spin,
    });
    if let Some((members, more)) = settings.as_object_mut().zip(more.as_object()) {
        members.extend(more.clone());
    }
    Subject { protocol: "amqp091", scenario, settings, broker: &fleet.harbour.broker }
}
