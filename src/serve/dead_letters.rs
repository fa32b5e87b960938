//! `GET /dead-letters` and `POST /dead-letters/replay`: what was refused, and sending it again.
//!
//! Both need the highest scope: the letters hold what was sent as it was sent, and what is sent again is learned.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::archive::Unavailable;
use super::body::Body;
use super::parameters::{Given, bad};
use super::{AppState, Problem};
use crate::consume::Position;

/// Letters of a page where nothing else is asked for.
const PAGE: usize = 20;
/// Most letters of a page.
const LONGEST_PAGE: usize = 100;
/// Most letters that one request sends again.
const MOST_AT_ONCE: usize = 1000;

/// Which letters are asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the names and their meaning, for the description of the API and the check of a request")]
pub(super) struct LetterParameters {
    /// Letters of the page. It may have fewer, where they are large.
    #[param(minimum = 1, maximum = 100, default = 20)]
    n: Option<u32>,
    /// Only those of this reason, such as `invalid_json`.
    reason: Option<String>,
    /// `cursor` of the page before; the first page where it is not given.
    cursor: Option<String>,
}

/// A record that was refused.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct StoredLetter {
    /// Where it stands.
    #[serde(flatten)]
    pub position: Position,
    /// The log's timestamp, in milliseconds since the epoch.
    pub at_ms: i64,
    /// Stable name of the reason.
    pub reason: String,
    /// What was found, and what is allowed.
    pub detail: String,
    /// What was sent, as text.
    pub text: String,
    /// `text` is not all of it: bytes that are no UTF-8 are shown as U+FFFD.
    pub lossy: bool,
    /// Bytes that were sent, where the store keeps only the beginning of them; else null.
    pub cut_from: Option<u64>,
    /// When it was last sent to the log again, in milliseconds since the epoch; null if it never was.
    pub replayed_at_ms: Option<i64>,
}

/// Letters of a page.
#[derive(Clone, Debug, Default)]
pub struct LetterPage {
    /// In the order of the log.
    pub letters: Vec<StoredLetter>,
    /// The last of them, if there are more.
    pub next: Option<Position>,
}

/// A page of dead letters.
#[derive(Serialize, ToSchema)]
pub(super) struct LettersAnswer {
    /// In the order of topics, partitions and offsets.
    dead_letters: Vec<StoredLetter>,
    /// Cursor of the next page; null on the last one.
    cursor: Option<String>,
}

/// What is to be sent again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplayRequest {
    /// The letters.
    #[schema(min_items = 1, max_items = 1000)]
    positions: Vec<Position>,
    /// What is sent in place of what the letter holds; only with one position.
    payload: Option<String>,
}

/// A letter that was not sent, because it would come back.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RefusedLetter {
    /// Which one.
    #[serde(flatten)]
    pub position: Position,
    /// Stable name of the reason, as dead letters have it; or `replayed_before`, `payload_cut`.
    pub reason: String,
    /// What was found, and what is allowed.
    pub detail: String,
}

/// What has become of the letters.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Replayed {
    /// Letters that the log has again.
    pub replayed: u64,
    /// Letters that were not sent, and stay as they are.
    pub refused: Vec<RefusedLetter>,
}

/// The answer where not one letter was sent: a problem with more to it.
#[derive(Serialize)]
pub(super) struct NoneReplayed {
    #[serde(flatten)]
    problem: Problem,
    #[serde(flatten)]
    replayed: Replayed,
}

/// Why letters were not all sent.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// There is none at this place; nothing was sent.
    #[error("there is no dead letter at {0}")]
    NoSuchLetter(String),
    /// The store does not answer.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The log does not take them.
    #[error("{reason}")]
    Log {
        /// Letters that it took before, which are marked.
        sent: u64,
        /// What it said.
        reason: String,
    },
}

