//! Options made consistent: what a run does, without a choice left. Imports `options`,
//! `verify::Topology`, `director::Course`.

use crate::clock::SECOND_NS;
use crate::director::Course;
use crate::error::PerfError;
use crate::options::{ExchangeKind, LoadOptions};
use crate::payload::BODY_BYTES_MIN;
use crate::verify::Topology;

/// Seconds of a measured window when neither time nor number is given.
const WINDOW_SECONDS: u64 = 10;
/// Seconds of warm-up before a window that is measured by time.
const WARM_UP_SECONDS: u64 = 1;
/// Largest body: what RabbitMQ takes by default (max_message_size).
const BODY_BYTES_MAX: u32 = 128 * 1024 * 1024;

/// Messages that are in the queues before a run.
#[derive(Debug, Clone)]
pub(crate) struct Stock {
    /// How many the producers of this process have published, by producer; `None` if it was
    /// another process.
    pub(crate) published: Option<Vec<u64>>,
    /// How many are to be delivered in all; `None` for as many as the broker says there are.
    pub(crate) deliveries: Option<u64>,
}

/// What a run does.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Takes what is there and publishes nothing; `None` for queues that begin empty.
    pub(crate) stock: Option<Stock>,
    /// Who publishes where.
    pub(crate) topology: Topology,
    /// Names of the queues.
    pub(crate) queues: Vec<String>,
    /// Whether the queues are removed afterwards: unless somebody named them.
    pub(crate) removes_queues: bool,
    /// The same for the exchange.
    pub(crate) removes_exchange: bool,
    /// Name of the exchange, empty for the default one.
    pub(crate) exchange: String,
    /// Type of the exchange, if it is to be declared.
    pub(crate) exchange_kind: Option<ExchangeKind>,
    /// Routing key, if it is not the queue's name.
    pub(crate) key: Option<String>,
    /// Durable queues and exchange.
    pub(crate) is_durable: bool,
    /// Type of the queues.
    pub(crate) queue_type: Option<String>,
    /// Persistent messages.
    pub(crate) is_persistent: bool,
    /// Unconfirmed messages per producer; `None` without confirms.
    pub(crate) confirm_window: Option<u32>,
    /// Deliveries per acknowledgement; `None` without acknowledgements.
    pub(crate) ack_batch: Option<u32>,
    /// Prefetch count; 0 for no limit.
    pub(crate) prefetch: u16,
    /// Messages per second of all producers.
    pub(crate) rate: Option<u64>,
    /// Messages per second of all consumers.
    pub(crate) consume_rate: Option<u64>,
    /// Messages of all producers.
    pub(crate) messages: Option<u64>,
    /// Deliveries after which the window ends.
    pub(crate) deliveries: Option<u64>,
    /// Longest window; `u64::MAX` if only a number ends it.
    pub(crate) window_ns: u64,
    /// Load before the window.
    pub(crate) warm_up_ns: u64,
    /// Silence after which missing messages are lost.
    pub(crate) drain_timeout_ns: u64,
    /// Messages on their way that stop producers; `u64::MAX` for no limit.
    pub(crate) backlog_max: u64,
    /// Never sleep.
    pub(crate) is_spinning: bool,
}

