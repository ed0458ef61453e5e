//! The data directory: who has it, which start of the process this is, and what the last one left.
//! May import `boot`, `dir_id`, `dir_lock`, `file_system`, `files`, `ids`, `paths`, `real_files` and `reserve`.

use std::fs::{DirBuilder, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::boot::{BOOT_BYTES, Boot, FORMAT_VERSION, Unreadable};
use super::dir_id::dir_id_of_logs;
use super::dir_lock::{Locked, lock};
use super::file_system::file_system_warning;
use super::files::Files;
use super::ids::{BOOT_MAX, FILE_BOOT_SHIFT, LogFile, QueueUid};
use super::paths::{self, QUEUES, RESERVE, SHARDS, UNFINISHED};
use super::real_files::RealFiles;
use super::reserve::{RESERVE_BYTES, make_reserve};
use crate::shard_id::ShardId;

/// Which start it is; see `boot`.
pub(super) const BOOT_FILE: &str = "BOOT";

/// How far the boot number jumps when BOOT cannot say how far it was: more starts than can have left
/// no file behind.
const BOOT_JUMP: u32 = 1_000;

const _: () = assert!(BOOT_JUMP <= BOOT_MAX / 1_000, "a BOOT may be damaged many times");

/// Why a data directory cannot be used. Each text is one line.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process has it.
    #[error("data directory {} is in use by another process{}", path.display(), pid_text(*pid))]
    InUse {
        /// The directory.
        path: PathBuf,
        /// That process, if its number can be read.
        pid: Option<u32>,
    },
    /// A later version of the program wrote it.
    #[error(
        "data directory {} has format {found}, this program knows formats up to {FORMAT_VERSION}: \
         use the version that wrote it, or a later one",
        path.display()
    )]
    TooNew {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// No number is left for another start.
    #[error("data directory {} was opened {BOOT_MAX} times: no boot number is left", path.display())]
    BootsUsedUp {
        /// The directory.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("data directory {}: cannot {what}: {cause}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// Do what.
        what: &'static str,
        /// What the system says.
        cause: io::Error,
    },
}

fn pid_text(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (pid {pid})"))
}

/// The data directory of this process, from the start to the end. One per process.
#[derive(Debug)]
pub struct DataDir {
    /// Where it is.
    pub root: PathBuf,
    /// Which one it is: random, made with the directory. A copy has the same.
    pub dir_id: u64,
    /// The groups it was made with. They may differ from those that are wanted; these count.
    pub groups: u16,
    /// The number of this start, from 1 to 2^20 - 1 (1,048,575, `BOOT_MAX`). None comes twice.
    pub boot: u32,
    /// The process before this one had written everything when it ended.
    pub was_clean: bool,
    /// Shards that may have left something: as many as the last clean run had, or more if there are
    /// directories of more. 0: none.
    pub shards_before: u16,
    /// What an operator should know, one line each.
    pub notes: Vec<String>,
    /// Held as long as this lives.
    _lock: File,
}

