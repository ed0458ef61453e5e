//! What the settings and the nature of the protocol allow. One per listener and shard, made of the
//! settings for the first connection. May import `config`, `protocol`, `subscriber`,
//! `wire`.

use std::sync::Arc;

use crate::config::{DeliverMode, LoginRefusal, QueueOrder, Versions};
use crate::protocol::Peer;
use crate::subscriber::{Lasts, SessionLimits};

use super::wire::Qos;
use super::wire::fault::Fault;
use super::wire::reason_code::ReasonCode;

/// Octets of the first packet: nobody is known yet (abuse rows 56 and 59).
pub(super) const CONNECT_BYTES_MAX: u32 = 64 * 1024;

/// SUBSCRIBE and UNSUBSCRIBE that wait for one before them; then nothing more is read (arbitrary).
pub(super) const REQUESTS_WAITING_MAX: usize = 64;

/// Filters of one SUBSCRIBE or UNSUBSCRIBE (abuse row 83; arbitrary).
pub(super) const FILTERS_PER_PACKET_MAX: usize = 1_000;

/// Answers to PUBLISH and PUBREL that may be owed: there are no more packet ids.
pub(super) const ANSWERS_OWED_MAX: usize = 65_535;

/// A topic or filter with more levels than [`Limits::levels_max`] ends the connection (V-040).
pub(super) const TOO_DEEP: Fault = Fault::malformed("a topic has too many levels");

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// From accept to CONNECT, milliseconds (V-040).
    pub(super) connect_ms_max: u64,
    /// From accept to the end of any connection, milliseconds (V-040).
    pub(super) lifetime_ms_max: Option<u64>,
    /// What is spoken (V-095).
    pub(super) versions: Versions,
    /// A user name `vhost:user` names the virtual host.
    pub(super) vhost_in_username: bool,
    /// Octets of a client id (V-022).
    pub(super) client_id_bytes_max: usize,
    /// A client may leave its id out.
    pub(super) allow_empty_client_id: bool,
    /// What a client hears whose login fails.
    pub(super) login_refusal: ReasonCode,
    /// Octets of a body from the client beyond which it is dropped; 0: none is.
    pub(super) message_bytes_dropped_above: usize,
    /// What cannot be read, or is no topic, ends the connection without an answer of its own.
    pub(super) malformed_closes: bool,
    /// What is retained is shown only while its publisher may still publish it (abuse row 69).
    pub(super) check_retain_source: bool,
    /// Messages may be retained (3.2.2-14 of 5.0).
    pub(super) retain_available: bool,
    /// The highest QoS that clients may publish with (3.2.2-11 of 5.0).
    pub(super) qos_max: Qos,
    /// Octets of a packet from the client.
    pub(super) packet_bytes_max: u32,
    /// Octets of a body from the client; 0: any that fit a packet (V-024).
    pub(super) message_bytes_max: usize,
    /// Longest keep alive, seconds; 0: any (H-16).
    pub(super) keep_alive_s_max: u16,
    /// Longest session expiry interval, seconds; `u32::MAX`: for ever (abuse row 81).
    pub(super) session_expiry_s_max: u32,
    /// How long sessions of version 3 are remembered that ask for it (V-023).
    pub(super) session_lasts: Lasts,
    /// Publishes of a client that may be unanswered, as version 5 agrees it (V-039).
    pub(super) receive_max_in: u16,
    /// Deliveries to a client of version 5 that may be unanswered (V-039).
    pub(super) receive_max_out: u16,
    /// The same for version 3 (V-026).
    pub(super) inflight_max: u16,
    /// What a session holds (V-027 to V-029).
    pub(super) session: SessionLimits,
    /// A client id of version 3 may have several connections, each with a session of its own (V-034).
    pub(super) allow_multiple_sessions: bool,
    /// They share what their filters match (V-032).
    pub(super) balance: bool,
    /// Takeovers of a session in a second; 0: any number (abuse row 78).
    pub(super) takeovers_max: u32,
    /// Aliases that a client may use (V-038).
    pub(super) topic_alias_max_in: u16,
    /// Aliases that we use (V-038).
    pub(super) topic_alias_max_out: u16,
    /// Unanswered deliveries are sent again on the same connection of version 3 (V-030).
    pub(super) retry_ms: Option<u64>,
    /// Deliveries have the QoS of the subscription, even if published with a lower one (V-031).
    pub(super) upgrade_outgoing_qos: bool,
    /// No will when another connection takes the session (V-036).
    pub(super) suppress_will_on_takeover: bool,
    /// Longest will delay, milliseconds (V-037).
    pub(super) will_delay_ms_max: u64,
    /// Publishes in a second; 0: any number (V-025).
    pub(super) messages_per_second_max: u32,
    /// Filters of a session; 0: any number (V-040).
    pub(super) subscriptions_max: usize,
    /// Levels of a topic or filter (V-040).
    pub(super) levels_max: usize,
    /// A publish that is not allowed closes connections of version 3.1 as well (V-041).
    pub(super) disconnect_on_unauthorized_publish_v3: bool,
    /// A publish that is not allowed is dropped without a word where version 3.1.1 would be closed.
    pub(super) acl_drops: bool,
    /// Clients may publish to exchanges by topics that name them.
    pub(super) publish_to_exchanges: bool,
}

