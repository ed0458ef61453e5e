//! A data directory for whoever only looks: nothing is made, counted or removed, and whoever works in
//! it is not disturbed. May import `boot`, `data_dir`, `dir_lock`, `files`, `paths` and `real_files`.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::boot::FORMAT_VERSION;
use super::data_dir::{BOOT_FILE, DataDirError, Found, read_boot};
use super::dir_lock::{Locked, lock_to_read};
use super::files::Files;
use super::paths::{QUEUES, SHARDS};
use super::real_files::RealFiles;

/// What stands in BOOT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootInfo {
    /// Format of the data directory.
    pub format: u32,
    /// Which data directory this is.
    pub dir_id: u64,
    /// The number of the last start.
    pub boot: u32,
    /// Groups that queues are placed in.
    pub groups: u16,
    /// How many shards the last clean run had; 0 before the first.
    pub shards: u16,
    /// The last process had written everything when it ended.
    pub was_clean: bool,
}

/// What there is of BOOT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootFound {
    /// All of it.
    Whole(BootInfo),
    /// Nothing.
    Missing,
    /// Nothing that can be believed.
    Damaged {
        /// Completes "BOOT ...".
        how: String,
    },
}

/// A data directory as the last process left it. No other begins while this lives.
#[derive(Debug)]
pub struct Inspected {
    /// Where it is.
    pub root: PathBuf,
    /// What BOOT says.
    pub boot: BootFound,
    /// Held as long as this lives; there is none where there is no LOCK.
    lock: Option<File>,
}

impl Inspected {
    /// Takes a data directory for reading, changing nothing. Does not wait.
    ///
    /// # Errors
    /// Another process works in it, a later version wrote it, it is none, or the system says no.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let io = |what| move |cause| DataDirError::Io { path: path.to_owned(), what, cause };
        let root = path.canonicalize().map_err(io("find it"))?;
        let lock = match lock_to_read(&root).map_err(io("lock it"))? {
            Some(Locked::Held(file)) => Some(file),
            Some(Locked::InUse { pid }) => return Err(DataDirError::InUse { path: root, pid }),
            None => None,
        };
        let mut files = RealFiles::new(&root);
        let entries = files.list("").map_err(io("list it"))?;
        if !entries.iter().any(|entry| [BOOT_FILE, SHARDS, QUEUES].contains(&&*entry.name)) {
            let cause = io::Error::new(io::ErrorKind::NotFound, "nothing of a broker is in it");
            return Err(io("recognise it")(cause));
        }
        let boot = match read_boot(&mut files) {
            Ok(Found::Whole(boot)) => BootFound::Whole(BootInfo {
                // The only one there is so far.
                format: FORMAT_VERSION,
                dir_id: boot.dir_id,
                boot: boot.boot,
                groups: boot.groups,
                shards: boot.shards,
                was_clean: boot.clean,
            }),
            Ok(Found::Nothing) => BootFound::Missing,
            Ok(Found::Damaged { how }) => BootFound::Damaged { how },
            Err(found) => return Err(DataDirError::TooNew { path: root, found }),
        };
        Ok(Self { root, boot, lock })
    }

    /// Whether other processes are kept out.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.lock.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::DataDir;

    struct Temporary(PathBuf);

    impl Temporary {
        fn new(name: &str) -> Self {
            let name = format!("ringmq-inspect-{}-{name}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Temporary {
        fn drop(&mut self) {
            drop(std::fs::remove_dir_all(&self.0));
        }
    }

    #[test]
    fn what_is_found_is_what_the_last_process_wrote() {
        let dir = Temporary::new("found");
        let mut written = DataDir::open(&dir.0, 64).unwrap();
        written.mark_clean(3).unwrap();
        let (dir_id, boot) = (written.dir_id, written.boot);
        drop(written);
        let lock = std::fs::read(dir.0.join("LOCK")).unwrap();
        for _ in 0..2 {
            let found = Inspected::open(&dir.0).unwrap();
            assert!(found.is_locked());
            let info = BootInfo { format: 1, dir_id, boot, groups: 64, shards: 3, was_clean: true };
            assert_eq!(found.boot, BootFound::Whole(info));
        }
        assert_eq!(std::fs::read(dir.0.join("LOCK")).unwrap(), lock);
    }

    #[test]
    fn who_looks_and_who_works_keep_each_other_out() {
        let dir = Temporary::new("lock");
        let working = DataDir::open(&dir.0, 64).unwrap();
        let refused = Inspected::open(&dir.0).unwrap_err();
        let own = std::process::id();
        assert!(matches!(refused, DataDirError::InUse { pid: Some(pid), .. } if pid == own));
        drop(working);
        let looking = Inspected::open(&dir.0).unwrap();
        let beside = Inspected::open(&dir.0).unwrap();
        let refused = DataDir::open(&dir.0, 64).unwrap_err();
        assert!(matches!(refused, DataDirError::InUse { .. }));
        drop((looking, beside));
        DataDir::open(&dir.0, 64).unwrap();
    }

    #[test]
    fn what_is_no_data_directory_is_refused_and_stays_as_it_is() {
        let dir = Temporary::new("none");
        assert!(Inspected::open(&dir.0).is_err());
        assert!(!dir.0.exists());
        std::fs::create_dir(&dir.0).unwrap();
        assert!(Inspected::open(&dir.0).is_err());
        assert_eq!(std::fs::read_dir(&dir.0).unwrap().count(), 0);
    }

    #[test]
    fn a_damaged_or_missing_boot_is_told() {
        let dir = Temporary::new("boot");
        drop(DataDir::open(&dir.0, 64).unwrap());
        std::fs::write(dir.0.join(BOOT_FILE), [1; 64]).unwrap();
        let how = "is damaged".to_owned();
        assert_eq!(Inspected::open(&dir.0).unwrap().boot, BootFound::Damaged { how });
        std::fs::remove_file(dir.0.join(BOOT_FILE)).unwrap();
        assert_eq!(Inspected::open(&dir.0).unwrap().boot, BootFound::Missing);
    }
}
