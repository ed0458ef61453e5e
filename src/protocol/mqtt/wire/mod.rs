//! The codec of MQTT 3.1, 3.1.1 and 5.0: pure functions over slices, for both ends of a
//! connection, without I/O or clock, and without an allocation whose size a length field decides.
//! May import `octets`.
//!
//! | octets | file |
//! |---|---|
//! | the fixed header, a whole packet | `header` |
//! | what is in it, all kinds as one enum | `packet` |
//! | one kind of packet | `connect`, `connack`, `publish`, `ack` (PUBACK to PUBCOMP), `subscribe`, `suback`, `unsubscribe`, `disconnect`, `auth` |
//! | properties: which there are, reading, writing | `property_table`, `properties`, `message_properties` |
//! | what a peer is told of an error | `fault`, `reason_code` |
//! | topic names and filters | `topic` |
//! | numbers, texts, lengths | `input` (read), `encode` (write) |
//!
//! The same structs are decoded and encoded. What repeats (user properties, filters, codes) stays a
//! slice as it is on the wire: an iterator reads it, a function appends to such a slice.
//!
//! Decisions where the specification leaves room or is not kept to:
//! - Reserved header bits are not looked at where MQTT 3.1 clients use them: SUBSCRIBE, UNSUBSCRIBE,
//!   PUBREL (mqtt.md 2.2); DUP with QoS 0 and reserved bits beside the QoS of a filter are violations
//!   from 3.1.1 on only.
//! - A user name or password that an MQTT 3.1 CONNECT announces may be missing at its end, as that
//!   specification asks.
//! - A property twice, or with a value that it cannot have, is a protocol error (0x82); an unknown
//!   one, one of another packet and one that does not fit its length is malformed (0x81).
//! - A reason code that is not one of the packet's is a protocol error (0x82).

pub mod ack;
pub mod auth;
pub mod connack;
pub mod connect;
pub mod disconnect;
pub mod encode;
pub mod fault;
#[doc(hidden)]
pub mod fuzzing;
pub mod header;
pub mod input;
pub mod message_properties;
pub mod packet;
pub mod properties;
pub mod property_table;
pub mod publish;
pub mod reason_code;
pub mod suback;
pub mod subscribe;
pub mod topic;
pub mod unsubscribe;

use std::num::NonZeroU16;

#[cfg(test)]
mod tests;

/// The most octets that a packet can have: a remaining length of four octets, and what is before it.
pub const PACKET_BYTES_MAX: u32 = 268_435_455 + 5;

/// What both ends have agreed to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// MQTT 3.1.
    V3,
    /// MQTT 3.1.1.
    V4,
    /// MQTT 5.0.
    V5,
}

impl Version {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::V3, Self::V4, Self::V5];

    /// The octet of CONNECT that names it.
    #[must_use]
    pub const fn level(self) -> u8 {
        match self {
            Self::V3 => 3,
            Self::V4 => 4,
            Self::V5 => 5,
        }
    }

    /// The name that CONNECT begins with.
    #[must_use]
    pub const fn protocol_name(self) -> &'static str {
        match self {
            Self::V3 => "MQIsdp",
            Self::V4 | Self::V5 => "MQTT",
        }
    }

    /// Packets have properties and reason codes.
    #[must_use]
    #[inline]
    pub const fn is_v5(self) -> bool {
        matches!(self, Self::V5)
    }
}

/// Which end of the connection has sent a packet: some may send what the other may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sender {
    /// The one that has connected.
    Client,
    /// The one that has accepted.
    Server,
}

/// The number of a packet that is answered, never zero (MQTT-2.3.1-1 of 3.1.1, MQTT-2.2.1-3 and -4
/// of 5.0).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketId(NonZeroU16);

impl PacketId {
    /// `None` for 0.
    #[must_use]
    #[inline]
    pub const fn new(number: u16) -> Option<Self> {
        match NonZeroU16::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number.
    #[must_use]
    #[inline]
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

/// How surely a message has to arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Qos {
    /// QoS 0.
    #[default]
    AtMostOnce,
    /// QoS 1.
    AtLeastOnce,
    /// QoS 2.
    ExactlyOnce,
}

impl Qos {
    /// From two bits; `None` for 3.
    #[must_use]
    #[inline]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }

    /// As a number.
    #[must_use]
    #[inline]
    pub const fn bits(self) -> u8 {
        match self {
            Self::AtMostOnce => 0,
            Self::AtLeastOnce => 1,
            Self::ExactlyOnce => 2,
        }
    }
}
