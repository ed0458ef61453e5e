//! A connected socket that belongs to no executor yet and may travel between shards. Imports socket2.

use socket2::TcpKeepalive;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// A connection before it becomes a [`Stream`](crate::Stream), or after it was one. `Send`: mail it to the shard that shall own it.
#[derive(Debug)]
pub struct Socket {
    inner: socket2::Socket,
}

impl Socket {
    pub(crate) fn new(inner: socket2::Socket) -> Self {
        Self { inner }
    }

    pub(crate) fn into_inner(self) -> socket2::Socket {
        self.inner
    }

    pub(crate) fn inner(&self) -> &socket2::Socket {
        &self.inner
    }

    /// Connects, blocking the calling thread: for tests and tools, not for a shard.
    ///
    /// # Errors
    ///
    /// What the system call says.
    pub fn connect_blocking(address: SocketAddr) -> io::Result<Self> {
        std::net::TcpStream::connect(address).map(Self::from)
    }

    /// The other end; an IPv4 peer of a dual-stack listener is shown as IPv4.
    ///
    /// # Errors
    ///
    /// If the connection is gone.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        plain_address(&self.inner.peer_addr()?)
    }

    /// This end.
    ///
    /// # Errors
    ///
    /// What the system call says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        plain_address(&self.inner.local_addr()?)
    }

    /// Whether small writes go out at once (TCP_NODELAY).
    ///
    /// # Errors
    ///
    /// What the system call says.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.inner.set_tcp_nodelay(nodelay)
    }

    /// Asks a silent peer for a sign of life after `idle_s` seconds, then every `interval_s`, `probes` times.
    ///
    /// # Errors
    ///
    /// What the system call says.
    pub fn set_keepalive(&self, idle_s: u32, interval_s: u32, probes: u32) -> io::Result<()> {
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_secs(u64::from(idle_s)))
            .with_interval(Duration::from_secs(u64::from(interval_s)))
            .with_retries(probes);
        self.inner.set_tcp_keepalive(&keepalive)
    }

    /// How long sent bytes may stay unacknowledged before the connection fails (TCP_USER_TIMEOUT); `None`: system default.
    ///
    /// # Errors
    ///
    /// What the system call says.
    pub fn set_user_timeout_ms(&self, timeout_ms: Option<u32>) -> io::Result<()> {
        let timeout = timeout_ms.map(|timeout_ms| Duration::from_millis(u64::from(timeout_ms)));
        self.inner.set_tcp_user_timeout(timeout)
    }

    /// The congestion control by its kernel name ("cubic", "reno", "bbr").
    ///
    /// # Errors
    ///
    /// If the kernel does not know the name or does not allow it.
    pub fn set_congestion_control(&self, name: &str) -> io::Result<()> {
        self.inner.set_tcp_congestion(name.as_bytes())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl From<std::net::TcpStream> for Socket {
    fn from(stream: std::net::TcpStream) -> Self {
        Self { inner: stream.into() }
    }
}

pub(crate) fn plain_address(address: &socket2::SockAddr) -> io::Result<SocketAddr> {
    let Some(address) = address.as_socket() else {
        return Err(io::ErrorKind::AddrNotAvailable.into());
    };
    Ok(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connected() -> Socket {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Socket::connect_blocking(listener.local_addr().unwrap()).unwrap()
    }

    /// amqp.md S24, S25
    #[test]
    fn options_reach_the_kernel_as_they_are_asked_for() {
        let socket = connected();
        for nodelay in [true, false] {
            socket.set_nodelay(nodelay).unwrap();
            assert_eq!(socket.inner.tcp_nodelay().unwrap(), nodelay);
        }
        assert!(!socket.inner.keepalive().unwrap());
        socket.set_keepalive(60, 10, 3).unwrap();
        assert!(socket.inner.keepalive().unwrap());
        assert_eq!(socket.inner.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
        assert_eq!(socket.inner.tcp_keepalive_interval().unwrap(), Duration::from_secs(10));
        assert_eq!(socket.inner.tcp_keepalive_retries().unwrap(), 3);
        socket.set_user_timeout_ms(Some(90_000)).unwrap();
        assert_eq!(socket.inner.tcp_user_timeout().unwrap(), Some(Duration::from_secs(90)));
    }
}
