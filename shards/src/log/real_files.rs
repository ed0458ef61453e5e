//! File operations on the real disk, blocking: never on a shard's own thread. May import `files` and
//! `job`, libc and the standard library's files.
#![expect(unsafe_code, reason = "three system calls have no safe wrapper in the standard library")]

use std::ffi::CString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::files::{Entry, Files};
use super::job::Mapped;
use super::mapped::map_file;

/// Octets of a file that is read as a whole, at most. A damaged file system may show any length, and
/// nothing of ours comes near this one.
const READ_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// Files that are written and not yet synced, at most, whose handles are kept.
const UNSYNCED_MAX: usize = 8;

/// How often a reservation of space is begun again after a signal.
const INTERRUPTIONS_MAX: u32 = 100;

/// The files below one directory. One per thread that works on them.
#[derive(Debug)]
pub struct RealFiles {
    root: PathBuf,
    /// Handles of what was written and not yet synced. An error that the system meets while it writes
    /// a page back later is told to the handles that are open then; the file could leave the system's
    /// memory between a close and the sync, and the error with it.
    unsynced: Vec<(String, File)>,
}

impl RealFiles {
    /// The files below `root`, which has to exist.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), unsynced: Vec::new() }
    }

    /// The real path. Whoever made `path` from a damaged name must not leave the data directory by it.
    fn place(&self, path: &str) -> io::Result<PathBuf> {
        let is_name = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
        if path.split('/').all(is_name) {
            Ok(self.root.join(path))
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "no path below the data directory"))
        }
    }

    fn dir_place(&self, path: &str) -> io::Result<PathBuf> {
        if path.is_empty() { Ok(self.root.clone()) } else { self.place(path) }
    }

    /// Takes the handle that wrote last to a file, if it is kept.
    fn take_unsynced(&mut self, path: &str) -> Option<File> {
        let at = self.unsynced.iter().position(|(unsynced, _)| unsynced == path)?;
        Some(self.unsynced.remove(at).1)
    }

    fn keep_unsynced(&mut self, path: &str, file: File) -> io::Result<()> {
        if self.unsynced.len() >= UNSYNCED_MAX {
            let (_, oldest) = self.unsynced.remove(0);
            oldest.sync_data()?;
        }
        self.unsynced.push((path.to_owned(), file));
        Ok(())
    }
}

impl Files for RealFiles {
    fn create(&mut self, path: &str, bytes: u64) -> io::Result<()> {
        let place = self.place(path)?;
        let file = options().write(true).create_new(true).open(&place)?;
        let reserved = reserve(&file, bytes);
        if reserved.is_err() {
            // What was reserved before the disk was full goes back. The first error is the one to tell.
            let _ = fs::remove_file(&place);
        }
        reserved
    }

    fn write(&mut self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let kept = self.take_unsynced(path);
        let file = match kept {
            Some(file) => file,
            None => options().write(true).open(self.place(path)?)?,
        };
        let written = write_within(&file, offset, bytes);
        self.keep_unsynced(path, file)?;
        written
    }

    fn sync(&mut self, path: &str) -> io::Result<()> {
        let kept = self.take_unsynced(path);
        let file = match kept {
            Some(file) => file,
            None => options().write(true).open(self.place(path)?)?,
        };
        // Not `sync_all`: what is needed to read the content again is part of this, times are not.
        file.sync_data()
    }

