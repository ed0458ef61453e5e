//! What a broker hands on of a message's properties.

use super::super::message_properties::{MessageProperties, PublishProperties, WillProperties};

const FORMAT: &[u8] = b"\x01\x01";
const EXPIRY: &[u8] = b"\x02\0\0\0\x09";
const TYPE: &[u8] = b"\x03\0\x01t";
const RESPONSE: &[u8] = b"\x08\0\x01r";
const CORRELATION: &[u8] = b"\x09\0\x02\0\xff";
const ID: &[u8] = b"\x0b\x80\x01";
const ALIAS: &[u8] = b"\x23\0\x05";
const DELAY: &[u8] = b"\x18\0\0\0\x07";
const USER: &[u8] = b"\x26\0\x01a\0\x01b";
const USER_2: &[u8] = b"\x26\0\x01a\0\0";

fn forwarded(block: &[u8]) -> (Vec<u8>, bool) {
    let properties = PublishProperties::read(block).unwrap();
    let mut scratch = b"left over".to_vec();
    let octets = properties.message.forwarded(&mut scratch);
    let is_borrowed = octets.is_empty() || block.as_ptr_range().contains(&octets.as_ptr());
    (octets.to_vec(), is_borrowed)
}

/// MQTT-3.3.2-4, -15 to -18, -20 (5.0)
#[test]
fn what_stands_together_is_borrowed_in_its_order() {
    let wanted = [USER, FORMAT, TYPE, RESPONSE, CORRELATION, USER_2].concat();
    for block in [
        wanted.clone(),
        [EXPIRY, ALIAS, &wanted].concat(),
        [&wanted, EXPIRY, ID, ID].concat(),
        [ALIAS, &wanted, EXPIRY].concat(),
    ] {
        assert_eq!(forwarded(&block), (wanted.clone(), true));
    }
    assert_eq!(forwarded(b""), (Vec::new(), true));
    assert_eq!(forwarded(&[EXPIRY, ALIAS].concat()), (Vec::new(), true));
}

#[test]
fn what_stands_apart_is_written_together_in_its_order() {
    for between in [EXPIRY, ALIAS, ID] {
        let block = [USER, between, FORMAT, USER_2].concat();
        assert_eq!(forwarded(&block), ([USER, FORMAT, USER_2].concat(), false));
    }
    let block = [EXPIRY, USER, ALIAS, USER_2, ID, RESPONSE, ID].concat();
    assert_eq!(forwarded(&block), ([USER, USER_2, RESPONSE].concat(), false));
}

/// MQTT-3.1.3-10 (5.0)
#[test]
fn the_properties_of_a_will_are_handed_on_without_its_delay() {
    let block = [USER, DELAY, TYPE, EXPIRY].concat();
    let will = WillProperties::read(&block).unwrap();
    assert_eq!((will.delay_s, will.message.expiry_s), (7, Some(9)));
    let mut scratch = Vec::new();
    assert_eq!(will.message.forwarded(&mut scratch), [USER, TYPE].concat());
}

#[test]
fn what_is_handed_on_reads_as_the_message_said_it() {
    let block = [ID, FORMAT, EXPIRY, TYPE, RESPONSE, ALIAS, CORRELATION, USER, USER_2].concat();
    let read = PublishProperties::read(&block).unwrap();
    assert_eq!(read.topic_alias, Some(5));
    assert_eq!(read.subscription_ids.iter().collect::<Vec<_>>(), [128]);
    let mut scratch = Vec::new();
    let inside = MessageProperties::read(read.message.forwarded(&mut scratch)).unwrap();
    let mut expected = read.message;
    expected.expiry_s = None;
    assert_eq!(inside, expected);
    assert_eq!(inside.is_text, Some(true));
    assert_eq!((inside.content_type, inside.response_topic), (Some("t"), Some("r")));
    assert_eq!(inside.correlation, Some(&b"\0\xff"[..]));
    let pairs: Vec<_> = inside.user_properties.iter().collect();
    assert_eq!(pairs, [("a", "b"), ("a", "")]);
}
