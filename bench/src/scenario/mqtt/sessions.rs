//! Sessions that outlive their connections: connect, go, let others publish, come back and take
//! what has gathered. Imports `load`, `phases`, `fleet`.

use serde_json::Value;

use super::Scenario;
use super::load::{Fleet, Plan, begin, fleet, open_publishers, published, reset};
use crate::client::ClientError;
use crate::client::fleet::Look;
use crate::client::mqtt::Version;
use crate::client::mqtt::connection::Spec;
use crate::clock::SECOND_NS;
use crate::director::Moment;
use crate::error::PerfError;
use crate::options::mqtt::MqttOptions;
use crate::scenario::phases::{Phases, moment, subject};

/// The entry of the table.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "sessions",
    about: "persistent sessions: go, have messages gather, come back and drain",
    run: measure,
};

const SESSIONS: u16 = 100;
const MESSAGES: u64 = 100_000;
/// Longer than a run.
const EXPIRY_S: u32 = 24 * 3600;
/// How long a run goes on after everything has come, to see whether something comes again.
const LINGER_NS: u64 = SECOND_NS / 5;
const LOOK_NS: u64 = 1_000_000;

fn measure(options: &MqttOptions) -> Result<Value, PerfError> {
    let qos = options.qos.unwrap_or(1);
    if qos == 0 || options.subscribe_qos == Some(0) {
        let rule = "-q, --subscribe-qos: brokers keep messages of QoS 1 and 2 only";
        return Err(PerfError::Settings(rule.to_owned()));
    }
    if options.time.is_some() || options.share {
        return Err(PerfError::Settings("-z, --share: not in this scenario".to_owned()));
    }
    let pmessages = options.pmessages.or(Some(MESSAGES));
    let told = MqttOptions { qos: Some(qos), pmessages, ..options.clone() };
    let sessions = options.subscribers.unwrap_or(SESSIONS);
    let publishers = options.publishers.unwrap_or(sessions);
    let plan = Plan::new(&told, (publishers, sessions, sessions.min(publishers)))?;
    let mut fleet = fleet(&told, plan.topology)?;
    let mut phases = Phases::default();
    let result = make(&mut fleet, &mut phases, &plan, &told);
    phases.fail(result.err());
    Ok(phases
        .report(&subject("sessions", options, &plan.settings(), &fleet.harbour.broker), VERIFIED))
}

const VERIFIED: &str = "nothing lost, repeated, reordered or changed, no session forgotten";

fn make(
    fleet: &mut Fleet,
    phases: &mut Phases,
    plan: &Plan,
    options: &MqttOptions,
) -> Result<(), ClientError> {
    let count = u64::try_from(plan.topology.consumers).unwrap_or(u64::MAX);
    reset(fleet, plan.topology);
    let start = moment(fleet, options.broker_pid);
    open_sessions(fleet, plan, false, true)?;
    let connected = moment(fleet, options.broker_pid);
    phases.add("connect", ("connected", count), (&start, &connected));
    phases.add_memory(count, (&start, &connected));
    fleet.leave_all(0)?;
    let left = moment(fleet, options.broker_pid);
    phases.add("go", ("disconnected", count), (&connected, &left));
    let (published, mut faults) = gather(fleet, phases, plan, options)?;
    let resumed_before = fleet.load.counts.resumed;
    reset(fleet, plan.topology);
    let start = moment(fleet, options.broker_pid);
    fleet.load.receipts.window = 0..u64::MAX;
    open_sessions(fleet, plan, false, false)?;
    let end = drain(fleet, plan, options, &published);
    let resumed = fleet.load.counts.resumed.saturating_sub(resumed_before);
    let (end, failure) = end;
    phases.add("drain", ("received", fleet.load.receipts.count), (&start, &end));
    phases.fail(failure);
    // MQTT 3.1 does not say.
    if resumed < count && fleet.harbour.manners != Version::V3 {
        faults.protocol += count.saturating_sub(resumed);
        faults.describe(|| format!("{} sessions forgotten", count.saturating_sub(resumed)));
    }
    fleet.leave_all(0)?;
    let load = reset(fleet, plan.topology);
    faults.add(load.receipts.verifier.finish(&published));
    phases.faults.add(faults);
    let start = moment(fleet, options.broker_pid);
    open_sessions(fleet, plan, true, false)?;
    fleet.leave_all(0)?;
    phases.add("remove", ("connected", count), (&start, &moment(fleet, options.broker_pid)));
    Ok(())
}

