//! `freshet snapshots list` and `show`.

use anyhow::bail;
use indicatif::HumanCount;

use super::find;
use crate::cli::out;
use crate::store::Store;
use crate::store::snapshot::check::check;

/// Lists snapshots, the newest first.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  freshet snapshots list --json | jq '.[0].sha256'")]
pub(super) struct List {
    /// Most snapshots to list.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Prints the manifests as JSON.
    #[arg(long)]
    json: bool,
}

/// Shows one snapshot whole, and checks every block and the model against their hashes.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  freshet snapshots show latest\n  freshet snapshots show 100000 --json")]
pub(super) struct Show {
    /// The snapshot's seq, or "latest".
    snapshot: String,
    /// Prints the manifest as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn list(args: &List, store: &dyn Store) -> anyhow::Result<()> {
    let manifests = store.manifests(args.limit).await?;
    if args.json {
        return out::print_json(&manifests);
    }
    if manifests.is_empty() {
        return out::print(&format!("no snapshot in {} yet\n", store.location()));
    }
    let mut table = out::table(&["seq", "taken", "users", "items", "MAE", "RMSE", "SHA-256"]);
    for manifest in &manifests {
        table.add_row([
            HumanCount(manifest.seq).to_string(),
            out::time(manifest.created_at_ms),
            HumanCount(manifest.counts.users).to_string(),
            HumanCount(manifest.counts.items).to_string(),
            format!("{:.4}", manifest.metrics.mae),
            format!("{:.4}", manifest.metrics.rmse),
            manifest.sha256.to_string()[..16].to_owned(),
        ]);
    }
    out::print(&format!("{table}\n"))
}

pub(super) async fn show(args: &Show, store: &dyn Store) -> anyhow::Result<()> {
    let manifest = find(store, &args.snapshot).await?;
    if args.json {
        return out::print_json(&manifest);
    }
    let found = check(store, &manifest).await?;
    if !found.wrong.is_empty() {
        bail!("snapshot {} is damaged: {}", manifest.seq, found.wrong.join("; "));
    }
    let mut table = out::table(&["snapshot", &HumanCount(manifest.seq).to_string()]);
    table.add_row(["store", &store.location()]);
    table.add_row(["taken", &out::time(manifest.created_at_ms)]);
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
