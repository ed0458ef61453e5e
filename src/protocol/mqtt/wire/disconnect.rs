//! DISCONNECT. May import the words of `wire`.

use super::ack::{code, write_result};
use super::encode::{Block, Encode, Explained, Sink};
use super::fault::Fault;
use super::header::Kind;
use super::input::Input;
use super::properties::{Diagnostics, UserProperties, put_four, put_text, scan};
use super::property_table::{self as table, Place};
use super::reason_code::ReasonCode;
use super::{Sender, Version};

/// The end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// Why; always success before MQTT 5.0, where only a client says it.
    pub code: ReasonCode,
    /// Seconds that the session is to last from now on. Only a client says it.
    pub session_expiry_s: Option<u32>,
    /// Another server.
    pub server_reference: Option<&'a str>,
    /// Reason string and user properties.
    pub diagnostics: Diagnostics<'a>,
}

impl<'a> Disconnect<'a> {
    /// With a reason and nothing else.
    #[must_use]
    pub const fn new(code: ReasonCode, reason: Option<&'a str>) -> Self {
        let diagnostics = Diagnostics { reason, user_properties: UserProperties::NONE };
        Self { code, session_expiry_s: None, server_reference: None, diagnostics }
    }

    /// From what follows the fixed header.
    ///
    /// # Errors
    /// See [`super`].
    pub fn decode(body: &'a [u8], version: Version, from: Sender) -> Result<Self, Fault> {
        let mut input = Input::new(body);
        let mut found = Self::new(ReasonCode::Success, None);
        if version.is_v5() && !input.is_empty() {
            found.code = code(input.u8()?, Place::Disconnect)?;
            if !input.is_empty() {
                found.read(input.block()?)?;
            }
        }
        input.finish()?;
        if from == Sender::Server {
            // MQTT-3.14.2-2.
            if found.session_expiry_s.is_some() {
                return Err(Fault::protocol("a session expiry interval from a server"));
            }
            if found.code == ReasonCode::DisconnectWithWill {
                return Err(Fault::protocol("a reason code that only a client may say"));
            }
        }
        Ok(found)
    }

    fn read(&mut self, block: &'a [u8]) -> Result<(), Fault> {
        self.diagnostics.user_properties = UserProperties::of(block);
        scan(block, Place::Disconnect, |id, value, _| match id {
            table::SESSION_EXPIRY => self.session_expiry_s = Some(value.number()),
            table::SERVER_REFERENCE => self.server_reference = Some(value.text()),
            table::REASON_STRING => self.diagnostics.reason = Some(value.text()),
            _ => {}
        })
    }
}

impl Block for Disconnect<'_> {
    fn write<S: Sink>(&self, sink: &mut S) {
        put_four(sink, table::SESSION_EXPIRY, self.session_expiry_s);
        put_text(sink, table::SERVER_REFERENCE, self.server_reference);
        self.diagnostics.write(sink);
    }
}

impl Encode for Disconnect<'_> {
    fn first_octet(&self) -> u8 {
        Kind::Disconnect.first_octet(0)
    }

    fn exists_in(&self, version: Version) -> bool {
        version.is_v5() || self.code == ReasonCode::Success
    }

    fn write<S: Sink>(&self, sink: &mut S, version: Version) {
        if version.is_v5() {
            write_result(sink, self.code, self);
        }
    }
}

impl<'a> Explained<'a> for Disconnect<'a> {
    fn diagnostics(&mut self) -> &mut Diagnostics<'a> {
        &mut self.diagnostics
    }
}
