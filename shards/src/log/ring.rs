//! Commits of one shard through its ring: direct writes to log files that stay open. Imports the
//! executor.
//!
//! # How a commit becomes durable
//!
//! Each log file is open twice. One handle has `O_DSYNC`: a write through it is durable when it is done,
//! and is one operation of the ring (160 us for 4 KiB on a fresh file, 95 us on a recycled one, against
//! two round trips for a write and then a sync). The system may make that write durable by itself (a
//! write with "force unit access") and leave what the disk has in its cache from earlier writes where it
//! is. So it is used only if everything before it in the file is durable already. After a commit without
//! sync, or for one of several pieces, the pieces are written plainly and `fdatasync` follows.
//!
//! A commit that failed is final for its file: the system calls the lost octets written afterwards and
//! the next sync would succeed (reliability.md F7).

use crossbeam_channel::Sender;
use futures_lite::future::poll_fn;
use glommio::GlommioError;
use glommio::io::{DmaBuffer, DmaFile, OpenOptions};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::ids::LogFile;
use super::job::{DiskError, Done, Job};
use super::paths;
use super::worker::Results;

/// Octets of one write. Larger ones hold up others in the device's queue and gain nothing.
const PIECE_BYTES: usize = 1024 * 1024;

/// Writes under way at once, hence MiB of buffers.
const PIECES_MAX: usize = 4;

/// Idle buffers that are kept: at most 8 MiB.
const IDLE_BUFFERS_MAX: usize = 8;

/// The front of the task that commits. One per shard, on it.
pub(super) struct Ring {
    root: PathBuf,
    shard_no: u32,
    /// Whether opening for direct writes is tried at all.
    direct: bool,
    orders: RefCell<Orders>,
    /// The task, while it waits for orders.
    waiting: Cell<Option<Waker>>,
    results: Results,
    /// Who does commits on file systems that the ring cannot write to directly; none when the task has
    /// ended.
    instead: RefCell<Option<Sender<Job>>>,
    /// Who waits for the end of the task.
    ended: Cell<Option<Waker>>,
}

#[derive(Default)]
struct Orders {
    commits: VecDeque<Batch>,
    chores: VecDeque<Chore>,
    ending: bool,
}

/// A commit as it was given.
struct Batch {
    file: LogFile,
    offset: u64,
    bytes: Vec<u8>,
    sync: bool,
}

/// What a commit should not have to wait for.
enum Chore {
    Open(LogFile),
    Close(LogFile),
}

enum Order {
    Commit(Batch),
    Chore(Chore),
    End,
}

impl Ring {
    /// The ring of a shard; `direct`: whether files may be opened for direct writes. `instead` gets the
    /// commits that cannot go through the ring.
    pub(super) fn new(
        (root, shard_no): (PathBuf, u32),
        direct: bool,
        results: Results,
        instead: Sender<Job>,
    ) -> Self {
        Self {
            root,
            shard_no,
            direct,
            orders: RefCell::default(),
            waiting: Cell::default(),
            results,
            instead: RefCell::new(Some(instead)),
            ended: Cell::default(),
        }
    }

    /// Writes a batch; the result is handed over like that of every job.
    pub(super) fn commit(&self, file: LogFile, offset: u64, bytes: Vec<u8>, sync: bool) {
        self.orders.borrow_mut().commits.push_back(Batch { file, offset, bytes, sync });
        self.wake();
    }

    /// The file was made: opens it, so that its first commit need not.
    pub(super) fn open(&self, file: LogFile) {
        self.orders.borrow_mut().chores.push_back(Chore::Open(file));
        self.wake();
    }

    /// The file is to be removed or to get another name.
    pub(super) fn close(&self, file: LogFile) {
        self.orders.borrow_mut().chores.push_back(Chore::Close(file));
        self.wake();
    }

    /// Closes all files after what was ordered before; then the task ends.
    pub(super) fn end(&self) {
        self.orders.borrow_mut().ending = true;
        self.wake();
    }

