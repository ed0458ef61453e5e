//! The sockets of one shard that say little: watched together instead of each by the ring. Imports the list of the kernel
//! and, to wait for it, the executor's stream and timer.
//!
//! # Why
//!
//! A request for readiness in the ring costs the executor 640 bytes per socket for as long as it stands, and a stream of
//! its own 150 more. A socket that says little has neither: it is on a list of the kernel, which takes no user memory, and
//! one request in the ring stands for the whole list. A socket that says much goes over to a request of its own.
#![expect(unsafe_code, reason = "a file descriptor is handed to the executor")]

use crate::chunks::Chunks;
use crate::epoll::{EVENTS_MAX, Epoll};
use futures_lite::io::AsyncRead;
use glommio::net::TcpStream;
use glommio::timer::Timer;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Reads of one socket within a period that make it busy. A handshake of a few steps does not (arbitrary).
const BUSY_READS: u8 = 20;
/// A period, milliseconds. A busy socket that has read nothing for one to two of them is quiet again (arbitrary).
const PERIOD_MS: u64 = 2_000;
/// Calls of one look, unless all is to be known. What is left is found in the next.
const CALLS_MAX: usize = 16;
/// When the process had no descriptor left to wait for the list, this comes instead, milliseconds.
const RETRY_MS: u64 = 10;

/// One per shard: its quiet sockets, and which of its sockets are busy. A cheap handle.
#[derive(Clone)]
pub struct Quiet {
    core: Rc<Core>,
}

struct Core {
    /// None if the process had no descriptor for it: every socket is busy then.
    list: Option<Epoll>,
    places: RefCell<Places>,
    /// Stands for the whole list in the ring.
    request: RefCell<Option<TcpStream>>,
    /// Has the shard look at the time.
    alarm: RefCell<Option<Pin<Box<Timer>>>>,
    /// When the alarm comes, by the clock of the turns; `u64::MAX`: never.
    alarm_ms: Cell<u64>,
    now_ms: Cell<u64>,
    busy_count: Cell<usize>,
}

#[derive(Default)]
struct Places {
    entries: Chunks<Entry>,
    free: Vec<u32>,
}

/// A socket.
#[derive(Default)]
struct Entry {
    waker: Option<Waker>,
    state: State,
    /// How often it has read something, quiet, in this period.
    reads: u8,
    period: u32,
}

/// ```text
///   begins ──> Ready ──nothing to read──> Asleep <──nothing to read──────────────────────────┐
///                ^ └─often, or stuck─┐ ┌────┘ └────┐                                         │
///                └──the kernel says──│─│───────────┘                                         │
///                                    v v                                                     │
///                                    Busy ──no reads for a period──> Leaving ──has to wait───┤
///                                     ^─────────────a read──────────────┘└───────────────────┘
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// Nobody's.
    #[default]
    Free,
    /// Quiet, with something to read, as far as is known.
    Ready,
    /// Quiet, until the kernel says that there is something to read.
    Asleep,
    /// Has a request of its own.
    Busy {
        /// It has read something in this period.
        has_read: bool,
    },
    /// Busy, and is to become quiet when it has nothing to read.
    Leaving,
}

impl State {
    const fn is_busy(self) -> bool {
        match self {
            Self::Busy { .. } | Self::Leaving => true,
            Self::Free | Self::Ready | Self::Asleep => false,
        }
    }
}

