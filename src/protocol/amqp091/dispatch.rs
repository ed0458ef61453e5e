//! Which frame goes where, on which channel (AMQP 0-9-1 4.2; P4, P10, P16, P19, P72; L9; abuse
//! rows 11 to 16, 27, 28, 47). May import the files of this folder, `broker`, `command`.

use std::num::NonZeroU64;

use crate::command::AlarmReason;
use crate::protocol::{Checking, Context};

use super::channel::{Channel, Flow, Phase as ChannelPhase, unexpected};
use super::closing::put_on_connection;
use super::publish::Content;
use super::reply_code::{Fault, Place, ReplyCode, opening_fault};
use super::session::{Amqp, Phase, Slot, Step, Waiting};
use super::wire::frame::{self, Frame};
use super::wire::method::{self, Basic, Connection, Method, MethodError, basic, connection};
use super::wire::method_table::BASIC;

/// Class and method id of basic.publish: what a fault in content is about.
const PUBLISH: (u16, u16) = (BASIC, 40);

/// What a channel number is at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Fresh,
    Closed,
    Open,
    /// We closed it, the client has not confirmed.
    Closing,
}

impl Amqp {
    pub(super) fn on_frame(
        &mut self,
        frame: Frame<'_>,
        taken: usize,
        input: &[u8],
        cx: &mut Context<'_>,
    ) -> Step {
        if matches!(self.phase, Phase::Closing { .. }) {
            return self.on_frame_while_closing(frame, taken, cx);
        }
        match frame {
            Frame::Method { channel: 0, payload } => {
                self.on_connection_method(payload, cx);
                if matches!(self.phase, Phase::CheckingLogin(Checking::Asked)) {
                    return Step::Hold;
                }
            }
            Frame::Heartbeat { channel } => self.on_heartbeat(channel, cx),
            Frame::Header { channel: 0, .. } | Frame::Body { channel: 0, .. } => {
                let fault = Fault::new(ReplyCode::UnexpectedFrame, "content on channel 0");
                self.close_connection(fault, (0, 0), cx);
            }
            Frame::Method { .. } | Frame::Header { .. } | Frame::Body { .. }
                if !matches!(self.phase, Phase::Running) =>
            {
                let detail = "channel used before connection.open";
                self.close_connection(Fault::new(ReplyCode::ChannelError, detail), (0, 0), cx);
            }
            Frame::Method { channel, payload } => {
                let behind = input.get(taken..).unwrap_or_default();
                return self.on_channel_method(channel, payload, (taken, behind), cx);
            }
            Frame::Header { channel, payload } => {
                self.on_content(channel, cx, |open, link, cx| open.on_header(payload, link, cx));
            }
            Frame::Body { channel, payload } => {
                self.on_content(channel, cx, |open, link, cx| open.on_body(payload, link, cx));
            }
        }
        Step::Took(taken)
    }

    /// A heartbeat: any octet is as good, so only the rules are looked at.
    fn on_heartbeat(&mut self, channel: u16, cx: &mut Context<'_>) {
        let fault = if channel != 0 {
            Fault::new(ReplyCode::UnexpectedFrame, format!("heartbeat on channel {channel}"))
        } else if !self.live.allow_heartbeat(cx.now.mono_ms) {
            Fault::new(ReplyCode::NotAllowed, "too many heartbeats")
        } else {
            return;
        };
        self.close_connection(fault, (0, 0), cx);
    }

    fn on_connection_method(&mut self, payload: &[u8], cx: &mut Context<'_>) {
        let (result, id) = match Method::decode(payload) {
            Err(error) => (Err(fault_of(error)), ids(payload)),
            Ok(Method::Connection(method)) => {
                let result = if matches!(self.phase, Phase::Running) {
                    self.on_running_method(&method, cx)
                } else {
                    self.on_handshake_method(&method, cx)
                };
                (result, ids(payload))
            }
            Ok(_) => {
                let detail = "only methods of class connection go on channel 0";
                (Err(Fault::new(ReplyCode::CommandInvalid, detail)), ids(payload))
            }
        };
        if let Err(fault) = result {
            self.close_connection(fault, id, cx);
        }
    }

    fn on_running_method(
        &mut self,
        method: &Connection<'_>,
        cx: &mut Context<'_>,
    ) -> Result<(), Fault> {
        match method {
            Connection::Close(close) => self.on_client_close(close, cx),
            Connection::UpdateSecret(secret) => self.on_update_secret(secret, cx),
            // An answer to nothing.
            Connection::CloseOk => {}
            Connection::Start(_)
            | Connection::StartOk(_)
            | Connection::Secure(_)
            | Connection::SecureOk(_)
            | Connection::Tune(_)
            | Connection::TuneOk(_)
            | Connection::Open(_)
            | Connection::OpenOk(_)
            | Connection::Blocked(_)
            | Connection::Unblocked
            | Connection::UpdateSecretOk => return Err(unexpected()),
        }
        Ok(())
    }

