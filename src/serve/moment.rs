//! One moment for a whole request: which view it is answered from, and how the answer says so.
//!
//! A layer around every route that asks the model. It takes the newest view, a kept snapshot (`at`), or waits for a view
//! that has learned what the client has seen acknowledged (`min_seq`, `token`); the handler answers from that view alone.
//! Answers carry its stamp, and are kept until the model or the catalogue changes: asked again, they cost a look-up.

use std::sync::Arc;
use std::time::Duration;

use axum::RequestExt;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::feed::Frames;
use super::map::Maps;
use super::model::no_such_snapshot;
use super::parameters::Given;
use super::streams::Streams;
use super::token::Token;
use super::{AppState, Problem};
use crate::publish::View;
use crate::telemetry::now_ms;

/// `seq` of the last event that the answering model has learned.
pub(super) const SEQ: HeaderName = HeaderName::from_static("x-freshet-seq");
/// Name of the answering model: of its learners and their parameters.
pub(super) const MODEL: HeaderName = HeaderName::from_static("x-freshet-model");
/// Time since the answering model was published, in milliseconds; on a server, since its trainer said that it is current.
pub(super) const AGE_MS: HeaderName = HeaderName::from_static("x-freshet-age-ms");

/// Kept snapshots that stay loaded.
const LOADED: usize = 4;

/// What each route that asks the model may be asked besides.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the names and their meaning, for the description of the API and the check of a request")]
pub(super) struct MomentParameters {
    /// Answers from the kept snapshot of this `seq` (see `/snapshots`) instead of the newest model.
    #[param(minimum = 0)]
    at: Option<u64>,
    /// Waits until the model has learned the event of this `seq`; 412 if it has not after `serve.max_wait`.
    #[param(minimum = 0)]
    min_seq: Option<u64>,
    /// Waits until the model has learned what `POST /events` acknowledged with this token; 412 likewise.
    token: Option<String>,
}

/// Which model answered.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct ModelStamp {
    /// It has learned exactly the events up to this one.
    pub(super) seq: u64,
    /// Micro-batch after which it was published.
    pub(super) batch: u64,
    /// When it was published, in milliseconds since the epoch.
    pub(super) published_at_ms: i64,
}

impl ModelStamp {
    pub(super) fn of(view: &View) -> Self {
        let version = view.version();
        Self { seq: version.seq, batch: version.batch, published_at_ms: version.published_at_ms }
    }
}

/// The view that a request is answered from.
#[derive(Clone, Debug)]
pub(super) struct Moment(pub(super) Arc<View>);

impl<S: Sync> FromRequestParts<S> for Moment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts
            .extensions
            .get()
            .cloned()
            .ok_or_else(|| Problem::internal("a route is not within the layer of its moment"))
    }
}

/// Answers by path and query, snapshots by `seq`, and what is streamed.
#[derive(Debug)]
pub struct Kept {
    answers: Cache<Box<str>, Arc<Answer>, Bytewise>,
    snapshots: Cache<u64, Arc<View>>,
    /// The newest map of the items.
    pub(super) maps: Maps,
    /// What every client of the live feed is told.
    pub(super) frames: Frames,
    /// Streams that are open.
    pub(super) streams: Arc<Streams>,
}

impl Kept {
    /// Room for `bytes` of answers.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let expected = bytes / 1024;
        Self {
            answers: Cache::with_weighter(expected, bytes as u64, Bytewise),
            snapshots: Cache::new(LOADED),
            maps: Maps::default(),
            frames: Frames::default(),
            streams: Arc::default(),
        }
    }

    /// Room for as many bytes of answers from another model, in the same process: its streams count with these.
    #[must_use]
    pub fn beside(&self, bytes: usize) -> Self {
        Self { streams: Arc::clone(&self.streams), ..Self::new(bytes) }
    }
}

/// A successful answer as it was given.
#[derive(Debug)]
struct Answer {
    tag: HeaderValue,
    kind: HeaderValue,
    body: Bytes,
}

#[derive(Clone, Debug)]
struct Bytewise;

impl Weighter<Box<str>, Arc<Answer>> for Bytewise {
    fn weight(&self, asked: &Box<str>, answer: &Arc<Answer>) -> u64 {
        // The rest is what the cache itself takes.
        (asked.len() + answer.body.len() + answer.tag.len() + 200) as u64
    }
}

/// The layer.
pub(super) async fn answer(
    State(state): State<AppState>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let asked = Asked::of(request.uri())?;
    let view = state.view(&asked).await?;
    let tag = tag(&state, &view);
    let reads = request.method() == Method::GET;
    if reads && is_known(request.headers(), &tag) {
        return Ok(stamped(StatusCode::NOT_MODIFIED.into_response(), &state, &view, tag));
    }
    let key = request.uri().path_and_query().map(PathAndQuery::as_str).filter(|_| reads && !asked.waits());
    if let Some(answer) = key.and_then(|key| state.kept.answers.get(key)).filter(|answer| answer.tag == tag) {
        let body = ([(header::CONTENT_TYPE, answer.kind.clone())], answer.body.clone());
        return Ok(stamped(body.into_response(), &state, &view, tag));
    }
    let key: Option<Box<str>> = key.map(Box::from);
    let view = match user_of(&state, &mut request).await {
        Some(user) => state.with_rows_of(view, [user.as_str()]).await?,
        None => view,
    };
    request.extensions_mut().insert(Moment(Arc::clone(&view)));
    let response = next.run(request).await;
    let response = match key.filter(|_| response.status() == StatusCode::OK) {
        Some(key) => keep(&state, key, &tag, response).await?,
        None => response,
    };
    Ok(stamped(response, &state, &view, tag))
}

