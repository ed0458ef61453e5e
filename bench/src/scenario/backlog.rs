//! A long queue: publish without any consumer, then take everything. The two halves may be two
//! processes, so that the broker can be restarted in between. Imports `plan`, `run`, `report`.

use serde_json::{Value, json};

use super::Scenario;
use super::throughput::random_token;
use crate::client::broker::Broker;
use crate::client::uri::AMQP;
use crate::error::PerfError;
use crate::options::LoadOptions;
use crate::plan::{Plan, Stock};
use crate::report::{self, Subject};
use crate::run::{Manner, Outcome, run};
use crate::verify::{Faults, Topology};

/// The entry of the table.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "backlog",
    about: "fill durable queues without a consumer, then drain them",
    run: measure,
};

/// Messages of a fill: a queue that no broker keeps in its caches by chance.
const MESSAGES: u64 = 1_000_000;
/// Unconfirmed messages per publisher.
const CONFIRM_WINDOW: u32 = 1000;

fn measure(options: &LoadOptions) -> Result<Value, PerfError> {
    check(options)?;
    let plan = plan(options, random_token())?;
    let broker = Broker::new(&options.uri, AMQP, &options.transport)?;
    let mut course = Course::default();
    let mut stock = Stock { published: None, deliveries: options.cmessages };
    if !options.drain_only {
        let outcome = run(&fill_of(&plan), Manner::of(options, &broker))?;
        let published: u64 = outcome.published.iter().sum();
        let copies = u64::try_from(plan.topology.copies()).unwrap_or(1);
        stock.deliveries = Some(published.saturating_mul(copies));
        stock.published = Some(outcome.published.clone());
        course.add("fill", report::fill_results(&outcome), outcome);
    }
    let expected = stock.deliveries;
    if !options.fill_only && course.failure.is_none() {
        match run(&drain_of(&plan, stock), Manner::of(options, &broker)) {
            Ok(outcome) => course.add("drain", report::drain_results(&outcome), outcome),
            Err(error) if options.drain_only => return Err(error),
            // The numbers of the fill are worth more than a short message.
            Err(error) => course.failure = Some(error.to_string()),
        }
    }
    let subject = Subject::of("backlog", options, &plan, &broker);
    let Course { results, faults, failure } = course;
    let mut report = report::report(&subject, &results.into(), &faults, failure.as_deref());
    if options.fill_only
        && let Some(members) = report.as_object_mut()
    {
        members.insert("verified".to_owned(), json!("every message confirmed, none taken yet"));
        members.insert("queues".to_owned(), json!(plan.queues));
        members.insert("drain_with".to_owned(), json!(drain_command(&plan, expected)));
    }
    Ok(report)
}

/// What came out of the halves up to now.
#[derive(Debug, Default)]
struct Course {
    results: serde_json::Map<String, Value>,
    faults: Faults,
    failure: Option<String>,
}

impl Course {
    fn add(&mut self, half: &str, results: Value, outcome: Outcome) {
        self.results.insert(half.to_owned(), results);
        self.faults.add(outcome.faults);
        self.failure = outcome.failure.map(|failure| failure.to_string());
    }
}

fn check(options: &LoadOptions) -> Result<(), PerfError> {
    let is_timed = options.time.is_some() || options.warm_up.is_some() || options.backlog > 0;
    let rules = [
        (!is_timed, "-z, --warm-up, --backlog: a backlog is measured from end to end"),
        (options.fill_only || options.consumers > 0, "-y: somebody must take the messages"),
        (options.drain_only || options.cmessages.is_none(), "-D: needs --drain-only"),
        (!options.drain_only || options.pmessages.is_none(), "-C: --drain-only publishes nothing"),
    ];
    match rules.iter().find(|(is_kept, _)| !is_kept) {
        Some((_, rule)) => Err(PerfError::Settings((*rule).to_owned())),
        None => Ok(()),
    }
}

/// What both halves have in common.
fn plan(options: &LoadOptions, run: u16) -> Result<Plan, PerfError> {
    let told = LoadOptions {
        pmessages: if options.drain_only { None } else { options.pmessages.or(Some(MESSAGES)) },
        confirm: options.confirm.or(Some(CONFIRM_WINDOW)),
        persistent: !options.transient,
        durable: true,
        ..options.clone()
    };
    // Without a number a plan has a window of some seconds; a drain lasts as long as it lasts.
    Ok(Plan { window_ns: u64::MAX, warm_up_ns: 0, ..Plan::new(&told, run)? })
}

