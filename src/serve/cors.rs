//! Which pages of other websites may ask from a browser: those of `serve.cors_origins`, and no others.

use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, Method, header};
use tower_http::cors::CorsLayer;

use super::moment::{AGE_MS, MODEL, SEQ};

/// How long a browser may remember what is allowed.
const REMEMBERED: Duration = Duration::from_mins(10);

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
