//! Asks the kernel for an io_uring before any executor does, since the executor panics where we can explain. Imports libc.
#![expect(unsafe_code, reason = "io_uring has no wrapper in the standard library")]

use crate::limits::number_in;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Why there is no io_uring. Each text is one line that ends with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// ENOSYS.
    #[error(
        "no io_uring: the kernel lacks it or a sandbox hides it; use Linux 5.8 or newer built with CONFIG_IO_URING, and for a \
         container: docker run --security-opt seccomp=unconfined (or a profile that allows io_uring_setup, io_uring_enter \
         and io_uring_register)"
    )]
    NotImplemented,
    /// EPERM, and the sysctl says so.
    #[error(
        "no io_uring: kernel.io_uring_disabled is {value}; run: sysctl -w kernel.io_uring_disabled=0 (with 1, it is enough to \
         put the server's group id into kernel.io_uring_group)"
    )]
    Disabled {
        /// 1: for processes outside of `kernel.io_uring_group`; 2: for all.
        value: u64,
    },
    /// EPERM or EACCES without that sysctl: a seccomp filter or a security module.
    #[error(
        "no io_uring: a seccomp filter or security module forbids it; run: docker run --security-opt seccomp=unconfined (or \
         allow io_uring_setup, io_uring_enter and io_uring_register in the profile; systemd: SystemCallFilter=@io-uring)"
    )]
    Forbidden,
    /// ENOMEM.
    #[error(
        "no io_uring: the limit of locked memory is too small ({soft_bytes} bytes); run: ulimit -l unlimited (systemd: \
         LimitMEMLOCK=infinity, docker run --ulimit memlock=-1)"
    )]
    LockedMemory {
        /// The soft limit in force.
        soft_bytes: u64,
    },
    /// EMFILE, ENFILE.
    #[error(
        "no io_uring: no file descriptor left; run: ulimit -n 1048576 (systemd: LimitNOFILE=1048576)"
    )]
    OpenFiles,
    /// A ring that cannot do what the executor needs.
    #[error(
        "this kernel's io_uring is too old (operation {operation} is missing); use Linux 5.8 or newer"
    )]
    TooOld {
        /// Number of the first missing operation (IORING_OP_...).
        operation: usize,
    },
    /// Something else.
    #[error("no io_uring: {0}; see the kernel log (dmesg) for what refused it")]
    Other(io::Error),
}

/// `struct io_uring_params` is 120 bytes, all zero here.
const PARAMS_WORDS: usize = 15;
/// IORING_REGISTER_PROBE.
const REGISTER_PROBE: libc::c_uint = 8;
/// `struct io_uring_probe`: a header of 16 bytes, then 8 bytes for each operation.
const PROBE_HEADER_WORDS: usize = 2;
const PROBE_OPERATIONS: usize = 256;
/// Flag of an operation: IO_URING_OP_SUPPORTED, behind op (8 bits) and reserved (8 bits).
const SUPPORTED: u64 = 1 << 16;
/// Operations that the executor's rings use, NOP (0) to RECV (27), without those it never submits.
const NEEDED: [usize; 24] =
    [0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 21, 22, 23, 26, 27];

/// Makes a small ring, enters it, asks what it can do, and closes it.
///
/// # Errors
///
/// Why the executors could not start here.
pub fn check_io_uring() -> Result<(), ProbeError> {
    probe().map_err(|error| explain(error, number_in("/proc/sys/kernel/io_uring_disabled")))?
}

fn probe() -> io::Result<Result<(), ProbeError>> {
    let ring = setup()?;
    enter(ring.as_raw_fd())?;
    let known = match operations(ring.as_raw_fd()) {
        Ok(known) => known,
        // Kernels before 5.6 do not know the question.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            return Ok(Err(ProbeError::TooOld { operation: 0 }));
        }
        Err(error) => return Err(error),
    };
    Ok(match missing(&known) {
        Some(operation) => Err(ProbeError::TooOld { operation }),
        None => Ok(()),
    })
}

fn missing(known: &[u64]) -> Option<usize> {
    let is_known =
        |operation: usize| known.get(operation).is_some_and(|word| word & SUPPORTED != 0);
    NEEDED.into_iter().find(|&operation| !is_known(operation))
}

