//! The command line. Letters are those of lavinmqperf where it has them. Imports clap.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::scenario;

pub(crate) mod mqtt;
pub(crate) mod transport;

use mqtt::MqttOptions;
use transport::TransportOptions;

/// Load generator for brokers; every message is verified.
#[derive(Debug, Parser)]
#[command(name = "ringmqperf", version)]
pub(crate) struct Options {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Load a broker by AMQP 0-9-1.
    Amqp {
        /// What kind of load.
        #[arg(value_parser = scenario::names())]
        scenario: String,
        /// How much of it.
        #[command(flatten)]
        load: Box<LoadOptions>,
    },
    /// Load a broker by MQTT 3.1.1 or 5.0.
    Mqtt {
        /// What kind of load.
        #[arg(value_parser = scenario::mqtt::names())]
        scenario: String,
        /// How much of it.
        #[command(flatten)]
        load: Box<MqttOptions>,
    },
    /// Print the ratios of two results written with --json.
    Compare {
        /// Result to compare with.
        base: PathBuf,
        /// Result to compare.
        other: PathBuf,
    },
}

/// Kinds of exchanges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExchangeKind {
    /// Routing key equals binding key.
    Direct,
    /// To all queues.
    Fanout,
    /// Routing key matches the words of the binding key.
    Topic,
}

impl ExchangeKind {
    /// The name in the protocol.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Fanout => "fanout",
            Self::Topic => "topic",
        }
    }
}

/// How much load, of which kind, and how it is measured.
#[derive(Debug, Clone, Args)]
#[command(disable_version_flag = true)]
pub(crate) struct LoadOptions {
    /// Where the broker is.
    #[arg(long, default_value = "amqp://guest:guest@127.0.0.1:5672/")]
    pub(crate) uri: String,
    /// What is between this and the broker.
    #[command(flatten)]
    pub(crate) transport: TransportOptions,
    /// Publishing connections.
    #[arg(short = 'x', long, default_value_t = 1)]
    pub(crate) publishers: u16,
    /// Consuming connections.
    #[arg(short = 'y', long, default_value_t = 1)]
    pub(crate) consumers: u16,
    /// Octets of a message's body, 16 at least.
    #[arg(short, long, default_value_t = 16)]
    pub(crate) size: u32,
    /// Acknowledge this many deliveries at once; without it no acknowledgement is asked for.
    #[arg(short, long)]
    pub(crate) ack: Option<u32>,
    /// Ask for confirms, and have at most this many messages unconfirmed per publisher. Scenario
    /// backlog: 1000 by default; scenario queues: methods without an answer, 100 by default.
    #[arg(short, long)]
    pub(crate) confirm: Option<u32>,
    /// Persistent messages and durable queues; the default of scenarios backlog and queues.
    #[arg(short, long)]
    pub(crate) persistent: bool,
    /// Scenarios backlog and queues: messages that are not persistent, in durable queues.
    #[arg(long, conflicts_with = "persistent")]
    pub(crate) transient: bool,
    /// Scenarios backlog and queues: publish, and leave the queues with their messages.
    #[arg(long, conflicts_with = "drain_only")]
    pub(crate) fill_only: bool,
    /// Scenario backlog: take what --fill-only has left; -u, --queues, -x and -s as there.
    /// Scenario queues: see whether all is there; -u and --count as there.
    #[arg(long, requires = "queue")]
    pub(crate) drain_only: bool,
    /// Prefetch count of each consumer; 0 is no limit.
    #[arg(short = 'P', long, default_value_t = 0)]
    pub(crate) prefetch: u16,
    /// Seconds of the measured window; scenario connections: to hold them.
    #[arg(short = 'z', long)]
    pub(crate) time: Option<u64>,
    /// Messages to publish in all; the window lasts until all have come. Scenario backlog:
    /// 1000000 by default; scenario churn: connections.
    #[arg(short = 'C', long)]
    pub(crate) pmessages: Option<u64>,
    /// End the window after so many deliveries. With --drain-only: messages that must be there.
    #[arg(short = 'D', long)]
    pub(crate) cmessages: Option<u64>,
    /// Messages to publish per second in all, by the clock and not by the broker's answers.
    #[arg(short, long)]
    pub(crate) rate: Option<u64>,
    /// Messages to consume per second in all.
    #[arg(short = 'R', long)]
    pub(crate) consume_rate: Option<u64>,
    /// Name of the queue; with several queues, "-0", "-1" and so on behind it.
    #[arg(short = 'u', long)]
    pub(crate) queue: Option<String>,
    /// Number of queues: publisher and consumer i use queue i modulo this.
    #[arg(long, default_value_t = 1)]
    pub(crate) queues: u16,
    /// Scenario queues: how many to declare; scenario connections: how many to open.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) count: u32,
    /// Scenario connections: seconds within which each side must say something; 0 for never.
    #[arg(long, default_value_t = 10)]
    pub(crate) heartbeat: u16,
    /// Type of the queues, such as classic or quorum.
    #[arg(long)]
    pub(crate) queue_type: Option<String>,
    /// Durable queues, even for messages that are not persistent.
    #[arg(long)]
    pub(crate) durable: bool,
    /// Name of the exchange; without it and without a type, the default exchange.
    #[arg(short, long)]
    pub(crate) exchange: Option<String>,
    /// Type of the exchange.
    #[arg(long, value_enum)]
    pub(crate) exchange_type: Option<ExchangeKind>,
    /// Routing key; the queue's name by default.
    #[arg(short, long)]
    pub(crate) key: Option<String>,
    /// Publish no more while this many messages are on their way; 0 is no limit.
    #[arg(long, default_value_t = 0)]
    pub(crate) backlog: u64,
    /// Seconds of load before the measured window.
    #[arg(long)]
    pub(crate) warm_up: Option<u64>,
    /// Seconds without any progress after which missing messages are lost.
    #[arg(long, default_value_t = 10)]
    pub(crate) drain_timeout: u64,
    /// 1: all connections in one thread. 2: publishers in a thread of their own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub(crate) threads: u8,
    /// Processors for the threads: consumers' (or the only one), publishers'.
    #[arg(long, value_delimiter = ',')]
    pub(crate) pin: Vec<usize>,
    /// Never sleep: measures short delays better and takes the whole processor.
    #[arg(long)]
    pub(crate) spin: bool,
    /// Process of the broker, to measure what it uses.
    #[arg(long)]
    pub(crate) broker_pid: Option<u32>,
    /// Print one JSON object instead of a table.
    #[arg(short, long)]
    pub(crate) json: bool,
    /// No line per second.
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Accepted for scripts: latency is always measured.
    #[arg(short, long, hide = true)]
    pub(crate) latency: bool,
    /// Accepted for scripts: messages are always verified.
    #[arg(short = 'V', long, hide = true)]
    pub(crate) verify: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        <Options as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn letters_of_lavinmqperf_are_taken() {
        let line = "ringmqperf amqp throughput -x 2 -y 3 -s 64 -a 10 -c 5 -p -P 100 -z 5 -C 7 -D 8 \
                    -r 9 -R 10 -u q -e e -k k -j -l -q -V";
        let options = Options::try_parse_from(line.split_whitespace()).unwrap();
        let Command::Amqp { load, .. } = options.command else { panic!("another command") };
        assert_eq!((load.publishers, load.consumers, load.size), (2, 3, 64));
        assert_eq!((load.ack, load.confirm, load.prefetch), (Some(10), Some(5), 100));
    }

