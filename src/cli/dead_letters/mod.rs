//! `freshet dead-letters`: records that were refused, to be looked at, mended and sent again.
//!
//! Listing and showing are here; what mends a letter is in [`mend`], and what sends it again in [`replay`].

mod mend;
mod replay;
pub(super) mod text;

use std::collections::BTreeMap;

use anyhow::bail;
use clap::Subcommand;
use indicatif::HumanCount;
use serde_json::{Value, json};

use super::out;
use crate::config::Config;
use crate::consume::Position;
use crate::decode::Reason;
use crate::engine::letters::find;
use crate::store::{self, DeadLetter, DeadLetterFilter, Store};
use text::{hex_dump, printable};

/// Letters read from the store at once: few, since each may be as large as a record on the log.
const PAGE: usize = 64;
/// Characters of a payload, and of a detail, that a row of the list shows.
const START: usize = 48;

/// Lists, shows and sends again the records that were refused.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  freshet dead-letters list\n  freshet dead-letters show ratings/0/17\n  \
                        freshet dead-letters replay --reason rating_out_of_range --fix rating=clamp")]
pub(super) struct Args {
    #[command(subcommand)]
    command: DeadLettersCommand,
}

#[derive(Debug, Subcommand)]
enum DeadLettersCommand {
    /// Lists dead letters in the order of the log, and counts all of them by reason.
    #[command(after_help = "Examples:\n  freshet dead-letters list --reason invalid_json --limit 10\n  \
                            freshet dead-letters list --json | jq -r '.dead_letters[].detail'")]
    List {
        /// Only those of this reason: empty, `too_large`, `invalid_utf8`, `invalid_json`, `not_an_object`,
        /// `unknown_version`, `missing_field`, `invalid_field`, `rating_out_of_range`, `duplicate_id`.
        #[arg(long)]
        reason: Option<String>,
        /// Only those of this topic.
        #[arg(long)]
        topic: Option<String>,
        /// Most letters to list.
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
        /// Also those that have been sent again.
        #[arg(long)]
        all: bool,
        /// Prints them as JSON, payloads whole.
        #[arg(long)]
        json: bool,
    },
    /// Shows one dead letter whole.
    #[command(after_help = "Examples:\n  freshet dead-letters show ratings/0/17\n  \
                            freshet dead-letters show ratings/0/17 --raw | xxd")]
    Show {
        /// Where it stands on the log.
        #[arg(value_name = "TOPIC/PARTITION/OFFSET")]
        letter: Position,
        /// Writes the payload's bytes, and nothing else.
        #[arg(long)]
        raw: bool,
    },
    Replay(replay::Args),
}

/// Runs `freshet dead-letters`.
///
/// # Errors
/// If the store or the log cannot be used, there is no such letter, or a letter to be sent again would be refused again.
pub(super) async fn run(args: Args, config: &Config) -> anyhow::Result<()> {
    let store = store::open(&config.store).await?;
    match args.command {
        DeadLettersCommand::List { reason, topic, limit, all, json } => {
            let filter = DeadLetterFilter { reason, topic, not_replayed: !all, ..DeadLetterFilter::default() };
            list(&*store, &filter, limit, json).await
        }
        DeadLettersCommand::Show { letter, raw } => show(&*store, &letter, raw).await,
        DeadLettersCommand::Replay(args) => replay::run(args, config, &*store).await,
    }
}

/// Dead letters of one kind, page by page.
struct Pages<'s> {
    store: &'s dyn Store,
    filter: DeadLetterFilter,
    after: Option<Position>,
}

impl Pages<'_> {
    /// The next letters, at most `most`; none at the end.
    async fn next(&mut self, most: usize) -> anyhow::Result<Vec<DeadLetter>> {
        let page = self.store.dead_letters(&self.filter, self.after.as_ref(), most.min(PAGE)).await?;
        if let Some(last) = page.last() {
            self.after = Some(last.position.clone());
        }
        Ok(page)
    }
}

