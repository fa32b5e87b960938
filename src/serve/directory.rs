//! `GET /users`, `/users/{user}`, `/items`, `/items/{item}`: who and what there is, page by page.
//!
//! A page begins with what the model knows, in the order of first appearance, and goes on with what only the catalogue
//! knows, by id. A cursor stays good while both grow: what was there when the first page was read is on exactly one page.

use std::ops::Bound;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::list::ShownItem;
use super::moment::{ModelStamp, Moment, MomentParameters};
use super::parameters::{Both, Given, Ids, bad};
use super::{AppState, Problem};
use crate::capture::{Item, User};
use crate::learn::ids::IdTable;
use crate::publish::View;

/// Which page is asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the names and their meaning, for the description of the API and the check of a request")]
pub(super) struct PageParameters {
    /// Entries of the page; `serve.default_n` where it is not given, at most `serve.max_n`.
    #[param(minimum = 1)]
    n: Option<u32>,
    /// `next` of the page before; the first page where it is not given.
    cursor: Option<String>,
}

/// What of the titles is looked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the names and their meaning, for the description of the API and the check of a request")]
pub(super) struct SearchParameters {
    /// Words that the title must hold, in upper or lower case.
    q: Option<String>,
}

/// What of the ids is looked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the names and their meaning, for the description of the API and the check of a request")]
pub(super) struct UserSearchParameters {
    /// What the id must hold, in upper or lower case. The user whose id it is comes first.
    q: Option<String>,
}

/// An item with what is known of it.
#[derive(Serialize, ToSchema)]
pub(super) struct ItemEntry {
    #[serde(flatten)]
    item: ShownItem,
    /// Positive events of anybody with it; 0 for one that the model does not know.
    positive_events: u64,
    /// No list shows it.
    hidden: bool,
}

/// A user with what is known of him.
#[derive(Serialize, ToSchema)]
pub(super) struct UserEntry {
    id: String,
    /// Items that the user has had an event with.
    known_items: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    age: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    gender: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    occupation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    zip: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    labels: Vec<String>,
    /// No list shows him.
    hidden: bool,
}

/// A page of items.
#[derive(Serialize, ToSchema)]
pub(super) struct ItemPage {
    items: Vec<ItemEntry>,
    /// Cursor of the next page; null on the last one.
    next: Option<String>,
    model: ModelStamp,
}

/// A page of users.
#[derive(Serialize, ToSchema)]
pub(super) struct UserPage {
    users: Vec<UserEntry>,
    /// Cursor of the next page; null on the last one.
    next: Option<String>,
    model: ModelStamp,
}

/// A user with the items that he has had an event with.
#[derive(Serialize, ToSchema)]
pub(super) struct UserAnswer {
    #[serde(flatten)]
    user: UserEntry,
    /// Items that he has had an event with, in the order in which the model came to know them: a page of them.
    items: Vec<ShownItem>,
    /// Cursor of the next page of them; null on the last one.
    next: Option<String>,
    model: ModelStamp,
}

/// Where a page begins.
enum Cursor {
    /// At this dense index.
    Known(u32),
    /// Behind this id, of those that had no dense index below `known` when the first page of them was read.
    Told { known: u32, after: String },
}

impl Cursor {
    fn of(given: &Given) -> Result<Self, Problem> {
        let Some(text) = given.get("cursor") else { return Ok(Self::Known(0)) };
        let read = || {
            let Some((known, after)) = text.split_once(':') else { return Some(Self::Known(text.parse().ok()?)) };
            Some(Self::Told { known: known.parse().ok()?, after: after.to_owned() })
        };
        read().ok_or_else(|| bad("cursor", text, "what a page has as next is allowed"))
    }
}

/// Ids of a page, each with its dense index if it has one, and the cursor of the next page.
struct Page {
    ids: Vec<(String, Option<u32>)>,
    next: Option<String>,
}

/// Entries that a page may have.
fn length(given: &Given, state: &AppState) -> Result<usize, Problem> {
    Ok(given.whole("n", 1, state.config.max_n)?.unwrap_or(state.config.default_n))
}

