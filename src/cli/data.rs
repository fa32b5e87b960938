//! `freshet data`: gets, lists and converts data sets.
//!
//! Apart from [`crate::capture`], which does the work, so that all that is shown to a person is here.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::{Subcommand, ValueEnum};
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::out;
use crate::capture::convert::{self, Format};
use crate::capture::dataset::{self, DOWNLOADS};
use crate::capture::fetch::{self, Step};
use crate::capture::known::{KNOWN, Known};
use crate::config::Config;
use crate::telemetry;

/// Gets, lists and converts data sets.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  freshet data list\n  freshet data fetch ml-100k")]
pub(super) struct Args {
    #[command(subcommand)]
    command: DataCommand,
}

#[derive(Debug, Subcommand)]
enum DataCommand {
    /// Downloads a public data set, with its checksums checked.
    #[command(after_help = "Example:\n  freshet data fetch ml-100k")]
    Fetch(FetchArgs),
    /// Lists the data sets that are known by name, and where they are.
    #[command(after_help = "Example:\n  freshet data list --json")]
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Writes a data set's rows as CSV or NDJSON.
    #[command(after_help = "Examples:\n  freshet data convert ml-100k --to csv --out ratings.csv\n  \
                            freshet data convert ratings.csv --to ndjson | head -3")]
    Convert(ConvertArgs),
}

#[derive(clap::Args, Debug)]
struct FetchArgs {
    /// ml-100k or lastfm.
    dataset: String,
    /// Folder that the set's folder is made in.
    #[arg(long, value_name = "DIR", default_value = DOWNLOADS)]
    into: PathBuf,
    /// Download again even if the files are there.
    #[arg(long)]
    force: bool,
}

#[derive(clap::Args, Debug)]
struct ConvertArgs {
    /// ml-100k, lastfm, sample, a .csv or .ndjson file, a folder with a known set, or - for NDJSON on stdin.
    dataset: String,
    /// What to write.
    #[arg(long, value_name = "FORMAT")]
    to: To,
    /// File to write; standard output without it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Folder to look in, and only there.
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// Most rows to write.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum To {
    Csv,
    Ndjson,
}

/// Runs `freshet data`.
///
/// # Errors
/// If a set cannot be had, a file not be read or written, or a row is not as it should be.
pub(super) async fn run(args: Args, _config: &Config) -> anyhow::Result<()> {
    tokio::task::spawn_blocking(move || match args.command {
        DataCommand::Fetch(args) => fetch(&args),
        DataCommand::List { json } => list(json),
        DataCommand::Convert(args) => convert(&args),
    })
    .await
    .context("the command broke off")?
}

fn fetch(args: &FetchArgs) -> anyhow::Result<()> {
    let mut progress = Progress::default();
    fetch::fetch(&args.dataset, &args.into, args.force, &mut |step| progress.show(&step))?;
    if args.into != Path::new(DOWNLOADS) {
        anstream::eprintln!("use it with --from {0} or FRESHET_DATA={0}", args.into.display());
    }
    Ok(())
}

