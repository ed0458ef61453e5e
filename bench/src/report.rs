//! The result of a run as a JSON object, and as a table made from it. Imports serde_json, `run`.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::client::broker::Broker;
use crate::client::tls::Handshakes;
use crate::clock::SECOND_NS;
use crate::director::Moment;
use crate::histogram::Summary;
use crate::machine;
use crate::options::LoadOptions;
use crate::plan::Plan;
use crate::process::Usage;
use crate::run::Outcome;
use crate::verify::Faults;

/// Parts of a result, in the order of their happening.
const PHASES: [&str; 6] = ["fill", "drain", "declare", "publish", "find", "delete"];
/// The same of a result that names its parts itself.
const NAMED_PHASES: &str = "phases";
/// What a run without a fault has shown, if it does not say so itself.
const VERIFIED: &str = "nothing lost, repeated, reordered or changed";

/// What a result is about.
#[derive(Debug, Clone)]
pub(crate) struct Subject<'a> {
    /// Name of the protocol.
    pub(crate) protocol: &'a str,
    /// Name of the scenario.
    pub(crate) scenario: &'a str,
    /// The settings.
    pub(crate) settings: Value,
    /// How it was reached.
    pub(crate) broker: &'a Broker,
}

impl<'a> Subject<'a> {
    /// A run by AMQP 0-9-1.
    pub(crate) fn of(
        scenario: &'a str,
        options: &LoadOptions,
        plan: &Plan,
        broker: &'a Broker,
    ) -> Self {
        Self { protocol: "amqp091", scenario, settings: settings(options, plan), broker }
    }
}

/// The whole result.
pub(crate) fn to_json(subject: &Subject<'_>, outcome: &Outcome) -> Value {
    let failure = outcome.failure.as_ref().map(ToString::to_string);
    let received = outcome.end.received.saturating_sub(outcome.start.received);
    report(subject, &results(outcome, received), &outcome.faults, failure.as_deref())
}

/// The results of filling queues, as part of a result.
pub(crate) fn fill_results(outcome: &Outcome) -> Value {
    let published = outcome.end.published.saturating_sub(outcome.start.published);
    without(&["received", "latency_us"], results(outcome, published))
}

/// The results of emptying queues, as part of a result.
pub(crate) fn drain_results(outcome: &Outcome) -> Value {
    let received = outcome.end.received.saturating_sub(outcome.start.received);
    without(&["published", "confirm", "latency_us"], results(outcome, received))
}

/// The results of doing `done` to so many things between two moments, as part of a result.
pub(crate) fn pass_results(done: &str, count: u64, (start, end): (&Moment, &Moment)) -> Value {
    let seconds = real(end.time_ns.saturating_sub(start.time_ns)) / real(SECOND_NS);
    let rate = if seconds > 0.0 { (real(count) / seconds).round() } else { 0.0 };
    let generator = start.generator.zip(end.generator);
    json!({
        "seconds": rounded(seconds, 3),
        format!("{done}_per_second"): rate,
        done: count,
        "broker": start.broker.zip(end.broker).map(|usage| broker(usage, count)),
        "generator_cpu_seconds": generator
            .map(|(start, end)| rounded(end.cpu_seconds() - start.cpu_seconds(), 3)),
    })
}

/// An object without the members whose names begin so.
fn without(prefixes: &[&str], mut object: Value) -> Value {
    if let Some(members) = object.as_object_mut() {
        members.retain(|name, _| !prefixes.iter().any(|prefix| name.starts_with(prefix)));
    }
    object
}

/// The whole result around the numbers, what was wrong, and why the run ended early.
pub(crate) fn report(
    subject: &Subject<'_>,
    results: &Value,
    faults: &Faults,
    failure: Option<&str>,
) -> Value {
    let counts: serde_json::Map<String, Value> =
        faults.counts().into_iter().map(|(name, count)| (name.to_owned(), count.into())).collect();
    json!({
        "tool": "ringmqperf",
        "version": env!("CARGO_PKG_VERSION"),
        "protocol": subject.protocol,
        "scenario": subject.scenario,
        "kernel": machine::kernel(),
        "cpu": machine::processor(),
        "cpus": machine::processors(),
        "command": std::env::args().map(|word| without_password(&word)).collect::<Vec<_>>(),
        "transport": subject.broker.wrapping(),
        "tls_handshakes": subject.broker.handshakes().map(|Handshakes { full, resumed }| {
            json!({ "full": full, "resumed": resumed })
        }),
        "settings": subject.settings,
        "results": results,
        "faults": counts,
        "fault_samples": faults.samples,
        "ok": failure.is_none() && faults.total() == 0,
        "failure": failure,
    })
}

