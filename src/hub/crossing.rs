//! What crosses a lane between shards. May import what `hub` does.

use std::net::IpAddr;
use std::sync::Arc;

use ringmq_shards::Bound;
use ringmq_shards::tls::TlsServer;

use super::{Arrival, Begun};
use crate::broker::{Catalogue, Envelope, ShardRemains};
use crate::control::Question;
use crate::loads::ListenerId;

/// What crosses a lane.
#[derive(Debug)]
pub(crate) enum Crossing {
    /// What one broker core says to another.
    Broker(Envelope),
    /// A connection that another shard accepted, to live here.
    Connection(Box<Arrival>),
    /// A connection that another thread accepted through a listener's place, and what was read of it.
    Begun(Box<Begun>),
    /// A socket to listen on here.
    Listen(Bound, ListenerId),
    /// How many connections the sender has through a listener.
    Load(ListenerId, u32),
    /// How many connections the sender has from an address.
    Crowd(IpAddr, u32),
    /// What the last run has left for this shard. Comes once, before all else.
    Restore(Arc<Catalogue>, Box<ShardRemains>),
    /// All shards have what the last run left: what is due may be done.
    Go,
    /// Certificates have changed: what listeners have from now on, by [`ListenerId`].
    Tls(Vec<Option<TlsServer>>),
    /// What the control thread wants to know or to have done here.
    Question(Question),
    /// Stop: close everything.
    Stop,
}