    /// Orders the end and waits for it.
    pub(super) async fn ended(&self) {
        self.end();
        poll_fn(|context| {
            if self.instead.borrow().is_none() {
                return Poll::Ready(());
            }
            self.ended.set(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    /// The task.
    pub(super) async fn serve(self: Rc<Self>) {
        let mut open = Open { ring: &self, logs: Vec::new(), idle: Idle::default() };
        loop {
            match self.next_order().await {
                Order::Commit(batch) => open.commit(batch).await,
                Order::Chore(Chore::Open(file)) => {
                    if open.at(file).is_none() {
                        open.open(file).await;
                    }
                }
                Order::Chore(Chore::Close(file)) => open.close(file).await,
                Order::End => break,
            }
        }
        while let Some(file) = open.logs.last().map(|log| log.file) {
            open.close(file).await;
        }
        drop(self.instead.take());
        if let Some(waker) = self.ended.take() {
            waker.wake();
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }

    fn hand_to_thread(&self, batch: Batch) {
        let Batch { file, offset, bytes, sync } = batch;
        if let Some(thread) = &*self.instead.borrow() {
            let sent = thread.send(Job::Commit { file, offset, bytes, sync });
            assert!(sent.is_ok(), "a thread of the disk has died");
        }
    }

    async fn next_order(&self) -> Order {
        poll_fn(|context| {
            if let Some(order) = self.orders.borrow_mut().take_next() {
                return Poll::Ready(order);
            }
            self.waiting.set(Some(context.waker().clone()));
            Poll::Pending
        })
        .await
    }
}

impl Orders {
    fn take_next(&mut self) -> Option<Order> {
        let commit = self.commits.pop_front().map(Order::Commit);
        let order = commit.or_else(|| self.chores.pop_front().map(Order::Chore));
        order.or_else(|| self.ending.then_some(Order::End))
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("shard_no", &self.shard_no).finish_non_exhaustive()
    }
}

/// The log files that are open: the one that is written to, the next one, and those not yet dropped.
struct Open<'a> {
    ring: &'a Ring,
    logs: Vec<Log>,
    idle: Idle,
}

struct Log {
    file: LogFile,
    way: Way,
}

/// How a log file is written to.
enum Way {
    /// Through the ring.
    Direct(Box<Handles>),
    /// Not through the ring: the file system takes no direct writes.
    Thread,
    /// Not any more.
    Broken(DiskError),
}

struct Handles {
    plain: DmaFile,
    /// Opened with `O_DSYNC`.
    durable: DmaFile,
    /// Something in the file may not be durable.
    unsynced: bool,
}

impl Open<'_> {
    fn at(&self, file: LogFile) -> Option<usize> {
        self.logs.iter().position(|log| log.file == file)
    }

    fn path(&self, file: LogFile) -> String {
        paths::log(self.ring.shard_no, file)
    }

    async fn commit(&mut self, batch: Batch) {
        if self.at(batch.file).is_none() {
            self.open(batch.file).await;
        }
        let path = self.path(batch.file);
        let (logs, idle) = (&mut self.logs, &mut self.idle);
        let Some(log) = logs.iter_mut().find(|log| log.file == batch.file) else { return };
        let result = match &mut log.way {
            Way::Direct(handles) => handles
                .write(&batch, idle)
                .await
                .map_err(|(what, cause)| DiskError::new(what, &path, cause)),
            Way::Thread => {
                self.ring.hand_to_thread(batch);
                return;
            }
            Way::Broken(error) => Err(error.clone()),
        };
        if let Err(error) = &result {
            log.way = Way::Broken(error.clone());
        }
        let Batch { file, offset, bytes, sync } = batch;
        self.ring.results.hand_over(Done::Commit { file, offset, bytes, sync, result });
    }

    /// Opens a log file or finds out how else to write to it.
    async fn open(&mut self, file: LogFile) {
        let path = self.path(file);
        let way = if self.ring.direct {
            match Handles::open(&self.ring.root.join(&path)).await {
                Ok(handles) => Way::Direct(Box::new(handles)),
                Err(error) if takes_no_direct_writes(&error) => Way::Thread,
                Err(error) => Way::Broken(DiskError::new("open", &path, error)),
            }
        } else {
            Way::Thread
        };
        self.logs.push(Log { file, way });
    }

    async fn close(&mut self, file: LogFile) {
        let Some(at) = self.at(file) else { return };
        match self.logs.remove(at).way {
            Way::Direct(handles) => {
                // Whatever had to be durable was synced: there is nothing left to be told.
                drop(handles.durable.close().await);
                drop(handles.plain.close().await);
            }
            Way::Thread | Way::Broken(_) => {}
        }
    }
}

/// What failed, and why.
type Failure = (&'static str, io::Error);

impl Handles {
    async fn open(place: &Path) -> io::Result<Self> {
        let plain = open_direct(place, 0).await?;
        let durable = open_direct(place, libc::O_DSYNC).await?;
        // Whatever an earlier life of the file left in a cache is not ours to confirm.
        Ok(Self { plain, durable, unsynced: true })
    }

    async fn write(&mut self, batch: &Batch, idle: &mut Idle) -> Result<(), Failure> {
        let at_once = batch.sync && !self.unsynced && batch.bytes.len() <= PIECE_BYTES;
        let file = if at_once { &self.durable } else { &self.plain };
        // Before the first octet: a write that fails may have written some.
        self.unsynced |= !at_once;
        let mut offset = batch.offset;
        for group in batch.bytes.chunks(PIECE_BYTES * PIECES_MAX) {
            write_group(file, offset, group, idle).await.map_err(|error| ("write", error))?;
            offset = offset.saturating_add(length(group));
        }
        if batch.sync && !at_once {
            self.plain.fdatasync().await.map_err(|error| ("sync", io_error(error)))?;
            self.unsynced = false;
        }
        Ok(())
    }
}

async fn open_direct(place: &Path, flags: i32) -> io::Result<DmaFile> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_NOFOLLOW | flags);
    options.dma_open(place).await.map_err(io_error)
}

/// What the system answers to `O_DIRECT` where it is not supported.
fn takes_no_direct_writes(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP))
}

