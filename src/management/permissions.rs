//! What users may do in virtual hosts (amqp.md L80). May import `app`, `control`, `page`, `request`.

use std::rc::Rc;

use serde_json::Value;

use super::app::App;
use super::page::Wanted;
use super::reply::{Problem, Reply};
use super::request::{Request, encode};
use super::routes::Answer;
use crate::control::{Change, entry};

fn rows(app: &App, request: &Request, is_wanted: impl Fn(&str, &str) -> bool) -> Answer {
    let state = app.control.state();
    let all = state.permissions.iter().filter(|((user, vhost), _)| is_wanted(user, vhost));
    let rows: Vec<Value> = all
        .map(|((user, vhost), permission)| entry::permission_json(user, vhost, permission))
        .collect();
    Wanted::of(&request.query)?.reply(rows)
}

/// GET /api/permissions
pub(super) async fn list(app: Rc<App>, request: Request) -> Answer {
    rows(&app, &request, |_, _| true)
}

/// GET /api/vhosts/{vhost}/permissions
pub(super) async fn of_vhost(app: Rc<App>, request: Request) -> Answer {
    app.require_vhost(&request, 0)?;
    rows(&app, &request, |_, vhost| vhost == request.name(0))
}

/// GET /api/users/{user}/permissions: one's own, or anybody's for an administrator.
pub(super) async fn of_user(app: Rc<App>, request: Request) -> Answer {
    app.require_user(&request)?;
    rows(&app, &request, |user, _| user == request.name(0))
}

impl App {
    /// The user that a path names is there, and is the one who asks or anybody's for administrators.
    ///
    /// # Errors
    /// Not so.
    pub(super) fn require_user(&self, request: &Request) -> Result<(), Problem> {
        let subject = &request.subject;
        if !subject.is_administrator() && subject.name() != request.name(0) {
            return Err(Problem::Forbidden("Not administrator user"));
        }
        let is_there = self.control.state().users.contains_key(request.name(0));
        if is_there { Ok(()) } else { Err(Problem::Missing) }
    }

    /// The virtual host and the user that a path names are there.
    ///
    /// # Errors
    /// One of them is not.
    pub(super) fn require_both(&self, request: &Request) -> Result<(), Problem> {
        let state = self.control.state();
        if state.vhost(request.name(0)).is_none() {
            return Err(Problem::bad("vhost_or_user_not_found"));
        }
        if !state.users.contains_key(request.name(1)) {
            return Err(Problem::bad("vhost_or_user_not_found"));
        }
        Ok(())
    }
}

/// GET /api/permissions/{vhost}/{user}
pub(super) async fn get(app: Rc<App>, request: Request) -> Answer {
    let (vhost, user) = (request.name(0), request.name(1));
    let state = app.control.state();
    let permission = state.permissions.get(&(user.into(), vhost.into())).ok_or(Problem::Missing)?;
    Ok(Reply::Json(entry::permission_json(user, vhost, permission)))
}

/// PUT /api/permissions/{vhost}/{user}
pub(super) async fn put(app: Rc<App>, request: Request) -> Answer {
    app.require_both(&request)?;
    let (vhost, user) = (request.name(0), request.name(1));
    let place = [("user", user), ("vhost", vhost)];
    let changes = app.read_entry("permissions", request.object()?, &place)?;
    let created = app.make(changes).await?;
    Ok(if created { Reply::Created(Some(encode(user))) } else { Reply::NoContent })
}

/// DELETE /api/permissions/{vhost}/{user}
pub(super) async fn delete(app: Rc<App>, request: Request) -> Answer {
    let (vhost, user): (Box<str>, Box<str>) = (request.name(0).into(), request.name(1).into());
    let state = app.control.state();
    state.permissions.get(&(user.clone(), vhost.clone())).ok_or(Problem::Missing)?;
    app.make(vec![Change::DeletePermission { user, vhost }]).await?;
    Ok(Reply::NoContent)
}
