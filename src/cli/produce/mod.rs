//! `freshet produce`: messages from a person, a pipe or files to a topic, with a report for each.
//!
//! Three run at once: a thread that reads, so that a stop never waits for a line; the sending; and the reporting, which is
//! told of every message in the order of the lines.

mod account;
mod prompt;
mod report;
mod source;
mod wrap;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::out;
use crate::capture::producer::{self, Producer};
use crate::capture::{LogError, kafka_link};
use crate::config::{BrokerKind, Config};
use crate::decode::Decoder;
use crate::shutdown::{self, Interrupted};
use crate::telemetry::trace::TraceParent;

use account::Account;
use report::{Outcome, Report, Reporter, Signs};
use source::{Input, Source};
use wrap::Wrap;

/// Messages that wait to be sent.
const READ_AHEAD: usize = 64;
/// Messages that wait for their delivery report.
const IN_FLIGHT: usize = 16_384;
/// Bytes that wait for their delivery report, in KiB; one larger message goes alone.
const IN_FLIGHT_KIB: usize = 64 << 10;
/// Longest wait for delivery reports after an interrupt, or when the log cannot be reached.
const LAST_FLUSH: Duration = Duration::from_secs(10);
/// Longest wait after that for them to be printed.
const LAST_PRINT: Duration = Duration::from_secs(2);

/// The variable that a caller's trace is in.
const TRACE_VARIABLE: &str = "TRACEPARENT";

const EXAMPLES: &str = "\
Examples:
  freshet produce
  freshet produce --message '{\"user\":\"196\",\"item\":\"242\",\"rating\":4}'
  freshet produce --file events.ndjson --quiet
  seq 1 1000 | freshet produce --raw --topic numbers
  freshet produce --topic clicks --key-field session < clicks.ndjson";

/// Sends messages to the log: from standard input, one a line, or with a prompt on a terminal.
///
/// A message is what its topic holds (one event as JSON, or as [topics] has it), checked as the engine checks it and keyed by
/// its user or item; with --raw it is any bytes.
/// A line is sent without its LF or CRLF; an empty one is skipped, also with --raw. What is refused is told with its line
/// and not sent, and the others go on. Each delivery is reported on stdout, in the order of the lines:
/// `delivered to ratings [3] at offset 17`; what is not delivered, and the count at the end, on stderr.
///
/// While the log does not answer it is waited for (with kafka up to message.timeout.ms, 5 minutes); then it ends with exit
/// code 3 and says from which line on nothing was delivered. If any message was refused, the exit code is 1.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// A message; may be repeated. Then standard input is not read.
    #[arg(long, short, value_name = "TEXT")]
    message: Vec<String>,
    /// A file with one message a line, - for standard input; may be repeated.
    #[arg(long, short, value_name = "PATH")]
    file: Vec<PathBuf>,
    /// Topic to send to, instead of broker.topic; it is created where it is missing.
    #[arg(long)]
    topic: Option<String>,
    /// Send any bytes as they are, without a check and without a key.
    #[arg(long)]
    raw: bool,
    /// Take the key from this field of each message, which must be a JSON object.
    #[arg(long, value_name = "NAME", conflicts_with = "key")]
    key_field: Option<String>,
    /// Give each message this key.
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    key: Option<String>,
    /// Stop at the first message that is refused.
    #[arg(long)]
    strict: bool,
    /// No report for each message, only the count at the end, on stdout.
    #[arg(long, short)]
    quiet: bool,
}

/// How the sending came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Nothing is left to be sent.
    Input,
    /// The first refused message, with --strict.
    Strict,
    /// Ctrl-C at the prompt, or a signal.
    Interrupted,
    /// No more reports are wanted, or the log cannot be reached.
    Reports,
}

/// Runs `freshet produce`.
///
/// # Errors
/// If a source cannot be read, the log not be written, or a message was refused or not delivered; [`Interrupted`] after a
/// signal.
pub(super) async fn run(args: Args, config: &Config) -> anyhow::Result<()> {
    let mut config = config.clone();
    if let Some(topic) = &args.topic {
        config.broker.topic.clone_from(topic);
    }
    let sources = args.sources(&config)?;
    let producer = producer::open(&config).await?;
    let stop = shutdown::on_signals();
    let (messages, inputs) = mpsc::channel(READ_AHEAD);
    source::spawn(sources, messages)?;
    let account = Arc::new(Mutex::new(Account::new()));
    let signs = Signs::default();
    let (reports, receiver) = mpsc::channel(IN_FLIGHT);
    let reporter = Reporter::new(config.broker.topic.clone(), args.quiet, Arc::clone(&account), signs.clone());
    let reporting = tokio::spawn(reporter.run(receiver));
    let room = Arc::new(Semaphore::new(IN_FLIGHT_KIB));
    let sending = Sending { wrap: args.wrap(&config), strict: args.strict, room };
    let sent = tokio::select! {
        sent = sending.run(inputs, &reports, &*producer) => sent,
        () = stop.cancelled() => Ok(End::Interrupted),
        () = signs.unreachable.cancelled() => Ok(End::Reports),
    };
    drop(reports);
    let hurried = !matches!(sent, Ok(End::Input | End::Strict));
    if let Err(error) = reported(reporting, hurried, &signs, &stop).await {
        // Nobody hears of it, but what was taken is delivered.
        let _ = tokio::time::timeout(LAST_FLUSH, producer.flush()).await;
        return Err(error);
    }
    // Dropping a client waits for its threads, and there is nothing left that it could do.
    tokio::task::spawn_blocking(move || drop(producer));
    let account = account.lock().clone();
    args.end(sent, stop.is_cancelled(), &account, &config)
}

