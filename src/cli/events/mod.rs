//! `freshet events`: what was learned and what was refused, for notebooks, scripts, and people who watch.
//!
//! [`export`] writes what is there, [`follow`] what comes. Both take rows from the store (events, or dead letters with
//! `--reason`), whose columns stand in [`columns`], make bytes of them in [`encode`], and send these to an [`output`].

mod batch;
mod columns;
mod encode;
mod export;
mod follow;
mod output;
mod source;
mod text;

use anyhow::Context;
use clap::Subcommand;
use serde::{Deserialize, Serialize};

use super::time;
use crate::config::Config;
use crate::store::{self, DeadLetterFilter, EventFilter};

/// Exports stored events and dead letters, and follows new ones.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  freshet events export --out events.parquet\n  \
                        freshet events export --user 196 --since 2026-11-01 --format ndjson\n  \
                        freshet events follow\n  \
                        freshet events follow --format ndjson --resume-file follow.json | jq .item")]
pub(super) struct Args {
    #[command(subcommand)]
    command: EventsCommand,
}

#[derive(Debug, Subcommand)]
enum EventsCommand {
    Export(export::Args),
    Follow(follow::Args),
}

/// Runs `freshet events`.
///
/// # Errors
/// If the store cannot be read, or the output not be written.
pub(super) async fn run(args: Args, config: &Config) -> anyhow::Result<()> {
    let store = store::open(&config.store).await?;
    match args.command {
        EventsCommand::Export(args) => export::run(&args, &*store).await,
        EventsCommand::Follow(args) => follow::run(&args, &*store).await,
    }
}

/// Which rows are wanted.
#[derive(clap::Args, Debug)]
struct Filters {
    /// Only what happened then or later: 2026-11-26T08:30:00Z, 2026-11-26 (UTC), or how long ago, as 90m, 1h or 7d.
    #[arg(long, value_name = "TIME", value_parser = time::point)]
    since: Option<i64>,
    /// Only what happened before, likewise.
    #[arg(long, value_name = "TIME", value_parser = time::point)]
    until: Option<i64>,
    #[command(flatten)]
    who: Who,
}

/// The filters that are the same each time they are given.
#[derive(clap::Args, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct Who {
    /// Only events of this user.
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// Only events of this item.
    #[arg(long, value_name = "ID")]
    item: Option<String>,
    /// Dead letters of this reason instead of events, or "all" of them; their time is that of the log.
    #[arg(long, conflicts_with_all = ["user", "item"])]
    reason: Option<String>,
}

/// What the filters choose.
enum Chosen {
    Events(EventFilter),
    Letters(DeadLetterFilter),
}

impl Filters {
    fn chosen(&self) -> Chosen {
        let Self { since: since_ms, until: until_ms, who: Who { user, item, reason } } = self;
        let (since_ms, until_ms) = (*since_ms, *until_ms);
        let Some(reason) = reason else {
            let (user, item) = (user.clone(), item.clone());
            return Chosen::Events(EventFilter { user, item, since_ms, until_ms, ..EventFilter::default() });
        };
        let reason = Some(reason.clone()).filter(|reason| !["all", "any"].contains(&&**reason));
        Chosen::Letters(DeadLetterFilter { reason, since_ms, until_ms, ..DeadLetterFilter::default() })
    }
}

/// Runs what blocks away from the async threads.
async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> anyhow::Result<T> + Send + 'static) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await.context("writing broke off")?
}
