//! What stands between a socket and a session: what a proxy says first, then nothing, or a WebSocket. Octets in, octets out; the
//! socket itself is the connection's.
//!
//! May import `protocol`, `loads`, `ringmq_shards` (buffers).

mod front;
mod http_upgrade;
pub(crate) mod proxy_protocol;
mod websocket;

use std::net::SocketAddr;

use ringmq_shards::{Buffers, Output, ReadBuffer};

pub(crate) use front::{Chosen, Front};

use crate::protocol::Peer;
use websocket::{Decoder, Ended};

/// What a proxy that may say so has said of a connection. Moves with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Introduced {
    /// Where the client is; `None`: where the socket's other end is.
    pub(crate) source: Option<SocketAddr>,
    /// Whom the certificate names that the proxy has verified.
    pub(crate) common_name: Option<Box<str>>,
    /// The proxy is one that the operator has named.
    pub(crate) is_vouched_for: bool,
}

/// What a connection's octets are wrapped in.
#[derive(Debug)]
pub(crate) enum Wire {
    /// Nothing.
    Plain,
    /// The request for a WebSocket is read, by a [`Front`].
    Request(Box<Request>),
    /// Frames.
    WebSocket(Box<WebSocket>),
}

/// Of a connection whose WebSocket is not open yet.
#[derive(Debug)]
pub(crate) struct Request {
    /// Which listener was asked for, as soon as that is known.
    pub(crate) chosen: Chosen,
    /// For the session that will be.
    pub(crate) peer: Peer,
}

/// What has come through a WebSocket so far. Moves with its connection.
#[derive(Debug)]
pub(crate) struct Incoming {
    decoder: Decoder,
    /// How the peer's stream has ended. Told when what came before it has been shown.
    ended: Option<Ended>,
}

impl Incoming {
    /// Nothing yet.
    pub(crate) const fn new() -> Self {
        Self { decoder: Decoder::new(), ended: None }
    }
}

/// A WebSocket that is open. One per connection.
#[derive(Debug)]
pub(crate) struct WebSocket {
    incoming: Incoming,
    /// Frames as they come from the socket; empty between turns.
    pub(crate) raw: ReadBuffer,
    /// Frames as they go to the socket.
    pub(crate) framed: Output,
    /// Our last frame is written.
    is_closed: bool,
}

impl WebSocket {
    /// A stream that begins, or one that has come from another shard.
    pub(crate) fn new(incoming: Incoming, buffers: &Buffers) -> Box<Self> {
        Box::new(Self {
            incoming,
            raw: ReadBuffer::new(buffers),
            framed: Output::new(buffers),
            is_closed: false,
        })
    }

    /// Unwraps what was read.
    pub(crate) fn unwrap_input(&mut self, input: &mut ReadBuffer) {
        let Incoming { decoder, ended } = &mut self.incoming;
        if ended.is_none() {
            *ended = decoder.decode(self.raw.filled(), input, &mut self.framed).err();
        }
        self.raw.consume(self.raw.len());
        self.raw.release();
    }

    /// How the peer's stream has ended.
    pub(crate) fn ended(&self) -> Option<&'static str> {
        self.incoming.ended.map(|ended| ended.why)
    }

    /// Wraps what the session wrote in this turn into one frame.
    pub(crate) fn wrap_output(&mut self, output: &mut Output) {
        if self.is_closed {
            // After the last frame nothing may follow.
            output.clear();
        } else if !output.is_empty() {
            websocket::put_data_head(output.len(), &mut self.framed);
            self.framed.append(output);
        }
    }

    /// Says that no more will come.
    pub(crate) fn close(&mut self) {
        if !self.is_closed {
            self.is_closed = true;
            websocket::put_close(self.incoming.ended.unwrap_or(Ended::NORMAL), &mut self.framed);
        }
    }

    /// What another shard needs to go on.
    pub(crate) fn into_parts(self) -> (Incoming, Output) {
        (self.incoming, self.framed)
    }
}
