//! The command line of loads by MQTT. Imports clap.

use clap::{Args, ValueEnum};

use super::transport::TransportOptions;
use crate::client::mqtt;

/// Versions of the protocol, by their level in CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Version {
    /// MQTT 3.1.
    #[value(name = "3", alias = "3.1")]
    V3,
    /// MQTT 3.1.1.
    #[value(name = "4", alias = "3.1.1")]
    V4,
    /// MQTT 5.0.
    #[value(name = "5")]
    V5,
}

impl Version {
    /// What clients know it as.
    pub(crate) const fn spoken(self) -> mqtt::Version {
        match self {
            Self::V3 => mqtt::Version::V3,
            Self::V4 => mqtt::Version::V4,
            Self::V5 => mqtt::Version::V5,
        }
    }
}

/// How much load, of which kind, and how it is measured.
#[derive(Debug, Clone, Args)]
#[command(disable_version_flag = true)]
pub(crate) struct MqttOptions {
    /// Where the broker is.
    #[arg(long, default_value = "mqtt://127.0.0.1:1883")]
    pub(crate) uri: String,
    /// What is between this and the broker.
    #[command(flatten)]
    pub(crate) transport: TransportOptions,
    /// MQTT 3.1 (3), 3.1.1 (4) or 5.0 (5).
    #[arg(short = 'V', long = "mqtt-version", value_enum, default_value = "4")]
    pub(crate) version: Version,
    /// Quality of service of messages.
    #[arg(short, long, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub(crate) qos: Option<u8>,
    /// Quality of service of subscriptions; that of the messages by default.
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub(crate) subscribe_qos: Option<u8>,
    /// Publishing connections; 1 by default, fanin 1000, sessions as many as subscribers.
    #[arg(short = 'x', long)]
    pub(crate) publishers: Option<u16>,
    /// Subscribing connections; 1 by default, fanout 1000, sessions 100.
    #[arg(short = 'y', long)]
    pub(crate) subscribers: Option<u16>,
    /// Number of topics: publisher and subscriber i are on topic i modulo this.
    #[arg(long)]
    pub(crate) topics: Option<u16>,
    /// Subscribers of a topic share its messages ($share) instead of each getting all.
    #[arg(long)]
    pub(crate) share: bool,
    /// Start of all topics; a random name by default.
    #[arg(short = 'u', long)]
    pub(crate) topic: Option<String>,
    /// Octets of a message's payload, 16 at least.
    #[arg(short, long, default_value_t = 16)]
    pub(crate) size: u32,
    /// Messages in flight per publisher in QoS 1 and 2, 1000 divided by publishers by default;
    /// MQTT 5 brokers may allow less.
    #[arg(short = 'c', long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) in_flight: Option<u16>,
    /// Messages that a publisher writes at once; as many as may be sent by default, fanin 1.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) batch: Option<u16>,
    /// Seconds of the measured window; of scenario connections: to hold them.
    #[arg(short = 'z', long)]
    pub(crate) time: Option<u64>,
    /// Messages to publish in all; the window lasts until all have come. Scenario sessions:
    /// 100000 by default; scenario churn: connections.
    #[arg(short = 'C', long)]
    pub(crate) pmessages: Option<u64>,
    /// Messages to publish per second in all, by the clock and not by the broker's answers.
    #[arg(short, long)]
    pub(crate) rate: Option<u64>,
    /// Publish no more while this many messages are on their way; 0 is no limit.
    #[arg(long, default_value_t = 0)]
    pub(crate) backlog: u64,
    /// Seconds of load before the measured window.
    #[arg(long)]
    pub(crate) warm_up: Option<u64>,
    /// Seconds without any progress after which missing messages are lost.
    #[arg(long, default_value_t = 10)]
    pub(crate) drain_timeout: u64,
    /// Scenarios connections and retained: how many; 10000 and 100000 by default.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) count: Option<u32>,
    /// Scenario connections: keep alive in seconds; PINGREQ after three quarters of it.
    #[arg(long, default_value_t = 10)]
    pub(crate) keep_alive: u16,
    /// Scenario subscriptions: numbers of filters that match nothing, in rising order.
    #[arg(long, value_delimiter = ',', default_values_t = [0, 1000, 100_000])]
    pub(crate) others: Vec<u32>,
    /// Scenario subscriptions: connections that have these filters.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) others_connections: u16,
    /// Scenario subscriptions: of 100 of these filters, how many have a wildcard.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) wildcards: u8,
    /// Scenario retained: leave the messages with the broker.
    #[arg(long)]
    pub(crate) keep: bool,
    /// Scenario churn: connect and disconnect, nothing in between.
    #[arg(long)]
    pub(crate) only_connect: bool,
    /// Processor for the thread.
    #[arg(long)]
    pub(crate) pin: Option<usize>,
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
    #[arg(long)]
    pub(crate) quiet: bool,
}
