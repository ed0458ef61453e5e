//! A connection with one channel while it is set up: blocking calls, one at a time. Imports the
//! codec, `uri`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use ringmq::protocol::amqp091::wire::frame::{self, Frame};
use ringmq::protocol::amqp091::wire::method::{Connection, Encode, Method, channel, connection};
use ringmq::protocol::amqp091::wire::protocol_header::PROTOCOL_HEADER;
use ringmq::protocol::amqp091::wire::{field_value::FieldRef, table_buffer::TableBuffer};
use ringmq::protocol::octets::Decoded;

use super::CHANNEL;
use crate::client::error::ClientError;
use crate::client::uri::Uri;

/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// What most brokers offer as frame_max, and the most we take.
pub(crate) const FRAME_BYTES_MAX: u32 = 131_072;
const READ_BYTES: usize = 16 * 1024;

/// An open connection with channel 1.
#[derive(Debug)]
pub(crate) struct Link {
    stream: TcpStream,
    /// Received and not yet looked at.
    input: Vec<u8>,
    frame_bytes_max: u32,
}

impl Link {
    /// Connects, logs in and opens the channel; `name` is what the broker shows.
    ///
    /// # Errors
    /// Whatever stands in the way.
    pub(crate) fn open(uri: &Uri, name: &str) -> Result<Self, ClientError> {
        let stream = TcpStream::connect((uri.host.as_str(), uri.port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        let mut link = Self { stream, input: Vec::new(), frame_bytes_max: FRAME_BYTES_MAX };
        link.stream.write_all(&PROTOCOL_HEADER)?;
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

    /// The socket, and what it has given and nobody has looked at.
    pub(crate) fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.input)
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
        Ok(self.stream.write_all(frames)?)
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
            let mut octets = [0; READ_BYTES];
            let count = self.stream.read(&mut octets)?;
            match octets.get(..count) {
                Some(octets) if count > 0 => self.input.extend_from_slice(octets),
                Some(_) | None => return Err(ClientError::Ended),
            }
        }
    }
}

fn client_properties(name: &str) -> Result<TableBuffer, ClientError> {
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
