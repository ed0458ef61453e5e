//! What all resources share: the control thread's handle, what is known of the node, what was
//! counted of late. One per process, on the control thread.
//!
//! May import `auth`, `control`, `stats`, `rates`, `reply`.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::access::Credentials;
use super::gathered::{Connections, Gathering, good_until};
use super::machine::{Machine, host_name};
use super::rates::{Rates, Sample};
use super::reply::Problem;
use crate::auth::{Identity, LoginLimiter, LoginReason};
use crate::command::AlarmReason;
use crate::config::Config;
use crate::control::{Control, NoAnswer, Refused};
use crate::protocol::ListenAt;
use crate::stats::{Counters, Gauges, QueueTotals};

/// Places of the table of queues that are added up at a time: about 0.1 ms of a shard.
const QUEUES_PER_PAGE: usize = 4096;

/// What is known of the node and does not change.
#[derive(Debug, Clone)]
pub(crate) struct About {
    /// The settings.
    pub(crate) config: Config,
    /// What is spoken where.
    pub(crate) listeners: Vec<(Box<str>, ListenAt)>,
    /// Octets of memory above which publishers wait.
    pub(crate) memory_bytes_max: u64,
    /// Shards.
    pub(crate) shards: usize,
}

/// See the module.
pub(crate) struct App {
    pub(super) control: Control,
    pub(super) about: About,
    /// What the node is called.
    pub(super) node: String,
    started: Instant,
    limiter: RefCell<LoginLimiter>,
    rates: RefCell<Rates>,
    totals: Gathering<Totals>,
    /// What the system said last, and how long that is good.
    machine: Cell<Option<(Machine, Instant)>>,
    pub(super) connections: Connections,
}

/// What one shard says of itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct ShardState {
    pub(super) counters: Counters,
    pub(super) gauges: Gauges,
    pub(super) alarm: Option<AlarmReason>,
    pub(super) disk_free_bytes: u64,
    pub(super) disk_min_bytes: u64,
}

/// What all shards have together.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    pub(super) counters: Counters,
    pub(super) gauges: Gauges,
    pub(super) queues: QueueTotals,
    pub(super) memory_alarm: bool,
    pub(super) disk_alarm: bool,
    pub(super) disk_free_bytes: u64,
    pub(super) disk_min_bytes: u64,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("node", &self.node).finish_non_exhaustive()
    }
}

impl From<NoAnswer> for Problem {
    fn from(_: NoAnswer) -> Self {
        Self::Unavailable("a shard does not answer")
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotFound { .. } => Self::Missing,
            Refused::Bad(why) => Self::Bad(why.into()),
            Refused::Protected(_) => Self::Bad(refused.to_string()),
            Refused::Unavailable(why) => Self::Broken(why.into()),
        }
    }
}

impl App {
    /// The server's view of the node.
    pub(crate) fn new(control: Control, about: About) -> Rc<Self> {
        Rc::new(Self {
            control,
            node: format!("ringmq@{}", host_name()),
            about,
            started: Instant::now(),
            limiter: RefCell::new(LoginLimiter::new()),
            rates: RefCell::new(Rates::default()),
            totals: Gathering::default(),
            machine: Cell::new(None),
            connections: Connections::default(),
        })
    }

    /// How long the node has been running.
    pub(super) fn uptime_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Who this is. The reason of a refusal goes to the log only (abuse row 97).
    ///
    /// # Errors
    /// The login is wrong, or too many were.
    pub(super) async fn login(&self, credentials: &Credentials) -> Result<Identity, Problem> {
        let Credentials { name, password, peer } = credentials;
        if let Err(error) = self.limiter.borrow().admit(*peer, self.uptime_ms()) {
            return Err(Problem::TooManyLogins(error.wait_ms));
        }
        match self.control.login(name, password, *peer).await {
            Ok(identity) => Ok(identity),
            Err(refused) if refused.reason == LoginReason::Busy => {
                Err(Problem::Unavailable("too many logins are being checked"))
            }
            Err(refused) => {
                self.limiter.borrow_mut().failed(*peer, self.uptime_ms());
                tracing::warn!(%peer, user = name, reason = refused.reason.name(), "login refused");
                Err(match refused.reason {
                    LoginReason::NotFromLoopback => {
                        Problem::Login("User can only log in via localhost")
                    }
                    LoginReason::UnknownUser
                    | LoginReason::NoPassword
                    | LoginReason::EmptyPassword
                    | LoginReason::WrongPassword
                    | LoginReason::NoVerifier
                    | LoginReason::BadExchange
                    | LoginReason::Busy
                    | LoginReason::TooManyFailures => Problem::Login("Login failed"),
                })
            }
        }
    }

