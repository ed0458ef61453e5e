//! Users (amqp.md L79, R62, R98). May import `app`, `control`, `page`, `request`, `reply`.

use std::rc::Rc;

use serde_json::{Value, json};

use super::app::App;
use super::page::Wanted;
use super::reply::{Problem, Reply};
use super::request::{Request, encode};
use super::routes::Answer;
use crate::control::{Change, entry};

/// Users that are deleted at once.
const USERS_PER_REQUEST_MAX: usize = 10_000;

/// GET /api/users
pub(super) async fn list(app: Rc<App>, request: Request) -> Answer {
    let state = app.control.state();
    let rows = state.users.iter().map(|(name, user)| entry::user_json(name, user));
    Wanted::of(&request.query)?.reply(rows.collect())
}

/// GET /api/users/without-permissions
pub(super) async fn without_permissions(app: Rc<App>, request: Request) -> Answer {
    let state = app.control.state();
    let has_some = |user: &str| state.permissions.keys().any(|(name, _)| **name == *user);
    let rows = state.users.iter().filter(|(name, _)| !has_some(name));
    let rows = rows.map(|(name, user)| entry::user_json(name, user));
    Wanted::of(&request.query)?.reply(rows.collect())
}

/// GET /api/users/{user}
pub(super) async fn get(app: Rc<App>, request: Request) -> Answer {
    let state = app.control.state();
    let name = request.name(0);
    let user = state.users.get(name).ok_or(Problem::Missing)?;
    Ok(Wanted::of(&request.query)?.one(entry::user_json(name, user)))
}

/// PUT /api/users/{user}: with `password` or `password_hash`, and `tags`. Of a user that is there the
/// password may be left out, and stays.
pub(super) async fn put(app: Rc<App>, request: Request) -> Answer {
    let name = request.name(0);
    let mut body = request.object()?;
    let known = app.control.state().users.get(name).cloned();
    if !body.contains_key("tags") {
        return Err(Problem::bad("'tags' is missing"));
    }
    let password = match body.remove("password") {
        Some(Value::String(password)) if !password.is_empty() => {
            Some(Some(app.control.hash(password.as_bytes()).await?))
        }
        Some(Value::String(_)) | Some(Value::Null) | None => match body.get("password_hash") {
            Some(_) => None,
            None => Some(match &known {
                Some(known) => known.password.clone(),
                None => return Err(Problem::bad("'password' or 'password_hash' is missing")),
            }),
        },
        Some(_) => return Err(Problem::bad("'password' is not a string")),
    };
    if password.is_some() {
        body.remove("password_hash");
    }
    let mut changes = app.read_entry("users", body, &[("name", name)])?;
    if let (Some(given), Some(Change::PutUser { password, .. })) = (password, changes.first_mut()) {
        *password = given;
    }
    let created = app.make(changes).await?;
    Ok(if created { Reply::Created(Some(encode(name))) } else { Reply::NoContent })
}

/// DELETE /api/users/{user}
pub(super) async fn delete(app: Rc<App>, request: Request) -> Answer {
    app.make(vec![Change::DeleteUser { name: request.name(0).into() }]).await?;
    Ok(Reply::NoContent)
}

/// POST /api/users/bulk-delete with `{"users": [...]}`: all that are there.
pub(super) async fn bulk_delete(app: Rc<App>, request: Request) -> Answer {
    let body = request.object()?;
    let names = body.get("users").and_then(Value::as_array);
    let names = names.ok_or_else(|| Problem::bad("'users' is not a list"))?;
    if names.len() > USERS_PER_REQUEST_MAX {
        return Err(Problem::bad("too many users at once"));
    }
    let state = app.control.state();
    let mut changes = Vec::new();
    for name in names {
        let name = name.as_str().ok_or_else(|| Problem::bad("'users' is not a list of names"))?;
        let change = Change::DeleteUser { name: name.into() };
        if state.users.contains_key(name) && !changes.contains(&change) {
            changes.push(change);
        }
    }
    if !changes.is_empty() {
        app.make(changes).await?;
    }
    Ok(Reply::NoContent)
}

/// GET /api/auth/hash_password/{password} and PUT with `{"password": ...}`.
pub(super) async fn hash_password(app: Rc<App>, request: Request) -> Answer {
    let password = match request.names.first() {
        Some(password) => password.clone(),
        None => match request.object()?.remove("password") {
            Some(Value::String(password)) => password,
            Some(_) | None => return Err(Problem::bad("'password' is missing")),
        },
    };
    let hash = app.control.hash(password.as_bytes()).await?;
    Ok(Reply::Json(json!({ "ok": hash.text(), "password_hash": hash.text() })))
}
