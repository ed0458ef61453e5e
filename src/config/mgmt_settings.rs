//! The settings of the HTTP API. May import `config`.

use super::amqp_settings::parse_proxy_switch;
use super::setting::{Field, Setting, parse_bind};
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
        "tls_port",
        "15671",
        Field::Other(|c, text| parse_port(text).map(|port| c.mgmt.tls_port = port), PORT),
        "Port of the HTTP API and of WebSocket connections with TLS, once there is main.tls_cert.",
    )
    .or_env(&["LAVINMQ_HTTPS_PORT"]),
    Setting::new(
        "mgmt",
        "tls_bind",
        "",
        Field::Other(
            |c, text| parse_bind(text).map(|at| c.mgmt.tls_bind = at),
            "IPv4 or IPv6 addresses, separated by commas, or nothing",
        ),
        "Addresses of that port; none = as bind.",
    ),
    Setting::new(
        "mgmt",
        "tcp_proxy_protocol",
        "false",
        Field::Other(
            |c, text| parse_proxy_switch(text).map(|is_on| c.mgmt.tcp_proxy_protocol = is_on),
            "true or false",
        ),
        "Proxies may say whose connections they pass on to either port; whose word counts is amqp.proxy_protocol_trusted_sources.",
    ),
    Setting::new(
        "mgmt",
        "unix_path",
        "",
        Field::PathOrNone(|c| &mut c.mgmt.unix_path),
        "A unix socket for the HTTP API, with a login as over the network.",
    ),
];
