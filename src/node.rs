//! The node: from settings to running shards, the lines an operator sees at the start, and the
//! orderly stop.
//!
//! May import everything but the insides of `broker` and of the protocols.

mod certificates;
mod directory;
mod doors;
mod management;
mod memory;
mod reload;
mod restart;

use std::io::Write as _;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use ringmq_shards::log::{DataDir, DataDirError, Driver};
use ringmq_shards::tls::TlsFileError;
use ringmq_shards::{
    Options, Remote, Running, Shard, ShardId, Signal, Signals, SocketFile, StartError,
    check_io_uring, limits as machine_limits, raise_nofile,
};
use tokio::sync::watch;

use self::doors::Door;
use self::reload::Reload;
use crate::auth::attempts::Attempts;
use crate::auth::slow::Hashing;
use crate::auth::{self, Users};
use crate::broker::placement::Placement;
use crate::broker::{Broker, NodeLimits, Setup, StorageSetup};
use crate::config::{self, Config, SharedPolicy, TlsListener};
use crate::control::{self, LookNow};
use crate::hub::{Crossing, Hub, Settings};
use crate::limits;
use crate::listener;
use crate::logging::Switch;
use crate::management::{About, Certificates, Listening, Security};
use crate::protocol::{ListenAt, ListenerSettings, Logins, PROTOCOLS};

