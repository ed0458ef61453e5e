//! Methods of class connection (10).
//! May import `octets` and `field_table`. Written by generate_method_table.py: change that.

use super::{Encode, MethodError, put_id};
use crate::protocol::amqp091::wire::field_table::TableRef;
use crate::protocol::octets::{Reader, WireError, put_long_bytes, put_short_str, put_u16, put_u32};

/// A method of class connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection<'a> {
    /// connection.start (10, 10).
    Start(Start<'a>),
    /// connection.start-ok (10, 11).
    StartOk(StartOk<'a>),
    /// connection.secure (10, 20).
    Secure(Secure<'a>),
    /// connection.secure-ok (10, 21).
    SecureOk(SecureOk<'a>),
    /// connection.tune (10, 30).
    Tune(Tune),
    /// connection.tune-ok (10, 31).
    TuneOk(TuneOk),
    /// connection.open (10, 40).
    Open(Open<'a>),
    /// connection.open-ok (10, 41).
    OpenOk(OpenOk<'a>),
    /// connection.close (10, 50).
    Close(Close<'a>),
    /// connection.close-ok (10, 51).
    CloseOk,
    /// connection.blocked (10, 60).
    Blocked(Blocked<'a>),
    /// connection.unblocked (10, 61).
    Unblocked,
    /// connection.update-secret (10, 70).
    UpdateSecret(UpdateSecret<'a>),
    /// connection.update-secret-ok (10, 71).
    UpdateSecretOk,
}

impl<'a> Connection<'a> {
    /// Reads what follows the ids.
    #[inline]
    pub(super) fn read(method: u16, input: &mut Reader<'a>) -> Result<Self, MethodError> {
        Ok(match method {
            10 => Self::Start(Start::read(input)?),
            11 => Self::StartOk(StartOk::read(input)?),
            20 => Self::Secure(Secure::read(input)?),
            21 => Self::SecureOk(SecureOk::read(input)?),
            30 => Self::Tune(Tune::read(input)?),
            31 => Self::TuneOk(TuneOk::read(input)?),
            40 => Self::Open(Open::read(input)?),
            41 => Self::OpenOk(OpenOk::read(input)?),
            50 => Self::Close(Close::read(input)?),
            51 => Self::CloseOk,
            60 => Self::Blocked(Blocked::read(input)?),
            61 => Self::Unblocked,
            70 => Self::UpdateSecret(UpdateSecret::read(input)?),
            71 => Self::UpdateSecretOk,
            _ => return Err(MethodError::Unknown { class: 10, method }),
        })
    }

    /// Number of the method within its class.
    pub const fn method_id(&self) -> u16 {
        match self {
            Self::Start(_) => 10,
            Self::StartOk(_) => 11,
            Self::Secure(_) => 20,
            Self::SecureOk(_) => 21,
            Self::Tune(_) => 30,
            Self::TuneOk(_) => 31,
            Self::Open(_) => 40,
            Self::OpenOk(_) => 41,
            Self::Close(_) => 50,
            Self::CloseOk => 51,
            Self::Blocked(_) => 60,
            Self::Unblocked => 61,
            Self::UpdateSecret(_) => 70,
            Self::UpdateSecretOk => 71,
        }
    }
}

impl Encode for Connection<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Start(method) => method.encode(out),
            Self::StartOk(method) => method.encode(out),
            Self::Secure(method) => method.encode(out),
            Self::SecureOk(method) => method.encode(out),
            Self::Tune(method) => method.encode(out),
            Self::TuneOk(method) => method.encode(out),
            Self::Open(method) => method.encode(out),
            Self::OpenOk(method) => method.encode(out),
            Self::Close(method) => method.encode(out),
            Self::CloseOk => put_id(out, 10, 51),
            Self::Blocked(method) => method.encode(out),
            Self::Unblocked => put_id(out, 10, 61),
            Self::UpdateSecret(method) => method.encode(out),
            Self::UpdateSecretOk => put_id(out, 10, 71),
        }
    }
}

/// connection.start (10, 10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start<'a> {
    /// 0
    pub version_major: u8,
    /// 9
    pub version_minor: u8,
    /// Product, version, capabilities and so on.
    pub server_properties: TableRef<'a>,
    /// Mechanisms of SASL, parted by spaces.
    pub mechanisms: &'a [u8],
    /// Locales, parted by spaces.
    pub locales: &'a [u8],
}

impl<'a> Start<'a> {
    #[inline]
    pub(super) fn read(input: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self {
            version_major: input.u8()?,
            version_minor: input.u8()?,
            server_properties: TableRef::read(input)?,
            mechanisms: input.long_bytes()?,
            locales: input.long_bytes()?,
        })
    }
}

impl Encode for Start<'_> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 10, 10);
        out.push(self.version_major);
        out.push(self.version_minor);
        self.server_properties.put(out);
        put_long_bytes(out, self.mechanisms);
        put_long_bytes(out, self.locales);
    }
}

/// connection.start-ok (10, 11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartOk<'a> {
    /// Product, version, capabilities and so on.
    pub client_properties: TableRef<'a>,
    /// Chosen mechanism of SASL.
    pub mechanism: &'a str,
    /// What the mechanism answers.
    pub response: &'a [u8],
    /// Chosen locale.
    pub locale: &'a str,
}

