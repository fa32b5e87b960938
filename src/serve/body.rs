//! What a request has in its body: read up to `serve.max_body` bytes, and every refusal a problem.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::{AppState, Problem};

/// A body of JSON.
///
/// Refused with 400 if it is no JSON, 413 if it is too large, 415 if it says to be of another type, 422 if it has fields or
/// types that `T` has not.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<AppState> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Problem> {
        let kind = content_type(request.headers());
        if !(kind == "application/json" || kind.starts_with("application/") && kind.ends_with("+json")) {
            return Err(unsupported(&kind, "application/json"));
        }
        from_json(&read(request, state).await?).map(Self)
    }
}

/// The body's type, without parameters, in lower case; empty where the request does not say it.
pub(super) fn content_type(headers: &HeaderMap) -> String {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// 415: this is the body's type, and these are read.
pub(super) fn unsupported(found: &str, allowed: &str) -> Problem {
    let detail = match found {
        "" => format!("the header Content-Type is missing; allowed are {allowed}"),
        found => format!("Content-Type is {found:?}; allowed are {allowed}"),
    };
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
}

/// Reads the body, which the layer around has decompressed.
///
/// # Errors
/// 413 if it has more than `serve.max_body` bytes, 415 if it is compressed in a way that is not known, 400 if it breaks off.
pub(super) async fn read(request: Request, state: &AppState) -> Result<Bytes, Problem> {
    // The layer takes the header away with the encoding.
    if let Some(encoding) = request.headers().get(header::CONTENT_ENCODING) {
        let detail = format!("Content-Encoding is {encoding:?}; gzip is allowed, or none");
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", detail));
    }
    Bytes::from_request(request, state).await.map_err(|error| match error {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
            let most = state.config.max_body;
            let detail =
                format!("the body has more than serve.max_body = {most} bytes, uncompressed; send it in parts");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
        }
        error => Problem::bad_request("bad_body", format!("the body cannot be read: {}", error.body_text())),
    })
}

/// # Errors
/// 400 if it is no JSON, 422 if it has fields or types that `T` has not; both say where.
pub(super) fn from_json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| match error.classify() {
        Category::Data => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "bad_field",
            format!("the body is not as it should be: {error}"),
        ),
        Category::Io | Category::Syntax | Category::Eof => {
            Problem::bad_request("bad_json", format!("the body is not JSON: {error}"))
        }
    })
}