/// Why the node did not start. Each text is one line with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Users or definitions.
    #[error("{0}")]
    Definitions(#[from] control::DefinitionsError),
    /// A password or ACL file.
    #[error("{0}")]
    UserFile(#[from] auth::FileError),
    /// No io_uring.
    #[error("{0}")]
    Ring(#[from] ringmq_shards::ProbeError),
    /// Sockets that somebody else has opened.
    #[error("{0}")]
    Inherit(#[from] ringmq_shards::InheritError),
    /// The shards.
    #[error("{0}")]
    Start(#[from] StartError),
    /// A certificate, its key, or what belongs to them.
    #[error("TLS of {listener}: {cause}")]
    Tls {
        /// Which listener.
        listener: Box<str>,
        /// Which file, and why.
        cause: TlsFileError,
    },
    /// A listener.
    #[error("cannot listen for {protocol} on {at}: {cause}")]
    Listen {
        /// Which protocol.
        protocol: &'static str,
        /// Where.
        at: Box<ListenAt>,
        /// Why, and what helps.
        cause: Box<str>,
    },
    /// A congestion control that the kernel does not have.
    #[error(
        "tcp_congestion = {wanted}: this kernel has {available} (modprobe tcp_{wanted} may add it)"
    )]
    Congestion {
        /// What was asked for.
        wanted: Box<str>,
        /// What there is.
        available: Box<str>,
    },
    /// The data directory.
    #[error("{0}")]
    DataDir(#[from] DataDirError),
    /// What is in it.
    #[error("cannot read data directory {path}: {cause}")]
    Unreadable {
        /// Which.
        path: Box<str>,
        /// Why.
        cause: std::io::Error,
    },
    /// The operating system.
    #[error("{what}: {cause}")]
    System {
        /// Doing what.
        what: &'static str,
        /// What it said.
        cause: std::io::Error,
    },
    /// A shard panicked; the process would have ended before.
    #[error("shard {} is lost", .0.index())]
    ShardLost(ShardId),
}

/// The part of a shard's start that is the same for all.
#[derive(Debug)]
struct Plan {
    config: Config,
    listeners: Vec<ListenerSettings>,
    /// What they are secured with, and the HTTP server.
    certificates: watch::Sender<Certificates>,
    /// Those of the control thread.
    http: Vec<Listening>,
    users: Arc<Users>,
    vhosts: Vec<Box<str>>,
    placement: Placement,
    memory_bytes_max: u64,
    secret: [u8; 32],
    hasher: control::Hasher,
    storage: StorageSetup,
    root: PathBuf,
    /// Told by each shard that has what the last run left.
    restored: mpsc::Sender<()>,
    /// Shards that have written everything at the end.
    closed: AtomicUsize,
}

/// Starts the node and waits for its end.
///
/// # Errors
/// What keeps it from starting, in one line.
pub fn run(mut config: Config, notes: &[String], levels: Switch) -> Result<(), NodeError> {
    // Before anything else opens a descriptor.
    let inherited = ringmq_shards::inherited()?;
    doors::adopt(&mut config, &inherited);
    let signals = Signals::block()
        .map_err(|cause| NodeError::System { what: "cannot block signals", cause })?;
    set_slice(config.main.scheduler_slice_us);
    let reload = Reload::new(config.clone(), levels);
    check_io_uring()?;
    check_congestion(&config.main.tcp_congestion)?;
    let mut data_dir = open_data_dir(&config)?;
    let mut directory = directory::open(&config, &data_dir.root)?;
    for note in notes {
        tracing::info!("{note}");
    }
    let nofile = raise_nofile();
    let defaults = Options::default();
    let shards =
        if config.main.shards == 0 { defaults.shards } else { usize::from(config.main.shards) };
    ringmq_shards::keep_files(shards);
    let options = Options { shards, pin: config.main.pin, name: "ringmq".into() };
    let apart = config.main.placement == config::Placement::Apart;
    let placement =
        Placement::new(u16::try_from(shards).unwrap_or(u16::MAX), data_dir.groups, apart);
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| NodeError::System {
        what: "no random numbers",
        cause: std::io::Error::other(error.to_string()),
    })?;
    let http = management::open(&config)?;
    let mut listeners = doors::listeners(&config, &http.http);
    let certificates = certificates::read(&listeners, https(&config))?;
    let doors = doors::open(&mut listeners, &config, (placement.shards(), &http.http), inherited)?;
    warn_of_trust(&listeners, &config);
    let memory_bytes_max = config.main.max_memory.bytes(memory::memory_bytes());
    let recovered = restart::recover(&data_dir, placement)?;
    let (restored, shards_restored) = mpsc::channel();
    let (hasher, jobs) = control::hasher();
    let plan = Arc::new(Plan {
        users: directory.files.users(),
        vhosts: directory.vhosts(recovered.vhosts()),
        storage: restart::storage_setup(&config, &data_dir),
        root: data_dir.root.clone(),
        config,
        listeners,
        certificates: watch::Sender::new(certificates),
        http: http.listeners.clone(),
        placement,
        memory_bytes_max,
        secret,
        hasher,
        restored,
        closed: AtomicUsize::new(0),
    });
    let shared = plan.clone();
    let running = ringmq_shards::start(&options, move |shard| run_shard(shard, shared.clone()))?;
    let look_now = LookNow::default();
    heed_signals(signals, &running, reload, (look_now.clone(), plan.clone()))?;
    recovered.hand_out(&running, &shards_restored);
    let store = directory.store(look_now);
    let (server, mut files) = http_server(http, &plan, running.remote());
    let serve = |control| management::serve(server, control);
    control::run(store, running.remote(), jobs, serve)
        .map_err(|cause| NodeError::System { what: "no control thread", cause })?;
    for Door { listener, sockets, file } in doors {
        let remote = running.remote();
        for (shard, bound) in (0..).map(ShardId).zip(sockets) {
            remote.send(shard, Crossing::Listen(bound, listener));
        }
        files.extend(file);
    }
    announce(&plan, &running, nofile.ok());
    running.join().map_err(|lost| NodeError::ShardLost(lost.shard))?;
    drop(files);
    if plan.closed.load(Ordering::Acquire) == shards {
        data_dir.mark_clean(placement.shards())?;
    }
    Ok(())
}

/// What the control thread serves, and the files that go with the node.
fn http_server(
    mut doors: management::Doors,
    plan: &Plan,
    remote: Remote<Crossing>,
) -> (management::Server, Vec<SocketFile>) {
    let own = doors.listeners.iter().cloned();
    let others = plan.listeners.iter().enumerate().map(|(place, listener)| {
        let (name, is_secured) = (listener.protocol.name, listener.tls.is_some());
        let protocol = match (&listener.web_path, is_secured) {
            (Some(_), true) => format!("https/web-{name}"),
            (Some(_), false) => format!("http/web-{name}"),
            (None, true) => format!("{name}/ssl"),
            (None, false) => name.into(),
        };
        let security = if is_secured { Security::Listener(place) } else { Security::None };
        Listening { protocol: protocol.into(), at: listener.at.clone(), security }
    });
    let about = About {
        config: plan.config.clone(),
        certificates: plan.certificates.subscribe(),
        listeners: own.chain(others).collect(),
        memory_bytes_max: plan.memory_bytes_max,
        shards: usize::from(plan.placement.shards()),
    };
    let files = std::mem::take(&mut doors.files);
    let webs = management::web_listeners(&plan.listeners, &doors.http);
    (management::Server { doors, about, remote, webs }, files)
}

/// What the HTTP server is to be secured with.
fn https(config: &Config) -> Option<&Arc<TlsListener>> {
    config.mgmt.tls.as_ref().filter(|_| config.mgmt.tls_port.is_some())
}

/// Whoever may say where a client is may pretend to be anywhere (S13).
fn warn_of_trust(listeners: &[ListenerSettings], config: &Config) {
    let reads = |l: &ListenerSettings| l.reads_proxy_header && matches!(l.at, ListenAt::Tcp(_));
    let is_read = listeners.iter().any(reads) || config.mgmt.tcp_proxy_protocol;
    if config.amqp.proxy_protocol_trusted_sources.is_empty() && is_read {
        tracing::warn!(
            "PROXY headers are taken from everybody: amqp.proxy_protocol_trusted_sources is empty"
        );
    }
}

/// For all threads that are made afterwards. The broker works without it, only later on busy cores.
fn set_slice(slice_us: u32) {
    if slice_us != 0
        && let Err(error) = ringmq_shards::set_slice(slice_us)
    {
        tracing::info!(%error, "the kernel has no scheduler_slice_us for this process");
    }
}

/// A name that the kernel does not know would only be noticed by its absence.
fn check_congestion(wanted: &str) -> Result<(), NodeError> {
    const AVAILABLE: &str = "/proc/sys/net/ipv4/tcp_available_congestion_control";
    // Where that cannot be read the kernel is asked with each connection.
    let Ok(available) = std::fs::read_to_string(AVAILABLE) else { return Ok(()) };
    if wanted.is_empty() || available.split_whitespace().any(|name| name == wanted) {
        return Ok(());
    }
    let available = available.trim().into();
    Err(NodeError::Congestion { wanted: wanted.into(), available })
}

fn open_data_dir(config: &Config) -> Result<DataDir, NodeError> {
    let groups = u16::try_from(config.main.groups).unwrap_or(u16::MAX);
    let data_dir = DataDir::open(&config.main.data_dir, groups)?;
    for note in &data_dir.notes {
        tracing::warn!("{note}");
    }
    Ok(data_dir)
}

/// One shard from its first task to its last.
async fn run_shard(shard: Shard<Crossing>, plan: Arc<Plan>) {
    let config = Rc::new(plan.config.clone());
    let main = &config.main;
    let limit = |n: u32| if n == 0 { usize::MAX } else { n as usize };
    // Without a bound of the operator's there is one of ours all the same.
    let bound = |n: u64, usual: u64| if n == 0 { usual } else { n };
    let mut broker = Broker::new(Setup {
        shard: shard.id(),
        placement: plan.placement,
        vhosts: plan.vhosts.clone(),
        readers: readers(),
        secret: plan.secret,
        limits: NodeLimits {
            memory_bytes_max: plan.memory_bytes_max,
            queues_max: limit(main.max_queues),
            exchanges_max: limit(main.max_exchanges),
            bindings_max: limit(main.max_bindings),
            prefetch_default: u32::from(main.default_consumer_prefetch),
            consumer_timeout_ms: main.consumer_timeout_ms,
            durability: main.durability,
            retained_max: bound(config.mqtt.retained_messages_max, limits::RETAINED_MAX),
            retained_bytes_max: bound(config.mqtt.retained_bytes_max, limits::RETAINED_BYTES_MAX),
            near_members_first: config.mqtt.shared_subscription_policy == SharedPolicy::PreferShard,
            members_in_turn: config.mqtt.shared_subscription_policy != SharedPolicy::Random,
        },
        boot: plan.storage.boot,
        storage: Some(plan.storage.clone()),
        durabilities: main.durability_vhosts.clone(),
    });
    broker.set_crossing(config.mqtt.crossing());
    let dead_letter = (&*config.mqtt.dead_letter_exchange, &*config.mqtt.dead_letter_routing_key);
    if !dead_letter.0.is_empty() {
        broker
            .set_session_dead_letter(dead_letter.0, Some(dead_letter.1).filter(|k| !k.is_empty()));
    }
    let elsewhere: Rc<dyn Hashing> = Rc::new(plan.hasher.clone());
    let logins = Logins {
        users: plan.users.clone(),
        elsewhere: Some(elsewhere),
        attempts: Attempts::new(main.track_auth_attempt_source),
        ..Logins::default()
    };
    shard.buffers().set_read_block(usize::try_from(main.socket_buffer_bytes).unwrap_or(0));
    let driver = match Driver::start(&shard, u32::from(shard.id().0), &plan.root) {
        Ok(driver) => driver,
        Err(error) => {
            tracing::error!(%error, "no thread for the disk");
            leave_at_once();
            return;
        }
    };
    let listeners = plan.listeners.iter().cloned().map(Rc::new).collect();
    let tls = plan.certificates.borrow().listeners.clone();
    let settings = Settings { config, logins, listeners, tls };
    let hub = Hub::new(shard.clone(), broker, settings, driver, plan.restored.clone());
    shard.spawn(listener::read_lanes(hub.clone()));
    shard.spawn(hub.clone().watch_clock());
    shard.spawn(hub.clone().catch_up());
    shard.spawn(leave_when_the_disk_fails(hub.clone()));
    hub.stopped().await;
    let deadline = shard.clock().now_ms().saturating_add(limits::SHUTDOWN_MS_MAX - STOP_MARGIN_MS);
    // All shards end together: a connection's last words need answers of the others.
    while !hub.is_deserted() && shard.clock().now_ms() < deadline {
        shard.sleep(STOP_LOOK_MS).await;
    }
    let deadline = shard.clock().now_ms().saturating_add(STOP_MARGIN_MS);
    if hub.close_storage(deadline).await {
        plan.closed.fetch_add(1, Ordering::AcqRel);
    }
}

/// What is not stored is refused by now; a supervisor starts the broker again, and recovery decides
/// from the disk what there is.
async fn leave_when_the_disk_fails(hub: Rc<Hub>) {
    hub.clone().watch_disk().await;
    hub.shard.sleep(LAST_WORDS_MS).await;
    leave_at_once();
}

/// For refusals to reach their publishers after the disk has failed, milliseconds.
const LAST_WORDS_MS: u64 = 1_000;

/// Between giving up on connections and the promised end, milliseconds.
const STOP_MARGIN_MS: u64 = 2_000;

/// How often a stopping shard looks whether all connections are gone, milliseconds.
const STOP_LOOK_MS: u64 = 5;

/// Readers of property blocks by tag; a tag without a protocol reads nothing.
fn readers() -> Vec<crate::message::PropertyReader> {
    let nothing = crate::message::PropertyReader {
        headers: |_| crate::value::Table::default(),
        property: |_, _| None,
        topic: |_| None,
        neutral: |_| crate::properties::Properties::default(),
    };
    let highest = PROTOCOLS.iter().map(|p| usize::from(p.tag.0)).max().unwrap_or_default();
    let mut readers = vec![nothing; highest + 1];
    for protocol in PROTOCOLS {
        if let Some(slot) = readers.get_mut(usize::from(protocol.tag.0)) {
            *slot = protocol.properties;
        }
    }
    readers
}

/// SIGHUP reads the settings, the certificates and the files of users and rules again. The first of
/// the others stops in order, the second at once.
fn heed_signals(
    signals: Signals,
    running: &Running<Crossing>,
    mut reload: Reload,
    (look_now, plan): (LookNow, Arc<Plan>),
) -> Result<(), NodeError> {
    let remote = running.remote();
    let asked = AtomicBool::new(false);
    let act = move |signal| match signal {
        Signal::HangUp => {
            // First what takes rights away.
            look_now.ask();
            reload.read_again();
            let (listeners, http) = (&plan.listeners, https(&plan.config));
            certificates::renew(listeners, http, &remote, &plan.certificates);
        }
        Signal::Terminate | Signal::Interrupt => {
            if asked.swap(true, Ordering::Relaxed) {
                leave_at_once();
            }
            tracing::info!("stopping: connections are closed, a second signal stops at once");
            for shard in (0..remote.shards()).filter_map(ShardId::from_index) {
                remote.send(shard, Crossing::Stop);
            }
        }
    };
    signals.watch(act).map_err(|cause| NodeError::System { what: "cannot watch signals", cause })
}

#[expect(clippy::exit, reason = "the second signal asks for exactly that")]
fn leave_at_once() {
    std::process::exit(1);
}

/// What listens where, on which cores, and which limits are too low. Standard output, for people
/// and scripts; `ready` is the last line.
fn announce(plan: &Plan, running: &Running<Crossing>, nofile: Option<ringmq_shards::Limit>) {
    let mut lines = vec![format!("RingMQ {}", env!("CARGO_PKG_VERSION"))];
    let cores: Vec<String> = running
        .cores()
        .iter()
        .map(|core| core.map_or_else(|| "any".into(), |core| core.to_string()))
        .collect();
    lines.push(format!("shards {} on cores {}", cores.len(), cores.join(" ")));
    lines.push(format!("data {}", plan.config.main.data_dir.display()));
    let mib = plan.memory_bytes_max / (1024 * 1024);
    lines.push(format!("memory for messages {mib} MiB (max_memory)"));
    for advice in advice(cores.len(), nofile) {
        lines.push(format!("limit {advice}"));
    }
    for listener in &plan.listeners {
        lines.push(format!("listening {listener}"));
    }
    for Listening { protocol, at, .. } in &plan.http {
        lines.push(format!("listening {protocol} {at}"));
    }
    lines.push("ready".into());
    let mut out = std::io::stdout().lock();
    // Nobody reading them is no reason to stop.
    let _ = writeln!(out, "{}", lines.join("\n"));
    let _ = out.flush();
}

/// Limits of the machine that are too low for a busy broker, each with the command that raises it.
fn advice(shards: usize, nofile: Option<ringmq_shards::Limit>) -> Vec<String> {
    const NOFILE_WANTED: u64 = 65_536;
    const SOMAXCONN_WANTED: u64 = limits::LISTEN_BACKLOG as u64;
    let mut advice = Vec::new();
    if let Some(limit) = nofile.filter(|limit| limit.soft < NOFILE_WANTED) {
        let have = limit.soft;
        advice.push(format!(
            "open files {have}, one per connection: ulimit -n {NOFILE_WANTED} \
             (systemd: LimitNOFILE={NOFILE_WANTED})"
        ));
    }
    let Ok(machine) = machine_limits() else { return advice };
    let needed = ringmq_shards::memlock_needed(shards);
    if machine.memlock.soft < needed {
        advice.push(format!(
            "locked memory {} KiB, {} KiB advised: ulimit -l {} (systemd: LimitMEMLOCK={needed})",
            machine.memlock.soft / 1024,
            needed / 1024,
            needed / 1024
        ));
    }
    if let Some(backlog) = machine.somaxconn.filter(|backlog| *backlog < SOMAXCONN_WANTED) {
        advice.push(format!(
            "backlog of connections {backlog}: sysctl -w net.core.somaxconn={SOMAXCONN_WANTED}"
        ));
    }
    advice
}

#[cfg(test)]
#[path = "node/moving_tests.rs"]
mod moving_tests;