impl<'a> StartOk<'a> {
    #[inline]
    pub(super) fn read(input: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self {
            client_properties: TableRef::read(input)?,
            mechanism: input.short_str()?,
            response: input.long_bytes()?,
            locale: input.short_str()?,
        })
    }
}

impl Encode for StartOk<'_> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 10, 11);
        self.client_properties.put(out);
        put_short_str(out, self.mechanism);
        put_long_bytes(out, self.response);
        put_short_str(out, self.locale);
    }
}

/// connection.secure (10, 20).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Secure<'a> {
    /// What the mechanism asks.
    pub challenge: &'a [u8],
}

impl<'a> Secure<'a> {
    #[inline]
    pub(super) fn read(input: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self { challenge: input.long_bytes()? })
    }
}

impl Encode for Secure<'_> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 10, 20);
        put_long_bytes(out, self.challenge);
    }
}

/// connection.secure-ok (10, 21).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecureOk<'a> {
    /// What the mechanism answers.
    pub response: &'a [u8],
}

impl<'a> SecureOk<'a> {
    #[inline]
    pub(super) fn read(input: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self { response: input.long_bytes()? })
    }
}

impl Encode for SecureOk<'_> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 10, 21);
        put_long_bytes(out, self.response);
    }
}

/// connection.tune (10, 30).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tune {
    /// Highest channel number; 0 for no limit of one's own.
    pub channel_max: u16,
    /// Octets of the largest frame; 0 for no limit of one's own.
    pub frame_max: u32,
    /// Seconds; 0 for none.
    pub heartbeat: u16,
}

impl Tune {
    #[inline]
    pub(super) fn read(input: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self { channel_max: input.u16()?, frame_max: input.u32()?, heartbeat: input.u16()? })
    }
}

impl Encode for Tune {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 10, 30);
        put_u16(out, self.channel_max);
        put_u32(out, self.frame_max);
        put_u16(out, self.heartbeat);
    }
}

/// connection.tune-ok (10, 31).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TuneOk {
    /// Highest channel number; 0 for no limit of one's own.
    pub channel_max: u16,
    /// Octets of the largest frame; 0 for no limit of one's own.
    pub frame_max: u32,
    /// Seconds; 0 for none.
    pub heartbeat: u16,
}

impl TuneOk {
    #[inline]
    pub(super) fn read(input: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self { channel_max: input.u16()?, frame_max: input.u32()?, heartbeat: input.u16()? })
    }
}

impl Encode for TuneOk {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 10, 31);
        put_u16(out, self.channel_max);
        put_u32(out, self.frame_max);
        put_u16(out, self.heartbeat);
    }
}

/// connection.open (10, 40).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open<'a> {
    /// Name of the virtual host.
    pub virtual_host: &'a str,
    /// Reserved.
    pub capabilities: &'a str,
    /// Reserved.
    pub insist: bool,
}

impl<'a> Open<'a> {
    #[inline]
    pub(super) fn read(input: &mut Reader<'a>) -> Result<Self, WireError> {
        let virtual_host = input.short_str()?;
        let capabilities = input.short_str()?;
        let bits = input.u8()?;
        Ok(Self { virtual_host, capabilities, insist: bits & 1 != 0 })
    }
}

impl Encode for Open<'_> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 10, 40);
        put_short_str(out, self.virtual_host);
        put_short_str(out, self.capabilities);
        out.push(u8::from(self.insist));
    }
}

/// connection.open-ok (10, 41).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenOk<'a> {
    /// Reserved.
    pub known_hosts: &'a str,
}

impl<'a> OpenOk<'a> {
    #[inline]
    pub(super) fn read(input: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self { known_hosts: input.short_str()? })
    }
}

impl Encode for OpenOk<'_> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 10, 41);
        put_short_str(out, self.known_hosts);
    }
}

/// connection.close (10, 50).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Close<'a> {
    /// The cause as a number.
    pub reply_code: u16,
    /// The cause for people.
    pub reply_text: &'a str,
    /// Class of the method that was the cause, or 0.
    pub class_id: u16,
    /// The method that was the cause, or 0.
    pub method_id: u16,
}

impl<'a> Close<'a> {
    #[inline]
    pub(super) fn read(input: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self {
            reply_code: input.u16()?,
            reply_text: input.short_str()?,
            class_id: input.u16()?,
            method_id: input.u16()?,
        })
    }
}

impl Encode for Close<'_> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 10, 50);
        put_u16(out, self.reply_code);
        put_short_str(out, self.reply_text);
        put_u16(out, self.class_id);
        put_u16(out, self.method_id);
    }
}

/// connection.blocked (10, 60).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocked<'a> {
    /// For people.
    pub reason: &'a str,
}

impl<'a> Blocked<'a> {
    #[inline]
    pub(super) fn read(input: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self { reason: input.short_str()? })
    }
}

impl Encode for Blocked<'_> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 10, 60);
        put_short_str(out, self.reason);
    }
}

/// connection.update-secret (10, 70).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpdateSecret<'a> {
    /// The new password or token.
    pub new_secret: &'a [u8],
    /// For people.
    pub reason: &'a str,
}

impl<'a> UpdateSecret<'a> {
    #[inline]
    pub(super) fn read(input: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self { new_secret: input.long_bytes()?, reason: input.short_str()? })
    }
}

impl Encode for UpdateSecret<'_> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 10, 70);
        put_long_bytes(out, self.new_secret);
        put_short_str(out, self.reason);
    }
}
