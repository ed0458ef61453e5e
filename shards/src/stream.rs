//! A connection of one shard. Imports the executor's stream.
#![expect(unsafe_code, reason = "file descriptors are handed to and borrowed from the executor")]

use crate::buffers::ReadBuffer;
use crate::output::Output;
use crate::socket::{Socket, plain_address};
use futures_lite::io::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use socket2::SockRef;
use std::fmt;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Bytes of one send at most.
const SEND_BYTES_MAX: usize = 256 * 1024;
/// Chunks of one send at most.
const SEND_SLICES_MAX: usize = 64;
/// Bytes that one flush sends before others have their turn.
const FLUSH_BYTES_MAX: usize = 1024 * 1024;

/// A connection, bound to the executor of the shard that made it.
///
/// Reading and writing are polled by one task, in one `poll_fn` together with whatever else wakes that task: a poll that
/// returns `Pending` leaves nothing behind but a readiness request in the ring (no buffer, no bytes), so polls may come as
/// often and in whatever order, and dropping the stream between them loses nothing but the stream. Nothing here is an
/// operation in flight that could be cancelled half done.
pub struct Stream {
    inner: TcpStream,
}

impl Stream {
    /// Binds a socket to the executor of this thread.
    ///
    /// # Panics
    ///
    /// Outside of a shard.
    #[must_use]
    pub fn from_socket(socket: Socket) -> Self {
        let descriptor = socket.into_inner().into_raw_fd();
        // SAFETY: the descriptor is open and its only owner has just given it up.
        let inner = unsafe { TcpStream::from_raw_fd(descriptor) };
        Self { inner }
    }

    /// Unbinds the connection so that another shard may have it. Bytes that the kernel holds stay with the socket.
    ///
    /// # Errors
    ///
    /// If no descriptor is left for the copy; the connection is closed then.
    pub fn into_socket(self) -> io::Result<Socket> {
        // The executor's stream cannot be taken apart. Its readiness requests hold the connection, not the descriptor, and
        // are withdrawn in the next turn.
        self.with_socket(|socket| socket.try_clone()).map(Socket::new)
    }

    /// Reads what is there, at most `buffer`; 0 is the end of the stream.
    pub fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if buffer.is_empty() {
            // The kernel's answer would be 0, which means the end.
            return Poll::Ready(Err(io::ErrorKind::InvalidInput.into()));
        }
        let result = Pin::new(&mut self.inner).poll_read(context, buffer);
        again_if_interrupted(context, result)
    }

    /// Reads behind what `input` holds; 0 is the end of the stream. While it is `Pending` an empty `input` holds no memory.
    pub fn poll_fill(
        &mut self,
        context: &mut Context<'_>,
        input: &mut ReadBuffer,
    ) -> Poll<io::Result<usize>> {
        let result = self.poll_read(context, input.unfilled());
        match result {
            Poll::Ready(Ok(count)) if count > 0 => input.advance(count),
            Poll::Ready(_) | Poll::Pending => input.release(),
        }
        result
    }

    /// Writes what the kernel takes of `bytes`.
    pub fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(context, bytes);
        again_if_interrupted(context, result)
    }

    /// Writes what the kernel takes of `output`; ready when all of it is taken. A peer that reads as fast as we write does not
    /// keep the others waiting: after a bounded number of bytes the task is woken to go on in its next turn.
    pub fn poll_flush(
        &mut self,
        context: &mut Context<'_>,
        output: &mut Output,
    ) -> Poll<io::Result<()>> {
        let mut total = 0;
        while !output.is_empty() {
            if total >= FLUSH_BYTES_MAX {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let count = if output.chunk_count() > 1 {
                self.poll_send_chunks(context, output)
            } else {
                let front = output.front();
                let bite = front.get(..SEND_BYTES_MAX).unwrap_or(front);
                self.poll_write(context, bite)
            };
            match count {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => {
                    output.consume(count);
                    total += count;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    output.stall();
                    return Poll::Pending;
                }
            }
        }
        output.release();
        Poll::Ready(Ok(()))
    }

    /// Several chunks in one system call; the executor's own write, which can wait, when the kernel takes nothing.
    fn poll_send_chunks(
        &mut self,
        context: &mut Context<'_>,
        output: &mut Output,
    ) -> Poll<io::Result<usize>> {
        let sent = {
            let mut slices = [IoSlice::new(&[]); SEND_SLICES_MAX];
            let (count, _) = output.slices(&mut slices, SEND_BYTES_MAX);
            let slices = slices.get(..count).unwrap_or_default();
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            self.with_socket(|socket| socket.send_vectored_with_flags(slices, flags))
        };
        match sent {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.poll_write(context, output.front())
            }
            other => again_if_interrupted(context, Poll::Ready(other)),
        }
    }

    /// Ends one direction or both. Bytes that were written still go out.
    ///
    /// # Errors
    ///
    /// If the connection is gone.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.with_socket(|socket| socket.shutdown(how))
    }

    /// The other end; an IPv4 peer of a dual-stack listener is shown as IPv4.
    ///
    /// # Errors
    ///
    /// If the connection is gone.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        plain_address(&self.with_socket(|socket| socket.peer_addr())?)
    }

    /// This end.
    ///
    /// # Errors
    ///
    /// What the system call says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        plain_address(&self.with_socket(|socket| socket.local_addr())?)
    }

    fn with_socket<T>(&self, act: impl FnOnce(&socket2::Socket) -> T) -> T {
        // SAFETY: the stream owns the descriptor and outlives this call.
        let descriptor = unsafe { BorrowedFd::borrow_raw(self.inner.as_raw_fd()) };
        act(&SockRef::from(&descriptor))
    }
}

/// A signal interrupted the call: the task polls again in its next turn.
fn again_if_interrupted(
    context: &Context<'_>,
    result: Poll<io::Result<usize>>,
) -> Poll<io::Result<usize>> {
    if matches!(&result, Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted) {
        context.waker().wake_by_ref();
        return Poll::Pending;
    }
    result
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("descriptor", &self.inner.as_raw_fd()).finish()
    }
}
