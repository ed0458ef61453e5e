//! What may go wrong on the simulated disk by order, and what was asked of it. May import nothing.

use std::collections::BTreeMap;
use std::io;

/// Octets a simulated disk has unless told otherwise: more than a test fills by accident, less than
/// the machine of the test has.
const CAPACITY_BYTES: u64 = 1 << 30;

/// A kind of operation: one per function of [`crate::log::Files`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// A new file.
    Create,
    /// Octets into a file.
    Write,
    /// A file's content made durable.
    Sync,
    /// A directory's names made durable.
    SyncDir,
    /// Another name.
    Rename,
    /// A file removed.
    Remove,
    /// A directory made.
    MakeDir,
    /// A directory removed.
    RemoveDir,
    /// What is in a directory.
    List,
    /// All of a file.
    Read,
    /// The free space.
    FreeBytes,
    /// All of a file, mapped.
    Map,
}

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// EIO: the device could not.
    Io,
    /// ENOSPC: no space, on a thin device even for what has its place (F9).
    Full,
}

impl FaultKind {
    /// What the system would say.
    #[must_use]
    pub fn error(self) -> io::Error {
        io::Error::from_raw_os_error(match self {
            Self::Io => libc::EIO,
            Self::Full => libc::ENOSPC,
        })
    }
}

/// A failure that waits for its operation.
#[derive(Debug, Clone, Copy)]
struct Armed {
    on: Operation,
    /// Operations of this kind that still succeed.
    after: u64,
    kind: FaultKind,
}

/// What a simulated disk shall do wrong, besides losing what was not synced.
#[derive(Debug, Clone)]
pub struct Faults {
    pub(super) capacity_bytes: u64,
    armed: Vec<Armed>,
    /// After so many operations of this kind all fail, of whatever kind.
    death: Option<(Operation, u64)>,
    is_dead: bool,
}

impl Default for Faults {
    fn default() -> Self {
        Self::none()
    }
}

impl Faults {
    /// Nothing fails; 1 GiB of space.
    #[must_use]
    pub const fn none() -> Self {
        Self { capacity_bytes: CAPACITY_BYTES, armed: Vec::new(), death: None, is_dead: false }
    }

    /// The disk has so many octets for files.
    #[must_use]
    pub const fn capacity(mut self, bytes: u64) -> Self {
        self.capacity_bytes = bytes;
        self
    }

    /// After `count` more operations of this kind the next one fails, once.
    #[must_use]
    pub fn fail_after(mut self, on: Operation, count: u64, kind: FaultKind) -> Self {
        self.arm(on, count, kind);
        self
    }

    pub(super) fn arm(&mut self, on: Operation, after: u64, kind: FaultKind) {
        self.armed.push(Armed { on, after, kind });
    }

    pub(super) const fn die(&mut self, on: Operation, after: u64) {
        self.death = Some((on, after));
    }

    pub(super) fn disarm(&mut self) {
        self.armed.clear();
        self.death = None;
        self.is_dead = false;
    }

    /// Counts this operation down; how it fails, if it is the one.
    pub(super) fn strike(&mut self, operation: Operation) -> Option<FaultKind> {
        match &mut self.death {
            Some((on, 0)) if *on == operation => self.is_dead = true,
            Some((on, left)) if *on == operation => *left -= 1,
            Some(_) | None => {}
        }
        if self.is_dead {
            return Some(FaultKind::Io);
        }
        let mut struck = None;
        self.armed.retain_mut(|armed| {
            if armed.on != operation {
                return true;
            }
            if armed.after == 0 && struck.is_none() {
                struck = Some(armed.kind);
                return false;
            }
            armed.after = armed.after.saturating_sub(1);
            true
        });
        struck
    }
}

/// What was asked of a simulated disk, failed attempts included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    by_kind: BTreeMap<Operation, u64>,
    /// Octets written into files.
    pub written_bytes: u64,
}

impl Counters {
    /// Operations of one kind.
    #[must_use]
    pub fn of(&self, operation: Operation) -> u64 {
        self.by_kind.get(&operation).copied().unwrap_or(0)
    }

    /// All operations.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_kind.values().sum()
    }

    /// Syncs of files and of directories.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.of(Operation::Sync) + self.of(Operation::SyncDir)
    }

    pub(super) fn count(&mut self, operation: Operation) {
        *self.by_kind.entry(operation).or_insert(0) += 1;
    }

    pub(super) fn count_written(&mut self, bytes: usize) {
        self.written_bytes += u64::try_from(bytes).unwrap_or(0);
    }
}
