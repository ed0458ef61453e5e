//! The ballast file: space that is given back when the disk is full, so that what frees space has
//! room to work. May import `files`, `job` and `paths`.

use std::io;

use super::files::Files;
use super::job::DiskError;
use super::paths::RESERVE;

/// Octets of the ballast: some log files' headers, checkpoints and files of settled entries.
pub const RESERVE_BYTES: u64 = 16 * 1024 * 1024;

/// Makes the ballast; one that is there is fine, whatever its length.
///
/// # Errors
/// What the disk says, mostly that it is full.
pub fn make_reserve(files: &mut dyn Files) -> Result<(), DiskError> {
    match files.create(RESERVE, RESERVE_BYTES) {
        // All shards ask for the one file.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map_err(|cause| DiskError::new("create", RESERVE, cause)),
    }
}

/// Gives the ballast back; one that is gone is fine.
///
/// # Errors
/// What the disk says; the ballast may be there or not.
pub fn release_reserve(files: &mut dyn Files) -> Result<(), DiskError> {
    match files.remove(RESERVE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        removed => removed.map_err(|cause| DiskError::new("remove", RESERVE, cause))?,
    }
    // A journalling file system gives blocks to others only after the removal is on the disk.
    files.sync_dir("").map_err(|cause| DiskError::new("sync directory", ".", cause))
}
