//! `POST /events`: events to the log, each checked as the engine will check it.
//!
//! Acknowledged only when the log has them. The token in the answer tells where: with it, reading waits for what was
//! written.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::value::RawValue;
use tracing::{Instrument, debug_span};
use utoipa::ToSchema;

use super::token::Token;
use super::{AppState, Problem, body};
use crate::capture::LogError;
use crate::capture::producer::{Producer, Receipt, Record};
use crate::config::DecodeConfig;
use crate::decode::{Reason, user_of};
use crate::telemetry::Seldom;
use crate::telemetry::trace::{self, TARGET, TraceParent};

/// Share of the time that a request may take in which the log must have its events: the answer takes the rest.
const SHARE_OF_LOG: f64 = 0.9;

/// The answer.
#[derive(Serialize, ToSchema)]
pub(super) struct Acknowledged {
    /// Events that the log has.
    accepted: usize,
    /// Events that were refused; sent again they will be again.
    rejected: usize,
    /// Why, for each of those.
    errors: Vec<EventError>,
    /// What to give as `token` when the model is asked, so that the answer has learned from these events.
    #[schema(examples("0:17"))]
    token: String,
}

/// The answer where not one event could be taken.
#[derive(Serialize, ToSchema)]
pub(super) struct NoneAccepted {
    #[serde(flatten)]
    problem: Problem,
    accepted: usize,
    rejected: usize,
    errors: Vec<EventError>,
}

/// Why an event was refused.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EventError {
    /// Line of the body, or place in the array, from 1.
    line: usize,
    /// Stable name of the reason, as dead letters have it.
    reason: Reason,
    /// What was found, and what is allowed.
    detail: String,
}

/// Send events
///
/// An event is `{"user": "196", "item": "242", "rating": 4, "ts": 881250949000, "id": "…"}`; `user` and `item` are
/// required, `rating` or `count` say how much the user liked it, an event whose `id` was there before is not learned again.
/// The body is one event or an array of them as `application/json`, or one event a line as `application/x-ndjson`; either of
/// them as `text/plain`. It may be compressed with gzip. Bad events are told one by one, the others are taken.
///
/// A `traceparent` header ([W3C Trace Context](https://www.w3.org/TR/trace-context/)) goes on with the events.
///
/// After a 503 some of the events may be on the log, or come to it later: send all of them again, with an `id` each.
#[utoipa::path(
    post,
    path = "/events",
    tag = "events",
    request_body(content(
        (serde_json::Value = "application/json"), (String = "application/x-ndjson"), (String = "text/plain")
    )),
    responses(
        (status = 200, body = Acknowledged),
        (status = 422, body = NoneAccepted, content_type = "application/problem+json"),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json")
    )
)]
pub(super) async fn events(State(state): State<AppState>, request: Request) -> Result<Response, Problem> {
    let log = state.log()?;
    let kind = body::content_type(request.headers());
    let given = request.headers().get(trace::HEADER).and_then(|header| TraceParent::parse(header.as_bytes()));
    let bytes = body::read(request, &state).await?;
    let sent = split(&kind, &bytes, state.config.max_events)?;
    let span = debug_span!("post_events", otel.kind = "producer", events = sent.len());
    let trace = given.map(|given| {
        trace::adopt(&span, &given);
        trace::of(&span).unwrap_or(given)
    });
    let trace = trace.or_else(|| trace::of(&span));
    let (records, errors) = check(&sent, &state.decode, trace);
    if records.is_empty() {
        return Ok(none_accepted(errors));
    }
    let accepted = records.len();
    let within = state.config.request_timeout.mul_f64(SHARE_OF_LOG);
    let token = append(log, records, within).instrument(span).await?.to_string();
    if let Some(trace) = trace {
        // From here the log's place leads on, where the log itself keeps no trace.
        tracing::debug!(target: TARGET, trace_id = trace.trace(), token, "events of a trace are on the log");
    }
    Ok(Json(Acknowledged { accepted, rejected: errors.len(), errors, token }).into_response())
}

impl AppState {
    /// The log that is produced to.
    ///
    /// # Errors
    /// 403 where only reading is allowed.
    pub(super) fn log(&self) -> Result<&dyn Producer, Problem> {
        self.log.as_deref().ok_or_else(|| {
            let detail = "this server only answers questions; send changes to one that learns".into();
            Problem::new(StatusCode::FORBIDDEN, "read_only", detail)
        })
    }
}

