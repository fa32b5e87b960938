//! Which pages of other websites may ask from a browser, and change anything: those of `serve.cors_origins`, and no others.
//!
//! A browser keeps an answer from a page that may not have it, but sends a plain `POST` all the same. So what changes
//! anything looks at where the page is from as well: an open port on loopback is within reach of every website that
//! its owner visits.

use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use tower_http::cors::CorsLayer;

use super::moment::{AGE_MS, MODEL, SEQ};
use super::{AppState, Problem};

/// How long a browser may remember what is allowed.
const REMEMBERED: Duration = Duration::from_mins(10);

/// The layer of routes that change something: a page of a website that is not listed may not.
pub(super) async fn check(State(state): State<AppState>, request: Request, next: Next) -> Result<Response, Problem> {
    match foreign(&request, &state.config.cors_origins) {
        Some(problem) => Err(problem),
        None => Ok(next.run(request).await),
    }
}

/// Why a request is refused, if it is from a page of another website.
fn foreign(request: &Request, listed: &[String]) -> Option<Problem> {
    let given = |name| request.headers().get(name).map(HeaderValue::as_bytes);
    let origin = given(header::ORIGIN)?;
    let host = given(header::HOST).or(request.uri().authority().map(|host| host.as_str().as_bytes()));
    let own = |scheme: &str| origin.strip_prefix(scheme.as_bytes()).is_some_and(|page| Some(page) == host);
    if listed.iter().any(|listed| listed.as_bytes() == origin) || own("http://") || own("https://") {
        return None;
    }
    let detail = format!(
        "pages of {:?} may not change anything here; serve.cors_origins lists those that may",
        String::from_utf8_lossy(origin)
    );
    Some(Problem::new(StatusCode::FORBIDDEN, "origin_not_allowed", detail))
}

/// The router with the headers for these origins around every answer, errors too; as it is if there are none.
pub(super) fn layered(router: Router, origins: &[String]) -> Router {
    // What is no header was refused with the configuration.
    let origins: Vec<HeaderValue> = origins.iter().filter_map(|origin| origin.parse().ok()).collect();
    if origins.is_empty() {
        return router;
    }
    let layer = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, header::CONTENT_ENCODING, header::IF_NONE_MATCH])
        .expose_headers([SEQ, MODEL, AGE_MS, header::ETAG, header::RETRY_AFTER])
        .max_age(REMEMBERED);
    router.layer(layer)
}
