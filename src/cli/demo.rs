//! `freshet demo`: the whole main job in one process on the embedded log and store, with nothing to install.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::builder::PossibleValuesParser;
use indicatif::{HumanCount, ProgressBar};
use tokio::time::{Instant, sleep};

use super::data::Progress;
use super::run::Service;
use super::{out, telemetry};
use crate::capture::producer::Deliveries;
use crate::capture::{self, CaptureError, Dataset, Interaction, Pace, producer, sample};
use crate::config::{BrokerKind, Config, StoreKind};
use crate::publish::{Query, View};
use crate::shutdown::Interrupted;
use crate::{engine, shutdown, store};

/// Rows of the generated sample.
const SAMPLE_ROWS: usize = 100_000;

/// Seed of the generated sample.
const SAMPLE_SEED: u64 = 42;

const ML_100K: &str = "ml-100k";
const LASTFM: &str = "lastfm";

/// Items that are shown of what a user has chosen, and recommended to them.
const SHOWN: usize = 5;

/// Pause between two looks at how far the engine is.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Replays MovieLens 100K, or another data set, through the whole path and shows what was learned.
///
/// Gets the data set, replays it in time order through the embedded log, learns and persists each event and serves
/// while it learns. Running it again goes on where it stopped.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  freshet demo\n  freshet demo lastfm\n  freshet demo --exit\n  freshet demo --fresh --set gather.size=1"
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
    // A folder of its own for each data set: --fresh can delete nothing but a demo, and no demo resumes another's log.
    config.store.data_dir.push(format!("demo-{}", dataset.name));
    if args.fresh {
        delete(&config.store.data_dir)?;
    }
    store::open(&config.store).await?.put_catalog(&dataset.items, &dataset.users).await?;
    let Some(service) = Service::start(&config, None, &stop).await? else { return Ok(()) };
    let shown = tokio::select! {
        shown = show(&service, dataset, &config) => shown,
        () = stop.cancelled() => Err(Interrupted { done: learned(&service.published.load()) }.into()),
    };
    if shown.is_ok() && !args.exit {
        out::print("Still serving and learning; Ctrl-C ends it.\n")?;
        return service.ended().await;
    }
    let over = service.is_over();
    service.stop();
    match service.ended().await {
        // The engine's own error is the cause of what went wrong.
        Err(cause) if over => Err(cause),
        ended => shown.and(ended),
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

/// Replays what the log does not hold yet, waits until all of it is durable, and prints what was learned.
async fn show(service: &Service, dataset: Dataset, config: &Config) -> anyhow::Result<()> {
    let name = dataset.name.clone();
    let n_rows = dataset.n_rows.context("the demo's data set is in memory, so that its rows are counted")?;
    let on_log = until_running(service).await?;
    let before = service.published.load().version().seq;
    announce(service, config, shown_user(&name))?;
    if on_log > 0 {
        let [before, on_log, n_rows] = [before, on_log, n_rows].map(HumanCount);
        let dir = config.store.data_dir.display();
        out::print(&format!(
            "Resumed from {dir} at event {before}, with {on_log} of {n_rows} rows on the log; --fresh starts over.\n"
        ))?;
    }
    let start = Instant::now();
    let bar = out::progress(Some(n_rows), name.clone());
    let rows: Vec<_> = dataset.rows.collect();
    let favourites = favourites(&rows, shown_user(&name));
    let rows = rows.into_iter().skip(usize::try_from(on_log)?);
    let done = tokio::try_join!(replay(rows, config), until_durable(service, n_rows, &bar));
    let seconds = start.elapsed().as_secs_f64();
    bar.finish_and_clear();
    telemetry::bars().remove(&bar);
    done?;
    let view = service.published.load_full();
    let new = view.version().seq - before;
    print_table(&name, &view, (new, seconds), &engine::model_hash(config, &view).to_string())?;
    print_recommendations(service, &view, shown_user(&name), &favourites)
}

/// Whom the demo recommends to.
fn shown_user(dataset: &str) -> &'static str {
    if dataset == LASTFM { "2" } else { "196" }
}

