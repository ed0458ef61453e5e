//! Section `[mqtt]` as types: what sessions, listeners and the retained store read.
//!
//! Each field is one declaration in `mqtt_settings` or `mqtt_traffic_settings`, which has its
//! sentence and its bounds; here stand its unit and what its special values mean. May import `config::listeners` and `properties`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::listeners::{Listener, ListenerAddress, ProxyHeader, Transport};
use crate::properties::{Crossing, Dots};

/// Section `[mqtt]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mqtt {
    /// Addresses of the plain and the WebSocket listeners, at least one.
    pub bind: Vec<IpAddr>,
    /// `None` = no such listener; 0 = a free port.
    pub port: Option<u16>,
    /// `None` = no such listener; 0 = a free port. Needs a certificate; then it is one of
    /// `named_listeners`.
    pub tls_port: Option<u16>,
    /// None = `bind`.
    pub tls_bind: Vec<IpAddr>,
    /// Of the listener of `tls_port`: who shows a certificate is its user.
    pub use_identity_as_username: bool,
    /// `None` = no such listener.
    pub unix_path: Option<PathBuf>,
    /// Name of sockets that systemd has opened.
    pub systemd_socket_name: String,
    /// Where those are; no setting.
    pub inherited: Vec<ListenerAddress>,
    /// `None` = no such listener; 0 = a free port.
    pub ws_port: Option<u16>,
    /// Begins with a slash.
    pub ws_path: String,
    /// Of each of these listeners; 0 = only the limit of all connections.
    pub max_connections: u32,
    /// The virtual host of clients of these listeners; `None` = `default_vhost`.
    pub mountpoint: Option<Box<str>>,
    /// What these listeners speak.
    pub allowed_protocol_versions: Versions,
    /// Listeners with a name of their own. All of them together: [`Mqtt::listeners`].
    pub named_listeners: Vec<Listener>,

    /// The virtual host of clients that nothing else gives one.
    pub default_vhost: String,
    /// A user name `vhost:user` names the virtual host as well.
    pub vhost_in_username: bool,
    /// Clients without a user name are welcome.
    pub allow_anonymous: bool,
    /// Write and read permissions of users (on `amq.topic`) and their topic permissions hold.
    pub permission_check_enabled: bool,
    /// `None` = there is no such file.
    pub password_file: Option<PathBuf>,
    /// Seconds; 0 = never.
    pub password_reload_interval_s: u32,
    /// `None` = there is no such file.
    pub acl_file: Option<PathBuf>,
    /// Seconds; 0 = never.
    pub acl_reload_interval_s: u32,
    /// What the ACL file does not allow is dropped without a word; otherwise it is refused.
    pub acl_drops: bool,
    /// The lines of the ACL file before the first `user` are for clients without a name alone.
    pub acl_first_lines_nameless: bool,

    /// Milliseconds from accept to the end of the login, 1 to 10,000.
    pub connect_timeout_ms: u64,
    /// Seconds; 0 = for ever.
    pub connection_lifetime_max_s: u64,
    /// Seconds, the longest keep-alive a client may ask for; 0 = any, and none at all.
    pub keepalive_max_s: u16,
    /// Bytes, 1 to 233.
    pub client_id_bytes_max: u16,
    /// A client of version 3.1.1 or 5 may leave its id out.
    pub allow_zero_length_clientid: bool,
    /// What clients hear whose login fails.
    pub login_refusal: LoginRefusal,
    /// What cannot be read, or is no topic, ends the connection without an answer of its own.
    pub malformed_closes: bool,
    /// Seconds a session without expiry of its own is remembered; `None` = for ever.
    pub persistent_client_expiration_s: Option<u64>,
    /// Seconds a session may ask to be remembered at most; `None` = for ever.
    pub session_expiry_max_s: Option<u64>,
    /// Seconds a will may be put off at most; `None` = as the client says.
    pub last_will_delay_max_s: Option<u64>,
    /// How often in a second a session may pass from one connection to another; 0 = any number.
    pub takeover_rate_max: u32,
    /// No will when the same client takes its session over.
    pub suppress_lwt_on_session_takeover: bool,

    /// Bytes of a payload; 0 = any that fits a packet.
    pub message_bytes_max: u32,
    /// Bytes of a payload beyond which a message is dropped; 0 = any.
    pub message_bytes_dropped_above: u32,
    /// Messages are retained.
    pub retain_available: bool,
    /// The highest QoS that clients may publish with, 0 to 2.
    pub qos_max: u16,
    /// Bytes of a whole packet that comes in, 20 to 268,435,455. The largest value is the
    /// protocol's own and needs no advertisement.
    pub packet_bytes_max: u32,
    /// Messages a second that a client publishes before it is read more slowly; 0 = any.
    pub message_rate_max: u32,
    /// Unsettled deliveries to clients that name no number of their own; 0 = any.
    pub inflight_messages_max: u16,
    /// Unsettled deliveries to clients that do, at most; at least 1.
    pub receive_max_client: u16,
    /// Unsettled messages of one publisher, at least 1.
    pub receive_max_broker: u16,
    /// Highest alias that clients may use; 0 = none.
    pub topic_alias_max_client: u16,
    /// Highest alias that the broker uses; 0 = none.
    pub topic_alias_max_broker: u16,
    /// Messages that wait for a session that is connected; `None` = any number, 0 = it gets none.
    pub online_messages_max: Option<u64>,
    /// Messages that wait for a session that is not; `None` = any number.
    pub offline_messages_max: Option<u64>,
    /// What waited while a session was away is not held against `online_messages_max`.
    pub override_max_online_messages: bool,
    /// Which messages a full session loses.
    pub queue_type: QueueOrder,
    /// Seconds after which an unsettled delivery is repeated to a client of version 3; 0 = never.
    pub retry_interval_s: u32,
    /// Deliver as surely as the subscription says, also what was published less surely.
    pub upgrade_outgoing_qos: bool,
    /// What topics for answers begin with; empty: clients are told none. `%c`: the client id.
    pub response_information: String,
    /// A refused publish of a client of version 3 ends its connection.
    pub disconnect_on_unauthorized_publish_v3: bool,

    /// Subscriptions of one client; 0 = any number.
    pub subscriptions_per_client_max: u32,
    /// Levels of a topic or filter, at least 1.
    pub topic_depth_max: u16,
    /// Which member of a shared subscription gets a message.
    pub shared_subscription_policy: SharedPolicy,
    /// Retained messages of the whole broker; 0 = any number.
    pub retained_messages_max: u64,
    /// Bytes of all of them; 0 = any number.
    pub retained_bytes_max: u64,
    /// A retained message is shown only while its publisher may still publish to its topic.
    pub check_retain_source: bool,
    /// How topics and routing keys become each other.
    pub topic_translation: TopicTranslation,
    /// Topics that begin with `$` become routing keys as well.
    pub expose_dollar_topics: bool,
    /// Properties that only one side has go along to the other.
    pub expose_amqp_properties: bool,
    /// Where messages go that a session has no room for or that expire in it; empty: nowhere.
    pub dead_letter_exchange: String,
    /// Their routing key; empty: their own.
    pub dead_letter_routing_key: String,
    /// A publish to `$exchange/<name>/<topic>` goes to that exchange.
    pub publish_to_exchanges: bool,

    /// A client id of version 3 may have several connections at a time.
    pub allow_multiple_sessions: bool,
    /// Who of them gets a message.
    pub queue_deliver_mode: DeliverMode,
    /// Accepted; always so.
    pub coordinate_registrations: bool,
}

