//! A client that does exactly what a test tells it, right or wrong: octets and frames over one
//! blocking socket, each wait bounded. May import the codec of the crate.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use ringmq::protocol::amqp091::wire::frame::{self, Frame};
use ringmq::protocol::amqp091::wire::method::{Encode, Method};
use ringmq::protocol::octets::Decoded;

/// How long a client waits for what must come. Arbitrary, far above what a busy machine needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// How long a client looks for what must not come. Arbitrary: longer finds no more in practice.
pub(crate) const GLANCE: Duration = Duration::from_millis(150);

/// A frame of the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Received {
    /// Type octet.
    pub(crate) kind: u8,
    /// Channel number.
    pub(crate) channel: u16,
    /// Between head and end.
    pub(crate) payload: Vec<u8>,
}

impl Received {
    /// The method, when it is one.
    pub(crate) fn method(&self) -> Option<Method<'_>> {
        (self.kind == frame::METHOD)
            .then(|| Method::decode(&self.payload).expect("the broker sends methods that exist"))
    }

    /// What it is, for people.
    pub(crate) fn describe(&self) -> String {
        match self.method() {
            Some(method) => format!("channel {}: {method:?}", self.channel),
            None => format!(
                "channel {}: frame of type {} with {} octets",
                self.channel,
                self.kind,
                self.payload.len()
            ),
        }
    }
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// A frame.
    Frame(Received),
    /// The broker has closed the socket.
    End,
    /// Nothing within the time.
    Silence,
}

/// One connection to a broker.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    input: Vec<u8>,
    /// Octets at the front of `input` that are done with.
    taken: usize,
    /// The negotiated frame_max: bodies are cut to it.
    pub(crate) frame_max: u32,
}

impl Client {
    /// A TCP connection, nothing sent yet.
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&addr, PATIENCE).expect("the broker accepts");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        stream.set_write_timeout(Some(PATIENCE)).expect("a write timeout");
        Self { stream, input: Vec::new(), taken: 0, frame_max: 0 }
    }

    /// Sends octets as they are. A broker that has closed already is no failure here: what it said
    /// before is what the test is about.
    pub(crate) fn send_raw(&mut self, octets: &[u8]) {
        match self.stream.write_all(octets) {
            Ok(()) => {}
            Err(error)
                if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
            Err(error) => panic!("cannot send {} octets: {error}", octets.len()),
        }
    }

    /// Sends as much as the socket takes within `wait`; the number of octets that it took.
    pub(crate) fn send_some(&mut self, octets: &[u8], wait: Duration) -> usize {
        self.stream.set_write_timeout(Some(wait)).expect("a write timeout");
        let mut sent = 0;
        while let Some(rest) = octets.get(sent..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(0) | Err(_) => break,
                Ok(count) => sent += count,
            }
        }
        self.stream.set_write_timeout(Some(PATIENCE)).expect("a write timeout");
        sent
    }

    /// Sends a method.
    pub(crate) fn send(&mut self, channel: u16, method: &impl Encode) {
        let mut out = Vec::new();
        frame::put_method(&mut out, channel, method);
        self.send_raw(&out);
    }

    /// Sends any frame, also one that should not be.
    pub(crate) fn send_frame(&mut self, kind: u8, channel: u16, payload: &[u8]) {
        self.send_raw(&frame_octets(kind, channel, payload));
    }

    /// Sends a method with content, cut to the negotiated frame size.
    pub(crate) fn send_content(
        &mut self,
        channel: u16,
        method: &impl Encode,
        properties: &[u8],
        body: &[u8],
    ) {
        let mut out = Vec::new();
        frame::put_content(&mut out, channel, method, properties, body, self.frame_max);
        self.send_raw(&out);
    }

    /// What comes within `wait`, heartbeats included.
    pub(crate) fn next_event(&mut self, wait: Duration) -> Event {
        let deadline = Instant::now() + wait;
        loop {
            if let Some(received) = self.next_decoded() {
                return Event::Frame(received);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Event::Silence;
            }
            match self.read_some(left) {
                Ok(0) => return Event::End,
                Ok(_) => {}
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return Event::Silence,
                    ErrorKind::Interrupted => {}
                    // A close with unread input of ours in the broker's buffer arrives as a reset.
                    ErrorKind::ConnectionReset => return Event::End,
                    _ => panic!("cannot read: {error}"),
                },
            }
        }
    }

    /// The next frame that is no heartbeat, which must come.
    pub(crate) fn next(&mut self, wanted: &str) -> Received {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.next_event(deadline.saturating_duration_since(Instant::now())) {
                Event::Frame(received) if received.kind == frame::HEARTBEAT => {}
                Event::Frame(received) => return received,
                Event::End => panic!("the broker closed the socket instead of: {wanted}"),
                Event::Silence => panic!("nothing within {PATIENCE:?} instead of: {wanted}"),
            }
        }
    }

    /// Octets as they come, for what is no frame; fewer than asked for when the broker closes or
    /// `wait` is over.
    pub(crate) fn read_raw(&mut self, count: usize, wait: Duration) -> Vec<u8> {
        let deadline = Instant::now() + wait;
        while self.input.len() - self.taken < count {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !matches!(self.read_some(left), Ok(1..)) {
                break;
            }
        }
        let end = self.input.len().min(self.taken + count);
        let octets = self.input[self.taken..end].to_vec();
        self.taken = end;
        octets
    }

    /// Ends our side of the connection; the broker's may still speak.
    pub(crate) fn shut_down_writing(&mut self) {
        // It may be gone already.
        drop(self.stream.shutdown(Shutdown::Write));
    }

    /// Another handle of the socket, for a thread that only writes or only reads.
    pub(crate) fn stream(&self) -> TcpStream {
        self.stream.try_clone().expect("a second handle of the socket")
    }

    fn read_some(&mut self, wait: Duration) -> std::io::Result<usize> {
        const CHUNK_BYTES: usize = 256 * 1024;
        self.input.drain(..self.taken);
        self.taken = 0;
        self.stream.set_read_timeout(Some(wait)).expect("a read timeout");
        let filled = self.input.len();
        self.input.resize(filled + CHUNK_BYTES, 0);
        let result = self.stream.read(&mut self.input[filled..]);
        self.input.truncate(filled + result.as_ref().map_or(0, |count| *count));
        result
    }

    fn next_decoded(&mut self) -> Option<Received> {
        let rest = &self.input[self.taken..];
        match frame::decode(rest, self.frame_max).expect("the broker sends frames") {
            Decoded::NeedMore { .. } => None,
            Decoded::Frame { frame, taken } => {
                self.taken += taken;
                Some(owned(frame))
            }
        }
    }
}

/// The octets of any frame.
pub(crate) fn frame_octets(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).expect("a payload below 4 GiB");
    let mut out = vec![kind];
    out.extend_from_slice(&channel.to_be_bytes());
    out.extend_from_slice(&size.to_be_bytes());
    out.extend_from_slice(payload);
    out.push(frame::END);
    out
}

fn owned(frame: Frame<'_>) -> Received {
    let (kind, channel, payload) = match frame {
        Frame::Method { channel, payload } => (frame::METHOD, channel, payload),
        Frame::Header { channel, payload } => (frame::HEADER, channel, payload),
        Frame::Body { channel, payload } => (frame::BODY, channel, payload),
        Frame::Heartbeat { channel } => (frame::HEARTBEAT, channel, &[][..]),
    };
    Received { kind, channel, payload: payload.to_vec() }
}
