//! `GET /livez` and `GET /readyz`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::AppState;
use super::status::Phase;

/// The process answers.
pub(super) async fn livez() -> &'static str {
    "ok"
}

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    phase: Phase,
    /// `seq` of the last event learned.
    seq: u64,
    /// `seq` of the last event that the store holds.
    durable_seq: u64,
    /// Records on the log that have not been read.
    lag: i64,
}

/// Whether the engine is learning from the log; 503 while it is not.
pub(super) async fn readyz(State(state): State<AppState>) -> Response {
    let phase = state.status.phase();
    let ready = phase == Phase::Running;
    let seq = state.published.load().version().seq;
    let durable_seq = state.status.durable_seq();
    let body = Readiness { ready, phase, seq, durable_seq, lag: state.status.total_lag() };
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(body)).into_response()
}
