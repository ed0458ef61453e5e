//! One shard of the running node: the broker core with what it needs around it, the wakers of its
//! connections, its deadlines and its lanes. Everything that runs on a shard holds it by `Rc`.
//!
//! May import `broker`, `protocol`, `config`, `ringmq_shards`.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::task::{Context as TaskContext, Poll, Waker};

use ringmq_shards::log::{Done, Driver};
use ringmq_shards::tls::TlsServer;
use ringmq_shards::{Bound, Chunks, Origin, Shard, Socket, Timers};

use crate::broker::{Broker, Catalogue, Envelope, Outside, ShardRemains};
use crate::command::Now;
use crate::config::Config;
use crate::control::{Answer, Asked, Question};
use crate::ids::{ConnectionId, ShardId};
use crate::loads::{ListenerId, Loads};
use crate::protocol::{ListenerSettings, Logins};
use crate::reports::{Reports, Told};
use crate::transport::{Incoming, Introduced, SecuredParts};

/// What crosses a lane.
#[derive(Debug)]
pub(crate) enum Crossing {
    /// What one broker core says to another.
    Broker(Envelope),
    /// A connection that another shard accepted, to live here.
    Connection(Box<Arrival>),
    /// A connection that another thread accepted through a listener's place, and what was read of it.
    Begun(Socket, ListenerId, Vec<u8>),
    /// A socket to listen on here.
    Listen(Bound, ListenerId),
    /// How many connections the sender has through a listener.
    Load(ListenerId, u32),
    /// What the last run has left for this shard. Comes once, before all else.
    Restore(Arc<Catalogue>, Box<ShardRemains>),
    /// All shards have what the last run left: what is due may be done.
    Go,
    /// Certificates have changed: what listeners have from now on, by [`ListenerId`].
    Tls(Vec<Option<TlsServer>>),
    /// What the control thread wants to know or to have done here.
    Question(Question),
    /// Stop: close everything.
    Stop,
}

/// A connection that is to begin.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// It.
    pub(crate) socket: Socket,
    /// Through which it came.
    pub(crate) listener: ListenerId,
    /// When it was accepted, monotonic milliseconds.
    pub(crate) accepted_ms: u64,
    /// What a proxy has said of it.
    pub(crate) introduced: Option<Box<Introduced>>,
    /// Octets that came behind what the proxy has said: to be read before those of the socket, by
    /// whatever comes first in the connection.
    pub(crate) early: Vec<u8>,
    /// What its first shard has read and written already, if it lived on one before.
    pub(crate) moved: Option<Luggage>,
}

/// What a connection takes along to another shard, beside its socket.
#[derive(Debug, Default)]
pub(crate) struct Luggage {
    /// Read, and not taken by the session that was.
    pub(crate) unread: Vec<u8>,
    /// To be written before anything else.
    pub(crate) unsent: Vec<u8>,
    /// Of its WebSocket, if it has one.
    pub(crate) web: Option<Incoming>,
    /// Of its TLS, if it has any.
    pub(crate) secured: Option<SecuredParts>,
    /// Octets that its socket has brought and taken.
    pub(crate) octets: (u64, u64),
}

/// One per shard.
pub(crate) struct Hub {
    /// The machine.
    pub(crate) shard: Shard<Crossing>,
    /// The broker core. Never borrowed across an await.
    pub(crate) broker: RefCell<Broker>,
    /// The settings.
    pub(crate) config: Rc<Config>,
    /// Who may log in.
    pub(crate) logins: Rc<RefCell<Logins>>,
    /// Where connections come from.
    listeners: Vec<Rc<ListenerSettings>>,
    /// What they are secured with.
    tls: RefCell<Vec<Option<TlsServer>>>,
    /// How many there are, here and elsewhere.
    loads: RefCell<Loads>,
    /// Connections and listeners sent here that wait to be started.
    arrivals: RefCell<Vec<Crossing>>,
    stopping: Cell<bool>,
    going: Cell<bool>,
    /// Told when this shard has what the last run left.
    restored: mpsc::Sender<()>,
    seats: RefCell<Chunks<Seat>>,
    ticks: RefCell<Timers<ConnectionId>>,
    /// What carries out the storage's jobs.
    driver: Driver,
    /// Scratch, reused.
    ready: RefCell<Vec<ConnectionId>>,
    finished: RefCell<Vec<Done>>,
    /// What has gone through the sockets.
    pub(crate) octets: Octets,
    /// For the control thread, at the end of this turn.
    answers: RefCell<Vec<Answer>>,
    /// The same for those that wait for the end of something.
    asked: RefCell<Vec<(Outside, Answer)>>,
    /// Wakes the task that reads the lanes, the one that watches the clock, those that wait for the
    /// stop.
    lanes_waker: Cell<Option<Waker>>,
    clock_waker: Cell<Option<Waker>>,
    /// Wakes the task that looks at the sockets because another shard wants to know.
    look_waker: Cell<Option<Waker>>,
    stop_wakers: RefCell<Vec<Waker>>,
    clock_set_ms: Cell<u64>,
}

