//! TLS as bytes in, bytes out, server side: no socket, no clock of its own, buffers of the pool. Imports the buffers and rustls.
//!
//! rustls is driven by its unbuffered interface: what the socket brought is decrypted where it lies, and a connection at rest
//! holds no buffer at all. Its buffered interface would keep 4 KiB per connection and copy each record once more.
//!
//! Renegotiation is refused, and who asks twice is closed; so is whoever sends more than 32 key updates without anything else,
//! and handshake messages larger than 64 KiB (all by rustls 0.23.46, abuse row 103). What all messages of a handshake may
//! have together is bounded here.

mod choice;
mod client;
mod key_log;
mod server;
#[cfg(test)]
mod tests;

pub use choice::{TlsCiphers, TlsGroups, TlsVersions};
pub use server::{ClientCertificates, Paper, TlsFileError, TlsOptions, TlsServer};

use crate::buffers::{Buffers, ReadBuffer};
use crate::output::Output;
use rustls::server::{Acceptor, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, WriteTraffic};
use std::fmt;

/// Bytes from the client until its handshake is done (arbitrary: a chain of certificates has a few thousand).
const HANDSHAKE_BYTES_MAX: usize = 64 * 1024;

/// Bytes inside one record at most.
const RECORD_BYTES_MAX: usize = 16 * 1024;

/// Bytes of the first record where what is to be sealed begins at a page of memory, as large buffers do. rustls copies a
/// record behind five bytes of a page of its own, and AMD's `rep movsb`, which the C library takes for more than 2 KiB, is 28
/// times slower when the target is less than 64 bytes ahead of the source within their pages (16 KiB: 4.6 us, not 0.16 us):
/// 0.3 us of each message of 1 KiB. What follows a first record of 1 KiB is not so placed.
const FIRST_RECORD_BYTES: usize = 1024;
const PAGE_BYTES: usize = 4096;
/// So close to a page's beginning, before or after it, is too close.
const NEAR_BYTES: usize = 64;

/// Bytes that are sealed at a time: four records.
const SEAL_BYTES_MAX: usize = 4 * RECORD_BYTES_MAX;

/// What sealing adds to so many bytes, at most: per record a header, a nonce and a tag, and at times a change of keys before
/// all of them.
const SEAL_ROOM_BYTES: usize = 1024;

/// Bytes of a record that has not come whole that are kept in memory of their own while the connection rests: a block of the
/// pool is too large for whoever sends slowly.
const REST_BYTES_MAX: usize = 8 * 1024;

/// Flights that may be waiting when a connection fails: an alert, and what was said before.
const LAST_WORDS_MAX: usize = 8;

/// Why no more can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsEnded {
    /// The client has said that no more comes.
    #[error("the peer closed the connection")]
    ByPeer,
    /// Not a handshake, or not one that is taken; the client has been told by an alert.
    #[error("no TLS: {0}")]
    Failed(Box<str>),
    /// Nothing can be sealed any more.
    #[error("the keys of the connection are used up")]
    Exhausted,
}

/// TLS of one connection. Moves to another shard as [`TlsParts`].
pub struct Tls {
    state: State,
    /// As it comes from the socket; empty between turns, but for the beginning of a record.
    raw: ReadBuffer,
    /// The same while the connection rests.
    rested: Vec<u8>,
    /// As it goes to the socket.
    sealed: Output,
    /// Taken in while the handshake lasts.
    handshake_bytes: usize,
    is_closed: bool,
}

/// What another shard needs to go on.
pub struct TlsParts {
    state: State,
    raw: Vec<u8>,
    handshake_bytes: usize,
}

enum State {
    /// Whom the client asks for decides how to go on.
    Greeting(Box<Greeting>),
    Running(Box<UnbufferedServerConnection>),
    Over,
}

struct Greeting {
    server: TlsServer,
    acceptor: Acceptor,
    /// Bytes of the input that it has seen.
    shown: usize,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("is_ready", &self.is_ready()).finish_non_exhaustive()
    }
}

impl fmt::Debug for TlsParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsParts").field("raw", &self.raw.len()).finish_non_exhaustive()
    }
}

