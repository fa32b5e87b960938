//! `GET /recommend/{user}?n=10&offset=0&include_seen=false&exclude=1,2&candidates=3,4`.

use std::borrow::Cow;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use serde::Serialize;

use super::query::{self, Parameters};
use super::{AppState, Problem};
use crate::capture::Item;
use crate::publish::{Scored, View};
use crate::telemetry::now_ms;

/// The answer.
#[derive(Serialize)]
pub(super) struct Answer {
    user: String,
    /// The user is not known: the items are the most popular ones, and a score is a number of events.
    cold: bool,
    items: Vec<RecommendedItem>,
    model: ModelStamp,
}

#[derive(Serialize)]
struct RecommendedItem {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    genres: Vec<String>,
    score: f32,
}

/// Which model answered.
#[derive(Serialize)]
pub(super) struct ModelStamp {
    /// It has learned exactly the events up to this one.
    pub(super) seq: u64,
    /// Micro-batch after which it was published.
    pub(super) batch: u64,
    /// Time since it was published, in milliseconds.
    pub(super) age_ms: i64,
}

impl ModelStamp {
    pub(super) fn of(view: &View) -> Self {
        let version = view.version();
        let age_ms = if version.batch == 0 { 0 } else { (now_ms() - version.published_at_ms).max(0) };
        Self { seq: version.seq, batch: version.batch, age_ms }
    }
}

pub(super) async fn recommend(
    State(state): State<AppState>,
    user: Result<Path<String>, PathRejection>,
    parameters: Parameters,
) -> Result<Json<Answer>, Problem> {
    let Path(user) = user.map_err(|error| Problem::bad_request("bad_user", error.body_text()))?;
    let view = state.published.load_full();
    let query = query::parse(parameters, &view.learned().items, &state.config)?;
    let recommendation = view.recommend(&user, &query);
    let titles = state.status.items.load();
    let items = recommendation.items.iter().map(|scored| describe(*scored, &view, |id| titles.get(id))).collect();
    Ok(Json(Answer { user, cold: recommendation.cold, items, model: ModelStamp::of(&view) }))
}

fn describe<'a>(scored: Scored, view: &View, item: impl FnOnce(&str) -> Option<&'a Item>) -> RecommendedItem {
    let id = view.learned().items.name(scored.item).map_or(Cow::Borrowed(""), |id| Cow::Owned(id.to_string()));
    let known = item(&id);
    RecommendedItem {
        title: known.map(|item| item.title.clone()),
        genres: known.map(|item| item.genres.clone()).unwrap_or_default(),
        id: id.into_owned(),
        score: scored.score,
    }
}
