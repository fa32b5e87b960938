//! `GET /metrics`: what the engine and the server are doing, for Prometheus.
//!
//! Nothing is counted here: at a scrape the figures are read from where the engine and the layers keep them, so that no
//! second count can differ. Each name is declared once, in the file of what it is about; counters get their `_total`, and
//! units their suffix, from the encoder. `docs/monitoring` has a dashboard and alerts for them, and a test that holds both
//! to these names.

mod engine;
mod families;
mod learning;
pub(super) mod process;
mod server;

use std::fmt;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::prometheus_text::{self, CONTENT_TYPE};
use prometheus_client::registry::Registry;

use super::{AppState, Problem, Status};
use crate::publish::Published;

use families::Families;

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
        let view = self.published.load();
        engine::encode(&mut out, &self.status, view.version().seq)?;
        learning::encode(&mut out, &self.status, view.learned())?;
        server::encode(&mut out, &self.status)?;
        server::encode_searches(&mut out, &self.published.search().figures())?;
        process::encode(&mut out)
    }
}