impl Plan {
    /// The plan of these options; `run` is a random token.
    ///
    /// # Errors
    /// `Settings` for options that contradict each other.
    pub(crate) fn new(options: &LoadOptions, run: u16) -> Result<Self, PerfError> {
        check(options)?;
        let base = options.queue.clone().unwrap_or_else(|| format!("ringmqperf.{run:04x}"));
        let queues = match options.queues {
            1 => vec![base],
            count => (0..count).map(|index| format!("{base}-{index}")).collect(),
        };
        let exchange_kind = options.exchange_type;
        let exchange = match (&options.exchange, exchange_kind) {
            (Some(name), _) => name.clone(),
            (None, Some(kind)) => format!("ringmqperf.{run:04x}.{}", kind.name()),
            (None, None) => String::new(),
        };
        let is_counted = options.pmessages.is_some();
        let window_seconds = options.time.or(if is_counted { None } else { Some(WINDOW_SECONDS) });
        let warm_up = options.warm_up.unwrap_or(if is_counted { 0 } else { WARM_UP_SECONDS });
        let seconds_ns = |seconds: u64| seconds.saturating_mul(SECOND_NS);
        let needs_durable = options.queue_type.as_ref().is_some_and(|kind| kind != "classic");
        Ok(Self {
            stock: None,
            topology: Topology {
                run,
                body_bytes: usize::try_from(options.size).unwrap_or(usize::MAX),
                producers: options.publishers.into(),
                consumers: options.consumers.into(),
                queues: options.queues.into(),
                topics: if exchange_kind == Some(ExchangeKind::Fanout) {
                    1
                } else {
                    options.queues.into()
                },
                is_ordered: true,
            },
            queues,
            removes_queues: options.queue.is_none(),
            removes_exchange: options.exchange.is_none() && exchange_kind.is_some(),
            exchange,
            exchange_kind,
            key: options.key.clone(),
            is_durable: options.persistent || options.durable || needs_durable,
            queue_type: options.queue_type.clone(),
            is_persistent: options.persistent,
            confirm_window: options.confirm,
            ack_batch: options.ack,
            prefetch: options.prefetch,
            rate: options.rate,
            consume_rate: options.consume_rate,
            messages: options.pmessages,
            deliveries: options.cmessages,
            window_ns: window_seconds.map_or(u64::MAX, seconds_ns),
            warm_up_ns: seconds_ns(warm_up),
            drain_timeout_ns: seconds_ns(options.drain_timeout),
            backlog_max: if options.backlog == 0 { u64::MAX } else { options.backlog },
            is_spinning: options.spin,
        })
    }

    /// What a director must know.
    pub(crate) fn course(&self) -> Course {
        Course {
            stock: self.stock.as_ref().map(|stock| stock.deliveries.unwrap_or(0)),
            has_confirms: self.confirm_window.is_some(),
            has_consumers: self.topology.consumers > 0,
            copies: u64::try_from(self.topology.copies()).unwrap_or(1),
            is_counted: self.messages.is_some() || self.stock.is_some(),
            deliveries_max: self.deliveries.unwrap_or(u64::MAX),
            window_ns: self.window_ns,
            warm_up_ns: self.warm_up_ns,
            drain_timeout_ns: self.drain_timeout_ns,
        }
    }

    /// How many connections publish.
    pub(crate) const fn publishing(&self) -> usize {
        if self.stock.is_some() { 0 } else { self.topology.producers }
    }

    /// The queue of consumer or producer `index`.
    pub(crate) fn queue_of(&self, index: usize) -> &str {
        let queue = index.checked_rem(self.queues.len()).and_then(|queue| self.queues.get(queue));
        queue.map_or("", String::as_str)
    }

    /// The routing key of producer `index`, and of the binding of queue `index`.
    pub(crate) fn key_of(&self, index: usize) -> &str {
        self.key.as_deref().unwrap_or_else(|| self.queue_of(index))
    }

    /// The share of producer `index` in the number of messages.
    pub(crate) fn messages_of(&self, index: usize) -> u64 {
        share_of(self.messages, self.topology.producers, index)
    }
}

/// The share of producer `index` of `producers` in a number of messages.
pub(crate) fn share_of(messages: Option<u64>, producers: usize, index: usize) -> u64 {
    let Some(messages) = messages else { return u64::MAX };
    let producers = u64::try_from(producers).unwrap_or(1).max(1);
    let share = messages.checked_div(producers).unwrap_or(0);
    let rest = messages.checked_rem(producers).unwrap_or(0);
    share + u64::from(u64::try_from(index).is_ok_and(|index| index < rest))
}

