//! Accepting connections on one shard. Imports socket2 and, to wait, the executor's stream.
#![expect(unsafe_code, reason = "a file descriptor is handed to the executor")]

use crate::limits::is_for_newcomers;
use crate::socket::{Socket, plain_address};
use crate::socket_file::SocketFile;
use futures_lite::io::AsyncRead;
use glommio::net::TcpStream;
use socket2::{Domain, Protocol, Type};
use std::cell::RefCell;
use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// How to bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BindOptions {
    /// Each shard binds the same address and the kernel spreads the connections (SO_REUSEPORT). A second process of the same
    /// user could join unnoticed: ask [`port_is_free`] first.
    pub reuse_port: bool,
    /// Connections that wait to be accepted; the kernel caps it at `net.core.somaxconn`.
    pub backlog: i32,
    /// SO_RCVBUF of every connection in bytes; `None`: the kernel adapts it.
    pub recv_buffer: Option<usize>,
    /// SO_SNDBUF of every connection in bytes; `None`: the kernel adapts it.
    pub send_buffer: Option<usize>,
    /// The unspecified IPv6 address takes no IPv4 connections: somebody else has those.
    pub only_ipv6: bool,
}

impl Default for BindOptions {
    fn default() -> Self {
        let (recv_buffer, send_buffer) = (None, None);
        Self { reuse_port: true, backlog: 4096, recv_buffer, send_buffer, only_ipv6: false }
    }
}

/// Why no connection was accepted. The listener goes on working.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// No file descriptor is left, or only those that are kept for files. The newcomer at the head of the queue was accepted and closed, so that it learns; accept
    /// again after a pause.
    #[error("no file descriptor left; connection refused (raise the limit of open files)")]
    OpenFiles {
        /// Whom that concerned, if someone was there.
        refused: Option<SocketAddr>,
    },
    /// The kernel has no memory for another connection; accept again after a pause.
    #[error("the kernel has no memory left for another connection")]
    Memory,
    /// The listener itself is broken.
    #[error("cannot accept: {0}")]
    Other(io::Error),
}

/// Says whether nobody listens at `address`, by binding it without SO_REUSEPORT for a moment. Without this, a second broker on
/// the same machine would silently share the port.
///
/// # Errors
///
/// `AddrInUse` if somebody does; otherwise what binding would say.
pub fn port_is_free(address: SocketAddr, options: BindOptions) -> io::Result<()> {
    fresh_socket(address, options.only_ipv6)?.bind(&address.into())
}

/// A listening socket that no shard has taken yet. `Send`: bind in `main`, where errors are easy to tell, and listen on the
/// shard.
#[derive(Debug)]
pub struct Bound {
    socket: socket2::Socket,
}

impl Bound {
    /// Binds and listens. The unspecified IPv6 address takes IPv4 connections as well unless the options say otherwise.
    ///
    /// # Errors
    ///
    /// What the system calls say.
    pub fn new(address: SocketAddr, options: BindOptions) -> io::Result<Self> {
        let socket = fresh_socket(address, options.only_ipv6)?;
        if options.reuse_port {
            socket.set_reuse_port(true)?;
        }
        // Before listen: connections inherit the sizes, and the window scale is settled in the handshake.
        if let Some(bytes) = options.recv_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(bytes) = options.send_buffer {
            socket.set_send_buffer_size(bytes)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(options.backlog)?;
        Ok(Self { socket })
    }

    /// Binds to a name in the file system and listens there; what a server that was killed has left under that name is replaced.
    /// Whoever may write to the file, by its permissions `mode`, may connect. One shard accepts for all: the kernel does not
    /// spread the connections of such a socket.
    ///
    /// # Errors
    ///
    /// `AddrInUse` if somebody listens there, `AlreadyExists` if it is a file of another kind; otherwise what the system calls
    /// say.
    pub fn unix(path: &Path, mode: u32, options: BindOptions) -> io::Result<(Self, SocketFile)> {
        SocketFile::make_way(path)?;
        let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
        if let Some(bytes) = options.send_buffer {
            socket.set_send_buffer_size(bytes)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&socket2::SockAddr::unix(path)?)?;
        let file = SocketFile::new(path)?;
        // Nobody can connect before we listen.
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        socket.listen(options.backlog)?;
        Ok((Self { socket }, file))
    }

    /// One that listens already.
    pub(crate) fn from_socket(socket: socket2::Socket) -> Self {
        Self { socket }
    }

    /// The same socket for another shard. Unlike sockets that are bound each on its own, all of them have one queue: each
    /// newcomer wakes all shards, and one of them gets it.
    ///
    /// # Errors
    ///
    /// If no descriptor is left.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.socket.try_clone().map(Self::from_socket)
    }

