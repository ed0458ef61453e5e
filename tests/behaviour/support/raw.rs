//! Octets that no codec would write: payloads by hand, frames with wrong heads.

use ringmq::protocol::amqp091::wire::frame;
use ringmq::protocol::amqp091::wire::method::Encode;

use super::client::{Client, frame_octets};

/// Octets of a payload, one value after the other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Payload(pub(crate) Vec<u8>);

impl Payload {
    /// Class and method id, or the first two values of a content header.
    pub(crate) fn of(class: u16, second: u16) -> Self {
        Self::default().short(class).short(second)
    }

    /// One octet.
    pub(crate) fn octet(mut self, octet: u8) -> Self {
        self.0.push(octet);
        self
    }

    /// Two octets.
    pub(crate) fn short(mut self, number: u16) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    /// Four octets.
    pub(crate) fn long(mut self, number: u32) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    /// Eight octets.
    pub(crate) fn longlong(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    /// A short string of any octets.
    pub(crate) fn text(mut self, text: &[u8]) -> Self {
        self.0.push(u8::try_from(text.len()).expect("a short string"));
        self.0.extend_from_slice(text);
        self
    }

    /// Octets as they are.
    pub(crate) fn raw(mut self, octets: &[u8]) -> Self {
        self.0.extend_from_slice(octets);
        self
    }

    /// Octets behind their length: a table, an array or a long string.
    pub(crate) fn counted(self, octets: &[u8]) -> Self {
        self.long(u32::try_from(octets.len()).expect("below 4 GiB")).raw(octets)
    }

    /// queue.declare of a queue with any octets for its table of arguments, length included.
    pub(crate) fn declare(queue: &[u8], table: &[u8]) -> Self {
        Self::of(50, 10).short(0).text(queue).octet(0).raw(table)
    }
}

/// An entry of a table.
pub(crate) fn entry(name: &str, kind: u8, value: &[u8]) -> Vec<u8> {
    Payload::default().text(name.as_bytes()).octet(kind).raw(value).0
}

/// Octets behind their length.
pub(crate) fn counted(octets: &[u8]) -> Vec<u8> {
    Payload::default().counted(octets).0
}

/// The octets of a method frame.
pub(crate) fn method_octets(channel: u16, method: &impl Encode) -> Vec<u8> {
    let mut out = Vec::new();
    frame::put_method(&mut out, channel, method);
    out
}

/// The first seven octets of a frame of any size.
pub(crate) fn head(kind: u8, channel: u16, size: u32) -> Vec<u8> {
    Payload::default().octet(kind).short(channel).long(size).0
}

/// A content header with any class, weight and flags of properties.
pub(crate) fn content_header(class: u16, weight: u16, body_bytes: u64, block: &[u8]) -> Vec<u8> {
    Payload::of(class, weight).longlong(body_bytes).raw(block).0
}

impl Client {
    /// A method frame with this payload.
    pub(crate) fn send_payload(&mut self, channel: u16, payload: &Payload) {
        self.send_frame(frame::METHOD, channel, &payload.0);
    }

    /// basic.publish to a queue, and a content header, in one write; no body.
    pub(crate) fn begin_content(&mut self, channel: u16, queue: &str, header: &[u8]) {
        let mut out = method_octets(channel, &super::methods::publish("", queue));
        out.extend_from_slice(&frame_octets(frame::HEADER, channel, header));
        self.send_raw(&out);
    }

    /// A body frame.
    pub(crate) fn send_body(&mut self, channel: u16, octets: &[u8]) {
        self.send_frame(frame::BODY, channel, octets);
    }
}
