//! The node at a glance (amqp.md R103, L70). May import `app`, `request`, `reply`, `machine`.

use std::rc::Rc;

use serde_json::{Map, Value, json};

use super::app::{App, Totals};
use super::page::Wanted;
use super::rates::{PerSecond, put};
use super::reply::{Problem, Reply};
use super::request::Request;
use super::routes::Answer;
use crate::broker::exchange_kinds;
use crate::control::Change;
use crate::protocol::ListenAt;
use crate::stats::Counters;

/// The version of RabbitMQ whose API this follows: clients look whether it is one that they know.
pub(super) const API_VERSION: &str = "4.1.0";

fn put_counted(
    object: &mut Map<String, Value>,
    name: &str,
    all: &Counters,
    rates: &PerSecond,
    of: impl Fn(&Counters) -> u64,
) {
    put(object, name, of(all), rates.of(of(&rates.counted)));
}

/// amqp.md R104
fn message_stats(all: &Counters, rates: &PerSecond) -> Value {
    let mut stats = Map::new();
    let mut put = |name, of: fn(&Counters) -> u64| put_counted(&mut stats, name, all, rates, of);
    put("publish", |c| c.published);
    put("confirm", |c| c.stored);
    put("return_unroutable", |c| c.returned);
    put("drop_unroutable", |c| c.unwanted);
    put("deliver", |c| c.delivered);
    put("deliver_no_ack", |c| c.delivered_settled);
    put("get", |c| c.fetched);
    put("get_no_ack", |c| c.fetched_settled);
    put("get_empty", |c| c.fetched_none);
    put("deliver_get", |c| c.delivered + c.delivered_settled + c.fetched + c.fetched_settled);
    put("redeliver", |c| c.redelivered);
    put("ack", |c| c.accepted);
    Value::Object(stats)
}

/// amqp.md S51
pub(super) fn churn_rates(all: &Counters, rates: &PerSecond) -> Value {
    let mut churn = Map::new();
    let mut put = |name, of: fn(&Counters) -> u64| put_counted(&mut churn, name, all, rates, of);
    put("connection_created", |c| c.connections_opened);
    put("connection_closed", |c| c.connections_closed);
    put("channel_created", |c| c.channels_opened);
    put("channel_closed", |c| c.channels_closed);
    put("queue_declared", |c| c.queues_declared);
    put("queue_created", |c| c.queues_created);
    put("queue_deleted", |c| c.queues_deleted);
    Value::Object(churn)
}

fn queue_totals(totals: &Totals, rates: &PerSecond) -> Value {
    let mut queues = Map::new();
    let (ready, unsettled) = (totals.queues.ready, totals.queues.unsettled);
    let all = rates.ready.saturating_add(rates.unsettled);
    put(&mut queues, "messages", ready + unsettled, rates.of_change(all));
    put(&mut queues, "messages_ready", ready, rates.of_change(rates.ready));
    let rate = rates.of_change(rates.unsettled);
    put(&mut queues, "messages_unacknowledged", unsettled, rate);
    Value::Object(queues)
}

/// Where a listener is, as RabbitMQ writes it.
fn place(at: &ListenAt) -> (Value, Value) {
    match at {
        ListenAt::Tcp(address) => (address.ip().to_string().into(), address.port().into()),
        ListenAt::Unix { path, .. } => (format!("unix:{}", path.display()).into(), 0.into()),
    }
}

pub(super) fn listeners(app: &App) -> Value {
    let rows = app.about.listeners.iter().map(|(protocol, at)| {
        let (ip, port) = place(at);
        json!({
            "node": app.node,
            "protocol": protocol,
            "ip_address": ip,
            "port": port,
            "path": if let ListenAt::Unix { path, .. } = at { json!(path) } else { Value::Null },
            "tls": false,
            "socket_opts": {},
        })
    });
    rows.collect()
}

pub(super) fn contexts(app: &App) -> Value {
    let http = app.about.listeners.iter().filter(|(protocol, _)| &**protocol == "http");
    let rows = http.map(|(_, at)| {
        let (ip, port) = place(at);
        json!({
            "node": app.node,
            "description": "Management",
            "path": "/",
            "ip": ip,
            "port": port,
            "ssl_opts": [],
        })
    });
    rows.collect()
}

