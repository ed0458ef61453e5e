//! Connections: seen and closed (amqp.md R107, L72). Whoever may not see what is others' sees the
//! user's own.
//!
//! May import `app`, `page`, `request`, `reply`, `stats`.

use std::rc::Rc;

use serde_json::{Map, Value as Json, json};

use super::access::Subject;
use super::app::App;
use super::gathered::Seen;
use super::page::Wanted;
use super::rates::{message_stats, rate};
use super::reply::{Problem, Reply};
use super::request::Request;
use super::routes::Answer;
use crate::ids::ConnectionRef;
use crate::stats::{ConnectionReport, ConnectionState};
use crate::value::{Table, Value};

/// What a peer is told when nobody gives a reason.
const REASON: &str = "Closed via management plugin";
/// Octets of a reason.
const REASON_BYTES_MAX: usize = 200;

/// What a client said, as JSON.
fn json_of(value: &Value) -> Json {
    match value {
        Value::Void => Json::Null,
        Value::Bool(truth) => (*truth).into(),
        Value::F32(number) => f64::from(*number).into(),
        Value::F64(number) => (*number).into(),
        Value::Decimal(scale, number) => {
            (f64::from(*number) / 10_f64.powi(i32::from(*scale))).into()
        }
        Value::Timestamp(seconds) => (*seconds).into(),
        Value::Text(octets) | Value::Bytes(octets) => String::from_utf8_lossy(octets).into(),
        Value::Array(values) => values.iter().map(json_of).collect(),
        Value::Table(table) => json_of_table(table),
        Value::I8(_)
        | Value::U8(_)
        | Value::I16(_)
        | Value::U16(_)
        | Value::I32(_)
        | Value::U32(_)
        | Value::I64(_) => value.as_integer().into(),
    }
}

fn json_of_table(table: &Table) -> Json {
    Json::Object(table.0.iter().map(|(name, value)| (name.to_string(), json_of(value))).collect())
}

/// One connection.
fn row(seen: &Seen, node: &str) -> Json {
    let report: &ConnectionReport = seen;
    let (octets_in, octets_out, messages) = seen.since();
    let during = seen.during();
    let mut row = json!({
        "name": report.name(),
        "node": node,
        "user": report.user,
        "user_who_performed_action": report.user,
        "vhost": report.vhost,
        "protocol": report.protocol,
        "state": report.state.name(),
        "type": "network",
        "peer_host": report.peer_host,
        "peer_port": report.peer_port,
        "host": report.host,
        "port": report.port,
        "channels": report.channels.len(),
        "channel_max": report.channel_max,
        "frame_max": report.frame_bytes_max,
        "timeout": report.timeout_s,
        "auth_mechanism": report.mechanism,
        "connected_at": report.connected_at_ms,
        "recv_oct": report.octets_in,
        "recv_oct_details": { "rate": rate(octets_in, during) },
        "send_oct": report.octets_out,
        "send_oct_details": { "rate": rate(octets_out, during) },
        "send_pend": report.octets_pending,
        "ssl": report.tls.is_some(),
        "ssl_protocol": report.tls.as_ref().map(|(version, _)| *version),
        "ssl_cipher": report.tls.as_ref().map(|(_, cipher)| cipher),
        "ssl_hash": Json::Null,
        "ssl_key_exchange": Json::Null,
        "peer_cert_subject": Json::Null,
        "peer_cert_issuer": Json::Null,
        "peer_cert_validity": Json::Null,
        "client_properties": json_of_table(&report.client_properties),
        "message_stats": message_stats(&report.messages, &messages, during),
    });
    if let Json::Object(row) = &mut row
        && !report.client_name.is_empty()
    {
        row.insert("user_provided_name".into(), (*report.client_name).into());
    }
    row
}

/// What belongs to a connection is seen by its user and by monitors.
pub(super) fn is_seen(report: &ConnectionReport, subject: &Subject) -> bool {
    // Who has not logged in yet is nobody's, and no connection for operators.
    report.state != ConnectionState::Starting
        && (subject.is_monitor() || subject.name() == &*report.user)
}

/// Those that the user sees and that are wanted.
pub(super) fn seen_by<'a>(
    all: &'a [Seen],
    request: &'a Request,
    is_wanted: impl Fn(&ConnectionReport) -> bool,
) -> impl Iterator<Item = &'a Seen> {
    all.iter().filter(move |report| is_seen(report, &request.subject) && is_wanted(report))
}

