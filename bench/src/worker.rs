//! The loop of a thread: epoll, one turn for each connection that has something to do. Imports
//! `client`, rustix.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::Timespec;

use crate::client::ClientError;
use crate::client::amqp091::consumer::Consumer;
use crate::client::amqp091::producer::Producer;
use crate::client::tally::{Dispatch, Receipts};
use crate::clock::{Clock, SECOND_NS};

/// Octets of the read buffer: two frames of the largest size and their overhead.
const SCRATCH_BYTES: usize = 256 * 1024 + 64;
const EVENTS_MAX: usize = 256;
/// The longest sleep: how late a thread learns what another one has decided.
const SLEEP_NS_MAX: u64 = 5_000_000;

/// When a connection may have something to do again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wake {
    /// At once.
    Now,
    /// At this time, or when epoll says so.
    At(u64),
    /// When epoll says so.
    OnEvent,
}

/// What threads tell each other. Plain numbers: each is written by one thread, and a late look
/// does no harm.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Messages stamped.
    pub(crate) published: AtomicU64,
    /// Messages confirmed.
    pub(crate) confirmed: AtomicU64,
    /// Deliveries.
    pub(crate) received: AtomicU64,
    /// Producers may publish.
    pub(crate) is_open: AtomicBool,
    /// Producers have written everything and will write no more.
    pub(crate) is_flushed: AtomicBool,
    /// Threads should end.
    pub(crate) is_over: AtomicBool,
    /// Start of the measured window.
    pub(crate) window_start_ns: AtomicU64,
    /// End of the measured window.
    pub(crate) window_end_ns: AtomicU64,
}

impl Shared {
    /// Before a run.
    pub(crate) const fn new() -> Self {
        Self {
            published: AtomicU64::new(0),
            confirmed: AtomicU64::new(0),
            received: AtomicU64::new(0),
            is_open: AtomicBool::new(true),
            is_flushed: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            window_start_ns: AtomicU64::new(u64::MAX),
            window_end_ns: AtomicU64::new(u64::MAX),
        }
    }
}

/// Decides when a run is over; only the first thread has one.
pub(crate) trait Conductor {
    /// Looks at the counters; tells when to look again.
    fn on_turn(&mut self, now_ns: u64, shared: &Shared) -> u64;
}

/// The conductor of other threads: they are told by the first one.
#[derive(Debug)]
pub(crate) struct Follow;

impl Conductor for Follow {
    fn on_turn(&mut self, now_ns: u64, _: &Shared) -> u64 {
        now_ns.saturating_add(SLEEP_NS_MAX)
    }
}

/// One per thread.
#[derive(Debug)]
pub(crate) struct Worker<'a> {
    epoll: OwnedFd,
    /// The connections that publish.
    pub(crate) producers: Vec<Producer>,
    /// The connections that consume.
    pub(crate) consumers: Vec<Consumer>,
    /// What producers share.
    pub(crate) dispatch: Dispatch,
    /// What consumers share.
    pub(crate) receipts: Receipts,
    shared: &'a Shared,
    clock: Clock,
    is_spinning: bool,
    backlog_max: u64,
    /// Deliveries that a message causes.
    copies: u64,
}

/// Numbers of a plan that a worker needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Habits {
    /// Never sleep.
    pub(crate) is_spinning: bool,
    /// Messages on their way that stop producers.
    pub(crate) backlog_max: u64,
    /// Deliveries that a message causes.
    pub(crate) copies: u64,
}