/// The page at a cursor: of the ids that `shows` lets pass, first those of the model, then those of the catalogue.
fn page<T>(
    given: &Given,
    n: usize,
    known: &IdTable,
    told: &imbl::OrdMap<Arc<str>, Arc<T>>,
    shows: impl Fn(&str, Option<&T>) -> bool,
) -> Result<Page, Problem> {
    let mut ids = Vec::new();
    let (covered, after) = match Cursor::of(given)? {
        Cursor::Told { known, after } => (known, Some(after)),
        Cursor::Known(from) => {
            for index in from..known.len() as u32 {
                let Some(id) = known.name(index).filter(|id| shows(id, told.get(*id).map(Arc::as_ref))) else {
                    continue;
                };
                if ids.len() == n {
                    return Ok(Page { ids, next: Some(index.to_string()) });
                }
                ids.push((id.to_string(), Some(index)));
            }
            (known.len() as u32, None)
        }
    };
    let from = after.as_deref().map_or(Bound::Unbounded, |after| Bound::Excluded(Arc::from(after)));
    let mut last = after.unwrap_or_default();
    for (id, entry) in told.range::<_, Arc<str>>((from, Bound::Unbounded)) {
        let index = known.get(id);
        if index.is_some_and(|index| index < covered) || !shows(id, Some(entry)) {
            continue;
        }
        if ids.len() == n {
            return Ok(Page { ids, next: Some(format!("{covered}:{last}")) });
        }
        id.as_ref().clone_into(&mut last);
        ids.push((id.to_string(), index));
    }
    Ok(Page { ids, next: None })
}

/// Items
///
/// All that are known and not hidden, or those whose title holds the words of `q`.
#[utoipa::path(
    get,
    path = "/items",
    tag = "directory",
    params(PageParameters, SearchParameters, MomentParameters),
    responses((status = 200, body = ItemPage), (status = "4XX", body = Problem, content_type = "application/problem+json"))
)]
pub(super) async fn items(
    State(state): State<AppState>,
    Moment(view): Moment,
    uri: Uri,
) -> Result<Json<ItemPage>, Problem> {
    let given = Given::of::<Both<PageParameters, SearchParameters>>(&uri)?;
    let words: Vec<String> = given.get("q").unwrap_or_default().split_whitespace().map(str::to_lowercase).collect();
    let holds = |item: Option<&Item>| {
        let title = item.filter(|_| !words.is_empty()).map(|item| item.title.to_lowercase()).unwrap_or_default();
        words.iter().all(|word| title.contains(word))
    };
    let entries = state.status.catalog.entries();
    let shows = |_: &str, item: Option<&Item>| !item.is_some_and(|item| item.hidden) && holds(item);
    let page = page(&given, length(&given, &state)?, &view.learned().items, &entries.items, shows)?;
    let entry = |(id, index): (String, Option<u32>)| {
        let known = entries.items.get(id.as_str()).map(Arc::as_ref);
        item_entry(id, index, known, &view)
    };
    let items = page.ids.into_iter().map(entry).collect();
    Ok(Json(ItemPage { items, next: page.next, model: ModelStamp::of(&view) }))
}

fn item_entry(id: String, index: Option<u32>, known: Option<&Item>, view: &View) -> ItemEntry {
    ItemEntry {
        item: ShownItem::told(id, known),
        positive_events: index.map_or(0, |index| view.liked(index)),
        hidden: known.is_some_and(|item| item.hidden),
    }
}

/// One item
#[utoipa::path(
    get,
    path = "/items/{item}",
    tag = "directory",
    params(("item" = String, Path, description = "Id of the item"), MomentParameters),
    responses((status = 200, body = ItemEntry), (status = "4XX", body = Problem, content_type = "application/problem+json"))
)]
pub(super) async fn item(
    State(state): State<AppState>,
    Moment(view): Moment,
    Ids([id]): Ids<[String; 1]>,
    uri: Uri,
) -> Result<Json<ItemEntry>, Problem> {
    Given::of::<MomentParameters>(&uri)?;
    let entries = state.status.catalog.entries();
    let (index, known) = (view.learned().items.get(&id), entries.items.get(id.as_str()).map(Arc::as_ref));
    if index.is_none() && known.is_none() {
        return Err(Problem::unknown("item", &id));
    }
    Ok(Json(item_entry(id, index, known, &view)))
}

