//! What a fleet needs of its connections, whatever they speak, and what they need of it. Imports
//! `socket`, `tally`.

use super::broker::Broker;
use super::error::ClientError;
use super::socket::Socket;
use super::tally::{Dispatch, Receipts};
use crate::clock::Clock;

/// One connection of a [`Fleet`](super::fleet::Fleet).
pub(crate) trait Member: Sized {
    /// How one is to be opened.
    type Spec;
    /// What all of a fleet have in common.
    type Manners: Copy;

    /// A connection that is on its way.
    fn begin(socket: Socket, spec: Self::Spec, manners: Self::Manners, broker: &Broker) -> Self;

    /// Its place in the fleet.
    fn seat(&mut self) -> &mut Seat;

    /// Reads once, answers, writes; tells when there may be more to do.
    ///
    /// # Errors
    /// The connection is of no use any more.
    fn turn(&mut self, context: &mut Context<'_>) -> Result<Wake, ClientError>;

    /// Says good-bye.
    fn leave(&mut self);

    /// Whether it has come to its end.
    fn is_closed(&self) -> bool;

    /// It has failed.
    fn give_up(&mut self);
}

/// What a fleet keeps with each connection; small, since there may be a hundred thousand.
#[derive(Debug)]
pub(crate) struct Seat {
    /// The socket.
    pub(crate) socket: Socket,
    /// Whether it stands in the list of those with something to do.
    pub(crate) is_queued: bool,
    /// Whether it stands in the list of those that wait for room.
    pub(crate) is_starved: bool,
    /// When it is to be woken; `u64::MAX` for never.
    pub(crate) timer_ns: u64,
}

impl Seat {
    /// Nothing to do yet.
    pub(crate) const fn new(socket: Socket) -> Self {
        Self { socket, is_queued: false, is_starved: false, timer_ns: u64::MAX }
    }
}

/// When a connection may have something to do again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wake {
    /// At once.
    Now,
    /// At this time, or when epoll says so.
    At(u64),
    /// When epoll says so.
    OnEvent,
    /// When subscribers have taken enough that more may be published, or when epoll says so.
    OnRoom,
}

/// What has happened on all connections.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Connections that became open, subscriptions included.
    pub(crate) opened: u64,
    /// Of these, those for which the broker had a session.
    pub(crate) resumed: u64,
    /// Filters that the broker granted.
    pub(crate) subscribed: u64,
    /// Signs of life of the broker: answers to keep-alives, heartbeats.
    pub(crate) pings: u64,
    /// Connections that left.
    pub(crate) left: u64,
    /// Connections that failed.
    pub(crate) failed: u64,
}

impl Counts {
    /// Changes whenever something happens.
    pub(crate) const fn progress(&self) -> u64 {
        self.opened
            .saturating_add(self.subscribed)
            .saturating_add(self.pings)
            .saturating_add(self.left)
    }
}

/// What all connections count together.
#[derive(Debug)]
pub(crate) struct Load {
    /// Publishing.
    pub(crate) dispatch: Dispatch,
    /// Receiving.
    pub(crate) receipts: Receipts,
    /// Everything else.
    pub(crate) counts: Counts,
}

/// What a connection needs for a turn.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    /// The time.
    pub(crate) clock: Clock,
    /// Room to read into.
    pub(crate) scratch: &'a mut [u8],
    /// The counters.
    pub(crate) load: &'a mut Load,
}
