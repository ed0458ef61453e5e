//! Methods of class confirm (85).
//! May import `octets` and `field_table`. Written by generate_method_table.py: change that.

use super::{Encode, MethodError, put_id};
use crate::protocol::octets::{Reader, WireError};

/// A method of class confirm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirm {
    /// confirm.select (85, 10).
    Select(Select),
    /// confirm.select-ok (85, 11).
    SelectOk,
}

impl Confirm {
    /// Reads what follows the ids.
    #[inline]
    pub(super) fn read(method: u16, input: &mut Reader<'_>) -> Result<Self, MethodError> {
        Ok(match method {
            10 => Self::Select(Select::read(input)?),
            11 => Self::SelectOk,
            _ => return Err(MethodError::Unknown { class: 85, method }),
        })
    }

    /// Number of the method within its class.
    pub const fn method_id(&self) -> u16 {
        match self {
            Self::Select(_) => 10,
            Self::SelectOk => 11,
        }
    }
}

impl Encode for Confirm {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Select(method) => method.encode(out),
            Self::SelectOk => put_id(out, 85, 11),
        }
    }
}

/// confirm.select (85, 10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Select {
    /// Whether no answer is wanted.
    pub no_wait: bool,
}

impl Select {
    #[inline]
    pub(super) fn read(input: &mut Reader<'_>) -> Result<Self, WireError> {
        let bits = input.u8()?;
        Ok(Self { no_wait: bits & 1 != 0 })
    }
}

impl Encode for Select {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, 85, 10);
        out.push(u8::from(self.no_wait));
    }
}
