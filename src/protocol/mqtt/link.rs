//! What all parts of a session share: who the client is, and what was agreed with it. One per
//! connection. May import `auth`, `protocol`, `wire`, `limits`.

use std::sync::Arc;

use crate::auth::Identity;
use crate::ids::ConnectionId;
use crate::protocol::{Context, Peer};

use super::block::Source;
use super::interest::own_group;
use super::limits::Limits;
use super::wire::ack::{Ack, AckKind};
use super::wire::encode::{Encode, Unsendable, put};
use super::wire::reason_code::ReasonCode;
use super::wire::{PACKET_BYTES_MAX, PacketId, Version};

/// A log line about a connection: what every such line must name (S49, S67), then what this one says.
macro_rules! tell {
    ($level:ident, $link:expr, $($rest:tt)+) => {
        tracing::$level!(
            peer = %$link.peer.remote,
            client = &*$link.client,
            user = $link.user(),
            vhost = &*$link.vhost,
            $($rest)+
        )
    };
}
pub(super) use tell;

/// See the module.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) peer: Peer,
    pub(super) limits: Arc<Limits>,
    /// Known from CONNECT on, like all below.
    pub(super) version: Version,
    /// The client is another broker (mqtt.md 2.2).
    pub(super) is_bridge: bool,
    pub(super) client: Box<str>,
    pub(super) vhost: Box<str>,
    /// Known from the login on.
    pub(super) identity: Option<Identity>,
    /// What stands for the client in the messages that it publishes.
    pub(super) publisher: u64,
    /// Octets of a packet that the client takes.
    pub(super) packet_bytes_max: u32,
    /// The client has asked for reason strings. To say nothing allows them too, and the broker sends
    /// none then, like Mosquitto and VerneMQ: the log has them.
    pub(super) wants_reasons: bool,
    /// Deliveries that may be unanswered.
    pub(super) window: u16,
    /// Session expiry interval that the client asked for, seconds.
    pub(super) expiry_s: u32,
    /// The client id has another connection, whose session has its name (V-034).
    pub(super) is_further: bool,
    /// The session was there before the connection.
    pub(super) is_resumed: bool,
    /// The session outlives the connection, and with it what the client remembers of packet ids.
    pub(super) is_lasting: bool,
}

impl Link {
    pub(super) fn new(peer: Peer) -> Self {
        Self {
            limits: Limits::shared(&peer),
            peer,
            version: Version::V4,
            is_bridge: false,
            client: Box::default(),
            vhost: Box::default(),
            identity: None,
            publisher: 0,
            packet_bytes_max: PACKET_BYTES_MAX,
            wants_reasons: false,
            window: 0,
            expiry_s: 0,
            is_further: false,
            is_resumed: false,
            is_lasting: false,
        }
    }

    /// The connection, as the broker calls it.
    pub(super) const fn id(&self) -> ConnectionId {
        self.peer.id.connection
    }

    /// The user's name; empty before the login.
    pub(super) fn user(&self) -> &str {
        self.identity.as_ref().map_or("", Identity::name)
    }

    /// Who has to keep the right to what is retained of this client (abuse row 69).
    pub(super) fn source(&self) -> Option<Source<'_>> {
        let identity = self.identity.as_ref().filter(|_| self.limits.check_retain_source)?;
        let (has_login, name) = identity.as_publisher();
        Source::new(has_login, name, &self.client)
    }

    /// Whether the client id may have several connections. Never in version 5, where a later one
    /// always ends the earlier (3.1.4-3).
    pub(super) fn allows_several(&self) -> bool {
        self.limits.allow_multiple_sessions && self.version != Version::V5
    }

    /// The group in which connections with the same client id share a filter, if they do. No client
    /// can name it (4.8.2-1).
    pub(super) fn own_group(&self) -> Option<Box<str>> {
        (self.limits.balance && self.allows_several()).then(|| own_group(&self.client))
    }

    /// When CONNECT must have come.
    pub(super) fn connect_deadline_ms(&self) -> u64 {
        self.peer.accepted_ms.saturating_add(self.limits.connect_ms_max)
    }

    /// When the connection has lasted long enough.
    pub(super) fn end_ms(&self) -> Option<u64> {
        self.limits.lifetime_ms_max.map(|ms| self.peer.accepted_ms.saturating_add(ms))
    }

    /// How long a delivery may be unanswered before it is sent again: never in version 5 (4.4.0-1).
    pub(super) fn retry_ms(&self) -> Option<u64> {
        self.limits.retry_ms.filter(|_| self.version != Version::V5)
    }

    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    #[inline]
    pub(super) fn put_ack(
        &self,
        kind: AckKind,
        packet_id: u16,
        code: ReasonCode,
        cx: &mut Context<'_>,
    ) {
        let Some(packet_id) = PacketId::new(packet_id) else { return };
        // Five octets at most: a client that takes not even those hears nothing (3.1.2-24).
        let _ = self.put(&Ack::new(kind, packet_id, code), cx);
    }

    /// Appends a packet, unless the client takes none so large (3.1.2-24, 3.1.2-25): the one place
    /// where packets other than PUBLISH are written.
    pub(super) fn put(&self, packet: &impl Encode, cx: &mut Context<'_>) -> Result<(), Unsendable> {
        put(cx.out.buffer(), packet, self.version, self.packet_bytes_max)
    }
}
