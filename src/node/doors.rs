//! From settings to sockets that listen: all are made by this thread before anything runs, so that
//! a port that is taken is told at once.
//!
//! May import `config`, `limits`, `loads`, `protocol`, `ringmq_shards`.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use ringmq_shards::{BindOptions, Bound, Inherited, InheritedAt, SocketFile, port_is_free};

use super::NodeError;
use super::management::HttpAt;
use crate::config::{Config, ListenerAddress};
use crate::limits;
use crate::loads::ListenerId;
use crate::protocol::{ListenAt, ListenerSettings, PROTOCOLS};

/// A place where connections come in.
pub(super) struct Door {
    /// The listener behind it; the first where several share a server.
    pub(super) listener: ListenerId,
    /// One for each shard, or one for all.
    pub(super) sockets: Vec<Bound>,
    /// Goes with the node.
    pub(super) file: Option<SocketFile>,
}

/// All listeners that the settings name.
pub(super) fn listeners(config: &Config, http: &[HttpAt]) -> Vec<ListenerSettings> {
    // Wherever there is HTTP there are WebSockets, as if somebody had asked for a listener there.
    let mut config = config.clone();
    let web = http.iter().map(|at| {
        let tls = config.mgmt.tls.clone().filter(|_| at.is_secured);
        let name = if tls.is_some() { "http-wss" } else { "http-ws" };
        config.mqtt.web_listener(name, at.address, tls)
    });
    let web: Vec<_> = web.collect();
    config.mqtt.named_listeners.extend(web);
    let all = PROTOCOLS.iter().flat_map(|protocol| (protocol.listeners)(protocol, &config));
    all.map(|mut listener| {
        if listener.connection_rate_max == 0 {
            listener.connection_rate_max = config.main.connection_rate_max;
        }
        listener
    })
    .collect()
}

/// What systemd has opened is listened at beside what the settings name, or in its place (S28;
/// issue 5: socket activation).
pub(super) fn adopt(config: &mut Config, inherited: &[Inherited]) {
    for socket in inherited.iter().filter(|socket| !socket.name.is_empty()) {
        let at = match &socket.at {
            InheritedAt::Ip(address) => ListenerAddress::Ip(*address),
            InheritedAt::Unix(path) => ListenerAddress::Unix(path.clone()),
        };
        if socket.name == config.amqp.systemd_socket_name {
            config.amqp.inherited.push(at);
        } else if socket.name == config.mqtt.systemd_socket_name {
            config.mqtt.inherited.push(at);
        }
    }
}

/// A socket at this address among those that systemd has opened, for each shard: a queue that all
/// share, since such sockets cannot be opened once more. Whichever shard is first has the newcomer and
/// hands it on as if it were its own.
fn inherit(
    inherited: &mut Vec<Inherited>,
    at: &ListenAt,
    shards: u16,
) -> io::Result<Option<Vec<Bound>>> {
    let is_there = |socket: &Inherited| match (&socket.at, at) {
        (InheritedAt::Ip(has), ListenAt::Tcp(wanted)) => has == wanted,
        (InheritedAt::Unix(has), ListenAt::Unix { path, .. }) => has == path,
        (InheritedAt::Ip(_), ListenAt::Unix { .. }) | (InheritedAt::Unix(_), ListenAt::Tcp(_)) => {
            false
        }
    };
    let Some(place) = inherited.iter().position(is_there) else { return Ok(None) };
    let first = inherited.swap_remove(place).bound;
    let copies = match at {
        ListenAt::Tcp(_) => shards,
        ListenAt::Unix { .. } => 1,
    };
    let mut sockets = Vec::new();
    for _ in 1..copies {
        sockets.push(first.try_clone()?);
    }
    sockets.push(first);
    Ok(Some(sockets))
}