impl<'a> Worker<'a> {
    /// A thread without connections.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn new(
        dispatch: Dispatch,
        receipts: Receipts,
        shared: &'a Shared,
        clock: Clock,
        habits: Habits,
    ) -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            producers: Vec::new(),
            consumers: Vec::new(),
            dispatch,
            receipts,
            shared,
            clock,
            is_spinning: habits.is_spinning,
            backlog_max: habits.backlog_max,
            copies: habits.copies.max(1),
        })
    }

    /// Runs until the run is over or a connection fails.
    ///
    /// # Errors
    /// The failure; what was counted stays.
    pub(crate) fn run(&mut self, conductor: &mut impl Conductor) -> Result<(), ClientError> {
        self.register()?;
        let mut events = Vec::with_capacity(EVENTS_MAX);
        let mut scratch = vec![0; SCRATCH_BYTES];
        while !self.shared.is_over.load(Ordering::Acquire) {
            self.prepare();
            let mut wake_ns = self.clock.now_ns().saturating_add(SLEEP_NS_MAX);
            for index in 0..self.consumers.len() {
                wake_ns = wake_ns.min(self.consumer_turn(index, &mut scratch)?);
            }
            for index in 0..self.producers.len() {
                wake_ns = wake_ns.min(self.producer_turn(index, &mut scratch)?);
            }
            self.publish_counters();
            let now_ns = self.clock.now_ns();
            wake_ns = wake_ns.min(conductor.on_turn(now_ns, self.shared));
            let sleep_ns = if self.is_spinning { 0 } else { wake_ns.saturating_sub(now_ns) };
            self.wait(&mut events, sleep_ns)?;
        }
        Ok(())
    }

    /// Acknowledges what consumers still hold, so that queues are empty afterwards.
    ///
    /// # Errors
    /// A connection is of no use any more.
    pub(crate) fn acknowledge_rest(&mut self) -> Result<(), ClientError> {
        for consumer in &mut self.consumers {
            consumer.acknowledge_rest()?;
        }
        Ok(())
    }

    fn register(&self) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let consumers = self.consumers.iter().map(|consumer| consumer.socket.as_fd());
        let producers = self.producers.iter().map(|producer| producer.socket.as_fd());
        for (token, socket) in (0..).zip(consumers.chain(producers)) {
            epoll::add(&self.epoll, socket, EventData::new_u64(token), flags)?;
        }
        Ok(())
    }

    /// Looks at what other threads have written.
    fn prepare(&mut self) {
        let start_ns = self.shared.window_start_ns.load(Ordering::Relaxed);
        let end_ns = self.shared.window_end_ns.load(Ordering::Relaxed);
        self.dispatch.window = start_ns..end_ns;
        self.receipts.window = start_ns..end_ns;
        self.dispatch.is_open = self.shared.is_open.load(Ordering::Relaxed);
        if self.backlog_max < u64::MAX {
            let received = self.shared.received.load(Ordering::Relaxed);
            let arrived = received.checked_div(self.copies).unwrap_or(0);
            let on_the_way = self.dispatch.published.saturating_sub(arrived);
            self.dispatch.room = self.backlog_max.saturating_sub(on_the_way);
        }
    }

    fn publish_counters(&self) {
        if !self.consumers.is_empty() {
            self.shared.received.store(self.receipts.count, Ordering::Relaxed);
        }
        if self.producers.is_empty() {
            return;
        }
        self.shared.published.store(self.dispatch.published, Ordering::Relaxed);
        self.shared.confirmed.store(self.dispatch.confirmed, Ordering::Relaxed);
        let is_open = self.dispatch.is_open;
        let is_flushed = self.producers.iter().all(|producer| producer.is_done(is_open));
        // Release: who sees this sees the last of `published`, too.
        self.shared.is_flushed.store(is_flushed, Ordering::Release);
    }

    fn consumer_turn(&mut self, index: usize, scratch: &mut [u8]) -> Result<u64, ClientError> {
        let Some(consumer) = self.consumers.get_mut(index) else { return Ok(u64::MAX) };
        let can_write = consumer.has_output() && consumer.socket.is_writable;
        if consumer.socket.is_readable || can_write {
            return Ok(wake_ns(consumer.turn(&self.clock, scratch, &mut self.receipts)?));
        }
        Ok(u64::MAX)
    }

    fn producer_turn(&mut self, index: usize, scratch: &mut [u8]) -> Result<u64, ClientError> {
        let Some(producer) = self.producers.get_mut(index) else { return Ok(u64::MAX) };
        if producer.socket.is_readable || producer.socket.is_writable {
            return Ok(wake_ns(producer.turn(&self.clock, scratch, &mut self.dispatch)?));
        }
        Ok(u64::MAX)
    }

    fn wait(&mut self, events: &mut Vec<Event>, sleep_ns: u64) -> io::Result<()> {
        let timeout = Timespec {
            tv_sec: (sleep_ns / SECOND_NS).try_into().unwrap_or(0),
            tv_nsec: (sleep_ns % SECOND_NS).try_into().unwrap_or(0),
        };
        events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in events.iter() {
            let (flags, data) = (event.flags, event.data);
            let index = usize::try_from(data.u64()).unwrap_or(usize::MAX);
            let producer = index.checked_sub(self.consumers.len());
            let socket = match producer {
                None => self.consumers.get_mut(index).map(|consumer| &mut consumer.socket),
                Some(index) => self.producers.get_mut(index).map(|producer| &mut producer.socket),
            };
            let Some(socket) = socket else { continue };
            socket.on_event(flags);
        }
        Ok(())
    }
}

const fn wake_ns(wake: Wake) -> u64 {
    match wake {
        Wake::Now => 0,
        Wake::At(time_ns) => time_ns,
        Wake::OnEvent => u64::MAX,
    }
}
