//! `freshet snapshots diff`: what has changed from one snapshot to another.

use indicatif::{HumanBytes, HumanCount};
use serde_json::Value;

use super::find;
use crate::cli::out;
use crate::engine::diff::compare;
use crate::serve::snapshots::{DiffAnswer, DiffSide, Moved};
use crate::store::Store;

/// Compares two snapshots: parameters, counts, figures, and each part of the model by rows and blocks.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  freshet snapshots diff 20000 latest\n  freshet snapshots diff 20000 40000 --json")]
pub(super) struct Args {
    /// The first snapshot: its seq, or "latest".
    a: String,
    /// The second one, likewise.
    b: String,
    /// Prints the differences as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &Args, store: &dyn Store) -> anyhow::Result<()> {
    let (a, b) = (find(store, &args.a).await?, find(store, &args.b).await?);
    let bar = out::progress(None, "compare");
    let diff = compare(store, &a, &b, || bar.inc(1)).await?;
    bar.finish_and_clear();
    if args.json { out::print_json(&diff) } else { print(&diff) }
}

fn print(diff: &DiffAnswer) -> anyhow::Result<()> {
    let DiffAnswer { a, b, params, sections } = diff;
    let mut table = out::table(&["", &HumanCount(a.seq).to_string(), &HumanCount(b.seq).to_string(), "change"]);
    if a.sha256 == b.sha256 {
        return out::print(&format!("snapshots {} and {} hold the same model, {}\n", a.seq, b.seq, a.sha256));
    }
    let counts = |side: &DiffSide| [side.counts.events, side.counts.users, side.counts.items];
    for (name, (a, b)) in ["events", "users", "items"].into_iter().zip(counts(a).into_iter().zip(counts(b))) {
        let change = format!("{:+}", i128::from(b) - i128::from(a));
        table.add_row([name.to_owned(), HumanCount(a).to_string(), HumanCount(b).to_string(), change]);
    }
    for (name, a, b) in [("MAE", a.metrics.mae, b.metrics.mae), ("RMSE", a.metrics.rmse, b.metrics.rmse)] {
        table.add_row([name.to_owned(), format!("{a:.4}"), format!("{b:.4}"), format!("{:+.4}", b - a)]);
    }
    for (name, [a, b]) in params {
        let value = |value: &Option<Value>| value.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        table.add_row([name.clone(), value(a), value(b), String::new()]);
    }
    let mut parts =
        out::table(&["part", "rows", "blocks shared", "changed", "new", "bytes", "rows moved, mean", "most"]);
    for section in sections {
        let moved =
            |of: fn(&Moved) -> f64| section.moved.as_ref().map_or_else(String::new, |by| format!("{:.4}", of(by)));
        let [rows_a, rows_b] = section.rows.map(|rows| HumanCount(rows).to_string());
        parts.add_row([
            section.name.clone(),
            if rows_a == rows_b { rows_a } else { format!("{rows_a} to {rows_b}") },
            HumanCount(section.shared).to_string(),
            HumanCount(section.changed).to_string(),
            HumanCount(section.new).to_string(),
            HumanBytes(section.bytes).to_string(),
            moved(|by| by.mean),
            moved(|by| by.max),
        ]);
    }
    out::print(&format!("{table}\n\n{parts}\n"))
}
