//! `GET /model` and `GET /snapshots`: what a person asks of the model.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::moment::ModelStamp;
use super::parameters::Ids;
use super::snapshots::seq_of;
use super::status::{Phase, SnapshotSummary};
use super::{AppState, Problem};
use crate::config::SearchKind;
use crate::consume::lag::Lag;
use crate::decode::Reason;
use crate::learn::prequential::{Metrics, Sums};
use crate::publish::SearchFigures;

#[derive(Serialize, ToSchema)]
pub(super) struct ModelAnswer {
    /// Name of the learners and their parameters: the header X-Freshet-Model.
    name: String,
    #[serde(flatten)]
    stamp: ModelStamp,
    phase: Phase,
    /// Learner and its parameters.
    #[schema(value_type = std::collections::HashMap<String, serde_json::Value>)]
    params: BTreeMap<String, serde_json::Value>,
    users: usize,
    items: usize,
    metrics: MetricsAnswer,
    search: SearchAnswer,
    /// Dead letters by reason.
    rejects: BTreeMap<Reason, u64>,
    durable_seq: u64,
    lag: Vec<Lag>,
    /// The newest snapshot.
    snapshot: Option<SnapshotSummary>,
}

/// Test-then-learn over every event so far, the running mean beside the model.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MetricsAnswer {
    events: u64,
    #[serde(flatten)]
    figures: Metrics,
}

/// How the lists of known users were found since the start of the process.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SearchAnswer {
    /// As `serve.search` has it: `exact` or `approximate`.
    #[schema(value_type = String)]
    kind: SearchKind,
    /// Lists that are exact.
    exact: u64,
    /// Lists that may miss some of the best items.
    approximate: u64,
    /// Approximate lists that were compared with the exact ones.
    compared: u64,
    /// The share of the best items that the newest thousand of those have; null before the first.
    recall: Option<f64>,
}

impl SearchAnswer {
    fn of(figures: &SearchFigures) -> Self {
        let SearchFigures { kind, exact, approximate, compared, recall } = *figures;
        Self { kind, exact, approximate, compared, recall }
    }
}

/// The model, its figures and the engine that learns it
#[utoipa::path(get, path = "/model", tag = "model", responses((status = 200, body = ModelAnswer)))]
pub(super) async fn model(State(state): State<AppState>) -> Json<ModelAnswer> {
    let (view, status) = (state.published.load_full(), &state.status);
    let (learned, identity) = (view.learned(), status.identity.load());
    Json(ModelAnswer {
        name: identity.name.clone(),
        stamp: ModelStamp::of(&view),
        phase: status.phase(),
        params: identity.params.clone(),
        users: learned.users.len(),
        items: learned.items.len(),
        metrics: MetricsAnswer::of(learned.prequential.sums()),
        search: SearchAnswer::of(&state.published.search().figures()),
        rejects: status.rejects(),
        durable_seq: status.durable_seq(),
        lag: status.lag.load().as_ref().clone(),
        snapshot: status.snapshots.load().first().cloned(),
    })
}

impl MetricsAnswer {
    pub(super) fn of(sums: &Sums) -> Self {
        Self { events: sums.events(), figures: sums.metrics() }
    }
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

/// A kept snapshot in full: where it comes from, what it was learned under and what it holds.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SnapshotAnswer {
    /// As it is listed.
    #[serde(flatten)]
    pub summary: SnapshotSummary,
    /// Format version.
    pub format: u32,
    /// Last micro-batch learned.
    pub batch: u64,
    /// Number of the engine's start that took it.
    pub epoch: u64,
    /// The kept snapshot before it, by `seq`; null for the oldest.
    pub previous: Option<u64>,
    /// Next offset to read of each partition.
    pub offsets: Vec<PartitionOffset>,
    /// Learner and its parameters.
    #[schema(value_type = std::collections::HashMap<String, serde_json::Value>)]
    pub params: BTreeMap<String, serde_json::Value>,
    /// Events learned.
    pub events: u64,
    /// Test-then-learn over those, the running mean beside the model.
    pub metrics: Metrics,
    /// The parts of the model.
    pub sections: Vec<SectionAnswer>,
}

/// Next offset to read of a partition.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PartitionOffset {
    /// Topic name.
    pub topic: String,
    /// Partition number.
    pub partition: i32,
    /// The offset.
    pub next: i64,
}

/// A part of a snapshot.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SectionAnswer {
    /// What it holds.
    pub name: String,
    /// Rows in it.
    pub rows: u64,
    /// Blocks that hold the rows.
    pub blocks: u64,
}

/// One kept snapshot
#[utoipa::path(
    get,
    path = "/snapshots/{seq}",
    tag = "model",
    params(("seq" = u64, Path, description = "The last event that it has learned")),
    responses(
        (status = 200, body = SnapshotAnswer),
        (status = "4XX", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn snapshot(
    State(state): State<AppState>,
    Ids([id]): Ids<[String; 1]>,
) -> Result<Json<SnapshotAnswer>, Problem> {
    let seq = seq_of("seq", &id)?;
    let found = state.archive.snapshot(seq).await.map_err(|error| Problem::unavailable(&error))?;
    found.map(Json).ok_or_else(|| no_such_snapshot(seq))
}

pub(super) fn no_such_snapshot(seq: u64) -> Problem {
    let detail = format!("there is no snapshot of seq {seq}; /snapshots lists those that are kept");
    Problem::new(StatusCode::NOT_FOUND, "no_such_snapshot", detail)
}
