//! The declarations of section `[amqp]`, whose keys are LavinMQ's. May import `config`, `limits`.

use super::setting::{Field, Setting, Unit, parse_bind};
use super::sources::Sources;
use super::value::{parse_bool, parse_port, parse_url_path};
use crate::limits::{FRAME_BYTES_MAX, FRAME_BYTES_MIN};

const GIB: u64 = 1 << 30;

/// Part of the table of all settings.
pub(super) const AMQP: &[Setting] = &[
    Setting::new(
        "amqp",
        "bind",
        "127.0.0.1",
        Field::Addresses(|c| &mut c.amqp.bind),
        "Addresses to listen on; :: = all, IPv6 and IPv4 (IPv6 alone beside an IPv4 address).",
    )
    .or_env(&["LAVINMQ_AMQP_BIND"]),
    Setting::new(
        "amqp",
        "port",
        "5672",
        Field::U16(|c| &mut c.amqp.port, Unit::Count, 0, u16::MAX),
        "Port to listen on; 0 = a free one, which the start line names.",
    )
    .or_env(&["LAVINMQ_AMQP_PORT"]),
    Setting::new(
        "amqp",
        "tls_port",
        "5671",
        Field::Other(
            |c, text| parse_port(text).map(|port| c.amqp.tls_port = port),
            "0 to 65535, or off",
        ),
        "Port for TLS, once there is main.tls_cert.",
    )
    .or_env(&["LAVINMQ_AMQPS_PORT"]),
    Setting::new(
        "amqp",
        "tls_bind",
        "",
        Field::Other(
            |c, text| parse_bind(text).map(|at| c.amqp.tls_bind = at),
            "IPv4 or IPv6 addresses, separated by commas, or nothing",
        ),
        "Addresses of that port; none = as bind.",
    ),
    Setting::new(
        "amqp",
        "heartbeat",
        "300",
        Field::U16(|c| &mut c.amqp.heartbeat_s, Unit::Seconds, 0, u16::MAX),
        "Heartbeat interval proposed to clients; 0 = none.",
    ),
    Setting::new(
        "amqp",
        "frame_max",
        "128k",
        Field::U32(|c| &mut c.amqp.frame_max_bytes, Unit::Bytes, FRAME_BYTES_MIN, FRAME_BYTES_MAX),
        "Largest frame, both ways.",
    ),
    Setting::new(
        "amqp",
        "channel_max",
        "2047",
        Field::U16(|c| &mut c.amqp.channel_max, Unit::Count, 1, u16::MAX),
        "Channels of a connection.",
    ),
    Setting::new(
        "amqp",
        "max_message_size",
        "128M",
        Field::U64(|c| &mut c.amqp.message_bytes_max, Unit::Bytes, 1, 2 * GIB),
        "Largest message body.",
    ),
    Setting::new(
        "amqp",
        "max_consumers_per_channel",
        "0",
        Field::U32(|c| &mut c.amqp.consumers_per_channel_max, Unit::Count, 0, u32::MAX),
        "Consumers of a channel; 0 = as many as its queues allow.",
    ),
    Setting::new(
        "amqp",
        "unix_path",
        "",
        Field::PathOrNone(|c| &mut c.amqp.unix_path),
        "A unix socket to listen on.",
    ),
    Setting::new(
        "amqp",
        "ws_path",
        "/ws/amqp",
        Field::Other(
            |c, text| parse_url_path(text).map(|path| c.amqp.ws_path = path),
            "a path that begins with /",
        ),
        "Path of WebSocket connections that speak AMQP; their ports are mgmt.port and mqtt.ws_port.",
    ),
    Setting::new(
        "amqp",
        "tcp_proxy_protocol",
        "false",
        Field::Other(
            |c, text| parse_proxy_switch(text).map(|is_on| c.amqp.tcp_proxy_protocol = is_on),
            "true or false",
        ),
        "Proxies may say whose connections they pass on (PROXY protocol 1 and 2, told apart by themselves), to every AMQP and MQTT listener.",
    ),
    Setting::new(
        "amqp",
        "proxy_protocol_trusted_sources",
        "",
        Field::Other(
            |c, text| Sources::parse(text).map(|from| c.amqp.proxy_protocol_trusted_sources = from),
            "addresses and blocks such as 10.0.0.1, 2001:db8::/32",
        ),
        "Proxies whose word counts; that of others is read and ignored. Empty: everybody's counts.",
    ),
    Setting::new(
        "amqp",
        "unix_proxy_protocol",
        "true",
        Field::Other(|_, text| parse_proxy_switch(text).map(drop), "true or false"),
        "Accepted; what a proxy says through a unix socket always counts.",
    ),
    Setting::new(
        "amqp",
        "amqp_systemd_socket_name",
        "ringmq-amqp.socket",
        Field::Text(|c| &mut c.amqp.systemd_socket_name),
        "Name of sockets opened by systemd (FileDescriptorName=) that are for AMQP.",
    ),
];

/// A switch; LavinMQ wrote the version of the header here once (S9).
pub(super) fn parse_proxy_switch(text: &str) -> Result<bool, String> {
    if text == "2" { Ok(true) } else { parse_bool(text) }
}
