//! basic.publish: method, header and body frames to one call of the broker (P4 to P6, P50, P51;
//! abuse rows 14 to 20). May import the files of this folder, `broker`, `command`.
//!
//! The usual publish arrives whole and is passed on from where it lies, without a copy of ours.
//! What is in several body frames, or interrupted by frames of other channels, is assembled in a
//! buffer that grows with what arrived, never with what was announced.

use bytes::Bytes;

use crate::command::{self, Published};
use crate::ids::PublishSeq;
use crate::limits::EMPTY_BODY_FRAMES_MAX;
use crate::message::Body;
use crate::protocol::Context;
use crate::protocol::octets::Decoded;

use super::channel::{Channel, Mode};
use super::deliver::no_route;
use super::foreign;
use super::link::{Link, channel_id};
use super::reply_code::{Fault, ReplyCode};
use super::vet::{Publisher, vet};
use super::wire::frame::{self, CONTENT_CLASS, Frame};
use super::wire::method::basic;
use super::wire::properties::{ContentHeader, PropertyScan};

/// From here on a size is no mistake but nonsense, and answered as such (abuse row 15).
const ABSURD_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// What basic.publish said, kept until its content is there.
#[derive(Debug)]
pub(super) struct Address {
    exchange: Box<str>,
    routing_key: Box<str>,
    mandatory: bool,
}

/// The content of a channel's publish, as far as it has come.
#[derive(Debug)]
pub(super) enum Assembly {
    /// No publish has begun.
    Idle,
    /// basic.publish came.
    AwaitingHeader {
        address: Address,
        /// When the last of it came, monotonic milliseconds.
        progress_ms: u64,
    },
    /// The header came, and perhaps a part of the body.
    AwaitingBody {
        address: Address,
        block: Box<[u8]>,
        body_bytes: u64,
        body: Vec<u8>,
        /// Body frames in a row without an octet (abuse row 18).
        empty_frames: u32,
        progress_ms: u64,
    },
}

impl Assembly {
    pub(super) const fn is_idle(&self) -> bool {
        matches!(self, Self::Idle)
    }

    /// When the last part of an unfinished publish came.
    pub(super) const fn progress_ms(&self) -> Option<u64> {
        match self {
            Self::Idle => None,
            Self::AwaitingHeader { progress_ms, .. } | Self::AwaitingBody { progress_ms, .. } => {
                Some(*progress_ms)
            }
        }
    }
}

/// How far a publish got when its method came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// So many octets behind the method belong to it and were taken: all of it or none.
    Took(usize),
    /// All of it will be there when there are so many octets behind the method.
    NeedMore(usize),
}

/// A whole publish.
#[derive(Debug)]
pub(super) struct Whole<'a> {
    pub(super) exchange: &'a str,
    pub(super) routing_key: &'a str,
    pub(super) mandatory: bool,
    pub(super) scan: PropertyScan<'a>,
    pub(super) block: &'a [u8],
    pub(super) body: Body<'a>,
}

/// What lies behind a basic.publish.
enum Ahead<'a> {
    Whole {
        block: &'a [u8],
        scan: PropertyScan<'a>,
        body: &'a [u8],
        taken: usize,
    },
    NeedMore(usize),
    /// Something that is better taken frame by frame.
    Other,
}

fn look_ahead(behind: &[u8], channel: u16, body_bytes_max: u64, frame_bytes_max: u32) -> Ahead<'_> {
    let (payload, header_bytes) = match frame::decode(behind, frame_bytes_max) {
        Ok(Decoded::Frame { frame: Frame::Header { channel: c, payload }, taken })
            if c == channel =>
        {
            (payload, taken)
        }
        Ok(Decoded::NeedMore { bytes_min }) => return Ahead::NeedMore(bytes_min),
        Ok(Decoded::Frame { .. }) | Err(_) => return Ahead::Other,
    };
    let Ok((header, scan)) = ContentHeader::decode_scanned(payload) else { return Ahead::Other };
    let ContentHeader { class, weight, body_bytes, properties: block } = header;
    let one_frame = u64::from(frame_bytes_max).min(body_bytes_max);
    if class != CONTENT_CLASS || weight != 0 || body_bytes > one_frame {
        return Ahead::Other;
    }
    if body_bytes == 0 {
        return Ahead::Whole { block, scan, body: &[], taken: header_bytes };
    }
    let rest = behind.get(header_bytes..).unwrap_or_default();
    match frame::decode(rest, frame_bytes_max) {
        Ok(Decoded::Frame { frame: Frame::Body { channel: c, payload: body }, taken })
            if c == channel && u64::try_from(body.len()) == Ok(body_bytes) =>
        {
            Ahead::Whole { block, scan, body, taken: header_bytes.saturating_add(taken) }
        }
        Ok(Decoded::NeedMore { bytes_min }) => {
            Ahead::NeedMore(header_bytes.saturating_add(bytes_min))
        }
        Ok(Decoded::Frame { .. }) | Err(_) => Ahead::Other,
    }
}

