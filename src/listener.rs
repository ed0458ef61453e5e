//! Accepting: one task per shard and address, since every shard listens on every port. Few
//! connections are spread badly by SO_REUSEPORT, so a crowded shard hands newcomers on.
//!
//! May import `hub`, `loads`, `connection`, `doorstep`, `arrival_rate`, `protocol`, `transport`,
//! `ringmq_shards`.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;

use ringmq_shards::{AcceptError, Bound, Listener, Socket};

use crate::arrival_rate::{ArrivalRate, Rates};
use crate::connection;
use crate::doorstep::{self, Met};
use crate::hub::{Arrival, Begun, Crossing, Hub};
use crate::loads::ListenerId;
use crate::protocol::{ListenAt, ListenerSettings};
use crate::transport::Introduced;

/// Pause after the machine ran out of something, milliseconds (abuse row 112).
const PAUSE_MS: u64 = 100;

/// Why a connection is refused whose address has as many as it may.
const TOO_MANY_OPEN: &str = "max_connections_per_ip is reached";

/// Between two lines of one kind (abuse row 122).
const LINE_MS: u64 = 1_000;

/// How long a newcomer waits for a place when all are taken, milliseconds: those that have just been
/// left are known to be free when the shard has looked at their sockets (arbitrary).
const DOOR_MS: u64 = 50;

/// Newcomers of a listener and shard that wait so; further ones are refused at once (arbitrary).
const DOOR_MAX: u32 = 16;

/// Accepts until the node stops.
pub(crate) async fn accept(hub: Rc<Hub>, bound: Bound, listens_as: ListenerId) {
    let listener = match Listener::from_bound(bound) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "cannot listen");
            return;
        }
    };
    let Some(gate) = Gate::new(&hub, listens_as) else { return };
    // Ends with the listener closed: newcomers are refused while the others are seen off.
    while let Some(accepted) = newcomer(&hub, &listener).await {
        match accepted {
            Ok(socket) => {
                // This one is let in; those behind it wait.
                if let Some(pause_ms) = gate.admit(socket) {
                    hub.shard.sleep(pause_ms).await;
                }
                // A queue full of newcomers must not keep those that are here waiting.
                hub.shard.yield_if_needed().await;
            }
            Err(error @ AcceptError::Other(_)) => {
                tracing::error!(%error, "listener is broken");
                return;
            }
            Err(error) => {
                gate.refuse(&error.to_string());
                hub.shard.sleep(PAUSE_MS).await;
            }
        }
    }
}

/// What stands between a listening socket and the connections behind it. One per listener and shard.
struct Gate {
    hub: Rc<Hub>,
    listens_as: ListenerId,
    listener: Rc<ListenerSettings>,
    rate: RefCell<ArrivalRate>,
    refused: RefCell<Lines>,
    /// Newcomers that wait for a place.
    at_the_door: Cell<u32>,
    /// Headers of proxies that nobody has named.
    ignored: RefCell<Lines>,
}

impl Gate {
    fn new(hub: &Rc<Hub>, listens_as: ListenerId) -> Option<Rc<Self>> {
        let listener = hub.listener(listens_as)?.clone();
        let per_address = hub.config.main.connection_rate_per_address_max;
        let rates = Rates { in_all: listener.connection_rate_max, per_address };
        let rates = match listener.at {
            // Every shard accepts.
            ListenAt::Tcp(_) => rates.shared_by(hub.shard.count()),
            // One does.
            ListenAt::Unix { .. } => rates,
        };
        Some(Rc::new(Self {
            hub: hub.clone(),
            listens_as,
            listener,
            rate: RefCell::new(ArrivalRate::new(rates)),
            refused: RefCell::default(),
            at_the_door: Cell::new(0),
            ignored: RefCell::default(),
        }))
    }

    /// Takes a newcomer, or does not. How long those behind it are to wait, milliseconds.
    fn admit(self: &Rc<Self>, socket: Socket) -> Option<u64> {
        let now_ms = self.hub.now().mono_ms;
        let peer = match self.listener.at {
            // One that has no address any more is over before it begins: a probe that resets.
            ListenAt::Tcp(_) => Some(socket.peer_addr().ok()?),
            ListenAt::Unix { .. } => None,
        };
        let may_introduce = self.listener.reads_proxy_header && self.trusts(peer);
        if !may_introduce && self.is_too_many(peer, now_ms) {
            return None;
        }
        match self.hub.is_full(self.listens_as) {
            Some(_) if self.at_the_door.get() < DOOR_MAX => self.keep_waiting(socket, peer, now_ms),
            Some(why) => self.refuse(why),
            None => self.let_in(socket, peer, now_ms),
        }
        self.rate.borrow_mut().pause_ms(now_ms)
    }

