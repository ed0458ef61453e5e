//! Checks for load balancers and people (amqp.md R72): 200 with `status: ok`, or 503 that says why.
//! May import `app`, `request`, `reply`, `visit`, `command`, `protocol` (listeners).

use std::rc::Rc;

use serde_json::{Value, json};
use tokio::task::spawn_local;

use super::app::App;
use super::reply::{Problem, Reply};
use super::request::Request;
use super::routes::Answer;
use super::visit::{Failed, send_through};
use crate::command::Refusal;
use crate::protocol::ListenAt;

fn ok() -> Reply {
    Reply::Json(json!({ "status": "ok" }))
}

fn failed(reason: &str, more: Value) -> Reply {
    let mut body = json!({ "status": "failed", "reason": reason });
    if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
        body.extend(more);
    }
    Reply::Unhealthy(body)
}

/// GET /health: the server answers, and so do the shards.
pub(super) async fn alive(app: Rc<App>, _: Request) -> Answer {
    app.control.ask_all(|_| ()).await?;
    Ok(ok())
}

/// GET /api/health/checks/node-is-quorum-critical: nothing depends on other nodes.
pub(super) async fn fine(_: Rc<App>, _: Request) -> Answer {
    Ok(ok())
}

/// GET /api/health/checks/alarms and .../local-alarms
pub(super) async fn alarms(app: Rc<App>, _: Request) -> Answer {
    let totals = app.totals().await?;
    let on = [("memory", totals.memory_alarm), ("disk", totals.disk_alarm)];
    let on = on.iter().filter(|(_, is_on)| *is_on);
    let alarms: Vec<Value> =
        on.map(|(resource, _)| json!({ "node": app.node, "resource": resource })).collect();
    if alarms.is_empty() {
        return Ok(ok());
    }
    Ok(failed("There are alarms in effect in the cluster", json!({ "alarms": alarms })))
}

/// GET /api/health/checks/port-listener/{port}
pub(super) async fn port_listener(app: Rc<App>, request: Request) -> Answer {
    let port: u16 = request.name(0).parse().map_err(|_| Problem::bad("port is not a number"))?;
    let ports: Vec<u16> = app
        .about
        .listeners
        .iter()
        .filter_map(|(_, at)| if let ListenAt::Tcp(at) = at { Some(at.port()) } else { None })
        .collect();
    if ports.contains(&port) {
        return Ok(Reply::Json(json!({ "status": "ok", "port": port })));
    }
    Ok(failed("No active listener", json!({ "missing": port, "ports": ports })))
}

/// What RabbitMQ calls a protocol, in any of its spellings.
fn is_called(protocol: &str, asked: &str) -> bool {
    let asked = asked.to_ascii_lowercase();
    let names: &[&str] = match protocol {
        "amqp" => &["amqp", "amqp091", "amqp0.9.1", "amqp-0-9-1", "amqp0-9-1", "amqp 0-9-1"],
        "http" => &["http", "management"],
        "mqtt" => &["mqtt"],
        "http/web-mqtt" => &["http/web-mqtt", "web-mqtt", "ws", "websocket"],
        other => return other == asked,
    };
    names.contains(&&*asked)
}

/// GET /api/health/checks/protocol-listener/{protocol}: several are separated by commas.
pub(super) async fn protocol_listener(app: Rc<App>, request: Request) -> Answer {
    let there: Vec<&str> = app.about.listeners.iter().map(|(protocol, _)| &**protocol).collect();
    let asked = request.name(0);
    let missing: Vec<&str> = asked
        .split(',')
        .map(str::trim)
        .filter(|asked| !there.iter().any(|protocol| is_called(protocol, asked)))
        .collect();
    if missing.is_empty() {
        return Ok(Reply::Json(json!({ "status": "ok", "protocol": asked })));
    }
    Ok(failed("No active listener", json!({ "missing": missing, "protocols": there })))
}

/// GET /api/health/checks/virtual-hosts: each is on every shard.
pub(super) async fn virtual_hosts(app: Rc<App>, _: Request) -> Answer {
    let there: Vec<Vec<String>> =
        app.control.ask_all(|asked| asked.broker.vhost_names().map(Into::into).collect()).await?;
    let state = app.control.state();
    let names = state.vhosts.iter().filter(|(_, vhost)| !vhost.is_leaving).map(|(name, _)| &**name);
    let is_down = |name: &&str| !there.iter().all(|names| names.iter().any(|known| known == name));
    let down: Vec<&str> = names.filter(is_down).collect();
    if down.is_empty() {
        return Ok(ok());
    }
    Ok(failed("Some virtual hosts are down", json!({ "virtual-hosts": down })))
}