    /// Where it listens, with the port that the kernel chose for 0.
    ///
    /// # Errors
    ///
    /// What the system call says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        plain_address(&self.socket.local_addr()?)
    }

    /// For a thread that is no shard, if it was bound to an address of the network.
    #[must_use]
    pub fn into_tcp(self) -> std::net::TcpListener {
        self.socket.into()
    }

    /// The same, if it was bound to a name in the file system.
    #[must_use]
    pub fn into_unix(self) -> std::os::unix::net::UnixListener {
        self.socket.into()
    }
}

fn fresh_socket(address: SocketAddr, only_ipv6: bool) -> io::Result<socket2::Socket> {
    let socket =
        socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(only_ipv6)?;
    }
    // Connections of a former process that linger in TIME_WAIT must not keep us from starting.
    socket.set_reuse_address(true)?;
    Ok(socket)
}

/// The connections that come to one shard at one address.
pub struct Listener {
    socket: socket2::Socket,
    /// Kept for the day when no descriptor is left: closing it makes room to accept and close one newcomer, who would
    /// otherwise wait in the queue for ever, waking us for ever.
    spare: RefCell<Option<socket2::Socket>>,
    /// Present while we wait for a newcomer.
    waiting: RefCell<Option<TcpStream>>,
}

impl Listener {
    /// [`Bound::new`] on the shard itself.
    ///
    /// # Errors
    ///
    /// What the system calls say.
    pub fn bind(address: SocketAddr, options: BindOptions) -> io::Result<Self> {
        Self::from_bound(Bound::new(address, options)?)
    }

    /// Takes a socket that was bound before.
    ///
    /// # Errors
    ///
    /// If no descriptor is left for the spare.
    pub fn from_bound(bound: Bound) -> io::Result<Self> {
        let spare = bound.socket.try_clone()?;
        Ok(Self {
            socket: bound.socket,
            spare: RefCell::new(Some(spare)),
            waiting: RefCell::new(None),
        })
    }

