//! What the fuzz targets and the corpus test run on any octets: nothing panics, and what was
//! read is written again as it was. May import the codec.

use super::field_table::TableRef;
use super::frame::{self, Frame};
use super::method::{Encode, Method};
use super::properties::{ContentHeader, Properties, PropertyScan};
use super::protocol_header;
use super::table_buffer::TableBuffer;
use crate::protocol::octets::{Decoded, Reader, put_long_bytes};

/// A fuzz target: its name, which is that of its corpus, and what it runs.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("amqp_frame", amqp_frame),
    ("amqp_method", amqp_method),
    ("amqp_table", amqp_table),
    ("amqp_properties", amqp_properties),
];

/// Octets as a stream of frames.
pub fn amqp_frame(input: &[u8]) {
    if let Decoded::NeedMore { bytes_min } = protocol_header::recognise(input) {
        assert!(bytes_min > input.len());
        assert!(bytes_min <= protocol_header::PROTOCOL_HEADER_BYTES);
    }
    for frame_bytes_max in [0, frame::FRAME_BYTES_MIN] {
        let mut rest = input;
        while let Some(taken) = one_frame(rest, frame_bytes_max) {
            rest = rest.get(taken..).unwrap_or_default();
        }
    }
}

fn one_frame(input: &[u8], frame_bytes_max: u32) -> Option<usize> {
    let (frame, taken) = match frame::decode(input, frame_bytes_max).ok()? {
        Decoded::Frame { frame, taken } => (frame, taken),
        Decoded::NeedMore { bytes_min } => {
            assert!(bytes_min > input.len());
            return None;
        }
    };
    let mut again = Vec::new();
    match frame {
        Frame::Method { channel, payload } => {
            frame::put_method_frame(&mut again, channel, |out| out.extend_from_slice(payload));
            amqp_method(payload);
            assert_eq!(input.get(..taken), Some(&again[..]));
        }
        Frame::Header { payload, .. } => amqp_properties(payload),
        Frame::Body { channel, payload } if !payload.is_empty() => {
            frame::put_body_frames(&mut again, channel, payload, 0);
            assert_eq!(input.get(..taken), Some(&again[..]));
        }
        Frame::Body { .. } | Frame::Heartbeat { .. } => {}
    }
    Some(taken)
}

/// Octets as the payload of a method frame.
pub fn amqp_method(input: &[u8]) {
    let Ok(method) = Method::decode(input) else { return };
    let mut again = Vec::new();
    method.encode(&mut again);
    // Only unused bits may be lost.
    assert_eq!(again.len(), input.len());
    assert_eq!(Method::decode(&again), Ok(method));
    assert!(!method.name().is_empty());
}

/// Octets as the entries of a field table.
pub fn amqp_table(input: &[u8]) {
    let mut wire = Vec::new();
    put_long_bytes(&mut wire, input);
    let Ok(table) = TableRef::read(&mut Reader::new(&wire)) else { return };
    assert_eq!(table.as_bytes(), input);
    // A few: to look up all of them is quadratic.
    for (name, _) in table.iter().take(8) {
        assert!(table.get(name).is_some());
    }
    // Letters that are read alike are written alike, so the second writing is the first.
    let neutral = TableBuffer::from_table(&table.to_value());
    assert!(neutral.is_ok(), "a table that was read can be written");
    let Ok(neutral) = neutral else { return };
    assert_eq!(neutral.view().as_bytes().len(), input.len());
    let again = TableBuffer::from_table(&neutral.view().to_value());
    assert_eq!(again.as_ref(), Ok(&neutral));
    change_table(table);
}

/// What is added and removed leaves no trace.
fn change_table(table: TableRef<'_>) {
    const NAME: &str = "x-not-in-any-corpus";
    let mut changed = TableBuffer::from(table);
    assert!(changed.set(NAME, &crate::value::Value::Void).is_ok());
    assert!(changed.view().get(NAME).is_some());
    changed.remove(NAME);
    assert!(table.get(NAME).is_some() || changed.view() == table);
}

/// Octets as the payload of a header frame.
pub fn amqp_properties(input: &[u8]) {
    let Ok((header, scan)) = ContentHeader::decode_scanned(input) else { return };
    if header.class != frame::CONTENT_CLASS {
        return;
    }
    let block = header.properties;
    assert_eq!(PropertyScan::of(block), Ok(scan));
    let properties = Properties::decode(block);
    assert!(properties.is_ok());
    let Ok(properties) = properties else { return };
    assert_eq!(properties.headers, scan.headers);
    assert_eq!(properties.expiration, scan.expiration);
    if let Some(headers) = scan.headers {
        let end = scan.headers_at.saturating_add(headers.as_bytes().len());
        assert_eq!(block.get(scan.headers_at..end), Some(headers.as_bytes()));
    }
    let again = properties.to_block();
    assert_eq!(Properties::decode(&again), Ok(properties));
    // An empty second word of flags is read, never written.
    assert!(again == block || again.len().saturating_add(2) == block.len());
}
