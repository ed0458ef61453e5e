//! What becomes of the client's publishes: PUBACK, PUBREC, PUBREL, PUBCOMP (3.3.4-1, 4.3.2, 4.3.3,
//! 4.6.0; H-03 to H-06). May import the files of this folder, `broker`.
//!
//! A message with QoS 2 is routed when it comes. The broker keeps its packet id once it is stored
//! wherever it belongs, and PUBREC follows when that is durable: had the id been kept first, a crash
//! between the two would lose the message, since its repetition would be taken for one. If the
//! connection ends before, the broker knows the repetition nevertheless.
//!
//! # What is refused for lack of room, before version 5
//!
//! No packet can say so. To leave PUBACK or PUBREC out for ever (VerneMQ) leaves a client waiting that
//! repeats only when it connects again; to close at once has all of them come back at once while the
//! disk is full. Here nothing that comes after it with QoS 1 or 2 is taken either, so that the order
//! holds; everything else goes on, since it may be this client that makes room by its answers; and the
//! connection ends when there is room, after [`LOOK_MS`] at the earliest and [`ROOM_MS_MAX`] at the
//! latest. The client repeats all of them, in order.

use std::collections::BTreeSet;

use crate::command::Published;
use crate::ids::{ChannelId, PublishSeq};
use crate::message::Message;
use crate::protocol::Context;

use super::acks::{Acks, Owed};
use super::block::Block;
use super::limits::ANSWERS_OWED_MAX;
use super::session::{DROP, HOLD, KEPT, Mqtt, ONCE, RECEIVED, TWICE};
use super::wire::ack::AckKind;
use super::wire::fault::Fault;
use super::wire::reason_code::ReasonCode;
use super::wire::{PacketId, Version};

/// Between looks whether there is room again, milliseconds.
const LOOK_MS: u64 = 1_000;

/// How long a client before version 5 is kept whose message was refused, milliseconds.
const ROOM_MS_MAX: u64 = 10_000;

/// A message was refused and its client cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Unsaid {
    since_ms: u64,
    look_ms: u64,
}

/// Publishes of a client that are not dealt with. Only for clients that publish so.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    /// PUBACK that are owed.
    pub(super) once: Acks,
    /// PUBREC that are owed.
    pub(super) twice: Acks,
    /// PUBCOMP that are owed.
    pub(super) complete: Acks,
    /// Packet ids that PUBREC was, or may be, sent for: a PUBLISH with one of them is a repetition.
    pub(super) receipts: BTreeSet<u16>,
    /// Nobody takes the message with QoS 1 that the broker says next to be stored.
    nobody: bool,
    /// Publishes with QoS 1 that are retained and not stored yet. The broker gives one that nobody
    /// takes back at once, and says later that it is stored.
    kept: Vec<Kept>,
    /// The connection will end for it.
    unsaid: Option<Unsaid>,
    /// Publishes that count against the receive maximum (4.9.0-1).
    open: u16,
}

/// A retained publish on its way.
#[derive(Debug)]
struct Kept {
    number: u64,
    topic: Box<str>,
    nobody: bool,
}

impl Incoming {
    /// A publish that is retained is on its way.
    pub(super) fn keep(&mut self, number: u64, topic: &str) {
        self.kept.push(Kept { number, topic: topic.into(), nobody: false });
    }

    /// Whether nobody takes the message with that number, which is stored.
    fn is_for_nobody(&mut self, number: u64) -> bool {
        if let Some(index) = self.kept.iter().position(|kept| kept.number == number) {
            return self.kept.swap_remove(index).nobody;
        }
        std::mem::take(&mut self.nobody)
    }

    /// Nothing that wants an answer is taken any more.
    pub(super) const fn takes_no_more(&self) -> bool {
        self.unsaid.is_some()
    }

    /// When to call [`Mqtt::look_for_room`].
    pub(super) fn look_ms(&self) -> Option<u64> {
        self.unsaid.map(|unsaid| unsaid.look_ms)
    }

    /// Nothing more can be answered before something is.
    pub(super) fn is_full(&self) -> bool {
        let owed = self.once.len().max(self.twice.len()).max(self.complete.len());
        owed >= ANSWERS_OWED_MAX
    }

    /// Counts a publish; `false`: one too many.
    pub(super) const fn begin(&mut self, max: u16) -> bool {
        self.open = self.open.saturating_add(1);
        self.open <= max
    }

