//! The tasks of one shard, so that none outlives it. Imports the executor's task handle.

use glommio::task::JoinHandle;

/// One per shard. The executor forgets a detached task that waits when it ends, with everything the task owns; we end them
/// ourselves so that sockets close and values drop on their own shard.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    slots: Vec<Option<JoinHandle<()>>>,
    free: Vec<usize>,
}

impl Tasks {
    /// A slot for a task about to be made.
    pub(crate) fn reserve(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        })
    }

    /// The task of a reserved slot.
    pub(crate) fn fill(&mut self, slot: usize, task: JoinHandle<()>) {
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(task);
        }
    }

    /// The task has come to its end. To be called from within it: the executor reads the handle's state between a task's last
    /// poll and its drop.
    pub(crate) fn finish(&mut self, slot: usize) {
        if let Some(task) = self.slots.get_mut(slot).and_then(Option::take) {
            drop(task);
            self.free.push(slot);
        }
    }

    /// Tasks that live.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// All tasks, to be ended by the caller.
    pub(crate) fn take_all(&mut self) -> Vec<JoinHandle<()>> {
        self.free.clear();
        std::mem::take(&mut self.slots).into_iter().flatten().collect()
    }
}
