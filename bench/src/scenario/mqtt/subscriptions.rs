//! What filters that match nothing cost a message, and what each costs. Imports `load`, `phases`,
//! `fleet`.

use serde_json::{Value, json};

use super::Scenario;
use super::load::{self, Fleet, Plan};
use crate::client::ClientError;
use crate::client::fleet::Look;
use crate::client::mqtt::connection::Spec;
use crate::client::mqtt::packet::put_subscribe;
use crate::client::mqtt::topic;
use crate::error::PerfError;
use crate::options::mqtt::MqttOptions;
use crate::scenario::phases::{Phases, moment, subject};

/// The entry of the table.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "subscriptions",
    about: "the throughput beside more and more filters that match nothing",
    run: measure,
};

/// Seconds of each measurement.
const WINDOW_SECONDS: u64 = 5;
/// Messages on their way: without a limit a slow broker would be measured by what was sent
/// before the window.
const BACKLOG: u64 = 1000;
/// Filters in one SUBSCRIBE.
const GROUP: u64 = 50;
/// Filters without an answer.
const UNANSWERED_MAX: u64 = 5000;
const LOOK_NS: u64 = 1_000_000;
/// Neighbours in a tree differ in their last digits: this spreads wildcards over the tree.
const SPREAD: u64 = 37;

fn measure(options: &MqttOptions) -> Result<Value, PerfError> {
    if !options.others.is_sorted() {
        return Err(PerfError::Settings("--others: in rising order".to_owned()));
    }
    let time = options.time.or(Some(WINDOW_SECONDS));
    let backlog = if options.backlog == 0 { BACKLOG } else { options.backlog };
    let options = &MqttOptions { time, backlog, ..options.clone() };
    let plan = Plan::new(options, (1, 1, 1))?;
    let mut fleet = load::fleet(options, plan.topology)?;
    let mut phases = Phases::default();
    make(&mut fleet, &mut phases, &plan, options)?;
    let mut settings = plan.settings();
    if let Some(members) = settings.as_object_mut() {
        members.insert("others".to_owned(), json!(options.others));
        members.insert("others_connections".to_owned(), json!(options.others_connections));
        members.insert("wildcards".to_owned(), json!(options.wildcards));
    }
    let verified = "nothing lost, repeated, reordered or changed, every filter granted";
    Ok(phases
        .report(&subject("subscriptions", options, &settings, &fleet.harbour.broker), verified))
}

fn make(
    fleet: &mut Fleet,
    phases: &mut Phases,
    plan: &Plan,
    options: &MqttOptions,
) -> Result<(), PerfError> {
    let run = plan.topology.run;
    fleet.open_all(options.others_connections.into(), plan.ramp, |index| {
        Spec::idle(format!("rp{run:04x}o{index}"))
    })?;
    let mut have = 0;
    for &want in &options.others {
        let want = u64::from(want);
        if want > have {
            let start = moment(fleet, options.broker_pid);
            let result = subscribe(fleet, plan, options, have..want);
            let end = moment(fleet, options.broker_pid);
            let name = format!("subscribe to {want}");
            phases.add(&name, ("subscribed", want.saturating_sub(have)), (&start, &end));
            phases.add_memory(want.saturating_sub(have), (&start, &end));
            result?;
            have = want;
        }
        let outcome = load::run(fleet, plan, options)?;
        phases.add_outcome(&format!("beside {want}"), outcome);
        if phases.failure.is_some() {
            return Ok(());
        }
    }
    let start = moment(fleet, options.broker_pid);
    let result = fleet.leave_all(0);
    let count = u64::from(options.others_connections);
    phases.add("disconnect", ("disconnected", count), (&start, &moment(fleet, options.broker_pid)));
    phases.fail(result.err());
    Ok(())
}

/// Subscribes the fleet's connections to filters, in turn.
fn subscribe(
    fleet: &mut Fleet,
    plan: &Plan,
    options: &MqttOptions,
    numbers: std::ops::Range<u64>,
) -> Result<(), ClientError> {
    let before = fleet.load.counts.subscribed;
    let mut next = numbers.start;
    let mut packets = 0_usize;
    fleet.wait_for("subscribing", |fleet, now_ns| {
        let answered = fleet.load.counts.subscribed.saturating_sub(before);
        while next < numbers.end
            && next.saturating_sub(numbers.start).saturating_sub(answered) < UNANSWERED_MAX
        {
            let end = next.saturating_add(GROUP).min(numbers.end);
            let filters: Vec<String> =
                (next..end).map(|number| filter(&plan.base, number, options.wildcards)).collect();
            let count = fleet.connections.len();
            let turn = packets.checked_div(count).unwrap_or(0) % usize::from(u16::MAX);
            let packet_id = u16::try_from(turn.saturating_add(1)).unwrap_or(1);
            let mut octets = Vec::new();
            let version = fleet.harbour.manners;
            put_subscribe(&mut octets, version, packet_id, &filters, plan.subscribe_qos);
            let number = packets.checked_rem(count).unwrap_or(0);
            if let Some(connection) = fleet.connections.get_mut(number) {
                connection.subscribe(&octets);
            }
            fleet.queue(number);
            packets = packets.saturating_add(1);
            next = end;
        }
        let is_over = answered >= numbers.end.saturating_sub(numbers.start);
        Ok(if is_over { Look::Done } else { Look::Again(now_ns.saturating_add(LOOK_NS)) })
    })
}

/// Filter `number`: `base/others/ddd/ddd/ddd`, and with a wildcard `base/others/+/ddd/ddd` or
/// `base/others/ddd/ddd/ddd/#`, or `+/others/...`, which may not be told apart by its start.
fn filter(base: &str, number: u64, wildcards: u8) -> String {
    let exact = topic::numbered(&format!("{base}/others"), number);
    if number.wrapping_mul(SPREAD) % 100 >= u64::from(wildcards) {
        return exact;
    }
    let (_, levels) = exact.split_at_checked(base.len()).unwrap_or_default();
    match number % 3 {
        0 => format!("{exact}/#"),
        1 => format!("{base}/+/{}", levels.strip_prefix("/others/").unwrap_or(levels)),
        _ => format!("+/+{levels}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_filters_has_wildcards_and_none_matches_the_load() {
        let filters: Vec<String> = (0..1000).map(|number| filter("a/b", number, 10)).collect();
        let has_wildcard = |filter: &&String| filter.contains(['+', '#']);
        assert_eq!(filters.iter().filter(has_wildcard).count(), 100);
        assert!(filters.contains(&"a/b/others/000/000/001".to_owned()));
        assert!(filters.iter().all(|filter| filter.split('/').count() >= 6));
        let mut distinct = filters.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), filters.len());
    }
}
