//! AUTH of MQTT 5.0. May import the words of `wire`.

use super::ack::{code, write_result};
use super::connect::check_auth;
use super::encode::{Block, Encode, Explained, Sink};
use super::fault::Fault;
use super::header::Kind;
use super::input::Input;
use super::properties::{Diagnostics, UserProperties, put_binary, put_text, scan};
use super::property_table::{self as table, Place};
use super::reason_code::ReasonCode;
use super::{Sender, Version};

/// A step of an authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Auth<'a> {
    /// Where it stands.
    pub code: ReasonCode,
    /// How.
    pub method: Option<&'a str>,
    /// What this step says.
    pub data: Option<&'a [u8]>,
    /// Reason string and user properties.
    pub diagnostics: Diagnostics<'a>,
}

impl<'a> Auth<'a> {
    /// From what follows the fixed header.
    ///
    /// # Errors
    /// See [`super`]; a code that this end does not say and a step without a method are protocol
    /// errors.
    pub fn decode(body: &'a [u8], from: Sender) -> Result<Self, Fault> {
        let mut input = Input::new(body);
        let mut found = Self {
            code: ReasonCode::Success,
            method: None,
            data: None,
            diagnostics: Diagnostics::default(),
        };
        if !input.is_empty() {
            found.code = code(input.u8()?, Place::Auth)?;
        }
        if !input.is_empty() {
            found.read(input.block()?)?;
        }
        input.finish()?;
        let other = match from {
            Sender::Client => ReasonCode::Success,
            Sender::Server => ReasonCode::ReAuthenticate,
        };
        if found.code == other {
            return Err(Fault::protocol("a reason code that only the other end may say"));
        }
        check_auth(found.method, found.data)?;
        if found.method.is_none() && found.code != ReasonCode::Success {
            return Err(Fault::protocol("AUTH without a method"));
        }
        Ok(found)
    }

    fn read(&mut self, block: &'a [u8]) -> Result<(), Fault> {
        self.diagnostics.user_properties = UserProperties::of(block);
        scan(block, Place::Auth, |id, value, _| match id {
            table::AUTH_METHOD => self.method = Some(value.text()),
            table::AUTH_DATA => self.data = Some(value.binary()),
            table::REASON_STRING => self.diagnostics.reason = Some(value.text()),
            _ => {}
        })
    }
}

impl Block for Auth<'_> {
    fn write<S: Sink>(&self, sink: &mut S) {
        put_text(sink, table::AUTH_METHOD, self.method);
        put_binary(sink, table::AUTH_DATA, self.data);
        self.diagnostics.write(sink);
    }
}

impl Encode for Auth<'_> {
    fn first_octet(&self) -> u8 {
        Kind::Auth.first_octet(0)
    }

    fn exists_in(&self, version: Version) -> bool {
        version.is_v5()
    }

    fn write<S: Sink>(&self, sink: &mut S, _version: Version) {
        write_result(sink, self.code, self);
    }
}

impl<'a> Explained<'a> for Auth<'a> {
    fn diagnostics(&mut self) -> &mut Diagnostics<'a> {
        &mut self.diagnostics
    }
}
