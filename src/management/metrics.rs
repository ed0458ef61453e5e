//! Metrics for Prometheus, in its text format: under `lavinmq_` and `rabbitmq_` what each of the two
//! has, since dashboards ask for one or the other (amqp.md L92, R89-R95).
//!
//! May import `app`, `machine`, `overview`, `stats`.

use std::fmt::Write as _;
use std::rc::Rc;

use super::app::{App, Totals};
use super::connections::is_seen;
use super::overview::{API_VERSION, name_of_cluster};
use super::reply::Reply;
use super::request::Request;
use super::routes::Answer;
use crate::stats::ConnectionReport;

/// What Prometheus reads.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Rows of one family that is told object by object.
const ROWS_MAX: usize = 100_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
}

/// Which brokers' dashboards ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Both,
    LavinMq,
    RabbitMq,
}

struct Metric {
    name: &'static str,
    kind: Kind,
    asked: Asked,
    help: &'static str,
    value: f64,
}

#[expect(clippy::cast_precision_loss, reason = "numbers of Prometheus are doubles")]
const fn number(count: u64) -> f64 {
    count as f64
}

const fn counter(name: &'static str, count: u64, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, asked: Asked::Both, help, value: number(count) }
}

const fn gauge(name: &'static str, count: u64, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, asked: Asked::Both, help, value: number(count) }
}

impl Metric {
    const fn rabbit(mut self) -> Self {
        self.asked = Asked::RabbitMq;
        self
    }

    const fn lavin(mut self) -> Self {
        self.asked = Asked::LavinMq;
        self
    }

    /// Of milliseconds.
    const fn in_seconds(mut self) -> Self {
        self.value /= 1000.0;
        self
    }

    fn write(&self, text: &mut String) {
        let prefixes: &[&str] = match self.asked {
            Asked::Both => &["lavinmq", "rabbitmq"],
            Asked::LavinMq => &["lavinmq"],
            Asked::RabbitMq => &["rabbitmq"],
        };
        for prefix in prefixes {
            head(text, &format!("{prefix}_{}", self.name), self.kind, self.help);
            // Writing to a String does not fail.
            let _ = writeln!(text, "{prefix}_{} {}", self.name, self.value);
        }
    }
}

