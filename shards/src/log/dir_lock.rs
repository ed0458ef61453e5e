//! Keeps a second process out of a data directory. May import libc and the standard library's files.
#![expect(unsafe_code, reason = "1.88 has no safe wrapper of flock")]

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const LOCK_FILE: &str = "LOCK";

/// More than the digits of any process number.
const PID_BYTES_MAX: u64 = 16;

/// How an attempt to lock ended.
#[derive(Debug)]
pub(super) enum Locked {
    /// Ours until the file is closed, which the system does even for a process that is killed.
    Held(File),
    /// Somebody else's.
    InUse {
        /// Who, as far as LOCK tells.
        pid: Option<u32>,
    },
}

/// Takes the lock of the directory `root` or says who has it; does not wait.
///
/// The file stays when the lock is given up: removing it would let two processes lock two files of the
/// same name.
pub(super) fn lock(root: &Path) -> io::Result<Locked> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let mut file = options.open(root.join(LOCK_FILE))?;
    // SAFETY: the descriptor is open for as long as `file` lives; no memory is passed.
    let result = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
    if result < 0 {
        let error = io::Error::last_os_error();
        if error.kind() == io::ErrorKind::WouldBlock {
            return Ok(Locked::InUse { pid: pid_in(&mut file) });
        }
        return Err(error);
    }
    // For people and for the message above; nothing depends on it, and a full disk must not matter.
    let _ = write_pid(&mut file);
    Ok(Locked::Held(file))
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn pid_in(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(PID_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
