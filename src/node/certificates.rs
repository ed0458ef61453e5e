//! Certificates and keys: read before anything listens, and again on SIGHUP. Connections that are
//! open keep what they have; what is read again is for those that come.
//!
//! May import `config`, `hub`, `protocol`, `ringmq_shards`, and tokio's way to tell the control thread.

use std::sync::Arc;

use ringmq_shards::tls::TlsServer;
use ringmq_shards::{Remote, ShardId};
use tokio::sync::watch;

use super::NodeError;
use crate::config::TlsListener;
use crate::hub::Crossing;
use crate::management::Certificates;
use crate::protocol::ListenerSettings;

/// What the HTTP server is called where its certificates are wrong.
const HTTPS: &str = "https";

/// What each listener is secured with, and the HTTP server. Those with the same settings share one,
/// so that a client may resume at one what it has begun at the other.
pub(super) fn read(
    listeners: &[ListenerSettings],
    http: Option<&Arc<TlsListener>>,
) -> Result<Certificates, NodeError> {
    let mut known: Vec<(Arc<TlsListener>, TlsServer)> = Vec::new();
    let mut read_one = |name: &str, tls: &Arc<TlsListener>| {
        if let Some((_, server)) = known.iter().find(|(other, _)| other == tls) {
            return Ok(server.clone());
        }
        let server = TlsServer::read(&tls.usual, &tls.hosts)
            .map_err(|cause| NodeError::Tls { listener: name.into(), cause })?;
        if let Some(file) = &tls.usual.key_log {
            let file = file.display();
            tracing::warn!(listener = name, %file, "secrets of TLS connections are written");
        }
        known.push((tls.clone(), server.clone()));
        Ok(server)
    };
    let of = |listener: &ListenerSettings| {
        listener.tls.as_ref().map(|tls| read_one(&listener.name, tls)).transpose()
    };
    let listeners = listeners.iter().map(of).collect::<Result<_, NodeError>>()?;
    let http = http.map(|tls| read_one(HTTPS, tls)).transpose()?;
    Ok(Certificates { listeners, http })
}

/// Gives every shard and the HTTP server what the files say by now; what is wrong with one of them
/// leaves all as it was.
pub(super) fn renew(
    listeners: &[ListenerSettings],
    http: Option<&Arc<TlsListener>>,
    remote: &Remote<Crossing>,
    in_use: &watch::Sender<Certificates>,
) {
    if http.is_none() && listeners.iter().all(|listener| listener.tls.is_none()) {
        return;
    }
    match read(listeners, http) {
        Ok(read) => {
            for shard in (0..remote.shards()).filter_map(ShardId::from_index) {
                remote.send(shard, Crossing::Tls(read.listeners.clone()));
            }
            in_use.send_replace(read);
            tracing::info!("certificates are read again");
        }
        Err(error) => {
            tracing::error!("{error}; the certificates that were read before stay in use");
        }
    }
}
