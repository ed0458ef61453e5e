//! One client connection: the only place where a socket, a session and the broker meet. A turn is:
//! events and octets to the session, then one end of turn, then one write.
//!
//! One task per connection. May import `hub`, `protocol`, `limits`, `ringmq_shards`.

use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::num::NonZeroU64;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};

use ringmq_shards::tls::TlsEnded;
use ringmq_shards::{Output, ReadBuffer, ShardId, Stream};

use crate::command::{Event, Now};
use crate::hub::Hub;
use crate::ids::ConnectionRef;
use crate::limits;
use crate::loads::ListenerId;
use crate::protocol::{Context, Next, Peer, Session};
use crate::transport::{Incoming, Introduced, Secured, WebSocket, Wire};

mod passage;

pub(crate) use passage::serve;

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
    Farewell(Box<Farewell>),
    Over {
        lost: Option<Box<str>>,
    },
    Leaving {
        to: ShardId,
    },
}

#[derive(Debug)]
struct Farewell {
    deadline_ms: u64,
    shut: bool,
    /// If it is not the session that wanted the end.
    lost: Option<Box<str>>,
}

struct Connection {
    hub: Rc<Hub>,
    id: ConnectionRef,
    listener: ListenerId,
    accepted_ms: u64,
    /// What a proxy has said of it: another shard wants to know.
    introduced: Option<Box<Introduced>>,
    /// It has lived on another shard before.
    moved: bool,
    session: Box<dyn Session>,
    stream: Stream,
    /// Under everything else.
    secured: Option<Box<Secured>>,
    wire: Wire,
    /// For the session: unwrapped already.
    input: ReadBuffer,
    /// Of the session: neither wrapped nor sealed yet.
    output: Output,
    /// Taken from the broker, not shown to the session yet: the output was full.
    events: VecDeque<Event>,
    /// What the broker says of their weight.
    backlog: u64,
    phase: Phase,
    /// The broker has not been told yet that the output was written.
    unwritten: bool,
    /// Since when the peer has taken nothing while there is too much for it.
    stuck_since_ms: Option<NonZeroU64>,
    told_stop: bool,
    /// Octets of the socket so far.
    octets_in: u64,
    octets_out: u64,
}

