//! PUBACK, PUBREC, PUBREL, PUBCOMP. May import the words of `wire`.

use super::encode::{Encode, Explained, Sink};
use super::fault::Fault;
use super::header::Kind;
use super::input::Input;
use super::properties::Diagnostics;
use super::property_table::Place;
use super::reason_code::ReasonCode;
use super::{PacketId, Version};

/// Which of the four.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AckKind {
    /// QoS 1: it has arrived.
    Puback,
    /// QoS 2: it has arrived.
    Pubrec,
    /// QoS 2: it will not come again.
    Pubrel,
    /// QoS 2: its number is free.
    Pubcomp,
}

impl AckKind {
    const fn kind(self) -> Kind {
        match self {
            Self::Puback => Kind::Puback,
            Self::Pubrec => Kind::Pubrec,
            Self::Pubrel => Kind::Pubrel,
            Self::Pubcomp => Kind::Pubcomp,
        }
    }

    /// Where its codes and properties stand in the tables.
    #[must_use]
    pub const fn place(self) -> Place {
        match self {
            Self::Puback => Place::Puback,
            Self::Pubrec => Place::Pubrec,
            Self::Pubrel => Place::Pubrel,
            Self::Pubcomp => Place::Pubcomp,
        }
    }
}

/// One step of an exchange about a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack<'a> {
    /// Which step.
    pub kind: AckKind,
    /// The number of the message.
    pub packet_id: PacketId,
    /// How it ended; always success before MQTT 5.0.
    pub code: ReasonCode,
    /// Empty before MQTT 5.0.
    pub diagnostics: Diagnostics<'a>,
}

/// A code that may stand in that packet.
pub(super) fn code(octet: u8, place: Place) -> Result<ReasonCode, Fault> {
    ReasonCode::from_octet(octet)
        .filter(|code| code.may_stand_in(place))
        .ok_or(Fault::protocol("a reason code that the packet cannot have"))
}

impl<'a> Ack<'a> {
    /// With nothing to explain.
    #[must_use]
    #[inline]
    pub const fn new(kind: AckKind, packet_id: PacketId, code: ReasonCode) -> Self {
        let diagnostics =
            Diagnostics { reason: None, user_properties: super::properties::UserProperties::NONE };
        Self { kind, packet_id, code, diagnostics }
    }

    /// From what follows the fixed header.
    ///
    /// # Errors
    /// See [`super`].
    #[inline]
    pub fn decode(kind: AckKind, body: &'a [u8], version: Version) -> Result<Self, Fault> {
        let mut input = Input::new(body);
        let mut ack = Self::new(kind, input.packet_id()?, ReasonCode::Success);
        if version.is_v5() && !input.is_empty() {
            ack.code = code(input.u8()?, kind.place())?;
            if !input.is_empty() {
                ack.diagnostics = Diagnostics::read(input.block()?, kind.place())?;
            }
        }
        input.finish()?;
        Ok(ack)
    }
}

impl Encode for Ack<'_> {
    #[inline]
    fn first_octet(&self) -> u8 {
        let kind = self.kind.kind();
        kind.first_octet(kind.flags())
    }

    #[inline]
    fn write<S: Sink>(&self, sink: &mut S, version: Version) {
        sink.packet_id(self.packet_id);
        if version.is_v5() {
            write_result(sink, self.code, &self.diagnostics);
        }
    }
}

/// Code and properties, as short as they can be said.
#[inline]
pub(super) fn write_result<S: Sink, B: super::encode::Block>(
    sink: &mut S,
    code: ReasonCode,
    block: &B,
) {
    let mut count = super::encode::Count(0);
    block.write(&mut count);
    if count.0 > 0 {
        sink.u8(code.octet());
        sink.block(block);
    } else if code != ReasonCode::Success {
        sink.u8(code.octet());
    }
}

impl<'a> Explained<'a> for Ack<'a> {
    fn diagnostics(&mut self) -> &mut Diagnostics<'a> {
        &mut self.diagnostics
    }
}