/// What became of a step.
enum Step {
    Again,
    Rest,
    End(TlsEnded),
}

impl Tls {
    /// A connection that begins.
    #[must_use]
    pub fn new(server: &TlsServer, buffers: &Buffers) -> Self {
        let state = if server.has_hosts() {
            let acceptor = Acceptor::default();
            State::Greeting(Box::new(Greeting { server: server.clone(), acceptor, shown: 0 }))
        } else {
            State::running(server.usual())
        };
        Self::from_parts(TlsParts { state, raw: Vec::new(), handshake_bytes: 0 }, buffers)
    }

    /// A connection that has come from another shard.
    #[must_use]
    pub fn from_parts(parts: TlsParts, buffers: &Buffers) -> Self {
        let TlsParts { state, raw, handshake_bytes } = parts;
        Self {
            state,
            raw: ReadBuffer::new(buffers),
            rested: raw,
            sealed: Output::new(buffers),
            handshake_bytes,
            is_closed: false,
        }
    }

    /// For another shard; with it goes what is in [`Tls::sealed`].
    #[must_use]
    pub fn into_parts(self) -> (TlsParts, Output) {
        let Self { state, raw, mut rested, sealed, handshake_bytes, is_closed: _ } = self;
        rested.extend_from_slice(raw.filled());
        (TlsParts { state, raw: rested, handshake_bytes }, sealed)
    }

    /// Where a read of the socket belongs. Then comes [`Tls::open`].
    pub fn raw(&mut self) -> &mut ReadBuffer {
        if !self.rested.is_empty() {
            self.raw.put(&std::mem::take(&mut self.rested));
        }
        &mut self.raw
    }

    /// What goes to the socket.
    pub const fn sealed(&mut self) -> &mut Output {
        &mut self.sealed
    }

    /// Bytes that go to the socket.
    #[must_use]
    pub fn sealed_len(&self) -> usize {
        self.sealed.len()
    }

