//! `GET /livez` and `GET /readyz`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::following::Behind;
use super::status::{Part, Phase, Trouble};
use super::{AppState, Problem};
use crate::config::Role;
use crate::consume::lag::Lag;
use crate::publish::View;

/// Routes that whoever watches over the process may ask always: they hold nothing of the model.
pub(super) const PROBES: [&str; 2] = ["/livez", "/readyz"];

/// Whether the process answers
#[utoipa::path(get, path = "/livez", tag = "health", responses((status = 200, body = String, content_type = "text/plain")))]
pub(super) async fn livez() -> &'static str {
    "ok"
}

/// Another trainer.
#[derive(Serialize, ToSchema)]
pub(super) struct OtherTrainer {
    /// Its number.
    shard: usize,
    /// Milliseconds by which what it has added to items is older here than there, at most; none if it never said anything.
    stale_ms: Option<i64>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Readiness {
    ready: bool,
    /// Why not, though it runs, or what it waits for.
    reason: Option<String>,
    /// `all`, `trainer` or `server`.
    #[schema(value_type = String)]
    role: Role,
    phase: Phase,
    /// Whether new events are being learned and made durable; on a server, whether it follows its trainer.
    learning: bool,
    /// How far a server is behind its trainer.
    behind: Option<Behind>,
    /// The other trainers that learn the same items, on a trainer that is one of several.
    trainers: Vec<OtherTrainer>,
    /// What keeps it from that, and passes by itself.
    troubles: Vec<Trouble>,
    /// `seq` of the last event learned.
    seq: u64,
    /// `seq` of the last event that the store holds.
    durable_seq: u64,
    /// Records on the log that are not durable.
    lag: i64,
    /// The same for each assigned partition, and how it develops.
    partitions: Vec<Lag>,
}

/// Whether the engine can be asked: 503 while it starts, recovers or stops, and when it has failed; on a server while it
/// has no model, and while its model is older than `engine.max_staleness`.
///
/// A store or a log in trouble makes it no less ready: recommendations come from the last view, and a balancer that took
/// every engine away because their common store is down would turn stale answers into none. So the status stays 200,
/// and `learning` is false.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "health",
    responses((status = 200, body = Readiness), (status = 503, body = Readiness))
)]
pub(super) async fn readyz(State(state): State<AppState>) -> Response {
    let status = &state.status;
    let (phase, troubles) = (status.phase(), status.troubles());
    let view = state.published.load();
    let reason = why_not(&state, &view);
    let ready = phase == Phase::Running && reason.is_none();
    let body = Readiness {
        ready,
        reason,
        role: status.role,
        phase,
        // What other trainers do not tell keeps this one from nothing.
        learning: ready && troubles.iter().all(|trouble| trouble.part == Part::Trainers),
        trainers: status
            .trainers
            .load()
            .iter()
            .map(|trainer| OtherTrainer { shard: trainer.shard, stale_ms: trainer.stale_ms() })
            .collect(),
        behind: status.behind(view.version().seq),
        troubles,
        seq: view.version().seq,
        durable_seq: status.durable_seq(),
        lag: status.total_lag(),
        partitions: status.lag.load().as_ref().clone(),
    };
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(body)).into_response()
}

/// Why it cannot be asked, though it runs.
fn why_not(state: &AppState, view: &View) -> Option<String> {
    let waits = state.status.has_no_model().then(|| Problem::no_model().detail);
    waits.or_else(|| state.status.too_old(view.version()))
}

/// Whether it can be asked.
pub(super) fn is_ready(state: &AppState) -> bool {
    state.status.phase() == Phase::Running && why_not(state, &state.published.load()).is_none()
}