/// What a shard is told from outside.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The settings.
    pub(crate) config: Rc<Config>,
    /// Who may log in.
    pub(crate) logins: Logins,
    /// Where connections come from, by [`ListenerId`].
    pub(crate) listeners: Vec<Rc<ListenerSettings>>,
    /// What they are secured with.
    pub(crate) tls: Vec<Option<TlsServer>>,
}

/// Octets of all sockets of this shard, ever.
#[derive(Debug, Default)]
pub(crate) struct Octets {
    pub(crate) read: Cell<u64>,
    pub(crate) written: Cell<u64>,
}

/// How a connection's task is reached.
#[derive(Debug, Default)]
struct Seat {
    waker: Option<Waker>,
    /// Its deadline has passed.
    due: bool,
    /// The deadline that a timer stands for.
    tick_ms: Option<u64>,
    /// Somebody wants to know of it.
    asked: Option<Rc<Reports>>,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("shard", &self.shard).finish_non_exhaustive()
    }
}

impl Hub {
    /// A shard's hub around its broker core.
    pub(crate) fn new(
        shard: Shard<Crossing>,
        broker: Broker,
        settings: Settings,
        driver: Driver,
        restored: mpsc::Sender<()>,
    ) -> Rc<Self> {
        let Settings { config, logins, listeners, tls } = settings;
        let loads = Loads::new(shard.id(), shard.count(), listeners.len());
        Rc::new(Self {
            shard,
            broker: RefCell::new(broker),
            config,
            logins: Rc::new(RefCell::new(logins)),
            listeners,
            tls: RefCell::new(tls),
            loads: RefCell::new(loads),
            arrivals: RefCell::new(Vec::new()),
            stopping: Cell::new(false),
            going: Cell::new(false),
            restored,
            seats: RefCell::default(),
            ticks: RefCell::new(Timers::new()),
            driver,
            ready: RefCell::new(Vec::new()),
            finished: RefCell::new(Vec::new()),
            octets: Octets::default(),
            answers: RefCell::new(Vec::new()),
            asked: RefCell::new(Vec::new()),
            lanes_waker: Cell::new(None),
            clock_waker: Cell::new(None),
            look_waker: Cell::new(None),
            stop_wakers: RefCell::new(Vec::new()),
            clock_set_ms: Cell::new(u64::MAX),
        })
    }

    /// The time of this turn.
    pub(crate) fn now(&self) -> Now {
        let clock = self.shard.clock();
        Now { mono_ms: clock.now_ms(), wall_ms: clock.wall_ms() }
    }

    /// Whether the node is stopping.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Ends a turn of the loop: mail that has arrived is read (a busy shard never waits for a
    /// waker), deliveries are made, what goes to other shards is sent, connections with events
    /// are woken.
    pub(crate) fn end_turn(&self, now: Now) {
        let mesh = self.shard.mesh();
        let mut broker = self.broker.borrow_mut();
        let mut finished = self.finished.borrow_mut();
        self.driver.finished(&mut finished);
        for done in finished.drain(..) {
            broker.on_disk(done, now);
        }
        mesh.try_drain(|origin, crossing| self.read(&mut broker, origin, crossing, now));
        broker.end_turn(now);
        broker.flush_storage(now);
        broker.collect_jobs(|job| self.driver.begin(job));
        broker.collect(|to, envelope| mesh.send(to, Crossing::Broker(envelope)));
        for end in broker.take_outside() {
            let mut asked = self.asked.borrow_mut();
            if let Some(place) = asked.iter().position(|(waits, _)| *waits == end) {
                self.answers.borrow_mut().push(asked.swap_remove(place).1);
            }
        }
        // Behind what the questions made this shard say to the others.
        self.answers.borrow_mut().drain(..).for_each(Answer::send);
        let deadline = broker.next_deadline().filter(|_| self.going.get());
        let mut ready = self.ready.borrow_mut();
        broker.take_ready(&mut ready);
        let must_catch_up = broker.must_catch_up();
        drop(broker);
        if must_catch_up && let Some(waker) = self.look_waker.take() {
            waker.wake();
        }
        for connection in ready.drain(..) {
            self.wake(connection);
        }
        if let Some(deadline) = deadline {
            self.watch_until(deadline);
        }
    }

