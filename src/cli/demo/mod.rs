//! `freshet demo`: the whole main job in one process on the embedded log and store, with nothing to install.

mod shown;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::builder::PossibleValuesParser;
use indicatif::{HumanCount, ProgressBar};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::data::Progress;
use super::run::Service;
use super::{out, telemetry};
use crate::capture::control::Told;
use crate::capture::embedded_log;
use crate::capture::pace::{Hand, Rate};
use crate::capture::producer::Deliveries;
use crate::capture::replay::Outgoing;
use crate::capture::{self, CaptureError, Control, Dataset, Interaction, Item, Pace, User, producer, sample};
use crate::config::{BrokerKind, Config, StoreKind};
use crate::consume::watch::{self, Polled, Start, Wish};
use crate::publish::View;
use crate::shutdown::Interrupted;
use crate::{engine, shutdown, store};

use shown::{favourites, print_recommendations, print_table, shown_user};

/// Rows of the generated sample.
const SAMPLE_ROWS: usize = 100_000;

/// Seed of the generated sample.
const SAMPLE_SEED: u64 = 42;

const ML_100K: &str = "ml-100k";
const LASTFM: &str = "lastfm";

/// Pause between two looks at how far the engine is.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Replays MovieLens 100K, or another data set, through the whole path and shows what was learned.
///
/// Gets the data set, replays it in time order through the embedded log, learns and persists each event and serves
/// while it learns. Running it again goes on where it stopped.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  freshet demo\n  freshet demo lastfm\n  freshet demo --exit\n  freshet demo --fresh --rate 300/s\n  freshet demo --fresh --set gather.size=1"
)]
pub(super) struct Args {
    /// ml-100k, lastfm or sample. LastFM is learned under the preset lastfm unless --preset names another.
    #[arg(default_value = ML_100K, value_parser = PossibleValuesParser::new([ML_100K, LASTFM, "sample"]))]
    dataset: String,
    /// Ends after the table instead of serving on.
    #[arg(long)]
    exit: bool,
    /// Deletes the demo's own log and store first.
    #[arg(long)]
    fresh: bool,
    /// Folder with the original files; looked in and only there.
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// Listens for other machines without asking for keys; short for --set serve.insecure=true.
    #[arg(long)]
    insecure: bool,
    /// Port that HTTP is served on; short for --set serve.port=PORT.
    #[arg(long)]
    port: Option<u16>,
    /// Rows to replay a second, as 500/s; as fast as they are learned where it is not given. The dashboard changes it.
    #[arg(long, value_name = "N/s")]
    rate: Option<Rate>,
}

impl Args {
    /// The preset that the data set asks for.
    pub(super) fn preset(&self) -> Option<&'static str> {
        (self.dataset == LASTFM).then_some(LASTFM)
    }
}

/// Runs `freshet demo`.
///
/// # Errors
/// If the port is taken, the folder cannot be written, or a stage fails.
pub(super) async fn run(args: Args, config: &Config) -> anyhow::Result<()> {
    let mut config = config.clone();
    config.broker.kind = BrokerKind::Embedded;
    config.broker.partitions = 1;
    config.store.kind = StoreKind::Embedded;
    config.serve.port = args.port.unwrap_or(config.serve.port);
    config.serve.insecure |= args.insecure;
    let stop = shutdown::on_signals();
    let dataset = tokio::task::spawn_blocking(move || get(&args.dataset, args.from.as_deref())).await??.described();
    let told = Told { paused: false, rate: args.rate.map(Rate::per_second) };
    let mut demo = Demo { exit: args.exit, told, stop, ..Demo::of(dataset)? };
    // A folder of its own for each data set: --fresh can delete nothing but a demo, and no demo resumes another's log.
    config.store.data_dir.push(format!("demo-{}", demo.name));
    let mut fresh = args.fresh;
    loop {
        if fresh {
            delete(&config.store.data_dir)?;
        }
        match demo.run(&mut config).await? {
            Ended::Over => return Ok(()),
            Ended::ToStartOver => fresh = true,
        }
    }
}