/// The user whom a path names, where his rows may be away.
async fn user_of(state: &AppState, request: &mut Request) -> Option<String> {
    state.status.resident.budget()?;
    let named = request.extract_parts::<RawPathParams>().await.ok()?;
    named.iter().find(|(name, _)| *name == "user").map(|(_, user)| user.to_owned())
}

/// The layer of routes that tell what the engine is doing: they say which model there is, and are never kept.
pub(super) async fn stamp(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    say_which(response.headers_mut(), &state, &state.published.load());
    response
}

async fn keep(state: &AppState, key: Box<str>, tag: &HeaderValue, response: Response) -> Result<Response, Problem> {
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.map_err(|error| Problem::internal(&error.to_string()))?;
    if let Some(kind) = parts.headers.get(header::CONTENT_TYPE).cloned() {
        state.kept.answers.insert(key, Arc::new(Answer { tag: tag.clone(), kind, body: body.clone() }));
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

/// What changes whenever an answer may: the model's parameters, what it has learned, when that was published (on a server
/// a moment is published again by another trainer), and the catalogue.
fn tag(state: &AppState, view: &View) -> HeaderValue {
    let version = view.version();
    let (model, catalog) = (&state.status.identity.load().name, state.status.catalog_generation());
    let (seq, batch, published_at_ms) = (version.seq, version.batch, version.published_at_ms);
    let text = format!("W/\"{model}-{seq}-{batch}-{published_at_ms}-{catalog}\"");
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("W/\"\""))
}

/// Whether the client has what it would be told.
fn is_known(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let given = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let tag = tag.to_str().map(opaque).unwrap_or_default();
    given.flat_map(|value| value.split(',')).any(|one| one.trim() == "*" || opaque(one) == tag)
}

fn stamped(mut response: Response, state: &AppState, view: &View, tag: HeaderValue) -> Response {
    let succeeded = response.status() == StatusCode::OK || response.status() == StatusCode::NOT_MODIFIED;
    let headers = response.headers_mut();
    say_which(headers, state, view);
    if succeeded {
        headers.insert(header::ETAG, tag);
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
    }
    response
}

fn say_which(headers: &mut HeaderMap, state: &AppState, view: &View) {
    let version = view.version();
    let is_newest = version == state.published.load().version();
    let age_ms = if is_newest { state.status.age_ms(version) } else { (now_ms() - version.published_at_ms).max(0) };
    headers.insert(SEQ, version.seq.into());
    headers.insert(AGE_MS, age_ms.into());
    if let Ok(model) = HeaderValue::from_str(&state.status.identity.load().name) {
        headers.insert(MODEL, model);
    }
}

/// Which moment a request asks for.
struct Asked {
    at: Option<u64>,
    min_seq: u64,
    token: Option<Token>,
}

impl Asked {
    fn of(uri: &Uri) -> Result<Self, Problem> {
        if uri.query().is_none() {
            return Ok(Self { at: None, min_seq: 0, token: None });
        }
        let given = Given::unchecked(uri)?;
        let token = given.get("token").map(Token::parse).transpose()?;
        let [at, min_seq] = ["at", "min_seq"].map(|name| given.whole(name, 0, u64::MAX));
        Ok(Self { at: at?, min_seq: min_seq?.unwrap_or(0), token })
    }

    fn waits(&self) -> bool {
        self.min_seq > 0 || self.token.is_some()
    }
}

impl AppState {
    async fn view(&self, asked: &Asked) -> Result<Arc<View>, Problem> {
        if let Some(seq) = asked.at {
            if asked.waits() {
                let detail = "at is a kept snapshot, which learns nothing more: give it without min_seq and token";
                return Err(Problem::bad_request("bad_at", detail.into()));
            }
            return self.snapshot(seq).await;
        }
        if self.status.has_no_model() {
            return Err(Problem::no_model());
        }
        if !asked.waits() {
            return Ok(self.published.load_full());
        }
        let offsets = asked.token.as_ref().map(|token| token.offsets(&self.topic, self.share));
        let enough = |view: &View| {
            let version = view.version();
            version.seq >= asked.min_seq && offsets.as_ref().is_none_or(|offsets| version.offsets.cover(offsets))
        };
        let within: Duration = self.config.max_wait;
        tokio::time::timeout(within, self.published.wait_for(enough)).await.map_err(|_| {
            let detail = format!(
                "the model has not learned what min_seq or token names within serve.max_wait = {}ms (it stands at seq {}); \
                 ask again, or see /readyz for what holds it up",
                within.as_millis(),
                self.published.load().version().seq
            );
            Problem::new(StatusCode::PRECONDITION_FAILED, "not_learned_yet", detail)
        })
    }

    /// The view, or a later one in which the rows of these users are in memory.
    pub(super) async fn with_rows_of<'u>(
        &self,
        view: Arc<View>,
        users: impl IntoIterator<Item = &'u str>,
    ) -> Result<Arc<View>, Problem> {
        if self.status.resident.budget().is_none() {
            return Ok(view);
        }
        let users: Vec<u32> = users.into_iter().filter_map(|user| view.learned().users.get(user)).collect();
        if view.away().among(users.iter().copied()).next().is_none() {
            return Ok(view);
        }
        tokio::time::timeout(self.config.max_wait, self.published.with(&users)).await.map_err(|_| Problem::away())
    }

    /// The view of a kept snapshot.
    async fn snapshot(&self, seq: u64) -> Result<Arc<View>, Problem> {
        if let Some(view) = self.kept.snapshots.get(&seq) {
            return Ok(view);
        }
        let view = self.archive.view(seq).await.map_err(|error| Problem::unavailable(&error))?;
        let Some(view) = view else { return Err(no_such_snapshot(seq)) };
        let view = Arc::new(view);
        self.kept.snapshots.insert(seq, Arc::clone(&view));
        Ok(view)
    }
}
