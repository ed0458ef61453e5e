//! A client that says what a test tells it, octet by octet, and takes apart what it hears. May
//! import `octets` and nothing of the crate.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::support::client::PATIENCE;

use super::octets::{
    DISCONNECT, Hello, Letter, PINGREQ, PINGRESP, V5, numbered, packet, subscribe, unsubscribe,
};

/// How long nothing has to come before a test believes that nothing comes. Only where no later
/// message can prove it.
pub(crate) const SILENCE: Duration = Duration::from_millis(300);

/// A packet as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) first: u8,
    pub(crate) body: Vec<u8>,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    Packet(Packet),
    /// The broker closed the connection.
    End,
    Silence,
}

/// A property as it came: its id and the octets of its value; texts without their lengths, pairs
/// of texts with them.
pub(crate) type Property = (u8, Vec<u8>);

/// A PUBLISH as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) id: u16,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    pub(crate) properties: Vec<Property>,
}

impl Message {
    /// Its payload, which is a text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).expect("a text")
    }

    /// The value of a property that it has at most once.
    pub(crate) fn property(&self, id: u8) -> Option<&[u8]> {
        let mut found = self.properties.iter().filter(|property| property.0 == id);
        let value = found.next().map(|property| &property.1[..]);
        assert!(found.next().is_none(), "property {id:#x} comes twice: {self:?}");
        value
    }

    /// The values of its subscription identifiers, in order.
    pub(crate) fn subscription_ids(&self) -> Vec<u64> {
        let ids = self.properties.iter().filter(|property| property.0 == 0x0B);
        let mut ids: Vec<u64> = ids.map(|property| take_varint(&mut &property.1[..])).collect();
        ids.sort_unstable();
        ids
    }
}

/// The answer to CONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Connack {
    pub(crate) present: bool,
    pub(crate) code: u8,
    pub(crate) properties: Vec<Property>,
}

impl Connack {
    /// The value of a property.
    pub(crate) fn property(&self, id: u8) -> Option<&[u8]> {
        self.properties.iter().find(|property| property.0 == id).map(|property| &property.1[..])
    }
}

fn take<'a>(input: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (front, rest) = input.split_at_checked(count).expect("as many octets as it says");
    *input = rest;
    front
}

fn take_u16(input: &mut &[u8]) -> u16 {
    u16::from_be_bytes(take(input, 2).try_into().expect("two octets"))
}

fn take_varint(input: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in [0, 7, 14, 21] {
        let octet = take(input, 1)[0];
        value |= u64::from(octet & 0x7F) << shift;
        if octet & 0x80 == 0 {
            return value;
        }
    }
    panic!("a length of five octets")
}

/// Properties behind their length.
pub(crate) fn take_properties(input: &mut &[u8]) -> Vec<Property> {
    let length = usize::try_from(take_varint(input)).expect("a length");
    let mut block = take(input, length);
    let mut properties = Vec::new();
    while !block.is_empty() {
        let id = take(&mut block, 1)[0];
        let value = match id {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => take(&mut block, 1).to_vec(),
            0x13 | 0x21..=0x23 => take(&mut block, 2).to_vec(),
            0x02 | 0x11 | 0x18 | 0x27 => take(&mut block, 4).to_vec(),
            0x0B => super::octets::varint(take_varint(&mut block)),
            0x26 => {
                let mut both = Vec::new();
                for _ in 0..2 {
                    let length = take_u16(&mut block);
                    both.extend_from_slice(&length.to_be_bytes());
                    both.extend_from_slice(take(&mut block, length.into()));
                }
                both
            }
            _ => {
                let length = take_u16(&mut block);
                take(&mut block, length.into()).to_vec()
            }
        };
        properties.push((id, value));
    }
    properties
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    version: u8,
    next_id: u16,
}

impl Client {
    /// A connection that has said nothing.
    pub(crate) fn stranger(addr: SocketAddr, version: u8) -> Self {
        let stream = TcpStream::connect(addr).expect("a broker listens there");
        stream.set_nodelay(true).expect("a TCP socket");
        Self { stream, buffer: Vec::new(), version, next_id: 0 }
    }

    /// A connection that has said CONNECT, and its answer.
    pub(crate) fn try_connect(addr: SocketAddr, hello: &Hello) -> (Self, Connack) {
        let mut client = Self::stranger(addr, hello.version);
        client.send(&hello.octets());
        let connack = client.expect_connack();
        (client, connack)
    }

    /// A client that is let in, and whether its session was there.
    pub(crate) fn resume(addr: SocketAddr, hello: &Hello) -> (Self, bool) {
        let (client, connack) = Self::try_connect(addr, hello);
        assert_eq!(connack.code, 0, "let in: {connack:?}");
        (client, connack.present)
    }

