//! Where clients of this protocol connect. May import `config`, `protocol`.

use std::net::SocketAddr;

use crate::config::{Config, ListenerAddress, Transport};
use crate::protocol::{ListenAt, ListenerSettings, Protocol};

/// See [`Protocol::listeners`].
pub(super) fn listeners(protocol: &'static Protocol, config: &Config) -> Vec<ListenerSettings> {
    let plain = config.amqp.bind.iter().map(|ip| ListenerSettings {
        reads_proxy_header: config.amqp.tcp_proxy_protocol,
        ..ListenerSettings::new(
            protocol.name,
            protocol,
            ListenAt::Tcp(SocketAddr::new(*ip, config.amqp.port)),
        )
    });
    let unix = config.amqp.unix_path.clone().map(|path| {
        ListenerSettings::new("amqp-unix", protocol, ListenerAddress::Unix(path).into())
    });
    // Wherever there is a server for WebSockets, this path is another of its paths.
    let servers = config.mqtt.listeners().into_iter().filter(|l| l.transport == Transport::Ws);
    let web = servers.map(|server| ListenerSettings {
        reads_proxy_header: server.proxy.is_read.unwrap_or(config.amqp.tcp_proxy_protocol),
        proxy_names_user: server.proxy.names_user,
        web_path: Some((*config.amqp.ws_path).into()),
        max_connections: server.max_connections,
        connection_rate_max: server.max_connection_rate.unwrap_or(0),
        ..ListenerSettings::new("amqp-ws", protocol, server.address.into())
    });
    plain.chain(unix).chain(web).collect()
}
