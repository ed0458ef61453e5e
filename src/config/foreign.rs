//! What an existing lavinmq.ini or its environment may say that is not (yet) a setting of ours:
//! keys that are accepted and reported, and old names (L98-L106). Whatever stands in none of the
//! tables stops the start. To implement a key: take it out here and declare it in `settings`.
//!
//! May import nothing.

/// Keys of LavinMQ that nothing acts on yet, by section.
pub(super) const NOT_USED: &[(&str, &[&str])] = &[
    (
        "main",
        &[
            "log_file",
            "pidfile",
            "tls_ktls",
            "stats_log_size",
            "set_timestamp",
            "max_deleted_definitions",
            "consumer_timeout_loop_interval",
            "log_exchange",
            "auth_backends",
            "data_dir_lock",
            "default_consistent_hash_algorithm",
            "sync",
        ],
    ),
    ("amqp", &[]),
    (
        "mqtt",
        &[
            "client_id_validation",
            // Of VerneMQ.
            "allow_register_during_netsplit",
            "allow_publish_during_netsplit",
            "allow_subscribe_during_netsplit",
            "allow_unsubscribe_during_netsplit",
            "trade_consistency",
            "plugins.vmq_passwd",
            "plugins.vmq_acl",
            "max_drain_time",
            "max_msgs_per_drain_step",
            "remote_enqueue_timeout",
            "outgoing_clustering_buffer_size",
            "leveldb.maximum_memory.percent",
            "systree_enabled",
            "systree_interval",
            "shared_subscription_timeout_action",
            "nodename",
            "distributed_cookie",
        ],
    ),
    ("mgmt", &["systemd_socket_name", "http_systemd_socket_name"]),
    (
        "clustering",
        &[
            "enabled",
            "bind",
            "port",
            "advertised_uri",
            "etcd_endpoints",
            "etcd_prefix",
            "max_unsynced_actions",
            "on_leader_elected",
            "on_leader_lost",
            "status_unix_path",
        ],
    ),
    (
        "oauth",
        &[
            "issuer",
            "client_id",
            "mgmt_base_url",
            "mgmt_scopes",
            "resource_server_id",
            "preferred_username_claims",
            "additional_scopes_keys",
            "scope_prefix",
            "verify_aud",
            "audience",
            "jwks_cache_ttl",
        ],
    ),
    ("experimental", &["yield_each_received_bytes", "yield_each_delivered_bytes"]),
];

/// Old names of sections.
const OLD_SECTIONS: &[(&str, &str)] = &[("http", "mgmt"), ("replication", "clustering")];

/// Old names of keys: section and key as written, section and key as they are called now.
const OLD_KEYS: &[(&str, &str, &str, &str)] = &[
    ("main", "default_password", "main", "default_password_hash"),
    ("main", "guest_only_loopback", "main", "default_user_only_loopback"),
    ("amqp", "set_timestamp", "main", "set_timestamp"),
    ("amqp", "consumer_timeout", "main", "consumer_timeout"),
    ("amqp", "default_consumer_prefetch", "main", "default_consumer_prefetch"),
    ("amqp", "systemd_socket_name", "amqp", "amqp_systemd_socket_name"),
    ("amqp", "tls_cert", "main", "tls_cert"),
    ("amqp", "tls_key", "main", "tls_key"),
    ("mgmt", "tls_cert", "main", "tls_cert"),
    ("mgmt", "tls_key", "main", "tls_key"),
];

/// Variables of LavinMQ that nothing acts on yet.
pub(super) const NOT_USED_ENV: &[&str] = &[
    "LAVINMQ_SYNC",
    "LAVINMQ_CLUSTERING",
    "LAVINMQ_CLUSTERING_BIND",
    "LAVINMQ_CLUSTERING_PORT",
    "LAVINMQ_CLUSTERING_ADVERTISED_URI",
    "LAVINMQ_CLUSTERING_ETCD_ENDPOINTS",
    "LAVINMQ_CLUSTERING_ETCD_PREFIX",
    "LAVINMQ_CLUSTERING_MAX_UNSYNCED_ACTIONS",
];

/// What a section and a key are called now.
pub(super) fn current_name<'a>(section: &'a str, key: &'a str) -> (&'a str, &'a str) {
    let section =
        OLD_SECTIONS.iter().find(|(old, _)| *old == section).map_or(section, |(_, now)| now);
    OLD_KEYS
        .iter()
        .find(|(s, k, _, _)| (*s, *k) == (section, key))
        .map_or((section, key), |(_, _, s, k)| (s, k))
}

/// Whether a section may stand in the file at all.
pub(super) fn is_section(section: &str) -> bool {
    section.starts_with("sni:") || NOT_USED.iter().any(|(s, _)| *s == section)
}

/// Whether a key is one of LavinMQ's that nothing acts on yet.
pub(super) fn is_not_used(section: &str, key: &str) -> bool {
    NOT_USED.iter().any(|(s, keys)| *s == section && keys.contains(&key))
}