impl DataDir {
    /// Makes the directory if needed, takes it, and begins a new boot, which is on the disk when this
    /// returns. Blocks: for the time before the shards start.
    ///
    /// A damaged BOOT is no reason to refuse: the messages are in other files, and so is the id without
    /// which they cannot be read. See [`DataDir::notes`].
    ///
    /// # Errors
    /// Another process has it, a later version wrote it, or the system says no.
    pub fn open(path: &Path, wanted_groups: u16) -> Result<Self, DataDirError> {
        let io = |what| move |cause| DataDirError::Io { path: path.to_owned(), what, cause };
        make_root(path).map_err(io("make it"))?;
        let root = path.canonicalize().map_err(io("find it"))?;
        let held = match lock(&root).map_err(io("lock it"))? {
            Locked::Held(file) => file,
            Locked::InUse { pid } => return Err(DataDirError::InUse { path: root, pid }),
        };
        let mut files = RealFiles::new(&root);
        let mut notes = Vec::new();
        notes.extend(open_to_others(&root));
        notes.extend(file_system_warning(&root));
        // Before anything is changed: it may be somebody else's.
        let found = match read_boot(&mut files) {
            Ok(found) => found,
            Err(version) => return Err(DataDirError::TooNew { path: root, found: version }),
        };
        let seen = Seen::look(&mut files, &mut notes);
        let before = match found {
            Found::Whole(boot) => boot,
            Found::Nothing if !seen.anything => Boot::before_the_first(wanted_groups),
            Found::Nothing => {
                let id = dir_id_of_logs(&mut files);
                seen.instead_of_boot("is not there", id, wanted_groups, &mut notes)
            }
            Found::Damaged { how } => {
                let id = dir_id_of_logs(&mut files);
                seen.instead_of_boot(&how, id, wanted_groups, &mut notes)
            }
        };
        let boot = seen.next_boot(&before, &mut notes);
        if boot > BOOT_MAX {
            return Err(DataDirError::BootsUsedUp { path: root });
        }
        if before.groups != wanted_groups {
            notes.push(format!(
                "{wanted_groups} groups are wanted, but the data directory was made with {}, which count",
                before.groups
            ));
        }
        make_dirs(&mut files).map_err(io("make its directories"))?;
        let present = Boot { boot, clean: false, ..before };
        begin_boot(&mut files, &present, &mut notes).map_err(io("write BOOT"))?;
        notes.extend(ballast(&mut files));
        Ok(Self {
            root,
            dir_id: before.dir_id,
            groups: before.groups,
            boot,
            // Files of a later boot than BOOT knows: it is an old copy, and says nothing about them.
            was_clean: before.clean && before.boot >= seen.boot_max,
            shards_before: before.shards.max(seen.shards),
            notes,
            _lock: held,
        })
    }

    /// Says on the disk that everything is written: to be called when every shard has ended well.
    ///
    /// # Errors
    /// What the system says; then the next start takes this one for a crash, which is always right.
    pub fn mark_clean(&mut self, shards: u16) -> Result<(), DataDirError> {
        let clean =
            Boot { dir_id: self.dir_id, boot: self.boot, groups: self.groups, shards, clean: true };
        write_boot(&mut RealFiles::new(&self.root), &clean).map_err(|cause| DataDirError::Io {
            path: self.root.clone(),
            what: "write BOOT",
            cause,
        })
    }
}

/// Begins a boot on a simulated disk as [`DataDir::open`] does on a real one; gives its number.
///
/// # Errors
/// What the disk says.
#[cfg(any(test, feature = "sim"))]
pub fn begin_boot_on(files: &mut dyn Files, wanted_groups: u16) -> io::Result<u32> {
    let mut notes = Vec::new();
    let found = read_boot(files).map_err(|_| io::Error::other("a later format"))?;
    let seen = Seen::look(files, &mut notes);
    let before = match found {
        Found::Whole(boot) => boot,
        Found::Nothing | Found::Damaged { .. } if seen.anything => {
            let id = dir_id_of_logs(files);
            seen.instead_of_boot("is not there", id, wanted_groups, &mut notes)
        }
        Found::Nothing | Found::Damaged { .. } => Boot::before_the_first(wanted_groups),
    };
    let boot = seen.next_boot(&before, &mut notes);
    make_dirs(files)?;
    begin_boot(files, &Boot { boot, clean: false, ..before }, &mut notes)?;
    Ok(boot)
}

impl Boot {
    /// What stands for BOOT in a directory that never had one.
    fn before_the_first(groups: u16) -> Self {
        // Keys of the standard library's maps come from the system's source of randomness.
        let dir_id = RandomState::new().build_hasher().finish();
        Self { dir_id, boot: 0, groups, shards: 0, clean: true }
    }
}

/// What the names in the directory say about the starts before this one.
#[derive(Debug, Default)]
struct Seen {
    /// There is a file or directory of a shard or a queue.
    anything: bool,
    /// The highest boot number in the name of anything.
    boot_max: u32,
    /// One more than the highest shard that has a directory.
    shards: u16,
}