/// The events as they were sent, with their lines.
fn split<'a>(kind: &str, bytes: &'a Bytes, most: usize) -> Result<Vec<(usize, &'a [u8])>, Problem> {
    let events = match kind {
        "application/json" if bytes.trim_ascii().is_empty() => Vec::new(),
        "application/json" => json(bytes)?,
        "application/x-ndjson" | "application/ndjson" => lines(bytes),
        // What `navigator.sendBeacon` sends without asking first: it may be either.
        "text/plain" => json(bytes).unwrap_or_else(|_| lines(bytes)),
        other => return Err(body::unsupported(other, "application/json, application/x-ndjson, text/plain")),
    };
    if events.is_empty() {
        let detail = "the body holds no event; an event is one JSON object with a user and an item";
        return Err(Problem::bad_request("no_event", detail.into()));
    }
    if events.len() > most {
        let detail =
            format!("the body holds {} events; serve.max_events allows {most}: send it in parts", events.len());
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_many_events", detail));
    }
    Ok(events)
}

/// One event, or an array of them.
fn json(bytes: &[u8]) -> Result<Vec<(usize, &[u8])>, Problem> {
    let whole: &RawValue = body::from_json(bytes)?;
    if !whole.get().starts_with('[') {
        return Ok(vec![(1, whole.get().as_bytes())]);
    }
    let events: Vec<&RawValue> = body::from_json(whole.get().as_bytes())?;
    Ok((1..).zip(events.into_iter().map(|event| event.get().as_bytes())).collect())
}

/// One event a line; empty lines are none.
fn lines(bytes: &[u8]) -> Vec<(usize, &[u8])> {
    let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    (1..).zip(lines).filter(|(_, line)| !line.is_empty()).collect()
}

/// Records of the good events, in their order, keyed by user as whoever else produces keys them.
fn check(sent: &[(usize, &[u8])], config: &DecodeConfig, trace: Option<TraceParent>) -> (Vec<Record>, Vec<EventError>) {
    let (mut records, mut errors) = (Vec::with_capacity(sent.len()), Vec::new());
    for &(line, event) in sent {
        match user_of(event, config) {
            Ok(user) => {
                let key = user.into_owned().into_bytes();
                records.push(Record { key, payload: event.to_vec(), timestamp_ms: None, trace });
            }
            Err(refusal) => errors.push(EventError { line, reason: refusal.reason, detail: refusal.detail }),
        }
    }
    (records, errors)
}

/// Writes the records and returns where the log stands after them.
async fn append(log: &dyn Producer, records: Vec<Record>, within: Duration) -> Result<Token, Problem> {
    let receipts = tokio::time::timeout(within, log.append(records)).await.map_err(|_| {
        let seconds = within.as_secs_f64();
        unavailable(&format!("the log has not taken all events within {seconds:.1} s"))
    })?;
    token(&receipts.map_err(|error: LogError| unavailable(&error.to_string()))?)
}

fn token(receipts: &[Receipt]) -> Result<Token, Problem> {
    let mut reached = BTreeMap::new();
    for place in receipts.iter().flatten() {
        let next = reached.entry(place.partition).or_insert(0);
        *next = place.offset.saturating_add(1).max(*next);
    }
    let refused = receipts.iter().filter(|receipt| receipt.is_err()).count();
    match receipts.iter().find_map(|receipt| receipt.as_ref().err()) {
        Some(reason) => {
            Err(unavailable(&format!("the log has refused {refused} of {} events: {reason}", receipts.len())))
        }
        None => Ok(reached.into_iter().collect()),
    }
}

fn unavailable(cause: &str) -> Problem {
    // Whoever asked is told in the answer: a log that is away for a while must not fill that of the process.
    static TOLD: Seldom = Seldom::new();
    if let Some(more) = TOLD.pass() {
        tracing::warn!(cause, more, "events could not be acknowledged");
    }
    let detail = format!("{cause}; send all of them again, with the same id each, so that none counts twice");
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "log_unavailable", detail);
    Problem { retry_after: Some(1), ..problem }
}

fn none_accepted(errors: Vec<EventError>) -> Response {
    let detail = "not one of the events can be taken; errors says why, line by line".into();
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    let problem = Problem::new(status, "bad_events", detail);
    let answer = NoneAccepted { problem, accepted: 0, rejected: errors.len(), errors };
    (status, [(header::CONTENT_TYPE, "application/problem+json")], Json(answer)).into_response()
}
