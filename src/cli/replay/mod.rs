//! `freshet replay`: sends a data set to the log, as if its events happened now.
//!
//! The sending itself is [`crate::capture::replay`]; here are the flags, the progress bar and the account at the end.

mod account;
mod passes;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::HumanCount;

use super::{data, out};
use crate::capture::inject::{Ids, Injection, Injector};
use crate::capture::order::{Order, Required};
use crate::capture::pace::{Pause, Rate, Speed};
use crate::capture::producer::{self, Deliveries, Producer};
use crate::capture::replay::{Changes, replay_noted};
use crate::capture::resume::{Journal, Noted, Resume};
use crate::capture::shift::{AtTime, Shift};
use crate::capture::{self, CaptureError, Dataset, Pace, ReplayError};
use crate::config::Config;
use crate::shutdown::{self, Interrupted};
use crate::{store, telemetry};

use account::{Account, details, total};
use passes::Passes;

/// Longest wait for delivery reports after an interrupt.
const INTERRUPTED_FLUSH: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
Examples:
  freshet replay ml-100k
  freshet replay ml-100k --rate 500/s --limit 10000
  freshet replay ratings.csv --topic clicks --pause 200ms..2s
  freshet replay ml-100k --at-time now --speed 1000
  freshet replay ml-100k --resume-file ml-100k.resume
  freshet replay ml-100k --inject duplicates=1% --inject late=2% --inject garbage=0.5% --inject drift=20%";

const MORE: &str = "\
Injection, to rehearse failures. The same --seed injects the same into the same rows; the account tells how much:
- duplicates: that share of the events is sent again within 50 rows, under the same id (an event without an id gets \
one); the engine files the second one under duplicate_id.
- late: that share of the events is sent up to 1,000 rows behind its place.
- garbage: beside that share of the rows go bytes that are no event: JSON cut short, a wrong type, invalid UTF-8, an \
unknown version, an empty payload; the engine files them as dead letters.
- drift: from the middle of the data set on, or from row R with drift=RATE@R, that share of the users rates mirrored \
around the middle of the scale; where events have no rating, they turn to the item of the row before.

Resuming: the file notes which records the log has acknowledged. Start the same command again after Ctrl-C, an error or \
an outage, and exactly what is missing is sent: nothing twice, nothing left out. Nothing is left out after kill -9 or a \
power failure either, but what was delivered since the last note (at most 1 s and 50,000 records) and what was in flight \
(at most 16,384) is sent again. Events without an id get one, so that the engine learns those once (gather.id_window). \
The pace may be another one each time. When all is delivered the file says so, and the same command does nothing.";

