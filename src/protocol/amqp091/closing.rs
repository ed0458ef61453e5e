//! How channels and connections end: on the client's wish, for an error, or because the peer is
//! gone (P19, P66, P72). May import the files of this folder, `broker`, `command`.

use crate::command::Command;
use crate::limits::CLOSE_MS_MAX;
use crate::protocol::Context;

use super::channel::{self, Then};
use super::link::{channel_id, tell};
use super::reply_code::Fault;
use super::session::{Amqp, Phase, Slot, Step, Waiting};
use super::wire::frame::{self, Frame};
use super::wire::method::{self, Channel, Connection, Method, connection};

/// The last thing said.
#[derive(Debug)]
pub(super) enum Farewell {
    /// The client closes: connection.close-ok.
    CloseOk,
    /// We close: connection.close.
    Close { fault: Fault, method: (u16, u16) },
}

impl Amqp {
    /// Closes what the fault says: the channel, or the connection.
    pub(super) fn fail(
        &mut self,
        number: u16,
        fault: Fault,
        method: (u16, u16),
        cx: &mut Context<'_>,
    ) {
        if fault.is_hard || number == 0 || self.channel(number).is_none() {
            self.close_connection(fault, method, cx);
        } else {
            self.fail_channel(number, fault, method, cx);
        }
    }

    /// Ends a channel for an error: first the broker takes back what is out, then the client is
    /// told, so that whoever reads the news finds the messages back in their queues.
    fn fail_channel(
        &mut self,
        number: u16,
        fault: Fault,
        method: (u16, u16),
        cx: &mut Context<'_>,
    ) {
        tell!(
            warn,
            self.link,
            channel = number,
            code = fault.code.number(),
            text = fault.text(),
            "channel closed by the broker"
        );
        if self.wind_up(number, cx) {
            self.send_channel_close(number, &fault, method, cx);
        } else {
            let then = Then::ChannelFailed { fault, method };
            self.waiting = Some(Waiting { channel: number, cause: method, then });
        }
    }

    /// channel.close from the client.
    pub(super) fn close_channel(&mut self, number: u16, cx: &mut Context<'_>) {
        if self.wind_up(number, cx) {
            self.confirm_close(number, cx);
        } else {
            let then = Then::ChannelClosed;
            self.waiting = Some(Waiting { channel: number, cause: (0, 0), then });
        }
    }

    /// Gives everything of a channel back to the broker; `true` when that is complete.
    fn wind_up(&mut self, number: u16, cx: &mut Context<'_>) -> bool {
        let Some((channel, link)) = self.channel_and_link(number) else { return true };
        // What was stored until now is confirmed before the farewell.
        channel.report(cx);
        channel.phase = channel::Phase::Ending;
        channel.give_back(link, cx);
        let id = link.id();
        cx.broker.execute(id, channel_id(number), Command::CloseChannel, cx.now).is_some()
    }

    /// channel.close to the client; what follows on the channel is discarded.
    pub(super) fn send_channel_close(
        &mut self,
        number: u16,
        fault: &Fault,
        method: (u16, u16),
        cx: &mut Context<'_>,
    ) {
        self.report_last(number, cx);
        let text = fault.text();
        let close = method::channel::Close {
            reply_code: fault.code.number(),
            reply_text: &text,
            class_id: method.0,
            method_id: method.1,
        };
        frame::put_method(cx.out.buffer(), number, &close);
        if let Some(channel) = self.channel(number) {
            channel.phase = channel::Phase::Closing;
        }
    }

    /// channel.close-ok to the client; the number is free again.
    pub(super) fn confirm_close(&mut self, number: u16, cx: &mut Context<'_>) {
        self.report_last(number, cx);
        frame::put_method(cx.out.buffer(), number, &Method::Channel(Channel::CloseOk));
        self.free(number, cx);
    }

    /// What was stored while the broker wound the channel up is confirmed before the farewell.
    fn report_last(&mut self, number: u16, cx: &mut Context<'_>) {
        if let Some(channel) = self.channel(number).filter(|c| c.phase == channel::Phase::Ending) {
            channel.report(cx);
        }
    }

    /// The number may be opened again.
    pub(super) fn free(&mut self, number: u16, cx: &mut Context<'_>) {
        let index = usize::from(number).checked_sub(1);
        let Some(slot) = index.and_then(|index| self.slots.get_mut(index)) else { return };
        if let Slot::Used(channel) = slot {
            let seq_base = channel.seq_end();
            let past = self.past.get_or_insert_default();
            **past = past.plus(&channel.counts);
            *slot = Slot::Closed { seq_base };
            self.open_count = self.open_count.saturating_sub(1);
            cx.broker.counters_mut().channels_closed += 1;
        }
    }

    /// Ends the connection for an error.
    pub(super) fn close_connection(
        &mut self,
        fault: Fault,
        method: (u16, u16),
        cx: &mut Context<'_>,
    ) {
        tell!(
            warn,
            self.link,
            code = fault.code.number(),
            text = fault.text(),
            "connection closed by the broker"
        );
        self.close_told(fault, method, cx);
    }

