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
    let mut locked = take(options.open(root.join(LOCK_FILE))?, libc::LOCK_EX)?;
    if let Locked::Held(file) = &mut locked {
        // For people and for the message above; nothing depends on it, and a full disk must not
        // matter.
        let _ = write_pid(file);
    }
    Ok(locked)
}

/// As [`lock`], for whoever only reads: others may read too, and the file is left as it is. `None`:
/// there is no such file, so nobody has ever worked here, or somebody has removed it.
pub(super) fn lock_to_read(root: &Path) -> io::Result<Option<Locked>> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NOFOLLOW);
    match options.open(root.join(LOCK_FILE)) {
        Ok(file) => take(file, libc::LOCK_SH).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn take(mut file: File, how: libc::c_int) -> io::Result<Locked> {
    // SAFETY: the descriptor is open for as long as `file` lives; no memory is passed.
    let result = unsafe { libc::flock(file.as_raw_fd(), how | libc::LOCK_NB) };
    if result == 0 {
        return Ok(Locked::Held(file));
    }
    let error = io::Error::last_os_error();
    if error.kind() == io::ErrorKind::WouldBlock {
        return Ok(Locked::InUse { pid: pid_in(&mut file) });
    }
    Err(error)
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