    fn let_in(self: &Rc<Self>, socket: Socket, peer: Option<SocketAddr>, accepted_ms: u64) {
        if self.listener.reads_proxy_header {
            self.meet(socket, peer, accepted_ms);
        } else {
            let arrival = self.arrival(socket, peer, accepted_ms);
            self.place(arrival);
        }
    }

    /// All places are taken. A client that has closed its connection to open another finds a place all
    /// the same, whichever of the two the shard sees first.
    fn keep_waiting(self: &Rc<Self>, socket: Socket, peer: Option<SocketAddr>, accepted_ms: u64) {
        let gate = self.clone();
        gate.at_the_door.set(gate.at_the_door.get().saturating_add(1));
        self.hub.shard.spawn(async move {
            gate.hub.shard.sleep(DOOR_MS).await;
            gate.at_the_door.set(gate.at_the_door.get().saturating_sub(1));
            match gate.hub.is_full(gate.listens_as) {
                Some(why) => gate.refuse(why),
                None => gate.let_in(socket, peer, accepted_ms),
            }
        });
    }

    fn refuse(&self, why: &str) {
        if let Some(before) = self.refused.borrow_mut().may_say(self.hub.now().mono_ms) {
            tracing::warn!(why, before, "connections are refused");
        }
    }

    fn is_too_many(&self, peer: Option<SocketAddr>, now_ms: u64) -> bool {
        let Some(peer) = peer else { return false };
        let is = self.rate.borrow_mut().is_too_many(peer.ip(), now_ms);
        if is {
            self.refuse("too many from one address in a second");
        }
        is
    }

    /// Whether what a proxy there says of its clients counts (S12, S13, S29).
    fn trusts(&self, proxy: Option<SocketAddr>) -> bool {
        let trusted = &self.hub.config.amqp.proxy_protocol_trusted_sources;
        match self.listener.at {
            ListenAt::Tcp(_) => {
                trusted.is_empty() || proxy.is_some_and(|proxy| trusted.contains(proxy.ip()))
            }
            // Who may open that is trusted with it.
            ListenAt::Unix { .. } => true,
        }
    }

    /// Waits for what a proxy may say, beside the newcomers.
    fn meet(self: &Rc<Self>, socket: Socket, peer: Option<SocketAddr>, accepted_ms: u64) {
        let gate = self.clone();
        // Counted meanwhile: whoever says nothing takes a place as well.
        self.hub.came(self.listens_as);
        self.hub.shard.spawn(async move {
            let met = doorstep::meet(&gate.hub, socket, accepted_ms).await;
            gate.after_meeting(met, peer, accepted_ms);
            gate.hub.left(gate.listens_as);
        });
    }

    fn after_meeting(&self, met: Met, peer: Option<SocketAddr>, accepted_ms: u64) {
        let (socket, header, early) = match met {
            Met::Welcome { socket, header, early } => (socket, header, early),
            Met::Wrong(why) => {
                let peer = self.shown(peer);
                tracing::info!(%peer, %why, "a PROXY header that cannot be read");
                return;
            }
            Met::Slow => {
                let peer = self.shown(peer);
                tracing::info!(%peer, "a PROXY header that is not ended in time");
                return;
            }
            Met::Gone => return,
        };
        let trusts = self.trusts(peer);
        if header.is_some() && !trusts {
            self.warn_of_stranger(peer);
        }
        let introduced = header.filter(|_| trusts).map(|said| Introduced {
            source: said.source,
            common_name: said.common_name,
            is_vouched_for: self.is_vouched_for(peer),
        });
        let source = introduced.as_ref().and_then(|said| said.source).or(peer);
        // Whose word does not count was looked at before.
        if trusts && self.is_too_many(source, self.hub.now().mono_ms) {
            return;
        }
        let introduced = introduced.map(Box::new);
        self.place(Arrival { introduced, early, ..self.arrival(socket, source, accepted_ms) });
    }

    /// Lets a connection in, unless there are too many from where it comes.
    fn place(&self, arrival: Arrival) {
        if arrival.peer.is_some_and(|peer| self.hub.is_crowded(peer)) {
            return self.refuse(TOO_MANY_OPEN);
        }
        place(&self.hub, arrival);
    }

    /// Whether the operator has named the proxy, or has let it into the file system.
    fn is_vouched_for(&self, proxy: Option<SocketAddr>) -> bool {
        proxy.is_none() || !self.hub.config.amqp.proxy_protocol_trusted_sources.is_empty()
    }