impl Entry {
    fn wait(&mut self, context: &Context<'_>) {
        let waker = context.waker();
        if self.waker.as_ref().is_none_or(|known| !known.will_wake(waker)) {
            self.waker = Some(waker.clone());
        }
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

impl Quiet {
    /// Nobody's yet.
    pub(crate) fn new() -> Self {
        let core = Core {
            list: Epoll::new().ok(),
            places: RefCell::default(),
            request: RefCell::default(),
            alarm: RefCell::default(),
            alarm_ms: Cell::new(u64::MAX),
            now_ms: Cell::new(0),
            busy_count: Cell::new(0),
        };
        Self { core: Rc::new(core) }
    }

    /// Sockets of this shard, quiet and busy.
    #[must_use]
    pub fn socket_count(&self) -> usize {
        let places = self.core.places.borrow();
        places.entries.len() - places.free.len()
    }

    /// Those that are busy.
    #[must_use]
    pub fn busy_count(&self) -> usize {
        self.core.busy_count.get()
    }

    /// A turn begins: wakes the tasks whose quiet sockets have something to read, all of them if `all`. The context is that of
    /// the executor's only task.
    pub(crate) fn look(&self, context: &mut Context<'_>, now_ms: u64, all: bool) {
        let core = &self.core;
        core.now_ms.set(now_ms);
        let mut request = core.request.borrow_mut();
        let is_answered = request.as_mut().is_none_or(|stream| {
            // The list cannot be read like a socket: the error says that the request was answered.
            Pin::new(stream).poll_read(context, &mut [0]).is_ready()
        });
        if is_answered || all {
            self.collect(all);
        }
        if is_answered {
            // In this order, so that there is a descriptor for the next.
            *request = None;
            *request = self.ask(context);
        }
        let is_deaf = request.is_none() && core.list.is_some();
        drop(request);
        if now_ms >= core.alarm_ms.get() {
            self.set_alarm(context, u64::MAX);
            self.end_period();
        }
        let wait_ms = match (is_deaf, core.busy_count.get()) {
            (true, _) => RETRY_MS,
            (false, 0) => return,
            (false, _) => PERIOD_MS,
        };
        let alarm_ms = now_ms.saturating_add(wait_ms);
        if alarm_ms < core.alarm_ms.get() {
            self.set_alarm(context, alarm_ms);
        }
    }

    /// The shard ends.
    pub(crate) fn end(&self) {
        drop(self.core.request.take());
        drop(self.core.alarm.take());
    }

    /// A place for a socket that is on the list, or, if the kernel does not take it there, has a request of its own.
    pub(crate) fn place(&self, socket: BorrowedFd<'_>) -> Place {
        let mut places = self.core.places.borrow_mut();
        let index = places.free.pop().unwrap_or_else(|| {
            places.entries.push(Entry::default());
            // There are fewer descriptors than that.
            u32::try_from(places.entries.len() - 1).unwrap_or(u32::MAX)
        });
        drop(places);
        let place = Place { quiet: self.clone(), index };
        let added = self.core.list.as_ref().is_some_and(|list| list.add(socket, index).is_ok());
        place.turn(if added { State::Ready } else { State::Busy { has_read: true } });
        place
    }

    /// A new stream begins with a request for readability and touches its descriptor only when that was answered, which is all
    /// we need. `None`: the process has no descriptor left.
    fn ask(&self, context: &mut Context<'_>) -> Option<TcpStream> {
        let descriptor = self.core.list.as_ref()?.descriptor().ok()?.into_raw_fd();
        // SAFETY: the descriptor is open and its only owner has just given it up.
        let mut stream = unsafe { TcpStream::from_raw_fd(descriptor) };
        let asked = Pin::new(&mut stream).poll_read(context, &mut [0]);
        debug_assert!(asked.is_pending(), "the request has only just been made");
        Some(stream)
    }

    fn collect(&self, all: bool) {
        let Some(list) = &self.core.list else { return };
        let mut places = self.core.places.borrow_mut();
        let calls = if all { places.entries.len() / EVENTS_MAX + 1 } else { CALLS_MAX };
        for _ in 0..calls {
            let found = list.take(|index| {
                let entry = places.entries.get_mut(index as usize);
                if let Some(entry) = entry.filter(|entry| entry.state == State::Asleep) {
                    entry.state = State::Ready;
                    entry.wake();
                }
            });
            if found < EVENTS_MAX {
                return;
            }
        }
    }

    /// Busy sockets that were silent for a whole period are to be quiet.
    fn end_period(&self) {
        for entry in self.core.places.borrow_mut().entries.iter_mut() {
            match entry.state {
                State::Busy { has_read: true } => entry.state = State::Busy { has_read: false },
                State::Busy { has_read: false } => {
                    entry.state = State::Leaving;
                    entry.wake();
                }
                State::Free | State::Ready | State::Asleep | State::Leaving => {}
            }
        }
    }

    fn set_alarm(&self, context: &mut Context<'_>, alarm_ms: u64) {
        self.core.alarm_ms.set(alarm_ms);
        let wait_ms = alarm_ms.saturating_sub(self.core.now_ms.get());
        let alarm = (alarm_ms != u64::MAX).then(|| {
            let mut timer = Box::pin(Timer::new(Duration::from_millis(wait_ms)));
            // Whoever is woken looks at the time.
            let _ = timer.as_mut().poll(context);
            timer
        });
        *self.core.alarm.borrow_mut() = alarm;
    }
}

impl fmt::Debug for Quiet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quiet")
            .field("socket_count", &self.socket_count())
            .field("busy_count", &self.busy_count())
            .finish()
    }
}

