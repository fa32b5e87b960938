//! `GET /estimate/{user}/{item}[/{item}…]` and `POST /estimate`: predicted ratings with intervals.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::body::Body;
use super::moment::{ModelStamp, Moment, MomentParameters};
use super::parameters::{Given, bad, check_id};
use super::{AppState, Problem};
use crate::learn::intervals::level_of;
use crate::publish::View;

/// Most items that are estimated at once.
const MOST_ITEMS: usize = 1000;

/// How sure an interval is.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the names and their meaning, for the description of the API and the check of a request")]
pub(super) struct EstimateParameters {
    /// Share of the ratings to come that the intervals are to hold: 0.5, 0.8 (where it is not given), 0.9 or 0.95.
    coverage: Option<f64>,
}

/// What `POST /estimate` is asked.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    /// Whose ratings.
    user: String,
    /// Of what, 1 to 1000 items.
    items: Vec<String>,
    /// Share of the ratings to come that the intervals are to hold: 0.5, 0.8 (where it is not given), 0.9 or 0.95.
    coverage: Option<f64>,
}

/// Predicted ratings.
#[derive(Serialize, ToSchema)]
pub(super) struct EstimateAnswer {
    user: String,
    /// Nothing is known of the user: the ratings are those of the usual one.
    cold: bool,
    /// Share of the ratings to come that the intervals are to hold.
    coverage: f64,
    /// Share of the ratings so far that the intervals held which were told before them; null before the first.
    coverage_reached: Option<f64>,
    /// In the order asked for.
    estimates: Vec<ItemEstimate>,
    model: ModelStamp,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ItemEstimate {
    id: String,
    /// Nothing is known of the item: the rating is that of the usual one.
    cold: bool,
    /// Predicted rating, within the range of ratings.
    rating: f32,
    /// The interval, within the range of ratings.
    low: f32,
    high: f32,
}

/// Predicted ratings, several items parted by slashes
///
/// With an interval that holds the stated share of the ratings to come, as checked on each event before it is learned.
#[utoipa::path(
    get,
    path = "/estimate/{user}/{items}",
    tag = "recommend",
    params(
        ("user" = String, Path, description = "Id of the user"),
        ("items" = String, Path, description = "Ids of one item or more, parted by slashes"),
        EstimateParameters, MomentParameters
    ),
    responses(
        (status = 200, body = EstimateAnswer),
        (status = "4XX", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn estimate(Moment(view): Moment, uri: Uri) -> Result<Json<EstimateAnswer>, Problem> {
    let given = Given::of::<EstimateParameters>(&uri)?;
    // Not by the router, which decodes before it parts: an id may hold a slash.
    let path = uri.path().strip_prefix("/estimate/").unwrap_or_default();
    let mut ids = path.split('/').map(decoded);
    let user = ids.next().unwrap_or_else(|| decoded(""))?;
    estimates(user, ids.collect::<Result<_, _>>()?, given.number("coverage", 0.0_f64, 1.0)?, &view)
}

fn decoded(id: &str) -> Result<String, Problem> {
    let id = percent_decode_str(id).decode_utf8().map_err(|_| {
        bad("id", id, "UTF-8 is allowed; write each byte of an id that is no letter or digit as %XX, in UTF-8")
    })?;
    Ok(id.into_owned())
}

/// Predicted ratings of many items
#[utoipa::path(
    post,
    path = "/estimate",
    tag = "recommend",
    params(MomentParameters),
    request_body = Request,
    responses(
        (status = 200, body = EstimateAnswer),
        (status = "4XX", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn estimate_all(
    State(state): State<AppState>,
    Moment(view): Moment,
    uri: Uri,
    Body(request): Body<Request>,
) -> Result<Json<EstimateAnswer>, Problem> {
    Given::of::<MomentParameters>(&uri)?;
    let view = state.with_rows_of(view, [request.user.as_str()]).await?;
    estimates(request.user, request.items, request.coverage, &view)
}

fn estimates(
    user: String,
    items: Vec<String>,
    coverage: Option<f64>,
    view: &View,
) -> Result<Json<EstimateAnswer>, Problem> {
    check_id("user", &user)?;
    if !(1..=MOST_ITEMS).contains(&items.len()) {
        return Err(bad("items", &items.len().to_string(), &format!("1 to {MOST_ITEMS} items are allowed")));
    }
    items.iter().try_for_each(|item| check_id("items", item))?;
    let wanted = coverage.unwrap_or(0.8);
    let level =
        level_of(wanted).ok_or_else(|| bad("coverage", &wanted.to_string(), "0.5, 0.8, 0.9 and 0.95 are allowed"))?;
    let learned = view.learned();
    let index = learned.users.get(&user);
    let estimate = |id: String| {
        let item = learned.items.get(&id);
        let estimate = view.estimate(index, item, level);
        ItemEstimate { id, cold: item.is_none(), rating: estimate.rating, low: estimate.low, high: estimate.high }
    };
    Ok(Json(EstimateAnswer {
        cold: index.is_none(),
        user,
        coverage: wanted,
        coverage_reached: learned.intervals.reached(level),
        estimates: items.into_iter().map(estimate).collect(),
        model: ModelStamp::of(view),
    }))
}
