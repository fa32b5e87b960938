//! `freshet events export`: stored events or dead letters as one file, or into a pipe.
//!
//! While a page is encoded and written, the next one is read. No more than these two and a row group are in memory.

use std::path::{Path, PathBuf};
use std::time::Instant;

use indicatif::{HumanBytes, HumanCount};
use tokio_util::sync::CancellationToken;

use super::columns::Row;
use super::encode::{Encoder, Format};
use super::output::{Pending, Sink, Writing, check_terminal, format_of};
use super::source::{Events, Letters, Source};
use super::{Chosen, Filters, off_thread};
use crate::cli::out;
use crate::shutdown::{self, Interrupted};
use crate::store::{EventFilter, Store};

/// Writes stored events, or dead letters with --reason, to a file or a pipe.
///
/// What is durable at the start is exported, in the order of seq (dead letters: of the log), whatever an engine adds
/// meanwhile. A file has its name only once it is whole. In CSV times are ISO 8601, lists are joined by |, and a missing
/// value is empty; in NDJSON it is null. Keys and payloads that are no UTF-8 are hex digits in the columns `key_hex` and
/// `payload_hex`. Parquet is compressed with zstd; Arrow is the IPC file format in a file, the IPC stream in a pipe.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  freshet events export --out events.parquet\n  \
                        freshet events export --user 196 --since 7d | head\n  \
                        freshet events export --format ndjson | jq -c 'select(.rating >= 4)'\n  \
                        freshet events export --reason all --out refused.csv")]
pub(super) struct Args {
    #[command(flatten)]
    filters: Filters,
    /// Only from this place in the order on.
    #[arg(long, value_name = "N", conflicts_with = "reason")]
    from_seq: Option<u64>,
    /// Only up to this place in the order.
    #[arg(long, value_name = "N", conflicts_with = "reason")]
    to_seq: Option<u64>,
    /// Most rows to write.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// How to write them; without it what the ending of the file says (.csv, .ndjson or .jsonl, .parquet, .arrow), and
    /// CSV on stdout.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// File to write, or - for stdout.
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    out: PathBuf,
    /// Replaces what is there.
    #[arg(long)]
    force: bool,
}

/// Runs `freshet events export`.
///
/// # Errors
/// If the store cannot be read or the output not be written, and [`Interrupted`] after a signal: no file is left then.
pub(super) async fn run(args: &Args, store: &dyn Store) -> anyhow::Result<()> {
    // Before there is a file that a signal must not leave behind.
    let stop = shutdown::on_signals();
    let format = match (args.format, args.file()) {
        (Some(format), _) => format,
        (None, Some(file)) => format_of(file)?,
        (None, None) => Format::Csv,
    };
    let output = match args.file() {
        None => {
            check_terminal(format)?;
            (Sink::Stdout, None)
        }
        Some(file) => Sink::make(file, args.force)?,
    };
    let state = tokio::select! {
        state = store.state() => state?,
        () = stop.cancelled() => return Err(Interrupted { done: "nothing was exported".to_owned() }.into()),
    };
    match args.filters.chosen() {
        Chosen::Events(filter) => {
            let seqs = args.from_seq.unwrap_or(0)..=args.to_seq.unwrap_or(u64::MAX);
            let source = Events::new(store, &state, EventFilter { seqs, ..filter });
            args.export(source, format, output, &stop).await
        }
        Chosen::Letters(filter) => args.export(Letters::new(store, state, filter), format, output, &stop).await,
    }
}

impl Args {
    fn file(&self) -> Option<&Path> {
        (self.out.as_os_str() != "-").then_some(&*self.out)
    }

    async fn export<S: Source>(
        &self,
        source: S,
        format: Format,
        output: (Sink, Option<Pending>),
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let start = Instant::now();
        let limit = self.limit.unwrap_or(u64::MAX);
        let bar = out::progress(source.total().map(|total| total.min(limit)), "export");
        let mut rows = 0;
        let progress = |count: u64, seen: u64| {
            rows += count;
            bar.set_position(seen.min(limit));
        };
        let written = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            written = pump(source, format, output, limit, progress) => Some(written),
        };
        bar.finish_and_clear();
        let (rows, seconds) = (format!("{} {}", HumanCount(rows), S::Row::NAME), start.elapsed().as_secs_f64());
        match written {
            Some(Ok(bytes)) => {
                let to = self.file().map_or_else(String::new, |file| format!(" to {}", file.display()));
                out::note(&format!("exported {rows}{to}: {} in {seconds:.1} s\n", HumanBytes(bytes)));
                Ok(())
            }
            Some(Err(error)) if error.is::<out::ClosedPipe>() => Err(error),
            Some(Err(error)) => Err(error.context(format!("the export broke off after {rows}{}", self.unwritten()))),
            None => Err(Interrupted { done: format!("{rows} exported{}", self.unwritten()) }.into()),
        }
    }

    fn unwritten(&self) -> String {
        self.file().map_or_else(String::new, |file| format!("; {} was not written", file.display()))
    }
}

/// Writes everything; how many bytes. `progress` is told of rows written, and of how much has been looked at in all.
async fn pump<S: Source>(
    mut source: S,
    format: Format,
    (sink, pending): (Sink, Option<Pending>),
    limit: u64,
    mut progress: impl FnMut(u64, u64),
) -> anyhow::Result<u64> {
    let encoder = Encoder::new::<S::Row>(format, pending.is_none())?;
    let mut writing = Writing::begin(encoder, sink, 0)?;
    let mut left = limit;
    let mut rows = Vec::new();
    loop {
        let (count, seen) = (rows.len() as u64, source.seen());
        let write = off_thread(move || writing.rows(&rows).map(|()| writing));
        let read = async {
            let most = usize::try_from(left - count).unwrap_or(usize::MAX);
            if most == 0 || source.is_done() { Ok(None) } else { source.next(most).await.map(Some) }
        };
        let (written, read) = tokio::join!(write, read);
        writing = written?;
        left -= count;
        progress(count, seen);
        match read? {
            Some(page) => rows = page,
            None => break,
        }
    }
    let writing = off_thread(move || {
        writing.finish()?;
        writing.sink.sync().map(|()| writing)
    });
    let bytes = writing.await?.bytes;
    pending.map_or(Ok(()), Pending::persist)?;
    Ok(bytes)
}