    /// Where it listens, with the port that the kernel chose for 0.
    ///
    /// # Errors
    ///
    /// What the system call says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        plain_address(&self.socket.local_addr()?)
    }

    /// The next connection. One task accepts; the future may be dropped without losing a connection.
    ///
    /// # Errors
    ///
    /// See [`AcceptError`]; only `Other` is final.
    pub async fn accept(&self) -> Result<Socket, AcceptError> {
        std::future::poll_fn(|context| self.poll_accept(context)).await
    }

    /// [`Listener::accept`] for use in a `poll_fn`.
    pub fn poll_accept(&self, context: &mut Context<'_>) -> Poll<Result<Socket, AcceptError>> {
        loop {
            ready!(self.poll_newcomer(context));
            match self.socket.accept() {
                Ok((socket, _)) if is_for_newcomers(&socket) => {
                    return Poll::Ready(Ok(Socket::new(socket)));
                }
                // What is left is for files; it is closed, so that it learns.
                Ok((_, peer)) => {
                    let refused = plain_address(&peer).ok();
                    return Poll::Ready(Err(AcceptError::OpenFiles { refused }));
                }
                Err(error) => match self.judge(error) {
                    Verdict::Again => {}
                    Verdict::Wait => {
                        if let Err(error) = self.begin_wait() {
                            return Poll::Ready(Err(error));
                        }
                    }
                    Verdict::Tell(error) => return Poll::Ready(Err(error)),
                },
            }
        }
    }

    /// Pending while nobody is known to be there. At first, and after each connection, somebody may be.
    fn poll_newcomer(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut waiting = self.waiting.borrow_mut();
        if let Some(stream) = waiting.as_mut() {
            // A listening socket cannot be read: the error says that the readiness request was answered.
            let _ = ready!(Pin::new(stream).poll_read(context, &mut [0]));
            *waiting = None;
        }
        Poll::Ready(())
    }

    /// Asks the executor for the readiness of the listening socket. Its own `accept` would be an operation in flight: a
    /// connection accepted just when the future is dropped would be lost. A new stream begins with a request for readability
    /// and touches the socket only when that was answered, which is all we need.
    fn begin_wait(&self) -> Result<(), AcceptError> {
        let copy = match self.socket.try_clone() {
            Ok(copy) => copy.into_raw_fd(),
            Err(error) if is_out_of_files(&error) => {
                return Err(AcceptError::OpenFiles { refused: None });
            }
            Err(error) => return Err(AcceptError::Other(error)),
        };
        // SAFETY: the descriptor is open and its only owner has just given it up.
        let stream = unsafe { TcpStream::from_raw_fd(copy) };
        *self.waiting.borrow_mut() = Some(stream);
        Ok(())
    }

    fn judge(&self, error: io::Error) -> Verdict {
        if is_out_of_files(&error) {
            return Verdict::Tell(AcceptError::OpenFiles { refused: self.refuse_one() });
        }
        match error.raw_os_error() {
            Some(libc::EAGAIN) => Verdict::Wait,
            // accept(2): errors that a newcomer's connection already had are to be treated as "try the next one".
            Some(
                libc::EINTR
                | libc::ECONNABORTED
                | libc::EPROTO
                | libc::ENETDOWN
                | libc::ENOPROTOOPT
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::EHOSTUNREACH
                | libc::EOPNOTSUPP
                | libc::ENETUNREACH
                | libc::EPERM,
            ) => Verdict::Again,
            Some(libc::ENOBUFS | libc::ENOMEM) => Verdict::Tell(AcceptError::Memory),
            _ => Verdict::Tell(AcceptError::Other(error)),
        }
    }

    fn refuse_one(&self) -> Option<SocketAddr> {
        let mut spare = self.spare.borrow_mut();
        drop(spare.take());
        let refused = self.socket.accept().ok().and_then(|(_, peer)| plain_address(&peer).ok());
        *spare = self.socket.try_clone().ok();
        refused
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("socket", &self.socket).finish_non_exhaustive()
    }
}

enum Verdict {
    Again,
    Wait,
    Tell(AcceptError),
}

fn is_out_of_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unspecified_ipv6_address_takes_ipv4_as_well_unless_it_is_not_to() {
        let unspecified = fresh_socket("[::]:0".parse().unwrap(), false).unwrap();
        assert!(!unspecified.only_v6().unwrap());
        let alone = fresh_socket("[::]:0".parse().unwrap(), true).unwrap();
        assert!(alone.only_v6().unwrap());
        let loopback = fresh_socket("127.0.0.1:0".parse().unwrap(), false).unwrap();
        assert!(loopback.reuse_address().unwrap());
        assert!(!loopback.reuse_port().unwrap(), "only where it is asked for");
    }

    #[test]
    fn a_port_somebody_listens_at_is_not_free_even_if_it_may_be_shared() {
        let bound = Bound::new("127.0.0.1:0".parse().unwrap(), BindOptions::default()).unwrap();
        let address = bound.local_addr().unwrap();

        let options = BindOptions::default();
        assert_eq!(port_is_free(address, options).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(bound);
        port_is_free(address, options).unwrap();
    }

    /// amqp.md S26
    #[test]
    fn connections_inherit_the_sizes_of_their_buffers() {
        let options = BindOptions {
            recv_buffer: Some(20_000),
            send_buffer: Some(30_000),
            ..BindOptions::default()
        };
        let bound = Bound::new("127.0.0.1:0".parse().unwrap(), options).unwrap();
        let _client = std::net::TcpStream::connect(bound.local_addr().unwrap()).unwrap();
        let accepted = (0..1_000).find_map(|_| {
            std::thread::yield_now();
            bound.socket.accept().ok()
        });
        let (socket, _) = accepted.unwrap();
        // The kernel doubles them, for its own bookkeeping.
        assert_eq!(socket.recv_buffer_size().unwrap(), 40_000);
        assert_eq!(socket.send_buffer_size().unwrap(), 60_000);
    }
}
