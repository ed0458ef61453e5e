//! Exact octets, written by hand from the specification.

use crate::protocol::amqp091::wire::field_table::TableRef;
use crate::protocol::amqp091::wire::frame::{self, Frame};
use crate::protocol::amqp091::wire::method::{Encode, Method, basic, connection, queue};
use crate::protocol::amqp091::wire::properties::{NO_PROPERTIES, Properties};
use crate::protocol::amqp091::wire::table_buffer::TableBuffer;
use crate::protocol::octets::{Decoded, Reader};
use crate::value::Value;

/// Both ways: the method is those octets, and those octets are the method.
#[track_caller]
fn same<'a>(method: &(impl Encode + std::fmt::Debug), wire: &'a [u8]) -> Method<'a> {
    let mut out = Vec::new();
    frame::put_method(&mut out, 0, method);
    assert_eq!(out, wire);
    let frame = frame::decode(wire, 4096);
    let Ok(Decoded::Frame { frame: Frame::Method { payload, .. }, taken }) = frame else {
        panic!("{frame:?}")
    };
    assert_eq!(taken, wire.len());
    let decoded = Method::decode(payload).unwrap();
    let mut again = Vec::new();
    decoded.encode(&mut again);
    assert_eq!(again, payload);
    decoded
}

#[test]
fn connection_start() {
    let mut properties = TableBuffer::new();
    properties.set("product", &Value::text("R")).unwrap();
    let start = connection::Start {
        version_major: 0,
        version_minor: 9,
        server_properties: properties.view(),
        mechanisms: b"PLAIN",
        locales: b"en_US",
    };
    let wire = b"\x01\0\0\0\0\0\x2A\0\x0A\0\x0A\0\x09\0\0\0\x0E\x07productS\0\0\0\x01R\
        \0\0\0\x05PLAIN\0\0\0\x05en_US\xCE";
    same(&start, wire);
}

#[test]
fn connection_tune() {
    let tune = connection::Tune { channel_max: 2047, frame_max: 131_072, heartbeat: 60 };
    same(&tune, b"\x01\0\0\0\0\0\x0C\0\x0A\0\x1E\x07\xFF\0\x02\0\0\0\x3C\xCE");
}

#[test]
fn connection_open() {
    let open = connection::Open { virtual_host: "/", capabilities: "", insist: false };
    same(&open, b"\x01\0\0\0\0\0\x08\0\x0A\0\x28\x01/\0\0\xCE");
}

#[test]
fn queue_declare_packs_its_bits_into_one_octet() {
    let declare = queue::Declare {
        ticket: 0,
        queue: "q",
        passive: false,
        durable: true,
        exclusive: false,
        auto_delete: true,
        no_wait: true,
        arguments: TableRef::EMPTY,
    };
    same(&declare, b"\x01\0\0\0\0\0\x0D\0\x32\0\x0A\0\0\x01q\x1A\0\0\0\0\xCE");
}

#[test]
fn basic_ack() {
    let ack = basic::Ack { delivery_tag: 258, multiple: true };
    same(&ack, b"\x01\0\0\0\0\0\x0D\0\x3C\0\x50\0\0\0\0\0\0\x01\x02\x01\xCE");
}

#[test]
fn basic_publish_with_header_and_body() {
    let publish = basic::Publish {
        ticket: 0,
        exchange: "",
        routing_key: "q",
        mandatory: true,
        immediate: false,
    };
    let properties = Properties { delivery_mode: Some(2), ..Properties::default() };
    let mut wire = Vec::new();
    frame::put_content(&mut wire, 1, &publish, &properties.to_block(), b"hello", 4096);
    assert_eq!(
        wire,
        b"\x01\0\x01\0\0\0\x0A\0\x3C\0\x28\0\0\0\x01q\x01\xCE\
          \x02\0\x01\0\0\0\x0F\0\x3C\0\0\0\0\0\0\0\0\0\x05\x10\0\x02\xCE\
          \x03\0\x01\0\0\0\x05hello\xCE"
    );
}

#[test]
fn basic_deliver_with_header_and_body() {
    let deliver = basic::Deliver {
        consumer_tag: "c",
        delivery_tag: 1,
        redelivered: true,
        exchange: "e",
        routing_key: "k",
    };
    let mut wire = Vec::new();
    frame::put_content(&mut wire, 1, &deliver, &NO_PROPERTIES, b"", 4096);
    assert_eq!(
        wire,
        b"\x01\0\x01\0\0\0\x13\0\x3C\0\x3C\x01c\0\0\0\0\0\0\0\x01\x01\x01e\x01k\xCE\
          \x02\0\x01\0\0\0\x0E\0\x3C\0\0\0\0\0\0\0\0\0\0\0\0\xCE"
    );
}

#[test]
fn a_field_table() {
    let mut table = TableBuffer::new();
    table.set("x-max-length", &Value::I32(10)).unwrap();
    table.set("ok", &Value::Bool(true)).unwrap();
    let mut wire = Vec::new();
    table.view().put(&mut wire);
    assert_eq!(wire, b"\0\0\0\x17\x0Cx-max-lengthI\0\0\0\x0A\x02okt\x01");
    assert_eq!(TableRef::read(&mut Reader::new(&wire)), Ok(table.view()));
}

#[test]
fn a_heartbeat() {
    let mut wire = Vec::new();
    frame::put_heartbeat(&mut wire);
    assert_eq!(wire, b"\x08\0\0\0\0\0\0\xCE");
}
