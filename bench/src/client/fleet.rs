//! All connections of a process and the loop that drives them: only those that have something to
//! do get a turn. Imports `member`, `broker`, rustix.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::process::{Resource, Rlimit};
use rustix::time::Timespec;

use super::broker::Broker;
use super::error::ClientError;
use super::member::{Context, Counts, Load, Member, Wake};
use super::tally::{Dispatch, Receipts};
use crate::clock::{Clock, SECOND_NS};
use crate::director::Moment;
use crate::error::PerfError;
use crate::options::transport::TransportOptions;
use crate::pace::Pace;
use crate::process::Usage;
use crate::verify::Verifier;

/// Octets of the read buffer, besides a whole body and the longest topic.
const SCRATCH_BYTES: usize = 256 * 1024;
const EVENTS_MAX: usize = 1024;
/// How late what is looked at from outside may be noticed.
const LOOK_NS: u64 = 1_000_000;
/// Files besides connections.
const FILES_SPARE: u64 = 64;

/// What a caller says after looking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Enough.
    Done,
    /// Look again, at this time at the latest.
    Again(u64),
}

/// How fast connections are opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ramp {
    /// Connections that wait for an answer, at most.
    pub(crate) in_flight: usize,
    /// Connections per second.
    pub(crate) rate: Option<u64>,
}

impl Ramp {
    /// What the options say.
    pub(crate) fn of(options: &TransportOptions) -> Self {
        Self { in_flight: options.connecting.into(), rate: options.connect_rate }
    }
}

/// Where and how a fleet connects.
pub(crate) struct Harbour<M: Member> {
    /// What all connections have in common.
    pub(crate) manners: M::Manners,
    /// Where to.
    pub(crate) broker: Broker,
    /// Silence after which waiting ends.
    pub(crate) silence_ns: u64,
}

/// One per run, on one thread.
pub(crate) struct Fleet<M: Member> {
    /// Where and how.
    pub(crate) harbour: Harbour<M>,
    epoll: OwnedFd,
    /// All connections ever opened and not truncated, by number.
    pub(crate) connections: Vec<M>,
    /// Numbers of connections that have left since somebody has looked.
    pub(crate) closed: Vec<usize>,
    /// What they count together.
    pub(crate) load: Load,
    /// The time.
    pub(crate) clock: Clock,
    /// Goes on when a connection fails, and keeps the first failure.
    pub(crate) is_tolerant: bool,
    /// The first failure of a tolerant fleet.
    pub(crate) failure: Option<ClientError>,
    /// Never sleep.
    pub(crate) is_spinning: bool,
    ready: Vec<usize>,
    turning: Vec<usize>,
    /// Publishers that wait for subscribers, in the order in which they may go on.
    starved: VecDeque<usize>,
    timers: BinaryHeap<Reverse<(u64, usize)>>,
    scratch: Vec<u8>,
    opened_total: usize,
}

