//! The file operations on the simulated disk. May import `disk`, `faults`, and from `log` the trait
//! and its types.

use std::io;
use std::sync::Arc;

use super::disk::{SimDisk, State, Verdict, ended};
use super::faults::{FaultKind, Operation};
use crate::log::{Entry, Files, Mapped};

impl SimDisk {
    /// Carries an operation out that fails without a trace.
    fn operate<T>(
        &self,
        operation: Operation,
        act: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.live()?;
        match state.enter(operation) {
            Verdict::Go => act(&mut state),
            Verdict::Fail(kind) => Err(kind.error()),
            Verdict::Cut => {
                if state.random.chance(50) {
                    // Whether it went well, nobody lives to learn.
                    act(&mut state).ok();
                }
                Err(ended())
            }
        }
    }

    /// The first octets of a write are taken, then it fails.
    fn write_part(state: &mut State, path: &str, offset: u64, bytes: &[u8]) {
        let taken = state.random.index(bytes.len().saturating_add(1));
        let part = bytes.get(..taken).unwrap_or(bytes);
        // A write that could not have been done leaves no part either.
        if let Ok(file) = state.tree.file_mut(path)
            && file.write(offset, part).is_ok()
        {
            state.counters.count_written(part.len());
        }
    }
}

impl Files for SimDisk {
    fn create(&mut self, path: &str, bytes: u64) -> io::Result<()> {
        self.operate(Operation::Create, |state| {
            let length = usize::try_from(bytes).ok().filter(|_| bytes <= state.free_bytes());
            state.tree.create(path, length.ok_or_else(|| FaultKind::Full.error())?)
        })
    }

    fn write(&mut self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.live()?;
        match state.enter(Operation::Write) {
            Verdict::Go => {
                state.tree.file_mut(path)?.write(offset, bytes)?;
                state.counters.count_written(bytes.len());
                Ok(())
            }
            Verdict::Fail(kind) => {
                Self::write_part(&mut state, path, offset, bytes);
                Err(kind.error())
            }
            Verdict::Cut => {
                Self::write_part(&mut state, path, offset, bytes);
                Err(ended())
            }
        }
    }

    fn sync(&mut self, path: &str) -> io::Result<()> {
        let mut guard = self.live()?;
        let state = &mut *guard;
        match state.enter(Operation::Sync) {
            Verdict::Go => state.tree.file_mut(path).map(super::content::Content::sync),
            Verdict::Fail(kind) => {
                if let Ok(file) = state.tree.file_mut(path) {
                    file.fail_sync(&mut state.random);
                }
                Err(kind.error())
            }
            // A sync that is done in part is what a cut makes of unsynced writes anyway.
            Verdict::Cut => {
                if state.random.chance(50)
                    && let Ok(file) = state.tree.file_mut(path)
                {
                    file.sync();
                }
                Err(ended())
            }
        }
    }

    fn sync_dir(&mut self, path: &str) -> io::Result<()> {
        let mut guard = self.live()?;
        let state = &mut *guard;
        match state.enter(Operation::SyncDir) {
            Verdict::Go => state.tree.sync_dir(path),
            Verdict::Fail(kind) => {
                state.tree.fail_sync_dir(path, &mut state.random);
                Err(kind.error())
            }
            Verdict::Cut => {
                if state.random.chance(50) {
                    // Whether there is such a directory, nobody lives to learn.
                    state.tree.sync_dir(path).ok();
                }
                Err(ended())
            }
        }
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.operate(Operation::Rename, |state| state.tree.rename(from, to))
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        self.operate(Operation::Remove, |state| state.tree.remove(path))
    }

    fn make_dir(&mut self, path: &str) -> io::Result<()> {
        self.operate(Operation::MakeDir, |state| state.tree.make_dir(path))
    }

    fn remove_dir(&mut self, path: &str) -> io::Result<()> {
        self.operate(Operation::RemoveDir, |state| state.tree.remove_dir(path))
    }

    fn list(&mut self, path: &str) -> io::Result<Vec<Entry>> {
        self.operate(Operation::List, |state| state.tree.list(path))
    }

    fn read(&mut self, path: &str) -> io::Result<Vec<u8>> {
        self.operate(Operation::Read, |state| state.tree.file(path)?.read())
    }

    fn free_bytes(&mut self) -> io::Result<u64> {
        self.operate(Operation::FreeBytes, |state| Ok(state.free_bytes()))
    }

    fn map(&mut self, path: &str) -> io::Result<Mapped> {
        let bytes = self.operate(Operation::Map, |state| state.tree.file(path)?.map())?;
        Ok(Mapped(Arc::new(bytes)))
    }
}
