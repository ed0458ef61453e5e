//! Methods of class access (30).
//! May import `octets` and `field_table`. Written by generate_method_table.py: change that.

use super::{Encode, MethodError, put_id};
use crate::protocol::octets::{Reader, WireError, put_short_str, put_u16};

/// A method of class access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access<'a> {
    /// access.request (30, 10).
    Request(Request<'a>),
    /// access.request-ok (30, 11).
    RequestOk(RequestOk),
}

impl<'a> Access<'a> {
    /// Reads what follows the ids.
    #[inline]
    pub(super) fn read(method: u16, input: &mut Reader<'a>) -> Result<Self, MethodError> {
        Ok(match method {
            10 => Self::Request(Request::read(input)?),
            11 => Self::RequestOk(RequestOk::read(input)?),
            _ => return Err(MethodError::Unknown { class: 30, method }),
        })
    }

    /// Number of the method within its class.
    pub const fn method_id(&self) -> u16 {
        match self {
            Self::Request(_) => 10,
            Self::RequestOk(_) => 11,
        }
    }
}

impl Encode for Access<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Request(method) => method.encode(out),
            Self::RequestOk(method) => method.encode(out),
        }
    }
}

/// access.request (30, 10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// Reserved.
    pub realm: &'a str,
    /// Whether others are kept out.
    pub exclusive: bool,
    /// Only ask whether it exists.
    pub passive: bool,
    /// Whether content may flow.
    pub active: bool,
    /// Reserved.
    pub write: bool,
    /// Reserved.
    pub read: bool,
}

impl<'a> Request<'a> {
    #[inline]
    pub(super) fn read(input: &mut Reader<'a>) -> Result<Self, WireError> {
        let realm = input.short_str()?;
        let bits = input.u8()?;
        Ok(Self {
            realm,
            exclusive: bits & 1 != 0,
            passive: bits & 2 != 0,
            active: bits & 4 != 0,
            write: bits & 8 != 0,
            read: bits & 16 != 0,
        })
    }
}

impl Encode for Request<'_> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 30, 10);
        put_short_str(out, self.realm);
        out.push(
            u8::from(self.exclusive)
                | u8::from(self.passive) << 1
                | u8::from(self.active) << 2
                | u8::from(self.write) << 3
                | u8::from(self.read) << 4,
        );
    }
}

/// access.request-ok (30, 11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestOk {
    /// Reserved since 0-9-1.
    pub ticket: u16,
}

impl RequestOk {
    #[inline]
    pub(super) fn read(input: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self { ticket: input.u16()? })
    }
}

impl Encode for RequestOk {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 30, 11);
        put_u16(out, self.ticket);
    }
}
