//! The session of one connection: its phases, and how a turn goes (AMQP 0-9-1 2.2.4, 4.2.2).
//! May import the files of this folder, `broker`, `command`.
//!
//! ```text
//! AwaitingHeader -> AwaitingStartOk -> AwaitingTuneOk -> AwaitingOpen -> Running
//!                        |  login refused: Refusing                       |
//!                        v                                                v
//!                     Closing <------------------- an error <---------- Ending -> Closed
//! ```

use std::num::NonZeroU64;

use crate::command::{Answer, Event};
use crate::limits::{HANDSHAKE_MS_MAX, OUTPUT_BYTES_HIGH};
use crate::protocol::octets::Decoded;
use crate::protocol::{Checking, Context, Next, Peer, Session};
use crate::stats::{ConnectionReport, MessageCounts};

use super::ahead::Ahead;
use super::channel::{Channel, Phase as ChannelPhase, Then};
use super::closing::Farewell;
use super::deliver::send_back;
use super::link::{Link, tell};
use super::liveness::{Liveness, Verdict};
use super::reply_code::{Fault, ReplyCode};
use super::retained::SHOWN;
use super::wire::frame;

/// Where a connection is in its life.
#[derive(Debug)]
pub(super) enum Phase {
    AwaitingHeader,
    AwaitingStartOk,
    /// The password of connection.start-ok, which comes again, is checked elsewhere.
    CheckingLogin(Checking),
    /// The login was refused; the client learns it later, so that guessing is slow.
    Refusing {
        fault: Fault,
        until_ms: u64,
    },
    AwaitingTuneOk,
    AwaitingOpen,
    Running,
    /// The broker takes everything back; then comes the farewell.
    Ending {
        farewell: Farewell,
        until_ms: u64,
    },
    /// connection.close was sent: everything is discarded until close-ok (P19).
    Closing {
        until_ms: u64,
    },
    Closed,
}

/// A channel number.
#[derive(Debug)]
pub(super) enum Slot {
    /// Never opened.
    Fresh,
    /// Was open; whoever has it next counts its publishes on from here.
    Closed { seq_base: u64 },
    /// In use.
    Used(Box<Channel>),
}

/// What became of the front of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// So many octets are dealt with.
    Took(usize),
    /// Too few octets.
    NeedMore(usize),
    /// It must wait; the phase or the flags say for what.
    Hold,
}

/// A command that the broker has not answered: nothing more is read until it has, so that replies
/// come in the order of requests (P73).
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) channel: u16,
    /// The method that asked: class and method id.
    pub(super) cause: (u16, u16),
    pub(super) then: Then,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Amqp {
    pub(super) phase: Phase,
    pub(super) link: Link,
    /// By channel number less one; as long as the highest number used.
    pub(super) slots: Vec<Slot>,
    pub(super) open_count: usize,
    /// The command that the broker has not answered.
    pub(super) waiting: Option<Waiting>,
    /// Octets of input that were left after the last call: what is beyond them is news.
    pub(super) unread: usize,
    /// Octets of input without which nothing new can be found in it. Who asks for fewer while a
    /// frame is cut would look at the same octets again instead of waiting for the rest.
    bytes_min: usize,
    /// The next publish waits until the broker says that it may come.
    pub(super) is_paused: bool,
    /// connection.blocked was sent (R47).
    pub(super) is_blocked: bool,
    /// Until when nothing is read, since channels were opened too often.
    pub(super) held_until_ms: Option<NonZeroU64>,
    pub(super) live: Liveness,
    /// When unfinished bodies and forgotten deliveries are looked for next.
    look_ms: Option<NonZeroU64>,
    /// Octets in the output when the present call began.
    out_before: usize,
    /// The messages of channels that are closed.
    pub(super) past: Option<Box<MessageCounts>>,
    /// What is dealt with behind a publish that is held back.
    pub(super) ahead: Option<Box<Ahead>>,
}

/// How often unfinished bodies and forgotten deliveries are looked for.
const LOOK_EVERY_MS: u64 = 1_000;

