//! Listeners with names, as VerneMQ writes them: `listener.tcp.NAME = ip:port` and their options on
//! three levels, of which the most specific holds (mqtt.md V-090, V-091).
//!
//! May import `config::mqtt` and `config::value`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::mqtt::{Mqtt, Versions};
use super::value::{parse_bool, parse_max_connections, parse_mountpoint, parse_number, parse_rate};

/// How many listeners may have a name: a mistake in a generated file, not a need.
const LISTENERS_MAX: usize = 64;

/// What a listener does before the protocol begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Nothing.
    Tcp,
    /// A WebSocket on `ws_path`.
    Ws,
}

impl Transport {
    const fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Ws => "ws",
        }
    }
}

/// Where a listener listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenerAddress {
    /// Port 0 = a free one.
    Ip(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

impl ListenerAddress {
    /// Whether there is no room for both: the ports are the same, and an address is in the other.
    pub fn overlaps(&self, address: SocketAddr) -> bool {
        match self {
            Self::Ip(at) => {
                at.port() == address.port()
                    && address.port() != 0
                    && (at.ip() == address.ip()
                        || at.ip().is_unspecified()
                        || address.ip().is_unspecified())
            }
            Self::Unix(_) => false,
        }
    }
}

/// What a listener does with the header of a proxy (mqtt.md V-099).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProxyHeader {
    /// It is read. `None` = `amqp.tcp_proxy_protocol`.
    pub is_read: Option<bool>,
    /// Who shows the proxy a certificate is the user whom it names.
    pub names_user: bool,
}

/// One listener, with everything that was inherited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// For the log and the limit of its connections.
    pub name: Box<str>,
    /// What comes before the protocol.
    pub transport: Transport,
    /// Where.
    pub address: ListenerAddress,
    /// 0 = only the limit of all connections.
    pub max_connections: u32,
    /// Connections a second; `None` = `main.max_connection_rate`.
    pub max_connection_rate: Option<u32>,
    /// Seconds, 0 = for ever; `None` = `max_connection_lifetime` of the section.
    pub max_connection_lifetime_s: Option<u64>,
    /// Clients without a user name are welcome; `None` = `allow_anonymous`.
    pub allow_anonymous: Option<bool>,
    /// The virtual host of its clients; `None` = `default_vhost`.
    pub mountpoint: Option<Box<str>>,
    /// What it speaks.
    pub allowed_protocol_versions: Versions,
    /// What proxies in front of it may say.
    pub proxy: ProxyHeader,
}

/// Transports of VerneMQ that are to come.
const TRANSPORTS_NOT_USED: &[&str] = &["ssl", "wss", "vmq", "vmqs", "http", "https"];

/// Options of VerneMQ's listeners that nothing acts on.
const OPTIONS_NOT_USED: &[&str] = &[
    "nr_of_acceptors",
    "buffer_sizes",
    "active_n",
    "use_identity_as_username",
    "require_certificate",
    "cafile",
    "certfile",
    "keyfile",
    "keypasswd",
    "crlfile",
    "depth",
    "ciphers",
    "eccs",
    "tls_version",
    "tls_handshake_timeout",
    "psk_support",
    "pskfile",
    "pskfile_separator",
    "psk_identity_hint",
    "max_request_line_length",
    "max_header_value_length",
    "max_ws_frame_size",
];

const OPTIONS: &[&str] = &[
    "max_connections",
    "max_connection_rate",
    "max_connection_lifetime",
    "mountpoint",
    "allowed_protocol_versions",
    "allow_anonymous_override",
    "proxy_protocol",
    "proxy_protocol_use_cn_as_username",
];

/// What one level says.
#[derive(Debug, Default, Clone)]
struct Options {
    max_connections: Option<u32>,
    max_connection_rate: Option<u32>,
    max_connection_lifetime_s: Option<u64>,
    allow_anonymous: Option<bool>,
    /// The inner `None`: said to be off.
    mountpoint: Option<Option<Box<str>>>,
    allowed_protocol_versions: Option<Versions>,
    proxy_protocol: Option<bool>,
    proxy_names_user: Option<bool>,
}