    /// Whether the handshake is done.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        match &self.state {
            State::Running(connection) => !connection.is_handshaking(),
            State::Greeting(_) | State::Over => false,
        }
    }

    /// The certificate that the client has shown, checked. Once [`Tls::is_ready`].
    #[must_use]
    pub fn client_certificate(&self) -> Option<&[u8]> {
        match &self.state {
            State::Running(connection) => connection.peer_certificates()?.first().map(|c| &**c),
            State::Greeting(_) | State::Over => None,
        }
    }

    /// Version and cipher suite that were agreed on, for people.
    #[must_use]
    pub fn agreed(&self) -> Option<(&'static str, String)> {
        let State::Running(connection) = &self.state else { return None };
        let version = connection.protocol_version()?.as_str()?;
        let suite = connection.negotiated_cipher_suite()?.suite();
        Some((version, suite.as_str().unwrap_or_default().into()))
    }

    /// Takes what was read: what was inside goes behind `input`, answers are sealed.
    ///
    /// # Errors
    /// No more can be read. What is in `input` by then is good all the same, and what is sealed is the alert.
    pub fn open(&mut self, input: &mut ReadBuffer) -> Result<(), TlsEnded> {
        self.raw();
        let result = self.open_all(input);
        self.raw.release();
        if let Err(TlsEnded::Failed(_) | TlsEnded::Exhausted) = &result {
            self.last_words();
            self.state = State::Over;
        }
        result
    }

    fn open_all(&mut self, input: &mut ReadBuffer) -> Result<(), TlsEnded> {
        if self.greet() {
            return self.count_handshake(0);
        }
        loop {
            let State::Running(connection) = &mut self.state else { return Ok(()) };
            let was_handshaking = connection.is_handshaking();
            let status = connection.process_tls_records(self.raw.filled_mut());
            let discard = status.discard;
            let step = match status.state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    let mut step = Step::Again;
                    while let Some(record) = traffic.next_record() {
                        match record {
                            Ok(record) => input.put(record.payload),
                            Err(error) => step = Step::End(TlsEnded::failed(&error)),
                        }
                    }
                    step
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    put_flight(&mut self.sealed, |room| data.encode(room));
                    Step::Again
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    Step::Again
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => {
                    Step::Rest
                }
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    Step::End(TlsEnded::ByPeer)
                }
                // Nobody is allowed to send early: a replay would be a message twice.
                Ok(_) => Step::End(TlsEnded::Failed("early data".into())),
                Err(error) => Step::End(TlsEnded::failed(&error)),
            };
            self.raw.consume(discard);
            if was_handshaking {
                self.count_handshake(discard)?;
            }
            match step {
                Step::Again => {}
                Step::Rest => return Ok(()),
                Step::End(ended) => return Err(ended),
            }
        }
    }

    fn count_handshake(&mut self, taken: usize) -> Result<(), TlsEnded> {
        self.handshake_bytes = self.handshake_bytes.saturating_add(taken);
        if !self.is_ready() && self.handshake_bytes + self.raw.len() > HANDSHAKE_BYTES_MAX {
            return Err(TlsEnded::Failed("the handshake is too large".into()));
        }
        Ok(())
    }

    /// Looks whom the client asks for. True: that has not been said yet.
    fn greet(&mut self) -> bool {
        let State::Greeting(greeting) = &mut self.state else { return false };
        let Greeting { server, acceptor, shown } = &mut **greeting;
        let mut unseen = self.raw.filled().get(*shown..).unwrap_or_default();
        let mut chosen = None;
        while chosen.is_none() && !unseen.is_empty() {
            match acceptor.read_tls(&mut unseen) {
                Ok(1..) => {}
                // Too much of it: the connection itself shall say so.
                Ok(0) | Err(_) => chosen = Some(server.usual().clone()),
            }
            match acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    let hello = accepted.client_hello();
                    chosen = Some(server.host(hello.server_name().unwrap_or_default()).clone());
                }
                // The connection is shown the same, and says the same.
                Err(_) => chosen = Some(server.usual().clone()),
            }
        }
        *shown = self.raw.len();
        match chosen {
            Some(config) => {
                self.state = State::running(&config);
                false
            }
            None => true,
        }
    }

    /// What rustls has to say at the end. Once that is said it must not be shown what it has refused again: it would refuse
    /// it a second time, and holds that to be impossible.
    fn last_words(&mut self) {
        let State::Running(connection) = &mut self.state else { return };
        for _ in 0..LAST_WORDS_MAX {
            if !connection.wants_write() {
                break;
            }
            let status = connection.process_tls_records(self.raw.filled_mut());
            if let Ok(ConnectionState::EncodeTlsData(mut data)) = status.state {
                put_flight(&mut self.sealed, |room| data.encode(room));
            }
        }
        self.raw.consume(self.raw.len());
        self.raw.release();
    }

    /// Seals all of `output`. While the handshake lasts it stays where it is; at the end it is forgotten.
    ///
    /// # Errors
    /// Nothing can be sealed any more.
    pub fn seal(&mut self, output: &mut Output) -> Result<(), TlsEnded> {
        if let State::Over = self.state {
            output.clear();
        }
        if output.is_empty() || !self.is_ready() {
            return Ok(());
        }
        if self.is_closed {
            output.clear();
            return Ok(());
        }
        let mut result = Ok(());
        self.with_traffic(|traffic, sealed| result = seal_all(traffic, output, sealed));
        result
    }

    /// Says that no more will come.
    pub fn close(&mut self) {
        if !self.is_closed && self.is_ready() {
            self.with_traffic(|traffic, sealed| {
                sealed.put_with(SEAL_ROOM_BYTES, |room| {
                    traffic.queue_close_notify(room).unwrap_or_default()
                });
            });
        }
        self.is_closed = true;
    }

    /// Gives `act` the means to seal.
    fn with_traffic(&mut self, act: impl FnOnce(&mut WriteTraffic<'_, ServerData>, &mut Output)) {
        self.raw();
        let State::Running(connection) = &mut self.state else { return };
        // Whole records are opened by now: nothing of `raw` is taken here. rustls wants to see it all the same, since it knows
        // places in it.
        for _ in 0..LAST_WORDS_MAX {
            let status = connection.process_tls_records(self.raw.filled_mut());
            let discard = status.discard;
            match status.state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    act(&mut traffic, &mut self.sealed);
                    self.raw.consume(discard);
                    break;
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    put_flight(&mut self.sealed, |room| data.encode(room));
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(_) | Err(_) => break,
            }
            self.raw.consume(discard);
        }
        self.raw.release();
    }

    /// Nothing to do until the next read: gives back memory that only a busy connection needs.
    pub fn rest(&mut self) {
        if (1..=REST_BYTES_MAX).contains(&self.raw.len()) {
            self.rested = self.raw.filled().to_vec();
            self.raw.consume(self.raw.len());
        }
        self.raw.release();
        self.sealed.rest();
    }
}