/// A result may be published; the password in the address may not.
fn without_password(word: &str) -> String {
    let parts = word.split_once("://").and_then(|(scheme, rest)| {
        let (login, place) = rest.rsplit_once('@')?;
        let (user, _) = login.split_once(':')?;
        Some(format!("{scheme}://{user}:...@{place}"))
    });
    parts.unwrap_or_else(|| word.to_owned())
}

fn settings(options: &LoadOptions, plan: &Plan) -> Value {
    json!({
        "publishers": plan.topology.producers,
        "consumers": plan.topology.consumers,
        "queues": plan.topology.queues,
        "queue_type": plan.queue_type,
        "durable": plan.is_durable,
        "exchange_type": plan.exchange_kind.map(crate::options::ExchangeKind::name),
        "size": plan.topology.body_bytes,
        "persistent": plan.is_persistent,
        "confirm_window": plan.confirm_window,
        "ack_batch": plan.ack_batch,
        "prefetch": plan.prefetch,
        "rate": plan.rate,
        "consume_rate": plan.consume_rate,
        "messages": plan.messages,
        "deliveries": plan.deliveries,
        "backlog": options.backlog,
        "warm_up_seconds": plan.warm_up_ns / SECOND_NS,
        "threads": options.threads,
        "pin": options.pin,
        "spin": options.spin,
    })
}

#[expect(clippy::cast_precision_loss, reason = "exact below 2^53")]
const fn real(count: u64) -> f64 {
    count as f64
}

fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

/// The numbers; what the broker used is divided by `handled` messages.
pub(crate) fn results(outcome: &Outcome, handled: u64) -> Value {
    let (start, end) = (&outcome.start, &outcome.end);
    let seconds = real(end.time_ns.saturating_sub(start.time_ns)) / real(SECOND_NS);
    let rate = |end: u64, start: u64| {
        let count = real(end.saturating_sub(start));
        if seconds > 0.0 { (count / seconds).round() } else { 0.0 }
    };
    let received = end.received.saturating_sub(start.received);
    let generator = start.generator.zip(end.generator);
    json!({
        "seconds": rounded(seconds, 3),
        "published_per_second": rate(end.published, start.published),
        "confirmed_per_second": rate(end.confirmed, start.confirmed),
        "received_per_second": rate(end.received, start.received),
        "received_in_window": received,
        "published": outcome.last.published,
        "confirmed": outcome.last.confirmed,
        "received": outcome.last.received,
        "latency_us": outcome.end_to_end.map(percentiles),
        "confirm_latency_us": outcome.confirm.map(percentiles),
        "broker": start.broker.zip(end.broker).map(|usage| broker(usage, handled)),
        "generator_cpu_seconds": generator
            .map(|(start, end)| rounded(end.cpu_seconds() - start.cpu_seconds(), 3)),
    })
}

/// Percentiles as part of a result.
pub(crate) fn percentiles(summary: Summary) -> Value {
    let microseconds = |ns: u64| rounded(real(ns) / 1000.0, 1);
    json!({
        "p50": microseconds(summary.p50_ns),
        "p90": microseconds(summary.p90_ns),
        "p99": microseconds(summary.p99_ns),
        "p99.9": microseconds(summary.p999_ns),
        "max": microseconds(summary.max_ns),
        "count": summary.count,
    })
}

