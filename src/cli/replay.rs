//! `freshet replay`: sends a data set to the log, as if its events happened now.
//!
//! The sending itself is [`crate::capture::replay`]; here are the flags, the progress bar and the account at the end.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use indicatif::{HumanCount, ProgressBar};

use super::{data, out};
use crate::capture::pace::{Pause, Rate, Speed};
use crate::capture::producer::{self, Deliveries, Producer};
use crate::capture::{self, CaptureError, Dataset, Interaction, Pace, ReplayError};
use crate::config::Config;
use crate::shutdown::{self, Interrupted};
use crate::store;

/// Longest wait for delivery reports after an interrupt.
const INTERRUPTED_FLUSH: Duration = Duration::from_secs(10);
/// Skipped rows that are told one by one; the others are only counted.
const SKIPPED_TOLD: u64 = 10;

/// Sends a data set to the log, as fast as the log takes it or at a pace.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  freshet replay ml-100k\n  freshet replay ml-100k --rate 500/s --limit 10000\n  \
                        freshet replay ratings.csv --topic clicks --pause 200ms..2s")]
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
    /// Seed of the random pauses.
    #[arg(long, value_name = "N", default_value_t = 42, requires = "pause")]
    seed: u64,
    /// Times as fast as the data's own timestamps (1: real time).
    #[arg(long, value_name = "X", group = "pace")]
    speed: Option<Speed>,
    /// Most events to send.
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
}

/// What has happened so far; outlives a pass that is interrupted.
struct Account {
    sent: AtomicU64,
    skipped: AtomicU64,
    total: Option<u64>,
    bar: ProgressBar,
    start: Instant,
}

/// Runs `freshet replay`.
///
/// # Errors
/// If the data cannot be read or the log not be written, if any delivery failed, and [`Interrupted`] after a signal.
pub(super) async fn run(args: Args, config: &Config) -> anyhow::Result<()> {
    let mut config = config.clone();
    if let Some(topic) = &args.topic {
        config.broker.topic.clone_from(topic);
    }
    let dataset = open(&args).await?;
    let producer = producer::open(&config).await?;
    if !args.no_catalog {
        store_catalog(&config, &dataset).await?;
    }
    let account = Account::new(&args, &dataset);
    let stop = shutdown::on_signals();
    let sent = tokio::select! {
        sent = send_passes(&args, dataset, &*producer, &account) => Some(sent),
        () = stop.cancelled() => None,
    };
    account.bar.finish_and_clear();
    let counts = match &sent {
        Some(_) => producer.deliveries(),
        None => interrupted(&*producer).await,
    };
    let line = account.line(&counts);
    match sent {
        None => Err(Interrupted { done: account.interrupted_line(&counts) }.into()),
        Some(Err(error)) => Err(error.context(format!("stopped early: {line}"))),
        Some(Ok(())) => {
            out::print(&format!("{line} to {} on {}\n", config.broker.topic, producer::location(&config)))?;
            check(&counts)
        }
    }
}

async fn open(args: &Args) -> anyhow::Result<Dataset> {
    let (spec, from) = (args.dataset.clone(), args.from.clone());
    let opening = tokio::task::spawn_blocking(move || {
        let mut progress = data::Progress::default();
        capture::ensure(&spec, from.as_deref(), &mut |step| progress.show(&step))
    });
    Ok(opening.await.context("opening the data set broke off")??.described())
}

/// Titles and users are stored before the first event, so that the first answer has titles.
async fn store_catalog(config: &Config, dataset: &Dataset) -> anyhow::Result<()> {
    if !dataset.items.is_empty() || !dataset.users.is_empty() {
        store::open(&config.store).await?.put_catalog(&dataset.items, &dataset.users).await?;
    }
    Ok(())
}

