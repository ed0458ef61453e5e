//! What a connection speaks before its WebSocket is open: one request of HTTP. A session like any
//! other, so that time limits, farewells and stops need nothing of their own; the connection looks
//! after each call whether it has come to its end.
//!
//! May import `http_upgrade`, `command`, `limits`, `protocol`.

use std::cell::Cell;
use std::rc::Rc;

use super::http_upgrade::{Answer, Refusal, Route, Subprotocol, answer};
use crate::command::Event;
use crate::limits::HANDSHAKE_MS_MAX;
use crate::loads::ListenerId;
use crate::protocol::{Context, ListenerSettings, Next, Peer, Session};
use crate::stats::ConnectionReport;

/// Which listener was asked for, once that is known. Shared with the connection.
pub(crate) type Chosen = Rc<Cell<Option<ListenerId>>>;

/// The request of one connection.
#[derive(Debug)]
pub(crate) struct Front {
    peer: Peer,
    /// Those that share this server.
    listeners: Vec<(ListenerId, Rc<ListenerSettings>)>,
    /// Octets that have been looked at.
    seen: usize,
    chosen: Chosen,
    is_over: bool,
}

impl Front {
    /// A connection to the server that `peer.listener` is one of.
    pub(crate) fn new(peer: Peer, all: &[Rc<ListenerSettings>], chosen: Chosen) -> Self {
        let here = |listener: &ListenerSettings| {
            listener.web_path.is_some() && listener.at == peer.listener.at
        };
        let listeners = (0..).map(ListenerId).zip(all.iter().cloned());
        let listeners = listeners.filter(|(_, listener)| here(listener)).collect();
        Self { peer, listeners, seen: 0, chosen, is_over: false }
    }

    fn refuse(&mut self, refusal: Refusal, cx: &mut Context<'_>) -> Next {
        if !self.is_over {
            self.is_over = true;
            tracing::info!(peer = %self.peer.remote, why = %refusal, "no WebSocket");
            cx.out.put(refusal.response().as_bytes());
        }
        Next::Close
    }
}

fn route(listener: &ListenerSettings) -> Route<'_> {
    let speaks = match listener.protocol.web_names {
        [] => Subprotocol::NoneOr(listener.protocol.name),
        names => Subprotocol::OneOf(names),
    };
    Route { path: listener.web_path.as_deref().unwrap_or_default(), speaks }
}

impl Session for Front {
    fn on_bytes(&mut self, input: &[u8], cx: &mut Context<'_>) -> (usize, Next) {
        let routes: Vec<Route<'_>> = self.listeners.iter().map(|(_, l)| route(l)).collect();
        match answer(input, self.seen, &routes) {
            Answer::NeedMore => {
                self.seen = input.len();
                (0, Next::Read { bytes_min: input.len().saturating_add(1) })
            }
            Answer::Refuse(refusal) => (input.len(), self.refuse(refusal, cx)),
            Answer::Accept { taken, route, response } => {
                cx.out.put(&response);
                self.chosen.set(self.listeners.get(route).map(|(listener, _)| *listener));
                (taken, Next::Wait)
            }
        }
    }

    fn on_event(&mut self, _: Event, _: &mut Context<'_>) -> Next {
        // Nothing was asked of the broker; what it says to everybody does not matter yet.
        Next::Read { bytes_min: 1 }
    }

    fn on_tick(&mut self, cx: &mut Context<'_>) -> (Next, Option<u64>) {
        match self.deadline_ms() {
            Some(deadline) if cx.now.mono_ms >= deadline => (self.refuse(Refusal::Slow, cx), None),
            deadline => (Next::Read { bytes_min: 1 }, deadline),
        }
    }

    fn deadline_ms(&self) -> Option<u64> {
        (!self.is_over).then(|| self.peer.accepted_ms.saturating_add(HANDSHAKE_MS_MAX))
    }

    fn on_turn_end(&mut self, _: &mut Context<'_>) {}

    fn on_lost(&mut self, _: &str, _: &mut Context<'_>) {}

    fn describe(&self, report: &mut ConnectionReport) {
        report.protocol = "WebSocket";
    }

    fn on_stop(&mut self, cx: &mut Context<'_>) -> Next {
        self.refuse(Refusal::Stopping, cx)
    }
}