fn broker((start, end): (Usage, Usage), handled: u64) -> Value {
    let cpu_seconds = end.cpu_seconds() - start.cpu_seconds();
    let millions = real(handled) / 1e6;
    json!({
        "cpu_seconds": rounded(cpu_seconds, 3),
        "cpu_user_seconds": rounded(end.user_seconds - start.user_seconds, 3),
        "cpu_system_seconds": rounded(end.system_seconds - start.system_seconds, 3),
        "cpu_seconds_per_million": (handled > 0).then(|| rounded(cpu_seconds / millions, 4)),
        "resident_mib": rounded(real(end.resident_kib) / 1024.0, 1),
        "resident_mib_max": rounded(real(end.resident_kib_max) / 1024.0, 1),
        "voluntary_switches": end.voluntary_switches.saturating_sub(start.voluntary_switches),
        "involuntary_switches": end.involuntary_switches.saturating_sub(start.involuntary_switches),
    })
}

/// The result for people.
pub(crate) fn to_text(report: &Value) -> String {
    let mut text = String::new();
    let results = report.get("results").unwrap_or(&Value::Null);
    let named = report.get(NAMED_PHASES).and_then(Value::as_array);
    let phases: Vec<&str> = match named {
        Some(named) => named.iter().filter_map(Value::as_str).collect(),
        None => PHASES.to_vec(),
    };
    for name in &phases {
        if let Some(results) = results.get(*name) {
            line(&mut text, format_args!("{name}"));
            put_results(&mut text, results);
        }
    }
    if phases.iter().all(|name| results.get(*name).is_none()) {
        put_results(&mut text, results);
    }
    put_verdict(&mut text, report);
    text
}

fn put_results(text: &mut String, results: &Value) {
    let number = |name: &str| results.get(name).map_or_else(String::new, plain);
    for (title, rate, total) in [
        ("published", "published_per_second", "published"),
        ("confirmed", "confirmed_per_second", "confirmed"),
        ("received", "received_per_second", "received"),
        ("declared", "declared_per_second", "declared"),
        ("found", "found_per_second", "found"),
        ("deleted", "deleted_per_second", "deleted"),
        ("connected", "connected_per_second", "connected"),
        ("subscribed", "subscribed_per_second", "subscribed"),
        ("signs of life", "pinged_per_second", "pinged"),
        ("disconnected", "disconnected_per_second", "disconnected"),
        ("cycles", "cycles_per_second", "cycles"),
    ] {
        if results.get(rate).is_none() {
            continue;
        }
        let (rate, total) = (number(rate), number(total));
        line(text, format_args!("{title:<22}{rate:>14}/s {total:>16} in all"));
    }
    line(text, format_args!("{:<22}{:>14} s", "measured window", number("seconds")));
    for (title, name) in [
        ("end to end, us", "latency_us"),
        ("confirm, us", "confirm_latency_us"),
        ("each, us", "each_us"),
    ] {
        if let Some(values) = results.get(name).and_then(Value::as_object) {
            let cells: Vec<String> = ["p50", "p90", "p99", "p99.9", "max"]
                .iter()
                .map(|name| format!("{name} {}", values.get(*name).map_or_else(String::new, plain)))
                .collect();
            line(text, format_args!("{title:<22}{}", cells.join("  ")));
        }
    }
    if let Some(values) = results.get("broker").and_then(Value::as_object) {
        for (name, value) in values {
            let title = format!("broker {}", name.replace('_', " "));
            line(text, format_args!("{title:<36}{:>14}", plain(value)));
        }
    }
    for (title, name) in [
        ("broker octets each, resident", "broker_bytes_each"),
        ("broker octets each, anonymous", "broker_anonymous_bytes_each"),
        ("broker anonymous MiB", "broker_anonymous_mib"),
        ("broker files", "broker_files"),
    ] {
        if let Some(value) = results.get(name) {
            line(text, format_args!("{title:<36}{:>14}", plain(value)));
        }
    }
    let title = "generator cpu seconds";
    line(text, format_args!("{title:<36}{:>14}", number("generator_cpu_seconds")));
}

