//! Which trace something belongs to, as records and requests carry it: the header `traceparent` of
//! [W3C Trace Context](https://www.w3.org/TR/trace-context/).
//!
//! Read and written in every build; spans of ours are in a trace only where they are exported.

use std::fmt;

use tracing::Span;

use super::otlp;

/// Name of the header, of a request and of a record.
pub const HEADER: &str = "traceparent";

/// Target of the lines and spans that lead from a trace to the batch that learned its event.
pub const TARGET: &str = "freshet::trace";

/// A span of somebody's trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    trace_id: [u8; 16],
    parent_id: [u8; 8],
    flags: u8,
}

impl TraceParent {
    /// None where an id is zero, which is no id.
    #[must_use]
    pub fn new(trace_id: [u8; 16], parent_id: [u8; 8], flags: u8) -> Option<Self> {
        (trace_id != [0; 16] && parent_id != [0; 8]).then_some(Self { trace_id, parent_id, flags })
    }

    /// Reads the header; none where it is none, which the standard wants to be passed over.
    #[must_use]
    pub fn parse(header: &[u8]) -> Option<Self> {
        let mut parts = header.split(|byte| *byte == b'-');
        let [version] = bytes(parts.next()?)?;
        let (trace_id, parent_id, [flags]) = (bytes(parts.next()?)?, bytes(parts.next()?)?, bytes(parts.next()?)?);
        // Later versions may add to it, and 255 is none.
        let is_whole = version != 0 || parts.next().is_none();
        if version == u8::MAX || !is_whole { None } else { Self::new(trace_id, parent_id, flags) }
    }

    /// Id of the trace.
    #[must_use]
    pub fn trace_id(&self) -> [u8; 16] {
        self.trace_id
    }

    /// Id of the span.
    #[must_use]
    pub fn parent_id(&self) -> [u8; 8] {
        self.parent_id
    }

    /// Flags; 1 for a trace that is recorded.
    #[must_use]
    pub fn flags(&self) -> u8 {
        self.flags
    }

    /// The id of the trace as everybody writes it.
    #[must_use]
    pub fn trace(&self) -> String {
        hex::encode(self.trace_id)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "00-{}-{}-{:02x}", self.trace(), hex::encode(self.parent_id), self.flags)
    }
}

/// Bytes in lower-case hexadecimal, as the standard demands.
fn bytes<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut read = [0; N];
    let is_lower = !text.iter().any(u8::is_ascii_uppercase);
    (is_lower && hex::decode_to_slice(text, &mut read).is_ok()).then_some(read)
}

/// The trace of a span of ours; none where spans are not exported.
#[must_use]
pub fn of(span: &Span) -> Option<TraceParent> {
    otlp::trace_of(span)
}

/// Makes a span of ours part of a trace. Before it is entered.
pub fn adopt(span: &Span, trace: &TraceParent) {
    otlp::adopt(span, trace);
}

/// Has a span of ours refer to one of a trace.
pub fn link(span: &Span, trace: &TraceParent) {
    otlp::link(span, trace);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_header_is_read_and_written_back() {
        let trace = TraceParent::parse(SENT.as_bytes()).unwrap();
        assert_eq!(trace.to_string(), SENT);
        assert_eq!((&trace.trace()[..], trace.flags()), ("4bf92f3577b34da6a3ce929d0e0e4736", 1));
        let later = format!("cc{}-more", &SENT[2..]);
        assert_eq!(TraceParent::parse(later.as_bytes()), Some(trace), "what later versions add is passed over");
    }

    #[test]
    fn what_is_no_header_is_passed_over() {
        for text in [
            "",
            "-",
            "00",
            "garbage",
            &SENT.to_uppercase(),
            &SENT[..54],
            &format!("{SENT}0"),
            &format!("{SENT}-more"),
            &format!("ff{}", &SENT[2..]),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902bx-01",
        ] {
            assert_eq!(TraceParent::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(TraceParent::parse(&[0xff; 55]), None);
    }
}
