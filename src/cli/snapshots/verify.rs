//! `freshet snapshots verify`: whether snapshots are whole, and what is wrong with those that are not.

use anyhow::{Context, bail};
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;

use super::parse;
use crate::cli::out;
use crate::store::snapshot::check::{Found, check};
use crate::store::{Hash, Listed, Store};

/// Checks that every block is there and hashes to its name, and that the whole loads and hashes to the manifest's.
///
/// The exit code is 1 if anything is damaged.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  freshet snapshots verify\n  freshet snapshots verify latest\n  \
                        freshet snapshots verify 100000 --json")]
pub(super) struct Args {
    /// The snapshot's seq, "latest", or "all".
    #[arg(default_value = "all")]
    snapshot: String,
    /// Prints what was found as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    seq: u64,
    created_at_ms: Option<i64>,
    sha256: Option<Hash>,
    /// Blocks that are whole, and their bytes.
    blocks: u64,
    bytes: u64,
    whole: bool,
    wrong: Vec<String>,
}

pub(super) async fn run(args: &Args, store: &dyn Store) -> anyhow::Result<()> {
    let listed = chosen(store.listed().await?, &args.snapshot)
        .with_context(|| format!("no such snapshot in {}: {}", store.location(), args.snapshot))?;
    let bar = out::progress(Some(listed.len() as u64), "verify");
    let mut rows = Vec::new();
    for one in &listed {
        rows.push(row(store, one).await?);
        bar.inc(1);
    }
    drop(bar);
    let damaged = rows.iter().filter(|row| !row.whole).count();
    if args.json {
        out::print_json(&rows)?;
    } else if rows.is_empty() {
        out::print(&format!("no snapshot in {} yet\n", store.location()))?;
    } else {
        print(&rows)?;
    }
    if damaged > 0 {
        bail!(
            "{damaged} of {} snapshots cannot be used; an engine passes over them: put one right with `freshet snapshots \
             restore FILE`, or let it be pruned",
            rows.len()
        );
    }
    Ok(())
}

fn chosen(listed: Vec<Listed>, which: &str) -> anyhow::Result<Vec<Listed>> {
    if which == "all" {
        return Ok(listed);
    }
    let seq = if which == "latest" { listed.first().context("there is none yet")?.seq } else { parse(which)? };
    let found = listed.into_iter().find(|one| one.seq == seq);
    Ok(vec![found.with_context(|| format!("there is no {seq}"))?])
}

async fn row(store: &dyn Store, one: &Listed) -> anyhow::Result<Row> {
    let (found, sha256) = match one.readable() {
        Ok(manifest) => (check(store, manifest).await?, Some(manifest.sha256)),
        Err(reason) => (Found { wrong: vec![reason], ..Found::default() }, None),
    };
    let Found { blocks, bytes, wrong } = found;
    Ok(Row { seq: one.seq, created_at_ms: one.created_at_ms, sha256, blocks, bytes, whole: wrong.is_empty(), wrong })
}

fn print(rows: &[Row]) -> anyhow::Result<()> {
    let mut table = out::table(&["seq", "taken", "SHA-256", "whole blocks", "bytes", "found"]);
    for row in rows {
        table.add_row([
            HumanCount(row.seq).to_string(),
            row.created_at_ms.map(out::time).unwrap_or_default(),
            row.sha256.map(|sha256| sha256.to_string()[..16].to_owned()).unwrap_or_default(),
            HumanCount(row.blocks).to_string(),
            HumanBytes(row.bytes).to_string(),
            if row.whole { "whole".to_owned() } else { row.wrong.join("\n") },
        ]);
    }
    out::print(&format!("{table}\n"))
}
