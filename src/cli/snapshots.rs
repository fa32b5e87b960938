//! `freshet snapshots`: the snapshots in the store, for people and scripts.

use anyhow::{Context, bail};
use clap::Subcommand;
use indicatif::HumanCount;

use super::out;
use crate::config::Config;
use crate::store::snapshot;
use crate::store::{self, Manifest, Store};

/// Lists and shows the snapshots of the model.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  freshet snapshots list\n  freshet snapshots show latest")]
pub(super) struct Args {
    #[command(subcommand)]
    command: SnapshotsCommand,
}

#[derive(Debug, Subcommand)]
enum SnapshotsCommand {
    /// Lists snapshots, the newest first.
    #[command(after_help = "Example:\n  freshet snapshots list --json | jq '.[0].sha256'")]
    List {
        /// Most snapshots to list.
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
        /// Prints the manifests as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Shows one snapshot whole, and checks every block and the model against their hashes.
    #[command(after_help = "Examples:\n  freshet snapshots show latest\n  freshet snapshots show 100000 --json")]
    Show {
        /// The snapshot's seq, or "latest".
        snapshot: String,
        /// Prints the manifest as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Runs `freshet snapshots`.
///
/// # Errors
/// If the store cannot be read, there is no such snapshot, or it is damaged.
pub(super) async fn run(args: &Args, config: &Config) -> anyhow::Result<()> {
    let store = store::open(&config.store).await?;
    match &args.command {
        SnapshotsCommand::List { limit, json } => list(&*store, *limit, *json).await,
        SnapshotsCommand::Show { snapshot, json } => show(&*store, snapshot, *json).await,
    }
}

async fn list(store: &dyn Store, limit: usize, json: bool) -> anyhow::Result<()> {
    let manifests = store.manifests(limit).await?;
    if json {
        return out::print(&format!("{}\n", serde_json::to_string_pretty(&manifests)?));
    }
    if manifests.is_empty() {
        return out::print(&format!("no snapshot in {} yet\n", store.location()));
    }
    let mut table = out::table(&["seq", "taken", "users", "items", "MAE", "RMSE", "SHA-256"]);
    for manifest in &manifests {
        table.add_row([
            HumanCount(manifest.seq).to_string(),
            taken(manifest),
            HumanCount(manifest.counts.users).to_string(),
            HumanCount(manifest.counts.items).to_string(),
            format!("{:.4}", manifest.metrics.mae),
            format!("{:.4}", manifest.metrics.rmse),
            manifest.sha256.to_string()[..16].to_owned(),
        ]);
    }
    out::print(&format!("{table}\n"))
}

async fn show(store: &dyn Store, which: &str, json: bool) -> anyhow::Result<()> {
    let manifest = find(store, which).await?;
    if json {
        return out::print(&format!("{}\n", serde_json::to_string_pretty(&manifest)?));
    }
    let view = snapshot::load(store, &manifest).await?;
    let recomputed = snapshot::Encoder::new(manifest.params.clone()).hash(&view);
    if recomputed != manifest.sha256 {
        bail!(
            "snapshot {} loads to a model of SHA-256 {recomputed}, its manifest says {}",
            manifest.seq,
            manifest.sha256
        );
    }
    let mut table = out::table(&["snapshot", &HumanCount(manifest.seq).to_string()]);
    table.add_row(["store", &store.location()]);
    table.add_row(["taken", &taken(&manifest)]);
    table.add_row(["SHA-256", &format!("{}\nrecomputed from the blocks: the same", manifest.sha256)]);
    let counts = &manifest.counts;
    let learned = [(counts.events, "events"), (counts.users, "users"), (counts.items, "items")];
    table.add_row(["learned", &learned.map(|(count, of)| format!("{} {of}", HumanCount(count))).join(", ")]);
    let metrics = &manifest.metrics;
    table.add_row(["MAE", &format!("{:.4} (running mean {:.4})", metrics.mae, metrics.mean_mae)]);
    table.add_row(["RMSE", &format!("{:.4} (running mean {:.4})", metrics.rmse, metrics.mean_rmse)]);
    let params: Vec<String> = manifest.params.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    table.add_row(["parameters", &params.join("\n")]);
    let offsets = manifest.offsets.iter().map(|(topic, partition, next)| format!("{topic} [{partition}] at {next}"));
    table.add_row(["next offsets", &offsets.collect::<Vec<_>>().join("\n")]);
    table.add_row(["epoch, batch", &format!("{}, {}", manifest.epoch, HumanCount(manifest.batch))]);
    let sections = manifest.sections.iter().map(|s| format!("{}: {} rows in {} blocks", s.name, s.rows, s.blocks));
    table.add_row(["sections", &sections.collect::<Vec<_>>().join("\n")]);
    out::print(&format!("{table}\n"))
}

async fn find(store: &dyn Store, which: &str) -> anyhow::Result<Manifest> {
    let manifests = store.manifests(usize::MAX).await?;
    if which == "latest" {
        return manifests.into_iter().next().with_context(|| format!("no snapshot in {} yet", store.location()));
    }
    let seq: u64 = which.parse().with_context(|| format!("{which:?} is no snapshot; give its seq, or latest"))?;
    let listed: Vec<String> = manifests.iter().take(5).map(|manifest| manifest.seq.to_string()).collect();
    manifests
        .into_iter()
        .find(|manifest| manifest.seq == seq)
        .with_context(|| format!("no snapshot {seq} in {}; the newest are {}", store.location(), listed.join(", ")))
}

fn taken(manifest: &Manifest) -> String {
    jiff::Timestamp::from_millisecond(manifest.created_at_ms)
        .map_or_else(|_| manifest.created_at_ms.to_string(), |at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}
