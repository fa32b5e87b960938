//! `GET /recommend/{user}` and `POST /recommend`: the best items for one user, for several at once, or for somebody who
//! is known by what he likes alone.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::because::Contribution;
use super::body::Body;
use super::filter::Filter;
use super::list::{self, Format, ListParameters, ListedItem};
use super::moment::{ModelStamp, Moment, MomentParameters};
use super::parameters::{Both, Given, Ids, bad, check_id};
use super::{AppState, Problem};
use crate::learn::ids::IdTable;
use crate::publish::{Query, Recommendation, Scored, Together, View, diversified};

/// Items among which variety is looked for: the best of the list; those behind keep their order.
const DIVERSIFIED: usize = 500;

/// Most items that are explained in one answer.
const MOST_EXPLAINED: usize = 100;

/// Events told with an item that is explained.
const REASONS: usize = 3;

/// Most users that one list can be for.
const MOST_USERS: usize = 100;

/// Most likes and dislikes that are folded in.
const MOST_LIKES: usize = 1000;

/// How recommendations are made, besides which items.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the names and their meaning, for the description of the API and the check of a request")]
pub(super) struct RecommendParameters {
    /// Whether items that the user has had an event with may be in the answer.
    include_seen: Option<bool>,
    /// How much variety counts against the score: 0, not at all, to 1, alone (maximal marginal relevance).
    #[param(minimum = 0.0, maximum = 1.0)]
    diversity: Option<f32>,
    /// Whether each item comes with those of the user's own events that spoke for it most; for n up to 100.
    explain: Option<bool>,
}

/// What `POST /recommend` is asked. Whom the items are for: `user`, or `users`, or `likes` and `dislikes`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Request {
    /// One user.
    user: Option<String>,
    /// Several users, at most 100, who are to share the list. Users who are not known have no say.
    users: Option<Vec<String>>,
    /// How the scores of several users become one: `mean` where it is not given.
    combine: Option<Combining>,
    /// Items that somebody likes of whom nothing else is known, at most 1000 with the dislikes.
    likes: Vec<String>,
    /// Items that he does not like.
    dislikes: Vec<String>,
    /// Items in the answer; `serve.default_n` where it is not given, at most `serve.max_n`.
    #[schema(minimum = 1)]
    n: Option<usize>,
    /// Better items that are left out.
    #[schema(maximum = 4_294_967_295_u32)]
    offset: Option<u32>,
    /// Whether items that one of the users has had an event with may be in the answer, or that are liked or disliked here.
    include_seen: bool,
    /// Items that may not be in the answer.
    exclude: Vec<String>,
    /// The only items that may be in the answer.
    candidates: Option<Vec<String>>,
    /// Which items may be in the answer, by genre, label and year.
    filter: Option<String>,
    /// How much variety counts against the score, from 0 to 1.
    #[schema(minimum = 0.0, maximum = 1.0)]
    diversity: Option<f32>,
    /// Whether each item comes with those of the user's own events that spoke for it most; for one `user`.
    explain: bool,
}

/// How the scores of several users become one.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Combining {
    /// The mean of all.
    Mean,
    /// That of the user who likes it least.
    LeastMisery,
}

/// Recommended items.
#[derive(Serialize, ToSchema)]
pub(super) struct Answer {
    /// Whom they are for, if it is one user.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    user: Option<String>,
    /// Whom they are for, if there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    users: Option<Vec<String>>,
    /// Nothing is known of whom they are for: the items are the most popular ones, and a score is a number of events.
    cold: bool,
    /// Items that score higher may be missing, as `serve.search` allows; every score is exact. Only told where it is so.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    approximate: bool,
    /// The best first. A score tells the order, and nothing across users.
    pub(super) items: Vec<RecommendedItem>,
    model: ModelStamp,
}

/// An item of a recommendation.
#[derive(Serialize, ToSchema)]
pub(super) struct RecommendedItem {
    #[serde(flatten)]
    listed: ListedItem,
    /// Events of the user that spoke for it most, the strongest first, where `explain` asks for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    because: Option<Vec<Contribution>>,
}

/// What is asked for, however it was.
pub(super) struct Wanted {
    query: Query,
    diversity: f32,
    explain: bool,
}

