//! Definitions files, of what exists here (amqp.md R97-R102, L82, L87). Taken whole or not at all.
//! May import `app`, `control`, `request`, `reply`.

use std::rc::Rc;

use serde_json::Value;

use super::app::App;
use super::machine::host_name;
use super::overview::API_VERSION;
use super::reply::{Problem, Reply};
use super::request::Request;
use super::routes::Answer;
use crate::control::Refused;
use crate::control::definitions::{Definitions, export, export_vhost};

/// As JSON, with `?download=name` as a file.
fn reply(app: &App, request: &Request, mut file: Value) -> Reply {
    if let Value::Object(file) = &mut file {
        file.insert("rabbitmq_version".into(), API_VERSION.into());
        file.insert("rabbit_version".into(), API_VERSION.into());
        file.insert("product_name".into(), "RingMQ".into());
        file.insert("product_version".into(), env!("CARGO_PKG_VERSION").into());
        file.insert("original_cluster_name".into(), super::overview::name_of_cluster(app));
    }
    let name = request.query.get("download").unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() {
        return Reply::Json(file);
    }
    let name =
        if name.chars().all(is_plain) { name.into() } else { format!("{}.json", host_name()) };
    Reply::File(file, name)
}

/// GET /api/definitions
pub(super) async fn get(app: Rc<App>, request: Request) -> Answer {
    let file = export(&app.control.state());
    Ok(reply(&app, &request, file))
}

/// GET /api/definitions/{vhost}
pub(super) async fn get_vhost(app: Rc<App>, request: Request) -> Answer {
    app.require_vhost(&request, 0)?;
    let file = export_vhost(&app.control.state(), request.name(0));
    Ok(reply(&app, &request, file))
}

/// Reads a file beside this thread, which has others to serve (abuse row 100), and takes all of it or
/// nothing. What it has of things that are not here yet is said in the log.
async fn take(
    app: &App,
    request: Request,
    read: impl FnOnce(&str) -> Result<Definitions, String> + Send + 'static,
) -> Answer {
    let body = request.body;
    let read = move || {
        let text = if body.is_empty() { Ok("{}") } else { std::str::from_utf8(&body) };
        read(text.map_err(|error| format!("not text: {error}"))?)
    };
    let read = tokio::task::spawn_blocking(read).await;
    let read = read.map_err(|_| Problem::Unavailable("the node stops"))?.map_err(Problem::Bad)?;
    let changes = read.changes().to_vec();
    if !changes.is_empty() {
        let done = app.control.change(changes).await;
        done.map_err(|(index, refused)| match &refused {
            Refused::Unavailable(_) => Problem::from(refused),
            Refused::NotFound { .. } | Refused::Bad(_) | Refused::Protected(_) => {
                Problem::Bad(read.explain(index, &refused))
            }
        })?;
    }
    for (kind, count) in &read.not_loaded {
        tracing::warn!(count, "definitions that were posted: {kind} are not loaded");
    }
    Ok(Reply::NoContent)
}

/// POST /api/definitions
pub(super) async fn post(app: Rc<App>, request: Request) -> Answer {
    take(&app, request, Definitions::parse).await
}

/// POST /api/definitions/{vhost}
pub(super) async fn post_vhost(app: Rc<App>, request: Request) -> Answer {
    app.require_vhost(&request, 0)?;
    let vhost = request.name(0).to_owned();
    take(&app, request, move |text| Definitions::parse_for(text, &vhost)).await
}
