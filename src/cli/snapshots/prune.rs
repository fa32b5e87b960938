//! `freshet snapshots prune`: deletes what the rule does not keep.

use indicatif::{HumanBytes, HumanCount};

use crate::cli::out;
use crate::config::StoreConfig;
use crate::store::{Retention, Store};

/// Deletes the snapshots that are not kept, and the blocks that they alone named.
///
/// The engine does so after each snapshot, by the same rule, and deletes blocks that never became a snapshot too. It may
/// run meanwhile: nothing that a snapshot needs is ever deleted. The newest snapshot and the one that the store began
/// with always stay.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  freshet snapshots prune --dry-run\n  \
                        freshet snapshots prune --keep-last 1 --keep-hourly 0")]
pub(super) struct Args {
    /// Newest snapshots to keep; without it `store.keep_last`.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep_last: Option<u32>,
    /// Hours of which to keep the newest snapshot each; without it `store.keep_hourly`.
    #[arg(long, value_name = "N")]
    keep_hourly: Option<u32>,
    /// Only says what would go.
    #[arg(long)]
    dry_run: bool,
    /// Prints what goes and stays as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &Args, store: &dyn Store, config: &StoreConfig) -> anyhow::Result<()> {
    let default = Retention::of(config);
    let keep = Retention {
        last: args.keep_last.map_or(default.last, |last| last as usize),
        hourly: args.keep_hourly.map_or(default.hourly, |hourly| hourly as usize),
    };
    let listed = store.listed().await?;
    let pruned = store.prune(None, keep, args.dry_run).await?;
    if args.json {
        return out::print_json(&pruned);
    }
    let mut table = out::table(&["seq", "taken", if args.dry_run { "would be" } else { "was" }]);
    for one in &listed {
        let goes = pruned.snapshots.contains(&one.seq);
        let taken = one.created_at_ms.map(out::time).unwrap_or_default();
        table.add_row([HumanCount(one.seq).to_string(), taken, if goes { "deleted" } else { "kept" }.to_owned()]);
    }
    if let Some(waiting) = &pruned.waiting {
        tracing::warn!("{waiting}");
    }
    let freed = if args.dry_run { "would be freed" } else { "freed" };
    let (blocks, bytes) = (HumanCount(pruned.blocks), HumanBytes(pruned.bytes));
    out::print(&format!("{table}\n{blocks} blocks and {bytes} {freed}\n"))
}
