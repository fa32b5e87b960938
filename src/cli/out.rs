//! What a command writes: results to stdout, errors and progress to stderr, and its exit code.
//!
//! On its own, so that every command looks the same and none writes past the progress bars or into a closed pipe.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use comfy_table::{Attribute, Cell, LineStyle, Table, presets};
use indicatif::{HumanCount, ProgressBar, ProgressState, ProgressStyle};
use owo_colors::OwoColorize;
use serde::Serialize;
use tempfile::NamedTempFile;

use super::doctor::Unwell;
use crate::capture::{LogError, convert};
use crate::config::ConfigError;
use crate::shutdown::{INTERRUPTED, Interrupted, StopDeadline};
use crate::store::StoreError;
use crate::telemetry;

/// Whoever read stdout has closed it (`freshet … | head`): the command ends, and not as a failure.
#[derive(Debug, thiserror::Error)]
#[error("stdout was closed by its reader")]
pub struct ClosedPipe;

/// Writes text to stdout, past the progress bars, without colours where none are wanted.
///
/// # Errors
/// [`ClosedPipe`] if nobody reads stdout any more; else what the system said.
pub fn print(text: &str) -> anyhow::Result<()> {
    written(&mut anstream::stdout().lock(), text.as_bytes())
}

/// Writes a value to stdout as indented JSON, as [`print`] does.
///
/// # Errors
/// As [`print`].
pub fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(&to_json(value)?)
}

/// JSON for people and programs, with a line end, which a terminal shows as it is.
///
/// # Errors
/// If the value is none that JSON has.
pub fn to_json(value: &impl Serialize) -> anyhow::Result<String> {
    let mut json = serde_json::to_vec_pretty(value)?;
    escape_controls(&mut json, 0);
    json.push(b'\n');
    Ok(String::from_utf8_lossy(&json).into_owned())
}