async fn rows(
    app: &App,
    request: &Request,
    is_wanted: impl Fn(&ConnectionReport) -> bool,
) -> Answer {
    let wanted = Wanted::of(&request.query)?;
    let all = app.connections().await?;
    let seen: Vec<&Seen> = seen_by(&all, request, is_wanted).collect();
    wanted.reply_each(&seen, |seen| row(seen, &app.node)).await
}

/// GET /api/connections
pub(super) async fn list(app: Rc<App>, request: Request) -> Answer {
    rows(&app, &request, |_| true).await
}

/// GET /api/vhosts/{vhost}/connections
pub(super) async fn of_vhost(app: Rc<App>, request: Request) -> Answer {
    app.require_vhost(&request, 0)?;
    rows(&app, &request, |report| *report.vhost == *request.name(0)).await
}

/// GET /api/connections/username/{user}
pub(super) async fn of_user(app: Rc<App>, request: Request) -> Answer {
    rows(&app, &request, |report| *report.user == *request.name(0)).await
}

/// The connection of a name, if the user sees it.
pub(super) async fn find(app: &App, request: &Request) -> Result<Seen, Problem> {
    let look = |all: &[Seen]| {
        let mut begun = all.iter().filter(|report| report.state != ConnectionState::Starting);
        begun.find(|report| report.name() == request.name(0)).cloned()
    };
    let mut found = look(&app.connections().await?);
    if found.is_none() {
        // It may be younger than what was known.
        found = look(&app.connections_anew().await?);
    }
    let found = found.ok_or(Problem::Missing)?;
    if !is_seen(&found, &request.subject) {
        return Err(Problem::Forbidden("User not authorised to access object"));
    }
    Ok(found)
}

/// GET /api/connections/{name}
pub(super) async fn get(app: Rc<App>, request: Request) -> Answer {
    let report = find(&app, &request).await?;
    Ok(Wanted::of(&request.query)?.one(row(&report, &app.node)))
}

/// The reason that the request gives, for the peer.
fn reason(request: &Request) -> String {
    let given = request.field("x-reason").unwrap_or(REASON);
    let end = (0..=REASON_BYTES_MAX.min(given.len())).rev().find(|at| given.is_char_boundary(*at));
    given.get(..end.unwrap_or(0)).unwrap_or(REASON).to_owned()
}

async fn close_all(
    app: &App,
    connections: Vec<ConnectionRef>,
    reason: String,
) -> Result<(), Problem> {
    for shard in app.control.shards() {
        let here: Vec<_> = connections.iter().filter(|c| c.shard == shard).copied().collect();
        if here.is_empty() {
            continue;
        }
        let reason = reason.clone();
        let close = move |asked: &mut crate::control::Asked<'_>| {
            for connection in here {
                asked.broker.close_connection(connection, &reason);
            }
        };
        app.control.ask(shard, close).await?;
    }
    app.connections.forget();
    Ok(())
}

/// DELETE /api/connections/{name}. To see a connection is not to close it (reliability.md row 96).
pub(super) async fn close(app: Rc<App>, request: Request) -> Answer {
    let report = find(&app, &request).await?;
    require_owner(&request.subject, &report.user)?;
    tracing::info!(
        name = report.name(),
        by = request.subject.name(),
        reason = reason(&request),
        "connection is closed by an operator"
    );
    close_all(&app, report.id.into_iter().collect(), reason(&request)).await?;
    Ok(Reply::NoContent)
}

/// DELETE /api/connections/username/{user}
pub(super) async fn close_of_user(app: Rc<App>, request: Request) -> Answer {
    require_owner(&request.subject, request.name(0))?;
    let all = app.connections_anew().await?;
    // Those in one virtual host only, if the query names one.
    let vhost = request.query.get("vhost");
    let theirs = all.iter().filter(|report| {
        *report.user == *request.name(0) && vhost.is_none_or(|vhost| *report.vhost == *vhost)
    });
    let theirs: Vec<_> = theirs.filter_map(|report| report.id).collect();
    let (count, user) = (theirs.len(), request.name(0));
    tracing::info!(
        user,
        count,
        by = request.subject.name(),
        "connections are closed by an operator"
    );
    close_all(&app, theirs, reason(&request)).await?;
    Ok(Reply::NoContent)
}

fn require_owner(subject: &Subject, user: &str) -> Result<(), Problem> {
    if subject.is_administrator() || subject.name() == user {
        return Ok(());
    }
    Err(Problem::Forbidden("User not authorised to access object"))
}

/// What other lists say of the connection that something belongs to.
pub(super) fn details(report: &ConnectionReport) -> Map<String, Json> {
    let details = json!({
        "name": report.name(),
        "peer_host": report.peer_host,
        "peer_port": report.peer_port,
    });
    if let Json::Object(details) = details { details } else { Map::new() }
}
