//! Methods of class tx (90).
//! May import `octets` and `field_table`. Written by generate_method_table.py: change that.

use super::{Encode, MethodError, put_id};

/// A method of class tx.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tx {
    /// tx.select (90, 10).
    Select,
    /// tx.select-ok (90, 11).
    SelectOk,
    /// tx.commit (90, 20).
    Commit,
    /// tx.commit-ok (90, 21).
    CommitOk,
    /// tx.rollback (90, 30).
    Rollback,
    /// tx.rollback-ok (90, 31).
    RollbackOk,
}

impl Tx {
    /// Reads what follows the ids.
    #[inline]
    pub(super) fn read(method: u16) -> Result<Self, MethodError> {
        Ok(match method {
            10 => Self::Select,
            11 => Self::SelectOk,
            20 => Self::Commit,
            21 => Self::CommitOk,
            30 => Self::Rollback,
            31 => Self::RollbackOk,
            _ => return Err(MethodError::Unknown { class: 90, method }),
        })
    }

    /// Number of the method within its class.
    pub const fn method_id(&self) -> u16 {
        match self {
            Self::Select => 10,
            Self::SelectOk => 11,
            Self::Commit => 20,
            Self::CommitOk => 21,
            Self::Rollback => 30,
            Self::RollbackOk => 31,
        }
    }
}

impl Encode for Tx {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Select => put_id(out, 90, 10),
            Self::SelectOk => put_id(out, 90, 11),
            Self::Commit => put_id(out, 90, 20),
            Self::CommitOk => put_id(out, 90, 21),
            Self::Rollback => put_id(out, 90, 30),
            Self::RollbackOk => put_id(out, 90, 31),
        }
    }
}