/// Whom it is for.
pub(super) enum Who {
    User(String),
    Users(Vec<String>, Together),
    Taste(Vec<u32>, Vec<u32>),
}

/// Items recommended to a user
///
/// Items that the user has had an event with are left out; a user who is not known gets popular items and `cold: true`.
#[utoipa::path(
    get,
    path = "/recommend/{user}",
    tag = "recommend",
    params(
        ("user" = String, Path, description = "Id of the user"),
        ListParameters, RecommendParameters, MomentParameters
    ),
    responses(
        (status = 200, content((Answer = "application/json"), (String = "text/csv; charset=utf-8"))),
        (status = "4XX", body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn recommend(
    State(state): State<AppState>,
    Moment(view): Moment,
    Ids([user]): Ids<[String; 1]>,
    uri: Uri,
) -> Result<Response, Problem> {
    let given = Given::of::<Both<ListParameters, RecommendParameters>>(&uri)?;
    let answer = Wanted::of(&given, &view, &state)?.answer(Who::User(user), &view, &state);
    match Format::of(&given)? {
        Format::Json => Ok(Json(answer).into_response()),
        Format::Csv => list::csv(answer.items.into_iter().map(|item| item.listed)),
    }
}

/// Items recommended to one user, to several, or to somebody with these likes
///
/// Likes and dislikes are learned by a copy of the model that is dropped afterwards: the model itself does not change.
#[utoipa::path(
    post,
    path = "/recommend",
    tag = "recommend",
    params(MomentParameters),
    request_body = Request,
    responses((status = 200, body = Answer), (status = "4XX", body = Problem, content_type = "application/problem+json"))
)]
pub(super) async fn recommend_to(
    State(state): State<AppState>,
    Moment(view): Moment,
    uri: Uri,
    Body(request): Body<Request>,
) -> Result<Json<Answer>, Problem> {
    Given::of::<MomentParameters>(&uri)?;
    let named = request.user.iter().chain(request.users.iter().flatten().take(MOST_USERS)).map(String::as_str);
    let view = state.with_rows_of(view, named).await?;
    let who = request.who(&view)?;
    let wanted = request.wanted(&who, &view, &state)?;
    Ok(Json(wanted.answer(who, &view, &state)))
}

fn indexes(ids: &[String], items: &IdTable) -> Vec<u32> {
    ids.iter().filter_map(|id| items.get(id)).collect()
}

impl Request {
    fn who(&self, view: &View) -> Result<Who, Problem> {
        let taste = !(self.likes.is_empty() && self.dislikes.is_empty());
        match (&self.user, &self.users, taste) {
            (Some(user), None, false) => {
                check_id("user", user)?;
                Ok(Who::User(user.clone()))
            }
            (None, Some(users), false) if (1..=MOST_USERS).contains(&users.len()) => {
                users.iter().try_for_each(|user| check_id("users", user))?;
                let combine = match self.combine {
                    None | Some(Combining::Mean) => Together::Mean,
                    Some(Combining::LeastMisery) => Together::LeastMisery,
                };
                Ok(Who::Users(users.clone(), combine))
            }
            (None, Some(users), false) => {
                Err(bad("users", &users.len().to_string(), &format!("1 to {MOST_USERS} users are allowed")))
            }
            (None, None, true) if self.likes.len() + self.dislikes.len() <= MOST_LIKES => {
                let items = &view.learned().items;
                Ok(Who::Taste(indexes(&self.likes, items), indexes(&self.dislikes, items)))
            }
            (None, None, true) => {
                let count = self.likes.len() + self.dislikes.len();
                Err(bad("likes", &count.to_string(), &format!("at most {MOST_LIKES} likes and dislikes are allowed")))
            }
            _ => Err(Problem::bad_request(
                "bad_who",
                "whom the items are for is not clear; give user, or users, or likes and dislikes".into(),
            )),
        }
    }

