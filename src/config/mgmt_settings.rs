//! The settings of the HTTP API and of what is measured. May import `config`.

use super::setting::{Field, Setting, Unit};
use super::value::parse_port;

const PORT: &str = "0 to 65535, or off";

/// Part of the table of all settings.
pub(super) const MGMT: &[Setting] = &[
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
    Setting::new(
        "mgmt",
        "bind",
        "127.0.0.1",
        Field::Addresses(|c| &mut c.mgmt.bind),
        "Addresses of the HTTP API; :: = all, IPv6 and IPv4.",
    )
    .or_env(&["LAVINMQ_HTTP_BIND"]),
    Setting::new(
        "mgmt",
        "port",
        "15672",
        Field::Other(|c, text| parse_port(text).map(|port| c.mgmt.port = port), PORT),
        "Port of the HTTP API; WebSocket connections of all protocols are welcome there too.",
    )
    .or_env(&["LAVINMQ_HTTP_PORT"]),
    Setting::new(
        "mgmt",
        "unix_path",
        "",
        Field::PathOrNone(|c| &mut c.mgmt.unix_path),
        "A unix socket for the HTTP API, with a login as over the network.",
    ),
];
