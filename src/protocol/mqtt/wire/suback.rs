//! SUBACK and UNSUBACK: a code for each filter. May import the words of `wire`.

use super::ack::code;
use super::encode::{Encode, Explained, Sink};
use super::fault::Fault;
use super::header::Kind;
use super::input::Input;
use super::properties::Diagnostics;
use super::property_table::Place;
use super::reason_code::ReasonCode;
use super::{PacketId, Version};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AnswerKind {
    /// To SUBSCRIBE.
    Suback,
    /// To UNSUBSCRIBE.
    Unsuback,
}

impl AnswerKind {
    const fn place(self) -> Place {
        match self {
            Self::Suback => Place::Suback,
            Self::Unsuback => Place::Unsuback,
        }
    }
}

/// The answer to SUBSCRIBE or UNSUBSCRIBE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suback<'a> {
    /// Which of the two.
    pub kind: AnswerKind,
    /// As in the question.
    pub packet_id: PacketId,
    /// Empty before MQTT 5.0.
    pub diagnostics: Diagnostics<'a>,
    /// One for each filter, in order ([`ReasonCode::octet`]). What fails is 0x80 before MQTT 5.0,
    /// and UNSUBACK has none there.
    pub codes: &'a [u8],
}

/// What a SUBACK says that is no failure (MQTT-3.9.3-2 of 3.1.1): all there is before MQTT 5.0.
const FAILURE: u8 = 0x80;

impl<'a> Suback<'a> {
    /// From what follows the fixed header.
    ///
    /// # Errors
    /// See [`super`].
    pub fn decode(kind: AnswerKind, body: &'a [u8], version: Version) -> Result<Self, Fault> {
        let mut input = Input::new(body);
        let packet_id = input.packet_id()?;
        let mut diagnostics = Diagnostics::default();
        if version.is_v5() {
            diagnostics = Diagnostics::read(input.block()?, kind.place())?;
        }
        let codes = input.rest();
        if !version.is_v5() && kind == AnswerKind::Unsuback {
            input.finish()?;
        } else if codes.is_empty() {
            return Err(Fault::protocol("no code"));
        }
        for &octet in codes {
            let known = code(octet, kind.place())?;
            if !version.is_v5() && known.octet() > FAILURE {
                return Err(Fault::protocol("a reason code that the packet cannot have"));
            }
        }
        Ok(Self { kind, packet_id, diagnostics, codes })
    }

    /// The codes.
    pub fn codes(&self) -> impl Iterator<Item = ReasonCode> + use<'a> {
        self.codes.iter().filter_map(|&octet| ReasonCode::from_octet(octet))
    }
}

impl Encode for Suback<'_> {
    fn first_octet(&self) -> u8 {
        match self.kind {
            AnswerKind::Suback => Kind::Suback.first_octet(0),
            AnswerKind::Unsuback => Kind::Unsuback.first_octet(0),
        }
    }

    fn write<S: Sink>(&self, sink: &mut S, version: Version) {
        sink.packet_id(self.packet_id);
        if version.is_v5() {
            sink.block(&self.diagnostics);
            sink.octets(self.codes);
        } else if self.kind == AnswerKind::Suback {
            for &octet in self.codes {
                sink.u8(octet.min(FAILURE));
            }
        }
    }
}

impl<'a> Explained<'a> for Suback<'a> {
    fn diagnostics(&mut self) -> &mut Diagnostics<'a> {
        &mut self.diagnostics
    }
}
