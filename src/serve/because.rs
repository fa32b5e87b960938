//! `GET /because/{user}/{item}`: which of the user's own events contributed how much to an item's score.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use serde::Serialize;
use utoipa::ToSchema;

use super::list::ShownItem;
use super::moment::{ModelStamp, Moment, MomentParameters};
use super::parameters::{Given, Ids, known_item, known_user};
use super::{AppState, Problem};
use crate::publish::{Scored, View, top_n};

/// An event of the user with what it contributed.
#[derive(Serialize, ToSchema)]
pub(super) struct Contribution {
    /// What the event was with.
    #[serde(flatten)]
    item: ShownItem,
    /// Above 0 where it spoke for the item, below where against it.
    contribution: f32,
}

impl Contribution {
    /// Those of a user's events that spoke for an item most, the strongest first.
    pub(super) fn strongest(user: &str, item: u32, most: usize, view: &View, state: &AppState) -> Vec<Self> {
        let learned = view.learned();
        let attribution = learned.users.get(user).and_then(|user| learned.ranking().attribution(user, item));
        let parts = attribution.map(|attribution| attribution.parts).unwrap_or_default();
        let spoke_for = parts.into_iter().filter(|(_, score)| *score > 0.0).map(|(item, score)| Scored { item, score });
        Self::all(&top_n(spoke_for, most), view, state)
    }

    fn all(parts: &[Scored], view: &View, state: &AppState) -> Vec<Self> {
        let catalogue = state.status.catalog.index(&view.learned().items);
        let reason =
            |part: &Scored| Self { item: ShownItem::of(part.item, view, &catalogue), contribution: part.score };
        parts.iter().map(reason).collect()
    }
}

/// Why an item has the score that it has.
#[derive(Serialize, ToSchema)]
pub(super) struct BecauseAnswer {
    user: String,
    item: ShownItem,
    /// The item's score for the user: `base` and all contributions added up.
    score: f32,
    /// What the score would be without the events below: the item's own popularity, and what else is known of the user.
    base: f32,
    /// Place of the item among those that may be shown to the user, from 1; null for an item that nobody liked.
    rank: Option<usize>,
    /// The same, had there not been the strongest event; null where there is none, and for an item that the user has seen.
    rank_without_strongest: Option<usize>,
    /// The user's events that the score depends on, the strongest first, whether they spoke for the item or against it.
    events: Vec<Contribution>,
    model: ModelStamp,
}

/// Which of the user's own events contributed how much to an item's score
#[utoipa::path(
    get,
    path = "/because/{user}/{item}",
    tag = "recommend",
    params(
        ("user" = String, Path, description = "Id of the user"),
        ("item" = String, Path, description = "Id of the item"),
        MomentParameters
    ),
    responses(
        (status = 200, body = BecauseAnswer),
        (status = "4XX", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn because(
    State(state): State<AppState>,
    Moment(view): Moment,
    Ids([user, item]): Ids<[String; 2]>,
    uri: Uri,
) -> Result<Json<BecauseAnswer>, Problem> {
    Given::of::<MomentParameters>(&uri)?;
    let (user_index, item_index) = (known_user(&view, &user)?, known_item(&view, &item)?);
    let Some(because) = view.because(user_index, item_index) else {
        let detail = "the learner of learn.ranking keeps no events of its users, so that none can be told; blend and \
                      item-knn do";
        return Err(Problem::new(StatusCode::CONFLICT, "no_events_kept", detail.into()));
    };
    Ok(Json(BecauseAnswer {
        user,
        item: ShownItem::of(item_index, &view, &state.status.catalog.index(&view.learned().items)),
        score: because.score,
        base: because.base,
        rank: because.rank,
        rank_without_strongest: because.rank_without,
        events: Contribution::all(&because.parts, &view, &state),
        model: ModelStamp::of(&view),
    }))
}
