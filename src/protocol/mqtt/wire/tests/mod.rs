//! Tests of the codec as a whole; what concerns one file alone is in that file.
#![cfg(test)]

mod corpus;
mod cuts;
mod flags;
mod forwarding;
mod headers;
mod limits;
mod octets_on_the_wire;
mod property_rules;
mod random;
mod reason_codes;
mod refusals;
mod samples;
mod texts;

use super::fault::Fault;
use super::header::{self, Raw};
use super::packet::Packet;
use super::reason_code::ReasonCode;
use super::{PACKET_BYTES_MAX, PacketId, Sender, Version};
use crate::protocol::octets::Decoded;

/// A packet identifier.
fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

/// The one packet that `wire` is.
fn whole(wire: &[u8]) -> Result<Raw<'_>, Fault> {
    match header::split(wire, PACKET_BYTES_MAX)? {
        Decoded::Frame { frame, taken } => {
            assert_eq!(taken, wire.len(), "{wire:02x?} is more than one packet");
            Ok(frame)
        }
        Decoded::NeedMore { bytes_min } => panic!("{wire:02x?} needs {bytes_min} octets"),
    }
}

fn decode(wire: &[u8], version: Version, from: Sender) -> Result<Packet<'_>, Fault> {
    Packet::decode(&whole(wire)?, version, from)
}

/// The code with which `wire` is refused.
fn refusal(wire: &[u8], version: Version, from: Sender) -> Option<ReasonCode> {
    decode(wire, version, from).err().map(|fault| fault.code)
}

/// A packet around a body.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    use super::encode::Sink;
    let mut wire = vec![first];
    wire.variable(u32::try_from(body.len()).unwrap());
    wire.extend_from_slice(body);
    wire
}
