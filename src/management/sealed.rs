//! TLS between a socket of the HTTP server and what reads and writes it: the same octets in, octets
//! out as under the protocols, so that a WebSocket can go on to a shard with its keys.
//!
//! May import tokio, `ringmq_shards`, `protocol` (to name what is not TLS).

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ringmq_shards::tls::{Tls, TlsEnded, TlsServer};
use ringmq_shards::{Buffers, Output, ReadBuffer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::protocol::looks_like;

/// Octets that are sealed and wait for a slow reader before more is taken.
const SEALED_BYTES_MAX: usize = 64 * 1024;

/// The first octet of TLS.
const HANDSHAKE: u8 = 0x16;

/// See the module.
#[derive(Debug)]
pub(super) struct Sealed {
    stream: TcpStream,
    tls: Tls,
    /// Opened and not read yet.
    input: ReadBuffer,
    /// Empty between calls.
    plain: Output,
    ended: Option<TlsEnded>,
    is_at_end: bool,
    /// What it looks like that is not TLS.
    looks_like: Option<&'static str>,
}

/// Why there is no TLS.
#[derive(Debug)]
pub(super) enum NoTls {
    /// The client is gone.
    Gone,
    /// It was refused, or has refused.
    Failed {
        /// For the log.
        why: Box<str>,
        /// What it spoke instead, if it did.
        looks_like: Option<&'static str>,
    },
}

impl Sealed {
    /// A connection that begins, with what was read of it already.
    pub(super) fn new(
        server: &TlsServer,
        buffers: &Buffers,
        stream: TcpStream,
        begun: &[u8],
    ) -> Self {
        let mut new = Self {
            stream,
            tls: Tls::new(server, buffers),
            input: ReadBuffer::new(buffers),
            plain: Output::new(buffers),
            ended: None,
            is_at_end: false,
            looks_like: None,
        };
        if !begun.is_empty() {
            new.tls.raw().put(begun);
            new.look();
            new.open();
        }
        new
    }

    fn look(&mut self) {
        let octets = self.tls.raw().filled();
        if octets.first().is_some_and(|first| *first != HANDSHAKE) {
            self.looks_like = Some(looks_like(octets));
        }
    }

    fn open(&mut self) {
        if self.ended.is_none() {
            self.ended = self.tls.open(&mut self.input).err();
        }
    }

    /// Reads what is there and opens it; 0: no more comes.
    fn poll_fill(&mut self, context: &mut Context<'_>, is_first: bool) -> Poll<io::Result<usize>> {
        let raw = self.tls.raw();
        let mut into = ReadBuf::new(raw.unfilled());
        let read = Pin::new(&mut self.stream).poll_read(context, &mut into);
        let count = into.filled().len();
        raw.advance(count);
        match read {
            Poll::Pending => {
                self.tls.rest();
                Poll::Pending
            }
            Poll::Ready(Ok(())) => {
                if is_first {
                    self.look();
                }
                self.open();
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }

    /// Writes what is sealed.
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, tls, .. } = self;
        let sealed = tls.sealed();
        while !sealed.is_empty() {
            let written = ready!(Pin::new(&mut *stream).poll_write(context, sealed.front()))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            sealed.consume(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Until both ends have agreed. What the client is told when they do not is written by then.
    pub(super) async fn shake_hands(&mut self) -> Result<(), NoTls> {
        let mut is_first = self.tls.raw().is_empty() && self.ended.is_none();
        poll_fn(|context| {
            loop {
                if ready!(self.poll_drain(context)).is_err() {
                    return Poll::Ready(Err(NoTls::Gone));
                }
                if let Some(ended) = &self.ended {
                    let (why, looks_like) = (ended.to_string().into(), self.looks_like);
                    return Poll::Ready(Err(NoTls::Failed { why, looks_like }));
                }
                if self.tls.is_ready() {
                    return Poll::Ready(Ok(()));
                }
                match ready!(self.poll_fill(context, is_first)) {
                    Ok(1..) => is_first = false,
                    Ok(0) | Err(_) => return Poll::Ready(Err(NoTls::Gone)),
                }
            }
        })
        .await
    }

    /// For another thread: the socket, what was opened and not read, and the keys. Nothing is left
    /// to be written.
    pub(super) async fn into_parts(mut self) -> io::Result<(TcpStream, Vec<u8>, Tls)> {
        poll_fn(|context| self.poll_drain(context)).await?;
        let Self { stream, tls, input, .. } = self;
        Ok((stream, input.filled().to_vec(), tls))
    }
}

fn broken(ended: &TlsEnded) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, ended.to_string())
}

impl AsyncRead for Sealed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if !self.input.is_empty() {
                let count = self.input.len().min(into.remaining());
                into.put_slice(self.input.filled().get(..count).unwrap_or_default());
                self.input.consume(count);
                self.input.release();
                return Poll::Ready(Ok(()));
            }
            match &self.ended {
                Some(TlsEnded::ByPeer) => return Poll::Ready(Ok(())),
                Some(ended @ (TlsEnded::Failed(_) | TlsEnded::Exhausted)) => {
                    return Poll::Ready(Err(broken(ended)));
                }
                None if self.is_at_end => return Poll::Ready(Ok(())),
                None => {}
            }
            let count = ready!(self.poll_fill(context, false))?;
            self.is_at_end = count == 0;
            // Answers of TLS itself; what does not fit goes with the next write.
            if let Poll::Ready(Err(error)) = self.poll_drain(context) {
                return Poll::Ready(Err(error));
            }
        }
    }
}

impl AsyncWrite for Sealed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.tls.sealed_len() >= SEALED_BYTES_MAX {
            ready!(self.poll_drain(context))?;
        }
        let piece = octets.get(..SEALED_BYTES_MAX).unwrap_or(octets);
        let Self { tls, plain, .. } = &mut *self;
        plain.put(piece);
        tls.seal(plain).map_err(|ended| broken(&ended))?;
        match self.poll_drain(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(piece.len())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tls.close();
        ready!(self.poll_drain(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
