//! The command line: its root, and one file for each command.
//!
//! In: arguments, environment, files. Out: what people and scripts read, and an exit code. It may use every stage, and
//! is the only place with anyhow.

mod completions;
mod config;
mod data;
mod dead_letters;
mod demo;
mod doctor;
mod evaluate;
mod events;
mod groups;
mod healthcheck;
mod man;
pub mod out;
mod produce;
mod replay;
mod run;
mod snapshots;
mod soak;
mod time;
mod topics;
mod verify;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};

use crate::config::{Config, ConfigError, LoadOptions, Loaded, process_environment};
use crate::telemetry;

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed
  2    wrong usage or configuration
  3    the broker or the database cannot be reached
  4    the stop took longer than engine.stop_deadline
  130  interrupted before it was done";

const EXAMPLES: &str = "\
Examples:
  freshet demo
  freshet run
  freshet run --preset ml-100k
  freshet replay ml-100k --rate 1000/s
  freshet produce --file events.ndjson
  freshet evaluate ml-100k --protocol rating
  freshet snapshots list
  freshet events export --out events.parquet
  freshet dead-letters list
  freshet verify
  freshet soak --duration 10m
  freshet watch --alert 'rating <= 1'
  freshet topics list
  freshet config show --changed
  freshet doctor
  freshet --config prod.toml --set broker.kind=kafka config check";

/// Freshet: an online-learning recommender engine.
///
/// It learns from each event as it arrives and answers from the model that has already learned it. Every setting has
/// a default (`freshet config show --defaults`); a file, the environment and flags change it, in this order.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub struct Cli {
    /// File of settings; without it `$FRESHET_CONFIG`, else `config.toml` in the current folder if there is one.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Learners and parameters chosen for one kind of data: ml-100k, lastfm, speed, or a TOML file; it goes before
    /// the file.
    #[arg(long, value_name = "NAME|FILE", global = true)]
    preset: Option<String>,
    /// Sets one key, before the file and the environment; may be repeated.
    #[arg(long, value_name = "SECTION.KEY=VALUE", global = true)]
    set: Vec<String>,
    /// Level or filter of the log lines; short for --set log.level=LEVEL.
    #[arg(long, value_name = "LEVEL", global = true)]
    log: Option<String>,
    #[command(subcommand)]
    command: Option<Command>,
}

/// One line for each command, here and in [`dispatch`].
#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Run(run::Args),
    Replay(replay::Args),
    Produce(produce::Args),
    Data(data::Args),
    Evaluate(evaluate::Args),
    Events(events::Args),
    Snapshots(snapshots::Args),
    DeadLetters(dead_letters::Args),
    Verify(verify::Args),
    Soak(soak::Args),
    Watch(watch::Args),
    Topics(topics::Args),
    Groups(groups::Args),
    Config(config::Args),
    Doctor(doctor::Args),
    Healthcheck(healthcheck::Args),
    Completions(completions::Args),
    Man(man::Args),
}

async fn dispatch(command: Command, loaded: Result<Loaded, ConfigError>) -> anyhow::Result<()> {
    match command {
        Command::Demo(args) => demo::run(args, &loaded?.config).await,
        Command::Run(args) => run::run(&args, &loaded?.config).await,
        Command::Replay(args) => replay::run(args, &loaded?.config).await,
        Command::Produce(args) => produce::run(args, &loaded?.config).await,
        Command::Data(args) => data::run(args, &loaded?.config).await,
        Command::Evaluate(args) => evaluate::run(args, &loaded?.config).await,
        Command::Events(args) => events::run(args, &loaded?.config.own()).await,
        Command::Snapshots(args) => snapshots::run(&args, &loaded?.config.own()).await,
        Command::DeadLetters(args) => dead_letters::run(args, &loaded?.config.own()).await,
        Command::Verify(args) => verify::run(&args, &loaded?.config.own()).await,
        Command::Soak(args) => soak::run(args, &loaded?.config).await,
        Command::Watch(args) => watch::run(args, &loaded?.config).await,
        Command::Topics(args) => topics::run(args, &loaded?.config).await,
        Command::Groups(args) => groups::run(&args, &loaded?.config).await,
        Command::Doctor(args) => doctor::run(&args, &loaded?).await,
        Command::Healthcheck(args) => healthcheck::run(&args, &loaded?.config).await,
        // Made of the command line alone: settings that are wrong are no hindrance.
        Command::Completions(args) => std::future::ready(completions::run(&args)).await,
        Command::Man(args) => std::future::ready(man::run(&args)).await,
        Command::Config(args) => std::future::ready(config::run(&args, loaded)).await,
    }
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::parse().execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => out::report(&error),
    }
}

impl Cli {
    fn execute(self) -> anyhow::Result<()> {
        let loaded = self.load();
        let Some(command) = self.command else { return out::print(&Self::command().render_help().ansi().to_string()) };
        telemetry::init(&loaded.as_ref().map_or_else(|_| Config::default().log, |loaded| loaded.config.log.clone()))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("cannot start the threads of the runtime")?;
        let done = runtime.block_on(dispatch(command, loaded));
        // A task that hangs must not hold the process back: whatever has to be waited for, the command has waited for.
        runtime.shutdown_background();
        telemetry::flush();
        done
    }

    fn load(&self) -> Result<Loaded, ConfigError> {
        let log = self.log.iter().map(|level| format!("log.level={level}"));
        let role = match &self.command {
            Some(Command::Run(args)) => args.role(),
            _ => None,
        };
        let sets = self.set.iter().cloned().chain(log).chain(role).collect();
        let env = process_environment()?;
        let of_demo = self.command.as_ref().and_then(|command| match command {
            Command::Demo(args) => args.preset().map(str::to_owned),
            _ => None,
        });
        let preset = self.preset.clone().or(of_demo);
        Config::load(&LoadOptions { preset, file: self.config.clone(), folder: PathBuf::new(), env, sets })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_flags_stand_before_or_behind_the_command() {
        for line in ["freshet --set a.b=c --log debug config check", "freshet config check --set a.b=c --log debug"] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(cli.set, ["a.b=c"]);
            assert_eq!(cli.log.as_deref(), Some("debug"));
        }
    }

    #[test]
    fn every_command_has_an_example_and_the_root_tells_its_exit_codes() {
        for command in Cli::command().get_subcommands() {
            for leaf in command.get_subcommands().chain([command]) {
                let help = leaf.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("freshet"), "{}", leaf.get_name());
            }
        }
        let help = Cli::command().render_long_help().to_string();
        for code in ["0", "1", "2", "3", "4", "130"] {
            assert!(help.contains(&format!("\n  {code:<5}")), "{code}");
        }
    }
}
