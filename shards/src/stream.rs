//! A connection of one shard. Imports the executor's stream and libc.
#![expect(unsafe_code, reason = "file descriptors are handed to and borrowed from the executor")]

use crate::buffers::ReadBuffer;
use crate::output::Output;
use crate::quiet::{Place, Quiet};
use crate::socket::{Socket, plain_address};
use futures_lite::io::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use socket2::SockRef;
use std::fmt;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Neither waits nor has the process killed for a peer that is gone.
const SEND_FLAGS: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
/// Bytes of one send at most.
const SEND_BYTES_MAX: usize = 256 * 1024;
/// Chunks of one send at most.
const SEND_SLICES_MAX: usize = 64;
/// Bytes that one flush sends before others have their turn.
const FLUSH_BYTES_MAX: usize = 1024 * 1024;

/// A connection, bound to the executor of the shard that made it.
///
/// Reading and writing are polled by one task, in one `poll_fn` together with whatever else wakes that task: a poll that
/// returns `Pending` leaves nothing behind but a request to be told of readiness (no buffer, no bytes), so polls may come as
/// often and in whatever order, and dropping the stream between them loses nothing but the stream. Nothing here is an
/// operation in flight that could be cancelled half done.
///
/// A stream that says little is [`Quiet`], and one that says much has a request in the ring; it goes from one to the other by
/// itself.
pub struct Stream {
    side: Side,
    place: Place,
    /// The kernel took nothing at the last attempt to write: the request for that stands.
    is_stuck: bool,
}

enum Side {
    Quiet(Socket),
    Busy(Box<TcpStream>),
    /// Only while it goes from one to the other.
    Between,
}

impl Stream {
    /// Binds a socket to the executor of this thread, whose sockets are in `quiet`.
    ///
    /// # Panics
    ///
    /// Outside of a shard.
    #[must_use]
    pub fn from_socket(socket: Socket, quiet: &Quiet) -> Self {
        let place = quiet.place(socket.as_fd());
        let side = if place.is_busy() { busy(socket) } else { Side::Quiet(socket) };
        Self { side, place, is_stuck: false }
    }

    /// Unbinds the connection so that another shard may have it. Bytes that the kernel holds stay with the socket.
    ///
    /// # Errors
    ///
    /// If no descriptor is left for the copy; the connection is closed then.
    pub fn into_socket(self) -> io::Result<Socket> {
        match self.side {
            Side::Quiet(socket) => {
                self.place.leave_list(socket.as_fd());
                Ok(socket)
            }
            // The executor's stream cannot be taken apart. Its readiness requests hold the connection, not the descriptor, and
            // are withdrawn in the next turn.
            Side::Busy(_) | Side::Between => self.copy(),
        }
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
        let result = match &mut self.side {
            Side::Busy(stream) => Pin::new(&mut **stream).poll_read(context, buffer),
            Side::Quiet(_) => return self.poll_read_quiet(context, buffer),
            Side::Between => return Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        };
        if result.is_ready() {
            self.place.has_read();
        } else if self.place.is_silent(context) && !self.is_stuck {
            self.become_quiet(context);
        }
        again_if_interrupted(context, result)
    }

    fn poll_read_quiet(
        &mut self,
        context: &Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.place.poll_ready(context));
        match self.with_socket(|socket| receive(socket, buffer)) {
            Ok(count) => {
                if count > 0 && self.place.is_lively() {
                    self.become_busy(context);
                }
                Poll::Ready(Ok(count))
            }
            // Only this says that the kernel will tell of the next byte.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.place.sleep(context);
                Poll::Pending
            }
            Err(error) => again_if_interrupted(context, Poll::Ready(Err(error))),
        }
    }

    fn become_busy(&mut self, context: &Context<'_>) {
        match std::mem::replace(&mut self.side, Side::Between) {
            Side::Quiet(socket) => {
                self.place.leave_list(socket.as_fd());
                self.side = busy(socket);
                // It knows whom to tell of input only when it is polled for it.
                context.waker().wake_by_ref();
            }
            side @ (Side::Busy(_) | Side::Between) => self.side = side,
        }
    }

    /// Stays busy if there is no descriptor for the copy, without which the executor's stream does not give up its request.
    fn become_quiet(&mut self, context: &Context<'_>) {
        let copy = self.copy();
        self.place.has_read();
        if let Ok(socket) = copy
            && self.place.join_list(socket.as_fd(), context).is_ok()
        {
            self.side = Side::Quiet(socket);
        }
    }

    fn copy(&self) -> io::Result<Socket> {
        self.with_socket(|socket| socket.try_clone()).map(Socket::new)
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
        if let Side::Quiet(_) = self.side {
            match self.with_socket(|socket| socket.send_with_flags(bytes, SEND_FLAGS)) {
                // Only a request of its own tells when there is room.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.become_busy(context);
                }
                other => return again_if_interrupted(context, Poll::Ready(other)),
            }
        }
        let result = match &mut self.side {
            Side::Busy(stream) => Pin::new(&mut **stream).poll_write(context, bytes),
            Side::Quiet(_) | Side::Between => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        };
        self.is_stuck = result.is_pending();
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
        self.is_stuck = false;
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
            self.with_socket(|socket| socket.send_vectored_with_flags(slices, SEND_FLAGS))
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

    fn with_socket<T>(&self, act: impl FnOnce(&socket2::Socket) -> io::Result<T>) -> io::Result<T> {
        match &self.side {
            Side::Quiet(socket) => act(socket.inner()),
            Side::Busy(stream) => {
                // SAFETY: the stream owns the descriptor and outlives this call.
                let descriptor = unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) };
                act(&SockRef::from(&descriptor))
            }
            Side::Between => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// With a request of its own, which begins with one for input.
fn busy(socket: Socket) -> Side {
    let descriptor = socket.into_inner().into_raw_fd();
    // SAFETY: the descriptor is open and its only owner has just given it up.
    let stream = unsafe { TcpStream::from_raw_fd(descriptor) };
    Side::Busy(Box::new(stream))
}

/// Does not wait, whatever the socket would do.
fn receive(socket: &socket2::Socket, buffer: &mut [u8]) -> io::Result<usize> {
    let (start, room) = (buffer.as_mut_ptr().cast(), buffer.len());
    // SAFETY: the kernel writes at most as many bytes as the buffer has, which is ours alone.
    let count = unsafe { libc::recv(socket.as_raw_fd(), start, room, libc::MSG_DONTWAIT) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
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
        let descriptor = self.with_socket(|socket| Ok(socket.as_raw_fd())).ok();
        f.debug_struct("Stream")
            .field("descriptor", &descriptor)
            .field("is_busy", &self.place.is_busy())
            .finish()
    }
}