    /// Reads what other shards have said by now, so that a connection's input meets what was told
    /// before it came: a subscription that was made at another shard a moment earlier is known here.
    pub(crate) fn read_mail(&self, now: Now) {
        let mut broker = self.broker.borrow_mut();
        self.shard
            .mesh()
            .try_drain(|origin, crossing| self.read(&mut broker, origin, crossing, now));
    }

    fn read(&self, broker: &mut Broker, origin: Origin, crossing: Crossing, now: Now) {
        match crossing {
            Crossing::Broker(envelope) => {
                if let Origin::Shard(from) = origin {
                    broker.receive(from, envelope, now);
                }
            }
            arrival @ (Crossing::Connection(..) | Crossing::Begun(..) | Crossing::Listen(..)) => {
                self.arrivals.borrow_mut().push(arrival);
                if let Some(waker) = self.lanes_waker.take() {
                    waker.wake();
                }
            }
            Crossing::Load(listener, count) => {
                if let Origin::Shard(from) = origin {
                    self.loads.borrow_mut().heard(from, listener, count);
                }
            }
            Crossing::Restore(catalogue, remains) => {
                broker.restore_all(&catalogue, *remains, now);
                // Fails only when the main thread has given up.
                let _ = self.restored.send(());
            }
            Crossing::Go => {
                self.going.set(true);
                self.watch_until(now.mono_ms);
            }
            Crossing::Question(question) => {
                let mut asked = Asked { broker, hub: self, now };
                match question.put(&mut asked) {
                    (answer, None) => self.answers.borrow_mut().push(answer),
                    (answer, Some(end)) => self.asked.borrow_mut().push((end, answer)),
                }
            }
            Crossing::Tls(tls) => *self.tls.borrow_mut() = tls,
            Crossing::Stop => {
                self.stopping.set(true);
                self.stop_wakers.take().into_iter().for_each(Waker::wake);
                self.wake_all();
            }
        }
    }

    /// Connections that other shards accepted for this one, and listeners.
    pub(crate) fn take_arrivals(&self) -> Vec<Crossing> {
        std::mem::take(&mut self.arrivals.borrow_mut())
    }

    /// Resolves when mail may be there or a connection has arrived.
    pub(crate) async fn wait_for_mail(&self) {
        poll_fn(|context| {
            if !self.arrivals.borrow().is_empty() {
                return Poll::Ready(());
            }
            // Another task's turn may read the mail that brings a connection.
            self.lanes_waker.set(Some(context.waker().clone()));
            self.shard.mesh().poll_wait(context)
        })
        .await;
    }

    /// Says that this shard has dealt with what its sockets had received, to whoever wants to know:
    /// one task per shard. Connections that the look wakes have their turn before this task, and
    /// what they say to other shards goes before the answer.
    pub(crate) async fn catch_up(self: Rc<Self>) {
        loop {
            poll_fn(|context| {
                if self.broker.borrow_mut().begin_catching_up() {
                    return Poll::Ready(());
                }
                self.look_waker.set(Some(context.waker().clone()));
                Poll::Pending
            })
            .await;
            self.shard.after_look().await;
            let now = self.now();
            self.broker.borrow_mut().caught_up(now);
            self.end_turn(now);
        }
    }

    /// Ends a turn whenever the disk has done something: one task per shard.
    pub(crate) async fn watch_disk(self: Rc<Self>) {
        loop {
            poll_fn(|context| self.driver.poll_finished(context)).await;
            self.end_turn(self.now());
            if self.broker.borrow().storage_failure().is_some() {
                return;
            }
            self.shard.yield_if_needed().await;
        }
    }

