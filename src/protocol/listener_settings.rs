//! What is known of a listener: where it is, and what those who come through it may do.
//!
//! May import `config`, `protocol`.

use std::any::Any;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use super::Protocol;
use crate::config::{ListenerAddress, Versions};

/// One listener. Made at the start, a copy on every shard.
#[derive(Debug, Clone)]
pub struct ListenerSettings {
    /// Its name in the settings, for logs.
    pub name: Box<str>,
    /// What is spoken there.
    pub protocol: &'static Protocol,
    /// Where it is.
    pub at: ListenAt,
    /// What the request asks for, where an HTTP server is in front of the protocol and offers
    /// WebSockets. Listeners at the same place share the server.
    pub web_path: Option<Box<str>>,
    /// Connections of all shards together; further ones are refused. 0: only the limit of the node.
    pub max_connections: u32,
    /// Connections a second of all shards together; further ones wait. 0: any number.
    pub connection_rate_max: u32,
    /// What separates its clients from those of other listeners, if they do not say it themselves
    /// (mqtt.md V-094).
    pub mountpoint: Option<Box<str>>,
    /// The versions of the protocol that it takes, where the protocol has several (mqtt.md V-095).
    pub allowed_versions: Versions,
    /// Clients without a user name may come in, where the protocol has such.
    pub takes_nameless: bool,
    /// How long a connection may last, seconds, where the protocol limits that; 0: for ever.
    pub connection_s_max: u64,
    /// What a proxy says of its connections is read (S9; S29 for sockets in the file system).
    pub reads_proxy_header: bool,
    /// Who has shown the proxy a certificate is the user whom that names, where the protocol has
    /// such (mqtt.md V-097).
    pub proxy_names_user: bool,
    /// What its protocol has made of the settings: one for all its connections, not one for each.
    pub memo: OnceLock<Arc<dyn Any + Send + Sync>>,
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
}

/// Who may connect to a socket in the file system: its owner and its group.
const SOCKET_MODE: u32 = 0o660;

impl From<ListenerAddress> for ListenAt {
    fn from(address: ListenerAddress) -> Self {
        match address {
            ListenerAddress::Ip(address) => Self::Tcp(address),
            ListenerAddress::Unix(path) => Self::Unix { path, mode: SOCKET_MODE },
        }
    }
}

impl ListenerSettings {
    /// A listener that limits nothing.
    pub fn new(name: &str, protocol: &'static Protocol, at: ListenAt) -> Self {
        let reads_proxy_header = matches!(at, ListenAt::Unix { .. });
        Self {
            name: name.into(),
            protocol,
            at,
            web_path: None,
            max_connections: 0,
            connection_rate_max: 0,
            mountpoint: None,
            allowed_versions: Versions::ALL,
            takes_nameless: false,
            connection_s_max: 0,
            reads_proxy_header,
            proxy_names_user: false,
            memo: OnceLock::new(),
        }
    }

    /// A listener that is nowhere, for sessions without a socket.
    pub fn nowhere(protocol: &'static Protocol) -> Self {
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        Self::new(protocol.name, protocol, ListenAt::Tcp(address))
    }
}

impl fmt::Display for ListenerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.web_path {
            Some(path) => write!(f, "{} ws://{}{path}", self.protocol.name, self.at),
            None => write!(f, "{} {}", self.protocol.name, self.at),
        }
    }
}

impl fmt::Display for ListenAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}