    const fn end(&mut self) {
        self.open = self.open.saturating_sub(1);
    }
}

impl Mqtt {
    /// What an answer will be after a publish.
    pub(super) fn owed(
        &mut self,
        result: Published,
        code: ReasonCode,
        now_ms: u64,
    ) -> Result<Owed, Fault> {
        match result {
            Published::Stored => Ok(Owed::Known(code)),
            Published::Unroutable => Ok(Owed::Known(ReasonCode::NoMatchingSubscribers)),
            Published::Overflowed => self.refused(ReasonCode::QuotaExceeded, now_ms),
            Published::Pending => Ok(Owed::Waiting),
        }
    }

    /// The answer to a publish that is refused (3.3.5-2; V-041, H-31).
    pub(super) fn refused(&mut self, code: ReasonCode, now_ms: u64) -> Result<Owed, Fault> {
        let is_forbidden = matches!(code, ReasonCode::NotAuthorized | ReasonCode::TopicNameInvalid);
        match self.link.version {
            Version::V5 => Ok(Owed::Known(code)),
            Version::V3
                if is_forbidden && !self.link.limits.disconnect_on_unauthorized_publish_v3 =>
            {
                Ok(Owed::Known(ReasonCode::Success))
            }
            Version::V4 if is_forbidden && self.link.limits.acl_drops => {
                Ok(Owed::Known(ReasonCode::Success))
            }
            Version::V3 | Version::V4 if is_forbidden => {
                Err(Fault::new(code, "a publish that is not allowed"))
            }
            Version::V3 | Version::V4 => {
                let incoming = self.incoming.get_or_insert_default();
                let look_ms = now_ms.saturating_add(LOOK_MS);
                incoming.unsaid.get_or_insert(Unsaid { since_ms: now_ms, look_ms });
                Ok(Owed::Never)
            }
        }
    }

    /// Ends the connection of a client that was not told of a refusal, if it is time for that.
    pub(super) fn look_for_room(&mut self, cx: &mut Context<'_>) {
        let now_ms = cx.now.mono_ms;
        let unsaid = self.incoming.as_mut().and_then(|incoming| incoming.unsaid.as_mut());
        let Some(unsaid) = unsaid.filter(|unsaid| unsaid.look_ms <= now_ms) else { return };
        let is_over = now_ms.saturating_sub(unsaid.since_ms) >= ROOM_MS_MAX;
        if is_over || cx.broker.has_space() {
            let text = "a publish was refused for lack of room";
            return self.fail(Fault::new(ReasonCode::QuotaExceeded, text), cx);
        }
        unsaid.look_ms = now_ms.saturating_add(LOOK_MS);
    }

    /// A publish, a kept number or one that is let go is stored.
    pub(super) fn on_stored(
        &mut self,
        channel: ChannelId,
        number: u64,
        accepted: bool,
        cx: &mut Context<'_>,
    ) {
        if !self.is_open() {
            return;
        }
        let done = match channel {
            ONCE => self.on_once_stored(number, accepted, cx.now.mono_ms),
            TWICE => self.on_twice_stored(number, accepted, cx.now.mono_ms),
            HOLD => {
                if let Some(incoming) = &mut self.incoming {
                    incoming.twice.done(number, accepted);
                }
                Ok(())
            }
            DROP => {
                if let Some(incoming) = &mut self.incoming {
                    incoming.complete.done(number, accepted);
                }
                Ok(())
            }
            // Of a disk that has failed the client hears nothing: it would forget what comes again.
            RECEIVED | KEPT if !accepted => Ok(()),
            RECEIVED => {
                self.release(number, cx);
                Ok(())
            }
            KEPT => {
                self.outgoing.end_wait(number);
                self.send_held(cx);
                Ok(())
            }
            ChannelId(_) => Ok(()),
        };
        match done {
            Ok(()) => self.answer_publishes(cx),
            Err(fault) => self.fail(fault, cx),
        }
    }

    fn on_once_stored(&mut self, number: u64, accepted: bool, now_ms: u64) -> Result<(), Fault> {
        let Some(incoming) = &mut self.incoming else { return Ok(()) };
        let nobody = incoming.is_for_nobody(number);
        let owed = match (accepted, nobody) {
            (true, true) => Owed::Known(ReasonCode::NoMatchingSubscribers),
            (true, false) => Owed::Known(ReasonCode::Success),
            (false, _) => self.refused(ReasonCode::QuotaExceeded, now_ms)?,
        };
        if let Some(incoming) = &mut self.incoming {
            incoming.once.settle(number, owed);
        }
        Ok(())
    }

