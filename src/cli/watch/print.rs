//! How a record is printed: as a line for people, as a JSON object, or as its value alone.
//!
//! Everything is appended to one buffer, so that nothing is allocated for a record.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use jiff::Timestamp;

use crate::cli::dead_letters::text::print_safely;
use crate::cli::out::escape_controls;
use crate::consume::watch::Watched;
use crate::telemetry;

/// Characters of a key and of a value that a line for people shows.
const KEY_SHOWN: usize = 64;
const VALUE_SHOWN: usize = 4_096;

/// What is printed of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A line for people: time, topic, partition, offset, key, value.
    #[default]
    Text,
    /// A JSON object a line: topic, partition, offset, timestamp (ms), key, value (or `value_hex` where it is no text).
    Ndjson,
    /// The value's bytes and a line end.
    Value,
}

/// A record, and what was found out about it.
#[derive(Clone, Copy)]
pub(super) struct Shown<'r> {
    pub(super) record: &'r Watched<'r>,
    /// Schema id in Confluent's wire format.
    pub(super) schema: Option<u32>,
    /// The value without the schema's header.
    pub(super) body: Option<&'r [u8]>,
    pub(super) words: Option<u64>,
    /// The rolling mean, or the value as it was written while there is none yet.
    pub(super) mean: Option<Mean<'r>>,
    /// Alerts that it has met.
    pub(super) alerts: &'r [String],
}

/// What `--rolling-mean` prints of a record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Mean<'r> {
    /// There are not enough values yet.
    NotYet(&'r str),
    Of(f64),
}

/// Escape sequences, or nothing where no colours are wanted.
#[derive(Clone, Copy)]
struct Colors {
    dim: &'static str,
    topic: &'static str,
    key: &'static str,
    alert: &'static str,
    end: &'static str,
}

const COLORS: Colors =
    Colors { dim: "\x1b[2m", topic: "\x1b[36m", key: "\x1b[32m", alert: "\x1b[1;31m", end: "\x1b[0m" };
const PLAIN: Colors = Colors { dim: "", topic: "", key: "", alert: "", end: "" };

/// Appends records to a buffer.
pub(super) struct Printer {
    pub(super) buffer: Vec<u8>,
    format: Format,
    is_terminal: bool,
    colors: Colors,
    text: String,
    /// The second that was printed last, and how.
    second: (i64, String),
}

impl Printer {
    pub(super) fn new(format: Format) -> Self {
        let stdout = io::stdout();
        let colors = if telemetry::has_color(&stdout) { COLORS } else { PLAIN };
        Self::with(format, stdout.is_terminal(), colors)
    }

    fn with(format: Format, is_terminal: bool, colors: Colors) -> Self {
        let second = (i64::MIN, String::new());
        Self { buffer: Vec::with_capacity(1 << 17), format, is_terminal, colors, text: String::new(), second }
    }

    pub(super) fn record(&mut self, shown: &Shown<'_>) {
        match self.format {
            Format::Text => self.line(shown),
            Format::Ndjson => {
                json(&mut self.buffer, shown);
                self.buffer.push(b'\n');
            }
            Format::Value => self.value(shown),
        }
    }

    fn line(&mut self, shown: &Shown<'_>) {
        let Colors { dim, topic, key, end, .. } = self.colors;
        let Watched { partition, offset, timestamp_ms, .. } = *shown.record;
        let _ = write!(self.buffer, "{dim}");
        self.time(timestamp_ms);
        let _ = write!(self.buffer, "{end}  {topic}");
        self.safely(shown.record.topic.as_bytes(), usize::MAX);
        let _ = write!(self.buffer, " [{partition}]{end} {dim}@{offset:<8}{end} {key}");
        match shown.record.key {
            Some(bytes) => self.safely(bytes, KEY_SHOWN),
            None => self.buffer.push(b'-'),
        }
        let width = shown.record.key.map_or(1, <[u8]>::len);
        let _ = write!(self.buffer, "{end}{:1$}  ", "", 8_usize.saturating_sub(width));
        if let Some(schema) = shown.schema {
            let _ = write!(self.buffer, "{dim}schema {schema}{end} ");
        }
        match shown.body {
            Some(body) => {
                self.safely(body, VALUE_SHOWN);
                if body.len() > VALUE_SHOWN {
                    let _ = write!(self.buffer, " {dim}({} bytes){end}", body.len());
                }
            }
            None => {
                let _ = write!(self.buffer, "{dim}(tombstone){end}");
            }
        }
        self.figures(shown);
        self.buffer.push(b'\n');
    }

    fn figures(&mut self, shown: &Shown<'_>) {
        let Colors { key, end, .. } = self.colors;
        if let Some(words) = shown.words {
            let plural = if words == 1 { "" } else { "s" };
            let _ = write!(self.buffer, "  {key}{words} word{plural}{end}");
        }
        if let Some(Mean::Of(mean)) = shown.mean {
            let _ = write!(self.buffer, "  {key}mean {mean:?}{end}");
        }
    }