impl Mqtt {
    /// The name of the listener that `port` asks for; of one with a WebSocket; of a unix socket; of
    /// one that systemd has opened.
    const DEFAULT_NAMES: [&'static str; 4] = ["mqtt", "mqtt-ws", "mqtt-unix", "mqtt-systemd"];

    /// How messages cross to other protocols and back.
    pub const fn crossing(&self) -> Crossing {
        Crossing {
            dots: self.topic_translation.dots(),
            dollar_topics: self.expose_dollar_topics,
            shows_origin: self.expose_amqp_properties,
        }
    }

    /// Everything to listen on: what `port`, `ws_port` and `unix_path` ask for, then the named
    /// ones. A named listener that has taken the same address replaces the one of `port`.
    pub fn listeners(&self) -> Vec<Listener> {
        let [tcp, ws, unix, systemd] = Self::DEFAULT_NAMES;
        let mut all = Vec::new();
        let mut add = |name: &str, transport, address| {
            all.push(Listener {
                name: name.into(),
                transport,
                address,
                proxy: ProxyHeader::default(),
                max_connections: self.max_connections,
                max_connection_rate: None,
                max_connection_lifetime_s: None,
                allow_anonymous: None,
                mountpoint: self.mountpoint.clone(),
                allowed_protocol_versions: self.allowed_protocol_versions,
                tls: None,
            });
        };
        let ports = [(tcp, Transport::Tcp, self.port), (ws, Transport::Ws, self.ws_port)];
        for (name, transport, port) in ports {
            for address in self.bind.iter().filter_map(|ip| Some(SocketAddr::new(*ip, port?))) {
                if !self.is_taken(address) {
                    add(name, transport, ListenerAddress::Ip(address));
                }
            }
        }
        if let Some(path) = &self.unix_path {
            let address = ListenerAddress::Unix(path.clone());
            if !self.inherited.contains(&address) {
                add(unix, Transport::Tcp, address);
            }
        }
        let is_named =
            |at: &ListenerAddress| self.named_listeners.iter().any(|named| named.address == *at);
        for address in self.inherited.iter().filter(|at| !is_named(at)) {
            add(systemd, Transport::Tcp, address.clone());
        }
        all.extend(self.named_listeners.iter().cloned());
        all
    }

    /// A listener for WebSockets that the settings do not name.
    pub fn web_listener(&self, name: &str, address: SocketAddr) -> Listener {
        Listener {
            name: name.into(),
            transport: Transport::Ws,
            address: ListenerAddress::Ip(address),
            proxy: ProxyHeader::default(),
            max_connections: self.max_connections,
            max_connection_rate: None,
            max_connection_lifetime_s: None,
            allow_anonymous: None,
            mountpoint: self.mountpoint.clone(),
            allowed_protocol_versions: self.allowed_protocol_versions,
            tls: None,
        }
    }

    /// Whether clients without a user name are welcome anywhere.
    pub fn allows_anonymous(&self) -> bool {
        let named = || self.named_listeners.iter().any(|l| l.allow_anonymous == Some(true));
        self.allow_anonymous || named()
    }

    /// Whether a listener that is named, or that systemd has opened, has this address or one that
    /// overlaps: then it is what the operator means.
    pub(super) fn is_taken(&self, address: SocketAddr) -> bool {
        let named = self.named_listeners.iter().map(|listener| &listener.address);
        named.chain(&self.inherited).any(|other| other.overlaps(address))
    }

    /// Holds the places until the declared defaults are in them.
    pub(super) const fn blank() -> Self {
        Self {
            bind: Vec::new(),
            port: None,
            tls_port: None,
            tls_bind: Vec::new(),
            use_identity_as_username: false,
            unix_path: None,
            systemd_socket_name: String::new(),
            inherited: Vec::new(),
            ws_port: None,
            ws_path: String::new(),
            max_connections: 0,
            mountpoint: None,
            allowed_protocol_versions: Versions(0),
            named_listeners: Vec::new(),
            default_vhost: String::new(),
            vhost_in_username: false,
            allow_anonymous: false,
            permission_check_enabled: true,
            password_file: None,
            password_reload_interval_s: 0,
            acl_file: None,
            acl_reload_interval_s: 0,
            acl_drops: false,
            acl_first_lines_nameless: false,
            connect_timeout_ms: 0,
            connection_lifetime_max_s: 0,
            keepalive_max_s: 0,
            client_id_bytes_max: 0,
            allow_zero_length_clientid: false,
            login_refusal: LoginRefusal::BadCredentials,
            malformed_closes: false,
            persistent_client_expiration_s: None,
            session_expiry_max_s: None,
            last_will_delay_max_s: None,
            takeover_rate_max: 0,
            suppress_lwt_on_session_takeover: false,
            message_bytes_max: 0,
            message_bytes_dropped_above: 0,
            retain_available: false,
            qos_max: 0,
            packet_bytes_max: 0,
            message_rate_max: 0,
            inflight_messages_max: 0,
            receive_max_client: 0,
            receive_max_broker: 0,
            topic_alias_max_client: 0,
            topic_alias_max_broker: 0,
            online_messages_max: None,
            offline_messages_max: None,
            override_max_online_messages: false,
            queue_type: QueueOrder::Fifo,
            retry_interval_s: 0,
            upgrade_outgoing_qos: false,
            response_information: String::new(),
            disconnect_on_unauthorized_publish_v3: false,
            subscriptions_per_client_max: 0,
            topic_depth_max: 0,
            shared_subscription_policy: SharedPolicy::PreferLocal,
            retained_messages_max: 0,
            retained_bytes_max: 0,
            check_retain_source: false,
            topic_translation: TopicTranslation::Rabbitmq,
            expose_dollar_topics: false,
            expose_amqp_properties: false,
            dead_letter_exchange: String::new(),
            dead_letter_routing_key: String::new(),
            publish_to_exchanges: false,
            allow_multiple_sessions: false,
            queue_deliver_mode: DeliverMode::Fanout,
            coordinate_registrations: false,
        }
    }
}

/// The protocol versions that a listener speaks, by the level octet of CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions(u8);

impl Versions {
    /// Levels in the order of their bits: 131 and 132 are 3 and 4 with the mark of a bridge.
    const LEVELS: [u8; 5] = [3, 4, 5, 131, 132];