    /// What all shards have counted and have.
    ///
    /// # Errors
    /// A shard does not answer.
    pub(super) async fn totals(&self) -> Result<Totals, Problem> {
        self.totals.get(async || self.gather_totals().await).await
    }

    async fn gather_totals(&self) -> Result<Totals, Problem> {
        let states = self
            .control
            .ask_all(|asked| {
                let mut counters = *asked.broker.counters();
                counters.octets_in = asked.hub.octets.read.get();
                counters.octets_out = asked.hub.octets.written.get();
                let (disk_free_bytes, disk_min_bytes) = asked.broker.disk_space();
                ShardState {
                    counters,
                    gauges: asked.broker.gauges(),
                    alarm: asked.broker.alarm(),
                    disk_free_bytes,
                    disk_min_bytes,
                }
            })
            .await?;
        let mut totals = Totals { disk_free_bytes: u64::MAX, ..Totals::default() };
        for state in &states {
            totals.add(state);
        }
        for shard in self.control.shards() {
            let mut place = Some(0);
            while let Some(from) = place {
                let ask = move |asked: &mut crate::control::Asked<'_>| {
                    asked.broker.queue_totals(from, QUEUES_PER_PAGE)
                };
                let (page, next) = self.control.ask(shard, ask).await?;
                totals.queues = totals.queues.plus(page);
                place = next;
            }
        }
        if totals.disk_free_bytes == u64::MAX {
            // Nobody has measured it yet.
            totals.disk_free_bytes = 0;
        }
        Ok(totals)
    }

    /// What the operating system says of this process. With many descriptors it takes its time.
    pub(super) fn machine(&self) -> Machine {
        let began = Instant::now();
        if let Some((known, _)) = self.machine.get().filter(|(_, until)| *until > began) {
            return known;
        }
        let machine = Machine::now();
        self.machine.set(Some((machine, good_until(began, Instant::now()))));
        machine
    }

    /// Takes a sample from time to time, as long as the node runs.
    pub(super) async fn keep_rates(self: Rc<Self>) {
        let every = self.stats_every();
        loop {
            if let Ok(totals) = self.totals().await {
                let at = Instant::now();
                self.rates.borrow_mut().add(Sample::new(at, &totals));
                self.connections.let_go(at, every);
            }
            tokio::time::sleep(every).await;
        }
    }

    /// How old the samples are that rates are told from.
    pub(super) const fn stats_every(&self) -> Duration {
        Duration::from_millis(self.about.config.main.stats_interval_ms)
    }

    /// What happened in a second of late.
    pub(super) fn rates(&self) -> super::rates::PerSecond {
        self.rates.borrow().per_second()
    }
}

impl Totals {
    fn add(&mut self, state: &ShardState) {
        self.counters = self.counters.plus(&state.counters);
        let gauges = &state.gauges;
        self.gauges.connections += gauges.connections;
        self.gauges.queues += gauges.queues;
        self.gauges.bindings += gauges.bindings;
        self.gauges.memory_bytes += gauges.memory_bytes;
        // Every shard has all of them.
        self.gauges.exchanges = self.gauges.exchanges.max(gauges.exchanges);
        self.memory_alarm |= state.alarm == Some(AlarmReason::Memory);
        self.disk_alarm |= state.alarm == Some(AlarmReason::Disk);
        self.disk_free_bytes = self.disk_free_bytes.min(state.disk_free_bytes);
        self.disk_min_bytes = self.disk_min_bytes.max(state.disk_min_bytes);
    }

    /// Channels that are open.
    pub(super) const fn channels(&self) -> u64 {
        self.counters.channels_opened.saturating_sub(self.counters.channels_closed)
    }
}
