//! The nodes: this one (amqp.md R105, L71). May import `app`, `overview`.

use std::rc::Rc;

use serde_json::{Value, json};

use super::app::App;
use super::overview::{API_VERSION, churn_rates, contexts, exchange_types};
use super::page::Wanted;
use super::reply::Problem;
use super::request::Request;
use super::routes::Answer;

async fn this(app: &App) -> Result<Value, Problem> {
    let totals = app.totals().await?;
    let machine = app.machine();
    let rates = app.rates();
    let mut node = json!({
        "name": app.node,
        "type": "disc",
        "running": true,
        "being_drained": false,
        "os_pid": std::process::id().to_string(),
        "uptime": app.uptime_ms(),
        "processors": app.about.shards,
        "run_queue": 0,
        "rates_mode": "basic",
        "fd_used": machine.files_open,
        "fd_total": machine.files_max,
        "sockets_used": machine.sockets_open,
        "sockets_total": machine.files_max,
        "proc_used": totals.gauges.connections,
        "proc_total": app.about.config.main.max_connections,
        "mem_used": machine.resident_bytes,
        "mem_limit": app.about.memory_bytes_max,
        "mem_alarm": totals.memory_alarm,
        "message_memory_used": totals.gauges.memory_bytes,
        "disk_free": totals.disk_free_bytes,
        "disk_free_limit": totals.disk_min_bytes,
        "disk_free_alarm": totals.disk_alarm,
        "cpu_user_time": machine.user_ms,
        "cpu_sys_time": machine.system_ms,
        "io_read_bytes": machine.read_bytes,
        "io_write_bytes": machine.written_bytes,
    });
    let rest = json!({
        "connection_created": totals.counters.connections_opened,
        "connection_closed": totals.counters.connections_closed,
        "channel_created": totals.counters.channels_opened,
        "channel_closed": totals.counters.channels_closed,
        "queue_declared": totals.counters.queues_declared,
        "queue_created": totals.counters.queues_created,
        "queue_deleted": totals.counters.queues_deleted,
        "churn_rates": churn_rates(&totals.counters, &rates),
        "db_dir": app.about.config.main.data_dir,
        "log_files": ["stderr"],
        "config_files": [],
        "enabled_plugins": [],
        "applications": [{
            "name": "ringmq",
            "description": "RingMQ",
            "version": env!("CARGO_PKG_VERSION"),
        }],
        "rabbitmq_version": API_VERSION,
        "erlang_version": "none",
        "erlang_full_version": "none",
        "auth_mechanisms": [{ "name": "PLAIN", "description": "a name and a password", "enabled": true }],
        "exchange_types": exchange_types(),
        "contexts": contexts(app),
        "partitions": [],
        "cluster_links": [],
        "followers": [],
    });
    if let (Value::Object(node), Value::Object(rest)) = (&mut node, rest) {
        node.extend(rest);
    }
    Ok(node)
}

/// GET /api/nodes
pub(super) async fn list(app: Rc<App>, request: Request) -> Answer {
    Wanted::of(&request.query)?.reply(vec![this(&app).await?])
}

/// GET /api/nodes/{node}
pub(super) async fn get(app: Rc<App>, request: Request) -> Answer {
    if request.name(0) != app.node {
        return Err(Problem::Missing);
    }
    Ok(Wanted::of(&request.query)?.one(this(&app).await?))
}
