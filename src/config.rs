//! The settings: command line > environment > INI file > default.
//!
//! Each setting is declared once, in `settings::SETTINGS`; parsers, `--help`, the sample file and
//! the table of tuning.md come from there. Sections and keys are LavinMQ's where it has one, so
//! that an existing lavinmq.ini starts this broker. Anything that nobody knows stops the start;
//! anything known that nothing acts on yet is reported in one line.
//!
//! Read once, before any shard starts; a [`Config`] is then copied to every shard.
//! May import `durability`, `limits` and `auth::password` (to check the hash of the default user).

mod amqp_settings;
mod command_line;
mod document;
mod foreign;
mod ini;
mod listeners;
mod load;
mod mgmt_settings;
mod mqtt;
mod mqtt_settings;
mod mqtt_traffic_settings;
mod setting;
mod settings;
mod sources;
mod tls;
mod value;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::durability::Durability;

pub use command_line::{PasswdArguments, asks_for_check};
pub use document::{sample_ini, settings_table};
pub use listeners::{Listener, ListenerAddress, ProxyHeader, Transport};
pub use load::{CheckRequest, ConfigError, Loaded, Start, load};
pub use mqtt::{
    DeliverMode, LoginRefusal, Mqtt, QueueOrder, SharedPolicy, TopicTranslation, Versions,
};
pub use setting::{Change, Field, Setting, Unit};
pub use settings::SETTINGS;
pub use sources::Sources;
pub use tls::{CertificateLogin, LoginFrom, Tls, TlsListener};
pub use value::{KeepAlive, LogFormat, LogLevel, LogTopic, MemoryLimit, Placement};

/// All settings, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Section `[main]`.
    pub main: Main,
    /// Section `[amqp]`.
    pub amqp: Amqp,
    /// Section `[mqtt]`.
    pub mqtt: Mqtt,
    /// Section `[mgmt]`.
    pub mgmt: Mgmt,
}

/// Section `[main]`: what every protocol shares. Each field is described in `settings`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is described once, by its declaration in SETTINGS")]
pub struct Main {
    pub data_dir: PathBuf,
    /// Of all listeners with TLS, unless they or the host that clients ask for say more.
    pub tls: Tls,
    pub certificate_login: CertificateLogin,
    pub log_level: LogLevel,
    /// Topics with a level of their own.
    pub log_levels: Vec<(LogTopic, LogLevel)>,
    pub log_format: LogFormat,
    /// 0 = every core.
    pub shards: u16,
    pub pin: bool,
    /// How long a thread keeps a core that others want, microseconds; 0 = as the kernel has it.
    pub scheduler_slice_us: u32,
    pub groups: u32,
    pub placement: Placement,
    pub max_memory: MemoryLimit,
    pub default_consumer_prefetch: u16,
    /// `None` = never.
    pub consumer_timeout_ms: Option<u64>,
    pub default_user: String,
    pub default_password_hash: String,
    pub default_user_only_loopback: bool,
    pub load_definitions: Option<PathBuf>,
    pub max_connections: u32,
    /// 0 = any number.
    pub connection_rate_max: u32,
    /// 0 = any number.
    pub connection_rate_per_address_max: u32,
    pub max_queues: u32,
    pub max_exchanges: u32,
    pub max_bindings: u32,
    pub tcp_nodelay: bool,
    /// `None` = off.
    pub tcp_keepalive: Option<KeepAlive>,
    /// `None` = left to the kernel.
    pub tcp_recv_buffer_bytes: Option<u64>,
    /// `None` = left to the kernel.
    pub tcp_send_buffer_bytes: Option<u64>,
    /// Empty = the kernel's default.
    pub tcp_congestion: String,
    pub socket_buffer_bytes: u32,
    pub durability: Durability,
    /// Virtual hosts with a promise of their own.
    pub durability_vhosts: Vec<(String, Durability)>,
    pub log_file_bytes: u64,
    pub log_bytes_max: u64,
    pub queue_memory_bytes_max: u64,
    pub segment_bytes: u64,
    pub free_disk_min_bytes: u64,
    pub free_disk_warn_bytes: u64,
    pub stats_interval_ms: u64,
    pub metrics_bind: Vec<IpAddr>,
    /// `None` = off; 0 = a free one.
    pub metrics_port: Option<u16>,
    /// `None` = `ringmqctl.sock` in the data directory.
    pub control_unix_path: Option<PathBuf>,
}

