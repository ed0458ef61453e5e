//! The password file and the ACL file: read at the start, and again when they have changed. What
//! cannot be read then is reported and leaves what is in force (mqtt.md V-220, V-223).
//!
//! Blocking: for the start and for a thread beside the shards, which get the new snapshot. May
//! import `config` and the rest of `auth`.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::acl::Acl;
use super::password::PasswordHash;
use super::password_file;
use super::user::Users;
use crate::config;

/// Larger than any honest file: a line for each of a million devices has some 100 MB.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// What is wrong with a file: one line.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read, or is not UTF-8.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// It is larger than any honest one.
    #[error("{}: larger than {FILE_BYTES_MAX} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A line of it.
    #[error("{}:{line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
}

/// What tells a file that has changed. The time alone does not, since two writes may fall into one
/// tick of the kernel's clock, nor does it when a file is replaced by an older one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: (i64, i64),
    changed: (i64, i64),
    bytes: u64,
    inode: u64,
}

impl Stamp {
    fn of(path: &Path) -> std::io::Result<Self> {
        let found = std::fs::metadata(path)?;
        Ok(Self {
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
            bytes: found.len(),
            inode: found.ino(),
        })
    }
}

/// One file that is looked at again and again.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    /// Seconds; 0 = only at the start.
    interval_s: u32,
    waited_s: u32,
    /// As it was read last, in force or not; `None`: it was not there.
    stamp: Option<Stamp>,
}

impl Watched {
    const fn new(path: PathBuf, interval_s: u32) -> Self {
        Self { path, interval_s, waited_s: 0, stamp: None }
    }

    /// The text if it is another than the last time.
    fn changed(&mut self) -> Option<Result<String, FileError>> {
        // Before the text: a change in between is seen the next time.
        let stamp = Stamp::of(&self.path);
        if stamp.as_ref().ok() == self.stamp.as_ref() {
            return None;
        }
        self.stamp = stamp.as_ref().ok().copied();
        Some(self.read(stamp))
    }

    fn read(&self, stamp: std::io::Result<Stamp>) -> Result<String, FileError> {
        let failed = |source| FileError::Read { path: self.path.clone(), source };
        if stamp.map_err(failed)?.bytes > FILE_BYTES_MAX {
            return Err(FileError::TooLarge { path: self.path.clone() });
        }
        std::fs::read_to_string(&self.path).map_err(failed)
    }

    fn wrong(&self, (line, reason): (usize, String)) -> FileError {
        FileError::Line { path: self.path.clone(), line, reason }
    }

    /// Whether it is to be looked at, a second after the last question.
    fn is_due(&mut self) -> bool {
        self.waited_s = self.waited_s.saturating_add(1);
        let due = self.interval_s != 0 && self.waited_s >= self.interval_s;
        if due {
            self.waited_s = 0;
        }
        due
    }
}

/// The files of the settings, and the snapshot that they have led to.
#[derive(Debug)]
pub struct Files {
    passwords: Option<Watched>,
    acl: Option<Watched>,
    /// The users of the password file, as it was read last.
    read: BTreeMap<Box<str>, PasswordHash>,
    /// Of the ACL file: see [`Acl::with_nameless_first`].
    nameless_first: bool,
    users: Arc<Users>,
}

/// What a look at the files has found.
#[derive(Debug, Default)]
pub struct Look {
    /// The snapshot from now on, if it is another.
    pub users: Option<Arc<Users>>,
    /// For the log: what has been read.
    pub notes: Vec<String>,
    /// For the log: why something has not.
    pub errors: Vec<FileError>,
}

impl Files {
    /// Reads the files, whose users come beside `users`.
    ///
    /// # Errors
    /// A file that is named cannot be read: what it should forbid would be allowed.
    pub fn load(settings: &config::Mqtt, users: Users) -> Result<Self, FileError> {
        let mut files = Self {
            passwords: settings
                .password_file
                .clone()
                .map(|path| Watched::new(path, settings.password_reload_interval_s)),
            acl: settings
                .acl_file
                .clone()
                .map(|path| Watched::new(path, settings.acl_reload_interval_s)),
            read: BTreeMap::new(),
            nameless_first: settings.acl_first_lines_nameless,
            users: Arc::new(users),
        };
        let mut look = Look::default();
        for watched in [&files.passwords, &files.acl].into_iter().flatten() {
            // A file that is not there looks like one that has not changed.
            let failed = |source| FileError::Read { path: watched.path.clone(), source };
            Stamp::of(&watched.path).map_err(failed)?;
        }
        files.look_at_passwords(&mut look);
        files.look_at_acl(&mut look);
        match look.errors.into_iter().next() {
            Some(error) => Err(error),
            None => Ok(files),
        }
    }

    /// The snapshot in force.
    pub fn users(&self) -> Arc<Users> {
        self.users.clone()
    }

    /// The snapshot with these users in place of the others that no file has.
    pub fn with_directory(&mut self, directory: Users) -> Arc<Users> {
        let (next, _) = directory.succeeding(&self.users).with_password_file(&self.read);
        self.users = Arc::new(next);
        self.users.clone()
    }

    /// Looks at both, due or not.
    pub fn look_now(&mut self) -> Look {
        let mut look = Look::default();
        self.look_at_passwords(&mut look);
        self.look_at_acl(&mut look);
        look
    }

    /// To be called once a second: looks at what is due.
    pub fn second_passed(&mut self) -> Look {
        let mut look = Look::default();
        if self.passwords.as_mut().is_some_and(Watched::is_due) {
            self.look_at_passwords(&mut look);
        }
        if self.acl.as_mut().is_some_and(Watched::is_due) {
            self.look_at_acl(&mut look);
        }
        look
    }

    fn look_at_passwords(&mut self, look: &mut Look) {
        let Some(watched) = &mut self.passwords else { return };
        let Some(text) = watched.changed() else { return };
        let parsed =
            text.and_then(|text| password_file::parse(&text).map_err(|e| watched.wrong(e)));
        match parsed {
            Err(error) => look.errors.push(error),
            Ok(file) => {
                let path = watched.path.display();
                look.notes.push(format!("{path}: {} users", file.len()));
                let (next, hidden) = self.users.with_password_file(&file);
                self.read = file;
                for name in hidden {
                    look.notes.push(format!(
                        "{path}: user '{name}' is left out, there is another one of that name"
                    ));
                }
                self.users = Arc::new(next);
                look.users = Some(self.users.clone());
            }
        }
    }

    fn look_at_acl(&mut self, look: &mut Look) {
        let Some(watched) = &mut self.acl else { return };
        let Some(text) = watched.changed() else { return };
        match text.and_then(|text| Acl::parse(&text).map_err(|e| watched.wrong(e))) {
            Err(error) => look.errors.push(error),
            Ok(acl) => {
                look.notes
                    .push(format!("{}: rules for topics are in force", watched.path.display()));
                let acl = acl.with_nameless_first(self.nameless_first);
                self.users = Arc::new(self.users.with_acl(Arc::new(acl)));
                look.users = Some(self.users.clone());
            }
        }
    }
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
