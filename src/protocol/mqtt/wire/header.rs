//! The fixed header, and whole packets at the front of a slice. May import `octets`, `fault`,
//! `encode`.

use super::encode::variable_bytes;
use super::fault::Fault;
use super::reason_code::ReasonCode;
use super::{Sender, Version};
use crate::protocol::octets::Decoded;

/// The kinds of packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// The client introduces itself.
    Connect = 1,
    /// The answer.
    Connack = 2,
    /// A message.
    Publish = 3,
    /// QoS 1: it has arrived.
    Puback = 4,
    /// QoS 2: it has arrived.
    Pubrec = 5,
    /// QoS 2: it will not come again.
    Pubrel = 6,
    /// QoS 2: its identifier is free.
    Pubcomp = 7,
    /// The client wants messages.
    Subscribe = 8,
    /// The answer.
    Suback = 9,
    /// It wants them no more.
    Unsubscribe = 10,
    /// The answer.
    Unsuback = 11,
    /// A sign of life.
    Pingreq = 12,
    /// The answer.
    Pingresp = 13,
    /// The end.
    Disconnect = 14,
    /// Steps of an authentication.
    Auth = 15,
}

impl Kind {
    /// All of them, by number.
    pub const ALL: [Self; 15] = [
        Self::Connect,
        Self::Connack,
        Self::Publish,
        Self::Puback,
        Self::Pubrec,
        Self::Pubrel,
        Self::Pubcomp,
        Self::Subscribe,
        Self::Suback,
        Self::Unsubscribe,
        Self::Unsuback,
        Self::Pingreq,
        Self::Pingresp,
        Self::Disconnect,
        Self::Auth,
    ];

    /// From four bits; `None` for 0.
    #[inline]
    fn from_bits(bits: u8) -> Option<Self> {
        Self::ALL.get(usize::from(bits).checked_sub(1)?).copied()
    }

    /// The first octet of a packet with these flags.
    #[must_use]
    #[inline]
    pub const fn first_octet(self, flags: u8) -> u8 {
        ((self as u8) << 4) | (flags & 0x0F)
    }

    /// The flags that it must have; those of PUBLISH mean something.
    #[must_use]
    pub const fn flags(self) -> u8 {
        match self {
            Self::Pubrel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            Self::Connect
            | Self::Connack
            | Self::Publish
            | Self::Puback
            | Self::Pubrec
            | Self::Pubcomp
            | Self::Suback
            | Self::Unsuback
            | Self::Pingreq
            | Self::Pingresp
            | Self::Disconnect
            | Self::Auth => 0,
        }
    }

    /// Who may send it.
    const fn sender(self) -> Option<Sender> {
        match self {
            Self::Connect | Self::Subscribe | Self::Unsubscribe | Self::Pingreq => {
                Some(Sender::Client)
            }
            Self::Connack | Self::Suback | Self::Unsuback | Self::Pingresp => Some(Sender::Server),
            Self::Publish
            | Self::Puback
            | Self::Pubrec
            | Self::Pubrel
            | Self::Pubcomp
            | Self::Disconnect
            | Self::Auth => None,
        }
    }
}

/// What a packet begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Which packet.
    pub kind: Kind,
    /// The low four bits of the first octet.
    pub flags: u8,
    /// Octets of the header: 2 to 5.
    pub head_bytes: usize,
    /// Octets that follow it.
    pub body_bytes: usize,
}

impl Header {
    /// Octets of the whole packet.
    #[must_use]
    #[inline]
    pub const fn packet_bytes(&self) -> usize {
        self.head_bytes.saturating_add(self.body_bytes)
    }

    /// Whether that end may send such a packet, with these flags, in this version.
    ///
    /// # Errors
    /// 0x81 for reserved flags (MQTT-2.2.2-2 of 3.1.1, MQTT-2.1.3-1 of 5.0) and a length that is
    /// longer than it needs (MQTT-1.5.5-1), 0x82 for a packet of the other end.
    #[inline]
    pub fn check(&self, version: Version, from: Sender) -> Result<(), Fault> {
        if self.kind.sender().is_some_and(|sender| sender != from) {
            return Err(Fault::protocol("a packet that only the other end may send"));
        }
        if self.kind != Kind::Publish && self.flags != self.kind.flags() {
            // MQTT 3.1 says of all packets but PUBLISH that the flags "are not used".
            if version != Version::V3 {
                return Err(Fault::malformed("reserved flags of the fixed header"));
            }
        }
        if version == Version::V5 {
            let body_bytes = u32::try_from(self.body_bytes).unwrap_or(u32::MAX);
            if self.head_bytes != 1 + variable_bytes(body_bytes) {
                return Err(Fault::malformed("a number has octets that it does not need"));
            }
        } else if self.kind == Kind::Auth {
            return Err(Fault::protocol("AUTH is of MQTT 5.0"));
        } else if self.kind == Kind::Disconnect && from == Sender::Server {
            return Err(Fault::protocol("only a client says DISCONNECT before MQTT 5.0"));
        }
        Ok(())
    }
}

/// The fixed header at the front of `input`.
///
/// # Errors
/// 0x81 as soon as no further octet makes a header of it; 0x95 when the packet would be larger than
/// `packet_bytes_max`, before any of its body is needed.
#[inline]
pub fn header(input: &[u8], packet_bytes_max: u32) -> Result<Decoded<Header>, Fault> {
    let Some((&first, rest)) = input.split_first() else {
        return Ok(Decoded::NeedMore { bytes_min: 2 });
    };
    let Some(kind) = Kind::from_bits(first >> 4) else {
        return Err(Fault::malformed("packet type 0"));
    };
    let (mut body, mut length_bytes) = (0_u32, 0_usize);
    for octet in rest.iter().take(4) {
        body |= u32::from(octet & 0x7F) << (7 * length_bytes);
        length_bytes += 1;
        if octet & 0x80 == 0 {
            let body_bytes = usize::try_from(body).unwrap_or(usize::MAX);
            let head_bytes = 1 + length_bytes;
            let header = Header { kind, flags: first & 0x0F, head_bytes, body_bytes };
            let max = usize::try_from(packet_bytes_max).unwrap_or(usize::MAX);
            if header.packet_bytes() > max {
                return Err(Fault::new(ReasonCode::PacketTooLarge, "the packet is too large"));
            }
            return Ok(Decoded::Frame { frame: header, taken: head_bytes });
        }
    }
    if length_bytes == 4 {
        return Err(Fault::malformed("a remaining length of more than four octets"));
    }
    Ok(Decoded::NeedMore { bytes_min: input.len().saturating_add(1) })
}

/// A whole packet, of which only the header was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raw<'a> {
    /// Its header.
    pub header: Header,
    /// What follows it.
    pub body: &'a [u8],
}

/// The packet at the front of `input`.
///
/// # Errors
/// As [`header`].
#[inline]
pub fn split(input: &[u8], packet_bytes_max: u32) -> Result<Decoded<Raw<'_>>, Fault> {
    let header = match header(input, packet_bytes_max)? {
        Decoded::Frame { frame, .. } => frame,
        Decoded::NeedMore { bytes_min } => return Ok(Decoded::NeedMore { bytes_min }),
    };
    let taken = header.packet_bytes();
    match input.get(header.head_bytes..taken) {
        Some(body) => Ok(Decoded::Frame { frame: Raw { header, body }, taken }),
        None => Ok(Decoded::NeedMore { bytes_min: taken }),
    }
}
