//! `GET /snapshots/{seq}/diff/{other}`, `/verify` and `/export`: what is done with kept snapshots.
//!
//! Apart from [`model`](super::model), which tells of them from memory: these read blocks of the store. One at a time does,
//! off the threads that answer requests, so that asking for them often takes nothing from other requests.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::{Stream, stream};
use serde::Serialize;
use utoipa::ToSchema;

use super::archive::SnapshotError;
use super::model::no_such_snapshot;
use super::parameters::{Ids, bad};
use super::{AppState, Problem};
use crate::learn::prequential::Metrics;

/// Bytes of an export that are read at once.
const CHUNK: usize = 256 * 1024;

/// What has changed from one snapshot to another.
#[derive(Debug, Serialize, ToSchema)]
pub struct DiffAnswer {
    /// The first.
    pub a: DiffSide,
    /// The second.
    pub b: DiffSide,
    /// Parameters that differ, with the value in each; null where it has none.
    #[schema(value_type = std::collections::HashMap<String, Vec<serde_json::Value>>)]
    pub params: BTreeMap<String, [Option<serde_json::Value>; 2]>,
    /// The parts of the model.
    pub sections: Vec<SectionDiff>,
}

/// One of the two snapshots.
#[derive(Debug, Serialize, ToSchema)]
pub struct DiffSide {
    /// Last event that it has learned.
    pub seq: u64,
    /// Hash of the whole model.
    pub sha256: String,
    /// What it holds.
    pub counts: CountsAnswer,
    /// Test-then-learn over its events.
    pub metrics: Metrics,
}

/// Counts of a model.
#[derive(Debug, Serialize, ToSchema)]
pub struct CountsAnswer {
    /// Users known.
    pub users: u64,
    /// Items known.
    pub items: u64,
    /// Events learned.
    pub events: u64,
}

/// What has changed in a part of the model.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct SectionDiff {
    /// What it holds.
    pub name: String,
    /// Rows in the first and in the second.
    pub rows: [u64; 2],
    /// Blocks of the second that the first has too.
    pub shared: u64,
    /// Blocks of the second that replace one of the first.
    pub changed: u64,
    /// Blocks of the second that are added.
    pub new: u64,
    /// Bytes of the changed and the new ones: what the second costs beside the first.
    pub bytes: u64,
    /// How far the rows that both have are apart; null where they are not rows of floats.
    pub moved: Option<Moved>,
}

/// Euclidean distances of rows.
#[derive(Debug, Serialize, ToSchema)]
pub struct Moved {
    /// Their mean over all rows that both have.
    pub mean: f64,
    /// The largest.
    pub max: f64,
}

/// Whether a snapshot is whole.
#[derive(Debug, Serialize, ToSchema)]
pub struct VerifyAnswer {
    /// The snapshot.
    pub seq: u64,
    /// Hash of the whole model, as the manifest has it; null where the manifest cannot be read.
    pub sha256: Option<String>,
    /// Every block is there and hashes to its name, and the whole loads and hashes to `sha256`.
    pub ok: bool,
    /// What was checked, or all that is wrong.
    pub detail: String,
}

/// A snapshot as one file.
#[derive(Debug)]
pub struct Export {
    /// The file, from its beginning; nobody else has it, and it is gone when it is closed.
    pub file: File,
    /// Its length in bytes.
    pub bytes: u64,
}

/// What has changed from one kept snapshot to another
///
/// Parameters, counts, figures, and each part of the model by rows and blocks: as `freshet snapshots diff --json`.
#[utoipa::path(
    get,
    path = "/snapshots/{seq}/diff/{other}",
    tag = "model",
    params(
        ("seq" = u64, Path, description = "The last event that the first has learned"),
        ("other" = u64, Path, description = "The last event that the second has learned")
    ),
    responses(
        (status = 200, body = DiffAnswer),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn diff(
    State(state): State<AppState>,
    Ids([seq, other]): Ids<[String; 2]>,
) -> Result<Json<DiffAnswer>, Problem> {
    let (seq, other) = (seq_of("seq", &seq)?, seq_of("other", &other)?);
    Ok(Json(state.archive.diff(seq, other).await?))
}

/// Check a kept snapshot
///
/// Reads every block against its hash, loads the whole and hashes it again: as `freshet snapshots verify`.
#[utoipa::path(
    get,
    path = "/snapshots/{seq}/verify",
    tag = "model",
    params(("seq" = u64, Path, description = "The last event that it has learned")),
    responses(
        (status = 200, body = VerifyAnswer),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn verify(
    State(state): State<AppState>,
    Ids([seq]): Ids<[String; 1]>,
) -> Result<Json<VerifyAnswer>, Problem> {
    Ok(Json(state.archive.verify(seq_of("seq", &seq)?).await?))
}

/// A kept snapshot as one file
///
/// The ZIP that `freshet snapshots export` writes: `freshet snapshots restore` and `freshet run --from-snapshot` read it.
#[utoipa::path(
    get,
    path = "/snapshots/{seq}/export",
    tag = "model",
    params(("seq" = u64, Path, description = "The last event that it has learned")),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/zip"),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn export(State(state): State<AppState>, Ids([seq]): Ids<[String; 1]>) -> Result<Response, Problem> {
    let seq = seq_of("seq", &seq)?;
    let Export { file, bytes } = state.archive.export(seq).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/zip".to_owned()),
        (header::CONTENT_LENGTH, bytes.to_string()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"freshet-snapshot-{seq}.zip\"")),
    ];
    Ok((headers, Body::from_stream(chunks(file))).into_response())
}

/// The content of a file, read off the threads that answer requests, and no faster than the client takes it.
fn chunks(file: File) -> impl Stream<Item = io::Result<Bytes>> {
    stream::try_unfold(file, |mut file| async move {
        let read = tokio::task::spawn_blocking(move || {
            let mut chunk = Vec::with_capacity(CHUNK);
            file.by_ref().take(CHUNK as u64).read_to_end(&mut chunk).map(|_| (chunk, file))
        });
        let (chunk, file) = read.await.map_err(io::Error::other)??;
        Ok((!chunk.is_empty()).then(|| (Bytes::from(chunk), file)))
    })
}

/// The snapshot that a part of the path names.
pub(super) fn seq_of(name: &str, text: &str) -> Result<u64, Problem> {
    text.parse().map_err(|_| bad(name, text, "the seq of a snapshot, a whole number, is allowed"))
}

impl From<SnapshotError> for Problem {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::NoSuch(seq) => no_such_snapshot(seq),
            SnapshotError::Damaged(reason) => {
                tracing::warn!(reason, "a snapshot cannot be used");
                let detail = format!("{reason}; /snapshots/SEQ/verify lists all that is wrong with a snapshot");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "damaged_snapshot", detail)
            }
            SnapshotError::Unavailable(error) => Self::unavailable(&error),
        }
    }
}
