//! A directory for one test on a real file system.

use std::fs::{Permissions, create_dir, remove_dir_all, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A directory below the build's own, gone when this is dropped. Not `/tmp`, which is memory on many
/// machines.
pub(crate) struct TempDir {
    path: PathBuf,
}

impl TempDir {
    /// `what` differs from test to test.
    pub(crate) fn new(what: &str) -> Self {
        let name = format!("shards-{what}-{}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        create_dir(&path).expect("makes a directory");
        set_permissions(&path, Permissions::from_mode(0o700)).expect("it is ours");
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = remove_dir_all(&self.path);
    }
}
