//! What the fuzz targets and the corpus test run on any octets: nothing panics, and what was
//! read is written again so that it is read the same. May import the codec.

use super::header::{self, Raw};
use super::message_properties::MessageProperties;
use super::packet::Packet;
use super::topic::{check_filter, check_name, levels};
use super::{PACKET_BYTES_MAX, Sender, Version};
use crate::protocol::octets::Decoded;

/// A fuzz target: its name, which is that of its corpus, and what it runs.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[("mqtt_packet", mqtt_packet), ("mqtt_stream", mqtt_stream)];

/// Octets as one packet of every version and from both ends.
pub fn mqtt_packet(input: &[u8]) {
    for version in Version::ALL {
        for from in [Sender::Client, Sender::Server] {
            mqtt_packet_of(input, version, from);
        }
    }
    if let Ok(text) = std::str::from_utf8(input) {
        // A name is a filter as well.
        assert!(
            check_name(text).is_err() || text.starts_with("$share/") || check_filter(text).is_ok()
        );
        assert!(levels(text) > 0);
    }
}

/// Octets as a stream: how it begins says the version.
pub fn mqtt_stream(input: &[u8]) {
    let (version, from) = match input.first() {
        None => return,
        Some(first) => {
            let version = match first % 3 {
                0 => Version::V3,
                1 => Version::V4,
                _ => Version::V5,
            };
            (version, if first & 0x80 == 0 { Sender::Client } else { Sender::Server })
        }
    };
    let mut rest = input.get(1..).unwrap_or_default();
    while let Some(taken) = mqtt_packet_of(rest, version, from) {
        rest = rest.get(taken..).unwrap_or_default();
    }
}

/// How many octets the packet at the front takes, if there is one.
fn mqtt_packet_of(input: &[u8], version: Version, from: Sender) -> Option<usize> {
    let (raw, taken) = match header::split(input, PACKET_BYTES_MAX).ok()? {
        Decoded::Frame { frame, taken } => (frame, taken),
        Decoded::NeedMore { bytes_min } => {
            assert!(bytes_min > input.len());
            return None;
        }
    };
    assert!(taken >= 2 && taken <= input.len());
    assert!(header::split(input, small(taken) - 1).is_err());
    let packet = Packet::decode(&raw, version, from).ok()?;
    written_again(&packet, &raw, version, from);
    Some(taken)
}

fn small(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn written_again(packet: &Packet<'_>, raw: &Raw<'_>, version: Version, from: Sender) {
    let mut wire = Vec::new();
    let written = packet.put(&mut wire, version, PACKET_BYTES_MAX);
    assert_eq!(written, Ok(()), "what was read can be written");
    // Properties that say what goes without saying are left out; nothing is added.
    assert!(wire.len() <= raw.header.packet_bytes());
    assert!(
        packet.put(&mut Vec::new(), version, small(wire.len()) - 1).is_err() || wire.len() == 2
    );
    let again = header::split(&wire, PACKET_BYTES_MAX);
    let Ok(Decoded::Frame { frame, taken }) = again else {
        assert!(again.is_err() && again.is_ok(), "what was written is a packet");
        return;
    };
    assert_eq!(taken, wire.len());
    let flags = frame.header.flags;
    assert!(flags == raw.header.flags || version == Version::V3);
    let again = Packet::decode(&frame, version, from);
    // CONNECT is of the version that it says.
    assert_eq!(again.as_ref(), Ok(packet));
    forwarded_octets(packet);
}

/// The block that a message carries inside the broker says the same, without what is not forwarded.
fn forwarded_octets(packet: &Packet<'_>) {
    let Packet::Publish(publish) = packet else { return };
    let mut message = publish.properties.message;
    let mut scratch = Vec::new();
    let block = message.forwarded(&mut scratch);
    message.expiry_s = None;
    assert_eq!(MessageProperties::read(block), Ok(message));
}
