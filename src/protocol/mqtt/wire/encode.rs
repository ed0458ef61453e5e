//! Writes packets: the length is counted first, then everything is appended once. May import the
//! words of `wire`.

use std::fmt;

use super::properties::{Diagnostics, UserProperties};
use super::{PACKET_BYTES_MAX, PacketId, Version};

/// Why a packet was not written; nothing of it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsendable {
    /// It is larger than the peer takes, or than a packet can be.
    TooLarge,
    /// There is no way to say this in that version.
    NotInVersion,
}

impl fmt::Display for Unsendable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the packet is larger than the peer takes",
            Self::NotInVersion => "the version of the peer has no such packet",
        })
    }
}

impl std::error::Error for Unsendable {}

/// Takes octets, or counts them.
pub trait Sink {
    /// Takes them.
    fn octets(&mut self, octets: &[u8]);

    /// 1 octet.
    #[inline]
    fn u8(&mut self, n: u8) {
        self.octets(&[n]);
    }

    /// 2 octets.
    #[inline]
    fn u16(&mut self, n: u16) {
        self.octets(&n.to_be_bytes());
    }

    /// 4 octets.
    #[inline]
    fn u32(&mut self, n: u32) {
        self.octets(&n.to_be_bytes());
    }

    /// A packet identifier.
    #[inline]
    fn packet_id(&mut self, id: PacketId) {
        self.u16(id.get());
    }

    /// Octets behind a length of 2 octets; what is beyond 65,535 is cut.
    #[inline]
    fn binary(&mut self, octets: &[u8]) {
        let octets = octets.get(..TEXT_BYTES_MAX).unwrap_or(octets);
        self.u16(u16::try_from(octets.len()).unwrap_or(u16::MAX));
        self.octets(octets);
    }

    /// Text behind a length of 2 octets, cut as [`fit`] does.
    #[inline]
    fn text(&mut self, text: &str) {
        self.binary(fit(text).as_bytes());
    }

    /// A number of 1 to 4 octets.
    #[inline]
    fn variable(&mut self, n: u32) {
        let mut rest = n;
        while rest > 0x7F {
            self.u8(rest.to_le_bytes()[0] | 0x80);
            rest >>= 7;
        }
        self.u8(rest.to_le_bytes()[0]);
    }

    /// Properties behind their length.
    #[inline]
    fn block<B: Block>(&mut self, block: &B)
    where
        Self: Sized,
    {
        let mut count = Count(0);
        block.write(&mut count);
        self.variable(count.as_u32());
        block.write(self);
    }
}

/// Octets that a text can have.
pub const TEXT_BYTES_MAX: usize = 65_535;

/// The longest front of a text that fits behind a length of 2 octets and ends with a whole letter:
/// reason strings may be cut, and names that come from outside are never that long.
#[must_use]
pub fn fit(text: &str) -> &str {
    if text.len() <= TEXT_BYTES_MAX {
        return text;
    }
    let whole = (TEXT_BYTES_MAX - 3..=TEXT_BYTES_MAX).rev().find(|&end| text.is_char_boundary(end));
    text.get(..whole.unwrap_or(0)).unwrap_or_default()
}

impl Sink for Vec<u8> {
    #[inline]
    fn octets(&mut self, octets: &[u8]) {
        self.extend_from_slice(octets);
    }

    #[inline]
    fn u8(&mut self, n: u8) {
        self.push(n);
    }
}

/// Counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Count(pub(super) usize);

impl Count {
    /// As a length field; what does not fit is refused by whoever looks at the whole packet.
    pub(super) fn as_u32(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }
}

impl Sink for Count {
    #[inline]
    fn octets(&mut self, octets: &[u8]) {
        self.0 = self.0.saturating_add(octets.len());
    }
}

/// The properties of a packet.
pub trait Block {
    /// Without their length.
    fn write<S: Sink>(&self, sink: &mut S);
}

/// A packet that can be written.
pub trait Encode {
    /// The first octet: kind and flags.
    fn first_octet(&self) -> u8;

    /// What follows the fixed header.
    fn write<S: Sink>(&self, sink: &mut S, version: Version);

    /// Whether that version can say it.
    fn exists_in(&self, _version: Version) -> bool {
        true
    }
}

/// Appends a packet whose octets are `packet_bytes_max` at most.
///
/// # Errors
/// Nothing is appended.
pub fn put<P: Encode>(
    out: &mut Vec<u8>,
    packet: &P,
    version: Version,
    packet_bytes_max: u32,
) -> Result<(), Unsendable> {
    if !packet.exists_in(version) {
        return Err(Unsendable::NotInVersion);
    }
    let mut body = Count(0);
    packet.write(&mut body, version);
    let (body_bytes, packet_bytes) = lengths(body.0, packet_bytes_max)?;
    out.reserve(packet_bytes);
    out.push(packet.first_octet());
    out.variable(body_bytes);
    packet.write(out, version);
    Ok(())
}

/// Remaining length and octets of a whole packet, if it may be sent.
pub(super) fn lengths(
    body_bytes: usize,
    packet_bytes_max: u32,
) -> Result<(u32, usize), Unsendable> {
    let body = u32::try_from(body_bytes).map_err(|_| Unsendable::TooLarge)?;
    let packet_bytes = body_bytes.saturating_add(1).saturating_add(variable_bytes(body));
    let max = packet_bytes_max.min(PACKET_BYTES_MAX);
    if packet_bytes > usize::try_from(max).unwrap_or(usize::MAX) {
        return Err(Unsendable::TooLarge);
    }
    Ok((body, packet_bytes))
}

/// Octets that [`Sink::variable`] writes.
#[must_use]
#[inline]
pub const fn variable_bytes(n: u32) -> usize {
    match n {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        0x20_0000..=u32::MAX => 4,
    }
}

/// A packet that explains itself.
pub trait Explained<'a>: Encode + Copy {
    /// The explanation.
    fn diagnostics(&mut self) -> &mut Diagnostics<'a>;
}

/// Appends a packet as [`put`] does; when it is too large first without its reason string, then
/// without its user properties as well (MQTT-3.2.2-19, -20, MQTT-3.4.2-2, -3 and the like of all
/// others in 5.0).
///
/// # Errors
/// It is too large without them too; nothing is appended.
#[inline]
pub fn put_explained<'a, P: Explained<'a>>(
    out: &mut Vec<u8>,
    packet: &P,
    version: Version,
    packet_bytes_max: u32,
) -> Result<(), Unsendable> {
    match put(out, packet, version, packet_bytes_max) {
        Err(Unsendable::TooLarge) => put_less(out, *packet, version, packet_bytes_max),
        Err(Unsendable::NotInVersion) => Err(Unsendable::NotInVersion),
        Ok(()) => Ok(()),
    }
}

#[cold]
fn put_less<'a, P: Explained<'a>>(
    out: &mut Vec<u8>,
    mut packet: P,
    version: Version,
    packet_bytes_max: u32,
) -> Result<(), Unsendable> {
    packet.diagnostics().reason = None;
    if put(out, &packet, version, packet_bytes_max).is_ok() {
        return Ok(());
    }
    packet.diagnostics().user_properties = UserProperties::NONE;
    put(out, &packet, version, packet_bytes_max)
}