/// Escapes the control characters that JSON may have as they are, DEL and the C1 controls, in the JSON behind `start`:
/// a terminal obeys them as it does ESC, and a text may be a stranger's.
pub fn escape_controls(json: &mut Vec<u8>, start: usize) {
    if !json[start..].iter().any(|byte| matches!(byte, 0x7f | 0xc2)) {
        return;
    }
    let text = String::from_utf8_lossy(&json[start..]).into_owned();
    json.truncate(start);
    for c in text.chars() {
        if matches!(c, '\u{7f}'..='\u{9f}') {
            // A vector takes anything.
            let _ = write!(json, "\\u{:04x}", u32::from(c));
        } else {
            json.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

/// Writes text to stderr, past the progress bars: what is told beside the results.
pub fn note(text: &str) {
    // Where stderr is closed there is nobody to tell.
    let _ = telemetry::bars().suspend(|| anstream::stderr().write_all(text.as_bytes()));
}

/// Writes bytes to stdout as they are.
///
/// # Errors
/// As [`print`].
pub fn write(bytes: &[u8]) -> anyhow::Result<()> {
    written(&mut io::stdout().lock(), bytes)
}

fn written(stdout: &mut impl io::Write, bytes: &[u8]) -> anyhow::Result<()> {
    let written = telemetry::bars().suspend(|| stdout.write_all(bytes).and_then(|()| stdout.flush()));
    written.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => ClosedPipe.into(),
        _ => anyhow::Error::new(error).context("cannot write to stdout"),
    })
}

/// Writes a line to stderr, past the progress bars, without colours where none are wanted.
pub fn tell(line: &str) {
    // Where stderr is closed there is nobody left to tell.
    let _ = telemetry::bars().suspend(|| anstream::stderr().write_all(format!("{line}\n").as_bytes()));
}

/// A time in milliseconds since the epoch, as a person reads it.
#[must_use]
pub fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .map_or_else(|_| ms.to_string(), |at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// Writes an error to stderr, with its causes, and returns the exit code that it means.
#[must_use]
pub fn report(error: &anyhow::Error) -> ExitCode {
    if !error.is::<ClosedPipe>() {
        note(&describe(error));
    }
    ExitCode::from(exit_code(error))
}

/// The exit code that an error means; the list is in `freshet --help`.
#[must_use]
pub fn exit_code(error: &anyhow::Error) -> u8 {
    error.chain().find_map(code).unwrap_or(1)
}

fn code(cause: &(dyn std::error::Error + 'static)) -> Option<u8> {
    if cause.is::<ClosedPipe>() {
        return Some(0);
    }
    if cause.is::<ConfigError>() {
        return Some(2);
    }
    let unavailable = matches!(cause.downcast_ref(), Some(StoreError::Unavailable { .. }));
    let unreachable = cause.downcast_ref().is_some_and(|error| !matches!(error, LogError::Superseded { .. }));
    let unwell = cause.downcast_ref().is_some_and(|unwell: &Unwell| unwell.unreachable);
    if unavailable || unreachable || unwell {
        return Some(3);
    }
    if cause.is::<StopDeadline>() {
        return Some(4);
    }
    cause.is::<Interrupted>().then_some(INTERRUPTED)
}

/// `error: …`, and a `caused by: …` for each cause that its parent does not tell already.
fn describe(error: &anyhow::Error) -> String {
    let mut text = format!("{} {error}\n", "error:".red().bold());
    let mut told = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !told.contains(&cause) {
            let _ = writeln!(text, "  {} {cause}", "caused by:".red());
        }
        told = cause;
    }
    text
}

/// A file beside `path`, to be given that name once it is whole.
///
/// # Errors
/// If the folder is not there or not to be written.
pub fn file_beside(path: &Path) -> anyhow::Result<NamedTempFile> {
    convert::file_beside(path).with_context(|| cannot_write(path))
}

/// What is said of a file that cannot be written.
#[must_use]
pub fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

/// A progress bar on stderr with rate and time left; hidden where stderr is not a terminal. Without a length it counts.
///
/// Drop it (or let it finish and clear) before results are printed, else it is drawn again below them.
#[must_use]
pub fn progress(len: Option<u64>, label: impl Into<String>) -> ProgressBar {
    let template = match len {
        Some(_) => "{prefix}  {wide_bar}  {human_pos}/{human_len}  {rate}  {eta} left",
        None => "{prefix}  {spinner} {human_pos}  {rate}  {elapsed}",
    };
    let style = ProgressStyle::with_template(template)
        .expect("the templates above are tested")
        .progress_chars("━━╌")
        .with_key("rate", |state: &ProgressState, text: &mut dyn std::fmt::Write| {
            let _ = write!(text, "{}/s", HumanCount(state.per_sec() as u64));
        });
    let bar = len.map_or_else(ProgressBar::no_length, ProgressBar::new).with_prefix(label.into()).with_style(style);
    telemetry::bars().add(bar)
}

/// A table with a header; bold only where stdout takes it. Print it with `print(&format!("{table}\n"))`.
#[must_use]
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_header(header.iter().map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
    if !telemetry::has_color(&io::stdout()) {
        table.force_no_tty();
    }
    table
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use anyhow::anyhow;

    use super::*;
    use crate::config::Problem;

    fn store(unavailable: bool) -> StoreError {
        let (location, reason) = ("mongodb://host/freshet".to_owned(), "connection refused".to_owned());
        if unavailable {
            StoreError::Unavailable { action: "read the engine's state", location, reason }
        } else {
            StoreError::Unsuitable { location, reason }
        }
    }

    #[test]
    fn each_kind_of_error_has_its_exit_code_wherever_it_is_in_the_chain() {
        let (path, reason) = ("freshet-data/log.db".to_owned(), "no space".to_owned());
        let log = LogError::Embedded { action: "read", path, reason };
        let config = ConfigError::from(Problem::NoValue { count: 1 });
        let deadline = StopDeadline { deadline: Duration::from_secs(20), doing: "drain" };
        let interrupted = Interrupted { done: "5 of 9 events sent".to_owned() };
        let cases: [(anyhow::Error, u8); 8] = [
            (anyhow!("anything else"), 1),
            (store(false).into(), 1),
            (config.into(), 2),
            (log.into(), 3),
            (store(true).into(), 3),
            (deadline.into(), 4),
            (interrupted.into(), 130),
            (ClosedPipe.into(), 0),
        ];
        for (error, expected) in cases {
            let text = error.to_string();
            assert_eq!(exit_code(&error), expected, "{text}");
            assert_eq!(exit_code(&error.context("while running")), expected, "{text} inside a context");
        }
    }

    #[test]
    fn an_error_is_told_with_its_causes_and_none_twice() {
        let error = anyhow::Error::new(store(true)).context("cannot start").context("cannot start: no store");
        let text = anstream::adapter::strip_str(&describe(&error)).to_string();
        assert_eq!(
            text,
            "error: cannot start: no store\n  caused by: cannot read the engine's state at mongodb://host/freshet: \
             connection refused\n"
        );
    }

    #[test]
    fn the_templates_of_the_progress_bar_are_valid() {
        for len in [None, Some(0), Some(10)] {
            let bar = progress(len, "replay");
            bar.inc(3);
            assert_eq!((bar.position(), bar.length()), (3, len));
            bar.finish_and_clear();
        }
    }

    #[test]
    fn json_for_a_terminal_has_every_control_character_escaped_and_nothing_else_changed() {
        let mut json = "before \u{9b} ".as_bytes().to_vec();
        let start = json.len();
        let text = "a\u{7f}£\u{80}\u{9b}31m\u{9f}\u{a0}é\u{1b}\n…";
        serde_json::to_writer(&mut json, text).unwrap();
        escape_controls(&mut json, start);
        let (before, after) = json.split_at(start);
        assert_eq!(before, "before \u{9b} ".as_bytes());
        let after = std::str::from_utf8(after).unwrap();
        assert_eq!(after, "\"a\\u007f£\\u0080\\u009b31m\\u009f\u{a0}é\\u001b\\n…\"");
        assert_eq!(serde_json::from_str::<String>(after).unwrap(), text);
    }

    #[test]
    fn a_table_without_a_terminal_has_no_escapes() {
        let mut table = table(&["figure", "value"]);
        table.add_row(["events", "100000"]).force_no_tty();
        let text = table.to_string();
        assert!(text.contains("events") && !text.contains('\x1b'), "{text}");
    }
}
