//! The file that a listening socket has in the file system. Imports the standard library.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Removes the file when it is dropped, unless somebody has put another one in its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and number.
    id: (u64, u64),
}

impl SocketFile {
    /// The file that was made by binding to `path`.
    pub(crate) fn new(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), id: id_of(&fs::symlink_metadata(path)?) })
    }

    /// Makes way for a new socket: what a server that was killed has left is removed.
    pub(crate) fn make_way(path: &Path) -> io::Result<()> {
        let found = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found?,
        };
        if !found.file_type().is_socket() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
            // Also if its queue is full.
            Ok(_) | Err(_) => Err(io::ErrorKind::AddrInUse.into()),
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| id_of(&found) == self.id) {
            // Whoever starts next removes it otherwise.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn id_of(file: &fs::Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn only_a_socket_that_nobody_listens_at_makes_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        SocketFile::make_way(&path).unwrap();

        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(SocketFile::make_way(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        assert!(path.exists(), "as a killed server leaves it");
        SocketFile::make_way(&path).unwrap();
        assert!(!path.exists());

        fs::write(&path, "precious").unwrap();
        assert_eq!(SocketFile::make_way(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn the_file_goes_with_its_owner_but_not_the_file_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let _ours = UnixListener::bind(&path).unwrap();
        drop(SocketFile::new(&path).unwrap());
        assert!(!path.exists());

        let _ours = UnixListener::bind(&path).unwrap();
        let file = SocketFile::new(&path).unwrap();
        // Another name at first: the number of a removed file may be given out again at once.
        let _other = UnixListener::bind(dir.path().join("other")).unwrap();
        fs::rename(dir.path().join("other"), &path).unwrap();
        drop(file);
        assert!(path.exists());
    }
}
