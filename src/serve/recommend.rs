//! `GET /recommend/{user}`: the best items for one user.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::moment::{ModelStamp, Moment, MomentParameters};
use super::parameters::{Given, Ids};
use super::{AppState, Problem};
use crate::capture::Item;
use crate::publish::{Query, Scored, View};

/// Which items are asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the names and their meaning, for the description of the API and the check of a request")]
pub(super) struct RecommendParameters {
    /// Items in the answer; `serve.default_n` where it is not given, at most `serve.max_n`.
    #[param(minimum = 1)]
    n: Option<u32>,
    /// Better items that are left out: pages of n at the offsets 0, n, 2n, … partition the list.
    #[param(minimum = 0)]
    offset: Option<u32>,
    /// Whether items that the user has had an event with may be in the answer.
    include_seen: Option<bool>,
    /// Ids of items that may not be in the answer, parted by commas.
    exclude: Option<String>,
    /// Ids of the only items that may be in the answer, parted by commas.
    candidates: Option<String>,
}

/// The answer.
#[derive(Serialize, ToSchema)]
pub(super) struct Answer {
    user: String,
    /// The user is not known: the items are the most popular ones, and a score is a number of events.
    cold: bool,
    /// The best first.
    items: Vec<RecommendedItem>,
    model: ModelStamp,
}

/// An item with what the catalogue has of it.
#[derive(Serialize, ToSchema)]
pub(super) struct RecommendedItem {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    title: Option<String>,
    genres: Vec<String>,
    /// The ranking model's: it tells the order, and nothing across users.
    score: f32,
}

/// Items recommended to a user
///
/// Items that the user has had an event with are left out; a user who is not known gets popular items and `cold: true`.
#[utoipa::path(
    get,
    path = "/recommend/{user}",
    tag = "recommend",
    params(("user" = String, Path, description = "Id of the user"), RecommendParameters, MomentParameters),
    responses((status = 200, body = Answer), (status = "4XX", body = Problem, content_type = "application/problem+json"))
)]
pub(super) async fn recommend(
    State(state): State<AppState>,
    Moment(view): Moment,
    Ids([user]): Ids<[String; 1]>,
    uri: Uri,
) -> Result<Json<Answer>, Problem> {
    let mut query = query(&Given::of::<RecommendParameters>(&uri)?, &view, &state)?;
    let index = state.status.catalog.index(&view.learned().items);
    query.exclude |= &index.hidden;
    let recommendation = view.recommend(&user, &query);
    let items = recommendation.items.iter().map(|scored| describe(*scored, &view, index.item(scored.item))).collect();
    Ok(Json(Answer { user, cold: recommendation.cold, items, model: ModelStamp::of(&view) }))
}

/// The query that the parameters state, over the items that the model knows.
fn query(given: &Given, view: &View, state: &AppState) -> Result<Query, Problem> {
    let items = &view.learned().items;
    Ok(Query {
        n: given.whole("n", 1, state.config.max_n)?.unwrap_or(state.config.default_n),
        offset: given.whole("offset", 0, u32::MAX)?.unwrap_or(0) as usize,
        include_seen: given.flag("include_seen")?,
        exclude: given.items("exclude", items).unwrap_or_default(),
        candidates: given.items("candidates", items),
    })
}

fn describe(scored: Scored, view: &View, known: Option<&Item>) -> RecommendedItem {
    RecommendedItem {
        id: view.learned().items.name(scored.item).map(ToString::to_string).unwrap_or_default(),
        title: known.map(|item| item.title.clone()).filter(|title| !title.is_empty()),
        genres: known.map(|item| item.genres.clone()).unwrap_or_default(),
        score: scored.score,
    }
}
