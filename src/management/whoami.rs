//! Who asks. May import `app`, `request`, `reply`.

use std::rc::Rc;

use serde_json::json;

use super::app::App;
use super::reply::Reply;
use super::request::Request;
use super::routes::Answer;

/// GET /api/whoami
pub(super) async fn get(_: Rc<App>, request: Request) -> Answer {
    let subject = &request.subject;
    let tags = subject.tags();
    Ok(Reply::Json(json!({
        "name": subject.name(),
        "tags": tags,
        "is_internal_user": true,
    })))
}
