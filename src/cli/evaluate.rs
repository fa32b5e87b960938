//! `freshet evaluate`: sets learners side by side on a data set, test-then-learn.
//!
//! The evaluation itself is [`crate::evaluate`]; here are the flags, the tables and the files.

mod output;
mod tables;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use indicatif::{HumanCount, ProgressBar};

use self::output::{Output, Target};
use super::{data, out};
use crate::capture::inject::{InjectError, Injection};
use crate::capture::{self, Dataset};
use crate::config::{Config, LearnerKind};
use crate::evaluate::{self, Evaluation, Order, Protocol, Request, Step};
use crate::shutdown::{self, Interrupted};

/// Measures learners on a data set: each event is predicted first, then learned.
///
/// The learner of the settings stands first, with plain baselines on the same events beside it. ML-100k comes in the
/// order of time, LastFM in a fixed order as good as shuffled; rows of a file must be in the order of their ts unless
/// --order says otherwise. Intervals are 95 % confidence intervals that allow for the events of one user being alike.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  freshet evaluate ml-100k --protocol rating\n  \
                        freshet evaluate ml-100k --protocol topn --all-ratings --segments\n  \
                        freshet evaluate lastfm --protocol topn --plot lastfm.html --json lastfm.json\n  \
                        freshet evaluate clicks.ndjson --protocol topn --order time --learner item-knn\n  \
                        freshet evaluate ml-100k --protocol rating --learner biases --set biases.rate=0.1\n  \
                        freshet evaluate ml-100k --protocol rating --learner biased-mf --trainers 2 --trainers 4\n  \
                        freshet evaluate ml-100k --protocol rating --inject drift=100%@50000 --set drift.boost=4")]
pub(super) struct Args {
    /// ml-100k, lastfm, sample, a .csv or .ndjson file, a folder with a known set, or - for NDJSON on stdin.
    dataset: String,
    /// What learners are asked: to predict each rating, or to rank each positive event's item among all unseen ones.
    #[arg(long, value_enum)]
    protocol: Protocol,
    /// topn: let learners see ratings that are not positive too; the same events are judged.
    #[arg(long)]
    all_ratings: bool,
    /// Learner to measure instead of the one in the settings; may be repeated, the first is what others are compared to.
    #[arg(long = "learner", value_name = "NAME", value_enum, ignore_case = true)]
    learners: Vec<LearnerKind>,
    /// Leave the baselines out.
    #[arg(long)]
    no_baselines: bool,
    /// Folder to look for the data set in, and only there.
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// Order of the stream.
    #[arg(long, value_enum)]
    order: Option<Order>,
    /// rating: injects drift, as drift=RATE@ROW, into the stream as `freshet replay` does, and shows when it was detected.
    ///
    /// From that row on, or from the middle, this share of the users rates mirrored. With drift.boost above 1 each learner
    /// stands twice: one that only watches, and one that learns faster for a while after a detection.
    #[arg(long, value_name = "drift=RATE[@ROW]", value_parser = drift)]
    inject: Option<Injection>,
    /// Measure learners whose items add up (biased-mf, biases, popularity) with this many trainers too; may be repeated.
    ///
    /// Trainers share the users, and hear after every --share-events events what the others have added to items.
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(2..=64))]
    trainers: Vec<usize>,
    /// Events of anybody between two exchanges of --trainers.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    share_events: u64,
    /// Most rows of the stream.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Show the figures by segment too.
    #[arg(long)]
    segments: bool,
    /// Write the whole result as JSON, to a file or with - to stdout instead of the table.
    #[arg(long, value_name = "FILE|-")]
    json: Option<Target>,
    /// Write one row for each learner and segment as CSV, to a file or with - to stdout instead of the table.
    #[arg(long, value_name = "FILE|-")]
    csv: Option<Target>,
    /// Write one page of plots, which needs no network.
    #[arg(long, value_name = "FILE.html")]
    plot: Option<PathBuf>,
}

fn drift(text: &str) -> Result<Injection, String> {
    let injection: Injection = text.parse().map_err(|error: InjectError| error.to_string())?;
    if injection.is_drift() {
        Ok(injection)
    } else {
        Err("only drift can be injected here, as drift=20%@50000".to_owned())
    }
}

