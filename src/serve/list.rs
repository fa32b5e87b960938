//! Lists of items, as every route that answers one is asked for it and tells it: as JSON, or as CSV.

use axum::Json;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::catalog::Index;
use super::filter::Filter;
use super::moment::ModelStamp;
use super::parameters::Given;
use super::{AppState, Problem};
use crate::capture::Item;
use crate::publish::{Query, Scored, View};

/// Which items of a list are asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the names and their meaning, for the description of the API and the check of a request")]
pub(super) struct ListParameters {
    /// Items in the answer; `serve.default_n` where it is not given, at most `serve.max_n`.
    #[param(minimum = 1)]
    n: Option<u32>,
    /// Better items that are left out: pages of n at the offsets 0, n, 2n, … partition the list.
    #[param(minimum = 0)]
    offset: Option<u32>,
    /// Ids of items that may not be in the answer, parted by commas.
    exclude: Option<String>,
    /// Ids of the only items that may be in the answer, parted by commas.
    candidates: Option<String>,
    /// Which items may be in the answer, by genre, label and year: `genre:Comedy and not (label:sequel or year:..1979)`.
    #[param(example = "genre:Comedy and year:1990..1999")]
    filter: Option<String>,
    /// `json`, or `csv` with the columns rank, id, title, genres, year, score.
    #[param(inline)]
    format: Option<Format>,
}

/// Form of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ToSchema)]
#[schema(rename_all = "lowercase")]
pub(super) enum Format {
    Json,
    Csv,
}

impl Format {
    pub(super) fn of(given: &Given) -> Result<Self, Problem> {
        Ok(given.one_of("format", &[("json", Self::Json), ("csv", Self::Csv)])?.unwrap_or(Self::Json))
    }
}

/// An item with what the catalogue has of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct ShownItem {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    title: Option<String>,
    genres: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    labels: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    year: Option<i32>,
}

impl ShownItem {
    /// The item at a dense index.
    pub(super) fn of(item: u32, view: &View, catalogue: &Index) -> Self {
        let id = view.learned().items.name(item).map(ToString::to_string).unwrap_or_default();
        Self::told(id, catalogue.item(item))
    }

    /// An item, with what the catalogue tells of it, if anything.
    pub(super) fn told(id: String, known: Option<&Item>) -> Self {
        Self {
            title: known.map(|item| item.title.clone()).filter(|title| !title.is_empty()),
            genres: known.map(|item| item.genres.clone()).unwrap_or_default(),
            labels: known.map(|item| item.labels.clone()).unwrap_or_default(),
            year: known.and_then(|item| item.year),
            id,
        }
    }
}

/// An item of a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct ListedItem {
    #[serde(flatten)]
    pub(super) item: ShownItem,
    /// Higher is better; what it measures is the list's.
    pub(super) score: f32,
}

impl ListedItem {
    pub(super) fn of(scored: Scored, view: &View, catalogue: &Index) -> Self {
        Self { item: ShownItem::of(scored.item, view, catalogue), score: scored.score }
    }
}

/// Items, the best first.
#[derive(Serialize, ToSchema)]
pub(super) struct List {
    pub(super) items: Vec<ListedItem>,
    pub(super) model: ModelStamp,
}

impl List {
    /// The answer in the form that was asked for.
    pub(super) fn told(scored: &[Scored], given: &Given, view: &View, state: &AppState) -> Result<Response, Problem> {
        let catalogue = state.status.catalog.index(&view.learned().items);
        let items = scored.iter().map(|scored| ListedItem::of(*scored, view, &catalogue));
        match Format::of(given)? {
            Format::Json => Ok(Json(Self { items: items.collect(), model: ModelStamp::of(view) }).into_response()),
            Format::Csv => csv(items),
        }
    }
}

/// What the parameters of a list state, over the items that the model knows; hidden items are never asked for.
pub(super) fn query(given: &Given, view: &View, state: &AppState) -> Result<Query, Problem> {
    let items = &view.learned().items;
    let filter = given.get("filter").map(Filter::parse).transpose()?;
    let query = Query {
        n: given.whole("n", 1, state.config.max_n)?.unwrap_or(state.config.default_n),
        offset: given.whole("offset", 0, u32::MAX)?.unwrap_or(0) as usize,
        include_seen: false,
        exclude: given.items("exclude", items).unwrap_or_default(),
        candidates: given.items("candidates", items),
    };
    Ok(narrowed(query, filter.as_ref(), view, state))
}

/// Leaves out what is hidden, and what the filter does not let pass.
pub(super) fn narrowed(mut query: Query, filter: Option<&Filter>, view: &View, state: &AppState) -> Query {
    let items = &view.learned().items;
    let index = state.status.catalog.index(items);
    query.exclude |= &index.hidden;
    if let Some(filter) = filter {
        let passing = filter.of(&*index, items.len() as u32);
        query.candidates = Some(match query.candidates {
            Some(candidates) => candidates & passing,
            None => passing,
        });
    }
    query
}

/// Items as a table.
pub(super) fn csv(items: impl Iterator<Item = ListedItem>) -> Result<Response, Problem> {
    let table = table(items).map_err(|error| Problem::internal(&error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], table).into_response())
}

fn table(items: impl Iterator<Item = ListedItem>) -> Result<Vec<u8>, csv::Error> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(["rank", "id", "title", "genres", "year", "score"])?;
    for (listed, rank) in items.zip(1_u32..) {
        let ShownItem { id, title, genres, year, .. } = listed.item;
        let year = year.map(|year| year.to_string()).unwrap_or_default();
        let title = title.unwrap_or_default();
        let (rank, genres, score) = (rank.to_string(), genres.join("|"), listed.score.to_string());
        csv.write_record([rank, id, title, genres, year, score])?;
    }
    csv.into_inner().map_err(|error| error.into_error().into())
}
