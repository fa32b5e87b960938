//! `PUT` and `DELETE` on `/items` and `/users`: what an operator says of them.
//!
//! The store has a change before this process answers from it, and it answers from it before it says so. Other processes
//! on the same store follow within a second.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::body::Body;
use super::parameters::Ids;
use super::{AppState, Problem};
use crate::capture::{Item, User};
use crate::decode::MAX_GENRES;

/// What is known of an item; what is left out is not known.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ItemEdit {
    #[serde(default)]
    title: String,
    #[serde(default)]
    genres: Vec<String>,
    year: Option<i32>,
    url: Option<String>,
    /// To filter by.
    #[serde(default)]
    labels: Vec<String>,
    /// Whether it is in no answer.
    #[serde(default)]
    hidden: bool,
}

/// What is known of a user; what is left out is not known.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UserEdit {
    age: Option<u32>,
    gender: Option<String>,
    occupation: Option<String>,
    zip: Option<String>,
    #[serde(default)]
    labels: Vec<String>,
    /// Whether they are in no listing.
    #[serde(default)]
    hidden: bool,
}

/// Say what an item is
///
/// Replaces all that was known of it, and shows it again unless `hidden` is true. The model need not know it.
#[utoipa::path(
    put,
    path = "/items/{item}",
    tag = "events",
    params(("item" = String, Path, description = "Id of the item")),
    request_body = ItemEdit,
    responses((status = 200, body = Item), (status = "4XX", body = Problem, content_type = "application/problem+json"))
)]
pub(super) async fn put_item(
    State(state): State<AppState>,
    Ids([id]): Ids<[String; 1]>,
    Body(edit): Body<ItemEdit>,
) -> Result<Json<Item>, Problem> {
    state.log()?;
    check_names("genres", &edit.genres)?;
    check_names("labels", &edit.labels)?;
    let ItemEdit { title, genres, year, url, labels, hidden } = edit;
    let _changing = state.status.catalog.changing().await;
    state.set_item(Item { id, title, genres, year, url, labels, hidden }).await.map(Json)
}

/// Hide an item
///
/// It is in no answer from now on, and what is known of it stays: `PUT` shows it again. The model goes on learning from its
/// events.
#[utoipa::path(
    delete,
    path = "/items/{item}",
    tag = "events",
    params(("item" = String, Path, description = "Id of the item")),
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json"))
)]
pub(super) async fn hide_item(
    State(state): State<AppState>,
    Ids([id]): Ids<[String; 1]>,
) -> Result<StatusCode, Problem> {
    state.log()?;
    let _changing = state.status.catalog.changing().await;
    let known = state.status.catalog.entries().items.get(id.as_str()).map(|item| Item::clone(item));
    let learned = || state.published.load().learned().items.get(&id).is_some();
    let Some(item) = known.or_else(|| learned().then(|| Item { id: id.clone(), ..Item::default() })) else {
        let detail = format!("neither the catalogue nor the model knows item {id:?}; PUT it with hidden: true");
        return Err(Problem::new(StatusCode::NOT_FOUND, "unknown_item", detail));
    };
    state.set_item(Item { hidden: true, ..item }).await.map(|_| StatusCode::NO_CONTENT)
}

/// Say who a user is
///
/// Replaces all that was known of them, and lists them again unless `hidden` is true. The model need not know them.
#[utoipa::path(
    put,
    path = "/users/{user}",
    tag = "events",
    params(("user" = String, Path, description = "Id of the user")),
    request_body = UserEdit,
    responses((status = 200, body = User), (status = "4XX", body = Problem, content_type = "application/problem+json"))
)]
pub(super) async fn put_user(
    State(state): State<AppState>,
    Ids([id]): Ids<[String; 1]>,
    Body(edit): Body<UserEdit>,
) -> Result<Json<User>, Problem> {
    state.log()?;
    check_names("labels", &edit.labels)?;
    let UserEdit { age, gender, occupation, zip, labels, hidden } = edit;
    let _changing = state.status.catalog.changing().await;
    state.set_user(User { id, age, gender, occupation, zip, labels, hidden }).await.map(Json)
}

/// Hide a user
///
/// They are in no listing from now on. This does not make the model forget: their events stay on the log, in the store and
/// in what was learned, and what is asked for this user is still answered.
#[utoipa::path(
    delete,
    path = "/users/{user}",
    tag = "events",
    params(("user" = String, Path, description = "Id of the user")),
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json"))
)]
pub(super) async fn hide_user(
    State(state): State<AppState>,
    Ids([id]): Ids<[String; 1]>,
) -> Result<StatusCode, Problem> {
    state.log()?;
    let _changing = state.status.catalog.changing().await;
    let known = state.status.catalog.entries().users.get(id.as_str()).map(|user| User::clone(user));
    let learned = || state.published.load().learned().users.get(&id).is_some();
    let Some(user) = known.or_else(|| learned().then(|| User { id: id.clone(), ..User::default() })) else {
        let detail = format!("neither the catalogue nor the model knows user {id:?}; PUT them with hidden: true");
        return Err(Problem::new(StatusCode::NOT_FOUND, "unknown_user", detail));
    };
    state.set_user(User { hidden: true, ..user }).await.map(|_| StatusCode::NO_CONTENT)
}

/// 422 where there are more names than an event may tell, or one says nothing.
fn check_names(field: &str, names: &[String]) -> Result<(), Problem> {
    let found = match names.iter().any(|name| name.trim().is_empty()) {
        true => "an empty entry".to_owned(),
        false if names.len() > MAX_GENRES => format!("{} entries", names.len()),
        false => return Ok(()),
    };
    let detail = format!("{field} has {found}; at most {MAX_GENRES} entries are allowed, each of them some text");
    Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_field", detail))
}

/// Both are for whoever holds the catalogue's right to change.
impl AppState {
    async fn set_item(&self, item: Item) -> Result<Item, Problem> {
        self.archive.set_item(&item).await.map_err(|error| Problem::unavailable(&error))?;
        self.status.catalog.put_item(item.clone());
        Ok(item)
    }

    async fn set_user(&self, user: User) -> Result<User, Problem> {
        self.archive.set_user(&user).await.map_err(|error| Problem::unavailable(&error))?;
        self.status.catalog.put_user(user.clone());
        Ok(user)
    }
}
