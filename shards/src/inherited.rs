//! Listening sockets that whoever started this process has opened for it (systemd's socket activation). Imports socket2 and
//! libc.
#![expect(unsafe_code, reason = "descriptors that somebody else has opened are taken over")]

use crate::listener::Bound;
use crate::socket::plain_address;
use socket2::Type;
use std::env;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// The first of them; those before are standard input, output and error.
const FIRST: RawFd = 3;

/// More are a mistake: whoever starts us counts wrong. Arbitrary.
const COUNT_MAX: RawFd = 1024;

/// A socket that listens since before this process began.
#[derive(Debug)]
pub struct Inherited {
    /// What its opener calls it; empty: nothing.
    pub name: String,
    /// Where it listens.
    pub at: InheritedAt,
    /// It.
    pub bound: Bound,
}

/// Where a socket listens that somebody else has opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InheritedAt {
    /// An address of the network.
    Ip(SocketAddr),
    /// A name in the file system. The file is its opener's.
    Unix(PathBuf),
}

/// Why sockets that were announced cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum InheritError {
    /// The environment says something else than a number.
    #[error("LISTEN_FDS is '{0}', not a number of sockets")]
    Count(String),
    /// A descriptor is something else than a socket that listens.
    #[error("descriptor {descriptor} of LISTEN_FDS is no stream socket that listens ({cause})")]
    Socket {
        /// Which.
        descriptor: RawFd,
        /// What the system says.
        cause: io::Error,
    },
}

/// Takes the sockets that the environment announces for this very process (LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES). Call it
/// before anything else opens a descriptor; only the first call takes any.
///
/// # Errors
///
/// If what is announced is not there.
pub fn inherited() -> Result<Vec<Inherited>, InheritError> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let own = std::process::id().to_string();
    // What was meant for another process, such as a shell that started us, is none of ours.
    if env::var("LISTEN_PID").ok() != Some(own) || TAKEN.swap(true, Ordering::AcqRel) {
        return Ok(Vec::new());
    }
    let count = env::var("LISTEN_FDS").unwrap_or_default();
    let Some(number) = count.parse().ok().filter(|number| (0..=COUNT_MAX).contains(number)) else {
        return Err(InheritError::Count(count));
    };
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let names = names.split(':').map(str::to_owned).chain(std::iter::repeat(String::new()));
    (FIRST..FIRST + number).zip(names).map(|(descriptor, name)| take(descriptor, name)).collect()
}

fn take(descriptor: RawFd, name: String) -> Result<Inherited, InheritError> {
    let wrong = |cause| InheritError::Socket { descriptor, cause };
    // SAFETY: asks the kernel about a number; if nothing is open there it says so.
    if unsafe { libc::fcntl(descriptor, libc::F_GETFD) } < 0 {
        return Err(wrong(io::Error::last_os_error()));
    }
    // SAFETY: it is open, as the line before has shown, until the end of this block, since nobody has taken it yet.
    let seen = unsafe { BorrowedFd::borrow_raw(descriptor) };
    listens(&seen).map_err(wrong)?;
    // SAFETY: it is open and a listening socket. Nothing in this process has opened one yet, so it is what the environment
    // gives to us, and this runs once.
    let owned = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let socket = socket2::Socket::from(owned);
    socket.set_cloexec(true).map_err(wrong)?;
    socket.set_nonblocking(true).map_err(wrong)?;
    let address = socket.local_addr().map_err(wrong)?;
    let at = match address.as_pathname() {
        Some(path) => InheritedAt::Unix(Path::to_owned(path)),
        None => InheritedAt::Ip(plain_address(&address).map_err(wrong)?),
    };
    Ok(Inherited { name, at, bound: Bound::from_socket(socket) })
}

fn listens(descriptor: &BorrowedFd<'_>) -> io::Result<()> {
    let socket = socket2::SockRef::from(descriptor);
    if socket.r#type()? != Type::STREAM || !socket.is_listener()? {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(())
}