/// What the user has rated highest, or done most often.
fn favourites(rows: &[Result<Interaction, CaptureError>], user: &str) -> Vec<String> {
    let level = |row: &Interaction| row.rating.or(row.count).unwrap_or(1.0);
    let mut own: Vec<_> = rows.iter().flatten().filter(|row| row.user == user).collect();
    own.sort_by(|one, other| level(other).total_cmp(&level(one)));
    own.into_iter().take(SHOWN).map(|row| row.item.clone()).collect()
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

async fn replay(rows: impl Iterator<Item = Result<Interaction, CaptureError>>, config: &Config) -> anyhow::Result<()> {
    let producer = producer::open(config).await?;
    let deliveries = capture::replay(rows, &*producer, Pace::default(), |_| ()).await?;
    let Deliveries { failed, first_error, .. } = deliveries;
    anyhow::ensure!(failed == 0, "the log refused {failed} rows: {}", first_error.unwrap_or_default());
    Ok(())
}

/// Waits until the store holds `n_rows` records, as events or as dead letters.
async fn until_durable(service: &Service, n_rows: u64, bar: &ProgressBar) -> anyhow::Result<()> {
    let durable = || service.status.durable_seq() + service.status.rejects().values().sum::<u64>();
    while durable() < n_rows {
        anyhow::ensure!(!service.is_over(), "the engine has stopped");
        bar.set_position(service.published.load().version().seq);
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Waits until the engine reads the log, and returns the number of records on it.
async fn until_running(service: &Service) -> anyhow::Result<u64> {
    loop {
        let lag = service.status.lag.load();
        if !lag.is_empty() {
            return Ok(lag.iter().map(|lag| lag.end as u64).sum());
        }
        anyhow::ensure!(!service.is_over(), "the engine has stopped");
        sleep(LOOK_EVERY).await;
    }
}

fn learned(view: &View) -> String {
    format!("{} events learned; run it again to go on", HumanCount(view.version().seq))
}

fn print_table(name: &str, view: &View, (new, seconds): (u64, f64), hash: &str) -> anyhow::Result<()> {
    let learned = view.learned();
    let prequential = &learned.prequential;
    let rate = if new == 0 { "nothing new".to_owned() } else { HumanCount((new as f64 / seconds) as u64).to_string() };
    let error = |model: f64, mean: f64| format!("{model:.4}   (running mean {mean:.4})");
    let mut table = out::table(&["data set", name]);
    table.add_row(["events learned", &HumanCount(prequential.events()).to_string()]);
    table.add_row(["events a second, learned and durable", &rate]);
    table.add_row([
        "users, items",
        &format!("{}, {}", HumanCount(learned.users.len() as u64), HumanCount(learned.items.len() as u64)),
    ]);
    // Counts stand for ratings, so that the error is that of the rating that a count is mapped to.
    let of = if name == LASTFM { " (of counts as ratings)" } else { "" };
    table.add_row([&format!("MAE, test then learn{of}"), &error(prequential.mae(), prequential.mean_mae())]);
    table.add_row([&format!("RMSE, test then learn{of}"), &error(prequential.rmse(), prequential.mean_rmse())]);
    table.add_row(["model SHA-256", hash]);
    out::print(&format!("{table}\n"))
}

fn print_recommendations(service: &Service, view: &View, user: &str, favourites: &[String]) -> anyhow::Result<()> {
    let index = service.status.catalog.index(&view.learned().items);
    let entries = service.status.catalog.entries();
    let title = |id: &str| match entries.items.get(id) {
        Some(item) if !item.title.is_empty() => item.title.clone(),
        _ => id.to_owned(),
    };
    let favourites: Vec<_> = favourites.iter().map(|id| title(id)).collect();
    out::print(&format!("user {user} likes {}\n", favourites.join(" · ")))?;
    let recommended = view.recommend(user, &Query::top(SHOWN)).items;
    let has_genres =
        recommended.iter().any(|scored| index.item(scored.item).is_some_and(|item| !item.genres.is_empty()));
    let for_user = format!("for user {user}");
    let mut table =
        if has_genres { out::table(&[&for_user, "genres", "score"]) } else { out::table(&[&for_user, "score"]) };
    for scored in recommended {
        let id = view.learned().items.name(scored.item).map(ToString::to_string).unwrap_or_default();
        let genres = index.item(scored.item).map(|item| item.genres.join(", ")).filter(|_| has_genres);
        let score = format!("{:.2}", scored.score);
        table.add_row([Some(title(&id)), genres, Some(score)].into_iter().flatten());
    }
    out::print(&format!("{table}\n"))
}

/// Deletes the demo's files, and nothing else that may be in the folder.
fn delete(dir: &Path) -> anyhow::Result<()> {
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
