//! Spans of a batch on its way through the engine, and the way to it from the traces that its events came with.
//!
//! At level debug: where batches are of one event, a span is one of an event. One that nobody takes down costs a look at a
//! flag.

use tracing::{Span, debug_span};

use crate::gather::MicroBatch;
use crate::telemetry::trace::{self, TARGET};

/// Traces that a batch's span refers to, at most: what the standard allows unless it is told otherwise.
const LINKS: usize = 128;

/// A batch on its way to be learned.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) batch: MicroBatch,
    /// From here until the batch is durable.
    pub(super) span: Span,
}

impl From<MicroBatch> for Gathered {
    fn from(batch: MicroBatch) -> Self {
        let span = debug_span!(
            parent: None,
            "batch",
            number = batch.number,
            first_seq = batch.first_seq,
            last_seq = batch.seqs().end - 1,
            events = batch.events.len(),
            rejects = batch.rejects.len(),
            waited_ms = batch.waited.as_secs_f64() * 1e3,
        );
        Self { batch, span }
    }
}

/// Leads from each trace to the batch: by a line of the log, and where spans are exported by one in the trace itself.
pub(super) fn tell_traces(batch: &MicroBatch, span: &Span) {
    for (place, (seq, trace)) in batch.traces.iter().enumerate() {
        if place < LINKS {
            trace::link(span, trace);
        }
        let learned = debug_span!(target: TARGET, parent: None, "learned", seq, batch = batch.number);
        trace::adopt(&learned, trace);
        if let Some(own) = trace::of(span) {
            trace::link(&learned, &own);
        }
        let (trace_id, batch) = (trace.trace(), batch.number);
        tracing::debug!(target: TARGET, parent: &learned, trace_id, seq, batch, "learned an event of a trace");
    }
}

/// The span of a write of several batches, which is part of the first one's.
pub(super) fn of_write(batches: &[Span], events: usize) -> Span {
    let first = batches.first().and_then(Span::id);
    let span = debug_span!(parent: first, "persist", batches = batches.len(), events);
    batches.iter().skip(1).for_each(|other| {
        span.follows_from(other);
    });
    span
}