/// Seconds of the units that RabbitMQ takes.
fn seconds_of(unit: &str) -> Option<u64> {
    const DAY: u64 = 86_400;
    Some(match unit {
        "days" => DAY,
        "weeks" => 7 * DAY,
        "months" => 30 * DAY,
        "years" => 365 * DAY,
        _ => return None,
    })
}

/// GET /api/health/checks/certificate-expiration/{within}/{unit}: fine where nothing has a certificate.
/// This version does not read when one ends, and says so.
pub(super) async fn certificate_expiration(app: Rc<App>, request: Request) -> Answer {
    let within: Result<u64, _> = request.name(0).parse();
    let within = within.map_err(|_| Problem::bad("Invalid expiration value."))?;
    let unit = seconds_of(request.name(1));
    let unit = unit.ok_or_else(|| {
        Problem::bad("Time unit not recognised. Use 'days', 'weeks', 'months', 'years'.")
    })?;
    let _ = within.checked_mul(unit).ok_or_else(|| Problem::bad("Invalid expiration value."))?;
    let config = &app.about.config;
    let is_secured =
        config.amqp.tls.is_some() || config.mqtt.listeners().iter().any(|l| l.tls.is_some());
    if is_secured {
        return Ok(failed("this version does not read when certificates end", json!({})));
    }
    Ok(ok())
}

/// GET /api/health/checks/ready-to-serve-clients and .../is-in-service
pub(super) async fn ready(app: Rc<App>, _: Request) -> Answer {
    app.control.ask_all(|_| ()).await?;
    Ok(ok())
}

/// GET /api/health/checks/below-node-connection-limit
pub(super) async fn below_connection_limit(app: Rc<App>, _: Request) -> Answer {
    let totals = app.totals().await?;
    let (connections, limit) = (totals.gauges.connections, app.about.config.main.max_connections);
    let more = json!({ "current": connections, "limit": limit });
    if connections < u64::from(limit) {
        return Ok(Reply::Json(json!({ "status": "ok", "current": connections, "limit": limit })));
    }
    Ok(failed("the node has as many connections as it may", more))
}

/// GET /api/aliveness-test/{vhost}: a message goes through a queue there, as with RabbitMQ.
pub(super) async fn aliveness(app: Rc<App>, request: Request) -> Answer {
    let vhost = request.name(0).to_owned();
    request.subject.enter(&vhost)?;
    if app.control.state().vhost(&vhost).is_none() {
        return Err(Problem::Missing);
    }
    // A task of its own: whoever asked may not wait for the end.
    let visit = spawn_local(async move { send_through(&app, &request.subject, &vhost).await });
    match visit.await.map_err(|_| Problem::Unavailable("the node stops"))? {
        Ok(()) => Ok(ok()),
        Err(Failed::Because(why)) => Ok(failed(why, json!({}))),
        Err(Failed::Refused(refusal)) => refused(&refusal),
    }
}

/// What keeps the check from being made, or shows that something is wrong.
fn refused(refusal: &Refusal) -> Answer {
    let why: &str = match refusal {
        Refusal::AccessRefused { .. } | Refusal::Denied | Refusal::KeyRefused { .. } => {
            return Err(Problem::Forbidden("User not authorised to access object"));
        }
        Refusal::VhostRefused(_) => {
            return Err(Problem::Forbidden("User not authorised to access virtual host"));
        }
        Refusal::NoSpace => "the disk is short of space, so publishing is refused",
        Refusal::NotFound(..) => "the virtual host is down",
        Refusal::LimitReached(why) | Refusal::Unavailable(why) => why,
        Refusal::Mismatch { .. }
        | Refusal::Locked(_)
        | Refusal::ExclusiveUse(_)
        | Refusal::SingleActiveConsumer(_)
        | Refusal::ReservedName(..)
        | Refusal::DefaultExchange
        | Refusal::Predeclared(_)
        | Refusal::InUse(..)
        | Refusal::NotEmpty(_)
        | Refusal::InternalExchange(_)
        | Refusal::InvalidArgument { .. }
        | Refusal::UnknownExchangeType(_)
        | Refusal::NoSuchReplyConsumer => "the queue of the check is somebody else's",
    };
    Ok(failed(why, json!({})))
}