/// Runs `freshet evaluate`.
///
/// # Errors
/// If the data set or a learner is not what the protocol needs, a file cannot be written, and [`Interrupted`] after a
/// signal.
pub(super) async fn run(args: Args, config: &Config) -> anyhow::Result<()> {
    if args.json == Some(Target::Stdout) && args.csv == Some(Target::Stdout) {
        bail!("--json - and --csv - would both write to stdout; give one of them a file");
    }
    if args.all_ratings && args.protocol == Protocol::Rating {
        bail!("--all-ratings is for --protocol topn; the rating protocol shows learners every rating");
    }
    if args.inject.is_some() && args.protocol == Protocol::Topn {
        bail!("--inject is for --protocol rating: drift is detected by how far ratings fall from what was predicted");
    }
    // Before the work, so that a folder that is not there is told at once.
    let outputs = Outputs::open(&args)?;
    let stop = shutdown::on_signals();
    let bar = out::progress(Some(0), "reading");
    let working = tokio::task::spawn_blocking({
        let (bar, config) = (bar.clone(), config.clone());
        let (spec, from, request) = (args.dataset.clone(), args.from.clone(), args.request());
        move || work(&spec, from.as_deref(), &request, &config, &bar)
    });
    let found = tokio::select! {
        found = working => found.context("the evaluation broke off")?,
        () = stop.cancelled() => Err(interrupted(&bar)),
    };
    bar.finish_and_clear();
    outputs.write(&found?, args.segments)
}

fn work(
    spec: &str,
    from: Option<&Path>,
    request: &Request,
    config: &Config,
    bar: &ProgressBar,
) -> anyhow::Result<Evaluation> {
    let mut progress = data::Progress::default();
    let dataset: Dataset = capture::ensure(spec, from, &mut |step| progress.show(&step))?;
    let mut show = |step: Step<'_>| match step {
        Step::Learner { name, number, of, events } => {
            bar.reset();
            bar.set_length(events);
            bar.set_prefix(format!("{name} ({number} of {of})"));
        }
        Step::Events(events) => bar.inc(events),
    };
    Ok(evaluate::evaluate(dataset, request, config, &mut show)?)
}

fn interrupted(bar: &ProgressBar) -> anyhow::Error {
    let (done, all) = (HumanCount(bar.position()), HumanCount(bar.length().unwrap_or(0)));
    let done = format!("{}: {done} of {all} events; nothing is written", bar.prefix());
    Interrupted { done }.into()
}

impl Args {
    fn request(&self) -> Request {
        Request {
            protocol: self.protocol,
            all_ratings: self.all_ratings,
            order: self.order,
            limit: self.limit,
            learners: self.learners.clone(),
            baselines: !self.no_baselines,
            inject: self.inject,
            trainers: self.trainers.clone(),
            share_events: self.share_events,
        }
    }
}

/// Where the result goes.
struct Outputs {
    json: Option<Output>,
    csv: Option<Output>,
    plot: Option<Output>,
}

impl Outputs {
    fn open(args: &Args) -> anyhow::Result<Self> {
        let plot = args.plot.clone().map(Target::File);
        let open = |target: Option<&Target>| target.map(Output::open).transpose();
        Ok(Self { json: open(args.json.as_ref())?, csv: open(args.csv.as_ref())?, plot: open(plot.as_ref())? })
    }

    fn write(self, found: &Evaluation, segments: bool) -> anyhow::Result<()> {
        let table = ![&self.json, &self.csv].into_iter().flatten().any(Output::is_stdout);
        if table {
            out::print(&tables::render(found, segments))?;
        }
        if let Some(output) = self.json {
            output.write(&out::to_json(found)?)?;
        }
        if let Some(output) = self.csv {
            output.write(&evaluate::to_csv(found)?)?;
        }
        if let Some(output) = self.plot {
            output.write(&evaluate::to_html(found))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        evaluate: Args,
    }

    fn parse(line: &str) -> Result<Args, String> {
        let line = std::iter::once("evaluate").chain(line.split(' '));
        Cli::try_parse_from(line).map(|cli| cli.evaluate).map_err(|error| error.to_string())
    }

    #[test]
    fn the_flags_make_the_request() {
        Cli::command().debug_assert();
        let args = parse("x.csv --protocol topn --learner random --learner item-knn --limit 5 --no-baselines --json -");
        let args = args.unwrap();
        let request = args.request();
        assert_eq!(request.learners, [LearnerKind::Random, LearnerKind::ItemKnn]);
        assert_eq!((request.limit, request.baselines, args.json), (Some(5), false, Some(Target::Stdout)));
    }

    #[test]
    fn a_name_that_is_not_known_is_answered_with_those_that_are() {
        for (line, part) in [
            ("x --protocol topn --learner magic", "popularity"),
            ("x --protocol offline", "rating, topn"),
            ("x --protocol topn --order random", "time, file, hash"),
            ("x --protocol topn --limit 0", "1.."),
            ("x --protocol rating --inject late=1%", "only drift"),
            ("x --protocol rating --inject drift=2", "drift=20%@50000"),
            ("x", "--protocol"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(part), "{part} is not in: {error}");
        }
    }
}