fn unexpected(detail: &'static str) -> Fault {
    Fault::new(ReplyCode::UnexpectedFrame, detail)
}

impl Channel {
    /// basic.publish, with the input behind it.
    #[inline]
    pub(super) fn publish(
        &mut self,
        publish: &basic::Publish<'_>,
        behind: &[u8],
        link: &mut Link,
        cx: &mut Context<'_>,
    ) -> Result<Content, Fault> {
        if publish.immediate {
            return Err(Fault::new(ReplyCode::NotImplemented, "immediate=true"));
        }
        let basic::Publish { exchange, routing_key, mandatory, .. } = *publish;
        let body_bytes_max = link.peer.config.amqp.message_bytes_max;
        match look_ahead(behind, self.number, body_bytes_max, link.frame_bytes_max) {
            Ahead::Whole { block, scan, body, taken } => {
                let body = Body::Slice(body);
                let whole = Whole { exchange, routing_key, mandatory, scan, block, body };
                self.complete(whole, link, cx)?;
                Ok(Content::Took(taken))
            }
            Ahead::NeedMore(bytes_min) => Ok(Content::NeedMore(bytes_min)),
            Ahead::Other => {
                link.assemble(0)?;
                self.assembly = Assembly::AwaitingHeader {
                    address: Address {
                        exchange: exchange.into(),
                        routing_key: routing_key.into(),
                        mandatory,
                    },
                    progress_ms: cx.now.mono_ms,
                };
                Ok(Content::Took(0))
            }
        }
    }

    /// A header frame.
    pub(super) fn on_header(
        &mut self,
        payload: &[u8],
        link: &mut Link,
        cx: &mut Context<'_>,
    ) -> Result<(), Fault> {
        let Assembly::AwaitingHeader { address, .. } = self.take_assembly(link) else {
            return Err(unexpected("content header without a method that has content"));
        };
        let header = ContentHeader::decode(payload)
            .map_err(|error| Fault::new(ReplyCode::SyntaxError, error.to_string()))?;
        if header.class != CONTENT_CLASS || header.weight != 0 {
            return Err(unexpected("content header of another class, or with a weight"));
        }
        let size = check_size(header.body_bytes, link.peer.config.amqp.message_bytes_max);
        if let Err(fault) = size {
            // The connection goes on without it.
            link.assembled(0);
            return Err(fault);
        }
        if header.body_bytes == 0 {
            return self.complete_address(&address, header.properties, Body::Slice(&[]), link, cx);
        }
        link.assemble(header.properties.len())?;
        self.assembly = Assembly::AwaitingBody {
            address,
            block: header.properties.into(),
            body_bytes: header.body_bytes,
            body: Vec::new(),
            empty_frames: 0,
            progress_ms: cx.now.mono_ms,
        };
        Ok(())
    }

    /// A body frame.
    pub(super) fn on_body(
        &mut self,
        payload: &[u8],
        link: &mut Link,
        cx: &mut Context<'_>,
    ) -> Result<(), Fault> {
        let Assembly::AwaitingBody {
            address,
            block,
            body_bytes,
            mut body,
            empty_frames,
            progress_ms,
        } = self.take_assembly(link)
        else {
            return Err(unexpected("content body without a content header"));
        };
        let missing = body_bytes.saturating_sub(octets(body.len()));
        if octets(payload.len()) > missing {
            let detail = format!("{} octets of body where {missing} are missing", payload.len());
            return Err(Fault::new(ReplyCode::FrameError, detail));
        }
        if octets(payload.len()) == missing {
            let body = if body.is_empty() {
                Body::Slice(payload)
            } else {
                body.extend_from_slice(payload);
                Body::Owned(Bytes::from(body))
            };
            return self.complete_address(&address, &block, body, link, cx);
        }
        let is_empty = payload.is_empty();
        let empty_frames = if is_empty { empty_frames.saturating_add(1) } else { 0 };
        if empty_frames > EMPTY_BODY_FRAMES_MAX {
            return Err(Fault::new(ReplyCode::FrameError, "too many empty body frames"));
        }
        link.assemble(block.len().saturating_add(body.len()).saturating_add(payload.len()))?;
        reserve(&mut body, payload.len(), missing);
        body.extend_from_slice(payload);
        let progress_ms = if is_empty { progress_ms } else { cx.now.mono_ms };
        self.assembly =
            Assembly::AwaitingBody { address, block, body_bytes, body, empty_frames, progress_ms };
        Ok(())
    }

