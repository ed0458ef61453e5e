//! A socket that does not block, with what epoll has said about it, and what is between it and the
//! protocol. Imports `layers`, rustix.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::epoll::EventFlags;

use super::error::ClientError;
use super::layers::Layers;

/// Edge-triggered: a flag stays until a call would have blocked.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    /// There may be something to read.
    pub(crate) is_readable: bool,
    /// There will be no more than what is there, and then an end or an error.
    is_ending: bool,
    /// There may be room to write.
    pub(crate) is_writable: bool,
    /// The front of a frame whose end has not come; small against a read buffer.
    leftover: Vec<u8>,
    /// TLS and WebSocket, if there are any.
    layers: Option<Box<Layers>>,
}

impl Socket {
    /// A connection that is on its way: nothing can be read or written before epoll says so.
    pub(crate) const fn new(stream: TcpStream, layers: Option<Box<Layers>>) -> Self {
        let leftover = Vec::new();
        let (is_readable, is_ending, is_writable) = (false, false, false);
        Self { stream, is_readable, is_ending, is_writable, leftover, layers }
    }

    /// Takes what epoll says.
    pub(crate) fn on_event(&mut self, flags: EventFlags) {
        let is_ending = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        self.is_ending |= is_ending;
        self.is_readable |= flags.contains(EventFlags::IN) || is_ending;
        self.is_writable |= flags.contains(EventFlags::OUT) || is_ending;
        if let Some(layers) = &mut self.layers
            && layers.has_unwritten()
            && self.is_writable
        {
            // The protocol has written it and will not come back for it. An error comes again.
            let is_written = layers.flush(&self.stream).is_ok();
            self.is_readable |= !is_written;
            self.is_writable = !layers.has_unwritten();
        }
    }

    /// Whether room in the socket is what is waited for, not the other side.
    pub(crate) fn awaits_room(&self) -> bool {
        !self.is_writable && self.layers.as_ref().is_none_or(|layers| layers.awaits_room())
    }

    /// Whether something that was written waits for room.
    pub(crate) fn has_unwritten(&self) -> bool {
        self.layers.as_ref().is_some_and(|layers| layers.has_unwritten())
    }

    /// Reads once, `bytes_max` at most, behind the octets left over from the last time, and
    /// returns all of them. No new octets is not an error.
    ///
    /// # Errors
    /// `Ended` if there will be no more; the system's.
    pub(crate) fn read<'a>(
        &mut self,
        scratch: &'a mut [u8],
        bytes_max: usize,
    ) -> Result<&'a [u8], ClientError> {
        let start = self.leftover.len();
        let Some((front, room)) = scratch.split_at_mut_checked(start) else {
            return Err(ClientError::Unexpected("frame larger than the read buffer"));
        };
        front.copy_from_slice(&self.leftover);
        let room_bytes = room.len().min(bytes_max);
        let room = room.get_mut(..room_bytes).unwrap_or_default();
        if let Some(layers) = &mut self.layers {
            let was_open = layers.is_open();
            let taken = layers.read(&self.stream, room)?;
            layers.flush(&self.stream)?;
            self.is_readable = taken.is_readable || self.is_ending;
            // Now the protocol may begin.
            self.is_writable |= layers.is_open() && !was_open;
            self.is_writable &= !layers.has_unwritten();
            return Ok(scratch.get(..start.saturating_add(taken.inside)).unwrap_or_default());
        }
        let count = match (&self.stream).read(room) {
            Ok(0) => return Err(ClientError::Ended),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error.into()),
        };
        // A short read has emptied the socket: epoll(7), question 9. But an end that epoll told of
        // together with the last octets is told of only once.
        self.is_readable = count == room.len() || self.is_ending;
        Ok(scratch.get(..start.saturating_add(count)).unwrap_or_default())
    }

    /// Keeps what could not be used yet for the next read.
    pub(crate) fn keep(&mut self, rest: &[u8]) {
        self.leftover.clear();
        self.leftover.extend_from_slice(rest);
    }

    /// Writes once; tells how many octets went.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn write(&mut self, octets: &[u8]) -> Result<usize, ClientError> {
        if let Some(layers) = &mut self.layers {
            let count = layers.write(&self.stream, octets)?;
            self.is_writable = layers.is_open() && !layers.has_unwritten();
            return Ok(count);
        }
        match (&self.stream).write(octets) {
            Ok(count) => {
                self.is_writable = count == octets.len();
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.is_writable = false;
                Ok(0)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
