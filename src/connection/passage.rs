//! How a connection begins, moves to another shard and ends.
//!
//! May import `hub`, `protocol`, `transport`, `config`, `ringmq_shards`.

use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};

use ringmq_shards::{Output, ReadBuffer, ShardId, Socket, Stream};

use super::{Connection, Phase};
use crate::command::Now;
use crate::config::Main;
use crate::hub::{Arrival, Hub, Luggage};
use crate::protocol::{
    Certified, Context, Endpoint, ListenAt, ListenerSettings, Next, Peer, Session,
};
use crate::stats::ConnectionReport;
use crate::transport::{Chosen, Front, Handshake, Introduced, Request, Secured, WebSocket, Wire};

/// Serves a connection until it is over, or lives on another shard.
pub(crate) fn serve(hub: &Rc<Hub>, arrival: Arrival) {
    let listener = arrival.listener;
    match Connection::begin(hub.clone(), arrival) {
        Some(connection) => hub.shard.spawn(Serving { connection: Some(connection) }),
        None => hub.failed(listener),
    }
}

/// The task of a connection. Not an `async` block: that would have room for the arrival and twice
/// for the connection as long as it lives.
pub(super) struct Serving {
    connection: Option<Connection>,
}

impl Future for Serving {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<()> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(()) };
        if connection.poll(task).is_pending() {
            return Poll::Pending;
        }
        if let Some(connection) = self.connection.take() {
            if let Phase::Leaving { to } = connection.phase {
                connection.leave(to);
            } else {
                connection.end();
            }
        }
        Poll::Ready(())
    }
}

/// The other end of a connection; `None` if it is gone.
fn other_end(socket: &Socket, listens_at: &ListenAt) -> Option<Endpoint> {
    match listens_at {
        ListenAt::Tcp(_) => Some(socket.peer_addr().ok()?.into()),
        ListenAt::Unix { path, .. } => Some(Endpoint::Unix(path.to_string_lossy().into())),
    }
}

/// Whom a proxy says that the client is.
fn certified(said: &Introduced, listener: &ListenerSettings) -> Option<Certified> {
    let name = said.common_name.as_deref().filter(|_| listener.proxy_names_user)?;
    Some(Certified { name: name.into(), is_proof: said.is_vouched_for })
}

/// Options that the kernel refuses leave its defaults; the connection works without them.
fn set_options(socket: &Socket, main: &Main) {
    let _ = socket.set_nodelay(main.tcp_nodelay);
    if let Some(alive) = main.tcp_keepalive {
        let _ = socket.set_keepalive(alive.idle_s, alive.interval_s, alive.probes);
        // Octets that nobody acknowledges are given up as soon as silence is (abuse row 44).
        let patience_s = alive.interval_s.saturating_mul(alive.probes).saturating_add(alive.idle_s);
        let _ = socket.set_user_timeout_ms(Some(patience_s.saturating_mul(1000)));
    }
    if !main.tcp_congestion.is_empty() {
        let _ = socket.set_congestion_control(&main.tcp_congestion);
    }
}

/// What a connection begins with when nothing is left between the socket and the protocol but the
/// request for a WebSocket, where its listener wants one.
pub(super) fn first_session(hub: &Hub, peer: Peer) -> (Wire, Box<dyn Session>) {
    if peer.listener.web_path.is_none() {
        return (Wire::Plain, (peer.listener.protocol.start)(peer));
    }
    let chosen = Chosen::default();
    let front = Front::new(peer.clone(), hub.listeners(), chosen.clone());
    (Wire::Request(Box::new(Request { chosen, peer })), Box::new(front))
}

impl Connection {
    /// `None`: it is gone already, or there is no place for it.
    fn begin(hub: Rc<Hub>, arrival: Arrival) -> Option<Self> {
        let Arrival { socket, listener, accepted_ms, introduced, early, moved } = arrival;
        let settings = hub.listener(listener)?.clone();
        let source = introduced.as_ref().and_then(|said| said.source);
        let remote = source.map(Into::into).or_else(|| other_end(&socket, &settings.at))?;
        let is_moved = moved.is_some();
        if !is_moved {
            set_options(&socket, &hub.config.main);
        }
        let server = match settings.tls.clone().filter(|_| !is_moved) {
            Some(tls) => Some((hub.tls(listener)?, tls)),
            None => None,
        };
        let id = hub.broker.borrow_mut().attach()?;
        let Luggage { unread, unsent, web, secured, octets } = moved.unwrap_or_default();
        let mut input = ReadBuffer::new(hub.shard.buffers());
        let mut output = Output::new(hub.shard.buffers());
        input.put(&unread);
        let mut secured = secured.map(|parts| Secured::arrived(parts, hub.shard.buffers()));
        let said = introduced.as_deref().and_then(|said| certified(said, &settings)).map(Rc::new);
        let peer = Peer {
            id,
            remote,
            certified: secured.as_ref().and_then(|secured| secured.certified()).or(said),
            listener: settings.clone(),
            accepted_ms,
            moved: is_moved,
            config: hub.config.clone(),
            logins: hub.logins.clone(),
        };
        let (mut wire, session) = match (web, server) {
            (None, Some((server, tls))) => {
                let session: Box<dyn Session> = Box::new(Handshake::new(&peer));
                let mut begun = Secured::new(&server, tls, peer, hub.shard.buffers());
                // Nobody will tell of what has been read already, behind what a proxy said.
                begun.tls.raw().put(&early);
                begun.open(&mut input);
                secured = Some(begun);
                (Wire::Plain, session)
            }
            (None, _) => {
                input.put(&early);
                first_session(&hub, peer)
            }
            (Some(incoming), _) => {
                let web = WebSocket::new(incoming, hub.shard.buffers());
                (Wire::WebSocket(web), (settings.protocol.start)(peer))
            }
        };
        match (&mut secured, &mut wire) {
            (Some(secured), _) => secured.tls.sealed().put(&unsent),
            (None, Wire::WebSocket(web)) => web.framed.put(&unsent),
            (None, Wire::Plain | Wire::Request(_)) => output.put(&unsent),
        }
        Some(Self {
            session,
            secured,
            wire,
            stream: Stream::from_socket(socket, hub.shard.quiet()),
            input,
            output,
            events: VecDeque::new(),
            backlog: 0,
            id,
            listener,
            accepted_ms,
            introduced,
            moved: is_moved,
            phase: Phase::Open { next: Next::Read { bytes_min: 1 } },
            unwritten: false,
            stuck_since_ms: None,
            told_stop: false,
            octets_in: octets.0,
            octets_out: octets.1,
            hub,
        })
    }