/// What the shard knows of one socket; forgotten when dropped.
pub(crate) struct Place {
    quiet: Quiet,
    index: u32,
}

impl Place {
    /// Whether it has a request of its own.
    pub(crate) fn is_busy(&self) -> bool {
        self.with(|entry| entry.state.is_busy())
    }

    /// Whether the quiet socket may have something to read; if not, its task is woken when it has.
    pub(crate) fn poll_ready(&self, context: &Context<'_>) -> Poll<()> {
        self.with(|entry| {
            if entry.state == State::Ready {
                return Poll::Ready(());
            }
            entry.wait(context);
            Poll::Pending
        })
    }

    /// The quiet socket had nothing to read: its task is woken when it has.
    pub(crate) fn sleep(&self, context: &Context<'_>) {
        self.with(|entry| {
            entry.state = State::Asleep;
            entry.wait(context);
        });
    }

    /// The quiet socket has read something. True: it does so often, and should be busy.
    pub(crate) fn is_lively(&self) -> bool {
        // Whole periods since the start, of which only the difference counts.
        #[expect(clippy::integer_division, reason = "a number of periods")]
        let period = u32::try_from(self.quiet.core.now_ms.get() / PERIOD_MS).unwrap_or(u32::MAX);
        self.with(|entry| {
            if entry.period != period {
                (entry.period, entry.reads) = (period, 0);
            }
            entry.reads = entry.reads.saturating_add(1);
            entry.reads >= BUSY_READS
        })
    }

    /// The quiet socket is given a request of its own.
    pub(crate) fn leave_list(&self, socket: BorrowedFd<'_>) {
        if let Some(list) = &self.quiet.core.list {
            // Fails only for what is not there.
            let _ = list.remove(socket);
        }
        self.turn(State::Busy { has_read: true });
    }

    /// The busy socket has given up its request and goes on the list. Its task is woken when there is something to read.
    pub(crate) fn join_list(
        &self,
        socket: BorrowedFd<'_>,
        context: &Context<'_>,
    ) -> io::Result<()> {
        let Some(list) = &self.quiet.core.list else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        list.add(socket, self.index)?;
        self.turn(State::Asleep);
        self.sleep(context);
        Ok(())
    }

    /// The busy socket has read something.
    pub(crate) fn has_read(&self) {
        self.with(|entry| entry.state = State::Busy { has_read: true });
    }

    /// The busy socket has nothing to read. True: for so long that it should be quiet.
    pub(crate) fn is_silent(&self, context: &Context<'_>) -> bool {
        self.with(|entry| {
            entry.wait(context);
            entry.state == State::Leaving
        })
    }

    fn turn(&self, state: State) {
        let before = self.with(|entry| std::mem::replace(&mut entry.state, state));
        let count = &self.quiet.core.busy_count;
        match (before.is_busy(), state.is_busy()) {
            (false, true) => count.set(count.get() + 1),
            (true, false) => count.set(count.get() - 1),
            (true, true) | (false, false) => {}
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Entry) -> T) -> T {
        let mut places = self.quiet.core.places.borrow_mut();
        match places.entries.get_mut(self.index as usize) {
            Some(entry) => act(entry),
            None => act(&mut Entry::default()),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.turn(State::Free);
        let waker = self.with(std::mem::take).waker;
        self.quiet.core.places.borrow_mut().free.push(self.index);
        drop(waker);
    }
}
