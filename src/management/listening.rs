//! What listens, as operators see it, and what it is secured with.
//!
//! May import `protocol` (where listeners are), `ringmq_shards` (TLS).

use ringmq_shards::tls::TlsServer;

use crate::protocol::ListenAt;

/// A place where something is spoken.
#[derive(Debug, Clone)]
pub(crate) struct Listening {
    /// What, as RabbitMQ calls it: `amqp`, `mqtt/ssl`, `https/web-mqtt`.
    pub(crate) protocol: Box<str>,
    /// Where.
    pub(crate) at: ListenAt,
    /// Inside of what.
    pub(crate) security: Security,
}

/// What a place is secured with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Security {
    /// Nothing.
    None,
    /// What the HTTP server has.
    Http,
    /// What the listener of the shards in this place has.
    Listener(usize),
}

/// What was read of certificates and keys when that was done last. A clone is reference counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Certificates {
    /// Of the listeners of the shards, in their order.
    pub(crate) listeners: Vec<Option<TlsServer>>,
    /// Of the HTTP server.
    pub(crate) http: Option<TlsServer>,
}

impl Certificates {
    /// What a place is secured with now.
    pub(super) fn of(&self, security: Security) -> Option<&TlsServer> {
        match security {
            Security::None => None,
            Security::Http => self.http.as_ref(),
            Security::Listener(place) => self.listeners.get(place)?.as_ref(),
        }
    }
}