    /// Writes everything that has to outlive the process; false: not within the time.
    pub(crate) async fn close_storage(&self, deadline_ms: u64) -> bool {
        self.broker.borrow_mut().close_storage();
        loop {
            self.end_turn(self.now());
            if self.broker.borrow().is_stored() {
                // What else is under way only makes the next start quicker.
                return true;
            }
            if self.shard.clock().now_ms() >= deadline_ms {
                return false;
            }
            self.shard.sleep(1).await;
        }
    }

    /// All listeners of this node, by [`ListenerId`].
    pub(crate) fn listeners(&self) -> &[Rc<ListenerSettings>] {
        &self.listeners
    }

    /// A listener of this node.
    pub(crate) fn listener(&self, listener: ListenerId) -> Option<&Rc<ListenerSettings>> {
        self.listeners.get(listener.index())
    }

    /// What a listener is secured with.
    pub(crate) fn tls(&self, listener: ListenerId) -> Option<TlsServer> {
        self.tls.borrow().get(listener.index())?.clone()
    }

    /// A connection begins here.
    pub(crate) fn came(&self, listener: ListenerId) {
        self.loads.borrow_mut().came(listener);
        self.tell_news(listener);
    }

    /// A connection that was here is over.
    pub(crate) fn left(&self, listener: ListenerId) {
        self.loads.borrow_mut().left(listener);
        self.tell_news(listener);
    }

    /// A connection was over before it began. The shard that sent it here has counted it already
    /// and is to know.
    pub(crate) fn failed(&self, listener: ListenerId) {
        self.loads.borrow_mut().left(listener);
        let count = self.loads.borrow_mut().report(listener);
        self.tell_load(listener, count);
    }

    fn tell_news(&self, listener: ListenerId) {
        let news = self.loads.borrow_mut().news(listener);
        if let Some(count) = news {
            self.tell_load(listener, count);
        }
    }

    fn tell_load(&self, listener: ListenerId, count: u32) {
        for to in (0..self.shard.count()).filter_map(ShardId::from_index) {
            if to != self.shard.id() {
                self.shard.mesh().send(to, Crossing::Load(listener, count));
            }
        }
    }

    /// Moves a connection to another shard.
    pub(crate) fn send_connection(&self, to: ShardId, arrival: Arrival) {
        self.loads.borrow_mut().sent(to, arrival.listener);
        self.shard.mesh().send(to, Crossing::Connection(Box::new(arrival)));
    }