/// A data set, and how it is replayed.
struct Demo {
    name: String,
    rows: Vec<Interaction>,
    items: Vec<Item>,
    users: Vec<User>,
    /// Whether it ends after the table.
    exit: bool,
    /// What the replay begins with.
    told: Told,
    stop: CancellationToken,
}

/// How a demo came to its end.
enum Ended {
    Over,
    ToStartOver,
}

impl Demo {
    fn of(dataset: Dataset) -> anyhow::Result<Self> {
        let Dataset { name, rows, items, users, .. } = dataset;
        let rows = rows.collect::<Result<_, _>>()?;
        Ok(Self { name, rows, items, users, exit: false, told: Told::default(), stop: CancellationToken::new() })
    }

    /// Goes on where the log and the store are, until it is stopped or told to start over.
    async fn run(&mut self, config: &mut Config) -> anyhow::Result<Ended> {
        store::open(&config.store).await?.put_catalog(&self.items, &self.users).await?;
        let before = on_log(config, &self.rows).await?;
        let Some(service) = Service::start(config, None, &self.stop).await? else { return Ok(Ended::Over) };
        // Pages that are open find the demo again after it has started over.
        config.serve.port = service.port;
        let control = Arc::new(Control::new(self.name.clone(), self.rows.len() as u64, self.told));
        service.status.replay.store(Some(Arc::clone(&control)));
        let shown = tokio::select! {
            shown = self.show(&service, &control, before, config) => shown.map(|()| Ended::Over),
            () = control.asked_to_start_over() => Ok(Ended::ToStartOver),
            () = self.stop.cancelled() => Err(Interrupted { done: learned(&service.published.load()) }.into()),
        };
        let (over, halt) = (service.is_over(), service.halt());
        let ended = service.ended();
        tokio::pin!(ended);
        let mut shown = shown;
        if matches!(shown, Ok(Ended::Over)) && !self.exit {
            out::print("Still serving and learning; Ctrl-C ends it.\n")?;
            tokio::select! {
                ended = &mut ended => return ended.map(|()| Ended::Over),
                () = control.asked_to_start_over() => shown = Ok(Ended::ToStartOver),
            }
        }
        self.told = Told { paused: false, ..control.told() };
        halt.cancel();
        match ended.await {
            // The engine's own error is the cause of what went wrong.
            Err(cause) if over => Err(cause),
            ended => shown.and_then(|shown| ended.map(|()| shown)),
        }
    }

    /// Replays what the log does not hold yet, waits until all of it is durable, and prints what was learned.
    async fn show(
        &self,
        service: &Service,
        control: &Arc<Control>,
        on_log: OnLog,
        config: &Config,
    ) -> anyhow::Result<()> {
        until_running(service).await?;
        let before = service.published.load().version().seq;
        announce(service, config, shown_user(&self.name))?;
        let (n_rows, done_before) = (self.rows.len() as u64, on_log.rows as u64);
        if on_log.records > 0 {
            let [before, done_before, n_rows] = [before, done_before, n_rows].map(HumanCount);
            let dir = config.store.data_dir.display();
            out::print(&format!(
                "Resumed from {dir} at event {before}, with {done_before} of {n_rows} rows on the log; --fresh starts \
                 over.\n"
            ))?;
        }
        let start = Instant::now();
        let bar = out::progress(Some(n_rows), self.name.clone());
        let rows = self.rows.iter().skip(on_log.rows).cloned();
        control.set_position(done_before);
        let pace = Pace::Told(Hand(Arc::clone(control)));
        let sent = replay(rows, pace, config, |sent| control.set_position(done_before + sent));
        let records = on_log.records + (n_rows - done_before);
        let done = tokio::try_join!(sent, until_durable(service, records, &bar));
        let seconds = start.elapsed().as_secs_f64();
        bar.finish_and_clear();
        telemetry::bars().remove(&bar);
        done?;
        let view = service.published.load_full();
        let new = view.version().seq - before;
        print_table(&self.name, &view, (new, seconds), &engine::model_hash(config, &view).to_string())?;
        let user = shown_user(&self.name);
        print_recommendations(service, &view, user, &favourites(&self.rows, user))
    }
}

/// What the demo's log holds.
struct OnLog {
    /// Records, those that people sent from the page too.
    records: u64,
    /// Rows of the data set, the first ones.
    rows: usize,
}

