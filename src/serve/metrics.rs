//! `GET /metrics`: the same figures as `/model` and `/readyz`, for Prometheus.
//!
//! Nothing is counted here: at a scrape the figures are read from where the engine keeps them, so that no second count
//! can differ. Each name is declared once, in [`Figures::encode`]; counters get their `_total`, and units their suffix,
//! from the encoder.

use std::fmt;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::prometheus_text::{self, CONTENT_TYPE};
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use serde::Serialize;

use super::status::{Part, Phase, Refusal};
use super::{AppState, Problem, Status};
use crate::consume::lag::{Lag, LagState};
use crate::publish::Published;
use crate::telemetry::now_ms;

type Labels = Vec<(&'static str, String)>;

/// Figures for Prometheus
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "health",
    responses((status = 200, body = String, content_type = "text/plain; version=0.0.4; charset=utf-8"))
)]
pub(super) async fn metrics(State(state): State<AppState>) -> Result<impl IntoResponse, Problem> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Figures {
        published: Arc::clone(&state.published),
        status: Arc::clone(&state.status),
    }));
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry).map_err(|error| Problem::internal(&error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text))
}

/// What the figures are read from.
#[derive(Debug)]
struct Figures {
    published: Published,
    status: Arc<Status>,
}

impl Collector for Figures {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Families(encoder);
        let (view, status) = (self.published.load(), &self.status);
        let (seq, durable, learned) = (view.version().seq, status.durable_seq(), view.learned());
        let snapshots = status.snapshots.load();
        let age = snapshots.first().map(|newest| (now_ms() - newest.created_at_ms).max(0) as f64 / 1000.0);
        out.counters("freshet_events_learned", "Events that the model has learned", [(vec![], seq)])?;
        out.counters("freshet_events_durable", "Learned events that the store holds", [(vec![], durable)])?;
        let rejects = status.rejects().into_iter().map(|(reason, count)| (label("reason", reason), count));
        out.counters("freshet_dead_letters", "Records that are no events, by reason", rejects)?;
        let failures = status.failures().into_iter().map(|(part, count)| (label("part", part), count));
        out.counters("freshet_failures", "Failures of the log or the store that were waited out", failures)?;
        let refused = Refusal::ALL.map(|reason| (label("reason", reason), status.refused(reason)));
        out.counters("freshet_http_refused", "Requests and connections that were refused, by reason", refused)?;
        let troubles = status.troubles();
        let trouble = |part| f64::from(troubles.iter().any(|trouble| trouble.part == part));
        let parts = Part::ALL.map(|part| (label("part", part), trouble(part)));
        out.gauges("freshet_trouble", "Whether the log or the store does not work now", None, parts)?;
        let phase = status.phase();
        let phases = Phase::ALL.map(|one| (label("phase", one), f64::from(one == phase)));
        out.gauges("freshet_phase", "What the engine is about: 1 for the phase that it is in", None, phases)?;
        self.encode_lag(&mut out)?;
        let (users, items) = (learned.users.len() as f64, learned.items.len() as f64);
        out.gauges("freshet_model_users", "Users that the model knows", None, [(vec![], users)])?;
        out.gauges("freshet_model_items", "Items that the model knows", None, [(vec![], items)])?;
        let kept = [(vec![], snapshots.len() as f64)];
        out.gauges("freshet_snapshots", "Snapshots in the store, the newest hundred", None, kept)?;
        let age = age.map(|age| (vec![], age));
        out.gauges("freshet_snapshot_age", "Time since the newest snapshot was taken", Some(&Unit::Seconds), age)
    }
}

impl Figures {
    fn encode_lag(&self, out: &mut Families<'_>) -> fmt::Result {
        let lags = self.status.lag.load();
        let of = |lag: &Lag| vec![("topic", lag.topic.to_string()), ("partition", lag.partition.to_string())];
        let messages = lags.iter().map(|lag| (of(lag), lag.messages as f64));
        let unit = Unit::Other("messages".to_owned());
        out.gauges("freshet_lag", "Records on the log that are not durable", Some(&unit), messages)?;
        let seconds = lags.iter().filter_map(|lag| Some((of(lag), lag.seconds?)));
        out.gauges("freshet_lag", "Age of the events that are being read", Some(&Unit::Seconds), seconds)?;
        let states = lags.iter().flat_map(|lag| {
            let labels = move |state| of(lag).into_iter().chain(label("state", state)).collect();
            LagState::ALL.map(|state| (labels(state), f64::from(lag.state == state)))
        });
        out.gauges("freshet_lag_state", "How the lag develops: 1 for the state that it is in", None, states)
    }
}

/// Writes a family of samples after another. One without a sample is still described, so that it can be looked up.
struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    fn counters(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels, u64)>) -> fmt::Result {
        let samples = samples.into_iter().map(|(labels, count)| (labels, ConstCounter::new(count)));
        self.family(name, help, None, &ConstCounter::new(0_u64), samples)
    }

    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        samples: impl IntoIterator<Item = (Labels, f64)>,
    ) -> fmt::Result {
        let samples = samples.into_iter().map(|(labels, value)| (labels, ConstGauge::new(value)));
        self.family(name, help, unit, &ConstGauge::new(0.0), samples)
    }

    /// `example` tells the type, which is the encoder's to know.
    fn family<M: EncodeMetric>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        example: &M,
        samples: impl Iterator<Item = (Labels, M)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, unit, example.metric_type())?;
        for (labels, metric) in samples {
            metric.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// A label under the name that JSON has for the value.
fn label(key: &'static str, value: impl Serialize) -> Labels {
    let name = serde_json::to_value(value).ok();
    vec![(key, name.and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default())]
}