impl Amqp {
    pub(super) fn new(peer: Peer) -> Self {
        Self {
            phase: Phase::AwaitingHeader,
            live: Liveness::new(peer.accepted_ms),
            link: Link::new(peer),
            slots: Vec::new(),
            open_count: 0,
            waiting: None,
            unread: 0,
            bytes_min: 1,
            is_paused: false,
            is_blocked: false,
            held_until_ms: None,
            look_ms: None,
            out_before: 0,
            past: None,
            ahead: None,
        }
    }

    /// The open channel of that number.
    pub(super) fn channel(&mut self, number: u16) -> Option<&mut Channel> {
        match self.slots.get_mut(usize::from(number).checked_sub(1)?)? {
            Slot::Used(channel) => Some(channel),
            Slot::Fresh | Slot::Closed { .. } => None,
        }
    }

    /// The same, with what it shares with the others.
    pub(super) fn channel_and_link(&mut self, number: u16) -> Option<(&mut Channel, &mut Link)> {
        let index = usize::from(number).checked_sub(1)?;
        match self.slots.get_mut(index)? {
            Slot::Used(channel) => Some((channel, &mut self.link)),
            Slot::Fresh | Slot::Closed { .. } => None,
        }
    }

    /// The same, if the client may still be told something on it: after our close of the channel
    /// or of the connection nothing follows (AMQP 0-9-1 1.5.2.5, 1.4.2.9).
    fn listening(&mut self, number: u16) -> Option<(&mut Channel, &mut Link)> {
        if matches!(self.phase, Phase::Closing { .. } | Phase::Closed) {
            return None;
        }
        self.channel_and_link(number).filter(|(channel, _)| channel.phase != ChannelPhase::Closing)
    }

    /// Why nothing is to be read at present, if so.
    fn halted(&self) -> Option<Next> {
        match self.phase {
            Phase::Closed => Some(Next::Close),
            Phase::Refusing { .. } | Phase::Ending { .. } => Some(Next::Wait),
            Phase::CheckingLogin(Checking::Asked) => Some(Next::Wait),
            Phase::Running
                if self.waiting.is_some() || self.is_paused || self.held_until_ms.is_some() =>
            {
                Some(Next::Wait)
            }
            Phase::AwaitingHeader
            | Phase::AwaitingStartOk
            | Phase::CheckingLogin(Checking::No | Checking::Known(_))
            | Phase::AwaitingTuneOk
            | Phase::AwaitingOpen
            | Phase::Running
            | Phase::Closing { .. } => None,
        }
    }

    /// Whether anything has come: a probe that says nothing leaves no line (S48).
    const fn has_spoken(&self) -> bool {
        !matches!(self.phase, Phase::AwaitingHeader) || self.bytes_min > 1
    }

    pub(super) fn next(&self) -> Next {
        match self.reads_ahead() {
            Some(bytes_min) => Next::ReadAhead { bytes_min },
            None => self.halted().unwrap_or(Next::Read { bytes_min: self.bytes_min }),
        }
    }

    /// The frame at the front of the input, or the header before all frames.
    fn step(&mut self, input: &[u8], cx: &mut Context<'_>) -> Step {
        if matches!(self.phase, Phase::AwaitingHeader) {
            return self.on_protocol_header(input, cx);
        }
        match frame::decode(input, self.incoming_bytes_max()) {
            Ok(Decoded::NeedMore { bytes_min }) => Step::NeedMore(bytes_min),
            Ok(Decoded::Frame { frame, taken }) => self.on_frame(frame, taken, input, cx),
            Err(error) => {
                if matches!(self.phase, Phase::Closing { .. }) {
                    self.phase = Phase::Closed;
                } else {
                    let fault = Fault::new(ReplyCode::FrameError, error.to_string());
                    self.close_connection(fault, (0, 0), cx);
                }
                // The rest has no meaning any more.
                Step::Took(input.len())
            }
        }
    }

    /// Looks at what the output has gained since `out_before` was noted.
    fn note_output(&mut self, cx: &Context<'_>) {
        if cx.out.len() > self.out_before {
            self.live.wrote(cx.now.mono_ms);
        }
        if self.look_ms.is_none() && self.needs_look() {
            self.look_ms = NonZeroU64::new(cx.now.mono_ms.saturating_add(LOOK_EVERY_MS));
        }
    }