/// Opens a door for each listener, and writes the port that became of 0 into its settings.
pub(super) fn open(
    listeners: &mut [ListenerSettings],
    config: &Config,
    (shards, http): (u16, &[HttpAt]),
    mut inherited: Vec<Inherited>,
) -> Result<Vec<Door>, NodeError> {
    let ipv4_ports = ipv4_ports(listeners);
    let mut doors = Vec::new();
    // Servers that are open: as they were asked for, and as they are.
    let mut servers: Vec<(ListenAt, ListenAt)> = Vec::new();
    // That of HTTP has a door of its own, and those behind it come by way of that.
    let served = http.iter().map(|at| ListenAt::Tcp(at.address));
    servers.extend(served.map(|at| (at.clone(), at)));
    for (index, settings) in (0..).zip(listeners) {
        let shared = servers.iter().find(|(wanted, _)| *wanted == settings.at);
        if let Some((_, is)) = shared.filter(|_| settings.web_path.is_some()) {
            settings.at = is.clone();
            continue;
        }
        let wanted = settings.at.clone();
        let failed = |cause: io::Error| NodeError::Listen {
            protocol: settings.protocol.name,
            cause: explain(&cause, &wanted).into(),
            at: Box::new(wanted.clone()),
        };
        let mut options = bind_options(config);
        if let ListenAt::Tcp(address) = wanted {
            options.only_ipv6 = address.is_ipv6() && ipv4_ports.contains(&address.port());
        }
        let (sockets, file) = match inherit(&mut inherited, &wanted, shards).map_err(failed)? {
            Some(sockets) => (sockets, None),
            None => bind_at(&mut settings.at, options, shards).map_err(failed)?,
        };
        doors.push(Door { listener: ListenerId(index), sockets, file });
        if settings.web_path.is_some() {
            servers.push((wanted, settings.at.clone()));
        }
    }
    for Inherited { name, at, .. } in inherited {
        tracing::warn!(name, ?at, "a socket of LISTEN_FDS is closed: no setting names it");
    }
    Ok(doors)
}

/// Ports that are wanted for IPv4: the unspecified address of IPv6 leaves those alone.
fn ipv4_ports(listeners: &[ListenerSettings]) -> Vec<u16> {
    let ports = listeners.iter().filter_map(|listener| match listener.at {
        ListenAt::Tcp(address) if address.is_ipv4() && address.port() != 0 => Some(address.port()),
        ListenAt::Tcp(_) | ListenAt::Unix { .. } => None,
    });
    ports.collect()
}

fn bind_at(
    at: &mut ListenAt,
    options: BindOptions,
    shards: u16,
) -> io::Result<(Vec<Bound>, Option<SocketFile>)> {
    match at {
        ListenAt::Tcp(address) => {
            let (sockets, bound) = bind(*address, options, shards)?;
            *address = bound;
            Ok((sockets, None))
        }
        ListenAt::Unix { path, mode } => {
            let (socket, file) = Bound::unix(path, *mode, options)?;
            Ok((vec![socket], Some(file)))
        }
    }
}

/// Once per shard; port 0 becomes the same port on every shard.
fn bind(
    wanted: SocketAddr,
    options: BindOptions,
    shards: u16,
) -> io::Result<(Vec<Bound>, SocketAddr)> {
    if wanted.port() != 0 {
        port_is_free(wanted, options)?;
    }
    let first = Bound::new(wanted, options)?;
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..shards {
        sockets.push(Bound::new(address, options)?);
    }
    Ok((sockets, address))
}

pub(super) fn explain(error: &io::Error, at: &ListenAt) -> String {
    match at {
        ListenAt::Tcp(address) => explain_port(error, address.port()),
        ListenAt::Unix { path, .. } => explain_path(error, path),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the system has many more")]
fn explain_port(error: &io::Error, port: u16) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "the port is taken; stop the other server (ss -ltnp 'sport = :{port}' shows it) or \
             choose another port, 0 for any free one"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "not permitted; ports below 1024 need CAP_NET_BIND_SERVICE \
             (setcap cap_net_bind_service=+ep on the binary), port {port}"
        ),
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address".into(),
        _ => error.to_string(),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the system has many more")]
fn explain_path(error: &io::Error, path: &Path) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "another server listens there; stop it (ss -lxp src {} shows it) or choose another path",
            path.display()
        ),
        io::ErrorKind::AlreadyExists => "there is a file that is no socket; remove it".into(),
        io::ErrorKind::NotFound => "the directory does not exist".into(),
        _ => error.to_string(),
    }
}

pub(super) fn bind_options(config: &Config) -> BindOptions {
    let bytes = |setting: Option<u64>| setting.and_then(|b| usize::try_from(b).ok());
    BindOptions {
        reuse_port: true,
        backlog: i32::try_from(limits::LISTEN_BACKLOG).unwrap_or(i32::MAX),
        recv_buffer: bytes(config.main.tcp_recv_buffer_bytes),
        send_buffer: bytes(config.main.tcp_send_buffer_bytes),
        only_ipv6: false,
    }
}