/// Waits for the last reports; not long after a stop, and not for ever when the log cannot be reached.
async fn reported(
    mut reporting: JoinHandle<anyhow::Result<()>>,
    hurried: bool,
    signs: &Signs,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let hurry = async {
        if !hurried {
            tokio::select! {
                () = signs.unreachable.cancelled() => {}
                () = stop.cancelled() => {}
            }
        }
        tokio::time::sleep(LAST_FLUSH).await;
        signs.hurry.cancel();
        // Whoever reads stdout may have stopped to.
        tokio::time::sleep(LAST_PRINT).await;
    };
    tokio::select! {
        reported = &mut reporting => reported.expect("reporting does not panic"),
        () = hurry => Ok(()),
    }
}

impl Args {
    fn sources(&self, config: &Config) -> anyhow::Result<Vec<Source>> {
        let mut sources = Vec::new();
        if !self.message.is_empty() {
            sources.push(Source::Messages(self.message.clone()));
        }
        for path in &self.file {
            sources.push(Source::open(path)?);
        }
        if sources.is_empty() {
            let terminals = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
            sources.push(if terminals { Source::Prompt(self.greet(config)) } else { Source::Stdin });
        }
        Ok(sources)
    }

    /// Says what is about to happen, and returns the prompt.
    fn greet(&self, config: &Config) -> String {
        let topic = &config.broker.topic;
        let what = if self.raw {
            "a message a line"
        } else {
            "one event a line, as {\"user\":\"196\",\"item\":\"242\",\"rating\":4}"
        };
        let location = producer::location(config);
        report::tell(&format!("To {topic} on {location}: {what}. Ctrl-D ends.\n"));
        format!("{topic}> ")
    }

    fn wrap(&self, config: &Config) -> Wrap {
        Wrap {
            raw: self.raw,
            key: self.key.clone().map(String::into_bytes),
            key_field: self.key_field.clone(),
            topic: config.broker.topic.clone(),
            decoder: Decoder::new(config),
            trace: trace_of_caller(),
        }
    }

    /// Tells what has become of all, and makes it the exit code.
    fn end(
        &self,
        sent: anyhow::Result<End>,
        interrupted: bool,
        account: &Account,
        config: &Config,
    ) -> anyhow::Result<()> {
        let end = sent.map_err(|error| error.context(format!("stopped early: {}", account.stopped())))?;
        if let Some(reason) = account.unreachable() {
            return Err(unreachable(config, reason).context(account.stopped()));
        }
        if interrupted || end == End::Interrupted {
            return Err(Interrupted { done: account.stopped() }.into());
        }
        let line = format!("{}\n", account.line());
        if self.quiet {
            out::print(&line)?;
        } else {
            report::tell(&line);
        }
        match (account.problem(), end) {
            (None, _) => Ok(()),
            (Some(problem), End::Strict) => bail!("stopped at the first message that was refused: {problem}"),
            (Some(problem), _) => bail!("{problem}"),
        }
    }
}

/// The trace that whoever has called this program works in, as tools for traces hand it on to a program.
fn trace_of_caller() -> Option<TraceParent> {
    let text = std::env::var(TRACE_VARIABLE).ok().filter(|text| !text.is_empty())?;
    let trace = TraceParent::parse(text.as_bytes());
    if trace.is_none() {
        tracing::warn!(
            "{TRACE_VARIABLE}={text:?} is no W3C traceparent (00-, 32 hexadecimal digits, -, 16 of them, -01); records get none"
        );
    }
    trace
}

fn unreachable(config: &Config, reason: &str) -> anyhow::Error {
    let reason = reason.to_owned();
    match config.broker.kind {
        BrokerKind::Kafka => kafka_link::unreachable(&config.broker, reason),
        BrokerKind::Embedded => LogError::Embedded { action: "write to", path: producer::location(config), reason },
    }
    .into()
}

/// Sends what is read.
struct Sending {
    wrap: Wrap,
    strict: bool,
    room: Arc<Semaphore>,
}

impl Sending {
    async fn run(
        &self,
        mut inputs: mpsc::Receiver<Input>,
        reports: &mpsc::Sender<Report>,
        producer: &dyn Producer,
    ) -> anyhow::Result<End> {
        while let Some(input) = inputs.recv().await {
            let message = match input {
                Input::Message(message) => message,
                Input::Failed(error) => return Err(error),
                Input::Interrupted => return Ok(End::Interrupted),
            };
            let (place, told) = (message.place, message.told);
            let wrapped = message.bytes.and_then(|bytes| self.wrap.record(bytes));
            let refused = wrapped.is_err();
            // First of all the place among those in flight: once a message is sent, nothing may come between.
            let Ok(slot) = reports.reserve().await else { return Ok(End::Reports) };
            let outcome = match wrapped {
                Err(why) => Outcome::Refused(why),
                Ok(record) => {
                    let kib = (record.payload.len() >> 10).clamp(1, IN_FLIGHT_KIB) as u32;
                    let room = Arc::clone(&self.room).acquire_many_owned(kib).await?;
                    let sent_at = Instant::now();
                    Outcome::Sent { pending: producer.post(record).await?, sent_at, _room: room }
                }
            };
            slot.send(Report { place, outcome, told });
            if refused && self.strict {
                return Ok(End::Strict);
            }
        }
        Ok(End::Input)
    }
}