impl Seen {
    /// Reads the names, and removes what was never finished. What cannot be read is noted and left: it
    /// may be one queue's damage, which must not stop the others.
    fn look(files: &mut dyn Files, notes: &mut Vec<String>) -> Self {
        let mut seen = Self::default();
        for shard in names(files, SHARDS, notes) {
            seen.anything = true;
            let index =
                paths::shard_from_name(&shard).and_then(|shard| usize::try_from(shard).ok());
            // A higher number is a damaged name.
            let shard_id = index.and_then(ShardId::from_index);
            seen.shards = seen.shards.max(shard_id.map_or(0, |id| id.0.saturating_add(1)));
            for name in names(files, &format!("{SHARDS}/{shard}"), notes) {
                let file = LogFile::from_name(&name, "log.");
                if let Some(file) = file.or_else(|| LogFile::from_name(&name, "check.")) {
                    seen.note_boot(file.boot());
                }
            }
        }
        for queue in names(files, QUEUES, notes) {
            seen.anything = true;
            if let Some(uid) = QueueUid::from_name(&queue) {
                seen.note_boot(uid.0 >> FILE_BOOT_SHIFT);
            }
            // For what is unfinished.
            names(files, &format!("{QUEUES}/{queue}"), notes);
        }
        names(files, "", notes);
        seen
    }

    /// A number that no boot can have had is a damaged name.
    fn note_boot(&mut self, boot: u64) {
        let boot = u32::try_from(boot).ok().filter(|boot| *boot <= BOOT_MAX);
        self.boot_max = self.boot_max.max(boot.unwrap_or(0));
    }

    /// `dir_id`: what the logs say that it is.
    fn instead_of_boot(
        &self,
        how: &str,
        dir_id: Option<u64>,
        wanted_groups: u16,
        notes: &mut Vec<String>,
    ) -> Boot {
        // The next number is one more.
        let boot = self.boot_max.saturating_add(BOOT_JUMP - 1).min(BOOT_MAX - 1).max(self.boot_max);
        let id = if dir_id.is_some() { "keeps the id that its logs have" } else { "gets a new id" };
        notes.push(format!(
            "BOOT {how}: boot numbers go on at {}, {} having been found; the data directory {id} and \
             gets {wanted_groups} groups",
            boot.saturating_add(1),
            self.boot_max
        ));
        let new = Boot::before_the_first(wanted_groups);
        Boot { boot, dir_id: dir_id.unwrap_or(new.dir_id), clean: false, ..new }
    }

    fn next_boot(&self, before: &Boot, notes: &mut Vec<String>) -> u32 {
        if before.boot < self.boot_max {
            notes.push(format!(
                "BOOT is of boot {}, but there are files of boot {}: it is an old copy",
                before.boot, self.boot_max
            ));
        }
        before.boot.max(self.boot_max).saturating_add(1)
    }
}

/// Names in a directory, without those of unfinished files, which are removed.
fn names(files: &mut dyn Files, dir: &str, notes: &mut Vec<String>) -> Vec<String> {
    let entries = files.list(dir).unwrap_or_else(|error| {
        // A file in the place of a directory has no names; everything else should be known.
        if error.kind() != io::ErrorKind::NotADirectory {
            notes.push(format!("cannot read directory {dir}: {error}"));
        }
        Vec::new()
    });
    let mut names = Vec::with_capacity(entries.len());
    for entry in entries {
        if entry.is_dir || !entry.name.ends_with(UNFINISHED) {
            names.push(entry.name);
            continue;
        }
        let path = if dir.is_empty() { entry.name } else { format!("{dir}/{}", entry.name) };
        if let Err(error) = files.remove(&path) {
            notes.push(format!("cannot remove the unfinished file {path}: {error}"));
        }
    }
    names
}

/// What there is of BOOT.
pub(super) enum Found {
    Whole(Boot),
    Nothing,
    Damaged {
        /// Completes "BOOT ...".
        how: String,
    },
}