    /// The same where the log has its line already (S49: one each).
    pub(super) fn close_told(&mut self, fault: Fault, method: (u16, u16), cx: &mut Context<'_>) {
        match self.phase {
            // Nothing is spoken yet that the client would understand.
            Phase::AwaitingHeader | Phase::Refusing { .. } => self.phase = Phase::Closed,
            Phase::AwaitingStartOk
            | Phase::CheckingLogin(_)
            | Phase::AwaitingTuneOk
            | Phase::AwaitingOpen
            | Phase::Running => self.end(Farewell::Close { fault, method }, cx),
            Phase::Ending { .. } | Phase::Closing { .. } | Phase::Closed => {}
        }
    }

    /// connection.close from the client.
    pub(super) fn on_client_close(&mut self, close: &connection::Close<'_>, cx: &mut Context<'_>) {
        tell!(
            info,
            self.link,
            code = close.reply_code,
            text = close.reply_text,
            "connection closed by the client"
        );
        self.end(Farewell::CloseOk, cx);
    }

    /// Gives everything back; the farewell is said when the broker has taken it (P34, S74).
    fn end(&mut self, farewell: Farewell, cx: &mut Context<'_>) {
        self.report_all(cx);
        let is_done = self.give_back_all(cx);
        let until_ms = cx.now.mono_ms.saturating_add(CLOSE_MS_MAX);
        self.phase = Phase::Ending { farewell, until_ms };
        if is_done {
            self.say_farewell(cx);
        }
    }

    fn report_all(&mut self, cx: &mut Context<'_>) {
        for number in std::mem::take(&mut self.link.to_report) {
            if let Some(channel) = self.channel(number) {
                channel.report(cx);
            }
        }
    }

    /// `true` when the broker has taken all of it.
    fn give_back_all(&mut self, cx: &mut Context<'_>) -> bool {
        self.waiting = None;
        self.is_paused = false;
        if self.link.vhost.is_empty() {
            return true;
        }
        for slot in &mut self.slots {
            if let Slot::Used(channel) = slot {
                // Of a channel that we have closed nothing more is told.
                if channel.phase == channel::Phase::Open {
                    channel.phase = channel::Phase::Ending;
                }
                channel.give_back(&mut self.link, cx);
            }
        }
        let (id, whole) = (self.link.id(), channel_id(0));
        cx.broker.execute(id, whole, Command::CloseConnection, cx.now).is_some()
    }

    /// The broker has taken everything back, or has had time enough.
    pub(super) fn say_farewell(&mut self, cx: &mut Context<'_>) {
        self.report_all(cx);
        let until_ms = cx.now.mono_ms.saturating_add(CLOSE_MS_MAX);
        match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Ending { farewell: Farewell::CloseOk, .. } => {
                put_on_connection(&Method::Connection(Connection::CloseOk), cx);
            }
            Phase::Ending { farewell: Farewell::Close { fault, method }, .. } => {
                let text = fault.text();
                let close = connection::Close {
                    reply_code: fault.code.number(),
                    reply_text: &text,
                    class_id: method.0,
                    method_id: method.1,
                };
                put_on_connection(&Method::Connection(Connection::Close(close)), cx);
                self.phase = Phase::Closing { until_ms };
            }
            Phase::AwaitingHeader
            | Phase::AwaitingStartOk
            | Phase::CheckingLogin(_)
            | Phase::Refusing { .. }
            | Phase::AwaitingTuneOk
            | Phase::AwaitingOpen
            | Phase::Running
            | Phase::Closing { .. }
            | Phase::Closed => {}
        }
    }

    /// The peer is gone, or not worth a word.
    pub(super) fn abandon(&mut self, cx: &mut Context<'_>) {
        match self.phase {
            Phase::Running => {
                // Nobody waits for the answer.
                self.give_back_all(cx);
                self.phase = Phase::Closed;
            }
            Phase::AwaitingHeader
            | Phase::AwaitingStartOk
            | Phase::CheckingLogin(_)
            | Phase::Refusing { .. }
            | Phase::AwaitingTuneOk
            | Phase::AwaitingOpen
            | Phase::Ending { .. }
            | Phase::Closing { .. }
            | Phase::Closed => self.phase = Phase::Closed,
        }
    }

    /// A frame after our connection.close: only its answer counts, and a connection.close that
    /// crossed ours.
    pub(super) fn on_frame_while_closing(
        &mut self,
        frame: Frame<'_>,
        taken: usize,
        cx: &mut Context<'_>,
    ) -> Step {
        if let Frame::Method { channel: 0, payload } = frame {
            match Method::decode(payload) {
                Ok(Method::Connection(Connection::CloseOk)) => self.phase = Phase::Closed,
                Ok(Method::Connection(Connection::Close(_))) => {
                    put_on_connection(&Method::Connection(Connection::CloseOk), cx);
                }
                Ok(_) | Err(_) => {}
            }
        }
        Step::Took(taken)
    }
}

/// Sends a method on channel 0.
pub(super) fn put_on_connection(method: &Method<'_>, cx: &mut Context<'_>) {
    frame::put_method(cx.out.buffer(), 0, method);
}
