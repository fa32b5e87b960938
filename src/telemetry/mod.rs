//! Log lines and spans of this process, and its wall clock.
//!
//! Apart from the stages, which only emit: here alone it is decided where lines go and what they look like. The
//! progress bars live here too, because a log line has to be written around them.

#[cfg_attr(not(feature = "otlp"), path = "no_otlp.rs")]
mod otlp;
mod recent;
mod seldom;
pub mod trace;

use std::io::{self, Write};
use std::sync::LazyLock;

use anstream::{AutoStream, ColorChoice};
use indicatif::MultiProgress;
use tracing_subscriber::filter::Directive;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::config::{ConfigError, LogConfig, LogFormat, Problem};

pub use recent::{Recent, recent};
pub use seldom::Seldom;

/// A layer of the one subscriber.
type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Variables that say where spans are exported to, where `log.otlp_endpoint` does not.
const ENDPOINT_VARIABLES: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// The variable that goes before `log.level`, as in every program that uses tracing.
const FILTER_VARIABLE: &str = "RUST_LOG";

static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Sends log lines to stderr, as text with colours on a terminal or as JSON, keeps the newest warnings for [`recent`], and
/// exports spans where that is asked for. `RUST_LOG` goes before `log.level`. Later calls change nothing.
///
/// # Errors
/// If `RUST_LOG` or `log.level` is not a filter, or spans cannot be exported.
pub fn init(log: &LogConfig) -> Result<(), ConfigError> {
    let variable = std::env::var(FILTER_VARIABLE).ok().filter(|text| !text.is_empty());
    let filter = || match &variable {
        Some(text) => filter(text, FILTER_VARIABLE),
        None => filter(&log.level, "log.level"),
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(|| LogWriter);
    let lines: BoxedLayer = match log.format {
        LogFormat::Text => lines.with_ansi(has_color(&io::stderr())).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let newest: BoxedLayer = recent::Keep.boxed();
    // A subscriber that is set already (by an earlier call, or by a test) stays.
    let _ = match otlp::layer(&log.otlp_endpoint)? {
        // One filter before both: filters of single layers remember on each thread what they were asked last, and where it
        // was only asked whether something is logged, as the Kafka client asks when it is made, the thread's next line is
        // taken for that and lost.
        None => tracing_subscriber::registry().with(vec![lines, newest]).with(filter()?).try_init(),
        Some(exported) => {
            let layers: Vec<BoxedLayer> =
                vec![lines.with_filter(filter()?).boxed(), newest.with_filter(filter()?).boxed(), exported];
            tracing_subscriber::registry().with(layers).try_init()
        }
    };
    if let Some(unheeded) = otlp::unheeded() {
        tracing::warn!("{unheeded}");
    }
    Ok(())
}

/// Exports the spans that have not been yet: for the end of the process.
pub fn flush() {
    otlp::flush();
}

/// Whether colours may be written to a stream: it is a terminal, and `NO_COLOR` and its like allow it.
#[must_use]
pub fn has_color(stream: &impl anstream::stream::RawStream) -> bool {
    AutoStream::choice(stream) != ColorChoice::Never
}

/// The progress bars of this process: a bar that is added here is not torn by log lines.
#[must_use]
pub fn bars() -> &'static MultiProgress {
    &BARS
}

/// The wall clock, in milliseconds since the epoch: for stamps on what people read, never for what is learned.
#[must_use]
pub fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// What the graph of approximate lists tells of itself is for those who work on it.
fn quiet() -> Directive {
    "hnsw_rs=warn".parse().expect("a test reads it")
}

fn filter(text: &str, place: &str) -> Result<EnvFilter, Problem> {
    let filter = EnvFilter::try_new(text).map(|filter| filter.add_directive(quiet()));
    filter.map_err(|error| Problem::Type {
        place: place.to_owned(),
        key: text.to_owned(),
        reason: format!(
            "not a filter ({error}); write a level or target=level pairs, as \"info,freshet::consume=debug\""
        ),
    })
}

/// Stderr, with the progress bars taken away while a line is written. tracing writes each line in one call.
struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        BARS.suspend(|| io::stderr().write_all(line))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_no_filter_is_refused_with_its_place() {
        assert!(filter("info,freshet::consume=debug", "log.level").is_ok());
        let text = filter("a=b", FILTER_VARIABLE).unwrap_err().to_string();
        assert!(text.starts_with("RUST_LOG: a=b: not a filter (") && text.contains("write a level"), "{text}");
    }

    #[test]
    fn the_clock_is_past_the_year_this_was_written_in() {
        assert!(now_ms() > 1_767_225_600_000, "milliseconds since 1970");
    }
}