/// Fails with the format if that is a later one.
pub(super) fn read_boot(files: &mut dyn Files) -> Result<Found, u32> {
    let unreadable = |error: io::Error| Found::Damaged { how: format!("cannot be read ({error})") };
    let entries = match files.list("") {
        Ok(entries) => entries,
        Err(error) => return Ok(unreadable(error)),
    };
    let Some(entry) = entries.into_iter().find(|entry| entry.name == BOOT_FILE) else {
        return Ok(Found::Nothing);
    };
    // Before it is read: whatever stands there now may be of any length.
    let is_whole = u64::try_from(BOOT_BYTES) == Ok(entry.bytes);
    let bytes = if is_whole { files.read(BOOT_FILE) } else { Ok(Vec::new()) };
    match bytes.map(|bytes| Boot::decode(&bytes)) {
        Ok(Ok(boot)) => Ok(Found::Whole(boot)),
        Ok(Err(Unreadable::Damaged)) => Ok(Found::Damaged { how: "is damaged".to_owned() }),
        Ok(Err(Unreadable::Newer { version })) => Err(version),
        Err(error) => Ok(unreadable(error)),
    }
}

/// Writes BOOT for the first time of this start, with the ballast's space if there is no other.
fn begin_boot(files: &mut dyn Files, boot: &Boot, notes: &mut Vec<String>) -> io::Result<()> {
    match write_boot(files, boot) {
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {
            notes.push(format!("the disk is full ({error}): the ballast was given up"));
            if files.remove(RESERVE).is_ok() {
                files.sync_dir("")?;
                if write_boot(files, boot).is_ok() {
                    return Ok(());
                }
            }
            // Not one block is left. The old BOOT has one: written over, it is the old or the new one
            // as long as a disk writes a sector whole, and otherwise a damaged one, with which the
            // next start lives. Without an old one the first error is the one to tell.
            files.write(BOOT_FILE, 0, &boot.encode()).map_err(|_| error)?;
            files.sync(BOOT_FILE)
        }
        written => written,
    }
}

/// At every moment there is a whole BOOT, the old or the new one.
fn write_boot(files: &mut dyn Files, boot: &Boot) -> io::Result<()> {
    let unfinished = paths::unfinished(BOOT_FILE);
    match files.remove(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let bytes = boot.encode();
    files.create(&unfinished, u64::try_from(bytes.len()).unwrap_or(u64::MAX))?;
    files.write(&unfinished, 0, &bytes)?;
    files.sync(&unfinished)?;
    files.rename(&unfinished, BOOT_FILE)?;
    files.sync_dir("")
}

/// The directories that everything else is in. Synced even if they were there: a process that was
/// killed may have made directories in them without getting to the sync.
fn make_dirs(files: &mut dyn Files) -> io::Result<()> {
    for dir in [SHARDS, QUEUES] {
        files.make_dir(dir)?;
        files.sync_dir(dir)?;
    }
    files.sync_dir("")
}

/// Makes the directory and those above it, and all their names durable.
fn make_root(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|above| !above.as_os_str().is_empty() && !above.exists())
        .collect();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    for made in missing {
        let above = made.parent().filter(|above| !above.as_os_str().is_empty());
        RealFiles::new(above.unwrap_or_else(|| Path::new("."))).sync_dir("")?;
    }
    Ok(())
}

fn open_to_others(root: &Path) -> Option<String> {
    let mode = root.metadata().ok()?.permissions().mode() & 0o7777;
    (mode & 0o077 != 0).then(|| {
        format!(
            "the data directory is open to other users (mode {mode:04o}): chmod 700 {}",
            root.display()
        )
    })
}

/// Makes the ballast if there is room for it and for as much again.
fn ballast(files: &mut dyn Files) -> Option<String> {
    let is_there = files.list("").ok()?.iter().any(|entry| entry.name == RESERVE);
    if is_there {
        return None;
    }
    match files.free_bytes() {
        Ok(free_bytes) if free_bytes < 2 * RESERVE_BYTES => {
            Some(format!("no space for the ballast: {free_bytes} octets are free"))
        }
        Ok(_) => make_reserve(files).err().map(|error| format!("no ballast: {error}")),
        Err(error) => Some(format!("no ballast, the free space cannot be measured: {error}")),
    }
}
