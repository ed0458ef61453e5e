//! What a shard counts and what it tells of its connections when somebody asks: plain additions on
//! the shard, summed by the control thread. Nothing here is shared between shards.
//!
//! May import `ids`, `protocol::Endpoint`, `value`.

use crate::ids::{ChannelId, ConnectionRef};
use crate::value::Table;

macro_rules! counters {
    ($(#[$about:meta])* $counters:ident { $($(#[$text:meta])* $name:ident,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct $counters {
            $($(#[$text])* pub $name: u64,)*
        }

        impl $counters {
            /// Both together.
            #[must_use]
            pub const fn plus(&self, other: &Self) -> Self {
                Self { $($name: self.$name.wrapping_add(other.$name),)* }
            }

            /// What has happened since.
            #[must_use]
            pub const fn since(&self, earlier: &Self) -> Self {
                Self { $($name: self.$name.saturating_sub(earlier.$name),)* }
            }
        }
    };
}

counters! {
    /// What has happened on a shard since its start.
    Counters {
    /// Messages that clients published and that were not refused.
    published,
    /// Of them, those of which the publisher wants to hear.
    published_reported,
    /// Publishers were told that a message is stored.
    stored,
    /// Messages that no queue wanted and that went back.
    returned,
    /// Messages that no queue wanted.
    unwanted,
    /// Deliveries that are to be settled.
    delivered,
    /// Deliveries that count as settled.
    delivered_settled,
    /// Of both, those that were out before.
    redelivered,
    /// Messages that were asked for one by one and are to be settled.
    fetched,
    /// Messages that were asked for one by one and count as settled.
    fetched_settled,
    /// Requests for a message of an empty queue.
    fetched_none,
    /// Deliveries that were accepted.
    accepted,
    /// Connections that entered a virtual host.
    connections_opened,
    /// Those that left it.
    connections_closed,
    /// Channels.
    channels_opened,
    /// Channels.
    channels_closed,
    /// Declarations of queues that were not refused.
    queues_declared,
    /// Of them, those that made a queue.
    queues_created,
    /// Queues that are gone.
    queues_deleted,
    /// Octets from sockets of clients.
    octets_in,
    /// Octets to sockets of clients.
    octets_out,
    }
}

counters! {
    /// The messages of one conversation since its begin: a channel, or a connection without them.
    /// Sessions count them, each with an addition.
    MessageCounts {
        /// Messages that it published and that were not refused.
        published,
        /// It was told that one of them is stored.
        stored,
        /// Messages that no queue wanted and that went back to it.
        returned,
        /// Deliveries that are to be settled.
        delivered,
        /// Deliveries that count as settled.
        delivered_settled,
        /// Messages that it asked for one by one and that are to be settled.
        fetched,
        /// Messages that it asked for one by one and that count as settled.
        fetched_settled,
        /// Requests for a message of an empty queue.
        fetched_none,
        /// Of all of these, those that were out before.
        redelivered,
        /// Deliveries that it accepted.
        accepted,
    }
}

/// What a shard has now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Connections in a virtual host.
    pub connections: u64,
    /// Queues.
    pub queues: u64,
    /// Exchanges; the same on every shard.
    pub exchanges: u64,
    /// Bindings of its queues.
    pub bindings: u64,
    /// Octets of messages in memory.
    pub memory_bytes: u64,
}

/// What the queues of a shard hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueTotals {
    /// Messages that nobody has.
    pub ready: u64,
    /// Deliveries that are out.
    pub unsettled: u64,
    /// Consumers.
    pub consumers: u64,
}

impl QueueTotals {
    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            ready: self.ready.saturating_add(other.ready),
            unsettled: self.unsettled.saturating_add(other.unsettled),
            consumers: self.consumers.saturating_add(other.consumers),
        }
    }
}

/// What keeps a connection from being read, if anything does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ConnectionState {
    /// It is not in a virtual host yet.
    #[default]
    Starting,
    /// Nothing does.
    Running,
    /// It outruns the broker.
    Flow,
    /// An alarm holds its publishes back.
    Blocked,
    /// It ends.
    Closing,
}

impl ConnectionState {
    /// As operators read it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Flow => "flow",
            Self::Blocked => "blocked",
            Self::Closing => "closing",
        }
    }
}