fn check(options: &LoadOptions) -> Result<(), PerfError> {
    let body_bytes_min = u32::try_from(BODY_BYTES_MIN).unwrap_or(u32::MAX);
    let prefetch = u32::from(options.prefetch);
    let has_consumers = options.consumers > 0;
    let is_one_queue = options.queues <= 1 || options.exchange_type == Some(ExchangeKind::Fanout);
    let rules = [
        (options.size >= body_bytes_min, "-s: a body has at least 16 octets"),
        (options.size <= BODY_BYTES_MAX, "-s: a body has at most 128 MiB"),
        (options.publishers > 0, "-x: at least one publisher"),
        (options.queues > 0, "--queues: at least one queue"),
        (!has_consumers || options.consumers >= options.queues, "-y: fewer consumers than queues"),
        (options.confirm != Some(0), "-c: the window is at least 1"),
        (options.ack != Some(0), "-a: at least 1; without -a nothing is acknowledged"),
        (options.rate != Some(0) && options.consume_rate != Some(0), "-r, -R: at least 1"),
        (
            prefetch == 0 || options.ack.is_none_or(|ack| ack <= prefetch),
            "-a: more than the prefetch count would never be acknowledged",
        ),
        (has_consumers || options.backlog == 0, "--backlog: needs consumers"),
        (has_consumers || options.cmessages.is_none(), "-D: needs consumers"),
        (
            options.key.is_none() || is_one_queue,
            "-k: with several queues the key is the queue's name",
        ),
        (
            options.key.is_none() || options.exchange.is_some() || options.exchange_type.is_some(),
            "-k: the default exchange routes by the queue's name",
        ),
        (options.exchange.as_deref() != Some(""), "-e: leave it out for the default exchange"),
    ];
    match rules.iter().find(|(is_kept, _)| !is_kept) {
        Some((_, rule)) => Err(PerfError::Settings((*rule).to_owned())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::options::{Command, Options};

    fn plan(line: &str) -> Result<Plan, PerfError> {
        let words = ["ringmqperf", "amqp", "throughput"].into_iter().chain(line.split_whitespace());
        let command = Options::try_parse_from(words).map(|options| options.command);
        let Ok(Command::Amqp { load, .. }) = command else { panic!("{command:?}") };
        Plan::new(&load, 0xAB)
    }

    #[test]
    fn queues_are_numbered_if_there_are_several() {
        assert_eq!(plan("-u q").unwrap().queues, ["q"]);
        let plan = plan("--queues 2 -x 3 -y 2").unwrap();
        assert_eq!(plan.queues, ["ringmqperf.00ab-0", "ringmqperf.00ab-1"]);
        assert_eq!((plan.key_of(2), plan.queue_of(1)), ("ringmqperf.00ab-0", "ringmqperf.00ab-1"));
    }

    #[test]
    fn what_somebody_named_is_not_removed() {
        let removes = |line| plan(line).map(|plan| (plan.removes_queues, plan.removes_exchange));
        assert_eq!(removes("").unwrap(), (true, false));
        assert_eq!(removes("--exchange-type fanout").unwrap(), (true, true));
        assert_eq!(removes("--exchange-type fanout -e x").unwrap(), (true, false));
        assert_eq!(removes("--exchange-type fanout -u q").unwrap(), (false, true));
    }

    #[test]
    fn a_number_of_messages_is_shared_without_a_rest() {
        let plan = plan("-C 10 -x 3").unwrap();
        let shares: Vec<u64> = (0..3).map(|index| plan.messages_of(index)).collect();
        assert_eq!(shares, [4, 3, 3]);
        assert_eq!((plan.window_ns, plan.warm_up_ns), (u64::MAX, 0));
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        for line in
            ["-s 15", "-x 0", "--queues 2", "-a 20 -P 10", "-k x", "-y 0 -D 5", "-e x --queues 0"]
        {
            assert!(matches!(plan(line), Err(PerfError::Settings(_))), "{line}");
        }
    }
}