async fn send_passes(args: &Args, first: Dataset, producer: &dyn Producer, account: &Account) -> anyhow::Result<()> {
    let mut dataset = first;
    loop {
        let before = account.sent.load(Ordering::Relaxed);
        let left = args.limit.map_or(u64::MAX, |limit| limit - before);
        let rows = account.rows(dataset.rows, args.keep_going).take(usize::try_from(left).unwrap_or(usize::MAX));
        capture::replay(rows, producer, args.pace(), |_| account.one_sent()).await.map_err(plain)?;
        let sent = account.sent.load(Ordering::Relaxed);
        if !args.again || args.limit.is_some_and(|limit| sent >= limit) {
            return Ok(());
        }
        if sent == before {
            bail!("{:?} has no row to send again; --loop needs a data set that can be read twice", args.dataset);
        }
        dataset = open(args).await?;
    }
}

/// The stage's own error, so that the exit code is known by its type.
fn plain(error: ReplayError<CaptureError>) -> anyhow::Error {
    match error {
        ReplayError::Row(error) => anyhow::Error::new(error).context("--keep-going skips rows that cannot be read"),
        ReplayError::Pace(error) => error.into(),
        ReplayError::Produce(error) => error.into(),
    }
}

async fn interrupted(producer: &dyn Producer) -> Deliveries {
    match tokio::time::timeout(INTERRUPTED_FLUSH, producer.flush()).await {
        Ok(Ok(counts)) => counts,
        // What has no report by then is told as such.
        Ok(Err(_)) | Err(_) => producer.deliveries(),
    }
}

fn check(counts: &Deliveries) -> anyhow::Result<()> {
    if let Some(reason) = &counts.first_error {
        bail!("{} events were not delivered; the first of them: {reason}", HumanCount(counts.failed));
    }
    Ok(())
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
}

impl Account {
    fn new(args: &Args, dataset: &Dataset) -> Self {
        let rows = dataset.n_rows.filter(|_| !args.again);
        let total = match (rows, args.limit) {
            (Some(rows), Some(limit)) => Some(rows.min(limit)),
            (rows, limit) => rows.or(limit.filter(|_| args.again)),
        };
        Self {
            sent: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            total,
            bar: out::progress(total, dataset.name.clone()),
            start: Instant::now(),
        }
    }

    fn one_sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.bar.inc(1);
    }

    /// The rows; with `keep_going` without those that cannot be read.
    fn rows<'a>(
        &'a self,
        rows: impl Iterator<Item = Result<Interaction, CaptureError>> + Send + 'a,
        keep_going: bool,
    ) -> impl Iterator<Item = Result<Interaction, CaptureError>> + Send + 'a {
        rows.filter(move |row| match row {
            Err(error) if keep_going => {
                if self.skipped.fetch_add(1, Ordering::Relaxed) < SKIPPED_TOLD {
                    tracing::warn!("skipped: {error}");
                }
                false
            }
            _ => true,
        })
    }

    /// `100,000 delivered, 0 failed in 1.9 s (52,000/s)`.
    fn line(&self, counts: &Deliveries) -> String {
        let seconds = self.start.elapsed().as_secs_f64();
        let rate = HumanCount((counts.delivered as f64 / seconds.max(0.001)).round() as u64);
        let skipped = match self.skipped.load(Ordering::Relaxed) {
            0 => String::new(),
            rows => format!(", {} rows skipped", HumanCount(rows)),
        };
        let (delivered, failed) = (HumanCount(counts.delivered), HumanCount(counts.failed));
        format!("{delivered} delivered, {failed} failed{skipped} in {seconds:.1} s ({rate}/s)")
    }

    /// `1,200 of 100,000 events sent; 1,200 delivered, 0 failed, 0 without a report`.
    fn interrupted_line(&self, counts: &Deliveries) -> String {
        let sent = self.sent.load(Ordering::Relaxed);
        let of_all = self.total.map_or_else(String::new, |total| format!(" of {}", HumanCount(total)));
        let unknown = sent.saturating_sub(counts.delivered + counts.failed);
        let [sent, delivered, failed, unknown] = [sent, counts.delivered, counts.failed, unknown].map(HumanCount);
        format!("{sent}{of_all} events sent; {delivered} delivered, {failed} failed, {unknown} without a report")
    }
}