/// Sends a data set to the log, as fast as the log takes it or at a pace.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES, after_long_help = format!("{MORE}\n\n{EXAMPLES}"))]
pub(super) struct Args {
    /// ml-100k, lastfm, sample, a .csv or .ndjson file, a folder with a known set, or - for NDJSON on stdin.
    dataset: String,
    /// Folder to look for it in, and only there.
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// Events a second.
    #[arg(long, value_name = "N/s", group = "pace")]
    rate: Option<Rate>,
    /// Random pause before each event, as if live.
    #[arg(long, value_name = "MIN..MAX", group = "pace")]
    pause: Option<Pause>,
    /// Seed of the random pauses, and of what is injected.
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
    /// Times as fast as the data's own timestamps (1: real time).
    #[arg(long, value_name = "X", group = "pace")]
    speed: Option<Speed>,
    /// Moves all timestamps alike, so that the first event is at that time: now, 2026-11-30, 2026-11-30T12:00:00Z.
    #[arg(long, value_name = "now|TIME")]
    at_time: Option<AtTime>,
    /// Most events to send, without what is injected.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Begin again at the end, until --limit or Ctrl-C.
    #[arg(long = "loop")]
    again: bool,
    /// Topic to send to, instead of broker.topic.
    #[arg(long)]
    topic: Option<String>,
    /// Do not store the data set's titles and users.
    #[arg(long)]
    no_catalog: bool,
    /// Skip rows that cannot be read, and count them, instead of stopping at the first.
    #[arg(long)]
    keep_going: bool,
    /// Stop at the first row whose timestamp goes back against the row before, or against the row before of its user.
    #[arg(long, value_name = "OF", num_args = 0..=1, require_equals = true, default_missing_value = "rows")]
    require_order: Option<RequireOrder>,
    /// Injects duplicates, late, garbage or drift at a rate from 0 to 1 (or 1%); may be repeated. See --help.
    #[arg(long, value_name = "KIND=RATE")]
    inject: Vec<Injection>,
    /// Notes in this file what was delivered, and goes on from there at the next start. See --help.
    #[arg(long, value_name = "FILE")]
    resume_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum RequireOrder {
    Rows,
    Users,
}

/// Runs `freshet replay`.
///
/// # Errors
/// If the data cannot be read or the log not be written, if any delivery failed, and [`Interrupted`] after a signal.
pub(super) async fn run(args: Args, config: &Config) -> anyhow::Result<()> {
    let mut config = config.clone();
    config.broker.topic = args.topic.clone().unwrap_or(config.broker.topic);
    let resume = args.resume(&config)?;
    if let Some(finished) = resume.as_ref().filter(|resume| resume.finished()) {
        return args.say_finished(finished);
    }
    let dataset = open(&args).await?;
    let mut changes = args.changes(&config, resume.as_ref(), &dataset)?;
    let producer = producer::open(&config).await?;
    store_catalog(&args, &config, &dataset).await?;
    let account = Account::new(&args, &dataset, resume.as_ref().map_or(0, Resume::delivered));
    let mut order = Order::new(args.require_order.map(RequireOrder::required));
    let journal = resume.as_ref().map(|resume| (resume, resume.journal()));
    let stop = shutdown::on_signals();
    let noting = journal.as_ref().map(|(resume, journal)| (*resume, journal));
    let passes = Passes { args: &args, rows: dataset.rows, order: &mut order, account: &account, before: 0 };
    let sent = tokio::select! {
        sent = send(passes, &mut changes, &*producer, noting) => Some(sent),
        () = stop.cancelled() => None,
    };
    account.bar.finish_and_clear();
    let counts = match &sent {
        Some(_) => producer.deliveries(),
        None => interrupted(&*producer).await,
    };
    let noted = note(journal, matches!(sent, Some(Ok(())))).await?;
    // Dropping a client waits for its threads, and there is nothing left that it could do.
    tokio::task::spawn_blocking(move || drop(producer));
    let noted = noted.map_or_else(String::new, |noted| args.told_noted(&noted));
    let line = account.line(&counts);
    match sent {
        None => Err(Interrupted { done: format!("{}{noted}", account.interrupted_line(&counts)) }.into()),
        Some(Err(error)) => Err(error.context(format!("stopped early: {line}{noted}"))),
        Some(Ok(())) => {
            let (topic, location) = (&config.broker.topic, producer::location(&config));
            out::print(&format!("{line} to {topic} on {location}\n{}", details(&changes, &order)))?;
            check(&counts, &noted)
        }
    }
}

fn read(spec: &str, from: Option<&Path>) -> Result<Dataset, CaptureError> {
    let mut progress = data::Progress::default();
    Ok(capture::ensure(spec, from, &mut |step| progress.show(&step))?.described())
}

async fn open(args: &Args) -> anyhow::Result<Dataset> {
    let (spec, from) = (args.dataset.clone(), args.from.clone());
    let opening = tokio::task::spawn_blocking(move || read(&spec, from.as_deref()));
    Ok(opening.await.context("opening the data set broke off")??)
}

/// Titles and users are stored before the first event, so that the first answer has titles.
async fn store_catalog(args: &Args, config: &Config, dataset: &Dataset) -> anyhow::Result<()> {
    if !args.no_catalog && (!dataset.items.is_empty() || !dataset.users.is_empty()) {
        for shard in 0..config.engine.shards {
            let store = store::open(&config.of_shard(shard).store).await?;
            store.put_catalog(&dataset.items, &dataset.users).await?;
        }
    }
    Ok(())
}

async fn send(
    passes: Passes<'_>,
    changes: &mut Changes,
    producer: &dyn Producer,
    noting: Option<(&Resume, &Journal)>,
) -> anyhow::Result<()> {
    let (pace, account, limit) = (passes.args.pace(), passes.account, passes.args.limit);
    let rows = passes.take(limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX)));
    let records = changes.records(rows);
    let progress = |_| account.one_sent();
    let sent = match noting {
        None => capture::replay(records, producer, pace, progress).await,
        Some((resume, journal)) => replay_noted(resume.left(records), producer, journal, pace, progress).await,
    };
    sent.map(drop).map_err(plain)
}

/// The stage's own error, so that the exit code is known by its type.
fn plain(error: ReplayError<anyhow::Error>) -> anyhow::Error {
    match error {
        ReplayError::Row(error) => error,
        ReplayError::Pace(error) => error.into(),
        ReplayError::Produce(error) => error.into(),
        error @ ReplayError::Journal => error.into(),
    }
}

