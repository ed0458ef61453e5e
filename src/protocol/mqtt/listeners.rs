//! Where clients of this protocol connect. May import `config`, `protocol`.

use crate::config::{Config, Transport};
use crate::protocol::{ListenerSettings, Protocol};

/// See [`Protocol::listeners`].
pub(super) fn listeners(protocol: &'static Protocol, config: &Config) -> Vec<ListenerSettings> {
    let mqtt = &config.mqtt;
    let all = mqtt.listeners().into_iter().map(|listener| {
        let plain = ListenerSettings::new(&listener.name, protocol, listener.address.into());
        // Always read from a socket in the file system (S29).
        let wants_proxy = listener.proxy.is_read.unwrap_or(config.amqp.tcp_proxy_protocol);
        ListenerSettings {
            reads_proxy_header: plain.reads_proxy_header || wants_proxy,
            proxy_names_user: listener.proxy.names_user,
            web_path: match listener.transport {
                Transport::Tcp => None,
                Transport::Ws => Some((*mqtt.ws_path).into()),
            },
            max_connections: listener.max_connections,
            connection_rate_max: listener.max_connection_rate.unwrap_or(0),
            mountpoint: listener.mountpoint,
            allowed_versions: listener.allowed_protocol_versions,
            takes_nameless: listener.allow_anonymous.unwrap_or(mqtt.allow_anonymous),
            connection_s_max: listener
                .max_connection_lifetime_s
                .unwrap_or(mqtt.connection_lifetime_max_s),
            ..plain
        }
    });
    all.collect()
}
