//! HTTP: recommendations, health, the model and its snapshots.
//!
//! In: the published view and the engine's [`Status`]. Out: JSON, and metrics for
//! Prometheus. Guarantees: a question never waits for learning or for
//! the store unless it asks to, a change is acknowledged when the log or the store has it, an error is problem+json with a stable code, and no answer holds a secret.

mod access;
pub mod archive;
mod because;
mod body;
pub mod catalog;
mod cors;
mod deadline;
mod delay;
mod directory;
mod edit;
mod estimate;
mod events;
mod filter;
mod health;
mod limits;
mod list;
mod listen;
mod lists;
mod live;
mod metrics;
pub mod model;
mod moment;
mod openapi;
mod page;
mod parameters;
pub mod problem;
mod recommend;
mod script;
pub mod status;
mod tls;
mod token;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::decompression::RequestDecompressionLayer;
use tower_http::trace::{DefaultOnFailure, TraceLayer};
use tracing::Level;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use limits::Limits;

use crate::capture::producer::Producer;
use crate::config::{DecodeConfig, ServeConfig};
use crate::publish::Published;

pub use access::Keys;
pub use archive::Archive;
pub use listen::{BindError, Guard, bind, run};
pub use moment::Kept;
pub use problem::Problem;
pub use status::Status;

/// What handlers answer from.
#[derive(Clone)]
pub struct AppState {
    /// The newest view.
    pub published: Published,
    /// What the engine is doing.
    pub status: Arc<Status>,
    /// Snapshots and the catalogue.
    pub archive: Arc<dyn Archive>,
    /// The log that events are produced to; none where only reading is allowed.
    pub log: Option<Arc<dyn Producer>>,
    /// Topic of the events.
    pub topic: Arc<str>,
    /// What an event may hold.
    pub decode: Arc<DecodeConfig>,
    /// Limits.
    pub config: Arc<ServeConfig>,
    /// Answers and snapshots that are kept.
    pub kept: Arc<Kept>,
    /// Who may do what.
    pub keys: Arc<Keys>,
}

/// The routes. Needs no port: tests call it directly.
pub fn app(state: AppState) -> Router {
    let max_body = state.config.max_body;
    let (router, api) = routes(&state).split_for_parts();
    let router = router
        .merge(openapi::pages(api))
        .route("/", get(page::page))
        .merge(script::pages())
        .fallback(problem::no_such_route)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(DefaultBodyLimit::max(max_body))
        // What it does not know it leaves to `body::read`, which says so; the limit is on what comes out of it.
        .layer(RequestDecompressionLayer::new().pass_through_unaccepted(true));
    layered(router, state)
}

/// The routes with what stands before each of them, the outermost last.
fn layered(router: Router<AppState>, state: AppState) -> Router {
    let config = Arc::clone(&state.config);
    let router = router
        .layer(from_fn_with_state(state.clone(), deadline::keep))
        .layer(from_fn_with_state(Limits::new(&state), limits::load))
        .layer(from_fn_with_state(state.clone(), access::check))
        .layer(from_fn(limits::path))
        .layer(CatchPanicLayer::custom(problem::panicked))
        // A 503 of /readyz is an answer and no failure; what does fail logs its cause where it knows it.
        .layer(TraceLayer::new_for_http().on_failure(DefaultOnFailure::new().level(Level::DEBUG)))
        .with_state(state);
    cors::layered(router, &config.cors_origins)
}

/// Every route that is part of the API, with its description.
fn routes(state: &AppState) -> OpenApiRouter<AppState> {
    // Answers depend on the model and the catalogue alone.
    let asking = OpenApiRouter::new()
        .routes(routes!(recommend::recommend))
        .routes(routes!(recommend::recommend_to))
        .routes(routes!(because::because))
        .routes(routes!(estimate::estimate))
        .route("/estimate/{user}/{items}/{*more}", get(estimate::estimate))
        .routes(routes!(estimate::estimate_all))
        .routes(routes!(lists::similar_items))
        .routes(routes!(lists::similar_users))
        .routes(routes!(lists::surprising))
        .routes(routes!(lists::popular))
        .routes(routes!(lists::trending))
        .routes(routes!(lists::representative))
        .routes(routes!(directory::users))
        .routes(routes!(directory::user))
        .routes(routes!(directory::items))
        .routes(routes!(directory::item))
        .layer(from_fn_with_state(state.clone(), moment::answer));
    // What these change is in the log or the store before they answer.
    let changing = OpenApiRouter::new()
        .routes(routes!(events::events))
        .routes(routes!(edit::put_item, edit::hide_item))
        .routes(routes!(edit::put_user, edit::hide_user));
    // Answers tell what the engine is doing at the moment.
    let watching = OpenApiRouter::new()
        .routes(routes!(live::live))
        .routes(routes!(model::model))
        .routes(routes!(model::snapshots))
        .routes(routes!(model::snapshot))
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(metrics::metrics))
        .layer(from_fn_with_state(state.clone(), moment::stamp));
    OpenApiRouter::with_openapi(openapi::description()).merge(asking).merge(changing).merge(watching)
}

#[cfg(test)]
mod tests;
