//! Certificates and keys: read before anything listens, and again on SIGHUP. Connections that are
//! open keep what they have; what is read again is for those that come.
//!
//! May import `config`, `hub`, `protocol`, `ringmq_shards`.

use std::sync::Arc;

use ringmq_shards::tls::TlsServer;
use ringmq_shards::{Remote, ShardId};

use super::NodeError;
use crate::config::TlsListener;
use crate::hub::Crossing;
use crate::protocol::ListenerSettings;

/// What each listener is secured with. Listeners with the same settings share one, so that a client
/// may resume at one what it has begun at the other.
pub(super) fn read(listeners: &[ListenerSettings]) -> Result<Vec<Option<TlsServer>>, NodeError> {
    let mut known: Vec<(Arc<TlsListener>, TlsServer)> = Vec::new();
    let mut servers = Vec::with_capacity(listeners.len());
    for listener in listeners {
        let Some(tls) = &listener.tls else {
            servers.push(None);
            continue;
        };
        if let Some((_, server)) = known.iter().find(|(other, _)| other == tls) {
            servers.push(Some(server.clone()));
            continue;
        }
        let server = TlsServer::read(&tls.usual, &tls.hosts)
            .map_err(|cause| NodeError::Tls { listener: listener.name.clone(), cause })?;
        if let Some(file) = &tls.usual.key_log {
            let listener = &*listener.name;
            tracing::warn!(listener, file = %file.display(), "secrets of TLS connections are written");
        }
        known.push((tls.clone(), server.clone()));
        servers.push(Some(server));
    }
    Ok(servers)
}

/// Gives every shard what the files say by now; what is wrong with one of them leaves all as it was.
pub(super) fn renew(listeners: &[ListenerSettings], remote: &Remote<Crossing>) {
    if listeners.iter().all(|listener| listener.tls.is_none()) {
        return;
    }
    match read(listeners) {
        Ok(servers) => {
            for shard in (0..remote.shards()).filter_map(ShardId::from_index) {
                remote.send(shard, Crossing::Tls(servers.clone()));
            }
            tracing::info!("certificates are read again");
        }
        Err(error) => {
            tracing::error!("{error}; the certificates that were read before stay in use");
        }
    }
}
