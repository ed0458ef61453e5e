//! The session of one connection: its phases, and how a turn goes. May import the files of this
//! folder, `broker`, `command`.
//!
//! ```text
//! Silent -> (moves to the shard of its session) -> [Proving] -> Opening -> Open -> Closed
//!   \-> Refusing <------------------------------------/                              ^
//!             \----------------------------------------------------------------------/
//! ```

use std::num::NonZeroU64;

use crate::command::{Answer, Event};
use crate::ids::{ChannelId, ShardId};
use crate::limits::OUTPUT_BYTES_HIGH;
use crate::protocol::octets::Decoded;
use crate::protocol::{Checking, Context, Next, Peer, Session, is_tls, looks_like};
use crate::stats::{ConnectionReport, MessageCounts};

use super::alias::{Inbound, Outbound};
use super::authenticate::{Proof, Proving};
use super::connect::Greeting;
use super::interest::Interest;
use super::limits::CONNECT_BYTES_MAX;
use super::link::{Link, tell};
use super::liveness::Liveness;
use super::outgoing::Outgoing;
use super::queues::Queues;
use super::receive::Incoming;
use super::subscribe::Requests;
use super::wire::fault::Fault;
use super::wire::header::{Kind, Raw, split};
use super::wire::reason_code::ReasonCode;

/// Commands about the session, and deliveries.
pub(super) const SESSION: ChannelId = ChannelId(0);
/// Publishes with QoS 0 and 1.
pub(super) const ONCE: ChannelId = ChannelId(1);
/// Publishes with QoS 2.
pub(super) const TWICE: ChannelId = ChannelId(2);
/// Numbers of publishes with QoS 2 that are kept.
pub(super) const HOLD: ChannelId = ChannelId(3);
/// Numbers of publishes with QoS 2 that are let go.
pub(super) const DROP: ChannelId = ChannelId(4);
/// Deliveries with QoS 2 that the client has.
pub(super) const RECEIVED: ChannelId = ChannelId(5);
/// Retained messages for new subscriptions.
pub(super) const RETAINED: ChannelId = ChannelId(6);
/// Deliveries with QoS 2 that are sent once they are kept.
pub(super) const KEPT: ChannelId = ChannelId(7);
/// Queues that the client has subscribed to.
pub(super) const QUEUES: ChannelId = ChannelId(8);

/// Where a connection is in its life.
#[derive(Debug)]
pub(super) enum Phase {
    /// CONNECT is awaited.
    Silent,
    /// The login was refused; the client learns it later, so that guessing is slow.
    Refusing { code: ReasonCode, until_ms: u64 },
    /// The password of CONNECT, which comes again, is checked elsewhere.
    Checking(Box<Checking>),
    /// The client is to prove who it is.
    Proving(Box<Proving>),
    /// The broker opens the session.
    Opening(Box<Greeting>),
    /// CONNACK was sent.
    Open,
    /// The last octets are written.
    Closed,
}

/// What became of the front of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// So many octets are dealt with.
    Took(usize),
    /// Too few octets.
    NeedMore(usize),
    /// It must wait; the phase or the flags say for what.
    Hold,
    /// The session lives on another shard.
    Move(ShardId),
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// It is dealt with.
    Go,
    /// It must wait.
    Hold,
    /// The session lives on another shard.
    Move(ShardId),
}

/// Both ways.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    pub(super) inbound: Inbound,
    pub(super) outbound: Outbound,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Mqtt {
    pub(super) phase: Phase,
    pub(super) link: Link,
    pub(super) live: Liveness,
    /// Octets of input that were left after the last call: what is beyond them is news.
    unread: usize,
    /// Octets of input without which nothing new can be found in it.
    bytes_min: usize,
    /// The next publish waits until the broker says that it may come.
    pub(super) is_paused: bool,
    /// Until when nothing is read, since publishes came too fast.
    pub(super) held_until_ms: Option<u64>,
    pub(super) interest: Interest,
    pub(super) outgoing: Outgoing,
    /// When unanswered deliveries are looked for next.
    pub(super) retry_at_ms: Option<NonZeroU64>,
    /// Numbers of the subscriptions that want the present message.
    pub(super) numbers: Vec<u32>,
    /// What only some connections need.
    pub(super) incoming: Option<Box<Incoming>>,
    pub(super) aliases: Option<Box<Aliases>>,
    pub(super) requests: Option<Box<Requests>>,
    pub(super) queues: Option<Box<Queues>>,
    pub(super) proof: Option<Box<Proof>>,
    /// Its messages so far, from the first on.
    pub(super) counted: Option<Box<MessageCounts>>,
}

