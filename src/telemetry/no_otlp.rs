//! In the place of the export of spans, in a build without the feature `otlp`: nothing, at no cost.

use tracing::Span;

use super::trace::TraceParent;
use super::{BoxedLayer, ENDPOINT_VARIABLES};
use crate::config::ConfigError;

/// What a build without the feature says to variables that ask for it; `log.otlp_endpoint` is refused with the settings.
pub(super) fn unheeded() -> Option<String> {
    let asked = ENDPOINT_VARIABLES.into_iter().find(|name| std::env::var_os(name).is_some_and(|text| !text.is_empty()));
    asked.map(|name| format!("{name} is set, and this freshet exports no traces: build it with --features otlp"))
}

#[expect(clippy::unnecessary_wraps, reason = "a build with the feature can fail here")]
pub(super) fn layer(_: &str) -> Result<Option<BoxedLayer>, ConfigError> {
    Ok(None)
}

pub(super) fn flush() {}

pub(super) fn trace_of(_: &Span) -> Option<TraceParent> {
    None
}

pub(super) fn adopt(_: &Span, _: &TraceParent) {}

pub(super) fn link(_: &Span, _: &TraceParent) {}