/// Users
///
/// All that are known and not hidden, or those whose id holds `q`.
#[utoipa::path(
    get,
    path = "/users",
    tag = "directory",
    params(PageParameters, UserSearchParameters, MomentParameters),
    responses((status = 200, body = UserPage), (status = "4XX", body = Problem, content_type = "application/problem+json"))
)]
pub(super) async fn users(
    State(state): State<AppState>,
    Moment(view): Moment,
    uri: Uri,
) -> Result<Json<UserPage>, Problem> {
    let given = Given::of::<Both<PageParameters, UserSearchParameters>>(&uri)?;
    let asked = given.get("q").map(str::trim).filter(|asked| !asked.is_empty());
    let entries = state.status.catalog.entries();
    let is_shown = |user: Option<&User>| !user.is_some_and(|user| user.hidden);
    // Whoever types an id in full means this one, however many hold it too.
    let exact = asked.filter(|id| {
        let told = entries.users.get(*id).map(Arc::as_ref);
        (told.is_some() || view.learned().users.get(id).is_some()) && is_shown(told)
    });
    let lower = asked.map(str::to_lowercase);
    let shows = |id: &str, user: Option<&User>| {
        is_shown(user) && exact != Some(id) && lower.as_ref().is_none_or(|part| id.to_lowercase().contains(part))
    };
    let first = exact.filter(|_| given.get("cursor").is_none());
    let n = length(&given, &state)? - usize::from(first.is_some());
    let mut page = page(&given, n, &view.learned().users, &entries.users, shows)?;
    page.ids.splice(0..0, first.map(|id| (id.to_owned(), view.learned().users.get(id))));
    let view = state.with_rows_of(Arc::clone(&view), page.ids.iter().map(|(id, _)| id.as_str())).await?;
    let entry = |(id, index): (String, Option<u32>)| {
        let known = entries.users.get(id.as_str()).map(Arc::as_ref);
        user_entry(id, index, known, &view)
    };
    let users = page.ids.into_iter().map(entry).collect();
    Ok(Json(UserPage { users, next: page.next, model: ModelStamp::of(&view) }))
}

fn user_entry(id: String, index: Option<u32>, known: Option<&User>, view: &View) -> UserEntry {
    let known_items = index.and_then(|index| view.history().seen(index)).map_or(0, roaring::RoaringBitmap::len);
    let User { age, gender, occupation, zip, labels, hidden, .. } = known.cloned().unwrap_or_default();
    UserEntry { id, known_items, age, gender, occupation, zip, labels, hidden }
}

/// One user, with the items that he has had an event with
#[utoipa::path(
    get,
    path = "/users/{user}",
    tag = "directory",
    params(("user" = String, Path, description = "Id of the user"), PageParameters, MomentParameters),
    responses((status = 200, body = UserAnswer), (status = "4XX", body = Problem, content_type = "application/problem+json"))
)]
pub(super) async fn user(
    State(state): State<AppState>,
    Moment(view): Moment,
    Ids([id]): Ids<[String; 1]>,
    uri: Uri,
) -> Result<Json<UserAnswer>, Problem> {
    let given = Given::of::<PageParameters>(&uri)?;
    let n = length(&given, &state)?;
    let from = given.whole("cursor", 0, u32::MAX)?.unwrap_or(0);
    let entries = state.status.catalog.entries();
    let (index, known) = (view.learned().users.get(&id), entries.users.get(id.as_str()).map(Arc::as_ref));
    if index.is_none() && known.is_none() {
        return Err(Problem::unknown("user", &id));
    }
    let catalogue = state.status.catalog.index(&view.learned().items);
    let seen = index.and_then(|index| view.history().seen(index));
    let mut items = seen.into_iter().flatten().filter(|item| *item >= from && !catalogue.hidden.contains(*item));
    let page = items.by_ref().take(n).map(|item| ShownItem::of(item, &view, &catalogue)).collect();
    let next = items.next().map(|item| item.to_string());
    drop(items);
    let user = user_entry(id, index, known, &view);
    Ok(Json(UserAnswer { user, items: page, next, model: ModelStamp::of(&view) }))
}
