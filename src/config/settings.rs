//! The table of all settings, one declaration each. To add one: a field in `config`, its blank
//! value, and a line here; then `cargo test regenerate -- --ignored` writes the sample file and
//! the table of tuning.md anew.
//!
//! May import `config`, `durability`, `limits` and the check of a password hash.

use ringmq_shards::tls::{TlsCiphers, TlsVersions};

use super::amqp_settings::AMQP;
use super::mgmt_settings::{MGMT, PORT};
use super::mqtt_settings::MQTT;
use super::mqtt_traffic_settings::MQTT_TRAFFIC;
use super::setting::{Field, Setting, Unit};
use super::tls::{LoginFrom, parse_alternative, parse_clients};
use super::value::{
    KeepAlive, LogFormat, MemoryLimit, Placement, parse_durabilities, parse_durability,
    parse_level, parse_levels, parse_port,
};
use crate::auth::password::PasswordHash;
use crate::durability::Durability;
use crate::limits::{FRAME_BYTES_MAX, FRAME_BYTES_MIN, GROUPS_MAX, SHARDS_MAX, SLICE_US};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

/// Salt and SHA-256 of "guest".
const GUEST_HASH: &str = "UmluZ5mS4j6M3LeniS9RrNj1OHl+7xS5VnElz8P5tNz2+TN+";

/// Every setting, in the order of the sample file.
pub const SETTINGS: &[Setting] = &ALL;

const COUNT: usize = GENERAL.len() + AMQP.len() + MQTT.len() + MQTT_TRAFFIC.len() + MGMT.len();

/// All tables as one.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const ALL: [Setting; COUNT] = {
    let mut all = [GENERAL[0]; COUNT];
    let tables = [GENERAL, AMQP, MQTT, MQTT_TRAFFIC, MGMT];
    let (mut table, mut place, mut next) = (0, 0, 0);
    while next < all.len() {
        if place == tables[table].len() {
            (table, place) = (table + 1, 0);
        } else {
            all[next] = tables[table][place];
            (place, next) = (place + 1, next + 1);
        }
    }
    all
};

