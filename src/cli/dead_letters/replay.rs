//! `freshet dead-letters replay`: mends dead letters and sends them to the topic that they came from.
//!
//! A page of letters is sent, delivered, and then marked. Should the process end in between, the next replay sends the page
//! again; the engine knows each event by its id and learns it once.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, bail};
use indicatif::HumanCount;

use super::mend::{self, Fix};
use super::text::printable;
use super::{PAGE, Pages};
use crate::capture::producer::Haste;
use crate::cli::out;
use crate::config::Config;
use crate::consume::Position;
use crate::decode::{Decoder, Reason, Refusal};
use crate::engine::letters::{self, Outbox, find};
use crate::store::{DeadLetter, DeadLetterFilter, Store};
use crate::telemetry::now_ms;

/// Letters that cannot be sent which are told one by one; the others are only counted.
const TOLD: usize = 10;

/// Sends dead letters to the topic that they came from, mended on the way.
///
/// What would be refused again under the settings in force is not sent. A letter that was sent is marked and not sent
/// again. An event without an id gets that of its letter, so that it is learned once even if it is sent twice.
#[derive(clap::Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[command(after_help = "Examples:\n  freshet dead-letters replay ratings/0/17 --fix rating=3.5\n  \
                        freshet dead-letters replay --reason rating_out_of_range --fix rating=clamp --dry-run\n  \
                        freshet dead-letters replay --reason invalid_field --fix-with 'jq -c \".rating |= tonumber\"'")]
pub(super) struct Args {
    /// Where the letters stand on the log.
    #[arg(value_name = "TOPIC/PARTITION/OFFSET")]
    #[arg(required_unless_present_any = ["reason", "all"], conflicts_with_all = ["reason", "all"])]
    letters: Vec<Position>,
    /// All letters of this reason.
    #[arg(long, conflicts_with = "all")]
    reason: Option<String>,
    /// All letters, but for duplicates.
    #[arg(long)]
    all: bool,
    /// Sets a field of the event to a JSON value or else a text, removes it (FIELD=), or moves the rating to the nearest
    /// that is accepted (rating=clamp); may be repeated.
    #[arg(long = "fix", value_name = "FIELD=VALUE")]
    fixes: Vec<Fix>,
    /// Shell command that reads a payload and writes the mended one, before any --fix; if it fails, the letter stays.
    #[arg(long, value_name = "COMMAND")]
    fix_with: Option<String>,
    /// Shows what would be sent, and sends nothing.
    #[arg(long)]
    dry_run: bool,
    /// Sends also what would be refused again.
    #[arg(long)]
    force: bool,
    /// Sends also what has been replayed before.
    #[arg(long)]
    again: bool,
}

/// What becomes of one letter.
enum Fate {
    Send(Vec<u8>),
    /// It would only come back; by reason, and in words.
    Bad(String, String),
    Skip(&'static str),
}

/// Runs `freshet dead-letters replay`.
///
/// # Errors
/// If the store or the log cannot be used, a record was not delivered, or a letter would be refused again.
pub(super) async fn run(args: Args, config: &Config, store: &dyn Store) -> anyhow::Result<()> {
    let bar = out::progress(None, "replay");
    let outbox = Outbox::new(config, Haste::Bulk);
    let mut replay = Replay { args: Arc::new(args), config, store, outbox, account: Account::default() };
    let mut chosen = Chosen::of(&replay.args, store);
    loop {
        let page = chosen.next(&mut replay.account).await?;
        if page.is_empty() {
            break;
        }
        let count = page.len() as u64;
        replay.page(page).await?;
        bar.inc(count);
    }
    bar.finish_and_clear();
    replay.account.report(&replay.args)
}

/// The letters that the flags ask for.
enum Chosen<'s> {
    Named { store: &'s dyn Store, left: std::vec::IntoIter<Position> },
    Matching(Pages<'s>),
}

impl<'s> Chosen<'s> {
    fn of(args: &Args, store: &'s dyn Store) -> Self {
        if !args.letters.is_empty() {
            return Self::Named { store, left: args.letters.clone().into_iter() };
        }
        let (reason, not_replayed) = (args.reason.clone(), !args.again);
        let filter = DeadLetterFilter { reason, not_replayed, ..DeadLetterFilter::default() };
        Self::Matching(Pages { store, filter, after: None })
    }

    async fn next(&mut self, account: &mut Account) -> anyhow::Result<Vec<DeadLetter>> {
        let (store, left) = match self {
            Self::Matching(pages) => return pages.next(PAGE).await,
            Self::Named { store, left } => (*store, left),
        };
        let mut page = Vec::new();
        while page.len() < PAGE
            && let Some(at) = left.next()
        {
            match find(store, &at).await? {
                Some(letter) => page.push(letter),
                None => account.tell(format!("{at}: no such dead letter")),
            }
        }
        Ok(page)
    }
}

struct Replay<'s> {
    args: Arc<Args>,
    config: &'s Config,
    store: &'s dyn Store,
    outbox: Outbox,
    account: Account,
}

impl Replay<'_> {
    /// Sends what can be sent of some letters, waits for its delivery, and marks it.
    async fn page(&mut self, letters: Vec<DeadLetter>) -> anyhow::Result<()> {
        let mut sent = Vec::new();
        for letter in letters {
            let (at, key) = (letter.position.clone(), letter.key.clone());
            match self.fate(letter).await? {
                Fate::Skip(why) => *self.account.skipped.entry(why).or_default() += 1,
                Fate::Bad(reason, why) => {
                    self.account.tell(format!("{at}: {why} ({reason})"));
                    *self.account.bad.entry(reason).or_default() += 1;
                }
                Fate::Send(payload) if self.args.dry_run => {
                    self.account.sent += 1;
                    out::print(&format!("{at}: {}\n", printable(&payload, usize::MAX)))?;
                }
                Fate::Send(payload) => {
                    self.outbox.producer(&at.topic).await?.send(letters::record(key, payload)).await?;
                    sent.push(at);
                }
            }
        }
        self.delivered().await?;
        self.store.mark_replayed(&sent, now_ms()).await?;
        self.account.sent += sent.len() as u64;
        Ok(())
    }

