//! Brings into the memory of the system what a restart reads of segments: three small pieces of each,
//! all over the disk. One after another they cost a start after a power cut some milliseconds each;
//! asked for by many threads at once, a disk answers dozens in that time. May import `paths`, the channel, libc
//! and the standard library's files.
#![expect(unsafe_code, reason = "one system call has no safe wrapper in the standard library")]

use crossbeam_channel::unbounded;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::paths;

/// Reads under way at once: more than a disk of this time needs to be busy.
const THREADS: usize = 16;

/// Fewer directories or files than this are not worth the threads.
const WORTHWHILE: usize = 32;

/// Read at either end of a segment, and of a file of settled entries; see `segment_outline`.
const PIECE_BYTES: usize = 4096;

/// A file of settled entries that is longer has most of its entries in bits; the rest is read later.
const SETTLED_BYTES_MAX: u64 = 64 * 1024;

/// Reads what a restart will read of the segments below the data directory `root`, and forgets it.
/// Nothing here is an error: whoever needs a file meets what is wrong with it.
pub fn warm_segments(root: &Path) {
    let dirs = list(&root.join(paths::QUEUES));
    let (sender, found) = unbounded();
    in_threads(&dirs, |dir| {
        // Whoever takes them is below.
        let _ = sender.send(list(dir));
    });
    let files: Vec<PathBuf> = found.try_iter().flatten().collect();
    if files.len() >= WORTHWHILE {
        in_threads(&files, |file| {
            let _ = warm(file);
        });
    }
}

fn list(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries.filter_map(Result::ok).map(|entry| entry.path()).collect()
}

fn in_threads(all: &[PathBuf], act: impl Fn(&Path) + Sync) {
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(path) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            act(path);
        }
    };
    if all.len() < WORTHWHILE {
        return work();
    }
    std::thread::scope(|scope| {
        for _ in 1..THREADS {
            // Without it the others have more to do.
            let _ = std::thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
}

fn warm(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path)?;
    let bytes = file.metadata()?.len();
    read_no_further(&file);
    let mut piece = [0; PIECE_BYTES];
    let is_settled = path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"settled"));
    if is_settled {
        let mut at = 0;
        while at < bytes.min(SETTLED_BYTES_MAX) {
            file.read_at(&mut piece, at)?;
            at += PIECE_BYTES as u64;
        }
        return Ok(());
    }
    file.read_at(&mut piece, 0)?;
    file.read_at(&mut piece, bytes.saturating_sub(PIECE_BYTES as u64))?;
    Ok(())
}

/// Else the system reads many blocks more than it is asked for.
fn read_no_further(file: &File) {
    // SAFETY: the descriptor is open for as long as `file` is borrowed; no memory is passed.
    let _error = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_RANDOM) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_are_visited_once_by_threads() {
        let all: Vec<PathBuf> = (0..1000).map(|n| PathBuf::from(format!("{n}"))).collect();
        let (sender, seen) = unbounded();
        in_threads(&all, |path| sender.send(path.to_owned()).unwrap());
        let mut seen: Vec<PathBuf> = seen.try_iter().collect();
        seen.sort();
        let mut expected = all;
        expected.sort();
        assert_eq!(seen, expected);
    }

    #[test]
    fn what_is_not_there_or_no_file_harms_nobody() {
        warm_segments(Path::new("/nothing/here"));
        assert!(warm(Path::new("/nothing/here")).is_err());
        assert!(warm(Path::new("/")).is_err());
    }
}