/// Writes up to [`PIECES_MAX`] pieces at once and waits for all of them, whatever the first says: none
/// may still be on its way when the file is given up or written to again.
async fn write_group(file: &DmaFile, offset: u64, bytes: &[u8], idle: &mut Idle) -> io::Result<()> {
    let mut pieces = Vec::with_capacity(PIECES_MAX);
    let mut offset = offset;
    for piece in bytes.chunks(PIECE_BYTES) {
        let buffer = idle.copy_of(file, piece);
        pieces.push(Some(Box::pin(write_piece(file, offset, buffer))));
        offset = offset.saturating_add(length(piece));
    }
    let mut result = Ok(());
    poll_fn(|context| {
        let mut left = false;
        for place in &mut pieces {
            let Some(piece) = place else { continue };
            match piece.as_mut().poll(context) {
                Poll::Pending => left = true,
                Poll::Ready((buffer, written)) => {
                    *place = None;
                    idle.keep(buffer);
                    if result.is_ok() {
                        result = written;
                    }
                }
            }
        }
        if left { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    result
}

async fn write_piece(
    file: &DmaFile,
    offset: u64,
    buffer: Rc<DmaBuffer>,
) -> (Rc<DmaBuffer>, io::Result<()>) {
    let written = file.write_rc_at(Rc::clone(&buffer), offset).await;
    let result = match written {
        Ok(count) if count == buffer.len() => Ok(()),
        Ok(count) => {
            let reason = format!("{count} of {} octets were written", buffer.len());
            Err(io::Error::new(io::ErrorKind::WriteZero, reason))
        }
        Err(error) => Err(io_error(error)),
    };
    (buffer, result)
}

/// The system's error by its number: the executor's own conversion keeps only its text.
fn io_error(error: GlommioError<()>) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => error.into(),
    }
}

/// Buffers between two writes. A buffer cannot grow, so one is used again for the same length only: the
/// small batches of a steady load. What does not fit in here is given back to the allocator.
#[derive(Default)]
struct Idle {
    buffers: VecDeque<DmaBuffer>,
}

impl Idle {
    fn copy_of(&mut self, file: &DmaFile, bytes: &[u8]) -> Rc<DmaBuffer> {
        let found = self.buffers.iter().position(|buffer| buffer.len() == bytes.len());
        let mut buffer = found
            .and_then(|at| self.buffers.remove(at))
            .unwrap_or_else(|| file.alloc_dma_buffer(bytes.len()));
        buffer.as_bytes_mut().copy_from_slice(bytes);
        Rc::new(buffer)
    }

    fn keep(&mut self, buffer: Rc<DmaBuffer>) {
        // Somebody else's only if the executor still has it, which it has not after the result.
        if let Ok(buffer) = Rc::try_unwrap(buffer) {
            if self.buffers.len() == IDLE_BUFFERS_MAX {
                self.buffers.pop_front();
            }
            self.buffers.push_back(buffer);
        }
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
