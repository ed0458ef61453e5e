//! A store for tests that keeps messages in memory and behaves as if they lay on a disk.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::memory::MemoryStore;
use super::store::{Position, Read, Safe, Store};
use crate::message::Message;

#[derive(Debug, Default)]
struct State {
    /// Calls of [`Disk::load`] still to come, per position that was asked for.
    asked: BTreeMap<Position, u32>,
    /// What can be read at once.
    here: BTreeSet<Position>,
    newest: Option<Position>,
    /// Calls a read takes.
    loads: u32,
}

/// The disk under a [`SlowStore`], moved by hand.
#[derive(Debug, Clone)]
pub(crate) struct Disk(Rc<RefCell<State>>);

impl Disk {
    /// Something was asked for and has not come.
    pub(crate) fn is_busy(&self) -> bool {
        !self.0.borrow().asked.is_empty()
    }

    /// Time passes on the disk. True: something has come, so `loaded` must follow.
    pub(crate) fn load(&self) -> bool {
        let mut state = self.0.borrow_mut();
        state.asked.values_mut().for_each(|left| *left -= 1);
        let State { asked, here, .. } = &mut *state;
        let before = asked.len();
        asked.retain(|at, left| {
            if *left == 0 {
                here.insert(*at);
            }
            *left > 0
        });
        asked.len() < before
    }
}

/// Gives back at once only the message that came last; any other has to be loaded, and again once
/// it was handed out.
#[derive(Debug)]
pub(crate) struct SlowStore {
    inner: MemoryStore,
    disk: Disk,
}

impl SlowStore {
    /// A read takes `loads` calls of [`Disk::load`].
    pub(crate) fn new(loads: u32) -> (Self, Disk) {
        assert!(loads > 0, "it would not be slow");
        let disk = Disk(Rc::new(RefCell::new(State { loads, ..State::default() })));
        (Self { inner: MemoryStore::default(), disk: disk.clone() }, disk)
    }
}

impl Store for SlowStore {
    fn append(&mut self, message: Message, arrived_ms: u64) -> (Position, Safe) {
        let (at, safe) = self.inner.append(message, arrived_ms);
        let mut state = self.disk.0.borrow_mut();
        if let Some(before) = state.newest.replace(at) {
            state.here.remove(&before);
        }
        state.here.insert(at);
        (at, safe)
    }

    fn read(&self, at: Position) -> Read {
        let read = self.inner.read(at);
        let mut state = self.disk.0.borrow_mut();
        if read == Read::Gone || state.here.contains(&at) {
            return read;
        }
        let loads = state.loads;
        state.asked.entry(at).or_insert(loads);
        Read::Later
    }

    fn settle(&mut self, at: Position) {
        let mut state = self.disk.0.borrow_mut();
        state.here.remove(&at);
        state.asked.remove(&at);
        self.inner.settle(at);
    }

    fn handed_out(&mut self, at: Position) {
        self.disk.0.borrow_mut().here.remove(&at);
    }

    fn returned(&mut self, at: Position, count: u32) {
        self.inner.returned(at, count);
    }

    fn tail(&self) -> Position {
        self.inner.tail()
    }

    fn memory_bytes(&self) -> u64 {
        self.inner.memory_bytes()
    }
}
