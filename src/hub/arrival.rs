//! Connections on their way to a shard: accepted there or elsewhere, or moved with what they have.
//!
//! May import `loads`, `transport`, `ringmq_shards` (sockets).

use std::net::IpAddr;

use ringmq_shards::Socket;

use crate::loads::ListenerId;
use crate::transport::{Incoming, Introduced, SecuredParts};

/// A connection that is to begin.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// It.
    pub(crate) socket: Socket,
    /// Through which it came.
    pub(crate) listener: ListenerId,
    /// Where its client is, if that is known.
    pub(crate) peer: Option<IpAddr>,
    /// When it was accepted, monotonic milliseconds.
    pub(crate) accepted_ms: u64,
    /// What a proxy has said of it.
    pub(crate) introduced: Option<Box<Introduced>>,
    /// Octets that came behind what the proxy has said: to be read before those of the socket, by
    /// whatever comes first in the connection.
    pub(crate) early: Vec<u8>,
    /// TLS of which another thread has done the handshake.
    pub(crate) secured: Option<Box<SecuredParts>>,
    /// What its first shard has read and written already, if it lived on one before.
    pub(crate) moved: Option<Luggage>,
}

/// A connection that the HTTP server has accepted and that asks for something else.
#[derive(Debug)]
pub(crate) struct Begun {
    /// It.
    pub(crate) socket: Socket,
    /// That of the server.
    pub(crate) listener: ListenerId,
    /// What was read of it, outside of TLS.
    pub(crate) early: Vec<u8>,
    /// What a proxy has said of it.
    pub(crate) introduced: Option<Box<Introduced>>,
    /// Its TLS, if it has any.
    pub(crate) secured: Option<Box<SecuredParts>>,
}

/// What a connection takes along to another shard, beside its socket.
#[derive(Debug, Default)]
pub(crate) struct Luggage {
    /// Read, and not taken by the session that was.
    pub(crate) unread: Vec<u8>,
    /// To be written before anything else.
    pub(crate) unsent: Vec<u8>,
    /// Of its WebSocket, if it has one.
    pub(crate) web: Option<Incoming>,
    /// Of its TLS, if it has any.
    pub(crate) secured: Option<SecuredParts>,
    /// Octets that its socket has brought and taken.
    pub(crate) octets: (u64, u64),
}
