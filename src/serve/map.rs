//! `GET /model/map`: the items in two dimensions.
//!
//! Drawn off the threads that answer requests, by one request at a time, and kept for some seconds: however many ask, it
//! takes the time of one drawing every few seconds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use serde::Serialize;
use tokio::sync::Mutex;
use utoipa::{IntoParams, ToSchema};

use super::list::ShownItem;
use super::parameters::Given;
use super::{AppState, Problem};
use crate::publish::View;
use crate::publish::map::{FactorMap, NoMap};

/// Items on the map where nothing else is asked for.
const ITEMS: usize = 1000;
/// Most items, by which every map is drawn: whatever their number, items keep their places.
const MOST: usize = 2000;
/// How long a map is shown while the model goes on.
const SHOWN_FOR: Duration = Duration::from_secs(5);

/// How much of the map is asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the names and their meaning, for the description of the API and the check of a request")]
pub(super) struct MapParameters {
    /// The n most popular items.
    #[param(minimum = 1, maximum = 2000, default = 1000)]
    n: Option<u32>,
}

/// Items by the two directions in which their vectors differ most.
#[derive(Serialize, ToSchema)]
pub(super) struct MapAnswer {
    /// The model that was drawn had learned the events up to this one; it may be some seconds old.
    seq: u64,
    /// Share of the variance of the vectors that each direction has, 0 to 1.
    explained: [f64; 2],
    /// The most popular first.
    items: Vec<MappedItem>,
}

/// An item on the map.
#[derive(Serialize, ToSchema)]
struct MappedItem {
    #[serde(flatten)]
    item: ShownItem,
    x: f64,
    y: f64,
    /// Positive events of anybody with it.
    events: u64,
}

/// The newest map. The lock is held while one is drawn.
#[derive(Debug, Default)]
pub(super) struct Maps(Mutex<Option<Drawn>>);

#[derive(Clone, Debug)]
struct Drawn {
    at: Instant,
    view: Arc<View>,
    map: Arc<Result<FactorMap, NoMap>>,
}

impl Maps {
    /// The map of the view, or one that is hardly older.
    async fn of(&self, view: Arc<View>) -> Result<Drawn, Problem> {
        let mut newest = self.0.lock().await;
        let is_good = |drawn: &&Drawn| drawn.view.version() == view.version() || drawn.at.elapsed() < SHOWN_FOR;
        // Without items yet there is nothing to draw, and so nothing to spare.
        if let Some(drawn) = newest.as_ref().filter(is_good).filter(|drawn| drawn.map.is_ok()) {
            return Ok(drawn.clone());
        }
        let drawing = tokio::task::spawn_blocking(move || {
            let map = Arc::new(view.factor_map(MOST));
            Drawn { at: Instant::now(), view, map }
        });
        let drawn = drawing.await.map_err(|error| Problem::internal(&error.to_string()))?;
        *newest = Some(drawn.clone());
        Ok(drawn)
    }
}

/// The items in two dimensions
///
/// By the two directions in which their vectors differ most (principal components): those that lie together are alike to
/// the model. Drawn anew at most every five seconds.
#[utoipa::path(
    get,
    path = "/model/map",
    tag = "model",
    params(MapParameters),
    responses((status = 200, body = MapAnswer), (status = "4XX", body = Problem, content_type = "application/problem+json"))
)]
pub(super) async fn map(State(state): State<AppState>, uri: Uri) -> Result<Json<MapAnswer>, Problem> {
    let n = Given::only::<MapParameters>(&uri)?.whole("n", 1, MOST)?.unwrap_or(ITEMS);
    let Drawn { view, map, .. } = state.kept.maps.of(state.published.load_full()).await?;
    let FactorMap { explained, points } = map.as_ref().as_ref().map_err(no_map)?;
    let catalogue = state.status.catalog.index(&view.learned().items);
    let shown = points.iter().filter(|point| !catalogue.hidden.contains(point.item)).take(n);
    let items = shown.map(|point| MappedItem {
        item: ShownItem::of(point.item, &view, &catalogue),
        x: point.x,
        y: point.y,
        events: view.liked(point.item),
    });
    Ok(Json(MapAnswer { seq: view.version().seq, explained: *explained, items: items.collect() }))
}

fn no_map(reason: &NoMap) -> Problem {
    match reason {
        NoMap::NoVectors => Problem::new(StatusCode::CONFLICT, "no_vectors", reason.to_string()),
        NoMap::TooFew(_) => Problem::new(StatusCode::CONFLICT, "too_few_items", reason.to_string()),
        NoMap::Failed(cause) => Problem::internal(cause),
    }
}