/// Dead letters
///
/// Records that were refused, with why and what they held, those that have been sent again too.
#[utoipa::path(
    get,
    path = "/dead-letters",
    tag = "health",
    params(LetterParameters),
    responses(
        (status = 200, body = LettersAnswer),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn dead_letters(State(state): State<AppState>, uri: Uri) -> Result<Json<LettersAnswer>, Problem> {
    let given = Given::only::<LetterParameters>(&uri)?;
    let n = given.whole("n", 1, LONGEST_PAGE)?.unwrap_or(PAGE);
    let after = given.get("cursor").map(|text| {
        let read: Result<Position, _> = text.parse();
        read.map_err(|_| bad("cursor", text, "what a page has as cursor is allowed"))
    });
    let reason = given.get("reason").map(str::to_owned);
    let page = state.archive.dead_letters(reason, after.transpose()?, n).await;
    let LetterPage { letters, next } = page.map_err(|error| Problem::unavailable(&error))?;
    Ok(Json(LettersAnswer { dead_letters: letters, cursor: next.map(|at| at.to_string()) }))
}

/// Send dead letters again
///
/// To the topic that they came from, as they were or, for one of them, as `payload` has it. Each is checked first as it will
/// be when it is read: what would be refused again is not sent and told with its reason. One that was sent is marked, and an
/// event without an id gets that of its letter, so that it is learned once. Where not one could be sent the answer is 422, a
/// problem that has `replayed` and `refused` as well.
#[utoipa::path(
    post,
    path = "/dead-letters/replay",
    tag = "health",
    request_body = ReplayRequest,
    responses(
        (status = 200, body = Replayed),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn replay(
    State(state): State<AppState>,
    Body(asked): Body<ReplayRequest>,
) -> Result<Response, Problem> {
    state.log()?;
    let positions = checked(&asked)?;
    let replayed = state.archive.replay(positions, asked.payload.map(String::into_bytes)).await?;
    if replayed.replayed > 0 {
        return Ok(Json(replayed).into_response());
    }
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    let detail = match replayed.refused.as_slice() {
        [one] => format!("the letter was not sent, and stays as it is: {}", one.detail),
        _ => "not one of the letters was sent, and all stay as they are; refused says why, one by one".into(),
    };
    let answer = NoneReplayed { problem: Problem::new(status, "none_replayed", detail), replayed };
    Ok((status, [(header::CONTENT_TYPE, "application/problem+json")], Json(answer)).into_response())
}

/// The positions, each once.
fn checked(asked: &ReplayRequest) -> Result<Vec<Position>, Problem> {
    let refused = |code: &'static str, detail: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail);
    // Where no record can stand, no letter does.
    let nowhere = |at: &&Position| at.topic.is_empty() || at.partition < 0 || at.offset < 0;
    if let Some(at) = asked.positions.iter().find(nowhere) {
        return Err(no_such_letter(&at.to_string()));
    }
    let positions: BTreeSet<&Position> = asked.positions.iter().collect();
    let count = positions.len();
    if !(1..=MOST_AT_ONCE).contains(&asked.positions.len()) {
        let detail = format!("positions has {} entries; 1 to {MOST_AT_ONCE} are allowed", asked.positions.len());
        return Err(refused("bad_positions", detail));
    }
    if asked.payload.is_some() && count > 1 {
        let detail = format!("payload is given for {count} positions; it is allowed with one");
        return Err(refused("bad_payload", detail));
    }
    Ok(positions.into_iter().cloned().collect())
}

fn no_such_letter(place: &str) -> Problem {
    let detail =
        format!("there is no dead letter at {place}, and nothing was sent; /dead-letters lists those there are");
    Problem::new(StatusCode::NOT_FOUND, "no_such_letter", detail)
}

impl From<ReplayError> for Problem {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::NoSuchLetter(place) => no_such_letter(&place),
            ReplayError::Unavailable(error) => Self::unavailable(&error),
            ReplayError::Log { sent, reason } => {
                tracing::warn!(reason, sent, "dead letters could not be sent");
                let detail = format!(
                    "the log has not taken all letters: {reason}; {sent} were sent and are marked, send the others again"
                );
                let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "log_unavailable", detail);
                Self { retry_after: Some(1), ..problem }
            }
        }
    }
}
