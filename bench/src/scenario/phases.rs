//! A result in parts, one after another, and the settings behind it. Imports `report`, `fleet`.

use serde_json::{Map, Value, json};

use crate::client::broker::Broker;
use crate::client::fleet::Fleet;
use crate::client::member::Member;
use crate::director::Moment;
use crate::histogram::Summary;
use crate::options::mqtt::MqttOptions;
use crate::report::{self, Subject};
use crate::run::Outcome;
use crate::verify::Faults;

/// What has been measured up to now.
#[derive(Debug, Default)]
pub(in crate::scenario) struct Phases {
    names: Vec<String>,
    results: Map<String, Value>,
    /// What was wrong.
    pub(in crate::scenario) faults: Faults,
    /// Why it ended early.
    pub(in crate::scenario) failure: Option<String>,
}

impl Phases {
    /// Adds what was done to so many things since `start`.
    pub(in crate::scenario) fn add(
        &mut self,
        name: &str,
        (done, count): (&str, u64),
        (start, end): (&Moment, &Moment),
    ) {
        let results = report::pass_results(done, count, (start, end));
        self.names.push(name.to_owned());
        self.results.insert(name.to_owned(), results);
    }

    /// Adds to the last part how much the broker's memory grew for each of `count` things since
    /// `start`.
    pub(in crate::scenario) fn add_memory(&mut self, count: u64, (start, end): (&Moment, &Moment)) {
        let usage = start.broker.zip(end.broker);
        let members = self.names.last().and_then(|name| self.results.get_mut(name));
        let members = members.and_then(Value::as_object_mut);
        let Some(((start, end), members)) = usage.zip(members) else { return };
        let each = |start: u64, end: u64| {
            end.saturating_sub(start).saturating_mul(1024).checked_div(count).unwrap_or(0)
        };
        let resident = each(start.resident_kib, end.resident_kib);
        let anonymous = each(start.anonymous_kib, end.anonymous_kib);
        members.insert("broker_bytes_each".to_owned(), json!(resident));
        members.insert("broker_anonymous_bytes_each".to_owned(), json!(anonymous));
    }

    /// Adds to the last part how long each took.
    pub(in crate::scenario) fn add_delays(&mut self, delays: Option<Summary>) {
        let members = self.names.last().and_then(|name| self.results.get_mut(name));
        if let Some((delays, members)) = delays.zip(members.and_then(Value::as_object_mut)) {
            members.insert("each_us".to_owned(), report::percentiles(delays));
        }
    }

    /// Adds a number to the last part.
    pub(in crate::scenario) fn add_number(&mut self, name: &str, number: impl Into<Value>) {
        let members = self.names.last().and_then(|name| self.results.get_mut(name));
        if let Some(members) = members.and_then(Value::as_object_mut) {
            members.insert(name.to_owned(), number.into());
        }
    }

    /// Adds a load of publishers and subscribers.
    pub(in crate::scenario) fn add_outcome(&mut self, name: &str, outcome: Outcome) {
        self.names.push(name.to_owned());
        self.results.insert(name.to_owned(), of_outcome(&outcome));
        self.faults.add(outcome.faults);
        self.fail(outcome.failure);
    }

    /// Keeps the first failure.
    pub(in crate::scenario) fn fail(&mut self, failure: Option<impl ToString>) {
        if let Some(failure) = failure {
            self.failure.get_or_insert_with(|| failure.to_string());
        }
    }

    /// The report; `verified` is what a run without a fault has shown.
    pub(in crate::scenario) fn report(self, subject: &Subject<'_>, verified: &str) -> Value {
        let Self { names, results, faults, failure } = self;
        let mut report = report::report(subject, &results.into(), &faults, failure.as_deref());
        if let Some(members) = report.as_object_mut() {
            members.insert("phases".to_owned(), json!(names));
            members.insert("verified".to_owned(), json!(verified));
        }
        report
    }
}

/// The numbers of a load: what the broker used is per message received or, if nobody receives,
/// published.
pub(in crate::scenario) fn of_outcome(outcome: &Outcome) -> Value {
    let received = outcome.end.received.saturating_sub(outcome.start.received);
    let published = outcome.end.published.saturating_sub(outcome.start.published);
    report::results(outcome, if received > 0 { received } else { published })
}

/// What a report is about.
pub(in crate::scenario) fn subject<'a>(
    scenario: &'a str,
    options: &MqttOptions,
    more: &Value,
    broker: &'a Broker,
) -> Subject<'a> {
    let mut settings = json!({
        "version": options.version.spoken().level(),
        "qos": options.qos,
        "subscribe_qos": options.subscribe_qos,
        "size": options.size,
        "batch": options.batch,
        "rate": options.rate,
        "messages": options.pmessages,
        "backlog": options.backlog,
        "connections": options.transport.settings(),
        "pin": options.pin,
        "spin": options.spin,
    });
    if let Some((members, more)) = settings.as_object_mut().zip(more.as_object()) {
        members.extend(more.clone());
    }
    Subject { protocol: "mqtt", scenario, settings, broker }
}

/// Now.
pub(in crate::scenario) fn moment<M: Member>(fleet: &Fleet<M>, broker_pid: Option<u32>) -> Moment {
    fleet.moment(broker_pid)
}
