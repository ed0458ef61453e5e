//! Virtual hosts (amqp.md L78, R63). May import `app`, `control`, `page`, `request`, `reply`.

use std::rc::Rc;

use serde_json::{Value, json};

use super::app::App;
use super::page::Wanted;
use super::reply::{Problem, Reply};
use super::request::{Request, encode};
use super::routes::Answer;
use crate::control::state::VhostEntry;
use crate::control::{Change, entry};

fn row(app: &App, name: &str, vhost: &VhostEntry) -> Value {
    let mut row = entry::vhost_json(name, vhost);
    if let Value::Object(row) = &mut row {
        let kind =
            if vhost.default_queue_type.is_empty() { "classic" } else { &vhost.default_queue_type };
        row.insert("default_queue_type".into(), kind.into());
        row.insert("protected_from_deletion".into(), vhost.is_protected.into());
        row.insert("cluster_state".into(), json!({ &app.node: "running" }));
        row.insert("tracing".into(), false.into());
    }
    row
}

impl App {
    /// The virtual host that a path names: it is there, and the user may see it.
    ///
    /// # Errors
    /// It is not there, or not for this user, who then cannot tell which.
    pub(super) fn require_vhost(&self, request: &Request, place: usize) -> Result<(), Problem> {
        let name = request.name(place);
        let is_there = self.control.state().vhost(name).is_some();
        if !request.subject.sees(name) {
            return Err(Problem::Forbidden("User not authorised to access virtual host"));
        }
        if is_there { Ok(()) } else { Err(Problem::Missing) }
    }
}

/// GET /api/vhosts
pub(super) async fn list(app: Rc<App>, request: Request) -> Answer {
    let state = app.control.state();
    let seen =
        state.vhosts.iter().filter(|(name, vhost)| !vhost.is_leaving && request.subject.sees(name));
    Wanted::of(&request.query)?.reply(seen.map(|(name, vhost)| row(&app, name, vhost)).collect())
}

/// GET /api/vhosts/{vhost}
pub(super) async fn get(app: Rc<App>, request: Request) -> Answer {
    app.require_vhost(&request, 0)?;
    let state = app.control.state();
    let vhost = state.vhost(request.name(0)).ok_or(Problem::Missing)?;
    Ok(Wanted::of(&request.query)?.one(row(&app, request.name(0), vhost)))
}

/// PUT /api/vhosts/{vhost}; who makes one may work in it, as with RabbitMQ and LavinMQ.
pub(super) async fn put(app: Rc<App>, request: Request) -> Answer {
    let name = request.name(0);
    let mut body = request.object()?;
    body.remove("limits");
    let changes = app.read_entry("vhosts", body, &[("name", name)])?;
    let is_new = app.control.state().vhost(name).is_none();
    let mut changes = changes;
    let maker = request.subject.name();
    if is_new && app.control.state().users.contains_key(maker) {
        let all = json!({ "configure": ".*", "write": ".*", "read": ".*" });
        let Value::Object(all) = all else { return Err(Problem::Missing) };
        let place = [("user", maker), ("vhost", name)];
        changes.extend(app.read_entry("permissions", all, &place)?);
    }
    let created = app.make(changes).await?;
    Ok(if created { Reply::Created(Some(encode(name))) } else { Reply::NoContent })
}

/// DELETE /api/vhosts/{vhost}
pub(super) async fn delete(app: Rc<App>, request: Request) -> Answer {
    app.control.state().vhost(request.name(0)).ok_or(Problem::Missing)?;
    app.make(vec![Change::DeleteVhost { name: request.name(0).into() }]).await?;
    Ok(Reply::NoContent)
}

async fn protect(app: &App, request: &Request, is_protected: bool) -> Answer {
    let state = app.control.state();
    let vhost = state.vhost(request.name(0)).ok_or(Problem::Missing)?;
    let change = Change::PutVhost {
        name: request.name(0).into(),
        description: vhost.description.clone(),
        tags: vhost.tags.clone(),
        default_queue_type: vhost.default_queue_type.clone(),
        is_protected,
    };
    app.make(vec![change]).await?;
    Ok(Reply::NoContent)
}

/// POST /api/vhosts/{vhost}/deletion/protection
pub(super) async fn lock(app: Rc<App>, request: Request) -> Answer {
    protect(&app, &request, true).await
}

/// DELETE /api/vhosts/{vhost}/deletion/protection
pub(super) async fn unlock(app: Rc<App>, request: Request) -> Answer {
    protect(&app, &request, false).await
}
