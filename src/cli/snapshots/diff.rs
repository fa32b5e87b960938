//! `freshet snapshots diff`: what has changed from one snapshot to another.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::anyhow;
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;
use serde_json::Value;

use super::find;
use crate::cli::out;
use crate::learn::params::differences;
use crate::store::{Block, Counts, Hash, Manifest, Metrics, Store, snapshot};

/// Blocks of each snapshot read at once.
const AT_ONCE: usize = 128;

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

#[derive(Serialize)]
struct Diff {
    a: Side,
    b: Side,
    params: BTreeMap<String, [Option<Value>; 2]>,
    sections: Vec<SectionDiff>,
}

#[derive(Serialize)]
struct Side {
    seq: u64,
    sha256: Hash,
    counts: Counts,
    metrics: Metrics,
}

#[derive(Default, Serialize)]
struct SectionDiff {
    name: String,
    /// Rows in the first and in the second.
    rows: [u64; 2],
    /// Blocks of the second that the first has too, that replace one of the first, and that are added.
    shared: u64,
    changed: u64,
    new: u64,
    /// Bytes of the changed and the new ones: what the second costs beside the first.
    bytes: u64,
    moved: Option<Moved>,
}

/// How far the rows that both have are apart, as Euclidean distances.
#[derive(Serialize)]
struct Moved {
    mean: f64,
    max: f64,
}

pub(super) async fn run(args: &Args, store: &dyn Store) -> anyhow::Result<()> {
    let (a, b) = (find(store, &args.a).await?, find(store, &args.b).await?);
    let diff = compare(store, &a, &b).await?;
    if args.json { out::print(&format!("{}\n", serde_json::to_string_pretty(&diff)?)) } else { print(&diff) }
}

async fn compare(store: &dyn Store, a: &Manifest, b: &Manifest) -> anyhow::Result<Diff> {
    let (of_a, of_b) = (snapshot::listed(store, a).await?, snapshot::listed(store, b).await?);
    let names: BTreeSet<&str> = of_a.keys().chain(of_b.keys()).copied().collect();
    let bar = out::progress(Some(names.len() as u64), "compare");
    let mut sections = Vec::new();
    for name in names {
        let part = |manifest: &Manifest, of: &BTreeMap<&str, Vec<Hash>>| {
            let rows = manifest.sections.iter().find(|section| section.name == name).map_or(0, |section| section.rows);
            (rows, of.get(name).cloned().unwrap_or_default())
        };
        sections.push(section(store, name, part(a, &of_a), part(b, &of_b)).await?);
        bar.inc(1);
    }
    let side = |manifest: &Manifest| Side {
        seq: manifest.seq,
        sha256: manifest.sha256,
        counts: manifest.counts.clone(),
        metrics: manifest.metrics.clone(),
    };
    let differing = differences(&a.params, &b.params);
    let params = differing.into_iter().map(|(name, a, b)| (name.to_owned(), [a.cloned(), b.cloned()])).collect();
    Ok(Diff { a: side(a), b: side(b), params, sections })
}

async fn section(
    store: &dyn Store,
    name: &str,
    (rows_a, a): (u64, Vec<Hash>),
    (rows_b, b): (u64, Vec<Hash>),
) -> anyhow::Result<SectionDiff> {
    let known: BTreeSet<_> = a.iter().collect();
    let mut diff = SectionDiff { name: name.to_owned(), rows: [rows_a, rows_b], ..SectionDiff::default() };
    let mut fresh = Vec::new();
    for (index, hash) in b.iter().enumerate() {
        if known.contains(hash) {
            diff.shared += 1;
            continue;
        }
        fresh.push(*hash);
        *if index < a.len() { &mut diff.changed } else { &mut diff.new } += 1;
    }
    for hashes in fresh.chunks(AT_ONCE) {
        diff.bytes += store.blocks(hashes).await?.iter().map(|block| block.bytes.len() as u64).sum::<u64>();
    }
    diff.moved = moved(store, usize::try_from(rows_a.min(rows_b))?, &a, &b).await?;
    Ok(diff)
}

/// How far the first `rows` rows moved; none where they are not rows of floats of the same width.
async fn moved(store: &dyn Store, rows: usize, a: &[Hash], b: &[Hash]) -> anyhow::Result<Option<Moved>> {
    let (mut sum, mut max) = (0.0, 0.0_f64);
    // The first pair tells what rows they are, even where none has changed.
    let differing = a.iter().zip(b).enumerate().filter(|(index, (a, b))| *index == 0 || a != b);
    let pairs: Vec<(usize, (Hash, Hash))> = differing.map(|(index, (a, b))| (index, (*a, *b))).collect();
    for pairs in pairs.chunks(AT_ONCE) {
        let (of_a, of_b): (Vec<Hash>, Vec<Hash>) = pairs.iter().map(|(_, pair)| *pair).unzip();
        let (of_a, of_b) = (store.blocks(&of_a).await?, store.blocks(&of_b).await?);
        for ((index, _), (a, b)) in pairs.iter().zip(of_a.iter().zip(&of_b)) {
            let Some(distances) = distances(a, b)? else { return Ok(None) };
            let first = index * distances.len();
            for distance in distances.into_iter().take(rows.saturating_sub(first)) {
                sum += distance;
                max = max.max(distance);
            }
        }
    }
    Ok((rows > 0 && !pairs.is_empty()).then(|| Moved { mean: sum / rows as f64, max }))
}

/// The distance of each row of one block to that of the other.
fn distances(a: &Block, b: &Block) -> anyhow::Result<Option<Vec<f64>>> {
    let rows = |block: &Block| snapshot::float_rows(block).map_err(|reason| anyhow!("block {}: {reason}", block.hash));
    let (Some(a), Some(b)) = (rows(a)?, rows(b)?) else { return Ok(None) };
    if a.dim() != b.dim() {
        return Ok(None);
    }
    let squares = (&b - &a).mapv(|difference| f64::from(difference).powi(2));
    Ok(Some(squares.rows().into_iter().map(|row| row.sum().sqrt()).collect()))
}

fn print(diff: &Diff) -> anyhow::Result<()> {
    let Diff { a, b, params, sections } = diff;
    let mut table = out::table(&["", &HumanCount(a.seq).to_string(), &HumanCount(b.seq).to_string(), "change"]);
    if a.sha256 == b.sha256 {
        return out::print(&format!("snapshots {} and {} hold the same model, {}\n", a.seq, b.seq, a.sha256));
    }
    let counts = |side: &Side| [side.counts.events, side.counts.users, side.counts.items];
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