    /// The value, or the figure that was asked for instead.
    fn value(&mut self, shown: &Shown<'_>) {
        match (shown.mean, shown.words, shown.record.payload) {
            (Some(Mean::NotYet(text)), ..) => self.safely(text.as_bytes(), usize::MAX),
            (Some(Mean::Of(mean)), ..) => drop(write!(self.buffer, "{mean:?}")),
            (None, Some(words), _) => drop(write!(self.buffer, "{words}")),
            // Bytes are for pipes: a terminal would obey them.
            (None, None, Some(payload)) if self.is_terminal => self.safely(payload, usize::MAX),
            (None, None, payload) => self.buffer.extend_from_slice(payload.unwrap_or_default()),
        }
        self.buffer.push(b'\n');
    }

    /// A line for an alert, behind its record.
    pub(super) fn alert(&mut self, alert: &str, shown: &Shown<'_>) {
        let Colors { alert: red, end, .. } = self.colors;
        let Watched { partition, offset, .. } = *shown.record;
        let _ = write!(self.buffer, "{red}ALERT{end} {alert}  ");
        self.safely(shown.record.topic.as_bytes(), usize::MAX);
        let _ = write!(self.buffer, " [{partition}] @{offset}  ");
        self.safely(shown.body.unwrap_or_default(), VALUE_SHOWN);
        self.buffer.push(b'\n');
    }

    /// `2026-11-26T10:00:00.123Z`; the date is made once a second.
    fn time(&mut self, at_ms: Option<i64>) {
        let time = at_ms.and_then(|at_ms| Some((at_ms, Timestamp::from_second(at_ms.div_euclid(1_000)).ok()?)));
        let Some((at_ms, at)) = time else {
            let _ = write!(self.buffer, "{:24}", "-");
            return;
        };
        if self.second.0 != at.as_second() {
            self.second = (at.as_second(), at.strftime("%Y-%m-%dT%H:%M:%S").to_string());
        }
        let _ = write!(self.buffer, "{}.{:03}Z", self.second.1, at_ms.rem_euclid(1_000));
    }

    fn safely(&mut self, bytes: &[u8], most: usize) {
        if bytes.len() <= most && bytes.iter().all(|byte| (0x20..0x7f).contains(byte)) {
            self.buffer.extend_from_slice(bytes);
            return;
        }
        self.text.clear();
        print_safely(&mut self.text, bytes, most);
        self.buffer.extend_from_slice(self.text.as_bytes());
        self.text.shrink_to(VALUE_SHOWN);
    }
}

/// Schema id and value of Confluent's wire format: a zero byte, four bytes of the id, and the value.
pub(super) fn schema_and_body(payload: Option<&[u8]>) -> (Option<u32>, Option<&[u8]>) {
    match payload {
        Some([0, a, b, c, d, body @ ..]) => (Some(u32::from_be_bytes([*a, *b, *c, *d])), Some(body)),
        payload => (None, payload),
    }
}

/// One JSON object for a record, without a line end.
pub(super) fn json(buffer: &mut Vec<u8>, shown: &Shown<'_>) {
    let start = buffer.len();
    let Watched { topic, partition, offset, timestamp_ms, key, .. } = *shown.record;
    let _ = write!(buffer, "{{\"topic\":");
    string(buffer, topic);
    let _ = write!(buffer, ",\"partition\":{partition},\"offset\":{offset},\"timestamp\":");
    let _ = match timestamp_ms {
        Some(at_ms) => write!(buffer, "{at_ms}"),
        None => write!(buffer, "null"),
    };
    bytes(buffer, "key", key);
    if let Some(schema) = shown.schema {
        let _ = write!(buffer, ",\"schema\":{schema}");
    }
    bytes(buffer, "value", shown.body);
    if let Some(words) = shown.words {
        let _ = write!(buffer, ",\"words\":{words}");
    }
    if let Some(Mean::Of(mean)) = shown.mean {
        buffer.extend_from_slice(b",\"mean\":");
        // An infinite mean, of values near the largest, is null.
        let _ = serde_json::to_writer(&mut *buffer, &mean);
    }
    if !shown.alerts.is_empty() {
        buffer.extend_from_slice(b",\"alerts\":");
        let _ = serde_json::to_writer(&mut *buffer, shown.alerts);
    }
    buffer.push(b'}');
    escape_controls(buffer, start);
}

/// Text where it is UTF-8, else hex digits under another name.
fn bytes(buffer: &mut Vec<u8>, name: &str, bytes: Option<&[u8]>) {
    let _ = match bytes.map(std::str::from_utf8) {
        Some(Ok(text)) => {
            let _ = write!(buffer, ",\"{name}\":");
            string(buffer, text);
            Ok(())
        }
        Some(Err(_)) => write!(buffer, ",\"{name}_hex\":\"{}\"", hex::encode(bytes.unwrap_or_default())),
        None => write!(buffer, ",\"{name}\":null"),
    };
}

fn string(buffer: &mut Vec<u8>, text: &str) {
    // A vector takes anything.
    let _ = serde_json::to_writer(buffer, text);
}

#[cfg(test)]
mod tests;