    /// A client with a new session.
    pub(crate) fn connect(addr: SocketAddr, hello: &Hello) -> Self {
        let (client, is_present) = Self::resume(addr, hello);
        assert!(!is_present, "a new session");
        client
    }

    /// Octets as they are. That the broker takes no more is seen by what comes back.
    pub(crate) fn send(&mut self, octets: &[u8]) {
        drop(self.stream.write_all(octets));
    }

    /// What comes next, waiting at most so long.
    pub(crate) fn next_within(&mut self, patience: Duration) -> Heard {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(packet) = self.split() {
                return Heard::Packet(packet);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Heard::Silence;
            }
            self.stream.set_read_timeout(Some(left)).expect("a time that is not zero");
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Heard::End,
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                // A reset: the broker closed while octets for it were on their way.
                Err(_) => return Heard::End,
            }
        }
    }

    fn split(&mut self) -> Option<Packet> {
        let length_bytes = self.buffer.iter().skip(1).position(|octet| octet & 0x80 == 0)? + 1;
        let length = take_varint(&mut &self.buffer[1..=length_bytes]);
        let whole = 1 + length_bytes + usize::try_from(length).expect("a length");
        if self.buffer.len() < whole {
            return None;
        }
        let rest = self.buffer.split_off(whole);
        let packet = std::mem::replace(&mut self.buffer, rest);
        Some(Packet { first: packet[0], body: packet[1 + length_bytes..].to_vec() })
    }

    pub(crate) fn next(&mut self) -> Heard {
        self.next_within(PATIENCE)
    }

    pub(crate) fn expect_packet(&mut self) -> Packet {
        match self.next() {
            Heard::Packet(packet) => packet,
            other => panic!("{other:?} instead of a packet"),
        }
    }

    /// Exactly this packet.
    pub(crate) fn expect(&mut self, octets: &[u8]) {
        let came = self.expect_packet();
        let came = packet(came.first, &came.body);
        assert!(came == octets, "{came:x?} instead of {octets:x?}");
    }

    pub(crate) fn expect_connack(&mut self) -> Connack {
        let came = self.expect_packet();
        assert_eq!(came.first, 0x20, "CONNACK: {came:?}");
        let mut rest = &came.body[2..];
        let properties = if rest.is_empty() { Vec::new() } else { take_properties(&mut rest) };
        assert!(rest.is_empty(), "nothing behind CONNACK's properties: {came:?}");
        assert!(came.body[0] < 2, "reserved bits: {came:?}");
        Connack { present: came.body[0] == 1, code: came.body[1], properties }
    }

    /// The broker closes, without a word.
    pub(crate) fn expect_end(&mut self) {
        let heard = self.next();
        assert_eq!(heard, Heard::End);
    }

    /// The broker closes the connection of a client; version 5 says why.
    pub(crate) fn expect_closed(&mut self, code: u8) {
        if self.version == V5 {
            let came = self.expect_packet();
            let said = (came.first, came.body.first().copied().unwrap_or_default());
            assert_eq!(said, (0xE0, code), "DISCONNECT {code:#x}: {came:x?}");
        }
        self.expect_end();
    }

    /// Fails if anything comes for a while.
    pub(crate) fn expect_silence(&mut self) {
        assert_eq!(self.next_within(SILENCE), Heard::Silence);
    }

    /// The broker has dealt with what was said before, and has nothing else to say.
    pub(crate) fn ping(&mut self) {
        self.send(&PINGREQ);
        self.expect(&PINGRESP);
    }

    /// A packet id that was not used for long.
    pub(crate) fn id(&mut self) -> u16 {
        self.next_id = self.next_id % 60_000 + 1;
        self.next_id
    }

    /// Subscribes to a filter; it must be granted as it is asked for.
    pub(crate) fn subscribe(&mut self, filter: &str, options: u8) {
        self.subscribe_with(filter, options, &[]);
    }

    /// The same with properties.
    pub(crate) fn subscribe_with(&mut self, filter: &str, options: u8, properties: &[u8]) {
        let codes = self.ask(&[(filter, options)], properties);
        assert_eq!(codes, [options & 3], "granted");
    }

    /// Subscribes and tells the codes.
    pub(crate) fn ask(&mut self, filters: &[(&str, u8)], properties: &[u8]) -> Vec<u8> {
        let id = self.id();
        self.send(&subscribe(self.version, id, filters, properties));
        self.expect_codes(0x90, id)
    }

    /// Unsubscribes and tells the codes, which only version 5 has.
    pub(crate) fn unsubscribe(&mut self, filters: &[&str]) -> Vec<u8> {
        let id = self.id();
        self.send(&unsubscribe(self.version, id, filters));
        self.expect_codes(0xB0, id)
    }

    fn expect_codes(&mut self, first: u8, id: u16) -> Vec<u8> {
        let came = self.expect_packet();
        assert_eq!(came.first, first, "{came:?}");
        let mut rest = &came.body[..];
        assert_eq!(take_u16(&mut rest), id);
        if self.version == V5 {
            take_properties(&mut rest);
        }
        rest.to_vec()
    }

    /// Sends a message.
    pub(crate) fn publish(&mut self, letter: &Letter<'_>) {
        self.send(&letter.octets(self.version));
    }

    /// Sends one with QoS 0.
    pub(crate) fn tell(&mut self, topic: &str, payload: &str) {
        self.publish(&Letter { topic, payload: payload.as_bytes(), ..Letter::default() });
    }

    /// Sends one with QoS 0 that is retained.
    pub(crate) fn tell_retained(&mut self, topic: &str, payload: &str) {
        let payload = payload.as_bytes();
        self.publish(&Letter { topic, payload, retain: true, ..Letter::default() });
    }

    /// What it speaks.
    pub(crate) fn version(&self) -> u8 {
        self.version
    }

    /// Sends one with QoS 1 and waits for its answer; its code.
    pub(crate) fn publish_surely(&mut self, letter: &Letter<'_>) -> u8 {
        let id = self.id();
        self.publish(&Letter { qos: 1, id, ..letter.clone() });
        self.expect_answer(0x40, id)
    }

    /// The same with nothing but a text, which must be accepted.
    pub(crate) fn tell_surely(&mut self, topic: &str, payload: &str) {
        let payload = payload.as_bytes();
        let code = self.publish_surely(&Letter { topic, payload, ..Letter::default() });
        assert!(code == 0 || code == 0x10, "accepted: {code:#x}");
    }

    /// PUBACK, PUBREC, PUBREL or PUBCOMP with this packet id; its code.
    pub(crate) fn expect_answer(&mut self, first: u8, id: u16) -> u8 {
        let came = self.expect_packet();
        assert_eq!(came.first, first, "{came:x?}");
        let mut rest = &came.body[..];
        assert_eq!(take_u16(&mut rest), id, "{came:x?}");
        assert!(self.version == V5 || rest.is_empty(), "{came:x?}");
        rest.first().copied().unwrap_or_default()
    }

    /// A message.
    pub(crate) fn expect_message(&mut self) -> Message {
        let came = self.expect_packet();
        self.message_of(&came)
    }

    /// A message with this payload, whose QoS 1 is answered.
    pub(crate) fn expect_text(&mut self, payload: &str) -> Message {
        let message = self.expect_message();
        let start: String = payload.chars().take(100).collect();
        assert!(message.payload == payload.as_bytes(), "{message:?} instead of {start:?}");
        if message.qos == 1 {
            self.send(&numbered(0x40, message.id));
        }
        message
    }

    /// The text of whatever message comes, whose QoS 1 is answered.
    pub(crate) fn expect_text_of_any(&mut self) -> String {
        let message = self.expect_message();
        if message.qos == 1 {
            self.send(&numbered(0x40, message.id));
        }
        message.text().to_owned()
    }

    /// What a PUBLISH says.
    pub(crate) fn message_of(&self, came: &Packet) -> Message {
        assert_eq!(came.first & 0xF0, 0x30, "PUBLISH: {came:x?}");
        let mut rest = &came.body[..];
        let length = take_u16(&mut rest);
        let topic = String::from_utf8(take(&mut rest, length.into()).to_vec()).expect("a text");
        let qos = (came.first >> 1) & 3;
        let id = if qos > 0 { take_u16(&mut rest) } else { 0 };
        let properties = if self.version == V5 { take_properties(&mut rest) } else { Vec::new() };
        assert!(qos == 0 || id > 0, "a packet id is not zero: {came:x?}");
        Message {
            topic,
            payload: rest.to_vec(),
            qos,
            id,
            retain: came.first & 1 == 1,
            dup: came.first & 8 == 8,
            properties,
        }
    }

    /// Says goodbye and waits until the broker has closed.
    pub(crate) fn leave(mut self) {
        self.bid_farewell();
    }

    /// The same, and it stays in hand.
    pub(crate) fn bid_farewell(&mut self) {
        self.send(&DISCONNECT);
        self.expect_end();
    }

    /// Closes without goodbye.
    pub(crate) fn vanish(self) {
        drop(self.stream.shutdown(Shutdown::Both));
    }

    /// The socket.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }
}