    fn sync_dir(&mut self, path: &str) -> io::Result<()> {
        let mut options = options();
        options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_DIRECTORY);
        options.open(self.dir_place(path)?)?.sync_all()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        // The handles belong to the files, not to the names.
        let moved = self.take_unsynced(from);
        let replaced = self.take_unsynced(to);
        fs::rename(self.place(from)?, self.place(to)?)?;
        drop(replaced);
        match moved {
            Some(file) => self.keep_unsynced(to, file),
            None => Ok(()),
        }
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        drop(self.take_unsynced(path));
        fs::remove_file(self.place(path)?)
    }

    fn make_dir(&mut self, path: &str) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(self.place(path)?)
    }

    fn remove_dir(&mut self, path: &str) -> io::Result<()> {
        fs::remove_dir(self.place(path)?)
    }

    fn list(&mut self, path: &str) -> io::Result<Vec<Entry>> {
        let entries = match fs::read_dir(self.dir_place(path)?) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            // A name that is no text is not ours.
            let Ok(name) = entry.file_name().into_string() else { continue };
            match entry.metadata() {
                Ok(data) => found.push(Entry { name, is_dir: data.is_dir(), bytes: data.len() }),
                // Removed by another thread meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        found.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    fn read(&mut self, path: &str) -> io::Result<Vec<u8>> {
        let file = options().read(true).open(self.place(path)?)?;
        forget_cached(&file);
        read_whole(file)
    }

    fn view(&mut self, path: &str) -> io::Result<Mapped> {
        let file = options().read(true).open(self.place(path)?)?;
        forget_cached(&file);
        map_file(&file)
    }

    fn read_at(&mut self, path: &str, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let file = options().read(true).open(self.place(path)?)?;
        let left = file.metadata()?.len().saturating_sub(offset);
        let mut octets = vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(bytes)];
        file.read_exact_at(&mut octets, offset)?;
        Ok(octets)
    }

    fn free_bytes(&mut self) -> io::Result<u64> {
        let place = CString::new(self.root.as_os_str().as_bytes())?;
        // SAFETY: all fields are integers, for which zero is a value.
        let mut space: libc::statvfs = unsafe { std::mem::zeroed() };
        // SAFETY: the path ends with a zero and the kernel writes one statvfs into the one we own.
        let result = unsafe { libc::statvfs(place.as_ptr(), &raw mut space) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        // Not `f_bfree`: the file system keeps some of that for its administrator.
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }

    fn map(&mut self, path: &str) -> io::Result<Mapped> {
        map_file(&options().read(true).open(self.place(path)?)?)
    }
}

/// Ours alone, and never through a link that somebody put in the place of a file.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options
}

/// Gives all of a new file its place on the disk. A hole that finds no space later would stop the
/// process by a signal when it is mapped (reliability.md F2, F3).
fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    if bytes == 0 {
        // The call refuses it.
        return Ok(());
    }
    let too_large = || io::Error::from(io::ErrorKind::FileTooLarge);
    let bytes = libc::off_t::try_from(bytes).map_err(|_| too_large())?;
    for _ in 0..INTERRUPTIONS_MAX {
        // SAFETY: the descriptor is open for as long as `file` is borrowed; no memory is passed.
        let error = unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, bytes) };
        match error {
            0 => return Ok(()),
            libc::EINTR => {}
            error => return Err(io::Error::from_raw_os_error(error)),
        }
    }
    Err(io::ErrorKind::Interrupted.into())
}

fn write_within(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let end = u64::try_from(bytes.len()).ok().and_then(|length| offset.checked_add(length));
    if end.is_none_or(|end| end > file.metadata().map_or(0, |data| data.len())) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "beyond the end of the file"));
    }
    file.write_all_at(bytes, offset)
}

/// Makes the next read come from the disk. After a failed write the system keeps the new octets in
/// memory, calls them written and shows them to everybody, a new process too, while the disk has the
/// old ones (reliability.md F7, F8): recovery would believe in messages that the next power cut takes.
fn forget_cached(file: &File) {
    // Only what is written can be forgotten. Whether this fails is not asked: either way no page is
    // waiting to be written after it, and the octets on the disk, which we are about to see, decide.
    let _ = file.sync_data();
    // SAFETY: the descriptor is open for as long as `file` is borrowed; no memory is passed.
    let _error = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    // It fails only for what is no file, and that the read will tell.
}

fn read_whole(file: File) -> io::Result<Vec<u8>> {
    let bytes = file.metadata()?.len();
    if bytes > READ_BYTES_MAX {
        let reason = format!("{bytes} octets are more than any file of ours has");
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    let mut content = Vec::new();
    let capacity = usize::try_from(bytes).unwrap_or(usize::MAX);
    content.try_reserve_exact(capacity).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    file.take(bytes).read_to_end(&mut content)?;
    Ok(content)
}
