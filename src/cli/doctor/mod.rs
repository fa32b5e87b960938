//! `freshet doctor`: looks at each connection step by step and says which step failed and what to do.
//!
//! It changes nothing that anybody could notice: what is written is refused by the broker or rolled back by the
//! database, and no group is joined. Each part has a file; [`steps`] times and tells.

mod embedded;
mod kafka;
mod mongodb;
mod net;
pub(super) mod probe;
mod steps;
mod system;
mod web;

use std::time::Duration;

use clap::ValueEnum;
use serde_json::json;
use steps::{Outcome, Section};

use super::out;
use crate::config::{BrokerKind, Loaded, StoreKind};

const EXAMPLES: &str = "\
Examples:
  freshet doctor
  freshet --config prod.toml doctor
  freshet doctor --set broker.kind=kafka --set broker.servers=kafka:9092
  freshet doctor --only broker --timeout 20s
  freshet doctor --json | jq '.sections[].steps[] | select(.outcome == \"failed\")'";

const LONG: &str = "\
Checks each connection step by step, and says which step failed and what to do.

A mark says how a step ended: ✓ it works, ! it works and somebody should look at it, ✗ it failed, – it was left out. Exit
code 0 if nothing failed, 3 if the broker or the database cannot be reached, 1 if anything else failed.

It may run beside an engine and changes nothing. Permission to write to a topic is tried with a record that asks for
acks=2: a broker looks at the permission first and then refuses that, as every Kafka since 0.9 does. Permission of the group is
tried by a commit for a partition that does not exist; no group is joined. In MongoDB a transaction inserts, changes and
deletes a document and is rolled back. Passwords are never printed.";

/// Checks each connection step by step, and says which step failed and what to do.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES, long_about = LONG)]
pub(super) struct Args {
    /// Longest that one step may take.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    timeout: Duration,
    /// Checks these parts only; may be repeated.
    #[arg(long, value_name = "PART", value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Prints what was found as JSON.
    #[arg(long)]
    json: bool,
}

/// What can be checked.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Part {
    /// Settings and limits of this process.
    System,
    /// Kafka, or the embedded log.
    Broker,
    /// MongoDB, or the embedded store.
    Store,
    /// The port that HTTP is served on.
    Http,
}

/// Something failed.
#[derive(Debug, thiserror::Error)]
#[error("{failed} of {steps} steps failed")]
pub(super) struct Unwell {
    failed: usize,
    steps: usize,
    /// Whether a server cannot be reached.
    pub(super) unreachable: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    let read: Option<jiff::SignedDuration> = text.parse().ok();
    let read = read.and_then(|read| Duration::try_from(read).ok()).filter(|read| !read.is_zero());
    read.ok_or_else(|| "write a duration like 500ms, 5s or 1m".to_owned())
}

/// Runs `freshet doctor`.
///
/// # Errors
/// [`Unwell`] if a step failed.
pub(super) async fn run(args: &Args, loaded: &Loaded) -> anyhow::Result<()> {
    let sections = examine(args, loaded).await?;
    let count = |outcome| sections.iter().map(|section| section.count(outcome)).sum::<usize>();
    let [passed, warned, failed, skipped] =
        [Outcome::Passed, Outcome::Warned, Outcome::Failed, Outcome::Skipped].map(count);
    if args.json {
        let counts = json!({"passed": passed, "warned": warned, "failed": failed, "skipped": skipped});
        let answer = json!({"well": failed == 0, "counts": counts, "sections": sections});
        out::print_json(&answer)?;
    } else {
        out::print(&format!("{passed} passed, {warned} to look at, {failed} failed, {skipped} skipped\n"))?;
    }
    let unreachable = sections.iter().any(Section::is_unreachable);
    let steps = passed + warned + failed + skipped;
    if failed == 0 { Ok(()) } else { Err(Unwell { failed, steps, unreachable }.into()) }
}

async fn examine(args: &Args, loaded: &Loaded) -> anyhow::Result<Vec<Section>> {
    let config = &loaded.config;
    let wanted = |part| args.only.is_empty() || args.only.contains(&part);
    let new = |name, about, plan| Section::new(name, about, plan, args.timeout, !args.json);
    let mut sections = Vec::new();
    // What stops a section is told in it.
    if wanted(Part::System) {
        let mut section = new("system", system::about(), system::PLAN)?;
        let _ = system::check(loaded, &mut section).await;
        sections.push(ended(section)?);
    }
    let (broker, store) = (config.broker.kind, config.store.kind);
    if broker == BrokerKind::Kafka && wanted(Part::Broker) {
        let mut section = new("kafka", kafka::about(config), kafka::PLAN)?;
        let _ = kafka::check(config, &mut section).await;
        sections.push(ended(section)?);
    }
    if store == StoreKind::Mongodb && wanted(Part::Store) {
        let mut section = new("mongodb", mongodb::about(config), mongodb::PLAN)?;
        let _ = mongodb::check(config, &mut section).await;
        sections.push(ended(section)?);
    }
    let log = broker == BrokerKind::Embedded && wanted(Part::Broker);
    let file = store == StoreKind::Embedded && wanted(Part::Store);
    if log || file {
        let mut section = new("embedded", config.store.data_dir.display().to_string(), embedded::plan(log, file))?;
        let _ = embedded::check(config, log, file, &mut section).await;
        sections.push(ended(section)?);
    }
    if wanted(Part::Http) {
        let mut section = new("http", format!("{}:{}", config.serve.host, config.serve.port), web::PLAN)?;
        let _ = web::check(config, &mut section).await;
        sections.push(ended(section)?);
    }
    Ok(sections)
}

fn ended(mut section: Section) -> anyhow::Result<Section> {
    section.end()?;
    Ok(section)
}