/// What is not of one protocol or the HTTP API.
const GENERAL: &[Setting] = &[
    Setting::new(
        "main",
        "data_dir",
        "./data",
        Field::Path(|c| &mut c.main.data_dir),
        "Folder of all data; made when it is missing, one broker at a time.",
    )
    .or_env(&["LAVINMQ_DATADIR"]),
    Setting::new(
        "main",
        "log_level",
        "info",
        Field::Other(
            |c, text| parse_level(text).map(|level| c.main.log_level = level),
            "off, error, warn, info, debug or trace",
        ),
        "The least important kind of line that is logged.",
    )
    .live(),
    Setting::new(
        "main",
        "log_levels",
        "",
        Field::Other(
            |c, text| parse_levels(text).map(|levels| c.main.log_levels = levels),
            "topic=level, ...: connection, amqp, mqtt, broker, storage",
        ),
        "Topics with another level than log_level.",
    )
    .live(),
    Setting::new(
        "main",
        "log_format",
        "text",
        Field::Other(set_log_format, "text or json"),
        "How log lines look on standard error.",
    ),
    Setting::new(
        "main",
        "shards",
        "0",
        Field::U16(|c| &mut c.main.shards, Unit::Count, 0, SHARDS_MAX),
        "Number of shards, one thread and one core each; 0 = every core this process may use.",
    ),
    Setting::new(
        "main",
        "pin",
        "true",
        Field::Switch(|c| &mut c.main.pin),
        "Bind each shard to a core of its own.",
    ),
    Setting::new(
        "main",
        "scheduler_slice_us",
        "100",
        Field::Other(set_scheduler_slice, "0, or 100 to 100000"),
        "Microseconds that a thread keeps its core while others wait for it; 0 = the kernel's own slice.",
    ),
    Setting::new(
        "main",
        "groups",
        "256",
        Field::U32(|c| &mut c.main.groups, Unit::Count, 1, GROUPS_MAX),
        "Parts that queues are spread over, at least one per shard; fixed once the data folder is made.",
    ),
    Setting::new(
        "main",
        "placement",
        "hash",
        Field::Other(set_placement, "hash or apart"),
        "Which shard owns a queue: by its name, or (for tests) never the shard of the connection that declares it.",
    ),
    Setting::new(
        "main",
        "max_memory",
        "40%",
        Field::Other(
            |c, text| MemoryLimit::parse(text).map(|limit| c.main.max_memory = limit),
            "1% to 95%, or bytes",
        ),
        "Memory of messages: near it they move to disk, above it publishers wait until they have.",
    ),
    Setting::new(
        "main",
        "default_consumer_prefetch",
        "65535",
        Field::U16(|c| &mut c.main.default_consumer_prefetch, Unit::Count, 0, u16::MAX),
        "Prefetch of consumers that asked for none; 0 = only the broker's own limit of unsettled deliveries.",
    )
    .or_env(&["LAVINMQ_DEFAULT_CONSUMER_PREFETCH"]),
    Setting::new(
        "main",
        "consumer_timeout",
        "none",
        Field::U64OrNone(|c| &mut c.main.consumer_timeout_ms, Unit::Milliseconds, 1, u64::MAX),
        "How long a delivery may stay unsettled before its channel is closed.",
    ),
    Setting::new(
        "main",
        "default_user",
        "guest",
        Field::Other(set_default_user, "1 to 255 bytes"),
        "The administrator that exists when no definitions file brings users.",
    )
    .or_env(&["LAVINMQ_DEFAULT_USER"]),
    Setting::new(
        "main",
        "default_password_hash",
        GUEST_HASH,
        Field::Other(set_default_password_hash, "base64 of salt and SHA-256 or SHA-512, or SCRAM-SHA-256$..."),
        "Hash of that user's password (the default is the hash of 'guest').",
    )
    .or_env(&["LAVINMQ_DEFAULT_PASSWORD"]),
    Setting::new(
        "main",
        "default_user_only_loopback",
        "true",
        Field::Switch(|c| &mut c.main.default_user_only_loopback),
        "The default user may log in from this machine only.",
    ),
    Setting::new(
        "main",
        "load_definitions",
        "",
        Field::PathOrNone(|c| &mut c.main.load_definitions),
        "A definitions file of RabbitMQ or LavinMQ, from which users, vhosts and permissions are read.",
    ),
    Setting::new(
        "main",
        "max_connections",
        "100000",
        Field::U32(|c| &mut c.main.max_connections, Unit::Count, 1, u32::MAX),
        "Connections of the whole broker; further ones are refused.",
    ),
    Setting::new(
        "main",
        "max_connection_rate",
        "0",
        Field::U32(|c| &mut c.main.connection_rate_max, Unit::Count, 0, u32::MAX),
        "Connections a second of each listener, each shard accepting its share; further ones wait, 0 = any number.",
    ),
    Setting::new(
        "main",
        "max_connection_rate_per_address",
        "0",
        Field::U32(|c| &mut c.main.connection_rate_per_address_max, Unit::Count, 0, u32::MAX),
        "Connections a second from one IPv4 address or IPv6 /64, counted as above; further ones are refused, 0 = any number.",
    ),
    Setting::new(
        "main",
        "max_queues",
        "200000",
        Field::U32(|c| &mut c.main.max_queues, Unit::Count, 1, u32::MAX),
        "Queues of the whole broker; further declarations are refused.",
    ),
    Setting::new(
        "main",
        "max_exchanges",
        "50000",
        Field::U32(|c| &mut c.main.max_exchanges, Unit::Count, 1, u32::MAX),
        "Exchanges of the whole broker; further declarations are refused.",
    ),
    Setting::new(
        "main",
        "max_bindings",
        "2000000",
        Field::U32(|c| &mut c.main.max_bindings, Unit::Count, 1, u32::MAX),
        "Bindings of the whole broker; further ones are refused.",
    ),
    Setting::new(
        "main",
        "tcp_nodelay",
        "true",
        Field::Switch(|c| &mut c.main.tcp_nodelay),
        "Send at once (the broker writes once per turn, so waiting for more gains nothing).",
    ),
    Setting::new(
        "main",
        "tcp_keepalive",
        "60:10:3",
        Field::Other(
            |c, text| KeepAlive::parse(text).map(|keep_alive| c.main.tcp_keepalive = keep_alive),
            "idle s:interval s:probes, or off",
        ),
        "When the kernel asks a silent peer whether it is still there.",
    ),
    Setting::new(
        "main",
        "tcp_recv_buffer_size",
        "none",
        Field::U64OrNone(|c| &mut c.main.tcp_recv_buffer_bytes, Unit::Bytes, 4 * KIB, GIB),
        "Receive buffer of each socket in the kernel; none = the kernel grows it as needed.",
    ),
    Setting::new(
        "main",
        "tcp_send_buffer_size",
        "none",
        Field::U64OrNone(|c| &mut c.main.tcp_send_buffer_bytes, Unit::Bytes, 4 * KIB, GIB),
        "Send buffer of each socket in the kernel; none = the kernel grows it as needed.",
    ),
    Setting::new(
        "main",
        "tcp_congestion",
        "",
        Field::Text(|c| &mut c.main.tcp_congestion),
        "Congestion control of client connections (for instance cubic); empty = the kernel's default.",
    ),
    Setting::new(
        "main",
        "socket_buffer_size",
        "64k",
        Field::U32(
            |c| &mut c.main.socket_buffer_bytes,
            Unit::Bytes,
            FRAME_BYTES_MIN,
            FRAME_BYTES_MAX,
        ),
        "Bytes read from a socket in one call.",
    ),
    Setting::new(
        "main",
        "tls_cert",
        "",
        Field::PathOrNone(|c| &mut c.main.tls.certificate),
        "Certificate (PEM), those between it and the root behind it; turns the TLS ports on, read again on SIGHUP.",
    )
    .or_env(&["LAVINMQ_TLS_CERT_PATH"]),
    Setting::new(
        "main",
        "tls_key",
        "",
        Field::PathOrNone(|c| &mut c.main.tls.key),
        "Its key (PEM, without a password: PKCS#8, PKCS#1 or SEC1); none = in the file of the certificate.",
    )
    .or_env(&["LAVINMQ_TLS_KEY_PATH"]),
    Setting::new(
        "main",
        "tls_min_version",
        "1.2",
        Field::Other(
            |c, text| TlsVersions::parse_min(text).map(|v| c.main.tls.versions = Some(v)),
            "1.2 or 1.3; 1.0 and 1.1 mean 1.2",
        ),
        "Lowest version of TLS.",
    )
    .or_env(&["LAVINMQ_TLS_MIN_VERSION"]),
    Setting::new(
        "main",
        "tls_ciphers",
        "",
        Field::Other(
            |c, text| TlsCiphers::parse(text).map(|ciphers| c.main.tls.ciphers = Some(ciphers)),
            "OpenSSL's names with colons between",
        ),
        "Cipher suites, those of TLS 1.3 always among them unless some are named; what is not offered is passed over, none = all.",
    )
    .or_env(&["LAVINMQ_TLS_CIPHERS"]),
    Setting::new(
        "main",
        "tls_verify_peer",
        "false",
        Field::Other(
            |c, text| parse_clients(text).map(|clients| c.main.tls.clients = Some(clients)),
            "false, optional or true",
        ),
        "Whether clients are asked for a certificate: true refuses those without.",
    ),
    Setting::new(
        "main",
        "tls_ca_cert",
        "",
        Field::PathOrNone(|c| &mut c.main.tls.client_roots),
        "Who issues the certificates of clients: a file (PEM), or a folder of such.",
    ),
    Setting::new(
        "main",
        "tls_keylog_file",
        "",
        Field::PathOrNone(|c| &mut c.main.tls.key_log),
        "File to which secrets of connections are written for whoever decrypts captured traffic; for tests only.",
    )
    .or_env(&["SSLKEYLOGFILE"]),
    Setting::new(
        "main",
        "ssl_cert_login_from",
        "common_name",
        Field::Other(
            |c, text| LoginFrom::parse(text).map(|from| c.main.certificate_login.from = from),
            "common_name, distinguished_name or subject_alternative_name",
        ),
        "What in a client's certificate is its user name (AMQP: mechanism EXTERNAL).",
    ),
    Setting::new(
        "main",
        "ssl_cert_login_san_type",
        "dns",
        Field::Other(
            |c, text| parse_alternative(text).map(|kind| c.main.certificate_login.san_type = kind),
            "dns, ip, email or uri",
        ),
        "Of subject_alternative_name: which kind.",
    ),
    Setting::new(
        "main",
        "ssl_cert_login_san_index",
        "0",
        Field::U16(|c| &mut c.main.certificate_login.san_index, Unit::Count, 0, u16::MAX),
        "Of subject_alternative_name: which of that kind.",
    ),
    Setting::new(
        "main",
        "durability",
        "sync",
        Field::Other(
            |c, text| parse_durability(text).map(|durability| c.main.durability = durability),
            Durability::SYNTAX,
        ),
        "When a persistent message is reported as stored: on the disk, on the disk within an interval, or in the kernel; x-durability of a queue is stronger.",
    ),
    Setting::new(
        "main",
        "durability_vhosts",
        "",
        Field::Other(
            |c, text| parse_durabilities(text).map(|own| c.main.durability_vhosts = own),
            "vhost=durability, ...",
        ),
        "The same for single virtual hosts, for instance: test=os, other=interval:200.",
    ),
    Setting::new(
        "main",
        "log_file_size",
        "64M",
        Field::U64(|c| &mut c.main.log_file_bytes, Unit::Bytes, MIB, GIB),
        "Size of one file of a shard's log.",
    ),
    Setting::new(
        "main",
        "log_size_max",
        "256M",
        Field::U64(|c| &mut c.main.log_bytes_max, Unit::Bytes, 2 * MIB, u64::MAX),
        "Log files kept per shard, at least two, before what is alive in the oldest moves to segments.",
    ),
    Setting::new(
        "main",
        "queue_memory_max",
        "32M",
        Field::U64(|c| &mut c.main.queue_memory_bytes_max, Unit::Bytes, 0, u64::MAX),
        "Messages of a durable queue kept in memory before the oldest move to segments.",
    ),
    Setting::new(
        "main",
        "segment_size",
        "8M",
        Field::U64(|c| &mut c.main.segment_bytes, Unit::Bytes, 64 * KIB, 4 * GIB),
        "Size up to which a queue's segment file grows.",
    ),
    Setting::new(
        "main",
        "free_disk_min",
        "0",
        Field::U64(|c| &mut c.main.free_disk_min_bytes, Unit::Bytes, 0, u64::MAX),
        "Free disk space below which publishing is refused (three segments are always kept free).",
    ),
    Setting::new(
        "main",
        "free_disk_warn",
        "0",
        Field::U64(|c| &mut c.main.free_disk_warn_bytes, Unit::Bytes, 0, u64::MAX),
        "Free disk space below which the log warns.",
    ),
    Setting::new(
        "main",
        "stats_interval",
        "5000",
        Field::U64(|c| &mut c.main.stats_interval_ms, Unit::Milliseconds, 100, 3_600_000),
        "How often rates are measured.",
    ),
    Setting::new(
        "main",
        "metrics_http_bind",
        "127.0.0.1",
        Field::Addresses(|c| &mut c.main.metrics_bind),
        "Addresses of the server that has metrics for Prometheus and nothing else, without a login.",
    )
    .or_env(&["LAVINMQ_METRICS_HTTP_BIND"]),
    Setting::new(
        "main",
        "metrics_http_port",
        "15692",
        Field::Other(|c, text| parse_port(text).map(|port| c.main.metrics_port = port), PORT),
        "Port of that server.",
    )
    .or_env(&["LAVINMQ_METRICS_HTTP_PORT"]),
    Setting::new(
        "main",
        "control_unix_path",
        "",
        Field::PathOrNone(|c| &mut c.main.control_unix_path),
        "Socket through which ringmqctl reaches the broker, for its owner only; empty = ringmqctl.sock in data_dir.",
    )
    .or_env(&["LAVINMQ_CONTROL_UNIX_PATH"]),
];