    /// Forgets a publish under assembly.
    pub(super) fn drop_assembly(&mut self, link: &mut Link) {
        self.take_assembly(link);
    }

    /// What is under assembly; it does not count any more, however this goes on.
    fn take_assembly(&mut self, link: &mut Link) -> Assembly {
        let assembly = std::mem::replace(&mut self.assembly, Assembly::Idle);
        match &assembly {
            Assembly::Idle => {}
            Assembly::AwaitingHeader { .. } => link.assembled(0),
            Assembly::AwaitingBody { block, body, .. } => {
                link.assembled(block.len().saturating_add(body.len()));
            }
        }
        assembly
    }

    fn complete_address(
        &mut self,
        address: &Address,
        block: &[u8],
        body: Body<'_>,
        link: &mut Link,
        cx: &mut Context<'_>,
    ) -> Result<(), Fault> {
        let scan = PropertyScan::of(block)
            .map_err(|error| Fault::new(ReplyCode::SyntaxError, error.to_string()))?;
        let Address { exchange, routing_key, mandatory } = address;
        let mandatory = *mandatory;
        let whole = Whole { exchange, routing_key, mandatory, scan, block, body };
        self.complete(whole, link, cx)
    }

    #[inline]
    fn complete(
        &mut self,
        whole: Whole<'_>,
        link: &mut Link,
        cx: &mut Context<'_>,
    ) -> Result<(), Fault> {
        let publisher = Publisher {
            identity: link.identity.as_ref(),
            reply_address: self.replies.as_ref().and_then(|r| r.address.as_deref()),
        };
        let vetted = vet(&whole.scan, whole.block, publisher)?;
        let seq = match &mut self.mode {
            Mode::Plain => None,
            Mode::Confirm(confirms) => Some(confirms.assign()),
            Mode::Transaction(transaction) => {
                // What the commit would refuse is refused now, as without a transaction.
                let refused = cx.broker.check_publish(link.id(), whole.exchange);
                refused.map_err(|refusal| link.fault(refusal))?;
                return transaction.hold(whole, vetted, link);
            }
        };
        let publish = command::Publish {
            exchange: whole.exchange,
            routing_key: whole.routing_key,
            extra_keys: &vetted.visible_keys,
            hidden_keys: &vetted.hidden_keys,
            mandatory: whole.mandatory,
            traits: vetted.traits,
            properties: &vetted.block,
            body: whole.body,
            seq: seq.map(|seq| PublishSeq(seq.0.saturating_add(self.seq_base))),
            once: None,
        };
        let at = (link.id(), channel_id(self.number));
        match foreign::hand_over(&publish, vetted.retains, at, cx) {
            Ok(published) => {
                self.counts.published += 1;
                if published == Published::Unroutable {
                    self.give_back_unroutable(&publish, link, cx);
                }
                self.note_published(published, seq, link);
                Ok(())
            }
            Err(refusal) => {
                if let Mode::Confirm(confirms) = &mut self.mode {
                    confirms.retract();
                }
                Err(link.fault(refusal))
            }
        }
    }

    /// basic.return, always before the confirm (R45).
    #[cold]
    pub(super) fn give_back_unroutable(
        &mut self,
        publish: &command::Publish<'_>,
        link: &Link,
        cx: &mut Context<'_>,
    ) {
        self.counts.returned += 1;
        frame::put_content(
            cx.out.buffer(),
            self.number,
            &no_route(publish.exchange, publish.routing_key),
            publish.properties,
            publish.body.as_slice(),
            link.frame_bytes_max,
        );
    }
}

fn octets(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// P6: known from the header, before anything is transferred or reserved.
fn check_size(body_bytes: u64, max: u64) -> Result<(), Fault> {
    if body_bytes <= max {
        return Ok(());
    }
    let code = if body_bytes >= ABSURD_BYTES {
        ReplyCode::ContentTooLarge
    } else {
        ReplyCode::PreconditionFailed
    };
    let detail = format!("message size {body_bytes} is larger than configured max size {max}");
    Err(Fault::new(code, detail))
}

/// Doubles, but never beyond what is missing: the buffer becomes the message's own.
fn reserve(body: &mut Vec<u8>, more: usize, missing: u64) {
    let free = body.capacity().saturating_sub(body.len());
    if free < more {
        let missing = usize::try_from(missing).unwrap_or(usize::MAX);
        body.reserve_exact(body.len().max(more).min(missing));
    }
}