    fn needs_look(&self) -> bool {
        self.link.assemblies > 0 || self.link.has_timeouts
    }

    fn on_running_tick(&mut self, cx: &mut Context<'_>) {
        let now_ms = cx.now.mono_ms;
        let is_read = self.halted().is_none() && !is_full(cx);
        if !is_read {
            self.live.heard(now_ms);
        }
        self.held_until_ms = self.held_until_ms.filter(|until_ms| until_ms.get() > now_ms);
        match self.live.judge(now_ms, is_read) {
            Verdict::Fine => {}
            Verdict::Send => frame::put_heartbeat(cx.out.buffer()),
            Verdict::Dead => {
                tell!(warn, self.link, "connection lost: missed heartbeats from client");
                self.abandon(cx);
                return;
            }
        }
        if self.look_ms.is_some_and(|at_ms| at_ms.get() <= now_ms) {
            let next_ms = NonZeroU64::new(now_ms.saturating_add(LOOK_EVERY_MS));
            self.look_ms = next_ms.filter(|_| self.needs_look());
            self.look(cx);
        }
    }

    /// Looks for bodies that do not go on and deliveries that nobody settles.
    fn look(&mut self, cx: &mut Context<'_>) {
        let now_ms = cx.now.mono_ms;
        let mut overdue = None;
        for slot in &self.slots {
            let Slot::Used(channel) = slot else { continue };
            if channel.is_stalled(now_ms) {
                let detail = format!("content on channel {} does not go on", channel.number);
                let fault = Fault::new(ReplyCode::ResourceError, detail);
                return self.close_connection(fault, (60, 40), cx);
            }
            if overdue.is_none() {
                overdue = channel.overdue_ms(now_ms).map(|ms| (channel.number, ms));
            }
        }
        // One at a time, and never while a command of another channel is under way: the next look
        // finds the others.
        let Some((number, ms)) = overdue.filter(|_| self.waiting.is_none()) else { return };
        let detail = format!(
            "delivery acknowledgement on channel {number} timed out. Timeout value used: {ms} ms. \
             This timeout value can be configured"
        );
        self.fail(number, Fault::new(ReplyCode::PreconditionFailed, detail), (0, 0), cx);
    }

    fn on_broker_answer(&mut self, number: u16, answer: Answer, cx: &mut Context<'_>) {
        if matches!(self.phase, Phase::Ending { .. }) && number == 0 {
            return self.say_farewell(cx);
        }
        match self.waiting.take() {
            Some(waiting) if waiting.channel == number => self.on_awaited(waiting, answer, cx),
            other => {
                // The connection ends meanwhile, or the broker errs. A message is not lost by it.
                self.waiting = other;
                if let Answer::Got { delivery, .. } = answer {
                    send_back(&delivery, &self.link, cx);
                }
            }
        }
    }

    fn on_awaited(&mut self, waiting: Waiting, answer: Answer, cx: &mut Context<'_>) {
        let Waiting { channel: number, cause, then } = waiting;
        let then = match then {
            Then::ChannelClosed => return self.confirm_close(number, cx),
            Then::ChannelFailed { fault, method } => {
                return self.send_channel_close(number, &fault, method, cx);
            }
            Then::Nothing
            | Then::Reply(_)
            | Then::QueueDeclared { .. }
            | Then::Purged { .. }
            | Then::Deleted { .. }
            | Then::Consuming { .. }
            | Then::Replying { .. }
            | Then::Cancelled { .. }
            | Then::Got { .. }
            | Then::Bound { .. }
            | Then::Showing
            | Then::Committed => then,
        };
        let Some((channel, link)) = self.channel_and_link(number) else { return };
        match channel.on_answer(then, answer, link, cx) {
            Ok(()) if channel.showing.is_some() => {
                self.waiting = Some(Waiting { channel: number, cause, then: Then::Showing });
            }
            Ok(()) => {}
            Err(fault) => self.fail(number, fault, cause, cx),
        }
    }

