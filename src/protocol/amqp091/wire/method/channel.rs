//! Methods of class channel (20).
//! May import `octets` and `field_table`. Written by generate_method_table.py: change that.

use super::{Encode, MethodError, put_id};
use crate::protocol::octets::{Reader, WireError, put_long_bytes, put_short_str, put_u16};

/// A method of class channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel<'a> {
    /// channel.open (20, 10).
    Open(Open<'a>),
    /// channel.open-ok (20, 11).
    OpenOk(OpenOk<'a>),
    /// channel.flow (20, 20).
    Flow(Flow),
    /// channel.flow-ok (20, 21).
    FlowOk(FlowOk),
    /// channel.close (20, 40).
    Close(Close<'a>),
    /// channel.close-ok (20, 41).
    CloseOk,
}

impl<'a> Channel<'a> {
    /// Reads what follows the ids.
    #[inline]
    pub(super) fn read(method: u16, input: &mut Reader<'a>) -> Result<Self, MethodError> {
        Ok(match method {
            10 => Self::Open(Open::read(input)?),
            11 => Self::OpenOk(OpenOk::read(input)?),
            20 => Self::Flow(Flow::read(input)?),
            21 => Self::FlowOk(FlowOk::read(input)?),
            40 => Self::Close(Close::read(input)?),
            41 => Self::CloseOk,
            _ => return Err(MethodError::Unknown { class: 20, method }),
        })
    }

    /// Number of the method within its class.
    pub const fn method_id(&self) -> u16 {
        match self {
            Self::Open(_) => 10,
            Self::OpenOk(_) => 11,
            Self::Flow(_) => 20,
            Self::FlowOk(_) => 21,
            Self::Close(_) => 40,
            Self::CloseOk => 41,
        }
    }
}

impl Encode for Channel<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Open(method) => method.encode(out),
            Self::OpenOk(method) => method.encode(out),
            Self::Flow(method) => method.encode(out),
            Self::FlowOk(method) => method.encode(out),
            Self::Close(method) => method.encode(out),
            Self::CloseOk => put_id(out, 20, 41),
        }
    }
}

/// channel.open (20, 10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open<'a> {
    /// Reserved.
    pub out_of_band: &'a str,
}

impl<'a> Open<'a> {
    #[inline]
    pub(super) fn read(input: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self { out_of_band: input.short_str()? })
    }
}

impl Encode for Open<'_> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 20, 10);
        put_short_str(out, self.out_of_band);
    }
}

/// channel.open-ok (20, 11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenOk<'a> {
    /// Reserved.
    pub channel_id: &'a [u8],
}

impl<'a> OpenOk<'a> {
    #[inline]
    pub(super) fn read(input: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self { channel_id: input.long_bytes()? })
    }
}

impl Encode for OpenOk<'_> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 20, 11);
        put_long_bytes(out, self.channel_id);
    }
}

/// channel.flow (20, 20).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// Whether content may flow.
    pub active: bool,
}

impl Flow {
    #[inline]
    pub(super) fn read(input: &mut Reader<'_>) -> Result<Self, WireError> {
        let bits = input.u8()?;
        Ok(Self { active: bits & 1 != 0 })
    }
}

impl Encode for Flow {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 20, 20);
        out.push(u8::from(self.active));
    }
}

/// channel.flow-ok (20, 21).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowOk {
    /// Whether content may flow.
    pub active: bool,
}

impl FlowOk {
    #[inline]
    pub(super) fn read(input: &mut Reader<'_>) -> Result<Self, WireError> {
        let bits = input.u8()?;
        Ok(Self { active: bits & 1 != 0 })
    }
}

impl Encode for FlowOk {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 20, 21);
        out.push(u8::from(self.active));
    }
}

/// channel.close (20, 40).
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
        put_id(out, 20, 40);
        put_u16(out, self.reply_code);
        put_short_str(out, self.reply_text);
        put_u16(out, self.class_id);
        put_u16(out, self.method_id);
    }
}
