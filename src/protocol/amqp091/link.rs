//! What all parts of a session share: who the peer is, what was agreed with it, and what its
//! channels together may hold. One per connection. May import `auth`, `limits`, `wire`.

use crate::auth::Identity;
use crate::ids::{ChannelId, ConnectionId};
use crate::limits::assembly_bytes_max;
use crate::protocol::Peer;

use super::reply_code::{Fault, Place, ReplyCode, fault_of};
use super::wire::field_table::TableRef;
use super::wire::field_value::FieldRef;
use crate::command::Refusal;

/// A log line about a connection: what every such line must name (S49, S67), then what this one says.
macro_rules! tell {
    ($level:ident, $link:expr, $($rest:tt)+) => {
        tracing::$level!(
            peer = %$link.peer.remote,
            name = $link.name(),
            user = $link.user(),
            vhost = &*$link.vhost,
            $($rest)+
        )
    };
}
pub(super) use tell;

/// What a client announced that it understands (S72, S73).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Capabilities {
    /// connection.close for a failed login.
    pub(super) authentication_failure_close: bool,
    /// basic.cancel from the server.
    pub(super) consumer_cancel_notify: bool,
    /// connection.blocked and connection.unblocked.
    pub(super) connection_blocked: bool,
}

impl Capabilities {
    /// Reads them from the client's properties; whatever is no truth value is not announced (S70).
    pub(super) fn of(properties: TableRef<'_>) -> Self {
        let Some(FieldRef::Table(announced)) = properties.get("capabilities") else {
            return Self::default();
        };
        let has = |name| announced.get(name).and_then(|v| v.as_bool()).unwrap_or_default();
        Self {
            authentication_failure_close: has("authentication_failure_close"),
            consumer_cancel_notify: has("consumer_cancel_notify"),
            connection_blocked: has("connection.blocked"),
        }
    }
}

/// What only operators want to know of a client.
#[derive(Debug)]
pub(super) struct Said {
    /// What it calls itself (S67).
    pub(super) name: Box<str>,
    /// Its properties as they came: a table behind its length; nothing if there were too many.
    pub(super) properties: Box<[u8]>,
    /// How the user was proven.
    pub(super) mechanism: Box<str>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) peer: Peer,
    /// Known from the login on.
    pub(super) identity: Option<Identity>,
    /// Known from connection.open on.
    pub(super) vhost: Box<str>,
    /// What the client says of itself; once it has.
    pub(super) said: Option<Box<Said>>,
    pub(super) capabilities: Capabilities,
    /// The largest frame, both ways.
    pub(super) frame_bytes_max: u32,
    /// The highest channel number.
    pub(super) channel_max: u16,
    /// Octets of bodies under assembly, all channels (abuse row 17).
    pub(super) assembly_bytes: u64,
    /// Channels with a body under assembly.
    pub(super) assemblies: u32,
    /// Octets held by transactions, all channels (abuse row 52).
    pub(super) transaction_bytes: u64,
    /// Some consumer had a time limit for its deliveries.
    pub(super) has_timeouts: bool,
    /// Channels that have confirms to report at the end of the turn.
    pub(super) to_report: Vec<u16>,
}

impl Link {
    pub(super) fn new(peer: Peer) -> Self {
        let amqp = &peer.config.amqp;
        let (frame_bytes_max, channel_max) = (amqp.frame_max_bytes, amqp.channel_max);
        Self {
            peer,
            identity: None,
            vhost: Box::default(),
            said: None,
            capabilities: Capabilities::default(),
            frame_bytes_max,
            channel_max,
            assembly_bytes: 0,
            assemblies: 0,
            transaction_bytes: 0,
            has_timeouts: false,
            to_report: Vec::new(),
        }
    }

    /// The connection, as the broker calls it.
    pub(super) const fn id(&self) -> ConnectionId {
        self.peer.id.connection
    }

    /// What the client calls itself (S67); empty for nothing.
    pub(super) fn name(&self) -> &str {
        self.said.as_ref().map_or("", |said| &said.name)
    }

    /// The user's name; empty before the login.
    pub(super) fn user(&self) -> &str {
        self.identity.as_ref().map_or("", Identity::name)
    }

    /// What reply texts name.
    pub(super) fn place(&self) -> Place<'_> {
        Place { vhost: &self.vhost, user: self.user() }
    }

    /// The broker's refusal in this protocol's words.
    pub(super) fn fault(&self, refusal: Refusal) -> Fault {
        fault_of(refusal, self.place())
    }

    /// Counts a body under assembly, unless it is too much.
    pub(super) fn assemble(&mut self, octets: usize) -> Result<(), Fault> {
        let octets = u64::try_from(octets).unwrap_or(u64::MAX);
        let total = self.assembly_bytes.saturating_add(octets);
        let max = assembly_bytes_max(self.peer.config.amqp.message_bytes_max);
        if total > max {
            let detail = format!("more than {max} octets of unfinished messages");
            return Err(Fault::new(ReplyCode::ResourceError, detail));
        }
        self.assembly_bytes = total;
        self.assemblies = self.assemblies.saturating_add(1);
        Ok(())
    }

    /// A body under assembly is complete or dropped.
    pub(super) fn assembled(&mut self, octets: usize) {
        let octets = u64::try_from(octets).unwrap_or(u64::MAX);
        self.assembly_bytes = self.assembly_bytes.saturating_sub(octets);
        self.assemblies = self.assemblies.saturating_sub(1);
    }
}

/// A channel number as the broker knows it.
pub(super) const fn channel_id(number: u16) -> ChannelId {
    ChannelId(number)
}