/// Connects all sessions; `is_clean` makes an end of them.
fn open_sessions(
    fleet: &mut Fleet,
    plan: &Plan,
    is_clean: bool,
    is_subscribing: bool,
) -> Result<(), ClientError> {
    let run = plan.topology.run;
    let expiry_s = if is_clean { 0 } else { EXPIRY_S };
    let version = fleet.harbour.manners;
    fleet.open_all(plan.topology.consumers, plan.ramp, |index| {
        let mut task = plan.subscriber(version, index);
        if !is_subscribing {
            task.subscribes.clear();
            task.subscribes_count = 0;
        }
        let client_id = format!("rp{run:04x}s{index}");
        Spec { is_clean, expiry_s, task, ..Spec::idle(client_id) }
    })
}

/// Publishes while nobody is there; gives the messages of each publisher and what was wrong.
fn gather(
    fleet: &mut Fleet,
    phases: &mut Phases,
    plan: &Plan,
    options: &MqttOptions,
) -> Result<(Vec<u64>, crate::verify::Faults), ClientError> {
    let first = open_publishers(fleet, plan)?;
    let start = moment(fleet, options.broker_pid);
    fleet.load.dispatch.window = 0..u64::MAX;
    begin(fleet, plan, first);
    let messages = plan.messages.unwrap_or(0);
    fleet.wait_for("publishing", |fleet, now_ns| {
        let dispatch = &fleet.load.dispatch;
        let settled = dispatch.confirmed.saturating_add(dispatch.faults.refused);
        let is_over = settled >= messages;
        Ok(if is_over { Look::Done } else { Look::Again(now_ns.saturating_add(LOOK_NS)) })
    })?;
    let end = moment(fleet, options.broker_pid);
    let (published, unconfirmed) = published(fleet, first);
    phases.add("gather", ("confirmed", fleet.load.dispatch.confirmed), (&start, &end));
    phases.add_delays(fleet.load.dispatch.latency.summary());
    let copies = u64::try_from(plan.topology.copies()).unwrap_or(1);
    phases.add_memory(messages.saturating_mul(copies), (&start, &end));
    let mut faults = std::mem::take(&mut fleet.load.dispatch.faults);
    faults.unconfirmed += unconfirmed;
    fleet.leave_all(first)?;
    Ok((published, faults))
}

/// Waits until everything has come, and a little longer; tells when the last came.
fn drain(
    fleet: &mut Fleet,
    plan: &Plan,
    options: &MqttOptions,
    published: &[u64],
) -> (Moment, Option<ClientError>) {
    let copies = u64::try_from(plan.topology.copies()).unwrap_or(1);
    let expected = published.iter().sum::<u64>().saturating_mul(copies);
    let result = fleet.wait_for("draining", |fleet, now_ns| {
        let is_over = fleet.load.receipts.count >= expected;
        Ok(if is_over { Look::Done } else { Look::Again(now_ns.saturating_add(LOOK_NS)) })
    });
    let end = moment(fleet, options.broker_pid);
    let linger_ns = end.time_ns.saturating_add(LINGER_NS);
    let result = match result {
        // What is missing is counted as lost.
        Err(ClientError::Silence(_)) => Ok(()),
        Ok(()) | Err(_) => result,
    };
    let result = result.and_then(|()| {
        fleet.drive(|_, now_ns| {
            Ok(if now_ns >= linger_ns { Look::Done } else { Look::Again(linger_ns) })
        })
    });
    (end, result.err())
}
