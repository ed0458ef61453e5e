//! The declarations of section `[mqtt]`: LavinMQ's keys where it has them, VerneMQ's for the rest,
//! with its defaults unless a comment says why not. Named listeners are in `listeners`,
//! messages and subscriptions in `mqtt_traffic_settings`.
//!
//! May import `config`.

use super::mqtt::{LoginRefusal, Versions};
use super::setting::{Field, Setting, Unit};
use super::value::{one_of, parse_max_connections, parse_mountpoint, parse_period, parse_port};

/// Shows with its session in the management of queues, as `mqtt-subscription-<id>qos1`, whose
/// names have at most 255 octets (mqtt.md X-06).
const CLIENT_ID_BYTES_MAX: u16 = 233;

const PORT: &str = "0 to 65535, or off";
const PERIOD: &str = "never, or a number of s, h, d, w, m (30 days), y (365 days)";

/// The settings of listeners, clients and sessions, in the order of the sample file.
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
        "tls_port",
        "8883",
        Field::Other(|c, text| parse_port(text).map(|port| c.mqtt.tls_port = port), PORT),
        "Port for TLS, once there is main.tls_cert.",
    ),
    Setting::new(
        "mqtt",
        "tls_bind",
        "",
        Field::Other(
            |c, text| super::setting::parse_bind(text).map(|at| c.mqtt.tls_bind = at),
            "IPv4 or IPv6 addresses, separated by commas, or nothing",
        ),
        "Addresses of that port; none = as bind.",
    ),
    Setting::new(
        "mqtt",
        "use_identity_as_username",
        "off",
        Field::Switch(|c| &mut c.mqtt.use_identity_as_username),
        "Of that port: who shows a certificate is the user that it names, whatever name it says and without a password.",
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
            |c, text| {
                parse_mountpoint(text)
                    .map(|vhost| c.mqtt.default_vhost = vhost.unwrap_or_else(|| "/".into()).into())
            },
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
    // Theirs is the same file with two meanings.
    Setting::new(
        "mqtt",
        "vmq_acl.first_lines",
        "everyone",
        Field::Other(
            |c, text| {
                let known = [("everyone", false), ("anonymous", true)];
                one_of(text, &known).map(|is| c.mqtt.acl_first_lines_nameless = is)
            },
            "everyone or anonymous",
        ),
        "For whom the lines of the ACL file before the first user are: every client, as in VerneMQ, or clients without a user name, as in Mosquitto.",
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
    // Mosquitto 2.1 answers a CONNECT, 2.0 and VerneMQ do not; both close where a topic or filter is
    // none. The code of SUBACK for that is RabbitMQ's and EMQX's way.
    Setting::new(
        "mqtt",
        "malformed",
        "answer",
        Field::Other(
            |c, text| {
                let known = [("answer", false), ("close", true)];
                one_of(text, &known).map(|closes| c.mqtt.malformed_closes = closes)
            },
            "answer or close",
        ),
        "What a client hears of a CONNECT of MQTT 5 that cannot be read, and of topics and filters that are none: a CONNACK, and 0x90 and 0x8F (answer), or, as from Mosquitto 2.0 and VerneMQ, nothing, and a closed connection with 0x81 (close).",
    ),
    Setting::new(
        "mqtt",
        "persistent_client_expiration",
        "never",
        Field::Other(
            |c, text| {
                parse_period(text, "never")
                    .map(|period| c.mqtt.persistent_client_expiration_s = period)
            },
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
];