impl Mqtt {
    pub(super) fn new(peer: Peer) -> Self {
        Self {
            phase: Phase::Silent,
            live: Liveness::new(peer.accepted_ms),
            link: Link::new(peer),
            unread: 0,
            bytes_min: 1,
            is_paused: false,
            held_until_ms: None,
            interest: Interest::default(),
            outgoing: Outgoing::default(),
            retry_at_ms: None,
            numbers: Vec::new(),
            incoming: None,
            aliases: None,
            requests: None,
            queues: None,
            proof: None,
            counted: None,
        }
    }

    /// Where its messages are counted.
    #[inline]
    pub(super) fn counts(&mut self) -> &mut MessageCounts {
        self.counted.get_or_insert_default()
    }

    /// Whether anything has come: a probe that says nothing leaves no line (S48).
    const fn has_spoken(&self) -> bool {
        !matches!(self.phase, Phase::Silent) || self.bytes_min > 1
    }

    pub(super) const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Why nothing is to be read at present, if so.
    fn halted(&self) -> Option<Next> {
        match self.phase {
            Phase::Closed => Some(Next::Close),
            Phase::Refusing { .. } | Phase::Opening(_) => Some(Next::Wait),
            Phase::Checking(ref checking) if matches!(**checking, Checking::Asked) => {
                Some(Next::Wait)
            }
            Phase::Open
                if self.is_paused
                    || self.held_until_ms.is_some()
                    || self.requests.as_ref().is_some_and(|r| r.is_full())
                    || self.incoming.as_ref().is_some_and(|i| i.is_full()) =>
            {
                Some(Next::Wait)
            }
            Phase::Silent | Phase::Checking(_) | Phase::Proving(_) | Phase::Open => None,
        }
    }

    fn next(&self) -> Next {
        self.halted().unwrap_or(Next::Read { bytes_min: self.bytes_min })
    }

    /// The packet at the front of the input.
    fn step(&mut self, input: &[u8], cx: &mut Context<'_>) -> Step {
        let is_silent = matches!(self.phase, Phase::Silent);
        let is_connect = input.first().is_none_or(|first| first >> 4 == Kind::Connect as u8);
        if is_silent && (!is_connect || is_tls(input)) {
            // Nothing is spoken yet that the peer would understand (3.1.0-1, abuse row 58). Its
            // length is not waited for: it may be another protocol, where it means something else.
            let (peer, looks_like) = (&self.link.peer.remote, looks_like(input));
            tracing::info!(%peer, looks_like, "the first packet is not CONNECT of MQTT");
            self.phase = Phase::Closed;
            return Step::Took(input.len());
        }
        let bytes_max = match self.phase {
            Phase::Silent | Phase::Checking(_) | Phase::Proving(_) => CONNECT_BYTES_MAX,
            Phase::Refusing { .. } | Phase::Opening(_) | Phase::Open | Phase::Closed => {
                self.link.limits.packet_bytes_max
            }
        };
        match split(input, bytes_max) {
            Ok(Decoded::NeedMore { bytes_min }) => Step::NeedMore(bytes_min),
            Ok(Decoded::Frame { frame, taken }) => match self.on_packet(&frame, cx) {
                Ok(Flow::Go) => Step::Took(taken),
                Ok(Flow::Hold) => Step::Hold,
                Ok(Flow::Move(shard)) => Step::Move(shard),
                Err(fault) => {
                    self.fail(fault, cx);
                    Step::Took(taken)
                }
            },
            Err(fault) => {
                self.fail(fault, cx);
                // The rest has no meaning any more.
                Step::Took(input.len())
            }
        }
    }

