//! `GET /model` and `GET /snapshots`: what a person asks of the model.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::AppState;
use super::moment::ModelStamp;
use super::status::{Phase, SnapshotSummary};
use crate::consume::lag::Lag;
use crate::decode::Reason;
use crate::learn::prequential::Metrics;

#[derive(Serialize, ToSchema)]
pub(super) struct ModelAnswer {
    #[serde(flatten)]
    stamp: ModelStamp,
    phase: Phase,
    /// Learner and its parameters.
    #[schema(value_type = std::collections::HashMap<String, Object>)]
    params: BTreeMap<String, serde_json::Value>,
    users: usize,
    items: usize,
    metrics: MetricsAnswer,
    /// Dead letters by reason.
    rejects: BTreeMap<Reason, u64>,
    durable_seq: u64,
    lag: Vec<Lag>,
    /// The newest snapshot.
    snapshot: Option<SnapshotSummary>,
}

/// Test-then-learn over every event so far, the running mean beside the model.
#[derive(Serialize, ToSchema)]
struct MetricsAnswer {
    events: u64,
    #[serde(flatten)]
    figures: Metrics,
}

/// The model, its figures and the engine that learns it
#[utoipa::path(get, path = "/model", tag = "model", responses((status = 200, body = ModelAnswer)))]
pub(super) async fn model(State(state): State<AppState>) -> Json<ModelAnswer> {
    let (view, status) = (state.published.load_full(), &state.status);
    let learned = view.learned();
    let prequential = &learned.prequential;
    Json(ModelAnswer {
        stamp: ModelStamp::of(&view),
        phase: status.phase(),
        params: status.params.clone(),
        users: learned.users.len(),
        items: learned.items.len(),
        metrics: MetricsAnswer { events: prequential.events(), figures: prequential.metrics() },
        rejects: status.rejects(),
        durable_seq: status.durable_seq(),
        lag: status.lag.load().as_ref().clone(),
        snapshot: status.snapshots.load().first().cloned(),
    })
}

#[derive(Serialize, ToSchema)]
pub(super) struct SnapshotsAnswer {
    /// The newest first.
    snapshots: Vec<SnapshotSummary>,
}

/// Kept snapshots, the newest hundred
#[utoipa::path(get, path = "/snapshots", tag = "model", responses((status = 200, body = SnapshotsAnswer)))]
pub(super) async fn snapshots(State(state): State<AppState>) -> Json<SnapshotsAnswer> {
    Json(SnapshotsAnswer { snapshots: state.status.snapshots.load().as_ref().clone() })
}