    fn state(&self, number: u16) -> State {
        let slot = usize::from(number).checked_sub(1).and_then(|index| self.slots.get(index));
        match slot {
            None | Some(Slot::Fresh) => State::Fresh,
            Some(Slot::Closed { .. }) => State::Closed,
            Some(Slot::Used(channel)) => match channel.phase {
                ChannelPhase::Open => State::Open,
                ChannelPhase::Ending | ChannelPhase::Closing => State::Closing,
            },
        }
    }

    /// `place`: octets of the frame, and the input behind it.
    fn on_channel_method(
        &mut self,
        number: u16,
        payload: &[u8],
        place: (usize, &[u8]),
        cx: &mut Context<'_>,
    ) -> Step {
        let (taken, behind) = place;
        let result = match self.state(number) {
            State::Open => match Method::decode(payload) {
                Ok(Method::Basic(Basic::Publish(publish))) => {
                    return self.on_publish(number, &publish, place, cx);
                }
                Ok(method) => self.on_open_channel(number, &method, cx),
                Err(error) => Err(fault_of(error)),
            },
            State::Closing => {
                self.on_closing_channel(number, payload, cx);
                Ok(())
            }
            State::Fresh | State::Closed => self.on_no_channel(number, payload, cx),
        };
        debug_assert!(behind.len() <= usize::MAX - taken);
        if let Err(fault) = result {
            self.fail(number, fault, ids(payload), cx);
        }
        Step::Took(taken)
    }

    fn on_publish(
        &mut self,
        number: u16,
        publish: &basic::Publish<'_>,
        (taken, behind): (usize, &[u8]),
        cx: &mut Context<'_>,
    ) -> Step {
        if cx.broker.publish_paused(self.link.id()) {
            self.is_paused = true;
            self.announce_alarm(cx.broker.alarm(), cx);
            return Step::Hold;
        }
        let Some((channel, link)) = self.channel_and_link(number) else {
            return Step::Took(taken);
        };
        let result = if channel.assembly.is_idle() {
            channel.publish(publish, behind, link, cx)
        } else {
            Err(interrupted())
        };
        match result {
            Ok(Content::Took(more)) => Step::Took(taken.saturating_add(more)),
            Ok(Content::NeedMore(bytes_min)) => Step::NeedMore(taken.saturating_add(bytes_min)),
            Err(fault) => {
                // What is left of the publish is discarded with all that follows on the channel.
                self.fail(number, fault, PUBLISH, cx);
                Step::Took(taken)
            }
        }
    }

    fn on_open_channel(
        &mut self,
        number: u16,
        method: &Method<'_>,
        cx: &mut Context<'_>,
    ) -> Result<(), Fault> {
        let Some((channel, link)) = self.channel_and_link(number) else { return Ok(()) };
        if !channel.assembly.is_idle() {
            return Err(interrupted());
        }
        match channel.on_method(method, link, cx)? {
            Flow::Go => {}
            Flow::Wait(then) => {
                self.waiting = Some(Waiting { channel: number, cause: method.id(), then });
            }
            Flow::Close => self.close_channel(number, cx),
        }
        Ok(())
    }

    /// A settlement out of turn.
    pub(super) fn settle_ahead(&mut self, number: u16, method: &Method<'_>, cx: &mut Context<'_>) {
        if let Err(fault) = self.on_open_channel(number, method, cx) {
            self.fail(number, fault, method.id(), cx);
        }
    }

    /// After our channel.close only the client's answer counts, or its own close that crossed ours.
    fn on_closing_channel(&mut self, number: u16, payload: &[u8], cx: &mut Context<'_>) {
        match Method::decode(payload) {
            Ok(Method::Channel(method::Channel::CloseOk)) => self.free(number, cx),
            Ok(Method::Channel(method::Channel::Close(_))) => self.confirm_close(number, cx),
            Ok(Method::Channel(method::Channel::Open(_))) => {
                // P19
                let fault = Fault::new(ReplyCode::ChannelError, "second 'channel.open' seen");
                self.close_connection(fault, ids(payload), cx);
            }
            Ok(_) | Err(_) => {}
        }
    }

