//! The tasks of one shard and the order in which they run. Imports the doorbell and the channel that wakers write to.

use crate::chunks::Chunks;
use crate::doorbell::Doorbell;
use crate::shard_id::ShardId;
use crossbeam_channel::{Receiver, Sender};
use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Rounds of dropping tasks whose drop starts new ones.
const CLEAR_ROUNDS_MAX: usize = 100;

/// One per shard: its tasks, first woken first run.
///
/// The executor underneath runs one task only, which runs these. Its own queue decides by a timer of the ring when to look at
/// sockets, and when that timer fires at the wrong moment (the thread lost its core just after arming it) it goes to sleep
/// with tasks that could run. Here a turn ends when we say so, and the executor sleeps only when we have nothing to do.
pub(crate) struct Tasks {
    slots: RefCell<Slots>,
    ready: Arc<Ready>,
    woken: Receiver<Arc<Ticket>>,
}

#[derive(Default)]
struct Slots {
    entries: Chunks<Option<Entry>>,
    free: Vec<usize>,
}

struct Entry {
    ticket: Arc<Ticket>,
    /// Absent while the task is being polled.
    task: Option<Task>,
}

struct Task {
    waker: Waker,
    future: Pin<Box<dyn Future<Output = ()>>>,
}

/// What all wakers of a shard share.
struct Ready {
    sender: Sender<Arc<Ticket>>,
    bell: Doorbell,
}

/// One task as its wakers know it. May be held by other threads and outlive the task.
struct Ticket {
    slot: usize,
    queued: AtomicBool,
    ready: Arc<Ready>,
}

impl Wake for Ticket {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            // Fails only when the shard has ended.
            let _ = self.ready.sender.send(Arc::clone(self));
            self.ready.bell.ring();
        }
    }
}

impl Tasks {
    pub(crate) fn new() -> Self {
        let (sender, woken) = crossbeam_channel::unbounded();
        let ready = Arc::new(Ready { sender, bell: Doorbell::default() });
        Self { slots: RefCell::default(), ready, woken }
    }

    /// Adds a task; it runs in its turn, not at once.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        let future = Box::pin(future);
        let mut slots = self.slots.borrow_mut();
        let slot = slots.free.pop().unwrap_or(slots.entries.len());
        let ticket =
            Arc::new(Ticket { slot, queued: AtomicBool::new(false), ready: self.ready.clone() });
        let waker = Waker::from(Arc::clone(&ticket));
        waker.wake_by_ref();
        let entry = Some(Entry { ticket, task: Some(Task { waker, future }) });
        match slots.entries.get_mut(slot) {
            Some(place) => *place = entry,
            None => slots.entries.push(entry),
        }
    }

    /// Polls the task that was woken first; `false` if none was.
    pub(crate) fn run_next(&self) -> bool {
        let Ok(ticket) = self.woken.try_recv() else { return false };
        // Before the poll: who wakes from now on has something that the poll may not see.
        ticket.queued.swap(false, Ordering::AcqRel);
        let Some(mut task) = self.slots.borrow_mut().take(&ticket) else {
            // A late waker of a task that has ended.
            return true;
        };
        let ended = task.future.as_mut().poll(&mut Context::from_waker(&task.waker)).is_ready();
        if ended {
            self.slots.borrow_mut().remove(&ticket);
            // The future drops here, when nothing is borrowed: it may spawn.
        } else {
            self.slots.borrow_mut().put_back(&ticket, task);
        }
        true
    }

    /// Pending, with the waker in place, if no task is woken.
    pub(crate) fn poll_woken(&self, context: &Context<'_>) -> Poll<()> {
        self.ready.bell.answer();
        if !self.woken.is_empty() {
            return Poll::Ready(());
        }
        self.ready.bell.poll_rung(context)
    }

    /// Tasks that have not ended.
    pub(crate) fn len(&self) -> usize {
        let slots = self.slots.borrow();
        slots.entries.len() - slots.free.len()
    }

    /// Drops all tasks, and those that are spawned by that.
    pub(crate) fn clear(&self, shard: ShardId) {
        for _ in 0..CLEAR_ROUNDS_MAX {
            let slots = std::mem::take(&mut *self.slots.borrow_mut());
            if slots.entries.is_empty() {
                self.ready.bell.abandon();
                return;
            }
            drop(slots);
        }
        assert_eq!(self.len(), 0, "tasks of shard {shard} spawn others for ever while they end");
    }
}