    fn on_packet(&mut self, raw: &Raw<'_>, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        match self.phase {
            Phase::Silent | Phase::Checking(_) => Ok(self.on_connect(raw, cx)),
            Phase::Proving(_) => {
                self.on_proof_packet(raw, cx);
                Ok(Flow::Go)
            }
            Phase::Refusing { .. } | Phase::Opening(_) | Phase::Open | Phase::Closed => {
                self.on_open_packet(raw, cx)
            }
        }
    }

    fn on_broker_answer(&mut self, channel: ChannelId, answer: Answer, cx: &mut Context<'_>) {
        if channel == RETAINED {
            self.on_retained_read(&answer, cx);
        } else if channel == QUEUES {
            self.on_queue_answered(answer, cx);
        } else if matches!(self.phase, Phase::Opening(_)) {
            self.on_opened(answer, cx);
        } else {
            self.on_request_answered(answer, cx);
        }
    }

    fn dispatch_event(&mut self, event: Event, cx: &mut Context<'_>) {
        match event {
            Event::Delivery(delivery) if delivery.channel == QUEUES => {
                self.on_queue_delivery(delivery, cx);
            }
            Event::Delivery(delivery) => self.on_delivery(delivery, cx),
            Event::Answer { channel, answer } => self.on_broker_answer(channel, answer, cx),
            Event::Stored { channel, seq, accepted } => {
                self.on_stored(channel, seq.0, accepted, cx);
            }
            Event::Returned { channel, message } => self.on_returned(channel, &message),
            Event::Retained { message, .. } => self.on_retained(&message, cx),
            Event::SubscriptionsGone { filters } => {
                // There is no packet that could tell the client.
                for name in &filters {
                    tell!(info, self.link, filter = &*name.filter, "a subscription was revoked");
                    self.interest.remove(name);
                }
            }
            Event::PublishResumed => self.is_paused = false,
            Event::TakenOver => self.on_taken_over(cx),
            Event::ConsumerGone { channel: QUEUES, consumer } => {
                // There is no packet that could tell the client.
                tell!(info, self.link, "a queue with a subscriber was deleted");
                self.forget_consumer(consumer, cx);
            }
            Event::ConsumerGone { .. } => {
                let text = "the session was deleted";
                self.fail(Fault::new(ReasonCode::AdministrativeAction, text), cx);
            }
            Event::Close { reason } => {
                tell!(info, self.link, reason, "closed by an operator");
                let text = "closed by an operator";
                self.fail(Fault::new(ReasonCode::AdministrativeAction, text), cx);
            }
            Event::LoginChecked(verdict) => {
                if let Phase::Checking(checking) = &mut self.phase {
                    **checking = Checking::Known(verdict);
                }
            }
            // Publishers are held back by other means.
            Event::Alarm(_) => {}
        }
    }

    fn on_open_tick(&mut self, cx: &mut Context<'_>) {
        let now_ms = cx.now.mono_ms;
        if self.halted().is_some() || is_full(cx) {
            // Silence means something only where somebody listens.
            self.live.heard(now_ms);
        }
        self.held_until_ms = self.held_until_ms.filter(|until_ms| *until_ms > now_ms);
        if self.live.is_dead(now_ms) {
            let text = "nothing came for one and a half times the keep alive";
            self.fail(Fault::new(ReasonCode::KeepAliveTimeout, text), cx);
            return;
        }
        if self.link.end_ms().is_some_and(|end_ms| end_ms <= now_ms) {
            let text = "the connection has lasted long enough";
            self.fail(Fault::new(ReasonCode::MaximumConnectTime, text), cx);
            return;
        }
        if self.retry_at_ms.is_some_and(|at_ms| at_ms.get() <= now_ms) {
            self.retry(cx);
        }
        self.look_for_room(cx);
        self.read_on(true, cx);
    }
}

/// The output holds twice what it should: nothing more is taken in that could add to it. Up to
/// there a subscriber that is slow to read may still acknowledge and say that it is alive.
fn is_full(cx: &Context<'_>) -> bool {
    u64::try_from(cx.out.len()).unwrap_or(u64::MAX) / 2 >= OUTPUT_BYTES_HIGH
}

