//! Many durable queues with one message each: what a broker does per queue, and what it keeps.
//! Imports `client`, `plan`, `report`.

use serde_json::{Value, json};

use super::Scenario;
use super::throughput::random_token;
use crate::client::ClientError;
use crate::client::amqp091::many::{Many, Settled};
use crate::client::broker::Broker;
use crate::client::uri::AMQP;
use crate::clock::Clock;
use crate::director::Moment;
use crate::error::PerfError;
use crate::options::LoadOptions;
use crate::plan::Plan;
use crate::process::Usage;
use crate::report::{self, Subject};
use crate::verify::Faults;

/// The entry of the table.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "queues",
    about: "declare many durable queues with one message each",
    run: measure,
};

/// Methods without an answer.
const GROUP: u32 = 100;
/// More of them might fill the buffers of both sides, so that neither reads.
const GROUP_MAX: u32 = 1000;
/// Largest body, for the same reason.
const BODY_BYTES_MAX: u32 = 1024;

fn measure(options: &LoadOptions) -> Result<Value, PerfError> {
    check(options)?;
    let run = random_token();
    let told = LoadOptions { persistent: !options.transient, durable: true, ..options.clone() };
    let plan = Plan::new(&told, run)?;
    let base = plan.queue_of(0).to_owned();
    let names: Vec<String> = (0..options.count).map(|index| format!("{base}-{index}")).collect();
    let broker = Broker::new(&options.uri, AMQP, &options.transport)?;
    let mut passes = Passes {
        many: Many::open(&broker, options.confirm.unwrap_or(GROUP))?,
        names,
        clock: Clock::start(),
        broker_pid: options.broker_pid,
        results: serde_json::Map::new(),
        faults: Faults::default(),
    };
    let result = passes.make(options, &plan);
    let failure = result.err().map(|error| error.to_string());
    let subject = Subject::of("queues", options, &plan, &broker);
    let Passes { many, results, faults, .. } = passes;
    if failure.is_none() {
        many.close()?;
    }
    let mut report = report::report(&subject, &results.into(), &faults, failure.as_deref());
    if let Some(settings) = report.get_mut("settings").and_then(Value::as_object_mut) {
        settings.insert("queues".to_owned(), json!(options.count));
    }
    if let Some(members) = report.as_object_mut() {
        members.insert("verified".to_owned(), json!("every queue has its message"));
        if options.fill_only {
            let command = "ringmqperf amqp queues --drain-only";
            let command = format!("{command} -u {base} --count {}", options.count);
            members.insert("drain_with".to_owned(), json!(command));
        }
    }
    Ok(report)
}

fn check(options: &LoadOptions) -> Result<(), PerfError> {
    let has_exchange = options.exchange.is_some() || options.exchange_type.is_some();
    let rules = [
        (options.confirm.is_none_or(|group| group <= GROUP_MAX), "-c: at most 1000"),
        (options.size <= BODY_BYTES_MAX, "-s: at most 1024 octets"),
        (options.queues == 1, "--queues: it is --count in this scenario"),
        (!has_exchange, "-e, --exchange-type: messages go to queues by their names"),
    ];
    match rules.iter().find(|(is_kept, _)| !is_kept) {
        Some((_, rule)) => Err(PerfError::Settings((*rule).to_owned())),
        None => Ok(()),
    }
}

/// What is done to all queues, one thing after another.
#[derive(Debug)]
struct Passes {
    many: Many,
    names: Vec<String>,
    clock: Clock,
    broker_pid: Option<u32>,
    results: serde_json::Map<String, Value>,
    faults: Faults,
}

impl Passes {
    fn make(&mut self, options: &LoadOptions, plan: &Plan) -> Result<(), ClientError> {
        let count = u64::from(options.count);
        if !options.drain_only {
            let start = self.moment();
            self.many.declare(&self.names, plan)?;
            self.add("declare", ("declared", count), &start);
            if options.queue.is_some() {
                self.many.purge(&self.names)?;
            }
            let start = self.moment();
            let Settled { confirmed, refused } = self.many.publish(&self.names, plan)?;
            self.add("publish", ("published", confirmed), &start);
            self.faults.refused += refused;
        }
        let start = self.moment();
        let counts = self.many.count(&self.names)?;
        self.add("find", ("found", count), &start);
        judge(&self.names, &counts, &mut self.faults);
        if plan.removes_queues && !options.fill_only {
            let start = self.moment();
            self.many.delete(&self.names)?;
            self.add("delete", ("deleted", count), &start);
        }
        Ok(())
    }

    fn moment(&self) -> Moment {
        Moment {
            time_ns: self.clock.now_ns(),
            broker: self.broker_pid.and_then(|pid| Usage::of(pid).ok()),
            generator: Usage::of(std::process::id()).ok(),
            ..Moment::default()
        }
    }

    fn add(&mut self, name: &str, (done, count): (&str, u64), start: &Moment) {
        let results = report::pass_results(done, count, (start, &self.moment()));
        self.results.insert(name.to_owned(), results);
    }
}

/// Every queue must have one message.
fn judge(names: &[String], counts: &[u32], faults: &mut Faults) {
    for (name, &count) in names.iter().zip(counts) {
        faults.lost += u64::from(count == 0);
        faults.duplicated += u64::from(count.saturating_sub(1));
        if count != 1 {
            faults.describe(|| format!("{name}: {count} messages instead of one"));
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::options::{Command, Options};

    fn options(line: &str) -> LoadOptions {
        let words = ["ringmqperf", "amqp", "queues"].into_iter().chain(line.split_whitespace());
        let command = Options::try_parse_from(words).map(|options| options.command);
        let Ok(Command::Amqp { load, .. }) = command else { panic!("{command:?}") };
        *load
    }

    #[test]
    fn a_queue_with_no_message_or_several_is_reported() {
        let names = ["a", "b", "c"].map(str::to_owned);
        let mut faults = Faults::default();
        judge(&names, &[1, 0, 3], &mut faults);
        assert_eq!((faults.lost, faults.duplicated, faults.total()), (1, 2, 3));
        assert!(faults.samples[0].starts_with("b: 0"), "{:?}", faults.samples);
    }

    #[test]
    fn options_that_make_no_sense_for_many_queues_are_refused() {
        for line in ["-c 1001", "-s 2000", "--queues 2 -y 2", "-e x"] {
            assert!(matches!(check(&options(line)), Err(PerfError::Settings(_))), "{line}");
        }
        assert!(check(&options("-c 1 --count 5")).is_ok());
    }
}
