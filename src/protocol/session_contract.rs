//! The protocols: what a session is, and the table of those built in.
//!
//! A protocol is one folder and one line in [`PROTOCOLS`]. It may import `broker` (the public calls
//! of [`Broker`]), `command`, `message`, `value`, `ids`, `auth`, `limits`, `config`; never another
//! protocol, a socket or a clock.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::rc::Rc;

use ringmq_shards::output::Output;

use crate::broker::Broker;
use crate::command::{Event, Now};
use crate::config::Config;
use crate::ids::ConnectionRef;

/// What a session is given with each call.
#[derive(Debug)]
pub struct Context<'a> {
    /// The broker of this shard.
    pub broker: &'a mut Broker,
    /// What goes to the peer.
    pub out: &'a mut Output,
    /// The time of this turn.
    pub now: Now,
}

/// What the connection loop should do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Feed again when there are at least this many octets (an estimate, 1 is always right).
    Read {
        /// Octets from the front of the unconsumed input.
        bytes_min: usize,
    },
    /// Feed nothing until [`Session::on_event`] says so: an answer is awaited, or publishing is paused.
    Wait,
    /// Write what is in the output, then close the socket. Nothing is fed any more.
    Close,
}

/// One client connection as its protocol sees it: bytes in, bytes out, no I/O, no clock.
pub trait Session: Debug {
    /// Takes complete frames from the front of `input`; says how many octets it took.
    fn on_bytes(&mut self, input: &[u8], cx: &mut Context<'_>) -> (usize, Next);

    /// Something the broker says. The loop calls [`Session::on_bytes`] again if it returns `Read`.
    fn on_event(&mut self, event: Event, cx: &mut Context<'_>) -> Next;

    /// Time passed: heartbeats, deadlines. Also says when to call again (monotonic ms).
    fn on_tick(&mut self, cx: &mut Context<'_>) -> (Next, Option<u64>);

    /// The peer is gone without goodbye: give back what is out. Output is no longer sent.
    fn on_lost(&mut self, why: &str, cx: &mut Context<'_>);

    /// The server stops: say so to the peer; then `Close` follows by itself or at the deadline.
    fn on_stop(&mut self, cx: &mut Context<'_>) -> Next;
}

/// What is known of a connection before its first octet.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The connection's place in the broker's table.
    pub id: ConnectionRef,
    /// Address of the client.
    pub remote: SocketAddr,
    /// Address it connected to.
    pub local: SocketAddr,
    /// When it was accepted, monotonic milliseconds.
    pub accepted_ms: u64,
    /// The settings.
    pub config: Rc<Config>,
}
