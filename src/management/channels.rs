//! Channels (amqp.md R108, L73). May import `app`, `connections`, `page`, `request`, `stats`.

use std::rc::Rc;

use serde_json::{Value, json};

use super::app::App;
use super::connections::{details, find, is_seen, seen_by};
use super::gathered::Seen;
use super::page::Wanted;
use super::rates::message_stats;
use super::reply::Problem;
use super::request::Request;
use super::routes::Answer;
use crate::stats::{ChannelReport, ConnectionReport};

fn row(report: &Seen, channel: &ChannelReport, node: &str) -> Value {
    let since = report.since_of(channel.number, &channel.messages);
    json!({
        "name": format!("{} ({})", report.name(), channel.number),
        "number": channel.number,
        "connection_details": details(report),
        "user": report.user,
        "user_who_performed_action": report.user,
        "vhost": report.vhost,
        "node": node,
        "state": report.state.name(),
        "confirm": channel.reports,
        "transactional": channel.is_transactional,
        "consumer_count": channel.consumers,
        "prefetch_count": channel.prefetch,
        "global_prefetch_count": channel.prefetch_together,
        "messages_unacknowledged": channel.unsettled,
        "messages_unconfirmed": channel.unreported,
        "messages_uncommitted": channel.uncommitted,
        "acks_uncommitted": channel.uncommitted_settlements,
        "message_stats": message_stats(&channel.messages, &since, report.during()),
    })
}

async fn rows(
    app: &App,
    request: &Request,
    is_wanted: impl Fn(&ConnectionReport) -> bool,
) -> Answer {
    let wanted = Wanted::of(&request.query)?;
    let all = app.connections().await?;
    let seen = seen_by(&all, request, is_wanted);
    let channels: Vec<_> =
        seen.flat_map(|seen| seen.channels.iter().map(move |channel| (seen, channel))).collect();
    wanted.reply_each(&channels, |(seen, channel)| row(seen, channel, &app.node)).await
}

/// GET /api/channels
pub(super) async fn list(app: Rc<App>, request: Request) -> Answer {
    rows(&app, &request, |_| true).await
}

/// GET /api/vhosts/{vhost}/channels
pub(super) async fn of_vhost(app: Rc<App>, request: Request) -> Answer {
    app.require_vhost(&request, 0)?;
    rows(&app, &request, |report| *report.vhost == *request.name(0)).await
}

/// GET /api/connections/{name}/channels
pub(super) async fn of_connection(app: Rc<App>, request: Request) -> Answer {
    let report = find(&app, &request).await?;
    let channels = report.channels.iter().map(|channel| row(&report, channel, &app.node));
    Wanted::of(&request.query)?.reply(channels.collect())
}

/// GET /api/channels/{name}, with the consumers' details left out until consumers are listed.
pub(super) async fn get(app: Rc<App>, request: Request) -> Answer {
    let all = app.connections().await?;
    let parts = request.name(0).strip_suffix(')').and_then(|name| name.rsplit_once(" ("));
    let (name, number) = parts.ok_or(Problem::Missing)?;
    let number: u16 = number.parse().map_err(|_| Problem::Missing)?;
    let found = all.iter().find(|report| report.name() == name).ok_or(Problem::Missing)?;
    if !is_seen(found, &request.subject) {
        return Err(Problem::Forbidden("User not authorised to access object"));
    }
    let channel = found.channels.iter().find(|channel| channel.number == number);
    let mut row = row(found, channel.ok_or(Problem::Missing)?, &app.node);
    if let Value::Object(row) = &mut row {
        row.insert("consumer_details".into(), json!([]));
    }
    Ok(Wanted::of(&request.query)?.one(row))
}
