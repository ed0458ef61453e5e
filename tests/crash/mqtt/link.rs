//! A connection that speaks MQTT and may end at any moment, which is no failure here. May import
//! the codec of the crate.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use ringmq::protocol::mqtt::wire::ack::{Ack, AckKind};
use ringmq::protocol::mqtt::wire::connect::{Connect, ConnectProperties, Will};
use ringmq::protocol::mqtt::wire::disconnect::Disconnect;
use ringmq::protocol::mqtt::wire::encode::{Encode, put};
use ringmq::protocol::mqtt::wire::header::split;
use ringmq::protocol::mqtt::wire::message_properties::WillProperties;
use ringmq::protocol::mqtt::wire::packet::Packet;
use ringmq::protocol::mqtt::wire::properties::UserProperties;
use ringmq::protocol::mqtt::wire::publish::{Promise, PublishHead};
use ringmq::protocol::mqtt::wire::reason_code::ReasonCode;
use ringmq::protocol::mqtt::wire::subscribe::{Filters, Options, Subscribe, put_filter};
use ringmq::protocol::mqtt::wire::{PACKET_BYTES_MAX, PacketId, Qos, Sender, Version};
use ringmq::protocol::octets::Decoded;

/// How long an answer may take. Arbitrary, far above what a busy machine needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A message that came.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) topic: String,
    pub(crate) qos: Qos,
    /// 0 with QoS 0.
    pub(crate) packet_id: u16,
    pub(crate) is_again: bool,
    pub(crate) is_retained: bool,
    pub(crate) body: Vec<u8>,
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Next {
    /// CONNACK: whether the session goes on, and the code.
    Connack(bool, ReasonCode),
    /// PUBLISH.
    Publish(Incoming),
    /// PUBACK, PUBREC, PUBREL, PUBCOMP.
    Ack(AckKind, u16, ReasonCode),
    /// SUBACK: the codes.
    Suback(Vec<u8>),
    /// DISCONNECT from the broker, or what is no MQTT.
    Bad(String),
    /// Nothing within the time.
    Silence,
    /// The connection is over.
    End,
}

impl Next {
    /// For people.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Bad(what) => what.clone(),
            other => format!("{other:?}"),
        }
    }
}

/// How to introduce oneself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hello<'a> {
    pub(crate) version: Version,
    pub(crate) client_id: &'a str,
    /// For ever, or for this connection.
    pub(crate) is_persistent: bool,
    /// Most unanswered messages towards us; not before MQTT 5.0.
    pub(crate) receive_max: u16,
    /// Topic and body, with QoS 1.
    pub(crate) will: Option<(&'a str, &'a [u8])>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Link {
    stream: TcpStream,
    version: Version,
    input: Vec<u8>,
    /// Octets of `input` that were read.
    read: usize,
}

pub(crate) fn id(number: u16) -> PacketId {
    PacketId::new(number).expect("a packet id is not 0")
}

/// The number of a QoS for a publish with this packet id.
pub(crate) fn promise(qos: Qos, packet_id: u16) -> Promise {
    match qos {
        Qos::AtMostOnce => Promise::AtMostOnce,
        Qos::AtLeastOnce => Promise::AtLeastOnce(id(packet_id)),
        Qos::ExactlyOnce => Promise::ExactlyOnce(id(packet_id)),
    }
}

impl Link {
    /// A connection on which nothing was said; `None` if nobody is there.
    pub(crate) fn connect(addr: SocketAddr, version: Version) -> Option<Self> {
        let stream = TcpStream::connect_timeout(&addr, PATIENCE).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        Some(Self { stream, version, input: Vec::new(), read: 0 })
    }

    /// Introduces itself; whether the session goes on. `None`: the connection is over. An error is
    /// what must not be.
    pub(crate) fn hello(&mut self, hello: Hello<'_>) -> Result<Option<bool>, String> {
        let will = hello.will.map(|(topic, payload)| Will {
            topic,
            payload,
            qos: Qos::AtLeastOnce,
            retain: false,
            properties: WillProperties::default(),
        });
        let is_v5 = self.version.is_v5();
        self.send(&Connect {
            version: hello.version,
            is_bridge: false,
            clean_start: !hello.is_persistent,
            keep_alive_s: 0,
            client_id: hello.client_id,
            will,
            user_name: Some("guest"),
            password: Some(b"guest"),
            properties: ConnectProperties {
                session_expiry_s: if is_v5 && hello.is_persistent { u32::MAX } else { 0 },
                receive_max: if is_v5 { hello.receive_max } else { u16::MAX },
                ..ConnectProperties::default()
            },
        });
        match self.next(PATIENCE) {
            Next::Connack(is_present, ReasonCode::Success) => Ok(Some(is_present)),
            Next::End => Ok(None),
            other => Err(format!("{} said CONNECT and got {}", hello.client_id, other.describe())),
        }
    }

