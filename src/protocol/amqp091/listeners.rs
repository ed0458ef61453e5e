//! Where clients of this protocol connect. May import `config`, `protocol`.

use std::net::SocketAddr;

use crate::config::{Config, ListenerAddress};
use crate::protocol::{ListenAt, ListenerSettings, Protocol};

/// See [`Protocol::listeners`].
pub(super) fn listeners(protocol: &'static Protocol, config: &Config) -> Vec<ListenerSettings> {
    let address = SocketAddr::new(config.amqp.bind, config.amqp.port);
    let plain = ListenerSettings::new(protocol.name, protocol, ListenAt::Tcp(address));
    let unix = config.amqp.unix_path.clone().map(|path| {
        ListenerSettings::new("amqp-unix", protocol, ListenerAddress::Unix(path).into())
    });
    // Wherever there is a server for WebSockets, this path is another of its paths.
    let servers = config.mqtt.listeners().into_iter().filter(|l| l.transport.is_web());
    let web = servers.map(|server| ListenerSettings {
        web_path: Some((*config.amqp.ws_path).into()),
        max_connections: server.max_connections,
        connection_rate_max: server.max_connection_rate.unwrap_or(0),
        tls: server.tls,
        ..ListenerSettings::new("amqp-ws", protocol, server.address.into())
    });
    [plain].into_iter().chain(secured(protocol, config)).chain(unix).chain(web).collect()
}

/// The listener with TLS; none without a certificate.
fn secured(protocol: &'static Protocol, config: &Config) -> Option<ListenerSettings> {
    let (tls, port) = (config.amqp.tls.clone()?, config.amqp.tls_port?);
    let at = SocketAddr::new(config.amqp.tls_bind.unwrap_or(config.amqp.bind), port);
    let plain = ListenerSettings::new("amqps", protocol, ListenAt::Tcp(at));
    Some(ListenerSettings { tls: Some(tls), ..plain })
}
