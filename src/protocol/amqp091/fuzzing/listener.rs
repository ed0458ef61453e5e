//! What a client hears, and what must hold of it whatever it said: whole frames within the agreed
//! size, contents complete and in one piece, nothing on a channel that is closed, nothing after the
//! farewell (AMQP 0-9-1 2.2.4, 4.2.3, 4.2.6). May import the codec.

use std::collections::BTreeMap;

use crate::protocol::amqp091::wire::frame::{self, Frame};
use crate::protocol::amqp091::wire::method::{
    Basic, Channel, Connection, Method, Queue, basic, connection,
};
use crate::protocol::amqp091::wire::method_table::find;
use crate::protocol::amqp091::wire::properties::{ContentHeader, Properties};
use crate::protocol::amqp091::wire::protocol_header::PROTOCOL_HEADER;
use crate::protocol::octets::Decoded;

/// What must come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    AnyFrame,
    HeaderOn(u16),
    BodyOn(u16, u64),
}

/// How far the server has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Nothing,
    Something,
    Close,
    /// connection.close-ok, or the protocol header.
    Last,
}

/// What the server has said of a channel number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open {
        tag: u64,
    },
    /// channel.close.
    Closing,
    Closed,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Listener {
    /// Octets that are no whole frame yet.
    rest: Vec<u8>,
    pub(super) octets: usize,
    said: Said,
    expected: Expected,
    channels: BTreeMap<u16, State>,
    /// Names of queues that were declared.
    pub(super) queues: Vec<String>,
    /// The last one heard.
    pub(super) reply_to: String,
    /// The delivery tag heard last, on any channel.
    pub(super) tag: u64,
    /// What a polite client answers.
    pub(super) answers: Vec<u8>,
}

impl Listener {
    pub(super) const fn new() -> Self {
        Self {
            rest: Vec::new(),
            octets: 0,
            said: Said::Nothing,
            expected: Expected::AnyFrame,
            channels: BTreeMap::new(),
            queues: Vec::new(),
            reply_to: String::new(),
            tag: 0,
            answers: Vec::new(),
        }
    }

    pub(super) fn hear(&mut self, octets: &[u8], frame_bytes_max: u32) {
        self.octets = self.octets.saturating_add(octets.len());
        self.rest.extend_from_slice(octets);
        let rest = std::mem::take(&mut self.rest);
        let mut rest = &rest[..];
        if self.said == Said::Nothing && rest == PROTOCOL_HEADER {
            self.said = Said::Last;
            return;
        }
        while !rest.is_empty() {
            let decoded = frame::decode(rest, 0);
            assert!(decoded.is_ok(), "no frame: {decoded:?}");
            let Ok(Decoded::Frame { frame, taken }) = decoded else { break };
            let max = usize::try_from(frame_bytes_max).unwrap_or(usize::MAX);
            // A header is never split; what it may have on the way in, it may have on the way out.
            let is_header = matches!(frame, Frame::Header { .. });
            assert!(taken <= max || is_header, "{taken} octets of frame, {max} agreed");
            self.on_frame(frame);
            rest = rest.get(taken..).unwrap_or_default();
        }
        self.rest = rest.to_vec();
    }

    /// All that was said was said to its end.
    pub(super) fn assert_whole(&self) {
        assert!(self.rest.is_empty(), "half a frame was written: {:?}", self.rest);
        assert_eq!(self.expected, Expected::AnyFrame, "half a content was written");
    }

    fn on_frame(&mut self, frame: Frame<'_>) {
        assert!(self.said != Said::Last, "after the farewell: {frame:?}");
        match (self.expected, frame) {
            (Expected::AnyFrame, Frame::Method { channel, payload }) => {
                self.on_method(channel, payload);
            }
            (Expected::AnyFrame, Frame::Heartbeat { channel: 0 }) => {
                assert_eq!(self.said, Said::Something, "a heartbeat after connection.close");
            }
            (Expected::HeaderOn(number), Frame::Header { channel, payload })
                if number == channel =>
            {
                let header = ContentHeader::decode(payload);
                assert!(header.is_ok(), "{header:?}");
                let Ok(header) = header else { return };
                let properties = Properties::decode(header.properties);
                assert!(properties.is_ok(), "{properties:?}");
                if let Some(reply_to) = properties.ok().and_then(|p| p.reply_to) {
                    self.reply_to = String::from_utf8_lossy(reply_to).into_owned();
                }
                self.expected = body(number, header.body_bytes);
            }
            (Expected::BodyOn(number, left), Frame::Body { channel, payload })
                if number == channel =>
            {
                let octets = u64::try_from(payload.len()).unwrap_or(u64::MAX);
                assert!(octets > 0, "an empty body frame");
                assert!(octets <= left, "more body than announced");
                self.expected = body(number, left.saturating_sub(octets));
            }
            (expected, frame) => {
                let is_expected = false;
                assert!(is_expected, "{frame:?} instead of {expected:?}");
            }
        }
    }