fn head(text: &mut String, name: &str, kind: Kind, help: &str) {
    let kind = match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
    };
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// A value of a label, whatever a client calls itself.
fn label(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// amqp.md R89: what every panel of RabbitMQ's dashboards is joined with.
fn identity(app: &App, text: &mut String) {
    let cluster = name_of_cluster(app);
    let (node, cluster) = (label(&app.node), label(cluster.as_str().unwrap_or_default()));
    for prefix in ["lavinmq", "rabbitmq"] {
        head(text, &format!("{prefix}_identity_info"), Kind::Gauge, "Who this is");
        let _ = writeln!(
            text,
            "{prefix}_identity_info{{{prefix}_node=\"{node}\",{prefix}_cluster=\"{cluster}\",\
             {prefix}_cluster_permanent_id=\"{cluster}\",{prefix}_endpoint=\"aggregated\"}} 1"
        );
        head(text, &format!("{prefix}_build_info"), Kind::Gauge, "What this is");
        let _ = writeln!(
            text,
            "{prefix}_build_info{{{prefix}_version=\"{API_VERSION}\",ringmq_version=\"{}\",\
             prometheus_client_version=\"none\",erlang_version=\"none\",product_name=\"RingMQ\",\
             product_version=\"{}\"}} 1",
            env!("CARGO_PKG_VERSION"),
            env!("CARGO_PKG_VERSION")
        );
    }
}

/// amqp.md R92
fn churn(totals: &Totals) -> Vec<Metric> {
    let c = &totals.counters;
    vec![
        counter("connections_opened_total", c.connections_opened, "Connections opened"),
        counter("connections_closed_total", c.connections_closed, "Connections closed"),
        counter("channels_opened_total", c.channels_opened, "Channels opened"),
        counter("channels_closed_total", c.channels_closed, "Channels closed"),
        counter("queues_declared_total", c.queues_declared, "Queues declared"),
        counter("queues_created_total", c.queues_created, "Queues created"),
        counter("queues_deleted_total", c.queues_deleted, "Queues deleted"),
    ]
}

/// amqp.md R90, R91
fn messages(totals: &Totals) -> Vec<Metric> {
    let (c, g, q) = (&totals.counters, &totals.gauges, &totals.queues);
    let delivered = c.delivered + c.delivered_settled + c.fetched + c.fetched_settled;
    let manual = "Deliveries that the consumer acknowledges";
    let automatic = "Deliveries that nobody acknowledges";
    vec![
        gauge("connections", g.connections, "Connections open"),
        gauge("channels", totals.channels(), "Channels open"),
        gauge("queues", g.queues, "Queues"),
        gauge("consumers", q.consumers, "Consumers"),
        gauge("exchanges", g.exchanges, "Exchanges"),
        gauge("bindings", g.bindings, "Bindings of queues"),
        gauge("queue_messages", q.ready + q.unsettled, "Messages in queues"),
        gauge("queue_messages_ready", q.ready, "Messages that nobody has"),
        gauge("queue_messages_unacked", q.unsettled, "Messages that a consumer has"),
        counter("global_messages_received_total", c.published, "Messages published"),
        counter(
            "global_messages_received_confirm_total",
            c.published_reported,
            "Messages published with confirms",
        )
        .rabbit(),
        counter(
            "global_messages_routed_total",
            c.published.saturating_sub(c.unwanted + c.returned),
            "Messages that a queue wanted",
        )
        .rabbit(),
        counter("global_messages_confirmed_total", c.stored, "Publishes confirmed"),
        counter(
            "global_messages_unroutable_dropped_total",
            c.unwanted,
            "Messages that no queue wanted",
        )
        .rabbit(),
        counter(
            "global_messages_unroutable_returned_total",
            c.returned,
            "Messages returned to the publisher",
        )
        .rabbit(),
        counter("global_messages_delivered_total", delivered, "Messages delivered"),
        counter("global_messages_delivered_consume_manual_ack_total", c.delivered, manual).rabbit(),
        counter("global_messages_delivered_consume_auto_ack_total", c.delivered_settled, automatic)
            .rabbit(),
        counter("global_messages_delivered_get_manual_ack_total", c.fetched, manual).rabbit(),
        counter("global_messages_delivered_get_auto_ack_total", c.fetched_settled, automatic)
            .rabbit(),
        counter(
            "global_messages_get_empty_total",
            c.fetched_none,
            "Requests for a message of an empty queue",
        )
        .rabbit(),
        counter("global_messages_redelivered_total", c.redelivered, "Messages delivered again"),
        counter("global_messages_acknowledged_total", c.accepted, "Deliveries acknowledged"),
        gauge("global_publishers", 0, "Publishers, where they are counted").rabbit(),
        gauge("global_consumers", q.consumers, "Consumers").rabbit(),
        counter("connection_incoming_bytes_total", c.octets_in, "Octets from sockets of clients")
            .rabbit(),
        counter("connection_outgoing_bytes_total", c.octets_out, "Octets to sockets of clients")
            .rabbit(),
    ]
}

/// amqp.md R93
fn node(app: &App, totals: &Totals) -> Vec<Metric> {
    let m = app.machine();
    let limit = app.about.memory_bytes_max;
    vec![
        gauge("process_open_fds", m.files_open, "Open file descriptors"),
        gauge("process_max_fds", m.files_max, "Limit of open file descriptors"),
        gauge("process_open_tcp_sockets", m.sockets_open, "Open sockets"),
        gauge("process_max_tcp_sockets", m.files_max, "Limit of open sockets").rabbit(),
        gauge("process_resident_memory_bytes", m.resident_bytes, "Memory in use"),
        gauge(
            "resident_memory_limit_bytes",
            limit,
            "Memory of messages above which publishers wait",
        ),
        gauge("disk_space_available_bytes", totals.disk_free_bytes, "Free disk space"),
        gauge(
            "disk_space_available_limit_bytes",
            totals.disk_min_bytes,
            "Disk space below which publishing is refused",
        )
        .rabbit(),
        gauge(
            "alarms_memory_used_watermark",
            totals.memory_alarm.into(),
            "1: the memory alarm is on",
        )
        .rabbit(),
        gauge(
            "alarms_free_disk_space_watermark",
            totals.disk_alarm.into(),
            "1: the disk alarm is on",
        )
        .rabbit(),
        gauge("erlang_uptime_seconds", app.uptime_ms(), "Time since the start")
            .in_seconds()
            .rabbit(),
        counter("uptime", app.uptime_ms(), "Seconds since the start").in_seconds().lavin(),
        counter("cpu_user_time_total", m.user_ms, "Seconds of the process on a processor")
            .in_seconds()
            .lavin(),
        counter("cpu_system_time_total", m.system_ms, "Seconds of the kernel for the process")
            .in_seconds()
            .lavin(),
        gauge("total_connected_followers", 0, "Followers; there is one node").lavin(),
    ]
}

/// GET /metrics
pub(super) async fn aggregated(app: Rc<App>, _: Request) -> Answer {
    let totals = app.totals().await?;
    let mut text = String::with_capacity(16 * 1024);
    identity(&app, &mut text);
    for metric in churn(&totals).iter().chain(&messages(&totals)).chain(&node(&app, &totals)) {
        metric.write(&mut text);
    }
    Ok(Reply::Text(TEXT, text))
}

/// A family of metrics that can be asked for.
type Family = fn(&[&ConnectionReport], &Totals, &mut String);

const COARSE: &str = "connection_coarse_metrics";

/// amqp.md L93, R95: those of what is counted so far.
const FAMILIES: &[(&str, Family)] = &[
    ("connection_churn_metrics", churn_family),
    ("queue_coarse_metrics", queue_family),
    ("queue_consumer_count", consumer_family),
    (COARSE, connection_family),
    ("channel_metrics", channel_family),
];

const DETAILED: [&str; 2] = ["lavinmq_detailed", "rabbitmq_detailed"];

/// One metric without labels, in both families.
fn plain(text: &mut String, name: &str, kind: Kind, help: &str, value: f64) {
    for prefix in DETAILED {
        head(text, &format!("{prefix}_{name}"), kind, help);
        let _ = writeln!(text, "{prefix}_{name} {value}");
    }
}

fn churn_family(_: &[&ConnectionReport], totals: &Totals, text: &mut String) {
    for metric in churn(totals) {
        plain(text, metric.name, metric.kind, metric.help, metric.value);
    }
}

fn queue_family(_: &[&ConnectionReport], totals: &Totals, text: &mut String) {
    let (ready, unsettled) = (totals.queues.ready, totals.queues.unsettled);
    let all = [
        ("queue_messages", ready + unsettled, "Messages in queues"),
        ("queue_messages_ready", ready, "Messages that nobody has"),
        ("queue_messages_unacked", unsettled, "Messages that a consumer has"),
    ];
    for (name, count, help) in all {
        plain(text, name, Kind::Gauge, help, number(count));
    }
}

fn consumer_family(_: &[&ConnectionReport], totals: &Totals, text: &mut String) {
    plain(text, "queue_consumers", Kind::Gauge, "Consumers", number(totals.queues.consumers));
}

/// One number of each connection or channel.
fn rows(
    text: &mut String,
    (name, kind, help): (&str, Kind, &str),
    values: &(impl Iterator<Item = (String, u64)> + Clone),
) {
    for prefix in DETAILED {
        head(text, &format!("{prefix}_{name}"), kind, help);
        for (labels, value) in values.clone().take(ROWS_MAX) {
            let _ = writeln!(text, "{prefix}_{name}{{{labels}}} {value}");
        }
    }
}

fn connection_family(all: &[&ConnectionReport], _: &Totals, text: &mut String) {
    let labels = |c: &ConnectionReport| {
        format!("connection=\"{}\",vhost=\"{}\"", label(&c.name()), label(&c.vhost))
    };
    let mut put = |name, kind, help, of: fn(&ConnectionReport) -> u64| {
        rows(text, (name, kind, help), &all.iter().map(|c| (labels(c), of(c))));
    };
    put("connection_incoming_bytes_total", Kind::Counter, "Octets from the client", |c| {
        c.octets_in
    });
    put("connection_outgoing_bytes_total", Kind::Counter, "Octets to the client", |c| c.octets_out);
    put("connection_channels", Kind::Gauge, "Channels", |c| c.channels.len() as u64);
}

fn channel_family(all: &[&ConnectionReport], _: &Totals, text: &mut String) {
    let channels = all.iter().flat_map(|connection| {
        let name = label(&connection.name());
        let vhost = label(&connection.vhost);
        connection.channels.iter().map(move |channel| {
            let number = channel.number;
            (format!("channel=\"{name} ({number})\",vhost=\"{vhost}\""), channel)
        })
    });
    let consumers = channels.clone().map(|(labels, c)| (labels, u64::from(c.consumers)));
    rows(text, ("channel_consumers", Kind::Gauge, "Consumers"), &consumers);
    let unsettled = channels.clone().map(|(labels, c)| (labels, c.unsettled));
    rows(text, ("channel_messages_unacked", Kind::Gauge, "Deliveries that are out"), &unsettled);
    let unreported = channels.clone().map(|(labels, c)| (labels, c.unreported));
    rows(text, ("channel_messages_unconfirmed", Kind::Gauge, "Publishes to confirm"), &unreported);
    let prefetch = channels.map(|(labels, c)| (labels, u64::from(c.prefetch)));
    rows(text, ("channel_prefetch", Kind::Gauge, "Limit of deliveries"), &prefetch);
}

/// GET /metrics/detailed?family=...&vhost=...: nothing but what is asked for.
pub(super) async fn detailed(app: Rc<App>, request: Request) -> Answer {
    let mut text = String::new();
    identity(&app, &mut text);
    let asked = request.query.all("family").flat_map(|family| family.split(','));
    // Two names of one family.
    let asked = asked.map(|name| if name == "connection_metrics" { COARSE } else { name });
    let asked: Vec<&str> = asked.collect();
    let families: Vec<_> = FAMILIES.iter().filter(|(name, _)| asked.contains(name)).collect();
    if families.is_empty() {
        return Ok(Reply::Text(TEXT, text));
    }
    let totals = app.totals().await?;
    let connections = app.connections().await?;
    let vhosts: Vec<&str> = request.query.all("vhost").collect();
    let wanted: Vec<&ConnectionReport> = connections
        .iter()
        .filter(|report| is_seen(report, &request.subject))
        .filter(|report| vhosts.is_empty() || vhosts.contains(&&*report.vhost))
        .map(|seen| &**seen)
        .collect();
    for (_, family) in families {
        family(&wanted, &totals, &mut text);
    }
    Ok(Reply::Text(TEXT, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_call_themselves_cannot_break_a_line() {
        assert_eq!(label("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }

    #[test]
    fn a_metric_has_its_type_once_under_each_prefix() {
        let mut text = String::new();
        counter("x_total", 3, "Things").write(&mut text);
        gauge("uptime", 1500, "Time").in_seconds().lavin().write(&mut text);
        let expected = "# HELP lavinmq_x_total Things\n# TYPE lavinmq_x_total counter\n\
                        lavinmq_x_total 3\n# HELP rabbitmq_x_total Things\n\
                        # TYPE rabbitmq_x_total counter\nrabbitmq_x_total 3\n\
                        # HELP lavinmq_uptime Time\n# TYPE lavinmq_uptime gauge\nlavinmq_uptime 1.5\n";
        assert_eq!(text, expected);
    }
}
