//! Parameters of the node, kept for those who set them (amqp.md L81). May import `app`, `control`,
//! `request`, `reply`.

use std::rc::Rc;

use serde_json::{Value, json};

use super::app::App;
use super::page::Wanted;
use super::reply::{Problem, Reply};
use super::request::{Request, encode};
use super::routes::Answer;
use crate::control::Change;

fn row(name: &str, value: &Value) -> Value {
    json!({ "name": name, "value": value })
}

/// GET /api/global-parameters
pub(super) async fn list(app: Rc<App>, request: Request) -> Answer {
    let state = app.control.state();
    let rows = state.global_parameters.iter().map(|(name, value)| row(name, value));
    Wanted::of(&request.query)?.reply(rows.collect())
}

/// GET /api/global-parameters/{name}
pub(super) async fn get(app: Rc<App>, request: Request) -> Answer {
    let state = app.control.state();
    let value = state.global_parameters.get(request.name(0)).ok_or(Problem::Missing)?;
    Ok(Reply::Json(row(request.name(0), value)))
}

/// PUT /api/global-parameters/{name}
pub(super) async fn put(app: Rc<App>, request: Request) -> Answer {
    let place = [("name", request.name(0))];
    let changes = app.read_entry("global_parameters", request.object()?, &place)?;
    let created = app.make(changes).await?;
    Ok(if created { Reply::Created(Some(encode(request.name(0)))) } else { Reply::NoContent })
}

/// DELETE /api/global-parameters/{name}
pub(super) async fn delete(app: Rc<App>, request: Request) -> Answer {
    app.make(vec![Change::DeleteGlobalParameter { name: request.name(0).into() }]).await?;
    Ok(Reply::NoContent)
}
