//! What is between a protocol and its socket: TLS, a WebSocket, or one within the other. Imports
//! `tls`, `web`.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::TcpStream;

use super::error::ClientError;
use super::tls::Tls;
use super::web::Web;

/// Octets read from a socket at once.
const RAW_BYTES: usize = 128 * 1024;
/// Octets wrapped at once: one frame of a WebSocket, four records of TLS.
const PIECE_BYTES: usize = 64 * 1024;

thread_local! {
    /// Where a thread's connections read what is still wrapped: of thousands of idle ones none has
    /// a buffer of its own.
    static RAW: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What has come of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Octets for the protocol.
    pub(crate) inside: usize,
    /// The socket may have more.
    pub(crate) is_readable: bool,
}

/// One per connection that has any.
#[derive(Debug)]
pub(crate) struct Layers {
    tls: Option<Tls>,
    web: Option<Web>,
    /// The front of a record whose end has not come.
    rest: Vec<u8>,
    /// Wrapped, and not written.
    out: Vec<u8>,
    is_begun: bool,
    is_ended: bool,
}

impl Layers {
    /// A connection that begins; `None` if there is nothing in between.
    pub(crate) fn new(tls: Option<Tls>, web: Option<Web>) -> Option<Box<Self>> {
        let is_plain = tls.is_none() && web.is_none();
        let (rest, out) = (Vec::new(), Vec::new());
        (!is_plain)
            .then(|| Box::new(Self { tls, web, rest, out, is_begun: false, is_ended: false }))
    }

    /// Whether the protocol may write.
    pub(crate) fn is_open(&self) -> bool {
        self.tls.as_ref().is_none_or(Tls::is_ready) && self.web.as_ref().is_none_or(Web::is_open)
    }

    /// Whether something waits for room in the socket.
    pub(crate) const fn has_unwritten(&self) -> bool {
        !self.out.is_empty()
    }

    /// Whether room in the socket is what is waited for: nothing has been said yet, or not all.
    pub(crate) const fn awaits_room(&self) -> bool {
        !self.is_begun || !self.out.is_empty()
    }

    /// Begins what must be said before the protocol, as soon as the socket is connected.
    pub(crate) fn begin(&mut self) -> Result<(), ClientError> {
        if !std::mem::replace(&mut self.is_begun, true) {
            match &mut self.tls {
                Some(tls) => tls.open(&mut [], &mut self.out, |_| Ok(())).map(drop)?,
                None => self.ask()?,
            }
        }
        Ok(())
    }

    /// Asks for the WebSocket, once.
    fn ask(&mut self) -> Result<(), ClientError> {
        match self.web.as_mut().and_then(Web::request) {
            Some(request) => self.seal(&request),
            None => Ok(()),
        }
    }

    fn seal(&mut self, octets: &[u8]) -> Result<(), ClientError> {
        match &mut self.tls {
            Some(tls) => tls.seal(octets, &mut self.rest, &mut self.out),
            None => {
                self.out.extend_from_slice(octets);
                Ok(())
            }
        }
    }

    /// Reads once; what is inside goes to `room`.
    ///
    /// # Errors
    /// `Ended` if there will be no more; the system's; what cannot be unwrapped.
    pub(crate) fn read(
        &mut self,
        stream: &TcpStream,
        room: &mut [u8],
    ) -> Result<Taken, ClientError> {
        if self.is_ended {
            return Err(ClientError::Ended);
        }
        // What is inside is never more than what it is wrapped in.
        let start = self.rest.len();
        let wanted = room.len().saturating_sub(start).min(RAW_BYTES);
        if wanted == 0 {
            return Err(ClientError::Unexpected("record larger than the read buffer"));
        }
        RAW.with_borrow_mut(|raw| {
            if raw.len() < start.saturating_add(wanted) {
                raw.resize(start.saturating_add(wanted), 0);
            }
            let raw = raw.get_mut(..start.saturating_add(wanted)).unwrap_or_default();
            let (front, behind) = raw.split_at_mut(start);
            front.copy_from_slice(&self.rest);
            let count = match (&mut &*stream).read(behind) {
                Ok(0) => return Err(ClientError::Ended),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) => return Err(error.into()),
            };
            let raw = raw.get_mut(..start.saturating_add(count)).unwrap_or_default();
            let inside = self.open(raw, room)?;
            // An end that came with the last octets is told of by the next read.
            Ok(Taken { inside, is_readable: count == wanted || self.is_ended })
        })
    }

    /// Unwraps; keeps what is no whole record.
    fn open(&mut self, raw: &mut [u8], room: &mut [u8]) -> Result<usize, ClientError> {
        let mut inside = 0_usize;
        let mut put = |octets: &[u8]| {
            let end = inside.saturating_add(octets.len());
            let place = room.get_mut(inside..end);
            let place = place.ok_or(ClientError::Unexpected("more within than without"))?;
            place.copy_from_slice(octets);
            inside = end;
            Ok(())
        };
        let result = match (&mut self.tls, &mut self.web) {
            (Some(tls), None) => tls.open(raw, &mut self.out, put),
            (Some(tls), Some(web)) => {
                tls.open(raw, &mut self.out, |octets| web.decode(octets, &mut put))
            }
            (None, Some(web)) => web.decode(raw, put).map(|()| raw.len()),
            (None, None) => Ok(raw.len()),
        };
        let taken = match result {
            // What came before the farewell is good.
            Err(ClientError::Ended) if inside > 0 => {
                self.is_ended = true;
                raw.len()
            }
            result => result?,
        };
        self.rest = raw.get(taken..).unwrap_or_default().to_vec();
        self.is_ended |= self.tls.as_ref().is_some_and(Tls::is_ended);
        if self.is_ended && inside == 0 {
            return Err(ClientError::Ended);
        }
        if self.tls.as_ref().is_none_or(Tls::is_ready) {
            self.ask()?;
            let answers = self.web.as_mut().map(|web| std::mem::take(&mut web.answers));
            if let Some(answers) = answers.filter(|answers| !answers.is_empty()) {
                self.seal(&answers)?;
            }
        }
        Ok(inside)
    }

    /// Wraps and writes as much as the socket takes; tells how many octets are on their way, of
    /// which some may wait here.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn write(
        &mut self,
        stream: &TcpStream,
        octets: &[u8],
    ) -> Result<usize, ClientError> {
        self.begin()?;
        self.flush(stream)?;
        let mut count = 0_usize;
        while self.out.is_empty() && self.is_open() && count < octets.len() {
            let rest = octets.get(count..).unwrap_or_default();
            let piece = rest.get(..PIECE_BYTES).unwrap_or(rest);
            match &mut self.web {
                Some(web) => {
                    let mut frame = Vec::with_capacity(piece.len().saturating_add(16));
                    web.put_data(piece, &mut frame);
                    self.seal(&frame)?;
                }
                None => self.seal(piece)?,
            }
            count = count.saturating_add(piece.len());
            self.flush(stream)?;
        }
        Ok(count)
    }

    /// Writes what is wrapped.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn flush(&mut self, stream: &TcpStream) -> Result<(), ClientError> {
        while !self.out.is_empty() {
            match (&mut &*stream).write(&self.out) {
                Ok(count) if count == self.out.len() => {
                    self.out.clear();
                    // Of thousands of idle connections none keeps a buffer.
                    if self.out.capacity() > RAW_BYTES {
                        self.out = Vec::new();
                    }
                }
                Ok(count) => drop(self.out.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