/// Publishes all; whatever was declared stays.
fn fill_of(plan: &Plan) -> Plan {
    let topology = Topology { consumers: 0, ..plan.topology };
    Plan { topology, removes_queues: false, removes_exchange: false, ..plan.clone() }
}

/// Takes all, and removes what the fill has declared, unless somebody named it.
fn drain_of(plan: &Plan, stock: Stock) -> Plan {
    // Another process has given the exchange a name of its own.
    let removes_exchange = plan.removes_exchange && stock.published.is_some();
    let stock = Some(stock);
    Plan { stock, removes_exchange, messages: None, confirm_window: None, ..plan.clone() }
}

/// The command for the other half: what it cannot find out itself must be said again.
fn drain_command(plan: &Plan, expected: Option<u64>) -> String {
    let Topology { body_bytes, producers, queues, topics, .. } = plan.topology;
    let first = plan.queues.first().map_or("", String::as_str);
    let name = if queues > 1 { first.strip_suffix("-0").unwrap_or(first) } else { first };
    let mut command = format!("ringmqperf amqp backlog --drain-only -u {name} -s {body_bytes}");
    if producers > 1 {
        command.push_str(&format!(" -x {producers}"));
    }
    if queues > 1 {
        command.push_str(&format!(" --queues {queues} -y {queues}"));
    }
    if topics != queues {
        command.push_str(" --exchange-type fanout");
    }
    command.push_str(&format!(" -D {}", expected.unwrap_or(0)));
    command
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::options::{Command, Options};

    fn options(line: &str) -> LoadOptions {
        let words = ["ringmqperf", "amqp", "backlog"].into_iter().chain(line.split_whitespace());
        let command = Options::try_parse_from(words).map(|options| options.command);
        let Ok(Command::Amqp { load, .. }) = command else { panic!("{command:?}") };
        *load
    }

    #[test]
    fn a_backlog_is_durable_persistent_and_confirmed_unless_told_otherwise() {
        let plain = plan(&options(""), 1).unwrap();
        assert_eq!((plain.messages, plain.confirm_window), (Some(MESSAGES), Some(CONFIRM_WINDOW)));
        assert!(plain.is_durable && plain.is_persistent);
        let told = plan(&options("-C 9 -c 3 --transient"), 1).unwrap();
        assert_eq!((told.messages, told.confirm_window), (Some(9), Some(3)));
        assert!(told.is_durable && !told.is_persistent);
    }

    #[test]
    fn the_fill_has_no_consumer_and_the_drain_no_publisher() {
        let both = plan(&options("-x 3 -y 2"), 1).unwrap();
        let fill = fill_of(&both);
        assert_eq!((fill.topology.consumers, fill.publishing()), (0, 3));
        assert!(!fill.removes_queues);
        let stock = Stock { published: Some(vec![1, 2, 3]), deliveries: Some(6) };
        let drain = drain_of(&both, stock);
        assert_eq!((drain.topology.consumers, drain.publishing()), (2, 0));
        assert_eq!((drain.topology.producers, drain.window_ns), (3, u64::MAX));
        assert!(drain.removes_queues);
    }

    #[test]
    fn the_command_for_the_drain_is_understood() {
        for line in ["-s 100", "-x 3 -y 2 --queues 2", "--queues 2 -y 2 --exchange-type fanout"] {
            let filled = plan(&options(line), 1).unwrap();
            let command = drain_command(&filled, Some(77));
            let words = command.strip_prefix("ringmqperf amqp backlog ").unwrap();
            let told = options(words);
            check(&told).unwrap();
            let drain = plan(&told, 2).unwrap();
            let of = |plan: &Plan| {
                let Topology { body_bytes, producers, queues, topics, .. } = plan.topology;
                (body_bytes, producers, queues, topics, plan.queues.clone())
            };
            assert_eq!(of(&drain), of(&filled), "{command}");
            assert_eq!((drain.deliveries, drain.removes_queues), (Some(77), false), "{command}");
        }
    }

    #[test]
    fn options_that_make_no_sense_for_a_backlog_are_refused() {
        for line in ["-z 5", "--warm-up 1", "--backlog 9", "-y 0", "-D 5", "--drain-only -u q -C 5"]
        {
            assert!(matches!(check(&options(line)), Err(PerfError::Settings(_))), "{line}");
        }
        for line in ["--drain-only", "--fill-only --drain-only -u q", "-p --transient"] {
            let words = format!("ringmqperf amqp backlog {line}");
            assert!(Options::try_parse_from(words.split_whitespace()).is_err(), "{line}");
        }
        assert!(check(&options("--fill-only -y 0")).is_ok());
    }
}
