//! Errors as problem+json (RFC 9457) with a stable code; the cause goes to the log, once.

use std::any::Any;

use axum::Json;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// An error as the client gets it.
#[derive(Clone, Debug, Serialize)]
pub struct Problem {
    /// Stable name of the error, for programs.
    pub code: &'static str,
    /// HTTP status.
    pub status: u16,
    /// The kind of error, for people.
    pub title: &'static str,
    /// What was wrong, where, and what is allowed.
    pub detail: String,
}

impl Problem {
    /// A request with a value that is not allowed.
    #[must_use]
    pub fn bad_request(code: &'static str, detail: String) -> Self {
        Self { code, status: 400, title: "Bad request", detail }
    }

    /// A fault of our own, whose cause goes to the log.
    #[must_use]
    pub fn internal(cause: &str) -> Self {
        tracing::error!(cause, "a request could not be answered");
        let detail = "the request could not be answered; the log has the cause".into();
        Self { code: "internal", status: 500, title: "Internal error", detail }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, [(header::CONTENT_TYPE, "application/problem+json")], Json(self)).into_response()
    }
}

pub(super) async fn no_such_route(uri: Uri) -> Problem {
    let detail = format!(
        "nothing is at {:?}; try /recommend/<user>, /model, /snapshots, /metrics, /livez or /readyz",
        uri.path()
    );
    Problem { code: "not_found", status: 404, title: "Not found", detail }
}

pub(super) async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    let detail = format!("{method} is not allowed at {:?}; use GET", uri.path());
    Problem { code: "method_not_allowed", status: 405, title: "Method not allowed", detail }
}

#[expect(clippy::needless_pass_by_value, reason = "the signature is the layer's")]
pub(super) fn panicked(cause: Box<dyn Any + Send + 'static>) -> Response {
    let text = cause.downcast_ref::<String>().map(String::as_str).or(cause.downcast_ref::<&str>().copied());
    Problem::internal(text.unwrap_or("unknown")).into_response()
}
