//! All connections of a process and the loop that drives them: only those that have something to
//! do get a turn. Imports `connection`, `uri`, rustix.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use rustix::process::{Resource, Rlimit};
use rustix::time::Timespec;

use super::Version;
use super::connection::{Connection, Context, Load, Stage, Task, Wake};
use super::packet::{self, Connect};
use crate::client::ClientError;
use crate::client::socket::Socket;
use crate::client::tally::{Dispatch, Receipts};
use crate::client::uri::Uri;
use crate::clock::{Clock, SECOND_NS};
use crate::director::Moment;
use crate::error::PerfError;
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

/// How a connection is to be opened.
#[derive(Debug)]
pub(crate) struct Spec {
    /// Client identifier.
    pub(crate) client_id: String,
    /// Clean session, clean start.
    pub(crate) is_clean: bool,
    /// How long the session outlives the connection, in seconds (5.0).
    pub(crate) expiry_s: u32,
    /// Keep alive in seconds; 0 for none.
    pub(crate) keep_alive_s: u16,
    /// What is to be done then.
    pub(crate) task: Task,
}

impl Spec {
    /// A connection with a session that ends with it, and nothing to do.
    pub(crate) fn idle(client_id: String) -> Self {
        Self { client_id, is_clean: true, expiry_s: 0, keep_alive_s: 0, task: Task::default() }
    }
}

/// How fast connections are opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ramp {
    /// Connections that wait for an answer, at most.
    pub(crate) in_flight: usize,
    /// Connections per second.
    pub(crate) rate: Option<u64>,
}

/// Where and how a fleet connects.
#[derive(Debug)]
pub(crate) struct Harbour {
    /// What is spoken.
    pub(crate) version: Version,
    /// Address and login.
    pub(crate) uri: Uri,
    /// Local addresses to connect from, in turn; none for the system's choice.
    pub(crate) from: Vec<IpAddr>,
    /// Silence after which waiting ends.
    pub(crate) silence_ns: u64,
}

/// One per run, on one thread.
#[derive(Debug)]
pub(crate) struct Fleet {
    harbour: Harbour,
    address: SocketAddr,
    epoll: OwnedFd,
    /// All connections ever opened and not truncated, by number.
    pub(crate) connections: Vec<Connection>,
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

impl Fleet {
    /// No connection yet.
    ///
    /// # Errors
    /// No such host; the system's.
    pub(crate) fn new(harbour: Harbour, verifier: Verifier) -> Result<Self, PerfError> {
        let place = (harbour.uri.host.as_str(), harbour.uri.port);
        let address = place.to_socket_addrs().map_err(PerfError::system("looking up the host"))?;
        let address = { address }
            .next()
            .ok_or_else(|| PerfError::Settings(format!("{}: no such host", harbour.uri.host)))?;
        let epoll = epoll::create(CreateFlags::CLOEXEC);
        Ok(Self {
            harbour,
            address,
            epoll: epoll.map_err(PerfError::system("creating an epoll instance"))?,
            connections: Vec::new(),
            closed: Vec::new(),
            load: Load {
                dispatch: Dispatch::new(),
                receipts: Receipts::new(verifier),
                counts: super::connection::Counts::default(),
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

    /// What is spoken.
    pub(crate) const fn version(&self) -> Version {
        self.harbour.version
    }

    /// Opens connections until so many more are open and subscribed.
    ///
    /// # Errors
    /// The first that fails; silence.
    pub(crate) fn open_all(
        &mut self,
        count: usize,
        ramp: Ramp,
        mut make: impl FnMut(usize) -> Spec,
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
    pub(crate) fn open(&mut self, spec: Spec) -> Result<(), ClientError> {
        let number = self.connections.len();
        let connection = self.dial(spec)?;
        self.register(&connection, number)?;
        self.connections.push(connection);
        Ok(())
    }

    /// Opens a connection in place of another one, which is dropped.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn reopen(&mut self, number: usize, spec: Spec) -> Result<(), ClientError> {
        let connection = self.dial(spec)?;
        self.register(&connection, number)?;
        if let Some(place) = self.connections.get_mut(number) {
            *place = connection;
        }
        Ok(())
    }

    fn register(&self, connection: &Connection, number: usize) -> Result<(), ClientError> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let data = EventData::new_u64(u64::try_from(number).unwrap_or(u64::MAX));
        epoll::add(&self.epoll, connection.socket.as_fd(), data, flags)
            .map_err(|error| ClientError::Io(error.into()))
    }

    fn dial(&mut self, spec: Spec) -> Result<Connection, ClientError> {
        let stream = self.connect().map_err(|error| ClientError::Io(error.into()))?;
        let mut octets = Vec::new();
        let connect = Connect {
            version: self.harbour.version,
            client_id: &spec.client_id,
            login: (&self.harbour.uri.user, &self.harbour.uri.password),
            is_clean: spec.is_clean,
            expiry_s: spec.expiry_s,
            keep_alive_s: spec.keep_alive_s,
        };
        packet::put_connect(&mut octets, &connect);
        let mut socket = Socket::new(stream, Vec::new())?;
        // Not before epoll says so: the connection is still on its way.
        (socket.is_readable, socket.is_writable) = (false, false);
        self.opened_total = self.opened_total.wrapping_add(1);
        Ok(Connection::new(socket, octets, spec.task))
    }

    fn connect(&self) -> rustix::io::Result<TcpStream> {
        let family =
            if self.address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket =
            rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        let turn = self.opened_total.checked_rem(self.harbour.from.len());
        if let Some(from) = turn.and_then(|turn| self.harbour.from.get(turn)) {
            rustix::net::bind(&socket, &SocketAddr::new(*from, 0))?;
        }
        match rustix::net::connect(&socket, &self.address) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(TcpStream::from(socket)),
            Err(error) => Err(error),
        }
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
            && !connection.is_queued
        {
            connection.is_queued = true;
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
            let is_over = left.iter().rev().all(|left| left.stage == Stage::Closed);
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
                && connection.timer_ns == time_ns
            {
                connection.timer_ns = u64::MAX;
                self.queue(number);
            }
        }
        if self.load.dispatch.room > 0 {
            while let Some(number) = self.starved.pop_front() {
                if let Some(connection) = self.connections.get_mut(number) {
                    connection.is_starved = false;
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
        let mut context = Context {
            version: self.harbour.version,
            clock: self.clock,
            scratch: &mut self.scratch,
            load: &mut self.load,
        };
        let Some(connection) = self.connections.get_mut(number) else { return Ok(()) };
        connection.is_queued = false;
        let was_closed = connection.stage == Stage::Closed;
        match connection.turn(&mut context) {
            Ok(Wake::Now) => self.queue(number),
            Ok(Wake::At(time_ns)) if time_ns < connection.timer_ns => {
                connection.timer_ns = time_ns;
                self.timers.push(Reverse((time_ns, number)));
            }
            Ok(Wake::At(_) | Wake::OnEvent) => {}
            Ok(Wake::OnRoom) if !connection.is_starved => {
                connection.is_starved = true;
                self.starved.push_back(number);
            }
            Ok(Wake::OnRoom) => {}
            Err(error) if self.is_tolerant => {
                connection.stage = Stage::Closed;
                self.load.counts.failed = self.load.counts.failed.saturating_add(1);
                self.failure.get_or_insert(error);
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        let is_closed =
            self.connections.get(number).is_some_and(|left| left.stage == Stage::Closed);
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
            connection.socket.on_event(flags);
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
