//! A connection with one channel while it is set up: calls that wait, one at a time. Imports the
//! codec, `broker`, rustix.

use rustix::event::epoll::EventFlags;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

use ringmq::protocol::amqp091::wire::frame::{self, Frame};
use ringmq::protocol::amqp091::wire::method::{Connection, Encode, Method, channel, connection};
use ringmq::protocol::amqp091::wire::protocol_header::PROTOCOL_HEADER;
use ringmq::protocol::amqp091::wire::{field_value::FieldRef, table_buffer::TableBuffer};
use ringmq::protocol::octets::Decoded;

use super::CHANNEL;
use crate::client::broker::Broker;
use crate::client::error::ClientError;
use crate::client::socket::Socket;

/// How long one answer may take.
const ANSWER_TIMEOUT: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };
/// What most brokers offer as frame_max, and the most we take.
pub(crate) const FRAME_BYTES_MAX: u32 = 131_072;
/// Octets read at once; more than a record of TLS.
const READ_BYTES: usize = 64 * 1024;

/// An open connection with channel 1.
#[derive(Debug)]
pub(crate) struct Link {
    socket: Socket,
    /// Received and not yet looked at.
    input: Vec<u8>,
    frame_bytes_max: u32,
}

impl Link {
    /// Connects, logs in and opens the channel; `name` is what the broker shows.
    ///
    /// # Errors
    /// Whatever stands in the way.
    pub(crate) fn open(broker: &Broker, name: &str) -> Result<Self, ClientError> {
        let uri = &broker.uri;
        let socket = broker.dial(0)?;
        let mut link = Self { socket, input: Vec::new(), frame_bytes_max: FRAME_BYTES_MAX };
        link.write(&PROTOCOL_HEADER)?;
        link.receive((10, 10))?;
        let properties = client_properties(name)?;
        let response = format!("\0{}\0{}", uri.user, uri.password);
        link.send(
            0,
            &connection::StartOk {
                client_properties: properties.view(),
                mechanism: "PLAIN",
                response: response.as_bytes(),
                locale: "en_US",
            },
        )?;
        link.tune()?;
        let virtual_host = uri.virtual_host.as_str();
        let open = connection::Open { virtual_host, capabilities: "", insist: false };
        link.send(0, &open)?;
        link.receive((10, 41))?;
        link.call(&channel::Open { out_of_band: "" }, (20, 11))?;
        Ok(link)
    }

    /// Takes the broker's frame_max up to ours, and no heartbeat: a generator that reads late is
    /// not to be cut off.
    fn tune(&mut self) -> Result<(), ClientError> {
        let payload = self.receive((10, 30))?;
        let Method::Connection(Connection::Tune(tune)) = Method::decode(&payload)? else {
            return Err(ClientError::Unexpected("method instead of connection.tune"));
        };
        if tune.frame_max != 0 {
            self.frame_bytes_max = tune.frame_max.min(FRAME_BYTES_MAX);
        }
        let frame_max = self.frame_bytes_max;
        let channel_max = tune.channel_max;
        self.send(0, &connection::TuneOk { channel_max, frame_max, heartbeat: 0 })
    }

    /// Octets of the largest frame.
    pub(crate) const fn frame_bytes_max(&self) -> u32 {
        self.frame_bytes_max
    }

    /// Sends a method on the channel and awaits the answer with these ids.
    ///
    /// # Errors
    /// `Closed` if the broker refuses.
    pub(crate) fn call(
        &mut self,
        method: &impl Encode,
        answer: (u16, u16),
    ) -> Result<(), ClientError> {
        self.ask(method, answer).map(drop)
    }

    /// As [`Self::call`], and gives the payload of the answer.
    ///
    /// # Errors
    /// `Closed` if the broker refuses.
    pub(crate) fn ask(
        &mut self,
        method: &impl Encode,
        answer: (u16, u16),
    ) -> Result<Vec<u8>, ClientError> {
        self.send(CHANNEL, method)?;
        self.receive(answer)
    }

    /// Closes the connection and awaits the broker's consent, so that it is gone afterwards.
    ///
    /// # Errors
    /// Whatever stands in the way.
    pub(crate) fn close(mut self) -> Result<(), ClientError> {
        let close =
            connection::Close { reply_code: 200, reply_text: "done", class_id: 0, method_id: 0 };
        self.send(0, &close)?;
        self.receive((10, 51)).map(drop)
    }