/// One connection at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConnectionReport {
    /// Which it is; `None` only until its shard has written it.
    pub id: Option<ConnectionRef>,
    /// Address of the client: of a network, or a path.
    pub peer_host: Box<str>,
    /// 0 where there are none.
    pub peer_port: u16,
    /// This end.
    pub host: Box<str>,
    /// This end.
    pub port: u16,
    /// The user, once it is known.
    pub user: Box<str>,
    /// The virtual host, once it has entered one.
    pub vhost: Box<str>,
    /// As operators read it.
    pub protocol: &'static str,
    /// Whether it is read.
    pub state: ConnectionState,
    /// What the client calls itself.
    pub client_name: Box<str>,
    /// What else the client said of itself.
    pub client_properties: Table,
    /// How the user was proven.
    pub mechanism: Box<str>,
    /// The highest channel number; 0 where there are none.
    pub channel_max: u16,
    /// The largest unit of the protocol, octets.
    pub frame_bytes_max: u32,
    /// Seconds of silence that were agreed on; 0: any.
    pub timeout_s: u32,
    /// Milliseconds since 1970-01-01 UTC.
    pub connected_at_ms: u64,
    /// Milliseconds since then.
    pub age_ms: u64,
    /// Version and cipher of its TLS, if it has any.
    pub tls: Option<(&'static str, String)>,
    /// Octets from the socket.
    pub octets_in: u64,
    /// Octets to the socket.
    pub octets_out: u64,
    /// Octets that wait for the socket.
    pub octets_pending: u64,
    /// The messages of all its channels, those that are closed included, or its own.
    pub messages: MessageCounts,
    /// The channels that are open.
    pub channels: Vec<ChannelReport>,
}

impl ConnectionReport {
    /// What it is called: unique while it lasts.
    pub fn name(&self) -> String {
        let Self { peer_host, peer_port, host, port, .. } = self;
        match (self.peer_port, self.id) {
            // Both ends of all connections through one file are called alike.
            (0, Some(id)) => format!(
                "{peer_host} #{}.{}.{}",
                id.shard.index(),
                id.connection.index(),
                id.connection.generation()
            ),
            _ => format!("{} -> {}", at(peer_host, *peer_port), at(host, *port)),
        }
    }
}

fn at(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// One channel at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChannelReport {
    /// Its number.
    pub number: ChannelNumber,
    /// Consumers.
    pub consumers: u32,
    /// Deliveries that consumers to come may have unsettled; 0: any number.
    pub prefetch: u32,
    /// Deliveries that all consumers together may have unsettled; 0: any number.
    pub prefetch_together: u32,
    /// Deliveries that are out.
    pub unsettled: u64,
    /// Publishes of which the client is not told yet.
    pub unreported: u64,
    /// Publishes that wait for a commit.
    pub uncommitted: u64,
    /// Settlements that wait for a commit.
    pub uncommitted_settlements: u64,
    /// Publishes are reported.
    pub reports: bool,
    /// Publishes and settlements wait for commits.
    pub is_transactional: bool,
    /// Its messages so far.
    pub messages: MessageCounts,
}

/// A channel as operators see it.
pub type ChannelNumber = u16;

impl From<ChannelId> for ChannelReport {
    fn from(channel: ChannelId) -> Self {
        Self { number: channel.0, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ConnectionId, ShardId};

    #[test]
    fn counters_add_up_and_tell_what_has_happened_since() {
        let one = Counters { published: 3, accepted: 1, ..Counters::default() };
        let two = Counters { published: 4, stored: 2, ..Counters::default() };
        let both = one.plus(&two);
        assert_eq!((both.published, both.stored, both.accepted), (7, 2, 1));
        assert_eq!(both.since(&one), two);
        assert_eq!(one.since(&both).published, 0);
    }

    #[test]
    fn a_connection_is_called_by_its_two_ends_or_by_its_place() {
        let mut report = ConnectionReport {
            peer_host: "::1".into(),
            peer_port: 5,
            host: "127.0.0.1".into(),
            port: 5672,
            ..ConnectionReport::default()
        };
        assert_eq!(report.name(), "[::1]:5 -> 127.0.0.1:5672");
        report.peer_host = "unix:/run/x".into();
        report.peer_port = 0;
        report.id = Some(ConnectionRef { shard: ShardId(1), connection: ConnectionId::new(7, 2) });
        assert_eq!(report.name(), "unix:/run/x #1.7.2");
    }
}