    /// Which limit keeps another connection from coming in, as far as this shard knows.
    pub(crate) fn is_full(&self, listener: ListenerId) -> Option<&'static str> {
        let max = self.config.main.max_connections;
        if max != 0 && self.loads.borrow().everywhere() >= u64::from(max) {
            return Some("max_connections is reached");
        }
        self.is_listener_full(listener).then_some("max_connections of the listener is reached")
    }

    /// Whether a listener's own limit is reached.
    pub(crate) fn is_listener_full(&self, listener: ListenerId) -> bool {
        let max = self.listener(listener).map_or(0, |settings| settings.max_connections);
        max != 0 && self.loads.borrow().through(listener) >= u64::from(max)
    }

    /// Whether no shard has said that it has connections.
    pub(crate) fn is_deserted(&self) -> bool {
        self.loads.borrow().is_deserted()
    }

    /// Where a new connection should live.
    pub(crate) fn place_connection(&self) -> ShardId {
        self.loads.borrow().place(self.broker.borrow().placement())
    }

    /// Says which waker reaches a connection's task.
    pub(crate) fn seat(&self, connection: ConnectionId, waker: &Waker) {
        let mut seats = self.seats.borrow_mut();
        while seats.len() <= connection.index() {
            seats.push(Seat::default());
        }
        let Some(seat) = seats.get_mut(connection.index()) else { return };
        if seat.waker.as_ref().is_none_or(|w| !w.will_wake(waker)) {
            seat.waker = Some(waker.clone());
        }
    }

    /// The connection's task has ended.
    pub(crate) fn leave_seat(&self, connection: ConnectionId) {
        if let Some(seat) = self.seats.borrow_mut().get_mut(connection.index()) {
            *seat = Seat::default();
        }
    }

    /// Asks each of these connections to tell of itself; `told` gets what they say when the last has
    /// said it, or is gone.
    pub(crate) fn ask_for_reports(&self, connections: &[ConnectionId], told: Told) {
        let reports = Rc::new(Reports::new(told));
        for connection in connections {
            // What has no task would never answer.
            let mut seats = self.seats.borrow_mut();
            let seat = seats.get_mut(connection.index()).filter(|seat| seat.waker.is_some());
            let Some(seat) = seat else { continue };
            seat.asked = Some(reports.clone());
            drop(seats);
            self.wake(*connection);
        }
    }

    /// To whom the connection is to tell of itself, if anybody has asked since the last call.
    pub(crate) fn take_asked(&self, connection: ConnectionId) -> Option<Rc<Reports>> {
        self.seats.borrow_mut().get_mut(connection.index())?.asked.take()
    }

    fn wake(&self, connection: ConnectionId) {
        if let Some(Seat { waker: Some(waker), .. }) = self.seats.borrow().get(connection.index()) {
            waker.wake_by_ref();
        }
    }

    fn wake_all(&self) {
        for waker in self.seats.borrow().iter().filter_map(|seat| seat.waker.as_ref()) {
            waker.wake_by_ref();
        }
    }

    /// Asks to be woken at a time. Costs nothing when a timer for that time or an earlier one is
    /// set already: deadlines of connections move away with each octet, timers do not follow.
    pub(crate) fn tick_at(&self, connection: ConnectionId, deadline_ms: u64) {
        let mut seats = self.seats.borrow_mut();
        let Some(seat) = seats.get_mut(connection.index()) else { return };
        if seat.tick_ms.is_some_and(|set| set <= deadline_ms) {
            return;
        }
        seat.tick_ms = Some(deadline_ms);
        drop(seats);
        self.ticks.borrow_mut().insert(deadline_ms, connection);
        self.watch_until(deadline_ms);
    }

    /// Whether the connection's deadline has passed since the last call.
    pub(crate) fn take_due(&self, connection: ConnectionId) -> bool {
        let mut seats = self.seats.borrow_mut();
        let seat = seats.get_mut(connection.index());
        seat.is_some_and(|seat| std::mem::take(&mut seat.due))
    }

    fn watch_until(&self, deadline_ms: u64) {
        if deadline_ms < self.clock_set_ms.get() {
            self.clock_set_ms.set(deadline_ms);
            if let Some(waker) = self.clock_waker.take() {
                waker.wake();
            }
        }
    }

    fn next_deadline(&self) -> Option<u64> {
        let ticks = self.ticks.borrow().next();
        let broker = self.going.get().then(|| self.broker.borrow_mut().next_deadline()).flatten();
        [ticks, broker].into_iter().flatten().min()
    }

    /// Handles what the clock brings: one task per shard.
    pub(crate) async fn watch_clock(self: Rc<Self>) {
        let mut expired = Vec::new();
        loop {
            let now = self.now();
            // Before, what is due here might be for a queue that another shard does not have yet.
            if self.going.get() {
                self.broker.borrow_mut().on_time(now);
            }
            self.ticks.borrow_mut().expired(now.mono_ms, &mut expired);
            for connection in expired.drain(..) {
                if let Some(seat) = self.seats.borrow_mut().get_mut(connection.index())
                    && seat.tick_ms.is_some_and(|set| set <= now.mono_ms)
                {
                    seat.tick_ms = None;
                    seat.due = true;
                }
                self.wake(connection);
            }
            self.end_turn(now);
            let deadline = self.next_deadline();
            self.clock_set_ms.set(deadline.unwrap_or(u64::MAX));
            let mut woken = false;
            let mut sleep = pin!(async {
                match deadline {
                    Some(deadline) => self.shard.sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            });
            poll_fn(|context| {
                if woken {
                    return Poll::Ready(());
                }
                woken = true;
                self.clock_waker.set(Some(context.waker().clone()));
                sleep.as_mut().poll(context)
            })
            .await;
        }
    }

    /// Ready when the node is told to stop.
    pub(crate) fn poll_stopped(&self, context: &TaskContext<'_>) -> Poll<()> {
        if self.stopping.get() {
            return Poll::Ready(());
        }
        let mut wakers = self.stop_wakers.borrow_mut();
        if !wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            wakers.push(context.waker().clone());
        }
        Poll::Pending
    }

    /// Resolves when the node is told to stop.
    pub(crate) async fn stopped(&self) {
        poll_fn(|context| self.poll_stopped(context)).await;
    }
}
