//! Where clients of this protocol connect. May import `config`, `protocol`.

use std::net::SocketAddr;

use crate::config::{Config, ListenerAddress, Transport};
use crate::protocol::{ListenerSettings, Protocol};

/// See [`Protocol::listeners`].
pub(super) fn listeners(protocol: &'static Protocol, config: &Config) -> Vec<ListenerSettings> {
    let amqp = &config.amqp;
    let plain = amqp.bind.iter().map(|ip| SocketAddr::new(*ip, amqp.port));
    // What systemd has opened stands in the place of what would not fit beside it.
    let plain =
        plain.filter(|address| !amqp.inherited.iter().any(|other| other.overlaps(*address)));
    let unix = amqp.unix_path.clone().map(ListenerAddress::Unix);
    let unix = unix.filter(|path| !amqp.inherited.contains(path));
    let all = plain
        .map(|address| (protocol.name, ListenerAddress::Ip(address)))
        .chain(unix.map(|path| ("amqp-unix", path)))
        .chain(amqp.inherited.iter().map(|address| ("amqp-systemd", address.clone())))
        .map(|(name, address)| {
            let listener = ListenerSettings::new(name, protocol, address.into());
            let reads_proxy_header = listener.reads_proxy_header || amqp.tcp_proxy_protocol;
            ListenerSettings { reads_proxy_header, ..listener }
        });
    // Wherever there is a server for WebSockets, this path is another of its paths.
    let servers = config.mqtt.listeners().into_iter().filter(|l| l.transport == Transport::Ws);
    let web = servers.map(|server| ListenerSettings {
        reads_proxy_header: server.proxy.is_read.unwrap_or(amqp.tcp_proxy_protocol),
        proxy_names_user: server.proxy.names_user,
        web_path: Some((*amqp.ws_path).into()),
        max_connections: server.max_connections,
        connection_rate_max: server.max_connection_rate.unwrap_or(0),
        ..ListenerSettings::new("amqp-ws", protocol, server.address.into())
    });
    all.chain(web).collect()
}
