//! Exports spans to a collector, over OTLP/HTTP.
//!
//! Only in a build with the feature `otlp`, and there only where an endpoint is set. Spans go out in batches, from a thread
//! of their own; a collector that is away costs spans, and never an event.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Span;
use tracing::level_filters::LevelFilter;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;

use super::trace::TraceParent;
use super::{BoxedLayer, ENDPOINT_VARIABLES};
use crate::config::{ConfigError, Problem};

/// Longest that an export may take, and the last one when the process ends.
const EXPORT_WITHIN: Duration = Duration::from_secs(10);
const FLUSH_WITHIN: Duration = Duration::from_secs(3);

/// Most bytes of a collector's answer that are read.
const LONGEST_ANSWER: u64 = 1 << 20;

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// Nothing that a variable asks for is left out in this build.
pub(super) fn unheeded() -> Option<String> {
    None
}

/// The layer that takes spans of ours down; none without an endpoint. What the standard's variables say of headers,
/// sampling and the name of the service is heeded.
pub(super) fn layer(endpoint: &str) -> Result<Option<BoxedLayer>, ConfigError> {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|text| !text.is_empty());
    if endpoint.is_empty() && !ENDPOINT_VARIABLES.into_iter().any(is_set) {
        return Ok(None);
    }
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Client::default())
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(EXPORT_WITHIN);
    if !endpoint.is_empty() {
        exporter = exporter.with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')));
    }
    let exporter = exporter.build().map_err(|error| Problem::Type {
        place: "log.otlp_endpoint".to_owned(),
        key: endpoint.to_owned(),
        reason: format!("traces cannot be exported ({error}); write http://host:4318"),
    })?;
    let mut about = Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    if !is_set("OTEL_SERVICE_NAME") {
        about = about.with_service_name("freshet");
    }
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(about.build()).build();
    let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer("freshet")).with_threads(false);
    // What is exported is no matter of what is logged; and spans of the export itself would have no end.
    let ours = Targets::new().with_target("freshet", LevelFilter::DEBUG);
    // A provider that is set already (by an earlier call) stays, and so does its layer.
    let _ = PROVIDER.set(provider);
    Ok(Some(spans.with_filter(ours).boxed()))
}

/// Exports what has not been yet.
pub(super) fn flush() {
    if let Some(provider) = PROVIDER.get() {
        // What the collector does not take now is lost with the process; the client has said so.
        let _ = provider.shutdown_with_timeout(FLUSH_WITHIN);
    }
}

pub(super) fn trace_of(span: &Span) -> Option<TraceParent> {
    let context = span.context();
    let span = context.span();
    let about = span.span_context();
    TraceParent::new(about.trace_id().to_bytes(), about.span_id().to_bytes(), about.trace_flags().to_u8())
}

pub(super) fn adopt(span: &Span, trace: &TraceParent) {
    // One that is not recorded has no parent to set.
    let _ = span.set_parent(Context::new().with_remote_span_context(remote(trace)));
}

pub(super) fn link(span: &Span, trace: &TraceParent) {
    span.add_link(remote(trace));
}

fn remote(trace: &TraceParent) -> SpanContext {
    let (trace_id, span_id) = (TraceId::from_bytes(trace.trace_id()), SpanId::from_bytes(trace.parent_id()));
    SpanContext::new(trace_id, span_id, TraceFlags::new(trace.flags()), true, TraceState::default())
}

/// Sends spans with the client that data sets are fetched with, so that no second one is built in.
#[derive(Debug)]
struct Client {
    agent: ureq::Agent,
    failing: AtomicBool,
}

impl Default for Client {
    fn default() -> Self {
        let config = ureq::Agent::config_builder().timeout_global(Some(EXPORT_WITHIN)).http_status_as_error(false);
        Self { agent: config.build().new_agent(), failing: AtomicBool::new(false) }
    }
}

impl Client {
    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ureq::Error> {
        let (parts, body) = request.into_parts();
        let mut response = self.agent.run(Request::from_parts(parts, body.to_vec()))?;
        let bytes = response.body_mut().with_config().limit(LONGEST_ANSWER).read_to_vec()?;
        Ok(response.map(|_| Bytes::from(bytes)))
    }

    /// Says when the collector begins to fail, and when it works again: not with each batch of spans.
    fn note(&self, trouble: Option<&str>) {
        let before = self.failing.swap(trouble.is_some(), Ordering::Relaxed);
        match trouble {
            Some(reason) if !before => {
                tracing::warn!(reason, "the collector takes no spans; they are lost until it does");
            }
            None if before => tracing::info!("the collector takes spans again"),
            _ => {}
        }
    }
}

#[async_trait]
impl HttpClient for Client {
    /// Waits on the thread of the export, which does nothing else.
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = self.send(request);
        match &answer {
            Ok(response) if response.status().is_success() => self.note(None),
            Ok(response) => self.note(Some(&format!("it answers {}", response.status()))),
            Err(error) => self.note(Some(&error.to_string())),
        }
        Ok(answer?)
    }
}
