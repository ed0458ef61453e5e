//! A WebSocket client that does exactly what a test tells it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::support::Broker;
use crate::support::broker::Options;
use crate::support::client::PATIENCE;

/// What a server says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Binary(Vec<u8>),
    Pong(Vec<u8>),
    /// With its code.
    Close(Option<u16>),
    /// The connection is closed, or broken.
    End,
}

/// A broker with a port for WebSockets, and further lines in the section of that port.
pub(crate) fn broker(shards: u16, more: &str) -> Broker {
    let config = format!("[mqtt]\nws_port = 0\n{more}");
    Broker::with(Options { shards, config: &config, ..Options::new() })
}

/// Where it listens for them.
pub(crate) fn port_of(broker: &Broker) -> SocketAddr {
    let log = broker.log();
    let line = log.lines().find_map(|line| line.strip_prefix("listening amqp ws://"));
    let (addr, path) = line.and_then(|l| l.split_once('/')).expect("a line of its own");
    assert_eq!(path, "ws/amqp");
    addr.parse().expect("an address")
}

/// A request for a WebSocket; `more` is further fields, each with its end of line.
pub(crate) fn request(path: &str, more: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
}

/// A connection, with or without a WebSocket in it.
#[derive(Debug)]
pub(crate) struct Web {
    stream: BufReader<TcpStream>,
}

/// The other half.
#[derive(Debug)]
pub(crate) struct Writer(TcpStream);

impl Writer {
    /// Octets as they are; false when the broker takes no more.
    pub(crate) fn raw(&mut self, octets: &[u8]) -> bool {
        self.0.write_all(octets).is_ok()
    }

    /// A masked frame; false when the broker takes no more.
    pub(crate) fn send(&mut self, first: u8, inside: &[u8]) -> bool {
        self.0.write_all(&frame(first, inside)).is_ok()
    }
}

/// A masked frame.
pub(crate) fn frame(first: u8, inside: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [1, 0x80, 0xFF, 0x55];
    let mut octets = vec![first];
    match inside.len() {
        length @ 0..=125 => octets.push(0x80 | u8::try_from(length).unwrap()),
        length @ 126..=0xFFFF => {
            octets.push(0x80 | 126);
            octets.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            octets.push(0x80 | 127);
            octets.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    octets.extend_from_slice(&MASK);
    octets.extend(inside.iter().zip(MASK.iter().cycle()).map(|(octet, mask)| octet ^ mask));
    octets
}

impl Web {
    /// Nothing said yet.
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&addr, PATIENCE).expect("the broker accepts");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a write timeout");
        Self { stream: BufReader::new(stream) }
    }

    /// A WebSocket that is open and will speak AMQP.
    pub(crate) fn open(addr: SocketAddr) -> Self {
        let mut web = Self::connect(addr);
        web.say(request("/ws/amqp", "Sec-WebSocket-Protocol: amqp\r\n").as_bytes());
        let answer = web.answer();
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert!(answer.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert!(answer.contains("\r\nSec-WebSocket-Protocol: amqp\r\n"), "{answer}");
        web
    }

    /// Octets as they are.
    pub(crate) fn say(&mut self, octets: &[u8]) {
        self.stream.get_mut().write_all(octets).expect("the broker reads");
    }

    pub(crate) fn writer(&self) -> Writer {
        Writer(self.stream.get_ref().try_clone().expect("a second handle"))
    }

    /// The head of a response.
    pub(crate) fn answer(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let count = self.stream.read_line(&mut head).expect("a response");
            assert!(count > 0, "the broker closed after: {head}");
        }
        head
    }

    /// Whether anything comes before the end.
    pub(crate) fn is_answered(&mut self) -> bool {
        self.stream.fill_buf().is_ok_and(|octets| !octets.is_empty())
    }

    /// Everything up to the end.
    pub(crate) fn rest(&mut self) -> String {
        let mut text = String::new();
        self.stream.read_to_string(&mut text).expect("a response and an end");
        text
    }

    /// The next frame.
    pub(crate) fn next(&mut self) -> Frame {
        let mut head = [0; 2];
        if self.stream.read_exact(&mut head).is_err() {
            return Frame::End;
        }
        let length = match head[1] {
            126 => {
                let mut length = [0; 2];
                self.stream.read_exact(&mut length).expect("a length");
                u64::from(u16::from_be_bytes(length))
            }
            127 => {
                let mut length = [0; 8];
                self.stream.read_exact(&mut length).expect("a length");
                u64::from_be_bytes(length)
            }
            length => u64::from(length),
        };
        let mut inside = vec![0; usize::try_from(length).expect("what fits memory")];
        self.stream.read_exact(&mut inside).expect("a whole frame");
        match head[0] {
            0x82 => Frame::Binary(inside),
            0x8A => Frame::Pong(inside),
            0x88 => Frame::Close(inside.first_chunk().map(|code| u16::from_be_bytes(*code))),
            other => panic!("a frame that begins with {other:#x}"),
        }
    }
}
