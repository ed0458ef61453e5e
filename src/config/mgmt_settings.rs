//! The settings of the HTTP API. May import `config`.

use super::setting::{Field, Setting};
use super::value::parse_port;

pub(super) const PORT: &str = "0 to 65535, or off";

/// Part of the table of all settings.
pub(super) const MGMT: &[Setting] = &[
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