async fn interrupted(producer: &dyn Producer) -> Deliveries {
    match tokio::time::timeout(INTERRUPTED_FLUSH, producer.flush()).await {
        Ok(Ok(counts)) => counts,
        // What has no report by then is told as such.
        Ok(Err(_)) | Err(_) => producer.deliveries(),
    }
}

/// Writes the resume file for the last time.
async fn note(journal: Option<(&Resume, Journal)>, whole: bool) -> anyhow::Result<Option<Noted>> {
    let Some((_, journal)) = journal else { return Ok(None) };
    Ok(Some(journal.close(whole).await?))
}

fn check(counts: &Deliveries, noted: &str) -> anyhow::Result<()> {
    if let Some(reason) = &counts.first_error {
        bail!("{} events were not delivered; the first of them: {reason}{noted}", HumanCount(counts.failed));
    }
    Ok(())
}

impl RequireOrder {
    fn required(self) -> Required {
        match self {
            Self::Rows => Required::Rows,
            Self::Users => Required::Users,
        }
    }
}

impl Args {
    fn pace(&self) -> Pace {
        match (self.rate, self.pause, self.speed) {
            (Some(rate), ..) => Pace::Rate(rate),
            (_, Some(between), _) => Pace::Pause { between, seed: self.seed },
            (.., Some(speed)) => Pace::Speed(speed),
            (None, None, None) => Pace::Full,
        }
    }

    /// What the first timestamp is to become, as of now.
    fn at_ms(&self) -> Option<i64> {
        self.at_time.map(|at| match at {
            AtTime::Now => telemetry::now_ms(),
            AtTime::At(ms) => ms,
        })
    }

    fn changes(&self, config: &Config, resume: Option<&Resume>, dataset: &Dataset) -> anyhow::Result<Changes> {
        let ids = Ids { run: resume.map_or_else(run_name, |resume| resume.run().to_owned()), all: resume.is_some() };
        let at_ms = resume.map_or_else(|| self.at_ms(), Resume::at_ms);
        let scale = (config.decode.min_rating, config.decode.max_rating);
        let injector = Injector::new(&self.inject, self.seed, ids, scale, total(self, dataset))?;
        Ok(Changes { shift: at_ms.map(Shift::to), injector })
    }

    fn resume(&self, config: &Config) -> anyhow::Result<Option<Resume>> {
        let Some(path) = &self.resume_file else { return Ok(None) };
        let mut replay = BTreeMap::from([
            ("data set".to_owned(), self.dataset.clone()),
            ("topic".to_owned(), config.broker.topic.clone()),
            ("log".to_owned(), producer::location(config)),
        ]);
        if let Some(limit) = self.limit {
            replay.insert("--limit".to_owned(), limit.to_string());
        }
        if self.again {
            replay.insert("--loop".to_owned(), "on".to_owned());
        }
        if let Some(at) = self.at_time {
            let at = if let AtTime::At(ms) = at { out::time(ms) } else { "now".to_owned() };
            replay.insert("--at-time".to_owned(), at);
        }
        if !self.inject.is_empty() {
            let mut inject: Vec<_> = self.inject.iter().map(ToString::to_string).collect();
            inject.sort();
            replay.insert("--inject".to_owned(), inject.join(" "));
            replay.insert("--seed".to_owned(), self.seed.to_string());
        }
        Ok(Some(Resume::open(path, replay, run_name(), self.at_ms())?))
    }

    fn say_finished(&self, resume: &Resume) -> anyhow::Result<()> {
        let (delivered, file) = (HumanCount(resume.delivered()), self.told_file());
        out::print(&format!(
            "nothing to do: all {delivered} events were delivered before; remove {file} to send them again\n"
        ))
    }

    /// What is left to do, behind the account of a replay that is noted.
    fn told_noted(&self, noted: &Noted) -> String {
        let (delivered, file) = (HumanCount(noted.delivered), self.told_file());
        let again = match noted.unknown {
            0 => String::new(),
            unknown => format!(" ({} without a report are sent again, and may be there twice)", HumanCount(unknown)),
        };
        format!("; {file} notes {delivered} delivered in all: the same command sends what is missing{again}")
    }

    fn told_file(&self) -> String {
        self.resume_file.as_deref().unwrap_or(Path::new("the resume file")).display().to_string()
    }
}

/// What the business ids of a new replay begin with.
fn run_name() -> String {
    format!("replay-{:08x}", RandomState::new().build_hasher().finish() as u32)
}