fn put_verdict(text: &mut String, report: &Value) {
    if let Some(made) = report.get("tls_handshakes").and_then(Value::as_object) {
        let count = |name: &str| made.get(name).map_or_else(String::new, plain);
        let (full, resumed) = (count("full"), count("resumed"));
        line(text, format_args!("handshakes of TLS: {full} full, {resumed} resumed"));
    }
    if let Some(failure) = report.get("failure").and_then(Value::as_str) {
        line(text, format_args!("FAILED: {failure}"));
    }
    let faults = report.get("faults").and_then(Value::as_object);
    for (name, count) in faults.into_iter().flatten().filter(|(_, count)| count.as_u64() != Some(0))
    {
        line(text, format_args!("VIOLATION: {count} {name}"));
    }
    let samples = report.get("fault_samples").and_then(Value::as_array);
    for sample in samples.into_iter().flatten() {
        line(text, format_args!("  {}", plain(sample)));
    }
    if report.get("ok").and_then(Value::as_bool) == Some(true) {
        let verified = report.get("verified").and_then(Value::as_str).unwrap_or(VERIFIED);
        line(text, format_args!("verified: {verified}"));
    }
    if let Some(next) = report.get("drain_with").and_then(Value::as_str) {
        line(text, format_args!("the messages wait for: {next}"));
    }
}

/// Writing into a string cannot fail.
fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    let _ = writeln!(text, "{arguments}");
}

/// A value without quotes; whole numbers without a point.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => {
            let text = number.to_string();
            text.strip_suffix(".0").map_or_else(|| text.clone(), ToOwned::to_owned)
        }
        Value::Null => "-".to_owned(),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_does_not_get_into_the_result() {
        assert_eq!(without_password("amqp://u:secret@h:1/v"), "amqp://u:...@h:1/v");
        assert_eq!(without_password("--uri=amqp://u:s@e@h"), "--uri=amqp://u:...@h");
        assert_eq!(without_password("-p"), "-p");
    }

    #[test]
    fn cpu_seconds_are_per_million_messages_received() {
        let used = |user_seconds| Usage { user_seconds, ..Usage::default() };
        let value = broker((used(1.0), used(4.0)), 2_000_000);
        assert_eq!(value["cpu_seconds_per_million"], json!(1.5));
        assert_eq!(broker((used(0.0), used(1.0)), 0)["cpu_seconds_per_million"], Value::Null);
    }

    #[test]
    fn the_table_shows_each_phase_with_its_own_numbers() {
        let report = json!({
            "results": {
                "fill": {"published_per_second": 7.0, "published": 70, "seconds": 10.0},
                "drain": {"received_per_second": 5.0, "received": 70, "seconds": 14.0},
            },
            "ok": true,
            "drain_with": "the command",
        });
        let text = to_text(&report);
        let (fill, drain) = text.split_once("drain\n").unwrap();
        assert!(fill.contains("7/s") && !fill.contains("received"), "{text}");
        assert!(drain.contains("5/s") && !drain.contains("published"), "{text}");
        assert!(drain.contains("verified: ") && drain.ends_with("for: the command\n"), "{text}");
    }

    #[test]
    fn a_result_may_name_its_phases_and_their_order() {
        let report = json!({
            "results": {
                "drain": {"received_per_second": 5.0, "received": 70, "seconds": 14.0},
                "zero": {"connected_per_second": 7.0, "connected": 3, "broker_bytes_each": 9},
            },
            "phases": ["zero", "drain"],
        });
        let text = to_text(&report);
        let (zero, drain) = text.split_once("drain\n").unwrap();
        assert!(zero.starts_with("zero\n") && zero.contains("7/s"), "{text}");
        assert!(zero.contains("octets each, resident"), "{text}");
        assert!(drain.contains("5/s") && !drain.contains("drain"), "{text}");
    }

    #[test]
    fn the_table_shows_what_went_wrong() {
        let report = json!({
            "results": {"received_per_second": 5.0, "seconds": 1.5},
            "faults": {"lost": 3, "foreign": 0},
            "fault_samples": ["queue 0: some"],
            "failure": "gone",
            "ok": false,
        });
        let text = to_text(&report);
        for part in ["5/s", "VIOLATION: 3 lost", "  queue 0: some", "FAILED: gone"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("foreign") && !text.contains("verified"));
    }
}