impl Slots {
    fn entry(&mut self, ticket: &Arc<Ticket>) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(ticket.slot)?.as_mut()?;
        Arc::ptr_eq(&entry.ticket, ticket).then_some(entry)
    }

    fn take(&mut self, ticket: &Arc<Ticket>) -> Option<Task> {
        self.entry(ticket)?.task.take()
    }

    fn put_back(&mut self, ticket: &Arc<Ticket>, task: Task) {
        if let Some(entry) = self.entry(ticket) {
            entry.task = Some(task);
        }
    }

    fn remove(&mut self, ticket: &Arc<Ticket>) {
        if self.entry(ticket).is_some()
            && let Some(place) = self.entries.get_mut(ticket.slot)
        {
            *place = None;
            self.free.push(ticket.slot);
        }
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::rc::Rc;

    fn run_all(tasks: &Tasks) {
        while tasks.run_next() {}
    }

    /// A task that waits for its waker to be used, which it hands out.
    fn sleeper(tasks: &Tasks) -> (Rc<Cell<Option<Waker>>>, Rc<Cell<u32>>) {
        let (waker, polls) = (Rc::new(Cell::new(None)), Rc::new(Cell::new(0)));
        let (given, counted) = (Rc::clone(&waker), Rc::clone(&polls));
        tasks.spawn(poll_fn(move |context| {
            counted.set(counted.get() + 1);
            given.set(Some(context.waker().clone()));
            if counted.get() == 3 { Poll::Ready(()) } else { Poll::Pending }
        }));
        (waker, polls)
    }

    #[test]
    fn a_task_runs_once_for_any_number_of_wakes() {
        let tasks = Tasks::new();
        let (waker, polls) = sleeper(&tasks);
        run_all(&tasks);
        assert_eq!(polls.get(), 1);

        let waker = waker.take().unwrap();
        waker.wake_by_ref();
        waker.wake_by_ref();
        run_all(&tasks);
        assert_eq!((polls.get(), tasks.len()), (2, 1));
    }

    #[test]
    fn a_late_waker_of_an_ended_task_wakes_nobody_else() {
        let tasks = Tasks::new();
        let (waker, polls) = sleeper(&tasks);
        let mut late = None;
        for _ in 0..3 {
            run_all(&tasks);
            late = waker.take();
            late.as_ref().unwrap().wake_by_ref();
        }
        run_all(&tasks);
        assert_eq!((polls.get(), tasks.len()), (3, 0));

        let (_, others) = sleeper(&tasks);
        run_all(&tasks);
        late.unwrap().wake();
        run_all(&tasks);
        assert_eq!((polls.get(), others.get(), tasks.len()), (3, 1, 1));
    }

    #[test]
    fn tasks_run_in_the_order_they_were_woken() {
        let tasks = Tasks::new();
        let order = Rc::new(RefCell::new(Vec::new()));
        for name in ['a', 'b'] {
            let seen = Rc::clone(&order);
            tasks.spawn(async move {
                for _ in 0..2 {
                    seen.borrow_mut().push(name);
                    futures_lite::future::yield_now().await;
                }
            });
        }
        run_all(&tasks);
        assert_eq!(*order.borrow(), vec!['a', 'b', 'a', 'b']);
    }

    #[test]
    fn nobody_woken_is_pending_until_a_wake_from_another_thread() {
        let tasks = Tasks::new();
        let (waker, polls) = sleeper(&tasks);
        run_all(&tasks);
        assert!(tasks.poll_woken(&Context::from_waker(Waker::noop())).is_pending());

        let waker = waker.take().unwrap();
        std::thread::Builder::new().spawn(move || waker.wake()).unwrap().join().unwrap();
        assert!(tasks.poll_woken(&Context::from_waker(Waker::noop())).is_ready());
        run_all(&tasks);
        assert_eq!(polls.get(), 2);
    }

    #[test]
    fn clearing_drops_tasks_and_those_their_drop_spawns() {
        struct Heir(Rc<Tasks>, u32);
        impl Drop for Heir {
            fn drop(&mut self) {
                if self.1 > 0 {
                    let next = Self(Rc::clone(&self.0), self.1 - 1);
                    self.0.spawn(async move {
                        let _held = next;
                        std::future::pending::<()>().await;
                    });
                }
            }
        }
        let tasks = Rc::new(Tasks::new());
        drop(Heir(Rc::clone(&tasks), 3));
        assert_eq!(tasks.len(), 1);

        tasks.clear(ShardId(0));
        assert_eq!(tasks.len(), 0);
        assert_eq!(Rc::strong_count(&tasks), 1);
        run_all(&tasks);
    }
}
