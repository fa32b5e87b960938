//! HTTP: what is asked of the model, and what is told to it.
//!
//! In: the published view, the engine's [`Status`], and from clients events and the catalogue. Out: JSON, CSV, pages, and
//! metrics for Prometheus; events on the log. Guarantees: a question never waits for learning or for the store unless it
//! asks to, a change is acknowledged when the log or the store has it, an error is problem+json with a stable code, and no
//! answer holds a secret.

mod access;
pub mod archive;
mod because;
mod body;
pub mod catalog;
mod cors;
mod dashboard;
pub mod dead_letters;
mod deadline;
mod delay;
mod directory;
mod edit;
mod estimate;
mod events;
mod feed;
mod filter;
pub mod following;
mod health;
mod limits;
mod list;
mod listen;
mod lists;
mod live;
mod map;
mod metrics;
pub mod model;
mod moment;
pub mod monitor;
mod openapi;
mod parameters;
pub mod problem;
mod recommend;
mod replay;
pub mod requests;
pub mod resident;
mod schema;
mod script;
mod shards;
pub mod snapshots;
pub mod status;
mod streams;
pub mod timings;
mod tls;
mod token;

use std::ops::Deref;
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
use crate::config::{DecodeConfig, ServeConfig, Share};
use crate::publish::Published;

pub use access::Keys;
pub use archive::Archive;
pub use listen::{BindError, Guard, bind, run};
pub use metrics::process::{resident_bytes, started_at_ms};
pub use moment::Kept;
pub use problem::Problem;
pub use shards::app_of_shards;
pub use status::Status;

/// What handlers answer from, in one piece: each layer and each handler of a request takes a copy.
#[derive(Clone)]
pub struct AppState(Arc<Parts>);

impl From<Parts> for AppState {
    fn from(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for AppState {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

#[cfg(test)]
impl std::ops::DerefMut for AppState {
    fn deref_mut(&mut self) -> &mut Parts {
        Arc::make_mut(&mut self.0)
    }
}

/// The parts of the state.
#[derive(Clone)]
pub struct Parts {
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
    /// Whose partitions of it the model learns.
    pub share: Share,
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
    let limits = Limits::new(&state);
    app_within(state, limits)
}

/// The same within limits that other models' routes share.
fn app_within(state: AppState, limits: Limits) -> Router {
    let (router, api) = routes(&state).split_for_parts();
    let router = router
        .merge(openapi::pages(api))
        .merge(dashboard::pages())
        .merge(script::pages())
        .fallback(problem::no_such_route)
        .method_not_allowed_fallback(problem::method_not_allowed);
    layered(router, state, limits)
}

/// The routes with what stands before each of them, the outermost first. One layer of many parts: each layer of a router
/// is an allocation of every request, and a copy of all that is within.
fn layered(router: Router<AppState>, state: AppState, limits: Limits) -> Router {
    let config = Arc::clone(&state.config);
    let before = (
        requests::Count(Arc::clone(&state.status)),
        // A 503 of /readyz is an answer and no failure; what does fail logs its cause where it knows it.
        TraceLayer::new_for_http().on_failure(DefaultOnFailure::new().level(Level::DEBUG)),
        CatchPanicLayer::custom(problem::panicked),
        from_fn(limits::path),
        from_fn_with_state(state.clone(), access::check),
        from_fn_with_state(limits, limits::load),
        from_fn_with_state(state.clone(), deadline::keep),
    );
    cors::layered(router.layer(before).with_state(state), &config.cors_origins)
}

/// Every route that is part of the API, with its description.
fn routes(state: &AppState) -> OpenApiRouter<AppState> {
    // Answers depend on the model and the catalogue alone.
    let asking = OpenApiRouter::new()
        .routes(routes!(recommend::recommend))
        .routes(routes!(because::because))
        .routes(routes!(estimate::estimate))
        .route("/estimate/{user}/{items}/{*more}", get(estimate::estimate))
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
    // What is not known of encodings is left to `body::read`, which says so; the limit is on what comes out of them.
    let body =
        (DefaultBodyLimit::max(state.config.max_body), RequestDecompressionLayer::new().pass_through_unaccepted(true));
    let asking_by_body = OpenApiRouter::new()
        .routes(routes!(recommend::recommend_to))
        .routes(routes!(estimate::estimate_all))
        .layer(body.clone())
        .layer(from_fn_with_state(state.clone(), moment::answer));
    // What these change is in the log or the store before they answer.
    let changing = OpenApiRouter::new()
        .routes(routes!(events::events))
        .routes(routes!(edit::put_item, edit::hide_item))
        .routes(routes!(edit::put_user, edit::hide_user))
        .routes(routes!(dead_letters::replay))
        .routes(routes!(replay::control))
        .layer(body)
        .layer(from_fn_with_state(state.clone(), cors::check));
    // Answers tell what the engine is doing at the moment.
    let watching = OpenApiRouter::new()
        .routes(routes!(feed::live))
        .routes(routes!(live::live))
        .routes(routes!(replay::replay))
        .routes(routes!(model::model))
        .routes(routes!(model::snapshots))
        .routes(routes!(model::snapshot))
        .routes(routes!(snapshots::diff))
        .routes(routes!(snapshots::verify))
        .routes(routes!(snapshots::export))
        .routes(routes!(map::map))
        .routes(routes!(dead_letters::dead_letters))
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(metrics::metrics))
        .routes(routes!(schema::schema))
        .layer(from_fn_with_state(state.clone(), moment::stamp));
    let described = OpenApiRouter::with_openapi(openapi::description());
    described.merge(asking).merge(asking_by_body).merge(changing).merge(watching)
}

#[cfg(test)]
mod tests;
