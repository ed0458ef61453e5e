//! Where clients of this protocol connect. May import `config`, `protocol`.

use std::sync::OnceLock;

use crate::config::Config;
use crate::protocol::{ListenerSettings, Protocol};

/// See [`Protocol::listeners`].
pub(super) fn listeners(protocol: &'static Protocol, config: &Config) -> Vec<ListenerSettings> {
    let mqtt = &config.mqtt;
    let all = mqtt.listeners().into_iter().map(|listener| ListenerSettings {
        name: listener.name,
        protocol,
        at: listener.address.into(),
        web_path: listener.transport.is_web().then(|| (*mqtt.ws_path).into()),
        tls: listener.tls,
        max_connections: listener.max_connections,
        connection_rate_max: listener.max_connection_rate.unwrap_or(0),
        mountpoint: listener.mountpoint,
        allowed_versions: listener.allowed_protocol_versions,
        takes_nameless: listener.allow_anonymous.unwrap_or(mqtt.allow_anonymous),
        connection_s_max: listener
            .max_connection_lifetime_s
            .unwrap_or(mqtt.connection_lifetime_max_s),
        memo: OnceLock::new(),
    });
    all.collect()
}
