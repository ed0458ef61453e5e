//! What is answered: JSON and text, and every way in which a request is refused, in RabbitMQ's
//! words (amqp.md R109).
//!
//! May import hyper, http-body-util, serde_json.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, REFERRER_POLICY, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

/// What hyper sends.
pub(super) type HttpResponse = Response<Full<Bytes>>;

/// A request that did what it should.
#[derive(Debug)]
pub(super) enum Reply {
    /// 200 with JSON.
    Json(Value),
    /// 200 with text of a type.
    Text(&'static str, String),
    /// 200 with JSON that a browser stores under this name.
    File(Value, String),
    /// 201: there was nothing at this place before. Where it is now, if that is another place.
    Created(Option<String>),
    /// 204.
    NoContent,
    /// 503 with JSON: a check that was made and failed.
    Unhealthy(Value),
}

/// A request that did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Problem {
    /// 400: what is wrong with it.
    Bad(String),
    /// 401: nobody, or with a wrong password. All that may be said of it.
    Login(&'static str),
    /// 401: somebody who may not.
    Forbidden(&'static str),
    /// 404.
    Missing,
    /// 405: what the resource has instead.
    Method(String),
    /// 408.
    Slow,
    /// 413.
    TooLarge,
    /// 429: milliseconds until the next login is looked at.
    TooManyLogins(u64),
    /// 500: the broker could not; for the log and whoever asked.
    Broken(String),
    /// 503: the node stops, or a shard does not answer.
    Unavailable(&'static str),
}

/// What a browser that comes here by mistake may do with an answer: nothing (abuse rows 94, 95).
const SAFE: &[(HeaderName, &str)] = &[
    (CACHE_CONTROL, "no-cache, no-store"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (CONTENT_SECURITY_POLICY, "default-src 'self'; frame-ancestors 'none'"),
    (REFERRER_POLICY, "no-referrer"),
];

/// What browsers and clients call JSON.
pub(super) const JSON: &str = "application/json";

fn response(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> HttpResponse {
    let body = body.into();
    let mut response = Response::new(Full::new(body.clone()));
    *response.status_mut() = status;
    let fields = response.headers_mut();
    for (name, value) in SAFE {
        fields.insert(name, HeaderValue::from_static(value));
    }
    if status != StatusCode::NO_CONTENT {
        fields.insert(CONTENT_LENGTH, body.len().into());
        fields.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    response
}

impl From<Reply> for HttpResponse {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Json(value) => response(StatusCode::OK, JSON, value.to_string()),
            Reply::Text(kind, text) => response(StatusCode::OK, kind, text),
            Reply::File(value, name) => {
                let mut file = response(StatusCode::OK, JSON, value.to_string());
                let disposition = format!("attachment; filename={name}");
                if let Ok(disposition) = HeaderValue::from_str(&disposition) {
                    file.headers_mut().insert(CONTENT_DISPOSITION, disposition);
                }
                file
            }
            Reply::Created(at) => {
                let mut created = response(StatusCode::CREATED, JSON, "");
                if let Some(at) = at.and_then(|at| HeaderValue::from_str(&at).ok()) {
                    created.headers_mut().insert(LOCATION, at);
                }
                created
            }
            Reply::NoContent => response(StatusCode::NO_CONTENT, JSON, ""),
            Reply::Unhealthy(value) => {
                response(StatusCode::SERVICE_UNAVAILABLE, JSON, value.to_string())
            }
        }
    }
}

impl Problem {
    /// What is not as it should be in the request.
    pub(super) fn bad(what: impl Into<String>) -> Self {
        Self::Bad(what.into())
    }

    fn parts(&self) -> (StatusCode, &'static str, &str) {
        match self {
            Self::Bad(reason) => (StatusCode::BAD_REQUEST, "bad_request", reason),
            Self::Login(reason) => (StatusCode::UNAUTHORIZED, "not_authorized", reason),
            Self::Forbidden(reason) => (StatusCode::UNAUTHORIZED, "not_authorised", reason),
            Self::Missing => (StatusCode::NOT_FOUND, "Object Not Found", "Not Found"),
            Self::Method(_) => {
                (StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed", "Method Not Allowed")
            }
            Self::Slow => (StatusCode::REQUEST_TIMEOUT, "timeout", "the request took too long"),
            Self::TooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", "the body is too large")
            }
            Self::TooManyLogins(_) => {
                (StatusCode::TOO_MANY_REQUESTS, "not_authorized", "too many failed logins")
            }
            Self::Broken(reason) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "internal_server_error", reason)
            }
            Self::Unavailable(reason) => {
                (StatusCode::SERVICE_UNAVAILABLE, "service_unavailable", reason)
            }
        }
    }
}

impl From<Problem> for HttpResponse {
    fn from(problem: Problem) -> Self {
        let (status, error, reason) = problem.parts();
        let body = json!({ "error": error, "reason": reason }).to_string();
        let mut answer = response(status, JSON, body);
        let fields = answer.headers_mut();
        match &problem {
            Problem::Login(_) => {
                let realm = HeaderValue::from_static("Basic realm=\"RingMQ\"");
                fields.insert(WWW_AUTHENTICATE, realm);
            }
            Problem::Method(allowed) => {
                if let Ok(allowed) = HeaderValue::from_str(allowed) {
                    fields.insert(hyper::header::ALLOW, allowed);
                }
            }
            Problem::TooManyLogins(wait_ms) => {
                fields.insert(hyper::header::RETRY_AFTER, wait_ms.div_ceil(1000).into());
            }
            // The rest of the request is still on its way and nobody wants it.
            Problem::Slow | Problem::TooLarge => {
                fields.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Problem::Bad(_)
            | Problem::Forbidden(_)
            | Problem::Missing
            | Problem::Broken(_)
            | Problem::Unavailable(_) => {}
        }
        answer
    }
}