impl Options {
    fn set(&mut self, option: &str, value: &str) -> Result<(), String> {
        match option {
            "max_connections" => self.max_connections = Some(parse_max_connections(value)?),
            "max_connection_rate" => self.max_connection_rate = Some(parse_rate(value)?),
            "max_connection_lifetime" => {
                let seconds = parse_number(value)?;
                let fits = seconds.checked_mul(1000).is_some();
                self.max_connection_lifetime_s =
                    Some(fits.then_some(seconds).ok_or_else(|| format!("'{value}' is too large"))?);
            }
            "proxy_protocol" => self.proxy_protocol = Some(parse_bool(value)?),
            "proxy_protocol_use_cn_as_username" => self.proxy_names_user = Some(parse_bool(value)?),
            "allow_anonymous_override" => self.allow_anonymous = Some(parse_bool(value)?),
            "mountpoint" => self.mountpoint = Some(parse_mountpoint(value)?),
            "allowed_protocol_versions" => {
                self.allowed_protocol_versions = Some(Versions::parse(value)?);
            }
            _ => return Err(format!("listeners have no option '{option}'")),
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Draft {
    transport: Transport,
    name: Box<str>,
    address: Option<ListenerAddress>,
    options: Options,
}

/// Everything that lines beginning with `listener.` have said so far.
#[derive(Debug, Default)]
pub(super) struct Drafts {
    all: Options,
    tcp: Options,
    ws: Options,
    named: Vec<Draft>,
}

/// Whether a line was of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is kept.
    Yes,
    /// It is well known and means nothing here.
    NotUsed,
    /// It is no line of a listener.
    Foreign,
}

impl Drafts {
    /// Takes a key of the section.
    ///
    /// # Errors
    /// The reason, when the key begins with `listener.` and is nothing, or its value is bad.
    pub(super) fn take(&mut self, key: &str, value: &str) -> Result<Taken, String> {
        let Some(rest) = key.strip_prefix("listener.") else { return Ok(Taken::Foreign) };
        let parts: Vec<&str> = rest.split('.').collect();
        match parts.as_slice() {
            [transport, ..] if TRANSPORTS_NOT_USED.contains(transport) => Ok(Taken::NotUsed),
            [option] | [_, option] | [_, _, option] if OPTIONS_NOT_USED.contains(option) => {
                Ok(Taken::NotUsed)
            }
            [option] => self.all.set(option, value).map(|()| Taken::Yes),
            [word, rest @ ..] => {
                let transport = match *word {
                    "tcp" => Transport::Tcp,
                    "ws" => Transport::Ws,
                    _ => return Err(format!("there is no kind of listener '{word}'")),
                };
                self.take_of(transport, rest, value).map(|()| Taken::Yes)
            }
            [] => Err(format!("'{key}' names no listener")),
        }
    }

    fn take_of(&mut self, transport: Transport, rest: &[&str], value: &str) -> Result<(), String> {
        match rest {
            [option] if OPTIONS.contains(option) => self.of(transport).set(option, value),
            [name] => {
                let address = parse_listener_address(value)?;
                self.draft(transport, name)?.address = Some(address);
                Ok(())
            }
            [name, option] => self.draft(transport, name)?.options.set(option, value),
            _ => Err(format!("listener.{}.{} is nothing", transport.word(), rest.join("."))),
        }
    }

    const fn of(&mut self, transport: Transport) -> &mut Options {
        match transport {
            Transport::Tcp => &mut self.tcp,
            Transport::Ws => &mut self.ws,
        }
    }

    fn draft(&mut self, transport: Transport, name: &str) -> Result<&mut Draft, String> {
        if name.is_empty() {
            return Err("a listener has a name".into());
        }
        let known = self.named.iter().position(|d| d.transport == transport && &*d.name == name);
        let place = known.unwrap_or(self.named.len());
        if known.is_none() {
            if place == LISTENERS_MAX {
                return Err(format!("more than {LISTENERS_MAX} listeners"));
            }
            let name = name.into();
            self.named.push(Draft { transport, name, address: None, options: Options::default() });
        }
        self.named.get_mut(place).ok_or_else(|| "no such listener".into())
    }

    /// The listeners with all that they inherit, the last level from the section's own keys.
    ///
    /// # Errors
    /// A listener has options and no address, or the address of another.
    pub(super) fn resolve(&self, mqtt: &Mqtt) -> Result<Vec<Listener>, String> {
        let mut all: Vec<Listener> = Vec::new();
        for draft in &self.named {
            let name = format!("listener.{}.{}", draft.transport.word(), draft.name);
            let Some(address) = draft.address.clone() else {
                return Err(format!("mqtt.{name} has options and no address"));
            };
            let is_free = matches!(&address, ListenerAddress::Ip(at) if at.port() == 0);
            if !is_free && let Some(other) = all.iter().find(|l| l.address == address) {
                return Err(format!("mqtt.{name} has the address of {}", other.name));
            }
            let kind = match draft.transport {
                Transport::Tcp => &self.tcp,
                Transport::Ws => &self.ws,
            };
            let levels = [&draft.options, kind, &self.all];
            let mountpoint = levels.iter().find_map(|o| o.mountpoint.clone());
            all.push(Listener {
                name: name.into(),
                transport: draft.transport,
                address,
                max_connections: levels
                    .iter()
                    .find_map(|o| o.max_connections)
                    .unwrap_or(mqtt.max_connections),
                max_connection_rate: levels.iter().find_map(|o| o.max_connection_rate),
                max_connection_lifetime_s: levels.iter().find_map(|o| o.max_connection_lifetime_s),
                allow_anonymous: levels.iter().find_map(|o| o.allow_anonymous),
                mountpoint: mountpoint.unwrap_or_else(|| mqtt.mountpoint.clone()),
                allowed_protocol_versions: levels
                    .iter()
                    .find_map(|o| o.allowed_protocol_versions)
                    .unwrap_or(mqtt.allowed_protocol_versions),
                proxy: ProxyHeader {
                    is_read: levels.iter().find_map(|o| o.proxy_protocol),
                    names_user: levels.iter().find_map(|o| o.proxy_names_user).unwrap_or(false),
                },
            });
        }
        Ok(all)
    }
}

/// `127.0.0.1:1883`, `[::1]:1883`, `::1:1883` as VerneMQ has it, or `local:/path:0`.
fn parse_listener_address(text: &str) -> Result<ListenerAddress, String> {
    let wrong = || format!("'{text}' is neither ip:port nor local:/path:0");
    if let Some(path) = text.strip_prefix("local:") {
        let path = path.strip_suffix(":0").unwrap_or(path);
        return if path.starts_with('/') {
            Ok(ListenerAddress::Unix(path.into()))
        } else {
            Err(wrong())
        };
    }
    let (ip, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let bare = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
    let ip: IpAddr = bare.parse().map_err(|_| wrong())?;
    let port = port.parse().map_err(|_| wrong())?;
    Ok(ListenerAddress::Ip(SocketAddr::new(ip, port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(lines: &[(&str, &str)]) -> Result<Vec<Listener>, String> {
        let mut drafts = Drafts::default();
        for (key, value) in lines {
            assert_eq!(drafts.take(key, value)?, Taken::Yes, "{key}");
        }
        drafts.resolve(&crate::config::Config::default().mqtt)
    }

    fn ip(text: &str) -> ListenerAddress {
        ListenerAddress::Ip(text.parse().unwrap())
    }

    /// mqtt.md V-090
    #[test]
    fn a_listener_is_a_transport_a_name_and_an_address() {
        let all = resolved(&[
            ("listener.tcp.default", "127.0.0.1:1883"),
            ("listener.ws.web", "[::1]:8888"),
            ("listener.tcp.six", "::1:1884"),
            ("listener.tcp.here", "local:/run/mqtt.sock:0"),
        ])
        .unwrap();
        let shown: Vec<_> = all.iter().map(|l| (&*l.name, l.transport, &l.address)).collect();
        let here = ListenerAddress::Unix("/run/mqtt.sock".into());
        let expected = [
            ("listener.tcp.default", Transport::Tcp, &ip("127.0.0.1:1883")),
            ("listener.ws.web", Transport::Ws, &ip("[::1]:8888")),
            ("listener.tcp.six", Transport::Tcp, &ip("[::1]:1884")),
            ("listener.tcp.here", Transport::Tcp, &here),
        ];
        assert_eq!(shown, expected);
        assert!(all.iter().all(|l| l.allowed_protocol_versions == Versions::ALL));
    }

    /// mqtt.md V-091
    #[test]
    fn the_most_specific_option_holds_whatever_the_order_of_the_lines() {
        let all = resolved(&[
            ("listener.tcp.a.mountpoint", "off"),
            ("listener.max_connections", "10"),
            ("listener.max_connection_rate", "7"),
            ("listener.max_connection_lifetime", "60"),
            ("listener.tcp.allow_anonymous_override", "on"),
            ("listener.tcp.a", "127.0.0.1:1"),
            ("listener.tcp.max_connections", "20"),
            ("listener.tcp.b", "127.0.0.1:2"),
            ("listener.ws.c", "127.0.0.1:3"),
            ("listener.tcp.b.max_connections", "infinity"),
            ("listener.tcp.mountpoint", "plant"),
            ("listener.ws.allowed_protocol_versions", "3,4"),
            ("listener.ws.c.max_connection_rate", "9"),
            ("listener.tcp.b.allow_anonymous_override", "off"),
        ])
        .unwrap();
        let shown: Vec<_> =
            all.iter().map(|l| (l.max_connections, l.mountpoint.as_deref())).collect();
        assert_eq!(shown, [(20, None), (0, Some("plant")), (10, None)]);
        let others: Vec<_> =
            all.iter().map(|l| (l.max_connection_lifetime_s, l.allow_anonymous)).collect();
        assert_eq!(others, [(Some(60), Some(true)), (Some(60), Some(false)), (Some(60), None)]);
        let rates: Vec<_> = all.iter().map(|l| l.max_connection_rate).collect();
        assert_eq!(rates, [Some(7), Some(7), Some(9)]);
        let speaks: Vec<_> = all.iter().map(|l| l.allowed_protocol_versions.contains(5)).collect();
        assert_eq!(speaks, [true, true, false]);
    }

    #[test]
    fn what_is_wrong_with_a_listener_is_said() {
        for (lines, reason) in [
            (&[("listener.tcp.a", "1883")][..], "'1883' is neither ip:port nor local:/path:0"),
            (
                &[("listener.tcp.a", "host:1883")],
                "'host:1883' is neither ip:port nor local:/path:0",
            ),
            (
                &[("listener.tcp.a", "local:x:0")],
                "'local:x:0' is neither ip:port nor local:/path:0",
            ),
            (&[("listener.udp.a", "::1:1")], "there is no kind of listener 'udp'"),
            (&[("listener.tcp.a.colour", "1")], "listeners have no option 'colour'"),
            (&[("listener.max_connection_rate", "0")], "'0' is not a number from 1"),
            (&[("listener.colour", "1")], "listeners have no option 'colour'"),
            (&[("listener.tcp.a.b.c", "1")], "listener.tcp.a.b.c is nothing"),
            (&[("listener.tcp.", "::1:1")], "a listener has a name"),
            (
                &[("listener.tcp.a.mountpoint", "x")],
                "mqtt.listener.tcp.a has options and no address",
            ),
            (
                &[("listener.tcp.a", "::1:1"), ("listener.ws.b", "::1:1")],
                "mqtt.listener.ws.b has the address of listener.tcp.a",
            ),
        ] {
            assert_eq!(resolved(lines).unwrap_err(), reason);
        }
        let many = (0..=LISTENERS_MAX).map(|n| (format!("listener.tcp.n{n}"), "::1:0"));
        let many: Vec<_> = many.collect();
        let many: Vec<_> = many.iter().map(|(key, at)| (key.as_str(), *at)).collect();
        assert_eq!(resolved(&many).unwrap_err(), "more than 64 listeners");
    }

    #[test]
    fn encrypted_listeners_and_options_of_vernemq_are_known_and_not_used() {
        let mut drafts = Drafts::default();
        for key in [
            "listener.ssl.default",
            "listener.ssl.require_certificate",
            "listener.vmq.clustering",
            "listener.nr_of_acceptors",
        ] {
            assert_eq!(drafts.take(key, "on"), Ok(Taken::NotUsed), "{key}");
        }
        assert_eq!(drafts.take("port", "1"), Ok(Taken::Foreign));
    }
}
