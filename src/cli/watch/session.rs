//! One watching from its first record to its summary.
//!
//! Records are printed into a buffer while they are lent, and the buffer is written between two polls: a reader of stdout
//! that is slow must hold back neither a read transaction nor a callback.

use std::borrow::Cow;
use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cel::{Context, Env};
use indicatif::{HumanBytes, HumanCount};
use owo_colors::OwoColorize;
use serde_json::{Map, Value as Json};
use tokio_util::sync::CancellationToken;

use super::act::{Actor, Alerted};
use super::alert::{Alert, Facts};
use super::analysis::{Number, Rate, RollingMean, words};
use super::print::{Format, Mean, Printer, Shown, json, schema_and_body};
use super::{Args, RATE_COOLDOWN, in_words};
use crate::cli::dead_letters::text::printable;
use crate::cli::out;
use crate::consume::watch::{Polled, WatchError, Watched, Watcher};

/// Longest wait for records, and so for a signal to be seen.
const WAIT: Duration = Duration::from_millis(100);
/// Bytes that are written at once.
const BUFFER: usize = 1 << 16;
/// Bytes of a buffer that is kept: a huge message must not hold its memory for ever.
const KEPT: usize = 1 << 23;
/// Time between two commits.
const COMMIT_EVERY: Duration = Duration::from_secs(5);
/// Values that are no numbers and are told one by one; the others are only counted.
const TOLD: u64 = 5;
/// Longest wait for the log to let go at the end.
const CLOSING: Duration = Duration::from_secs(5);

/// How a watching ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Done,
    Interrupted,
}

/// What is counted for the summary.
#[derive(Debug, Default)]
struct Counts {
    records: u64,
    bytes: u64,
    words: u64,
    with_words: u64,
    no_numbers: u64,
}

/// What has to be found out about each record.
#[derive(Clone, Copy)]
struct Needs {
    fields: bool,
    words: bool,
    rate: bool,
}

/// The state of one watching.
pub(super) struct Session {
    args: Args,
    needs: Needs,
    printer: Printer,
    alerts: Vec<Alert>,
    env: Arc<Env>,
    mean: Option<RollingMean>,
    rate: Rate,
    actor: Option<Actor>,
    counts: Counts,
    /// Alerts that the record at hand has met.
    met: Vec<String>,
    last_fields: Option<Map<String, Json>>,
    start: Instant,
    committed: Instant,
}

impl Session {
    pub(super) fn new(args: Args, actor: Option<Actor>) -> Self {
        let uses = |name: &str| args.alerts.iter().any(|alert| alert.uses(name));
        let fields = args.field.is_some() || args.alerts.iter().any(super::Expression::uses_fields);
        let needs = Needs { fields, words: args.words || uses("words"), rate: uses("rate") };
        let alert = |expression: &super::Expression| {
            let default = if expression.uses("rate") { RATE_COOLDOWN } else { Duration::ZERO };
            let cooldown = args.cooldown.unwrap_or(default).as_millis();
            Alert::new(expression.clone(), i64::try_from(cooldown).unwrap_or(i64::MAX))
        };
        Self {
            needs,
            printer: Printer::new(args.format),
            alerts: args.alerts.iter().map(alert).collect(),
            env: Arc::new(Env::stdlib()),
            mean: args.rolling_mean.map(|size| RollingMean::new(size.get())),
            rate: Rate::default(),
            actor,
            counts: Counts::default(),
            met: Vec::new(),
            last_fields: None,
            start: Instant::now(),
            committed: Instant::now(),
            args,
        }
    }

