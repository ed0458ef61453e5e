//! What keys users may use with exchanges of topics (amqp.md R56). May import `app`, `control`,
//! `page`, `request`.

use std::rc::Rc;

use serde_json::Value;

use super::app::App;
use super::page::Wanted;
use super::reply::{Problem, Reply};
use super::request::{Request, encode};
use super::routes::Answer;
use crate::control::{Change, entry};

fn found(app: &App, is_wanted: impl Fn(&str, &str) -> bool) -> Vec<Value> {
    let state = app.control.state();
    let all = state.topic_permissions.iter().filter(|((user, vhost, _), _)| is_wanted(user, vhost));
    all.map(|((user, vhost, exchange), permission)| {
        entry::topic_permission_json(user, (vhost, exchange), permission)
    })
    .collect()
}

/// GET /api/topic-permissions
pub(super) async fn list(app: Rc<App>, request: Request) -> Answer {
    Wanted::of(&request.query)?.reply(found(&app, |_, _| true))
}

/// GET /api/vhosts/{vhost}/topic-permissions
pub(super) async fn of_vhost(app: Rc<App>, request: Request) -> Answer {
    app.require_vhost(&request, 0)?;
    Wanted::of(&request.query)?.reply(found(&app, |_, vhost| vhost == request.name(0)))
}

/// GET /api/users/{user}/topic-permissions
pub(super) async fn of_user(app: Rc<App>, request: Request) -> Answer {
    app.require_user(&request)?;
    Wanted::of(&request.query)?.reply(found(&app, |user, _| user == request.name(0)))
}

/// GET /api/topic-permissions/{vhost}/{user}: a list, since there is one for each exchange.
pub(super) async fn get(app: Rc<App>, request: Request) -> Answer {
    let rows = found(&app, |user, vhost| vhost == request.name(0) && user == request.name(1));
    if rows.is_empty() {
        return Err(Problem::Missing);
    }
    Wanted::of(&request.query)?.reply(rows)
}

/// PUT /api/topic-permissions/{vhost}/{user}
pub(super) async fn put(app: Rc<App>, request: Request) -> Answer {
    app.require_both(&request)?;
    let (vhost, user) = (request.name(0), request.name(1));
    let place = [("user", user), ("vhost", vhost)];
    let changes = app.read_entry("topic_permissions", request.object()?, &place)?;
    let created = app.make(changes).await?;
    Ok(if created { Reply::Created(Some(encode(user))) } else { Reply::NoContent })
}

/// DELETE /api/topic-permissions/{vhost}/{user}: at all exchanges.
pub(super) async fn delete(app: Rc<App>, request: Request) -> Answer {
    let (vhost, user) = (request.name(0).into(), request.name(1).into());
    app.make(vec![Change::DeleteTopicPermission { user, vhost, exchange: None }]).await?;
    Ok(Reply::NoContent)
}
