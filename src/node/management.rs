//! The doors of the HTTP API, opened before anything runs, and what serves behind them on the control
//! thread.
//!
//! May import `config`, `control`, `hub`, `management`, `ringmq_shards`.

use std::cell::Cell;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;

use ringmq_shards::{Bound, Remote, ShardId, Socket, SocketFile};
use tokio::task::LocalSet;

use super::NodeError;
use super::doors::{bind_options, explain};
use crate::config::Config;
use crate::control::Control;
use crate::hub::{Begun, Crossing};
use crate::loads::ListenerId;
use crate::management::{self, About, App, Door, Entrance, Listening, Passed, Place, Security};
use crate::protocol::{ListenAt, ListenerSettings};

/// Who may use the socket of the owner.
const OWNER_MODE: u32 = 0o600;
/// Who may connect to a socket where a login is asked for: the group as well, as at other listeners.
const USERS_MODE: u32 = 0o660;
/// The socket of the owner, in the data directory.
const OWNER_SOCKET: &str = "ringmqctl.sock";

/// What listens, and for whom.
#[derive(Debug, Default)]
pub(super) struct Doors {
    /// With logins; in the order of `http`.
    users: Vec<Bound>,
    users_unix: Option<Bound>,
    owner: Option<Bound>,
    metrics: Vec<Bound>,
    /// Where WebSockets come in.
    pub(super) http: Vec<HttpAt>,
    /// What is spoken where, for the API and the start line.
    pub(super) listeners: Vec<Listening>,
    /// Go with the node.
    pub(super) files: Vec<SocketFile>,
}

/// Where HTTP is spoken with users.
#[derive(Debug, Clone, Copy)]
pub(super) struct HttpAt {
    pub(super) address: SocketAddr,
    /// Inside of TLS.
    pub(super) is_secured: bool,
}

/// Opens all that the settings ask for.
pub(super) fn open(config: &Config) -> Result<Doors, NodeError> {
    let mut doors = Doors::default();
    let ports = config.mgmt.port.into_iter();
    let plain = ports.flat_map(|port| config.mgmt.bind.iter().map(move |ip| (*ip, port).into()));
    let plain = plain.map(|wanted| (wanted, "http", Security::None));
    let secured = config.mgmt.secured().map(|wanted| (wanted, "https", Security::Http));
    for (wanted, protocol, security) in plain.chain(secured) {
        let (bound, address) = tcp(wanted, protocol, config)?;
        let at = ListenAt::Tcp(address);
        doors.listeners.push(Listening { protocol: protocol.into(), at, security });
        doors.http.push(HttpAt { address, is_secured: security == Security::Http });
        doors.users.push(bound);
    }
    if let Some(path) = &config.mgmt.unix_path {
        let at = ListenAt::Unix { path: path.clone(), mode: USERS_MODE };
        let (bound, file) = Bound::unix(path, USERS_MODE, bind_options(config))
            .map_err(|cause| cannot("http", &at, &cause))?;
        doors.listeners.push(Listening { protocol: "http".into(), at, security: Security::None });
        doors.users_unix = Some(bound);
        doors.files.push(file);
    }
    let ports = config.main.metrics_port.into_iter();
    for wanted in ports.flat_map(|port| config.main.metrics_bind.iter().map(move |ip| (*ip, port)))
    {
        let (bound, at) = tcp(wanted.into(), "metrics", config)?;
        let (protocol, at) = ("http/prometheus".into(), ListenAt::Tcp(at));
        doors.listeners.push(Listening { protocol, at, security: Security::None });
        doors.metrics.push(bound);
    }
    open_owner(config, &mut doors)?;
    Ok(doors)
}

