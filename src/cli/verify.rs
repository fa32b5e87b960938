//! `freshet verify`: proves on the user's own data that nothing was lost or learned twice.
//!
//! The checks are [`crate::engine::verify`]; here are the flags, the progress bars, and the table with the verdict.

use std::sync::Arc;

use anyhow::bail;
use indicatif::{HumanCount, ProgressBar};
use parking_lot::Mutex;
use serde_json::json;

use super::out;
use crate::config::Config;
use crate::engine::verify::{self, LogCheck, Relearned, Start, Step, Verification, Watch, Wish};
use crate::store;

/// Learns the stored events again and compares the model's SHA-256 with that of its snapshot.
///
/// It also looks for holes and duplicates among all stored events, and whether they end where the engine says that it
/// stands. It changes nothing, and may run beside an engine. Any difference is named, and the exit code is then 1.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  freshet verify\n  freshet verify --from latest\n  freshet verify --against-kafka\n  \
                        freshet verify --json | jq .agrees"
)]
pub(super) struct Args {
    /// Snapshot to begin with: its seq, "oldest", or "latest" for the newest before the one that is checked. Without it,
    /// learning begins with the first event.
    #[arg(long, value_name = "SEQ|latest|oldest", value_parser = start)]
    from: Option<Start>,
    /// Snapshot to check, by its seq; the newest by default.
    #[arg(long, value_name = "SEQ")]
    snapshot: Option<u64>,
    /// Reads the log too, from its beginning up to where the engine stands: each record must be an event or a dead letter.
    /// No group is joined and nothing is committed.
    #[arg(long, visible_alias = "against-log")]
    against_kafka: bool,
    /// Prints what was found as JSON.
    #[arg(long)]
    json: bool,
}

fn start(text: &str) -> Result<Start, String> {
    Ok(match text {
        "latest" => Start::Latest,
        "oldest" => Start::Oldest,
        seq => Start::Seq(seq.parse().map_err(|_| "write a snapshot's seq, latest or oldest".to_owned())?),
    })
}

/// Runs `freshet verify`.
///
/// # Errors
/// If the store or the log cannot be read, or anything differs.
pub(super) async fn run(args: &Args, config: &Config) -> anyhow::Result<()> {
    let store = store::open(&config.store).await?;
    let wish = Wish { from: args.from.unwrap_or_default(), snapshot: args.snapshot, against_log: args.against_kafka };
    let bars = Arc::new(Bars::default());
    let shown = Arc::clone(&bars);
    let watch: Watch = Arc::new(move |step, more, total| shown.show(step, more, total));
    let found = verify::verify(config, &*store, wish, &watch).await;
    bars.clear();
    let found = found?;
    if args.json {
        let mut answer = serde_json::to_value(&found)?;
        answer["agrees"] = json!(found.problems.is_empty());
        out::print_json(&answer)?;
    } else {
        out::print(&table(&found, &store.location()))?;
    }
    match found.problems.len() {
        0 => Ok(()),
        1 => bail!("one difference: {}", found.problems[0]),
        count => bail!("{count} differences, the first: {}", found.problems[0]),
    }
}

/// One bar after the other, for the steps in their order.
#[derive(Default)]
struct Bars(Mutex<Option<(Step, ProgressBar)>>);

impl Bars {
    fn show(&self, step: Step, more: u64, total: u64) {
        let mut shown = self.0.lock();
        let (_, bar) = match shown.take_if(|(now, _)| *now != step) {
            Some((_, before)) => {
                before.finish_and_clear();
                shown.insert((step, bar(step, total)))
            }
            None => shown.get_or_insert_with(|| (step, bar(step, total))),
        };
        bar.inc(more);
    }

    fn clear(&self) {
        if let Some((_, bar)) = self.0.lock().take() {
            bar.finish_and_clear();
        }
    }
}

fn bar(step: Step, total: u64) -> ProgressBar {
    let label = match step {
        Step::Scan => "stored events",
        Step::Learn => "learned again",
        Step::ReadLog => "read from the log",
    };
    out::progress(Some(total), label)
}

fn table(found: &Verification, location: &str) -> String {
    let mut table = out::table(&["verify", location]);
    for (name, count) in [
        ("events", found.events),
        ("dead letters", found.dead_letters),
        ("holes", found.holes),
        ("duplicates", found.duplicates),
    ] {
        table.add_row([name, &HumanCount(count).to_string()]);
    }
    table.add_rows(found.model.iter().flat_map(model));
    table.add_rows(found.log.iter().flat_map(log));
    for problem in &found.problems {
        table.add_row(["differs", problem]);
    }
    table.add_row(["verdict", verdict(found)]);
    format!("{table}\n")
}

fn model(model: &Relearned) -> [[String; 2]; 6] {
    let from =
        if model.from == 0 { "the first event".to_owned() } else { format!("snapshot {}", HumanCount(model.from)) };
    let learned = model.learned.map_or_else(|| "not to be had".to_owned(), |hash| hash.to_string());
    [
        ("learned again from", from),
        ("up to", format!("snapshot {}", HumanCount(model.to))),
        ("seconds", format!("{:.2}", model.seconds)),
        ("events/s", HumanCount(model.events_per_second.round() as u64).to_string()),
        ("SHA-256, stored", model.stored.to_string()),
        ("SHA-256, learned again", learned),
    ]
    .map(|(name, value)| [name.to_owned(), value])
}

fn log(log: &LogCheck) -> [[String; 2]; 4] {
    [
        ("records on the log", log.records),
        ("of them not stored", log.not_stored),
        ("stored, not on the log", log.not_on_log),
        ("stored, expired on the log", log.expired),
    ]
    .map(|(name, count)| [name.to_owned(), HumanCount(count).to_string()])
}

fn verdict(found: &Verification) -> &'static str {
    match (&found.model, found.problems.is_empty()) {
        (_, false) => "it differs",
        (None, true) if found.events + found.dead_letters == 0 => "the store is empty: there is nothing to verify",
        (None, true) => "the events agree; there is no snapshot yet to compare a model with",
        (Some(_), true) => "all agrees",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_read() {
        assert_eq!(
            (start("latest"), start("oldest"), start("7")),
            (Ok(Start::Latest), Ok(Start::Oldest), Ok(Start::Seq(7)))
        );
        assert!(start("newest").is_err() && start("-1").is_err());
    }

    #[test]
    fn bars_follow_the_steps() {
        let bars = Bars::default();
        for (step, more) in [(Step::Scan, 3), (Step::Scan, 4), (Step::Learn, 2)] {
            bars.show(step, more, 10);
        }
        let shown = bars.0.lock();
        let (step, bar) = shown.as_ref().unwrap();
        assert_eq!((*step, bar.position()), (Step::Learn, 2));
    }
}