    /// Watches until the end, an error or the signal; returns the summary, and who is still to act.
    pub(super) fn run(
        mut self,
        mut watcher: Box<dyn Watcher>,
        stop: &CancellationToken,
    ) -> (Vec<String>, Option<Actor>, anyhow::Result<End>) {
        let ended = self.watch(&mut *watcher, stop);
        let ended = ended.and_then(|end| {
            watcher.commit(true).map_err(in_words)?;
            Ok(end)
        });
        // A client waits in its drop for brokers that may be away.
        let (closed, closing) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            drop(watcher);
            let _ = closed.send(());
        });
        let _ = closing.recv_timeout(CLOSING);
        let quiet = matches!(&ended, Err(error) if error.is::<out::ClosedPipe>());
        let summary = if quiet { Vec::new() } else { self.summary() };
        (summary, self.actor, ended)
    }

    fn watch(&mut self, watcher: &mut dyn Watcher, stop: &CancellationToken) -> anyhow::Result<End> {
        let env = Arc::clone(&self.env);
        let root = Context::with_env(env);
        loop {
            if self.is_done() {
                self.write()?;
                return Ok(End::Done);
            }
            if stop.is_cancelled() {
                self.write()?;
                return Ok(End::Interrupted);
            }
            // What is there is read first, and written before anything is waited for.
            let full = self.printer.buffer.len() >= BUFFER;
            let mut polled = if full { Ok(Polled::Nothing) } else { self.poll(watcher, Duration::ZERO, &root) };
            if full || !matches!(polled, Ok(Polled::Records)) || std::io::stdout().is_terminal() {
                self.write()?;
                self.commit(watcher)?;
            }
            if !full && matches!(polled, Ok(Polled::Nothing)) {
                polled = self.poll(watcher, WAIT, &root);
            }
            match polled {
                Ok(Polled::Ended) => {
                    self.write()?;
                    return Ok(End::Done);
                }
                Ok(_) => {}
                Err(error) => {
                    self.write()?;
                    return Err(in_words(error));
                }
            }
        }
    }

    fn is_done(&self) -> bool {
        self.args.limit.is_some_and(|limit| self.counts.records >= limit)
    }

    fn poll(
        &mut self,
        watcher: &mut dyn Watcher,
        wait: Duration,
        root: &Context<'_, '_>,
    ) -> Result<Polled, WatchError> {
        watcher.poll(wait, &mut |record| {
            self.take(record, root);
            let full = self.printer.buffer.len() >= BUFFER;
            if self.is_done() || full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    }

    fn write(&mut self) -> anyhow::Result<()> {
        if !self.printer.buffer.is_empty() {
            out::write(&self.printer.buffer)?;
            self.printer.buffer.clear();
            self.printer.buffer.shrink_to(KEPT);
        }
        Ok(())
    }

    /// Commits what is written, now and then.
    fn commit(&mut self, watcher: &mut dyn Watcher) -> anyhow::Result<()> {
        if self.args.group.is_some() && self.committed.elapsed() >= COMMIT_EVERY {
            self.committed = Instant::now();
            watcher.commit(false).map_err(in_words)?;
        }
        Ok(())
    }

    fn take(&mut self, record: &Watched<'_>, root: &Context<'_, '_>) {
        let (schema, body) = schema_and_body(record.payload);
        self.counts.records += 1;
        self.counts.bytes += (record.key.map_or(0, <[u8]>::len) + record.payload.map_or(0, <[u8]>::len)) as u64;
        let mut shown = Shown { record, schema, body, words: None, mean: None, alerts: &[] };
        let figures = self.needs.words || self.mean.is_some() || !self.alerts.is_empty();
        if !figures {
            if !self.args.quiet {
                self.printer.record(&shown);
            }
            return;
        }
        let text = body.and_then(|body| std::str::from_utf8(body).ok());
        let fields = text.filter(|_| self.needs.fields).and_then(fields_of);
        let value = match (&self.args.field, &fields) {
            (None, _) => text.map(Cow::Borrowed),
            (Some(name), Some(fields)) => fields.get(name).and_then(text_of),
            (Some(_), None) => None,
        };
        let words = value.as_deref().filter(|_| self.needs.words).map(words);
        let number = value.as_deref().and_then(Number::of);
        let mean = self.push_mean(number, record, body);
        shown.mean = mean.map_or_else(|| value.as_deref().map(Mean::NotYet), |mean| Some(Mean::Of(mean)));
        shown.mean = shown.mean.filter(|_| self.mean.is_some() && number.is_some());
        if self.args.words {
            shown.words = words;
            self.counts.words += words.unwrap_or(0);
            self.counts.with_words += u64::from(words.is_some());
        }
        let facts = Facts {
            fields: fields.as_ref(),
            number,
            text: value.as_deref(),
            words,
            rate: record.timestamp_ms.filter(|_| self.needs.rate).and_then(|at_ms| self.rate.push(at_ms)),
            mean,
            key: record.key.and_then(|key| std::str::from_utf8(key).ok()),
            topic: record.topic,
            partition: record.partition,
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
        };
        self.ask_alerts(root, &facts);
        self.print(shown);
        if fields.is_some() {
            self.last_fields = fields;
        }
    }

    /// The mean with this record's value, once there are enough. What is no number is told, and leaves the mean alone.
    fn push_mean(&mut self, number: Option<Number>, record: &Watched<'_>, body: Option<&[u8]>) -> Option<f64> {
        let mean = self.mean.as_mut()?;
        if let Some(number) = number {
            return mean.push(number.as_f64());
        }
        self.counts.no_numbers += 1;
        if self.counts.no_numbers <= TOLD {
            let Watched { topic, partition, offset, .. } = *record;
            let field = self.args.field.as_ref().map_or_else(String::new, |name| format!(" in field {name}"));
            let shown = body.map_or_else(|| "a tombstone".to_owned(), |body| printable(body, 80));
            out::tell(&format!(
                "no number{field}: {} [{partition}] @{offset}: {shown}",
                printable(topic.as_bytes(), 99)
            ));
        }
        None
    }

    fn ask_alerts(&mut self, root: &Context<'_, '_>, facts: &Facts<'_>) {
        self.met.clear();
        for alert in &mut self.alerts {
            if alert.rings(root, facts) {
                self.met.push(alert.expression.text().to_owned());
            }
            if let Some(doubt) = alert.doubt(facts.fields, false) {
                out::tell(&doubt);
            }
        }
    }

    fn print(&mut self, shown: Shown<'_>) {
        let met = std::mem::take(&mut self.met);
        let shown = Shown { alerts: &met, ..shown };
        // Where only the figures are asked for, a value that has none is not among them.
        let no_figure = self.mean.is_some() && shown.mean.is_none() && self.args.format == Format::Value;
        if !self.args.quiet && !no_figure {
            self.printer.record(&shown);
        }
        for alert in &met {
            if self.args.format == Format::Text {
                self.printer.alert(alert, &shown);
            } else {
                let Watched { topic, partition, offset, .. } = *shown.record;
                let value = printable(shown.body.unwrap_or_default(), 200);
                let (name, topic) = ("ALERT".red().bold().to_string(), printable(topic.as_bytes(), 99));
                out::tell(&format!("{name} {alert}  {topic} [{partition}] @{offset}  {value}"));
            }
            if let Some(actor) = &self.actor {
                actor.take(alerted(alert, &shown));
            }
        }
        self.met = met;
    }

    fn summary(&mut self) -> Vec<String> {
        let (Counts { records, bytes, .. }, seconds) = (&self.counts, self.start.elapsed().as_secs_f64());
        let per_second = HumanCount((*records as f64 / seconds.max(0.001)) as u64);
        let mut lines = vec![format!(
            "{} record{}, {} in {seconds:.1} s ({per_second}/s)",
            HumanCount(*records),
            plural(*records),
            HumanBytes(*bytes)
        )];
        if self.args.words {
            let (words, messages) = (HumanCount(self.counts.words), HumanCount(self.counts.with_words));
            lines.push(format!("{words} words in {messages} messages of text"));
        }
        if self.counts.no_numbers > 0 {
            let count = HumanCount(self.counts.no_numbers);
            lines.push(format!("{count} values were no numbers; the mean is that of the others"));
        }
        for alert in &mut self.alerts {
            lines.extend(alert.doubt(self.last_fields.as_ref(), true));
            let (met, within) = (HumanCount(alert.met), HumanCount(alert.met - alert.told));
            let cooled =
                if alert.met > alert.told { format!(", {within} of them within the cooldown") } else { String::new() };
            let times = if alert.met == 1 { "time" } else { "times" };
            lines.push(format!("{met} {times} {}{cooled}", alert.expression.text()));
        }
        lines
    }
}

fn plural(count: u64) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// The fields of a message that is a JSON object.
fn fields_of(text: &str) -> Option<Map<String, Json>> {
    text.trim_start().starts_with('{').then(|| serde_json::from_str(text).ok()).flatten()
}

/// A field as text: a string as it is, anything else as JSON has it.
fn text_of(field: &Json) -> Option<Cow<'_, str>> {
    match field {
        Json::Null => None,
        Json::String(text) => Some(Cow::Borrowed(text)),
        other => Some(Cow::Owned(other.to_string())),
    }
}

fn alerted(alert: &str, shown: &Shown<'_>) -> Alerted {
    let Watched { topic, partition, offset, key, .. } = *shown.record;
    let mut json_of = Vec::with_capacity(256);
    json(&mut json_of, &Shown { alerts: &[], ..*shown });
    json_of.pop();
    json_of.extend_from_slice(b",\"alert\":");
    let _ = serde_json::to_writer(&mut json_of, alert);
    json_of.push(b'}');
    let key = key.map_or_else(String::new, |key| String::from_utf8_lossy(key).replace('\0', "\u{fffd}"));
    let variables = vec![
        ("FRESHET_ALERT", alert.to_owned()),
        ("FRESHET_TOPIC", topic.to_owned()),
        ("FRESHET_PARTITION", partition.to_string()),
        ("FRESHET_OFFSET", offset.to_string()),
        ("FRESHET_KEY", key),
    ];
    Alerted { alert: alert.to_owned(), json: json_of, variables }
}
