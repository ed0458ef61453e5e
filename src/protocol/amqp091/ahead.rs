//! Settlements behind a publish that is held back: a consumer on the same connection goes on (S59).
//! May import the files of this folder, `broker`.
//!
//! Channels do not wait for each other, so what another channel settles is taken out of turn; what a
//! channel has sent itself stays in its order, and so does everything else. The octets stay where
//! they are: their places are remembered, and passed over when their turn comes.

use std::collections::{BTreeSet, VecDeque};

use crate::protocol::Context;
use crate::protocol::octets::Decoded;

use super::channel::Mode;
use super::session::{Amqp, Phase, Slot};
use super::wire::frame::{self, Frame};
use super::wire::method::{Basic, Method};

/// Octets of input that are read behind a publish that is held back. What a connection that only
/// publishes has sent is more than that, and it is not read at all.
const AHEAD_BYTES_MAX: usize = 16 * 1024;

/// See the module. Only for connections that have been held back.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// Octets that have been dealt with in their turn since this began.
    position: u64,
    /// Where frames begin that are dealt with out of turn, counted likewise.
    done: VecDeque<u64>,
    /// How far has been looked, behind the front of the input.
    looked: usize,
    /// Channels that have something there that waits for its turn.
    passed: BTreeSet<u16>,
}

impl Ahead {
    /// The input moves on.
    pub(super) fn took(&mut self, octets: usize) {
        let octets = u64::try_from(octets).unwrap_or(u64::MAX);
        self.position = self.position.saturating_add(octets);
    }
}

/// What a frame is to who looks ahead.
enum Kind<'a> {
    Settlement(u16, Method<'a>),
    Other(u16),
}

fn kind_of<'a>(frame: &Frame<'a>) -> Kind<'a> {
    match frame {
        Frame::Method { channel, payload } => match Method::decode(payload) {
            Ok(method @ Method::Basic(Basic::Ack(_) | Basic::Nack(_) | Basic::Reject(_))) => {
                Kind::Settlement(*channel, method)
            }
            Ok(_) | Err(_) => Kind::Other(*channel),
        },
        Frame::Header { channel, .. }
        | Frame::Body { channel, .. }
        | Frame::Heartbeat { channel } => Kind::Other(*channel),
    }
}

impl Amqp {
    /// Whether a publish is all that keeps the connection from being read.
    const fn only_publish_waits(&self) -> bool {
        self.is_paused
            && matches!(self.phase, Phase::Running)
            && self.waiting.is_none()
            && self.held_until_ms.is_none()
    }

    /// Octets that the input should have for another look, if there is to be one.
    pub(super) fn reads_ahead(&self) -> Option<usize> {
        let is_worth_it = self.only_publish_waits() && self.unread < AHEAD_BYTES_MAX;
        is_worth_it.then(|| self.unread.saturating_add(1))
    }

    /// Deals with settlements in the input, the front of which is a publish that is held back.
    pub(super) fn look_ahead(&mut self, input: &[u8], cx: &mut Context<'_>) {
        if !self.only_publish_waits() {
            return;
        }
        let mut ahead = self.ahead.take().unwrap_or_default();
        while let Some(rest) = input.get(ahead.looked..).filter(|rest| !rest.is_empty())
            // What is no frame is complained of in its turn.
            && let Ok(Decoded::Frame { frame, taken }) = frame::decode(rest, self.incoming_bytes_max())
        {
            let offset = u64::try_from(ahead.looked).unwrap_or(u64::MAX);
            let at = ahead.position.saturating_add(offset);
            ahead.looked = ahead.looked.saturating_add(taken);
            let Err(place) = ahead.done.binary_search(&at) else { continue };
            let (channel, method) = match kind_of(&frame) {
                Kind::Settlement(channel, method) => (channel, method),
                Kind::Other(channel) => {
                    ahead.passed.insert(channel);
                    continue;
                }
            };
            if ahead.passed.contains(&channel) || !self.takes_ahead(channel) {
                ahead.passed.insert(channel);
                continue;
            }
            ahead.done.insert(place, at);
            self.settle_ahead(channel, &method, cx);
            if !self.only_publish_waits() {
                break;
            }
        }
        self.ahead = Some(ahead);
    }

    /// Whether settlements of that channel mean something, and mean it at once.
    fn takes_ahead(&self, number: u16) -> bool {
        let slot = usize::from(number).checked_sub(1).and_then(|index| self.slots.get(index));
        let Some(Slot::Used(channel)) = slot else { return false };
        let is_plain = !matches!(channel.mode, Mode::Transaction(_));
        is_plain && channel.phase == super::channel::Phase::Open && channel.assembly.is_idle()
    }

    /// The publish has its turn: what follows is looked at anew.
    pub(super) fn stop_looking_ahead(&mut self) {
        self.ahead.take_if(|ahead| ahead.done.is_empty());
        if let Some(ahead) = &mut self.ahead {
            (ahead.looked, ahead.passed) = (0, BTreeSet::new());
        }
    }

    /// Octets at the front of `input`, which are `offset` behind those taken before, that are dealt
    /// with.
    pub(super) fn passes_over(&mut self, input: &[u8], offset: usize) -> Option<usize> {
        let ahead = self.ahead.as_mut()?;
        let offset = u64::try_from(offset).unwrap_or(u64::MAX);
        let at = ahead.position.saturating_add(offset);
        ahead.done.front().filter(|done| **done == at)?;
        ahead.done.pop_front();
        match frame::decode(input, self.incoming_bytes_max()) {
            Ok(Decoded::Frame { taken, .. }) => Some(taken),
            Ok(Decoded::NeedMore { .. }) | Err(_) => None,
        }
    }
}
