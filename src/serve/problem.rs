//! Errors as problem+json (RFC 9457) with a stable code; the cause goes to the log, once.

use std::any::Any;

use std::borrow::Cow;

use axum::Json;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::archive::Unavailable;
use crate::telemetry::Seldom;

/// An error as the client gets it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// Stable name of the error, for programs.
    #[schema(value_type = String, examples("bad_n"))]
    pub code: Cow<'static, str>,
    /// HTTP status.
    #[schema(examples(400))]
    pub status: u16,
    /// The kind of error, for people.
    #[schema(value_type = String, examples("Bad Request"))]
    pub title: &'static str,
    /// What was wrong, where, and what is allowed.
    #[schema(examples("n is \"0\"; a whole number from 1 to 1000 is allowed"))]
    pub detail: String,
    /// Seconds after which it may have passed: the header Retry-After.
    #[serde(skip)]
    pub retry_after: Option<u64>,
}

impl Problem {
    /// An error with a status of its own.
    #[must_use]
    pub fn new(status: StatusCode, code: impl Into<Cow<'static, str>>, detail: String) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        Self { code: code.into(), status: status.as_u16(), title, detail, retry_after: None }
    }

    /// A request with a value that is not allowed.
    #[must_use]
    pub fn bad_request(code: impl Into<Cow<'static, str>>, detail: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// A user or an item that there is not.
    #[must_use]
    pub fn unknown(what: &str, id: &str) -> Self {
        let detail = format!("there is no {what} {id:?}; /{what}s lists those that are known");
        Self::new(StatusCode::NOT_FOUND, format!("unknown_{what}"), detail)
    }

    /// The store does not answer; it is asked again and again elsewhere, so that this passes.
    #[must_use]
    pub fn unavailable(error: &Unavailable) -> Self {
        static TOLD: Seldom = Seldom::new();
        if let Some(more) = TOLD.pass() {
            tracing::warn!(%error, more, "a request could not be answered");
        }
        let detail = "the store does not answer now; try again, /readyz tells what holds it up".into();
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", detail);
        Self { retry_after: Some(1), ..problem }
    }

    /// The rows of a user were not read from the store in time; they are asked for, so that this passes.
    #[must_use]
    pub fn away() -> Self {
        let detail = "the user was idle, and what is known of him is not read from the store yet; try again, /readyz \
                      tells what holds it up";
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "user_away", detail.into());
        Self { retry_after: Some(1), ..problem }
    }

    /// A server without a model. It follows its trainer by itself, so that this passes.
    #[must_use]
    pub fn no_model() -> Self {
        let detail = "this server has no model yet: there is no snapshot, and no trainer was heard; start one (freshet run \
                      --role trainer) on the same store and topics, /readyz tells when it is there";
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "no_model", detail.into());
        Self { retry_after: Some(1), ..problem }
    }

    /// A fault of our own, whose cause goes to the log.
    #[must_use]
    pub fn internal(cause: &str) -> Self {
        tracing::error!(cause, "a request could not be answered");
        let detail = "the request could not be answered; the log has the cause".into();
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let challenge = (status == StatusCode::UNAUTHORIZED).then_some([(header::WWW_AUTHENTICATE, "Bearer")]);
        let retry_after = self.retry_after.map(|seconds| [(header::RETRY_AFTER, seconds.to_string())]);
        (status, challenge, retry_after, [(header::CONTENT_TYPE, "application/problem+json")], Json(self))
            .into_response()
    }
}

pub(super) async fn no_such_route(uri: Uri) -> Problem {
    let detail = format!("nothing is at {:?}; /docs lists what there is, /openapi.json for programs", uri.path());
    Problem::new(StatusCode::NOT_FOUND, "not_found", detail)
}

pub(super) async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    let detail = format!("{method} is not allowed at {:?}; the header Allow lists what is", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}

#[expect(clippy::needless_pass_by_value, reason = "the signature is the layer's")]
pub(super) fn panicked(cause: Box<dyn Any + Send + 'static>) -> Response {
    let text = cause.downcast_ref::<String>().map(String::as_str).or(cause.downcast_ref::<&str>().copied());
    Problem::internal(text.unwrap_or("unknown")).into_response()
}