    fn on_twice_stored(&mut self, number: u64, accepted: bool, now_ms: u64) -> Result<(), Fault> {
        let owed = if accepted {
            Owed::Known(ReasonCode::Success)
        } else {
            self.refused(ReasonCode::QuotaExceeded, now_ms)?
        };
        let Some(incoming) = &mut self.incoming else { return Ok(()) };
        let packet_id = incoming.twice.packet_id(number).filter(|_| accepted);
        incoming.receipts.extend(packet_id);
        incoming.twice.settle(number, owed);
        Ok(())
    }

    /// A message with QoS 2 that nobody takes: its packet id is kept, then PUBREC follows.
    pub(super) fn keep_number(&mut self, number: u64, cx: &mut Context<'_>) {
        let connection = self.link.id();
        let Some(incoming) = &mut self.incoming else { return };
        let Some(packet_id) = incoming.twice.packet_id(number) else { return };
        incoming.receipts.insert(packet_id);
        let seq = Some(PublishSeq(number));
        let owed = match cx.broker.hold_receipt(connection, HOLD, packet_id, seq) {
            Published::Stored | Published::Unroutable => Owed::Known(ReasonCode::Success),
            Published::Pending => Owed::Soon(ReasonCode::Success),
            Published::Overflowed => Owed::Never,
        };
        incoming.twice.settle(number, owed);
    }

    /// The broker gives a message back: nobody takes the one that it says next to be stored.
    pub(super) fn on_returned(&mut self, channel: ChannelId, message: &Message) {
        let Some(incoming) = self.incoming.as_mut().filter(|_| channel == ONCE) else { return };
        let topic = message.routing_key();
        let is_it = |kept: &&mut Kept| !kept.nobody && *kept.topic == *topic;
        if !Block::of(message).retain {
            incoming.nobody = true;
        } else if let Some(kept) = incoming.kept.iter_mut().rfind(is_it) {
            kept.nobody = true;
        }
    }

    /// PUBREL: the client will not repeat that message (4.3.3-2; in version 5 4.3.3-11).
    pub(super) fn on_pubrel(&mut self, packet_id: PacketId, cx: &mut Context<'_>) {
        let connection = self.link.id();
        let incoming = self.incoming.get_or_insert_default();
        let number = packet_id.get();
        let mut owed = Owed::Known(ReasonCode::PacketIdentifierNotFound);
        if incoming.receipts.remove(&number) {
            let seq = Some(PublishSeq(incoming.complete.next()));
            owed = match cx.broker.drop_receipt(connection, DROP, number, seq) {
                Published::Stored | Published::Unroutable => Owed::Known(ReasonCode::Success),
                Published::Pending => Owed::Soon(ReasonCode::Success),
                Published::Overflowed => Owed::Never,
            };
        } else if self.link.is_resumed {
            // PUBCOMP may have been lost with a connection before: "this is not an error during
            // recovery" (2.4 of 5.0). The answer ends a publish, which this connection has not begun.
            incoming.begin(u16::MAX);
            owed = Owed::Known(ReasonCode::Success);
        }
        incoming.complete.push(number, owed);
        self.answer_publishes(cx);
    }

    /// Sends what is owed and known.
    pub(super) fn answer_publishes(&mut self, cx: &mut Context<'_>) {
        if !self.is_open() {
            return;
        }
        let Some(incoming) = &mut self.incoming else { return };
        let link = &self.link;
        let mut stored = 0;
        while let Some((id, code)) = incoming.once.pop() {
            incoming.end();
            if let Some(code) = code {
                stored += u64::from(!code.is_failure());
                link.put_ack(AckKind::Puback, id, code, cx);
            }
        }
        while let Some((id, code)) = incoming.twice.pop() {
            if code.is_none_or(ReasonCode::is_failure) {
                incoming.end();
            }
            if let Some(code) = code {
                stored += u64::from(!code.is_failure());
                link.put_ack(AckKind::Pubrec, id, code, cx);
            }
        }
        while let Some((id, code)) = incoming.complete.pop() {
            if code != Some(ReasonCode::PacketIdentifierNotFound) {
                incoming.end();
            }
            if let Some(code) = code {
                link.put_ack(AckKind::Pubcomp, id, code, cx);
            }
        }
        if stored > 0 {
            self.counts().stored += stored;
        }
    }
}