    fn warn_of_stranger(&self, peer: Option<SocketAddr>) {
        if let Some(before) = self.ignored.borrow_mut().may_say(self.hub.now().mono_ms) {
            let peer = self.shown(peer);
            tracing::warn!(
                %peer,
                before,
                "a PROXY header is ignored: its sender is not in proxy_protocol_trusted_sources"
            );
        }
    }

    fn shown(&self, peer: Option<SocketAddr>) -> Box<str> {
        peer.map_or_else(|| self.listener.at.to_string(), |peer| peer.to_string()).into()
    }

    fn arrival(&self, socket: Socket, peer: Option<SocketAddr>, accepted_ms: u64) -> Arrival {
        Arrival {
            socket,
            listener: self.listens_as,
            peer: peer.map(|peer| peer.ip()),
            accepted_ms,
            introduced: None,
            early: Vec::new(),
            secured: None,
            moved: None,
        }
    }
}

/// The next connection; `None` when the node stops.
async fn newcomer(hub: &Hub, listener: &Listener) -> Option<Result<Socket, AcceptError>> {
    poll_fn(|context| match hub.poll_stopped(context) {
        Poll::Ready(()) => Poll::Ready(None),
        Poll::Pending => listener.poll_accept(context).map(Some),
    })
    .await
}

/// Starts a connection here or sends it to where it is better off.
fn place(hub: &Rc<Hub>, arrival: Arrival) {
    let to = hub.place_connection();
    if to == hub.shard.id() {
        start(hub, arrival);
    } else {
        hub.send_connection(to, arrival);
    }
}

/// Lines of a kind of which a flood must not fill the log: one a second.
#[derive(Debug, Default)]
struct Lines {
    count: u64,
    said_ms: Option<u64>,
}

impl Lines {
    /// Counts one; how many there were before, if it may be said.
    fn may_say(&mut self, now_ms: u64) -> Option<u64> {
        let before = self.count;
        self.count += 1;
        if self.said_ms.is_some_and(|said| now_ms.saturating_sub(said) < LINE_MS) {
            return None;
        }
        self.said_ms = Some(now_ms);
        Some(before)
    }
}

/// Starts a connection of which another thread has read the beginning.
fn begin(hub: &Rc<Hub>, begun: Begun) {
    let Begun { socket, listener, early, introduced, secured } = begun;
    let said = introduced.as_ref().and_then(|said| said.source);
    let peer = said.or_else(|| socket.peer_addr().ok()).map(|peer| peer.ip());
    let is_crowded = || peer.is_some_and(|peer| hub.is_crowded(peer));
    if let Some(why) = hub.is_full(listener).or_else(|| is_crowded().then_some(TOO_MANY_OPEN)) {
        tracing::warn!(why, "connections are refused");
        return;
    }
    let (accepted_ms, moved) = (hub.now().mono_ms, None);
    let arrival =
        Arrival { socket, listener, peer, accepted_ms, introduced, early, secured, moved };
    start(hub, arrival);
}

/// Counted before its task has its first turn: a storm would otherwise pass the limits.
fn start(hub: &Rc<Hub>, arrival: Arrival) {
    hub.came(arrival.listener);
    connection::serve(hub, arrival);
}

/// Reads the lanes while the shard is otherwise idle, and starts connections moved here.
pub(crate) async fn read_lanes(hub: Rc<Hub>) {
    loop {
        hub.end_turn(hub.now());
        for arrival in hub.take_arrivals() {
            match arrival {
                Crossing::Connection(arrival) => start(&hub, *arrival),
                Crossing::Begun(begun) => begin(&hub, *begun),
                Crossing::Listen(bound, listener) => {
                    hub.shard.spawn(accept(hub.clone(), bound, listener));
                }
                Crossing::Broker(_)
                | Crossing::Load(..)
                | Crossing::Crowd(..)
                | Crossing::Restore(..)
                | Crossing::Go
                | Crossing::Tls(_)
                | Crossing::Question(_)
                | Crossing::Stop => {}
            }
        }
        hub.wait_for_mail().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Abuse rows 112 and 122
    #[test]
    fn a_flood_is_told_once_a_second_with_its_number() {
        let mut lines = Lines::default();
        assert_eq!(lines.may_say(5_000), Some(0));
        assert_eq!(lines.may_say(5_000), None);
        assert_eq!(lines.may_say(5_999), None);
        assert_eq!(lines.may_say(6_000), Some(3));
        assert_eq!(lines.may_say(6_001), None);
    }
}
