//! One client connection: the only place where a socket, a session and the broker meet. A turn is:
//! events and octets to the session, then one end of turn, then one write.
//!
//! One task per connection. May import `hub`, `protocol`, `limits`, `ringmq_shards`.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::Shutdown;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};

use ringmq_shards::{Output, ReadBuffer, ShardId, Socket, Stream};

use crate::command::{Event, Now};
use crate::config::Main;
use crate::hub::{Arrival, Hub, Luggage};
use crate::ids::ConnectionRef;
use crate::limits;
use crate::loads::ListenerId;
use crate::protocol::{Context, Endpoint, ListenAt, Next, Peer, Session};

const OUTPUT_HIGH: usize = {
    assert!(limits::OUTPUT_BYTES_HIGH <= u32::MAX as u64, "fits the length of a buffer");
    #[expect(clippy::cast_possible_truncation, reason = "asserted the line above")]
    {
        limits::OUTPUT_BYTES_HIGH as usize
    }
};

/// Reads are taken in while the output is below this: deliveries alone do not bring it there, so a
/// consumer that does not read may still acknowledge and beat its heart, while a publisher that does
/// not read its confirms comes to a stand.
const OUTPUT_STOP: usize = 2 * OUTPUT_HIGH;

/// Rounds of one poll before other tasks have their turn, or fewer when the turn has lasted long
/// enough: a flooding publisher brings 64 KiB with each.
const ROUNDS_PER_POLL: usize = 4;

/// Places for events that an idle connection keeps (arbitrary: a few KiB).
const EVENTS_KEPT: usize = 64;

/// Serves a connection until it is over, or lives on another shard.
pub(crate) async fn serve(hub: Rc<Hub>, arrival: Arrival) {
    let listener = arrival.listener;
    let Some(mut connection) = Connection::begin(hub.clone(), arrival) else {
        return hub.failed(listener);
    };
    poll_fn(|task| connection.poll(task)).await;
    if let Phase::Leaving { to } = connection.phase {
        connection.leave(to);
    } else {
        connection.end();
    }
}