impl Connection {
    fn poll(&mut self, task: &mut TaskContext<'_>) -> Poll<()> {
        self.hub.seat(self.id.connection, task.waker());
        if let Some(reports) = self.hub.take_asked(self.id.connection) {
            reports.add(self.report());
        }
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
        self.wrap();
        let before = bars(self.unsent());
        self.write(task, now);
        // What was held back because of the output has no other waker than this.
        worked |= bars(self.unsent()) < before;
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
                Next::Close => begin_farewell(now, None),
                Next::Move(to) => self.depart(to),
                Next::Read { .. } | Next::ReadAhead { .. } | Next::Wait => Phase::Open { next },
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
        let framed = self.framed();
        let Self { hub, session, output, events, backlog, .. } = self;
        if framed + output.len() >= OUTPUT_HIGH {
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
        while framed + output.len() < OUTPUT_HIGH
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
        if self.unsent() < OUTPUT_HIGH {
            return false;
        }
        let here = if self.events.is_empty() { 0 } else { self.backlog };
        let waiting = here.saturating_add(self.hub.broker.borrow().backlog(self.id.connection));
        self.unsent() >= OUTPUT_STOP || waiting >= limits::OUTPUT_BYTES_HIGH
    }

    /// Reads what is there and feeds it. True: there may be more.
    fn take_input(&mut self, task: &mut TaskContext<'_>, now: Now) -> bool {
        let (bytes_min, is_ahead) = match self.phase {
            Phase::Open { next: Next::Read { bytes_min } } => (bytes_min, false),
            Phase::Open { next: Next::ReadAhead { bytes_min } } => (bytes_min, true),
            Phase::Open { next: Next::Wait | Next::Move(_) | Next::Close }
            | Phase::Farewell(_)
            | Phase::Over { .. }
            | Phase::Leaving { .. } => return false,
        };
        if self.is_deaf() {
            return false;
        }
        let mut more = false;
        if self.input.len() < bytes_min {
            more = self.fill(task, bytes_min, now);
            if is_ahead && !matches!(self.phase, Phase::Open { .. }) {
                // It is met again when what came before it has had its turn.
                self.phase = Phase::Open { next: Next::Wait };
                return false;
            }
            if self.begin_inside() {
                return true;
            }
            if !more || self.input.is_empty() {
                return more;
            }
            // Less than a whole frame is shown as well: it is a sign of life of a slow peer.
        }
        self.hub.read_mail(now);
        let mut broker = self.hub.broker.borrow_mut();
        let mut context = Context { broker: &mut broker, out: &mut self.output, now };
        let (taken, next) = self.session.on_bytes(self.input.filled(), &mut context);
        drop(broker);
        self.input.consume(taken);
        if self.open_websocket() {
            return true;
        }
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

    /// Reads what is there. False: there is nothing now, or no more.
    fn fill(&mut self, task: &mut TaskContext<'_>, bytes_min: usize, now: Now) -> bool {
        let Self { wire, secured, stream, input, .. } = self;
        if let Wire::WebSocket(web) = wire
            && let Some(why) = web.ended()
        {
            self.phase = begin_farewell(now, Some(why.into()));
            return false;
        }
        if let Some(ended) = secured.as_ref().and_then(|secured| secured.ended()) {
            let lost = Some(ended.to_string().into());
            let is_gone = *ended == TlsEnded::ByPeer;
            self.phase = if is_gone { Phase::Over { lost } } else { begin_farewell(now, lost) };
            return false;
        }
        let inside = match wire {
            Wire::Plain | Wire::Request(_) => {
                input.reserve(bytes_min.saturating_sub(input.len()));
                &mut *input
            }
            Wire::WebSocket(web) => &mut web.raw,
        };
        let read = match secured {
            None => stream.poll_fill(task, inside),
            Some(secured) => {
                let read = stream.poll_fill(task, secured.tls.raw());
                if let Poll::Ready(Ok(1..)) = read {
                    secured.open(inside);
                }
                read
            }
        };
        if let (Wire::WebSocket(web), Poll::Ready(Ok(1..))) = (wire, &read) {
            web.unwrap_input(&mut self.input);
        }
        let why = match read {
            Poll::Pending => return false,
            Poll::Ready(Ok(count @ 1..)) => {
                let count = count as u64;
                self.octets_in = self.octets_in.wrapping_add(count);
                let all = &self.hub.octets.read;
                all.set(all.get().wrapping_add(count));
                return true;
            }
            Poll::Ready(Ok(0)) => "the peer closed the connection".into(),
            Poll::Ready(Err(error)) => error.to_string().into(),
        };
        self.phase = Phase::Over { lost: Some(why) };
        false
    }

    /// If the handshake of TLS is done, what is inside of it begins.
    fn begin_inside(&mut self) -> bool {
        let Some(peer) = self.secured.as_mut().and_then(|secured| secured.ready()) else {
            return false;
        };
        (self.wire, self.session) = passage::first_session(&self.hub, peer);
        self.phase = Phase::Open { next: Next::Read { bytes_min: 1 } };
        true
    }

    /// If the request for a WebSocket is answered, a session of the protocol that was asked for
    /// takes over. What was read behind the request is unwrapped for it.
    fn open_websocket(&mut self) -> bool {
        let Wire::Request(request) = &self.wire else { return false };
        let Some(listener) = request.chosen.get() else { return false };
        let Some(settings) = self.hub.listener(listener).cloned() else { return false };
        if listener != self.listener {
            if self.hub.is_listener_full(listener) {
                self.phase = Phase::Over { lost: Some("max_connections is reached".into()) };
                return true;
            }
            self.hub.left(self.listener);
            self.hub.came(listener);
            self.listener = listener;
        }
        let mut web = WebSocket::new(Incoming::new(), self.hub.shard.buffers());
        web.framed.append(&mut self.output);
        web.raw.put(self.input.filled());
        self.input.consume(self.input.len());
        web.unwrap_input(&mut self.input);
        let start = settings.protocol.start;
        self.session = start(Peer { listener: settings, ..request.peer.clone() });
        self.wire = Wire::WebSocket(web);
        self.phase = Phase::Open { next: Next::Read { bytes_min: 1 } };
        true
    }

    /// Wraps what the session wrote in this turn.
    fn wrap(&mut self) {
        if let Wire::WebSocket(web) = &mut self.wire {
            web.wrap_output(&mut self.output);
            if let Phase::Farewell { .. } = self.phase {
                web.close();
            }
        }
        let Some(secured) = &mut self.secured else { return };
        let out = match &mut self.wire {
            Wire::Plain | Wire::Request(_) => &mut self.output,
            Wire::WebSocket(web) => &mut web.framed,
        };
        if let Err(ended) = secured.tls.seal(out) {
            self.phase = Phase::Over { lost: Some(ended.to_string().into()) };
        } else if let Phase::Farewell { .. } = self.phase {
            // What was said before the handshake was done is not for the wire.
            out.clear();
            secured.tls.close();
        }
    }

    /// Octets that are wrapped or sealed and not written.
    fn framed(&self) -> usize {
        let framed = match &self.wire {
            Wire::Plain | Wire::Request(_) => 0,
            Wire::WebSocket(web) => web.framed.len(),
        };
        framed + self.secured.as_ref().map_or(0, |secured| secured.tls.sealed_len())
    }

    /// Octets for the peer that are not written.
    fn unsent(&self) -> usize {
        self.framed() + self.output.len()
    }

    fn poll_flush(&mut self, task: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        let out = match (&mut self.secured, &mut self.wire) {
            (Some(secured), _) => secured.tls.sealed(),
            (None, Wire::Plain | Wire::Request(_)) => &mut self.output,
            (None, Wire::WebSocket(web)) => &mut web.framed,
        };
        let before = out.len();
        let flushed = self.stream.poll_flush(task, out);
        let count = before.saturating_sub(out.len()) as u64;
        self.octets_out = self.octets_out.wrapping_add(count);
        let all = &self.hub.octets.written;
        all.set(all.get().wrapping_add(count));
        flushed
    }

    fn write(&mut self, task: &mut TaskContext<'_>, now: Now) {
        let before = self.unsent();
        match self.poll_flush(task) {
            Poll::Ready(Ok(())) => {
                self.stuck_since_ms = None;
                self.written();
            }
            Poll::Ready(Err(error)) => {
                self.phase = Phase::Over { lost: Some(error.to_string().into()) };
            }
            Poll::Pending => {
                if self.unsent() <= OUTPUT_HIGH / 2 {
                    self.written();
                }
                if self.unsent() < before || !self.is_deaf() {
                    self.stuck_since_ms = None;
                    return;
                }
                let since = self.stuck_since_ms.or_else(|| NonZeroU64::new(now.mono_ms));
                self.stuck_since_ms = since;
                let since_ms = since.map_or(now.mono_ms, NonZeroU64::get);
                let deadline = since_ms.saturating_add(limits::OUTPUT_STUCK_MS_MAX);
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
        let Phase::Farewell(farewell) = &self.phase else { return false };
        let (deadline_ms, shut) = (farewell.deadline_ms, farewell.shut);
        if now.mono_ms >= deadline_ms {
            return self.farewell_is_over();
        }
        self.hub.tick_at(self.id.connection, deadline_ms);
        if !shut {
            self.wrap();
            match self.poll_flush(task) {
                Poll::Pending => return false,
                Poll::Ready(Err(_)) => return self.farewell_is_over(),
                Poll::Ready(Ok(())) => {
                    // If the connection is gone already the read below says so.
                    let _ = self.stream.shutdown(Shutdown::Write);
                    if let Phase::Farewell(farewell) = &mut self.phase {
                        farewell.shut = true;
                    }
                }
            }
        }
        self.input.consume(self.input.len());
        match self.stream.poll_fill(task, &mut self.input) {
            Poll::Pending => false,
            Poll::Ready(Ok(count)) if count > 0 => true,
            Poll::Ready(_) => self.farewell_is_over(),
        }
    }

    /// False: nothing more can be done.
    fn farewell_is_over(&mut self) -> bool {
        if let Phase::Farewell(farewell) = &mut self.phase {
            self.phase = Phase::Over { lost: farewell.lost.take() };
        }
        false
    }

    /// Nothing to do until the next waker: gives back memory that only a busy connection needs.
    fn rest(&mut self) {
        self.input.release();
        self.output.rest();
        if let Some(secured) = &mut self.secured {
            secured.tls.rest();
        }
        if self.events.is_empty() && self.events.capacity() > 0 {
            let spare = Vec::from(std::mem::take(&mut self.events));
            self.hub.broker.borrow_mut().spare_events(spare);
        }
    }
}

fn begin_farewell(now: Now, lost: Option<Box<str>>) -> Phase {
    let deadline_ms = now.mono_ms.saturating_add(limits::CLOSE_MS_MAX);
    Phase::Farewell(Box::new(Farewell { deadline_ms, shut: false, lost }))
}

/// How many of the two bars stand in the way of more output.
const fn bars(output_len: usize) -> usize {
    (output_len >= OUTPUT_HIGH) as usize + (output_len >= OUTPUT_STOP) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each of many idle connections costs; tuning.md says how much that is in all.
    #[test]
    fn the_task_of_a_connection_stays_small() {
        assert!(size_of::<passage::Serving>() <= 352, "{}", size_of::<passage::Serving>());
        // Allocated once each, beside it.
        #[cfg(feature = "amqp091")]
        const {
            assert!(crate::protocol::amqp091::SESSION_BYTES <= 488);
        };
        #[cfg(feature = "mqtt")]
        const {
            assert!(crate::protocol::mqtt::SESSION_BYTES <= 408);
        };
    }
}