    /// Every version there is.
    pub const ALL: Self = Self(0b1_1111);

    /// Whether a CONNECT with this level octet is spoken.
    pub fn contains(self, level: u8) -> bool {
        Self::bit(level).is_some_and(|bit| self.0 & bit != 0)
    }

    fn bit(level: u8) -> Option<u8> {
        Self::LEVELS.iter().position(|l| *l == level).map(|place| 1 << place)
    }

    /// Reads `3,4,5`.
    ///
    /// # Errors
    /// The reason, when it is no list of levels, or an empty one.
    pub fn parse(text: &str) -> Result<Self, String> {
        text.trim_matches(['[', ']'])
            .split(',')
            .map(|level| level.trim().parse().ok().and_then(Self::bit))
            .try_fold(0, |all, bit| Some(all | bit?))
            .map(Self)
            .ok_or_else(|| format!("'{text}' is not a list of 3, 4, 5, 131 and 132"))
    }
}

/// What clients hear whose login fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginRefusal {
    /// Code 4, 0x86 in version 5.
    BadCredentials,
    /// Code 5, 0x87 in version 5.
    NotAuthorized,
}

/// What becomes of the messages of a full session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueOrder {
    /// The newest does not come in.
    Fifo,
    /// The oldest goes.
    Lifo,
}

/// For several connections with one client id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliverMode {
    /// Each gets a copy.
    Fanout,
    /// One of them gets it.
    Balance,
}

/// Which member of a shared subscription gets a message. A connected member comes before one that is
/// not; local means of this node (V-201), so that on one node the first four differ in this: members
/// are drawn with `Random`, and have their turns with the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SharedPolicy {
    /// One of this node if there is any.
    PreferLocal,
    /// Any.
    Random,
    /// One of this node or none.
    LocalOnly,
    /// A connected one before one of this node.
    PreferOnlineBeforeLocal,
    /// One of the publisher's shard if a connected one is there.
    PreferShard,
}

/// How a topic becomes a routing key and back (mqtt.md X-03): [`crate::properties::Dots`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicTranslation {
    /// A slash becomes a dot and a dot a slash: one within a level does not come back.
    Rabbitmq,
    /// A dot within a level is written `%2E`.
    Escaped,
}

impl TopicTranslation {
    /// In the broker's words.
    pub const fn dots(self) -> Dots {
        match self {
            Self::Rabbitmq => Dots::Kept,
            Self::Escaped => Dots::Escaped,
        }
    }
}

#[cfg(test)]
#[path = "mqtt_tests.rs"]
mod tests;