    fn wanted(&self, who: &Who, view: &View, state: &AppState) -> Result<Wanted, Problem> {
        let items = &view.learned().items;
        let limit = state.config.max_n;
        let n = self.n.unwrap_or(state.config.default_n);
        if !(1..=limit).contains(&n) {
            return Err(bad("n", &n.to_string(), &format!("a whole number from 1 to {limit} is allowed")));
        }
        let diversity = self.diversity.unwrap_or(0.0);
        if !(0.0..=1.0).contains(&diversity) {
            return Err(bad("diversity", &diversity.to_string(), "a number from 0 to 1 is allowed"));
        }
        if self.explain && !matches!(who, Who::User(_)) {
            return Err(bad("explain", "true", "it is allowed for one user alone, whose events can be told"));
        }
        let query = Query {
            n,
            offset: self.offset.unwrap_or(0) as usize,
            include_seen: self.include_seen,
            exclude: indexes(&self.exclude, items).into_iter().collect(),
            candidates: self.candidates.as_ref().map(|ids| indexes(ids, items).into_iter().collect()),
        };
        let filter = self.filter.as_deref().map(Filter::parse).transpose()?;
        let query = list::narrowed(query, filter.as_ref(), view, state);
        Wanted { query, diversity, explain: self.explain }.checked()
    }
}

impl Wanted {
    /// What the parameters of `GET /recommend/{user}` ask for.
    pub(super) fn of(given: &Given, view: &View, state: &AppState) -> Result<Self, Problem> {
        let query = Query { include_seen: given.flag("include_seen")?, ..list::query(given, view, state)? };
        let diversity = given.number("diversity", 0.0, 1.0)?.unwrap_or(0.0);
        Self { query, diversity, explain: given.flag("explain")? }.checked()
    }

    fn checked(self) -> Result<Self, Problem> {
        if self.explain && self.query.n > MOST_EXPLAINED {
            let n = self.query.n.to_string();
            return Err(bad("n", &n, &format!("with explain a whole number from 1 to {MOST_EXPLAINED} is allowed")));
        }
        Ok(self)
    }

    pub(super) fn answer(&self, who: Who, view: &View, state: &AppState) -> Answer {
        let Recommendation { cold, approximate, items: scored } = self.diverse(view, |query| rank(&who, view, query));
        let reasons = |item| match &who {
            Who::User(user) if self.explain => Some(Contribution::strongest(user, item, REASONS, view, state)),
            _ => None,
        };
        let catalogue = state.status.catalog.index(&view.learned().items);
        let recommended = |scored: &Scored| RecommendedItem {
            listed: ListedItem::of(*scored, view, &catalogue),
            because: reasons(scored.item),
        };
        let items = scored.iter().map(recommended).collect();
        let (user, users) = match who {
            Who::User(user) => (Some(user), None),
            Who::Users(users, _) => (None, Some(users)),
            Who::Taste(..) => (None, None),
        };
        Answer { user, users, cold, approximate, items, model: ModelStamp::of(view) }
    }

    /// The list, put in an order with more variety where that is asked for.
    fn diverse(&self, view: &View, rank: impl Fn(&Query) -> Recommendation) -> Recommendation {
        let similarity = (self.diversity > 0.0).then(|| view.similarity()).flatten();
        let Some(similarity) = similarity else { return rank(&self.query) };
        let last = self.query.offset.saturating_add(self.query.n);
        let ranked = rank(&Query { n: last.max(DIVERSIFIED), offset: 0, ..self.query.clone() });
        let mut best = ranked.items;
        let behind = best.split_off(best.len().min(DIVERSIFIED));
        let mut best = diversified(best, last, self.diversity, similarity);
        best.extend(behind);
        best.truncate(last);
        best.drain(..self.query.offset.min(best.len()));
        Recommendation { items: best, ..ranked }
    }
}

fn rank(who: &Who, view: &View, query: &Query) -> Recommendation {
    let listed = |cold, items| Recommendation { cold, approximate: false, items };
    let nobody = || listed(true, view.rank(view.popularity(), &RoaringBitmap::new(), query));
    match who {
        Who::User(user) => view.recommend(user, query),
        Who::Users(users, together) => {
            let users: Vec<u32> = users.iter().filter_map(|user| view.learned().users.get(user)).collect();
            if users.is_empty() {
                return nobody();
            }
            listed(false, view.rank(view.scores_of_group(&users, *together), &view.seen_by(&users), query))
        }
        Who::Taste(likes, dislikes) => {
            if likes.is_empty() && dislikes.is_empty() {
                return nobody();
            }
            let told: RoaringBitmap = likes.iter().chain(dislikes).copied().collect();
            listed(false, view.rank(view.scores_of_events(likes, dislikes), &told, query))
        }
    }
}
