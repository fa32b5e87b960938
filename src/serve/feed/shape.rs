//! The messages of `GET /live`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::capture::control::Shown as Replay;
use crate::config::Role;
use crate::consume::lag::Lag;
use crate::decode::Reason;
use crate::learn;
use crate::serve::catalog::Entries;
use crate::serve::metrics::process;
use crate::serve::model::MetricsAnswer;
use crate::serve::monitor::{
    BatchLine, Histogram, Joint, LearningFigures, Nth, Place, Places, Point, RankingFigures, Recent, StreamFigures,
};
use crate::serve::status::{Phase, Trouble};
use crate::serve::timings::Quantiles;
use crate::serve::{AppState, Status};
use crate::telemetry::{self, now_ms};

/// Newest snapshots that are marked on the curve.
const MARKED: usize = 32;

/// Warnings that are told.
const WARNINGS: usize = 20;

/// `hello`: what does not change while the process runs.
#[derive(Debug, Serialize)]
pub(super) struct Hello {
    name: String,
    version: &'static str,
    /// What the process does.
    role: Role,
    started_at_ms: i64,
    params: BTreeMap<String, serde_json::Value>,
    scale: Scale,
    read_only: bool,
    /// Whether events may be sent.
    changes: bool,
    /// Whether the replay of a demo can be told what to do.
    replay: bool,
}

#[derive(Debug, Serialize)]
struct Scale {
    low: f32,
    high: f32,
    /// Lowest rating that speaks for its item.
    positive: f32,
}

impl Hello {
    pub(super) fn of(state: &AppState) -> Self {
        let (status, decode) = (&state.status, &state.decode);
        let identity = status.identity.load();
        let positive = identity.params.get("learn.positive_rating").and_then(serde_json::Value::as_f64);
        Self {
            name: identity.name.clone(),
            version: env!("CARGO_PKG_VERSION"),
            role: status.role,
            started_at_ms: process::started_at_ms(),
            params: identity.params.clone(),
            scale: Scale {
                low: decode.min_rating,
                high: decode.max_rating,
                positive: positive.map_or(decode.max_rating, |rating| rating as f32),
            },
            read_only: state.config.read_only,
            changes: state.log.is_some(),
            replay: status.replay.load().is_some(),
        }
    }
}

/// `now`: what the engine is doing.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Now {
    at_ms: i64,
    phase: Phase,
    seq: u64,
    durable_seq: u64,
    published_at_ms: i64,
    events_per_s: f64,
    users: usize,
    items: usize,
    lag: Vec<Lag>,
    troubles: Vec<Trouble>,
    rejects: BTreeMap<Reason, u64>,
    /// From when the log had an event until answers have learned it, over the last minute.
    freshness: Quantiles,
    batches: Vec<BatchLine>,
    streams: usize,
    memory_bytes: Option<u64>,
    replay: Option<Replay>,
    drift: Drift,
    warnings: Vec<telemetry::Recent>,
}

/// What the detector of drift says.
#[derive(Clone, Debug, Serialize)]
struct Drift {
    detected: u64,
    last_seq: Option<u64>,
    boosted: bool,
    enabled: bool,
}

impl Drift {
    fn of(drift: &learn::drift::Drift, status: &Status) -> Self {
        Self {
            detected: drift.detected(),
            last_seq: drift.marks().last().copied(),
            boosted: drift.is_boosted(),
            // Named only where it is not as by default.
            enabled: status
                .identity
                .load()
                .params
                .get("drift.enabled")
                .and_then(serde_json::Value::as_bool)
                .unwrap_or(true),
        }
    }
}

impl Now {
    pub(super) fn of(state: &AppState) -> Self {
        let (status, view) = (&state.status, state.published.load());
        let (learned, version) = (view.learned(), view.version());
        let StreamFigures { events_per_s, batches } = status.monitor.stream();
        let mut warnings = telemetry::recent();
        warnings.drain(..warnings.len().saturating_sub(WARNINGS));
        Self {
            at_ms: now_ms(),
            phase: status.phase(),
            seq: version.seq,
            durable_seq: status.durable_seq(),
            published_at_ms: version.published_at_ms,
            events_per_s,
            users: learned.users.len(),
            items: learned.items.len(),
            lag: status.lag.load().as_ref().clone(),
            troubles: status.troubles(),
            rejects: status.rejects(),
            freshness: status.timings.freshness.recent(),
            batches,
            streams: state.kept.streams.count(),
            memory_bytes: process::resident_bytes(),
            replay: status.replay.load().as_ref().map(|control| control.shown()),
            drift: Drift::of(&learned.drift, status),
            warnings,
        }
    }
}

impl Now {
    /// Without what differs from any moment to the next.
    pub(super) fn timeless(self) -> Self {
        Self { at_ms: 0, memory_bytes: None, ..self }
    }
}

/// `learning`: how well it predicts and ranks.
#[derive(Debug, Serialize)]
pub(super) struct Learning {
    seq: u64,
    /// Over every event ever.
    all: MetricsAnswer,
    window: MetricsAnswer,
    ranking: RankingFigures,
    curve: Vec<Point>,
    marks: Vec<Mark>,
    nth: Vec<Nth>,
    histogram: Histogram,
    joint: Joint,
}

/// Something that happened after an event.
#[derive(Debug, Serialize)]
struct Mark {
    seq: u64,
    kind: &'static str,
    at_ms: Option<i64>,
}

impl Learning {
    pub(super) fn of(state: &AppState) -> Self {
        let view = state.published.load();
        let all = MetricsAnswer::of(view.learned().prequential.sums());
        let LearningFigures { window, ranking, curve, nth, histogram, joint } = state.status.monitor.learning();
        let snapshots = state.status.snapshots.load();
        let taken = snapshots.iter().take(MARKED);
        let taken = taken.map(|taken| Mark { seq: taken.seq, kind: "snapshot", at_ms: Some(taken.created_at_ms) });
        let drifted = view.learned().drift.marks().iter().map(|seq| Mark { seq: *seq, kind: "drift", at_ms: None });
        let marks = taken.chain(drifted).collect();
        let window = MetricsAnswer::of(&window);
        Self { seq: view.version().seq, all, window, ranking, curve, marks, nth, histogram, joint }
    }

    /// What is another text when there is something new.
    pub(super) fn like(&self) -> String {
        let Self { seq, ranking, marks, .. } = self;
        format!("{seq} {} {}", ranking.all.ranked, marks.len())
    }
}

/// One of `events`: what was predicted against what came.
#[derive(Debug, Serialize)]
pub(super) struct ShownEvent<'a> {
    seq: u64,
    at_ms: Option<i64>,
    ts: i64,
    user: &'a str,
    item: &'a str,
    title: Option<&'a str>,
    genres: &'a [String],
    rating: Option<f32>,
    count: Option<f32>,
    predicted: f32,
    place: Option<&'a Place>,
}

impl<'a> ShownEvent<'a> {
    pub(super) fn of(event: &'a Recent, entries: &'a Entries) -> Self {
        let item = entries.items.get(event.item.as_str());
        // Somebody who is hidden is on no map.
        let user = entries.users.get(event.user.as_str()).filter(|user| !user.hidden);
        Self {
            seq: event.seq,
            at_ms: event.at_ms,
            ts: event.ts,
            user: &event.user,
            item: &event.item,
            title: item.map(|item| item.title.as_str()).filter(|title| !title.is_empty()),
            genres: item.map_or(&[], |item| &item.genres),
            rating: event.rating,
            count: event.count,
            predicted: event.predicted,
            place: user.and_then(|user| Places::load().find(user.zip.as_deref()?)),
        }
    }
}
