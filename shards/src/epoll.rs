//! The kernel's list of sockets to be told about. Imports libc.
#![expect(unsafe_code, reason = "epoll has no wrapper in the standard library")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Sockets that one call asks about.
pub(crate) const EVENTS_MAX: usize = 256;

/// Once for each change, not for as long as there is something: what was told and not read is not told again, and telling
/// costs no call per socket.
const EDGES: u32 = (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET).cast_unsigned();

/// One per shard. Sockets leave it when they are closed.
#[derive(Debug)]
pub(crate) struct Epoll {
    descriptor: OwnedFd,
}

impl Epoll {
    /// An empty list.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: makes a descriptor; no memory is passed.
        let made = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if made < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made it, and nobody else has it.
        let descriptor = unsafe { OwnedFd::from_raw_fd(made) };
        Ok(Self { descriptor })
    }

    /// Another descriptor of the same list, which is readable while there is something to tell.
    pub(crate) fn descriptor(&self) -> io::Result<OwnedFd> {
        self.descriptor.try_clone()
    }

    /// Puts a socket on the list. What there is to read already is told as well.
    pub(crate) fn add(&self, socket: BorrowedFd<'_>, name: u32) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, socket, name)
    }

    /// Takes a socket off the list.
    pub(crate) fn remove(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, socket, 0)
    }

    fn control(&self, act: libc::c_int, socket: BorrowedFd<'_>, name: u32) -> io::Result<()> {
        let mut event = libc::epoll_event { events: EDGES, u64: u64::from(name) };
        let (list, socket) = (self.descriptor.as_raw_fd(), socket.as_raw_fd());
        // SAFETY: the kernel reads one initialised event; both descriptors are open.
        let done = unsafe { libc::epoll_ctl(list, act, socket, &raw mut event) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Tells the names of sockets with something to read, each once; how many. Does not wait.
    pub(crate) fn take(&self, mut tell: impl FnMut(u32)) -> usize {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS_MAX];
        let room = i32::try_from(EVENTS_MAX).unwrap_or(i32::MAX);
        // SAFETY: the kernel writes at most as many events as there is room for.
        let count =
            unsafe { libc::epoll_wait(self.descriptor.as_raw_fd(), events.as_mut_ptr(), room, 0) };
        // It fails only when a signal comes in between: then nothing was told.
        let count = usize::try_from(count).unwrap_or(0);
        for event in events.iter().take(count) {
            if let Ok(name) = u32::try_from(event.u64) {
                tell(name);
            }
        }
        count
    }
}