async fn list(store: &dyn Store, filter: &DeadLetterFilter, limit: usize, json: bool) -> anyhow::Result<()> {
    let mut pages = Pages { store, filter: filter.clone(), after: None };
    let mut letters = Vec::new();
    // One more than is listed, to know whether there are more.
    while letters.len() <= limit {
        let page = pages.next(limit + 1 - letters.len()).await?;
        if page.is_empty() {
            break;
        }
        letters.extend(page);
    }
    let more = letters.len() > limit;
    letters.truncate(limit);
    let counts = store.reject_counts().await?;
    if json {
        let listed: Vec<Value> = letters.iter().map(as_json).collect();
        let answer = json!({"dead_letters": listed, "more": more, "by_reason": counts});
        return out::print_json(&answer);
    }
    if !letters.is_empty() {
        let mut table = out::table(&["where", "when", "reason", "detail", "payload", "replayed"]);
        table.add_rows(letters.iter().map(row));
        out::print(&format!("{table}\n"))?;
    }
    if more {
        out::print(&format!("… and more; --limit N lists more than {limit}\n"))?;
    }
    out::print(&format!("{}\n", total(store, &counts, letters.is_empty())))
}

fn row(letter: &DeadLetter) -> [String; 6] {
    [
        letter.position.to_string(),
        out::time(letter.timestamp_ms),
        letter.reason.clone(),
        printable(letter.detail.as_bytes(), START),
        printable(&letter.payload, START),
        letter.replayed_at_ms.map_or_else(String::new, out::time),
    ]
}

/// `3 dead letters in all in freshet-data/store.db: 2 empty, 1 invalid_json`.
fn total(store: &dyn Store, counts: &BTreeMap<Reason, u64>, none_listed: bool) -> String {
    let (at, all) = (store.location(), counts.values().sum());
    if all == 0 {
        return format!("no dead letter in {at}");
    }
    let by_reason: Vec<_> = counts.iter().map(|(reason, count)| format!("{} {reason}", HumanCount(*count))).collect();
    let none = if none_listed { "none of these is listed (--all: also those replayed); " } else { "" };
    format!("{none}{} in all in {at}: {}", HumanCount(all), by_reason.join(", "))
}

/// Bytes are text where they are UTF-8, else hex digits under another name.
fn as_json(letter: &DeadLetter) -> Value {
    let Position { topic, partition, offset } = &letter.position;
    let mut object = json!({
        "topic": topic, "partition": partition, "offset": offset, "timestamp_ms": letter.timestamp_ms,
        "reason": letter.reason, "detail": letter.detail, "payload_cut_from": letter.payload_cut_from,
        "replayed_at_ms": letter.replayed_at_ms,
    });
    let mut put = |name: &str, bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => object[name] = text.into(),
        Err(_) => object[format!("{name}_hex")] = hex::encode(bytes).into(),
    };
    put("payload", &letter.payload);
    if let Some(key) = &letter.key {
        put("key", key);
    }
    object
}

async fn show(store: &dyn Store, at: &Position, raw: bool) -> anyhow::Result<()> {
    let Some(letter) = find(store, at).await? else {
        bail!("no dead letter at {at} in {}; `freshet dead-letters list --all` has them", store.location());
    };
    if raw {
        return out::write(&letter.payload);
    }
    let mut table = out::table(&["dead letter", &at.to_string()]);
    table.add_row(["when", &out::time(letter.timestamp_ms)]);
    table.add_row(["reason", &letter.reason]);
    table.add_row(["detail", &letter.detail]);
    table.add_row(["key", &letter.key.as_ref().map_or_else(|| "none".to_owned(), |key| printable(key, usize::MAX))]);
    table.add_row(["replayed", &letter.replayed_at_ms.map_or_else(|| "no".to_owned(), out::time)]);
    let size = HumanCount(letter.payload.len() as u64);
    let size = match letter.payload_cut_from {
        Some(all) => format!("the first {size} of {} bytes; the rest was not kept", HumanCount(all)),
        None => format!("{size} bytes"),
    };
    table.add_row(["payload", &size]);
    let payload = match std::str::from_utf8(&letter.payload) {
        // Line ends are shown as such, other control characters are not let loose on a terminal.
        Ok(text) => text.lines().fold(String::new(), |all, line| all + &printable(line.as_bytes(), usize::MAX) + "\n"),
        Err(_) => hex_dump(&letter.payload),
    };
    out::print(&format!("{table}\n{payload}"))
}
