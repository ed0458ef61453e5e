//! Maps files for reading: the only file of the tree that does. Imports memmap2. May import `job`.
//!
//! # Why it is sound
//!
//! A mapping is a `&[u8]` over what the file has, so nobody may change the file, or make it shorter,
//! while the mapping lives. Who upholds that:
//!
//! - Only segments are mapped. A segment is written whole under another name, synced and renamed
//!   before it is mapped, and never written again. Removing its name changes nothing.
//! - One process at a time has the data directory (LOCK), and its files have mode 0600: who changes
//!   them from outside is the same user or root, who could as well write into our memory.
//! - The length is that of the file when it is mapped; it is never changed.
//! - The mapping ends when the last [`Mapped`] of it goes; what was read of it borrows from that.
//!
//! # SIGBUS
//!
//! A load from a mapping gets a signal instead of an error when the file has no such page or the
//! disk does not give it (reliability.md 2.8). The first cannot be: lengths are fixed, and every
//! octet was allocated and written. The second is met before anybody looks: all pages are read in
//! here, on a thread that may wait, with errors as error codes. It remains that the kernel drops
//! pages when memory is short and the sector has gone bad since: then the process ends, as by a
//! power cut, and the next read-in says which file it was. (Locking the pages would prevent it; the
//! limit of locked memory is far below the size of segments on most systems.)
#![expect(unsafe_code, reason = "a file is mapped")]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use memmap2::{Advice, Mmap, MmapOptions};

use super::job::Mapped;

/// Octets read at once where the kernel cannot read in by itself.
const READ_BYTES: usize = 64 * 1024;

/// Maps a file for reading, all of it resident when this returns. Blocks until the disk has given
/// everything. The file must be one that nobody changes any more: a segment.
///
/// # Errors
/// What the system says, a bad sector included.
pub fn map_file(file: &File) -> io::Result<Mapped> {
    let bytes = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    if bytes == 0 {
        // There is nothing to map, and a system may refuse to.
        return Ok(Mapped(Arc::new([])));
    }
    let mut options = MmapOptions::new();
    options.len(bytes);
    // SAFETY: the file is neither changed nor shortened while it is mapped; who upholds that is
    // said above.
    let map = unsafe { options.map(file) }?;
    read_in(&map, file)?;
    Ok(Mapped(Arc::new(map)))
}

/// Reads all pages in, with errors as error codes.
fn read_in(map: &Mmap, file: &File) -> io::Result<()> {
    match map.advise(Advice::PopulateRead) {
        // Linux before 5.14 does not know it.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => read_through(file, map.len()),
        result => result,
    }
}

/// Reads the file into the page cache, from which its mapping is served without the disk. (Touching
/// the mapping would do the same, with a signal for a bad sector.)
fn read_through(file: &File, bytes: usize) -> io::Result<()> {
    let mut buffer = vec![0; READ_BYTES.min(bytes)];
    let mut offset = 0;
    while offset < bytes {
        let wanted = buffer.len().min(bytes - offset);
        let part = buffer.get_mut(..wanted).unwrap_or_default();
        file.read_exact_at(part, offset as u64)?;
        offset += wanted;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file_with(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(bytes).expect("room for it");
        file
    }

    #[test]
    fn a_mapping_is_what_the_file_has_even_when_its_name_is_gone() {
        for len in [1, 4095, 4096, 4097, 300_000_u32] {
            let bytes: Vec<u8> =
                (0..len).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
            let file = file_with(&bytes);
            let mapped = map_file(file.as_file()).expect("a mapping");
            let other = mapped.clone();
            drop(mapped);
            file.close().expect("the name removed");
            assert_eq!(other.as_ref(), bytes);
        }
    }

    #[test]
    fn an_empty_file_is_an_empty_mapping() {
        let file = file_with(&[]);
        assert!(map_file(file.as_file()).expect("nothing").as_ref().is_empty());
    }

    #[test]
    fn what_cannot_be_mapped_is_an_error() {
        let file = file_with(&[1; 100]);
        let directory = tempfile::tempdir().expect("a directory");
        let mut options = std::fs::OpenOptions::new();
        let write_only = options.write(true).open(file.path()).expect("the file");
        assert!(map_file(&write_only).is_err());
        let opened = std::fs::OpenOptions::new().read(true).open(directory.path());
        assert!(map_file(&opened.expect("the directory")).is_err());
    }

    #[test]
    fn without_the_kernels_help_the_file_is_read_through() {
        let file = file_with(&vec![7; 3 * READ_BYTES + 5]);
        read_through(file.as_file(), 3 * READ_BYTES + 5).expect("all of it");
        read_through(file.as_file(), 5).expect("a little");
        assert!(read_through(file.as_file(), 3 * READ_BYTES + 6).is_err(), "it is shorter");
    }
}