impl Limits {
    /// Those of all connections that come the same way.
    pub(super) fn shared(peer: &Peer) -> Arc<Self> {
        let memo = peer.listener.memo.get_or_init(|| Arc::new(Self::of(peer)));
        // It is of another kind if the listener is another protocol's, as a test may have it.
        memo.clone().downcast().unwrap_or_else(|_| Arc::new(Self::of(peer)))
    }

    /// What the settings say.
    fn of(peer: &Peer) -> Self {
        let mqtt = &peer.config.mqtt;
        let seconds = |s: Option<u64>| s.map_or(u64::MAX, |s| s.saturating_mul(1000));
        let size = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        let expiry_s_max = mqtt.session_expiry_max_s.unwrap_or(u64::MAX);
        Self {
            connect_ms_max: mqtt.connect_timeout_ms,
            lifetime_ms_max: Some(peer.listener.connection_s_max.saturating_mul(1000))
                .filter(|ms| *ms > 0),
            versions: peer.listener.allowed_versions,
            vhost_in_username: mqtt.vhost_in_username,
            client_id_bytes_max: mqtt.client_id_bytes_max.into(),
            allow_empty_client_id: mqtt.allow_zero_length_clientid,
            login_refusal: match mqtt.login_refusal {
                LoginRefusal::BadCredentials => ReasonCode::BadUserNameOrPassword,
                LoginRefusal::NotAuthorized => ReasonCode::NotAuthorized,
            },
            message_bytes_dropped_above: size(mqtt.message_bytes_dropped_above),
            malformed_closes: mqtt.malformed_closes,
            check_retain_source: mqtt.check_retain_source,
            retain_available: mqtt.retain_available,
            qos_max: match mqtt.qos_max {
                0 => Qos::AtMostOnce,
                1 => Qos::AtLeastOnce,
                2.. => Qos::ExactlyOnce,
            },
            packet_bytes_max: mqtt.packet_bytes_max,
            message_bytes_max: size(mqtt.message_bytes_max),
            keep_alive_s_max: mqtt.keepalive_max_s,
            session_expiry_s_max: u32::try_from(expiry_s_max).unwrap_or(u32::MAX),
            session_lasts: match mqtt.persistent_client_expiration_s {
                None => Lasts::Forever,
                Some(s) => Lasts::Ms(s.saturating_mul(1000).max(1)),
            },
            receive_max_in: mqtt.receive_max_broker.max(1),
            receive_max_out: mqtt.receive_max_client.max(1),
            inflight_max: mqtt.inflight_messages_max,
            session: SessionLimits {
                online_max: mqtt.online_messages_max,
                offline_max: mqtt.offline_messages_max,
                drop_oldest: mqtt.queue_type == QueueOrder::Lifo,
                waited_is_extra: mqtt.override_max_online_messages,
            },
            allow_multiple_sessions: mqtt.allow_multiple_sessions,
            balance: mqtt.allow_multiple_sessions
                && mqtt.queue_deliver_mode == DeliverMode::Balance,
            takeovers_max: mqtt.takeover_rate_max,
            topic_alias_max_in: mqtt.topic_alias_max_client,
            topic_alias_max_out: mqtt.topic_alias_max_broker,
            retry_ms: Some(u64::from(mqtt.retry_interval_s).saturating_mul(1000))
                .filter(|ms| *ms > 0),
            upgrade_outgoing_qos: mqtt.upgrade_outgoing_qos,
            suppress_will_on_takeover: mqtt.suppress_lwt_on_session_takeover,
            will_delay_ms_max: seconds(mqtt.last_will_delay_max_s),
            messages_per_second_max: mqtt.message_rate_max,
            subscriptions_max: size(mqtt.subscriptions_per_client_max),
            levels_max: mqtt.topic_depth_max.into(),
            disconnect_on_unauthorized_publish_v3: mqtt.disconnect_on_unauthorized_publish_v3,
            acl_drops: mqtt.acl_drops,
            publish_to_exchanges: mqtt.publish_to_exchanges,
        }
    }

    /// Octets that the body of a will may have; 0: any that fit a packet.
    pub(super) fn will_bytes_max(&self) -> usize {
        let limits = [self.message_bytes_max, self.message_bytes_dropped_above];
        limits.into_iter().filter(|max| *max > 0).min().unwrap_or(0)
    }

    /// Whether a topic or filter has no more levels than allowed.
    pub(super) fn allows_levels(&self, topic: &str) -> bool {
        topic.bytes().filter(|octet| *octet == b'/').count() < self.levels_max
    }
}
