//! Limits of the process and of the kernel that a server runs into. Imports libc.
#![expect(unsafe_code, reason = "resource limits have no safe wrapper in the standard library")]

use std::io;
use std::os::fd::AsRawFd;
use std::sync::OnceLock;

/// Locked memory below which the executors refuse to start.
pub const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;

/// Registered buffers of one shard: 64 KiB in each of its three rings, rounded up for what older kernels count as well.
const MEMLOCK_BYTES_PER_SHARD: u64 = 256 * 1024;

/// A resource limit; `u64::MAX` is "unlimited".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// What is in force.
    pub soft: u64,
    /// How far the process may raise it itself.
    pub hard: u64,
}

/// The limits that matter to a broker with many connections and many files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Open files and sockets.
    pub nofile: Limit,
    /// Bytes of locked memory.
    pub memlock: Limit,
    /// `vm.max_map_count`: mapped regions; `None` if unreadable.
    pub max_map_count: Option<u64>,
    /// `net.core.somaxconn`: the cap of every listen backlog; `None` if unreadable.
    pub somaxconn: Option<u64>,
}

/// The limits as they are now.
///
/// # Errors
///
/// What `getrlimit` says.
pub fn limits() -> io::Result<Limits> {
    Ok(Limits {
        nofile: get(Resource::OpenFiles)?,
        memlock: get(Resource::LockedMemory)?,
        max_map_count: number_in("/proc/sys/vm/max_map_count"),
        somaxconn: number_in("/proc/sys/net/core/somaxconn"),
    })
}

/// Raises the limit of open files as far as the process may; the new limit.
///
/// # Errors
///
/// What `getrlimit` or `setrlimit` says.
pub fn raise_nofile() -> io::Result<Limit> {
    raise(Resource::OpenFiles)
}

/// Descriptors that newcomers leave to each shard: two for each file of its log, one for each of its
/// threads and what those have not synced; some ten in all, more while a log empties itself (abuse
/// row 113 of reliability.md).
const KEPT_PER_SHARD: u64 = 64;

/// How many are kept for files at most.
static KEPT_FOR_FILES: OnceLock<u64> = OnceLock::new();

/// Keeps descriptors for files: from now on no listener of this process lets in a connection that has
/// one of the last, 64 for each shard but no more than a quarter of the limit. The
/// kernel gives the lowest that is free, so whoever gets one of those has come when all others are
/// taken; nobody has to count.
pub fn keep_files(shards: usize) {
    let shards = u64::try_from(shards).unwrap_or(u64::MAX);
    // The first call counts.
    let _ = KEPT_FOR_FILES.set(KEPT_PER_SHARD.saturating_mul(shards));
}

/// Whether a connection may have this descriptor. An operator may change the limit of a process that
/// runs, so it is read each time: a hundredth of what accepting costs.
#[must_use]
pub fn is_for_newcomers(file: &impl AsRawFd) -> bool {
    let (Some(kept), Ok(limit)) = (KEPT_FOR_FILES.get(), get(Resource::OpenFiles)) else {
        return true;
    };
    let below = limit.soft.saturating_sub((*kept).min(limit.soft / 4));
    u64::try_from(file.as_raw_fd()).is_ok_and(|number| number < below)
}

/// Raises the limit of locked memory as far as the process may; the new limit.
///
/// # Errors
///
/// What `getrlimit` or `setrlimit` says.
pub fn raise_memlock() -> io::Result<Limit> {
    raise(Resource::LockedMemory)
}

/// Locked memory to recommend for `shards` shards. Below [`MEMLOCK_BYTES_MIN`] nothing starts; between the two the rings work
/// without registered buffers.
#[must_use]
pub fn memlock_needed(shards: usize) -> u64 {
    let shards = u64::try_from(shards).unwrap_or(u64::MAX);
    MEMLOCK_BYTES_PER_SHARD.saturating_mul(shards).max(MEMLOCK_BYTES_MIN)
}

#[derive(Clone, Copy)]
enum Resource {
    OpenFiles,
    LockedMemory,
}

impl Resource {
    fn number(self) -> libc::__rlimit_resource_t {
        match self {
            Self::OpenFiles => libc::RLIMIT_NOFILE,
            Self::LockedMemory => libc::RLIMIT_MEMLOCK,
        }
    }
}

fn get(resource: Resource) -> io::Result<Limit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one rlimit into the one we own.
    let result = unsafe { libc::getrlimit(resource.number(), &raw mut limit) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Limit { soft: limit.rlim_cur, hard: limit.rlim_max })
}

fn raise(resource: Resource) -> io::Result<Limit> {
    let limit = get(resource)?;
    if limit.soft == limit.hard {
        return Ok(limit);
    }
    let raised = libc::rlimit { rlim_cur: limit.hard, rlim_max: limit.hard };
    // SAFETY: the kernel reads one initialised rlimit.
    let result = unsafe { libc::setrlimit(resource.number(), &raw const raised) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    get(resource)
}

/// A kernel setting that is one number.
pub(crate) fn number_in(path: &str) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raising_open_files_reaches_the_hard_limit() {
        let raised = raise_nofile().unwrap();
        assert_eq!(raised.soft, raised.hard);
        assert_eq!(limits().unwrap().nofile, raised);
    }

    #[test]
    fn locked_memory_grows_with_the_shards_from_a_floor() {
        assert_eq!(memlock_needed(1), MEMLOCK_BYTES_MIN);
        assert_eq!(memlock_needed(32), 8 * 1024 * 1024);
        assert_eq!(memlock_needed(usize::MAX), u64::MAX);
    }
}
