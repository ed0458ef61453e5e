//! The command line's part on what is between generator and broker, whatever is spoken through it. Imports clap.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Versions of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TlsVersion {
    /// RFC 5246.
    #[value(name = "1.2")]
    V12,
    /// RFC 8446.
    #[value(name = "1.3")]
    V13,
}

/// How connections are made.
#[derive(Debug, Clone, Args)]
pub(crate) struct TransportOptions {
    /// Speak TLS, as with amqps://, mqtts:// and wss://.
    #[arg(long)]
    pub(crate) tls: bool,
    /// Certificates (PEM) of those who may vouch for the broker.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Take whatever certificate the broker shows.
    #[arg(long, conflicts_with = "ca")]
    pub(crate) insecure: bool,
    /// Certificate (PEM) to show to the broker, those between it and the root behind it.
    #[arg(long, value_name = "FILE")]
    pub(crate) cert: Option<PathBuf>,
    /// Its key (PEM); in the file of the certificate by default.
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) cert_key: Option<PathBuf>,
    /// Only this version of TLS; the newest that both have by default.
    #[arg(long, value_enum)]
    pub(crate) tls_version: Option<TlsVersion>,
    /// Take up an earlier session of TLS where the broker has given a ticket; whole handshakes by
    /// default, as most client libraries make them.
    #[arg(long)]
    pub(crate) resume: bool,
    /// Speak through a WebSocket, as with ws:// and wss://; the path of the address is its path,
    /// /ws/amqp or /mqtt by default.
    #[arg(long)]
    pub(crate) ws: bool,
    /// Local addresses to connect from, in turn: each has 28000 ports.
    #[arg(long, value_delimiter = ',')]
    pub(crate) from: Vec<IpAddr>,
    /// Scenarios with many connections: those that wait for the broker's answer at the same time;
    /// scenario churn: that are there at the same time.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) connecting: u16,
    /// The same scenarios: connections opened per second.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) connect_rate: Option<u64>,
    /// Scenario connections: how often they are opened, held and closed.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) rounds: u16,
}

impl TransportOptions {
    /// For the report.
    pub(crate) fn settings(&self) -> serde_json::Value {
        serde_json::json!({
            "resume": self.resume,
            "client_certificate": self.cert.is_some(),
            "connecting": self.connecting,
            "connect_rate": self.connect_rate,
        })
    }
}