    #[test]
    fn options_of_mqtt_are_taken() {
        let line = "ringmqperf mqtt subscriptions -V 5 -q 2 -x 2 -y 3 -s 64 -c 5 -z 5 -r 9 -u t -j \
                    --others 0,5 --from 127.0.0.2,127.0.0.3 --pin 1";
        let options = Options::try_parse_from(line.split_whitespace()).unwrap();
        let Command::Mqtt { load, .. } = options.command else { panic!("another command") };
        assert_eq!((load.version, load.qos, load.in_flight), (mqtt::Version::V5, Some(2), Some(5)));
        assert_eq!((load.others, load.transport.from.len()), (vec![0, 5], 2));
    }

    #[test]
    fn what_connections_go_through_is_told_in_the_same_words_of_both_protocols() {
        for protocol in ["amqp", "mqtt"] {
            let line = format!(
                "ringmqperf {protocol} churn --tls --ca a --cert b --cert-key c --tls-version 1.2 \
                 --resume --ws --from 127.0.0.2 --connecting 5 --connect-rate 6"
            );
            let transport = match Options::try_parse_from(line.split_whitespace()).unwrap().command
            {
                Command::Amqp { load, .. } => load.transport,
                Command::Mqtt { load, .. } => load.transport,
                Command::Compare { .. } => panic!("another command"),
            };
            assert!(transport.tls && transport.resume && transport.ws, "{protocol}");
            assert_eq!((transport.connecting, transport.connect_rate), (5, Some(6)), "{protocol}");
        }
        let line = "ringmqperf mqtt churn --insecure --ca a";
        assert!(Options::try_parse_from(line.split_whitespace()).is_err());
    }

    #[test]
    fn an_unknown_scenario_is_refused() {
        assert!(Options::try_parse_from(["ringmqperf", "amqp", "miracle"]).is_err());
    }
}