/// Section `[amqp]`. Each field is described in `settings`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is described once, by its declaration in SETTINGS")]
pub struct Amqp {
    /// At least one.
    pub bind: Vec<IpAddr>,
    /// 0 = a free one.
    pub port: u16,
    /// `None` = no such listener; 0 = a free one.
    pub tls_port: Option<u16>,
    /// None = `bind`.
    pub tls_bind: Vec<IpAddr>,
    /// What the listener of `tls_port` has; `None` = there is no certificate, so there is none.
    pub tls: Option<Arc<TlsListener>>,
    /// 0 = none.
    pub heartbeat_s: u16,
    pub frame_max_bytes: u32,
    pub channel_max: u16,
    pub message_bytes_max: u64,
    /// 0 = no limit of its own.
    pub consumers_per_channel_max: u32,
    /// `None` = no such listener.
    pub unix_path: Option<PathBuf>,
    /// On the WebSocket listener; begins with a slash.
    pub ws_path: String,
    /// Proxies may say whose connections they pass on, through every TCP listener.
    pub tcp_proxy_protocol: bool,
    /// Whom that is believed.
    pub proxy_protocol_trusted_sources: Sources,
    /// Name of sockets that systemd has opened.
    pub systemd_socket_name: String,
    /// Where those are; no setting.
    pub inherited: Vec<ListenerAddress>,
}

/// Section `[mgmt]`: the HTTP API. Each field is described in `settings`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is described once, by its declaration in SETTINGS")]
pub struct Mgmt {
    pub bind: Vec<IpAddr>,
    /// `None` = off; 0 = a free one.
    pub port: Option<u16>,
    /// `None` = no such listener.
    pub unix_path: Option<PathBuf>,
}

impl Default for Config {
    /// What the declarations say.
    fn default() -> Self {
        let mut config = Self::blank();
        for setting in SETTINGS {
            let applied = setting.apply(&mut config, setting.default);
            debug_assert_eq!(applied, Ok(()), "default of {}", setting.name());
        }
        config
    }
}

impl Main {
    /// What durable queues of a virtual host promise unless they say more.
    pub fn durability_of(&self, vhost: &str) -> Durability {
        let own = self.durability_vhosts.iter().find(|(name, _)| name == vhost);
        own.map_or(self.durability, |(_, durability)| *durability)
    }

    /// Files that a shard's log may have: one is written while another is given up.
    pub fn log_files_max(&self) -> u64 {
        self.log_bytes_max.checked_div(self.log_file_bytes).unwrap_or(0).max(2)
    }
}

impl Config {
    /// Holds the places until the declared defaults are in them.
    fn blank() -> Self {
        Self {
            main: Main {
                data_dir: PathBuf::new(),
                tls: Tls::default(),
                certificate_login: CertificateLogin::default(),
                log_level: LogLevel::Off,
                log_levels: Vec::new(),
                log_format: LogFormat::Text,
                shards: 0,
                pin: false,
                scheduler_slice_us: 0,
                groups: 0,
                placement: Placement::Hash,
                max_memory: MemoryLimit::Bytes(0),
                default_consumer_prefetch: 0,
                consumer_timeout_ms: None,
                default_user: String::new(),
                default_password_hash: String::new(),
                default_user_only_loopback: true,
                load_definitions: None,
                max_connections: 0,
                connection_rate_max: 0,
                connection_rate_per_address_max: 0,
                max_queues: 0,
                max_exchanges: 0,
                max_bindings: 0,
                tcp_nodelay: false,
                tcp_keepalive: None,
                tcp_recv_buffer_bytes: None,
                tcp_send_buffer_bytes: None,
                tcp_congestion: String::new(),
                socket_buffer_bytes: 0,
                durability: Durability::Sync,
                durability_vhosts: Vec::new(),
                log_file_bytes: 0,
                log_bytes_max: 0,
                queue_memory_bytes_max: 0,
                segment_bytes: 0,
                free_disk_min_bytes: 0,
                free_disk_warn_bytes: 0,
                stats_interval_ms: 0,
                metrics_bind: Vec::new(),
                metrics_port: None,
                control_unix_path: None,
            },
            amqp: Amqp {
                bind: Vec::new(),
                port: 0,
                tls_port: None,
                tls_bind: Vec::new(),
                tls: None,
                heartbeat_s: 0,
                frame_max_bytes: 0,
                channel_max: 0,
                message_bytes_max: 0,
                consumers_per_channel_max: 0,
                unix_path: None,
                ws_path: String::new(),
                tcp_proxy_protocol: false,
                proxy_protocol_trusted_sources: Sources::default(),
                systemd_socket_name: String::new(),
                inherited: Vec::new(),
            },
            mqtt: Mqtt::blank(),
            mgmt: Mgmt { bind: Vec::new(), port: None, unix_path: None },
        }
    }
}