    /// What operators see of it.
    pub(super) fn report(&self) -> ConnectionReport {
        let now = self.hub.now();
        let age_ms = now.mono_ms.saturating_sub(self.accepted_ms);
        let mut report = ConnectionReport {
            id: Some(self.id),
            connected_at_ms: now.wall_ms.saturating_sub(age_ms),
            age_ms,
            tls: self.secured.as_ref().and_then(|secured| secured.tls.agreed()),
            octets_in: self.octets_in,
            octets_out: self.octets_out,
            octets_pending: self.unsent() as u64,
            ..ConnectionReport::default()
        };
        let settings = self.hub.listener(self.listener);
        if let Some(ListenAt::Unix { path, .. }) = settings.map(|settings| &settings.at) {
            report.peer_host = format!("unix:{}", path.display()).into();
            report.host = report.peer_host.clone();
        } else {
            // What a proxy says of its client counts more (S14).
            let said = self.introduced.as_ref().and_then(|said| said.source);
            if let Some(peer) = said.or_else(|| self.stream.peer_addr().ok()) {
                (report.peer_host, report.peer_port) = (peer.ip().to_string().into(), peer.port());
            }
            if let Ok(own) = self.stream.local_addr() {
                (report.host, report.port) = (own.ip().to_string().into(), own.port());
            }
        }
        if let Some((user, vhost)) = self.hub.broker.borrow().whereabouts(self.id.connection) {
            (report.user, report.vhost) = (user.into(), vhost.into());
        }
        self.session.describe(&mut report);
        report
    }

    /// Gives back what is left.
    fn end(mut self) {
        let now = self.hub.now();
        let mut broker = self.hub.broker.borrow_mut();
        let lost = if let Phase::Over { lost } = &mut self.phase { lost.take() } else { None };
        let why = lost.unwrap_or_else(|| "closed".into());
        let mut context = Context { broker: &mut broker, out: &mut self.output, now };
        self.session.on_lost(&why, &mut context);
        // Deliveries among what it has not seen go back to their queues.
        for event in self.events.drain(..) {
            self.session.on_event(event, &mut context);
        }
        broker.detach(self.id.connection, now);
        drop(broker);
        self.vacate(now);
    }

    /// Goes to another shard, where a new session is shown the same octets. The one that was here
    /// has left nothing behind and is told nothing.
    fn leave(mut self, to: ShardId) {
        let now = self.hub.now();
        self.hub.broker.borrow_mut().detach(self.id.connection, now);
        self.vacate(now);
        self.wrap();
        let (web, mut output) = match self.wire {
            Wire::Plain | Wire::Request(_) => (None, self.output),
            Wire::WebSocket(web) => {
                let (incoming, framed) = web.into_parts();
                (Some(incoming), framed)
            }
        };
        let secured = self.secured.map(|secured| {
            let (parts, sealed) = secured.into_parts();
            output = sealed;
            parts
        });
        let mut unsent = Vec::new();
        while !output.is_empty() {
            let count = output.front().len();
            unsent.extend_from_slice(output.front());
            output.consume(count);
        }
        let octets = (self.octets_in, self.octets_out);
        let unread = self.input.filled().to_vec();
        let moved = Some(Luggage { unread, unsent, web, secured, octets });
        // Nothing is in flight: what the stream has asked of the kernel is only to be told when
        // there is something to read.
        match self.stream.into_socket() {
            Ok(socket) => {
                let (listener, accepted_ms) = (self.listener, self.accepted_ms);
                let (introduced, early) = (self.introduced, Vec::new());
                let arrival = Arrival { socket, listener, accepted_ms, introduced, early, moved };
                self.hub.send_connection(to, arrival);
            }
            Err(error) => tracing::warn!(%error, "a connection that was to move is closed"),
        }
    }

    /// Gives back its place.
    fn vacate(&self, now: Now) {
        self.hub.leave_seat(self.id.connection);
        self.hub.left(self.listener);
        self.hub.end_turn(now);
    }
}