fn explain(error: io::Error, disabled: Option<u64>) -> ProbeError {
    match (error.raw_os_error(), disabled) {
        (Some(libc::ENOSYS), _) => ProbeError::NotImplemented,
        (Some(libc::EPERM | libc::EACCES), Some(value @ 1..)) => ProbeError::Disabled { value },
        (Some(libc::EPERM | libc::EACCES), _) => ProbeError::Forbidden,
        (Some(libc::ENOMEM), _) => ProbeError::LockedMemory {
            soft_bytes: crate::limits::limits().map_or(0, |limits| limits.memlock.soft),
        },
        (Some(libc::EMFILE | libc::ENFILE), _) => ProbeError::OpenFiles,
        _ => ProbeError::Other(error),
    }
}

fn setup() -> io::Result<OwnedFd> {
    let mut params = [0_u64; PARAMS_WORDS];
    let entries: libc::c_uint = 4;
    // SAFETY: the kernel reads and writes one io_uring_params, which fits exactly into the words we own.
    let result = unsafe { libc::syscall(libc::SYS_io_uring_setup, entries, params.as_mut_ptr()) };
    let ring = answer(result)?;
    // SAFETY: the call has just given us this descriptor; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(ring) })
}

/// Submits nothing and waits for nothing: only asks whether the call is allowed.
fn enter(ring: RawFd) -> io::Result<()> {
    let none: libc::c_uint = 0;
    let no_signals = std::ptr::null::<libc::c_void>();
    let no_size: libc::size_t = 0;
    // SAFETY: no pointer but null is passed; the ring is open.
    let result = unsafe {
        libc::syscall(libc::SYS_io_uring_enter, ring, none, none, none, no_signals, no_size)
    };
    answer(result).map(drop)
}

/// One word per operation that the kernel knows.
fn operations(ring: RawFd) -> io::Result<Vec<u64>> {
    let mut words = vec![0_u64; PROBE_HEADER_WORDS + PROBE_OPERATIONS];
    let count: libc::c_uint = 256;
    // SAFETY: the kernel writes a header and at most `count` entries, for which the words we own have room.
    let result = unsafe {
        libc::syscall(libc::SYS_io_uring_register, ring, REGISTER_PROBE, words.as_mut_ptr(), count)
    };
    answer(result)?;
    Ok(words.split_off(PROBE_HEADER_WORDS))
}

fn answer(result: libc::c_long) -> io::Result<RawFd> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    RawFd::try_from(result).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(code: i32, disabled: Option<u64>) -> ProbeError {
        explain(io::Error::from_raw_os_error(code), disabled)
    }

    #[test]
    fn each_refusal_is_told_apart() {
        assert!(matches!(explained(libc::ENOSYS, None), ProbeError::NotImplemented));
        assert!(matches!(explained(libc::EPERM, Some(2)), ProbeError::Disabled { value: 2 }));
        assert!(matches!(explained(libc::EPERM, Some(0)), ProbeError::Forbidden));
        assert!(matches!(explained(libc::EPERM, None), ProbeError::Forbidden));
        assert!(matches!(explained(libc::ENOMEM, None), ProbeError::LockedMemory { .. }));
        assert!(matches!(explained(libc::EMFILE, None), ProbeError::OpenFiles));
        assert!(matches!(explained(libc::EINVAL, None), ProbeError::Other(_)));
    }

    #[test]
    fn each_refusal_is_one_line() {
        for code in [libc::ENOSYS, libc::EPERM, libc::ENOMEM, libc::EMFILE, libc::EIO] {
            for disabled in [None, Some(1)] {
                let line = explained(code, disabled).to_string();
                assert!(!line.contains('\n') && !line.contains("  "), "{line}");
            }
        }
    }

    #[test]
    fn a_missing_operation_is_named() {
        let mut known = vec![SUPPORTED; PROBE_OPERATIONS];
        assert_eq!(missing(&known), None);
        known[13] = 0;
        assert_eq!(missing(&known), Some(13));
        assert_eq!(missing(&[]), Some(0));
    }

    #[test]
    fn this_machine_has_an_io_uring() {
        check_io_uring().unwrap();
    }
}