/// What rustls calls its server's part of a connection, without a name for us to write.
type ServerData = rustls::server::ServerConnectionData;

impl State {
    fn running(config: &std::sync::Arc<rustls::ServerConfig>) -> Self {
        // Fails only for sizes of fragments, of which we set none.
        UnbufferedServerConnection::new(config.clone())
            .map_or(Self::Over, |connection| Self::Running(Box::new(connection)))
    }
}

impl TlsEnded {
    fn failed(error: &rustls::Error) -> Self {
        Self::Failed(error.to_string().into())
    }
}

fn put_flight(
    sealed: &mut Output,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) {
    let Err(EncodeError::InsufficientSize(size)) = encode(&mut []) else { return };
    sealed.put_with(size.required_size, |room| encode(room).unwrap_or_default());
}

fn seal_all(
    traffic: &mut WriteTraffic<'_, ServerData>,
    output: &mut Output,
    sealed: &mut Output,
) -> Result<(), TlsEnded> {
    while !output.is_empty() {
        let many = output.chunk_count() > 1;
        let front = output.front();
        let count = if many && front.len() < RECORD_BYTES_MAX {
            // Small records cost as much as large ones: gathered, even by copy.
            let mut gathered = output.gather(RECORD_BYTES_MAX);
            let count = gathered.len();
            let (first, rest) = gathered.split_at(count.min(first_bytes(&gathered)));
            let result = seal_piece(traffic, first, sealed);
            let result = result.and_then(|()| seal_piece(traffic, rest, sealed));
            output.give_back(std::mem::take(&mut gathered));
            result.map(|()| count)
        } else {
            let piece = front.get(..first_bytes(front)).unwrap_or(front);
            seal_piece(traffic, piece, sealed).map(|()| piece.len())
        };
        match count {
            Ok(count) => output.consume(count),
            Err(ended) => {
                output.clear();
                return Err(ended);
            }
        }
    }
    output.release();
    Ok(())
}

/// How much of it to seal first.
fn first_bytes(plain: &[u8]) -> usize {
    let in_page = plain.as_ptr().addr().wrapping_add(NEAR_BYTES) % PAGE_BYTES;
    let is_near = in_page < 2 * NEAR_BYTES;
    if is_near && plain.len() > 2 * FIRST_RECORD_BYTES {
        FIRST_RECORD_BYTES
    } else {
        SEAL_BYTES_MAX
    }
}

fn seal_piece(
    traffic: &mut WriteTraffic<'_, ServerData>,
    piece: &[u8],
    sealed: &mut Output,
) -> Result<(), TlsEnded> {
    if piece.is_empty() {
        return Ok(());
    }
    let mut result = Ok(());
    let mut room_bytes = piece.len() + SEAL_ROOM_BYTES;
    // The second time with the room that it asks for.
    for _ in 0..2 {
        sealed.put_with(room_bytes, |room| match traffic.encrypt(piece, room) {
            Ok(count) => {
                result = Ok(());
                count
            }
            Err(EncryptError::InsufficientSize(size)) => {
                room_bytes = size.required_size;
                result = Err(TlsEnded::Exhausted);
                0
            }
            Err(EncryptError::EncryptExhausted) => {
                result = Err(TlsEnded::Exhausted);
                0
            }
        });
        if result.is_ok() {
            break;
        }
    }
    result
}