    async fn fate(&self, letter: DeadLetter) -> anyhow::Result<Fate> {
        if letter.replayed_at_ms.is_some() && !self.args.again {
            return Ok(Fate::Skip("replayed before (--again sends them again)"));
        }
        if self.args.all && letter.reason == Reason::DuplicateId.to_string() {
            return Ok(Fate::Skip("duplicates (--reason duplicate_id sends them)"));
        }
        if let Some(why) = letters::cut(&letter) {
            return Ok(Fate::Bad(letters::CUT.to_owned(), why));
        }
        let (args, decode) = (Arc::clone(&self.args), self.config.decode.clone());
        let decoder = Decoder::new(self.config);
        // A command may take its time.
        let mending = tokio::task::spawn_blocking(move || {
            let DeadLetter { position, timestamp_ms, key, payload, .. } = letter;
            match mend::mend(payload, args.fix_with.as_deref(), &args.fixes, &decode) {
                Err(error) => Fate::Bad("not_mended".to_owned(), format!("{error:#}")),
                Ok(mended) => {
                    let raw = letters::again(position, timestamp_ms, key, mended);
                    match decoder.decode(&raw) {
                        Err(Refusal { reason, detail }) if !args.force => Fate::Bad(reason.to_string(), detail),
                        _ => Fate::Send(raw.payload),
                    }
                }
            }
        });
        mending.await.context("mending broke off")
    }

    /// Waits for the delivery of everything sent.
    async fn delivered(&self) -> anyhow::Result<()> {
        for (topic, producer) in self.outbox.producers() {
            let counts = producer.flush().await?;
            if let Some(reason) = counts.first_error {
                bail!(
                    "{} records were not delivered to {topic}: {reason}; the {} sent before are marked, run it again for \
                     the others: what had arrived of them is not learned twice",
                    HumanCount(counts.failed),
                    HumanCount(self.account.sent)
                );
            }
        }
        Ok(())
    }
}

/// What has become of the letters.
#[derive(Default)]
struct Account {
    sent: u64,
    bad: BTreeMap<String, u64>,
    skipped: BTreeMap<&'static str, u64>,
    told: Vec<String>,
}

impl Account {
    fn tell(&mut self, line: String) {
        if self.told.len() < TOLD {
            self.told.push(line);
        }
    }

    fn report(&self, args: &Args) -> anyhow::Result<()> {
        let told = self.told.iter().fold(String::new(), |told, line| told + line + "\n");
        let (bad, skipped): (u64, u64) = (self.bad.values().sum(), self.skipped.values().sum());
        if self.sent + bad + skipped == 0 {
            let replayed =
                if args.again { "" } else { " (what has been replayed is not replayed again without --again)" };
            return out::print(&format!("{told}no dead letter to replay{replayed}\n"));
        }
        let sent = if args.dry_run { "would be sent" } else { "sent" };
        let mut table = out::table(&["dead letters", &HumanCount(self.sent + bad + skipped).to_string()]);
        table.add_row([sent.to_owned(), HumanCount(self.sent).to_string()]);
        for (reason, count) in &self.bad {
            table.add_row([format!("still bad: {reason}"), HumanCount(*count).to_string()]);
        }
        for (why, count) in &self.skipped {
            table.add_row([format!("skipped: {why}"), HumanCount(*count).to_string()]);
        }
        out::print(&format!("{told}{table}\n"))?;
        if bad > 0 {
            bail!(
                "{} letters would be refused again and were not sent; mend them with --fix or --fix-with",
                HumanCount(bad)
            );
        }
        Ok(())
    }
}