    fn on_no_channel(
        &mut self,
        number: u16,
        payload: &[u8],
        cx: &mut Context<'_>,
    ) -> Result<(), Fault> {
        if number > self.link.channel_max {
            let (open, max) = (self.open_count, self.link.channel_max);
            let detail = format!(
                "number of channels opened ({open}) has reached the negotiated channel_max ({max})"
            );
            return Err(Fault::new(ReplyCode::NotAllowed, detail));
        }
        let was_open = self.state(number) == State::Closed;
        match Method::decode(payload).map_err(fault_of)? {
            Method::Channel(method::Channel::Open(_)) => self.open_channel(number, cx),
            Method::Connection(_) => {
                let detail = "methods of class connection go on channel 0";
                Err(Fault::new(ReplyCode::CommandInvalid, detail))
            }
            // Sent before the client knew that its channel is closed (L9).
            Method::Channel(method::Channel::CloseOk)
            | Method::Basic(
                Basic::Publish(_) | Basic::Ack(_) | Basic::Nack(_) | Basic::Reject(_),
            ) if was_open => Ok(()),
            Method::Channel(_)
            | Method::Access(_)
            | Method::Exchange(_)
            | Method::Queue(_)
            | Method::Basic(_)
            | Method::Confirm(_)
            | Method::Tx(_) => Err(Fault::new(ReplyCode::ChannelError, "expected 'channel.open'")),
        }
    }

    fn open_channel(&mut self, number: u16, cx: &mut Context<'_>) -> Result<(), Fault> {
        let Some(index) = usize::from(number).checked_sub(1) else { return Ok(()) };
        cx.broker.open_channel(self.link.id()).map_err(|refusal| {
            let place = Place { vhost: &self.link.vhost, user: self.link.user() };
            opening_fault(refusal, place)
        })?;
        if self.slots.len() <= index {
            self.slots.resize_with(index.saturating_add(1), || Slot::Fresh);
        }
        let Some(slot) = self.slots.get_mut(index) else { return Ok(()) };
        let seq_base = if let Slot::Closed { seq_base } = slot { *seq_base } else { 0 };
        *slot = Slot::Used(Box::new(Channel::new(number, seq_base)));
        self.open_count = self.open_count.saturating_add(1);
        cx.broker.counters_mut().channels_opened += 1;
        self.held_until_ms = self.live.note_open(cx.now.mono_ms).and_then(NonZeroU64::new);
        let ok = method::channel::OpenOk { channel_id: &[] };
        frame::put_method(cx.out.buffer(), number, &ok);
        Ok(())
    }

    /// A header or body frame.
    fn on_content(
        &mut self,
        number: u16,
        cx: &mut Context<'_>,
        act: impl FnOnce(&mut Channel, &mut super::link::Link, &mut Context<'_>) -> Result<(), Fault>,
    ) {
        let result = match self.state(number) {
            State::Open => match self.channel_and_link(number) {
                Some((channel, link)) => act(channel, link, cx),
                None => Ok(()),
            },
            State::Closed | State::Closing => Ok(()),
            State::Fresh => Err(Fault::new(ReplyCode::ChannelError, "expected 'channel.open'")),
        };
        if let Err(fault) = result {
            self.fail(number, fault, PUBLISH, cx);
        }
    }

    pub(super) fn on_alarm(&mut self, alarm: Option<AlarmReason>, cx: &mut Context<'_>) {
        if !matches!(self.phase, Phase::Running) {
            return;
        }
        if alarm.is_some() {
            // Clients that do not publish are not told (R47). Those whose next publish the disk
            // would refuse are told in time.
            if self.is_paused || alarm == Some(AlarmReason::Disk) {
                self.announce_alarm(alarm, cx);
            }
        } else if std::mem::take(&mut self.is_blocked) {
            put_on_connection(&Method::Connection(Connection::Unblocked), cx);
        }
    }

    /// connection.blocked, once, to those who understand it (S73, R47).
    fn announce_alarm(&mut self, alarm: Option<AlarmReason>, cx: &mut Context<'_>) {
        let Some(alarm) = alarm.filter(|_| !self.is_blocked) else { return };
        if !self.link.capabilities.connection_blocked {
            return;
        }
        self.is_blocked = true;
        let reason = match alarm {
            AlarmReason::Memory => "low on memory",
            AlarmReason::Disk => "low on disk",
        };
        let blocked = connection::Blocked { reason };
        put_on_connection(&Method::Connection(Connection::Blocked(blocked)), cx);
    }
}

/// P4
fn interrupted() -> Fault {
    Fault::new(ReplyCode::UnexpectedFrame, "expected content, got a method instead")
}

fn fault_of(error: MethodError) -> Fault {
    match error {
        MethodError::Unknown { .. } => {
            Fault::new(ReplyCode::CommandInvalid, "unimplemented method")
        }
        MethodError::Syntax(error) => Fault::new(ReplyCode::SyntaxError, error.to_string()),
    }
}

/// Class and method id at the front of a payload, as close methods name a cause.
fn ids(payload: &[u8]) -> (u16, u16) {
    match payload.first_chunk::<4>() {
        Some(&[a, b, c, d]) => (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])),
        None => (0, 0),
    }
}
