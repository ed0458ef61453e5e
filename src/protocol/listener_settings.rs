//! What is known of a listener: where it is, and what those who come through it may do.
//!
//! May import `protocol`.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::Protocol;

/// One listener. Made at the start, a copy on every shard.
#[derive(Debug, Clone)]
pub struct ListenerSettings {
    /// Its name in the settings, for logs.
    pub name: Box<str>,
    /// What is spoken there.
    pub protocol: &'static Protocol,
    /// Where it is.
    pub at: ListenAt,
    /// Connections of all shards together; further ones are refused. 0: only the limit of the node.
    pub max_connections: u32,
    /// Set before all names of its clients that share a namespace (mqtt.md V-094).
    pub mountpoint: Option<Box<str>>,
    /// Versions of the protocol that it takes, by their numbers on the wire; empty: all
    /// (mqtt.md V-095).
    pub allowed_versions: Box<[u8]>,
}

/// Where a listener is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAt {
    /// An address of the network.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix {
        /// Its name.
        path: PathBuf,
        /// Who may connect: permissions of the file.
        mode: u32,
    },
    /// A path of an HTTP server, for WebSockets. Listeners with the same address share the server.
    WebSocket {
        /// Of the server.
        address: SocketAddr,
        /// What the request asks for.
        path: Box<str>,
    },
}

impl ListenerSettings {
    /// A listener that limits nothing.
    pub fn new(name: &str, protocol: &'static Protocol, at: ListenAt) -> Self {
        Self {
            name: name.into(),
            protocol,
            at,
            max_connections: 0,
            mountpoint: None,
            allowed_versions: Box::default(),
        }
    }

    /// A listener that is nowhere, for sessions without a socket.
    pub fn nowhere(protocol: &'static Protocol) -> Self {
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        Self::new(protocol.name, protocol, ListenAt::Tcp(address))
    }

    /// Whether clients of this version of the protocol may come in here.
    pub fn allows(&self, version: u8) -> bool {
        self.allowed_versions.is_empty() || self.allowed_versions.contains(&version)
    }
}

impl fmt::Display for ListenAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
            Self::WebSocket { address, path } => write!(f, "ws://{address}{path}"),
        }
    }
}
