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
use crate::control::definitions::{Definitions, export};

/// GET /api/definitions, with `?download=name` as a file.
pub(super) async fn get(app: Rc<App>, request: Request) -> Answer {
    let mut file = export(&app.control.state());
    if let Value::Object(file) = &mut file {
        file.insert("rabbitmq_version".into(), API_VERSION.into());
        file.insert("rabbit_version".into(), API_VERSION.into());
        file.insert("product_name".into(), "RingMQ".into());
        file.insert("product_version".into(), env!("CARGO_PKG_VERSION").into());
        file.insert("original_cluster_name".into(), super::overview::name_of_cluster(&app));
    }
    let name = request.query.get("download").unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() {
        return Ok(Reply::Json(file));
    }
    let name =
        if name.chars().all(is_plain) { name.into() } else { format!("{}.json", host_name()) };
    Ok(Reply::File(file, name))
}

/// POST /api/definitions. What the file has of things that are not here yet is said in the log.
pub(super) async fn post(app: Rc<App>, request: Request) -> Answer {
    let file = Value::Object(request.object()?);
    let read = Definitions::read(&file).map_err(Problem::Bad)?;
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
