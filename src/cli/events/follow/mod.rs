//! `freshet events follow`: new events or dead letters, as they become durable.
//!
//! Rows come from a [`feed`], are written by [`live`], and then the [`resume`] file says so. Whatever ends this process in
//! between, a file that it writes is cut back at the next start to where the resume file says that it was, so that each row
//! is in it once; a pipe cannot be cut, and there the rows of the last write may come again after a kill.

mod feed;
mod live;
mod resume;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::bail;
use clap::ValueEnum;

use self::feed::{EventFeed, LetterFeed};
use self::live::Live;
use self::resume::{At, Resume};
use super::encode::Format;
use super::output::{check_terminal, format_of};
use super::{Chosen, Filters};
use crate::consume::Offsets;
use crate::store::{Claim, Store};

/// Prints events as they become durable; with --reason, dead letters.
///
/// MongoDB tells of them by a change stream, the embedded store is asked ten times a second; a store that is away is waited
/// for. Rows come in the order of seq. With --resume-file it goes on where it stopped, with nothing left out; nor does
/// anything come twice, except that the rows of the last write may, in a pipe, after a kill -9 (in a file that --out names
/// they do not). Ctrl-C ends it with exit code 0, or 130 if --limit was not reached.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  freshet events follow\n  freshet events follow --user 196 --from beginning\n  \
                        freshet events follow --format ndjson | jq -c 'select(.rating == 5)'\n  \
                        freshet events follow --out all.csv --resume-file all.json\n  \
                        freshet events follow --reason all")]
pub(super) struct Args {
    #[command(flatten)]
    filters: Filters,
    /// Where to begin: latest, beginning or seq:N. A resume file goes before it.
    #[arg(long, value_name = "PLACE", default_value = "latest")]
    from: Begin,
    /// Rows after which it ends.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// How to print: a table on a terminal, else what the ending of the file says, and CSV in a pipe.
    #[arg(long, value_enum)]
    format: Option<LiveFormat>,
    /// File to write instead of stdout.
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replaces what is there.
    #[arg(long)]
    force: bool,
    /// File that keeps where it stands; it goes on there the next time.
    #[arg(long, value_name = "FILE")]
    resume_file: Option<PathBuf>,
}

/// How new rows are printed. A Parquet file can be read only once it is whole.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum LiveFormat {
    /// Aligned columns, for people.
    Table,
    /// Comma-separated values with a header.
    Csv,
    /// A JSON object a line.
    Ndjson,
    /// The IPC stream of Arrow.
    Arrow,
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Begin {
    Latest,
    Beginning,
    Seq(u64),
}

impl FromStr for Begin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "latest" => Ok(Self::Latest),
            "beginning" => Ok(Self::Beginning),
            _ => text.strip_prefix("seq:").and_then(|seq| seq.parse().ok()).map(Self::Seq).ok_or_else(|| {
                format!(
                    "{text:?} is no place to begin; write it as latest, beginning, or seq:N with the seq of an event"
                )
            }),
        }
    }
}

/// Runs `freshet events follow`.
///
/// # Errors
/// If the store fails for good, the output or the resume file cannot be written, or the resume file is not of this.
pub(super) async fn run(args: &Args, store: &dyn Store) -> anyhow::Result<()> {
    let format = args.format()?;
    let state = store.state().await?;
    let resume = args.resume_file.as_deref().map(|file| Resume::open(file, args, &state)).transpose()?;
    let stands = resume.as_ref().and_then(|resume| resume.at.clone());
    let at = stands.map_or_else(|| args.start(&state), Ok)?;
    let live = Live { args, format, store, resume };
    match (args.filters.chosen(), at) {
        (Chosen::Events(filter), At::Seq { seq, token }) => live.run(EventFeed::new(store, filter, seq, token)).await,
        (Chosen::Letters(filter), At::Offsets(offsets)) => live.run(LetterFeed::new(store, filter, offsets)).await,
        _ => bail!("the resume file stands at a place of another kind; give another --resume-file"),
    }
}

impl Args {
    /// The format; nothing for the table.
    fn format(&self) -> anyhow::Result<Option<Format>> {
        let format = match (self.format, &self.out) {
            (Some(LiveFormat::Table), Some(_)) => bail!("a table is for people to watch; give --out another --format"),
            (Some(LiveFormat::Table), None) => None,
            (Some(LiveFormat::Csv), _) => Some(Format::Csv),
            (Some(LiveFormat::Ndjson), _) => Some(Format::Ndjson),
            (Some(LiveFormat::Arrow), _) => Some(Format::Arrow),
            (None, Some(file)) => Some(format_of(file)?),
            (None, None) => (!std::io::stdout().is_terminal()).then_some(Format::Csv),
        };
        if format == Some(Format::Parquet) {
            bail!(
                "a Parquet file can be read only once it is whole; follow into .csv, .ndjson or .arrow, or export it"
            );
        }
        if let (Some(format), None) = (format, &self.out) {
            check_terminal(format)?;
        }
        Ok(format)
    }

    /// Where to begin without a resume file.
    fn start(&self, state: &Claim) -> anyhow::Result<At> {
        let letters = self.filters.who.reason.is_some();
        let seq = |seq| At::Seq { seq, token: None };
        Ok(match self.from {
            Begin::Seq(_) if letters => bail!("dead letters have no seq; begin with --from latest or beginning"),
            Begin::Seq(first) => seq(first.saturating_sub(1)),
            Begin::Beginning if letters => At::Offsets(Offsets::default()),
            Begin::Beginning => seq(0),
            Begin::Latest if letters => At::Offsets(state.progress.offsets.clone()),
            Begin::Latest => seq(state.progress.seq),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_to_begin_are_read() {
        let cases = [("latest", Begin::Latest), ("beginning", Begin::Beginning), ("seq:17", Begin::Seq(17))];
        for (text, expected) in cases {
            assert_eq!(text.parse(), Ok(expected));
        }
        for text in ["", "seq:", "seq:-1", "17", "Latest", "time:1h"] {
            assert!(text.parse::<Begin>().unwrap_err().contains("seq:N"), "{text}");
        }
    }
}