fn set_log_format(config: &mut super::Config, text: &str) -> Result<(), String> {
    config.main.log_format = match text {
        "text" => LogFormat::Text,
        "json" => LogFormat::Json,
        _ => return Err(format!("'{text}' is neither text nor json")),
    };
    Ok(())
}

fn set_placement(config: &mut super::Config, text: &str) -> Result<(), String> {
    config.main.placement = match text {
        "hash" => Placement::Hash,
        "apart" => Placement::Apart,
        _ => return Err(format!("'{text}' is neither hash nor apart")),
    };
    Ok(())
}

fn set_scheduler_slice(config: &mut super::Config, text: &str) -> Result<(), String> {
    let slice_us = text.parse().map_err(|_| format!("'{text}' is no number"))?;
    if slice_us != 0 && !SLICE_US.contains(&slice_us) {
        let (min, max) = (SLICE_US.start(), SLICE_US.end());
        return Err(format!("{slice_us} is neither 0 nor from {min} to {max}"));
    }
    config.main.scheduler_slice_us = slice_us;
    Ok(())
}

fn set_default_user(config: &mut super::Config, text: &str) -> Result<(), String> {
    if !(1..=crate::limits::NAME_BYTES_MAX).contains(&text.len()) {
        return Err("a user name has 1 to 255 bytes".into());
    }
    text.clone_into(&mut config.main.default_user);
    Ok(())
}

fn set_default_password_hash(config: &mut super::Config, text: &str) -> Result<(), String> {
    // The text itself stays out of the message: a plain password written here by mistake would
    // end up in the log.
    PasswordHash::parse(text, None).map_err(|e| e.to_string())?;
    text.clone_into(&mut config.main.default_password_hash);
    Ok(())
}