/// Shows on standard error what a fetch is doing, with a bar for the bytes on a terminal.
#[derive(Debug, Default)]
pub(super) struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Shows one step.
    pub(super) fn show(&mut self, step: &Step<'_>) {
        if let Step::Received(bytes, total) = step {
            return self.received(*bytes, *total);
        }
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        match step {
            Step::AlreadyThere(dir) => anstream::eprintln!("already there, checksums match: {}", dir.display()),
            Step::Trying(source) => anstream::eprintln!("trying {source}"),
            Step::Failed(error) => anstream::eprintln!("failed: {error}"),
            Step::Stored(dir) => anstream::eprintln!("stored, checksums match: {}", dir.display()),
            Step::Received(..) => {}
        }
    }

    fn received(&mut self, bytes: u64, total: Option<u64>) {
        // The bar draws nothing where standard error is no terminal.
        let bar = self.bar.get_or_insert_with(|| {
            let bar = telemetry::bars().add(ProgressBar::new(total.unwrap_or(0)));
            let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        bar.set_position(bytes);
    }
}

/// A row of `freshet data list --json`.
#[derive(Serialize)]
struct Listed {
    name: &'static str,
    what: &'static str,
    rows: u64,
    users: u64,
    items: u64,
    licence: &'static str,
    /// Folder, or null where it is not here or not read from files.
    path: Option<PathBuf>,
    here: bool,
}

impl Listed {
    fn new(known: &Known, places: &[PathBuf]) -> Self {
        let path = dataset::find(known, places).ok().map(|(_, dir)| dir);
        Self {
            name: known.name,
            what: known.what,
            rows: known.rows,
            users: known.users,
            items: known.items,
            licence: known.licence,
            here: path.is_some() || known.layouts.is_empty(),
            path,
        }
    }

    fn place(&self) -> String {
        match &self.path {
            Some(path) => path.display().to_string(),
            None if self.here => "built in".to_owned(),
            None => format!("not here: freshet data fetch {}", self.name),
        }
    }
}

fn list(json: bool) -> anyhow::Result<()> {
    let places = dataset::places(None);
    let listed: Vec<_> = KNOWN.iter().map(|known| Listed::new(known, &places)).collect();
    if json { out::print_json(&listed) } else { out::print(&format!("{}\n", table(&listed))) }
}

fn table(listed: &[Listed]) -> Table {
    let mut table = out::table(&["name", "what", "rows", "users", "items", "licence", "where"]);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    for set in listed {
        let number = |n: u64| Cell::new(n).set_alignment(CellAlignment::Right);
        table.add_row([
            Cell::new(set.name),
            Cell::new(set.what),
            number(set.rows),
            number(set.users),
            number(set.items),
            Cell::new(set.licence),
            Cell::new(set.place()),
        ]);
    }
    table
}

fn convert(args: &ConvertArgs) -> anyhow::Result<()> {
    let dataset = dataset::open(&args.dataset, args.from.as_deref())?;
    let rows = match args.limit {
        Some(limit) => Box::new(dataset.rows.take(usize::try_from(limit).unwrap_or(usize::MAX))),
        None => dataset.rows,
    };
    let format = match args.to {
        To::Csv => Format::Csv,
        To::Ndjson => Format::Ndjson,
    };
    let Some(path) = &args.out else {
        convert::to_stdout(rows, format)?;
        return Ok(());
    };
    // The bar draws nothing where standard error is no terminal.
    let bar = out::progress(dataset.about_rows, dataset.name.clone());
    let written = convert::to_file(Box::new(bar.wrap_iter(rows)), format, path)?;
    bar.finish_and_clear();
    anstream::eprintln!("wrote {written} rows of {} to {}", dataset.name, path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        data: Args,
    }

    #[test]
    fn the_arguments_are_well_formed_and_every_command_has_an_example() {
        Cli::command().debug_assert();
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("freshet data"), "{} has no example", command.get_name());
        }
    }

    #[test]
    fn a_set_that_is_not_here_is_listed_with_the_line_that_gets_it() {
        let empty = tempfile::tempdir().unwrap();
        let listed: Vec<_> = KNOWN.iter().map(|known| Listed::new(known, &[empty.path().to_owned()])).collect();
        let places: Vec<_> = listed.iter().map(Listed::place).collect();
        assert_eq!(places, ["not here: freshet data fetch ml-100k", "not here: freshet data fetch lastfm", "built in"]);
        assert!(table(&listed).to_string().contains("lastfm"));
    }

    #[test]
    fn convert_writes_a_limited_number_of_rows_and_leaves_nothing_behind_when_it_fails() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out.csv");
        let args = |dataset: &str, out: &Path| ConvertArgs {
            dataset: dataset.to_owned(),
            to: To::Csv,
            out: Some(out.to_owned()),
            from: Some(dir.path().to_owned()),
            limit: Some(3),
        };
        convert(&args("sample", &out)).unwrap();
        assert_eq!(std::fs::read_to_string(&out).unwrap().lines().count(), 4);

        std::fs::write(dir.path().join("bad.csv"), "user,item,rating\n1,2,five\n").unwrap();
        let error = convert(&args("bad.csv", &dir.path().join("other.csv"))).unwrap_err();
        assert!(error.to_string().contains("line 2: field \"rating\" is \"five\""), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
