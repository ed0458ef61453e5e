//! Which file system a directory is on, and whether our promises hold there. May import libc.
#![expect(unsafe_code, reason = "statfs has no safe wrapper in the standard library")]

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// ZFS is not part of Linux, so libc does not know its number.
const ZFS_MAGIC: i64 = 0x2fc1_2fc1;

/// What to tell an operator about the file system under `root`; `None`: nothing. Supported are ext4 and
/// xfs; others may work, those listed here are known to break a promise (reliability.md 2.2).
pub(super) fn file_system_warning(root: &Path) -> Option<String> {
    let (name, why) = weakness(kind_of(root)?)?;
    Some(format!("the data directory is on {name}: {why}; ext4 and xfs are supported"))
}

fn kind_of(root: &Path) -> Option<i64> {
    let place = CString::new(root.as_os_str().as_bytes()).ok()?;
    // SAFETY: all fields are integers or arrays of them, for which zero is a value.
    let mut found: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends with a zero and the kernel writes one statfs into the one we own.
    let result = unsafe { libc::statfs(place.as_ptr(), &raw mut found) };
    (result == 0).then_some(found.f_type)
}

fn weakness(kind: i64) -> Option<(&'static str, &'static str)> {
    const COPIES: &str = "it writes to a new place each time, so reserved space does not help when \
                          the disk is full";
    match kind {
        libc::BTRFS_SUPER_MAGIC => Some(("btrfs", COPIES)),
        ZFS_MAGIC => Some(("zfs", COPIES)),
        libc::NFS_SUPER_MAGIC => Some(("nfs", "locks and syncs depend on another machine")),
        libc::OVERLAYFS_SUPER_MAGIC => Some((
            "overlayfs",
            "it goes with its container, and what is below it decides what is durable",
        )),
        libc::TMPFS_MAGIC => Some(("tmpfs", "nothing outlives a restart of the machine")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_that_break_a_promise_are_named() {
        assert!(weakness(libc::TMPFS_MAGIC).is_some_and(|(name, _)| name == "tmpfs"));
        assert!(weakness(ZFS_MAGIC).is_some());
        assert!(weakness(libc::EXT4_SUPER_MAGIC).is_none());
        assert!(weakness(libc::XFS_SUPER_MAGIC).is_none());
        assert!(kind_of(Path::new("/")).is_some());
        assert!(kind_of(Path::new("/nothing/here")).is_none());
    }
}
