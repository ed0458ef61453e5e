//! The file operations that storage is made of, blocking, by path below the data directory. The
//! real ones are in `real_files.rs`; the simulated disk has its own. May import nothing.

use std::io;

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Without the path.
    pub name: String,
    /// It is a directory.
    pub is_dir: bool,
    /// Octets of a file.
    pub bytes: u64,
}

/// File operations below one data directory. Paths are relative, with `/`, never with `..`. Nothing
/// is durable before it was synced: contents by [`Files::sync`], names by [`Files::sync_dir`].
pub trait Files: Send {
    /// Makes a new file of `bytes` octets, all of which have their place on the disk (never a
    /// hole) and read as zeros. On an error nothing of it is left.
    ///
    /// # Errors
    /// `AlreadyExists`, `StorageFull`, and whatever else the system says.
    fn create(&mut self, path: &str, bytes: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset` of an existing file, within its length.
    ///
    /// # Errors
    /// What the system says; part of it may be written.
    fn write(&mut self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// The content of a file is durable when this returns. An error is final: never sync again.
    ///
    /// # Errors
    /// What the system says.
    fn sync(&mut self, path: &str) -> io::Result<()>;

    /// The names in a directory are durable when this returns. `""`: the data directory itself.
    ///
    /// # Errors
    /// What the system says.
    fn sync_dir(&mut self, path: &str) -> io::Result<()>;

    /// Renames a file or directory; what has the new name is replaced, if it is a file.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// `NotFound`, and whatever else the system says.
    fn remove(&mut self, path: &str) -> io::Result<()>;

    /// Makes a directory (mode 0700) and those above it; one that is there is fine.
    ///
    /// # Errors
    /// What the system says.
    fn make_dir(&mut self, path: &str) -> io::Result<()>;

    /// Removes an empty directory.
    ///
    /// # Errors
    /// `NotFound`, and whatever else the system says.
    fn remove_dir(&mut self, path: &str) -> io::Result<()>;

    /// What is in a directory, sorted by name; empty if there is no such directory.
    ///
    /// # Errors
    /// What the system says.
    fn list(&mut self, path: &str) -> io::Result<Vec<Entry>>;

    /// All octets of a file as the disk has them (not as a cache that outlived a failed write has).
    ///
    /// # Errors
    /// `NotFound`, and whatever else the system says.
    fn read(&mut self, path: &str) -> io::Result<Vec<u8>>;

    /// What [`Files::read`] gives, without a copy of it in memory where that can be had. The file is
    /// not changed while the result lives.
    ///
    /// # Errors
    /// `NotFound`, and whatever else the system says.
    fn view(&mut self, path: &str) -> io::Result<super::Mapped> {
        Ok(super::Mapped(std::sync::Arc::new(self.read(path)?)))
    }

    /// `bytes` octets of a file from `offset`, like [`Files::read`]; fewer where the file ends.
    ///
    /// # Errors
    /// `NotFound`, and whatever else the system says.
    fn read_at(&mut self, path: &str, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let whole = self.read(path)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(whole.len());
        let end = start.saturating_add(bytes).min(whole.len());
        Ok(whole.get(start..end).unwrap_or_default().to_vec())
    }

    /// Octets the file system has free for us.
    ///
    /// # Errors
    /// What the system says.
    fn free_bytes(&mut self) -> io::Result<u64>;

    /// The file's content for reading only, resident when this returns. The file is not changed
    /// while the result lives; it may be removed.
    ///
    /// # Errors
    /// `NotFound`, and whatever else the system says.
    fn map(&mut self, path: &str) -> io::Result<super::Mapped>;
}