    fn on_method(&mut self, number: u16, payload: &[u8]) {
        let method = Method::decode(payload);
        assert!(method.is_ok(), "{method:?}");
        let Ok(method) = method else { return };
        let (class, id) = method.id();
        let row = find(class, id);
        assert!(row.is_some_and(|row| row.to_client), "{method:?} goes to servers");
        if row.is_some_and(|row| row.has_content) {
            self.expected = Expected::HeaderOn(number);
        }
        if let Method::Connection(method) = method {
            assert_eq!(number, 0, "{method:?}");
            self.on_connection(&method);
            return;
        }
        assert_eq!(self.said, Said::Something, "after connection.close: {method:?}");
        let state = self.channels.get(&number).copied().unwrap_or(State::Closed);
        let next = self.on_channel(number, state, &method);
        self.channels.insert(number, next);
    }

    fn on_connection(&mut self, method: &Connection<'_>) {
        let is_answer = matches!(method, Connection::CloseOk);
        assert!(self.said != Said::Close || is_answer, "after connection.close: {method:?}");
        if let Connection::Close(connection::Close { .. }) = method {
            self.said = Said::Close;
            let ok = Method::Connection(Connection::CloseOk);
            frame::put_method(&mut self.answers, 0, &ok);
        } else if !is_answer {
            self.said = Said::Something;
        } else if self.said != Said::Close {
            // To a close that crossed ours there may be several.
            self.said = Said::Last;
        }
    }

    fn on_channel(&mut self, number: u16, state: State, method: &Method<'_>) -> State {
        use crate::protocol::amqp091::wire::method::channel;
        match (state, method) {
            (State::Closed, Method::Channel(Channel::OpenOk(_))) => State::Open { tag: 0 },
            (State::Closing, Method::Channel(Channel::OpenOk(_))) => {
                // Only after the client's close-ok, which the listener does not see.
                State::Open { tag: 0 }
            }
            (State::Closing | State::Open { .. }, Method::Channel(Channel::CloseOk)) => {
                if state != State::Closing {
                    frame::put_method(
                        &mut self.answers,
                        number,
                        &channel::Open { out_of_band: "" },
                    );
                }
                State::Closed
            }
            (State::Open { .. }, Method::Channel(Channel::Close(_))) => {
                let answers = &mut self.answers;
                frame::put_method(answers, number, &Method::Channel(Channel::CloseOk));
                frame::put_method(answers, number, &channel::Open { out_of_band: "" });
                State::Closing
            }
            (State::Open { tag }, _) => {
                assert!(!matches!(method, Method::Channel(Channel::OpenOk(_))), "opened twice");
                State::Open { tag: self.on_open_channel(tag, method) }
            }
            (State::Closing | State::Closed, method) => {
                let is_open = false;
                assert!(is_open, "{method:?} on channel {number}, which is {state:?}");
                state
            }
        }
    }

    /// What is told on a channel; the highest delivery tag on it.
    fn on_open_channel(&mut self, tag: u64, method: &Method<'_>) -> u64 {
        match method {
            Method::Basic(
                Basic::Deliver(basic::Deliver { delivery_tag, .. })
                | Basic::GetOk(basic::GetOk { delivery_tag, .. }),
            ) => {
                assert_eq!(*delivery_tag, tag.saturating_add(1), "delivery tags count on");
                self.tag = *delivery_tag;
                *delivery_tag
            }
            Method::Queue(Queue::DeclareOk(ok)) => {
                self.queues.push(ok.queue.to_owned());
                tag
            }
            Method::Connection(_)
            | Method::Channel(_)
            | Method::Access(_)
            | Method::Exchange(_)
            | Method::Queue(_)
            | Method::Basic(_)
            | Method::Confirm(_)
            | Method::Tx(_) => tag,
        }
    }
}

const fn body(channel: u16, left: u64) -> Expected {
    if left == 0 { Expected::AnyFrame } else { Expected::BodyOn(channel, left) }
}