    /// The socket, which knows what it has given and nobody has looked at.
    pub(crate) fn into_socket(mut self) -> Socket {
        self.socket.keep(&self.input);
        // What came with the last answer of the setup must be looked at, too.
        self.socket.is_readable = true;
        self.socket
    }

    fn send(&mut self, channel: u16, method: &impl Encode) -> Result<(), ClientError> {
        let mut out = Vec::new();
        frame::put_method(&mut out, channel, method);
        self.write(&out)
    }

    /// Writes frames.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn write(&mut self, frames: &[u8]) -> Result<(), ClientError> {
        let mut rest = frames;
        loop {
            if self.socket.is_writable {
                let count = self.socket.write(rest)?;
                rest = rest.get(count..).unwrap_or_default();
            }
            if rest.is_empty() && !self.socket.has_unwritten() {
                return Ok(());
            }
            if !self.socket.is_writable {
                self.pump()?;
            }
        }
    }

    /// Waits until the socket has something to say, and takes what it brings.
    fn pump(&mut self) -> Result<(), ClientError> {
        if !self.socket.is_readable {
            let room = if self.socket.awaits_room() { PollFlags::OUT } else { PollFlags::empty() };
            let mut places = [PollFd::new(&self.socket, PollFlags::IN | room)];
            let count = match poll(&mut places, Some(&ANSWER_TIMEOUT)) {
                Err(rustix::io::Errno::INTR) => return Ok(()),
                result => result.map_err(|error| ClientError::Io(error.into()))?,
            };
            if count == 0 {
                return Err(ClientError::Silence("setting up a connection"));
            }
            let said = places.map(|place| place.revents());
            let events = [
                (PollFlags::IN, EventFlags::IN),
                (PollFlags::OUT, EventFlags::OUT),
                (PollFlags::HUP, EventFlags::HUP),
                (PollFlags::ERR, EventFlags::ERR),
            ];
            let events = events.iter().filter(|(flag, _)| said.iter().any(|f| f.contains(*flag)));
            self.socket.on_event(events.map(|(_, event)| *event).collect());
        }
        if self.socket.is_readable {
            let mut scratch = vec![0; READ_BYTES];
            self.input.extend_from_slice(self.socket.read(&mut scratch, READ_BYTES)?);
        }
        Ok(())
    }

    /// The payload of the next method, which must have these ids.
    ///
    /// # Errors
    /// `Closed` if the broker refuses.
    pub(crate) fn receive(&mut self, expected: (u16, u16)) -> Result<Vec<u8>, ClientError> {
        loop {
            let payload = self.receive_method()?;
            let method = Method::decode(&payload)?;
            if method.id() == expected {
                return Ok(payload);
            }
            if matches!(method, Method::Connection(Connection::Blocked(_) | Connection::Unblocked))
            {
                continue;
            }
            return Err(ClientError::of(&method));
        }
    }

    /// The payload of the next method, whatever it is.
    ///
    /// # Errors
    /// The connection is of no use any more.
    pub(crate) fn receive_method(&mut self) -> Result<Vec<u8>, ClientError> {
        loop {
            if let Decoded::Frame { frame, taken } =
                frame::decode(&self.input, self.frame_bytes_max)?
            {
                let payload = match frame {
                    Frame::Method { payload, .. } => Some(payload.to_vec()),
                    Frame::Heartbeat { .. } => None,
                    Frame::Header { .. } | Frame::Body { .. } => {
                        return Err(ClientError::Unexpected("content"));
                    }
                };
                self.input.drain(..taken);
                match payload {
                    Some(payload) => return Ok(payload),
                    None => continue,
                }
            }
            self.pump()?;
        }
    }
}

/// What the broker is told of this client.
///
/// # Errors
/// A name that is no field of a table.
pub(super) fn client_properties(name: &str) -> Result<TableBuffer, ClientError> {
    let mut capabilities = TableBuffer::new();
    for capability in ["publisher_confirms", "basic.nack", "connection.blocked"] {
        capabilities.set_field(capability, FieldRef::Bool(true))?;
    }
    capabilities.set_field("authentication_failure_close", FieldRef::Bool(true))?;
    let mut properties = TableBuffer::new();
    properties.set_field("product", FieldRef::Text(b"ringmqperf"))?;
    properties.set_field("connection_name", FieldRef::Text(name.as_bytes()))?;
    properties.set_field("capabilities", FieldRef::Table(capabilities.view()))?;
    Ok(properties)
}