pub(super) fn exchange_types() -> Value {
    let rows = exchange_kinds().map(
        |name| json!({ "name": name, "description": format!("{name} exchange"), "enabled": true }),
    );
    rows.collect()
}

pub(super) fn name_of_cluster(app: &App) -> Value {
    let named = app.control.state().global_parameters.get("cluster_name").cloned();
    named.map_or_else(|| app.node.as_str().into(), |name| (*name).clone())
}

/// An object, as clients want it.
fn cluster_tags(app: &App) -> Value {
    let named = app.control.state().global_parameters.get("cluster_tags").cloned();
    named.filter(|tags| tags.is_object()).map_or_else(|| json!({}), |tags| (*tags).clone())
}

/// GET /api/overview
pub(super) async fn get(app: Rc<App>, request: Request) -> Answer {
    let wanted = Wanted::of(&request.query)?;
    let totals = app.totals().await?;
    let rates = app.rates();
    let (all, gauges) = (&totals.counters, &totals.gauges);
    let mut about = json!({
        "management_version": API_VERSION,
        "rabbitmq_version": API_VERSION,
        "ringmq_version": env!("CARGO_PKG_VERSION"),
        "product_name": "RingMQ",
        "product_version": env!("CARGO_PKG_VERSION"),
        "rates_mode": "basic",
        "sample_retention_policies": { "global": [], "basic": [], "detailed": [] },
        "exchange_types": exchange_types(),
        "cluster_name": name_of_cluster(&app),
        "cluster_tags": cluster_tags(&app),
        "node_tags": {},
        "default_queue_type": "classic",
        "erlang_version": "none",
        "erlang_full_version": "none",
        "release_series_support_status": "supported",
        "disable_stats": false,
        "enable_queue_totals": true,
        "is_op_policy_updating_enabled": false,
        "node": app.node,
        "uptime": app.uptime_ms(),
        "statistics_db_event_queue": 0,
        "listeners": listeners(&app),
        "contexts": contexts(&app),
    });
    let figures = json!({
        "message_stats": message_stats(all, &rates),
        "churn_rates": churn_rates(all, &rates),
        "queue_totals": queue_totals(&totals, &rates),
        "object_totals": {
            "channels": totals.channels(),
            "connections": gauges.connections,
            "consumers": totals.queues.consumers,
            "exchanges": gauges.exchanges,
            "queues": gauges.queues,
        },
        "recv_oct": all.octets_in,
        "recv_oct_details": { "rate": rates.of(rates.counted.octets_in) },
        "send_oct": all.octets_out,
        "send_oct_details": { "rate": rates.of(rates.counted.octets_out) },
    });
    if let (Value::Object(about), Value::Object(figures)) = (&mut about, figures) {
        // What happens in virtual hosts that are others' is theirs to know.
        if request.subject.is_monitor() {
            about.extend(figures);
        } else {
            let shown = ["object_totals", "queue_totals"];
            about.extend(figures.into_iter().filter(|(name, _)| shown.contains(&name.as_str())));
        }
    }
    Ok(wanted.one(about))
}

/// GET /api/extensions: pages of a web interface that plugins add; there are none.
pub(super) async fn extensions(_: Rc<App>, _: Request) -> Answer {
    Ok(Reply::Json(json!([])))
}

/// GET /api/cluster-name
pub(super) async fn cluster_name(app: Rc<App>, _: Request) -> Answer {
    Ok(Reply::Json(json!({ "name": name_of_cluster(&app) })))
}

/// PUT /api/cluster-name
pub(super) async fn name_cluster(app: Rc<App>, request: Request) -> Answer {
    let body = request.object()?;
    let name = body.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Problem::bad("name must be a text"))?;
    let parameter =
        Change::PutGlobalParameter { name: "cluster_name".into(), value: Value::from(name).into() };
    app.make(vec![parameter]).await?;
    Ok(Reply::NoContent)
}
