//! The declarations of section `[mqtt]` about messages, subscriptions and what is retained: the
//! second half of `mqtt_settings`, which says whose names and defaults they have.
//!
//! May import `config`.

use super::mqtt::{DeliverMode, QueueOrder, SharedPolicy, TopicTranslation};
use super::setting::{Field, Setting, Unit};
use super::value::{one_of, parse_limit, parse_topic_prefix};

/// The protocol's own: four octets of length (mqtt.md 2.0).
const PACKET_BYTES_MAX: u32 = 268_435_455;

/// Mosquitto's: a smaller one would forbid the packets that every client needs. CONNECT has its own
/// limit.
const PACKET_BYTES_MIN: u32 = 20;

const LIMIT: &str = "0 or more, -1 = any number";

/// The settings that follow [`super::mqtt_settings::MQTT`] in the sample file.
pub(super) const MQTT_TRAFFIC: &[Setting] = &[
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
    // Mosquitto's name and default.
    Setting::new(
        "mqtt",
        "check_retain_source",
        "on",
        Field::Switch(|c| &mut c.mqtt.check_retain_source),
        "A retained message is shown to new subscribers only while its publisher may still publish to its topic.",
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