/// One that nobody has asked for is done without where it cannot be: names of sockets are short.
fn open_owner(config: &Config, doors: &mut Doors) -> Result<(), NodeError> {
    let usual = config.main.data_dir.join(OWNER_SOCKET);
    let path: &Path = config.main.control_unix_path.as_deref().unwrap_or(&usual);
    match Bound::unix(path, OWNER_MODE, bind_options(config)) {
        Ok((bound, file)) => {
            doors.owner = Some(bound);
            doors.files.push(file);
        }
        Err(error) if config.main.control_unix_path.is_none() => {
            tracing::warn!(path = %path.display(), %error, "no socket for ringmqctl");
        }
        Err(error) => {
            let at = ListenAt::Unix { path: path.into(), mode: OWNER_MODE };
            return Err(cannot("ringmqctl", &at, &error));
        }
    }
    Ok(())
}

fn tcp(
    wanted: SocketAddr,
    what: &'static str,
    config: &Config,
) -> Result<(Bound, SocketAddr), NodeError> {
    // One thread accepts: nobody shares the port, so a taken one is an error of its own.
    let options = ringmq_shards::BindOptions { reuse_port: false, ..bind_options(config) };
    let bound = Bound::new(wanted, options);
    let bound = bound.and_then(|bound| bound.local_addr().map(|at| (bound, at)));
    bound.map_err(|cause| cannot(what, &ListenAt::Tcp(wanted), &cause))
}

fn cannot(protocol: &'static str, at: &ListenAt, cause: &std::io::Error) -> NodeError {
    NodeError::Listen { protocol, cause: explain(cause, at).into(), at: Box::new(at.clone()) }
}

/// Everything that the server is told.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) doors: Doors,
    pub(super) about: About,
    pub(super) remote: Remote<Crossing>,
    /// The listeners that WebSockets come through, in the order of `Doors::http`.
    pub(super) webs: Vec<Option<ListenerId>>,
}

/// The first listener behind each HTTP server, if protocols are spoken there.
pub(super) fn web_listeners(
    listeners: &[ListenerSettings],
    http: &[HttpAt],
) -> Vec<Option<ListenerId>> {
    let behind = |at: &HttpAt| {
        let at = ListenAt::Tcp(at.address);
        let place = listeners.iter().position(|l| l.at == at && l.web_path.is_some())?;
        u16::try_from(place).ok().map(ListenerId)
    };
    http.iter().map(behind).collect()
}

/// Serves until the process ends.
pub(super) async fn serve(server: Server, control: Control) {
    let Server { doors, about, remote, webs } = server;
    let users = |web| Entrance::Users(pass_on(remote.clone(), web));
    let mut all = Vec::new();
    let reads_proxy_header = about.config.mgmt.tcp_proxy_protocol;
    for ((door, at), web) in doors.users.into_iter().zip(doors.http).zip(webs) {
        let (door, entrance) = (Door::Tcp(door.into_tcp()), users(web));
        all.push(Place { door, entrance, is_secured: at.is_secured, reads_proxy_header });
    }
    // Who may open a socket in the file system is trusted with what it says of its clients (S29).
    let unix = doors.users_unix.map(|door| (Door::Unix(door.into_unix()), users(None), true));
    let metrics = doors.metrics.into_iter();
    let metrics = metrics.map(|door| (Door::Tcp(door.into_tcp()), Entrance::Metrics, false));
    let owner = doors.owner.map(|door| (Door::Unix(door.into_unix()), Entrance::Owner, false));
    let others = unix.into_iter().chain(metrics).chain(owner);
    all.extend(others.map(|(door, entrance, reads_proxy_header)| Place {
        door,
        entrance,
        is_secured: false,
        reads_proxy_header,
    }));
    let app = App::new(control, about);
    LocalSet::new().run_until(management::serve(app, all)).await;
}

/// WebSockets go to the shards in turn.
fn pass_on(remote: Remote<Crossing>, web: Option<ListenerId>) -> management::PassOn {
    let next = Cell::new(0);
    Rc::new(move |passed: Passed| {
        let shard = next.get() % remote.shards().max(1);
        next.set(shard + 1);
        if let (Some(listener), Some(shard)) = (web, ShardId::from_index(shard)) {
            let Passed { stream, begun: early, introduced, secured } = passed;
            let socket = Socket::from(stream);
            let begun = Begun { socket, listener, early, introduced, secured };
            remote.send(shard, Crossing::Begun(Box::new(begun)));
        }
    })
}