/// Both ends of a connection; `None` if it is gone.
fn ends(socket: &Socket, listens_at: &ListenAt) -> Option<(Endpoint, Endpoint)> {
    match listens_at {
        ListenAt::Tcp(_) => {
            Some((socket.peer_addr().ok()?.into(), socket.local_addr().ok()?.into()))
        }
        ListenAt::Unix { path, .. } => {
            let end = Endpoint::Unix(path.to_string_lossy().into());
            Some((end.clone(), end))
        }
    }
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

/// ```text
/// Open --Next::Close--> Farewell --all written, peer closed or too late--> over
///   |---- peer gone, socket broken -----------------------------------------^
///   \---- Next::Move --> Leaving: another task goes on, on another shard
/// ```
#[derive(Debug)]
enum Phase {
    Open {
        next: Next,
    },
    /// The last octets are on their way; closing at once would have the kernel throw them away
    /// when input is unread.
    Farewell {
        deadline_ms: u64,
        shut: bool,
    },
    Over {
        lost: Option<Box<str>>,
    },
    Leaving {
        to: ShardId,
    },
}

struct Connection {
    hub: Rc<Hub>,
    id: ConnectionRef,
    listener: ListenerId,
    accepted_ms: u64,
    /// It has lived on another shard before.
    moved: bool,
    session: Box<dyn Session>,
    stream: Stream,
    input: ReadBuffer,
    output: Output,
    /// Taken from the broker, not shown to the session yet: the output was full.
    events: VecDeque<Event>,
    /// What the broker says of their weight.
    backlog: u64,
    phase: Phase,
    /// The broker has not been told yet that the output was written.
    unwritten: bool,
    /// Since when the peer has taken nothing while there is too much for it.
    stuck_since_ms: Option<u64>,
    told_stop: bool,
}

impl Connection {
    /// `None`: it is gone already, or there is no place for it.
    fn begin(hub: Rc<Hub>, arrival: Arrival) -> Option<Self> {
        let Arrival { socket, listener, accepted_ms, moved } = arrival;
        let settings = hub.listener(listener)?.clone();
        let (remote, local) = ends(&socket, &settings.at)?;
        if moved.is_none() {
            set_options(&socket, &hub.config.main);
        }
        let id = hub.broker.borrow_mut().attach()?;
        let mut input = ReadBuffer::new(hub.shard.buffers());
        let mut output = Output::new(hub.shard.buffers());
        if let Some(Luggage { unread, unsent }) = &moved {
            input.put(unread);
            output.put(unsent);
        }
        let start = settings.protocol.start;
        let peer = Peer {
            id,
            remote,
            local,
            listener: settings,
            accepted_ms,
            moved: moved.is_some(),
            config: hub.config.clone(),
            logins: hub.logins.clone(),
        };
        Some(Self {
            session: start(peer),
            stream: Stream::from_socket(socket),
            input,
            output,
            events: VecDeque::new(),
            backlog: 0,
            id,
            listener,
            accepted_ms,
            moved: moved.is_some(),
            phase: Phase::Open { next: Next::Read { bytes_min: 1 } },
            unwritten: false,
            stuck_since_ms: None,
            told_stop: false,
            hub,
        })
    }

    fn poll(&mut self, task: &mut TaskContext<'_>) -> Poll<()> {
        self.hub.seat(self.id.connection, task.waker());
        for _ in 0..ROUNDS_PER_POLL {
            let now = self.hub.now();
            let worked = match self.phase {
                Phase::Open { .. } => self.turn(task, now),
                Phase::Farewell { .. } => self.farewell(task, now),
                Phase::Over { .. } | Phase::Leaving { .. } => return Poll::Ready(()),
            };
            if let Phase::Over { .. } | Phase::Leaving { .. } = self.phase {
                return Poll::Ready(());
            }
            if !worked {
                self.rest();
                return Poll::Pending;
            }
            if self.hub.shard.need_yield() {
                break;
            }
        }
        task.waker().wake_by_ref();
        Poll::Pending
    }

    /// One turn. False: nothing more can be done until the task is woken.
    fn turn(&mut self, task: &mut TaskContext<'_>, now: Now) -> bool {
        let mut worked = self.take_events(now);
        if self.hub.take_due(self.id.connection) {
            self.with_session(now, |session, context| session.on_tick(context).0);
            worked = true;
        }
        if self.hub.is_stopping() && !self.told_stop {
            self.told_stop = true;
            self.with_session(now, |session, context| session.on_stop(context));
        }
        worked |= self.take_input(task, now);
        if let Phase::Open { .. } = self.phase {
            let mut broker = self.hub.broker.borrow_mut();
            let mut context = Context { broker: &mut broker, out: &mut self.output, now };
            self.session.on_turn_end(&mut context);
        }
        if let Phase::Leaving { .. } = self.phase {
            return false;
        }
        self.hub.end_turn(now);
        let before = bars(self.output.len());
        self.write(task, now);
        // What was held back because of the output has no other waker than this.
        worked |= bars(self.output.len()) < before;
        // A farewell begins at once: nothing may come that would wake it.
        worked |= !matches!(self.phase, Phase::Open { .. });
        if let Some(deadline) = self.session.deadline_ms() {
            self.hub.tick_at(self.id.connection, deadline);
        }
        worked
    }

    fn with_session(
        &mut self,
        now: Now,
        call: impl FnOnce(&mut dyn Session, &mut Context<'_>) -> Next,
    ) {
        let mut broker = self.hub.broker.borrow_mut();
        let mut context = Context { broker: &mut broker, out: &mut self.output, now };
        let next = call(&mut *self.session, &mut context);
        drop(broker);
        self.follow(next, now);
    }

    fn follow(&mut self, next: Next, now: Now) {
        if let Phase::Open { .. } = self.phase {
            self.phase = match next {
                Next::Close => {
                    let deadline_ms = now.mono_ms.saturating_add(limits::CLOSE_MS_MAX);
                    Phase::Farewell { deadline_ms, shut: false }
                }
                Next::Move(to) => self.depart(to),
                Next::Read { .. } | Next::Wait => Phase::Open { next },
            };
        }
    }

    /// A shard that stops takes nobody in; the next one could send it back for ever.
    fn depart(&self, to: ShardId) -> Phase {
        if self.hub.is_stopping() {
            Phase::Over { lost: Some("the server stops".into()) }
        } else if self.moved || to == self.hub.shard.id() || to.index() >= self.hub.shard.count() {
            tracing::error!(?to, moved = self.moved, "a session wants to move in vain");
            Phase::Over { lost: Some("nowhere to move to".into()) }
        } else {
            Phase::Leaving { to }
        }
    }

    /// Hands over what the broker says, until the peer has enough to read. True: there was some.
    fn take_events(&mut self, now: Now) -> bool {
        let Self { hub, session, output, events, backlog, .. } = self;
        if output.len() >= OUTPUT_HIGH {
            return false;
        }
        let mut broker = hub.broker.borrow_mut();
        if events.is_empty() {
            // Neither way between the two collections copies: the memory goes round.
            let mut taken = Vec::from(std::mem::take(events));
            *backlog = broker.backlog(self.id.connection);
            broker.take_events(self.id.connection, &mut taken);
            *events = VecDeque::from(taken);
        }
        let mut last = None;
        while output.len() < OUTPUT_HIGH
            && let Some(event) = events.pop_front()
        {
            let mut context = Context { broker: &mut broker, out: output, now };
            // After its end the session still gives back what comes.
            let next = session.on_event(event, &mut context);
            last = Some(if last == Some(Next::Close) { Next::Close } else { next });
        }
        drop(broker);
        let Some(next) = last else { return false };
        self.unwritten = true;
        self.follow(next, now);
        true
    }

    /// Whether the peer is not read: it has not taken the answers to what it has sent so far. Those
    /// that wait for the output count as well, deliveries do not: whoever is slow to read them may
    /// still settle, publish and beat its heart.
    fn is_deaf(&self) -> bool {
        if self.output.len() < OUTPUT_HIGH {
            return false;
        }
        let here = if self.events.is_empty() { 0 } else { self.backlog };
        let waiting = here.saturating_add(self.hub.broker.borrow().backlog(self.id.connection));
        self.output.len() >= OUTPUT_STOP || waiting >= limits::OUTPUT_BYTES_HIGH
    }

    /// Reads what is there and feeds it. True: there may be more.
    fn take_input(&mut self, task: &mut TaskContext<'_>, now: Now) -> bool {
        let Phase::Open { next: Next::Read { bytes_min } } = self.phase else { return false };
        if self.is_deaf() {
            return false;
        }
        let mut more = false;
        if self.input.len() < bytes_min {
            self.input.reserve(bytes_min - self.input.len());
            match self.stream.poll_fill(task, &mut self.input) {
                Poll::Pending => return false,
                Poll::Ready(Ok(0)) => {
                    self.phase =
                        Phase::Over { lost: Some("the peer closed the connection".into()) };
                    return false;
                }
                Poll::Ready(Ok(_)) => more = true,
                Poll::Ready(Err(error)) => {
                    self.phase = Phase::Over { lost: Some(error.to_string().into()) };
                    return false;
                }
            }
            // Less than a whole frame is shown as well: it is a sign of life of a slow peer.
        }
        let mut broker = self.hub.broker.borrow_mut();
        let mut context = Context { broker: &mut broker, out: &mut self.output, now };
        let (taken, next) = self.session.on_bytes(self.input.filled(), &mut context);
        drop(broker);
        self.input.consume(taken);
        self.follow(next, now);
        if let Phase::Open { next: Next::Read { bytes_min } } = &mut self.phase
            && taken == 0
            && !more
        {
            // An estimate that fell short, or one that an event has replaced: without a read that
            // is pending nobody would wake this task.
            *bytes_min = (*bytes_min).max(self.input.len() + 1);
            return true;
        }
        more || taken > 0
    }

    fn write(&mut self, task: &mut TaskContext<'_>, now: Now) {
        let before = self.output.len();
        match self.stream.poll_flush(task, &mut self.output) {
            Poll::Ready(Ok(())) => {
                self.stuck_since_ms = None;
                self.written();
            }
            Poll::Ready(Err(error)) => {
                self.phase = Phase::Over { lost: Some(error.to_string().into()) };
            }
            Poll::Pending => {
                if self.output.len() <= OUTPUT_HIGH / 2 {
                    self.written();
                }
                if self.output.len() < before || !self.is_deaf() {
                    self.stuck_since_ms = None;
                    return;
                }
                let since = *self.stuck_since_ms.get_or_insert(now.mono_ms);
                let deadline = since.saturating_add(limits::OUTPUT_STUCK_MS_MAX);
                if now.mono_ms >= deadline {
                    let why = "the peer reads nothing of what it asked for";
                    self.phase = Phase::Over { lost: Some(why.into()) };
                } else {
                    self.hub.tick_at(self.id.connection, deadline);
                }
            }
        }
    }

    /// The peer's window is open again: owners of queues may send more.
    fn written(&mut self) {
        if self.events.is_empty() && std::mem::take(&mut self.unwritten) {
            self.hub.broker.borrow_mut().drained(self.id.connection);
            self.hub.end_turn(self.hub.now());
        }
    }

    /// Writes the last octets, says that no more will come, waits for the peer to say the same.
    fn farewell(&mut self, task: &mut TaskContext<'_>, now: Now) -> bool {
        let Phase::Farewell { deadline_ms, shut } = self.phase else { return false };
        if now.mono_ms >= deadline_ms {
            self.phase = Phase::Over { lost: None };
            return false;
        }
        self.hub.tick_at(self.id.connection, deadline_ms);
        if !shut {
            match self.stream.poll_flush(task, &mut self.output) {
                Poll::Pending => return false,
                Poll::Ready(Err(_)) => {
                    self.phase = Phase::Over { lost: None };
                    return false;
                }
                Poll::Ready(Ok(())) => {
                    // If the connection is gone already the read below says so.
                    let _ = self.stream.shutdown(Shutdown::Write);
                    self.phase = Phase::Farewell { deadline_ms, shut: true };
                }
            }
        }
        self.input.consume(self.input.len());
        match self.stream.poll_fill(task, &mut self.input) {
            Poll::Pending => false,
            Poll::Ready(Ok(count)) if count > 0 => true,
            Poll::Ready(_) => {
                self.phase = Phase::Over { lost: None };
                false
            }
        }
    }

    /// Nothing to do until the next waker: gives back memory that only a busy connection needs.
    fn rest(&mut self) {
        self.input.release();
        if self.events.is_empty() && self.events.capacity() > EVENTS_KEPT {
            self.events = VecDeque::new();
        }
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
        let mut unsent = Vec::new();
        while !self.output.is_empty() {
            let count = self.output.front().len();
            unsent.extend_from_slice(self.output.front());
            self.output.consume(count);
        }
        let moved = Some(Luggage { unread: self.input.filled().to_vec(), unsent });
        // Nothing is in flight: what the stream has asked of the kernel is only to be told when
        // there is something to read.
        match self.stream.into_socket() {
            Ok(socket) => {
                let (listener, accepted_ms) = (self.listener, self.accepted_ms);
                self.hub.send_connection(to, Arrival { socket, listener, accepted_ms, moved });
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

/// How many of the two bars stand in the way of more output.
const fn bars(output_len: usize) -> usize {
    (output_len >= OUTPUT_HIGH) as usize + (output_len >= OUTPUT_STOP) as usize
}
