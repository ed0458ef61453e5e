//! Limits of virtual hosts and of users (amqp.md S22, S23, R57). May import `app`, `control`,
//! `request`, `reply`.

use std::rc::Rc;

use serde_json::{Value, json};

use super::app::App;
use super::page::Wanted;
use super::reply::{Problem, Reply};
use super::request::Request;
use super::routes::Answer;
use crate::control::{Change, entry};

fn vhost_rows(app: &App, is_wanted: impl Fn(&str) -> bool) -> Vec<Value> {
    let state = app.control.state();
    let all = state.vhosts.iter().filter(|(name, vhost)| !vhost.is_leaving && is_wanted(name));
    let rows = all.map(|(name, vhost)| (name, entry::vhost_limits_json(vhost.limits)));
    let set = rows.filter(|(_, limits)| limits.as_object().is_some_and(|l| !l.is_empty()));
    set.map(|(name, limits)| json!({ "vhost": name, "value": limits })).collect()
}

/// GET /api/vhost-limits
pub(super) async fn vhosts(app: Rc<App>, request: Request) -> Answer {
    let rows = vhost_rows(&app, |name| request.subject.sees(name));
    Wanted::of(&request.query)?.reply(rows)
}

/// GET /api/vhost-limits/{vhost}
pub(super) async fn vhost(app: Rc<App>, request: Request) -> Answer {
    app.require_vhost(&request, 0)?;
    Wanted::of(&request.query)?.reply(vhost_rows(&app, |name| name == request.name(0)))
}

fn user_rows(app: &App, is_wanted: impl Fn(&str) -> bool) -> Vec<Value> {
    let state = app.control.state();
    let all = state.users.iter().filter(|(name, _)| is_wanted(name));
    let rows = all.map(|(name, user)| (name, entry::user_limits_json(user.limits)));
    let set = rows.filter(|(_, limits)| limits.as_object().is_some_and(|l| !l.is_empty()));
    set.map(|(name, limits)| json!({ "user": name, "value": limits })).collect()
}

/// GET /api/user-limits: all for administrators, one's own otherwise.
pub(super) async fn users(app: Rc<App>, request: Request) -> Answer {
    let subject = &request.subject;
    let rows = user_rows(&app, |name| subject.is_monitor() || subject.name() == name);
    Wanted::of(&request.query)?.reply(rows)
}

/// GET /api/user-limits/{user}
pub(super) async fn user(app: Rc<App>, request: Request) -> Answer {
    app.require_user(&request)?;
    Wanted::of(&request.query)?.reply(user_rows(&app, |name| name == request.name(0)))
}

/// What the body says: a number; a negative one takes the limit away (amqp.md S22).
fn value(request: &Request) -> Result<Option<u32>, Problem> {
    let body = request.object()?;
    let number = body.get("value").and_then(Value::as_i64);
    match number.ok_or_else(|| Problem::bad("'value' is not a number"))? {
        ..0 => Ok(None),
        number => u32::try_from(number).map(Some).map_err(|_| Problem::bad("'value' is too large")),
    }
}

fn unknown(name: &str) -> Problem {
    Problem::Bad(format!("there is no limit '{name}'"))
}

async fn set_vhost(app: &App, request: &Request, value: Option<u32>) -> Answer {
    let state = app.control.state();
    let mut limits = state.vhost(request.name(0)).ok_or(Problem::Missing)?.limits;
    match request.name(1) {
        "max-connections" => limits.max_connections = value,
        "max-queues" => limits.max_queues = value,
        other => return Err(unknown(other)),
    }
    app.make(vec![Change::SetVhostLimits { name: request.name(0).into(), limits }]).await?;
    Ok(Reply::NoContent)
}

/// PUT /api/vhost-limits/{vhost}/{limit}
pub(super) async fn put_vhost(app: Rc<App>, request: Request) -> Answer {
    set_vhost(&app, &request, value(&request)?).await
}

/// DELETE /api/vhost-limits/{vhost}/{limit}
pub(super) async fn delete_vhost(app: Rc<App>, request: Request) -> Answer {
    set_vhost(&app, &request, None).await
}

async fn set_user(app: &App, request: &Request, value: Option<u32>) -> Answer {
    let state = app.control.state();
    let mut limits = state.users.get(request.name(0)).ok_or(Problem::Missing)?.limits;
    match request.name(1) {
        "max-connections" => limits.max_connections = value,
        "max-channels" => limits.max_channels = value,
        other => return Err(unknown(other)),
    }
    app.make(vec![Change::SetUserLimits { name: request.name(0).into(), limits }]).await?;
    Ok(Reply::NoContent)
}

/// PUT /api/user-limits/{user}/{limit}
pub(super) async fn put_user(app: Rc<App>, request: Request) -> Answer {
    set_user(&app, &request, value(&request)?).await
}

/// DELETE /api/user-limits/{user}/{limit}
pub(super) async fn delete_user(app: Rc<App>, request: Request) -> Answer {
    set_user(&app, &request, None).await
}