impl Session for Mqtt {
    fn on_bytes(&mut self, input: &[u8], cx: &mut Context<'_>) -> (usize, Next) {
        // The loop also comes back with what was left over: that is no sign of life.
        if input.len() > self.unread {
            self.live.heard(cx.now.mono_ms);
        }
        let mut taken = 0_usize;
        let next = loop {
            if let Some(next) = self.halted() {
                break next;
            }
            let rest = input.get(taken..).unwrap_or_default();
            if rest.is_empty() || is_full(cx) {
                break Next::Read { bytes_min: 1 };
            }
            match self.step(rest, cx) {
                Step::Took(octets) => taken = taken.saturating_add(octets),
                Step::NeedMore(bytes_min) => break Next::Read { bytes_min },
                Step::Hold => break self.halted().unwrap_or(Next::Wait),
                Step::Move(shard) => break Next::Move(shard),
            }
        };
        self.unread = input.len().saturating_sub(taken);
        self.bytes_min = if let Next::Read { bytes_min } = next { bytes_min } else { 1 };
        (taken, next)
    }

    fn on_event(&mut self, event: Event, cx: &mut Context<'_>) -> Next {
        let was_halted = self.halted().is_some();
        self.dispatch_event(event, cx);
        if was_halted && self.halted().is_none() {
            // What the peer said meanwhile has not been read yet.
            self.live.heard(cx.now.mono_ms);
        }
        self.next()
    }

    fn on_tick(&mut self, cx: &mut Context<'_>) -> (Next, Option<u64>) {
        let now_ms = cx.now.mono_ms;
        match self.phase {
            Phase::Silent | Phase::Checking(_) | Phase::Proving(_) | Phase::Opening(_) => {
                if now_ms >= self.link.connect_deadline_ms() {
                    if self.has_spoken() {
                        tell!(info, self.link, "CONNECT timed out");
                    }
                    self.phase = Phase::Closed;
                }
            }
            Phase::Refusing { code, until_ms } if until_ms <= now_ms => self.put_refusal(code, cx),
            Phase::Open => self.on_open_tick(cx),
            Phase::Refusing { .. } | Phase::Closed => {}
        }
        (self.next(), self.deadline_ms())
    }

    fn deadline_ms(&self) -> Option<u64> {
        match self.phase {
            Phase::Silent | Phase::Checking(_) | Phase::Proving(_) | Phase::Opening(_) => {
                Some(self.link.connect_deadline_ms())
            }
            Phase::Refusing { until_ms, .. } => Some(until_ms),
            Phase::Open => {
                let reading_ms = self.requests.as_ref().and_then(|r| r.deadline_ms());
                let all = [
                    self.live.deadline_ms(),
                    self.incoming.as_ref().and_then(|incoming| incoming.look_ms()),
                    self.held_until_ms,
                    self.retry_at_ms.map(NonZeroU64::get),
                    reading_ms,
                    self.link.end_ms(),
                ];
                all.into_iter().flatten().min()
            }
            Phase::Closed => None,
        }
    }

    fn on_turn_end(&mut self, cx: &mut Context<'_>) {
        if self.requests.is_some() {
            self.read_on(false, cx);
            self.requests.take_if(|requests| requests.is_over());
        }
        if matches!(self.phase, Phase::Closed) {
            self.give_back_queued(cx);
        }
    }

    fn on_lost(&mut self, why: &str, cx: &mut Context<'_>) {
        match self.phase {
            Phase::Open => tell!(info, self.link, why, "connection lost"),
            Phase::Silent | Phase::Checking(_) | Phase::Proving(_) | Phase::Opening(_) => {
                if self.has_spoken() {
                    tell!(info, self.link, why, "connection lost before it was opened");
                }
            }
            // These have their line.
            Phase::Refusing { .. } | Phase::Closed => {}
        }
        self.give_back_queued(cx);
        // What is out of the session goes back when the connection leaves the broker's table, and so
        // does its will.
        self.phase = Phase::Closed;
    }

    fn describe(&self, report: &mut ConnectionReport) {
        self.describe_to(report);
    }

    fn on_stop(&mut self, cx: &mut Context<'_>) -> Next {
        if self.is_open() {
            // A planned stop is not what wills are for (H-35).
            cx.broker.set_will(self.link.id(), None, cx.now);
        }
        self.fail(Fault::new(ReasonCode::ServerShuttingDown, "the server stops"), cx);
        self.give_back_queued(cx);
        self.next()
    }
}
