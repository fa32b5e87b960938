//! `freshet snapshots`: the snapshots in the store, for people and scripts.
//!
//! One file for each thing that is done with them; what several need is here.

mod diff;
mod export;
mod list;
mod npy;
mod prune;
mod restore;
mod verify;

use anyhow::Context;
use clap::Subcommand;

pub(super) use restore::warm_start;

use crate::config::Config;
use crate::store::{self, Manifest, Store};

/// Lists, checks, compares, moves and deletes the snapshots of the model.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  freshet snapshots list\n  freshet snapshots show latest\n  \
                        freshet snapshots verify\n  freshet snapshots diff 20000 latest\n  \
                        freshet snapshots export latest --output model.zip\n  freshet snapshots restore model.zip")]
pub(super) struct Args {
    #[command(subcommand)]
    command: SnapshotsCommand,
}

#[derive(Debug, Subcommand)]
enum SnapshotsCommand {
    List(list::List),
    Show(list::Show),
    Verify(verify::Args),
    Diff(diff::Args),
    Export(export::Args),
    Restore(restore::Args),
    Prune(prune::Args),
}

/// Runs `freshet snapshots`.
///
/// # Errors
/// If the store cannot be read, there is no such snapshot, or it is damaged.
pub(super) async fn run(args: &Args, config: &Config) -> anyhow::Result<()> {
    if let SnapshotsCommand::Restore(args) = &args.command {
        return restore::run(args, config).await;
    }
    let store = store::open(&config.store).await?;
    match &args.command {
        SnapshotsCommand::List(args) => list::list(args, &*store).await,
        SnapshotsCommand::Show(args) => list::show(args, &*store).await,
        SnapshotsCommand::Verify(args) => verify::run(args, &*store).await,
        SnapshotsCommand::Diff(args) => diff::run(args, &*store).await,
        SnapshotsCommand::Export(args) => export::run(args, &*store).await,
        SnapshotsCommand::Prune(args) => prune::run(args, &*store, &config.store).await,
        SnapshotsCommand::Restore(_) => unreachable!("handled above"),
    }
}

/// The snapshot of that `seq`, or the newest one for "latest".
async fn find(store: &dyn Store, which: &str) -> anyhow::Result<Manifest> {
    let manifests = store.manifests(usize::MAX).await?;
    if which == "latest" {
        return manifests.into_iter().next().with_context(|| format!("no snapshot in {} yet", store.location()));
    }
    let seq = parse(which)?;
    let listed: Vec<String> = manifests.iter().take(5).map(|manifest| manifest.seq.to_string()).collect();
    manifests
        .into_iter()
        .find(|manifest| manifest.seq == seq)
        .with_context(|| format!("no snapshot {seq} in {}; the newest are {}", store.location(), listed.join(", ")))
}

fn parse(which: &str) -> anyhow::Result<u64> {
    which.parse().with_context(|| format!("{which:?} is no snapshot; give its seq, or latest"))
}