    /// A retained message is in its queue.
    fn on_shown(&mut self, number: u16, cx: &mut Context<'_>) {
        let Some((channel, link)) = self.listening(number) else { return };
        let result = channel.on_shown(link, cx);
        let is_it = |w: &Waiting| w.channel == number && matches!(w.then, Then::Showing);
        if !matches!(result, Ok(false)) && self.waiting.as_ref().is_some_and(is_it) {
            self.waiting = None;
        }
        if let Err(fault) = result {
            self.fail(number, fault, (50, 20), cx);
        }
    }

    fn dispatch_event(&mut self, event: Event, cx: &mut Context<'_>) {
        match event {
            Event::Delivery(delivery) => match self.channel_and_link(delivery.channel.0) {
                Some((channel, link)) => channel.deliver(&delivery, link, cx),
                None => send_back(&delivery, &self.link, cx),
            },
            Event::Answer { channel, answer } => self.on_broker_answer(channel.0, answer, cx),
            Event::Stored { channel, seq: SHOWN, accepted: _ } => self.on_shown(channel.0, cx),
            Event::Stored { channel, seq, accepted } => {
                let Some((open, link)) = self.listening(channel.0) else { return };
                match open.on_stored(seq, accepted, link, cx) {
                    Ok(false) => {}
                    Ok(true) => self.commit_is_over(channel.0),
                    Err(fault) => {
                        self.commit_is_over(channel.0);
                        self.fail(channel.0, fault, (90, 20), cx);
                    }
                }
            }
            Event::Returned { channel, message } => {
                if let Some((channel, link)) = self.listening(channel.0) {
                    channel.on_returned(&message, link, cx);
                }
            }
            Event::ConsumerGone { channel, consumer } => {
                if let Some((channel, link)) = self.listening(channel.0) {
                    channel.on_consumer_gone(consumer, link, cx);
                }
            }
            Event::PublishResumed => {
                self.is_paused = false;
                self.stop_looking_ahead();
            }
            Event::Retained { channel, message } => {
                if let Some((channel, link)) = self.listening(channel.0) {
                    channel.on_retained(&message, link, cx);
                }
            }
            // Said to sessions that are remembered only; there are none here.
            Event::TakenOver | Event::SubscriptionsGone { .. } => {}
            Event::Alarm(alarm) => self.on_alarm(alarm, cx),
            Event::LoginChecked(verdict) => {
                if let Phase::CheckingLogin(checking) = &mut self.phase {
                    *checking = Checking::Known(verdict);
                }
            }
            Event::Close { reason } => {
                let fault = Fault::new(ReplyCode::ConnectionForced, String::from(reason));
                self.close_connection(fault, (0, 0), cx);
            }
        }
    }

    fn commit_is_over(&mut self, number: u16) {
        let is_commit = |w: &Waiting| w.channel == number && matches!(w.then, Then::Committed);
        if self.waiting.as_ref().is_some_and(is_commit) {
            self.waiting = None;
        }
    }
}

/// The output holds twice what it should: nothing more is taken in that could add to it. Up to
/// there a consumer that is slow to read may still acknowledge and beat its heart.
fn is_full(cx: &Context<'_>) -> bool {
    u64::try_from(cx.out.len()).unwrap_or(u64::MAX) / 2 >= OUTPUT_BYTES_HIGH
}

