//! The declarations of section `[mqtt]`: LavinMQ's keys where it has them, VerneMQ's for the rest,
//! with its defaults unless a comment says why not. Named listeners are in `listeners`.
//!
//! May import `config`.

use super::mqtt::{
    DeliverMode, LoginRefusal, QueueOrder, SharedPolicy, TopicTranslation, Versions,
};
use super::setting::{Field, Setting, Unit};
use super::value::{
    one_of, parse_limit, parse_max_connections, parse_mountpoint, parse_period, parse_port,
    parse_topic_prefix,
};

/// The protocol's own: four octets of length (mqtt.md 2.0).
const PACKET_BYTES_MAX: u32 = 268_435_455;

/// Mosquitto's: a smaller one would forbid the packets that every client needs. CONNECT has its own
/// limit.
const PACKET_BYTES_MIN: u32 = 20;

/// Shows with its session in the management of queues, as `mqtt-subscription-<id>qos1`, whose
/// names have at most 255 octets (mqtt.md X-06).
const CLIENT_ID_BYTES_MAX: u16 = 233;

const PORT: &str = "0 to 65535, or off";
const PERIOD: &str = "never, or a number of s, h, d, w, m (30 days), y (365 days)";
const LIMIT: &str = "0 or more, -1 = any number";

/// Every setting of the section, in the order of the sample file.
pub(super) const MQTT: &[Setting] = &[
    Setting::new(
        "mqtt",
        "bind",
        "127.0.0.1",
        Field::Addresses(|c| &mut c.mqtt.bind),
        "Addresses to listen on; :: = all, IPv6 and IPv4 (IPv6 alone beside an IPv4 address).",
    ),
    Setting::new(
        "mqtt",
        "port",
        "1883",
        Field::Other(|c, text| parse_port(text).map(|port| c.mqtt.port = port), PORT),
        "Port to listen on; 0 = a free one, which the start line names.",
    ),
    Setting::new(
        "mqtt",
        "unix_path",
        "",
        Field::PathOrNone(|c| &mut c.mqtt.unix_path),
        "A unix socket to listen on.",
    ),
    Setting::new(
        "mqtt",
        "mqtt_systemd_socket_name",
        "ringmq-mqtt.socket",
        Field::Text(|c| &mut c.mqtt.systemd_socket_name),
        "Name of sockets opened by systemd (FileDescriptorName=) that are for MQTT.",
    ),
    Setting::new(
        "mqtt",
        "ws_port",
        "off",
        Field::Other(|c, text| parse_port(text).map(|port| c.mqtt.ws_port = port), PORT),
        "Port for WebSocket connections of all protocols, told apart by their path.",
    ),
    Setting::new(
        "mqtt",
        "ws_path",
        "/mqtt",
        Field::Other(
            |c, text| super::value::parse_url_path(text).map(|path| c.mqtt.ws_path = path),
            "a path that begins with /",
        ),
        "Path of WebSocket connections that speak MQTT.",
    ),
    // VerneMQ has 10,000, the usual trap of its load tests (mqtt.md V-351): main.max_connections
    // bounds them anyway.
    Setting::new(
        "mqtt",
        "max_connections",
        "infinity",
        Field::Other(
            |c, text| parse_max_connections(text).map(|max| c.mqtt.max_connections = max),
            "1 or more, or infinity",
        ),
        "Connections of each MQTT listener, beside main.max_connections for all.",
    ),
    Setting::new(
        "mqtt",
        "mountpoint",
        "off",
        Field::Other(
            |c, text| parse_mountpoint(text).map(|mountpoint| c.mqtt.mountpoint = mountpoint),
            "off, or the name of a virtual host",
        ),
        "Virtual host of these listeners' clients unless their user name says another.",
    ),
    // VerneMQ's guide has 3,4: every client of MQTT 5 would be refused.
    Setting::new(
        "mqtt",
        "allowed_protocol_versions",
        "3,4,5,131,132",
        Field::Other(
            |c, text| {
                Versions::parse(text).map(|versions| c.mqtt.allowed_protocol_versions = versions)
            },
            "a list of 3 (3.1), 4 (3.1.1), 5, and of bridges 131, 132",
        ),
        "Protocol versions that MQTT listeners speak.",
    ),
    Setting::new(
        "mqtt",
        "default_vhost",
        "/",
        Field::Other(
            |c, text| parse_mountpoint(text)
                .map(|vhost| c.mqtt.default_vhost = vhost.unwrap_or_else(|| "/".into()).into()),
            "the name of a virtual host",
        ),
        "Virtual host of MQTT clients that nothing else gives one.",
    ),
    Setting::new(
        "mqtt",
        "vhost_in_username",
        "true",
        Field::Switch(|c| &mut c.mqtt.vhost_in_username),
        "A user name vhost:user is the user of that name in that virtual host, as in RabbitMQ and LavinMQ.",
    ),
    Setting::new(
        "mqtt",
        "allow_anonymous",
        "off",
        Field::Switch(|c| &mut c.mqtt.allow_anonymous),
        "Clients without a user name are let in, with the rights that the ACL file gives to everybody.",
    ),
    // LavinMQ has false: a user without any right could then publish to every device.
    Setting::new(
        "mqtt",
        "permission_check_enabled",
        "true",
        Field::Switch(|c| &mut c.mqtt.permission_check_enabled),
        "Publishing needs the write permission on amq.topic and subscribing the read permission, and topic permissions hold.",
    ),
    Setting::new(
        "mqtt",
        "vmq_passwd.password_file",
        "",
        Field::PathOrNone(|c| &mut c.mqtt.password_file),
        "A password file of VerneMQ or Mosquitto, whose users exist beside the others.",
    ),
    Setting::new(
        "mqtt",
        "vmq_passwd.password_reload_interval",
        "10",
        Field::U32(|c| &mut c.mqtt.password_reload_interval_s, Unit::Seconds, 0, 86_400),
        "How often the password file is looked at for changes; 0 = never.",
    ),
    Setting::new(
        "mqtt",
        "vmq_acl.acl_file",
        "",
        Field::PathOrNone(|c| &mut c.mqtt.acl_file),
        "An ACL file of VerneMQ or Mosquitto: who may publish and subscribe to which topics.",
    ),
    Setting::new(
        "mqtt",
        "vmq_acl.acl_reload_interval",
        "10",
        Field::U32(|c| &mut c.mqtt.acl_reload_interval_s, Unit::Seconds, 0, 86_400),
        "How often the ACL file is looked at for changes; 0 = never.",
    ),
    // VerneMQ refuses, Mosquitto drops.
    Setting::new(
        "mqtt",
        "acl_denied",
        "refuse",
        Field::Other(
            |c, text| {
                let known = [("refuse", false), ("drop", true)];
                one_of(text, &known).map(|drops| c.mqtt.acl_drops = drops)
            },
            "refuse or drop",
        ),
        "What the ACL file does not allow is refused, or dropped as by Mosquitto: every filter is granted, messages that may not be read are kept back, and publishes of MQTT 3.1.1 are acknowledged.",
    ),
    Setting::new(
        "mqtt",
        "mqtt_connect_timeout",
        "5000",
        Field::U64(|c| &mut c.mqtt.connect_timeout_ms, Unit::Milliseconds, 1, 10_000),
        "Time from accept to a complete login.",
    ),
    Setting::new(
        "mqtt",
        "max_connection_lifetime",
        "0",
        Field::U64(|c| &mut c.mqtt.connection_lifetime_max_s, Unit::Seconds, 0, u64::MAX / 1000),
        "How long a connection may last; 0 = for ever.",
    ),
    Setting::new(
        "mqtt",
        "max_keepalive",
        "0",
        Field::U16(|c| &mut c.mqtt.keepalive_max_s, Unit::Seconds, 0, u16::MAX),
        "Longest keep-alive: clients of MQTT 5 that ask for more, or for none, are given this, those of MQTT 3 that ask for more are refused with code 2, as by Mosquitto; 0 = any.",
    ),
    // VerneMQ's guide has 23, the bound of MQTT 3.1: it refuses every client named by a UUID.
    Setting::new(
        "mqtt",
        "max_client_id_size",
        "100",
        Field::U16(|c| &mut c.mqtt.client_id_bytes_max, Unit::Bytes, 1, CLIENT_ID_BYTES_MAX),
        "Longest client id.",
    ),
    Setting::new(
        "mqtt",
        "allow_zero_length_clientid",
        "on",
        Field::Switch(|c| &mut c.mqtt.allow_zero_length_clientid),
        "Clients of MQTT 3.1.1 and 5 without a client id are given one (Mosquitto's name for it).",
    ),
    // RabbitMQ and VerneMQ have the first, Mosquitto and HiveMQ the second; EMQX has both.
    Setting::new(
        "mqtt",
        "login_refusal",
        "bad_credentials",
        Field::Other(
            |c, text| {
                let known = [
                    ("bad_credentials", LoginRefusal::BadCredentials),
                    ("not_authorized", LoginRefusal::NotAuthorized),
                ];
                one_of(text, &known).map(|refusal| c.mqtt.login_refusal = refusal)
            },
            "bad_credentials or not_authorized",
        ),
        "What a client hears whose user or password is wrong: code 4, 0x86 in MQTT 5 (bad_credentials) or, as from Mosquitto, 5 and 0x87 (not_authorized).",
    ),
    Setting::new(
        "mqtt",
        "persistent_client_expiration",
        "never",
        Field::Other(
            |c, text| parse_period(text, "never")
                .map(|period| c.mqtt.persistent_client_expiration_s = period),
            PERIOD,
        ),
        "How long the session of a client of MQTT 3 without a clean start is remembered.",
    ),
    Setting::new(
        "mqtt",
        "max_session_expiry_interval",
        "never",
        Field::Other(
            |c, text| parse_period(text, "never").map(|max| c.mqtt.session_expiry_max_s = max),
            PERIOD,
        ),
        "Longest time that a client of MQTT 5 may have its session remembered.",
    ),
    Setting::new(
        "mqtt",
        "max_last_will_delay",
        "client",
        Field::Other(
            |c, text| parse_period(text, "client").map(|max| c.mqtt.last_will_delay_max_s = max),
            "client, or a number of s, h, d, w, m, y",
        ),
        "Longest delay of a will; client = as it says.",
    ),
    // Two clients with one name take the session from each other as fast as they connect; one that
    // loses its network does so once in a while.
    Setting::new(
        "mqtt",
        "max_takeover_rate",
        "100",
        Field::U32(|c| &mut c.mqtt.takeover_rate_max, Unit::Count, 0, u32::MAX),
        "How often in a second a client id may connect while it is connected; further CONNECTs are refused after a while, 0 = any number.",
    ),
    Setting::new(
        "mqtt",
        "suppress_lwt_on_session_takeover",
        "off",
        Field::Switch(|c| &mut c.mqtt.suppress_lwt_on_session_takeover),
        "No will is published when the same client connects again.",
    ),
    Setting::new(
        "mqtt",
        "max_message_size",
        "0",
        Field::U32(|c| &mut c.mqtt.message_bytes_max, Unit::Bytes, 0, PACKET_BYTES_MAX),
        "Largest payload that may be published; 0 = any that fits a packet.",
    ),
    Setting::new(
        "mqtt",
        "message_size_limit",
        "0",
        Field::U32(|c| &mut c.mqtt.message_bytes_dropped_above, Unit::Bytes, 0, PACKET_BYTES_MAX),
        "Messages with a larger payload are dropped and their client stays connected, as by Mosquitto; 0 = none.",
    ),
    Setting::new(
        "mqtt",
        "retain_available",
        "on",
        Field::Switch(|c| &mut c.mqtt.retain_available),
        "Messages may be retained; off: who asks for it is disconnected (Mosquitto's name for it).",
    ),
    Setting::new(
        "mqtt",
        "max_qos",
        "2",
        Field::U16(|c| &mut c.mqtt.qos_max, Unit::Count, 0, 2),
        "Highest QoS that clients may publish with; who uses a higher one is disconnected (Mosquitto's name for it).",
    ),
    Setting::new(
        "mqtt",
        "max_packet_size",
        "268435455",
        Field::U32(|c| &mut c.mqtt.packet_bytes_max, Unit::Bytes, PACKET_BYTES_MIN, PACKET_BYTES_MAX),
        "Largest packet that a client may send after CONNECT.",
    ),
    Setting::new(
        "mqtt",
        "max_message_rate",
        "0",
        Field::U32(|c| &mut c.mqtt.message_rate_max, Unit::Count, 0, u32::MAX),
        "Messages a second that a client may publish before it is read more slowly; 0 = any number.",
    ),
    Setting::new(
        "mqtt",
        "max_inflight_messages",
        "20",
        Field::U16(|c| &mut c.mqtt.inflight_messages_max, Unit::Count, 0, u16::MAX),
        "Unacknowledged deliveries to a client of MQTT 3; 1 = strict order, 0 = any number.",
    ),
    Setting::new(
        "mqtt",
        "receive_max_client",
        "65535",
        Field::U16(|c| &mut c.mqtt.receive_max_client, Unit::Count, 1, u16::MAX),
        "Unacknowledged deliveries to a client of MQTT 5, or fewer if it says so.",
    ),
    Setting::new(
        "mqtt",
        "receive_max_broker",
        "65535",
        Field::U16(|c| &mut c.mqtt.receive_max_broker, Unit::Count, 1, u16::MAX),
        "Unacknowledged messages that a client of MQTT 5 may have published.",
    ),
    Setting::new(
        "mqtt",
        "topic_alias_max_client",
        "0",
        Field::U16(|c| &mut c.mqtt.topic_alias_max_client, Unit::Count, 0, u16::MAX),
        "Topic aliases that a client may use; 0 = none.",
    ),
    Setting::new(
        "mqtt",
        "topic_alias_max_broker",
        "0",
        Field::U16(|c| &mut c.mqtt.topic_alias_max_broker, Unit::Count, 0, u16::MAX),
        "Topic aliases that the broker uses towards a client, or fewer if that says so; 0 = none.",
    ),
    Setting::new(
        "mqtt",
        "max_online_messages",
        "1000",
        Field::Other(
            |c, text| parse_limit(text).map(|max| c.mqtt.online_messages_max = max),
            LIMIT,
        ),
        "Messages that wait for a connected client, beside those in flight.",
    ),
    Setting::new(
        "mqtt",
        "max_offline_messages",
        "1000",
        Field::Other(
            |c, text| parse_limit(text).map(|max| c.mqtt.offline_messages_max = max),
            LIMIT,
        ),
        "Messages of QoS 1 and 2 that wait for a session whose client is not connected.",
    ),
    Setting::new(
        "mqtt",
        "override_max_online_messages",
        "off",
        Field::Switch(|c| &mut c.mqtt.override_max_online_messages),
        "What had waited for a client when it connected does not count towards max_online_messages.",
    ),
    Setting::new(
        "mqtt",
        "queue_type",
        "fifo",
        Field::Other(
            |c, text| {
                let known = [("fifo", QueueOrder::Fifo), ("lifo", QueueOrder::Lifo)];
                one_of(text, &known).map(|order| c.mqtt.queue_type = order)
            },
            "fifo or lifo",
        ),
        "A full session refuses the newest message (fifo) or drops the oldest (lifo); the order of delivery stays.",
    ),
    // VerneMQ has 20 s. Over TCP a repetition never helps, since the first copy still arrives, and a
    // slow client gets more of what it is slow at (mqtt.md V-030, H-08).
    Setting::new(
        "mqtt",
        "retry_interval",
        "0",
        Field::U32(|c| &mut c.mqtt.retry_interval_s, Unit::Seconds, 0, 86_400),
        "Time after which an unacknowledged delivery to a client of MQTT 3 is repeated; 0 = never.",
    ),
    Setting::new(
        "mqtt",
        "upgrade_outgoing_qos",
        "off",
        Field::Switch(|c| &mut c.mqtt.upgrade_outgoing_qos),
        "Deliver with the QoS of the subscription even what was published with a lower one.",
    ),
    Setting::new(
        "mqtt",
        "response_information",
        "",
        Field::Other(
            |c, text| parse_topic_prefix(text).map(|prefix| c.mqtt.response_information = prefix),
            "nothing, or the beginning of a topic, %c for the client id",
        ),
        "What topics for answers begin with: clients of MQTT 5 that ask for it are told.",
    ),
    Setting::new(
        "mqtt",
        "disconnect_on_unauthorized_publish_v3",
        "off",
        Field::Switch(|c| &mut c.mqtt.disconnect_on_unauthorized_publish_v3),
        "A publish that is not allowed ends the connection of any client of MQTT 3.",
    ),
    Setting::new(
        "mqtt",
        "max_subscriptions_per_client",
        "0",
        Field::U32(|c| &mut c.mqtt.subscriptions_per_client_max, Unit::Count, 0, u32::MAX),
        "Subscriptions of one client; 0 = any number.",
    ),
    // VerneMQ has 10 in later releases: trees of other brokers' users are deeper, and a level costs
    // the same whatever its depth (mqtt.md 2.6).
    Setting::new(
        "mqtt",
        "topic_max_depth",
        "128",
        Field::U16(|c| &mut c.mqtt.topic_depth_max, Unit::Count, 1, u16::MAX),
        "Levels of a topic or filter.",
    ),
    Setting::new(
        "mqtt",
        "shared_subscription_policy",
        "prefer_local",
        Field::Other(
            set_shared_policy,
            "prefer_local, random, local_only, prefer_online_before_local or prefer_shard",
        ),
        "Which member of a shared subscription gets a message: connected ones first, in turn (random: drawn); prefer_shard: one on the publisher's shard first, which is cheaper and shares unevenly.",
    ),
    Setting::new(
        "mqtt",
        "max_retained_messages",
        "0",
        Field::U64(|c| &mut c.mqtt.retained_messages_max, Unit::Count, 0, u64::MAX),
        "Retained messages of a virtual host; those of further topics are delivered and not kept, of which clients of version 5.0 hear (0x97), 0 = 10 million.",
    ),
    Setting::new(
        "mqtt",
        "max_retained_bytes",
        "0",
        Field::U64(|c| &mut c.mqtt.retained_bytes_max, Unit::Bytes, 0, u64::MAX),
        "Octets of the retained messages of a virtual host; beyond, they are delivered and not kept, of which clients of version 5.0 hear (0x97), 0 = 64 GiB.",
    ),
    Setting::new(
        "mqtt",
        "topic_translation",
        "rabbitmq",
        Field::Other(
            |c, text| {
                let known = [
                    ("rabbitmq", TopicTranslation::Rabbitmq),
                    ("escaped", TopicTranslation::Escaped),
                ];
                one_of(text, &known).map(|way| c.mqtt.topic_translation = way)
            },
            "rabbitmq or escaped",
        ),
        "How topics become routing keys of AMQP: a/b to a.b, and a dot within a level stays a dot (rabbitmq) or is written %2E (escaped). Header x-mqtt-topic has the exact topic, both ways.",
    ),
    Setting::new(
        "mqtt",
        "expose_dollar_topics",
        "off",
        Field::Switch(|c| &mut c.mqtt.expose_dollar_topics),
        "Topics that begin with $ become routing keys of AMQP like any others: whoever has bound # to amq.topic gets them.",
    ),
    Setting::new(
        "mqtt",
        "expose_amqp_properties",
        "off",
        Field::Switch(|c| &mut c.mqtt.expose_amqp_properties),
        "AMQP's message_id, type, app_id, user_id, timestamp and priority become user properties amqp-message-id and so on; what MQTT publishes has its user as user_id and the time it came as timestamp.",
    ),
    Setting::new(
        "mqtt",
        "dead_letter_exchange",
        "",
        Field::Text(|c| &mut c.mqtt.dead_letter_exchange),
        "Exchange of AMQP, of the session's virtual host, for messages that a session has no room for or that expire in it; empty = they are dropped.",
    ),
    Setting::new(
        "mqtt",
        "dead_letter_routing_key",
        "",
        Field::Text(|c| &mut c.mqtt.dead_letter_routing_key),
        "Routing key of such messages; empty = their topic as a key.",
    ),
    Setting::new(
        "mqtt",
        "publish_to_exchanges",
        "off",
        Field::Switch(|c| &mut c.mqtt.publish_to_exchanges),
        "Clients may publish to $exchange/<name>/<topic>: to that exchange of AMQP, with the topic as routing key, if they may write to it.",
    ),
    Setting::new(
        "mqtt",
        "allow_multiple_sessions",
        "off",
        Field::Switch(|c| &mut c.mqtt.allow_multiple_sessions),
        "A client id of MQTT 3 may connect several times, each connection with its own subscriptions; the first one's session lasts. Shared subscriptions are better.",
    ),
    Setting::new(
        "mqtt",
        "queue_deliver_mode",
        "fanout",
        Field::Other(
            |c, text| {
                let known = [("fanout", DeliverMode::Fanout), ("balance", DeliverMode::Balance)];
                one_of(text, &known).map(|mode| c.mqtt.queue_deliver_mode = mode)
            },
            "fanout or balance",
        ),
        "With several sessions of a client id: each gets what it has subscribed to (fanout), or one of those that have the same filter (balance).",
    ),
    Setting::new(
        "mqtt",
        "coordinate_registrations",
        "on",
        Field::Switch(|c| &mut c.mqtt.coordinate_registrations),
        "Accepted for VerneMQ's files: the connections of a client id always meet on one shard, in order.",
    )
    .not_yet(),
];

fn set_shared_policy(config: &mut super::Config, text: &str) -> Result<(), String> {
    let known = [
        ("prefer_local", SharedPolicy::PreferLocal),
        ("random", SharedPolicy::Random),
        ("local_only", SharedPolicy::LocalOnly),
        ("prefer_online_before_local", SharedPolicy::PreferOnlineBeforeLocal),
        ("prefer_shard", SharedPolicy::PreferShard),
    ];
    config.mqtt.shared_subscription_policy = one_of(text, &known)?;
    Ok(())
}
