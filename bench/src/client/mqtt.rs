//! Clients of MQTT 3.1.1 and 5: thousands of connections on one thread (`fleet`), each of them a
//! `connection` with a part that publishes (`sender`) and a part that receives (`inbox`).
//!
//! Messages do not pass through a codec one by one: a sender patches packets that were written
//! once (`batch`).

pub(crate) mod batch;
pub(crate) mod connection;
pub(crate) mod fleet;
pub(crate) mod inbox;
pub(crate) mod packet;
pub(crate) mod sender;
pub(crate) mod topic;

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// MQTT 3.1.1.
    V4,
    /// MQTT 5.0.
    V5,
}

impl Version {
    /// Protocol level in CONNECT.
    pub(crate) const fn level(self) -> u8 {
        match self {
            Self::V4 => 4,
            Self::V5 => 5,
        }
    }
}
