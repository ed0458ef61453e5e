//! Metrics as Prometheus reads them.

use std::collections::BTreeSet;

use super::{Asker, exchange};
use crate::support::{Broker, Client, Login};

/// Every line is a comment or a sample of a metric whose type was said once before.
fn check(text: &str) -> BTreeSet<String> {
    let mut types = BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            assert!(types.insert(name.to_owned()), "twice: {line}");
            continue;
        }
        if line.starts_with("# HELP ") {
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').unwrap();
        let name = sample.split('{').next().unwrap();
        assert!(types.contains(name), "no type: {line}");
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    types
}

/// amqp.md L92, R89 to R93
#[test]
fn metrics_have_the_names_that_dashboards_ask_for() {
    let broker = Broker::start(2);
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let response = exchange(broker.metrics_addr(), request);
    assert!(response.head.contains("content-type: text/plain; version=0.0.4"), "{}", response.head);
    let names = check(&response.text);
    for name in [
        "identity_info",
        "build_info",
        "connections",
        "channels",
        "queues",
        "consumers",
        "queue_messages_ready",
        "queue_messages_unacked",
        "connections_opened_total",
        "connections_closed_total",
        "channels_opened_total",
        "queues_declared_total",
        "queues_deleted_total",
        "global_messages_delivered_total",
        "global_messages_redelivered_total",
        "global_messages_acknowledged_total",
        "global_messages_confirmed_total",
        "process_resident_memory_bytes",
        "resident_memory_limit_bytes",
        "disk_space_available_bytes",
        "process_open_fds",
        "process_max_fds",
        "process_open_tcp_sockets",
    ] {
        for prefix in ["lavinmq", "rabbitmq"] {
            assert!(names.contains(&format!("{prefix}_{name}")), "{prefix}_{name}");
        }
    }
    for name in [
        "global_publishers",
        "global_messages_received_total",
        "disk_space_available_limit_bytes",
        "erlang_uptime_seconds",
    ] {
        assert!(names.contains(&format!("rabbitmq_{name}")), "{name}");
    }
    let other = exchange(
        broker.metrics_addr(),
        b"GET /api/users HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );
    assert_eq!(other.status, 404, "nothing else is there");
    let unknown = exchange(broker.http_addr(), request);
    assert_eq!(unknown.status, 401, "where there are logins, one is asked for");
}

/// amqp.md L93, R95
#[test]
fn families_are_told_object_by_object_when_they_are_asked_for() {
    let broker = Broker::start(2);
    let guest = Asker::guest(broker.http_addr());
    let mut client = Client::connect(broker.addr());
    client.log_in(&Login::default());
    client.open_channel(1);
    let all = "family=connection_churn_metrics&family=queue_coarse_metrics,queue_consumer_count\
               &family=connection_metrics&family=connection_coarse_metrics&family=channel_metrics";
    let response = guest.ask("GET", &format!("/metrics/detailed?{all}"), "");
    let names = check(&response.text);
    assert!(names.contains("lavinmq_detailed_connection_incoming_bytes_total"), "{names:?}");
    assert!(names.contains("rabbitmq_detailed_channel_consumers"), "{names:?}");
    let port = client.stream().local_addr().unwrap().port();
    assert!(response.text.contains(&format!("connection=\"127.0.0.1:{port} -> ")));
    let elsewhere = guest.ask("GET", "/metrics/detailed?family=connection_metrics&vhost=none", "");
    assert!(!elsewhere.text.contains(&format!("127.0.0.1:{port}")));
}
