//! The simulated disk: its state, what it was told to do wrong, and what a test may do to it beside
//! the operations of `files.rs`. May import `content`, `faults`, `random` and `tree`.
#![expect(clippy::disallowed_types, reason = "drivers of several shards share one simulated disk")]

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::faults::{Counters, FaultKind, Faults, Operation};
use super::random::Random;
use super::tree::Tree;

/// A handle of a simulated disk; clones are handles of the same one. [`crate::log::Files`] are its
/// operations. A restart ([`SimDisk::crash`], [`SimDisk::kill`]) makes all handles useless but the
/// one it was asked of, as it ends everything that a process had open.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    life: u64,
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDisk").field("life", &self.life).finish_non_exhaustive()
    }
}

/// What all handles share.
#[derive(Debug)]
pub(super) struct State {
    pub(super) tree: Tree,
    pub(super) random: Random,
    pub(super) faults: Faults,
    pub(super) counters: Counters,
    /// Restarts so far.
    life: u64,
    /// Operations until the one in which the process ends.
    left: Option<u64>,
    /// The process has ended: nothing changes any more.
    is_cut: bool,
}

/// What becomes of one operation.
pub(super) enum Verdict {
    /// It is carried out.
    Go,
    /// It fails.
    Fail(FaultKind),
    /// The process ends while it is under way: it may be done, but nobody learns of it.
    Cut,
}

/// What the operations of a process that has ended are answered.
pub(super) fn ended() -> io::Error {
    io::Error::other("the simulated process has ended")
}

impl State {
    /// Counts an operation and decides about it.
    pub(super) fn enter(&mut self, operation: Operation) -> Verdict {
        self.counters.count(operation);
        match &mut self.left {
            Some(0 | 1) => {
                self.is_cut = true;
                return Verdict::Cut;
            }
            Some(left) => *left -= 1,
            None => {}
        }
        self.faults.strike(operation).map_or(Verdict::Go, Verdict::Fail)
    }

    /// Octets that new files may still take.
    pub(super) fn free_bytes(&self) -> u64 {
        let used = self.tree.files().iter().map(|(_, bytes)| *bytes).sum();
        self.faults.capacity_bytes.saturating_sub(used)
    }

    fn restart(&mut self) -> u64 {
        self.life += 1;
        self.left = None;
        self.is_cut = false;
        self.life
    }
}

impl SimDisk {
    /// An empty disk. The seed decides what it loses and how.
    #[must_use]
    pub fn new(seed: u64, faults: Faults) -> Self {
        let state = State {
            tree: Tree::new(),
            random: Random::new(seed),
            faults,
            counters: Counters::default(),
            life: 0,
            left: None,
            is_cut: false,
        };
        Self { state: Arc::new(Mutex::new(state)), life: 0 }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state for an operation, unless the process of this handle has ended.
    pub(super) fn live(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state();
        if state.is_cut || state.life != self.life { Err(ended()) } else { Ok(state) }
    }

    /// The power is cut and comes back: see the table in [`crate::sim`].
    pub fn crash(&mut self) {
        let life = {
            let mut guard = self.state();
            let state = &mut *guard;
            state.tree.crash(&mut state.random);
            state.restart()
        };
        self.life = life;
    }

    /// The process is killed and started again: everything that was written is there, in the cache
    /// at least. What was not synced can still be lost by a later [`SimDisk::crash`].
    pub fn kill(&mut self) {
        let life = {
            let mut state = self.state();
            state.tree.kill();
            state.restart()
        };
        self.life = life;
    }

    /// The process ends within the operation that is the `count`th from now (of any kind, 1 is the
    /// next one). It may be done, in part too. From then on every operation fails and nothing
    /// changes, until [`SimDisk::crash`] or [`SimDisk::kill`] says how it ended.
    pub fn crash_at(&self, count: u64) {
        self.state().left = Some(count);
    }

    /// The process of this handle has ended.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.live().is_err()
    }

    /// After `count` more operations of this kind the next one fails, once. A sync that fails loses
    /// some of what it should have made durable for good, and the next one says nothing of it.
    pub fn fail_after(&self, on: Operation, count: u64, kind: FaultKind) {
        self.state().faults.arm(on, count, kind);
    }

    /// After `count` more operations of this kind the disk dies with the next one: that fails, and
    /// every other from then on, as with a file system that was shut down.
    pub fn die_after(&self, on: Operation, count: u64) {
        self.state().faults.die(on, count);
    }

    /// Nothing fails any more that was told to by [`SimDisk::fail_after`], [`SimDisk::die_after`] or
    /// [`Faults`]. The
    /// capacity, and sectors that cannot be read, stay.
    pub fn clear_faults(&self) {
        self.state().faults.disarm();
    }

    /// Sets the octets there are for files; those that are there stay.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().faults.capacity_bytes = bytes;
    }

    /// The sector with this octet of a file cannot be read, until it is written anew. `false` if
    /// there is no such octet.
    #[must_use]
    pub fn fail_reading(&self, path: &str, offset: u64) -> bool {
        let Ok(offset) = usize::try_from(offset) else { return false };
        self.state().tree.file_mut(path).is_ok_and(|file| file.make_unreadable(offset))
    }

    /// Turns one bit (number `octet * 8 + bit`) of what the disk durably has of a file. `false` if
    /// there is no such bit.
    #[must_use]
    pub fn flip(&self, path: &str, bit: u64) -> bool {
        self.state().tree.file_mut(path).is_ok_and(|file| file.flip(bit))
    }

    /// Cuts a file off after so many octets. `false` if there is no such file.
    #[must_use]
    pub fn truncate(&self, path: &str, bytes: u64) -> bool {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.state().tree.file_mut(path).map(|file| file.truncate(bytes)).is_ok()
    }

    /// A file's octets as the disk has them or will have them, whatever cannot be read, and without
    /// counting as an operation: for a test that judges.
    #[must_use]
    pub fn peek(&self, path: &str) -> Option<Vec<u8>> {
        self.state().tree.file(path).ok().map(super::content::Content::on_disk)
    }

    /// All files by path with their lengths, without counting as an operation.
    #[must_use]
    pub fn files(&self) -> Vec<(String, u64)> {
        self.state().tree.files()
    }

    /// What was asked of the disk so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.state().counters.clone()
    }
}