    /// Another handle of the socket.
    pub(crate) fn stream(&self) -> TcpStream {
        self.stream.try_clone().expect("a second handle of a socket")
    }

    /// Sends a packet. A socket that is closed already is no failure.
    pub(crate) fn send(&mut self, packet: &impl Encode) {
        let mut octets = Vec::new();
        put(&mut octets, packet, self.version, PACKET_BYTES_MAX).expect("a packet of ours");
        self.say(&octets);
    }

    fn say(&mut self, octets: &[u8]) {
        drop(self.stream.write_all(octets));
    }

    /// PUBACK, PUBREC, PUBREL, PUBCOMP.
    pub(crate) fn ack(&mut self, kind: AckKind, packet_id: u16) {
        self.send(&Ack::new(kind, id(packet_id), ReasonCode::Success));
    }

    /// PUBLISH.
    pub(crate) fn publish(
        &mut self,
        topic: &str,
        promise: Promise,
        retain: bool,
        dup: bool,
        body: &[u8],
    ) {
        let head = PublishHead {
            dup,
            retain,
            promise,
            topic,
            alias: None,
            expiry_s: None,
            subscription_ids: &[],
            forwarded: &[],
        };
        let mut octets = Vec::new();
        head.put(&mut octets, self.version, body, PACKET_BYTES_MAX).expect("a message of ours");
        self.say(&octets);
    }

    /// SUBSCRIBE with packet id 65,535; the codes follow.
    pub(crate) fn subscribe(&mut self, filters: &[(&str, Qos)]) {
        let mut octets = Vec::new();
        for &(filter, qos) in filters {
            put_filter(&mut octets, filter, Options { qos, ..Options::default() }, self.version);
        }
        self.send(&Subscribe {
            packet_id: id(u16::MAX),
            subscription_id: None,
            user_properties: UserProperties::NONE,
            filters: Filters::written(&octets, self.version),
        });
    }

    /// DISCONNECT, and waits until the broker has read it.
    pub(crate) fn goodbye(mut self) {
        self.send(&Disconnect::new(ReasonCode::Success, None));
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && !matches!(self.next(PATIENCE), Next::End) {}
    }

    /// What comes within `wait`.
    pub(crate) fn next(&mut self, wait: Duration) -> Next {
        let deadline = Instant::now() + wait;
        loop {
            if let Some(next) = self.whole() {
                return next;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            // A timeout of zero would be none at all.
            drop(self.stream.set_read_timeout(Some(left.max(Duration::from_micros(100)))));
            let mut buffer = [0; 16 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Next::End,
                Ok(count) => {
                    self.input.drain(..self.read);
                    self.read = 0;
                    self.input.extend_from_slice(&buffer[..count]);
                }
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if left.is_zero() {
                        return Next::Silence;
                    }
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Next::End,
            }
        }
    }

    /// The packet at the front of what was read.
    fn whole(&mut self) -> Option<Next> {
        let (next, taken) = match split(&self.input[self.read..], PACKET_BYTES_MAX) {
            Ok(Decoded::NeedMore { .. }) => return None,
            Ok(Decoded::Frame { frame, taken }) => {
                let packet = Packet::decode(&frame, self.version, Sender::Server);
                (packet.map_or_else(|fault| Next::Bad(format!("{fault:?}")), of), taken)
            }
            Err(fault) => (Next::Bad(format!("{fault:?}")), 0),
        };
        self.read += taken;
        Some(next)
    }
}

fn of(packet: Packet<'_>) -> Next {
    match packet {
        Packet::Connack(it) => Next::Connack(it.session_present, it.code),
        Packet::Publish(it) => Next::Publish(Incoming {
            topic: it.topic.to_owned(),
            qos: it.promise.qos(),
            packet_id: it.promise.packet_id().map_or(0, PacketId::get),
            is_again: it.dup,
            is_retained: it.retain,
            body: it.payload.to_vec(),
        }),
        Packet::Ack(it) => Next::Ack(it.kind, it.packet_id.get(), it.code),
        Packet::Suback(it) => Next::Suback(it.codes.to_vec()),
        other => Next::Bad(format!("{other:?}")),
    }
}
