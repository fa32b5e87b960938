//! Lists that are of no user: `/similar`, `/popular`, `/trending`, `/representative`; and of what a user has done:
//! `/surprising/{user}`.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use roaring::RoaringBitmap;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::list::{self, List, ListParameters, ListedItem, ShownItem};
use super::moment::{ModelStamp, Moment, MomentParameters};
use super::parameters::{Both, Given, Ids, known_item, known_user};
use super::{AppState, Problem};
use crate::publish;

/// Items that are like one
///
/// The nearest by the cosine of what the model has learned of them, which is the score.
#[utoipa::path(
    get,
    path = "/similar/{item}",
    tag = "lists",
    params(("item" = String, Path, description = "Id of the item"), ListParameters, MomentParameters),
    responses(
        (status = 200, content((List = "application/json"), (String = "text/csv; charset=utf-8"))),
        (status = "4XX", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn similar_items(
    State(state): State<AppState>,
    Moment(view): Moment,
    Ids([item]): Ids<[String; 1]>,
    uri: Uri,
) -> Result<Response, Problem> {
    let given = Given::of::<ListParameters>(&uri)?;
    let query = list::query(&given, &view, &state)?;
    let similar = view.similar_items(known_item(&view, &item)?, &query).ok_or_else(no_vectors)?;
    List::told(&similar, &given, &view, &state)
}

fn no_vectors() -> Problem {
    let detail = "neither learn.ranking nor learn.rating names a learner that tells what is like what; blend, item-knn, \
                  bayesian-mf and biased-mf do";
    Problem::new(StatusCode::CONFLICT, "no_similarity", detail.into())
}

/// How many users are asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the names and their meaning, for the description of the API and the check of a request")]
pub(super) struct NumberParameters {
    /// Entries in the answer; `serve.default_n` where it is not given, at most `serve.max_n`.
    #[param(minimum = 1)]
    n: Option<u32>,
}

/// Users, the most similar first.
#[derive(Serialize, ToSchema)]
pub(super) struct SimilarUsers {
    users: Vec<SimilarUser>,
    model: ModelStamp,
}

#[derive(Serialize, ToSchema)]
pub(super) struct SimilarUser {
    id: String,
    /// Cosine of what the model has learned of both.
    score: f32,
}

/// Users who are like one
#[utoipa::path(
    get,
    path = "/similar/users/{user}",
    tag = "lists",
    params(("user" = String, Path, description = "Id of the user"), NumberParameters, MomentParameters),
    responses(
        (status = 200, body = SimilarUsers),
        (status = "4XX", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn similar_users(
    State(state): State<AppState>,
    Moment(view): Moment,
    Ids([user]): Ids<[String; 1]>,
    uri: Uri,
) -> Result<Json<SimilarUsers>, Problem> {
    let n = number(&Given::of::<NumberParameters>(&uri)?, &state)?;
    let similar = view.similar_users(known_user(&view, &user)?, n).ok_or_else(no_vectors)?;
    let name = |index| view.learned().users.name(index).map(ToString::to_string).unwrap_or_default();
    let users = similar.iter().map(|found| SimilarUser { id: name(found.item), score: found.score }).collect();
    Ok(Json(SimilarUsers { users, model: ModelStamp::of(&view) }))
}

fn number(given: &Given, state: &AppState) -> Result<usize, Problem> {
    Ok(given.whole("n", 1, state.config.max_n)?.unwrap_or(state.config.default_n))
}

/// Known items that the model finds least likely
///
/// Of the items that the user has had an event with, those that the ranking model scores lowest, the lowest first.
#[utoipa::path(
    get,
    path = "/surprising/{user}",
    tag = "lists",
    params(("user" = String, Path, description = "Id of the user"), NumberParameters, MomentParameters),
    responses((status = 200, body = List), (status = "4XX", body = Problem, content_type = "application/problem+json"))
)]
pub(super) async fn surprising(
    State(state): State<AppState>,
    Moment(view): Moment,
    Ids([user]): Ids<[String; 1]>,
    uri: Uri,
) -> Result<Json<List>, Problem> {
    let n = number(&Given::of::<NumberParameters>(&uri)?, &state)?;
    let surprising = view.surprising(known_user(&view, &user)?, n);
    let catalogue = state.status.catalog.index(&view.learned().items);
    let items = surprising.iter().map(|scored| ListedItem::of(*scored, &view, &catalogue)).collect();
    Ok(Json(List { items, model: ModelStamp::of(&view) }))
}

/// The most popular items
///
/// By the number of positive events of anybody, which is the score.
#[utoipa::path(
    get,
    path = "/popular",
    tag = "lists",
    params(ListParameters, MomentParameters),
    responses(
        (status = 200, content((List = "application/json"), (String = "text/csv; charset=utf-8"))),
        (status = "4XX", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn popular(
    State(state): State<AppState>,
    Moment(view): Moment,
    uri: Uri,
) -> Result<Response, Problem> {
    let given = Given::of::<ListParameters>(&uri)?;
    let query = list::query(&given, &view, &state)?;
    let popular = view.rank(view.popularity(), &RoaringBitmap::new(), &query);
    List::told(&popular, &given, &view, &state)
}

/// How soon what was popular is forgotten.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the names and their meaning, for the description of the API and the check of a request")]
pub(super) struct TrendingParameters {
    /// Positive events of anybody after which one counts half: 200, 2000 (where it is not given) or 20000.
    window: Option<u32>,
}

/// The items that are popular lately
///
/// By the positive events of anybody, older ones counting less and less. The stream is the clock: what counts is how many
/// positive events came after, not how many hours.
#[utoipa::path(
    get,
    path = "/trending",
    tag = "lists",
    params(ListParameters, TrendingParameters, MomentParameters),
    responses(
        (status = 200, content((List = "application/json"), (String = "text/csv; charset=utf-8"))),
        (status = "4XX", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn trending(
    State(state): State<AppState>,
    Moment(view): Moment,
    uri: Uri,
) -> Result<Response, Problem> {
    let given = Given::of::<Both<ListParameters, TrendingParameters>>(&uri)?;
    let query = list::query(&given, &view, &state)?;
    let window = given.one_of("window", &[("200", 0), ("2000", 1), ("20000", 2)])?.unwrap_or(1);
    let trending = view.rank(view.trending(window), &RoaringBitmap::new(), &query);
    List::told(&trending, &given, &view, &state)
}

/// One strong item for each factor
#[derive(Serialize, ToSchema)]
pub(super) struct Representative {
    factors: Vec<RepresentativeItem>,
    model: ModelStamp,
}

#[derive(Serialize, ToSchema)]
pub(super) struct RepresentativeItem {
    /// Number of the factor, from 0.
    factor: usize,
    #[serde(flatten)]
    item: ShownItem,
    /// The factor's share of the item's vector, from -1 to 1: its value over the length of the vector.
    share: f32,
}

/// One strong item a factor
///
/// What the factors of the model stand for, each shown by the liked item that has most of it.
#[utoipa::path(
    get,
    path = "/representative",
    tag = "lists",
    params(MomentParameters),
    responses(
        (status = 200, body = Representative),
        (status = "4XX", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn representative(
    State(state): State<AppState>,
    Moment(view): Moment,
    uri: Uri,
) -> Result<Json<Representative>, Problem> {
    Given::of::<MomentParameters>(&uri)?;
    let catalogue = state.status.catalog.index(&view.learned().items);
    let shown = |one: publish::Representative| RepresentativeItem {
        factor: one.factor,
        item: ShownItem::of(one.item, &view, &catalogue),
        share: one.share,
    };
    let factors = view.representative().into_iter().map(shown).collect();
    Ok(Json(Representative { factors, model: ModelStamp::of(&view) }))
}