impl<M: Member> Fleet<M> {
    /// No connection yet.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn new(harbour: Harbour<M>, verifier: Verifier) -> Result<Self, PerfError> {
        let epoll = epoll::create(CreateFlags::CLOEXEC);
        Ok(Self {
            harbour,
            epoll: epoll.map_err(PerfError::system("creating an epoll instance"))?,
            connections: Vec::new(),
            closed: Vec::new(),
            load: Load {
                dispatch: Dispatch::new(),
                receipts: Receipts::new(verifier),
                counts: Counts::default(),
            },
            clock: Clock::start(),
            is_tolerant: false,
            failure: None,
            is_spinning: false,
            ready: Vec::new(),
            turning: Vec::new(),
            starved: VecDeque::new(),
            timers: BinaryHeap::new(),
            scratch: vec![0; SCRATCH_BYTES],
            opened_total: 0,
        })
    }

    /// Has room to read messages with such bodies.
    pub(crate) fn make_room(&mut self, body_bytes: usize) {
        let packet_bytes = body_bytes.saturating_add(usize::from(u16::MAX));
        let wanted = SCRATCH_BYTES.saturating_add(packet_bytes);
        if self.scratch.len() < wanted {
            self.scratch.resize(wanted, 0);
        }
    }

    /// Opens connections until so many more are open and subscribed.
    ///
    /// # Errors
    /// The first that fails; silence.
    pub(crate) fn open_all(
        &mut self,
        count: usize,
        ramp: Ramp,
        mut make: impl FnMut(usize) -> M::Spec,
    ) -> Result<(), ClientError> {
        self.raise_files(count)?;
        let wide = u64::try_from(count).unwrap_or(u64::MAX);
        let in_flight = u64::try_from(ramp.in_flight).unwrap_or(u64::MAX);
        let before = self.load.counts.opened.saturating_add(self.load.counts.failed);
        let mut pace = ramp.rate.map(|rate| Pace::new(self.clock.now_ns(), rate, 1, 0));
        let mut started = 0;
        self.wait_for("connecting", |fleet, now_ns| {
            let answered = fleet.load.counts.opened.saturating_add(fleet.load.counts.failed);
            let answered = answered.saturating_sub(before);
            while started < wide && started.saturating_sub(answered) < in_flight {
                if pace.as_ref().is_some_and(|pace| pace.due(now_ns) == 0) {
                    break;
                }
                if let Some(pace) = &mut pace {
                    pace.take(1);
                }
                fleet.open(make(usize::try_from(started).unwrap_or(0)))?;
                started = started.saturating_add(1);
            }
            let next_ns = pace.as_ref().map_or(u64::MAX, |pace| pace.time_of(0));
            let next_ns = next_ns.min(now_ns.saturating_add(LOOK_NS));
            Ok(if answered == wide { Look::Done } else { Look::Again(next_ns) })
        })
    }

    /// Opens a connection and does not wait for it.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn open(&mut self, spec: M::Spec) -> Result<(), ClientError> {
        let number = self.connections.len();
        let connection = self.dial(spec, number)?;
        self.connections.push(connection);
        Ok(())
    }

    /// Opens a connection in place of another one, which is dropped.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn reopen(&mut self, number: usize, spec: M::Spec) -> Result<(), ClientError> {
        let connection = self.dial(spec, number)?;
        if let Some(place) = self.connections.get_mut(number) {
            *place = connection;
        }
        Ok(())
    }

    fn dial(&mut self, spec: M::Spec, number: usize) -> Result<M, ClientError> {
        let Harbour { manners, broker, .. } = &self.harbour;
        let socket = broker.dial(self.opened_total)?;
        self.opened_total = self.opened_total.wrapping_add(1);
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let data = EventData::new_u64(u64::try_from(number).unwrap_or(u64::MAX));
        epoll::add(&self.epoll, socket.as_fd(), data, flags)
            .map_err(|error| ClientError::Io(error.into()))?;
        Ok(M::begin(socket, spec, *manners, broker))
    }

    /// Each connection is a file, and the usual limit is 1024.
    fn raise_files(&self, count: usize) -> Result<(), ClientError> {
        let files = self.connections.len().saturating_add(count);
        let files = u64::try_from(files).unwrap_or(u64::MAX).saturating_add(FILES_SPARE);
        let limit = rustix::process::getrlimit(Resource::Nofile);
        if limit.current.is_none_or(|current| current >= files) {
            return Ok(());
        }
        // As far as the hard limit goes; beyond it the system refuses a socket and says why.
        let current = limit.maximum.map_or(files, |maximum| maximum.min(files));
        let raised = Rlimit { current: Some(current), maximum: limit.maximum };
        rustix::process::setrlimit(Resource::Nofile, raised)
            .map_err(|error| ClientError::Io(error.into()))
    }

    /// Gives a connection a turn.
    pub(crate) fn queue(&mut self, number: usize) {
        if let Some(connection) = self.connections.get_mut(number)
            && !std::mem::replace(&mut connection.seat().is_queued, true)
        {
            self.ready.push(number);
        }
    }

    /// Has all connections from `first` on leave, waits until the broker has closed them, and
    /// forgets them.
    ///
    /// # Errors
    /// Silence: the broker does not close them.
    pub(crate) fn leave_all(&mut self, first: usize) -> Result<(), ClientError> {
        for number in first..self.connections.len() {
            if let Some(connection) = self.connections.get_mut(number) {
                connection.leave();
            }
            self.queue(number);
        }
        let result = self.wait_for("disconnecting", |fleet, now_ns| {
            let left = fleet.connections.get(first..).unwrap_or_default();
            let is_over = left.iter().rev().all(Member::is_closed);
            Ok(if is_over { Look::Done } else { Look::Again(now_ns.saturating_add(LOOK_NS)) })
        });
        self.connections.truncate(first);
        self.closed.clear();
        result
    }

    /// Drives the connections until `look` has seen enough, or nothing moves.
    ///
    /// # Errors
    /// That of a connection; `Silence`.
    pub(crate) fn wait_for(
        &mut self,
        doing: &'static str,
        mut look: impl FnMut(&mut Self, u64) -> Result<Look, ClientError>,
    ) -> Result<(), ClientError> {
        let (mut last, mut last_ns) = (0, self.clock.now_ns());
        self.drive(|fleet, now_ns| {
            let Load { dispatch, receipts, counts } = &fleet.load;
            let moved = counts.progress().saturating_add(counts.failed);
            let moved = moved.saturating_add(dispatch.published).saturating_add(receipts.count);
            let moved = moved.saturating_add(dispatch.confirmed);
            if moved != last {
                (last, last_ns) = (moved, now_ns);
            } else if now_ns.saturating_sub(last_ns) > fleet.harbour.silence_ns {
                return Err(ClientError::Silence(doing));
            }
            look(fleet, now_ns)
        })
    }

    /// Drives the connections until `look` has seen enough.
    ///
    /// # Errors
    /// That of a connection, unless the fleet is tolerant.
    pub(crate) fn drive(
        &mut self,
        mut look: impl FnMut(&mut Self, u64) -> Result<Look, ClientError>,
    ) -> Result<(), ClientError> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        loop {
            let now_ns = self.clock.now_ns();
            match look(self, now_ns)? {
                Look::Done => return Ok(()),
                Look::Again(wake_ns) => self.turn(wake_ns, &mut events)?,
            }
        }
    }

    fn turn(&mut self, wake_ns: u64, events: &mut Vec<Event>) -> Result<(), ClientError> {
        let now_ns = self.clock.now_ns();
        let timer_ns = self.timers.peek().map_or(u64::MAX, |Reverse((time_ns, _))| *time_ns);
        let is_busy = self.is_spinning || !self.ready.is_empty();
        let sleep_ns =
            if is_busy { 0 } else { wake_ns.min(timer_ns).saturating_sub(now_ns).min(SECOND_NS) };
        self.wait(sleep_ns, events)?;
        let now_ns = self.clock.now_ns();
        while let Some(&Reverse((time_ns, number))) = self.timers.peek()
            && time_ns <= now_ns
        {
            self.timers.pop();
            if let Some(connection) = self.connections.get_mut(number)
                && connection.seat().timer_ns == time_ns
            {
                connection.seat().timer_ns = u64::MAX;
                self.queue(number);
            }
        }
        if self.load.dispatch.room > 0 {
            while let Some(number) = self.starved.pop_front() {
                if let Some(connection) = self.connections.get_mut(number) {
                    connection.seat().is_starved = false;
                }
                self.queue(number);
            }
        }
        let mut turning = std::mem::take(&mut self.turning);
        std::mem::swap(&mut turning, &mut self.ready);
        for number in turning.drain(..) {
            self.connection_turn(number)?;
        }
        self.turning = turning;
        Ok(())
    }

    fn connection_turn(&mut self, number: usize) -> Result<(), ClientError> {
        let mut context =
            Context { clock: self.clock, scratch: &mut self.scratch, load: &mut self.load };
        let Some(connection) = self.connections.get_mut(number) else { return Ok(()) };
        connection.seat().is_queued = false;
        let was_closed = connection.is_closed();
        match connection.turn(&mut context) {
            Ok(Wake::Now) => self.queue(number),
            Ok(Wake::At(time_ns)) if time_ns < connection.seat().timer_ns => {
                connection.seat().timer_ns = time_ns;
                self.timers.push(Reverse((time_ns, number)));
            }
            Ok(Wake::At(_) | Wake::OnEvent) => {}
            Ok(Wake::OnRoom) => {
                if !std::mem::replace(&mut connection.seat().is_starved, true) {
                    self.starved.push_back(number);
                }
            }
            Err(error) if self.is_tolerant => {
                connection.give_up();
                self.load.counts.failed = self.load.counts.failed.saturating_add(1);
                self.failure.get_or_insert(error);
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        let is_closed = self.connections.get(number).is_some_and(Member::is_closed);
        if is_closed && !was_closed {
            self.closed.push(number);
        }
        Ok(())
    }

    fn wait(&mut self, sleep_ns: u64, events: &mut Vec<Event>) -> Result<(), ClientError> {
        let timeout = Timespec {
            tv_sec: (sleep_ns / SECOND_NS).try_into().unwrap_or(0),
            tv_nsec: (sleep_ns % SECOND_NS).try_into().unwrap_or(0),
        };
        events.clear();
        let room = rustix::buffer::spare_capacity(events);
        match epoll::wait(&self.epoll, room, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(ClientError::Io(io::Error::from(error))),
        }
        for event in events.iter() {
            let (flags, data) = (event.flags, event.data);
            let number = usize::try_from(data.u64()).unwrap_or(usize::MAX);
            let Some(connection) = self.connections.get_mut(number) else { continue };
            connection.seat().socket.on_event(flags);
            self.queue(number);
        }
        Ok(())
    }

    /// What broker and generator have used, and what has been counted.
    pub(crate) fn moment(&self, broker_pid: Option<u32>) -> Moment {
        Moment {
            time_ns: self.clock.now_ns(),
            published: self.load.dispatch.published,
            confirmed: self.load.dispatch.confirmed,
            received: self.load.receipts.count,
            broker: broker_pid.and_then(|pid| Usage::of(pid).ok()),
            generator: Usage::of(std::process::id()).ok(),
        }
    }
}