impl Session for Amqp {
    fn on_bytes(&mut self, input: &[u8], cx: &mut Context<'_>) -> (usize, Next) {
        self.out_before = cx.out.len();
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
            if let Some(octets) = self.passes_over(rest, taken) {
                taken = taken.saturating_add(octets);
                continue;
            }
            match self.step(rest, cx) {
                Step::Took(octets) => taken = taken.saturating_add(octets),
                Step::NeedMore(bytes_min) => break Next::Read { bytes_min },
                Step::Hold => break self.halted().unwrap_or(Next::Wait),
            }
        };
        if let Some(ahead) = &mut self.ahead {
            ahead.took(taken);
        }
        self.unread = input.len().saturating_sub(taken);
        self.bytes_min = if let Next::Read { bytes_min } = next { bytes_min } else { 1 };
        let next = if self.is_paused {
            self.look_ahead(input.get(taken..).unwrap_or_default(), cx);
            self.next()
        } else {
            next
        };
        self.note_output(cx);
        (taken, next)
    }

    fn on_event(&mut self, event: Event, cx: &mut Context<'_>) -> Next {
        self.out_before = cx.out.len();
        let was_halted = self.halted().is_some();
        self.dispatch_event(event, cx);
        if was_halted && self.halted().is_none() {
            // What the peer said meanwhile has not been read yet (S82).
            self.live.heard(cx.now.mono_ms);
        }
        self.note_output(cx);
        self.next()
    }

    fn on_tick(&mut self, cx: &mut Context<'_>) -> (Next, Option<u64>) {
        self.out_before = cx.out.len();
        let now_ms = cx.now.mono_ms;
        match &self.phase {
            Phase::AwaitingHeader
            | Phase::AwaitingStartOk
            | Phase::CheckingLogin(_)
            | Phase::AwaitingTuneOk
            | Phase::AwaitingOpen => {
                if now_ms >= self.link.peer.accepted_ms.saturating_add(HANDSHAKE_MS_MAX) {
                    if self.has_spoken() {
                        tell!(info, self.link, "handshake timed out");
                    }
                    self.abandon(cx);
                }
            }
            Phase::Running => self.on_running_tick(cx),
            Phase::Refusing { until_ms, .. } if *until_ms <= now_ms => self.refuse_login(cx),
            Phase::Ending { until_ms, .. } if *until_ms <= now_ms => self.say_farewell(cx),
            Phase::Closing { until_ms } if *until_ms <= now_ms => self.phase = Phase::Closed,
            Phase::Refusing { .. }
            | Phase::Ending { .. }
            | Phase::Closing { .. }
            | Phase::Closed => {}
        }
        self.note_output(cx);
        (self.next(), self.deadline_ms())
    }

    fn deadline_ms(&self) -> Option<u64> {
        match self.phase {
            Phase::AwaitingHeader
            | Phase::AwaitingStartOk
            | Phase::CheckingLogin(_)
            | Phase::AwaitingTuneOk
            | Phase::AwaitingOpen => {
                Some(self.link.peer.accepted_ms.saturating_add(HANDSHAKE_MS_MAX))
            }
            Phase::Refusing { until_ms, .. }
            | Phase::Ending { until_ms, .. }
            | Phase::Closing { until_ms } => Some(until_ms),
            Phase::Running => {
                let own = [self.look_ms, self.held_until_ms].into_iter().flatten();
                own.map(NonZeroU64::get).chain(self.live.deadline_ms()).min()
            }
            Phase::Closed => None,
        }
    }

    fn on_turn_end(&mut self, cx: &mut Context<'_>) {
        self.out_before = cx.out.len();
        let mut numbers = std::mem::take(&mut self.link.to_report);
        if matches!(self.phase, Phase::Running) {
            for number in &numbers {
                if let Some(channel) = self.channel(*number) {
                    channel.report(cx);
                }
            }
        }
        // The list keeps its memory.
        numbers.clear();
        self.link.to_report = numbers;
        self.note_output(cx);
    }

    fn describe(&self, report: &mut ConnectionReport) {
        self.describe_to(report);
    }

    fn on_lost(&mut self, why: &str, cx: &mut Context<'_>) {
        let open_count = u64::try_from(std::mem::take(&mut self.open_count)).unwrap_or_default();
        cx.broker.counters_mut().channels_closed += open_count;
        match self.phase {
            Phase::Running => tell!(info, self.link, why, "connection lost"),
            Phase::AwaitingHeader
            | Phase::AwaitingStartOk
            | Phase::CheckingLogin(_)
            | Phase::AwaitingTuneOk
            | Phase::AwaitingOpen => {
                if self.has_spoken() {
                    tell!(info, self.link, why, "connection lost before it was opened");
                }
            }
            // These have their line.
            Phase::Refusing { .. }
            | Phase::Ending { .. }
            | Phase::Closing { .. }
            | Phase::Closed => {}
        }
        self.abandon(cx);
    }

    fn on_stop(&mut self, cx: &mut Context<'_>) -> Next {
        self.out_before = cx.out.len();
        let fault = Fault::new(ReplyCode::ConnectionForced, "broker is shutting down");
        self.close_connection(fault, (0, 0), cx);
        self.note_output(cx);
        self.next()
    }
}