/// Counts the rows that the log holds: they are there one after the other, with what people sent between them.
async fn on_log(config: &Config, rows: &[Interaction]) -> anyhow::Result<OnLog> {
    let topics = vec![config.broker.topic.clone()];
    let wish = Wish { topics, start: Start::Beginning, partition: None, group: None, until_end: true };
    let mut found = OnLog { records: 0, rows: 0 };
    if !embedded_log::path(config).exists() {
        return Ok(found);
    }
    let mut watcher = match watch::open(config, wish).await {
        Ok(watcher) => watcher,
        Err(watch::WatchError::NoTopic { .. }) => return Ok(found),
        Err(error) => return Err(error.into()),
    };
    let payload = |row: &Interaction| Outgoing::from(row.clone()).record.payload;
    let mut next = rows.first().map(payload);
    loop {
        let polled = watcher.poll(Duration::ZERO, &mut |record| {
            found.records += 1;
            if next.is_some() && record.payload == next.as_deref() {
                found.rows += 1;
                next = rows.get(found.rows).map(payload);
            }
            ControlFlow::Continue(())
        })?;
        if polled == Polled::Ended {
            return Ok(found);
        }
    }
}

/// The data set, or the sample that stands in for it.
fn get(dataset: &str, from: Option<&Path>) -> anyhow::Result<Dataset> {
    let mut progress = Progress::default();
    match capture::ensure(dataset, from, &mut |step| progress.show(&step)) {
        Ok(found) => {
            anstream::eprintln!("{dataset} from {}", found.origin);
            Ok(found)
        }
        Err(error @ CaptureError::Fetch { .. }) if from.is_none() => {
            tracing::warn!(
                "THE DATA SET {dataset} CANNOT BE HAD, so the demo runs on a GENERATED sample of the shape of MovieLens \
                 100K; its figures are not those of {dataset}. {error}"
            );
            Ok(sample::sample(SAMPLE_SEED, SAMPLE_ROWS))
        }
        Err(error) => Err(error.into()),
    }
}

fn announce(service: &Service, config: &Config, user: &str) -> anyhow::Result<()> {
    let (url, store) = (&service.url, config.store.data_dir.join("store.db"));
    out::print(&format!(
        "Dashboard        {url}/\n\
         Recommendations  curl -s '{url}/recommend/{user}?n=10'\n\
         Store            sqlite3 {} 'select * from events limit 5'\n",
        store.display()
    ))
}

async fn replay(
    rows: impl Iterator<Item = Interaction>,
    pace: Pace,
    config: &Config,
    progress: impl FnMut(u64),
) -> anyhow::Result<()> {
    let producer = producer::open(config).await?;
    let deliveries = capture::replay(rows.map(Ok::<_, CaptureError>), &*producer, pace, progress).await?;
    let Deliveries { failed, first_error, .. } = deliveries;
    anyhow::ensure!(failed == 0, "the log refused {failed} rows: {}", first_error.unwrap_or_default());
    Ok(())
}

/// Waits until the store holds so many records, as events or as dead letters.
async fn until_durable(service: &Service, records: u64, bar: &ProgressBar) -> anyhow::Result<()> {
    let durable = || service.status.durable_seq() + service.status.rejects().values().sum::<u64>();
    while durable() < records {
        anyhow::ensure!(!service.is_over(), "the engine has stopped");
        bar.set_position(service.published.load().version().seq);
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Waits until the engine reads the log.
pub(super) async fn until_running(service: &Service) -> anyhow::Result<()> {
    while service.status.lag.load().is_empty() {
        anyhow::ensure!(!service.is_over(), "the engine has stopped");
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

fn learned(view: &View) -> String {
    format!("{} events learned; run it again to go on", HumanCount(view.version().seq))
}

/// Deletes the embedded log and store of a folder, and nothing else that may be in it.
pub(super) fn delete(dir: &Path) -> anyhow::Result<()> {
    for file in ["log.db", "store.db"] {
        for suffix in ["", "-wal", "-shm"] {
            let path = dir.join(format!("{file}{suffix}"));
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot delete {}", path.display()));
                }
                _ => {}
            }
        }
    }
    Ok(())
}
